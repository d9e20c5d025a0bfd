"""Certificates of KL between distributions of vectors: cubature, and sums over classes.

The divergence of normal distributions is the mean of a quadratic polynomial, which Gauss and
Hermite's rule with three nodes an axis gives exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from scipy.special import gammaln

from minigrad.tensor import untraced
from tests.vae.certificates_of_numbers import (
    REALS,
    SHAPES,
    Certificate,
    Range,
    logits_of_beta,
)
from vae.distributions.beta import Dirichlet
from vae.distributions.categorical import Categorical, OneHotCategorical
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal
from vae.distributions.normal import Normal

LOGARITHMS = Range(-1, 1)


# -- normal distributions in the plane ------------------------------------------------------------
def triangle(v: Any) -> Any:
    """L from log L₁₁, L₂₁, log L₂₂."""
    return np.stack([np.stack([np.exp(v[0]), 0 * v[0]]), np.stack([v[1], np.exp(v[2])])])


PLANE: dict[type, tuple[tuple[Range, ...], Callable, Callable]] = {  # ranges, class, covariance
    Normal: ((REALS,) * 2 + (LOGARITHMS,) * 2,
             lambda v: Normal(v[:2], np.exp(v[2:])),
             lambda v: (np.exp(2 * v[2]), 0 * v[2], np.exp(2 * v[3]))),
    MultivariateNormal: ((REALS,) * 2 + (LOGARITHMS, REALS, LOGARITHMS),
                         lambda v: MultivariateNormal(v[:2], triangle(v[2:])),
                         lambda v: (np.exp(2 * v[2]), np.exp(v[2]) * v[3],
                                    v[3] ** 2 + np.exp(2 * v[4]))),
    LowRankNormal: ((REALS,) * 4 + (LOGARITHMS,) * 2,
                    lambda v: LowRankNormal(v[:2], v[2:4, None], np.exp(v[4:])),
                    lambda v: (v[2] ** 2 + np.exp(v[4]), v[2] * v[3], v[3] ** 2 + np.exp(v[5]))),
}


def log_density(x: Any, y: Any, mean: Any, covariance: tuple) -> Any:
    a, b, c = covariance
    det = a * c - b * b
    x, y = x - mean[0], y - mean[1]
    return -0.5 * (c * x * x - 2 * b * x * y + a * y * y) / det \
        - 0.5 * np.log(det) - math.log(2 * math.pi)


def in_plane(q_type: type, p_type: type) -> Certificate:
    (of_q, make_q, cov_q), (of_p, make_p, cov_p) = PLANE[q_type], PLANE[p_type]
    n = len(of_q)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    s, t = (a.ravel() for a in np.meshgrid(nodes, nodes))
    w = np.outer(weights, weights).ravel() / (2 * math.pi)

    def oracle(v: Any) -> Any:
        (a, b, c), mean = cov_q(v[:n]), v[:2]
        x = mean[0] + np.sqrt(a) * s
        y = mean[1] + b / np.sqrt(a) * s + np.sqrt(c - b * b / a) * t
        return np.sum(w * (log_density(x, y, mean, (a, b, c))
                           - log_density(x, y, v[n:n + 2], cov_p(v[n:]))))
    return Certificate(of_q + of_p, lambda v: (make_q(v[:n]), make_p(v[n:])), oracle, n)


# -- classes --------------------------------------------------------------------------------------
def of_classes(kind: type) -> Certificate:
    def oracle(v: Any) -> Any:
        log_q, log_p = (u - np.log(np.sum(np.exp(u))) for u in (v[:4], v[4:]))
        return np.sum(np.exp(log_q) * (log_q - log_p))
    return Certificate((Range(-8, 8),) * 8, lambda v: (kind(v[:4]), kind(v[4:])), oracle, 4)


# -- Dirichlet distributions of three parts -------------------------------------------------------
def dirichlet_log_density(logs: tuple, a: Any) -> Any:
    return (gammaln(np.sum(a)) - np.sum(gammaln(a))
            + sum((a[k] - 1) * logs[k] for k in range(3)))


def three_parts() -> Certificate:
    """Over the triangle: x₁ = s, x₂ = (1 - s)t, x₃ = (1 - s)(1 - t)."""
    def oracle(v: Any) -> Any:
        a, b, c = map(float, untraced(v)[:3])
        (s, ws), (t, wt) = logits_of_beta(a, b + c), logits_of_beta(b, c)
        s, t = s[:, None], t[None, :]
        log_s, log_s_rest = -np.logaddexp(0, -s), -np.logaddexp(0, s)
        log_t, log_t_rest = -np.logaddexp(0, -t), -np.logaddexp(0, t)
        logs = (log_s, log_s_rest + log_t, log_s_rest + log_t_rest)
        log_w = (np.log(ws)[:, None] + np.log(wt) + log_s + 2 * log_s_rest + log_t + log_t_rest)
        log_q = dirichlet_log_density(logs, v[:3])
        return np.sum(np.exp(log_w + log_q) * (log_q - dirichlet_log_density(logs, v[3:])))
    return Certificate((SHAPES,) * 6, lambda v: (Dirichlet(v[:3]), Dirichlet(v[3:])), oracle, 3)


VECTORS: dict[tuple[type, type], Certificate] = {
    **{pair: in_plane(*pair) for pair in product(PLANE, PLANE) if pair != (Normal, Normal)},
    **{(kind, kind): of_classes(kind) for kind in (Categorical, OneHotCategorical)},
    (Dirichlet, Dirichlet): three_parts(),
}
