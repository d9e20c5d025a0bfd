"""How the arguments of a function are chosen, for `minigrad.testing.expressions`.

A form is handed the draft of a graph, and gives the positional and the named arguments of the next
call.  It chooses by `draft.one(options)`, among options in order from simple to complex, and raises
`Unfit` where nothing of the draft will do.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

import minigrad as mg
from minigrad.testing.domains import ANY, DOMAINS, Domain, Values
from minigrad.testing.expression import Ref

if TYPE_CHECKING:
    from minigrad.testing.graphs import Draft


class Unfit(Exception):
    """A call that is impossible here, or whose result no finite difference could judge."""


Form = Callable[["Draft"], tuple[tuple, dict]]


def elementwise(domain: Domain, *first: Any) -> Form:
    """Broadcastable arguments in the domain; all but one may be constants.  `first` go before."""
    def form(draft: Draft) -> tuple[tuple, dict]:
        variable = draft.one(range(len(domain.arguments)))
        args = {variable: draft.within(domain.arguments[variable], draft.array())}
        shape = draft.value(args[variable]).shape
        for k, values in enumerate(domain.arguments):
            if k != variable:
                args[k] = _operand(draft, values, shape)
        args = [args[k] for k in range(len(args))]
        if not domain.contains(*(draft.value(a) if isinstance(a, Ref) else a for a in args)):
            raise Unfit
        return (*first, *args), {}
    return form


def _operand(draft: Draft, values: Values, shape: tuple) -> Any:
    """What broadcasts with an array of that shape: another array, a constant array, a number."""
    kind = draft.one(("array", "array", "constant", "number"))
    if kind == "array":
        return draft.within(values, draft.array(lambda x: _broadcastable(x.shape, shape)))
    if kind == "number":
        return draft.constant(values=values).item()
    return draft.constant(*draft.one(shape[i:] for i in range(len(shape) + 1)), values=values)


def _broadcastable(*shapes: tuple) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def reduction(domain: Domain = DOMAINS[np.sum], *, several: bool = True, keepdims: bool = True,
              least: int = 1) -> Form:
    """An array and an axis, or `several`; the elements that meet are in the domain together."""
    def form(draft: Draft) -> tuple[tuple, dict]:
        x = draft.within(domain.arguments[0], draft.array())
        n = draft.value(x).ndim
        axes = [None, *range(n), *range(-n, 0), *(combinations(range(n), 2) if several else ())]
        axis = draft.one(axes)
        kept = {"keepdims": True} if keepdims and draft.one((False, True)) else {}
        lines = _lines(draft.value(x), axis)
        if lines.shape[1] < least or not all(map(domain.contains, lines)):
            raise Unfit
        return (x,), ({} if axis is None and several else {"axis": axis}) | kept
    return form


def _lines(x: ndarray, axis: Any) -> ndarray:
    """The elements that are reduced together, a row each."""
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    last = np.moveaxis(x, tuple(axes), tuple(range(-len(axes), 0)))
    return last.reshape(-1, math.prod(x.shape[a] for a in axes))


def unary(options: Callable[[ndarray], Iterable[tuple]], least: int = 0, most: int = 9) -> Form:
    """An array of `least` to `most` axes, and one of the tuples of other arguments."""
    def form(draft: Draft) -> tuple[tuple, dict]:
        x = draft.array(lambda a: least <= a.ndim <= most)
        return (x, *draft.one(options(draft.value(x)))), {}
    return form


def _shapes(x: ndarray) -> list[tuple]:
    """All with as many elements, up to three axes."""
    divisors = [n for n in range(1, x.size + 1) if x.size % n == 0]
    return [(-1,), *(s for n in range(4) for s in product(divisors, repeat=n)
                     if math.prod(s) == x.size)]


def _indices(n: int) -> list:
    """Of one axis: slices, positions, and lists of positions with repeats."""
    return [slice(None), 0, slice(None, None, -1), -1, slice(1, None), slice(None, None, 2),
            slice(-1, None, -2), [0, 0], [n - 1, 0, -1]]


def _index(draft: Draft) -> tuple[tuple, dict]:
    x = draft.array(lambda a: a.ndim > 0)
    shape, lists = draft.value(x).shape, []
    index = []
    for n in shape[:draft.one(range(1, len(shape) + 1))]:
        i = draft.one(_indices(n))
        if isinstance(i, list) and lists:  # several lists are read together
            i = (i * 3)[:len(lists[0])]
        lists += [i] if isinstance(i, list) else []
        index.append(i)
    extra = draft.one(((), (Ellipsis,), (None,), (Ellipsis, None)))
    return (x, tuple(index) + extra), {}


def _joined(draft: Draft) -> tuple[tuple, dict]:
    x = draft.array(lambda a: a.ndim > 0)
    shape = draft.value(x).shape
    axis = draft.one(range(len(shape)))
    rest = shape[:axis] + shape[axis + 1:]
    y = draft.array(lambda a: a.ndim == len(shape) and a.shape[:axis] + a.shape[axis + 1:] == rest)
    parts = [x, y, draft.constant(*shape)][:draft.one((2, 3, 1))]
    return (parts,), {"axis": draft.one((axis, axis - len(shape)))}


def _stacked(draft: Draft) -> tuple[tuple, dict]:
    x = draft.array()
    shape = draft.value(x).shape
    y = draft.array(lambda a: a.shape == shape)
    return ([x, y],), {"axis": draft.one(range(-1, len(shape) + 1))}


def _chosen(draft: Draft) -> tuple[tuple, dict]:
    """`where`, with a condition of the first argument's shape or of its last axes'."""
    x = draft.array()
    shape = draft.value(x).shape
    y = _operand(draft, ANY, shape)
    condition = draft.constant(*draft.one(shape[i:] for i in range(len(shape) + 1))) > 0
    return (condition, *draft.one(((x, y), (y, x)))), {}


def contraction(fits: Callable[[tuple, tuple], bool]) -> Form:
    """Two arrays whose shapes fit, the second perhaps a transpose or a constant."""
    values = Values(-4.0, 4.0)

    def form(draft: Draft) -> tuple[tuple, dict]:
        x = draft.within(values, draft.array(lambda a: a.ndim > 0))
        shape = draft.value(x).shape
        kind = draft.one(("array", "transposed", "constant"))
        if kind == "constant":
            y = draft.constant(*draft.one(s for s in ((shape[-1],), (shape[-1], 2), shape[::-1])
                                          if fits(shape, s)))
        elif kind == "array":
            y = draft.array(lambda a: a.ndim > 0 and fits(shape, a.shape))
        else:
            y = draft.array(lambda a: a.ndim > 1 and fits(
                shape, (*a.shape[:-2], a.shape[-1], a.shape[-2])))
            y = draft.apply(np.swapaxes, y, -1, -2)
        return (x, y), {}
    return form


def _matrices(x: tuple, y: tuple) -> bool:
    """Whether x @ y is possible."""
    return x[-1] == y[-2 if len(y) > 1 else 0] and _broadcastable(x[:-2], y[:-2])


def _einsum(draft: Draft) -> tuple[tuple, dict]:
    subscripts, n, m = draft.one((
        ("ij,jk->ik", 2, 2), ("i,i", 1, 1), ("ij,kj->ik", 2, 2), ("ij,ij->j", 2, 2),
        ("i,j->ij", 1, 1), ("ij,j", 2, 1), ("...i,i->...", 2, 1), ("ii->i", 2, 0), ("ij->ji", 2, 0),
        ("ii", 2, 0), ("ijk,kj->ki", 3, 2)))
    letters = subscripts.partition("->")[0].split(",")
    x = draft.array(lambda a: a.ndim == n and (letters[0] != "ii" or a.shape[0] == a.shape[1]))
    if not m:
        return (subscripts, x), {}
    sides = dict(zip(letters[0].replace("...", "h"), draft.value(x).shape))
    y = draft.array(lambda a: a.ndim == m and all(
        sides.get(c, k) == k for c, k in zip(letters[1], a.shape)))
    return (subscripts, x, y), {}


def clear(values: Values) -> list[tuple[float, float]]:
    """The intervals between the kinks, without their margins."""
    inner = [k for k in values.kinks if values.low < k < values.high]
    lows = [values.low, *(k + values.margin for k in inner)]
    highs = [*(k - values.margin for k in inner), values.high]
    return sorted(((a, b) for a, b in zip(lows, highs) if a < b), key=lambda i: i[0] - i[1])


# -- the functions --------------------------------------------------------------------------------
def _axes(x: ndarray) -> range:
    return range(-x.ndim, x.ndim)


def _axis(x: ndarray) -> list[tuple]:
    return [(a,) for a in _axes(x)]


def _axis_pairs(x: ndarray) -> list[tuple]:
    return list(product(_axes(x), repeat=2))


FUNCTIONS: dict[Callable, Form] = {
    **{f: elementwise(domain) for f, domain in DOMAINS.items()
       if isinstance(f, np.ufunc) and f is not np.matmul},
    **{f: elementwise(DOMAINS[f]) for f in (
        mg.relu, mg.leaky_relu, mg.elu, mg.gelu, mg.silu, mg.sigmoid, mg.softplus, mg.log_sigmoid,
        np.sinc, np.nan_to_num, np.copy, np.round, np.fix, np.clip)},
    **{f: elementwise(Domain((Values(-0.3, 0.3),))) for f in (np.rad2deg, np.degrees)},
    mg.polygamma: elementwise(DOMAINS[mg.polygamma], 1),
    np.where: _chosen,
    np.sum: reduction(), np.mean: reduction(), np.prod: reduction(DOMAINS[np.prod]),
    np.var: reduction(), mg.logsumexp: reduction(),
    np.cumsum: reduction(several=False, keepdims=False),
    **{f: reduction(DOMAINS[f]) for f in (np.max, np.min)},
    np.std: reduction(DOMAINS[np.std], least=2),
    np.sort: reduction(DOMAINS[np.sort], several=False, keepdims=False),
    **{f: unary(lambda x: [(), *_axis(x)], 1) for f in (mg.softmax, mg.log_softmax)},
    np.reshape: unary(lambda x: [(s,) for s in _shapes(x)]),
    np.ravel: unary(lambda x: [()]), np.squeeze: unary(lambda x: [()]),
    np.expand_dims: unary(lambda x: [(a,) for a in range(-x.ndim - 1, x.ndim + 1)]),
    np.transpose: unary(lambda x: [(), *((p,) for p in permutations(range(x.ndim)))]),
    np.swapaxes: unary(_axis_pairs, 1), np.moveaxis: unary(_axis_pairs, 1),
    np.flip: unary(lambda x: [(), *_axis(x)]),
    np.roll: unary(lambda x: [(1,), (-2,), *((1, a) for a in _axes(x))]),
    np.broadcast_to: unary(lambda x: [((2, *x.shape),), *(
        ((*x.shape[:i], 3, *x.shape[i + 1:]),) for i, n in enumerate(x.shape) if n == 1)]),
    np.tile: unary(lambda x: [(2,), ((2, 1),), ((1, 2),)]),
    np.repeat: unary(lambda x: [(2,), *((2, a) for a in _axes(x)),
                                *(([2, *[1] * (n - 1)], a) for a, n in enumerate(x.shape))]),
    np.pad: unary(lambda x: [(1,), (1, "edge"), ([[1, 0]] * x.ndim, "wrap")], 1),
    np.take: unary(lambda x: [([0, x.size - 1, 0],), *(
        ([n - 1, 0, 0], a) for a, n in enumerate(x.shape))], 1),
    operator.getitem: _index,
    np.diagonal: unary(lambda x: [(), (1,), (-1,), (0, -1, 0)], 2),
    np.trace: unary(lambda x: [()], 2), np.diag: unary(lambda x: [()], 1, 2),
    **{f: unary(lambda x: [(), (1,), (-1,)], 2) for f in (np.tril, np.triu)},
    np.concatenate: _joined, np.stack: _stacked,
    np.matmul: contraction(_matrices),
    np.outer: contraction(lambda x, y: True),
    np.inner: contraction(lambda x, y: x[-1] == y[-1]),
    np.einsum: _einsum,
}
"""Every function that `expressions` may apply -> how its arguments are chosen."""

KINKED = {f for f in FUNCTIONS if f in DOMAINS and (
    DOMAINS[f].relation or any(v.kinks for v in DOMAINS[f].arguments))} \
    - {np.reciprocal, np.divide, np.cbrt}  # those have poles
