"""examples/anomalies.py: digits left out, the baseline, and an image without ink."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "anomalies.py"

pytestmark = pytest.mark.usefixtures("isolated")


def test_numbers_and_a_picture_are_written_and_simple_images_score_low(example, tmp_path, capsys):
    assert example.main(["--quick", "--samples", "5", "--out", str(tmp_path)]) == 0
    assert colours(tmp_path / "anomalies.png") > 50
    rows = json.loads((tmp_path / "anomalies.json").read_text())["rows"]
    assert [row["digit"] for row in rows] == [0, 1]
    for row in rows:
        values, errors = np.transpose([row["auroc"][name] for name in example.COMPARED])
        assert ((values > 0) & (values < 1) & (errors > 0) & (errors < 0.1)).all()
        assert row["difference"][0] == pytest.approx(
            row["auroc"]["-log p"][0] - row["auroc"][example.PCA][0])
        # the pitfall: at 5 % false alarms no image at all passes for a digit
        assert row["simple"]["false alarms"]["-log p"] > 0.05
    assert rows[0]["auroc"]["-log p"][0] > 0.75 and rows[1]["auroc"]["-log p"][0] < 0.6
    assert "an image without ink: -log p = " in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["--out", "file/below"], "anomalies.py: --out"),
    (["--data", "nowhere"], "no MNIST in nowhere")])
def test_what_it_cannot_use_is_named(example, tmp_path, capsys, arguments, message):
    (tmp_path / "file").write_text("mine")
    assert example.main(arguments) == 2
    assert message in capsys.readouterr().err
