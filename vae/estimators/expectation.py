"""Estimators of E_q[f(z)] and of its gradient by q's parameters.

    estimate = estimator(f, q, rng=rng, samples=8)      # the shape of q's batch
    np.sum(estimate).backward()                         # each row a gradient of its own

f maps draws (samples, *q.shape) to one number a draw, (samples, *batch).  The value of the result
estimates E_q[f(z)]; its gradient, by q's parameters and by whatever f itself depends on, is the
estimator.  Rows of the batch do not mix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import noise
from minigrad.define import with_vjp
from minigrad.functions import stop_gradient
from minigrad.table import NoRule
from minigrad.tensor import Tensor, untraced
from vae.distributions.base import Distribution, NoPath, event_sum, generator
from vae.distributions.normal import Normal
from vae.estimators.baselines import Baseline, baseline_of
from vae.estimators.describe import described

Function = Callable[[Any], Any]


@described(source="Kingma and Welling (2014); Rezende et al. (2014); Figurnov et al. (2018)",
           needs="a path through q's draws, and f with a slope")
def pathwise(f: Function, q: Distribution, *, rng: Generator, samples: int = 1) -> Any:
    """1/S Σ f(z_s) with z = z(ε; parameters): the gradient goes through the draws, to any order.

    Location-scale, inverse cdf and implicit reparameterisation alike; q knows which is its.  Raises
    NoPath where q has none, and for a relaxation, whose draws are not those of what it relaxes.
    """
    if q.path is None:
        raise NoPath(q._no_path())
    if q.path == "relaxed":
        raise NoPath(f"pathwise of {type(q).__name__}: its draws are a relaxation, and the "
                     "expectation another one; where that bias is meant give the discrete "
                     "distribution to vae.estimators.gumbel_softmax")
    return values_of(f, q.sample(several(samples), rng=rng), q).mean(0)


@described(source="Williams (1992); Mnih and Rezende (2016) and Kool et al. (2019) for "
                  "leave-one-out; Foerster et al. (2018) for the form", needs="log q(z)")
def score(f: Function, q: Distribution, *, rng: Generator, samples: int = 1,
          baseline: Baseline = None) -> Any:
    """1/S Σ (f(z_s) - b_s) grad log q(z_s), also called REINFORCE: f needs no slope by z.

    baseline, b: None, a number, an array that broadcasts to (samples, *batch), a `MovingAverage`
    over earlier calls, or

    - "leave-one-out": the mean of f at the other draws, samples ≥ 2.
    - "mean": the mean of f at all draws.  It holds the draw itself, so that the expected gradient
      is (S - 1)/S of what it should be: *biased*.  Corrected for that it is "leave-one-out".

    Unbiased with the others.  Written as 1/S Σ w (f - b) + b with w = q(z)/stop(q(z)), which is 1;
    so derivatives of higher orders are unbiased as well, except by "mean".
    """
    z = q.constant().sample(several(samples), rng=rng)
    values = values_of(f, z, q)
    b = stop_gradient(baseline_of(baseline, untraced(values)))
    return (unit_weight(q.log_prob(z)) * (values - b) + b).mean(0)


@described(source="Mohamed et al. (2020), section 6; Pflug (1989)", needs="a Normal q")
def measure_valued(f: Function, q: Normal, *, rng: Generator, samples: int = 1) -> Any:
    """The derivative of the density as a difference of two densities, one dimension at a time.

        ∂/∂mean E f = (E f(mean + std·W) - E f(mean - std·W))/(std √2π)
        ∂/∂std  E f = (E f(mean + std·M) - E f(mean + std·N))/std

    with W Weibull (density w exp(-w²/2)), M double-sided Maxwell (m² exp(-m²/2)/√2π), N normal, and
    the other dimensions from q.  The two of a pair are coupled: one W; N = M·U with U uniform.  f
    is called twice, with `samples` and with 3D·samples draws, and needs no slope by z.  First order
    only: raises NoRule when differentiated twice.  Raises TypeError unless q is Normal.
    """
    if not isinstance(q, Normal):
        raise TypeError(f"measure_valued of {type(q).__name__}: it is written for Normal; take "
                        "vae.estimators.score or pathwise")
    draws, rng = (*several(samples), *q.shape), generator(rng)
    eps = noise.normal(rng, draws, q.std.dtype)
    others = noise.normal(rng, (2, *draws), q.std.dtype)
    mean, std = untraced(q.mean), untraced(q.std)
    values = values_of(f, mean + std * eps, q)
    weibull = np.hypot(*others)
    maxwell = np.copysign(np.hypot(eps, weibull), eps)

    moved = np.concatenate([_one_dimension_replaced(eps, new, q.event_ndim)
                            for new in (weibull, -weibull, maxwell)])
    found = values_of(f, mean + std * moved.reshape(math.prod(moved.shape[:2]), *q.shape), q)
    up, down, wide = untraced(found).reshape(3, len(moved) // 3, *values.shape)
    by_mean = (up - down) / math.sqrt(2 * math.pi)
    by_std = wide - untraced(values)
    slopes = (_over_event(part.mean(1), q) / std for part in (by_mean, by_std))
    carried = (event_sum(_carried(p, slope, q.mean, q.std, found), q.event_ndim)
               for p, slope in zip((q.mean, q.std), slopes) if type(p) is Tensor)
    return sum(carried, values.mean(0))


def _carried_vjp(g: Any, y: Any, p: Any, slope: ndarray, *of: Any) -> Any:
    if any(type(a) is Tensor for a in of):
        raise NoRule("measure_valued estimates a first derivative, which can't be differentiated "
                     "again; take vae.estimators.pathwise or score")
    return g * slope


@with_vjp(_carried_vjp, None, None, None, None)
def _carried(p: ndarray, slope: ndarray, *of: ndarray) -> ndarray:
    """0, with this slope by p; `of` what else the slope depends on."""
    return np.zeros_like(slope)


def _one_dimension_replaced(eps: ndarray, new: ndarray, event_ndim: int) -> ndarray:
    """(D, *eps.shape): eps, of which the d-th dimension of the event is taken from `new`."""
    event = eps.shape[eps.ndim - event_ndim:]
    size = math.prod(event)
    one = np.eye(size, dtype=bool).reshape(size, *(1,) * (eps.ndim - event_ndim), *event)
    return np.where(one, new, eps)


def _over_event(x: ndarray, q: Distribution) -> ndarray:
    """(D, *batch) -> (*batch, *event)."""
    return np.moveaxis(x, 0, -1).reshape(q.shape)


# -- what estimators share ------------------------------------------------------------------------
def several(samples: int) -> tuple[int]:
    """(samples,), at least one; raises ValueError."""
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one draw is needed")
    return (samples,)


def values_of(f: Function, z: Any, q: Distribution) -> Any:
    """f at the draws z (n, *q.shape): one number a draw, (n, *batch); raises ValueError."""
    values = f(z)
    expected = z.shape[:z.ndim - q.event_ndim]
    if np.shape(values) != expected:
        raise ValueError(f"f of draws of shape {z.shape} has shape {np.shape(values)}, it must be "
                         f"{expected}: one number a draw, of the last {q.event_ndim} axes")
    return values


def unit_weight(log_q: Any) -> Any:
    """q(z)/stop(q(z)): its value is 1 exactly, its slope the score, and so on in higher orders."""
    return np.exp(log_q - stop_gradient(log_q))
