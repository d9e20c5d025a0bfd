"""The VAE with an auxiliary latent variable u of Maaløe et al. (2016)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from vae.distributions import Distribution, Mixture, Normal
from vae.models.gaussian import VAE
from vae.models.layered import Ancestral
from vae.networks import Beside, Head, ToBernoulli, ToNormal, dense, over_draws


class AuxiliaryVAE(VAE):
    """q(u, z|x) = q(u|x) q(z|u, x) and p(x, z, u) = p(z) p(x|z) r(u|x, z): z a code, u its helper.

        log p(x) ≥ E log p(x|z) + log p(z) + log r(u|x, z) - log q(u|x) - log q(z|u, x)

    Maaløe et al. (2016), equation 2.  p(x) is that of the model without u, whatever r is; u is
    there for q(z|x) = E_q(u|x) q(z|u, x), which may be anything a mixture may, with several modes.
    For the same q(z|x) this bound is *looser* than the ELBO, by E KL(q(u|x, z)‖r(u|x, z)).

    It is a VAE of codes [z, u], (…, n_z + n_u), for which each bound that draws the KL holds as it
    is: `vae.estimators.sgvb_a`, `iwae`, `dreg`, `vae.log_likelihood`.  For them p(z, u) is
    p(z) N(u; 0, I), and the likelihood p(x|z) r(u|x, z)/N(u; 0, I): N cancels in every bound, and
    u ~ N says nothing to `sample`.  Only of the parts that are told is `reconstruction` thereby
    E log p(x|z) + log r/N, and `kl` that of N; their difference, the bound, is as above.  A draw of
    p(x, z, u) takes u from r, after x.

    encoder: x -> q(u|x).  encoder_z: [u, x] -> q(z|u, x).  decoder: z -> p(x|z).  auxiliary: [x, z]
    -> r(u|x, z).  prior: p(z), as of `VAE`.  n_z, n_u: dimensions of z and u.
    """

    def __init__(self, encoder: Callable[[Any], Distribution],
                 encoder_z: Callable[[Any], Distribution],
                 decoder: Callable[[Any], Distribution],
                 auxiliary: Callable[[Any], Distribution],
                 prior: Distribution | Callable[[], Distribution], *, n_z: int, n_u: int):
        if n_z < 1 or n_u < 1:
            raise ValueError(f"AuxiliaryVAE(n_z={n_z}, n_u={n_u}): both have at least one number")
        self.encoder_z, self.auxiliary, self.n_z, self.n_u = encoder_z, auxiliary, n_z, n_u
        super().__init__(encoder, decoder, prior)

    @VAE.prior.getter  # one that is set is p(z), as of any VAE
    def prior(self) -> Ancestral:
        """p(z) N(u; 0, I), of codes [z, u]."""
        return Ancestral(super().prior, StandardNormal(self.n_u), self.n_u)

    def posterior(self, x: Any) -> Ancestral:
        """q(u, z|x), of codes [z, u]."""
        return Ancestral(self.encoder(x), Beside(self.encoder_z, x), self.n_z, reverse=True)

    def likelihood(self, z: Any) -> AuxiliaryLikelihood:  # type: ignore[override]
        """p(x|z) of codes [z, u], whose `log_prob` is log p(x|z) + log r(u|x, z)/N(u; 0, I)."""
        return AuxiliaryLikelihood(self.decoder(z[..., :self.n_z]), z, self)

    def posterior_given(self, x: Any, u: Any) -> Distribution:
        """q(z|u, x), for u (…, n, n_u) of x (n, …)."""
        return Beside(self.encoder_z, x)(u)

    def marginal_posterior(self, x: Any, *, samples: int, rng: Generator | None = None) -> Mixture:
        """q(z|x) = 1/M Σ q(z|u_m, x): a mixture of M = samples components for each of x (n, …).

        u_m: draws of q(u|x).  Without rng, for a single u with quantiles, those at (m - ½)/M: the
        midpoint rule, whose error falls as 1/M² where q(z|u, x) is smooth in u.  The log density
        of a mixture of draws is too low on average, by about its variance over 2M.
        """
        if samples < 1:
            raise ValueError(f"marginal_posterior(samples={samples}): at least one is needed")
        q = self.encoder(x)
        if rng is not None:
            u = q.sample((samples,), rng=rng)
        elif self.n_u == 1:
            p = (np.arange(samples, dtype=q.dtype) + 0.5) / samples
            u = q.icdf(np.broadcast_to(p[:, None, None], (samples, *q.shape)))
        else:
            raise TypeError(f"marginal_posterior: u has {self.n_u} dimensions; without rng, by "
                            "quantiles, it may have one. Give rng=np.random.default_rng(seed)")
        each = self.posterior_given(x[:, None], np.moveaxis(u, 0, 1))  # (n, M, n_z)
        return Mixture(np.zeros(samples, q.dtype), each)


class AuxiliaryLikelihood:
    """p(x|z), and what stands for it in bounds on log p(x) of codes [z, u]: see `AuxiliaryVAE`."""

    def __init__(self, p: Distribution, z: Any, model: AuxiliaryVAE):
        self.p, self.z, self.model = p, z, model

    def log_prob(self, x: Any) -> Any:
        """log p(x|z) + log r(u|x, z) - log N(u; 0, I) per datum, in nats."""
        n = self.model.n_z
        z, u = self.z[..., :n], self.z[..., n:]
        r = self.model.auxiliary(np.concatenate([over_draws(x, z), z], axis=-1))
        return self.p.log_prob(x) + r.log_prob(u) - StandardNormal(self.model.n_u)(z).log_prob(u)

    def __getattr__(self, name: str) -> Any:
        if name == "p":  # not there yet, while an object is being copied
            raise AttributeError(name)
        return getattr(self.p, name)


class StandardNormal:
    """z (…, n_z) -> N(0, I) of n numbers, the same for every z."""

    def __init__(self, n: int):
        self.n = n

    def __call__(self, z: Any) -> Normal:
        zero = np.zeros((*z.shape[:-1], self.n), z.dtype)
        return Normal(zero, np.ones_like(zero))


def auxiliary_vae(n_x: int = 784, hidden: Sequence[int] = (200,), n_z: int = 20, n_u: int = 20, *,
                  rng: Generator, activation: Callable = np.tanh,
                  weight: Initialiser = glorot_uniform, bias: Initialiser = zeros,
                  start: ndarray | None = None,
                  likelihood: Callable[..., Head] = ToBernoulli) -> AuxiliaryVAE:
    """`vae.dense_vae` with an auxiliary variable of n_u numbers; the same arguments.

    q(u|x), q(z|u, x) and r(u|x, z) are Gaussians with independent dimensions; their networks have
    layers of their own, each of `hidden`.  Train with `vae.estimators.sgvb_a` or `iwae`: the KL has
    no closed form.
    """
    if isinstance(hidden, int):
        raise TypeError(f"auxiliary_vae(hidden={hidden}): give the sizes of the layers, "
                        f"({hidden},)")
    network = {"activation": activation, "rng": rng, "weight": weight, "bias": bias}
    encoder = dense([n_x, *hidden, n_u], ToNormal, **network)
    encoder_z = dense([n_u + n_x, *hidden, n_z], ToNormal, **network)
    decoder = dense([n_z, *reversed(hidden), n_x], likelihood, **network)
    auxiliary = dense([n_x + n_z, *hidden, n_u], ToNormal, **network)
    if start is not None:
        decoder.layers[-1].start_at(start)
    return AuxiliaryVAE(encoder, encoder_z, decoder, auxiliary, Normal.standard(n_z), n_z=n_z,
                        n_u=n_u)
