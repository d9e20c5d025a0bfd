"""One of K classes: as an index, or as a one-hot vector."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.functions import log_softmax, logsumexp
from minigrad.marks import mark_of
from minigrad.tensor import untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require,
)
from vae.distributions.support import Integers

TOLERANCE = 1e-5  # of a sum of probabilities; that of a float32 softmax errs by 1e-6 at most
LARGEST_SUPPORT = 2**20


class _Classes(Distribution):
    """What the two share: logits (..., K), normalised or not; -inf for an impossible class."""

    parameters = ("logits",)

    def __init__(self, logits: Any, *, event_ndim: int | None = None):
        self.logits, = as_floats(logits)
        _require_logits(type(self).__name__, self.logits)
        self.classes = self.logits.shape[-1]
        self._set_shape(event_ndim)

    @abstractmethod
    def _set_shape(self, event_ndim: int | None) -> None:
        """Set `shape`, `event_ndim` and `support`."""

    @classmethod
    def from_probabilities(cls, p: Any, *, event_ndim: int | None = None) -> Any:
        """Of probabilities (..., K) whose sum is 1 to within 1e-5, the rounding of float32.

        They are divided by that sum, also for the derivatives.  Raises ValueError for negative ones
        and for other sums.
        """
        p, = as_floats(p)
        who, value = f"{cls.__name__}.from_probabilities", untraced(p)
        require(who, "p", value, value >= 0, "0 or more", "are these logits?")
        total = value.sum(-1)
        require(who, "the sum of p over the last axis", total, np.abs(total - 1) <= TOLERANCE,
                "1 (to within 1e-5)", "divide by it, or give logits")
        possible = value > 0
        logits = np.where(possible, np.log(np.where(possible, p, 1)), -np.inf)
        return cls(logits, event_ndim=event_ndim)

    @property
    def log_probabilities(self) -> Any:
        """log softmax(logits), (..., K)."""
        return log_softmax(self.logits)

    def _indices(self, shape: tuple[int, ...], rng: Generator) -> ndarray:
        """Indices by the inverse cdf, one uniform a draw: where the cdf first exceeds u.

        It exceeds it in a step up, so that an index of probability 0 is never drawn.
        """
        logits = np.float64(untraced(self.logits))
        cdf = np.exp(logits - logits.max(-1, keepdims=True)).cumsum(-1)
        u = noise.uniform(rng, shape + logits.shape[:-1], np.float64)
        if cdf.ndim == 1:
            return np.asarray(np.searchsorted(cdf, u * cdf[-1], side="right"))
        return np.sum(cdf <= (u * cdf[..., -1])[..., None], axis=-1)

    def _entropies(self) -> Any:
        log_p = self.log_probabilities
        finite = np.where(np.isfinite(untraced(log_p)), log_p, 0)  # 0 log 0 = 0
        return -(np.exp(log_p) * finite).sum(-1)

    def _every_event(self, variables: int) -> ndarray:
        """Indices (K^variables, variables) of all values of an event."""
        n = self.classes ** variables
        if n > LARGEST_SUPPORT:
            raise ValueError(f"{type(self).__name__}.support_values: an event of {variables} "
                             f"variables with {self.classes} classes each has {n:.3g} values, more "
                             f"than {LARGEST_SUPPORT}; with a smaller event_ndim the variables are "
                             "taken one by one")
        place = self.classes ** np.arange(variables)[::-1]
        return np.arange(n)[:, None] // place % self.classes


class Categorical(_Classes):
    """Indices 0 … K-1 with P(x = k) = softmax(logits)_k; a single index is an event.

        log p(x) = logits_x - log Σ exp(logits)        (nats)

    logits (..., K), `shape` is (...), draws are int64.  A class with logit -inf is impossible.
    """

    extra_axes: ClassVar[dict[str, int]] = {"logits": 1}

    def _set_shape(self, event_ndim: int | None) -> None:
        self.shape = self.logits.shape[:-1]
        self.event_ndim = event_axes("Categorical", self.shape, event_ndim or 0)
        self.support = Integers(0, self.classes - 1)

    @property
    def mean(self) -> Any:
        raise AttributeError("Categorical has no mean: indices are names, no numbers. The mean of "
                             "vae.OneHotCategorical is the probabilities")

    @property
    def variance(self) -> Any:
        raise AttributeError("Categorical has no variance: indices are names, no numbers")

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> ndarray:
        return self._indices(shape, rng)

    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats; x (...) of whole numbers, -inf for those that no class has.

        Raises ValueError for values that are not whole, such as those of a relaxed draw.
        """
        x = np.asarray(untraced(x))
        _require_hard("Categorical", x, x == np.round(x))
        try:
            shape = broadcast(x.shape, self.shape)
        except ValueError:
            raise ValueError(f"Categorical.log_prob of x with shape {x.shape}, but the logits "
                             f"have shape {self.logits.shape}: they must broadcast without the "
                             "last axis; one-hot vectors belong to vae.OneHotCategorical") from None
        outside = self.support.excludes(x)
        index = np.where(outside, 0, x).astype(np.intp)
        logits = np.reshape(self.logits, (1,) * (len(shape) - len(self.shape))
                            + self.logits.shape)
        index = np.broadcast_to(index, shape)[..., None]
        chosen = np.take_along_axis(logits, index, -1)[..., 0]
        impossible = outside | (untraced(chosen) == -np.inf)
        log_p = chosen - logsumexp(logits, -1)
        return event_sum(np.where(impossible, -np.inf, log_p), self.event_ndim)

    def entropy(self) -> Any:
        """-Σ p log p, in nats."""
        return event_sum(self._entropies(), self.event_ndim)

    def support_values(self) -> ndarray:
        """All values of an event along a new first axis: (n, *shape), to be summed over."""
        event = self.shape[len(self.shape) - self.event_ndim:]
        values = self._every_event(int(np.prod(event)))
        batch = (1,) * (len(self.shape) - self.event_ndim)
        return np.broadcast_to(values.reshape(-1, *batch, *event), (len(values), *self.shape))


class OneHotCategorical(_Classes):
    """One-hot vectors (..., K), 1 at k with probability softmax(logits)_k.

        log p(x) = Σ x·(logits - log Σ exp(logits))        (nats)

    The last axis is the event, or with `event_ndim` above 1 the last of its axes.
    """

    def _set_shape(self, event_ndim: int | None) -> None:
        self.shape = self.logits.shape
        self.event_ndim = event_axes("OneHotCategorical", self.shape, event_ndim)
        if self.event_ndim == 0:
            raise ValueError("OneHotCategorical with event_ndim=0: a vector of K numbers is the "
                             "least event; vae.Categorical has single indices")
        self.support = Integers(0, 1)

    @property
    def mean(self) -> Any:
        return np.exp(self.log_probabilities)

    @property
    def variance(self) -> Any:
        p = self.mean
        return p * (1 - p)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> ndarray:
        return np.eye(self.classes, dtype=self.dtype)[self._indices(shape, rng)]

    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats; -inf where x is whole, but not one-hot.

        Raises ValueError for values that are not whole, such as those of a relaxed draw.
        """
        value = np.asarray(untraced(x))
        if value.shape[-1:] != (self.classes,):
            raise ValueError(f"OneHotCategorical.log_prob of x with shape {value.shape}: the last "
                             f"axis is that of the {self.classes} classes; indices belong to "
                             "vae.Categorical")
        _require_hard("OneHotCategorical", value, value == np.round(value))
        log_p = self.log_probabilities
        impossible = untraced(log_p) == -np.inf
        outside = (((value != 0) & (value != 1)) | impossible & (value == 1)).any(-1)
        outside |= value.sum(-1) != 1
        terms = (np.where(impossible, 0, log_p) * as_floats(log_p, x)[1]).sum(-1)
        return event_sum(np.where(outside, -np.inf, terms), self.event_ndim - 1)

    def entropy(self) -> Any:
        """-Σ p log p, in nats."""
        return event_sum(self._entropies(), self.event_ndim - 1)

    def support_values(self) -> ndarray:
        """All values of an event along a new first axis: (n, *shape), to be summed over."""
        event = self.shape[len(self.shape) - self.event_ndim:-1]
        values = self._every_event(int(np.prod(event)))
        batch = (1,) * (len(self.shape) - self.event_ndim)
        one_hot = np.eye(self.classes, dtype=self.dtype)[values.reshape(-1, *batch, *event)]
        return np.broadcast_to(one_hot, (len(values), *self.shape))


def _require_logits(who: str, logits: Any) -> None:
    if not logits.ndim or not logits.shape[-1]:
        raise ValueError(f"{who} with logits of shape {logits.shape}: the last axis is that of the "
                         "classes, at least one")
    value = untraced(logits)
    require(who, "logits", value, value < np.inf, "numbers below infinity")
    require(who, "the largest logit of the last axis", value.max(-1), value.max(-1) > -np.inf,
            "finite", "some class must be possible")


def _require_hard(who: str, x: ndarray, whole: Any) -> None:
    if mark := mark_of(x):
        whole = whole & (mark.what != "relaxed")  # at a low temperature it may have become whole
    require(f"{who}.log_prob", "x", x, whole, "whole",
            "the density of a relaxed draw is that of vae.RelaxedOneHot, and what is whole is its "
            "harden(z), or vae.straight_through")
