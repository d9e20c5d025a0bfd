"""examples/ladder.py: bounds lie below log p(x) and in order, and the ladder's parts are right."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import vae
from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "ladder.py"


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    out = tmp_path_factory.mktemp("ladder")
    assert example.main(["--quick", "--out", str(out)]) == 0
    return out, json.loads((out / "ladder.json").read_text())


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(5)
    model = vae.exact.LinearGaussian(rng.normal(size=(4, 2)), rng.normal(size=4), 0.8)
    return model, model.likelihood(rng.normal(size=(7, 2))).sample(rng=rng)


def test_every_bound_lies_below_and_the_ladder_is_climbed(run):
    out, found = run
    assert colours(out / "ladder.png") > 20
    for name, rungs in found.items():
        exact = rungs["log p(x)"][0]
        for value, error in rungs.values():
            assert value < exact + 4 * error + 1e-9, name
        off = [rungs[rung] for rung in rungs if "off by" in rung or rung[:4] in ("IWAE", "AIS,")]
        assert len(off) == 4
        for (low, a), (high, b) in pairwise(off):
            assert high - low > -3 * math.hypot(a, b)
        assert off[-1][0] - off[0][0] > 5 * math.hypot(off[0][1], off[-1][1])


def test_richer_posteriors_leave_smaller_gaps(run):
    for name, rungs in run[1].items():
        exact, diagonal, full = (rungs[rung][0] for rung in (
            "log p(x)", "ELBO, best diagonal q", "ELBO, best full-covariance q"))
        assert diagonal < full - 0.01
        if "linear" in name:
            assert abs(exact - full) < 1e-3 < exact - diagonal
        else:
            flow, error = rungs["ELBO, q with flows"]
            assert full + 3 * error < flow < exact + 4 * error


def test_nodes_give_the_elbo_of_the_closed_form(example, linear):
    model, x = linear
    for full in (False, True):
        encoder = example.LinearEncoder(4, 2, full=full)
        encoder.log_diagonal.data[...] = -0.3, 0.2
        if full:
            encoder.below.data[...] = [[9.0, 9.0], [0.7, 9.0]]
        q = encoder(x).constant()
        found = example.gaussian_elbo(vae.VAE(encoder, model.likelihood, model.prior), x)
        np.testing.assert_allclose(found.value.data, model.elbo(q, x), rtol=1e-12)


def test_the_diagonal_fit_is_the_best_one(example, linear):
    """The posterior's mean, and one over the diagonal of its precision as variance."""
    model, x = linear
    best = example.fitted(model, x, example.LinearEncoder(4, 2, full=False), example.gaussian_elbo,
                          steps=400, lr=0.05, rng=None)
    posterior, q = model.exact_posterior(x), best.posterior(x)
    np.testing.assert_allclose(q.mean, posterior.mean, atol=2e-3)
    precision = np.eye(2) + model.weight.T @ model.weight / model.std**2
    np.testing.assert_allclose(q.variance[0], 1 / np.diagonal(precision), rtol=2e-3)


def test_quadrature_of_the_banana_agrees_with_one_over_z1_alone(example):
    """Given z₁, x is N(-z₁² - z₁, 3² + ½²): one integral less."""
    model, x = example.banana()
    z = np.linspace(-15, 15, 20_001)
    log_p = (vae.Normal(0.0, 1.5, event_ndim=0).log_prob(z)
             + vae.Normal(-z**2 - z, math.hypot(3, 0.5), event_ndim=0).log_prob(x[0, 0]))
    assert example.by_quadrature(model, x) == pytest.approx(
        math.log(np.exp(log_p).sum() * (z[1] - z[0])), abs=1e-9)


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "ladder.py: --out" in capsys.readouterr().err
