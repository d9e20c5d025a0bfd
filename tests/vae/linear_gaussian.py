"""A linear-Gaussian model of which the ELBO, the posterior and log p(x) are known exactly."""

from __future__ import annotations

import numpy as np
from scipy.stats import multivariate_normal

import minigrad as mg
from vae import VAE, Normal

WEIGHT = np.array([[1.2, 0.3], [-0.7, 0.9], [0.4, -1.1]])  # orthogonal they are not
SPREAD = 0.8
X = np.array([0.9, -1.4, 0.5])
MEAN, STD = np.array([0.6, -0.4]), np.array([0.7, 0.5])
PARTS = "mean", "std", "weight"
VALUES = MEAN, STD, WEIGHT


def linear(mean, std, weight):
    """p(z) = N(0, I), p(x|z) = N(Wz, s²I), q = N(mean, std²): each row has its own parameters."""
    return VAE(lambda x: Normal(mean, std),
               lambda z: Normal(np.sum(weight * z[..., None, :], axis=-1), SPREAD),
               Normal.standard(2))


def exact_elbo(mean, std, weight):
    """E_q log p(x|z) - KL, both in closed form."""
    residual = X - np.sum(weight * mean, axis=-1)
    squares = np.sum(residual**2) + np.sum(weight**2 * std**2)
    reconstruction = -0.5 * squares / SPREAD**2 - 3 * np.log(SPREAD) - 1.5 * np.log(2 * np.pi)
    return reconstruction - np.sum(0.5 * (mean**2 + std**2 - 1) - np.log(std))


def posterior(weight=WEIGHT):
    """Mean and covariance of p(z|x)."""
    covariance = np.linalg.inv(np.eye(2) + weight.T @ weight / SPREAD**2)
    return covariance @ weight.T @ X / SPREAD**2, covariance


def log_p():
    return multivariate_normal(np.zeros(3), WEIGHT @ WEIGHT.T + SPREAD**2 * np.eye(3)).logpdf(X)


def repeated(bound, *, n, seed=0, model=linear, parameters=VALUES, **options):
    """n independent bounds, and their gradients by each parameter, (n, …)."""
    leaves = [mg.Tensor(np.tile(p, (n, *(1,) * p.ndim))) for p in parameters]
    found = bound(model(*leaves), np.tile(X, (n, 1)), rng=np.random.default_rng(seed), **options)
    assert {part.shape for part in found} == {(n,)}
    np.sum(found.value).backward()
    return found, [leaf.grad for leaf in leaves]


def standard_errors_off(found, exact):
    error = found.std(axis=0) / np.sqrt(len(found))
    return np.abs(found.mean(axis=0) - exact) / error
