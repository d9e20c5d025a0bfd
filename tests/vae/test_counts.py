"""Poisson and the discretised logistic: against scipy.stats and sums over all values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, log_expit

import minigrad as mg
from vae import NoPath, noise
from vae.distributions.discretized import DiscretizedLogistic
from vae.distributions.poisson import Poisson


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def both(rate):
    return Poisson(rate, event_ndim=0), Poisson.from_log_rate(np.log(rate), event_ndim=0)


# -- Poisson: values ---------------------------------------------------------------------------
def test_poisson_is_scipys(rng):
    rate = np.array([1e-3, 0.4, 3, 20, 500])
    x = rng.poisson(rate, (30, 5))
    for p in both(rate):
        np.testing.assert_allclose(p.log_prob(x), stats.poisson(rate).logpmf(x), rtol=1e-11)
        np.testing.assert_allclose(p.cdf(x + 0.3), stats.poisson(rate).cdf(x), rtol=1e-12)
        np.testing.assert_array_equal(p.icdf(p.cdf(x) * (1 - 1e-9)), x)
        np.testing.assert_allclose(p.mean, rate)
        np.testing.assert_allclose(p.variance, rate)
    u = rng.random((200, 5))
    np.testing.assert_array_equal(p.icdf(u), stats.poisson(rate).ppf(u))
    assert np.all(p.cdf(-0.5) == 0) and np.all(p.icdf(1.0) == np.inf) and np.all(p.icdf(0.0) == 0)
    summed = Poisson(rate).log_prob(x)
    np.testing.assert_allclose(summed, p.log_prob(x).sum(-1), rtol=1e-13)


@pytest.mark.parametrize("x", [-1, 0.5, np.inf, -np.inf])
def test_what_is_no_count_has_probability_zero_and_no_slope(x):
    rate = np.array([0.4, 20])
    value, slope = mg.vjp(lambda r: Poisson(r, event_ndim=0).log_prob(np.array([x, 1.0])), rate)
    slope = slope(np.ones(2))[0]
    assert value[0] == -np.inf and slope[0] == 0 and np.isfinite(value[1]) and slope[1] != 0


@pytest.mark.parametrize("rate", [1e4, 1e6])
def test_large_counts_keep_float32_exact(rate):
    x = np.array([rate - 300, rate, rate + 1000], np.float32)
    exact = stats.poisson(rate).logpmf(np.float64(x))
    found = Poisson(np.float32(rate)).log_prob(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    log_rate = np.float32(np.log(rate))
    found = Poisson.from_log_rate(log_rate).log_prob(x)
    np.testing.assert_allclose(found, stats.poisson(np.exp(np.float64(log_rate))).logpmf(x),
                               rtol=1e-6)


# -- Poisson: entropy --------------------------------------------------------------------------
def exact_entropy(rate):
    """By a sum over 40 standard deviations to each side, whose terms come from ratios λ/k."""
    width = 40 * np.sqrt(rate) + 60
    k = np.arange(max(1, np.floor(rate - width)), np.ceil(rate + width))
    log_p = np.append(0, np.cumsum(np.log(rate / k) if rate < 50 else np.log1p((rate - k) / k)))
    log_p -= log_p.max()
    log_p -= np.log1p(np.sum(np.exp(np.delete(log_p, log_p.argmax()))))
    return -np.sum(np.exp(log_p) * log_p)


@pytest.mark.parametrize("rate", [1e-6, 0.01, 1, 7.3, 25, 31, 99.9, 100.1, 250, 1e3, 1e4, 1e6])
def test_entropy_is_the_sum(rate):
    for p in both(np.array(rate)):
        np.testing.assert_allclose(p.entropy(), exact_entropy(rate), rtol=2e-13)


def test_the_sum_of_the_entropy_leaves_nothing_out():
    from scipy.special import pdtrc
    rate = np.linspace(1e-6, 100, 1001)
    assert np.all(pdtrc(np.floor(rate + 10 * np.sqrt(rate) + 30) - 1, rate) < 1e-17)


def test_sum_and_expansion_agree_where_they_meet():
    from vae.distributions.poisson import _expanded, _summed
    rate = np.array([90.0, 100.0, 110.0])
    for n, allowed in enumerate([2e-14, 1e-11, 1e-10, 1e-8]):
        # the sum's rounding: of 150 terms for n = 0, of terms that cancel in its derivatives
        np.testing.assert_allclose(_summed(rate, n), _expanded(rate, n), rtol=allowed)


# -- Poisson: draws ----------------------------------------------------------------------------
def test_poisson_draws_have_the_law(rng):
    n, rate = 50_000, np.array([0.4, 5.0])
    draws = Poisson(rate).sample((n,), rng=rng)
    assert draws.dtype == np.float64
    assert Poisson(rate.astype(np.float32)).sample(rng=rng).dtype == np.float32
    for column, r, top in zip(draws.T, rate, (4, 14)):
        counts = np.bincount(np.minimum(column, top).astype(int), minlength=top + 1)
        law = stats.poisson(r).pmf(np.arange(top + 1))
        law[-1] = 1 - law[:-1].sum()
        assert stats.chisquare(counts, n * law).pvalue > 1e-3


def test_replayed_counts_are_the_same_or_move_along_their_quantiles(rng):
    rate = np.full(40_000, 4.0)
    with noise.record() as eps:
        x = Poisson(rate).sample(rng=rng)
    with noise.replay(eps):
        np.testing.assert_array_equal(Poisson(rate).sample(rng=rng), x)
    for other in (4.0001, 9.0):
        found = []
        for _ in range(2):
            with noise.replay(eps):
                found.append(Poisson(np.full(40_000, other)).sample(rng=rng))
        np.testing.assert_array_equal(*found)
        assert np.all(found[0] >= x)
        counts = np.bincount(np.minimum(found[0], 18).astype(int), minlength=19)
        law = stats.poisson(other).pmf(np.arange(19))
        law[-1] = 1 - law[:-1].sum()
        keep = law * 40_000 > 5
        counts, law = np.append(counts[keep], counts[~keep].sum()), np.append(law[keep],
                                                                            law[~keep].sum())
        assert stats.chisquare(counts, 40_000 * law / law.sum()).pvalue > 1e-3


# -- Poisson: derivatives and extremes ---------------------------------------------------------
def test_derivatives_of_poisson(rng):
    rate = np.array([0.3, 2.5, 40, 130, 5e3])
    x = rng.poisson(rate, (3, 5))
    for make, a in ((Poisson, rate), (Poisson.from_log_rate, np.log(rate))):
        mg.check_grads(lambda a, make=make: make(a).log_prob(x), (a,), order=2)
        mg.check_grads(lambda a, make=make: make(a, event_ndim=0).entropy(), (a,), order=2)
        mg.check_grads(lambda a, make=make: make(a, event_ndim=0).cdf(x), (a,), order=2)
    with pytest.raises(NoPath):
        Poisson(mg.Tensor(rate)).sample(rng=rng)


@pytest.mark.parametrize("log_rate", [-1e3, -100, 80])
def test_absurd_log_rates_stay_finite_in_float32(log_rate):
    raw, x = np.full(3, log_rate, np.float32), np.array([0, 1, 7], np.float32)
    for f in (lambda p: p.log_prob(x), lambda p: p.entropy(), lambda p: p.cdf(x).sum()):
        value, slope = mg.value_and_grad(lambda a, f=f: f(Poisson.from_log_rate(a)))(raw)
        assert value.dtype == slope.dtype == np.float32
        assert np.isfinite(value) and np.all(np.isfinite(slope))


def test_bad_rates_are_named():
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"rate must be positive.*\[1\].*np.exp"):
            Poisson(np.array([1, bad]))
    with pytest.raises(ValueError, match=r"log_rate must be below 88\.7.*float32.*1000"):
        Poisson.from_log_rate(np.full(2, 1e3, np.float32))
    with pytest.raises(ValueError, match=r"log_rate must be finite"):
        Poisson.from_log_rate(np.array([np.nan]))
    with pytest.raises(ValueError, match=r"sample: rate must be below"):
        Poisson(np.array([1e30])).sample(rng=np.random.default_rng(0))


# -- the discretised logistic ------------------------------------------------------------------
GRID = [(128.0, 20.0), (0.0, 3.0), (255.2, 0.4), (-40.0, 15.0), (77.7, 0.05), (100.0, 1e4)]


@pytest.fixture
def pixels():
    location, scale = np.array(GRID).T
    return DiscretizedLogistic(location, scale, event_ndim=0)


def test_masses_are_differences_of_the_logistic_cdf(pixels):
    x = np.arange(256.0)[:, None]
    logistic = stats.logistic(pixels.location, pixels.scale)
    lower = np.where(x == 0, 0, logistic.cdf(x - 0.5))
    upper = np.where(x == 255, 1, logistic.cdf(x + 0.5))
    masses = np.exp(pixels.log_prob(x))
    np.testing.assert_allclose(masses, upper - lower, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(masses.sum(0), 1, rtol=1e-12)
    np.testing.assert_allclose(pixels.cdf(x), masses.cumsum(0), rtol=1e-10, atol=1e-300)
    mean = (masses * x).sum(0)
    np.testing.assert_allclose(pixels.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(pixels.variance, (masses * (x - mean)**2).sum(0), rtol=1e-9)
    np.testing.assert_allclose(pixels.entropy(), stats.entropy(masses), rtol=1e-10, atol=1e-12)


def test_far_from_the_location_nothing_cancels():
    p = DiscretizedLogistic(np.array(0.0), np.array(1.0))
    x = np.array([60.0, 120, 200])  # where σ is 1 to the last bit
    exact = 0.5 - x + np.log(-np.expm1(-1)) + log_expit(x + 0.5)
    np.testing.assert_allclose(p.log_prob(x), exact, rtol=1e-14)


def test_quantiles_are_the_least_values_with_the_cdf(pixels, rng):
    u = rng.random((500, len(GRID)))
    x = pixels.icdf(u)
    assert np.all(pixels.cdf(x) >= u)
    assert np.all((pixels.cdf(x - 1) < u) | (x == 0))
    assert np.all(pixels.icdf(np.array(0.0)) == 0) and np.all(pixels.icdf(np.array(1.0)) == 255)
    assert np.all(pixels.cdf(-1.0) == 0) and np.all(pixels.cdf(300.0) == 1)


def test_draws_have_the_masses(rng):
    n, p = 50_000, DiscretizedLogistic(np.array([3.0, 6.4]), np.array([2.0, 0.7]), low=-1, high=8)
    draws = p.sample((n,), rng=rng)
    assert draws.min() == -1 and draws.max() == 8 and np.all(draws == np.round(draws))
    law = np.exp(DiscretizedLogistic(p.location, p.scale, low=-1, high=8, event_ndim=0)
                 .log_prob(np.arange(-1.0, 9)[:, None]))
    for column, masses in zip(draws.T, law.T):
        counts = np.bincount(column.astype(int) + 1, minlength=10)
        keep = n * masses > 5
        counts, masses = counts[keep], masses[keep]
        assert stats.chisquare(counts, masses / masses.sum() * counts.sum()).pvalue > 1e-3
    with noise.replay(noise.Noise([noise.Draw("uniform", np.zeros((), np.float32))])):
        least = DiscretizedLogistic(np.float32(128), np.float32(1)).sample(rng=rng)
    assert least == 111  # and not 0, of which the probability is e⁻¹²⁸
    with pytest.raises(NoPath):
        DiscretizedLogistic(mg.Tensor(p.location), p.scale).sample(rng=rng)


def test_derivatives_of_the_discretised_logistic(rng):
    location, scale = np.array([128.0, 0.3, 250.0]), np.array([20.0, 3.0, 0.7])
    x = np.array([[100.0, 0, 255], [130, 7, 251]])
    make = DiscretizedLogistic
    mg.check_grads(lambda m, s: make(m, s).log_prob(x), (location, scale), order=2)
    mg.check_grads(lambda m, s: make(m, s, event_ndim=0).cdf(x), (location, scale), order=2)
    for f in (lambda p: p.mean, lambda p: p.variance, lambda p: p.entropy()):
        mg.check_grads(lambda m, s, f=f: f(make(m, s, low=0, high=9)),
                       (location / 25, scale / 5), order=2)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e30])
@pytest.mark.parametrize("location", [-1e4, 127.5, 1e4])
def test_log_prob_is_finite_for_every_pixel_in_float32(location, scale):
    x = np.arange(256, dtype=np.float32)
    args = np.full(256, location, np.float32), np.full(256, scale, np.float32)
    value, slopes = mg.vjp(lambda m, s: DiscretizedLogistic(m, s, event_ndim=0).log_prob(x), *args)
    assert value.dtype == np.float32 and np.all(np.isfinite(value))
    assert np.all(value <= 1e-6)
    for slope in slopes(np.ones_like(value)):
        assert slope.dtype == np.float32 and np.all(np.isfinite(slope))
    p = DiscretizedLogistic(np.float32(location), np.float32(scale))
    for found in (p.entropy(), p.mean, p.variance):
        assert found.dtype == np.float32 and np.isfinite(found)


def test_other_values_have_probability_zero_and_bad_input_is_named():
    p = DiscretizedLogistic(np.array(3.0), np.array(1.0))
    assert np.all(p.log_prob(np.array([-1, 256, 0.5])) == -np.inf)
    assert p.log_prob(7) == p.log_prob(7.0)
    with pytest.raises(ValueError, match=r"scale must be positive.*\[1\]"):
        DiscretizedLogistic(np.zeros(2), np.array([1.0, 0]))
    with pytest.raises(ValueError, match=r"scale must be at least 1e-12"):
        DiscretizedLogistic(np.zeros(2), np.array([1.0, 1e-13]))
    with pytest.raises(ValueError, match=r"location must be finite"):
        DiscretizedLogistic(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueError, match=r"low=3, high=3"):
        DiscretizedLogistic(np.zeros(2), np.ones(2), low=3, high=3)
    np.testing.assert_allclose(expit(0.5), p.cdf(3.0))
