"""The variational autoencoder of Kingma and Welling (2014) and Rezende et al. (2014)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from vae.distributions import Distribution, Normal
from vae.networks import ToBernoulli, ToNormal, dense


class VAE:
    """p(x, z) = p(z) p(x|z), and q(z|x), which stands for the posterior p(z|x).

    encoder: x -> q(z|x).  decoder: z -> p(x|z).  prior: p(z).  Encoder and decoder are callables
    that give distributions; the likelihood is whichever the decoder ends in.
    """

    def __init__(self, encoder: Callable[[Any], Distribution],
                 decoder: Callable[[Any], Distribution], prior: Distribution):
        self.encoder, self.decoder, self.prior = encoder, decoder, prior

    def posterior(self, x: Any) -> Distribution:
        """q(z|x)."""
        return self.encoder(x)

    def likelihood(self, z: Any) -> Distribution:
        """p(x|z)."""
        return self.decoder(z)

    def sample(self, n: int, *, rng: Generator) -> Any:
        """Means E[x|z] for n draws z of the prior."""
        return self.likelihood(self.prior.sample((n,), rng=rng)).mean

    def reconstruct(self, x: Any) -> Any:
        """E[x|z] at the mean of q(z|x)."""
        return self.likelihood(self.posterior(x).mean).mean


def dense_vae(n_x: int = 784, hidden: Sequence[int] = (500,), n_z: int = 20, *, rng: Generator,
              activation: Callable = np.tanh, weight: Initialiser = glorot_uniform,
              bias: Initialiser = zeros, start: np.ndarray | None = None) -> VAE:
    """Bernoulli pixels and a Gaussian code, both through dense layers; `hidden` of the encoder.

    start: the mean of the training data, at whose logit the decoder's biases begin, so that it
    need not be learned first.  None: they begin as `bias` says.
    """
    network = {"activation": activation, "rng": rng, "weight": weight, "bias": bias}
    encoder = dense([n_x, *hidden, n_z], ToNormal, **network)
    decoder = dense([n_z, *reversed(hidden), n_x], ToBernoulli, **network)
    if start is not None:
        decoder.layers[-1].start_at(start)
    return VAE(encoder, decoder, Normal.standard(n_z))
