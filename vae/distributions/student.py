"""Student's t distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sc
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.tensor import untraced
from vae.distributions.base import (
    HALF_LOG_2PI,
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require_finite,
    require_positive,
)
from vae.distributions.implicit import (
    between,
    choose,
    in_blocks,
    log_gamma,
    logit_beta_slope,
    rounded,
    wide,
    with_ends,
)
from vae.distributions.support import REAL

LARGE = 15.0  # from here on `half_step` by its asymptotic series
COEFFICIENTS = [-(1 - 4.0**-n) * float(sc.bernoulli(2 * n)[-1]) / (n * (2 * n - 1))
                for n in range(1, 9)]
FARTHEST = {np.dtype(np.float32): 1e18, np.dtype(np.float64): 1e150}  # its square is finite
MOST_STRETCHED = {dtype: math.log(z / 40) for dtype, z in FARTHEST.items()}  # |ε| < 40


class StudentT(Distribution):
    """location + scale·t, t with `df` = ν degrees of freedom; the last `event_ndim` axes are one.

        log p(x) = Σ log Γ((ν+1)/2) - log Γ(ν/2) - ½ log πν - log scale - (ν+1)/2 log(1 + z²/ν)

    in nats, with z = (x - location)/scale.  Draws are z = ε √(ν/2)/√γ with ε ~ N(0, 1) and γ a
    gamma variate of shape ν/2, and differentiable by all parameters (implicitly by ν: Figurnov,
    Mohamed and Mnih 2018); |z| is at most 1e18 in float32 and 1e150 in float64.  All is computed
    in float64.  Raises ValueError for df or scale that are not positive and finite.

    mean: NaN where ν ≤ 1, as there is none.  variance: infinite where 1 < ν ≤ 2, NaN where ν ≤ 1.
    """

    path = "implicit"
    parameters = ("df", "location", "scale")
    support = REAL

    def __init__(self, df: Any, location: Any, scale: Any, *, event_ndim: int | None = None):
        self.df, self.location, self.scale = as_floats(df, location, scale)
        require_positive("StudentT", df=self.df, scale=self.scale)
        require_finite("StudentT", location=self.location)
        self.shape = broadcast(self.df.shape, self.location.shape, self.scale.shape)
        self.event_ndim = event_axes("StudentT", self.shape, event_ndim)

    @property
    def mean(self) -> Any:
        return np.where(untraced(self.df) > 1, np.broadcast_to(self.location, self.shape), math.nan)

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def variance(self) -> Any:
        plain = untraced(self.df)
        df = np.where(plain > 2, self.df, 3)
        finite = np.square(self.scale) * (1 + 2 / (df - 2))
        none = np.where(plain > 1, math.inf, math.nan).astype(self.dtype)
        return np.broadcast_to(np.where(plain > 2, finite, none), self.shape)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        shape = shape + self.shape
        half, dtype = 0.5 * wide(self.df), np.dtype(self.dtype)
        eps = noise.normal(rng, shape, np.float64)
        log_stretch = 0.5 * (np.log(half) - log_gamma(rng, shape, half, dtype))
        z = eps * np.exp(np.minimum(log_stretch, MOST_STRETCHED[dtype]))
        return _within(wide(self.location) + wide(self.scale) * z, dtype)

    def _standardised(self, x: Any) -> Any:
        return (wide(x) - wide(self.location)) / wide(self.scale)

    def _log_density(self, x: Any) -> Any:
        df, scale = wide(self.df), wide(self.scale)
        each = log_t_density(df, self._standardised(x)) - np.log(scale)
        return rounded(each, np.result_type(self.dtype, x.dtype))

    def entropy(self) -> Any:
        """Σ (ν+1)/2 (ψ((ν+1)/2) - ψ(ν/2)) + log √ν B(ν/2, ½) + log scale, in nats."""
        df, scale = wide(self.df), wide(self.scale)
        each = (0.5 * (df + 1) * (half_step(0.5 * df, 1) + 1 / df) - half_step(0.5 * df, 0)
                + HALF_LOG_2PI + np.log(scale))
        return rounded(event_sum(np.broadcast_to(each, self.shape), self.event_ndim), self.dtype)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) of each element, differentiable by x and all parameters."""
        x, = as_floats(x)
        far = np.isinf(untraced(x))
        p = t_cdf(wide(self.df), self._standardised(np.where(far, 0, x)))
        return rounded(np.where(far, untraced(x) > 0, p), np.result_type(self.dtype, x.dtype))

    def icdf(self, p: Any) -> Any:
        """The x of each element at which the cdf is p; NaN for p outside [0, 1]."""
        p, = as_floats(p)
        dtype = np.result_type(self.dtype, p.dtype)
        x = wide(self.location) + wide(self.scale) * t_icdf(wide(self.df), between(p))
        return with_ends(p, _within(x, dtype), -math.inf, math.inf)


def _within(x: Any, dtype: Any) -> Any:
    """x, but no further out than the largest number: of a tiny df most quantiles are."""
    largest = float(np.finfo(dtype).max)
    return rounded(np.clip(x, -largest, largest), dtype)


@with_vjp(lambda g, y, x, order: g * half_step(x, order + 1), elementwise=True)
def half_step(x: ndarray, order: int) -> ndarray:
    """The derivative of this order of log Γ(x + ½) - log Γ(x) - ½ log x, which is small.

    From x = 15 on by its asymptotic series, as the difference would cancel; from that of log Γ,
    Abramowitz and Stegun (1964), 6.1.40.
    """
    return in_blocks(lambda x: choose(x < LARGE, lambda x: _difference(x, order),
                                      lambda x: _series(x, order), x), x)


def _series(x: ndarray, order: int) -> ndarray:
    total, square = np.zeros_like(x), x**-2
    for n in range(len(COEFFICIENTS), 0, -1):
        rising = math.prod(range(2 * n - 1, 2 * n - 1 + order))  # of the derivative of x^(1-2n)
        total = total * square + COEFFICIENTS[n - 1] * (-1) ** order * rising
    return total * x ** (-1.0 - order)


def _difference(x: ndarray, order: int) -> ndarray:
    if order == 0:
        return sc.gammaln(x + 0.5) - sc.gammaln(x) - 0.5 * np.log(x)
    log_part = 0.5 * (-1) ** (order - 1) * math.factorial(order - 1) / x**order
    return sc.polygamma(order - 1, x + 0.5) - sc.polygamma(order - 1, x) - log_part


def log_t_density(df: Any, t: Any) -> Any:
    """log p(t) of location 0 and scale 1."""
    return half_step(0.5 * df, 0) - HALF_LOG_2PI - 0.5 * (df + 1) * np.log1p(np.square(t) / df)


def t_slope(df: Any, t: Any) -> Any:
    """dt/dν at a fixed quantile: ν/(ν + t²) is a beta variate of shapes ν/2 and ½."""
    y = np.log(df) - 2 * np.log(np.maximum(np.abs(t), 1e-150))  # its logit
    return 0.5 * t * (1 / df - 0.5 * logit_beta_slope(0.5 * df, np.full_like(untraced(y), 0.5), y))


@with_vjp(lambda g, p, df, t: -g * np.exp(log_t_density(df, t)) * t_slope(df, t),
          lambda g, p, df, t: g * np.exp(log_t_density(df, t)), elementwise=True)
def t_cdf(df: ndarray, t: ndarray) -> ndarray:
    """P(T ≤ t)."""
    return sc.stdtr(df, t)


@with_vjp(lambda g, t, df, p: g * t_slope(df, t),
          lambda g, t, df, p: g * np.exp(-log_t_density(df, t)), elementwise=True)
def t_icdf(df: ndarray, p: ndarray) -> ndarray:
    """The t at which the cdf is p, for 0 < p < 1."""
    return sc.stdtrit(df, p)
