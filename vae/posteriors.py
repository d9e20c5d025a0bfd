"""Posteriors other than independent Gaussians: heads of encoders, and bounds that suit them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator

from minigrad.functions import relu, softmax
from minigrad.nn import Dense, Sequential
from vae.distributions import (
    Beta,
    LowRankNormal,
    Mixture,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    RelaxedOneHot,
    kl,
)
from vae.estimators import straight_through
from vae.models import VAE
from vae.networks import Head, ToBernoulli, dense
from vae.objectives import Bound, Weight, at, draws_shape, mean_of_draws
from vae.priors import require_sizes


class ToMultivariateNormal:
    """h (…, n_in) -> N(mean, L Lᵀ) of n_out dimensions, n = n_out: full covariance.

    mean, log of L's diagonal and the n(n - 1)/2 numbers below it are linear in h.  The KL to a
    Normal has a closed form.
    """

    def __init__(self, n_in: int, n_out: int, **init: Any):
        require_sizes("ToMultivariateNormal", n_out=n_out)
        below = np.tril_indices(n_out, -1)
        self.linear = Dense(n_in, 2 * n_out + len(below[0]), **init)
        self.place = np.zeros((n_out, n_out), np.intp)  # in the raw numbers, of each below
        self.place[below] = 2 * n_out + np.arange(len(below[0]))

    def __call__(self, h: Any) -> MultivariateNormal:
        raw, n = self.linear(h), len(self.place)
        diagonal = np.exp(raw[..., n:2 * n])
        low = np.tril(raw[..., self.place], -1)
        return MultivariateNormal(raw[..., :n],
                                  low + diagonal[..., None] * np.eye(n, dtype=raw.dtype))


class ToLowRankNormal:
    """h (…, n_in) -> N(mean, F Fᵀ + diag(d)) of n_out dimensions, F (n_out, rank).

    mean, log d and F are linear in h: n_out·(2 + rank) raw numbers.  The KL to a Normal has a
    closed form.
    """

    def __init__(self, n_in: int, n_out: int, *, rank: int, **init: Any):
        require_sizes("ToLowRankNormal", n_out=n_out, rank=rank)
        self.rank, self.linear = rank, Dense(n_in, (2 + rank) * n_out, **init)

    def __call__(self, h: Any) -> LowRankNormal:
        raw = self.linear(h)
        n = raw.shape[-1] // (2 + self.rank)
        factor = np.reshape(raw[..., 2 * n:], (*raw.shape[:-1], n, self.rank))
        return LowRankNormal(raw[..., :n], factor, np.exp(raw[..., n:2 * n]))


class ToMixture:
    """h (…, n_in) -> a mixture of K = components Gaussians with independent dimensions, n_out.

    logits, means and log variances are linear in h.  There is no closed form of the KL.

    By default Σₖ wₖ N(z; meanₖ, stdₖ) over whole codes z, such as one that has two places for the
    same x.  A draw has no path to the weights: train by `stratified_elbo`, which sums over the
    components, or `vae.estimators.score_elbo`.
    per_dimension: each dimension is a mixture on its own, Kⁿ corners with n numbers each; the path
    is implicit, so `vae.estimators.sgvb_a` and `iwae` train it; where the components are far apart
    this gradient varies much, for a draw between them moves fast.
    """

    def __init__(self, n_in: int, n_out: int, *, components: int, per_dimension: bool = False,
                 **init: Any):
        require_sizes("ToMixture", n_out=n_out, components=components)
        self.components, self.n, self.per_dimension = components, n_out, per_dimension
        self.logits = Dense(n_in, components * (n_out if per_dimension else 1), **init)
        self.linear = Dense(n_in, 2 * components * n_out, **init)

    def __call__(self, h: Any) -> Mixture:
        batch, k, n = h.shape[:-1], self.components, self.n
        each = (*batch, n, k) if self.per_dimension else (*batch, k, n)
        raw = np.reshape(self.linear(h), (*batch, 2, *each[-2:]))
        rest = (slice(None),) * 2
        mean, log_var = (raw[(..., i, *rest)] for i in range(2))
        if self.per_dimension:
            return Mixture(np.reshape(self.logits(h), each),
                           Normal.from_log_var(mean, log_var, event_ndim=0), event_ndim=1)
        return Mixture(self.logits(h), Normal.from_log_var(mean, log_var))


class ToBeta:
    """h (…, n_in) -> Beta(a, b) of n_out dimensions in (0, 1): log a and log b are linear in h.

    For a prior on an interval, vae.Uniform(0, 1), off which a Gaussian posterior would have mass
    and so an infinite KL.  The KL has a closed form.
    """

    def __init__(self, n_in: int, n_out: int, **init: Any):
        require_sizes("ToBeta", n_out=n_out)
        self.linear = Dense(n_in, 2 * n_out, **init)

    def __call__(self, h: Any) -> Beta:
        both = np.exp(self.linear(h))
        n = both.shape[-1] // 2
        return Beta(both[..., :n], both[..., n:])


class ToOneHotCategorical:
    """h (…, n_in) -> one-hot codes (variables, categories), their logits linear in h.

    relaxed: None, or the temperature of a RelaxedOneHot, whose draws have a path.
    """

    def __init__(self, n_in: int, variables: int, categories: int, *,
                 relaxed: float | None = None, **init: Any):
        require_sizes("ToOneHotCategorical", variables=variables)
        require_categories("ToOneHotCategorical", categories)
        self.event, self.relaxed = (variables, categories), relaxed
        self.linear = Dense(n_in, variables * categories, **init)

    def __call__(self, h: Any) -> OneHotCategorical | RelaxedOneHot:
        return one_hot_code(np.reshape(self.linear(h), (*h.shape[:-1], *self.event)), self.relaxed)


def one_hot_code(logits: Any, relaxed: float | None) -> OneHotCategorical | RelaxedOneHot:
    """Codes of logits (…, variables, categories), both axes one event."""
    if relaxed is None:
        return OneHotCategorical(logits, event_ndim=2)
    return RelaxedOneHot(logits, relaxed, event_ndim=2)


class FlatCode:
    """z (…, variables, categories) -> (…, variables·categories), for a dense decoder."""

    def __call__(self, z: Any) -> Any:
        return np.reshape(z, (*z.shape[:-2], math.prod(z.shape[-2:])))


def categorical_vae(n_x: int, hidden: Sequence[int], variables: int, categories: int, *,
                    rng: Generator, relaxed: float | None = None,
                    activation: Callable = relu, likelihood: Callable[..., Head] = ToBernoulli,
                    start: np.ndarray | None = None) -> VAE:
    """Pixels and a code of one-hot vectors, (variables, categories), the prior uniform over them.

    hidden: of the encoder, at least one layer; the decoder has the same in reverse.
    relaxed: None for hard codes, which `expected_elbo` trains (straight through, Gumbel-softmax,
    REBAR, score, enumerated) and `vae.estimators.score_elbo` and `vimco`; or a temperature, for
    codes within the simplex with the relaxed prior, which `vae.estimators.sgvb_a` trains: a bound
    of the relaxed model (Maddison et al. 2017), not of the hard one.
    start: as of `vae.dense_vae`.  Jang et al. (2017) have 20 to 30 variables with 10 categories.
    """
    if isinstance(hidden, int) or len(hidden) == 0:
        raise TypeError(f"categorical_vae(hidden={hidden}): give the sizes of the layers, such as "
                        "(200,)")
    require_sizes("categorical_vae", variables=variables)
    require_categories("categorical_vae", categories)
    layers: list[Callable] = []
    for n_in, n_out in pairwise([n_x, *hidden]):
        layers += [Dense(n_in, n_out, rng=rng), activation]
    encoder = Sequential(*layers, ToOneHotCategorical(hidden[-1], variables, categories,
                                                      relaxed=relaxed, rng=rng))
    decoder = dense([variables * categories, *reversed(hidden), n_x], likelihood,
                    activation=activation, rng=rng)
    if start is not None:
        decoder.layers[-1].start_at(start)
    prior = one_hot_code(np.zeros((variables, categories), np.float32), relaxed)
    return VAE(encoder, Sequential(FlatCode(), decoder), prior)


def expected_elbo(model: VAE, x: Any, *, rng: Generator, step: int = 0, samples: int = 1,
                  estimator: Callable[..., Any] = straight_through,
                  temperature: Weight | None = None) -> Bound:
    """E_q[log p(x|z)] - KL(q(z|x)‖p(z)), the gradient of the expectation by an estimator.

    estimator: one of `vae.estimators.EXPECTATIONS`, such as `gumbel_softmax`, `straight_through`,
    `rebar`, `score` (samples ≥ 2) or `enumerated` (nothing is drawn).  The value is the ELBO, but
    of `gumbel_softmax`, where it is that of relaxed codes in the decoder, no bound on log p(x).
    temperature: of an estimator that has one, a number or a function of the step, as Jang et al.
    (2017) anneal it; None: its own.  The KL is in closed form.
    """
    q = model.posterior(x)
    options = {} if temperature is None else {"temperature": at(temperature, step)}
    reconstruction = estimator(lambda z: model.likelihood(z).log_prob(x), q, rng=rng,
                               samples=samples, **options)
    divergence = kl(q, model.prior)
    return Bound(reconstruction - divergence, reconstruction, divergence)


def stratified_elbo(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """Σₖ wₖ E_qₖ[log p(x, z) - log q(z|x)] ≤ log p(x) of a mixture q = Σₖ wₖ qₖ.

    Each component is drawn from, and none chosen at random: so the weights have a path, and the
    bound varies less; the decoder sees K rows a datum.  log q(z|x) is that of the whole mixture.
    Morningstar et al. (2021), "Automatic differentiation variational inference with mixture
    models".  Raises TypeError for a q(z|x) that is no mixture of whole codes.
    """
    q = model.posterior(x)
    if not isinstance(q, Mixture) or q.event_ndim != q.components.event_ndim:
        kind = type(q).__name__ + (" per dimension" if isinstance(q, Mixture) else "")
        raise TypeError(f"stratified_elbo of q(z|x) = {kind}: a vae.Mixture of whole codes is "
                        "expected, such as of ToMixture; for others vae.estimators.sgvb_a")
    z = q.components.sample(draws_shape(samples), rng=rng)
    z = np.moveaxis(z, -1 - q.event_ndim, 0)  # (K, [samples,] n, …)
    weights = np.moveaxis(softmax(q.logits), -1, 0)
    if samples > 1:
        weights = weights[:, None]
    reconstruction = (weights * model.likelihood(z).log_prob(x)).sum(0)
    divergence = (weights * (q.log_prob(z) - model.prior.log_prob(z))).sum(0)
    reconstruction, divergence = (mean_of_draws(a, samples) for a in (reconstruction, divergence))
    return Bound(reconstruction - divergence, reconstruction, divergence)


def require_categories(who: str, categories: int) -> None:
    """Raise ValueError for a variable that has no choice."""
    if categories < 2:
        raise ValueError(f"{who}(categories={categories}): at least 2 are expected")
