"""Wake-sleep, which the VAE was first compared with: Hinton, Dayan, Frey and Neal (1995)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator

from minigrad.functions import logsumexp, softmax
from minigrad.tensor import untraced
from vae.distributions import Distribution
from vae.models.gaussian import VAE

if TYPE_CHECKING:
    from vae.objectives import Bound, Weighted


def wake(model: VAE, x: Any, *, rng: Generator) -> Bound:
    """log p(x, z) - log q(z|x) with z ~ q(z|x) and q held: the ELBO, for p's parameters alone.

    Their gradient is that of the ELBO; the encoder's is exactly 0.
    """
    from vae.objectives import Bound  # which itself imports models
    q = model.posterior(x).constant()
    z = q.sample(rng=rng)
    reconstruction = model.likelihood(z).log_prob(x)
    divergence = q.log_prob(z) - model.prior.log_prob(z)
    return Bound(reconstruction - divergence, reconstruction, divergence)


def sleep(model: VAE, n: int, *, rng: Generator) -> Any:
    """log q(z|x) of n pairs drawn from the model, z ~ p(z), x ~ p(x|z): (n,), in nats.

    p is held.  Its mean is largest where q(z|x) is the p(z|x) of the model's own x: it minimises
    E_p(x) KL(p(z|x)‖q(z|x)), in the other direction than the ELBO does.  Raises TypeError where
    p(x|z) is no distribution of x alone: of a label, or with an auxiliary variable.
    """
    z = model.prior.constant().sample((n,), rng=rng)
    p = model.likelihood(z)
    if not isinstance(p, Distribution):
        raise TypeError(f"sleep draws pairs (z, x), but the likelihood of a {type(model).__name__} "
                        "is no distribution of x given z alone: train q by a bound instead")
    x = p.constant().sample(rng=rng)
    return model.posterior(x).log_prob(z)


def wake_sleep(model: VAE, x: Any, *, rng: Generator) -> Weighted:
    """Maximises `wake` by p's parameters and `sleep` by q's, in one step; the value is the ELBO.

    As many pairs are dreamt as there are data.  The two have no parameter in common, unless p and q
    share one, so with an optimiser such as Adam, which scales each parameter by itself, one step is
    a step of both.  There is no bound that their sum would be: the ELBO may fall.  q needs a
    log density alone, no path; x of the model's own must be what the encoder takes.
    Hinton et al. (1995); the comparison of Kingma and Welling (2014), figure 2.
    """
    from vae.objectives import Weighted
    bound = wake(model, x, rng=rng)
    return Weighted(bound.value + sleep(model, len(x), rng=rng), *bound)


def reweighted_wake_sleep(model: VAE, x: Any, *, rng: Generator, samples: int = 5) -> Weighted:
    """Maximises Σ w̃_k (log p(x, z_k) + log q(z_k|x)), w̃ the normalised p(x, z_k)/q(z_k|x), held.

    Bornschein and Bengio (2015), equations 4 and 6: both updates in the wake phase, with weights
    that bring the K = samples draws of q nearer to p(z|x); nothing is dreamt.  The decoder's
    gradient is that of `vae.estimators.iwae`, whose bound is the value.  For K = 1 the encoder's is
    noise of mean 0: raises ValueError for fewer than 2.
    """
    from vae.objectives import Weighted
    if samples < 2:
        raise ValueError(f"reweighted_wake_sleep(samples={samples}): the draws are weighted "
                         "against each other, so there must be 2 or more")
    q = model.posterior(x)
    z = q.constant().sample((samples,), rng=rng)
    likelihood, log_p, log_q = (model.likelihood(z).log_prob(x), model.prior.log_prob(z),
                                q.log_prob(z))
    log_w = untraced(likelihood) + untraced(log_p) - untraced(log_q)
    objective = (softmax(log_w, axis=0) * (likelihood + log_p + log_q)).sum(0)
    value = logsumexp(log_w, axis=0) - np.log(samples)
    return Weighted(objective, value.astype(log_w.dtype), likelihood.mean(0),
                    (log_q - log_p).mean(0))
