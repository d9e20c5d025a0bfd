"""Illnesses of the objective: what it maximises, beside the ELBO that it is taken for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

import minigrad as mg
from minigrad import noise
from minigrad.nn import parameters, with_parameters
from minigrad.tensor import untraced
from vae.doctor.examination import Examination
from vae.doctor.findings import Finding, NotJudged
from vae.models import VAE
from vae.objectives import elbo

MANY = 64  # data; the half of them shows what depends on their number
COORDINATES = 50_000  # parameters to differentiate by, or some more: the weights are those of all
EXPLAINED = 0.999  # share of the squared gradient that the two terms must explain
OFF = 0.02  # by how much a weight may differ from 1


class Weights(NamedTuple):
    """The objective's gradient is that of `reconstruction`·E log p(x|z) - `kl`·KL, means over n.

    declared: the objective says itself that it is not the bound, and gives the bound beside it.
    """

    reconstruction: float
    kl: float
    n: int
    declared: bool

    @property
    def beta(self) -> float:
        """The weight of the KL beside a reconstruction of weight 1."""
        return self.kl / self.reconstruction


def hidden_weight(exam: Examination) -> Finding | None:
    """A KL weight other than 1 that comes from means in place of sums."""
    found = weights(exam, MANY)
    if found.declared:
        raise NotJudged("the objective gives what it maximises apart from the bound")
    if found.reconstruction <= 0 or found.kl <= 0 or abs(found.beta - 1) < OFF:
        return None
    pixels, latent = exam.x[0].size, math.prod(exam.model.posterior(exam.x[:1]).shape[1:])
    guesses = {pixels: f"the reconstruction is averaged over {pixels} pixels",
               1 / latent: f"the KL is averaged over {latent} dimensions",
               pixels / latent: f"the reconstruction is averaged over {pixels} pixels and the KL "
                                f"over {latent} dimensions",
               found.n: "the reconstruction is averaged over the batch and the KL is summed",
               1 / found.n: "the KL is averaged over the batch and the reconstruction is summed"}
    guess = [text for beta, text in guesses.items() if abs(found.beta / beta - 1) < OFF]
    return Finding("KL weight hidden in a mean", "problem",
                   f"the objective's gradient is that of {found.reconstruction:.4g}·E log p(x|z) - "
                   f"{found.kl:.4g}·KL: an effective β of {found.beta:.4g}, where the ELBO has 1"
                   + (f"; as if {' or '.join(guess)}" if guess else ""),
                   "sum log p(x|z) over pixels and the KL over dimensions, and average both over "
                   "the data; a β that is meant goes into vae.objectives.beta_elbo, which gives "
                   "the bound beside it",
                   {"beta": found.beta, "reconstruction": found.reconstruction, "kl": found.kl})


def grows_with_the_batch(exam: Examination) -> Finding | None:
    """A sum over the batch where a mean is meant: the learning rate then depends on its size."""
    if len(exam.x) < 4:
        raise NotJudged("fewer than 4 data")
    n = min(MANY, len(exam.x))
    half, whole = weights(exam, n // 2), weights(exam, n)
    if whole.reconstruction <= 0:
        return None
    growth = math.log(whole.reconstruction / half.reconstruction) / math.log(n / (n // 2))
    if abs(growth) < 0.1:
        return None
    return Finding("the objective grows with the batch", "problem",
                   f"its gradient is {whole.reconstruction:.4g} times that of E log p(x|z) for a "
                   f"batch of {n} and {half.reconstruction:.4g} times for {n // 2}: like "
                   f"n^{growth:.2f}, a sum over data where a mean is meant",
                   "return one number a datum, vae.fit takes the mean; the learning rate, the "
                   "weight of other terms, and the curves of training and validation depend on "
                   "the batch size otherwise",
                   {"growth": growth, "reconstruction": whole.reconstruction})


def wrong_sign(exam: Examination) -> Finding | None:
    """A loss in place of a bound, or one of the two terms with the other's sign."""
    found = weights(exam, MANY)
    if found.declared or (found.reconstruction > 0 and found.kl > 0):
        return None
    return Finding("sign of the objective", "problem",
                   f"the objective's gradient is that of {found.reconstruction:.4g}·E log p(x|z) - "
                   f"({found.kl:.4g})·KL; both factors should be positive, since vae.fit maximises",
                   "return reconstruction - KL, no loss: E log p(x|z) is higher where better, and "
                   "the KL is 0 or more",
                   {"reconstruction": found.reconstruction, "kl": found.kl})


def weights(exam: Examination, n: int) -> Weights:
    """Least squares of the objective's gradient on those of the two terms, by the same noise.

    Gradients see no constants, such as normalisers that are left out.  In float64, since the KL's
    may be small beside the other.  NotJudged where the two terms do not explain it.
    """
    if exam.objective is None:
        raise NotJudged("no objective given")
    if exam.bad_parameters:
        raise NotJudged("parameters are not finite")
    if n not in exam.weights:
        try:
            exam.weights[n] = fitted(exam, exam.x[:n].astype(np.float64))
        except NotJudged as why:
            exam.weights[n] = why
    if isinstance(exam.weights[n], NotJudged):
        raise exam.weights[n]
    return exam.weights[n]


def fitted(exam: Examination, x: ndarray) -> Weights:
    try:
        objective = copy.deepcopy(exam.objective)  # it may have a memory, such as a baseline
    except TypeError as error:
        raise NotJudged(f"the objective can't be copied: {error}") from error
    build, values = by_some_parameters(exam.trained)
    declared = []

    def maximised(*w: Any) -> Any:
        bound = objective(build(w), x, rng=exam.rng(6))
        value = getattr(bound, "value", bound)
        objective_of = getattr(bound, "objective", value)
        declared.append(objective_of is not value)
        return np.mean(objective_of)

    try:
        with noise.record() as eps:
            value, pullback = mg.vjp(maximised, *values)
    except (TypeError, ValueError, RuntimeError) as error:  # no path, or a KL without closed form
        raise NotJudged(f"the objective fails: {error}") from error
    of_objective = pullback(np.ones_like(value))
    first, second = terms(exam, x, build, values, eps)
    basis = np.array([[dot(first, first), dot(first, second)],
                      [dot(first, second), dot(second, second)]])
    if not 1e-20 * basis[0, 0] < basis[1, 1] < np.inf:  # NaN is not either
        raise NotJudged("the KL has no gradient by the model's parameters here")
    right = np.array([dot(first, of_objective), dot(second, of_objective)])
    a, b = np.linalg.solve(basis, right)
    whole = dot(of_objective, of_objective)
    if whole == 0 or (a * right[0] + b * right[1]) / whole < EXPLAINED:
        raise NotJudged("the objective is no weighted sum of reconstruction and KL")
    return Weights(float(a), float(-b), len(x), declared[0])


def by_some_parameters(model: VAE) -> tuple[Callable, list[ndarray]]:
    """The model as a function of its smallest parameters, and their values, all in float64."""
    values = [p.data.astype(np.float64) for p in parameters(model)]
    order = sorted(range(len(values)), key=lambda i: values[i].size)
    chosen = [i for i, total in zip(order, np.cumsum([0, *(values[i].size for i in order)]))
              if total < COORDINATES]

    def build(w: Any) -> VAE:
        new = dict(zip(chosen, w))
        return with_parameters(model, [new.get(i, value) for i, value in enumerate(values)])
    return build, [values[i] for i in chosen]


def terms(exam: Examination, x: ndarray, build: Callable, values: list[ndarray],
          eps: noise.Noise) -> tuple:
    """The gradients of mean E log p(x|z) and of mean KL, by the noise of the objective."""
    axes = len(exam.model.posterior(x).shape)
    samples = next((draw.value.shape[0] for draw in eps if draw.value.ndim > axes), 1)

    def parts(*w: Any) -> tuple:
        bound = elbo(build(w), x, rng=exam.rng(6), samples=samples)
        return np.mean(bound.reconstruction), np.mean(bound.kl)

    try:
        with noise.replay(eps):
            (first, _), pullback = mg.vjp(parts, *values)
    except ValueError as error:
        raise NotJudged(f"the objective draws other noise than the ELBO ({error})") from error
    except TypeError as error:
        why = str(error).partition(";")[0]  # and not which other pairs have a closed form
        raise NotJudged(f"there is no ELBO to compare with ({why})") from error
    one, zero = np.ones_like(first), np.zeros_like(first)
    return pullback((one, zero)), pullback((zero, one))


def dot(a: tuple, b: tuple) -> float:
    return float(sum(np.vdot(untraced(x), untraced(y)) for x, y in zip(a, b)))
