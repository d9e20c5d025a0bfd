"""predict_interval: mean ± kσ, and how much of the data lies inside."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.special import expit

import minigrad as mg
import vae
from vae.likelihoods import FOR_IMAGES, ToCalibratedGaussian, ToLearnedGaussian, batch_calibrated
from vae.likelihoods import calibrate as calibrate_std

NOMINAL = {1: 68.3, 2: 95.4, 3: 99.7}  # percent of a Gaussian
D = 64
LINE = np.random.default_rng(7).standard_normal((1, D)).astype(np.float32)
SAME, VARYING = np.full(D, 0.5, np.float32), np.linspace(0.2, 1, D, dtype=np.float32)


def covered(interval, x):
    low, high = interval
    return 100 * np.mean((low <= x) & (x <= high))


def drawn(n, std, rng):
    """z on a line through R^64, and two independent measurements x of each."""
    z = rng.standard_normal((n, 1), np.float32)
    return z, *(z @ LINE + std * rng.standard_normal((n, D), np.float32) for _ in range(2))


@pytest.mark.parametrize("k", NOMINAL)
def test_of_a_known_decoder_it_covers_what_a_gaussian_does(k):
    model = vae.exact.LinearGaussian(LINE.T, np.zeros(D), VARYING)
    z, x, _ = drawn(4000, VARYING, np.random.default_rng(0))
    known = vae.VAE(model.exact_posterior, model.likelihood, model.prior)
    assert covered(known.predict_interval(z=z, k=k), x) == pytest.approx(NOMINAL[k], abs=0.3)
    # and with z inferred from this x, in one of 64 directions
    assert covered(known.predict_interval(x, k), x) == pytest.approx(NOMINAL[k], abs=1.5)


@pytest.fixture(scope="module", params=["model", "pixel", "datum", "optimal"])
def trained(request):
    """A small VAE with a learned σ, the true σ of its data, and two measurements of other data."""
    std = SAME if request.param in ("model", "optimal") else VARYING
    rng, optimal = np.random.default_rng(1), request.param == "optimal"
    x = drawn(4000, std, rng)[1]
    head = ToCalibratedGaussian if optimal else partial(
        ToLearnedGaussian, one_per=request.param, std=0.5)
    model = vae.dense_vae(D, (16,), 1, rng=rng, start=x.mean(axis=0), likelihood=head)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=lambda k: 1e-2 * (1 - k / 641))
    vae.fit(model, x, epochs=8, batch_size=50, rng=rng, optimizer=optimizer,
            objective=batch_calibrated(vae.elbo) if optimal else vae.elbo)
    if optimal:
        calibrate_std(model, x)
    return mg.nn.frozen(model), std, *drawn(2000, std, rng)[1:]


@pytest.mark.parametrize("k", NOMINAL)
def test_of_a_trained_model_it_covers_test_data_and_a_second_measurement(trained, k):
    model, _, x, again = trained
    interval = model.predict_interval(x, k)
    assert covered(interval, x) == pytest.approx(NOMINAL[k], abs=1.5)
    assert covered(interval, again) == pytest.approx(NOMINAL[k], abs=1.5)


def test_the_learned_sigma_is_the_true_one(trained):
    model, std, x, _ = trained
    low, high = model.predict_interval(x, 1)
    found = np.broadcast_to((high - low) / 2, x.shape).mean(axis=0)
    np.testing.assert_allclose(found, std, rtol=0.3)
    assert np.mean(np.abs(found / std - 1)) < 0.1


# -- what it is ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted({*FOR_IMAGES} - {"gaussian-optimal"}))
def test_it_is_the_mean_and_k_standard_deviations_of_every_likelihood(name):
    model = mg.nn.frozen(vae.dense_vae(9, (4,), 2, rng=np.random.default_rng(0),
                                       likelihood=FOR_IMAGES[name]))
    x = (np.rint(255 * np.random.default_rng(0).random((5, 9))) / 255).astype(np.float32)
    z = model.posterior(x).mean
    p = model.likelihood(z)
    for k in (0.5, 1, 3):
        low, high = model.predict_interval(x, k)
        np.testing.assert_array_equal((low, high), model.predict_interval(z=z, k=k))
        np.testing.assert_allclose((low + high) / 2, p.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(high - low, np.broadcast_to(2 * k * np.sqrt(p.variance),
                                                               x.shape), rtol=1e-4)
    draws = p.sample((500,), rng=np.random.default_rng(1))
    assert covered(model.predict_interval(x, 3), draws) >= 100 * (1 - 1 / 9)  # Chebyshev


def test_three_by_default_and_a_bernoulli_by_hand():
    model = vae.VAE(None, vae.Bernoulli, None)
    low, high = model.predict_interval(z=np.array([[0.0, 2.0]]))
    p = expit([[0.0, 2.0]])
    np.testing.assert_allclose((low, high), p + np.array([[[-3]], [[3]]]) * np.sqrt(p * (1 - p)))


def test_wrong_arguments_are_named():
    model = vae.VAE(None, vae.Bernoulli, None)
    z = np.zeros((1, 2))
    for both in ({}, {"x": z, "z": z}):
        with pytest.raises(TypeError, match="give one of the two"):
            model.predict_interval(**both)
    for k in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"k={k}.* above 0"):
            model.predict_interval(z=z, k=k)
