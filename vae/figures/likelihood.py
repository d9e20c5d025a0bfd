"""Pictures of likelihoods and of their spreads.  Every function writes one PNG."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.distributions import Bernoulli, ContinuousBernoulli, Normal
from vae.figures.canvas import Path, grid, write
from vae.likelihoods import FLOOR, GreyLogistic
from vae.models import VAE


def densities(path: Path) -> None:
    """What each likelihood says of one grey value, and of a constant one as σ shrinks."""
    figure, ((one, two), (three, four)) = grid(9, 6.4, 2, 2)
    x = np.linspace(0, 1, 401)
    for k, logit in enumerate((-4.0, -1.0, 0.0)):
        for law, style, name in ((ContinuousBernoulli, "-", "continuous Bernoulli"),
                                 (Bernoulli, ":", "Bernoulli's formula")):
            p = np.exp(law(np.full(401, logit), event_ndim=0).log_prob(x))
            one.plot(x, p, style, color=f"C{k}",
                     label=f"{name}, logit {logit:g}: area {np.trapezoid(p, x):.3f}")
    one.set(title="On grey values Bernoulli's formula has no area 1", ylabel="density", ylim=(0, 6))
    for k, (std, name) in enumerate(((0.5**0.5, "c = 1"), (0.1, "c = 50"), (0.03, "c = 556"))):
        two.semilogy(x, np.exp(Normal(0.4, std, event_ndim=0).log_prob(x)), color=f"C{k}",
                     label=f"σ = {std:.3g}: squared error, {name}")
    two.axhline(1, color="black", lw=0.8, ls=":")
    two.set(title="Gaussians: a squared error of weight c = 1/(2σ²)", ylabel="density",
            ylim=(1e-4, 30))
    grey = np.arange(256)
    for k, (location, scale) in enumerate(((0.4, 0.05), (-0.1, 0.1), (0.8, 0.01))):
        mass = np.exp(GreyLogistic(np.full(256, location), np.full(256, scale),
                                   event_ndim=0).log_prob(grey / 255))
        three.step(grey, mass, where="mid", color=f"C{k}",
                   label=f"location {location:g}, scale {scale:g}")
    three.set(title="Discretised logistic: a probability of each grey value", xlabel="255·x",
              ylabel="P(x)", yscale="log", ylim=(1e-6, 1))
    std = np.logspace(-6, 0, 200)
    four.semilogx(std, -np.log(std) - 0.5 * np.log(2 * np.pi), "C3", label="no floor")
    floored = np.sqrt(FLOOR**2 + std**2)
    four.semilogx(std, -np.log(floored) - 0.5 * np.log(2 * np.pi), "C0",
                  label="σ² = floor² + exp(raw), floor 1/255")
    four.set(title="A constant pixel, predicted exactly: log p", xlabel="exp(raw / 2)",
             ylabel="nats of one pixel")
    for axes in (one, two, three, four):
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    for axes in (one, two):
        axes.set_xlabel("x")
    write(figure, path)


def band(path: Path, model: VAE, x: ndarray, at: ndarray, std: ndarray, name: str) -> None:
    """Of curves x (n, d), measured at the d points `at` with noise std (d,): mean ± kσ; and σ."""
    model = frozen(model)
    figure, [[*panels, last]] = grid(3.6 * (len(x) + 1), 3.4, 1, len(x) + 1)
    for axes, row in zip(panels, x):
        for k, shade in ((3, "#d4e4f1"), (2, "#a8c9e3"), (1, "#75a8d1")):  # the later above
            low, high = model.predict_interval(row[None], k)
            axes.fill_between(at, low[0], high[0], color=shade, lw=0, label=f"± {k}σ")
        axes.plot(at, model.reconstruct(row[None])[0], "C0", label="E[x|z]")
        axes.plot(at, row, "k.", ms=3, label="x")
        axes.set(xlabel="t", ylabel="x(t)")
    panels[0].legend(fontsize=7)
    low, high = model.predict_interval(x, 1)
    last.plot(at, np.broadcast_to((high - low) / 2, x.shape)[0], "C0", label="learned σ")
    last.plot(at, std, "k--", label="σ of the noise")
    last.set(xlabel="t", ylabel="σ(t)", ylim=(0, None))
    last.legend(fontsize=7)
    figure.suptitle(name, fontsize=10)
    write(figure, path)


def std_map(path: Path, model: VAE, x: ndarray, shape: tuple[int, int], name: str) -> None:
    """Images x (n, pixels), below each E[x|z] and the σ of p(x|z), pixel by pixel."""
    model = frozen(model)
    p = model.likelihood(model.posterior(x).mean)
    std = np.broadcast_to(np.sqrt(p.variance), x.shape)
    most = float(np.quantile(std, 0.99))  # a few pixels may be far above
    figure, rows = grid(0.9 * len(x) + 1.6, 3.2, 3, len(x))
    shown: Any = None
    for row, images, label in zip(rows, (x, p.mean, std), ("x", "E[x|z]", "σ")):
        row[0].set_ylabel(label)
        for axes, image in zip(row, images):
            light = {"cmap": "magma", "vmin": 0, "vmax": most} if images is std else {
                "cmap": "gray", "vmin": 0, "vmax": 1}
            shown = axes.imshow(image.reshape(shape), interpolation="nearest", **light)
            axes.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=rows[2], extend="max", label="σ of a pixel")
    figure.suptitle(name, fontsize=10)
    write(figure, path)
