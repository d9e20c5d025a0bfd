"""Many elementwise passes over large arrays, block by block, so that a block stays in the cache.

Blocks are cut by shape alone, and each is computed by one thread from start to end: no result
depends on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.kernels.threads import num_threads, run

BLOCK = 16384  # elements: four arrays and the scratch fit into a core's second-level cache
WORTH_THREADS = 8 * BLOCK  # below, waking a thread costs more than it saves


def sweep(update: Callable[..., None], groups: Sequence[tuple[ndarray, ...]]) -> None:
    """`update(*blocks, scratch)` for all blocks of all groups of C-contiguous arrays of equal size.

    The arrays are changed in place; `scratch` is one more block, to compute in.
    """
    blocks = [cut for group in groups for cut in _cut(group)]
    spread(lambda arrays: update(*arrays, np.empty_like(arrays[0])), blocks,
           sum(group[0].size for group in groups))


def in_slices(work: Callable[[Any], None], shape: tuple[int, ...]) -> None:
    """`work(index)` for slices of the first axis of `shape`, of about a block each."""
    if not shape:
        return work(...)
    rows = max(1, BLOCK // max(1, math.prod(shape[1:])))
    spread(work, [slice(i, i + rows) for i in range(0, shape[0], rows)], math.prod(shape))


def spread(work: Callable[[Any], None], pieces: Sequence, size: int) -> None:
    """`work(piece)` for all pieces, on several threads where `size` elements are worth it."""
    workers = min(num_threads(), len(pieces)) if size >= WORTH_THREADS else 1
    if workers <= 1:
        return _each(work, pieces)
    share = -(-len(pieces) // workers)
    run([lambda i=i: _each(work, pieces[i:i + share]) for i in range(0, len(pieces), share)])


def _each(work: Callable[[Any], None], pieces: Sequence) -> None:
    for piece in pieces:
        work(piece)


def _cut(group: tuple[ndarray, ...]) -> Iterator[tuple[ndarray, ...]]:
    flat = [a.reshape(-1) for a in group]
    for i in range(0, flat[0].size, BLOCK):
        yield tuple(a[i:i + BLOCK] for a in flat)
