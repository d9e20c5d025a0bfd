"""Networks: lists of callables that end in a distribution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy import ndarray
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


class Head(ABC):
    """Abstract.  h (…, n_in) -> p(x|z) of n_out numbers, by `parts`·n_out raw ones linear in h.

    linear: what stands for that dense layer, such as `as_it_is` behind a network that ends in the
    raw numbers.  A subclass says what distribution they are.
    """

    parts = 1

    def __init__(self, n_in: int, n_out: int, *, linear: Callable | None = None, **init: Any):
        self.linear = linear or Dense(n_in, self.parts * n_out, **init)

    def __call__(self, h: Any) -> Any:
        return self.distribution(self.linear(h))

    @abstractmethod
    def distribution(self, raw: Any) -> Any:
        """p(x|z) from raw numbers (…, parts·n_out)."""

    @abstractmethod
    def raw_at(self, mean: ndarray) -> ndarray:
        """The raw numbers (parts·n_out,) of a distribution with this mean (n_out,), or nearly."""

    def start_at(self, mean: ndarray) -> None:
        """Biases that give this mean where the weights say nothing.

        A network that starts there need not learn first how bright each pixel is.
        """
        self.linear.bias.data[...] = self.raw_at(mean)


class ToBernoulli(Head):
    """h (..., n_in) -> Bernoulli of n_out dimensions: the logits are linear in h."""

    def distribution(self, raw: Any) -> Bernoulli:
        return Bernoulli(raw)

    def raw_at(self, mean: ndarray) -> ndarray:
        return logit_of(mean)


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


def as_it_is(x: Any) -> Any:
    """x."""
    return x


def part_by_part(x: Any) -> Any:
    """(n, height, width, parts) -> (n, parts·pixels): all pixels of a part side by side."""
    return np.reshape(np.moveaxis(x, -1, 1), (x.shape[0], math.prod(x.shape[1:])))


class OverRows:
    """A network of rows, (n, a) -> (n, b), as one of (…, a) -> (…, b): several draws a datum."""

    def __init__(self, network: Callable):
        self.network = network

    def __call__(self, x: Any) -> Any:
        if x.ndim == 2:
            return self.network(x)
        rows = self.network(np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])))
        return np.reshape(rows, (*x.shape[:-1], rows.shape[-1]))


class Beside:
    """u (…, n, n_u) -> network([u, x]) for fixed x, (n, n_x) or the same (n_x,) for all."""

    def __init__(self, network: Callable[[Any], Any], x: Any):
        self.network, self.x = network, x

    def __call__(self, u: Any) -> Any:
        return self.network(np.concatenate([u, over_draws(self.x, u)], axis=-1))


def over_draws(x: Any, z: Any) -> Any:
    """x (n, n_x), the same for all draws of z (…, n, n_z)."""
    return np.broadcast_to(x, (*z.shape[:-1], x.shape[-1]))


def dense(sizes: Sequence[int], head: Callable, *, activation: Callable = np.tanh,
          rng: Generator, weight: Initialiser = glorot_uniform,
          bias: Initialiser = zeros) -> Sequential:
    """Dense layers from sizes[0] to sizes[-2], activations between, then `head(…, sizes[-1])`."""
    init = {"rng": rng, "weight": weight, "bias": bias}
    layers: list[Callable] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [Dense(n_in, n_out, **init), activation]
    return Sequential(*layers, head(*sizes[-2:], **init))
