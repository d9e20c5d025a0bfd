"""Training in tests, and the comparison of what came of it, bit by bit."""

from __future__ import annotations

import numpy as np

import minigrad as mg
import vae
from vae import estimators


def train(model, x, *, epochs=4, objective=estimators.sgvb_a, lr=1e-2, seed=1, **options):
    return vae.fit(model, x, epochs=epochs, batch_size=40, rng=np.random.default_rng(seed),
                   optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=lr), objective=objective,
                   **options)


def values(model):
    return [p.data.copy() for p in mg.nn.parameters(model)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def check_parameters(model, x, objective, **options):
    """`check_grads` of the summed bound by all parameters of the model, for the same noise."""
    def bound(*values):
        return objective(mg.nn.with_parameters(model, values), x,
                         rng=np.random.default_rng(5)).value.sum()
    mg.check_grads(bound, tuple(p.data for p in mg.nn.parameters(model)), order=1, **options)
