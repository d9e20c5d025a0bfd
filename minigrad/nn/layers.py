"""Layers: plain objects that are called.  A network is a list of callables.

A layer whose result is random has `random = True` and takes `rng`, keyword only: with a generator
it is random, without one it is what it is at test time.  So there is no mode to forget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import noise
from minigrad.functions import affine
from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from minigrad.tensor import Tensor

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import DTypeLike


class Dense:
    """x @ weight + bias; x (..., n_in) -> (..., n_out)."""

    def __init__(self, n_in: int, n_out: int, *, rng: Generator,
                 weight: Initialiser = glorot_uniform, bias: Initialiser = zeros,
                 dtype: DTypeLike = np.float32):
        self.weight = Tensor(weight((n_in, n_out), n_in, n_out, rng=rng).astype(dtype))
        self.bias = Tensor(bias((n_out,), n_in, n_out, rng=rng).astype(dtype))

    def __call__(self, x: Any) -> Any:
        n_in, n_out = self.weight.shape
        if x.shape[-1:] != (n_in,):
            raise ValueError(f"Dense({n_in}, {n_out}) was given an array of shape {x.shape}: its "
                             f"last axis must have {n_in} elements")
        return affine(x, self.weight, self.bias)


class Sequential:
    """The layers one after the other: layers, activations, any function of one array."""

    random = True

    def __init__(self, *layers: Callable):
        self.layers = list(layers)

    def __call__(self, x: Any, *, rng: Generator | None = None) -> Any:
        for layer in self.layers:
            x = layer(x, rng=rng) if getattr(layer, "random", False) else layer(x)
        return x


class Dropout:
    """With `rng`, each element is 0 with probability `rate`, the others are x/(1 - rate).

    Srivastava et al. 2014; without `rng`, x.
    """

    random = True

    def __init__(self, rate: float):
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout({rate}): the rate is at least 0 and below 1")
        self.rate = rate

    def __call__(self, x: Any, *, rng: Generator | None = None) -> Any:
        if rng is None or self.rate == 0:
            return x
        kept = noise.uniform(rng, x.shape, x.dtype) >= self.rate
        return x * (kept / (1 - self.rate)).astype(x.dtype)


class Flatten:
    """(n, …) -> (n, the product of the rest)."""

    def __call__(self, x: Any) -> Any:
        return np.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Reshape:
    """(n, …) -> (n, *shape)."""

    def __init__(self, *shape: int):
        if any(n < 0 for n in shape):
            raise ValueError(f"Reshape{shape}: give every length, none is found out")
        self.shape = shape

    def __call__(self, x: Any) -> Any:
        if math.prod(x.shape[1:]) != math.prod(self.shape):
            raise ValueError(f"Reshape{self.shape} was given an array of shape {x.shape}: behind "
                             f"the first axis it must have {math.prod(self.shape)} elements")
        return np.reshape(x, (x.shape[0], *self.shape))
