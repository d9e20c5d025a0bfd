"""float32 stays float32 whatever constant it meets, and nothing overflows that need not."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import scipy.special as sc

import minigrad as mg
from minigrad.table import NoRule
from minigrad.tensor import Tensor

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow,
          operator.floordiv, operator.mod, np.maximum, np.minimum, np.power, np.hypot,
          np.logaddexp, np.arctan2, lambda x, y: np.where(np.array([True, False]), x, y)]
CONSTANTS = {
    "int": 2, "float": 2.5, "bool": True, "float64": np.float64(2.5), "int64": np.int64(3),
    "sqrt": np.sqrt(2), "0-d": np.array(1.5), "0-d int": np.array(2), "int array": np.array([1, 3]),
    "list": [1.0, 2.0], "float32": np.array([1, 2], np.float32),
}
constants = pytest.mark.parametrize("constant", CONSTANTS.values(), ids=CONSTANTS)
binary = pytest.mark.parametrize("op", BINARY, ids=lambda f: f.__name__)


@binary
@constants
@pytest.mark.parametrize("shape", [(2,), ()])
def test_constants_leave_float32_alone(op, constant, shape):
    t = Tensor(np.full(shape, 1.5, np.float32))
    for out, expected in [(op(t, constant), op(np.full(shape, 1.5), constant)),
                          (op(constant, t), op(constant, np.full(shape, 1.5)))]:
        assert out.dtype == np.float32
        np.testing.assert_allclose(out.data, expected, rtol=1e-6)
        np.sum(out).backward()
        assert t.grad.dtype == np.float32 and t.grad.shape == shape


@pytest.mark.parametrize("name", sorted(set(CONSTANTS) - {"list"}))
def test_constants_leave_float32_alone_in_second_derivatives(name):
    constant = CONSTANTS[name]
    x = np.array([1.5, 2.5], np.float32)
    f = lambda x: np.sum(np.maximum(x * constant, x) ** constant / (x + constant))
    assert mg.hessian(f)(x).dtype == mg.hvp(f, (x,), (x,))[0].dtype == np.float32
    assert mg.jvp(f, (x,), (x,))[1].dtype == np.float32


def test_products_with_integer_arrays_stay_float32():
    t = Tensor(np.ones((2, 2), np.float32))
    assert (t @ np.eye(2, dtype=int)).dtype == (np.eye(2, dtype=int) @ t).dtype == np.float32


@binary
def test_float64_arrays_promote_as_in_numpy_and_the_gradient_is_float32_again(op):
    x, y = np.array([1.5, 2.5], np.float32), np.array([0.3, 1.7])
    t = Tensor(x)
    out = op(t, y)
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out.data, op(x, y))
    np.sum(out).backward()
    assert t.grad.dtype == np.float32


# -- stability ------------------------------------------------------------------------------------
BIG = np.finfo(np.float32).max
ENDS = np.array([-BIG, -1e30, -1e4, -90, -1e-30, 0, 1e-30, 20, 90, 1e4, 1e30, BIG], np.float32)
ELEMENTWISE = {  # float32 function, and its value and slope in float64
    "softplus": (mg.softplus, lambda x: np.logaddexp(0, x), sc.expit),
    "log_sigmoid": (mg.log_sigmoid, lambda x: -np.logaddexp(0, -x), lambda x: sc.expit(-x)),
    "sigmoid": (mg.sigmoid, sc.expit, lambda x: sc.expit(x) * sc.expit(-x)),
    "tanh": (np.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "relu": (mg.relu, lambda x: np.maximum(x, 0), lambda x: x > 0),
    "elu": (mg.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            lambda x: np.exp(np.minimum(x, 0))),
    "bernoulli": (lambda x: 0.25 * x - mg.softplus(x), lambda x: 0.25 * x - np.logaddexp(0, x),
                  lambda x: 0.25 - sc.expit(x)),
}


@pytest.mark.parametrize("f, value, slope", ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_elementwise_functions_are_right_up_to_the_ends_of_float32(f, value, slope):
    out, pullback = mg.vjp(f, ENDS)
    (gradient,) = pullback(np.ones_like(ENDS))
    wide = ENDS.astype(np.float64)
    smallest = np.finfo(np.float32).tiny  # below it float32 has no full precision
    np.testing.assert_allclose(out, value(wide), rtol=1e-6, atol=smallest)
    np.testing.assert_allclose(gradient, slope(wide), rtol=1e-6, atol=2e-7)
    assert out.dtype == gradient.dtype == np.float32


@pytest.mark.parametrize("x", [
    [1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 0], [-1e30, 1e30, 1e30], [BIG, BIG, 0],
    [-BIG, -BIG, -BIG],
])
def test_functions_of_rows_are_right_for_large_numbers(x):
    x, g = np.array(x, np.float32), np.array([1, 2, 4], np.float32)
    shifted = x.astype(np.float64) - x.max()
    log_p = shifted - np.log(np.sum(np.exp(shifted)))
    p = np.exp(log_p)
    for f, value, gradient in [
        (mg.log_softmax, log_p, g - p * g.sum()), (mg.softmax, p, p * (g - p @ g)),
    ]:
        out, pullback = mg.vjp(f, x)
        np.testing.assert_allclose(out, value, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(pullback(g)[0], gradient, rtol=1e-6, atol=1e-6)
    total, pullback = mg.vjp(mg.logsumexp, x)
    np.testing.assert_allclose(total, np.float64(x.max()) - log_p.max(), rtol=1e-6)
    if np.max(np.abs(x)) <= 1e4:  # its slope is exp(x - y), as precise as y is, not as softmax is
        np.testing.assert_allclose(pullback(np.float32(1))[0], p, rtol=1e-3)


def test_logsumexp_of_a_row_of_minus_infinity():
    x = np.array([[-np.inf, -np.inf], [-np.inf, 1.0]])
    value, pullback = mg.vjp(lambda x: mg.logsumexp(x, axis=1), x)
    np.testing.assert_array_equal(value, [-np.inf, 1])
    np.testing.assert_array_equal(pullback(np.ones(2))[0][1], [0, 1])


def test_logaddexp_shares_its_gradient_exactly_where_float32_is_coarse():
    x, y = np.float32([1e4, -1e4, 1e30]), np.float32([1e4, -1e4, 1e30])
    gradients = mg.grad(lambda x, y: np.sum(np.logaddexp(x, y)), (0, 1))(x, y)
    assert (gradients[0] == 0.5).all() and (gradients[1] == 0.5).all()


def test_dtype_by_position_is_refused_and_not_taken_for_keepdims():
    t = mg.Tensor(np.arange(9.0).reshape(3, 3))
    for reduce in (np.sum, np.mean, np.prod):
        with pytest.raises(NoRule, match="by position"):
            reduce(t, 1, np.float64)
    for call in (lambda: np.ravel(t, "F"), lambda: np.reshape(t, (9,), "F")):
        with pytest.raises(NoRule, match="by position"):
            call()


def test_jvp_of_a_function_with_integer_values_is_zero():
    value, slope = mg.jvp(lambda x: np.argmax(x), (np.array([1.0, 3.0]),), (np.ones(2),))
    assert value == 1 and slope == 0


def test_keep_wants_a_list_of_tensors():
    t = mg.Tensor(np.ones(2))
    with pytest.raises(TypeError, match=r"keep=\[t\]"):
        np.sum(t * 2).backward(keep=t)


# -- what is left out has no gradient --------------------------------------------------------------
LEFT_OUT = {  # function, the point, its gradient and the diagonal of its Hessian
    "where and sqrt": (lambda x: np.where(x >= 0, x, np.sqrt(-x)), [4, -4], [1, -0.25],
                       [0, -1 / 32]),
    "where and log": (lambda x: np.where(x > 0, np.log(x), 0), [4, 0, -1], [0.25, 0, 0],
                      [-1 / 16, 0, 0]),
    "where and a quotient": (lambda x: np.where(x != 0, 1 / x, 0), [2, 0], [-0.25, 0], [0.25, 0]),
    "where and a power": (lambda x: np.where(x > 0, x**-0.5, 1), [4, 0], [-1 / 16, 0],
                          [3 / 128, 0]),
    "where and overflow": (lambda x: np.where(x < 9, np.exp(x), 0), [0, 1e4], [1, 0], [1, 0]),
    "where around a sum": (lambda x: np.where(x > 0, np.sum(np.log(x)) + x, 0), [-1, -2], [0, 0],
                           [0, 0]),
    "maximum": (lambda x: np.maximum(np.log(x), -9), [2, 0], [0.5, 0], [-0.25, 0]),
    "clip": (lambda x: np.clip(np.log(x), -9, 9), [2, 0], [0.5, 0], [-0.25, 0]),
    "selection": (lambda x: np.log(x)[x > 0], [2, 0], [0.5, 0], [-0.25, 0]),
    "norm": (np.linalg.norm, [0, 0], [0, 0], [0, 0]),
    "std": (np.std, [3, 3], [0, 0], [0, 0]),
}


@pytest.mark.parametrize("f, x, first, second", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_left_out_of_the_result_has_no_gradient(f, x, first, second):
    x = np.array(x, float)
    with np.errstate(all="ignore"):  # NumPy's own warnings, of the values
        np.testing.assert_allclose(mg.grad(lambda x: np.sum(f(x)))(x), first)
        hessian = mg.hessian(lambda x: np.sum(f(x)))(x)
        np.testing.assert_allclose(np.diag(hessian), second)
        forward = mg.jvp(lambda x: np.sum(f(x)), (x,), (np.arange(1., len(x) + 1),))[1]
    np.testing.assert_allclose(forward, first @ np.arange(1., len(x) + 1))


def test_an_infinite_slope_that_is_asked_for_is_infinite():
    with np.errstate(divide="ignore"):
        for f in (np.sqrt, np.log):
            assert mg.grad(f)(np.array(0.0)) == np.inf
            assert mg.jvp(f, (np.array(0.0),), (np.array(1.0),))[1] == np.inf
    nan = mg.grad(lambda x: np.sum(np.where(x > 0, x * np.array([np.nan, 1]), 0)))
    np.testing.assert_array_equal(nan(np.ones(2)), [np.nan, 1])  # a NaN that is used is not hidden


def test_what_is_left_out_around_a_matrix_product_is_left_to_its_rule():
    w = np.full((3, 4), 2.0)
    chosen = np.arange(8).reshape(2, 4) % 2 == 0
    gradient = mg.grad(lambda x: np.sum(np.where(chosen, np.log(x) @ w, 0.0)))(np.ones((2, 3)))
    np.testing.assert_array_equal(gradient, np.full((2, 3), 4.0))
    with np.errstate(invalid="ignore"):  # 0·∞ within a sum of products is no unused element
        w[:] = np.inf
        gradient = mg.grad(lambda x: np.sum(np.where(chosen, x @ w, 0.0)))(np.ones((2, 3)))
    assert np.all(np.isnan(gradient))
