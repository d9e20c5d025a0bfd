"""Planar flows: each pushes along one direction, by how far z lies along another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from numpy.typing import DTypeLike

from minigrad.nn import Dense, zeros
from minigrad.tensor import Tensor, untraced
from vae.flows.base import LEAST, Flow, dimensions, positive

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
        u, slope = self._constrained()
        t = np.tanh(self._along(z))
        squared = np.square(t)
        # 1 + wᵀû (1 - tanh²) as a sum of positive numbers
        return z + u * t[..., None], np.log(squared + slope * (1 - squared))

    def inverse(self, z: Any) -> Any:
        """z of z': one equation in a = wᵀz + b is solved, a + wᵀû tanh a = wᵀz' + b.

        To rounding; differentiable up to third order.
        """
        self._check(z)
        u, slope = self._constrained()
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

    def _constrained(self) -> tuple[Any, Any]:
        """û, and 1 + wᵀû > 0, which is the slope in the middle."""
        product = (self.w * self.u).sum(-1)
        slope = positive(product + SHIFT)
        lack = (slope - 1 - product) / (np.square(self.w).sum(-1) + TINY)
        return self.u + lack[..., None] * self.w, slope


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
