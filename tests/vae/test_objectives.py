"""Bounds against an exact log p(x), and their gradients against a second implementation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import multivariate_normal

import minigrad as mg
from tests.vae.replay import log_weights
from vae import VAE, Normal, dense_vae, elbo, estimators, fit, log_likelihood
from vae.estimators import iwae
from vae.networks import LearnedNormal

DRAWS = 40_000


class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(Wz + b, s²I), q(z|x) = N(Ax + c, diag(std²)): known exactly."""

    def __init__(self, weight, noise, rng):
        self.weight, self.noise = weight, noise
        self.n_x, self.n_z = weight.shape
        self.bias = rng.standard_normal(self.n_x)
        self.covariance = np.linalg.inv(np.eye(self.n_z) + weight.T @ weight / noise**2)
        self.gain = self.covariance @ weight.T / noise**2
        self.x = rng.standard_normal((3, self.n_z)) @ weight.T + self.bias \
            + noise * rng.standard_normal((3, self.n_x))

    def model(self, shift=0.0, stretch=1.0):
        """The model with q at the exact posterior's mean and spread, or beside them."""
        gain, bias, std = self.gain, self.bias, stretch * np.sqrt(np.diagonal(self.covariance))
        return VAE(lambda x: Normal((x - bias) @ gain.T + shift, std),
                   lambda z: Normal(z @ self.weight.T + bias, np.full(self.n_x, self.noise)),
                   Normal.standard(self.n_z))

    def log_p(self):
        covariance = self.weight @ self.weight.T + self.noise**2 * np.eye(self.n_x)
        return multivariate_normal(self.bias, covariance).logpdf(self.x)

    def kl_to_posterior(self, model):
        """KL(q‖p(z|x)), between normals of which the second has a full covariance."""
        q, precision = model.posterior(self.x), np.linalg.inv(self.covariance)
        d = (self.x - self.bias) @ self.gain.T - q.mean
        return 0.5 * (np.trace(precision @ np.diag(q.variance)) + np.sum(d @ precision * d, axis=-1)
                      - self.n_z + np.linalg.slogdet(self.covariance)[1]
                      - np.sum(2 * np.log(q.std)))


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def correlated(rng):
    """Its posterior has a full covariance, which no diagonal q can match."""
    return LinearGaussian(rng.standard_normal((4, 2)) @ [[1, 0.8], [0, 0.6]], 0.8, rng)


@pytest.fixture
def diagonal(rng):
    """Orthogonal columns: the exact posterior is diagonal."""
    return LinearGaussian(np.linalg.qr(rng.standard_normal((4, 2)))[0] * [2.0, 0.7], 0.5, rng)


def mean_and_error(values):
    return values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))


# -- values ------------------------------------------------------------------------------------
@pytest.mark.parametrize("shift, stretch", [(0, 1), (0.4, 1), (0, 1.5), (-0.2, 0.6)])
def test_the_elbo_falls_short_of_log_p_by_the_kl_to_the_posterior(correlated, rng, shift, stretch):
    model = correlated.model(shift, stretch)
    mean, error = mean_and_error(
        elbo(model, np.broadcast_to(correlated.x, (DRAWS, *correlated.x.shape)), rng=rng).value)
    gap = correlated.kl_to_posterior(model)
    assert np.all(gap > 0.05) and np.all(error < gap / 4)  # so that the gap is seen
    assert np.all(np.abs(mean - (correlated.log_p() - gap)) < 4 * error)


def test_the_parts_of_the_elbo_are_what_they_are_called(correlated):
    model, x = correlated.model(), correlated.x
    bound = elbo(model, x, rng=np.random.default_rng(2))
    q = model.posterior(x)
    z = q.sample(rng=np.random.default_rng(2))
    residual = (x - z @ correlated.weight.T - correlated.bias) / 0.8
    np.testing.assert_allclose(bound.reconstruction, -0.5 * np.sum(residual**2, axis=-1)
                               - 4 * np.log(0.8) - 2 * np.log(2 * np.pi), rtol=1e-12)
    np.testing.assert_allclose(bound.kl, -0.5 * np.sum(
        1 + np.log(q.std**2) - q.mean**2 - q.std**2, axis=-1), rtol=1e-12)
    np.testing.assert_array_equal(bound.value, bound.reconstruction - bound.kl)
    assert {part.shape for part in bound} == {(3,)}


def test_with_the_exact_posterior_every_weight_is_p(diagonal, rng):
    model = diagonal.model()
    np.testing.assert_allclose(diagonal.kl_to_posterior(model), 0, atol=1e-12)
    weights = log_weights(model, diagonal.x, rng=rng, samples=6)
    np.testing.assert_allclose(weights, np.tile(diagonal.log_p(), (6, 1)), rtol=1e-10, strict=True)
    for k in (1, 2, 7):
        np.testing.assert_allclose(iwae(model, diagonal.x, rng=rng, samples=k).value,
                                   diagonal.log_p(), rtol=1e-10, strict=True)


@pytest.mark.parametrize("samples", [1, 99, 100, 101, 250])
@pytest.mark.parametrize("block", [1, 150, 20_000])
def test_with_the_exact_posterior_log_likelihood_is_exact_in_any_blocks(diagonal, samples, block):
    found = log_likelihood(diagonal.model(), diagonal.x, samples=samples, block=block)
    assert found["log_likelihood"] == pytest.approx(diagonal.log_p().mean(), rel=1e-10)
    error = diagonal.log_p().std(ddof=1) / 3**0.5
    assert found["log_likelihood_se"] == pytest.approx(error, rel=1e-10)
    assert (found["samples"], found["n"]) == (samples, 3)


def test_one_sample_is_the_log_weight(correlated):
    def at(f, **options):
        return f(correlated.model(), correlated.x, rng=np.random.default_rng(5), samples=1)
    np.testing.assert_allclose(at(iwae).value, at(log_weights)[0], rtol=1e-14)


def test_weights_average_to_p_for_any_q(correlated, rng):
    weights = np.exp(log_weights(correlated.model(0.2, 1.6), correlated.x, rng=rng, samples=DRAWS)
                     - correlated.log_p())
    mean, error = mean_and_error(weights)
    assert np.all(error < 0.02) and np.all(np.abs(mean - 1) < 4 * error)


def test_the_importance_weighted_bound_grows_with_k_up_to_log_p(correlated, rng):
    model, repeated = correlated.model(0.3, 0.7), np.repeat(correlated.x, 4000, axis=0)
    found = []
    for k in (1, 3, 10, 30):
        values = iwae(model, repeated, rng=rng, samples=k).value.reshape(3, 4000)
        found.append(mean_and_error(values.T))
    for (low, low_error), (high, high_error) in pairwise(found):
        assert np.all(high - low > 3 * np.hypot(low_error, high_error))
    (first, error), (last, last_error) = found[0], found[-1]
    log_p = correlated.log_p()
    assert np.all(np.abs(first - (log_p - correlated.kl_to_posterior(model))) < 4 * error)
    assert np.all(last <= log_p + 4 * last_error) and np.all(log_p - last < 0.2)


# -- gradients ---------------------------------------------------------------------------------
@pytest.fixture
def tiny(rng):
    """A VAE with float64 parameters, none of them zero, and six binary data."""
    model = dense_vae(5, (4,), 2, rng=rng)
    weights = [0.5 * rng.standard_normal(p.shape) for p in mg.nn.parameters(model)]
    return model, weights, rng.integers(0, 2, (6, 5)).astype(float)


@pytest.mark.parametrize("bound", [
    lambda model, x, rng: elbo(model, x, rng=rng).value,
    lambda model, x, rng: elbo(model, x, rng=rng).reconstruction,
    lambda model, x, rng: iwae(model, x, rng=rng, samples=3).value])
def test_derivatives_with_frozen_noise(tiny, bound):
    model, weights, x = tiny

    def value(*weights):
        return bound(mg.nn.with_parameters(model, weights), x, np.random.default_rng(0))
    mg.check_grads(value, tuple(weights), order=2)


def by_hand(weights, x, noise):
    """Mean ELBO of a tanh VAE and its gradient, by the chain rule written out."""
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    n, n_z = noise.shape
    h = np.tanh(x @ w1 + b1)
    head = h @ w2 + b2
    mean, log_var = head[:, :n_z], head[:, n_z:]
    std = np.exp(log_var / 2)
    z = mean + std * noise
    d = np.tanh(z @ w3 + b3)
    logits = d @ w4 + b4
    value = np.sum(x * logits - np.logaddexp(0, logits)) \
        + 0.5 * np.sum(1 + log_var - mean**2 - np.exp(log_var))

    to_logits = x - expit(logits)
    to_d = to_logits @ w4.T * (1 - d**2)
    to_z = to_d @ w3.T
    to_head = np.hstack([to_z - mean, to_z * noise * std / 2 + 0.5 * (1 - np.exp(log_var))])
    to_h = to_head @ w2.T * (1 - h**2)
    slopes = [x.T @ to_h, to_h.sum(0), h.T @ to_head, to_head.sum(0),
              z.T @ to_d, to_d.sum(0), d.T @ to_logits, to_logits.sum(0)]
    return value / n, [g / n for g in slopes]


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-11), (np.float32, 2e-5)])
def test_the_gradient_is_that_of_the_chain_rule_by_hand(tiny, dtype, rtol):
    model, weights, x = tiny
    names = [f"{part}.layers.{i}.{name}" for part in ("encoder", "decoder")
             for i in ("0", "2.linear") for name in ("weight", "bias")]
    assert list(mg.nn.named_parameters(model)) == names

    leaves = [mg.Tensor(w.astype(dtype)) for w in weights]
    x = x.astype(dtype)
    bound = elbo(mg.nn.with_parameters(model, leaves), x, rng=np.random.default_rng(0))
    mean = np.mean(bound.value)
    mean.backward()
    noise = np.random.default_rng(0).standard_normal((6, 2), dtype)
    value, slopes = by_hand(weights, x, noise)
    assert mean.item() == pytest.approx(value, rel=rtol)
    for leaf, slope in zip(leaves, slopes, strict=True):
        assert leaf.grad.dtype == dtype
        np.testing.assert_allclose(leaf.grad, slope, rtol=rtol, atol=rtol * np.abs(slope).max())


def test_the_gradient_of_the_bound_points_to_the_exact_posterior(diagonal):
    """At q = p(z|x) the exact bound is at its top: the mean gradient vanishes, beside it not."""
    q = diagonal.model().posterior(diagonal.x)
    x = np.broadcast_to(diagonal.x, (DRAWS, *diagonal.x.shape))

    def mean_bound(mean, std):
        prior, likelihood = diagonal.model().prior, diagonal.model().decoder
        model = VAE(lambda x: Normal(np.broadcast_to(mean, (DRAWS, 3, 2)), std), likelihood, prior)
        return np.sum(np.mean(elbo(model, x, rng=np.random.default_rng(1)).value, axis=0))
    at_top = mg.grad(mean_bound, (0, 1))(q.mean, q.std)
    beside = mg.grad(mean_bound, (0, 1))(q.mean + 0.2, 1.3 * q.std)
    assert all(np.abs(g).max() < 0.15 for g in at_top)
    precision = 1 / np.diagonal(diagonal.covariance)
    np.testing.assert_allclose(beside[0], np.tile(-0.2 * precision, (3, 1)), atol=0.2)


@pytest.mark.parametrize("bound", [estimators.score_elbo, estimators.vimco])
def test_parts_whose_gradient_would_lack_the_score_are_constants(rng, bound):
    """A weight on the KL can't be put together from them: it fails loudly."""
    model, x = dense_vae(6, (4,), 2, rng=rng), rng.random((3, 6), np.float32)
    found = bound(model, x, rng=rng, samples=2)
    assert type(found.value) is mg.Tensor
    assert type(found.reconstruction) is type(found.kl) is np.ndarray


def test_a_fixed_prior_has_no_parameters_and_a_learned_one_is_learned(rng):
    model = dense_vae(6, (4,), 2, rng=rng)
    assert len(mg.nn.parameters(model.prior)) == 0
    free = VAE(model.encoder, model.decoder, LearnedNormal(2))
    x = rng.random((5, 6), np.float32)
    bounds = [elbo(m, x, rng=np.random.default_rng(0)).value for m in (model, free)]
    np.testing.assert_allclose(bounds[0].data, bounds[1].data, rtol=1e-6)
    before = len(mg.nn.parameters(model))
    assert len(mg.nn.parameters(free)) == before + 2
    fit(free, x, epochs=3, batch_size=5, rng=rng,
        optimizer=mg.optim.SGD(mg.nn.parameters(free), lr=0.1))
    assert np.all(free.prior.mean.data != 0) and np.all(free.prior.std.data != 1)
    assert not list(mg.nn.frozen(free).prior.traced())
