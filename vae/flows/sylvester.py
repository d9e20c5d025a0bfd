"""Sylvester flows: planar ones along several orthonormal directions at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import DTypeLike

from minigrad.tensor import Tensor
from vae.flows.base import LEAST, Flow, dimensions


class Sylvester(Flow):
    """z' = z + Q R tanh(R̃ Qᵀ z + b): Q (n, n) orthogonal, R and R̃ upper triangular.

        log |det| = Σ log(1 + Rᵢᵢ R̃ᵢᵢ (1 - tanh²(…)ᵢ))

    Van den Berg et al. (2018), theorem 1 and section 3.3: Q is a product of `reflections`
    Householder reflections.  The diagonals are tanh of raw numbers, times √(1 - 1e-4), so that
    Rᵢᵢ R̃ᵢᵢ > -1, and it is invertible; the inverse has no closed form.
    """

    def __init__(self, n: int, *, rng: Generator, reflections: int | None = None,
                 scale: float = 0.1, dtype: DTypeLike = np.float32):
        self.n = dimensions("Sylvester", n)
        count = dimensions("Sylvester(…, reflections)", n if reflections is None else reflections)
        self.vectors = Tensor(rng.standard_normal((count, n)).astype(dtype))
        self.right, self.left = (Tensor(rng.normal(0, scale, (n, n)).astype(dtype))
                                 for _ in range(2))
        self.b = Tensor(np.zeros(n, dtype))

    def forward(self, z: Any) -> tuple[Any, Any]:
        """z' (…, n), and log |det ∂z'/∂z| (…) in nats."""
        self._check(z)
        q, right, left = self._orthogonal(), _triangle(self.right), _triangle(self.left)
        a = z @ (q @ right.T) + self.b
        t = np.tanh(a)
        squared, slope = np.square(t), 1 + np.diagonal(right) * np.diagonal(left)
        # 1 + c (1 - tanh²) as a sum of positive numbers
        return z + t @ (q @ left).T, np.log(squared + slope * (1 - squared)).sum(-1)

    def _orthogonal(self) -> Any:
        q = np.eye(self.n, dtype=self.b.dtype)
        for i in range(self.vectors.shape[0]):
            v = self.vectors[i]
            v = v / np.linalg.norm(v)
            q = q - 2 * (q @ v)[:, None] * v
        return q


def _triangle(raw: Any) -> Any:
    """What is above the diagonal as it is, the diagonal within ±√(1 - LEAST)."""
    one = np.eye(raw.shape[-1], dtype=raw.dtype)
    return np.triu(raw, 1) + one * math.sqrt(1 - LEAST) * np.tanh(raw)
