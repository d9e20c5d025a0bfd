"""What all figures share: a canvas, sheets of images and panels of curves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy import ndarray

Path = str | os.PathLike


def grid(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
         ) -> tuple[Figure, ndarray]:
    """A figure of so many inches and its axes (rows, columns); options of `Figure.subplots`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window, and no state shared with the caller's figures
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def blank(width: float, height: float) -> tuple[Figure, Any]:
    """A figure of so many inches and its only axes."""
    figure, axes = grid(width, height)
    return figure, axes[0, 0]


def write(figure: Figure, path: Path) -> None:
    """As PNG."""
    figure.savefig(path, dpi=120)


def tiled(images: ndarray, columns: int, gap: int = 1) -> ndarray:
    """(n, h, w) -> one image of `columns` a row, `gap` pixels of white between."""
    n, h, w = images.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * (h + gap) - gap, columns * (w + gap) - gap), np.float32)
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        sheet[y * (h + gap):y * (h + gap) + h, x * (w + gap):x * (w + gap) + w] = image
    return sheet


def sheet(path: Path, images: ndarray, columns: int, title: str) -> None:
    """A sheet of grey images (n, h, w) with values from 0, black, to 1, white."""
    picture = tiled(images, columns)
    width = 7.0
    figure, axes = blank(width, width * picture.shape[0] / picture.shape[1] + 0.4)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    write(figure, path)


def effects(path: Path, panels: Sequence[dict[str, Any]]) -> None:
    """Panels of curves, three a row: title, xlabel, ylabel, series: name -> (x, y, error).

    log: "x", "y" or "xy".  bottom: where the axis of y begins.  ticks: names of the values of x,
    which are then shown as bars.
    """
    rows = -(-len(panels) // 3)
    figure, all_axes = grid(12, 3.6 * rows, rows, 3)
    for axes, panel in zip(all_axes.flat, panels):
        for k, (name, (x, y, error)) in enumerate(panel["series"].items()):
            if "ticks" in panel:
                width = 0.8 / len(panel["series"])
                axes.bar(np.asarray(x) + width * (k - 0.5), y, width, label=name)
            else:
                axes.errorbar(x, y, yerr=error, fmt="os"[k % 2] + "-", ms=4, label=name)
        log = panel.get("log", "")
        axes.set(xlabel=panel["xlabel"], ylabel=panel["ylabel"],
                 xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
        if "x" in log:  # the values that were tried
            axes.set_xticks(x, [f"{v:g}" for v in x], fontsize=8)
            axes.xaxis.set_minor_locator(NullLocator())
        if "bottom" in panel:
            axes.set_ylim(bottom=panel["bottom"])
            for k, (x, y, _) in enumerate(panel["series"].values()):
                below = [a for a, b in zip(x, y) if b < panel["bottom"]]
                if below:
                    axes.plot(below, [panel["bottom"]] * len(below), "v", color=f"C{k}", ms=9,
                              clip_on=False, label="below the axis")
        if "ticks" in panel:
            axes.set_xticks(range(len(panel["ticks"])), panel["ticks"])
        axes.set_title(panel["title"], fontsize=10, wrap=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    write(figure, path)
