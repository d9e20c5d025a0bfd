"""`debug()` names the first operation that made a NaN or an infinity, and arrays overwritten."""

from __future__ import annotations

import copy
import gc
import linecache
import threading

import numpy as np
import pytest

import minigrad as mg
import vae
from minigrad.debugging import NumericalError, OverwrittenError, debug, records
from minigrad.tensor import Tensor
from minigrad.tree import tree_map
from tests.minigrad.cases import CASES

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")


def caught(f, *args, error=NumericalError, **options):
    with pytest.raises(error) as raised, debug(**options):
        f(*args)
    return str(raised.value)


def line_of(text):
    """The source line that a message names, read from the file at the number it gives."""
    place = text.partition("applied at ")[2].splitlines()[0]
    file, number, _ = place.split(":", 2)
    assert file == __file__
    return linecache.getline(file, int(number)).strip()


# -- forwards -------------------------------------------------------------------------------------
def test_the_operation_that_makes_an_infinity_is_named_with_its_input_and_line():
    def model(x):
        y = x * 2.0
        return np.sum(np.log(y))  # here

    text = caught(model, Tensor(np.array([[1.0, 0.0], [3.0, 0.0]])))
    assert text.startswith("log made -inf, forwards\n")
    assert line_of(text) == "return np.sum(np.log(y))  # here"
    assert "result: (2, 2) float64, 2 of 4 not finite, first [0, 1]: -inf" in text
    assert "argument 0, the result of multiply: (2, 2) float64, 0 at [0, 1]" in text


def test_a_nan_is_found_where_it_is_made_not_where_it_spreads():
    text = caught(lambda x: np.exp(np.sqrt(x)) + 1.0, Tensor(np.array([1.0, -4.0])))
    assert text.startswith("sqrt made nan, forwards")
    assert "argument 0, a leaf: (2,) float64, -4 at [1]" in text


def test_inputs_of_another_shape_are_told_by_their_range():
    x, w = np.full((2, 3), 1e38, np.float32), np.full((3, 2), 1e5, np.float32)
    text = caught(lambda x: x @ w, Tensor(x))
    assert text.startswith("matmul made inf, forwards")
    assert "argument 0, a leaf: (2, 3) float32, from 1e+38 to 1e+38" in text


@pytest.mark.parametrize("f, x, head", [
    (lambda x: x + 1.0, np.nan, "argument 0 of add, a leaf, already holds nan"),
    (lambda x: x * np.array([1.0, np.inf]), 1.0,
     "argument 1 of multiply, a constant, already holds inf"),
    (lambda x: x * np.inf, 1.0, "argument 1 of multiply, a constant, already holds inf"),
    (lambda x: x @ np.array([[np.nan], [1.0]]), 1.0,
     "argument 1 of matmul, a constant, already holds nan"),
    (lambda x: np.log(x) + np.array([np.inf, 0.0]), 0.0, "log made -inf, forwards"),
    (lambda x: np.divide(x, np.array([0.0, np.inf])), 1.0, "divide made inf, forwards"),
])
def test_what_was_in_a_leaf_or_constant_already_is_said_to_come_from_there(f, x, head):
    assert caught(f, Tensor(np.full((1, 2), x))).splitlines()[0] == head


def test_a_result_from_before_debugging_is_said_to_hold_it():
    y = np.log(Tensor(np.zeros(2)))
    assert caught(lambda: y * 2.0).startswith(
        "argument 0 of multiply, the result of log, already holds -inf")


def test_a_nan_that_is_not_used_is_no_failure():
    x = Tensor(np.array([1.0, np.nan]))
    with debug():
        np.where(np.array([True, False]), x, 0.0)


def test_a_meant_infinity_passes_with_forward_false():
    def masked(x):
        return mg.logsumexp(np.where(np.array([True, False]), x, -np.inf))

    assert caught(masked, Tensor(np.ones(2))).startswith("argument 2 of where, a constant")
    with debug(forward=False):
        assert mg.grad(masked)(np.ones(2)).tolist() == [1.0, 0.0]


# -- backwards ------------------------------------------------------------------------------------
def test_the_vjp_that_makes_an_infinity_is_named_with_the_cotangent_and_the_forward_line():
    def loss(x):
        root = np.sqrt(x)  # the root
        return np.sum(root * 3.0)

    text = caught(lambda: loss(Tensor(np.array([4.0, 0.0]))).backward())
    assert text.startswith("the vjp of sqrt for argument 0 made inf, backwards\n")
    assert line_of(text) == "root = np.sqrt(x)  # the root"
    assert "its result: (2,) float64, 1 of 2 not finite, first [1]: inf" in text
    assert "cotangent: (2,) float64, 3 at [1]" in text
    assert "argument 0, a leaf: (2,) float64, 0 at [1]" in text
    assert caught(mg.grad(loss), np.array([4.0, 0.0])).splitlines()[2:] == text.splitlines()[2:]


def test_the_second_argument_is_named():
    text = caught(mg.grad(lambda y: np.sum(np.full(1, 1e-10) / y)), np.array([1e-160]))
    assert text.startswith("the vjp of divide for argument 1 made -inf, backwards")
    assert "argument 0, a constant: (1,) float64, 1e-10 at [0]" in text


def test_what_is_left_out_is_no_failure():
    def f(x):
        return np.sum(np.where(x > 0, np.log(x), 0.0))

    with debug(forward=False):
        assert mg.grad(f)(np.array([0.0, 2.0])).tolist() == [0.0, 0.5]
        second = mg.grad(lambda x: np.sum(mg.grad(f)(x)))(np.array([0.0, 2.0]))
    assert second.tolist() == [0.0, -0.25]


def test_what_a_derivative_leaves_out_is_no_failure_of_its_operations():
    def f(x):
        return np.sum(np.where(x > 0, np.sqrt(x), x))  # finite, but for slopes nobody uses

    with debug():
        second = mg.grad(lambda x: np.sum(mg.grad(f)(x)))(np.array([0.0, 4.0]))
    assert second.tolist() == [0.0, -1 / 32]


def test_a_seed_or_sum_that_is_not_finite_is_told_apart():
    x = Tensor(np.ones(2))
    text = caught(lambda: (x * 2.0).backward(np.array([1.0, np.nan])))
    assert text.startswith("the cotangent that came to multiply (2,) is not finite, while all "
                           "that were computed on the way are")
    assert "cotangent: (2,) float64, 1 of 2 not finite, first [1]: nan" in text

    def overflows(x):
        y = x * np.float32(1.0)
        return np.sum(y * np.float32(3e38) + y * np.float32(3e38)) * np.float32(1.0)

    small = Tensor(np.full(1, 1e-9, np.float32))
    assert "came to multiply (1,)" in caught(lambda: overflows(small).backward())


def test_a_graph_from_before_debugging_has_no_line():
    y = np.sqrt(Tensor(np.zeros(1)))
    text = caught(y.backward)
    assert "the vjp of sqrt" in text and "applied at a line that was not recorded" in text


# -- nested differentiation -----------------------------------------------------------------------
def test_an_operation_in_a_derivative_belongs_to_the_line_that_is_differentiated():
    def cube_root(x):
        return x ** 1.5  # slope 1.5 √x, whose own slope is infinite at 0

    text = caught(mg.grad(mg.grad(cube_root)), 0.0)
    assert text.startswith("the vjp of power for argument 0 made inf, backwards")
    assert line_of(text).startswith("return x ** 1.5")
    assert text.splitlines()[1].endswith(", in the derivative of power")


def test_every_transform_gives_the_same_under_debugging():
    def f(x):
        return np.sum(np.sin(x) ** 3 * mg.sigmoid(x))

    x, v = np.array([0.3, -1.2, 2.0]), np.ones(3)
    for compute in (lambda: mg.hessian(f)(x), lambda: mg.jvp(f, (x,), (v,))[1],
                    lambda: mg.hvp(f, (x,), (v,))[0], lambda: mg.grad(f)(x)):
        with debug():
            watched = compute()
        np.testing.assert_array_equal(watched, compute(), strict=True)


@pytest.mark.parametrize("name", CASES, ids=lambda f: getattr(f, "__name__", str(f)))
def test_no_rule_raises_a_false_alarm_and_none_is_changed(name):
    def derivatives(f, args):
        out, pullback = mg.vjp(f, *args)
        return pullback(tree_map(lambda y: np.ones(np.shape(y)), out))

    for f, args in CASES[name]:
        with debug():
            watched = derivatives(f, args)
        for a, b in zip(watched, derivatives(f, args)):
            np.testing.assert_array_equal(a, b, strict=True)


# -- arrays that were overwritten -----------------------------------------------------------------
def test_an_overwritten_constant_is_named_with_its_operation_and_line():
    def run():
        x, c = Tensor(np.ones(2)), np.full(2, 2.0)
        loss = np.sum(x * c)  # c is used
        c[:] = 100.0
        loss.backward()

    text = caught(run, error=OverwrittenError)
    assert text.startswith("argument 1 of multiply, a constant, was overwritten before backward()")
    assert line_of(text) == "loss = np.sum(x * c)  # c is used"
    assert "now: (2,) float64, from 100 to 100" in text


@pytest.mark.parametrize("change, named", [
    (lambda x, y, c: x.data.__setitem__(0, 5.0), "argument 0 of multiply, a leaf,"),
    (lambda x, y, c: c.T.__setitem__(0, 5.0), "argument 1 of multiply, a constant,"),
    (lambda x, y, c: y.data.__imul__(2.0), "the result of exp"),
    (lambda x, y, c: c.__setitem__(slice(None), c[::-1].copy()),
     "argument 1 of multiply, a constant,"),
], ids=["leaf", "view", "result", "reordered"])
def test_whatever_a_vjp_looks_at_is_guarded(change, named):
    def run():
        c = np.asfortranarray(np.arange(6.0).reshape(3, 2))[:, ::-1]
        x = Tensor(np.ones((3, 2)))
        y = np.exp(x * x * c)
        loss = np.sum(y + 1.0)
        change(x, y, c)
        loss.backward()

    assert caught(run, error=OverwrittenError).startswith(named)


@pytest.mark.parametrize("f, name", [(lambda x, i: x[i], "getitem"),
                                     (lambda x, i: np.einsum("ij,jk->ik", x, i), "einsum")])
def test_integers_are_guarded(f, name):
    integers, x = np.array([[0, 2], [1, 1]]), Tensor(np.ones((3, 2)))

    def run():
        y = np.sum(f(x, integers))
        integers[0, 0] = 1
        y.backward()

    assert caught(run, error=OverwrittenError).startswith(f"argument 1 of {name}, a constant,")


def test_arrays_that_no_vjp_looks_at_may_change():
    x, batch = Tensor(np.ones(3)), np.arange(3.0)
    with debug():
        y = np.sum(x + batch)  # d/dx is 1 whatever the batch
        batch += 1
        y.backward()
        z = np.sum(mg.affine(batch[None], Tensor(np.ones((3, 2))), Tensor(np.ones(2))))
        z.data[...] = 0
        z.backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_an_optimiser_may_change_its_parameters_after_backward(digits):
    def train(watched):
        model = vae.models.dense_vae(784, (8,), 2, rng=np.random.default_rng(0))
        options = {"epochs": 2, "batch_size": 50, "rng": np.random.default_rng(1),
                   "optimizer": mg.optim.Adam(mg.nn.parameters(model))}
        if not watched:
            return vae.fit(model, x, **options).rows[-1]["train_bound"]
        with debug():
            return vae.fit(model, x, **options).rows[-1]["train_bound"]

    x = np.round(digits.train[:200]).reshape(200, -1)
    assert train(True) == train(False)


def test_a_failure_in_vae_names_its_line_and_the_users():
    model = vae.models.dense_vae(4, (3,), 2, rng=np.random.default_rng(0))
    model.encoder.layers[0].weight.data[0, 1] = np.nan
    x = np.ones((2, 4), np.float32)
    text = caught(lambda: vae.elbo(model, x, rng=np.random.default_rng(0)))
    assert text.startswith("argument 1 of affine, a leaf, already holds nan")
    first, second = text.splitlines()[1].split(", called at ")
    assert "vae" in first and __file__ in second


# -- what debugging leaves as it is ---------------------------------------------------------------
def test_numpys_warnings_are_shown_as_usual():
    x = Tensor(np.array([1e308]))
    with pytest.warns(RuntimeWarning, match="overflow"), pytest.raises(NumericalError), debug():
        x * 10.0


def test_records_go_with_their_graph_without_the_collector():
    gc.collect()
    before = len(records)
    gc.disable()
    try:
        with debug():
            y = np.exp(Tensor(np.ones(3))) * 2.0
            assert len(records) == before + 2
            del y
            assert len(records) == before
    finally:
        gc.enable()


def test_other_threads_and_later_code_are_not_watched():
    x, made = Tensor(np.zeros(1)), []
    with debug():
        thread = threading.Thread(target=lambda: made.append(np.log(x)))
        thread.start()
        thread.join()
    made.append(np.log(x))
    assert [m.data.tolist() for m in made] == [[-np.inf], [-np.inf]]


def test_an_error_leaves_the_engine_unwatched_and_the_values_unchanged():
    x = Tensor(np.array([0.0, 1.0]))
    kept = copy.copy(x).data.copy()
    caught(np.log, x)
    assert np.log(x).data[0] == -np.inf
    np.testing.assert_array_equal(x.data, kept)


def test_a_sum_that_overflows_at_a_leaf_is_found():
    x = mg.Tensor(np.array([1.0]))
    big = np.array([1.5e308])
    with pytest.raises(NumericalError, match=r"the cotangent that came to a leaf \(1,\) is not"), \
            np.errstate(over="ignore"), mg.debug():
        np.sum(np.stack([x * big * 1e-300, x * big * 1e-300])).backward(np.array(1e300))


def test_a_nan_that_a_constant_holds_is_said_to_come_from_there_on_the_way_back_too():
    x = mg.Tensor(np.ones(2))
    with pytest.raises(NumericalError, match=r"made nan, backwards, from argument 1, a constant, "
                                             r"that already holds one"), mg.debug(forward=False):
        np.sum(x * np.array([np.nan, 1.0])).backward()
