"""Derivatives as functions of functions: closed forms, nesting, both modes, random programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minigrad as mg
from minigrad.tensor import Tensor

RNG = np.random.default_rng(5)
A = RNG.standard_normal((4, 4))
X, V = RNG.standard_normal((2, 4))
close = np.testing.assert_allclose
random_programs = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def quadratic(x):
    return x @ A @ x


def softmax_jacobian(x):
    p = np.exp(x) / np.sum(np.exp(x))
    return np.diag(p) - np.outer(p, p)


# -- closed forms ---------------------------------------------------------------------------------
def test_quadratic_form():
    close(mg.grad(quadratic)(X), (A + A.T) @ X)
    value, gradient = mg.value_and_grad(quadratic)(X)
    close(value, X @ A @ X)
    close(gradient, (A + A.T) @ X)
    close(mg.hessian(quadratic)(X), A + A.T)
    close(mg.hvp(quadratic, (X,), (V,))[0], (A + A.T) @ V)
    close(mg.jvp(quadratic, (X,), (V,)), (X @ A @ X, V @ (A + A.T) @ X))


def test_softmax_jacobian():
    jacobian = mg.jacobian(mg.softmax)(X)
    close(jacobian, softmax_jacobian(X), atol=1e-15)
    out, pullback = mg.vjp(mg.softmax, X)
    close(pullback(V)[0], V @ jacobian)
    close(mg.jvp(mg.softmax, (X,), (V,))[1], jacobian @ V)
    assert type(out) is np.ndarray


def test_sine_of_a_product_by_each_argument():
    f = lambda x, y: np.sin(x @ y)
    c, s = np.cos(X @ V), np.sin(X @ V)
    close(mg.grad(f)(X, V), c * V)
    close(mg.grad(f, 1)(X, V), c * X)
    close(mg.grad(f, -1)(X, V), c * X)
    for found, expected in zip(mg.grad(f, (1, 0))(X, V), (c * X, c * V), strict=True):
        close(found, expected)
    by_y, by_x = mg.grad(lambda x, y: np.sum(x / y), (1, 0))(X, V)
    close(by_y, -X / V**2)
    close(by_x, 1 / V)
    close(mg.hessian(f)(X, V), -s * np.outer(V, V))
    blocks = mg.hessian(f, (0, 1))(X, V)
    close(blocks[0][1], c * np.eye(4) - s * np.outer(V, X))
    close(blocks[1][0], blocks[0][1].T)


def test_jacobian_has_the_shape_of_result_and_argument():
    w = RNG.standard_normal((2, 3))
    jacobian = mg.jacobian(lambda w: np.outer(X, w[0]) @ np.ones((3, 1)))(w)
    assert jacobian.shape == (4, 1, 2, 3)
    close(jacobian[:, 0, 0, :], X[:, None] * np.ones(3))
    assert np.all(jacobian[:, :, 1] == 0)
    assert mg.jacobian(lambda x: x[:0])(X).shape == (0, 4)


def test_containers():
    f = lambda p, xs: p["a"] * np.sum(xs[0] ** 2) + p["b"][0] * xs[1]["c"]
    p = {"a": np.array(2.0), "b": (np.array(3.0), np.array(7.0))}
    xs = [np.array([1.0, 2.0]), {"c": np.array(5.0)}]
    by_p, by_xs = mg.grad(f, (0, 1))(p, xs)
    assert by_p == {"a": 5, "b": (5, 0)} and type(by_p["b"]) is tuple
    assert type(by_xs) is list and by_xs[0].tolist() == [4, 8] and by_xs[1] == {"c": 3}
    assert mg.jvp(f, (p, xs), (p, xs))[1] == 2 * 5 + 2 * 10 + 3 * 5 + 3 * 5
    assert mg.hessian(f)(p, xs)["a"] == {"a": 0, "b": (0, 0)}
    close(mg.hvp(f, (p, xs), (p, xs))[1][0], 2 * xs[0] * 2 + 2 * 2 * xs[0])
    out, pullback = mg.vjp(lambda x: {"y": x * 2, "z": [x @ V, 1.5]}, X)
    close(pullback({"y": V, "z": [2.0, 9.0]})[0], 4 * V)
    assert out["z"][1] == 1.5
    jacobian = mg.jacobian(lambda x: (x @ V, x * 2))(X)
    close(jacobian[0], V)
    close(jacobian[1], 2 * np.eye(4))


def test_arguments_that_are_not_differentiated_are_passed_on():
    f = lambda x, n, *, name, scale=1: scale * np.sum(x**n) if name == "sum" else None
    close(mg.grad(f)(X, 3, name="sum", scale=2), 6 * X**2)
    close(mg.hessian(f)(X, 3, name="sum"), np.diag(6 * X))
    close(mg.jacobian(f)(X, 2, name="sum"), 2 * X)


@pytest.mark.parametrize("argnums", [2, -3, (0, 2)])
def test_argnums_out_of_range(argnums):
    for transform in (mg.grad, mg.jacobian, mg.hessian):
        with pytest.raises(IndexError, match="called with 2 positional"):
            transform(lambda x, y: x * y, argnums)(1.0, 2.0)


# -- errors and edges -----------------------------------------------------------------------------
def test_grad_of_more_than_one_number_names_the_shape():
    with pytest.raises(ValueError, match=r"shape \(4,\).*np\.sum.*mg\.jacobian"):
        mg.grad(np.sin)(X)
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        mg.hessian(lambda x: np.outer(x, x))(X)


def test_shapes_of_vectors_and_cotangents_are_checked():
    with pytest.raises(ValueError, match=r"mg\.jvp.*\(3,\).*expected.*\(4,\)"):
        mg.jvp(np.sin, (X,), (np.ones(3),))
    with pytest.raises(ValueError, match=r"mg\.hvp.*\(3,\).*expected.*\(4,\)"):
        mg.hvp(quadratic, (X,), (np.ones(3),))
    with pytest.raises(ValueError, match=r"cotangent.*\(\).*expected.*\(4,\)"):
        mg.vjp(np.sin, X)[1](1.0)


@pytest.mark.parametrize("argument", [1, np.arange(3), np.array([True])])
def test_integers_have_no_derivative(argument):
    for transform in (mg.grad, mg.jacobian, mg.hessian, mg.value_and_grad):
        with pytest.raises(TypeError, match="need floating point"):
            transform(np.sum)(argument)


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: np.ones(()),
                               lambda x: np.sum(mg.stop_gradient(x)),
                               lambda x: np.float32(np.sum(x > 0))])
def test_no_dependence_gives_zeros_like_the_argument(f):
    for dtype in (np.float32, np.float64):
        x = np.ones((2, 3), dtype)
        gradient, hessian = mg.grad(f)(x), mg.hessian(f)(x)
        assert (gradient.shape, gradient.dtype, hessian.dtype) == ((2, 3), dtype, dtype)
        assert hessian.shape == (2, 3, 2, 3) and not gradient.any() and not hessian.any()
        assert mg.jvp(f, (x,), (x,))[1] == 0 and not mg.hvp(f, (x,), (x,))[0].any()


def test_pullback_may_be_called_many_times():
    _, pullback = mg.vjp(lambda x: np.exp(x) * x, X)
    first, second, third = (pullback(c * V)[0] for c in (1, 2, 1))
    close(second, 2 * first)
    np.testing.assert_array_equal(first, third)
    assert not np.shares_memory(first, third)


# -- nesting --------------------------------------------------------------------------------------
grad, three = mg.grad, np.array(3.0)
along = lambda f, x: mg.jvp(f, (x,), (np.ones(()),))[1]
NESTINGS = [
    ("x d/dy(x + y)", lambda x: x * grad(lambda y: x + y)(1.0), 1),
    ("x d/dy(x y)", lambda x: x * grad(lambda y: x * y)(2.0), 2 * 3),
    ("inner ignores its argument", lambda x: x * grad(lambda y: x * x)(1.0) + x, 1),
    ("inner at the outer's value", lambda x: grad(lambda y: x * y**2)(x), 4 * 3),
    ("gradient of a closed-over gradient", lambda x: grad(lambda y: np.sin(x * y))(x),
     np.cos(9) - 18 * np.sin(9)),  # d/dx [x cos x²] = cos x² - 2x² sin x²
    ("three levels", lambda x: grad(lambda y: y * grad(lambda z: x * y * z * z)(y))(x), 3 * 6 * 9),
    ("three levels, the outermost closed over",
     lambda x: grad(lambda y: grad(lambda z: x**2 * y**2 * z**2)(1.0))(1.0), 4 * 2 * 3),
    ("jvp in grad", lambda x: x * along(lambda y: x * y * y, x), 3 * 2 * 9),
    ("jvp in grad, ignoring", lambda x: x * along(lambda y: x + 0 * y, 1.0), 0),
    ("the outer as tangent", lambda x: mg.jvp(np.sin, (2.0,), (x * x,))[1], 2 * 3 * np.cos(2)),
    ("the outer as cotangent", lambda x: mg.vjp(np.sin, 2.0)[1](x * x)[0], 2 * 3 * np.cos(2)),
    ("hessian in grad", lambda x: mg.hessian(lambda y: x**2 * y**3)(x), 6 * 3 * 9),
    ("hvp in grad", lambda x: mg.hvp(lambda y: x * y**3, (x,), (x,))[0], 6 * 3 * 9),
    ("stopped inside", lambda x: x * grad(lambda y: y * mg.stop_gradient(x))(1.0), 3),
]


@pytest.mark.parametrize("f, expected", [n[1:] for n in NESTINGS], ids=[n[0] for n in NESTINGS])
def test_an_inner_derivative_is_not_confused_with_the_outer(f, expected):
    close(grad(f)(three), expected, rtol=1e-12, atol=1e-12)
    close(along(f, three), expected, rtol=1e-12, atol=1e-12)  # the same inside of forward mode
    close(mg.jacobian(f)(three), expected, rtol=1e-12, atol=1e-12)


def test_derivatives_of_high_order():
    f, x = np.sin, np.array(0.7)
    for expected in (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin):
        f = mg.grad(f)
        close(f(x), expected(x), rtol=1e-13)
    for n in range(1, 6):
        f = lambda x, n=n: x**n
        for k in range(1, n + 2):
            f = mg.grad(f)
            close(f(x), math.perm(n, k) * x ** (n - k) if k <= n else 0, rtol=1e-12, atol=1e-12)


def test_a_tensor_whose_graph_was_used_up_is_a_constant_inside():
    h = np.exp(Tensor(X.copy()))
    np.sum(h).backward()
    close(mg.grad(lambda y: np.sum(np.sin(y * h)))(V).data, np.cos(V * h.data) * h.data)


def test_gradient_penalty_on_tensors_followed_by_backward():
    w, x = Tensor(A.copy()), Tensor(X.copy())
    slope = mg.grad(lambda x: np.sum(np.sin(w @ x)))(x)  # wᵀ cos(w x)
    assert type(slope) is Tensor
    np.sum(slope**2).backward()
    c, s = np.cos(A @ X), np.sin(A @ X)
    inner = A.T @ c
    close(x.grad, -2 * A.T @ (s * (A @ inner)))
    close(w.grad, 2 * (np.outer(c, inner) - np.outer(s * (A @ inner), X)))


# -- properties -----------------------------------------------------------------------------------
UNARY = [np.sin, np.tanh, np.exp, np.square, mg.softplus, mg.sigmoid, np.negative, np.arctan,
         lambda x: np.mean(x, -1, keepdims=True) if x.ndim else x, lambda x: 1.5 - x / 2,
         lambda x: np.transpose(x) if x.ndim < 2 else np.swapaxes(np.swapaxes(x, 0, 1) * 2, 0, 1),
         lambda x: np.flip(x) * 2.0 if x.ndim else x, lambda x: np.reshape(np.ravel(x), x.shape)]
BINARY = [np.add, np.subtract, np.multiply, np.logaddexp, lambda x, y: x / (1.5 + np.cos(y)),
          lambda x, y: np.where(np.ones(x.shape) > 0, x, y) + 0.1 * y,
          lambda x, y: np.hypot(x, 2 + y * y),
          lambda x, y: (1 + x * x) ** (y / 3), lambda x, y: np.arctan2(y, 2 + x * x)]
steps = st.lists(st.tuples(st.integers(0, len(UNARY) - 1), st.integers(0, len(BINARY) - 1),
                           st.integers(0, 9)), min_size=1, max_size=5)


def program(chosen):
    """A function of any number of arrays: each step applies two operations to values so far."""
    def f(*xs):
        values = list(xs)
        for unary, binary, k in chosen:
            a, b = values[k % len(values)], values[-1]
            values.append(np.tanh(BINARY[binary](UNARY[unary](a), b)))  # tanh keeps numbers small
        return sum(v * (i + 1) for i, v in enumerate(values[len(xs) - 1:]))
    return f


def difference(f, args, directions, h=1e-3):
    """The central difference along a direction, extrapolated by Richardson to O(h⁴)."""
    at = lambda t: f(*(a + t * d for a, d in zip(args, directions)))
    return (8 * (at(h / 2) - at(-h / 2)) - (at(h) - at(-h))) / (6 * h)


@random_programs
@given(mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3), steps,
       st.integers(0, 2**32))
def test_gradients_of_random_programs_of_broadcast_arrays(shapes, chosen, seed):
    rng, f = np.random.default_rng(seed), program(chosen)
    args, v = ([rng.uniform(-1.5, 1.5, s) for s in shapes.input_shapes] for _ in range(2))
    out, pullback = mg.vjp(f, *args)
    w = rng.standard_normal(out.shape)
    gradients = pullback(w)
    assert [g.shape for g in gradients] == [a.shape for a in args]
    expected = np.sum(w * difference(f, args, v))
    scale = 1 + np.sum(np.abs(w))
    assert abs(sum(np.sum(g * d) for g, d in zip(gradients, v)) - expected) < 1e-8 * scale
    forward = mg.jvp(f, tuple(args), tuple(v))[1]
    np.testing.assert_allclose(np.sum(w * forward), expected, atol=1e-8 * scale)
    tensors = list(map(Tensor, args))
    f(*tensors).backward(w)
    for t, g in zip(tensors, gradients):
        close(np.zeros(t.shape) if t.grad is None else t.grad, g, atol=1e-12 * scale)


@random_programs
@given(steps, st.integers(0, 2**32))
def test_second_derivatives_of_random_programs(chosen, seed):
    rng = np.random.default_rng(seed)
    x, v = rng.uniform(-1.5, 1.5, (2, 3))
    f = lambda x: np.sum(program(chosen)(x, x[::-1] / 2))
    hessian = mg.hessian(f)(x)
    size = 1e-10 * (1 + np.max(np.abs(hessian)))
    close(hessian, hessian.T, atol=size)
    close(hessian, mg.jacobian(mg.grad(f))(x), atol=size)
    close(mg.hvp(f, (x,), (v,))[0], hessian @ v, atol=10 * size)
    close(mg.jvp(mg.grad(f), (x,), (v,))[1], hessian @ v, atol=10 * size)  # forward over reverse
    close(difference(mg.grad(f), (x,), (v,)), hessian @ v, atol=1e4 * size)
