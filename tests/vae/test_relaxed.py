"""Relaxed coins and classes: densities by quadrature, draws by their cdf, hard draws by counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit, softmax

import minigrad as mg
from minigrad.marks import mark_of
from vae import noise
from vae.distributions.categorical import OneHotCategorical
from vae.distributions.relaxed import RelaxedBernoulli, RelaxedOneHot, straight_through


@pytest.fixture
def rng():
    return np.random.default_rng(21)


# -- densities ---------------------------------------------------------------------------------
@pytest.mark.parametrize("logit, temperature", [(0.0, 1.0), (1.3, 0.7), (-2.0, 2.5), (0.4, 0.3)])
def test_the_density_of_a_coin_is_the_slope_of_its_cdf(logit, temperature):
    p = RelaxedBernoulli(np.array(logit), np.array(temperature))
    total = quad(lambda y: np.exp(float(p.log_prob_logits(np.array(y)))), -300, 300,
                 points=[0], limit=200)[0]
    np.testing.assert_allclose(total, 1, rtol=1e-8)
    for z in (0.02, 0.5, 0.9):
        part = quad(lambda t: np.exp(float(p.log_prob(np.array(t)))), 0.01, z, epsrel=1e-11)[0]
        np.testing.assert_allclose(p.cdf(np.array(z)) - p.cdf(np.array(0.01)), part, rtol=1e-9)
        np.testing.assert_allclose(p.icdf(p.cdf(np.array(z))), z, rtol=1e-12)


def test_a_relaxed_coin_with_temperature_one_and_no_logit_is_uniform():
    z = np.linspace(0.01, 0.99, 9)
    p = RelaxedBernoulli(np.zeros(9), 1.0, event_ndim=0)
    np.testing.assert_allclose(p.log_prob(z), 0, atol=1e-14)
    np.testing.assert_allclose(p.cdf(z), z, rtol=1e-13)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_the_density_of_three_classes_integrates_to_one(temperature):
    """Over u = log z₁/z₃ and log z₂/z₃ with dz₁dz₂ = z₁z₂z₃ du: there the trapezoid rule is exact.

    (To e⁻²⁵: the integrand is analytic, and decays so far.)
    """
    p = RelaxedOneHot(np.array([0.2, -0.5, 0.7]), np.array(temperature))
    u, step = np.linspace(-25 / temperature, 25 / temperature, 601, retstep=True)
    z = softmax(np.stack([*np.meshgrid(u, u), np.zeros((601, 601))], -1), -1)
    total = np.sum(np.exp(p.log_prob(z)) * z.prod(-1)) * step**2
    np.testing.assert_allclose(total, 1, rtol=1e-9)


def test_two_classes_are_a_coin(rng):
    logits, z = rng.standard_normal((5, 2)), rng.uniform(0.05, 0.95, 5)
    pair, t = np.stack([1 - z, z], -1), np.array(0.6)
    coin = RelaxedBernoulli(logits[:, 1] - logits[:, 0], t, event_ndim=0)
    two = RelaxedOneHot(logits, t)
    np.testing.assert_allclose(two.log_prob(pair), coin.log_prob(z), rtol=1e-11)
    y = np.log(z / (1 - z))
    np.testing.assert_allclose(two.log_prob_logits(np.log(pair)), coin.log_prob_logits(y),
                               rtol=1e-11)


def test_densities_of_logits_and_of_draws_differ_by_the_jacobian(rng):
    logits, t = rng.standard_normal((4, 3)), rng.uniform(0.5, 2, 4)
    p = RelaxedOneHot(logits, t)
    y = p.sample_logits((6,), rng=rng)
    np.testing.assert_allclose(p.log_prob_logits(y), p.log_prob(p.squash(y)) + y.sum(-1),
                               rtol=1e-9)
    np.testing.assert_allclose(p.log_prob_logits(y + 7), p.log_prob_logits(y), rtol=1e-9)
    coin = RelaxedBernoulli(logits, t[:, None])
    y = coin.sample_logits((6,), rng=rng)
    jacobian = np.log(expit(y) * expit(-y)).sum(-1)
    np.testing.assert_allclose(coin.log_prob_logits(y), coin.log_prob(expit(y)) + jacobian,
                               rtol=1e-9)


@pytest.mark.parametrize("event_ndim", [1, 2])
def test_shapes(rng, event_ndim):
    p = RelaxedOneHot(rng.standard_normal((2, 3, 4)), np.full((2, 1), 0.7), event_ndim=event_ndim)
    z = p.sample((5,), rng=rng)
    assert z.shape == (5, 2, 3, 4) and p.log_prob(z).shape == (5, 2, 3)[:4 - event_ndim]
    coin = RelaxedBernoulli(rng.standard_normal((2, 3)), 0.7, event_ndim=event_ndim)
    z = coin.sample((5,), rng=rng)
    assert z.shape == (5, 2, 3) and coin.log_prob(z).shape == (5, 2)[:3 - event_ndim]


# -- draws -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_of_coins_have_the_cdf_and_harden_to_coins(dtype):
    n, logits = 20_000, np.array([-1.5, 0.0, 2.0], dtype)
    p = RelaxedBernoulli(logits, 0.8)
    z = p.sample((n,), rng=np.random.default_rng(2))
    assert z.dtype == dtype
    for column, logit in zip(z.T, np.float64(logits)):
        assert stats.kstest(column, RelaxedBernoulli(np.array(logit), 0.8).cdf).pvalue > 1e-3
    hard = p.harden(z)
    assert hard.dtype == dtype and {*hard.flat} == {0, 1}
    law = expit(np.float64(logits))
    assert np.all(np.abs(hard.mean(0) - law) < 4 * np.sqrt(law * (1 - law) / n))


@pytest.mark.parametrize("temperature", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_of_classes_harden_to_the_classes(temperature, dtype):
    n, logits = 20_000, np.array([0.0, -3.0, 1.5, 1.0], dtype)
    p = RelaxedOneHot(logits, temperature)
    z = p.sample((n,), rng=np.random.default_rng(4))
    np.testing.assert_allclose(z.sum(-1), 1, rtol=1e-5)
    hard = p.harden(z)
    assert z.dtype == hard.dtype == dtype
    assert np.all(np.isfinite(OneHotCategorical(logits).log_prob(hard)))
    assert stats.chisquare(hard.sum(0), n * softmax(np.float64(logits))).pvalue > 1e-3


def test_plain_numbers_keep_float32():
    p = RelaxedBernoulli(np.zeros(2, np.float32), 0.5)
    assert p.cdf(0.5).dtype == p.icdf(0.5).dtype == p.log_prob(0.5).dtype == np.float32
    assert RelaxedOneHot(np.zeros(2, np.float32), 0.5).log_prob([0.5, 0.5]).dtype == np.float32


def test_the_least_noise_is_finite():
    for u in (0.0, 1 - 2.0**-24):
        with noise.replay(noise.Noise([noise.Draw("uniform", np.float32([u]))])):
            p = RelaxedBernoulli(np.zeros(1, np.float32), 1.0)
            z = p.sample(rng=np.random.default_rng(0))
        assert 0 <= z[0] <= 1 and abs(p.log_prob(z)) < 1e-5  # 1 by rounding; it is uniform
    with noise.replay(noise.Noise([noise.Draw("exponential", np.float32([0, 1]))])):
        y = RelaxedOneHot(np.zeros(2, np.float32), 1.0).sample_logits(rng=np.random.default_rng(0))
    assert np.all(np.isfinite(y))


# -- derivatives -------------------------------------------------------------------------------
@pytest.mark.parametrize("make, shape", [(RelaxedBernoulli, (2, 3)), (RelaxedOneHot, (2, 3, 4))])
def test_derivatives_of_draws_and_densities(rng, make, shape):
    logits, t = rng.standard_normal(shape), np.full((*shape[:1], 1), 0.7)
    with noise.record() as eps:
        z = make(logits, t).sample((2,), rng=rng)

    def replayed(logits, t):
        with noise.replay(eps):
            return make(logits, t).sample((2,), rng=rng)

    def logits_replayed(logits, t):
        with noise.replay(eps):
            return make(logits, t).sample_logits((2,), rng=rng)

    mg.check_grads(replayed, (logits, t), order=2)
    mg.check_grads(logits_replayed, (logits, t), order=2)
    mg.check_grads(lambda a, t: make(a, t).log_prob(z), (logits, t), order=2)
    if make is RelaxedBernoulli:  # points off the simplex have no density
        mg.check_grads(lambda z: make(logits, t).log_prob(z), (z,), order=2)
    y = logits_replayed(logits, t)
    mg.check_grads(lambda y, a, t: make(a, t).log_prob_logits(y), (y, logits, t), order=2)


def test_derivatives_by_points_of_the_simplex(rng):
    p = RelaxedOneHot(rng.standard_normal((2, 4)), 0.7)
    mg.check_grads(lambda y: p.log_prob(mg.softmax(y)), (rng.standard_normal((2, 4)),), order=2)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other(rng):
    logits, w = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))

    def both(a):
        p = RelaxedOneHot(a, 0.5)
        z = p.sample(rng=np.random.default_rng(1))
        return p.harden(z), z

    z = straight_through(*both(mg.Tensor(logits)))
    np.testing.assert_array_equal(mg.stop_gradient(z), both(logits)[0])
    assert mark_of(mg.stop_gradient(z)).what != "relaxed"
    found = mg.grad(lambda a: np.sum(w * straight_through(*both(a))))(logits)
    np.testing.assert_array_equal(found, mg.grad(lambda a: np.sum(w * both(a)[1]))(logits))
    assert np.all(np.isfinite(OneHotCategorical(logits).log_prob(z)))
    small = straight_through(np.eye(4), mg.Tensor(np.eye(4, dtype=np.float32)))
    assert small.dtype == np.float32
    with pytest.raises(ValueError, match=r"\(4, 4\).*\(3, 4\).*same shape"):
        straight_through(np.eye(4), logits)


# -- relaxed draws are known -------------------------------------------------------------------
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("make", [RelaxedBernoulli, RelaxedOneHot])
def test_relaxed_draws_are_marked_and_hard_ones_are_not(rng, make, traced):
    logits = rng.standard_normal((3, 4))
    p = make(mg.Tensor(logits) if traced else logits, 0.01)
    for options in ({}, {"stopped": True}):
        z = p.sample(rng=rng, **options)
        assert mark_of(mg.tensor.untraced(z)).what == "relaxed"
        assert mark_of(p.harden(z)) is None
    if make is RelaxedOneHot:
        with pytest.raises(ValueError, match=r"vae\.RelaxedOneHot"):
            OneHotCategorical(logits).log_prob(z)


# -- extremes and errors -----------------------------------------------------------------------
@pytest.mark.parametrize("logit", [-1e3, 0.0, 1e3])
@pytest.mark.parametrize("make", [RelaxedBernoulli, RelaxedOneHot])
def test_low_temperatures_are_finite_in_logits_and_named_in_draws(make, logit):
    logits = np.array([[logit, 0, -3, 5]], np.float32)

    def score(a):
        p = make(a, 0.01)
        y = p.sample_logits((3,), rng=np.random.default_rng(0))
        return np.sum(p.log_prob_logits(y)) + np.sum(p.squash(y))

    value, slope = mg.value_and_grad(score)(logits)
    assert value.dtype == slope.dtype == np.float32
    assert np.isfinite(value) and np.all(np.isfinite(slope))
    z = make(logits, 0.01).sample((3,), rng=np.random.default_rng(0))
    assert np.all((z == 0) | (z == 1), axis=-1).any()
    with pytest.raises(ValueError, match=r"strictly between 0 and 1.*sample_logits.*log_prob_log"):
        make(logits, 0.01).log_prob(z.copy())


@pytest.mark.parametrize("make", [RelaxedBernoulli, RelaxedOneHot])
def test_the_density_of_a_draw_is_known_where_it_was_rounded(make, rng):
    """In float32, against the same draw in float64, where it isn't rounded."""
    logits = np.float32([[3, 0, -3, 1]] * 500)

    def score(a, dtype):
        q, p = make(a, np.array(0.3, dtype)), make(np.zeros(4, dtype), np.array(0.5, dtype))
        with noise.replay(eps):
            z = q.sample(rng=rng)
        assert (dtype == np.float64) != np.any(mg.tensor.untraced(z) == 1)
        return np.sum(q.log_prob(z) - p.log_prob(z)) / 500

    with noise.record() as eps:
        make(logits, np.float32(0.3)).sample(rng=rng)
    narrow = mg.value_and_grad(lambda a: score(a, np.float32))(logits)
    wide = mg.value_and_grad(lambda a: score(a, np.float64))(np.float64(logits))
    np.testing.assert_allclose(narrow[0], wide[0], rtol=1e-4)
    np.testing.assert_allclose(narrow[1], wide[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("make", [RelaxedBernoulli, RelaxedOneHot])
def test_a_draw_and_its_copy_have_the_same_density_and_slopes(make, rng):
    logits = rng.standard_normal((2, 3))
    p = make(logits, 0.7)
    z = p.sample((4,), rng=rng)
    np.testing.assert_allclose(p.log_prob(z), p.log_prob(z.copy()), rtol=1e-10)
    z[0] = z[1].copy()  # what it was made of no longer counts
    np.testing.assert_array_equal(p.log_prob(z)[0], p.log_prob(z.copy())[1])

    def score(a, along):
        q = make(a, 0.7)
        return np.sum(np.square(q.log_prob(along(q.sample(rng=np.random.default_rng(1))))))

    known, anew = (mg.grad(lambda a, f=f: score(a, f))(logits)
                   for f in (lambda z: z, lambda z: z * 1))
    np.testing.assert_allclose(known, anew, rtol=1e-8)
    known, anew = (mg.grad(lambda a, f=f: score(a, f))(logits)
                   for f in (mg.stop_gradient, lambda z: mg.stop_gradient(z).copy()))
    np.testing.assert_allclose(known, anew, rtol=1e-8)


def test_points_elsewhere_have_no_density_and_no_slope():
    logits = np.zeros((2, 3))
    z = np.array([[0.5, 0.5, 0.5], [1.5, -0.25, -0.25]])
    value, slope = mg.vjp(lambda a: RelaxedOneHot(a, 1.0).log_prob(z), logits)
    np.testing.assert_array_equal(value, -np.inf)
    np.testing.assert_array_equal(slope(np.ones(2))[0], 0)
    value, slope = mg.vjp(
        lambda a: RelaxedBernoulli(a, 1.0, event_ndim=0).log_prob(np.array([-0.5, 0.5, 2])), logits)
    np.testing.assert_array_equal(np.isneginf(value), [[True, False, True]] * 2)
    assert np.all(slope(np.ones((2, 3)))[0][:, [0, 2]] == 0)


@pytest.mark.parametrize("make", [RelaxedBernoulli, RelaxedOneHot])
def test_bad_input_is_named(make):
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"temperature must be positive"):
            make(np.zeros((2, 3)), bad)
    with pytest.raises(ValueError, match=r"logits must be finite.*at \[0, 1\]"):
        make(np.array([[0, -np.inf, 1]]), 1.0)
    if make is RelaxedOneHot:
        with pytest.raises(ValueError, match=r"at least two"):
            make(np.zeros((3, 1)), 1.0)
        with pytest.raises(ValueError, match=r"event_ndim=0.*RelaxedBernoulli"):
            make(np.zeros(3), 1.0, event_ndim=0)
