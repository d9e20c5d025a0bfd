"""Small IDX files written independently of the package, and a local server that misbehaves."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from vae.data import Mirrors, mnist

NAMES = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "t10k-images": "t10k-images-idx3-ubyte",
    "t10k-labels": "t10k-labels-idx1-ubyte",
}
REAL_DATA = os.environ.get("MINIGRAD_DATA")


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of uint8, from the description of the format."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No test sees the user's data, cache or proxy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.fixture
def real_folder():
    if not REAL_DATA:
        pytest.skip("MINIGRAD_DATA is not set: no real MNIST here")
    return REAL_DATA


@pytest.fixture
def small() -> dict[str, np.ndarray]:
    """Four arrays in MNIST's shapes: 20 training and 10 test images."""
    rng = np.random.default_rng(5)
    return {
        "train-images": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "train-labels": np.arange(20, dtype=np.uint8) % 10,
        "t10k-images": rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "t10k-labels": np.arange(10, dtype=np.uint8),
    }


@pytest.fixture
def as_mnist(monkeypatch, small):
    """Let the small arrays pass for the genuine MNIST; their IDX bytes by stem."""
    files = {stem: idx_bytes(array) for stem, array in small.items()}
    for stem, raw in files.items():
        ndim = small[stem].ndim
        monkeypatch.setitem(mnist.FILES, stem, (ndim, hashlib.sha256(raw).hexdigest()))
    return files


@pytest.fixture
def folder(tmp_path, small):
    """A folder with the four small files, plain, under the usual names."""
    path = tmp_path / "my digits"
    path.mkdir()
    for stem, array in small.items():
        (path / NAMES[stem]).write_bytes(idx_bytes(array))
    return path


class Server:
    """A mirror on 127.0.0.1. `replies` maps a file name to bytes, a status code, or a function
    of the request handler; `requests` records the paths asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.replies = {f"{NAMES[s]}.gz": gzip.compress(raw) for s, raw in files.items()}
        self.requests: list[str] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[1]
                server.requests.append(name)
                reply = server.replies.get(name, 404)
                if callable(reply):
                    reply(self)
                elif isinstance(reply, int):
                    self.send_error(reply)
                else:
                    server.send(self, reply, len(reply))

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/mnist/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @staticmethod
    def send(handler, body: bytes, length: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def servers(as_mnist):
    """Two good mirrors; tests break them."""
    pair = [Server(as_mnist), Server(as_mnist)]
    yield pair
    for server in pair:
        server.close()


@pytest.fixture
def mirrors(servers) -> Mirrors:
    return Mirrors(tuple(s.url for s in servers), connect_seconds=2.0, total_seconds=5.0)
