"""From EM to the VAE: one model fitted by three ways to find q."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import Dense, Sequential, frozen, parameters, zeros
from minigrad.optim import Adam, Schedule
from minigrad.tensor import Tensor, untraced
from vae.distributions import Distribution, Normal
from vae.distributions.categorical import Categorical
from vae.exact.finite import GaussianMixture
from vae.exact.linear_gaussian import LinearGaussian

Model = GaussianMixture | LinearGaussian


class Point(NamedTuple):
    """Means over the data, in nats a datum; log_likelihood = elbo + gap.

    step: of the model's parameters, from 0.  after: what came just before: "E", "M", or "gradient".
    """

    step: int
    after: str
    elbo: float
    gap: float
    log_likelihood: float


class Fit(NamedTuple):
    model: Model
    trace: list[Point]


def exact_em(model: Model, x: ndarray, steps: int) -> Fit:
    """E: q = p(z|x), so that ELBO = log p(x).  M: the best parameters for that q.

    Dempster, Laird and Rubin (1977); as two ascents of the ELBO, Neal and Hinton (1998).
    """
    trace = []
    for step in range(steps):
        q = model.exact_posterior(x)
        trace.append(measured(step, "E", model, q, x))
        model = model.m_step(x, q)
        trace.append(measured(step + 1, "M", model, q, x))
    return Fit(model, trace)


def free_em(model: Model, x: ndarray, steps: int, *, inner: int = 5, lr: float = 0.1) -> Fit:
    """EM whose E step is `inner` steps of Adam on a q of its own for every datum, kept throughout.

    So q lags behind the posterior, and is a diagonal Normal where z is Gaussian.
    """
    size, family = q_family(model)
    raw, trace = Tensor(np.zeros((len(x), size))), []
    optimizer = Adam([raw], lr)
    for step in range(steps):
        for _ in range(inner):
            _ascend(np.sum(model.elbo(family(raw), x)), optimizer)
        q = family(raw.data)
        trace.append(measured(step, "E", model, q, x))
        model = model.m_step(x, q)
        trace.append(measured(step + 1, "M", model, q, x))
    return Fit(model, trace)


def amortized(model: Model, encoder: Callable[[Any], Distribution], x: ndarray, steps: int, *,
              lr: float | Schedule = 0.01, learn: Collection[str] = ("model", "encoder")) -> Fit:
    """One q for all data, q(z|x) = encoder(x): steps of Adam on the mean ELBO, as in a VAE.

    The ELBO is in closed form, so there is no noise.  encoder: of `encoder_for`, changed in place.
    learn: which of the two parts move; the other is held.
    """
    unknown = set(learn) - {"model", "encoder"}
    if unknown or not learn:
        raise ValueError(f"learn={learn!r}: give 'model', 'encoder', or both")
    build, values = type(model).from_free, [np.array(value) for value in model.free()]
    free = [Tensor(value) for value in values] if "model" in learn else values
    q = encoder if "encoder" in learn else frozen(encoder)
    optimizer = Adam(parameters([free, q]), lr)
    trace = []
    for step in range(steps + 1):
        now, q_now = build(*map(untraced, free)), q(x)
        trace.append(measured(step, "gradient", now, q_now.constant(), x))
        if step < steps:
            _ascend(np.mean(build(*free).elbo(q_now, x)), optimizer)
    return Fit(now, trace)


def encoder_for(model: Model, n_x: int, hidden: Sequence[int], *, rng: Generator) -> Sequential:
    """A network x -> q(z|x): tanh layers, then a diagonal Normal or a Categorical.

    The last layer begins at 0, so q begins as N(0, I) or uniform, as the q of `free_em` does.
    """
    size, family = q_family(model)
    layers: list[Callable] = []
    for n_in, n_out in pairwise([n_x, *hidden]):
        layers += [Dense(n_in, n_out, rng=rng, dtype=np.float64), np.tanh]
    last = Dense([n_x, *hidden][-1], size, rng=rng, weight=zeros, dtype=np.float64)
    return Sequential(*layers, last, family)


def q_family(model: Model) -> tuple[int, Callable[[Any], Distribution]]:
    """How many numbers give a q of this model, and the function that makes it of them."""
    if isinstance(model, LinearGaussian):
        k = model.weight.shape[1]
        return 2 * k, lambda raw: Normal.from_log_std(raw[..., :k], raw[..., k:])
    return model.logits.shape[-1], Categorical


def measured(step: int, after: str, model: Model, q: Distribution, x: ndarray) -> Point:
    """The ELBO, the gap and log p(x), each by its own formula."""
    parts = model.elbo(q, x), model.gap(q, x), model.log_marginal(x)
    return Point(step, after, *(float(np.mean(part)) for part in parts))


def _ascend(value: Any, optimizer: Adam) -> None:
    (-value).backward()
    optimizer.step()
    optimizer.zero_grad()
