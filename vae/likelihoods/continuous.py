"""The continuous Bernoulli likelihood: grey values from 0 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from vae.distributions import ContinuousBernoulli
from vae.networks import Head


class ToContinuousBernoulli(Head):
    """h (…, n_in) -> ContinuousBernoulli of n_out dimensions: the logits are linear in h.

    Loaiza-Ganem and Cunningham (2019).  log p(x) is a density over [0, 1], -∞ outside of it.
    """

    def distribution(self, raw: Any) -> ContinuousBernoulli:
        return ContinuousBernoulli(raw)

    def raw_at(self, mean: ndarray) -> ndarray:
        return logit_with_mean(mean)


def logit_with_mean(mean: Any) -> ndarray:
    """The logits of a continuous Bernoulli with this mean, brought within [1/255, 254/255].

    A mean m < ½ has its logit between -1/m and 0, where the mean grows: by bisection.
    """
    mean = np.clip(np.asarray(mean, np.float64), 1 / 255, 254 / 255)
    near = np.minimum(mean, 1 - mean)
    low, high = -1 / near, np.zeros_like(near)
    for _ in range(60):
        middle = (low + high) / 2
        above = ContinuousBernoulli(middle, event_ndim=0).mean > near
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(mean > 0.5, -high, high)
