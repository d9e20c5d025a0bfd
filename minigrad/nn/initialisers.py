"""Initial weights: functions of (shape, fan_in, fan_out, *, rng).

`fan_in` and `fan_out` are the numbers of inputs and outputs that one output and one input see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

if TYPE_CHECKING:  # numpy.random takes longer to load than all of minigrad
    from numpy.random import Generator

Initialiser = Callable[..., ndarray]


def zeros(shape: tuple, fan_in: int, fan_out: int, *, rng: Generator) -> ndarray:
    """All 0."""
    return np.zeros(shape)


def glorot_uniform(shape: tuple, fan_in: int, fan_out: int, *, rng: Generator) -> ndarray:
    """U(±√(6/(fan_in + fan_out))), for tanh and linear layers (Glorot and Bengio 2010, eq. 16)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, shape)


def glorot_normal(shape: tuple, fan_in: int, fan_out: int, *, rng: Generator) -> ndarray:
    """N(0, 2/(fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12)."""
    return rng.normal(0, math.sqrt(2 / (fan_in + fan_out)), shape)


def he_uniform(shape: tuple, fan_in: int, fan_out: int, *, rng: Generator) -> ndarray:
    """U(±√(6/fan_in)), for relu (He et al. 2015, eq. 10)."""
    bound = math.sqrt(6 / fan_in)
    return rng.uniform(-bound, bound, shape)


def he_normal(shape: tuple, fan_in: int, fan_out: int, *, rng: Generator) -> ndarray:
    """N(0, 2/fan_in) (He et al. 2015, eq. 10)."""
    return rng.normal(0, math.sqrt(2 / fan_in), shape)


def fan_in_uniform(shape: tuple, fan_in: int, fan_out: int, *, rng: Generator) -> ndarray:
    """U(±1/√fan_in), what PyTorch's layers start from, weights and biases alike."""
    bound = 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape)


def normal(scale: float) -> Initialiser:
    """N(0, scale²), whatever the layer."""
    return lambda shape, fan_in, fan_out, *, rng: rng.normal(0, scale, shape)


def orthogonal(gain: float = 1.0) -> Initialiser:
    """Orthonormal columns, or rows where there are fewer rows, times `gain` (Saxe et al. 2014)."""
    def init(shape: tuple, fan_in: int, fan_out: int, *, rng: Generator) -> ndarray:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diagonal(r))  # without it QR's convention makes some Q more likely
        return gain * (q if rows >= columns else q.T).reshape(shape)
    return init
