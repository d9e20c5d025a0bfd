"""Beta and Dirichlet: against SciPy, finite differences, replayed noise and exact expectations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special as sc
from scipy import stats

import minigrad as mg
from tests.vae.replay import replayed
from vae.distributions.beta import Beta, Dirichlet

A = np.array([0.4, 1.0, 3.0, 40.0])
B = np.array([2.0, 1.0, 0.5, 7.0])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def simplex(rng):
    """Concentrations and points, (2, 3)."""
    return rng.uniform(0.3, 4, (2, 3)), rng.dirichlet([1, 2, 3], 2)


# -- values ---------------------------------------------------------------------------------------
def test_beta_is_scipys(rng):
    p, theirs = Beta(A, B, event_ndim=0), stats.beta(A, B)
    q = rng.uniform(0.05, 0.95, (50, 4))
    x = theirs.ppf(q)
    np.testing.assert_allclose(p.log_prob(x), theirs.logpdf(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(p.cdf(x), q, rtol=1e-11)
    np.testing.assert_allclose(p.icdf(q), x, rtol=1e-11)
    np.testing.assert_allclose(p.entropy(), theirs.entropy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(p.mean, theirs.mean(), rtol=1e-13)
    np.testing.assert_allclose(p.variance, theirs.var(), rtol=1e-13)


def test_dirichlet_is_scipys(simplex):
    a, x = simplex
    p, theirs = Dirichlet(a), [stats.dirichlet(row) for row in a]
    exact = np.array([t.logpdf(row) for t, row in zip(theirs, x)])
    np.testing.assert_allclose(p.log_prob(x), exact, rtol=1e-12)
    np.testing.assert_allclose(Dirichlet(a, event_ndim=2).log_prob(x), exact.sum(), rtol=1e-12)
    np.testing.assert_allclose(p.entropy(), [t.entropy() for t in theirs], rtol=1e-12)
    np.testing.assert_allclose(p.mean, [t.mean() for t in theirs], rtol=1e-13)
    np.testing.assert_allclose(p.variance, [t.var() for t in theirs], rtol=1e-13)


def test_of_two_dirichlet_is_beta(rng):
    x = rng.uniform(0.1, 0.9, (6, 4))
    pairs = Dirichlet(np.stack([A, B], axis=-1))
    np.testing.assert_allclose(pairs.log_prob(np.stack([x, 1 - x], axis=-1)),
                               Beta(A, B, event_ndim=0).log_prob(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(pairs.entropy(), Beta(A, B, event_ndim=0).entropy(), rtol=1e-10,
                               atol=1e-12)


# -- draws ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_have_the_distribution(rng, dtype):
    draws = Beta(A.astype(dtype), B.astype(dtype)).sample((20_000,), rng=rng)
    assert draws.dtype == dtype and draws.shape == (20_000, 4)
    for k in range(4):
        assert stats.kstest(draws[:, k], stats.beta(A[k], B[k]).cdf).pvalue > 1e-3
    a = np.array([0.3, 2.0, 5.0], dtype)
    draws = Dirichlet(a).sample((20_000,), rng=rng)
    assert draws.dtype == dtype and np.all(np.isfinite(Dirichlet(a).log_prob(draws)))
    for k in range(3):  # each share is a beta variate
        assert stats.kstest(draws[:, k], stats.beta(a[k], a.sum() - a[k]).cdf).pvalue > 1e-3


def within_four_errors(per_draw, exact):
    error = per_draw.std(axis=0) / np.sqrt(len(per_draw))
    assert np.all(np.abs(per_draw.mean(axis=0) - exact) < 4 * error), (per_draw.mean(0), exact)


@pytest.mark.parametrize("a, b", [(0.4, 0.7), (5.0, 2.0)])
def test_gradients_through_draws_average_to_those_of_the_expectations(rng, a, b):
    n = 40_000
    means = {np.positive: lambda a, b: a / (a + b),
             np.square: lambda a, b: a * (a + 1) / ((a + b) * (a + b + 1)),
             np.log: lambda a, b: sc.psi(a) - sc.psi(a + b)}
    for f, mean in means.items():
        found = mg.grad(lambda a, b, f=f: np.sum(f(Beta(a, b).sample(rng=rng))), (0, 1))(
            np.full(n, a), np.full(n, b))
        exact = mg.grad(mean, (0, 1))(np.array(a), np.array(b))
        for k in range(2):
            within_four_errors(found[k], exact[k])


def test_gradients_through_dirichlet_average_to_those_of_the_second_moment(rng):
    n, a, w = 40_000, np.array([0.5, 2.0, 1.2]), np.array([1.0, -2.0, 0.5])
    found = mg.grad(lambda a: np.sum(w * np.square(Dirichlet(a).sample(rng=rng))))(
        np.tile(a, (n, 1)))

    def moment(a):
        return np.sum(w * a * (a + 1)) / (a.sum() * (a.sum() + 1))

    within_four_errors(found, mg.grad(moment)(a))


# -- derivatives ----------------------------------------------------------------------------------
def test_derivatives_of_beta(rng):
    x, p = rng.uniform(0.1, 0.8, (2, 4)), rng.uniform(0.2, 0.8, (1, 4))
    mg.check_grads(lambda x, a, b: Beta(a, b).log_prob(x), (x, A, B), order=2)
    mg.check_grads(lambda a, b: Beta(a, b).entropy(), (A, B), order=2)
    mg.check_grads(lambda x, a, b: Beta(a, b).cdf(x), (x[:1], A, B), order=2)
    mg.check_grads(lambda p, a, b: Beta(a, b).icdf(p), (p, A, B), order=2)


def test_derivatives_of_dirichlet(simplex):
    a, x = simplex
    mg.check_grads(lambda a: Dirichlet(a).log_prob(x), (a,), order=2)
    mg.check_grads(lambda a: Dirichlet(a).entropy(), (a,), order=2)
    # along the simplex, as off it the density is nothing
    mg.check_grads(lambda t, a: Dirichlet(a).log_prob(mg.softmax(t)), (np.log(x), a), order=2)


def test_replayed_draws_and_their_derivatives_to_second_order(rng, simplex):
    mg.check_grads(replayed(Beta, (A, B), rng), (A, B), order=2)
    mg.check_grads(replayed(Dirichlet, simplex[:1], rng), simplex[:1], order=2)
    small = np.array([0.02, 0.3]), np.array([0.05, 3.0])
    mg.check_grads(replayed(Beta, small, rng), small, order=2)


# -- the edge of the support, extremes, errors ----------------------------------------------------
def test_outside_of_the_support():
    x, p = np.array([-1.0, 0.0, 0.5, 1.0, 3.0]), Beta(2.0, 2.0)
    np.testing.assert_allclose(p.log_prob(x), [-np.inf, -np.inf, np.log(1.5), -np.inf, -np.inf])
    np.testing.assert_allclose(p.cdf(x), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(mg.grad(lambda x: np.sum(p.cdf(x)))(x), [0, 0, 1.5, 0, 0])
    np.testing.assert_array_equal(mg.grad(lambda x: np.sum(p.log_prob(x)))(x), 0)
    np.testing.assert_array_equal(p.icdf(np.array([0.0, 1.0, 2.0])), [0, 1, np.nan])
    assert np.isnan(p.cdf(np.nan)) and np.isnan(p.log_prob(np.nan))


def test_off_the_simplex_the_density_is_nothing():
    x = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.6], [0.0, 0.5, 0.5], [-0.1, 0.6, 0.5]])
    a = np.array([2.0, 3.0, 4.0])
    for dtype, rounding in ((np.float32, 4e-6), (np.float64, 4e-11)):
        y, p = x.astype(dtype), Dirichlet(a.astype(dtype))
        found = p.log_prob(y)
        assert found.dtype == dtype
        np.testing.assert_array_equal(np.isfinite(found), [True, False, False, False])
        y[0, 0] += rounding
        assert np.isfinite(p.log_prob(y)[0])
        y[0, 0] += 20 * rounding
        assert p.log_prob(y)[0] == -np.inf
    by_x, by_a = mg.grad(lambda x, a: np.sum(Dirichlet(a).log_prob(x)), (0, 1))(x[1:], a)
    np.testing.assert_array_equal(by_x, 0)
    np.testing.assert_array_equal(by_a, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [1e-6, 1e6])
def test_extreme_concentrations(c, dtype):
    a, one = np.full(4, c, dtype), np.ones(4, dtype)
    for make in (lambda a: Beta(a, a), lambda a: Beta(a, one), lambda a: Beta(one, a), Dirichlet):
        def f(a, make=make):
            p = make(a)
            z = p.sample((3,), rng=np.random.default_rng(0))
            return np.sum(np.square(z)) + np.sum(p.log_prob(z)) + np.sum(p.entropy())

        value, slope = mg.value_and_grad(f)(a)
        assert value.dtype == slope.dtype == dtype
        assert np.isfinite(value) and np.all(np.isfinite(slope))
        z = make(a).sample((1000,), rng=np.random.default_rng(0))
        assert np.all((z > 0) & (z <= 1)) and (make is Dirichlet or np.all(z < 1))


def test_of_a_million_float32_is_exact_to_rounding(rng):
    a = np.full(500, 1e6, np.float32)
    x = Beta(a, a).sample(rng=rng)
    exact = stats.beta(1e6, 1e6).logpdf(np.float64(x))
    np.testing.assert_allclose(Beta(a, a, event_ndim=0).log_prob(x), exact, rtol=1e-6, atol=1e-6)


def test_parameters_outside_of_their_domain_are_named():
    bad = np.array([1.0, 2.0, -3.0])
    with pytest.raises(ValueError, match=r"Beta: alpha must be positive.*-3 at \[2\]"):
        Beta(bad, 1.0)
    with pytest.raises(ValueError, match=r"Beta: beta must be positive and finite.*nan"):
        Beta(1.0, np.nan)
    with pytest.raises(ValueError, match=r"Dirichlet: concentration must be .*-3 at \[2\]"):
        Dirichlet(bad)
    with pytest.raises(ValueError, match=r"Dirichlet.*event_ndim=0.*1 or more"):
        Dirichlet(np.ones(3), event_ndim=0)
    with pytest.raises(ValueError, match=r"Dirichlet.*1 or more"):
        Dirichlet(1.0)
