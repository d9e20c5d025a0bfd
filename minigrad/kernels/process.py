"""Two settings of the process that decide how fast NumPy is in a loop; made when it is imported.

*Memory.*  glibc maps every block above 128 KiB (a threshold that moves up to 32 MiB) anew from the
kernel and gives the top of the heap back at once; each training step then faults in, page by page,
the same megabytes as the step before.  `mallopt` raises both limits.  The price is that the process
keeps what it once used.

*Idle threads.*  OpenBLAS lets its threads spin for about a tenth of a second after each product, in
case another follows.  What follows in a training step is something else, and the spinning takes the
core away from it: Adam on two threads ran no faster than on one.  So they are told to sleep after
some microseconds, as OPENBLAS_THREAD_TIMEOUT=14 in the environment would have done.

docs/performance.md has the measurements.  `MINIGRAD_TUNE=0` in the environment leaves both alone,
and where there is no glibc or no OpenBLAS nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import numpy as np

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more, and ignores the call if asked to
SPIN = "OPENBLAS_THREAD_TIMEOUT"  # of 2**n processor cycles


def tune() -> None:
    """Keep freed pages, and let BLAS's idle threads sleep."""
    if os.environ.get("MINIGRAD_TUNE") != "0":
        keep_pages()
        sleep_when_idle()


def keep_pages() -> bool:
    """Whether malloc took the new limits."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl, a static build
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
                and mallopt(M_TRIM_THRESHOLD, 1 << 30))


def sleep_when_idle(cycles: int = 14) -> bool:
    """Whether NumPy's OpenBLAS could be told; its threads start anew with the next product."""
    library = openblas()
    if library is None or SPIN in os.environ:
        return False
    os.environ[SPIN] = str(cycles)
    try:
        library.openblas_read_env()
        library.blas_thread_shutdown_()
    finally:
        del os.environ[SPIN]
    return True


def openblas() -> ctypes.CDLL | None:
    """The OpenBLAS that NumPy's wheel brings, if it is one that can be told."""
    package = Path(np.__file__).parent
    for path in [*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")]:
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        if hasattr(library, "openblas_read_env") and hasattr(library, "blas_thread_shutdown_"):
            return library
    return None
