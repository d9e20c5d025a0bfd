"""A pool of threads for work that NumPy does without the interpreter's lock.

Its size is `MINIGRAD_NUM_THREADS`, or the cores that this process may use.  The caller works too,
so a pool for one thread has none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from queue import SimpleQueue

Piece = Callable[[], None]

_jobs: SimpleQueue = SimpleQueue()
_workers: list[threading.Thread] = []
_growing = threading.Lock()


def num_threads() -> int:
    """Threads that take part, the caller included."""
    given = os.environ.get("MINIGRAD_NUM_THREADS")
    if given is None:
        return _cores()
    if not given.isdigit() or int(given) < 1:
        raise ValueError(f"MINIGRAD_NUM_THREADS={given!r}: it must be a whole number, 1 or more")
    return int(given)


@cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(pieces: Sequence[Piece], threads: int) -> None:
    """Run all pieces on at most `threads` threads, neighbours together; errors come through."""
    shares = min(threads, len(pieces))
    if shares <= 1 or threading.current_thread() in _workers:  # no waiting for one another
        return _each(pieces)
    bounds = [len(pieces) * k // shares for k in range(shares + 1)]
    _grow(shares - 1)
    done: SimpleQueue = SimpleQueue()
    for a, b in pairwise(bounds[1:]):
        _jobs.put((pieces[a:b], done))
    errors = []
    try:
        _each(pieces[:bounds[1]])
    finally:  # also after an error: nobody may still write when the caller goes on
        errors = [done.get() for _ in range(shares - 1)]
    for error in filter(None, errors):
        raise error


def _each(pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        piece()


def _work() -> None:
    while True:
        pieces, done = _jobs.get()
        try:
            _each(pieces)
            done.put(None)
        except BaseException as error:
            done.put(error)
        del pieces, done  # don't keep the arrays while waiting for the next


def _grow(n: int) -> None:
    if len(_workers) < n:
        with _growing:
            while len(_workers) < n:
                worker = threading.Thread(target=_work, name="minigrad", daemon=True)
                worker.start()
                _workers.append(worker)


def _forget() -> None:
    """A forked child has the list of threads, but not the threads."""
    global _jobs, _growing
    _jobs, _growing = SimpleQueue(), threading.Lock()
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
