"""KL between continuous distributions of two families on [0, 1] and on the circle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sc

from minigrad.tensor import untraced
from vae.distributions.base import broadcast
from vae.distributions.beta import Beta
from vae.distributions.continuous_bernoulli import ContinuousBernoulli, cumulant
from vae.distributions.gamma import Gamma
from vae.distributions.kl.convex import not_negative
from vae.distributions.kl.moments import MOMENTS, mean_log, to_normal
from vae.distributions.kl.registry import closed_form, total
from vae.distributions.kl.univariate import (
    EVERYWHERE,
    bessel_divergence,
    dirichlet_divergence,
    leaves,
    logit_divergence,
    pair,
    shape_of,
    within,
)
from vae.distributions.location_scale import Exponential, Uniform
from vae.distributions.normal import Normal
from vae.distributions.von_mises import VonMises

UNIT_P, UNIT_Q = "p's interval contains [0, 1]", "q's interval lies in [0, 1]"
BETA_Q = "; H, E x = α/(α + β) and E log x = ψ(α) - ψ(α + β) of q"


# -- q = Beta -------------------------------------------------------------------------------------
def _negentropy(q: Beta) -> Any:
    """-H of a beta distribution, KL to the uniform one on [0, 1]."""
    parts = pair(q)
    return dirichlet_divergence(parts, np.ones(2, parts.dtype))


def _mean(q: Beta) -> Any:
    """α/(α + β), by terms whose slopes do not cancel where β is small."""
    return 1 / (1 + q.beta / q.alpha)


@closed_form(Beta, Uniform, domain=UNIT_P, source=MOMENTS + "q",
             formula="log (h - l) - H, H the entropy of q")
def _beta_uniform(q: Beta, p: Uniform) -> Any:
    return total(_unless_short(p, 0, 1, _negentropy(q)), q, p)


def _unless_short(p: Uniform, low: float, high: float, value: Any) -> Any:
    """value + log of how much longer p's interval is than [low, high]; ∞ unless it contains it."""
    low, high = p.dtype.type(low), p.dtype.type(high)
    short = (untraced(p.low) > low) | (untraced(p.high) < high)
    width = np.where(short, 1, p.high - p.low)
    return np.where(short, np.inf, value + not_negative(np.log(width / (high - low))))


@closed_form(Beta, ContinuousBernoulli, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="log ((eˡ - 1)/l) - l E x - H" + BETA_Q)
def _beta_continuous_bernoulli(q: Beta, p: ContinuousBernoulli) -> Any:
    value = _negentropy(q) + cumulant(p.logits, 0) - p.logits * _mean(q)
    return total(not_negative(value), q, p)


def _beta_gamma(p_type: type, formula: str) -> None:
    @closed_form(Beta, p_type, domain=EVERYWHERE, source=MOMENTS + "q", formula=formula + BETA_Q)
    def divergence(q: Beta, p: Any) -> Any:
        """KL to Beta(a, 1), whose density is a xᵃ⁻¹, and what is left."""
        a = np.broadcast_to(shape_of(p), broadcast(q.shape, p.shape))
        near = dirichlet_divergence(pair(q), np.stack([a, np.ones_like(untraced(a))], -1))
        rest = sc.gammaln(a + 1) - a * np.log(p.rate) + p.rate * _mean(q)
        return total(not_negative(near + rest), q, p)


_beta_gamma(Gamma, "b E x - a log b + log Γ(a) - (a - 1) E log x - H")
_beta_gamma(Exponential, "r E x - log r - H")


@closed_form(Beta, Normal, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="½ (v + (α/(α + β) - m)²)/s² + log s + ½ log 2π - H, "
                     "v = αβ/((α + β)² (α + β + 1)), H the entropy of q")
def _beta_normal(q: Beta, p: Normal) -> Any:
    both = q.alpha + q.beta
    log_var = np.log(q.alpha) + np.log(q.beta) - 2 * np.log(both) - np.log1p(both)
    return to_normal(_mean(q), log_var, _from_normal(_negentropy(q), log_var), q, p)


def _from_normal(negentropy: Any, log_var: Any) -> Any:
    """KL to the normal distribution of the same mean and variance."""
    return not_negative(negentropy + 0.5 * log_var + (0.5 + 0.5 * math.log(2 * math.pi)))


# -- q = ContinuousBernoulli ----------------------------------------------------------------------
@closed_form(ContinuousBernoulli, Uniform, domain=UNIT_P, source=MOMENTS + "q",
             formula="log (hp - lp) + l A'(l) - A(l), A(l) = log((eˡ - 1)/l)")
def _continuous_bernoulli_uniform(q: ContinuousBernoulli, p: Uniform) -> Any:
    return total(_unless_short(p, 0, 1, _negentropy_of_logits(q)), q, p)


def _negentropy_of_logits(q: ContinuousBernoulli) -> Any:
    return logit_divergence(q.logits, np.zeros((), q.dtype))


@closed_form(ContinuousBernoulli, Exponential, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="r A'(l) - log r + l A'(l) - A(l), A(l) = log((eˡ - 1)/l)")
def _continuous_bernoulli_exponential(q: ContinuousBernoulli, p: Exponential) -> Any:
    value = _negentropy_of_logits(q) + p.rate * q.mean - np.log(p.rate)
    return total(not_negative(value), q, p)


@closed_form(ContinuousBernoulli, Normal, domain=EVERYWHERE, source=MOMENTS + "q",
             formula="½ (A″(l) + (A'(l) - m)²)/s² + log s + ½ log 2π + l A'(l) - A(l), "
                     "A(l) = log((eˡ - 1)/l)")
def _continuous_bernoulli_normal(q: ContinuousBernoulli, p: Normal) -> Any:
    log_var = np.log(q.variance)
    return to_normal(q.mean, log_var, _from_normal(_negentropy_of_logits(q), log_var), q, p)


# -- q = Uniform ----------------------------------------------------------------------------------
@closed_form(Uniform, Beta, domain=UNIT_Q, source=MOMENTS + "q",
             formula="log B(α, β) - log (h - l) - (α - 1) E log x - (β - 1) E log(1 - x), "
                     "E log x = (h log h - l log l)/(h - l) - 1")
def _uniform_beta(q: Uniform, p: Beta) -> Any:
    outside = leaves(q, 0, 1)
    low, high = within(q, outside)
    value = (sc.betaln(p.alpha, p.beta) - np.log(high - low)
             - (p.alpha - 1) * mean_log(low, high) - (p.beta - 1) * mean_log(1 - high, 1 - low))
    return total(np.where(outside, np.inf, not_negative(value)), q, p)


@closed_form(Uniform, ContinuousBernoulli, domain=UNIT_Q, source=MOMENTS + "q",
             formula="log((eᵗ - 1)/t) - t (l + h)/2 - log (h - l), t the logit of p")
def _uniform_continuous_bernoulli(q: Uniform, p: ContinuousBernoulli) -> Any:
    outside = leaves(q, 0, 1)
    low, high = within(q, outside)
    centre = 0.5 * (low + high)
    value = cumulant(p.logits, 0) - p.logits * centre - np.log(high - low)
    return total(np.where(outside, np.inf, not_negative(value)), q, p)


# -- on the circle --------------------------------------------------------------------------------
@closed_form(VonMises, Uniform, domain="p's interval contains [-π, π]", source=MOMENTS + "q",
             formula="κ A(κ) - log I₀(κ) + log (h - l)/2π, A = I₁/I₀")
def _von_mises_uniform(q: VonMises, p: Uniform) -> Any:
    divergence = bessel_divergence(q.concentration, np.zeros((), q.dtype))
    return total(_unless_short(p, -math.pi, math.pi, divergence), q, p)
