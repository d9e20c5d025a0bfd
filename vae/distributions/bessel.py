"""Bessel functions of the von Mises distribution, with derivatives of every order."""

from __future__ import annotations

import math

import numpy as np
import scipy.special as sc
from numpy import ndarray

from minigrad.define import with_vjp
from vae.distributions.implicit import choose, in_blocks

LARGE = 30.0  # from here on an asymptotic series
TERMS = 24
_angles = 2 * math.pi / 96 * np.arange(96)[:, None]  # the trapezoidal rule converges geometrically


def _coefficients() -> list[float]:
    """c_n of A(κ) ~ Σ c_n κ⁻ⁿ, from A' = 1 - A/κ - A² (Mardia and Jupp 2000, appendix 1)."""
    c = [1.0]
    for n in range(1, TERMS):
        known = sum(c[i] * c[n - i] for i in range(1, n))
        c.append(((n - 2) * c[n - 1] - known) / 2)
    return c


COEFFICIENTS = _coefficients()


@with_vjp(lambda g, y, kappa: -g * deficit(kappa, 0), elementwise=True)
def log_i0e(kappa: ndarray) -> ndarray:
    """log(e^-κ I₀(κ)) for κ ≥ 0."""
    return np.log(sc.i0e(kappa))


@with_vjp(lambda g, y, kappa, order: g * deficit(kappa, order + 1), elementwise=True)
def deficit(kappa: ndarray, order: int = 0) -> ndarray:
    """The derivative of this order of 1 - A(κ), A = I₁/I₀, for κ ≥ 0; with all its digits.

    A = E[cos θ] is the mean resultant length of a von Mises variate θ of concentration κ, and its
    n-th derivative is the cumulant n + 1 of cos θ.
    """
    def kernel(kappa: ndarray) -> ndarray:
        return choose(kappa >= LARGE, lambda k: _series(k, order), lambda k: _moments(k, order),
                      kappa)

    return in_blocks(kernel, kappa)


def _series(kappa: ndarray, order: int) -> ndarray:
    total, inverse = np.zeros_like(kappa), 1 / kappa
    for n in range(TERMS - 1, 0, -1):
        rising = math.prod(range(n, n + order))  # of the derivative of κ⁻ⁿ
        total = (total - COEFFICIENTS[n] * (-1) ** order * rising) * inverse
    return total * inverse**order


def _moments(kappa: ndarray, order: int) -> ndarray:
    """By central moments μ and cumulants: κ_n = μ_n - Σ C(n-1, m-1) κ_m μ_{n-m}, m = 2 … n - 2."""
    below = 2 * np.sin(_angles / 2) ** 2  # 1 - cos θ
    weight = np.exp(-kappa * below)
    weight /= weight.sum(0)
    mean = (weight * below).sum(0)
    if order == 0:
        return mean
    moment = [(weight * (mean - below) ** n).sum(0) for n in range(order + 2)]
    cumulant = [0.0, 0.0]
    for n in range(2, order + 2):
        cumulant.append(moment[n] - sum(math.comb(n - 1, m - 1) * cumulant[m] * moment[n - m]
                                        for m in range(2, n - 1)))
    return -cumulant[-1]
