"""examples/plane.py: what the two terms of the ELBO do to codes in a plane."""

from __future__ import annotations

import json
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "plane.py"


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    out = tmp_path_factory.mktemp("plane")
    assert example.main(["--quick", "--out", str(out)]) == 0
    return out, json.loads((out / "plane.json").read_text())


def test_pictures_are_written(run):
    for name in ("scatter", "box", "path", "forces", "rates"):
        assert colours(run[0] / f"plane-{name}.png") > 20


def test_without_the_kl_sigma_falls_and_mu_spreads_and_with_it_alone_they_are_the_priors(run):
    rows = {row["objective"]: row for row in run[1]["forces"]}
    both = rows["β = 1"]
    assert rows["reconstruction only"]["sigma"] <= 0.2 * both["sigma"]
    assert rows["reconstruction only"]["mu"] > 2 * both["mu"]
    for name in ("KL only", "β = 100"):
        assert rows[name]["sigma"] == pytest.approx(1, abs=0.05)
        assert rows[name]["mu"] < 0.1 * both["mu"]


def test_more_beta_is_less_rate_and_more_distortion(run):
    rows = run[1]["rate_distortion"]
    assert [row["beta"] for row in rows] == [0.25, 1, 4, 100]
    for less, more in pairwise(rows):
        assert more["rate"] < less["rate"] and more["distortion"] > less["distortion"]


def test_paths_are_smoother_in_the_plane_of_the_vae(run):
    for row in run[1]["paths"]:
        if "smoother_by" in row and row["path"] == "lerp":
            gain, error = row["smoother_by"]
            assert row["model"] == "VAE" and gain > 3 * error
            break
    else:
        pytest.fail("no row tells how much smoother the VAE is")


def test_distances_are_told_with_their_ratio(run):
    decoded = run[1]["decoded"]
    assert len(run[1]["ratio"]) == 2
    for (name, ratio), kind in product(run[1]["ratio"].items(), ("distance", "relative")):
        assert ratio[kind] == decoded[name][kind][0] / decoded["prior"][kind][0]
        # no direction is asserted: on MNIST the autoencoder's holes are *nearer* to the data, since
        # many decode to a thin 1, and of the corners half are rubbish (docs/plane.md)
        assert all(error > 0 for _, error in (row[kind] for row in decoded.values()))
        by_box = decoded[name]["by_box"]
        assert np.mean(by_box) == pytest.approx(decoded[name]["distance"][0])
        assert run[1]["farther"][name] == np.sum(np.array(by_box) > decoded["prior"]["distance"][0])


def test_pairs_are_of_different_classes(example):
    labels = np.arange(300) % 3
    i, j = example.different(labels, 50, np.random.default_rng(0))
    assert len(i) == len(j) == 50 and (labels[i] != labels[j]).all()


def test_what_cannot_be_read_or_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--quick", "--out", str(tmp_path / "file" / "below")]) == 2
    assert "plane.py: --out" in capsys.readouterr().err
    assert example.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "plane.py: " in capsys.readouterr().err
