"""Denoising: x from x + N(0, σ²)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vae.distributions import Distribution, Normal, kl
from vae.models import VAE
from vae.objectives import Bound, draws_shape, mean_of_draws
from vae.uses.infer import Limits, Observation, check_images, check_width, restore

FAR = 8  # standard deviations: of 10¹² draws of noise less than one is farther out


class Noisy(Observation):
    """y = x + ε, ε ~ N(0, noise²) in each pixel.

        p(y|z) = N(E[x|z], Var[x|z] + noise²)

    exact where p(x|z) is Normal, and with its mean and variance where it isn't.  E[x|z, y] lies
    between E[x|z] and y, by how well each is known (Normal p(x|z)).
    """

    def __init__(self, y: ndarray, noise: float):
        self.y, self.noise = y, noise

    def log_prob(self, p: Distribution) -> Any:
        return Normal(p.mean, np.sqrt(p.variance + self.noise**2)).log_prob(self.y)

    def expected(self, p: Distribution) -> ndarray:
        gain = p.variance / (p.variance + self.noise**2)
        return p.mean + gain * (self.y - p.mean)


def denoise(model: VAE, y: ndarray, *, noise: float, rng: Generator, limits: Limits = (0.0, 1.0),
            **options: Any) -> ndarray:
    """E[x|y] for images y = x + N(0, noise²): (n, pixels) -> (n, pixels).

    noise: σ in the units of x.  limits: (black, white) of x; y may lie 8σ beyond.  The search for z
    begins at the encoder's q(z|y), y clipped to the limits; options are those of `infer`, and
    `draws`.  Raises ValueError for another shape, a σ that isn't positive, values out of range.
    """
    if not 0 < noise < math.inf:
        raise ValueError(f"denoise(noise={noise}): σ of the noise, a number above 0 in the units "
                         "of x; without noise there is nothing to do")
    check_images("denoise", y, limits, FAR * noise)
    check_width("denoise", model, y.shape[1])
    start = model.posterior(y if limits is None else np.clip(y, *limits)).constant()
    return restore(model, Noisy(y, noise), start, rng=rng, limits=limits, **options)


def denoising_elbo(model: VAE, x: Any, *, rng: Generator, noise: float, samples: int = 1) -> Bound:
    """E[log p(x|z)] - KL(q(z|y)‖p(z)), where the encoder sees y = x + N(0, noise²), drawn anew.

    Its mean over y is a lower bound of log p(x), that of the mixture ∫q(z|y) p(y|x) dy: Im et al.
    (2017), "Denoising criterion for variational auto-encoding framework", equation 7.  A model
    trained with it denoises by `model.reconstruct(y)`, in one pass, noise of this σ only.
    samples: draws of z for each y.
    """
    y = x + noise * rng.standard_normal(x.shape, x.dtype)
    q = model.posterior(y)
    log_p = model.likelihood(q.sample(draws_shape(samples), rng=rng)).log_prob(x)
    reconstruction, divergence = mean_of_draws(log_p, samples), kl(q, model.prior)
    return Bound(reconstruction - divergence, reconstruction, divergence)
