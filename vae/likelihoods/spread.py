"""What heads with a learned spread share."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from minigrad.functions import softplus
from minigrad.tensor import Tensor
from vae.networks import Head

OnePer = Literal["model", "pixel", "datum"]


class LearnedSpread(Head):
    """Abstract.  A head whose raw numbers are a location, and perhaps the log of a squared spread.

        spread² = floor² + exp(raw)

    as of two noises that add up: never below the floor, with a slope everywhere.
    one_per: "model", one number in all; "pixel", one for each of the n_out; "datum", one for each
    of these and each datum, linear in h as the location is.  spread: where it begins.
    """

    def __init__(self, n_in: int, n_out: int, *, one_per: OnePer, spread: float, floor: float,
                 **init: Any):
        if one_per not in ("model", "pixel", "datum"):
            raise ValueError(f"one_per={one_per!r}: a spread for the whole \"model\", for each "
                             "\"pixel\", or for each pixel of each \"datum\"")
        if not 0 < floor < spread < math.inf:
            raise ValueError(f"a spread that begins at {spread} and has a floor of {floor}: "
                             "0 < floor < spread < ∞ is needed")
        self.floor, self.parts = floor, 2 if one_per == "datum" else 1
        super().__init__(n_in, n_out, **init)
        self.begins = math.log(spread**2 - floor**2)
        self.raw_spread = None if one_per == "datum" else Tensor(np.zeros(
            n_out if one_per == "pixel" else 1, init.get("dtype", np.float32)))

    def split(self, raw: Any) -> tuple[Any, Any]:
        """The raw location and log spread."""
        spread = self.raw_spread
        if spread is None:
            n = raw.shape[-1] // 2
            raw, spread = raw[..., :n], raw[..., n:]
        low = 2 * math.log(self.floor)  # softplus: log(floor² + e^r) without the overflow
        return raw, 0.5 * (low + softplus(spread + (self.begins - low)))

    def beside(self, location: ndarray) -> ndarray:
        """The raw numbers of this raw location and the spread that there is at the beginning."""
        return np.concatenate([location] + [np.zeros_like(location)] * (self.parts - 1))
