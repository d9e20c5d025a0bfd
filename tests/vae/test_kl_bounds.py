"""What approximates KL: bounds of mixtures against quadrature, estimates against their error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import minigrad as mg
from vae.distributions.gamma import Gamma
from vae.distributions.kl import kl, kl_estimate, kl_upper_bound
from vae.distributions.location_scale import Laplace, Uniform
from vae.distributions.mixture import Mixture
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal
from vae.distributions.normal import Normal

X = np.linspace(-40, 40, 40_001)


def mixture(logits, means, stds):
    return Mixture(np.array(logits), Normal(np.array(means), np.array(stds), event_ndim=0),
                   event_ndim=0)


def divergence(q, p):
    """By the trapezoidal rule, which converges geometrically for smooth densities that vanish."""
    log_q, log_p = q.log_prob(X), p.log_prob(X)
    return np.sum(np.exp(log_q) * (log_q - log_p)) * (X[1] - X[0])


def drawn(data, k):
    def numbers(low, high):
        return data.draw(st.lists(st.floats(low, high), min_size=k, max_size=k))
    return mixture(numbers(-2, 2), numbers(-4, 4), numbers(0.4, 2))


@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_bounds_of_mixtures_are_upper_bounds(data, k, m):
    q, p = drawn(data, k), drawn(data, m)
    simple_q, simple_p = (Normal(x.mean, np.sqrt(x.variance), event_ndim=0) for x in (q, p))
    for a, b in ((q, p), (q, simple_p), (simple_q, p)):
        bound = kl_upper_bound(a, b)
        assert bound.shape == () and bound >= divergence(a, b) - 1e-10


def test_bounds_are_exact_where_they_should_be():
    q = mixture([0.3, -0.2], [-1.0, 2.0], [0.5, 1.0])
    np.testing.assert_allclose(kl_upper_bound(q, q), 0, atol=1e-15)
    single, other = (mixture([0.0], [m], [s]) for m, s in ((0.3, 0.7), (1.0, 1.5)))
    plain = [Normal(x.components.mean[0], x.components.std[0], event_ndim=0)
             for x in (single, other)]
    for a, b in ((single, other), (single, plain[1]), (plain[0], other), plain):
        np.testing.assert_allclose(kl_upper_bound(a, b), kl(*plain), rtol=1e-14)
    far = mixture([0.0, 0.0], [-20.0, 20.0], [0.5, 0.5])  # told apart for certain
    shifted = mixture([1.0, 0.0], [-19.0, 20.0], [0.5, 0.5])
    np.testing.assert_allclose(kl_upper_bound(far, shifted), divergence(far, shifted), rtol=1e-9)


@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
def test_bounds_keep_batches_and_events_apart(batch):
    rng = np.random.default_rng(0)
    k, n = 3, 2
    logits, mean = rng.standard_normal((4, k)), rng.standard_normal((4, k, n))
    low = np.broadcast_to(np.tril(rng.uniform(0.5, 1, (n, n))), (4, k, n, n))
    factor, diagonal = rng.standard_normal((*batch, n, 1)), rng.uniform(0.5, 2, (*batch, n))
    q = Mixture(logits, MultivariateNormal(mean, low))
    p = LowRankNormal(np.zeros((*batch, n)), factor, diagonal)
    found = kl_upper_bound(q, p)
    whole = np.broadcast_shapes(batch, (4,))
    assert found.shape == whole
    for i in np.ndindex(whole):
        j = i[len(i) - len(batch):]
        each = [kl(MultivariateNormal(mean[i[-1], c], low[i[-1], c]),
                   LowRankNormal(np.zeros(n), factor[j], diagonal[j])) for c in range(k)]
        w = np.exp(logits[i[-1]]) / np.exp(logits[i[-1]]).sum()
        assert found[i] == pytest.approx(w @ each, rel=1e-12)


def test_bounds_sum_over_events_of_independent_mixtures():
    rng = np.random.default_rng(1)
    q, p = (Mixture(rng.standard_normal((5, 3, 2)), Normal(
        rng.standard_normal((5, 3, 2)), rng.uniform(0.5, 2, (5, 3, 2)), event_ndim=0),
        event_ndim=1) for _ in range(2))
    whole = kl_upper_bound(q, p)
    q.event_ndim = p.event_ndim = 0
    np.testing.assert_allclose(whole, kl_upper_bound(q, p).sum(-1), rtol=1e-13)


def test_bounds_have_derivatives():
    rng = np.random.default_rng(2)
    args = tuple(0.5 * rng.standard_normal((6, 3)))

    def bound(*a):
        q, p = (Mixture(w, Normal.from_log_std(m, s, event_ndim=0), event_ndim=0)
                for w, m, s in (a[:3], a[3:]))
        return kl_upper_bound(q, p)
    mg.check_grads(bound, args, order=2)


def test_a_component_without_weight_does_not_count():
    unit = Uniform(np.array(0.0), np.array(1.0), event_ndim=0)
    q = Mixture(np.array([0.0, -np.inf]), Uniform(np.array([0.2, 2.0]), np.array([0.7, 3.0]),
                                                  event_ndim=0), event_ndim=0)
    assert kl_upper_bound(q, unit) == pytest.approx(np.log(2))


def test_components_without_closed_form_and_different_events_are_refused():
    q = mixture([0.0, 0.0], [0.0, 1.0], [1.0, 1.0])
    with pytest.raises(TypeError, match=r"KL\(Laplace‖Mixture\).*kl_estimate"):
        kl(Laplace(0.0, 1.0), q)
    with pytest.raises(TypeError, match=r"KL\(Mixture‖Mixture\).*kl_upper_bound"):
        kl(q, q)
    with pytest.raises(ValueError, match="event_ndim is 0 for q and 1 for p"):
        kl_upper_bound(q, Normal.standard(1))


# -- estimates ------------------------------------------------------------------------------------
@pytest.mark.parametrize("control_variate", [False, True])
def test_estimates_err_as_they_say(control_variate):
    rng, n = np.random.default_rng(3), 2000
    mean = rng.standard_normal((n, 2)) / 2
    q, p = Normal(mean, np.full((n, 2), 1.2)), Normal.standard(2)  # p has the lighter tails
    found = kl_estimate(q, p, samples=500, rng=rng, control_variate=control_variate)
    z = (found.value - kl(q, p)) / found.standard_error
    assert found.value.shape == found.standard_error.shape == (n,)
    assert abs(z.mean()) < 0.15 and 0.9 < z.std() < 1.15
    assert stats.kstest(z, stats.norm.cdf).statistic < 0.08
    if control_variate:
        assert np.all(found.value >= 0)


def test_the_control_variate_lessens_the_noise_near_equality():
    errors = [np.mean(kl_estimate(Normal(np.full((50, 1), 0.1), np.ones((50, 1))),
                                  Normal.standard(1), samples=200, rng=np.random.default_rng(4),
                                  control_variate=c).standard_error) for c in (False, True)]
    assert errors[1] < errors[0] / 5


def test_estimates_are_infinite_where_p_has_no_mass():
    q = Normal(np.array([0.0, 50.0]), np.ones(2), event_ndim=0)
    p = Gamma(np.array(2.0), np.array(1.0), event_ndim=0)
    found = kl_estimate(q, p, samples=100, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(np.isinf(found.value), [True, False])
    np.testing.assert_array_equal(np.isinf(found.standard_error), [True, False])
    with pytest.raises(ValueError, match="samples=1"):
        kl_estimate(q, p, samples=1, rng=np.random.default_rng(5))


def test_the_gradient_of_an_estimate_goes_through_the_draws():
    def estimate(mean):
        q = Normal(mean, np.full(3, 0.5))
        return kl_estimate(q, Normal.standard(3), samples=4000, rng=np.random.default_rng(6)).value
    mean = np.array([0.5, -1.0, 2.0])
    np.testing.assert_allclose(mg.grad(estimate)(mean), mean, atol=0.05)
