"""vae: variational autoencoders on minigrad."""

from vae import data, estimators, exact, lab, noise
from vae.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    Dirichlet,
    DiscretizedLogistic,
    Distribution,
    Estimate,
    Exponential,
    Gamma,
    Laplace,
    Logistic,
    LogNormal,
    LowRankNormal,
    Mixture,
    MultivariateNormal,
    NoPath,
    Normal,
    OneHotCategorical,
    Poisson,
    RelaxedBernoulli,
    RelaxedOneHot,
    StoppedGradient,
    StudentT,
    Uniform,
    VonMises,
    kl,
    kl_estimate,
    kl_upper_bound,
    straight_through,
)
from vae.evaluation import evaluate, log_likelihood
from vae.models import VAE, conv_vae, dense_vae
from vae.objectives import Bound, elbo, importance_weighted, log_weights
from vae.training import History, fit

__all__ = [
    "VAE", "Bernoulli", "Beta", "Bound", "Categorical", "ContinuousBernoulli", "Dirichlet",
    "DiscretizedLogistic", "Distribution", "Estimate", "Exponential", "Gamma", "History", "Laplace",
    "LogNormal", "Logistic", "LowRankNormal", "Mixture", "MultivariateNormal", "NoPath", "Normal",
    "OneHotCategorical", "Poisson", "RelaxedBernoulli", "RelaxedOneHot", "StoppedGradient",
    "StudentT", "Uniform", "VonMises", "conv_vae", "data", "dense_vae", "elbo", "estimators",
    "evaluate", "exact", "fit", "importance_weighted", "kl", "kl_estimate",
    "kl_upper_bound", "lab", "log_likelihood", "log_weights", "noise", "straight_through",
]  # fmt: skip
