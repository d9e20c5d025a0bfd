"""Layers that normalise: LayerNorm, GroupNorm, BatchNorm.  Channels are the last axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.tensor import Tensor, untraced

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import DTypeLike


class _Normalisation:
    """Abstract: gain·(x - mean)/√(var + eps) + offset, with a gain and an offset each channel."""

    def __init__(self, channels: int, eps: float, dtype: DTypeLike):
        self.gain, self.offset = Tensor(np.ones(channels, dtype)), Tensor(np.zeros(channels, dtype))
        self.eps = eps

    def _check(self, x: Any) -> None:
        if x.shape[-1:] != self.gain.shape:
            raise ValueError(f"{self} was given an array of shape {x.shape}: its last axis must "
                             f"have {self.gain.shape[0]} elements")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.gain.shape[0]})"

    def _by_axes(self, x: Any, axes: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """x, normalised over these axes; the mean and the variance that it had."""
        mean = np.mean(x, axis=axes, keepdims=True)
        deviation = x - mean
        variance = np.mean(np.square(deviation), axis=axes, keepdims=True)
        return deviation / np.sqrt(variance + self.eps), mean, variance


class LayerNorm(_Normalisation):
    """Over the last axis, of n elements (Ba et al. 2016)."""

    def __init__(self, n: int, *, eps: float = 1e-5, dtype: DTypeLike = np.float32):
        super().__init__(n, eps, dtype)

    def __call__(self, x: Any) -> Any:
        self._check(x)
        return self.gain * self._by_axes(x, (-1,))[0] + self.offset


class GroupNorm(_Normalisation):
    """Over all pixels and the channels of a group, each datum by itself (Wu and He 2018).

    x (n, …, channels); `groups` = 1 takes all channels together, `groups` = channels each alone.
    """

    def __init__(self, groups: int, channels: int, *, eps: float = 1e-5,
                 dtype: DTypeLike = np.float32):
        if groups < 1 or channels % groups:
            raise ValueError(f"GroupNorm({groups}, {channels}): the number of groups must divide "
                             "that of the channels")
        super().__init__(channels, eps, dtype)
        self.groups = groups

    def __repr__(self) -> str:
        return f"GroupNorm({self.groups}, {self.gain.shape[0]})"

    def __call__(self, x: Any) -> Any:
        self._check(x)
        grouped = np.reshape(x, (*x.shape[:-1], self.groups, x.shape[-1] // self.groups))
        axes = (*range(1, x.ndim - 1), x.ndim)
        return self.gain * np.reshape(self._by_axes(grouped, axes)[0], x.shape) + self.offset


class BatchNorm(_Normalisation):
    """Over all axes but the last (Ioffe and Szegedy 2015).

    With `rng`, as in training, by the mean and variance of the batch, which also move the running
    ones: running + momentum·(batch - running), of the variance its unbiased estimate.  Without, by
    the running ones.  The generator is not drawn from: chance comes in with the rest of the batch.
    """

    random = True
    buffers = ("running_mean", "running_var")

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5,
                 dtype: DTypeLike = np.float32):
        super().__init__(channels, eps, dtype)
        self.momentum = momentum
        self.running_mean, self.running_var = np.zeros(channels, dtype), np.ones(channels, dtype)

    def __call__(self, x: Any, *, rng: Generator | None = None) -> Any:
        self._check(x)
        if rng is None:
            factor = self.gain / np.sqrt(self.running_var + self.eps)
            return (x - self.running_mean) * factor + self.offset
        axes = tuple(range(x.ndim - 1))
        n = x.size // x.shape[-1]
        if n < 2:
            raise ValueError(f"BatchNorm in training needs two values of each channel at least; "
                             f"x {x.shape} has {n}")
        normalised, mean, variance = self._by_axes(x, axes)
        for running, batch in ((self.running_mean, untraced(mean)),
                               (self.running_var, untraced(variance) * (n / (n - 1)))):
            running += self.momentum * (batch.reshape(running.shape) - running)
        return self.gain * normalised + self.offset
