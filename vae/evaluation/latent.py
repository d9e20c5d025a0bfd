"""What each dimension of the code is used for: KL per dimension, active units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.distributions import Estimate, kl_by_dimension
from vae.evaluation.means import mean_and_error
from vae.models import VAE


class ActiveUnits(NamedTuple):
    """Which dimensions are active, the variance over the data that says so, and how many."""

    active: ndarray  # (n_z,), bool
    variance: ndarray  # (n_z,)
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


def active_units(model: VAE, x: ndarray, *, threshold: float = 1e-2,
                 batch_size: int = 1_000) -> ActiveUnits:
    """The dimensions whose posterior mean moves with the data: Var_x(E[z_j|x]) > threshold.

    Burda et al. (2016), section 5.2, with their threshold of 0.01, in squared units of z: a prior
    with a variance of 1 is meant.  Raises ValueError for fewer than two data.
    """
    check_data(x)
    if len(x) < 2:
        raise ValueError("active_units of one datum: a variance over the data takes two or more")
    model = frozen(model)
    qs = [model.posterior(x[i:i + batch_size]) for i in range(0, len(x), batch_size)]
    means = [np.broadcast_to(q.mean, q.shape) for q in qs]
    center = sum(m.sum(axis=0, dtype=np.float64) for m in means) / len(x)
    variance = sum(np.square(m - center).sum(axis=0) for m in means) / len(x)
    active = variance > threshold
    return ActiveUnits(active, variance, int(active.sum()))
