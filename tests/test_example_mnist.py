"""examples/mnist.py: what it writes, what it prints, and how it refuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import minigrad as mg
import vae

SCRIPT = Path(__file__).parents[1] / "examples" / "mnist.py"
KEYS = {"dataset", "n_train", "n_test", "epochs", "seed", "parameters", "train_bound", "test_elbo",
        "test_reconstruction", "test_kl", "test_nll", "test_nll_samples", "binarize",
        "seconds_per_epoch", "images_per_second"}
PICTURES = {"reconstructions.png", "samples.png", "curves.png"}
FILES = {"metrics.json", "history.csv", "history.json", "parameters.npz", "report.html"}
PICTURES_2D = {"manifold.png", "scatter.png"}
SMALL = ["--epochs", "2", "--hidden", "24", "--batch-size", "50", "--nll-samples", "20"]


pytestmark = pytest.mark.usefixtures("isolated")


@pytest.fixture
def run(example, digits, monkeypatch, tmp_path, capsys):
    """Run it on small digits; the code, the folder, the metrics and what was printed."""
    monkeypatch.setattr(vae.data, "load", lambda *args, **options: digits)

    def call(*arguments, out="out"):
        folder = tmp_path / out
        code = example.main([*SMALL, *arguments, "--out", str(folder)])
        return code, folder, json.loads((folder / "metrics.json").read_text()), \
            capsys.readouterr().out
    return call


@pytest.fixture
def no_training(monkeypatch):
    def fit(*args, **options):
        raise AssertionError("training has begun")
    monkeypatch.setattr(vae, "fit", fit)


def test_everything_is_written_and_consistent(run, digits, example):
    code, out, metrics, text = run("--latent", "2")
    assert code == 0
    assert {p.name for p in out.iterdir()} == FILES | PICTURES | PICTURES_2D
    for name in PICTURES | PICTURES_2D:
        assert min(imread(out / name).shape[:2]) > 100 and str(out / name) in text

    assert set(metrics) >= KEYS
    assert {k: metrics[k] for k in ("dataset", "n_train", "n_test", "epochs", "seed", "binarize",
                                    "test_nll_samples", "interrupted", "measure", "unit")} == {
        "dataset": "embedded digits", "n_train": 500, "n_test": 200, "epochs": 2, "seed": 0,
        "binarize": "dynamic", "test_nll_samples": 20, "interrupted": False,
        "measure": "log-likelihood", "unit": "nats per image"}
    assert metrics["parameters"] == 785 * 24 + 25 * 4 + 3 * 24 + 25 * 784
    assert metrics["test_elbo"] == pytest.approx(metrics["test_reconstruction"]
                                                 - metrics["test_kl"], rel=1e-5)
    assert -784 * np.log(2) < metrics["test_elbo"] < -50 and metrics["test_kl"] > 0
    assert 0 < metrics["test_nll"] <= -metrics["test_elbo"] + 0.5
    assert metrics["images_per_second"] == pytest.approx(500 / metrics["seconds_per_epoch"])

    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["train_bound"]) == metrics["train_bound"]
    assert float(rows[-1]["test_elbo"]) == metrics["test_elbo"]
    assert float(rows[1]["train_bound"]) > float(rows[0]["train_bound"])
    assert f"{metrics['test_elbo']:.2f}" in text and f"{-metrics['test_nll']:.2f}" in text

    model = vae.dense_vae(784, [24], 2, rng=np.random.default_rng(9), activation=mg.relu)
    mg.nn.load(out / "parameters.npz", model)
    test = vae.data.binarization("dynamic", digits).evaluation(example.flat(digits.test))
    assert vae.evaluate(model, test)["elbo"] == metrics["test_elbo"]


def test_the_convolutional_model_writes_the_same_and_has_defaults_of_its_own(run, example):
    code, out, metrics, _ = run("--model", "conv", "--nll-images", "50")
    assert code == 0 and {p.name for p in out.iterdir()} >= PICTURES
    assert metrics["model"] == "conv" and metrics["test_nll_images"] == 50
    model = vae.conv_vae(hidden=24, n_z=64, rng=np.random.default_rng(9))
    assert metrics["parameters"] == sum(p.size for p in mg.nn.parameters(model))
    mg.nn.load(out / "parameters.npz", model)
    assert -784 * np.log(2) < metrics["test_elbo"] < -50
    assert metrics["options"]["latent"] == 64 and metrics["options"]["epochs"] == 2
    first, *_, last = csv.DictReader((out / "history.csv").read_text().splitlines())
    assert float(last["train_bound"]) > float(first["train_bound"])
    assert example.parse([]).latent == 20 and example.parse(["--model", "conv"]).batch_size == 128


def test_the_convolutional_model_takes_images_of_other_sizes(example, digits):
    args = example.parse(["--model", "conv"])
    train = example.flat(digits.train[:, :20, 3:])
    model = example.build(args, (20, 25), train, np.random.default_rng(0))
    assert model.reconstruct(train[:2]).shape == (2, 500)


def test_the_convolutional_model_has_one_dense_layer(example, capsys):
    with pytest.raises(SystemExit):
        example.parse(["--model", "conv", "--hidden", "100", "50"])
    assert "give --hidden one number" in capsys.readouterr().err


def test_several_draws_of_z_are_taken_in_each_step(run, monkeypatch):
    asked = []

    def elbo(model, x, *, rng, samples=1, original=vae.elbo):
        asked.append(samples)
        return original(model, x, rng=rng, samples=samples)
    monkeypatch.setattr(vae, "elbo", elbo)
    code, _, metrics, _ = run("--draws", "3")
    assert code == 0 and metrics["options"]["draws"] == 3 and set(asked) == {3}


def test_the_same_seed_gives_the_same_numbers(run):
    def numbers(*arguments):
        _, out, metrics, _ = run("--no-plots", *arguments, out=str(len(arguments)) + arguments[-1])
        with np.load(out / "parameters.npz") as file:
            return [metrics[k] for k in ("train_bound", "test_elbo", "test_nll")], dict(file)
    (one, weights), (two, same) = numbers("--seed", "3"), numbers("--lr", "1e-3", "--seed", "3")
    assert one == two and numbers("--seed", "4")[0] != one
    assert all(np.array_equal(weights[k], same[k]) for k in weights)
    assert numbers("--binarize", "none", "--seed", "3")[0][0] != one[0]  # training saw coins


def test_without_plots_there_are_none_and_more_than_two_dimensions_have_no_map(run):
    _, out, _, text = run("--no-plots", "--latent", "2")
    assert not list(out.glob("*.png")) and "pictures" not in text
    _, out, _, _ = run("--latent", "3", out="three")
    assert {p.name for p in out.glob("*.png")} == PICTURES


def test_plain_lines_where_no_terminal_is(run):
    text = run("--no-plots")[3]
    assert not set("\r\x1b") & set(text)
    assert [line.split("  ")[0] for line in text.splitlines() if line.startswith("epoch")] == [
        "epoch 1/2", "epoch 2/2"]


@pytest.mark.parametrize("binarize, measure", [("none", "cross-entropy"),
                                               ("static", "log-likelihood")])
def test_the_number_is_called_what_it_is(run, digits, binarize, measure):
    _, _, metrics, text = run("--binarize", binarize, "--no-plots")
    assert (metrics["binarize"], metrics["measure"]) == (binarize, measure)
    other, = {"cross-entropy", "log-likelihood"} - {measure}
    numbers = [line for line in text.splitlines() if "bound" in line and "nats (" in line]
    assert len(numbers) == 1 and measure in numbers[0] and other not in numbers[0]
    assert f"the bound is a {measure}" in text
    grey = "cross-entropy taken for a likelihood" in {f["name"] for f in metrics["findings"]}
    assert grey is (binarize == "none")
    assert ("drawn once, seed 0" in metrics["dataset"]) is (binarize == "static")


def test_options_reach_the_model(run):
    for options in (["--activation", "tanh"], ["--init", "pytorch"], ["--no-start"],
                    ["--hidden", "20", "10"]):
        _, _, metrics, _ = run(*options, "--epochs", "1", "--no-plots", out=options[-1])
        assert metrics["options"][options[0].strip("-").replace("-", "_")]
    assert metrics["parameters"] == 785 * 20 + 21 * 10 + 11 * 40 + 21 * 10 + 11 * 20 + 21 * 784


def test_ctrl_c_saves_what_there_is(run, example, monkeypatch):
    step = example.Progress.step

    def interrupted(self, epoch, number, bound):
        if epoch == 2:
            raise KeyboardInterrupt
        step(self, epoch, number, bound)
    monkeypatch.setattr(example.Progress, "step", interrupted)
    code, out, metrics, text = run("--epochs", "5")
    assert code == 130 and metrics["interrupted"] and metrics["epochs"] == 1
    assert "interrupted in epoch 2" in text
    assert {p.name for p in out.iterdir()} == FILES | PICTURES


# -- refusals ----------------------------------------------------------------------------------
def test_a_place_that_cannot_be_written_is_found_before_training(example, tmp_path, capsys,
                                                                 no_training):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "below", tmp_path / "file"):
        assert example.main(["--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"mnist.py: --out {out} can't be written: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_missing_data_folder_is_named(example, tmp_path, capsys, no_training):
    missing = tmp_path / "nowhere"
    assert example.main(["--data", str(missing), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mnist.py: ") and str(missing) in error and error.count("\n") == 1


@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--latent", "--nll-samples",
                                    "--hidden"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_numbers_that_cannot_be_are_refused(example, capsys, no_training, option, value):
    with pytest.raises(SystemExit) as error:
        example.main([option, value])
    assert error.value.code == 2 and option in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--seed", "-1"], ["--lr", "-1"], ["--lr", "nan"]])
def test_absurd_settings_are_refused_without_a_traceback(example, tmp_path, digits, monkeypatch,
                                                         no_training, options):
    monkeypatch.setattr(vae.data, "load", lambda *args: digits)
    try:
        code = example.main([*options, "--out", str(tmp_path)])
    except SystemExit as error:
        code = error.code
    assert code == 2


# -- as a program ------------------------------------------------------------------------------
def program(*arguments, **environment):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], text=True, timeout=60,
                          capture_output=True, cwd=SCRIPT.parents[1],
                          env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), **environment})


def test_it_runs_as_a_program_on_idx_files(tmp_path, digits):
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = np.round(255 * getattr(digits, split)[..., 0]).astype(np.uint8)
        labels = getattr(digits, f"{split}_labels").astype(np.uint8)
        for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (tmp_path / f"{stem}-{kind}-ubyte").write_bytes(header + array.tobytes())
    ran = program("--quick", "--data", tmp_path, "--out", tmp_path / "out", "--no-plots")
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["n_train"], metrics["n_test"], metrics["epochs"]) == (500, 200, 2)
    assert "\r" not in ran.stdout and "epoch 2/2" in ran.stdout


REAL = os.environ.get("MINIGRAD_DATA")


@pytest.mark.skipif(not REAL, reason="MINIGRAD_DATA is not set: no real MNIST here")
@pytest.mark.parametrize("binarize", ["dynamic", "static"])
def test_quick_on_mnist(tmp_path, binarize):
    ran = program("--quick", "--binarize", binarize, "--out", tmp_path, MINIGRAD_DATA=REAL)
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["dataset"].startswith("MNIST") and metrics["n_test"] == 1000
    assert metrics["test_nll"] < -metrics["test_elbo"] < 190
    assert ("Larochelle" in metrics["binarization"]) is (binarize == "static")
    assert {p.name for p in tmp_path.glob("*.png")} == PICTURES
