"""The variational autoencoder of Kingma and Welling (2014) and Rezende et al. (2014)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator

from minigrad.functions import relu
from minigrad.nn import Conv2d, ConvTranspose2d, Dense, Flatten, Reshape, Sequential
from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from vae.distributions import Distribution, Normal
from vae.models.fitting import require_fit
from vae.networks import Head, OverRows, ToBernoulli, ToNormal, as_it_is, dense, part_by_part


class VAE:
    """p(x, z) = p(z) p(x|z), and q(z|x), which stands for the posterior p(z|x).

    encoder: x -> q(z|x).  decoder: z -> p(x|z).  Both are callables that give distributions, such
    as `nn.Sequential`; the likelihood is whichever the decoder ends in.  prior: p(z), or a callable
    without arguments that gives it, such as a `networks.LearnedNormal`, which is asked anew in each
    step.  Parameters are found in attributes, not within a lambda.

    Raises TypeError for parts that give no distribution, and ValueError for those that don't fit
    each other: see `vae.models.fitting`.  A part that isn't needed may be None.
    """

    def __init__(self, encoder: Callable[[Any], Distribution],
                 decoder: Callable[[Any], Distribution],
                 prior: Distribution | Callable[[], Distribution]):
        self.encoder, self.decoder, self.given_prior = encoder, decoder, prior
        self._require_fit()

    def _require_fit(self) -> None:
        if not any(part is None for part in (self.encoder, self.decoder, self.given_prior)):
            require_fit(self.posterior, self.likelihood, self.prior)

    @property
    def prior(self) -> Distribution:
        """p(z).  One that is set must fit, as in the beginning; else the model keeps its own."""
        return self.given_prior() if callable(self.given_prior) else self.given_prior

    @prior.setter
    def prior(self, prior: Distribution | Callable[[], Distribution]) -> None:
        before, self.given_prior = self.given_prior, prior
        try:
            self._require_fit()
        except (TypeError, ValueError):
            self.given_prior = before
            raise

    def posterior(self, x: Any) -> Distribution:
        """q(z|x)."""
        return self.encoder(x)

    def likelihood(self, z: Any) -> Distribution:
        """p(x|z)."""
        return self.decoder(z)

    def sample(self, n: int, *, rng: Generator) -> Any:
        """Means E[x|z] for n draws z of the prior."""
        return self.likelihood(self.prior.constant().sample((n,), rng=rng)).mean

    def reconstruct(self, x: Any) -> Any:
        """E[x|z] at the centre of q(z|x): its mean; of a flow, where it takes the base's mean."""
        return self.likelihood(self.posterior(x).centre).mean

    def predict_interval(self, x: Any = None, k: float = 3, *, z: Any = None) -> tuple[Any, Any]:
        """E[x|z] - k·std and E[x|z] + k·std of p(x|z), element by element, in the units of x.

        z: the code; where x is given instead, the centre of q(z|x).  The interval is that of x's
        own noise at this z, and knows nothing of how uncertain z is.  For a Gaussian likelihood
        k = 1, 2, 3 is 68.3, 95.4, 99.7 %; for any at least 1 - 1/k² (Chebyshev).  It may leave the
        range of x.  Raises TypeError unless one of x and z is given, ValueError for k ≤ 0.
        """
        if (x is None) == (z is None):
            raise TypeError("predict_interval of x, or of z=…: give one of the two")
        return interval(self.likelihood(self.posterior(x).centre if z is None else z), k)


def interval(p: Distribution, k: float) -> tuple[Any, Any]:
    """mean - k·std and mean + k·std of p.  Raises ValueError for k ≤ 0."""
    if not 0 < k < math.inf:
        raise ValueError(f"predict_interval(k={k}): a number of standard deviations above 0")
    mean, spread = p.mean, float(k) * np.sqrt(p.variance)
    return mean - spread, mean + spread


def dense_vae(n_x: int = 784, hidden: Sequence[int] = (500,), n_z: int = 20, *, rng: Generator,
              activation: Callable = np.tanh, weight: Initialiser = glorot_uniform,
              bias: Initialiser = zeros, start: np.ndarray | None = None,
              likelihood: Callable[..., Head] = ToBernoulli) -> VAE:
    """Pixels, or the columns of a table, and a Gaussian code, both through dense layers.

    hidden: of the encoder; the decoder has the same in reverse.
    likelihood: the head that the decoder ends in, such as those of `vae.likelihoods`.
    start: the mean of the training data, at which (for Bernoulli pixels: at its logit) the
    decoder's biases begin, so that it need not be learned first.  None: as `bias` says.
    """
    if isinstance(hidden, int):
        raise TypeError(f"dense_vae(hidden={hidden}): give the sizes of the layers, ({hidden},)")
    network = {"activation": activation, "rng": rng, "weight": weight, "bias": bias}
    encoder = dense([n_x, *hidden, n_z], ToNormal, **network)
    decoder = dense([n_z, *reversed(hidden), n_x], likelihood, **network)
    if start is not None:
        decoder.layers[-1].start_at(start)
    return VAE(encoder, decoder, Normal.standard(n_z))


def conv_vae(size: tuple[int, int] = (28, 28), channels: Sequence[int] = (32, 64),
             hidden: int = 128, n_z: int = 64, *, rng: Generator, kernel: int = 3,
             activation: Callable = relu, weight: Initialiser = glorot_uniform,
             bias: Initialiser = zeros, start: np.ndarray | None = None,
             likelihood: Callable[..., Head] = ToBernoulli) -> VAE:
    """Pixels and a Gaussian code, both through convolutions; x is (n, pixels).

    The encoder halves the image once for each of `channels`, then a dense layer of `hidden`; the
    decoder mirrors it by transposed convolutions and ends in a 3x3 convolution to one channel, or
    as many as the head `likelihood` asks for (see `vae.likelihoods`).  The default is 28x28 -
    14x14x32 - 7x7x64 - 128 - 64 dimensions and back, 696,385 parameters.

    start: the mean of the training data; its mean over the pixels is where the output begins.
    """
    init = {"rng": rng, "weight": weight, "bias": bias}
    halving = {"stride": 2, "padding": (kernel - 1) // 2, "activation": activation, **init}
    sizes = [size]
    encoder: list[Callable] = [Reshape(*size, 1)]
    for n_in, n_out in pairwise([1, *channels]):
        encoder.append(Conv2d(n_in, n_out, kernel, **halving))
        sizes.append(tuple((n + 2 * halving["padding"] - kernel) // 2 + 1 for n in sizes[-1]))
    corner = (*sizes[-1], channels[-1])
    encoder += [Flatten(), Dense(math.prod(corner), hidden, **init), activation,
                ToNormal(hidden, n_z, **init)]
    decoder: list[Callable] = [Dense(n_z, math.prod(corner), **init), activation, Reshape(*corner)]
    for n_in, n_out, out in zip([channels[-1], *channels[:0:-1]], channels[::-1], sizes[-2::-1]):
        decoder.append(ConvTranspose2d(n_in, n_out, kernel, output_size=out, **halving))
    head = likelihood(math.prod(size), math.prod(size), linear=as_it_is)
    last = Conv2d(channels[0], head.parts, 3, padding=1, **init)
    if start is not None:
        last.bias.data[...] = head.raw_at(np.mean(start, keepdims=True).ravel())
    raw = OverRows(Sequential(*decoder, last, part_by_part))
    return VAE(Sequential(*encoder), Sequential(raw, head), Normal.standard(n_z))
