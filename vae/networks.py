"""Networks: lists of callables that end in a distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator

from minigrad.nn import Dense, Sequential, glorot_uniform, zeros
from minigrad.nn.initialisers import Initialiser
from minigrad.tensor import Tensor
from vae.distributions import Bernoulli, Normal


class ToNormal:
    """h (..., n_in) -> Normal of n_out dimensions: mean and log variance are linear in h."""

    def __init__(self, n_in: int, n_out: int, **init: Any):
        self.linear = Dense(n_in, 2 * n_out, **init)

    def __call__(self, h: Any) -> Normal:
        both = self.linear(h)
        n = both.shape[-1] // 2
        return Normal.from_log_var(both[..., :n], both[..., n:])


class ToBernoulli:
    """h (..., n_in) -> Bernoulli of n_out dimensions: the logits are linear in h."""

    def __init__(self, n_in: int, n_out: int, **init: Any):
        self.linear = Dense(n_in, n_out, **init)

    def __call__(self, h: Any) -> Bernoulli:
        return Bernoulli(self.linear(h))

    def start_at(self, mean: np.ndarray) -> None:
        """Biases that give this mean where the weights say nothing: its logit.

        A network that starts there need not learn first how bright each pixel is.
        """
        self.linear.bias.data[...] = logit_of(mean)


class LearnedNormal:
    """() -> Normal of n dimensions: a prior that is learned, and begins as N(0, I)."""

    def __init__(self, n: int):
        self.mean, self.log_std = (Tensor(np.zeros(n, np.float32)) for _ in range(2))

    def __call__(self) -> Normal:
        return Normal.from_log_std(self.mean, self.log_std)


def logit_of(mean: Any) -> Any:
    """log mean/(1 - mean), within ±7 also where a pixel is never or always set."""
    mean = np.clip(mean, 1e-3, 1 - 1e-3)
    return np.log(mean / (1 - mean))


class OverRows:
    """A network of rows, (n, a) -> (n, b), as one of (…, a) -> (…, b): several draws a datum."""

    def __init__(self, network: Callable):
        self.network = network

    def __call__(self, x: Any) -> Any:
        if x.ndim == 2:
            return self.network(x)
        rows = self.network(np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])))
        return np.reshape(rows, (*x.shape[:-1], rows.shape[-1]))


def dense(sizes: Sequence[int], head: Callable, *, activation: Callable = np.tanh,
          rng: Generator, weight: Initialiser = glorot_uniform,
          bias: Initialiser = zeros) -> Sequential:
    """Dense layers from sizes[0] to sizes[-2], activations between, then `head(…, sizes[-1])`."""
    init = {"rng": rng, "weight": weight, "bias": bias}
    layers: list[Callable] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [Dense(n_in, n_out, **init), activation]
    return Sequential(*layers, head(*sizes[-2:], **init))
