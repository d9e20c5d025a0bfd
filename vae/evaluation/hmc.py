"""Hamiltonian Monte Carlo along the path from a distribution r(z) to p(x, z)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

import minigrad as mg
from minigrad import noise
from vae.distributions import Distribution
from vae.models import VAE

FARTHEST = 1e6  # a trajectory that leaves this box has diverged: it is rejected
JITTER = 0.2  # of the step, so that no trajectory comes full circle again and again


class Point(NamedTuple):
    """z (chains, n, …); log r(z) and log p(x, z) there, (chains, n); their slopes by z."""

    z: ndarray
    log_start: ndarray
    log_joint: ndarray
    start_slope: ndarray
    joint_slope: ndarray

    def log_density(self, beta: float) -> ndarray:
        """log f_β(z), in nats."""
        return (1 - beta) * self.log_start + beta * self.log_joint

    def slope(self, beta: float) -> ndarray:
        """The gradient of log f_β by z."""
        return (1 - beta) * self.start_slope + beta * self.joint_slope


class Path:
    """f_β(z) = r(z)^(1-β) p(x, z)^β, unnormalised: from r at β = 0 to p(x, z) at β = 1.

    model: frozen.  x: (n, …).  start: r, one for all data, or with a batch of n; None: the prior.
    """

    def __init__(self, model: VAE, x: ndarray, start: Distribution | None = None):
        self.model, self.x, self.prior = model, x, model.prior
        self.start = self.prior if start is None else start
        self.scale = np.sqrt(self.start.variance)  # the unit of a step, in each dimension

    def at(self, z: ndarray) -> Point:
        """log r and log p(x, z) at z, and their slopes, by one pass of backprop each."""
        start, start_slope = _with_slope(self.start.log_prob, z)
        prior, prior_slope = ((start, start_slope) if self.start is self.prior
                              else _with_slope(self.prior.log_prob, z))
        likelihood, slope = _with_slope(lambda z: self.model.likelihood(z).log_prob(self.x), z)
        return Point(z, start, prior + likelihood, start_slope, prior_slope + slope)


def _with_slope(f: Callable[[Any], Any], z: ndarray) -> tuple[ndarray, ndarray]:
    value, pull = mg.vjp(f, z)
    return value.astype(np.float64), pull(np.ones(value.shape, value.dtype))[0]


@np.errstate(over="ignore", invalid="ignore")  # a trajectory that diverges is rejected
def transition(path: Path, point: Point, beta: float, step: Any, *, leapfrog: int,
               rng: Generator) -> tuple[Point, ndarray]:
    """The next point of a Markov chain that leaves f_β invariant, and how probable its move was.

    `leapfrog` steps of length ε·u, ε = `step`, () or (n,), and u ~ U(0.8, 1.2), in units of the
    standard deviations of r; the move is accepted with probability min(1, exp(H - H')), (chains,
    n).  Neal (2011), "MCMC using Hamiltonian dynamics", sections 3.2 and 4.1.  Trajectories that
    leave |z| ≤ 10⁶ are rejected, as are their reverses, so f_β within that box is invariant.
    """
    events = tuple(range(point.log_joint.ndim, point.z.ndim))
    jitter = noise.uniform(rng, point.log_joint.shape, np.float64)
    epsilon = np.expand_dims(step * (1 + JITTER * (2 * jitter - 1)), events).astype(point.z.dtype)
    epsilon = epsilon * path.scale
    momentum = noise.normal(rng, point.z.shape, point.z.dtype)
    energy = point.log_density(beta) - _kinetic(momentum, events)
    new, inside = point, np.ones(point.log_joint.shape, bool)
    momentum = momentum + 0.5 * epsilon * new.slope(beta)
    for k in range(1, leapfrog + 1):
        z = new.z + epsilon * momentum
        inside &= np.all(np.abs(z) <= FARTHEST, axis=events)
        new = path.at(np.where(np.expand_dims(inside, events), z, point.z))
        momentum = momentum + (1.0 if k < leapfrog else 0.5) * epsilon * new.slope(beta)
    rise = new.log_density(beta) - _kinetic(momentum, events) - energy
    probability = np.where(inside & ~np.isnan(rise), np.exp(np.minimum(rise, 0)), 0)
    accepted = noise.uniform(rng, probability.shape, np.float64) < probability
    chosen = (np.where(np.reshape(accepted, accepted.shape + (1,) * (a.ndim - accepted.ndim)), a, b)
              for a, b in zip(new, point))
    return Point(*chosen), probability


def _kinetic(momentum: ndarray, events: tuple[int, ...]) -> ndarray:
    return 0.5 * np.square(momentum, dtype=np.float64).sum(axis=events)
