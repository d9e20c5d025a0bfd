"""Normal distributions with correlations: by a Cholesky factor, and by a few directions."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.marks import mark
from minigrad.tensor import untraced
from vae.distributions.base import (
    LOG_2PI,
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require,
    require_finite,
    require_positive,
)
from vae.distributions.support import REAL


class CorrelatedNormal(Distribution):
    """Abstract: N(mean, Σ) over the last axis, of length n; a subclass says what Σ is.

        log p(x) = -½ (x - mean)ᵀ Σ⁻¹ (x - mean) - ½ log |Σ| - n/2 log 2π        (nats)

    event_ndim: 1 or more; of more axes, the vectors along the last are independent.
    """

    path = "location-scale"
    support = REAL

    def _set_shape(self, batch: tuple[int, ...], n: int, event_ndim: int | None) -> None:
        who = type(self).__name__
        if self.mean.shape[-1:] != (n,):
            raise ValueError(f"{who}: the mean has shape {self.mean.shape}, and the covariance is "
                             f"of {n} variables; the mean's last axis must have as many")
        self.shape = (*broadcast(self.mean.shape[:-1], batch), n)
        if event_ndim == 0:
            raise ValueError(f"{who} with event_ndim=0: its {n} variables are one event, and not "
                             "independent; a vae.Normal has independent ones")
        self.event_ndim = event_axes(who, self.shape, event_ndim)

    @abstractmethod
    def _squared_distance(self, d: Any) -> Any:
        """dᵀ Σ⁻¹ d for d (…, n): (…)."""

    @abstractmethod
    def _half_log_determinant(self) -> Any:
        """½ log |Σ|."""

    @np.errstate(over="ignore")  # a log density may be below every number
    def log_prob(self, x: Any) -> Any:
        """log density per event, in nats: -inf for an infinite x; x (…, n)."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x, self.dtype)
        outside = self.support.excludes(untraced(x)).any(-1, keepdims=True)
        if outside.any():
            x = np.where(outside, 0, x)
        density = (-0.5 * self._squared_distance(x - self.mean) - self._half_log_determinant()
                   - 0.5 * self.shape[-1] * LOG_2PI)
        if outside.any():
            density = np.where(outside[..., 0], -np.inf, density)
        return event_sum(density, self.event_ndim - 1)

    def entropy(self) -> Any:
        """½ log |Σ| + n/2 log 2πe, in nats."""
        entropy = self._half_log_determinant() + 0.5 * self.shape[-1] * (LOG_2PI + 1)
        return event_sum(np.broadcast_to(entropy, self.shape[:-1]), self.event_ndim - 1)


class MultivariateNormal(CorrelatedNormal):
    """N(mean, L Lᵀ): mean (…, n), and L = `cholesky` (…, n, n), lower triangular, diagonal > 0.

    Raises ValueError for an L with a number other than 0 above its diagonal (a covariance, say:
    those go to `from_covariance`); no gradient arrives there.
    """

    parameters = ("mean", "cholesky")
    extra_axes: ClassVar[dict[str, int]] = {"cholesky": 1}

    def __init__(self, mean: Any, cholesky: Any, *, event_ndim: int | None = None):
        mean, cholesky = as_floats(mean, cholesky)
        n = _square("MultivariateNormal", "cholesky", cholesky)
        require_finite("MultivariateNormal", mean=mean, cholesky=cholesky)
        _require_lower(untraced(cholesky))
        require_positive("MultivariateNormal",
                         **{"the diagonal of cholesky": np.diagonal(cholesky, 0, -2, -1)})
        self.mean, self.cholesky = mean, np.tril(cholesky)
        self._set_shape(cholesky.shape[:-2], n, event_ndim)

    @classmethod
    def from_covariance(cls, mean: Any, covariance: Any, *,
                        event_ndim: int | None = None) -> MultivariateNormal:
        """N(mean, covariance); ValueError unless that is symmetric and positive definite.

        Symmetric up to √ε·√(cᵢᵢcⱼⱼ), the mean of both halves is taken.
        """
        mean, covariance = as_floats(mean, covariance)
        who = "MultivariateNormal.from_covariance"
        _square(who, "covariance", covariance)
        require_finite(who, covariance=covariance)
        _require_symmetric(who, untraced(covariance))
        both = 0.5 * (covariance + np.swapaxes(covariance, -1, -2))
        return cls(mean, cholesky_of(who, both), event_ndim=event_ndim)

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def covariance(self) -> Any:
        """L Lᵀ: (…, n, n)."""
        covariance = self.cholesky @ np.swapaxes(self.cholesky, -1, -2)
        return np.broadcast_to(covariance, (*self.shape, self.shape[-1]))

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def variance(self) -> Any:
        """The diagonal of the covariance: (…, n)."""
        return np.broadcast_to(np.square(self.cholesky).sum(-1), self.shape)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """mean + L ε with ε ~ N(0, I)."""
        eps = noise.normal(rng, shape + self.shape, self.dtype)
        return self.mean + mark(_product(self.cholesky, eps), "noise")

    def _squared_distance(self, d: Any) -> Any:
        return np.square(_each(lambda d: solve_lower(self.cholesky, d), d, self.cholesky)).sum(-1)

    def _half_log_determinant(self) -> Any:
        return _log_diagonal(self.cholesky)


class LowRankNormal(CorrelatedNormal):
    """N(mean, F Fᵀ + diag(d)): mean (…, n), F = `factor` (…, n, k), d = `diagonal` (…, n), d > 0.

    With W = F/√d, Σ⁻¹ is had by the identity of Woodbury, and |Σ| = Π d · |I + WᵀW|, both from the
    k × k matrix I + WᵀW; only `covariance` forms an n × n matrix.
    Raises ValueError for a d that is not positive, and where F/√d comes near to overflow.
    """

    parameters = ("mean", "factor", "diagonal")
    extra_axes: ClassVar[dict[str, int]] = {"factor": 1}

    def __init__(self, mean: Any, factor: Any, diagonal: Any, *, event_ndim: int | None = None):
        mean, factor, diagonal = as_floats(mean, factor, diagonal)
        if factor.ndim < 2 or diagonal.shape[-1:] != (n := factor.shape[-2],):
            raise ValueError(f"LowRankNormal: factor {factor.shape} and diagonal {diagonal.shape} "
                             "must be (…, n, k) and (…, n)")
        require_finite("LowRankNormal", mean=mean, factor=factor)
        require_positive("LowRankNormal", diagonal=diagonal)
        _require_ratio(untraced(factor), untraced(diagonal))
        self.mean, self.factor, self.diagonal = mean, factor, diagonal
        self._set_shape(broadcast(factor.shape[:-2], diagonal.shape[:-1]), n, event_ndim)

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def covariance(self) -> Any:
        """F Fᵀ + diag(d): (…, n, n)."""
        n = self.shape[-1]
        spread = self.diagonal[..., None] * np.eye(n, dtype=self.diagonal.dtype)
        return np.broadcast_to(self.factor @ np.swapaxes(self.factor, -1, -2) + spread,
                               (*self.shape, n))

    @property
    @np.errstate(over="ignore")  # what is above the largest number is ∞
    def variance(self) -> Any:
        """The diagonal of the covariance: (…, n)."""
        return np.broadcast_to(np.square(self.factor).sum(-1) + self.diagonal, self.shape)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """mean + F ε + √d ε', with ε ~ N(0, I) of k numbers and ε' of n."""
        few = noise.normal(rng, (*shape, *self.shape[:-1], self.factor.shape[-1]), self.dtype)
        eps = noise.normal(rng, shape + self.shape, self.dtype)
        return (self.mean + mark(_product(self.factor, few), "noise")
                + mark(np.sqrt(self.diagonal) * eps, "noise"))

    def _squared_distance(self, d: Any) -> Any:
        """min ‖d' - Wz‖² + ‖z‖² over z, with d' = d/√diagonal.

        By Woodbury that is dᵀ Σ⁻¹ d; as a sum of squares it has no cancellation, however large F.
        """
        w = self._scaled()

        def squares(d: Any) -> Any:
            zeros = np.zeros((*d.shape[:-2], w.shape[-1], d.shape[-1]), d.dtype)
            both = np.concatenate((d, zeros), axis=-2)
            return np.square(residual(w, both)).sum(-2, keepdims=True)

        return _each(squares, d / np.sqrt(self.diagonal), w)[..., 0]

    def _half_log_determinant(self) -> Any:
        return 0.5 * np.log(self.diagonal).sum(-1) + _log_diagonal(gram_factor(self._scaled()))

    def _scaled(self) -> Any:
        """W = F/√d."""
        return self.factor / np.sqrt(self.diagonal)[..., None]


# -- many vectors, few matrices -------------------------------------------------------------------
def _product(matrix: Any, x: Any) -> Any:
    """matrix·x for each of the vectors x (…, n)."""
    return x @ matrix.T if matrix.ndim == 2 else _each(lambda x: matrix @ x, x, matrix)


def _each(f: Any, x: Any, matrix: Any) -> Any:
    """f of the vectors x (…, *batch, n) as columns (*batch, n, many) of `matrix` (*batch, m, n).

    So each matrix is met once, however many draws there are.
    """
    axes = matrix.ndim - 1
    if x.ndim < axes:
        x = np.reshape(x, (*(1,) * (axes - x.ndim), *x.shape))
    draws, rest = x.shape[:x.ndim - axes], x.shape[x.ndim - axes:]
    columns = np.moveaxis(np.reshape(x, (math.prod(draws), *rest)), 0, -1)
    rows = np.moveaxis(f(columns), -1, 0)
    return np.reshape(rows, draws + rows.shape[1:])


# The family is closed: the cotangent of b is a solution with the other triangle, that of L is a
# product of it and the result.
@with_vjp(lambda g, y, low, b, transposed=False:
          _triangle_back(solve_lower(low, g, transposed=not transposed), y, transposed),
          lambda g, y, low, b, transposed=False: solve_lower(low, g, transposed=not transposed))
def solve_lower(low: ndarray, b: ndarray, transposed: bool = False) -> ndarray:
    """L⁻¹b, or L⁻ᵀb, by substitution: L (…, n, n) lower triangular, b (…, n, many)."""
    batch, n = broadcast(low.shape[:-2], b.shape[:-2]), b.shape[-2]
    y = np.empty((*batch, *b.shape[-2:]), np.result_type(low, b))
    triangle = np.swapaxes(low, -1, -2) if transposed else low
    for i in reversed(range(n)) if transposed else range(n):  # a row of all matrices at once
        known = slice(i + 1, n) if transposed else slice(i)
        done = triangle[..., i, None, known] @ y[..., known, :]
        y[..., i, :] = (b[..., i, :] - done[..., 0, :]) / triangle[..., i, i, None]
    return y


def _triangle_back(h: Any, y: Any, transposed: bool) -> Any:
    """-tril(h yᵀ), of L⁻ᵀb -tril(y hᵀ), with h the cotangent of b."""
    h, y = (y, h) if transposed else (h, y)
    return -np.tril(h @ np.swapaxes(y, -1, -2))


# A = [W; I] is decomposed, and AᵀA = I + WᵀW not formed: a large W would swallow the I.
@with_vjp(lambda g, low, w: w @ _gram_back(g, low))
def gram_factor(w: ndarray) -> ndarray:
    """The Cholesky factor of I + WᵀW, W (…, n, k): (…, k, k)."""
    upper = np.linalg.qr(_over_identity(w), mode="r")
    return np.swapaxes(upper, -1, -2) * np.sign(np.diagonal(upper, 0, -2, -1))[..., None, :]


@with_vjp(lambda g, y, w, b: _residual_back(g, residual(w, g), y, w, b),
          lambda g, y, w, b: residual(w, g))
def residual(w: ndarray, b: ndarray) -> ndarray:
    """b - Az for the z that makes it smallest, with A = [W; I]: W (…, n, k), b (…, n + k, many)."""
    q = np.linalg.qr(_over_identity(w)).Q
    return b - q @ (np.swapaxes(q, -1, -2) @ b)


def _residual_back(g: Any, h: Any, y: Any, w: Any, b: Any) -> Any:
    """-(P g)(A⁺b)ᵀ - (P b)(A⁺g)ᵀ, P b = y the residual of b, P g = h: the rows of W.

    Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
    whose variables separate" (1973).  A⁺b stands in the rows of I: (b - y)[n:].
    """
    n = w.shape[-2]
    z, z_of_g = (b - y)[..., n:, :], (g - h)[..., n:, :]
    return -(h[..., :n, :] @ np.swapaxes(z, -1, -2) + y[..., :n, :] @ np.swapaxes(z_of_g, -1, -2))


def _over_identity(w: ndarray) -> ndarray:
    k = w.shape[-1]
    one = np.broadcast_to(np.eye(k, dtype=w.dtype), (*w.shape[:-2], k, k))
    return np.concatenate((w, one), axis=-2)


def _gram_back(g: Any, low: Any) -> Any:
    """Twice the cotangent of I + WᵀW: L⁻ᵀ (Φ + Φᵀ) L⁻¹, Φ the lower half of Lᵀg, diagonal halved.

    I. Murray, "Differentiation of the Cholesky decomposition" (2016), equation 10.
    """
    phi = np.tril(np.swapaxes(low, -1, -2) @ g)
    phi = phi - 0.5 * phi * np.eye(low.shape[-1], dtype=low.dtype)
    half = solve_lower(low, phi + np.swapaxes(phi, -1, -2), transposed=True)
    return solve_lower(low, np.swapaxes(half, -1, -2), transposed=True)


def _log_diagonal(low: Any) -> Any:
    """Σ log Lᵢᵢ = log |L|."""
    return np.log(np.diagonal(low, 0, -2, -1)).sum(-1)


# -- checks ---------------------------------------------------------------------------------------
def _square(who: str, name: str, matrix: Any) -> int:
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"{who}: {name} has shape {matrix.shape}, it must be (…, n, n)")
    return matrix.shape[-1]


def _require_lower(low: ndarray) -> None:
    if (above := np.triu(low, 1)).any():
        index = np.argwhere(above)[0].tolist()
        raise ValueError("MultivariateNormal: cholesky must be 0 above its diagonal, it is "
                         f"{low[tuple(index)]:.6g} at {index}; is it a covariance? Then "
                         "MultivariateNormal.from_covariance. Of a network's output take np.tril")


def _require_symmetric(who: str, matrix: ndarray) -> None:
    other = np.swapaxes(matrix, -1, -2)
    size = np.sqrt(np.abs(np.diagonal(matrix, 0, -2, -1)))
    allowed = math.sqrt(np.finfo(matrix.dtype).eps) * size[..., :, None] * size[..., None, :]
    if (off := np.abs(matrix - other) > allowed).any():
        index = tuple(np.argwhere(off)[0].tolist())
        raise ValueError(f"{who}: covariance must be symmetric, it is {matrix[index]:.6g} at "
                         f"{[*index]} and {other[index]:.6g} across the diagonal")


def _require_ratio(factor: ndarray, diagonal: ndarray) -> None:
    root, most = np.sqrt(diagonal)[..., None], float(np.finfo(factor.dtype).max) ** 0.375
    holds = np.abs(factor) / most <= root
    require("LowRankNormal", "factor", np.broadcast_to(factor, holds.shape), holds,
            f"at most {most:.0e}·√diagonal")


def cholesky_of(who: str, covariance: Any) -> Any:
    """The Cholesky factor; a ValueError tells which matrix has none."""
    try:
        return np.linalg.cholesky(covariance)
    except ValueError:  # LinAlgError is one
        least = np.linalg.eigvalsh(untraced(covariance))[..., 0]
        index = np.unravel_index(np.argmin(least), least.shape)
        at = f" at {[int(i) for i in index]}" if index else ""
        raise ValueError(f"{who}: covariance must be positive definite beyond rounding, its "
                         f"smallest eigenvalue is {least[index]:.3g}{at}") from None
