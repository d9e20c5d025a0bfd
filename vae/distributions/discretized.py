"""A logistic distribution rounded to whole numbers, for pixels of 0 … 255."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from scipy.special import expit, logit

from minigrad import noise
from minigrad.functions import log_sigmoid
from minigrad.tensor import untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require,
    require_positive,
)
from vae.distributions.support import Integers

FARTHEST, LEAST_SCALE = 1e12, 1e-12  # where (x - location)/scale² is a number yet in float32


class DiscretizedLogistic(Distribution):
    """Salimans et al. (2017), equation 2: a logistic variate, rounded; the ends take the tails.

        P(x) = σ((x + ½ - location)/scale) - σ((x - ½ - location)/scale),   x = low … high

    where σ(∞) stands at x = high, and σ(-∞) at x = low.  location and scale count in steps of x:
    for pixels in [-1, 1] they are 127.5 times those of the paper.  log P is finite for every x, in
    nats, summed over the event.  No gradient gets through a draw.
    """

    parameters = ("location", "scale")

    def __init__(self, location: Any, scale: Any, *, low: int = 0, high: int = 255,
                 event_ndim: int | None = None):
        who = "DiscretizedLogistic"
        if int(low) != low or int(high) != high or low >= high:
            raise ValueError(f"{who}(low={low!r}, high={high!r}): whole numbers, the first smaller")
        self.location, self.scale = as_floats(location, scale)
        value = untraced(self.location)
        require(who, "location", value, np.abs(value) <= FARTHEST,
                f"finite, and at most {FARTHEST:g} in size")
        require_positive(who, scale=self.scale)
        value = untraced(self.scale)
        require(who, "scale", value, value >= LEAST_SCALE, f"at least {LEAST_SCALE:g}")
        self.low, self.high = int(low), int(high)
        self.support = Integers(self.low, self.high)
        self.shape = broadcast(self.location.shape, self.scale.shape)
        self.event_ndim = event_axes(who, self.shape, event_ndim)

    def _log_density(self, x: Any) -> Any:
        """σ(a) - σ(b) = σ(a) σ(-b) (1 - e^-(a-b)), here with a - b = 1/scale: nothing cancels."""
        centred = x - self.location
        above = log_sigmoid((centred + 0.5) / self.scale)
        below = log_sigmoid((0.5 - centred) / self.scale)
        inner = above + below + np.log(-np.expm1(-1 / self.scale))
        value = untraced(x)
        return np.where(value == self.low, above, np.where(value == self.high, below, inner))

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> ndarray:
        location, scale = untraced(self.location), untraced(self.scale)
        u = noise.uniform(rng, shape + self.shape, self.dtype)
        u = np.maximum(u, np.finfo(u.dtype).eps / 2)  # 0 would be the lowest value, however far
        return np.clip(np.floor(location + scale * logit(u) + 0.5), self.low, self.high)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) = σ((⌊x⌋ + ½ - location)/scale) below `high`; constant in x."""
        x = np.floor(np.asarray(untraced(x), self.dtype))
        inside = expit((np.clip(x, self.low, self.high) + 0.5 - self.location) / self.scale)
        return np.where(x < self.low, 0, np.where(x >= self.high, 1, inside))

    def icdf(self, p: Any) -> ndarray:
        """The least value with cdf ≥ p, of each element; it has no derivative."""
        p = np.asarray(untraced(p), self.dtype)
        x = untraced(self.location) + untraced(self.scale) * logit(p) - 0.5
        return np.clip(np.ceil(x), self.low, self.high)

    # -- exact sums over all values -------------------------------------------------------------
    def _values(self) -> tuple[ndarray, Any]:
        """All values, and their log probabilities, along a new first axis."""
        x = np.arange(self.low, self.high + 1, dtype=self.dtype)
        x = np.broadcast_to(x.reshape(-1, *(1,) * len(self.shape)), (len(x), *self.shape))
        return x, self._log_density(x)

    @property
    def mean(self) -> Any:
        x, log_p = self._values()
        return (np.exp(log_p) * x).sum(0)

    @property
    def variance(self) -> Any:
        x, log_p = self._values()
        p = np.exp(log_p)
        return (p * np.square(x - (p * x).sum(0))).sum(0)

    def entropy(self) -> Any:
        """-Σ P log P over all values, in nats."""
        log_p = self._values()[1]
        return event_sum(-(np.exp(log_p) * log_p).sum(0), self.event_ndim)
