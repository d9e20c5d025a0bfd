"""Bounds on log p(x), one above the other, where log p(x) is known: python examples/ladder.py

A linear Gaussian model and a curved one, whose posterior is a banana: the ELBO of ever richer q(z),
then importance weighting and annealing from an imperfect one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from options import check_writable, parser, program

import minigrad as mg
import vae
from vae.distributions import Estimate
from vae.estimators import sgvb_a
from vae.exact.quadrature import hermite
from vae.flows import Flow, Transformed, couplings
from vae.objectives import Bound

SHIFT = 1.0  # standard deviations by which the means of the imperfect q are off
NODES = 3  # of Gauss and Hermite: exact up to degree 5, and log p(x, z) of the banana has 4
EXACT = "log p(x)"


@program
def main(arguments: list[str] | None = None) -> int:
    args = parser("Climb from the ELBO to log p(x).", out="out/ladder",
                  seed="of the model, the data and all noise",
                  quick="a few seconds: fewer steps and draws").parse_args(arguments)
    check_writable(args.out)
    began = time.perf_counter()
    ladders = {"a linear Gaussian model": linear(args), "a banana": curved(args)}
    for name, rungs in ladders.items():
        exact = rungs[EXACT].value
        print(f"\n{name:32}{'nats a datum':>14}{'± s.e.':>9}{'below log p(x)':>17}")
        for rung, (value, error) in rungs.items():
            print(f"  {rung:30}{value:14.4f}{error:9.4f}{exact - value:17.2g}")
    (args.out / "ladder.json").write_text(json.dumps(ladders, indent=1) + "\n")
    if not args.no_plots:
        from vae.figures.ladder import ladder  # matplotlib takes a second to load
        ladder(args.out / "ladder.png", ladders, EXACT)
    print(f"\nresults in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


# -- the two models -------------------------------------------------------------------------------
def linear(args: argparse.Namespace) -> dict[str, Estimate]:
    rng = np.random.default_rng(args.seed)
    model = vae.exact.LinearGaussian(rng.normal(size=(6, 3)), np.zeros(6), 1.0)
    x = model.likelihood(rng.normal(size=(20, 3))).sample(rng=rng)
    return climb(model, x, float(model.log_marginal(x).mean()), args)


class Banana:
    """z (…, 2) -> p(x|z) = N(z₂ - z₁² - z₁, ½²), x (…, 1): given x, z lies along a parabola."""

    def __call__(self, z: Any) -> vae.Normal:
        return vae.Normal(z[..., 1:] - np.square(z[..., :1]) - z[..., :1], 0.5)


def banana() -> tuple[vae.VAE, np.ndarray]:
    """The model, its encoder not yet fitted, and the datum x = -1."""
    prior = vae.Normal(np.zeros(2), np.array([1.5, 3.0]))
    return vae.VAE(LinearEncoder(1, 2, full=False), Banana(), prior), np.full((1, 1), -1.0)


def by_quadrature(model: vae.VAE, x: np.ndarray) -> float:
    """log ∫ p(x, z) dz by the trapezoidal rule, within 10 standard deviations of the prior."""
    a, b = (np.linspace(-10, 10, 801) * std for std in model.prior.std)
    z = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    return float(mg.logsumexp(log_joint(model, x, z)) + np.log((a[1] - a[0]) * (b[1] - b[0])))


def curved(args: argparse.Namespace) -> dict[str, Estimate]:
    model, x = banana()
    flows = couplings(2, 4, hidden=(16,), rng=np.random.default_rng(args.seed), dtype=np.float64)
    return climb(model, x, by_quadrature(model, x), args, flows=flows)


# -- what all rungs share -------------------------------------------------------------------------
class LinearEncoder:
    """q(z|x) = N(xA + a, LLᵀ), L a triangle or diagonal, the same for all x; then flows."""

    def __init__(self, n_x: int, n_z: int, *, full: bool, flows: Sequence[Flow] = ()):
        self.weight, self.bias = mg.Tensor(np.zeros((n_x, n_z))), mg.Tensor(np.zeros(n_z))
        self.log_diagonal = mg.Tensor(np.zeros(n_z))
        self.below = mg.Tensor(np.zeros((n_z, n_z))) if full else None
        self.flows = list(flows)

    def cholesky(self) -> Any:
        diagonal = np.exp(self.log_diagonal) * np.eye(len(self.log_diagonal))
        return diagonal if self.below is None else diagonal + np.tril(self.below, -1)

    def __call__(self, x: Any) -> Any:
        mean = x @ self.weight + self.bias
        q = (vae.Normal(mean, np.exp(self.log_diagonal) + 0 * mean) if self.below is None
             else vae.MultivariateNormal(mean, self.cholesky()))
        return Transformed(q, self.flows) if self.flows else q


def log_joint(model: vae.VAE, x: Any, z: Any) -> Any:
    return model.likelihood(z).log_prob(x) + model.prior.log_prob(z)


def gaussian_elbo(model: vae.VAE, x: Any, *, rng: np.random.Generator | None = None) -> Bound:
    """The ELBO of a `LinearEncoder` without flows, by nodes in place of draws: no noise."""
    q, (at, weights) = model.posterior(x), hermite(NODES, model.prior.shape[-1])
    z = q.mean + (at @ model.encoder.cholesky().T)[:, None]
    reconstruction = np.sum(weights[:, None] * model.likelihood(z).log_prob(x), axis=0)
    divergence = vae.kl(q, model.prior)
    return Bound(reconstruction - divergence, reconstruction, divergence)


def fitted(model: vae.VAE, x: np.ndarray, encoder: LinearEncoder, objective: Callable[..., Bound],
           *, steps: int, lr: float, rng: np.random.Generator) -> vae.VAE:
    """p(x, z) as it is with this encoder, which Adam fits; its rate falls to 0."""
    model = vae.VAE(encoder, model.likelihood, model.prior)
    optimizer = mg.optim.Adam(mg.nn.parameters(encoder), lr=vae.schedules.linear(lr, 0.0, steps))
    for _ in range(steps):
        (-objective(model, x, rng=rng).value.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return mg.nn.frozen(model)


def moved(model: vae.VAE) -> vae.VAE:
    """Its q(z|x), a Normal, off by SHIFT standard deviations in every dimension."""
    def encoder(x: np.ndarray) -> vae.Normal:
        q = model.posterior(x)
        return vae.Normal(q.mean + SHIFT * q.std, q.std)
    return vae.VAE(encoder, model.likelihood, model.prior)


def repeated(estimate: Callable[..., dict], x: np.ndarray, copies: int, seed: int) -> Estimate:
    """The mean over data of independent estimates of their bounds, and its standard error."""
    each = estimate(x=np.tile(x, (copies, 1)), seed=seed, each=True)
    means = each.get("elbos", each.get("log_likelihoods")).reshape(copies, len(x)).mean(axis=1)
    return Estimate(float(means.mean()), float(means.std(ddof=1) / np.sqrt(copies)))


def climb(model: vae.VAE, x: np.ndarray, exact: float, args: argparse.Namespace,
          flows: Sequence[Flow] = ()) -> dict[str, Estimate]:
    """name -> bound, first from a q that is off, then from ever richer ones."""
    rng = np.random.default_rng(args.seed)
    sizes = x.shape[1], model.prior.shape[-1]
    copies = (200 if args.quick else 2_000) // len(x)
    gaussian = {"objective": gaussian_elbo, "steps": 300, "lr": 0.05, "rng": rng}
    diagonal, full = (fitted(model, x, LinearEncoder(*sizes, full=full), **gaussian)
                      for full in (False, True))
    q_off, rungs = moved(diagonal), {}
    draws, temperatures = ((1, 5, 50), 25) if args.quick else ((1, 5, 50, 500), 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vae.LowEffectiveSampleSize)  # it is what is shown
        for k in draws:
            name = f"IWAE, {k} draws" if k > 1 else f"ELBO of a q that is off by {SHIFT:g} σ"
            rungs[name] = repeated(partial(vae.log_likelihood, q_off, samples=k), x, copies,
                                   args.seed)
    rungs[f"AIS, {temperatures} temperatures"] = repeated(
        partial(vae.annealed_log_likelihood, model, chains=16, temperatures=temperatures,
                leapfrog=4), x, max(10, copies // 10), args.seed)
    for name, best in {"diagonal": diagonal, "full-covariance": full}.items():
        rungs[f"ELBO, best {name} q"] = Estimate(float(gaussian_elbo(best, x).value.mean()), 0.0)
    if flows:
        steps = 150 if args.quick else 2_000
        encoder = LinearEncoder(*sizes, full=False, flows=flows)
        flow = fitted(model, x, encoder, partial(sgvb_a, samples=64), steps=steps, lr=0.02, rng=rng)
        rungs["ELBO, q with flows"] = repeated(
            partial(vae.evaluate, flow, objective=sgvb_a), x, 10 * copies, args.seed)
    return {**rungs, EXACT: Estimate(exact, 0.0)}


if __name__ == "__main__":
    sys.exit(main())
