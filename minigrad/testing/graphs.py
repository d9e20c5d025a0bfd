"""Random expression graphs over the rule table: what must hold of every program, asked of many.

    from hypothesis import given
    from minigrad.testing import expressions

    @given(expressions())
    def test_gradients_are_right(f):
        mg.check_grads(f, f.args)

A graph is drawn as a list of recipes, each a function and a few numbers.  The numbers are read as
choices among what exists when the recipe's turn comes, so that Hypothesis may drop any recipe and
lower any number, and what is left is still a graph: failures shrink to the smallest.

Each node is computed while it is drawn, at the leaves and at points beside them.  A recipe whose
result is large, steep, bends much or lies near a kink is left out, so that finite differences can
judge the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy import ndarray

from minigrad.tensor import Primitive
from minigrad.testing.domains import ANY, Domain, Values
from minigrad.testing.expression import Expression, Node, Ref, references, replaced
from minigrad.testing.forms import FUNCTIONS, KINKED, Form, Unfit, clear, elementwise

BOUND = 20.0  # of values
SLOPE = 60.0  # of a value along a direction whose elements are 1 or -1
BEND = 200.0  # of its second derivative there
BESIDE = 0.01  # how far the points lie beside the leaves
LARGEST = 36  # elements of a value
NUMBERS = (1.0, -1.0, 0.5, 2.0, -0.75, 1.5, -0.25, -1.5, 0.75, 1.25)  # of constants


class Draft:
    """A graph in the making: what a form chooses from."""

    def __init__(self, leaves: Sequence[ndarray]):
        signs = np.random.default_rng(0)
        moves = [[signs.choice((-BESIDE, BESIDE), x.shape) for x in leaves] for _ in range(2)]
        self.points = [list(leaves)]  # the values at the leaves, then at pairs of points beside
        for move in moves:
            self.points += [[x + d for x, d in zip(leaves, move)],
                            [x - d for x, d in zip(leaves, move)]]
        self.count, self.nodes, self.numbers = len(leaves), [], iter(())

    def add(self, form: Form, function: Callable, numbers: Iterable[int]) -> None:
        """Follow a recipe; nothing is added where it is unfit."""
        self.numbers, before = iter(numbers), len(self.nodes)
        try:
            args, options = form(self)
            self.apply(function, *args, **options)
        except Unfit:
            del self.nodes[before:]
            for values in self.points:
                del values[self.count + before:]

    def one(self, options: Iterable) -> Any:
        """One of the options; they are in order from simple to complex."""
        options = list(options)
        if not options:
            raise Unfit
        return options[next(self.numbers, 0) % len(options)]

    def value(self, ref: Ref) -> ndarray:
        return self.points[0][ref.index]

    def array(self, fits: Callable[[ndarray], bool] = lambda x: True) -> Ref:
        """A value that fits; likely one that nothing uses, a leaf or else the latest."""
        used = self.used()
        fitting = [i for i, x in enumerate(self.points[0]) if fits(x)]
        fitting.sort(key=lambda i: (i in used, i >= self.count, -i))
        return Ref(self.one(fitting[:1] * len(fitting) + fitting))

    def used(self) -> set[int]:
        return {i for node in self.nodes for i in references(node.args)}

    def constant(self, *shape: int, values: Values = ANY) -> ndarray:
        start, low, high = next(self.numbers, 0), *self.one(clear(values))
        numbers = [NUMBERS[(start + i) % len(NUMBERS)] for i in range(math.prod(shape))]
        if not values.contain(numbers):
            numbers = [round((low + high) / 2 + (high - low) / 5 * n, 3) for n in numbers]
        return np.array(numbers).reshape(shape)

    def within(self, values: Values, ref: Ref) -> Ref:
        """`ref`, brought into the domain by middle + radius·sin where it is outside."""
        if values.contain(self.value(ref)):
            return ref
        low, high = self.one(clear(values))
        wave = self.apply(np.multiply, self.apply(np.sin, ref), round(0.45 * (high - low), 3))
        return self.apply(np.add, wave, round(0.5 * (low + high), 3))

    def apply(self, function: Callable, *args: Any, **options: Any) -> Ref:
        """Add a node, unless it is unfit."""
        node = Node(function, args, options)
        with np.errstate(all="ignore"):
            here, *beside = (np.asarray(node(values)) for values in self.points)
        if not 0 < here.size <= LARGEST or not all(
                np.all(np.abs(x) <= BOUND) for x in (here, *beside)):
            raise Unfit
        for right, left in zip(beside[::2], beside[1::2]):
            if np.max(np.abs(right - left)) > 2 * BESIDE * SLOPE or \
                    np.max(np.abs(right + left - 2 * here)) > BESIDE**2 * BEND:
                raise Unfit
        self.nodes.append(node)
        for values, x in zip(self.points, (here, *beside)):
            values.append(x)
        return Ref(len(self.points[0]) - 1)

    def finished(self) -> Expression:
        """The graph of what nothing uses; if that is several values, of all in one vector."""
        used, nodes = self.used(), list(self.nodes)
        ends = [Ref(i) for i in range(self.count, len(self.points[0])) if i not in used]
        if len(ends) > 1:
            nodes.append(Node(np.concatenate, (ends,), {"axis": None}))
        kept = [i for i in range(self.count) if i in used] or [self.count - 1]
        kept += range(self.count, self.count + len(nodes))
        new = {old: Ref(i) for i, old in enumerate(kept)}
        return Expression([self.points[0][i] for i in kept if i < self.count],
                          [Node(f, replaced(args, new), options) for f, args, options in nodes])


def expressions(functions: Iterable[Callable] | Mapping[Callable, Form | Domain] = FUNCTIONS, *,
                nodes: int = 8, leaves: int = 3, kinks: bool = True,
                ) -> st.SearchStrategy[Expression]:
    """Random functions of up to `leaves` arrays, made of calls of `functions`.

    functions: some of `FUNCTIONS`; any other is elementwise, on all numbers, unless it is given a
        `Domain`, or a form, as `{**FUNCTIONS, my_sum: reduction(), my_log: DOMAINS[np.log]}`.
    nodes: how many recipes are followed; of those that are unfit nothing is seen.
    kinks: also functions with kinks, such as relu and max, at a distance from these.
    """
    forms = {f: _form(f, functions[f] if isinstance(functions, Mapping) else None)
             for f in functions if kinks or f not in KINKED}
    if not forms:
        raise ValueError("expressions: there is no function to draw")
    kinds: dict[Any, list] = {}  # each of them as likely: what is not of FUNCTIONS is drawn often
    for f in forms:
        kinds.setdefault(_arity(f) if f in FUNCTIONS else "other", []).append(f)
    recipe = st.tuples(st.one_of([st.sampled_from(kind) for kind in kinds.values()]),
                       st.binary(min_size=6, max_size=6))
    recipes = st.tuples(*[st.none() | recipe | recipe | recipe] * nodes)

    @st.composite
    def graph(draw: st.DrawFn) -> Expression:
        sides = draw(SIDES)
        draft = Draft([_leaf(draw, sides) for _ in range(draw(st.integers(1, leaves)))])
        for function, numbers in filter(None, draw(recipes)):
            draft.add(forms[function], function, numbers)
        return draft.finished()
    return graph()


SIDES = st.tuples(*[st.integers(1, 3)] * 3)
AXES = st.tuples(st.integers(0, 3), st.integers(0, 9))


def _leaf(draw: st.DrawFn, sides: tuple[int, ...]) -> ndarray:
    """Multiples of 1/8, from -2 to 2, in some of the last axes of `sides`; one of these may be 1.

    So leaves broadcast with each other.
    """
    ndim, one = draw(AXES)
    shape = [1 if i == one else n for i, n in enumerate(sides[len(sides) - ndim:])]
    size = math.prod(shape)
    numbers = draw(st.binary(min_size=size, max_size=size))
    return np.reshape([(b % 33 + 1) // 2 * (-1) ** b / 8 for b in numbers], shape)


def _form(function: Callable, given: Form | Domain | None) -> Form:
    if given is None:
        given = FUNCTIONS.get(function) or Domain((ANY,) * max(_arity(function), 1))
    return elementwise(given) if isinstance(given, Domain) else given


def _arity(function: Callable) -> int:
    """Of a ufunc or a primitive; 0 of others."""
    return function.arity if isinstance(function, Primitive) else getattr(function, "nin", 0)
