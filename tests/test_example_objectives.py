"""examples/objectives.py: six objectives, one bound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "objectives.py"


@pytest.fixture
def run(example, isolated, monkeypatch, digits, tmp_path):
    monkeypatch.setattr("vae.data.load", lambda data: digits)
    monkeypatch.setattr(type(digits), "take", lambda self, *n: self)
    assert example.main(["--quick", "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out", json.loads((tmp_path / "out" / "objectives.json").read_text())


def test_it_writes_numbers_and_a_picture(run):
    out, found = run
    assert colours(out / "objectives.png") > 20
    assert list(found) == ["ELBO", "β = 4", "warm-up", "cyclical", "capacity", "free bits"]
    for one in found.values():
        assert len(one["rows"]) == 4 and 0 <= one["active_units"] <= 20
    weights = [row["kl_weight"] for row in found["warm-up"]["rows"]]
    assert weights == sorted(weights) and weights[-1] == 1 and weights[0] < 1
    assert found["β = 4"]["test"]["kl"] < found["ELBO"]["test"]["kl"] < found["warm-up"]["test"][
        "kl"] + 10
    assert "kl_weight" not in found["ELBO"]["rows"][0]


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "objectives.py: --out" in capsys.readouterr().err
