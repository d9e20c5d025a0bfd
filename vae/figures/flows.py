"""Pictures of densities in the plane.  Every function writes one PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np

from vae.figures.canvas import Path, grid, write

COLUMNS = 4
Panel = tuple[str, Any, Any, Any]  # a title, and x, y and the density (rows, columns) of a surface


def posteriors(path: Path, targets: Sequence[tuple[str, Callable, tuple[float, ...],
                                                   Sequence[Panel]]]) -> None:
    """Of each target its density, then those of the posteriors under the target's contours.

    targets: name, unnormalised log density of z (…, 2), the box (x0, x1, y0, y1), and panels.
    """
    rows = [-(-(1 + len(panels)) // COLUMNS) for *_, panels in targets]
    figure, axes = grid(2.2 * COLUMNS, 2.3 * sum(rows), sum(rows), COLUMNS)
    free, colours = iter(axes.flat), matplotlib.colormaps["Blues"]
    for (name, log_density, box, panels), many in zip(targets, rows):
        x, y = np.meshgrid(np.linspace(*box[:2], 200), np.linspace(*box[2:], 200))
        p = np.exp(log_density(np.stack((x, y), -1)))
        found = [(f"{name}: the true p", x, y, p), *panels]
        for title, *surface in found:
            ax = next(free)
            ax.set_facecolor(colours(0.0))
            ax.pcolormesh(*surface, shading="gouraud", cmap=colours, vmin=0)
            ax.contour(x, y, p, levels=p.max() * np.exp([-4.5, -2, -0.5]), colors="C1",
                       linewidths=0.8)
            ax.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[])
            ax.set_title(title, fontsize=9)
        for _ in range(many * COLUMNS - len(found)):
            next(free).set_axis_off()
    write(figure, path)
