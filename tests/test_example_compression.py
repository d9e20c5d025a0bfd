"""examples/compression.py: bytes that are counted, beside PCA and zlib."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

import vae
from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "compression.py"

pytestmark = pytest.mark.usefixtures("isolated")


def test_bits_and_errors_of_each_step_are_written(example, tmp_path, capsys):
    assert example.main(["--quick", "--epochs", "1", "--out", str(tmp_path)]) == 0
    assert colours(tmp_path / "compression.png") > 50
    found = json.loads((tmp_path / "compression.json").read_text())
    for name, curve in found["curves"].items():
        bits, psnr = [m["bits"] for m in curve.values()], [m["psnr"] for m in curve.values()]
        assert bits == sorted(bits) and max(psnr) < 40
        if not name.startswith("KL"):  # 26 bytes and what is rounded, over 200 images
            for m in curve.values():
                assert m["ideal_bits"] <= m["bits"] < m["ideal_bits"] + 8 * 27 / found["n"]
    pca = [m["psnr"] for m in found["curves"]["PCA, 100 components"].values()]
    assert pca == sorted(pca)
    row, = found["rows"]
    assert row["beta"] == 4 and row["vae"]["bits"] < row["prior_bits"] * 1.05
    grey = np.rint(255 * vae.data.embedded(600, 200).test).astype(np.uint8)
    assert found["zlib_bits"] == 8 * len(zlib.compress(grey.tobytes(), 9)) / 200
    assert "without loss: zlib" in capsys.readouterr().out


def test_pca_is_compared_at_the_same_rate(example):
    curve = {2.0: example.Compressed(10.0, 10.0, 0.1, 10.0),
             1.0: example.Compressed(30.0, 30.0, 0.01, 20.0)}
    assert [example.pca_at(curve, bits) for bits in (5, 10, 15, 30, 99)] == [10, 10, 12.5, 20, 20]


@pytest.mark.parametrize("arguments, message", [
    (["--out", "file/below"], "compression.py: --out"),
    (["--data", "nowhere"], "no MNIST in nowhere")])
def test_what_it_cannot_use_is_named(example, tmp_path, capsys, arguments, message):
    (tmp_path / "file").write_text("mine")
    assert example.main(arguments) == 2
    assert message in capsys.readouterr().err
