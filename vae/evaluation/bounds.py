"""The ELBO of a trained model on test data: no graph, and a generator of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.evaluation.means import mean_and_error
from vae.models import VAE
from vae.objectives import Bound, elbo

PARTS = "elbo", "reconstruction", "kl"


def evaluate(model: VAE, x: ndarray, *, seed: int = 0, batch_size: int = 500,
             repeats: int = 1, each: bool = False,
             objective: Callable[..., Bound] = elbo) -> dict[str, Any]:
    """Mean ELBO = reconstruction - KL over the data x (n, …), in nats a datum, with its errors.

    `repeats` draws of z for each datum, from a generator of its own: the same seed gives the same
    numbers, and training is not disturbed.  For each of the parts `elbo`, `reconstruction`, `kl`

        part            the mean over data and draws
        part_se         s/√n, with s the standard deviation over data of the means over draws: how
                        far the mean may be from that of other data of the same kind, the noise of
                        the draws included
        part_noise_se   only with repeats > 1: √(mean over data of the variance over draws)/√(n·
                        repeats): how far other seeds come out on these same data.  It compares two
                        models on one test set where part_se is too wide: the data cancel.  Of a KL
                        in closed form it is 0.

    objective: another bound in its place, such as `estimators.sgvb_a` where the KL has no closed
    form; what a `Weighted` one maximises is not looked at.
    each: also the array `elbos`, (n,): of two models on the same data, the standard error of the
    mean of the differences says more than each one's.
    Raises ValueError and TypeError for data that are empty, no floating point, or not finite.
    """
    check_data(x)
    if repeats < 1 or batch_size < 1:
        raise ValueError(f"repeats={repeats}, batch_size={batch_size}: both are at least 1")
    model, rng = frozen(model), np.random.default_rng(seed)
    draws = []
    for _ in range(repeats):
        found = [objective(model, x[i:i + batch_size], rng=rng)
                 for i in range(0, len(x), batch_size)]
        parts = [np.stack([bound.value, bound.reconstruction, bound.kl]) for bound in found]
        draws.append(np.concatenate(parts, axis=1).astype(np.float64))
    values = np.stack(draws)  # (repeats, parts, n)
    means, errors = mean_and_error(values.mean(axis=0).T)
    found = dict(zip(PARTS, means.tolist()))
    found |= {f"{part}_se": float(e) for part, e in zip(PARTS, errors)}
    if repeats > 1:
        errors = np.sqrt(values.var(axis=0, ddof=1).mean(axis=1) / (len(x) * repeats))
        found |= {f"{part}_noise_se": float(e) for part, e in zip(PARTS, errors)}
    return {**found, "elbos": values[:, 0].mean(axis=0)} if each else found


def bits_per_dimension(log_p: float, n: int, *, levels: float) -> float:
    """-log₂ p(x) of each of n dimensions: -log_p/(n·ln 2) + log₂ levels; lower is better.

    log_p: in nats a datum, or a bound on it.  levels: how many whole numbers k lie in a unit of x.
    A density of dequantised bytes, x = (k + u)/256 with u ~ U(0, 1), has levels=256: it is 256
    times that of k + u, in each dimension, and on average below the mass of k (Theis et al. 2016,
    section 3.1).  For x = (k + u)/128 - 1, in [-1, 1], it is 128.  A mass (Bernoulli pixels,
    discretised logistic) has levels=1, on whatever scale x is.  A log density may be positive,
    bits a dimension of bytes are not below 0.
    """
    if n < 1 or not 0 < levels < math.inf:
        raise ValueError(f"bits_per_dimension with n={n}, levels={levels}: n is the number of "
                         "dimensions, at least 1; levels is 256 for densities of bytes that were "
                         "dequantised and divided by 256, and 1 for masses of discrete values")
    return -float(log_p) / (n * math.log(2)) + math.log2(levels)
