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
    return np.sum(x, axis=tuple(range(-event_ndim, 0))) if event_ndim else x
