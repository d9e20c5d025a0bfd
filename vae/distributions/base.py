"""What every distribution offers."""

from __future__ import annotations

import copy
import math
import operator
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.define import with_vjp
from minigrad.functions import stop_gradient
from minigrad.kernels.blocks import all_finite
from minigrad.marks import ById
from minigrad.tensor import Tensor, untraced
from vae.distributions.support import Support

LOG_2PI = math.log(2 * math.pi)
HALF_LOG_2PI = 0.5 * LOG_2PI


class NoPath(TypeError):
    """A gradient was asked for through draws of a distribution that lets none through."""


class StoppedGradient(UserWarning):
    """A gradient arrived at draws that were taken with `stopped=True`, and was dropped."""


class Origin(NamedTuple):
    """Where a draw is from."""

    q: Distribution
    stopped: bool


_origins = ById()
origin_of = _origins.get  # the Origin of a draw that is a Tensor, or None


class Distribution(ABC):
    """Abstract.  `shape` is that of a draw: batch axes, then `event_ndim` event axes.

    A log probability, an entropy, a KL is one number per event: summed over the event, in nats.

    path: how a gradient gets through a sample to the parameters: "location-scale", "implicit"
    (Figurnov et al. 2018), "inverse cdf", "relaxed" (of a relaxation, biased for what it relaxes),
    or None where only the score does: grad log q(z).
    parameters: names of the attributes that hold arrays, or distributions, to differentiate by.
    extra_axes: of a parameter, how many more axes it has than a draw.
    """

    path: ClassVar[str | None] = None
    parameters: ClassVar[tuple[str, ...]] = ()
    extra_axes: ClassVar[Mapping[str, int]] = {}
    support: Support
    shape: tuple[int, ...]
    event_ndim: int
    mean: Any
    variance: Any

    def sample(self, shape: int | tuple[int, ...] = (), *, rng: Generator | None = None,
               stopped: bool = False) -> Any:
        """Draws of shape `shape` + `self.shape`, with the gradient's path to the parameters.

        shape: a number n is (n,).  rng: needed, but within `noise.replay`.
        stopped: without it; a gradient that arrives at such draws is dropped with the warning
        `StoppedGradient`.  Raises NoPath where parameters are differentiated and `path` is None.
        """
        if type(shape) is not tuple:
            shape = axes(shape)
        rng = generator(rng)
        if stopped:
            z = self.constant()._sample(shape, rng)
            traced = next(self.traced(), None)
            if traced is not None:
                z = _stopped(z, traced, of=type(self).__name__)
        elif self.path is None and next(self.traced(), None) is not None:
            raise NoPath(self._no_path())
        else:
            z = self._sample(shape, rng)
        if type(z) is Tensor:
            _origins[z] = Origin(self, stopped)
        return z

    @abstractmethod
    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """`sample`, its options dealt with."""

    @np.errstate(over="ignore")  # a log density may be below every number
    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats: -inf outside of the support, with a gradient of 0."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x, self.dtype)
        outside = self.support.excludes(untraced(x))
        if outside.any():
            inside = np.where(outside, self.support.inner(x.dtype), x)
            density = np.where(outside, -np.inf, self._log_density(inside))
        else:
            density = self._log_density(x)
        return event_sum(density, self.event_ndim)

    @property
    def centre(self) -> Any:
        """One point that stands for the distribution: its mean, where the class says no other."""
        return self.mean

    def log_prob_each(self, x: Any) -> Any:
        """log p of x under each of the distributions in the last batch axis: (…, *batch, K)."""
        return self.log_prob(np.expand_dims(x, -1 - self.event_ndim))

    def _log_density(self, x: Any) -> Any:
        """log p of each element of x, which lies in the support, for `log_prob` of this class."""
        raise NotImplementedError(f"{type(self).__name__} has neither _log_density nor log_prob")

    def entropy(self) -> Any:
        """-E log p(x) per event, in nats."""
        raise NotImplementedError(f"the entropy of {type(self).__name__} has no closed form; "
                                  "estimate it: -q.log_prob(q.sample((n,), rng=rng)).mean(0)")

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) of each element."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf in closed form")

    def icdf(self, p: Any) -> Any:
        """The x of each element at which the cdf is p."""
        raise NotImplementedError(f"{type(self).__name__} has no quantiles in closed form")

    # -- parameters -------------------------------------------------------------------------------
    @property
    def dtype(self) -> np.dtype:
        """float32 or float64: that of the parameters together."""
        dtypes = {getattr(self, name).dtype for name in self.parameters}
        return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)

    def map(self, f: Callable[[Any], Any]) -> Any:
        """This distribution with `f` applied to each of its parameters."""
        new = copy.copy(self)
        for name in self.parameters:
            value = getattr(self, name)
            setattr(new, name, value.map(f) if isinstance(value, Distribution) else f(value))
        return new

    def stopped(self) -> Any:
        """This distribution with constants for parameters, as by `mg.stop_gradient`."""
        return self.map(stop_gradient)

    def constant(self) -> Any:
        """This distribution with plain arrays for parameters."""
        return self.map(untraced)

    def traced(self) -> Iterator[Tensor]:
        """The parameters that are being differentiated."""
        for name in self.parameters:
            value = getattr(self, name)
            if isinstance(value, Distribution):
                yield from value.traced()
            elif type(value) is Tensor:
                yield value

    def _no_path(self) -> str:
        name = type(self).__name__
        return (f"{name}.sample: no gradient gets from a draw of {name} to its parameters, which "
                "are being differentiated. Take the score function (vae.estimators.score; as the "
                "objective of a model vae.estimators.score_elbo or vimco), a relaxation "
                "(vae.estimators.gumbel_softmax or straight_through, vae.RelaxedOneHot or "
                "vae.RelaxedBernoulli), or the exact sum over all values "
                "(vae.estimators.enumerated); for draws without a gradient say stopped=True")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, event_ndim={self.event_ndim})"


def _dropped(g: Any, y: Any, z: Any, parameter: Any, of: str) -> ndarray:
    warnings.warn(f"a gradient arrived at draws of {of}, of shape {np.shape(z)}, that were taken "
                  "with stopped=True: none of it reaches the parameters. If that is meant, take "
                  "mg.stop_gradient of the draws; if not, sample without stopped=True, or take an "
                  "estimator of vae.estimators", StoppedGradient, stacklevel=2)
    return np.zeros_like(untraced(parameter))


@with_vjp(None, _dropped)
def _stopped(z: ndarray, parameter: ndarray, of: str) -> ndarray:
    """Draws z that depend on the parameter, though no gradient tells so."""
    return z


# -- what samplers share --------------------------------------------------------------------------
def axes(shape: Any) -> tuple[int, ...]:
    """The shape as a tuple; a number n is (n,)."""
    try:
        return tuple(shape) if np.iterable(shape) else (operator.index(shape),)
    except TypeError:
        raise TypeError(f"sample({shape!r}): the shape of draws is a whole number, or a tuple of "
                        "such") from None


class _NoGenerator:
    """Stands where no generator was given: within `noise.replay` none is asked."""

    def __init__(self, given: Any):
        self.given = given

    def __getattr__(self, name: str) -> Any:
        what = "without rng" if self.given is None else f"with rng={self.given!r:.60}"
        raise TypeError(f"draws {what}: give a generator, rng=np.random.default_rng(seed); one "
                        "generator for all draws of a program, not a new one each time")


def generator(rng: Any) -> Generator:
    """rng; where that is no Generator something that raises TypeError when it is to draw."""
    return rng if isinstance(rng, Generator) else _NoGenerator(rng)  # type: ignore[return-value]


# -- what the constructors share ------------------------------------------------------------------
def as_floats(*xs: Any) -> list[Any]:
    """Arrays or Tensors of floats: a plain number takes the dtype of the others."""
    dtypes = [x.dtype for x in xs if hasattr(x, "dtype") and x.dtype.kind == "f"]
    dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float64)
    return [x if hasattr(x, "dtype") and x.dtype.kind == "f" else np.asarray(x, dtype) for x in xs]


def event_axes(who: str, shape: tuple[int, ...], event_ndim: int | None) -> int:
    """`event_ndim`; where it is None the last axis, if there is one.  Raises ValueError."""
    if event_ndim is None:
        return min(1, len(shape))
    if not isinstance(event_ndim, (int, np.integer)):
        raise TypeError(f"{who} with event_ndim={event_ndim!r}: it is a whole number of axes")
    if not 0 <= event_ndim <= len(shape):
        raise ValueError(f"{who} with parameters of shape {shape} and event_ndim={event_ndim}: an "
                         "event has more axes than there are; for single numbers give event_ndim=0")
    return event_ndim


def require(who: str, name: str, value: Any, holds: Any, words: str, hint: str = "") -> None:
    """Raise ValueError unless `holds` everywhere: `words` say what must, with value and index."""
    if np.all(holds):
        return
    value = untraced(value)
    index = np.argwhere(~np.broadcast_to(np.asarray(holds), np.shape(value)))[0].tolist()
    at = f" at {index}" if index else ""
    raise ValueError(f"{who}: {name} must be {words}, it is {value[tuple(index)]:.6g}{at}"
                     + (f"; {hint}" if hint else ""))


def require_positive(who: str, **values: Any) -> None:
    """Raise ValueError for parameters that are not positive and finite."""
    for name, value in values.items():
        x = untraced(value)
        require(who, name, value, (x > 0) & (x < math.inf), "positive and finite",
                "is it a network's raw output? np.exp or mg.softplus of that is positive")


def require_finite(who: str, **values: Any) -> None:
    """Raise ValueError for parameters that are infinite or NaN."""
    for name, value in values.items():
        if not all_finite(untraced(value)):
            require(who, name, value, np.isfinite(untraced(value)), "finite")


def require_parts(who: str, x: Any, parts: int) -> None:
    """Raise ValueError unless the last axis of x has as many elements."""
    if x.shape[-1:] != (parts,):
        raise ValueError(f"{who}.log_prob of x with shape {x.shape}: the last axis must be that of "
                         f"the {parts} parts")


def event_sum(x: Any, event_ndim: int) -> Any:
    """The sum over the last `event_ndim` axes."""
    if event_ndim == 1:
        return x.sum(-1)
    return x.sum(tuple(range(-event_ndim, 0))) if event_ndim else x


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of these shapes give together."""
    return shapes[0] if len({*shapes}) == 1 else np.broadcast_shapes(*shapes)
