"""The continuous Bernoulli distribution: grey values from 0 to 1 with a normalised density."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.polynomial import Polynomial
from numpy.random import Generator
from scipy.special import zeta

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.functions import softplus
from vae.distributions.base import (
    Distribution,
    as_floats,
    event_axes,
    event_sum,
    require_finite,
)
from vae.distributions.support import Interval

NEAR = 2.0  # |logit| below which derivatives are power series, which converge below 2π
TERMS = 18  # of those: the next is (2/2π)³⁶ ≈ 1e-18


class ContinuousBernoulli(Distribution):
    """Density C(λ) λˣ (1-λ)¹⁻ˣ on [0, 1] with λ = sigmoid(logits): Loaiza-Ganem, Cunningham (2019).

        log p(x) = Σ x·logit - K(logit),  K(eta) = log((exp(eta) - 1)/eta)        (nats)

    It is the exponential family of the uniform distribution, with the cumulants K′, K″, …: mean and
    variance.  sigmoid(logits) is its natural parameter, and no mean.  Draws are by the inverse cdf,
    in closed form, and so is the gradient through them.
    """

    path = "inverse cdf"
    parameters = ("logits",)
    support = Interval(0.0, 1.0)

    def __init__(self, logits: Any, *, event_ndim: int | None = None):
        self.logits, = as_floats(logits)
        require_finite("ContinuousBernoulli", logits=self.logits)
        self.shape = self.logits.shape
        self.event_ndim = event_axes("ContinuousBernoulli", self.shape, event_ndim)

    @property
    def log_normaliser(self) -> Any:
        """log C of each element: log(2 artanh(1-2λ)/(1-2λ)), log 2 at λ = ½ (their eq. 6)."""
        minus = np.where(self.logits > 0, -self.logits, self.logits)  # C is even
        return softplus(minus) - cumulant(minus, 0)

    @property
    def mean(self) -> Any:
        return cumulant(self.logits, 1)

    @property
    def variance(self) -> Any:
        return cumulant(self.logits, 2)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        dtype = self.dtype
        u = noise.uniform(rng, shape + self.shape, dtype)
        # 0 stands for all up to the next: its own density may be e^-logit times the usual one
        return quantile(np.maximum(u, np.finfo(dtype).eps / 2), self.logits)

    def _log_density(self, x: Any) -> Any:
        return log_density(x, self.logits)

    def entropy(self) -> Any:
        """Σ K(logit) - logit·mean, in nats: 0 for logit 0, and negative for all others."""
        return event_sum(_entropy(self.logits), self.event_ndim)

    def cdf(self, x: Any) -> Any:
        """(exp(logit·x) - 1)/(exp(logit) - 1) of each element."""
        logits, x = as_floats(self.logits, x)
        return _cdf(np.clip(x, 0, 1), logits)

    def icdf(self, p: Any) -> Any:
        """log(1 + p·(exp(logit) - 1))/logit of each element, for p from 0 to 1."""
        logits, p = as_floats(self.logits, p)
        return quantile(p, logits)


# -- K and its derivatives ------------------------------------------------------------------------
@with_vjp(lambda g, y, eta, n: g * cumulant(eta, n + 1))
def cumulant(eta: Any, n: int) -> Any:
    """The n-th derivative of K(eta) = log((exp(eta) - 1)/eta)."""
    eta = np.asarray(eta)
    if n == 0:
        return np.maximum(eta, 0) + _mirrored(np.abs(eta))
    far = np.where(np.abs(eta) < NEAR, NEAR, eta)
    if n == 1:  # 1/(1 - exp(-eta)) - 1/eta, without the overflow
        e = np.exp(-np.abs(far))
        away = np.where(far > 0, 1, -e) / (1 - e) - 1 / far
    else:
        away = _away(far, n)
    return np.where(np.abs(eta) < NEAR, _series(np.clip(eta, -NEAR, NEAR), n), away)


def _mirrored(a: ndarray) -> ndarray:
    """K(-a) = log((1 - e⁻ᵃ)/a) for a ≥ 0."""
    safe = np.where(a == 0, 1, a)
    return np.where(a == 0, 0, np.log(-np.expm1(-safe) / safe))


def _series(eta: ndarray, n: int) -> ndarray:
    """The n-th derivative of eta/2 + Σ B₂ₖ eta²ᵏ/(2k (2k)!), for |eta| ≤ 2."""
    return _polynomial(n)(eta).astype(eta.dtype)


@lru_cache
def _polynomial(n: int) -> Polynomial:
    coefficients = np.zeros(2 * TERMS + 1)
    k = np.arange(1, TERMS + 1)  # B₂ₖ/(2k)! = ±2 ζ(2k)/(2π)²ᵏ
    coefficients[2::2] = -(-1.0) ** k * zeta(2.0 * k) / (k * (2 * np.pi) ** (2 * k))
    coefficients[1] = 0.5
    return Polynomial(coefficients).deriv(n) if n else Polynomial(coefficients)


def _away(eta: ndarray, n: int) -> ndarray:
    """The n-th derivative, n ≥ 2, of log sinh(eta/2) - log eta, for |eta| ≥ 2."""
    e = np.exp(-np.abs(eta))
    w = 4 * e / np.square(1 - e)  # 1/sinh²(eta/2)
    part = _hyperbolic(n)(w)
    if n % 2:
        part = part * np.sign(eta) * (1 + e) / (1 - e)
    power = 1 / eta
    for i in range(1, n):  # (-1)ⁿ (n-1)!/etaⁿ, by factors that don't overflow
        power = power * (-i / eta)
    return (part - power).astype(eta.dtype)


@lru_cache
def _hyperbolic(n: int) -> Polynomial:
    """Q with (log sinh(eta/2))⁽ⁿ⁾ = Q(w), times c for odd n; w = 1/sinh²(eta/2), c = coth(eta/2).

    c′ = -w/2, w′ = -c·w and c² = 1 + w.
    """
    w = Polynomial([0.0, 1.0])
    if n == 1:
        return Polynomial([0.5])
    before = _hyperbolic(n - 1)
    if n % 2:
        return -w * before.deriv()
    return -0.5 * w * before - (1 + w) * w * before.deriv()


# -- density, entropy, cdf, quantiles: with |eta|, so that no exponential overflows ---------------
@with_vjp(lambda g, y, x, eta: g * eta,
          lambda g, y, x, eta: g * (x - cumulant(eta, 1)), elementwise=True)
def log_density(x: Any, eta: Any) -> Any:
    """x·eta - K(eta)."""
    a = np.abs(eta)
    return -a * np.where(eta > 0, 1 - x, x) - _mirrored(a)


@with_vjp(lambda g, y, eta: -g * eta * cumulant(eta, 2))
def _entropy(eta: Any) -> Any:
    eta = np.asarray(eta)
    near, a = np.clip(eta, -NEAR, NEAR), np.maximum(np.abs(eta), NEAR)
    away = _mirrored(a) + a * cumulant(-a, 1)
    # K - eta·K′ of the series, with no terms that cancel
    series = _polynomial(0)
    middle = (series - Polynomial([0.0, 1.0]) * series.deriv())(near).astype(eta.dtype)
    return np.where(np.abs(eta) < NEAR, middle, away)


@with_vjp(lambda g, y, x, eta: g * np.exp(log_density(x, eta)),
          lambda g, y, x, eta: g * y * (x * cumulant(eta * x, 1) - cumulant(eta, 1)),
          elementwise=True)
def _cdf(x: Any, eta: Any) -> Any:
    a = np.abs(eta)
    safe = np.where(a == 0, 1, a)
    # expm1(lx)/expm1(eta), which is e^(-eta(1-x)) expm1(-lx)/expm1(-eta)
    ratio = np.expm1(-safe * x) / np.expm1(-safe) * np.exp(np.where(eta > 0, -a * (1 - x), 0))
    return np.where(a == 0, x, ratio)


@with_vjp(lambda g, x, p, eta: g * _inverse_density(x, eta),
          lambda g, x, p, eta: g * _slope(x, eta), elementwise=True)
def quantile(p: Any, eta: Any) -> Any:
    """The x with cdf p; for eta > 0 mirrored, as 1 - x is the same of -eta and 1 - p."""
    a = np.abs(eta)
    q = np.where(eta > 0, 1 - p, p)
    safe, inner = np.where(a == 0, 1, a), np.where(q == 1, 0.5, q)
    x = np.where(a == 0, q, -np.log1p(inner * np.expm1(-safe)) / safe)
    x = np.where(q == 1, 1, np.minimum(x, 1))
    return np.where(eta > 0, 1 - x, x)


@np.errstate(over="ignore")  # at the ends it may be above the largest number, and is ∞
def _inverse_density(x: Any, eta: Any) -> Any:
    return np.exp(-log_density(x, eta))


def _slope(x: Any, eta: Any) -> Any:
    """dx/dl at a fixed p: -(∂cdf/∂eta)/density = -(y·r(ay))·(y·K′(ay) - K′(a)), r(z) = (1 - e⁻ᶻ)/z.

    With a = |eta|, and y = x or 1 - x: the exponentials of cdf and density are cancelled.
    """
    right = eta > 0
    a, y = np.where(right, eta, -eta), np.where(right, x, 1 - x)
    return -y * np.exp(cumulant(-a * y, 0)) * (y * cumulant(a * y, 1) - cumulant(a, 1))
