"""Derivatives of sums, products, extremes, and of what is computed along an axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.define import composed, constant, rule
from minigrad.table import NoRule
from minigrad.tensor import Primitive, untraced


def kept(g: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """A reduction's result or cotangent with the reduced axes of `x` back, as axes of one."""
    if keepdims or axis is None:  # one number fits any shape
        return g
    if axis == -1:
        return g[..., None]
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    axes = {int(a) % x.ndim for a in axes} if x.ndim else set()
    return np.reshape(g, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def reduced(x: Any, axis: Any = None) -> int:
    """How many elements go into one element of the result."""
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    return math.prod(x.shape[a] for a in axes)


rule(np.sum, lambda g, y, a, axis=None, *, keepdims=False:
     np.broadcast_to(kept(g, a, axis, keepdims), a.shape))
rule(np.mean, lambda g, y, a, axis=None, *, keepdims=False:
     np.broadcast_to(kept(g, a, axis, keepdims) / reduced(a, axis), a.shape))
rule(np.prod, lambda g, y, a, axis=None, *, keepdims=False:
     kept(g, a, axis, keepdims) * _product_of_others(a, kept(y, a, axis, keepdims), axis))
rule(np.cumsum, lambda g, y, a, axis=None: np.reshape(_cumsum_back(g, axis), a.shape))
rule(np.sort, lambda g, y, a, axis=-1: _unsorted(g, a, axis))
for extreme in (np.max, np.amax, np.min, np.amin):
    rule(extreme, lambda g, y, a, axis=None, *, keepdims=False:
         kept(g, a, axis, keepdims) * _share_of_ties(a, kept(y, a, axis, keepdims), axis))
constant(np.argmax, np.argmin, np.argsort, np.all, np.any, np.count_nonzero, np.nonzero,
         np.searchsorted, np.flatnonzero, np.argwhere)

root = Primitive(  # of a sum of squares, whose slope at 0 we call 0 where calculus has none
    np.sqrt, lambda g, y, x: np.where(y > 0, g, 0) * 0.5 / np.where(y > 0, y, 1), name="root")


@composed(np.var)
def var(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    deviation = np.square(a - np.mean(a, axis, keepdims=True))
    return np.sum(deviation, axis, keepdims=keepdims) / (reduced(a, axis) - ddof)


@composed(np.std)
def std(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    return root(var(a, axis, ddof=ddof, keepdims=keepdims))


@composed(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Of vectors, or the Frobenius norm; sqrt(Σ x²) has gradient 0 at x = 0."""
    vector = isinstance(axis, int) or (axis is None and x.ndim == 1)
    if ord is None or (ord == 2 and vector) or (ord == "fro" and not vector):
        return root(np.sum(np.square(x), axis, keepdims=keepdims))
    if vector and ord in (1, np.inf, -np.inf):
        reduce = {1: np.sum, np.inf: np.max, -np.inf: np.min}[ord]
        return reduce(np.abs(x), axis, keepdims=keepdims)
    if vector and ord > 0:
        return np.sum(np.abs(x) ** ord, axis, keepdims=keepdims) ** (1 / ord)
    raise NoRule(f"np.linalg.norm(ord={ord!r}) of a matrix has no derivative rule; there is one "
                 "for the Frobenius norm and for norms of vectors (give axis=)")


def _product_of_others(a: Any, y: Any, axis: Any) -> Any:
    """∂ prod(a)/∂a[i], also where elements are 0: then each product of the others anew."""
    if np.all(a != 0):
        return y / a
    axes = range(a.ndim) if axis is None else np.atleast_1d(axis)
    axes = sorted(int(i) % a.ndim for i in axes)
    last = np.moveaxis(a, axes, range(-len(axes), 0))
    flat = np.reshape(last, (*last.shape[:a.ndim - len(axes)], -1))
    itself = np.eye(flat.shape[-1], dtype=bool)
    others = np.prod(np.where(itself, 1, np.expand_dims(flat, -2)), axis=-1)
    return np.moveaxis(np.reshape(others, last.shape), range(-len(axes), 0), axes)


def _cumsum_back(g: Any, axis: Any) -> Any:
    axis = 0 if axis is None else axis  # without an axis the result, hence g, is flat
    return np.flip(np.cumsum(np.flip(g, axis), axis), axis)


def _unsorted(g: Any, a: Any, axis: Any) -> Any:
    """Each cotangent back to the place that its element came from."""
    if axis is None:
        return np.reshape(_unsorted(g, np.ravel(a), -1), a.shape)
    order = np.argsort(untraced(a), axis, kind="stable")
    return np.take_along_axis(g, np.argsort(order, axis), axis)


def _share_of_ties(a: Any, y: Any, axis: Any) -> Any:
    """1 at the extreme, 1/n at each of n that tie."""
    ties = untraced(a) == untraced(y)
    return ties / np.sum(ties, axis, keepdims=True, dtype=a.dtype)
