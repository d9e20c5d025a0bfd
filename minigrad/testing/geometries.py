"""A strategy for the geometries of convolutions and transposed convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from minigrad.testing.arrays import Shape

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """A valid call f(x, w, **options) of `mg.conv2d` or `mg.conv_transpose2d`, by its shapes.

    x: (N, H, W, C); w: the kernel's; y: of the result, (N, H', W', O), so that a bias has y[-1:].
    options: what is not default of stride, padding, dilation, groups, output_padding and
    output_size.
    """

    x: Shape
    w: Shape
    y: Shape
    options: dict[str, Any]

    @property
    def stride(self) -> Pair:
        return _pair(self.options.get("stride", 1))

    @property
    def dilation(self) -> Pair:
        return _pair(self.options.get("dilation", 1))

    @property
    def groups(self) -> int:
        return self.options.get("groups", 1)


@st.composite
def geometries(draw: Any, transposed: bool = False, *, min_batch: int = 0,
               largest: int = 6) -> Geometry:
    """Geometries of `mg.conv2d`, or if `transposed` of `mg.conv_transpose2d`; all are valid calls.

    Kernels of 1 to 4 rows and columns, strides and dilations up to 3, padding up to 3 or "same" or
    "valid", up to 3 groups of up to 3 channels, batches of `min_batch` to 2.  An option is a number
    or a pair, which may differ.  The input has up to `largest` rows and columns, or as many as its
    kernel needs.

    Shrinks to one image of one pixel, no options, and a 1x1 kernel of one channel.
    """
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    options = {"stride": draw(_numbers(1, 3)),
               "padding": draw(_numbers(0, 3) | st.sampled_from(["valid", "same"])),
               "dilation": draw(_numbers(1, 3)), "groups": draw(st.integers(1, 3))}
    stride, dilation = _pair(options["stride"]), _pair(options["dilation"])
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel))
    sizes = _transposed_sizes if transposed else _sizes
    size, result = sizes(draw, options, reach, stride, dilation, largest)
    batch = draw(st.sampled_from([n for n in (1, 2, 0) if n >= min_batch]))
    c, o = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))  # channels of a group
    groups = options["groups"]
    w = (*kernel, o, c * groups) if transposed else (*kernel, c, o * groups)
    default = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    return Geometry((batch, *size, c * groups), w, (batch, *result, o * groups),
                    {k: v for k, v in options.items() if v != default.get(k)})


def _sizes(draw: Any, options: dict, reach: Pair, stride: Pair, dilation: Pair,
           largest: int) -> tuple[Shape, Shape]:
    """Of the input and of the result: H' = ⌊(H + 2p - reach)/s⌋ + 1, or ⌈H/s⌉."""
    padding = options["padding"]
    if padding == "same":
        size = tuple(draw(st.integers(1, largest)) for _ in stride)
        return size, tuple(-(-n // s) for n, s in zip(size, stride))
    p = _zeros(padding)
    least = tuple(max(1, r - 2 * a) for r, a in zip(reach, p))
    size = tuple(draw(st.integers(n, max(n, largest))) for n in least)
    return size, tuple((n + 2 * a - r) // s + 1 for n, a, r, s in zip(size, p, reach, stride))


def _transposed_sizes(draw: Any, options: dict, reach: Pair, stride: Pair, dilation: Pair,
                      largest: int) -> tuple[Shape, Shape]:
    """Of the input and of the result: H' = (H - 1)·s - 2p + reach + output_padding, or H·s.

    Adds output_padding or output_size to the options.
    """
    padding = options["padding"]
    # Drawn in any case: with fewer choices "same" would be where failures shrink to.
    how = draw(st.sampled_from([None, "output_padding", "output_size"]))
    if padding == "same":
        size = tuple(draw(st.integers(1, largest)) for _ in stride)
        return size, tuple(n * s for n, s in zip(size, stride))
    # Below the larger of stride and dilation, the kernel's taps still reach the added rows.
    most = tuple(max(s, d) - 1 for s, d in zip(stride, dilation))
    extra = draw(_numbers(0, most)) if how else 0
    p, e = _zeros(padding), _pair(extra)
    fewest = tuple(max(0, -((r + b - 2 * a - 1) // s)) + 1
                   for r, b, a, s in zip(reach, e, p, stride))  # H' is 1 or more
    size = tuple(draw(st.integers(n, max(n, largest))) for n in fewest)
    result = tuple((n - 1) * s - 2 * a + r + b
                   for n, s, a, r, b in zip(size, stride, p, reach, e))
    if how:
        options[how] = extra if how == "output_padding" else result
    return size, result


def _numbers(low: int, high: int | Pair) -> st.SearchStrategy[int | Pair]:
    """A number, or one for rows and one for columns."""
    high = _pair(high)
    return st.integers(low, min(high)) | st.tuples(*(st.integers(low, n) for n in high))


def _pair(value: int | Pair) -> Pair:
    return value if isinstance(value, tuple) else (value, value)


def _zeros(padding: int | Pair | str) -> Pair:
    return _pair(0 if padding == "valid" else padding)
