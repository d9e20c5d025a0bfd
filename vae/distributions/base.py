"""What every distribution offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.random import Generator


class Distribution(ABC):
    """Abstract.  `shape` is that of the parameters: batch axes, then `event_ndim` event axes.

    A log probability, an entropy, a KL is one number per event: summed over the event, in nats.
    """

    shape: tuple[int, ...]
    event_ndim: int
    mean: Any

    @abstractmethod
    def sample(self, shape: tuple[int, ...] = (), *, rng: Generator) -> Any:
        """Draws of shape `shape` + `self.shape`."""

    @abstractmethod
    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats."""

    @abstractmethod
    def entropy(self) -> Any:
        """-E log p(x) per event, in nats."""


def event_sum(x: Any, event_ndim: int) -> Any:
    """The sum over the last `event_ndim` axes."""
    if event_ndim == 1:
        return x.sum(-1)
    return x.sum(tuple(range(-event_ndim, 0))) if event_ndim else x


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of shapes a and b give together."""
    return a if a == b else np.broadcast_shapes(a, b)
