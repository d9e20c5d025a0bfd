"""One training step of a workload, in minigrad or in a peer: `python steps.py WORKLOAD PEER`.

Reads from its input how many seconds a turn takes, a line each; prints for each turn, as JSON, the
median and the smallest time of a step in milliseconds, the most memory that the process took so far
beyond what importing the package takes, and all of it, in MB.  All in float32.

    chain     forward and backward of 1000 products of a one-element array
    dense-B   VAE 784-500-20, tanh, Bernoulli pixels, Adam, batch B (Kingma and Welling 2014)
    iwae-K    784-200-200-50, tanh, batch 20, K importance samples (Burda et al. 2016)
    conv-B    28x28-14x14x32-7x7x64-128-64 and back, relu, kernels 3x3 of stride 2, squared error
    conv4-B   the same with kernels 4x4

Every peer does the whole step: noise, forward, backward, Adam; the data is one fixed batch.
`floor` is the matrix products alone, into kept buffers, by NumPy's BLAS: to compare with, and for
the dense workloads what no program that uses that BLAS gets below.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peers
from peers import N_H, N_X, N_Z, Step

PACKAGES = {"minigrad": "vae", "floor": "numpy", "torch-last": "torch", "compile": "torch"}


def measure(step: Step, seconds: float = 3.0, warm: float = 1.5) -> dict[str, float]:
    until = time.perf_counter() + warm
    while time.perf_counter() < until:
        step()
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 5:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {"median": 1e3 * float(np.median(times)), "min": 1e3 * min(times)}


def minigrad_chain() -> Step:
    import minigrad as mg

    a = mg.Tensor(np.ones(1, np.float32))

    def step() -> None:
        a.grad, t = None, a
        for _ in range(1000):
            t = t * a
        t.backward()
    return step


def training(model: Any, loss: Callable[[], Any]) -> Step:
    """Adam's step of all parameters of the model, by the gradient of `loss()`."""
    import minigrad as mg

    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=1e-3)

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def minigrad_dense(batch: int) -> Step:
    import vae

    rng = np.random.default_rng(0)
    model = vae.dense_vae(N_X, [N_H], N_Z, rng=rng)
    x = rng.random((batch, N_X), dtype=np.float32)

    return training(model, lambda: -np.mean(vae.elbo(model, x, rng=rng).value))


def minigrad_iwae(samples: int) -> Step:
    import vae

    rng = np.random.default_rng(0)
    model = vae.dense_vae(N_X, [200, 200], 50, rng=rng)
    x = (rng.random((20, N_X)) > 0.5).astype(np.float32)

    return training(model, lambda: -np.mean(vae.estimators.iwae(model, x, rng=rng,
                                                                samples=samples).value))


def minigrad_conv(batch: int, kernel: int = 3) -> Step:
    import vae

    rng = np.random.default_rng(0)
    model = vae.conv_vae(kernel=kernel, rng=rng)
    x = rng.random((batch, N_X), dtype=np.float32)

    def loss() -> Any:
        q = model.posterior(x)
        mean = model.likelihood(q.sample(rng=rng)).mean
        return (np.sum(np.square(mean - x)) + np.sum(vae.kl(q, model.prior))) / batch
    return training(model, loss)


def floor(layers: list[tuple[int, int, int]]) -> Step:
    """The products of layers (rows, n_in, n_out), forward, by weights and, but for the first, back.

    Of a convolution, as if what its windows meet lay there already.
    """
    rng, products = np.random.default_rng(0), []
    for rows, n_in, n_out in layers:
        x, w, g = (rng.random(s, dtype=np.float32)
                   for s in [(rows, n_in), (n_in, n_out), (rows, n_out)])
        factors = [(x, w), (x.T, g)] + ([(g, w.T)] if products else [])
        products += [(a, b, np.empty((a.shape[0], b.shape[1]), np.float32)) for a, b in factors]

    def step() -> None:
        for a, b, out in products:
            np.matmul(a, b, out=out)
    return step


def floor_dense(batch: int) -> Step:
    return floor([(batch, N_X, N_H), (batch, N_H, 2 * N_Z), (batch, N_Z, N_H), (batch, N_H, N_X)])


def floor_iwae(samples: int) -> Step:
    n = 20 * samples
    return floor([(20, N_X, 200), (20, 200, 200), (20, 200, 100), (n, 50, 200), (n, 200, 200),
                  (n, 200, N_X)])


def floor_conv(batch: int, kernel: int = 3) -> Step:
    k, small, middle, large = kernel**2, 49 * batch, 196 * batch, 784 * batch
    return floor([(middle, k, 32), (small, 32 * k, 64), (batch, 3136, 128), (batch, 128, 128),
                  (batch, 64, 3136), (small, 64, 64 * k), (middle, 64, 32 * k), (large, 32 * 9, 1)])


def build(workload: str, peer: str) -> Step:
    """`torch-last` is PyTorch with channels last; it compiles what is in that layout, too."""
    kind, _, size = workload.partition("-")
    arguments: dict[str, object] = {"kernel": 4} if kind == "conv4" else {}
    kind = kind.rstrip("4")
    if peer == "compile":
        arguments["compiled"] = True
    if kind == "conv" and peer in ("compile", "torch-last"):
        arguments["last"] = True
    name = f"{PACKAGES.get(peer, peer) if peer not in ('minigrad', 'floor') else peer}_{kind}"
    maker = globals().get(name) or getattr(peers, name)
    return maker(*[int(size)] if size else [], **arguments)


def peak() -> float:
    """The most memory that this process has had, in MB; nan where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1000 if found else float("nan")


if __name__ == "__main__":
    workload, peer = sys.argv[1:]
    importlib.import_module(PACKAGES.get(peer, peer))
    before = peak()
    step = build(workload, peer)
    measure(step, 0, warm=8.0 if peer == "compile" else 1.5)
    for seconds in sys.stdin:
        times = measure(step, float(seconds), warm=0.2)
        print(json.dumps({**times, "memory": peak() - before, "process": peak()}), flush=True)
