"""The normal distribution with a diagonal covariance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random import Generator

from minigrad.marks import mark
from minigrad.tensor import untraced
from vae.distributions.base import Distribution, broadcast, event_sum

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
EXACT, FARTHEST = 15.0, 20.0  # |log std| is exact up to the first, and never above the second


class Normal(Distribution):
    """N(mean, diag(std²)); the last `event_ndim` axes make one draw, those before are a batch.

        log N(x) = -Σ ½((x - mean)/std)² + log std + ½ log 2π        (nats, summed over the event)

    What is known is named: `Normal(mean, std)`, `Normal.from_log_std`, `Normal.from_log_var`; a raw
    output of a network is none of them.  The last two bound |log std| smoothly below 20, in this
    one place for sample, density and KL: exact up to 15, with a slope everywhere in between.
    """

    def __init__(self, mean: Any, std: Any, *, event_ndim: int = 1):
        mean, std = _array(mean, std), _array(std, mean)
        if not np.all(std > 0):
            where = np.argwhere(~np.asarray(std > 0))[0].tolist()
            raise ValueError(f"Normal(mean, std): std must be positive, it is not at {where}; is "
                             "it a logarithm? Then Normal.from_log_std or Normal.from_log_var")
        self._set(mean, std, np.log(std), event_ndim)

    @classmethod
    def from_log_std(cls, mean: Any, log_std: Any, *, event_ndim: int = 1) -> Normal:
        """N(mean, exp(log_std)²)."""
        mean, log_std = _array(mean, log_std), _bounded(_array(log_std, mean))
        normal = cls.__new__(cls)
        normal._set(mean, np.exp(log_std), log_std, event_ndim)
        return normal

    @classmethod
    def from_log_var(cls, mean: Any, log_var: Any, *, event_ndim: int = 1) -> Normal:
        """N(mean, exp(log_var)): what the encoder of Kingma and Welling (2014) gives."""
        return cls.from_log_std(mean, 0.5 * log_var, event_ndim=event_ndim)

    @classmethod
    def standard(cls, *shape: int) -> Normal:
        """N(0, I) for one event of this shape."""
        normal = cls(np.zeros(shape, np.float32), np.ones(shape, np.float32),
                     event_ndim=len(shape))
        normal.is_standard = True
        return normal

    def _set(self, mean: Any, std: Any, log_std: Any, event_ndim: int) -> None:
        self.mean, self.std, self.log_std = mean, std, log_std
        self.event_ndim, self.is_standard = event_ndim, False
        self.shape = broadcast(mean.shape, std.shape)
        if len(self.shape) < event_ndim:
            raise ValueError(f"Normal with parameters of shape {self.shape} and event_ndim="
                             f"{event_ndim}: an event has more axes than there are; for single "
                             "numbers give event_ndim=0")

    @property
    def variance(self) -> Any:
        return np.square(self.std)

    def sample(self, shape: tuple[int, ...] = (), *, rng: Generator) -> Any:
        """mean + std·ε with ε ~ N(0, I), of shape `shape` + that of the parameters.

        The reparameterisation of Kingma and Welling (2014), section 2.4: the noise is a constant,
        and gradients pass to mean and std.
        """
        noise = mark(rng.standard_normal(shape + self.shape, dtype=self.std.dtype), "noise")
        return self.mean + mark(self.std * noise, "noise")  # of a constant std it is noise still

    def log_prob(self, x: Any) -> Any:
        """log density per event, in nats."""
        z = (x - self.mean) / self.std
        return event_sum(-0.5 * np.square(z) - self.log_std - HALF_LOG_2PI, self.event_ndim)

    def entropy(self) -> Any:
        """Σ log std + ½ log 2πe, in nats."""
        return event_sum(np.broadcast_to(self.log_std, self.shape) + (HALF_LOG_2PI + 0.5),
                         self.event_ndim)


def _array(x: Any, like: Any) -> Any:
    """A plain number as an array of the other parameter's dtype."""
    if hasattr(x, "dtype"):
        return x
    return np.asarray(x, np.result_type(getattr(like, "dtype", np.float64), np.float32))


def _bounded(x: Any) -> Any:
    """x up to ±EXACT, then bent towards ±FARTHEST, with slope 1 at the bend and never none."""
    if np.abs(untraced(x)).max(initial=0) <= EXACT:
        return x
    inner, room = np.clip(x, -EXACT, EXACT), FARTHEST - EXACT
    t = (x - inner) / room
    return inner + room * t / np.sqrt(1 + t * t)
