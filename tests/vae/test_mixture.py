"""Mixtures: against sums over the components, and the quantile function's own derivative."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import softmax

import minigrad as mg
from tests.vae.replay import replayed
from vae import NoPath, Normal, noise
from vae.distributions.categorical import Categorical
from vae.distributions.discretized import DiscretizedLogistic
from vae.distributions.mixture import Mixture
from vae.distributions.poisson import Poisson


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def three(rng):
    """Logits, means, standard deviations of three components, in a batch of 2."""
    return (rng.standard_normal((2, 3)), 2 * rng.standard_normal((2, 3)),
            rng.uniform(0.4, 1.5, (2, 3)))


def single(logits, mean, std):
    return Mixture(logits, Normal(mean, std, event_ndim=0))


# -- values ------------------------------------------------------------------------------------
def test_density_cdf_and_moments_are_sums_over_components(three, rng):
    logits, mean, std = three
    weights, x = softmax(logits, -1), rng.standard_normal((5, 2))
    p, parts = single(*three), stats.norm(mean, std)
    assert p.shape == (2,) and p.event_ndim == 0
    density = (weights * parts.pdf(x[..., None])).sum(-1)
    np.testing.assert_allclose(p.log_prob(x), np.log(density), rtol=1e-12)
    np.testing.assert_allclose(p.cdf(x), (weights * parts.cdf(x[..., None])).sum(-1), rtol=1e-12)
    first = (weights * mean).sum(-1)
    np.testing.assert_allclose(p.mean, first, rtol=1e-12)
    second = (weights * (mean**2 + std**2)).sum(-1)
    np.testing.assert_allclose(p.variance, second - first**2, rtol=1e-11)
    with pytest.raises(NotImplementedError, match="estimate it"):
        p.entropy()


def test_vectors_are_mixed_as_a_whole_or_one_by_one(rng):
    logits, mean = rng.standard_normal((2, 3)), rng.standard_normal((2, 3, 4))
    std, x = rng.uniform(0.5, 1, (2, 3, 4)), rng.standard_normal((5, 2, 4))
    whole = Mixture(logits, Normal(mean, std))
    assert whole.shape == (2, 4) and whole.event_ndim == 1
    parts = stats.norm(mean, std).pdf(x[:, :, None]).prod(-1)
    np.testing.assert_allclose(whole.log_prob(x), np.log((softmax(logits, -1) * parts).sum(-1)),
                               rtol=1e-12)
    np.testing.assert_allclose(whole.mean, (softmax(logits, -1)[..., None] * mean).sum(1))
    assert whole.variance.shape == whole.cdf(x[0]).shape == (2, 4)
    assert whole.sample((7,), rng=rng).shape == (7, 2, 4)

    means, spreads = np.swapaxes(mean, 1, 2), np.swapaxes(std, 1, 2)  # (2, 4, 3)
    each = Mixture(logits[:, None], Normal(means, spreads, event_ndim=0), event_ndim=1)
    assert each.shape == (2, 4) and each.sample((7,), rng=rng).shape == (7, 2, 4)
    alone = [Mixture(logits, Normal(means[:, i], spreads[:, i], event_ndim=0)).log_prob(x[..., i])
             for i in range(4)]
    np.testing.assert_allclose(each.log_prob(x), sum(alone), rtol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-5])  # the last is beyond products of matrices
@pytest.mark.parametrize("far", [1.0, 30.0])
def test_many_vectors_of_float32_give_what_float64_gives_one_by_one(rng, spread, far):
    mean = (far * rng.standard_normal((40, 6))).astype(np.float32)
    log_std = (np.log(spread) + rng.standard_normal((40, 6))).astype(np.float32)
    x = mean[rng.integers(0, 40, (3, 5))] + np.float32(spread) * rng.standard_normal(
        (3, 5, 6)).astype(np.float32)

    def f(x, mean, log_std):
        q = Normal.from_log_std(mean, log_std)
        return Mixture(np.zeros(40, x.dtype), q).log_prob(x)

    given, wide = (x, mean, log_std), tuple(np.float64(a) for a in (x, mean, log_std))
    found, expected = f(*given), f(*wide)
    assert found.dtype == np.float32 and found.shape == (3, 5)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
    slopes = mg.grad(lambda *a: np.sum(f(*a)), (0, 1, 2))
    for one, other in zip(slopes(*given), slopes(*wide)):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def test_an_infinite_vector_is_impossible_in_float32_too(rng):
    q = Mixture(np.zeros(3, np.float32), Normal(rng.standard_normal((3, 2), np.float32), 1.0))
    at = np.array([[np.inf, 0], [0, 0]], np.float32)
    assert q.log_prob(at)[0] == -np.inf and np.isfinite(q.log_prob(at)[1])


def test_logits_may_have_a_batch_that_components_lack(rng):
    logits, shared = rng.standard_normal((4, 3)), Normal(np.array([-3.0, 0, 3]), 0.1, event_ndim=0)
    p = Mixture(logits, shared)
    draws = p.sample((1000,), rng=rng)
    assert draws.shape == (1000, 4)
    assert len(np.unique(draws)) == 4000  # no draw is shared
    np.testing.assert_allclose(draws.mean(0), p.mean, atol=5 * 3 / np.sqrt(1000))


def test_discrete_components_and_an_impossible_one(rng):
    rate, logits = np.array([1.0, 20, 300]), np.array([0.0, 1, -np.inf])
    p = Mixture(logits, Poisson(rate, event_ndim=0))
    x = np.arange(100)
    weights = softmax(logits)
    np.testing.assert_allclose(np.exp(p.log_prob(x)),
                               (weights * stats.poisson(rate).pmf(x[:, None])).sum(-1), rtol=1e-11)
    assert p.sample((2000,), rng=rng).max() < 100
    np.testing.assert_array_equal(p.log_prob(np.array([-1, 0.5])), -np.inf)
    assert p.path is None and Mixture(logits, Categorical(np.zeros((3, 4)))).path is None
    pixels = Mixture(np.zeros((5, 3)), DiscretizedLogistic(np.full((5, 3), 9.0), 2.0, high=20,
                                                           event_ndim=0), event_ndim=1)
    assert pixels.log_prob(np.full(5, 9)).shape == ()
    assert np.exp(pixels.log_prob(np.full(5, 9))) < 1


# -- draws -------------------------------------------------------------------------------------
def test_draws_have_the_cdf(three, rng):
    draws = single(*three).sample((20_000,), rng=rng)
    for i, column in enumerate(draws.T):
        alone = single(*(a[i] for a in three))
        assert stats.kstest(column, alone.cdf).pvalue > 1e-3


def test_float32_stays(three, rng):
    p = single(*(a.astype(np.float32) for a in three))
    z = p.sample((4,), rng=rng)
    assert z.dtype == p.log_prob(z).dtype == p.mean.dtype == p.cdf(z).dtype == np.float32
    logits, mean, std = (mg.Tensor(a.astype(np.float32)) for a in three)
    np.sum(single(logits, mean, std).sample((4,), rng=rng)).backward()
    for t in (logits, mean, std):
        assert t.grad.dtype == np.float32 and np.all(np.isfinite(t.grad))


# -- derivatives of the density ----------------------------------------------------------------
def test_derivatives_of_density_and_moments(three, rng):
    x = rng.standard_normal((4, 2))
    mg.check_grads(lambda *a: single(*a).log_prob(x), three, order=2)
    mg.check_grads(lambda x: single(*three).log_prob(x), (x,), order=2)
    for f in (lambda p: p.cdf(x), lambda p: p.mean, lambda p: p.variance):
        mg.check_grads(lambda *a, f=f: f(single(*a)), three, order=2)


# -- the path ----------------------------------------------------------------------------------
def test_the_gradient_of_a_draw_is_that_of_the_quantile_function(three):
    assert single(*three).path == "implicit"
    mg.check_grads(replayed(single, three, np.random.default_rng(8)), three, order=2)


def test_the_gradient_agrees_with_a_root_finder(three):
    logits, mean, std = (a[0] for a in three)
    z = single(logits, mean, std).sample(rng=np.random.default_rng(8))
    u = float(single(logits, mean, std).cdf(z))
    found = mg.grad(lambda *a: single(*a).sample(rng=np.random.default_rng(8)), (0, 1, 2))(
        logits, mean, std)
    h = 1e-5
    for which, slope in enumerate(found):
        for i in range(3):
            ends = []
            for sign in (-1, 1):
                moved = [np.array(a) for a in (logits, mean, std)]
                moved[which][i] += sign * h
                w = softmax(moved[0])
                ends.append(brentq(lambda t, w=w, moved=moved: np.sum(
                    w * stats.norm(moved[1], moved[2]).cdf(t)) - u, -30, 30, xtol=1e-14))
            np.testing.assert_allclose(slope[i], (ends[1] - ends[0]) / (2 * h), rtol=1e-6,
                                       atol=1e-9)


def test_gradients_of_expectations_are_right_on_average(rng):
    logits, mean, std = np.array([0.3, -0.4]), np.array([-1.0, 2.0]), np.array([0.5, 1.2])
    n = 200_000

    def expectation(*a):
        p = single(*a)
        return np.sum(np.exp(softmaxed(a[0])) * (a[1]**2 + a[2]**2)), p

    def softmaxed(a):
        return mg.log_softmax(a)

    exact = mg.grad(lambda *a: expectation(*a)[0], (0, 1, 2))(logits, mean, std)
    found = mg.grad(lambda *a: np.square(single(*a).sample((n,), rng=np.random.default_rng(2)))
                    .mean(), (0, 1, 2))(logits, mean, std)
    for a, b in zip(found, exact):
        np.testing.assert_allclose(a, b, atol=0.03)


def test_a_traced_draw_has_the_bits_of_an_untraced_one(three):
    for dtype in (np.float32, np.float64):
        args = [a.astype(dtype) for a in three]
        z = single(*args).sample((50,), rng=np.random.default_rng(1))
        traced = single(*map(mg.Tensor, args)).sample((50,), rng=np.random.default_rng(1))
        np.testing.assert_array_equal(mg.stop_gradient(traced), z, strict=True)


def test_an_impossible_component_gives_no_nan(three, rng):
    logits, mean, std = (a.astype(np.float32) for a in three)
    logits[:, 0], mean[:, 0] = -np.inf, 1e4
    for f in (lambda p: p.log_prob(np.float32([0.1, 40])), lambda p: p.variance,
              lambda p: p.sample((20,), rng=np.random.default_rng(1))):
        value, slopes = mg.value_and_grad(lambda *a, f=f: np.sum(f(single(*a))), (0, 1, 2))(
            logits, mean, std)
        assert np.isfinite(value)
        assert all(np.all(np.isfinite(s)) and np.all(s[:, 0] == 0) for s in slopes)


def test_replay_with_the_same_parameters_is_the_same_draw(three, rng):
    with noise.record() as eps:
        z = single(*three).sample((5,), rng=rng)
    with noise.replay(eps):
        np.testing.assert_array_equal(single(*three).sample((5,), rng=rng), z)
    logits, mean, std = three
    with noise.replay(eps):
        moved = single(logits, mean + 2, std).sample((5,), rng=rng)
    np.testing.assert_allclose(moved, z + 2, rtol=1e-12)


def test_replay_moves_far_and_keeps_the_quantile(three, rng):
    logits, mean, std = three
    with noise.record() as eps:
        z = single(*three).sample((500,), rng=rng)
    other = single(logits[:, ::-1], 30 * mean, 0.1 * std)
    with noise.replay(eps):
        moved = other.sample((500,), rng=rng)
    np.testing.assert_allclose(other.cdf(moved), single(*three).cdf(z), rtol=1e-9, atol=1e-12)


def test_vectors_with_constant_logits_have_the_path_of_the_components(rng):
    logits, mean, std = (rng.standard_normal(3), rng.standard_normal((3, 2)),
                         rng.uniform(0.5, 1, (3, 2)))
    assert Mixture(logits, Normal(mean, std)).path == "location-scale"
    draws = replayed(lambda m, s: Mixture(logits, Normal(m, s)), (mean, std), rng)
    mg.check_grads(draws, (mean, std), order=2)
    with pytest.raises(NoPath, match=r"logits are constant"):
        Mixture(mg.Tensor(logits), Normal(mean, std)).sample(rng=rng)
    with pytest.raises(NoPath):
        Mixture(logits, Poisson(mg.Tensor(np.exp(mean[:, 0])), event_ndim=0)).sample(rng=rng)
    stopped = Mixture(mg.Tensor(logits), Normal(mean, std)).sample(rng=rng, stopped=True)
    assert stopped.shape == (2,)


def test_components_on_half_lines_and_intervals(rng):
    gamma = pytest.importorskip("vae.distributions.gamma").Gamma
    beta = pytest.importorskip("vae.distributions.beta").Beta
    logits = np.array([0.3, -0.4])
    for family in (gamma, beta):
        args = logits, np.array([0.7, 4.0]), np.array([2.0, 1.5])

        def make(w, a, b, family=family):
            return Mixture(w, family(a, b, event_ndim=0))

        assert make(*args).path == "implicit"
        mg.check_grads(replayed(make, args, np.random.default_rng(8)), args, order=1)
        draws = make(*args).sample((10_000,), rng=rng)
        assert stats.kstest(draws, make(*args).cdf).pvalue > 1e-3
        outside = make(*args).log_prob(np.array([-1.0]))
        assert outside == -np.inf


# -- errors ------------------------------------------------------------------------------------
def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"logits \(2,\) and components \(3,\).*event_ndim=0"):
        Mixture(np.zeros(2), Normal(np.zeros(3), 1.0, event_ndim=0))
    with pytest.raises(ValueError, match=r"components \(3,\) with event_ndim=1"):
        Mixture(np.zeros(3), Normal(np.zeros(3), 1.0))
    with pytest.raises(ValueError, match=r"batch of the logits may have axes before"):
        Mixture(np.zeros((2, 3)), Normal(np.zeros((1, 3)), 1.0, event_ndim=0))
    with pytest.raises(ValueError, match=r"event_ndim=0: .*1 axes already"):
        Mixture(np.zeros(3), Normal(np.zeros((3, 2)), 1.0), event_ndim=0)
    with pytest.raises(ValueError, match=r"logits must be.*at \[1\]"):
        Mixture(np.array([0, np.nan]), Normal(np.zeros(2), 1.0, event_ndim=0))
    with pytest.raises(TypeError, match=r"Mixture\(logits, list\)"):
        Mixture(np.zeros(2), [Normal(0.0, 1.0)] * 2)
