"""Pictures of what `vae.evaluation` finds.  Every function writes one PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae.distributions import Estimate
from vae.evaluation.aggregate import Decomposition
from vae.evaluation.gap import Gaps
from vae.evaluation.latent import ActiveUnits
from vae.figures.canvas import Path, blank, grid, write


def kl_bars(path: Path, kl: Estimate, units: ActiveUnits, name: str) -> None:
    """KL of each dimension, largest first, the active ones in another colour."""
    figure, axes = blank(7, 3.6)
    _draw_kl(axes, kl, units)
    axes.set_title(f"{name}: {axes.get_title()}", fontsize=10)
    write(figure, path)


def rate_distortion(path: Path, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Distortion against rate, a point for each β, with lines of equal ELBO."""
    figure, axes = blank(6, 4.5)
    _draw_rates(axes, rows)
    axes.set_title(f"{name}: {axes.get_title()}", fontsize=10)
    write(figure, path)


def decomposition(path: Path, parts: Mapping[str, Decomposition], limit: float, name: str) -> None:
    """The parts of the mean KL of each model, stacked; limit: log N of the data."""
    figure, axes = blank(6, 4.5)
    _draw_parts(axes, parts, limit)
    axes.set_title(f"{name}: {axes.get_title()}", fontsize=10)
    write(figure, path)


def gaps(path: Path, found: Mapping[str, Gaps], name: str) -> None:
    """Approximation and amortisation of each model, means over the data, stacked."""
    figure, axes = blank(6, 4)
    _draw_gaps(axes, found)
    axes.set_title(f"{name}: {axes.get_title()}", fontsize=10)
    write(figure, path)


def overview(path: Path, *, kl: Estimate, units: ActiveUnits, parts: Mapping[str, Decomposition],
             limit: float, rows: Sequence[Mapping[str, Any]], found: Mapping[str, Gaps],
             name: str) -> None:
    """All four on one page."""
    figure, axes = grid(12, 8, 2, 2)
    first, second, third, fourth = axes.flat
    _draw_kl(first, kl, units)
    _draw_parts(second, parts, limit)
    _draw_rates(third, rows)
    _draw_gaps(fourth, found)
    figure.suptitle(name, fontsize=11)
    figure.savefig(path, dpi=110)


def _draw_kl(axes: Any, kl: Estimate, units: ActiveUnits) -> None:
    order = np.argsort(-kl.value, kind="stable")
    for active, color, label in ((True, "C0", "active"), (False, "C3", "not active")):
        at = np.nonzero(units.active[order] == active)[0]
        if not len(at):
            continue
        axes.bar(at, kl.value[order][at], yerr=kl.standard_error[order][at], color=color,
                 label=f"{label}: {len(at)}")
    axes.set_xticks(np.arange(len(order)), order, fontsize=7 if len(order) > 12 else 9,
                    rotation=90 if len(order) > 25 else 0)
    axes.set(xlabel="dimension of z", ylabel="KL(q(z_j|x)‖p(z_j)), nats")
    axes.set_title(f"{kl.value.sum():.1f} nats in {len(order)} dimensions", fontsize=10)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8)


def _draw_parts(axes: Any, parts: Mapping[str, Decomposition], limit: float) -> None:
    names, below = list(parts), np.zeros(len(parts))
    for label, of in {"mutual information": lambda p: p.mutual_information,
                      "total correlation": lambda p: p.total_correlation,
                      "dimension-wise KL": lambda p: Estimate(p.dimension_kl.value.sum(), None),
                      }.items():
        found = [of(parts[name]) for name in names]
        heights = np.array([part.value for part in found])
        errors = [part.standard_error or 0 for part in found]
        axes.bar(names, heights, bottom=below, yerr=errors, label=label, width=0.6)
        below = below + heights
    axes.axhline(limit, color="black", ls=":", lw=1, label=f"log N = {limit:.2f}")
    axes.set(ylabel="nats per datum", ylim=(0, 1.35 * max(limit, below.max())))
    axes.set_title("mean KL(q(z|x)‖p(z)), split at q(z) and Π q(z_j)", fontsize=10)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8)


def _draw_rates(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    rate, distortion, elbo = (np.array([row[key] for row in rows])
                              for key in ("rate", "distortion", "elbo"))
    axes.errorbar(rate, distortion, xerr=[row["rate_se"] for row in rows],
                  yerr=[row["distortion_se"] for row in rows], fmt="o-", ms=4)
    for row in rows:
        axes.annotate(f"β = {row['beta']:g}", (row["rate"], row["distortion"]), fontsize=8,
                      xytext=(5, 4), textcoords="offset points")
    axes.margins(0.15, 0.1)  # room for the last label
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    best = elbo.max()
    axes.plot([low, high], [-best - low, -best - high], "--", color="grey", lw=1,
              label=f"ELBO = {best:.1f}, the largest")
    axes.set(xlabel="rate: E KL(q(z|x)‖p(z)), nats", ylabel="distortion: -E log p(x|z), nats",
             xlim=(low, high), ylim=(bottom, top))
    axes.set_title("rate and distortion", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_gaps(axes: Any, found: Mapping[str, Gaps]) -> None:
    names, below = list(found), np.zeros(len(found))
    for label in ("approximation", "amortisation"):
        parts = [getattr(found[name], label) for name in names]
        heights = np.array([part.value.mean() for part in parts])
        errors = [np.sqrt(np.square(part.standard_error).sum()) / len(part.value)
                  for part in parts]
        axes.bar(names, heights, bottom=below, yerr=errors, label=label, width=0.6)
        below = below + heights
    axes.set(ylabel="nats per datum", ylim=(min(0, below.min()), 1.25 * below.max()))
    axes.set_title("log p(x) - ELBO, by what it is due to", fontsize=10)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8)
