"""Gradients through the logarithm of a gamma draw, by the implicit function theorem."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.special as sc
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.functions import polygamma
from minigrad.tensor import untraced
from vae.distributions.gamma_recurrence import by_recurrence

DEPTH = 45.0  # an integral ends where its integrand has fallen by e^-(DEPTH + 5k)
BLOCK = 4096  # elements whose integrals are computed together: the nodes of all are in memory
LONGER = 8 * BLOCK  # elements of a recurrence, which has few arrays and short calls
_nodes, _weights = np.polynomial.legendre.leggauss(48)
NODES, WEIGHTS = (_nodes[:, None] + 1) / 2, _weights / 2  # on [0, 1]
TINY_LOG = -36.0  # below it z is nothing beside 1, and log F is that of a power


# -- precision -----------------------------------------------------------------------------------
# Densities of concentrations near 1e6 are small differences of numbers near 1e7, which float32
# can't hold: so whatever the dtype, these distributions compute in float64, and round the result.
def wide(x: Any) -> Any:
    """x in float64."""
    return x if x.dtype == np.float64 else x.astype(np.float64)


def rounded(x: Any, dtype: Any) -> Any:
    """x in the dtype that the parameters have."""
    return x if x.dtype == dtype else x.astype(dtype)


def positive_from_log(log_x: Any, dtype: Any) -> Any:
    """exp(log_x), but no less than the smallest normal number of the dtype, nor infinite."""
    info = np.finfo(dtype)
    low, high = math.log(info.tiny), math.log(info.max)
    return rounded(np.exp(np.clip(log_x, low + 1e-5, high - 1e-5)), dtype)


def between(p: Any) -> Any:
    """A probability in float64; ½ for what does not lie between 0 and 1."""
    return np.where((untraced(p) > 0) & (untraced(p) < 1), wide(p), 0.5)


def with_ends(p: Any, x: Any, low: float, high: float) -> Any:
    """The quantile x of p; `low` for p = 0, `high` for p = 1, NaN for no probability."""
    p = untraced(p)
    ends = np.where(p == 0, low, np.where(p == 1, high, math.nan)).astype(x.dtype)
    return np.where((p > 0) & (p < 1), x, ends)


# -- quadrature -----------------------------------------------------------------------------------
def in_blocks(kernel: Callable[..., ndarray], *arrays: Any, block: int = BLOCK) -> ndarray:
    """`kernel` of float64 vectors, in blocks, of arrays that broadcast; has their dtype."""
    arrays = np.broadcast_arrays(*arrays)
    flat = [np.asarray(a, np.float64).reshape(-1) for a in arrays]
    out = np.empty(arrays[0].shape, np.result_type(*arrays))
    rows = out.reshape(-1)
    for i in range(0, rows.size, block):
        rows[i:i + block] = kernel(*(a[i:i + block] for a in flat))
    return out


def integral(f: Callable[[ndarray], ndarray], *ends: ndarray) -> ndarray:
    """∫ f from the first end to the last, by Gauss and Legendre's rule between each two.

    f takes and gives (nodes, n); the ends are vectors of length n, in order.
    """
    total = 0.0
    for low, high in pairwise(ends):
        if np.any(high > low):
            total = total + (high - low) * (WEIGHTS @ f(low + (high - low) * NODES))
    return total


def choose(side: ndarray, one: Callable, other: Callable, *vectors: ndarray) -> ndarray:
    """`one(*vectors)` of the elements on this side, `other` of the rest."""
    out = np.empty(side.shape)
    for which, f in ((side, one), (~side, other)):
        if which.any():
            out[which] = f(*(v[which] for v in vectors))
    return out


# -- log z of a standard gamma variate z ----------------------------------------------------------
# L = log z has the density f(L) = exp(aL - eᴸ)/Γ(a), and the implicit derivative
#     dL/da = -(∂F/∂a)/f = (ψ(a) - L) T₀ + T₁,   T_k = ∫ (L - s)ᵏ f(s)/f(L) ds,
# the integral over s < L, or minus that over s > L: both give the same, since E[log z] = ψ(a).
# Of the two that one is taken, by L < ψ(a), in which both terms have one sign.  (The slope itself
# has a shorter way, `gamma_recurrence`, and needs the integral only far above ψ(a).)  And
#     ∂T_k/∂a = -T_{k+1},   ∂T_k/∂L = k T_{k-1} - (a - eᴸ) T_k,   for k = 0 with 1 instead of k T.
# All are computed as ∫₀^∞ (c + u)ᵏ e^-h(u) du, u = |L - s|: with c = |ψ(a) - L| it is the slope.
def _below(power: int, a: ndarray, log_z: ndarray) -> ndarray:
    """With h = a u - z(1 - e^-u), which is convex, and increases since z ≤ a."""
    z, depth = np.exp(log_z), DEPTH + 5 * power
    end = (depth + z) / a  # on the right of where h = depth: so stays every step of Newton's
    short = np.sqrt(3 * depth / np.maximum(z, 1e-3))  # h ≥ z u²/3 for u ≤ 1
    end = np.where(short < 1, np.minimum(end, short), end)
    for _ in range(4):
        end = end - (a * end + z * np.expm1(-end) - depth) / (a - z * np.exp(-end))
    return integral(lambda u: u**power * np.exp(-a * u - z * np.expm1(-u)), 0 * end, end)


def _above(power: int, a: ndarray, log_z: ndarray, c: ndarray) -> ndarray:
    """With h = z(eᵘ - 1) - a u, for L ≥ ψ(a)."""
    def in_one_piece(a: ndarray, log_z: ndarray, c: ndarray) -> ndarray:
        # where h ≥ depth: h ≥ z u²/2 - 0.6 u, as z ≥ exp ψ(a); or, where a u ≤ 20, by the logarithm
        z = np.exp(log_z)
        end = np.where(a < 3, np.log1p((depth + 20) / z),
                       (0.6 + np.sqrt(0.36 + 2 * z * depth)) / z)
        for _ in range(6):
            end = end - (z * np.expm1(end) - a * end - depth) / (z * np.exp(end) - a)
        return integral(lambda u: (c + u)**power * np.exp(a * u - z * np.expm1(u)), 0 * end, end)

    def in_three(a: ndarray, log_z: ndarray, c: ndarray) -> ndarray:
        # flat as far as z eᵘ is nothing beside 1; there a u ≤ 2; then it falls at u = -log z
        z, fall = np.exp(log_z), -log_z
        ends = (0 * fall, np.maximum(fall - 40, 0), fall, fall + np.log(depth + 20))
        return integral(lambda u: (c + u)**power * np.exp(a * u - np.exp(u + log_z) + z), *ends)

    depth = DEPTH + 5 * power
    return choose(log_z >= -1.2, in_one_piece, in_three, a, log_z, c)


def _tail(power: int, a: ndarray, log_z: ndarray) -> ndarray:
    below = log_z < sc.psi(a)
    value = choose(below, partial(_below, power),
                   lambda a, log_z: _above(power, a, log_z, 0 * a), a, log_z)
    return np.where(below | bool(power % 2), value, -value)


@with_vjp(lambda g, t, a, log_z, power: -g * gamma_tail(a, log_z, power + 1),
          lambda g, t, a, log_z, power: g * (
              (power * gamma_tail(a, log_z, power - 1) if power else 1)
              - (a - np.exp(log_z)) * t), elementwise=True)
def gamma_tail(a: ndarray, log_z: ndarray, power: int) -> ndarray:
    """T_k of the comment above, k = power."""
    return in_blocks(partial(_tail, power), a, log_z)


@with_vjp(lambda g, d, a, log_z, single=False: g * (
              polygamma(1, a) * gamma_tail(a, log_z, 0)
              - (sc.psi(a) - log_z) * gamma_tail(a, log_z, 1) - gamma_tail(a, log_z, 2)),
          lambda g, d, a, log_z, single=False: g * (
              sc.psi(a) - log_z - (a - np.exp(log_z)) * d), elementwise=True)
def log_gamma_slope(a: ndarray, log_z: ndarray, single: bool = False) -> ndarray:
    """dL/da at a fixed quantile, L = log z of a gamma variate z of shape a and rate 1.

    Figurnov, Mohamed and Mnih (2018), equation 7: a relative error below 1e-11, or 3e-7 if
    `single`, for a from 1e-6 to 1e6 and quantiles from 1e-10 to 1 - 1e-10.
    """
    slope = in_blocks(partial(by_recurrence, single=single), a, log_z, block=LONGER)
    far = np.isnan(slope)
    if far.any():
        slope[far] = in_blocks(lambda a, log_z: _above(1, a, log_z, log_z - sc.psi(a)),
                               *(x[far] for x in np.broadcast_arrays(a, log_z)))
    return slope


@with_vjp(lambda g, log_z, a, value, single: g * log_gamma_slope(a, log_z, single), None,
          elementwise=True)
def at_its_quantile(a: ndarray, value: ndarray, single: bool) -> ndarray:
    """The draw `value` = log z, as a function of the shape a."""
    return value


def log_gamma(rng: Generator, shape: tuple[int, ...], a: Any, dtype: Any = np.float64) -> Any:
    """Draws of log z, z of the gamma distribution of shape `a` (float64) and rate 1.

    Finite where z itself underflows; differentiable by `a` to any order.  The slope is as exact as
    parameters of this dtype need it.
    """
    plain, single = untraced(a), dtype == np.float32

    def draw() -> Any:
        if np.all(plain >= 1):
            return np.log(np.maximum(rng.standard_gamma(plain, shape), 1e-300))
        # of shape a + 1, times U^(1/a) (Marsaglia and Tsang 2000, section 6)
        return (np.log(rng.standard_gamma(plain + 1, shape))
                - rng.standard_exponential(shape) / plain)

    value = noise.drawn("log_gamma", shape, np.float64, draw, (plain,), moved)
    return at_its_quantile(a, value, single)


def moved(log_z: ndarray, old: tuple[ndarray, ...], new: tuple[ndarray, ...]) -> ndarray:
    """log z at the same quantile of the gamma distribution with another shape."""
    (a,), (b,) = old, new
    z = np.exp(np.maximum(log_z, TINY_LOG))
    p, q = sc.gammainc(a, z), sc.gammaincc(a, z)
    tiny = log_z < TINY_LOG
    log_p = np.where(tiny, np.minimum(a * log_z - sc.gammaln(a + 1), 0),
                     np.where(p < 0.5, np.log(np.maximum(p, 1e-300)),
                              np.log1p(-np.minimum(q, 0.9))))
    return log_quantile_of(b, log_p, np.where(tiny, -np.expm1(log_p), q))


def log_quantile_of(a: ndarray, log_p: ndarray, q: ndarray) -> ndarray:
    """log z where F(z) = p and 1 - F(z) = q: p is given by its logarithm."""
    power = (log_p + sc.gammaln(a + 1)) / a  # of F(z) = zᵃ/Γ(a + 1), near 0
    p = np.exp(log_p)
    z = np.where(p < 0.5, sc.gammaincinv(a, np.minimum(p, 0.5)),
                 sc.gammainccinv(a, np.clip(q, 0, 0.6)))
    tiny = power < TINY_LOG
    return np.where(tiny, power, np.log(np.where(tiny | (z <= 0), 1, z)))


# -- the distribution function --------------------------------------------------------------------
def log_gamma_density(a: Any, log_z: Any) -> Any:
    """log f(L) = aL - eᴸ - log Γ(a)."""
    return a * log_z - np.exp(log_z) - sc.gammaln(a)


@with_vjp(lambda g, p, a, log_z: (-g * np.exp(log_gamma_density(a, log_z))
                                  * log_gamma_slope(a, log_z)),
          lambda g, p, a, log_z: g * np.exp(log_gamma_density(a, log_z)), elementwise=True)
def log_gamma_cdf(a: ndarray, log_z: ndarray) -> ndarray:
    """F(L) of L = log z."""
    power = np.exp(np.minimum(a * log_z - sc.gammaln(a + 1), 0))
    return np.where(log_z < TINY_LOG, power, sc.gammainc(a, np.exp(np.maximum(log_z, TINY_LOG))))


@with_vjp(lambda g, log_z, a, p: g * log_gamma_slope(a, log_z),
          lambda g, log_z, a, p: g * np.exp(-log_gamma_density(a, log_z)), elementwise=True)
def log_gamma_icdf(a: ndarray, p: ndarray) -> ndarray:
    """The L at which F(L) = p, for 0 < p < 1."""
    return log_quantile_of(a, np.log(p), 1 - p)


# -- logit x of a beta variate x ------------------------------------------------------------------
# y = logit x has the density f(y) = σ(y)ᵃ σ(-y)ᵇ/B(a, b).  With E = ψ(a) - ψ(a + b) = E[log x], and
#     T_jk = ∫ (log σ(y) - log σ(s))ʲ (log σ(-y) - log σ(-s))ᵏ f(s)/f(y) ds
# over s < y, or minus that over s > y, the implicit derivative is dy/da = (E - log x) T₀₀ + T₁₀;
# of the two sides that one is taken, by log x < E, in which both terms have one sign.  And
#     ∂T_jk/∂a = -T_{j+1,k},   ∂T_jk/∂b = -T_{j,k+1},
#     ∂T_jk/∂y = j(1 - x) T_{j-1,k} - k x T_{j,k-1} - (a(1 - x) - bx) T_jk, for j = k = 0 plus 1.
# dy/db is -dy/da at b, a, -y.
def _over_side(weigh: Callable, depth: float, a: ndarray, b: ndarray, y: ndarray) -> ndarray:
    """∫₀^∞ weigh(A, B) e^-(aA - bB) du, u = y - s, for A, B of `_fallen`."""
    log_x, log_rest = sc.log_expit(y), sc.log_expit(-y)
    end = (depth - (a + b) * log_rest) / a  # right of where aA - bB, which is convex, is `depth`
    for _ in range(20):
        fallen, risen = _fallen(end, y, log_x, log_rest)
        end = end - (a * fallen - b * risen - depth) / (a * sc.expit(end - y)
                                                         - b * sc.expit(y - end))

    def f(u: ndarray) -> ndarray:
        fallen, risen = _fallen(u, y, log_x, log_rest)
        return weigh(fallen, risen) * np.exp(b * risen - a * fallen)

    fall = y - np.log(np.maximum(a, 1))  # before it aA is nothing, as A = e^(u-y) there
    bends = (0 * y, fall - 40, fall, y + 40)
    return integral(f, *(np.clip(t, 0, end) for t in bends), end)


def _fallen(u: ndarray, y: ndarray, log_x: ndarray, log_rest: ndarray) -> tuple[ndarray, ndarray]:
    """A = log σ(y) - log σ(y - u) and B = log σ(u - y) - log σ(-y), with all their digits."""
    near, v = u < 1, np.minimum(u, 1)
    a = np.where(near, np.log1p(np.exp(log_rest) * np.expm1(v)), np.logaddexp(0, u - y) + log_x)
    b = np.where(near, -np.log1p(np.exp(log_x) * np.expm1(-v)),
                 -np.logaddexp(log_rest, log_x - u))
    return a, b


def _rise(order: int, a: ndarray, b: ndarray) -> ndarray:
    def series(a: ndarray, b: ndarray) -> ndarray:
        return sum(b**k / math.factorial(k) * sc.polygamma(order + k, a) for k in range(1, 6))

    return choose(b < 1e-3 * a, series,
                  lambda a, b: sc.polygamma(order, a + b) - sc.polygamma(order, a), a, b)


@with_vjp(lambda g, r, a, b, order: g * psi_rise(a, b, order + 1),
          lambda g, r, a, b, order: g * polygamma(order + 1, a + b), elementwise=True)
def psi_rise(a: ndarray, b: ndarray, order: int) -> ndarray:
    """ψ(a + b) - ψ(a), or of this derivative of ψ, with its digits where b is small beside a."""
    return in_blocks(partial(_rise, order), a, b)


def _beta_slope(a: ndarray, b: ndarray, y: ndarray) -> ndarray:
    c = -_rise(0, a, b) - sc.log_expit(y)
    return choose(
        c > 0,
        lambda a, b, y, c: _over_side(lambda fallen, risen: c + fallen, DEPTH + 5, a, b, y),
        lambda a, b, y, c: _over_side(lambda fallen, risen: risen - c, DEPTH + 5, b, a, -y),
        a, b, y, c)


def _beta_tail(j: int, k: int, a: ndarray, b: ndarray, y: ndarray) -> ndarray:
    depth = DEPTH + 5 * (j + k)
    return choose(
        sc.log_expit(y) < -_rise(0, a, b),
        lambda a, b, y: _over_side(lambda fallen, risen: fallen**j * (-risen)**k, depth, a, b, y),
        lambda a, b, y: _over_side(lambda fallen, risen: -(-risen)**j * fallen**k, depth, b, a, -y),
        a, b, y)


def _beta_tail_by_y(t: Any, a: Any, b: Any, y: Any, j: int, k: int) -> Any:
    x, rest = sc.expit(y), sc.expit(-y)
    slope = (b * x - a * rest) * t + (j + k == 0)
    if j:
        slope = slope + j * rest * beta_tail(a, b, y, j - 1, k)
    return slope - k * x * beta_tail(a, b, y, j, k - 1) if k else slope


@with_vjp(lambda g, t, a, b, y, j, k: -g * beta_tail(a, b, y, j + 1, k),
          lambda g, t, a, b, y, j, k: -g * beta_tail(a, b, y, j, k + 1),
          lambda g, t, a, b, y, j, k: g * _beta_tail_by_y(t, a, b, y, j, k), elementwise=True)
def beta_tail(a: ndarray, b: ndarray, y: ndarray, j: int, k: int) -> ndarray:
    """T_jk of the comment above."""
    return in_blocks(partial(_beta_tail, j, k), a, b, y)


def _shortfall(a: Any, b: Any, y: Any) -> Any:
    """E[log x] - log x."""
    return -psi_rise(a, b, 0) - sc.log_expit(y)


@with_vjp(lambda g, d, a, b, y: g * (
              -psi_rise(a, b, 1) * beta_tail(a, b, y, 0, 0)
              - _shortfall(a, b, y) * beta_tail(a, b, y, 1, 0) - beta_tail(a, b, y, 2, 0)),
          lambda g, d, a, b, y: -g * (
              polygamma(1, a + b) * beta_tail(a, b, y, 0, 0)
              + _shortfall(a, b, y) * beta_tail(a, b, y, 0, 1) + beta_tail(a, b, y, 1, 1)),
          lambda g, d, a, b, y: g * (_shortfall(a, b, y)
                                     + (b * sc.expit(y) - a * sc.expit(-y)) * d), elementwise=True)
def logit_beta_slope(a: ndarray, b: ndarray, y: ndarray) -> ndarray:
    """dy/da at a fixed quantile, y = logit x of a beta variate x."""
    return in_blocks(_beta_slope, a, b, y)


def logit_beta_density(a: Any, b: Any, y: Any) -> Any:
    """f(y) = σ(y)ᵃ σ(-y)ᵇ/B(a, b)."""
    return np.exp(a * sc.log_expit(y) + b * sc.log_expit(-y) - sc.betaln(a, b))


@with_vjp(lambda g, p, a, b, y: -g * logit_beta_density(a, b, y) * logit_beta_slope(a, b, y),
          lambda g, p, a, b, y: g * logit_beta_density(a, b, y) * logit_beta_slope(b, a, -y),
          lambda g, p, a, b, y: g * logit_beta_density(a, b, y), elementwise=True)
def logit_beta_cdf(a: ndarray, b: ndarray, y: ndarray) -> ndarray:
    """F(y) of y = logit x."""
    return np.where(y < 0, sc.betainc(a, b, sc.expit(y)), sc.betaincc(b, a, sc.expit(-y)))


@with_vjp(lambda g, y, a, b, p: g * logit_beta_slope(a, b, y),
          lambda g, y, a, b, p: -g * logit_beta_slope(b, a, -y),
          lambda g, y, a, b, p: g / logit_beta_density(a, b, y), elementwise=True)
def logit_beta_icdf(a: ndarray, b: ndarray, p: ndarray) -> ndarray:
    """The y at which F(y) = p, for 0 < p < 1."""
    low = (np.log(p) + np.log(a) + sc.betaln(a, b)) / a  # log x where F(x) = xᵃ/(a B(a, b)), near 0
    high = (np.log1p(-p) + np.log(b) + sc.betaln(a, b)) / b  # log(1 - x), near 1
    tiny = (low < 5 * TINY_LOG) | (high < 5 * TINY_LOG)
    inner = np.where(tiny, 0.5, p)
    a, b = np.where(tiny, 1, a), np.where(tiny, 1, b)
    y = np.log(sc.betaincinv(a, b, inner)) - np.log(sc.betainccinv(b, a, inner))
    return np.where(tiny, np.where(low < high, low, -high), y)
