"""Adding up, where they belong, the products of a convolution that multiplies first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.kernels.windows import Form, Phase, Window, around_x

FEW = 8  # channels, below which sums run along the rows of planes instead


class Move(NamedTuple):
    """Where the products of a phase's taps go: from these outputs, to these inputs.

    Taps of one row that meet neighbouring columns go together: sums then run along all of them.
    """

    phase: int
    row: int
    columns: slice  # of taps
    outputs: tuple[slice, slice, slice]
    inputs: tuple[slice, slice, slice]
    first: bool  # nothing was there, and every input of these residues gets it: copied, not added


@lru_cache(1024)
def sums(side: Callable[[Form], tuple[Phase, ...]], form: Form) -> tuple[list[Move], bool]:
    """How products are added up to the inputs that they came from; and whether all inputs get any.

    Those that come first stand first.
    """
    phases, (height, width) = side(form), form.y_size if side is around_x else form.x_size
    moves, covered = [], set()
    for k, (rows, columns, *_) in enumerate(phases):
        for a, taps in product(range(rows.taps), _neighbours(columns, width)):
            (i, u), (j, v) = rows.overlap(a, height), columns.overlap(taps.start, width)
            if i.start == i.stop or j.start == j.stop:
                continue
            together = taps.stop - taps.start
            residues = {(u.start % rows.stride, (v.start + t) % columns.stride)
                        for t in range(together)}
            first = not covered & residues and all(
                met.start < window.stride and met.stop >= n
                for met, window, n in ((u, rows, height), (v, columns, width)))
            if first:
                covered |= residues
            if together > 1:
                v = slice(v.start, v.stop)
            moves.append(Move(k, a, taps, (slice(None), i, j), (slice(None), u, v), first))
    moves.sort(key=lambda move: not move.first)
    number = math.prod(min(w.stride, n) for w, n in zip(phases[0][:2], (height, width)))
    return moves, len(covered) == number


def _neighbours(window: Window, size: int) -> Iterator[slice]:
    """The taps, those together whose inputs fill the stride without a gap."""
    tap = 0
    while tap < window.taps:
        stop = tap + window.stride
        together = (window.step == 1 and stop <= window.taps and size % window.stride == 0
                    and (window.start + tap) % window.stride == 0)
        yield slice(tap, stop if together else tap + 1)
        tap = stop if together else tap + 1


class Products:
    """Memory of one thread: the products of each phase for a block of images, and their sums.

    of_phase: (groups, taps·channels, outputs), to be filled.
    """

    def __init__(self, phases: Sequence[Phase], moves: Sequence[Move], like: ndarray):
        """like: a block of the target, (n, H, W, groups, channels)."""
        n, *size, groups, channels = like.shape
        planes = channels < FEW
        self.of_phase, views = [], []
        for rows, columns, *_ in phases:
            outputs, taps = (n, rows.outputs, columns.outputs), (rows.taps, columns.taps)
            shape = (groups, math.prod(taps) * channels, math.prod(outputs))
            if planes:
                memory = np.empty((groups, *taps, channels, *outputs), like.dtype)
                self.of_phase.append(memory.reshape(shape))
                views.append(memory.transpose(1, 2, 4, 5, 6, 0, 3))
            else:
                memory = np.empty((*outputs, groups, *taps, channels), like.dtype)
                self.of_phase.append(memory.reshape(shape[2], *shape[:2]).transpose(1, 2, 0))
                views.append(memory.transpose(4, 5, 0, 1, 2, 3, 6))
        self.moves = [(m.inputs, np.moveaxis(views[m.phase][m.row, m.columns], 0, 3)[m.outputs],
                       m.first) for m in moves]  # (n, i, j, taps, groups, channels)
        self.planes = np.empty((groups, channels, n, *size), like.dtype).transpose(
            2, 3, 4, 0, 1) if planes else None

    def add_up(self, out: ndarray, complete: bool) -> None:
        """Into out (n, H, W, groups, channels); complete: all of its elements get something."""
        total = out if self.planes is None else self.planes
        if not complete:
            total[...] = 0
        for place, products, first in self.moves:
            inputs = total[place].reshape(products.shape)  # a view: only columns are parted
            if first:
                np.copyto(inputs, products)
            else:
                np.add(inputs, products, out=inputs)
        if self.planes is not None:
            np.copyto(out, total)
