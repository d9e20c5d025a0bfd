"""The discretised logistic likelihood of 8-bit grey values, given as k/255."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.functions import sigmoid
from minigrad.tensor import untraced
from vae.distributions import DiscretizedLogistic, Distribution
from vae.distributions.support import Support
from vae.likelihoods.spread import LearnedSpread, OnePer

LEVELS = 255
NEAR = 1e-3  # of a step: float32 keeps k/255 to 2e-5
BLOCK = 4096  # elements whose 256 probabilities are in memory at a time


@dataclass(frozen=True)
class Grey(Support):
    """0, 1/255, …, 1, as far as floating point knows them."""

    def excludes(self, x: ndarray) -> Any:
        steps = LEVELS * x
        return ~((np.abs(steps - np.rint(steps)) <= NEAR) & (x > -0.5 / LEVELS)
                 & (x < 1 + 0.5 / LEVELS))

    def __str__(self) -> str:
        return f"k/{LEVELS} for k = 0 to {LEVELS}"


class GreyLogistic(Distribution):
    """`DiscretizedLogistic` of the grey values 0, 1/255, …, 1: a probability of each, no density.

        P(x) = σ((x + ½·step - location)/scale) - σ((x - ½·step - location)/scale),  step = 1/255

    where σ(∞) stands at x = 1 and σ(-∞) at x = 0; Salimans et al. (2017), equation 2.  location and
    scale in the units of x.  log P ≤ 0 in nats, summed over the event; no gradient goes to x.
    """

    parameters = ("levels",)
    support = Grey()

    def __init__(self, location: Any, scale: Any, *, event_ndim: int | None = None):
        self.levels = DiscretizedLogistic(LEVELS * location, LEVELS * scale,
                                          event_ndim=event_ndim)
        self.shape, self.event_ndim = self.levels.shape, self.levels.event_ndim

    def log_prob(self, x: Any) -> Any:
        """log P(x) per event, in nats; raises ValueError for x that is no multiple of 1/255."""
        x = np.asarray(untraced(x), self.dtype)
        if np.any(outside := self.support.excludes(x)):
            first = np.argwhere(outside)[0].tolist()
            value = x[tuple(first)]
            raise ValueError(
                f"GreyLogistic.log_prob: {int(np.sum(outside))} of {x.size} values are no 8-bit "
                f"grey values k/{LEVELS}, the first {value:.6g} at {first}, which is "
                f"{LEVELS * value:.6g}/{LEVELS}: divide pixels of 0 … {LEVELS} by {LEVELS}, and "
                "neither dequantise nor standardise them; for other data take a Gaussian")
        return self.levels.log_prob(np.rint(LEVELS * x))

    def _sample(self, shape: tuple[int, ...], rng: Generator) -> ndarray:
        return self.levels.sample(shape, rng=rng, stopped=True) / LEVELS

    @property
    def mean(self) -> Any:
        """Σ P(X > k/255)/255 over k, term by term: 256 times the memory it does not take."""
        location, scale = self.levels.location, self.levels.scale
        total: Any = 0
        for k in range(LEVELS):
            total = total + sigmoid((location - (k + 0.5)) / scale)
        return total / LEVELS

    @property
    def variance(self) -> Any:
        if next(self.traced(), None) is not None:
            return self.levels.variance / LEVELS**2
        location, scale = (np.broadcast_to(a, self.shape).ravel()
                           for a in (self.levels.location, self.levels.scale))
        parts = [DiscretizedLogistic(location[i:i + BLOCK], scale[i:i + BLOCK]).variance
                 for i in range(0, math.prod(self.shape), BLOCK)]
        return (np.concatenate([np.empty(0, self.dtype), *parts]) / LEVELS**2).reshape(self.shape)

    def entropy(self) -> Any:
        """-Σ P log P over all values, in nats."""
        return self.levels.entropy()

    def cdf(self, x: Any) -> Any:
        """P(X ≤ x) of each element; constant between grey values."""
        return self.levels.cdf(LEVELS * np.asarray(untraced(x), self.dtype) + NEAR)

    def icdf(self, p: Any) -> ndarray:
        """The least grey value with cdf ≥ p, of each element."""
        return self.levels.icdf(p) / LEVELS


class ToDiscretizedLogistic(LearnedSpread):
    """h (…, n_in) -> GreyLogistic of n_out dimensions: the location linear in h, scale learned.

    The data are grey values k/255.  scale² = floor² + exp(raw), in the units of x.
    one_per: one scale in all ("model"), for each pixel ("pixel"), or for each pixel and datum
    ("datum").  scale: where it begins.  Raises ValueError unless 0 < floor < scale.
    """

    def __init__(self, n_in: int, n_out: int, *, one_per: OnePer = "pixel", scale: float = 0.1,
                 floor: float = 0.1 / LEVELS, **init: Any):
        super().__init__(n_in, n_out, one_per=one_per, spread=scale, floor=floor, **init)

    def distribution(self, raw: Any) -> GreyLogistic:
        location, log_scale = self.split(raw)
        return GreyLogistic(location, np.exp(log_scale))

    def raw_at(self, mean: ndarray) -> ndarray:
        return self.beside(np.asarray(mean))
