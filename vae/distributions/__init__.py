"""Distributions: each density once."""

from vae.distributions.base import Distribution, NoPath, StoppedGradient
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.beta import Beta, Dirichlet
from vae.distributions.categorical import Categorical, OneHotCategorical
from vae.distributions.continuous_bernoulli import ContinuousBernoulli
from vae.distributions.discretized import DiscretizedLogistic
from vae.distributions.gamma import Gamma
from vae.distributions.kl import Estimate, kl, kl_by_dimension, kl_estimate, kl_upper_bound
from vae.distributions.location_scale import Exponential, Laplace, Logistic, LogNormal, Uniform
from vae.distributions.mixture import Mixture
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal
from vae.distributions.normal import Normal
from vae.distributions.poisson import Poisson
from vae.distributions.relaxed import RelaxedBernoulli, RelaxedOneHot, straight_through
from vae.distributions.student import StudentT
from vae.distributions.von_mises import VonMises

__all__ = [
    "Bernoulli", "Beta", "Categorical", "ContinuousBernoulli", "Dirichlet", "DiscretizedLogistic",
    "Distribution", "Estimate", "Exponential", "Gamma", "Laplace", "LogNormal", "Logistic",
    "LowRankNormal", "Mixture", "MultivariateNormal", "NoPath", "Normal", "OneHotCategorical",
    "Poisson", "RelaxedBernoulli", "RelaxedOneHot", "StoppedGradient", "StudentT", "Uniform",
    "VonMises", "kl", "kl_by_dimension", "kl_estimate", "kl_upper_bound",
    "straight_through",
]  # fmt: skip
