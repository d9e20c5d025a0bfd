"""Strategies of calls, as in drawn.py, of products and decompositions, and of images."""

from __future__ import annotations

import math

import numpy as np

import minigrad as mg
from minigrad import testing as mt
from minigrad.rules.linalg import mT
from tests.minigrad.drawn import Draw, calls, of_one_array


# -- products -------------------------------------------------------------------------------------
@calls(np.matmul)
def _(d, f):
    (m, n, p), (first, second) = d.ints(3, 0, 3), d.shapes(2, most=2)
    return (d.array(d.one((*first, m, n), (n,))), d.array(d.one((*second, n, p), (n,)))), {}


@calls(np.dot)
def _(d, f):
    n, p = d.ints(2, 0, 3)
    first, second = (*d.shape(most=2), n), d.one((n,), (*d.shape(most=1), n, p))
    return d.one((d.array(first), d.array(second)), (d.array(()), d.array(second)),
                 (d.array(first), d.array(()))), {}


@calls(np.tensordot)
def _(d, f):
    summed, rest, other = d.shape(most=2), d.shape(most=2), d.shape(most=2)
    if d.one(True, False):
        return (d.array(rest + summed), d.array(summed + other)), {"axes": len(summed)}
    axes, shapes = [], []
    for free in (rest, other):
        order = [i % len(free + summed) for i in d.several(free + summed, 4)]
        shapes.append(tuple((free + summed)[i] for i in order))
        places = [order.index(len(free) + i) for i in range(len(summed))]
        axes.append([i - d.one(0, len(order)) for i in places])
    return tuple(map(d.array, shapes)), {"axes": axes}


@calls(np.outer)
def _(d, f):
    return (d.array(d.shape(most=2)), d.array(d.shape(most=2))), {}


@calls(np.inner)
def _(d, f):
    n = d.int(0, 3)
    first, second = (d.array((*d.shape(most=2), n)) for _ in range(2))
    return d.one((first, second), (d.array(()), second), (first, d.array(()))), {}


@calls(np.vdot)
def _(d, f):
    shape = d.shape()
    return (d.array(shape), d.array(d.one(shape, (math.prod(shape),), shape[::-1]))), {}


@calls(np.einsum)
def _(d, f):
    """Up to three operands, letters twice in one, axes of size 1 that are stretched, and "..."."""
    sizes = dict(zip("ijk", d.ints(3, 0, 3)))
    terms = ["".join(d.one(*"ijk") for _ in range(d.int(0, 3))) for _ in range(d.int(1, 3))]
    letters = sorted(set("".join(terms)))
    dots, batches = d.one("", "..."), d.shapes(len(terms), most=2)
    out = d.one(None, "".join(letters[i] for i in d.several(letters)))
    subscripts = ",".join(dots + term for term in terms)
    subscripts += "" if out is None else f"->{dots}{out}"
    arrays = []
    for term, batch in zip(terms, batches):
        own = {c: n if term.count(c) > 1 else d.one(n, n, n, 1) for c, n in sizes.items()}
        arrays.append(d.array((*(batch if dots else ()), *(own[c] for c in term))))
    return tuple(arrays), {"subscripts": subscripts}, (
        lambda *arrays, subscripts: np.einsum(subscripts, *arrays))


@calls(mg.affine)
def _(d, f):
    n, m = d.ints(2, 0, 3)
    return (d.array((*d.shape(most=2), n)), d.array((n, m), 1), d.array((m,), 2)), {}


# -- decompositions -------------------------------------------------------------------------------
def regular(d: Draw, n: int, batch: tuple) -> np.ndarray:
    """Matrices dominated by a diagonal of either sign: of a small condition number."""
    return d.numbers(*batch, n, n, low=-0.5, high=0.5) + 2 * np.diag(np.resize([1.0, -1.0], n))


@calls(np.linalg.inv, np.linalg.det)
def _(d, f):
    return (regular(d, d.int(1, 3), d.shape(most=2)),), {}


@calls(np.linalg.slogdet)
def _(d, f):
    return (regular(d, d.int(1, 3), d.shape(most=2)),), {}, lambda a: np.linalg.slogdet(a)[1]


@calls(np.linalg.solve)
def _(d, f):
    n, (first, second) = d.int(1, 3), d.shapes(2, most=2)
    b = d.one((n,), (*second, n, d.int(0, 3)))
    return (regular(d, n, first), d.array(b, 1)), {}


@calls(np.linalg.cholesky)
def _(d, f):
    """The rule is for changes of `a` that keep it symmetric."""
    a = d.draw(mt.spd(d.int(1, 3), d.shape(most=2)))
    return (a / 2,), {}, lambda a: np.linalg.cholesky(a + mT(a))


# -- images ---------------------------------------------------------------------------------------
@calls(mg.conv1d, mg.conv2d, mg.conv_transpose1d, mg.conv_transpose2d)
def _(d, f):
    g = d.draw(mt.geometries("transpose" in f.__name__, largest=4))
    shapes, options = [g.x, g.w], g.options
    if f in (mg.conv1d, mg.conv_transpose1d):  # a row of the images
        shapes = [(g.x[0], *g.x[2:]), g.w[1:]]
        options = {k: v[1] if isinstance(v, tuple) else v for k, v in options.items()}
    if d.one(True, False):
        return tuple(map(d.many, shapes)), options
    return tuple(map(d.many, (*shapes, g.y[-1:]))), options, (
        lambda x, w, bias, **options: f(x, w, bias=bias, **options))


@calls(mg.max_pool2d, mg.avg_pool2d)
def _(d, f):
    size = d.ints(2, 1, 3)
    shape = (d.int(0, 2), *(n + d.int(0, 1) for n in size), d.int(1, 2))
    return (d.array(shape),), {"size": size, "stride": d.one(None, 1, d.ints(2, 1, 2)),
                               "padding": d.one("valid", "same", tuple(n // 2 for n in size))}


of_one_array(mg.upsample2d, least=4, most=4, options=lambda d, shape: {
    "scale": d.one(2, d.ints(2, 1, 3)), "mode": d.one("nearest", "bilinear")})
