"""Adding up, where they belong, the products of a convolution that multiplies first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.kernels.windows import Form, Pair, Phase, around_x

FEW = 8  # channels, below which sums run along the rows of planes instead


class Move(NamedTuple):
    """Where the products of a phase's tap go: from these outputs, to these inputs."""

    phase: int
    tap: Pair
    outputs: tuple[slice, slice, slice]
    inputs: tuple[slice, slice, slice]
    first: bool  # all inputs of this residue, and nothing was there: to be copied, not added


@lru_cache(1024)
def sums(side: Callable[[Form], tuple[Phase, ...]], form: Form) -> tuple[list[Move], bool]:
    """How products are added up to the inputs that they came from; and whether all inputs get any.

    Those that come first stand first.
    """
    phases, size = side(form), form.y_size if side is around_x else form.x_size
    moves, covered = [], set()
    for k, (rows, columns, *_) in enumerate(phases):
        for a, b in product(range(rows.taps), range(columns.taps)):
            (i, u), (j, v) = rows.overlap(a, size[0]), columns.overlap(b, size[1])
            if i.start == i.stop or j.start == j.stop:
                continue
            residue = u.start % rows.stride, v.start % columns.stride
            first = residue not in covered and all(
                met.stop - met.start >= n - r for met, n, r in zip((u, v), size, residue))
            if first:
                covered.add(residue)
            moves.append(Move(k, (a, b), (slice(None), i, j), (slice(None), u, v), first))
    moves.sort(key=lambda move: not move.first)
    residues = math.prod(min(w.stride, n) for w, n in zip(phases[0][:2], size))
    return moves, len(covered) == residues


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
        self.moves = [(m.inputs, views[m.phase][m.tap][m.outputs], m.first) for m in moves]
        self.planes = np.empty((groups, channels, n, *size), like.dtype).transpose(
            2, 3, 4, 0, 1) if planes else None

    def add_up(self, out: ndarray, complete: bool) -> None:
        """Into out (n, H, W, groups, channels); complete: all of its elements get something."""
        total = out if self.planes is None else self.planes
        if not complete:
            total[...] = 0
        for place, products, first in self.moves:
            if first:
                np.copyto(total[place], products)
            else:
                np.add(total[place], products, out=total[place])
        if self.planes is not None:
            np.copyto(out, total)
