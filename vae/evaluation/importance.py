"""log p(x) by importance sampling with q(z|x)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.kernels.blas import one_thread
from minigrad.kernels.threads import num_threads, run
from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.distributions import Distribution
from vae.evaluation.weights import Weights, share_of_few, summary, warn_of_bias
from vae.models import VAE

SOME = 32  # blocks that threads share out among them


def log_likelihood(model: VAE, x: ndarray, *, samples: int, seed: int = 0, block: int = 500,
                   each: bool = False) -> dict[str, Any]:
    """log p(x) by importance sampling with q(z|x), in nats a datum, and what to think of it.

        log 1/K Σ w_k,  w_k = p(x, z_k)/q(z_k|x),  z_k ~ q(z|x),  K = samples

    (Burda et al. 2016): p(x) is estimated without bias, so its logarithm is a lower bound in
    expectation, which grows with K.  Each datum is encoded once.  x: (n, …).

    block: at most so many draws of z are decoded at a time, by each thread.  That bounds the
    memory: activations of the decoder for `block` rows, times the threads, whatever K and n are;
    for a decoder 50-200-200-784 some 3 MB for each 500 rows.

    Gives `log_likelihood`, the mean, and `log_likelihood_se`, its standard error over the data.  Of
    the effective sample size of each datum, ESS = (Σ w)²/Σ w²: `ess_mean`, `ess_min`, and
    `ess_low`, the share of data below 10; and, for K > 1, by the delta method the standard error
    over draws on the same data, `log_likelihood_noise_se` = √Σ(1/ESS - 1/K)/n, and what is left of
    the bias, `log_likelihood_bias` = -½ Σ(1/ESS - 1/K)/n.  Also `samples` and `n`.  each: also the
    arrays `log_likelihoods` and `ess`, (n,).

    Warns with LowEffectiveSampleSize where this bias is above 0.05 nats, that of ESS = 10 for every
    datum, with K ≥ 100.  The delta method ends at half a nat a datum, the true bias does not: "or
    more".  With fewer draws the number is the importance-weighted bound of that K, which one may
    ask for, and nobody is warned.  The ESS is itself found from draws of q: a mode of the posterior
    that q never visits does not show in it.
    """
    check_data(x)
    if samples < 1 or block < 1:
        raise ValueError(f"samples={samples}, block={block}: at least one draw for each datum is "
                         "needed, and at least one at a time")
    model, rows = frozen(model), max(1, block // samples)
    prior = model.prior  # asked once: one that is learned may take as long as a block
    log_p, effective = (np.empty(len(x)) for _ in range(2))

    def piece(i: int) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,)))
        found = _weights(model, prior, x[i:i + rows], samples, max(1, block // rows), rng)
        log_p[i:i + rows], effective[i:i + rows] = found.log_mean(), found.effective()

    # One thread a datum keeps its arrays in that core's cache; BLAS's threads share each product.
    with one_thread():
        starts = range(0, len(x), rows)
        for k in range(0, len(starts), SOME):  # in between, Ctrl-C is heard
            run([lambda i=i: piece(i) for i in starts[k:k + SOME]], num_threads())
    found = {**summary(log_p, effective, samples), "samples": samples,
             "ess_low": share_of_few(effective)}
    warn_of_bias(found, found["ess_low"], samples)
    return {**found, "log_likelihoods": log_p, "ess": effective} if each else found


def _weights(model: VAE, prior: Distribution, x: ndarray, samples: int, draws: int,
             rng: np.random.Generator) -> Weights:
    q, weights = model.posterior(x), Weights(len(x))
    while weights.samples < samples:
        z = q.sample((min(draws, samples - weights.samples),), rng=rng)
        weights.add(model.likelihood(z).log_prob(x) + prior.log_prob(z) - q.log_prob(z))
    return weights
