"""Likelihoods p(x|z) for images and tables: heads that a decoder ends in.

A head is made as `head(n_in, n_out, **init)`; `functools.partial` sets its options:

    vae.dense_vae(784, likelihood=partial(ToLearnedGaussian, one_per="pixel"), rng=rng)
"""

from functools import partial

from vae.likelihoods.calibrated import (
    NotCalibrated,
    ToCalibratedGaussian,
    batch_calibrated,
    calibrate,
)
from vae.likelihoods.continuous import ToContinuousBernoulli
from vae.likelihoods.gaussian import (
    FLOOR,
    ToGaussian,
    ToLearnedGaussian,
    from_mse_weight,
    mse_weights,
)
from vae.likelihoods.grey import GreyLogistic, ToDiscretizedLogistic
from vae.networks import Head, ToBernoulli

_GREY = {"link": "logit"}  # means between 0 and 1
FOR_IMAGES = {
    "bernoulli": ToBernoulli,
    "continuous-bernoulli": ToContinuousBernoulli,
    "squared-error": from_mse_weight(1, **_GREY),
    "gaussian-fixed": partial(ToGaussian, std=0.1, **_GREY),
    "gaussian-model": partial(ToLearnedGaussian, one_per="model", std=0.3, **_GREY),
    "gaussian-pixel": partial(ToLearnedGaussian, one_per="pixel", std=0.3, **_GREY),
    "gaussian-datum": partial(ToLearnedGaussian, one_per="datum", std=0.3, **_GREY),
    "gaussian-optimal": partial(ToCalibratedGaussian, **_GREY),
    "discretized-logistic": partial(ToDiscretizedLogistic, one_per="pixel"),
}

__all__ = [
    "FLOOR", "FOR_IMAGES", "GreyLogistic", "Head", "NotCalibrated", "ToBernoulli",
    "ToCalibratedGaussian", "ToContinuousBernoulli", "ToDiscretizedLogistic", "ToGaussian",
    "ToLearnedGaussian", "batch_calibrated", "calibrate", "from_mse_weight", "mse_weights",
]  # fmt: skip
