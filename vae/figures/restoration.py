"""Images restored from what is left of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy import ndarray

from vae.figures.canvas import Path, blank, tiled, write


def restored(path: Path, rows: Mapping[str, ndarray], title: str) -> None:
    """One row of grey images for each name: name -> (n, h, w), from 0, black, to 1, white.

    The smaller images of a row are enlarged by repetition to the largest, which they must divide.
    """
    n, height, width = np.max([images.shape for images in rows.values()], axis=0)
    full = [np.repeat(np.repeat(images, height // images.shape[1], axis=1),
                      width // images.shape[2], axis=2) for images in rows.values()]
    picture = tiled(np.concatenate(full), n)
    inches = 8.0
    figure, axes = blank(inches + 2.6, inches * picture.shape[0] / picture.shape[1] + 0.5)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks((height + 1) * np.arange(len(rows)) + height / 2, rows, fontsize=9)
    axes.set_xticks([])
    axes.set_anchor("E")  # what the picture's proportions leave over is for the names
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title, fontsize=10)
    write(figure, path)
