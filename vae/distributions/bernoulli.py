"""The Bernoulli distribution, by its logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.functions import sigmoid, softplus
from minigrad.kernels.blocks import in_slices
from minigrad.marks import mark_of
from minigrad.tensor import Tensor, untraced
from vae.distributions.base import (
    Distribution,
    as_floats,
    broadcast,
    event_axes,
    event_sum,
    require_finite,
)
from vae.distributions.support import Integers


class Bernoulli(Distribution):
    """Independent coins with P(x = 1) = sigmoid(logits); an event is the last `event_ndim` axes.

        log p(x) = Σ x·logit - log(1 + exp(logit))        (nats)

    For x strictly between 0 and 1 this is no likelihood but a (negative) cross-entropy: there is no
    normalisation over grey values.  Values outside [0, 1] are an error.

    For speed 1 + exp(-|logit|) is rounded before its logarithm: of each coin, log p errs by up to
    half an ulp of 1, 6e-8 in float32 and 1e-16 in float64, and so does its slope; where |logit| is
    above 17, or 37, that is all there is of a coin that shows what it is all but certain to show.
    """

    parameters = ("logits",)
    support = Integers(0, 1)

    def __init__(self, logits: Any, *, event_ndim: int | None = None):
        self.logits, = as_floats(logits)
        require_finite("Bernoulli", logits=self.logits)
        self.shape = self.logits.shape
        self.event_ndim = event_axes("Bernoulli", self.shape, event_ndim)

    @property
    def mean(self) -> Any:
        return sigmoid(self.logits)

    @property
    def variance(self) -> Any:
        return self.mean * sigmoid(-self.logits)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> ndarray:
        u = noise.uniform(rng, shape + self.shape, self.dtype)
        return (u < self.mean).astype(u.dtype)

    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats; x broadcasts against the logits.

        Raises ValueError for x outside of [0, 1], and for draws of a RelaxedBernoulli.
        """
        if not hasattr(x, "dtype"):
            x = np.asarray(x, self.dtype)
        if (about := mark_of(untraced(x))) and about.what == "relaxed":
            raise ValueError("Bernoulli.log_prob of a relaxed draw: it has a density of its own, "
                             "vae.RelaxedBernoulli.log_prob; for a coin take .harden(z), or "
                             "vae.straight_through(.harden(z), z)")
        logits, shape = self.logits, np.shape(x)
        if shape != self.shape:
            try:
                together = broadcast(shape, self.shape)
            except ValueError:
                raise ValueError(f"Bernoulli.log_prob of x with shape {shape}, but the logits have "
                                 f"shape {self.shape}: they must broadcast") from None
            if together != self.shape:  # several draws, as of a prior
                logits = np.broadcast_to(logits, together)
        if type(logits) is type(x) is ndarray:
            return log_likelihood.forward(logits, x, self.event_ndim, None)
        found = {} if isinstance(logits, Tensor) else None
        return log_likelihood(logits, x, event_ndim=self.event_ndim, found=found)

    def entropy(self) -> Any:
        """Σ log(1 + exp(logit)) - p·logit, in nats."""
        return event_sum(_entropy(self.logits), self.event_ndim)


@with_vjp(lambda g, y, logits: -g * logits * sigmoid(logits) * sigmoid(-logits), elementwise=True)
def _entropy(logits: ndarray) -> ndarray:
    """softplus(-|l|) + |l|·sigmoid(-|l|), of which nothing cancels."""
    minus = -np.abs(logits)
    return softplus(minus) - minus * sigmoid(minus)


# In calculus: Σ x·l - softplus(l), whose slope by l is x - sigmoid(l).  In memory: the output layer
# is the largest array of a VAE, so both are computed in one pass, block by block, from one
# exponential; the slope waits in `found` until first-order backprop comes for it.
@with_vjp(lambda g, y, logits, x, event_ndim, found:
          _over_slope(_over_event(g, event_ndim), logits, x, found),
          lambda g, y, logits, x, event_ndim, found:
          _over_event(g, event_ndim) * logits)
def log_likelihood(logits: ndarray, x: ndarray, event_ndim: int,
                   found: dict | None) -> ndarray:
    _check_range(x)
    batch = logits.shape[:logits.ndim - event_ndim]
    shape = (*(batch or (1,)), math.prod(logits.shape[logits.ndim - event_ndim:]))
    centred = x - logits.dtype.type(0.5)
    if x.shape != logits.shape:
        centred = np.broadcast_to(centred, logits.shape)
    rows, centred = logits.reshape(shape), centred.reshape(shape)
    out, slope = np.empty(shape[:-1], logits.dtype), None
    if found is not None:
        found["slope"] = np.empty(logits.shape, logits.dtype)
        slope = found["slope"].reshape(shape)

    def piece(i: slice) -> None:
        # with l the logit, h = ±½ of its sign, and e = exp(-|l|) ≤ 1:
        # x·l - max(l, 0) - log(1 + e) = ((x - ½) - h)·l - log(1 + e), of which no term is above 0
        logit, half = rows[i], _signed_half(rows[i])
        left = np.subtract(centred[i], half, out=None if slope is None else slope[i])
        out[i] = np.vecdot(left, logit)
        e = np.abs(logit)
        np.exp(np.negative(e, out=e), out=e)
        e += 1
        if slope is not None:  # x - sigmoid(l) = (x - ½) - h·(2/(1 + e) - 1)
            tanh = np.divide(2, e, out=left)
            tanh -= 1
            tanh *= half
            np.subtract(centred[i], tanh, out=tanh)
        out[i] -= _sum_of_logs(e)

    in_slices(piece, shape, cost=5, calls=12)
    return out.reshape(batch)


def _signed_half(x: ndarray) -> ndarray:
    """copysign(½, x), by bits: np.copysign takes three times as long."""
    integer = f"u{x.itemsize}"
    sign, half = np.array([-0.0, 0.5], x.dtype).view(integer)
    bits = x.view(integer) & sign
    return np.bitwise_or(bits, half, out=bits).view(x.dtype)


def _over_slope(g: Any, logits: Any, x: Any, found: dict | None) -> Any:
    """g·(x - sigmoid(logits)): with what was found on the way, or, where that is gone, anew."""
    if found and all(type(a) is ndarray for a in (g, logits, x)):
        return g * found["slope"]
    return g * (x - sigmoid(logits))


def _check_range(x: ndarray) -> None:
    if x.size and not (np.minimum.reduce(x, axis=None) >= 0
                       and np.maximum.reduce(x, axis=None) <= 1):
        if np.isnan(x).any():
            raise ValueError("Bernoulli.log_prob: x contains NaN")
        raise ValueError(f"Bernoulli.log_prob: x lies in [{np.min(x):g}, {np.max(x):g}], a coin "
                         "shows 0 or 1: divide pixels by 255 (and binarise), or take a Normal")


def _sum_of_logs(f: ndarray) -> ndarray:
    """Σ log f over the last axis for 1 ≤ f ≤ 2, overwriting f: logarithms of products are fewer.

    A product of 64 such factors stays far from overflow and errs as little as the sum.
    """
    for _ in range(6):
        if f.shape[-1] % 2 or f.shape[-1] < 48:  # of fewer, a product takes as long as logarithms
            break
        middle = f.shape[-1] // 2
        f = np.multiply(f[..., :middle], f[..., middle:], out=f[..., :middle])
    return np.log(f).sum(axis=-1)


def _over_event(g: Any, event_ndim: int) -> Any:
    return g[(..., *(None,) * event_ndim)]
