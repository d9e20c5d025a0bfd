"""The autoencoder: a code that is one point, where that of a VAE is a distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import Dense, frozen
from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from vae.data.checks import check_data
from vae.distributions import Distribution
from vae.likelihoods import ToGaussian
from vae.networks import Head, ToBernoulli, dense

if TYPE_CHECKING:
    from vae.objectives import Weighted

_OF_A_VAE = ("posterior", "prior", "sample")


class Autoencoder:
    """z = encoder(x), one code for each x, and p(x|z) = decoder(z) (Hinton and Salakhutdinov 2006).

    encoder: x -> z, an array.  decoder: z -> p(x|z), a network that ends in a likelihood head, as
    that of a VAE does: the squared error is the log likelihood of `likelihoods.ToGaussian(std=σ)`,
    -‖x - mean‖²/(2σ²) and a constant.  Trained with `objective=reconstruction_only`.

    It has no p(z) and so no p(x): nothing to sample from, and no bound to evaluate.
    """

    def __init__(self, encoder: Callable[[Any], Any], decoder: Callable[[Any], Distribution]):
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Any) -> Any:
        """z; raises TypeError where the encoder gives a distribution, as that of a VAE."""
        z = self.encoder(x)
        if isinstance(z, Distribution):
            raise TypeError(f"the encoder of an Autoencoder gave a {type(z).__name__}: a code is "
                            "an array. End it in nn.Dense, or take vae.VAE(encoder, decoder, "
                            "prior)")
        return z

    def likelihood(self, z: Any) -> Distribution:
        """p(x|z); raises TypeError where the decoder gives none."""
        p = self.decoder(z)
        if not isinstance(p, Distribution):
            raise TypeError(f"the decoder of an Autoencoder gave a {type(p).__name__}: p(x|z) is "
                            "expected. End it in a likelihood head, for the squared error "
                            "vae.likelihoods.ToGaussian(n_in, n_out, std=1, rng=rng)")
        return p

    def decode(self, z: Any) -> Any:
        """E[x|z]."""
        return self.likelihood(z).mean

    def reconstruct(self, x: Any) -> Any:
        """E[x|z] at the code of x."""
        return self.decode(self.encode(x))

    def __getattr__(self, name: str) -> Any:
        """Says what is missing to those who take it for a VAE."""
        if name in _OF_A_VAE:
            raise AttributeError(f"an Autoencoder has no {name}: its code is a point, with no "
                                 "distribution q(z|x) or p(z). Train it with objective="
                                 "reconstruction_only and look at squared_error(model, x); for "
                                 "densities and samples take vae.VAE")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def reconstruction_only(model: Autoencoder, x: Any, *, rng: Generator) -> Weighted:
    """Maximises log p(x|z) at z = encoder(x), in nats a datum; nothing is drawn by rng.

    No bound on log p(x): as a posterior, a point has a KL of infinity.  The `value` that `fit`
    reports as a bound is the log likelihood itself, beside a KL of 0 with a weight of 0.
    Raises ValueError where p(x|z) is of another shape than x.
    """
    from vae.objectives import Weighted  # that module imports the models

    p = model.likelihood(model.encode(x))
    _check_shape(p.shape, x.shape)
    found = p.log_prob(x)
    return Weighted(found, found, found, np.zeros(found.shape, found.dtype), 0.0)


def squared_error(model: Any, x: ndarray, *, batch_size: int = 1000) -> ndarray:
    """‖x - x̂‖² of each datum, (n,) in float64: summed over its elements, in the units of x².

    model: anything with `reconstruct`, such as Autoencoder, PCA and VAE, so that they compare.
    Raises as `fit` does for data that are no floats or not finite, and ValueError where x̂ is of
    another shape than x.
    """
    check_data(x)
    fixed, found = frozen(model), np.empty(len(x))
    for i in range(0, len(x), batch_size):
        batch = x[i:i + batch_size]
        again = fixed.reconstruct(batch)
        _check_shape(again.shape, batch.shape)
        error = np.square(batch - again, dtype=np.float64)
        found[i:i + batch_size] = np.sum(error.reshape(len(batch), -1), axis=1)
    return found


def _check_shape(again: tuple[int, ...], given: tuple[int, ...]) -> None:
    if again != given:  # they might broadcast
        raise ValueError(f"the model gives back {again} for data of shape {given}: both must be "
                         "the same")


def linear_autoencoder(n_x: int, n_z: int, *, rng: Generator, std: float = 1.0,
                       weight: Initialiser = glorot_uniform, bias: Initialiser = zeros,
                       start: ndarray | None = None) -> Autoencoder:
    """One linear layer to the code and one back, and the squared error, as N(mean, std²).

    At its best it is PCA: the same plane and error, spanned by any basis of it (Bourlard and Kamp
    1988), and whatever else has a slope of 0 is a saddle (Baldi and Hornik 1989).  std: σ, which
    moves no optimum.  start: the mean of the training data, where the output's biases begin.
    Raises ValueError for n_z ≥ n_x.
    """
    return dense_autoencoder(n_x, (), n_z, rng=rng, weight=weight, bias=bias, start=start,
                             likelihood=partial(ToGaussian, std=std))


def dense_autoencoder(n_x: int = 784, hidden: Sequence[int] = (500,), n_z: int = 20, *,
                      rng: Generator, activation: Callable = np.tanh,
                      weight: Initialiser = glorot_uniform, bias: Initialiser = zeros,
                      start: ndarray | None = None,
                      likelihood: Callable[..., Head] = ToBernoulli) -> Autoencoder:
    """Pixels, or the columns of a table, and a code of n_z numbers, both through dense layers.

    The arguments are those of `dense_vae`; the code is linear in the last hidden layer.  Raises
    ValueError for n_z ≥ n_x: such a code need not leave anything out, and the identity is learned.
    """
    if not 1 <= n_z < n_x:
        raise ValueError(f"an autoencoder with a code of n_z={n_z} for n_x={n_x} numbers: the "
                         f"code must be smaller, from 1 to {n_x - 1}, or it copies. If that is "
                         "meant, make it of networks: Autoencoder(encoder, decoder)")
    network = {"activation": activation, "rng": rng, "weight": weight, "bias": bias}
    encoder = dense([n_x, *hidden, n_z], Dense, **network)
    decoder = dense([n_z, *reversed(hidden), n_x], likelihood, **network)
    if start is not None:
        decoder.layers[-1].start_at(start)
    return Autoencoder(encoder, decoder)
