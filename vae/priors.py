"""Priors that are learned: callables without arguments, asked anew in each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.functions import sigmoid
from minigrad.tensor import Tensor
from vae.distributions import Distribution, Mixture, Normal
from vae.models import VAE
from vae.networks import logit_of


class MixturePrior:
    """() -> Σₖ softmax(logits)ₖ N(z; meanₖ, diag stdₖ²), K = components, all of it learned.

        log p(z) = log Σₖ exp(log softmax(logits)ₖ + log N(z; meanₖ, stdₖ))        (nats)

    The means begin as draws of N(0, spread²), with std √(1 - spread²) and equal weights: near
    N(0, I), though no two components are the same.  There is no closed form of the KL to it, so
    train by `vae.estimators.sgvb_a` or another bound that draws it.  A draw has no path to the
    weights: draw from `mg.nn.frozen(model)`.  Raises ValueError for sizes below 1, and for a spread
    that isn't between 0 and 1.
    """

    def __init__(self, n_z: int, components: int, *, rng: Generator, spread: float = 0.5):
        require_sizes("MixturePrior", n_z=n_z, components=components)
        if not 0 < spread < 1:
            raise ValueError(f"MixturePrior(spread={spread}): between 0 and 1 is expected, the std "
                             "of the means at the start")
        means = spread * rng.standard_normal((components, n_z), np.float32)
        log_std = np.full((components, n_z), 0.5 * np.log1p(-spread ** 2), np.float32)
        self.logits, self.mean, self.log_std = (
            Tensor(a) for a in (np.zeros(components, np.float32), means, log_std))

    def __call__(self) -> Mixture:
        return Mixture(self.logits, Normal.from_log_std(self.mean, self.log_std))


class VampPrior:
    """() -> 1/K Σₖ q(z|uₖ): the mean of the posteriors of K learned pseudo-inputs uₖ (n_x,).

    Tomczak and Welling (2018).  encoder: x -> q(z|x), that of the model itself, or the
    model.  Both then hold the same parameters, which `mg.nn.parameters(model)` gives once:

        model = vae.dense_vae(784, (300,), 40, rng=rng)
        model.prior = VampPrior(model, 784, 500, rng=rng, start=x)

    within: the range of x: u = low + (high - low)·sigmoid(raw); None: u may be any numbers.
    start: data (n, n_x) with n ≥ K, of which K different rows are drawn; what lies at an end of the
    range begins a thousandth of it inside.  None: raw begins as draws of N(0, 1).
    Train by `vae.estimators.sgvb_a`: the KL has no closed form.  Each step encodes K rows more, and
    so does each block of an evaluation; to encode them once, evaluate

        fixed = mg.nn.frozen(model)
        fixed.prior = fixed.prior

    Raises ValueError for sizes below 1, an empty range, and a start that doesn't fit; TypeError
    where the encoder gives no distribution.
    """

    def __init__(self, encoder: VAE | Callable[[Any], Distribution], n_x: int, components: int, *,
                 rng: Generator, start: ndarray | None = None,
                 within: tuple[float, float] | None = (0.0, 1.0)):
        require_sizes("VampPrior", n_x=n_x, components=components)
        if within is not None and not within[0] < within[1]:
            raise ValueError(f"VampPrior(within={within}): the lowest and the highest value of x "
                             "are expected, or None")
        self.encoder = encoder.encoder if isinstance(encoder, VAE) else encoder
        self.within = within
        self.raw = Tensor(rng.standard_normal((components, n_x), np.float32) if start is None
                          else self._raw_at(_rows(start, n_x, components, rng)))
        q = self.encoder(self.pseudo_inputs())
        if not isinstance(q, Distribution):
            raise TypeError(f"VampPrior: the encoder gave a {type(q).__name__}; a distribution "
                            "q(z|x) is expected, or a vae.VAE whose encoder gives one")

    def __call__(self) -> Mixture:
        q = self.encoder(self.pseudo_inputs())
        return Mixture(np.zeros(len(self.raw), q.dtype), q)

    def pseudo_inputs(self) -> Any:
        """The uₖ: (K, n_x), within the range of x."""
        if self.within is None:
            return self.raw
        low, high = self.within
        return low + (high - low) * sigmoid(self.raw)

    def _raw_at(self, rows: ndarray) -> ndarray:
        if self.within is None:
            return rows
        low, high = self.within
        if not ((rows >= low) & (rows <= high)).all():
            raise ValueError(f"VampPrior: the start has values from {rows.min():.6g} to "
                             f"{rows.max():.6g}, outside of within={self.within}; give the range "
                             "of x, or within=None")
        return logit_of((rows - low) / (high - low)).astype(np.float32)


def _rows(start: Any, n_x: int, components: int, rng: Generator) -> ndarray:
    """`components` different rows of the data, as float32."""
    if np.ndim(start) != 2 or start.shape[1] != n_x or len(start) < components:
        raise ValueError(f"VampPrior: start has shape {np.shape(start)}; data (n, {n_x}) are "
                         f"expected, with n at least components={components}")
    rows = np.asarray(start[rng.choice(len(start), components, replace=False)], np.float32)
    if not np.isfinite(rows).all():
        raise ValueError("VampPrior: the start has values that are NaN or infinite")
    return rows


def require_sizes(who: str, **sizes: int) -> None:
    """Raise ValueError for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{who}({name}={size}): at least 1 is expected")
