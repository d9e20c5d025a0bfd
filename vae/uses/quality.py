"""How near an image is to the one it should be."""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray


def psnr(found: ndarray, truth: ndarray, *, where: ndarray | None = None,
         peak: float = 1.0) -> ndarray:
    """10 log₁₀ peak²/MSE in dB, of each image: found and truth (n, …) -> (n,), in float64.

    The mean of the squared error is over the pixels of an image, or over those `where` is True, a
    Boolean array that broadcasts against the images.  peak: white less black.  Infinite where
    nothing differs.  Values are taken as they are: clip what may lie outside of the range.

    Raises ValueError for images of two shapes, and where an image has no pixel to compare.
    """
    if np.shape(found) != np.shape(truth) or np.ndim(truth) < 2:
        raise ValueError(f"psnr of images of shapes {np.shape(found)} and {np.shape(truth)}: both "
                         "must be (n, …)")
    if not 0 < peak < math.inf:
        raise ValueError(f"psnr with peak={peak}: the range of the pixels, 1 for 0 … 1")
    n = len(truth)
    counted = np.broadcast_to(True if where is None else where, np.shape(truth)).reshape(n, -1)
    if not counted.any(axis=1).all():
        raise ValueError("psnr: no pixel of image "
                         f"{int(np.argmin(counted.any(axis=1)))} is compared")
    squares = np.square(np.subtract(found, truth, dtype=np.float64)).reshape(n, -1)
    error = np.sum(squares, axis=1, where=counted) / counted.sum(axis=1)
    with np.errstate(divide="ignore"):  # of no error
        return 10 * np.log10(peak**2 / error)
