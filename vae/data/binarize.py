"""Three ways to feed grey images to a Bernoulli likelihood. Their numbers are not comparable.

- "dynamic": x ~ Bernoulli(grey value), anew each time that a batch is used (R. Salakhutdinov,
  I. Murray, "On the quantitative analysis of deep belief networks", 2008).
- "static": drawn once and for all. For MNIST that is the fixed file of H. Larochelle and I. Murray
  ("The neural autoregressive distribution estimator", 2011), where it is found.
- "none": the grey values themselves. What a Bernoulli gives then is a cross-entropy, and no
  log-likelihood of anything: it does not sum to one over the images.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from vae.data.dataset import DataError, Dataset, Images, as_images, check_unit_interval
from vae.data.mnist import cache_folder

# Split: rows and SHA-1 of the 0/1 bytes. The 10000 validation rows are left out.
LAROCHELLE = {
    "train": (50000, "91bc4b61903a41458008ac77ecd646860ad7ad12"),
    "test": (10000, "e7d25db32d863d0786f366c69eed2838dcf9ac5d"),
}
LAROCHELLE_NPZ = "binarized_mnist_static.npz"
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError,
               ValueError, OverflowError, LookupError)
EVALUATION_SEED = 20080705  # of its own: test numbers depend on no other seed

Measure = Literal["log-likelihood", "cross-entropy"]


@dataclass(frozen=True, eq=False)
class Binarization:
    """What a model sees of `data`, in training and in evaluation.

    `measure` is what a Bernoulli's log-probability of it is: "log-likelihood" for binary pixels,
    "cross-entropy" for grey ones. `name` goes beside every number that is reported.
    """

    name: str
    data: Dataset
    measure: Measure
    redraw: bool = False

    def batch(self, x: Images, *, rng: np.random.Generator) -> Images:
        """A training batch: for "dynamic" a fresh draw from `rng`, else `x` itself.

        Any shape; float32 out. Raises `DataError` for values outside [0, 1].
        """
        return draw(x, rng=rng) if self.redraw else x

    def evaluation(self, x: Images) -> Images:
        """An evaluation set, the same at each call: "dynamic" draws it with a seed of its own.

        The first rows of a set are drawn as the same rows alone would be.
        """
        return draw(x, rng=np.random.default_rng(EVALUATION_SEED)) if self.redraw else x


def draw(x: Images, *, rng: np.random.Generator) -> Images:
    """Independent x' ~ Bernoulli(x), float32, in the shape of `x`."""
    check_unit_interval(x, "x")
    uniform = rng.random(np.shape(x), dtype=np.float32)
    # In [0, 1), so that 0 never and 1 always gives ink. In place: no array of booleans.
    return np.less(uniform, x, out=uniform)


def binarization(
    protocol: str,
    data: Dataset,
    *,
    folder: str | os.PathLike | None = None,
    seed: int = 0,
) -> Binarization:
    """The protocol "dynamic", "static" or "none" on `data`.

    For MNIST, "static" takes Larochelle's fixed set from `folder`, else $MINIGRAD_DATA, else the
    cache: `binarized_mnist_static.npz` (train, valid, test as np.packbits rows) or the public text
    files `binarized_mnist_{train,test}.amat`. Of these, no more rows than `data` has are used.
    If there are none, and for other data, it is drawn once with `seed`, and named so. Raises
    `DataError` for damaged files, `ValueError` for an unknown protocol.
    """
    if protocol == "dynamic":
        return Binarization("dynamic", data, "log-likelihood", redraw=True)
    if protocol == "none":
        binary = all(np.all((x == 0) | (x == 1)) for x in (data.train, data.test))
        measure = "log-likelihood" if binary else "cross-entropy"
        return Binarization("none, values as they are", data, measure)
    if protocol != "static":
        raise ValueError(f'protocol must be "dynamic", "static" or "none", not {protocol!r}')
    if data.name.split(",")[0] == "MNIST":
        place = Path(folder or os.environ.get("MINIGRAD_DATA") or cache_folder()).expanduser()
        fixed = _larochelle(place)
        if fixed is not None:
            size = min(len(data.train), len(fixed.train)), min(len(data.test), len(fixed.test))
            name = fixed.name.replace("MNIST, Larochelle's static", "static, Larochelle's")
            return Binarization(name, fixed.take(*size), "log-likelihood")
    return _drawn_once(data, seed)


def _drawn_once(data: Dataset, seed: int) -> Binarization:
    rng = np.random.default_rng(seed)
    how = f"drawn once, seed {seed}"
    drawn = replace(
        data,
        name=f"{data.name}, {how}",
        train=draw(data.train, rng=rng),
        test=draw(data.test, rng=rng),
        protocol=f"x ~ Bernoulli(grey value), {how}, comparable only with the same drawing; "
        f"from: {data.protocol}",
    )
    return Binarization(f"static, {how}", drawn, "log-likelihood")


def _larochelle(folder: Path) -> Dataset | None:
    """The fixed set as a `Dataset`; None if `folder` has none of its files."""
    packed = folder / LAROCHELLE_NPZ
    texts = {split: folder / f"binarized_mnist_{split}.amat" for split in LAROCHELLE}
    if packed.is_file():
        rows = _read_packed(packed)
    elif any(path.is_file() for path in texts.values()):
        absent = [path.name for path in texts.values() if not path.is_file()]
        if absent:
            raise DataError(f"{folder} holds a part of binarised MNIST; missing {absent[0]}")
        rows = {split: _read_text(path, LAROCHELLE[split][0]) for split, path in texts.items()}
    else:
        return None
    genuine = all(hashlib.sha1(rows[s]).hexdigest() == LAROCHELLE[s][1] for s in LAROCHELLE)
    status = "SHA-1 verified" if genuine else "unverified: SHA-1 differs"
    return Dataset(
        "MNIST, Larochelle's static binarisation" + ("" if genuine else ", unverified"),
        train=as_images(rows["train"].view(bool), "train"),  # bool: 1 is ink, not 1/255 of it
        test=as_images(rows["test"].view(bool), "test"),
        protocol="static MNIST: the 50000 training and 10000 test rows, the 10000 validation rows "
        f"left out; no labels; rows not shuffled; {status}",
    )


def _read_packed(path: Path) -> dict[str, NDArray[np.uint8]]:
    """0/1 bytes (N, 784) of train and test, from rows of 784 bits.

    No more is unpacked than these rows need, whatever the file's headers promise.
    """
    try:
        with path.open("rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                return {split: np.unpackbits(_packed_rows(archive, split, n), axis=1)
                        for split, (n, _) in LAROCHELLE.items()}
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except DAMAGED_ZIP as error:
        raise DataError(f"{path}: damaged or not an npz file ({error})") from error


def _check_directory(file: BinaryIO) -> None:
    """zipfile reads the table of contents whole: three names need less than this."""
    file.seek(-min(42, file.seek(0, os.SEEK_END)), os.SEEK_END)
    end = file.read()
    plain = end[20:24] == b"PK\5\6" and end[-2:] == b"\0\0" and end[:4] != b"PK\6\7"
    if not plain or int.from_bytes(end[32:36], "little") > 1 << 16:
        raise zipfile.BadZipFile("no end of a zip with a few files in it")


def _packed_rows(archive: zipfile.ZipFile, split: str, n: int) -> NDArray[np.uint8]:
    """The uint8 array (n, 98) in an npy file, whose header is compared, not evaluated."""
    name = f"{split}.npy"
    if name not in archive.namelist():
        raise DataError(f"{split} is not a file in the archive")
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{split} is compressed otherwise than by numpy")  # zipfile bounds no other
    with archive.open(name) as member:
        start = member.read(10)
        header = member.read(int.from_bytes(start[8:], "little")).decode("latin1").strip()
        expected = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, 98), }}"
        if start[:8] != b"\x93NUMPY\1\0" or header != expected:
            raise DataError(f"{split} must be uint8 ({n}, 98), rows of 784 packed bits; "
                            f"its header is {header!r:.100}")
        rows = member.read(98 * n + 1)
    if len(rows) != 98 * n:
        raise DataError(f"{split} has {len(rows)} bytes or more, expected {n} x 98 = {98 * n}")
    return np.frombuffer(rows, np.uint8).reshape(n, 98)


def _read_text(path: Path, n: int) -> NDArray[np.uint8]:
    """0/1 bytes (n, 784) from a text file of 0 and 1 separated by blanks."""
    limit = 4 * n * 784  # twice what the digits and one blank each need
    if path.stat().st_size > limit:
        raise DataError(f"{path}: {path.stat().st_size} bytes, more than {n} rows of 784 can need")
    text = np.fromfile(path, np.uint8)
    digits = text[text > ord(" ")] - ord("0")
    if digits.size and digits.max() > 1:
        raise DataError(f"{path}: something else than 0, 1 and blanks in it")
    if digits.size != n * 784:
        raise DataError(f"{path}: {digits.size} pixels, expected {n} x 784 = {n * 784}")
    return digits.reshape(n, 784)
