"""Models, one file each."""

from vae.models.autoencoder import (
    Autoencoder,
    dense_autoencoder,
    linear_autoencoder,
    reconstruction_only,
    squared_error,
)
from vae.models.auxiliary import AuxiliaryVAE, auxiliary_vae
from vae.models.codebook import Codebook, MovingCodebook
from vae.models.conditional import ConditionalVAE, conditional_vae
from vae.models.gaussian import VAE, conv_vae, dense_vae
from vae.models.layered import Ancestral, layered_vae
from vae.models.masked import MaskedCodes, code_likelihood
from vae.models.pca import PCA, fit_pca
from vae.models.vq import (
    VQVAE,
    CountedCodes,
    UniformCodes,
    conv_vqvae,
    dense_vqvae,
    moving_objective,
    vq_objective,
)
from vae.models.wake_sleep import reweighted_wake_sleep, wake_sleep

__all__ = [
    "PCA", "VAE", "VQVAE", "Ancestral", "Autoencoder", "AuxiliaryVAE", "Codebook",
    "ConditionalVAE", "CountedCodes", "MaskedCodes", "MovingCodebook", "UniformCodes",
    "auxiliary_vae", "code_likelihood", "conditional_vae", "conv_vae", "conv_vqvae",
    "dense_autoencoder", "dense_vae", "dense_vqvae", "fit_pca", "layered_vae",
    "linear_autoencoder", "moving_objective", "reconstruction_only", "reweighted_wake_sleep",
    "squared_error", "vq_objective", "wake_sleep",
]  # fmt: skip
