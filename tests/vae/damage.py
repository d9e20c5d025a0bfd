"""Damage to files, drawn by Hypothesis: of their bytes, and of what their headers say."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from functools import cache

from hypothesis import strategies as st

NUMBERS = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1,
           2**63 - 1, 2**63, 2**64 - 1]
SHAPES = ["(1000000000,)", "(99999, 99999, 99999)", "(-1,)", "(-3, -4)", "(2.0, 3)", "(3,)*9", "7",
          "()" * 40, "(1, " * 500, "(" * 5000 + ")" * 5000, "(" + "1," * 5000 + ")", "9" * 5000,
          "(9223372036854775807, 2)", "(4294967296, 4294967296)", "(None,)", "[3, 4]", "('3',)",
          "(0x10,)", "(True, 12)", "(1e9,)", "__import__('os').mkdir('trap')", "", "\xff\0"]
DESCRS = ["'|O'", "'O'", "'|O8'", "'<U9'", "'|S4'", "'|V4'", "'<c16'", "'<M8[s]'", "'<f1'",
          "'<f3'", "'<f99'", "[('a', '<f4')]", "[('a', '|O')]", "('<f4', (1000000000,))", "None",
          "4", "'float32'", "''", "'" + "(" * 4000 + "'", "[" * 3000 + "]" * 3000, "'<f4",
          "'V1000000000'"]
ORDERS = ["1", "None", "'False'", "()", "x", "not False"]
STARTS = [b"\x93NUMPY\2\0", b"\x93NUMPY\3\0", b"\x93NUMPY\4\0", b"\x93NUMPY\0\0", b"\x92NUMPY\1\0",
          b"\x93numpy\1\0", b"PK\3\4", b"\0\0\10\3", b""]
NAMES = ["", "a", "../../trap", "/trap", "0", "0.normal", "-1.normal.0", "0.normal.-1", "0..0",
         "9" * 40 + ".normal.0", "0.normal.1e3", "0.normal.00", "model", "model.", "x" * 3000,
         "file", "0.normal." + "9" * 5000, "²", "0.normal.²", "x\n", "\u202e"]
ENTRY = {"version": (6, 2), "flags": (8, 2), "method": (10, 2), "CRC": (16, 4), "packed": (20, 4),
         "size": (24, 4), "name": (28, 2), "extra": (30, 2), "comment": (32, 2), "offset": (42, 4)}
LOCAL = {"flags": (6, 2), "method": (8, 2), "packed": (18, 4), "size": (22, 4), "name": (26, 2),
         "extra": (28, 2)}
END = {"here": (8, 2), "entries": (10, 2), "size": (12, 4), "offset": (16, 4), "comment": (20, 2)}
FIELDS = [(b"PK\1\2", ENTRY), (b"PK\3\4", LOCAL), (b"PK\5\6", END)]


class Trap:
    """Unpickled, it makes a folder `trap` in the working directory."""

    def __reduce__(self):
        return os.mkdir, ("trap",)


TRAP = pickle.dumps(Trap())


def npy(descr: str, order: str, shape: str, data: bytes, start: bytes = b"\x93NUMPY\1\0") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"
    text = text.encode("latin1", "replace")
    return start + len(text).to_bytes(2, "little") + text + data


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as made:
        warnings.simplefilter("ignore")  # a name that is there twice is meant
        for name, data in members:
            made.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return file.getvalue()


@cache
def others() -> list[bytes]:
    """Whole files of another kind, bombs among them."""
    zeros = bytes(32 << 20)
    bomb = npy("'<f4'", "False", f"({8 << 20},)", zeros)
    files = [zipped([(f"{name}.npy", bomb) for name in ("train", "0.normal.0")], method)
             for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)]
    files += [gzip.compress(b"\0\0\10\3" + struct.pack(">3I", 3, 4, 5) + zeros),
              zlib.compress(zeros), bz2.compress(zeros), bytes(5000), b"", b"\0", b"PK",
              b"{}", b"[" * 100_000, b"0 1 " * 5000,
              zipped([(f"{i}.npy", b"") for i in range(2000)]), TRAP,
              npy("'|O'", "False", "()", TRAP),
              npy("'<f4'", "False", "(1,)", bytes(4))]
    return files


@st.composite
def of_bytes(draw: st.DrawFn, raw: bytes) -> bytes:
    """Bytes flipped, written over, cut off, cut out, put in, doubled."""
    n = len(raw)
    place = st.one_of(st.integers(0, n - 1), st.integers(0, min(n - 1, 80)),
                      st.integers(max(0, n - 250), n - 1))
    i, j = sorted((draw(place), draw(place)))
    some = draw(st.one_of(st.binary(min_size=1, max_size=40), st.integers(1, 3000).map(bytes)))
    number = draw(st.sampled_from(NUMBERS))
    size, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["little", "big"]))
    forged = (number % (1 << 8 * size)).to_bytes(size, order)
    flipped = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        flipped[draw(place)] ^= draw(st.integers(1, 255))
    return draw(st.sampled_from([
        bytes(flipped), bytes(flipped), raw[:i] + forged + raw[i + size:],
        raw[:i] + some + raw[i + len(some):], raw[:i] + some + raw[i:], raw[:i], raw[i:],
        raw + some, raw + raw, raw + raw[i:j], some + raw, raw[:i] + raw[j:], raw[:j] + raw[i:],
        raw[:i] + bytes(j - i) + raw[j:], raw[:4] + some]))


@st.composite
def of_zip(draw: st.DrawFn, raw: bytes) -> bytes:
    """Fields of the zip's own records overwritten: sizes, offsets, counts, methods, flags."""
    damaged = bytearray(raw)
    for _ in range(draw(st.integers(1, 3))):
        signature, fields = draw(st.sampled_from(FIELDS))
        starts = [i for i in range(len(raw)) if raw.startswith(signature, i)]
        place, size = fields[draw(st.sampled_from(sorted(fields)))]
        place += draw(st.sampled_from(starts))
        old = int.from_bytes(raw[place:place + size], "little")
        new = draw(st.one_of(st.sampled_from(NUMBERS), st.integers(old - 300, old + 300),
                             st.integers(0, len(raw)), st.sampled_from([8, 12, 14, 93, 99])))
        damaged[place:place + size] = (new % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(damaged)


@st.composite
def of_npy(draw: st.DrawFn, raw: bytes) -> bytes:
    """A member of an npz whose header or name cannot be right, in a zip that is, CRC and all."""
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        members = [(name, file.read(name)) for name in file.namelist()]
        method = file.infolist()[0].compress_type
    k = draw(st.integers(0, len(members) - 1))
    name, member = members[k]
    data = member[10 + int.from_bytes(member[8:10], "little"):]
    descr, order, shape, start = "'<f4'", "False", f"({len(data) // 4},)", b"\x93NUMPY\1\0"
    what = draw(st.sampled_from(["descr", "order", "shape", "start", "name", "pickle", "length",
                                 "data", "bomb", "twice"]))
    if what in ("descr", "pickle"):
        descr = draw(st.sampled_from(DESCRS))
    if what == "pickle":
        descr, data = "'|O'", TRAP
    if what == "order":
        order = draw(st.sampled_from(ORDERS))
    if what == "shape":
        shape = draw(st.one_of(st.sampled_from(SHAPES), st.text(max_size=30).map(repr)))
    if what == "start":
        start = draw(st.sampled_from(STARTS))
    if what == "data":
        data = draw(st.sampled_from([data[:-1], data + b"\0", data * 2, b""]))
    if what == "bomb":
        shape, data, method = f"({1 << 22},)", bytes(16 << 20), zipfile.ZIP_DEFLATED
    if what == "name":
        name = draw(st.sampled_from(NAMES)) + ".npy"
    elif what == "length":
        member = member[:8] + draw(st.binary(min_size=2, max_size=2)) + member[10:]
    elif what != "twice":
        member = npy(descr, order, shape, data, start)
    changed = [*members[:k], (name, member), *members[k + 1:]]
    return zipped(changed + [members[k]] * (what == "twice"), method)


@st.composite
def of_idx(draw: st.DrawFn, raw: bytes) -> bytes:
    """An IDX header that promises something else than there is; gzipped anew where it was."""
    packed = raw[:2] == b"\x1f\x8b"
    plain = bytearray(gzip.decompress(raw) if packed else raw)
    what = draw(st.sampled_from(["code", "dimensions", "shape", "shape"]))
    if what == "code":
        plain[2] = draw(st.sampled_from([0, 7, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0xFF]))
    if what == "dimensions":
        plain[3] = draw(st.sampled_from([0, 1, 2, 4, 5, 8, 9, 64, 255]))
    if what == "shape":
        k = 4 + 4 * draw(st.integers(0, plain[3] - 1))
        plain[k:k + 4] = struct.pack(">I", draw(st.sampled_from(NUMBERS)) % 2**32)
    return gzip.compress(plain, mtime=0) if packed else bytes(plain)


@st.composite
def of_json(draw: st.DrawFn, raw: bytes) -> bytes:
    """A checkpoint's JSON that cannot be right, under the SHA-256 that it needs."""
    head, tail = raw.index(b'"state": ') + 9, len(raw) - 2
    state = raw[head:tail]
    keys = [b'"format"', b'"description"', b'"configuration"', b'"arrays"']
    key = draw(st.sampled_from(keys))
    i = draw(st.integers(0, len(state) - 1))
    forged = draw(st.sampled_from([
        state.replace(key, b'"other"'), state.replace(b'"epoch"', b'"other"'),
        state.replace(key, key[:-1] + b'": 1, "more"'),
        state[:i], state[i:], b"[" * 50_000, b'{"a":' * 50_000, b"9" * 5000, b"", b"\xff", b"null",
        b"[]", b"{}", b'"x"', b"7", b'{"format": 1}', b'{"format": 1, "arrays": 3}',
        state.replace(b'"format": ', b'"format": 9'),
        state.replace(b'"arrays": "', b'"arrays": "0')]))
    return b'{"sha256": "%s", "state": %s}\n' % (
        hashlib.sha256(forged).hexdigest().encode(), forged)
