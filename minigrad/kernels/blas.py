"""What NumPy's OpenBLAS offers beyond NumPy, where there is one: by ctypes, and only as a favour.

Everything here is right without it, only slower.
"""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy import ndarray

SPIN = "OPENBLAS_THREAD_TIMEOUT"  # of 2**n processor cycles


@cache
def openblas() -> ctypes.CDLL | None:
    """The library that NumPy's wheel brings."""
    package = Path(np.__file__).parent
    for path in (*package.parent.glob("numpy.libs/*openblas*"),
                 *package.glob(".dylibs/*openblas*")):
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def sleep_when_idle(cycles: int = 18) -> bool:
    """Whether BLAS's threads could be told not to spin; they start anew with the next product."""
    library = openblas()
    if SPIN in os.environ or not (hasattr(library, "openblas_read_env")
                                  and hasattr(library, "blas_thread_shutdown_")):
        return False
    os.environ[SPIN] = str(cycles)
    try:
        library.openblas_read_env()
        library.blas_thread_shutdown_()
    finally:
        del os.environ[SPIN]
    return True


_guests, _lock, _before = 0, threading.Lock(), 1


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS uses no thread of its own inside: for callers that bring theirs.  May be nested.

    The setting is the library's, not the thread's: the last who leaves restores it.
    """
    global _guests, _before
    get, put = _thread_setting()
    if get is None or put is None:
        yield
        return
    with _lock:
        if not _guests:
            _before = get()
            put(1)
        _guests += 1
    try:
        yield
    finally:
        with _lock:
            _guests -= 1
            if not _guests:
                put(_before)


@contextmanager
def reproducible() -> Iterator[None]:
    """Inside, no bit of a result depends on the number of threads.

    minigrad's own threads never change one.  Those of BLAS change the last bits of its products, so
    here it has one: dense training steps take 0.9 to 1.3 times as long, convolutions no longer.
    Warns where there is no OpenBLAS of NumPy's wheel to be told.
    """
    if None in _thread_setting():
        warnings.warn("reproducible(): BLAS can't be told to use one thread, set its own variable "
                      "(such as OMP_NUM_THREADS=1) before Python starts", stacklevel=3)
    with one_thread():
        yield


def _forget() -> None:
    """A forked child is outside of whatever its parent's threads were in."""
    global _guests, _lock
    if _guests:
        _thread_setting()[1](_before)
    _guests, _lock = 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@cache
def _thread_setting() -> tuple[Callable | None, Callable | None]:
    for pattern in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_",
                    "openblas_{}_num_threads"):
        if hasattr(openblas(), pattern.format("set")):
            return tuple(getattr(openblas(), pattern.format(verb)) for verb in ("get", "set"))
    return None, None


SHORT = 16384  # numbers, for which NumPy's two calls are as fast as a foreign one


def axpby(a: float, x: ndarray, b: float, y: ndarray) -> None:
    """y ← a·x + b·y in one pass over memory; x and y contiguous, of one dtype and size."""
    routine = _axpby(x.dtype.char) if x.size > SHORT else None
    if routine is None:
        y *= b
        y += x if a == 1 else a * x
    else:
        routine(x.size, a, _address(x), 1, b, _address(y), 1)


def _address(x: ndarray) -> int:
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(x))  # a quarter of the others' time
    except TypeError:  # read-only
        return x.__array_interface__["data"][0]


@cache
def _axpby(dtype: str) -> Callable | None:
    real = {"f": ctypes.c_float, "d": ctypes.c_double}.get(dtype)
    for pattern, integer in (("scipy_cblas_{}axpby64_", ctypes.c_int64),
                             ("cblas_{}axpby64_", ctypes.c_int64), ("cblas_{}axpby", ctypes.c_int)):
        name = pattern.format({"f": "s", "d": "d"}.get(dtype))
        if real and hasattr(openblas(), name):
            routine = getattr(openblas(), name)
            routine.argtypes = [integer, real, ctypes.c_void_p, integer,
                                real, ctypes.c_void_p, integer]
            routine.restype = None
            return routine
    return None
