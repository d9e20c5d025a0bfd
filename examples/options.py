"""What the examples share: types of arguments, and the check of where they write."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from pathlib import Path


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
