"""Finding, downloading and verifying MNIST, against mirrors on 127.0.0.1."""

from __future__ import annotations

import gzip
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from vae.data import DataError, Mirrors, Unavailable, load, load_mnist, mnist

NOWHERE = Mirrors(("http://127.0.0.1:1/",), connect_seconds=0.5)
FIRST = "train-images-idx3-ubyte.gz"


def same(dataset, small) -> None:
    """The data set holds the small arrays, divided by 255."""
    for split, stem in (("train", "train"), ("test", "t10k")):
        images, labels = small[f"{stem}-images"], small[f"{stem}-labels"]
        found = getattr(dataset, split)
        assert found.shape == (len(images), 28, 28, 1)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[..., 0] * 255, images, rtol=1e-6)
        assert getattr(dataset, f"{split}_labels").dtype == np.int64
        np.testing.assert_array_equal(getattr(dataset, f"{split}_labels"), labels)


def cached_names() -> list[str]:
    return sorted(p.name for p in mnist.cache_folder().glob("*"))


# --- a folder that was named


def test_files_of_the_right_sha256_are_mnist(folder, small, as_mnist):
    dataset = load_mnist(folder)
    assert dataset.name == "MNIST"
    assert "SHA-256 verified" in dataset.protocol
    same(dataset, small)


def test_other_idx_images_are_not_called_mnist(folder, small):
    dataset = load_mnist(folder)
    assert dataset.name == "IDX data in my digits"
    assert "not MNIST" in dataset.protocol
    same(dataset, small)


def test_one_changed_label_is_no_longer_mnist(folder, as_mnist):
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x03")
    assert load_mnist(folder).name == "IDX data in my digits"


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_accepted_file_names(folder, small, dot, zipped):
    for path in list(folder.iterdir()):
        raw = path.read_bytes()
        name = path.name.replace("-idx", ".idx") if dot else path.name
        path.unlink()
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(raw) if zipped else raw)
    same(load_mnist(str(folder)), small)


def test_the_environment_names_a_folder(folder, small, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(folder))
    same(load(), small)


def test_the_argument_goes_before_the_environment(folder, small, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path / "elsewhere"))
    same(load(folder), small)


def test_a_missing_file_in_a_named_folder_never_falls_back(folder, servers, mirrors):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    message = (
        r"no MNIST in .*my digits \(given as data\): found t10k-images-idx3-ubyte, "
        r".*; missing t10k-labels-idx1-ubyte \(\.gz or not\)"
    )
    with pytest.raises(DataError, match=message):
        load(folder, mirrors=mirrors)
    assert not servers[0].requests


def test_a_named_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path / "gone"))
    message = r"gone \(given as \$MINIGRAD_DATA\): there is no such folder; missing train-images"
    with pytest.raises(DataError, match=message):
        load()


def test_a_long_folder_is_listed_in_short(tmp_path):
    for i in range(11):
        (tmp_path / f"{i:02d}.txt").touch()
    with pytest.raises(DataError, match=r"found 00.txt, .*, 07.txt and 3 more; missing"):
        load(tmp_path)


def test_swapped_files(folder):
    shutil.copy(folder / "train-labels-idx1-ubyte", folder / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: images .* expected"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(4), r"uint8 \(1, 2, 2\)"),
        (bytes([0, 0, 9, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(784), r"int8 \(1, 28"),
    ],
)
def test_images_of_another_size_or_type(folder, content, found):
    (folder / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=rf"uint8 \(N, 28, 28\) expected, not {found}"):
        load(folder)


def test_fewer_labels_than_images(folder):
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 7]) + bytes(7)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match="my digits: test_labels: 7 labels for 10 images"):
        load(folder)


# --- the cache and the mirrors


def test_a_download_fills_the_cache_once(servers, mirrors, small):
    lines = []
    same(load_mnist(mirrors=mirrors, report=lines.append), small)
    assert len(lines) == 1
    assert "downloaded 4 files to" in lines[0]
    assert len(servers[0].requests) == 4
    assert not servers[1].requests
    assert len(cached_names()) == 4

    same(load_mnist(allow_download=False, report=lines.append), small)
    assert len(lines) == 1


FAULTS = [
    "404",
    "500",
    "an HTML page",
    "nothing",
    "not its SHA-256",
    "closed early",
    "no answer",
    "hangs halfway",
]


def break_mirror(server, files, fault) -> None:
    good = gzip.compress(files["train-images"])

    def closed_early(handler):
        server.send(handler, good[: len(good) // 2], len(good))

    def no_answer(handler):
        server.closing.wait(10)

    def hangs_halfway(handler):
        server.send(handler, good[: len(good) // 2], len(good))
        handler.wfile.flush()
        server.closing.wait(10)

    changed = files["train-images"][:-1] + bytes([files["train-images"][-1] ^ 1])
    server.replies[FIRST] = {
        "404": 404,
        "500": 500,
        "an HTML page": b"<!DOCTYPE html><title>Please log in</title>",
        "nothing": b"",
        "not its SHA-256": gzip.compress(changed),
        "closed early": closed_early,
        "no answer": no_answer,
        "hangs halfway": hangs_halfway,
    }[fault]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_mirror_helps_out(servers, mirrors, as_mnist, small, fault):
    break_mirror(servers[0], as_mnist, fault)
    quick = replace(mirrors, connect_seconds=0.5)
    same(load_mnist(mirrors=quick, report=lambda line: None), small)
    assert servers[1].requests == [FIRST]
    assert all(name.endswith("-ubyte.gz") for name in cached_names())  # no .part is left


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", "Not Found"),
        ("an HTML page", "not an IDX file, it begins with 3c 21 44 4f"),
        ("not its SHA-256", "the SHA-256 differs"),
        ("closed early", "the gzip file is truncated"),
        ("hangs halfway", "timed out"),
    ],
)
def test_when_both_mirrors_fail_it_stops_and_says_why(servers, mirrors, as_mnist, fault, message):
    for server in servers:
        break_mirror(server, as_mnist, fault)
    quick = replace(mirrors, connect_seconds=0.3)
    with pytest.raises(Unavailable, match=f"{servers[1].url}{FIRST}: .*{message}") as caught:
        load_mnist(mirrors=quick)
    assert ".part" not in str(caught.value)
    assert servers[0].requests == servers[1].requests == [FIRST]
    assert cached_names() == []


def test_a_dripping_server_meets_the_deadline(servers, mirrors, as_mnist):
    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(60):
            if not servers[0].closing.wait(0.05):
                handler.wfile.write(b"\x1f")

    servers[0].replies[FIRST] = drip
    impatient = replace(mirrors, urls=mirrors.urls[:1], total_seconds=0.4)
    start = time.monotonic()
    with pytest.raises(Unavailable, match="the download took too long"):
        load_mnist(mirrors=impatient)
    assert time.monotonic() - start < 2


def test_an_endless_download_is_cut_off(servers, mirrors, monkeypatch):
    monkeypatch.setattr(mnist, "MAX_DOWNLOAD", 100)
    with pytest.raises(Unavailable, match="more than 100 bytes sent"):
        load_mnist(mirrors=mirrors)
    assert cached_names() == []


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_damaged_file_in_the_cache_is_replaced(servers, mirrors, small, ending):
    load_mnist(mirrors=mirrors, report=lambda line: None)
    damaged = mnist.cache_folder() / f"t10k-images-idx3-ubyte{ending}"
    damaged.write_bytes(b"half a file")
    lines = []
    same(load_mnist(mirrors=mirrors, report=lines.append), small)
    # A damaged plain file does no harm beside the good gzipped one.
    assert len(lines) == (1 if ending else 0)
    assert len(servers[0].requests) == (5 if ending else 4)


def test_a_cache_that_cannot_be_written(tmp_path, mirrors):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match=r"MNIST cannot be cached in .*cache/minigrad/mnist"):
        load_mnist(mirrors=mirrors)


def test_no_download_unless_allowed(servers, mirrors):
    with pytest.raises(Unavailable, match=r"MNIST is not in .*\(train-images.*not allowed"):
        load_mnist(allow_download=False, mirrors=mirrors)
    assert not servers[0].requests


# --- falling back


def test_without_network_the_embedded_digits_and_one_line():
    lines = []
    dataset = load(seed=3, report=lines.append, mirrors=NOWHERE)
    assert dataset.name == "embedded digits"
    assert "seed 3" in dataset.protocol
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "Connection refused" in lines[0]
    assert "their numbers are not MNIST's" in lines[0]


def test_cache_folder(monkeypatch, tmp_path):
    assert mnist.cache_folder() == tmp_path / "cache" / "minigrad" / "mnist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mnist.cache_folder() == tmp_path / ".cache" / "minigrad" / "mnist"


# --- the real thing


def test_real_mnist(real_folder):
    dataset = load_mnist(real_folder)
    assert dataset.name == "MNIST"
    assert dataset.train.shape == (60000, 28, 28, 1)
    assert dataset.test.shape == (10000, 28, 28, 1)
    # Mean and standard deviation as quoted everywhere for the training set.
    assert dataset.train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=1e-4)
    assert dataset.train.std(dtype=np.float64) == pytest.approx(0.3081, abs=1e-4)
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(dataset.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert np.bincount(dataset.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
