"""Weights of the KL term, or its capacity, as pure functions of the step, 0, 1, 2, …

A schedule has no memory: looking at it, as validation does, doesn't move it, and a run that is
resumed needs to know its step only.  `constant` and `linear` are those of the learning rate.
"""

from __future__ import annotations

import math

from minigrad.optim import Schedule, constant, linear

__all__ = ["constant", "cyclical", "linear", "sigmoid"]


def sigmoid(middle: float, width: float, end: float = 1.0) -> Schedule:
    """end / (1 + exp(-(step - middle)/width)): Bowman et al. (2016), section 3.1."""
    if not width > 0:
        raise ValueError(f"sigmoid(width={width}): steps, more than 0")
    return lambda step: 0.5 * end * (1 + math.tanh(0.5 * (step - middle) / width))


def cyclical(period: int, rising: float = 0.5, end: float = 1.0) -> Schedule:
    """From 0 to `end` in the first share `rising` of each period, then `end`: Fu et al. (2019)."""
    if period < 1 or not 0 < rising <= 1:
        raise ValueError(f"cyclical(period={period}, rising={rising}): a period has at least one "
                         "step, and rises in a share of it above 0 and up to 1")
    return lambda step: end * min(step % period / (rising * period), 1.0)
