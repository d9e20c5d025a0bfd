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


def elbo(model: VAE, x: Any, *, rng: Generator) -> Bound:
    """E_q[log p(x|z)] - KL(q(z|x)‖p(z)) ≤ log p(x), the expectation by one draw of z.

    Kingma and Welling (2014), equation 7 (estimator B: the KL in closed form), L = 1.
    """
    q = model.posterior(x)
    reconstruction = model.likelihood(q.sample(rng=rng)).log_prob(x)
    divergence = kl(q, model.prior)
    return Bound(reconstruction - divergence, reconstruction, divergence)


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
