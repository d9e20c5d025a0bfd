"""Pictures of gradient estimators and of EM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from vae.figures.canvas import Path, grid, write


def estimators(path: Path, comparisons: dict[str, Any]) -> None:
    """Of `vae.lab.compare`: bias, variance, signal-to-noise ratio and cost; a row for each."""
    heights = [1 + len({r.estimator for r in c.rows}) for c in comparisons.values()]
    figure, axes_rows = grid(12, 0.6 + sum(0.38 + 0.32 * height for height in heights),
                             len(heights), 4, height_ratios=heights)
    columns = {"bias / what chance gives\n(grey: none seen)":
                   lambda r: (r.bias / max(r.bias_noise, 1e-300), 0),
               "variance": lambda r: (r.variance, r.variance_error),
               "signal-to-noise ratio": lambda r: (r.snr, r.snr_error),
               "variance · µs": lambda r: (1e6 * r.cost, 1e6 * r.seconds * r.variance_error)}
    for axes_row, (name, comparison) in zip(axes_rows, comparisons.items()):
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
    write(figure, path)


def em_traces(path: Path, panels: Sequence[tuple[str, dict[str, Sequence[Any]], str, float]]
              ) -> None:
    """log p(x) and ELBO above, the gap between them below, against the updates of θ.

    A panel: title, name -> points of `vae.exact`, then name and height of a line of reference.
    """
    figure, axes = grid(4.6 * len(panels), 6.4, 2, len(panels), sharex="col", height_ratios=(3, 2))
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
    write(figure, path)
