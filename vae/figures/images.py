"""Grey images, from 0, black, to 1, white, under names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from vae.figures.canvas import Path, grid, tiled, write


def labelled_rows(path: Path, images: Mapping[str, ndarray | None], title: str) -> None:
    """A row of images (n, h, w) for each name, which stands on its left; None: there are none.

    Smaller images than those of other rows are enlarged by repetition: they must divide them.
    """
    given = [row for row in images.values() if row is not None]
    n, height, width = np.max([row.shape for row in given], axis=0) if given else (1, 1, 1)
    figure, axes = grid(0.55 * n + 2.6, (0.55 * height / width + 0.05) * len(images) + 0.5,
                        len(images), 1)
    for place, (name, row) in zip(axes[:, 0], images.items()):
        if row is None:
            row = np.ones((1, height, width), np.float32)
            place.text(0.01, 0.5, "there are none", va="center", fontsize=9, color="grey",
                       transform=place.transAxes)
        full = np.repeat(np.repeat(row, height // row.shape[1], 1), width // row.shape[2], 2)
        missing = np.ones((n - len(full), height, width), np.float32)
        _show(place, tiled(np.concatenate([full, missing]), n))
        place.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title, fontsize=10)
    write(figure, path)


def side_by_side(path: Path, images: Mapping[str, ndarray], title: str, *, columns: int) -> None:
    """Sheets of images (n, h, w) side by side, under their names; `columns` a row."""
    sheets = {name: tiled(some, columns) for name, some in images.items()}
    height, width = next(iter(sheets.values())).shape
    figure, axes = grid(4.4 * len(sheets), 4.4 * height / width + 0.6, 1, len(sheets))
    for place, (name, picture) in zip(axes[0], sheets.items()):
        _show(place, picture)
        place.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=10)
    write(figure, path)


def _show(axes: Any, picture: ndarray) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
