"""The aggregate posterior q(z) = 1/N Σ q(z|xₙ), and the parts of the KL that it is between."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.functions import logsumexp
from minigrad.nn import frozen
from minigrad.tensor import untraced
from vae.data.checks import check_data
from vae.distributions import Distribution
from vae.evaluation.means import mean_and_error
from vae.evaluation.posteriors import elementwise, posteriors, rows
from vae.models import VAE

WEIGHTS = "weighted", "stratified", "symmetric"


class LogAggregate(NamedTuple):
    """log q(z) of n codes, (n,), and log q(z_j) of each of their dimensions, (n, n_z)."""

    joint: Any
    dimensions: Any


class Decomposition(NamedTuple):
    """Parts of E_x KL(q(z|x)‖p(z)), in nats: one number a draw, or an `Estimate` of each mean.

        kl           = mutual_information + marginal_kl
        marginal_kl  = total_correlation  + Σ_j dimension_kl[j]

    kl: log q(z|x)/p(z).  mutual_information: log q(z|x)/q(z).  marginal_kl: log q(z)/p(z).
    total_correlation: log q(z)/Π q(z_j).  dimension_kl: log q(z_j)/p(z_j), (…, n_z).
    """

    kl: Any
    mutual_information: Any
    marginal_kl: Any
    total_correlation: Any
    dimension_kl: Any


def aggregate_decomposition(model: VAE, x: ndarray, *, samples: int = 1_000,
                            estimator: str = "exact", batch_size: int = 128, seed: int = 0,
                            block: int = 2**21) -> Decomposition:
    """The mean KL of x (N, …), split at q(z) and at Π q(z_j), each with its standard error.

    Hoffman and Johnson (2016), "ELBO surgery"; Chen et al. (2018), "Isolating sources of
    disentanglement", equation 2.  q(z) is the mixture over the N data given, so the mutual
    information is that of z and the index of the datum: log N at most.

    estimator: "exact" takes all N components for each of `samples` draws of z, N · samples · n_z
    densities, `block` of them at a time.  The others, of `minibatch_weights`, see `batch_size` data
    at a time, and are biased: they say what a training penalty by minibatches would see.
    The standard errors are over draws, or over minibatches; with x as it is.  Each datum is drawn
    as often as the others, so for samples above N they are too large, if anything.
    """
    check_data(x)
    if samples < 2:
        raise ValueError(f"samples={samples}: a standard error takes 2 draws or more")
    model, rng = frozen(model), np.random.default_rng(seed)
    q = posteriors(model, x)
    prior = model.prior.map(lambda value: np.asarray(value, np.float64))
    if estimator == "exact":
        each_often = [rng.permutation(len(x)) for _ in range(-(-samples // len(x)))]
        own = rows(q, np.concatenate(each_often)[:samples])  # each datum as often, or nearly
        z = own.sample(rng=rng)
        parts = decompose(own, prior, z, log_aggregate(q, z, block=block))
        return Decomposition(*(mean_and_error(part) for part in parts))
    batches = []
    for _ in range(max(2, -(-samples // batch_size))):
        own = rows(q, rng.choice(len(x), min(batch_size, len(x)), replace=False))
        z = own.sample(rng=rng)
        found = log_minibatch_aggregate(own, z, dataset_size=len(x), weights=estimator)
        batches.append([part.mean(axis=0) for part in decompose(own, prior, z, found)])
    return Decomposition(*(mean_and_error(np.stack(part)) for part in zip(*batches)))


def decompose(q: Distribution, prior: Distribution, z: Any, aggregate: LogAggregate
              ) -> Decomposition:
    """The parts at draws z (n, n_z), one of each q(z|x) (n, n_z): what their means estimate.

    Tensors keep their gradients, so that a part, weighted, can be a penalty in training.
    """
    conditional = elementwise(q, "q(z|x)").log_prob(z).sum(-1)
    log_p = elementwise(prior, "p(z)").log_prob(z)
    joint, dimensions = aggregate
    marginal_kl = joint - log_p.sum(-1)
    return Decomposition(conditional - log_p.sum(-1), conditional - joint, marginal_kl,
                         joint - dimensions.sum(-1), dimensions - log_p)


def log_aggregate(q: Distribution, z: ndarray, *, block: int = 2**21) -> LogAggregate:
    """log q(z) = log 1/N Σ q(z|xₙ), and each log q(z_j), with all N components q (N, n_z).

    z: (n, n_z).  About `block` densities are in memory at a time.
    """
    n, (count, n_z) = len(z), q.shape
    components = max(1, min(count, block // n_z))
    codes = max(1, block // (n_z * components))
    joint, dimensions = np.full(n, -np.inf), np.full((n, n_z), -np.inf)
    for j in range(0, count, components):
        part = rows(q, slice(j, j + components))
        for i in range(0, n, codes):
            at = slice(i, i + codes)
            log_q = log_densities(part, z[at])
            joint[at] = np.logaddexp(joint[at], logsumexp(log_q.sum(-1), axis=1))
            dimensions[at] = np.logaddexp(dimensions[at], logsumexp(log_q, axis=1))
    return LogAggregate(joint - math.log(count), dimensions - math.log(count))


def log_densities(q: Distribution, z: Any) -> Any:
    """log q(z_ij|x_k) of every code i under every component k: (n, m, n_z)."""
    return elementwise(q, "q(z|x)").log_prob(np.expand_dims(z, 1))


def log_minibatch_aggregate(q: Distribution, z: Any, *, dataset_size: int,
                            weights: str = "stratified") -> LogAggregate:
    """log q(z) and each log q(z_j) from one minibatch: z[i] (n, n_z) is a draw of q(z|x_i).

    log Σ_k W_ik q(z_i|x_k), with W of `minibatch_weights`.  dataset_size: N of q(z), which the
    minibatch can't tell.  Tensors keep their gradients.
    """
    if q.shape != z.shape or len(q.shape) != 2:
        raise ValueError(f"log_minibatch_aggregate: q has shape {q.shape} and z {z.shape}; both "
                         "must be (n, n_z), one draw for each datum: z = q.sample(rng=rng)")
    w = minibatch_weights(len(untraced(z)), dataset_size, weights)
    log_w = np.log(w).astype(untraced(z).dtype)
    log_q = log_densities(q, z)
    return LogAggregate(logsumexp(log_q.sum(-1) + log_w, axis=1),
                        logsumexp(log_q + log_w[:, :, None], axis=1))


def minibatch_weights(n: int, dataset_size: int, kind: str = "stratified") -> ndarray:
    """W (n, n), by which Σ_k W_ik q(z_i|x_k) stands for q(z_i) = 1/N Σ q(z_i|x): z_i is of x_i.

    "stratified": 1/N on the diagonal, (N - M)/(NM) once in each row, else 1/M, with M = n - 1;
    unbiased for q(z) where the minibatch is drawn without replacement, so its logarithm is, on
    average, too low.  Chen et al. (2018), appendix C.2.  (The code published with the paper has
    these values in the first two columns in the place of the diagonal and the one beside it, which
    is unbiased for nothing.)
    "symmetric": 1/N on the diagonal, else (N - 1)/(NM): the mean of the former over the order of
    the minibatch, so unbiased as well, with no more variance, and exact where n = N.
    "weighted": 1/(Nn) everywhere: minibatch weighted sampling, appendix C.1.  Biased: up to log N
    too low.
    """
    if kind not in WEIGHTS:
        raise ValueError(f"minibatch weights {kind!r}: it is one of {', '.join(WEIGHTS)}")
    if not 1 <= n <= dataset_size:
        raise ValueError(f"a minibatch of {n} from dataset_size={dataset_size}: the size is that "
                         "of the whole data set, which the minibatch is drawn from")
    if kind == "weighted":
        return np.full((n, n), 1 / (dataset_size * n))
    if n < 2:
        raise ValueError(f"{kind} weights for a minibatch of one: others must stand for the rest "
                         "of the data; give two or more")
    others = n - 1
    if kind == "symmetric":
        w = np.full((n, n), (dataset_size - 1) / (dataset_size * others))
    else:
        w = np.full((n, n), 1 / others)
        i = np.arange(n)
        w[i, (i + 1) % n] = (dataset_size - others) / (dataset_size * others)
    np.fill_diagonal(w, 1 / dataset_size)
    return w
