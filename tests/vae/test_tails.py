"""Where probabilities are tiny: quantiles of Beta near 0, and coins that are all but certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.beta import Beta

log_shapes = st.floats(-2, 3)


def test_quantiles_of_beta_where_scipys_are_nan():
    p = np.array([1e-19, 1e-17])
    q = Beta(1.04, 0.657, event_ndim=0)
    x = q.icdf(p)
    np.testing.assert_allclose(x, [8.13368766e-19, 6.81340828e-17], rtol=1e-8)
    np.testing.assert_allclose(q.cdf(x), p, rtol=1e-13)


@given(log_shapes, log_shapes, st.floats(-30, -1))
def test_quantiles_of_beta_are_the_inverse_of_its_cdf(log_a, log_b, log_p):
    q, p = Beta(10**log_a, 10**log_b, event_ndim=0), np.array(10**log_p)
    x = q.icdf(p)
    if 1e-300 < x < 0.9:
        assert q.cdf(x) == pytest.approx(p, rel=1e-10)


def test_quantiles_of_beta_near_0_have_derivatives():
    def log_quantile(log_p, a, b):
        return np.log(Beta(a, b, event_ndim=0).icdf(np.exp(log_p)))
    log_p, a, b = np.log([1e-19, 1e-15, 1e-12]), np.array([1.04, 0.5, 1.0]), np.full(3, 1.7)
    mg.check_grads(log_quantile, (log_p, a, b), order=2)
    beside = [mg.grad(lambda t: log_quantile(t, 1.3, 4.0))(np.log(t)) for t in (2e-11, 1e-11)]
    np.testing.assert_allclose(beside, 1 / 1.3, rtol=1e-7)  # on both sides of where the series is


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_entropy_of_coins_that_are_all_but_certain(dtype):
    logits = np.array([-60, -40, -17, 20, 50], dtype)

    def entropy(logits):
        return Bernoulli(logits, event_ndim=0).entropy()
    size = np.abs(logits)
    rel = 1e-5 if dtype is np.float32 else 1e-13
    odds = np.exp(-size.astype(np.float64))
    exact = np.log1p(odds) + size * odds / (1 + odds)
    np.testing.assert_allclose(entropy(logits), exact, rtol=rel)
    slopes = mg.grad(lambda logits: entropy(logits).sum())(logits)
    np.testing.assert_allclose(slopes, -logits * odds / np.square(1 + odds), rtol=rel)
    mg.check_grads(entropy, (np.array([-3.0, 0.0, 1.0]),), order=2)
