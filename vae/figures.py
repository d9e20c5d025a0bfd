"""Pictures; the only file that imports matplotlib.  Every function writes one PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
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
    """Bound, reconstruction and KL by epoch, in nats a datum; `rows` are those of `History`.

    What was maximised is drawn beside the bound where it is something else.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in rows]
    lines = {"train": "o-", "valid": "^-.", "test": "s--"}
    panels = {f"bound ({measure})": {"train": "bound", "valid": "elbo", "test": "elbo"},
              "reconstruction E log p(x|z)": dict.fromkeys(lines, "reconstruction"),
              "KL(q(z|x)‖p(z))": dict.fromkeys(lines, "kl")}
    for axes, (title, columns) in zip(figure.subplots(1, 3), panels.items()):
        for kind, part in columns.items():
            column = [row.get(f"{kind}_{part}") for row in rows]
            if None not in column:
                axes.plot(epochs, column, lines[kind], ms=3, label=kind)
        if columns["train"] == "bound" and any(r["train_objective"] != r["train_bound"]
                                               for r in rows):
            axes.plot(epochs, [row["train_objective"] for row in rows], "k:",
                      label="train, objective")
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


def estimators(path: Path, comparisons: dict[str, Any]) -> None:
    """Of `vae.lab.compare`: bias, variance, signal-to-noise ratio and cost; a row for each."""
    figure = Figure(figsize=(12, 0.6 + sum(0.7 + 0.32 * len({r.estimator for r in c.rows})
                                           for c in comparisons.values())), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [1 + len({r.estimator for r in c.rows}) for c in comparisons.values()]
    grid = figure.subplots(len(heights), 4, squeeze=False, height_ratios=heights)
    columns = {"bias / what chance gives\n(grey: none seen)":
                   lambda r: (r.bias / max(r.bias_noise, 1e-300), 0),
               "variance": lambda r: (r.variance, r.variance_error),
               "signal-to-noise ratio": lambda r: (r.snr, r.snr_error),
               "variance · µs": lambda r: (1e6 * r.cost, 1e6 * r.seconds * r.variance_error)}
    for axes_row, (name, comparison) in zip(grid, comparisons.items()):
        names = list(dict.fromkeys(r.estimator for r in comparison.rows))
        parameters = list(dict.fromkeys(r.parameter for r in comparison.rows))
        for axes, (title, of) in zip(axes_row, columns.items()):
            for k, parameter in enumerate(parameters):
                values, errors = np.transpose([of(comparison[n, parameter]) for n in names])
                heights = np.arange(len(names)) + 0.24 * (k - (len(parameters) - 1) / 2)
                axes.errorbar(values, heights, xerr=errors, fmt="os^"[k % 3], ms=4,
                              color=f"C{k}", label=parameter)
            axes.set(xscale="log", yticks=range(len(names)), yticklabels=names, title=title,
                     ylim=(len(names) - 0.5, -0.5))
            axes.grid(alpha=0.3)
            low, high = axes.get_xlim()
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 40 * low else (1,)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            if axes is not axes_row[0]:
                axes.tick_params(labelleft=False)
        axes_row[0].axvspan(0, 2, color="0.9")  # two standard errors, or nearly
        axes_row[0].set_ylabel(name)
        axes_row[-1].legend(title="gradient by", fontsize=8, loc="center left",
                            bbox_to_anchor=(1, 0.5))
    _write(figure, path)


def effects(path: Path, panels: Sequence[dict[str, Any]]) -> None:
    """Panels of curves, three a row: title, xlabel, ylabel, series: name -> (x, y, error).

    log: "x", "y" or "xy".  bottom: where the axis of y begins.  ticks: names of the values of x,
    which are then shown as bars.
    """
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(12, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(rows, 3, squeeze=False).flat, panels):
        for k, (name, (x, y, error)) in enumerate(panel["series"].items()):
            if "ticks" in panel:
                width = 0.8 / len(panel["series"])
                axes.bar(np.asarray(x) + width * (k - 0.5), y, width, label=name)
            else:
                axes.errorbar(x, y, yerr=error, fmt="os"[k % 2] + "-", ms=4, label=name)
        log = panel.get("log", "")
        axes.set(xlabel=panel["xlabel"], ylabel=panel["ylabel"],
                 xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
        if "x" in log:  # the values that were tried
            axes.set_xticks(x, [f"{v:g}" for v in x], fontsize=8)
            axes.xaxis.set_minor_locator(NullLocator())
        if "bottom" in panel:
            axes.set_ylim(bottom=panel["bottom"])
            for k, (x, y, _) in enumerate(panel["series"].values()):
                below = [a for a, b in zip(x, y) if b < panel["bottom"]]
                if below:
                    axes.plot(below, [panel["bottom"]] * len(below), "v", color=f"C{k}", ms=9,
                              clip_on=False, label="below the axis")
        if "ticks" in panel:
            axes.set_xticks(range(len(panel["ticks"])), panel["ticks"])
        axes.set_title(panel["title"], fontsize=10, wrap=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _write(figure, path)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window, and no state shared with the caller's figures
    return figure, figure.subplots()


def _write(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120)


def em_traces(path: Path, panels: Sequence[tuple[str, dict[str, Sequence[Any]], str, float]]
              ) -> None:
    """log p(x) and ELBO above, the gap between them below, against the updates of θ.

    A panel: title, name -> points of `vae.exact`, then name and height of a line of reference.
    """
    figure = Figure(figsize=(4.6 * len(panels), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(panels), sharex="col", squeeze=False, height_ratios=(3, 2))
    for (title, traces, name, height), (above, below) in zip(panels, axes.T):
        for i, (label, trace) in enumerate(traces.items()):
            steps = [point.step for point in trace]
            above.plot(steps, [point.log_likelihood for point in trace], color=f"C{i}", label=label)
            above.plot(steps, [point.elbo for point in trace], "--", color=f"C{i}", lw=1)
            behind = [point for point in trace if point.after != "E"]  # right after E it is 0
            gaps = np.array([point.gap for point in behind])
            below.plot([point.step for point in behind], np.where(gaps > 1e-14, gaps, np.nan),
                       color=f"C{i}")  # less is rounding
        above.axhline(height, color="black", ls=":", lw=1, label=name)
        above.plot([], [], color="grey", label="solid: log p(x)")
        above.plot([], [], "--", color="grey", lw=1, label="dashed: ELBO")
        above.set(title=title, ylabel="nats per datum")
        below.set(xlabel="updates of θ", ylabel="log p(x) - ELBO,\nnats per datum", yscale="log")
        below.set_xscale("symlog", linthresh=1)
        below.set_xlim(0, steps[-1])
        below.legend(*above.get_legend_handles_labels(), fontsize=8, ncols=2, loc="upper center",
                     bbox_to_anchor=(0.5, -0.25))
        for one in (above, below):
            one.grid(alpha=0.3)
    _write(figure, path)
