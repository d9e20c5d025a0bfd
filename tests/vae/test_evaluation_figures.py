"""Pictures of the evaluation are written and show what was found; the example runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from vae import figures
from vae.distributions import Estimate
from vae.evaluation.aggregate import Decomposition
from vae.evaluation.gap import Gaps
from vae.evaluation.latent import ActiveUnits

SCRIPT = Path(__file__).parents[2] / "examples" / "latent.py"
ACTIVE = np.array([True, False, True])
KL = Estimate(np.array([1.0, 0.01, 2.0]), np.array([0.1, 0.001, 0.2]))
UNITS = ActiveUnits(ACTIVE, np.array([0.5, 0.001, 0.9]), 2)
ROWS = [{"beta": beta, "rate": 5 / beta, "rate_se": 0.1, "distortion": 80 + 2 * beta,
         "distortion_se": 1.0, "elbo": -80 - 2 * beta - 5 / beta} for beta in (0.5, 1.0, 4.0)]
PARTS = {name: Decomposition(Estimate(4.0, 0.1), Estimate(2.5, 0.1), Estimate(1.5, 0.1),
                             Estimate(0.5, 0.1), Estimate(np.array([0.7, 0.3]), np.ones(2)))
         for name in ("β = 1", "β = 4")}
EACH = Estimate(np.array([1.0, 3.0]), np.array([0.1, 0.1]))
GAPS = {"β = 1": Gaps(EACH, EACH, EACH, EACH, EACH, None)}
CALLS = {
    "kl": lambda path: figures.kl_bars(path, KL, UNITS, "a"),
    "rate": lambda path: figures.rate_distortion(path, ROWS, "a"),
    "parts": lambda path: figures.decomposition(path, PARTS, 3.0, "a"),
    "gaps": lambda path: figures.gaps(path, GAPS, "a"),
    "all": lambda path: figures.overview(path, kl=KL, units=UNITS, parts=PARTS, limit=3.0,
                                         rows=ROWS, found=GAPS, name="a"),
}


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """axes(name): those of the figure that the call writes, which is checked to be a picture."""
    seen, savefig = [], Figure.savefig

    def remember(figure, *args, **options):
        seen.append(figure)
        return savefig(figure, *args, **options)
    monkeypatch.setattr(Figure, "savefig", remember)

    def axes(name):
        CALLS[name](tmp_path / "a.png")
        picture = imread(tmp_path / "a.png")
        assert picture.ndim == 3 and picture[..., :3].std() > 0.05
        return seen[-1].axes
    return axes


def test_kl_bars_are_sorted_and_coloured_by_activity(drawn):
    axes, = drawn("kl")
    bars = {round(bar.get_x() + bar.get_width() / 2): bar for bar in axes.patches}
    assert [bars[k].get_height() for k in range(3)] == [2.0, 1.0, 0.01]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "0", "1"]
    colors = [bars[k].get_facecolor() for k in range(3)]
    assert colors[0] == colors[1] != colors[2]
    assert "3.0 nats in 3 dimensions" in axes.get_title()


def test_the_curve_has_a_point_for_each_beta_and_the_line_of_the_largest_elbo(drawn):
    axes, = drawn("rate")
    points, line = axes.lines[0].get_xydata(), axes.lines[-1].get_xydata()
    np.testing.assert_allclose(points, [[row["rate"], row["distortion"]] for row in ROWS])
    np.testing.assert_allclose(line.sum(axis=1), 87)
    assert [text.get_text() for text in axes.texts] == ["β = 0.5", "β = 1", "β = 4"]


def test_stacks_add_up(drawn):
    for name, total in (("parts", 4.0), ("gaps", 4.0)):
        axes, = drawn(name)
        assert max(bar.get_y() + bar.get_height() for bar in axes.patches) == pytest.approx(total)


def test_the_overview_shows_all_four(drawn):
    assert len(drawn("all")) == 4


def test_the_example_runs(example, tmp_path):
    assert example.main(["--quick", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "latent.json").read_text())
    assert [row["beta"] for row in found["rate_distortion"]] == list(example.FEW)
    assert len(found["kl_per_dimension"]) == 20
    assert imread(tmp_path / "latent.png").std() > 0.05


def test_the_example_refuses_a_folder_it_cannot_write(example, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert example.main(["--out", str(tmp_path / "file")]) == 2
    assert "can't be written" in capsys.readouterr().err
