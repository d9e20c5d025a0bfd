"""Draws with the noise fixed, for tests that differentiate them, and the weights of draws."""

from __future__ import annotations

from minigrad import noise


def replayed(make, args, rng, n=3):
    """Draws of make(*args), with the noise of this call, as a function of the parameters."""
    with noise.record() as eps:
        make(*args).sample((n,), rng=rng)

    def f(*args):
        with noise.replay(eps):
            return make(*args).sample((n,), rng=rng)
    return f


def log_weights(model, x, *, rng, samples):
    """log p(x, z)/q(z|x) for draws z of q(z|x): (samples, n)."""
    q = model.posterior(x)
    z = q.sample((samples,), rng=rng)
    return model.likelihood(z).log_prob(x) + model.prior.log_prob(z) - q.log_prob(z)
