"""Which elements of one array meet which of another in a convolution.

There are two sides to it: the elements of x around each of y, and the elements of y around each of
x.  With stride s the latter come in s² phases, each with a part of the kernel: a transposed
convolution is s² small convolutions whose results are interleaved.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

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
    rectify: bool = False  # a result's negative elements are made 0


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

    def overlap(self, tap: int, size: int) -> tuple[slice, slice]:
        """The outputs whose input at this tap exists, among `size`, and these inputs."""
        first = self.start + tap * self.step
        low = max(0, -(first // self.stride))
        high = max(low, min(self.outputs, (size - 1 - first) // self.stride + 1))
        start = first + low * self.stride
        return slice(low, high), slice(start, start + (high - low) * self.stride, self.stride)


class Phase(NamedTuple):
    """Windows, the part of the kernel they meet, and the outputs that they are around."""

    rows: Window
    columns: Window
    kernel: tuple[slice, slice]
    outputs: tuple[slice, slice, slice]  # of images, rows, columns


@lru_cache(1024)
def around_y(form: Form) -> tuple[Phase, ...]:
    """The elements of x around each of y."""
    rows, columns = (Window(*numbers) for numbers in zip(
        form.y_size, form.kernel, form.stride, (-form.before[0], -form.before[1]), form.dilation))
    everything = slice(None)
    return (Phase(rows, columns, (everything,) * 2, (everything,) * 3),)


@lru_cache(1024)
def around_x(form: Form) -> tuple[Phase, ...]:
    """The elements of y around each of x: those i with i·s + a·d - p = u, in phases of u mod s."""
    rows, columns = ([_phase(*numbers, r) for r in range(numbers[2])] for numbers in zip(
        form.x_size, form.kernel, form.stride, form.before, form.dilation))
    return tuple(Phase(row, column, (a, b), (slice(None), u, v))
                 for row, a, u in rows for column, b, v in columns)


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
