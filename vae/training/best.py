"""Which parameters to keep, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy import ndarray

from minigrad.marks import written
from minigrad.nn import named_buffers, named_parameters
from vae.data.checks import check_data
from vae.evaluation import evaluate
from vae.models import VAE
from vae.objectives import Bound, elbo


class KeepBest:
    """Keeps the parameters of the epoch with the highest ELBO on validation data `x`.

    It is the ELBO itself, whatever the objective weighs: models of different weights, and one model
    in its warm-up and after it, are compared by the same number.

    patience: stop after so many epochs without a better one; None: never.  Epochs that begin in
    the first `warmup` steps don't count: while the KL's weight grows the bound may well fall.  It
    must be given (0 if nothing warms up) where the objective depends on the step.
    seed: of the draws of z, the same in every epoch.  bound: another in place of the ELBO, such as
    `estimators.sgvb_a` where the KL has no closed form.
    """

    def __init__(self, x: ndarray, *, patience: int | None = None, warmup: int | None = None,
                 seed: int = 0, batch_size: int = 500, bound: Callable[..., Bound] = elbo):
        check_data(x)
        if patience is not None and patience < 1:
            raise ValueError(f"patience={patience}: at least one epoch, or None never to stop")
        if warmup is not None and warmup < 0:
            raise ValueError(f"warmup={warmup}: steps, 0 or more")
        self.x, self.patience, self.warmup = x, patience, warmup
        self.seed, self.batch_size, self.bound = seed, batch_size, bound
        self.forget()

    def forget(self) -> None:
        """As before any epoch."""
        self.elbo: float | None = None
        self.epoch, self.waited = 0, 0
        self.kept: dict[str, ndarray] = {}

    def begin(self, *, scheduled: bool) -> None:
        """With a new run; raises ValueError if it could stop before its objective has warmed up."""
        if scheduled and self.patience is not None and self.warmup is None:
            raise ValueError("the objective depends on the step: say KeepBest(…, warmup=steps), "
                             "before which patience isn't counted, or warmup=0")
        self.forget()

    @property
    def exhausted(self) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and self.waited >= self.patience

    def look(self, model: VAE, epoch: int, began_at_step: int) -> dict[str, float]:
        """After an epoch: evaluate, keep what is best; the columns valid_… of the history."""
        found = evaluate(model, self.x, seed=self.seed, batch_size=self.batch_size,
                         objective=self.bound)
        if self.elbo is None or found["elbo"] > self.elbo:
            self.elbo, self.epoch, self.waited = found["elbo"], epoch, 0
            self.kept = {name: array.copy() for name, array in arrays_of(model).items()}
        elif began_at_step >= (self.warmup or 0):
            self.waited += 1
        return {f"valid_{part}": found[part] for part in ("elbo", "reconstruction", "kl")}

    def restore(self, model: VAE) -> None:
        """Give the model the parameters that were kept, if any were."""
        if self.kept:
            set_arrays(model, self.kept)


def arrays_of(model: Any) -> dict[str, ndarray]:
    """Parameters and buffers of a model by name: the arrays themselves, no copies."""
    return {**{name: p.data for name, p in named_parameters(model).items()}, **named_buffers(model)}


def set_arrays(model: Any, arrays: dict[str, ndarray]) -> None:
    """Copy values into parameters and buffers."""
    written()
    for name, array in arrays_of(model).items():
        array[...] = arrays[name]
