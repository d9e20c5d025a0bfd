"""MNIST: found on disk or downloaded once, and verified either way.

Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", 1998.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from vae.data.dataset import DataError, Dataset, as_images
from vae.data.digits import embedded
from vae.data.idx import idx_header, read_idx

# Stem of the file name: number of dimensions, SHA-256 of the uncompressed file. Mirrors recompress
# the files, so that the compressed bytes are no identity.
FILES = {
    "train-images": (3, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels": (1, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images": (3, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels": (1, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
MAX_DOWNLOAD = 16 << 20  # bytes: the largest of the four has 10 MB, compressed,
MAX_UNPACKED = 64 << 20  # and 47 MB unpacked

Arrays = dict[str, NDArray[np.uint8]]
Report = Callable[[str], object]


class Unavailable(DataError):
    """MNIST is neither on disk nor to be downloaded."""


@dataclass(frozen=True)
class Mirrors:
    """Where to download from, in this order, and how long to wait (seconds).

    `connect_seconds` bounds each wait on a socket, `total_seconds` all four files together.
    """

    urls: tuple[str, ...] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    connect_seconds: float = 5.0
    total_seconds: float = 120.0


def load(
    data: str | os.PathLike | None = None,
    *,
    seed: int = 0,
    report: Report = print,
    allow_download: bool = True,
    mirrors: Mirrors = Mirrors(),
) -> Dataset:
    """MNIST if it can be had, else the embedded digits drawn with `seed`.

    The fall-back is reported in one line, and `Dataset.name` tells the two apart. A folder that
    was named (`data` or $MINIGRAD_DATA) never falls back: what is wrong there raises `DataError`.
    """
    try:
        return load_mnist(data, allow_download=allow_download, report=report, mirrors=mirrors)
    except Unavailable as reason:
        report(f"{reason}. Using the embedded digits instead: their numbers are not MNIST's.")
        return embedded(seed=seed)


def load_mnist(
    data: str | os.PathLike | None = None,
    *,
    allow_download: bool = True,
    report: Report = print,
    mirrors: Mirrors = Mirrors(),
) -> Dataset:
    """MNIST, 60000 + 10000 grey images in [0, 1] with labels.

    Looked for in `data`, else $MINIGRAD_DATA, else the user's cache, which downloads fill. Names
    with or without .gz, `-idx3-ubyte` or `.idx3-ubyte`, are all accepted. Other IDX images of
    28 x 28 in a named folder (Fashion-MNIST, say) are accepted too, and not called MNIST.
    Raises `DataError` if a named folder lacks a file or holds a wrong one, `Unavailable` if the
    cache is incomplete and no download succeeds or is allowed.
    """
    named = data if data is not None else os.environ.get("MINIGRAD_DATA") or None
    if named is not None:
        origin = "data" if data is not None else "$MINIGRAD_DATA"
        return _from_folder(Path(named).expanduser(), origin)
    return _mnist(_through_cache(cache_folder(), mirrors if allow_download else None, report))


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/minigrad/mnist, by default ~/.cache/minigrad/mnist."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "minigrad" / "mnist"


def _from_folder(folder: Path, origin: str) -> Dataset:
    paths = {stem: next(iter(_present(folder, stem)), None) for stem in FILES}
    missing = [_file_name(stem) for stem, path in paths.items() if path is None]
    if missing:
        here = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else None
        found = "there is no such folder" if here is None else f"found {_shortlist(here)}"
        raise DataError(
            f"no MNIST in {folder} (given as {origin}): {found}; missing {', '.join(missing)} "
            "(.gz or not)"
        )
    arrays = {stem: read_idx(path, ndim=FILES[stem][0]) for stem, path in paths.items()}
    for stem, array in arrays.items():
        if array.dtype != np.uint8 or array.shape[1:] not in ((), (28, 28)):
            expected = "uint8 (N, 28, 28)" if array.ndim == 3 else "uint8 (N,)"
            raise DataError(f"{paths[stem]}: {expected} expected, not {array.dtype} {array.shape}")
    if all(_is_mnist(stem, array) for stem, array in arrays.items()):
        return _mnist(arrays)
    return _dataset(
        arrays,
        name=f"IDX data in {folder.resolve().name}",
        protocol="the files' own split, grey values / 255, not binarised; not MNIST (SHA-256)",
    )


def _mnist(arrays: Arrays) -> Dataset:
    return _dataset(
        arrays,
        name="MNIST",
        protocol="the public 60000/10000 split, grey values / 255, not binarised; SHA-256 verified",
    )


def _dataset(arrays: Arrays, name: str, protocol: str) -> Dataset:
    return Dataset(
        name,
        train=as_images(arrays["train-images"], "train-images"),
        test=as_images(arrays["t10k-images"], "t10k-images"),
        train_labels=arrays["train-labels"].astype(np.int64),
        test_labels=arrays["t10k-labels"].astype(np.int64),
        protocol=protocol,
    )


def _is_mnist(stem: str, array: NDArray) -> bool:
    digest = hashlib.sha256(idx_header(array))
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest() == FILES[stem][1]


def _file_name(stem: str, mark: str = "-") -> str:
    return f"{stem}{mark}idx{FILES[stem][0]}-ubyte"


def _present(folder: Path, stem: str) -> list[Path]:
    """The files in `folder` that go by an accepted name of `stem`."""
    names = (_file_name(stem, mark) + ending for mark in "-." for ending in ("", ".gz"))
    return [folder / name for name in names if (folder / name).is_file()]


def _shortlist(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more


def _through_cache(folder: Path, mirrors: Mirrors | None, report: Report) -> Arrays:
    """The four arrays from the cache; what it lacks is downloaded into it."""
    arrays = {stem: _cached(folder, stem) for stem in FILES}
    missing = [stem for stem, array in arrays.items() if array is None]
    if missing and mirrors is None:
        names = ", ".join(map(_file_name, missing))
        raise Unavailable(f"MNIST is not in {folder} ({names}), and downloads are not allowed")
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"MNIST cannot be cached in {folder} ({error.strerror})") from error
        deadline = time.monotonic() + mirrors.total_seconds
        for stem in missing:  # the first that no mirror has ends it: the others could not help
            arrays[stem] = _download(stem, folder, mirrors, deadline)
        report(f"MNIST: downloaded {len(missing)} files to {folder}")
    return arrays


def _cached(folder: Path, stem: str) -> NDArray[np.uint8] | None:
    """A verified file of the cache; None if there is none, or only damaged ones."""
    for path in _present(folder, stem):
        try:
            return _verified(stem, path)
        except DataError:
            continue  # a download replaces it
    return None


def _verified(stem: str, path: Path) -> NDArray[np.uint8]:
    array = read_idx(path, ndim=FILES[stem][0], max_bytes=MAX_UNPACKED)
    if not _is_mnist(stem, array):
        raise DataError(f"{path}: not MNIST's {_file_name(stem)}, the SHA-256 differs")
    return array


def _download(stem: str, folder: Path, mirrors: Mirrors, deadline: float) -> NDArray[np.uint8]:
    failures = []
    for mirror in mirrors.urls:
        url = f"{mirror}{_file_name(stem)}.gz"
        try:
            return _fetch(url, stem, folder, mirrors.connect_seconds, deadline)
        except (OSError, HTTPException, DataError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error) or type(error).__name__}")
    raise Unavailable(f"MNIST could not be downloaded ({'; '.join(failures)})")


def _fetch(
    url: str, stem: str, folder: Path, connect_seconds: float, deadline: float
) -> NDArray[np.uint8]:
    """Download, verify, and only then give the file its name, so that no reader sees half of it."""
    handle, part = tempfile.mkstemp(dir=folder, prefix=f"{stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            wait = min(connect_seconds, _remaining(deadline))
            with urlopen(url, timeout=wait) as response:
                _copy(response, out, deadline)
            out.flush()
            os.fsync(out.fileno())
        try:
            array = _verified(stem, Path(part))
        except DataError as error:
            # The temporary name would tell the user nothing.
            raise DataError(str(error).removeprefix(f"{part}: ")) from error
        os.replace(part, folder / f"{_file_name(stem)}.gz")
        return array
    finally:
        Path(part).unlink(missing_ok=True)


def _copy(response: BinaryIO, out: BinaryIO, deadline: float) -> None:
    """Copy at most MAX_DOWNLOAD bytes. read1 returns after one packet, so that a server which
    drips meets the deadline; read(n) would wait for all n bytes."""
    size = 0
    while chunk := response.read1(1 << 16):
        size += len(chunk)
        if size > MAX_DOWNLOAD:
            raise DataError(f"more than {MAX_DOWNLOAD} bytes sent")
        out.write(chunk)
        _remaining(deadline)


def _remaining(deadline: float) -> float:
    """Seconds left; raises `TimeoutError` if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the download took too long")
    return left
