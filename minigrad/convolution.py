"""Convolution, pooling and resizing of images, channels last.

Images are (N, H, W, C), sequences (N, L, C); kernels (a, b, C_in/groups, C_out).  An output element
is the correlation of the kernel with the input under it, as everywhere in this field.

The convolution, its transpose and its weight gradient are the three contractions of the form

    T(x, w, y) = Σ x[n, i·s + a·d - p, j·s + b·d - p, c] · w[a, b, c, o] · y[n, i, j, o]

in which each array meets the other two.  The derivative of one of the three by one of its factors
is another of the three: they need no rule but each other, to any order, and nothing is kept for the
way back but the factors themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.functions import column_sums
from minigrad.kernels import convolution as kernels
from minigrad.kernels.convolution import Form
from minigrad.tensor import Primitive

Padding = int | tuple[int, int] | str

correlation = Primitive(
    kernels.correlate,
    lambda g, y, x, w, bias, form: transposed(g, w, None, form),
    lambda g, y, x, w, bias, form: weight_gradient(x, g, form),
    lambda g, y, x, w, bias, form: column_sums(g), name="conv2d")
transposed = Primitive(
    kernels.spread,
    lambda g, x, y, w, bias, form: correlation(g, w, None, form),
    lambda g, x, y, w, bias, form: weight_gradient(g, y, form),
    lambda g, x, y, w, bias, form: column_sums(g), name="conv_transpose2d")
weight_gradient = Primitive(
    kernels.weigh,
    lambda g, w, x, y, form: transposed(y, g, None, form),
    lambda g, w, x, y, form: correlation(x, g, None, form), name="conv2d_weight_gradient")


# -- convolution ----------------------------------------------------------------------------------
def conv2d(x: Any, w: Any, stride: int | tuple[int, int] = 1, padding: Padding = 0,
           dilation: int | tuple[int, int] = 1, groups: int = 1, *, bias: Any = None) -> Any:
    """y[n, i, j, o] = Σ x[n, i·s + a·d - p, j·s + b·d - p, c] · w[a, b, c, o] (+ bias[o]).

    x (N, H, W, C), w (a, b, C/groups, O), bias (O,) -> (N, H', W', O) with
    H' = ⌊(H + 2p - d·(a - 1) - 1)/s⌋ + 1, and W' likewise.

    padding: zeros on each side; "valid" is 0, "same" gives H' = ⌈H/s⌉, with the odd zero behind.
    dilation: distance of the kernel's taps.  groups: parts of the channels that don't see each
    other; groups = C with w (a, b, 1, C·m) is a depthwise convolution.

    Raises ValueError for shapes that don't fit.
    """
    _check_arrays("conv2d", x, w)
    stride, dilation = as_pair("stride", stride, 1), as_pair("dilation", dilation, 1)
    size, kernel = x.shape[1:3], w.shape[:2]
    _check_channels("conv2d", x, w, groups, x.shape[3], w.shape[2], w.shape[3], bias)
    before, after = zeros_around(padding, size, kernel, stride, dilation)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel))
    room = tuple(n + b + a for n, b, a in zip(size, before, after))
    if any(r > n for r, n in zip(reach, room)):
        raise ValueError(
            f"conv2d: the kernel reaches over {reach} pixels, dilation·(kernel - 1) + 1, but the "
            f"input with its padding has {room}: x {x.shape}, w {w.shape}, padding {padding!r}, "
            f"dilation {dilation}")
    out = tuple((n - r) // s + 1 for n, r, s in zip(room, reach, stride))
    return correlation(x, w, bias, Form(size, out, kernel, stride, before, dilation, groups))


def conv_transpose2d(x: Any, w: Any, stride: int | tuple[int, int] = 1, padding: Padding = 0,
                     output_padding: int | tuple[int, int] = 0,
                     dilation: int | tuple[int, int] = 1, groups: int = 1, *,
                     output_size: tuple[int, int] | None = None, bias: Any = None) -> Any:
    """The transpose of `conv2d` with the same w: Σ y·conv2d(x, w) = Σ x·conv_transpose2d(y, w).

    x (N, H, W, C), w (a, b, O/groups, C), bias (O,) -> (N, H', W', O) with
    H' = (H - 1)·s - 2p + d·(a - 1) + 1 + output_padding, and W' likewise.

    With stride s, s sizes H' are such that `conv2d` makes H of them; `output_padding` (rows behind
    that little or nothing reaches, no zeros) or `output_size` says which.  padding: as of the
    conv2d, so that it takes rows away; "same" gives H' = H·s.

    Raises ValueError for shapes that don't fit.
    """
    name = "conv_transpose2d"
    _check_arrays(name, x, w)
    stride, dilation = as_pair("stride", stride, 1), as_pair("dilation", dilation, 1)
    extra = as_pair("output_padding", output_padding, 0)
    size, kernel = x.shape[1:3], w.shape[:2]
    _check_channels(name, x, w, groups, x.shape[3], w.shape[3], w.shape[2] * groups, bias)
    if padding == "same":
        if extra != (0, 0) or output_size is not None:
            raise ValueError('conv_transpose2d: padding="same" fixes the size, to H·stride; leave '
                             "out output_padding and output_size")
        out = tuple(n * s for n, s in zip(size, stride))
        before = zeros_around("same", out, kernel, stride, dilation)[0]
        return transposed(x, w, bias, Form(out, size, kernel, stride, before, dilation, groups))
    before, _ = zeros_around(padding, size, kernel, stride, dilation)
    least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1
                  for n, s, p, d, k in zip(size, stride, before, dilation, kernel))
    spare = tuple(max(s, d) for s, d in zip(stride, dilation))
    if any(e >= m for e, m in zip(extra, spare)):
        raise ValueError(f"conv_transpose2d: output_padding {extra} must be smaller than the "
                         f"stride {stride} or the dilation {dilation}: behind that, there are only "
                         "zeros; for more rows use np.pad")
    out = tuple(m + e for m, e in zip(least, extra))
    if output_size is not None:
        out = _chosen(output_size, least, spare, extra)
    if min(out) < 1:
        raise ValueError(
            f"conv_transpose2d: an output of {out} pixels, (n - 1)·stride - 2·padding + "
            f"dilation·(kernel - 1) + 1 + output_padding, is empty: x {x.shape}, w {w.shape}, "
            f"stride {stride}, padding {padding!r}, dilation {dilation}, output_padding {extra}")
    return transposed(x, w, bias, Form(out, size, kernel, stride, before, dilation, groups))


def conv1d(x: Any, w: Any, stride: int = 1, padding: int | str = 0, dilation: int = 1,
           groups: int = 1, *, bias: Any = None) -> Any:
    """`conv2d` of sequences: x (N, L, C), w (a, C/groups, O) -> (N, L', O)."""
    _check_sequences("conv1d", x, w)
    y = conv2d(np.expand_dims(x, 1), np.expand_dims(w, 0), (1, stride), _padding1d(padding),
               (1, dilation), groups, bias=bias)
    return np.squeeze(y, 1)


def conv_transpose1d(x: Any, w: Any, stride: int = 1, padding: int | str = 0,
                     output_padding: int = 0, dilation: int = 1, groups: int = 1, *,
                     output_size: int | None = None, bias: Any = None) -> Any:
    """`conv_transpose2d` of sequences: x (N, L, C), w (a, O/groups, C) -> (N, L', O)."""
    _check_sequences("conv_transpose1d", x, w)
    size = None if output_size is None else (1, output_size)
    y = conv_transpose2d(np.expand_dims(x, 1), np.expand_dims(w, 0), (1, stride),
                         _padding1d(padding), (0, output_padding), (1, dilation), groups,
                         output_size=size, bias=bias)
    return np.squeeze(y, 1)


# -- what is asked for, checked -------------------------------------------------------------------
def as_pair(name: str, value: Any, least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (
        value, value)
    if len(pair) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in pair):
        raise ValueError(f"{name}={value!r}: a whole number of {least} or more, or a pair of them "
                         "for rows and columns")
    return int(pair[0]), int(pair[1])


def _padding1d(padding: int | str) -> Padding:
    return padding if isinstance(padding, str) else (0, padding)


def zeros_around(padding: Padding, size: Sequence[int], kernel: Sequence[int],
                 stride: Sequence[int], dilation: Sequence[int]) -> tuple[tuple, tuple]:
    """Rows and columns of zeros before and behind the image."""
    if padding == "same":
        total = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
                 for n, k, s, d in zip(size, kernel, stride, dilation)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(f'padding={padding!r}: a whole number, a pair, "same" or "valid"')
    sides = as_pair("padding", 0 if padding == "valid" else padding, 0)
    return sides, sides


def _check_arrays(name: str, x: Any, w: Any) -> None:
    if np.ndim(x) != 4 or np.ndim(w) != 4:
        raise ValueError(f"{name} takes images (N, H, W, C) and a kernel of four axes, these have "
                         f"shapes {np.shape(x)} and {np.shape(w)}")
    if 0 in w.shape:
        raise ValueError(f"{name}: a kernel of shape {w.shape} has no elements")


def _check_sequences(name: str, x: Any, w: Any) -> None:
    if np.ndim(x) != 3 or np.ndim(w) != 3:
        raise ValueError(f"{name} takes sequences (N, L, C) and a kernel of three axes, these have "
                         f"shapes {np.shape(x)} and {np.shape(w)}")


def _check_channels(name: str, x: Any, w: Any, groups: int, given: int, of_kernel: int,
                    out: int, bias: Any) -> None:
    """`of_kernel`: input channels that the kernel's shape names; of conv2d, in each group."""
    if groups < 1 or given % groups or out % groups:
        raise ValueError(f"{name}: groups={groups} must divide the {given} input and the {out} "
                         f"output channels: x {x.shape}, w {w.shape}")
    expected = of_kernel * groups if name == "conv2d" else of_kernel
    if given != expected:
        layout = "(a, b, C/groups, O)" if name == "conv2d" else "(a, b, O/groups, C)"
        hint = ""
        if x.shape[1] == expected:
            hint = ("; x looks like channels first, (N, C, H, W): give np.moveaxis(x, 1, -1)")
        raise ValueError(f"{name}: x {x.shape} has {given} channels, w {w.shape} = {layout} with "
                         f"groups={groups} is for {expected}{hint}")
    if bias is not None and np.shape(bias) != (out,):
        raise ValueError(f"{name}: a bias of shape {np.shape(bias)} for {out} output channels: it "
                         f"must be ({out},), a number for each")


def _chosen(output_size: Any, least: tuple, spare: tuple, extra: tuple) -> tuple[int, int]:
    if extra != (0, 0):
        raise ValueError("conv_transpose2d: give output_padding or output_size, not both")
    out = as_pair("output_size", output_size, 1)
    if not all(m <= n < m + s for n, m, s in zip(out, least, spare)):
        rows, columns = (", ".join(str(m + k) for k in range(s)) for m, s in zip(least, spare))
        raise ValueError(f"conv_transpose2d: output_size {out} can't be had; rows can be {rows}, "
                         f"and columns {columns}")
    return out
