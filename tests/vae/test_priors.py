"""Learned priors: their densities, whom their parameters belong to, and what they are good for."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import minigrad as mg
import vae
from minigrad.tensor import untraced
from tests.vae.trained import same, train, values
from vae import estimators
from vae.posteriors import ToBeta
from vae.priors import MixturePrior, VampPrior

PIXELS = 6


@pytest.fixture(scope="module")
def data():
    """Noisy copies of three binary patterns, (120, 6), float32."""
    rng = np.random.default_rng(4)
    patterns, flips = rng.integers(0, 2, (3, PIXELS)), rng.random((120, PIXELS)) < 0.1
    return (patterns[rng.integers(0, 3, 120)] ^ flips).astype(np.float32)


def with_prior(x, which, n_z=1, seed=0):
    rng = np.random.default_rng(seed)
    model = vae.dense_vae(x.shape[1], (8,), n_z, rng=rng)
    model.prior = (MixturePrior(n_z, 3, rng=rng) if which == "mixture"
                   else VampPrior(model, x.shape[1], 4, rng=rng, start=x))
    return model


both = pytest.mark.parametrize("which", ["mixture", "vamp"])


# -- densities ---------------------------------------------------------------------------------
def test_the_mixture_has_the_density_of_its_formula():
    prior = MixturePrior(2, 3, rng=np.random.default_rng(0))
    prior.logits.data[...] = [0.3, -1, 2]
    z = np.random.default_rng(1).standard_normal((5, 2))
    weights = np.exp(prior.logits.data) / np.exp(prior.logits.data).sum()
    expected = np.log(sum(w * np.prod(stats.norm.pdf(z, m, np.exp(s)), axis=1) for w, m, s in
                          zip(weights, prior.mean.data, prior.log_std.data)))
    np.testing.assert_allclose(mg.nn.frozen(prior)().log_prob(z), expected, rtol=1e-6)


def test_the_mixture_begins_with_about_the_moments_of_the_standard_normal():
    prior = mg.nn.frozen(MixturePrior(3, 4000, rng=np.random.default_rng(0)))()
    error = 4 / np.sqrt(4000)
    np.testing.assert_allclose(prior.mean, 0, atol=error)
    np.testing.assert_allclose(prior.variance, 1, atol=error)


def test_the_vamp_prior_is_the_mean_of_the_posteriors_of_its_pseudo_inputs(data):
    model = mg.nn.frozen(with_prior(data, "vamp", n_z=2))
    z = np.random.default_rng(1).standard_normal((7, 2)).astype(np.float32)
    u = model.given_prior.pseudo_inputs()
    one_by_one = [model.posterior(row[None]).log_prob(z) for row in u]
    np.testing.assert_allclose(model.prior.log_prob(z), logsumexp(one_by_one, axis=0) - np.log(4),
                               rtol=1e-5)


def test_pseudo_inputs_begin_at_different_rows_of_the_data():
    x = np.random.default_rng(0).uniform(-1, 3, (9, 4)).astype(np.float32)
    encoder = vae.dense_vae(4, (3,), 2, rng=np.random.default_rng(0)).encoder
    for within in ((-1.0, 3.0), None):
        prior = VampPrior(encoder, 4, 9, rng=np.random.default_rng(1), start=x, within=within)
        u = mg.nn.frozen(prior).pseudo_inputs()
        order = [np.argmin(np.abs(x - row).sum(axis=1)) for row in u]
        assert sorted(order) == list(range(9))
        np.testing.assert_allclose(u, x[order], atol=4e-3 if within else 0)


def test_pseudo_inputs_stay_within_the_range_of_x(data):
    prior = VampPrior(vae.dense_vae(PIXELS, (3,), 2, rng=np.random.default_rng(0)), PIXELS, 5,
                      rng=np.random.default_rng(1), within=(-1, 2))
    prior.raw.data[...] *= 100
    u = mg.nn.frozen(prior).pseudo_inputs()
    assert u.min() >= -1 and u.max() <= 2 and u.min() < -0.99 and u.max() > 1.99


GRID = np.linspace(-15, 15, 6001)


def by_quadrature(model, x):
    """log p(x) and the ELBO of a model with one latent dimension, by the trapezoidal rule."""
    z, h = GRID[:, None, None], GRID[1] - GRID[0]
    log_joint = model.likelihood(z).log_prob(x) + model.prior.log_prob(z)
    log_q = model.posterior(x).log_prob(np.broadcast_to(z, (len(GRID), len(x), 1)))
    elbo = h * (np.exp(log_q) * (log_joint - log_q)).sum(axis=0)
    return logsumexp(log_joint, axis=0) + np.log(h), elbo


@both
@pytest.mark.parametrize("epochs", [0, 20])
def test_the_bound_is_what_quadrature_says_and_below_log_p(data, which, epochs):
    model = with_prior(data, which)
    train(model, data, epochs=epochs)
    model, x = mg.nn.frozen(model), data[:20]
    log_p, elbo = by_quadrature(model, x)
    assert (elbo < log_p + 1e-4).all()
    draws = np.stack([estimators.sgvb_a(model, x, rng=np.random.default_rng(i)).value
                      for i in range(400)]).astype(np.float64).mean(axis=1)
    assert abs(draws.mean() - elbo.mean()) < 4 * draws.std(ddof=1) / 20 + 1e-4
    found = vae.log_likelihood(model, x, samples=4000)
    noise = 4 * found["log_likelihood_noise_se"] + 1e-3
    assert abs(found["log_likelihood"] - log_p.mean()) < noise


# -- parameters --------------------------------------------------------------------------------
@both
def test_each_parameter_is_found_once(data, which):
    model = with_prior(data, which)
    found = mg.nn.parameters(model)
    own = 3 if which == "mixture" else 1
    plain = len(mg.nn.parameters(vae.dense_vae(PIXELS, (8,), 1, rng=np.random.default_rng(0))))
    assert len({id(p) for p in found}) == len(found) == plain + own


@both
def test_every_parameter_gets_a_gradient_and_stays_float32(data, which):
    model = with_prior(data, which)
    loss = -np.mean(estimators.sgvb_a(model, data, rng=np.random.default_rng(0)).value)
    loss.backward()
    assert loss.dtype == np.float32
    for name, p in mg.nn.named_parameters(model).items():
        assert p.grad is not None and p.grad.dtype == np.float32 and np.any(p.grad), name


@both
def test_the_frozen_model_follows_and_gives_the_same(data, which):
    model = with_prior(data, which)
    frozen = mg.nn.frozen(model)
    assert not mg.nn.parameters(frozen)
    train(model, data, epochs=1)
    one, two = (estimators.sgvb_a(m, data, rng=np.random.default_rng(0)).value
                for m in (model, frozen))
    assert np.array_equal(one.data, two) and type(two) is np.ndarray


@both
def test_a_saved_model_is_read_back(data, which, tmp_path):
    model, other = with_prior(data, which), with_prior(data, which, seed=5)
    mg.nn.save(tmp_path / "model.npz", model)
    mg.nn.load(tmp_path / "model.npz", other)
    assert same(values(model), values(other))
    z = np.linspace(-2, 2, 5, dtype=np.float32)[:, None]
    assert np.array_equal(*(mg.nn.frozen(m).prior.log_prob(z) for m in (model, other)))


def test_a_copy_of_a_model_shares_its_own_encoder_with_its_prior(data):
    model = copy.deepcopy(with_prior(data, "vamp"))
    assert model.given_prior.encoder is model.encoder


@both
def test_an_interrupted_run_resumes_to_the_same_bits(data, which, tmp_path):
    straight = with_prior(data, which)
    train(straight, data, epochs=4)
    train(with_prior(data, which), data, epochs=2, checkpoint=tmp_path)
    resumed = with_prior(data, which)
    train(resumed, data, epochs=4, checkpoint=tmp_path, resume=True)
    assert same(values(straight), values(resumed))


@both
def test_a_frozen_model_gives_samples(data, which):
    x = mg.nn.frozen(with_prior(data, which)).sample(50, rng=np.random.default_rng(0))
    assert x.shape == (50, PIXELS) and x.dtype == np.float32 and (x > 0).all() and (x < 1).all()


def test_a_vamp_prior_that_is_encoded_once_gives_the_same(data):
    model = with_prior(data, "vamp")
    fixed = mg.nn.frozen(model)
    fixed.prior = fixed.prior
    one, two = (vae.log_likelihood(m, data, samples=20) for m in (model, fixed))
    assert one == two and isinstance(model.given_prior, VampPrior)


def test_draws_of_the_mixture_that_are_differentiated_say_that_there_is_no_path(data):
    with pytest.raises(vae.NoPath, match="stopped=True"):
        with_prior(data, "mixture").prior.sample(5, rng=np.random.default_rng(0))


@pytest.mark.parametrize("which", ["mixture", "vamp"])
def test_a_model_that_is_not_frozen_samples_as_one_that_is(data, which):
    model = with_prior(data, which)
    free, held = (m.sample(5, rng=np.random.default_rng(0)) for m in (model, mg.nn.frozen(model)))
    np.testing.assert_allclose(untraced(free), held, rtol=1e-6)


# -- what they are good for --------------------------------------------------------------------
def pinwheel(n, rng):
    """Points (n, 2) on five bent arms."""
    r, arm = 2 + 0.3 * rng.standard_normal(n), rng.integers(0, 5, n)
    angle = 2 * np.pi * arm / 5 + 0.25 * np.exp(r - 2) + 0.08 * rng.standard_normal(n)
    return (r[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)


class Noisy:
    """z -> N(z, 0.2²): the prior has to have the shape of the data itself."""

    def __call__(self, z):
        return vae.Normal(z, np.float32(0.2))


def trained_on_pinwheel(x, which):
    rng = np.random.default_rng(0)
    encoder = vae.dense_vae(2, (16,), 2, rng=rng).encoder
    prior = {"standard": lambda: vae.Normal.standard(2),
             "mixture": lambda: MixturePrior(2, 10, rng=rng, spread=0.9),
             "vamp": lambda: VampPrior(encoder, 2, 10, rng=rng, start=x, within=None)}[which]()
    model = vae.VAE(encoder, Noisy(), prior)
    train(model, x, epochs=40, lr=2e-2)
    return mg.nn.frozen(model)


def test_learned_priors_reach_a_higher_bound_on_the_pinwheel():
    rng = np.random.default_rng(0)
    x, held_out = pinwheel(400, rng), pinwheel(1000, rng)
    bound = {which: np.mean([estimators.sgvb_a(
        trained, held_out, rng=np.random.default_rng(i)).value for i in range(10)], axis=0)
        for which in ("standard", "mixture", "vamp")
        for trained in [trained_on_pinwheel(x, which)]}
    for which in ("mixture", "vamp"):
        gain = np.float64(bound[which] - bound["standard"])
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        assert gain.mean() - 4 * error > 1


@pytest.mark.parametrize("objective", [estimators.sgvb_a, vae.elbo])
def test_a_laplace_prior_trains(data, objective):
    model = vae.dense_vae(PIXELS, (8,), 2, rng=np.random.default_rng(0))
    model.prior = vae.Laplace(np.zeros(2, np.float32), np.ones(2, np.float32))
    history = train(model, data, epochs=15, objective=objective)
    assert history.rows[-1]["train_bound"] > history.rows[0]["train_bound"] + 0.3
    assert all(p.data.dtype == np.float32 for p in mg.nn.parameters(model))


@pytest.mark.parametrize("objective", [estimators.sgvb_a, vae.elbo])
def test_a_uniform_prior_trains_with_a_posterior_on_the_same_interval(data, objective):
    rng = np.random.default_rng(0)
    model = vae.dense_vae(PIXELS, (8,), 2, rng=rng)
    model.encoder.layers[-1] = ToBeta(8, 2, rng=rng)
    model.given_prior = vae.Uniform(np.zeros(2, np.float32), np.ones(2, np.float32))
    history = train(model, data, epochs=15, objective=objective)
    assert history.rows[-1]["train_bound"] > history.rows[0]["train_bound"] + 0.3


def test_a_uniform_prior_with_a_gaussian_posterior_has_an_infinite_kl(data):
    model = vae.dense_vae(PIXELS, (8,), 2, rng=np.random.default_rng(0))
    model.given_prior = vae.Uniform(np.zeros(2, np.float32), np.ones(2, np.float32))
    with pytest.raises(vae.NonFinite):
        train(model, data)


# -- errors ------------------------------------------------------------------------------------
@pytest.mark.parametrize("make, message", [
    (partial(MixturePrior, 2, 0), r"MixturePrior\(components=0\): at least 1 is expected"),
    (partial(MixturePrior, 2, 3, spread=1.0), r"spread=1.0\): between 0 and 1"),
    (partial(VampPrior, np.tanh, 3, 2, within=(1, 1)), r"within=\(1, 1\).*lowest and the highest"),
    (partial(VampPrior, np.tanh, 3, 2), "encoder gave a Tensor; a distribution"),
    (partial(VampPrior, np.tanh, 3, 2, start=np.zeros((1, 3))),
     r"shape \(1, 3\); data \(n, 3\) are expected, with n at least components=2"),
    (partial(VampPrior, np.tanh, 3, 2, start=np.zeros((4, 5))), r"data \(n, 3\) are expected"),
    (partial(VampPrior, np.tanh, 3, 2, start=np.full((4, 3), 2.0)), r"outside of within=\(0.0, 1"),
    (partial(VampPrior, np.tanh, 3, 2, start=np.full((4, 3), np.nan)), "NaN or infinite"),
])
def test_what_a_prior_can_not_be_made_of_is_said(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(rng=np.random.default_rng(0))


def test_pseudo_inputs_of_another_width_than_the_encoder_are_refused_at_construction():
    with pytest.raises(ValueError, match=r"Dense\(6, 8\) was given an array of shape \(3, 5\)"):
        VampPrior(vae.dense_vae(PIXELS, (8,), 1, rng=np.random.default_rng(0)), 5, 3,
                  rng=np.random.default_rng(0))
