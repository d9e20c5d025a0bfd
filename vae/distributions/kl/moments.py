"""KL between continuous distributions of two families on lines and half-lines, by q's moments.

Each is arranged as a sum of terms that are 0 or more: what parameters of p can undo, and what they
cannot.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sc

from minigrad.functions import polygamma
from minigrad.tensor import untraced
from vae.distributions.gamma import Gamma
from vae.distributions.kl.convex import (
    binet,
    excess,
    not_negative,
    scaled_excess,
    with_slopes_of,
)
from vae.distributions.kl.registry import closed_form, total
from vae.distributions.kl.univariate import EVERYWHERE, leaves, shape_of, within
from vae.distributions.location_scale import (
    Exponential,
    Laplace,
    LogNormal,
    Uniform,
    log_growth,
)
from vae.distributions.normal import Normal

MOMENTS = "E_q[log q - log p] by the moments of "
FOLDED = MOMENTS + "the folded normal distribution, Leone, Nelson and Nottingham (1961)"
FAR = 1e3  # standard deviations, beyond which |x - m| is never folded
POSITIVE_Q = "q's interval lies in [0, ∞)"


# -- of p = Normal: E_q (x - m)² ------------------------------------------------------------------
def to_normal(mean: Any, log_var: Any, negentropy: Any, q: Any, p: Normal) -> Any:
    """½ (E_q(x - m)²/s² - 1 - log var_q/s²), and how far q is from the normal of its moments."""
    squared = np.square((mean - p.mean) / p.std)
    return total(0.5 * squared + 0.5 * excess(log_var - 2 * p.log_std) + negentropy, q, p)


@closed_form(Laplace, Normal, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="½ (2b² + (mq - mp)²)/s² + log s + ½ log 2π - log 2b - 1")
def _laplace_normal(q: Laplace, p: Normal) -> Any:
    return to_normal(q.location, 2 * np.log(q.scale) + math.log(2),
                      0.5 * math.log(math.pi) - 0.5, q, p)


@closed_form(Uniform, Normal, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="½ (w²/12 + (c - m)²)/s² + log s + ½ log 2π - log w, w = h - l, c = (l + h)/2")
def _uniform_normal(q: Uniform, p: Normal) -> Any:
    return to_normal(0.5 * q.low + 0.5 * q.high, 2 * np.log(q.high - q.low) - math.log(12),
                      0.5 + 0.5 * math.log(math.pi / 6), q, p)


@closed_form(Exponential, Normal, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="½ (1/r² + (1/r - m)²)/s² + log s + ½ log 2π + log r - 1")
def _exponential_normal(q: Exponential, p: Normal) -> Any:
    return to_normal(1 / q.rate, -2 * np.log(q.rate), 0.5 * math.log(2 * math.pi) - 0.5, q, p)


@closed_form(Gamma, Normal, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="½ (a/b² + (a/b - m)²)/s² + log s + ½ log 2π - a + log b - log Γ(a) "
                     "- (1 - a) ψ(a)")
def _gamma_normal(q: Gamma, p: Normal) -> Any:
    a = q.concentration
    negentropy = not_negative(0.5 / a - binet(a) - (1 - a) * binet(a, n=1))
    return to_normal(a / q.rate, np.log(a) - 2 * np.log(q.rate), negentropy, q, p)


@closed_form(LogNormal, Normal, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="½ (E x² - 2m E x + m²)/s² + log s/sq - mq - ½, E xᵏ = exp(k mq + k² sq²/2)")
def _log_normal_normal(q: LogNormal, p: Normal) -> Any:
    var = np.square(q.scale)
    log_mean, growth = q.location + 0.5 * var, log_growth(q.scale)
    return to_normal(np.exp(log_mean), 2 * log_mean + growth,
                      0.5 * (growth + var) - np.log(q.scale), q, p)


# -- of p = Laplace: E_q |x - m| ------------------------------------------------------------------
def _to_laplace(distance: Any, log_scale: Any, log_distance: Any, rest: Any, q: Any,
                p: Laplace) -> Any:
    """E|x - m|/b - 1 - log E|x - m|/b, and what is left for the best b.

    distance: E|x - m|.  log_scale: q's entropy, but for a constant.  Both are for the slopes;
    log_distance is log E|x - m| less log_scale, and rest that and a constant.
    """
    log_b = np.log(p.scale)
    value = excess(untraced(log_scale) + untraced(log_distance) - untraced(log_b)) + untraced(rest)
    return total(with_slopes_of(distance / p.scale + log_b - log_scale, value), q, p)


@closed_form(Normal, Laplace, domain=EVERYWHERE, source=FOLDED,
             formula="log 2b + E|x - mp|/b - ½ log 2πes², "
                     "E|x - mp| = s √(2/π) e^(-δ²/2) + (mq - mp) erf(δ/√2), δ = (mq - mp)/s")
def _normal_laplace(q: Normal, p: Laplace) -> Any:
    apart = q.mean - p.location
    d = np.clip(apart / q.std, -FAR, FAR)
    middle, outside = math.sqrt(2 / math.pi) * np.exp(-0.5 * d * d), sc.erf(d * math.sqrt(0.5))
    log_folded = np.log(untraced(middle) + untraced(d) * untraced(outside))
    far = np.abs(untraced(d)) == FAR
    log_folded = np.where(far, np.log(np.where(far, np.abs(untraced(apart)), 1))
                          - untraced(q.log_std), log_folded)
    return _to_laplace(q.std * middle + apart * outside, q.log_std, log_folded,
                       log_folded + (0.5 + 0.5 * math.log(2 / math.pi)), q, p)


@closed_form(Exponential, Laplace, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="log r - 1 + log 2b + E|x - m|/b, "
                     "E|x - m| = m + (2e^(-rm) - 1)/r for m > 0, else 1/r - m")
def _exponential_laplace(q: Exponential, p: Laplace) -> Any:
    right = untraced(p.location) > 0
    m = np.where(right, p.location, 0)
    beyond = 2 * np.exp(-q.rate * m) - 1
    distance = np.where(right, m, -p.location) + beyond / q.rate
    log_distance = np.log(untraced(q.rate) * np.abs(untraced(p.location)) + untraced(beyond))
    return _to_laplace(distance, -np.log(q.rate), log_distance, log_distance + math.log(2), q, p)


@closed_form(Uniform, Laplace, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="log 2b - log w + E|x - m|/b, E|x - m| = w/4 + (c - m)²/w for m within "
                     "[l, h], else |c - m|; w = h - l, c = (l + h)/2")
def _uniform_laplace(q: Uniform, p: Laplace) -> Any:
    width = q.high - q.low
    apart = 0.5 * q.low + 0.5 * q.high - p.location
    d = apart / width
    within = np.abs(untraced(d)) < 0.5
    parts = 0.25 + np.square(np.where(within, d, 0))
    log_distance = np.log(np.where(within, untraced(parts), np.abs(untraced(d))))
    return _to_laplace(np.where(within, width * parts, np.abs(apart)), np.log(width), log_distance,
                       1 + log_distance + math.log(2), q, p)


# -- of p = Gamma, and Exponential: E_q x and E_q log x -------------------------------------------
def _log_normal_gamma(p_type: type, formula: str) -> None:
    @closed_form(LogNormal, p_type, domain=EVERYWHERE, source=MOMENTS + "q", formula=formula)
    def divergence(q: LogNormal, p: Any) -> Any:
        """a (E x b/a - 1 - log …), ½ (as² - 1 - log as²), and Binet's function of a."""
        a, log_median, log_scale = shape_of(p), np.log(p.rate) + q.location, np.log(q.scale)
        log_mean = log_median + 0.5 * np.square(q.scale)
        plain = np.exp(log_mean) - a * log_median + sc.gammaln(a) - log_scale
        a, log_mean, log_scale = untraced([a, log_mean, log_scale])
        value = (scaled_excess(a, log_mean) + 0.5 * excess(np.log(a) + 2 * log_scale) + binet(a))
        return total(with_slopes_of(plain, value), q, p)


_log_normal_gamma(Gamma, "b e^(m + s²/2) - a (log b + m) + log Γ(a) - ½ log 2πes²")
_log_normal_gamma(Exponential, "r e^(m + s²/2) - log r - m - ½ log 2πes²")


@closed_form(Uniform, Exponential, domain=POSITIVE_Q, source=MOMENTS + "q",
             formula="r (l + h)/2 - log r - log (h - l)")
def _uniform_exponential(q: Uniform, p: Exponential) -> Any:
    outside = leaves(q, 0, np.inf)
    low, high = within(q, outside)
    ratio = np.log(high - low) + np.log(p.rate) - math.log(2)
    return total(np.where(outside, np.inf, excess(ratio) + p.rate * low + (1 - math.log(2))), q, p)


@closed_form(Uniform, Gamma, domain=POSITIVE_Q, source=MOMENTS + "q",
             formula="b (l + h)/2 - a log b + log Γ(a) - (a - 1) E log x - log (h - l), "
                     "E log x = (h log h - l log l)/(h - l) - 1")
def _uniform_gamma(q: Uniform, p: Gamma) -> Any:
    outside = leaves(q, 0, np.inf)
    low, high = within(q, outside)
    a = p.concentration
    log_mean = mean_log(low, high) + np.log(p.rate)
    value = (p.rate * (0.5 * low + 0.5 * high) + sc.gammaln(a) - (a - 1) * log_mean
             - np.log(high - low) - np.log(p.rate))
    return total(np.where(outside, np.inf, not_negative(value)), q, p)


def mean_log(low: Any, high: Any) -> Any:
    """The mean of log x over 0 ≤ low < x < high."""
    part = 1 - low / high
    narrow = untraced(part) < 0.1
    t = np.where(narrow, part, 0)
    series = 0 * t
    for k in range(16, 0, -1):  # ∫₀¹ log(1 - tu) du
        series = (series - 1 / (k * (k + 1))) * t
    wide_low, wide_high = np.where(narrow, 0.25, low), np.where(narrow, 0.75, high)
    direct = (sc.xlogy(wide_high, wide_high) - sc.xlogy(wide_low, wide_low)) \
        / (wide_high - wide_low) - 1
    return np.where(narrow, np.log(high) + series, direct)


# -- of p = LogNormal: mean and variance of log x -------------------------------------------------
def _gamma_log_normal(q_type: type, formula: str) -> None:
    @closed_form(q_type, LogNormal, domain=EVERYWHERE, source=MOMENTS + "log x", formula=formula)
    def divergence(q: Any, p: LogNormal) -> Any:
        a = shape_of(q)
        mean, log_var = sc.psi(a) - np.log(q.rate), np.log(polygamma(1, a))
        negentropy = not_negative(a * binet(a, n=1) - binet(a) + 0.5 * (np.log(a) + log_var))
        squared = np.square((mean - p.location) / p.scale)
        return total(0.5 * squared + 0.5 * excess(log_var - 2 * np.log(p.scale)) + negentropy,
                     q, p)


_gamma_log_normal(Gamma, "a ψ(a) - a - log Γ(a) + log s + ½ log 2π "
                         "+ ½ ((ψ(a) - log b - m)² + ψ'(a))/s²")
_gamma_log_normal(Exponential, "that of a gamma distribution, a = 1")
