"""Models, one file each."""

from vae.models.gaussian import VAE, dense_vae

__all__ = ["VAE", "dense_vae"]
