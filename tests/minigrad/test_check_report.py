"""What the checker says: at kinks, of noise, of conduct, and where an error is."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.check import GradientError, Undecided
from minigrad.testing import frozen_noise

X = np.random.default_rng(3).uniform(0.5, 1.5, 5)
P = mg.primitive


def sine(vjp, **about):
    return P(np.sin, vjp, name="planted", **about)


# -- kinks ----------------------------------------------------------------------------------------
AT_KINKS = {
    "relu": (mg.relu, [0, 1, -1]),
    "abs": (np.abs, [0, 1, -1]),
    "clip": (lambda x: np.clip(x, -1, 1), [1, -1, 0.3]),
    "tie of max": (np.max, [1, 1, 0]),
    "tie of sort": (np.sort, [1, 0, 1]),
    "tie of maximum": (lambda x: np.maximum(x, x[::-1]), [1, 1, 1]),
    "many in one sum": (lambda x: np.sum(mg.relu(x)), [0] * 10),
    "convex and concave": (lambda x: mg.relu(x[0]) - np.abs(x[1]), [0, 0]),
    "norm": (np.linalg.norm, [0, 0, 0]),
    "leaky": (lambda x: mg.leaky_relu(x, 0.9), [0, 2]),
}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("f, x", AT_KINKS.values(), ids=AT_KINKS)
def test_conventions_at_kinks_pass_and_are_reported(f, x, full):
    report = mg.check_grads(f, (np.array(x, float),), order=1, full=full)
    assert any("at a kink" in note for note in report.notes)


@pytest.mark.parametrize("distance", [1e-12, 1e-9, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("f", [mg.relu, np.abs,
                               lambda x: np.sum(np.maximum(x, 0) ** 1.5 + np.abs(x))])
def test_a_kink_closer_than_the_step_does_not_fail_a_right_rule(f, distance):
    for sign in (-1, 1):
        mg.check_grads(f, (np.array([sign * distance, 1.0]),), order=1)


@pytest.mark.parametrize("slope", [-1, -0.01, 1.01, 2])
def test_a_slope_that_is_on_neither_side_of_the_kink_is_wrong(slope):
    wrong = P(mg.relu.forward, lambda g, y, x: g * np.where(x == 0, slope, x > 0), name="planted")
    with pytest.raises(GradientError, match=r"(?s)derivative 1 of planted by x.*result\[0\].*at a "
                                            r"kink; the derivative from the left is .*by x\[0\]"):
        mg.check_grads(wrong, (np.array([0.0, 1.0]),), order=1)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_tie_that_is_counted_twice_is_wrong(n):
    wrong = P(np.max, lambda g, y, x: g * (x == y), name="planted")
    with pytest.raises(GradientError, match="is wrong"):
        mg.check_grads(wrong, (np.ones(n),), order=1)


def test_a_jump_has_nothing_to_compare_with_and_is_reported():
    report = mg.check_grads(np.floor, (np.array([1.0, 1.5]),))
    assert any("1 of 2 entries, the first result[0], at a jump" in note for note in report.notes)
    report = mg.check_grads(mg.relu, (np.array([0.0, 1.0]),))
    assert any(note.startswith("derivative 2") and "at a jump" in note for note in report.notes)


# -- what can't be judged -------------------------------------------------------------------------
def test_an_infinite_slope_and_coarse_rounding_within_are_not_judged():
    with np.errstate(divide="ignore"):
        for f in (np.sqrt, lambda x: np.sin((x + 64).astype(np.float32))):
            with pytest.raises(Undecided, match="can’t be judged"):
                mg.check_grads(f, (np.array([0.0, 2.0]),), order=1)


def test_what_the_function_says_at_arguments_near_by_is_told():
    def lower(a):
        if np.triu(mg.stop_gradient(a), 1).any():
            raise ValueError("must be 0 above its diagonal")
        return np.tril(a)
    with pytest.raises(Undecided, match="near by the function raises: must be 0 above"):
        mg.check_grads(lower, (np.tril(np.ones((2, 2))),), order=1)


def test_a_result_that_is_no_number_is_not_judged():
    with np.errstate(all="ignore"), pytest.raises(Undecided, match="the result at these arguments"):
        mg.check_grads(np.log, (np.array([-1.0, 2.0]),))


def test_a_small_derivative_beside_a_large_value_is_found_by_the_complex_step():
    forward = lambda x: 1 + 1e-13 * np.sin(x)
    right = P(forward, lambda g, y, x: g * 1e-13 * np.cos(x))
    mg.check_grads(right, (X,), method="complex", order=1)
    with pytest.raises(GradientError, match="is wrong"):
        mg.check_grads(P(forward, lambda g, y, x: 0 * g), (X,), method="complex", order=1)
    report = mg.check_grads(right, (X,), method="difference", order=1)
    assert any("too small to be judged" in note for note in report.notes)


def test_elements_of_very_different_size_are_each_moved_by_their_own():
    x = np.array([1e-6, 1.0, 1e6])
    mg.check_grads(np.log, (x,))
    wrong = P(np.log, lambda g, y, x: g / x * (1 + 1e-3 * (x < 1e-3)), name="planted")
    with pytest.raises(GradientError, match=r"by x\[0\]"):
        mg.check_grads(wrong, (x,))


# -- conduct --------------------------------------------------------------------------------------
def test_noise_is_named_and_can_be_frozen():
    rng = np.random.default_rng(0)
    noisy = lambda x: x * rng.standard_normal(5)
    with pytest.raises(GradientError, match=r"two evaluations .* differ .*frozen_noise\(rng\)"):
        mg.check_grads(noisy, (X,))
    with frozen_noise(rng):
        mg.check_grads(noisy, (X,))
    with frozen_noise():  # the generators that the function refers to
        mg.check_grads(noisy, (X,))
    with pytest.raises(GradientError, match="two evaluations"):
        mg.check_grads(noisy, (X,))


def test_frozen_noise_does_not_hide_a_wrong_gradient():
    rng = np.random.default_rng(0)
    wrong = sine(lambda g, y, x: 1.001 * g * np.cos(x))
    with frozen_noise(rng), pytest.raises(GradientError, match="is wrong"):
        mg.check_grads(lambda x: wrong(x) * rng.standard_normal(5), (X,))


def modify(x):
    x *= 1.5
    return x


def first_call():
    seen = []

    def vjp(g, y, x):
        seen.append(1)
        return g * np.cos(x) * (1 if len(seen) == 1 else 2)
    return vjp


CONDUCT = {
    "forward modifies": (P(lambda x: np.sin(modify(x)), lambda g, y, x: g * np.cos(x)),
                         "function modifies an arg"),
    "vjp modifies x": (sine(lambda g, y, x: g * np.cos(modify(x))), "vjp modifies an argument"),
    "vjp modifies g": (sine(lambda g, y, x: modify(g) / 1.5 * np.cos(x)), "modifies the cotangent"),
    "stale": (sine(first_call()), "two answers"),
    "reversed": (sine(lambda g, y, x: g * np.cos(np.abs(x) if x.strides[0] > 0 else 0 * x)),
                 r"reversed \(negative strides\) arrays"),
    "Fortran": (P(lambda x: x.ravel(order="K") * 1.0, lambda g, y, x: np.reshape(g, x.shape)),
                "Fortran-ordered arrays"),
}


@pytest.mark.parametrize("f, text", CONDUCT.values(), ids=CONDUCT)
def test_what_a_function_must_not_do_is_named(f, text):
    with pytest.raises(GradientError, match=text):
        mg.check_grads(f, (np.outer(X, X**2) if "Fortran" in text else X,), order=1)


def test_float64_out_of_float32_is_named_unless_it_is_wanted():
    factor = np.linspace(1, 2, 5)
    wide = P(lambda x: x * factor, lambda g, y, x: g * factor, name="wide")
    with pytest.raises(GradientError, match="wide gives float64 where all that it is given is f"):
        mg.check_grads(wide, (X,))
    mg.check_grads(wide, (X,), keeps_dtype=False)
    leak = sine(lambda g, y, x: g * np.cos(x) * np.float64(1))
    with pytest.raises(GradientError, match="the vjp of planted by argument 0 gives float64"):
        mg.check_grads(leak, (X,), order=1)
    mg.check_grads(lambda x: x * factor, (X,))  # NumPy's rule, in plain sight


def test_float32_arguments_are_promoted_with_a_word():
    report = mg.check_grads(np.sin, (X.astype(np.float32),))
    assert "the arguments were float32, and were checked as float64" in str(report)


# -- where an error is ----------------------------------------------------------------------------
@pytest.mark.parametrize("n", [7, 1000, 50_000])
@pytest.mark.parametrize("total", [np.sum, lambda y: y], ids=["summed", "entries"])
def test_one_wrong_element_of_many_is_found_and_named(n, total):
    wrong = sine(lambda g, y, x: g * np.cos(x) * (1 + 1e-3 * (np.arange(x.size) == n - 3)))
    x = np.random.default_rng(0).standard_normal(n)
    with pytest.raises(GradientError, match=rf"most of it by x\[{n - 3}\]: "):
        mg.check_grads(lambda x: total(wrong(x)), (x,), order=1)


def test_the_argument_is_named_by_parameter_and_path():
    half = P(lambda a, b: a * b, lambda g, z, a, b: g * b, lambda g, z, a, b: 0.5 * g * a,
             name="half")

    def f(scale, params):
        return scale * half(params["w"], params["layers"][0])
    with pytest.raises(GradientError, match=r"of f by params\['layers'\]\[0\], shape \(5,\), is"):
        mg.check_grads(f, (2.0, {"w": X, "layers": [X]}))
    with pytest.raises(GradientError, match=r"by b, shape"):
        mg.check_grads(half, (X, X))
    with pytest.raises(GradientError, match=r"<lambda> \(test_check_report.py:\d+\) by args\[1\]"):
        mg.check_grads(lambda *args: half(*args), (X, X))


def test_a_small_argument_is_not_hidden_by_a_large_one():
    f = P(lambda a, b: 1e8 * np.sum(a) + 1e-8 * np.sum(np.sin(b)),
          lambda g, z, a, b: 1e8 * g * np.ones(5), lambda g, z, a, b: 1e-8 * g * np.sin(b))
    with pytest.raises(GradientError, match="by b"):
        mg.check_grads(lambda a, b: [f(a, b) - 1e8 * np.sum(a)], (X, X), order=1)


def test_a_small_entry_of_the_result_is_not_hidden_by_a_large_one():
    scales = np.array([1e6, 1, 1e-6])
    f = P(lambda x: scales * np.sin(x), lambda g, y, x: g * np.cos(x) * [1e6, 1, 0], name="f")
    with pytest.raises(GradientError, match=r"result\[2\]"):
        mg.check_grads(f, (X[:3],), order=1, keeps_dtype=False)


def test_full_compares_the_whole_jacobian_in_both_modes():
    a = np.random.default_rng(0).standard_normal((4, 5))
    report = mg.check_grads(lambda x: np.tanh(a @ x), (X,), full=True, order=1)
    assert report.entries == 2 * 4 * 5 + 4  # and one direction beside
    report = mg.check_grads(lambda x: np.tanh(a @ x), (X,), full=True)
    assert report.entries == 2 * 4 * 5 + 2 * 5 * 5 + 4 and report.accuracy < 1e-5
    with pytest.raises(GradientError, match="along a coordinate"):
        mg.check_grads(sine(lambda g, y, x: 2 * g * np.cos(x)), (X,), full=True)


def test_a_rule_that_takes_no_tensors_is_checked_in_reverse_mode():
    report = mg.check_grads(sine(lambda g, y, x: np.asarray(g) * np.cos(x)), (X,), order=1)
    assert "only reverse mode was checked" in str(report) and report.entries == 3
    wrong = sine(lambda g, y, x: 1.001 * np.asarray(g) * np.cos(x))
    with pytest.raises(GradientError, match="reverse mode"):
        mg.check_grads(wrong, (X,), order=1)


def test_the_report_says_what_was_compared():
    report = mg.check_grads(np.sin, (X,))
    assert re.match(r"sin: 25 derivatives up to order 2 are right to a relative \d\.\de-0[67]\Z",
                    str(report))


def test_slopes_that_cancel_to_zero_inside_are_right():
    w = np.array([[0, 0], [-0.875, 0.875]])
    mg.check_grads(lambda x, w: w @ np.tile(x, 2), (np.array(0.0), w))
    mg.check_grads(lambda x, c: x / c / x, (np.array([0.5, 3.0]), np.array([0.7, 0.3])))
    mg.check_grads(lambda x: np.sum(mg.softmax(x)), (X,))


def test_an_argument_far_larger_than_what_a_function_looks_at_is_judged():
    mg.check_grads(np.sin, (np.array([1e8, 1.0]),))
    mg.check_grads(lambda x: np.sin(3e6 * x), (np.array([0.3]),))
    with pytest.raises(GradientError, match="is wrong"):
        mg.check_grads(sine(lambda g, y, x: 1.01 * g * np.cos(x)), (np.array([1e7]),))


def test_a_vjp_that_is_no_program_of_minigrads_names_the_way_out():
    def vjp(g, y, x):
        out = np.zeros_like(x)
        out[:2] = g
        return out
    first = P(lambda x: x[:2] * 1.0, vjp, name="first")
    with pytest.raises(TypeError, match=r"a vjp of first can't be .*index_put.*order=1"):
        mg.check_grads(first, (X,))
    mg.check_grads(first, (X,), order=1)


def test_a_vjp_that_makes_a_constant_of_its_cotangent_is_told_apart():
    detached = sine(lambda g, y, x: mg.stop_gradient(g) * np.cos(x))
    with pytest.raises(GradientError, match=r"reverse mode agrees .* makes a constant of it"):
        mg.check_grads(detached, (X,))


def test_nothing_to_compare_is_said():
    assert "there was nothing to compare" in str(mg.check_grads(np.sin, (np.zeros((0, 3)),)))


@pytest.mark.parametrize("f, x", [
    (np.tanh, 14.0), (np.tanh, 18.0), (mg.softmax, [0, 30, -20]), (mg.log_softmax, [0, 30]),
    (mg.sigmoid, [-20, 15]), (np.sort, [0, 0, 0]), (np.linalg.inv, [[1, 1], [1, 1.00001]]),
    (lambda x: np.exp(-0.5 * (x / 1e-4) ** 2), [1e-4, 0]), (mg.relu, np.zeros((40, 40))),
    (lambda b: mg.relu(b) @ np.random.default_rng(1).standard_normal((6, 2)), np.zeros(6))])
def test_saturated_narrow_and_tied_functions_are_not_refused(f, x):
    mg.check_grads(f, (np.array(x, float),))


def test_a_slope_that_was_kept_from_the_first_call_is_found_beside_the_arguments():
    kept = {}
    wrong = sine(lambda g, y, x: g * kept.setdefault(x.dtype, np.cos(mg.stop_gradient(x))))
    with pytest.raises(GradientError, match=r"at arguments 0.1 % beside those given"):
        mg.check_grads(wrong, (X,), order=1)


def test_kinks_hide_no_wrong_slope_elsewhere_in_a_sum():
    wrong = P(lambda x: np.sum(np.maximum(x, 0)), lambda g, y, x: 1.2 * g * (x > 0).astype(x.dtype))
    with pytest.raises(GradientError):
        mg.check_grads(wrong, (np.array([0.0] * 10 + [0.5, -1.0]),))


def test_one_small_element_hides_no_wrong_slope():
    wrong = P(lambda x: np.sum(np.exp(x)),
              lambda g, y, x: g * np.exp(x) * (np.arange(3) > 0).astype(x.dtype))
    with pytest.raises(GradientError, match=r"by x\[0\]"):
        mg.check_grads(wrong, (np.array([1e-5, 1.0, 2.0]),))


def test_a_vjp_that_is_linear_only_for_small_cotangents_is_named():
    with pytest.raises(GradientError, match="the vjp is not linear"):
        mg.check_grads(sine(lambda g, y, x: np.clip(g, -9, 9) * np.cos(x)), (X,))


def test_what_passes_only_by_the_rounding_of_the_function_is_named():
    wrong = P(lambda x: 1e7 + 1e-6 * np.sum(np.sin(x)), lambda g, y, x: g * np.zeros_like(x))
    assert "too small to be judged" in str(mg.check_grads(wrong, (X,), order=1))
    half = sine(lambda g, y, x: g * np.cos(mg.stop_gradient(x)))  # wrong in second order alone
    report = mg.check_grads(lambda x, y: (1e8 * x**2, 1e-8 * half(y)), (X, X))
    assert any("derivative 2 by y" in n and "too small to be judged" in n for n in report.notes)


def test_a_layer_is_a_function_of_its_input():
    mg.check_grads(mg.nn.Dense(5, 3, rng=np.random.default_rng(0), dtype=np.float64), (X,))


@pytest.mark.parametrize("options, text", [
    ({"method": "magic"}, '"auto", "difference"'), ({"args": X}, "args is a tuple of arguments"),
    ({"method": "complex"}, "is for order=1"), ({"order": 0}, "at least order 1"),
    ({"directions": 0}, "one direction"), ({"rtol": np.nan}, "an rtol from 0 to 1"),
    ({"args": (np.array([0, 1]),)}, r"x is int64, .*bind it"), ({"args": (None,)}, "bind it")])
def test_wrong_calls_are_explained(options, text):
    args = options.pop("args", (X,))
    with pytest.raises((TypeError, ValueError), match=text):
        mg.check_grads(np.sin, args, **options)
