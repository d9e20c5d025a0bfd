"""Products of matrices on our own threads."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from minigrad.kernels.blas import OneThread, openblas
from minigrad.kernels.threads import num_threads, run

WORTH = 8e6  # floating-point operations, below which waking a thread costs more than it saves


def product(a: ndarray, b: ndarray, bias: ndarray | None = None) -> ndarray:
    """a @ b (+ bias), with a (m, k), b (k, n), bias (n,).

    The longer side of the result is cut, into a number of pieces that depends on the shapes alone,
    so that the same sums are formed on any number of threads.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or openblas() is None:
        out = np.matmul(a, b)
        return out if bias is None else np.add(out, bias, out=out)
    work = 2.0 * a.shape[0] * a.shape[1] * b.shape[1]
    pieces = 1 if work < WORTH else 2 if work < 128 * WORTH else 4
    with OneThread():
        if pieces == 1:
            out = np.matmul(a, b)
            return out if bias is None else np.add(out, bias, out=out)
        return _in_pieces(a, b, bias, pieces)


def _in_pieces(a: ndarray, b: ndarray, bias: ndarray | None, pieces: int) -> ndarray:
    out = np.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    by_rows, everything = out.shape[0] >= out.shape[1], slice(None)

    def piece(cut: slice) -> None:
        rows, columns = (cut, everything) if by_rows else (everything, cut)
        part = np.matmul(a[rows], b[:, columns], out=out[rows, columns])
        if bias is not None:
            part += bias[columns]

    run([lambda c=c: piece(c) for c in _cuts(max(out.shape), pieces)], num_threads())
    return out


def _cuts(n: int, pieces: int) -> list[slice]:
    """Nearly equal parts of 0 … n, at multiples of 16, the width of the products' inner loops."""
    bounds = [n * k // pieces // 16 * 16 for k in range(pieces)] + [n]
    return [slice(a, b) for a, b in zip(bounds, bounds[1:])]
