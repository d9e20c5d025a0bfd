"""examples/cnn.py: what it learns, what it prints, and how it refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import vae

SCRIPT = Path(__file__).parents[1] / "examples" / "cnn.py"
REAL = os.environ.get("MINIGRAD_DATA")
EPOCH = re.compile(r"epoch (\d+)/(\d+)  loss (\d+\.\d+)  test accuracy (\d+\.\d+)%  \d+\.\d s")
LAST = re.compile(r"test accuracy (\d+\.\d+)% ± (\d+\.\d+)% \(standard error\)")
SMALL = ["--epochs", "3", "--batch-size", "25"]


pytestmark = pytest.mark.usefixtures("isolated")


@pytest.fixture
def run(example, digits, monkeypatch, capsys):
    """Run it on small digits; the code and the lines printed."""
    def call(*arguments, data=digits):
        monkeypatch.setattr(vae.data, "load", lambda *args: data)
        code = example.main([*SMALL, *map(str, arguments)])
        return code, capsys.readouterr().out.splitlines()
    return call


@pytest.fixture
def no_training(example, monkeypatch):
    def train(*args):
        raise AssertionError("training has begun")
    monkeypatch.setattr(example, "train", train)


def numbers(lines):
    """Of the lines of the epochs: (epoch, epochs, loss, accuracy); and the last line's two."""
    epochs = [tuple(map(float, m.groups())) for m in map(EPOCH.fullmatch, lines) if m]
    return epochs, tuple(map(float, LAST.fullmatch(lines[-1]).groups()))


def test_it_learns_says_how_and_writes_nothing(run, tmp_path):
    code, lines = run()
    assert code == 0 and lines[0] == "embedded digits: 500 training and 200 test images"
    parameters = 26 * 16 + (9 * 16 + 1) * 32 + 801 * 128 + 129 * 10
    assert lines[1] == f"{parameters:,} parameters, seed 0" and len(lines) == 2 + 3 + 1
    epochs, (right, error) = numbers(lines)
    assert [e[:2] for e in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert epochs[-1][2] < epochs[0][2] and epochs[-1][3] == right > 50  # chance is 10
    assert error == pytest.approx(100 * np.sqrt(right / 100 * (1 - right / 100) / 200), abs=0.006)
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_numbers(run):
    one, two, other = (numbers(run("--seed", seed)[1]) for seed in (3, 3, 4))
    assert one == two and other[0] != one[0]


def test_out_keeps_what_was_trained(run, example, digits, tmp_path):
    code, lines = run("--out", tmp_path / "new" / "cnn.npz")
    model = example.build(10, np.random.default_rng(9))
    mg.nn.load(tmp_path / "new" / "cnn.npz", model)
    assert code == 0 and 100 * example.accuracy(model, digits) == pytest.approx(
        numbers(lines)[1][0])
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["cnn.npz"]
    with np.load(tmp_path / "new" / "cnn.npz") as file:
        assert {array.dtype for array in file.values()} == {np.dtype(np.float32)}


def test_as_many_classes_as_there_are_labels(run, digits):
    letters = replace(digits, train_labels=digits.train_labels + 16,
                      test_labels=digits.test_labels + 16)
    code, lines = run("--epochs", "1", data=letters)
    assert code == 0
    assert lines[1].startswith(f"{26 * 16 + (9 * 16 + 1) * 32 + 801 * 128 + 129 * 26:,} param")


def test_ctrl_c_reports_what_there_is(run, monkeypatch, tmp_path):
    step = mg.optim.Adam.step

    def interrupted(self):
        if self.steps == 30:  # of 20 an epoch
            raise KeyboardInterrupt
        step(self)
    monkeypatch.setattr(mg.optim.Adam, "step", interrupted)
    code, lines = run("--out", tmp_path / "cnn.npz")
    epochs, (right, _) = numbers(lines)
    assert code == 130 and len(epochs) == 1 and lines[-2].startswith("interrupted")
    assert right > 10 and (tmp_path / "cnn.npz").stat().st_size > 400_000


# -- refusals ----------------------------------------------------------------------------------
@pytest.mark.parametrize("option", ["--epochs", "--batch-size"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "²"])
def test_numbers_that_cannot_be_are_refused(example, capsys, no_training, option, value):
    with pytest.raises(SystemExit) as error:
        example.main([option, value])
    assert error.value.code == 2 and option in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--seed", "-1"], ["--lr", "-1"], ["--lr", "nan"],
                                     ["--lr", "fast"]])
def test_absurd_settings_are_refused_without_a_traceback(example, capsys, no_training, options):
    with pytest.raises(SystemExit) as error:
        example.main(options)
    assert error.value.code == 2 and options[0] in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_found_before_training(example, digits, monkeypatch,
                                                                 tmp_path, capsys, no_training):
    monkeypatch.setattr(vae.data, "load", lambda *args: digits)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file" / "below"):
        assert example.main(["--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("cnn.py: ") and str(out.parent) in error and error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


# -- as a program ------------------------------------------------------------------------------
def program(*arguments, **environment):
    began = time.perf_counter()
    ran = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], text=True, timeout=60,
                         capture_output=True, cwd=SCRIPT.parents[1],
                         env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), **environment})
    return ran, time.perf_counter() - began


def test_a_missing_data_folder_is_named(tmp_path):
    ran, _ = program("--data", tmp_path / "nowhere")
    assert ran.returncode == 2 and ran.stdout == ""
    assert ran.stderr.startswith("cnn.py: ") and ran.stderr.count("\n") == 1
    assert str(tmp_path / "nowhere") in ran.stderr


def test_quick_on_idx_files(tmp_path, digits):
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = np.round(255 * getattr(digits, split)[..., 0]).astype(np.uint8)
        labels = getattr(digits, f"{split}_labels").astype(np.uint8)
        for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (tmp_path / f"{stem}-{kind}-ubyte").write_bytes(header + array.tobytes())
    ran, seconds = program("--quick", "--data", tmp_path, "--batch-size", 25)
    assert ran.returncode == 0 and ran.stderr == "" and seconds < 20, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0] == f"IDX data in {tmp_path.name}: 500 training and 200 test images"
    epochs, (right, _) = numbers(lines)
    assert len(epochs) == 3 and right > 50


@pytest.mark.skipif(not REAL, reason="MINIGRAD_DATA is not set: no real MNIST here")
def test_quick_on_mnist():
    ran, seconds = program("--quick", MINIGRAD_DATA=REAL)
    assert ran.returncode == 0 and ran.stderr == "" and seconds < 20, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0] == ("MNIST, 10000+2000 images: 10000 training and 2000 test images")
    epochs, (right, error) = numbers(lines)
    assert len(epochs) == 3 and right > 94 and 0 < error < 0.6
