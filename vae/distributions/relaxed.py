"""Relaxed coins and classes: continuous draws near the corners, for a (biased) path gradient."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from scipy.special import expit, logit

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.functions import log_sigmoid, log_softmax, logsumexp, sigmoid, softmax
from minigrad.marks import ById, mark
from minigrad.tensor import Tensor, untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    axes,
    broadcast,
    event_axes,
    event_sum,
    generator,
    require,
    require_finite,
    require_parts,
    require_positive,
)
from vae.distributions.implicit import with_ends
from vae.distributions.support import POSITIVE, Interval

SUM_TOLERANCE = 1e-5  # of the coordinates of a point of the simplex, in float32
_logits_of = ById()  # of draws, for as long as they live


class _Relaxed(Distribution):
    """What the two share: draws are a squashing function of draws of their own logits.

    A draw may be rounded to the corners 0 and 1, in float32 a coin's at temperature ½ once in 4000
    times, where z alone doesn't tell the density.  So `log_prob` of what `sample` gave, itself and
    no copy, goes by the logits that it was made of; `sample_logits` and `log_prob_logits` keep to
    the logits throughout.
    """

    path = "relaxed"
    parameters = ("logits", "temperature")

    def __init__(self, logits: Any, temperature: Any, *, event_ndim: int | None = None):
        self.logits, self.temperature = as_floats(logits, temperature)
        who = type(self).__name__
        require_finite(who, logits=self.logits)
        require_positive(who, temperature=self.temperature)
        self._set_shape(event_ndim)

    @abstractmethod
    def _set_shape(self, event_ndim: int | None) -> None:
        """Set `shape` and `event_ndim`."""

    def sample_logits(self, shape: int | tuple[int, ...] = (), *, rng: Generator) -> Any:
        """Logits of draws, shape + self.shape, with the gradient's path to the parameters."""
        return self._logits(axes(shape), generator(rng))

    @abstractmethod
    def _logits(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """`sample_logits`, its options dealt with."""

    @abstractmethod
    def squash(self, y: Any) -> Any:
        """The draw z of which y are the logits."""

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        y = self._logits(shape, rng)
        z = self.squash(y)
        mark(untraced(z), "relaxed")  # hard densities refuse it, even where it has become whole
        for draw, logits in ((z, y), (untraced(z), untraced(y))):  # as it is, and stopped
            if isinstance(draw, (Tensor, ndarray)):
                _logits_of[draw] = logits
        return z

    def _known_logits(self, x: Any) -> Any:
        """The logits of which x was made by `sample`, or None, as where it was overwritten."""
        y = _logits_of.get(x)
        if y is None or np.shape(y)[-1:] != np.shape(x)[-1:]:
            return None
        return y if np.array_equal(self.squash(untraced(y)), untraced(x)) else None

    def _require_unsaturated(self, x: Any, corner: Any) -> None:
        require(f"{type(self).__name__}.log_prob", "x", x, ~corner, "strictly between 0 and 1",
                "is it a copy of a draw that was rounded to a corner? Give what `sample` gave, or "
                "take y = q.sample_logits(), q.log_prob_logits(y) and z = q.squash(y)")


class RelaxedBernoulli(_Relaxed):
    """z = sigmoid((logits + L)/temperature) with logistic noise L: Maddison et al. (2017), app. B.

        log p(z) = Σ log t - a - 2 log(1 + e⁻ᵃ) - log z(1 - z),  a = t·logit z - logits  (nats)

    with the temperature t.  harden(z) is an exact draw of Bernoulli(logits).  logits and
    temperature broadcast.
    """

    support = Interval(0.0, 1.0, open=True)

    def _set_shape(self, event_ndim: int | None) -> None:
        self.shape = broadcast(self.logits.shape, self.temperature.shape)
        self.event_ndim = event_axes("RelaxedBernoulli", self.shape, event_ndim)

    def _logits(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """(logits + L)/temperature, of shape `shape` + `self.shape`."""
        u = noise.uniform(rng, shape + self.shape, self.dtype)
        u = np.maximum(u, np.finfo(u.dtype).eps / 2)  # 0 stands for all up to the next
        return (self.logits + mark(logit(u), "noise")) / self.temperature

    def squash(self, y: Any) -> Any:
        """sigmoid(y)."""
        return sigmoid(y)

    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats; -inf outside of [0, 1].

        Raises ValueError at exactly 0 and 1, unless x is what `sample` gave.
        """
        if (y := self._known_logits(x)) is not None:
            return event_sum(self._of_logits(y) - log_sigmoid(y) - log_sigmoid(-y), self.event_ndim)
        value = np.asarray(untraced(x))
        self._require_unsaturated(value, (value == 0) | (value == 1))
        return super().log_prob(x)

    def _log_density(self, x: Any) -> Any:
        log_x, log_rest = np.log(x), np.log1p(-x)
        return self._of_logits(log_x - log_rest) - log_x - log_rest

    def log_prob_logits(self, y: Any) -> Any:
        """log density of the logits y of a draw, per event: log p(z) + Σ log z(1 - z).

        A ratio of two such densities, as in a KL divergence, is that of the densities of z.
        """
        return event_sum(self._of_logits(y), self.event_ndim)

    def _of_logits(self, y: Any) -> Any:
        a = self.temperature * y - self.logits
        return np.log(self.temperature) + log_sigmoid(a) + log_sigmoid(-a)

    def harden(self, z: Any) -> ndarray:
        """1 where z > ½, else 0: an exact draw of Bernoulli(logits), a constant."""
        z = untraced(z)
        return (z > 0.5).astype(z.dtype)

    def cdf(self, x: Any) -> Any:
        """sigmoid(temperature·logit x - logits) of each element."""
        logits, x = as_floats(self.logits, x)
        value = untraced(x)
        inside = (value > 0) & (value < 1)
        p = expit(self.temperature * logit(np.where(inside, x, 0.5)) - logits)
        ends = np.where(value <= 0, 0, np.where(value >= 1, 1, math.nan)).astype(p.dtype)
        return np.where(inside, p, ends)

    def icdf(self, p: Any) -> Any:
        """sigmoid((logits + logit p)/temperature) of each element; NaN for p outside of [0, 1]."""
        logits, p = as_floats(self.logits, p)
        inside = (untraced(p) > 0) & (untraced(p) < 1)
        x = expit((logits + logit(np.where(inside, p, 0.5))) / self.temperature)
        return with_ends(p, x, 0.0, 1.0)


class RelaxedOneHot(_Relaxed):
    """z = softmax((logits + G)/temperature), G Gumbel: the Concrete, or Gumbel-softmax, law.

        log p(z) = log (K-1)! + (K-1) log t + Σ (logits - (t + 1) log z)
                   - K log Σ exp(logits - t log z)        (nats)

    with the temperature t: Maddison et al. (2017), equation 10; Jang et al. (2017).  The density is
    that of the first K - 1 coordinates.  logits (..., K), temperature (...) broadcasts without the
    last axis, which is the event, or the last of its axes.  harden(z) is an exact draw of
    OneHotCategorical(logits).
    """

    extra_axes: ClassVar[dict[str, int]] = {"temperature": -1}
    support = POSITIVE

    def _set_shape(self, event_ndim: int | None) -> None:
        if not self.logits.ndim or self.logits.shape[-1] < 2:
            raise ValueError(f"RelaxedOneHot with logits of shape {self.logits.shape}: the last "
                             "axis is that of the classes, at least two")
        self.classes = self.logits.shape[-1]
        self.shape = (*broadcast(self.logits.shape[:-1], self.temperature.shape), self.classes)
        self.event_ndim = event_axes("RelaxedOneHot", self.shape, event_ndim)
        if self.event_ndim == 0:
            raise ValueError("RelaxedOneHot with event_ndim=0: a vector of K numbers is the least "
                             "event; vae.RelaxedBernoulli has single coins")

    def _logits(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """log z = log softmax((logits + G)/temperature), of shape `shape` + `self.shape`."""
        e = noise.exponential(rng, shape + self.shape, self.dtype)
        gumbel = -np.log(np.maximum(e, np.finfo(e.dtype).tiny))
        return log_softmax((self.logits + mark(gumbel, "noise")) / self.temperature[..., None])

    def squash(self, y: Any) -> Any:
        """softmax(y)."""
        return softmax(y)

    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats; -inf off the simplex.

        Raises ValueError where a coordinate is exactly 0, unless x is what `sample` gave.
        """
        if (y := self._known_logits(x)) is not None:
            return event_sum(self._of_logits(y) - y.sum(-1), self.event_ndim - 1)
        value = np.asarray(untraced(x))
        require_parts("RelaxedOneHot", value, self.classes)
        total = value.sum(-1, keepdims=True)
        outside = (value < 0).any(-1, keepdims=True) | (np.abs(total - 1) > SUM_TOLERANCE)
        self._require_unsaturated(value, ~outside & (value == 0))
        log_x = np.log(np.where(outside, 1 / self.classes, as_floats(self.logits, x)[1]))
        density = self._of_logits(log_x) - log_x.sum(-1)
        return event_sum(np.where(outside[..., 0], -np.inf, density), self.event_ndim - 1)

    def log_prob_logits(self, y: Any) -> Any:
        """log density of the logits y of a draw, per event: log p(z) + Σ log z.

        A ratio of two such densities, as in a KL divergence, is that of the densities of z.  A
        number added to all K logits changes nothing.
        """
        return event_sum(self._of_logits(y), self.event_ndim - 1)

    def _of_logits(self, y: Any) -> Any:
        k, t = self.classes, self.temperature
        a = self.logits - t[..., None] * y
        return math.lgamma(k) + (k - 1) * np.log(t) + a.sum(-1) - k * logsumexp(a, -1)

    def harden(self, z: Any) -> ndarray:
        """One-hot of the largest coordinate: an exact draw of OneHotCategorical(logits)."""
        z = untraced(z)
        return np.eye(self.classes, dtype=z.dtype)[z.argmax(-1)]


@with_vjp(None, lambda g, y, hard, relaxed: g)
def straight_through(hard: Any, relaxed: Any) -> Any:
    """The value of `hard` with the gradient of `relaxed`, which is biased (Bengio et al. 2013).

    hard: as of `harden`; both of the same shape.
    """
    if np.shape(hard) != np.shape(relaxed):
        raise ValueError(f"straight_through of hard {np.shape(hard)} and relaxed "
                         f"{np.shape(relaxed)}: they must have the same shape")
    return np.array(hard, relaxed.dtype)
