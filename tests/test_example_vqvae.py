"""examples/vqvae.py: codes, what they cost under three priors, and a picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import colours
from vae.figures import codes as figures
from vae.models import dense_vqvae

SCRIPT = Path(__file__).parents[1] / "examples" / "vqvae.py"


def test_numbers_and_a_picture_are_written(example, tmp_path, capsys):
    assert example.main(["--quick", "--epochs", "2", "--out", str(tmp_path)]) == 0
    assert colours(tmp_path / "vqvae.png") > 50
    found = json.loads((tmp_path / "vqvae.json").read_text())
    assert found["kl"] == pytest.approx(49 * math.log(128), rel=1e-6)
    assert found["bits"]["uniform"] == pytest.approx(49 * 7, rel=1e-12)
    assert found["bits"]["masked"] < found["bits"]["counted"] < 0.6 * found["bits"]["uniform"]
    assert 1 < found["perplexity"] <= found["used"] <= 128
    assert "bits an image" in capsys.readouterr().out


def test_codes_of_a_row_are_drawn_too(tmp_path):
    rng = np.random.default_rng(0)
    model = dense_vqvae(12, (5,), 3, 7, 2, rng=rng)
    x = rng.random((6, 12), np.float32)
    figures.codes(tmp_path / "codes.png", model, x, (4, 3), model.usage(x),
                  {"uniform": model.sample(4, rng=rng).data}, "a name")
    assert colours(tmp_path / "codes.png") > 20


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "vqvae.py: --out" in capsys.readouterr().err
