"""Gamma and StudentT: against SciPy, finite differences, replayed noise and exact expectations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special as sc
from scipy import stats

import minigrad as mg
from minigrad import noise
from tests.vae.replay import replayed
from vae.distributions.gamma import Gamma
from vae.distributions.student import StudentT, half_step

A = np.array([0.05, 0.4, 1.0, 3.0, 40.0])
RATE = np.array([0.3, 2.0, 1.0, 5.0, 0.1])
DF = np.array([0.3, 1.0, 2.5, 29.0, 31.0, 1e3])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def place(rng):
    """Location and scale of the t distributions with DF."""
    return rng.standard_normal(6), rng.uniform(0.5, 2, 6)


# -- values ---------------------------------------------------------------------------------------
def test_gamma_is_scipys(rng):
    p, theirs = Gamma(A, RATE, event_ndim=0), stats.gamma(A, scale=1 / RATE)
    x, q = theirs.ppf(rng.uniform(0.2, 1, (50, 5))), rng.random((50, 5))
    np.testing.assert_allclose(p.log_prob(x), theirs.logpdf(x), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(p.cdf(x), theirs.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(p.icdf(q), theirs.ppf(q), rtol=1e-10)
    np.testing.assert_allclose(p.entropy(), theirs.entropy(), rtol=1e-12)
    np.testing.assert_allclose(p.mean, theirs.mean(), rtol=1e-14)
    np.testing.assert_allclose(p.variance, theirs.var(), rtol=1e-14)
    np.testing.assert_allclose(Gamma(A, RATE).log_prob(x), theirs.logpdf(x).sum(-1), rtol=1e-11)


def test_student_is_scipys(rng, place):
    p, theirs = StudentT(DF, *place, event_ndim=0), stats.t(DF, *place)
    q = rng.uniform(0.01, 0.99, (50, 6))
    x = theirs.ppf(q)
    np.testing.assert_allclose(p.log_prob(x), theirs.logpdf(x), rtol=1e-11)
    np.testing.assert_allclose(p.cdf(x), q, rtol=1e-10)
    np.testing.assert_allclose(p.icdf(q), x, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(p.entropy(), theirs.entropy(), rtol=1e-11)
    np.testing.assert_array_equal(p.mean, np.where(DF > 1, place[0], np.nan))
    np.testing.assert_allclose(p.variance, theirs.var(), rtol=1e-12)
    assert StudentT(1.5, 0.0, 1.0).variance == np.inf
    small = StudentT(np.float32([0.5, 3]), 0.0, 1.0)
    assert small.mean.dtype == small.variance.dtype == np.float32


@pytest.mark.parametrize("df", [1e6, 1e9, 1e12])
def test_of_huge_df_t_is_normal_up_to_its_first_correction(df):
    """log t(z) = log N(z) + (z⁴ - 2z² - 1)/(4ν) + O(ν⁻²) (Johnson, Kotz and Balakrishnan 1995)."""
    z = np.array([0.0, 0.7, 1.3, 4.0])
    p = StudentT(np.full(4, df), 0.0, 1.0, event_ndim=0)
    correction = (z**4 - 2 * z**2 - 1) / 4
    np.testing.assert_allclose(p.log_prob(z), stats.norm.logpdf(z) + correction / df, rtol=1e-15,
                               atol=4e-15 + 1e3 / df**2)
    by_df = mg.grad(lambda df: StudentT(df, 0.0, 1.0).log_prob(z).sum())(np.full(4, df))
    # two slopes of about z²/2ν cancel, and leave their rounding
    np.testing.assert_allclose(by_df, -correction / df**2, rtol=1e-3, atol=4e-15 / df)
    np.testing.assert_allclose(p.entropy(), stats.norm.entropy() + 1 / df + 0.25 / df**2,
                               rtol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_half_step_is_one_function_on_both_sides_of_its_change(order):
    x = np.array([14.99, 15.0, 15.01])
    direct = (sc.gammaln(x + 0.5) - sc.gammaln(x) - 0.5 * np.log(x) if order == 0 else
              sc.polygamma(order - 1, x + 0.5) - sc.polygamma(order - 1, x)
              - 0.5 * (-1.0) ** (order - 1) * sc.factorial(order - 1) / x**order)
    np.testing.assert_allclose(half_step(x, order), direct, rtol=1e-10)


# -- draws ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_have_the_distribution(rng, place, dtype):
    draws = Gamma(A[1:].astype(dtype), RATE[1:].astype(dtype)).sample((20_000,), rng=rng)
    assert draws.dtype == dtype and draws.shape == (20_000, 4)
    for k, (a, r) in enumerate(zip(A[1:], RATE[1:])):
        assert stats.kstest(draws[:, k], stats.gamma(a, scale=1 / r).cdf).pvalue > 1e-3
    draws = StudentT(*(v.astype(dtype) for v in (DF, *place))).sample((20_000,), rng=rng)
    assert draws.dtype == dtype and draws.shape == (20_000, 6)
    for k, df in enumerate(DF):
        assert stats.kstest(draws[:, k], stats.t(df, *(v[k] for v in place)).cdf).pvalue > 1e-3


def within_four_errors(per_draw, exact):
    error = per_draw.std(axis=0) / np.sqrt(len(per_draw))
    assert np.all(np.abs(per_draw.mean(axis=0) - exact) < 4 * error), (per_draw.mean(0), exact)


@pytest.mark.parametrize("a, r", [(0.3, 2.0), (4.0, 0.5)])
def test_gradients_through_draws_average_to_those_of_the_expectations(rng, a, r):
    n = 40_000
    at = np.full(n, a), np.full(n, r)

    def through(f):  # an element for each draw, so that the spread is known
        return mg.grad(lambda a, r: np.sum(f(Gamma(a, r).sample(rng=rng))), (0, 1))(*at)

    exact = {np.positive: (1 / r, -a / r**2),
             np.square: ((2 * a + 1) / r**2, -2 * a * (a + 1) / r**3),
             np.log: (sc.polygamma(1, a), -1 / r)}
    for f, (by_a, by_r) in exact.items():
        found = through(f)
        within_four_errors(found[0], by_a)
        if f is np.log:
            np.testing.assert_allclose(found[1], by_r, rtol=1e-12)
        else:
            within_four_errors(found[1], by_r)


def test_gradients_through_float32_draws_are_those_of_float64_to_rounding(rng):
    a = np.exp(rng.uniform(0, np.log(1e3), 5000)).astype(np.float32)
    one = np.ones_like(a)

    def slopes(make, dtype, noise_of):
        def f(a):
            with noise.replay(noise_of):
                return np.sum(make(a, one.astype(dtype)))
        return mg.grad(f)(a.astype(dtype))

    for make in (lambda a, r: Gamma(a, r).sample(rng=rng),
                 lambda df, s: StudentT(df, 0 * s, s).sample(rng=rng)):
        with noise.record() as eps:
            x = make(a, one)
        found, exact = slopes(make, np.float32, eps), slopes(make, np.float64, eps)
        assert found.dtype == np.float32 and np.any(found != exact.astype(np.float32))
        # of t it is a difference of two terms, one of them t/2ν
        terms = np.abs(exact) if np.all(x > 0) else np.abs(exact) + np.abs(x) / (2 * a)
        np.testing.assert_array_less(np.abs(found - exact), 5e-7 * terms)


def test_gradients_through_draws_of_t_average_to_those_of_the_variance(rng):
    n, df, scale = 100_000, 12.0, 0.7  # E[x²] = scale² ν/(ν - 2)
    found = mg.grad(lambda df, s: np.sum(np.square(StudentT(df, 0.0, s).sample(rng=rng))), (0, 1))(
        np.full(n, df), np.full(n, scale))
    within_four_errors(found[0], -2 * scale**2 / (df - 2) ** 2)
    within_four_errors(found[1], 2 * scale * df / (df - 2))


# -- derivatives ----------------------------------------------------------------------------------
def test_derivatives_of_gamma(rng):
    x = stats.gamma(A, scale=1 / RATE).ppf(rng.uniform(0.5, 0.9, (2, 5)))
    mg.check_grads(lambda x, a, r: Gamma(a, r).log_prob(x), (x, A, RATE), order=2)
    mg.check_grads(lambda a, r: Gamma(a, r).entropy(), (A, RATE), order=2)
    mg.check_grads(lambda x, a, r: Gamma(a, r).cdf(x), (x, A, RATE), order=2)
    p = rng.uniform(0.2, 0.8, (2, 4))
    mg.check_grads(lambda p, a, r: Gamma(a, r).icdf(p), (p, A[1:], RATE[1:]), order=2)


def test_derivatives_of_student(rng, place):
    x = stats.t(DF, *place).ppf(rng.uniform(0.1, 0.9, (2, 6)))
    mg.check_grads(lambda x, *p: StudentT(*p).log_prob(x), (x, DF, *place), order=2)
    mg.check_grads(lambda *p: StudentT(*p).entropy(), (DF, *place), order=2)
    some = [v[1:5] for v in (DF, *place)]
    mg.check_grads(lambda x, *p: StudentT(*p).cdf(x), (x[:1, 1:5], *some), order=2)
    p = rng.uniform(0.2, 0.8, (1, 4))
    mg.check_grads(lambda p, *q: StudentT(*q).icdf(p), (p, *some), order=2)


def test_replayed_draws_and_their_derivatives_to_second_order(rng, place):
    mg.check_grads(replayed(Gamma, (A[1:], RATE[1:]), rng), (A[1:], RATE[1:]), order=2)
    some = tuple(v[1:5] for v in (DF, *place))
    mg.check_grads(replayed(StudentT, some, rng), some, order=2)


# -- the edge of the support, extremes, errors ----------------------------------------------------
def test_outside_of_the_support():
    x = np.array([-np.inf, -1.0, 0.0, 1.0, np.inf])
    p = Gamma(2.0, 1.0)
    np.testing.assert_array_equal(p.log_prob(x), [-np.inf, -np.inf, -np.inf, -1, -np.inf])
    np.testing.assert_array_equal(p.cdf(x)[[0, 1, 2, 4]], [0, 0, 0, 1])
    np.testing.assert_array_equal(mg.grad(lambda x: np.sum(p.cdf(x)))(x)[[0, 1, 4]], 0)
    np.testing.assert_array_equal(mg.grad(lambda x: np.sum(p.log_prob(x)))(x), 0)
    np.testing.assert_array_equal(p.icdf(np.array([0.0, 1.0, -0.1, 1.1])),
                                  [0, np.inf, np.nan, np.nan])
    t = StudentT(3.0, 0.0, 1.0)
    np.testing.assert_array_equal(t.cdf(x)[[0, 2, 4]], [0, 0.5, 1])
    np.testing.assert_array_equal(t.log_prob(x)[[0, 4]], -np.inf)
    np.testing.assert_allclose(mg.grad(t.cdf)(np.array(0.0)), stats.t(3).pdf(0), rtol=1e-13)
    np.testing.assert_array_equal(t.icdf(np.array([0.0, 1.0, 2.0])), [-np.inf, np.inf, np.nan])
    assert np.isnan(p.log_prob(np.nan)) and np.isnan(p.cdf(np.nan)) and np.isnan(t.cdf(np.nan))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [1e-6, 1e6])
def test_extreme_concentrations(c, dtype):
    a, one = np.full(4, c, dtype), np.ones(4, dtype)
    for make in (lambda a: Gamma(a, one), lambda a: StudentT(a, one, one)):
        def f(a, make=make):
            p = make(a)
            z = p.sample((3,), rng=np.random.default_rng(0))
            return np.sum(np.tanh(z)) + np.sum(p.log_prob(z)) + np.sum(p.entropy())

        value, slope = mg.value_and_grad(f)(a)
        assert value.dtype == slope.dtype == dtype
        assert np.isfinite(value) and np.all(np.isfinite(slope))
    z = Gamma(a, one).sample((1000,), rng=np.random.default_rng(0))
    assert np.all((z > 0) & (z < np.inf))


def test_of_a_million_the_float32_density_is_exact_to_rounding(rng):
    a = np.full(1000, 1e6, np.float32)
    x = Gamma(a, 1.0).sample(rng=rng)
    exact = stats.gamma(np.float64(a)).logpdf(np.float64(x))
    np.testing.assert_allclose(Gamma(a, 1.0, event_ndim=0).log_prob(x), exact, rtol=2e-7)


def test_parameters_outside_of_their_domain_are_named():
    bad = np.array([1.0, 2.0, -3.0])
    with pytest.raises(ValueError, match=r"Gamma: concentration must be positive.*-3 at \[2\]"):
        Gamma(bad, 1.0)
    with pytest.raises(ValueError, match=r"Gamma: rate must be positive and finite.*inf"):
        Gamma(1.0, np.inf)
    with pytest.raises(ValueError, match=r"StudentT: df must be positive.*-3 at \[2\]"):
        StudentT(bad, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"StudentT: location must be finite"):
        StudentT(1.0, np.nan, 1.0)
