"""Convolutions are what loops say, whichever way they are computed; their gradients are right."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.kernels import blas, convolution, gathering
from minigrad.tensor import Tensor

drawn = settings(max_examples=150, deadline=None, derandomize=True, database=None)
fewer = settings(drawn, max_examples=40)
number = st.integers


class Geometry(NamedTuple):
    """Of a conv2d of x (N, *size, C), and the conv_transpose2d that is its transpose."""

    batch: int
    size: tuple
    kernel: tuple
    stride: tuple
    padding: tuple | str
    dilation: tuple
    groups: int
    channels: tuple  # in each group, of the image and of the result of conv2d
    dtype: type
    with_bias: bool
    seed: int

    @property
    def small(self) -> tuple:
        """Rows and columns of the conv2d's result."""
        return tuple(len(range(0, n + b + a - r + 1, s)) for n, b, a, r, s in zip(
            self.size, *self.zeros, self.reach, self.stride))

    @property
    def reach(self) -> tuple:
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel))

    @property
    def zeros(self) -> tuple:
        """In front and behind; "same": as few as give ⌈H/s⌉ rows, with the odd one behind."""
        if self.padding != "same":
            return ((0, 0) if self.padding == "valid" else self.padding,) * 2
        total = [next(t for t in range(99) if len(range(0, n + t - r + 1, s)) == -(-n // s))
                 for n, r, s in zip(self.size, self.reach, self.stride)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)

    @property
    def options(self) -> dict:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation,
                "groups": self.groups}

    def arrays(self, integers: bool = True, back: bool = False) -> tuple:
        """x, w, bias, y: of conv2d, or with `back` the bias of conv_transpose2d.

        Sums of small integers are exact in any order.  Nobody may write to these arrays.
        """
        rng, (c, o) = np.random.default_rng(self.seed), self.channels
        shapes = [(self.batch, *self.size, c * self.groups), (*self.kernel, c, o * self.groups),
                  ((c if back else o) * self.groups,), (self.batch, *self.small, o * self.groups)]
        draw = (lambda s: rng.integers(-3, 4, s)) if integers else rng.standard_normal
        x, w, bias, y = arrays = [draw(s).astype(self.dtype) for s in shapes]
        for array in arrays:
            array.flags.writeable = False
        return x, w, bias if self.with_bias else None, y

    @property
    def sized(self) -> dict:
        """That conv_transpose2d gives this size."""
        return {} if self.padding == "same" else {"output_size": self.size}

    @property
    def enlarged(self) -> Geometry:
        """With "same", conv_transpose2d gives the largest of the possible sizes."""
        size = tuple(n * s for n, s in zip(self.small, self.stride))
        return self._replace(size=size) if self.padding == "same" else self


@st.composite
def geometries(draw, batch=(0, 3), dtypes=(np.float32, np.float64), largest=8) -> Geometry:
    pair = lambda low, high: (draw(number(low, high)), draw(number(low, high)))
    kernel, stride, dilation = pair(1, 4), pair(1, 3), pair(1, 3)
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[number(0, 3)] * 2)))
    sides = (0, 0) if padding == "valid" else padding
    least = [1 if padding == "same" else max(1, d * (k - 1) + 1 - 2 * p)
             for k, d, p in zip(kernel, dilation, sides)]
    size = tuple(draw(number(n, max(n, largest))) for n in least)
    return Geometry(draw(number(*batch)), size, kernel, stride, padding, dilation,
                    draw(number(1, 3)), pair(1, 3), draw(st.sampled_from(dtypes)),
                    draw(st.booleans()), draw(number(0, 99)))


# How it is computed: whichever of these constants the modules have.
WAYS = {
    "gathering.BLOCK": [1 << 19, 50, 1],
    "gathering.LEAST": [1 << 15, 1],
    "convolution.scatters": [convolution.scatters, lambda *_, **__: True, lambda *_, **__: False],
    "scattering.FEW": [8, 0],
    "convolution.SUMS": [16, 2, 1],
    "convolution.WORTH": [1 << 23, 0],
}
ways = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in WAYS.items()})


@contextmanager
def computed(way: dict) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_NUM_THREADS", "2")
        for name, value in way.items():
            patch.setattr(f"minigrad.kernels.{name}", value)
        gathering.plan.cache_clear()  # it depends on the constants
        try:
            yield
        finally:
            gathering.plan.cache_clear()


def by_loops(x, w, bias, g: Geometry):
    """conv2d, an output pixel at a time."""
    c, o = g.channels
    y = np.zeros((len(x), *g.small, o * g.groups))
    for i, j, a, b, k in product(*map(range, (*g.small, *g.kernel, g.groups))):
        row = i * g.stride[0] + a * g.dilation[0] - g.zeros[0][0]
        column = j * g.stride[1] + b * g.dilation[1] - g.zeros[0][1]
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            seen = x[:, row, column, k * c:(k + 1) * c].astype(float)
            y[:, i, j, k * o:(k + 1) * o] += seen @ w[a, b, :, k * o:(k + 1) * o]
    return y if bias is None else y + bias


def transposed_by_loops(y, w, bias, g: Geometry):
    """conv_transpose2d: each pixel of y leaves a kernel on a canvas, whose edges are cut off."""
    c, o = g.channels
    (top, left), (rows, columns) = g.zeros[0], g.size
    canvas = np.zeros((len(y), 64, 64, c * g.groups))
    for i, j, k in product(*map(range, (*y.shape[1:3], g.groups))):
        of_y = y[:, i, j, k * o:(k + 1) * o].astype(float)
        for a, b, channel in product(*map(range, (*g.kernel, c))):
            u, v = i * g.stride[0] + a * g.dilation[0], j * g.stride[1] + b * g.dilation[1]
            canvas[:, u, v, k * c + channel] += of_y @ w[a, b, channel, k * o:(k + 1) * o]
    x = canvas[:, top:top + rows, left:left + columns]
    return x if bias is None else x + bias


def otherwise_laid_out(a, k):
    """The same array, as a view of another: transposed, or each second element from the end."""
    if k % 2:
        return np.ascontiguousarray(a.T).T
    return np.repeat(np.repeat(np.flip(a, (1, 2)), 2, axis=1), 2, axis=3)[:, ::-2, ::-1, ::2]


def gradients(f, cotangent, *args):
    leaves = [Tensor(a) for a in args]
    f(*leaves).backward(cotangent)
    return [leaf.grad for leaf in leaves]


# -- values ---------------------------------------------------------------------------------------
@drawn
@given(geometries(), ways)
def test_conv2d_is_what_loops_say(g, way):
    x, w, bias, _ = g.arrays()
    expected = by_loops(x, w, bias, g)
    with computed(way):
        y = mg.conv2d(x, w, bias=bias, **g.options)
        again = mg.conv2d(otherwise_laid_out(x, g.seed), otherwise_laid_out(w, g.seed // 2),
                          bias=bias, **g.options)
    assert y.dtype == g.dtype and y.shape == expected.shape
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(again, expected)


@drawn
@given(geometries(), ways, st.booleans())
def test_conv_transpose2d_is_what_loops_say(g, way, by_size):
    _, w, bias, y = g.arrays(back=True)
    g = g.enlarged
    sized = g.sized
    if sized and not by_size:
        sized = {"output_padding": tuple((n + 2 * p - r) % s for n, p, r, s in zip(
            g.size, g.zeros[0], g.reach, g.stride))}
    expected = transposed_by_loops(y, w, bias, g)
    with computed(way):
        x = mg.conv_transpose2d(y, w, bias=bias, **sized, **g.options)
        again = mg.conv_transpose2d(otherwise_laid_out(y, g.seed), otherwise_laid_out(w, 1),
                                    bias=bias, **sized, **g.options)
    assert x.dtype == g.dtype and x.shape == expected.shape
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("stride, dilation", [(1, 3), (2, 3), (2, 1), (3, 2), (1, 1)])
def test_output_padding_may_be_all_below_the_stride_or_the_dilation(stride, dilation):
    y, w = np.ones((1, 3, 2, 1)), np.arange(6.0).reshape(2, 3, 1, 1)
    bare = mg.conv_transpose2d(y, w, stride, dilation=dilation)
    for extra in product(range(max(stride, dilation)), repeat=2):
        x = mg.conv_transpose2d(y, w, stride, 0, extra, dilation)
        expected = np.pad(bare, ((0, 0), (0, extra[0]), (0, extra[1]), (0, 0)))
        np.testing.assert_array_equal(x, expected)
        sized = mg.conv_transpose2d(y, w, stride, dilation=dilation, output_size=x.shape[1:3])
        np.testing.assert_array_equal(sized, expected)


@drawn
@given(geometries(), ways)
def test_the_three_contractions_are_one_form(g, way):
    x, w, _, y = g.arrays()
    f = lambda x, w: mg.conv2d(x, w, **g.options)
    with computed(way):
        of_x, of_w = gradients(f, y, x, w)
        if g.padding != "same":
            transposed = lambda y, w: mg.conv_transpose2d(y, w, **g.sized, **g.options)
            np.testing.assert_array_equal(transposed(y, w), of_x)
            of_y, of_w_too = gradients(transposed, x, y, w)
            np.testing.assert_array_equal(of_y, f(x, w))
            np.testing.assert_array_equal(of_w_too, of_w)
    assert of_x.dtype == of_w.dtype == g.dtype
    assert np.sum(x * of_x, dtype=float) == np.sum(w * of_w, dtype=float)
    assert np.sum(x * of_x, dtype=float) == np.sum(y * by_loops(x, w, None, g))


@pytest.mark.parametrize("kernel, stride, dilation", [*product([1, 2, 3, 4], [1, 2, 3], [1, 2])])
def test_same_padding_gives_sizes_that_depend_on_the_stride_alone(kernel, stride, dilation):
    w = np.ones((kernel, 3, 1, 1))
    for n in range(1, 9):
        y = mg.conv2d(np.ones((1, n, 5, 1)), w, (stride, 2), "same", dilation)
        assert y.shape == (1, -(-n // stride), 3, 1)
        x = mg.conv_transpose2d(np.ones((1, n, 5, 1)), w, (stride, 2), "same", dilation=dilation)
        assert x.shape == (1, n * stride, 10, 1)


@fewer
@given(geometries())
def test_sequences_are_images_of_one_row(g):
    g = g._replace(size=(1, g.size[1]), kernel=(1, g.kernel[1]), stride=(1, g.stride[1]),
                   dilation=(1, g.dilation[1]),
                   padding=g.padding if isinstance(g.padding, str) else (0, g.padding[1]))
    options = {k: v if k == "groups" or isinstance(v, str) else v[1] for k, v in g.options.items()}
    x, w, bias, y = g.arrays()
    listed = None if bias is None else list(bias)
    np.testing.assert_array_equal(mg.conv1d(x[:, 0], w[0], bias=listed, **options),
                                  mg.conv2d(x, w, bias=bias, **g.options)[:, 0])
    sized = {name: size[1] for name, size in g.sized.items()}
    np.testing.assert_array_equal(mg.conv_transpose1d(y[:, 0], w[0], **sized, **options),
                                  mg.conv_transpose2d(y, w, **g.sized, **g.options)[:, 0])


# -- gradients ------------------------------------------------------------------------------------
@pytest.mark.parametrize("f", [mg.conv2d, mg.conv_transpose2d])
@fewer
@given(geometries((1, 2), [np.float64], largest=5), ways)
def test_gradients(f, g, way):
    options = g.options
    if f is mg.conv_transpose2d:
        g = g.enlarged
        options |= g.sized
    x, w, bias, y = g.arrays(integers=False, back=f is mg.conv_transpose2d)
    args = (x if f is mg.conv2d else y, w, *([] if bias is None else [bias]))
    with computed(way):
        mg.check_grads(lambda x, w, b=None: f(x, w, bias=b, **options), args, order=2)


@pytest.mark.parametrize("stride, padding, dilation, groups", [
    (1, 0, 1, 1), (2, 1, 1, 2), (3, "same", 2, 1), (1, "valid", 2, 2)])
def test_gradients_of_sequences(stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 7, 4)), rng.standard_normal((3, 4 // groups, 4))
    for f in (mg.conv1d, mg.conv_transpose1d):
        mg.check_grads(lambda x, w, b, f=f: f(x, w, stride, padding, dilation=dilation,
                                              groups=groups, bias=b),
                       (x, w, rng.standard_normal(4)), order=2)


# -- threads, memory, BLAS ------------------------------------------------------------------------
@pytest.mark.parametrize("f", [mg.conv2d, mg.conv_transpose2d])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(3, 16), (16, 3), (32, 32)])
@pytest.mark.parametrize("rectify", [False, True])
def test_the_number_of_threads_changes_no_bit(monkeypatch, f, stride, channels, rectify):
    rng = np.random.default_rng(0)
    shapes = (13, 25, 21, channels[0]), (3, 3, *channels[::1 if f is mg.conv2d else -1]), (
        channels[1],)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    run = lambda x, w, b: f(x, w, stride, 1, bias=b, rectify=rectify)
    y = run(*arrays)
    cotangent = rng.standard_normal(y.shape).astype(np.float32)
    monkeypatch.setattr(convolution, "WORTH", 0)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", str(threads))
        found.append([run(*arrays), *gradients(run, cotangent, *arrays)])
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))
    np.testing.assert_array_equal(found[0][0], y)


@pytest.mark.parametrize("f", [mg.conv2d, mg.conv_transpose2d])
def test_what_is_kept_for_the_way_back_is_no_larger_than_the_result(f):
    x, w = Tensor(np.ones((8, 40, 40, 16), np.float32)), Tensor(np.ones((3, 3, 16, 16), np.float32))
    f(x, w, padding=1)  # plans are kept
    tracemalloc.start()
    y = f(x, w, padding=1)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert y.data.nbytes <= held < 1.5 * y.data.nbytes < 9 * x.data.nbytes


@pytest.fixture
def threads_of_blas():
    """What BLAS is set to, as a function; it starts at 2."""
    get, put = blas._thread_setting()
    if get is None:
        pytest.skip("NumPy's BLAS has no setting")
    before = get()
    put(2)
    yield get
    put(before)


def test_blas_has_one_thread_inside_and_afterwards_what_it_had(threads_of_blas, monkeypatch):
    with blas.one_thread():
        assert threads_of_blas() == 1
        with pytest.raises(KeyError), blas.one_thread():
            assert threads_of_blas() == 1
            raise KeyError
        assert threads_of_blas() == 1
    assert threads_of_blas() == 2
    with pytest.raises(KeyError), blas.one_thread():
        raise KeyError
    seen = []
    monkeypatch.setattr(convolution, "run", lambda *_: seen.append(threads_of_blas()))
    mg.conv2d(np.ones((2, 5, 5, 3)), np.ones((3, 3, 3, 2)))
    assert seen == [1] and threads_of_blas() == 2


def test_all_works_where_blas_cannot_be_set(monkeypatch):
    g = Geometry(2, (5, 6), (3, 2), (1, 2), "same", (1, 1), 2, (2, 3), np.float32, True, 0)
    monkeypatch.setattr(blas, "_thread_setting", lambda: (None, None))
    x, w, bias, _ = g.arrays()
    with computed({"convolution.WORTH": 0}), blas.one_thread():
        y = mg.conv2d(x, w, bias=bias, **g.options)
    np.testing.assert_array_equal(y, by_loops(x, w, bias, g))


# -- errors ---------------------------------------------------------------------------------------
ones = lambda *shape: np.ones(shape)
X, W, Y = ones(2, 5, 6, 4), ones(3, 3, 4, 8), ones(2, 1, 2, 8)
conv, back = mg.conv2d, mg.conv_transpose2d

@pytest.mark.parametrize("call, texts", [
    (lambda: conv(ones(2, 5, 6, 7), W), ["conv2d", "7", "for 4", "(2, 5, 6, 7)", "(3, 3, 4, 8)"]),
    (lambda: back(X, W), ["conv_transpose2d", "has 4", "for 8", "(2, 5, 6, 4)", "(3, 3, 4, 8)"]),
    (lambda: conv(ones(2, 4, 5, 6), W), ["channels first", "np.moveaxis(x, 1, -1)"]),
    (lambda: conv(X, W, groups=3), ["3 must divide the 4 input", "8 output", str(X.shape)]),
    (lambda: back(Y, W, groups=3), ["3 must divide the 8 input", "12 output", str(Y.shape)]),
    (lambda: conv(X, ones(8, 3, 4, 8), padding=1), ["over (8, 3)", "has (7, 8)", "(2, 5, 6, 4)"]),
    (lambda: conv(X, W, dilation=3), ["reaches over (7, 7)", "has (5, 6)", "dilation (3, 3)"]),
    (lambda: back(Y, W, 2, 0, 2), ["padding (2, 2)", "stride (2, 2)", "dilation (1, 1)", "np.pad"]),
    (lambda: back(Y, W, 2, output_size=(3, 7)), ["(3, 7) can't be had", "be 3, 4", "columns 5, 6"]),
    (lambda: back(Y, W, 2, 0, 1, output_size=(3, 5)), ["output_padding or output_size, not both"]),
    (lambda: back(Y, W, 2, "same", 1), ["same", "leave out output_padding and output_size"]),
    (lambda: back(Y, W, padding=2), ["output of (-1, 0) pixels", "is empty", "(2, 1, 2, 8)"]),
    (lambda: conv(X, W, padding="full"), ["padding='full'", '"same" or "valid"']),
    (lambda: conv(X, W, stride=-1), ["stride=-1", "1 or more", "a pair"]),
    (lambda: conv(X[0], W), ["(N, H, W, C)", "(5, 6, 4)", "(3, 3, 4, 8)", "x[..., None]"]),
    (lambda: mg.conv1d(X, W[0]), ["conv1d takes", "(N, L, C)", "(2, 5, 6, 4)", "(3, 4, 8)"]),
    (lambda: conv(X, ones(0, 3, 4, 8)), ["(0, 3, 4, 8)", "no elements"]),
    (lambda: conv(X, W, bias=ones(1, 8)), ["conv2d", "(1, 8) for 8 output", "must be (8,)"]),
    (lambda: conv(X, W, bias=ones(1)), ["conv2d", "(1,) for 8 output", "must be (8,)"]),
    (lambda: conv(X, W, bias=Tensor(ones(4))), ["conv2d", "(4,) for 8 output", "must be (8,)"]),
    (lambda: back(Y, W, bias=ones(8)), ["conv_transpose2d", "(8,) for 4", "must be (4,)"]),
    (lambda: back(Y, W, 3, 2, output_size=(9, 9)), ["can't be had; rows can be 1, and"]),
    (lambda: mg.conv1d(ones(2, 5, 3), ones(3, 4, 8)), ["conv1d", "(2, 5, 3)", "(3, 4, 8)"]),
    (lambda: mg.conv1d(ones(2, 3, 5), ones(3, 3, 8)), ["channels first, (N, C, L)", "moveaxis"]),
    (lambda: mg.conv1d(ones(2, 5, 3), ones(7, 3, 8)), ["conv1d", "over 7 pixels", "has 5:"]),
    (lambda: mg.conv1d(ones(2, 5, 3), ones(3, 3, 8), 0), ["stride=0"]),
])
def test_shapes_that_do_not_fit_are_named(call, texts):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, texts))):
        call()


def test_sequences_are_not_taken_for_images_with_channels_first():
    with pytest.raises(ValueError, match=r"^((?!channels first).)*$"):
        mg.conv1d(ones(2, 5, 3), ones(3, 1, 8))
