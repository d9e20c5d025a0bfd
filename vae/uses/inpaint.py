"""Inpainting: the missing pixels of x from those that are seen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import frozen
from vae.distributions import Distribution, Normal
from vae.models import VAE
from vae.uses.infer import Limits, Observation, check_images, check_width, restore


class Seen(Observation):
    """The pixels of x that are not missing: p(y|z) = Π p(x_i|z) over these alone.

    missing: (n, pixels), True where x is not known.
    """

    def __init__(self, x: ndarray, missing: ndarray):
        self.x, self.missing = x, missing

    def log_prob(self, p: Distribution) -> Any:
        return np.where(self.missing, 0, each_pixel(p, self.x)).sum(-1)

    def expected(self, p: Distribution) -> ndarray:
        return np.where(self.missing, p.mean, self.x)


def inpaint(model: VAE, x: ndarray, missing: ndarray, *, rng: Generator,
            limits: Limits = (0.0, 1.0), **options: Any) -> ndarray:
    """x (n, pixels) with E[x_missing|x_seen] in place of what is missing.

    missing: Boolean, (pixels,) for all images or (n, pixels), True where a pixel isn't known; what
    x has there, such as NaN, isn't looked at.  limits: (black, white).  The search for z begins at
    the prior; options are those of `infer`, and `draws`.  p(x|z) must be a product over the pixels.

    Raises TypeError for a mask that isn't Boolean and a p(x|z) that is no such product, ValueError
    for a mask of another shape, an image of which nothing is seen, and values out of the limits.
    """
    missing = each_mask("inpaint", x, missing)
    x = np.where(missing, x.dtype.type(0 if limits is None else limits[0]), x)
    check_images("inpaint", x, limits)
    check_width("inpaint", model, x.shape[1])
    prior = frozen(model).prior
    shape = (len(x), prior.shape[-1])
    start = Normal(np.broadcast_to(prior.mean, shape).astype(x.dtype),
                   np.sqrt(np.broadcast_to(prior.variance, shape)).astype(x.dtype))
    found = restore(model, Seen(x, missing), start, rng=rng, limits=limits, **options)
    return np.where(missing, found, x)  # a mean of many copies is rounded


def pseudo_gibbs(model: VAE, x: ndarray, missing: ndarray, *, rng: Generator,
                 limits: Limits = (0.0, 1.0)) -> Iterator[tuple[ndarray, ndarray]]:
    """A Markov chain without end: z ~ q(z|x), then x_missing ~ p(x_missing|z), for each image.

    x (n, pixels): what it has in missing pixels is where the chain begins, such as the mean of the
    training data.  Yields (x, E[x|z]) of each step, in both what is seen is as it was; draws are
    not clipped.  Where q(z|x) is the posterior this is Gibbs sampling, with p(x_missing, z|x_seen)
    for its limit; otherwise the limit is off, by as much as q is for images such as come by.
    Arguments and errors as of `inpaint`.
    Rezende, Mohamed and Wierstra (2014), section 6.5 and appendix F.
    """
    missing = each_mask("pseudo_gibbs", x, missing)
    check_images("pseudo_gibbs", x, limits)
    check_width("pseudo_gibbs", model, x.shape[1])
    model = frozen(model)
    each_pixel(model.likelihood(model.posterior(x[:1]).centre), x[:1])  # or what is seen is lost
    return _steps(model, x, missing, rng)


def inpaint_by_gibbs(model: VAE, x: ndarray, missing: ndarray, *, rng: Generator,
                     steps: int = 100, burn_in: int = 50, limits: Limits = (0.0, 1.0)) -> ndarray:
    """x with the mean of E[x_missing|z] over `steps` of `pseudo_gibbs`, after `burn_in` others."""
    if steps < 1 or burn_in < 0:
        raise ValueError(f"inpaint_by_gibbs(steps={steps}, burn_in={burn_in}): at least one step "
                         "is averaged, and no fewer than none are dropped")
    chain = pseudo_gibbs(model, x, missing, rng=rng, limits=limits)
    total: Any = 0
    for _ in range(burn_in):
        next(chain)
    for _ in range(steps):
        total = total + next(chain)[1]
    mean = total / steps if limits is None else np.clip(total / steps, *limits)
    return np.where(missing, mean, x)


def each_mask(who: str, x: ndarray, missing: ndarray) -> ndarray:
    """The mask of each image, (n, pixels); raises as `inpaint` says."""
    missing = np.asarray(missing)
    if missing.dtype != bool:
        raise TypeError(f"{who}: a mask of dtype {missing.dtype}, Boolean is expected, True where "
                        "a pixel is missing: mask.astype(bool)")
    if missing.shape not in (np.shape(x), np.shape(x)[1:]) or np.ndim(x) != 2:
        raise ValueError(f"{who}: a mask of shape {missing.shape} for images of shape "
                         f"{np.shape(x)}; images are rows (n, pixels), and a mask is "
                         f"{np.shape(x)[1:]} for all of them, or {np.shape(x)}")
    missing = np.broadcast_to(missing, np.shape(x))
    if len(empty := np.flatnonzero(missing.all(axis=1))):
        raise ValueError(f"{who}: nothing is seen of {len(empty)} of {len(x)} images, the first "
                         f"is {empty[0]}: without any pixel the model can only sample, by "
                         "model.sample(n, rng=rng)")
    return missing


def each_pixel(p: Distribution, x: Any) -> Any:
    """log p(x_i|z) of each pixel, (…, n, pixels); TypeError unless p is a product over pixels."""
    single = copy.copy(p)
    single.event_ndim = 0
    found = single.log_prob(x)
    if found.shape != p.shape:
        raise TypeError(f"inpainting needs a p(x|z) that is a product over the pixels, such as "
                        f"vae.Normal; this one is {p!r}")
    return found


def _steps(model: VAE, x: ndarray, missing: ndarray, rng: Generator
           ) -> Iterator[tuple[ndarray, ndarray]]:
    while True:
        p = model.likelihood(model.posterior(x).sample(rng=rng))
        mean = np.where(missing, p.mean, x)
        x = np.where(missing, p.sample(rng=rng), x)
        yield x, mean
