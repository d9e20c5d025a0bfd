"""Bounds on log p(x), and what is maximised in place of one: functions of (model, x, rng)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from minigrad.tensor import untraced
from vae.distributions import Distribution, kl, kl_by_dimension
from vae.models import VAE

Weight = float | Callable[[int], float]


class Bound(NamedTuple):
    """A bound and its parts, each of one number a datum, in nats."""

    value: Any
    reconstruction: Any
    kl: Any

    @property
    def objective(self) -> Any:
        """What is maximised: the bound itself."""
        return self.value

    @property
    def kl_weight(self) -> None:
        """The factor of the KL in the objective; of a bound none is told."""


class Weighted(NamedTuple):
    """What is maximised in place of a bound, and that bound with its parts, unweighted.

    kl_weight: the factor of the KL in the objective, where it has one.
    """

    objective: Any
    value: Any
    reconstruction: Any
    kl: Any
    kl_weight: float | None = None


def elbo(model: VAE, x: Any, *, rng: Generator, samples: int = 1) -> Bound:
    """E_q[log p(x|z)] - KL(q(z|x)‖p(z)) ≤ log p(x), the expectation by draws of z.

    Kingma and Welling (2014), equation 7 (estimator B: the KL in closed form), L = samples.  Other
    estimators of its gradient are in `vae.estimators`.
    """
    q, reconstruction = reconstruct(model, x, rng=rng, samples=samples)
    divergence = kl(q, model.prior)
    return Bound(reconstruction - divergence, reconstruction, divergence)


def beta_elbo(model: VAE, x: Any, *, rng: Generator, step: int = 0, weight: Weight = 1.0,
              samples: int = 1, bound: Callable[..., Bound | Weighted] = elbo) -> Weighted:
    """Maximises reconstruction - β·KL; β is a number (Higgins et al. 2017, equation 4) or a
    function of the step, for a warm-up (Bowman et al. 2016).

    bound: any that is their difference, such as `vae.estimators.sgvb_a` where there is no KL in
    closed form.
    """
    found = bound(model, x, rng=rng, samples=samples, **told_step(bound)(step))
    beta = at(weight, step)
    return Weighted(found.reconstruction - beta * found.kl, found.value, found.reconstruction,
                    found.kl, beta)


def capacity_elbo(model: VAE, x: Any, *, rng: Generator, step: int = 0, weight: float = 100.0,
                  capacity: Weight = 25.0, samples: int = 1) -> Weighted:
    """Maximises reconstruction - γ·|KL - C|, with the batch's mean KL held at C nats.

    Burgess et al. (2018), equation 8; γ = weight, C = capacity, a number or a function of the step,
    such as `schedules.linear(0, 25, 100_000)`.
    """
    bound = elbo(model, x, rng=rng, samples=samples)
    missing = at(capacity, step) - bound.kl
    side = float(np.sign(np.mean(untraced(missing))))  # its mean is |mean KL - C|, and its slope
    return Weighted(bound.reconstruction - weight * side * missing, *bound)


def free_bits_elbo(model: VAE, x: Any, *, rng: Generator, step: int = 0, free: float = 0.1,
                   weight: Weight = 1.0, samples: int = 1) -> Weighted:
    """Maximises reconstruction - β Σ_j max(λ, mean KL_j) over dimensions j: below λ = `free` nats
    a dimension's KL costs no more, and has no gradient.

    Kingma et al. (2016), equation 15; the mean is over the batch.  q and p must be factorised.
    """
    if not free >= 0:
        raise ValueError(f"free={free}: nats of each dimension, 0 or more")
    q, reconstruction = reconstruct(model, x, rng=rng, samples=samples)
    each = kl_by_dimension(q, model.prior)
    divergence, beta = each.sum(-1), at(weight, step)
    paid = np.where(np.mean(untraced(each), axis=0) > free, each, free).sum(-1)
    return Weighted(reconstruction - beta * paid, reconstruction - divergence, reconstruction,
                    divergence, beta)


def told_step(objective: Callable[..., Bound | Weighted]) -> Callable[[int], dict[str, int]]:
    """`told(step)`: the arguments by which the objective learns the step, if it wants to know."""
    try:
        wanted = "step" in inspect.signature(objective).parameters
    except ValueError:  # of some callables that aren't Python
        wanted = False
    return lambda step: {"step": step} if wanted else {}


def at(weight: Weight, step: int) -> float:
    """A number, or what a schedule says at this step."""
    return float(weight(step) if callable(weight) else weight)


def reconstruct(model: VAE, x: Any, *, rng: Generator, samples: int) -> tuple[Distribution, Any]:
    """q(z|x), and the mean of log p(x|z) over draws z of it."""
    q = model.posterior(x)
    z = q.sample(draws_shape(samples), rng=rng)
    return q, mean_of_draws(model.likelihood(z).log_prob(x), samples)


def draws_shape(samples: int) -> tuple[int, ...]:
    """() for one draw, so that a network sees plain rows, else (samples,); raises ValueError."""
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one draw is needed")
    return () if samples == 1 else (samples,)


def mean_of_draws(x: Any, samples: int) -> Any:
    """The mean over the axis that `draws_shape` has put first."""
    return x if samples == 1 else x.mean(0)
