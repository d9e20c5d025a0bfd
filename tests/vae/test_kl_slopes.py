"""Slopes of KL in float32 where q and p are far apart: against float64, and known numbers."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import psi

import minigrad as mg
from tests.vae import kl_table
from tests.vae.certificates import FINITE, certificate
from tests.vae.certificates_of_numbers import RANGES, UNIFORM, Range
from tests.vae.certificates_of_vectors import VECTORS
from vae.distributions.beta import Beta
from vae.distributions.gamma import Gamma
from vae.distributions.kl import kl
from vae.distributions.location_scale import Exponential, Laplace, LogNormal, Uniform
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal
from vae.distributions.normal import Normal
from vae.distributions.poisson import Poisson
from vae.distributions.von_mises import VonMises

TOLERANCE = 1e-4
REALS, POSITIVE, SHAPES = Range(-20, 20), Range(-6, 6, log=True), Range(-7, 9, log=True)
WIDE: dict[type, tuple[Range, ...]] = {
    **RANGES, Normal: (REALS, POSITIVE), Laplace: (REALS, POSITIVE), Exponential: (POSITIVE,),
    LogNormal: (Range(-5, 5), Range(-4, 1.6, log=True)), Gamma: (SHAPES, POSITIVE),
    Beta: (SHAPES, SHAPES), VonMises: (Range(-3, 3), SHAPES), Poisson: (SHAPES,),
}


def far_apart(pair):
    """The pair's certificate with parameters over several orders of magnitude."""
    exact = certificate(*pair)
    if pair in VECTORS:
        return exact._replace(ranges=tuple(
            Range(*((r.low + r.high) / 2 + s * (r.high - r.low) for s in (-1.5, 1.5)), r.log)
            for r in exact.ranges))
    special = UNIFORM.get(pair)
    ours, theirs = WIDE[pair[0]], WIDE[pair[1]]
    if special is not None:
        ours, theirs = (ours, special) if pair[1] is Uniform else (special, theirs)
    return exact._replace(ranges=ours + theirs)


def error_of_float32(f, v):
    """The largest error of a slope, relative to 1 or it, beyond what rounding v could make."""
    v = np.asarray(v, np.float32)
    found, exact = mg.grad(f)(v), mg.grad(f)(v.astype(np.float64))
    rounding = 4 * np.finfo(np.float32).eps * np.abs(mg.hessian(f)(v.astype(np.float64))) @ abs(v)
    off = np.maximum(np.abs(found - exact) - rounding, 0)
    return np.max(off / np.maximum(1, np.abs(exact)))


@pytest.mark.parametrize("pair", FINITE, ids=kl_table.name)
@given(st.data())
def test_slopes_of_float32_are_those_of_float64(pair, data):
    exact = far_apart(pair)
    n = len(exact.ranges)
    v = exact.at(data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    assume(exact.of_kl(v) < 1e30)  # beyond, float32 may say ∞
    assert error_of_float32(exact.of_kl, v) < TOLERANCE


@pytest.mark.parametrize("pair", FINITE, ids=kl_table.name)
def test_slopes_of_float32_at_many_places(pair):
    exact, rng = far_apart(pair), np.random.default_rng(2)
    places = [exact.at(rng.random(len(exact.ranges))) for _ in range(12)]
    errors = [error_of_float32(exact.of_kl, v) for v in places if exact.of_kl(v) < 1e30]
    assert len(errors) > 7 and max(errors) < TOLERANCE


def numbers(q_type, q, p_type, p):
    """KL as a function of all parameters, and where."""
    n = len(q)
    return (lambda v: kl(q_type(*(v[i] for i in range(n)), event_ndim=0),
                         p_type(*(v[i] for i in range(n, len(v))), event_ndim=0)),
            np.array([*q, *p], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gammas_by_the_shape_of_p(dtype):
    """ψ(ap) - ψ(aq) + log bq/bp, though the divergence is of 1e11."""
    f, v = numbers(Gamma, (163632.3, 3.1566e-4), Gamma, (0.018084, 394.49))
    v = v.astype(dtype)
    aq, bq, ap, bp = v.astype(np.float64)
    exact = psi(ap) - psi(aq) + np.log(bq / bp)
    assert mg.grad(f)(v)[2] == pytest.approx(exact, rel=1e-6 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("far", [-1e6, 1e6])
def test_laplaces_and_normals_by_the_scale_of_q(dtype, far):
    """What is left of E|x - m|/b far from m are -1/bq and -1/s."""
    for kind in (Laplace, Normal):
        f, v = numbers(kind, (far, 2.0), Laplace, (0.25, 1e-3))
        assert mg.grad(f)(v.astype(dtype))[1] == pytest.approx(-0.5, rel=1e-6)
    f, v = numbers(Uniform, (far, far + 4), Laplace, (0.25, 1e-3))
    each = mg.grad(f)(v.astype(dtype))[:2]  # the mean moves by half of either
    np.testing.assert_allclose(each, 500 * np.sign(far) + np.array([0.25, -0.25]), rtol=1e-6)


def test_a_normal_so_narrow_that_its_units_overflow():
    f, v = numbers(Normal, (1e10, 1e-32), Laplace, (0.0, 1.0))
    exact = 1e10 + np.log(2) - 0.5 * np.log(2 * np.pi * np.e) + 32 * np.log(10)
    assert f(v) == pytest.approx(exact, rel=1e-5)
    with np.errstate(over="ignore"):  # the units, again
        np.testing.assert_allclose(mg.grad(f)(v), [1, -1e32, -1, -1e10], rtol=1e-5)


def test_log_normal_by_the_shape_of_a_gamma():
    f, v = numbers(LogNormal, (2.1, 6.07), Gamma, (0.53, 0.43))
    exact = psi(0.53) - np.log(0.43) - 2.1
    assert mg.grad(f)(v)[2] == pytest.approx(exact, rel=1e-6)


def test_third_derivatives_of_the_terms_that_are_closed():
    for q_type, q, p_type, p in ((Gamma, (1.3, 0.6), Gamma, (0.7, 1.9)),
                                 (Laplace, (0.4, 0.8), Laplace, (-0.3, 1.4)),
                                 (Normal, (0.4, 0.8), Laplace, (-0.3, 1.4)),
                                 (LogNormal, (0.4, 0.8), Gamma, (0.7, 1.4))):
        f, v = numbers(q_type, q, p_type, p)
        mg.check_grads(lambda v, f=f: np.sum(mg.hessian(f)(v)), (v.astype(np.float64),))


# -- covariances that, formed, would be singular to working precision -----------------------------
def drawn(kind, rng, n=4):
    mean = rng.standard_normal(n)
    if kind is Normal:
        return Normal(mean, 10 ** rng.uniform(-1.5, 1.5, n))
    if kind is MultivariateNormal:
        low = np.tril(rng.standard_normal((n, n)), -1) + np.diag(10 ** rng.uniform(-1.5, 1.5, n))
        return MultivariateNormal(mean, low)
    return LowRankNormal(mean, rng.standard_normal((n, 2)) * 10 ** rng.uniform(-3, 3, 2),
                         10 ** rng.uniform(-3, 3, n))


def covariance(x):
    """In rational numbers."""
    if isinstance(x, Normal):
        rows, more = np.zeros((len(x.std), 1)), [Fraction(s) ** 2 for s in x.std.tolist()]
    elif isinstance(x, MultivariateNormal):
        rows, more = x.cholesky, [0] * len(x.cholesky)
    else:
        rows, more = x.factor, map(Fraction, x.diagonal.tolist())
    rows = [[Fraction(a) for a in row] for row in rows.tolist()]
    found = [[sum(a * b for a, b in zip(r, s)) for s in rows] for r in rows]
    for i, d in enumerate(more):
        found[i][i] += d
    return found


def solved(matrix, right):
    """The determinant, and the solution, by elimination."""
    n, det = len(matrix), Fraction(1)
    rows = [[*a, *b] for a, b in zip(matrix, right)]
    for k in range(n):
        det *= rows[k][k]
        rows[k] = [a / rows[k][k] for a in rows[k]]
        for i in range(n):
            if i != k:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k])]
    return det, [row[n:] for row in rows]


def exact_divergence(q, p):
    n, ours = len(q.mean), covariance(q)
    apart = [Fraction(a) - Fraction(b) for a, b in zip(q.mean.tolist(), p.mean.tolist())]
    det, x = solved(covariance(p), [[*row, d] for row, d in zip(ours, apart)])
    ratio = det / solved(ours, ours)[0]
    quadratic = sum(x[i][i] + apart[i] * x[i][n] for i in range(n)) - n
    return 0.5 * (float(quadratic) + math.log(ratio.numerator) - math.log(ratio.denominator))


@pytest.mark.parametrize("pair", [p for p in product(
    (Normal, MultivariateNormal, LowRankNormal), repeat=2) if LowRankNormal in p],
    ids=kl_table.name)
def test_factors_and_diagonals_from_1e_3_to_1e3_keep_the_digits(pair):
    rng = np.random.default_rng(0)
    for _ in range(40):
        q, p = (drawn(kind, rng) for kind in pair)
        assert kl(q, p) == pytest.approx(exact_divergence(q, p), rel=1e-12)


def test_low_rank_batches_broadcast_with_derivatives():
    rng = np.random.default_rng(1)
    mean, factor, diagonal = (rng.standard_normal((2, 1, 3)), rng.standard_normal((2, 3, 3, 1)),
                              rng.uniform(0.5, 2, (2, 1, 3)))
    low = np.tril(rng.standard_normal((3, 3)), -1) + np.eye(3)
    for other in (lambda low: MultivariateNormal(np.zeros(3), low),
                  lambda low: Normal(np.zeros(3), np.diagonal(low)),
                  lambda low: LowRankNormal(np.zeros(3), low[:, :2], np.diagonal(low))):
        def both(mean, factor, diagonal, low, other=other):
            low = np.tril(low)
            q = LowRankNormal(mean, factor[0], diagonal)
            return kl(q, other(low)) + kl(other(low), q)
        mg.check_grads(both, (mean[0], factor, diagonal[0], low), order=2)
