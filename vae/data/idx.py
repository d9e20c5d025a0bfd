"""IDX, the format of the MNIST files: two zero bytes, a type code, the number of dimensions, each
dimension as a big-endian uint32, then the values in C order (http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vae.data.dataset import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 20
MAX_NDIM = 8  # the format allows 255, NumPy 64, and nobody has that many


def read_idx(
    path: str | os.PathLike, *, ndim: int | None = None, max_bytes: int = 1 << 30
) -> NDArray:
    """The array in an IDX file, plain or gzipped (told by content, not by name).

    `ndim` is the number of dimensions expected: 3 for images, 1 for labels. Memory is bounded by
    what the file holds, and by `max_bytes`, whatever its header promises. Raises `DataError` for
    a damaged file, or for one that is not what it should be; `OSError` if it cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as raw:
        zipped = raw.peek(2)[:2] == b"\x1f\x8b"
        stream = gzip.GzipFile(fileobj=raw) if zipped else raw
        try:
            dtype, shape = _read_header(stream, path, ndim)
            expected = math.prod(shape) * dtype.itemsize
            if expected > max_bytes:
                raise DataError(
                    f"{path}: the header promises {expected} bytes of data, more than "
                    f"max_bytes={max_bytes}"
                )
            # One byte more than expected is enough to know that there is too much.
            data = _read_at_most(stream, expected + 1)
        except EOFError as error:
            raise DataError(f"{path}: the gzip file is truncated") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: the gzip file is damaged ({error})") from error
    if len(data) != expected:
        held = f"{len(data)} bytes" if len(data) < expected else f"at least {len(data)} bytes"
        raise DataError(
            f"{path}: the header promises {expected} bytes of data, shape {shape}; "
            f"the file holds {held}"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def idx_header(array: NDArray) -> bytes:
    """The bytes that come before `array`'s values in an IDX file."""
    code = next((c for c, t in TYPES.items() if np.dtype(t) == array.dtype.newbyteorder(">")), None)
    if code is None:
        raise DataError(f"IDX has no type code for {array.dtype}")
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)


def _read_header(
    stream: BinaryIO, path: Path, ndim: int | None
) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= MAX_NDIM:
        raise DataError(f"{path}: not an IDX file, it begins with {magic.hex(' ') or 'nothing'}")
    code, found = magic[2], magic[3]
    if code not in TYPES:
        known = ", ".join(f"0x{c:02x}" for c in TYPES)
        raise DataError(f"{path}: unknown IDX type code 0x{code:02x}; known are {known}")
    if ndim is not None and found != ndim:
        kinds = {1: "labels (1 dimension)", 3: "images (3 dimensions)"}
        raise DataError(
            f"{path}: {kinds.get(ndim, f'{ndim} dimensions')} expected, "
            f"but the file holds {kinds.get(found, f'{found} dimensions')}; was it renamed?"
        )
    sizes = stream.read(4 * found)
    if len(sizes) < 4 * found:
        raise DataError(f"{path}: the header ends after {4 + len(sizes)} of {4 + 4 * found} bytes")
    shape = struct.unpack(f">{found}I", sizes)
    if 0 in shape:
        raise DataError(f"{path}: the file holds no values, its shape is {shape}")
    return np.dtype(TYPES[code]), shape


def _read_at_most(stream: BinaryIO, limit: int) -> bytearray:
    """Up to `limit` bytes. In chunks, because read(limit) would allocate `limit` bytes at once."""
    data = bytearray()
    while len(data) < limit and (chunk := stream.read(min(CHUNK, limit - len(data)))):
        data += chunk
    return data
