"""Where a wrong derivative is wrong, and how that is told."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from minigrad.differences import Slope
from minigrad.sketch import index
from minigrad.tree import paths

if TYPE_CHECKING:
    from minigrad.check import Derivative

FEW = 64  # elements of an argument that are tried one by one


def name_of(f: Callable) -> str:
    """Of a primitive, a function, an object; of a lambda also where it stands."""
    name = getattr(f, "name", None) or getattr(f, "__name__", None) or repr(f)
    if name == "<lambda>" and (code := getattr(getattr(f, "forward", f), "__code__", None)):
        return f"<lambda> ({Path(code.co_filename).name}:{code.co_firstlineno})"
    return str(name)


def arguments(f: Callable, args: tuple) -> list[str]:
    """A name for each array in `args`: x, or params['w'], or args[1]."""
    try:
        given = [p.name for p in inspect.signature(f).parameters.values()
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        given = []
    given += [f"args[{i}]" for i in range(len(given), len(args))]
    return [name + path for name, arg in zip(given, args) for path in paths(arg)]


def wrong(derivative: Derivative, mode: str, k: int, v: ndarray, i: int, found: ndarray,
          allowed: ndarray, d: Slope) -> str:
    """For entry i of the result, along `v` in argument `k`."""
    w = np.zeros(d.value.shape)
    w[i] = 1
    if d.kink[i]:
        told = (f"{found[i]:.9g} at a kink; the derivative from the left is {d.left[i]:.9g}, from "
                f"the right {d.right[i]:.9g}, and none near by is that")
    elif np.isnan(found[i]):
        told = f"no number, where f is finite, and its finite difference {d.value[i]:.9g}"
    else:
        told = (f"{found[i]:.9g}, finite difference {d.value[i]:.9g}, off by "
                f"{abs(found[i] - d.value[i]):.3g} where {allowed[i]:.3g} is allowed")
    reverse = float(np.sum(derivative.pulled(w)[k] * v))
    other = ("  reverse mode agrees with the finite difference: the vjp is not linear in the "
             "cotangent, or makes a constant of it\n"
             if mode.startswith("forward") and abs(reverse - d.value[i]) <= allowed[i] else "")
    return (f"{_title(derivative, k)}\n  {mode}, {derivative.numbers.name(i)} along "
            f"{_direction(derivative, v)}: {told}\n{other or _worst(derivative, k, v, w)}"
            f"{_accuracy(d, i)}")


def wrong_sum(derivative: Derivative, k: int, v: ndarray, w: ndarray, found: float,
              expected: float, allowed: float, d: Slope) -> str:
    """For the sum of all entries with the random cotangent `w`."""
    return (f"{_title(derivative, k)}\n  reverse mode, ⟨vjp(w), v⟩ for a random cotangent w and "
            f"{_direction(derivative, v)} v: {found:.9g}, finite difference {expected:.9g}, off by "
            f"{abs(found - expected):.3g} where {allowed:.3g} is allowed\n"
            f"{_worst(derivative, k, v, w)}{_accuracy(d, int(np.argmax(d.error)))}")


def vague(derivative: Derivative, mode: str, k: int, i: int, found: ndarray, d: Slope) -> str:
    """For an entry whose finite difference is too inaccurate."""
    said = derivative.refusal and f"\n  near by the function raises: {derivative.refusal}"
    return (f"{_title(derivative, k, 'can’t be judged')}\n  {mode}, {derivative.numbers.name(i)}: "
            f"{found[i]:.9g}, finite difference {d.value[i]:.9g} ± {8 * d.error[i]:.2g}\n"
            "  there may be kinks or the edge of a domain near by, an infinite slope, float32 "
            "within the function, or much rounding: move the arguments, subtract what is large and "
            f'constant, or try method="complex", order=1{said}')


def _title(derivative: Derivative, k: int, verdict: str = "is wrong") -> str:
    return (f"derivative {derivative.level} of {derivative.report.name} by {derivative.names[k]}, "
            f"shape {derivative.leaves[k].shape}, {verdict}")


def _direction(derivative: Derivative, v: ndarray) -> str:
    return "a coordinate" if derivative.options.full else "a random direction"


def _accuracy(d: Slope, i: int) -> str:
    return (f"  step {d.step[i]:.1e} of the direction, accuracy of the finite difference "
            f"{d.error[i]:.1e}")


def _worst(derivative: Derivative, k: int, v: ndarray, w: ndarray) -> str:
    """The element of argument `k` that has most of the error, for the cotangent `w`."""
    gradient = derivative.pulled(w)[k].ravel()
    places, size, h = np.arange(v.size), np.abs(v).max(), 1e-4

    def difference(part: ndarray, along: ndarray) -> float:
        direction = np.zeros(v.size)
        direction[part] = along
        line = derivative.line(k, direction.reshape(v.shape))
        return float(w @ (line(h) - line(-h))) / (2 * h) if w.size else 0.0

    while len(places) > FEW:  # halve; the half with the larger error keeps
        halves = np.array_split(places, 2)
        off = [abs(gradient[p] @ v.flat[p] - difference(p, v.flat[p])) for p in halves]
        places = halves[int(np.nan_to_num(off[1], nan=np.inf) > np.nan_to_num(off[0], nan=np.inf))]
    slopes = np.array([difference(np.array([j]), np.array([size])) / size for j in places])
    off = np.nan_to_num(np.abs(gradient[places] - slopes), nan=np.inf)
    j = int(np.argmax(off))
    if off[j] == 0:
        return ""
    name = derivative.names[k] + index(derivative.leaves[k].shape, int(places[j]))
    return (f"  most of it by {name}: {gradient[places[j]]:.9g}, finite difference "
            f"{slopes[j]:.9g}\n")

