"""The laboratory: statistics that are known in closed form, and what is said of a sample."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import minigrad as mg
import vae
from vae import estimators, lab

MEAN, STD = np.linspace(-1, 1, 4), np.array([0.5, 1.0, 0.7, 2.0])


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def q():
    return vae.Normal(MEAN, STD)


def square(z):
    return np.sum(z**2, axis=-1)


def of_square(q):
    """E_q[Σ z²]."""
    return np.sum(q.mean**2 + q.variance)


def path(f, q, *, rng, samples=1):
    return f(q.sample((samples,), rng=rng)).mean(axis=0)


def shifted(f, q, *, rng):
    """Biased by 0.3 in each mean."""
    return path(f, q, rng=rng) + 0.3 * np.sum(q.mean, axis=-1)


# -- compare --------------------------------------------------------------------------------------
def test_mean_variance_and_ratio_are_those_in_closed_form(q, rng):
    """z = m + sε: the gradients of Σz² are 2z by m and 2zsε by log s."""
    found = lab.compare(square, q, [path], rng=rng, repetitions=20_000, exact=of_square)
    by_mean, by_spread = found["path", "mean"], found["path", "log_std"]
    np.testing.assert_allclose(by_mean.exact, 2 * MEAN)
    np.testing.assert_allclose(by_spread.exact, 2 * STD**2)
    # Var 2z = 4s²; Var(2msε + 2s²ε²) = 4m²s² + 8s⁴
    for row, variance in ((by_mean, np.sum(4 * STD**2)),
                          (by_spread, np.sum(4 * MEAN**2 * STD**2 + 8 * STD**4))):
        assert abs(row.variance - variance) < 4 * row.variance_error
        assert row.variance_error < 0.05 * variance
        snr = np.sqrt(np.sum(row.exact**2) / variance)
        assert abs(row.snr - snr) < 4 * row.snr_error < 0.2 * snr
        assert row.seconds > 0 and row.cost == row.variance * row.seconds
        assert not row.biased and row.bias_z < 4


def test_the_error_bar_of_the_variance_is_its_spread(q):
    rows = [lab.compare(square, q, [path], rng=np.random.default_rng(seed), repetitions=1000,
                        exact=of_square)["path", "log_std"] for seed in range(40)]
    spread = np.std([row.variance for row in rows])
    assert np.mean([row.variance_error for row in rows]) == pytest.approx(spread, rel=0.35)
    spread = np.std([row.snr for row in rows])
    assert np.mean([row.snr_error for row in rows]) == pytest.approx(spread, rel=0.35)


def test_a_biased_estimator_is_flagged_and_its_bias_measured(q, rng):
    found = lab.compare(square, q, {"path": path, "shifted": shifted}, rng=rng, exact=of_square)
    assert found["shifted", "mean"].biased and not found["path", "mean"].biased
    assert found["shifted", "mean"].bias == pytest.approx(0.6, abs=4 * 0.05)
    assert not found["shifted", "log_std"].biased
    table = str(found)
    assert table.count(" *  ") == 1 and "gradient by log_std" in table


def test_without_the_exact_gradient_a_long_run_stands_for_it(q, rng):
    found = lab.compare(square, q, [path], rng=rng, repetitions=2000)
    row = found["path", "mean"]
    assert np.all(np.abs(row.exact - 2 * MEAN) < 5 * 2 * STD / np.sqrt(20_000))
    assert np.all(row.standard_error > 2 * STD / np.sqrt(2000))  # of both
    assert "the mean of 20000 of 'path'" in str(found)


def test_the_long_run_is_of_an_estimator_that_says_it_is_unbiased(q, rng):
    def half(f, q, *, rng):
        return path(f, vae.Normal(q.mean, mg.stop_gradient(q.std)), rng=rng)
    found = lab.compare(square, q, [half, estimators.pathwise], rng=rng, repetitions=2000)
    assert found.reference == "the mean of 20000 of 'pathwise'"
    assert found["half", "log_std"].biased and not found["pathwise", "log_std"].biased
    biased = {"g": partial(estimators.score, baseline="mean", samples=2)}
    with pytest.raises(ValueError, match="biased: give exact="):
        lab.compare(square, q, biased, rng=rng)


def test_an_estimator_without_gradient_has_none(q, rng):
    found = lab.compare(square, q, {"none": lambda f, q, rng: np.zeros(q.shape[0])}, rng=rng,
                        repetitions=100, exact=of_square)
    assert np.allclose(found["none", "mean"].mean, 0) and found["none", "mean"].biased


def test_partial_functions_have_names(q, rng):
    found = lab.compare(square, q, [partial(path, samples=2), path], rng=rng, repetitions=100,
                        exact=of_square)
    assert [r.estimator for r in found.rows][::2] == ["path(samples=2)", "path"]


def test_estimators_share_their_noise_and_a_seed_gives_the_same_table(q):
    once, again = (lab.compare(square, q, {"a": path, "b": path}, repetitions=500,
                               rng=np.random.default_rng(1)) for _ in range(2))
    for name in ("mean", "log_std"):
        np.testing.assert_array_equal(once["a", name].mean, once["b", name].mean)
        np.testing.assert_array_equal(once["a", name].mean, again["a", name].mean)


def test_blocks_change_only_the_noise(q, rng):
    found = lab.compare(square, q, [path], rng=rng, repetitions=450, exact=of_square, block=100)
    assert not found["path", "mean"].biased


def test_no_variance_is_reported_as_such(rng):
    q = vae.Normal(MEAN, STD)
    found = lab.compare(lambda z: np.sum(z, axis=-1), q, [path], rng=rng, repetitions=200,
                        exact=lambda q: np.sum(q.mean))
    assert found["path", "mean"].variance == 0 and found["path", "mean"].snr == np.inf
    assert not found["path", "mean"].biased


def test_a_spread_shared_by_all_dimensions_has_one_gradient(rng):
    row = lab.compare(square, vae.Normal(MEAN, 0.5), [path], rng=rng, exact=of_square,
                      repetitions=2000)["path", "log_std"]
    assert row.mean.shape == () and row.exact == pytest.approx(4 * 2 * 0.5**2)
    assert not row.biased


def test_bounds_are_compared_by_the_parameters_of_the_posterior(rng):
    model = vae.dense_vae(6, (5,), 3, rng=rng, bias=mg.nn.zeros)
    x = (rng.random(6) < 0.5).astype(np.float32)
    found = lab.compare_bounds(model, x, {"elbo": vae.elbo}, rng=rng, repetitions=500)
    q = model.posterior(x[None]).constant()

    def bound(mean, log_std, seed):
        class Given:
            prior, likelihood = model.prior, model.likelihood

            def posterior(self, x):
                return vae.Normal.from_log_std(mean, log_std)
        return np.sum(vae.elbo(Given(), np.broadcast_to(x, (4000, 6)),
                               rng=np.random.default_rng(seed)).value) / 4000
    laid_out = [np.broadcast_to(a, (4000, 3)) for a in (q.mean, q.log_std)]
    exact = [g.sum(axis=0) for g in mg.grad(bound, (0, 1))(*laid_out, 5)]
    for name, slope in zip(("mean", "log_std"), exact):
        row = found["elbo", name]
        assert row.mean.shape == (3,)
        assert np.all(np.abs(row.mean - slope) < 5 * row.standard_error)


@pytest.mark.parametrize("call, words", [
    (lambda q, rng: lab.compare(square, vae.Normal(np.zeros((2, 3)), 1.0), [path], rng=rng),
     r"batch axes \(2,\)"),
    (lambda q, rng: lab.compare(square, q, [path], rng=rng, repetitions=5), "at least 100"),
    (lambda q, rng: lab.compare(square, q, [path], rng=rng, exact={"mean": MEAN}),
     "exact gradients of mean, but the parameters are mean, log_std"),
    (lambda q, rng: lab.compare(square, q, 3, rng=rng), "a list of functions; this is int"),
    (lambda q, rng: lab.compare(square, q, [], rng=rng), "no estimators"),
    (lambda q, rng: lab.compare(square, q, [path, path], rng=rng), "path, path: give name"),
    (lambda q, rng: lab.compare(square, q, [lambda f, q: 0], rng=rng), "<lambda>: give name"),
    (lambda q, rng: lab.compare(square, q, [path], rng=0), "rng=0: give a Generator"),
    (lambda q, rng: lab.compare(square, q, [path], rng=rng, block=0), "block=0"),
    (lambda q, rng: lab.compare(square, q, [path], rng=rng, exact={"mean": MEAN, "log_std": 1.0}),
     r"by log_std has shape \(\), the parameter has \(4,\)"),
    (lambda q, rng: lab.compare(square, q, {"m": lambda f, q, rng: path(f, q, rng=rng).mean()},
                                rng=rng), r"shape \(\), it must be \(1000,\)"),
    (lambda q, rng: lab.compare_bounds(None, np.zeros((2, 3)), {}, rng=rng), "give one datum"),
])
def test_what_cannot_be_compared_is_said(q, rng, call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call(q, rng)


def test_a_missing_row_is_named_with_those_there_are(q, rng):
    found = lab.compare(square, q, [path], rng=rng, repetitions=100, exact=of_square)
    with pytest.raises(KeyError, match="'path', 'log_std'"):
        found["path", "std"]


# -- explain --------------------------------------------------------------------------------------
@pytest.fixture
def leaves():
    return mg.Tensor(np.zeros((2, 3))), mg.Tensor(np.full((2, 3), 0.5))


def test_a_sample_is_explained_by_noise_parameters_and_slopes(leaves, rng):
    mean, log_std = leaves
    z = vae.Normal.from_log_std(mean, log_std).sample(rng=rng)
    text = str(lab.explain(z))
    for words in ("z (2, 3) ~ Normal", "parameter mean: carries gradient", "location and scale",
                  "noise: (2, 3) float64", "∂Σz/∂mean: (2, 3) float64, from 1 to 1",
                  "∂Σz/∂log_std"):
        assert words in text
    assert "parameter std" not in text  # it is computed from log_std


def test_a_constant_parameter_and_a_stopped_one_are_told_apart(leaves, rng):
    mean, std = leaves
    text = str(lab.explain(vae.Normal(mean, mg.stop_gradient(std)).sample(rng=rng)))
    assert "parameter std: stopped" in text and "∂Σz/∂std" not in text
    assert "parameter std: constant" in str(lab.explain(
        vae.Normal(mean, np.ones((2, 3))).sample(rng=rng)))


def test_the_ways_of_a_gradient_are_told_apart(leaves, rng):
    mean, std = leaves
    q = vae.Normal(mean, std)
    z = q.sample(rng=rng)
    entropy_alone = str(lab.explain(z, np.sum(q.entropy())))
    assert "does not depend on z" in entropy_alone
    both = str(lab.explain(z, np.sum(3 * z) + np.sum(q.entropy())))
    assert "by mean: ‖7.348‖, through z ‖7.348‖, past it ‖0‖" in both  # 3√6
    assert f"past it ‖{np.sqrt(6) / 0.5:.4g}‖" in both
    assert "is a constant" in str(lab.explain(z, z.data))


def test_a_stopped_sample_says_that_the_encoder_gets_nothing(leaves, rng):
    z = vae.Normal(*leaves).sample(rng=rng, stopped=True)
    assert "stopped=True" in str(lab.explain(z))
    assert "through z ‖0‖" in str(lab.explain(z, np.sum(z)))  # and does not warn itself
    assert "a constant" in str(lab.explain(mg.stop_gradient(z)))


def test_what_is_no_sample_is_refused(leaves):
    with pytest.raises(ValueError, match=r"multiply \(2, 3\) is no draw.*`sample` returned$"):
        lab.explain(leaves[0] * 2)
    with pytest.raises(ValueError, match=r"1 draws are below it, of Normal$"):
        lab.explain(vae.Normal(*leaves).sample(rng=np.random.default_rng(0)) * 2)


def test_an_implicit_draw_has_no_noise_of_its_own(rng):
    z = vae.Gamma(mg.Tensor(np.ones(3)), 1.0).sample(rng=rng)
    text = str(lab.explain(z, np.sum(z)))
    assert "implicit reparameterisation" in text and "noise: none of its own" in text
