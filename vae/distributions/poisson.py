"""The Poisson distribution of counts."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from scipy.special import gammaincc, gammaln, psi, xlogy

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.tensor import untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    event_axes,
    event_sum,
    require,
    require_finite,
    require_positive,
)
from vae.distributions.support import Integers

LARGEST_RATE = 2.0**62  # of a draw, which NumPy makes as an int64
SUMMED = 100.0  # up to this rate the entropy is summed, above it is expanded
# Entropy = ½ log 2πeλ - Σ cₘ λ⁻ᵐ, from the moments of log(1 + (X - λ)/λ).
EXPANSION = (1 / 12, 1 / 24, 19 / 360, 9 / 80, 863 / 2520, 1375 / 1008, 33953 / 5040, 57281 / 1440)


class Poisson(Distribution):
    """Counts 0, 1, 2, … with mean and variance `rate`, a positive number.

        log p(x) = x log rate - rate - log x!        (nats, summed over the event)

    Of large rates these terms cancel: they are computed in float64, and rounded at the end.
    No gradient gets through a draw.
    """

    parameters = ("rate", "log_rate")
    support = Integers(0, 2.0**63)

    def __init__(self, rate: Any, *, event_ndim: int | None = None):
        rate, = as_floats(rate)
        require_positive("Poisson", rate=rate)
        self._set(rate, np.log(rate), event_ndim)
        self.by_log = False

    @classmethod
    def from_log_rate(cls, log_rate: Any, *, event_ndim: int | None = None) -> Poisson:
        """The rate exp(log_rate), as a network gives it.

        Raises ValueError where that overflows; one that underflows is known by its logarithm.
        """
        log_rate, = as_floats(log_rate)
        require_finite("Poisson.from_log_rate", log_rate=log_rate)
        value = untraced(log_rate)
        largest = float(np.log(np.finfo(value.dtype).max))
        require("Poisson.from_log_rate", "log_rate", value, value < largest,
                f"below {largest:.4g} in {value.dtype}")
        poisson = cls.__new__(cls)
        poisson._set(np.exp(log_rate), log_rate, event_ndim)
        poisson.by_log = True
        return poisson

    def _set(self, rate: Any, log_rate: Any, event_ndim: int | None) -> None:
        self.rate, self.log_rate, self.shape = rate, log_rate, rate.shape
        self.event_ndim = event_axes("Poisson", self.shape, event_ndim)

    @property
    def mean(self) -> Any:
        return self.rate

    @property
    def variance(self) -> Any:
        return self.rate

    def _log_density(self, x: Any) -> Any:
        if self.by_log:
            return _log_mass_by_log(x, self.log_rate)
        return _log_mass(x, self.rate)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> ndarray:
        """Under `noise.replay` with other rates a count stays at its randomised quantile."""
        rate = untraced(self.rate)
        require("Poisson.sample", "rate", rate, rate < LARGEST_RATE, f"below {LARGEST_RATE:.2g}")
        shape += self.shape
        return noise.drawn("poisson", shape, rate.dtype,
                           lambda: np.asarray(rng.poisson(rate, shape)).astype(rate.dtype),
                           (rate,), _transport)

    def entropy(self) -> Any:
        """-Σ p log p, in nats, with a relative error of about 1e-13 (in float64) at any rate.

        Summed up to a rate of 100, to where less than 1e-17 of the mass is left; above that an
        expansion in 1/rate, whose next term is below 1e-15.  Derivatives of any order are sums, and
        expansions, of their own.
        """
        return event_sum(_entropy(self.rate, 0), self.event_ndim)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) of each element: the regularised Γ(⌊x⌋ + 1, rate); constant in x."""
        return _cdf(np.asarray(untraced(x)), self.rate)

    def icdf(self, p: Any) -> ndarray:
        """The least count with cdf ≥ p, of each element; it has no derivative."""
        rate = untraced(self.rate)
        return _quantile(np.asarray(untraced(p)), rate).astype(rate.dtype)


# -- the logarithm of the mass --------------------------------------------------------------------
@with_vjp(lambda g, y, x, rate: g * (np.log(rate) - psi(x + 1.0)),
          lambda g, y, x, rate: g * ((x - rate) / rate), elementwise=True)
def _log_mass(x: Any, rate: Any) -> Any:
    count, wide = np.float64(x), np.float64(rate)
    return (xlogy(count, wide) - wide - gammaln(count + 1)).astype(np.asarray(rate).dtype)


@with_vjp(lambda g, y, x, log_rate: g * (log_rate - psi(x + 1.0)),
          lambda g, y, x, log_rate: g * (x - np.exp(log_rate)), elementwise=True)
def _log_mass_by_log(x: Any, log_rate: Any) -> Any:
    count, wide = np.float64(x), np.float64(log_rate)
    return (count * wide - np.exp(wide) - gammaln(count + 1)).astype(np.asarray(log_rate).dtype)


# -- cdf and quantiles ----------------------------------------------------------------------------
def _cdf_by_rate(g: Any, y: Any, x: Any, rate: Any) -> Any:
    known = (x >= 0) & (x < math.inf)
    mass = np.exp(np.minimum(_log_mass(np.where(known, np.floor(x), 0.0), rate), 0))
    return np.where(known, -g * mass, 0)


@with_vjp(None, _cdf_by_rate, elementwise=True)
def _cdf(x: Any, rate: Any) -> Any:
    f = gammaincc(np.floor(np.maximum(np.float64(x), 0)) + 1, np.float64(rate))
    return np.where(x < 0, 0.0, f).astype(np.asarray(rate).dtype)


def _quantile(p: ndarray, rate: ndarray) -> ndarray:
    """The least count with cdf ≥ p, by bisection; float64."""
    p, rate = np.broadcast_arrays(np.float64(p), np.float64(rate))
    low, high = np.full(p.shape, -1.0), np.ceil(rate + 10 * np.sqrt(rate) + 50)
    while np.any(short := (gammaincc(high + 1, rate) < p) & (p < 1)):
        high = np.where(short, 2 * high, high)
    while np.any(high - low > np.maximum(1, 1e-15 * high)):
        middle = np.maximum(np.floor((low + high) / 2), 0)
        reached = gammaincc(middle + 1, rate) >= p
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.where(p < 1, high, np.where(p == 1, np.inf, np.nan))


def _transport(x: ndarray, old: tuple, new: tuple) -> ndarray:
    """x ~ Poisson(old) moved to Poisson(new): x' at u = F(x - 1) + v·p(x), with v uniform.

    Then u is uniform, and x' has its law.  v depends on x alone, so that the same is drawn again.
    """
    before, after = (np.broadcast_to(np.float64(rate), x.shape) for rate in (*old, *new))
    v = np.random.default_rng(zlib.crc32(np.ascontiguousarray(x))).random(x.shape)
    u = _cdf(x - 1.0, before) + v * np.exp(_log_mass(np.float64(x), before))
    moved = _quantile(np.minimum(u, np.nextafter(1.0, 0)), after)
    return np.where(before == after, x, moved)


# -- entropy --------------------------------------------------------------------------------------
@with_vjp(lambda g, y, rate, n: g * _entropy(rate, n + 1))
def _entropy(rate: Any, n: int) -> Any:
    """The n-th derivative of the entropy by the rate."""
    rate = np.asarray(rate)
    value = np.maximum(rate, np.finfo(rate.dtype).tiny).astype(np.float64)  # what has underflown
    few, many = np.minimum(value, SUMMED), np.maximum(value, SUMMED)
    return np.where(value <= SUMMED, _summed(few, n), _expanded(many, n)).astype(rate.dtype)


def _summed(rate: ndarray, n: int) -> ndarray:
    """E f(X) by the definition for n = 0; else, since d/dλ E f(X) = E[f(X + 1) - f(X)],

    E[log(X + 1)] - log λ and its derivatives, whose expectations are of finite differences.
    """
    top = float(rate.max(initial=0))
    counts = np.arange(int(top + 10 * math.sqrt(top) + 30))
    log_rate, total, p = np.log(rate), np.zeros_like(rate), np.exp(-rate)
    if n > 0:
        differences = np.diff(np.log(np.arange(1.0, len(counts) + n)), n - 1)
    for k in counts:
        f = differences[k] if n else rate - k * log_rate + math.lgamma(k + 1)
        total += p * f
        p = p * rate / (k + 1)
    if n == 0:
        return total
    if n == 1:
        return total - log_rate
    return total + (-1) ** (n - 1) * math.factorial(n - 2) / rate ** (n - 1)


def _expanded(rate: ndarray, n: int) -> ndarray:
    """½ log 2πeλ - Σ cₘ λ⁻ᵐ, or its n-th derivative."""
    inverse = 1 / rate  # whose powers underflow, where those of the rate would overflow
    if n == 0:
        total = 0.5 * np.log(rate) + 0.5 * math.log(2 * math.pi * math.e)
    else:
        total = 0.5 * (-1) ** (n - 1) * math.factorial(n - 1) * inverse**n
    for m, c in enumerate(EXPANSION, 1):
        total = total - c * (-1) ** n * math.perm(m + n - 1, n) * inverse ** (m + n)
    return total
