"""A pool of threads for work that NumPy does without the interpreter's lock.

Its size is `MINIGRAD_NUM_THREADS`, or the cores that this process may use.  The caller works too;
so a pool for one thread starts none.  Who gets which piece never changes a result: pieces are cut
by shape alone, and each is computed by one thread from start to end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_pool: ThreadPoolExecutor | None = None


def num_threads() -> int:
    """Threads that take part, the caller included."""
    given = os.environ.get("MINIGRAD_NUM_THREADS")
    if given is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") \
            else os.cpu_count() or 1
    if not given.isdigit() or int(given) < 1:
        raise ValueError(f"MINIGRAD_NUM_THREADS={given!r}: it must be a whole number, 1 or more")
    return int(given)


def run(pieces: Sequence[Callable[[], None]]) -> None:
    """Run all pieces, the first in this thread, the others in the pool; errors come through."""
    if len(pieces) > 1:
        others = [_executor().submit(piece) for piece in pieces[1:]]
        try:
            pieces[0]()
        finally:
            for other in others:
                other.result()
    elif pieces:
        pieces[0]()


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor  # half of minigrad's time to import

        _pool = ThreadPoolExecutor(max(1, num_threads() - 1), thread_name_prefix="minigrad")
    return _pool


def _forget() -> None:
    """A forked child has the pool's object but not its threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
