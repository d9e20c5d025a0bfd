"""Numerical derivatives along a line, each with an estimate of its own error.

`f(t)` is a flat float64 array, the results of a function on a line through the point t = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy import ndarray

EPS = float(np.finfo(np.float64).eps)
STEPS = tuple(0.03 / 16**k for k in range(8))
RATIO = 0.6  # of h to the next; by powers of two rounding would be the same at each, and unseen
TIMES = (1.0, RATIO, RATIO**2, -1.0, -RATIO, -(RATIO**2))


class Slope(NamedTuple):
    """f'(0), an array an entry, and what is known of it.

    value: from both sides; `error` is how far off it may be, by truncation and rounding.
    left, right: from one side; `spread` is how far off those may be.
    kink: the two differ by far more than their errors.  jump: f itself does, at 0 or very near.
    """

    value: ndarray
    error: ndarray
    step: ndarray
    left: ndarray
    right: ndarray
    spread: ndarray
    kink: ndarray
    jump: ndarray


def slope(f: Callable[[float], ndarray], rtol: float, steps: Iterable[float] = STEPS,
          parts: Iterable[slice] = (slice(None),)) -> Slope:
    """Central differences at three steps, 1 : 0.6 : 0.36, twice extrapolated (Richardson): O(h⁶).

    The first step is taken where that is accurate enough for `rtol`, or has a kink in its middle;
    otherwise others are tried too, and each entry has the step that is best for it.  An entry's
    errors are not below the lower quartile of its part: among many, some look exact by chance.
    """
    start, best, narrow, moves = f(0.0), None, None, False
    for h in steps:
        narrow = _differences(f, start, h)
        narrow = narrow._replace(error=at_least_usual(narrow.error, parts),
                                 spread=at_least_usual(narrow.spread, parts))
        narrow = narrow._replace(kink=np.abs(narrow.right - narrow.left) > 10 * narrow.spread)
        still = (narrow.value == 0) & (narrow.left == 0) & (narrow.right == 0)
        narrow.error[still & moves] = np.inf  # results rounded to coarse steps, and no slope of 0
        moves |= (np.abs(narrow.value) > 8 * narrow.error) & ~narrow.kink
        best = narrow if best is None else _better(best, narrow)
        enough = 0.05 * rtol * at_least_usual(np.abs(best.value), parts)
        good = best.error <= np.maximum(enough, 2 * _noise(start, h))
        if np.all(good | (best.kink & (best.spread <= 1e-4 * np.abs(best.right - best.left)))):
            break
    return best._replace(jump=narrow.jump & ~(best.error <= 1e-3 * np.abs(best.value)))


def at_least_usual(x: ndarray, parts: Iterable[slice]) -> ndarray:
    """Each entry, but none below the lower quartile of its part."""
    x = x.copy()
    for part in parts:
        if x[part].size:
            np.maximum(x[part], np.quantile(x[part], 0.25, method="lower"), out=x[part])
    return x


def by_complex_step(f: Callable[[complex], ndarray], h: float = 1e-100) -> Slope:
    """Im f(ih)/h: without cancellation, for functions that are analytic (Squire and Trapp 1998)."""
    y = f(1j * h)
    if y.dtype.kind != "c":
        raise TypeError("the function gives real numbers for complex ones")
    value = y.imag / h
    zero, no = np.zeros(value.shape), np.zeros(value.shape, bool)
    error = 64 * EPS * np.abs(value) + h
    return Slope(value, error, zero + h, value, value, error, no, no)


def _differences(f: Callable[[float], ndarray], start: ndarray, h: float) -> Slope:
    with np.errstate(all="ignore"):  # outside of the domain of f there is NaN, and a smaller step
        y = {t: f(t * h) for t in TIMES}
        central = [(y[t] - y[-t]) / (2 * t * h) for t in TIMES[:3]]
        right, left = ([(y[t] - start) / (t * h) for t in side] for side in (TIMES[:3], TIMES[3:]))
        once = _extrapolated(central, RATIO**2)
        [value] = _extrapolated(once, RATIO**4)
        noise = _noise(start, h)
        error = abs(once[1] - once[0]) + 1e-3 * abs(central[2] - central[1]) + noise
        ends, spread = [], 4 * noise
        for side in (left, right):
            linear = _extrapolated(side, RATIO)
            ends += _extrapolated(linear, RATIO**2)
            spread = spread + abs(ends[-1] - linear[1])
        moved, closer = abs(y[TIMES[0]] - y[TIMES[3]]), abs(y[TIMES[2]] - y[TIMES[5]])
        jump = (closer > 0.8 * moved) & (closer < 1.2 * moved) & (moved > 1e3 * h * noise)
    error, spread = (np.where(np.isfinite(e), e, np.inf) for e in (error, spread))
    return Slope(value, error, np.full(value.shape, h), *ends, spread, jump, jump)


def _extrapolated(values: list[ndarray], power: float) -> list[ndarray]:
    """Without the leading term of the error, which falls by `power` from each value to the next."""
    return [(fine - power * coarse) / (1 - power) for coarse, fine in pairwise(values)]


def _noise(start: ndarray, h: float) -> ndarray:
    """What the rounding of f does to a quotient of differences."""
    return 8 * EPS * np.abs(start) / h


def _better(one: Slope, other: Slope) -> Slope:
    """Entry by entry, that of smaller error, and the sides of smaller spread.

    But two that contradict each other say how large the error is.
    """
    between = np.abs(other.value - one.value)
    contradiction = ((between > 8 * (one.error + other.error)) & ~one.kink
                     & (one.error < 0.1 * np.abs(one.value)))
    coarse = (one.error > 0.05 * np.abs(one.value)) & (other.error < 1e-3 * np.abs(other.value))
    better = ((other.error < one.error) | coarse) & ~contradiction
    narrower = (other.spread < one.spread) & ~contradiction
    choose = [better] * 3 + [narrower] * 4 + [better]
    best = Slope(*(np.where(c, b, a) for c, a, b in zip(choose, one, other)))
    return best._replace(error=np.where(contradiction, between, best.error))


def nearby(draw: Callable[[], Callable[[float], ndarray]], h: float,
           samples: int = 32) -> tuple[ndarray, ndarray]:
    """The least and the largest slope on lines that `draw` puts through other points.

    Around a kink those are the slopes of the smooth pieces that meet there (Clarke 1983).  Where
    more than two meet, not all are drawn: then as much again is added on both sides.
    """
    with np.errstate(all="ignore"):
        slopes = np.sort([(f(h) - f(-h)) / (2 * h) for f in (draw() for _ in range(samples))], 0)
    low, high = slopes[0], slopes[-1]
    width = high - low
    several = np.sum(np.diff(slopes, axis=0) > 0.02 * width, axis=0) > 1
    return low - several * width, high + several * width
