"""A VQ-VAE in pictures: its codes, how often each is taken, and what priors over them draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy import ndarray

from minigrad.nn import frozen
from vae.figures.canvas import Path, grid, tiled, write
from vae.models import VQVAE
from vae.models.codebook import Usage

GREY = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}


def codes(path: Path, model: VQVAE, x: ndarray, shape: tuple[int, int], usage: Usage,
          samples: Mapping[str, ndarray], name: str) -> None:
    """Images, their codes and reconstructions; below the usage, and samples of several priors.

    x: (n, pixels), a column each, of images of this shape.  Codes have a colour each, and lie as
    their positions do; those of a row are stripes.  samples: name of a prior -> (n, pixels).
    """
    figure, axes = grid(11, 6.6, 2, 1 + len(samples))
    frames = axes[0, 0].get_gridspec()
    for unused in axes[0]:
        unused.remove()
    _rows_of_images(figure.add_subplot(frames[0, :]), frozen(model), x, shape)
    _usage(axes[1, 0], usage)
    for place, (prior, images) in zip(axes[1, 1:], samples.items()):
        place.imshow(tiled(images.reshape(-1, *shape), round(len(images) ** 0.5)), **GREY)
        place.set_title(f"E[x|codes], codes drawn from\nthe {prior} prior", fontsize=9)
    for place in axes[1, 1:]:
        place.set_axis_off()
    figure.suptitle(name, fontsize=10)
    write(figure, path)


def _rows_of_images(axes: Any, model: VQVAE, x: ndarray, shape: tuple[int, int]) -> None:
    """Three rows: images, codes in colours, reconstructions."""
    numbers = model.encode(x)
    if numbers.ndim == 2:
        numbers = numbers[:, None]
    colours = colormaps["nipy_spectral"](np.linspace(0, 1, model.codebook.n_codes))[:, :3]
    height, width = shape
    rows = np.arange(height) * numbers.shape[1] // height
    columns = np.arange(width) * numbers.shape[2] // width
    pictures = colours[numbers[:, rows][:, :, columns]]
    strips = [np.repeat(x.reshape(-1, *shape, 1), 3, axis=-1), pictures,
              np.repeat(model.reconstruct(x).reshape(-1, *shape, 1), 3, axis=-1)]
    gap = 2
    sheet = np.ones((3 * (height + gap) - gap, len(x) * (width + gap) - gap, 3))
    for i, strip in enumerate(strips):
        for k, image in enumerate(strip):
            sheet[i * (height + gap):, k * (width + gap):][:height, :width] = image
    axes.imshow(np.clip(sheet, 0, 1), interpolation="nearest")
    axes.set_yticks([i * (height + gap) + height / 2 for i in range(3)],
                    ["image", f"its {' x '.join(map(str, numbers.shape[1:]))} codes", "E[x|codes]"])
    axes.set_xticks([])
    axes.spines[:].set_visible(False)


def _usage(axes: Any, usage: Usage) -> None:
    counts = np.sort(usage.counts)[::-1]
    axes.bar(np.arange(len(counts)), counts / counts.sum(), width=1)
    axes.set_yscale("log")
    axes.set_title(f"{usage.used} of {len(counts)} codes used,\nperplexity "
                   f"{usage.perplexity:.1f}", fontsize=9)
    axes.set(xlabel="codes, by how often they are taken", ylabel="share of all positions")
