"""examples/conditional.py: digits of a class, judged by real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "conditional.py"

pytestmark = pytest.mark.usefixtures("isolated")


def test_samples_are_judged_beside_real_images_and_baselines(example, tmp_path, capsys):
    assert example.main(["--quick", "--epochs", "5", "--latent", "3", "--out", str(tmp_path)]) == 0
    assert colours(tmp_path / "conditional.png") > 50
    real, ours, plain, means = json.loads((tmp_path / "conditional.json").read_text())["rows"]
    assert real["accuracy"] > 0.9 and plain["accuracy"] < 0.2  # ten classes
    assert ours["accuracy"] > 2 * plain["accuracy"]
    assert means["accuracy"] > 0.9 and means["variety"] == pytest.approx(0, abs=1e-6)
    assert means["recall"] == 0 and 0 < ours["variety"] < real["variety"]
    assert "conditional VAE, class given" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["--out", "file/below"], "conditional.py: --out"),
    (["--data", "nowhere"], "no MNIST in nowhere")])
def test_what_it_cannot_use_is_named(example, tmp_path, capsys, arguments, message):
    (tmp_path / "file").write_text("mine")
    assert example.main(arguments) == 2
    assert message in capsys.readouterr().err
