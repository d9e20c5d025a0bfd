"""What keeping a run costs: python tests/benchmarks/checkpoints.py [--epochs 6]

Two runs of a dense VAE on MNIST, by turns with and without checkpoints at their default
interval; the time of each write, and the share of the training time that all writes took.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np

import minigrad as mg
import vae


class Timed(vae.Checkpoint):
    """Notes how long each write took."""

    def __init__(self, folder: str):
        super().__init__(folder)
        self.seconds: list[float] = []

    def write(self, *args) -> None:
        began = time.perf_counter()
        super().write(*args)
        self.seconds.append(time.perf_counter() - began)


def train(x: np.ndarray, epochs: int, checkpoint: vae.Checkpoint | None) -> float:
    rng = np.random.default_rng(0)
    model = vae.dense_vae(x.shape[1], [500], 20, rng=rng, activation=mg.relu)
    began = time.perf_counter()
    vae.fit(model, x, epochs=epochs, batch_size=100, rng=rng, checkpoint=checkpoint,
            optimizer=mg.optim.Adam(mg.nn.parameters(model)))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=6)
    epochs = parser.parse_args().epochs
    images = vae.data.load().train
    x = images.reshape(len(images), -1)
    times: dict[str, list[float]] = {"without": [], "with": []}
    for turn in range(6):  # without, with, with, without, …: what drifts is shared
        kept = turn % 4 in (1, 2)
        with tempfile.TemporaryDirectory() as folder:
            keep = Timed(folder) if kept else None
            seconds = train(x, epochs, keep)
        times["with" if kept else "without"].append(seconds)
        writes = (f", {len(keep.seconds)} writes of {1e3 * np.median(keep.seconds):.0f} ms, "
                  f"{sum(keep.seconds) / seconds:.2%} of it") if keep else ""
        print(f"{'with' if kept else 'without':8} {seconds:.1f} s{writes}", flush=True)
    print(f"medians: {np.median(times['without']):.1f} s without, {np.median(times['with']):.1f} s "
          "with")


if __name__ == "__main__":
    main()
