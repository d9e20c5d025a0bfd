"""Bounds on log p(x): the gradient of each against that of a linear-Gaussian model in closed form.

Parameters repeated along the batch give independent estimates of the gradient in one pass.
"""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import norm

import minigrad as mg
from tests.vae.linear_gaussian import (
    MEAN,
    PARTS,
    SPREAD,
    STD,
    WEIGHT,
    X,
    exact_elbo,
    linear,
    log_p,
    posterior,
    repeated,
    standard_errors_off,
)
from tests.vae.replay import log_weights
from vae import VAE, Bernoulli, Normal, dense_vae, elbo, fit, noise
from vae.estimators import (
    BOUNDS,
    MovingAverage,
    dreg,
    iwae,
    iwae_stl,
    score_elbo,
    sgvb_a,
    sticking_the_landing,
    vimco,
)
from vae.estimators.bounds import _without_each

# -- the ELBO -------------------------------------------------------------------------------------
ELBOS = [(elbo, 1), (elbo, 4), (sgvb_a, 1), (sgvb_a, 4), (sticking_the_landing, 1),
         (sticking_the_landing, 4), (score_elbo, 4),
         (partial(score_elbo, baseline=None), 1), (partial(score_elbo, baseline=-8.0), 1)]


@pytest.mark.parametrize("bound, samples", ELBOS)
def test_the_mean_and_its_gradient_are_those_of_the_closed_form(bound, samples):
    n = 1_000_000 // samples // (1 if samples == 4 else 2)
    value, slopes = mg.value_and_grad(exact_elbo, (0, 1, 2))(MEAN, STD, WEIGHT)
    found, gradients = repeated(bound, n=n, samples=samples)
    assert standard_errors_off(found.value.data, value) < 4
    for part, gradient, slope in zip(PARTS, gradients, slopes):
        error = gradient.std(axis=0) / np.sqrt(n)
        off = np.abs(gradient.mean(axis=0) - slope)
        assert np.all(off < 4 * error + 1e-12), part  # by q's mean `elbo` may not vary at all
        assert np.all(error < 0.03 * np.abs(slope).max())


@pytest.mark.parametrize("bound", [elbo, sgvb_a, sticking_the_landing, score_elbo])
def test_the_parts_add_up(bound):
    value, *parts = map(mg.stop_gradient, repeated(bound, n=5, samples=2)[0])
    np.testing.assert_allclose(value, parts[0] - parts[1], rtol=1e-12)
    kl = np.sum(0.5 * (MEAN**2 + STD**2 - 1) - np.log(STD))
    many = mg.stop_gradient(repeated(bound, n=100_000, samples=2)[0].kl)
    assert many.std() == 0 or standard_errors_off(many, kl) < 4
    np.testing.assert_allclose(many.mean(), kl, rtol=0.02)


def test_several_draws_are_the_mean_of_single_ones():
    n = 3
    with noise.record() as eps:
        together = repeated(elbo, n=n, samples=4)
    draws = eps.draws[0].value
    each = []
    for row in draws:
        with noise.replay(noise.Noise([noise.Draw("normal", row)])):
            each.append(repeated(elbo, n=n))
    np.testing.assert_allclose(together[0].value.data,
                               np.mean([found.value.data for found, _ in each], axis=0), rtol=1e-13)
    for k, slope in enumerate(together[1]):
        np.testing.assert_allclose(slope, np.mean([g[k] for _, g in each], axis=0), atol=1e-13)


def test_at_q_equal_to_the_prior_both_estimators_of_the_kl_are_one_draw_for_draw():
    prior = np.zeros(2), np.ones(2), WEIGHT
    a, b = (repeated(bound, n=50, parameters=prior)[0].value.data for bound in (sgvb_a, elbo))
    np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.parametrize("where, m, s, a_below_b", [
    ("posterior", 0.794, np.sqrt(0.5), True), ("beside it", 0.5, 1.1, True),
    ("too narrow", 0.1, 0.05, False), ("prior", 0.0, 1.0, None)])
def test_the_closed_form_of_the_kl_does_not_always_lower_the_variance(where, m, s, a_below_b):
    """p(z) = N(0, 1), p(x|z) = N(z, 1), x = 1.588: what c₁ε + c₂ε² varies is c₁² + 2c₂²."""
    x, n = 1.588, 200_000
    model = VAE(lambda x: Normal(np.full((n, 1), m), np.full((n, 1), s)),
                lambda z: Normal(z, 1.0), Normal.standard(1))
    exact = {elbo: ((x - m) * s)**2 + 2 * (s * s / 2)**2,
             sgvb_a: ((x - 2 * m) * s)**2 + 2 * (0.5 - s * s)**2}
    found = {}
    for bound, variance in exact.items():
        values = bound(model, np.full((n, 1), x), rng=np.random.default_rng(0)).value
        found[bound] = np.var(values)
        fourth = np.var(np.square(values - values.mean())) / n
        assert abs(found[bound] - variance) < 4 * np.sqrt(fourth) + 1e-12
    print(f"{where}: variance of A {found[sgvb_a]:.4f}, of B {found[elbo]:.4f}")
    if a_below_b is None:
        assert found[sgvb_a] == pytest.approx(found[elbo], rel=1e-12)
    else:
        assert bool(1.3 * found[sgvb_a] < found[elbo]) is a_below_b
        assert a_below_b or found[sgvb_a] > 50 * found[elbo]
    if where == "posterior":
        assert found[sgvb_a] < 1e-25 and found[elbo] == pytest.approx(0.44, abs=0.01)


# -- sticking the landing -------------------------------------------------------------------------
ORTHOGONAL = np.linalg.qr(WEIGHT)[0] * [1.5, 0.7]  # with it p(z|x) has independent dimensions


def at_the_posterior():
    mean, covariance = posterior(ORTHOGONAL)
    np.testing.assert_allclose(covariance[0, 1], 0, atol=1e-15)
    return mean, np.sqrt(np.diagonal(covariance)), ORTHOGONAL


@pytest.mark.parametrize("bound, samples", [(sticking_the_landing, 1), (sticking_the_landing, 3),
                                            (dreg, 1), (dreg, 5), (iwae_stl, 5)])
def test_at_the_exact_posterior_every_gradient_of_q_vanishes(bound, samples):
    """Draw for draw, up to rounding; while that of the ordinary estimator does not."""
    _, slopes = repeated(bound, n=200, samples=samples, parameters=at_the_posterior())
    _, ordinary = repeated(sgvb_a, n=200, parameters=at_the_posterior())
    for slope, usual in zip(slopes[:2], ordinary):
        assert np.abs(slope).max() < 1e-12
        assert usual.std() > 0.5


def test_with_one_draw_the_weighted_estimators_are_those_of_the_elbo():
    for weighted, single in ((iwae, sgvb_a), (iwae_stl, sticking_the_landing),
                             (dreg, sticking_the_landing)):
        found, slopes = repeated(weighted, n=20, samples=1)
        same, expected = repeated(single, n=20)
        for part, other in zip(found, same):
            np.testing.assert_allclose(part.data, other.data, rtol=1e-13)
        for slope, other in zip(slopes, expected):
            np.testing.assert_allclose(slope, other, rtol=1e-11, atol=1e-12)


# -- importance-weighted bounds -------------------------------------------------------------------
def iwae_by_hand(draws):
    """Of each row of draws (n, K, 2): log w, normalised weights, ∂log w/∂z and ∂log w/∂weight."""
    residual = X - draws @ WEIGHT.T
    log_w = norm(0, SPREAD).logpdf(residual).sum(-1) + norm(0, 1).logpdf(draws).sum(-1) \
        - norm(MEAN, STD).logpdf(draws).sum(-1)
    share = np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))
    slope = residual @ WEIGHT / SPREAD**2 - draws + (draws - MEAN) / STD**2
    by_weight = residual[..., :, None] * draws[..., None, :] / SPREAD**2
    return log_w, share, slope, by_weight


@pytest.mark.parametrize("bound, power", [(iwae, None), (iwae_stl, 1), (dreg, 2)])
def test_gradients_of_weighted_bounds_are_those_of_the_papers(bound, power):
    """Σ w̃ᵖ ∂log w/∂z ∂z/∂φ: p = 2 of Tucker et al., 1 of Roeder et al.; and Σ w̃ ∂log w/∂θ."""
    n, k = 6, 4
    with noise.record() as eps:
        found, slopes = repeated(bound, n=n, samples=k)
    eps = np.moveaxis(eps.draws[0].value, 0, 1)
    log_w, share, slope, by_weight = iwae_by_hand(MEAN + STD * eps)
    np.testing.assert_allclose(found.value.data, logsumexp(log_w, axis=1) - np.log(k), rtol=1e-12)
    np.testing.assert_allclose(slopes[2], np.sum(share[..., None, None] * by_weight, axis=1),
                               rtol=1e-10)
    by_mean, by_std = slope, slope * eps
    if power is None:  # less the score of q
        by_mean, by_std = by_mean - eps / STD, by_std - (eps**2 - 1) / STD
    powers = share[..., None] ** (power or 1)
    np.testing.assert_allclose(slopes[0], np.sum(powers * by_mean, axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slopes[1], np.sum(powers * by_std, axis=1), rtol=1e-9, atol=1e-12)


def test_the_score_is_held_against_the_other_draws():
    with noise.record() as eps:
        slope = repeated(score_elbo, n=5, samples=3)[1][0]
    eps = np.moveaxis(eps.draws[0].value, 0, 1)
    log_w = iwae_by_hand(MEAN + STD * eps)[0]
    signal = log_w - (log_w.sum(axis=1, keepdims=True) - log_w) / 2
    np.testing.assert_allclose(slope, np.mean(signal[..., None] * eps / STD, axis=1), rtol=1e-9)


def line(mean, std, weight):
    """One dimension of z and of x: p(x|z) = N(wz, s²)."""
    return VAE(lambda x: Normal(mean, std), lambda z: Normal(weight * z, SPREAD),
               Normal.standard(1))


LINE = np.array([0.3]), np.array([0.9]), np.array([1.4])


def exact_of_two_draws(mean, std, weight, x):
    """E log ½ (w(z₁) + w(z₂)) by Gauss-Hermite quadrature over both draws."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z = mean + std * nodes
    log_w = -0.5 * np.square((x - weight * z) / SPREAD) - np.log(SPREAD * np.sqrt(2 * np.pi)) \
        - 0.5 * np.square(z) + 0.5 * nodes**2 + np.log(std)
    pairs = np.logaddexp(log_w[:, None], log_w[None, :]) - np.log(2)
    return np.sum(np.outer(weights, weights) / (2 * np.pi) * pairs)


@pytest.mark.parametrize("bound", [iwae, dreg, vimco, iwae_stl])
def test_mean_gradients_of_weighted_bounds_are_those_of_quadrature(bound, record_property):
    n, x = 500_000, 1.9
    value, slopes = mg.value_and_grad(exact_of_two_draws, (0, 1, 2))(
        *(p[0] for p in LINE), x)
    leaves = [mg.Tensor(np.tile(p, (n, 1))) for p in LINE]
    found = bound(line(*leaves), np.full((n, 1), x), rng=np.random.default_rng(0), samples=2).value
    np.sum(found).backward()
    assert standard_errors_off(found.data, value) < 4
    off = [standard_errors_off(leaf.grad, slope)[0] for leaf, slope in zip(leaves, slopes)]
    errors = [leaf.grad.std() / np.sqrt(n) for leaf in leaves]
    assert max(errors) < 0.01 * max(map(abs, slopes))
    assert off[2] < 4
    if bound.biased:
        bias = [leaf.grad.mean() - slope for leaf, slope in zip(leaves[:2], slopes)]
        record_property("bias", bias)
        print(f"{bound.__name__}, K = 2: bias by mean and std {np.round(bias, 4)}, exact "
              f"{np.round(slopes[:2], 4)}")
        assert max(off[:2]) > 10
    else:
        assert max(off) < 4


def test_the_doubly_reparameterised_gradient_varies_less():
    variance = {bound: [repeated(bound, n=5_000, samples=32)[1][k].var() for k in (0, 1)]
                for bound in (iwae, dreg)}
    assert np.all(np.less(variance[dreg], np.divide(variance[iwae], 3)))


def test_the_bound_grows_with_k_up_to_log_p():
    means, errors = [], []
    for k in (1, 2, 5, 25):
        values = repeated(iwae, n=20_000, samples=k, seed=k)[0].value.data
        means.append(values.mean())
        errors.append(values.std() / np.sqrt(len(values)))
    assert np.all(np.diff(means) > 3 * np.hypot(errors[1:], errors[:-1]))
    assert means[-1] < log_p() + 4 * errors[-1]
    assert log_p() - means[-1] < 0.1 < log_p() - means[0]
    assert abs(means[0] - exact_elbo(MEAN, STD, WEIGHT)) < 4 * errors[0]


@pytest.mark.parametrize("bound", [iwae, iwae_stl, dreg, vimco])
def test_the_value_is_the_log_of_the_mean_weight(bound):
    model, x = linear(MEAN, STD, WEIGHT), np.tile(X, (4, 1))
    model.encoder = lambda x: Normal(np.tile(MEAN, (4, 1)), np.tile(STD, (4, 1)))
    found = bound(model, x, rng=np.random.default_rng(1), samples=6)
    weights = log_weights(model, x, rng=np.random.default_rng(1), samples=6)
    np.testing.assert_allclose(found.value, logsumexp(weights, axis=0) - np.log(6), rtol=1e-13)


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_what_is_left_without_a_draw_is_the_loop_of_the_paper(draws):
    log_w = 50 * np.random.default_rng(0).standard_normal((draws, 4))
    found = _without_each(log_w)
    for j in range(draws):
        others = np.delete(log_w, j, axis=0)
        replaced = np.concatenate([others, others.mean(axis=0, keepdims=True)])
        np.testing.assert_allclose(found[j], logsumexp(replaced, axis=0) - np.log(draws),
                                   rtol=1e-12)


# -- discrete codes -------------------------------------------------------------------------------
LOGITS, DECODER = np.array([0.6, -0.8]), np.array([[1.0, -2.0], [0.5, 1.5], [-1.0, 0.7]])
TOSSED = np.array([1.0, 0.0, 1.0])


def coins(logits, weight):
    """Two coins for a code, three for a datum."""
    return VAE(lambda x: Bernoulli(logits),
               lambda z: Bernoulli(np.sum(weight * z[..., None, :], axis=-1)),
               Bernoulli(np.array([0.3, -0.2])))


def exact_over_codes(logits, weight, draws):
    """E log 1/K Σ w by all pairs (K = 2) or codes (K = 1), one by one."""
    codes = [np.array(code) for code in product((0.0, 1.0), repeat=2)]
    log_q = [np.sum(c * logits - mg.softplus(logits)) for c in codes]
    log_w = [np.sum(TOSSED * (weight @ c) - mg.softplus(weight @ c))
             + np.sum(np.where(c > 0, log_expit([0.3, -0.2]), log_expit([-0.3, 0.2]))) - lq
             for c, lq in zip(codes, log_q)]
    if draws == 1:
        return sum(np.exp(lq) * lw for lq, lw in zip(log_q, log_w))
    return sum(np.exp(log_q[i] + log_q[j]) * (np.logaddexp(log_w[i], log_w[j]) - np.log(2))
               for i, j in product(range(4), repeat=2))


@pytest.mark.parametrize("bound, samples, k", [
    (score_elbo, 4, 1), (partial(score_elbo, baseline=-3.0), 1, 1), (vimco, 2, 2)])
def test_mean_gradients_for_discrete_codes_are_those_of_enumeration(bound, samples, k):
    n = 400_000 // samples
    value, slopes = mg.value_and_grad(exact_over_codes, (0, 1))(LOGITS, DECODER, k)
    leaves = [mg.Tensor(np.tile(p, (n, *(1,) * p.ndim))) for p in (LOGITS, DECODER)]
    found = bound(coins(*leaves), np.tile(TOSSED, (n, 1)), rng=np.random.default_rng(3),
                  samples=samples).value
    np.sum(found).backward()
    assert standard_errors_off(found.data, value) < 4
    for leaf, slope in zip(leaves, slopes):
        assert np.all(standard_errors_off(leaf.grad, slope) < 4)
        assert np.all(leaf.grad.std(axis=0) / np.sqrt(n) < 0.03 * np.abs(slope).max())


def test_baselines_lower_the_variance_of_the_score():
    def variance(**options):
        return repeated(score_elbo, n=20_000, **options)[1][0].var()
    average, x, rng = MovingAverage(), np.tile(X, (20_000, 1)), np.random.default_rng(0)
    plain = variance(samples=4, baseline=None)
    assert variance(samples=4) < 0.5 * plain
    for _ in range(5):
        score_elbo(linear(np.tile(MEAN, (20_000, 1)), np.tile(STD, (20_000, 1)), WEIGHT), x,
                   rng=rng, samples=4, baseline=average)
    assert variance(samples=4, baseline=average) < 0.7 * plain


# -- derivatives, training, errors ----------------------------------------------------------------
@pytest.fixture
def tiny():
    """A VAE with float64 parameters, none of them zero, and six binary data."""
    rng = np.random.default_rng(11)
    model = dense_vae(5, (4,), 2, rng=rng)
    weights = [0.5 * rng.standard_normal(p.shape) for p in mg.nn.parameters(model)]
    return model, weights, rng.integers(0, 2, (6, 5)).astype(float)


@pytest.mark.parametrize("bound, samples", [(elbo, 3), (sgvb_a, 1), (sgvb_a, 3), (iwae, 3)])
def test_derivatives_with_frozen_noise(tiny, bound, samples):
    model, weights, x = tiny
    with noise.record() as eps:
        bound(model, x, rng=np.random.default_rng(0), samples=samples)

    def value(*weights):
        with noise.replay(eps):
            return bound(mg.nn.with_parameters(model, weights), x, rng=None,
                         samples=samples).value
    mg.check_grads(value, tuple(weights), order=2)


def test_the_decoders_gradient_is_that_of_the_value_where_only_qs_is_estimated(tiny):
    model, weights, x = tiny

    def decoders(bound):
        leaves = [mg.Tensor(w) for w in weights]
        value = bound(mg.nn.with_parameters(model, leaves), x, rng=np.random.default_rng(0),
                      samples=3).value
        np.sum(value).backward()
        return [leaf.grad for leaf in leaves[4:]]
    for plain, others in ((elbo, (sgvb_a, sticking_the_landing, score_elbo)),
                          (iwae, (iwae_stl, dreg, vimco))):
        expected = decoders(plain)
        for bound in others:
            for found, slope in zip(decoders(bound), expected, strict=True):
                np.testing.assert_allclose(found, slope, rtol=1e-9, atol=1e-12)


def test_the_doubly_reparameterised_gradient_is_of_first_order():
    def value(mean):
        model = VAE(lambda x: Normal(mean, STD), lambda z: Normal(z @ WEIGHT.T, SPREAD),
                    Normal.standard(2))
        return np.sum(dreg(model, X[None], rng=np.random.default_rng(0), samples=3).value)
    assert np.all(np.isfinite(mg.grad(value)(MEAN[None])))
    for higher in (lambda: mg.hessian(value)(MEAN[None]),
                   lambda: mg.jvp(value, (MEAN[None],), (MEAN[None],))):
        with pytest.raises(mg.NoRule, match=r"dreg.*again.*iwae"):
            higher()


@pytest.mark.parametrize("name", BOUNDS)
def test_training_takes_every_bound(name):
    rng = np.random.default_rng(0)
    x = (rng.random((64, 8)) < expit(np.linspace(-3, 3, 8))).astype(np.float32)
    model = dense_vae(8, (6,), 2, rng=rng)
    bound = partial(BOUNDS[name], samples=3)
    history = fit(model, x, epochs=8, batch_size=16, rng=rng, objective=bound,
                  optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=0.02))
    assert history.rows[-1]["train_bound"] > history.rows[0]["train_bound"] + 0.2
    assert {part.dtype for part in bound(model, x, rng=rng)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("bound, samples, words", [
    (vimco, 1, "vimco with samples=1.*2 or more"), (score_elbo, 1, "samples of 2 or more"),
    (elbo, 0, "samples=0"), (dreg, 0, "samples=0"), (sgvb_a, -1, "samples=-1")])
def test_too_few_draws_are_named(bound, samples, words):
    with pytest.raises(ValueError, match=words):
        bound(linear(MEAN, STD, WEIGHT), X, rng=np.random.default_rng(0), samples=samples)


def test_each_bound_says_where_it_is_from():
    assert {name for name, f in BOUNDS.items() if f.biased} == {"iwae_stl"}
    assert all("20" in f.source and f.needs and f.__doc__ for f in BOUNDS.values())
