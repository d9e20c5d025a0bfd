"""Two stochastic layers: every bound holds on a code of two parts, drawn one after the other."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import minigrad as mg
import vae
from tests.vae.linear_gaussian import standard_errors_off
from tests.vae.trained import check_parameters
from vae import VAE, MultivariateNormal, Normal, estimators
from vae.models.layered import Ancestral, FirstPart, LayeredEncoder, layered_vae

A = np.array([[0.9, -0.6, 0.3], [0.2, 0.8, -1.0]])  # z1 = z2 A + σ1 ε
B = np.array([[1.0, -0.4, 0.2, 0.7], [0.3, 0.9, -0.8, 0.1], [-0.5, 0.4, 0.6, 1.1]])  # x = z1 B + σε
STD_1, STD = 0.7, 0.6
Q_1, Q_2 = 0.3 * B.T, 0.4 * A.T  # means of q(z1|x) and q(z2|z1), not those of the posterior
Q_STD_1, Q_STD_2 = np.array([0.5, 0.4, 0.6]), np.array([0.8, 0.7])
X = np.array([[0.9, -1.4, 0.5, 0.2], [-0.3, 0.1, 1.2, -2.0], [0.0, 0.4, -0.6, 0.3]])


class Linear:
    """a -> N(aW, std²)."""

    def __init__(self, weight, std):
        self.weight, self.log_std = mg.Tensor(weight), mg.Tensor(np.log(std))

    def __call__(self, a):
        return Normal.from_log_std(a @ self.weight, self.log_std)


def linear_model():
    """p(z2) p(z1|z2) p(x|z1) and q(z1|x) q(z2|z1), all linear and Gaussian, float64."""
    prior = Ancestral(Normal(np.zeros(2), np.ones(2)), Linear(A, np.full(3, STD_1)), 3,
                      reverse=True)
    encoder = LayeredEncoder(Linear(Q_1, Q_STD_1), Linear(Q_2, Q_STD_2), 2)
    return VAE(encoder, mg.nn.Sequential(FirstPart(3), Linear(B, np.full(4, STD))), prior)


def prior_covariance():
    """Of [z1, z2]."""
    return np.block([[A.T @ A + STD_1**2 * np.eye(3), A.T], [A, np.eye(2)]])


def log_p(x=X):
    covariance = B.T @ (A.T @ A + STD_1**2 * np.eye(3)) @ B + STD**2 * np.eye(4)
    return multivariate_normal(np.zeros(4), covariance).logpdf(x)


def exact_posterior(x=X):
    """p(z1, z2|x), from the covariance of (z1, z2, x)."""
    s, seen = prior_covariance(), np.vstack([B, np.zeros((2, 4))])
    gain = s @ seen @ np.linalg.inv(seen.T @ s @ seen + STD**2 * np.eye(4))
    return MultivariateNormal.from_covariance(x @ gain.T, s - gain @ seen.T @ s)


def encoder_as_one_gaussian(x=X):
    mean = np.hstack([x @ Q_1, x @ Q_1 @ Q_2])
    s = np.diag(Q_STD_1**2)
    return MultivariateNormal.from_covariance(
        mean, np.block([[s, s @ Q_2], [Q_2.T @ s, Q_2.T @ s @ Q_2 + np.diag(Q_STD_2**2)]]))


# -- the distribution of two parts -------------------------------------------------------------
def test_a_density_is_the_product_in_either_order():
    model = mg.nn.frozen(linear_model())
    z = np.random.default_rng(0).standard_normal((6, 3, 5))
    assert model.posterior(X).log_prob(z) == pytest.approx(
        encoder_as_one_gaussian().log_prob(z), rel=1e-12)
    assert model.prior.log_prob(z) == pytest.approx(
        multivariate_normal(np.zeros(5), prior_covariance()).logpdf(z), rel=1e-12)


def test_draws_have_the_moments_of_the_product():
    model = mg.nn.frozen(linear_model())
    for q, exact in ((model.prior, MultivariateNormal.from_covariance(
            np.zeros(5), prior_covariance())),
            (model.posterior(X), encoder_as_one_gaussian())):
        z = q.sample((20_000,), rng=np.random.default_rng(1))
        assert z.shape == (20_000, *exact.shape) == (20_000, *q.shape)
        assert (standard_errors_off(z, exact.mean) < 4.5).all()
        centred = z - exact.mean
        products = centred[..., :, None] * centred[..., None, :]
        assert (standard_errors_off(products, exact.covariance) < 4.5).all()


def test_means_are_those_along_the_path_and_exact_where_it_is_linear():
    q = mg.nn.frozen(linear_model()).posterior(X)
    assert q.mean == pytest.approx(encoder_as_one_gaussian().mean, abs=1e-12)
    assert np.array_equal(q.variance, np.tile([*Q_STD_1**2, *Q_STD_2**2], (3, 1)))


def test_what_is_infinite_has_density_0():
    prior = mg.nn.frozen(linear_model()).prior
    z = np.array([[0, 0, np.inf, 0, 0], [0, 0, 0, -np.inf, 0], np.zeros(5)])
    assert np.isneginf(prior.log_prob(z)).tolist() == [True, True, False]
    assert prior.log_prob([0, 0, 0, 0, 0]) == prior.log_prob(z)[2]


def test_stopped_and_constant_reach_both_parts():
    q = linear_model().posterior(X)
    assert {id(p) for p in mg.nn.parameters(q.then)} < {id(p) for p in q.traced()}
    assert not [*q.constant().traced()] and not [*q.stopped().traced()]
    assert type(q.constant().sample(rng=np.random.default_rng(0))) is np.ndarray


# -- bounds ------------------------------------------------------------------------------------
def test_the_elbo_is_log_p_less_the_gap():
    gap = vae.kl(encoder_as_one_gaussian(), exact_posterior())
    model, x = mg.nn.frozen(linear_model()), np.tile(X, (4000, 1, 1)).reshape(-1, 4)
    for objective in (estimators.sgvb_a, estimators.sticking_the_landing):
        draws = objective(model, x, rng=np.random.default_rng(2)).value.reshape(-1, 3)
        assert (standard_errors_off(draws, log_p() - gap) < 4.5).all()
        assert (draws.mean(axis=0) < log_p()).all() and (gap > 0.1).all()


def test_more_draws_bring_the_weighted_bound_to_log_p():
    model, x = mg.nn.frozen(linear_model()), np.tile(X, (200, 1))
    found = [estimators.iwae(model, x, rng=np.random.default_rng(3), samples=k).value.mean()
             for k in (1, 5, 50)]
    truth = log_p().mean()
    assert found[0] + 0.1 < found[1] < found[2] - 0.02 and found[2] < truth + 0.02
    many = vae.log_likelihood(model, X, samples=20_000)
    noise = 4 * many["log_likelihood_noise_se"] - many["log_likelihood_bias"]
    assert abs(many["log_likelihood"] - truth) < noise < 0.1


class Correlated:
    """a -> N(aW, LLᵀ)."""

    def __init__(self, weight, covariance):
        self.weight, self.low = mg.Tensor(weight), mg.Tensor(np.linalg.cholesky(covariance))

    def __call__(self, a):
        return MultivariateNormal(a @ self.weight, self.low)


def exact_model():
    """The linear model with p(z1|x) p(z2|z1) for an encoder."""
    s, x_to_z = prior_covariance(), exact_posterior(np.eye(4)).mean[:, :3]
    back = np.linalg.solve(s[:3, :3], s[:3, 3:])
    model = linear_model()
    model.encoder = LayeredEncoder(
        Correlated(x_to_z, np.reshape(exact_posterior().covariance, (-1, 5, 5))[0, :3, :3]),
        Correlated(back, s[3:, 3:] - s[3:, :3] @ back), 2)
    return model


def test_with_the_exact_posterior_each_draw_says_log_p():
    model = mg.nn.frozen(exact_model())
    for objective in (estimators.sgvb_a, partial(estimators.iwae, samples=3)):
        bound = objective(model, X, rng=np.random.default_rng(4))
        assert bound.value == pytest.approx(log_p(), rel=1e-11)
    assert vae.log_likelihood(model, X, samples=3)["ess_mean"] == pytest.approx(3, rel=1e-10)


def test_annealing_from_the_prior_finds_log_p():
    found = vae.annealed_log_likelihood(linear_model(), X, chains=8, temperatures=40,
                                        leapfrog=5)
    noise = 4 * found["log_likelihood_noise_se"] + abs(found["log_likelihood_bias"])
    assert abs(found["log_likelihood"] - log_p().mean()) < noise < 1


# -- gradients ---------------------------------------------------------------------------------
@pytest.mark.parametrize("objective", [estimators.sgvb_a, partial(estimators.iwae, samples=3)])
def test_gradients_are_those_of_differences(objective):
    model = linear_model()
    assert len(mg.nn.parameters(model)) == 8
    check_parameters(model, X, objective)


def test_the_doubly_reparameterised_gradient_of_the_model_is_that_of_iwae():
    found = {}
    for objective in (estimators.iwae, estimators.dreg):
        model = linear_model()
        objective(model, X, rng=np.random.default_rng(6), samples=4).value.sum().backward()
        found[objective.__name__] = {name: p.grad for name, p
                                     in mg.nn.named_parameters(model).items()}
    for name, grad in found["dreg"].items():
        same = np.allclose(grad, found["iwae"][name], rtol=1e-10)
        assert same == (not name.startswith("encoder")), name


@pytest.mark.parametrize("objective", [estimators.sticking_the_landing,
                                       partial(estimators.dreg, samples=3)])
def test_at_the_posterior_the_encoder_has_no_gradient_in_any_draw(objective):
    model = exact_model()
    objective(model, X, rng=np.random.default_rng(7)).value.sum().backward()
    grads = [p.grad for p in mg.nn.parameters(model.encoder)]
    assert len(grads) == 4 and all(np.abs(grad).max() < 1e-12 for grad in grads)


# -- the model of networks ---------------------------------------------------------------------
def small(seed=0):
    return layered_vae(12, (10, 8), (4, 2), rng=np.random.default_rng(seed), depth=1)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    patterns, flips = rng.integers(0, 2, (4, 12)), rng.random((200, 12)) < 0.05
    return (patterns[rng.integers(0, 4, 200)] ^ flips).astype(np.float32)


def test_training_improves_the_bound_by_every_estimator(data):
    for objective in (estimators.sgvb_a, partial(estimators.dreg, samples=3)):
        model = small()
        before = vae.evaluate(model, data, objective=estimators.sgvb_a)
        vae.fit(model, data, epochs=15, batch_size=50, rng=np.random.default_rng(1),
                optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2), objective=objective)
        after = vae.evaluate(model, data, objective=estimators.sgvb_a)
        assert after["elbo"] > before["elbo"] + 1
        found = vae.log_likelihood(model, data, samples=50)
        assert found["log_likelihood"] > after["elbo"]
    fresh = mg.nn.frozen(model).sample(7, rng=np.random.default_rng(0))
    assert fresh.shape == (7, 12) and fresh.dtype == np.float32
    assert mg.nn.frozen(model).reconstruct(data).shape == data.shape


def test_the_default_is_the_model_of_burda_et_al():
    model = layered_vae(rng=np.random.default_rng(0))
    found = {name: p.shape for name, p in mg.nn.named_parameters(model).items()}
    shapes = [shape for name, shape in found.items() if name.endswith("weight")]
    assert shapes == [(784, 200), (200, 200), (200, 200), (100, 100), (100, 100), (100, 100),
                      (100, 200), (200, 200), (200, 784), (50, 100), (100, 100), (100, 200)]
    assert model.posterior(np.zeros((3, 784), np.float32)).shape == (3, 150)


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match=r"layered_vae\(hidden=\(200,\)\): one number for each of"):
        layered_vae(12, (200,), rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"layered_vae\(n_z=5\): one number"):
        layered_vae(12, n_z=5, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match="a distribution of vectors, with event_ndim=1, is"):
        Ancestral(Normal(0.0, 1.0), Linear(A, 1.0), 3)
    first = Normal.standard(2)
    with pytest.raises(ValueError, match=r"p\(b\|a\) has shape \(3,\); its last axis must have n="):
        Ancestral(first, lambda a: Normal.standard(3), 4).sample(rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"shape \(4,\); the last axis must have 5 numbers, 2 of"):
        linear_model().prior.log_prob(np.zeros(4))
    with pytest.raises(TypeError, match="Ancestral"):
        vae.elbo(small(), np.zeros((1, 12), np.float32), rng=np.random.default_rng(0))
