"""`kl(q, p)`, and the table of the closed forms that it looks up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minigrad.tensor import untraced
from vae.distributions.base import Distribution, broadcast, event_sum


class ClosedForm(NamedTuple):
    """function(q, p), and what docs/kl.md says about it; `infinite` where it is ∞ for all q and p.
    """

    function: Callable[[Any, Any], Any]
    formula: str
    domain: str
    source: str
    infinite: bool = False


CLOSED_FORMS: dict[tuple[type, type], ClosedForm] = {}


@np.errstate(over="ignore")  # what is above the largest number is ∞
def kl(q: Distribution, p: Distribution) -> Any:
    """KL(q‖p) = E_q[log q(x) - log p(x)] per event: summed over the event, in nats, 0 or more.

    Not symmetric: the first is the one that the expectation is over.  +∞, with a gradient of 0,
    where p has no mass in a place where q has some.  Batches broadcast.  The formulas, their
    sources and how exact they are: docs/kl.md.

    Raises TypeError for a pair without closed form, ValueError for events that differ.
    """
    found = CLOSED_FORMS.get((type(q), type(p)))
    if found is None:
        raise TypeError(_no_closed_form(type(q), type(p)))
    require_same_events(q, p)
    value = found.function(q, p)
    endless = np.isinf(untraced(value))
    return np.where(endless, np.inf, value) if np.any(endless) else value


def closed_form(q_type: type, p_type: type, *, formula: str = "", domain: str = "",
                source: str = "", infinite: bool = False) -> Callable[[Callable], Callable]:
    """Decorator: the function below is KL(q‖p) for these types, given events of one shape.

    formula, domain, source: for docs/kl.md; the domain says where the divergence is finite.
    """
    def enter(function: Callable) -> Callable:
        CLOSED_FORMS[q_type, p_type] = ClosedForm(function, formula, domain, source, infinite)
        return function
    return enter


def total(per_element: Any, q: Distribution, p: Distribution) -> Any:
    """The sum over the event of a divergence per element, which may have axes of length 1 yet."""
    shape = broadcast(q.shape, p.shape)
    if per_element.shape != shape:
        per_element = np.broadcast_to(per_element, shape)
    return event_sum(per_element, q.event_ndim)


def require_same_events(q: Distribution, p: Distribution) -> None:
    """Raise ValueError unless the events are of one shape, and the batches broadcast."""
    if q.event_ndim != p.event_ndim:
        raise ValueError(f"KL of distributions over different events: event_ndim is {q.event_ndim} "
                         f"for q and {p.event_ndim} for p")
    n = q.event_ndim
    try:
        broadcast(q.shape, p.shape)
        fits = q.shape[len(q.shape) - n:] == p.shape[len(p.shape) - n:]
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"KL of q with shape {q.shape} and p with shape {p.shape}: the last {n} "
                         "axes are the event and must be equal, those before must broadcast")


def _no_closed_form(q_type: type, p_type: type) -> str:
    q, p = q_type.__name__, p_type.__name__
    near = [f"{a.__name__}‖{b.__name__}" for (a, b), entry in CLOSED_FORMS.items()
            if (a is q_type or b is p_type) and not entry.infinite]
    known = f"; there is one for {', '.join(near)}" if near else ""
    bound = "; vae.kl_upper_bound(q, p) is above it" if q == "Mixture" else ""
    return (f"no closed form of KL({q}‖{p}){known}{bound}; vae.kl_estimate(q, p, samples=..., "
            "rng=rng) estimates it by E_q[q.log_prob(x) - p.log_prob(x)]")
