"""What certifies the closed forms of KL: ∫ q (log q - log p), with derivatives, by quadrature.

The densities are written here once more, and the integral is a sum over nodes in minigrad's
operations: its first and second derivatives are those of the integral.  Nodes between two kinks of
the integrand move with these.  Of a pair, all parameters together are one vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln

import minigrad as mg
from minigrad.tensor import untraced
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.beta import Beta
from vae.distributions.continuous_bernoulli import ContinuousBernoulli
from vae.distributions.gamma import Gamma
from vae.distributions.kl import kl
from vae.distributions.location_scale import Exponential, Laplace, LogNormal, Uniform
from vae.distributions.normal import Normal
from vae.distributions.poisson import Poisson
from vae.distributions.von_mises import VonMises

TOLERANCE = 1e-8
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2
FRACTIONS = (1.0, 0.6, 0.35, 0.2, 0.1, 0.05, 0.02)


class Point(NamedTuple):
    """Nodes x, and the logarithms of x and 1 - x to all digits, where densities need them."""

    x: Any
    log: Any = None
    log_rest: Any = None


class Range(NamedTuple):
    """Of a parameter: from low to high, or its logarithm is."""

    low: float
    high: float
    log: bool = False

    def at(self, u: float) -> float:
        """The parameter at the place u between 0 and 1."""
        value = self.low + (self.high - self.low) * u
        return math.exp(value) if self.log else value


REALS, POSITIVE, SHAPES = Range(-2, 2), Range(-1.2, 1.2, log=True), Range(-1.2, 3, log=True)
LOGITS = Range(-20, 20)
RANGES: dict[type, tuple[Range, ...]] = {
    Normal: (REALS, POSITIVE), Laplace: (REALS, POSITIVE),
    LogNormal: (REALS, Range(-1.2, 0.4, log=True)), Exponential: (POSITIVE,),
    Gamma: (SHAPES, POSITIVE), Beta: (SHAPES, SHAPES),
    VonMises: (Range(-3, 3), Range(-3, 4, log=True)), ContinuousBernoulli: (LOGITS,),
    Uniform: (Range(-2, -0.2), Range(0, 2)), Bernoulli: (LOGITS,), Poisson: (Range(-2, 3, True),),
}
IN_UNIT = (Range(0.02, 0.4), Range(0.5, 0.98))
IN_HALF_LINE = (Range(0.02, 1), Range(1.2, 4))
WITH_UNIT = (Range(-2, -0.01), Range(1.01, 3))
UNIFORM: dict[tuple[type, type], tuple[Range, ...]] = {  # the uniform one's, where KL is finite
    (Uniform, Beta): IN_UNIT, (Uniform, ContinuousBernoulli): IN_UNIT,
    (Uniform, Exponential): IN_HALF_LINE, (Uniform, Gamma): IN_HALF_LINE,
    (Beta, Uniform): WITH_UNIT, (ContinuousBernoulli, Uniform): WITH_UNIT,
    (VonMises, Uniform): (Range(-5, -3.2), Range(3.2, 5)),
    (Uniform, Uniform): (Range(-5, -2.1), Range(2.1, 4)),  # of p
}


# -- log densities --------------------------------------------------------------------------------
def gamma(at: Point, shape: Any, rate: Any) -> Any:
    return shape * np.log(rate) + (shape - 1) * at.log - rate * at.x - gammaln(shape)


def beta(at: Point, a: Any, b: Any) -> Any:
    return (a - 1) * at.log + (b - 1) * at.log_rest + gammaln(a + b) - gammaln(a) - gammaln(b)


def normal(at: Point, mean: Any, std: Any) -> Any:
    return -0.5 * ((at.x - mean) / std) ** 2 - np.log(std * math.sqrt(2 * math.pi))


def log_normal(at: Point, mean: Any, std: Any) -> Any:
    return -0.5 * ((at.log - mean) / std) ** 2 - np.log(std * math.sqrt(2 * math.pi)) - at.log


def continuous_bernoulli(at: Point, logit: Any) -> Any:
    x, w = panels(0, 0.02, 0.05, 0.1, 0.3, 0.7, 0.9, 0.95, 0.98, 1)
    return logit * at.x - mg.logsumexp(logit * x + np.log(w))


def von_mises(at: Point, mean: Any, concentration: Any) -> Any:
    x = np.linspace(0, 2 * math.pi, 200, endpoint=False)  # the mean of a period, to all digits
    normaliser = mg.logsumexp(concentration * np.cos(x)) + math.log(2 * math.pi / 200)
    return concentration * np.cos(at.x - mean) - normaliser


LOG_DENSITIES: dict[type, Callable] = {
    Normal: normal, LogNormal: log_normal, Gamma: gamma, Beta: beta, VonMises: von_mises,
    ContinuousBernoulli: continuous_bernoulli,
    Laplace: lambda at, mean, scale: -np.abs(at.x - mean) / scale - np.log(2 * scale),
    Exponential: lambda at, rate: np.log(rate) - rate * at.x,
    Uniform: lambda at, low, high: 0 * at.x - np.log(high - low),
    Bernoulli: lambda at, logit: -np.logaddexp(0, np.where(at.x == 1, -1, 1) * logit),
    Poisson: lambda at, rate: at.x * np.log(rate) - rate - gammaln(at.x + 1),
}


# -- nodes and weights ----------------------------------------------------------------------------
def panels(*breaks: Any) -> tuple[Any, Any]:
    """Gauss and Legendre's nodes and weights between the breaks, which may be Tensors."""
    ends = sorted(breaks, key=lambda b: float(untraced(b)))
    a, width = (np.stack([np.asarray(x) if not hasattr(x, "dtype") else x for x in xs])[:, None]
                for xs in (ends[:-1], [b - a for a, b in pairwise(ends)]))
    return np.ravel(a + width * NODES), np.ravel(width * WEIGHTS)


def on_line(kinks: list, mean: Any, scale: Any) -> tuple[Point, Any]:
    m, s = float(untraced(mean)), float(untraced(scale))
    steps = [m + sign * s * t for t in (0, 0.7, 1.5, 3, 5, 8, 12, 20, 30, 45) for sign in (-1, 1)]
    apart = [x for x in {*steps} if all(abs(x - untraced(k)) > 1e-9 for k in kinks)]
    x, w = panels(*apart, *kinks)  # no break that stays lies on one that moves
    return Point(x), w


def by_log(y: Any, w: Any) -> tuple[Point, Any]:
    return Point(np.exp(y), y), w * np.exp(y)


def gamma_nodes(kinks: list, shape: Any, rate: Any) -> tuple[Point, Any]:
    a, b = float(untraced(shape)), float(untraced(rate))
    centre, left, right = math.log(a / b), 45 / a + 12 / math.sqrt(a), math.log(1 + 90 / a + 20)
    return by_log(*panels(centre, *(centre - left * f for f in FRACTIONS),
                          *(centre + right * f for f in FRACTIONS),
                          *(np.log(k) for k in kinks if untraced(k) > 0)))


def log_normal_nodes(kinks: list, mean: Any, std: Any) -> tuple[Point, Any]:
    at, w = on_line([], mean, std)
    return by_log(at.x, w)


def logits_of_beta(a: Any, b: Any) -> tuple[Any, Any]:
    """Nodes y = log x/(1 - x) and weights for x."""
    a, b = float(untraced(a)), float(untraced(b))
    centre = math.log(a / b)
    left, right = (45 / c + 12 / math.sqrt(c) + math.log(21 + 90 / d) for c, d in ((a, b), (b, a)))
    return panels(centre, *(centre - left * f for f in FRACTIONS),
                  *(centre + right * f for f in FRACTIONS))


def beta_nodes(kinks: list, a: Any, b: Any) -> tuple[Point, Any]:
    y, w = logits_of_beta(a, b)
    x, rest = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    return Point(x, -np.logaddexp(0, -y), -np.logaddexp(0, y)), w * x * rest


def uniform_nodes(kinks: list, low: Any, high: Any) -> tuple[Point, Any]:
    inside = [k for k in kinks if untraced(low) < untraced(k) < untraced(high)]
    x, w = panels(low, *(low + (high - low) * f for f in FRACTIONS[1:]), high, *inside)
    at = untraced(x)
    log = np.log(x) if np.all(at > 0) else None
    return Point(x, log, np.log(1 - x) if np.all(at < 1) else None), w


def unit_nodes(kinks: list, logit: Any) -> tuple[Point, Any]:
    x, w = panels(0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 1)
    return Point(x), w


def circle_nodes(kinks: list, mean: Any, concentration: Any) -> tuple[Point, Any]:
    mean = float(untraced(mean))
    x, w = panels(*(mean + math.pi * f * s for f in (0, *FRACTIONS) for s in (-1, 1)))
    return Point(x), w


NODES_OF: dict[type, Callable] = {
    Normal: on_line,
    Laplace: lambda kinks, mean, scale: on_line([mean, *kinks], mean, scale),
    LogNormal: log_normal_nodes, Gamma: gamma_nodes,
    Exponential: lambda kinks, rate: gamma_nodes(kinks, 1.0, rate), Beta: beta_nodes,
    Uniform: uniform_nodes, ContinuousBernoulli: unit_nodes, VonMises: circle_nodes,
    Bernoulli: lambda kinks, logit: (Point(np.arange(2.0)), np.ones(2)),
    Poisson: lambda kinks, rate: (Point(np.arange(200.0)), np.ones(200)),
}


# -- certificates ---------------------------------------------------------------------------------
class Certificate(NamedTuple):
    """ranges: of the parameters.  distributions(v): q and p.  oracle(v): the divergence."""

    ranges: tuple[Range, ...]
    distributions: Callable[[Any], tuple[Any, Any]]
    oracle: Callable[[Any], Any]
    split: int  # parameters of q

    def at(self, places: Any) -> np.ndarray:
        return np.array([r.at(float(u)) for r, u in zip(self.ranges, places)])

    def of_kl(self, v: Any) -> Any:
        return kl(*self.distributions(v))

    def errors(self, v: np.ndarray) -> tuple[float, float, float]:
        """Of the value, the gradient, the second derivative: relative to 1 or the entry."""
        pairs = [(f(self.of_kl)(v), f(self.oracle)(v))
                 for f in (lambda f: f, mg.grad, mg.hessian)]
        return tuple(float(np.max(np.abs(ours - exact) / np.maximum(1, np.abs(exact))))
                     for ours, exact in pairs)


def elementwise(q_type: type, p_type: type) -> Certificate:
    """Of single numbers."""
    of_q, of_p = RANGES[q_type], RANGES[p_type]
    special = UNIFORM.get((q_type, p_type))
    if special is not None:
        of_q, of_p = (of_q, special) if p_type is Uniform else (special, of_p)
    n = len(of_q)

    def parts(v: Any) -> tuple[list, list]:
        return [v[i] for i in range(n)], [v[i] for i in range(n, n + len(of_p))]

    def oracle(v: Any) -> Any:
        ours, theirs = parts(v)
        at, w = NODES_OF[q_type]([theirs[0]] if p_type is Laplace else [], *ours)
        log_q = LOG_DENSITIES[q_type](at, *ours)
        return np.sum(w * np.exp(log_q) * (log_q - LOG_DENSITIES[p_type](at, *theirs)))

    def distributions(v: Any) -> tuple[Any, Any]:
        ours, theirs = parts(v)
        return q_type(*ours, event_ndim=0), p_type(*theirs, event_ndim=0)
    return Certificate(of_q + of_p, distributions, oracle, n)
