"""A NaN or an infinity stops training before the update that would spread it."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import nn
from minigrad.debugging import NumericalError, debug
from minigrad.kernels.blocks import all_finite
from minigrad.tensor import Tensor
from vae.objectives import Bound, Weighted
from vae.training.history import plain
from vae.training.run import Run

LossOf = Callable[[ndarray, Generator], tuple[Bound | Weighted, Any]]


class NonFinite(FloatingPointError):
    """The loss or a gradient isn't finite; the text says which operation made it, and where the
    last good parameters and the batch are.
    """


def finite(loss: Tensor, parameters: list[Tensor]) -> bool:
    """Whether the loss and all gradients are."""
    return math.isfinite(loss.item()) and all(p.grad is None or all_finite(p.grad)
                                              for p in parameters)


def stop(run: Run, loss: Tensor, batch: ndarray, before: dict[str, Any], loss_of: LossOf,
         folder: str | os.PathLike | None) -> None:
    """Raise `NonFinite`, with the step repeated in debug mode from the generator's state `before`.

    The model is as it was before the step.  Parameters, batch and the generator's state go to a
    folder `nonfinite` in `folder`, or to a new temporary one.
    """
    model, where = run.model, f"epoch {run.epoch}, batch {run.step + 1}"
    bad = [name for name, p in nn.named_parameters(model).items()
           if p.grad is not None and not all_finite(p.grad)]
    what = (f"the loss is {loss.item()}" if not math.isfinite(loss.item()) else
            f"the loss is {loss.item():.6g}, and the gradients of {', '.join(bad[:3])}"
            f"{f' and {len(bad) - 3} more' if len(bad) > 3 else ''} are not finite")
    text = [f"{where}: {what}. Training stopped before the update.",
            _cause(loss_of, batch, run.rng, before)]
    for p in run.optimizer.params:
        p.grad = None
    try:
        folder = _write(model, batch, before, folder)
        text.append(f"The parameters before this step and its batch are in {folder}: "
                    "parameters.npz, batch.npz, generator.json")
    except OSError as error:
        text.append(f"The parameters are as they were before the step; they could not be written: "
                    f"{error}")
    text.append("Cures: a lower learning rate or a warm-up of it, mg.optim.clip_global_norm, data "
                "of a moderate scale, a floor under learned spreads.")
    raise NonFinite("\n".join(text))


def _cause(loss_of: LossOf, batch: ndarray, rng: Generator, before: dict[str, Any]) -> str:
    """What debug mode says of the same step."""
    copy = type(rng.bit_generator)()
    copy.state = before
    try:
        with debug(), np.errstate(all="ignore"):
            loss_of(batch, Generator(copy))[1].backward()
    except NumericalError as error:
        return str(error)
    except Exception as error:  # it is only asked for the cause: the stop itself must be told
        return f"Repeated in debug mode it raised {type(error).__name__}: {error}"
    return ("Repeated in debug mode it is finite: the step depends on more than model, batch and "
            "rng.")


def _write(model: Any, batch: ndarray, before: dict[str, Any],
           where: str | os.PathLike | None) -> Path:
    folder = (Path(where) / "nonfinite" if where is not None else
              Path(tempfile.mkdtemp(prefix="minigrad-nonfinite-")))
    folder.mkdir(parents=True, exist_ok=True)
    nn.save(folder / "parameters.npz", model)
    np.savez(folder / "batch.npz", x=batch)
    (folder / "generator.json").write_text(json.dumps(before, default=plain) + "\n")
    return folder
