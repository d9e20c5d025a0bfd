"""The training loop, and what it tells on the way."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.inspect import graph
from minigrad.optim import Optimizer
from minigrad.tensor import Tensor
from vae.data.checks import check_data
from vae.models import VAE
from vae.objectives import Bound, Weighted, elbo, told_step
from vae.training import guard
from vae.training.best import KeepBest
from vae.training.checkpoint import Checkpoint, folder_of, keeping
from vae.training.description import describe_run
from vae.training.history import History
from vae.training.run import Run


def as_it_is(x: ndarray, *, rng: Generator) -> ndarray:
    """The batch itself."""
    return x


def fit(model: VAE, x: ndarray, *, epochs: int, batch_size: int, optimizer: Optimizer,
        rng: Generator, prepare: Callable[..., ndarray] = as_it_is,
        objective: Callable[..., Bound | Weighted] = elbo, best: KeepBest | None = None,
        checkpoint: Checkpoint | str | os.PathLike | None = None, resume: bool = False,
        on_step: Callable[[int, int, float], None] | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None) -> History:
    """Maximise the mean of `objective` over `x` (n, …) by stochastic gradients.

    prepare: what is done to each batch as it is used, such as binarising it: `prepare(x, rng=rng)`.
    objective: `objective(model, batch, rng=rng)`; one with a parameter `step` is told the number
    of steps done.  best: keeps the parameters of the best epoch, which the model has at the end.
    checkpoint: a folder; with `resume` the run in it goes on, from its last step, to the same bits
    as if it had never stopped (without one there, it begins).  `epochs` may be another number.
    on_step(epoch, step, bound) and on_epoch(row) are told how it goes; on_epoch may add to its row.

    Ctrl-C ends training after the current step, with `history.interrupted` set; a second one ends
    it at once.  Raises NonFinite, before the update, where a loss or a gradient isn't finite.
    """
    check_data(x)
    check_sizes(len(x), epochs, batch_size)
    told = told_step(objective)
    if best:
        best.begin(scheduled=bool(told(0)))
    run = Run(model, optimizer, rng, objective, best)
    describe = partial(describe_run, model, x, optimizer=optimizer, rng=rng, batch_size=batch_size,
                       prepare=prepare, objective=objective, best=best)

    def loss_of(batch: ndarray, rng: Generator) -> tuple[Bound | Weighted, Any]:
        bound = objective(model, batch, rng=rng, **told(optimizer.steps))
        check_bound(bound, len(batch))
        return bound, -np.mean(bound.objective)

    with (interrupts_after_a_step() as interrupt,
          keeping(checkpoint, run, describe, len(x), resume=resume) as keep):
        try:
            while run.epoch <= epochs and not run.history.stopped:
                run.begin_epoch(len(x))
                for start in range(run.step * batch_size, len(x), batch_size):
                    batch = prepare(x[run.order[start:start + batch_size]], rng=rng)
                    before = rng.bit_generator.state
                    bound, loss = loss_of(batch, rng)
                    if run.is_first:
                        check_trained(loss, optimizer)
                    loss.backward()
                    if not guard.finite(loss, optimizer.params):
                        guard.stop(run, loss, batch, before, loss_of, folder_of(checkpoint))
                    optimizer.step()
                    optimizer.zero_grad()
                    mean = run.count(bound)
                    if on_step:
                        on_step(run.epoch, run.step - 1, mean)
                    keep(interrupt.pressed)
                    interrupt.check()
                row = run.end_epoch(len(x))
                if on_epoch:
                    on_epoch(row)
                keep(run.epoch > epochs or run.history.stopped or interrupt.pressed)
                interrupt.check()
        except KeyboardInterrupt:
            run.history.interrupted = True
    if best:
        best.restore(model)
    return run.history


class Interrupt:
    """Ctrl-C, which waits until `check` is called; a second one raises at once."""

    pressed = False

    def press(self, signum: int, frame: Any) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def check(self) -> None:
        if self.pressed:
            raise KeyboardInterrupt


@contextmanager
def interrupts_after_a_step() -> Iterator[Interrupt]:
    """Ctrl-C waits until the step is done, so that no update is left half done."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGINT, interrupt.press)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def check_sizes(n: int, epochs: int, batch_size: int) -> None:
    """What can't be, and what is hardly meant."""
    if batch_size < 1 or epochs < 0:
        raise ValueError(f"batch_size={batch_size}, epochs={epochs}: at least one datum a step is "
                         "needed, and no fewer than 0 epochs")
    if batch_size > n:
        warnings.warn(f"batch_size={batch_size} with {n} data: each step takes all {n}, so that an "
                      f"epoch is one step. If that is meant, say batch_size={n}", stacklevel=3)


def check_bound(bound: Any, n: int) -> None:
    """Raise unless it is a bound with its parts, each of one number a datum."""
    if not isinstance(bound, (Bound, Weighted)):
        raise TypeError(f"the objective gave a {type(bound).__name__}: a vae.Bound(value, "
                        "reconstruction, kl) is expected, of one number a datum each")
    for name in ("objective", "value", "reconstruction", "kl"):
        shape = getattr(getattr(bound, name), "shape", ())
        if shape != (n,):
            raise ValueError(f"the objective's {name} has shape {shape}: one number for each datum "
                             f"of the batch is expected, {(n,)}; the mean over them is taken by "
                             "fit")


def check_trained(loss: Any, optimizer: Optimizer) -> None:
    """What the loss depends on and what the optimizer moves must be the same: it is asked once."""
    if not isinstance(loss, Tensor):
        raise ValueError("the objective depends on no parameter: its value is an array. Is the "
                         "model frozen, or its posterior's draws stopped?")
    leaves = {t for t in graph(loss) if t.rule is None}
    moved = set(optimizer.params)
    if not leaves & moved:
        raise ValueError("the objective depends on none of the optimizer's parameters: was it made "
                         "for another model?")
    if left := leaves - moved:
        shapes = ", ".join(str(t.shape) for t in sorted(left, key=lambda t: t.order)[:5])
        warnings.warn(f"the objective depends on {len(left)} Tensors that the optimizer does not "
                      f"move, of shapes {shapes}. To hold them take mg.nn.frozen of that part; if "
                      "they are inside of a lambda, where mg.nn.parameters can't find them, make "
                      "it a mg.nn.Sequential or an object with attributes", stacklevel=3)
