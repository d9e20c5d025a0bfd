"""Elementwise passes over large arrays, on several threads where that pays.

Work is cut along rows, and the work on a row never looks at another: so where the cuts fall, and
hence the number of threads, changes no result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import update_wrapper
from itertools import pairwise
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.kernels.threads import num_threads, run

LARGEST = 1 << 19  # elements of a piece, so that its temporaries stay in the cache
WORTH = 400_000  # nanoseconds of work, below which waking a thread costs more than it saves
# Pieces must not be small either: NumPy gives up and takes back the interpreter's lock with every
# call, and two threads whose calls are short spend their time waiting for it.  Measured on Adam:
# blocks of 16,384 elements take 1.4 times as long on two threads as on one, of 131,072 0.7 times.


def in_slices(work: Callable[[Any], None], shape: tuple[int, ...], cost: float) -> None:
    """`work(slice)` for slices that cover the first axis of `shape`; `cost` in ns an element."""
    if not shape:
        return work(...)
    row = max(1, math.prod(shape[1:]))
    threads = min(num_threads() if shape[0] * row * cost >= WORTH else 1, shape[0])
    most = max(1, LARGEST // row)
    bounds = [shape[0] * k // threads for k in range(threads + 1)] if threads else []

    def part(start: int, stop: int) -> None:
        for i in range(start, stop, most):
            work(slice(i, min(i + most, stop)))

    run([lambda a=a, b=b: part(a, b) for a, b in pairwise(bounds)], threads)


def sweep(update: Callable[..., None], groups: Sequence[tuple[ndarray, ...]], cost: float) -> None:
    """`update(*pieces, scratch)` for all of the groups of C-contiguous arrays of equal size.

    The arrays are changed in place; `scratch` is one more piece, to compute in.  All groups
    together are cut, as if they were one long row of elements.
    """
    flat = [tuple(a.reshape(-1) for a in group) for group in groups]
    starts = np.cumsum([0, *(group[0].size for group in flat)]).tolist()

    def work(part: slice) -> None:
        for group, start in zip(flat, starts):
            low, high = max(0, part.start - start), min(group[0].size, part.stop - start)
            if low < high:
                pieces = [a[low:high] for a in group]
                update(*pieces, np.empty_like(pieces[0]))

    in_slices(work, (starts[-1],), cost)


def threaded(ufunc: np.ufunc, cost: float) -> Callable[[ndarray], ndarray]:
    """A ufunc of one array of floats, on several threads where it is large."""
    def forward(x: ndarray) -> ndarray:
        if x.size * cost < WORTH:
            return ufunc(x)
        out = np.empty(x.shape, x.dtype)
        in_slices(lambda i: ufunc(x[i], out=out[i]), x.shape, cost)
        return out
    return update_wrapper(forward, ufunc, updated=())
