"""Laplace, logistic, log-normal, exponential and uniform: noise that is shifted and scaled."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from scipy.special import logit, ndtr, ndtri

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.functions import sigmoid
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
    require_positive,
)
from vae.distributions.implicit import positive_from_log, with_ends
from vae.distributions.support import NOT_NEGATIVE, POSITIVE, REAL, Interval


class LocationScale(Distribution):
    """Abstract: location + scale·ε, where ε has a law without parameters, symmetric around 0.

        log p(x) = Σ log f((x - location)/scale) - log scale        (nats)

    location, scale: floats that broadcast.  Raises ValueError for a location that is not finite, or
    a scale that is not positive.  A subclass says what the density f of ε is, and how it is drawn.
    """

    path = "location-scale"
    parameters = ("location", "scale")
    support = REAL
    standard_entropy: ClassVar[float]  # of ε, in nats
    standard_variance: ClassVar[float]

    def __init__(self, location: Any, scale: Any, *, event_ndim: int | None = None):
        who = type(self).__name__
        self.location, self.scale = as_floats(location, scale)
        require_finite(who, location=self.location)
        require_positive(who, scale=self.scale)
        self.shape = broadcast(self.location.shape, self.scale.shape)
        self.event_ndim = event_axes(who, self.shape, event_ndim)

    @staticmethod
    @abstractmethod
    def standard_noise(rng: Generator, shape: tuple[int, ...], dtype: Any) -> ndarray:
        """Draws of ε."""

    @staticmethod
    @abstractmethod
    def standard_log_density(z: Any) -> Any:
        """log f(z)."""

    @staticmethod
    @abstractmethod
    def standard_cdf(z: Any) -> Any:
        """P(ε ≤ z)."""

    @staticmethod
    @abstractmethod
    def standard_icdf(p: Any) -> Any:
        """The z with P(ε ≤ z) = p."""

    @property
    def mean(self) -> Any:
        return _shaped(self.location, self.shape)

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def variance(self) -> Any:
        return _shaped(self.standard_variance * np.square(self.scale), self.shape)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        eps = self.standard_noise(rng, shape + self.shape, self.scale.dtype)
        return self.location + mark(self.scale * eps, "noise")

    def _log_density(self, x: Any) -> Any:
        return self.standard_log_density((x - self.location) / self.scale) - np.log(self.scale)

    def entropy(self) -> Any:
        """Σ log scale + the entropy of ε, in nats."""
        return event_sum(_shaped(np.log(self.scale) + self.standard_entropy, self.shape),
                         self.event_ndim)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) of each element."""
        x = _array(x, self.dtype)
        far = np.isinf(untraced(x))
        p = self.standard_cdf((np.where(far, 0, x) - self.location) / self.scale)
        return np.where(far, untraced(x) > 0, p)

    def icdf(self, p: Any) -> Any:
        """The x of each element at which the cdf is p; ValueError unless 0 ≤ p ≤ 1.

        Infinite at 0 and 1, with a gradient of 0.
        """
        p = _probabilities(self, p)
        x = self.location + self.scale * self.standard_icdf(np.where(_inside(p), p, 0.5))
        return with_ends(p, x, -math.inf, math.inf)


class Laplace(LocationScale):
    """f(z) = ½ exp(-|z|): the double exponential; its log density has slope 0 at the kink."""

    standard_entropy = 1 + math.log(2)
    standard_variance = 2.0

    @staticmethod
    def standard_noise(rng: Generator, shape: tuple[int, ...], dtype: Any) -> ndarray:
        """The difference of two exponential variates, which needs no logarithm of a 0."""
        one, other = noise.exponential(rng, (2, *shape), dtype)
        return one - other

    @staticmethod
    def standard_log_density(z: Any) -> Any:
        return -np.abs(z) - math.log(2)

    @staticmethod
    def standard_cdf(z: Any) -> Any:
        tail = 0.5 * np.exp(np.where(z < 0, z, -z))  # -|z|, but with a slope at 0
        return np.where(z < 0, tail, 1 - tail)

    @staticmethod
    def standard_icdf(p: Any) -> Any:
        z = _log(2 * np.where(p < 0.5, p, 1 - p))
        return np.where(p < 0.5, z, -z)


class Logistic(LocationScale):
    """f(z) = e⁻ᶻ/(1 + e⁻ᶻ)², the slope of the sigmoid."""

    standard_entropy = 2.0
    standard_variance = math.pi**2 / 3

    @staticmethod
    def standard_noise(rng: Generator, shape: tuple[int, ...], dtype: Any) -> ndarray:
        """log (1 + w)/(1 - w), with w uniform on (-1, 1)."""
        # uniforms are multiples of ε/2: in the middle of their steps w is symmetric, and never ±1
        w = 2 * noise.uniform(rng, shape, dtype) - (1 - float(np.finfo(dtype).eps) / 2)
        return np.log((1 + w) / (1 - w))

    @staticmethod
    @with_vjp(lambda g, y, z: -g * np.tanh(0.5 * z), elementwise=True)
    def standard_log_density(z: Any) -> Any:
        minus = -np.abs(z)  # f is even: no exponent is positive
        return minus - 2 * np.log1p(np.exp(minus))

    @staticmethod
    def standard_cdf(z: Any) -> Any:
        return sigmoid(z)

    @staticmethod
    def standard_icdf(p: Any) -> Any:
        return logit(p)


class LogNormal(LocationScale):
    """exp of a normal variate: log X ~ N(location, scale²).

        log p(x) = Σ log N(log x; location, scale²) - log x        (nats; x > 0)
    """

    support = POSITIVE
    standard_entropy = HALF_LOG_2PI + 0.5
    standard_noise = staticmethod(noise.normal)
    standard_icdf = staticmethod(ndtri)

    @staticmethod
    def standard_log_density(z: Any) -> Any:
        return -0.5 * np.square(z) - HALF_LOG_2PI

    @staticmethod
    def standard_cdf(z: Any) -> Any:
        return ndtr(np.clip(z, -40, 40))  # beyond it is 0 and 1, and z² might overflow

    @property
    @np.errstate(over="ignore")
    def mean(self) -> Any:
        """exp(location + ½ scale²), ∞ where that overflows."""
        return np.exp(self.location + 0.5 * np.square(self.scale))

    @property
    @np.errstate(over="ignore")
    def variance(self) -> Any:
        """(exp(scale²) - 1)·mean², ∞ where that overflows."""
        return np.exp(2 * self.location + np.square(self.scale) + log_growth(self.scale))

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        return positive_from_log(super()._sample(shape, rng), self.dtype)

    def _log_density(self, x: Any) -> Any:
        log_x = np.log(x)
        return super()._log_density(log_x) - log_x

    def entropy(self) -> Any:
        """Σ location + log scale + ½ log 2πe, in nats."""
        return super().entropy() + event_sum(_shaped(self.location, self.shape), self.event_ndim)

    def cdf(self, x: Any) -> Any:
        """Φ((log x - location)/scale) of each element, 0 for x ≤ 0."""
        x = _array(x, self.dtype)
        return np.where(x <= 0, 0, super().cdf(np.log(np.where(x <= 0, 1, x))))

    def icdf(self, p: Any) -> Any:
        """exp(location + scale·Φ⁻¹(p)) of each element; ValueError unless 0 ≤ p ≤ 1."""
        p = _probabilities(self, p)
        log_x = super().icdf(np.where(_inside(p), p, 0.5))
        return with_ends(p, positive_from_log(log_x, log_x.dtype), 0.0, math.inf)


class Exponential(Distribution):
    """The waiting time for an event that comes at a rate.

        log p(x) = Σ log rate - rate·x        (nats; x ≥ 0)

    Raises ValueError for a rate that is not positive and finite.
    """

    path = "location-scale"
    parameters = ("rate",)
    support = NOT_NEGATIVE

    def __init__(self, rate: Any, *, event_ndim: int | None = None):
        self.rate, = as_floats(rate)
        require_positive("Exponential", rate=self.rate)
        self.shape = self.rate.shape
        self.event_ndim = event_axes("Exponential", self.shape, event_ndim)

    @property
    def mean(self) -> Any:
        return 1 / self.rate

    @property
    @np.errstate(over="ignore")
    def variance(self) -> Any:
        return np.square(self.mean)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        return noise.exponential(rng, shape + self.shape, self.rate.dtype) / self.rate

    def _log_density(self, x: Any) -> Any:
        return np.log(self.rate) - self.rate * x

    def entropy(self) -> Any:
        """Σ 1 - log rate, in nats."""
        return event_sum(1 - np.log(self.rate), self.event_ndim)

    def cdf(self, x: Any) -> Any:
        """1 - exp(-rate·x) of each element, 0 for x < 0."""
        x = _array(x, self.dtype)
        outside = (x < 0) | (x == math.inf)
        return np.where(x == math.inf, 1, -np.expm1(-self.rate * np.where(outside, 0, x)))

    def icdf(self, p: Any) -> Any:
        """-log(1 - p)/rate of each element; ValueError unless 0 ≤ p ≤ 1."""
        p = _probabilities(self, p)
        return np.where(p == 1, np.inf, -np.log1p(-np.where(p == 1, 0, p))) / self.rate


class Uniform(Distribution):
    """Every number from low to high, the ends included, is as likely.

        log p(x) = Σ -log(high - low)        (nats; low ≤ x ≤ high)

    The support moves with the parameters, which log p(x) has no derivative for: a gradient of
    E[h(X)] by low and high goes through the draws, low + (high - low)·u.
    Raises ValueError for ends that are not finite, and unless low < high.
    """

    path = "location-scale"
    parameters = ("low", "high")

    def __init__(self, low: Any, high: Any, *, event_ndim: int | None = None):
        self.low, self.high = as_floats(low, high)
        require_finite("Uniform", low=self.low, high=self.high)
        self.shape = broadcast(self.low.shape, self.high.shape)
        require("Uniform", "high", np.broadcast_to(untraced(self.high), self.shape),
                self.high > self.low, "above low")
        self.event_ndim = event_axes("Uniform", self.shape, event_ndim)

    @property
    def support(self) -> Interval:
        return Interval(untraced(self.low), untraced(self.high))

    @property
    def mean(self) -> Any:
        return 0.5 * self.low + 0.5 * self.high

    @property
    @np.errstate(over="ignore")
    def variance(self) -> Any:
        return np.square(self.high - self.low) / 12

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        u = noise.uniform(rng, shape + self.shape, self.high.dtype)
        # u < 1 lessens a width that was rounded up by more than that: no draw is above `high`
        return self.low + mark((self.high - self.low) * u, "noise")

    def _log_density(self, x: Any) -> Any:
        return 0 * x - np.log(self.high - self.low)  # 0·x: of a NaN it is NaN

    def entropy(self) -> Any:
        """Σ log(high - low), in nats."""
        return event_sum(np.log(self.high - self.low), self.event_ndim)

    def cdf(self, x: Any) -> Any:
        """(x - low)/(high - low) of each element, within 0 and 1."""
        return np.clip((x - self.low) / (self.high - self.low), 0, 1)

    def icdf(self, p: Any) -> Any:
        """low + (high - low)·p of each element; ValueError unless 0 ≤ p ≤ 1."""
        return self.low + (self.high - self.low) * _probabilities(self, p)


@np.errstate(over="ignore")
def log_growth(scale: Any) -> Any:
    """log(exp(scale²) - 1)."""
    small = untraced(scale) < 1e-4
    square = np.square(scale)
    middle = np.clip(np.where(small, 1, square), 0, 80)  # beyond it the logarithm is 0
    return np.where(small, 2 * np.log(scale) + 0.5 * square,
                    square + np.log(-np.expm1(-middle)))


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else np.broadcast_to(x, shape)


def _array(x: Any, dtype: Any) -> Any:
    return x if hasattr(x, "dtype") else np.asarray(x, dtype)


def _inside(p: Any) -> Any:
    return (untraced(p) > 0) & (untraced(p) < 1)


def _probabilities(of: Distribution, p: Any) -> Any:
    p = _array(p, of.dtype)
    require(f"{type(of).__name__}.icdf", "p", p, (p >= 0) & (p <= 1), "between 0 and 1")
    return p


def _log(x: Any) -> Any:
    """log x for x ≥ 0: -inf at 0, where NumPy would warn."""
    return np.where(x == 0, -np.inf, np.log(np.where(x == 0, 1, x)))
