"""The von Mises distribution: the normal distribution's counterpart on the circle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.tensor import untraced
from vae.distributions.base import (
    LOG_2PI,
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require,
    require_finite,
)
from vae.distributions.bessel import deficit, log_i0e
from vae.distributions.implicit import choose, in_blocks, integral, rounded, wide
from vae.distributions.support import REAL


class VonMises(Distribution):
    """VonMises(location μ, concentration κ ≥ 0): angles; the last `event_ndim` axes make one.

        log p(x) = Σ κ cos(x - μ) - log 2π I₀(κ)        (nats)

    A density on the circle: x is any real number, taken modulo 2π; draws lie in [-π, π).  They are
    differentiable by both parameters, to any order: implicitly by κ (Figurnov, Mohamed and Mnih
    2018).  All is computed in float64.  Raises ValueError for a location that is not finite, a
    concentration that is negative or not finite.

    mean: the circular mean μ.  variance: the circular variance 1 - I₁(κ)/I₀(κ), between 0 and 1.
    """

    path = "implicit"
    parameters = ("location", "concentration")
    support = REAL

    def __init__(self, location: Any, concentration: Any, *, event_ndim: int | None = None):
        self.location, self.concentration = as_floats(location, concentration)
        require_finite("VonMises", location=self.location, concentration=self.concentration)
        require("VonMises", "concentration", self.concentration,
                untraced(self.concentration) >= 0, "0 or more",
                "is it a network's raw output? np.exp or mg.softplus of that is positive")
        self.shape = broadcast(self.location.shape, self.concentration.shape)
        self.event_ndim = event_axes("VonMises", self.shape, event_ndim)

    @property
    def mean(self) -> Any:
        return np.broadcast_to(self.location, self.shape)

    @property
    def variance(self) -> Any:
        return np.broadcast_to(deficit(self.concentration, 0), self.shape)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        kappa, shape = wide(self.concentration), shape + self.shape
        plain = untraced(kappa)
        theta = noise.drawn("von_mises", shape, np.float64,
                            lambda: rng.vonmises(0, plain, shape), (plain,), moved)
        return rounded(wrapped(wide(self.location) + at_its_quantile(kappa, theta)), self.dtype)

    def _log_density(self, x: Any) -> Any:
        kappa, dtype = wide(self.concentration), np.result_type(self.dtype, x.dtype)
        half = 0.5 * (wide(x) - wide(self.location))
        each = -2 * kappa * np.square(np.sin(half)) - log_i0e(kappa) - LOG_2PI
        return rounded(each, dtype)

    def entropy(self) -> Any:
        """Σ log 2π I₀(κ) - κ I₁(κ)/I₀(κ), in nats."""
        kappa = wide(self.concentration)
        each = np.broadcast_to(log_i0e(kappa) + LOG_2PI + kappa * deficit(kappa, 0), self.shape)
        return rounded(event_sum(each, self.event_ndim), self.dtype)

    def cdf(self, x: Any) -> Any:
        """P(μ - π ≤ X ≤ x) of each element: the circle is cut opposite the location.

        x is any real number, taken modulo 2π; NaN for an infinite one.
        """
        x, = as_floats(x)
        angle = np.where(np.isinf(untraced(x)), math.nan, wide(x))
        theta = wrapped(angle - wide(self.location))
        p = angle_cdf(wide(self.concentration), theta)
        return rounded(p, np.result_type(self.dtype, x.dtype))


def wrapped(x: Any) -> Any:
    """x modulo 2π, in [-π, π)."""
    inside = np.all(np.abs(untraced(x)) < math.pi)  # and then not a bit is lost
    return x if inside else np.remainder(x + math.pi, 2 * math.pi) - math.pi


# -- the implicit derivative ----------------------------------------------------------------------
# Of p(θ) = exp(κ cos θ)/(2π I₀), by A' and the moments of cos t - A beyond θ:
#     dθ/dκ = -(∂F/∂κ)/p = J₁ + (cos θ - A) J₀,   J_k = ∫ (cos t - cos θ)ᵏ p(t)/p(θ) dt
# over θ < t < π, or minus that over 0 < t < θ: both give the same, since E[cos t] = A.  Of the two
# that one is taken, by cos θ < A, in which both terms have one sign.  J is odd in θ.  And
#     ∂J_k/∂κ = J_{k+1},   ∂J_k/∂θ = sin θ (k J_{k-1} + κ J_k), and for k = 0 minus 1.
def _integral(power: int, kappa: ndarray, theta: ndarray, c: ndarray) -> ndarray:
    """∫ (c - u)ᵏ exp(-κu) dt with u = cos θ - cos t, for θ ≥ 0; c = 0 gives J_k."""
    def f(t: ndarray, kappa: ndarray, theta: ndarray, c: ndarray) -> ndarray:
        u = 2 * np.sin((t + theta) / 2) * np.sin((t - theta) / 2)
        return (c - u) ** power * np.exp(-kappa * u)

    def beyond(kappa: ndarray, theta: ndarray, c: ndarray) -> ndarray:
        # as far as κu = 45 + 5k: sin²(t/2) = sin²(θ/2) + u/2
        sine = np.sin(theta / 2) ** 2 + (22.5 + 2.5 * power) / np.maximum(kappa, 1)
        end = np.maximum(2 * np.arcsin(np.sqrt(np.minimum(sine, 1))), theta)
        return integral(lambda t: f(t, kappa, theta, c), theta, end)

    def before(kappa: ndarray, theta: ndarray, c: ndarray) -> ndarray:
        return -integral(lambda t: f(t, kappa, theta, c), 0 * theta, theta)

    return choose(_centre(kappa, theta) < 0, beyond, before, kappa, theta, c)


def _centre(kappa: Any, theta: Any) -> Any:
    """cos θ - A(κ), also where both are nearly 1."""
    return deficit(kappa, 0) - 2 * np.square(np.sin(theta / 2))


def _slope(kappa: ndarray, theta: ndarray) -> ndarray:
    positive = np.abs(theta)
    return np.sign(theta) * _integral(1, kappa, positive, _centre(kappa, positive))


@with_vjp(lambda g, j, kappa, theta, power: g * angle_tail(kappa, theta, power + 1),
          lambda g, j, kappa, theta, power: g * (
              np.sin(theta) * ((power * angle_tail(kappa, theta, power - 1) if power else 0)
                               + kappa * j) - (0 if power else 1)), elementwise=True)
def angle_tail(kappa: ndarray, theta: ndarray, power: int) -> ndarray:
    """J_k of the comment above, k = power."""
    return in_blocks(lambda kappa, theta: np.sign(theta) * _integral(
        power, kappa, np.abs(theta), 0 * theta), kappa, theta)


@with_vjp(lambda g, d, kappa, theta: g * (
              angle_tail(kappa, theta, 2) + _centre(kappa, theta) * angle_tail(kappa, theta, 1)
              + deficit(kappa, 1) * angle_tail(kappa, theta, 0)),
          lambda g, d, kappa, theta: g * (kappa * np.sin(theta) * d - _centre(kappa, theta)),
          elementwise=True)
def angle_slope(kappa: ndarray, theta: ndarray) -> ndarray:
    """dθ/dκ at a fixed quantile, -π ≤ θ ≤ π (Figurnov, Mohamed and Mnih 2018, equation 7)."""
    return in_blocks(_slope, kappa, theta)


@with_vjp(lambda g, theta, kappa, value: g * angle_slope(kappa, theta), None, elementwise=True)
def at_its_quantile(kappa: ndarray, value: ndarray) -> ndarray:
    """The draw `value`, as a function of the concentration."""
    return value


# -- the distribution function --------------------------------------------------------------------
def _density(kappa: Any, theta: Any) -> Any:
    return np.exp(-2 * kappa * np.square(np.sin(theta / 2)) - log_i0e(kappa) - LOG_2PI)


def _survival(kappa: ndarray, theta: ndarray) -> ndarray:
    """P(X > θ) for θ ≥ 0."""
    part = _density(kappa, theta) * _integral(0, kappa, theta, 0 * theta)
    return np.where(_centre(kappa, theta) < 0, part, 0.5 + part)


def _cdf(kappa: ndarray, theta: ndarray) -> ndarray:
    above = _survival(kappa, np.abs(theta))
    return np.where(theta < 0, above, 1 - above)


@with_vjp(lambda g, p, kappa, theta: -g * _density(kappa, theta) * angle_slope(kappa, theta),
          lambda g, p, kappa, theta: g * _density(kappa, theta), elementwise=True)
def angle_cdf(kappa: ndarray, theta: ndarray) -> ndarray:
    """P(X ≤ θ) for location 0, -π ≤ θ ≤ π."""
    return in_blocks(_cdf, kappa, theta)


def moved(theta: ndarray, old: tuple[ndarray, ...], new: tuple[ndarray, ...]) -> ndarray:
    """θ at the same quantile of the distribution with another concentration."""
    return in_blocks(_moved, theta, *old, *new)


def _moved(theta: ndarray, old: ndarray, new: ndarray) -> ndarray:
    """Bisection, and Newton's method for log P(X > θ), which falls ever faster."""
    aim = _survival(old, np.abs(theta))
    low, high = np.zeros_like(aim), np.full_like(aim, math.pi)
    for _ in range(20):
        middle = (low + high) / 2
        beyond = _survival(new, middle) < aim
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    found = (low + high) / 2
    for _ in range(5):
        here = np.maximum(_survival(new, found), 1e-300)
        step = np.log(here / np.maximum(aim, 1e-300)) * here / _density(new, found)
        found = np.clip(found + step, low, high)
    return np.copysign(found, theta)
