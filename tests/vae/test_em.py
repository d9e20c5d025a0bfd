"""vae.exact.em: what EM promises, and what an amortised q adds and takes away."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import minigrad as mg
from vae.distributions.categorical import Categorical
from vae.exact import (
    GaussianMixture,
    LinearGaussian,
    amortized,
    encoder_for,
    exact_em,
    free_em,
)
from vae.exact.derivations import drawn

KINDS = ["mixture", "full mixture", "pca", "factor analysis"]


def a_study(kind, seed, n=120):
    """Where to begin, and data of another model."""
    rng = np.random.default_rng(seed)
    if "mixture" in kind:
        true = GaussianMixture(np.log([0.5, 0.3, 0.2]), 2 * rng.standard_normal((3, 2)),
                               rng.uniform(0.5, 1, (3, 2)))
        x = drawn(true, n, rng)
        means = x[rng.choice(n, 3, replace=False)]
        if kind == "mixture":
            return GaussianMixture(np.zeros(3), means, np.tile(x.std(axis=0), (3, 1))), x
        return GaussianMixture.from_covariances(np.zeros(3), means, np.tile(np.cov(x.T),
                                                                            (3, 1, 1))), x
    std = 0.5 if kind == "pca" else rng.uniform(0.3, 1, 5)
    x = drawn(LinearGaussian(rng.standard_normal((5, 2)), rng.standard_normal(5), std), n, rng)
    return LinearGaussian(0.3 * rng.standard_normal((5, 2)), x.mean(axis=0), 1 + 0 * std), x


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_log_p_never_falls_and_the_bound_touches_it_after_every_e_step(kind, seed):
    model, x = a_study(kind, seed)
    fit = exact_em(model, x, 40)
    assert [(p.step, p.after) for p in fit.trace[:4]] == [(0, "E"), (1, "M"), (1, "E"), (2, "M")]
    log_p, elbo = (np.array([getattr(p, name) for p in fit.trace]) for name in (
        "log_likelihood", "elbo"))
    assert np.all(np.diff(log_p) >= -1e-13) and np.all(np.diff(elbo) >= -1e-13)
    assert log_p[-1] > log_p[0] + 0.05
    after_e = [p for p in fit.trace if p.after == "E"]
    assert max(abs(p.gap) for p in after_e) <= 1e-10
    assert max(abs(p.log_likelihood - p.elbo) for p in after_e) <= 1e-10
    assert all(p.gap > 1e-6 for p in fit.trace[1:6:2])  # θ has moved, q has not
    for p in fit.trace:
        assert p.log_likelihood == pytest.approx(p.elbo + p.gap, rel=1e-12)
    assert fit.trace[-1].log_likelihood == np.mean(fit.model.log_marginal(x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_m_step_is_where_the_gradient_of_the_elbo_is_zero(kind):
    model, x = a_study(kind, 0)
    q = model.exact_posterior(x)
    best = model.m_step(x, q)
    values = [getattr(best, name) for name in best.parameters]
    slopes = mg.grad(lambda *new: np.mean(best.at(*new).elbo(q, x)),
                     tuple(range(len(values))))(*values)
    assert max(np.max(np.abs(g)) for g in slopes) < 1e-12
    assert np.mean(best.elbo(q, x)) > np.mean(model.elbo(q, x))


def test_em_ends_at_the_maximum_of_probabilistic_pca():
    model, x = a_study("pca", 1)
    fit, best = exact_em(model, x, 400), LinearGaussian.most_likely(x, 2)
    assert fit.trace[-1].log_likelihood == pytest.approx(np.mean(best.log_marginal(x)), abs=1e-10)
    np.testing.assert_allclose(fit.model.weight @ fit.model.weight.T, best.weight @ best.weight.T,
                               atol=1e-6)
    assert fit.model.std == pytest.approx(best.std, rel=1e-8)


def test_one_step_on_a_mixture_is_the_textbooks():
    model, x = a_study("mixture", 2)
    weights = np.array([stats.norm(m, s).pdf(x).prod(axis=1) for m, s in zip(
        model.means, model.stds)]).T
    weights /= weights.sum(axis=1, keepdims=True)
    new = exact_em(model, x, 1).model
    for z in range(3):
        mean = np.average(x, axis=0, weights=weights[:, z])
        np.testing.assert_allclose(new.means[z], mean, rtol=1e-10)
        np.testing.assert_allclose(new.stds[z]**2, np.average((x - mean)**2, axis=0,
                                                              weights=weights[:, z]), rtol=1e-10)
        assert np.exp(new.logits[z]) == pytest.approx(weights[:, z].mean(), rel=1e-10)


@pytest.mark.parametrize("kind", ["mixture", "pca"])
def test_a_free_q_lags_behind_and_arrives_with_more_steps(kind):
    model, x = a_study(kind, 0)
    few, many = (free_em(model, x, 15, inner=n).trace for n in (2, 60))
    assert all(p.gap > 0 for p in few) and few[0].after == "E"
    assert many[0].gap < 0.1 * few[0].gap  # at the same θ
    best = exact_em(model, x, 15).trace
    room = best[-1].log_likelihood - best[0].log_likelihood
    behind = [best[-1].log_likelihood - trace[-1].log_likelihood for trace in (few, many)]
    assert abs(behind[1]) < 0.1 * room and behind[1] < behind[0]


@pytest.mark.parametrize("kind, seed", [("mixture", 0), ("pca", 1)])
def test_the_gap_grows_where_phi_is_held_and_both_together_reach_more(kind, seed):
    model, x = a_study(kind, seed)

    def run(learn, steps=150):
        encoder = encoder_for(model, x.shape[1], [12] if kind == "mixture" else [],
                              rng=np.random.default_rng(seed))
        first = amortized(model, encoder, x, 150, lr=0.03, learn=("encoder",)).trace
        return first, amortized(model, encoder, x, steps, lr=mg.optim.warmup(0.03, 20),
                                learn=learn).trace
    first, held = run(["model"])
    assert first[-1].gap < 0.2 * first[0].gap  # φ alone: the bound comes closer
    assert first[-1].log_likelihood == first[0].log_likelihood  # and log p stays
    assert held[0].gap == pytest.approx(first[-1].gap, rel=1e-9)
    assert held[-1].gap > 2 * held[0].gap and held[-1].elbo > held[0].elbo
    joint = run(["model", "encoder"])[1]
    assert joint[-1].gap < 0.5 * held[-1].gap
    assert joint[-1].log_likelihood > held[-1].log_likelihood + 0.01


def test_an_encoder_begins_at_the_prior_of_the_latent():
    for kind in ("mixture", "pca"):
        model, x = a_study(kind, 0)
        encoder = encoder_for(model, x.shape[1], [7], rng=np.random.default_rng(0))
        q = encoder(x).constant()
        if kind == "mixture":
            assert isinstance(q, Categorical) and np.all(np.exp(q.log_probabilities) == 1 / 3)
        else:
            assert np.all(q.mean == 0) and np.all(q.std == 1)
        assert {p.dtype for p in mg.nn.parameters(encoder)} == {np.dtype(np.float64)}


def test_what_is_held_stays_and_the_start_is_left_alone():
    model, x = a_study("pca", 0)
    before = [value.copy() for value in model.free()]
    encoder = encoder_for(model, 5, [], rng=np.random.default_rng(0))
    weights = [p.data.copy() for p in mg.nn.parameters(encoder)]
    fit = amortized(model, encoder, x, 3, learn=("model",))
    assert all(np.array_equal(p.data, w) for p, w in zip(mg.nn.parameters(encoder), weights))
    assert not np.array_equal(fit.model.weight, model.weight)
    assert fit.trace[-1].log_likelihood == np.mean(fit.model.log_marginal(x))
    other = amortized(model, encoder, x, 3, learn=("encoder",))
    assert np.array_equal(other.model.weight, model.weight)
    assert not all(np.array_equal(p.data, w) for p, w in zip(mg.nn.parameters(encoder), weights))
    assert all(np.array_equal(a, b) for a, b in zip(model.free(), before))
    with pytest.raises(ValueError, match="give 'model', 'encoder', or both"):
        amortized(model, encoder, x, 3, learn=("decoder",))


def test_full_covariances_have_no_free_form_and_say_so():
    model, _ = a_study("full mixture", 0)
    with pytest.raises(ValueError, match="of full covariances there is no such form here"):
        model.free()
