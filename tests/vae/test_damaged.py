"""Damaged and hostile files end in a clear error, or do no harm.

`python -m tests.vae.test_damaged` damages 10,000 and prints what became of them;
`… test_damaged 3000 7 checkpoint` 3,000, drawn with the seed 7, of formats of this name.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

import vae
from minigrad import nn
from minigrad.archive import ArchiveError
from minigrad.noise import Draw, Noise
from tests.vae import damage
from vae.data import DataError, binarization, binarize, load_mnist, mnist, read_idx
from vae.data.idx import idx_header
from vae.training.checkpoint import Checkpoint, CheckpointError

TEN_THOUSAND = 10_000
RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
DIGITS = {"train-images": RNG.integers(0, 256, (4, 28, 28), dtype=np.uint8),
          "train-labels": np.arange(4, dtype=np.uint8),
          "t10k-images": RNG.integers(0, 256, (2, 28, 28), dtype=np.uint8),
          "t10k-labels": np.arange(2, dtype=np.uint8)}
BITS = {split: (RNG.random((n, 784)) < 0.2).astype(np.uint8)
        for split, n in [("train", 6), ("valid", 2), ("test", 3)]}
FIXED = {split: (len(BITS[split]), hashlib.sha1(BITS[split]).hexdigest())
         for split in ("train", "test")}


@dataclass(frozen=True)
class Format:
    """A format of files, how one is made, and how it is read.

    make(folder): writes one and gives the path of the file that is damaged.  read(path): what is
    compared with what was read from the undamaged one, by ==.  errors: what it may raise.  forged:
    given the file's bytes, damage that knows the format.  harmless(damaged bytes, result): what a
    result is that is not the original one and no harm either, since the format has no checksum:
    "" where it is harm.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    forged: tuple[Callable[[bytes], st.SearchStrategy[bytes]], ...]
    harmless: Callable[[bytes, Any], str] = lambda damaged, result: ""


def comparable(value: Any) -> Any:
    """Arrays as their bytes, so that == compares all bits."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: comparable(v) for key, v in value.items()}
    return [comparable(v) for v in value] if isinstance(value, (list, tuple)) else value


# -- the formats ----------------------------------------------------------------------------------
def made(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name
    return make


def idx_bytes(array: np.ndarray) -> bytes:
    return idx_header(array) + array.tobytes()


def as_the_bytes_say(damaged: bytes, result: Any) -> str:
    """IDX has no checksum: what is read must be what the description of the format says."""
    code, ndim = damaged[2:4]
    shape = struct.unpack(f">{ndim}I", damaged[4:4 + 4 * ndim])
    dtype = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[code]
    array = np.frombuffer(damaged, dtype, offset=4 + 4 * ndim).reshape(shape)
    same = comparable(array.astype(array.dtype.newbyteorder("="))) == result
    return "as its bytes say, no checksum" if same else ""


def mnist_folder(folder: Path) -> Path:
    for stem, array in DIGITS.items():
        (folder / f"{stem}-idx{array.ndim}-ubyte").write_bytes(idx_bytes(array))
    return folder / "train-images-idx3-ubyte"


def read_mnist(path: Path) -> Any:
    files = {stem: (array.ndim, hashlib.sha256(idx_bytes(array)).hexdigest())
             for stem, array in DIGITS.items()}
    with patch.dict(mnist.FILES, files):
        found = load_mnist(path.parent)
    return "MNIST" if found.name == "MNIST" else "other", found.protocol, comparable(found.train)


def network() -> Any:
    return vae.dense_vae(4, [3], 2, rng=np.random.default_rng(1))


def parameters(folder: Path) -> Path:
    nn.save(folder / "parameters.npz", network())
    return folder / "parameters.npz"


def read_parameters(path: Path) -> Any:
    """Into a model that is full of ones, which an error has to leave so."""
    model = network()
    for p in nn.parameters(model):
        p.data[...] = 1
    try:
        nn.load(path, model)
    except nn.ParameterError:
        assert all((p.data == 1).all() for p in nn.parameters(model))
        raise
    return comparable([p.data for p in nn.parameters(model)])


def noise(folder: Path) -> Path:
    draws = [Draw("normal", RNG.standard_normal((2, 3))), Draw("uniform", np.ones(2, np.float32)),
             Draw("log_gamma", np.ones(2), (np.ones(2), np.array(3.0)))]
    Noise([*draws, *(Draw("normal", np.full(1, i)) for i in range(9))]).save(folder / "noise.npz")
    return folder / "noise.npz"


def larochelle_npz(folder: Path) -> Path:
    path = folder / "binarized_mnist_static.npz"
    np.savez_compressed(path, **{s: np.packbits(bits, axis=1) for s, bits in BITS.items()})
    return path


def larochelle_text(folder: Path) -> Path:
    for split in FIXED:
        np.savetxt(folder / f"binarized_mnist_{split}.amat", BITS[split], fmt="%d")
    return folder / "binarized_mnist_train.amat"


def read_larochelle(path: Path) -> Any:
    data = vae.data.from_arrays(DIGITS["train-images"], DIGITS["t10k-images"], name="MNIST")
    with patch.dict(binarize.LAROCHELLE, FIXED):
        found = binarization("static", data, folder=path.parent)
    return found.name, comparable([found.data.train, found.data.test])


class Kept:
    """What a checkpoint asks of a run: arrays, and numbers that JSON knows."""

    found: Any = None

    def arrays(self) -> dict[str, np.ndarray]:
        return {"model.weight": np.ones((3, 2), np.float32), "order": np.arange(5)}

    def numbers(self) -> dict[str, Any]:
        return {"epoch": 2, "step": 1, "history": [{"epoch": 1, "train_bound": -0.5}]}

    def restore(self, arrays: dict[str, np.ndarray], numbers: dict[str, Any], n: int) -> None:
        self.found = comparable(arrays), {name: numbers[name] for name in self.numbers()}


def checkpoint(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "run").mkdir()
        Checkpoint(folder / "run").write(Kept(), {"model": "dense"})
        return folder / "run" / f"00000001.{ending}"
    return make


def read_checkpoint(path: Path) -> Any:
    run = Kept()
    Checkpoint(path.parent).resume(run, {"model": "dense"}, 5)
    return run.found


def unverified(damaged: bytes, result: Any) -> str:
    return "named unverified" if "unverified" in result[0] else ""


def not_mnist(damaged: bytes, result: Any) -> str:
    return "named not MNIST" if result[0] == "other" and "not MNIST" in result[1] else ""


FORMATS = [
    Format("IDX", made("images", idx_bytes(IMAGES)), lambda path: comparable(read_idx(path)),
           (DataError,), (damage.of_idx,), as_the_bytes_say),
    Format("IDX, gzip", made("images.gz", gzip.compress(idx_bytes(IMAGES), mtime=0)),
           lambda path: comparable(read_idx(path)), (DataError,), (damage.of_idx,)),
    Format("MNIST folder", mnist_folder, read_mnist, (DataError,), (damage.of_idx,), not_mnist),
    Format("binarised MNIST, npz", larochelle_npz, read_larochelle, (DataError,),
           (damage.of_zip, damage.of_npy), unverified),
    Format("binarised MNIST, text", larochelle_text, read_larochelle, (DataError,), (), unverified),
    Format("parameters", parameters, read_parameters, (nn.ParameterError,),
           (damage.of_zip, damage.of_npy)),
    Format("noise", noise, lambda path: comparable(Noise.load(path).draws), (ArchiveError,),
           (damage.of_zip, damage.of_npy)),
    Format("checkpoint, arrays", checkpoint("npz"), read_checkpoint, (CheckpointError,),
           (damage.of_zip, damage.of_npy)),
    Format("checkpoint, numbers", checkpoint("json"), read_checkpoint, (CheckpointError,),
           (damage.of_json,)),
]


# -- one damaged file -----------------------------------------------------------------------------
def what_becomes(form: Format, path: Path, damaged: bytes, original: Any) -> str:
    """The outcome in a word or two; AssertionError, or the error itself, where it is harm."""
    path.write_bytes(damaged)
    tracemalloc.start()
    began = time.process_time()  # no wall time: the machine has other work, too
    error = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = form.read(path)
    except form.errors as caught:
        error = str(caught)
    finally:
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds < 1, f"{seconds} seconds"
    assert peak < 8 * len(damaged) + (16 << 20), f"{peak} bytes, for a file of {len(damaged)}"
    assert not os.path.lexists("trap") and not (path.parent / "trap").exists(), "it was executed"
    if error is not None:
        assert path.name in error, f"the error does not name {path.name}: {error}"
        assert len(error) < 5000, f"an error of {len(error)} letters"
        return "error"
    if result == original:
        return "equal"
    outcome = form.harmless(damaged, result)
    assert outcome, f"another result: {result}"
    return outcome


def damages(form: Format, raw: bytes) -> st.SearchStrategy[bytes]:
    of_bytes = damage.of_bytes(raw)
    return st.one_of([of_bytes, of_bytes, of_bytes, *(way(raw) for way in form.forged),
                      st.sampled_from(damage.others())])


def damage_many(form: Format, folder: Path, examples: int, number: int | None = None) -> Counter:
    """Outcome -> how many damaged files had it, all different; `number` seeds their drawing."""
    path = form.make(folder)
    raw, outcomes, seen = path.read_bytes(), Counter(), set()
    original = form.read(path)

    @settings(max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
              derandomize=number is None and settings.default.derandomize,
              suppress_health_check=list(HealthCheck))
    @given(damages(form, raw))
    def every(damaged):
        digest = hashlib.sha256(damaged).digest()
        assume(damaged != raw and digest not in seen)
        outcomes[what_becomes(form, path, damaged, original)] += 1
        seen.add(digest)

    (every if number is None else seed(number)(every))()
    return outcomes


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_damaged_files_end_in_a_clear_error_or_an_equal_result(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = max(100, settings.default.max_examples * 3 // 2)  # "deep": more than 10,000 in all
    outcomes = damage_many(form, tmp_path, examples)
    assert outcomes["error"] > examples / 4 and outcomes.total() > examples / 2, outcomes


# -- that these tests can fail --------------------------------------------------------------------
def executes(path: Path) -> Any:
    try:
        with np.load(path, allow_pickle=True) as file:
            return dict(file)
    except Exception as error:
        raise ArchiveError(path) from error


def believes(path: Path) -> Any:
    """Takes memory for what the header of an IDX file promises."""
    np.empty(struct.unpack(">I", path.read_bytes()[4:8]), np.uint8)
    return read_idx(path)


def vague(path: Path) -> Any:
    try:
        return read_idx(path)
    except DataError:
        raise DataError("the file is damaged") from None


def slow(path: Path) -> Any:
    began = time.process_time()
    while time.process_time() < began + 1.1:
        pass
    return comparable(read_idx(path))


NPZ_TRAP = damage.zipped([("0.normal.0.npy", damage.npy("'|O'", "False", "()", damage.TRAP))])
HUGE = b"\0\0\10\1" + struct.pack(">I", 200 << 20)


@pytest.mark.parametrize("name, read, damaged, harm", [
    ("noise", executes, NPZ_TRAP, "it was executed"),
    ("noise", np.load, b"PK", "Failed to interpret|pickle"),  # an error that is not documented
    ("IDX", believes, HUGE, "20971.* bytes, for a file of 8"),
    ("IDX", vague, b"", "does not name images: the file is damaged"),
    ("IDX", slow, idx_bytes(IMAGES), "seconds"),
    ("IDX", lambda path: comparable(read_idx(path)[:2]), idx_bytes(IMAGES), "another result"),
    ("noise", lambda path: [], b"", "another result"),
], ids=["executes", "undocumented", "believes", "vague", "slow", "leaves out", "empty"])
def test_a_careless_reader_is_found(tmp_path, monkeypatch, name, read, damaged, harm):
    monkeypatch.chdir(tmp_path)
    form = next(form for form in FORMATS if form.name == name)
    path = form.make(tmp_path)
    original = form.read(path)
    with pytest.raises((AssertionError, ValueError), match=harm):
        what_becomes(replace(form, read=read), path, damaged, original)


def main(arguments: list[str]) -> None:
    """Damage as many files as are asked for, the formats in turn, and print what became of them."""
    asked = int(arguments[0]) if arguments else TEN_THOUSAND
    number = int(arguments[1]) if len(arguments) > 1 else 0
    chosen = [form for form in FORMATS if not arguments[2:] or arguments[2] in form.name]
    each = -(-asked // len(chosen))
    total: Counter = Counter()
    began = time.perf_counter()
    for form in chosen:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)  # where a trap would be
            outcomes = damage_many(form, Path(folder), each, number)
            os.chdir("/")
        total += outcomes
        print(f"{form.name:24}", dict(outcomes.most_common()), flush=True)
    print(f"{total.total()} damaged files, all different: {dict(total.most_common())}; "
          f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
