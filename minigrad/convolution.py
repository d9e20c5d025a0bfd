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
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.functions import column_sums, if_positive
from minigrad.kernels import convolution as kernels
from minigrad.kernels.windows import Form, Pair
from minigrad.tensor import Primitive, Tensor

Size = int | tuple[int, int]
Padding = int | tuple[int, int] | str

correlation = Primitive(
    kernels.correlate,
    lambda g, y, x, w, bias, form: transposed(g, w, None, linear(form)),
    lambda g, y, x, w, bias, form: weight_gradient(x, g, linear(form)),
    lambda g, y, x, w, bias, form: column_sums(g), name="conv2d")
transposed = Primitive(
    lambda y, w, bias, form, found=None: kernels.spread(y, w, bias, form),
    lambda g, x, y, w, bias, form, found=None: _back_to_input(g, y, w, linear(form), found),
    lambda g, x, y, w, bias, form, found=None: _back_to_kernel(g, y, linear(form), found),
    lambda g, x, y, w, bias, form, found=None: column_sums(g), name="conv_transpose2d")
weight_gradient = Primitive(
    kernels.weigh,
    lambda g, w, x, y, form: transposed(y, g, None, form),
    lambda g, w, x, y, form: correlation(x, g, None, form), name="conv2d_weight_gradient")


def _back_to_input(g: Any, y: Any, w: Any, form: Form, found: dict | None) -> Any:
    """In first-order backprop the gradient of the kernel, too: it needs the same windows of g."""
    if found is None or not all(type(a) is ndarray for a in (g, y, w)):
        return correlation(g, w, None, form)
    gradient, kernel = kernels.correlate_and_weigh(g, w, y, form)
    found.update(of=g, kernel=kernel)
    return gradient


def _back_to_kernel(g: Any, y: Any, form: Form, found: dict | None) -> Any:
    if found and found["of"] is g:
        kernel = found["kernel"]
        found.clear()
        return kernel
    return weight_gradient(g, y, form)


def linear(form: Form) -> Form:
    return form._replace(rectify=False) if form.rectify else form


# The kernel may rectify a block while it lies in the cache.  Since relu(relu(y)) = relu(y), what is
# left for the node of the relu is its slope; and no vjp of a convolution looks at its result.
rectified = Primitive(lambda y: y, lambda g, y, x: if_positive(g, y), name="relu")


# -- convolution ----------------------------------------------------------------------------------
def conv2d(x: Any, w: Any, stride: Size = 1, padding: Padding = 0, dilation: Size = 1,
           groups: int = 1, *, bias: Any = None, rectify: bool = False) -> Any:
    """y[n, i, j, o] = Σ x[n, i·s + a·d - p, j·s + b·d - p, c] · w[a, b, c, o] (+ bias[o]).

    x (N, H, W, C), w (a, b, C/groups, O), bias (O,) -> (N, H', W', O) with
    H' = ⌊(H + 2p - d·(a - 1) - 1)/s⌋ + 1, and W' likewise.

    padding: zeros on each side; "valid" is 0, "same" gives H' = ⌈H/s⌉, with the odd zero behind.
    dilation: distance of the kernel's taps.  groups: parts of the channels that don't see each
    other; groups = C with w (a, b, 1, C·m) is a depthwise convolution.  rectify: relu of it, in the
    same pass over memory.

    Raises ValueError for shapes that don't fit.
    """
    return _convolve(Call("conv2d", 2), x, w, stride, padding, dilation, groups, bias, rectify)


def conv1d(x: Any, w: Any, stride: int = 1, padding: int | str = 0, dilation: int = 1,
           groups: int = 1, *, bias: Any = None, rectify: bool = False) -> Any:
    """`conv2d` of sequences: x (N, L, C), w (a, C/groups, O) -> (N, L', O)."""
    return _convolve(Call("conv1d", 1), x, w, stride, padding, dilation, groups, bias, rectify)


def conv_transpose2d(x: Any, w: Any, stride: Size = 1, padding: Padding = 0,
                     output_padding: Size = 0, dilation: Size = 1, groups: int = 1, *,
                     output_size: tuple[int, int] | None = None, bias: Any = None,
                     rectify: bool = False) -> Any:
    """The transpose of `conv2d` with the same w: Σ y·conv2d(x, w) = Σ x·conv_transpose2d(y, w).

    x (N, H, W, C), w (a, b, O/groups, C), bias (O,) -> (N, H', W', O) with
    H' = (H - 1)·s - 2p + d·(a - 1) + 1 + output_padding, and W' likewise.

    With stride s there are s sizes H' of which `conv2d` makes H; `output_padding` says how many
    rows more than the fewest, `output_size` says how many rows.  padding: of the conv2d, so that it
    takes rows away; "same" gives H' = H·s.  rectify: relu of it, in the same pass over memory.

    Raises ValueError for shapes that don't fit.
    """
    return _transpose(Call("conv_transpose2d", 2), x, w, stride, padding, output_padding, dilation,
                      groups, output_size, bias, rectify)


def conv_transpose1d(x: Any, w: Any, stride: int = 1, padding: int | str = 0,
                     output_padding: int = 0, dilation: int = 1, groups: int = 1, *,
                     output_size: int | None = None, bias: Any = None,
                     rectify: bool = False) -> Any:
    """`conv_transpose2d` of sequences: x (N, L, C), w (a, O/groups, C) -> (N, L', O)."""
    return _transpose(Call("conv_transpose1d", 1), x, w, stride, padding, output_padding, dilation,
                      groups, output_size, bias, rectify)


def _convolve(call: Call, x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int,
              bias: Any, rectify: bool) -> Any:
    x, w, bias = call.arrays(x, w, bias)
    stride = call.pair("stride", stride, 1)
    dilation = call.pair("dilation", dilation, 1)
    call.check_channels(x, w, groups, w.shape[2] * groups, w.shape[3], bias)
    size, kernel = x.shape[1:3], w.shape[:2]
    before, after = call.zeros_around(padding, size, kernel, stride, dilation)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel))
    room = tuple(n + b + a for n, b, a in zip(size, before, after))
    if any(r > n for r, n in zip(reach, room)):
        raise ValueError(
            f"{call.name}: the kernel reaches over {call.shown(reach)} pixels, "
            f"dilation·(kernel - 1) + 1, but the input with its padding has {call.shown(room)}: "
            f"{call.shapes(x, w)}, padding {padding!r}, dilation {call.shown(dilation)}")
    out = tuple((n - r) // s + 1 for n, r, s in zip(room, reach, stride))
    form = Form(size, out, kernel, stride, before, dilation, groups, rectify)
    y = correlation(x, w, bias, form)
    return call.result(rectified(y) if rectify else y)


def _transpose(call: Call, x: Any, w: Any, stride: Any, padding: Any, output_padding: Any,
               dilation: Any, groups: int, output_size: Any, bias: Any, rectify: bool) -> Any:
    x, w, bias = call.arrays(x, w, bias)
    stride = call.pair("stride", stride, 1)
    dilation = call.pair("dilation", dilation, 1)
    extra = call.pair("output_padding", output_padding, 0)
    call.check_channels(x, w, groups, w.shape[3], w.shape[2] * groups, bias)
    size, kernel = x.shape[1:3], w.shape[:2]
    if extra != (0, 0) and output_size is not None:
        raise ValueError(f"{call.name}: give output_padding or output_size, not both")
    if padding == "same":
        if extra != (0, 0) or output_size is not None:
            raise ValueError(f'{call.name}: padding="same" fixes the size, to H·stride; leave out '
                             "output_padding and output_size")
        out = tuple(n * s for n, s in zip(size, stride))
        before = call.zeros_around("same", out, kernel, stride, dilation)[0]
    else:
        before = call.zeros_around(padding, size, kernel, stride, dilation)[0]
        out = _size_of_transposed(call, size, kernel, stride, before, dilation, extra, output_size)
        if min(out) < 1:
            raise ValueError(
                f"{call.name}: an output of {call.shown(out)} pixels, (n - 1)·stride - 2·padding + "
                f"dilation·(kernel - 1) + 1 + output_padding, is empty: {call.shapes(x, w)}, "
                f"stride {call.shown(stride)}, padding {padding!r}, "
                f"dilation {call.shown(dilation)}, output_padding {call.shown(extra)}")
    form = Form(out, size, kernel, stride, before, dilation, groups, rectify)
    found = {} if isinstance(x, Tensor) and isinstance(w, Tensor) else None
    y = transposed(x, w, bias, form, found)
    return call.result(rectified(y) if rectify else y)


def _size_of_transposed(call: Call, size: Pair, kernel: Pair, stride: Pair, before: Pair,
                        dilation: Pair, extra: Pair, output_size: Any) -> Pair:
    least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1
                  for n, s, p, d, k in zip(size, stride, before, dilation, kernel))
    choices = tuple(max(s, d) for s, d in zip(stride, dilation))
    if any(e >= c for e, c in zip(extra, choices)):
        raise ValueError(
            f"{call.name}: output_padding {call.shown(extra)} must be smaller than the stride "
            f"{call.shown(stride)} or the dilation {call.shown(dilation)}: behind that there are "
            "only zeros; for more of them use np.pad")
    if output_size is None:
        return tuple(m + e for m, e in zip(least, extra))
    out = call.pair("output_size", output_size, 1, first=least[0])
    if not all(m <= n < m + c for n, m, c in zip(out, least, choices)):
        possible = [", ".join(str(n) for n in range(max(1, m), m + c)) or "none"
                    for m, c in zip(least, choices)]
        which = f"rows can be {possible[0]}, and columns {possible[1]}" if call.axes == 2 else (
            f"it can be {possible[1]}")
        raise ValueError(
            f"{call.name}: output_size {call.shown(out)} can't be had; {which}: input of "
            f"{call.shown(size)}, kernel {call.shown(kernel)}, stride {call.shown(stride)}, "
            f"padding {call.shown(before)}, dilation {call.shown(dilation)}")
    return out


# -- what is asked for, checked -------------------------------------------------------------------
class Call(NamedTuple):
    """A function's name and its number of spatial axes, for messages; a sequence is an image of
    one row.
    """

    name: str
    axes: int

    def arrays(self, x: Any, w: Any, bias: Any) -> tuple[Any, Any, Any]:
        """As arrays or Tensors, x and w with four axes."""
        x, w, bias = (a if a is None or isinstance(a, Tensor) else np.asarray(a)
                      for a in (x, w, bias))
        wanted = "images (N, H, W, C)" if self.axes == 2 else "sequences (N, L, C)"
        if x.ndim != self.axes + 2 or w.ndim != self.axes + 2:
            hint = "; for one channel give x[..., None]" if x.ndim == self.axes + 1 else ""
            raise ValueError(f"{self.name} takes {wanted} and a kernel of {self.axes + 2} axes, "
                             f"these have shapes {x.shape} and {w.shape}{hint}")
        if 0 in w.shape:
            raise ValueError(f"{self.name}: a kernel of shape {w.shape} has no elements")
        if self.axes == 1:
            x, w = np.expand_dims(x, 1), np.expand_dims(w, 0)
        return x, w, bias

    def result(self, y: Any) -> Any:
        return y if self.axes == 2 else np.squeeze(y, 1)

    def pair(self, option: str, value: Any, least: int, first: int | None = None) -> Pair:
        """For rows and columns; a sequence's row has `first`, or what changes nothing."""
        if self.axes == 2:
            return as_pair(option, value, least)
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{option}={value!r}: a whole number of {least} or more")
        return least if first is None else first, int(value)

    def zeros_around(self, padding: Any, size: Pair, kernel: Pair, stride: Pair,
                     dilation: Pair) -> tuple[Pair, Pair]:
        if self.axes == 1 and not isinstance(padding, str):
            padding = self.pair("padding", padding, 0)
        return zeros_around(padding, size, kernel, stride, dilation)

    def shown(self, pair: Pair) -> Pair | int:
        return pair if self.axes == 2 else pair[1]

    def shapes(self, x: Any, w: Any) -> str:
        if self.axes == 1:
            return f"x {(x.shape[0], *x.shape[2:])}, w {w.shape[1:]}"
        return f"x {x.shape}, w {w.shape}"

    def check_channels(self, x: Any, w: Any, groups: int, expected: int, out: int,
                       bias: Any) -> None:
        given, shapes = x.shape[3], self.shapes(x, w)
        if not isinstance(groups, (int, np.integer)) or groups < 1 or given % groups or (
                out % groups):
            raise ValueError(f"{self.name}: groups={groups} must divide the {given} input and the "
                             f"{out} output channels: {shapes}")
        if given != expected:
            layout = "O/groups, C" if "transpose" in self.name else "C/groups, O"
            hint = ""
            if x.shape[3 - self.axes] == expected:
                first = "(N, C, H, W)" if self.axes == 2 else "(N, C, L)"
                hint = f"; x looks like channels first, {first}: give np.moveaxis(x, 1, -1)"
            taps = "a, b" if self.axes == 2 else "a"
            raise ValueError(f"{self.name}: x has {given} channels, and w ({taps}, {layout}) with "
                             f"groups={groups} is for {expected}: {shapes}{hint}")
        if bias is not None and np.shape(bias) != (out,):
            raise ValueError(f"{self.name}: a bias of shape {np.shape(bias)} for {out} output "
                             f"channels: it must be ({out},), a number for each")


def as_pair(name: str, value: Any, least: int) -> Pair:
    """A number, or one for rows and one for columns, as two."""
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (
        value, value)
    if len(pair) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in pair):
        raise ValueError(f"{name}={value!r}: a whole number of {least} or more, or a pair of them "
                         "for rows and columns")
    return int(pair[0]), int(pair[1])


def zeros_around(padding: Padding, size: Sequence[int], kernel: Sequence[int],
                 stride: Sequence[int], dilation: Sequence[int]) -> tuple[Pair, Pair]:
    """Rows and columns of zeros before and behind the image."""
    if padding == "same":
        total = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
                 for n, k, s, d in zip(size, kernel, stride, dilation)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    if isinstance(padding, str) and padding != "valid":
        raise ValueError(f'padding={padding!r}: a whole number, a pair, "same" or "valid"')
    sides = as_pair("padding", 0 if padding == "valid" else padding, 0)
    return sides, sides
