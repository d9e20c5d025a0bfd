"""examples/flows.py: its targets, its numbers, its picture; bad arguments are named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "flows.py"


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    out = tmp_path_factory.mktemp("flows")
    assert example.main(["--quick", "--out", str(out)]) == 0
    rows = json.loads((out / "flows.json").read_text())["rows"]
    return out, {(row["target"], row["posterior"]): row for row in rows}


def test_the_normalisers_are_those_in_closed_form(example):
    banana, modes = (target.log_normaliser() for target in example.TARGETS.values())
    assert banana == pytest.approx(math.log(2 * math.pi * 1.5 * 0.5), abs=1e-9)
    # each hill is a Gaussian of covariance 0.36 I, sheared
    assert modes == pytest.approx(math.log(2 * math.pi * 0.72), abs=1e-9)


def test_no_bound_is_above_log_p(run):
    _, rows = run
    assert len(rows) == 14
    for row in rows.values():
        assert row["gap"] > -5 * row["error"]
        assert row["elbo"] + row["gap"] == pytest.approx(row["log_p"])


def test_the_surface_of_a_flow_is_its_density_there(example):
    model = example.families(3)["coupling, 4"]
    rng = np.random.default_rng(0)
    for p in example.mg.nn.parameters(model):
        p.data[...] = rng.normal(0, 0.3, p.shape)
    x, y, density = example.surface(model, example.TARGETS["banana"].shown, points=9)
    q = example.mg.nn.frozen(model)()
    np.testing.assert_allclose(density, np.exp(q.log_prob(np.stack((x, y), -1))), rtol=1e-8)


def test_the_picture_has_colours(run):
    image = matplotlib.image.imread(run[0] / "flows.png")
    assert image.shape[0] > 600 and len(np.unique(image[::5, ::5, 0])) > 20


def test_bad_arguments_are_named(example, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert example.main(["--quick", "--out", str(blocked)]) == 2
    assert "can't be written" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        example.main(["--steps", "0"])
    assert "whole number of 1 or more" in capsys.readouterr().err
