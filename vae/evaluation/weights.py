"""Sums of importance weights, by their logarithms: estimate, effective number, error."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy import ndarray

from vae.evaluation.means import mean_and_error

LEAST = 10  # effective draws below which the estimate of one datum is not believed
BIAS = 0.05  # nats by which the mean may be too low, unwarned: that of LEAST for every datum
ENOUGH = 100  # draws from which on the estimate is meant for log p(x), and not for a bound


class LowEffectiveSampleSize(UserWarning):
    """A few draws have all of the weight, for so many data that log p(x) is underestimated."""


class Weights:
    """log Σ w and log Σ w² over draws that come in blocks, for each of n data, in float64."""

    def __init__(self, n: int):
        self.samples = 0
        self.log_sum, self.log_squares = (np.full(n, -np.inf) for _ in range(2))

    def add(self, log_weights: ndarray) -> None:
        """A block of draws, (draws, n)."""
        new = log_weights.astype(np.float64)
        self.samples += len(new)
        self.log_sum = np.logaddexp(self.log_sum, np.logaddexp.reduce(new, axis=0))
        self.log_squares = np.logaddexp(self.log_squares, np.logaddexp.reduce(2 * new, axis=0))

    def log_mean(self) -> ndarray:
        """log 1/K Σ w: (n,)."""
        return self.log_sum - math.log(self.samples)

    def effective(self) -> ndarray:
        """(Σ w)²/Σ w², between 1 and K; 0 where all weights are 0: (n,)."""
        zero = np.isneginf(self.log_squares)
        return np.where(zero, 0, np.exp(2 * np.where(zero, 0, self.log_sum)
                                        - np.where(zero, 0, self.log_squares)))


def summary(log_p: ndarray, effective: ndarray, samples: int) -> dict[str, Any]:
    """Mean log p(x), its errors, and the effective numbers of draws; all that is reported.

    To first order log 1/K Σ w has the variance 1/ESS - 1/K, and is too low by half of that.
    """
    n = len(log_p)
    se = float(mean_and_error(log_p).standard_error) if np.isfinite(log_p).all() else math.inf
    found = {"log_likelihood": float(log_p.mean()), "log_likelihood_se": se}
    if samples > 1:
        variance = np.maximum(1 / np.maximum(effective, 1) - 1 / samples, 0)
        found |= {"log_likelihood_noise_se": float(math.sqrt(variance.sum()) / n),
                  "log_likelihood_bias": float(-variance.mean() / 2)}
    return {**found, "n": n, "ess_mean": float(effective.mean()),
            "ess_min": float(effective.min())}


def share_of_few(effective: ndarray) -> float:
    """The share of data with less than LEAST effective draws."""
    return float((effective < LEAST).mean())


def warn_of_bias(found: dict[str, Any], share: float, samples: int) -> None:
    """Warn where, of ENOUGH draws, so few have the weight that the mean is off by BIAS."""
    if samples >= ENOUGH and found["log_likelihood_bias"] < -BIAS:
        warnings.warn(
            f"log p(x) is underestimated, by {-found['log_likelihood_bias']:.2f} nats or more: the "
            f"effective sample size is below {LEAST} for {share:.0%} of {found['n']} data "
            f"(smallest {found['ess_min']:.1f}, mean {found['ess_mean']:.1f} of {samples} draws). "
            "Take more samples, or vae.annealed_log_likelihood; as a lower bound in expectation "
            "the number stands", LowEffectiveSampleSize, stacklevel=3)
