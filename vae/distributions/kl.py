"""Kullback-Leibler divergences in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from minigrad.tensor import with_vjp

from vae.distributions.base import Distribution, event_sum
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
    if p.is_standard:  # Kingma and Welling (2014), appendix B: -½ Σ 1 + log s² - m² - s²
        excess = _excess(q.log_std) + 0.5 * np.square(q.mean)
    else:
        excess = (_excess(q.log_std - p.log_std)
                  + 0.5 * np.square((q.mean - p.mean) / p.std))
    shape = np.broadcast_shapes(q.shape, p.shape)
    return event_sum(excess if excess.shape == shape else np.broadcast_to(excess, shape),
                     q.event_ndim)


@with_vjp(lambda g, y, r: g * np.expm1(2 * r))
def _excess(r: Any) -> Any:
    """½(e²ʳ - 1) - r ≥ 0, for r = log(s_q/s_p): what the spreads alone contribute."""
    return 0.5 * np.expm1(2 * r) - r
