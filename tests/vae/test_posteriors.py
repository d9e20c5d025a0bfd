"""Heads of encoders other than independent Gaussians, and codes of categories."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

import minigrad as mg
import vae
from tests.vae.trained import same, train, values
from vae import estimators
from vae.posteriors import (
    ToBeta,
    ToLowRankNormal,
    ToMixture,
    ToMultivariateNormal,
    ToOneHotCategorical,
    categorical_vae,
    expected_elbo,
    stratified_elbo,
)

PIXELS = 6
HEADS = {"full": ToMultivariateNormal, "low rank": partial(ToLowRankNormal, rank=1),
         "mixture": partial(ToMixture, components=2), "beta": ToBeta,
         "mixtures": partial(ToMixture, components=2, per_dimension=True)}
GAUSSIAN = ["full", "low rank"]


@pytest.fixture(scope="module")
def data():
    """Noisy copies of three binary patterns, (120, 6), float32."""
    rng = np.random.default_rng(4)
    patterns, flips = rng.integers(0, 2, (3, PIXELS)), rng.random((120, PIXELS)) < 0.1
    return (patterns[rng.integers(0, 3, 120)] ^ flips).astype(np.float32)


def with_head(name, n_z=2, seed=0, n_x=PIXELS):
    rng = np.random.default_rng(seed)
    model = vae.dense_vae(n_x, (8,), n_z, rng=rng)
    model.encoder.layers[-1] = HEADS[name](8, n_z, rng=rng)
    if name == "beta":
        model.given_prior = vae.Uniform(np.zeros(n_z, np.float32), np.ones(n_z, np.float32))
    return model


def objective_of(name):
    return stratified_elbo if name == "mixture" else estimators.sgvb_a


every = pytest.mark.parametrize("name", HEADS)


# -- heads -------------------------------------------------------------------------------------
@every
@pytest.mark.parametrize("n_z", [1, 3])
def test_shapes_of_any_batch_and_float32(name, n_z):
    head = mg.nn.frozen(HEADS[name](4, n_z, rng=np.random.default_rng(0)))
    for batch in ((), (5,), (2, 5)):
        q = head(np.ones((*batch, 4), np.float32))
        z = q.sample((3,), rng=np.random.default_rng(0))
        assert q.shape == (*batch, n_z) and z.dtype == np.float32
        assert q.log_prob(z).shape == (3, *batch) and q.log_prob(z).dtype == np.float32


def test_the_numbers_of_the_full_covariance_are_where_the_docstring_says():
    head = ToMultivariateNormal(1, 3, rng=np.random.default_rng(0))
    raw = np.arange(9) / 10
    head.linear.weight.data[...], head.linear.bias.data[...] = 0, raw
    q = mg.nn.frozen(head)(np.zeros((1, 1), np.float32))
    low = [[np.exp(0.3), 0, 0], [0.6, np.exp(0.4), 0], [0.7, 0.8, np.exp(0.5)]]
    np.testing.assert_allclose(q.mean, [raw[:3]], rtol=1e-6)
    np.testing.assert_allclose(q.cholesky, [low], rtol=1e-6)


def test_the_covariance_of_low_rank_is_that_of_its_numbers():
    head = ToLowRankNormal(1, 2, rank=2, rng=np.random.default_rng(0))
    raw = np.arange(8) / 10
    head.linear.weight.data[...], head.linear.bias.data[...] = 0, raw
    q = mg.nn.frozen(head)(np.zeros((1, 1), np.float32))
    factor = np.array([[0.4, 0.5], [0.6, 0.7]])
    np.testing.assert_allclose(q.covariance, [factor @ factor.T + np.diag(np.exp(raw[2:4]))],
                               rtol=1e-6)


@every
def test_each_parameter_is_found_once_and_gets_a_gradient(data, name):
    model = with_head(name)
    bound = objective_of(name)(model, data, rng=np.random.default_rng(0))
    (-np.mean(bound.value)).backward()
    found = mg.nn.named_parameters(model)
    assert len({id(p) for p in found.values()}) == len(found) == len(mg.nn.parameters(model))
    for parameter, p in found.items():
        assert np.any(p.grad) and p.grad.dtype == np.float32, parameter


@every
def test_training_improves_the_bound_and_resumes_to_the_same_bits(data, name, tmp_path):
    run = partial(train, x=data, objective=objective_of(name))
    straight = with_head(name)
    history = run(straight, epochs=15)
    assert history.rows[-1]["train_bound"] > history.rows[0]["train_bound"] + 0.3
    run(with_head(name), epochs=7, checkpoint=tmp_path)
    resumed = with_head(name)
    run(resumed, epochs=15, checkpoint=tmp_path, resume=True)
    assert same(values(straight), values(resumed))


@every
def test_a_saved_model_is_read_back_and_the_frozen_one_gives_the_same(data, name, tmp_path):
    model, other = with_head(name), with_head(name, seed=5)
    mg.nn.save(tmp_path / "model.npz", model)
    mg.nn.load(tmp_path / "model.npz", other)
    bounds = [objective_of(name)(m, data, rng=np.random.default_rng(0)).value
              for m in (model, other, mg.nn.frozen(model))]
    assert np.array_equal(bounds[0].data, bounds[1].data)
    assert np.array_equal(bounds[0].data, bounds[2])


@pytest.mark.parametrize("name", [*GAUSSIAN, "beta"])
def test_evaluate_has_a_closed_form_of_the_kl(data, name):
    found = vae.evaluate(with_head(name), data, repeats=40)
    drawn = np.mean([estimators.sgvb_a(mg.nn.frozen(with_head(name)), data, samples=40,
                                       rng=np.random.default_rng(i)).kl for i in range(10)])
    assert found["kl"] == pytest.approx(drawn, abs=0.03)


# -- against what is known exactly -------------------------------------------------------------
def linear_model():
    rng = np.random.default_rng(3)
    model = vae.exact.LinearGaussian(rng.standard_normal((4, 2)), rng.standard_normal(4),
                                     np.full(4, 0.6))
    z = rng.standard_normal((60, 2))
    return model, model.likelihood(z).sample(rng=rng)


def at_the_posterior(head, model, x):
    """The head with weights that give p(z|x) of a linear Gaussian model, whatever x."""
    exact = model.exact_posterior(x)
    slope = model.exact_posterior(np.eye(4)).mean - model.exact_posterior(np.zeros((1, 4))).mean
    weight, bias = head.linear.weight.data, head.linear.bias.data
    weight[...] = bias[...] = 0
    weight[:, :2], bias[:2] = slope, model.exact_posterior(np.zeros((1, 4))).mean[0]
    return exact, bias


def test_full_covariance_is_the_exact_posterior_of_the_linear_gaussian_model():
    model, x = linear_model()
    head = ToMultivariateNormal(4, 2, rng=np.random.default_rng(0), dtype=np.float64)
    exact, bias = at_the_posterior(head, model, x)
    low = np.broadcast_to(exact.cholesky, (len(x), 2, 2))[0]
    bias[2:] = np.log(low[0, 0]), np.log(low[1, 1]), low[1, 0]
    q = mg.nn.frozen(head)(x)
    assert np.abs(model.gap(q, x)).max() < 1e-10
    np.testing.assert_allclose(model.elbo(q, x), model.log_marginal(x), rtol=1e-10)
    bound = estimators.sgvb_a(model.with_encoder(lambda x: q), x, rng=np.random.default_rng(0))
    np.testing.assert_allclose(bound.value, model.log_marginal(x), rtol=1e-10)  # in every draw


def gap_at_the_best(head, model, x):
    """The mean gap of the head whose mean ELBO, in closed form, is highest."""
    found = mg.nn.parameters(head)

    def loss_of(flat):
        ends = np.cumsum([p.data.size for p in found])
        for p, piece in zip(found, np.split(flat, ends[:-1])):
            p.data, p.grad = piece.reshape(p.shape), None
        loss = -np.mean(model.elbo(head(x), x))
        loss.backward()
        return float(loss.data), np.concatenate([p.grad.ravel() for p in found])
    flat = minimize(loss_of, np.concatenate([p.data.ravel() for p in found]), jac=True).x
    loss_of(flat)
    q = mg.nn.frozen(head)(x)
    assert (model.elbo(q, x) <= model.log_marginal(x) + 1e-10).all()
    return np.mean(model.gap(q, x))


@pytest.mark.parametrize("name", GAUSSIAN)
def test_training_closes_the_gap_that_independent_dimensions_leave(name):
    model, x = linear_model()
    init = {"rng": np.random.default_rng(0), "dtype": np.float64}
    independent = gap_at_the_best(vae.networks.ToNormal(4, 2, **init), model, x)
    assert gap_at_the_best(HEADS[name](4, 2, **init), model, x) < 1e-3 < 0.1 < independent


GRID = np.linspace(-12, 12, 4001)


@pytest.mark.parametrize("name", ["mixture", "mixtures", "full", "low rank"])
def test_the_bound_is_what_quadrature_says_and_below_log_p(data, name):
    model, x, objective = with_head(name, n_z=1), data[:20], objective_of(name)
    train(model, data, objective=objective, epochs=10)
    model, z, h = mg.nn.frozen(model), GRID[:, None, None], GRID[1] - GRID[0]
    log_joint = model.likelihood(z).log_prob(x) + model.prior.log_prob(z)
    log_q = model.posterior(x).log_prob(np.broadcast_to(z, (len(GRID), len(x), 1)))
    elbo = h * (np.exp(log_q) * (log_joint - log_q)).sum(axis=0)
    assert (elbo < logsumexp(log_joint, axis=0) + np.log(h) + 1e-4).all()
    for samples in (1, 3):
        draws = np.stack([objective(model, x, rng=np.random.default_rng(i), samples=samples).value
                          for i in range(400)]).astype(np.float64).mean(axis=1)
        assert abs(draws.mean() - elbo.mean()) < 4 * draws.std(ddof=1) / 20 + 1e-4


class Squared:
    """z -> N(z², ½²): both signs of z explain the same x."""

    def __call__(self, z):
        return vae.Normal(np.square(z), 0.5)


def bound_on_squares(head, objective):
    x = np.full((40, 1), 2.0)
    model = vae.VAE(head, Squared(), vae.Normal(np.zeros(1), np.ones(1)))
    train(model, x, epochs=300, objective=objective, lr=3e-2)
    z, h = GRID[:, None, None], GRID[1] - GRID[0]
    log_joint = model.likelihood(z).log_prob(x[:1]) + model.prior.log_prob(z)
    log_q = mg.nn.frozen(model).posterior(x[:1]).log_prob(z)
    log_p = logsumexp(log_joint) + np.log(h)
    return log_p, h * (np.exp(log_q) * (log_joint - log_q)).sum()


def test_a_mixture_finds_both_places_of_a_code_where_a_gaussian_finds_one():
    init = {"rng": np.random.default_rng(0), "dtype": np.float64}
    log_p, single = bound_on_squares(vae.networks.ToNormal(1, 1, **init), estimators.sgvb_a)
    for per_dimension, objective in ((False, stratified_elbo), (True, estimators.sgvb_a)):
        head = ToMixture(1, 1, components=2, per_dimension=per_dimension, **init)
        head.linear.weight.data[...] = 0  # x is the same for all
        head.linear.bias.data[...] = -0.5, 0.5, -2, -2  # two narrow ones, on either side
        log_p, both = bound_on_squares(head, objective)
        assert single + 0.3 < both <= log_p  # log 2 = 0.69 is what one place of two misses


def test_the_stratified_gradient_is_the_mean_of_that_by_the_score_function(data):
    def slope(objective, **options):
        model = with_head("mixture", n_z=1)
        (-np.mean(objective(model, data, **options).value)).backward()
        return np.concatenate([p.grad.ravel() for p in mg.nn.parameters(model.encoder)])
    one = np.stack([slope(stratified_elbo, rng=np.random.default_rng(i)) for i in range(150)])
    two = np.stack([slope(estimators.score_elbo, rng=np.random.default_rng(i), samples=2)
                    for i in range(150)])  # decodes as many rows
    error = np.sqrt(one.var(axis=0, ddof=1) / 150 + two.var(axis=0, ddof=1) / 150)
    far = np.abs(one.mean(axis=0) - two.mean(axis=0)) / (error + 1e-12)
    assert far.max() < 5 and one.var(axis=0).sum() < two.var(axis=0).sum()


# -- codes of categories -----------------------------------------------------------------------
def score(*args, **options):
    return estimators.score(*args, baseline="leave-one-out", **options)


WAYS = {
    "gumbel": partial(expected_elbo, estimator=estimators.gumbel_softmax),
    "straight through": expected_elbo,
    "rebar": partial(expected_elbo, estimator=estimators.rebar),
    "score": partial(expected_elbo, estimator=score, samples=4),
    "enumerated": partial(expected_elbo, estimator=estimators.enumerated),
    "score_elbo": partial(estimators.score_elbo, samples=4),
    "vimco": partial(estimators.vimco, samples=4),
}


def categorical(seed=0, **options):
    return categorical_vae(PIXELS, (12,), 2, 3, rng=np.random.default_rng(seed), **options)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_of_categories_trains(data, way):
    model = categorical(start=data.mean(axis=0))
    before = vae.evaluate(model, data, repeats=10)
    train(model, data, epochs=60, objective=WAYS[way])
    after = vae.evaluate(model, data, repeats=10)
    assert after["elbo"] > before["elbo"] + 0.5 and after["kl"] > 0.3
    assert all(p.data.dtype == np.float32 for p in mg.nn.parameters(model))


def test_relaxed_codes_train_by_their_own_density(data):
    model = categorical(relaxed=0.6, start=data.mean(axis=0))
    look = partial(vae.log_likelihood, model, data, samples=200, each=True)
    before = look()["log_likelihoods"]
    train(model, data, epochs=60)
    gain = look()["log_likelihoods"] - before
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(len(gain)) and gain.mean() > 0.3


@pytest.mark.parametrize("way", ["straight through", "rebar", "score", "enumerated", "score_elbo"])
def test_the_bound_of_categories_is_the_sum_over_all_codes(data, way):
    model = mg.nn.frozen(categorical())
    q = model.posterior(data)
    z = q.support_values()
    log_joint = model.likelihood(z).log_prob(data) + model.prior.log_prob(z)
    log_q = q.log_prob(z)
    elbo = (np.exp(log_q) * (log_joint - log_q)).sum(axis=0)
    assert (elbo <= logsumexp(log_joint, axis=0) + 1e-5).all()
    draws = np.stack([WAYS[way](model, data, rng=np.random.default_rng(i)).value
                      for i in range(200)]).astype(np.float64).mean(axis=1)
    assert abs(draws.mean() - elbo.mean()) < 4 * draws.std(ddof=1) / np.sqrt(200) + 1e-5


def test_the_temperature_follows_its_schedule(data):
    seen = []

    def estimator(f, q, *, rng, samples, temperature):
        seen.append(temperature)
        return estimators.gumbel_softmax(f, q, rng=rng, samples=samples, temperature=temperature)
    train(categorical(), data, epochs=2, objective=partial(
        expected_elbo, estimator=estimator, temperature=lambda step: 1 / (1 + step)))
    assert seen == [1 / (1 + step) for step in range(6)]


def test_codes_of_several_draws_are_decoded_as_one_each(data):
    model = mg.nn.frozen(categorical())
    z = model.posterior(data).sample((5,), rng=np.random.default_rng(0))
    each = np.stack([model.likelihood(one).mean for one in z])
    np.testing.assert_allclose(model.likelihood(z).mean, each, rtol=1e-5)
    assert model.sample(7, rng=np.random.default_rng(0)).shape == (7, PIXELS)


# -- errors ------------------------------------------------------------------------------------
@pytest.mark.parametrize("make, message", [
    (partial(ToMultivariateNormal, 2, 0), r"ToMultivariateNormal\(n_out=0\): at least 1"),
    (partial(ToLowRankNormal, 2, 2, rank=0), r"ToLowRankNormal\(rank=0\): at least 1"),
    (partial(ToMixture, 2, 2, components=0), r"ToMixture\(components=0\): at least 1"),
    (partial(ToOneHotCategorical, 2, 0, 3), r"\(variables=0\): at least 1"),
    (partial(categorical_vae, 4, (3,), 2, 1), r"categorical_vae\(categories=1\): at least 2"),
    (partial(categorical_vae, 4, 3, 2, 2), r"hidden=3\): give the sizes of the layers"),
    (partial(categorical_vae, 4, (), 2, 2), r"hidden=\(\)\): give the sizes of the layers"),
])
def test_what_can_not_be_made_is_said(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(rng=np.random.default_rng(0))


def test_an_objective_that_does_not_suit_the_posterior_says_which_does(data):
    rng = np.random.default_rng(0)
    for name, kind in (("full", "MultivariateNormal"), ("mixtures", "Mixture per dimension")):
        with pytest.raises(TypeError, match=f"= {kind}: a vae.Mixture of whole codes is expected"):
            stratified_elbo(with_head(name), data, rng=rng)
    with pytest.raises(vae.NoPath, match="score_elbo"):
        estimators.sgvb_a(with_head("mixture"), data, rng=rng)
    with pytest.raises(vae.NoPath, match="gumbel_softmax"):
        vae.elbo(categorical(), data, rng=rng)
    with pytest.raises(TypeError, match="a relaxation of MultivariateNormal is not known"):
        expected_elbo(with_head("full"), data, rng=rng)
