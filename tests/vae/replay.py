"""Draws with the noise fixed, for tests that differentiate them."""

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
