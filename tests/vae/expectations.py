"""Expectations that are known exactly, and estimates of them repeated along a batch."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.special import expit

import minigrad as mg
from vae import Bernoulli, Normal
from vae.distributions.categorical import OneHotCategorical
from vae.distributions.gamma import Gamma

MEAN, STD = np.array([0.8, -0.5]), np.array([0.6, 1.1])
COINS = np.array([0.4, -1.0, 1.5])
CATEGORIES = np.array([0.3, -0.9, 1.1, 0.0])
CONCENTRATION, RATE = np.array([0.7, 2.5]), np.array([1.2, 0.8])
THETA = 1.3  # a parameter of f itself


def smooth(z):
    """2 + z₀² z₁ + sin(z₀ - z₁/2)."""
    return 2 + np.square(z[..., 0]) * z[..., 1] + np.sin(z[..., 0] - 0.5 * z[..., 1])


def of_coins(b):
    """Not linear in the coins, and of grey ones too."""
    return (b[..., 0] + 0.5) * np.square(b[..., 1] - 2 * b[..., 2]) + np.sin(3 * b[..., 0])


def of_categories(z):
    return np.square(z @ np.array([2.0, -1, 0.5, 1])) + np.exp(z[..., 1])


def expected_smooth(mean, std, theta):
    """E of `smooth` for independent normals, in closed form."""
    damped = np.exp(-0.5 * (std[0]**2 + std[1]**2 / 4))
    cubic = (mean[0]**2 + std[0]**2) * mean[1]
    return theta * (2 + cubic + np.sin(mean[0] - mean[1] / 2) * damped)


def exact_of_coins():
    """E f, its gradient by the logits, and by theta, over all tosses one by one."""
    p, value, slope = expit(COINS), 0.0, np.zeros(3)
    for toss in product((0.0, 1.0), repeat=3):
        b = np.array(toss)
        weighted = np.prod(np.where(b > 0, p, 1 - p)) * of_coins(b)
        value += weighted
        slope += weighted * (b - p)
    return THETA * value, [THETA * slope, value]


def exact_of_categories():
    p, value, slope = np.exp(CATEGORIES) / np.exp(CATEGORIES).sum(), 0.0, np.zeros(4)
    for k in range(4):
        weighted = p[k] * of_categories(np.eye(4)[k])
        value += weighted
        slope += weighted * (np.eye(4)[k] - p)
    return THETA * value, [THETA * slope, value]


def of_gammas(z):
    return np.square(z).sum(-1) - z.prod(-1)


def exact_of_gammas():
    """E z² = a (a + 1)/b² and E z = a/b."""
    def value(a, b, theta):
        return theta * (np.sum(a * (a + 1) / b**2) - np.prod(a / b))
    value, slopes = mg.value_and_grad(value, (0, 1, 2))(CONCENTRATION, RATE, np.array(THETA))
    return value, list(slopes)


def exact_of_normal():
    value, slopes = mg.value_and_grad(expected_smooth, (0, 1, 2))(MEAN, STD, np.array(THETA))
    return value, list(slopes)


MODELS = {  # q of its parameters, these, f, and what is exact
    "normal": (Normal, (MEAN, STD), smooth, exact_of_normal),
    "gammas": (Gamma, (CONCENTRATION, RATE), of_gammas, exact_of_gammas),
    "coins": (Bernoulli, (COINS,), of_coins, exact_of_coins),
    "categories": (OneHotCategorical, (CATEGORIES,), of_categories, exact_of_categories),
}


def repeated(model, estimator, *, n, seed=0, **options):
    """n independent estimates: values (n,), and gradients by q's parameters and theta (n, …)."""
    make, parameters, f, _ = MODELS[model]
    leaves = [mg.Tensor(np.tile(p, (n, 1))) for p in parameters]
    theta = mg.Tensor(np.full(n, THETA))
    estimate = estimator(lambda z: theta * f(z), make(*leaves), rng=np.random.default_rng(seed),
                         **options)
    assert estimate.shape == (n,)
    np.sum(estimate).backward()
    return estimate.data, [leaf.grad for leaf in (*leaves, theta)]


def standard_errors_off(found, exact):
    """How far the mean over the first axis is from what is exact, in standard errors."""
    error = found.std(axis=0) / np.sqrt(len(found))
    return np.abs(found.mean(axis=0) - exact) / error
