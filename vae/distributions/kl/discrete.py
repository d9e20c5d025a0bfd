"""KL between discrete distributions: sums of q log(q/p) - q + p over all values, 0 or more each."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.functions import log_sigmoid
from minigrad.tensor import untraced
from vae.distributions.base import broadcast, event_sum
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.categorical import Categorical, OneHotCategorical
from vae.distributions.kl.convex import mass_divergence
from vae.distributions.kl.registry import closed_form, total
from vae.distributions.poisson import Poisson

DEFINITION = "the definition"
MASSES = "p is positive where q is"
OVER_CLASSES = "Σ qₖ log(qₖ/pₖ), with 0 log 0 = 0"


@closed_form(Bernoulli, Bernoulli, domain="everywhere", source=DEFINITION,
             formula="q log(q/p) + (1 - q) log((1 - q)/(1 - p))")
def _bernoullis(q: Bernoulli, p: Bernoulli) -> Any:
    return total(mass_divergence(log_sigmoid(q.logits), log_sigmoid(p.logits))
                 + mass_divergence(log_sigmoid(-q.logits), log_sigmoid(-p.logits)), q, p)


@closed_form(Bernoulli, Poisson, domain="everywhere", source=DEFINITION,
             formula="q log q + (1 - q) log(1 - q) - q log r + r")
def _bernoulli_poisson(q: Bernoulli, p: Poisson) -> Any:
    """q log(q/r) - q + r and, with 1 for r, that of 1 - q."""
    log_one = np.zeros_like(untraced(q.logits))
    return total(mass_divergence(log_sigmoid(q.logits), p.log_rate)
                 + mass_divergence(log_sigmoid(-q.logits), log_one), q, p)


@closed_form(Categorical, Categorical, domain=MASSES, source=DEFINITION, formula=OVER_CLASSES)
def _categoricals(q: Categorical, p: Categorical) -> Any:
    if q.classes != p.classes:
        raise ValueError(f"KL of Categoricals with {q.classes} classes and with {p.classes}: they "
                         "must have the same classes; an impossible one has logit -inf")
    return total(mass_divergence(q.log_probabilities, p.log_probabilities).sum(-1), q, p)


@closed_form(OneHotCategorical, OneHotCategorical, domain=MASSES, source=DEFINITION,
             formula=OVER_CLASSES)
def _one_hots(q: OneHotCategorical, p: OneHotCategorical) -> Any:
    each = mass_divergence(q.log_probabilities, p.log_probabilities).sum(-1)
    return event_sum(np.broadcast_to(each, broadcast(q.shape, p.shape)[:-1]), q.event_ndim - 1)


@closed_form(Poisson, Poisson, domain="everywhere",
             source="Banerjee et al. (2005), section 4",
             formula="rq log(rq/rp) - rq + rp")
def _poissons(q: Poisson, p: Poisson) -> Any:
    return total(mass_divergence(q.log_rate, p.log_rate), q, p)
