"""A PixelCNN over the codes of a VQ-VAE: each given those before it, by masked convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from numpy.typing import DTypeLike

from minigrad.convolution import conv2d
from minigrad.functions import relu
from minigrad.nn import Conv2d, frozen
from minigrad.nn.initialisers import glorot_uniform
from minigrad.tensor import Tensor
from vae.distributions import Categorical
from vae.models.codebook import check_positions
from vae.models.vq import CountedCodes

if TYPE_CHECKING:
    from vae.objectives import Bound


class MaskedConv2d(Conv2d):
    """A convolution with the kernel weight · mask, mask (a, b) of 0 and 1; the size stays."""

    def __init__(self, mask: ndarray, n_in: int, n_out: int, *, rng: Generator, dtype: DTypeLike):
        a, b = mask.shape
        super().__init__(n_in, n_out, (a, b), padding=(a // 2, b // 2), rng=rng, dtype=dtype)
        self.mask = mask[..., None, None].astype(dtype)

    def __call__(self, x: Any) -> Any:
        return conv2d(x, self.weight * self.mask, bias=self.bias, **self.options)


class MaskedCodes:
    """p(codes) = ∏_i p(code_i | code_1 … code_(i-1)), row by row, each row from left to right.

    The PixelCNN of van den Oord, Kalchbrenner and Kavukcuoglu (2016), "Pixel recurrent neural
    networks", section 3.4, with the two stacks of van den Oord et al. (2016), "Conditional image
    generation with PixelCNN decoders", section 2.2, which leave no blind spot: one sees the rows
    above, all of them, and one the codes to the left in the same row and the first stack.  The
    first layer of each has mask A, without the place itself, the others mask B, with it.  They are
    residual, with relu instead of gates, and as many as it takes to see all that comes before.

    shape: (length,) or (height, width).  channels: of the stacks.  kernel: an odd size.  The logits
    (*shape, n_codes) have a bias of their own at each place, and begin as 0: as `UniformCodes`.
    """

    def __init__(self, shape: Sequence[int], n_codes: int, *, rng: Generator, channels: int = 64,
                 kernel: int = 3, dtype: DTypeLike = np.float32):
        self.shape, self.n_codes = tuple(shape), n_codes
        if len(self.shape) not in (1, 2) or min(self.shape) < 1:
            raise ValueError(f"MaskedCodes over {self.shape} positions: (length,) or (height, "
                             "width) is expected, of at least one code")
        if kernel < 3 or kernel % 2 == 0:
            raise ValueError(f"MaskedCodes(kernel={kernel}): an odd size of 3 or more, to have a "
                             "middle and something before it")
        self.grid = (1, *self.shape)[-2:]
        init = {"rng": rng, "dtype": dtype}
        self.embedding = Tensor(glorot_uniform((n_codes, channels), n_codes, channels,
                                               rng=rng).astype(dtype))
        sizes = (channels, channels)
        self.above, self.left, self.across = [], [], []
        for layer in range(max(1, math.ceil((max(self.grid) - 1) / (kernel // 2)))):
            before = kernel // 2 + (layer > 0)  # mask B has the place itself
            self.above.append(MaskedConv2d(_first(before, (kernel, 1)) * np.ones(kernel), *sizes,
                                           **init))
            self.left.append(MaskedConv2d(_first(before, (1, kernel)), *sizes, **init))
            self.across.append(Conv2d(*sizes, 1, bias=None, **init))
        self.weight = Tensor(np.zeros((channels, n_codes), dtype))
        self.bias = Tensor(np.zeros((*self.grid, n_codes), dtype))

    @classmethod
    def of(cls, codes: ndarray, n_codes: int, *, smoothing: float = 1.0, **options: Any
           ) -> MaskedCodes:
        """One that begins as `CountedCodes.of(codes, n_codes, smoothing=…)`; options as above."""
        prior = cls(codes.shape[1:], n_codes, **options)
        counted = CountedCodes.of(codes, n_codes, smoothing=smoothing)
        prior.bias.data[...] = np.log(counted.probabilities).reshape(prior.bias.shape)
        return prior

    def logits(self, codes: ndarray) -> Any:
        """Of each code given those before it: codes (n, *shape) -> (n, *shape, n_codes)."""
        check_positions(codes, self.shape, self.n_codes)
        above = left = self.embedding[codes.reshape(-1, *self.grid)]
        for layer, (up, back, across) in enumerate(zip(self.above, self.left, self.across)):
            higher = up(relu(above) if layer else above)
            step = back(relu(left) if layer else left)
            above = above + higher if layer else higher
            seen = across(relu(above))
            left = left + step + seen if layer else step + seen
        logits = relu(left) @ self.weight + self.bias
        return np.reshape(logits, (len(codes), *self.shape, self.n_codes))

    def log_prob(self, codes: ndarray) -> Any:
        """log p of codes (n, *shape), (n,) in nats."""
        return Categorical(self.logits(codes), event_ndim=len(self.shape)).log_prob(codes)

    def sample(self, n: int, *, rng: Generator) -> ndarray:
        """Codes (n, *shape), one place after the other: as many passes as there are positions."""
        prior = frozen(self)
        codes = np.zeros((n, *self.shape), np.int64)
        for place in np.ndindex(self.shape):
            at = (slice(None), *place)
            codes[at] = Categorical(prior.logits(codes)[at]).sample(rng=rng)
        return codes


def code_likelihood(prior: MaskedCodes, codes: Any, *, rng: Generator) -> Bound:
    """log p(codes), (n,) in nats, as an objective for `vae.fit`; there is no KL, and nothing drawn.

        vae.fit(prior, codes.astype(np.float32), objective=code_likelihood, …)

    as `fit` takes floats; float32 holds whole numbers up to 2²⁴ exactly.
    """
    from vae.objectives import Bound  # which itself imports models
    log_p = prior.log_prob(codes.astype(np.int64))
    return Bound(log_p, log_p, np.zeros(len(codes), log_p.dtype))


def _first(n: int, shape: tuple[int, int]) -> ndarray:
    """1 in the first n places of a row or a column, 0 behind."""
    return (np.arange(max(shape)) < n).astype(float).reshape(shape)
