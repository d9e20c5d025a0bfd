"""Lossy compression: codes on a grid, written as bytes that are counted.

An image becomes the posterior mean of its code, each dimension of it rounded to a multiple of a
step Δ; the whole numbers are written by an entropy coder; decoding gives them back as they were,
and the image as E[x|z].  How many bytes and how far off is what is counted.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.distributions import Distribution, Normal, kl
from vae.evaluation.paths import codes, decoded
from vae.models import VAE
from vae.uses.entropy_coding import TOTAL, Damaged, pack, unpack

LEVELS = 4096  # of one dimension; more would leave the rare ones too large a share of TOTAL
TAIL = 5.0  # standard deviations of a prior that the grid reaches: 6 codes in 10⁷ are beyond
HEADER = struct.Struct("<4sIII")  # mark, images, bytes of codes, fingerprint of the tables
PREAMBLE = HEADER.size + 4  # and a checksum of all else
MARK = b"vae1"


class GridCoder:
    """Codes z (n, d) -> whole numbers k = z/Δ, rounded -> bytes, and back.

        z ≈ kΔ,   bits = -Σ_j log₂ f_j(k_j)/2¹⁶

    step: Δ, in the units of z.  low: the smallest k of each dimension, (d,).  frequencies: for each
    dimension how often low, low + 1, … occur, of 2¹⁶, each 1 or more; as `of_prior` and `fitted`
    make them.  A coder belongs to the model: the bytes hold no table, and who decodes needs the
    same.
    """

    def __init__(self, step: float, low: ndarray, frequencies: list[ndarray]):
        self.step, self.low, self.frequencies = step, low, frequencies
        self.high = low + np.array([len(f) - 1 for f in frequencies])
        tables = struct.pack("<d", step) + low.astype("<i8").tobytes() + b"".join(
            f.astype("<i8").tobytes() for f in frequencies)
        self.fingerprint = zlib.crc32(tables)

    @classmethod
    def of_prior(cls, prior: Distribution, step: float) -> GridCoder:
        """Frequencies Φ((k + ½)Δ) - Φ((k - ½)Δ) of a Normal prior (d,), to 5 standard deviations.

        What is beyond counts as the outermost.  Raises TypeError for another prior, and ValueError
        for a step that is not positive, or so small that a dimension has more than 4096 levels.
        """
        if not isinstance(prior, Normal) or len(prior.shape) != 1:
            raise TypeError(f"GridCoder.of_prior of {prior!r}: a Normal of shape (d,) is expected; "
                            "for another prior GridCoder.fitted(codes, step)")
        prior = prior.constant()
        mean, std = (np.broadcast_to(part, prior.shape).astype(np.float64)
                     for part in (prior.mean, prior.std))
        low, high = _grid(mean - TAIL * std, mean + TAIL * std, step)
        frequencies = []
        for m, s, a, b in zip(mean, std, low, high):
            edges = np.concatenate([[-math.inf], (np.arange(a, b) + 0.5) * step, [math.inf]])
            frequencies.append(_whole(np.diff(Normal(m, s).cdf(edges))))
        return cls(step, low, frequencies)

    @classmethod
    def fitted(cls, z: ndarray, step: float) -> GridCoder:
        """Frequencies as in the codes z (n, d) of training data, from the lowest to the highest.

        A dimension that the model doesn't use costs nothing then, where the prior would have it
        cost its entropy.  Raises ValueError as `of_prior` does.
        """
        z = _finite(z)
        low, high = _grid(z.min(axis=0), z.max(axis=0), step)
        k = np.rint(z / step).astype(np.int64)
        return cls(step, low, [_whole(np.bincount(column - a, minlength=b - a + 1) / len(k))
                               for column, a, b in zip(k.T, low, high)])

    def quantise(self, z: ndarray) -> ndarray:
        """The whole numbers (n, d) nearest to z/Δ; beyond the grid its edge."""
        z = _finite(z)
        if z.shape[1] != len(self.low):
            raise ValueError(f"GridCoder.quantise: codes of shape {z.shape}; "
                             f"(n, {len(self.low)}) are expected")
        edge = np.clip(z, self.low * self.step, self.high * self.step)
        return np.rint(edge / self.step).astype(np.int64)

    def dequantise(self, k: ndarray) -> ndarray:
        """kΔ, in float32."""
        return (k * self.step).astype(np.float32)

    def bits(self, k: ndarray) -> ndarray:
        """The ideal code length of each row of k, in bits: (n,)."""
        index = self._index(k)
        return sum((-np.log2(f[i] / TOTAL) for f, i in zip(self.frequencies, index.T)),
                   np.zeros(len(k)))

    def encode(self, k: ndarray) -> bytes:
        """The numbers k (n, d) as bytes: `bits` in all, 26 bytes, and some 10⁻⁵ bits a number."""
        body = pack(self._index(k), self.frequencies)
        header = HEADER.pack(MARK, len(k), len(body), self.fingerprint)
        return header + struct.pack("<I", zlib.crc32(header + body)) + body

    def decode(self, data: bytes) -> ndarray:
        """The numbers k (n, d) as they were given to `encode`.

        Raises ValueError for bytes that are truncated, too long, changed or of something else, or
        that were written with another coder.
        """
        if len(data) < PREAMBLE or data[:4] != MARK:
            raise Damaged(f"{len(data)} bytes that begin with {data[:4]!r}: what GridCoder.encode "
                          f"writes begins with {MARK!r} and has {PREAMBLE} bytes or more")
        _, n, length, fingerprint = HEADER.unpack_from(data)
        body = data[PREAMBLE:]
        if len(body) != length:
            raise Damaged(f"{len(data)} bytes where the header promises {PREAMBLE + length}: "
                          + ("truncated" if len(body) < length else "something follows the codes"))
        if struct.pack("<I", zlib.crc32(data[:HEADER.size] + body)) != data[HEADER.size:PREAMBLE]:
            raise Damaged(f"the checksum of {len(data)} bytes is wrong: they were changed")
        if fingerprint != self.fingerprint:
            raise Damaged("these codes were written with another step or other tables: decode them "
                          "with the coder that they were encoded with")
        return unpack(body, n, self.frequencies) + self.low

    def _index(self, k: ndarray) -> ndarray:
        k = np.asarray(k)
        if k.ndim != 2 or k.shape[1] != len(self.low) or k.dtype.kind != "i":
            raise ValueError(f"GridCoder: numbers of shape {k.shape} and dtype {k.dtype}; whole "
                             f"ones (n, {len(self.low)}), as of `quantise`, are expected")
        if ((k < self.low) | (k > self.high)).any():
            raise ValueError("GridCoder: numbers outside of the grid; `quantise` gives those that "
                             "are in it")
        return k - self.low


class Compressed(NamedTuple):
    """What a coder made of n images: bits an image, ideal and as written, and the error."""

    bits: float
    ideal_bits: float
    mean_squared_error: float
    psnr: float


def compress(model: Any, coder: GridCoder, x: ndarray) -> bytes:
    """Images x (n, n_x) as bytes: the model's `codes`, on the coder's grid."""
    return coder.encode(coder.quantise(codes(model, x)))


def decompress(model: Any, coder: GridCoder, data: bytes) -> ndarray:
    """The images E[x|z] (n, n_x), within [0, 1], at the codes that `compress` has written."""
    return np.clip(decoded(model, coder.dequantise(coder.decode(data))), 0, 1)


def measure(model: Any, coder: GridCoder, x: ndarray) -> Compressed:
    """Images x (n, n_x) there and back: bytes that were really written, and the error made."""
    k = coder.quantise(codes(model, x))
    data = coder.encode(k)
    error = float(np.square(x - decompress(model, coder, data), dtype=np.float64).mean())
    ideal = float(coder.bits(k).mean())
    return Compressed(8 * len(data) / len(x), ideal, error, decibels(error))


def ideal_rate(model: VAE, x: ndarray, *, seed: int = 0, batch_size: int = 500) -> Compressed:
    """The rate E KL(q(z|x)‖p(z))/ln 2 in bits an image, and the error at z ~ q(z|x).

    What a draw of q costs him who may spend many images at a time: the difference of the -log₂ p(z)
    bits that it is written with and the -log₂ q(z|x) bits of freedom in its choice (Hinton and van
    Camp 1993).  Bits-back coding gets these back from a decoder who knows x, which is to say for
    -ELBO/ln 2 bits without loss (Townsend et al. 2019); where x is lost, coding of samples with
    common randomness comes close, at KL + log₂(KL + 1) + O(1) bits one at a time (Li and El Gamal
    2018; Theis and Yosri 2022).  No bytes are written here.
    """
    check_data(x)
    model, rng = frozen(model), np.random.default_rng(seed)
    rate, squares = 0.0, 0.0
    for i in range(0, len(x), batch_size):
        part = x[i:i + batch_size]
        q = model.posterior(part)
        rate += float(kl(q, model.prior).sum(dtype=np.float64))
        again = np.clip(decoded(model, q.sample(rng=rng)), 0, 1)
        squares += float(np.square(part - again, dtype=np.float64).sum())
    bits, error = rate / len(x) / math.log(2), squares / x.size
    return Compressed(bits, bits, error, decibels(error))


def decibels(mean_squared_error: float) -> float:
    """PSNR, -10 log₁₀ of the mean squared error of values in [0, 1], in dB; infinite for none.

    Of the error of all images together, not a mean of decibels: errors add up, as bits do.
    """
    return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf


def _finite(z: ndarray) -> ndarray:
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or 0 in z.shape or not np.isfinite(z).all():
        raise ValueError(f"codes of shape {z.shape}: finite numbers (n, d) are expected")
    return z


def _grid(lowest: ndarray, highest: ndarray, step: float) -> tuple[ndarray, ndarray]:
    """The whole numbers nearest to lowest/step and highest/step, (d,) each."""
    if not 0 < step < math.inf:
        raise ValueError(f"step={step}: the width of a level is positive and finite")
    levels = float(((highest - lowest) / step).max()) + 1
    if not levels < LEVELS:
        raise ValueError(f"step={step} makes {levels:.0f} levels of one dimension, at most "
                         f"{LEVELS} can be coded: take {(highest - lowest).max() / LEVELS:.2g} or "
                         "more")
    return np.rint(lowest / step).astype(np.int64), np.rint(highest / step).astype(np.int64)


def _whole(p: ndarray) -> ndarray:
    """Probabilities (levels,) as frequencies of 2¹⁶ in all, each 1 or more."""
    frequencies = 1 + np.floor(p * (TOTAL - len(p))).astype(np.int64)
    frequencies[np.argmax(frequencies)] += TOTAL - frequencies.sum()
    return frequencies
