"""Operators and methods that a Tensor shares with ndarray: NumPy's functions, by short names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.table import RULES


class Arraylike:
    """Abstract: what `t + u`, `t[i]` and `t.sum()` mean.  Each is a function of NumPy's."""

    __slots__ = ()
    data: Any  # of the subclass: an ndarray, or the Tensor one level out

    # -- what an ndarray tells of itself ----------------------------------------------------------
    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))

    def __len__(self) -> int: return len(self.data)
    def __iter__(self) -> Iterator[Any]: return (self[i] for i in range(len(self)))
    def __bool__(self) -> bool: return bool(self.data)
    def __float__(self) -> float: return float(self.data)
    def __int__(self) -> int: return int(self.data)
    def item(self) -> float: return self.data.item()
    def tolist(self) -> list: return self.data.tolist()
    def __format__(self, spec: str) -> str: return format(self.item(), spec) if spec else repr(self)

    # -- operators --------------------------------------------------------------------------------
    def __add__(self, other: Any) -> Any: return RULES[np.add](self, other)
    def __radd__(self, other: Any) -> Any: return RULES[np.add](other, self)
    def __sub__(self, other: Any) -> Any: return RULES[np.subtract](self, other)
    def __rsub__(self, other: Any) -> Any: return RULES[np.subtract](other, self)
    def __mul__(self, other: Any) -> Any: return RULES[np.multiply](self, other)
    def __rmul__(self, other: Any) -> Any: return RULES[np.multiply](other, self)
    def __truediv__(self, other: Any) -> Any: return RULES[np.divide](self, other)
    def __rtruediv__(self, other: Any) -> Any: return RULES[np.divide](other, self)
    def __floordiv__(self, other: Any) -> Any: return RULES[np.floor_divide](self, other)
    def __rfloordiv__(self, other: Any) -> Any: return RULES[np.floor_divide](other, self)
    def __mod__(self, other: Any) -> Any: return RULES[np.remainder](self, other)
    def __rmod__(self, other: Any) -> Any: return RULES[np.remainder](other, self)
    def __pow__(self, other: Any) -> Any: return RULES[np.power](self, other)
    def __rpow__(self, other: Any) -> Any: return RULES[np.power](other, self)
    def __matmul__(self, other: Any) -> Any: return RULES[np.matmul](self, other)
    def __rmatmul__(self, other: Any) -> Any: return RULES[np.matmul](other, self)
    def __neg__(self) -> Any: return RULES[np.negative](self)
    def __pos__(self) -> Any: return RULES[np.positive](self)
    def __abs__(self) -> Any: return RULES[np.absolute](self)

    # Comparisons have no derivative: their results are constants, which is to say ndarrays.
    def __eq__(self, other: Any) -> Any: return RULES[np.equal](self, other)
    def __ne__(self, other: Any) -> Any: return RULES[np.not_equal](self, other)
    def __lt__(self, other: Any) -> Any: return RULES[np.less](self, other)
    def __le__(self, other: Any) -> Any: return RULES[np.less_equal](self, other)
    def __gt__(self, other: Any) -> Any: return RULES[np.greater](self, other)
    def __ge__(self, other: Any) -> Any: return RULES[np.greater_equal](self, other)
    __hash__ = object.__hash__  # by identity, so that Tensors are keys of dictionaries

    def __getitem__(self, index: Any) -> Any: return RULES[Arraylike.__getitem__](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("Tensors are immutable, t[index] = value would change the past: use "
                        "mg.index_put(t, index, value), or np.where(condition, value, t)")

    # -- methods, wherever ndarray has the same name ----------------------------------------------
    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return RULES[np.sum](self, axis, keepdims=keepdims)
    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return RULES[np.mean](self, axis, keepdims=keepdims)
    def prod(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.prod(self, axis, keepdims=keepdims)
    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.max(self, axis, keepdims=keepdims)
    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        return np.min(self, axis, keepdims=keepdims)
    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        return np.var(self, axis, ddof=ddof, keepdims=keepdims)
    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
        return np.std(self, axis, ddof=ddof, keepdims=keepdims)
    def cumsum(self, axis: Any = None) -> Any: return np.cumsum(self, axis)
    def argmax(self, axis: Any = None) -> Any: return np.argmax(self, axis)
    def argmin(self, axis: Any = None) -> Any: return np.argmin(self, axis)
    def argsort(self, axis: Any = -1) -> Any: return np.argsort(self, axis)
    def any(self, axis: Any = None) -> Any: return np.any(self, axis)
    def all(self, axis: Any = None) -> Any: return np.all(self, axis)
    def reshape(self, *shape: Any) -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)
    def transpose(self, *axes: Any) -> Any:
        return np.transpose(self, axes[0] if len(axes) == 1 else axes or None)
    def swapaxes(self, axis1: int, axis2: int) -> Any: return np.swapaxes(self, axis1, axis2)
    def squeeze(self, axis: Any = None) -> Any: return np.squeeze(self, axis)
    def ravel(self) -> Any: return np.ravel(self)
    def flatten(self) -> Any: return np.ravel(self)
    def repeat(self, repeats: Any, axis: Any = None) -> Any: return np.repeat(self, repeats, axis)
    def take(self, indices: Any, axis: Any = None) -> Any: return np.take(self, indices, axis)
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        return np.diagonal(self, offset, axis1, axis2)
    def trace(self, offset: int = 0) -> Any: return np.trace(self, offset)
    def clip(self, min: Any = None, max: Any = None) -> Any: return np.clip(self, min, max)
    def round(self, decimals: int = 0) -> Any: return np.round(self, decimals)
    def dot(self, other: Any) -> Any: return np.dot(self, other)
    def astype(self, dtype: Any) -> Any: return RULES[Arraylike.astype](self, np.dtype(dtype))
    def copy(self) -> Any: return RULES[np.positive](self)
