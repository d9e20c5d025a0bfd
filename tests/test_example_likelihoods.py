"""examples/likelihoods.py: numbers and pictures are written, and say what they should."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.pictures import colours
from vae.likelihoods import FOR_IMAGES, mse_weights

SCRIPT = Path(__file__).parents[1] / "examples" / "likelihoods.py"


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    out, printed = tmp_path_factory.mktemp("likelihoods"), io.StringIO()
    with redirect_stdout(printed):
        assert example.main(["--quick", "--out", str(out)]) == 0
    return out, json.loads((out / "likelihoods.json").read_text()), printed.getvalue()


def test_pictures_are_written(run):
    for name in ("likelihoods", "likelihood-std", "likelihood-intervals"):
        assert colours(run[0] / f"{name}.png") > 20


def test_each_likelihood_has_its_bound_and_bits_where_it_is_one(run):
    rows = {row["likelihood"]: row for row in run[1]["images"]}
    assert list(rows) == list(FOR_IMAGES) and rows["bernoulli"]["bits"] is None
    bits = {name: row["bits"] for name, row in rows.items() if name != "bernoulli"}
    assert all(0 < b < 16 for b in bits.values())
    assert bits["squared-error"] > 8 > bits["gaussian-datum"]  # σ = 0.7 is worse than uniform


def test_intervals_cover_about_what_a_gaussian_does(run):
    assert run[1]["covered"] == {"1": pytest.approx(68.3, abs=3), "2": pytest.approx(95.4, abs=2),
                                 "3": pytest.approx(99.7, abs=0.5)}


def test_what_is_printed_are_the_weights_and_a_line_for_each_likelihood(run):
    assert mse_weights(784) in run[2] and "bernoulli " in run[2] and "no likelihood" in run[2]
    assert all(any(line.startswith(name) for line in run[2].splitlines()) for name in FOR_IMAGES)


def test_numbers_come_alone_where_no_pictures_are_asked_for(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "FOR_IMAGES", {})
    assert example.main(["--quick", "--no-plots", "--out", str(tmp_path)]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["likelihoods.json"]


def test_a_folder_that_cant_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert example.main(["--quick", "--out", str(tmp_path / "file")]) == 2
    assert "can't be written" in capsys.readouterr().err
