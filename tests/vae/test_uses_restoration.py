"""Images restored from y = Ax + noise: exact for a linear Gaussian model, and better than simple
ways for a trained one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import vae
from vae import uses

SIZE = (4, 6)
PIXELS = 24
EVERYTHING = {"limits": None, "steps": 250, "draws": 5}


def linear_model(rng, std=0.4, k=3, d=PIXELS):
    return vae.exact.LinearGaussian(rng.normal(size=(d, k)), rng.normal(size=d), std)


def conditional(model, rows, noise, y):
    """E[x|y] and Cov[x|y] of x ~ N(b, WWᵀ + σ²I), y = rows·x + N(0, noise²), by d x d matrices."""
    cov = model.weight @ model.weight.T + np.square(model.std) * np.eye(len(model.weight))
    gain = cov @ rows.T @ np.linalg.inv(rows @ cov @ rows.T + noise**2 * np.eye(len(rows)))
    return model.bias + (y - rows @ model.bias) @ gain.T, cov - gain @ rows @ cov


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def model(rng):
    return linear_model(rng)


@pytest.fixture
def x(model, rng):
    return model.likelihood(rng.normal(size=(5, 3))).sample(rng=rng)


@pytest.fixture
def missing(rng):
    return rng.random((5, PIXELS)) < 0.5


# -- against the exact conditional mean -----------------------------------------------------------
def test_denoising_gives_the_conditional_mean_of_a_linear_gaussian_model(model, x, rng):
    y = x + 0.7 * rng.normal(size=x.shape)
    found = uses.denoise(model, y, noise=0.7, rng=rng, **EVERYTHING)
    np.testing.assert_allclose(found, conditional(model, np.eye(PIXELS), 0.7, y)[0], atol=1e-3)


def test_inpainting_gives_the_conditional_mean_of_a_linear_gaussian_model(model, x, missing, rng):
    damaged = np.where(missing, np.nan, x)
    found = uses.inpaint(model, damaged, missing, rng=rng, **EVERYTHING)
    for i, seen in enumerate(~missing):
        expected, _ = conditional(model, np.eye(PIXELS)[seen], 0, x[i, seen])
        np.testing.assert_allclose(found[i], expected, atol=1e-3)
    np.testing.assert_array_equal(found[~missing], x[~missing])


@pytest.mark.parametrize("noise", [0, 0.3])
def test_enlarging_gives_the_conditional_mean_of_a_linear_gaussian_model(model, x, noise, rng):
    rows = uses.shrink(np.eye(PIXELS), 2, SIZE).T
    small = x @ rows.T + noise * rng.normal(size=(5, 6))
    found = uses.enlarge(model, small, 2, SIZE, rng=rng, noise=noise, **EVERYTHING)
    np.testing.assert_allclose(found, conditional(model, rows, noise, small)[0], atol=1e-3)
    if not noise:
        np.testing.assert_allclose(uses.shrink(found, 2, SIZE), small, atol=1e-12)


def test_enlarging_without_noise_by_a_decoder_that_is_certain(rng):
    """Pixels that are surely black have no variance, which the noise would be added to."""
    class Black:
        def __call__(self, z):
            return vae.Bernoulli(np.concatenate([0 * z - 200, z, z, z], axis=-1))
    encoder = vae.networks.dense([16, 3, 4], vae.networks.ToNormal, rng=rng)
    model = vae.VAE(encoder, Black(), vae.Normal.standard(4))
    found = uses.enlarge(model, np.zeros((2, 4), np.float32), 2, (4, 4), rng=rng, noise=0, steps=3)
    assert np.isfinite(found).all() and (found[:, :2] < 1e-6).all()


def test_the_variances_of_q_are_those_of_the_best_factorised_normal(model, x, rng):
    """The reciprocals of the precision's diagonal: Bishop (2006), section 10.1.2."""
    exact = model.exact_posterior(x)
    start = vae.Normal(exact.mean + 0.1, 2 * np.sqrt(exact.variance))
    q = uses.infer(model, lambda z: model.likelihood(z).log_prob(x), start, rng=rng, pairs=10)
    np.testing.assert_allclose(q.mean, exact.mean, atol=1e-3)
    precision = np.linalg.inv(exact.covariance)
    variance = 1 / np.diagonal(precision, axis1=-2, axis2=-1)
    # p(z|x) has the same covariance for every x, so that the mean over x has less noise.
    np.testing.assert_allclose(q.variance.mean(axis=0) / variance, 1, atol=0.1)


def test_gibbs_has_the_conditional_mean_and_variance_for_its_limit(rng):
    model = linear_model(rng, std=1.0, k=2, d=4)
    missing = np.array([True, False, True, False])
    x = np.repeat(model.likelihood(rng.normal(size=(1, 2))).sample(rng=rng), 500, axis=0)
    x[:, missing] = 5.0  # far from where the chains shall be
    chain = uses.pseudo_gibbs(model, x, missing, rng=rng, limits=None)
    draws, means = map(np.array, zip(*itertools.islice(chain, 50, 100)))
    expected, cov = conditional(model, np.eye(4)[~missing], 0, x[0, ~missing])
    for found in (draws, means):  # the 500 chains are independent, the steps of one are not
        of_chains = found[..., missing].mean(axis=0)
        error = of_chains.std(axis=0, ddof=1) / np.sqrt(500)
        assert np.all(np.abs(of_chains.mean(axis=0) - expected[missing]) < 4 * error)
    squares = np.square(draws[..., missing] - expected[missing]).mean(axis=0)
    error = squares.std(axis=0, ddof=1) / np.sqrt(500)
    assert np.all(np.abs(squares.mean(axis=0) - np.diagonal(cov)[missing]) < 4 * error)
    assert np.all(draws[..., ~missing] == x[:, ~missing])


@pytest.mark.parametrize("limits", [None, (-0.1, 0.2)])
def test_inpainting_by_gibbs_averages_the_means_of_the_steps_after_the_first(model, limits):
    x, missing = np.zeros((4, PIXELS)), np.arange(PIXELS) % 3 == 0
    chain = uses.pseudo_gibbs(model, x, missing, rng=np.random.default_rng(5), limits=limits)
    (_, one), (_, two) = itertools.islice(chain, 3, 5)
    mean = (one + two) / 2 if limits is None else np.clip((one + two) / 2, *limits)
    found = uses.inpaint_by_gibbs(model, x, missing, rng=np.random.default_rng(5), limits=limits,
                                  steps=2, burn_in=3)
    np.testing.assert_array_equal(found, np.where(missing, mean, x))
    assert limits is None or (found == limits[1]).any()


def test_pixels_that_depend_on_each_other_are_refused_by_every_inpainting(rng):
    class Together:
        def __call__(self, z):
            return vae.MultivariateNormal(z @ np.ones((2, 4)), np.eye(4))
    encoder = vae.networks.dense([4, 3, 2], vae.networks.ToNormal, rng=rng)
    model = vae.VAE(encoder, Together(), vae.Normal.standard(2))
    x, missing = np.zeros((3, 4), np.float32), np.arange(4) < 2
    for fill in (uses.inpaint, uses.pseudo_gibbs, uses.inpaint_by_gibbs):
        with pytest.raises(TypeError, match="a product over the pixels"):
            fill(model, x, missing, rng=rng)


# -- the parts ------------------------------------------------------------------------------------
def test_what_is_seen_has_the_log_probability_of_its_pixels_alone(rng, missing):
    z, x = rng.normal(size=(2, 5, 3)), (rng.random((5, PIXELS)) < 0.5).astype(float)
    seen = uses.Seen(x, missing)
    for make in (vae.Bernoulli, lambda raw: vae.Normal(raw, 0.5), vae.ContinuousBernoulli):
        p = make(z @ rng.normal(size=(3, PIXELS)))
        found = seen.log_prob(p)
        assert found.shape == (2, 5)
        raw = p.mean if isinstance(p, vae.Normal) else p.logits
        for i in range(5):
            alone = make(raw[:, i, ~missing[i]]).log_prob(x[i, ~missing[i]])
            np.testing.assert_allclose(found[:, i], alone)


@given(factor=st.sampled_from([1, 2, 3]), rows=st.integers(1, 3), columns=st.integers(1, 3),
       seed=st.integers(0, 99))
def test_blocks_are_averaged_and_repeated_as_by_loops(factor, rows, columns, seed):
    size = (factor * rows, factor * columns)
    x = np.random.default_rng(seed).random((2, size[0] * size[1]))
    small = uses.shrink(x, factor, size)
    large = uses.repeat(small, factor, size).reshape(2, *size)
    for n, i, j in itertools.product(range(2), range(rows), range(columns)):
        block = (n, slice(i * factor, (i + 1) * factor), slice(j * factor, (j + 1) * factor))
        assert small[n, i * columns + j] == pytest.approx(x.reshape(2, *size)[block].mean())
        assert np.all(large[block] == small[n, i * columns + j])
    mg.check_grads(lambda x: uses.shrink(x, factor, size), (x,), order=2)


def test_psnr_is_what_its_formula_says():
    truth = np.zeros((3, 2, 2))
    found = truth + np.array([0.1, 1.0, 0.0])[:, None, None]
    np.testing.assert_allclose(uses.psnr(found, truth), [20, 0, np.inf])
    np.testing.assert_allclose(uses.psnr(255 * found, truth, peak=255), [20, 0, np.inf])
    found[:, 0] = 7
    np.testing.assert_allclose(uses.psnr(found, truth, where=[[False] * 2, [True] * 2]),
                               [20, 0, np.inf])


# -- a trained model ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(digits):
    """A dense VAE of 14 x 14 drawn digits, the training data and 20 test images."""
    train, test = (uses.shrink(x.reshape(len(x), -1), 2, (28, 28))
                   for x in (digits.train, digits.test[:20]))
    rng = np.random.default_rng(0)
    model = vae.dense_vae(196, (64,), 8, rng=rng, start=train.mean(axis=0), activation=mg.relu,
                          likelihood=vae.likelihoods.FOR_IMAGES["gaussian-pixel"])
    vae.fit(model, train, epochs=30, batch_size=50, rng=rng,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=3e-3))
    return model, train, test


def gain(found, simple, truth, where=None):
    """Mean dB more than the simple way."""
    return np.mean(uses.psnr(found, truth, where=where) - uses.psnr(simple, truth, where=where))


def test_denoising_gains_more_than_two_decibels_on_the_clipped_noise(trained, rng):
    model, _, test = trained
    y = test + np.float32(0.5) * rng.standard_normal(test.shape, np.float32)
    found = uses.denoise(model, y, noise=0.5, rng=rng, steps=100)
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    assert gain(found, np.clip(y, 0, 1), test) > 2


MASKS = {"lower half": np.arange(196) >= 98,
         "random half": np.random.default_rng(0).random(196) < 0.5,
         "square": np.pad(np.ones((6, 6), bool), 4).ravel()}


@pytest.mark.parametrize("name", MASKS)
def test_inpainting_beats_the_mean_of_the_training_data(trained, name, rng):
    model, train, test = trained
    missing = MASKS[name]
    found = uses.inpaint(model, np.where(missing, np.float32(np.nan), test), missing, rng=rng,
                         steps=200)
    assert found.dtype == np.float32 and np.all(found[:, ~missing] == test[:, ~missing])
    assert gain(found, np.where(missing, train.mean(axis=0), test), test, missing) > 0.5


def test_enlarging_beats_the_nearest_neighbour(trained, rng):
    model, _, test = trained
    small = uses.shrink(test, 2, (14, 14))
    found = uses.enlarge(model, small, 2, (14, 14), rng=rng, steps=200)
    assert found.dtype == np.float32
    assert gain(found, uses.repeat(small, 2, (14, 14)), test) > 1


def test_restoring_leaves_the_model_and_the_data_alone(trained, rng):
    model, _, test = trained
    before = [p.data.copy() for p in mg.nn.parameters(model)]
    kept, missing = test.copy(), MASKS["square"]
    one, two = (uses.inpaint(model, test, missing, rng=np.random.default_rng(5), steps=3)
                for _ in range(2))
    uses.denoise(model, test, noise=0.2, rng=rng, steps=3)
    assert np.array_equal(one, two) and np.array_equal(test, kept)
    assert all(np.array_equal(p.data, b) and p.grad is None
               for p, b in zip(mg.nn.parameters(model), before, strict=True))


def test_without_noise_the_denoising_bound_is_the_bound(trained):
    model, _, test = trained
    with_none, plain = (f(model, test, rng=np.random.default_rng(1)).kl for f in (
        lambda *a, rng: uses.denoising_elbo(*a, rng=rng, noise=0.0), vae.elbo))
    np.testing.assert_array_equal(mg.stop_gradient(with_none), mg.stop_gradient(plain))


@pytest.mark.parametrize("samples", [1, 3])
def test_the_denoising_bound_loses_by_how_far_the_encoder_is_misled(model, x, rng, samples):
    """With p(z|y) for an encoder E KL(p(z|y)‖p(z|x)) = ½ noise² tr(Gᵀ S⁻¹ G), G = S Wᵀ/σ²."""
    many = np.repeat(x[None], 2_000, axis=0).reshape(-1, PIXELS)
    bounds = uses.denoising_elbo(model, many, rng=rng, noise=0.3, samples=samples).value
    bounds = bounds.reshape(2_000, 5)
    error = bounds.std(axis=0, ddof=1) / np.sqrt(len(bounds))
    precision = np.eye(3) + model.weight.T @ model.weight / model.std**2
    gain = np.linalg.solve(precision, model.weight.T) / model.std**2
    lost = 0.5 * 0.3**2 * np.trace(gain.T @ precision @ gain)
    assert np.all(np.abs(bounds.mean(axis=0) - (model.log_marginal(x) - lost)) < 4.5 * error)
    assert np.all(lost > 5 * error)


# -- bad input ------------------------------------------------------------------------------------
GREY = np.full((5, PIXELS), 200.0)
BAD = [
    (lambda m, x, r: uses.inpaint(m, x, np.zeros(7, bool), rng=r), ValueError,
     r"mask of shape \(7,\).*\(24,\)"),
    (lambda m, x, r: uses.inpaint(m, x, np.zeros(PIXELS), rng=r), TypeError, "astype"),
    (lambda m, x, r: uses.inpaint(m, x, np.arange(5)[:, None] < np.full(PIXELS, 2), rng=r),
     ValueError, r"nothing is seen of 2 of 5 images, the first is 0.*model.sample"),
    (lambda m, x, r: uses.pseudo_gibbs(m, x, np.ones(PIXELS, bool), rng=r), ValueError, "nothing"),
    (lambda m, x, r: uses.inpaint(m, GREY, np.eye(PIXELS, dtype=bool)[0], rng=r), ValueError,
     "pixels from 0 to 200.*divide grey values of 0 … 255 by 255"),
    (lambda m, x, r: uses.inpaint(m, x[:, :9], np.zeros(9, bool), rng=r, limits=None), ValueError,
     "images of 9 pixels, but the model's have 24"),
    (lambda m, x, r: uses.inpaint_by_gibbs(m, x, np.zeros(PIXELS, bool), rng=r, steps=0),
     ValueError, "at least one step"),
    (lambda m, x, r: uses.denoise(m, x, noise=0, rng=r), ValueError, "above 0"),
    (lambda m, x, r: uses.denoise(m, GREY, noise=0.5, rng=r), ValueError,
     "from 200 to 200, where limits=.* allow -4 to 5"),
    (lambda m, x, r: uses.denoise(m, x * np.nan, noise=0.5, rng=r), ValueError, "NaN"),
    (lambda m, x, r: uses.denoise(m, x.reshape(5, *SIZE), noise=0.5, rng=r), ValueError,
     r"\(n, pixels\)"),
    (lambda m, x, r: uses.denoise(m, x.astype(int), noise=0.5, rng=r), TypeError, "dtype int64"),
    (lambda m, x, r: uses.denoise(m, x, noise=1, rng=r, limits=None, draws=0), ValueError,
     "draws=0"),
    (lambda m, x, r: uses.denoise(m, x, noise=1, rng=r, limits=None, steps=0), ValueError,
     "steps=0"),
    (lambda m, x, r: uses.enlarge(m, x[:, :6], 4, SIZE, rng=r, limits=None), ValueError,
     "4 doesn't divide 4 x 6; 2 would"),
    (lambda m, x, r: uses.enlarge(m, x[:, :6], 2.0, SIZE, rng=r), TypeError, "whole number"),
    (lambda m, x, r: uses.enlarge(m, x[:, :5], 2, SIZE, rng=r, limits=None), ValueError,
     "small images of 5 pixels, but a 4 x 6 image has 2 x 3 blocks of 2 x 2"),
    (lambda m, x, r: uses.enlarge(m, GREY[:, :6], 2, SIZE, rng=r), ValueError, "by 255"),
    (lambda m, x, r: uses.enlarge(m, x[:, :6], 2, SIZE, rng=r, noise=-1), ValueError, "0 or more"),
    (lambda m, x, r: uses.psnr(x, x[:2]), ValueError, "two|shapes"),
    (lambda m, x, r: uses.psnr(x, x, where=np.zeros(PIXELS, bool)), ValueError, "image 0"),
    (lambda m, x, r: uses.psnr(x, x, peak=0), ValueError, "peak=0"),
    (lambda m, x, r: uses.infer(m, lambda z: z.sum(-1), vae.Normal(np.zeros(3), np.ones(3)),
                                rng=r), ValueError, r"\(n, n_z\)"),
]


@pytest.mark.parametrize("call, error, text", BAD)
def test_bad_input_is_told_what_would_fit(model, x, rng, call, error, text):
    with pytest.raises(error, match=text):
        call(model, x, rng)


def test_a_likelihood_that_is_no_product_over_pixels_is_named(x, missing):
    p = vae.MultivariateNormal(np.zeros((5, PIXELS)), np.eye(PIXELS))
    with pytest.raises(TypeError, match=r"product over the pixels.*MultivariateNormal"):
        uses.Seen(x, missing).log_prob(p)
