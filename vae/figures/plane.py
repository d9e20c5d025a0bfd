"""Pictures of codes in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.patches import Rectangle
from numpy import ndarray

from vae.evaluation.paths import Box
from vae.figures.canvas import Path, grid, write


class Plane(NamedTuple):
    """Codes (n, 2) as one panel shows them; boxes: places to mark, dashed: others."""

    title: str
    codes: ndarray
    boxes: Sequence[Box] = ()
    dashed: Sequence[Box] = ()


def planes(path: Path, panels: Sequence[Plane], labels: ndarray) -> None:
    """Codes by class, a panel for each model, each with a scale of its own."""
    figure, all_axes = grid(4.6 * len(panels) + 0.7, 4.6, 1, len(panels))
    for axes, panel in zip(all_axes[0], panels):
        for c in np.unique(labels):
            axes.scatter(*panel.codes[labels == c].T, s=4, alpha=0.6, linewidths=0,
                         color=f"C{int(c) % 10}", label=str(c))
        for boxes, style in ((panel.boxes, "-"), (panel.dashed, "--")):
            for box in boxes:
                axes.add_patch(Rectangle(box.low, *(box.high - box.low), fill=False, color="red",
                                         linestyle=style, lw=1.5, zorder=3))
        axes.set(xlabel="z₁", ylabel="z₂")
        axes.set_title(panel.title, fontsize=10)
        axes.grid(alpha=0.3)
    all_axes[0, -1].legend(markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5),
                           title="class", fontsize=8)
    write(figure, path)
