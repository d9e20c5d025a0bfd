"""What every exactly solvable model offers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from vae.distributions import Distribution, kl
from vae.models import VAE


class ExactModel(VAE, ABC):
    """A model p(x, z) = p(z) p(x|z) whose marginal p(x) and posterior p(z|x) are known.

    It has the interface of `vae.VAE`, so the objectives run on it: `posterior(x)` is p(z|x) itself,
    or q of the encoder that `with_encoder` has set.  Parameters are float64 arrays, or Tensors; all
    results are differentiable by them, and by the parameters of q.  Results are one number a datum,
    in nats; x is (n, …).
    """

    parameters: ClassVar[tuple[str, ...]]  # names of attributes
    families: ClassVar[tuple[type[Distribution], ...]]  # of q, with an ELBO in closed form
    encoder: Callable[[Any], Distribution] | None

    def at(self, *values: Any) -> Any:
        """The same model with these values for its `parameters`."""
        other = copy.copy(self)
        for name, value in zip(self.parameters, values, strict=True):
            setattr(other, name, value)
        return other

    def with_encoder(self, encoder: Callable[[Any], Distribution]) -> Any:
        """The same model with q(z|x) = encoder(x) in the place of its posterior."""
        other = copy.copy(self)
        other.encoder = encoder
        return other

    def posterior(self, x: Any) -> Distribution:
        """q(z|x) of the encoder, or without one p(z|x)."""
        return self.exact_posterior(x) if self.encoder is None else self.encoder(x)

    @abstractmethod
    def likelihood(self, z: Any) -> Distribution:
        """p(x|z)."""

    @abstractmethod
    def exact_posterior(self, x: Any) -> Distribution:
        """p(z|x)."""

    @abstractmethod
    def log_marginal(self, x: Any) -> Any:
        """log p(x), without use of the posterior: (n,)."""

    def elbo(self, q: Distribution, x: Any) -> Any:
        """E_q[log p(x, z) - log q(z)] in closed form: (n,).  q: one of `families`, for n data."""
        if type(q) not in self.families:
            known = ", ".join(family.__name__ for family in self.families)
            raise TypeError(f"{type(self).__name__}.elbo of a {type(q).__name__} has no closed "
                            f"form; it has one of {known}. For any q: vae.estimators.sgvb_a("
                            "model.with_encoder(lambda x: q), x, rng=rng)")
        batch = q.shape[:len(q.shape) - q.event_ndim]
        if np.ndim(x) == 0 or batch != (len(x),):
            raise ValueError(f"{type(self).__name__}.elbo: x has shape {np.shape(x)} and q has the "
                             f"batch {batch}; give n data, (n, …), and a q for each")
        return self._elbo(q, x)

    @abstractmethod
    def _elbo(self, q: Any, x: Any) -> Any:
        """`elbo` of a q that fits."""

    def gap(self, q: Distribution, x: Any) -> Any:
        """log p(x) - ELBO = KL(q(z)‖p(z|x)), by the closed form of `vae.kl`: (n,)."""
        return kl(q, self.exact_posterior(x))

    def log_joint(self, x: Any, z: Any) -> Any:
        """log p(x, z) for draws z, whose shape begins with any shape and then (n,)."""
        return self.likelihood(z).log_prob(x) + self.prior.log_prob(z)
