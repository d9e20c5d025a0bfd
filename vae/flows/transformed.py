"""The distribution of what flows make of a simple one's draws."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.marks import ById, writes
from minigrad.nn import parameters, with_parameters
from minigrad.tensor import Tensor, untraced
from vae.distributions.base import Distribution
from vae.distributions.support import REAL, Support
from vae.flows.base import Flow
from vae.networks import ToNormal


class Drawn(NamedTuple):
    """How a draw came about: by q, from `start`, with `log_det` of all flows together."""

    q: Transformed
    value: ndarray
    start: Any
    log_det: Any
    writes: int  # into parameters, until then


_drawn = ById()


class Transformed(Distribution):
    """z_K = f_K(… f_1(z_0)) with z_0 from `base`: Rezende and Mohamed (2015), equations 6 and 7.

        log q(z_K) = log q_0(z_0) - Σ log |det ∂f_k/∂z_{k-1}|        (nats)

    base: over all of R^n, events of one axis, such as a Normal with a batch.  flows: `Flow`s of n
    dimensions, the first next to the base; none leaves the base.  As the prior of a `VAE` it is
    learned: its parameters are those of the flows.  Posterior: see `ToTransformed`.

    log_prob of a draw, the very object that `sample` gave, needs no inverse, until an optimiser or
    `nn.load` has written into any parameters (what is written by hand it doesn't learn of); of
    other points it does, and raises NotImplementedError where a flow has none.  There is no
    entropy, mean or KL in closed form: train with `vae.estimators.sgvb_a`, or another that draws
    the KL.
    """

    support = REAL

    def __init__(self, base: Distribution, flows: Sequence[Flow]):
        if not isinstance(base, Distribution):
            raise TypeError(f"Transformed({type(base).__name__}, flows): the base is a distribution"
                            ", such as vae.Normal.standard(n)")
        if type(base.support) is not Support or base.event_ndim != 1:
            raise ValueError(f"Transformed of {base} over {base.support}: flows map vectors of all "
                             "real numbers, so the base needs events of one axis, over those")
        self.base, self.flows = base, list(flows)
        self.shape, self.event_ndim = base.shape, 1
        for i, flow in enumerate(self.flows):
            if not isinstance(flow, Flow):
                hint = ": it is amortised, take flow.given(h)" if hasattr(flow, "given") else ""
                raise TypeError(f"Transformed: flows[{i}] is {type(flow).__name__}, no Flow{hint}")
            if flow.n != base.shape[-1]:
                raise ValueError(f"Transformed: flows[{i}] is of {flow.n} dimensions, the base "
                                 f"{base} of {base.shape[-1]}")

    @property
    def path(self) -> str | None:  # type: ignore[override]
        return self.base.path

    @property
    def dtype(self) -> np.dtype:
        """That of the base."""
        return self.base.dtype

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        start = self.base.sample(shape, rng=rng)
        z, log_det = self._through(start)
        if z is not start:
            _drawn[z] = Drawn(self, untraced(z).copy(), start, log_det, writes())
        return z

    def _through(self, z: Any) -> tuple[Any, Any]:
        """z' after all flows, and the sum of their log-determinants."""
        log_det = 0
        for kind, flows in groupby(self.flows, type):
            z, more = kind.through(list(flows), z)
            log_det = log_det + more
        return z, log_det

    @np.errstate(over="ignore")  # a log density may be below every number
    def log_prob(self, x: Any) -> Any:
        """log density per event, in nats: -inf for an infinite x."""
        known = _drawn.get(x)
        if known and known.q is self and known.writes == writes() and np.array_equal(
                known.value, untraced(x)):
            return self.base.log_prob(known.start) - known.log_det
        if not hasattr(x, "dtype"):
            x = np.asarray(x, self.dtype)
        outside = np.isinf(untraced(x)).any(-1, keepdims=True)
        z, log_det = np.where(outside, 0, x) if outside.any() else x, 0
        for flow in reversed(self.flows):
            z, more = flow.inverse_with_log_det(z)
            log_det = log_det + more
        density = self.base.log_prob(z) + log_det
        return np.where(outside[..., 0], -np.inf, density) if outside.any() else density

    @property
    def centre(self) -> Any:
        """Where the flows take the base's mean: one point within the mass, and not the mean.

        Of a base whose mean is its median, flows of one dimension take it to the median.
        """
        return self._through(self.base.mean)[0]

    @property
    def mean(self) -> Any:
        """Not known: raises NotImplementedError."""
        raise NotImplementedError(NO_MOMENT.format("mean"))

    @property
    def variance(self) -> Any:
        """Not known: raises NotImplementedError."""
        raise NotImplementedError(NO_MOMENT.format("var"))

    # -- parameters -------------------------------------------------------------------------------
    def map(self, f: Callable[[Any], Any]) -> Transformed:
        """With `f` applied to the base's parameters, and to those of the flows that are Tensors."""
        new = copy.copy(self)
        new.base = self.base.map(f)
        new.flows = with_parameters(self.flows, [f(p) for p in parameters(self.flows)])
        return new

    def traced(self) -> Iterator[Tensor]:
        """The parameters that are being differentiated."""
        yield from self.base.traced()
        yield from parameters(self.flows)


NO_MOMENT = ("Transformed has no {0} in closed form; estimate it: "
             "q.sample((n,), rng=rng).{0}(0); q.centre is where the flows take the base's mean")


class ToTransformed:
    """h (…, n_in) -> Transformed: a Normal whose mean and log variance are linear in h, then flows.

    flows: shared by all data, or, where they have a method `given`, such as `ToPlanar` and an
    `InverseAutoregressive` with n_context, given h.  For `vae.networks.dense` the head is
    `functools.partial(ToTransformed, flows=[…])`.
    """

    def __init__(self, n_in: int, n_out: int, *, flows: Sequence[Any], **init: Any):
        self.normal, self.flows = ToNormal(n_in, n_out, **init), list(flows)

    def __call__(self, h: Any) -> Transformed:
        return Transformed(self.normal(h), [flow.given(h) if hasattr(flow, "given") else flow
                                            for flow in self.flows])
