"""What `sample` and `log_prob` cost beside NumPy code written by hand.

The hand's code knows its parameters, checks nothing, and calls SciPy where NumPy lacks a function.
"""

from __future__ import annotations

import argparse
import math
import timeit
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
from scipy.special import betaln, gammaln, i0e

import vae

ROUNDS, SECONDS = 15, 0.01
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def cases(shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, tuple]:
    """name -> (distribution, sample by hand, log density by hand of each row)."""
    m, s, a, b = rng.standard_normal(shape), *rng.uniform(0.5, 2, (3, *shape))
    logits = rng.standard_normal((*shape, 10))
    chol = np.eye(shape[-1]) + 0.1 * np.tril(rng.standard_normal((shape[-1], shape[-1])))

    def pick(rng):
        p = np.exp(logits - logits.max(-1, keepdims=True))
        edges = np.cumsum(p, -1)
        return (edges < edges[..., -1:] * rng.random((*shape, 1))).sum(-1)

    def chosen(x):
        top = logits.max(-1, keepdims=True)
        log_p = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        return np.take_along_axis(log_p, x[..., None], -1)[..., 0]

    def multivariate(x):
        z = np.linalg.solve(chol, (x - m)[..., None])[..., 0]
        return (-0.5 * z * z).sum(-1) - np.log(np.diag(chol)).sum() - shape[-1] * HALF_LOG_2PI

    def logistic(x):
        z = (x - m) / s
        return (-z - np.log(s) - 2 * np.log1p(np.exp(-z))).sum(-1)

    def beta_draw(rng):
        x, y = rng.standard_gamma(a), rng.standard_gamma(b)
        return x / (x + y)

    def dirichlet_draw(rng):
        g = rng.standard_gamma(a)
        return g / g.sum(-1, keepdims=True)

    def log_uniform(rng):
        u = rng.random(shape)
        return np.log(u) - np.log1p(-u)

    means, spreads = rng.standard_normal((*shape, 10)), rng.uniform(0.5, 2, (*shape, 10))

    def mixture_draw(rng):
        k = pick(rng)[..., None]
        mean, std = (np.take_along_axis(a, k, -1)[..., 0] for a in (means, spreads))
        return mean + std * rng.standard_normal(shape)

    def mixture(x):
        top = logits.max(-1, keepdims=True)
        log_p = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        each = log_p - 0.5 * ((x[..., None] - means) / spreads)**2 - np.log(spreads) - HALF_LOG_2PI
        top = each.max(-1)
        return (top + np.log(np.exp(each - top[..., None]).sum(-1))).sum(-1)

    return {
        "Normal": (vae.Normal(m, s), lambda rng: m + s * rng.standard_normal(shape),
                   lambda x: (-0.5 * ((x - m) / s)**2 - np.log(s) - HALF_LOG_2PI).sum(-1)),
        "MultivariateNormal": (
            vae.MultivariateNormal(m, chol),
            lambda rng: m + rng.standard_normal(shape) @ chol.T, multivariate),
        "Laplace": (vae.Laplace(m, s),
                    lambda rng: m + s * (rng.standard_exponential(shape)
                                         - rng.standard_exponential(shape)),
                    lambda x: (-np.abs(x - m) / s - np.log(2 * s)).sum(-1)),
        "Logistic": (vae.Logistic(m, s), lambda rng: m + s * log_uniform(rng), logistic),
        "StudentT": (vae.StudentT(a + 2, m, s), lambda rng: m + s * rng.standard_t(a + 2),
                     lambda x: (gammaln((a + 3) / 2) - gammaln((a + 2) / 2)
                                - 0.5 * np.log((a + 2) * math.pi) - np.log(s)
                                - (a + 3) / 2 * np.log1p(((x - m) / s)**2 / (a + 2))).sum(-1)),
        "Gamma": (vae.Gamma(a, b), lambda rng: rng.standard_gamma(a) / b,
                  lambda x: (a * np.log(b) + (a - 1) * np.log(x) - b * x - gammaln(a)).sum(-1)),
        "Beta": (vae.Beta(a, b), beta_draw,
                 lambda x: ((a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - betaln(a, b)).sum(-1)),
        "Dirichlet": (vae.Dirichlet(a), dirichlet_draw,
                      lambda x: ((a - 1) * np.log(x)).sum(-1) + gammaln(a.sum(-1))
                      - gammaln(a).sum(-1)),
        "VonMises": (vae.VonMises(m, s), lambda rng: rng.vonmises(m, s),
                     lambda x: (s * (np.cos(x - m) - 1) - np.log(2 * math.pi * i0e(s))).sum(-1)),
        "Exponential": (vae.Exponential(s), lambda rng: rng.standard_exponential(shape) / s,
                        lambda x: (np.log(s) - s * x).sum(-1)),
        "Uniform": (vae.Uniform(m, m + s), lambda rng: m + s * rng.random(shape),
                    lambda x: np.where((x >= m) & (x <= m + s), -np.log(s), -np.inf).sum(-1)),
        "LogNormal": (vae.LogNormal(m, s), lambda rng: np.exp(m + s * rng.standard_normal(shape)),
                      lambda x: (-0.5 * ((np.log(x) - m) / s)**2 - np.log(x * s)
                                 - HALF_LOG_2PI).sum(-1)),
        "Bernoulli": (vae.Bernoulli(m),
                      lambda rng: (rng.random(shape) < 1 / (1 + np.exp(-m))).astype(float),
                      lambda x: (x * m - np.logaddexp(0, m)).sum(-1)),
        "Categorical": (vae.Categorical(logits, event_ndim=1), pick,
                        lambda x: chosen(x).sum(-1)),
        "Mixture": (vae.Mixture(logits, vae.Normal(means, spreads, event_ndim=0), event_ndim=1),
                    mixture_draw, mixture),
        "Poisson": (vae.Poisson(a), lambda rng: rng.poisson(a).astype(float),
                    lambda x: (x * np.log(a) - a - gammaln(x + 1)).sum(-1)),
    }


def compared(ours: Callable[[], object], by_hand: Callable[[], object]) -> tuple[float, ...]:
    """Microseconds of a call of each, in alternating rounds: medians, and the median ratio."""
    timers = [timeit.Timer(call) for call in (ours, by_hand)]
    numbers = [max(1, int(SECONDS / max(min(t.repeat(3, 3)) / 3, 1e-9))) for t in timers]
    rounds = [[1e6 * t.timeit(n) / n for t, n in zip(timers, numbers)] for _ in range(ROUNDS)]
    return (*map(median, zip(*rounds)), median(a / b for a, b in rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["20,20", "500,20"])
    for text in parser.parse_args().shapes:
        shape, rng = tuple(map(int, text.split(","))), np.random.default_rng(0)
        print(f"{shape!s:22}{'sample: µs':>12}{'by hand':>10}{'ratio':>7}"
              f"{'log_prob: µs':>15}{'by hand':>10}{'ratio':>7}")
        for name, (d, draw, density) in cases(shape, rng).items():
            x = d.sample(rng=rng)
            np.testing.assert_allclose(d.log_prob(x), density(x), rtol=1e-6, err_msg=name)
            t = [*compared(partial(d.sample, rng=rng), partial(draw, rng)),
                 *compared(partial(d.log_prob, x), partial(density, x))]
            print(f"{name:22}{t[0]:12.1f}{t[1]:10.1f}{t[2]:7.2f}"
                  f"{t[3]:15.1f}{t[4]:10.1f}{t[5]:7.2f}")


if __name__ == "__main__":
    main()
