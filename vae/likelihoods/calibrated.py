"""The Gaussian with the closed-form optimal σ of Rybkin, Daniilidis and Levine (2021).

For given means the σ that makes data most likely is their root mean squared error.  In training it
is that of the batch; a likelihood it becomes when it is set once, from the training data.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy import ndarray

from minigrad.nn import Sequential, frozen
from vae.data.checks import check_data
from vae.distributions import Distribution, Normal
from vae.distributions.support import REAL
from vae.likelihoods.gaussian import FLOOR, Link, check_link, linked, mean_of
from vae.networks import Head

if TYPE_CHECKING:
    from vae.models import VAE


class NotCalibrated(RuntimeError):
    """A density, a spread or a draw was asked for before σ was set."""


class MeanOnly(Distribution):
    """A Gaussian of which σ is not known: it has a mean, all else raises NotCalibrated."""

    parameters = ("mean",)
    support = REAL

    def __init__(self, mean: Any):
        self.mean, self.shape, self.event_ndim = mean, mean.shape, 1

    def _unknown(self, *args: Any, **options: Any) -> NoReturn:
        raise NotCalibrated(
            "σ of this Gaussian likelihood is not set. Train with objective="
            "batch_calibrated(vae.elbo), then set σ once from the training data: "
            "calibrate(model, x_train), both of vae.likelihoods. A σ fitted to the data that are "
            "scored would give no likelihood")

    log_prob = entropy = cdf = icdf = _sample = _unknown
    std = variance = property(_unknown)


class BatchGaussian(MeanOnly):
    """N(mean, σ²) with the σ that makes x, all of it together, most likely: for training alone.

        σ² = max(floor², mean of (x - mean)² over all elements)

    log_prob of a datum depends on the others, and is no likelihood of it.
    """

    def __init__(self, mean: Any, floor: float):
        super().__init__(mean)
        self.floor = floor

    def log_prob(self, x: Any) -> Any:
        """log N(x; mean, σ²) per event, in nats, with σ found from x."""
        var = np.maximum(np.mean(np.square(x - self.mean)), self.floor**2)
        return Normal(self.mean, np.sqrt(var)).log_prob(x)


class ToCalibratedGaussian(Head):
    """h (…, n_in) -> N(mean, σ²) of n_out dimensions with one σ, which `calibrate` sets.

    Before that the result has a mean, and raises NotCalibrated for all else: it is trained with
    `batch_calibrated`, and is an ordinary Gaussian with a fixed σ afterwards.  floor: the least σ,
    in the units of x.  link: as of ToGaussian.
    """

    buffers = ("std",)  # saved and loaded with the parameters; NaN while it is not set

    def __init__(self, n_in: int, n_out: int, *, floor: float = FLOOR, link: Link = "identity",
                 **init: Any):
        if not 0 < floor < math.inf:
            raise ValueError(f"ToCalibratedGaussian(floor={floor}): the least σ is positive and "
                             "finite")
        self.floor, self.link, self.of_batch = floor, check_link(link), False
        self.std = np.full((), np.nan, init.get("dtype", np.float32))
        super().__init__(n_in, n_out, **init)

    def distribution(self, raw: Any) -> Distribution:
        mean = mean_of(raw, self.link)
        if self.of_batch:
            return BatchGaussian(mean, self.floor)
        if np.isnan(self.std):
            return MeanOnly(mean)
        return Normal(mean, self.std.astype(raw.dtype))

    def raw_at(self, mean: ndarray) -> ndarray:
        return linked(mean, self.link)


def batch_calibrated(objective: Callable) -> Callable:
    """The objective with, in each call, the σ that is optimal for the batch.

        vae.fit(model, x, objective=batch_calibrated(vae.elbo), …)

    Its value is above that with the true σ by about ½ nat a batch: an objective for training, no
    bound of data that are scored.  The model is left as it is.  Raises TypeError for a model whose
    decoder ends in another head.
    """
    @wraps(objective)
    def of_batch(model: VAE, x: Any, **options: Any) -> Any:
        head = copy.copy(_head(model.decoder))
        head.of_batch = True
        batchwise = copy.copy(model)
        batchwise.decoder = _ending_in(model.decoder, head)
        return objective(batchwise, x, **options)
    return of_batch


def calibrate(model: VAE, x: ndarray, *, seed: int = 0, batch_size: int = 500) -> float:
    """Set σ of a ToCalibratedGaussian from the training data x (n, …), and return it.

        σ² = max(floor², mean of (x - E[x|z])²),  z drawn from q(z|x), one for each datum

    which maximises the ELBO on x by σ, all else held.  Draws are from a generator of their own.
    After more training calibrate anew.  Raises TypeError for a model with another head, and as
    `fit` does for data that are no floats, none at all, or not finite.
    """
    check_data(x)
    head, rng, total = _head(model.decoder), np.random.default_rng(seed), 0.0
    fixed = frozen(model)
    for i in range(0, len(x), batch_size):
        batch = x[i:i + batch_size]
        mean = fixed.likelihood(fixed.posterior(batch).sample(rng=rng)).mean
        total += float(np.sum(np.square(batch - mean, dtype=np.float64)))
    head.std[...] = max(math.sqrt(total / x.size), head.floor)
    return float(head.std)


def _head(decoder: Any) -> ToCalibratedGaussian:
    last = decoder
    while isinstance(last, Sequential):
        last = last.layers[-1]
    if not isinstance(last, ToCalibratedGaussian):
        raise TypeError(f"the decoder ends in {type(last).__name__}: σ is found in closed form for "
                        "a ToCalibratedGaussian, as by dense_vae(…, likelihood="
                        "ToCalibratedGaussian)")
    return last


def _ending_in(decoder: Any, head: ToCalibratedGaussian) -> Any:
    """The decoder with this head in place of its last layer."""
    if not isinstance(decoder, Sequential):
        return head
    return Sequential(*decoder.layers[:-1], _ending_in(decoder.layers[-1], head))
