"""Gathering what the windows of a convolution meet, a block at a time, into memory that is kept.

What several threads do is a few long calls of NumPy with hardly any Python between them: a thread
that finds the interpreter's lock taken goes to sleep, and is late by a tenth of a millisecond.  So
views are made before, and the memory that blocks are gathered into is laid out once a thread.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.kernels.windows import Form, Pair, Phase, Window, around_y

BLOCK = 1 << 19  # elements gathered at a time, at most
LEAST = 1 << 15  # and if there are fewer than PIECES blocks, at least
PIECES = 4


class Part(NamedTuple):
    """What some rows of outputs meet: which rows and columns of the source, and where they lie."""

    phases: list[Phase]  # whose starts count from the corner of the cut
    source: tuple[slice, slice]
    inner: tuple[slice, slice, slice]  # where in the cut these are, for all images
    size: Pair  # of the cut
    direct: bool  # the source itself is what would be gathered, as of a 1x1 kernel

    @classmethod
    def of(cls, phases: Sequence[Phase], i: slice, size: Sequence[int]) -> Part:
        phases = [p._replace(rows=p.rows.part(i)) for p in phases]
        (top, bottom), (left, right) = reach([p.rows for p in phases]), reach(
            [p.columns for p in phases])
        source = tuple(slice(max(0, low), max(0, min(high, n))) for low, high, n in zip(
            (top, left), (bottom, right), size))
        inner = tuple(slice(s.start - low, max(s.start, s.stop) - low) for s, low in zip(
            source, (top, left)))
        phases = [p._replace(rows=p.rows._replace(start=p.rows.start - top),
                             columns=p.columns._replace(start=p.columns.start - left))
                  for p in phases]
        cut = bottom - top, right - left
        outputs = phases[0].rows.outputs, phases[0].columns.outputs
        direct = len(phases) == 1 and cut == outputs and all(
            w.taps == 1 and w.start == 0 and part.stop - part.start == n
            for w, part, n in zip(phases[0][:2], source, cut))
        return cls(phases, source, (slice(None), *inner), cut, direct)


class Scratch:
    """Memory of one thread: a part of the source with zeros around it, and what is gathered.

    columns: (groups, outputs, taps·channels/groups) for each phase.
    """

    def __init__(self, part: Part, images: int, source: ndarray, groups: int):
        self.groups, self.direct = groups, part.direct
        self.moves, self.columns = [], []
        self.kept: list[ndarray] | None = None  # by whoever uses the columns
        if not self.direct:
            self.cut = np.zeros((images, *part.size, source.shape[3]), source.dtype)
            self.inner = self.cut[part.inner]
            for phase in part.phases:
                self._lay_out(phase)

    def _lay_out(self, phase: Phase) -> None:
        cut, groups, (rows, columns) = self.cut, self.groups, phase[:2]
        (n, _, _, channels), (image, row, column, size) = cut.shape, cut.strides
        channels //= groups
        shape = [groups, n, rows.outputs, columns.outputs, rows.taps, columns.taps]
        strides = [channels * size, image, row * rows.stride, column * columns.stride,
                   row * rows.step, column * columns.step]
        run_length = channels  # of elements that lie together: copied as one, twice as fast
        if columns.step == groups == 1:
            run_length *= shape.pop()
            strides.pop()
        gathered = np.empty((groups, math.prod(shape[1:4]), rows.taps * columns.taps * channels),
                            cut.dtype)
        self.columns.append(gathered)
        if gathered.size:
            runs = np.dtype((np.void, run_length * size))
            start = rows.start * row + columns.start * column
            self.moves.append((gathered.view(runs).reshape(shape),
                               np.ndarray(shape, runs, cut, start, strides)))

    def fill(self, block: ndarray) -> None:
        if self.direct:
            self.columns = [by_group(block, self.groups)]
            return
        np.copyto(self.inner, block)
        for gathered, windows in self.moves:
            np.copyto(gathered, windows)


class Plan(NamedTuple):
    """What to gather when; depends on shapes alone."""

    phases: tuple[Phase, ...]
    blocks: list[tuple[slice, slice, Part]]  # images, rows of the outputs, what they meet


@lru_cache(256)
def plan(side: Callable[[Form], tuple[Phase, ...]], form: Form, images: int, channels: int,
         even: bool) -> Plan:
    """Images and rows of outputs, so that what is gathered for them is at most BLOCK.

    even: let all phases have as many columns, those that lack one meeting zeros there.
    """
    phases = side(form)
    if even:
        most = max(p.columns.outputs for p in phases)
        phases = tuple(p._replace(columns=p.columns._replace(outputs=most)) for p in phases)
    rows = max(p.rows.outputs for p in phases)
    row = channels * sum(p.columns.outputs * p.rows.taps * p.columns.taps for p in phases)
    size = form.x_size if side is around_y else form.y_size
    if row * rows <= BLOCK:
        every = slice(0, rows)
        part = Part.of(phases, every, size)
        return Plan(phases, [(n, every, part)
                             for n in cuts(images, images_at_once(images, row * rows))])
    parts = [(i, Part.of(phases, i, size)) for i in cuts(rows, max(1, BLOCK // row))]
    return Plan(phases, [(slice(n, n + 1), *part) for n in range(images) for part in parts])


class Gathering:
    """The elements of `source` that meet each output, a block of outputs at a time."""

    def __init__(self, source: ndarray, side: Callable, form: Form, even: bool = False):
        self.source, self.groups = source, form.groups
        self.phases, self.blocks = plan(side, form, len(source), source.shape[3], even)
        self.spare: dict[tuple, list[Scratch]] = defaultdict(list)

    def piece(self, n: slice, part: Part, use: Callable[[Scratch], None]) -> Callable[[], None]:
        """Work for a thread: gather what a block of `blocks` meets, and use it."""
        block = self.source[(n, *part.source)]
        spare = self.spare[len(block), id(part)]

        def work() -> None:
            try:
                scratch = spare.pop()
            except IndexError:
                scratch = Scratch(part, len(block), self.source, self.groups)
            scratch.fill(block)
            use(scratch)
            spare.append(scratch)
        return work


def by_group(x: ndarray, groups: int) -> ndarray:
    """(…, channels) as (groups, all pixels, channels/groups), a view."""
    return x.reshape(-1, groups, x.shape[-1] // groups).swapaxes(0, 1)


def reach(windows: list[Window]) -> Pair:
    """From the first input that any of the windows meets to behind the last."""
    windows = [w for w in windows if w.taps and w.outputs]
    return (min((w.start for w in windows), default=0), max((w.stop for w in windows), default=0))


def images_at_once(images: int, elements: int) -> int:
    """A block, of `elements` gathered for each of `images`: not too many, and all threads busy."""
    image = max(1, elements)
    return max(1, min(BLOCK // image, max(LEAST // image, -(-images // PIECES))))


def cuts(size: int, largest: int) -> list[slice]:
    number = -(-size // largest)
    return [slice(size * k // number, size * (k + 1) // number) for k in range(number)]
