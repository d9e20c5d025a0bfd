"""Distributions of two parts, drawn one after the other, and the VAE with two stochastic layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import Sequential, parameters, with_parameters
from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from minigrad.tensor import Tensor
from vae.distributions import Distribution, Normal
from vae.distributions.support import REAL
from vae.models.gaussian import VAE
from vae.networks import Head, ToBernoulli, ToNormal, dense


class Ancestral(Distribution):
    """p(a, b) = p(a) p(b|a) of vectors, drawn in this order; an event is [a, b] in one vector.

        log p([a, b]) = log p(a) + log p(b|a)        (nats)

    first: p(a), such as a Normal with a batch.  then: a (…, n_a) -> p(b|a), such as a network that
    ends in `ToNormal`; its parameters are found as those of a model are.  n: the numbers of b.
    reverse: an event is [b, a].  For more than two parts, `first` may be `Ancestral` itself.

    A draw has a path where both have one.  The entropy and the KL have no closed form: train with
    `vae.estimators.sgvb_a`, or another that draws the KL.  mean and variance: of b they are those
    of p(b|a) at the mean of a, the path of means; that mean is E b where it is linear in a, and
    the variance leaves out what the spread of a adds.  Raises ValueError for sizes that don't fit.
    """

    support = REAL
    event_ndim = 1

    def __init__(self, first: Distribution, then: Callable[[Any], Distribution], n: int, *,
                 reverse: bool = False):
        if not isinstance(first, Distribution) or first.event_ndim != 1:
            raise TypeError(f"Ancestral({first!r}, …): a distribution of vectors, with "
                            "event_ndim=1, is expected first")
        self.first, self.then, self.n, self.reverse = first, then, n, reverse
        self.shape = (*first.shape[:-1], first.shape[-1] + n)

    @property
    def path(self) -> str | None:  # type: ignore[override]
        return self.first.path  # a p(b|a) without one says so itself

    @property
    def dtype(self) -> np.dtype:
        """That of p(a)."""
        return self.first.dtype

    def parts(self, x: Any) -> tuple[Any, Any]:
        """a and b of events x (…, n_a + n_b).  Raises ValueError for another last axis."""
        if x.shape[-1:] != self.shape[-1:]:
            raise ValueError(f"Ancestral: events of shape {np.shape(x)}; the last axis must have "
                             f"{self.shape[-1]} numbers, {self.shape[-1] - self.n} of a and "
                             f"{self.n} of b")
        if self.reverse:
            return x[..., self.n:], x[..., :self.n]
        return x[..., :-self.n], x[..., -self.n:]

    def given(self, a: Any) -> Distribution:
        """p(b|a)."""
        found = self.then(a)
        if found.shape[-1:] != (self.n,):
            raise ValueError(f"Ancestral: p(b|a) has shape {found.shape}; its last axis must have "
                             f"n={self.n} numbers")
        return found

    def _joined(self, a: Any, b: Any) -> Any:
        return np.concatenate([b, a] if self.reverse else [a, b], axis=-1)

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> Any:
        a = self.first.sample(shape, rng=rng)
        return self._joined(a, self.given(a).sample(rng=rng))

    def log_prob(self, x: Any) -> Any:
        """log density per event, in nats: -inf for an infinite x."""
        if not hasattr(x, "dtype"):
            x = np.asarray(x, self.dtype)
        outside = np.isinf(x).any(-1, keepdims=True)
        a, b = self.parts(np.where(outside, 0, x) if outside.any() else x)
        density = self.first.log_prob(a) + self.given(a).log_prob(b)
        return np.where(outside[..., 0], -np.inf, density) if outside.any() else density

    @property
    def mean(self) -> Any:
        """[E a, E[b | a = E a]]."""
        a = np.broadcast_to(self.first.mean, self.first.shape)
        return self._joined(a, np.broadcast_to(self.given(a).mean, (*a.shape[:-1], self.n)))

    @property
    def variance(self) -> Any:
        """[Var a, Var[b | a = E a]]."""
        mean, spread = (np.broadcast_to(part, self.first.shape)
                        for part in (self.first.mean, self.first.variance))
        b = np.broadcast_to(self.given(mean).variance, (*mean.shape[:-1], self.n))
        return self._joined(spread, b)

    # -- parameters -------------------------------------------------------------------------------
    def map(self, f: Callable[[Any], Any]) -> Ancestral:
        """With `f` applied to the parameters of p(a), and to the Tensors of `then`."""
        new = copy.copy(self)
        new.first = self.first.map(f)
        new.then = with_parameters(self.then, [f(p) for p in parameters(self.then)])
        return new

    def traced(self) -> Iterator[Tensor]:
        """The parameters that are being differentiated."""
        yield from self.first.traced()
        yield from parameters(self.then)


class LayeredEncoder:
    """x -> q(z1, z2|x) = q(z1|x) q(z2|z1), of codes [z1, z2].

    first: x -> q(z1|x).  then: z1 -> q(z2|z1), of n dimensions.
    """

    def __init__(self, first: Callable[[Any], Distribution],
                 then: Callable[[Any], Distribution], n: int):
        self.first, self.then, self.n = first, then, n

    def __call__(self, x: Any) -> Ancestral:
        return Ancestral(self.first(x), self.then, self.n)


class FirstPart:
    """z (…, n_z) -> z (…, n), the first n numbers: what a decoder sees of a code."""

    def __init__(self, n: int):
        self.n = n

    def __call__(self, z: Any) -> Any:
        return z[..., :self.n]


def layered_vae(n_x: int = 784, hidden: Sequence[int] = (200, 100),
                n_z: Sequence[int] = (100, 50), *, rng: Generator, depth: int = 2,
                activation: Callable = np.tanh, weight: Initialiser = glorot_uniform,
                bias: Initialiser = zeros, start: ndarray | None = None,
                likelihood: Callable[..., Head] = ToBernoulli) -> VAE:
    """Two stochastic layers: p(z2) p(z1|z2) p(x|z1), and q(z1|x) q(z2|z1); a code is [z1, z2].

    n_z: the dimensions of z1, next to x, and of z2.  hidden: the width of the `depth` dense layers
    between x and z1, and of those between z1 and z2, of both networks.  The default is the model of
    Burda et al. (2016), section 5: x - 200 - 200 - z1 (100) - 100 - 100 - z2 (50).
    start, likelihood: as of `vae.dense_vae`.

    The KL has no closed form: train with `vae.estimators.iwae`, `dreg` or `sgvb_a`, and evaluate
    with `vae.evaluate(…, objective=vae.estimators.sgvb_a)`.  Raises TypeError for other than two
    widths, and two sizes of codes.
    """
    for name, sizes in (("hidden", hidden), ("n_z", n_z)):
        if isinstance(sizes, int) or len(sizes) != 2:
            raise TypeError(f"layered_vae({name}={sizes}): one number for each of the two "
                            "stochastic layers is expected, the one next to x first")
    network = {"activation": activation, "rng": rng, "weight": weight, "bias": bias}
    near, far = (depth * [width] for width in hidden)
    (n_1, n_2) = n_z
    encoder = LayeredEncoder(dense([n_x, *near, n_1], ToNormal, **network),
                             dense([n_1, *far, n_2], ToNormal, **network), n_2)
    prior = Ancestral(Normal.standard(n_2), dense([n_2, *far, n_1], ToNormal, **network), n_1,
                      reverse=True)
    decoder = dense([n_1, *near, n_x], likelihood, **network)
    if start is not None:
        decoder.layers[-1].start_at(start)
    return VAE(encoder, Sequential(FirstPart(n_1), *decoder.layers), prior)
