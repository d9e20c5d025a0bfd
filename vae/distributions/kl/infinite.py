"""Pairs of which q always has mass where p has none: KL is ∞, whatever their parameters."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from vae.distributions.base import broadcast
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.beta import Beta
from vae.distributions.continuous_bernoulli import ContinuousBernoulli
from vae.distributions.gamma import Gamma
from vae.distributions.kl.registry import closed_form
from vae.distributions.location_scale import (
    Exponential,
    Laplace,
    Logistic,
    LogNormal,
    Uniform,
)
from vae.distributions.normal import Normal
from vae.distributions.poisson import Poisson
from vae.distributions.student import StudentT
from vae.distributions.von_mises import VonMises

LINE = (Normal, Laplace, Logistic, StudentT)
HALF_LINE = (Exponential, Gamma, LogNormal)
UNIT = (Beta, ContinuousBernoulli)


def _infinite(q_type: type, p_type: type, where: str) -> None:
    @closed_form(q_type, p_type, formula="∞", domain="nowhere", source=where, infinite=True)
    def divergence(q: Any, p: Any) -> Any:
        shape = broadcast(q.shape, p.shape)
        return np.full(shape[:len(shape) - q.event_ndim], np.inf, np.result_type(q.dtype, p.dtype))


for pair in product((*LINE, VonMises), (*HALF_LINE, *UNIT)):
    _infinite(*pair, "q is positive below 0")
for pair in product(LINE, (Uniform,)):
    _infinite(*pair, "q is positive outside of every interval")
for pair in product(HALF_LINE, (*UNIT, Uniform)):
    _infinite(*pair, "q is positive above every number")
_infinite(Poisson, Bernoulli, "q is positive at 2")
