"""Each closed form of KL against the integral that it is: values, first and second derivatives."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.special import polygamma

import minigrad as mg
from tests.vae import kl_table
from tests.vae.certificates import FINITE, TOLERANCE, certificate
from tests.vae.certificates_of_numbers import LOG_DENSITIES, RANGES, Point
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.beta import Beta, Dirichlet
from vae.distributions.categorical import Categorical
from vae.distributions.continuous_bernoulli import ContinuousBernoulli
from vae.distributions.gamma import Gamma
from vae.distributions.kl import CLOSED_FORMS, kl
from vae.distributions.location_scale import Exponential, Laplace, LogNormal, Uniform
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal
from vae.distributions.normal import Normal
from vae.distributions.poisson import Poisson
from vae.distributions.von_mises import VonMises

every_pair = pytest.mark.parametrize("pair", FINITE, ids=kl_table.name)
same_family = pytest.mark.parametrize("pair", [p for p in FINITE if p[0] is p[1]],
                                      ids=kl_table.name)
SCIPYS = {
    Normal: stats.norm, Laplace: stats.laplace, Exponential: lambda r: stats.expon(scale=1 / r),
    Gamma: lambda a, b: stats.gamma(a, scale=1 / b), Beta: stats.beta,
    VonMises: lambda m, k: stats.vonmises(k, m), Poisson: stats.poisson,
    LogNormal: lambda m, s: stats.lognorm(s, scale=math.exp(m)),
    Uniform: lambda a, b: stats.uniform(a, b - a),
    Bernoulli: lambda logit: stats.bernoulli(1 / (1 + math.exp(-logit))),
}


def places(pair):
    """Where in its range each parameter lies."""
    n = len(certificate(*pair).ranges)
    return st.lists(st.floats(0, 1), min_size=n, max_size=n)


def coincide(pair, v):
    """Where two kinks of the integrand are one, and move apart: no panel is between them yet."""
    return pair == (Laplace, Laplace) and abs(v[0] - v[2]) < 1e-6


@every_pair
@given(st.data())
def test_value_gradient_and_second_derivative_are_those_of_the_integral(pair, data):
    exact = certificate(*pair)
    v = exact.at(data.draw(places(pair)))
    assume(not coincide(pair, v))
    assert max(exact.errors(v)) < TOLERANCE


@same_family
@given(st.data(), st.floats(-1e-5, 1e-5))
def test_near_equality(pair, data, distance):
    exact = certificate(*pair)
    v = exact.at(data.draw(places(pair)))
    v[exact.split:] = v[:exact.split] * (1 + distance)
    if pair[0] is Uniform:
        low, high = v[:2]
        v[2:] = low - abs(distance), high + abs(distance)
    found = exact.of_kl(v)
    assert found >= 0 and abs(found - exact.oracle(v)) < 1e-13
    if not coincide(pair, v):
        assert max(exact.errors(v)) < TOLERANCE
    v[exact.split:] = v[:exact.split]
    assert 0 <= exact.of_kl(v) < 1e-15


def test_laplace_at_equal_locations_has_its_curvature():
    exact = certificate(Laplace, Laplace)
    v = np.array([0.3, 0.7, 0.3, 1.1])
    found = mg.hessian(exact.of_kl)(v)
    assert found[0, 0] == pytest.approx(1 / (0.7 * 1.1), rel=1e-14)
    beside = v + np.array([1e-5, 0, 0, 0])
    np.testing.assert_allclose(found, mg.hessian(exact.oracle)(beside), atol=1e-4)


@every_pair
def test_derivatives_by_finite_differences(pair):
    exact, rng = certificate(*pair), np.random.default_rng(4)
    v = exact.at(rng.uniform(0.3, 0.7, len(exact.ranges)))
    mg.check_grads(exact.of_kl, (v,), order=2)


@pytest.mark.parametrize("kind", SCIPYS, ids=lambda kind: kind.__name__)
@given(st.data())
def test_the_densities_of_the_certificates_are_scipys(kind, data):
    parameters = [r.at(data.draw(st.floats(0, 1))) for r in RANGES[kind]]
    theirs = SCIPYS[kind](*parameters)
    x = theirs.ppf(np.linspace(0.05, 0.95, 7))
    inside = kind is Beta
    at = Point(x, np.log(x) if x.min() > 0 else None, np.log1p(-x) if inside else None)
    exact = (theirs.logpmf if hasattr(theirs.dist, "pmf") else theirs.logpdf)(x)
    np.testing.assert_allclose(LOG_DENSITIES[kind](at, *parameters), exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pair", [(Gamma, LogNormal), (Beta, Gamma), (VonMises, VonMises),
                                  (Laplace, Normal), (Exponential, Laplace), (Normal, Laplace)],
                         ids=kl_table.name)
def test_the_certificates_are_what_scipys_quadrature_gives(pair):
    exact, rng = certificate(*pair), np.random.default_rng(8)
    v = exact.at(rng.uniform(0.2, 0.8, len(exact.ranges)))
    q, p = (SCIPYS[kind](*part) for kind, part in
            zip(pair, (v[:exact.split], v[exact.split:])))
    ends = q.ppf([1e-14, 1e-4, 0.1, 0.5, 0.9, 1 - 1e-4, 1 - 1e-14])
    ends = sorted([*ends, p.median()]) if ends[0] < p.median() < ends[-1] else ends  # a kink
    by_parts = sum(quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), a, b)[0]
                   for a, b in pairwise(ends))
    assert exact.oracle(v) == pytest.approx(by_parts, rel=1e-8)


# -- covariances of more variables ----------------------------------------------------------------
def drawn_normal(kind, rng, batch=(), n=5, rank=2, dtype=np.float64):
    mean = rng.standard_normal((*batch, n)).astype(dtype)
    if kind is Normal:
        return Normal(mean, rng.uniform(0.5, 2, (*batch, n)).astype(dtype))
    if kind is MultivariateNormal:
        low = np.tril(rng.standard_normal((*batch, n, n)), -1) + np.eye(n) * rng.uniform(0.5, 2, n)
        return MultivariateNormal(mean, low.astype(dtype))
    return LowRankNormal(mean, rng.standard_normal((*batch, n, rank)).astype(dtype),
                         rng.uniform(0.5, 2, (*batch, n)).astype(dtype))


def dense(x):
    if isinstance(x, Normal):
        return x.std[..., None] ** 2 * np.eye(x.shape[-1])
    if isinstance(x, MultivariateNormal):
        return x.cholesky @ np.swapaxes(x.cholesky, -1, -2)
    return x.factor @ np.swapaxes(x.factor, -1, -2) + x.diagonal[..., None] * np.eye(x.shape[-1])


NORMALS = (Normal, MultivariateNormal, LowRankNormal)


@pytest.mark.parametrize("q_kind", NORMALS)
@pytest.mark.parametrize("p_kind", NORMALS)
@pytest.mark.parametrize("batches", [((), ()), ((3,), ()), ((), (3,)), ((4, 1), (3,))])
def test_every_mixture_of_covariances_is_the_dense_formula(q_kind, p_kind, batches):
    rng = np.random.default_rng(5)
    q, p = (drawn_normal(kind, rng, batch) for kind, batch in zip((q_kind, p_kind), batches))
    inverse, shift = np.linalg.inv(dense(p)), q.mean - p.mean
    exact = 0.5 * (np.trace(inverse @ dense(q), axis1=-2, axis2=-1)
                   + np.einsum("...i,...ij,...j->...", shift, inverse, shift) - 5
                   + np.linalg.slogdet(dense(p))[1] - np.linalg.slogdet(dense(q))[1])
    found = kl(q, p)
    assert found.shape == np.broadcast_shapes(*batches)
    np.testing.assert_allclose(found, exact, rtol=1e-11)


def test_low_rank_needs_no_square_matrix():
    rng, n = np.random.default_rng(6), 200_000  # of which a square matrix would take 320 GB
    q, p = (drawn_normal(LowRankNormal, rng, n=n, rank=3) for _ in range(2))
    for a, b in ((q, p), (q, Normal(p.mean, p.diagonal)), (Normal(p.mean, p.diagonal), p)):
        assert 0 < kl(a, b) < np.inf
    assert kl(q, q) < 1e-9


def test_several_vectors_may_be_one_event():
    rng = np.random.default_rng(7)
    for kind in NORMALS:
        q, p = (drawn_normal(kind, rng, (3, 2)) for _ in range(2))
        single = kl(q, p)
        q.event_ndim = p.event_ndim = 2
        np.testing.assert_allclose(kl(q, p), single.sum(-1), rtol=1e-13)


# -- what every divergence keeps to ---------------------------------------------------------------
EXTREMES = {  # all combinations are tried; the slopes by them are numbers of float32
    Normal: ([-3.0, 1e3], [1e-6, 4e8]), Laplace: ([-3.0, 1e6], [1e-6, 1e6]),
    LogNormal: ([-3.0, 5.0], [1e-6, 3.0]), Exponential: ([1e-6, 1.0, 1e6],),
    Gamma: ([1e-6, 1.0, 1e6], [1e-3, 1e6]), Beta: ([1e-6, 1.0, 1e6], [1e-6, 1e6]),
    VonMises: ([-3.0, 3.0], [0.0, 1e-6, 1.0, 1e6]), ContinuousBernoulli: ([-1e4, 0.0, 1e-3, 1e4],),
    Uniform: ([-4.0, 0.0, 1e-6], [1 - 1e-6, 1.0, 1e6]), Bernoulli: ([-1e4, 0.0, 1e-3, 1e4],),
    Poisson: ([1e-6, 1.0, 1e6],),
}


def combinations(kind):
    grid = np.meshgrid(*EXTREMES[kind], indexing="ij")
    return [a.ravel().astype(np.float32) for a in grid]


@pytest.mark.parametrize("pair", [p for p in FINITE if set(p) <= set(EXTREMES)], ids=kl_table.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_finite_or_infinite_never_negative_or_nan(pair, dtype):
    ours = [a[:, None].astype(dtype) for a in combinations(pair[0])]
    theirs = [a[None, :].astype(dtype) for a in combinations(pair[1])]

    def divergence(ours, theirs):
        return kl(pair[0](*ours, event_ndim=0), pair[1](*theirs, event_ndim=0))
    found, pullback = mg.vjp(divergence, ours, theirs)
    assert found.dtype == dtype and not np.isnan(found).any() and np.all(found >= 0)
    for slopes in pullback(np.ones_like(found)):
        for slope in slopes:
            assert slope.dtype == dtype and not np.isnan(slope).any()


def test_log_variances_of_a_thousand():
    raw = np.array([-1e3, 0, 1e3], np.float32)
    q = Normal.from_log_var(np.zeros((3, 1), np.float32), raw[:, None], event_ndim=0)
    for p in (q, Laplace(np.float32(1), np.float32(1e-3), event_ndim=0)):
        found = kl(q, p)
        assert found.dtype == np.float32 and np.all(np.isfinite(found)) and np.all(found >= 0)


@every_pair
def test_batches_broadcast_and_dtype_is_kept(pair):
    exact, rng = certificate(*pair), np.random.default_rng(9)
    v = exact.at(rng.random(len(exact.ranges)))
    single = np.float32(v)
    assert exact.of_kl(single).dtype == np.float32
    assert exact.of_kl(single) == pytest.approx(exact.of_kl(v), rel=1e-3, abs=1e-4)
    if set(pair) <= set(RANGES):
        ours, theirs = v[:exact.split], v[exact.split:]
        q = pair[0](*(np.full((4, 1, 3), a) for a in ours))
        p = pair[1](*(np.full((2, 3), a) for a in theirs))
        np.testing.assert_allclose(kl(q, p), np.full((4, 2), 3 * exact.of_kl(v)), rtol=1e-13)


def test_infinite_where_q_sticks_out_with_a_gradient_of_0():
    def divergence(low, high, a, b):
        return np.stack([kl(Uniform(low, high, event_ndim=1), p) for p in (
            Uniform(a, b), Beta(b, b), Exponential(b), Gamma(b, b), ContinuousBernoulli(a))])
    low, high = np.array([[-0.5, 0.2], [0.3, 0.2]]), np.array([[0.7, 0.6], [0.9, 0.6]])
    a, b = np.full((2, 2), 0.1), np.full((2, 2), 1.0)
    found, pullback = mg.vjp(divergence, low, high, a, b)
    np.testing.assert_array_equal(np.isinf(found), [[True, False]] * 5)
    for slope in pullback(np.ones_like(found)):
        assert np.all(np.isfinite(slope)) and not slope[0].any() and slope[1].any()


def test_infinite_pairs_are_infinite_and_never_raise():
    parameters = {kind: [np.full((4, 3), r.at(0.5)) for r in ranges]
                  for kind, ranges in RANGES.items()}
    for pair, entry in CLOSED_FORMS.items():
        if entry.infinite and set(pair) <= set(parameters):
            found = kl(*(kind(*parameters[kind]) for kind in pair))
            np.testing.assert_array_equal(found, np.full(4, np.inf))


def test_classes_that_are_impossible():
    logits = np.array([0.0, 1.0, -np.inf])
    q = Categorical(logits)
    assert kl(q, Categorical(np.array([0.0, 1.0, 2.0]))) == pytest.approx(
        math.log((1 + math.e + math.e**2) / (1 + math.e)))
    assert kl(q, q) == 0
    assert kl(Categorical(np.zeros(3)), q) == np.inf
    slopes = mg.grad(lambda a, b: kl(Categorical(a), Categorical(b)), (0, 1))
    for slope in (*slopes(logits, np.zeros(3)), *slopes(np.zeros(3), logits),
                  *slopes(logits, logits)):
        assert np.all(np.isfinite(slope))
    for slope in slopes(np.zeros(3), logits):
        np.testing.assert_array_equal(slope, np.zeros(3))
    with pytest.raises(ValueError, match="3 classes and with 2"):
        kl(q, Categorical(np.zeros(2)))


def test_logits_where_other_libraries_fail():
    """A divergence of -16.7 and one of infinity: pytorch issue 72525."""
    q, p = (ContinuousBernoulli(np.array(x), event_ndim=0) for x in (-500.0, 20.0))
    exact = (math.log(500) - 1) + math.log(math.expm1(20) / 20) - 20 / 500
    assert kl(q, p) == pytest.approx(exact, rel=1e-12)
    unit = Uniform(np.array(0.0), np.array(1.0), event_ndim=0)
    q = ContinuousBernoulli(np.array(1.2), event_ndim=0)
    for pair in ((q, unit), (unit, q)):
        assert 0.02 < kl(*pair) < 0.07


def test_concentrations_of_a_million_keep_their_digits():
    """For close Dirichlet distributions half the Fisher information times the squared step."""
    a, step = np.array([1e6, 2e6]), 300.0
    information = polygamma(1, a[0]) - polygamma(1, a.sum())
    found = kl(Dirichlet(a), Dirichlet(a + np.array([step, 0])))
    assert found == pytest.approx(0.5 * information * step**2, rel=1e-3)


# -- the page -------------------------------------------------------------------------------------
def test_the_page_lists_the_registered_pairs_and_was_made_of_these_formulas():
    text = kl_table.PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if "‖" in line and line.startswith("| ")
            and not line.startswith("| q‖p |")]
    finite, endless = rows[:len(FINITE)], rows[len(FINITE):]
    assert [row[:len(kl_table.about(pair))] for row, pair in zip(finite, FINITE)] \
        == [kl_table.about(pair) for pair in FINITE]
    assert endless == kl_table.infinite_rows()
    for row in finite:
        assert all(float(error) < TOLERANCE for error in row.split("|")[-4:-1])
    again = "docs/kl.md is of other formulas: python -m tests.vae.kl_table"
    assert kl_table.fingerprint() in text, again
