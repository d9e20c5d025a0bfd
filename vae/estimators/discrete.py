"""Estimators of the gradient of E_q[f(z)] for discrete q: exact, relaxed, and corrected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.functions import log_sigmoid, log_softmax, sigmoid, softmax, softplus, stop_gradient
from minigrad.tensor import untraced
from vae.distributions.base import Distribution, generator, require_finite, require_positive
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.categorical import OneHotCategorical
from vae.distributions.relaxed import RelaxedBernoulli, RelaxedOneHot
from vae.distributions.relaxed import straight_through as harden
from vae.estimators.describe import described
from vae.estimators.expectation import Function, several, unit_weight, values_of

MOST_COINS = 16


@described(source="the definition of an expectation", needs="a q of few values")
def enumerated(f: Function, q: Distribution, *, rng: Generator | None = None,
               samples: int = 1) -> Any:
    """Σ_z q(z) f(z) over all values z: exact, with derivatives of every order; nothing is drawn.

    For q with `support_values()`, and Bernoulli with D coins an event, 2ᴰ values, D ≤ 16.  `rng`
    and `samples` are there for the sake of the signature.  Raises TypeError or ValueError for other
    q.
    """
    if isinstance(q, Bernoulli):
        z = _all_tosses(q)
    elif hasattr(q, "support_values"):
        z = q.support_values()
    else:
        raise TypeError(f"enumerated of {type(q).__name__}: its values can't be listed; take "
                        "vae.estimators.score or pathwise")
    return (np.exp(q.log_prob(z)) * values_of(f, z, q)).sum(0)


def _all_tosses(q: Bernoulli) -> ndarray:
    """(2ᴰ, *q.shape): every event of D coins."""
    event = q.shape[len(q.shape) - q.event_ndim:]
    coins = math.prod(event)
    if coins > MOST_COINS:
        raise ValueError(f"enumerated of Bernoulli with {coins} coins an event has 2^{coins} "
                         f"values; at most {MOST_COINS} coins; take vae.estimators.rebar or score")
    tosses = (np.arange(2 ** coins)[:, None] >> np.arange(coins) & 1).astype(q.dtype)
    rows = (1,) * (len(q.shape) - q.event_ndim)
    return np.broadcast_to(tosses.reshape(-1, *rows, *event), (len(tosses), *q.shape))


@described(source="Jang et al. (2017); Maddison et al. (2017)", biased=True,
           needs="Bernoulli or OneHotCategorical q, and f with a slope between the values")
def gumbel_softmax(f: Function, q: Distribution, *, rng: Generator, samples: int = 1,
                   temperature: float = 0.5) -> Any:
    """1/S Σ f(s) with s a relaxation of z: the gradient goes through s.

    Value and gradient are those of E f(s), which is not E f(z): *biased*, the more the warmer; the
    colder, the more the gradient varies.
    """
    soft = _relaxed(q, temperature).sample(several(samples), rng=rng)
    return values_of(f, soft, q).mean(0)


@described(source="Bengio et al. (2013); Jang et al. (2017)", biased=True,
           needs="Bernoulli or OneHotCategorical q, and f with a slope between the values")
def straight_through(f: Function, q: Distribution, *, rng: Generator, samples: int = 1,
                     temperature: float = 0.5) -> Any:
    """1/S Σ f(z_s), its value unbiased, with the relaxation's slope for that of z: *biased*."""
    relaxed = _relaxed(q, temperature)
    soft = relaxed.sample(several(samples), rng=rng)
    return values_of(f, harden(relaxed.harden(soft), soft), q).mean(0)


def _relaxed(q: Distribution, temperature: float) -> Distribution:
    if isinstance(q, Bernoulli):
        return RelaxedBernoulli(q.logits, temperature, event_ndim=q.event_ndim)
    _require_one_hot(q)
    return RelaxedOneHot(q.logits, temperature, event_ndim=q.event_ndim)


def _require_one_hot(q: Distribution) -> None:
    if not isinstance(q, OneHotCategorical):
        raise TypeError(f"a relaxation of {type(q).__name__} is not known; there is one of "
                        "Bernoulli and of OneHotCategorical (a Categorical's draws are indices)")
    require_finite(type(q).__name__, logits=q.logits)  # an impossible class has no relaxation


@described(source="Tucker et al. (2017); Grathwohl et al. (2018), appendix B, for categories",
           needs="Bernoulli or OneHotCategorical q, and f with a slope between the values")
def rebar(f: Function, q: Distribution, *, rng: Generator, samples: int = 1,
          temperature: float = 0.5, eta: float = 1.0) -> Any:
    """The score function with a relaxed control variate: unbiased for any temperature and eta.

        (f(z) - η f(s̃)) grad log q(z) + η grad f(s) - η grad f(s̃)

    s is the relaxation of which z is the hard value, s̃ a relaxed draw given z.  Both are of one
    noise, such that s̃ equals s and only the derivatives differ: s moves as if z were free, s̃ as
    if z were fixed.  Written as w (f(z) - η f(s̃)) + η f(s) with w = q(z)/stop(q(z)), which is 1;
    so derivatives of higher orders are unbiased as well.
    """
    require_positive("rebar", temperature=np.asarray(temperature))
    relaxed = _relaxed_pair_of_coins if isinstance(q, Bernoulli) else _relaxed_pair
    hard, free, given = relaxed(q, several(samples), generator(rng))
    link = sigmoid if isinstance(q, Bernoulli) else softmax
    weight = unit_weight(q.log_prob(hard))
    at_given, at_free = (values_of(f, link(z / temperature), q) for z in (given, free))
    return (weight * (values_of(f, hard, q) - eta * at_given) + eta * at_free).mean(0)


def _relaxed_pair_of_coins(q: Bernoulli, shape: tuple[int, ...], rng: Generator
                           ) -> tuple[ndarray, Any, Any]:
    """A toss, 1 where z = logit + logistic noise is above 0; z, and z given it."""
    u = noise.uniform(rng, shape + q.shape, q.dtype)
    u = np.maximum(u, np.finfo(u.dtype).tiny)
    free = q.logits + (np.log1p(-u) - np.log(u))  # above 0 where u < sigmoid(l)
    z = untraced(free)
    sign = np.where(z > 0, 1, -1).astype(u.dtype)
    given = sign * _gap_given(np.abs(z), log_sigmoid(-sign * q.logits))
    return (z > 0).astype(u.dtype), free, given


def _relaxed_pair(q: OneHotCategorical, shape: tuple[int, ...], rng: Generator
                  ) -> tuple[ndarray, Any, Any]:
    """A category as one-hot, where z = log p + Gumbel noise is largest; z, and z given it."""
    _require_one_hot(q)
    e = noise.exponential(rng, shape + q.shape, q.dtype)
    log_p = log_softmax(q.logits)
    free = log_p - np.log(np.maximum(e, np.finfo(e.dtype).tiny))
    z = untraced(free)
    hard = np.arange(q.shape[-1]) == np.argmax(z, axis=-1)[..., None]
    top = np.max(z, axis=-1, keepdims=True)  # Gumbel noise, whichever the category
    given = np.where(hard, top, top - _gap_given(np.where(hard, 1, top - z), log_p))
    return hard.astype(e.dtype), free, given


def _gap_given(gap: ndarray, log_p: Any) -> Any:
    """The winner's lead over one that lost, whose probability is p: softplus(noise - log p).

    With exponential noise E of the winner and E' of the other it is log(1 + E'/(p E)).  The value
    is `gap` again, from which the noise is found; the slope is by log p, the noise being fixed.
    """
    gap = np.maximum(gap, np.finfo(gap.dtype).tiny)
    inverse = gap + np.log(-np.expm1(-gap))  # of softplus
    return softplus(inverse + (stop_gradient(log_p) - log_p))
