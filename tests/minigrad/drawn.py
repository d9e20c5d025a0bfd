"""For every function with a rule a strategy that draws calls of it: `CALLS[function]`.

Shapes have axes of size 1 and 0, values lie in the function's domain, away from kinks, and options
are drawn as well.  Here are elementwise functions, reductions and shapes; drawn_products.py has
those of matrices and images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy import ndarray

import minigrad as mg
from minigrad import testing as mt
from minigrad.tensor import Tensor
from minigrad.testing.domains import DOMAINS


class Call(NamedTuple):
    """`f(*args, **options)`, a function of `args`, arrays."""

    f: Callable
    args: tuple
    options: dict[str, Any]

    def __call__(self, *args: Any) -> Any:
        return self.f(*args, **self.options)


class Draw:
    """Draws what one function takes."""

    def __init__(self, draw: Callable, function: Callable):
        self.draw, self.domain = draw, DOMAINS[function]

    def one(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def int(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def ints(self, n: int, low: int, high: int) -> tuple:
        return tuple(self.int(low, high) for _ in range(n))

    def shape(self, least: int = 0, most: int = 3, full: bool = False) -> tuple:
        return self.draw(mt.shapes(min_dims=least, max_dims=most, min_side=int(full), max_side=3))

    def shapes(self, n: int, most: int = 3) -> tuple:
        return self.draw(mt.broadcastable(n, max_dims=most, max_side=3))

    def axis(self, shape: tuple, more: int = 0) -> int:
        n = len(shape) + more
        return self.int(-n, n - 1)

    def several(self, shape: tuple, least: int = 0) -> tuple:
        """Different axes, counted from either end, in any order."""
        order = self.draw(st.permutations(range(len(shape))))
        n = self.int(min(least, len(shape)), len(shape))
        return tuple(i - len(shape) * self.int(0, 1) for i in order[:n])

    def axes(self, shape: tuple) -> Any:
        return self.one(None, self.axis(shape), self.several(shape)) if shape else None

    def numbers(self, *shape: int, low: float = -1, high: float = 1) -> ndarray:
        return self.draw(mt.arrays(shape, low=low, high=high))

    def whole(self, shape: tuple, low: int, high: int) -> ndarray:
        return self.draw(hnp.arrays(int, shape, elements=st.integers(low, high)))

    def many(self, shape: tuple) -> ndarray:
        """More numbers than Hypothesis likes to draw one by one."""
        return np.random.default_rng(self.int(0, 99)).uniform(-2, 2, shape)

    def arrays(self) -> tuple:
        """All arguments, of shapes that broadcast."""
        return tuple(map(self.array, self.shapes(len(self.domain.arguments)), count()))

    def array(self, shape: tuple, k: int = 0) -> ndarray:
        """The k-th argument."""
        v, relation, margin = self.domain.arguments[k], self.domain.relation, self.domain.margin
        if relation == "multiples":  # x/y is ½, ¼ or ⅛ more than a whole number, or less
            if k == 0:
                return np.round(self.numbers(*shape, low=-4, high=4)) + 0.25
            return 2.0 ** np.round(self.numbers(*shape)) * self.one(1, -1)
        if relation == "ties":  # the arguments lie on two grids
            low = v.low + (0.25 if k else 0)
            return low + 0.5 * np.floor((self.numbers(*shape, low=low, high=v.high) - low) * 2)
        if relation == "moduli":
            x = self.draw(mt.arrays(shape, low=v.margin, high=v.high, apart=margin))
            return np.copysign(x, self.numbers(*shape))
        apart = margin if relation == "apart" else None
        return self.draw(mt.arrays(shape, low=v.low, high=v.high, away_from=v.kinks,
                                   margin=v.margin, apart=apart))


CALLS: dict[Callable, st.SearchStrategy[Call]] = {}


def calls(*functions: Callable) -> Callable:
    """Decorator: the function below draws args and options, and what is called if not `f`."""
    def enter(body: Callable) -> Callable:
        @st.composite
        def call(draw: Callable, f: Callable) -> Call:
            args, options, *called = body(Draw(draw, f), f)
            return Call(called[0] if called else f, args, options)
        CALLS.update((f, call(f)) for f in functions)
        return body
    return enter


def of_one_array(*functions: Callable, options: Callable = lambda d, shape: {},
                 **limits: Any) -> None:
    """Functions of an array of any shape within the limits, and options that go by its shape."""
    @calls(*functions)
    def _(d: Draw, f: Callable) -> tuple:
        shape = d.shape(**limits)
        return (d.array(shape),), options(d, shape)


# -- elementwise ----------------------------------------------------------------------------------
@calls(*(f for f in DOMAINS if isinstance(f, np.ufunc)), mg.relu, mg.sigmoid, mg.softplus,
       mg.log_sigmoid, mg.silu, mg.gelu, np.copy, np.nan_to_num, np.sinc, np.fix)
def _(d, f):
    """Of two arguments one may be a constant: a number of Python's or NumPy's."""
    args = d.arrays()
    k = d.one(None, *(k for k, a in enumerate(args) if len(args) == 2 and a.ndim == 0))
    if k is None:
        return args, {}
    constant = d.one(float, np.float64, np.array)(args[k])
    return (args[1 - k],), {"constant": constant}, (
        (lambda x, constant: f(x, constant)) if k else (lambda y, constant: f(constant, y)))


@calls(np.power)
def _(d, f):
    if d.one(True, False):
        x, y = d.arrays()
        return (x, d.one(y, np.round(y))), {}
    shape, other = d.shapes(2)
    powers = d.one(d.whole(other, 0, 3), d.int(0, 3), float(d.int(0, 3)))
    return (d.numbers(*shape, low=-2, high=2),), {"powers": powers}, lambda x, powers: x ** powers


@calls(np.round)
def _(d, f):
    decimals = d.int(-1, 1)
    return (d.array(d.shape()) / 10.0**decimals,), {"decimals": decimals}


@calls(np.where)
def _(d, f):
    first, second, third = d.shapes(3)
    return (d.array(second), d.array(third)), {"condition": d.numbers(*first) > 0}, (
        lambda x, y, condition: np.where(condition, x, y))


@calls(np.clip)
def _(d, f):
    x, low, high = d.arrays()
    return d.one(((x, low, high), {}), ((x,), {"a_min": None, "a_max": 1.25}),
                 ((x, low), {"a_max": None}), ((x,), {"min": -1.25}, lambda x, min: x.clip(min)))


@calls(mg.polygamma)
def _(d, f):
    return (d.array(d.shape()),), {"n": d.int(0, 3)}, lambda x, n: mg.polygamma(n, x)


@calls(Tensor.astype)
def _(d, f):
    return (d.array(d.shape()),), {}, lambda x: x.astype(x.dtype)


of_one_array(mg.leaky_relu, options=lambda d, shape: {"slope": d.one(.01, .3, -.5, 0, 2)})
of_one_array(mg.elu, options=lambda d, shape: {"alpha": d.one(1, .3)})


# -- reductions -----------------------------------------------------------------------------------
@calls(np.sum, np.mean, np.prod, np.max, np.amax, np.min, np.amin, np.var, np.std, mg.logsumexp)
def _(d, f):
    shape = d.shape(full=True)
    options = {"axis": d.axes(shape), "keepdims": d.one(False, True)}
    axes = range(len(shape)) if options["axis"] is None else np.atleast_1d(options["axis"])
    reduced = {int(i) % len(shape) for i in axes}
    if f in (np.var, np.std):
        options["ddof"] = d.int(0, int(math.prod(shape[i] for i in reduced) > 1))
    if d.int(0, 4) == 4:  # no elements; only a sum and a product are defined of none
        empty = range(len(shape)) if f in (np.sum, np.prod) else {*range(len(shape))} - reduced
        shape = tuple(0 if i in empty else n for i, n in enumerate(shape))
    x = d.array(shape)
    return (np.where(abs(x) < 1, 0, x) if f is np.prod and d.one(False, True) else x,), options


@calls(np.linalg.norm)
def _(d, f):
    shape = d.shape(full=True)
    ways = [(None, None)]
    if shape:
        ways.append((d.one(None, 1, 2, 3, 1.5, np.inf, -np.inf), d.axis(shape)))
    if len(shape) > 1:
        ways.append((d.one(None, "fro"), d.several(shape, 2)[:2]))
    order, axis = d.one(*ways)
    return (d.array(shape),), {"ord": order, "axis": axis, "keepdims": d.one(False, True)}


of_one_array(np.cumsum, np.sort, least=1,
             options=lambda d, shape: {"axis": d.one(None, d.axis(shape))})
of_one_array(mg.softmax, mg.log_softmax, least=1, full=True,
             options=lambda d, shape: {"axis": d.one(d.axis(shape), d.several(shape, 1))})

# -- shapes ---------------------------------------------------------------------------------------
of_one_array(np.ravel, np.atleast_1d, np.atleast_2d, np.atleast_3d)
of_one_array(np.flipud, np.fliplr, least=2)
of_one_array(np.transpose, options=lambda d, shape: {"axes": d.one(None, d.several(shape, 3))})
of_one_array(np.swapaxes, least=1, options=lambda d, shape: {
    "axis1": d.axis(shape), "axis2": d.axis(shape)})
of_one_array(np.flip, options=lambda d, shape: {"axis": d.axes(shape)})
of_one_array(np.tile, options=lambda d, shape: {
    "reps": d.one(d.int(0, 3), d.ints(d.int(0, 4), 0, 3))})
of_one_array(np.tril, np.triu, least=2, options=lambda d, shape: {"k": d.int(-4, 4)})
of_one_array(np.diag, least=1, most=2, options=lambda d, shape: {"k": d.int(-3, 3)})
of_one_array(np.diagonal, np.trace, least=2, options=lambda d, shape: dict(
    zip(("axis1", "axis2"), d.several(shape, 2)), offset=d.int(-4, 4)))


@calls(np.reshape)
def _(d, f):
    shape = d.shape()
    size = math.prod(shape)
    other = d.one(size, shape[::-1], (*shape, 1), (1, -1) if size else shape)
    return (d.array(shape),), {"shape": other}, lambda x, shape: np.reshape(x, shape)


@calls(np.squeeze)
def _(d, f):
    shape = d.shape()
    ones = tuple(i - len(shape) * d.int(0, 1) for i, n in enumerate(shape) if n == 1)
    return (d.array(shape),), {"axis": d.one(None, ones, *ones)}


@calls(np.expand_dims)
def _(d, f):
    shape = d.shape()
    return (d.array(shape),), {"axis": d.one(d.axis(shape, 1), d.several((*shape, 1, 1), 2)[:2])}


@calls(np.moveaxis)
def _(d, f):
    shape = d.shape(1)
    n = d.int(1, len(shape))
    pairs = d.several(shape, 3)[:n], d.several(shape, 3)[:n]
    source, destination = pairs if d.one(True, False) else (axes[0] for axes in pairs)
    return (d.array(shape),), {"source": source, "destination": destination}


@calls(np.roll)
def _(d, f):
    shape = d.shape()
    axes = d.several(shape, 1) or None
    return (d.array(shape),), d.one(
        {"shift": d.int(-4, 4), "axis": d.axes(shape)},
        {"shift": d.ints(len(axes), -4, 4) if axes else 1, "axis": axes})


@calls(np.broadcast_to)
def _(d, f):
    shapes = d.shapes(2)
    return (d.array(shapes[0]),), {"shape": np.broadcast_shapes(*shapes)}


@calls(np.repeat)
def _(d, f):
    shape = d.shape()
    axis = d.one(None, d.axis(shape)) if shape else None
    n = math.prod(shape) if axis is None else shape[axis]
    return (d.array(shape),), {"repeats": d.one(d.int(0, 3), d.ints(n, 0, 3)), "axis": axis}


@calls(np.pad)
def _(d, f):
    mode = d.one("constant", "edge", "reflect", "symmetric", "wrap")
    shape = d.shape(full=mode != "constant")
    width = d.one(d.int(0, 4), d.ints(2, 0, 4), [d.ints(2, 0, 4) for _ in shape])
    constant = {"constant_values": d.one(0, 2.5)} if mode == "constant" else {}
    return (d.array(shape),), {"pad_width": width if shape else 1, "mode": mode, **constant}


# -- joining, cutting, indexing -------------------------------------------------------------------
@calls(np.concatenate, np.stack, np.vstack, np.hstack)
def _(d, f):
    shape = d.shape(1)
    axis = {np.vstack: 0, np.hstack: min(1, len(shape) - 1), np.stack: d.axis(shape, 1)}.get(
        f, d.axis(shape))
    options = {"axis": d.one(axis, None) if f is np.concatenate else axis}
    lengths = [d.int(0, 3) for _ in range(d.int(1, 3))]
    if f is np.stack or (f is np.vstack and len(shape) == 1):
        shapes = [shape] * len(lengths)
    else:
        axis %= len(shape)
        shapes = [(*shape[:axis], n, *shape[axis + 1:]) for n in lengths]
    return tuple(map(d.array, shapes)), options if f in (np.concatenate, np.stack) else {}, (
        lambda *arrays, **options: f(arrays, **options))


@calls(np.split, np.array_split)
def _(d, f):
    shape = d.shape(1)
    axis = d.axis(shape)
    equal = [n for n in (1, 2, 3) if shape[axis] % n == 0 or f is np.array_split]
    parts = d.one(d.one(*equal), list(d.ints(d.int(0, 3), -3, 4)))
    return (d.array(shape),), {"indices_or_sections": parts, "axis": axis}


@calls(np.take)
def _(d, f):
    shape = d.shape(1, full=True)
    axis = d.one(None, d.axis(shape))
    n = math.prod(shape) if axis is None else shape[axis]
    return (d.array(shape),), {"indices": d.whole(d.shape(most=2), -n, n - 1), "axis": axis}


@calls(np.take_along_axis)
def _(d, f):
    """Other axes than that are broadcast."""
    shape = d.shape(1, full=True)
    axis = d.axis(shape)
    of = [d.one(1, n) if n > 1 else d.int(1, 2) for n in shape]
    of[axis] = d.int(0, 3)
    x, n = d.array(shape), shape[axis]
    return (x,), d.one({"indices": d.whole(of, -n, n - 1), "axis": axis},
                       {"indices": d.whole((2,), -x.size, x.size - 1), "axis": None})


@calls(Tensor.__getitem__)
def _(d, f):
    shape = d.shape()
    return (d.array(shape),), {"index": d.draw(mt.indices(shape))}, lambda x, index: x[index]


@calls(mg.index_put)
def _(d, f):
    shape = d.shape()
    index = d.draw(mt.indices(shape))
    place = np.empty(shape)[index].shape
    values = d.one(place, (), tuple(d.one(1, n) for n in place))
    return (d.array(shape), d.array(values)), {"index": index}, (
        lambda x, values, index: mg.index_put(x, index, values))
