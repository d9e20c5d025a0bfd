"""Models, one file each."""

from vae.models.autoencoder import (
    Autoencoder,
    dense_autoencoder,
    linear_autoencoder,
    reconstruction_only,
    squared_error,
)
from vae.models.codebook import Codebook, MovingCodebook
from vae.models.conditional import ConditionalVAE, conditional_vae
from vae.models.gaussian import VAE, conv_vae, dense_vae
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

__all__ = [
    "PCA", "VAE", "VQVAE", "Autoencoder", "Codebook", "ConditionalVAE", "CountedCodes",
    "MovingCodebook", "UniformCodes", "conditional_vae", "conv_vae", "conv_vqvae",
    "dense_autoencoder", "dense_vae", "dense_vqvae", "fit_pca", "linear_autoencoder",
    "moving_objective", "reconstruction_only", "squared_error", "vq_objective",
]  # fmt: skip
