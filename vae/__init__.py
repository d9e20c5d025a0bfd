"""vae: variational autoencoders on minigrad."""

from minigrad import noise
from vae import data
from vae.distributions import Bernoulli, Distribution, NoPath, Normal, StoppedGradient, kl
from vae.evaluation import evaluate, log_likelihood
from vae.models import VAE, conv_vae, dense_vae
from vae.objectives import Bound, elbo, importance_weighted, log_weights
from vae.training import History, fit

__all__ = [
    "VAE", "Bernoulli", "Bound", "Distribution", "History", "NoPath", "Normal", "StoppedGradient",
    "conv_vae", "data", "dense_vae", "elbo", "evaluate", "fit", "importance_weighted", "kl",
    "log_likelihood", "log_weights", "noise",
]  # fmt: skip
