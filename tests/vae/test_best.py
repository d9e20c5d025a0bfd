"""KeepBest: the model of the epoch with the best bound, and when to stop."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import minigrad as mg
import vae
from vae import schedules

x = (np.random.default_rng(4).random((80, 20)) < 0.3).astype(np.float32)


def train(best=None, *, epochs=12, lr=0.3, objective=vae.elbo, seed=0, **options):
    """A learning rate at which the bound of these data goes up and down."""
    rng = np.random.default_rng(seed)
    model = vae.dense_vae(20, (30,), 5, rng=rng)
    return model, vae.fit(model, x[:40], epochs=epochs, batch_size=10, rng=rng, best=best,
                          optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=lr),
                          objective=objective, **options)


def test_the_model_is_that_of_the_best_epoch():
    model, history = train(best := vae.KeepBest(x[40:]))
    bounds = [row["valid_elbo"] for row in history.rows]
    assert len(bounds) == 12 and bounds[-1] < max(bounds)  # or the test would show nothing
    assert best.epoch == 1 + int(np.argmax(bounds)) and best.elbo == max(bounds)
    found = vae.evaluate(model, x[40:])
    assert found["elbo"] == max(bounds)
    row = history.rows[best.epoch - 1]
    assert (row["valid_reconstruction"], row["valid_kl"]) == (found["reconstruction"], found["kl"])


def test_the_best_epoch_may_be_that_by_another_bound():
    """Of five importance weights, so that it is not what the column of the ELBO would say."""
    bound = partial(vae.estimators.iwae, samples=5)
    model, history = train(best := vae.KeepBest(x[40:], bound=bound))
    bounds = [row["valid_elbo"] for row in history.rows]
    assert best.elbo == max(bounds) == vae.evaluate(model, x[40:], objective=bound)["elbo"]
    assert best.elbo > vae.evaluate(model, x[40:])["elbo"] + 0.1


def test_looking_for_the_best_changes_no_step():
    assert [row["train_bound"] for row in train(vae.KeepBest(x[40:]))[1].rows] == [
        row["train_bound"] for row in train()[1].rows]


def test_patience_counts_epochs_without_a_better_one():
    bounds = [row["valid_elbo"] for row in train(vae.KeepBest(x[40:]))[1].rows]
    for patience in (1, 2, 3):
        history = train(vae.KeepBest(x[40:], patience=patience))[1]
        best, waited, expected = -np.inf, 0, 0
        for value in bounds:
            expected += 1
            best, waited = (value, 0) if value > best else (best, waited + 1)
            if waited == patience:
                break
        assert len(history.rows) == expected
        assert history.stopped == (waited == patience)


def test_patience_waits_for_the_warm_up():
    """The bound falls while the weight grows, over eight epochs of four steps."""
    warm = partial(vae.beta_elbo, weight=schedules.linear(0.0, 1.0, 32))
    without, with_warmup = (train(vae.KeepBest(x[40:], patience=1, warmup=steps),
                                  objective=warm)[1] for steps in (0, 32))
    assert without.stopped and len(without.rows) < 8 <= len(with_warmup.rows)


def test_the_bound_that_selects_is_unweighted():
    """With a weight of 30 the objective prefers what has no KL; the selection sees the ELBO."""
    best = vae.KeepBest(x[40:])
    _, history = train(best, objective=partial(vae.beta_elbo, weight=30.0), lr=0.02)
    for row in history.rows:
        assert row["valid_elbo"] == pytest.approx(row["valid_reconstruction"] - row["valid_kl"])
    assert best.elbo == max(row["valid_elbo"] for row in history.rows)


def test_a_schedule_asks_for_the_warm_up():
    warm = partial(vae.beta_elbo, weight=schedules.linear(0.0, 1.0, 32))
    with pytest.raises(ValueError, match=r"depends on the step: say KeepBest\(…, warmup=steps\)"):
        train(vae.KeepBest(x, patience=2), objective=warm)
    train(vae.KeepBest(x), objective=warm, epochs=1)  # without patience it does not matter


def test_one_object_serves_one_run_after_the_other():
    best = vae.KeepBest(x[40:])
    first, again = train(best)[1], train(best)[1]
    assert [r["valid_elbo"] for r in first.rows] == [r["valid_elbo"] for r in again.rows]
    assert best.elbo == max(r["valid_elbo"] for r in again.rows)


@pytest.mark.parametrize("options, text", [({"patience": 0}, "patience=0"),
                                           ({"warmup": -1}, "warmup=-1")])
def test_options_that_cannot_be_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        vae.KeepBest(x, **options)
    with pytest.raises(ValueError, match="no data"):
        vae.KeepBest(x[:0])
