"""ELBO and importance-weighted log p(x), against models of which they are known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import minigrad as mg
import vae
from tests.vae.known_evidence import K, N, bernoulli, far_off, linear, one_datum  # noqa: F401
from vae.evaluation import LowEffectiveSampleSize, bits_per_dimension
from vae.evaluation.weights import Weights

# ruff: noqa: F811 (fixtures are arguments)

# -- evaluate ----------------------------------------------------------------------------------
def test_one_repeat_is_the_bound_of_these_draws_and_the_first_of_several(bernoulli):
    model, x = bernoulli
    found = vae.evaluate(model, x, seed=5)
    bound = vae.elbo(mg.nn.frozen(model), x, rng=np.random.default_rng(5))
    for part, values in bound._asdict().items():
        if part in found:
            assert found[part] == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)
            error = values.std(ddof=1) / np.sqrt(len(x))
            assert found[f"{part}_se"] == pytest.approx(error, rel=1e-4)
    assert len(found) == 6 and "elbo_noise_se" not in found


def test_the_elbo_of_many_repeats_is_the_exact_one(linear):
    model, x, _, _ = linear
    found = vae.evaluate(model, x, repeats=800)
    exact = model.elbo(model.posterior(x), x)
    assert abs(found["elbo"] - exact.mean()) < 4 * found["elbo_noise_se"] < 0.1
    assert found["elbo_se"] == pytest.approx(exact.std() / np.sqrt(N), rel=0.05)
    assert found["kl"] == pytest.approx(vae.kl(model.posterior(x), model.prior).mean(), rel=1e-12)
    assert found["kl_noise_se"] < 1e-12  # in closed form; its mean over draws is rounded


def test_the_error_of_the_noise_is_the_spread_over_seeds(linear):
    model, x, _, _ = linear
    runs = [vae.evaluate(model, x, seed=s, repeats=3) for s in range(300)]
    for part in ("elbo", "reconstruction"):
        spread = np.std([run[part] for run in runs], ddof=1)
        stated = np.mean([run[f"{part}_noise_se"] for run in runs])
        assert stated == pytest.approx(spread, rel=4 / np.sqrt(2 * 300))


def test_the_error_over_data_is_the_spread_over_data_sets(linear):
    model, _, _, _ = linear
    rng, means, stated = np.random.default_rng(8), [], []
    for s in range(300):
        x = model.likelihood(rng.normal(size=(50, K))).sample(rng=rng)
        found = vae.evaluate(model, x, seed=s)
        means.append(found["elbo"])
        stated.append(found["elbo_se"])
    assert np.mean(stated) == pytest.approx(np.std(means), rel=4 / np.sqrt(2 * 300))


def test_another_bound_serves_where_the_kl_has_no_closed_form(linear):
    model, x = linear[:2]
    plain = vae.evaluate(model, x, repeats=50)
    drawn = vae.evaluate(model, x, repeats=50, objective=vae.estimators.sgvb_a)
    assert drawn["kl_noise_se"] > 1e-3 and plain["kl_noise_se"] < 1e-12
    for part in ("elbo", "kl"):
        assert abs(plain[part] - drawn[part]) < 4 * np.hypot(plain[f"{part}_noise_se"],
                                                             drawn[f"{part}_noise_se"])


def test_evaluate_refuses_no_repeats_and_no_batch(bernoulli):
    for bad in ({"repeats": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=r"repeats=\d, batch_size=\d+: both are at least 1"):
            vae.evaluate(*bernoulli, **bad)


# -- bits --------------------------------------------------------------------------------------
def test_bits_of_uniform_bytes_are_eight_as_density_and_as_mass():
    n = 12
    assert bits_per_dimension(0.0, n, levels=256) == 8  # the uniform density on [0, 1]
    assert bits_per_dimension(-n * np.log(256), n, levels=1) == pytest.approx(8)
    assert bits_per_dimension(-n * np.log(2), n, levels=128) == pytest.approx(8)  # on [-1, 1]


def test_bits_of_dequantised_bytes_do_not_fall_below_their_entropy():
    """E bits of a density of (k + u)/256 is its cross-entropy: a lower bound is that of k."""
    rng = np.random.default_rng(2)
    k = np.clip(np.round(rng.normal(128, 9, 200_000)), 0, 255)
    x = (k + rng.random(len(k))) / 256
    fitted = norm(x.mean(), x.std())
    assert (fitted.logpdf(x) > 0).mean() > 0.9  # a log density may be positive
    p = np.bincount(k.astype(int)) / len(k)
    entropy = -np.sum(p[p > 0] * np.log2(p[p > 0]))
    bits = bits_per_dimension(fitted.logpdf(x).mean(), 1, levels=256)
    assert entropy < bits < entropy + 0.01


@pytest.mark.parametrize("n, levels", [(0, 256), (784, 0), (784, np.inf)])
def test_bits_without_dimensions_or_levels_are_refused(n, levels):
    with pytest.raises(ValueError, match="levels is 256 for densities of bytes"):
        bits_per_dimension(-90.0, n, levels=levels)


# -- weights -----------------------------------------------------------------------------------
def test_sums_of_weights_do_not_depend_on_the_blocks():
    log_w = np.random.default_rng(0).normal(-900, 20, (500, 7))
    for size in (1, 33, 500):
        sums = Weights(7)
        for i in range(0, 500, size):
            sums.add(log_w[i:i + size])
        w = np.exp(log_w - log_w.max(axis=0))  # by hand
        np.testing.assert_allclose(sums.effective(), w.sum(0)**2 / (w**2).sum(0), rtol=1e-10)
        np.testing.assert_allclose(sums.log_mean(), logsumexp(log_w, axis=0) - np.log(500),
                                   rtol=1e-14)


def test_equal_weights_are_all_effective_and_none_where_all_are_zero():
    sums = Weights(2)
    sums.add(np.tile([-1e4, -np.inf], (50, 1)))
    np.testing.assert_allclose(sums.effective(), [50, 0], rtol=1e-10)
    np.testing.assert_array_equal(sums.log_mean() == -np.inf, [False, True])


# -- importance weighting ------------------------------------------------------------------------
def test_importance_weighting_finds_log_p(linear):
    model, x, _, log_p = linear
    found = vae.log_likelihood(model, x, samples=5000, each=True)
    assert abs(found["log_likelihood"] - log_p.mean()) < 0.02
    assert abs(found["log_likelihood"] - log_p.mean()) < 4 * found["log_likelihood_noise_se"]
    np.testing.assert_allclose(found["log_likelihoods"], log_p, atol=0.15)
    assert found["log_likelihood"] == found["log_likelihoods"].mean()
    assert found["log_likelihood_se"] == pytest.approx(log_p.std() / np.sqrt(N), rel=0.01)
    assert (found["ess_min"], found["ess_mean"]) == (found["ess"].min(), found["ess"].mean())
    assert (found["samples"], found["n"], found["ess_low"]) == (5000, N, 0)


def test_the_effective_share_is_that_of_the_integral(linear):
    """ESS/K → (E w)²/E w², which for Gaussians q and p(z|x) is known by quadrature."""
    model, x, _, _ = linear
    found = vae.log_likelihood(model, x[:3], samples=20_000, each=True)["ess"] / 20_000
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-6, 6, 400)], indexing="ij"), -1)[:, :, None]
    p, q = model.exact_posterior(x[:3]), model.posterior(x[:3])
    area = (12 / 399)**2
    second = np.exp(2 * p.log_prob(grid) - q.log_prob(grid)).sum((0, 1)) * area
    np.testing.assert_allclose(found, 1 / second, rtol=0.05)


def test_with_the_exact_posterior_one_draw_is_enough(linear):
    model, x, _, log_p = linear
    found = vae.log_likelihood(model.with_encoder(None), x, samples=200, each=True)
    np.testing.assert_allclose(found["log_likelihoods"], log_p, rtol=1e-12)
    np.testing.assert_allclose(found["ess"], 200)
    assert found["log_likelihood_noise_se"] < 1e-6


def test_the_weights_are_unbiased_for_p(linear):
    model, x, _, log_p = one_datum(linear, 4000)
    ratios = np.exp(vae.log_likelihood(model, x, samples=3, each=True)["log_likelihoods"] - log_p)
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / np.sqrt(4000) < 0.1
    assert np.log(ratios).mean() < -4 * np.log(ratios).std() / np.sqrt(4000)  # Jensen


def test_blocks_change_rounding_only_where_a_datum_needs_several(bernoulli):
    model, x = bernoulli
    found = [vae.log_likelihood(model, x[:4], samples=90, block=b, each=True)["log_likelihoods"]
             for b in (90, 7, 64)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_a_block_is_all_that_is_decoded_at_a_time_and_each_datum_is_encoded_once(linear):
    model, x, _, _ = linear
    decoded, encoded = [], []

    class Watched(vae.VAE):
        def likelihood(self, z):
            decoded.append(z.shape[0] * z.shape[1])
            return super().likelihood(z)

        def posterior(self, x):
            encoded.append(len(x))
            return super().posterior(x)
    watched = Watched(model.posterior, model.likelihood, model.prior)
    for samples, block in ((50, 20), (7, 20), (1, 20), (20, 1)):
        decoded.clear(), encoded.clear()
        vae.log_likelihood(watched, x, samples=samples, block=block)
        assert max(decoded) <= block and sum(decoded) == samples * N and sum(encoded) == N


def test_the_number_of_threads_changes_no_bit_of_log_p(bernoulli, monkeypatch):
    found = []
    for threads in "13":
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", threads)
        found.append(vae.log_likelihood(*bernoulli, samples=90, block=40))
    assert found[0] == found[1]


def test_stated_noise_and_bias_are_those_of_many_estimates(linear):
    model, x, _, log_p = one_datum(linear, 20_000)
    found = vae.log_likelihood(model, x, samples=40, each=True, block=8000)
    off = found["log_likelihoods"] - log_p
    error = off.std() / np.sqrt(20_000)
    assert found["log_likelihood_noise_se"] == pytest.approx(error, rel=0.1)
    assert abs(found["log_likelihood_bias"] - off.mean()) < 4 * error
    assert off.mean() < -8 * error  # there is one to be seen


def test_too_few_effective_draws_are_warned_of(linear):
    with pytest.warns(LowEffectiveSampleSize, match=r"by 0\.\d+ nats or more.*below 10 for \d+% "
                      "of 60 data .*annealed"):
        found = vae.log_likelihood(*far_off(linear, 2.0), samples=200)
    assert found["ess_low"] > 0.5 and found["log_likelihood"] < linear[3].mean() - 0.1


@pytest.mark.parametrize("shift, samples", [(0.3, 200), (2.0, 99)], ids=["many", "a bound"])
def test_enough_effective_draws_or_a_bound_of_few_are_not_warned_of(linear, shift, samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae.log_likelihood(*far_off(linear, shift), samples=samples)


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": 3, "block": 0}])
def test_no_draws_are_refused(linear, options):
    with pytest.raises(ValueError, match=r"samples=\d, block=\d+: at least one draw"):
        vae.log_likelihood(*linear[:2], **options)
