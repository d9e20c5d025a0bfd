"""Super-resolution: x from the means of its blocks."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vae.distributions import Distribution, Normal
from vae.models import VAE
from vae.uses.infer import Limits, Observation, check_images, check_width, restore

ROUNDING = 1 / 255  # a step of 8-bit grey values
LEAST = 1e-20  # of a variance, which a Bernoulli that is certain of its pixels has not


class BlockMeans(Observation):
    """y_b = the mean of x over block b, of f·f pixels, + ε, ε ~ N(0, noise²).

        p(y_b|z) = N(mean of E[x_i|z],  Σ Var[x_i|z]/f⁴ + noise²),  i in b

    exact where p(x|z) is Normal and a product over the pixels.  Each pixel of E[x|z, y] is moved
    from E[x|z] by its share of the variance, so that the block has (up to the noise) the mean y_b.
    """

    def __init__(self, y: ndarray, factor: int, size: tuple[int, int], noise: float):
        self.y, self.factor, self.size, self.noise = y, factor, size, noise

    def log_prob(self, p: Distribution) -> Any:
        return Normal(shrink(p.mean, self.factor, self.size), np.sqrt(self._variance(p))
                      ).log_prob(self.y)

    def expected(self, p: Distribution) -> ndarray:
        step = (self.y - shrink(p.mean, self.factor, self.size)) / self._variance(p)
        share = p.variance / self.factor**2
        return p.mean + share * repeat(step, self.factor, self.size)

    def _variance(self, p: Distribution) -> Any:
        variance = np.broadcast_to(p.variance, p.shape)
        of_blocks = shrink(variance, self.factor, self.size) / self.factor**2 + self.noise**2
        return np.maximum(of_blocks, LEAST)


def enlarge(model: VAE, small: ndarray, factor: int, size: tuple[int, int], *, rng: Generator,
            noise: float = ROUNDING, limits: Limits = (0.0, 1.0), **options: Any) -> ndarray:
    """E[x|small] (n, height·width) for the block means small (n, height·width/factor²).

    size: (height, width) of x.  noise: the standard deviation of what the small images are off by,
    at least that of their rounding; 0 is allowed.  The search for z begins at the encoder's q(z|x)
    for each pixel repeated; options are those of `infer`, and `draws`.  limits: (black, white).

    Raises ValueError for a factor that doesn't divide the size, images of another size or out of
    the limits, and a noise below 0.
    """
    factor = _dividing("enlarge", factor, size)
    if not 0 <= noise < math.inf:
        raise ValueError(f"enlarge(noise={noise}): a standard deviation of 0 or more, in the units "
                         "of x")
    check_images("enlarge", small, limits)
    height, width = size
    if small.shape[1] != height * width // factor**2:
        raise ValueError(f"enlarge: small images of {small.shape[1]} pixels, but a {height} x "
                         f"{width} image has {height // factor} x {width // factor} blocks of "
                         f"{factor} x {factor}")
    check_width("enlarge", model, height * width)
    start = model.posterior(repeat(small, factor, size)).constant()
    return restore(model, BlockMeans(small, factor, size, noise), start, rng=rng, limits=limits,
                   **options)


def shrink(x: Any, factor: int, size: tuple[int, int]) -> Any:
    """Means of blocks of factor·factor: (…, height·width) -> (…, height·width/factor²).

    size: (height, width).  Raises ValueError for a factor that doesn't divide it.
    """
    factor = _dividing("shrink", factor, size)
    height, width = size
    blocks = (*x.shape[:-1], height // factor, factor, width // factor, factor)
    means = np.reshape(x, blocks).mean((-3, -1))
    return np.reshape(means, (*x.shape[:-1], height * width // factor**2))


def repeat(y: ndarray, factor: int, size: tuple[int, int]) -> ndarray:
    """Each number of y in all pixels of its block: (…, height·width/factor²) -> (…, height·width).

    As an enlargement it is that by the nearest neighbour.
    """
    factor = _dividing("repeat", factor, size)
    height, width = size
    small = np.reshape(y, (*y.shape[:-1], height // factor, width // factor))
    large = np.repeat(np.repeat(small, factor, axis=-1), factor, axis=-2)
    return np.reshape(large, (*y.shape[:-1], height * width))


def _dividing(who: str, factor: int, size: tuple[int, int]) -> int:
    """The factor, which divides height and width; raises TypeError or ValueError."""
    height, width = size
    try:
        factor = operator.index(factor)
    except TypeError:
        raise TypeError(f"{who}: factor={factor!r}, a whole number is expected") from None
    if factor < 1 or height % factor or width % factor:
        fitting = [k for k in range(2, min(size) + 1) if height % k == width % k == 0]
        raise ValueError(f"{who}: {factor} doesn't divide {height} x {width}; "
                         f"{', '.join(map(str, fitting)) or 'no factor above 1'} would")
    return factor
