"""examples/traversals.py: dimensions by their KL, and the direction of an attribute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "traversals.py"


def test_kl_says_which_dimension_changes_the_image_and_an_attribute_does_what_it_is_named_for(
        example, tmp_path):
    assert example.main(["--quick", "--out", str(tmp_path)]) == 0
    for name in ("plane-traversals", "plane-attribute"):
        assert colours(tmp_path / f"{name}.png") > 20
    found = json.loads((tmp_path / "traversals.json").read_text())
    assert sorted(found["dimension"]) == list(range(10))
    assert found["kl"] == sorted(found["kl"], reverse=True)
    assert found["changed"][0] > found["changed"][-1]
    assert np.all(np.diff(found["ink"]) > 0)


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "traversals.py: --out" in capsys.readouterr().err
