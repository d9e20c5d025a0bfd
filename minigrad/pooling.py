"""Pooling and resizing of images (N, H, W, C)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.convolution import Padding, Size, as_pair, zeros_around
from minigrad.define import with_vjp
from minigrad.rules.linalg import matmul
from minigrad.tensor import Tensor


def max_pool2d(x: Any, size: Size, stride: Size | None = None, padding: Padding = 0) -> Any:
    """The largest element of each window of `size`; equal ones share the gradient.

    x (N, H, W, C) -> (N, H', W', C) with H' = ⌊(H + 2p - size)/stride⌋ + 1.  The stride is the size
    unless given.  Padding is never chosen.
    """
    x = _images("max_pool2d", x)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return np.max(_windows("max_pool2d", x, size, stride, padding, least), axis=(2, 4))


def avg_pool2d(x: Any, size: Size, stride: Size | None = None, padding: Padding = 0) -> Any:
    """The mean of each window of `size`, over those of its pixels that exist: padding is no pixel.

    Shapes as of `max_pool2d`.
    """
    x = _images("avg_pool2d", x)
    total = np.sum(_windows("avg_pool2d", x, size, stride, padding, 0), axis=(2, 4))
    there = np.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / np.sum(_windows("avg_pool2d", there, size, stride, padding, 0), axis=(2, 4))


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
