"""Kullback-Leibler divergences in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.define import with_vjp
from vae.distributions.base import Distribution, broadcast, event_sum
from vae.distributions.normal import Normal

CLOSED_FORMS: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}


def kl(q: Distribution, p: Distribution) -> Any:
    """KL(q‖p) = E_q[log q(x) - log p(x)] per event: summed over the event, in nats, 0 or more.

    Not symmetric: the first is the one that the expectation is over.
    """
    closed_form = CLOSED_FORMS.get((type(q), type(p)))
    if closed_form is None:
        known = ", ".join(f"{a.__name__}‖{b.__name__}" for a, b in CLOSED_FORMS)
        raise TypeError(f"no closed form of KL({type(q).__name__}‖{type(p).__name__}); there is "
                        f"one for {known}; or estimate E_q[q.log_prob(x) - p.log_prob(x)]")
    if q.event_ndim != p.event_ndim:
        raise ValueError(f"KL of distributions over different events: event_ndim is {q.event_ndim} "
                         f"for q and {p.event_ndim} for p")
    return closed_form(q, p)


def closed_form(q_type: type, p_type: type) -> Callable[[Callable], Callable]:
    """Decorator: the function below is KL(q‖p) for these types."""
    def enter(formula: Callable) -> Callable:
        CLOSED_FORMS[q_type, p_type] = formula
        return formula
    return enter


@closed_form(Normal, Normal)
def _normal_normal(q: Normal, p: Normal) -> Any:
    """Σ log(s_p/s_q) + ½ (s_q² + (m_q - m_p)²)/s_p² - ½; never below 0 by rounding."""
    if p.is_standard:
        per_dimension = to_standard(q.mean, q.log_std)
    else:
        per_dimension = to_standard((q.mean - p.mean) / p.std, q.log_std - p.log_std)
    shape = broadcast(q.shape, p.shape)
    if per_dimension.shape != shape:
        per_dimension = np.broadcast_to(per_dimension, shape)
    return event_sum(per_dimension, q.event_ndim)


@with_vjp(lambda g, y, m, r: g * m, lambda g, y, m, r: g * np.expm1(2 * r))
def to_standard(m: Any, r: Any) -> Any:
    """KL(N(m, e²ʳ)‖N(0, 1)) = ½(m² + e²ʳ - 1) - r, of each dimension; r = log s.

    Kingma and Welling (2014), appendix B: -½ (1 + log s² - m² - s²).  Both m² and (e²ʳ - 1)/2 - r
    are 0 or more; expm1 keeps the latter's digits near r = 0.
    """
    return 0.5 * np.square(m) + np.maximum(0.5 * np.expm1(2 * r) - r, 0)
