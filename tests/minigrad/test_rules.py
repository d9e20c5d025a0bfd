"""Every rule at arguments chosen by hand: values, first and second derivatives, dtype.

`test_rules_drawn` asks more of each rule, at arguments drawn from its domain.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import minigrad as mg
import minigrad.rules.special
from minigrad.table import RULES
from minigrad.tensor import Primitive, Tensor
from minigrad.tree import flatten, tree_map
from tests.minigrad.cases import CASES

QUESTIONS = {f for f, rule in RULES.items() if "constant" in getattr(rule, "__qualname__", "")}
ALL = [pytest.param(f, args, id=f"{getattr(name, '__name__', name)}-{i}")
       for name, calls in CASES.items() for i, (f, args) in enumerate(calls)]
every_case = pytest.mark.parametrize("f, args", ALL)


def test_every_rule_has_a_case():
    missing = {f.__qualname__ if hasattr(f, "__qualname__") else f.__name__
               for f in set(RULES) - set(CASES) - QUESTIONS}
    assert not missing


def test_every_function_of_minigrad_has_a_case():
    functions = {f for f in vars(mg).values() if isinstance(f, Primitive)} | \
        {mg.gelu, mg.silu, mg.polygamma, mg.index_put}
    assert functions <= set(CASES)


@every_case
def test_value_is_numpys(f, args):
    tensors = tree_map(Tensor, args)
    for ours, theirs in zip(flatten(f(*tensors))[0], flatten(f(*args))[0], strict=True):
        if isinstance(ours, Tensor):
            assert type(ours.data) is np.ndarray
            np.testing.assert_allclose(ours.data, theirs, rtol=1e-12, atol=1e-14,
                                       strict=np.ndim(theirs) > 0)


@every_case
def test_first_and_second_derivative(f, args):
    mg.check_grads(only_floats(f), args, order=2)


@every_case
def test_float32_stays_float32_and_derivatives_have_the_shape_of_the_argument(f, args):
    args = tree_map(lambda a: np.asarray(a, np.float32), args)
    out, pullback = mg.vjp(only_floats(f), *args)
    cotangent = tree_map(lambda y: np.ones_like(y), out)
    for y, theirs in zip(flatten(out)[0], flatten(only_floats(f)(*args))[0], strict=True):
        assert y.dtype == np.float32 or np.asarray(theirs).dtype == np.float64  # a float64 constant
    for a, g in zip(args, pullback(cotangent), strict=True):
        assert (g.shape, g.dtype) == (a.shape, np.float32)


def only_floats(f):
    """`f` without the parts of its result that are constants, such as the sign in slogdet."""
    if f is np.linalg.slogdet:
        return lambda *args: f(*args)[1]
    return f


@pytest.mark.parametrize("f", [f for f in RULES if f in QUESTIONS],
                         ids=lambda f: f.__name__)
def test_questions_give_constants(f):
    n = 2 if isinstance(f, np.ufunc) and f.nin == 2 else 1
    if f in (np.isclose, np.allclose, np.array_equal, np.searchsorted):
        n = 2
    x = np.array([1.0, 2.0])
    args = (x,) * n
    result = f(*map(Tensor, args))
    assert not isinstance(result, Tensor)
    if f is not np.empty_like:
        np.testing.assert_array_equal(result, f(*args))


def test_rules_name_their_options_as_numpy_does():
    """What a rule accepts as an option NumPy accepts by the same name, and in the same place."""
    for function, rule in RULES.items():
        if isinstance(rule, Primitive) and not isinstance(function, np.ufunc) \
                and rule.parameters and function.__module__.startswith("numpy"):
            try:
                names = inspect.signature(function).parameters
            except ValueError:  # NumPy 2.0 does not tell that of np.where
                continue
            if "arys" not in names and "newshape" not in names:  # NumPy 2.0's word for shape
                assert set(rule.parameters) <= set(names), function
