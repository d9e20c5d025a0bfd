"""Normal distributions with correlations: against SciPy, dense matrices, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

import minigrad as mg
from minigrad import noise
from vae import Normal
from vae.distributions.multivariate import (
    LowRankNormal,
    MultivariateNormal,
    gram_factor,
    residual,
    solve_lower,
)

N, K = 4, 2


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def lower(rng, *shape, n=N):
    """Cholesky factors (*shape, n, n)."""
    return np.tril(rng.standard_normal((*shape, n, n)), -1) + np.eye(n) * rng.uniform(
        0.5, 2, (*shape, n, 1))


def dense(rng, batch):
    return MultivariateNormal(rng.standard_normal((*batch, N)), lower(rng, *batch))


def low_rank(rng, batch):
    return LowRankNormal(rng.standard_normal((*batch, N)), rng.standard_normal((*batch, N, K)),
                         rng.uniform(0.3, 2, (*batch, N)))


both = pytest.mark.parametrize("make", [dense, low_rank])


def close(found, exact, rtol=1e-12, atol=1e-13):
    np.testing.assert_allclose(found, exact, rtol=rtol, atol=atol)


# -- values ---------------------------------------------------------------------------------------
@both
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_values_are_scipys(rng, make, batch):
    q = make(rng, batch)
    x = rng.standard_normal((5, *batch, N))
    found, entropy = q.log_prob(x), q.entropy()
    assert q.shape == (*batch, N) and q.event_ndim == 1
    assert found.shape == (5, *batch) and entropy.shape == batch
    assert q.covariance.shape == (*batch, N, N) and q.variance.shape == (*batch, N)
    for i in np.ndindex(batch):
        theirs = stats.multivariate_normal(q.mean[i], q.covariance[i])
        close(found[(slice(None), *i)], theirs.logpdf(x[(slice(None), *i)]))
        close(entropy[i], theirs.entropy())
        close(q.variance[i], np.diagonal(q.covariance[i]))


def test_covariances_are_what_the_parameters_say(rng):
    low, factor, diagonal = lower(rng), rng.standard_normal((N, K)), rng.uniform(1, 2, N)
    close(MultivariateNormal(np.zeros(N), low).covariance, low @ low.T)
    close(LowRankNormal(np.zeros(N), factor, diagonal).covariance,
          factor @ factor.T + np.diag(diagonal))


def test_from_covariance_is_the_same_distribution(rng):
    q = dense(rng, (3,))
    other = MultivariateNormal.from_covariance(q.mean, q.covariance)
    close(other.cholesky, q.cholesky)
    x = rng.standard_normal((2, 3, N))
    close(other.log_prob(x), q.log_prob(x))


def test_low_rank_is_the_dense_one(rng):
    q = low_rank(rng, (2, 3))
    full = MultivariateNormal.from_covariance(q.mean, q.covariance)
    x = rng.standard_normal((7, 2, 3, N))
    close(q.log_prob(x), full.log_prob(x))
    close(q.entropy(), full.entropy())


def test_without_correlations_it_is_the_diagonal_normal(rng):
    mean, std, x = rng.standard_normal((3, N)), rng.uniform(0.5, 2, (3, N)), rng.random((3, N))
    plain = Normal(mean, std)
    for q in (MultivariateNormal(mean, std[..., None] * np.eye(N)),
              LowRankNormal(mean, np.zeros((N, 1)), std**2)):
        close(q.log_prob(x), plain.log_prob(x))
        close(q.entropy(), plain.entropy())
        close(q.variance, plain.variance)


@pytest.mark.parametrize("make", [dense, low_rank])
def test_float32_stays_and_is_accurate(rng, make):
    wide = make(rng, (3,))
    q = wide.map(lambda p: p.astype(np.float32))
    wide = q.map(lambda p: p.astype(float))  # the same numbers
    x = rng.standard_normal((5, 3, N)).astype(np.float32)
    for found, exact in ((q.log_prob(x), wide.log_prob(x.astype(float))),
                         (q.entropy(), wide.entropy()), (q.variance, wide.variance),
                         (q.covariance, wide.covariance)):
        assert found.dtype == np.float32
        close(found, exact, rtol=2e-5, atol=2e-6)
    assert q.sample((2,), rng=rng).dtype == np.float32
    assert q.log_prob([0.0] * N).dtype == np.float32


# -- shapes ---------------------------------------------------------------------------------------
SHAPES = [((N,), (3,), (5, 3)), ((3, N), (), (5, 3)), ((2, 1, N), (3,), (2, 3)),
          ((3, N), (2, 1), (4, 2, 3)), ((0, N), (), (0,)), ((N,), (0,), (2, 0)), ((N,), (), ()),
          ((N,), (2, 3), ())]


@given(st.sampled_from(SHAPES), st.integers(0, 99), st.booleans())
def test_batches_broadcast(shapes, seed, few):
    rng = np.random.default_rng(seed)
    of_mean, batch, of_x = shapes
    mean, x = rng.standard_normal(of_mean), rng.standard_normal((*of_x, N))
    parameters = ((rng.standard_normal((*batch, N, K)), rng.uniform(0.5, 2, (*batch, N)))
                  if few else (lower(rng, *batch),))
    make = LowRankNormal if few else MultivariateNormal
    q = make(mean, *parameters)
    together = np.broadcast_shapes(of_mean[:-1], batch)
    assert q.shape == (*together, N) and np.shape(q.entropy()) == together
    assert q.covariance.shape == (*together, N, N) and q.variance.shape == q.shape
    found = q.log_prob(x)
    assert np.shape(found) == np.broadcast_shapes(together, of_x)
    means = np.broadcast_to(mean, (*np.shape(found), N))
    xs, cs = np.broadcast_to(x, means.shape), np.broadcast_to(q.covariance, (*means.shape, N))
    for i in np.ndindex(np.shape(found)):
        close(found[i], stats.multivariate_normal(means[i], cs[i]).logpdf(xs[i]), rtol=1e-11)
    draws = q.sample((6, 2), rng=rng)
    assert draws.shape == (6, 2, *q.shape)


@both
def test_further_event_axes_are_independent(rng, make):
    q, x = make(rng, (2, 3)), rng.standard_normal((2, 3, N))
    parts = [getattr(q, name) for name in q.parameters]
    joint = type(q)(*parts, event_ndim=2)
    close(joint.log_prob(x), q.log_prob(x).sum(-1))
    close(joint.entropy(), q.entropy().sum(-1))


# -- draws ----------------------------------------------------------------------------------------
@both
def test_draws_have_the_moments(rng, make):
    n, q = 100_000, make(rng, (2,))
    z = q.sample((n,), rng=rng)
    for i in range(2):
        c = q.covariance[i]
        sizes = np.sqrt(np.diag(c))
        assert np.all(np.abs(z[:, i].mean(0) - q.mean[i]) < 4 * sizes / n**0.5)
        allowed = 4 * np.sqrt((c**2 + np.outer(sizes, sizes)**2) / n)  # of a Wishart matrix
        assert np.all(np.abs(np.cov(z[:, i].T) - c) < allowed)
        d = linalg.solve(c, (z[:, i] - q.mean[i]).T)
        distance = np.sum(d.T * (z[:, i] - q.mean[i]), axis=1)
        assert stats.kstest(distance, stats.chi2(N).cdf).pvalue > 1e-3
    between = np.corrcoef(z[:, 0].T, z[:, 1].T)[:N, N:]
    assert np.all(np.abs(between) < 4.5 / n**0.5)


def test_a_draw_is_the_mean_and_the_factor_times_the_noise(rng):
    q, other = dense(rng, (3,)), low_rank(rng, (3,))
    with noise.record() as eps:
        z = q.sample((5,), rng=rng)
    close(z, q.mean + np.einsum("bij,sbj->sbi", q.cholesky, eps[0].value))
    with noise.record() as eps:
        z = other.sample((5,), rng=rng)
    close(z, other.mean + np.einsum("bij,sbj->sbi", other.factor, eps[0].value)
          + np.sqrt(other.diagonal) * eps[1].value)


# -- derivatives ----------------------------------------------------------------------------------
def of_dense(mean, a):
    return MultivariateNormal(mean, np.tril(a))


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("of_mean", [(), (2,), (3, 1)])
def test_derivatives_of_dense(rng, batch, of_mean):
    mean, a = rng.standard_normal((*of_mean, N)), lower(rng, *batch)
    x = rng.standard_normal((3, 2, N))
    mg.check_grads(lambda x, m, a: of_dense(m, a).log_prob(x), (x, mean, a))
    check_rest(of_dense, (mean, a))


@pytest.mark.parametrize("batch", [(), (2,)])
def test_derivatives_of_low_rank(rng, batch):
    args = (rng.standard_normal((2, N)), rng.standard_normal((*batch, N, K)),
            rng.uniform(0.5, 2, (N,)))
    mg.check_grads(lambda x, *p: LowRankNormal(*p).log_prob(x),
                   (rng.standard_normal((3, 2, N)), *args))
    check_rest(LowRankNormal, args)


def check_rest(make, args):
    mg.check_grads(lambda *p: make(*p).entropy(), args)
    mg.check_grads(lambda *p: (make(*p).covariance, make(*p).variance), args)
    with noise.record() as eps:
        make(*args).sample((3,), rng=np.random.default_rng(0))

    def sample(*p):
        with noise.replay(eps):
            return make(*p).sample((3,), rng=None)

    mg.check_grads(sample, args)


def test_derivatives_by_a_covariance(rng):
    mean, a, x = rng.standard_normal(3), rng.standard_normal((2, 3, 3)), rng.standard_normal((2, 3))

    def log_prob(a):
        c = a @ np.swapaxes(a, -1, -2) + np.eye(3)
        return MultivariateNormal.from_covariance(mean, c).log_prob(x)

    mg.check_grads(log_prob, (a,))
    c = a[0] @ a[0].T + np.eye(3)
    slope = mg.grad(lambda c: MultivariateNormal.from_covariance(mean, c).log_prob(x[0]))(c)
    inverse = np.linalg.inv(c)
    d = inverse @ (x[0] - mean)
    close(slope, 0.5 * (np.outer(d, d) - inverse))


def test_no_gradient_arrives_above_the_diagonal(rng):
    low, mean, x = lower(rng, 2), np.zeros(N), rng.standard_normal((3, 2, N))
    for f in (lambda q: q.log_prob(x).sum(), lambda q: q.entropy().sum(),
              lambda q: np.square(q.sample((3,), rng=np.random.default_rng(0))).sum(),
              lambda q: np.square(q.covariance).sum()):
        slope = mg.grad(lambda a, f=f: f(MultivariateNormal(mean, a)))(low)
        assert np.all(np.triu(slope, 1) == 0) and np.any(slope)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shapes", [((), ()), ((2,), (2,)), ((), (2,)), ((2, 1), (3,))])
def test_triangular_solutions_and_their_derivatives(rng, transposed, shapes):
    low, b = lower(rng, *shapes[0]), rng.standard_normal((*shapes[1], N, 3))
    matrix = np.swapaxes(low, -1, -2) if transposed else low
    close(solve_lower(low, b, transposed=transposed), np.linalg.solve(matrix, b))
    mg.check_grads(lambda low, b: solve_lower(np.tril(low), b, transposed=transposed), (low, b))
    noisy = low + np.triu(rng.standard_normal((N, N)), 1)  # what is above is not read
    np.testing.assert_array_equal(solve_lower(noisy, b), solve_lower(low, b))


def test_the_factor_of_a_gram_matrix_and_its_derivatives(rng):
    w = rng.standard_normal((2, 5, 3))
    close(gram_factor(w), np.linalg.cholesky(np.eye(3) + np.swapaxes(w, -1, -2) @ w))
    mg.check_grads(gram_factor, (w,))
    mg.check_grads(gram_factor, (w[0, :2],))  # fewer rows than columns


def test_the_residual_of_least_squares_and_its_derivatives(rng):
    w, b = rng.standard_normal((2, 5, 3)), rng.standard_normal((4, 1, 8, 2))
    a = np.concatenate((w, np.broadcast_to(np.eye(3), (2, 3, 3))), axis=1)
    found = residual(w, b)
    for i in np.ndindex(4, 2):
        z = np.linalg.lstsq(a[i[1]], b[i[0], 0], rcond=None)[0]
        close(found[i], b[i[0], 0] - a[i[1]] @ z)
    mg.check_grads(residual, (w, b[0]))


# -- extremes -------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_extreme_scales_in_float32(rng, scale):
    low = (scale * lower(rng, 3)).astype(np.float32)
    q = MultivariateNormal(np.zeros((3, N), np.float32), low)
    z = q.sample((2,), rng=rng)
    small, low = z.astype(float) / scale, low.astype(float) / scale
    value, slope = mg.value_and_grad(
        lambda a: MultivariateNormal(q.mean, a).log_prob(z).sum())(q.cholesky)
    for i in range(3):
        theirs = stats.multivariate_normal(np.zeros(N), low[i] @ low[i].T)
        np.testing.assert_allclose(q.log_prob(z)[:, i],
                                   theirs.logpdf(small[:, i]) - N * np.log(scale), rtol=1e-5)
    assert np.isfinite(value) and np.all(np.isfinite(slope)) and slope.dtype == np.float32


def test_a_factor_far_above_the_diagonal_keeps_the_digits(rng):
    """Two columns that are one, 1e4 times √d: in float32 the product WᵀW would lose the I."""
    one = rng.standard_normal((N, 1))
    factor = (1e4 * np.concatenate((one, one), 1)).astype(np.float32)
    args = np.zeros(N, np.float32), factor, np.ones(N, np.float32)
    q, exact = LowRankNormal(*args), LowRankNormal(*(a.astype(float) for a in args))
    x = (factor @ np.float32([1, -0.3]) + rng.standard_normal((5, N))).astype(np.float32)
    np.testing.assert_allclose(q.log_prob(x), exact.log_prob(x.astype(float)), rtol=1e-3)
    np.testing.assert_allclose(q.entropy(), exact.entropy(), rtol=1e-5)
    w = exact.factor
    known = 0.5 * (np.log1p(2 * np.sum(np.square(w[:, 0]))) + N * (np.log(2 * np.pi) + 1))
    np.testing.assert_allclose(exact.entropy(), known, rtol=1e-12)


def test_low_rank_never_forms_the_large_matrix(rng):
    """Of 200 000 variables a matrix would have 320 GB."""
    n = 200_000
    q = LowRankNormal(np.zeros(n, np.float32), rng.standard_normal((n, 2)).astype(np.float32),
                      np.full(n, 0.5, np.float32))
    value, slope = mg.value_and_grad(
        lambda f: LowRankNormal(q.mean, f, q.diagonal).log_prob(np.ones(n, np.float32)))(q.factor)
    assert np.isfinite(value) and np.all(np.isfinite(slope)) and np.isfinite(q.entropy())
    assert q.sample((2,), rng=rng).shape == (2, n) and q.variance.shape == (n,)


@both
def test_a_nan_stays_one(rng, make):
    x = np.zeros((2, N))
    x[1, 2] = np.nan
    assert np.isnan(make(rng, ()).log_prob(x)).tolist() == [False, True]


# -- errors ---------------------------------------------------------------------------------------
def test_bad_factors_are_named_with_their_place(rng):
    mean, low = np.zeros((2, 3)), lower(rng, 2, n=3)
    for index, value, text in (
            ((1, 0, 2), 0.25, r"cholesky must be 0 above its diagonal, it is 0.25 at \[1, 0, 2\]; "
                              r".*from_covariance.*np.tril"),
            ((1, 2, 2), -1.0, r"the diagonal of cholesky must be positive and finite, it is -1 at "
                              r"\[1, 2\]"),
            ((0, 1, 0), np.nan, r"cholesky must be finite, it is nan at \[0, 1, 0\]")):
        bad = low.copy()
        bad[index] = value
        for given_ in (bad, mg.Tensor(bad)):
            with pytest.raises(ValueError, match="^MultivariateNormal: " + text):
                MultivariateNormal(mean, given_)


def test_bad_covariances_are_named_with_their_place(rng):
    c = np.stack([np.eye(3), np.eye(3)])
    make = MultivariateNormal.from_covariance
    c[1, 0, 2] = 0.5
    with pytest.raises(ValueError, match=r"covariance must be symmetric, it is 0.5 at \[1, 0, 2\] "
                                         r"and 0 across"):
        make(np.zeros(3), c)
    c[1, 0, 2], c[1, 1, 1] = 0, -0.25
    for given_ in (c, mg.Tensor(c)):
        with pytest.raises(ValueError, match=r"covariance must be positive definite.*smallest "
                                             r"eigenvalue is -0.25 at \[1\]"):
            make(np.zeros(3), given_)
    with pytest.raises(ValueError, match=r"eigenvalue is .*$"):
        make(np.zeros(2), np.ones((2, 2)) - 1e-3 * np.eye(2))
    c[1, 1, 1] = np.inf
    with pytest.raises(ValueError, match=r"covariance must be finite, it is inf at \[1, 1, 1\]"):
        make(np.zeros(3), c)
    inverse = np.linalg.inv(np.array([[2, 1.3, 0.1], [1.3, 1, 0.2], [0.1, 0.2, 0.7]]))
    make(np.zeros(3), inverse * (1 + 1e-13 * rng.standard_normal((3, 3))))  # rounding is none


def test_bad_low_rank_parameters_are_named_with_their_place():
    factor = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match=r"^LowRankNormal: diagonal must be positive.* 0 at \[1\]"):
        LowRankNormal(np.zeros(3), factor, np.array([1.0, 0, 1]))
    with pytest.raises(ValueError, match=r"factor must be at most 3e\+14·√diagonal, it is "
                                         r"1e\+12 at \[2, 0\]"):
        LowRankNormal(np.zeros(3, np.float32), np.float32([[0, 0], [0, 0], [1e12, 0]]),
                      np.float32([1, 1, 1e-38]))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"cholesky has shape \(3,\), it must be \(…, n, n\)"):
        MultivariateNormal(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match=r"covariance has shape \(2, 3\)"):
        MultivariateNormal.from_covariance(np.zeros(3), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"mean has shape \(2,\), and the covariance is of 3"):
        MultivariateNormal(np.zeros(2), np.eye(3))
    with pytest.raises(ValueError, match=r"factor \(3, 2\) and diagonal \(2,\) must be"):
        LowRankNormal(np.zeros(3), np.ones((3, 2)), np.ones(2))
    with pytest.raises(ValueError, match=r"event_ndim=0.*one event.*vae.Normal"):
        MultivariateNormal(np.zeros(3), np.eye(3), event_ndim=0)
    with pytest.raises(ValueError, match="event_ndim=2"):
        MultivariateNormal(np.zeros(3), np.eye(3), event_ndim=2)
    with pytest.raises(NotImplementedError, match="MultivariateNormal has no cdf"):
        MultivariateNormal(np.zeros(3), np.eye(3)).cdf(np.zeros(3))
