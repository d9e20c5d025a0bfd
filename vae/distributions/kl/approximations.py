"""What there is where KL has no closed form: an upper bound for mixtures, and an estimate."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from minigrad.functions import log_softmax, logsumexp
from minigrad.tensor import untraced
from vae.distributions.base import Distribution, event_sum
from vae.distributions.kl.convex import growth, mass_divergence
from vae.distributions.kl.registry import kl, require_same_events
from vae.distributions.mixture import Mixture


class Estimate(NamedTuple):
    """A Monte Carlo estimate of each event, and its standard error."""

    value: Any
    standard_error: Any


def kl_estimate(q: Distribution, p: Distribution, *, samples: int, rng: Generator,
                control_variate: bool = False) -> Estimate:
    """KL(q‖p) per event, in nats, as the mean of log q(x) - log p(x) over draws x of q.

    It is random, and may be negative.  control_variate: the mean of log q/p + p/q - 1 instead, 0 or
    more each (Schulman 2020, "Approximating KL divergence"): less noise where p is close to q,
    but more, even without bound, where p has the heavier tails; and biased where p has mass that
    q has not.  Gradients go through the draws, where they have a path.

    samples: two or more.  ∞ with standard error ∞ where a draw has no density under p.
    Raises ValueError for fewer samples, and for events that differ.
    """
    if samples < 2:
        raise ValueError(f"kl_estimate with samples={samples}: a standard error takes 2 or more")
    require_same_events(q, p)
    x = q.sample((samples,), rng=rng)
    log_p = p.log_prob(x)
    impossible = untraced(log_p) == -np.inf
    ratio = np.where(impossible, 0, q.log_prob(x) - np.where(impossible, 0, log_p))
    if control_variate:
        ratio = ratio + growth(-ratio)
    endless = impossible.any(0)
    error = np.std(untraced(ratio), axis=0, ddof=1) / math.sqrt(samples)
    return Estimate(np.where(endless, np.inf, ratio.mean(0)), np.where(endless, np.inf, error))


def kl_upper_bound(q: Distribution, p: Distribution) -> Any:
    """A number per event, in nats, that KL(q‖p) is not above, where q or p, or both, are mixtures.

    Of q = Σ wᵢqᵢ by convexity, and of p = Σ vⱼpⱼ by Jensen's inequality for log Σ exp:

        KL(q‖p) ≤ Σᵢ wᵢ KL(qᵢ‖p),    KL(q‖p) ≤ -log Σⱼ vⱼ exp(-KL(q‖pⱼ))

    Of two mixtures the second is taken of each term of the first; with as many components in each,
    KL(w‖v) + Σ wᵢ KL(qᵢ‖pᵢ) where that is less: Hershey and Olsen (2007), "Approximating the
    Kullback Leibler divergence between Gaussian mixture models".

    Raises TypeError where the components have no KL in closed form, ValueError as `kl` does.
    """
    if not (isinstance(q, Mixture) or isinstance(p, Mixture)):
        return kl(q, p)
    if q.event_ndim != p.event_ndim:
        raise ValueError(f"kl_upper_bound of distributions over different events: event_ndim is "
                         f"{q.event_ndim} for q and {p.event_ndim} for p")
    inner = q.inner if isinstance(q, Mixture) else p.inner
    if isinstance(q, Mixture) and isinstance(p, Mixture):
        if q.inner != p.inner:
            raise ValueError("kl_upper_bound of mixtures whose components have events of "
                             f"{q.inner} and of {p.inner} axes")
        bound = _of_two(q, p)
    elif isinstance(q, Mixture):
        bound = _expected(q.logits, kl(q.components, _with_axis(p, inner, 0)))
    else:
        bound = _soft_least(p.logits, kl(_with_axis(q, inner, 0), p.components))
    return event_sum(bound, q.event_ndim - inner)


def _of_two(q: Mixture, p: Mixture) -> Any:
    each = kl(_with_axis(q.components, q.inner, 0), _with_axis(p.components, p.inner, 1))
    bound = _expected(q.logits, _soft_least(p.logits[..., None, :], each))
    if q.logits.shape[-1] != p.logits.shape[-1]:
        return bound
    weights = mass_divergence(log_softmax(q.logits), log_softmax(p.logits)).sum(-1)
    return np.minimum(bound, weights + _expected(q.logits, kl(q.components, p.components)))


def _expected(logits: Any, each: Any) -> Any:
    """Σ wᵢ KLᵢ, where a component without weight does not count."""
    weights = np.exp(log_softmax(logits))
    counts = untraced(weights) > 0
    return (weights * np.where(counts, each, 0)).sum(-1)


def _soft_least(logits: Any, each: Any) -> Any:
    return -logsumexp(log_softmax(logits) - each, -1)


def _with_axis(d: Distribution, inner: int, place: int) -> Distribution:
    """d with events of `inner` axes, and a batch axis of length 1 before the last `place` ones."""
    new = copy.copy(d)
    for name in d.parameters:
        value = getattr(d, name)
        batch = value.ndim - inner - d.extra_axes.get(name, 0)
        if batch > place or batch == place > 0:
            setattr(new, name, np.expand_dims(value, batch - place))
    cut = len(d.shape) - inner
    new.shape = (*d.shape[:cut - place], 1, *d.shape[cut - place:])
    new.event_ndim = inner
    return new
