"""Optimisers against plain loops written from the papers; schedules; clipping."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.tensor import Tensor

SHAPES = [(3, 4), (5,), ()]
LARGE = [(700, 900), (1, 1), (1200, 801)]  # for several threads, cut within an array
STEPS = 20


# Each as the paper has it, on one float64 array: gradient of step t, t = 1, 2, … -> parameter
def sgd(p, gradients, lr=0.1, momentum=0.0):
    velocity = 0.0
    for t, g in enumerate(gradients, 1):
        velocity = momentum * velocity + g
        p = p - rate(lr, t) * velocity
    return p


def adam(p, gradients, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8, decay=0.0):
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        p = p - rate(lr, t) * (m_hat / (np.sqrt(v_hat) + eps) + decay * p)
    return p


def rmsprop(p, gradients, lr=1e-3, decay=0.99, eps=1e-8):
    v = 0.0
    for t, g in enumerate(gradients, 1):
        v = decay * v + (1 - decay) * g**2
        p = p - rate(lr, t) * g / (np.sqrt(v) + eps)
    return p


def adagrad(p, gradients, lr=1e-2, eps=1e-10):
    total = 0.0
    for t, g in enumerate(gradients, 1):
        total = total + g**2
        p = p - rate(lr, t) * g / (np.sqrt(total) + eps)
    return p


def rate(lr, t):
    return lr(t - 1) if callable(lr) else lr


def halving(step):
    return 0.1 * 0.5**step


PAPERS = [
    (optim.SGD, sgd, {"lr": 0.1}, {}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}, {}),
    (optim.SGD, sgd, {"lr": halving, "momentum": 0.5}, {}),
    (optim.Adam, adam, {}, {}),
    (optim.Adam, adam, {"lr": halving, "eps": 0.1}, {"betas": {"b1": 0.5, "b2": 0.8}}),
    (optim.Adam, adam, {"lr": 0.1}, {"betas": {"b1": 0.0, "b2": 0.0}}),
    (optim.AdamW, adam, {"decay": 0.01}, {}),
    (optim.AdamW, adam, {"decay": 0.3, "lr": halving, "eps": 1e-3}, {}),
    (optim.RMSProp, rmsprop, {}, {}),
    (optim.RMSProp, rmsprop, {"lr": halving, "decay": 0.5, "eps": 0.1}, {}),
    (optim.Adagrad, adagrad, {}, {}),
    (optim.Adagrad, adagrad, {"lr": halving, "eps": 0.1}, {}),
]


def problem(shapes, dtype, steps, seed=3):
    """Parameters, and for each step a gradient for each of them, of sizes from 1e-6 to 1e2."""
    rng = np.random.default_rng(seed)
    params = [Tensor(rng.standard_normal(s).astype(dtype)) for s in shapes]
    sizes = [10.0 ** rng.uniform(-6, 2, s) for s in shapes]
    gradients = [[np.asarray(k * rng.standard_normal(s), dtype) for k, s in zip(sizes, shapes)]
                 for _ in range(steps)]
    return params, gradients


def run(opt, gradients):
    for step in gradients:
        for p, g in zip(opt.params, step):
            p.grad = g.copy()
        opt.step()
    return [p.data for p in opt.params]


@pytest.mark.parametrize("make, paper, options, both", PAPERS,
                         ids=[f"{p[0].__name__}-{i}" for i, p in enumerate(PAPERS)])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("shapes, steps", [(SHAPES, STEPS), (LARGE, 3)], ids=["small", "large"])
def test_steps_are_those_of_the_paper(make, paper, options, both, dtype, tolerance, shapes, steps):
    params, gradients = problem(shapes, dtype, steps)
    expected = [paper(p.data.astype(np.float64), [step[i].astype(np.float64) for step in gradients],
                      **options, **both.get("betas", {})) for i, p in enumerate(params)]
    betas = {"betas": tuple(both["betas"].values())} if both else {}
    found = run(make(params, **options, **betas), gradients)
    for ours, theirs in zip(found, expected):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def all_optimisers(params):
    return [optim.SGD(params, 0.1, momentum=0.9), optim.Adam(params), optim.AdamW(params),
            optim.RMSProp(params), optim.Adagrad(params)]


@pytest.mark.parametrize("which", range(5), ids=["SGD", "Adam", "AdamW", "RMSProp", "Adagrad"])
def test_the_number_of_threads_changes_no_bit(which, monkeypatch):
    results = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", threads)
        params, gradients = problem([(1001, 1003), (7,), (333, 777)], np.float32, 3)
        results.append([p.tobytes() for p in run(all_optimisers(params)[which], gradients)])
    assert results[0] == results[1] == results[2]


def test_parameters_change_in_place_and_those_without_gradient_not_at_all():
    for k in range(5):
        params, gradients = problem([(3,), (2, 2)], np.float32, 2)
        opt, arrays = all_optimisers(params)[k], [p.data for p in params]
        before = [a.copy() for a in arrays]
        for g in gradients:
            params[0].grad = g[0]
            kept = g[0].copy()
            opt.step()
            np.testing.assert_array_equal(params[0].grad, kept)  # the gradient is only read
            opt.zero_grad()
            assert params[0].grad is None
        assert params[0].data is arrays[0] and np.all(arrays[0] != before[0])
        assert params[1].data is arrays[1] and np.array_equal(arrays[1], before[1])
        assert all(not np.any(state[1]) for state in opt.state.values())


def test_arrays_that_are_not_contiguous_or_read_only_are_updated():
    for data in (np.ones((4, 6), np.float32).T, np.broadcast_to(np.float32(1), (6, 4))):
        p = Tensor(data)
        p.grad = np.arange(24, dtype=np.float32).reshape(4, 6).T if data.shape == (6, 4) else None
        opt = optim.SGD([p], 0.5)
        expected = 1 - 0.5 * p.grad
        opt.step()
        np.testing.assert_array_equal(p.data, expected)


def test_a_model_learns():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 0.25
    for make in (lambda p: optim.SGD(p, 0.1, momentum=0.5), lambda p: optim.Adam(p, 0.05)):
        model = nn.Dense(3, 1, rng=rng)
        opt = make(nn.parameters(model))
        for _ in range(400):
            opt.zero_grad()
            np.mean(np.square(model(x) - y)).backward()
            opt.step()
        np.testing.assert_allclose(model.weight.data[:, 0], [1, -2, 0.5], atol=1e-3)
        np.testing.assert_allclose(model.bias.data, [0.25], atol=1e-3)


def test_adam_is_torchs():
    torch = pytest.importorskip("torch")
    params, gradients = problem(SHAPES, np.float64, STEPS)
    theirs = [torch.tensor(p.data.copy(), requires_grad=True) for p in params]
    other = torch.optim.Adam(theirs, lr=1e-2, betas=(0.8, 0.9))
    for step in gradients:
        for p, g in zip(theirs, step):
            p.grad = torch.tensor(g)
        other.step()
    for p, t in zip(run(optim.Adam(params, 1e-2, betas=(0.8, 0.9)), gradients), theirs):
        np.testing.assert_allclose(p, t.detach().numpy(), rtol=1e-12)


# -- errors ---------------------------------------------------------------------------------------
LEAF = Tensor(np.ones(2))


@pytest.mark.parametrize("make, error, text", [
    (lambda: optim.SGD([], 0.1), ValueError, "list is empty"),
    (lambda: optim.SGD([np.ones(2)], 0.1), TypeError, r"leaf Tensors.*nn\.parameters.*ndarray"),
    (lambda: optim.SGD([LEAF * 2], 0.1), TypeError, "leaf Tensors"),
    (lambda: optim.SGD([LEAF], -0.1), ValueError, "lr=-0.1"),
    (lambda: optim.Adam([LEAF], math.nan), ValueError, "lr=nan"),
    (lambda: optim.Adam([LEAF], betas=(0.9, 1.0)), ValueError, r"betas=\(0.9, 1.0\).*below 1"),
    (lambda: optim.AdamW([LEAF], betas=(-0.1, 0.9)), ValueError, "betas="),
    (lambda: optim.Optimizer([LEAF], 0.1), TypeError, "abstract"),
])
def test_error_and_advice(make, error, text):
    with pytest.raises(error, match=text):
        make()


# -- clipping -------------------------------------------------------------------------------------
def test_clipping_scales_all_gradients_together_and_returns_the_norm_before():
    a, b, without = (Tensor(np.zeros(2, np.float32)) for _ in range(3))
    a.grad, b.grad = np.array([3, 0], np.float32), np.array([0, 4], np.float32)
    assert optim.clip_global_norm([a, b, without], 10.0) == 5.0
    assert a.grad.tolist() == [3, 0] and b.grad.tolist() == [0, 4]
    assert optim.clip_global_norm((p for p in (a, b, without)), 2.5) == 5.0
    assert a.grad.tolist() == [1.5, 0] and b.grad.tolist() == [0, 2]
    assert a.grad.dtype == np.float32 and without.grad is None
    assert optim.clip_global_norm([a, b], 1.0) == 2.5
    assert optim.clip_global_norm([without], 1.0) == 0.0


# -- schedules ------------------------------------------------------------------------------------
@pytest.mark.parametrize("schedule, values", [
    (optim.constant(0.3), {0: 0.3, 10**6: 0.3}),
    (optim.linear(1.0, 0.2, 0), {0: 0.2, 1: 0.2}), (optim.cosine(1.0, 0, 0.2), {0: 0.2, 9: 0.2}),
    (optim.linear(1.0, 0.2, 4), {0: 1.0, 1: 0.8, 2: 0.6, 4: 0.2, 5: 0.2, 10**6: 0.2}),
    (optim.cosine(1.0, 6, 0.2), {0: 1.0, 2: 0.2 + 0.8 * 0.75, 3: 0.6, 6: 0.2, 7: 0.2, 99: 0.2}),
    (optim.cosine(2.0, 4), {0: 2.0, 2: 1.0, 4: 0.0, 5: 0.0}),
    (optim.exponential(2.0, 0.5), {0: 2.0, 1: 1.0, 3: 0.25}),
    (optim.exponential(2.0, 0.5, every=3), {0: 2.0, 2: 2.0, 3: 1.0, 5: 1.0, 6: 0.5}),
    (optim.warmup(0.4, 4), {0: 0.1, 1: 0.2, 3: 0.4, 4: 0.4, 100: 0.4}),
    (optim.warmup(optim.linear(1.0, 0.0, 10), 2), {0: 0.5, 1: 0.9, 2: 0.8, 10: 0.0, 11: 0.0}),
])
def test_schedules_are_functions_of_the_step_alone(schedule, values):
    for steps in (values, reversed(values), values):
        for step in steps:
            assert schedule(step) == pytest.approx(values[step], rel=1e-12, abs=1e-15)


def test_an_optimiser_asks_its_schedule_for_steps_from_zero():
    asked = []
    p = Tensor(np.zeros(1))
    opt = optim.SGD([p], lambda step: asked.append(step) or 1.0)
    for _ in range(3):
        p.grad = np.ones(1)
        opt.step()
    assert asked == [0, 1, 2] and opt.steps == 3 and p.data == -3


def test_clipping_knows_norms_beyond_float32_and_refuses_those_that_are_no_numbers():
    p = mg.Tensor(np.zeros(4, np.float32))
    p.grad = np.full(4, 1e25, np.float32)
    assert np.isclose(optim.clip_global_norm([p], 1.0), 2e25)
    assert np.allclose(p.grad, 0.5)
    p.grad = np.array([np.nan, 0, 0, 0], np.float32)
    with pytest.raises(FloatingPointError, match="nan"):
        optim.clip_global_norm([p], 1.0)
