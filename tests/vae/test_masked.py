"""Masked convolutions over codes: what sees what, a density over all codes, training, samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import vae
from vae.models.masked import MaskedCodes, code_likelihood
from vae.models.vq import CountedCodes, UniformCodes, conv_vqvae, dense_vqvae, vq_objective

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.one_of(st.tuples(st.integers(1, 6)), st.tuples(st.integers(1, 5), st.integers(1, 5)))


def random_prior(shape, n_codes, seed=0, dtype=np.float64, constant=True, **options):
    """With no weight at 0, as the last ones are at the start, and all of them constant."""
    rng = np.random.default_rng(seed)
    prior = MaskedCodes(shape, n_codes, rng=rng, dtype=dtype, **{"channels": 5, **options})
    for p in mg.nn.parameters(prior):
        p.data[...] = 0.5 * rng.normal(size=p.shape)
    return mg.nn.frozen(prior) if constant else prior


def rng():
    return np.random.default_rng(3)


def every(shape, n_codes):
    """All codes of a datum, (n_codes^positions, *shape)."""
    places = math.prod(shape)
    return np.stack(np.meshgrid(*[np.arange(n_codes)] * places, indexing="ij"), -1).reshape(
        -1, *shape)


# -- what sees what -------------------------------------------------------------------------------
@given(SEEDS, SHAPES, st.sampled_from([3, 5]))
def test_logits_depend_on_all_codes_before_and_on_no_other(seed, shape, kernel):
    prior = random_prior(shape, 4, seed, kernel=kernel, channels=16)
    codes = np.random.default_rng(seed).integers(0, 4, (1, *shape))
    places = math.prod(shape)
    other = np.repeat(codes, places, axis=0)  # the i-th with another code in the i-th place
    rows = other.reshape(places, places)
    rows[np.diag_indices(places)] = (np.diag(rows) + 1) % 4
    away = prior.logits(other) != prior.logits(codes)
    changed = away.reshape(places, places, 4).any(-1)  # [of which code, which logits]
    assert np.array_equal(changed, np.triu(np.ones((places, places), bool), 1))


def test_the_first_place_has_its_bias_alone_but_for_constants():
    prior = random_prior((3, 3), 4)
    logits = prior.logits(rng().integers(0, 4, (20, 3, 3)))
    assert np.ptp(logits[:, 0, 0], axis=0).max() == 0


# -- a density ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize("shape", [(2, 2), (4,)])
def test_the_probabilities_of_all_codes_sum_to_one(shape, dtype, tolerance):
    log_p = random_prior(shape, 3, dtype=dtype).log_prob(every(shape, 3))
    assert log_p.shape == (81,) and log_p.dtype == dtype
    assert np.exp(np.float64(log_p)).sum() == pytest.approx(1, abs=tolerance)


def test_it_begins_as_the_uniform_prior_or_as_counts():
    codes = rng().integers(0, 4, (30, 2, 3)) ** 2 % 4
    uniform = MaskedCodes((2, 3), 4, rng=rng(), dtype=np.float64)
    np.testing.assert_allclose(uniform.log_prob(codes).data,
                               UniformCodes((2, 3), 4).log_prob(codes), rtol=1e-12)
    counted = MaskedCodes.of(codes, 4, rng=rng(), dtype=np.float64, smoothing=0.5)
    np.testing.assert_allclose(counted.log_prob(codes).data,
                               CountedCodes.of(codes, 4, smoothing=0.5).log_prob(codes), rtol=1e-12)


def test_gradients_are_those_of_differences():
    prior, codes = random_prior((2, 2), 3, channels=2, constant=False), every((2, 2), 3)[::7]
    values = mg.nn.parameters(prior)
    prior.log_prob(codes).sum().backward()
    r = rng()
    for _ in range(10):
        direction = [r.normal(size=p.shape) for p in values]
        sides = [mg.nn.with_parameters(prior, [p.data + h * d for p, d in zip(values, direction)]
                                       ).log_prob(codes).sum() for h in (1e-6, -1e-6)]
        slope = sum(np.sum(p.grad * d) for p, d in zip(values, direction))
        assert slope == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-7)


def test_samples_have_the_probabilities_of_the_prior():
    prior, n = random_prior((2, 2), 3), 20_000
    drawn = prior.sample(n, rng=rng())
    assert drawn.shape == (n, 2, 2) and drawn.dtype == np.int64
    found = np.bincount(drawn.reshape(n, 4) @ [27, 9, 3, 1], minlength=81) / n
    p = np.exp(prior.log_prob(every((2, 2), 3)))
    assert np.abs(found - p).max() < 5 * math.sqrt(p.max() / n)
    assert np.abs(np.square(found - p) / p).sum() * n < 80 + 5 * math.sqrt(160)  # χ² of 80


# -- trained --------------------------------------------------------------------------------------
def structured(n, seed):
    """Codes 0 to 2 on 3x3 places: each is the sum of those above and to the left, in nine of ten
    cases; each by itself is uniform."""
    r = np.random.default_rng(seed)
    codes = r.integers(0, 3, (n, 3, 3))
    for i, j in np.ndindex(2, 2):
        sums = (codes[:, i, j + 1] + codes[:, i + 1, j]) % 3
        codes[:, i + 1, j + 1] = np.where(r.random(n) < 0.9, sums, codes[:, i + 1, j + 1])
    return codes


def test_trained_it_finds_what_counts_cannot():
    codes, test = structured(1_000, 0), structured(500, 1)
    prior = MaskedCodes.of(codes, 3, rng=rng(), channels=16)
    history = vae.fit(prior, codes.astype(np.float32), epochs=6, batch_size=50, rng=rng(),
                      objective=code_likelihood,
                      optimizer=mg.optim.Adam(mg.nn.parameters(prior), lr=1e-2))
    counted = CountedCodes.of(codes, 3).log_prob(test).mean()
    found = mg.nn.frozen(prior).log_prob(test).mean()
    p = 0.9 + 0.1 / 3
    truth = -5 * math.log(3) + 4 * (p * math.log(p) + (1 - p) * math.log((1 - p) / 2))
    assert counted < -8.9 * math.log(3)
    assert truth - 0.5 < found < truth + 0.5 and history.rows[-1]["train_kl"] == 0
    drawn = prior.sample(200, rng=rng())
    follows = drawn[:, 1:, 1:] == (drawn[:, :-1, 1:] + drawn[:, 1:, :-1]) % 3
    assert follows.mean() > 0.85


def test_it_is_the_prior_of_a_vqvae_and_learns_with_it():
    model = dense_vqvae(8, (7,), 3, 5, 2, rng=rng())
    model.prior = MaskedCodes((3,), 5, rng=rng(), channels=4)
    x = (rng().random((11, 8)) < 0.4).astype(np.float32)
    found = vq_objective(model, x, rng=rng())
    np.testing.assert_allclose(found.kl.data, -model.prior.log_prob(model.encode(x)).data)
    found.objective.mean().backward()
    assert np.any(model.prior.bias.grad) and np.any(model.decoder.layers[-1].linear.weight.grad)
    assert model.sample(2, rng=rng()).shape == (2, 8)


def test_it_is_saved_and_loaded_with_the_model(tmp_path):
    models = [conv_vqvae((8, 8), (4,), 6, 2, rng=np.random.default_rng(k)) for k in range(2)]
    for k, model in enumerate(models):
        model.prior = MaskedCodes((4, 4), 6, rng=np.random.default_rng(k), channels=3)
        model.prior.weight.data[...] = k + 1
    mg.nn.save(tmp_path / "model.npz", models[0])
    mg.nn.load(tmp_path / "model.npz", models[1])
    codes = rng().integers(0, 6, (5, 4, 4))
    one, two = (mg.nn.frozen(model).prior.log_prob(codes) for model in models)
    assert np.array_equal(one, two)


# -- what bad input gets --------------------------------------------------------------------------
@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: MaskedCodes((2, 3, 4), 5, rng=rng()), ValueError,
     r"MaskedCodes over \(2, 3, 4\) positions: \(length,\) or \(height, width\)"),
    (lambda: MaskedCodes((0,), 5, rng=rng()), ValueError, "of at least one code"),
    (lambda: MaskedCodes((2, 2), 5, rng=rng(), kernel=4), ValueError, "kernel=4.*an odd size"),
    (lambda: MaskedCodes((2, 2), 5, rng=rng(), kernel=1), ValueError, "kernel=1.*3 or more"),
    (lambda: MaskedCodes((2, 2), 5, rng=rng()).log_prob(np.zeros((3, 4), int)), ValueError,
     r"codes of shape \(3, 4\) for a prior over \(2, 2\) positions"),
    (lambda: MaskedCodes((2,), 5, rng=rng()).log_prob(np.array([[0, 5]])), ValueError,
     "codes from 0 to 5: .* 0 to 4"),
])
def test_errors_say_what_would_fit(call, error, text):
    with pytest.raises(error, match=text):
        call()
