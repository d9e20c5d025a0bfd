"""A rule of your own, tested, found wrong, and mended: pytest examples/test_my_rule.py

softsign(x) = x/(1 + |x|) squashes like tanh, but has heavier tails.  Its slope is 1/(1 + |x|)²,
which is (1 - |y|)² in terms of the result y.
"""

import numpy as np
import pytest
from hypothesis import given, settings

import minigrad as mg
from minigrad import testing as mt

settings.register_profile("gradients", deadline=None)  # a check is some fifty calls of a function
settings.load_profile("gradients")


def squash(x):
    return x / (1 + np.abs(x))


# The first attempt forgets the absolute value.  For positive x it is right, to any order.
first_attempt = mg.primitive(squash, lambda g, y, x: g * (1 - y) ** 2, name="first_attempt")
softsign = mg.primitive(squash, lambda g, y, x: g * (1 - np.abs(y)) ** 2, name="softsign")


def test_a_point_that_one_thinks_of_does_not_show_it():
    mg.check_grads(first_attempt, (np.array([0.5, 2.0]),))


def test_the_first_attempt_is_wrong():
    """Remove `pytest.raises` to see what Hypothesis prints: one element, and a round number."""
    @given(mt.arrays(mt.shapes()))
    def any_array(x):
        mg.check_grads(first_attempt, (x,))

    with pytest.raises(mg.GradientError, match="derivative 1 of first_attempt by x"):
        any_array()


@given(mt.arrays(mt.shapes(), away_from=0))
def test_the_mended_rule_is_right_to_second_order(x):
    mg.check_grads(softsign, (x,))


@given(mt.arrays(mt.shapes(), dtype=np.float32))
def test_it_stays_between_the_bounds_and_keeps_its_dtype(x):
    y = softsign(x)
    assert y.dtype == np.float32 and np.all(np.abs(y) < 1)


def test_its_slope_has_a_kink_at_zero():
    report = mg.check_grads(softsign, (np.array([0.0, 1.0]),))
    assert any("derivative 2" in note and "at a kink" in note for note in report.notes)


@given(mt.arrays((4, 3)), mt.arrays((3, 2)), mt.arrays((2,)))
def test_it_is_right_within_a_network(x, w, b):
    mg.check_grads(lambda w, b: np.sum(softsign(x @ w + b) ** 2), (w, b))
