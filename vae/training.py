"""The training loop, and what it tells on the way."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.inspect import graph
from minigrad.optim import Optimizer
from minigrad.tensor import Tensor, untraced
from vae.models import VAE
from vae.objectives import Bound, elbo


@dataclass
class History:
    """One row an epoch; all bounds are means over the epoch's data, in nats."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False


def as_it_is(x: ndarray, *, rng: Generator) -> ndarray:
    """The batch itself."""
    return x


def fit(model: VAE, x: ndarray, *, epochs: int, batch_size: int, optimizer: Optimizer,
        rng: Generator, prepare: Callable[..., ndarray] = as_it_is,
        objective: Callable[..., Bound] = elbo,
        on_step: Callable[[int, int, float], None] | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None) -> History:
    """Maximise the mean of `objective` over `x` (n, …) by stochastic gradients.

    prepare: what is done to each batch as it is used, such as binarising it: `prepare(x, rng=rng)`.
    on_step(epoch, step, bound) and on_epoch(row) are told how it goes; on_epoch may add to its row.
    Ctrl-C ends training after the current step, with `history.interrupted` set; a second one ends
    it at once.
    """
    check_data(x)
    if batch_size < 1 or epochs < 0:
        raise ValueError(f"batch_size={batch_size}, epochs={epochs}: at least one datum a step is "
                         "needed, and no fewer than 0 epochs")
    history, starts = History(), range(0, len(x), batch_size)
    try:
        with interrupts_after_a_step() as check_interrupt:
            for epoch in range(1, epochs + 1):
                began, total, order = time.perf_counter(), np.zeros(3), rng.permutation(len(x))
                for step, start in enumerate(starts):
                    batch = prepare(x[order[start:start + batch_size]], rng=rng)
                    bound = objective(model, batch, rng=rng)
                    loss = -np.mean(bound.value)
                    if epoch == 1 and step == 0:
                        check_trained(loss, optimizer)
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    total += [np.sum(untraced(part), dtype=np.float64) for part in bound]
                    if on_step:
                        on_step(epoch, step, -loss.item())
                    check_interrupt()
                row = dict(zip(("train_elbo", "train_reconstruction", "train_kl"), total / len(x)))
                row = {"epoch": epoch, **row, "seconds": time.perf_counter() - began}
                history.rows.append(row)
                if on_epoch:
                    on_epoch(row)
                check_interrupt()
    except KeyboardInterrupt:
        history.interrupted = True
    return history


@contextmanager
def interrupts_after_a_step() -> Iterator[Callable[[], None]]:
    """Ctrl-C waits until the function given is called, so that no update is left half done."""
    pressed = False

    def press(signum: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


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


def check_data(x: ndarray) -> None:
    """An empty set, and values that are no numbers, are found before training."""
    if len(x) == 0:
        raise ValueError(f"no data: an array of shape {x.shape}; give at least one row")
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"data of dtype {x.dtype}: floating point is expected; divide pixels by "
                        "255")
    bad = ~np.isfinite(x)
    if bad.any():
        first = np.argwhere(bad)[0].tolist()
        raise ValueError(f"{int(bad.sum())} of {x.size} values are NaN or infinite, the first at "
                         f"{first}: leave out such rows, or fill in what is missing")
