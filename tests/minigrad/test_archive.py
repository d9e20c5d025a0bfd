"""An archive gives back what was written; what else is in its place ends in an ArchiveError."""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad import archive
from minigrad.archive import ArchiveError
from minigrad.noise import Noise

PLAIN = ["?", "i1", "u1", "<i2", ">i4", "<u4", ">u8", "<f2", ">f4", "<f4", "<f8", ">f8"]
X = np.arange(12, dtype=np.float32).reshape(3, 4)
DESCR = {"descr": "<f4", "fortran_order": False, "shape": (3, 4)}


def npy(header: str | dict, data: bytes = X.tobytes(), magic: bytes = b"\x93NUMPY\1\0") -> bytes:
    """An npy file with this header, whatever it says."""
    text = header if isinstance(header, str) else "{" + "".join(
        f"'{k}': {v!r}, " for k, v in header.items()) + "}"
    raw = text.encode("latin1") + b"\n"
    return magic + len(raw).to_bytes(2, "little") + raw + data


def zipped(members, compression=zipfile.ZIP_STORED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in members:
            made.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return file


def same(found, given):
    assert list(found) == list(given)
    for name, array in given.items():
        array = np.asarray(array)
        assert found[name].dtype == array.dtype.newbyteorder("=") and found[name].dtype.isnative
        assert found[name].shape == array.shape
        native = np.ascontiguousarray(array.astype(found[name].dtype))
        assert np.ascontiguousarray(found[name]).tobytes() == native.tobytes()


def peak_memory(function) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# -- what is written is read ----------------------------------------------------------------------
@given(st.dictionaries(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30),
    hnp.arrays(st.sampled_from(PLAIN), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)),
    max_size=4), st.booleans())
def test_what_is_read_is_bit_for_bit_what_was_written(arrays, turned):
    if turned:
        arrays = {name: a.T for name, a in arrays.items()}
    file = io.BytesIO()
    archive.write(file, arrays)
    same(archive.read(file), arrays)
    again = io.BytesIO()
    archive.write(again, arrays)
    assert again.getvalue() == file.getvalue()


def test_numpy_reads_what_is_written_and_the_reverse(tmp_path):
    arrays = {"file": X, "a/b.npy": X.T, "s": np.float64(3), "e": np.zeros((0, 2)),
              "b": np.array([True, False]), "nan": np.array([np.nan, np.inf])}
    archive.write(tmp_path / "ours", arrays)
    with np.load(tmp_path / "ours") as found:
        same(dict(found), arrays)
    del arrays["file"]
    np.savez(tmp_path / "theirs.npz", **arrays)
    same(archive.read(str(tmp_path / "theirs.npz")), arrays)


@pytest.mark.parametrize("arrays, text", [
    ({"x": np.array([print], object)}, "'x' is object; an archive holds bool, integers and floats"),
    ({"x": "text"}, "'x' is <U4"), ({"x": 1j}, "complex128"),
    ({"x": np.zeros(1, [("a", "f4")])}, "an archive holds"),
    ({"a\0b": 1}, "under names of up to 1000 letters"), ({"a" * 1001: 1}, "up to 1000"),
    ({f"{i:0500}": 1 for i in range(2000)}, "2000 arrays: their names need more than 1048576"),
])
def test_what_could_not_be_read_is_not_written(tmp_path, arrays, text):
    with pytest.raises(ValueError, match=text):
        archive.write(tmp_path / "x", arrays)
    assert os.listdir(tmp_path) == []


def test_as_many_names_as_are_written_are_read():
    arrays = {f"{i:0900}": i for i in range(1040)}
    file = io.BytesIO()
    archive.write(file, arrays)
    same(archive.read(file), arrays)


# -- whole or not at all --------------------------------------------------------------------------
def test_the_folder_and_the_file_are_synced_in_this_order(tmp_path, monkeypatch):
    done = []
    sync, move = os.fsync, os.replace

    def fsync(number):
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{number}") else "file")
        sync(number)

    def replace(old, new):
        done.append("replaced")
        assert old == f"{new}.{os.getpid()}.tmp"
        assert os.path.getsize(old) > 0
        move(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    archive.write_bytes(tmp_path / "text", b"new")
    assert done == (["file", "replaced", "folder"] if os.path.isdir("/proc/self/fd")
                    else ["file", "replaced", "file"])
    assert (tmp_path / "text").read_bytes() == b"new"


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_error_at_any_step_leaves_the_old_file_and_nothing_else(
        tmp_path, monkeypatch, step, error):
    path = tmp_path / "x"
    archive.write(path, {"x": X})
    before = path.read_bytes()

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(*(np.lib.format, "write_array") if step == "write" else (os, step), fails)
    with pytest.raises(type(error)):
        archive.write(path, {"x": X + 1})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes there")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    """A limit that the system itself sets: some of the file is written, then no more."""
    code = """
import resource, sys
import numpy as np
from minigrad import archive
archive.write(sys.argv[1], {"x": np.ones(3)})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for size in (11_000, 12_800, 100_000, 3_000_000):
    try:
        archive.write(sys.argv[1], {"x": np.ones(size)})
    except OSError as error:
        print(error.strerror, archive.read(sys.argv[1])["x"].size)
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], timeout=60,
                            capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["File too large 11000"] * 3
    assert os.listdir(tmp_path) == ["x"]


def test_errors_of_opening_are_the_systems(tmp_path):
    with pytest.raises(FileNotFoundError):
        archive.read(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        archive.write(tmp_path / "missing" / "x", {"x": X})
    with pytest.raises((IsADirectoryError, PermissionError)):
        archive.read(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        archive.write(tmp_path / "folder", {"x": X})
    assert os.listdir(tmp_path) == ["folder"]


def test_importing_minigrad_does_not_import_zipfile():
    code = "import sys, minigrad, minigrad.archive; print('zipfile' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True,
                            text=True, check=True)
    assert result.stdout.strip() == "False"


# -- what is no archive ---------------------------------------------------------------------------
def refused(file, text="."):
    started = time.perf_counter()
    with pytest.raises(ArchiveError, match=text) as caught:
        archive.read(file)
    assert time.perf_counter() - started < 1
    found = str(caught.value)
    assert found.startswith(f"{file}: an npz of plain numbers is expected") and len(found) < 1000


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip, but longer than the end of one" * 9,
                                     npy(DESCR), zlib.compress(bytes(1000))])
def test_files_of_another_kind_are_refused_by_name(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    refused(tmp_path / "x", "File is not a zip file")


@pytest.mark.parametrize("member, text", [
    (b"", "no array of plain numbers, it begins with b''"),
    (npy(DESCR)[:30], "no array of plain numbers"),
    (npy(DESCR)[:-1], r"float32 \(3, 4\) needs 48 bytes, there are 47"),
    (npy(DESCR) + b"+", "needs 48 bytes, there are 49"),
    (npy(DESCR | {"shape": (3, 5)}), r"\(3, 5\) needs 60 bytes, there are 48"),
    (npy(DESCR | {"shape": (10**17, 10**17)}), f"needs {4 * 10**34} bytes"),
    (npy(DESCR | {"shape": (10**18,)}), "no array of plain numbers"),
    (npy(DESCR | {"shape": (-3, -4)}), "no array of plain numbers"),
    (npy(DESCR | {"shape": (3, 4.0)}), "no array of plain numbers"),
    (npy(DESCR | {"shape": (2**60, 0)}, b""), "no array of plain numbers|too big|too large"),
    (npy(DESCR | {"shape": (10**17, 10**17, 0)}, b""), "too big|too large|int"),
    (npy(DESCR | {"shape": (1,) * 70 + (3, 4)}), "dim"),
    (npy(DESCR | {"descr": "|O"}), r"no array of plain numbers, it begins with .*'\|O'"),
    (npy(DESCR | {"descr": "<U1"}), "no array of plain numbers"),
    (npy(DESCR | {"descr": "|V4"}), "no array of plain numbers"),
    (npy(DESCR | {"descr": "<M8[s]"}), "no array of plain numbers"),
    (npy(DESCR | {"descr": "<c8"}), "no array of plain numbers"),
    (npy(DESCR | {"descr": "<f3"}), "'<f3' not understood"),
    (npy(DESCR | {"descr": "<f0"}), "not understood"),
    (npy(DESCR | {"descr": [("a", "<f4")]}), "no array of plain numbers"),
    (npy(DESCR | {"descr": ("<f4", (10**9,))}), "no array of plain numbers"),
    (npy(DESCR | {"fortran_order": 0}), "no array of plain numbers"),
    (npy(DESCR | {"more": 1}), "no array of plain numbers"),
    (npy("__import__('os').mkdir('trap')"), "no array of plain numbers"),
    (npy("(" * 60000), "no array of plain numbers"), (npy("9" * 60000), "no array"),
    (npy("[" * 30000 + "]" * 30000), "no array of plain numbers"),
    (npy(str(DESCR).replace("(3, 4)", "(" + "1, " * 20000 + "x)")), "no array of plain numbers"),
    (npy("\0" * 100), "no array"), (npy("\xff{'descr'"), "no array"),
    (npy(DESCR, magic=b"\x93NUMPY\2\0"), "no array of plain numbers, it begins with .*x02"),
    (npy(DESCR, magic=b"\x93NUMPX\1\0"), "no array of plain numbers"),
    (npy(DESCR | {"descr": "|b1"}, b"\1\0\1\0\1\0\1\0\1\0\1\2"), "bool, and 2 in it"),
])
def test_a_member_that_is_no_array_of_numbers_is_refused(tmp_path, monkeypatch, member, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(zipped([("x.npy", member)]).getvalue())
    refused(tmp_path / "x", f"'x.npy': .*({text})")
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("file, text", [
    (lambda: zipped([("x", npy(DESCR))]), "'x': no .npy"),
    (lambda: zipped([("d/", b"")]), "'d/': no .npy"),
    (lambda: zipped([("9" * 1001 + ".npy", npy(DESCR))]), "too long a name"),
    (lambda: zipped([("x.npy", npy(DESCR))], zipfile.ZIP_DEFLATED), r"'x.npy': compressed .*savez"),
    (lambda: zipped([("x.npy", npy(DESCR))], zipfile.ZIP_BZIP2), "compressed"),
    (lambda: zipped([("x.npy", npy(DESCR))], zipfile.ZIP_LZMA), "compressed"),
])
def test_a_zip_of_something_else_is_refused(file, text):
    refused(file(), text)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused():
    refused(zipped([("x.npy", npy(DESCR))] * 2), "second one of this name")


def test_an_encrypted_member_is_refused():
    raw = bytearray(zipped([("x.npy", npy(DESCR))]).getvalue())
    for start, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.index(start) + place] |= 1
    refused(io.BytesIO(raw), "encrypted, password")


def entry(raw: bytes, place: int, value: int, size: int = 4) -> io.BytesIO:
    """A field of the first entry of the zip's table of contents, forged."""
    start = raw.index(b"PK\1\2") + place
    return io.BytesIO(raw[:start] + value.to_bytes(size, "little") + raw[start + size:])


@pytest.mark.parametrize("place", [20, 24])
@pytest.mark.parametrize("value", [0, 1, 175, 177, 10**6, 2**31, 2**32 - 2, 2**32 - 1])
def test_forged_sizes_are_refused_before_memory_is_taken(place, value):
    raw = zipped([("x.npy", npy(DESCR))]).getvalue()
    assert peak_memory(lambda: refused(entry(raw, place, value))) < 4 << 20


def test_entries_that_share_their_bytes_are_more_than_the_file():
    """The zip bomb of D. Fifield (2019) needs no nesting: many entries point to one place."""
    raw = zipped([("x.npy", npy(DESCR | {"shape": (250000,)}, bytes(10**6)))]).getvalue()
    start, end = raw.index(b"PK\1\2"), raw.index(b"PK\5\6")
    entries = [raw[start:end].replace(b"x.npy", b"%c.npy" % letter) for letter in b"xyz"]
    size = len(raw[start:end])
    tail = (raw[end:end + 8] + struct.pack("<HHI", 3, 3, 3 * size) + raw[end + 16:])
    bomb = io.BytesIO(raw[:start].replace(b"x.npy", b"y.npy") + entries[1] + entries[0]
                      + entries[2] + tail)
    refused(bomb, "'x.npy': .*(1000.* are left in the file|[Oo]verlap)")


def test_a_huge_table_of_contents_is_not_read():
    many = zipped([(f"{i:06}.npy", b"") for i in range(20000)])
    size = len(many.getvalue())
    assert size > 1 << 20
    assert peak_memory(lambda: refused(many, "a table of contents of 1120000 bytes")) < 4 << 20


def test_memory_is_that_of_the_file(tmp_path):
    archive.write(tmp_path / "x", {"x": np.ones(10**6), "y": np.ones(10**6, np.float32).T})
    size = os.path.getsize(tmp_path / "x")
    assert peak_memory(lambda: archive.read(tmp_path / "x")) < size + (4 << 20)


def test_every_flip_of_a_bit_and_every_truncation_is_an_error_or_harmless():
    arrays, file = {"x": X[:2, :2], "n": np.arange(3)}, io.BytesIO()
    archive.write(file, arrays)
    raw = file.getvalue()
    flipped = [raw[:i] + bytes([raw[i] ^ 1 << bit]) + raw[i + 1:]
               for i in range(len(raw)) for bit in range(8)]
    truncated = [raw[:i] for i in range(len(raw))]
    harmless = 0
    for damaged in flipped + truncated:
        try:
            found = archive.read(io.BytesIO(damaged))
        except ArchiveError:
            continue
        harmless += 1
        same(found, arrays)
    assert 0 < harmless < len(flipped) / 2  # such as the dates


def test_an_end_of_zeros_is_not_the_end_of_an_empty_archive():
    raw = zipped([("x.npy", npy(DESCR))]).getvalue()
    refused(io.BytesIO(raw[:-18] + bytes(18)), "other arrays than the zip's end says")
    assert archive.read(io.BytesIO(b"PK\5\6" + bytes(18))) == {}


# -- noise ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("keys", [
    ["0.normal.1"], ["1.normal.0"], ["0.normal.0", "2.normal.0"], ["0.normal.0", "0.uniform.0"],
    ["0.normal.0", "0.normal.2"], ["0..0"], ["0.0"], ["normal"], [""], ["-1.normal.0"],
    ["00.normal.0"], ["0.normal.00"], ["9" * 900 + ".normal.0"], ["0.normal." + "9" * 900],
    ["².normal.0"], ["0.normal.0", "0.normal.0.0"],
])
def test_noise_whose_draws_are_not_all_there_is_refused(tmp_path, keys):
    archive.write(tmp_path / "eps", dict.fromkeys(keys, X))
    with pytest.raises(ArchiveError, match=r"eps: noise is expected.* missing or out of place"):
        Noise.load(tmp_path / "eps")


def test_the_order_of_draws_is_that_of_their_numbers(tmp_path):
    arrays = {f"{i}.normal.0": np.full(2, i) for i in range(11)}
    archive.write(tmp_path / "eps", dict(reversed(arrays.items())))
    assert [int(d.value[0]) for d in Noise.load(tmp_path / "eps")] == list(range(11))
