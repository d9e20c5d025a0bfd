"""An auxiliary variable lets q(z|x) have two modes: python examples/auxiliary.py --help"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.models import AuxiliaryVAE
from vae.networks import ToNormal, dense

STD, Z = 0.7, np.linspace(-4.5, 4.5, 3001)
X = np.array([[1.0], [1.5], [2.0]])


class Square:
    """z -> p(x|z) = N(z², std²): z and -z say the same, so p(z|x) has two modes."""

    def __init__(self, std: float):
        self.std = std

    def __call__(self, z: Any) -> vae.Normal:
        return vae.Normal(np.square(z), self.std)


def toy(rng: np.random.Generator, *, std: float = STD, apart: bool = True) -> AuxiliaryVAE:
    """p(x|z) is given; q(u|x), q(z|u, x) and r(u|x, z) are networks with 32 hidden units.

    apart: in the beginning one hidden unit makes z about the sign of u, and one of r the reverse.
    From the usual start q stays with one mode: each q(z|u, x) goes to the nearest.
    """
    encoder, encoder_z, auxiliary = (dense([n_in, 32, 1], ToNormal, rng=rng) for n_in in (1, 2, 2))
    if apart:
        for network, at, slope, height, log_var in ((encoder_z, 0, 6.0, 1.2, -2.0),
                                                    (auxiliary, 1, 2.0, 0.8, -1.0)):
            first, last = network.layers[0], network.layers[-1].linear
            first.weight.data[:, 0] = 0
            first.weight.data[at, 0] = slope
            last.weight.data[0, 0], last.bias.data[1] = height, log_var
    return AuxiliaryVAE(encoder, encoder_z, Square(std), auxiliary, vae.Normal.standard(1), n_z=1,
                        n_u=1)


def trained(seed: int, steps: int, *, apart: bool = True) -> AuxiliaryVAE:
    """After so many steps with 32 draws of u and z for each of X, and nothing else to explain."""
    rng = np.random.default_rng(seed)
    model = toy(rng, apart=apart)
    x = np.tile(X.astype(np.float32), (320, 1))
    vae.fit(model, x, epochs=math.ceil(steps / 10), batch_size=96, rng=rng,
            objective=vae.estimators.sgvb_a,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(3e-3, steps)))
    return model


def log_posterior(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(z|x) on the grid, (m, n), and log p(x), (n,), by the trapezoidal rule."""
    z = np.broadcast_to(Z[:, None, None], (len(Z), len(x), 1))
    log_joint = Square(STD)(z).log_prob(x) + vae.Normal(np.zeros(1), np.ones(1)).log_prob(z)
    log_p = mg.logsumexp(log_joint, axis=0) + math.log(Z[1] - Z[0])
    return log_joint - log_p, log_p


def divergence(log_q: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """KL of densities on the grid: (m, …) -> (…)."""
    return (np.exp(log_q) * (log_q - log_p)).sum(axis=0) * (Z[1] - Z[0])


def best_gaussian(log_p: np.ndarray) -> np.ndarray:
    """log q(z) on the grid of the Gaussian with the least KL(q‖p(z|x)) for one datum, log_p (m,).

    From several starts, a mode alone and both together: no encoder could do better.
    """
    from scipy.optimize import minimize

    def log_q(at: np.ndarray) -> np.ndarray:
        return vae.Normal(at[0], np.exp(at[1]), event_ndim=0).log_prob(Z)
    mode = abs(Z[np.argmax(log_p)])
    found = [minimize(lambda at: divergence(log_q(at), log_p), start, method="Nelder-Mead")
             for start in ((mode, -1.5), (mode / 2, -0.5), (0.0, 0.0))]
    return log_q(min(found, key=lambda one: one.fun).x)


def gaps(model: AuxiliaryVAE, x: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Nats below log p(x) of each x (n, 1): by quadrature, but that of the bound with u.

    That one is by 20,000 draws, with the standard error `bound_se`.
    """
    model = mg.nn.frozen(model)
    log_p, evidence = log_posterior(x)
    z = np.broadcast_to(Z[:, None, None], (len(Z), len(x), 1))
    marginal = model.marginal_posterior(x, samples=1000).log_prob(z)
    gaussian = np.stack([best_gaussian(one) for one in log_p.T], axis=1)
    bound = vae.estimators.sgvb_a(model, np.tile(x, (20_000, 1)), rng=np.random.default_rng(seed))
    with_u = evidence - bound.value.reshape(20_000, -1)
    return {"gaussian": divergence(gaussian, log_p), "marginal": divergence(marginal, log_p),
            "bound": with_u.mean(axis=0), "bound_se": with_u.std(axis=0) / math.sqrt(20_000)}


def modes(model: AuxiliaryVAE, x: np.ndarray) -> list[int]:
    """How many local maxima q(z|x) of each x has on the grid, above a fifth of the highest."""
    z = np.broadcast_to(Z[:, None, None], (len(Z), len(x), 1))
    q = np.exp(mg.nn.frozen(model).marginal_posterior(x, samples=1000).log_prob(z))
    inner = (q[1:-1] > q[:-2]) & (q[1:-1] >= q[2:]) & (q[1:-1] > 0.2 * q.max(axis=0))
    return inner.sum(axis=0).tolist()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Fit the two modes of p(z|x), x = z² + noise.", out="out/auxiliary", plots=False,
               seed="of parameters, data and noise", quick="a few seconds: 300 steps")
    p.add_argument("--steps", type=positive, default=900, help="of training")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    model = trained(args.seed, min(args.steps, 300) if args.quick else args.steps)
    found, counted = gaps(model, X, seed=args.seed), modes(model, X)
    print("nats below log p(x)\n    x  best Gaussian  marginal q(z|x)   bound with u (se)  "
          "E KL(q(u|x,z)‖r)  modes of q(z|x)")
    for i, x in enumerate(X[:, 0]):
        gaussian, marginal, bound, error = (part[i] for part in found.values())
        print(f"{x:5g} {gaussian:14.3f} {marginal:16.3f} {bound:12.3f} ({error:.3f}) "
              f"{bound - marginal:17.3f} {counted[i]:16d}")
    (args.out / "auxiliary.json").write_text(json.dumps(
        {"seed": args.seed, "x": X[:, 0].tolist(), "modes": counted,
         **{name: part.tolist() for name, part in found.items()}}, indent=1))
    draw(args.out / "auxiliary.png", model, found)
    print(f"results in {args.out}")
    return 0


def draw(path: Path, model: AuxiliaryVAE, found: dict[str, np.ndarray]) -> None:
    from vae.figures import auxiliary
    model, panels = mg.nn.frozen(model), []
    log_p, _ = log_posterior(X)
    for i, x in enumerate(X):
        row = x[None]
        few = model.marginal_posterior(row, samples=8).components
        q = model.marginal_posterior(row, samples=1000)
        z = Z[:, None, None]
        panels.append(auxiliary.Densities(
            f"x = {x[0]:g}: gap {found['marginal'][i]:.2f}, Gaussian {found['gaussian'][i]:.2f}", Z,
            np.exp(log_p[:, i]), np.exp(best_gaussian(log_p[:, i])), np.exp(q.log_prob(z)[:, 0]),
            np.exp(few.log_prob(z[..., None])[:, 0]).T))
    auxiliary.posteriors(path, panels, "x = z² + noise: gaps KL(q(z|x)‖p(z|x)) in nats")


if __name__ == "__main__":
    sys.exit(main())
