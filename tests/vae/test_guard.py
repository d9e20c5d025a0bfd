"""A loss or a gradient that isn't finite stops training before it can spread."""

from __future__ import annotations

import json

import numpy as np
import pytest

import minigrad as mg
import vae

N = 60


@pytest.fixture
def data():
    return (np.random.default_rng(4).random((N, 20)) < 0.3).astype(np.float32)


def train(x, objective, folder=None, epochs=3):
    rng = np.random.default_rng(0)
    model = vae.dense_vae(20, (8,), 3, rng=rng)
    steps = []

    def on_step(epoch, step, bound):
        steps.append([p.data.copy() for p in mg.nn.parameters(model)])
    with np.errstate(all="ignore"), pytest.raises(vae.NonFinite) as error:
        vae.fit(model, x, epochs=epochs, batch_size=20, rng=rng, objective=objective,
                optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2), on_step=on_step,
                checkpoint=folder and vae.Checkpoint(folder, every=1e9))
    return model, steps, str(error.value)


def root_of_a_negative(model, x, *, rng, step):
    """In the fifth step the square root of a number below 0."""
    bound = vae.elbo(model, x, rng=rng)
    extra = np.sqrt(bound.kl - 1e6) if step == 4 else 0.0
    return vae.Bound(bound.value + extra, bound.reconstruction, bound.kl)


def slope_at_zero(model, x, *, rng, step):
    """A loss that is finite, with a gradient that isn't: the slope of √ at 0."""
    bound = vae.elbo(model, x, rng=rng)
    extra = np.sqrt(bound.kl * 0.0) if step == 4 else 0.0
    return vae.Bound(bound.value + extra, bound.reconstruction, bound.kl)


@pytest.mark.parametrize("objective, texts", [
    (root_of_a_negative, ["epoch 2, batch 2: the loss is nan", "sqrt made nan, forwards",
                          "test_guard.py:"]),
    (slope_at_zero, ["epoch 2, batch 2: the loss is ", "the gradients of encoder.layers.0.weight",
                     "and 1 more are not finite", "the vjp of sqrt", "test_guard.py:"])])
def test_it_stops_before_the_update_and_names_the_operation(data, objective, texts, tmp_path):
    model, steps, text = train(data, objective, tmp_path)
    for expected in (*texts, "stopped before the update", "lower learning rate"):
        assert expected in text
    assert len(steps) == 4
    for p, last in zip(mg.nn.parameters(model), steps[-1], strict=True):
        np.testing.assert_array_equal(p.data, last)
        assert p.grad is None


def test_parameters_and_batch_are_left_on_disk_and_repeat_it(data, tmp_path):
    text = train(data, root_of_a_negative, tmp_path)[2]
    left = tmp_path / "nonfinite"
    assert str(left) in text
    other = vae.dense_vae(20, (8,), 3, rng=np.random.default_rng(9))
    mg.nn.load(left / "parameters.npz", other)
    with np.load(left / "batch.npz", allow_pickle=False) as file:
        batch = file["x"]
    rng = np.random.default_rng()
    rng.bit_generator.state = json.loads((left / "generator.json").read_text())
    assert batch.shape == (20, 20) and all(any((row == x).all() for x in data) for row in batch)
    with pytest.raises(mg.NumericalError, match="sqrt made nan"), mg.debug(), \
            np.errstate(all="ignore"):
        root_of_a_negative(other, batch, rng=rng, step=4)


def test_without_a_checkpoint_they_are_in_a_temporary_folder(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = train(data, root_of_a_negative)[2]
    left, = tmp_path.glob("minigrad-nonfinite-*")
    assert str(left) in text
    assert {p.name for p in left.iterdir()} == {"parameters.npz", "batch.npz", "generator.json"}


def test_what_cannot_be_written_is_told_and_the_stop_still_is(data, tmp_path):
    (tmp_path / "nonfinite").write_text("in the way")
    text = train(data, root_of_a_negative, tmp_path)[2]
    assert "they could not be written" in text and "sqrt made nan" in text


def test_what_does_not_repeat_is_told(data):
    calls = []

    def objective(model, x, *, rng):
        calls.append(1)
        bound = vae.elbo(model, x, rng=rng)
        return vae.Bound(bound.value * (np.nan if len(calls) == 5 else 1.0), *bound[1:])
    assert "Repeated in debug mode it is finite: the step depends on more" in train(
        data, objective)[2]


def test_large_gradients_whose_squares_overflow_are_finite():
    p = mg.Tensor(np.ones(3, np.float32))
    p.grad = np.full(3, 1e30, np.float32)
    loss = mg.Tensor(np.float32(1.0))
    assert vae.training.guard.finite(loss, [p])
    p.grad[1] = np.inf
    assert not vae.training.guard.finite(loss, [p])
