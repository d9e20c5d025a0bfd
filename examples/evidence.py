"""Bounds on log p(x) that close in on it, where it is known: python examples/evidence.py --help

A linear Gaussian model whose q lies beside the posterior: the ELBO, importance weighting with ever
more draws, and annealing with ever more temperatures, from below and from above.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
from options import check_writable, parser, program

import vae

N, REPEATS = 20, 10  # data; seeds of each estimate


def beside(exact: vae.exact.LinearGaussian, x: np.ndarray, deviations: float) -> vae.VAE:
    """The model with an encoder whose means are off by so many standard deviations."""
    def encoder(x: np.ndarray) -> vae.Normal:
        q = exact.exact_posterior(x)
        std = np.sqrt(q.variance)
        return vae.Normal(q.mean + deviations * std, std)
    return exact.with_encoder(encoder)


def errors(estimate: Any, log_p: float) -> tuple[float, float]:
    """Mean distance from log p(x) over seeds, and its standard error: nats a datum."""
    off = np.array([estimate(seed) for seed in range(REPEATS)]) - log_p
    return float(off.mean()), float(off.std(ddof=1) / np.sqrt(REPEATS))


@program
def main(arguments: list[str] | None = None) -> int:
    args = parser("Estimate a log p(x) that is known.", out="out/evidence",
                  seed="of the model, the data and all noise",
                  quick="fewer draws and temperatures").parse_args(arguments)
    check_writable(args.out)
    rng = np.random.default_rng(args.seed)
    exact = vae.exact.LinearGaussian(rng.normal(size=(6, 3)), np.zeros(6), 1.0)
    z = rng.normal(size=(N, 3))
    x = exact.likelihood(z).sample(rng=rng)
    log_p = float(exact.log_marginal(x).mean())
    draws = [1, 10, 100] if args.quick else [1, 3, 10, 30, 100, 300, 1000, 3000]
    temperatures = [3, 10] if args.quick else [3, 6, 12, 25, 50, 100]

    weighted, effective = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vae.LowEffectiveSampleSize)  # it is what is shown
        for off in (0.5, 1.5, 3.0):
            model, name = beside(exact, x, off), f"q off by {off:g} σ"
            weighted[name] = [errors(lambda seed, k=k, model=model: vae.log_likelihood(
                model, x, samples=k, seed=seed)["log_likelihood"], log_p) for k in draws]
            effective[name] = [vae.log_likelihood(model, x, samples=k)["ess_mean"] for k in draws]
    how = {"chains": 16, "leapfrog": 4}
    annealed = {
        "below": [errors(lambda seed, t=t: vae.annealed_log_likelihood(
            exact, x, temperatures=t, seed=seed, **how)["log_likelihood"], log_p)
            for t in temperatures],
        "above": [errors(lambda seed, t=t: vae.annealed_upper_bound(
            exact, x, z, temperatures=t, seed=seed, **how)["upper_bound"], log_p)
            for t in temperatures]}
    panels = [
        panel("importance weighting: distance from log p(x)", "draws K", "nats", draws, weighted),
        {**panel("its effective sample size", "draws K", "ESS", draws, {
            name: [(value, None) for value in values] for name, values in effective.items()}),
         "log": "xy"},
        panel("annealing from the prior: distance from log p(x)", "temperatures", "nats",
              temperatures, annealed)]
    for one in panels:
        print(one["title"])
        for name, (at, values, _) in one["series"].items():
            print(f"  {name:16}" + "".join(f"{k:>6}: {v:8.3f}" for k, v in zip(at, values)))
    (args.out / "evidence.json").write_text(json.dumps({"log_p": log_p, "panels": panels}) + "\n")
    if not args.no_plots:
        from vae import figures  # matplotlib takes a second to load

        figures.effects(args.out / "evidence.png", panels)
        print(f"picture: {args.out / 'evidence.png'}")
    return 0


def panel(title: str, xlabel: str, ylabel: str, at: list[int], series: dict[str, list]
          ) -> dict[str, Any]:
    return {"title": title, "xlabel": xlabel, "ylabel": ylabel, "log": "x", "series": {
        name: (at, [value for value, _ in values],
               None if values[0][1] is None else [error for _, error in values])
        for name, values in series.items()}}


if __name__ == "__main__":
    sys.exit(main())
