"""VonMises: against SciPy, adaptive quadrature, replayed noise and exact expectations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.special as sc
from scipy import stats
from scipy.integrate import quad

import minigrad as mg
from minigrad import noise
from vae.distributions import von_mises
from vae.distributions.bessel import LARGE, deficit, log_i0e
from vae.distributions.von_mises import VonMises, angle_cdf, angle_slope, angle_tail

KAPPA = np.array([0.01, 0.9, 5.0, 40.0])
RANGE = [0.0, 1e-6, 0.1, 1.0, 5.0, 29.9, 30.1, 1e2, 1e4, 1e6]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def location(rng):
    return rng.uniform(-0.5, 0.5, 4)


def replayed(args, rng, n=5):
    """Points on the circle, as an angle jumps from π to -π."""
    with noise.record() as eps:
        VonMises(*args).sample((n,), rng=rng)

    def f(*args):
        with noise.replay(eps):
            z = VonMises(*args).sample((n,), rng=rng)
        return np.cos(z) + 2 * np.sin(z)
    return f


def adaptive(f, ends):
    return sum(quad(f, low, high, epsabs=0, epsrel=1e-13, limit=400, full_output=1)[0]
               for low, high in pairwise(ends))


# -- Bessel functions -----------------------------------------------------------------------------
def test_the_ratio_of_bessel_functions_and_its_slope():
    kappa = np.array([0.0, 1e-6, 0.1, 1.0, 5.0, 29.9, 30.1, 100.0, 300.0])
    a = sc.i1e(kappa) / sc.i0e(kappa)
    np.testing.assert_allclose(deficit(kappa), 1 - a, rtol=3e-13)
    slope = 0.5 * (1 + sc.ive(2, kappa) / sc.i0e(kappa)) - a**2
    np.testing.assert_allclose(-deficit(kappa, 1), slope, rtol=1e-9)
    np.testing.assert_allclose(log_i0e(kappa), np.log(sc.i0e(kappa)), rtol=1e-14)
    huge = np.array([1e6, 1e12])
    series = 1 / (2 * huge) + 1 / (8 * huge**2) + 1 / (8 * huge**3)
    slope = -1 / (2 * huge**2) - 1 / (4 * huge**3) - 3 / (8 * huge**4)
    np.testing.assert_allclose(deficit(huge), series, rtol=1e-15)
    np.testing.assert_allclose(deficit(huge, 1), slope, rtol=1e-15)


@pytest.mark.parametrize("order", range(5))
def test_series_and_moments_meet(order):
    both = deficit(np.array([np.nextafter(LARGE, 0), LARGE]), order)
    np.testing.assert_allclose(*both, rtol=1e-11)


@pytest.mark.parametrize("kappa", [[0.05, 0.2], [1.0, 7.0, 25.0], [35.0, 300.0]])
def test_derivatives_of_the_bessel_functions(kappa):
    kappa = np.array(kappa)
    mg.check_grads(log_i0e, (kappa,), order=2)
    for order in (0, 1, 2):
        mg.check_grads(lambda k, order=order: deficit(k, order), (kappa,), order=2)


# -- the implicit derivative ----------------------------------------------------------------------
def test_the_slope_is_that_of_adaptive_quadrature(record_property):
    """dθ/dκ = -(∂F/∂κ)/p, the integral from θ to π or from 0 to θ taken as it stands."""
    worst = 0.0
    for kappa in RANGE:
        width, b = min(1, kappa**-0.5 if kappa else 1), deficit(np.array(kappa))
        for theta in np.array([1e-8, 0.01, 0.2, 0.7, 1, 1.5, 3, 6]) * width:
            if theta > 3.1:
                continue

            def f(t, kappa=kappa, theta=theta, b=b):
                return ((b - 2 * np.sin(t / 2) ** 2)
                        * np.exp(-2 * kappa * np.sin((t + theta) / 2) * np.sin((t - theta) / 2)))

            if b < 2 * np.sin(theta / 2) ** 2:
                steps = theta + width * np.array([0, 0.1, 0.5, 1, 2, 4, 8, 12])
                exact = adaptive(f, np.append(steps[steps < np.pi], min(np.pi, steps[-1])))
            else:
                exact = -adaptive(f, [0, theta])
            for sign in (1, -1):
                found = angle_slope(np.array(kappa), np.array(sign * theta))
                worst = max(worst, abs(sign * found / exact - 1))
    record_property("largest relative error", worst)
    print(f"dθ/dκ: largest relative error {worst:.1e}")
    assert worst < 1e-11


def test_the_slope_is_the_difference_quotient_of_scipys_quantiles():
    kappa, p = np.meshgrid([0.3, 2.0, 20.0], [0.05, 0.3, 0.45, 0.9])
    h = 1e-3 * kappa
    there = [stats.vonmises(kappa + t).ppf(p) for t in (h, -h)]
    found = angle_slope(kappa, stats.vonmises(kappa).ppf(p))
    np.testing.assert_allclose(found, (there[0] - there[1]) / (2 * h), rtol=2e-5)


@pytest.mark.parametrize("power", [0, 1, 2])
def test_derivatives_of_the_family(power):
    args = np.array([0.5, 0.5, 8.0, 8.0]), np.array([0.4, -2.5, -0.1, 0.9])
    mg.check_grads(lambda k, t: angle_tail(k, t, power), args, order=2)
    mg.check_grads(angle_slope, args, order=2)


@pytest.mark.parametrize("kappa", [[1e-6, 1e-3, 0.05], [0.4, 1.5, 4.0], [25.0, 200.0],
                                   [1e4, 1e6]])
def test_replayed_draws_and_their_derivatives_to_second_order(rng, kappa):
    location, log_kappa = rng.uniform(-1, 1, len(kappa)), np.log(kappa)
    f = replayed((location, np.exp(log_kappa)), rng)
    mg.check_grads(lambda m, k: f(m, np.exp(k)), (location, log_kappa), order=2)


@pytest.mark.parametrize("old", [0.0, 0.3, 20.0, 1e5])
@pytest.mark.parametrize("new", [1e-6, 2.0, 50.0, 1e6])
def test_moved_draws_keep_their_probability(rng, old, new):
    theta = rng.vonmises(0, old, 300)
    there = von_mises.moved(theta, (np.array(old),), (np.array(new),))
    p = [angle_cdf(np.full(300, k), t) for k, t in ((old, theta), (new, there))]
    np.testing.assert_allclose(*p, rtol=1e-9, atol=1e-14)


def test_a_wrong_slope_would_be_found(rng, monkeypatch):
    args = np.zeros(3), np.array([0.5, 3.0, 20.0])
    f = replayed(args, rng)
    monkeypatch.setattr(von_mises, "angle_slope", lambda k, t: angle_slope(k, t) * (1 + 1e-4))
    with pytest.raises(mg.GradientError):
        mg.check_grads(f, args)


# -- values ---------------------------------------------------------------------------------------
def test_von_mises_is_scipys(rng, location):
    p, theirs = VonMises(location, KAPPA, event_ndim=0), stats.vonmises(KAPPA, location)
    x = location + rng.uniform(-3, 3, (50, 4))
    np.testing.assert_allclose(p.log_prob(x), theirs.logpdf(x), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(p.log_prob(x + 6 * np.pi), p.log_prob(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(p.cdf(x), theirs.cdf(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(p.entropy(), theirs.entropy(), rtol=1e-12)
    np.testing.assert_array_equal(p.mean, location)
    np.testing.assert_allclose(p.variance, 1 - sc.i1e(KAPPA) / sc.i0e(KAPPA), rtol=1e-12)


@pytest.mark.parametrize("kappa", [60.0, 1e4, 1e6])
def test_the_cdf_of_large_concentrations_is_that_of_quadrature(kappa):
    def density(t):
        return np.exp(-2 * kappa * np.sin(t / 2) ** 2) / (2 * np.pi * sc.i0e(kappa))

    width = kappa**-0.5
    for theta in np.array([-6, -2, -0.3, 0.1, 1, 4]) * width:
        low = [theta - width * step for step in (14, 8, 4, 2, 1, 0)]
        np.testing.assert_allclose(VonMises(0.0, kappa).cdf(theta), adaptive(density, low),
                                   rtol=1e-11)


def test_no_concentration_is_the_uniform_distribution(rng):
    p, x = VonMises(0.3, 0.0), rng.uniform(-3, 3, 7)
    np.testing.assert_allclose(p.log_prob(x), -np.log(2 * np.pi), rtol=1e-14)
    np.testing.assert_allclose(p.entropy(), np.log(2 * np.pi), rtol=1e-14)
    by_kappa = mg.jacobian(lambda k: VonMises(0.3, k).log_prob(x))(np.array(0.0))
    np.testing.assert_allclose(by_kappa, np.cos(x - 0.3), rtol=1e-14)
    draws = p.sample((20_000,), rng=rng)
    assert stats.kstest(draws, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3


# -- draws ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_have_the_distribution(rng, dtype):
    location = np.array([3.0, -2.0, 0.1, 1.0], dtype)
    draws = VonMises(location, KAPPA.astype(dtype)).sample((20_000,), rng=rng)
    assert draws.dtype == dtype and draws.shape == (20_000, 4)
    assert np.all(np.abs(draws) <= dtype(np.pi))
    p = VonMises(np.float64(location), KAPPA, event_ndim=0).cdf(np.float64(draws))
    for k in range(4):  # around the circle, cut opposite the location
        assert stats.kstest(p[:, k], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("location, kappa", [(0.4, 0.5), (-1.0, 8.0)])
def test_gradients_through_draws_average_to_those_of_the_expectations(rng, location, kappa):
    """E[cos nθ] = cos(nμ) I_n/I_0, and with sines E[sin nθ]."""
    n = 40_000
    for f, k in ((np.cos, 1), (np.sin, 1), (np.cos, 2)):
        found = mg.grad(lambda m, c, f=f, k=k: np.sum(f(k * VonMises(m, c).sample(rng=rng))),
                        (0, 1))(np.full(n, location), np.full(n, kappa))
        ratio = [sc.ive(j, kappa) / sc.i0e(kappa) for j in range(4)]
        turned = {np.cos: -k * np.sin(k * location), np.sin: k * np.cos(k * location)}[f]
        by_kappa = 0.5 * (ratio[k + 1] + ratio[k - 1]) - ratio[k] * ratio[1]
        for each, exact in zip(found, (turned * ratio[k], f(k * location) * by_kappa)):
            assert abs(each.mean() - exact) < 4 * each.std() / np.sqrt(n)


# -- derivatives ----------------------------------------------------------------------------------
def test_derivatives(rng, location):
    x = location + rng.uniform(-0.5, 0.5, (2, 4))
    mg.check_grads(lambda x, *p: VonMises(*p).log_prob(x), (x, location, KAPPA), order=2)
    mg.check_grads(lambda *p: VonMises(*p).entropy(), (location, KAPPA), order=2)
    mg.check_grads(lambda x, *p: VonMises(*p).cdf(x), (x, location, KAPPA), order=2)
    mg.check_grads(lambda *p: VonMises(*p).variance, (location, KAPPA), order=2)


# -- the edge of the support, extremes, errors ----------------------------------------------------
def test_no_angle_has_no_density():
    x, p = np.array([-np.inf, 0.0, np.inf]), VonMises(0.0, 1.0)
    np.testing.assert_array_equal(np.isfinite(p.log_prob(x)), [False, True, False])
    np.testing.assert_array_equal(mg.grad(lambda x: np.sum(p.log_prob(x)))(x), 0)
    assert np.isnan(p.log_prob(np.nan)) and np.all(np.isnan(p.cdf(x)[[0, 2]]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kappa", [0, 1e-6, 1e6, 1e30])
def test_extreme_concentrations(kappa, dtype):
    location, kappas = np.full(4, 3.0, dtype), np.full(4, kappa, dtype)

    def f(m, k):
        p = VonMises(m, k)
        z = p.sample((3,), rng=np.random.default_rng(0))
        return np.sum(np.cos(z)) + np.sum(p.log_prob(z)) + np.sum(p.entropy())

    value, slopes = mg.value_and_grad(f, (0, 1))(location, kappas)
    for a in (value, *slopes):
        assert a.dtype == dtype and np.all(np.isfinite(a))


def test_parameters_outside_of_their_domain_are_named():
    with pytest.raises(ValueError, match=r"VonMises: concentration must be 0 or more.*-3 at \[1\]"):
        VonMises(0.0, np.array([1.0, -3.0]))
    with pytest.raises(ValueError, match=r"VonMises: location must be finite.*inf"):
        VonMises(np.inf, 1.0)
