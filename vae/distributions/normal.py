"""The normal distribution with a diagonal covariance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from minigrad import noise
from minigrad.functions import softplus
from minigrad.kernels.blocks import all_finite
from minigrad.marks import mark
from minigrad.tensor import untraced
from vae.distributions.base import (
    HALF_LOG_2PI,
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require,
    require_finite,
)
from vae.distributions.implicit import with_ends
from vae.distributions.support import REAL

EXACT, FARTHEST = 15.0, 20.0  # |log std| is exact up to the first, and never above the second


class Normal(Distribution):
    """N(mean, diag(std²)); the last `event_ndim` axes make one draw, those before are a batch.

        log N(x) = -Σ ½((x - mean)/std)² + log std + ½ log 2π        (nats, summed over the event)

    What is known is named: `Normal(mean, std)`, `Normal.from_log_std`, `Normal.from_log_var`; a raw
    output of a network is none of them.  The last two bound |log std| smoothly below 20, in this
    one place for sample, density and KL: exact up to 15, with a slope everywhere in between.
    """

    path = "location-scale"
    parameters = ("mean", "std", "log_std")
    support = REAL

    def __init__(self, mean: Any, std: Any, *, event_ndim: int | None = None):
        mean, std = as_floats(mean, std)
        require("Normal(mean, std)", "std", std, (std > 0) & (std < math.inf),
                "positive and finite",
                "is it a logarithm? Then Normal.from_log_std or Normal.from_log_var")
        self._set(mean, std, np.log(std), event_ndim)

    @classmethod
    def from_log_std(cls, mean: Any, log_std: Any, *, event_ndim: int | None = None) -> Normal:
        """N(mean, exp(log_std)²)."""
        mean, log_std = as_floats(mean, log_std)
        log_std = _bounded(log_std)
        normal = cls.__new__(cls)
        normal._set(mean, np.exp(log_std), log_std, event_ndim)
        return normal

    @classmethod
    def from_log_var(cls, mean: Any, log_var: Any, *, event_ndim: int | None = None) -> Normal:
        """N(mean, exp(log_var)): what the encoder of Kingma and Welling (2014) gives."""
        return cls.from_log_std(mean, 0.5 * log_var, event_ndim=event_ndim)

    @classmethod
    def from_softplus(cls, mean: Any, raw: Any, *, event_ndim: int | None = None) -> Normal:
        """N(mean, softplus(raw)²): a spread that grows linearly, and shrinks exponentially."""
        mean, raw = as_floats(mean, raw)
        # log softplus(r) = r - ½eʳ + … far on the left, where softplus itself underflows
        left = np.minimum(raw, -15.0)
        log_std = np.where(raw < -15, left - 0.5 * np.exp(left),
                           np.log(softplus(np.maximum(raw, -15.0))))
        return cls.from_log_std(mean, log_std, event_ndim=event_ndim)

    @classmethod
    def standard(cls, *shape: int) -> Normal:
        """N(0, I) for one event of this shape."""
        normal = cls(np.zeros(shape, np.float32), np.ones(shape, np.float32),
                     event_ndim=len(shape))
        normal.is_standard = True
        return normal

    def _set(self, mean: Any, std: Any, log_std: Any, event_ndim: int | None) -> None:
        require_finite("Normal", mean=mean)
        self.mean, self.std, self.log_std = mean, std, log_std
        self.is_standard = False
        self.shape = broadcast(mean.shape, std.shape)
        self.event_ndim = event_axes("Normal", self.shape, event_ndim)

    def map(self, f: Callable[[Any], Any]) -> Normal:
        """This distribution with `f` applied to each of its parameters."""
        new = super().map(f)
        new.is_standard = False  # whatever f does
        return new

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def variance(self) -> Any:
        return np.square(self.std)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """mean + std·ε with ε ~ N(0, I): Kingma and Welling (2014), section 2.4."""
        eps = noise.normal(rng, shape + self.shape, self.std.dtype)
        return self.mean + mark(self.std * eps, "noise")  # of a constant std it is noise still

    @np.errstate(over="ignore")  # of a tiny std it may be -∞
    def log_prob(self, x: Any) -> Any:
        """log density per event, in nats: -inf for an infinite x, with a gradient of 0."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x, self.dtype)
        density = self._log_density_of_event(x)
        return density if all_finite(untraced(density)) else super().log_prob(x)

    def _log_density_of_event(self, x: Any) -> Any:
        """The sum of `_log_density`, where what many draws share is summed before it meets them."""
        n = self.event_ndim
        event = self.shape[len(self.shape) - n:]
        if x.shape[x.ndim - n:] != event:
            return event_sum(self._log_density(x), n)
        z = x if self.is_standard and x.dtype == self.dtype else (x - self.mean) / self.std
        log_std = self.log_std
        if log_std.shape[log_std.ndim - n:] != event:
            log_std = np.broadcast_to(log_std, self.shape)
        return (-0.5 * event_sum(np.square(z), n) - event_sum(log_std, n)
                - HALF_LOG_2PI * math.prod(event))

    def log_prob_each(self, x: Any) -> Any:
        """log p of x (…, n) under each of K vectors: (…, K), by products of matrices.

            Σ ((x - mean)/std)² = Σ x²/std² - 2 x mean/std² + mean²/std²

        in float64, where little of it cancels; of float32 only, for which that is exact.
        """
        if not self._products_are_exact(x):
            return super().log_prob_each(x)
        x, mean, log_std = (a.astype(np.float64) for a in (x, self.mean, self.log_std))
        precision = np.exp(-2 * log_std)
        scaled = mean * precision
        distance = np.square(x) @ precision.T - 2 * (x @ scaled.T) + (mean * scaled).sum(-1)
        constant = log_std.sum(-1) + HALF_LOG_2PI * self.shape[-1]
        return (-0.5 * distance - constant).astype(self.dtype)

    def _products_are_exact(self, x: Any) -> bool:
        """Whether K float32 vectors, whose rounding error in float64 is below 1e-6 nats."""
        shapes = {self.mean.shape, self.std.shape, self.log_std.shape, self.shape}
        if len(shapes) > 1 or len(self.shape) != 2 or self.event_ndim != 1:
            return False
        if not x.dtype == self.dtype == np.float32 or x.shape[-1:] != self.shape[-1:]:
            return False
        largest = np.maximum(np.abs(untraced(x)).max(initial=0), np.abs(untraced(self.mean)).max())
        terms = np.square(np.float64(largest) / untraced(self.std).min()) * self.shape[-1]
        return bool(terms < 1e9)

    def _log_density(self, x: Any) -> Any:
        z = (x - self.mean) / self.std
        return -0.5 * np.square(z) - self.log_std - HALF_LOG_2PI

    def cdf(self, x: Any) -> Any:
        """Φ((x - mean)/std) of each element."""
        from scipy.special import ndtr
        return ndtr(np.clip((x - self.mean) / self.std, -40, 40))  # beyond it is 0 and 1

    def icdf(self, p: Any) -> Any:
        """mean + std·Φ⁻¹(p) of each element: infinite at 0 and 1, NaN outside; gradient 0 there."""
        from scipy.special import ndtri
        p = as_floats(self.mean, p)[1]
        inside = (untraced(p) > 0) & (untraced(p) < 1)
        return with_ends(p, self.mean + self.std * ndtri(np.where(inside, p, 0.5)),
                         -math.inf, math.inf)

    def entropy(self) -> Any:
        """Σ log std + ½ log 2πe, in nats."""
        return event_sum(np.broadcast_to(self.log_std, self.shape) + (HALF_LOG_2PI + 0.5),
                         self.event_ndim)


def _bounded(x: Any) -> Any:
    """x up to ±EXACT, then bent towards ±FARTHEST, with slope 1 at the bend and never none."""
    largest = np.abs(untraced(x)).max(initial=0)
    if largest <= EXACT:
        return x
    if not largest < math.inf:
        require_finite("Normal", log_std=x)
    inner, room = np.clip(x, -EXACT, EXACT), FARTHEST - EXACT
    t = (x - inner) / room
    return inner + room * t / np.sqrt(1 + t * t)
