"""Every picture is written, can be read, and shows what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import minigrad as mg
from vae import VAE, Bernoulli, Normal, dense_vae, estimators, exact, figures, lab

SHAPE = (4, 3)
ROWS = [{"epoch": k, "train_objective": -85.0 + k, "train_bound": -90.0 + k,
         "train_reconstruction": -70.0 + k, "train_kl": 20.0,
         "test_elbo": -91.0 + k, "test_reconstruction": -71.5 + k, "test_kl": 19.5, "seconds": 1.0}
        for k in (1, 2, 3)]

COMPARED = lab.compare(lambda z: (z**2).sum(-1), Normal(np.zeros(2), np.ones(2)),
                       [estimators.pathwise, estimators.score], rng=np.random.default_rng(0),
                       repetitions=100, exact={"mean": np.zeros(2), "log_std": np.full(2, 2.0)})
PANELS = [{"title": "falls", "xlabel": "draws", "ylabel": "variance", "log": "xy",
           "series": {"a": ([1, 2], [3.0, 1.5], [0.1, 0.1]), "b": ([1, 2], [5.0, 2.0], [0, 0])}},
          {"title": "bars", "xlabel": "", "ylabel": "norm", "ticks": ["one", "two"],
           "series": {"a": ([0, 1], [3.0, 1.5], [0, 0])}}]
TRACE = [exact.Point(k, after, -2 + 0.1 * k, 0.1 * (after == "M"), -1.9 + 0.1 * k)
         for k in range(5) for after in "EM"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def model(rng):
    return dense_vae(12, (8,), 2, rng=rng)


@pytest.fixture
def x(rng):
    return rng.random((30, 12), np.float32)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written, in order."""
    seen, savefig = [], Figure.savefig

    def remember(figure, *args, **options):
        seen.append(figure)
        return savefig(figure, *args, **options)
    monkeypatch.setattr(Figure, "savefig", remember)
    return seen


WRITERS = {
    "sheet": lambda path, model, x: figures.sheet(path, x.reshape(-1, *SHAPE), 5, "a title"),
    "labelled_rows": lambda path, model, x: figures.labelled_rows(
        path, {"some": x[:9].reshape(-1, *SHAPE), "nothing": None,
               "smaller": x[:7].reshape(-1, *SHAPE)[:, ::2, ::3]}, "a title"),
    "side_by_side": lambda path, model, x: figures.side_by_side(
        path, {"one": x.reshape(-1, *SHAPE), "other": x.reshape(-1, *SHAPE)}, "a title", columns=5),
    "reconstructions": lambda path, model, x: figures.reconstructions(path, model, x, SHAPE, "d"),
    "samples": lambda path, model, x: figures.samples(path, model, SHAPE, "digits"),
    "curves": lambda path, model, x: figures.curves(path, ROWS, "digits", "log-likelihood"),
    "manifold": lambda path, model, x: figures.manifold(path, model, SHAPE, "digits"),
    "scatter": lambda path, model, x: figures.scatter(path, model, x, np.arange(30) % 10, "digits"),
    "estimators": lambda path, model, x: figures.estimators(path, {"a q": COMPARED}),
    "effects": lambda path, model, x: figures.effects(path, PANELS),
    "em_traces": lambda path, model, x: figures.em_traces(
        path, [("a mixture", {"EM": TRACE}, "the truth", -1.0)]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_function_writes_a_picture_of_sensible_size(tmp_path, model, x, name):
    for path in (tmp_path / "a.png", str(tmp_path / "b.png")):
        WRITERS[name](path, model, x)
        picture = imread(path)
        height, width = picture.shape[:2]
        assert 200 <= height <= 3000 and 400 <= width <= 3000
        assert picture[..., :3].std() > 0.02  # not blank
        assert 1_000 < Path(path).stat().st_size < 2_000_000
    assert not any(p.grad is not None for p in mg.nn.parameters(model))


def test_every_figure_is_drawn_by_a_test_or_by_an_example_which_a_test_runs():
    root = Path(__file__).parents[2]
    callers = "".join(path.read_text(encoding="utf-8") for folder in ("tests", "examples")
                      for path in (root / folder).rglob("*.py"))
    assert {name for name in figures.__all__ if f"figures.{name}(" not in callers} == set()


def test_the_same_model_gives_the_same_file(tmp_path, model, x):
    for name in ("samples", "reconstructions"):
        for k in (1, 2):
            WRITERS[name](tmp_path / f"{name}{k}.png", model, x)
        np.testing.assert_array_equal(imread(tmp_path / f"{name}1.png"),
                                      imread(tmp_path / f"{name}2.png"))
    figures.samples(tmp_path / "other.png", model, SHAPE, "digits", seed=1)
    assert not np.array_equal(imread(tmp_path / "other.png"), imread(tmp_path / "samples1.png"))


def test_tiled_places_images_row_by_row_with_a_gap_of_white():
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1) / 10 * np.ones((5, 2, 3), np.float32)
    found = figures.tiled(images, 2)
    assert found.shape == (3 * 2 + 2, 2 * 3 + 1) and found.dtype == np.float32
    for i, (y, x) in enumerate([(0, 0), (0, 4), (3, 0), (3, 4), (6, 0)]):
        np.testing.assert_array_equal(found[y:y + 2, x:x + 3], images[i])
    assert np.all(found[2] == 1) and np.all(found[:, 3] == 1)  # the gaps
    assert np.all(found[6:, 4:] == 1)  # a place without an image
    assert figures.tiled(images, 5, gap=2).shape == (2, 5 * 3 + 4 * 2)
    np.testing.assert_array_equal(figures.tiled(images[:1], 1), images[0])


@pytest.mark.parametrize("n", [20, 13, 4])
def test_each_image_stands_above_its_reconstruction(monkeypatch, tmp_path, model, x, n):
    sheets = []
    monkeypatch.setattr("vae.figures.models.sheet",
                        lambda path, images, columns, title: sheets.append((images, columns)))
    figures.reconstructions(tmp_path / "r.png", model, x[:n], SHAPE, "digits")
    (images, columns), = sheets
    again = mg.nn.frozen(model).reconstruct(x)
    for i in range(n):
        row, column = divmod(i, columns)
        above = 2 * row * columns + column
        np.testing.assert_array_equal(images[above], x[i].reshape(SHAPE))
        np.testing.assert_allclose(images[above + columns], again[i].reshape(SHAPE), rtol=1e-5)


def test_grey_levels_mean_the_same_in_every_sheet(tmp_path, drawn):
    figures.sheet(tmp_path / "s.png", np.full((4, *SHAPE), 0.25, np.float32), 2, "grey")
    image, = drawn[0].axes[0].images
    assert image.get_clim() == (0, 1) and image.get_cmap().name == "gray"
    assert drawn[0].axes[0].get_title() == "grey"


def test_the_manifold_shows_z1_to_the_right_and_z2_upwards(monkeypatch, tmp_path):
    sheets = []
    monkeypatch.setattr("vae.figures.models.sheet",
                        lambda path, images, *rest: sheets.append(images))
    code = VAE(None, lambda z: Normal(z, np.ones_like(z)), Normal.standard(2))
    figures.manifold(tmp_path / "m.png", code, (1, 2), "codes", side=5)
    grid = sheets[0].reshape(5, 5, 2)
    steps = np.array([-2.05375, -0.64335, 0, 0.64335, 2.05375])  # 2, 26, 50, 74, 98 %
    for k in range(5):
        np.testing.assert_allclose(grid[k, :, 0], steps, atol=1e-5)
        np.testing.assert_allclose(grid[:, k, 1], -steps, atol=1e-5)


def test_curves_plot_the_rows_and_say_the_measure(tmp_path, drawn):
    figures.curves(tmp_path / "c.png", ROWS, "digits", "cross-entropy")
    only_train = [{k: v for k, v in row.items() if not k.startswith("test")} for row in ROWS]
    figures.curves(tmp_path / "c.png", only_train, "digits", "cross-entropy")
    columns = [("train_bound", "test_elbo", "train_objective"),
               ("train_reconstruction", "test_reconstruction"), ("train_kl", "test_kl")]
    for axes, names in zip(drawn[0].axes, columns, strict=True):
        for line, name in zip(axes.lines, names, strict=True):
            assert line.get_label() in (name.partition("_")[0], "train, objective")
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_array_equal(line.get_ydata(), [r[name] for r in ROWS])
        assert axes.get_ylabel() == "nats per image" and axes.get_xlabel() == "epoch"
    assert "cross-entropy" in drawn[0].axes[0].get_title()
    assert [len(axes.lines) for axes in drawn[1].axes] == [2, 1, 1]
    plain = [{**row, "train_objective": row["train_bound"]} for row in only_train]
    figures.curves(tmp_path / "c.png", plain, "digits", "cross-entropy")
    assert [len(axes.lines) for axes in drawn[2].axes] == [1, 1, 1]  # which is the bound


def test_scatter_shows_posterior_means_by_class(tmp_path, drawn):
    z = np.arange(12.0).reshape(6, 2)
    code = VAE(lambda x: Normal(x, np.ones_like(x)), Bernoulli, Normal.standard(2))
    labels = np.array([7, 2, 7, 7, 2, 7])
    figures.scatter(tmp_path / "s.png", code, z, labels, "codes")
    points = {c.get_label(): c.get_offsets().data for c in drawn[0].axes[0].collections}
    assert set(points) == {"2", "7"}
    np.testing.assert_array_equal(points["2"], z[labels == 2])
    np.testing.assert_array_equal(points["7"], z[labels == 7])


def test_the_file_leaves_pyplot_and_its_windows_alone(tmp_path):
    code = ("import sys, numpy as np; from vae import figures;"
            f"figures.sheet({str(tmp_path / 'a.png')!r}, np.zeros((2, 3, 3)), 2, 't');"
            "print('matplotlib.pyplot' in sys.modules)")
    root = Path(figures.__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True,
                         check=True, timeout=60)
    assert run.stdout.strip() == "False" and (tmp_path / "a.png").is_file()
