"""The relaxed draws of REBAR given the hard one, against the formulas of the papers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

import minigrad as mg
from tests.vae.expectations import CATEGORIES
from vae import Bernoulli
from vae.distributions.categorical import OneHotCategorical
from vae.estimators import rebar
from vae.estimators.discrete import _relaxed_pair, _relaxed_pair_of_coins


def test_the_toss_given_moves_as_tucker_et_al_write_it():
    """z̃ = logit θ + logit v', v' = vθ + 1 - θ for b = 1 and v(1 - θ) for b = 0; v from u."""
    logits = np.linspace(-3, 3, 7)
    u = np.random.default_rng(0).random((50, 7))
    hard, free, given = _relaxed_pair_of_coins(Bernoulli(logits), (50,), np.random.default_rng(0))
    theta = expit(logits)
    u = 1 - u  # theirs is b = 1 for u > 1 - θ
    v = np.where(hard == 1, (u - (1 - theta)) / theta, u / (1 - theta))

    def theirs(logits):
        theta = mg.sigmoid(logits)
        w = np.where(hard == 1, v * theta + 1 - theta, v * (1 - theta))
        return logits + np.log(w) - np.log(1 - w)
    np.testing.assert_array_equal(hard, u > 1 - theta)
    np.testing.assert_allclose(free, logits + logit(u), rtol=1e-9)
    np.testing.assert_allclose(given, theirs(logits), rtol=1e-8)
    cotangent = np.random.default_rng(1).standard_normal((50, 7))
    found = mg.vjp(lambda a: _relaxed_pair_of_coins(
        Bernoulli(a), (50,), np.random.default_rng(0))[2], logits)[1](cotangent)[0]
    np.testing.assert_allclose(found, mg.vjp(theirs, logits)[1](cotangent)[0], rtol=1e-7)


def test_the_category_given_moves_as_grathwohl_et_al_write_it():
    """z̃ᵢ = -log(-log vᵢ/pᵢ - log v_b), z̃_b = -log(-log v_b), with the v that gives z again."""
    rows = np.tile(CATEGORIES, (200, 1))
    hard, free, given = _relaxed_pair(OneHotCategorical(rows), (), np.random.default_rng(0))
    p = np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)
    winner = np.sum(hard * np.exp(-free), axis=-1, keepdims=True)  # -log v_b
    other = p * (np.exp(-free) - winner)  # -log vᵢ

    def theirs(logits):
        p = mg.softmax(logits)
        return np.where(hard == 1, -np.log(winner), -np.log(other / p + winner))
    np.testing.assert_array_equal(hard, np.eye(4)[np.argmax(free, axis=-1)])
    np.testing.assert_allclose(given, theirs(rows), rtol=1e-9)
    cotangent = np.random.default_rng(1).standard_normal((200, 4))
    found = mg.vjp(lambda a: _relaxed_pair(
        OneHotCategorical(a), (), np.random.default_rng(0))[2], rows)[1](cotangent)[0]
    np.testing.assert_allclose(found, mg.vjp(theirs, rows)[1](cotangent)[0], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [30.0, 1e4])
@pytest.mark.parametrize("make", [Bernoulli, OneHotCategorical])
def test_absurd_logits_give_finite_gradients(make, scale, dtype):
    logits = scale * np.random.default_rng(0).standard_normal((500, 3)).astype(dtype)
    value, slope = mg.value_and_grad(lambda a: np.sum(rebar(
        lambda z: np.square(z).sum(-1), make(a), rng=np.random.default_rng(1), samples=3)))(logits)
    assert value.dtype == slope.dtype == dtype
    assert np.all(np.isfinite(slope)) and np.isfinite(value)
