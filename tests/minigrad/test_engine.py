"""The contract of Tensor and of backward: operators, gradients, errors, memory, users' rules."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import tracemalloc
import weakref

import numpy as np
import pytest
import scipy.special as sc

import minigrad as mg
from minigrad.table import RULES
from minigrad.tensor import Tensor

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow,
             operator.floordiv, operator.mod]
X = np.array([[0.5, 1.25, 2.0], [3.5, 0.75, 1.0]])


def leaf(*shape, dtype=np.float64, seed=0):
    return Tensor(np.random.default_rng(seed).uniform(0.5, 2, shape).astype(dtype))


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def table():
    before = dict(RULES)
    yield RULES
    RULES.clear()
    RULES.update(before)


# -- operators and methods ------------------------------------------------------------------------
@pytest.mark.parametrize("op", [*OPERATORS, operator.matmul])
@pytest.mark.parametrize("constant", [2, 2.5, X.T[:, :2].copy(), np.float64(1.5)],
                         ids=["int", "float", "array", "scalar"])
def test_operators_take_constants_on_either_side(op, constant):
    if op is operator.matmul and np.ndim(constant) == 0:
        pytest.skip("a number is no matrix")
    x = X if op is operator.matmul else np.array([[0.7, 1.3]])
    for a, b in [(x, constant), (constant, x)]:
        t = op(*(Tensor(v) if v is x else v for v in (a, b)))
        assert type(t) is Tensor
        np.testing.assert_array_equal(t.data, op(a, b))


@pytest.mark.parametrize("op", [operator.neg, operator.pos, operator.abs])
def test_unary_operators(op):
    np.testing.assert_array_equal(op(Tensor(-X)).data, op(-X))


METHODS = [
    ("sum", (), {}), ("sum", (1,), {"keepdims": True}), ("mean", (0,), {}), ("prod", (), {}),
    ("max", (1,), {}), ("min", (), {"axis": 0, "keepdims": True}), ("var", (), {"ddof": 1}),
    ("std", (0,), {}), ("cumsum", (1,), {}), ("argmax", (1,), {}), ("argmin", (), {}),
    ("argsort", (), {"axis": 0}), ("any", (), {}), ("all", (0,), {}), ("reshape", (3, 2), {}),
    ("reshape", ((6,),), {}), ("transpose", (), {}), ("transpose", (1, 0), {}),
    ("transpose", ((1, 0),), {}), ("swapaxes", (0, 1), {}), ("squeeze", (), {}), ("ravel", (), {}),
    ("flatten", (), {}), ("repeat", (2,), {"axis": 1}), ("take", ([0, 2],), {"axis": 1}),
    ("diagonal", (1,), {}), ("trace", (), {}), ("clip", (0.8, 1.2), {}), ("round", (1,), {}),
    ("dot", (X.T,), {}), ("astype", (np.float32,), {}), ("copy", (), {}), ("tolist", (), {}),
]


@pytest.mark.parametrize("name, args, options", METHODS, ids=lambda v: v if type(v) is str else "")
def test_methods_equal_those_of_ndarray(name, args, options):
    ours, theirs = (getattr(x, name)(*args, **options) for x in (Tensor(X), X))
    ours = ours.data if type(ours) is Tensor else ours
    np.testing.assert_array_equal(ours, theirs)
    assert np.asarray(ours).dtype == np.asarray(theirs).dtype


def test_attributes_equal_those_of_ndarray():
    t = Tensor(X)
    assert (t.shape, t.ndim, t.size, t.dtype, len(t)) == (X.shape, 2, 6, X.dtype, 2)
    np.testing.assert_array_equal(t.T.data, X.T)
    np.testing.assert_array_equal(t.mT.data, X.T)


@pytest.mark.parametrize("op", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt,
                                operator.ge])
def test_comparisons_give_ndarrays(op):
    for result in (op(Tensor(X), 1.0), op(X, Tensor(X[::-1].copy())), op(Tensor(X), Tensor(X))):
        assert type(result) is np.ndarray and result.dtype == bool
    np.testing.assert_array_equal(op(Tensor(X), Tensor(X[::-1].copy())), op(X, X[::-1]))
    assert type(np.argmax(Tensor(X), 1)) is np.ndarray and isinstance(Tensor(X).argmax(), np.intp)


def test_iteration_and_conversions():
    rows = list(Tensor(X))
    assert [type(r) for r in rows] == [Tensor, Tensor] and rows[1].data.tolist() == X[1].tolist()
    t = Tensor(np.array(2.5))
    assert (float(t), int(t), bool(t), t.item(), f"{t:.2f}") == (2.5, 2, True, 2.5, "2.50")
    assert repr(t) == f"{t}" == "Tensor(2.5, dtype=float64)"
    assert not Tensor(np.array(0.0)) and len({t, t, Tensor(np.array(2.5))}) == 2
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor(X))
    assert mg.grad(lambda x: float(x) * x)(np.array(3.0)) == 3  # a float is a constant


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy,
                                   lambda t: pickle.loads(pickle.dumps(t))])
def test_leaves_are_copied_and_pickled_but_results_are_not(clone):
    t = leaf(2, dtype=np.float32)
    other = clone(t)
    assert other is not t and other.dtype == np.float32 and np.array_equal(other.data, t.data)
    with pytest.raises(TypeError, match="only leaves are copied"):
        clone(t * 2)
    assert not np.shares_memory(copy.deepcopy(t).data, t.data)


# -- backward -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_grad_is_an_ndarray_like_the_leaf_and_accumulates(dtype):
    t = leaf(2, 3, dtype=dtype)
    assert t.grad is None
    for n in (1, 2):
        np.sum(t * t).backward()
        assert type(t.grad) is np.ndarray and (t.grad.shape, t.grad.dtype) == ((2, 3), dtype)
        np.testing.assert_array_equal(t.grad, n * 2 * t.data)


def test_backward_twice_needs_retain():
    t = leaf(3)
    loss = np.sum(t**2)
    loss.backward()
    with pytest.raises(RuntimeError, match=r"retain=True"):
        loss.backward()
    np.testing.assert_array_equal(t.grad, 2 * t.data)
    loss = np.sum(np.exp(t))
    t.grad = None
    loss.backward(retain=True)
    loss.backward()
    np.testing.assert_array_equal(t.grad, 2 * np.exp(t.data))


def test_a_part_shared_with_a_used_graph_is_used_up_too_and_changes_nothing():
    t = leaf(3)
    h = np.exp(t)
    np.sum(h).backward()
    before, other = t.grad.copy(), leaf(3)
    with pytest.raises(RuntimeError, match="used up"):
        np.sum(h * other).backward()
    assert np.array_equal(t.grad, before) and other.grad is None


def test_keep_gives_gradients_in_between():
    t = leaf(3)
    h = t * 3
    y = np.sin(h)
    loss = np.sum(y)
    loss.backward(keep=[h, y, loss])
    np.testing.assert_array_equal(h.grad, np.cos(h.data))
    np.testing.assert_array_equal(t.grad, 3 * np.cos(h.data))
    assert y.grad.tolist() == [1, 1, 1] and loss.grad == 1
    np.sum(h := t * 3).backward()
    assert h.grad is None


def test_seed_is_needed_for_more_than_one_element_and_has_the_shape():
    t = leaf(2, 3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"\(2, 3\) needs a seed.*np\.sum"):
        (t * 2).backward()
    with pytest.raises(ValueError, match=r"seed has shape \(3,\), the Tensor \(2, 3\)"):
        (t * 2).backward(np.ones(3))
    assert t.grad is None
    (t * 2).backward(np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(t.grad, 2 * np.arange(6).reshape(2, 3))
    assert t.grad.dtype == np.float32
    one = leaf(1, 1)
    (one * 5).backward()
    np.testing.assert_array_equal(one.grad, [[5]])


def test_backward_inside_a_transform_raises():
    with pytest.raises(RuntimeError, match=r"nest mg\.grad"):
        mg.grad(lambda x: (x * x).backward())(np.array(1.0))


def test_a_leaf_and_a_root_may_be_the_same():
    t = leaf(2, dtype=np.float32)
    t.backward(np.array([3, 4]))
    assert t.grad.tolist() == [3, 4] and t.grad.dtype == np.float32


@pytest.mark.parametrize("n", [3, 5000])  # sums of large cotangents are made in place
def test_a_value_used_a_thousand_times(n):
    t = leaf(n)
    h = np.positive(t)
    total = h
    for k in range(999):
        total = total + h * (k % 3)
    np.sum(total).backward(keep=[h])
    np.testing.assert_array_equal(t.grad, np.full(n, 1000.0))
    np.testing.assert_array_equal(h.grad, np.full(n, 1000.0))


@pytest.mark.parametrize("n", [3, 5000])
def test_gradients_share_memory_with_nothing(n):
    a, b, c = leaf(n, 1), leaf(n, 1), leaf(1, n)
    seed = np.ones((n, 1))
    h = a + b
    root = np.positive(h + h + np.reshape(c, (n, 1)) + a)
    root.backward(seed, keep=[h, root])
    grads = [a.grad, b.grad, c.grad, h.grad, root.grad]
    for g, value in zip(grads, [3, 2, 1, 2, 1]):
        assert np.all(g == value)
    arrays = [*grads, seed, a.data, b.data, c.data, h.data]
    assert not any(np.shares_memory(x, y) for i, x in enumerate(grads) for y in arrays[i + 1:])
    assert all(g.flags.writeable for g in grads) and np.all(seed == 1)


# -- large graphs, and when they go ---------------------------------------------------------------
def chain(t, n=100_000):
    for _ in range(n):
        t = t + 1.0
    return t


def test_deep_graphs_need_no_recursion():
    t = leaf(1)
    chain(t).backward()
    assert t.grad == 1
    dropped = chain(t)
    del dropped
    chain(t).backward(retain=True)
    assert mg.grad(lambda x: chain(x, 20_000))(np.array(1.0)) == 1


def test_graph_is_freed_by_reference_counting(no_collector):
    t = leaf(3)
    h = np.exp(t)
    node, array = weakref.ref(h), weakref.ref(h.data)
    loss = np.sum(np.tanh(h))
    del h
    assert node() is not None  # the loss holds it
    loss.backward()
    assert node() is None and array() is None and loss.item() > 0
    h = np.exp(t)
    node, loss = weakref.ref(h), np.sum(h * h)
    del h, loss
    assert node() is None
    h = mg.grad(lambda x: seen.append(weakref.ref(y := np.exp(x))) or np.sum(y * y))
    seen = []
    h(np.ones(3))
    assert seen[0]() is None


def test_memory_is_flat_over_ten_thousand_steps(no_collector):
    w, x = leaf(4, 2, dtype=np.float32), np.ones((3, 4), np.float32)
    opt = mg.optim.SGD([w], 1e-3)

    def steps(n):
        for _ in range(n):
            opt.zero_grad()
            np.mean(np.tanh(x @ w) ** 2).backward()
            opt.step()

    steps(7000)  # also fills Python's stock of 2000 freed tuples of each length
    tracemalloc.start()
    try:
        steps(3000)
        assert tracemalloc.get_traced_memory()[0] < 20_000  # 7 bytes a step
    finally:
        tracemalloc.stop()


# -- users' own rules -----------------------------------------------------------------------------
def test_users_add_primitives_and_rules(table):
    cube = mg.primitive(lambda x: x**3, lambda g, out, x: 3 * g * x**2, name="cube")
    assert mg.grad(mg.grad(cube))(np.array(2.0)) == 12 and repr(cube) == "<primitive cube>"
    assert type(cube(np.array(2.0))) is not Tensor
    with pytest.raises(mg.NoRule, match="j0"):
        sc.j0(leaf(2))
    mg.rule(sc.j0, lambda g, out, x: -g * sc.j1(x))
    np.testing.assert_array_equal(mg.grad(lambda x: np.sum(sc.j0(x)))(X), -sc.j1(X))
    with pytest.raises(TypeError, match="needs a vjp"):
        mg.primitive(np.exp)


def test_a_vjp_of_wrong_shape_is_named_with_both_shapes(table):
    mg.rule(np.spacing, lambda g, out, x: np.ones(4))
    with pytest.raises(ValueError, match=r"vjp of <primitive spacing>.*\(4,\).*\(2,\)"):
        np.sum(np.spacing(leaf(2))).backward()
    wrong = mg.primitive(lambda x: x * 2, lambda g, out, x: np.sum(g), name="twice")
    with pytest.raises(ValueError, match=r"twice.*shape \(\).*shape \(2,\)"):
        np.sum(wrong(leaf(2))).backward()
