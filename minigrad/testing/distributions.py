"""Strategies for the parameters of distributions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy import ndarray

from minigrad.testing.arrays import Shape, arrays
from minigrad.testing.matrices import cholesky_factors

positive = partial(arrays, low=0.5, high=2)
logits = partial(arrays, low=-3, high=3)
temperature = st.floats(0.3, 1).map(float)
place_and_scale = {"location": arrays, "scale": positive}


def and_axis(of: Callable, n: int) -> Callable:
    """Of a shape, what `of` gives with one more axis of n."""
    return lambda shape: of((*shape, n))


PARAMETERS = {
    "Normal": {"mean": arrays, "std": positive},
    "MultivariateNormal": {
        "mean": arrays, "cholesky": lambda shape: cholesky_factors(shape[-1], shape[:-1])},
    "LowRankNormal": {"mean": arrays, "factor": and_axis(arrays, 2), "diagonal": positive},
    "Laplace": place_and_scale,
    "Logistic": place_and_scale,
    "LogNormal": place_and_scale,
    "StudentT": {"df": partial(arrays, low=2.5, high=10), **place_and_scale},
    "Exponential": {"rate": positive},
    "Uniform": {"low": partial(arrays, low=-2, high=0), "high": positive},
    "Gamma": {"concentration": positive, "rate": positive},
    "Beta": {"alpha": positive, "beta": positive},
    "Dirichlet": {"concentration": positive},
    "VonMises": {"location": arrays, "concentration": positive},
    "Bernoulli": {"logits": logits},
    "ContinuousBernoulli": {"logits": logits},
    "Categorical": {"logits": and_axis(logits, 4)},
    "OneHotCategorical": {"logits": logits},
    "Poisson": {"rate": positive},
    "DiscretizedLogistic": {"location": partial(arrays, low=0, high=255),
                            "scale": partial(arrays, low=1, high=20)},
    "RelaxedBernoulli": {"logits": logits, "temperature": lambda shape: temperature},
    "RelaxedOneHot": {"logits": logits, "temperature": lambda shape: temperature},
}
"""Distribution -> parameter -> function of the shape of a draw that gives a strategy."""


def parameters_of(name: str, shape: Shape) -> SearchStrategy[dict[str, ndarray]]:
    """Valid parameters of the distribution `name`, by name, for draws of this shape.

    `vae.Normal(**parameters)` for what `parameters_of("Normal", (2, 3))` draws: of moderate size,
    far from where a distribution ends.  Locations lie in [-2, 2], scales, rates and concentrations
    in [½, 2], logits in [-3, 3]; a Categorical has four classes, a LowRankNormal two factors.

    Raises ValueError for a name that is not in `PARAMETERS`; a Mixture is put together from others.
    """
    if name not in PARAMETERS:
        raise ValueError(f"parameters_of({name!r}): known are {', '.join(PARAMETERS)}")
    return st.fixed_dictionaries({parameter: of(shape)
                                  for parameter, of in PARAMETERS[name].items()})
