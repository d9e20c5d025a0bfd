"""The divergence of each dimension alone."""

from __future__ import annotations

import copy
from typing import Any

from vae.distributions.base import Distribution, broadcast
from vae.distributions.kl.registry import kl


def kl_by_dimension(q: Distribution, p: Distribution) -> Any:
    """KL(q_j‖p_j) of each number j of the event's last axis, in nats: `kl` before it is summed.

    Raises ValueError where these are not independent of each other, in q or in p.
    """
    each = None
    if all(d.event_ndim == 1 and not any(map(d.extra_axes.get, ("cholesky", "factor")))
           for d in (q, p)):
        each = kl(*map(_single, (q, p)))
    if each is None or each.shape != broadcast(q.shape, p.shape):
        raise ValueError(f"{q} and {p} have no KL of each dimension: events of one axis of "
                         "independent numbers are needed, such as those of Normal")
    return each


def _single(q: Distribution) -> Distribution:
    """The same numbers, each an event."""
    alone = copy.copy(q)
    alone.event_ndim = 0
    return alone
