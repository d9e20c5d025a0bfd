"""Convolution as blocks of matrix products: the three contractions of one trilinear form.

    T(x, w, y) = Σ x[n, i·s + a·d - p, j·s + b·d - p, c] · w[a, b, c, o] · y[n, i, j, o]

with stride s, dilation d, p zeros before x, and zeros wherever x is read outside of its size.
`correlate` is ∂T/∂y, a convolution; `spread` is ∂T/∂x, a transposed convolution; `weigh` is ∂T/∂w.

Each becomes a product of matrices once the elements of one array that meet an element of another
lie side by side; `windows` says which those are.

To gather everything at once would take k² times the memory of x.  So a few images (or a few rows of
one) are gathered into a block that stays in the cache and multiplied at once, by one thread of the
pool with BLAS kept to one thread.  Blocks depend on shapes alone and partial sums are added in the
order of blocks: the number of threads changes no bit of a result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy import ndarray

from minigrad.kernels.blas import one_thread
from minigrad.kernels.blocks import above_zero
from minigrad.kernels.gathering import (
    BLOCK,
    Gathering,
    Scratch,
    by_group,
    cuts,
    images_at_once,
)
from minigrad.kernels.scattering import Products, sums
from minigrad.kernels.threads import num_threads, run
from minigrad.kernels.windows import Form, Phase, around_x, around_y

WORTH = 1 << 23  # multiplications, below which waking a thread costs more than it saves
SUMS = 16  # partial sums of a weight gradient, at most; each is of as many blocks


# -- the three contractions -----------------------------------------------------------------------
def correlate(x: ndarray, w: ndarray, bias: ndarray | None, form: Form) -> ndarray:
    """y[n, i, j, o] = Σ x[n, i·s + a·d - p, …, c] · w[a, b, c, o] + bias[o].

    x (N, H, W, C), w (a, b, C/groups, O): each group of outputs sees its group of inputs.
    """
    x, w = _alike(x, w)
    y = np.empty((len(x), *form.y_size, w.shape[3]), x.dtype)
    if scatters(x.shape[3], y.shape[3]):
        _scatter(x, y, around_x, form, _matrices_of_y(w, form), bias)
    else:
        _gather(x, y, around_y, form, _matrices_of_x(w, form), bias)
    return y


def spread(y: ndarray, w: ndarray, bias: ndarray | None, form: Form) -> ndarray:
    """x[n, u, v, c] = Σ y[n, i, j, o] · w[a, b, c, o] + bias[c], over i·s + a·d - p = u, ….

    y (N, i, j, O), w (a, b, C/groups, O): the transpose of `correlate` as a function of x.
    """
    y, w = _alike(y, w)
    x = np.empty((len(y), *form.x_size, w.shape[2] * form.groups), y.dtype)
    products = math.prod(form.y_size) * w[..., 0].size
    if scatters(y.shape[3], x.shape[3], math.prod(form.stride), products):
        _scatter(y, x, around_y, form, _matrices_of_x(w, form), bias)
    else:
        _gather(y, x, around_x, form, _matrices_of_y(w, form), bias)
    return x


def weigh(x: ndarray, y: ndarray, form: Form) -> ndarray:
    """w[a, b, c, o] = Σ x[n, i·s + a·d - p, …, c] · y[n, i, j, o]."""
    x, y = _alike(x, y)
    if x.shape[3] <= y.shape[3]:
        [(_, product)] = _products(x, y, around_y, form)
        return _as_kernel(product, form)
    g, c, o = form.groups, x.shape[3] // form.groups, y.shape[3] // form.groups
    w = np.zeros((*form.kernel, c, g, o), x.dtype)
    for phase, product in _products(y, x, around_x, form):
        part = w[phase.kernel]
        part[...] = product.reshape(g, *part.shape[:2], o, c).transpose(1, 2, 4, 0, 3)
    return w.reshape(*w.shape[:3], g * o)


def correlate_and_weigh(x: ndarray, w: ndarray, y: ndarray, form: Form) -> tuple[ndarray, ndarray]:
    """`correlate(x, w)` and `weigh(x, y)`, for both of which the windows of x are gathered once."""
    (x, w), y = _alike(x, w), np.ascontiguousarray(y, x.dtype)
    if x.shape[3] > y.shape[3] or scatters(x.shape[3], y.shape[3]):
        return correlate(x, w, None, form), weigh(x, y, form)
    z = np.empty(y.shape, x.dtype)
    matrix = _matrices_of_x(w, form)(around_y(form)[0])
    [(_, product)] = _products(x, y, around_y, form, also=(matrix, z))
    return z, _as_kernel(product, form)


def scatters(source: int, target: int, phases: int = 1, products: int = 0) -> bool:
    """Whether to multiply first and then add up, rather than to gather and then multiply.

    Between arrays of `source` and `target` channels, with t taps: gathering copies t·source
    elements for each pixel, adding up reads, adds and writes t·target, and takes about four times
    as long an element.  But where the target is made in phases, gathering takes them one by one in
    short calls, and must interleave them in the end, and adding up is as fast from equal numbers;
    unless the products of an image, t·target for each of its pixels, leave the cache.
    """
    if phases > 1 and products <= 2 * BLOCK:
        return target <= source
    return 4 * target < source


def _alike(a: ndarray, b: ndarray) -> tuple[ndarray, ndarray]:
    """Contiguous and of one dtype, a floating one; whole numbers don't widen the other's."""
    floats = [x.dtype for x in (a, b) if x.dtype.kind == "f"]
    dtype = np.result_type(*floats) if floats else np.float64
    return np.ascontiguousarray(a, dtype), np.ascontiguousarray(b, dtype)


def _matrices_of_x(w: ndarray, form: Form) -> Callable[[Phase], ndarray]:
    """Of a phase around y, (groups, taps·C, O)."""
    w = w.reshape(*w.shape[:3], form.groups, -1)
    return lambda phase: w[phase.kernel].transpose(3, 0, 1, 2, 4).reshape(
        form.groups, -1, w.shape[4])


def _matrices_of_y(w: ndarray, form: Form) -> Callable[[Phase], ndarray]:
    """Of a phase around x, (groups, taps·O, C)."""
    w = w.reshape(*w.shape[:3], form.groups, -1)
    return lambda phase: w[phase.kernel].transpose(3, 0, 1, 4, 2).reshape(
        form.groups, -1, w.shape[2])


def _as_kernel(product: ndarray, form: Form) -> ndarray:
    """(groups, taps·C, O) as (a, b, C, groups·O)."""
    g, o = form.groups, product.shape[2]
    return np.moveaxis(product.reshape(g, *form.kernel, -1, o), 0, 3).reshape(
        *form.kernel, product.shape[1] // math.prod(form.kernel), g * o)


# -- multiplying, adding up -----------------------------------------------------------------------
def _gather(source: ndarray, target: ndarray, side: Callable, form: Form,
            matrices: Callable[[Phase], ndarray], bias: ndarray | None) -> None:
    """target[around] = the gathered elements of source · matrix (+ bias), of each phase."""
    gathering = Gathering(source, side, form, even=True)
    phases, groups = gathering.phases, form.groups
    factors = [matrices(p) for p in phases]
    channels, width = target.shape[3], phases[0].columns.outputs
    beside = sum(p.outputs[1] == phases[0].outputs[1] for p in phases)  # phases of the same rows

    def multiply(whole: ndarray, scratch: Scratch) -> None:
        np.matmul(scratch.columns[0], factors[0], out=by_group(whole, groups))
        _finish(whole, bias, form)

    def multiply_phases(rows: list[ndarray], scratch: Scratch) -> None:
        if scratch.kept is None:
            scratch.kept = [np.empty((*out.shape[:2], width, beside, channels), target.dtype)
                            for out in rows]
        for k, (out, result) in enumerate(zip(rows, scratch.kept)):
            for j in range(beside):
                np.matmul(scratch.columns[k * beside + j], factors[k * beside + j],
                          out=by_group(result[..., j, :], groups))
            _finish(result, bias, form)
            together = result.reshape(*out.shape[:2], width * beside, channels)
            np.copyto(out, together[:, :, :out.shape[2]])

    pieces = []
    for n, i, part in gathering.blocks:
        rows = [target[p.outputs[:2]][n, i] for p in phases[::beside]]
        use = partial(multiply, rows[0]) if len(phases) == 1 else partial(multiply_phases, rows)
        pieces.append(gathering.piece(n, part, use))
    _run(pieces, target.size * max(f.shape[1] for f in factors))


def _products(source: ndarray, other: ndarray, side: Callable, form: Form,
              also: tuple[ndarray, ndarray] | None = None) -> list[tuple[Phase, ndarray]]:
    """Σ gathered elements of sourceᵀ · other, (groups, taps·channels, channels) of each phase.

    also: a matrix that they are multiplied by, and where the result goes.
    """
    gathering = Gathering(source, side, form)
    phases, blocks, groups = gathering.phases, gathering.blocks, form.groups
    number = min(SUMS, len(blocks))
    sizes = [(groups, p.rows.taps * p.columns.taps * source.shape[3] // groups,
              other.shape[3] // groups) for p in phases]
    sums_of = [[np.zeros(size, source.dtype) for size in sizes] for _ in range(max(1, number))]

    def add(totals: list[ndarray], others: list[ndarray], result: ndarray | None,
            scratch: Scratch) -> None:
        if scratch.kept is None:
            scratch.kept = [np.empty_like(total) for total in totals]
        for total, product, gathered, o in zip(totals, scratch.kept, scratch.columns, others):
            o = np.ascontiguousarray(o)
            np.matmul(gathered.swapaxes(1, 2), by_group(o, groups), out=product)
            total += product
        if result is not None:
            np.matmul(scratch.columns[0], also[0], out=by_group(result, groups))

    def together(pieces: list[Callable[[], None]]) -> None:
        for piece in pieces:
            piece()

    shares = [[gathering.piece(n, part, partial(
                   add, totals, [other[p.outputs][n, i] for p in phases],
                   None if also is None else also[1][n, i]))
               for n, i, part in blocks[len(blocks) * k // number:len(blocks) * (k + 1) // number]]
              for k, totals in enumerate(sums_of[:number])]
    _run([partial(together, share) for share in shares], other.size * max(s[1] for s in sizes))
    return [(phase, sum(of[1:], start=of[0])) for phase, of in zip(phases, zip(*sums_of))]


def _scatter(source: ndarray, target: ndarray, side: Callable, form: Form,
             matrices: Callable[[Phase], ndarray], bias: ndarray | None) -> None:
    """The transpose of `_gather`: source[around] · matrixᵀ, added up to where it was gathered."""
    phases, groups = side(form), form.groups
    factors, (moves, complete) = [matrices(p) for p in phases], sums(side, form)
    target = target.reshape(*target.shape[:3], groups, target.shape[3] // groups)
    if bias is not None:
        bias = bias.reshape(target.shape[3:])
    spare: dict[int, list[Products]] = defaultdict(list)

    def block(parts: list[ndarray], out: ndarray) -> None:
        try:
            products = spare[len(out)].pop()
        except IndexError:
            products = Products(phases, moves, out)
        for part, factor, result in zip(parts, factors, products.of_phase):
            part = np.ascontiguousarray(part)
            np.matmul(factor, by_group(part, groups).swapaxes(1, 2), out=result)
        products.add_up(out, complete)
        _finish(out, bias, form)
        spare[len(out)].append(products)

    pixels = max(p.rows.outputs * p.columns.outputs for p in phases)
    at_once = images_at_once(len(source), pixels * max(f[..., 0].size for f in factors))
    _run([partial(block, [source[p.outputs][n] for p in phases], target[n])
          for n in cuts(len(source), at_once)], source.size * max(f.shape[1] for f in factors))


def _finish(block: ndarray, bias: ndarray | None, form: Form) -> None:
    """While the block is in the cache: passes of their own would fetch it again."""
    if bias is not None:
        block += bias
    if form.rectify:
        above_zero(block, out=block)


def _run(pieces: list[Callable[[], None]], multiplications: int) -> None:
    with one_thread():
        run(pieces, num_threads() if multiplications >= WORTH else 1)
