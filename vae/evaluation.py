"""What a trained model is worth: bounds on test data, by a generator of their own, no graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.functions import logsumexp
from minigrad.nn import frozen
from vae.models import VAE
from vae.objectives import elbo, log_weights
from vae.training import check_data


def evaluate(model: VAE, x: ndarray, *, seed: int = 0, batch_size: int = 500) -> dict[str, float]:
    """Mean ELBO and its parts, in nats a datum, and the standard error of the mean over the data.

    One draw of z for each datum, from a generator of its own: the same seed gives the same number,
    and training is not disturbed.
    """
    check_data(x)
    model, rng = frozen(model), np.random.default_rng(seed)
    parts = [np.stack(elbo(model, x[i:i + batch_size], rng=rng))
             for i in range(0, len(x), batch_size)]
    values = np.concatenate(parts, axis=1).astype(np.float64)
    means = dict(zip(("elbo", "reconstruction", "kl"), values.mean(axis=1).tolist()))
    return {**means, "elbo_se": float(values[0].std() / math.sqrt(len(x)))}


def log_likelihood(model: VAE, x: ndarray, *, samples: int, seed: int = 0,
                   block: int = 2_000) -> dict[str, Any]:
    """log p(x) by importance sampling with q(z|x), in nats a datum, and its standard error.

    log 1/K Σ p(x, z)/q(z|x) (Burda et al. 2016), a lower bound in expectation that grows with the
    number `samples` = K.  At most about `block` decoded images are in memory at a time; the sum
    runs over blocks of draws by log-sum-exp.
    """
    check_data(x)
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one draw for each datum is needed")
    model, rng = frozen(model), np.random.default_rng(seed)
    draws = min(samples, 100)
    batch, values = max(1, block // draws), []
    for i in range(0, len(x), batch):
        total = np.full(len(x[i:i + batch]), -np.inf)
        for done in range(0, samples, draws):
            weights = log_weights(model, x[i:i + batch], rng=rng,
                                  samples=min(draws, samples - done))
            total = np.logaddexp(total, logsumexp(weights.astype(np.float64), axis=0))
        values.append(total - math.log(samples))
    values = np.concatenate(values)
    return {"log_likelihood": float(values.mean()), "samples": samples, "n": len(x),
            "log_likelihood_se": float(values.std() / math.sqrt(len(x)))}
