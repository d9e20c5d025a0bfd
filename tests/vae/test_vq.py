"""VQ-VAE: what its objective moves, moving statistics, priors over codes, training."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import vae
from vae.models.codebook import Codebook
from vae.models.vq import (
    VQVAE,
    CountedCodes,
    UniformCodes,
    conv_vqvae,
    dense_vqvae,
    moving_objective,
    vq_objective,
)

SEEDS = st.integers(0, 2**32 - 1)


def small(seed=0, **options):
    """Of data (n, 8): 3 positions of 2 dimensions, 5 codes."""
    return dense_vqvae(8, (7,), 3, 5, 2, rng=np.random.default_rng(seed), **options)


def some(n=11, seed=1):
    return (np.random.default_rng(seed).random((n, 8)) < 0.4).astype(np.float32)


def rng():
    return np.random.default_rng(3)


# -- what the objective moves ---------------------------------------------------------------------
def moved_by(model, number):
    """The parts of the model that have a gradient that isn't 0."""
    parameters = mg.nn.named_parameters(model)
    for p in parameters.values():
        p.grad = None
    number.mean().backward()
    return {name.split(".")[0] for name, p in parameters.items()
            if p.grad is not None and np.any(p.grad)}


def test_each_term_moves_its_part_of_the_model():
    model, x = small(), some()
    found = vq_objective(model, x, rng=rng())
    assert moved_by(model, found.reconstruction) == {"encoder", "decoder"}
    assert moved_by(model, model.quantise(x)[1].codebook_loss) == {"codebook"}
    assert moved_by(model, model.quantise(x)[1].commitment) == {"encoder"}
    found = vq_objective(model, x, rng=rng())
    assert moved_by(model, found.objective) == {"encoder", "codebook", "decoder"}
    moving = small(decay=0.9)
    assert moved_by(moving, moving_objective(moving, x, rng=rng()).objective) == {
        "encoder", "decoder"}


@pytest.mark.parametrize("decay", [None, 0.9])
def test_the_objective_is_its_formula(decay):
    model, x = mg.nn.frozen(small(decay=decay)), some()
    found = vq_objective(model, x, rng=rng(), beta=0.7)
    z = model.encoder(x)
    e = model.codebook.vectors[model.encode(x)]
    log_p = model.decoder(e).log_prob(x)
    away = np.square(z - e).sum((1, 2))
    np.testing.assert_allclose(found.reconstruction, log_p, rtol=1e-6)
    np.testing.assert_allclose(found.kl, 3 * math.log(5), rtol=1e-6)
    np.testing.assert_allclose(found.value, log_p - 3 * math.log(5), rtol=1e-6)
    weight = 1.7 if decay is None else 0.7
    np.testing.assert_allclose(found.objective, found.value - weight * away, rtol=1e-5)
    assert found.kl_weight is None and {a.dtype for a in found[:4]} == {np.dtype(np.float32)}


# -- moving averages ------------------------------------------------------------------------------
def test_looking_moves_no_statistic_and_training_does():
    model, x = small(decay=0.9), some()
    buffers = mg.nn.named_buffers(model)
    assert {name.split(".")[1] for name in buffers} == {"vectors", "counts", "sums"}
    before = {name: a.copy() for name, a in buffers.items()}

    def changed():
        return {name for name, a in buffers.items() if not np.array_equal(a, before[name])}
    vq_objective(model, x, rng=rng())
    model.encode(x), model.reconstruct(x), model.usage(x)
    assert not changed()
    moving_objective(model, x, rng=rng())
    assert changed() == set(buffers)


def test_the_averaged_codebook_is_saved_and_loaded_with_the_model(tmp_path):
    one, two, x = small(decay=0.9), small(seed=1, decay=0.9), some()
    for _ in range(3):
        moving_objective(one, x, rng=rng())
    mg.nn.save(tmp_path / "model.npz", one)
    mg.nn.load(tmp_path / "model.npz", two)
    assert np.array_equal(one.encode(x), two.encode(x))
    assert np.array_equal(one.codebook.sums, two.codebook.sums)


# -- priors over codes ----------------------------------------------------------------------------
def test_counted_codes_have_the_probabilities_of_their_formula_and_sum_to_one():
    codes = rng().integers(0, 3, (20, 2))
    prior = CountedCodes.of(codes, 3, smoothing=0.5)
    every = np.array([[i, j] for i in range(3) for j in range(3)])
    assert np.exp(prior.log_prob(every)).sum() == pytest.approx(1, rel=1e-13)
    for row, found in zip(every, prior.log_prob(every)):
        expected = sum(math.log((sum(codes[:, i] == row[i]) + 0.5) / 21.5) for i in range(2))
        assert found == pytest.approx(expected, rel=1e-13)


def test_counts_of_parts_are_those_of_the_whole():
    codes = rng().integers(0, 4, (20, 2, 3))
    prior = CountedCodes.of(codes[:5], 4)
    prior.count(codes[5:])
    assert np.array_equal(prior.counts, CountedCodes.of(codes, 4).counts)


@pytest.mark.parametrize("counted", [True, False])
def test_samples_have_the_frequencies_of_the_prior(counted):
    codes = rng().integers(0, 4, (30, 2, 1)) ** 2 % 4
    prior = CountedCodes.of(codes, 4) if counted else UniformCodes((2, 1), 4)
    n = 20_000
    drawn = prior.sample(n, rng=rng())
    assert drawn.shape == (n, 2, 1) and drawn.dtype == np.int64
    p = prior.probabilities if counted else np.full((2, 1, 4), 0.25)
    found = (drawn[..., None] == np.arange(4)).mean(axis=0)
    assert np.abs(found - p).max() < 5 * math.sqrt(0.25 / n)
    minus_entropy = float((p * np.log(p)).sum())
    assert prior.log_prob(drawn).mean() == pytest.approx(minus_entropy, abs=0.03)


@given(SEEDS, st.floats(0.01, 100))
def test_on_the_codes_it_counted_it_is_never_worse_than_the_uniform_prior(seed, smoothing):
    codes = np.random.default_rng(seed).integers(0, 7, (12, 3))
    prior = CountedCodes.of(codes, 7, smoothing=smoothing)
    assert prior.log_prob(codes).mean() >= -3 * math.log(7) - 1e-12


# -- the model, trained ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def digits():
    """Pixels of 400 drawn digits, 14x14, in [0, 1]."""
    images, _ = vae.data.embedded_digits(400, rng=np.random.default_rng(0), size=14)
    return (images.reshape(400, -1) / np.float32(255)).astype(np.float32)


def convolutional(x, seed=0, **options):
    return conv_vqvae((14, 14), (8,), 32, 4, rng=np.random.default_rng(seed), start=x.mean(0),
                      **options)


def train(model, x, *, epochs=4, objective=vq_objective, revive=False, **options):
    r = np.random.default_rng(1)

    def on_epoch(row):
        if revive:
            model.revive(x, rng=r)
    return vae.fit(model, x, epochs=epochs, batch_size=50, rng=r, on_epoch=on_epoch,
                   objective=objective,
                   optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=5e-3), **options)


def error(model, x):
    return float(np.square(mg.nn.frozen(model).reconstruct(x) - x).mean())


@pytest.mark.parametrize("decay", [None, 0.95])
def test_training_on_digits_lowers_the_error_and_uses_most_codes(digits, decay):
    model = convolutional(digits, decay=decay)
    model.start_codebook(digits[:100], rng=rng())
    before = error(model, digits)
    history = train(model, digits, epochs=6,
                    objective=vq_objective if decay is None else moving_objective)
    assert error(model, digits) < 0.5 * before
    usage = model.usage(digits)
    assert usage.used > 16 and usage.counts.sum() == 400 * 49
    for row in history.rows:
        assert row["train_kl"] == pytest.approx(49 * math.log(32), rel=1e-6)

    uniform = vq_objective(mg.nn.frozen(model), digits, rng=rng())
    model.prior = CountedCodes.of(model.encode(digits), 32)
    counted = vq_objective(mg.nn.frozen(model), digits, rng=rng())
    assert np.array_equal(uniform.reconstruction, counted.reconstruction)
    assert counted.value.mean() > uniform.value.mean() + 10  # nats; of 170
    assert counted.value.dtype == np.float32
    drawn = model.sample(3, rng=rng()).data
    assert drawn.shape == (3, 196) and 0 <= drawn.min() <= drawn.max() <= 1


def test_revived_codes_are_used_in_what_follows(digits):
    model = convolutional(digits)
    model.codebook.weight.data[5:] += 50  # of 32, 27 are dead
    train(model, digits, epochs=2)
    assert model.usage(digits).used <= 5
    train(model, digits, epochs=2, revive=True)
    train(model, digits, epochs=2)  # which can lose them again
    assert model.usage(digits).used > 16


def test_codes_are_all_that_a_reconstruction_needs(digits):
    model = mg.nn.frozen(convolutional(digits))
    codes = model.encode(digits[:9], batch_size=4)
    assert codes.shape == (9, 7, 7) and codes.dtype.kind == "i"
    np.testing.assert_allclose(model.decode(codes), model.reconstruct(digits[:9]), atol=1e-6)


def test_the_default_has_7x7_codes_of_128():
    model = conv_vqvae(rng=rng())
    assert model.encode(np.zeros((2, 784), np.float32)).shape == (2, 7, 7)
    assert model.codebook.vectors.shape == (128, 16)
    assert model.prior.log_prob(np.zeros((1, 7, 7), int))[0] == pytest.approx(-49 * math.log(128))


@pytest.mark.parametrize("decay", [None, 0.9])
def test_a_run_that_was_cut_ends_in_the_same_bits(tmp_path, decay):
    x, objective = some(60), vq_objective if decay is None else moving_objective
    objective = partial(objective, beta=0.5)

    class Cut(Exception):
        pass

    def run(cut=None, **options):
        model, steps = small(decay=decay), []

        def on_step(*_):
            steps.append(1)
            if len(steps) == cut:
                raise Cut
        train(model, x, epochs=3, objective=objective, revive=True, on_step=on_step, **options)
        return {**{k: p.data for k, p in mg.nn.named_parameters(model).items()},
                **mg.nn.named_buffers(model)}
    whole = run()
    with pytest.raises(Cut):
        run(cut=4, checkpoint=vae.Checkpoint(tmp_path, every=0))
    resumed = run(checkpoint=vae.Checkpoint(tmp_path, every=0), resume=True)
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


# -- what bad input gets --------------------------------------------------------------------------
@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: small().decode(np.full((1, 3), 5)), ValueError, "codes from 5 to 5.* 0 to 4"),
    (lambda: small().prior.log_prob(np.zeros((2, 4), int)), ValueError,
     r"codes of shape \(2, 4\) for a prior over \(3,\) positions"),
    (lambda: CountedCodes((3,), 5, smoothing=0), ValueError, "smoothing=0: a number above 0"),
    (lambda: VQVAE(None, Codebook(6, 3, rng=rng()), None, UniformCodes((3,), 5)), ValueError,
     "a prior over 5 codes for a codebook of 6"),
    (lambda: setattr(small(), "prior", UniformCodes((3,), 6)), ValueError,
     "a prior over 6 codes for a codebook of 5"),
    (lambda: setattr(small(), "prior", CountedCodes((2, 2), 5)), ValueError,
     r"a prior over \(2, 2\) positions for a model with \(3,\) positions a datum"),
    (lambda: small().start_codebook(some(1), rng=rng()), ValueError,
     "codebook of 5 codes is larger than the 3 encodings given"),
    (lambda: dense_vqvae(8, (7,), 0, 5, 2, rng=rng()), ValueError, r"positions=0\): at least one"),
    (lambda: conv_vqvae((8, 8), (), rng=rng()), ValueError, r"channels=\(\)\): at least one layer"),
    (lambda: VQVAE(None, Codebook(6, 3, rng=rng()), None).sample(2, rng=rng()), ValueError,
     r"without a prior over the codes: set model.prior, such as CountedCodes.of"),
    (lambda: vq_objective(small(), some(), rng=rng(), beta=-1), ValueError, "beta=-1"),
    (lambda: moving_objective(small(), some(), rng=rng()), TypeError,
     "with a Codebook: its vectors are moved by gradients, take vq_objective"),
    (lambda: conv_vqvae((30, 28), rng=rng()), ValueError,
     "30x28 images with 2 layers that halve them: height and width must be multiples of 4"),
])
def test_errors_say_what_would_fit(call, error, text):
    with pytest.raises(error, match=text):
        call()
