"""Layers on images (n, H, W, channels) and sequences (n, L, channels)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import convolution, pooling
from minigrad.convolution import Call, Padding, Size, as_pair
from minigrad.functions import relu
from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from minigrad.tensor import Tensor

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import DTypeLike


class _Convolution:
    """Abstract: weight (*size, first, last), a bias for each output channel, and the options.

    An `activation` is applied to the result; relu in the same pass over memory.
    """

    function: Callable  # of the subclass

    def __init__(self, size: tuple[int, ...], first: int, last: int, n_out: int, fans: tuple,
                 weight: Initialiser, bias: Initialiser | None, rng: Generator, dtype: DTypeLike,
                 activation: Callable | None, **options: Any):
        fans = tuple(math.prod(size) * fan for fan in fans)
        self.weight = Tensor(weight((*size, first, last), *fans, rng=rng).astype(dtype))
        self.bias = None if bias is None else Tensor(
            bias((n_out,), *fans, rng=rng).astype(dtype))
        self.options = {**options, "rectify": activation is relu}
        self.activation = None if activation is relu else activation

    def __call__(self, x: Any) -> Any:
        y = type(self).function(x, self.weight, bias=self.bias, **self.options)
        return y if self.activation is None else self.activation(y)


class Conv2d(_Convolution):
    """`mg.conv2d` with a bias: (n, H, W, n_in) -> (n, H', W', n_out); weight (a, b, n_in/groups,
    n_out).  bias=None leaves the bias out.
    """

    function = convolution.conv2d

    def __init__(self, n_in: int, n_out: int, size: Size = 3, *, stride: Size = 1,
                 padding: Padding = 0, dilation: Size = 1, groups: int = 1, rng: Generator,
                 weight: Initialiser = glorot_uniform, bias: Initialiser | None = zeros,
                 activation: Callable | None = None, dtype: DTypeLike = np.float32):
        _check_groups("Conv2d", n_in, n_out, groups)
        super().__init__(as_pair("size", size, 1), n_in // groups, n_out, n_out,
                         (n_in // groups, n_out // groups), weight, bias, rng, dtype, activation,
                         stride=stride, padding=padding, dilation=dilation, groups=groups)


class ConvTranspose2d(_Convolution):
    """`mg.conv_transpose2d` with a bias: (n, H, W, n_in) -> (n, H', W', n_out); weight (a, b,
    n_out/groups, n_in).  bias=None leaves the bias out.
    """

    function = convolution.conv_transpose2d

    def __init__(self, n_in: int, n_out: int, size: Size = 3, *, stride: Size = 1,
                 padding: Padding = 0, output_padding: Size = 0, dilation: Size = 1,
                 groups: int = 1, output_size: tuple[int, int] | None = None, rng: Generator,
                 weight: Initialiser = glorot_uniform, bias: Initialiser | None = zeros,
                 activation: Callable | None = None, dtype: DTypeLike = np.float32):
        _check_groups("ConvTranspose2d", n_in, n_out, groups)
        super().__init__(as_pair("size", size, 1), n_out // groups, n_in, n_out,
                         (n_in // groups, n_out // groups), weight, bias, rng, dtype, activation,
                         stride=stride, padding=padding, output_padding=output_padding,
                         dilation=dilation, groups=groups, output_size=output_size)


class Conv1d(_Convolution):
    """`mg.conv1d` with a bias: (n, L, n_in) -> (n, L', n_out)."""

    function = convolution.conv1d

    def __init__(self, n_in: int, n_out: int, size: int = 3, *, stride: int = 1,
                 padding: int | str = 0, dilation: int = 1, groups: int = 1, rng: Generator,
                 weight: Initialiser = glorot_uniform, bias: Initialiser | None = zeros,
                 activation: Callable | None = None, dtype: DTypeLike = np.float32):
        _check_groups("Conv1d", n_in, n_out, groups)
        size = Call("Conv1d", 1).pair("size", size, 1)[1]
        super().__init__((size,), n_in // groups, n_out, n_out,
                         (n_in // groups, n_out // groups), weight, bias, rng, dtype, activation,
                         stride=stride, padding=padding, dilation=dilation, groups=groups)


class _Pool2d:
    """Abstract: the stride is the size unless given."""

    function: Callable  # of the subclass

    def __init__(self, size: Size, *, stride: Size | None = None, padding: Padding = 0):
        self.size, self.stride, self.padding = size, stride, padding

    def __call__(self, x: Any) -> Any:
        return type(self).function(x, self.size, self.stride, self.padding)


class MaxPool2d(_Pool2d):
    """`mg.max_pool2d`; the stride is the size unless given."""

    function = pooling.max_pool2d


class AvgPool2d(_Pool2d):
    """`mg.avg_pool2d`; the stride is the size unless given."""

    function = pooling.avg_pool2d


class Upsample2d:
    """`mg.upsample2d`: "nearest" or "bilinear"."""

    def __init__(self, scale: Size, mode: str = "nearest"):
        self.scale, self.mode = scale, mode

    def __call__(self, x: Any) -> Any:
        return pooling.upsample2d(x, self.scale, self.mode)


def _check_groups(name: str, n_in: int, n_out: int, groups: int) -> None:
    if groups < 1 or n_in % groups or n_out % groups:
        raise ValueError(f"{name}({n_in}, {n_out}, groups={groups}): the groups must divide the "
                         "input and the output channels")
