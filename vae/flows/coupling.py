"""Affine coupling: some dimensions are kept, and say how the others are scaled and moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from numpy.typing import DTypeLike

from minigrad.nn import Dense, Sequential, zeros
from vae.flows.base import Flow, bounded, dimensions

MOST = 5.0  # of |log scale|


class Coupling(Flow):
    """z' = m z + (1 - m)(z exp s(m z) + t(m z)), with a mask m of zeros and ones.

        log |det| = Σ (1 - m) s(m z)

    Dinh et al. (2017), "Density estimation using Real NVP", equations 6 to 9.  s and t come from
    one network with tanh; s lies within ±5.  It begins as the identity.
    mask: (n,) booleans, True where z is kept; by default every other one, the first among them.
    """

    def __init__(self, n: int, *, rng: Generator, hidden: Sequence[int] = (32,),
                 mask: Any = None, dtype: DTypeLike = np.float32):
        self.n = dimensions("Coupling", n, least=2)
        kept = np.arange(n) % 2 == 0 if mask is None else np.asarray(mask)
        if kept.shape != (n,) or kept.dtype != bool or kept.all() or not kept.any():
            raise ValueError(f"Coupling({n}) with mask={mask!r}: it is {n} booleans, True where z "
                             "is kept, and neither all nor none")
        self.kept, self.moved = kept.astype(dtype), (~kept).astype(dtype)
        layers: list[Any] = []
        width = n
        for size in hidden:
            layers += [Dense(width, size, rng=rng, dtype=dtype), np.tanh]
            width = size
        self.network = Sequential(*layers, Dense(width, 2 * n, rng=rng, weight=zeros, dtype=dtype))

    def forward(self, z: Any) -> tuple[Any, Any]:
        """z' (…, n), and log |det ∂z'/∂z| (…) in nats."""
        log_scale, shift = self._by(z)
        return z * np.exp(log_scale) + shift, log_scale.sum(-1)

    def inverse(self, z: Any) -> Any:
        """(z' - t) exp(-s) where z was moved: what was kept says s and t."""
        log_scale, shift = self._by(z)
        return (z - shift) * np.exp(-log_scale)

    def _by(self, z: Any) -> tuple[Any, Any]:
        """s and t, 0 where z is kept."""
        self._check(z)
        raw = self.network(z * self.kept)
        return self.moved * bounded(raw[..., :self.n], MOST), self.moved * raw[..., self.n:]


def couplings(n: int, depth: int, *, rng: Generator, hidden: Sequence[int] = (32,),
              dtype: DTypeLike = np.float32) -> list[Coupling]:
    """`depth` of them, that keep the even and the odd dimensions by turns."""
    if depth < 1:
        raise ValueError(f"couplings({n}, depth={depth}): at least one, and two to move all")
    even: ndarray = np.arange(dimensions("couplings", n, least=2)) % 2 == 0
    return [Coupling(n, rng=rng, hidden=hidden, mask=even ^ bool(i % 2), dtype=dtype)
            for i in range(depth)]
