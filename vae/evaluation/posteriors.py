"""q(z|x) of many data as one table of parameters, in float64, to be cut and paired at will."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy import ndarray

from vae.distributions import Distribution
from vae.models import VAE


def elementwise(d: Distribution, name: str) -> Distribution:
    """d with each dimension as an event of its own; raises TypeError unless it is a product."""
    if type(d)._log_density is Distribution._log_density:
        raise TypeError(f"{name} is a {type(d).__name__}, which is no product over the dimensions "
                        "of z: a dimension by itself has no density in closed form. Take a "
                        "factorised family, such as vae.Normal")
    single = copy.copy(d)
    single.event_ndim = 0
    return single


def rows(q: Distribution, index: Any) -> Distribution:
    """The q of these data, in float64; q is a product over the last axis, and the first is data."""
    return _with_parameters(q, [np.broadcast_to(getattr(q, name), q.shape)[index]
                                for name in q.parameters])


def posteriors(model: VAE, x: ndarray, *, batch_size: int = 1_000) -> Distribution:
    """q(z|x) of all of x as one distribution with parameters in float64; by batches."""
    parts = [model.posterior(x[i:i + batch_size]) for i in range(0, len(x), batch_size)]
    elementwise(parts[0], "q(z|x)")
    return _with_parameters(parts[0], [
        np.concatenate([np.broadcast_to(getattr(q, name), q.shape) for q in parts])
        for name in parts[0].parameters])


def _with_parameters(q: Distribution, values: list[ndarray]) -> Distribution:
    new = q.map(lambda value: value)  # a copy that takes nothing for granted
    for name, value in zip(q.parameters, values, strict=True):
        setattr(new, name, value.astype(np.float64))
    new.shape = values[0].shape
    return new
