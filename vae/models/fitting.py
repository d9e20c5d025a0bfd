"""Whether the parts of a model fit each other, found out before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vae.distributions import Distribution
from vae.distributions.support import REAL


def require_fit(posterior: Callable[[Any], Any], likelihood: Callable[[Any], Any],
                prior: Distribution) -> None:
    """Raise where prior, p(x|z) and q(z|x) can't belong to one model, by trying one code.

    TypeError: something else than a distribution.  ValueError: the decoder can't take a code of the
    prior, the encoder can't take what the likelihood describes, q(z|x) is over another space than
    the prior.
    """
    if not isinstance(prior, Distribution):
        raise TypeError(f"VAE: the prior is a {type(prior).__name__}; a distribution p(z), or a "
                        "callable without arguments that gives one, is expected")
    event = _event(prior)
    z = np.full((1, *event), prior.support.inner(prior.dtype), prior.dtype)
    p = _asked("decoder", likelihood, z, f"a code of the prior, {_named(prior)}")
    x = np.full((1, *_event(p)), p.support.inner(p.dtype), p.dtype)
    q = _asked("encoder", posterior, x, f"x as the likelihood describes it, {_named(p)}")
    if _event(q) != event or q.event_ndim != prior.event_ndim:
        raise ValueError(f"VAE: q(z|x) is of another code than the prior: {_named(q)}, and "
                         f"{_named(prior)}; both must be of the same shape")
    if q.support == REAL != prior.support:
        raise ValueError(f"VAE: q(z|x), {_named(q)}, is on all real numbers, and the prior, "
                         f"{_named(prior)}, on {prior.support} alone: codes outside would be "
                         "impossible, and the KL infinite. Take two with the same support")


def _asked(who: str, part: Callable[[Any], Any], given: np.ndarray, what: str) -> Distribution:
    try:
        found = part(given)
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(f"VAE: the {who} can't take {what}, given as an array {given.shape}: "
                         f"{error}") from error
    if not hasattr(found, "log_prob"):
        kind = {"decoder": "p(x|z), such as networks.ToBernoulli",
                "encoder": "q(z|x), such as networks.ToNormal"}[who]
        raise TypeError(f"VAE: the {who} gave a {type(found).__name__}; a distribution is "
                        f"expected: end it in a head that makes {kind}")
    return found


def _event(p: Distribution) -> tuple[int, ...]:
    """The shape of one draw, without axes of a batch."""
    return p.shape[len(p.shape) - p.event_ndim:]


def _named(p: Distribution) -> str:
    return f"a {type(p).__name__} of shape {_event(p)}"
