"""Networks: lists of callables that end in a distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator

from minigrad.functions import relu
from minigrad.nn import Dense, Sequential, glorot_uniform, he_uniform, zeros
from minigrad.nn.initialisers import Initialiser
from vae.distributions import Bernoulli, Normal


class ToNormal:
    """h (..., n_in) -> Normal of n_out dimensions: mean and log variance are linear in h."""

    def __init__(self, n_in: int, n_out: int, **init: Any):
        self.linear = Dense(n_in, 2 * n_out, **init)

    def __call__(self, h: Any) -> Normal:
        mean, log_var = np.split(self.linear(h), 2, axis=-1)
        return Normal.from_log_var(mean, log_var)


class ToBernoulli:
    """h (..., n_in) -> Bernoulli of n_out dimensions: the logits are linear in h."""

    def __init__(self, n_in: int, n_out: int, **init: Any):
        self.linear = Dense(n_in, n_out, **init)

    def __call__(self, h: Any) -> Bernoulli:
        return Bernoulli(self.linear(h))

    def start_at(self, mean: np.ndarray) -> None:
        """Biases that give this mean where the weights say nothing: its logit, kept within ±7.

        A network that starts there need not learn first how bright each pixel is.
        """
        mean = np.clip(mean, 1e-3, 1 - 1e-3)
        self.linear.bias.data[...] = np.log(mean / (1 - mean))


def dense(sizes: Sequence[int], head: Callable, *, activation: Callable = np.tanh,
          rng: Generator, weight: Initialiser | None = None,
          bias: Initialiser = zeros) -> Sequential:
    """Dense layers sizes[0] -> sizes[1] -> … with activations between, then `head(…, sizes[-1])`.

    weight: by default Glorot's initialisation, and He's for relu.
    """
    weight = weight or (he_uniform if activation is relu else glorot_uniform)
    layers: list[Callable] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [Dense(n_in, n_out, rng=rng, weight=weight, bias=bias), activation]
    last = glorot_uniform if weight is he_uniform else weight  # nothing is cut off after it
    return Sequential(*layers, head(*sizes[-2:], rng=rng, weight=last, bias=bias))
