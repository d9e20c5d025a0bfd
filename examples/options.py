"""What the examples share: options and their types, and how what can't be done is told."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from vae.data import DataError


class Refused(Exception):
    """What was asked for can't be done; the text says why."""


def program(main: Callable[[list[str] | None], int]) -> Callable[..., int]:
    """`main`, but what it can't read, write or do is one line on stderr, and the exit code 2."""
    @wraps(main)
    def told(arguments: list[str] | None = None) -> int:
        try:
            return main(arguments)
        except (OSError, DataError, Refused) as error:
            print(f"{Path(main.__code__.co_filename).name}: {error}", file=sys.stderr)
            return 2
    return told


def parser(about: str, *, quick: str, out: str | None = None, data: bool = False,
           plots: bool = True, seed: str = "of parameters, batches and noise") -> ArgumentParser:
    """The options that most examples have; `quick` and `seed` say what these do in this one."""
    p = ArgumentParser(description=about, formatter_class=ArgumentDefaultsHelpFormatter)
    if data:
        p.add_argument("--data", help="folder of MNIST's IDX files; otherwise $MINIGRAD_DATA, the "
                       "cache, a download, or without network the embedded digits")
    p.add_argument("--seed", type=natural, default=0, help=seed)
    if out is not None:
        p.add_argument("--out", type=Path, default=Path(out), help="folder for results")
    p.add_argument("--quick", action="store_true", help=quick)
    if plots:
        p.add_argument("--no-plots", action="store_true", help="numbers alone")
    return p


def positive(text: str) -> int:
    return _whole(text, 1)


def natural(text: str) -> int:
    return _whole(text, 0)


def rate(text: str) -> float:
    if not 0 <= float(text) < float("inf"):
        raise ArgumentTypeError(f"{text!r}: a finite number, 0 or more, is expected")
    return float(text)


def above_zero(text: str) -> float:
    if rate(text) == 0:
        raise ArgumentTypeError(f"{text!r}: a finite number above 0 is expected")
    return float(text)


def check_writable(folder: Path) -> None:
    """A folder that can't be written is found before training, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"--out {folder} can't be written: {error.strerror}") from error


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
    return int(text)
