"""The autoencoder: linear it becomes PCA, deep it follows a curve, and it has no p(x)."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import norm

import minigrad as mg
import vae
from vae.likelihoods import ToGaussian, ToLearnedGaussian, batch_calibrated
from vae.likelihoods.calibrated import ToCalibratedGaussian
from vae.models.autoencoder import (
    Autoencoder,
    dense_autoencoder,
    linear_autoencoder,
    reconstruction_only,
    squared_error,
)
from vae.models.pca import fit_pca
from vae.networks import ToNormal

RNG = np.random.default_rng
GAUSSIAN = partial(ToGaussian, std=0.5)


def ellipsoid(n=400, d=8):
    """A Gaussian in three directions with stds 3, 2, 1.5, and of 0.5 in the others."""
    rng = RNG(0)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    std = np.array([3, 2, 1.5] + [0.5] * (d - 3))
    return (rng.standard_normal((n, d)) * std @ axes.T + rng.standard_normal(d)).astype(np.float32)


def curve(n, seed):
    """Points near a curve in three dimensions."""
    rng = RNG(seed)
    t = rng.uniform(-1, 1, n)
    points = np.stack([t, t**2, np.sin(3 * t)], axis=1) + 0.02 * rng.standard_normal((n, 3))
    return points.astype(np.float32)


def train(model, x, *, epochs, lr, batch_size=50, objective=reconstruction_only, **options):
    steps = epochs * len(x) // batch_size
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(lr, steps))
    return vae.fit(model, x, epochs=epochs, batch_size=batch_size, objective=objective,
                   optimizer=optimizer, rng=RNG(1), **options)


def small(likelihood=GAUSSIAN, seed=0, n_x=8, **options):
    return dense_autoencoder(n_x, (5,), 2, rng=RNG(seed), likelihood=likelihood, **options)


@pytest.fixture(scope="module")
def x():
    return ellipsoid()


# -- linear, and PCA -----------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_autoencoder_becomes_pca(x, seed):
    model, best = linear_autoencoder(8, 3, rng=RNG(seed), start=x.mean(axis=0)), fit_pca(x, 3)
    train(model, x, epochs=100, lr=0.05)
    ratio = squared_error(model, x).mean() / squared_error(best, x).mean()
    assert 1 - 1e-6 < ratio < 1.01  # none is better than PCA
    into, back = model.encoder.layers[-1].weight.data, model.decoder.layers[-1].linear.weight.data
    for plane in (into, back.T):  # what the encoder sees, what the decoder spans
        assert np.rad2deg(subspace_angles(plane, best.components.T)[0]) < 1
    np.testing.assert_allclose(into @ back, best.components.T @ best.components, atol=0.02)


def test_before_it_is_trained_it_is_not(x):
    model, best = linear_autoencoder(8, 3, rng=RNG(0), start=x.mean(axis=0)), fit_pca(x, 3)
    assert squared_error(model, x).mean() > 3 * squared_error(best, x).mean()


def test_its_basis_is_any_of_the_plane(x):
    """The code of a linear autoencoder is no list of principal components."""
    found = []
    for seed in (0, 1):
        model = linear_autoencoder(8, 3, rng=RNG(seed), start=x.mean(axis=0))
        train(model, x, epochs=20, lr=0.05)
        found.append(np.corrcoef(model.encode(x).data.T) - np.eye(3))
    assert max(np.abs(c).max() for c in found) > 0.1 and not np.allclose(*found, atol=0.1)


# -- deep, and PCA -------------------------------------------------------------------------------
def test_on_a_curve_a_deep_autoencoder_has_a_lower_error_than_pca_with_the_same_code():
    data, test = curve(500, 0), curve(500, 1)
    model = dense_autoencoder(3, (32,), 1, rng=RNG(0), likelihood=partial(ToGaussian, std=0.1))
    train(model, data, epochs=200, lr=0.02)
    deep, linear = squared_error(model, test).mean(), squared_error(fit_pca(data, 1), test).mean()
    assert deep < 0.1 * linear
    assert deep > 2 * 0.02**2 * 0.8  # the noise in the two directions across the curve remains


# -- the objective -------------------------------------------------------------------------------
def test_the_objective_is_the_log_likelihood_of_the_reconstruction(x):
    model = small()
    found = reconstruction_only(model, x[:9], rng=RNG(0))
    mean = mg.nn.frozen(model).reconstruct(x[:9])
    expected = norm(mean, 0.5).logpdf(x[:9]).sum(axis=1)
    for part in (found.objective, found.value, found.reconstruction):
        np.testing.assert_allclose(part.data, expected, rtol=1e-5)
        assert part.dtype == np.float32
    assert found.kl.shape == (9,) and not found.kl.any() and found.kl_weight == 0


@pytest.mark.parametrize("std", [0.1, 1.0, 3.0])
def test_a_gaussian_log_likelihood_is_the_squared_error_by_a_named_sigma(x, std):
    model = small(partial(ToGaussian, std=std))
    found = reconstruction_only(mg.nn.frozen(model), x, rng=RNG(0)).objective
    constant = 8 * (np.log(std) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(-found, squared_error(model, x) / (2 * std**2) + constant,
                               rtol=1e-5)


def test_it_draws_nothing(x):
    rng = RNG(0)
    before = rng.bit_generator.state
    reconstruction_only(small(), x, rng=rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("likelihood", [GAUSSIAN, ToLearnedGaussian,
                                        vae.likelihoods.ToBernoulli])
def test_gradients_are_right(likelihood):
    model, data = small(likelihood, n_x=4), RNG(0).integers(0, 2, (3, 4)).astype(float)
    start = [p.data.astype(np.float64) for p in mg.nn.parameters(model)]

    def objective(*parameters):
        found = mg.nn.with_parameters(model, parameters)
        return reconstruction_only(found, data, rng=RNG(0)).objective
    mg.check_grads(objective, tuple(start))


def test_any_likelihood_trains_in_the_same_loop():
    data = (RNG(0).random((200, 8)) < 0.3 + 0.4 * (np.arange(200) % 2)[:, None]).astype(np.float32)
    for likelihood in (vae.likelihoods.ToBernoulli, ToLearnedGaussian):
        model = small(likelihood, start=data.mean(axis=0))
        rows = train(model, data, epochs=30, lr=0.02).rows
        assert rows[-1]["train_bound"] > rows[0]["train_bound"] + 0.5
        assert {row["train_kl"] for row in rows} == {row["kl_weight"] for row in rows} == {0}
    calibrated = small(ToCalibratedGaussian)
    rows = train(calibrated, data, epochs=3, lr=0.02,
                 objective=batch_calibrated(reconstruction_only)).rows
    assert rows[-1]["train_bound"] > rows[0]["train_bound"]


def test_training_goes_on_from_a_checkpoint_to_the_same_bits(x, tmp_path):
    whole, halves = small(), small()
    train(whole, x, epochs=4, lr=0.01)
    steps = 4 * len(x) // 50
    for epochs in (2, 4):
        vae.fit(halves, x, epochs=epochs, batch_size=50, objective=reconstruction_only, rng=RNG(1),
                optimizer=mg.optim.Adam(mg.nn.parameters(halves), lr=mg.optim.cosine(0.01, steps)),
                checkpoint=tmp_path, resume=epochs == 4)
        if epochs == 2:
            halves = small()
    assert all(np.array_equal(a.data, b.data) for a, b in
               zip(mg.nn.parameters(whole), mg.nn.parameters(halves), strict=True))


# -- code and reconstruction -----------------------------------------------------------------------
def test_encode_and_decode_have_the_shapes_of_codes_and_data_in_float32(x):
    model = mg.nn.frozen(small())
    z = model.encode(x)
    assert z.shape == (400, 2) and model.decode(z).shape == x.shape
    assert z.dtype == model.decode(z).dtype == model.reconstruct(x).dtype == np.float32
    np.testing.assert_array_equal(model.reconstruct(x), model.likelihood(z).mean)
    assert np.array_equal(model.encode(x), z)  # one code for each x
    assert model.decode(np.zeros((4, 7, 2), np.float32)).shape == (4, 7, 8)


def test_squared_error_is_summed_over_a_datum_in_batches_of_any_size_for_every_model(x):
    latent = vae.dense_vae(8, (5,), 2, rng=RNG(0), likelihood=partial(ToGaussian, std=1))
    for model in (small(), fit_pca(x, 2), latent):
        back = mg.nn.frozen(model).reconstruct(x)
        expected = [sum((float(a) - float(b))**2 for a, b in zip(*rows)) for rows in zip(x, back)]
        for size in (7, 400, 1000):
            found = squared_error(model, x, batch_size=size)
            np.testing.assert_allclose(found, expected, rtol=1e-4)
            assert found.dtype == np.float64


def test_the_decoder_has_the_hidden_layers_of_the_encoder_in_reverse():
    model = dense_autoencoder(8, (6, 4), 2, rng=RNG(0), likelihood=GAUSSIAN)
    shapes = [p.shape for p in mg.nn.parameters(model) if p.ndim == 2]
    assert shapes == [(8, 6), (6, 4), (4, 2), (2, 4), (4, 6), (6, 8)]


def test_start_is_what_an_empty_code_gives(x):
    mean = x.mean(axis=0)
    np.testing.assert_allclose(linear_autoencoder(8, 3, rng=RNG(0), start=mean).decode(
        np.zeros((1, 3), np.float32)).data[0], mean, rtol=1e-6)


def test_a_model_can_be_copied_and_pickled(x):
    model = small()
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(squared_error(twin, x), squared_error(model, x))


# -- what can't be -----------------------------------------------------------------------------
def test_it_says_that_it_is_no_vae(x):
    model = small()
    for use in (lambda: train(model, x, epochs=1, lr=0.01, objective=vae.elbo),
                lambda: vae.evaluate(model, x), lambda: model.sample(3, rng=RNG(0)),
                lambda: model.prior):
        with pytest.raises(AttributeError, match=r"an Autoencoder has no (?:posterior|prior|sample)"
                                                 ": .*objective=reconstruction_only"):
            use()
    assert not hasattr(model, "posterior")
    with pytest.raises(AttributeError, match="'Autoencoder' object has no attribute 'codes'"):
        model.codes  # noqa: B018


def test_a_code_as_large_as_the_data_is_refused():
    for n_z in (0, 8, 9):
        for make in (lambda n_z: linear_autoencoder(8, n_z, rng=RNG(0)),
                     lambda n_z: dense_autoencoder(8, (5,), n_z, rng=RNG(0))):
            with pytest.raises(ValueError, match=f"n_z={n_z} for n_x=8 numbers: .* from 1 to 7"):
                make(n_z)


def test_networks_that_do_not_fit_are_named(x):
    parts = small()
    with pytest.raises(TypeError, match=r"encoder .* gave a Normal: a code is an array.*vae.VAE"):
        Autoencoder(ToNormal(8, 2, rng=RNG(0)), parts.decoder).encode(x)
    with pytest.raises(TypeError, match=r"decoder .* gave a Tensor: .* head, .*ToGauss"):
        Autoencoder(parts.encoder, mg.nn.Dense(2, 8, rng=RNG(0))).reconstruct(x)
    narrow = Autoencoder(parts.encoder, ToGaussian(2, 1, std=1, rng=RNG(0)))
    with pytest.raises(ValueError, match=r"gives back \(400, 1\) for data of shape \(400, 8\)"):
        reconstruction_only(narrow, x, rng=RNG(0))
    with pytest.raises(ValueError, match="ToGaussian: std must be positive"):
        linear_autoencoder(8, 2, rng=RNG(0), std=0)


def test_squared_error_refuses_what_is_no_data(x):
    with pytest.raises(ValueError, match="no data"):
        squared_error(small(), x[:0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        squared_error(small(), np.full((2, 8), np.nan))
    narrow = Autoencoder(small().encoder, ToGaussian(2, 1, std=1, rng=RNG(0)))
    with pytest.raises(ValueError, match=r"gives back \(400, 1\)"):
        squared_error(narrow, x)
