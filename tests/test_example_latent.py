"""examples/latent.py: what codes hold, in numbers and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "latent.py"


def test_numbers_and_a_picture_are_written(example, tmp_path, capsys):
    assert example.main(["--quick", "--out", str(tmp_path)]) == 0
    assert colours(tmp_path / "latent.png") > 20
    found = json.loads((tmp_path / "latent.json").read_text())
    assert [row["beta"] for row in found["rate_distortion"]] == [0.5, 1, 4]
    for row in found["rate_distortion"]:
        assert row["elbo"] == pytest.approx(-row["distortion"] - row["rate"], rel=1e-5)
    assert len(found["kl_per_dimension"]) == 20 and 0 <= found["active"] <= 20
    assert "approximation" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "latent.py: --out" in capsys.readouterr().err
