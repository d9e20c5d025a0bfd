"""Keep freed memory mapped, so that the next array of the same size pays no page faults.

glibc maps every block above 128 KiB (a threshold that moves up to 32 MiB) anew from the kernel and
gives the top of the heap back at once; each step of a training loop then faults in, page by page,
the same megabytes as the step before.  `mallopt` raises both limits for the whole process.  A
dense VAE's step takes about half the time (docs/performance.md); the price is that the process
keeps what it once used.  `MINIGRAD_MALLOPT=0` in the environment leaves malloc alone, and where
there is no glibc nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more, and ignores the call if asked to


def keep_pages() -> bool:
    """Whether malloc took the new limits."""
    if not sys.platform.startswith("linux") or os.environ.get("MINIGRAD_MALLOPT") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl, a static build
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
                and mallopt(M_TRIM_THRESHOLD, 1 << 30))
