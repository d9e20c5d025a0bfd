"""Runs that are killed and resumed: python -m tests.vae.killed [--kills 30] [--seed 0]

Each trial trains in a process of its own, which SIGKILL ends at a drawn moment: after a drawn time,
or right before or after the n-th call that changes the disk.  Another process resumes it.  Printed
is, a line a trial, where it was killed and whether parameters, optimiser, generator and history are
those of a run that nobody interrupted, to the bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

import minigrad as mg
import vae

CALLS = ("fsync", "replace", "unlink")  # of `os`, which change what is on the disk


def train(folder: Path | None) -> str:
    """The digest of all that a run ends with."""
    rng = np.random.default_rng(11)
    grey = np.random.default_rng(4).random((170, 30), np.float32)
    model = vae.dense_vae(30, (24,), 3, rng=rng)
    optimizer = mg.optim.AdamW(mg.nn.parameters(model), lr=mg.optim.cosine(1e-2, 40))
    best = vae.KeepBest(grey[:40].round(), patience=6, warmup=12)
    history = vae.fit(
        model, grey, epochs=6, batch_size=20, optimizer=optimizer, rng=rng, best=best,
        prepare=lambda x, *, rng: (rng.random(x.shape, np.float32) < x).astype(np.float32),
        objective=partial(vae.beta_elbo, weight=vae.schedules.linear(0, 1, 12), samples=2),
        checkpoint=folder and vae.Checkpoint(folder, every=0), resume=folder is not None)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    numbers = json.dumps([rows, rng.bit_generator.state, best.epoch, best.elbo])
    arrays = [p.data for p in mg.nn.parameters(model)]
    arrays += [a for states in optimizer.state.values() for a in states]
    return hashlib.sha256(numbers.encode() + b"".join(a.tobytes() for a in arrays)).hexdigest()


def child(work) -> int:
    """The number of a process that does `work` and leaves."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def dying(folder: Path, name: str, n: int, after: bool) -> None:
    """Train until right before, or after, the n-th call of an `os` function that is named."""
    count, real = 0, getattr(os, name)

    def call(*args, **options):
        nonlocal count
        count += 1
        if count == n and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **options)
        if count == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    with mock.patch.object(os, name, call):
        train(folder)


def killed(folder: Path, rng: np.random.Generator, longest: float, by_time: bool) -> str:
    """Where a run in this folder was killed."""
    if by_time:
        wait = rng.uniform(0, longest)
        pid = child(lambda: train(folder))
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
        where = f"after {1e3 * wait:.0f} ms"
    else:
        name, n, after = rng.choice(CALLS), int(rng.integers(1, 60)), bool(rng.integers(2))
        pid = child(lambda: dying(folder, name, n, after))
        where = f"{'after' if after else 'before'} {name} {n}"
    status = os.waitpid(pid, 0)[1]
    return where if os.WIFSIGNALED(status) else where + " (it had ended)"


def finish(folder: Path, out: Path) -> None:
    """Resume, and write what it ends with."""
    out.write_text(train(folder))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    rng, right = np.random.default_rng(args.seed), 0
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        whole = train(Path(place) / "whole")
        seconds = time.perf_counter() - began
        assert whole == train(None), "a checkpoint changes the run"
        for trial in range(args.kills):
            folder, out = Path(place) / f"{trial}", Path(place) / f"{trial}.txt"
            where = killed(folder, rng, seconds, by_time=trial % 2 == 0)
            left = sorted(p.name for p in folder.glob("*")) if folder.exists() else []
            os.waitpid(child(partial(finish, folder, out)), 0)
            same = out.exists() and out.read_text() == whole
            right += same
            print(f"{trial}: killed {where}, leaving {left}: {'equal' if same else 'DIFFERENT'}",
                  flush=True)
    print(f"{right} of {args.kills} resumed to equal bits")
    return 0 if right == args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
