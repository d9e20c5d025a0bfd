"""Expectations by nodes and weights, as an account of them that is independent of closed forms."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.special import gammaln

from vae.distributions import Distribution, Normal
from vae.distributions.categorical import Categorical
from vae.distributions.gamma import Gamma
from vae.distributions.multivariate import MultivariateNormal


def expectation(q: Distribution, f: Callable[[Any], Any], nodes: int = 3) -> Any:
    """E_q f(z) for f of draws (nodes, n, …) -> (nodes, n); q is taken as it is, not differentiated.

    A Categorical is enumerated.  A Gaussian takes Gauss and Hermite's rule with `nodes` nodes a
    dimension, exact for polynomials of degree 2·nodes - 1.  A Gamma takes the trapezoidal rule in
    log z, whose error falls exponentially.
    """
    z, weights = _rule(q.constant(), nodes)
    values = f(z)
    return np.sum(np.reshape(weights, weights.shape + (1,) * (values.ndim - weights.ndim)) * values,
                  axis=0)


def is_exact(q: Distribution) -> bool:
    """Whether `expectation` of the log densities of these models errs by rounding alone."""
    return not isinstance(q, Gamma)


def _rule(q: Distribution, nodes: int) -> tuple[ndarray, ndarray]:
    if isinstance(q, Categorical):
        probabilities = np.moveaxis(np.exp(q.log_probabilities), -1, 0)
        values = np.arange(len(probabilities)).reshape(-1, *(1,) * (probabilities.ndim - 1))
        return np.broadcast_to(values, probabilities.shape), probabilities
    if isinstance(q, Gamma):
        return _in_log_z(q.concentration, q.rate)
    if not isinstance(q, (Normal, MultivariateNormal)):
        raise TypeError(f"expectation over a {type(q).__name__}: there are nodes for Normal, "
                        "MultivariateNormal, Categorical and Gamma")
    at, weights = hermite(nodes, q.shape[-1])
    at = at.reshape(len(at), *(1,) * (len(q.shape) - 1), -1)
    if isinstance(q, Normal):
        return q.mean + q.std * at, weights
    return q.mean + (q.cholesky @ at[..., None])[..., 0], weights


def hermite(nodes: int, dimensions: int) -> tuple[ndarray, ndarray]:
    """Nodes (nodes^dimensions, dimensions) and weights for N(0, I)."""
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    grid = [np.array(list(product(one, repeat=dimensions))) for one in (at, weights)]
    return grid[0], grid[1].prod(axis=1)


def _in_log_z(concentration: ndarray, rate: ndarray, nodes: int = 1200) -> tuple[ndarray, ndarray]:
    """With t = log(rate·z) the density is exp(concentration·t - eᵗ)/Γ(concentration)."""
    a = concentration
    low = np.log(a) - 12 / np.sqrt(a) - 40 / a
    high = np.log(a + 12 * np.sqrt(a) + 60)
    t = np.linspace(low, high, nodes)
    density = np.exp(a * t - np.exp(t) - gammaln(a))
    return np.exp(t) / rate, density * ((high - low) / (nodes - 1))


def integral(f: Callable[[ndarray], ndarray], low: Any, high: Any, nodes: int = 4001) -> ndarray:
    """∫ f from low to high by the trapezoidal rule, for f that vanishes at both ends."""
    return f(np.linspace(low, high, nodes)).sum(axis=0) * ((high - low) / (nodes - 1))
