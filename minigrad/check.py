"""Is a derivative right?  Derivatives against finite differences, in random directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.transforms import jvp, vjp
from minigrad.tree import flatten, tree_map


class GradientError(AssertionError):
    """A derivative that disagrees with its finite difference; the text says by how much."""


def check_grads(f: Callable, args: tuple, order: int = 2, *, rtol: float = 1e-6,
                directions: int = 2, rng: np.random.Generator | None = None) -> None:
    """Raise `GradientError` unless the derivatives of `f` at `args` are right, up to `order`.

    For a random direction v of the arguments and a random cotangent w of the result, three numbers
    must agree: ⟨vjp(w), v⟩, ⟨w, jvp(v)⟩ and ⟨w, D⟩, with D the central difference of f along v,
    extrapolated by Richardson to an error of O(h⁴).  Random, because with w all ones a softmax
    whose vjp is wrong by a factor of two passes.  Order 2 asks the same of the function vjp(w).

    f: arrays, or containers of them, to arrays.  args: a tuple; float32 is computed in float64.
    rtol: allowed error relative to Σ|w·D|, never an absolute one: a derivative of 1e-8 counts.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    name = getattr(f, "name", None) or getattr(f, "__name__", repr(f))
    args = tree_map(lambda a: np.array(a, np.float64), tuple(args))
    _check(f, args, order, 1, name, rtol, directions, rng)


def _check(f: Callable, args: tuple, order: int, level: int, name: str, rtol: float,
           directions: int, rng: np.random.Generator) -> None:
    out, pullback = vjp(f, *args)
    for _ in range(directions):
        v = tree_map(lambda a: rng.standard_normal(a.shape) * _scale(a), args)
        w = tree_map(lambda y: rng.standard_normal(np.shape(y)), out)
        difference, rounding = _central_difference(f, args, v, out)
        found = {
            "vjp": _inner(pullback(w), v),
            "jvp": _inner(w, jvp(f, args, v)[1]),
        }
        expected = _inner(w, difference)
        size = sum(np.sum(np.abs(a * b)) for a, b in zip(flatten(w)[0], flatten(difference)[0]))
        allowed = rtol * size + rounding * sum(np.sum(np.abs(a)) for a in flatten(w)[0])
        for kind, value in found.items():
            if not abs(value - expected) <= allowed:  # also where one of them is NaN
                raise GradientError(
                    f"derivative {level} of {name}, {kind} in a random direction: {value:.12g}, "
                    f"finite difference: {expected:.12g}, off by {abs(value - expected):.3g} "
                    f"where {allowed:.3g} is allowed; arguments of shapes "
                    f"{[a.shape for a in flatten(args)[0]]}")
    if order > 1:
        w = tree_map(lambda y: rng.standard_normal(np.shape(y)), out)
        _check(lambda *xs: vjp(f, *xs)[1](w), args, order - 1, level + 1, name, rtol, directions,
               rng)


def _central_difference(f: Callable, args: tuple, v: tuple, out: Any,
                        h: float = 1e-3) -> tuple[Any, float]:
    """D f along v, and the rounding error that an element of it may carry."""
    def at(step: float) -> list:
        moved = tree_map(lambda a, d: a + step * d, args, v)
        return [np.asarray(y, np.float64) for y in flatten(f(*moved))[0]]

    values = {step: at(step) for step in (h, -h, h / 2, -h / 2)}
    wide = [(a - b) / (2 * h) for a, b in zip(values[h], values[-h])]
    near = [(a - b) / h for a, b in zip(values[h / 2], values[-h / 2])]
    largest = max((np.max(np.abs(y), initial=0.0) for y in values[h]), default=0.0)
    rounding = 8 * np.finfo(np.float64).eps * largest / h
    return flatten(out)[1]([(4 * n - w) / 3 for n, w in zip(near, wide)]), rounding


def _scale(a: np.ndarray) -> float:
    """Directions are as large as the argument, but never larger than 1."""
    size = np.sqrt(np.mean(a * a)) if a.size else 0.0
    return min(size, 1.0) if size > 0 else 1.0


def _inner(a: Any, b: Any) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(flatten(a)[0], flatten(b)[0], strict=True)))
