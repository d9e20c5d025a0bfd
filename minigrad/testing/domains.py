"""Where the functions of the rule table are smooth, and finite differences can judge them.

`DOMAINS[function].contains(*arrays)` is true where `function` and its first two derivatives are
well conditioned: no kink, pole or end of the domain lies within reach of a small step.  It says
nothing of shapes; functions that are not elementwise have these in words, in `takes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from minigrad.functions import (
    affine,
    elu,
    gelu,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    logsumexp,
    polygamma,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
)
from minigrad.pooling import avg_pool2d, max_pool2d, upsample2d
from minigrad.rules.shaping import index_put
from minigrad.rules.special import sc
from minigrad.tensor import Tensor


class Values(NamedTuple):
    """Numbers from `low` to `high`, at least `margin` from each kink or pole in `kinks`."""

    low: float = -5.0
    high: float = 5.0
    kinks: tuple[float, ...] = ()
    margin: float = 0.1

    def contain(self, x: Any) -> bool:
        x = np.asarray(x)
        clear = all(np.all(np.abs(x - kink) >= self.margin) for kink in self.kinks)
        return clear and bool(np.all((x >= self.low) & (x <= self.high)))


class Domain(NamedTuple):
    """Of each argument with a derivative its `Values`; what must hold between them; the rest.

    relation, between numbers that meet in an element of the result:
        "ties": no two arguments are closer to each other than `margin`;
        "multiples": the quotient of the two is no closer to a whole number than `margin`;
        "apart": no two elements of the one argument are closer to each other than `margin`;
        "moduli": the same of their absolute values.
    takes: arguments of a function that is not elementwise, in words.
    """

    arguments: tuple[Values, ...]
    relation: str = ""
    margin: float = 0.1
    takes: str = ""

    def contains(self, *arrays: Any) -> bool:
        """Whether the arguments, broadcast, are inside."""
        return (all(v.contain(x) for v, x in zip(self.arguments, arrays, strict=True))
                and bool(np.all(self._distance(*map(np.asarray, arrays)) >= self.margin)))

    def _distance(self, *arrays: ndarray) -> Any:
        """How far the arguments are from breaking the relation."""
        if self.relation == "ties":
            return np.min([np.min(np.abs(x - y), initial=np.inf) for i, x in enumerate(arrays)
                           for y in arrays[:i]])
        if self.relation == "multiples":
            quotient = arrays[0] / arrays[1]
            return np.abs(quotient - np.rint(quotient))
        if self.relation in ("apart", "moduli"):
            x = np.abs(arrays[0]) if self.relation == "moduli" else arrays[0]
            return np.diff(np.sort(x, axis=None))
        return np.inf


def _of(low: float, high: float, *kinks: float, margin: float = 0.1) -> Values:
    return Values(low, high, kinks, margin)


ANY = Values()
NEAR = Values(-2.0, 2.0)
WHOLE = tuple(map(float, range(-5, 6)))
HALVES = tuple(k + 0.5 for k in range(-5, 5))
NOT_ZERO = _of(-5, 5, 0)
NO_POLE = _of(-5, 5, 0, margin=0.3)  # 1/x: a step of 0.005 must be small beside the distance

DOMAINS: dict[Callable, Domain] = {}
"""Function of the rule table, or of minigrad -> its domain; those without a slope are not here."""


def _enter(*functions: Callable, values: tuple[Values, ...] = (ANY,), **about: Any) -> None:
    DOMAINS.update((f, Domain(values, **about)) for f in functions)


# -- elementwise, one argument --------------------------------------------------------------------
_enter(np.negative, np.positive, np.square, np.copy, np.nan_to_num, np.sin, np.cos, np.arctan,
       np.arcsinh, np.exp, np.exp2, np.expm1, np.sinh, np.cosh, np.tanh, np.sinc, np.rad2deg,
       np.degrees, Tensor.astype, sc.expit, sc.log_expit, sigmoid, softplus, log_sigmoid,
       silu, gelu)
_enter(np.deg2rad, np.radians, values=(_of(-180, 180),))
_enter(np.reciprocal, np.cbrt, values=(NO_POLE,))
_enter(np.log, np.log2, np.log10, np.sqrt, values=(_of(0.2, 10),))
_enter(np.log1p, values=(_of(-0.8, 10),))
_enter(np.tan, values=(_of(-1.2, 1.2),))
_enter(np.arcsin, np.arccos, np.arctanh, sc.erfinv, values=(_of(-0.8, 0.8),))
_enter(np.arccosh, values=(_of(1.2, 10),))
_enter(np.absolute, np.fabs, np.sign, relu, leaky_relu, elu, values=(NOT_ZERO,))
_enter(np.floor, np.ceil, np.trunc, np.fix, values=(Values(-5, 5, WHOLE),))
_enter(np.rint, np.round, values=(Values(-5, 5, HALVES),))
_enter(sc.logit, sc.ndtri, values=(_of(0.15, 0.85),))
_enter(sc.erf, sc.erfc, values=(_of(-2.5, 2.5),))
_enter(sc.erfcx, values=(_of(-1.5, 5),))
_enter(sc.erfcinv, values=(_of(0.2, 1.8),))
_enter(sc.ndtr, values=(_of(-3, 3),))
_enter(sc.log_ndtr, values=(_of(-9, 3),))
_enter(sc.gamma, values=(_of(0.4, 4),))
_enter(sc.gammaln, sc.psi, values=(_of(0.4, 9),))
_enter(polygamma, values=(_of(0.5, 9),), takes="an order n ≥ 0, and x")

# -- elementwise, two arguments and three ---------------------------------------------------------
_enter(np.add, np.subtract, np.multiply, np.logaddexp, np.logaddexp2, values=(ANY, ANY))
_enter(np.where, values=(ANY, ANY), takes="a condition, and x and y")
_enter(np.divide, values=(ANY, NO_POLE))
_enter(np.remainder, np.fmod, np.floor_divide, values=(ANY, _of(-3, 3, 0, margin=0.5)),
       relation="multiples")
_enter(np.power, values=(_of(0.3, 3), _of(-3, 3)))
_enter(np.hypot, values=(NO_POLE, ANY))
_enter(np.arctan2, values=(ANY, _of(0.3, 5)))
_enter(np.maximum, np.fmax, np.minimum, np.fmin, values=(ANY, ANY), relation="ties")
_enter(np.clip, values=(ANY, _of(-3, -1), _of(1, 3)), relation="ties")
_enter(np.heaviside, values=(NOT_ZERO, ANY))
_enter(sc.beta, values=(_of(0.4, 4), _of(0.4, 4)))
_enter(sc.betaln, values=(_of(0.4, 6), _of(0.4, 6)))
_enter(sc.xlogy, values=(ANY, _of(0.3, 5)))
_enter(sc.xlog1py, values=(ANY, _of(-0.7, 5)))

# -- reductions -----------------------------------------------------------------------------------
_enter(np.sum, np.mean, np.var, np.cumsum, logsumexp, softmax, log_softmax)
_enter(np.prod, values=(NEAR,))
_enter(np.max, np.amax, np.min, np.amin, np.sort, np.std, relation="apart")
_enter(np.linalg.norm, values=(NOT_ZERO,), relation="moduli",
       takes="a vector; a matrix for the Frobenius norm")

# -- shapes: linear, so that any number is as good as another -------------------------------------
_enter(np.reshape, np.ravel, np.squeeze, np.expand_dims, np.atleast_1d, np.atleast_2d,
       np.atleast_3d, np.transpose, np.flip, np.roll, np.broadcast_to, np.tile, np.repeat, np.pad,
       np.take, np.take_along_axis, np.split, np.array_split, Tensor.__getitem__)
_enter(np.swapaxes, np.moveaxis, np.flipud, takes="an axis or more")
_enter(np.fliplr, np.diagonal, np.trace, takes="two axes or more")
_enter(np.diag, takes="a vector or a matrix")
_enter(np.tril, np.triu, takes="matrices")
_enter(np.concatenate, np.stack, np.vstack, np.hstack, values=(ANY, ANY),
       takes="arrays, any number of them, of shapes that fit")
_enter(index_put, values=(ANY, ANY), takes="x, an index of x, and values for x[index]")

# -- products and decompositions of matrices ------------------------------------------------------
_enter(np.matmul, np.dot, np.tensordot, np.inner, values=(NEAR, NEAR),
       takes="arrays whose summed axes are equally long")
_enter(np.outer, values=(NEAR, NEAR), takes="vectors")
_enter(np.vdot, values=(NEAR, NEAR), takes="arrays of as many elements")
_enter(np.einsum, values=(NEAR, NEAR), takes="subscripts, and an array a term")
_enter(np.linalg.inv, np.linalg.det, np.linalg.slogdet,
       takes="square matrices of small condition number")
_enter(np.linalg.solve, values=(ANY, NEAR),
       takes="square matrices of small condition number, and a vector or matrices")
_enter(np.linalg.cholesky, takes="symmetric positive definite matrices of small condition number; "
       "the derivative is along symmetric directions")
_enter(affine, values=(NEAR, NEAR, NEAR), takes="x (…, n), w (n, m), b (m,)")

# -- images and sequences -------------------------------------------------------------------------
_enter(conv1d, conv_transpose1d, values=(NEAR, NEAR), takes="x (N, L, C) and a kernel")
_enter(conv2d, conv_transpose2d, values=(NEAR, NEAR), takes="x (N, H, W, C) and a kernel")
_enter(max_pool2d, relation="apart", takes="x (N, H, W, C)")
_enter(avg_pool2d, upsample2d, takes="x (N, H, W, C)")
