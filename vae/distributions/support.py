"""Where a density is positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

INFINITY = float("inf")


class Support:
    """All real numbers; subclasses are smaller."""

    def excludes(self, x: ndarray) -> Any:
        """Which elements lie outside.  A NaN does not: its log probability is NaN."""
        return np.isinf(x)

    def inner(self, dtype: Any) -> Any:
        """Some value inside, to stand where a value outside is left out."""
        return np.zeros((), dtype)

    def __str__(self) -> str:
        return "real numbers"


@dataclass(frozen=True)
class Interval(Support):
    """From low to high; the ends belong to it unless `open`."""

    low: Any
    high: Any
    open: bool = False

    def excludes(self, x: ndarray) -> Any:
        if self.open:
            return (x <= self.low) | (x >= self.high)
        if self.high is INFINITY:  # which is no number
            return (x < self.low) | (x == INFINITY)
        return (x < self.low) | (x > self.high)

    def inner(self, dtype: Any) -> Any:
        dtype = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(float)
        low, high = np.asarray(self.low, dtype), np.asarray(self.high, dtype)
        finite = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0))
        far = 1 + np.abs(finite)  # 1 alone would be rounded away beside a large end
        low = np.where(np.isfinite(low), low, finite - far)
        high = np.where(np.isfinite(high), high, finite + far)
        return low / 2 + high / 2

    def __str__(self) -> str:
        left, right = "()" if self.open else "[]"
        return f"{left}{self.low}, {self.high}{right}"


@dataclass(frozen=True)
class Integers(Support):
    """Whole numbers from low to high."""

    low: Any
    high: Any

    def excludes(self, x: ndarray) -> Any:
        return (x < self.low) | (x > self.high) | (x != np.round(x)) & ~np.isnan(x)

    def inner(self, dtype: Any) -> Any:
        return np.asarray(self.low, dtype)

    def __str__(self) -> str:
        return f"integers {self.low} to {self.high}"


REAL = Support()
POSITIVE = Interval(0.0, np.inf, open=True)
NOT_NEGATIVE = Interval(0.0, INFINITY)
