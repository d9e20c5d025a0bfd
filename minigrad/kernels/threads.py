"""A pool of threads for work that NumPy does without the interpreter's lock.

Its size is `MINIGRAD_NUM_THREADS`, or the cores that this process may use.  The caller works too,
so a pool for one thread has none.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
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


def run(pieces: Iterable[Piece], threads: int) -> None:
    """Run all pieces on at most `threads` threads; the first error comes through, after the rest.

    Each thread takes the next piece when it is done with one.  So a thread that wakes late (it
    takes a tenth of a millisecond) costs nothing: the others have done its work.
    """
    waiting = deque(pieces)
    number = len(waiting)
    helpers = min(threads, number) - 1
    if helpers < 1 or threading.current_thread() in _workers:  # no waiting for one another
        for piece in waiting:
            piece()
        return
    done: SimpleQueue = SimpleQueue()
    _grow(helpers)
    for _ in range(helpers):
        _jobs.put((waiting, done))
    _take(waiting, done)
    errors = [done.get() for _ in range(number)]  # nobody may still write when the caller goes on
    for error in filter(None, errors):
        raise error


def _take(waiting: deque[Piece], done: SimpleQueue) -> None:
    while True:
        try:
            piece = waiting.popleft()
        except IndexError:
            return
        try:
            piece()
            done.put(None)
        except BaseException as error:
            done.put(error)
        del piece  # and the arrays in it, before waiting for the next


def _work() -> None:
    while True:
        _take(*_jobs.get())


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
