"""Each estimator's mean gradient against the exact one, in standard errors, on three models each.

    python tests/benchmarks/unbiased.py [--repetitions 1000000]

Of biased estimators the bias is told, relative to the exact gradient.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.special import psi

import minigrad as mg
import vae
from vae import estimators as es
from vae import lab
from vae.exact import LinearGaussian
from vae.exact.quadrature import hermite

NODES, WEIGHTS = hermite(60, 1)
CONTINUOUS = {
    "pathwise": es.pathwise, "measure_valued": es.measure_valued, "score": es.score,
    "score, leave-one-out": partial(es.score, baseline="leave-one-out", samples=2),
    "score, mean": partial(es.score, baseline="mean", samples=2),
}
DISCRETE = {
    "score": es.score, "score, leave-one-out": CONTINUOUS["score, leave-one-out"],
    "rebar": es.rebar, "enumerated": es.enumerated, "gumbel_softmax": es.gumbel_softmax,
    "straight_through": es.straight_through,
}
ELBOS = {name: f for name, f in es.BOUNDS.items()
         if name in ("elbo", "sgvb_a", "sticking_the_landing")} | {
    "score_elbo": partial(es.score_elbo, samples=2)}
WEIGHTED = {name: partial(es.BOUNDS[name], samples=2)
            for name in ("iwae", "dreg", "vimco", "iwae_stl")}


def over_normal(f: Any) -> Any:
    """q -> E_q f for a Normal of two dimensions, by quadrature."""
    at, weights = hermite(40, 2)

    def expected(q: Any) -> Any:
        return np.sum(weights * f(q.mean + q.std * at))
    return expected


def expectations() -> Iterator[tuple[str, Any, Any, dict, Any]]:
    q = vae.Normal(np.array([0.4, -0.7]), np.array([0.8, 0.5]))
    for name, f in {"-Σ(z - 1)²": lambda z: -np.sum((z - 1)**2, -1),
                    "sin z₁ · z₂": lambda z: np.sin(z[..., 0]) * z[..., 1],
                    "log σ(z₁ + z₂³)": lambda z: mg.log_sigmoid(z[..., 0] + z[..., 1]**3)}.items():
        yield f"Normal, {name}", f, q, CONTINUOUS | {"score, moving average": partial(
            es.score, baseline=es.MovingAverage())}, over_normal(f)
    implicit = {"pathwise, implicit": es.pathwise, "score": es.score}
    pair = np.array([0.6, 3.0])
    yield ("Gamma, Σ log z", lambda z: np.sum(np.log(z), -1), vae.Gamma(pair, pair[::-1]), implicit,
           lambda q: np.sum(psi(q.concentration) - np.log(q.rate)))
    yield ("Beta, Σ log z", lambda z: np.sum(np.log(z), -1), vae.Beta(pair, pair[::-1]), implicit,
           lambda q: np.sum(psi(q.alpha) - psi(q.alpha + q.beta)))
    yield ("Dirichlet, Σ a·z²", lambda z: np.sum(z**2 * pair, -1), vae.Dirichlet(pair), implicit,
           lambda q: np.sum(pair * (q.variance + q.mean**2)))
    yield ("VonMises, Σ cos z", lambda z: np.sum(np.cos(z), -1), vae.VonMises(pair / 3, pair),
           implicit, lambda q: np.sum((1 - q.variance) * np.cos(q.location)))
    yield ("StudentT, Σ z²", lambda z: np.sum(z**2, -1), vae.StudentT(10 * pair, pair, pair),
           implicit, lambda q: np.sum(q.variance + q.location**2))
    coins, classes = vae.Bernoulli(np.array([0.5, -1.0, 0.2])), vae.OneHotCategorical(
        np.array([0.3, -0.5, 1.0, 0.0]))
    a = np.array([0.6, 0.3, -0.4, 1.0])
    for q, name, f in ((coins, "Σ(z - a)²", lambda z: np.sum((z - a[:3])**2, -1)),
                       (coins, "exp Σ a·z", lambda z: np.exp(np.sum(a[:3] * z, -1))),
                       (classes, "(Σ a·z)²", lambda z: np.sum(a * z, -1)**2)):
        yield (f"{type(q).__name__}, {name}", f, q, DISCRETE,
               lambda q, f=f: np.sum(es.enumerated(f, q)))


def bounds(rng: np.random.Generator) -> Iterator[tuple[str, Any, Any, dict, Any]]:
    for k in range(3):
        model = LinearGaussian(rng.standard_normal((3, 1)), rng.standard_normal(3), 0.6 + 0.2 * k)
        x = model.sample(1, rng=rng)[0]
        p = model.exact_posterior(x[None])
        std = np.sqrt(p.variance)

        def encoder(x: Any, mean: Any = p.mean, std: Any = std) -> vae.Normal:
            return vae.Normal(mean + 0.4 * std, 1.2 * std)
        study = model.with_encoder(encoder)
        yield f"linear Gaussian {k}", study, x, ELBOS, partial(exact_elbo, model, x)
        yield f"linear Gaussian {k}, K = 2", study, x, WEIGHTED, partial(exact_iwae, model, x)


def exact_elbo(model: Any, x: Any, q: Any) -> Any:
    return model.elbo(q, x[None])


def exact_iwae(model: Any, x: Any, q: Any) -> Any:
    """E log ½(w₁ + w₂) by quadrature over both draws."""
    z = q.mean + q.std * NODES  # (nodes, 1)
    log_w = model.log_joint(x[None], z[:, None])[:, 0] - q.log_prob(z)
    both = np.logaddexp(log_w[:, None], log_w) - np.log(2)
    return np.sum(WEIGHTS[:, None] * WEIGHTS * both)


def tell(name: str, table: lab.Comparison) -> None:
    for row in table.rows:
        scale = max(float(np.linalg.norm(row.exact)), 1e-300)
        flag = "biased, known" if row.known_as_biased else "" if row.bias_z < 4 else "OFF"
        print(f"| {name} | {row.estimator} | {row.parameter} | {row.bias_z:.1f} | "
              f"{row.bias / scale:.1e} | {row.bias_noise / scale:.1e} | {flag} |", flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--repetitions", type=int, default=1_000_000)
    args, rng = p.parse_args(), np.random.default_rng(0)
    print("| model | estimator | gradient by | largest z | bias | by chance | |")
    print("|---|---|---|---:|---:|---:|---|")
    options = {"rng": rng, "repetitions": args.repetitions, "block": 10_000}
    for name, f, q, functions, exact in expectations():
        tell(name, lab.compare(f, q, functions, exact=exact, **options))
    for name, model, x, functions, exact in bounds(rng):
        tell(name, lab.compare_bounds(model, x, functions, exact=exact, **options))


if __name__ == "__main__":
    main()
