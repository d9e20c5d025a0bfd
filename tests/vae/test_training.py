"""fit, evaluate and log_likelihood, the model they are given, and the line that tells of them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import vae
from tests.vae.trained import same, values
from vae.progress import Progress

N, PIXELS = 250, 36


@pytest.fixture(scope="module")
def data():
    """Noisy copies of four binary patterns, (250, 36), float32."""
    rng = np.random.default_rng(4)
    patterns, flips = rng.integers(0, 2, (4, PIXELS)), rng.random((N, PIXELS)) < 0.05
    return (patterns[rng.integers(0, 4, N)] ^ flips).astype(np.float32)


def model_for(x, seed=0, hidden=(16,), n_z=3):
    return vae.dense_vae(x.shape[1], hidden, n_z, rng=np.random.default_rng(seed),
                         start=x.mean(axis=0))


def train(x, *, model=None, epochs=3, batch_size=40, seed=1, optimizer=None, **options):
    model = model or model_for(x)
    history = vae.fit(model, x, epochs=epochs, batch_size=batch_size,
                      optimizer=optimizer or mg.optim.Adam(mg.nn.parameters(model), lr=1e-2),
                      rng=np.random.default_rng(seed), **options)
    return model, history


@pytest.fixture(scope="module")
def trained(data):
    return train(data, epochs=25)[0]


# -- fit ---------------------------------------------------------------------------------------
def test_training_improves_the_bound(data):
    model = model_for(data)
    before = vae.evaluate(model, data)
    _, history = train(data, model=model, epochs=25)
    after = vae.evaluate(model, data)
    assert after["elbo"] > before["elbo"] + 8 and after["kl"] > 0.5 and not history.interrupted


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(data):
    one, two, other = (values(train(data, seed=s)[0]) for s in (1, 1, 2))
    assert same(one, two) and not same(one, other)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    x = np.random.default_rng(0).random((256, 784), np.float32)  # large enough for several
    found = []
    for threads in "123":
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", threads)
        model, _ = train(x, model=model_for(x, hidden=(100,)), epochs=2, batch_size=128)
        found.append(values(model))
    assert same(found[0], found[1]) and same(found[0], found[2])


REPRODUCIBLE = """
import hashlib, numpy as np, minigrad as mg, vae
rng = np.random.default_rng(0)
x = (rng.random((256, 784)) < 0.2).astype(np.float32)
with mg.reproducible():
    for make in (vae.dense_vae, vae.conv_vae):
        model = make(rng=rng)
        vae.fit(model, x, epochs=1, batch_size=128, rng=rng,
                optimizer=mg.optim.Adam(mg.nn.parameters(model)))
        found = [*(p.data for p in mg.nn.parameters(model)), vae.evaluate(model, x)["elbo"],
                 vae.log_likelihood(model, x[:9], samples=40)["log_likelihood"]]
        print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in found)).hexdigest())
"""


def test_reproducible_bits_depend_on_no_number_of_threads_of_blas_either():
    found = {subprocess.run([sys.executable, "-c", REPRODUCIBLE], check=True, timeout=120,
                            capture_output=True, text=True, cwd=Path(__file__).parents[2],
                            env={**os.environ, "OPENBLAS_NUM_THREADS": blas,
                                 "MINIGRAD_NUM_THREADS": own}).stdout
             for blas, own in ("12", "21", "22")}
    assert len(found) == 1 and len(found.pop().split()) == 2


def test_looking_at_the_model_does_not_change_its_training(data):
    model = model_for(data)
    train(data, model=model, on_epoch=lambda row: [look(model, data) for look in EVALUATIONS])
    assert same(values(model), values(train(data)[0]))


def test_history_has_the_means_over_the_data_of_each_epoch(data):
    seen = []

    def objective(model, x, *, rng):
        bound = vae.elbo(model, x, rng=rng)
        seen.append(np.stack([part.data for part in bound]))
        return bound
    told = []
    _, history = train(data, objective=objective, on_epoch=told.append)
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]
    assert all(a is b for a, b in zip(history.rows, told, strict=True))
    assert [part.shape[1] for part in seen] == 3 * [40, 40, 40, 40, 40, 40, 10]
    for k, row in enumerate(history.rows):
        assert list(row) == ["epoch", "step", "train_objective", "train_bound",
                             "train_reconstruction", "train_kl", "seconds"]
        assert row["step"] == 7 * (k + 1) and row["train_objective"] == row["train_bound"]
        means = np.hstack(seen[7 * k:7 * k + 7]).mean(axis=1, dtype=np.float64)
        found = [row[f"train_{part}"] for part in ("bound", "reconstruction", "kl")]
        np.testing.assert_allclose(found, means, rtol=1e-12)
        assert found[0] == pytest.approx(found[1] - found[2], rel=1e-5) and row["seconds"] > 0


def test_each_epoch_shows_every_datum_once_in_an_order_of_its_own(data):
    x, batches = data.copy(), []
    x[:, 0] = np.arange(N) / N

    def prepare(batch, *, rng):
        batches.append(batch[:, 0])
        return batch
    train(x, prepare=prepare, epochs=2)
    first, second = np.concatenate(batches[:7]), np.concatenate(batches[7:])
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order), x[:, 0])
    assert not np.array_equal(first, x[:, 0]) and not np.array_equal(first, second)


def test_the_loss_is_the_mean_over_the_batch(data):
    """Twice the data in one batch is the same step; summed over the batch it would be longer."""
    def without_noise(model, x, *, rng):
        q = model.posterior(x)
        reconstruction, kl = model.likelihood(q.mean).log_prob(x), vae.kl(q, model.prior)
        return vae.Bound(reconstruction - kl, reconstruction, kl)
    start, found = values(model_for(data)), []
    for x in (data, np.vstack([data, data])):
        model = model_for(data)
        train(x, model=model, epochs=1, batch_size=len(x), objective=without_noise,
              optimizer=mg.optim.SGD(mg.nn.parameters(model), lr=0.1))
        found.append(values(model))
    for a, b, c in zip(*found, start, strict=True):
        np.testing.assert_allclose(a - c, b - c, rtol=1e-3, atol=1e-6)


def test_ctrl_c_ends_with_what_there_is(data):
    steps = []

    def on_step(epoch, step, bound):
        steps.append((epoch, step))
        if (epoch, step) == (2, 3):
            raise KeyboardInterrupt
    model = model_for(data)
    start = values(model)
    _, history = train(data, model=model, on_step=on_step)
    assert history.interrupted and [row["epoch"] for row in history.rows] == [1]
    assert steps == [(1, k) for k in range(7)] + [(2, k) for k in range(4)]
    assert not same(values(model), start)
    assert all(p.grad is None for p in mg.nn.parameters(model))


BAD = [(lambda x: x[:0], ValueError, r"no data.*\(0, 36\)"),
       (lambda x: x.astype(np.uint8), TypeError, "uint8.*divide pixels by 255"),
       (lambda x: np.where(np.arange(36 * N).reshape(N, 36) % 4000 == 77, np.nan, x), ValueError,
        r"3 of 9000 values.*first at \[2, 5\]"),
       (lambda x: np.where(np.arange(36 * N).reshape(N, 36) == 36, np.inf, x), ValueError,
        r"1 of 9000 values.*first at \[1, 0\]")]


@pytest.mark.parametrize("spoil, error, text", BAD, ids=["empty", "integer", "nan", "infinite"])
def test_bad_data_is_found_before_training(data, spoil, error, text):
    x, model = spoil(data), model_for(data)
    for use in (lambda: train(x, model=model), lambda: vae.evaluate(model, x),
                lambda: vae.log_likelihood(model, x, samples=2)):
        with pytest.raises(error, match=text):
            use()
    assert same(values(model), values(model_for(data)))


# -- evaluation --------------------------------------------------------------------------------
EVALUATIONS = [lambda model, x: vae.evaluate(model, x, batch_size=60),
               lambda model, x: vae.log_likelihood(model, x, samples=7)]


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_evaluation_repeats_itself_and_makes_no_tensor(trained, data, evaluation):
    before = mg.Tensor(np.zeros(1)).order  # Tensors are numbered as they are made
    first = evaluation(trained, data)
    assert mg.Tensor(np.zeros(1)).order == before + 1
    assert evaluation(trained, data) == first
    assert all(p.grad is None for p in mg.nn.parameters(trained))


def test_evaluate_gives_the_means_and_the_standard_error(trained, data):
    found = vae.evaluate(trained, data, seed=3, batch_size=N)
    bound = vae.elbo(mg.nn.frozen(trained), data, rng=np.random.default_rng(3))
    for name, part in zip(("elbo", "reconstruction", "kl"), bound):
        assert found[name] == pytest.approx(part.mean(dtype=np.float64), rel=1e-6)
    assert found["elbo"] == pytest.approx(found["reconstruction"] - found["kl"], rel=1e-6)
    assert found["elbo_se"] == pytest.approx(bound.value.std(ddof=1) / np.sqrt(N), rel=1e-4)
    assert vae.evaluate(trained, data, seed=4)["elbo"] != found["elbo"]
    assert set(found) == {f"{part}{se}" for part in ("elbo", "reconstruction", "kl")
                          for se in ("", "_se")}
    uneven = vae.evaluate(trained, data, batch_size=240)  # the last ten are no full batch
    assert uneven["kl"] == pytest.approx(found["kl"], rel=1e-5)


def log_p(model, x, **options):
    return vae.log_likelihood(model, x, **options)["log_likelihood"]


def test_log_likelihood_grows_with_k_from_the_elbo_on(trained, data):
    found = np.array([[log_p(trained, data, samples=k, seed=s) for k in (1, 8, 64)]
                      for s in range(8)])
    elbos = [vae.evaluate(trained, data, seed=s)["elbo"] for s in range(20)]
    assert abs(found[0, 0] - np.mean(elbos)) < 6 * np.std(elbos)
    growth = np.diff(found, axis=1)
    assert np.all(growth.mean(0) > 3 * growth.std(0) / np.sqrt(8))


def test_a_frozen_model_follows_training(data):
    model = model_for(data)
    frozen = mg.nn.frozen(model)
    train(data, model=model)
    np.testing.assert_array_equal(frozen.reconstruct(data), mg.nn.frozen(model).reconstruct(data))


# -- the model ---------------------------------------------------------------------------------
def test_dense_vae_has_the_parameters_that_its_sizes_say():
    n_x, a, b, n_z = 11, 7, 5, 3
    model = vae.dense_vae(n_x, (a, b), n_z, rng=np.random.default_rng(0))
    encoder = (n_x + 1) * a + (a + 1) * b + (b + 1) * 2 * n_z
    decoder = (n_z + 1) * b + (b + 1) * a + (a + 1) * n_x
    assert sum(p.size for p in mg.nn.parameters(model)) == encoder + decoder


def test_one_number_for_the_hidden_layers_is_refused():
    with pytest.raises(TypeError, match=r"hidden=32\): give the sizes of the layers, \(32,\)"):
        vae.dense_vae(5, 32, 2, rng=np.random.default_rng(0))


def test_output_biases_start_at_the_logit_of_the_mean_or_at_zero():
    mean = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    for start, expected in ((mean, [-6.906755, -2.197225, 0, 2.197225, 6.906755]), (None, 5 * [0])):
        model = vae.dense_vae(5, (4,), 2, rng=np.random.default_rng(0), start=start)
        bias = mg.nn.named_parameters(model)["decoder.layers.2.linear.bias"]
        assert bias.dtype == np.float32
        np.testing.assert_allclose(bias.data, expected, atol=1e-6)


@pytest.mark.parametrize("activation", [np.tanh, mg.relu])
def test_everything_is_float32(data, activation):
    model = vae.dense_vae(PIXELS, (8,), 2, rng=np.random.default_rng(0), activation=activation)
    rng = np.random.default_rng(0)
    bound = vae.elbo(model, data, rng=rng)
    better = vae.estimators.iwae(model, data, rng=rng, samples=3).value
    loss = -np.mean(bound.value) - np.mean(better)
    loss.backward()
    made = [*bound, better, loss, *(p.grad for p in mg.nn.parameters(model)),
            *(f(m) for m in (model, mg.nn.frozen(model)) for f in
              (lambda m: m.sample(3, rng=rng), lambda m: m.reconstruct(data)))]
    assert {a.dtype for a in made} == {np.dtype(np.float32)}


def test_samples_and_reconstructions_are_means(trained, data):
    model = mg.nn.frozen(trained)
    z = np.random.default_rng(5).standard_normal((4, 3), np.float32)
    np.testing.assert_array_equal(model.sample(4, rng=np.random.default_rng(5)),
                                  model.likelihood(z).mean)
    again = model.reconstruct(data)
    np.testing.assert_array_equal(again, model.likelihood(model.posterior(data).mean).mean)
    assert np.mean(np.abs(again - data)) < 0.2 < np.mean(np.abs(data.mean(axis=0) - data))


# -- progress ----------------------------------------------------------------------------------
Terminal = type("Terminal", (io.StringIO,), {"isatty": lambda self: True})


def shown(out, data, **options):
    progress = Progress(3, 7, 40, N, out=out, **options)
    train(data, on_step=progress.step, on_epoch=progress.epoch)
    progress.close()
    return out.getvalue()


def test_in_a_pipe_each_epoch_is_one_plain_line(data):
    text = shown(io.StringIO(), data)
    assert not set("\r\x1b") & set(text)
    assert re.fullmatch("".join(rf"epoch {k}/3  train -\d+\.\d\d nats  [\d,]+ images/s  "
                                r"\d+:\d\d left\n" for k in (1, 2, 3)), text), text
    assert text.endswith(" 0:00 left\n")


def test_in_a_terminal_one_line_is_rewritten(data):
    text = shown(Terminal(), data, every=0, unit="bits")
    assert text.count("\n") == 3  # the epochs stay
    assert text.endswith("\r\x1b[2K")  # and nothing half written does
    parts = text.split("\r\x1b[2K")[1:]
    steps = [p for p in parts if "step" in p]
    assert len(steps) == 21
    assert re.fullmatch(r"epoch 2/3  step 3/7  -\d+\.\d\d bits  [\d,]+ images/s  \d+:\d\d left",
                        steps[9])


def test_the_line_knows_the_time_left_and_the_test_bound(monkeypatch):
    now = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr("vae.progress.time.perf_counter", lambda: next(now))
    out = Terminal()
    progress = Progress(5, 4, 10, 40, out=out)
    progress.step(1, 0, -50.0)  # 10 images in 10 s, 190 to go
    assert out.getvalue().endswith("step 1/4  -50.00 nats  1 images/s  3:10 left")
    progress.epoch({"epoch": 1, "train_bound": -40.0, "test_elbo": -41.234, "seconds": 16.0})
    assert "train -40.00, test -41.23 nats  2 images/s  1:20 left\n" in out.getvalue()


def test_a_run_that_goes_on_says_where_and_is_timed_from_there(monkeypatch):
    now = iter([100.0, 110.0])
    monkeypatch.setattr("vae.progress.time.perf_counter", lambda: next(now))
    out = Terminal()
    progress = Progress(5, 4, 10, 40, out=out)
    progress.step(3, 1, -50.0)  # 10 images in 10 s; 100 of 200 are done
    assert "going on in epoch 3, after 1 of 4 steps\n" in out.getvalue()
    assert out.getvalue().endswith("step 2/4  -50.00 nats  1 images/s  1:40 left")


# -- what is trained ------------------------------------------------------------------------------
def test_an_optimizer_of_another_model_is_refused(data):
    other = mg.optim.SGD(mg.nn.parameters(model_for(data, seed=1)), lr=0.1)
    with pytest.raises(ValueError, match="none of the optimizer's parameters: was it made for"):
        train(data, epochs=1, optimizer=other)


def test_tensors_that_nobody_moves_are_told(data):
    model = model_for(data)
    hidden = model.encoder
    model.encoder = lambda x: hidden(x)  # where its parameters are not found
    with pytest.warns(UserWarning, match=r"4 Tensors that the optimizer does not move.*lambda"):
        train(data, model=model, epochs=1)
    model.encoder = mg.nn.frozen(hidden)  # held on purpose, which is no reason to warn
    train(data, model=model, epochs=1)


def test_an_objective_without_a_graph_is_refused(data):
    model = model_for(data)
    optimizer = mg.optim.SGD(mg.nn.parameters(model), lr=0.1)
    with pytest.raises(ValueError, match="depends on no parameter"):
        train(data, model=mg.nn.frozen(model), epochs=1, optimizer=optimizer)


def test_an_objective_without_its_parts_is_refused(data):
    with pytest.raises(TypeError, match=r"gave a Tensor: a vae.Bound\(value, reconstruction, kl\)"):
        train(data, objective=lambda *args, **options: vae.elbo(*args, **options).value)


def test_an_objective_of_batch_means_is_refused(data):
    def means(model, x, *, rng):
        return vae.Bound(*(np.mean(part) for part in vae.elbo(model, x, rng=rng)))
    with pytest.raises(ValueError, match=r"objective has shape \(\): one number for each datum of "
                                         r"the batch is expected, \(40,\)"):
        train(data, objective=means)


def test_data_that_are_no_array_are_refused(data):
    with pytest.raises(TypeError, match="data as list: a NumPy array"):
        vae.evaluate(model_for(data), data.tolist())


def test_a_history_is_shown_in_a_line(data):
    text = repr(train(data, epochs=2)[1])
    assert re.fullmatch(r"History\(2 epochs, last: train_bound=-[\d.]+\)", text)
    assert repr(vae.History(interrupted=True)) == "History(0 epochs, interrupted)"


def test_fewer_than_no_epochs_are_refused(data):
    with pytest.raises(ValueError, match="epochs=-1"):
        train(data, epochs=-1)
