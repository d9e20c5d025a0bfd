"""Pictures of a trained model and of its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.special import ndtri

from minigrad.nn import frozen
from vae.figures.canvas import Path, blank, grid, sheet, write
from vae.models import VAE


def reconstructions(path: Path, model: VAE, x: ndarray, shape: tuple[int, int], name: str) -> None:
    """Rows of x (n, pixels), each above what the model makes of it."""
    pairs(path, x, frozen(model).reconstruct(x), shape,
          f"{name}: test images, below each its reconstruction E[x|z]")


def pairs(path: Path, x: ndarray, again: ndarray, shape: tuple[int, int], title: str) -> None:
    """Images x (n, pixels), ten a row, each above what was made of it, `again` (n, pixels)."""
    columns = 10
    blank = np.ones((-len(x) % columns, x.shape[1]), x.dtype)
    rows = [np.concatenate([part, blank]).reshape(-1, columns, *shape) for part in (x, again)]
    sheet(path, np.stack(rows, axis=1).reshape(-1, *shape), columns, title)


def samples(path: Path, model: VAE, shape: tuple[int, int], name: str, *, seed: int = 0) -> None:
    """A hundred means E[x|z] for z drawn from the prior."""
    images = frozen(model).sample(100, rng=np.random.default_rng(seed))
    sheet(path, images.reshape(-1, *shape), 10, f"{name}: E[x|z] for z drawn from the prior")


def curves(path: Path, rows: Sequence[dict[str, Any]], name: str, measure: str) -> None:
    """Bound, reconstruction and KL by epoch, in nats a datum; `rows` are those of `History`.

    What was maximised is drawn beside the bound where it is something else.
    """
    figure, all_axes = grid(9, 3.2, 1, 3)
    epochs = [row["epoch"] for row in rows]
    lines = {"train": "o-", "valid": "^-.", "test": "s--"}
    panels = {f"bound ({measure})": {"train": "bound", "valid": "elbo", "test": "elbo"},
              "reconstruction E log p(x|z)": dict.fromkeys(lines, "reconstruction"),
              "KL(q(z|x)‖p(z))": dict.fromkeys(lines, "kl")}
    for axes, (title, columns) in zip(all_axes[0], panels.items()):
        for kind, part in columns.items():
            column = [row.get(f"{kind}_{part}") for row in rows]
            if None not in column:
                axes.plot(epochs, column, lines[kind], ms=3, label=kind)
        if columns["train"] == "bound" and any(r["train_objective"] != r["train_bound"]
                                               for r in rows):
            axes.plot(epochs, [row["train_objective"] for row in rows], "k:",
                      label="train, objective")
        axes.set(title=title, xlabel="epoch", ylabel="nats per image")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(name, fontsize=10)
    write(figure, path)


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
    figure, axes = blank(6.5, 6)
    for c in np.unique(labels):
        axes.scatter(*z[labels == c].T, s=3, alpha=0.6, color=f"C{int(c) % 10}", label=str(c))
    axes.set(title=f"{name}: mean of q(z|x) of test images", xlabel="z₁", ylabel="z₂",
             aspect="equal")
    axes.legend(markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5), title="class")
    write(figure, path)
