"""Planar flows: each pushes along one direction, by how far z lies along another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from numpy.typing import DTypeLike

from minigrad.nn import Dense, zeros
from minigrad.tensor import Tensor, untraced
from vae.flows.base import LEAST, Flow, dimensions, positive
from vae.flows.recurrence import tanh_recurrence

SHIFT = math.log(math.expm1(1 - LEAST))  # positive(SHIFT) is 1
TINY = 1e-18  # beside ‖w‖², so that w = 0 is allowed


class Planar(Flow):
    """z' = z + û tanh(wᵀz + b), with û such that wᵀû > -1: then it is invertible.

        log |det| = log(1 + wᵀû (1 - tanh²(wᵀz + b)))
        û = u + (m(wᵀu) - wᵀu) w/‖w‖²,   m(x) = -1 + softplus(x + c)

    Rezende and Mohamed (2015), section 4.1 and appendix A.1.  There c = 0; here c is such that
    m(0) = 0, so that u = 0 is the identity and û stays small for small w; and m ≥ -1 + 1e-4.
    Parameters u, w (n,) and b (); of a batch, see `of`.
    """

    def __init__(self, n: int, *, rng: Generator, scale: float = 0.1,
                 dtype: DTypeLike = np.float32):
        self.n = dimensions("Planar", n)
        self.u, self.w, self.b = (Tensor(rng.normal(0, scale, shape).astype(dtype))
                                  for shape in ((n,), (n,), ()))

    @classmethod
    def of(cls, u: Any, w: Any, b: Any) -> Planar:
        """With these parameters: u and w (…, n), b (…), such as a network gives for a batch."""
        if u.shape[-1:] != w.shape[-1:] or not u.ndim or u.shape[:-1] != np.shape(b):
            raise ValueError(f"Planar.of: u {u.shape}, w {w.shape} and b {np.shape(b)} must be "
                             "(…, n), (…, n) and (…)")
        flow = cls.__new__(cls)
        flow.n, flow.u, flow.w, flow.b = u.shape[-1], u, w, b
        return flow

    def forward(self, z: Any) -> tuple[Any, Any]:
        """z' (…, n), and log |det ∂z'/∂z| (…) in nats."""
        self._check(z)
        u, slope = _constrained(self.u, self.w)
        t = np.tanh(self._along(z))
        return z + u * t[..., None], _log_det(t, slope)

    @staticmethod
    def through(flows: Sequence[Flow], z: Any) -> tuple[Any, Any]:
        """`forward` of one after the other, in one pass for all: see `_chain`."""
        first = flows[0]
        if len(flows) == 1 or any(type(f) is not Planar or f.w.shape != first.w.shape
                                  for f in flows):
            return Flow.through(flows, z)
        first._check(z)
        return _chain(*(np.stack([getattr(f, name) for f in flows]) for name in "uwb"), z)

    def inverse(self, z: Any) -> Any:
        """z of z': one equation in a = wᵀz + b is solved, a + wᵀû tanh a = wᵀz' + b.

        To rounding; differentiable up to third order.
        """
        self._check(z)
        u, slope = _constrained(self.u, self.w)
        target = self._along(z)
        a = _root(untraced(target), untraced(slope))
        for _ in range(2):  # from the root on, a Newton step doubles the orders that are exact
            t = np.tanh(a)
            miss, squared = a + (slope - 1) * t - target, np.square(t)
            a = a - miss / (squared + slope * (1 - squared))
        return z - u * np.tanh(a)[..., None]

    def _along(self, z: Any) -> Any:
        """wᵀz + b."""
        return (z @ self.w if self.w.ndim == 1 else (z * self.w).sum(-1)) + self.b


class ToPlanar:
    """Amortised: `given(h)` is the `Planar` whose parameters are linear in h (…, n_context)."""

    def __init__(self, n: int, n_context: int, *, rng: Generator, dtype: DTypeLike = np.float32):
        self.n = dimensions("ToPlanar", n)
        self.linear = Dense(n_context, 2 * n + 1, rng=rng, weight=zeros, dtype=dtype)
        self.linear.bias.data[...] = rng.normal(0, 0.1, 2 * n + 1)

    def given(self, h: Any) -> Planar:
        """The flow of each row of h."""
        raw, n = self.linear(h), self.n
        return Planar.of(raw[..., :n], raw[..., n:2 * n], raw[..., 2 * n])


def _constrained(u: Any, w: Any) -> tuple[Any, Any]:
    """û, and 1 + wᵀû > 0, which is the slope in the middle."""
    product = (w * u).sum(-1)
    slope = positive(product + SHIFT)
    lack = (slope - 1 - product) / (np.square(w).sum(-1) + TINY)
    return u + lack[..., None] * w, slope


def _log_det(t: Any, slope: Any) -> Any:
    """log(1 + wᵀû (1 - t²)), of a sum of positive numbers."""
    squared = np.square(t)
    return np.log(squared + slope * (1 - squared))


def _chain(u: Any, w: Any, b: Any, z: Any) -> tuple[Any, Any]:
    """Of K layers, u and w (K, …, n), b (K, …): every layer adds to z along its û alone, so

        a_k = w_kᵀ z_0 + b_k + Σ_{j<k} (w_kᵀ û_j) tanh a_j,   z_K = z_0 + Σ_k û_k tanh a_k

    and what goes from layer to layer are K numbers a row, not n.
    """
    u, slope = _constrained(u, w)
    n = z.shape[-1]
    if u.ndim == 2:  # the same for all rows: products of matrices
        rows = np.reshape(z, (math.prod(z.shape[:-1]), n))
        t = tanh_recurrence(w @ rows.T + b[:, None], w @ u.T)
        log_det = _log_det(t, slope[:, None]).sum(0)
        return z + np.reshape(t.T @ u, z.shape), np.reshape(log_det, z.shape[:-1])
    extra = (1,) * (z.ndim - u.ndim + 1)  # of several draws a row
    u, w, b, slope = (np.reshape(p, (len(p), *extra, *p.shape[1:])) for p in (u, w, b, slope))
    across = np.moveaxis(w, 0, -2) @ np.moveaxis(u, 0, -1)
    t = tanh_recurrence((w * z).sum(-1) + b, np.moveaxis(across, (-2, -1), (0, 1)))
    return z + (t[..., None] * u).sum(0), _log_det(t, slope).sum(0)


def _root(target: ndarray, slope: ndarray) -> ndarray:
    """a with a + (slope - 1) tanh a = target, in float64: Newton steps, or halves.

    tanh lies within ±1, so a is within |slope - 1| of the target.
    """
    dtype = np.result_type(target, slope)
    target, c = np.broadcast_arrays(np.float64(target), np.float64(slope) - 1)
    low, high = target - np.abs(c), target + np.abs(c)
    a = target / (1 + np.maximum(c, 0))
    for _ in range(200):
        t = np.tanh(a)
        miss = a + c * t - target
        low, high = np.where(miss < 0, a, low), np.where(miss > 0, a, high)
        newton = a - miss / (1 + c * (1 - t * t))
        inside = (newton >= low) & (newton <= high)
        following = np.where(miss == 0, a, np.where(inside, newton, low + (high - low) / 2))
        if np.all(np.abs(following - a) <= 1e-15 * np.abs(a)):
            break
        a = following
    return following.astype(dtype)
