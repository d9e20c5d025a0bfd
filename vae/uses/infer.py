"""What a model says of x where only an observation y = Ax + noise of it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.distributions import Distribution, Normal
from vae.evaluation.gap import best_posterior
from vae.models import VAE

Limits = tuple[float, float] | None


class Observation(ABC):
    """Abstract.  Data y of n images x, and how they came about: p(y|x)."""

    @abstractmethod
    def log_prob(self, p: Distribution) -> Any:
        """log p(y|z) in nats for p = p(x|z) of shape (…, n, pixels): (…, n)."""

    @abstractmethod
    def expected(self, p: Distribution) -> ndarray:
        """E[x|z, y] for p = p(x|z): (…, n, pixels)."""


class _Seen(NamedTuple):
    """p(z) p(y|z), with as much of a model's interface as `best_posterior` needs."""

    prior: Distribution
    log_likelihood: Callable[[Any], Any]

    def likelihood(self, z: Any) -> _LogLikelihood:
        return _LogLikelihood(self.log_likelihood(z))


class _LogLikelihood(NamedTuple):
    value: Any

    def log_prob(self, x: None) -> Any:
        return self.value


def infer(model: VAE, log_likelihood: Callable[[Any], Any], start: Distribution, *, rng: Generator,
          steps: int = 300, pairs: int = 1, lr: float = 0.1) -> Normal:
    """The Normal q(z) that is nearest to p(z|y), of each of n observations y.

        max over q of  E_q[log p(y|z)] - KL(q(z)‖p(z))  =  log p(y) - KL(q(z)‖p(z|y))

    log_likelihood: z (draws, n, n_z) -> log p(y|z) (draws, n) in nats, differentiable by z.
    start: where the search begins, (n, n_z), such as `model.posterior` of a first guess of x; of
    a distribution other than Normal the mean and variance.
    The search is that of `vae.inference_gap`: `steps` of Adam for all n at once, `pairs` of
    mirrored draws a step, a learning rate that falls from `lr` to 0.  Where log p(y|z) is quadratic
    in z, the mirrored draws have no noise in the mean, and the mean of q is that of p(z|y).  From
    a start that is far too wide, such as the prior, its variances need more steps than its mean.
    Raises ValueError for a start that isn't (n, n_z), no step or no pair.
    """
    if steps < 1 or pairs < 1:
        raise ValueError(f"infer(steps={steps}, pairs={pairs}): at least one of each")
    if len(start.shape) != 2:
        raise ValueError(f"infer: start has shape {start.shape}; one z for each of n observations, "
                         "(n, n_z), is expected")
    model = frozen(model)
    return best_posterior(_Seen(model.prior, log_likelihood), None,
                          Normal(start.mean, np.sqrt(start.variance)), rng=rng, steps=steps,
                          pairs=pairs, lr=lr)


def restore(model: VAE, observation: Observation, start: Distribution, *, rng: Generator,
            draws: int = 20, limits: Limits = None, **search: Any) -> ndarray:
    """E[x|y] (n, pixels): the mean of E[x|z, y] over `draws` of q(z) and their mirror images.

    q: of `infer`, which is given `start` and the options `search`.  The mean has the least squared
    error of all guesses of x, as far as q is p(z|y) and the model is right.
    limits: (black, white), between which the result is clipped.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: at least one")
    model = frozen(model)
    q = infer(model, lambda z: observation.log_prob(model.likelihood(z)), start, rng=rng, **search)
    total: Any = 0
    for _ in range(draws):
        z = q.sample(rng=rng)
        for one in (z, 2 * q.mean - z):
            total = total + observation.expected(model.likelihood(one))
    mean = total / (2 * draws)
    return mean if limits is None else np.clip(mean, *limits)


def check_images(who: str, x: ndarray, limits: Limits, beyond: float = 0.0) -> None:
    """Raise unless x is (n, pixels) of finite floats between the limits, or so far beyond them."""
    check_data(x)
    if x.ndim != 2:
        raise ValueError(f"{who}: images of shape {x.shape}, rows (n, pixels) are expected; "
                         "x.reshape(len(x), -1) makes them")
    if limits is None:
        return
    low, high = limits
    if x.min() < low - beyond or x.max() > high + beyond:
        raise ValueError(f"{who}: pixels from {x.min():g} to {x.max():g}, where limits={limits} "
                         f"allow {low - beyond:g} to {high + beyond:g}: divide grey values of "
                         "0 … 255 by 255, or give the limits of yours (None: there are none)")


def check_width(who: str, model: VAE, pixels: int) -> None:
    """Raise ValueError unless the model's x has as many pixels."""
    model = frozen(model)
    own = model.likelihood(model.prior.mean[None]).shape[-1]
    if own != pixels:
        raise ValueError(f"{who}: images of {pixels} pixels, but the model's have {own}")
