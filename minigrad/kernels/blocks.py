"""Elementwise passes over large arrays, on several threads where that pays.

Work is cut along rows, and the work on a row never looks at another: so where the cuts fall, and
hence the number of threads, changes no result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, update_wrapper
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.kernels.threads import num_threads, run

LARGEST = 1 << 19  # elements of a piece
LONG = 80_000  # nanoseconds that each call of NumPy must take for one more thread to pay
# Waking a thread takes a tenth of a millisecond.  And with every call NumPy gives up the
# interpreter's lock and takes it back: two threads whose calls are short spend their time waiting
# for it.  Measured, one thread against two: Adam of 0.4 M numbers, seven calls, 1.1 ms and 1.2, of
# 0.8 M 1.5 and 1.1; the Bernoulli likelihood of 78,400 logits, fifteen calls, 0.45 and 0.64, of
# 392,000 1.9 and 1.4; tanh of 250,000, one call, 0.75 and 0.43.


def in_slices(work: Callable[[Any], None], shape: tuple[int, ...], cost: float,
              calls: int = 1) -> None:
    """`work(slice)` for slices that cover the first axis of `shape`.

    `cost` in ns an element, of so many `calls` of NumPy together.
    """
    if not shape:
        return work(...)
    size = math.prod(shape)
    threads = _threads(size * cost, calls)
    if threads == 1 and size <= LARGEST:
        return work(slice(None))
    parts = _slices(shape[0], math.prod(shape[1:]), threads)
    run([lambda part=part: work(part) for part in parts], threads)


def sweep(update: Callable[..., None], groups: Sequence[tuple[ndarray, ...]], cost: float,
          calls: int = 1) -> None:
    """`update(*pieces, scratch)` for all of the groups of C-contiguous arrays of equal size.

    The arrays are changed in place; `scratch` is one more piece, to compute in.
    """
    flat = [[a.reshape(-1) for a in group] for group in groups]
    threads = _threads(sum(group[0].size for group in flat) * cost, calls)
    pieces = [[a[part] for a in group] for group in flat for part in _slices(group[0].size)]
    pieces.sort(key=lambda piece: -piece[0].size)  # no thread starts a long one at the end
    run([lambda piece=piece: update(*piece, np.empty_like(piece[0])) for piece in pieces], threads)


def _threads(cost: float, calls: int) -> int:
    worth = int(cost / (calls * LONG))
    return min(num_threads(), worth) if worth > 1 else 1  # asking for their number takes 2 µs


def _slices(rows: int, row: int = 1, least: int = 1) -> list[slice]:
    """Of `rows` rows of `row` elements, as equal as can be; at `least` so many, if there are."""
    number = min(max(-(-rows // max(1, LARGEST // max(1, row))), least), rows)
    return [slice(rows * k // number, rows * (k + 1) // number) for k in range(number)]


def all_finite(a: ndarray) -> bool:
    """Whether no number of `a` is infinite or NaN: one product of BLAS, unless squares overflow."""
    return math.isfinite(np.vdot(a, a)) or bool(np.isfinite(a).all())


def above_zero(x: ndarray, out: ndarray | None = None) -> ndarray:
    """max(x, 0).  Of two arrays np.maximum takes a third of its time for an array and a number."""
    x = np.asarray(x)
    return np.maximum(x, _zeros(x.shape, x.dtype), out=out)


@lru_cache(maxsize=64)
def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> ndarray:
    """For the last axes of an array of this shape: as many as 32,768 numbers are enough for."""
    while math.prod(shape) > 1 << 15:
        shape = shape[1:]
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


def threaded(f: Callable[..., ndarray], cost: float, calls: int = 1,
             into: bool = False) -> Callable[..., ndarray]:
    """An elementwise function, on several threads where it is given large arrays of floats.

    They have one shape and dtype, which is the result's; `cost` and `calls` as of `in_slices`;
    `into` says that f takes `out`, as ufuncs do.  Other arguments, Tensors among them, go to the
    function as they are.
    """
    into = into or isinstance(f, np.ufunc)
    least = 2 * calls * LONG / cost  # elements for a second thread

    def forward(*arrays: ndarray) -> ndarray:
        like = arrays[0]
        if type(like) is not ndarray or like.size < least:
            return f(*arrays)
        alike = all(type(a) is ndarray and a.shape == like.shape and a.dtype == like.dtype
                    for a in arrays)
        if not alike or like.dtype.kind != "f" or _threads(like.size * cost, calls) == 1:
            return f(*arrays)
        out = np.empty(like.shape, like.dtype)

        def work(i: slice) -> None:
            parts = [a[i] for a in arrays]
            if into:
                f(*parts, out=out[i])
            else:
                out[i] = f(*parts)

        in_slices(work, like.shape, cost, calls)
        return out
    return update_wrapper(forward, f, updated=())
