"""Strategies for the parameters of distributions."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy import ndarray

from minigrad.testing.arrays import Shape, arrays

PARAMETERS = {
    "Normal": {"mean": arrays, "std": partial(arrays, low=0.5, high=2)},
    "Bernoulli": {"logits": partial(arrays, low=-3, high=3)},
}
"""Distribution -> parameter -> function of a shape that gives a strategy."""


def parameters_of(name: str, shape: Shape) -> SearchStrategy[dict[str, ndarray]]:
    """Valid parameters of the distribution `name`, by name, each of this shape.

    `vae.Normal(**parameters)` for what `parameters_of("Normal", (2, 3))` draws.  Means of a Normal
    lie in [-2, 2], its standard deviations in [½, 2], logits of a Bernoulli in [-3, 3].

    Raises ValueError for a name that is not in `PARAMETERS`.
    """
    if name not in PARAMETERS:
        raise ValueError(f"parameters_of({name!r}): known are {', '.join(PARAMETERS)}")
    return st.fixed_dictionaries({parameter: of(shape)
                                  for parameter, of in PARAMETERS[name].items()})
