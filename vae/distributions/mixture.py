"""A mixture of distributions of one family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.functions import log_softmax, logsumexp
from minigrad.tensor import Tensor, untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
)
from vae.distributions.categorical import Categorical
from vae.distributions.support import Interval


class Mixture(Distribution):
    """Σₖ softmax(logits)ₖ pₖ(x), with the components in the last batch axis of `components`.

        log p(x) = log Σ exp(log softmax(logits)ₖ + log pₖ(x))        (nats)

    components of shape batch + (K,) + event, logits batch + (K,): the mixture has batch + event.
    With single numbers for components, `event_ndim` may say that some of the batch axes, each
    mixed on its own, are one event.

    path: "implicit" (Figurnov et al. 2018; Graves 2016) for components of single numbers with a cdf
    and a path: the gradient gets to logits and components.  Of components with larger events the
    path is theirs while the logits are constant, and None when they are differentiated.
    """

    parameters = ("logits", "components")

    def __init__(self, logits: Any, components: Distribution, *, event_ndim: int | None = None):
        if not isinstance(components, Distribution):
            raise TypeError(f"Mixture(logits, {type(components).__name__}): the components are one "
                            "distribution, whose last batch axis is that of the components")
        self.logits, = as_floats(logits)
        self.components = components
        self.inner = components.event_ndim
        cut = len(components.shape) - self.inner
        batch, event = components.shape[:cut], components.shape[cut:]
        shape = self.logits.shape
        if not batch or shape[-1:] != batch[-1:]:
            raise ValueError(
                f"Mixture of logits {shape} and components {components.shape} with "
                f"event_ndim={self.inner}: the last axis of the logits, and the last of the "
                "components before their event, is that of the components; single numbers are "
                "components with event_ndim=0")
        Categorical(self.logits)  # which says what is wrong with the logits
        self.shape = broadcast(shape, batch)[:-1] + event
        self.extra = self.shape[:len(self.shape) - len(components.shape) + 1]
        if (*self.extra, *batch[:-1]) != self.shape[:len(self.shape) - self.inner]:
            raise ValueError(f"Mixture of logits {shape} and components {components.shape}: the "
                             "batch of the logits may have axes before that of the components, and "
                             "otherwise no more elements")
        if event_ndim is not None and event_ndim < self.inner:
            raise ValueError(f"Mixture with event_ndim={event_ndim}: the event of its components "
                             f"has {self.inner} axes already")
        self.event_ndim = event_axes("Mixture", self.shape,
                                     self.inner if event_ndim is None else event_ndim)
        self.support = components.support

    @property
    def path(self) -> str | None:  # type: ignore[override]
        path, has_cdf = self.components.path, type(self.components).cdf is not Distribution.cdf
        if self.inner == 0 and has_cdf and path is not None:
            return "implicit"
        return None if isinstance(self.logits, Tensor) else path

    def _no_path(self) -> str:
        return (super()._no_path() + ". A mixture has a path to logits and components if these are "
                "single numbers (event_ndim=0) with a cdf and a path, and one to its components "
                "alone if the logits are constant")

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(self.logits.dtype, self.components.dtype)

    @property
    def _axis(self) -> int:
        """That of the components in what belongs to all of them."""
        return -1 - self.inner

    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x, self.dtype)
        each = self.components.log_prob_each(x)
        return event_sum(logsumexp(log_softmax(self.logits) + each, -1),
                         self.event_ndim - self.inner)

    def cdf(self, x: Any) -> Any:
        """Σ weight·cdf of each element, of a vector's alone: its marginal cdf."""
        x = as_floats(self.logits, x)[1]
        return self._mixed(self.components.cdf(np.expand_dims(x, self._axis)))

    @property
    def mean(self) -> Any:
        return self._mixed(self._spread(self.components.mean))

    @property
    def variance(self) -> Any:
        """Within the components and between them: the law of total variance."""
        mean = np.expand_dims(self.mean, self._axis)
        between = np.square(self.components.mean - mean)
        return self._mixed(self._spread(self.components.variance) + between)

    def _spread(self, x: Any) -> Any:
        return np.broadcast_to(x, self.components.shape)

    def _mixed(self, x: Any) -> Any:
        weights = np.exp(log_softmax(self.logits))
        weights = np.reshape(weights, weights.shape + (1,) * self.inner)
        counts = untraced(weights) > 0  # what is not there may be infinite
        return (weights * np.where(counts, x, 0)).sum(self._axis)

    # -- draws ------------------------------------------------------------------------------------
    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        """A draw of the component that a uniform number says."""
        implicit = self.path == "implicit" and next(self.traced(), None) is not None
        source = self.constant() if implicit else self
        batch = self.shape[:len(self.shape) - self.inner]
        logits = np.broadcast_to(untraced(self.logits), (*batch, self.logits.shape[-1]))
        which = Categorical(logits)._sample(shape, rng)
        z = self._drawn_from(source.components, which, shape, rng)
        if self.path == "implicit":
            z = noise.drawn("mixture", z.shape, z.dtype, lambda: z, self._arrays(), self._transport)
        return implicitly(z, self) if implicit else z

    def _drawn_from(self, components: Distribution, which: ndarray, shape: tuple[int, ...],
                    rng: Generator) -> Any:
        """A draw of the component `which` (*shape, *batch): with its parameters, where each is a
        number for each number of a draw; else one of the draws of all components."""
        event = components.shape[len(components.shape) - self.inner:]
        index = which.reshape(*which.shape, *(1,) * (self.inner + 1))

        def taken(x: Any) -> Any:
            return np.squeeze(np.take_along_axis(x, index, self._axis), self._axis)

        parts = [getattr(components, name) for name in components.parameters]
        if components.extra_axes or any(isinstance(part, Distribution) for part in parts):
            return taken(components._sample(shape + self.extra, rng))
        every = (*which.shape, components.shape[self._axis], *event)
        chosen = components.map(lambda a: taken(np.broadcast_to(a, every)))
        chosen.shape = which.shape + event
        return chosen._sample((), rng)

    def _arrays(self) -> tuple[ndarray, ...]:
        found: list[ndarray] = []
        self.constant().map(lambda a: found.append(a) or a)
        return tuple(found)

    def _of(self, arrays: tuple[ndarray, ...]) -> Mixture:
        """This mixture with other arrays for parameters, in float64."""
        given = iter(arrays)
        return self.constant().map(lambda _: np.float64(next(given)))

    def _transport(self, z: ndarray, old: tuple, new: tuple) -> ndarray:
        before, after = self._of(old), self._of(new)
        z = np.float64(z)
        return _root(after, before.cdf(z), z)


def implicitly(z: Any, q: Distribution) -> Any:
    """z, a draw of single numbers, with the gradient by which its quantile stays: of any order.

        dz/dφ = -(∂F(z; φ)/∂φ)/p(z; φ)        (Figurnov et al. 2018, equation 5)

    One differentiation is dealt with after the other, from the outermost: in each, z and p are what
    those around it differentiate too.
    """
    level = max((t.level for t in q.traced()), default=None)
    if level is None:
        return z
    outer = q.map(lambda t: t.data if type(t) is Tensor and t.level == level else t)
    z = implicitly(z, outer)
    density = np.exp(_per_element(outer).log_prob(z))
    return z - (q.cdf(z) - outer.cdf(z)) / density


def _per_element(q: Distribution) -> Distribution:
    single = q.map(lambda a: a)
    single.event_ndim = 0
    return single


def _root(q: Mixture, u: ndarray, start: ndarray) -> ndarray:
    """z with q.cdf(z) = u: bracketed from `start` on, then by Newton steps or halves."""
    single = _per_element(q)
    low, high = _ends(q.support)
    below, above = (np.broadcast_to(end, start.shape) for end in (low, high))
    left, right = start, start
    step = np.ones_like(start)
    while True:
        f_left, f_right = q.cdf(left), q.cdf(right)
        late, early = (f_left > u) & (left > below), (f_right < u) & (right < above)
        if not np.any(late | early):
            break
        left = np.where(late, np.maximum(left - step, below), left)
        right = np.where(early, np.minimum(right + step, above), right)
        step = 2 * step
    z = start
    for _ in range(200):
        f = q.cdf(z)
        left, right = np.where(f < u, z, left), np.where(f > u, z, right)
        slope = np.exp(single.log_prob(z))
        steep = slope > 1e-200  # elsewhere a quotient might overflow
        newton = z - (f - u) / np.where(steep, slope, 1)
        inside = steep & (newton >= left) & (newton <= right)
        following = np.where(f == u, z, np.where(inside, newton, left + (right - left) / 2))
        if np.all(np.abs(following - z) <= 1e-15 * np.abs(z)):
            return following
        z = following
    return z


def _ends(support: Any) -> tuple[Any, Any]:
    if not isinstance(support, Interval):
        return -np.inf, np.inf
    low, high = np.float64(support.low), np.float64(support.high)
    return (low.min(-1), high.max(-1)) if low.ndim + high.ndim else (low, high)
