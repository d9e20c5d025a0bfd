"""Elementwise passes over large arrays, on several threads where that pays.

Work is cut along rows, and the work on a row never looks at another: so where the cuts fall, and
hence the number of threads, changes no result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.kernels.threads import num_threads, run

LARGEST = 1 << 19  # elements of a piece
SMALLEST = 100_000
WORTH = 400_000  # nanoseconds of work, below which waking a thread costs more than it saves
# Pieces must not be small: NumPy gives up and takes back the interpreter's lock with every call,
# and two threads whose calls are short spend their time waiting for it.  Adam over 0.8 M numbers,
# in a training step: pieces of up to 131,072 elements 1.35 ms, 262,144 1.2, 524,288 1.1.  The
# Bernoulli likelihood of 78,400 logits: one thread 0.45 ms, two 0.64.


def in_slices(work: Callable[[Any], None], shape: tuple[int, ...], cost: float) -> None:
    """`work(slice)` for slices that cover the first axis of `shape`; `cost` in ns an element."""
    if not shape:
        return work(...)
    threads = _threads(math.prod(shape), cost)
    parts = _slices(shape[0], math.prod(shape[1:]), threads)
    run([lambda part=part: work(part) for part in parts], threads)


def sweep(update: Callable[..., None], groups: Sequence[tuple[ndarray, ...]], cost: float) -> None:
    """`update(*pieces, scratch)` for all of the groups of C-contiguous arrays of equal size.

    The arrays are changed in place; `scratch` is one more piece, to compute in.
    """
    flat = [[a.reshape(-1) for a in group] for group in groups]
    threads = _threads(sum(group[0].size for group in flat), cost)
    pieces = [[a[part] for a in group] for group in flat for part in _slices(group[0].size)]
    pieces.sort(key=lambda piece: -piece[0].size)  # no thread starts a long one at the end
    run([lambda piece=piece: update(*piece, np.empty_like(piece[0])) for piece in pieces], threads)


def _threads(size: int, cost: float) -> int:
    return max(1, min(num_threads(), size // SMALLEST)) if size * cost >= WORTH else 1


def _slices(rows: int, row: int = 1, least: int = 1) -> list[slice]:
    """Of `rows` rows of `row` elements, as equal as can be; at `least` so many, if there are."""
    number = min(max(-(-rows // max(1, LARGEST // max(1, row))), least), rows)
    return [slice(rows * k // number, rows * (k + 1) // number) for k in range(number)]


def threaded(f: Callable[..., ndarray], cost: float) -> Callable[..., ndarray]:
    """An elementwise function, on several threads where it is given large arrays of floats.

    They have one shape and dtype, which is the result's; `cost` in ns an element.  Other arguments,
    Tensors among them, go to the function as they are.
    """
    into = isinstance(f, np.ufunc)

    def forward(*arrays: ndarray) -> ndarray:
        like = arrays[0]
        if not all(type(a) is ndarray and a.shape == like.shape and a.dtype == like.dtype
                   for a in arrays) or like.size * cost < WORTH or like.dtype.kind != "f":
            return f(*arrays)
        out = np.empty(like.shape, like.dtype)

        def work(i: slice) -> None:
            parts = [a[i] for a in arrays]
            if into:
                f(*parts, out=out[i])
            else:
                out[i] = f(*parts)

        in_slices(work, like.shape, cost)
        return out
    return update_wrapper(forward, f, updated=())
