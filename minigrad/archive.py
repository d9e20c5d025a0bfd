"""Arrays in files, written whole or not at all and read without trust: an uncompressed npz."""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, Any

import numpy as np
from numpy import ndarray

PIECE = 1 << 20  # bytes read at once; a table of contents, which is read whole, has no more
LONGEST = 1000  # letters of a name
HEADER = (r"\{'descr': '([<>=|][biuf]\d\d?)', 'fortran_order': (True|False), "
          r"'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18})+)\), \}\s*")


class ArchiveError(ValueError):
    """A file that is no npz of plain numbers, or a damaged or a hostile one."""


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A new file, to be written within the block; at its end it takes the place of `path`.

    Whenever program or machine stop, the old file or the new one is there, whole. Until then it is
    `path.<pid>.tmp`, which any error removes.
    """
    path = os.fsdecode(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    with suppress(OSError):  # where no folder can be synced, a power cut may bring the old one back
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write a file as `replacing` does."""
    with replacing(path) as file:
        file.write(data)


def write(path: str | os.PathLike | IO[bytes], arrays: Mapping[str, Any]) -> None:
    """Write arrays of numbers as an npz, as `replacing` does; equal arrays make equal bytes.

    path may be an open binary file. Raises ValueError, before writing, for what `read` refuses.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or "\0" in name or len(name) > LONGEST:
            raise ValueError(f"{name!r:.60} is {array.dtype}; an archive holds bool, integers and "
                             f"floats, under names of up to {LONGEST} letters, none of them \\0")
    if sum(100 + len(name.encode()) for name in arrays) > PIECE:
        raise ValueError(f"{len(arrays)} arrays: their names need more than {PIECE} bytes")
    import zipfile  # here and in _read: it takes a third of minigrad's time to import
    with nullcontext(path) if hasattr(path, "write") else replacing(path) as file, \
            zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")  # without the time of day
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def read(path: str | os.PathLike | IO[bytes]) -> dict[str, ndarray]:
    """Name -> array, in native byte order, of an npz of bool, integers and floats.

    Nothing in the file is executed or evaluated, and memory is the file's own size and a few MB,
    whatever its headers promise: sizes are compared before anything is read. Raises `ArchiveError`
    for anything else than a whole, uncompressed npz; OSError where the file cannot be opened.
    """
    with nullcontext(path) if hasattr(path, "read") else open(path, "rb") as file:
        return _read(file, f"{path}")


class _InPieces:
    """What zipfile needs of a file; a promise of a huge table of contents is not believed."""
    def __init__(self, file: IO[bytes]):
        self.file, self.seek, self.tell, self.seekable = file, file.seek, file.tell, file.seekable

    def read(self, n: int = -1) -> bytes:
        if n > PIECE:
            raise ValueError(f"a table of contents of {n} bytes, more than {PIECE}")
        return self.file.read(n if n >= 0 else PIECE)


def _read(file: IO[bytes], path: str) -> dict[str, ndarray]:
    import zipfile
    arrays, member = {}, ""
    try:
        left = file.seek(0, os.SEEK_END)
        file.seek(max(left - 22, 0))
        end = file.read()
        with zipfile.ZipFile(_InPieces(file)) as archive:
            # zipfile counts nothing: a flipped length hides an entry, a zeroed end all of them
            signature, count, length, start, comment = struct.unpack("<4s6xHIIH", end)
            whole = left > 2**31 or start + length == left - 22  # beyond, a second end has it
            if (signature, count, comment, whole) != (b"PK\5\6", len(archive.infolist()), 0, True):
                raise ValueError("other arrays than the zip's end says")
            for info in archive.infolist():
                member = f"{info.filename!r:.60}: "
                name = info.filename.removesuffix(".npy")
                if name == info.filename or name in arrays or len(name) > LONGEST:
                    raise ValueError("no .npy, or a second one of this name, or too long a name")
                if info.compress_type or info.file_size != info.compress_size:
                    raise ValueError("compressed (np.savez does not, np.savez_compressed does)")
                if (left := left - info.file_size) < 0:
                    raise ValueError(f"{info.file_size} bytes, more than are left in the file")
                with archive.open(info) as stream:
                    arrays[name] = _array(stream, info.file_size)
    except MemoryError:
        raise  # the sizes are true, and there is no room
    except Exception as error:  # zipfile has many, and others in each version
        raise ArchiveError(f"{path}: an npz of plain numbers is expected, whole and uncompressed; "
                           f"found: {member}{str(error) or type(error).__name__:.400}") from error
    return arrays


def _array(stream: IO[bytes], size: int) -> ndarray:
    """The array in an npy file of `size` bytes, whose header is matched, not evaluated."""
    start = stream.read(10)
    header = stream.read(int.from_bytes(start[8:], "little")).decode("latin1")
    match = re.fullmatch(HEADER, header)
    if not start.startswith(b"\x93NUMPY\1\0") or match is None:
        raise ValueError(f"no array of plain numbers, it begins with {start!r} {header!r:.100}")
    dtype = np.dtype(match[1])
    shape = tuple(int(n) for n in re.findall(r"\d+", match[3]))
    held, needed = size - len(start) - len(header), math.prod(shape) * dtype.itemsize
    if held != needed:
        raise ValueError(f"{dtype} {shape} needs {needed} bytes, there are {held}")
    data = np.empty(needed, np.uint8)
    for i in range(0, needed, PIECE):
        data[i:i + PIECE] = np.frombuffer(stream.read(min(PIECE, needed - i)), np.uint8)
    if dtype.kind == "b" and data.max(initial=0) > 1:
        raise ValueError(f"bool, and {data.max()} in it")  # NumPy's loops rely on 0 and 1
    array = data.view(dtype).astype(dtype.newbyteorder("="), copy=False)
    return array.reshape(shape[::-1]).T if match[2] == "True" else array.reshape(shape)
