"""Inverse autoregressive flow, and the masked network that it is made of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from numpy.typing import DTypeLike

from minigrad.define import with_vjp
from minigrad.functions import affine
from minigrad.nn import Dense
from minigrad.nn.initialisers import Initialiser, glorot_uniform
from minigrad.tensor import Tensor
from vae.flows.base import Flow, bounded, dimensions

MOST = 8.0  # of |s|, so that a gate is never closed


class MaskedDense:
    """x @ (mask · weight) + bias; x (…, n_in) -> (…, n_out), mask (n_in, n_out) of 0 and 1."""

    def __init__(self, mask: ndarray, *, rng: Generator, dtype: DTypeLike,
                 weight: Initialiser = glorot_uniform):
        self.mask = mask.astype(dtype)
        self.weight = Tensor(weight(mask.shape, *mask.shape, rng=rng).astype(dtype))
        self.bias = Tensor(np.zeros(mask.shape[1], dtype))

    def __call__(self, x: Any) -> Any:
        return _masked_affine(x, self.weight, self.bias, self.mask)

    def masked(self) -> Callable[[Any], Any]:
        """The same for several calls: the weight is masked once."""
        weight = self.weight * self.mask
        return lambda x: affine(x, weight, self.bias)


class Made:
    """A network whose i-th outputs depend on the inputs before the i-th alone.

    (…, n) -> `parts` arrays (…, n).  Germain et al. (2015), "MADE", equations 9 and 10: each unit
    has a degree, and sees those of a lower one, or, within the network, an equal one.  Degrees of
    the hidden units go round from 1 to n - 1.
    order: (n,), the place of each input in "before"; by default as they stand.
    """

    def __init__(self, n: int, hidden: Sequence[int], parts: int, *, rng: Generator,
                 order: Any = None, n_context: int = 0, dtype: DTypeLike = np.float32):
        inputs = np.arange(n) if order is None else np.asarray(order)
        if sorted(inputs.tolist()) != list(range(n)):
            raise ValueError(f"order={order!r}: each of the places 0 to {n - 1} once")
        if not hidden:
            raise ValueError("hidden=(): an autoregressive network has one hidden layer or more")
        self.parts, self.layers, below = parts, [], inputs
        for size in hidden:
            degrees = np.arange(size) % max(1, n - 1)
            self.layers.append(MaskedDense(below[:, None] <= degrees, rng=rng, dtype=dtype))
            below = degrees
        last = below[:, None] < np.tile(inputs, parts)
        self.last = MaskedDense(last, rng=rng, dtype=dtype)
        self.from_context = Dense(n_context, hidden[0], rng=rng, dtype=dtype) if n_context else None

    def __call__(self, x: Any, context: Any = None) -> list[Any]:
        for layer in self.layers:
            x = layer(x)
            if context is not None:
                x, context = x + self.from_context(context), None
            x = np.tanh(x)
        out = self.last(x)
        n = out.shape[-1] // self.parts
        return [out[..., i * n:(i + 1) * n] for i in range(self.parts)]

    def masked(self) -> Made:
        """The same network for several calls: the weights are masked once."""
        other = copy.copy(self)
        other.layers, other.last = [layer.masked() for layer in self.layers], self.last.masked()
        return other


class InverseAutoregressive(Flow):
    """z' = σ z + (1 - σ) m, with m and the gate σ = sigmoid(s) of dimension i by those before it.

        log |det| = Σ log σ

    Kingma et al. (2016), equations 10 to 14 and algorithm 1 (IAF).  One pass of a `Made`; the
    inverse takes n.  s lies within ±8 and begins near 2, σ near 0.9.
    reverse: the last dimension is the first; by turns in a chain, so that each sees all others.
    n_context: of a context h from the encoder, which `given(h)` binds and the network sees too.
    """

    def __init__(self, n: int, *, rng: Generator, hidden: Sequence[int] = (32,),
                 reverse: bool = False, n_context: int = 0, dtype: DTypeLike = np.float32):
        self.n, self.n_context, self.context = dimensions("IAF", n), n_context, None
        order = np.arange(n)[::-1] if reverse else np.arange(n)
        self.network = Made(n, hidden, 2, rng=rng, order=order, n_context=n_context, dtype=dtype)
        self.network.last.bias.data[n:] = 2

    def given(self, h: Any) -> InverseAutoregressive:
        """This flow with the context h (…, n_context); itself where it takes none."""
        if not self.n_context:
            return self
        other = copy.copy(self)
        other.context = h
        return other

    def forward(self, z: Any) -> tuple[Any, Any]:
        """z' (…, n), and log |det ∂z'/∂z| (…) in nats."""
        self._check(z)
        shift, gate = self._by(self.network, z)
        return _between(z, shift, gate), np.log(gate).sum(-1)

    def inverse(self, z: Any) -> Any:
        """z of z' in n passes: after the k-th the first k dimensions are what they must be."""
        self._check(z)
        start, network = z, self.network.masked()
        for _ in range(self.n):
            shift, gate = self._by(network, start)
            start = shift + (z - shift) / gate
        return start

    def _by(self, network: Made, z: Any) -> tuple[Any, Any]:
        """m and σ."""
        if self.n_context and self.context is None:
            raise ValueError(f"InverseAutoregressive with n_context={self.n_context} has no "
                             "context: take flow.given(h), as vae.flows.ToTransformed does")
        shift, s = network(z, self.context)
        return shift, _gate(s)


# Most of a layer's operations are so small that their number is what they cost: three are one each.
@with_vjp(lambda g, y, x, w, b, mask: affine.vjps[0](g, y, x, w * mask, b),
          lambda g, y, x, w, b, mask: mask * affine.vjps[1](g, y, x, w, b),
          lambda g, y, x, w, b, mask: affine.vjps[2](g, y, x, w, b))
def _masked_affine(x: ndarray, w: ndarray, b: ndarray, mask: ndarray) -> ndarray:
    return affine.forward(x, w * mask, b)


@with_vjp(lambda g, y, s: g * (y * (1 - y) * (1 - np.square(np.tanh(s / MOST)))))
def _gate(s: ndarray) -> ndarray:
    """sigmoid of s, bounded."""
    return 1 / (1 + np.exp(-bounded(s, MOST)))


@with_vjp(lambda g, y, z, m, gate: g * gate,
          lambda g, y, z, m, gate: g * (1 - gate),
          lambda g, y, z, m, gate: g * (z - m), elementwise=True)
def _between(z: ndarray, m: ndarray, gate: ndarray) -> ndarray:
    return m + gate * (z - m)
