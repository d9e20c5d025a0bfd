"""Codebooks: vectors that stand for all encodings near them (van den Oord et al. 2017)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.functions import stop_gradient
from minigrad.tensor import Tensor, untraced
from vae.distributions import straight_through

BLOCK = 2**18  # distances held at a time, where a row of them isn't longer


class Quantised(NamedTuple):
    """Encodings with the nearest vectors in their places.

    z: (n, …, dimensions), the vectors' values with the gradient of the encodings.
    codes: (n, …), the vectors' numbers.
    codebook_loss, commitment: (n,), ‖sg(z_e) - e‖² and ‖z_e - sg(e)‖² of equation 3, equal in
    value, in squared units of z, *summed* over dimensions and positions.
    """

    z: Any
    codes: ndarray
    codebook_loss: Any
    commitment: Any


class Usage(NamedTuple):
    """How often each code was taken: counts (n_codes,)."""

    counts: ndarray

    @property
    def used(self) -> int:
        """How many codes were taken at all."""
        return int(np.count_nonzero(self.counts))

    @property
    def perplexity(self) -> float:
        """exp of the entropy of the frequencies: from 1, one code for all, to n_codes.

        It depends on how many codes were counted: of one batch it is lower than of an epoch.
        """
        p = self.counts[self.counts > 0] / self.counts.sum()
        return float(np.exp(-(p * np.log(p)).sum()))


class AnyCodebook(ABC):
    """Abstract.  `vectors` (n_codes, dimensions) begin uniform with variance 1/dimensions, so that
    their squared norms are about 1; `start_at` puts them among encodings, as fewer are unused then.

    averaged: whether the vectors follow the encodings without a gradient.
    """

    averaged: bool
    vectors: Any

    def __init__(self, n_codes: int, dimensions: int):
        if n_codes < 1 or dimensions < 1:
            raise ValueError(f"{type(self).__name__}({n_codes}, {dimensions}): at least one code, "
                             "of at least one dimension")
        self.n_codes, self.dimensions = n_codes, dimensions

    def _first(self, rng: Generator) -> ndarray:
        unit = 2 * noise.uniform(rng, (self.n_codes, self.dimensions), np.float32) - 1
        return unit * np.float32(math.sqrt(3 / self.dimensions))

    def codes(self, z: Any) -> ndarray:
        """The number of the vector nearest to each encoding, z (…, dimensions) -> (…)."""
        z = untraced(z)
        self._check_encodings(z)
        rows = nearest(z.reshape(-1, self.dimensions), untraced(self.vectors))
        return rows.reshape(z.shape[:-1])

    def lookup(self, codes: ndarray) -> Any:
        """The vectors of these numbers, (…) -> (…, dimensions)."""
        check_codes(codes, self.n_codes)
        return self.vectors[codes]

    def quantise(self, z: Any) -> Quantised:
        """The nearest vectors to encodings z (n, …, dimensions), and what they are away.

        Straight through: ∂/∂z_e is ∂/∂z_q, that of the vectors' values (section 3.2); the vectors
        themselves get none of it.  Raises ValueError for other dimensions and for z not finite.
        """
        codes = self.codes(z)
        chosen = self.vectors[codes]
        value = untraced(chosen)
        axes = tuple(range(1, z.ndim))
        passed = straight_through(value, z) if isinstance(z, Tensor) else value
        return Quantised(passed, codes, np.square(stop_gradient(z) - chosen).sum(axes),
                         np.square(z - value).sum(axes))

    def usage(self, codes: ndarray) -> Usage:
        """How often each code is among these; give those of an epoch, not of a batch."""
        check_codes(codes, self.n_codes)
        return Usage(np.bincount(np.ravel(codes), minlength=self.n_codes))

    def start_at(self, z: Any, *, rng: Generator) -> None:
        """Put all vectors at encodings, drawn without replacement from z (…, dimensions).

        Raises ValueError for fewer encodings than codes.
        """
        self._move(np.arange(self.n_codes), self._draw(z, self.n_codes, rng))

    def revive(self, z: Any, *, rng: Generator, least: int = 1) -> ndarray:
        """Put vectors that fewer than `least` of the encodings z are nearest to at drawn ones.

        The numbers of those that were moved.  z (…, dimensions) should be that of many data: what
        a small batch doesn't take is not dead.  An optimiser's moments stay as they were.  Raises
        ValueError for fewer encodings than codes.
        """
        drawn = self._draw(z, self.n_codes, rng)
        dead = np.flatnonzero(self.usage(self.codes(z)).counts < least)
        self._move(dead, drawn[:len(dead)])
        return dead

    def _draw(self, z: Any, n: int, rng: Generator) -> ndarray:
        z = untraced(z)
        self._check_encodings(z)
        rows = z.reshape(-1, self.dimensions)
        if len(rows) < n:
            raise ValueError(f"a codebook of {n} codes is larger than the {len(rows)} encodings "
                             "given to start it from: give more data, or take fewer codes")
        return rows[np.argsort(noise.uniform(rng, (len(rows),), np.float64), kind="stable")[:n]]

    @abstractmethod
    def _move(self, codes: ndarray, vectors: ndarray) -> None:
        """Put these codes there."""

    def _check_encodings(self, z: ndarray) -> None:
        if z.shape[-1:] != (self.dimensions,):
            raise ValueError(f"encodings of shape {z.shape}: the last axis must be that of the "
                             f"{self.dimensions} dimensions of the codebook's vectors")
        if not np.isfinite(z).all():
            raise ValueError("encodings must be finite: an infinite one, or NaN, is near no vector")


class Codebook(AnyCodebook):
    """Vectors that the codebook loss moves: vectors = rate·weight, the parameter `weight`.

    The step of Adam and its like is about the learning rate, however large the gradient, and the
    encodings, which all weights of the encoder move, run away from vectors that keep no pace: so
    these move `rate` times as fast as other parameters (by SGD rate² times).  A power of two rounds
    nothing.
    """

    averaged = False

    def __init__(self, n_codes: int, dimensions: int, *, rng: Generator, rate: float = 32.0):
        super().__init__(n_codes, dimensions)
        if not 0 < rate < math.inf:
            raise ValueError(f"Codebook(rate={rate}): a number above 0")
        self.rate = float(rate)
        self.weight = Tensor(self._first(rng) / np.float32(rate))

    @property
    def vectors(self) -> Any:
        """(n_codes, dimensions)."""
        return self.rate * self.weight

    def _move(self, codes: ndarray, vectors: ndarray) -> None:
        untraced(self.weight)[codes] = vectors / self.rate


class MovingCodebook(AnyCodebook):
    """Vectors that are moving averages of the encodings they were nearest to; not a parameter.

        N_i ← γN_i + (1 - γ)n_i,  m_i ← γm_i + (1 - γ)Σ_j z_ij,  e_i = m_i/N_i

    van den Oord et al. (2017), appendix A.1, γ = `decay`.  N and m are in float64, and begin as
    1 and e.  All three are buffers, which nothing but `update`, `start_at` and `revive` moves.
    """

    averaged = True
    buffers = ("vectors", "counts", "sums")

    def __init__(self, n_codes: int, dimensions: int, *, rng: Generator, decay: float = 0.99):
        if not 0 <= decay < 1:
            raise ValueError(f"MovingCodebook(decay={decay}): at least 0 and below 1")
        super().__init__(n_codes, dimensions)
        self.decay = decay
        self.vectors = self._first(rng)
        self.counts = np.ones(n_codes)
        self.sums = self.vectors.astype(np.float64)

    def _move(self, codes: ndarray, vectors: ndarray) -> None:
        self.vectors[codes] = self.sums[codes] = vectors
        self.counts[codes] = 1

    def update(self, z: Any, codes: ndarray) -> None:
        """One step of the averages, with encodings z (…, dimensions) and the codes they got."""
        z = untraced(z)
        self._check_encodings(z)
        taken = self.usage(codes).counts
        if codes.shape != z.shape[:-1]:
            raise ValueError(f"codes of shape {codes.shape} for encodings of shape {z.shape}: one "
                             "code for each encoding is expected")
        flat, rows = codes.ravel(), z.reshape(-1, self.dimensions)
        sums = [np.bincount(flat, column, minlength=self.n_codes) for column in rows.T]
        self.counts += (1 - self.decay) * (taken - self.counts)
        self.sums += (1 - self.decay) * (np.stack(sums, axis=1) - self.sums)
        moved = taken > 0  # of the others both shrink alike, in the end to 0/0
        self.vectors[moved] = self.sums[moved] / self.counts[moved, None]


def nearest(z: ndarray, vectors: ndarray) -> ndarray:
    """The index of the nearest of the vectors (k, d) to each row of z (n, d); of equals the first.

    ‖z - e‖² = ‖z‖² - 2 z·e + ‖e‖², all z·e by one matrix product a block of rows, ‖z‖² left out as
    it is the same for all e.  Both are taken from the vectors' mean, lest a common offset leave no
    digits.  Where rounding could decide, the differences themselves do, in float64.
    """
    centre = vectors.mean(axis=0, dtype=np.float64).astype(vectors.dtype)
    e = vectors - centre
    squares = np.einsum("kd,kd->k", e, e)
    dtype = np.result_type(z, e)
    unit = 4 * (e.shape[1] + 4) * np.finfo(dtype).eps
    found = np.empty(len(z), np.int64)
    step = max(1, BLOCK // len(vectors))
    for start in range(0, len(z), step):
        rows = z[start:start + step]
        centred = rows - centre
        scores = centred @ (-2 * e.T)
        scores += squares
        lengths = np.sqrt(np.einsum("nd,nd->n", centred, centred))
        error = unit * (lengths * math.sqrt(squares.max()) + squares.max())  # of any score, or more
        best = scores.argmin(axis=1)
        bound = np.take_along_axis(scores, best[:, None], axis=1) + error[:, None]
        close = scores <= bound
        unsure = np.flatnonzero(np.count_nonzero(close, axis=1) > 1)
        best[unsure] = _decided(rows[unsure], vectors, close[unsure])
        found[start:start + step] = best
    return found


def _decided(z: ndarray, vectors: ndarray, close: ndarray) -> ndarray:
    """For each row the first of the nearest among the vectors that are `close` (rows, k)."""
    distances = np.full(close.shape, np.inf)
    step = max(1, BLOCK // z.shape[1])
    row, code = np.nonzero(close)
    for start in range(0, len(row), step):
        r, k = row[start:start + step], code[start:start + step]
        away = z[r].astype(np.float64) - vectors[k]
        distances[r, k] = np.square(away).sum(axis=1)
    return distances.argmin(axis=1)


def check_codes(codes: Any, n_codes: int) -> None:
    """Raise TypeError or ValueError unless they are an array of whole numbers below n_codes."""
    if not isinstance(codes, ndarray) or codes.dtype.kind not in "iu":
        raise TypeError(f"codes as {getattr(codes, 'dtype', type(codes).__name__)}: an array of "
                        "whole numbers is expected")
    if codes.size and not 0 <= codes.min() <= codes.max() < n_codes:
        raise ValueError(f"codes from {codes.min()} to {codes.max()}: those of this codebook are "
                         f"0 to {n_codes - 1}")


def check_positions(codes: Any, shape: tuple[int, ...], n_codes: int) -> int:
    """The number of positions; raises unless these are codes (n, *shape)."""
    check_codes(codes, n_codes)
    if codes.ndim != len(shape) + 1 or codes.shape[1:] != shape:
        raise ValueError(f"codes of shape {codes.shape} for a prior over {shape} positions a "
                         f"datum: {('n', *shape)} is expected")
    return math.prod(shape)
