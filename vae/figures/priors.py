"""Pictures of priors, beside the codes that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.figures.canvas import Path, blank, grid, write
from vae.models import VAE


def aggregates(path: Path, models: Mapping[str, tuple[VAE, ndarray]], name: str, *, seed: int = 0
               ) -> None:
    """A column for each model, with test data (n, 2): above codes and prior, below x and samples.

    Codes are draws of q(z|x), one a datum: of the aggregate posterior.  The prior's density is
    drawn as shades on the same scale.
    """
    figure, axes = grid(3.2 * len(models), 6.6, 2, len(models))
    for (prior, (model, x)), above, below in zip(models.items(), *axes):
        rng, fixed = np.random.default_rng(seed), frozen(model)
        z = fixed.posterior(x).sample(rng=rng)
        _draw_density(above, fixed.prior, z)
        above.plot(*z.T, ".", ms=2, color="C3", alpha=0.6)
        above.set(xlabel="z₁", ylabel="z₂")
        above.set_title(f"{prior}: p(z), and draws of q(z|x)", fontsize=9)
        drawn = fixed.likelihood(fixed.prior.sample((len(x),), rng=rng)).sample(rng=rng)
        below.plot(*x.T, ".", ms=2, color="0.6", label="data")
        below.plot(*drawn.T, ".", ms=2, color="C0", label="samples of the model")
        below.set(xlabel="x₁", ylabel="x₂", aspect="equal")
        below.legend(fontsize=7, loc="upper right", markerscale=3)
    figure.suptitle(name, fontsize=11)
    write(figure, path)


def fits(path: Path, z: ndarray, p: ndarray, found: Mapping[str, Mapping[str, float]]) -> None:
    """A density p at z (n,), and the Gaussians that are nearest to it by each KL."""
    figure, axes = blank(6.5, 3.6)
    axes.fill_between(z, p, color="0.85", label="p")
    for name, best in found.items():
        density = np.exp(-0.5 * ((z - best["mean"]) / best["std"]) ** 2)
        axes.plot(z, density / (best["std"] * np.sqrt(2 * np.pi)),
                  label=f"least {name}: {best['kl']:.2f} nats")
    axes.set(xlabel="z", ylabel="density", xlim=(-6, 6), ylim=(0, None))
    axes.set_title("no Gaussian is near a density with two modes", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    write(figure, path)


def _draw_density(axes: Any, prior: Any, z: ndarray, side: int = 200) -> None:
    far = 1.15 * np.abs(z).max()
    edge = np.linspace(-far, far, side, dtype=np.float32)
    at = np.stack(np.meshgrid(edge, edge), axis=-1)
    axes.imshow(np.exp(prior.log_prob(at)), origin="lower", extent=(-far, far, -far, far),
                cmap="Greys", interpolation="bilinear")
