"""Random programs: the engine against finite differences, against its twin, and against itself."""

from __future__ import annotations

import gc
import math
import re
import weakref

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

import minigrad as mg
from minigrad.check import GradientError
from minigrad.testing.domains import DOMAINS
from minigrad.testing.expression import Expression, Node, Ref, references
from minigrad.testing.forms import FUNCTIONS, KINKED, reduction
from minigrad.testing.graphs import BOUND, expressions
from tests.minigrad import twin

rng = np.random.default_rng(4)
everything = given(expressions())

wrong_sin = mg.primitive(lambda x: np.sin(x), lambda g, y, x: g * 1.001 * np.cos(x),
                         name="wrong_sin")
wrong_log = mg.primitive(np.log, lambda g, y, x: g / (x + 0.01), name="wrong_log")
wrong_sum = mg.primitive(np.sum, lambda g, y, a, axis=None, *, keepdims=False:
                         np.broadcast_to(np.sum(g), a.shape), name="wrong_sum")
RIGHT = {wrong_sin: np.sin, wrong_log: np.log, wrong_sum: np.sum}


def cotangent(f):
    return rng.standard_normal(np.shape(f(*f.args)))


# -- the engine -----------------------------------------------------------------------------------
@given(expressions([f for f in FUNCTIONS if f in twin.KNOWN]))
def test_value_and_gradient_are_those_of_the_twin(f):
    w = cotangent(f)
    value, pullback = mg.vjp(f, *f.args)
    expected, gradients = twin.value_and_gradient(f, f.args, w)
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12, strict=np.ndim(value) > 0)
    for g, theirs in zip(pullback(w), gradients, strict=True):
        scale = np.max(np.abs(theirs), initial=0.0)  # of what cancels in other elements
        np.testing.assert_allclose(g, theirs, rtol=1e-9, atol=1e-9 * scale + 1e-12, strict=True)


@everything
def test_first_and_second_derivatives_are_right(f):
    mg.check_grads(f, f.args, order=2)


@everything
def test_every_way_to_the_gradient_gives_the_same(f):
    w = cotangent(f)
    expected = mg.vjp(f, *f.args)[1](w)
    leaves = [mg.Tensor(a) for a in f.args]
    f(*leaves).backward(w)
    gradients = mg.grad(lambda *xs: np.sum(f(*xs) * w), tuple(range(len(f.args))))(*f.args)
    for a, leaf, g, e in zip(f.args, leaves, gradients, expected, strict=True):
        np.testing.assert_array_equal(leaf.grad, e, strict=True)
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-12, strict=True)
        assert (e.shape, e.dtype) == (a.shape, a.dtype)


@everything
def test_jvp_is_the_transpose_of_vjp(f):
    w, v = cotangent(f), tuple(rng.standard_normal(a.shape) for a in f.args)
    out, slope = mg.jvp(f, f.args, v)
    parts = [g * d for g, d in zip(mg.vjp(f, *f.args)[1](w), v, strict=True)]
    size = sum(np.sum(np.abs(p)) for p in (*parts, w * slope))
    size += np.sum(np.abs(w)) * sum(np.sum(np.abs(d)) for d in v)  # of slopes that cancel inside
    assert abs(np.sum(w * slope) - sum(map(np.sum, parts))) <= 1e-12 * size
    np.testing.assert_allclose(out, f(*f.args), rtol=1e-12, atol=1e-12)  # sums in another order


@everything
def test_a_graph_that_is_retained_gives_the_same_twice_and_another_is_used_up(f):
    w, leaves = cotangent(f), [mg.Tensor(a) for a in f.args]
    y = f(*leaves)
    y.backward(w, retain=True)
    first = [np.array(leaf.grad) for leaf in leaves]
    y.backward(w)
    for leaf, once in zip(leaves, first, strict=True):
        np.testing.assert_array_equal(leaf.grad, once + once)
    if f.nodes:
        with pytest.raises(RuntimeError, match="used up"):
            y.backward(w)


@everything
def test_arguments_cotangents_and_constants_are_left_as_they_are(f):
    w = cotangent(f)
    program, before = repr(f), np.array(w)
    gradients = mg.vjp(f, *f.args)[1](w)
    assert repr(f) == program  # of which leaves and constants are part
    np.testing.assert_array_equal(w, before)
    for i, g in enumerate(gradients):
        assert not any(np.shares_memory(g, other) for other in (*f.args, w, *gradients[:i]))


@everything
def test_the_graph_goes_with_its_last_reference(f):
    gc.collect()
    gc.disable()
    try:
        y = f(*map(mg.Tensor, f.args))
        seen, waiting = {}, [y]
        while waiting:
            node = waiting.pop()
            seen[id(node)] = weakref.ref(node)
            waiting += [t for t in node.inputs or () if type(t) is mg.Tensor]
        del y, node, waiting
        assert all(node() is None for node in seen.values())
    finally:
        gc.enable()


# -- what is drawn --------------------------------------------------------------------------------
@everything
def test_the_printed_program_is_the_function(f):
    program = {}
    exec(repr(f).removesuffix("mg.check_grads(f, args)"), program)
    for a, b in zip(program["args"], f.args, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    np.testing.assert_array_equal(program["f"](*program["args"]), f(*f.args))


@everything
def test_every_leaf_and_node_is_used_and_values_are_bounded(f):
    total = len(f.args) + len(f.nodes)
    assert {i for node in f.nodes for i in references(node.args)} == set(range(total - 1))
    values = list(f.args)
    for node in f.nodes:
        values.append(node(values))
        assert np.all(np.abs(values[-1]) <= BOUND)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_function_is_drawn(function):
    smallest([function], lambda f: function in [node.function for node in f.nodes], Phase.generate)


@given(expressions(kinks=False))
def test_smooth_graphs_have_no_kinks(f):
    assert not KINKED & {node.function for node in f.nodes}
    assert {mg.relu, np.abs, np.max, np.maximum, np.floor, np.sort} <= KINKED
    assert not KINKED & {np.exp, np.divide, np.matmul, np.where, mg.softplus}


@given(expressions([np.sin, np.sum, np.multiply], nodes=2, leaves=1))
def test_options_restrict_what_is_drawn(f):
    assert {node.function for node in f.nodes} <= {np.sin, np.sum, np.multiply, np.concatenate}
    assert len(f.args) == 1 and len(f.nodes) <= 3


def test_no_function_is_an_error():
    with pytest.raises(ValueError, match="there is no function to draw"):
        expressions([mg.relu], kinks=False)


# -- shrinking ------------------------------------------------------------------------------------
def smallest(functions, fails, *phases):
    few = settings(max_examples=1000, deadline=None, derandomize=True, database=None,
                   phases=phases or (Phase.generate, Phase.shrink))
    return find(expressions(functions), fails, settings=few)


def is_wrong(f):
    """The gradient is not that of the same graph with the right functions."""
    right = Expression(f.args, [Node(RIGHT.get(function, function), args, options)
                                for function, args, options in f.nodes])
    w = np.arange(1.0, np.size(f(*f.args)) + 1).reshape(np.shape(f(*f.args)))
    ours, theirs = mg.vjp(f, *f.args)[1](w), mg.vjp(right, *f.args)[1](w)
    return not all(np.allclose(a, b, rtol=1e-6, atol=0) for a, b in zip(ours, theirs, strict=True))


def test_a_wrong_rule_shrinks_to_one_call_of_the_smallest_leaf():
    f = smallest([*FUNCTIONS, wrong_sin], is_wrong)
    assert [node.function for node in f.nodes] == [wrong_sin]
    assert [(a.shape, a.item()) for a in f.args] == [((), 0.0)]
    assert repr(f) == f"""import numpy as np
import minigrad as mg
from {__name__} import wrong_sin

def f(x0):
    y0 = wrong_sin(x0)
    return y0

args = (np.array(0.0),)
mg.check_grads(f, args)"""
    assert_fails_as_printed(f)


def assert_fails_as_printed(f, **defined):
    with pytest.raises(GradientError) as drawn:
        mg.check_grads(f, f.args)
    with pytest.raises(GradientError) as printed:
        exec(repr(f), defined)
    assert first_line(printed.value) == first_line(drawn.value)


def first_line(error):
    return re.sub(r" \(.*?\)", "", str(error).partition("\n")[0])  # without file and line


def test_a_wrong_rule_with_a_domain_shrinks_to_one_call_in_the_domain():
    f = smallest({**FUNCTIONS, wrong_log: DOMAINS[np.log]}, is_wrong)
    assert [node.function for node in f.nodes] == [np.sin, np.multiply, np.add, wrong_log]
    assert [a.shape for a in f.args] == [()]
    assert "# wrong_log: to be defined here\n" in repr(f)  # no module has it by that name
    assert_fails_as_printed(f, wrong_log=wrong_log)


def test_a_rule_that_is_wrong_for_some_options_shrinks_to_these():
    f = smallest({**FUNCTIONS, wrong_sum: reduction()}, is_wrong)
    assert [(node.function, node.options) for node in f.nodes] == [(wrong_sum, {"axis": 1})]
    assert [a.shape for a in f.args] == [(2, 1)]  # two sums, of one element each


# -- the twin -------------------------------------------------------------------------------------
def test_the_twin_knows_calculus():
    x, w = np.array([[0.5, -1.0], [2.0, 1.5]]), np.array([1.0, 3.0])
    f = Expression([x], [Node(np.matmul, (Ref(0), Ref(0)), {}), Node(np.sin, (Ref(1),), {}),
                         Node(np.sum, (Ref(2),), {"axis": 0})])
    value, (gradient,) = twin.value_and_gradient(f, f.args, w)
    np.testing.assert_allclose(value, [math.sin(-1.75) + math.sin(4), math.sin(-2) + math.sin(.25)])
    c = np.cos(x @ x) * w
    np.testing.assert_allclose(gradient, c @ x.T + x.T @ c)


def test_the_twin_sees_a_wrong_rule():
    f = Expression([np.array([0.3])], [Node(wrong_sin, (Ref(0),), {})])
    right = Expression(f.args, [Node(np.sin, (Ref(0),), {})])
    ours, theirs = mg.vjp(f, *f.args)[1](np.ones(1)), twin.value_and_gradient(right, f.args, 1)[1]
    assert not np.allclose(ours, theirs, rtol=1e-9)
