"""What is known of each epoch."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from typing import Any


@dataclass(repr=False)
class History:
    """One row an epoch; bounds are means over the epoch's data, in nats a datum.

    train_objective: what was maximised.  train_bound: the unweighted bound; train_reconstruction
    and train_kl: its parts.  kl_weight: at the epoch's last step, where the objective has one.
    step: how many steps were done.  valid_…: as `KeepBest` found them.  seconds: of the epoch.

    interrupted: Ctrl-C ended it.  stopped: `KeepBest` did.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    stopped: bool = False

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={value:.4g}" for name, value in (self.rows or [{}])[-1].items()
                         if name.endswith(("bound", "elbo")))
        ended = ", interrupted" * self.interrupted + ", stopped" * self.stopped
        return f"History({len(self.rows)} epochs{ended}" + (f", last: {last})" if last else ")")

    def write_csv(self, path: str | os.PathLike) -> None:
        """A line an epoch; what a row does not have is left empty."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def write_json(self, path: str | os.PathLike) -> None:
        """The rows, and how it ended."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(vars(self), file, indent=1, default=plain)
            file.write("\n")


def plain(value: Any) -> Any:
    """What JSON doesn't know of a row: NumPy's numbers and arrays."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be written as JSON: {value!r:.60}")
