"""The terms, 0 or more each, of which divergences are sums: a sum of such keeps its digits.

For an exponential family KL(q‖p) is a Bregman divergence, F(p) - F(q) - F'(q)(p - q), of its log
normaliser F (Banerjee et al. 2005, "Clustering with Bregman divergences", section 4).  What is
linear in F makes no difference there and is taken out, so that large parameters cancel nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.special as sc
from numpy import ndarray

from minigrad.define import with_vjp
from minigrad.functions import polygamma
from minigrad.tensor import Primitive, untraced
from vae.distributions.base import as_floats


@with_vjp(lambda g, y, x: g)
def not_negative(x: Any) -> Any:
    """x, which is 0 or more but for its last rounding; the slope is that of x."""
    return np.maximum(x, 0)


@with_vjp(lambda g, y, plain, value: g)
def with_slopes_of(plain: Any, value: Any) -> Any:
    """`value`, an ndarray, with the slopes of `plain`, which is the same number less exactly.

    A sum of terms of 0 or more keeps the value, yet its slopes may cancel, where one parameter is
    in several terms: eʳ of each, where little is left.  Those of a plain sum do not.
    """
    return np.asarray(value, plain.dtype)


@with_vjp(lambda g, y, r: g * growth(r), elementwise=True)
def excess(r: Any) -> Any:
    """eʳ - 1 - r ≥ 0; of r = log x it is x - 1 - log x."""
    small = np.clip(r, -0.3, 0.3)
    series = np.ones_like(small)
    for k in range(14, 2, -1):  # r²/2 (1 + r/3 (1 + r/4 (1 + …)))
        series = 1 + series * small / k
    return np.where(np.abs(r) < 0.3, 0.5 * small * small * series, growth(r) - r)


@with_vjp(lambda g, y, r: g * (y + 1), elementwise=True)
def growth(r: Any) -> Any:
    """eʳ - 1, ∞ where that is too large for the dtype."""
    with np.errstate(over="ignore"):  # the divergence is that large, and said to be infinite
        return np.expm1(r)


@with_vjp(lambda g, y, t: g * _pull(t), elementwise=True)
def distance_excess(t: Any) -> Any:
    """e^-|t| - 1 + |t| ≥ 0, which is smooth at 0, unlike |t|."""
    return excess(-np.abs(t))


@with_vjp(lambda g, y, t: g * np.exp(-np.abs(t)), elementwise=True)
def _pull(t: Any) -> Any:
    return -np.sign(t) * np.expm1(-np.abs(t))


@with_vjp(lambda g, y, a, s: g * (np.log(a) - s),
          lambda g, y, a, s: g * shortfall(a, s), elementwise=True)
def scaled_excess(a: Any, s: Any) -> Any:
    """a (eʳ - 1 - r) ≥ 0 of r = s - log a; its slope by a is -r, in which no eʳ cancels."""
    a, s = as_floats(a, s)
    return a * excess(s - np.log(a))


@with_vjp(lambda g, y, a, s: -g, lambda g, y, a, s: g * (y + a), elementwise=True)
def shortfall(a: Any, s: Any) -> Any:
    """eˢ - a."""
    a, s = as_floats(a, s)
    return a * growth(s - np.log(a))


@with_vjp(lambda g, y, d, b: g * _pull(_ratio(d, b)),
          lambda g, y, d, b: g * _near(_ratio(d, b)), elementwise=True)
def mean_distance(d: Any, b: Any) -> Any:
    """b e^(-|d|/b) + |d|: of a Laplace variate, of scale b, from what is d beside its location."""
    return b * np.exp(-np.abs(d) / b) + np.abs(d)


@with_vjp(lambda g, y, t: -g * t * np.exp(-np.abs(t)), elementwise=True)
def _near(t: Any) -> Any:
    """(1 + |t|) e^-|t|, with 0 for t that are too large for it."""
    t = np.minimum(np.abs(t), 1e3)
    return (1 + t) * np.exp(-t)


@np.errstate(over="ignore")  # the exponential is 0 there
def _ratio(d: Any, b: Any) -> Any:
    return d / b


# -- masses ---------------------------------------------------------------------------------------
@with_vjp(lambda g, y, log_q, log_p: g * _weighted(log_q, log_p),
          lambda g, y, log_q, log_p: g * _missing(log_q, log_p), elementwise=True)
def mass_divergence(log_q: Any, log_p: Any) -> Any:
    """q log(q/p) - q + p ≥ 0 of two masses: p where q is 0, ∞ where p alone is 0."""
    log_q, log_p = as_floats(log_q, log_p)
    nothing, endless = log_q == -np.inf, (log_q > -np.inf) & (log_p == -np.inf)
    q, p = np.exp(log_q), np.exp(log_p)
    known = ~(nothing | endless)
    r = np.where(known, log_p, 0) - np.where(known, log_q, 0)
    near = np.abs(r) < 1
    y = np.where(near, q * excess(np.where(near, r, 0)), p - q - q * r)
    return np.where(nothing, p, np.where(endless, np.inf, np.maximum(y, 0)))


def _weighted(log_q: Any, log_p: Any) -> Any:
    """q log(q/p), the slope by log q."""
    log_q, log_p = as_floats(log_q, log_p)
    known = np.isfinite(untraced(log_q)) & np.isfinite(untraced(log_p))
    log_q, log_p = (np.where(known, x, 0) for x in (log_q, log_p))
    return np.where(known, np.exp(log_q) * (log_q - log_p), 0)


def _missing(log_q: Any, log_p: Any) -> Any:
    """p - q, the slope by log p."""
    log_q, log_p = as_floats(log_q, log_p)
    known = np.isfinite(untraced(log_p))
    return np.where(known, np.exp(np.where(known, log_p, 0)) - np.exp(log_q), 0)


# -- Bregman divergences --------------------------------------------------------------------------
def in_double(f: Callable) -> Callable:
    """f computed in float64, its result in the arguments' dtype: for what cancels in between."""
    def forward(*xs: Any, **options: Any) -> Any:
        dtype = np.result_type(*xs)
        return f(*(np.asarray(x, np.float64) for x in xs), **options).astype(dtype)
    return forward


def bregman(potential: Callable, slope: Callable, curvature: Callable) -> Primitive:
    """D(q, p) = F(p) - F(q) - F'(q)(p - q), elementwise, from a convex F, its F' and F''."""
    def forward(q: ndarray, p: ndarray) -> ndarray:
        return np.maximum(potential(p) - potential(q) - slope(q) * (p - q), 0)
    return Primitive(in_double(forward),
                     lambda g, y, q, p: g * curvature(q) * (q - p),
                     lambda g, y, q, p: g * (slope(p) - slope(as_floats(q, p)[0])),
                     name="bregman", elementwise=True)


def polynomial(coefficients: list[float], x: Any) -> Any:
    """Σ cₖ xᵏ by Horner's rule."""
    y = coefficients[-1] + 0 * x
    for c in coefficients[-2::-1]:
        y = y * x + c
    return y


def _bernoulli_numbers(n: int) -> list[float]:
    """B₀, B₂, B₄ … B₂ₙ: Σ_{j ≤ m} C(m + 1, j) Bⱼ = 0."""
    b = [Fraction(1)]
    for m in range(1, 2 * n + 1):
        b.append(-sum(math.comb(m + 1, j) * b[j] for j in range(m)) / (m + 1))
    return [float(x) for x in b[::2]]


EVEN = _bernoulli_numbers(16)

# -- of the gamma distributions -------------------------------------------------------------------
STIRLING = 20.0  # from here on eight terms of the asymptotic series are exact


@with_vjp(lambda g, y, a, n=0: g * binet(a, n=n + 1), elementwise=True)
def binet(a: Any, n: int = 0) -> Any:
    """log Γ(a) - (a - ½) log a + a - ½ log 2π > 0, or its n-th derivative (DLMF 5.11.1)."""
    return _binet(a, n=n)


@in_double
def _binet(a: ndarray, n: int) -> ndarray:
    large, small = np.maximum(a, STIRLING), np.minimum(a, STIRLING)
    series = sum(EVEN[k] / (2 * k * (2 * k - 1)) * (-1) ** n * math.perm(2 * k - 2 + n, n)
                 * large ** (1.0 - 2 * k - n) for k in range(1, 9))
    if n == 0:
        direct = sc.gammaln(small) - (small - 0.5) * np.log(small) + small - math.log(2*math.pi)/2
    elif n == 1:
        direct = sc.psi(small) - np.log(small) + 0.5 / small
    else:
        direct = (polygamma(n - 1, small) - (-1) ** n * math.factorial(n - 2) * small ** (1.0 - n)
                  - (-1) ** n * math.factorial(n - 1) * 0.5 * small ** float(-n))
    return np.where(a > STIRLING, series, direct)


# F(a) = log Γ(a) - a log a + a, but for a constant
gamma_divergence = bregman(lambda a: binet(a) - 0.5 * np.log(a),
                           lambda a: binet(a, n=1) - 0.5 / a,
                           lambda a: binet(a, n=2) + 0.5 / (a * a))
