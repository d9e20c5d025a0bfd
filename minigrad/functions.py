"""What NumPy lacks: activations, log-sum-exp and their kind.

Each stands below its derivative, and takes ndarrays too, which give ndarrays.  None overflows: each
is written with exponents that are never positive.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from minigrad.define import with_vjp
from minigrad.kernels.blocks import above_zero, threaded
from minigrad.marks import mark
from minigrad.rules.linalg import mT, product
from minigrad.rules.reductions import kept
from minigrad.tensor import Tensor, untraced

if_positive = threaded(lambda g, y: g * (y > 0), cost=0.9, calls=3)
positive_part = threaded(above_zero, cost=0.2, into=True)


@with_vjp(lambda g, y, x: if_positive(g, y), elementwise=True)
def relu(x: Any) -> Any:
    """max(x, 0); its slope at 0 is 0."""
    return positive_part(x)


@with_vjp(lambda g, y, x, slope=0.01: slope * g + (1 - slope) * if_positive(g, x), elementwise=True)
def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x where it is positive, slope·x elsewhere."""
    return np.fmax(x, slope * x) if slope <= 1 else np.fmin(x, slope * x)  # np.where is slow


@with_vjp(lambda g, y, x, alpha=1.0: np.where(x > 0, g, g * (y + alpha)), elementwise=True)
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, alpha·(eˣ - 1) elsewhere (Clevert et al. 2015)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@with_vjp(lambda g, y, x: g * y * (1 - y), elementwise=True)
@partial(threaded, cost=6, calls=6)
def sigmoid(x: Any) -> Any:
    """1/(1 + e⁻ˣ), to full relative precision on both sides."""
    e = np.exp(-np.abs(x))
    return np.maximum(e, x >= 0) / (1 + e)  # 1, or e for x < 0


@with_vjp(lambda g, y, x: g * sigmoid(x), elementwise=True)
def softplus(x: Any) -> Any:
    """log(1 + eˣ) = max(x, 0) + log(1 + e⁻|x|)."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@with_vjp(lambda g, y, x: g * sigmoid(-x), elementwise=True)
def log_sigmoid(x: Any) -> Any:
    """log sigmoid(x) = -softplus(-x)."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def silu(x: Any) -> Any:
    """x·sigmoid(x), also called swish."""
    return x * sigmoid(x)


def gelu(x: Any) -> Any:
    """x·Φ(x), with the normal distribution function Φ (Hendrycks and Gimpel 2016); exact."""
    from scipy.special import ndtr  # SciPy is loaded only by those who use it

    return x * ndtr(x)


@with_vjp(lambda g, y, x, axis=None, keepdims=False:
          kept(g, x, axis, keepdims) * _share(x, kept(y, x, axis, keepdims), axis))
def logsumexp(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """log Σ eˣ along `axis`; -inf where all of x is."""
    top = np.max(x, axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):  # log 0
        y = np.log(np.sum(np.exp(x - top), axis, keepdims=True)) + top
    return y if keepdims else np.squeeze(y, axis)


@with_vjp(lambda g, y, x, axis=-1: y * (g - np.sum(g * y, axis, keepdims=True)))
def softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Any:
    """eˣ / Σ eˣ along `axis`."""
    e = np.exp(x - np.max(x, axis, keepdims=True))
    return e / np.sum(e, axis, keepdims=True)


@with_vjp(lambda g, y, x, axis=-1: g - np.exp(y) * np.sum(g, axis, keepdims=True))
def log_softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Any:
    """x - log Σ eˣ along `axis`."""
    x = x - np.max(x, axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis, keepdims=True))


@with_vjp(lambda g, y, x, w, b: _rows(product(_rows(g), mT(w)), x.shape),
          lambda g, y, x, w, b: product(mT(_rows(x)), _rows(g)),
          lambda g, y, x, w, b: column_sums(g))
def affine(x: Any, w: Any, b: Any) -> Any:
    """x @ w + b, as one operation and in one array; x (..., n), w (n, m), b (m,)."""
    if x.shape[-1:] != w.shape[:1] or b.shape != w.shape[1:]:
        raise ValueError(f"x @ w + b with x {x.shape}, w {w.shape}, b {b.shape}: they must be "
                         "(..., n), (n, m) and (m,)")
    y = _rows(x) @ w
    y += b
    return y if x.ndim == 2 else _rows(y, (*x.shape[:-1], w.shape[1]))


def column_sums(g: Any) -> Any:
    """The sum over all axes but the last; of short rows as a product, which is far faster."""
    rows = _rows(g)
    return np.sum(rows, axis=0) if rows.shape[1] > 100 else np.ones(len(rows), g.dtype) @ rows


def stop_gradient(x: Any) -> Any:
    """The value of `x` as a constant, an ndarray: no derivative of any order passes."""
    return mark(untraced(x), "stopped", x) if type(x) is Tensor else untraced(x)


def polygamma(n: int, x: Any) -> Any:
    """The n-th derivative of digamma, for x > 0: (-1)ⁿ⁺¹ n! ζ(n+1, x) (DLMF 5.15.1).

    `scipy.special.polygamma` is no ufunc, so that it can't be given a Tensor.
    """
    from scipy.special import psi

    from minigrad.rules.special import hurwitz

    if int(n) != n or n < 0:
        raise ValueError(f"polygamma(n={n!r}): the order is an integer, 0 or more")
    n = int(n)
    return psi(x) if n == 0 else (-1) ** (n + 1) * math.factorial(n) * hurwitz(n + 1, x)


def _share(x: Any, y: Any, axis: Any) -> Any:
    """softmax(x) = exp(x - y) for y = logsumexp(x), also where both are -inf."""
    e = np.exp(x - np.where(np.isfinite(y), y, 0))
    total = np.sum(e, axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


def _rows(x: Any, shape: tuple[int, ...] | None = None) -> Any:
    """All leading axes as one, so that a product is one large product; or back to `shape`."""
    if shape is None:
        if x.ndim == 2:
            return x
        shape = (math.prod(x.shape[:-1]), x.shape[-1])
    return x if x.shape == shape else np.reshape(x, shape)
