"""log p(x) - ELBO, split into what the family of q costs and what the encoder costs."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.functions import logsumexp
from minigrad.nn import frozen
from minigrad.optim import Adam, cosine
from minigrad.tensor import Tensor
from vae.data.checks import check_data
from vae.distributions import Estimate, Normal, kl
from vae.evaluation.means import mean_and_error
from vae.evaluation.weights import BIAS, LowEffectiveSampleSize
from vae.models import VAE


class Gaps(NamedTuple):
    """Of each datum (n,), in nats; each with the standard error of its Monte Carlo draws.

    elbo: with the encoder's q.  best_elbo: with the best q of the family that was found.
    approximation: log p(x) - best_elbo.  amortisation: best_elbo - elbo.
    effective_samples: of the importance weights behind log p(x), or None where it was given.
    """

    log_marginal: Estimate
    elbo: Estimate
    best_elbo: Estimate
    approximation: Estimate
    amortisation: Estimate
    effective_samples: ndarray | None


def inference_gap(model: VAE, x: ndarray, *, log_marginal: ndarray | None = None,
                  steps: int = 500, pairs: int = 5, lr: float = 0.05, samples: int = 1_000,
                  seed: int = 0, batch_size: int = 50, block: int = 2_000) -> Gaps:
    """The gap of each datum, approximation + amortisation: Cremer, Li and Duvenaud (2018).

        log p(x) - ELBO = [log p(x) - max_q ELBO] + [max_q ELBO - ELBO]

    The maximum is over the mean and the log std of a `Normal` q for each datum alone, by `steps` of
    Adam from the encoder's, with `pairs` of mirrored draws a step and the KL in closed form.  Draws
    are fresh in each step: with fixed ones q would fit those.  The learning rate falls from `lr` to
    0, so that their noise averages out.  All ELBOs are then measured with `samples` draws that the
    search has not seen, the same for both q.  Too short a search makes amortisation too small, and
    approximation too large by as much.

    log_marginal: log p(x) (n,) where it is known; otherwise it is estimated by importance sampling
    with the best q, which on average is too low; warns with `LowEffectiveSampleSize` if by 0.05
    nats.  About `block` decoded data are in memory, in the search `batch_size` · 2 `pairs`.
    Raises TypeError for a q that is no Normal.
    """
    check_data(x)
    if steps < 0 or pairs < 1 or samples < 2 or block < 1 or batch_size < 1:
        raise ValueError(f"inference_gap: steps={steps}, pairs={pairs}, samples={samples}, "
                         f"batch_size={batch_size}, block={block}: no fewer than 0, 1, 2, 1, 1")
    if log_marginal is not None and np.shape(log_marginal) != (len(x),):
        raise ValueError(f"log_marginal has shape {np.shape(log_marginal)}: one number for each of "
                         f"{len(x)} data is expected")
    model, rng, parts = frozen(model), np.random.default_rng(seed), []
    for i in range(0, len(x), batch_size):
        known = None if log_marginal is None else log_marginal[i:i + batch_size]
        parts.append(_gaps(model, x[i:i + batch_size], known, rng, steps, pairs, lr, samples,
                           block))
    *estimates, sizes = zip(*parts)
    size = None
    if log_marginal is None:
        size = np.concatenate(sizes)
        _warn_of_bias(size, samples)
    return Gaps(*(Estimate(*map(np.concatenate, zip(*each))) for each in estimates), size)


def best_posterior(model: VAE, x: ndarray, q: Normal, *, rng: Generator, steps: int = 500,
                   pairs: int = 5, lr: float = 0.05) -> Normal:
    """The Normal near q (n, n_z) with the largest ELBO for each of x, by `steps` of Adam."""
    mean = Tensor(np.array(np.broadcast_to(q.mean, q.shape)))
    log_std = Tensor(np.array(np.broadcast_to(q.log_std, q.shape)))
    prior = model.prior
    optimizer = Adam([mean, log_std], lr=cosine(lr, max(steps, 1)))
    for _ in range(steps):
        candidate = Normal.from_log_std(mean, log_std)
        z = candidate.sample((pairs,), rng=rng)
        z = np.concatenate([z, 2 * candidate.mean - z])  # mirrored, which are draws of q as well
        bound = model.likelihood(z).log_prob(x).mean(0) - kl(candidate, prior)
        (-bound.sum()).backward()  # of Adam each number has its own step: no mean over the data
        optimizer.step()
        optimizer.zero_grad()
    return Normal.from_log_std(mean.data, log_std.data)


def _gaps(model: VAE, x: ndarray, known: ndarray | None, rng: Generator, steps: int, pairs: int,
          lr: float, samples: int, block: int) -> Gaps:
    q = model.posterior(x)
    if type(q) is not Normal or q.event_ndim != 1:
        raise TypeError(f"inference_gap searches the Normal q with a vector for an event; q(z|x) "
                        f"is {q!r}")
    best = best_posterior(model, x, q, rng=rng, steps=steps, pairs=pairs, lr=lr)
    noise = rng.integers(2**63)  # both are given the same, so that their difference has less
    bound, _ = _draws(model, q, x, np.random.default_rng(noise), samples, block)
    best_bound, log_w = _draws(model, best, x, np.random.default_rng(noise), samples, block)
    size = None
    if known is None:
        log_total = logsumexp(log_w, axis=0)
        log_p = log_total - math.log(samples) + samples * np.exp(log_w - log_total) - 1
        size = np.exp(2 * log_total - logsumexp(2 * log_w, axis=0))
    else:
        log_p = np.broadcast_to(np.asarray(known, np.float64), log_w.shape)
    return Gaps(*map(mean_and_error, (log_p, bound, best_bound, log_p - best_bound,
                                      best_bound - bound)), size)


def _draws(model: VAE, q: Normal, x: ndarray, rng: Generator, samples: int, block: int
           ) -> tuple[ndarray, ndarray]:
    """log p(x|z) - KL(q‖p), and log p(x, z)/q(z), for draws z of q: (samples, n) each, float64."""
    prior, divergence = model.prior, kl(q, model.prior).astype(np.float64)
    bounds, log_w, at_once = [], [], max(1, block // len(x))
    for done in range(0, samples, at_once):
        z = q.sample((min(at_once, samples - done),), rng=rng)
        log_likelihood = model.likelihood(z).log_prob(x).astype(np.float64)
        bounds.append(log_likelihood - divergence)
        log_w.append(log_likelihood + prior.log_prob(z) - q.log_prob(z))
    return np.concatenate(bounds), np.concatenate(log_w)


def _warn_of_bias(size: ndarray, samples: int) -> None:
    """To first order log 1/K Σ w is too low by ½ (1/ESS - 1/K)."""
    bias = 0.5 * float(np.mean(1 / size - 1 / samples))
    if bias > BIAS:
        warnings.warn(f"log p(x), and with it the approximation gap, is too low by {bias:.2f} nats "
                      f"or more: the effective sample size has a mean of {size.mean():.1f} of "
                      f"{samples} draws, and is {size.min():.1f} at least. Take more samples, or "
                      "give log_marginal, such as of vae.annealed_log_likelihood",
                      LowEffectiveSampleSize, stacklevel=3)
