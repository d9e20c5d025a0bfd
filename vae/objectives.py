"""Bounds on log p(x): functions of (model, x, rng), one number a datum, in nats."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numpy.random import Generator

from minigrad.functions import logsumexp
from vae.distributions import kl
from vae.models import VAE


class Bound(NamedTuple):
    """A bound and its parts, each of one number a datum, in nats."""

    value: Any
    reconstruction: Any
    kl: Any


def elbo(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """E_q[log p(x|z)] - KL(q(z|x)‖p(z)) ≤ log p(x), the expectation by draws of z.

    Kingma and Welling (2014), equation 7 (estimator B: the KL in closed form), L = samples.  Other
    estimators of its gradient are in `vae.estimators`.
    """
    q = model.posterior(x)
    z = q.sample(draws_shape(samples), rng=rng)
    reconstruction = mean_of_draws(model.likelihood(z).log_prob(x), samples)
    divergence = kl(q, model.prior)
    return Bound(reconstruction - divergence, reconstruction, divergence)


def draws_shape(samples: int) -> tuple[int, ...]:
    """() for one draw, so that a network sees plain rows, else (samples,); raises ValueError."""
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one draw is needed")
    return () if samples == 1 else (samples,)


def mean_of_draws(x: Any, samples: int) -> Any:
    """The mean over the axis that `draws_shape` has put first."""
    return x if samples == 1 else x.mean(0)


def log_weights(model: VAE, x: Any, *, rng: Generator, samples: int) -> Any:
    """log p(x, z)/q(z|x) for `samples` draws z of q(z|x): (samples, n)."""
    q = model.posterior(x)
    z = q.sample((samples,), rng=rng)
    return model.likelihood(z).log_prob(x) + model.prior.log_prob(z) - q.log_prob(z)


def importance_weighted(model: VAE, x: Any, *, rng: Generator, samples: int) -> Any:
    """log 1/K Σ p(x, z)/q(z|x) over K draws: between the ELBO (K = 1) and log p(x) (K → ∞).

    Burda et al. (2016), equation 8.
    """
    weights = log_weights(model, x, rng=rng, samples=samples)
    return logsumexp(weights, axis=0) - math.log(samples)
