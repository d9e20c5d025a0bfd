"""One table: for every function with a rule, calls that must have right values and derivatives.

`tests/minigrad/test_rules.py` asks of each case what docs/engine.md promises, and fails where a
function of the rule table is missing here.  A case is `(function of arrays, arrays)`; the arrays
keep away from kinks and from the edges of domains, unless the case is named for being there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special as sc

import minigrad as mg
from minigrad.tensor import Tensor

rng = np.random.default_rng(20)
CASES: dict[Callable, list[tuple[Callable, tuple]]] = {}


def add(function: Callable, *calls: tuple) -> None:
    CASES.setdefault(function, []).extend((call[0], call[1:]) for call in calls)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def between(low: float, high: float, *shape: int) -> np.ndarray:
    return rng.uniform(low, high, shape)


def apart(*shape: int) -> np.ndarray:
    """Distinct numbers at least 0.1 from each other and from 0: no kink of max, sort or abs near."""
    n = int(np.prod(shape))
    return (rng.permutation(np.r_[-n:0, 1:n + 1])[:n] * 0.3 + between(-.05, .05, n)).reshape(shape)


# -- elementwise, one argument: (function, low, high) ---------------------------------------------
for f, low, high in [
    (np.negative, -2, 2), (np.positive, -2, 2), (np.reciprocal, .5, 2), (np.square, -2, 2),
    (np.exp, -2, 2), (np.exp2, -2, 2), (np.expm1, -2, 2), (np.log, .3, 3), (np.log2, .3, 3),
    (np.log10, .3, 3), (np.log1p, -.5, 3), (np.sqrt, .3, 3), (np.cbrt, .3, 3), (np.sin, -3, 3),
    (np.cos, -3, 3), (np.tan, -1, 1), (np.arcsin, -.8, .8), (np.arccos, -.8, .8),
    (np.arctan, -3, 3), (np.sinh, -2, 2), (np.cosh, -2, 2), (np.tanh, -2, 2),
    (np.arcsinh, -3, 3), (np.arccosh, 1.5, 3), (np.arctanh, -.8, .8), (np.deg2rad, -9, 9),
    (np.radians, -9, 9), (np.rad2deg, -1, 1), (np.degrees, -1, 1), (np.absolute, .3, 2),
    (np.fabs, -2, -.3), (np.sign, .3, 2), (np.floor, .1, .9), (np.ceil, .1, .9),
    (np.trunc, 1.1, 1.9), (np.rint, .6, .9), (np.fix, 1.1, 1.9), (np.nan_to_num, -2, 2),
    (sc.expit, -3, 3), (sc.log_expit, -3, 3), (sc.logit, .2, .8), (sc.erf, -2, 2),
    (sc.erfc, -2, 2), (sc.erfcx, -1, 2), (sc.erfinv, -.8, .8), (sc.erfcinv, .3, 1.7),
    (sc.ndtr, -2, 2), (sc.ndtri, .2, .8), (sc.log_ndtr, -9, 3), (sc.gamma, .5, 3),
    (sc.gammaln, .5, 5), (sc.psi, .5, 5),
]:
    add(f, (f, between(low, high, 2, 3)), (f, between(low, high)), (f, between(low, high, 0, 3)))
add(np.sinc, (np.sinc, between(.2, 2, 4)), (np.sinc, np.array([0., 1e-3, -5e-3])))
add(np.round, (lambda x: np.round(x, 1), between(.31, .34, 3)))
add(np.copy, (np.copy, normal(3)))
add(np.absolute, (lambda x: abs(x), apart(2, 3)))
add(np.negative, (lambda x: -x, normal(3)))
add(np.positive, (lambda x: +x, normal(3)))

# -- elementwise, two arguments: (function, first, second) ----------------------------------------
for f, first, second in [
    (np.add, (-2, 2), (-2, 2)), (np.subtract, (-2, 2), (-2, 2)), (np.multiply, (-2, 2), (-2, 2)),
    (np.divide, (-2, 2), (.5, 2)), (np.remainder, (.1, .4), (.5, .9)), (np.fmod, (1.1, 1.4), (.8, 1.)),
    (np.floor_divide, (.1, .4), (.5, .9)), (np.power, (.5, 2), (-2, 2)), (np.hypot, (.5, 2), (.5, 2)),
    (np.arctan2, (-2, 2), (.5, 2)), (np.logaddexp, (-2, 2), (-2, 2)), (np.logaddexp2, (-2, 2), (-2, 2)),
    (np.maximum, (-2, 0), (.1, 2)), (np.minimum, (-2, 0), (.1, 2)), (np.fmax, (-2, 0), (.1, 2)),
    (np.fmin, (-2, 0), (.1, 2)), (np.heaviside, (.2, 2), (0, 1)),
    (sc.beta, (.5, 3), (.5, 3)), (sc.betaln, (.5, 3), (.5, 3)), (sc.xlogy, (.1, 2), (.3, 2)),
    (sc.xlog1py, (.1, 2), (-.5, 2)),
]:
    add(f, *((f, between(*first, *a), between(*second, *b)) for a, b in
             [((2, 3), (2, 3)), ((2, 3), (3,)), ((3, 1), (1, 4)), ((), (2,)), ((2, 1), ()), ((0, 3), (3,))]),
        (lambda x, f=f, y=between(*second, 2, 3): f(x, y), between(*first, 3)),
        (lambda y, f=f, x=between(*first, 2, 3): f(x, y), between(*second, 3)))
add(np.add, (lambda x, y: x + y + 1.0 + x, normal(3), normal(3)), (lambda x: 2 + x, normal(3)))
add(np.subtract, (lambda x, y: x - y - x, normal(3), normal(3)), (lambda x: 2 - x, normal(3)))
add(np.multiply, (lambda x, y: x * y * x, normal(2, 3), normal(3)), (lambda x: 2 * x, normal(3)))
add(np.divide, (lambda x, y: x / y / 2, normal(3), between(.5, 2, 3)), (lambda x: 2 / x, between(1, 2, 3)))
add(np.floor_divide, (lambda x: x // 2 + 7 // x, between(2.1, 2.9, 3)))
add(np.remainder, (lambda x: x % 2 + 7 % x, between(2.1, 2.9, 3)))
add(np.power, (lambda x: x**2 + x**3, normal(3)), (lambda x: x**0 + x**1, normal(3)),
    (lambda x: x**-1.5, between(.5, 2, 3)), (lambda x: 2**x, normal(3)),
    (lambda x: x ** np.array([0, 1, 2, 3]), np.array([0., 0., -1., -2.])),
    (lambda y: np.zeros(2) ** y, np.array([1., 2.5])))
add(np.where, (lambda x, y: np.where(np.arange(3) > 0, x, y), normal(2, 3), normal(3)),
    (lambda x: np.where(np.array([[True], [False]]), x, 0.0), normal(3)))
add(np.clip, (lambda a: np.clip(.5, -1., a), np.array([-2., .3, 2.])), (lambda x: np.clip(x, -.5, .5), np.array([-2., -.1, .3, 2.])),
    (lambda x: np.clip(x, None, .5), np.array([-2., -.1, .3, 2.])),
    (lambda x: x.clip(min=-.5), np.array([-2., -.1, .3, 2.])),
    (lambda x, a, b: np.clip(x, a, b), np.array([-2., -.1, .3, 2.]), np.array(-1.), np.array(1.)))

# -- reductions -----------------------------------------------------------------------------------
AXES = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}]
for f in (np.sum, np.mean, np.prod, np.max, np.amax, np.min, np.amin, np.var, np.std, mg.logsumexp):
    add(f, *((lambda x, f=f, o=o: f(x, **o), apart(2, 3, 2) * .5) for o in AXES),
        (f, apart(1)), (lambda x, f=f: f(x, axis=0), apart(1, 3)))
for f in (np.sum, np.mean, np.prod):
    add(f, (lambda x, f=f: f(x, axis=1), normal(0, 3)))
    add(f, (lambda x, f=f: f(x, 1), normal(2, 3)))
add(np.sum, (np.sum, np.array(2.)), (lambda x: x.sum(1) + x.sum(axis=-1), normal(2, 3)))
add(np.prod, (np.prod, np.array([2., 0., 3.])), (np.prod, np.array([0., 0., 3.])),
    (lambda x: np.prod(x, axis=1), np.array([[1., 0.], [2., 3.]])))
add(np.var, (lambda x: np.var(x, ddof=1), normal(4)), (lambda x: x.var(0), normal(4, 2)))
add(np.std, (lambda x: np.std(x, 0, ddof=1), normal(4, 2)))
add(np.cumsum, (np.cumsum, normal(2, 3)), (lambda x: np.cumsum(x, 1), normal(2, 3)),
    (lambda x: x.cumsum(axis=0), normal(2, 3)))
add(np.sort, (np.sort, apart(2, 3)), (lambda x: np.sort(x, axis=0), apart(3, 2)),
    (lambda x: np.sort(x, axis=None), apart(3, 2)))
add(np.linalg.norm, (np.linalg.norm, normal(3)), (np.linalg.norm, normal(2, 3)),
    (lambda x: np.linalg.norm(x, axis=1), normal(2, 3)), (lambda x: np.linalg.norm(x, 1, axis=-1), apart(2, 3)),
    (lambda x: np.linalg.norm(x, 3, axis=0), apart(2, 3)), (lambda x: np.linalg.norm(x, "fro"), normal(2, 3)),
    (lambda x: np.linalg.norm(x, np.inf), apart(4)), (lambda x: np.linalg.norm(x, axis=(0, 1), keepdims=True), normal(2, 3)))

# -- shapes ---------------------------------------------------------------------------------------
add(np.reshape, (lambda x: np.reshape(x, (3, -1)), normal(2, 3)), (lambda x: x.reshape(6), normal(2, 3)),
    (lambda x: x.reshape(3, 2), normal(2, 3)), (lambda x: np.reshape(x, (0, 5)), normal(0, 2)))
add(np.ravel, (np.ravel, normal(2, 3)), (lambda x: x.flatten(), normal(2, 3)))
add(np.squeeze, (np.squeeze, normal(1, 3, 1)), (lambda x: np.squeeze(x, 0), normal(1, 3, 1)))
add(np.expand_dims, (lambda x: np.expand_dims(x, (0, 2)), normal(2, 3)))
for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    add(f, (f, normal(3)), (f, np.array(2.)))
add(np.transpose, (np.transpose, normal(2, 3)), (lambda x: x.T, normal(2, 3, 4)),
    (lambda x: np.transpose(x, (2, 0, 1)), normal(2, 3, 4)), (lambda x: x.transpose(1, -1, 0), normal(2, 3, 4)))
add(np.swapaxes, (lambda x: np.swapaxes(x, 0, 2), normal(2, 3, 4)), (lambda x: x.mT, normal(2, 3)))
add(np.moveaxis, (lambda x: np.moveaxis(x, 0, -1), normal(2, 3, 4)),
    (lambda x: np.moveaxis(x, (0, 1), (2, 0)), normal(2, 3, 4)))
add(np.flip, (np.flip, normal(2, 3)), (lambda x: np.flip(x, 1), normal(2, 3)))
add(np.flipud, (np.flipud, normal(3, 2)))
add(np.fliplr, (np.fliplr, normal(2, 3)))
add(np.roll, (lambda x: np.roll(x, 2), normal(2, 3)), (lambda x: np.roll(x, -1, axis=1), normal(2, 3)),
    (lambda x: np.roll(x, (1, 2), axis=(0, 1)), normal(2, 3)))
add(np.broadcast_to, (lambda x: np.broadcast_to(x, (2, 4, 3)), normal(1, 3)),
    (lambda x: np.broadcast_to(x, (0, 3)), normal(3)))
add(np.tile, (lambda x: np.tile(x, 2), normal(2, 3)), (lambda x: np.tile(x, (2, 1, 3)), normal(2, 3)),
    (lambda x: np.tile(x, (3,)), np.array(2.)))
add(np.repeat, (lambda x: np.repeat(x, 2), normal(2, 3)), (lambda x: np.repeat(x, [1, 0, 2], axis=1), normal(2, 3)))
add(np.concatenate, (lambda x, y: np.concatenate([x, y]), normal(2, 3), normal(1, 3)),
    (lambda x, y: np.concatenate((x, y, x), axis=-1), normal(2, 3), normal(2, 1)),
    (lambda x, y: np.concatenate([x, y], axis=None), normal(2, 3), normal(2)),
    (lambda x: np.concatenate([np.ones(2), x, np.ones(1)]), normal(3)))
add(np.stack, (lambda x, y: np.stack([x, y, x], axis=1), normal(2, 3), normal(2, 3)))
add(np.vstack, (lambda x, y: np.vstack([x, y]), normal(3), normal(2, 3)))
add(np.hstack, (lambda x, y: np.hstack([x, y]), normal(3), normal(2)),
    (lambda x, y: np.hstack([x, y]), normal(2, 3), normal(2, 1)))
add(np.split, (lambda x: np.split(x, 3, axis=1), normal(2, 6)), (lambda x: np.split(x, [1, 4]), normal(5)))
add(np.array_split, (lambda x: np.array_split(x, 3), normal(7, 2)))
add(np.pad, (lambda x: np.pad(x, 1), normal(2, 3)), (lambda x: np.pad(x, ((0, 1), (2, 0)), constant_values=5.), normal(2, 3)),
    *((lambda x, m=m: np.pad(x, ((1, 1), (2, 0)), mode=m), normal(2, 3)) for m in ("edge", "reflect", "symmetric", "wrap")))
add(np.take, (lambda x: np.take(x, [0, 2, 2]), normal(2, 3)), (lambda x: np.take(x, [[1, 1]], axis=1), normal(2, 3)),
    (lambda x: x.take(np.array([-1]), axis=0), normal(2, 3)))
add(np.take_along_axis, (lambda x: np.take_along_axis(x, np.array([[0, 0], [2, 1]]), 1), normal(2, 3)))
add(np.diag, (np.diag, normal(3)), (lambda x: np.diag(x, -1), normal(2)), (lambda x: np.diag(x, 1), normal(3, 4)))
add(np.diagonal, (lambda x: np.diagonal(x, 1, 0, 2), normal(2, 3, 4)), (lambda x: np.diagonal(x, -1), normal(4, 2)))
add(np.trace, (np.trace, normal(3, 4)), (lambda x: x.trace(), normal(3, 3)))
add(np.tril, (np.tril, normal(3, 4)), (lambda x: np.tril(x, -1), normal(2, 3, 3)))
add(np.triu, (np.triu, normal(3, 4)), (lambda x: np.triu(x, 1), normal(3, 3)))
add(Tensor.astype, (lambda x: x.astype(x.dtype), normal(3)))
add(Tensor.__getitem__, (lambda x: x[1], normal(3)), (lambda x: x[1:, ::-2], normal(3, 4)),
    (lambda x: x[..., None, 0], normal(2, 3)), (lambda x: x[[0, 2, 2, 0]], normal(3, 2)),
    (lambda x: x[np.array([[0, 1], [1, 1]]), np.array([2, 0])], normal(2, 3)),
    (lambda x: x[np.array([True, False, True])], normal(3, 2)), (lambda x: x[:, [1, 1], None], normal(2, 3)),
    (lambda x: x[np.ones((2, 2), bool)], normal(2, 2)), (lambda x: x[np.zeros(0, int)], normal(3)),
    (lambda x: x[()], np.array(2.)), (lambda x: sum(x), normal(3, 2)), (lambda x: x[-1, -1], normal(2, 2)))
add(mg.index_put, (lambda x, v: mg.index_put(x, (slice(None), 1), v), normal(2, 3), normal(2)),
    (lambda x, v: mg.index_put(x, [0, 2], v), normal(3), np.array(2.)),
    (lambda x, v: mg.index_put(x, [1, 1, 0], v), normal(3), normal(3)),
    (lambda x, v: mg.index_put(x, np.array([True, False]), v), normal(2, 2), normal(2)))

# -- linear algebra -------------------------------------------------------------------------------
add(np.matmul, *((np.matmul, normal(*a), normal(*b)) for a, b in [
    ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
    ((1, 2, 3), (5, 3, 1)), ((2, 3), (5, 3, 2)), ((3,), (5, 3, 2)), ((5, 2, 3), (3,)), ((0, 3), (3, 2)), ((2, 0), (0, 3))]),
    (lambda x: x @ np.arange(6.).reshape(3, 2), normal(2, 3)), (lambda x: np.arange(6.).reshape(2, 3) @ x, normal(3, 2)))
add(np.dot, *((np.dot, normal(*a), normal(*b)) for a, b in
              [((2, 3), (3, 4)), ((3,), (3,)), ((), (2, 3)), ((2, 3), (3,)), ((2, 3), (4, 3, 2))]),
    (lambda x, y: x.dot(y), normal(2, 3), normal(3, 2)))
add(np.tensordot, (np.tensordot, normal(2, 3, 4), normal(3, 4, 2)),
    (lambda x, y: np.tensordot(x, y, axes=((0, 2), (1, 0))), normal(2, 3, 4), normal(4, 2)),
    (lambda x, y: np.tensordot(x, y, axes=0), normal(2), normal(3)))
add(np.outer, (np.outer, normal(2), normal(3)))
add(np.inner, (np.inner, normal(2, 3), normal(4, 3)), (np.inner, normal(3), normal(3)))
add(np.vdot, (np.vdot, normal(2, 3), normal(2, 3)))
for subscripts, *shapes in [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)),
    ("i,i", (3,), (3,)), ("i,j->ij", (2,), (3,)), ("bij,bjk->bik", (2, 3, 2), (2, 2, 3)), ("ij,j->i", (2, 3), (3,)),
    ("...i,...i->...", (2, 3), (3,)), ("...ij,...jk", (4, 2, 3), (3, 2)), ("ij,k->k", (2, 3), (2,)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 4)), ("iij,j->i", (2, 2, 3), (3,)), ("ij,ij->ij", (1, 3), (2, 3)), ("ij->i", (2, 3)),
]:
    add(np.einsum, (lambda *x, s=subscripts: np.einsum(s, *x), *(normal(*s) for s in shapes)))
WELL = normal(2, 3, 3) * .3 + 2 * np.eye(3)
add(np.linalg.inv, (np.linalg.inv, WELL), (np.linalg.inv, WELL[0]))
add(np.linalg.det, (np.linalg.det, WELL), (np.linalg.det, WELL[0]))
add(np.linalg.slogdet, (np.linalg.slogdet, WELL), (lambda a: np.linalg.slogdet(a)[1], -WELL[0]))
add(np.linalg.solve, (np.linalg.solve, WELL[0], normal(3)), (np.linalg.solve, WELL, normal(2, 3, 2)),
    (np.linalg.solve, WELL[0], normal(3, 1)))
add(np.linalg.cholesky, (lambda a: np.linalg.cholesky(a @ np.swapaxes(a, -1, -2)), WELL),
    (lambda a: np.linalg.cholesky(a + a.T), WELL[0]))

# -- what NumPy lacks -----------------------------------------------------------------------------
for f in (mg.relu, mg.leaky_relu, mg.elu, mg.gelu, mg.silu, mg.sigmoid, mg.softplus, mg.log_sigmoid):
    add(f, (f, apart(2, 3)), (f, np.array(.7)), (f, normal(0, 2)))
add(mg.leaky_relu, (lambda x: mg.leaky_relu(x, slope=.3), apart(3)))
add(mg.elu, (lambda x: mg.elu(x, 1.5), apart(3)))
for f in (mg.softmax, mg.log_softmax):
    add(f, (f, normal(2, 3)), (lambda x, f=f: f(x, axis=0), normal(3, 2)), (lambda x, f=f: f(x, axis=(0, 1)), normal(3, 2)))
add(mg.affine, (mg.affine, normal(2, 3), normal(3, 4), normal(4)), (mg.affine, normal(3), normal(3, 2), normal(2)),
    (mg.affine, normal(2, 5, 3), normal(3, 2), normal(2)), (mg.affine, normal(0, 3), normal(3, 2), normal(2)))
add(mg.polygamma, (lambda x: mg.polygamma(1, x), between(.5, 3, 3)), (lambda x: mg.polygamma(0, x), between(.5, 3, 3)),
    (lambda x: mg.polygamma(3, x), between(1, 3, 3)))
