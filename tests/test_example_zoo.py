"""examples/zoo.py: models side by side, and going on where it was interrupted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import vae
from tests.pictures import colours
from vae import figures

SCRIPT = Path(__file__).parents[1] / "examples" / "zoo.py"
QUICK = ["--quick", "--only", "dense", "autoencoder", "pca"]


@pytest.fixture(scope="module")
def compared(example, tmp_path_factory):
    """The folder of a comparison of three models with two seeds each."""
    out = tmp_path_factory.mktemp("zoo")
    assert example.main([*QUICK, "--seeds", "2", "--no-plots", "--out", str(out)]) == 0
    return out


def read(out, name):
    return json.loads((out / f"{name}.json").read_text())


def test_a_table_is_written_three_ways(example, compared, capsys):
    assert example.main([*QUICK, "--seeds", "2", "--no-plots", "--out", str(compared)]) == 0
    text = capsys.readouterr().out
    with open(compared / "zoo.csv", encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["dense", "autoencoder", "pca"]
    runs = [read(compared, f"dense-{seed}") for seed in (0, 1)]
    values = [run["elbo"] for run in runs]
    assert float(rows["dense"]["elbo"]) == pytest.approx(np.mean(values))
    assert float(rows["dense"]["elbo_se"]) == pytest.approx(abs(values[0] - values[1]) / 2)
    assert rows["autoencoder"]["elbo"] == rows["pca"]["log_p"] == ""
    assert int(float(rows["dense"]["parameters"])) == (785 * 24 + 25 * 24 + 25 * 10 + 6 * 24
                                                       + 25 * 24 + 25 * 784)
    assert f"{np.mean(values):.2f} ± {abs(values[0] - values[1]) / 2:.2f}" in text
    table = (compared / "zoo.md").read_text()
    assert table.count("\n| ") == 4 and "no bound on log p(x)" in table and "2 seeds" in table
    assert example.escaped(["log p(x|y)"]) == [r"log p(x\|y)"]  # a cell, not two


def test_what_is_there_is_not_trained_again(example, compared, monkeypatch):
    def trained(*args):
        raise AssertionError("trained again")
    monkeypatch.setattr(example, "trained", trained)
    assert example.main([*QUICK, "--seeds", "2", "--no-plots", "--out", str(compared)]) == 0


def test_the_missing_ones_are_trained_after_an_interruption(example, monkeypatch, tmp_path, capsys):
    asked, original = [], example.trained

    def trained(name, *args):
        asked.append(name)
        if asked == ["pca", "dense"]:
            raise KeyboardInterrupt
        return original(name, *args)
    monkeypatch.setattr(example, "trained", trained)
    given = ["--quick", "--only", "pca", "dense", "--no-plots", "--out", str(tmp_path)]
    assert example.main(given) == 130
    assert "1 of 2 are in" in capsys.readouterr().err and not (tmp_path / "zoo.csv").exists()
    assert example.main(given) == 0 and asked == ["pca", "dense", "dense"]
    assert (tmp_path / "zoo.csv").exists()


def test_time_ends_training(example, digits, monkeypatch, tmp_path):
    monkeypatch.setattr(vae.data, "load", lambda *args: digits)
    assert example.main(["--only", "dense", "--hidden", "10", "--latent", "2", "--minutes", "0.001",
                         "--test-images", "50", "--nll-samples", "5", "--no-plots", "--out",
                         str(tmp_path)]) == 0
    found = read(tmp_path, "dense-0")
    assert 0 < found["epochs"] < 100 and found["setting"]["test"] == 50


def test_pictures_and_a_page(example, compared):
    assert example.main([*QUICK, "--out", str(compared)]) == 0
    assert colours(compared / "samples.png") > 5
    page = (compared / "zoo.html").read_text()
    assert "Models side by side" in page and "dense.test ELBO, nats" in page


def test_reconstructions_are_below_their_images(tmp_path):
    x = np.linspace(0, 1, 13 * 16, dtype=np.float32).reshape(13, 16)
    figures.pairs(tmp_path / "pairs.png", x, 1 - x, (4, 4), "13 images")
    assert colours(tmp_path / "pairs.png") > 5


# -- refusals -------------------------------------------------------------------------------------
def test_another_comparison_is_not_mixed_in(example, compared, capsys):
    assert example.main([*QUICK, "--minutes", "2", "--out", str(compared)]) == 2
    error = capsys.readouterr().err
    assert "is of another comparison: minutes 3.0 there, 2.0 now" in error
    assert "Give another --out" in error


def test_damaged_results_are_named(example, tmp_path, capsys):
    (tmp_path / "pca-0.json").write_text("{")
    assert example.main(["--quick", "--only", "pca", "--out", str(tmp_path)]) == 2
    assert "pca-0.json is damaged" in capsys.readouterr().err


def test_a_model_that_fails_does_not_stop_the_others(example, monkeypatch, tmp_path, capsys):
    original = example.trained

    def trained(name, *args):
        if name == "dense":
            raise ValueError("no good")
        return original(name, *args)
    monkeypatch.setattr(example, "trained", trained)
    assert example.main(["--quick", "--only", "dense", "pca", "--no-plots", "--out",
                         str(tmp_path)]) == 1
    assert "zoo.py: dense, seed 0: no good" in capsys.readouterr().err
    assert "pca" in (tmp_path / "zoo.md").read_text()


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "zoo.py: --out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        example.main(["--minutes", "0"])
