"""The Bernoulli distribution, by its logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from minigrad.functions import sigmoid, softplus
from minigrad.kernels.blocks import in_slices
from minigrad.tensor import untraced, with_vjp
from numpy import ndarray
from numpy.random import Generator

from vae.distributions.base import Distribution, event_sum


class Bernoulli(Distribution):
    """Independent coins with P(x = 1) = sigmoid(logits); an event is the last `event_ndim` axes.

        log p(x) = Σ x·logit - log(1 + exp(logit))        (nats)

    For x strictly between 0 and 1 this is no likelihood but a (negative) cross-entropy: there is no
    normalisation over grey values.  Values outside [0, 1] are an error.
    """

    def __init__(self, logits: Any, *, event_ndim: int = 1):
        self.logits, self.event_ndim, self.shape = logits, event_ndim, np.shape(logits)
        if len(self.shape) < event_ndim:
            raise ValueError(f"Bernoulli with logits of shape {self.shape} and event_ndim="
                             f"{event_ndim}: an event has more axes than there are")

    @property
    def mean(self) -> Any:
        return sigmoid(self.logits)

    def sample(self, shape: tuple[int, ...] = (), *, rng: Generator) -> ndarray:
        """Draws of 0 and 1: constants, since no gradient passes a coin."""
        p = untraced(self.mean)
        return (rng.random(shape + self.shape, dtype=p.dtype) < p).astype(p.dtype)

    def log_prob(self, x: Any) -> Any:
        """log p(x) per event, in nats; x broadcasts against the logits."""
        shape = np.broadcast_shapes(np.shape(x), self.shape)
        if shape != self.shape:
            raise ValueError(f"Bernoulli.log_prob of x with shape {np.shape(x)}, but the logits "
                             f"have shape {self.shape}: x must broadcast to it")
        return log_likelihood(self.logits, x, event_ndim=self.event_ndim)

    def entropy(self) -> Any:
        """Σ log(1 + exp(logit)) - p·logit, in nats."""
        return event_sum(softplus(self.logits) - self.mean * self.logits, self.event_ndim)


# In calculus: Σ x·l - softplus(l), whose slope by l is x - sigmoid(l).  In memory: the output layer
# is the largest array of a VAE, so both go through it once, in blocks that stay in the cache.
@with_vjp(lambda g, y, l, x, event_ndim: slope(_over_event(g, event_ndim), l, x),
          lambda g, y, l, x, event_ndim: _over_event(g, event_ndim) * l)
def log_likelihood(l: ndarray, x: ndarray, event_ndim: int) -> ndarray:
    batch = l.shape[:l.ndim - event_ndim]
    if not batch:  # one event: a batch of one
        return log_likelihood(l[None], x, event_ndim)[0]
    x = x if x.shape == l.shape else np.broadcast_to(x, l.shape)
    x, l = x.reshape(*batch, -1), l.reshape(*batch, -1)
    out = np.empty(batch, l.dtype)

    def piece(i: Any) -> None:
        logits, data = l[i], x[i]
        if data.size and not (np.minimum.reduce(data, axis=None) >= 0
                              and np.maximum.reduce(data, axis=None) <= 1):
            raise ValueError(f"Bernoulli.log_prob: x lies in [{np.min(x):g}, {np.max(x):g}], a coin "
                             "shows 0 or 1: divide pixels by 255 (and binarise), or take a Normal")
        # x·l - max(l, 0) - log(1 + e) = (x - ½)·l - ½|l| - log(1 + e), with e = exp(-|l|) ≤ 1
        size = np.abs(logits)
        e = np.negative(size)
        np.exp(e, out=e)
        e += 1
        linear = np.vecdot(data - l.dtype.type(0.5), logits)
        out[i] = linear - 0.5 * size.sum(axis=-1) - _sum_of_logs(e)

    in_slices(piece, l.shape, cost=6)
    return out


@with_vjp(lambda c, y, g, l, x: c * (x - sigmoid(l)),
          lambda c, y, g, l, x: -c * g * sigmoid(l) * sigmoid(-l),
          lambda c, y, g, l, x: c * g)
def slope(g: ndarray, l: ndarray, x: ndarray) -> ndarray:
    """g·(x - sigmoid(l)); exp(-l) may overflow, and 1/(1 + inf) is the right 0."""
    g, x = np.broadcast_to(g, l.shape), np.broadcast_to(x, l.shape)
    out = np.empty(l.shape, l.dtype)

    def piece(i: Any) -> None:
        t = np.negative(l[i], out=out[i])
        with np.errstate(over="ignore"):
            np.exp(t, out=t)
        t += 1
        np.divide(-1, t, out=t)
        t += x[i]
        t *= g[i]

    in_slices(piece, l.shape, cost=3)
    return out


def _sum_of_logs(f: ndarray) -> ndarray:
    """Σ log f over the last axis for 1 ≤ f ≤ 2, overwriting f: logarithms of products are fewer.

    A product of 64 such factors stays far from overflow and errs as little as the sum.
    """
    for _ in range(6):
        if f.shape[-1] % 2 or f.shape[-1] == 0:
            break
        middle = f.shape[-1] // 2
        f = np.multiply(f[..., :middle], f[..., middle:], out=f[..., :middle])
    return np.log(f).sum(axis=-1)


def _over_event(g: Any, event_ndim: int) -> Any:
    return g[(..., *(None,) * event_ndim)]
