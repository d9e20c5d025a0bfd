"""What the score function subtracts from f: the less is left, the less it varies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray


class MovingAverage:
    """The exponential moving average of f over the calls before this one, so no bias.

        m ← decay·m + (1 - decay)·mean over the draws;  the baseline is m/(1 - decayⁿ), at first 0

    One average for each row of the batch.  shared: one for all rows, as when they are other data in
    each call; from the second call on the rows then share it.  (Mnih and Gregor 2014, section 2.4.)
    """

    carried = ("total", "calls")  # what a checkpoint keeps of it

    def __init__(self, decay: float = 0.9, *, shared: bool = False):
        if not 0 <= decay < 1:
            raise ValueError(f"MovingAverage(decay={decay}): it must lie in [0, 1)")
        self.decay, self.shared = decay, shared
        self.total: Any = 0.0
        self.calls = 0

    @property
    def value(self) -> Any:
        """What is subtracted in the next call."""
        return self.total / (1 - self.decay ** self.calls) if self.calls else 0.0

    def update(self, values: ndarray) -> None:
        """Take in what f was at these draws, (samples, *batch)."""
        new = values.mean() if self.shared else values.mean(axis=0)
        if self.calls and np.shape(new) != np.shape(self.total):
            raise ValueError(f"MovingAverage has rows of shape {np.shape(self.total)}, and gets a "
                             f"batch of shape {np.shape(new)}; for batches of other rows take "
                             "MovingAverage(shared=True)")
        self.total = self.decay * self.total + (1 - self.decay) * new
        self.calls += 1


Baseline = str | float | ndarray | MovingAverage | None


def baseline_of(baseline: Baseline, values: ndarray) -> Any:
    """What is subtracted from the values (samples, *batch) of f; broadcasts to their shape.

    Raises ValueError for "leave-one-out" of a single draw, and for names that are not known.
    """
    if baseline is None:
        return 0.0
    if isinstance(baseline, MovingAverage):
        before = baseline.value
        baseline.update(values)
        return before
    if not isinstance(baseline, str):
        return baseline
    samples = len(values)
    if baseline == "mean":
        return values.mean(axis=0)
    if baseline == "leave-one-out":
        if samples < 2:
            raise ValueError("baseline='leave-one-out' is the mean of the other draws: it needs "
                             f"samples of 2 or more, not {samples}")
        return (values.sum(axis=0) - values) / (samples - 1)
    raise ValueError(f"baseline={baseline!r}: 'leave-one-out', 'mean', None, a MovingAverage, a "
                     "number or an array")
