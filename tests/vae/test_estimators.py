"""Estimators of the gradient of an expectation, against expectations that are known exactly.

A distribution repeated along the batch gives independent estimates of the gradient in one pass.
"""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

import minigrad as mg
from tests.vae.expectations import (
    CATEGORIES,
    COINS,
    MEAN,
    MODELS,
    STD,
    THETA,
    exact_of_categories,
    exact_of_coins,
    of_categories,
    of_coins,
    repeated,
    smooth,
    standard_errors_off,
)
from vae import Bernoulli, NoPath, Normal, noise
from vae.distributions.categorical import Categorical, OneHotCategorical
from vae.distributions.relaxed import RelaxedBernoulli
from vae.estimators import (
    EXPECTATIONS,
    MovingAverage,
    enumerated,
    gumbel_softmax,
    measure_valued,
    pathwise,
    rebar,
    score,
    straight_through,
)

BASELINES = {"no": None, "leave-one-out": "leave-one-out", "number": 0.7}
UNBIASED = [
    ("normal", pathwise, {"samples": 8}),
    *(("normal", partial(score, baseline=b), {"samples": 8}) for b in BASELINES.values()),
    ("gammas", pathwise, {"samples": 8}),
    ("gammas", partial(score, baseline="leave-one-out"), {"samples": 8}),
    ("normal", measure_valued, {"samples": 2}),
    *(("coins", partial(score, baseline=b), {"samples": 8}) for b in BASELINES.values()),
    *(("categories", partial(score, baseline=b), {"samples": 8}) for b in BASELINES.values()),
    *((model, partial(rebar, temperature=t, eta=eta), {"samples": 4})
      for model in ("coins", "categories") for t, eta in ((0.1, 1.0), (0.5, 1.0), (2.0, 0.6))),
]


# -- unbiased, or not -----------------------------------------------------------------------------
@pytest.mark.parametrize("model, estimator, options", UNBIASED)
def test_the_mean_gradient_is_the_exact_one(model, estimator, options):
    n = 1_000_000 // options["samples"] if estimator is not measure_valued else 100_000
    exact, slopes = MODELS[model][3]()
    values, gradients = repeated(model, estimator, n=n, **options)
    assert standard_errors_off(values, exact) < 4
    for found, slope in zip(gradients, slopes, strict=True):
        assert np.all(standard_errors_off(found, slope) < 4)
        error = found.std(axis=0) / np.sqrt(n)
        assert np.all(error < 0.03 * np.abs(slope).max())  # a wrong factor would be seen


@pytest.mark.parametrize("model", ["coins", "categories"])
def test_enumeration_is_exact(model):
    exact, slopes = MODELS[model][3]()
    values, gradients = repeated(model, enumerated, n=2)
    np.testing.assert_allclose(values, [exact, exact], rtol=1e-13)
    for found, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(found, [slope, slope], rtol=1e-11, atol=1e-13)


def test_enumeration_of_indices_is_that_of_one_hot():
    table = of_categories(np.eye(4))

    def value(logits):
        return np.sum(enumerated(lambda z: table[z], Categorical(logits)))
    found, slope = mg.value_and_grad(value)(np.tile(CATEGORIES, (3, 1)))
    exact, slopes = exact_of_categories()
    np.testing.assert_allclose(found, 3 * exact / THETA, rtol=1e-13)
    np.testing.assert_allclose(slope, np.tile(slopes[0] / THETA, (3, 1)), rtol=1e-11)


def test_events_of_several_variables():
    """Two variables with three categories each, as one event; against all nine values."""
    logits, n = np.array([[0.4, -0.3, 0.0], [1.0, 0.2, -0.8]]), 100_000
    weight = np.random.default_rng(5).standard_normal((2, 3))

    def f(z):
        return np.exp((weight * z).sum((-2, -1)))

    def slope(estimator, n, **options):
        return mg.grad(lambda a: np.sum(estimator(f, OneHotCategorical(a, event_ndim=2),
                                                  **options)))(np.tile(logits, (n, 1, 1)))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    exact = np.zeros((2, 3))
    for i, j in product(range(3), repeat=2):
        z = np.stack([np.eye(3)[i], np.eye(3)[j]])
        exact += p[0, i] * p[1, j] * f(z) * (z - p)
    np.testing.assert_allclose(slope(enumerated, 1)[0], exact, rtol=1e-11)
    for estimator in (partial(score, baseline="leave-one-out"), rebar):
        found = slope(estimator, n, rng=np.random.default_rng(0), samples=2)
        assert np.all(standard_errors_off(found, exact) < 4)


def test_enumeration_has_derivatives_of_second_order():
    for make, at, f in ((Bernoulli, COINS, of_coins), (OneHotCategorical, CATEGORIES,
                                                       of_categories)):
        mg.check_grads(lambda a, make=make, f=f: enumerated(f, make(a)), (at,), order=2)


def test_an_impossible_category_adds_nothing():
    logits = np.append(CATEGORIES, -np.inf)
    value, slope = mg.value_and_grad(lambda a: enumerated(
        lambda z: of_categories(z[..., :4]), OneHotCategorical(a)))(logits)
    exact, slopes = exact_of_categories()
    np.testing.assert_allclose(value, exact / THETA, rtol=1e-13)
    np.testing.assert_allclose(slope, [*slopes[0] / THETA, 0], rtol=1e-11)


@pytest.mark.parametrize("samples", [2, 5])
def test_the_mean_over_all_draws_is_a_biased_baseline_by_a_known_factor(samples):
    exact = exact_of_coins()[1][0]
    found = repeated("coins", partial(score, baseline="mean"), n=200_000, samples=samples)[1][0]
    assert np.all(standard_errors_off(found, (samples - 1) / samples * exact) < 4)
    assert np.all(standard_errors_off(found, exact) > 8)
    other = repeated("coins", partial(score, baseline="leave-one-out"), n=200_000,
                     samples=samples)[1][0]
    np.testing.assert_allclose(other, found * samples / (samples - 1), atol=1e-12)


@pytest.mark.parametrize("model", ["coins", "categories"])
@pytest.mark.parametrize("estimator", [gumbel_softmax, straight_through])
def test_the_bias_of_relaxations_is_seen(model, estimator, record_property):
    exact, (slope, _) = MODELS[model][3]()
    for temperature in (0.3, 1.0):
        values, (found, _) = repeated(model, partial(estimator, temperature=temperature),
                                      n=100_000, samples=2)
        bias = found.mean(axis=0) - slope
        record_property(f"bias at temperature {temperature}", bias.round(3).tolist())
        print(f"{estimator.__name__}, {model}, temperature {temperature}: bias of the gradient "
              f"{bias.round(3)}, exact {slope.round(3)}")
        assert np.max(standard_errors_off(found, slope)) > 10
        if estimator is straight_through:  # its value is that of hard draws
            assert standard_errors_off(values, exact) < 4
    assert estimator.biased


def test_pathwise_is_that_of_the_draws_and_its_own_derivative():
    q = Normal(MEAN, STD)
    z = q.sample((5,), rng=np.random.default_rng(1))
    np.testing.assert_array_equal(pathwise(smooth, q, rng=np.random.default_rng(1), samples=5),
                                  smooth(z).mean(0))
    with noise.record() as eps:
        pathwise(smooth, q, rng=np.random.default_rng(1), samples=3)

    def value(mean, std):
        with noise.replay(eps):
            return pathwise(smooth, Normal(mean, std), rng=None, samples=3)
    mg.check_grads(value, (MEAN, STD), order=2)


@pytest.mark.parametrize("estimator", [partial(score, baseline="leave-one-out"), rebar],
                         ids=["score", "rebar"])
def test_the_second_derivative_is_unbiased_too(estimator):
    """Of p f(1) + (1 - p) f(0) by the logit it is p (1 - p) (1 - 2p) (f(1) - f(0))."""
    n, a, low, high = 100_000, 0.7, 0.4, 2.0

    def slopes(logits):
        return mg.grad(lambda logits: np.sum(estimator(
            lambda b: low + (high - low) * np.square(b[..., 0]), Bernoulli(logits),
            rng=np.random.default_rng(3), samples=4)))(logits)
    found = mg.grad(lambda logits: np.sum(slopes(logits)))(np.full((n, 1), a))
    p = expit(a)
    assert standard_errors_off(found, p * (1 - p) * (1 - 2 * p) * (high - low)) < 4
    assert found.std() / np.sqrt(n) < 0.1 * abs(p * (1 - p) * (1 - 2 * p) * (high - low))


# -- variance -------------------------------------------------------------------------------------
@pytest.mark.parametrize("model, estimator", [
    ("normal", pathwise), ("normal", score), ("normal", measure_valued),
    ("coins", partial(score, baseline=0.7)), ("coins", rebar), ("categories", rebar)])
def test_the_variance_falls_as_one_over_the_draws(model, estimator):
    counts = np.array([1, 2, 4, 8])
    variances = [np.sum(repeated(model, estimator, n=20_000, samples=k, seed=k)[1][0].var(axis=0))
                 for k in counts]
    slope = np.polyfit(np.log(counts), np.log(variances), 1)[0]
    assert abs(slope + 1) < 0.1


def test_the_usual_order_of_variances():
    def variance(model, estimator):
        return np.sum(repeated(model, estimator, n=20_000, samples=4)[1][0].var(axis=0))
    plain, centred = score, partial(score, baseline="leave-one-out")
    assert variance("normal", pathwise) < variance("normal", centred) < variance("normal", plain)
    assert variance("normal", measure_valued) < variance("normal", centred)
    for model in ("coins", "categories"):
        assert variance(model, rebar) < 0.7 * variance(model, plain)


# -- rows -----------------------------------------------------------------------------------------
EVERY = [("normal", f) for f in (pathwise, score, measure_valued)] \
    + [(m, f) for m in ("coins", "categories")
       for f in (score, enumerated, gumbel_softmax, straight_through, rebar)]


@pytest.mark.parametrize("model, estimator", EVERY)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_rows_do_not_mix_and_batches_have_any_shape(model, estimator, batch):
    make, parameters, f, _ = MODELS[model]
    parameters = tuple(np.broadcast_to(p, (*batch, *p.shape)) + 0.0 for p in parameters)

    def value(*parameters):
        return estimator(f, make(*parameters), rng=np.random.default_rng(0), samples=2)
    estimate, pullback = mg.vjp(value, *parameters)
    assert estimate.shape == batch
    for row in np.ndindex(batch):
        seed = np.zeros(batch)
        seed[row] = 1
        for slope in pullback(seed):
            assert np.any(slope[row] != 0)
            slope[row] = 0
            assert not np.any(slope)


@pytest.mark.parametrize("model, estimator", EVERY)
def test_float32_stays(model, estimator):
    make, parameters, *_ = MODELS[model]
    leaves = [mg.Tensor(np.tile(p, (3, 1)).astype(np.float32)) for p in parameters]
    estimate = estimator(lambda z: np.square(z).sum(-1), make(*leaves),
                         rng=np.random.default_rng(0), samples=2)
    np.sum(estimate).backward()
    assert {estimate.dtype, *(leaf.grad.dtype for leaf in leaves)} == {np.dtype(np.float32)}


def test_a_spread_shared_by_all_gets_the_sum_of_the_slopes():
    mean = np.tile(MEAN, (40, 1))

    def value(std, mean=mean):
        return np.sum(measure_valued(smooth, Normal(mean, std), rng=np.random.default_rng(0),
                                     samples=3))
    each = mg.grad(value)(np.full((40, 2), 0.7))
    np.testing.assert_allclose(mg.grad(value)(np.array(0.7)), each.sum(), rtol=1e-10)


@given(seed=st.integers(0, 10**6), samples=st.integers(1, 5))
def test_the_value_is_the_mean_of_f_at_qs_own_draws(seed, samples):
    q = Normal(MEAN, STD)
    own = smooth(q.sample((samples,), rng=np.random.default_rng(seed))).mean(0)
    for estimator in (pathwise, score, measure_valued):
        found = estimator(smooth, Normal(mg.Tensor(MEAN), mg.Tensor(STD)),
                          rng=np.random.default_rng(seed), samples=samples)
        np.testing.assert_array_equal(found.data, own)
    coins = Bernoulli(COINS)
    own = of_coins(coins.sample((samples,), rng=np.random.default_rng(seed))).mean(0)
    for estimator in (score, rebar):  # from the same noise the same tosses
        found = estimator(of_coins, coins, rng=np.random.default_rng(seed), samples=samples)
        np.testing.assert_allclose(found, own, rtol=1e-12)


# -- baselines ------------------------------------------------------------------------------------
def test_the_moving_average_is_of_earlier_calls_only():
    average = MovingAverage(0.8)
    means = []
    for seed in range(4):
        expected = sum(0.8**k * m for k, m in enumerate(reversed(means)))
        weights = sum(0.8**k for k in range(len(means)))
        np.testing.assert_allclose(average.value, expected / weights if means else 0.0)
        q = Bernoulli(np.tile(COINS, (3, 1)))

        def slope(baseline, q=q, seed=seed):
            return mg.grad(lambda a: np.sum(score(
                of_coins, Bernoulli(a), rng=np.random.default_rng(seed), samples=2,
                baseline=baseline)))(q.logits)
        fixed = slope(average.value)
        np.testing.assert_allclose(slope(average), fixed, rtol=1e-12)
        means.append(of_coins(q.sample((2,), rng=np.random.default_rng(seed))).mean(0))


def test_the_moving_average_lowers_the_variance_and_adds_no_bias():
    average = MovingAverage()
    exact = exact_of_categories()[1][0]
    for seed in range(6):
        found = repeated("categories", partial(score, baseline=average), n=60_000, seed=seed)[1][0]
        assert np.all(standard_errors_off(found, exact) < 4)
        if seed == 0:
            plain = found.var(axis=0).sum()
    assert found.var(axis=0).sum() < 0.8 * plain


def test_a_shared_average_takes_batches_of_any_size():
    own, shared = MovingAverage(), MovingAverage(shared=True)
    for rows in (3, 2):
        q = Bernoulli(np.tile(COINS, (rows, 1)))
        score(of_coins, q, rng=np.random.default_rng(0), baseline=shared)
        if rows == 3:
            score(of_coins, q, rng=np.random.default_rng(0), baseline=own)
    assert np.shape(shared.value) == ()
    with pytest.raises(ValueError, match=r"rows of shape \(3,\).*\(2,\).*shared=True"):
        score(of_coins, q, rng=np.random.default_rng(0), baseline=own)
    with pytest.raises(ValueError, match="decay=1"):
        MovingAverage(1)


# -- errors and tables ----------------------------------------------------------------------------
@pytest.mark.parametrize("estimator, q, options, error, words", [
    (pathwise, Bernoulli(COINS), {}, NoPath, r"Bernoulli.*vae\.estimators\.score"),
    (pathwise, RelaxedBernoulli(COINS, 0.5), {}, NoPath, "gumbel_softmax"),
    (measure_valued, Bernoulli(COINS), {}, TypeError, r"Bernoulli.*Normal.*score"),
    (enumerated, Normal(MEAN, STD), {}, TypeError, r"Normal.*score or pathwise"),
    (enumerated, Bernoulli(np.zeros(17)), {}, ValueError, r"17 coins.*2\^17.*16"),
    (gumbel_softmax, Normal(MEAN, STD), {}, TypeError, "Bernoulli and of OneHotCategorical"),
    (rebar, Categorical(CATEGORIES), {}, TypeError, "draws are indices"),
    (rebar, Bernoulli(COINS), {"temperature": 0.0}, ValueError, "rebar: temperature.*positive"),
    (rebar, OneHotCategorical(np.array([0, -np.inf])), {}, ValueError, r"logits.*finite.*\[1\]"),
    (score, Bernoulli(COINS), {"baseline": "leave-one-out"}, ValueError, "samples of 2 or more"),
    (score, Bernoulli(COINS), {"baseline": "median"}, ValueError, "'median'.*leave-one-out"),
    (score, Bernoulli(COINS), {"samples": 0}, ValueError, "samples=0"),
])
def test_what_is_asked_for_wrongly_is_named(estimator, q, options, error, words):
    with pytest.raises(error, match=words):
        estimator(lambda z: np.sum(z, axis=-1), q, rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize("model, estimator", EVERY)
def test_an_f_that_gives_other_than_one_number_a_draw_is_refused(model, estimator):
    make, parameters, _, _ = MODELS[model]
    with pytest.raises(ValueError, match="one number a draw"):
        estimator(lambda z: z, make(*parameters), rng=np.random.default_rng(0))


def test_each_estimator_says_where_it_is_from():
    assert {name for name, f in EXPECTATIONS.items() if f.biased} == {"gumbel_softmax",
                                                                      "straight_through"}
    for f in EXPECTATIONS.values():
        assert "20" in f.source or "19" in f.source or f is enumerated
        assert f.needs and f.__doc__
