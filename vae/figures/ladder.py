"""A picture of bounds on log p(x), one above the other."""

from __future__ import annotations

from collections.abc import Mapping

from vae.distributions import Estimate
from vae.figures.canvas import Path, grid, write


def ladder(path: Path, ladders: Mapping[str, Mapping[str, Estimate]], exact: str) -> None:
    """A panel for each model: bounds by name, two standard errors to each side, in nats a datum.

    exact: the name of log p(x) among them, which is drawn as a line.
    """
    most = max(len(rungs) for rungs in ladders.values())
    figure, axes = grid(5.8 * len(ladders), 0.9 + 0.36 * most, 1, len(ladders))
    for one, (title, rungs) in zip(axes[0], ladders.items()):
        line = rungs[exact].value
        bounds = {name: bound for name, bound in rungs.items() if name != exact}
        for height, (value, error) in enumerate(bounds.values()):
            one.errorbar(value, height, xerr=2 * error, fmt="o", ms=5, capsize=3, color="C0")
            away = f"{value - line:.2g}" if abs(value - line) > 1e-9 else "0"  # less is rounding
            one.annotate(away, (value, height), (-4, 5), fontsize=8, ha="right",
                         textcoords="offset points")
        one.axvline(line, color="black", lw=1)
        one.set_yticks(range(len(bounds)), bounds, fontsize=8)
        one.set(xlabel="nats a datum", ylim=(-0.5, len(bounds) - 0.2))
        one.set_title(f"{title}: {exact} = {line:.3f}", fontsize=10)
        one.margins(x=0.1)
        one.grid(alpha=0.3)
    write(figure, path)
