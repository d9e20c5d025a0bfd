"""The beta distribution, and that of Dirichlet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sc
from numpy import ndarray
from numpy.random import Generator

from minigrad.functions import log_softmax
from minigrad.tensor import untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require_parts,
    require_positive,
)
from vae.distributions.implicit import (
    between,
    log_gamma,
    logit_beta_cdf,
    logit_beta_icdf,
    positive_from_log,
    rounded,
    wide,
    with_ends,
)
from vae.distributions.support import Interval, Support

TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}  # |Σx - 1| that is rounding


class Beta(Distribution):
    """Beta(alpha, beta) on the open interval from 0 to 1; the last `event_ndim` axes make one draw.

        log p(x) = Σ (α - 1) log x + (β - 1) log(1 - x) - log B(α, β)        (nats)

    Draws are sigmoid(log γ₁ - log γ₂) of two gamma variates, differentiable by both parameters to
    any order (implicitly: Figurnov, Mohamed and Mnih 2018).  Where a draw would round to 0 or 1 it
    is the smallest normal number, or the largest below 1, of the dtype, with a gradient of 0.  All
    is computed in float64.  Raises ValueError for parameters that are not positive and finite.
    """

    path = "implicit"
    parameters = ("alpha", "beta")
    support = Interval(0.0, 1.0, open=True)

    def __init__(self, alpha: Any, beta: Any, *, event_ndim: int | None = None):
        self.alpha, self.beta = as_floats(alpha, beta)
        require_positive("Beta", alpha=self.alpha, beta=self.beta)
        self.shape = broadcast(self.alpha.shape, self.beta.shape)
        self.event_ndim = event_axes("Beta", self.shape, event_ndim)

    @property
    def mean(self) -> Any:
        return self.alpha / (self.alpha + self.beta)

    @property
    def variance(self) -> Any:
        total = self.alpha + self.beta
        return self.alpha / total * (self.beta / total) / (total + 1)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        shape = shape + self.shape
        log_ratio = (log_gamma(rng, shape, wide(self.alpha), self.dtype)
                     - log_gamma(rng, shape, wide(self.beta), self.dtype))
        return from_logit(log_ratio, self.dtype)

    def _log_density(self, x: Any) -> Any:
        a, b, dtype = wide(self.alpha), wide(self.beta), x.dtype
        x = wide(x)
        each = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - sc.betaln(a, b)
        return rounded(each, np.result_type(self.dtype, dtype))

    def entropy(self) -> Any:
        """Σ log B(α, β) - (α - 1) ψ(α) - (β - 1) ψ(β) + (α + β - 2) ψ(α + β), in nats."""
        a, b = wide(self.alpha), wide(self.beta)
        total = sc.psi(a + b)
        each = sc.betaln(a, b) + (a - 1) * (total - sc.psi(a)) + (b - 1) * (total - sc.psi(b))
        return rounded(event_sum(each, self.event_ndim), self.dtype)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) of each element, differentiable by x and both parameters."""
        x, = as_floats(x)
        inside = (untraced(x) > 0) & (untraced(x) < 1)
        y = sc.logit(np.where(inside, wide(x), 0.5))
        p = logit_beta_cdf(wide(self.alpha), wide(self.beta), y)
        p = rounded(p, np.result_type(self.dtype, x.dtype))
        ends = np.where(untraced(x) <= 0, 0, np.where(untraced(x) >= 1, 1, math.nan))
        return np.where(inside, p, ends.astype(p.dtype))

    def icdf(self, p: Any) -> Any:
        """The x of each element at which the cdf is p; NaN for p outside [0, 1]."""
        p, = as_floats(p)
        y = _quantile_of_logit(wide(self.alpha), wide(self.beta), between(p))
        return with_ends(p, from_logit(y, np.result_type(self.dtype, p.dtype)), 0.0, 1.0)


def _quantile_of_logit(a: Any, b: Any, p: Any) -> Any:
    """The logit of the quantile; near 0, where SciPy's may be NaN, by two terms of a series.

    The cdf is xᵃ/(a B(a, b)) (1 + a (1 - b)/(a + 1) x + …).
    """
    low = (np.log(p) + np.log(a) + sc.betaln(a, b)) / a  # log x by the first
    near = untraced(low) + np.log(untraced(a + b)) < math.log(1e-8)
    first = np.where(near, low, -100)
    series = first + (a + b) / (a + 1) * np.exp(first)
    return np.where(near, series, logit_beta_icdf(a, b, np.where(near, 0.5, p)))


def from_logit(y: Any, dtype: Any) -> Any:
    """sigmoid(y), but no less than the smallest normal number of the dtype, and less than 1."""
    info = np.finfo(dtype)
    x = sc.expit(np.clip(y, math.log(info.tiny) + 1e-6, 40))
    return rounded(np.minimum(x, 1 - float(info.epsneg)), dtype)


class Simplex(Support):
    """Positive numbers whose sum over the last axis is 1, up to rounding."""

    def excludes(self, x: ndarray) -> Any:
        tolerance = TOLERANCE[np.dtype(x.dtype)]
        far = np.abs(x.sum(-1, dtype=np.float64) - 1) > tolerance
        return np.any(x <= 0, axis=-1) | far

    def __str__(self) -> str:
        return "positive numbers with sum 1"


class Dirichlet(Distribution):
    """Dirichlet(concentration a): the last axis is a point of the simplex, x > 0 and Σx = 1.

        log p(x) = Σ (a_i - 1) log x_i + log Γ(Σ a_i) - Σ log Γ(a_i)        (nats)

    The last axis is always part of the event: `event_ndim` is 1 or more; further event axes hold
    independent points.  Draws are the softmax of logarithms of gamma variates, differentiable by a
    to any order (implicitly: Figurnov, Mohamed and Mnih 2018); what underflows is the smallest
    normal number of the dtype, with a gradient of 0.  The log density is -inf where some x_i ≤ 0,
    or where Σx is off 1 by more than 1e-5 (float32) or 1e-10 (float64).  All is computed in
    float64.  Raises ValueError for a concentration that is not positive and finite, or has no axis.
    """

    path = "implicit"
    parameters = ("concentration",)
    support = Simplex()

    def __init__(self, concentration: Any, *, event_ndim: int | None = None):
        self.concentration, = as_floats(concentration)
        require_positive("Dirichlet", concentration=self.concentration)
        self.shape = self.concentration.shape
        self.event_ndim = event_axes("Dirichlet", self.shape, event_ndim)
        if self.event_ndim < 1 or not self.shape[-1]:
            raise ValueError(f"Dirichlet with a concentration of shape {self.shape} and event_ndim="
                             f"{event_ndim}: its last axis is an event, so that is 1 or more, and "
                             "has at least one part")

    @property
    def mean(self) -> Any:
        return self.concentration / self.concentration.sum(-1, keepdims=True)

    @property
    def variance(self) -> Any:
        total = self.concentration.sum(-1, keepdims=True)
        share = self.concentration / total
        return share * (1 - share) / (total + 1)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        log_gammas = log_gamma(rng, shape + self.shape, wide(self.concentration), self.dtype)
        return positive_from_log(log_softmax(log_gammas, axis=-1), self.dtype)

    def log_prob(self, x: Any) -> Any:
        """log density per event, in nats: -inf outside of the simplex, with a gradient of 0."""
        x, = as_floats(x)
        require_parts("Dirichlet", x, self.shape[-1])
        a, dtype = wide(self.concentration), np.result_type(self.dtype, x.dtype)
        outside = self.support.excludes(untraced(x))
        inside = np.where(outside[..., None], 1 / self.shape[-1], wide(x))
        each = np.sum((a - 1) * np.log(inside), axis=-1) - log_normaliser(a)
        return rounded(event_sum(np.where(outside, -math.inf, each), self.event_ndim - 1), dtype)

    def entropy(self) -> Any:
        """log B(a) + (Σ a_i - K) ψ(Σ a_i) - Σ (a_i - 1) ψ(a_i), in nats."""
        a = wide(self.concentration)
        total = sc.psi(a.sum(-1, keepdims=True))
        each = log_normaliser(a) + np.sum((a - 1) * (total - sc.psi(a)), axis=-1)
        return rounded(event_sum(each, self.event_ndim - 1), self.dtype)


def log_normaliser(a: Any) -> Any:
    """log B(a) = Σ log Γ(a_i) - log Γ(Σ a_i)."""
    return sc.gammaln(a).sum(-1) - sc.gammaln(a.sum(-1))
