"""What a constant is, noise or a stopped path: an ndarray can't say so itself.

Kept by identity, and weakly: an entry goes with its array, and no result changes.  Nor can an array
say that it was written into: at the end is how often an optimiser, or who loads parameters, did.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import ref

from numpy import ndarray


class ById:
    """A weak dictionary by identity; `WeakKeyDictionary` compares keys by ==, here elementwise."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[ref, Any]] = {}

    def __setitem__(self, key: Any, value: Any) -> None:
        n, entries = id(key), self._entries
        entries[n] = ref(key, lambda _: entries.pop(n, None)), value

    def get(self, key: Any) -> Any:
        entry = self._entries.get(id(key))
        return entry and entry[1]

    def __len__(self) -> int:
        return len(self._entries)


class Mark(NamedTuple):
    """what: "noise", or "stopped", which is a Tensor's value; of: its name and shape, and itself.

    The Tensor is known weakly: `of()` is None when it is gone.
    """

    what: str
    name: str = ""
    of: ref | None = None


_marks = ById()
mark_of = _marks.get  # the Mark of an array, or None


def mark(array: Any, what: str, of: Any = None) -> Any:
    """Note what a constant is, and return it; `of` is the Tensor whose value it is."""
    if isinstance(array, ndarray):  # NumPy's scalars have no weak references
        name = "" if of is None else f"{of.rule.name if of.rule else 'leaf'} {of.shape}"
        _marks[array] = Mark(what, name, None if of is None else ref(of))
    return array


_writes = 0


def written() -> None:
    """Said by whoever writes into parameters in place, such as an optimiser."""
    global _writes
    _writes += 1


def writes() -> int:
    """How often that was said: what is remembered of a model holds as long as this stays."""
    return _writes
