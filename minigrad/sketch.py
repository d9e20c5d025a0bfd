"""The numbers by which two results are compared: their entries, or random sums of many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.tensor import untraced
from minigrad.tree import flatten

MANY = 1000  # entries of an array, above which it is compared by sums
SUMS = 256


class Sketch:
    """Each entry of a large array goes into one of 256 sums, with a random sign (count sketch:
    Charikar, Chen and Farach-Colton 2002).  One wrong entry of n is still seen: its sum is of
    n/256, and the others in it are as often negative as positive.

    results: arrays, with their names.  exact: keep all entries.
    """

    def __init__(self, results: Sequence[ndarray], names: Sequence[str],
                 rng: np.random.Generator, exact: bool = False):
        self.shapes, self.names = [y.shape for y in results], names
        self.sums = [None if exact or y.size <= MANY else
                     (rng.integers(SUMS, size=y.size), rng.choice([-1.0, 1.0], size=y.size))
                     for y in results]
        lengths = [y.size if s is None else SUMS for y, s in zip(results, self.sums)]
        ends = np.cumsum(lengths).tolist()
        self.parts = [slice(end - n, end) for end, n in zip(ends, lengths)]
        self.size = sum(lengths)

    def of(self, results: Sequence[ndarray]) -> ndarray:
        """All numbers of all results, in a row."""
        rows = [np.ravel(y) if s is None else _sums(np.ravel(y), *s)
                for y, s in zip(results, self.sums)]
        return np.concatenate(rows) if rows else np.zeros(0)

    def cotangents(self, w: ndarray) -> list[ndarray]:
        """Of the results, for a cotangent of the numbers: the transpose of `of`."""
        return [(w[part] if s is None else s[1] * w[part][s[0]]).reshape(shape)
                for part, s, shape in zip(self.parts, self.sums, self.shapes)]

    def name(self, i: int) -> str:
        """What the i-th number is: result[2, 3]."""
        k = next(k for k, part in enumerate(self.parts) if i < part.stop)
        if self.sums[k] is not None:
            return f"a random sum of entries of {self.names[k]}"
        return self.names[k] + index(self.shapes[k], i - self.parts[k].start)


def arrays(tree: Any) -> list[ndarray]:
    """The leaves of containers; of Tensors, which a layer makes of arrays, their values."""
    return [np.asarray(untraced(a)) for a in flatten(tree)[0]]


def index(shape: tuple[int, ...], i: int) -> str:
    """[2, 3] for the i-th element of an array."""
    return str([int(n) for n in np.unravel_index(i, shape)]) if shape else ""


def _sums(y: ndarray, which: ndarray, signs: ndarray) -> ndarray:
    def real(y: ndarray) -> ndarray:
        return np.bincount(which, signs * y, SUMS)
    return real(y.real) + 1j * real(y.imag) if y.dtype.kind == "c" else real(y)
