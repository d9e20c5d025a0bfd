"""Rate and distortion, and the parts of the gap, where both are known in closed form."""

from __future__ import annotations

import tracemalloc
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

import minigrad as mg
import vae
from vae.evaluation.gap import best_posterior, inference_gap
from vae.evaluation.tradeoff import rate_distortion

EIGENVALUES, STD = np.array([4.0, 1.5, 0.6, 0.1]), 0.5
BETAS = 0.5, 1.0, 2.0, 4.0, 20.0


@pytest.fixture(scope="module")
def gaussian():
    """Data with EIGENVALUES for a covariance, exactly, in a rotated frame; and the rotation."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(300)
    rotation = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    return x * np.sqrt(EIGENVALUES) @ rotation.T, rotation


def best_linear_model(beta, rotation):
    """Decoder and encoder that minimise D + βR: in the eigenbasis Var(z|x) is βσ²/λ, or 1."""
    var = np.minimum(beta * STD**2 / EIGENVALUES, 1)
    model = vae.exact.LinearGaussian(rotation * np.sqrt(EIGENVALUES * (1 - var)), np.zeros(4), STD)
    return model.with_encoder(lambda x: vae.Normal(
        x @ rotation * np.sqrt((1 - var) / EIGENVALUES), np.tile(np.sqrt(var), (len(x), 1))))


def water_filling(beta):
    """R and D by reverse water-filling, Cover and Thomas (2006), theorem 10.3.3: level βσ²."""
    left = np.minimum(beta * STD**2, EIGENVALUES)
    rate = 0.5 * np.log(EIGENVALUES / left).sum()
    return rate, left.sum() / (2 * STD**2) + 2 * np.log(2 * np.pi * STD**2)


@pytest.fixture(scope="module")
def curve(gaussian):
    x, rotation = gaussian
    models = {beta: best_linear_model(beta, rotation) for beta in BETAS}
    return [rate_distortion(models, x, repeats=20, seed=seed) for seed in range(6)]


@pytest.fixture(scope="module")
def patterns():
    """Noisy copies of four binary patterns, (250, 36), float32."""
    rng = np.random.default_rng(4)
    known, flips = rng.integers(0, 2, (4, 36)), rng.random((250, 36)) < 0.05
    return (known[rng.integers(0, 4, 250)] ^ flips).astype(np.float32)


def trained(x, beta=1.0, epochs=25):
    model = vae.dense_vae(36, (16,), 3, rng=np.random.default_rng(0), start=x.mean(axis=0))
    vae.fit(model, x, epochs=epochs, batch_size=50, rng=np.random.default_rng(1),
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2),
            objective=partial(vae.objectives.beta_elbo, weight=beta))
    return model


@pytest.fixture(scope="module")
def model(patterns):
    return trained(patterns)


# -- rate and distortion ---------------------------------------------------------------------------
def test_the_linear_curve_is_that_of_reverse_water_filling(curve):
    for i, beta in enumerate(BETAS):
        rate, distortion = water_filling(beta)
        rows = [table[i] for table in curve]
        found = np.array([row["distortion"] for row in rows])
        assert {row["rate"] for row in rows} == {rows[0]["rate"]}  # in closed form, without noise
        assert rows[0]["rate"] == pytest.approx(rate, abs=1e-10)
        assert abs(found.mean() - distortion) < 5 * found.std(ddof=1) / np.sqrt(6) + 1e-10
        assert found.std(ddof=1) < 0.02 * abs(distortion)
        for row in rows:
            assert row["elbo"] == pytest.approx(-row["rate"] - row["distortion"], abs=1e-10)


def test_more_beta_is_less_rate_and_more_distortion_at_the_slope_minus_beta(curve):
    for table in curve:
        assert [row["beta"] for row in table] == list(BETAS)
        rates, distortions = (np.array([row[key] for row in table])
                              for key in ("rate", "distortion"))
        assert np.all(np.diff(rates) < 0) and np.all(np.diff(distortions) > 0)
        slopes = -np.diff(distortions) / np.diff(rates)  # of a convex curve: between the two β
        assert np.all(slopes > BETAS[:-1]) and np.all(slopes < BETAS[1:])


def test_the_elbo_at_beta_1_is_log_p_of_probabilistic_pca_and_the_highest(gaussian, curve):
    x, rotation = gaussian
    log_p = best_linear_model(1.0, rotation).log_marginal(x).mean()
    elbos = {beta: np.array([table[i]["elbo"] for table in curve]) for i, beta in enumerate(BETAS)}
    error = elbos[1.0].std(ddof=1) / np.sqrt(6)
    assert abs(elbos[1.0].mean() - log_p) < 5 * error
    assert all(elbos[beta].mean() < log_p - 5 * error for beta in BETAS if beta != 1)


def test_trained_models_trade_rate_for_distortion(patterns):
    betas = (4.0, 0.2, 1.0)
    table = rate_distortion(((beta, trained(patterns, beta)) for beta in betas), patterns)
    assert [row["beta"] for row in table] == sorted(betas)
    for less, more in pairwise(table):
        assert more["rate"] < less["rate"] - 3 * less["rate_se"]
        assert more["distortion"] > less["distortion"] + 3 * less["distortion_se"]
    assert max(table, key=lambda row: row["elbo"])["beta"] == 1


def test_rows_are_means_over_data_with_their_standard_errors(model, patterns):
    row, = rate_distortion({1.0: model}, patterns, batch_size=70)
    bound = vae.elbo(mg.nn.frozen(model), patterns, rng=np.random.default_rng(0))
    assert row["n"] == 250
    assert row["rate"] == pytest.approx(bound.kl.astype(float).mean(), rel=1e-6)
    assert row["rate_se"] == pytest.approx(bound.kl.std(ddof=1) / np.sqrt(250), rel=1e-4)
    assert row["elbo"] == pytest.approx(bound.value.mean(), abs=4 * row["elbo_se"])
    again, = rate_distortion({1.0: model}, patterns, batch_size=70)
    assert row == again
    with pytest.raises(ValueError, match="repeats=0"):
        rate_distortion({1.0: model}, patterns, repeats=0)


# -- the gap ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def linear():
    """A model with a full posterior covariance, an encoder that is off, and the gaps of both."""
    rng = np.random.default_rng(1)
    exact = vae.exact.LinearGaussian(rng.standard_normal((6, 3)), rng.standard_normal(6), 0.7)
    x = exact.likelihood(exact.prior.sample(8, rng=rng)).sample(rng=rng)
    shift = np.array([0.9, -0.6, 0.3])
    model = exact.with_encoder(lambda x: vae.Normal(exact.exact_posterior(x).mean + shift,
                                                    np.full((len(x), 3), 0.5)))
    precision = np.eye(3) + exact.weight.T @ exact.weight / 0.7**2
    # of the diagonal Gaussians the nearest, by KL(q‖p), has the precision's diagonal for its own
    best = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    return model, x, best, exact.gap(model.posterior(x), x)


@pytest.mark.parametrize("known", [True, False])
def test_both_gaps_of_a_linear_model_are_the_closed_forms(linear, known):
    model, x, best, gap = linear
    log_p = model.log_marginal(x)
    found = inference_gap(model, x, log_marginal=log_p if known else None, samples=4_000)
    short = 0.01  # of the search, in nats: see the next test
    for name, exact in (("log_marginal", log_p), ("elbo", log_p - gap), ("best_elbo", log_p - best),
                        ("approximation", best), ("amortisation", gap - best)):
        value, error = getattr(found, name)
        assert value.shape == (8,) and np.all(np.abs(value - exact) < 4.5 * error + short), name
    assert best > 0.1 and np.all(gap - best > 1)
    assert (found.effective_samples is None) == known
    if known:
        assert np.all(found.log_marginal.standard_error < 1e-12)
    else:
        assert np.all(found.effective_samples > 10) and found.effective_samples.mean() > 1_000
        assert np.median(found.log_marginal.standard_error) < 0.05


def test_the_search_comes_within_a_hundredth_of_the_best_q(linear):
    model, x, best, _ = linear
    q = best_posterior(model, x, model.posterior(x), rng=np.random.default_rng(0))
    excess = model.gap(q, x) - best  # in closed form
    assert np.all(excess > 0) and np.all(excess < 0.01)
    assert np.all(model.gap(model.posterior(x), x) - best > 1)
    start = best_posterior(model, x, model.posterior(x), rng=np.random.default_rng(0), steps=0)
    np.testing.assert_array_equal(start.mean, model.posterior(x).mean)


def test_parts_add_up_and_no_step_leaves_no_amortisation(linear):
    model, x, *_ = linear
    log_p = model.log_marginal(x)
    found = inference_gap(model, x, log_marginal=log_p, steps=0, samples=50)
    assert np.all(found.amortisation.value == 0)  # the same noise for both q
    gap = inference_gap(model, x, log_marginal=log_p, steps=20, samples=50)
    np.testing.assert_allclose(gap.approximation.value + gap.amortisation.value,
                               log_p - gap.elbo.value, rtol=1e-10)
    batches = inference_gap(model, x, log_marginal=log_p, steps=20, samples=50, batch_size=3)
    assert batches.elbo.value.shape == (8,) and batches.amortisation.value.mean() > 0.1


def test_standard_errors_of_the_gaps_are_those_of_other_seeds(linear):
    model, x, *_ = linear

    def marginals(x):
        """Wider than the best q, so that no weight is heavy."""
        posterior = model.exact_posterior(x)
        variances = np.diagonal(posterior.covariance, axis1=-2, axis2=-1)
        return vae.Normal(posterior.mean, np.broadcast_to(np.sqrt(variances), (len(x), 3)))
    near = model.with_encoder(marginals)
    found = [inference_gap(near, x[:4], steps=0, samples=300, seed=seed) for seed in range(60)]
    for name in ("log_marginal", "elbo", "approximation"):
        values = np.array([getattr(one, name).value for one in found])
        errors = np.array([getattr(one, name).standard_error for one in found])
        ratio = values.std(axis=0).mean() / errors.mean()
        assert 0.8 < ratio < 1.25, name


def test_the_gap_of_a_trained_model_has_two_parts_that_are_not_negative(model, patterns):
    before = [p.data.copy() for p in mg.nn.parameters(model)]
    found = inference_gap(model, patterns[:20], steps=200, samples=500, batch_size=7)
    for part in (found.approximation, found.amortisation):
        assert part.value.mean() > -4 * np.sqrt(np.square(part.standard_error).mean() / 20)
    assert found.amortisation.value.mean() > 0.01
    reference = vae.log_likelihood(model, patterns[:20], samples=2_000)
    error = np.sqrt(np.square(found.log_marginal.standard_error).sum()) / 20
    assert abs(found.log_marginal.value.mean() - reference["log_likelihood"]) < 5 * error + 0.05
    for p, old in zip(mg.nn.parameters(model), before, strict=True):
        assert p.grad is None and np.array_equal(p.data, old)


def test_few_effective_draws_are_told(linear):
    model, x, *_ = linear
    with pytest.warns(vae.evaluation.LowEffectiveSampleSize, match=r"too low by.*annealed"):
        inference_gap(model, x, steps=0, samples=100)


def test_memory_of_the_gap_is_bounded_by_the_block():
    model = vae.dense_vae(784, (20,), 3, rng=np.random.default_rng(0))
    x = np.zeros((20, 784), np.float32)
    tracemalloc.start()
    try:
        inference_gap(model, x, steps=1, samples=1_000, block=500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16e6  # bytes; all 20,000 decoded images are 63e6


def test_what_has_no_gap_is_refused(linear):
    model, x, *_ = linear
    full = vae.exact.LinearGaussian(model.weight, model.bias, model.std)
    with pytest.raises(TypeError, match=r"searches the Normal q.*MultivariateNormal"):
        inference_gap(full, x)
    with pytest.raises(ValueError, match=r"shape \(3,\): one number for each of 8"):
        inference_gap(model, x, log_marginal=np.zeros(3))
    with pytest.raises(ValueError, match="samples=1"):
        inference_gap(model, x, samples=1)
