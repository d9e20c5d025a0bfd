"""Models, one file each."""

from vae.models.gaussian import VAE, conv_vae, dense_vae

__all__ = ["VAE", "conv_vae", "dense_vae"]
