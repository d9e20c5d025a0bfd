"""Convolution as blocks of matrix products: the three contractions of one trilinear form.

    T(x, w, y) = Σ x[n, i·s + a·d - p, j·s + b·d - p, c] · w[a, b, c, o] · y[n, i, j, o]

with stride s, dilation d, p zeros before x, and zeros wherever x is read outside of its size.
`correlate` is ∂T/∂y, a convolution; `spread` is ∂T/∂x, a transposed convolution; `weigh` is ∂T/∂w.

Each becomes a product of matrices once the elements of one array that meet an element of another
lie side by side.  There are two such sides: the elements of x around each of y, and the elements of
y around each of x; with stride s the latter come in s² phases, each with a part of the kernel.  So
a transposed convolution is s² small convolutions whose results are interleaved.

To gather everything at once would take k² times the memory of x.  So a few images (or a few rows of
one) are gathered into a block that stays in the cache and multiplied at once, by one thread of the
pool with BLAS kept to one thread.  Blocks depend on shapes alone and partial sums are added in the
order of blocks: the number of threads changes no bit of a result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.kernels.blas import one_thread
from minigrad.kernels.threads import num_threads, run

BLOCK = 1 << 17  # elements gathered at a time: half a megabyte of float32, a core's own cache
WORTH = 1 << 23  # multiplications, below which waking a thread costs more than it saves
SUMS = 16  # partial sums of a weight gradient, at most; each is of as many blocks

Pair = tuple[int, int]


class Form(NamedTuple):
    """The numbers of T, each for (rows, columns).  x may be larger than what y looks at."""

    x_size: Pair
    y_size: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    before: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


class Window(NamedTuple):
    """Along an axis: output i meets, at tap a, the input i·stride + start + a·step."""

    outputs: int
    taps: int
    stride: int
    start: int
    step: int

    def part(self, i: slice) -> Window:
        """For these outputs alone, as far as they exist."""
        outputs = max(0, min(i.stop, self.outputs) - i.start)
        return self._replace(outputs=outputs, start=self.start + i.start * self.stride)

    @property
    def stop(self) -> int:
        """Behind the last input that is met."""
        return self.start + (self.outputs - 1) * self.stride + (self.taps - 1) * self.step + 1


class Phase(NamedTuple):
    """Windows, the part of the kernel they meet, and the outputs that they are around."""

    rows: Window
    columns: Window
    kernel: tuple[slice, slice]
    outputs: tuple[slice, slice, slice]  # of images, rows, columns


# -- the three contractions -----------------------------------------------------------------------
def correlate(x: ndarray, w: ndarray, bias: ndarray | None, form: Form) -> ndarray:
    """y[n, i, j, o] = Σ x[n, i·s + a·d - p, …, c] · w[a, b, c, o] + bias[o].

    x (N, H, W, C), w (a, b, C/groups, O): each group of outputs sees its group of inputs.
    """
    x, w = _alike(x, w)
    y = np.empty((len(x), *form.y_size, w.shape[3]), x.dtype)
    if scatters(x.shape[3], y.shape[3]):
        _scatter(x, y, _around_x(form), _matrices_of_y(w, form), form.groups)
        if bias is not None:
            y += bias
    else:
        _gather(x, y, _around_y(form), _matrices_of_x(w, form), form.groups, bias)
    return y


def spread(y: ndarray, w: ndarray, bias: ndarray | None, form: Form) -> ndarray:
    """x[n, u, v, c] = Σ y[n, i, j, o] · w[a, b, c, o] + bias[c], over i·s + a·d - p = u, ….

    y (N, i, j, O), w (a, b, C/groups, O): the transpose of `correlate` as a function of x.
    """
    y, w = _alike(y, w)
    x = np.empty((len(y), *form.x_size, w.shape[2] * form.groups), y.dtype)
    if scatters(y.shape[3], x.shape[3]):
        _scatter(y, x, _around_y(form), _matrices_of_x(w, form), form.groups)
        if bias is not None:
            x += bias
    else:
        _gather(y, x, _around_x(form), _matrices_of_y(w, form), form.groups, bias)
    return x


def weigh(x: ndarray, y: ndarray, form: Form) -> ndarray:
    """w[a, b, c, o] = Σ x[n, i·s + a·d - p, …, c] · y[n, i, j, o]."""
    x, y = _alike(x, y)
    g, c, o = form.groups, x.shape[3] // form.groups, y.shape[3] // form.groups
    w = np.zeros((*form.kernel, c, g, o), x.dtype)
    if x.shape[3] <= y.shape[3]:
        for phase, product in _products(x, y, _around_y(form), g):
            w[phase.kernel] = np.moveaxis(product.reshape(g, *w[phase.kernel].shape[:3], o), 0, 3)
    else:
        for phase, product in _products(y, x, _around_x(form), g):
            part = w[phase.kernel]
            part[...] = product.reshape(g, *part.shape[:2], o, c).transpose(1, 2, 4, 0, 3)
    return w.reshape(*w.shape[:3], g * o)


def scatters(source: int, target: int) -> bool:
    """Whether to multiply first and then add up, rather than to gather and then multiply.

    Between arrays of `source` and `target` channels, with t taps: gathering copies t·source
    elements for each pixel, adding up reads, adds and writes t·target, which takes about four times
    as long an element.
    """
    return 4 * target < source


def _alike(a: ndarray, b: ndarray) -> tuple[ndarray, ndarray]:
    dtype = np.result_type(a, b)
    return np.ascontiguousarray(a, dtype), np.ascontiguousarray(b, dtype)


# -- the two sides --------------------------------------------------------------------------------
def _around_y(form: Form) -> list[Phase]:
    """The elements of x around each of y."""
    rows, columns = (Window(*numbers) for numbers in zip(
        form.y_size, form.kernel, form.stride, (-form.before[0], -form.before[1]), form.dilation))
    everything = slice(None)
    return [Phase(rows, columns, (everything,) * 2, (everything,) * 3)]


def _around_x(form: Form) -> list[Phase]:
    """The elements of y around each of x: those i with i·s + a·d - p = u, in phases of u mod s."""
    rows, columns = ([_phase(*numbers, r) for r in range(numbers[2])] for numbers in zip(
        form.x_size, form.kernel, form.stride, form.before, form.dilation))
    return [Phase(row, column, (a, b), (slice(None), u, v))
            for row, a, u in rows for column, b, v in columns]


def _phase(size: int, taps: int, stride: int, before: int, dilation: int,
           r: int) -> tuple[Window, slice, slice]:
    """u = q·s + r meets i = q + (r + p - a·d)/s, for those a that divide it; from the last tap."""
    common = math.gcd(stride, dilation)
    meets = [a for a in range(taps) if (r + before - a * dilation) % stride == 0][::-1]
    start = (r + before - meets[0] * dilation) // stride if meets else 0
    kernel = slice(meets[0], meets[-1] - 1 if meets[-1] else None,
                   -stride // common) if meets else slice(0)
    window = Window(len(range(r, size, stride)), len(meets), 1, start, dilation // common)
    return window, kernel, slice(r, None, stride)


def _matrices_of_x(w: ndarray, form: Form) -> Callable[[Phase], ndarray]:
    """Of a phase around y, (groups, taps·C, O)."""
    w = w.reshape(*w.shape[:3], form.groups, -1)
    return lambda phase: np.moveaxis(w[phase.kernel], 3, 0).reshape(form.groups, -1, w.shape[4])


def _matrices_of_y(w: ndarray, form: Form) -> Callable[[Phase], ndarray]:
    """Of a phase around x, (groups, taps·O, C)."""
    w = w.reshape(*w.shape[:3], form.groups, -1)
    return lambda phase: w[phase.kernel].transpose(3, 0, 1, 4, 2).reshape(
        form.groups, -1, w.shape[2])


# -- gathering ------------------------------------------------------------------------------------
# What several threads do is a few long calls of NumPy with hardly any Python between them.  A thread
# that finds the interpreter's lock taken goes to sleep, and is late by a tenth of a millisecond: so
# views are made before, and the memory that blocks are gathered into is laid out once a thread.
class Scratch:
    """Memory of one thread: a part of the source with zeros around it, and what is gathered.

    columns: (groups, outputs, taps·channels/groups) for each phase.
    """

    def __init__(self, shape: tuple[int, ...], inner: tuple[slice, ...], phases: Sequence[Phase],
                 groups: int, dtype: np.dtype):
        self.cut = np.zeros(shape, dtype)
        self.inner = self.cut[inner]
        self.moves, self.columns = [], []
        for phase in phases:
            self._lay_out(phase, groups)
        self.kept: list[ndarray] | None = None  # by whoever uses the columns

    def _lay_out(self, phase: Phase, groups: int) -> None:
        cut, (rows, columns) = self.cut, phase[:2]
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
        np.copyto(self.inner, block)
        for gathered, windows in self.moves:
            np.copyto(gathered, windows)


class Gathering:
    """The elements of `source` that the windows of `phases` meet, a block of outputs at a time."""

    def __init__(self, source: ndarray, phases: Sequence[Phase], groups: int):
        self.source, self.phases, self.groups = source, phases, groups
        self.spare: dict[tuple, list[Scratch]] = defaultdict(list)

    def piece(self, n: slice, i: slice, use: Callable[[Scratch], None]) -> Callable[[], None]:
        """Work for a thread: gather what images n, rows i of the outputs meet, and use it."""
        phases = [p._replace(rows=p.rows.part(i)) for p in self.phases]
        (top, bottom), (left, right) = _reach([p.rows for p in phases]), _reach(
            [p.columns for p in phases])
        inside = [slice(max(0, low), max(0, min(high, size))) for low, high, size in zip(
            (top, left), (bottom, right), self.source.shape[1:])]
        block = self.source[(n, *inside)]
        inner = tuple(slice(a.start - low, a.start - low + length) for a, low, length in zip(
            inside, (top, left), block.shape[1:]))
        shape = (len(block), bottom - top, right - left, block.shape[3])
        outputs = tuple(p.rows.outputs for p in phases)
        spare = self.spare[shape, inner[0].start, inner[0].stop, outputs]
        phases = [p._replace(rows=p.rows._replace(start=p.rows.start - top),
                             columns=p.columns._replace(start=p.columns.start - left))
                  for p in phases]

        def work() -> None:
            try:
                scratch = spare.pop()
            except IndexError:
                scratch = Scratch(shape, (slice(None), *inner), phases, self.groups, block.dtype)
            scratch.fill(block)
            use(scratch)
            spare.append(scratch)
        return work

    def blocks(self) -> list[tuple[slice, slice]]:
        """Images and rows of outputs, so that what is gathered for them is at most BLOCK."""
        images, channels = len(self.source), self.source.shape[3]
        rows = max(p.rows.outputs for p in self.phases)
        row = channels * sum(p.columns.outputs * p.rows.taps * p.columns.taps for p in self.phases)
        if row * rows <= BLOCK:
            return [(n, slice(0, rows)) for n in _cuts(images, BLOCK // max(1, row * rows))]
        cuts = _cuts(rows, max(1, BLOCK // row))
        return [(slice(n, n + 1), i) for n in range(images) for i in cuts]


def _reach(windows: list[Window]) -> Pair:
    """From the first input that any of the windows meets to behind the last."""
    windows = [w for w in windows if w.taps and w.outputs]
    return (min((w.start for w in windows), default=0), max((w.stop for w in windows), default=0))


def _cuts(size: int, largest: int) -> list[slice]:
    number = -(-size // largest)
    return [slice(size * k // number, size * (k + 1) // number) for k in range(number)]


# -- multiplying, adding up -----------------------------------------------------------------------
def _gather(source: ndarray, target: ndarray, phases: Sequence[Phase],
            matrices: Callable[[Phase], ndarray], groups: int, bias: ndarray | None) -> None:
    """target[around] = the gathered elements of source · matrix (+ bias), of each phase."""
    factors = [matrices(p) for p in phases]
    channels, side = target.shape[3], sum(p.outputs[1] == phases[0].outputs[1] for p in phases)
    width = -(-target.shape[2] // side)  # all phases of a row, side by side
    phases = [p._replace(columns=p.columns._replace(outputs=width)) for p in phases]
    if bias is not None:
        bias = np.tile(bias, side)

    def multiply(whole: ndarray, scratch: Scratch) -> None:
        np.matmul(scratch.columns[0], factors[0], out=_by_group(whole, groups))
        if bias is not None:
            whole += bias

    def multiply_phases(rows: list[ndarray], scratch: Scratch) -> None:
        if scratch.kept is None:
            scratch.kept = [np.empty((*out.shape[:2], width, side, channels), target.dtype)
                            for out in rows]
        for k, (out, result) in enumerate(zip(rows, scratch.kept)):
            for j in range(side):
                np.matmul(scratch.columns[k * side + j], factors[k * side + j],
                          out=_by_group(result[..., j, :], groups))
            if bias is not None:
                result += bias.reshape(side, channels)
            np.copyto(out, result.reshape(*out.shape[:2], width * side, channels)[:, :, :out.shape[2]])

    gathering = Gathering(source, phases, groups)
    pieces = []
    for n, i in gathering.blocks():
        rows = [target[p.outputs[:2]][n, i] for p in phases[::side]]
        use = partial(multiply, rows[0]) if len(phases) == 1 else partial(multiply_phases, rows)
        pieces.append(gathering.piece(n, i, use))
    _run(pieces, target.size * max(f.shape[1] for f in factors))


def _products(source: ndarray, other: ndarray, phases: Sequence[Phase],
              groups: int) -> list[tuple[Phase, ndarray]]:
    """Σ gathered elements of sourceᵀ · other, (groups, taps·channels, channels) of each phase."""
    gathering = Gathering(source, phases, groups)
    blocks = gathering.blocks()
    number = min(SUMS, len(blocks))
    sizes = [(groups, p.rows.taps * p.columns.taps * source.shape[3] // groups,
              other.shape[3] // groups) for p in phases]
    sums = [[np.zeros(size, source.dtype) for size in sizes] for _ in range(max(1, number))]

    def add(totals: list[ndarray], others: list[ndarray], scratch: Scratch) -> None:
        if scratch.kept is None:
            scratch.kept = [np.empty_like(total) for total in totals]
        for total, product, gathered, o in zip(totals, scratch.kept, scratch.columns, others):
            o = np.ascontiguousarray(o)
            np.matmul(gathered.swapaxes(1, 2), _by_group(o, groups), out=product)
            total += product

    def together(pieces: list[Callable[[], None]]) -> None:
        for piece in pieces:
            piece()

    shares = [[gathering.piece(n, i, partial(add, totals, [other[p.outputs][n, i] for p in phases]))
               for n, i in blocks[len(blocks) * k // number:len(blocks) * (k + 1) // number]]
              for k, totals in enumerate(sums[:number])]
    _run([partial(together, share) for share in shares], other.size * max(s[1] for s in sizes))
    return [(phase, sum(parts[1:], start=parts[0])) for phase, parts in zip(phases, zip(*sums))]


def _scatter(source: ndarray, target: ndarray, phases: Sequence[Phase],
             matrices: Callable[[Phase], ndarray], groups: int) -> None:
    """The transpose of `_gather`: source[around] · matrixᵀ, added up to where it was gathered."""
    work = [(phase, matrices(phase)) for phase in phases]
    channels = target.shape[3]

    def block(n: slice) -> None:
        planes = np.zeros((channels, *target[n].shape[:3]), target.dtype)
        for phase, matrix in work:
            part = np.ascontiguousarray(source[phase.outputs][n])
            each = np.matmul(matrix, _by_group(part, groups).swapaxes(1, 2))
            taps = phase.rows.taps, phase.columns.taps
            each = each.reshape(groups, *taps, channels // groups, *part.shape[:3])
            each = each.transpose(1, 2, 0, 3, 4, 5, 6).reshape(*taps, channels, *part.shape[:3])
            for a in range(phase.rows.taps):
                for b in range(phase.columns.taps):
                    i, u = _overlap(phase.rows, a, target.shape[1])
                    j, v = _overlap(phase.columns, b, target.shape[2])
                    planes[:, :, u, v] += each[a, b, :, :, i, j]
        target[n] = np.moveaxis(planes, 0, -1)

    multiplications = source.size * max(m.shape[1] for _, m in work)
    products = math.prod(source.shape[1:3]) * max(m.shape[1] for _, m in work)
    blocks = _cuts(len(source), max(1, BLOCK // max(1, products)))
    _run([partial(block, n) for n in blocks], multiplications)


def _overlap(window: Window, tap: int, size: int) -> tuple[slice, slice]:
    """Outputs whose input at this tap exists, and these inputs."""
    first = window.start + tap * window.step
    low = max(0, -(first // window.stride))
    high = max(low, min(window.outputs, (size - 1 - first) // window.stride + 1))
    start = first + low * window.stride
    return slice(low, high), slice(start, start + (high - low) * window.stride, window.stride)


def _by_group(x: ndarray, groups: int) -> ndarray:
    """(…, channels) as (groups, all pixels, channels/groups), a view."""
    return x.reshape(-1, groups, x.shape[-1] // groups).swapaxes(0, 1)


def _run(pieces: list[Callable[[], None]], multiplications: int) -> None:
    with one_thread():
        run(pieces, num_threads() if multiplications >= WORTH else 1)
