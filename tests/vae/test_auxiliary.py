"""The auxiliary variable: its bound, the marginal q(z|x), and what both cost against p(z|x)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import minigrad as mg
import vae
from tests.vae.linear_gaussian import standard_errors_off
from tests.vae.trained import check_parameters
from vae import MultivariateNormal, Normal, estimators
from vae.exact import LinearGaussian, auxiliary_identities
from vae.models.auxiliary import AuxiliaryVAE, auxiliary_vae

W, STD = np.array([[1.1], [-0.6]]), 0.7  # x = Wz + σε, z one number
EXACT = LinearGaussian(W, np.zeros(2), STD)
X = np.array([[0.9, -1.4], [0.2, 0.5], [-1.3, 0.1]])
GAIN_U, STD_U = np.array([[0.4], [0.3]]), 0.8  # q(u|x) = N(x GAIN_U, STD_U²)
GAIN_Z, STD_Z = np.array([[0.6], [0.5], [-0.2]]), 0.5  # q(z|u, x) = N([u, x] GAIN_Z, STD_Z²)
GAIN_R, STD_R = np.array([[0.1], [-0.1], [0.7]]), 0.7  # r(u|x, z) = N([x, z] GAIN_R, STD_R²)


class Linear:
    """a -> N(aW, std²)."""

    def __init__(self, weight, std):
        self.weight, self.log_std = mg.Tensor(weight), mg.Tensor(np.full(1, np.log(std)))

    def __call__(self, a):
        return Normal.from_log_std(a @ self.weight, self.log_std)


def linear_model():
    """Everything linear and Gaussian, float64."""
    return AuxiliaryVAE(Linear(GAIN_U, STD_U), Linear(GAIN_Z, STD_Z), Linear(W.T, STD),
                        Linear(GAIN_R, STD_R), Normal(np.zeros(1), np.ones(1)), n_z=1, n_u=1)


def q_of_z_and_u(x):
    """q(z, u|x) as one Gaussian: mean (n, 2), covariance (2, 2)."""
    u, a = x @ GAIN_U, GAIN_Z[0, 0]
    z = np.hstack([u, x]) @ GAIN_Z
    cov = np.array([[a**2 * STD_U**2 + STD_Z**2, a * STD_U**2], [a * STD_U**2, STD_U**2]])
    return np.hstack([z, u]), cov


def p_of_z_and_u(x):
    """p(z|x) r(u|x, z) as one Gaussian."""
    p, a = EXACT.exact_posterior(x), GAIN_R[2, 0]
    s = np.reshape(p.covariance, (-1, 1, 1))[0, 0, 0]
    u = np.hstack([x, p.mean]) @ GAIN_R
    return (np.hstack([p.mean, u]),
            np.array([[s, a * s], [a * s, a**2 * s + STD_R**2]]))


def exact_gap(x=X):
    """KL(q(u, z|x)‖p(z|x) r(u|x, z)): what the bound is below log p(x)."""
    q, p = (MultivariateNormal.from_covariance(mean, np.broadcast_to(cov, (len(x), 2, 2)))
            for mean, cov in (q_of_z_and_u(x), p_of_z_and_u(x)))
    return vae.kl(q, p)


# -- the bound ---------------------------------------------------------------------------------
def test_each_draw_of_the_bound_is_the_formula():
    model = mg.nn.frozen(linear_model())
    bound = estimators.sgvb_a(model, X, rng=np.random.default_rng(0))
    z, u = np.moveaxis(model.posterior(X).sample(rng=np.random.default_rng(0)), -1, 0)
    u, z = u[:, None], z[:, None]
    terms = (Normal(z @ W.T, STD).log_prob(X) + Normal(np.zeros(1), np.ones(1)).log_prob(z)
             + Normal(np.hstack([X, z]) @ GAIN_R, STD_R).log_prob(u)
             - Normal(X @ GAIN_U, STD_U).log_prob(u)
             - Normal(np.hstack([u, X]) @ GAIN_Z, STD_Z).log_prob(z))
    assert bound.value == pytest.approx(terms, rel=1e-12)


def test_the_bound_is_log_p_less_the_divergence_of_the_joints():
    model, x = mg.nn.frozen(linear_model()), np.tile(X, (4000, 1))
    draws = estimators.sgvb_a(model, x, rng=np.random.default_rng(1)).value.reshape(-1, 3)
    assert (standard_errors_off(draws, EXACT.log_marginal(X) - exact_gap()) < 4.5).all()
    assert (exact_gap() > 0.05).all()


def test_importance_weights_find_log_p_of_the_model_without_u():
    found = vae.log_likelihood(linear_model(), X, samples=20_000)
    noise = 4 * found["log_likelihood_noise_se"] - found["log_likelihood_bias"]
    assert abs(found["log_likelihood"] - EXACT.log_marginal(X).mean()) < noise < 0.1
    annealed = vae.annealed_log_likelihood(linear_model(), X, chains=8, temperatures=30, leapfrog=4)
    noise = 4 * annealed["log_likelihood_noise_se"] + abs(annealed["log_likelihood_bias"])
    assert abs(annealed["log_likelihood"] - EXACT.log_marginal(X).mean()) < noise < 1


@pytest.mark.parametrize("objective", [estimators.sgvb_a, partial(estimators.iwae, samples=3)])
def test_gradients_are_those_of_differences(objective):
    model = linear_model()
    assert len(mg.nn.parameters(model)) == 8
    check_parameters(model, X, objective, directions=1)


def test_the_chain_rule_holds_on_a_finite_model_and_the_joint_bound_is_looser():
    rng = np.random.default_rng(0)
    model = vae.exact.DiscreteLatent(rng.standard_normal(4), rng.standard_normal((4, 5)))
    data, q_u, q_z, p_u = (rng.dirichlet(np.ones(shape[-1]), shape[:-1])
                           for shape in ((5,), (5, 3), (5, 3, 4), (5, 4, 3)))
    bounds, joints = auxiliary_identities(model, data, q_u, q_z, p_u)
    for one in (bounds, joints):
        assert one.left == pytest.approx(one.right, abs=1e-12)
    both = np.einsum("mr,mrk->mk", q_u, q_z)
    elbo = model.elbo(vae.Categorical(np.log(both)), np.arange(5))
    assert (elbo - bounds.left > 0.1).all()


# -- the marginal ------------------------------------------------------------------------------
def test_the_marginal_is_the_integral_over_u():
    mean, cov = q_of_z_and_u(X)
    z = mean[:, :1] + np.linspace(-1.2, 1.2, 7)[:, None, None]  # within ± 2 std
    truth = Normal(mean[:, :1], np.sqrt(cov[0, 0])).log_prob(z)
    model = mg.nn.frozen(linear_model())
    errors = [np.abs(model.marginal_posterior(X, samples=m).log_prob(z) - truth).max()
              for m in (50, 2000)]
    assert errors[1] < 2e-3 < errors[0] < 0.2
    drawn = model.marginal_posterior(X, samples=20_000, rng=np.random.default_rng(3))
    assert drawn.log_prob(z) == pytest.approx(truth, abs=0.1)
    assert drawn.shape == (3, 1)


def test_the_joint_bound_is_looser_than_the_elbo_of_the_marginal_by_the_divergence_of_u():
    mean, cov = q_of_z_and_u(X)
    z = np.linspace(-6, 6, 1201)[:, None, None] + mean[:, :1]  # q(z|x) on a grid
    log_q = mg.nn.frozen(linear_model()).marginal_posterior(X, samples=2000).log_prob(z)
    weights = np.exp(log_q) * 0.01
    gap = (weights * (log_q - EXACT.exact_posterior(X).log_prob(z))).sum(axis=0)
    u_mean = mean[:, 1:] + (z - mean[:, :1]) * cov[0, 1] / cov[0, 0]
    u_std = np.sqrt(cov[1, 1] - cov[0, 1]**2 / cov[0, 0])
    r = Normal(np.concatenate([np.broadcast_to(X, (1201, 3, 2)), z], axis=-1) @ GAIN_R, STD_R)
    further = (weights * vae.kl(Normal(u_mean, u_std), r)).sum(axis=0)
    assert exact_gap() == pytest.approx(gap + further, rel=1e-3)
    assert (further > 0.05).all()


# -- the model of networks ---------------------------------------------------------------------
def test_training_and_what_a_vae_offers():
    rng = np.random.default_rng(4)
    x = (rng.integers(0, 2, (4, 12))[rng.integers(0, 4, 200)] ^ (rng.random((200, 12)) < 0.05)
         ).astype(np.float32)
    model = auxiliary_vae(12, (10,), 2, 2, rng=rng)
    before = vae.evaluate(model, x, objective=estimators.sgvb_a)
    vae.fit(model, x, epochs=15, batch_size=50, rng=rng, objective=estimators.sgvb_a,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2))
    after = vae.evaluate(model, x, objective=estimators.sgvb_a)
    assert after["elbo"] > before["elbo"] + 1
    assert vae.log_likelihood(model, x, samples=50)["log_likelihood"] > after["elbo"]
    fixed = mg.nn.frozen(model)
    assert fixed.sample(5, rng=rng).shape == (5, 12) and fixed.reconstruct(x).shape == x.shape
    assert fixed.sample(5, rng=rng).dtype == np.float32
    low, high = fixed.predict_interval(x[:3])
    assert (low < high).all()


def test_samples_are_those_of_the_decoder_whatever_u_is():
    model = mg.nn.frozen(linear_model())
    one, two = (model.likelihood(np.array([[0.3, u]])) for u in (-2.0, 5.0))
    assert np.array_equal(one.mean, two.mean) and np.array_equal(one.mean, 0.3 * W.T)
    assert one.log_prob(X[:1]) != two.log_prob(X[:1])


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match=r"auxiliary_vae\(hidden=8\): give the sizes"):
        auxiliary_vae(12, 8, 2, 2, rng=np.random.default_rng(0))
    model = mg.nn.frozen(auxiliary_vae(12, (8,), 2, 2, rng=np.random.default_rng(0)))
    x = np.zeros((1, 12), np.float32)
    with pytest.raises(TypeError, match="u has 2 dimensions; without rng, by quantiles, it may"):
        model.marginal_posterior(x, samples=5)
    with pytest.raises(ValueError, match=r"marginal_posterior\(samples=0\): at least one"):
        model.marginal_posterior(x, samples=0)
    with pytest.raises(ValueError, match=r"AuxiliaryVAE\(n_z=1, n_u=0\): both have at least one"):
        AuxiliaryVAE(None, None, None, None, Normal.standard(1), n_z=1, n_u=0)
