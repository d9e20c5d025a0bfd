"""Models and data that the tests of evaluation share; of the first, log p(x) is known."""

from __future__ import annotations

import numpy as np
import pytest

import vae

N, D, K = 60, 5, 2


@pytest.fixture(scope="module")
def linear():
    """A linear-Gaussian model with a posterior that is off, and its data: model, x, z, log p(x)."""
    rng = np.random.default_rng(3)
    exact = vae.exact.LinearGaussian(rng.normal(size=(D, K)), rng.normal(size=D), 1.5)

    def imperfect(x):  # no spread is too small, or weights would have no variance
        q = exact.exact_posterior(x)
        return vae.Normal(q.mean + 0.25, 1.5 * np.sqrt(q.variance))
    z = rng.normal(size=(N, K))
    x = exact.likelihood(z).sample(rng=rng)
    return exact.with_encoder(imperfect), x, z, exact.log_marginal(x)


@pytest.fixture(scope="module")
def bernoulli():
    """An untrained dense model in float32, and binary data."""
    rng = np.random.default_rng(0)
    model = vae.dense_vae(30, (12,), 3, rng=rng)
    return model, (rng.random((23, 30)) < 0.4).astype(np.float32)


def one_datum(linear, n):
    """n copies of the first datum, and its log p(x)."""
    model, x, z, log_p = linear
    return model, np.tile(x[:1], (n, 1)), np.tile(z[:1], (n, 1)), log_p[0]


def far_off(linear, shift):
    model, x, _, _ = linear

    def encoder(x):
        q = model.exact_posterior(x)
        return vae.Normal(q.mean + shift, np.sqrt(q.variance))
    return model.with_encoder(encoder), x
