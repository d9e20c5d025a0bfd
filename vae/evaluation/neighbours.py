"""Nearest neighbours by Euclidean distance, exact, in bounded memory.

Products in float32 find the few pairs that may matter; those are computed anew, in float64, from
differences.  So copies have distance 0 and ties are ties, also far from the origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy import ndarray

BLOCK = 2**21  # pairs at a time
EPS, TINY = np.finfo(np.float32).eps, np.finfo(np.float32).tiny
LARGEST = 1e100  # its square is a number yet


class Neighbours(NamedTuple):
    """The k nearest, nearest first: distances and rows, (n, k) each."""

    distance: ndarray
    index: ndarray


def nearest(a: ndarray, b: ndarray, k: int = 1, *, others: bool = False, block: int = BLOCK
            ) -> Neighbours:
    """The k rows of b (m, …) nearest to each row of a (n, …); others: a is b, and no row its own.

    Of ties the lower row comes first.  About `block` pairs are in memory at a time.  Raises
    ValueError where there are not k rows, and for shapes and values that have no distance.
    """
    a, b = two_sets(a, b)
    available = len(b) - others
    if not 1 <= k <= available:
        raise ValueError(f"k={k} nearest neighbours among {available} rows: k must be from 1 to "
                         "their number")
    squares, index = np.full((len(a), k), np.inf), np.full((len(a), k), -1)
    bounds = np.full((len(a), k), np.inf, np.float32)  # what is beyond all k of a row is not near
    for rows, columns, approximate, error in tiles(a, b, *frame(a, b), block):
        above = approximate + error[:, None]
        same = False
        if others:
            same = (np.arange(rows.start, rows.stop)[:, None]
                    == np.arange(columns.start, columns.stop))
            above[same] = np.inf
        few = min(k, above.shape[1])
        known = np.concatenate([bounds[rows], np.partition(above, few - 1)[:, :few]], axis=1)
        bounds[rows] = np.partition(known, k - 1)[:, :k]
        reach = bounds[rows].max(axis=1) + error
        i, j = np.nonzero((approximate <= reach[:, None]) & ~np.asarray(same))
        i, j = i + rows.start, j + columns.start
        _keep(squares, index, i, j, squared_distances(a, b, i, j, block))
    return Neighbours(np.sqrt(squares), index)


def within(a: ndarray, b: ndarray, radius: ndarray, *, block: int = BLOCK
           ) -> tuple[ndarray, ndarray]:
    """In how many of the balls around b each of a lies (n,), and how many of a are in each (m,).

    radius: of each ball (m,); its edge belongs to it.
    """
    a, b = two_sets(a, b)
    balls, members = np.zeros(len(a), np.int64), np.zeros(len(b), np.int64)
    center, scale = frame(a, b)
    for rows, columns, approximate, error in tiles(a, b, center, scale, block):
        edge = np.square(radius[columns] / scale).astype(np.float32)
        margin = error[:, None] + 4 * EPS * edge
        inside = approximate <= edge - margin
        i, j = np.nonzero(~inside & (approximate <= edge + margin))
        squares = squared_distances(a, b, i + rows.start, j + columns.start, block)
        inside[i, j] = np.sqrt(squares) <= radius[columns][j]  # a radius is rounded as this is
        balls[rows] += inside.sum(axis=1)
        members[columns] += inside.sum(axis=0)
    return balls, members


def two_sets(a: ndarray, b: ndarray) -> tuple[ndarray, ndarray]:
    """Both as rows of floats, (n, d) and (m, d); raises for what has no distances."""
    a, b = _flat(a), _flat(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"rows of {a.shape[1]} and of {b.shape[1]} numbers have no distance: both "
                         "sets must be pixels, or features of one kind")
    return a, b


def squared_distances(a: ndarray, b: ndarray, i: ndarray, j: ndarray, block: int = BLOCK
                      ) -> ndarray:
    """|a[i] - b[j]|² of pairs, in float64."""
    found, step = np.empty(len(i)), max(1, block // a.shape[1])
    for start in range(0, len(i), step):
        at = slice(start, start + step)
        found[at] = np.square(a[i[at]].astype(np.float64) - b[j[at]]).sum(axis=1)
    return found


def frame(a: ndarray, b: ndarray) -> tuple[ndarray, float]:
    """The mean of b, and how far any value is from it: about and in units of these float32 does."""
    center = b.mean(axis=0, dtype=np.float64).astype(b.dtype)
    far = (np.abs(edge.astype(np.float64) - center).max()
           for x in (a, b) for edge in (x.min(axis=0), x.max(axis=0)))
    return center, float(max(far)) or 1.0


def tiles(a: ndarray, b: ndarray, center: ndarray, scale: float, block: int
          ) -> Iterator[tuple[slice, slice, ndarray, ndarray]]:
    """Slices of a and of b, |a - b|²/scale² of their pairs in float32, and its error per row of a.

    |a|² + |b|² - 2ab of what is left without the center; the error is bounded as that of sums of
    products (Higham 2002, section 3.1), which is what cancellation leaves.
    """
    side = max(1, int(block**0.5))

    def framed(x: ndarray) -> tuple[ndarray, ndarray]:
        x = ((x - center) / scale).astype(np.float32)
        return x, np.square(x).sum(axis=1)
    for r in range(0, len(a), side):
        rows = slice(r, min(r + side, len(a)))
        left, left_squares = framed(a[rows])
        for c in range(0, len(b), side):
            columns = slice(c, min(c + side, len(b)))
            right, right_squares = framed(b[columns])
            squares = left @ (-2 * right.T)
            squares += left_squares[:, None]
            squares += right_squares
            largest = left_squares + right_squares.max()
            yield rows, columns, squares, (a.shape[1] + 14) * (EPS * largest + 4 * TINY)


def _flat(x: ndarray) -> ndarray:
    x = np.asarray(x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"an array of shape {x.shape}: rows of numbers, (n, …), are expected")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"an array of dtype {x.dtype}: real numbers are expected")
    x = x.reshape(len(x), -1)
    if x.dtype.kind != "f" or x.dtype.itemsize < 4:
        x = x.astype(np.float32 if x.dtype.itemsize < 4 else np.float64)
    if not max(float(x.max()), -float(x.min())) < LARGEST:  # NaN is not either
        raise ValueError("values that are NaN, infinite or above 1e100 have no distance: leave out "
                         "such rows, or give other units")
    return x


def _keep(squares: ndarray, index: ndarray, i: ndarray, j: ndarray, found: ndarray) -> None:
    """Merge pairs (i, j) into the k nearest of each row i, in place."""
    k = squares.shape[1]
    order = np.lexsort((j, found, i))
    i, j, found = i[order], j[order], found[order]
    rank = np.arange(len(i)) - np.searchsorted(i, i)
    i, j, found, rank = (values[rank < k] for values in (i, j, found, rank))
    row, place = np.unique(i, return_inverse=True)
    new_squares, new_index = np.full((len(row), k), np.inf), np.full((len(row), k), -1)
    new_squares[place, rank], new_index[place, rank] = found, j
    new_squares = np.concatenate([squares[row], new_squares], axis=1)
    new_index = np.concatenate([index[row], new_index], axis=1)
    best = np.argsort(new_squares, axis=1, kind="stable")[:, :k]  # the earlier rows of b first
    squares[row] = np.take_along_axis(new_squares, best, axis=1)
    index[row] = np.take_along_axis(new_index, best, axis=1)
