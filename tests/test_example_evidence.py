"""examples/evidence.py: estimates of a log p(x) that is known."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "evidence.py"


def test_bounds_close_in_from_their_sides(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "REPEATS", 4)
    assert example.main(["--quick", "--out", str(tmp_path)]) == 0
    assert colours(tmp_path / "evidence.png") > 20
    weighted, effective, annealed = (panel["series"] for panel in json.loads(
        (tmp_path / "evidence.json").read_text())["panels"])
    for _, values, _ in weighted.values():
        assert values == sorted(values) and values[0] < -1  # below, and nearer with more draws
    last = [values[-1] for _, values, _ in weighted.values()]
    assert last == sorted(last, reverse=True)  # nearer with a better q
    assert all(values[0] == 1 for _, values, _ in effective.values())
    (_, below, _), (_, above, _) = annealed["below"], annealed["above"]
    assert below[0] < above[-1] < above[0]


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "evidence.py: --out" in capsys.readouterr().err
