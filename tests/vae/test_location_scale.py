"""Laplace, logistic, log-normal, exponential, uniform: against SciPy; and where densities are 0."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import minigrad as mg
from minigrad import noise
from vae.distributions.location_scale import Exponential, Laplace, Logistic, LogNormal, Uniform
from vae.distributions.support import NOT_NEGATIVE, POSITIVE, REAL, Interval

SYMMETRIC = [Laplace, Logistic]


class Family(NamedTuple):
    """make, theirs: of two arrays, the second positive; inside: support by z in (0, 1)."""

    make: type
    theirs: object
    inside: object = lambda a, b, z: a + b * np.log(z / (1 - z))


FAMILIES = {
    "Laplace": Family(Laplace, stats.laplace),
    "Logistic": Family(Logistic, stats.logistic),
    "LogNormal": Family(LogNormal, lambda a, b: stats.lognorm(b, scale=np.exp(a)),
                        lambda a, b, z: np.exp(a + b * np.log(z / (1 - z)))),
    "Exponential": Family(lambda a, b, **k: Exponential(1 / b + 0 * a, **k),
                          lambda a, b: stats.expon(scale=b + 0 * a), lambda a, b, z: b * z / 0.7),
    "Uniform": Family(lambda a, b, **k: Uniform(a, a + b, **k), stats.uniform,
                      lambda a, b, z: a + b * z),
}
every = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def given_two(rng):
    """Two parameters, (2, 3, 4), and numbers in (0, 1)."""
    return rng.standard_normal((2, 3, 4)), rng.uniform(0.3, 2, (2, 3, 4)), rng.random((2, 3, 4))


def summed(x, event_ndim):
    return x.sum(tuple(range(x.ndim - event_ndim, x.ndim)))


def close(found, exact, rtol=1e-12, atol=0.0):
    np.testing.assert_allclose(found, exact, rtol=rtol, atol=atol, strict=True)


# -- values ---------------------------------------------------------------------------------------
@every
@pytest.mark.parametrize("event_ndim", [0, 1, 3])
def test_values_are_scipys(family, given_two, event_ndim):
    a, b, z = given_two
    q, theirs = family.make(a, b, event_ndim=event_ndim), family.theirs(a, b)
    x = family.inside(a, b, z)
    terms = theirs.logpdf(x)
    # a density near 1 has a log near 0: relative to its terms
    close(q.log_prob(x), summed(terms, event_ndim), atol=1e-13)
    close(q.entropy(), summed(theirs.entropy(), event_ndim), atol=1e-13)
    close(q.mean, theirs.mean(), atol=1e-15)
    close(q.variance, theirs.var())
    close(q.cdf(x), theirs.cdf(x))
    p = np.linspace(0.001, 0.999, z.size).reshape(z.shape)
    close(q.icdf(p), theirs.ppf(p), atol=1e-14)
    close(q.cdf(q.icdf(p)), p)
    assert q.path == "location-scale" and q.shape == x.shape and q.event_ndim == event_ndim


@every
def test_float32_stays_and_is_accurate(family, given_two, rng):
    a, b, z = (x.astype(np.float32) for x in given_two)
    q, x = family.make(a, b), family.inside(a, b, z).astype(np.float32)
    exact = family.make(*(v.astype(float) for v in (a, b)))
    wide, eps = x.astype(float), np.finfo(np.float32).eps
    p = np.linspace(0.01, 0.99, z.size, dtype=np.float32).reshape(z.shape)
    for found, expected in (
            (q.log_prob(x), exact.log_prob(wide)), (q.entropy(), exact.entropy()),
            (q.mean, exact.mean), (q.variance, exact.variance), (q.cdf(x), exact.cdf(wide)),
            (q.icdf(p), exact.icdf(p.astype(float))), (q.cdf(0.5), exact.cdf(0.5)),
            (q.icdf(0.5), exact.icdf(0.5)), (q.log_prob([1.0]), exact.log_prob([1.0]))):
        assert found.dtype == np.float32
        close(found, expected.astype(np.float32), rtol=32 * eps, atol=64 * eps)
    assert q.sample((2,), rng=rng).dtype == np.float32 and q.dtype == np.float32


@every
def test_tails_have_their_digits(family):
    """Of the lower tail, as far as float64 goes; SciPy's own is exact there for these."""
    q, theirs = family.make(np.array(0.5), np.array(1.5)), family.theirs(0.5, 1.5)
    p = np.array([1e-300, 1e-100, 1e-20, 1e-5])
    found = q.icdf(p)
    close(found, theirs.ppf(p), rtol=1e-12)
    if family.make in (Laplace, Logistic):
        close(q.cdf(found), theirs.cdf(found), rtol=1e-12)


# -- shapes ---------------------------------------------------------------------------------------
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 99), st.sampled_from([
    ((), (3,)), ((3,), ()), ((2, 1), (3,)), ((0, 3), (3,)), ((4, 1, 2), (3, 1)), ((), ())]))
def test_parameters_broadcast(name, seed, shapes):
    rng, family = np.random.default_rng(seed), FAMILIES[name]
    a, b = np.asarray(rng.standard_normal(shapes[0])), np.asarray(rng.uniform(0.5, 2, shapes[1]))
    full = np.broadcast_arrays(a, b)
    q, plain = family.make(a, b), family.make(*map(np.array, full))
    assert q.shape == plain.shape == full[0].shape
    draws = q.sample((5,), rng=np.random.default_rng(1))
    close(draws, plain.sample((5,), rng=np.random.default_rng(1)))
    assert draws.shape == (5, *q.shape)
    for what in ("log_prob", "cdf"):
        close(getattr(q, what)(draws), getattr(plain, what)(draws), atol=1e-14)
    close(np.asarray(q.entropy()), np.asarray(plain.entropy()), atol=1e-14)
    assert q.log_prob(draws).shape == (5, *np.shape(q.entropy()))
    close(q.mean, plain.mean)
    close(q.variance, plain.variance)


@every
def test_one_datum_is_held_against_many(family, given_two):
    a, b, z = given_two
    x = family.inside(a, b, z)[0, 0]
    inside = family.make(a, b).log_prob(np.clip(x, 1e-3, None))
    assert inside.shape == (2, 3)
    for i in np.ndindex(2, 3):
        close(inside[i], family.make(a[i], b[i]).log_prob(np.clip(x, 1e-3, None)))


# -- draws ----------------------------------------------------------------------------------------
@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_follow_the_law(family, rng, dtype):
    n, a, b = 100_000, np.array([-1.0, 0.4]), np.array([0.5, 0.8])
    theirs = family.theirs(a, b)
    draws = family.make(a.astype(dtype), b.astype(dtype)).sample((n,), rng=rng)
    assert draws.dtype == dtype and np.all(np.isfinite(draws))
    kurtosis = theirs.stats("k")
    assert np.all(np.abs(draws.mean(0, dtype=float) - theirs.mean()) < 4 * theirs.std() / n**0.5)
    assert np.all(np.abs(draws.var(0, dtype=float) / theirs.var() - 1)
                  < 4 * np.sqrt((kurtosis + 2) / n))
    for k in range(2):
        assert stats.kstest(draws[:, k].astype(float), family.theirs(a[k], b[k]).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(stats.rankdata(draws, axis=0).T)[0, 1]) < 4 / n**0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_logistic_is_finite_and_symmetric_for_every_uniform(dtype):
    step = np.finfo(dtype).epsneg
    ends = np.array([0, step, 1 - 2 * step, 1 - step, 0.5 - step, 0.5], dtype)
    with noise.replay(noise.Noise([noise.Draw("uniform", ends)])):
        z = Logistic(np.zeros(6, dtype), np.ones(6, dtype)).sample(rng=None)
    w = 2 * ends.astype(float) - 1 + float(step)
    np.testing.assert_allclose(z[:4], 2 * np.arctanh(w[:4]), rtol=1e-6)
    assert z.dtype == dtype and np.all(np.isfinite(z))
    np.testing.assert_allclose(z[[0, 1, 4]], -z[[3, 2, 5]], rtol=1e-6, atol=2 * step)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_uniform_draw_is_never_outside(rng, dtype):
    """Also of widths that are rounded up, for the largest u there is."""
    low = (10.0 ** rng.uniform(-3, 3, 50_000) * rng.choice([-1, 1], 50_000)).astype(dtype)
    high = np.maximum(low + (10.0 ** rng.uniform(-3, 3, 50_000)).astype(dtype),
                      np.nextafter(low, dtype(np.inf)))
    assert np.any((high - low).astype(np.longdouble) > high.astype(np.longdouble) - low)
    for u in (0, 1 - np.finfo(dtype).epsneg):
        with noise.replay(noise.Noise([noise.Draw("uniform", np.full(50_000, u, dtype))])):
            x = Uniform(low, high).sample(rng=None)
        assert np.all((low <= x) & (x <= high))


# -- derivatives ----------------------------------------------------------------------------------
@every
def test_derivatives(family, given_two):
    a, b, z = (x[0, :2] for x in given_two)
    x, p = family.inside(a, b, z), np.clip(z, 0.1, 0.9)
    mg.check_grads(lambda x, a, b: family.make(a, b).log_prob(x), (x, a, b))
    mg.check_grads(lambda x, a, b: family.make(a, b).cdf(x), (x, a, b))
    mg.check_grads(lambda p, a, b: family.make(a, b).icdf(p), (p, a, b))
    mg.check_grads(lambda a, b: family.make(a, b).entropy(), (a, b))
    mg.check_grads(lambda a, b: (family.make(a, b).mean, family.make(a, b).variance), (a, b))
    with noise.record() as eps:
        family.make(a, b).sample((3,), rng=np.random.default_rng(0))

    def sample(a, b):
        with noise.replay(eps):
            return family.make(a, b).sample((3,), rng=None)

    mg.check_grads(sample, (a, b))


@every
def test_derivatives_of_shared_parameters(family, rng):
    a, b = rng.standard_normal((2, 1)), rng.uniform(0.5, 2, (3,))
    x = family.inside(a, b, rng.uniform(0.2, 0.8, (4, 2, 3)))[:, :, :]
    x = np.take(x, [1], 0)
    mg.check_grads(lambda a, b: family.make(a, b).log_prob(x), (a, b))
    mg.check_grads(lambda a, b: family.make(a, b).entropy(), (a, b))


def test_slopes_at_the_middle():
    """Where |z| has a kink: the logistic is smooth, and both have a density."""
    zero, one = np.zeros(1), np.ones(1)
    for make, density in ((Laplace, 0.5), (Logistic, 0.25)):
        assert mg.grad(lambda x, make=make: make(zero, one).cdf(x).sum())(zero) == density
        assert mg.grad(lambda x, make=make: make(zero, one).log_prob(x))(zero) == 0
        slope = mg.grad(lambda p, make=make: make(zero, one).icdf(p).sum())(zero + 0.5)
        assert slope == 1 / density
    assert mg.hessian(lambda x: Logistic(zero, one).log_prob(x))(zero) == -0.5
    mg.check_grads(lambda x: Logistic(zero, one).log_prob(x), (zero,), full=True)


def test_the_gradient_of_a_uniform_goes_through_its_draws(rng):
    """∂ E[X²] by low and high, in closed form: E[X²] = (l² + lh + h²)/3."""
    low, high, n = np.array(-1.0), np.array(2.0), 200_000
    by = mg.grad(lambda a, b: np.mean(np.square(Uniform(a, b).sample((n,), rng=rng))), (0, 1))
    np.testing.assert_allclose(by(low, high), [(2 * low + high) / 3, (low + 2 * high) / 3],
                               atol=5 * 3 / n**0.5)


# -- outside of the support -----------------------------------------------------------------------
OUTSIDE = {
    "LogNormal": ([0.0, -1.0, -np.inf, np.inf], lambda a, b: LogNormal(a, b, event_ndim=0)),
    "Exponential": ([-1e-30, -1.0, -np.inf, -3.0], lambda a, b: Exponential(b, event_ndim=0)),
    "Uniform": ([-5.0, 5.0, -np.inf, np.inf], lambda a, b: Uniform(a, a + b, event_ndim=0)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad, make", OUTSIDE.values(), ids=OUTSIDE)
def test_outside_the_density_is_0_and_so_is_the_gradient(bad, make, dtype):
    x, a, b = np.array([*bad, 0.5], dtype), np.zeros(5, dtype), np.full(5, 2, dtype)
    value, pullback = mg.vjp(lambda x, a, b: make(a, b).log_prob(x), x, a, b)
    alone, pull_alone = mg.vjp(lambda x, a, b: make(a, b).log_prob(x), x[4:], a[4:], b[4:])
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, [-np.inf] * 4 + [alone[0]])
    assert np.isfinite(alone)
    slopes, inside = pullback(np.ones_like(value)), pull_alone(np.ones_like(alone))
    for slope, one in zip(slopes, inside):
        np.testing.assert_array_equal(slope, [0, 0, 0, 0, one[0]])
    assert any(np.any(one) for one in inside)

    value, pullback = mg.vjp(lambda x, a, b: make(a, b).cdf(x), x, a, b)
    np.testing.assert_array_equal(value[:4], (x[:4] > 1).astype(dtype), strict=True)
    for slope in pullback(np.ones_like(value)):
        np.testing.assert_array_equal(slope[:4], 0)


@pytest.mark.parametrize("make", SYMMETRIC)
def test_at_infinity_the_log_density_is_minus_infinity(make):
    q = make(np.zeros(1), np.ones(1))
    for x in (np.inf, -np.inf):
        assert q.log_prob([x]) == -np.inf and q.cdf([x]) == (x > 0)
    x = mg.grad(lambda x: q.log_prob(x))(np.array([np.inf]))
    assert x == 0


@every
def test_a_nan_stays_one_and_integers_are_numbers(family):
    q = family.make(np.array([0.3]), np.array([2.0]))
    for x in ([np.nan], np.array([np.nan], np.float32)):
        assert np.isnan(q.log_prob(x)) and np.isnan(q.cdf(x)).all()
    np.testing.assert_array_equal(q.log_prob(np.array([[1], [-7]])), q.log_prob([[1.0], [-7.0]]))


@every
def test_quantiles_at_the_ends_are_those_of_the_support(family):
    q, theirs = family.make(np.array([0.3, 0.3]), np.array([2.0, 2.0])), family.theirs(0.3, 2.0)
    np.testing.assert_allclose(q.icdf([0.0, 1.0]), theirs.ppf([0.0, 1.0]), atol=1e-300)
    for p in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match=rf"icdf: p must be between 0 and 1.*{p:g} at \[1\]"):
            q.icdf([0.5, p])


# -- extremes -------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", SYMMETRIC)
@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("z", [-1e4, -50.0, 0.5, 1e4])
def test_far_out_in_float32(make, scale, z):
    location, s = np.zeros(1, np.float32), np.array([scale], np.float32)
    x = (z * s).astype(np.float32)
    value, slopes = mg.value_and_grad(lambda x, a, s: make(a, s).log_prob(x), (0, 1, 2))(
        x, location, s)
    theirs = {Laplace: stats.laplace, Logistic: stats.logistic}[make](0, float(s[0]))
    far = abs(float(x[0])) / float(s[0])  # SciPy's Laplace takes the logarithm of an underflow
    exact = (-far - math.log(2 * s[0]) if make is Laplace else theirs.logpdf(float(x[0])))
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    slope = {Laplace: np.sign(z), Logistic: math.tanh(z / 2)}[make]
    expected = (-slope / scale, slope / scale, (slope * z - 1) / scale)
    for found, exact in zip(slopes, expected):
        np.testing.assert_allclose(found, exact, rtol=1e-5)
    q = make(location, s)
    np.testing.assert_allclose(q.entropy(), theirs.entropy(), rtol=1e-6)
    cdf = theirs.cdf(float(x[0]))
    np.testing.assert_allclose(q.cdf(x), cdf, rtol=1e-5, atol=1e-37)
    draws = q.sample((50,), rng=np.random.default_rng(0))
    assert np.all(np.isfinite(draws)) and np.all(draws != 0)


@pytest.mark.parametrize("x", [1e-38, 1e-30, 1.0, 1e30])
def test_log_normal_by_the_logarithm_in_float32(x):
    q = LogNormal(np.array([-3.0], np.float32), np.array([20.0], np.float32))
    theirs = stats.lognorm(20.0, scale=math.exp(-3.0))
    x32 = np.array([x], np.float32)
    np.testing.assert_allclose(q.log_prob(x32), theirs.logpdf(float(x32[0])), rtol=1e-6)
    np.testing.assert_allclose(q.cdf(x32), theirs.cdf(float(x32[0])), rtol=1e-5)


@pytest.mark.parametrize("rate", [1e-30, 1e30])
def test_exponential_and_uniform_extremes_in_float32(rate):
    r = np.array([rate], np.float32)
    q = Exponential(r)
    value, slope = mg.value_and_grad(lambda r: Exponential(r).log_prob(1 / r))(r)
    np.testing.assert_allclose(value, math.log(rate) - 1, rtol=1e-6)
    np.testing.assert_allclose(slope, 1 / rate, rtol=1e-6)
    np.testing.assert_allclose(q.cdf(1e-3 / r), -math.expm1(-1e-3), rtol=1e-6)
    np.testing.assert_allclose(q.entropy(), 1 - math.log(rate), rtol=1e-6)
    u = Uniform(-r, r)
    np.testing.assert_allclose(u.entropy(), math.log(2 * rate), rtol=1e-6)
    np.testing.assert_allclose(u.log_prob(r), -math.log(2 * rate), rtol=1e-6)
    assert np.all(np.abs(u.sample((50,), rng=np.random.default_rng(0))) <= r)


# -- errors ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [Laplace, Logistic, LogNormal])
@pytest.mark.parametrize("bad", [0.0, -2.0, np.nan, np.inf])
def test_a_bad_scale_is_named_with_its_place(make, bad):
    scale = np.ones((2, 3))
    scale[1, 2] = bad
    for spread in (scale, mg.Tensor(scale)):
        with pytest.raises(ValueError, match=rf"^{make.__name__}: scale must be positive and "
                                             rf"finite, it is {bad:g} at \[1, 2\]; .*softplus"):
            make(np.zeros((2, 3)), spread)


@pytest.mark.parametrize("make", [Laplace, Logistic, LogNormal])
def test_a_location_that_is_not_finite_is_named_with_its_place(make):
    with pytest.raises(ValueError, match=r"location must be finite, it is nan at \[1\]"):
        make(np.array([0, np.nan]), 1.0)


def test_bad_rates_and_ends_are_named_with_their_place():
    with pytest.raises(ValueError, match=r"^Exponential: rate must be positive.* -1 at \[1\]"):
        Exponential(np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match=r"^Uniform: high must be above low, it is 1 at \[0, 2\]"):
        Uniform(np.array([0.0, 0.5, 1.0]), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"^Uniform: high must be above low, it is 1 at \[1\]"):
        Uniform(mg.Tensor(np.array([0.0, 3.0])), 1.0)
    with pytest.raises(ValueError, match=r"^Uniform: low must be finite, it is -inf$"):
        Uniform(-np.inf, 1.0)
    with pytest.raises(ValueError, match=r"Laplace.*event_ndim=2"):
        Laplace(np.zeros(3), 1.0, event_ndim=2)


@every
def test_map_stopped_and_constant(family):
    q = family.make(mg.Tensor(np.zeros(2)), mg.Tensor(np.ones(2)))
    for still in (q.stopped(), q.constant()):
        assert type(still.sample(rng=np.random.default_rng(0))) is np.ndarray
        assert type(still.log_prob(np.full(2, 0.5))) is np.float64
    assert type(q.sample(rng=np.random.default_rng(0))) is mg.Tensor


# -- supports -------------------------------------------------------------------------------------
ENDS = [-np.inf, -1e30, -1e10, -3.0, 0.0, 1e-3, 1.0, 1e10, 1e30, np.inf]


@given(st.lists(st.sampled_from(ENDS), min_size=2, max_size=2, unique=True), st.booleans(),
       st.sampled_from([np.float32, np.float64, np.int64]))
def test_the_inner_value_is_inside(ends, is_open, dtype):
    low, high = sorted(ends)
    support = Interval(low, high, open=is_open)
    inner = support.inner(dtype)
    assert np.isfinite(inner) and not support.excludes(inner)
    assert inner.dtype == (np.float64 if dtype is np.int64 else dtype)


def test_supports_exclude_what_is_outside_and_no_nan():
    x = np.array([-1.0, 0.0, 1.0, np.inf, np.nan])
    assert POSITIVE.excludes(x).tolist() == [True, True, False, True, False]
    assert NOT_NEGATIVE.excludes(x).tolist() == [True, False, False, True, False]
    assert REAL.excludes(x).tolist() == [False, False, False, True, False]
    assert str(POSITIVE) == "(0.0, inf)" and str(REAL) == "real numbers"
