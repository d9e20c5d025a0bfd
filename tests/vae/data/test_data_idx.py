"""read_idx: every damage ends in a DataError or does no harm."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae.data import DataError, read_idx
from vae.data.idx import idx_header

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
PLAIN = bytes([0, 0, 8, 3]) + struct.pack(">3I", 3, 4, 5) + IMAGES.tobytes()
ZIPPED = gzip.compress(PLAIN, mtime=0)
modest = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def write(tmp_path):
    def write(content: bytes, name: str = "file"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("content", [PLAIN, ZIPPED], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_compression_is_told_by_content(write, content, name):
    array = read_idx(write(content, name), ndim=3)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)


@pytest.mark.parametrize(
    ("code", "letter", "values"),
    [
        (0x08, "B", [0, 255]),
        (0x09, "b", [-128, 127]),
        (0x0B, "h", [-300, 2]),
        (0x0C, "i", [-70000, 2]),
        (0x0D, "f", [0.5, -2.0]),
        (0x0E, "d", [0.1, 1e300]),
    ],
)
def test_every_type_is_read_from_big_endian_and_is_native(write, code, letter, values):
    content = bytes([0, 0, code, 1]) + struct.pack(">I", 2) + struct.pack(f">2{letter}", *values)
    array = read_idx(write(content))
    assert array.dtype == np.dtype(letter)
    assert array.dtype.isnative
    assert array.tolist() == values
    assert idx_header(array) == content[:8]


def test_the_header_of_a_type_that_idx_lacks():
    with pytest.raises(DataError, match="no type code for complex128"):
        idx_header(np.zeros(2, complex))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file, it begins with nothing"),
        (b"<!DO", "not an IDX file, it begins with 3c 21 44 4f"),
        (bytes([0, 0, 8, 0]), "not an IDX file"),
        (bytes([0, 0, 7, 1, 0, 0, 0, 0]), "unknown IDX type code 0x07; known are 0x08, 0x09"),
        (PLAIN[:10], "the header ends after 10 of 16 bytes"),
        (PLAIN[:-7], "promises 60 bytes of data, shape (3, 4, 5); the file holds 53 bytes"),
        (PLAIN + b"abc", "promises 60 bytes of data, shape (3, 4, 5); the file holds at least 61"),
        (gzip.compress(PLAIN[:-7]), "promises 60 bytes of data, .*the file holds 53 bytes"),
        (ZIPPED[:-9], "the gzip file is truncated"),
        (ZIPPED[:25], "the gzip file is truncated"),
        (ZIPPED[:-8] + bytes(8), "the gzip file is damaged .*CRC"),
        (ZIPPED[:10] + b"\xff" * 30, "the gzip file is damaged"),
    ],
)
def test_damage_is_named(write, content, message):
    pattern = message if ".*" in message else message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(DataError, match=pattern) as caught:
        read_idx(write(content, "broken"))
    assert "broken: " in str(caught.value)


def test_labels_under_the_name_of_images(write):
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 4) + bytes([5, 0, 4, 1])
    path = write(labels, "train-images-idx3-ubyte")
    with pytest.raises(DataError, match=r"images \(3 .* the file holds labels \(1 .*renamed\?"):
        read_idx(path, ndim=3)


def test_a_missing_file_is_not_a_data_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


def peak_memory(function) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_forged_header_allocates_nothing(write, compress):
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1000, 1000, 1000)
    path = write(compress(header + b"tiny"))

    def read():
        with pytest.raises(DataError, match=r"promises 1000000000 bytes .* holds 4 bytes"):
            read_idx(path)

    assert peak_memory(read) < 8 << 20


def test_a_promise_beyond_the_limit(write):
    path = write(bytes([0, 0, 14, 3]) + b"\xff" * 12)
    with pytest.raises(DataError, match=f"promises {8 * (2**32 - 1) ** 3} bytes.*max_bytes=1073"):
        read_idx(path)


def test_a_gzip_bomb_is_cut_off(write):
    path = write(gzip.compress(PLAIN + bytes(200 << 20), compresslevel=1))

    def read():
        with pytest.raises(DataError, match=r"promises 60 bytes .* holds at least 61 bytes"):
            read_idx(path)

    assert peak_memory(read) < 8 << 20


@modest
@given(place=st.integers(0, len(ZIPPED) - 1), mask=st.integers(1, 255))
def test_a_flipped_byte_of_a_gzip_file_never_changes_the_result(write, place, mask):
    content = bytearray(ZIPPED)
    content[place] ^= mask
    try:
        array = read_idx(write(content))
    except DataError:
        return
    np.testing.assert_array_equal(array, IMAGES)


@modest
@given(place=st.integers(0, len(PLAIN) - 1), mask=st.integers(1, 255))
def test_a_flipped_byte_of_a_plain_file_changes_at_most_that_value(write, place, mask):
    content = bytearray(PLAIN)
    content[place] ^= mask
    try:
        array = read_idx(write(content), ndim=3)
    except DataError:
        return
    # uint8 may have become int8: the values are compared as bytes.
    expected = content[16:]
    assert array.shape == IMAGES.shape
    assert array.tobytes() == bytes(expected)


@modest
@given(content=st.sampled_from([PLAIN, ZIPPED]), data=st.data())
def test_every_truncation_is_found(write, content, data):
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DataError):
        read_idx(write(content[:length]))


@modest
@given(content=st.sampled_from([PLAIN, ZIPPED]), extra=st.binary(min_size=1, max_size=40))
def test_an_extension_is_found_or_harmless(write, content, extra):
    try:
        array = read_idx(write(content + extra))
    except DataError:
        return
    assert content == ZIPPED
    assert not any(extra)  # gzip allows padding with zeros
    np.testing.assert_array_equal(array, IMAGES)


@modest
@given(content=st.binary(max_size=60), tail=st.binary(max_size=30))
def test_arbitrary_bytes_never_end_in_another_error(write, content, tail):
    for start in (b"", b"\0\0\x08", b"\x1f\x8b"):
        with suppress(DataError):
            read_idx(write(start + content + tail), max_bytes=1000)


@pytest.mark.parametrize("shape", [(0,), (2, 0, 28), (2**32 - 1, 0, 2**32 - 1, 2**32 - 1)])
def test_a_file_without_values(write, shape):
    path = write(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape))
    with pytest.raises(DataError, match="the file holds no values, its shape is"):
        read_idx(path)
