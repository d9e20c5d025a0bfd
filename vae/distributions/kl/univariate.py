"""KL between continuous distributions of one family, elementwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.tensor import untraced
from vae.distributions.base import event_sum
from vae.distributions.bessel import deficit, log_i0e
from vae.distributions.beta import Beta, Dirichlet
from vae.distributions.continuous_bernoulli import ContinuousBernoulli, cumulant
from vae.distributions.gamma import Gamma
from vae.distributions.kl.convex import (
    bregman,
    distance_excess,
    excess,
    gamma_divergence,
    mass_divergence,
    mean_distance,
    not_negative,
    scaled_excess,
    with_slopes_of,
)
from vae.distributions.kl.normals import to_standard
from vae.distributions.kl.registry import closed_form, total
from vae.distributions.location_scale import Exponential, Laplace, LogNormal, Uniform
from vae.distributions.von_mises import VonMises

GIL = "Gil, Alajaji and Linder (2013)"
PENNY = "Penny (2001)"
EVERYWHERE = "everywhere"


@closed_form(Laplace, Laplace, domain=EVERYWHERE, source=GIL,
             formula="log(bp/bq) + (bq e^(-|Δ|/bq) + |Δ|)/bp - 1, Δ = mq - mp")
def _laplace_laplace(q: Laplace, p: Laplace) -> Any:
    ours, theirs, apart = q.scale, p.scale, q.location - p.location
    plain = mean_distance(apart, ours) / theirs + np.log(theirs) - np.log(ours)
    ours, theirs, apart = untraced([ours, theirs, apart])
    ratio = np.log(ours) - np.log(theirs)
    value = excess(ratio) + np.exp(ratio) * distance_excess(apart / ours)
    return total(with_slopes_of(plain, value), q, p)


@closed_form(LogNormal, LogNormal, domain=EVERYWHERE, source=GIL,
             formula="that of the normal distributions of log x")
def _log_normals(q: LogNormal, p: LogNormal) -> Any:
    distance = (q.location - p.location) / p.scale
    return total(to_standard(distance, np.log(q.scale) - np.log(p.scale)), q, p)


@closed_form(Exponential, Exponential, domain=EVERYWHERE, source=GIL,
             formula="rp/rq - 1 - log(rp/rq)")
def _exponentials(q: Exponential, p: Exponential) -> Any:
    return total(excess(np.log(p.rate) - np.log(q.rate)), q, p)


def shape_of(x: Gamma | Exponential) -> Any:
    return np.ones((), x.dtype) if isinstance(x, Exponential) else x.concentration


def _gammas(q_type: type, p_type: type, formula: str) -> None:
    @closed_form(q_type, p_type, formula=formula, domain=EVERYWHERE, source=PENNY)
    def divergence(q: Any, p: Any) -> Any:
        """ap (eˢ - 1 - s) for the means, eˢ their ratio, and what the shapes add."""
        ours, theirs = shape_of(q), shape_of(p)
        log_mean = np.log(p.rate) - np.log(q.rate) + np.log(ours)  # of p.rate·x
        return total(scaled_excess(theirs, log_mean) + gamma_divergence(ours, theirs), q, p)


_gammas(Gamma, Gamma, "(aq - ap) ψ(aq) - log Γ(aq) + log Γ(ap) + ap log(bq/bp) + aq (bp/bq - 1)")
_gammas(Gamma, Exponential, "that of gamma distributions, ap = 1")
_gammas(Exponential, Gamma, "that of gamma distributions, aq = 1")


@closed_form(Beta, Beta, domain=EVERYWHERE, source=GIL,
             formula="that of Dirichlet distributions of two parts")
def _betas(q: Beta, p: Beta) -> Any:
    return total(dirichlet_divergence(pair(q), pair(p)), q, p)


def pair(x: Beta) -> Any:
    return np.stack([np.broadcast_to(x.alpha, x.shape), np.broadcast_to(x.beta, x.shape)], -1)


@closed_form(Dirichlet, Dirichlet, domain=EVERYWHERE, source=PENNY,
             formula="log Γ(Σaq)/Γ(Σap) + Σ log Γ(ap)/Γ(aq) + (aq - ap) (ψ(aq) - ψ(Σaq))")
def _dirichlets(q: Dirichlet, p: Dirichlet) -> Any:
    return event_sum(dirichlet_divergence(q.concentration, p.concentration), q.event_ndim - 1)


def dirichlet_divergence(q: Any, p: Any) -> Any:
    """Σap KL(p̄‖q̄) of the means p̄, q̄, and the divergences of gammas less that of their sum."""
    q_sum, p_sum = q.sum(-1), p.sum(-1)
    log_q, log_p = (np.log(a) - np.log(s)[..., None] for a, s in ((q, q_sum), (p, p_sum)))
    means = p_sum * mass_divergence(log_p, log_q).sum(-1)
    return means + not_negative(gamma_divergence(q, p).sum(-1) - gamma_divergence(q_sum, p_sum))


@closed_form(VonMises, VonMises, domain=EVERYWHERE,
             source="Banerjee et al. (2005), section 4; A of Mardia and Jupp (2000), 3.5.4",
             formula="log I₀(κp)/I₀(κq) + A(κq) (κq - κp cos(mq - mp)), A = I₁/I₀")
def _von_mises(q: VonMises, p: VonMises) -> Any:
    turn = 2 * np.square(np.sin(0.5 * (q.location - p.location)))  # 1 - cos
    return total(bessel_divergence(q.concentration, p.concentration)
                 + p.concentration * (1 - deficit(q.concentration, 0)) * turn, q, p)


bessel_divergence = bregman(log_i0e, lambda k: -deficit(k, 0), lambda k: -deficit(k, 1))


@closed_form(ContinuousBernoulli, ContinuousBernoulli, domain=EVERYWHERE,
             source="Banerjee et al. (2005), section 4",
             formula="A(lp) - A(lq) - A'(lq) (lp - lq), A(l) = log((eˡ - 1)/l)")
def _continuous_bernoullis(q: ContinuousBernoulli, p: ContinuousBernoulli) -> Any:
    return total(logit_divergence(q.logits, p.logits), q, p)


logit_divergence = bregman(*(lambda logit, n=n: cumulant(logit, n) for n in range(3)))


@closed_form(Uniform, Uniform, domain="q's interval lies in p's", source=GIL,
             formula="log((hp - lp)/(hq - lq))")
def _uniforms(q: Uniform, p: Uniform) -> Any:
    outside = leaves(q, untraced(p.low), untraced(p.high))
    return total(np.where(outside, np.inf, not_negative(
        np.log(p.high - p.low) - np.log(q.high - q.low))), q, p)


def leaves(q: Uniform, low: Any, high: Any) -> Any:
    """Where q's interval is not within [low, high]."""
    return (untraced(q.low) < low) | (untraced(q.high) > high)


def within(q: Uniform, outside: Any) -> tuple[Any, Any]:
    """Ends of q's interval, and others that do no harm where it lies `outside`."""
    return np.where(outside, 0.25, q.low), np.where(outside, 0.75, q.high)


