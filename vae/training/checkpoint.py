"""A run on disk: written whole or not at all, and read only when it is what was written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minigrad import archive
from vae.training.description import Description, differences
from vae.training.history import plain
from vae.training.run import Run

FORMAT = 1
MOST_JSON = 1 << 24  # bytes: a history of some 50,000 epochs
MOST_TIME = 0.01  # of a run that writing may take: where it is slow, it is done more seldom
NAME = re.compile(r"(\d{8})\.json")


Keep = Callable[[bool], None]


class CheckpointError(ValueError):
    """No checkpoint that could be resumed, or one of another run; the text says what differs."""


class InUse(CheckpointError):
    """Another run that is alive writes to the folder."""


class DamagedCheckpoint(UserWarning):
    """A checkpoint isn't what was written, or can't be written; the one before it stands in."""


class Checkpoint:
    """Keeps a run in `folder`: each checkpoint an npz of arrays and a JSON of all else.

    every: seconds between two, and at the end of training and after Ctrl-C there is one anyway;
    0: after each step.  Writing takes at most a hundredth of the time, or is done more seldom.
    keep: so many are kept.

    Both files are written under another name, synchronised and then renamed, the JSON last, which
    holds the SHA-256 of the arrays and of itself.  So at every moment there is a whole one.
    """

    def __init__(self, folder: str | os.PathLike, *, every: float = 30.0, keep: int = 2):
        if keep < 1 or not every >= 0:
            raise ValueError(f"keep={keep}, every={every}: at least one checkpoint is kept, and "
                             "the seconds between two are 0 or more")
        self.folder, self.every, self.keep = Path(folder), every, keep
        self.cost, self.last = 0.0, time.monotonic()

    # -- writing ----------------------------------------------------------------------------------
    def due(self) -> bool:
        """Whether it is time for the next one."""
        wait = max(self.every, self.cost / MOST_TIME) if self.every else 0.0
        return time.monotonic() - self.last >= wait

    def write(self, run: Run, description: Description) -> None:
        """Write a checkpoint; where the disk doesn't let it, a warning, and those before stay."""
        began, path = time.monotonic(), None
        try:
            path = self.folder / f"{max([0, *self.numbers()]) + 1:08d}.npz"
            archive.write(path, run.arrays())
            data = path.read_bytes()
            state = {"format": FORMAT, "description": description, **run.numbers(),
                     "arrays": {"bytes": len(data), "sha256": _digest(data)}}
            text = json.dumps(state, default=plain)
            whole = f'{{"sha256": "{_digest(text.encode())}", "state": {text}}}\n'
            archive.write_bytes(path.with_suffix(".json"), whole.encode())
            self._forget(self.numbers()[:-self.keep])
        except OSError as error:
            if path:
                path.unlink(missing_ok=True)
            warnings.warn(f"no checkpoint could be written to {self.folder}: {error}. Training "
                          "goes on; the checkpoints before it are as they were", DamagedCheckpoint,
                          stacklevel=2)
        self.last = time.monotonic()
        self.cost = self.last - began

    def numbers(self) -> list[int]:
        """Of the checkpoints in the folder, oldest first."""
        found = [NAME.fullmatch(name) for name in os.listdir(self.folder)]
        return sorted(int(match[1]) for match in found if match)

    def _forget(self, numbers: list[int]) -> None:
        for number in numbers:
            for ending in ("json", "npz"):  # the JSON first: without it there is no checkpoint
                (self.folder / f"{number:08d}.{ending}").unlink(missing_ok=True)

    # -- reading ----------------------------------------------------------------------------------
    def resume(self, run: Run, description: Description, n: int) -> None:
        """Make `run` the newest that isn't damaged; without any, leave it as it is.

        Raises CheckpointError if it is another run, with all that differs, or if all are damaged.
        """
        damages: dict[int, str] = {}
        for number in reversed(self.numbers()):
            path = self.folder / f"{number:08d}.json"
            try:
                state, arrays = _read(path)
                different = differences(state["description"], description)
                if not different:
                    run.restore(arrays, state, n)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError,
                    OSError) as error:
                damages[number] = f"{path} is damaged: {error}"
                continue
            if different:
                shown = "\n  ".join(different[:10] + [f"and {len(different) - 10} more"]
                                    * (len(different) > 10))
                raise CheckpointError(f"{self.folder} holds a run of something else; to begin anew "
                                      f"give another folder. What differs:\n  {shown}")
            for damage in damages.values():
                warnings.warn(f"{damage}. Going on from the one before it, {path.name}",
                              DamagedCheckpoint, stacklevel=2)
            self._forget(list(damages))
            return
        if damages:
            raise CheckpointError("no checkpoint can be read:\n  " + "\n  ".join(damages.values()))

    # -- the folder -------------------------------------------------------------------------------
    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one living run has the folder.  The system gives it free when the process ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "a+") as file:
            try:
                _lock(file)
            except OSError:
                file.seek(0)
                raise InUse(f"{self.folder} is in use by a living run, process "
                            f"{file.read(20).strip() or 'unknown'}: wait for it, or give another "
                            "folder") from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            for left in self.folder.glob("*.tmp"):  # of a run that was killed in the middle
                left.unlink(missing_ok=True)
            for arrays in self.folder.glob("*.npz"):
                if re.fullmatch(r"\d{8}", arrays.stem) and not arrays.with_suffix(".json").exists():
                    arrays.unlink(missing_ok=True)
            yield


@contextmanager
def keeping(checkpoint: Checkpoint | str | os.PathLike | None, run: Run,
            describe: Callable[[], Description], n: int, *, resume: bool) -> Iterator[Keep]:
    """Gives `keep(now)`, to be called after each step; resumes before, where it is asked to."""
    if checkpoint is None:
        if resume:
            raise ValueError("resume=True: from where? Give checkpoint=DIR")
        yield lambda now: None
        return
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)

    def keep(now: bool) -> None:
        if now or checkpoint.due():
            checkpoint.write(run, description)

    description = describe()
    with checkpoint.locked():
        if resume:
            checkpoint.resume(run, description, n)
        elif checkpoint.numbers():
            raise CheckpointError(f"{checkpoint.folder} already holds a run: resume=True goes on "
                                  "with it; to begin anew give another folder")
        yield keep


def folder_of(checkpoint: Checkpoint | str | os.PathLike | None) -> Path | None:
    """Where it writes to."""
    if checkpoint is None:
        return None
    return checkpoint.folder if isinstance(checkpoint, Checkpoint) else Path(checkpoint)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """State and arrays of a checkpoint; ValueError where they aren't what was written."""
    if path.stat().st_size > MOST_JSON:
        raise ValueError(f"it has more than {MOST_JSON} bytes")
    text = path.read_bytes()
    try:
        head, sha256 = re.fullmatch(rb'(\{"sha256": "([0-9a-f]{64})", "state": ).*\}\n', text,
                                    re.DOTALL).groups()
        whole = text[len(head):-2]
    except AttributeError:
        raise ValueError("it doesn't begin and end as it should") from None
    if _digest(whole) != sha256.decode():
        raise ValueError("its SHA-256 isn't that of its text")
    try:
        state = json.loads(whole)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if state["format"] != FORMAT:
        raise ValueError(f"its format is {state['format']!r:.20}, known is {FORMAT}")
    arrays, written = path.with_suffix(".npz"), state["arrays"]
    if not arrays.exists() or arrays.stat().st_size != written["bytes"] or (
            _digest(arrays.read_bytes()) != written["sha256"]):
        raise ValueError(f"{arrays.name} is missing, or isn't what was written with it")
    return state, archive.read(arrays)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _lock(file: Any) -> None:
    """Raise OSError if another process has the file; where `fcntl` is missing, never (Windows)."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:
        return
    flock(file, LOCK_EX | LOCK_NB)
