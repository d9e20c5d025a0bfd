"""Radial flows: each pulls towards a centre, or pushes away from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import DTypeLike

from minigrad.tensor import Tensor, untraced
from vae.flows.base import LEAST, Flow, dimensions, positive

ONE = math.log(math.expm1(1 - LEAST))  # positive(ONE) is 1


class Radial(Flow):
    """z' = z + β (z - c)/(α + r), r = ‖z - c‖, with α > 0 and β = s - α, s > 0.

        log |det| = (n - 1) log((r + s)/(r + α)) + log(1 + αβ/(r + α)²)

    Rezende and Mohamed (2015), section 4.1 and appendix A.2: β > -α makes it invertible.
    Parameters: the centre c (n,), and α and s as raw numbers, 1e-4 + softplus of which they are.
    s = α is the identity.
    """

    def __init__(self, n: int, *, rng: Generator, scale: float = 0.1,
                 dtype: DTypeLike = np.float32):
        self.n = dimensions("Radial", n)
        start = rng.normal(0, scale, n), rng.normal(ONE, scale), rng.normal(ONE, scale)
        self.centre, self.raw_alpha, self.raw_s = (
            Tensor(np.asarray(value, dtype)) for value in start)

    def forward(self, z: Any) -> tuple[Any, Any]:
        """z' (…, n), and log |det ∂z'/∂z| (…) in nats."""
        self._check(z)
        alpha, s = positive(self.raw_alpha), positive(self.raw_s)
        d = z - self.centre
        r = _length(d)
        across = (r + s) / (r + alpha)
        near = alpha / (r + alpha)
        # (r² + 2αr + sα)/(r + α)² in quotients, which neither cancel nor overflow
        along = r / (r + alpha) * (1 + near) + s / (r + alpha) * near
        return (self.centre + across[..., None] * d,
                (self.n - 1) * np.log(across) + np.log(along))

    def inverse(self, z: Any) -> Any:
        """z of z': r is the positive root of r² + (s - r') r - α r' = 0."""
        self._check(z)
        alpha, s = positive(self.raw_alpha), positive(self.raw_s)
        d = z - self.centre
        to = _length(d)
        unit = np.maximum(1, untraced(to))  # squares of what is far overflow
        root = unit * np.sqrt(np.square((to - s) / unit) + 4 * (alpha / unit) * (to / unit))
        apart = root + np.abs(to - s)  # the sum that does not cancel, on either side
        r = np.where(to > s, 0.5 * apart, 2 * alpha * to / apart)
        return self.centre + ((r + alpha) / (r + s))[..., None] * d


def _length(d: Any) -> Any:
    """‖d‖ of the last axis, also where squares overflow."""
    unit = np.maximum(1, np.abs(untraced(d)).max(-1))
    return unit * np.linalg.norm(d / unit[..., None], axis=-1)
