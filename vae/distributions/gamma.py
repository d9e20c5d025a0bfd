"""The gamma distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sc
from numpy.random import Generator

from minigrad.tensor import untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require_positive,
)
from vae.distributions.implicit import (
    between,
    log_gamma,
    log_gamma_cdf,
    log_gamma_icdf,
    positive_from_log,
    rounded,
    wide,
    with_ends,
)
from vae.distributions.support import POSITIVE


class Gamma(Distribution):
    """Gamma(concentration a, rate r); the last `event_ndim` axes make one draw.

        log p(x) = Σ a log r + (a - 1) log x - r x - log Γ(a)        (nats), x > 0

    Draws are differentiable by both parameters, to any order: implicitly by a (Figurnov, Mohamed
    and Mnih 2018).  A draw is never 0 nor infinite: where one underflows (a below 0.1 in float32),
    it is the smallest normal number of the dtype, with a gradient of 0.  All is computed in
    float64.  Raises ValueError for parameters that are not positive and finite.
    """

    path = "implicit"
    parameters = ("concentration", "rate")
    support = POSITIVE

    def __init__(self, concentration: Any, rate: Any, *, event_ndim: int | None = None):
        self.concentration, self.rate = as_floats(concentration, rate)
        require_positive("Gamma", concentration=self.concentration, rate=self.rate)
        self.shape = broadcast(self.concentration.shape, self.rate.shape)
        self.event_ndim = event_axes("Gamma", self.shape, event_ndim)

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def variance(self) -> Any:
        return self.concentration / self.rate / self.rate

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        log_z = log_gamma(rng, shape + self.shape, wide(self.concentration), self.dtype)
        return positive_from_log(log_z - np.log(wide(self.rate)), self.dtype)

    def _log_density(self, x: Any) -> Any:
        a, rate, dtype = wide(self.concentration), wide(self.rate), x.dtype
        x = wide(x)
        log_x = np.log(x)
        each = a * (np.log(rate) + log_x) - rate * x - sc.gammaln(a) - log_x
        return rounded(each, np.result_type(self.dtype, dtype))

    def entropy(self) -> Any:
        """Σ a - log r + log Γ(a) + (1 - a) ψ(a), in nats."""
        a, rate = wide(self.concentration), wide(self.rate)
        each = a - np.log(rate) + sc.gammaln(a) + (1 - a) * sc.psi(a)
        return rounded(event_sum(each, self.event_ndim), self.dtype)

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) of each element, differentiable by x and both parameters."""
        x, = as_floats(x)
        inside = np.clip(wide(x), 1e-300, 1e300)
        log_z = np.log(inside) + np.log(wide(self.rate))
        p = np.where(untraced(x) <= 0, 0, log_gamma_cdf(wide(self.concentration), log_z))
        return rounded(p, np.result_type(self.dtype, x.dtype))

    def icdf(self, p: Any) -> Any:
        """The x of each element at which the cdf is p; NaN for p outside [0, 1]."""
        p, = as_floats(p)
        log_z = log_gamma_icdf(wide(self.concentration), between(p))
        x = positive_from_log(log_z - np.log(wide(self.rate)), np.result_type(self.dtype, p.dtype))
        return with_ends(p, x, 0.0, math.inf)
