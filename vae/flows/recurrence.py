"""Recurrences over the layers of a chain, as one operation each: t_k by those before it.

Layers are the first axis, K; the rest is batch.  g (K, K), the same for all of the batch, which is
then one axis, or (K, K, *batch), with axes of length 1 where it is the same.  Of g what lies below
the diagonal is read: g_kj with j < k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.define import with_vjp


def tanh_recurrence(a: Any, g: Any) -> Any:
    """t_k = tanh(a_k + Σ_{j<k} g_kj t_j); a (K, *batch) -> t (K, *batch)."""
    return _tanh(a, g, found={})


@with_vjp(lambda h, t, a, g, found: _a_slope(h, t, g, found),
          lambda h, t, a, g, found: _outer(_a_slope(h, t, g, found), t, g))
def _tanh(a: ndarray, g: ndarray, found: dict) -> ndarray:
    t = np.empty_like(a)
    for k in range(len(a)):
        np.tanh(a[k] + _sum(g[k, :k], t[:k]) if k else a[k], out=t[k])
    return t


def _a_slope(h: Any, t: Any, g: Any, found: dict) -> Any:
    """The cotangent of a for the cotangent h of t, which both rules need: found once for each h."""
    if found.get("of") is not h:
        found["of"], found["slope"] = h, _upwards(h, 1 - np.square(t), g)
    return found["slope"]


@with_vjp(lambda h, d, r, s, g: _upwards(h, s, g),
          lambda h, d, r, s, g: (h + _above(_upwards(h, s, g), g)) * (r + _below(d, g)),
          lambda h, d, r, s, g: _outer(_upwards(h, s, g), d, g))
def linear_recurrence(r: ndarray, s: ndarray, g: ndarray) -> ndarray:
    """d_k = s_k (r_k + Σ_{j<k} g_kj d_j); r, s and d (K, *batch)."""
    d = np.empty_like(r)
    for k in range(len(r)):
        np.multiply(s[k], r[k] + _sum(g[k, :k], d[:k]) if k else r[k], out=d[k])
    return d


def _upwards(r: Any, s: Any, g: Any) -> Any:
    """d_k = s_k (r_k + Σ_{j>k} g_jk d_j): from the last layer to the first."""
    turned = np.swapaxes(g, 0, 1)[::-1, ::-1]
    return linear_recurrence(r[::-1], s[::-1], turned)[::-1]


def _sum(g: ndarray, t: ndarray) -> ndarray:
    return g @ t if g.ndim == 1 else (g * t).sum(0)


def _below(d: Any, g: Any) -> Any:
    """Σ_{j<k} g_kj d_j."""
    g = _lower(g)
    return g @ d if g.ndim == 2 else (g * d).sum(1)


def _above(d: Any, g: Any) -> Any:
    """Σ_{j>k} g_jk d_j."""
    g = _lower(g)
    return g.T @ d if g.ndim == 2 else (g * d[:, None]).sum(0)


def _outer(d: Any, t: Any, g: Any) -> Any:
    """d_k t_j below the diagonal: the cotangent of g."""
    return _lower(d @ t.T if g.ndim == 2 else d[:, None] * t)


def _lower(g: Any) -> Any:
    one = np.tri(len(g), k=-1, dtype=g.dtype)
    return g * np.reshape(one, one.shape + (1,) * (g.ndim - 2))
