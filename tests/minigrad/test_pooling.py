"""Pooling and resizing are what loops say they are, and so are their gradients."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.tensor import Tensor

drawn = settings(max_examples=150, deadline=None, derandomize=True, database=None)
fewer = settings(drawn, max_examples=40)
dtypes = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 99)


def random(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def apart(shape, seed=0):
    """All different by a tenth, so that a small step changes no maximum."""
    order = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return 0.1 * order.reshape(shape)


def slope(f, x, cotangent):
    leaf = Tensor(x)
    f(leaf).backward(cotangent)
    return leaf.grad


# -- pooling --------------------------------------------------------------------------------------
@st.composite
def geometries(draw, batch=(0, 3)):
    """The shape of an image, and the options of a pooling that fits it."""
    size = draw(st.tuples(*[st.integers(1, 4)] * 2))
    stride = draw(st.none() | st.tuples(*[st.integers(1, 4)] * 2))
    padding = draw(st.sampled_from(["same", "valid"])
                   | st.tuples(*(st.integers(0, min(3, s - 1)) for s in size)))
    sides = (0, 0) if isinstance(padding, str) else padding
    image = [draw(st.integers(1 if padding == "same" else max(1, s - 2 * p), 9))
             for s, p in zip(size, sides)]
    shape = (draw(st.integers(*batch)), *image, draw(st.integers(1, 3)))
    return shape, {"size": size, "stride": stride, "padding": padding}


def before(n, size, stride, padding):
    """Rows of padding in front, and the number of windows; "same": ⌈n/stride⌉ of them."""
    if padding == "same":
        windows = -(-n // stride)
        return max(0, (windows - 1) * stride + size - n) // 2, windows
    p = 0 if padding == "valid" else padding
    return p, len(range(0, n + 2 * p - size + 1, stride))


def by_loops(reduce, x, size, stride, padding):
    """Each window by itself, of those pixels that exist."""
    stride = size if stride is None else stride
    sides = (padding, padding) if isinstance(padding, str) else padding
    (top, rows), (left, columns) = map(before, x.shape[1:3], size, stride, sides)
    y = np.empty((len(x), rows, columns, x.shape[3]))
    for i, j in product(range(rows), range(columns)):
        u, v = i * stride[0] - top, j * stride[1] - left
        window = x[:, max(u, 0):u + size[0], max(v, 0):v + size[1]]
        y[:, i, j] = reduce(window, axis=(1, 2))
    return y


@drawn
@given(geometries(), dtypes, seeds)
def test_max_pool2d_is_what_loops_say(geometry, dtype, seed):
    shape, options = geometry
    x = random(shape, dtype, seed)
    x.flags.writeable = False
    y = mg.max_pool2d(x, **options)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, by_loops(np.max, x, **options))
    other = np.ascontiguousarray(x.T).T
    np.testing.assert_array_equal(mg.max_pool2d(other, **options), y)


@drawn
@given(geometries(), dtypes, seeds)
def test_avg_pool2d_is_what_loops_say(geometry, dtype, seed):
    shape, options = geometry
    x = random(shape, dtype, seed)
    x.flags.writeable = False
    y = mg.avg_pool2d(x, **options)
    assert y.dtype == dtype
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, by_loops(np.mean, x, **options), rtol=tolerance, atol=tolerance)
    constant = mg.avg_pool2d(np.full(shape, 3, dtype), **options)
    np.testing.assert_array_equal(constant, 3)  # at the border too


@pytest.mark.parametrize("pool", [mg.max_pool2d, mg.avg_pool2d])
@fewer
@given(geometries((1, 2)), seeds)
def test_gradients_of_pooling(pool, geometry, seed):
    shape, options = geometry
    mg.check_grads(lambda x: pool(x, **options), (apart(shape, seed),), order=2)


@pytest.mark.parametrize("pool", [mg.max_pool2d, mg.avg_pool2d])
def test_numbers_stand_for_pairs_and_the_stride_is_the_size(pool):
    x = random((2, 7, 8, 3))
    np.testing.assert_array_equal(pool(x, 2), pool(x, (2, 2), (2, 2), (0, 0)))
    np.testing.assert_array_equal(pool(x, 3, 1, 1), pool(x, (3, 3), (1, 1), (1, 1)))
    for stride in (1, 2, 3):
        same = pool(x, 3, stride, "same")
        assert same.shape == (2, -(-7 // stride), -(-8 // stride), 3)


def test_ties_of_a_maximum_share_its_gradient():
    x = np.array([[5.0, 5, 1, 2], [0, 5, 2, 2]])[None, :, :, None]
    g = slope(lambda x: mg.max_pool2d(x, 2), x, np.array([6.0, 12]).reshape(1, 1, 2, 1))
    np.testing.assert_allclose(g[0, :, :, 0], [[2, 2, 0, 4], [0, 2, 4, 4]])
    x = np.zeros((1, 2, 2, 1))  # windows that overlap, and the padding never shares
    g = slope(lambda x: mg.max_pool2d(x, 2, 1, 1), x, np.ones((1, 3, 3, 1)))
    np.testing.assert_allclose(g[0, :, :, 0], 1 + 2 * 0.5 + 0.25)


def test_padding_is_never_the_largest():
    x = -apart((2, 4, 5, 2)) - 1
    assert np.all(mg.max_pool2d(x, 3, 1, "same") <= -1)
    g = slope(lambda x: mg.max_pool2d(x, 3, 1, "same"), x, np.ones((2, 4, 5, 2)))
    assert np.sum(g) == 2 * 4 * 5 * 2


@drawn
@given(geometries(), seeds)
def test_the_gradient_of_an_average_is_its_transpose(geometry, seed):
    shape, options = geometry
    x, f = random(shape, seed=seed), lambda x: mg.avg_pool2d(x, **options)
    y = f(x)
    g = slope(f, x, cotangent := random(y.shape, seed=seed + 1))
    np.testing.assert_allclose(np.sum(g * x), np.sum(y * cotangent), rtol=1e-9, atol=1e-12)


# -- resizing -------------------------------------------------------------------------------------
shapes = st.tuples(st.integers(0, 2), *[st.integers(1, 5)] * 2, st.integers(1, 3))
scales = st.tuples(*[st.integers(1, 4)] * 2)


def nearest_by_loops(x, scale):
    y = np.empty((len(x), x.shape[1] * scale[0], x.shape[2] * scale[1], x.shape[3]))
    for i, j in product(range(y.shape[1]), range(y.shape[2])):
        y[:, i, j] = x[:, i // scale[0], j // scale[1]]
    return y


def neighbours(i, scale, size):
    """The old pixels on both sides of the centre of the new one, and the weight of the second."""
    place = min(max((2 * i + 1 - scale) / (2 * scale), 0), size - 1)
    low = int(place)
    return low, min(low + 1, size - 1), place - low


def bilinear_by_loops(x, scale):
    y = np.empty((len(x), x.shape[1] * scale[0], x.shape[2] * scale[1], x.shape[3]))
    for i, j in product(range(y.shape[1]), range(y.shape[2])):
        top, bottom, down = neighbours(i, scale[0], x.shape[1])
        left, right, across = neighbours(j, scale[1], x.shape[2])
        above = (1 - across) * x[:, top, left] + across * x[:, top, right]
        below = (1 - across) * x[:, bottom, left] + across * x[:, bottom, right]
        y[:, i, j] = (1 - down) * above + down * below
    return y


ORACLES = {"nearest": nearest_by_loops, "bilinear": bilinear_by_loops}
modes = pytest.mark.parametrize("mode", ORACLES)


@modes
@drawn
@given(shapes, scales, dtypes, seeds)
def test_upsample2d_is_what_loops_say(mode, shape, scale, dtype, seed):
    x = random(shape, dtype, seed)
    x.flags.writeable = False
    y = mg.upsample2d(x, scale, mode)
    assert y.dtype == dtype
    tolerance = 0 if mode == "nearest" else 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, ORACLES[mode](x, scale), rtol=tolerance, atol=tolerance)
    if scale[0] == scale[1]:
        np.testing.assert_array_equal(mg.upsample2d(x, scale[0], mode), y)
    if scale == (1, 1):
        np.testing.assert_array_equal(y, x)


@modes
@fewer
@given(shapes.filter(lambda s: s[0]), scales, seeds)
def test_gradients_of_upsample2d(mode, shape, scale, seed):
    x = random(shape, seed=seed)
    f = lambda x: mg.upsample2d(x, scale, mode)
    mg.check_grads(f, (x,), order=2)
    g = slope(f, x, cotangent := random(f(x).shape, seed=seed + 1))
    np.testing.assert_allclose(np.sum(g * x), np.sum(f(x) * cotangent), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 2, 3, (2, 5)])
def test_bilinear_keeps_constants_everywhere_and_ramps_inside(scale):
    constant = mg.upsample2d(np.full((1, 4, 6, 2), 3.5), scale, "bilinear")
    np.testing.assert_allclose(constant, 3.5, rtol=1e-15)
    rows, columns = scale if isinstance(scale, tuple) else (scale, scale)
    i, j = np.arange(4.0)[:, None], np.arange(6.0)
    y = mg.upsample2d((2 * i - 3 * j)[None, :, :, None], scale, "bilinear")[0, :, :, 0]
    u = ((np.arange(4 * rows) + 0.5) / rows - 0.5)[:, None]
    v = (np.arange(6 * columns) + 0.5) / columns - 0.5
    inside = (slice(rows, -rows), slice(columns, -columns))
    np.testing.assert_allclose(y[inside], (2 * u - 3 * v)[inside], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_whole_numbers_are_resized_without_rounding(mode, dtype):
    x = np.arange(12, dtype=dtype).reshape(1, 3, 4, 1)
    y = mg.upsample2d(x, 2, mode)
    np.testing.assert_allclose(y, ORACLES[mode](x.astype(float), (2, 2)), rtol=1e-6)
    assert y.dtype == (dtype if mode == "nearest" else np.float64)


@pytest.mark.parametrize("pool, padding", [
    (mg.max_pool2d, 0), (mg.avg_pool2d, 0), (mg.avg_pool2d, 1), (mg.max_pool2d, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_whole_numbers_are_pooled_as_what_they_are(pool, padding, dtype):
    x = np.arange(190, 206, dtype=dtype).reshape(1, 4, 4, 1)
    reduce = np.max if pool is mg.max_pool2d else np.mean
    np.testing.assert_allclose(pool(x, 2, padding=padding), by_loops(
        reduce, x.astype(float), (2, 2), None, (padding, padding)), rtol=1e-12)


# -- errors ---------------------------------------------------------------------------------------
X = np.ones((2, 5, 6, 4))


@pytest.mark.parametrize("pool", [mg.max_pool2d, mg.avg_pool2d])
@pytest.mark.parametrize("x, options, texts", [
    (X[0], {"size": 2}, ["{name} takes images (N, H, W, C)", "(5, 6, 4)"]),
    (X, {"size": 6}, ["{name}", "window of (6, 6)", "larger", "(5, 6)", "(2, 5, 6, 4)"]),
    (X, {"size": (9, 2), "padding": (1, 0)}, ["{name}", "(9, 2)", "(7, 6)", "padding (1, 0)"]),
    (X, {"size": 2, "padding": 2}, ["{name}", "padding 2", "as large as the window (2, 2)"]),
    (X, {"size": (3, 1), "padding": (1, 1)}, ["{name}", "padding (1, 1)", "window (3, 1)"]),
    (X, {"size": 2, "padding": "full"}, ["padding='full'", '"same" or "valid"']),
    (X, {"size": 2, "padding": -1}, ["padding=-1", "0 or more"]),
    (X, {"size": 0}, ["size=0", "1 or more", "a pair"]),
    (X, {"size": 2, "stride": 0}, ["stride=0", "1 or more"]),
    (X, {"size": (2, 2, 2)}, ["size=(2, 2, 2)", "a pair"]),
])
def test_poolings_that_do_not_fit_are_named(pool, x, options, texts):
    pattern = ".*".join(re.escape(t.format(name=pool.__name__)) for t in texts)
    with pytest.raises(ValueError, match=pattern):
        pool(x, **options)


@pytest.mark.parametrize("x, scale, mode, texts", [
    (X[0], 2, "nearest", ["upsample2d takes images (N, H, W, C)", "(5, 6, 4)"]),
    (X, 2, "cubic", ["upsample2d", "mode='cubic'", '"nearest" or "bilinear"']),
    (X, 0, "nearest", ["scale=0", "1 or more"]),
    (X, 1.5, "bilinear", ["scale=1.5", "whole number"]),
])
def test_resizings_that_cannot_be_are_named(x, scale, mode, texts):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, texts))):
        mg.upsample2d(x, scale, mode)
