"""What each dimension of the code is used for: KL per dimension, active units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.distributions import Distribution, Estimate, kl_by_dimension
from vae.evaluation.means import mean_and_error
from vae.models import VAE


class ActiveUnits(NamedTuple):
    """Which dimensions are active, the variance over the data that says so, and how many."""

    active: ndarray  # (n_z,), bool; of codes with more axes, all of these
    variance: ndarray  # of the same shape
    count: int


def kl_per_dimension(model: VAE, x: ndarray, *, batch_size: int = 1_000) -> Estimate:
    """KL(q(z_j|x)‖p(z_j)) of each dimension j, mean over the data: (n_z,), in nats.

    The sum over j is the model's mean KL.  With it the standard error of each mean over the data.
    Raises ValueError unless both q(z|x) and p(z) are products over the dimensions.
    """
    check_data(x)
    model = frozen(model)
    return mean_and_error(np.concatenate([
        kl_by_dimension(model.posterior(x[i:i + batch_size]), model.prior)
        for i in range(0, len(x), batch_size)]))


def active_units(model: VAE, x: ndarray, *, threshold: float = 1e-2, draws: int | None = None,
                 rng: Generator | None = None, batch_size: int = 1_000) -> ActiveUnits:
    """The dimensions whose posterior mean moves with the data: Var_x(E[z_j|x]) > threshold.

    Burda et al. (2016), section 5.2, with their threshold of 0.01, in squared units of z: a prior
    with a variance of 1 is meant.  Raises ValueError for fewer than two data.
    draws, rng: for a q whose mean is not known.  The variance is then the covariance, over the
    data, of two means of draws/2 each: they are independent given x, so it has no bias.
    """
    check_data(x)
    if len(x) < 2:
        raise ValueError("active_units of one datum: a variance over the data takes two or more")
    if draws is not None and (draws < 2 or draws % 2 or rng is None):
        raise ValueError(f"active_units(draws={draws}, rng={rng}): an even number of draws, in two "
                         "halves, and rng=np.random.default_rng(seed) are expected")
    model = frozen(model)
    halves = [_two_means(model.posterior(x[i:i + batch_size]), draws, rng)
              for i in range(0, len(x), batch_size)]
    first, second = (np.concatenate(half) for half in zip(*halves))
    variance = np.mean((first - first.mean(axis=0)) * (second - second.mean(axis=0)), axis=0)
    active = variance > threshold
    return ActiveUnits(active, variance, int(active.sum()))


def _two_means(q: Distribution, draws: int | None, rng: Generator | None
               ) -> tuple[ndarray, ndarray]:
    """Independent estimates of E[z|x]; the mean twice where it is known."""
    if draws is None:
        mean = np.broadcast_to(q.mean, q.shape).astype(np.float64)
        return mean, mean
    first, second = q.sample((2, draws // 2), rng=rng).mean(axis=1, dtype=np.float64)
    return first, second
