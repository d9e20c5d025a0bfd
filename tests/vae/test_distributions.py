"""Normal and Bernoulli: against SciPy, finite differences, and the formulas they stand for."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

import minigrad as mg
from vae import Bernoulli, Normal, RelaxedBernoulli, kl, straight_through

SHAPE = (2, 3, 4, 5)
EVENTS = [0, 1, 3]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def normal(rng):
    """Mean and standard deviation, (2, 3, 4, 5)."""
    return rng.standard_normal(SHAPE), rng.uniform(0.3, 2.5, SHAPE)


@pytest.fixture
def coins(rng):
    """Logits and tosses, (2, 3, 4, 5)."""
    return 2 * rng.standard_normal(SHAPE), rng.integers(0, 2, SHAPE).astype(float)


def summed(x, event_ndim):
    return x.reshape(*SHAPE[:len(SHAPE) - event_ndim], -1).sum(axis=-1) if event_ndim else x


def float32_error(terms, event_ndim):
    return 4 * np.finfo(np.float32).eps * summed(np.abs(terms), event_ndim)


# -- values ------------------------------------------------------------------------------------
@pytest.mark.parametrize("event_ndim", EVENTS)
def test_normal_log_prob_and_entropy_are_scipys(normal, rng, event_ndim):
    mean, std = normal
    x = mean + 3 * rng.standard_normal(SHAPE)
    p = Normal(mean, std, event_ndim=event_ndim)
    terms = stats.norm(mean, std).logpdf(x)
    np.testing.assert_allclose(p.log_prob(x), summed(terms, event_ndim), rtol=1e-12, strict=True)
    np.testing.assert_allclose(p.entropy(), summed(stats.norm(mean, std).entropy(), event_ndim),
                               rtol=1e-12, strict=True)

    small = [a.astype(np.float32) for a in (mean, std, x)]
    exact = stats.norm(*map(np.float64, small[:2])).logpdf(np.float64(small[2]))
    found = Normal(*small[:2], event_ndim=event_ndim).log_prob(small[2])
    assert found.dtype == np.float32
    assert np.all(np.abs(found - summed(exact, event_ndim))
                  <= float32_error(np.abs(exact) + 3, event_ndim))


@pytest.mark.parametrize(("mean", "std", "x", "event_ndim"), [
    ((5,), (5,), (7, 5), 1), ((3, 5), (5,), (4, 3, 5), 1), ((3, 5), (), (3, 5), 1),
    ((3, 5), (3, 1), (5,), 1), ((1,), (1,), (5,), 1), ((), (), (4,), 0), ((5,), (5,), (), 1),
    ((5,), (5,), (1,), 1), ((2, 3, 4), (2, 3, 4), (6, 2, 3, 4), 2)])
def test_a_normals_log_prob_broadcasts_as_the_sum_of_scipys(rng, mean, std, x, event_ndim):
    mean, std, x = rng.standard_normal(mean), rng.uniform(0.5, 2, std), rng.standard_normal(x)
    terms = stats.norm.logpdf(x, mean, std)
    exact = np.sum(terms, axis=tuple(range(-event_ndim, 0))) if event_ndim else terms
    found = Normal(mean, std, event_ndim=event_ndim).log_prob(x)
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert np.shape(found) == np.shape(exact)


@pytest.mark.parametrize("x", [np.linspace(-2, 2, 12).reshape(3, 4), np.arange(4), np.zeros(1),
                               np.float64(2), [1, 2, 3, 4]])
def test_the_standard_normals_log_prob_is_the_sum_of_scipys_for_all_that_broadcasts(x):
    exact = stats.norm.logpdf(np.asarray(x) + np.zeros(4)).sum(-1)
    found = Normal.standard(4).log_prob(x)
    np.testing.assert_allclose(found, exact, rtol=1e-6 if isinstance(x, list) else 1e-12)
    assert np.shape(found) == np.shape(exact)


@pytest.mark.parametrize("event_ndim", EVENTS)
def test_bernoulli_log_prob_entropy_and_mean_are_scipys(coins, event_ndim):
    logits, x = coins
    p, theirs = Bernoulli(logits, event_ndim=event_ndim), stats.bernoulli(expit(logits))
    np.testing.assert_allclose(p.mean, expit(logits), rtol=1e-14)
    for found, exact in ((p.log_prob(x), theirs.logpmf(x)), (p.entropy(), theirs.entropy())):
        np.testing.assert_allclose(found, summed(exact, event_ndim), rtol=1e-12, strict=True)

    logits = logits.astype(np.float32)
    exact = x * logits - np.logaddexp(0, np.float64(logits))
    p = Bernoulli(logits, event_ndim=event_ndim)
    found = p.log_prob(x.astype(np.float32))
    assert found.dtype == p.entropy().dtype == p.mean.dtype == np.float32
    assert np.all(np.abs(found - summed(exact, event_ndim))
                  <= float32_error(np.abs(logits) + 1, event_ndim))


def test_grey_values_give_the_cross_entropy(coins, rng):
    logits, x = coins[0], rng.random(SHAPE)
    p = expit(logits)
    np.testing.assert_allclose(Bernoulli(logits).log_prob(x),
                               np.sum(x * np.log(p) + (1 - x) * np.log1p(-p), axis=-1), rtol=1e-12)


def test_three_ways_to_give_a_spread_are_one_distribution(normal, rng):
    mean, std = normal
    x, w = rng.standard_normal(SHAPE), rng.standard_normal((5, *SHAPE[:-1]))

    def everything(p):
        draws = p.sample(rng=np.random.default_rng(1))
        parts = (p.log_prob(x), p.entropy(), p.log_prob(draws), np.sum(p.variance, axis=-1),
                 kl(p, Normal(np.zeros(SHAPE), np.ones(SHAPE))))
        return np.sum(w * np.stack(parts))

    ways = {Normal: std, Normal.from_log_std: np.log(std), Normal.from_log_var: 2 * np.log(std)}
    value, slopes = mg.value_and_grad(lambda m, s: everything(Normal(m, s)), (0, 1))(mean, std)
    for way, spread in ways.items():
        at = mg.value_and_grad(lambda m, s, way=way: everything(way(m, s)), (0, 1))
        same, found = at(mean, spread)
        factor = {Normal: 1, Normal.from_log_std: std, Normal.from_log_var: std / 2}[way]
        np.testing.assert_allclose(same, value, rtol=1e-12)
        np.testing.assert_allclose(found[0], slopes[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[1], slopes[1] * factor, rtol=1e-10, atol=1e-12)


# -- shapes ------------------------------------------------------------------------------------
@pytest.mark.parametrize("prefix", [(), (6,), (6, 2)])
@pytest.mark.parametrize("make", [lambda a, n: Normal(a, 1 + a * a, event_ndim=n),
                                  lambda a, n: Bernoulli(a, event_ndim=n)])
@pytest.mark.parametrize("event_ndim", EVENTS)
def test_draws_have_the_sample_shape_before_that_of_the_parameters(rng, make, event_ndim, prefix):
    p = make(rng.standard_normal(SHAPE), event_ndim)
    assert p.shape == SHAPE
    assert p.sample(prefix, rng=rng).shape == prefix + SHAPE
    assert p.entropy().shape == SHAPE[:4 - event_ndim]
    if isinstance(p, Normal):
        assert p.log_prob(p.sample(prefix, rng=rng)).shape == prefix + SHAPE[:4 - event_ndim]


def test_one_image_is_held_against_the_logits_of_k_draws(rng):
    logits, x = rng.standard_normal((7, 3, 5)), rng.integers(0, 2, (3, 5)).astype(float)
    found = Bernoulli(logits).log_prob(x)
    assert found.shape == (7, 3)
    for k in range(7):
        np.testing.assert_array_equal(found[k], Bernoulli(logits[k]).log_prob(x))


def test_a_spread_shared_by_all_dimensions_counts_once_for_each(rng):
    mean, std, x = rng.standard_normal((4, 3)), np.array(0.5), rng.standard_normal((4, 3))
    full = Normal(mean, np.full((4, 3), 0.5))
    for p in (Normal(mean, std), Normal.from_log_std(mean, np.log(std))):
        np.testing.assert_allclose(p.log_prob(x), full.log_prob(x), rtol=1e-12)
        np.testing.assert_allclose(p.entropy(), full.entropy(), rtol=1e-12)


@pytest.mark.parametrize("make", [Normal, Normal.from_log_std])
def test_a_plain_number_as_spread_works_and_keeps_float32(rng, make):
    mean = rng.standard_normal((4, 3)).astype(np.float32)
    p, full = make(mean, 0.5), make(mean, np.full((4, 3), 0.5, np.float32))
    draws = p.sample(rng=np.random.default_rng(0))
    np.testing.assert_array_equal(draws, full.sample(rng=np.random.default_rng(0)), strict=True)
    np.testing.assert_allclose(p.log_prob(draws), full.log_prob(draws), rtol=1e-6, strict=True)
    np.testing.assert_allclose(p.entropy(), full.entropy(), rtol=1e-6, strict=True)


# -- draws -------------------------------------------------------------------------------------
def test_normal_draws_have_the_moments(rng):
    n, mean, std = 200_000, np.array([-1.0, 0.5, 3.0]), np.array([0.7])
    draws = Normal(mean, std).sample((n,), rng=rng)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 4 * std / np.sqrt(n))
    assert np.all(np.abs(draws.var(axis=0) / std**2 - 1) < 4 * np.sqrt(2 / n))
    between = np.corrcoef(draws.T)[np.triu_indices(3, 1)]  # a shared std is no shared noise
    assert np.all(np.abs(between) < 4 / np.sqrt(n))


def test_reparameterised_slopes_are_one_and_the_noise(normal, rng):
    mean, std = normal
    w = rng.standard_normal((6, *SHAPE))
    by_mean, by_std = mg.grad(lambda m, s: np.sum(
        w * Normal(m, s).sample((6,), rng=np.random.default_rng(3))), (0, 1))(mean, std)
    noise = np.random.default_rng(3).standard_normal((6, *SHAPE))
    np.testing.assert_array_equal(by_mean, w.sum(axis=0))
    np.testing.assert_array_equal(by_std, (w * noise).sum(axis=0))


def test_bernoulli_draws_are_zeros_and_ones(rng):
    n, logits = 100_000, np.array([-2.0, 0.0, 3.0], np.float32)
    draws = Bernoulli(logits).sample((n,), rng=rng)
    assert type(draws) is np.ndarray and draws.dtype == np.float32 and {*draws.flat} == {0, 1}
    p = expit(logits)
    assert np.all(np.abs(draws.mean(axis=0) - p) < 4 * np.sqrt(p * (1 - p) / n))


# -- derivatives -------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [Normal, lambda m, s: Normal.from_log_std(m, np.log(s)),
                                  lambda m, s: Normal.from_log_var(m, s)])
def test_derivatives_of_normal(rng, make):
    mean, std, x = rng.standard_normal((2, 3)), rng.uniform(0.5, 2, (2, 3)), rng.standard_normal(3)
    mg.check_grads(lambda x, m, s: make(m, s).log_prob(x), (x, mean, std), order=2)
    mg.check_grads(lambda m, s: make(m, s).entropy(), (mean, std), order=2)
    mg.check_grads(lambda m, s: make(m, s).sample((4,), rng=np.random.default_rng(0)),
                   (mean, std), order=2)


@pytest.mark.parametrize("event_ndim", [0, 1, 2])
def test_derivatives_of_bernoulli(rng, event_ndim):
    logits, x = rng.standard_normal((4, 2, 3)), rng.uniform(0.2, 0.8, (2, 3))
    mg.check_grads(lambda a, x: Bernoulli(a, event_ndim=event_ndim).log_prob(x), (logits, x),
                   order=2)
    mg.check_grads(lambda a: Bernoulli(a, event_ndim=event_ndim).log_prob(x), (logits,), order=2)
    mg.check_grads(lambda x: Bernoulli(logits, event_ndim=event_ndim).log_prob(x), (x,), order=2)
    mg.check_grads(lambda a: Bernoulli(a, event_ndim=event_ndim).entropy(), (logits,), order=2)


def test_going_back_twice_gives_the_same_bits(coins):
    logits, x = coins
    log_prob, pullback = mg.vjp(lambda logits: Bernoulli(logits).log_prob(x), logits)
    first, second = (pullback(np.ones_like(log_prob))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_log_std_is_exact_up_to_15_then_bends_with_a_slope():
    inside, beyond = np.array([-15.0, -3.0, 15.0]), np.array([-18.0, -15.5, 15.5, 25.0])
    np.testing.assert_array_equal(Normal.from_log_std(inside * 0, inside).log_std, inside)
    bent = Normal.from_log_std(beyond * 0, beyond).log_std
    assert np.all((np.abs(bent) > 15) & (np.abs(bent) < 20)) and np.all(np.diff(bent) > 0)
    assert np.all(mg.grad(lambda s: np.sum(Normal.from_log_std(s * 0, s).log_std))(beyond) > 0)
    mg.check_grads(lambda s: Normal.from_log_std(s * 0, s).entropy(), (beyond,), order=2)


# -- extremes ----------------------------------------------------------------------------------
@pytest.mark.parametrize("log_var", [-1e3, 1e3])
@pytest.mark.parametrize("what", [
    lambda p: np.sum(p.log_prob(np.float32([1.5, -3, 0]))), lambda p: np.sum(p.entropy()),
    lambda p: np.sum(p.sample(rng=np.random.default_rng(0))), lambda p: np.sum(p.variance)])
def test_absurd_log_variances_stay_finite_in_float32(log_var, what):
    mean, raw = np.zeros((2, 3), np.float32), np.full((2, 3), log_var, np.float32)
    at = mg.value_and_grad(lambda m, r: what(Normal.from_log_var(m, r)), (0, 1))
    value, slopes = at(mean, raw)
    for a in (value, *slopes):
        assert a.dtype == np.float32 and np.all(np.isfinite(a))


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_absurd_logits_give_exact_values_and_slopes_in_float32(logit):
    logits, x = np.full((1, 2), logit, np.float32), np.array([[0, 1]], np.float32)
    value, slope = mg.value_and_grad(lambda a: np.sum(Bernoulli(a).log_prob(x)))(logits)
    assert value == -1e4 and np.array_equal(slope, x - (logit > 0))
    assert np.all(Bernoulli(logits).entropy() == 0)


# -- errors ------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_a_spread_that_is_not_positive_is_named_with_its_place(bad):
    std = np.ones((2, 3))
    std[1, 2] = bad
    for spread in (std, mg.Tensor(std)):
        with pytest.raises(ValueError, match=r"std must be positive.*\[1, 2\].*from_log_"):
            Normal(np.zeros((2, 3)), spread)


def test_an_event_larger_than_the_parameters_is_refused():
    with pytest.raises(ValueError, match=r"Bernoulli.*\(3,\).*event_ndim=2"):
        Bernoulli(np.zeros(3), event_ndim=2)
    with pytest.raises(ValueError, match=r"Normal.*\(\).*event_ndim=1.*event_ndim=0"):
        Normal(np.array(0.0), np.array(1.0), event_ndim=1)
    assert Normal(0.0, 1.0).event_ndim == 0  # a single number is its own event


@pytest.mark.parametrize("rows", [2, 2000])  # the second in several threads
def test_bernoulli_refuses_what_no_coin_shows(rows):
    x = np.zeros((rows, 300))
    x[0, 1], x[-1, 2] = -3, 255
    for logits in (np.zeros((rows, 300)), mg.Tensor(np.zeros((rows, 300)))):
        with pytest.raises(ValueError, match=r"\[-3, 255\].*divide pixels by 255.*Normal"):
            Bernoulli(logits).log_prob(x)
    x[:] = 0
    x[-1, -1] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        Bernoulli(logits).log_prob(x)


@pytest.mark.parametrize("shape", [(4, 3), (2, 4)])
def test_bernoulli_refuses_shapes_that_do_not_broadcast_to_the_logits(shape):
    with pytest.raises(ValueError) as error:
        Bernoulli(np.zeros((2, 3))).log_prob(np.zeros(shape))
    assert str(shape) in str(error.value) and "(2, 3)" in str(error.value)


# -- the blocked kernel ------------------------------------------------------------------------
@settings(deadline=None, max_examples=60)
@given(batch=st.lists(st.integers(0, 5), max_size=2), seed=st.integers(0, 1000),
       pixels=st.sampled_from([1, 2, 3, 7, 63, 65, 784, 8192]), x_has_batch=st.booleans(),
       dtype=st.sampled_from([np.float32, np.float64]), scale=st.sampled_from([0.1, 3, 40]))
def test_the_blocked_kernel_is_the_formula(batch, seed, pixels, x_has_batch, dtype, scale):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.standard_normal((*batch, pixels))).astype(dtype)
    x = rng.random((*batch, pixels) if x_has_batch else pixels).astype(dtype)
    exact = np.sum(x * np.float64(logits) - np.logaddexp(0, np.float64(logits)), axis=-1)
    found, slope = mg.vjp(lambda a: Bernoulli(a).log_prob(x), logits)
    np.testing.assert_array_equal(Bernoulli(logits).log_prob(x), found)  # traced or not
    allowed = 4 * np.finfo(dtype).eps * np.sum(np.abs(np.float64(logits)) + 1, axis=-1)
    assert (found.shape, found.dtype) == (tuple(batch), dtype)
    assert np.all(np.abs(found - exact) <= allowed)
    for _ in range(2):  # the pullback may be called again
        np.testing.assert_allclose(slope(np.full(batch, 2, dtype))[0], 2 * (x - expit(logits)),
                                   rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(501, 785), (7, 300, 64), (2, 500_001)])
def test_the_number_of_threads_changes_no_bit(monkeypatch, rng, shape, dtype):
    logits, x = rng.standard_normal(shape).astype(dtype), rng.random(shape).astype(dtype)
    found = []
    for threads in "123":
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", threads)
        value, pullback = mg.vjp(lambda a: Bernoulli(a).log_prob(x), logits)
        found.append((value, pullback(np.ones_like(value))[0]))
    assert any(t.name == "minigrad" for t in threading.enumerate())  # it was large enough
    for value, slope in found[1:]:
        np.testing.assert_array_equal(value, found[0][0])
        np.testing.assert_array_equal(slope, found[0][1])
    np.testing.assert_allclose(found[0][0], np.sum(x * logits - np.logaddexp(0, logits), axis=-1),
                               rtol=1e-4 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("std", [1.0, mg.Tensor(np.ones(3))], ids=["constant", "Tensor"])
def test_the_noise_of_a_draw_is_shown_as_noise(rng, std):
    z = Normal(mg.Tensor(np.zeros(3)), std).sample(rng=rng)
    assert " noise (3,)" in mg.show(z) and " constant" not in mg.show(z)


def test_a_relaxed_draw_is_refused_by_the_hard_density(rng):
    logits = np.zeros(3)
    soft = RelaxedBernoulli(mg.Tensor(logits), 0.5)
    z = soft.sample(rng=rng)
    for draw in (z, soft.constant().sample((2,), rng=rng)):
        with pytest.raises(ValueError, match=r"relaxed draw.*vae\.RelaxedBernoulli\.log_prob"):
            Bernoulli(logits).log_prob(draw)
    assert np.all(Bernoulli(logits).log_prob(straight_through(soft.harden(z), z)).data < 0)
