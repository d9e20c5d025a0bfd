"""KL between normal distributions, their covariances diagonal, full, or of low rank."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.define import with_vjp
from vae.distributions.base import broadcast, event_sum
from vae.distributions.kl.convex import excess, not_negative, with_slopes_of
from vae.distributions.kl.registry import closed_form, total
from vae.distributions.multivariate import (
    LowRankNormal,
    MultivariateNormal,
    gram_factor,
    residual,
    solve_lower,
)
from vae.distributions.normal import Normal

KINGMA = "Kingma and Welling (2014), appendix B"
PENNY = "Penny (2001)"
GENERAL = "½ (tr(Σp⁻¹Σq) + ΔᵀΣp⁻¹Δ - d + log det Σp - log det Σq), Δ = mq - mp"
WOODBURY = "; Σp⁻¹ by Woodbury's identity"


@closed_form(Normal, Normal, domain="everywhere", source=KINGMA,
             formula="Σ log(sp/sq) + ½ (sq² + (mq - mp)²)/sp² - ½")
def _normal_normal(q: Normal, p: Normal) -> Any:
    if p.is_standard:
        return total(to_standard(q.mean, q.log_std), q, p)
    return total(to_standard((q.mean - p.mean) / p.std, q.log_std - p.log_std), q, p)


@with_vjp(lambda g, y, m, r: g * m, lambda g, y, m, r: g * np.expm1(2 * r))
def to_standard(m: Any, r: Any) -> Any:
    """KL(N(m, e²ʳ)‖N(0, 1)) = ½(m² + e²ʳ - 1) - r, of each dimension; r = log s.

    Kingma and Welling (2014), appendix B: -½ (1 + log s² - m² - s²).  Both m² and (e²ʳ - 1)/2 - r
    are 0 or more; expm1 keeps the latter's digits near r = 0.
    """
    return 0.5 * np.square(m) + np.maximum(0.5 * np.expm1(2 * r) - r, 0)


# -- a full covariance on either side -------------------------------------------------------------
def _triangular(q_type: type, p_type: type) -> None:
    """KL by the triangular M = Lp⁻¹Lq: ½ (Σ_{i≠j} Mij² + Σ (Mii² - 1 - log Mii²) + |Lp⁻¹Δ|²)."""
    @closed_form(q_type, p_type, formula=GENERAL, domain="everywhere", source=PENNY)
    def divergence(q: Any, p: Any) -> Any:
        if isinstance(q, LowRankNormal):
            value = with_slopes_of(_of_low_rank(q, p), _by_triangle(q.constant(), p.constant()))
        else:
            value = _by_triangle(q, p)
        return _vectors(value, q, p)


def _by_triangle(q: Any, p: Any) -> Any:
    left, right = _cholesky(p), _cholesky(q)
    off = np.square(np.tril(solve_lower(left, right), -1)).sum((-2, -1))
    ratio = 2 * (np.log(_diagonal(right)) - np.log(_diagonal(left)))
    return 0.5 * (off + excess(ratio).sum(-1) + _squared_distance(q, p))


def _of_low_rank(q: LowRankNormal, p: MultivariateNormal) -> Any:
    """The same by plain terms, but for a constant: for slopes that pass through no n×n factor of q.
    """
    few = np.square(solve_lower(p.cholesky, q.factor)).sum((-2, -1))
    roots = np.sqrt(q.diagonal)[..., None] * np.eye(q.shape[-1], dtype=q.diagonal.dtype)
    each = np.square(solve_lower(p.cholesky, roots)).sum((-2, -1))
    log_det = np.log(q.diagonal).sum(-1) + _log_det(_scaled(q))
    return 0.5 * (few + each + _squared_distance(q, p) - log_det) \
        + np.log(_diagonal(p.cholesky)).sum(-1)


def _squared_distance(q: Any, p: Any) -> Any:
    """ΔᵀΣp⁻¹Δ."""
    if isinstance(p, Normal):
        return np.square((q.mean - p.mean) / p.std).sum(-1)
    return p._squared_distance(q.mean - p.mean)


def _vectors(each: Any, q: Any, p: Any) -> Any:
    """The sum over the event of a divergence per vector."""
    shape = broadcast(q.shape, p.shape)[:-1]
    if each.shape != shape:
        each = np.broadcast_to(each, shape)
    return event_sum(each, q.event_ndim - 1)


def _cholesky(x: Any) -> Any:
    """L with covariance LLᵀ."""
    if isinstance(x, MultivariateNormal):
        return x.cholesky
    if isinstance(x, LowRankNormal):
        root = np.sqrt(x.diagonal)[..., None]  # Σ is not formed: a large F would swallow D
        return root * gram_factor(_transposed(x.factor / root))
    std = np.broadcast_to(x.std, x.shape)
    return std[..., None] * np.eye(std.shape[-1], dtype=std.dtype)


def _diagonal(x: Any) -> Any:
    return np.diagonal(x, 0, -2, -1)


for pair in ((MultivariateNormal, MultivariateNormal), (MultivariateNormal, Normal),
             (Normal, MultivariateNormal), (MultivariateNormal, LowRankNormal),
             (LowRankNormal, MultivariateNormal)):
    _triangular(*pair)


# -- covariances D + FFᵀ: nothing of size d×d -----------------------------------------------------
class _Scaled(NamedTuple):
    """D and F with covariance D + FFᵀ; in W = D^-½F: the Cholesky factor of C = I + WᵀW."""

    diagonal: Any
    factor: Any = None
    whitened: Any = None
    root: Any = None


def _scaled(x: Normal | LowRankNormal) -> _Scaled:
    if isinstance(x, Normal):
        return _Scaled(x.variance)
    whitened = x.factor / np.sqrt(x.diagonal)[..., None]
    return _Scaled(x.diagonal, x.factor, whitened, gram_factor(whitened))


def _low_rank(q_type: type, p_type: type) -> None:
    """With xᵀ(I + WWᵀ)⁻¹x = |x - Wb|² + |b|², b = C⁻¹Wᵀx, and det(D + FFᵀ) = det D det C."""
    @closed_form(q_type, p_type, formula=GENERAL + WOODBURY, domain="everywhere", source=PENNY)
    def divergence(q: Any, p: Any) -> Any:
        ours, theirs = _scaled(q), _scaled(p)
        log_ratio = np.log(ours.diagonal) - np.log(theirs.diagonal)
        twice = _squared_distance(q, p) + _over_vector(excess(log_ratio), q, p)
        if ours.factor is not None:
            scaled = ours.factor / np.sqrt(theirs.diagonal)[..., None]
            twice = twice + _squared(scaled, theirs) - _log_det(ours)
        if theirs.factor is not None:
            leverage = np.square(solve_lower(theirs.root, _transposed(theirs.whitened))).sum(-2)
            shared = _over_vector(np.exp(log_ratio) * leverage, q, p)
            twice = twice + _log_det(theirs) - shared
        return _vectors(not_negative(0.5 * twice), q, p)


def _over_vector(x: Any, q: Any, p: Any) -> Any:
    return np.broadcast_to(x, broadcast(x.shape, q.shape[-1:], p.shape[-1:])).sum(-1)


def _squared(x: Any, p: _Scaled) -> Any:
    """tr xᵀ(I + WWᵀ)⁻¹x as a sum of squares."""
    if p.factor is None:
        return np.square(x).sum((-2, -1))
    batch = broadcast(x.shape[:-2], p.whitened.shape[:-2])
    zeros = np.zeros((*batch, p.whitened.shape[-1], x.shape[-1]), x.dtype)
    both = np.concatenate((np.broadcast_to(x, (*batch, *x.shape[-2:])), zeros), axis=-2)
    return np.square(residual(p.whitened, both)).sum((-2, -1))


def _transposed(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _log_det(x: _Scaled) -> Any:
    return 2 * np.log(_diagonal(x.root)).sum(-1)


for pair in ((LowRankNormal, LowRankNormal), (LowRankNormal, Normal), (Normal, LowRankNormal)):
    _low_rank(*pair)
