"""vae.exact: against SciPy, sums over all values, quadrature, and gradients derived by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import factorial, gamma, logsumexp, softmax

import minigrad as mg
import vae
from tests.vae.replay import log_weights
from vae import Bernoulli, Normal
from vae.distributions.categorical import Categorical
from vae.distributions.gamma import Gamma
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal
from vae.exact import (
    DiscreteLatent,
    GammaPoisson,
    GaussianMixture,
    LinearGaussian,
    auxiliary_identities,
    expectation,
    gaussian_joint_identities,
    identities,
    joint_identities,
)
from vae.exact.derivations import QUADRATURE, displaced, drawn


def a_covariance(rng, *shape):
    root = rng.standard_normal((*shape, shape[-1]))
    return root @ np.swapaxes(root, -1, -2) + 0.3 * np.eye(shape[-1])


def simplex(rng, *shape):
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def a_model(kind, rng):
    return {
        "pca": lambda: LinearGaussian(rng.standard_normal((4, 2)), rng.standard_normal(4), 0.6),
        "factor analysis": lambda: LinearGaussian(
            rng.standard_normal((4, 2)), rng.standard_normal(4), rng.uniform(0.3, 2, 4)),
        "table": lambda: DiscreteLatent(rng.standard_normal(4), rng.standard_normal((4, 5))),
        "coins": lambda: DiscreteLatent(rng.standard_normal(4), rng.standard_normal((4, 6)),
                                        family=Bernoulli),
        "counts": lambda: GammaPoisson(np.array(1.7), np.array(0.6), 3),
        "mixture": lambda: GaussianMixture(rng.standard_normal(3), rng.standard_normal((3, 2)),
                                           rng.uniform(0.5, 1, (3, 2))),
        "full mixture": lambda: GaussianMixture.from_covariances(
            rng.standard_normal(3), rng.standard_normal((3, 2)), a_covariance(rng, 3, 2)),
    }[kind]()


KINDS = ["pca", "factor analysis", "table", "coins", "counts", "mixture", "full mixture"]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture(params=KINDS)
def model(request, rng):
    return a_model(request.param, rng)


# -- what is known, against SciPy and sums ---------------------------------------------------------
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 4), st.floats(0.2, 3),
       st.floats(0.1, 3), st.booleans())
@settings(max_examples=1000)
def test_log_p_is_elbo_plus_kl_on_any_linear_gaussian(seed, d, k, std, scale, pca):
    rng = np.random.default_rng(seed)
    spread = std if pca else std * rng.uniform(0.5, 2, d)
    model = LinearGaussian(scale * rng.standard_normal((d, k)), rng.standard_normal(d), spread)
    x, mean = 3 * rng.standard_normal((3, d)), 2 * rng.standard_normal((3, k))
    log_p = model.log_marginal(x)
    cov = model.weight @ model.weight.T + np.square(spread) * np.eye(d)
    exact = stats.multivariate_normal(model.bias, cov).logpdf(x)
    np.testing.assert_allclose(log_p, exact, rtol=1e-10)  # SciPy's own error, by eigenvalues

    posterior, gain = model.exact_posterior(x), np.linalg.solve(cov, model.weight).T
    np.testing.assert_allclose(posterior.mean, (x - model.bias) @ gain.T, atol=1e-10)
    np.testing.assert_allclose(posterior.covariance[0], np.eye(k) - gain @ model.weight, atol=1e-10)
    for q in (Normal(mean, rng.uniform(0.1, 2, (3, k))), posterior,
              MultivariateNormal.from_covariance(mean, a_covariance(rng, 3, k)),
              LowRankNormal(mean, rng.standard_normal((3, k, 1)), rng.uniform(0.1, 1, (3, k)))):
        gap = model.gap(q, x)
        np.testing.assert_allclose(model.elbo(q, x) + gap, log_p, rtol=1e-12, atol=1e-12)
        assert np.all(gap >= -1e-12) and (q is not posterior or np.all(gap < 1e-12))


@pytest.mark.parametrize("kind", ["table", "coins", "mixture", "full mixture"])
def test_a_finite_latent_is_summed_over(rng, kind):
    model = a_model(kind, rng)
    x, q = drawn(model, 5, rng), Categorical(rng.standard_normal((5, len(model.logits))))
    log_prior = np.log(softmax(model.logits))
    for i in range(5):
        joint = []
        for z, prior in enumerate(log_prior):
            if kind == "table":
                likelihood = np.log(softmax(model.table[z])[x[i]])
            elif kind == "coins":
                likelihood = stats.bernoulli(1 / (1 + np.exp(-model.table[z]))).logpmf(x[i]).sum()
            elif kind == "mixture":
                likelihood = stats.norm(model.means[z], model.stds[z]).logpdf(x[i]).sum()
            else:
                cov = model.cholesky[z] @ model.cholesky[z].T
                likelihood = stats.multivariate_normal(model.means[z], cov).logpdf(x[i])
            joint.append(prior + likelihood)
        p_q = softmax(q.logits[i])
        assert model.log_marginal(x)[i] == pytest.approx(logsumexp(joint), rel=1e-12)
        np.testing.assert_allclose(np.exp(model.exact_posterior(x).log_probabilities[i]),
                                   softmax(joint), rtol=1e-12)
        assert model.elbo(q, x)[i] == pytest.approx(p_q @ (joint - np.log(p_q)), rel=1e-12)
        assert model.gap(q, x)[i] == pytest.approx(stats.entropy(p_q, softmax(joint)), rel=1e-12)


@pytest.mark.parametrize("counts", [1, 3])
def test_counts_are_negative_binomial_and_integrate(rng, counts):
    a, b = 1.7, 0.6
    model = GammaPoisson(a, b, counts)
    x = rng.poisson(3.0, (4, counts)).astype(float)
    log_p, posterior = model.log_marginal(x), model.exact_posterior(x)
    if counts == 1:
        np.testing.assert_allclose(log_p, stats.nbinom(a, b / (1 + b)).logpmf(x[:, 0]), rtol=1e-12)
    for i in range(4):
        def joint(z, i=i):
            return (b**a / gamma(a) * z**(a - 1) * np.exp(-(b + counts) * z)
                    * np.prod(z**x[i] / factorial(x[i])))
        total = integrate.quad(joint, 0, np.inf, epsabs=0, epsrel=1e-11, limit=200)[0]
        assert np.exp(log_p[i]) == pytest.approx(total, rel=1e-9)
        exact = stats.gamma(posterior.concentration[i], scale=1 / posterior.rate[i])
        assert exact.pdf(2.0) == pytest.approx(joint(2.0) / total, rel=1e-9)


@given(st.integers(0, 2**32), st.sampled_from([k for k in KINDS if k not in KINDS[:2]]))
@settings(max_examples=50)
def test_log_p_is_elbo_plus_kl_on_the_others(seed, kind):
    rng = np.random.default_rng(seed)
    model = a_model(kind, rng)
    x, n = drawn(model, 4, rng), 4
    q = (Gamma(rng.uniform(0.2, 9, n), rng.uniform(0.2, 5, n), event_ndim=0) if kind == "counts"
         else Categorical(3 * rng.standard_normal((n, len(model.logits)))))
    gap = model.gap(q, x)
    np.testing.assert_allclose(model.elbo(q, x) + gap, model.log_marginal(x), rtol=1e-12)
    assert np.all(gap >= 0)


def test_a_q_that_rules_values_out_counts_the_others(rng):
    model, x = a_model("table", rng), np.array([3])
    q = Categorical(np.array([[0.0, -np.inf, 1.0, -np.inf]]))
    p, joint = softmax([0, 1]), model.log_joints(x)[0, [0, 2]]
    assert model.elbo(q, x)[0] == pytest.approx(p @ (joint - np.log(p)), rel=1e-12)
    assert model.elbo(q, x) + model.gap(q, x) == pytest.approx(model.log_marginal(x), rel=1e-12)
    slopes = mg.grad(lambda logits: np.sum(model.elbo(Categorical(logits), x)))(q.logits)
    assert np.all(np.isfinite(slopes)) and np.all(slopes[0, [1, 3]] == 0)


# -- the derivations -----------------------------------------------------------------------------
def test_every_line_of_the_derivations_holds(model, capsys):
    lines = identities(model)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + len(lines) and len({line.name for line in lines}) == 17
    for line, text in zip(lines, printed[1:]):
        assert text.startswith(line.name)
        assert line.difference <= (1e-10 if line.name.endswith(QUADRATURE) else 1e-12), text


def test_the_derivations_take_data_and_q_and_are_silent_when_asked(rng, capsys):
    model, x = a_model("pca", rng), rng.standard_normal((3, 4))
    q = MultivariateNormal.from_covariance(rng.standard_normal((3, 2)), a_covariance(rng, 3, 2))
    lines = identities(model, x, q, show=False)
    assert capsys.readouterr().out == "" and max(line.difference for line in lines) <= 1e-12
    found, = (line for line in lines if line.name.startswith("log p(x) = ELBO"))
    np.testing.assert_array_equal(found.left, model.log_marginal(x))
    np.testing.assert_array_equal(found.right, model.elbo(q, x) + model.gap(q, x))


@pytest.mark.parametrize("wrong, expected", [("elbo", 5), ("gap", 4), ("log_marginal", 7)])
def test_a_wrong_model_is_found_out(rng, wrong, expected):
    def slightly(self, *args):
        return (1 + 1e-9) * getattr(LinearGaussian, wrong)(self, *args)
    model = a_model("pca", rng)
    model.__class__ = type("Wrong", (LinearGaussian,), {wrong: slightly})
    bad = [line.name for line in identities(model, show=False) if line.difference > 1e-11]
    assert len(bad) == expected


def test_the_rule_for_expectations_is_right_where_it_says(rng):
    mean, cov = rng.standard_normal((1, 2)), a_covariance(rng, 2)
    q = MultivariateNormal.from_covariance(mean, cov)
    fourth = expectation(q, lambda z: (z[..., 0] - mean[0, 0])**3 * (z[..., 1] - mean[0, 1]))
    np.testing.assert_allclose(fourth, 3 * cov[0, 0] * cov[0, 1], rtol=1e-12)
    q = Gamma(np.array([0.3, 5.0, 400.0]), np.array([2.0, 0.5, 3.0]), event_ndim=0)
    np.testing.assert_allclose(expectation(q, lambda z: z * z), q.variance + q.mean**2, rtol=1e-11)
    np.testing.assert_allclose(expectation(q, lambda z: 1 + 0 * z), 1, rtol=1e-11)


# -- joints (Su's reading of the VAE) --------------------------------------------------------------
@given(st.integers(0, 2**32))
def test_the_elbo_is_a_divergence_of_joints_on_5_by_4_by_3(seed):
    rng = np.random.default_rng(seed)
    model = DiscreteLatent(rng.standard_normal(4), rng.standard_normal((4, 5)))
    data, q_u, q_z, p_u = (simplex(rng, *s) for s in ((5,), (5, 3), (5, 3, 4), (5, 4, 3)))
    joint = joint_identities(model, data, Categorical(rng.standard_normal((5, 4))))
    with_u = auxiliary_identities(model, data, q_u, q_z, p_u)
    for line in joint + with_u:
        assert line.difference <= 1e-12, line
    assert joint[0].left >= joint[2].left > 0  # the joint bounds the marginal divergence
    assert np.all(with_u[0].left <= model.elbo(Categorical(np.log(
        np.einsum("mr,mrk->mk", q_u, q_z))), np.arange(5)))  # u alone does not tighten


@given(st.integers(0, 2**32))
def test_the_same_for_gaussian_data(seed):
    rng = np.random.default_rng(seed)
    model = a_model("factor analysis", rng)
    data = rng.standard_normal(4), a_covariance(rng, 4)
    encoder = 0.3 * rng.standard_normal((2, 4)), rng.standard_normal(2), a_covariance(rng, 2)
    for line in gaussian_joint_identities(model, data, encoder):
        assert line.difference <= 1e-12, line


# -- gradients ---------------------------------------------------------------------------------
def test_gradients_of_the_linear_gaussian_are_those_by_hand(rng):
    model, x = a_model("factor analysis", rng), rng.standard_normal((3, 4))
    w, b, std = model.weight, model.bias, model.std
    m, s = rng.standard_normal((3, 2)), rng.uniform(0.3, 2, (3, 2))
    inverse = np.linalg.inv(w @ w.T + np.diag(std**2))
    by_hand = [np.zeros_like(a) for a in (w, b, std, w, b, std)]
    by_m, by_s = [], []
    for i in range(3):
        u = inverse @ (x[i] - b)
        e, spread = x[i] - w @ m[i] - b, w @ np.diag(s[i]**2)
        for total, part in zip(by_hand, (
                (np.outer(u, u) - inverse) @ w, u, (u * u - np.diag(inverse)) * std,
                (np.outer(e, m[i]) - spread) / std[:, None]**2, e / std**2,
                -1 / std + (e * e + np.diag(spread @ w.T)) / std**3)):
            total += part
        by_m.append(w.T @ (e / std**2) - m[i])
        by_s.append(1 / s[i] - s[i] * (1 + np.sum((w / std[:, None])**2, axis=0)))
    found = [*mg.grad(lambda *p: np.sum(LinearGaussian(*p).log_marginal(x)), (0, 1, 2))(w, b, std),
             *mg.grad(lambda w, b, std, m, s: np.sum(LinearGaussian(w, b, std).elbo(
                 Normal(m, s), x)), (0, 1, 2, 3, 4))(w, b, std, m, s)]
    for one, other in zip(found, [*by_hand, np.array(by_m), np.array(by_s)], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_gradients_of_the_discrete_model_are_those_by_hand(rng):
    model, x = a_model("table", rng), np.array([0, 3, 4])
    logits, table, raw = model.logits, model.table, rng.standard_normal((3, 4))
    log_q = np.log(softmax(raw, axis=1))
    p_x = np.eye(5)[x][:, None] - softmax(table, axis=1)  # (n, k, 5)
    by_hand = []
    for weight in (softmax(model.log_joints(x), axis=1), softmax(raw, axis=1)):
        by_hand += [np.sum(weight - softmax(logits), axis=0),
                    np.einsum("nk,nkv->kv", weight, p_x)]
    ratio = model.log_joints(x) - log_q
    by_hand.append(np.exp(log_q) * (ratio - np.sum(np.exp(log_q) * ratio, axis=1, keepdims=True)))
    found = [*mg.grad(lambda *p: np.sum(DiscreteLatent(*p).log_marginal(x)), (0, 1))(logits, table),
             *mg.grad(lambda a, b, raw: np.sum(DiscreteLatent(a, b).elbo(Categorical(raw), x)),
                      (0, 1, 2))(logits, table, raw)]
    for one, other in zip(found, by_hand, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_all_is_differentiable_twice(model, rng):
    x = drawn(model, 2, rng)
    q = displaced(model.exact_posterior(x))
    values = [getattr(model, name) for name in model.parameters]
    make = {Normal: lambda m, s: Normal(m, np.exp(s)), Categorical: Categorical,
            Gamma: lambda a, b: Gamma(np.exp(a), np.exp(b), event_ndim=0)}[type(q)]
    raw = {Normal: lambda: (q.mean, q.log_std), Categorical: lambda: (q.logits,),
           Gamma: lambda: (np.log(q.concentration), np.log(q.rate))}[type(q)]()
    if "cholesky" in model.parameters:  # of which only the lower half is free
        values[-1], model.at = rng.standard_normal((3, 2, 2)), lambda logits, means, root: (
            GaussianMixture.from_covariances(logits, means,
                                             root @ np.swapaxes(root, -1, -2) + np.eye(2)))

    def everything(*both):
        now, of_q = model.at(*both[:len(values)]), make(*both[len(values):])
        return np.stack([now.log_marginal(x), now.elbo(of_q, x), now.gap(of_q, x)])
    mg.check_grads(everything, (*values, *raw), order=2)


# -- as a model of vae ---------------------------------------------------------------------------
def test_the_objectives_run_and_at_the_posterior_every_draw_gives_log_p(model, rng):
    x = drawn(model, 3, rng)
    log_p = model.log_marginal(x)
    weights = log_weights(model, x, rng=rng, samples=4)
    np.testing.assert_allclose(weights, np.broadcast_to(log_p, (4, 3)), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(vae.estimators.iwae(model, x, rng=rng, samples=4).value, log_p,
                               rtol=1e-11, atol=1e-11)


def test_an_encoder_takes_the_place_of_the_posterior(model, rng):
    x = np.repeat(drawn(model, 1, rng), 4000, axis=0)
    other = model.with_encoder(lambda x: displaced(model.exact_posterior(x)))
    assert model.encoder is None
    q = other.posterior(x)
    weights = log_weights(other, x, rng=rng, samples=1)[0]
    error = weights.std() / np.sqrt(len(x))
    assert abs(weights.mean() - model.elbo(q, x)[0]) < 4 * error
    bound = vae.elbo(other, x, rng=rng)
    assert abs(bound.value.mean() - model.elbo(q, x)[0]) < 4 * bound.value.std() / 4000**0.5


def test_draws_of_the_model_have_the_moments_that_it_says(rng):
    model = a_model("pca", rng)
    x = drawn(model, 20_000, rng)
    cov = model.weight @ model.weight.T + 0.36 * np.eye(4)
    assert np.all(np.abs(x.mean(axis=0) - model.bias) < 4 * np.sqrt(np.diag(cov) / 20_000))
    assert np.max(np.abs(np.cov(x.T) - cov)) < 4 * np.sqrt(2 / 20_000) * np.max(cov)
    assert model.sample(5, rng=rng).shape == model.reconstruct(x[:5]).shape == (5, 4)


def test_parameters_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="std must be positive and finite, it is -1"):
        LinearGaussian(np.ones((3, 2)), np.ones(3), -1.0)
    with pytest.raises(ValueError, match=r"they must be \(d, k\), \(d,\), and \(\) or \(d,\)"):
        LinearGaussian(np.ones((3, 2)), np.ones(2), 1.0)
    with pytest.raises(ValueError, match="rate must be positive"):
        GammaPoisson(1.0, 0.0)
    with pytest.raises(ValueError, match="one for each value of z"):
        DiscreteLatent(np.zeros(3), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="stds must be positive"):
        GaussianMixture(np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2)))


# -- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize("call, words", [
    (lambda m, x: m.elbo(vae.Laplace(np.zeros((3, 2)), 1.0), x),
     "of a Laplace has no closed form; it has one of Normal, .*sgvb_a"),
    (lambda m, x: m.elbo(vae.Normal(np.zeros((5, 2)), 1.0), x),
     r"\(3, 4\) and q has the batch \(5"),
    (lambda m, x: m.elbo(vae.Normal(np.zeros(2), 1.0), x[0]), r"\(4,\) and q has the batch \(\)"),
    (lambda m, x: identities(vae.VAE(None, None, None)), "identities of a VAE.*vae.exact"),
    (lambda m, x: expectation(vae.Laplace(0.0, 1.0), np.square), "over a Laplace: there are nodes"),
])
def test_what_has_no_closed_form_is_refused_by_name(rng, call, words):
    model = a_model("pca", rng)
    with pytest.raises((TypeError, ValueError), match=words):
        call(model, drawn(model, 3, rng))
