"""examples/priors.py: what a better prior gains, and what one Gaussian can't do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vae
from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "priors.py"


@pytest.fixture(scope="module")
def found(example, tmp_path_factory):
    out = tmp_path_factory.mktemp("priors")
    assert example.main(["--quick", "--out", str(out)]) == 0
    for name in ("plane-priors-pinwheel", "plane-gaussian"):
        assert colours(out / f"{name}.png") > 20
    return json.loads((out / "priors.json").read_text())


def test_a_mixture_reaches_a_higher_bound_on_the_pinwheel(found):
    rows = found["data"]["pinwheel"]
    assert set(rows) == {"N(0, I)", "mixture", "VampPrior", "flow"}
    assert rows["mixture"]["elbo_gain"][0] > 0.1 and rows["mixture"]["log_p_gain"][0] > 0.1
    for row in rows.values():
        assert row["elbo"][0] < row["log_p"][0]
        assert -0.05 < row["bias"][0] <= 0


def test_log_p_by_weights_is_that_by_a_lattice(example):
    x = example.pinwheel(200, rng=np.random.default_rng(0))
    model = example.trained("mixture", x, 20, 0)
    weighted = vae.log_likelihood(model, x[:30], samples=2_000)
    exact = example.log_marginal(model, x[:30], far=8.0, side=500).mean()
    error = weighted["log_likelihood_noise_se"] - weighted["log_likelihood_bias"]
    assert abs(weighted["log_likelihood"] - exact) < 5 * error + 1e-3


def test_one_gaussian_stays_far_from_two_modes(found, example):
    forward, reverse = found["one_gaussian"]["KL(p‖q)"], found["one_gaussian"]["KL(q‖p)"]
    assert forward["kl"] > 0.1 and reverse["kl"] > 0.1
    assert forward["mean"] == pytest.approx(0, abs=1e-8)  # between the modes
    assert forward["std"] == pytest.approx(np.sqrt(4.25), rel=1e-6)  # 2² + ½²
    assert abs(reverse["mean"]) == pytest.approx(2, abs=0.01)  # on one of them
    assert reverse["kl"] == pytest.approx(np.log(2), abs=0.001)  # which has half of the mass
    z = vae.Normal(np.zeros(()), np.array(2.0)).sample((200_000,), rng=np.random.default_rng(0))
    weights = np.exp(example.bimodal(z) - vae.Normal(np.zeros(()), np.array(2.0)).log_prob(z))
    assert weights.mean() == pytest.approx(1, abs=5 * weights.std() / np.sqrt(len(z)))


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "priors.py: --out" in capsys.readouterr().err
