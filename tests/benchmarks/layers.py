"""How fast the kernels of the convolutional VAE are, and how their cost grows.

    python tests/benchmarks/layers.py --out docs

prints, and draws into convolution-speed.png and convolution-cost.png, the GFLOP/s of each layer's
three contractions against a product of 2048x2048 matrices in the same process, and the time of a
convolution's forward and backward pass against batch, channels and pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import minigrad as mg
from minigrad.kernels.convolution import correlate, spread, weigh
from minigrad.kernels.windows import Form

HALVE = {"kernel": (3, 3), "stride": (2, 2), "before": (1, 1)}
LAYERS = {  # of conv_vae(): the form, the channels of x and of y; transposed ones read y, give x
    "conv 1→32": (Form((28, 28), (14, 14), **HALVE), 1, 32),
    "conv 32→64": (Form((14, 14), (7, 7), **HALVE), 32, 64),
    "transposed 64→64": (Form((14, 14), (7, 7), **HALVE), 64, 64),
    "transposed 64→32": (Form((28, 28), (14, 14), **HALVE), 32, 64),
    "conv 32→1": (Form((28, 28), (28, 28), (3, 3), before=(1, 1)), 32, 1),
}
BATCH = 128


def seconds(f: Callable[[], object], repeats: int = 15) -> float:
    """The median; two calls are for the caches."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        f()
        times.append(time.perf_counter() - began)
    return float(np.median(times[2:]))


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def speeds() -> tuple[float, dict[str, list[float]]]:
    """GFLOP/s of BLAS, and of each layer: forward, gradient by the input, by the weights."""
    a, b = draw(2048, 2048), draw(2048, 2048)
    peak = 2 * 2048**3 / seconds(lambda: a @ b) / 1e9
    found = {}
    for name, (form, c, o) in LAYERS.items():
        x, w = draw(BATCH, *form.x_size, c), draw(*form.kernel, c, o)
        y = draw(BATCH, *form.y_size, o)
        over = [lambda x=x, w=w, form=form: correlate(x, w, None, form),
                lambda y=y, w=w, form=form: spread(y, w, None, form)]
        if "transposed" in name:
            over.reverse()
        work = 2 * y.size * w[..., 0].size / 1e9
        found[name] = [work / seconds(f) for f in (*over, lambda x=x, y=y, form=form: weigh(
            x, y, form))]
    return peak, found


def cost(batch: int = 16, channels: int = 32, side: int = 28) -> float:
    """Milliseconds of a 3x3 convolution from 32 to `channels` channels, forward and backward."""
    x, w = mg.Tensor(draw(batch, side, side, 32)), mg.Tensor(draw(3, 3, 32, channels))
    seed = draw(batch, side, side, channels)

    def both() -> None:
        x.grad = w.grad = None
        mg.conv2d(x, w, padding=1).backward(seed)
    return 1e3 * seconds(both, 7)


def growth() -> dict[str, tuple[list[int], list[float]]]:
    """By name: what was varied, and milliseconds; the work is proportional to each."""
    batches, channels, sides = [4, 8, 16, 32, 64, 128, 256], [16, 32, 64, 128, 256], [
        14, 28, 56, 112, 224]
    return {
        "images": (batches, [cost(batch=n) for n in batches]),
        "output channels": (channels, [cost(channels=c) for c in channels]),
        "pixels": ([s * s for s in sides], [cost(batch=4, side=s) for s in sides]),
    }


def draw_speeds(path: Path, peak: float, found: dict[str, list[float]]) -> None:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for k, part in enumerate(("forward", "gradient by the input", "gradient by the weights")):
        places = np.arange(len(found)) + 0.27 * (k - 1)
        axes.bar(places, [speed[k] for speed in found.values()], 0.25, label=part)
    axes.axhline(peak, color="black", lw=1, ls="--", label=f"BLAS, 2048x2048: {peak:.0f}")
    axes.set_xticks(range(len(found)), found)
    axes.set(ylabel="GFLOP/s, float32", ylim=(0, 1.3 * peak),
             title=f"The convolutions of conv_vae(), {BATCH} images")
    axes.legend(ncols=2, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=120)


def draw_growth(path: Path, found: dict[str, tuple[list[int], list[float]]]) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, (sizes, times)) in zip(
            figure.subplots(1, len(found), sharey=True), found.items()):
        axes.loglog(sizes, times, "o-", ms=4, label="measured")
        axes.loglog(sizes, times[-1] * np.array(sizes) / sizes[-1], "k--", lw=1, label="∝ n")
        axes.set(xlabel=name, ylabel="ms, forward and backward" if name == "images" else None)
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes], fontsize=8)
        axes.xaxis.minorticks_off()
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.suptitle("3x3 convolution; 16 images of 28x28x32 where not varied (4 for the pixels)",
                    fontsize=10)
    figure.savefig(path, dpi=120)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--out", type=Path, default=Path("."))
    out = p.parse_args().out
    peak, found = speeds()
    print(f"BLAS {peak:.0f} GFLOP/s")
    for name, speed in found.items():
        print(f"{name:<18}" + " ".join(f"{s:6.0f}" for s in speed))
    draw_speeds(out / "convolution-speed.png", peak, found)
    grown = growth()
    for name, (sizes, times) in grown.items():
        slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        print(f"{name:<18}to the power {slope:.2f}   "
              + " ".join(f"{n}: {t:.2f}" for n, t in zip(sizes, times)))
    draw_growth(out / "convolution-cost.png", grown)


if __name__ == "__main__":
    main()
