"""Estimators of one gradient side by side: bias, variance, signal-to-noise ratio, cost.

A distribution is laid out along a batch axis of repetitions, so that one walk backwards gives as
many independent estimates: nothing is looped over but blocks of a thousand.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.tensor import Tensor, untraced
from minigrad.transforms import grad
from vae.distributions import Distribution, Normal
from vae.lab.statistics import Comparison, rows_of

REFERENCE = 10  # times the repetitions, where the exact gradient is not known
Arrays = dict[str, ndarray]


def compare(f: Callable[[Any], Any], q: Distribution, estimators: Any, *, rng: Generator,
            repetitions: int = 10_000, exact: Any = None, block: int = 1000) -> Comparison:
    """Estimators of the gradient of E_q[f(z)] by the parameters of q, each repeated.

    f: z (draws, *batch, *event) -> (draws, *batch).  q: one distribution, without batch axes; the
    parameters are those of its constructor, for a Normal mean and log_std.
    estimators: name -> function (f, q, *, rng), as in `vae.estimators`; or a list of functions.
    exact: E_q[f] as a differentiable function of q, or name of a parameter -> gradient.  Without
    it the first estimator that is not known as biased is run ten times as long.

    All estimators begin with the same generator: those that draw alike share their noise.
    """
    if q.shape[:len(q.shape) - q.event_ndim]:
        raise ValueError(f"compare of {q!r}: it has batch axes "
                         f"{q.shape[:len(q.shape) - q.event_ndim]}; give one distribution, the "
                         "repetitions are laid out here")
    make, values = parameters_of(q)
    axes = axes_of(q, values)
    runs = {name: partial(_expectation, f, estimator, make, values, axes)
            for name, estimator in _named(estimators).items()}
    if callable(exact):
        names = list(values)
        slopes = grad(lambda *a: exact(make(**dict(zip(names, a)))),
                      tuple(range(len(names))))(*values.values())
        exact = dict(zip(names, slopes))
    return _compare(runs, _named(estimators), values, rng, repetitions, exact, block)


def compare_bounds(model: Any, x: ndarray, bounds: Any, *, rng: Generator,
                   repetitions: int = 10_000, exact: Any = None, block: int = 1000) -> Comparison:
    """Estimators of the gradient of a bound on log p(x) by the parameters of q(z|x), for one datum.

    bounds: name -> function (model, x, *, rng), as in `vae.objectives` and `vae.estimators`.
    exact: as for `compare`, the bound as a function of q.  The encoder's weights get their gradient
    through these parameters, by a factor that is the same for all bounds.
    """
    if x.ndim != 1:
        raise ValueError(f"compare_bounds of x with shape {x.shape}: give one datum, (n_x,)")
    q = model.posterior(x[None]).constant()
    make, rows = parameters_of(q)
    axes = axes_of(q, rows)
    values = {name: value[0] if value.ndim > axes[name] else value
              for name, value in rows.items()}
    runs = {name: partial(_bound, model, x, bound, make, values, axes)
            for name, bound in _named(bounds).items()}
    if callable(exact):
        names = list(values)
        slopes = grad(lambda *a: np.sum(exact(make(**{n: v[None] for n, v in zip(names, a)}))),
                      tuple(range(len(names))))(*values.values())
        exact = dict(zip(names, slopes))
    return _compare(runs, _named(bounds), values, rng, repetitions, exact, block)


def parameters_of(q: Distribution) -> tuple[Callable[..., Distribution], Arrays]:
    """A constructor, and the parameters for it by name: for a Normal mean and log_std."""
    if isinstance(q, Normal):
        make, names = Normal.from_log_std, ["mean", "log_std"]
    else:
        make = type(q)
        names = [name for name, p in inspect.signature(make).parameters.items()
                 if p.kind is p.POSITIONAL_OR_KEYWORD]
    values = {name: getattr(q, name) for name in names}
    if nested := [name for name, v in values.items() if isinstance(v, Distribution)]:
        raise TypeError(f"{type(q).__name__} has distributions for parameters ({nested[0]}); "
                        "the laboratory takes those whose parameters are arrays")
    return (partial(make, event_ndim=q.event_ndim),
            {name: np.asarray(untraced(v)) for name, v in values.items()})


# -- one block of repetitions ---------------------------------------------------------------------
def axes_of(q: Distribution, values: Arrays) -> dict[str, int]:
    """How many axes each parameter has for one event."""
    return {name: q.event_ndim + q.extra_axes.get(name, 0) for name in values}


def _laid_out(values: Arrays, n: int, axes: dict[str, int]) -> dict[str, Tensor]:
    """Each parameter n times along a new first axis, as a leaf."""
    return {name: Tensor(np.broadcast_to(v, (n, *(1,) * (axes[name] - v.ndim), *v.shape)))
            for name, v in values.items()}


def _gradients(value: Any, leaves: dict[str, Tensor], values: Arrays) -> Arrays:
    np.sum(value).backward()
    return {name: np.reshape(np.zeros(t.shape) if t.grad is None else t.grad,
                             (t.shape[0], *values[name].shape)) for name, t in leaves.items()}


def _expectation(f: Callable, estimator: Callable, make: Callable, values: Arrays,
                 axes: dict[str, int], n: int, rng: Generator) -> Arrays:
    leaves = _laid_out(values, n, axes)
    return _gradients(estimator(f, make(**leaves), rng=rng), leaves, values)


class _WithPosterior:
    """A model whose q(z|x) is given."""

    def __init__(self, model: Any, q: Distribution):
        self.prior, self.likelihood, self._q = model.prior, model.likelihood, q

    def posterior(self, x: Any) -> Distribution:
        return self._q


def _bound(model: Any, x: ndarray, bound: Callable, make: Callable, values: Arrays,
           axes: dict[str, int], n: int, rng: Generator) -> Arrays:
    leaves = _laid_out(values, n, axes)
    found = bound(_WithPosterior(model, make(**leaves)), np.broadcast_to(x, (n, *x.shape)),
                  rng=rng)
    return _gradients(getattr(found, "value", found), leaves, values)


# -- all of them ----------------------------------------------------------------------------------
def _compare(runs: dict[str, Callable], functions: dict[str, Callable], values: Arrays,
             rng: Generator, repetitions: int, exact: Any, block: int) -> Comparison:
    if repetitions < 100:
        raise ValueError(f"repetitions={repetitions}: at least 100, the error bars need them")
    if exact is not None and exact.keys() != values.keys():
        raise ValueError(f"exact gradients of {', '.join(exact)}, but the parameters are "
                         f"{', '.join(values)}")
    seed = int(rng.integers(2**63))
    noise_of_exact = None
    if exact is None:
        name = next((n for n, e in functions.items() if not _known(e, "biased")), None)
        if name is None:
            raise ValueError("all of these estimators are biased: give exact=, or one that is not")
        found, _ = _repeat(runs[name], REFERENCE * repetitions, block, seed + 1)
        exact = {k: g.mean(axis=0) for k, g in found.items()}
        noise_of_exact = {k: g.std(axis=0) / np.sqrt(len(g)) for k, g in found.items()}
    rows = []
    for name, run in runs.items():
        found, seconds = _repeat(run, repetitions, block, seed)
        rows += rows_of(name, found, seconds, exact, noise_of_exact,
                        known_as_biased=_known(functions[name], "biased"))
    return Comparison(rows, repetitions)


def _repeat(run: Callable, repetitions: int, block: int, seed: int) -> tuple[Arrays, float]:
    """Gradients (repetitions, …) by parameter, and seconds an estimate, the median of blocks.

    A block before them is not counted.
    """
    run(min(block, repetitions), np.random.default_rng(seed + 2))
    rng, found, seconds = np.random.default_rng(seed), [], []
    for start in range(0, repetitions, block):
        n = min(block, repetitions - start)
        began = time.perf_counter()
        found.append(run(n, rng))
        seconds.append((time.perf_counter() - began) / n)
    return {k: np.concatenate([part[k] for part in found]) for k in found[0]}, \
        float(np.median(seconds))


def _named(functions: Any) -> dict[str, Callable]:
    if isinstance(functions, Mapping):
        return dict(functions)
    if not isinstance(functions, Iterable):
        raise TypeError("estimators: name -> function, or a list of functions; this is "
                        f"{type(functions).__name__}")
    return {f.__name__: f for f in functions}


def _known(estimator: Callable, attribute: str) -> bool:
    while isinstance(estimator, partial):
        estimator = estimator.func
    return bool(getattr(estimator, attribute, False))
