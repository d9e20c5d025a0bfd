"""The continuous Bernoulli distribution against quadrature, power series and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit

import minigrad as mg
from vae import noise
from vae.distributions.continuous_bernoulli import ContinuousBernoulli, cumulant

LOGITS = np.array([-40.0, -6.3, -2.1, -1.9, -0.7, -1e-3, -1e-9, 0, 1e-12, 1e-5, 0.3, 1.999, 2.001,
                   5, 30])


def single(logits):
    return ContinuousBernoulli(logits, event_ndim=0)


# -- values: against integrals of λˣ (1-λ)¹⁻ˣ, as the paper has it -----------------------------
def integral(f, logit):
    """∫ f(x) λˣ (1-λ)¹⁻ˣ dx over [0, 1], split where the mass is."""
    log_odds, rest = float(logit), np.log(expit(-logit))
    cut = min(0.5, 5 / max(abs(log_odds), 1))
    return sum(quad(lambda x: f(x) * np.exp(x * log_odds + rest), a, b, epsabs=0, epsrel=1e-13)[0]
               for a, b in ((0, cut), (cut, 1 - cut), (1 - cut, 1)))


@pytest.mark.parametrize("logit", LOGITS)
def test_everything_is_the_integral(logit):
    p, total = single(np.array(logit)), integral(lambda x: 1.0, logit)
    np.testing.assert_allclose(p.log_normaliser, -np.log(total), rtol=1e-11)
    mean = integral(lambda x: x, logit) / total
    np.testing.assert_allclose(p.mean, mean, rtol=1e-11)
    np.testing.assert_allclose(p.variance, integral(lambda x: (x - mean)**2, logit) / total,
                               rtol=1e-11)
    np.testing.assert_allclose(
        p.entropy(), -integral(lambda x: float(p.log_prob(np.array(x))), logit) / total,
        rtol=1e-10, atol=1e-14)
    for x in (0.01, 0.3, 0.5, 0.97):
        np.testing.assert_allclose(
            p.log_prob(np.array(x)), x * logit + np.log(expit(-logit)) - np.log(total),
            rtol=1e-11, atol=1e-13)
        below = quad(lambda t: np.exp(t * logit), 0, x, epsabs=0)[0] * expit(-logit) / total
        np.testing.assert_allclose(p.cdf(np.array(x)), below, rtol=1e-10)


def test_it_is_the_truncated_exponential_distribution():
    x = np.linspace(0, 1, 11)
    for logit in (-7.0, -0.5):
        law = stats.truncexpon(-logit, scale=-1 / logit)
        p = single(np.full(11, logit))
        np.testing.assert_allclose(p.log_prob(x), law.logpdf(x), rtol=1e-12)
        np.testing.assert_allclose(p.cdf(x), law.cdf(x), rtol=1e-12)
        np.testing.assert_allclose(p.icdf(x), law.ppf(x), rtol=1e-12)
        mirrored = single(np.full(11, -logit))
        np.testing.assert_allclose(mirrored.log_prob(1 - x), law.logpdf(x), rtol=1e-12)
        np.testing.assert_allclose(mirrored.icdf(x), 1 - law.ppf(1 - x), rtol=1e-12, atol=1e-15)


def test_near_zero_the_first_terms_of_the_series_are_all():
    logit = np.array([-1e-4, -1e-6, 0, 1e-7, 1e-4])
    p, x = single(logit), np.array(0.3)
    np.testing.assert_allclose(p.mean - 0.5, logit / 12, rtol=1e-8, atol=1e-15)
    np.testing.assert_allclose(p.variance, 1 / 12 - logit**2 / 240, rtol=1e-14)
    np.testing.assert_allclose(p.entropy(), -logit**2 / 24, rtol=1e-8)
    np.testing.assert_allclose(p.log_prob(x), logit * (x - 0.5) - logit**2 / 24, atol=3e-16)
    np.testing.assert_allclose(p.cdf(x), x + logit * x * (x - 1) / 2, atol=1e-9)
    assert p.log_normaliser[2] == np.log(2)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_cumulants_agree_where_series_and_closed_form_meet(n):
    """Each is the slope of the one before, also across |logit| = 2."""
    found, ends = [], (2 - 1e-9, 2.0)
    for sign in (-1, 1):
        near, far = (cumulant(np.array(sign * a), n) for a in ends)
        slope = cumulant(np.array(sign * 2.0), n + 1)
        found.append((near, far - sign * 1e-9 * slope))
    np.testing.assert_allclose(*np.transpose(found), rtol=1e-12 * 10 ** max(0, n - 3))


@pytest.mark.parametrize("event_ndim", [0, 1, 2])
def test_events_are_summed(event_ndim):
    rng = np.random.default_rng(0)
    logits, x = rng.standard_normal((2, 3, 4)), rng.random((5, 2, 3, 4))
    p, over = ContinuousBernoulli(logits, event_ndim=event_ndim), tuple(range(-event_ndim, 0))
    np.testing.assert_allclose(p.log_prob(x), single(logits).log_prob(x).sum(over), rtol=1e-12)
    np.testing.assert_allclose(p.entropy(), single(logits).entropy().sum(over), rtol=1e-12)


# -- draws -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_have_the_cdf(dtype):
    logits = np.array([-30, -1.5, 0, 1e-4, 4], dtype)
    draws = single(logits).sample((20_000,), rng=np.random.default_rng(3))
    assert draws.dtype == dtype and draws.min() >= 0 and draws.max() <= 1
    for column, logit in zip(draws.T, np.float64(logits)):
        assert stats.kstest(column, single(np.array(logit)).cdf).pvalue > 1e-3


def test_quantiles_and_cdf_undo_each_other():
    u = np.linspace(0, 1, 21)[:, None]
    logits = LOGITS[np.abs(LOGITS) < 7]
    again = single(logits).cdf(single(logits).icdf(u))
    np.testing.assert_allclose(again, np.broadcast_to(u, again.shape), rtol=1e-12,
                               atol=1e-14)
    for extreme in (-1e4, 1e4):
        p = single(np.array(extreme, np.float32))
        assert p.icdf(np.float32(0)) == 0 and p.icdf(np.float32(1)) == 1


# -- derivatives -------------------------------------------------------------------------------
@pytest.mark.parametrize("logits", [LOGITS[np.abs(LOGITS) > 0.1], np.array([-0.02, 0.0, 0.05])])
def test_derivatives(logits):
    rng = np.random.default_rng(4)
    x, u = rng.uniform(0.1, 0.9, logits.shape), rng.uniform(0.1, 0.9, (2, *logits.shape))
    for f in (lambda a: single(a).log_prob(x), lambda a: single(a).entropy(),
              lambda a: single(a).mean, lambda a: single(a).variance,
              lambda a: single(a).log_normaliser, lambda a: single(a).cdf(x),
              lambda a: single(a).icdf(u)):
        mg.check_grads(f, (logits,), order=2)
    mg.check_grads(lambda x: single(logits).log_prob(x), (x,), order=2)
    near = logits[np.abs(logits) < 7]
    x = x[:len(near)]
    mg.check_grads(lambda x, a: single(a).cdf(x), (x, near), order=2)
    mg.check_grads(lambda p, a: single(a).icdf(p), (x, near), order=2)


def test_the_path_through_a_draw():
    logits = np.array([-20.0, -2.5, 0.0, 1.3, 8])
    with noise.record() as eps:
        single(logits).sample((3,), rng=np.random.default_rng(2))

    def replayed(a):
        with noise.replay(eps):
            return single(a).sample((3,), rng=np.random.default_rng(0))

    mg.check_grads(replayed, (logits,), order=2)
    n = 100_000  # the gradient of E x is the variance
    slope = mg.grad(lambda a: np.sum(single(a).sample((n,), rng=np.random.default_rng(1)).mean(0)))
    np.testing.assert_allclose(slope(logits), single(logits).variance, rtol=0.03)


# -- extremes ----------------------------------------------------------------------------------
@pytest.mark.parametrize("logit", [-1e4, -500, -2, -1e-6, 0, 1e-20, 2, 500, 1e4])
def test_any_logit_gives_finite_values_and_slopes_in_float32(logit):
    logits = np.full(4, logit, np.float32)
    x, u = np.array([0, 0.2, 0.9, 1], np.float32), np.array([0.1, 0.2, 0.9, 0.99], np.float32)
    wide = single(np.full(4, logit, np.float64))
    for f in (lambda p: p.log_prob(x), lambda p: p.entropy(), lambda p: p.mean,
              lambda p: p.variance, lambda p: p.icdf(u), lambda p: p.log_normaliser,
              lambda p: p.cdf(x), lambda p: p.sample(rng=np.random.default_rng(0))):
        value, slope = mg.value_and_grad(lambda a, f=f: np.sum(f(single(a))))(logits)
        assert value.dtype == slope.dtype == np.float32
        assert np.isfinite(value) and np.all(np.isfinite(slope))
    for f in (lambda p: p.mean, lambda p: p.variance, lambda p: p.log_prob(x)):
        np.testing.assert_allclose(f(single(logits)), f(wide), rtol=4e-6, atol=1e-7)
    by_x = mg.grad(lambda x: np.sum(single(logits).log_prob(x)))(x)
    np.testing.assert_allclose(by_x, logits)


def test_plain_numbers_keep_float32():
    p = single(np.zeros(2, np.float32))
    assert p.cdf(0.5).dtype == p.icdf(0.5).dtype == p.log_prob(0.5).dtype == np.float32


def test_the_lowest_noise_is_no_outlier():
    for u in (0.0, 1 - 2.0**-24):
        with noise.replay(noise.Noise([noise.Draw("uniform", np.float32([u]))])):
            p = single(np.array([-1e4 if u else 1e4], np.float32))
            x = p.sample(rng=np.random.default_rng(0))
        assert np.all(p.log_prob(x) > -10)


# -- errors ------------------------------------------------------------------------------------
def test_values_outside_of_0_and_1_have_no_density_and_no_slope():
    logits = np.array([1.0, -3.0])
    value, slope = mg.vjp(lambda a: single(a).log_prob(np.array([-0.1, 1.5])), logits)
    np.testing.assert_array_equal(value, -np.inf)
    np.testing.assert_array_equal(slope(np.ones(2))[0], 0)
    np.testing.assert_array_equal(single(logits).cdf(np.array([-0.1, 1.5])), [0, 1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_no_number_is_named(bad):
    with pytest.raises(ValueError, match=r"logits must be finite.*at \[1\]"):
        ContinuousBernoulli(np.array([0, bad]))
