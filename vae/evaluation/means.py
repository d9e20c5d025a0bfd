"""A mean over data or draws, and how far off it may be."""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

from vae.distributions import Estimate


def mean_and_error(each: ndarray) -> Estimate:
    """The mean over the first axis, and its standard error: infinite where there is only one."""
    mean, n = each.mean(axis=0, dtype=np.float64), len(each)
    spread = each.std(axis=0, ddof=1, dtype=np.float64) if n > 1 else np.full_like(mean, math.inf)
    return Estimate(mean, spread / math.sqrt(n))
