"""Derivatives of functions that move, repeat or select elements.

All of them are linear, and the vjp of each is a member of the same family: pad and slice, gather
and scatter, repeat and sum.  So their second derivatives need no further rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.define import composed, constant, rule
from minigrad.table import RULES, Every, NoRule
from minigrad.tensor import Primitive, Tensor, untraced

constant(np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.result_type,
         np.iscomplexobj, np.isrealobj)

RULES[Tensor.astype] = astype = Primitive(
    lambda x, dtype: x.astype(dtype), lambda g, y, x, dtype: g.astype(x.dtype), name="astype")
RULES[np.copy] = lambda a: RULES[np.positive](a)

# -- another shape, the same elements -------------------------------------------------------------
rule(np.reshape, lambda g, y, a, shape: np.reshape(g, a.shape))
rule(np.ravel, lambda g, y, a: np.reshape(g, a.shape))
rule(np.squeeze, lambda g, y, a, axis=None: np.reshape(g, a.shape))
rule(np.expand_dims, lambda g, y, a, axis: np.reshape(g, a.shape))
for at_least in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    rule(at_least, lambda g, y, a: np.reshape(g, a.shape))
rule(np.transpose, lambda g, y, a, axes=None:
     np.transpose(g, None if axes is None else np.argsort(np.asarray(axes) % len(axes))))
rule(np.swapaxes, lambda g, y, a, axis1, axis2: np.swapaxes(g, axis1, axis2))
rule(np.moveaxis, lambda g, y, a, source, destination: np.moveaxis(g, destination, source))
rule(np.flip, lambda g, y, m, axis=None: np.flip(g, axis))
rule(np.roll, lambda g, y, a, shift, axis=None:
     np.roll(g, tuple(-s for s in shift) if np.ndim(shift) else -shift, axis))
composed(np.flipud)(lambda m: np.flip(m, 0))
composed(np.fliplr)(lambda m: np.flip(m, 1))

# -- repeating, and summing up --------------------------------------------------------------------
rule(np.broadcast_to, lambda g, y, array, shape: g)  # the engine undoes broadcasting
rule(np.tile, lambda g, y, A, reps: _untiled(g, A, reps))
rule(np.repeat, lambda g, y, a, repeats, axis=None: _unrepeated(g, a, repeats, axis))

# -- gather and scatter ---------------------------------------------------------------------------
def _scatter(values: Any, index: Any, shape: tuple) -> np.ndarray:
    """Zeros of `shape`, with `values` added at `index`: what is there twice counts twice."""
    out = np.zeros(shape, values.dtype)
    if _hits_once(index):
        out[index] = values
    else:
        np.add.at(out, index, values)
    return out


def _hits_once(index: Any) -> bool:
    """Basic and boolean indices name each element once; integer arrays may name one again."""
    return all(i is None or i is Ellipsis or isinstance(i, (int, np.integer, slice))
               or np.dtype(bool) == getattr(i, "dtype", None)
               for i in (index if isinstance(index, tuple) else (index,)))


gather = Primitive(lambda x, index: x[index], lambda g, y, x, index: scatter(g, index, x.shape),
                   name="getitem", selects=True)
scatter = Primitive(_scatter, lambda g, y, values, index, shape: gather(g, index), name="scatter")


def _index(index: Any) -> Any:
    return tuple(map(untraced, index)) if isinstance(index, tuple) else untraced(index)


RULES[Tensor.__getitem__] = lambda x, index: gather(x, _index(index))


def _index_put(x: Any, index: Any, values: Any) -> np.ndarray:
    out = np.array(x)
    out[index] = values
    return out


_put = Primitive(
    lambda x, values, index: _index_put(x, index, values),
    lambda g, y, x, values, index: _put(g, np.zeros((), g.dtype), index),
    lambda g, y, x, values, index: np.where(_written(y.shape, index), gather(g, index), 0),
    name="index_put")


def _written(shape: tuple, index: Any) -> np.ndarray:
    """Of the values put at `index`, those that stayed: the last where an element is hit twice."""
    numbers = np.full(shape, -1)
    counted = np.arange(numbers[index].size).reshape(numbers[index].shape)
    numbers[index] = counted
    return numbers[index] == counted


def index_put(x: Any, index: Any, values: Any) -> Any:
    """A copy of `x` in which `x[index]` is `values` (broadcast): item assignment without the past.

    Where an integer index names an element twice, the last value stays, and has the gradient.
    """
    return _put(x, values, _index(index))


@composed(np.take)
def take(a: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        return np.ravel(a)[np.asarray(indices)]
    return a[(slice(None),) * (axis % a.ndim) + (np.asarray(indices),)]


@composed(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int = -1) -> Any:
    if axis is None:
        return np.ravel(arr)[indices]
    index = list(np.ogrid[tuple(map(slice, arr.shape))])
    index[axis] = indices
    return arr[tuple(index)]


@composed(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    last = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = last.shape[-2:]
    n = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    i = np.arange(n)
    return last[..., i + max(0, -offset), i + max(0, offset)]


@composed(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 2:
        return diagonal(v, k)
    n, i = v.size + abs(k), np.arange(v.size)
    return scatter(v, (i + max(0, -k), i + max(0, k)), (n, n))


@composed(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


rule(np.tril, lambda g, y, m, k=0: np.tril(g, k))
rule(np.triu, lambda g, y, m, k=0: np.triu(g, k))

# -- joining and cutting --------------------------------------------------------------------------
_joined = Primitive(
    lambda *arrays, axis: np.concatenate(arrays, axis),
    Every(lambda k, g, y, *arrays, axis: g[_part(k, arrays, axis)]), name="concatenate")


def _part(k: int, arrays: tuple, axis: int) -> tuple:
    start = sum(a.shape[axis] for a in arrays[:k])
    return (*(slice(None),) * (axis % arrays[k].ndim), slice(start, start + arrays[k].shape[axis]))


@composed(np.concatenate)
def concatenate(arrays: Any, axis: int | None = 0) -> Any:
    if axis is None:
        return _joined(*map(np.ravel, arrays), axis=0)
    return _joined(*(a if isinstance(a, Tensor) else np.asarray(a) for a in arrays), axis=axis)


@composed(np.stack)
def stack(arrays: Any, axis: int = 0) -> Any:
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis)


@composed(np.vstack)
def vstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_2d(a) for a in tup], 0)


@composed(np.hstack)
def hstack(tup: Any) -> Any:
    arrays = [np.atleast_1d(a) for a in tup]
    return np.concatenate(arrays, 0 if arrays[0].ndim == 1 else 1)


@composed(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list:
    if not isinstance(indices_or_sections, (int, np.integer)):
        return array_split(ary, indices_or_sections, axis)
    n, size = ary.shape[axis], ary.shape[axis] // indices_or_sections
    if n != size * indices_or_sections:
        raise ValueError(f"np.split: {n} elements along axis {axis} can't be cut into "
                         f"{indices_or_sections} equal parts; np.array_split takes unequal ones")
    before = (slice(None),) * (axis % ary.ndim)
    return [ary[(*before, slice(i * size, (i + 1) * size))] for i in range(indices_or_sections)]


@composed(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list:
    places = np.array_split(np.arange(ary.shape[axis]), indices_or_sections)
    before = (slice(None),) * (axis % ary.ndim)
    ends = np.cumsum([len(p) for p in places])
    if not isinstance(indices_or_sections, (int, np.integer)):  # those may overlap or run backwards
        return [ary[(*before, p)] for p in places]
    return [ary[(*before, slice(end - len(p), end))] for p, end in zip(places, ends)]


padded = Primitive(
    lambda x, widths, value: np.pad(x, widths, constant_values=value),
    lambda g, y, x, widths, value: g[tuple(slice(b, b + n)
                                           for (b, _), n in zip(widths, x.shape))], name="pad")


@composed(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    if array.ndim == 0:
        return np.copy(array)
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    if mode == "constant":
        return padded(array, widths, constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise NoRule(f"np.pad(mode={mode!r}) has no derivative rule; it has one for constant, "
                     "edge, reflect, symmetric and wrap")
    return array[np.ix_(*(np.pad(np.arange(n), w, mode) for n, w in zip(array.shape, widths)))]


def _untiled(g: Any, a: Any, reps: Any) -> Any:
    reps = np.atleast_1d(reps).tolist()
    shape = (1,) * (len(reps) - a.ndim) + a.shape
    reps = [1] * (len(shape) - len(reps)) + reps
    blocks = np.reshape(g, [n for pair in zip(reps, shape) for n in pair])
    return np.reshape(np.sum(blocks, axis=tuple(range(0, 2 * len(shape), 2))), a.shape)


def _unrepeated(g: Any, a: Any, repeats: Any, axis: int | None) -> Any:
    if axis is None:
        return np.reshape(_unrepeated(g, np.ravel(a), repeats, 0), a.shape)
    axis %= a.ndim
    source = np.repeat(np.arange(a.shape[axis]), repeats)
    return scatter(g, (slice(None),) * axis + (source,), a.shape)
