"""The strategies draw what they promise, draw all of it, and shrink to what is simple."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import minigrad as mg
import vae
from minigrad import testing as mt
from minigrad.testing.arrays import LAYOUTS
from minigrad.testing.distributions import PARAMETERS

drawn = settings(max_examples=60, deadline=None, derandomize=True, database=None)
# `find` returns what ran last, so that nothing may run after shrinking.
searching = settings(drawn, max_examples=5000, phases=[Phase.generate, Phase.shrink])


def simplest(strategy, condition=lambda drawn: True):
    return find(strategy, condition, settings=searching)


def is_drawn(strategy, condition):
    return condition(find(strategy, condition,
                          settings=settings(searching, phases=[Phase.generate])))


def lists_of(index):
    return list(index) if isinstance(index, tuple) else [index]


# -- shapes ---------------------------------------------------------------------------------------
@drawn
@given(mt.shapes(), mt.shapes(min_dims=1, max_dims=2, min_side=2, max_side=3))
def test_shapes_keep_their_limits(usual, limited):
    assert len(usual) <= 3 and all(0 <= n <= 4 for n in usual)
    assert 1 <= len(limited) <= 2 and set(limited) <= {2, 3}


@pytest.mark.parametrize("condition, shape", [
    (lambda s: True, ()),
    (lambda s: len(s) == 2, (1, 1)), (lambda s: 0 in s, (0,)),
    (lambda s: s[1:] == (0,) and s[0] > 2, (3, 0)),
])
def test_shapes_shrink_to_few_axes_of_size_1(condition, shape):
    assert simplest(mt.shapes(), condition) == shape


@drawn
@given(mt.broadcastable(3), mt.broadcastable(2, max_dims=2, min_side=1, max_side=3))
def test_broadcastable_shapes_broadcast(three, two):
    assert len(three) == 3 and len(two) == 2
    assert len(np.broadcast_shapes(*three)) <= 3
    result = np.broadcast_shapes(*two)
    assert len(result) <= 2 and set(result) <= {1, 2, 3}


@pytest.mark.parametrize("condition, pair", [
    (lambda a, b: True, ((), ())),
    (lambda a, b: len(a) == len(b) == 2 and np.broadcast_shapes(a, b) not in (a, b),
     ((1, 2), (2, 1))),
    (lambda a, b: 0 in a and 1 in b, ((0,), (1,))),
])
def test_broadcastable_shapes_are_stretched_in_every_way(condition, pair):
    found = simplest(mt.broadcastable(2), lambda shapes: condition(*shapes))
    assert found in (pair, pair[::-1])


# -- arrays ---------------------------------------------------------------------------------------
number = st.floats(-100, 100).map(lambda x: round(x, 3))


@drawn
@given(st.data(), number, st.sampled_from([0.1, 0.5, 3.7, 1000.0]), mt.dtypes())
def test_arrays_keep_their_domain_and_dtype(data, low, width, dtype):
    high, kinks = low + width, [low + width / 3, low + width / 2]
    a = data.draw(mt.arrays(mt.shapes(), dtype=dtype, low=low, high=high, away_from=kinks,
                            margin=width / 20))
    assert a.dtype == dtype and a.flags.c_contiguous and a.flags.writeable
    assert all(low <= x <= high for x in a.ravel().tolist())
    assert all(abs(x - kink) >= width / 20 for x in a.ravel().tolist() for kink in kinks)


@drawn
@given(mt.arrays((3, 4)))
def test_elements_are_equal_or_well_apart_and_exact_in_float32(a):
    differences = np.abs(a[..., None, None] - a)
    assert differences[differences > 0].min(initial=1) >= 4 / 512
    assert np.abs(a[a != 0]).min(initial=1) >= 4 / 512
    np.testing.assert_array_equal(a.astype(np.float32), a)


@drawn
@given(st.data(), st.sampled_from([1e-6, 0.05, 0.0625, 0.25 * (1 + 2**-52)]))
def test_elements_are_apart(data, apart):
    a = data.draw(mt.arrays((2, 3), apart=apart, away_from=0, margin=0.1))
    between = np.diff(np.sort(a, axis=None))
    assert between.min() >= apart and np.abs(a).min() >= 0.1


@pytest.mark.parametrize("strategy, condition, array", [
    (mt.arrays((2, 2)), lambda a: True, [[0, 0], [0, 0]]),
    (mt.arrays(2), lambda a: (a > 0.6).all(), [1, 1]),
    (mt.arrays(2, away_from=[0, 1, -1]), lambda a: True, [2, 2]),
    (mt.arrays(2, low=0.3, high=0.9), lambda a: a[1] > 0.5, [0.5, 0.75]),
    (mt.arrays(2), lambda a: a[0] < -1, [-2, 0]),
    (mt.arrays(3, apart=0.1), lambda a: True, [0, 1, -1]),
    (mt.arrays(mt.shapes()), lambda a: (a > 1).any(), 2),
    (mt.arrays(mt.shapes()), lambda a: 0 in a.shape, []),
])
def test_arrays_shrink_to_round_numbers(strategy, condition, array):
    np.testing.assert_array_equal(simplest(strategy, condition), array)


@pytest.mark.parametrize("options, texts", [
    ({"low": 2, "high": 1}, ["low, which is 2.0", "high, which is 1.0"]),
    ({"high": np.inf}, ["low, which is -2.0", "high, which is inf", "finite"]),
    ({"low": np.nan}, ["low, which is nan", "high, which is 2.0", "finite"]),
    ({"low": -1, "high": 1, "away_from": 0, "margin": 1.5}, ["[-1, 1]", "1.5 away from 0;"]),
    ({"low": 0, "high": 1, "away_from": (0, 1), "margin": 0.6}, ["[0, 1]", "0.6 away from 0, 1"]),
    ({"apart": 0}, ["apart=0 must be positive"]),
])
def test_empty_domains_are_named(options, texts):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, texts))):
        mt.arrays(3, **options)


def test_too_few_numbers_so_far_apart_are_named():
    texts = ["shape (2, 3): 6 numbers that are 0.4 apart", "[0, 2] has 5 in steps of 0.5"]
    with pytest.raises(ValueError, match=".*".join(map(re.escape, texts))):
        simplest(mt.arrays((2, 3), low=0, high=2, apart=0.4))


# -- layouts --------------------------------------------------------------------------------------
@drawn
@given(mt.arrays(mt.shapes(), dtype=mt.dtypes()), st.sampled_from(list(LAYOUTS)))
def test_layouts_change_no_value(a, name):
    b = LAYOUTS[name](a)
    np.testing.assert_array_equal(b, a, strict=True)
    assert not np.shares_memory(a, b) and b.flags.writeable == (name != "read-only")


@pytest.mark.parametrize("name, is_so", {
    "C": lambda a: a.flags.c_contiguous and a.flags.writeable,
    "Fortran": lambda a: a.flags.f_contiguous and not a.flags.c_contiguous,
    "reversed": lambda a: a.strides == (-24, -8),
    "strided": lambda a: a.strides == (96, 16) and np.isnan(a.base[1, 1]),
    "read-only": lambda a: a.flags.c_contiguous and not a.flags.writeable,
}.items())
def test_every_layout_is_drawn(name, is_so):
    assert is_so(simplest(mt.layouts(mt.arrays((2, 3))), is_so))
    assert name in LAYOUTS


def test_failures_name_the_layout(capsys):
    @settings(drawn)
    @given(mt.layouts(mt.arrays((2, 3))))
    def fails_for_fortran(a):
        assert not LAYOUTS or a.flags.c_contiguous or not a.flags.f_contiguous

    assert "layout of the array of shape (2, 3): Fortran" in failure(fails_for_fortran, capsys)


def failure(test, capsys) -> str:
    """What Hypothesis says of a failing test; in Python 3.10 it prints it."""
    with pytest.raises(AssertionError) as found:
        test()
    notes = getattr(found.value, "__notes__", [])
    return "\n".join([str(found.value), *notes, capsys.readouterr().out])


# -- matrices -------------------------------------------------------------------------------------
@drawn
@given(st.data(), st.integers(0, 5), st.sampled_from([(), (2,), (0,), (1, 3)]),
       st.sampled_from([1, 3.5, 10]))
def test_spd_matrices_are_symmetric_with_bounded_eigenvalues(data, n, batch, condition):
    a = data.draw(mt.spd(n, batch, condition=condition))
    assert a.shape == (*batch, n, n)
    np.testing.assert_array_equal(a, np.swapaxes(a, -1, -2))
    eigenvalues = np.linalg.eigvalsh(a)
    assert ((eigenvalues > 1 - 1e-12) & (eigenvalues < condition * (1 + 1e-12))).all()


@drawn
@given(st.data(), st.integers(0, 4), st.sampled_from([(), (2,), (0,)]))
def test_cholesky_factors_are_lower_triangular_with_a_positive_diagonal(data, n, batch):
    factor = data.draw(mt.cholesky_factors(n, batch))
    assert factor.shape == (*batch, n, n)
    np.testing.assert_array_equal(factor, np.tril(factor))
    assert np.abs(factor).max(initial=0) <= 2
    diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
    assert ((diagonal >= 0.5) & (diagonal <= 2)).all()
    assert np.abs(factor - diagonal[..., None] * np.eye(n)).max(initial=0) <= 1


@drawn
@given(st.data(), st.integers(1, 6), st.sampled_from([(), (2,), (0,)]))
def test_points_of_the_simplex_sum_to_1_away_from_the_faces(data, n, batch):
    p = data.draw(mt.simplex(n, batch))
    assert p.shape == (*batch, n)
    np.testing.assert_allclose(p.sum(-1), np.ones(batch), rtol=1e-15 * n)
    assert p.min(initial=1) >= 1 / (4 * n)


@pytest.mark.parametrize("strategy, array", [
    (mt.spd(3, (2,)), np.stack([np.eye(3)] * 2)), (mt.cholesky_factors(3), np.eye(3)),
    (mt.simplex(4), np.full(4, 0.25))])
def test_matrices_shrink_to_the_identity_and_points_to_the_middle(strategy, array):
    np.testing.assert_array_equal(simplest(strategy), array)


def test_off_diagonal_elements_are_drawn():
    assert simplest(mt.spd(3), lambda a: a[0, 1] < 0)[0, 1] < 0


def test_no_matrix_and_no_point_where_there_is_none():
    with pytest.raises(ValueError, match=r"condition=0\.5: no condition number is below 1"):
        mt.spd(2, condition=0.5)
    with pytest.raises(ValueError, match=r"simplex\(n=0\): a sum of one takes at least one"):
        mt.simplex(0)


# -- indices --------------------------------------------------------------------------------------
@settings(drawn, max_examples=200)
@given(st.data(), mt.shapes())
def test_indices_are_valid(data, shape):
    index = data.draw(mt.indices(shape))
    x = np.zeros(shape)
    x[index] = 1
    assert (x[index] == 1).all()


def array(dtype, ndim):
    return lambda i: isinstance(i, np.ndarray) and i.dtype == dtype and i.ndim == ndim


INDICES = {
    "integer": lambda i: type(i) is int and i >= 0,
    "negative integer": lambda i: type(i) is int and i < 0,
    "slice with a step": lambda i: isinstance(i, slice) and (i.step or 0) > 1,
    "slice with a negative step": lambda i: isinstance(i, slice) and (i.step or 0) < 0,
    "slice with bounds": lambda i: isinstance(i, slice) and None not in (i.start, i.stop),
    "Ellipsis": lambda i: i is Ellipsis,
    "None": lambda i: i is None,
    "0-d integer array": array(int, 0),
    "integer array": array(int, 1),
    "2-d integer array": array(int, 2),
    "repeats": lambda i: array(int, 1)(i) and np.unique(i).size < i.size,
    "list": lambda i: isinstance(i, list) and len(i) > 1,
    "empty integer array": lambda i: isinstance(i, np.ndarray) and i.dtype == int and not i.size,
    "mask": array(bool, 1),
    "mask of several axes": array(bool, 2),
}


@pytest.mark.parametrize("kind", INDICES)
def test_every_kind_of_index_is_drawn(kind):
    has = lambda index: any(map(INDICES[kind], lists_of(index)))
    assert is_drawn(mt.indices((3, 1, 4)), has)


@pytest.mark.parametrize("a, b", [
    ("integer array", "slice with bounds"), ("mask", "integer array"), ("mask", "integer"),
    ("mask", "None"), ("negative integer", "Ellipsis")])
def test_indices_are_mixed(a, b):
    has = lambda index: all(any(map(INDICES[kind], lists_of(index))) for kind in (a, b))
    assert is_drawn(mt.indices((3, 2, 4)), has)


@pytest.mark.parametrize("kind", [int, slice, list, np.ndarray])
def test_indices_may_stand_alone(kind):
    found = simplest(mt.indices((3, 4)), lambda i: isinstance(i, kind))
    assert repr(found) in ("0", "slice(None, None, None)", "[0]", "array([False, False, False])")


def test_a_number_has_a_mask():
    assert simplest(mt.indices(()), array(bool, 0)).dtype == bool


def test_indices_shrink_to_the_whole():
    assert simplest(mt.indices((2, 3))) == ()


# -- geometries -----------------------------------------------------------------------------------
FUNCTIONS = pytest.mark.parametrize("transposed", [False, True], ids=["conv2d", "transposed"])


@FUNCTIONS
@settings(drawn, max_examples=100)
@given(data=st.data())
def test_geometries_are_valid_calls_with_the_result_they_say(data, transposed):
    f = mg.conv_transpose2d if transposed else mg.conv2d
    g = data.draw(mt.geometries(transposed))
    assert f(np.ones(g.x), np.ones(g.w), bias=np.ones(g.y[-1:]), **g.options).shape == g.y
    assert g.x[0] in (0, 1, 2) and g.x[3] % g.groups == g.y[3] % g.groups == 0
    assert all(n >= 1 for n in (*g.x[1:], *g.w, *g.y[1:]))


@FUNCTIONS
@settings(drawn)
@given(data=st.data())
def test_geometries_keep_their_limits(data, transposed):
    g = data.draw(mt.geometries(transposed, min_batch=2, largest=3))
    reach = [d * (k - 1) + 1 for d, k in zip(g.dilation, g.w)]
    needed = [7, 7] if transposed else reach  # 7: for H' ≥ 1 with a padding of 3
    assert g.x[0] == 2 and all(n <= max(3, m) for n, m in zip(g.x[1:3], needed))


@FUNCTIONS
@pytest.mark.parametrize("option, is_so", [
    ("stride", lambda v: type(v) is int and v == 3), ("stride", lambda v: v == (1, 2)),
    ("padding", lambda v: v == "same"), ("padding", lambda v: v == "valid"),
    ("padding", lambda v: v == (0, 2)), ("padding", lambda v: v == 1),
    ("dilation", lambda v: v == (3, 1)), ("dilation", lambda v: v == 2),
    ("groups", lambda v: v == 3)])
def test_every_option_is_drawn(transposed, option, is_so):
    g = simplest(mt.geometries(transposed), lambda g: is_so(g.options.get(option)))
    assert g == (g.x, g.w, g.y, {option: g.options[option]})


@pytest.mark.parametrize("is_so", [
    lambda g: g.options.get("output_padding") == (1, 2),
    lambda g: g.options.get("output_padding", 0) == g.dilation[0] - 1 > g.stride[0] - 1,
    lambda g: g.options.get("output_size", (0, 0))[0] > 2])
def test_every_output_of_a_transposed_convolution_is_drawn(is_so):
    assert is_so(simplest(mt.geometries(True), is_so))


@FUNCTIONS
def test_geometries_shrink_to_one_pixel_and_show_what_is_called(transposed):
    g = simplest(mt.geometries(transposed))
    assert repr(g) == ("Geometry(x=(1, 1, 1, 1), w=(1, 1, 1, 1), y=(1, 1, 1, 1), options={})")
    assert (g.stride, g.dilation, g.groups) == ((1, 1), (1, 1), 1)


# -- distributions --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PARAMETERS)
@drawn
@given(data=st.data())
def test_parameters_are_those_of_the_distribution(name, data):
    distribution = getattr(vae, name)(**data.draw(mt.parameters_of(name, (2, 3))))
    draws = distribution.sample((4,), rng=np.random.default_rng(0))
    assert draws.shape == (4, 2, 3) and np.isfinite(distribution.log_prob(draws)).all()


def test_the_distributions_of_vae_have_parameters():
    concrete = {name for name in vae.__all__ if inspect.isclass(c := getattr(vae, name))
                and issubclass(c, vae.Distribution) and not inspect.isabstract(c)}
    assert concrete == {*PARAMETERS, "Mixture"}  # whose components are a distribution


def test_an_unknown_distribution_is_named():
    with pytest.raises(ValueError, match=r"parameters_of\('Nobody'\): known are Normal, "):
        mt.parameters_of("Nobody", (2,))
