"""log p(x) by annealed importance sampling: bounds from below, and of simulated data from above."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.distributions import Distribution, VonMises
from vae.distributions.support import Support
from vae.evaluation.hmc import Path, transition
from vae.evaluation.weights import Weights, summary
from vae.models import VAE

STEEPNESS = 4.0  # of the sigmoid from -4 to 4 along which β rises, as of Wu et al.
TUNING_CHAINS = 4  # of the run that finds the steps, at most
GAIN = 0.2  # of log ε for an acceptance that is off by 1


class Annealing(NamedTuple):
    """How to anneal: `annealed_log_likelihood` says what each means."""

    start: str
    chains: int
    betas: ndarray
    leapfrog: int
    acceptance: float
    block: int
    seed: int


def annealed_log_likelihood(model: VAE, x: ndarray, *, start: str = "prior", chains: int = 16,
                            temperatures: int | ndarray = 500, leapfrog: int = 10,
                            acceptance: float = 0.65, block: int = 2_000, seed: int = 0,
                            each: bool = False) -> dict[str, Any]:
    """log p(x) by annealed importance sampling: a lower bound in expectation, nats a datum.

        log 1/C Σ w_c,   log w = Σ_t (β_t - β_t-1)·(log p(x, z_t-1) - log r(z_t-1)),   z_0 ~ r

    over C = `chains`, with z_t from z_t-1 by Hamiltonian Monte Carlo that leaves r^(1-β)·p(x, z)^β
    invariant at β_t.  E w = p(x), however slowly the chains move (Neal 2001; for decoders Wu,
    Burda, Salakhutdinov and Grosse 2017).  x: (n, …); z: real numbers, of any shape.

    start: r, "prior", for which no encoder is asked, so that this is a second opinion on
    `log_likelihood`; or "posterior", q(z|x), from which the way is shorter.
    temperatures: how many intervals from β = 0 to 1, along a sigmoid; or the β themselves, rising.
    leapfrog: steps of a trajectory, whose length for each β and datum is moved towards this mean
    `acceptance` in a run before, on its own noise, with at most four chains.  In the run that
    counts it is held: a step that reacted to the chains it moves would bias w.
    block: at most so many z (chains x data), though not less than the chains of one datum, are
    annealed together: that bounds the memory, by the decoder's activations for so many rows, and
    their slopes.

    Gives what `log_likelihood` does, with ESS and errors from the weights of the chains, `chains`
    for `samples`, no `ess_low`; and the rates of `acceptance` and `acceptance_min`: the mean, and
    that of the worst β.  each: also the arrays `log_likelihoods` and `ess`, (n,).
    """
    how = Annealing(start, chains, schedule(temperatures), leapfrog, acceptance, block, seed)
    _check(model, x, how)
    log_p, effective, rates = _run(frozen(model), x, how)
    found = {**summary(log_p, effective, chains), "chains": chains, **rates}
    return {**found, "log_likelihoods": log_p, "ess": effective} if each else found


def annealed_upper_bound(model: VAE, x: ndarray, z: ndarray, *, start: str = "prior",
                         chains: int = 16, temperatures: int | ndarray = 500, leapfrog: int = 10,
                         acceptance: float = 0.65, block: int = 2_000, seed: int = 0,
                         each: bool = False) -> dict[str, Any]:
    """An upper bound in expectation on log p(x) of x that the model has drawn: nats a datum.

    z: what each x was drawn from, z ~ p(z), x ~ p(x|z), so that z is an exact draw of p(z|x); its
    shape is (n, …).  From there the chains of `annealed_log_likelihood` run backwards, to r: their
    weights are unbiased for 1/p(x), and -log 1/C Σ 1/w lies above log p(x) in expectation.
    With the lower bound on the same x it says how well annealing works for this model:
    bidirectional Monte Carlo (Grosse, Ghahramani and Adams 2015).  For other x it bounds nothing.

    Gives `upper_bound` with `upper_bound_se`, `_noise_se` and `_bias` (now above 0), and the rest
    as `annealed_log_likelihood` does.  All chains of a datum begin at its one z: what they share
    while they remember it is not in the last two.  each: also `upper_bounds` and `ess`, (n,).
    """
    how = Annealing(start, chains, schedule(temperatures), leapfrog, acceptance, block, seed)
    _check(model, x, how)
    if np.shape(z) != (len(x), *model.prior.shape):
        raise ValueError(f"annealed_upper_bound: z has shape {np.shape(z)}, expected "
                         f"{(len(x), *model.prior.shape)}: the z that each x was drawn from")
    minus, effective, rates = _run(frozen(model), x, how, exact=z)
    found = {**summary(-minus, effective, chains), "chains": chains, **rates}
    if chains > 1:
        found["log_likelihood_bias"] *= -1
    found = {key.replace("log_likelihood", "upper_bound"): value for key, value in found.items()}
    return {**found, "upper_bounds": -minus, "ess": effective} if each else found


def _run(model: VAE, x: ndarray, how: Annealing,
         exact: ndarray | None = None) -> tuple[ndarray, ndarray, dict[str, float]]:
    """log 1/C Σ w, the effective number of chains, (n,) each, and rates of acceptance.

    exact: draws of p(z|x), (n, …), from which to run backwards.
    """
    log_p, effective, rates = [], [], []
    size = max(1, how.block // how.chains)
    for i in range(0, len(x), size):
        batch = x[i:i + size]
        path = Path(model, batch, None if how.start == "prior" else model.posterior(batch))
        tuning, rng = (np.random.default_rng(np.random.SeedSequence(how.seed, spawn_key=(i, k)))
                       for k in range(2))
        steps, betas = tuned_steps(path, how, rng=tuning), how.betas
        if exact is None:
            z = draw(path.start, how.chains, len(batch), rng)
        else:
            z = np.broadcast_to(exact[i:i + size], (how.chains, *exact[i:i + size].shape))
            betas, steps = betas[::-1], steps[::-1]
        weights = Weights(len(batch))
        log_weights, accepted = anneal(path, z, betas, steps, how.leapfrog, rng)
        weights.add(log_weights)
        log_p.append(weights.log_mean())
        effective.append(weights.effective())
        rates.append(len(batch) * accepted)
    by_beta = np.sum(rates, axis=0) / len(x)
    known = {"acceptance": float(by_beta.mean()), "acceptance_min": float(by_beta.min())}
    return np.concatenate(log_p), np.concatenate(effective), known


def anneal(path: Path, z: ndarray, betas: ndarray, steps: ndarray, leapfrog: int,
           rng: Generator) -> tuple[ndarray, ndarray]:
    """log w (chains, n) of chains that begin at z, and the mean acceptance at each inner β."""
    point, rates = path.at(z), []
    log_weights = np.zeros(point.log_joint.shape)
    for t, (before, after) in enumerate(pairwise(betas.tolist())):
        log_weights += (after - before) * (point.log_joint - point.log_start)
        if t < len(steps):
            point, probability = transition(path, point, after, steps[t], leapfrog=leapfrog,
                                            rng=rng)
            rates.append(probability.mean())
    return log_weights, np.array(rates)


def tuned_steps(path: Path, how: Annealing, *, rng: Generator) -> ndarray:
    """ε for each inner β and each datum: one run whose steps follow the acceptance at its heels."""
    n = len(path.x)
    point = path.at(draw(path.start, min(how.chains, TUNING_CHAINS), n, rng))
    dimensions = point.z[0, 0].size
    step, found = np.full(n, 0.5 * dimensions ** -0.25), []  # Neal (2011), section 4.4: d^(-1/4)
    for beta in how.betas[1:-1].tolist():
        found.append(step)
        point, probability = transition(path, point, beta, step, leapfrog=how.leapfrog, rng=rng)
        step = step * np.exp(GAIN * (probability.mean(axis=0) - how.acceptance))
    return np.array(found)


def draw(start: Distribution, chains: int, n: int, rng: Generator) -> ndarray:
    """Draws of r for each chain and datum: (chains, n, …)."""
    batched = len(start.shape) > start.event_ndim
    return start.sample((chains,) if batched else (chains, n), rng=rng)


def schedule(temperatures: int | ndarray) -> ndarray:
    """0 = β_0 < … < β_T = 1: those given, or T along a sigmoid.  Raises ValueError."""
    if np.ndim(temperatures) == 0:
        if temperatures < 2:
            raise ValueError(f"temperatures={temperatures}: at least 2 intervals from 0 to 1 are "
                             "needed for chains to move in between")
        t = np.tanh(0.5 * STEEPNESS * np.linspace(-1, 1, int(temperatures) + 1))
        return (t - t[0]) / (t[-1] - t[0])
    betas = np.asarray(temperatures, np.float64)
    if betas.ndim != 1 or len(betas) < 3 or betas[0] != 0 or betas[-1] != 1 \
            or not np.all(np.diff(betas) > 0):
        raise ValueError("temperatures: give their number, or an array that rises from 0 to 1 with "
                         f"something in between; this one has shape {betas.shape}: {betas}")
    return betas


def _check(model: VAE, x: ndarray, how: Annealing) -> None:
    check_data(x)
    if how.start not in ("prior", "posterior"):
        raise ValueError(f"start={how.start!r}: chains begin at draws of the 'prior', or of the "
                         "'posterior' q(z|x)")
    if min(how.chains, how.leapfrog, how.block) < 1:
        raise ValueError(f"chains={how.chains}, leapfrog={how.leapfrog}, block={how.block}: all "
                         "are at least 1")
    if not 0 < how.acceptance < 1:
        raise ValueError(f"acceptance={how.acceptance}: a probability between 0 and 1 to aim at")
    prior = model.prior
    if type(prior.support) is not Support or isinstance(prior, VonMises):
        where = "a circle" if isinstance(prior, VonMises) else prior.support
        raise TypeError("annealing moves z along its gradient over all real numbers, and this "
                        f"prior, a {type(prior).__name__}, is on {where}: take vae.log_likelihood")
