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
