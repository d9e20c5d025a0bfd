"""One line that says how training goes."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Epoch, step, bound, images a second and time left: one line that is rewritten in a terminal.

    Elsewhere, in a pipe or a file, a plain line at the end of each epoch.
    """

    def __init__(self, epochs: int, steps: int, batch_size: int, n: int, *, unit: str = "nats",
                 out: TextIO | None = None, every: float = 0.1):
        self.epochs, self.steps, self.batch_size, self.n = epochs, steps, batch_size, n
        self.unit, self.out, self.every = unit, out or sys.stdout, every
        self.live = self.out.isatty()
        self.began, self.shown, self.mean = time.perf_counter(), 0.0, None
        self.before: int | None = None  # images of a run that is resumed, that others have seen

    def step(self, epoch: int, step: int, bound: float) -> None:
        """After a step, `step` counted from 0; the bound shown is a running mean."""
        self.mean = bound if self.mean is None else 0.95 * self.mean + 0.05 * bound
        if self.before is None:
            self.before = (epoch - 1) * self.n + step * self.batch_size
            if self.before:
                self._show(f"going on in epoch {epoch}, after {step} of {self.steps} steps",
                           end="\n")
        now = time.perf_counter()
        if self.live and now - self.shown >= self.every:
            self.shown = now
            images = (epoch - 1) * self.n + min((step + 1) * self.batch_size, self.n)
            rate = (images - self.before) / (now - self.began)
            left = (self.epochs * self.n - images) / rate
            self._show(f"epoch {epoch}/{self.epochs}  step {step + 1}/{self.steps}  "
                       f"{self.mean:.2f} {self.unit}  {rate:,.0f} images/s  {_minutes(left)} left")

    def epoch(self, row: dict) -> None:
        """At the end of an epoch: a line that stays."""
        rate = self.n / row["seconds"]
        done = row["epoch"] - (self.before or 0) / self.n
        left = (self.epochs - row["epoch"]) * (time.perf_counter() - self.began) / done
        others = "".join(f", {name} {row[f'{name}_elbo']:.2f}" for name in ("valid", "test")
                         if f"{name}_elbo" in row)
        self._show(f"epoch {row['epoch']}/{self.epochs}  train {row['train_bound']:.2f}{others} "
                   f"{self.unit}  {rate:,.0f} images/s  {_minutes(left)} left", end="\n")

    def close(self) -> None:
        """Leave the line, where one is being rewritten."""
        if self.live and self.shown:
            self._show("", end="")

    def _show(self, text: str, end: str = "") -> None:
        before = "\r\x1b[2K" if self.live else ""  # carriage return, erase the line
        print(before + text, end=end, file=self.out, flush=True)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
