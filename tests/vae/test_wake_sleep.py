"""Wake-sleep: whose gradient each phase is, and where training by it leads."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
import vae
from tests.vae.linear_gaussian import standard_errors_off
from vae import VAE, Categorical, MultivariateNormal, Normal, estimators, exact
from vae.models.auxiliary import auxiliary_vae
from vae.models.conditional import conditional_vae
from vae.models.wake_sleep import reweighted_wake_sleep, sleep, wake, wake_sleep

WEIGHT = np.array([[1.2, 0.5], [-0.5, 1.2], [0.4, 0.0], [0.0, -0.4]])  # orthogonal columns
SPREAD = 0.6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return (rng.random((40, 9)) < 0.4).astype(np.float32)


def networks(seed=0):
    return vae.dense_vae(9, (7,), 2, rng=np.random.default_rng(seed))


def grads(model, loss):
    """Name -> gradient; of what the loss doesn't depend on None."""
    np.sum(loss).backward()
    return {name: p.grad for name, p in mg.nn.named_parameters(model).items()}


# -- wake --------------------------------------------------------------------------------------
def test_the_gradient_of_wake_by_the_model_is_that_of_the_elbo(x):
    one, two = networks(), networks()
    bound = wake(one, x, rng=np.random.default_rng(1))
    elbo = estimators.sgvb_a(two, x, rng=np.random.default_rng(1))
    for part, other in zip(bound, elbo):
        assert np.asarray(part.data if hasattr(part, "data") else part) == pytest.approx(
            other.data, rel=1e-5)
    found, expected = grads(one, bound.value), grads(two, elbo.value)
    for name, grad in found.items():
        if name.startswith("encoder"):
            assert grad is None and np.abs(expected[name]).max() > 0
        else:
            assert np.allclose(grad, expected[name], rtol=1e-5, atol=1e-6)


# -- sleep -------------------------------------------------------------------------------------
def finite(logits):
    """z in 0, 1, 2 and x in 0 … 3, with q(z|x) = softmax(logits[x])."""
    model = exact.DiscreteLatent(np.log([0.5, 0.2, 0.3]), np.log(
        [[0.4, 0.3, 0.2, 0.1], [0.1, 0.1, 0.2, 0.6], [0.25, 0.25, 0.4, 0.1]]))
    return model.with_encoder(lambda x: Categorical(logits[x]))


def joint(model):
    """p(z, x), (4, 3), by enumeration."""
    return np.exp(model.log_joints(np.arange(4)))


def test_the_gradient_of_sleep_is_unbiased_for_that_of_the_expectation(rng):
    values = rng.standard_normal((4, 3))
    p, q = joint(finite(values)), np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    each = np.eye(3)[None] - q[:, None, :]  # ∂ log q(z|x)/∂ logits[x], (x, z, 3)
    exact_mean = (p[..., None] * each).sum(axis=1)
    exact_square = (p[..., None] * each**2).sum(axis=1)
    logits, n = mg.Tensor(values), 40_000
    sleep(finite(logits), n, rng=rng).sum().backward()
    error = np.sqrt((exact_square - exact_mean**2) / n)
    assert (np.abs(logits.grad / n - exact_mean) < 4.5 * error).all()
    assert (np.abs(exact_mean) > 5 * error).any()  # so that 0 would not do


def test_sleep_is_at_rest_at_the_posterior(rng):
    """Its gradient there is noise about 0, of the size that one at rest has."""
    p, n = joint(finite(np.zeros((4, 3)))), 40_000
    q = p / p.sum(axis=1, keepdims=True)
    each = np.eye(3)[None] - q[:, None, :]
    error = np.sqrt((p[..., None] * each**2).sum(axis=1) / n)
    for logits, at_rest in ((np.log(p), True), (np.log(p) + rng.standard_normal((4, 3)), False)):
        logits = mg.Tensor(logits)
        sleep(finite(logits), n, rng=rng).sum().backward()
        assert (np.abs(logits.grad / n) < 4.5 * error).all() is np.bool_(at_rest)


@pytest.mark.parametrize("model", [auxiliary_vae(9, (7,), 2, 2, rng=np.random.default_rng(0)),
                                   conditional_vae(9, 3, (7,), 2, rng=np.random.default_rng(0))])
def test_sleep_refuses_models_whose_x_depends_on_more_than_z(model, rng):
    with pytest.raises(TypeError, match=f"{type(model).__name__} is no distribution of x given z"):
        sleep(model, 5, rng=rng)


def test_sleep_gives_the_model_no_gradient():
    model = networks()
    found = grads(model, sleep(model, 30, rng=np.random.default_rng(2)))
    assert {name.partition(".")[0] for name, g in found.items() if g is not None} == {"encoder"}


# -- both --------------------------------------------------------------------------------------
def test_one_step_has_the_gradients_of_both_phases(x):
    found = grads(model := networks(), wake_sleep(model, x, rng=np.random.default_rng(3)).objective)
    other, rng = networks(), np.random.default_rng(3)
    awake = grads(other, wake(other, x, rng=rng).value)
    for p in mg.nn.parameters(other):
        p.grad = None
    asleep = grads(other, sleep(other, len(x), rng=rng))
    for name, grad in found.items():
        assert np.array_equal(grad, (asleep if name.startswith("encoder") else awake)[name])


def test_the_value_that_is_told_is_the_elbo(x):
    model = mg.nn.frozen(networks())
    told = wake_sleep(model, np.tile(x, (200, 1)), rng=np.random.default_rng(4))
    rows = np.asarray(told.value, np.float64).reshape(200, -1).mean(axis=1)[:, None]
    known = vae.evaluate(model, x, repeats=200)
    assert abs(rows.mean() - known["elbo"]) < 5 * np.hypot(
        rows.std() / np.sqrt(200), known["elbo_noise_se"])
    assert told.value == pytest.approx(told.reconstruction - told.kl, rel=1e-4)


class LinearEncoder:
    """x -> N(xW, std²)."""

    def __init__(self):
        self.weight, self.log_std = mg.Tensor(np.zeros((4, 2))), mg.Tensor(np.zeros(2))

    def __call__(self, x):
        return Normal.from_log_std(x @ self.weight, self.log_std)


class LinearDecoder:
    """z -> N(Wz, SPREAD²)."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, z):
        return Normal(z @ self.weight.T, SPREAD)


def linear(weight):
    return VAE(LinearEncoder(), LinearDecoder(weight), Normal(np.zeros(2), np.ones(2)))


def gap_of(model, x):
    """KL(q(z|x)‖p(z|x)), both Gaussian."""
    weight = np.asarray(model.decoder.weight)
    p = exact.LinearGaussian(weight, np.zeros(4), SPREAD)
    q = model.posterior(x)
    low = np.broadcast_to(np.diag(q.std), (len(x), 2, 2))
    return vae.kl(MultivariateNormal(q.mean, low), p.exact_posterior(x)).mean()


@pytest.mark.parametrize("objective", [wake_sleep, reweighted_wake_sleep])
def test_training_a_linear_encoder_approaches_the_exact_posterior(objective, rng):
    x = exact.LinearGaussian(WEIGHT, np.zeros(4), SPREAD)
    x = x.likelihood(rng.standard_normal((500, 2))).sample(rng=rng)
    model = linear(WEIGHT)
    before = gap_of(mg.nn.frozen(model), x)
    history = vae.fit(model, x, epochs=40, batch_size=50, rng=rng, objective=objective,
                      optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(
                          0.03, 400)))
    after = gap_of(mg.nn.frozen(model), x)
    assert before > 1 and after < (0.02 if objective is wake_sleep else 0.1)
    truth = exact.LinearGaussian(WEIGHT, np.zeros(4), SPREAD).log_marginal(x).mean()
    assert history.rows[-1]["train_bound"] == pytest.approx(truth, abs=0.15)


def test_training_the_model_too_finds_the_likeliest_one(rng):
    true = exact.LinearGaussian(WEIGHT, np.zeros(4), SPREAD)
    x = true.likelihood(rng.standard_normal((500, 2))).sample(rng=rng)
    model = linear(mg.Tensor(0.3 * rng.standard_normal((4, 2))))

    def log_p(weight):
        return exact.LinearGaussian(weight, np.zeros(4), SPREAD).log_marginal(x).mean()
    before = log_p(model.decoder.weight.data)
    vae.fit(model, x, epochs=60, batch_size=50, rng=rng, objective=wake_sleep,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(0.03, 600)))
    after = log_p(model.decoder.weight.data)
    assert log_p(WEIGHT) - before > 0.5 and after > log_p(WEIGHT) - 0.03


# -- weighted ----------------------------------------------------------------------------------
def test_reweighted_draws_give_the_model_the_gradient_of_iwae(x):
    one, two = networks(), networks()
    told = reweighted_wake_sleep(one, x, rng=np.random.default_rng(5), samples=4)
    bound = estimators.iwae(two, x, rng=np.random.default_rng(5), samples=4)
    assert told.value == pytest.approx(bound.value.data, rel=1e-5)
    found, expected = grads(one, told.objective), grads(two, bound.value)
    for name, grad in found.items():
        alike = np.allclose(grad, expected[name], rtol=1e-4, atol=1e-5)
        assert alike != name.startswith("encoder"), name


def test_many_weighted_draws_give_the_encoder_the_score_under_the_posterior(rng):
    logits, values, x = None, rng.standard_normal((4, 3)), np.repeat(np.arange(4), 60)
    logits = mg.Tensor(values)
    reweighted_wake_sleep(finite(logits), x, rng=rng, samples=2000).objective.sum().backward()
    posterior = np.exp(finite(values).log_joints(np.arange(4)))
    posterior /= posterior.sum(axis=1, keepdims=True)
    q = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    assert logits.grad / 60 == pytest.approx(posterior - q, abs=0.02)


def test_a_single_weighted_draw_is_refused(x, rng):
    with pytest.raises(ValueError, match=r"\(samples=1\): the draws are weighted against each"):
        reweighted_wake_sleep(networks(), x, rng=rng, samples=1)


def test_draws_of_an_encoder_without_a_path_will_do(rng):
    logits = mg.Tensor(np.zeros((4, 3)))
    found = wake_sleep(finite(logits), np.arange(4), rng=rng)
    found.objective.sum().backward()
    assert found.value.shape == (4,) and np.abs(logits.grad).max() > 0


def test_standard_errors_of_dreams_are_those_of_independent_pairs(rng):
    """The mean of sleep over dreams is E_p log q(z|x), by enumeration."""
    values = rng.standard_normal((4, 3))
    p, model = joint(finite(values)), finite(values)
    truth = (p * model.posterior(np.arange(4)).log_probabilities).sum()
    draws = sleep(model, 20_000, rng=rng)
    assert standard_errors_off(draws, truth) < 4.5
