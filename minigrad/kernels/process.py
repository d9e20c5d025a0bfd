"""Two settings of the process that decide how fast NumPy is in a loop; made when it is imported.

*Memory.*  glibc maps every block above 128 KiB (a threshold that moves up to 32 MiB) anew from the
kernel and gives the top of the heap back at once; each training step then faults in, page by page,
the same megabytes as the step before.  `mallopt` raises both limits.  The price is that the process
keeps what it once used.

*Idle threads.*  OpenBLAS lets its threads spin for about a tenth of a second after each product, in
case another follows.  What follows in a training step is something else, and the spinning takes the
core away from it: Adam on two threads ran no faster than on one.  So they are told to sleep after
a tenth of a millisecond, as OPENBLAS_THREAD_TIMEOUT=18 in the environment would have done.

docs/performance.md has the measurements.  `MINIGRAD_TUNE=0` in the environment leaves both alone,
and where there is no glibc or no OpenBLAS nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import sys

from minigrad.kernels.blas import sleep_when_idle

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more, and ignores the call if asked to


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
