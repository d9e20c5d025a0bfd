"""A run that stops at any moment goes on to the same bits, or says why it can't."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import vae
from vae import estimators, schedules

ROOT = Path(__file__).parents[2]
N = 90


@pytest.fixture(scope="module")
def data():
    return (np.random.default_rng(4).random((N, 30)) < 0.3).astype(np.float32)


class Cut(Exception):
    """Raised by `on_step`, as if the power failed."""


def train(x, folder=None, *, cut=None, resume=False, epochs=3, seed=0, hidden=(12,), lr=1e-2,
          batch_size=20, activation=np.tanh, optimizer=mg.optim.Adam, every=0,
          **options):
    """All that a run ends with: parameters, history, the next draw; `cut` steps, then Cut."""
    rng, steps = np.random.default_rng(seed), 0
    model = vae.dense_vae(x.shape[1], hidden, 3, rng=rng, activation=activation)

    def on_step(epoch, step, bound):
        nonlocal steps
        steps += 1
        if steps == cut:
            raise Cut
    keep = folder and vae.Checkpoint(folder, every=every)
    history = vae.fit(model, x, epochs=epochs, batch_size=batch_size, rng=rng, checkpoint=keep,
                      optimizer=optimizer(mg.nn.parameters(model), lr=lr), resume=resume,
                      on_step=on_step, **options)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    return [p.data for p in mg.nn.parameters(model)], rows, rng.random()


def equal(a, b):
    return (all(map(np.array_equal, a[0], b[0])) and len(a[0]) == len(b[0]) and a[1:] == b[1:])


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def half(data, tmp_path):
    """A folder with a run that was cut in its second epoch."""
    with pytest.raises(Cut):
        train(data, tmp_path / "run", cut=8)
    return tmp_path / "run"


# -- the same bits --------------------------------------------------------------------------------
def test_killed_runs_end_in_equal_bits():
    """Eight here; `python -m tests.vae.killed` kills thirty."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "MINIGRAD_NUM_THREADS": "1"}  # since it forks
    result = subprocess.run([sys.executable, "-m", "tests.vae.killed", "--kills", "8"], cwd=ROOT,
                            env={**os.environ, **threads}, capture_output=True, text=True,
                            timeout=300, check=False)
    assert result.returncode == 0 and "8 of 8" in result.stdout, result.stdout + result.stderr
    assert ".tmp" in result.stdout  # some were killed in the middle of writing


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 14])  # five steps an epoch
@pytest.mark.parametrize("options", [
    {}, {"optimizer": partial(mg.optim.SGD, momentum=0.9)}, {"optimizer": mg.optim.AdamW},
    {"lr": mg.optim.cosine(1e-2, 12)},
    {"objective": partial(vae.beta_elbo, weight=schedules.cyclical(6))},
    {"objective": partial(vae.free_bits_elbo, free=0.05), "optimizer": mg.optim.RMSProp}])
def test_a_cut_run_goes_on_to_the_same_bits(data, tmp_path, cut, options):
    whole = train(data, **options)
    with pytest.raises(Cut):
        train(data, tmp_path, cut=cut, **options)
    assert equal(train(data, tmp_path, resume=True, **options), whole)


def test_what_an_objective_remembers_is_kept(data, tmp_path):
    def options(shared=True):
        return {"objective": partial(estimators.score_elbo, samples=3,
                                     baseline=estimators.MovingAverage(shared=shared))}
    whole = train(data, **options())
    with pytest.raises(Cut):
        train(data, tmp_path, cut=7, **options())
    assert equal(train(data, tmp_path, resume=True, **options()), whole)


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_every_bit_generator_is_kept(data, tmp_path, bits, monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda seed: np.random.Generator(bits(seed)))
    whole = train(data)
    with pytest.raises(Cut):
        train(data, tmp_path, cut=7)
    assert equal(train(data, tmp_path, resume=True), whole)


def test_a_finished_run_can_be_prolonged(data, tmp_path):
    train(data, tmp_path, epochs=2)
    assert equal(train(data, tmp_path, epochs=2, resume=True), train(data, epochs=2))
    assert equal(train(data, tmp_path, epochs=4, resume=True), train(data, epochs=4))


def test_resuming_where_nothing_is_begins(data, tmp_path):
    assert equal(train(data, tmp_path / "new" / "deep", resume=True), train(data))


def test_ctrl_c_leaves_a_checkpoint_of_its_step(data, tmp_path):
    import signal

    def press(row):
        if row["epoch"] == 1:
            signal.raise_signal(signal.SIGINT)
    assert len(train(data, tmp_path, every=1e9, on_epoch=press)[1]) == 1
    assert equal(train(data, tmp_path, resume=True), train(data))


def test_checkpoints_change_no_bit_and_the_last_two_stay(data, tmp_path):
    assert equal(train(data, tmp_path), train(data))
    assert [n for n in names(tmp_path) if n != "lock"] == [
        "00000017.json", "00000017.npz", "00000018.json", "00000018.npz"]  # 15 steps, 3 epochs


def test_nothing_is_pickled_and_all_can_be_read(half):
    newest = sorted(half.glob("*.json"))[-1]
    state = json.loads(newest.read_text())["state"]
    assert state["step"] == 2 and state["epoch"] == 2 and len(state["history"]) == 1
    with np.load(newest.with_suffix(".npz"), allow_pickle=False) as file:
        assert {name.partition(".")[0] for name in file.files} == {"model", "optimizer", "order",
                                                                  "sums"}


def test_writing_is_seldom_where_it_is_slow(tmp_path):
    keep = vae.Checkpoint(tmp_path, every=1.0)
    keep.last -= 5
    assert keep.due()
    keep.cost = 1.0  # a hundredth of the time: a hundred seconds
    assert not keep.due()


# -- damage ---------------------------------------------------------------------------------------
def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize("damage", [flip, lambda p: p.write_bytes(p.read_bytes()[:-40]),
                                    lambda p: p.write_bytes(b""),
                                    lambda p: p.write_bytes(p.read_bytes() + b"more")],
                         ids=["flip", "truncate", "empty", "extend"])
def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(data, half, damage, ending):
    damage(sorted(half.glob("*." + ending))[-1])
    with pytest.warns(vae.DamagedCheckpoint, match=r"08\.json is damaged.*before it, 00000007"):
        assert equal(train(data, half, resume=True), train(data))


def test_all_damaged_is_an_error_that_names_them(data, half):
    for path in half.glob("*.json"):
        flip(path)
    with pytest.raises(vae.CheckpointError, match=r"(?s)no checkpoint can be.*08.json.*07.js"):
        train(data, half, resume=True)


def forge(folder, change):
    """Change what the newest says, with a checksum that fits."""
    import hashlib
    path = sorted(folder.glob("*.json"))[-1]
    state = json.loads(path.read_text())["state"]
    change(state)
    text = json.dumps(state)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{{"sha256": "{digest}", "state": {text}}}\n')


@pytest.mark.parametrize("change", [
    lambda s: s.update(epoch="two"), lambda s: s.update(step=-1), lambda s: s.pop("history"),
    lambda s: s.update(generator={"bit_generator": "PCG64"}), lambda s: s.update(format=2),
    lambda s: s["generator"]["state"].update(state=-5), lambda s: s.update(generator=3),
    lambda s: s.update(history={"epoch": 1}), lambda s: s.pop("seconds"),
    lambda s: s["arrays"].update(bytes=5), lambda s: s.update(optimizer_steps=1e30),
    lambda s: s.update(description=None)])
def test_forged_values_change_nothing(data, half, change):
    forge(half, change)
    with pytest.warns(vae.DamagedCheckpoint, match="damaged"):
        assert equal(train(data, half, resume=True), train(data))


# -- another run ----------------------------------------------------------------------------------
@pytest.mark.parametrize("other, difference", [
    ({"hidden": (13,)}, r"model.encoder.layers.0.weight: float32 \(30, 12\) in the checkpoint, "
                        r"float32 \(30, 13\) now"),
    ({"activation": mg.relu}, "model.encoder.layers.1: tanh in the checkpoint, relu now"),
    ({"seed": 1}, "generator: PCG64, its state at the start"),
    ({"batch_size": 30}, "batch_size: 20 in the checkpoint, 30 now"),
    ({"lr": 2e-2}, "optimizer.Adam.lr: 0.01 in the checkpoint, 0.02 now"),
    ({"lr": mg.optim.cosine(1e-2, 9)}, "optimizer.Adam.lr.steps: nothing in the checkpoint, 9"),
    ({"optimizer": mg.optim.SGD}, "optimizer.SGD.momentum: nothing in the checkpoint, 0.0 now"),
    ({"objective": partial(vae.elbo, samples=2)}, "objective.samples: nothing.*2 now"),
    ({"objective": estimators.iwae}, "objective: elbo in the.*iwae now")])
def test_another_run_is_refused_with_what_differs(data, half, other, difference):
    with pytest.raises(vae.CheckpointError, match=f"(?s)a run of something else.*{difference}"):
        train(data, half, resume=True, **other)
    assert equal(train(data, half, resume=True), train(data))  # and the run is as it was


def test_another_data_set_is_refused(data, half):
    other = data.copy()
    other[3, 4] = 1 - other[3, 4]
    with pytest.raises(vae.CheckpointError, match=r"data: float32 \(90, 30\), SHA-256 \w+ in the"):
        train(other, half, resume=True)


def test_a_folder_with_a_run_is_not_begun_anew(data, half):
    with pytest.raises(vae.CheckpointError, match="already holds a run: resume=True goes on"):
        train(data, half)
    with pytest.raises(ValueError, match="resume=True: from where"):
        train(data, resume=True)


# -- the system -----------------------------------------------------------------------------------
def test_a_folder_in_use_by_a_living_run_is_refused(data, tmp_path):
    code = ("import vae, sys\nwith vae.Checkpoint(sys.argv[1]).locked():\n"
            "    print('locked', flush=True)\n    sys.stdin.read()")
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(vae.InUse, match=f"in use by a living run, process {other.pid}: wait for"):
        train(data, tmp_path)
    other.kill()
    other.communicate()
    train(data, tmp_path)  # what it has left keeps nobody out


def test_a_full_disk_costs_a_warning_and_not_the_run(data, half):
    """The size of files is limited, so that a write fails in its middle as on a full disk."""
    before = {name: (half / name).read_bytes() for name in names(half)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.warns(vae.DamagedCheckpoint, match="no checkpoint could be written.*File too"):
            found = train(data, half, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert equal(found, train(data))
    after = {name: (half / name).read_bytes() for name in names(half)}
    assert {**before, "lock": b""} == {**after, "lock": b""}


def test_a_folder_that_vanishes_costs_a_warning_and_not_the_run(data, tmp_path):
    def vanish(row):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    with pytest.warns(vae.DamagedCheckpoint, match="no checkpoint could be written.*No such file"):
        assert equal(train(data, tmp_path / "run", on_epoch=vanish), train(data))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(data, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        train(data, tmp_path)


def test_options_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="keep=0"):
        vae.Checkpoint(tmp_path, keep=0)
    with pytest.raises(ValueError, match="every=-1"):
        vae.Checkpoint(tmp_path, every=-1)
