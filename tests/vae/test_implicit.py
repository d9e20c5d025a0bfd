"""Implicit derivatives: against adaptive quadrature, differences of SciPy's quantiles, replay."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import scipy.special as sc
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import minigrad as mg
from minigrad import noise
from vae.distributions import gamma_recurrence, implicit

SHAPES = np.concatenate([10.0 ** np.arange(-6, 7), [0.03, 0.3, 0.7, 0.9, 1.5, 3, 30, 300]])
LOWER = [1e-10, 1e-5, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9]
UPPER = [1e-2, 1e-5, 1e-10]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def quantiles(a):
    """L at probabilities from 1e-10 to 1 - 1e-10."""
    p = np.array(LOWER + [1 - q for q in UPPER])
    q = np.array([1 - p for p in LOWER] + UPPER)
    log_p = np.array([np.log(p) for p in LOWER] + [np.log1p(-q) for q in UPPER])
    assert p.shape == q.shape
    return implicit.log_quantile_of(np.full(p.shape, a), log_p, q)


def adaptive(f, ends):
    # full_output: no warning where rounding is all that is left to improve
    return sum(quad(f, low, high, epsabs=0, epsrel=1e-13, limit=400, full_output=1)[0]
               for low, high in pairwise(ends) if high > low)


def slope_by_quadrature(a, log_z):
    """dL/da with the definite integrals split where the integrand bends."""
    z, c = np.exp(log_z), sc.psi(a) - log_z
    width = np.sqrt(sc.polygamma(1, a))
    steps = [0, *(width * np.array([0.5, 1, 2, 4, 8, 16, 30]))]
    if c > 0:
        if a < 1:
            steps = [0, 0.5, 1, 2, 4, 8, 16, 32, *(x / a for x in (1, 2, 4, 8, 16, 32, 64)
                                                  if x > 32 * a)]
        return adaptive(lambda u: (c + u) * np.exp(-a * u - z * np.expm1(-u)), steps)
    if a < 1:
        fall = max(-log_z, 0)
        bends = [max(fall - x, 0) for x in (60, 30, 15, 7, 4, 2, 1, 0)]
        steps = [0, *bends, *(fall + x for x in (1, 2, 3, 4, 5))]
        return adaptive(lambda u: (u - c) * np.exp(a * u - np.exp(u + log_z) + z), steps)
    return adaptive(lambda u: (u - c) * np.exp(a * u - z * np.expm1(u)), steps)


# -- the slope of log z by the shape --------------------------------------------------------------
def test_the_slope_is_that_of_adaptive_quadrature_from_1e_6_to_1e6(record_property):
    worst = {False: 0.0, True: 0.0}
    for a in SHAPES:
        log_z = quantiles(a)
        exact = [slope_by_quadrature(a, t) for t in log_z]
        for single in worst:
            found = implicit.log_gamma_slope(np.full(log_z.shape, a), log_z, single)
            worst[single] = max(worst[single], np.max(np.abs(found / exact - 1)))
    record_property("largest relative errors", worst)
    print(f"dL/da: largest relative error {worst[False]:.1e}, for float32 {worst[True]:.1e}")
    assert worst[False] < 1e-11 and 1e-11 < worst[True] < 3e-7


def near_the_reach(a):
    """L around where the recurrence gives way to quadrature, and whether it is the recurrence's."""
    log_z = np.log(a + 0.5 * gamma_recurrence.REACH
                   + np.sqrt(0.25 * gamma_recurrence.REACH**2 + 2 * a * gamma_recurrence.REACH))
    log_z = log_z + np.array([-1e-3, -1e-6, 1e-6, 1e-3]) / np.sqrt(1 + a)
    return log_z, np.isfinite(gamma_recurrence.by_recurrence(np.full(4, a), log_z, False))


@pytest.mark.parametrize("single, tolerance", [(False, 1e-11), (True, 3e-7)])
def test_where_the_recurrence_gives_way_both_give_the_same(single, tolerance):
    """There it is least exact, as its terms cancel."""
    for a in np.geomspace(1e-6, 1e6, 40):
        log_z, near = near_the_reach(a)
        np.testing.assert_array_equal(near, [True, True, False, False])
        vectors = np.full(2, a), log_z[:2]
        np.testing.assert_allclose(gamma_recurrence.by_recurrence(*vectors, single),
                                   implicit._above(1, *vectors, log_z[:2] - sc.psi(a)),
                                   rtol=tolerance)


@pytest.mark.parametrize("single, tolerance", [(False, 1e-11), (True, 1e-9)])
def test_far_below_its_shape_the_slope_is_that_of_quadrature(single, tolerance):
    """There the polynomials say nothing."""
    for a in (1e-3, 0.5, 3.0, 12.0, 22.0, 60.0, 1e3, 1e6):
        log_z = np.log(a) - np.array([30.0, 6.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5])
        np.testing.assert_allclose(implicit.log_gamma_slope(np.full(8, a), log_z, single),
                                   [slope_by_quadrature(a, t) for t in log_z], rtol=tolerance)


def test_of_large_shapes_the_expansion_starts_with_numbers_of_bernoulli():
    rows = gamma_recurrence.coefficients(5, 12)
    numbers = np.array([1, -1/2, 1/6, 0, -1/30, 0, 1/42, 0, -1/30, 0, 5/66, 0, -691/2730])
    np.testing.assert_allclose(rows[0], numbers / sc.factorial(np.arange(13)), rtol=1e-14)
    # ψ(a) - log a = -1/2a - Σ B_n/(n aⁿ) (Abramowitz and Stegun 1964, 6.3.18)
    np.testing.assert_allclose([row[1] for row in rows],
                               [-0.5, *(-numbers[n] / n for n in range(2, 7))], rtol=1e-14)
    assert [len(row) for row in rows] == [13, 11, 9, 7, 5, 3]


@pytest.mark.parametrize("a", [1e-6, 0.3, 5.0, 1e6])
def test_no_draw_is_so_far_out_that_the_slope_overflows(a):
    far = np.log(a) + np.array([3.0, 30.0, 300.0])
    assert np.all(np.diff(implicit.log_gamma_slope(np.full(3, a), far)) < 0)
    assert np.isfinite(implicit.log_gamma_slope(np.array(a), np.array(-1e9)))


def test_the_slope_is_the_difference_quotient_of_scipys_quantiles():
    a, p = np.meshgrid([0.3, 0.8, 1.0, 2.5, 20.0, 150.0], [1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    h = 2e-3 * a

    def central(t):
        return (np.log(sc.gammaincinv(a + t, p)) - np.log(sc.gammaincinv(a - t, p))) / (2 * t)

    once = [(4 * central(t / 2) - central(t)) / 3 for t in (h, h / 2)]
    found = implicit.log_gamma_slope(a, np.log(sc.gammaincinv(a, p)))
    np.testing.assert_allclose(found, (16 * once[1] - once[0]) / 15, rtol=2e-9)


def test_of_a_tiny_shape_the_slope_is_that_of_a_power():
    p = np.array([1e-10, 1e-3, 0.4, 0.9])
    for a in (1e-6, 1e-4):  # F = zᵃ/Γ(a + 1) as long as z is nothing beside 1
        log_z = (np.log(p) + sc.gammaln(1 + a)) / a
        np.testing.assert_allclose(implicit.log_gamma_slope(np.full(4, a), log_z),
                                   (sc.psi(1 + a) - log_z) / a, rtol=1e-10)


@given(a=st.floats(0.05, 50), p=st.floats(0.02, 0.98), power=st.integers(0, 2))
def test_the_families_are_closed_under_derivatives(a, p, power):
    log_z = np.log(sc.gammaincinv(a, p))
    above, mean = log_z >= sc.psi(a), np.sqrt(sc.polygamma(1, a))
    if abs(log_z - sc.psi(a)) < 0.1 * mean:  # steps of the differences must stay on one side
        log_z = log_z + (0.2 if above else -0.2) * mean
    args = np.array([a]), np.array([log_z])
    mg.check_grads(lambda a, t: implicit.gamma_tail(a, t, power), args, order=2)
    mg.check_grads(implicit.log_gamma_slope, args, order=2)


@pytest.mark.parametrize("log_z", [-0.5, 1.5])
def test_third_derivatives(log_z):
    mg.check_grads(implicit.log_gamma_slope, (np.array([1.7]), np.array([log_z])), order=3)


def test_on_both_sides_of_the_change_the_slope_is_the_same():
    for a in SHAPES:
        edge = sc.psi(a)
        beside = np.array([np.nextafter(edge, -np.inf), np.nextafter(edge, np.inf)])
        np.testing.assert_allclose(*implicit.log_gamma_slope(np.full(2, a), beside), rtol=1e-11)
        # there it is T₁ alone, from below and from above
        np.testing.assert_allclose(implicit.gamma_tail(np.full(2, a), beside, 1),
                                   implicit.log_gamma_slope(np.array(a), np.array(edge)),
                                   rtol=1e-11)


# -- draws and their replay -----------------------------------------------------------------------
@pytest.mark.parametrize("a", [[1e-6, 3e-6], [1e-3, 0.02], [0.2, 0.5, 0.97], [1.0, 3.0, 11.0],
                               [400.0, 900.0], [2e5, 1e6]])
def test_replayed_draws_move_as_the_implicit_derivative_says(rng, a):
    """The draw moves along scipy's quantiles, the derivative is the quadrature: they must agree."""
    log_a = np.log(a)
    with noise.record() as eps:
        implicit.log_gamma(rng, (6, len(a)), np.exp(log_a))

    def f(log_a):
        with noise.replay(eps):
            return np.exp(log_a) * implicit.log_gamma(rng, (6, len(a)), np.exp(log_a))

    assert mg.check_grads(f, (log_a,), order=2).entries > 0


def test_a_wrong_slope_would_be_found(rng, monkeypatch):
    right = implicit.log_gamma_slope
    with noise.record() as eps:
        implicit.log_gamma(rng, (6, 2), np.array([0.5, 3.0]))

    def f(a):
        with noise.replay(eps):
            return implicit.log_gamma(rng, (6, 2), a)

    monkeypatch.setattr(implicit, "log_gamma_slope", lambda *args: right(*args) * (1 + 1e-4))
    with pytest.raises(mg.GradientError):
        mg.check_grads(f, (np.array([0.5, 3.0]),))


@pytest.mark.parametrize("old", [1e-6, 1e-3, 0.3, 2.0, 1e4])
@pytest.mark.parametrize("new", [1e-5, 0.02, 0.7, 5.0, 1e5])
def test_moved_draws_keep_their_probability(rng, old, new):
    log_z = implicit.log_gamma(rng, (200,), np.array(old))
    there = implicit.moved(log_z, (np.array(old),), (np.array(new),))
    p = [implicit.log_gamma_cdf(np.full(200, a), t) for a, t in ((old, log_z), (new, there))]
    np.testing.assert_allclose(*p, rtol=1e-9, atol=1e-13)


def test_draws_stay_finite_where_the_variate_underflows(rng):
    log_z = implicit.log_gamma(rng, (1000, 2), np.array([1e-6, 0.5]))
    assert np.all(np.isfinite(log_z)) and np.all(log_z[:, 0].min() < -1e6)


# -- work in blocks -------------------------------------------------------------------------------
def test_blocks_change_nothing_and_bound_the_memory(rng):
    n = 20 * implicit.BLOCK + 7
    a = rng.uniform(0.1, 3, n)
    log_z = implicit.log_gamma(rng, (n,), a)
    for f in (lambda *args: implicit.gamma_tail(*args, 1), implicit.log_gamma_slope,
              lambda a, log_z: implicit.log_gamma_slope(a, 5 + np.abs(log_z))):  # by quadrature
        tracemalloc.start()
        try:
            whole = f(a, log_z)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 0.5 * 48 * n * 8  # the nodes of all at once would be twice that
        some = rng.integers(0, n, 50)
        np.testing.assert_allclose(whole[some], f(a[some], log_z[some]), rtol=1e-14)
    small = implicit.log_gamma_slope(np.float32(a[:9]), np.float32(log_z[:9]))
    wide = implicit.log_gamma_slope(*(np.float64(np.float32(x[:9])) for x in (a, log_z)))
    np.testing.assert_array_equal(small, np.float32(wide), strict=True)


# -- logit x of a beta variate --------------------------------------------------------------------
def beta_slope_by_quadrature(a, b, y):
    """dy/da = -(∂F/∂a)/f, the integral over s < y taken as it stands."""
    mean = sc.psi(a) - sc.psi(a + b)
    bottom = a * sc.log_expit(y) + b * sc.log_expit(-y)
    spread = np.sqrt(sc.polygamma(1, a) + sc.polygamma(1, b))
    ends = y - np.array([60 * spread, 30 * spread, 10 * spread, 3 * spread, spread, 0])
    return -adaptive(lambda s: (sc.log_expit(s) - mean)
                     * np.exp(a * sc.log_expit(s) + b * sc.log_expit(-s) - bottom), ends)


@pytest.mark.parametrize("a", [0.1, 0.5, 3.0, 200.0])
@pytest.mark.parametrize("b", [0.1, 0.5, 3.0, 200.0])
def test_the_slope_of_a_logit_is_that_of_quadrature(a, b):
    for p in (0.01, 0.2, 0.5, 0.8, 0.99):
        y = float(implicit.logit_beta_icdf(*map(np.array, (a, b, p))))
        found = implicit.logit_beta_slope(*map(np.array, (a, b, y)))
        np.testing.assert_allclose(found, beta_slope_by_quadrature(a, b, y), rtol=1e-10)


@pytest.mark.parametrize("a, b", [(1e-3, 1e-3), (1e-3, 50.0), (50.0, 1e-3), (1e-3, 1e3), (0.2, 0.9),
                                  (1e3, 1e3)])
def test_the_cdf_of_a_logit_moves_as_scipys_betainc(a, b):
    for p in (0.1, 0.4, 0.8):
        y = float(implicit.logit_beta_icdf(*map(np.array, (a, b, p))))
        if abs(y) > 500:
            continue  # SciPy's x underflows there

        def f(a, y=y):
            return implicit.logit_beta_cdf(a, np.array(b), np.array(y))

        h = 0.01 * a
        central = [(f(a + t) - f(a - t)) / (2 * t) for t in (h, h / 2, h / 4)]
        once = [(4 * fine - coarse) / 3 for coarse, fine in pairwise(central)]
        np.testing.assert_allclose(mg.grad(f)(np.array(a)), (16 * once[1] - once[0]) / 15,
                                   rtol=1e-8)


@pytest.mark.parametrize("j, k", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_derivatives_of_the_beta_family(j, k):
    a, b = np.array([0.3, 0.3, 40.0]), np.array([0.7, 0.7, 3.0])
    args = a, b, np.log(a / b) + np.array([-1.0, 1.0, 0.5])
    mg.check_grads(lambda a, b, y: implicit.beta_tail(a, b, y, j, k), args)


def test_second_derivatives_of_the_slope_of_a_logit():
    a, b = np.array([0.3, 0.3, 40.0]), np.array([0.7, 0.7, 3.0])
    args = a, b, np.log(a / b) + np.array([-1.0, 1.0, 0.5])
    mg.check_grads(implicit.logit_beta_slope, args, order=2)


@pytest.mark.parametrize("a", [1e-6, 1e-2, 0.5, 2.0])
def test_beside_a_huge_other_shape_a_logit_is_the_log_of_a_gamma_variate(a):
    """x b → z for b → ∞, so that logit x → L - log b."""
    b = 1e13
    log_z = quantiles(a)
    found = implicit.logit_beta_slope(np.full(log_z.shape, a), np.full(log_z.shape, b),
                                      log_z - np.log(b))
    np.testing.assert_allclose(found, implicit.log_gamma_slope(np.full(log_z.shape, a), log_z),
                               rtol=1e-10)


def test_the_rise_of_psi_keeps_its_digits():
    a = np.array([0.3, 5.0, 1e3, 1e6])
    for order in (0, 1):  # to the mean value theorem, and across the change of formula
        tiny = 1e-9 * a
        np.testing.assert_allclose(implicit.psi_rise(a, tiny, order),
                                   tiny * sc.polygamma(order + 1, a + tiny / 2), rtol=1e-14)
        both = [implicit.psi_rise(a, t * a, order) for t in (np.nextafter(1e-3, 0), 1e-3)]
        np.testing.assert_allclose(*both, rtol=3e-11)
    mg.check_grads(lambda a, b: implicit.psi_rise(a, b, 0), (a[:2], np.array([2e-4, 3.0])), order=2)
