"""Strategies for matrices with a structure, and points of the simplex."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy import ndarray

from minigrad.testing.arrays import Shape, arrays


def spd(n: int, batch: Shape = (), *, condition: float = 10) -> SearchStrategy[ndarray]:
    """Symmetric positive definite matrices, (*batch, n, n), with eigenvalues in [1, condition].

        A = I + (condition - 1)/n² B Bᵀ,    |bᵢⱼ| ≤ 1,

    exactly symmetric.  Shrinks to the identity.  Raises ValueError for a condition below 1.
    """
    if not condition >= 1:
        raise ValueError(f"spd: condition={condition}: no condition number is below 1")

    def definite(b: ndarray) -> ndarray:  # ‖B Bᵀ‖ ≤ Σ bᵢⱼ² ≤ n²
        return np.eye(n) + (condition - 1) / max(n, 1) ** 2 * (b @ np.swapaxes(b, -1, -2))

    return arrays((*batch, n, n), low=-1, high=1).map(definite)


@st.composite
def cholesky_factors(draw: Any, n: int, batch: Shape = ()) -> ndarray:
    """Lower triangular matrices, (*batch, n, n), with a diagonal in [½, 2], the rest in [-1, 1].

    Shrinks to the identity.
    """
    below = draw(arrays((*batch, n, n), low=-1, high=1))
    diagonal = draw(arrays((*batch, n), low=0.5, high=2))
    return np.tril(below, -1) + diagonal[..., None] * np.eye(n)


def simplex(n: int, batch: Shape = ()) -> SearchStrategy[ndarray]:
    """Points (*batch, n), with pᵢ ≥ 1/4n and Σ pᵢ = 1 along the last axis.

    Shrinks to the middle, pᵢ = 1/n.  Raises ValueError for n = 0, where no sum is 1.
    """
    if n < 1:
        raise ValueError(f"simplex(n={n}): a sum of one takes at least one number")
    return arrays((*batch, n), low=0.5, high=2).map(lambda w: w / w.sum(-1, keepdims=True))
