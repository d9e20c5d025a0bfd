"""The VQ-VAE of van den Oord et al. (2017): a code of whole numbers, and vectors for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.functions import relu
from minigrad.nn import Conv2d, ConvTranspose2d, Dense, Flatten, Reshape, Sequential, frozen
from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from vae.distributions import Distribution
from vae.models.codebook import (
    AnyCodebook,
    Codebook,
    MovingCodebook,
    Quantised,
    Usage,
    check_positions,
)
from vae.networks import Head, ToBernoulli, as_it_is, part_by_part

if TYPE_CHECKING:
    from vae.objectives import Weighted


class Prior(Protocol):
    """p(codes) of codes (n, *shape), whole numbers below n_codes."""

    shape: tuple[int, ...]
    n_codes: int

    def log_prob(self, codes: ndarray) -> Any:
        """(n,), in nats."""

    def sample(self, n: int, *, rng: Generator) -> ndarray:
        """(n, *shape)."""


class UniformCodes:
    """p(codes) = n_codes^-positions: all codes of a datum, of this shape, are equally probable."""

    def __init__(self, shape: Sequence[int], n_codes: int):
        self.shape, self.n_codes = tuple(shape), n_codes

    def log_prob(self, codes: ndarray) -> ndarray:
        """log p of codes (n, *shape), (n,) in nats: -positions·log n_codes."""
        check_positions(codes, self.shape, self.n_codes)
        return np.full(len(codes), -math.prod(self.shape) * math.log(self.n_codes))

    def sample(self, n: int, *, rng: Generator) -> ndarray:
        """Codes (n, *shape)."""
        u = noise.uniform(rng, (n, *self.shape), np.float64)
        return (u * self.n_codes).astype(np.int64)


class CountedCodes:
    """Each position by itself, with the frequencies that its codes had.

        p(codes) = ∏_i (c_i[code_i] + a)/(Σ_k c_i[k] + a·n_codes)

    c: `counts` (*shape, n_codes), a buffer.  a = `smoothing` > 0 is added to each count, so that
    no code is impossible (Laplace's rule for a = 1).
    """

    buffers = ("counts",)

    def __init__(self, shape: Sequence[int], n_codes: int, *, smoothing: float = 1.0):
        if not 0 < smoothing < math.inf:
            raise ValueError(f"smoothing={smoothing}: a number above 0, or a code that was not "
                             "seen would be impossible")
        self.shape, self.n_codes, self.smoothing = tuple(shape), n_codes, smoothing
        self.counts = np.zeros((*self.shape, n_codes))

    @classmethod
    def of(cls, codes: ndarray, n_codes: int, *, smoothing: float = 1.0) -> CountedCodes:
        """With the counts of codes (n, *shape), such as those of the training data."""
        prior = cls(codes.shape[1:], n_codes, smoothing=smoothing)
        prior.count(codes)
        return prior

    def count(self, codes: ndarray) -> None:
        """Add codes (n, *shape) to the counts."""
        positions = check_positions(codes, self.shape, self.n_codes)
        flat = np.arange(positions) * self.n_codes + codes.reshape(len(codes), positions)
        found = np.bincount(flat.ravel(), minlength=self.counts.size)
        self.counts += found.reshape(self.counts.shape)

    @property
    def probabilities(self) -> ndarray:
        """(*shape, n_codes)."""
        smooth = self.counts + self.smoothing
        return smooth / smooth.sum(-1, keepdims=True)

    def log_prob(self, codes: ndarray) -> ndarray:
        """log p of codes (n, *shape), (n,) in nats, float64."""
        positions = check_positions(codes, self.shape, self.n_codes)
        log_p = np.log(self.probabilities).reshape(positions, self.n_codes)
        flat = codes.reshape(len(codes), positions)
        return log_p[np.arange(positions), flat].sum(axis=1)

    def sample(self, n: int, *, rng: Generator) -> ndarray:
        """Codes (n, *shape), by inverting each position's distribution function."""
        below = np.cumsum(self.probabilities, axis=-1).reshape(-1, self.n_codes)
        u = noise.uniform(rng, (n, len(below)), np.float64)
        found = [np.searchsorted(steps, draws, side="right")  # the last step may be below 1
                 for steps, draws in zip(below, u.T)]
        codes = np.minimum(np.stack(found, axis=1), self.n_codes - 1)
        return codes.reshape(n, *self.shape)


class VQVAE:
    """x -> encodings z_e -> the nearest vectors z_q of a codebook -> p(x|z_q).

    encoder: x (n, …) -> (n, positions, dimensions) or (n, height, width, dimensions).
    decoder: the like -> p(x|z).  prior: a `Prior`, such as `CountedCodes`; None: all codes are
    equally probable, and nothing can be sampled.
    """

    def __init__(self, encoder: Callable[[Any], Any], codebook: AnyCodebook,
                 decoder: Callable[[Any], Distribution],
                 prior: Prior | None = None):
        self.encoder, self.codebook, self.decoder = encoder, codebook, decoder
        self.given_prior: Prior | None = None
        self.prior = prior

    @property
    def prior(self) -> Prior | None:
        """p(codes).  To set it raises ValueError where it does not fit the codebook, or is over
        other positions than the one before.
        """
        return self.given_prior

    @prior.setter
    def prior(self, prior: Prior | None) -> None:
        if prior is not None and prior.n_codes != self.codebook.n_codes:
            raise ValueError(f"a prior over {prior.n_codes} codes for a codebook of "
                             f"{self.codebook.n_codes}: the numbers of codes must be equal")
        before = self.given_prior
        if prior is not None and before is not None and prior.shape != before.shape:
            raise ValueError(f"a prior over {prior.shape} positions for a model with "
                             f"{before.shape} positions a datum: they must be equal")
        self.given_prior = prior

    def quantise(self, x: Any) -> tuple[Any, Quantised]:
        """The encodings z_e of x, and their `Quantised`."""
        z = self.encoder(x)
        return z, self.codebook.quantise(z)

    def log_prior(self, codes: ndarray) -> Any:
        """log p(codes) of codes (n, …), (n,) in nats."""
        prior = self.prior or UniformCodes(codes.shape[1:], self.codebook.n_codes)
        return prior.log_prob(codes)

    def encode(self, x: ndarray, *, batch_size: int = 500) -> ndarray:
        """The codes of x, (n, positions) or (n, height, width), integers."""
        model = frozen(self)
        return np.concatenate([model.codebook.codes(model.encoder(x[i:i + batch_size]))
                               for i in range(0, len(x), batch_size)])

    def likelihood(self, codes: ndarray) -> Distribution:
        """p(x|codes)."""
        return self.decoder(self.codebook.lookup(codes))

    def decode(self, codes: ndarray) -> Any:
        """E[x|codes], codes (n, …)."""
        return self.likelihood(codes).mean

    def reconstruct(self, x: Any) -> Any:
        """E[x|codes of x]."""
        return self.decoder(self.quantise(x)[1].z).mean

    def sample(self, n: int, *, rng: Generator) -> Any:
        """Means E[x|codes] for n draws of the prior's codes; raises ValueError without a prior."""
        if self.prior is None:
            raise ValueError("VQVAE.sample without a prior over the codes: set model.prior, such "
                             "as CountedCodes.of(model.encode(x), model.codebook.n_codes)")
        return self.decode(self.prior.sample(n, rng=rng))

    def usage(self, x: ndarray, *, batch_size: int = 500) -> Usage:
        """How often each code is taken over all of x: give the data of an epoch."""
        return self.codebook.usage(self.encode(x, batch_size=batch_size))

    def start_codebook(self, x: ndarray, *, rng: Generator) -> None:
        """Put the vectors at encodings of x, before training; see `AnyCodebook.start_at`."""
        self.codebook.start_at(frozen(self).encoder(x), rng=rng)

    def revive(self, x: ndarray, *, rng: Generator, least: int = 1) -> ndarray:
        """Put vectors that fewer than `least` of the encodings of x take at some of these.

        To be called between epochs, `on_epoch` of `fit`; see `AnyCodebook.revive`.
        """
        return self.codebook.revive(frozen(self).encoder(x), rng=rng, least=least)


def vq_objective(model: VQVAE, x: Any, *, rng: Generator, beta: float = 0.25) -> Weighted:
    """Maximises log p(x|z_q) - KL - ‖sg(z_e) - e‖² - β‖z_e - sg(e)‖², one number a datum.

    van den Oord et al. (2017), equation 3, with β = 0.25 as there.  The losses are *summed* over
    dimensions and positions, as log p is over pixels: of an average over them another β is right.
    The second term is left out where the codebook is averaged (`MovingCodebook`).

    value, in nats, is the bound log p(x|z_q) + log p(codes) ≤ log p(x): q is certain of one code,
    so that the KL is -log p(codes), by the uniform prior positions·log n_codes, a constant.
    Nothing is drawn, and no statistic is moved.
    """
    return _objective(model, x, beta)[0]


def moving_objective(model: VQVAE, x: Any, *, rng: Generator, beta: float = 0.25) -> Weighted:
    """`vq_objective`, and then a step of the averages of the model's `MovingCodebook`.

    For training alone, as `fit(…, objective=moving_objective)`: evaluate by `vq_objective`, which
    moves nothing.  Raises TypeError for another codebook.
    """
    if not isinstance(model.codebook, MovingCodebook):
        raise TypeError(f"moving_objective of a model with a {type(model.codebook).__name__}: its "
                        "vectors are moved by gradients, take vq_objective; or give the model a "
                        "MovingCodebook")
    weighted, z, codes = _objective(model, x, beta)
    model.codebook.update(z, codes)
    return weighted


def _objective(model: VQVAE, x: Any, beta: float) -> tuple[Weighted, Any, ndarray]:
    """The objective, the encodings, and their codes."""
    from vae.objectives import Weighted  # which itself imports models
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta={beta}: the weight of the commitment, 0 or more")
    z, quantised = model.quantise(x)
    reconstruction = model.decoder(quantised.z).log_prob(x)
    kl = -model.log_prior(quantised.codes).astype(reconstruction.dtype)
    loss = beta * quantised.commitment
    if not model.codebook.averaged:
        loss = quantised.codebook_loss + loss
    value = reconstruction - kl
    return Weighted(value - loss, value, reconstruction, kl, None), z, quantised.codes


def _book(n_codes: int, dimensions: int, decay: float | None, rng: Generator) -> AnyCodebook:
    if decay is None:
        return Codebook(n_codes, dimensions, rng=rng)
    return MovingCodebook(n_codes, dimensions, rng=rng, decay=decay)


def dense_vqvae(n_x: int, hidden: Sequence[int] = (200,), positions: int = 16, n_codes: int = 128,
                dimensions: int = 16, *, rng: Generator, decay: float | None = None,
                activation: Callable = np.tanh, weight: Initialiser = glorot_uniform,
                bias: Initialiser = zeros, start: ndarray | None = None,
                likelihood: Callable[..., Head] = ToBernoulli) -> VQVAE:
    """x (n, n_x), codes (n, positions), through dense layers.

    hidden, start, likelihood: as of `dense_vae`.  decay: of a `MovingCodebook`; None: a `Codebook`.
    """
    if positions < 1:
        raise ValueError(f"dense_vqvae(positions={positions}): at least one code a datum")
    init = {"rng": rng, "weight": weight, "bias": bias}
    sizes, n_z = [n_x, *hidden], positions * dimensions
    encoder: list[Callable] = []
    for n_in, n_out in pairwise(sizes):
        encoder += [Dense(n_in, n_out, **init), activation]
    encoder += [Dense(sizes[-1], n_z, **init), Reshape(positions, dimensions)]
    decoder: list[Callable] = [Flatten()]
    for n_in, n_out in pairwise([n_z, *sizes[:0:-1]]):
        decoder += [Dense(n_in, n_out, **init), activation]
    head = likelihood([n_z, *sizes[:0:-1]][-1], n_x, **init)
    if start is not None:
        head.start_at(start)
    return VQVAE(Sequential(*encoder), _book(n_codes, dimensions, decay, rng),
                 Sequential(*decoder, head), UniformCodes((positions,), n_codes))


def conv_vqvae(size: tuple[int, int] = (28, 28), channels: Sequence[int] = (32, 64),
               n_codes: int = 128, dimensions: int = 16, *, rng: Generator, kernel: int = 3,
               decay: float | None = None, activation: Callable = relu,
               weight: Initialiser = glorot_uniform, bias: Initialiser = zeros,
               start: ndarray | None = None,
               likelihood: Callable[..., Head] = ToBernoulli) -> VQVAE:
    """x (n, pixels), codes (n, height, width), through convolutions: 28x28 -> 7x7 codes of 16.

    The encoder halves the image once for each of `channels`, then a 1x1 convolution to the
    dimensions of a code; the decoder begins with a 3x3 convolution and mirrors it.  start,
    likelihood: as of `conv_vae`.  decay: of a `MovingCodebook`; None: a `Codebook`.  Raises
    ValueError for a size that can't be halved so often.
    """
    if not channels:
        raise ValueError("conv_vqvae(channels=()): at least one layer that halves the image")
    times = 2 ** len(channels)
    if any(n < times or n % times for n in size):
        raise ValueError(f"conv_vqvae of {size[0]}x{size[1]} images with {len(channels)} layers "
                         f"that halve them: height and width must be multiples of {times}; pad "
                         "the images, or give fewer channels")
    init = {"rng": rng, "weight": weight, "bias": bias}
    halving = {"stride": 2, "padding": (kernel - 1) // 2, "activation": activation, **init}
    encoder: list[Callable] = [Reshape(*size, 1)]
    for n_in, n_out in pairwise([1, *channels]):
        encoder.append(Conv2d(n_in, n_out, kernel, **halving))
    encoder.append(Conv2d(channels[-1], dimensions, 1, **init))
    decoder: list[Callable] = [
        Conv2d(dimensions, channels[-1], 3, padding=1, activation=activation, **init)]
    for i, (n_in, n_out) in enumerate(pairwise([channels[-1], *channels[::-1]])):
        out = tuple(2 * n * 2 ** i // times for n in size)
        decoder.append(ConvTranspose2d(n_in, n_out, kernel, output_size=out, **halving))
    head = likelihood(math.prod(size), math.prod(size), linear=as_it_is)
    last = Conv2d(channels[0], head.parts, 3, padding=1, **init)
    if start is not None:
        last.bias.data[...] = head.raw_at(np.mean(start, keepdims=True).ravel())
    codes = tuple(n // times for n in size)
    return VQVAE(Sequential(*encoder), _book(n_codes, dimensions, decay, rng),
                 Sequential(*decoder, last, part_by_part, head), UniformCodes(codes, n_codes))
