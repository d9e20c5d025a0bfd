"""Posteriors of more and more freedom against two that are known: python examples/flows.py --help

A diagonal Normal, one of full covariance and the flows are fitted to a banana and to two modes by
the ELBO, and held against log p by quadrature: the gap is KL(q‖p), in nats.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.flows import (
    Flow,
    InverseAutoregressive,
    Planar,
    Radial,
    Sylvester,
    Transformed,
    couplings,
)

DRAWS = 128  # a step of training


def banana(z: Any) -> Any:
    """An unnormalised log density: the neighbourhood of a parabola."""
    return -0.5 * np.square(z[..., 0] / 1.5) - 2 * np.square(z[..., 1] - np.square(z[..., 0]) + 1)


def two_modes(z: Any) -> Any:
    """An unnormalised log density: two hills, 3.6 apart, leaning away from each other."""
    x, y = z[..., 0], z[..., 1]
    hills = [-np.square(x - s * 1.8) / 0.72 - np.square(y - s * 0.8 * x) / 0.72 for s in (1, -1)]
    return mg.logsumexp(np.stack(hills), axis=0)


class Target(NamedTuple):
    """An unnormalised log density, and the box (x0, x1, y0, y1) outside of which it is nothing."""

    log_density: Callable[[Any], Any]
    box: tuple[float, float, float, float]
    shown: tuple[float, float, float, float]

    def log_normaliser(self) -> float:
        """log ∫ by the trapezoidal rule, whose error here is that of rounding."""
        x, y = (np.linspace(*ends, 1601) for ends in (self.box[:2], self.box[2:]))
        values = self.log_density(np.stack(np.meshgrid(x, y), -1))
        return float(mg.logsumexp(values) + np.log((x[1] - x[0]) * (y[1] - y[0])))


TARGETS = {"banana": Target(banana, (-12, 12, -6, 150), (-3.5, 3.5, -2.5, 6)),
           "two modes": Target(two_modes, (-9, 9, -12, 12), (-4, 4, -2, 4.5))}


class Fitted:
    """q(z): a Normal whose mean and spread are learned, then flows."""

    def __init__(self, flows: list[Any]):
        self.mean, self.log_std = mg.Tensor(np.zeros(2)), mg.Tensor(np.zeros(2))
        self.flows = flows

    def __call__(self) -> Transformed:
        return Transformed(vae.Normal.from_log_std(self.mean, self.log_std), self.flows)


class FullCovariance:
    """q(z) = N(mean, L Lᵀ)."""

    def __init__(self) -> None:
        self.mean, self.raw = mg.Tensor(np.zeros(2)), mg.Tensor(np.zeros((2, 2)))

    def __call__(self) -> vae.MultivariateNormal:
        one = np.eye(2)
        return vae.MultivariateNormal(self.mean, np.tril(self.raw, -1) + one * np.exp(self.raw))


def families(seed: int) -> dict[str, Any]:
    """Name -> () -> q(z), each with parameters of its own."""
    options: dict[str, Any] = {"rng": np.random.default_rng(seed), "dtype": np.float64}
    turns = [bool(i % 2) for i in range(4)]
    return {"diagonal": Fitted([]), "full covariance": FullCovariance(),
            "planar, 16": Fitted([Planar(2, scale=0.5, **options) for _ in range(16)]),
            "radial, 16": Fitted([Radial(2, **options) for _ in range(16)]),
            "coupling, 4": Fitted(couplings(2, 4, hidden=(32,), **options)),
            "IAF, 4": Fitted([InverseAutoregressive(2, hidden=(32,), reverse=r, **options)
                              for r in turns]),
            "Sylvester, 8": Fitted([Sylvester(2, scale=0.5, **options) for _ in range(8)])}


def fit(model: Any, log_density: Callable[[Any], Any], *, steps: int, seed: int,
        lr: float = 2e-2, warm: float = 0.3) -> None:
    """Maximise E_q[β log p̃(z) - log q(z)], β rising from 0.1 to 1 in the first `warm` of the steps.

    So a q that begins on one mode finds the other before the valley between them is deep: Rezende
    and Mohamed (2015), equation 20.  The rate falls to 0 in the second half.
    """
    rng, weights = np.random.default_rng(seed), mg.nn.parameters(model)
    optimizer = mg.optim.Adam(weights, lr=lr)
    for step in range(steps):
        optimizer.lr = lr * min(1, 2 * (1 - step / steps))
        beta = min(1, 0.1 + 0.9 * step / max(1, warm * steps))
        q = model()
        z = q.sample((DRAWS,), rng=rng)
        loss = np.mean(q.log_prob(z) - beta * log_density(z))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def elbo_of(model: Any, log_density: Callable[[Any], Any], *, seed: int,
            draws: int) -> tuple[float, float]:
    """E_q[log p̃ - log q], in nats, and its standard error."""
    q = mg.nn.frozen(model)()
    z = q.sample((draws,), rng=np.random.default_rng(seed))
    bounds = log_density(z) - q.log_prob(z)
    return float(bounds.mean()), float(bounds.std() / math.sqrt(draws))


def surface(model: Any, shown: tuple[float, ...], points: int) -> tuple[np.ndarray, ...]:
    """x, y and q at points (points, points): of a flow, where it takes a grid of the base's.

    That needs no inverse, so that it does for every flow.
    """
    q = mg.nn.frozen(model)()
    if isinstance(q, Transformed):
        axis = 5 * np.linspace(-1, 1, points)
        start = q.base.mean + q.base.std * np.stack(np.meshgrid(axis, axis), -1)
        z, log_det = Flow.through(q.flows, start)
        return z[..., 0], z[..., 1], np.exp(q.base.log_prob(start) - log_det)
    x, y = np.meshgrid(np.linspace(*shown[:2], points), np.linspace(*shown[2:], points))
    return x, y, np.exp(q.log_prob(np.stack((x, y), -1)))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Fit flows to a banana and to two modes.", out="out/flows",
               seed="of parameters and noise", quick="a few seconds: 20 steps")
    p.add_argument("--steps", type=positive, default=500, help="of training, for each posterior")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    began, found, rows = time.perf_counter(), {}, []
    steps, draws, points = (20, 2_000, 41) if args.quick else (args.steps, 50_000, 181)
    for name, target in TARGETS.items():
        log_z = target.log_normaliser()
        print(f"\n{name}: log p by quadrature {log_z:.4f}\n{'posterior':<18}{'ELBO':>9}{'gap':>9}"
              f"{'error':>9}{'seconds':>9}")
        panels = []
        for family, model in families(args.seed).items():
            start = time.perf_counter()
            fit(model, target.log_density, steps=steps, seed=args.seed)
            elbo, error = elbo_of(model, target.log_density, seed=args.seed, draws=draws)
            gap, seconds = log_z - elbo, time.perf_counter() - start
            rows.append({"target": name, "posterior": family, "log_p": log_z, "elbo": elbo,
                         "gap": gap, "error": error, "seconds": seconds})
            panels.append((f"{family}: gap {gap:.3f}", *surface(model, target.shown, points)))
            print(f"{family:<18}{elbo:9.4f}{gap:9.4f}{error:9.4f}{seconds:9.1f}", flush=True)
        found[name] = panels
    (args.out / "flows.json").write_text(json.dumps({"seed": args.seed, "rows": rows}, indent=1))
    if not args.no_plots:
        from vae.figures import flows

        flows.posteriors(args.out / "flows.png", [
            (name, TARGETS[name].log_density, TARGETS[name].shown, panels)
            for name, panels in found.items()])
        print(f"picture: {args.out / 'flows.png'}")
    print(f"results in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
