"""Pictures of what a model is used for: anomalies, classes, compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from vae.figures.canvas import Path, grid, tiled, write


def anomalies(path: Path, found: Mapping[str, Sequence[tuple[float, float]]], scores: Mapping,
              simple: tuple[str, float], name: str) -> None:
    """AUROC of each score with each class as the anomaly, and one score of two classes of data.

    found: by score the AUROC and its error for classes 0, 1, ….  scores: what stands above the
    second panel's curves -> scores (n,).  simple: the name and score of an image without ink.
    """
    figure, axes = grid(12, 4.4, 1, 2, width_ratios=[1.6, 1])
    left, right = axes[0]
    for i, (score, each) in enumerate(found.items()):
        value, error = np.transpose(each)
        left.errorbar(np.arange(len(each)) + 0.1 * (i - (len(found) - 1) / 2), value, error,
                      fmt="osD^v<>"[i % 7], ms=5, label=score)
    left.axhline(0.5, color="k", lw=0.8, ls=":")
    left.set(xlabel="digit left out of the training data: the anomaly", ylabel="AUROC",
             title=name, xticks=range(len(each)))
    left.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    edges = np.linspace(*np.quantile(np.concatenate(list(scores.values())), [0, 0.995]), 50)
    for kind, values in scores.items():
        right.hist(values, edges, density=True, alpha=0.6, label=kind)
    right.axvline(simple[1], color="k", label=simple[0])
    right.set(xlabel="-log p(x), nats: higher is more anomalous", yticks=[],
              title="the score of simple images is low")
    right.legend(fontsize=8, loc="upper right")
    write(figure, path)


def classes(path: Path, images: ndarray, names: Sequence[str], title: str) -> None:
    """Images (styles, classes, h, w): a row for each code, a column for each class."""
    styles, columns, h, w = images.shape
    figure, axes = grid(7, 7 * styles / columns + 0.6)
    axes = axes[0, 0]
    axes.imshow(tiled(images.reshape(-1, h, w), columns), cmap="gray", vmin=0, vmax=1,
                interpolation="nearest")
    axes.set_xticks((w + 1) * np.arange(columns) + w / 2 - 0.5, names)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.set(xlabel="class y", ylabel="a code z a row", title=title)
    axes.title.set_fontsize(10)
    write(figure, path)


def compression(path: Path, curves: Mapping[str, tuple[ndarray, ndarray]],
                lossless: Mapping[str, float], rows: Mapping[str, ndarray], name: str) -> None:
    """PSNR against bits an image, and images (n, h, w) in rows: the original and what came back.

    curves: name -> (bits, PSNR); a name that begins with "KL" is drawn as stars, in the
    colour of the curve before it.
    lossless: name -> bits, noted below.
    """
    figure, axes = grid(13, 4.8, 1, 2, width_ratios=[1, 1.3])
    left, right = axes[0]
    for label, (bits, decibels) in curves.items():
        style: dict[str, Any] = {"marker": "o", "ms": 4, "ls": "--" if "PCA" in label else "-"}
        if label.startswith("KL"):
            style = {"marker": "*", "ms": 11, "ls": "", "color": left.lines[-1].get_color()}
        left.plot(bits, decibels, **style, label=label)
    left.set(xscale="log", xlabel="bits an image", ylabel="PSNR, dB", title=name)
    ticks = [2.0**k for k in range(1, 12)]
    inside = [t for t in ticks if left.get_xlim()[0] <= t <= left.get_xlim()[1]]
    left.set_xticks(inside, [f"{t:g}" for t in inside])
    left.minorticks_off()
    left.grid(alpha=0.3)
    left.legend(fontsize=8, loc="upper left")
    left.text(0.98, 0.02, "without loss:\n" + "\n".join(
        f"{label} {bits:.0f} bits" for label, bits in lossless.items()), fontsize=8, ha="right",
        va="bottom", transform=left.transAxes)
    n, h, _ = next(iter(rows.values())).shape
    right.imshow(tiled(np.concatenate(list(rows.values())), n), cmap="gray", vmin=0, vmax=1,
                 interpolation="nearest")
    right.set_yticks((h + 1) * np.arange(len(rows)) + h / 2 - 0.5, list(rows), fontsize=9)
    right.set_xticks([])
    right.tick_params(length=0)
    right.set_title("one image a column", fontsize=10)
    write(figure, path)
