"""Strategies for shapes, well-scaled arrays, their memory layouts, and indices."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import SearchStrategy
from numpy import ndarray

Shape = tuple[int, ...]


# -- shapes and dtypes ----------------------------------------------------------------------------
@st.composite
def shapes(draw: Any, *, min_dims: int = 0, max_dims: int = 3, min_side: int = 0,
           max_side: int = 4) -> Shape:
    """Shapes, 0-d too, with axes of size 1 and, more rarely, 0.

    Shrinks to few axes of size 1; an axis of size 0 stays only where it matters.
    """
    sides = [*range(max(1, min_side), max_side + 1)] * 2 + [0] * (min_side == 0)
    dims = draw(st.integers(min_dims, max_dims))
    return tuple(draw(st.sampled_from(sides)) for _ in range(dims))


@st.composite
def broadcastable(draw: Any, n: int, *, max_dims: int = 3, min_side: int = 0,
                  max_side: int = 4) -> tuple[Shape, ...]:
    """n shapes that broadcast together; the limits hold for the result as well.

    Shrinks to n times the shape of a number, ().
    """
    result = draw(shapes(max_dims=max_dims, min_side=min_side, max_side=max_side))
    return tuple(_stretched_to(draw, result) for _ in range(n))


def _stretched_to(draw: Any, shape: Shape) -> Shape:
    """A shape that broadcasting stretches to `shape`; often `shape` itself."""
    dims = len(shape)
    kept = draw(st.sampled_from([*range(dims), dims, dims, dims]))
    return tuple(draw(st.sampled_from([1, side, side])) for side in shape[dims - kept:])


def dtypes() -> SearchStrategy[np.dtype]:
    """float64 and float32."""
    return st.sampled_from([np.dtype(np.float64), np.dtype(np.float32)])


# -- arrays ---------------------------------------------------------------------------------------
def arrays(shape: int | Shape | SearchStrategy[Shape], *,
           dtype: Any = np.float64, low: float = -2, high: float = 2,
           away_from: float | Iterable[float] = (), margin: float = 0.05,
           apart: float | None = None) -> SearchStrategy[ndarray]:
    """Arrays with elements in [low, high] that finite differences can judge.

    The elements are multiples of a power of two that is at least 1/512 of the domain: two are
    equal or well apart, none is tiny, and, unless the domain is narrower than 1e-4 of its ends,
    each is exact in float32 too.  Each is drawn by itself; arrays of thousands take a seed.

    shape, dtype: of the array, or strategies for them.
    away_from: kinks; each element keeps at least `margin` from each of them.
    apart: the least difference of any two elements, where a tie is a kink, as for max and sort.

    Shrinks to round numbers: 0, whole numbers, halves, quarters, as far as the domain has them.

    Raises ValueError for a domain that is empty, or that has too few numbers so far apart.
    """
    kinks = tuple(away_from) if np.iterable(away_from) else (away_from,)
    cells = _cells(float(low), float(high), kinks, margin, apart)
    if not cells and apart is None:
        raise ValueError(f"arrays: no number in [{low}, {high}] is {margin} away from "
                         f"{', '.join(map(str, kinks))}; widen the domain or lower the margin")
    return _filled(shape, dtype, cells, (low, high), apart)


@st.composite
def _filled(draw: Any, shape: Any, dtype: Any, cells: list[list[float]], domain: tuple,
            apart: float | None) -> ndarray:
    shape = draw(shape) if isinstance(shape, SearchStrategy) else shape
    dtype = draw(dtype) if isinstance(dtype, SearchStrategy) else dtype
    n = math.prod(shape) if np.ndim(shape) else shape
    if apart is None:
        elements = st.one_of(*map(st.sampled_from, cells))
    else:
        points = sorted((x for cell in cells for x in cell), key=_complexity)
        if n > len(points):
            raise ValueError(f"arrays of shape {shape}: {n} numbers that are {apart} apart, but "
                             f"[{domain[0]}, {domain[1]}] has {len(points)} in steps of "
                             f"{_step(*domain, apart)}; widen the domain")
        elements = st.sampled_from(points)  # of which a list can draw each once
    values = draw(st.lists(elements, min_size=n, max_size=n, unique=apart is not None))
    return np.array(values, dtype).reshape(shape)


@lru_cache
def _cells(low: float, high: float, kinks: tuple[float, ...], margin: float,
           apart: float | None) -> list[list[float]]:
    """The numbers to draw from, the simplest first, in cells of neighbours.

    Hypothesis lowers a place in a list by halves and small steps.  In one long list that misses
    most of the simple numbers; in two short ones, of cells and of a cell, it does not.
    """
    if not (math.isfinite(high - low) and low < high):
        raise ValueError(f"arrays: low, which is {low}, must be below high, which is {high}, and "
                         "both finite")
    if apart is not None and not apart > 0:
        raise ValueError(f"arrays: apart={apart} must be positive")
    step, cells = _step(low, high, apart), {}
    # Exact: dividing by a power of two does not round.
    for i in range(math.ceil(low / step), math.floor(high / step) + 1):
        if all(abs(i * step - kink) >= margin for kink in kinks):
            cells.setdefault(round(i / 64), []).append(i * step)
    return sorted((sorted(cell, key=_complexity) for cell in cells.values()),
                  key=lambda cell: _complexity(cell[0]))


def _complexity(x: float) -> tuple:
    return x.as_integer_ratio()[1], abs(x), x < 0


def _step(low: float, high: float, apart: float | None) -> float:
    """1/512 of the domain or more, and at least `apart`; a power of two."""
    step = math.ldexp(1, math.frexp(high - low)[1] - 9)
    mantissa, exponent = math.frexp(apart or 0)
    return max(step, math.ldexp(1, exponent - (mantissa == 0.5))) if apart else step


# -- layouts --------------------------------------------------------------------------------------
def _each(step: int, a: ndarray) -> tuple:
    """The index of each |step|-th element along every axis; Ellipsis keeps 0-d arrays arrays."""
    return (*(slice(None, None, step),) * a.ndim, Ellipsis)


def _reversed(a: ndarray) -> ndarray:
    return a[_each(-1, a)].copy()[_each(-1, a)]


def _strided(a: ndarray) -> ndarray:
    """Each second element along each axis; NaN lies in between, for whoever reads that."""
    view = np.full([2 * n for n in a.shape], np.nan, a.dtype)[_each(2, a)]
    view[...] = a
    return view


def _read_only(a: ndarray) -> ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "C": lambda a: np.array(a, order="C"),
    "Fortran": lambda a: np.array(a, order="F"),
    "reversed": _reversed,
    "strided": _strided,
    "read-only": _read_only,
}
"""Name -> function of a floating point array that gives the same values laid out so."""


@st.composite
def layouts(draw: Any, arrays: SearchStrategy[ndarray]) -> ndarray:
    """What `arrays` draws, laid out in memory in one of the ways of `LAYOUTS`.

    Failing examples name the layout, which their repr does not show.  Shrinks to C order.
    """
    array = draw(arrays)
    name = draw(st.sampled_from(list(LAYOUTS)))
    note(f"layout of the array of shape {array.shape}: {name}")
    return LAYOUTS[name](array)


# -- indices --------------------------------------------------------------------------------------
@st.composite
def indices(draw: Any, shape: Shape) -> Any:
    """Whatever may stand in x[…] for an x of this shape, alone or several in a tuple.

    Integers, negative too; slices with steps and negative steps; Ellipsis; None; integer arrays
    (and lists) with repeats, several of them broadcast; boolean masks of any number of axes,
    mixed with all of these.  Shrinks to (), which is all of x; then to few axes, to `:`, and to 0.
    """
    front = draw(st.integers(0, len(shape)))
    dots = draw(st.sampled_from([False, False, True]))
    back = draw(st.integers(0, len(shape) - front)) if dots else 0
    axes = [*range(front), *range(len(shape) - back, len(shape))]
    kinds = [None, "arrays", "mask"] if axes or not shape else [None]
    advanced = draw(st.sampled_from(kinds))
    masked, common = (), ()  # the axes of the mask; the shape that integer arrays broadcast to
    if advanced == "mask":
        masked = draw(_runs(axes)) if axes else ()
        mask = draw(hnp.arrays(bool, [shape[axis] for axis in masked], fill=st.nothing()))
        common = (int(mask.sum()),)
    elif advanced == "arrays":
        common = draw(shapes(max_dims=2, max_side=3))
    index: list[Any] = [mask] if advanced == "mask" and not axes else []
    for axis in axes:
        if axis not in masked:
            index.append(_entry(draw, shape[axis], common if advanced else None))
        elif axis == masked[0]:
            index.append(mask)
    if dots:
        behind = len([axis for axis in axes[front:] if axis not in masked[1:]])
        index.insert(len(index) - behind, Ellipsis)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        index.insert(draw(st.integers(0, len(index))), None)
    alone = len(index) == 1 and draw(st.sampled_from([False, True, True]))
    return index[0] if alone else tuple(index)


@st.composite
def _runs(draw: Any, axes: list[int]) -> tuple[int, ...]:
    """One or more of the axes, next to each other."""
    run = [draw(st.sampled_from(axes))]
    while run[-1] + 1 in axes and draw(st.booleans()):
        run.append(run[-1] + 1)
    return tuple(run)


def _entry(draw: Any, size: int, common: Shape | None) -> Any:
    """An index along one axis; integer arrays too, if there is a shape they may broadcast to."""
    kinds = ["slice"] + ["integer"] * (size > 0)
    if common is not None:
        stretched = _stretched_to(draw, common)
        kinds += ["array"] * 2 * (size > 0 or 0 in stretched)
    kind = draw(st.sampled_from(kinds))
    if kind == "slice":
        bound = st.none() | st.integers(-size - 1, size + 1)
        return slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, 3, -1, -2, -3])))
    integers = st.integers(-size, size - 1)
    if kind == "integer":
        return draw(integers)
    if 0 in stretched:
        return np.empty(stretched, int)
    array = draw(hnp.arrays(int, stretched, elements=integers, fill=st.nothing()))
    return array.tolist() if array.ndim and draw(st.booleans()) else array
