"""Pooling and resizing of images (N, H, W, C)."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.convolution import Padding, Size, as_pair, zeros_around
from minigrad.define import with_vjp
from minigrad.rules.linalg import matmul
from minigrad.tensor import Tensor, untraced


def max_pool2d(x: Any, size: Size, stride: Size | None = None, padding: Padding = 0) -> Any:
    """The largest element of each window of `size`; equal ones share the gradient.

    x (N, H, W, C) -> (N, H', W', C) with H' = ⌊(H + 2p - size)/stride⌋ + 1.  The stride is the size
    unless given.  Padding is never chosen.
    """
    x = _images("max_pool2d", x)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return largest(_windows("max_pool2d", x, size, stride, padding, least))


def avg_pool2d(x: Any, size: Size, stride: Size | None = None, padding: Padding = 0) -> Any:
    """The mean of each window of `size`, over those of its pixels that exist: padding is no pixel.

    Shapes as of `max_pool2d`.
    """
    x = _images("avg_pool2d", x)
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    total = weighted(_windows("avg_pool2d", x, size, stride, padding, 0), None)
    there = np.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / weighted(_windows("avg_pool2d", there, size, stride, padding, 0), None)


def upsample2d(x: Any, scale: Size, mode: str = "nearest") -> Any:
    """x (N, H, W, C) -> (N, scale·H, scale·W, C), by repetition or "bilinear" interpolation.

    Bilinear: pixels are areas, the new ones' centres at (i + ½)/scale - ½ of the old; beyond the
    outermost centres it is constant (`align_corners=False` elsewhere).
    """
    x = _images("upsample2d", x)
    rows, columns = as_pair("scale", scale, 1)
    n, h, w, c = x.shape
    if mode == "nearest":
        repeated = np.broadcast_to(np.reshape(x, (n, h, 1, w, 1, c)), (n, h, rows, w, columns, c))
        return np.reshape(repeated, (n, h * rows, w * columns, c))
    if mode != "bilinear":
        raise ValueError(f'upsample2d: mode={mode!r}: "nearest" or "bilinear"')
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    tall = matmul(_interpolation(h, rows, dtype), np.reshape(x, (n, h, w * c)))
    wide = matmul(_interpolation(w, columns, dtype), np.reshape(tall, (n * h * rows, w, c)))
    return np.reshape(wide, (n, h * rows, w * columns, c))


def _interpolation(size: int, scale: int, dtype: np.dtype) -> ndarray:
    """(scale·size, size): the weights of the old pixels in each new one."""
    place = np.clip((np.arange(scale * size) + 0.5) / scale - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(size))).astype(dtype)


def _images(name: str, x: Any) -> Any:
    x = x if isinstance(x, Tensor) else np.asarray(x)
    if x.ndim != 4:
        raise ValueError(f"{name} takes images (N, H, W, C), not an array of shape {x.shape}")
    return x


def _windows(name: str, x: Any, size: Size, stride: Size | None, padding: Padding,
             fill: Any) -> Any:
    """(N, H', a, W', b, C): each window's pixels, those outside of the image being `fill`."""
    size = as_pair("size", size, 1)
    stride = size if stride is None else as_pair("stride", stride, 1)
    before, after = zeros_around(padding, x.shape[1:3], size, stride, (1, 1))
    if any(max(b, a) >= s for b, a, s in zip(before, after, size)):
        raise ValueError(f"{name}: padding {padding!r} is as large as the window {size}: some "
                         "windows would hold no pixel")
    room = [n + b + a for n, b, a in zip(x.shape[1:3], before, after)]
    if any(s > n for s, n in zip(size, room)):
        raise ValueError(f"{name}: a window of {size} is larger than the image with its padding, "
                         f"{tuple(room)}: x {x.shape}, padding {padding!r}")
    if any(before) or any(after):
        x = np.pad(x, ((0, 0), *zip(before, after), (0, 0)), constant_values=fill)
    h, w = ((n - s) // t + 1 for n, s, t in zip(room, size, stride))
    if size == stride:  # they tile the image: no element twice
        tiles = x if (h * size[0], w * size[1]) == tuple(room) else x[:, :h * size[0], :w * size[1]]
        return np.reshape(tiles, (len(x), h, size[0], w, size[1], x.shape[3]))
    return unfold(x, (h, w), size, stride)


# -- over the pixels of each window, (N, H', a, W', b, C) -> (N, H', W', C) ------------------------
# One pixel of all windows at a time: NumPy is several times slower over axes 2 and 4 at once.
def _pixels(windows: ndarray) -> list[tuple]:
    every = slice(None)
    return [(every, every, a, every, b) for a, b in np.ndindex(windows.shape[2], windows.shape[4])]


@with_vjp(lambda g, y, x: _to_the_largest(g, untraced(y), untraced(x)))
def largest(x: ndarray) -> ndarray:
    return reduce(np.maximum, (x[p] for p in _pixels(x)))


def _to_the_largest(g: Any, y: ndarray, x: ndarray) -> Any:
    """g at the pixel that is y, or an equal part of it at each of those that are."""
    ties = np.empty(x.shape, bool)
    for p in _pixels(x):
        np.equal(x[p], y, out=ties[p])
    return shared(g / reduce(np.add, (ties[p].astype(y.dtype) for p in _pixels(x))), ties, x.shape)


@with_vjp(lambda g, y, x, weights: shared(g, weights, x.shape))
def weighted(x: ndarray, weights: ndarray | None) -> ndarray:
    """Σ x·weights; all weights are 1 where none are given."""
    pixels = _pixels(x)
    return reduce(np.add, (x[p] if weights is None else x[p] * weights[p] for p in pixels))


@with_vjp(lambda g, x, y, weights, shape: weighted(g, weights))
def shared(y: ndarray, weights: ndarray | None, shape: tuple) -> ndarray:
    """The transpose of `weighted`: y·weights at each pixel of the window."""
    x = np.empty(shape, y.dtype)
    for p in _pixels(x):
        x[p] = y if weights is None else y * weights[p]
    return x


# -- the windows of an image ----------------------------------------------------------------------
@with_vjp(lambda g, y, x, out, size, stride: fold(g, x.shape, out, size, stride))
def unfold(x: ndarray, out: tuple, size: tuple, stride: tuple) -> ndarray:
    """(N, H', a, W', b, C): the windows of x, one pixel in several of them where they overlap."""
    n, row, column, channel = x.strides
    view = np.lib.stride_tricks.as_strided(
        x, (len(x), out[0], size[0], out[1], size[1], x.shape[3]),
        (n, row * stride[0], row, column * stride[1], column, channel), writeable=False)
    return np.ascontiguousarray(view)


@with_vjp(lambda g, x, windows, shape, out, size, stride: unfold(g, out, size, stride))
def fold(windows: ndarray, shape: tuple, out: tuple, size: tuple, stride: tuple) -> ndarray:
    """The transpose of `unfold`: what lies in several windows is added up."""
    x = np.zeros(shape, windows.dtype)
    for a in range(size[0]):
        for b in range(size[1]):
            x[:, a:a + out[0] * stride[0]:stride[0],
              b:b + out[1] * stride[1]:stride[1]][:, :out[0], :out[1]] += windows[:, :, a, :, b]
    return x
