"""Gaussian likelihoods: σ given, or learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from minigrad.functions import sigmoid
from vae.distributions import Normal
from vae.distributions.base import require_positive
from vae.likelihoods.spread import LearnedSpread, OnePer
from vae.networks import Head, logit_of

# One step of 8-bit grey values.  The density of a pixel is then at most 255/√2π ≈ 102: below the
# 255 of a value that is known to the step, so that no pixel counts as known better than it is.
FLOOR = 1 / 255
Link = Literal["identity", "logit"]


def mean_of(raw: Any, link: Link) -> Any:
    """raw, or sigmoid(raw) between 0 and 1."""
    return sigmoid(raw) if link == "logit" else raw


def linked(mean: ndarray, link: Link) -> ndarray:
    """The raw numbers that `mean_of` takes to this mean; of a logit within ±7."""
    return logit_of(mean) if link == "logit" else np.asarray(mean)


def check_link(link: str) -> Link:
    """The link; raises ValueError for an unknown one."""
    if link not in ("identity", "logit"):
        raise ValueError(f"link={link!r}: \"identity\", the mean is any number, or \"logit\", it "
                         "is a sigmoid's, between 0 and 1")
    return link  # type: ignore[return-value]


class ToGaussian(Head):
    """h (…, n_in) -> N(mean, σ²) of n_out dimensions: the mean linear in h, σ given.

    std: σ, a number or one for each dimension (n_out,), in the units of x.
    link: "identity", or "logit": the mean is the sigmoid of what is linear in h.
    Raises ValueError for a σ that is not positive and finite.
    """

    def __init__(self, n_in: int, n_out: int, *, std: float | ndarray, link: Link = "identity",
                 **init: Any):
        self.std = np.asarray(std, np.float64)
        require_positive("ToGaussian", std=self.std)
        if self.std.shape not in ((), (n_out,)):
            raise ValueError(f"ToGaussian: std of shape {self.std.shape}, one number or "
                             f"{(n_out,)} are expected")
        self.link = check_link(link)
        super().__init__(n_in, n_out, **init)

    def distribution(self, raw: Any) -> Normal:
        return Normal(mean_of(raw, self.link), self.std.astype(raw.dtype))

    def raw_at(self, mean: ndarray) -> ndarray:
        return linked(mean, self.link)


class ToLearnedGaussian(LearnedSpread):
    """h (…, n_in) -> N(mean, σ²) of n_out dimensions, with σ² = floor² + exp(raw) learned.

    one_per: one σ in all ("model"), for each dimension ("pixel"), or for each dimension and datum
    ("datum", linear in h as the mean is: Kingma and Welling 2014, appendix C.2).
    std: where σ begins; floor: below which it is never; both in the units of x.  A dimension that
    is predicted exactly would without a floor have a likelihood without bound.
    link: as of ToGaussian.  Raises ValueError unless 0 < floor < std.
    """

    def __init__(self, n_in: int, n_out: int, *, one_per: OnePer = "model", std: float = 1.0,
                 floor: float = FLOOR, link: Link = "identity", **init: Any):
        self.link = check_link(link)
        super().__init__(n_in, n_out, one_per=one_per, spread=std, floor=floor, **init)

    def distribution(self, raw: Any) -> Normal:
        raw, log_std = self.split(raw)
        return Normal.from_log_std(mean_of(raw, self.link), log_std)

    def raw_at(self, mean: ndarray) -> ndarray:
        return self.beside(linked(mean, self.link))


def from_mse_weight(c: float, *, link: Link = "identity") -> partial[ToGaussian]:
    """The head of which c·‖x - mean‖² is the negative log likelihood: σ² = 1/(2c).

        c·‖x - mean‖² = -log N(x; mean, 1/(2c)) - n_out/2 · log(π/c)        (nats)

    c: the weight of the squared error that is *summed* over the dimensions, beside a KL of weight
    1.  Raises ValueError unless it is positive and finite.
    """
    if not 0 < c < math.inf:
        raise ValueError(f"from_mse_weight({c}): the weight of the squared error is positive and "
                         "finite")
    return partial(ToGaussian, std=math.sqrt(1 / (2 * c)), link=link)


def mse_weights(n_x: int = 784, weights: Sequence[tuple[str, float]] | None = None) -> str:
    """A table (Markdown) of losses c·‖x - mean‖² + KL and the σ² = 1/(2c) that they stand for."""
    weights = weights or [
        (f"squared error, mean over {n_x} numbers", 1 / n_x), ("half of the sum", 0.5),
        ("sum", 1.0), ("10 · sum", 10.0), ("50 · sum", 50.0), ("½·255² · sum", 255**2 / 2)]
    rows = ["| reconstruction loss, beside KL | c | σ² = 1/(2c) | σ | β at σ₀ = 0.1 |",
            "|---|---|---|---|---|"]
    for name, c in weights:
        var = 1 / (2 * c)
        rows.append(f"| {name} | {c:.4g} | {var:.4g} | {math.sqrt(var):.4g} | {var / 0.01:.4g} |")
    return "\n".join(rows)
