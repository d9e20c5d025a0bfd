"""Bounds on log p(x) that differ in how their gradient is estimated.

Each is a function (model, x, rng, samples) -> Bound, of one number a datum, in nats.  `value` is
the bound and carries the gradient; `reconstruction` is the mean of log p(x|z), and `kl` the KL, or
the mean of log q(z|x) - log p(z).  Their difference is the value of an ELBO; an importance-weighted
bound is higher.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.define import with_vjp
from minigrad.functions import logsumexp, softmax, stop_gradient
from minigrad.table import NoRule
from minigrad.tensor import untraced
from vae.distributions.base import Distribution
from vae.estimators.baselines import Baseline, baseline_of
from vae.estimators.describe import described
from vae.estimators.expectation import several, unit_weight
from vae.models import VAE
from vae.objectives import Bound, draws_shape, elbo, mean_of_draws


class LogDensities(NamedTuple):
    """log p(x|z), log p(z) and log q(z|x) at draws z, each (samples, *batch)."""

    likelihood: Any
    prior: Any
    posterior: Any

    @property
    def weights(self) -> Any:
        """log p(x, z)/q(z|x)."""
        return self.likelihood + self.prior - self.posterior

    def constant(self) -> LogDensities:
        """Their values."""
        return LogDensities(*map(untraced, self))


def _densities(model: VAE, x: Any, z: Any, q: Distribution) -> LogDensities:
    return LogDensities(model.likelihood(z).log_prob(x), model.prior.log_prob(z), q.log_prob(z))


def _elbo_of(at: LogDensities, samples: int) -> Bound:
    reconstruction = mean_of_draws(at.likelihood, samples)
    divergence = mean_of_draws(at.posterior - at.prior, samples)
    return Bound(reconstruction - divergence, reconstruction, divergence)


described(source="Kingma and Welling (2014), equation 7 (estimator B)",
          needs="a path, and a closed form of the KL")(elbo)


# -- the ELBO -------------------------------------------------------------------------------------
@described(source="Kingma and Welling (2014), equation 6 (estimator A)", needs="a path")
def sgvb_a(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """1/L Σ log p(x, z) - log q(z|x): the KL from the same draws, for any prior with a density.

    Varies less than `vae.elbo` near the exact posterior, where its summands are all log p(x), and
    more where q is narrow.
    """
    q = model.posterior(x)
    z = q.sample(draws_shape(samples), rng=rng)
    return _elbo_of(_densities(model, x, z, q), samples)


@described(source="Roeder et al. (2017)", needs="a path")
def sticking_the_landing(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """`sgvb_a` with the parameters of q stopped in log q(z|x): they act through z alone.

    What is left out is the score, of mean 0; at q = p(z|x) the encoder's gradient is then 0 for
    every single draw.
    """
    q = model.posterior(x)
    z = q.sample(draws_shape(samples), rng=rng)
    return _elbo_of(_densities(model, x, z, q.stopped()), samples)


@described(source="Ranganath et al. (2014); Mnih and Gregor (2014); Kool et al. (2019)",
           needs="log q(z|x)")
def score_elbo(model: VAE, x: Any, *, rng: Generator, samples: int = 2,
               baseline: Baseline = "leave-one-out") -> Bound:
    """The ELBO by the score function, for q without a path: no gradient through z.

    baseline: as of `vae.estimators.score`, of the learning signal log p(x, z) - log q(z|x), by
    default the mean of the other draws, samples ≥ 2.  Only `value` carries a gradient: of the
    parts that of q would be missing, so they are constants.
    """
    q = model.posterior(x)
    z = q.constant().sample(several(samples), rng=rng)
    at = _densities(model, x, z, q)
    signal = at.likelihood + at.prior - stop_gradient(at.posterior)
    b = stop_gradient(baseline_of(baseline, untraced(signal)))
    value = (unit_weight(at.posterior) * (signal - b) + b).mean(0)
    return Bound(value, *_parts(at.constant()))


# -- importance-weighted bounds -------------------------------------------------------------------
@described(source="Burda et al. (2016), equation 8", needs="a path")
def iwae(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """log 1/K Σ p(x, z)/q(z|x) over K draws: between the ELBO (K = 1) and log p(x) (K → ∞)."""
    q = model.posterior(x)
    z = q.sample(several(samples), rng=rng)
    return _weighted(_densities(model, x, z, q))


@described(source="Roeder et al. (2017); its bias: Tucker et al. (2019), section 3", biased=True,
           needs="a path")
def iwae_stl(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """`iwae` with the parameters of q stopped in log q(z|x): *biased* for K > 1; see `dreg`."""
    q = model.posterior(x)
    z = q.sample(several(samples), rng=rng)
    return _weighted(_densities(model, x, z, q.stopped()))


@described(source="Tucker et al. (2019), equation 8", needs="a path")
def dreg(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """`iwae` with the doubly reparameterised gradient of the encoder: Σ w̃² ∂log w/∂z ∂z/∂φ.

    w̃ are the normalised weights.  The gradient by the decoder and the prior is that of `iwae`,
    Σ w̃ ∂log w/∂θ, from the same pass.  First order only: raises NoRule when differentiated twice.
    """
    q = model.posterior(x)
    found: dict[str, ndarray] = {}
    z = _reweighted(q.sample(several(samples), rng=rng), event_ndim=q.event_ndim, found=found)
    at = _densities(model, x, z, q.stopped())
    found["weights"] = softmax(untraced(at.weights), axis=0)
    return _weighted(at)


def _reweighted_vjp(g: Any, y: Any, z: Any, event_ndim: int, found: dict) -> ndarray:
    if not all(type(a) is ndarray for a in (g, z)):
        raise NoRule("dreg is the gradient of no function: it can't be differentiated again, nor "
                     "forward; take vae.estimators.iwae")
    return g * found["weights"][(..., *(None,) * event_ndim)]


@with_vjp(_reweighted_vjp)
def _reweighted(z: ndarray, event_ndim: int, found: dict) -> ndarray:
    """z; whatever gradient arrives goes on times the normalised weights, found later."""
    return z


@described(source="Mnih and Rezende (2016), equations 5 to 8", needs="log q(z|x)")
def vimco(model: VAE, x: Any, *, rng: Generator, samples: int = 2) -> Bound:
    """`iwae` by the score function, for any q: each draw's signal is what it adds to the bound.

        Σ_j (L - L_{-j}) grad log q(z_j|x) + Σ_j w̃_j grad log w_j

    In L_{-j} the weight of draw j is the geometric mean of the others'.  Only `value` carries a
    gradient.  Raises ValueError for samples < 2.
    """
    if samples < 2:
        raise ValueError(f"vimco with samples={samples}: each draw is held against the others, so "
                         "there must be 2 or more")
    q = model.posterior(x)
    z = q.constant().sample((samples,), rng=rng)
    at = _densities(model, x, z, q)
    bound = _weighted(at)
    signal = untraced(bound.value) - _without_each(untraced(at.weights))
    score = (signal * (at.posterior - stop_gradient(at.posterior))).sum(0)
    return Bound(bound.value + score, *_parts(at.constant()))


def _without_each(log_weights: ndarray) -> ndarray:
    """L_{-j} for each j, (K, *batch): log 1/K (Σ_{i≠j} w_i + (Π_{i≠j} w_i)^(1/(K-1)))."""
    k = len(log_weights)
    geometric = (log_weights.sum(axis=0) - log_weights) / (k - 1)
    nothing = np.full_like(log_weights[:1], -np.inf)
    below = np.logaddexp.accumulate(log_weights[:-1], axis=0)
    above = np.logaddexp.accumulate(log_weights[:0:-1], axis=0)[::-1]
    others = np.logaddexp(np.concatenate([nothing, below]), np.concatenate([above, nothing]))
    return np.logaddexp(others, geometric) - math.log(k)


def _weighted(at: LogDensities) -> Bound:
    value = logsumexp(at.weights, axis=0) - math.log(len(at.weights))
    return Bound(value, *_parts(at))


def _parts(at: LogDensities) -> tuple[Any, Any]:
    """Means over the draws: the reconstruction, and the KL."""
    return at.likelihood.mean(0), (at.posterior - at.prior).mean(0)
