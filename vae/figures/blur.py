"""Pictures of blur: fits by either KL, and mass where there are no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from vae.figures.canvas import Path, blank, grid, write


def two_fits(path: Path, x: ndarray, density: ndarray, fits: Mapping[str, Any]) -> None:
    """The density of the data at x, and Gaussians that were fitted to it, by `mean` and `std`."""
    figure, axes = blank(8, 3.6)
    axes.fill_between(x, density, color="0.85", label="data")
    for k, (name, one) in enumerate(fits.items()):
        q = np.exp(-0.5 * np.square((x - one.mean) / one.std)) / (one.std * np.sqrt(2 * np.pi))
        axes.plot(x, q, color=f"C{k}", ls="-" if k < 2 else "--",
                  label=f"{name}: {100 * one.off:.1f} % off the data")
    axes.set(xlabel="x", ylabel="density", xlim=(-7, 9), ylim=0)
    axes.legend(fontsize=8)
    write(figure, path)


def rings(path: Path, points: Mapping[str, ndarray], rows: Sequence[Mapping[str, Any]]) -> None:
    """The data, and samples (n, 2) of a model for each of `rows`, with its share off the data."""
    columns = 1 + len(points) // 2
    figure, axes = grid(2.6 * columns, 5.4, 2, columns, sharex=True, sharey=True)
    names = list(points)
    places = [axes[0, 0], *axes[0, 1:], *axes[1, 1:]]
    axes[1, 0].set_axis_off()
    for one, name, row in zip(places, names, [None, *rows]):
        one.plot(*points[name].T, ".", ms=1.5, alpha=0.5, color="C0" if row else "black")
        one.set_title(f"{name}\n{100 * row['off'][0]:.1f} ± {100 * row['off'][1]:.1f} % off"
                      if row else name, fontsize=9)
        one.set(aspect="equal", xlim=(-2, 2), ylim=(-2, 2))
    write(figure, path)
