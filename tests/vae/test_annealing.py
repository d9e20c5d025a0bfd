"""Annealed importance sampling, and its transitions, against models of which log p(x) is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

import minigrad as mg
import vae
from tests.vae.known_evidence import K, N, bernoulli, far_off, linear, one_datum  # noqa: F401
from vae.evaluation import (
    LowEffectiveSampleSize,
    annealed_log_likelihood,
    annealed_upper_bound,
)
from vae.evaluation.annealed import draw, schedule
from vae.evaluation.hmc import FARTHEST, Path, transition

# ruff: noqa: F811 (fixtures are arguments)

# -- Hamiltonian Monte Carlo ---------------------------------------------------------------------
@pytest.mark.parametrize("beta, step", [(0.0, 1.2), (0.4, 0.8), (1.0, 0.5), (1.0, 1.1)])
def test_a_transition_leaves_its_density_invariant(linear, beta, step):
    """From exact draws of f_β, a Gaussian here: each coordinate, whitened, stays N(0, 1)."""
    model, x, _, _ = linear
    chains, rng = 20_000, np.random.default_rng(1)
    path = Path(model, x[:1], model.posterior(x[:1]))
    r, p = path.start, model.exact_posterior(x[0])
    inverse = np.eye(K) + model.weight.T @ model.weight / model.std**2  # of p(z|x)
    precision = (1 - beta) * np.diag(1 / r.variance[0]) + beta * inverse
    weighted = (1 - beta) * r.mean[0] / r.variance[0] + beta * inverse @ p.mean
    mean, root = np.linalg.solve(precision, weighted), np.linalg.cholesky(precision)
    white = rng.normal(size=(chains, 1, K))
    point = path.at(mean + white @ np.linalg.inv(root))
    moved = 0
    for _ in range(3):
        point, probability = transition(path, point, beta, step, leapfrog=4, rng=rng)
        moved += (probability < 0.999).mean()
    after = (point.z[:, 0] - mean) @ root
    assert moved > 0.5  # some are rejected: without the test of Metropolis this would be wrong
    assert abs(np.corrcoef(after[:, 0], white[:, 0, 0])[0, 1]) < 0.9  # and they do move
    for column in (*after.T, after.sum(axis=1) / np.sqrt(2)):
        assert kstest(column, "norm").pvalue > 1e-3
    # what a point carries belongs to its z
    again = path.at(point.z)
    for a, b in zip(point, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_slopes_are_those_of_the_densities(linear):
    model, x, _, _ = linear
    z = np.random.default_rng(4).normal(size=(3, N, K))
    point, h = Path(model, x, model.posterior(x)).at(z), 1e-5
    for k in range(K):
        shift = h * np.eye(K)[k]
        up, down = (Path(model, x, model.posterior(x)).at(z + s) for s in (shift, -shift))
        for beta in (0.0, 0.3, 1.0):
            slope = (up.log_density(beta) - down.log_density(beta)) / (2 * h)
            np.testing.assert_allclose(point.slope(beta)[..., k], slope, atol=1e-6)


def test_a_trajectory_that_diverges_stays_where_it_was(linear):
    model, x, _, _ = linear
    path, rng = Path(model, x), np.random.default_rng(0)
    point = path.at(draw(path.start, 4, N, rng))
    after, probability = transition(path, point, 1.0, 1e5, leapfrog=30, rng=rng)
    assert np.all(probability == 0) and np.abs(after.z).max() < FARTHEST
    np.testing.assert_array_equal(after.z, point.z)


# -- annealing -----------------------------------------------------------------------------------
@pytest.mark.parametrize("start, chains, above", [("posterior", 200, 0.02), ("prior", 400, 0.1)])
def test_annealing_brackets_log_p_from_both_sides(linear, start, chains, above):
    """From the prior the way is longer, and the way back from a single z the noisiest."""
    model, x, z, log_p = linear
    how = {"start": start, "temperatures": 80, "chains": chains, "leapfrog": 3, "block": 10_000}
    low = annealed_log_likelihood(model, x, each=True, **how)
    high = annealed_upper_bound(model, x, z, each=True, **how)
    assert abs(low["log_likelihood"] - log_p.mean()) < 0.02
    assert abs(high["upper_bound"] - log_p.mean()) < above
    for found, name, sign in ((low, "log_likelihood", 1), (high, "upper_bound", -1)):
        assert found["n"] == N and found["chains"] == chains
        assert found[name] == pytest.approx(found[f"{name}s"].mean())
        below = sign * (log_p - found[f"{name}s"])
        error = below.std() / np.sqrt(N)
        assert below.mean() > -4 * error and error < above / 4
        assert found[f"{name}_noise_se"] == pytest.approx(error, rel=0.5)
        assert found["ess"].min() > chains / 10 and found["ess"].max() < chains
        assert 0.55 < found["acceptance"] < 0.75 and found["acceptance_min"] > 0.3


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealed_weights_are_unbiased_for_p_and_backward_ones_for_its_inverse(linear, start):
    """However few the temperatures, and however poor the acceptance."""
    n = 4000
    model, x, _, log_p = one_datum(linear, n)
    how = {"start": start, "chains": 1, "temperatures": 20, "leapfrog": 2, "block": n,
           "each": True}
    forward = np.exp(annealed_log_likelihood(model, x, **how)["log_likelihoods"] - log_p)
    z = model.exact_posterior(x).sample(rng=np.random.default_rng(6))
    backward = np.exp(log_p - annealed_upper_bound(model, x, z, **how)["upper_bounds"])
    for ratios in (forward, backward):
        error = ratios.std() / np.sqrt(n)
        assert abs(ratios.mean() - 1) < 4 * error < 0.12
        assert np.log(ratios).mean() < -4 * np.log(ratios).std() / np.sqrt(n)


def test_from_the_exact_posterior_annealing_is_exact(linear):
    model, x, z, log_p = linear
    how = {"start": "posterior", "chains": 2, "temperatures": 4, "each": True}
    exact = model.with_encoder(None)
    np.testing.assert_allclose(annealed_log_likelihood(exact, x, **how)["log_likelihoods"], log_p)
    np.testing.assert_allclose(annealed_upper_bound(exact, x, z, **how)["upper_bounds"], log_p)


def test_from_the_prior_no_encoder_is_asked(linear):
    model, x, _, log_p = linear

    def encoder(x):
        raise AssertionError("asked")
    found = annealed_log_likelihood(model.with_encoder(encoder), x, temperatures=30, chains=20)
    assert abs(found["log_likelihood"] - log_p.mean()) < 0.2


def test_annealing_sees_what_a_poor_posterior_does_not(linear):
    """q far off: importance weighting is too low, and annealing from the prior is not."""
    model, x = far_off(linear, 2.0)
    with pytest.warns(LowEffectiveSampleSize):
        weighted = vae.log_likelihood(model, x, samples=1000)["log_likelihood"]
    annealed = annealed_log_likelihood(model, x, temperatures=80, chains=60, leapfrog=3)
    assert weighted < annealed["log_likelihood"] - 0.05
    assert abs(annealed["log_likelihood"] - linear[3].mean()) < 0.05


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_a_network_with_bernoulli_pixels_agrees_with_importance_weighting(bernoulli, start):
    model, x = bernoulli
    before = [p.data.copy() for p in mg.nn.parameters(model)]
    found = annealed_log_likelihood(model, x, start=start, temperatures=30, leapfrog=3, block=100)
    again = annealed_log_likelihood(model, x, start=start, temperatures=30, leapfrog=3, block=100)
    weighted = vae.log_likelihood(model, x, samples=2000)
    error = np.hypot(found["log_likelihood_noise_se"], weighted["log_likelihood_noise_se"])
    assert abs(found["log_likelihood"] - weighted["log_likelihood"]) < 4 * error + 0.005
    assert found == again
    for p, b in zip(mg.nn.parameters(model), before, strict=True):
        assert p.grad is None and np.array_equal(p.data, b)


def test_the_schedule_rises_from_0_to_1_slowest_at_its_ends():
    betas = schedule(100)
    assert betas[0] == 0 and betas[-1] == 1 and len(betas) == 101
    steps = np.diff(betas)
    assert np.all(steps > 0) and np.argmax(steps) in (49, 50) and steps[0] < steps[50] / 5
    np.testing.assert_array_equal(schedule([0, 0.2, 1]), [0, 0.2, 1])


BAD = [({"start": "q"}, ValueError, "start='q': chains begin at draws of the 'prior'"),
       ({"chains": 0}, ValueError, "chains=0, leapfrog=10, block=2000: all are at least 1"),
       ({"leapfrog": 0}, ValueError, "leapfrog=0"), ({"block": 0}, ValueError, "block=0"),
       ({"acceptance": 1.0}, ValueError, r"acceptance=1\.0: a probability between 0 and 1"),
       ({"temperatures": 1}, ValueError, "temperatures=1: at least 2 intervals"),
       ({"temperatures": [0, 0.5, 0.4, 1]}, ValueError, "rises from 0 to 1"),
       ({"temperatures": [0.1, 0.5, 1]}, ValueError, "rises from 0 to 1"),
       ({"temperatures": [0, 1]}, ValueError, "something in between")]


@pytest.mark.parametrize("options, error, text", BAD)
def test_annealing_that_makes_no_sense_is_refused(linear, options, error, text):
    with pytest.raises(error, match=text):
        annealed_log_likelihood(*linear[:2], **options)


def test_what_annealing_can_not_move_is_refused(linear):
    exact, x, z, _ = linear
    model = vae.VAE(exact.posterior, exact.likelihood, exact.prior)
    for prior, text in ((vae.Bernoulli(np.zeros(K)), "a Bernoulli, is on integers 0 to 1"),
                        (vae.VonMises(np.zeros(K), np.ones(K)), "a VonMises, is on a circle")):
        with pytest.raises(TypeError, match=text):
            model.given_prior = prior
            annealed_log_likelihood(model, x)
    with pytest.raises(ValueError, match=r"z has shape \(60, 1\), expected \(60, 2\)"):
        annealed_upper_bound(exact, x, z[:, :1])
    with pytest.raises(ValueError, match="no data"):
        annealed_log_likelihood(exact, x[:0])
