"""How many threads NumPy's BLAS uses, where it can be told.

OpenBLAS lets its idle threads spin for about a tenth of a second after each product, in case
another follows.  In a training step something else follows, and the spinning takes the core away
from it: Adam on two threads ran no faster than on one.  So products run on our own threads
(`products.py`), each piece on one thread of BLAS, and its threads are never woken.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from pathlib import Path

import numpy as np

_lock, _users, _before = threading.Lock(), 0, 1


class OneThread:
    """`with OneThread():` BLAS on one thread while any caller is inside, where it can be told."""

    def __enter__(self) -> None:
        global _users, _before
        if control := openblas():
            with _lock:
                if _users == 0:
                    _before = control[0]()
                    control[1](1)
                _users += 1

    def __exit__(self, *error: object) -> None:
        global _users
        if control := openblas():
            with _lock:
                _users -= 1
                if _users == 0:
                    control[1](_before)


@cache
def openblas() -> tuple | None:
    """(get, set) the number of threads of the OpenBLAS that NumPy's wheels bring, or None."""
    package = Path(np.__file__).parent
    for path in [*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")]:
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads",
                     "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
            if hasattr(library, name.format("set")) and hasattr(library, name.format("get")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None

