"""The state of a run: all that must be the same for it to go on as if it had never stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.optim import Optimizer
from minigrad.tensor import untraced
from vae.models import VAE
from vae.objectives import Bound, Weighted
from vae.training.best import KeepBest, arrays_of, set_arrays
from vae.training.history import History

SUMS = ("train_objective", "train_bound", "train_reconstruction", "train_kl")


@dataclass
class Run:
    """epoch: counted from 1.  step: batches of it that are done.  order: of its data.

    sums: over the epoch's data so far, of `SUMS`.  seconds: of the epoch before `resumed`.
    """

    model: VAE
    optimizer: Optimizer
    rng: Generator
    objective: Any
    best: KeepBest | None
    history: History = field(default_factory=History)
    epoch: int = 1
    step: int = 0
    order: ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    sums: ndarray = field(default_factory=lambda: np.zeros(len(SUMS)))
    kl_weight: float | None = None
    seconds: float = 0.0
    resumed: float = field(default_factory=time.perf_counter)

    @property
    def is_first(self) -> bool:
        """Whether no step was done yet."""
        return self.step == 0 and self.epoch == 1

    # -- what the loop tells it -------------------------------------------------------------------
    def begin_epoch(self, n: int) -> None:
        """Draw the order of the data, unless the epoch is half done already."""
        if self.step == 0:
            self.order = self.rng.permutation(n)
            self.seconds, self.resumed = 0.0, time.perf_counter()

    def count(self, bound: Bound | Weighted) -> float:
        """After a step: add up its bounds; the mean of the unweighted one, in nats."""
        parts = [untraced(part) for part in (bound.objective, bound.value, bound.reconstruction,
                                             bound.kl)]
        sums = np.array([np.sum(part, dtype=np.float64) for part in parts])
        self.sums, self.step, self.kl_weight = self.sums + sums, self.step + 1, bound.kl_weight
        return float(sums[1] / max(parts[1].size, 1))

    def end_epoch(self, n: int) -> dict[str, Any]:
        """The epoch's row of the history."""
        row = {"epoch": self.epoch, "step": self.optimizer.steps,
               **dict(zip(SUMS, (self.sums / n).tolist()))}
        if self.kl_weight is not None:
            row["kl_weight"] = self.kl_weight
        if self.best:
            row |= self.best.look(self.model, self.epoch, self.optimizer.steps - self.step)
            self.history.stopped = self.best.exhausted
        row["seconds"] = self.so_far()
        self.history.rows.append(row)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, np.zeros(len(SUMS))
        return row

    def so_far(self) -> float:
        """Seconds of the epoch, those before an interruption included."""
        return self.seconds + time.perf_counter() - self.resumed

    # -- what a checkpoint holds ------------------------------------------------------------------
    def arrays(self) -> dict[str, ndarray]:
        """All arrays by name: those themselves, no copies."""
        found = {f"model.{name}": a for name, a in arrays_of(self.model).items()}
        found |= {f"optimizer.{name}.{i}": a for name, states in self.optimizer.state.items()
                  for i, a in enumerate(states)}
        if self.best:
            found |= {f"best.{name}": a for name, a in self.best.kept.items()}
        found |= {f"objective.{name}": np.asarray(value) for name, value in self._carried()
                  if not isinstance(value, (int, float)) or isinstance(value, np.generic)}
        return {**found, "order": self.order if self.step else self.order[:0], "sums": self.sums}

    def numbers(self) -> dict[str, Any]:
        """All else, as JSON can hold it."""
        best = self.best and {"elbo": self.best.elbo, "epoch": self.best.epoch,
                              "waited": self.best.waited}
        return {"epoch": self.epoch, "step": self.step, "optimizer_steps": self.optimizer.steps,
                "kl_weight": self.kl_weight, "seconds": self.so_far(), "best": best,
                "objective": {name: value for name, value in self._carried()
                              if isinstance(value, (int, float))
                              and not isinstance(value, np.generic)},
                "generator": self.rng.bit_generator.state, "history": self.history.rows,
                "stopped": self.history.stopped}

    def restore(self, arrays: dict[str, ndarray], numbers: dict[str, Any], n: int) -> None:
        """Become what was told, of n data; raises ValueError or KeyError where that can't be.

        Nothing is changed before all was looked at.
        """
        own = self.arrays()
        best = {k: a for k, a in arrays.items() if k.startswith("best.")}
        for name, array in own.items():
            if name.startswith(("model.", "optimizer.")) or name == "sums":
                given = arrays[name]
                if (given.shape, given.dtype) != (array.shape, array.dtype):
                    raise ValueError(f"{name} is {given.dtype} {given.shape}")
        if numbers["step"] and not np.array_equal(np.sort(arrays["order"]), np.arange(n)):
            raise ValueError("its order of the data is none")
        if best and {*best} != {"best." + name for name in arrays_of(self.model)}:
            raise ValueError("its best parameters are another model's")
        counts = [numbers[name] for name in ("epoch", "step", "optimizer_steps")]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(f"its counts are {counts}")
        type(self.rng.bit_generator)().state = state = _unlisted(numbers["generator"])
        rows = numbers["history"]
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise ValueError("its history is no list of rows")
        remembered = [(owner, name, numbers["objective"][place + name]
                       if place + name in numbers["objective"]
                       else arrays[f"objective.{place}{name}"][()])
                      for place, owner, name in _stateful(self.objective)]
        of_best = self.best and {key: numbers["best"][key] for key in ("elbo", "epoch", "waited")}
        rest = {key: numbers[key] for key in ("kl_weight", "seconds", "stopped")}

        set_arrays(self.model, {k[6:]: a for k, a in arrays.items() if k.startswith("model.")})
        for name, states in self.optimizer.state.items():
            for i, a in enumerate(states):
                a[...] = arrays[f"optimizer.{name}.{i}"]
        if self.best:
            self.best.kept = {k.removeprefix("best."): a for k, a in best.items()}
            vars(self.best).update(of_best)
        for owner, name, value in remembered:
            setattr(owner, name, value)
        self.epoch, self.step, self.optimizer.steps = counts
        self.order, self.sums = arrays["order"], arrays["sums"]
        self.kl_weight, self.seconds = rest["kl_weight"], rest["seconds"]
        self.history.rows[:], self.history.stopped = rows, rest["stopped"]
        self.rng.bit_generator.state, self.resumed = state, time.perf_counter()

    def _carried(self) -> Iterator[tuple[str, Any]]:
        for place, owner, name in _stateful(self.objective):
            yield f"{place}{name}", getattr(owner, name)


def _stateful(node: Any, place: str = "") -> Iterator[tuple[str, Any, str]]:
    """Each (place, object, attribute) that objects in an objective name in their `carried`."""
    yield from ((place, node, name) for name in getattr(node, "carried", ()))
    if isinstance(node, partial):
        for i, child in enumerate([node.func, *node.args, *node.keywords.values()]):
            yield from _stateful(child, f"{place}{i}.")


def _unlisted(state: Any) -> Any:
    """A bit generator's state with lists as the arrays of integers that they were."""
    if isinstance(state, dict):
        return {key: _unlisted(value) for key, value in state.items()}
    return np.array(state, np.uint64) if isinstance(state, list) else state
