"""Pictures of blur: samples side by side, fits by either KL, and mass where there are no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from vae.figures.canvas import Path, grid, tiled, write


def side_by_side(path: Path, images: Mapping[str, ndarray], title: str, *, columns: int) -> None:
    """Sheets of grey images (n, h, w) with values from 0, black, to 1, white; `columns` a row."""
    sheets = {name: tiled(some, columns) for name, some in images.items()}
    height, width = next(iter(sheets.values())).shape
    figure, axes = grid(4.4 * len(sheets), 4.4 * height / width + 0.6, 1, len(sheets))
    for one, (name, picture) in zip(axes[0], sheets.items()):
        one.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        one.set_title(name, fontsize=10)
        one.set_axis_off()
    figure.suptitle(title, fontsize=10)
    write(figure, path)
