"""Estimators of the gradient of an expectation, and of bounds on log p(x).

Each function has `.source`, `.needs` (of q) and `.biased`; `EXPECTATIONS` and `BOUNDS` list them by
name.
"""

from vae.estimators.baselines import MovingAverage
from vae.estimators.bounds import (
    dreg,
    iwae,
    iwae_stl,
    score_elbo,
    sgvb_a,
    sticking_the_landing,
    vimco,
)
from vae.estimators.discrete import enumerated, gumbel_softmax, rebar, straight_through
from vae.estimators.expectation import measure_valued, pathwise, score
from vae.objectives import elbo

EXPECTATIONS = {f.__name__: f for f in (
    pathwise, score, measure_valued, enumerated, gumbel_softmax, straight_through, rebar)}
BOUNDS = {f.__name__: f for f in (
    elbo, sgvb_a, sticking_the_landing, score_elbo, iwae, iwae_stl, dreg, vimco)}

__all__ = [
    "BOUNDS", "EXPECTATIONS", "MovingAverage", "dreg", "enumerated", "gumbel_softmax", "iwae",
    "iwae_stl", "measure_valued", "pathwise", "rebar", "score", "score_elbo", "sgvb_a",
    "sticking_the_landing", "straight_through", "vimco",
]  # fmt: skip
