"""Pictures; the only file that imports matplotlib.  Every function writes one PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.special import ndtri

from minigrad.nn import frozen
from vae.models import VAE

Path = str | os.PathLike


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
    figure, axes = _figure(width, width * picture.shape[0] / picture.shape[1] + 0.4)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    _write(figure, path)


def reconstructions(path: Path, model: VAE, x: ndarray, shape: tuple[int, int], name: str) -> None:
    """Rows of x (n, pixels), each above what the model makes of it."""
    again = frozen(model).reconstruct(x)
    columns = 10
    blank = np.ones((-len(x) % columns, *x.shape[1:]), x.dtype)
    rows = [np.concatenate([part, blank]).reshape(-1, columns, *shape) for part in (x, again)]
    images = np.stack(rows, axis=1).reshape(-1, *shape)
    sheet(path, images, columns, f"{name}: test images, below each its reconstruction E[x|z]")


def samples(path: Path, model: VAE, shape: tuple[int, int], name: str, *, seed: int = 0) -> None:
    """A hundred means E[x|z] for z drawn from the prior."""
    images = frozen(model).sample(100, rng=np.random.default_rng(seed))
    sheet(path, images.reshape(-1, *shape), 10, f"{name}: E[x|z] for z drawn from the prior")


def curves(path: Path, rows: Sequence[dict[str, Any]], name: str, measure: str) -> None:
    """Bound, reconstruction and KL by epoch, in nats a datum."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in rows]
    for axes, part, title in zip(figure.subplots(1, 3), ("elbo", "reconstruction", "kl"), (
            f"bound ({measure})", "reconstruction E log p(x|z)", "KL(q(z|x)‖p(z))")):
        for kind, style in (("train", "o-"), ("test", "s--")):
            if all(f"{kind}_{part}" in row for row in rows):
                axes.plot(epochs, [row[f"{kind}_{part}"] for row in rows], style, ms=3, label=kind)
        axes.set(title=title, xlabel="epoch", ylabel="nats per image")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(name, fontsize=10)
    _write(figure, path)


def manifold(path: Path, model: VAE, shape: tuple[int, int], name: str, side: int = 20) -> None:
    """E[x|z] on a grid of two latent dimensions, at equal steps of the prior's quantiles."""
    quantiles = ndtri(np.linspace(0.02, 0.98, side)).astype(np.float32)
    z = np.stack(np.meshgrid(quantiles, quantiles[::-1]), axis=-1).reshape(-1, 2)
    images = frozen(model).likelihood(z).mean
    sheet(path, images.reshape(-1, *shape), side,
          f"{name}: E[x|z], z at the 2 % to 98 % quantiles of the prior")


def scatter(path: Path, model: VAE, x: ndarray, labels: ndarray, name: str) -> None:
    """Posterior means of two latent dimensions, by class."""
    z = frozen(model).posterior(x).mean
    figure, axes = _figure(6.5, 6)
    for c in np.unique(labels):
        axes.scatter(*z[labels == c].T, s=3, alpha=0.6, color=f"C{int(c) % 10}", label=str(c))
    axes.set(title=f"{name}: mean of q(z|x) of test images", xlabel="z₁", ylabel="z₂",
             aspect="equal")
    axes.legend(markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5), title="class")
    _write(figure, path)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window, and no state shared with the caller's figures
    return figure, figure.subplots()


def _write(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120)
