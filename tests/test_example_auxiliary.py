"""examples/auxiliary.py: two modes with an auxiliary variable, in numbers and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "auxiliary.py"


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    out = tmp_path_factory.mktemp("auxiliary")
    assert example.main(["--quick", "--out", str(out)]) == 0
    return out, json.loads((out / "auxiliary.json").read_text())


def test_the_marginal_of_two_modes_has_a_smaller_gap_than_the_best_gaussian(run):
    _, found = run
    assert found["modes"][1:] == [2, 2]
    assert (np.array(found["marginal"])[1:] < np.array(found["gaussian"])[1:] - 0.1).all()


def test_the_bound_with_u_is_looser_than_that_of_the_marginal(run):
    _, found = run
    loose = np.array(found["bound"]) - found["marginal"]
    assert (loose > 4 * np.array(found["bound_se"])).all()


def test_the_best_gaussian_of_two_modes_far_apart_has_one(example):
    log_p, _ = example.log_posterior(np.array([[4.0]]))
    log_q = example.best_gaussian(log_p[:, 0])
    assert example.divergence(log_q, log_p[:, 0]) == pytest.approx(np.log(2), abs=0.02)


def test_the_picture_has_several_colours(run):
    assert colours(run[0] / "auxiliary.png") > 50


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "auxiliary.py: --out" in capsys.readouterr().err
