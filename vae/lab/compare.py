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
    They are given q with a batch axis of repetitions, and return a value for each, whose gradients
    must be independent: of noise of their own they draw `q.shape`.
    exact: E_q[f] as a differentiable function of q, or name of a parameter -> gradient.  Without
    it an estimator of `vae.estimators` that is unbiased, or where there is none the first that is
    not known as biased, is run ten times as long; the table says which.

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
    n = len(next(iter(leaves.values())))
    if np.shape(value) != (n,):
        raise ValueError(f"of {n} repetitions an estimator gave a value of shape "
                         f"{np.shape(value)}, it must be {(n,)}: one for each, such as "
                         "f(z).mean(axis=0) of draws z (samples, repetitions, *event); their mean "
                         "is taken here")
    if type(value) is Tensor:
        value.sum().backward()
    return {name: np.reshape(np.zeros(t.shape) if t.grad is None else t.grad,
                             (n, *values[name].shape)) for name, t in leaves.items()}


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
    if repetitions < 100 or block < 1:
        raise ValueError(f"repetitions={repetitions}, block={block}: at least 100 repetitions, the "
                         "error bars need them, in blocks of 1 or more")
    if not isinstance(rng, Generator):
        raise TypeError(f"rng={rng!r:.40}: give a Generator, np.random.default_rng(seed)")
    if exact is not None:
        _check_exact(exact, values)
    seed = int(rng.integers(2**63))
    noise_of_exact, reference = None, "given"
    if exact is None:
        name = _reference(functions)
        found, _ = _repeat(runs[name], REFERENCE * repetitions, block, seed + 1)
        exact = {k: g.mean(axis=0) for k, g in found.items()}
        noise_of_exact = {k: g.std(axis=0) / np.sqrt(len(g)) for k, g in found.items()}
        reference = f"the mean of {REFERENCE * repetitions} of {name!r}"
    rows = []
    for name, run in runs.items():
        found, seconds = _repeat(run, repetitions, block, seed)
        rows += rows_of(name, found, seconds, exact, noise_of_exact,
                        known_as_biased=bool(_biased(functions[name])))
    return Comparison(rows, repetitions, reference)


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


def _check_exact(exact: Arrays, values: Arrays) -> None:
    if exact.keys() != values.keys():
        raise ValueError(f"exact gradients of {', '.join(exact)}, but the parameters are "
                         f"{', '.join(values)}")
    for name, value in values.items():
        if np.shape(exact[name]) != value.shape:
            raise ValueError(f"the exact gradient by {name} has shape {np.shape(exact[name])}, the "
                             f"parameter has {value.shape}")


def _reference(functions: dict[str, Callable]) -> str:
    """Whose long run stands for the exact gradient: one that says it is unbiased, if there is."""
    for wanted in (False, None):
        for name, f in functions.items():
            if _biased(f) is wanted:
                return name
    raise ValueError("all of these estimators are biased: give exact=, or one that is not")


def _biased(estimator: Callable) -> bool | None:
    """Whether its gradient is biased, or None where it does not say."""
    while isinstance(estimator, partial):
        if str(estimator.keywords.get("baseline")) == "mean":  # the one that biases the score
            return True
        estimator = estimator.func
    return getattr(estimator, "biased", None)


def _named(functions: Any) -> dict[str, Callable]:
    if isinstance(functions, Mapping):
        named = dict(functions)
    elif isinstance(functions, Iterable):
        functions = list(functions)
        named = {_name(f): f for f in functions}
        if len(named) < len(functions) or "<lambda>" in named:
            raise ValueError("estimators in a list go by their names, these are "
                             f"{', '.join(map(_name, functions))}: give name -> function")
    else:
        raise TypeError("estimators: name -> function, or a list of functions; this is "
                        f"{type(functions).__name__}")
    if not named:
        raise ValueError("no estimators to compare")
    return named


def _name(f: Callable) -> str:
    if isinstance(f, partial):
        options = ", ".join(f"{k}={v!r}" for k, v in f.keywords.items())
        return f"{_name(f.func)}({options})"
    return getattr(f, "__name__", type(f).__name__)
