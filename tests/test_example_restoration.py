"""examples/restoration.py: what a VAE restores, beside simple ways, in numbers and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "restoration.py"
PICTURES = {"denoising", "inpainting-lower-half", "inpainting-random-half",
            "inpainting-square-of-10-x-10", "super-resolution"}


@pytest.fixture(scope="module")
def written(example, tmp_path_factory):
    out = tmp_path_factory.mktemp("restoration")
    assert example.main(["--quick", "--out", str(out)]) == 0
    return out


def test_the_vae_beats_the_simple_ways_even_in_a_few_seconds(written):
    found = {name: {way: value for way, (value, _) in ways.items()} for name, ways in
             json.loads((written / "restoration.json").read_text())["psnr"].items()}
    denoised = found.pop("denoising, σ = 0.5")
    assert denoised["VAE, E[x|y]"] > denoised["noisy"] + 2
    enlarged = found.pop("super-resolution, x4")
    assert enlarged["VAE, E[x|y]"] > max(enlarged["nearest"], enlarged["bicubic"])
    assert len(found) == 3
    for inpainted in found.values():
        assert inpainted["VAE, E[x|seen]"] > max(inpainted["mean of the training data"],
                                                 inpainted["nearest seen pixel"])


def test_there_is_a_picture_of_each_use(written):
    assert {path.stem for path in written.glob("*.png")} == PICTURES
    assert all(colours(path) > 20 for path in written.glob("*.png"))


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "restoration.py: --out" in capsys.readouterr().err
