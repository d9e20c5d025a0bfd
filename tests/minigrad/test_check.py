"""The checker finds planted errors, and only errors."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.check import GradientError

RNG = np.random.default_rng(8)
X = RNG.uniform(0.5, 1.5, 5)
A = RNG.standard_normal((5, 5))
# A correct rule, differentiated by a wrong one: nothing but the second derivative is wrong.
wrong_cos = mg.primitive(np.cos, lambda g, y, x: g * np.sin(x), name="wrong_cos")
nearly_cos = mg.primitive(np.cos, lambda g, y, x: -1.001 * g * np.sin(x), name="nearly_cos")
PLANTED = {
    "sign": (np.sin, lambda g, y, x: -g * np.cos(x)),
    "factor": (np.sin, lambda g, y, x: 2 * g * np.cos(x)),
    "per mille": (np.sin, lambda g, y, x: 1.001 * g * np.cos(x)),
    "one element": (np.sin, lambda g, y, x: g * np.cos(x) * np.array([1, 1, 1, 1, 1.01])),
    "small and zero": (lambda x: 1e-7 * np.sin(x), lambda g, y, x: 0 * g),
    "tiny and zero": (lambda x: 1e-12 * np.sin(x), lambda g, y, x: 0 * g),
    "tiny per mille": (lambda x: 1e-12 * np.sin(x), lambda g, y, x: 1.001e-12 * g * np.cos(x)),
    "huge per mille": (lambda x: 1e12 * np.sin(x), lambda g, y, x: 1.001e12 * g * np.cos(x)),
    "not zero": (np.floor, lambda g, y, x: 1e-3 * g),
    "transposed": (lambda x: A @ x, lambda g, y, x: A @ g),
    "missing term": (lambda x: x * np.sin(x), lambda g, y, x: g * np.sin(x)),
    "permuted": (np.sort, lambda g, y, x: g),
    "nan": (np.sin, lambda g, y, x: g * np.nan),
    "one nan": (np.sin, lambda g, y, x: g * np.cos(x) * np.array([1, 1, np.nan, 1, 1])),
    "softmax": (lambda x: np.exp(x) / np.sum(np.exp(x)),
                lambda g, y, x: 2 * y * (g - np.sum(g * y))),
}
SECOND = {
    "sign": (np.sin, lambda g, y, x: g * wrong_cos(x)),
    "per mille": (np.sin, lambda g, y, x: g * nearly_cos(x)),
    "constant": (np.sin, lambda g, y, x: g * np.cos(mg.stop_gradient(x))),
}


@pytest.mark.parametrize("forward, vjp", PLANTED.values(), ids=PLANTED)
def test_planted_errors_are_found(forward, vjp):
    planted = mg.primitive(forward, vjp, name="planted")
    with pytest.raises(GradientError, match="derivative 1 of planted"):
        mg.check_grads(planted, (X,), order=1)
    with pytest.raises(GradientError, match="derivative 1 of planted"):
        mg.check_grads(planted, (X,))


@pytest.mark.parametrize("forward, vjp", SECOND.values(), ids=SECOND)
def test_errors_of_the_second_derivative_are_found(forward, vjp):
    planted = mg.primitive(forward, vjp, name="planted")
    mg.check_grads(planted, (X,), order=1)
    with pytest.raises(GradientError, match="derivative 2 of planted"):
        mg.check_grads(planted, (X,), order=2)


def test_a_cotangent_of_ones_would_not_see_the_wrong_softmax():
    wrong = mg.primitive(*PLANTED["softmax"], name="wrong")
    ours, right = (mg.vjp(f, X)[1](np.ones(5))[0] for f in (wrong, mg.softmax))
    np.testing.assert_allclose(ours, right, atol=1e-15)


def test_the_wrong_argument_of_several_is_found():
    swapped = mg.primitive(lambda x, y: x * y, lambda g, z, x, y: g * x, lambda g, z, x, y: g * y,
                           name="swapped")
    with pytest.raises(GradientError, match="swapped"):
        mg.check_grads(swapped, (X, X[::-1].copy()))
    half = mg.primitive(lambda x, y: x + y**2, lambda g, z, x, y: g, lambda g, z, x, y: g * y)
    with pytest.raises(GradientError):
        mg.check_grads(lambda p: half(p["x"], p["y"]), ({"x": X, "y": X},))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("f", [np.sin, np.exp, mg.softmax, lambda x: x @ A, np.prod,
                               lambda x: np.sum(x) ** 3], ids=lambda f: f.__name__)
def test_right_rules_pass_at_any_scale(f, scale):
    mg.check_grads(lambda x: scale * f(x), (X,))
    mg.check_grads(lambda x: f(x / scale), (X * scale,))
    mg.check_grads(lambda x: f(x) + scale, (X,), order=1)


def test_right_rules_pass_to_third_order_and_in_any_direction():
    for seed in range(10):
        mg.check_grads(lambda x, y: np.tanh(x) * np.exp(y), (X, X), order=3,
                       rng=np.random.default_rng(seed), directions=3)


def test_float32_containers_scalars_and_constants_are_accepted():
    mg.check_grads(np.sin, (X.astype(np.float32),))
    mg.check_grads(lambda p, q: [p["a"] * q, (p["b"][0] ** 2,)],
                   ({"a": np.float32(2), "b": [X]}, 1.5))
    mg.check_grads(lambda x: np.zeros(3) * np.sum(x), (X,))
    mg.check_grads(np.sin, (np.zeros(0),))
    mg.check_grads(np.sin, (np.zeros(3),))


def test_the_text_has_the_function_the_order_and_both_numbers():
    doubled = mg.primitive(np.sin, lambda g, y, x: 2 * g * np.cos(x), name="doubled")
    with pytest.raises(AssertionError) as caught:  # so that it reads well in anybody's tests
        mg.check_grads(doubled, (X.reshape(5, 1),))
    text = re.fullmatch(
        r"derivative 1 of doubled by x, shape \(5, 1\), is wrong\n"
        r"  forward mode, result\[\d, 0\] along a random direction: (\S+), "
        r"finite difference (\S+), off by (\S+) where (\S+) is allowed\n"
        r"  most of it by x\[\d, 0\]: (\S+), finite difference (\S+)\n"
        r"  step (\S+) of the direction, accuracy of the finite difference (\S+)",
        str(caught.value))
    ours, expected, off, allowed, one, same, step, accuracy = map(float, text.groups())
    assert ours == pytest.approx(2 * expected, rel=1e-6) and off > allowed > accuracy > 0 < step
    assert off == pytest.approx(abs(expected), rel=1e-2)
    assert one == pytest.approx(2 * same, rel=1e-6)

    def named(x):
        return doubled(x)
    with pytest.raises(GradientError, match="of named"):
        mg.check_grads(named, (X,))


def test_arguments_are_not_modified():
    x = X.copy()
    mg.check_grads(np.sin, (x,))
    np.testing.assert_array_equal(x, X)
