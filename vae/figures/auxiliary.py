"""What an auxiliary variable makes of q(z|x), beside the posterior and the best Gaussian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from vae.figures.canvas import Path, grid, write


class Densities(NamedTuple):
    """Of one datum, on a grid z (m,): densities (m,), and q(z|u, x) for a few u, (k, m)."""

    title: str
    z: ndarray
    posterior: ndarray
    gaussian: ndarray
    marginal: ndarray
    components: ndarray


def posteriors(path: Path, panels: Sequence[Densities], name: str) -> None:
    """For each datum p(z|x), the best Gaussian and q(z|x) = E q(z|u, x), which the u make up."""
    figure, all_axes = grid(4 * len(panels), 3.4, 1, len(panels))
    for axes, panel in zip(all_axes[0], panels):
        for k, component in enumerate(panel.components):
            axes.fill_between(panel.z, component / len(panel.components), color="C1", alpha=0.25,
                              lw=0, label=None if k else f"q(z|u, x)/{len(panel.components)} "
                              "at quantiles of u")
        axes.plot(panel.z, panel.posterior, "k", lw=2, label="p(z|x)")
        axes.plot(panel.z, panel.gaussian, "C0--", label="best Gaussian")
        axes.plot(panel.z, panel.marginal, "C1", label="q(z|x), u integrated out")
        axes.set(xlabel="z", ylim=(0, 1.25 * max(np.max(panel.posterior), np.max(panel.gaussian))))
        axes.set_title(panel.title, fontsize=10)
        axes.grid(alpha=0.3)
    all_axes[0, 0].set_ylabel("density")
    figure.legend(*all_axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  fontsize=8)
    figure.suptitle(name, fontsize=10)
    write(figure, path)
