"""Categorical and OneHotCategorical: against sums over all classes, and scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax, softmax

import minigrad as mg
from minigrad.marks import mark
from vae import NoPath, noise
from vae.distributions.categorical import Categorical, OneHotCategorical


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def logits(rng):
    return 2 * rng.standard_normal((2, 3, 5))


# -- values ------------------------------------------------------------------------------------
@pytest.mark.parametrize("event_ndim", [0, 1, 2])
def test_log_prob_and_entropy_are_those_of_the_table(logits, rng, event_ndim):
    table, x = log_softmax(logits, -1), rng.integers(0, 5, (4, 2, 3))
    chosen = np.array([table[i][j][x[n, i, j]] for n in range(4) for i in range(2)
                       for j in range(3)]).reshape(4, 2, 3)
    over = tuple(range(-event_ndim, 0))
    p = Categorical(logits, event_ndim=event_ndim)
    np.testing.assert_allclose(p.log_prob(x), chosen.sum(over), rtol=1e-13)
    np.testing.assert_allclose(p.log_prob(x.astype(float)), chosen.sum(over), rtol=1e-13)
    entropies = np.array([stats.entropy(row) for row in softmax(logits, -1).reshape(-1, 5)])
    np.testing.assert_allclose(p.entropy(), entropies.reshape(2, 3).sum(over), rtol=1e-13)

    one_hot = OneHotCategorical(logits, event_ndim=event_ndim + 1)
    np.testing.assert_allclose(one_hot.log_prob(np.eye(5)[x]), chosen.sum(over), rtol=1e-13)
    np.testing.assert_allclose(one_hot.entropy(), p.entropy(), rtol=1e-13)


def test_one_index_or_fewer_axes_broadcast(logits):
    p = Categorical(logits)
    np.testing.assert_array_equal(p.log_prob(2), p.log_prob(np.full((2, 3), 2)))
    np.testing.assert_array_equal(p.log_prob(np.array([0, 1, 2])),
                                  p.log_prob(np.array([[0, 1, 2]] * 2)))
    single = Categorical(logits[0, 0])
    assert single.shape == () and single.log_prob(np.arange(5)).shape == (5,)


def test_the_mean_of_one_hot_vectors_is_the_probabilities(logits):
    p, table = OneHotCategorical(logits), softmax(logits, -1)
    np.testing.assert_allclose(p.mean, table, rtol=1e-13)
    np.testing.assert_allclose(p.variance, table * (1 - table), rtol=1e-13)
    for name in ("mean", "variance"):
        with pytest.raises(AttributeError, match="indices are names"):
            getattr(Categorical(logits), name)


@pytest.mark.parametrize("event_ndim, n", [(0, 5), (1, 125)])
def test_all_values_have_probability_one_together(logits, event_ndim, n):
    p = Categorical(logits, event_ndim=event_ndim)
    x = p.support_values()
    assert x.shape == (n, 2, 3) and len(np.unique(x[:, 0], axis=0)) == n
    np.testing.assert_allclose(np.exp(p.log_prob(x)).sum(0), 1, rtol=1e-13)
    one_hot = OneHotCategorical(logits, event_ndim=event_ndim + 1)
    np.testing.assert_array_equal(one_hot.support_values(), np.eye(5)[x])


def test_an_event_with_too_many_values_is_refused():
    with pytest.raises(ValueError, match=r"40 variables with 10 classes.*event_ndim"):
        Categorical(np.zeros((40, 10)), event_ndim=1).support_values()


# -- probabilities -----------------------------------------------------------------------------
@pytest.mark.parametrize("make", [Categorical, OneHotCategorical])
def test_probabilities_are_what_they_say(rng, make):
    table = rng.dirichlet(np.ones(5), 3)
    table[1] = [0.5, 0, 0.25, 0.25, 0]
    p = make.from_probabilities(table)
    np.testing.assert_allclose(np.exp(p.log_probabilities), table, rtol=1e-14)
    wide = softmax(rng.standard_normal((4, 10_000)).astype(np.float32), -1)
    assert make.from_probabilities(wide).dtype == np.float32


def test_derivatives_by_probabilities_are_of_what_is_divided_by_the_sum(rng):
    table, x = rng.dirichlet(np.ones(4), 3), np.array([0, 3, 1])
    found = mg.grad(lambda p: np.sum(Categorical.from_probabilities(p).log_prob(x)))(table)
    np.testing.assert_allclose(found, np.eye(4)[x] / table - 1, rtol=1e-12)
    certain = np.array([[1.0, 0.0]])
    found = mg.grad(lambda p: np.sum(Categorical.from_probabilities(p).log_prob(0)))(certain)
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("table, words", [
    ([[0.5, 0.5], [1.5, -0.5]], r"0 or more, it is -0\.5 at \[1, 1\].*logits"),
    ([[0.5, 0.5], [0.5, 0.4]], r"1 \(to within 1e-5\), it is 0\.9 at \[1\]"),
    ([[np.nan, 0.5]], r"0 or more, it is nan at \[0, 0\]")])
def test_what_is_no_probability_is_named(table, words):
    with pytest.raises(ValueError, match=words):
        Categorical.from_probabilities(np.array(table))


# -- draws -------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch", [(), (2,)])
def test_draws_have_the_probabilities_and_never_an_impossible_class(rng, batch):
    n, table = 50_000, np.array([0.3, 0, 0.05, 0.6, 0.05, 0])
    p = Categorical(np.broadcast_to(np.where(table > 0, np.log(np.maximum(table, 1e-9)), -np.inf),
                                    (*batch, 6)))
    draws = p.sample((n,), rng=rng)
    assert draws.shape == (n, *batch) and draws.dtype == np.int64
    for column in draws.reshape(n, -1).T:
        counts = np.bincount(column, minlength=6)
        assert counts[1] == counts[5] == 0
        possible = table > 0
        assert stats.chisquare(counts[possible], n * table[possible]).pvalue > 1e-3


def test_one_hot_draws_are_the_indices_of_the_same_noise(logits):
    for dtype in (np.float32, np.float64):
        x = Categorical(logits).sample((7,), rng=np.random.default_rng(1))
        one_hot = OneHotCategorical(logits.astype(dtype)).sample((7,), rng=np.random.default_rng(1))
        np.testing.assert_array_equal(one_hot, np.eye(5, dtype=dtype)[x], strict=True)


@pytest.mark.parametrize("u", [0.0, np.nextafter(1, 0)])
def test_the_ends_of_the_noise_draw_a_possible_class(u):
    for width, batch in ((3, (2,)), (1000, (2,)), (3, ()), (1000, ())):
        logits = np.full((*batch, width), -1.7, np.float32)
        logits[..., [0, -1]] = -np.inf
        draw = noise.Noise([noise.Draw("uniform", np.full(batch, u))])
        with noise.replay(draw):
            x = Categorical(logits).sample(rng=np.random.default_rng(0))
        np.testing.assert_array_equal(x, np.full(batch, 1 if u == 0 else width - 2))


def test_no_gradient_gets_through_a_draw(logits, rng):
    for make in (Categorical, OneHotCategorical):
        with pytest.raises(NoPath, match="RelaxedOneHot"):
            make(mg.Tensor(logits)).sample(rng=rng)
        assert type(make(mg.Tensor(logits)).sample(rng=rng, stopped=True)) is not None


# -- derivatives -------------------------------------------------------------------------------
@pytest.mark.parametrize("event_ndim", [0, 1])
def test_derivatives(logits, rng, event_ndim):
    x = rng.integers(0, 5, (4, 2, 3))
    mg.check_grads(lambda a: Categorical(a, event_ndim=event_ndim).log_prob(x), (logits,), order=2)
    mg.check_grads(lambda a: Categorical(a, event_ndim=event_ndim).entropy(), (logits,), order=2)
    mg.check_grads(lambda a: OneHotCategorical(a, event_ndim=event_ndim + 1).log_prob(np.eye(5)[x]),
                   (logits,), order=2)
    mg.check_grads(lambda a: OneHotCategorical(a).entropy(), (logits,), order=2)
    mg.check_grads(lambda a: OneHotCategorical(a).variance, (logits,), order=2)


@pytest.mark.parametrize("make", [Categorical, OneHotCategorical])
@pytest.mark.parametrize("row", [[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [-np.inf, 0, 1],
                                 [-np.inf, -np.inf, 1e4]])
def test_absurd_logits_give_no_nan_in_float32(make, row):
    logits, x = np.array([row], np.float32), np.arange(3)
    x = x if make is Categorical else np.eye(3, dtype=np.float32)
    for f in (lambda p: p.log_prob(x), lambda p: p.entropy()):
        value = f(make(logits))
        assert value.dtype == np.float32 and not np.isnan(value).any()
        used = np.isfinite(value)
        slope = mg.grad(lambda a, f=f, used=used: np.sum(f(make(a))[used]))(logits)
        assert slope.dtype == np.float32 and np.all(np.isfinite(slope))
    found = make(logits).log_prob(x)
    np.testing.assert_array_equal(found == -np.inf, np.isneginf(logits[0]))
    slope = mg.grad(lambda a: make(a).log_prob(x)[0])(logits) if found[0] == -np.inf else 0
    np.testing.assert_array_equal(slope, 0)


# -- values that no class has ------------------------------------------------------------------
def test_other_indices_have_probability_zero_and_no_slope(logits):
    x = np.array([-1, 0, 5])
    found, slope = mg.vjp(lambda a: Categorical(a).log_prob(x), logits)
    assert np.all(found[:, [0, 2]] == -np.inf) and np.all(np.isfinite(found[:, 1]))
    slope = slope(np.ones_like(found))[0]
    assert np.all(slope[:, [0, 2]] == 0) and np.all(slope[:, 1] != 0)


def test_whole_vectors_that_are_not_one_hot_have_probability_zero(logits):
    for x in ([0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [2, -1, 0, 0, 0], [-1, 1, 1, 0, 0]):
        assert np.all(OneHotCategorical(logits).log_prob(np.array(x, float)) == -np.inf)


def test_relaxed_draws_are_refused_by_name(logits, rng):
    z = softmax(rng.standard_normal((2, 3, 5)), -1)
    for p, x in ((Categorical(logits[0, 0]), z), (OneHotCategorical(logits), z),
                 (Categorical(logits), np.array([0, 0.5, 1])),
                 (Categorical(logits), np.array([0, np.nan, 1]))):
        for given in (x, mg.Tensor(x)):
            with pytest.raises(ValueError, match=r"must be whole.*vae\.RelaxedOneHot.*harden"):
                p.log_prob(given)
    corner = mark(np.eye(5)[np.zeros((2, 3), int)], "relaxed")  # as at temperature 0.01
    with pytest.raises(ValueError, match=r"must be whole.*RelaxedOneHot"):
        OneHotCategorical(logits).log_prob(corner)


def test_bad_input_is_named(logits):
    with pytest.raises(ValueError, match=r"one-hot vectors belong to vae\.OneHotCategorical"):
        Categorical(logits).log_prob(np.eye(5)[np.zeros((2, 3), int)])
    with pytest.raises(ValueError, match=r"5 classes; indices belong to vae\.Categorical"):
        OneHotCategorical(logits).log_prob(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="event_ndim=0"):
        OneHotCategorical(logits, event_ndim=0)
    with pytest.raises(ValueError, match="last axis is that of the classes"):
        Categorical(np.array(0.0))
    for bad in (np.nan, np.inf):
        logits[1, 2, 3] = bad
        with pytest.raises(ValueError, match=r"logits must be.*at \[1, 2, 3\]"):
            Categorical(logits)
    with pytest.raises(ValueError, match=r"largest logit.*\[1\].*possible"):
        OneHotCategorical(np.array([[0, 1], [-np.inf, -np.inf]]))
