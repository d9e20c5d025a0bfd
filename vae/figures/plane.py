"""Pictures of codes in a plane, and of what lies between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.patches import Rectangle
from numpy import ndarray

from vae.evaluation.paths import Box
from vae.figures.canvas import Path, grid, tiled, write


class Plane(NamedTuple):
    """Codes (n, 2) as one panel shows them; boxes: places to mark."""

    title: str
    codes: ndarray
    boxes: Sequence[Box] = ()


def planes(path: Path, panels: Sequence[Plane], labels: ndarray) -> None:
    """Codes by class, a panel for each model, each with a scale of its own."""
    figure, all_axes = grid(4.6 * len(panels) + 0.7, 4.6, 1, len(panels))
    for axes, panel in zip(all_axes[0], panels):
        for c in np.unique(labels):
            axes.scatter(*panel.codes[labels == c].T, s=4, alpha=0.6, linewidths=0,
                         color=f"C{int(c) % 10}", label=str(c))
        for box in panel.boxes:
            axes.add_patch(Rectangle(box.low, *(box.high - box.low), fill=False, color="red",
                                     lw=1.5, zorder=3))
        axes.set(xlabel="z₁", ylabel="z₂")
        axes.set_title(panel.title, fontsize=10)
        axes.grid(alpha=0.3)
    all_axes[0, -1].legend(markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5),
                           title="class", fontsize=8)
    write(figure, path)


def sheets(path: Path, images: Mapping[str, ndarray], columns: int) -> None:
    """Sheets of grey images (n, h, w) side by side, under their names."""
    figure, all_axes = grid(4.2 * len(images), 4.6, 1, len(images))
    for axes, (name, one) in zip(all_axes[0], images.items()):
        _grey(axes, tiled(one, columns))
        axes.set_title(name, fontsize=10)
    write(figure, path)


def rows(path: Path, images: Mapping[str, ndarray], title: str) -> None:
    """A row of grey images (n, h, w) for each name, which stands on its left."""
    n, h, w = next(iter(images.values())).shape
    height = (0.62 * h / w + 0.06) * len(images) + 0.5
    figure, all_axes = grid(0.62 * n + 2.6, height, len(images), 1)
    for axes, (name, one) in zip(all_axes[:, 0], images.items()):
        _grey(axes, tiled(one, n))
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title, fontsize=10)
    write(figure, path)


def _grey(axes: Any, picture: ndarray) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
