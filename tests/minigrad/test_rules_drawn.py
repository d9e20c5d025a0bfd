"""Each function with a rule keeps, for drawn arguments and options, what docs/engine.md says."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as sc
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import tests.minigrad.drawn_products  # noqa: F401 (enters its calls)
from minigrad.table import RULES
from minigrad.tensor import Primitive, Tensor
from minigrad.testing.arrays import LAYOUTS
from minigrad.testing.domains import DOMAINS
from minigrad.tree import flatten, tree_map
from minigrad.watch import Watch
from tests.minigrad.drawn import CALLS, Call

QUESTIONS = {f for f, rule in RULES.items() if "constant" in getattr(rule, "__qualname__", "")}
EXPECTED = {  # of what NumPy lacks; pooling and convolution are compared with loops elsewhere
    mg.relu: lambda x: np.maximum(x, 0),
    mg.leaky_relu: lambda x, slope: x * np.where(x > 0, 1, slope),
    mg.elu: lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
    mg.sigmoid: sc.expit,
    mg.softplus: lambda x: np.logaddexp(x, 0),
    mg.log_sigmoid: sc.log_expit,
    mg.silu: lambda x: x * sc.expit(x),
    mg.gelu: lambda x: x * (1 + sc.erf(x / np.sqrt(2))) / 2,
    mg.logsumexp: lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis, keepdims=keepdims)),
    mg.softmax: sc.softmax,
    mg.log_softmax: sc.log_softmax,
    mg.polygamma: lambda x, n: sc.polygamma(n, x),
    mg.affine: lambda x, w, b: x @ w + b,
    mg.index_put: lambda x, values, index: put(x, values, index),
}


def put(x, values, index):
    x = x.copy()
    x[index] = values
    return x


def name_of(function: Callable) -> str:
    return getattr(function, "__qualname__", function.__name__)


def arrays(tree: Any) -> list:
    return [np.asarray(a) for a in flatten(tree)[0]]


def test_every_rule_has_drawn_calls_and_a_domain():
    functions = set(RULES) - QUESTIONS | {
        f for name in mg.__all__ if isinstance(f := getattr(mg, name), Primitive)}
    assert not {name_of(f) for f in functions - set(CALLS)}
    assert set(CALLS) == set(DOMAINS)


def test_every_public_function_of_minigrad_is_drawn_or_is_no_function_of_arrays():
    others = {mg.Tensor, mg.NoRule, mg.primitive, mg.rule, mg.stop_gradient, mg.reproducible}
    modules = ("minigrad.transforms", "minigrad.check", "minigrad.debugging", "minigrad.inspect",
               "minigrad.explain")
    rest = {name for name in mg.__all__ if callable(f := getattr(mg, name)) and f not in CALLS
            and f not in others and f.__module__ not in modules}
    assert not rest


@pytest.mark.parametrize("function", CALLS, ids=name_of)
@given(data=st.data())
def test_a_rule_keeps_its_promises(function, data):
    call = data.draw(CALLS[function], label="call")
    layout = data.draw(st.sampled_from(list(LAYOUTS)), label="layout")
    if call.f is function and not call.options and len(call.args) == len(DOMAINS[function][0]):
        assert DOMAINS[function].contains(*call.args)
    check_value(function, call)
    mg.check_grads(call, call.args, order=2)
    gradients = check_conduct(call)
    check_layout(call, layout, gradients)
    check_float32(call)
    check_freed(call)


def cotangent_of(out: Any) -> Any:
    """All different, so that a wrong place shows."""
    return tree_map(lambda y: np.cos(np.arange(1.0, np.size(y) + 1)).reshape(np.shape(y)), out)


def check_value(function: Callable, call: Call) -> None:
    """That of a call with Tensors is NumPy's or SciPy's."""
    ours = flatten(call(*map(Tensor, call.args)))[0]
    expected = EXPECTED.get(function, call.f)(*call.args, **call.options)
    for y, theirs in zip(ours, arrays(expected), strict=True):
        assert type(y) is Tensor and type(y.data) is np.ndarray
        np.testing.assert_allclose(y.data, theirs, rtol=1e-12, atol=1e-13, strict=True)


def check_conduct(call: Call) -> tuple:
    """Nothing given is modified, and no gradient shares memory; returns the gradients."""
    args = tuple(map(np.array, call.args))
    out, pullback = mg.vjp(call, *args)
    w = cotangent_of(out)
    gradients = pullback(w)
    for a, before in zip([*args, *arrays(w)], [*call.args, *arrays(cotangent_of(out))]):
        np.testing.assert_array_equal(a, before, strict=True)
    others = [*args, *arrays(w), *arrays(out)]
    for k, (a, g) in enumerate(zip(args, gradients, strict=True)):
        assert (g.shape, g.dtype) == (a.shape, a.dtype)
        assert not any(np.shares_memory(g, other) for other in [*others, *gradients[:k]])
    return gradients


def check_layout(call: Call, layout: str, expected: tuple) -> None:
    """However arguments and cotangent lie in memory, the gradients are the same."""
    laid_out = lambda a: LAYOUTS[layout](a) if a.ndim else a
    out, pullback = mg.vjp(call, *map(laid_out, call.args))
    for g, same in zip(pullback(tree_map(laid_out, cotangent_of(out))), expected, strict=True):
        np.testing.assert_allclose(g, same, rtol=1e-10, atol=1e-12 * np.max(abs(same), initial=1))


def check_float32(call: Call) -> None:
    args = tuple(a.astype(np.float32) for a in call.args)
    out, pullback = mg.vjp(call, *args)
    assert all(y.dtype == np.float32 for y in arrays(out))
    assert all(g.dtype == np.float32 for g in pullback(cotangent_of(out)))


def check_freed(call: Call) -> None:
    """No node of the graphs of first and second derivative waits for the garbage collector."""
    nodes = Nodes()
    gc.disable()
    try:
        with nodes():
            w = cotangent_of(call(*call.args))
            mg.vjp(lambda *args: mg.vjp(call, *args)[1](w), *call.args)[1](call.args)
        assert nodes.references and not any(node() is not None for node in nodes.references)
    finally:
        gc.enable()


class Nodes(Watch):
    def __init__(self):
        self.references = []

    def applied(self, node: Tensor) -> None:
        self.references.append(weakref.ref(node))
