"""A naive twin of the engine: one node a number, loops, and derivatives from a table of its own.

It is slow, short, and shares no rule with minigrad.  An array is an array of `Number`s; functions
that only move elements are NumPy's own, applied to it.  `value_and_gradient` is the oracle.
"""

from __future__ import annotations

import math
import operator
from itertools import count

import numpy as np
import scipy.special as sc

import minigrad as mg
from minigrad.testing.expression import Ref

tick = count().__next__


class Number:
    """A value, and of each number that it was computed from the partial derivative."""

    def __init__(self, value, parents=()):
        self.value, self.parents, self.order = float(value), parents, tick()

    def __add__(self, other):
        return Number(self.value + other.value, [(self, 1), (other, 1)])

    def __mul__(self, other):
        return Number(self.value * other.value, [(self, other.value), (other, self.value)])


def value_and_gradient(f, args, weights):
    """The value of an `Expression`, and the gradient of Σ weights·value by each argument."""
    leaves = [numbers(a) for a in args]
    values = list(leaves)
    for node in f.nodes:
        values.append(evaluated(node, values))
    result = values[-1]
    slope = {}
    for y, w in zip(result.flat, np.ravel(weights)):
        slope[y] = slope.get(y, 0.0) + w
    below, waiting = set(slope), list(slope)
    while waiting:
        for x, _ in waiting.pop().parents:
            if x not in below:
                below.add(x)
                waiting.append(x)
    for y in sorted(below, key=lambda y: -y.order):  # the youngest first: all its users are done
        for x, derivative in y.parents:
            slope[x] = slope.get(x, 0.0) + slope.get(y, 0.0) * derivative
    return floats(result, lambda y: y.value), [floats(a, lambda x: slope.get(x, 0.0))
                                               for a in leaves]


def numbers(array):
    """Constants and leaves; what is a Number already stays."""
    array = np.asarray(array)
    out = np.empty(array.shape, object)
    for i in np.ndindex(array.shape):
        out[i] = array[i] if isinstance(array[i], Number) else Number(array[i])
    return out


def floats(array, of):
    return np.array([of(x) for x in array.flat]).reshape(array.shape)


def evaluated(node, values):
    args = [given(a, values) for a in node.args]
    if node.function in ELEMENTWISE:
        rules = ELEMENTWISE[node.function]
        args = np.broadcast_arrays(*map(numbers, args), subok=True)
        return each(lambda *xs: applied(rules, *xs), *args)
    if node.function in REDUCTIONS:
        return reduced(REDUCTIONS[node.function], *args, **node.options)
    if node.function in LOOPS:
        return LOOPS[node.function](*args, **node.options)
    assert node.function in MOVES
    return numbers(node.function(*args, **node.options))


def given(arg, values):
    """An argument of a call: of a Ref, or a list of them, the values."""
    if isinstance(arg, Ref):
        return values[arg.index]
    if isinstance(arg, list) and any(isinstance(a, (Ref, np.ndarray)) for a in arg):
        return [numbers(given(a, values)) for a in arg]
    return arg


def each(function, *arrays):
    out = np.empty(arrays[0].shape, object)
    for i in np.ndindex(out.shape):
        out[i] = function(*(a[i] for a in arrays))
    return out


def applied(rules, *xs):
    """(f, ∂f/∂x, …) at numbers."""
    f, *slopes = rules
    at = [x.value for x in xs]
    return Number(f(*at), [(x, slope(*at)) for x, slope in zip(xs, slopes)])


def reduced(function, x, axis=None, keepdims=False):
    """`function` of the list of elements that each element of the result is made of."""
    axes = {a % x.ndim for a in (range(x.ndim) if axis is None else np.atleast_1d(axis))}
    out = np.empty([1 if i in axes else n for i, n in enumerate(x.shape)], object)
    for place in np.ndindex(out.shape):
        lines = tuple(slice(None) if i in axes else p for i, p in enumerate(place))
        out[place] = function(list(np.ravel(x[lines]) if axes else [x[lines]]))
    return out if keepdims else np.squeeze(out, tuple(axes))


def total(xs):
    return Number(sum(x.value for x in xs), [(x, 1) for x in xs])


def mean(xs):
    return total(xs) * Number(1 / len(xs))


def var(xs):
    minus = mean(xs) * Number(-1)
    return mean([(x + minus) * (x + minus) for x in xs])


def root(x):
    return applied((math.sqrt, lambda x: 0.5 / math.sqrt(x)), x)


def prod(xs):
    others = [math.prod(y.value for j, y in enumerate(xs) if j != i) for i in range(len(xs))]
    return Number(xs[0].value * others[0], list(zip(xs, others)))


def shares(xs):
    whole = sum(math.exp(x.value) for x in xs)
    return [math.exp(x.value) / whole for x in xs]


def logsumexp(xs):
    return Number(math.log(sum(math.exp(x.value) for x in xs)), list(zip(xs, shares(xs))))


def softmax(x, axis=-1):
    def line(xs):
        p = shares(xs)
        return [Number(p[i], [(x, p[i] * ((i == j) - p[j])) for j, x in enumerate(xs)])
                for i in range(len(xs))]
    return along(line, x, axis)


def log_softmax(x, axis=-1):
    def line(xs):
        p = shares(xs)
        return [Number(math.log(p[i]), [(x, (i == j) - p[j]) for j, x in enumerate(xs)])
                for i in range(len(xs))]
    return along(line, x, axis)


def cumsum(x, axis=None):
    return along(lambda xs: [total(xs[:i + 1]) for i in range(len(xs))], x, axis)


def sort(x, axis=-1):
    return along(lambda xs: sorted(xs, key=lambda x: x.value), x, axis)


def along(function, x, axis):
    """`function` of each line of `x`, a list, to a list."""
    if axis is None:
        x, axis = np.ravel(x), 0
    out = np.empty(x.shape, object)
    for place in np.ndindex(*(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape))):
        line = tuple(slice(None) if i == axis % x.ndim else p for i, p in enumerate(place))
        for i, y in enumerate(function(list(x[line]))):
            out[(*line[:axis % x.ndim], i, *line[axis % x.ndim + 1:])] = y
    return out


def einsum(subscripts, *operands):
    """Σ over all values of all letters, written out."""
    left, _, out = subscripts.partition("->")
    terms, operands = left.split(","), [numbers(x) for x in operands]
    dots = "ABCDEFG"[:max(x.ndim - len(t.replace("...", "")) for t, x in zip(terms, operands))]
    terms = [t.replace("...", dots) for t in terms]
    letters = "".join(terms)
    out = out.replace("...", dots) if "->" in subscripts else "".join(
        sorted(c for c in letters if letters.count(c) == 1))
    sides = {c: n for t, x in zip(terms, operands) for c, n in zip(t, x.shape)}
    parts = {}
    for place in np.ndindex(*sides.values()):
        at = dict(zip(sides, place))
        y = Number(1)
        for t, x in zip(terms, operands):
            y = y * x[tuple(at[c] for c in t)]
        parts.setdefault(tuple(at[c] for c in out), []).append(y)
    result = np.empty([sides[c] for c in out], object)
    for place, ys in parts.items():
        result[place] = total(ys)
    return result


def matmul(x, y):
    """As einsum, the batches broadcast before."""
    x, y = numbers(x), numbers(y)
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    front = "abcdefg"[:len(batch)]
    x, y = (np.broadcast_to(a, (*batch, *a.shape[-2:])) if a.ndim > 1 else a for a in (x, y))
    left, right = ("z" if x.ndim == 1 else front + "yz"), ("z" if y.ndim == 1 else front + "zw")
    out = (front if max(x.ndim, y.ndim) > 1 else "") + "y" * (x.ndim > 1) + "w" * (y.ndim > 1)
    return einsum(f"{left},{right}->{out}", x, y)


def inner(x, y):
    x, y = numbers(x), numbers(y)
    left, right = "abcdef"[:x.ndim - 1], "ghijkl"[:y.ndim - 1]
    return einsum(f"{left}z,{right}z->{left}{right}", x, y)


def outer(x, y):
    return einsum("a,b->ab", np.ravel(numbers(x)), np.ravel(numbers(y)))


def trace(x):
    return reduced(total, np.diagonal(x), axis=-1)


REDUCTIONS = {
    np.sum: total, np.mean: mean, np.prod: prod, np.var: var, np.std: lambda xs: root(var(xs)),
    np.max: lambda xs: max(xs, key=lambda x: x.value),
    np.min: lambda xs: min(xs, key=lambda x: x.value), mg.logsumexp: logsumexp,
}
LOOPS = {
    mg.softmax: softmax, mg.log_softmax: log_softmax, np.cumsum: cumsum, np.sort: sort,
    np.matmul: matmul, np.inner: inner, np.outer: outer, np.einsum: einsum, np.trace: trace,
    np.where: lambda c, x, y: np.where(c, numbers(x), numbers(y)),
}
MOVES = {
    np.reshape, np.ravel, np.squeeze, np.expand_dims, np.transpose, np.swapaxes, np.moveaxis,
    np.flip, np.roll, np.broadcast_to, np.tile, np.repeat, np.pad, np.take, operator.getitem,
    np.diagonal, np.diag, np.tril, np.triu, np.concatenate, np.stack, np.copy,
}

# -- elementwise: the function, then its partial derivatives --------------------------------------
PI2 = math.sqrt(2 * math.pi)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def ndtr(x):
    return math.erfc(-x / math.sqrt(2)) / 2


def bell(x):
    return math.exp(-x * x / 2) / PI2


def sinc(x):
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def flat(*at):
    return 0.0


ELEMENTWISE = {
    np.negative: (lambda x: -x, lambda x: -1),
    np.positive: (lambda x: x, lambda x: 1),
    np.nan_to_num: (lambda x: x, lambda x: 1),
    np.reciprocal: (lambda x: 1 / x, lambda x: -1 / x**2),
    np.square: (lambda x: x**2, lambda x: 2 * x),
    np.sqrt: (math.sqrt, lambda x: 0.5 * x**-0.5),
    np.cbrt: (lambda x: math.copysign(abs(x) ** (1 / 3), x), lambda x: abs(x) ** (-2 / 3) / 3),
    np.exp: (math.exp, math.exp),
    np.exp2: (lambda x: 2**x, lambda x: 2**x * math.log(2)),
    np.expm1: (math.expm1, math.exp),
    np.log: (math.log, lambda x: 1 / x),
    np.log2: (math.log2, lambda x: 1 / x / math.log(2)),
    np.log10: (math.log10, lambda x: 1 / x / math.log(10)),
    np.log1p: (math.log1p, lambda x: 1 / (1 + x)),
    np.sin: (math.sin, math.cos),
    np.cos: (math.cos, lambda x: -math.sin(x)),
    np.tan: (math.tan, lambda x: math.cos(x) ** -2),
    np.arcsin: (math.asin, lambda x: (1 - x * x) ** -0.5),
    np.arccos: (math.acos, lambda x: -((1 - x * x) ** -0.5)),
    np.arctan: (math.atan, lambda x: math.cos(math.atan(x)) ** 2),
    np.sinh: (math.sinh, math.cosh),
    np.cosh: (math.cosh, math.sinh),
    np.tanh: (math.tanh, lambda x: math.cosh(x) ** -2),
    np.arcsinh: (math.asinh, lambda x: (x * x + 1) ** -0.5),
    np.arccosh: (math.acosh, lambda x: (x * x - 1) ** -0.5),
    np.arctanh: (math.atanh, lambda x: 1 / (1 - x * x)),
    np.sinc: (sinc, lambda x: (math.cos(math.pi * x) - sinc(x)) / x if x else 0.0),
    np.deg2rad: (math.radians, lambda x: math.pi / 180),
    np.radians: (math.radians, lambda x: math.pi / 180),
    np.rad2deg: (math.degrees, lambda x: 180 / math.pi),
    np.degrees: (math.degrees, lambda x: 180 / math.pi),
    np.absolute: (abs, lambda x: math.copysign(1, x)),
    np.fabs: (abs, lambda x: math.copysign(1, x)),
    **{f: (f, flat) for f in (np.sign, np.floor, np.ceil, np.trunc, np.rint, np.round, np.fix)},
    **{f: (f, flat, flat) for f in (np.floor_divide, np.heaviside)},
    np.add: (operator.add, lambda x, y: 1, lambda x, y: 1),
    np.subtract: (operator.sub, lambda x, y: 1, lambda x, y: -1),
    np.multiply: (operator.mul, lambda x, y: y, lambda x, y: x),
    np.divide: (operator.truediv, lambda x, y: 1 / y, lambda x, y: -x / y**2),
    np.remainder: (operator.mod, lambda x, y: 1, lambda x, y: -math.floor(x / y)),
    np.fmod: (math.fmod, lambda x, y: 1, lambda x, y: -math.trunc(x / y)),
    np.power: (operator.pow, lambda x, y: y * x ** (y - 1), lambda x, y: x**y * math.log(x)),
    np.hypot: (math.hypot, lambda x, y: x / math.hypot(x, y), lambda x, y: y / math.hypot(x, y)),
    np.arctan2: (math.atan2, lambda y, x: x / math.hypot(x, y) ** 2,
                 lambda y, x: -y / math.hypot(x, y) ** 2),
    np.logaddexp: (lambda x, y: math.log(math.exp(x) + math.exp(y)),
                   lambda x, y: sigmoid(x - y), lambda x, y: sigmoid(y - x)),
    np.logaddexp2: (lambda x, y: math.log2(2**x + 2**y),
                    lambda x, y: 1 / (1 + 2 ** (y - x)), lambda x, y: 1 / (1 + 2 ** (x - y))),
    **{f: (max, lambda x, y: float(x > y), lambda x, y: float(y > x))
       for f in (np.maximum, np.fmax)},
    **{f: (min, lambda x, y: float(x < y), lambda x, y: float(y < x))
       for f in (np.minimum, np.fmin)},
    np.clip: (lambda x, a, b: min(max(x, a), b), lambda x, a, b: float(a < x < b),
              lambda x, a, b: float(x < a), lambda x, a, b: float(x > b)),
    mg.relu: (lambda x: max(x, 0), lambda x: float(x > 0)),
    mg.leaky_relu: (lambda x: max(x, 0.01 * x), lambda x: 1 if x > 0 else 0.01),
    mg.elu: (lambda x: max(x, 0) + math.expm1(min(x, 0)), lambda x: math.exp(min(x, 0))),
    mg.sigmoid: (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    mg.softplus: (lambda x: math.log(1 + math.exp(x)), sigmoid),
    mg.log_sigmoid: (lambda x: -math.log(1 + math.exp(-x)), lambda x: sigmoid(-x)),
    mg.silu: (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    mg.gelu: (lambda x: x * ndtr(x), lambda x: ndtr(x) + x * bell(x)),
    sc.expit: (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    sc.log_expit: (lambda x: -math.log(1 + math.exp(-x)), lambda x: sigmoid(-x)),
    sc.logit: (lambda x: math.log(x / (1 - x)), lambda x: 1 / x + 1 / (1 - x)),
    sc.erf: (math.erf, lambda x: 2 / math.sqrt(math.pi) * math.exp(-x * x)),
    sc.erfc: (math.erfc, lambda x: -2 / math.sqrt(math.pi) * math.exp(-x * x)),
    sc.ndtr: (ndtr, bell),
    sc.log_ndtr: (lambda x: math.log(ndtr(x)), lambda x: bell(x) / ndtr(x)),
    sc.xlogy: (lambda x, y: x * math.log(y), lambda x, y: math.log(y), lambda x, y: x / y),
    sc.xlog1py: (lambda x, y: x * math.log(1 + y),
                 lambda x, y: math.log(1 + y), lambda x, y: x / (1 + y)),
}
KNOWN = {*ELEMENTWISE, *REDUCTIONS, *LOOPS, *MOVES}
