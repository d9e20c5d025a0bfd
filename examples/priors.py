"""Four priors of one network, and a Gaussian where there are two modes: python examples/priors.py

Data in the plane and codes in the plane, so that log p(x) is known nearly exactly, by importance
weights or by a lattice over z, and the prior can be drawn beside the codes that it is for.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.evaluation.means import mean_and_error
from vae.likelihoods import ToGaussian

PRIORS = ("N(0, I)", "mixture", "VampPrior", "flow")
COMPONENTS, STD = 10, 0.1  # of the learned priors; σ of p(x|z), in units of x
TRAIN, TEST = 1_000, 500  # data
Z = np.linspace(-9, 9, 4001)  # where the densities of one dimension are summed


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Train one network with several priors.", out="out/priors",
               seed="the first of --seeds", quick="seconds: one seed, the pinwheel alone")
    p.add_argument("--epochs", type=positive, default=100, help="of training, for each model")
    p.add_argument("--seeds", type=positive, default=3, help="models of each kind")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    epochs, seeds = (25, 1) if args.quick else (args.epochs, args.seeds)
    targets = {"pinwheel": pinwheel} if args.quick else {"pinwheel": pinwheel, "moons": moons}
    found: dict[str, Any] = {"epochs": epochs, "seeds": seeds, "one_gaussian": one_gaussian()}
    shown, found["data"] = {}, {}
    for name, draw in targets.items():
        runs: dict[str, list[dict[str, float]]] = {prior: [] for prior in PRIORS}
        for seed in range(args.seed, args.seed + seeds):
            rng = np.random.default_rng(seed)
            train, test = draw(TRAIN, rng=rng), draw(TEST, rng=rng)
            for prior in PRIORS:
                began = time.perf_counter()
                model = trained(prior, train, epochs, seed)
                runs[prior].append(evidence(model, test, seed))
                print(f"{name}, {prior}, seed {seed} ({time.perf_counter() - began:.0f} s)",
                      flush=True)
                if seed == args.seed:
                    shown[name, prior] = model, test
        found["data"][name] = {prior: over_seeds(rows, runs["N(0, I)"])
                               for prior, rows in runs.items()}
    show(found)
    (args.out / "priors.json").write_text(json.dumps(found, indent=1) + "\n")
    if not args.no_plots:
        from vae.figures import priors  # matplotlib takes a second to load

        for name in targets:
            priors.aggregates(args.out / f"plane-priors-{name}.png", {
                prior: shown[name, prior] for prior in PRIORS}, name)
        priors.fits(args.out / "plane-gaussian.png", Z, np.exp(bimodal(Z)), found["one_gaussian"])
    print(f"results in {args.out}")
    return 0


# -- data -----------------------------------------------------------------------------------------
def pinwheel(n: int, *, rng: Generator, arms: int = 5) -> ndarray:
    """Arms about the origin, bent: (n, 2)."""
    radius, across = 1 + 0.3 * rng.standard_normal(n), 0.1 * rng.standard_normal(n)
    angle = 2 * np.pi * rng.integers(0, arms, n) / arms + 0.25 * np.exp(radius)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([radius * cos - across * sin, radius * sin + across * cos],
                    axis=-1).astype(np.float32)


def moons(n: int, *, rng: Generator) -> ndarray:
    """Two half circles, one within reach of the other: (n, 2)."""
    angle, upper = np.pi * rng.random(n), rng.random(n) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle)) - 0.5
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
    return (np.stack([x, y], axis=-1) + 0.08 * rng.standard_normal((n, 2))).astype(np.float32)


# -- models ---------------------------------------------------------------------------------------
def trained(prior: str, x: ndarray, epochs: int, seed: int) -> vae.VAE:
    """2-16-2-16-2, σ of p(x|z) given; the same beginning for every prior."""
    rng = np.random.default_rng(seed)
    model = vae.dense_vae(2, (16,), 2, rng=rng, likelihood=partial(ToGaussian, std=STD))
    if prior == "mixture":
        model.prior = vae.priors.MixturePrior(2, COMPONENTS, rng=rng)
    elif prior == "VampPrior":
        model.prior = vae.priors.VampPrior(model, 2, COMPONENTS, rng=rng, start=x, within=None)
    elif prior == "flow":
        masks = ([True, False], [False, True]) * 2
        model.prior = vae.flows.Transformed(model.prior, [
            vae.flows.Coupling(2, rng=rng, mask=mask) for mask in masks])
    vae.fit(model, x, epochs=epochs, batch_size=100, rng=np.random.default_rng(seed),
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2),
            objective=vae.estimators.sgvb_a)
    return model


def evidence(model: vae.VAE, x: ndarray, seed: int) -> dict[str, float]:
    """ELBO and log p(x), means over x in nats; with what is left of the latter's bias."""
    bound = vae.estimators.sgvb_a(mg.nn.frozen(model), x, rng=np.random.default_rng(seed),
                                  samples=50)
    found = vae.log_likelihood(model, x, samples=500, seed=seed)
    return {"elbo": float(bound.value.mean(dtype=np.float64)),
            "log_p": found["log_likelihood"], "bias": found["log_likelihood_bias"]}


def log_marginal(model: vae.VAE, x: ndarray, *, far: float = 6.0, side: int = 600) -> ndarray:
    """log ∫ p(x|z) p(z) dz by side² equal cells of |z| ≤ far: (n,), in nats."""
    fixed, edge = mg.nn.frozen(model), np.linspace(-far, far, side, dtype=np.float32)
    total = np.full(len(x), -np.inf)
    for first in edge:
        z = np.stack([np.full_like(edge, first), edge], axis=-1)
        log_p = fixed.likelihood(z[:, None]).log_prob(x) + fixed.prior.log_prob(z)[:, None]
        total = np.logaddexp(total, np.logaddexp.reduce(log_p.astype(np.float64), axis=0))
    return total + 2 * math.log(2 * far / (side - 1))


def over_seeds(rows: list[dict[str, float]], standard: list[dict[str, float]]) -> dict[str, Any]:
    """Means, and what is gained over N(0, I): each with its standard error over seeds."""
    each = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    gain = {f"{key}_gain": each[key] - [row[key] for row in standard] for key in ("elbo", "log_p")}
    return {key: [float(part) for part in mean_and_error(value)]
            for key, value in {**each, **gain}.items()}


# -- one Gaussian, and two modes ------------------------------------------------------------------
def bimodal(z: ndarray) -> ndarray:
    """log p of ½ N(-2, ½²) + ½ N(2, ½²)."""
    modes = vae.Normal(np.array([-2.0, 2.0]), np.full(2, 0.5), event_ndim=0)
    return vae.Mixture(np.zeros(2), modes, event_ndim=0).log_prob(z)


def one_gaussian() -> dict[str, dict[str, float]]:
    """The Normals nearest to it by KL(p‖q), which has its moments, and by KL(q‖p), found by search.

    KLs in nats, by the trapezoidal rule.
    """
    from scipy.optimize import minimize

    log_p, width = bimodal(Z), Z[1] - Z[0]

    def log_q(at: ndarray) -> ndarray:
        return vae.Normal(at[:1], np.exp(at[1:]), event_ndim=0).log_prob(Z)

    def reverse(at: ndarray) -> float:
        return float(np.sum(np.exp(log_q(at)) * (log_q(at) - log_p)) * width)

    p = np.exp(log_p)
    mean = np.sum(p * Z) * width
    moments = np.array([mean, 0.5 * np.log(np.sum(p * (Z - mean) ** 2) * width)])
    forward = float(np.sum(p * (log_p - log_q(moments))) * width)
    best = min((minimize(reverse, [start, 0.0], method="Nelder-Mead") for start in (-2, 0, 2)),
               key=lambda found: found.fun)
    return {"KL(p‖q)": {"mean": moments[0], "std": math.exp(moments[1]), "kl": forward},
            "KL(q‖p)": {"mean": best.x[0], "std": math.exp(best.x[1]), "kl": best.fun}}


def show(found: dict[str, Any]) -> None:
    print(f"\n{found['seeds']} seeds, {found['epochs']} epochs; nats a datum of test data")
    for name, rows in found["data"].items():
        print(f"\n{name:12}             ELBO   above N(0, I)        log p(x)   above N(0, I)")
        for prior, row in rows.items():
            print(f"{prior:12}" + "".join(f"{row[key][0]:9.3f} ± {row[key][1]:.3f}" for key in (
                "elbo", "elbo_gain", "log_p", "log_p_gain")))
    print("\none Gaussian for two modes at ±2:")
    for name, best in found["one_gaussian"].items():
        print(f"{name}: N({best['mean']:.2f}, {best['std']:.2f}²), {best['kl']:.3f} nats")
    print()


if __name__ == "__main__":
    sys.exit(main())
