"""`show` draws each node once; `explain_zero` names what was planted."""

from __future__ import annotations

import gc
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import vae
from minigrad.debugging import debug
from minigrad.explain import explain_zero
from minigrad.inspect import graph, show
from minigrad.marks import ById, mark, mark_of
from minigrad.tensor import Tensor
from minigrad.tree import flatten, tree_map
from tests.minigrad.cases import CASES

drawn = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def stopped(t):
    """What mg.stop_gradient gives, and knows of it."""
    return mark(t.data, "stopped", t)


@st.composite
def graphs(draw):
    """A random graph: each operation takes any Tensors before it, or a constant."""
    nodes = [Tensor(np.ones(2)) for _ in range(draw(st.integers(1, 3)))]
    constants = [np.full(2, float(i)) for i in range(2)]
    for _ in range(draw(st.integers(1, 12))):
        f = draw(st.sampled_from([np.sin, np.tanh, np.add, np.multiply]))
        first = draw(st.sampled_from(nodes))
        if f in (np.sin, np.tanh):
            nodes.append(f(first))
        else:
            nodes.append(f(first, draw(st.sampled_from([*nodes, *constants]))))
    return nodes[-1]


# -- show -----------------------------------------------------------------------------------------
def test_show_lists_operations_leaves_and_constants():
    x, w = Tensor(np.ones((2, 3), np.float32)), Tensor(np.ones(3, np.float32))
    y = np.sum((x * w)[:, 1:] * np.full(2, 0.5, np.float32), axis=0, keepdims=True) ** 2
    assert show(y, names={"w": w}) == """\
%1 leaf (2, 3) float32
%2 leaf w (3,) float32
%3 multiply(%1, %2) (2, 3) float32
%4 getitem(%3, (:, 1:)) (2, 2) float32
%5 constant (2,) float32
%6 multiply(%4, %5) (2, 2) float32
%7 sum(%6, axis=0, keepdims=True) (1, 2) float32
%8 power(%7, 2) (1, 2) float32"""


@drawn
@given(graphs())
def test_show_lists_each_node_of_a_random_graph_once_after_its_arguments(t):
    lines = show(t).splitlines()
    seen = []
    for line in lines:
        number, rest = line.split(" ", 1)
        assert number not in seen
        assert set(re.findall(r"%\d+", rest)) <= set(seen)
        seen.append(number)
    operations = [node.rule.name for node in graph(t) if node.rule]
    assert re.findall(r"%\d+ (\w+)\(", "\n".join(lines)) == operations
    assert sum(" leaf " in line for line in lines) == len(graph(t)) - len(operations)
    constants = {id(x) for node in graph(t) for x in node.inputs or () if type(x) is np.ndarray}
    assert sum(" constant " in line for line in lines) == len(constants)


@drawn
@given(graphs())
def test_dot_and_mermaid_have_a_node_for_each_line_and_an_edge_for_each_argument(t):
    lines = show(t).splitlines()
    arguments = sum(len(re.findall(r"%\d+", line)) - 1 for line in lines)
    dot, mermaid = show(t, format="dot").splitlines(), show(t, format="mermaid").splitlines()
    assert dot[0] == "digraph {" and dot[-1] == "}" and mermaid[0] == "flowchart TD"
    for drawing, node, edge in (
            (dot[1:-1], r'  (n\d+) \[label="[^"]+", shape=[\w=, ]+\]', r"  (n\d+) -> (n\d+)"),
            (mermaid[1:], r'  (n\d+)[\[({>/]+"[^"]+"[\])}/]+', r"  (n\d+) --> (n\d+)")):
        nodes = [m[1] for line in drawing if (m := re.fullmatch(node, line))]
        edges = [m for line in drawing if (m := re.fullmatch(edge, line))]
        assert len(set(nodes)) == len(lines) and len(edges) == arguments
        assert len(nodes) + len(edges) == len(drawing)
        assert {n for e in edges for n in e.groups()} <= set(nodes)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it():
    text = show(np.exp(Tensor(np.ones(1))), format="dot", names=None)
    subprocess.run(["dot", "-Tsvg"], input=text, text=True, capture_output=True, check=True)


def test_noise_and_stopped_paths_are_drawn_apart():
    x, noise = Tensor(np.ones(2)), mark(np.zeros(2), "noise")
    e = np.exp(x)
    y = (x + noise) * stopped(e) * e
    assert show(y).splitlines() == [
        "%1 leaf (2,) float64", "%2 exp(%1) (2,) float64", "%3 noise (2,) float64",
        "%4 add(%1, %3) (2,) float64", "%5 stopped at %2 (2,) float64",
        "%6 multiply(%4, %5) (2,) float64", "%7 multiply(%6, %2) (2,) float64"]
    dot, mermaid = show(y, format="dot"), show(y, format="mermaid")
    assert '  n3 [label="noise\\n(2,) float64", shape=diamond, style=dashed]' in dot
    assert "  n2 -> n5 [style=dashed]" in dot
    assert '  n3{{"noise<br/>(2,) float64"}}' in mermaid
    assert "  n2 -.-> n5" in mermaid
    assert "stopped exp (2,) (2,) float64" in show(x * stopped(np.exp(x)))


def test_a_limit_keeps_the_youngest_and_says_how_many_are_left_out():
    y = Tensor(np.ones(1))
    for _ in range(1000):
        y = y + 1.0
    assert show(y, limit=2) == ("… 999 more before these\n%1000 add(%999, 1.0) (1,) float64\n"
                                "%1001 add(%1000, 1.0) (1,) float64")
    assert show(y, limit=1, format="dot").splitlines()[1:] == [
        '  more [label="1000 more", shape=none]',
        '  n1001 [label="add(%1000, 1.0)\\n(1,) float64", shape=box, style=rounded]',
        "  more -> n1001", "}"]
    assert show(y, limit=1, format="mermaid").splitlines()[-1] == "  more --> n1001"


def test_parameters_of_a_model_have_their_names():
    model = vae.models.dense_vae(4, (3,), 2, rng=np.random.default_rng(0))
    bound = vae.elbo(model, np.ones((2, 4), np.float32), rng=np.random.default_rng(0))
    text = show(np.mean(bound.value), names=model)
    for name in mg.nn.named_parameters(model):
        assert len(re.findall(rf"leaf {re.escape(name)} \(", text)) == 1


def test_lines_are_shown_where_they_were_recorded():
    x = Tensor(np.ones(1))
    with debug():
        y = np.exp(x)
    assert re.fullmatch(rf"%2 exp\(%1\) \(1,\) float64  # {re.escape(__file__)}:\d+",
                        show(y).splitlines()[1])


def test_inside_of_a_derivative_the_outer_variable_is_told_apart():
    texts = []

    def inner(x):
        def f(y):
            texts.append(show(x * y))
            return x * y
        return mg.grad(f)(1.0)

    mg.grad(inner)(3.0)
    assert texts == ["%1 leaf () float64\n%2 outer () float64\n%3 multiply(%2, %1) () float64"]


def test_a_graph_that_was_used_up_says_so():
    y = np.exp(Tensor(np.ones(())))
    y.backward()
    assert show(y) == "%1 exp(used up by backward) () float64"


def test_what_show_can_not_draw_it_refuses():
    with pytest.raises(TypeError, match="needs a Tensor, this is ndarray"):
        show(np.ones(1))
    with pytest.raises(ValueError, match=r"format='svg'\): there are text, dot, mermaid"):
        show(Tensor(np.ones(1)), format="svg")


# -- marks ----------------------------------------------------------------------------------------
def test_a_mark_changes_nothing_and_goes_with_its_array():
    gc.disable()
    try:
        array = np.ones(2)
        assert mark(array, "noise") is array and mark_of(array).what == "noise"
        assert mark_of(np.ones(2)) is None
        known = ById()
        known[array] = 1
        known[array] = 2
        assert known.get(array) == 2 and len(known) == 1
        del array
        assert len(known) == 0
        assert mark(np.float64(1.0), "noise") == 1.0  # a scalar can't be known weakly
    finally:
        gc.enable()


def test_a_mark_does_not_keep_the_tensor_it_was_made_of():
    e = np.exp(Tensor(np.ones(2)))
    array = stopped(e)
    assert mark_of(array).of() is e
    del e
    assert mark_of(array).of() is None and mark_of(array).name == "exp (2,)"


# -- explain_zero ---------------------------------------------------------------------------------
@pytest.mark.parametrize("f, x, told", [
    (mg.relu, [-1.0, -2.0], "  all 2: relu (2,) (%2): its input is not positive at all 2 elements "
                            "of argument 0, from -2 to -1"),
    (mg.relu, [1.0, -2.0, -3.0], "  2 of 3: relu (3,) (%2): its input is not positive at 2 of 3 "
                                 "elements of argument 0, from -3 to -2"),
    (np.floor, [0.5], "  all 1: floor (1,) (%2): its slope is 0 everywhere, at all 1 elements"),
    (lambda x: np.where(x > 0, 1.0, x), [1.0, -1.0],
     "  1 of 2: where (2,) (%3): the condition took the other branch at 1 of 2"),
    (lambda x: x * np.array([0.0, 1.0]), [1.0, 2.0], "  1 of 2: multiply (2,) (%3): multiplied by "
     "0 at 1 of 2 elements of argument 0, from 1 to 1"),
    (mg.sigmoid, [40.0, 0.0], "  1 of 2: sigmoid (2,) (%2): saturated at 1 of 2 elements of "
                              "argument 0, from 40 to 40"),
    (np.tanh, [30.0, -20.0], "  all 2: tanh (2,) (%2): saturated at all 2"),
    (lambda x: np.clip(x, 0.0, 1.0), [2.0, 0.5], "clip (2,) (%2): it lies outside of the bounds"),
    (lambda x: np.maximum(x, 3.0), [2.0, 5.0], "the other argument was the larger at 1 of 2"),
    (np.max, [2.0, 5.0], "  1 of 2: max () (%2): another element was chosen at 1 of 2"),
    (lambda x: x[:1], [2.0, 5.0], "getitem (1,) (%2): the index leaves it out at 1 of 2"),
    (lambda x: np.exp(x) * 1e-300, [-300.0, 0.0],
     "  1 of 2: exp (2,) (%2): the cotangent cancels, or is too small for float64"),
    (lambda x: x - x, [2.0], "  all 1: leaf (1,) (%1): the cotangents of its uses cancel"),
    (np.square, [0.0, 1.0], "  1 of 2: square (2,) (%2): its slope is 0 at 1 of 2 elements of "
                            "argument 0, from 0 to 0"),
    (lambda x: np.floor(mg.relu(x)), [-1.0, 1.5],
     "and behind it relu (2,) (%2): its input is not positive at 1 of 2"),
    (lambda x: mg.relu(np.ones((2, 2)) @ x - 9.0), [1.0, 1.0], "  all 2: relu (2,) (%"),
    (lambda x: mg.relu(np.reshape(x, (1, 2)) @ -np.ones((2, 3))), [1.0, 1.0],
     "  all 2: relu (1, 3) (%5)"),
    (lambda x: np.reshape(x, (1, 2)) @ np.zeros((2, 3)), [1.0, 1.0],
     "  all 2: matmul (1, 3) (%4): multiplied by 0"),
    (lambda x: x * np.ones((0, 2)), [1.0, 1.0],
     "  all 2: multiply (0, 2) (%3): it has no elements"),
])
def test_what_stops_a_gradient_is_named(f, x, told):
    leaf = Tensor(np.array(x))
    text = explain_zero(np.sum(f(leaf)), leaf)
    zeros = np.count_nonzero(mg.grad(lambda x: np.sum(f(x)))(np.array(x)) == 0)
    count = f"all {zeros}" if zeros == len(x) else f"{zeros} of {len(x)}"
    assert f"is zero at {count} elements\n" in text
    assert told in text
    assert "not traced" not in text


def test_counts_of_several_causes_add_up_with_the_largest_first():
    x = Tensor(np.array([-1.0, -2.0, -3.0, 1.0, 2.0]))
    y = mg.relu(x) * np.array([1.0, 1.0, 1.0, 0.0, 1.0])
    lines = explain_zero(np.sum(y), x).splitlines()
    assert [re.match(r"  \d of 5: (\w+)", line)[1] for line in lines[1:]] == ["relu", "multiply"]
    assert lines[0].endswith("zero at 4 of 5 elements")
    assert lines[1].startswith("  3") and lines[2].startswith("  1")


def test_an_operation_that_met_no_cotangent_is_not_blamed_alone():
    x = Tensor(np.array([-1.0, -1.0, 1.0]))
    assert explain_zero(np.sum(mg.relu(x) * np.array([0.0, 1.0, 1.0])), x).splitlines()[1:] == [
        "  1 of 3: relu (3,) (%2): its input is not positive at 1 of 3 elements of argument 0, "
        "from -1 to -1",
        "  1 of 3: multiply (3,) (%4): multiplied by 0 at 1 of 3 elements of argument 0, from 0 "
        "to 0",
        "    and behind it relu (3,) (%2): its input is not positive at 1 of 3 elements of "
        "argument 0, from -1 to -1"]


def test_what_was_left_out_is_the_choices_doing_and_not_the_infinite_slopes():
    x = Tensor(np.array([0.0, 2.0]))
    with np.errstate(divide="ignore"):
        y = np.where(x > 0, np.log(x), 0.0)
    text = explain_zero(np.sum(y), x)
    assert "1 of 2: where (2,) (%4): the condition took the other branch" in text
    assert "cancels" not in text


def test_the_line_is_told_where_it_was_recorded():
    x = Tensor(-np.ones(2))
    with debug():
        y = np.sum(mg.relu(x))
    assert f"relu (2,) (%2) at {__file__}:" in explain_zero(y, x)
    assert "y = np.sum(mg.relu(x)): its input is not positive" in explain_zero(y, x)


# -- no path --------------------------------------------------------------------------------------
def test_a_tensor_that_is_not_in_the_graph():
    assert explain_zero(np.sum(Tensor(np.ones(2))), Tensor(np.ones(3))) == (
        "the gradient of sum () (%2) by leaf (3,) is zero: no path leads from one to the other\n"
        "  it is not in the graph")


def test_a_stopped_path_is_named_with_what_was_stopped():
    x, w = Tensor(np.ones(2)), Tensor(np.ones(2))
    e = np.exp(x)
    y = np.sum(w * stopped(e))
    assert explain_zero(y, x).splitlines()[1:] == [
        "  argument 1 of multiply (2,) (%3) depends on it, but mg.stop_gradient made exp (2,) a "
        "constant"]
    del e
    assert explain_zero(y, x).splitlines()[1:] == [
        "  argument 1 of multiply (2,) (%3) is exp (2,), a constant by mg.stop_gradient; what "
        "that was computed from is no longer known"]


@pytest.mark.parametrize("f, told", [
    (lambda x, w: w * x.data, "argument 1 of multiply (2,) (%3) is the array of that Tensor, a "
                              "constant"),
    (lambda x, w: w * Tensor(x.data[:]), "leaf (2,) (%2) holds the same array, but is another"),
    (lambda x, w: np.where(x, w, 0.0), "argument 0 of where (2,) (%3) depends on it, but has no "
                                       "derivative"),
], ids=["data", "another leaf", "condition"])
def test_other_ways_to_lose_a_path(f, told):
    x, w = Tensor(np.ones(2)), Tensor(np.ones(2))
    text = explain_zero(np.sum(f(x, w)), x)
    assert "is zero: no path leads from one to the other\n" in text and told in text


# -- no number ------------------------------------------------------------------------------------
def test_the_first_vjp_that_makes_a_nan_is_named_with_its_element():
    x = Tensor(np.array([1.0, 0.0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        text = explain_zero(np.sum(np.sqrt(x * 1.0) * 0.0), x)
    assert text.splitlines() == [
        "the gradient of sum () (%5) by leaf (2,) (%1) is not finite: (2,) float64, 1 of 2 not "
        "finite, first [1]: nan",
        "  sqrt (2,) (%3): its vjp for argument 0 made nan at [1] from",
        "    cotangent: (2,) float64, 0 at [1]", "    argument 0: (2,) float64, 0 at [1]"]


def test_a_sum_that_overflows_is_no_vjps_doing():
    x = Tensor(np.ones(1, np.float32))
    with np.errstate(over="ignore"):
        y = x * 1e-9
        text = explain_zero(np.sum(y * 3e38 + y * 3e38), x)
    assert "no vjp made it: a sum of finite cotangents is too large for float32" in text


# -- what it leaves as it is ----------------------------------------------------------------------
def test_the_graph_is_kept_and_a_debug_around_it_rests():
    x = Tensor(np.array([0.0, 4.0]))
    y = np.sum(np.sqrt(x))
    with np.errstate(divide="ignore"), debug():
        assert "is not finite" in explain_zero(y, x)
    z = np.sum(mg.relu(x))
    explain_zero(z, x)
    z.backward()
    assert x.grad.tolist() == [0.0, 1.0]
    with pytest.raises(RuntimeError, match="used up by an earlier backward"):
        explain_zero(z, x)


def test_a_gradient_without_a_zero_says_so():
    x = Tensor(np.array([0.5, 4.0]))
    assert explain_zero(np.sum(x * x), x).endswith(
        "(%1) has no zero: (2,) float64, from 1 to 8")


def test_arrays_are_refused():
    with pytest.raises(TypeError, match="needs two Tensors: an array is a constant"):
        explain_zero(Tensor(np.ones(1)), np.ones(1))


@pytest.mark.parametrize("name", CASES, ids=lambda f: getattr(f, "__name__", str(f)))
def test_every_rule_can_be_shown_and_its_zeros_are_traced(name):
    for f, args in CASES[name]:
        leaves = tree_map(Tensor, args)
        results = [y for y in flatten(f(*leaves))[0] if isinstance(y, Tensor)]
        for y, leaf in ((y, leaf) for y in results for leaf in leaves):
            assert show(y).splitlines()[-1].startswith(f"%{len(show(y).splitlines())} ")
            text = explain_zero(y, leaf)
            assert "the gradient of" in text and "not traced" not in text


@drawn
@given(graphs())
def test_every_zero_of_a_random_graph_is_traced(t):
    for leaf in (node for node in graph(t) if node.rule is None):
        text = explain_zero(t, leaf)
        assert "not traced" not in text
        if "is zero at" in text:
            counted = [m[1] for line in text.splitlines()[1:]
                       if (m := re.match(r"  (?:all )?(\d+)", line))]
            zeros = re.search(r"is zero at (?:all )?(\d+)", text)[1]
            assert sum(map(int, counted)) == int(zeros)
