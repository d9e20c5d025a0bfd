"""Why a VAE's samples blur, by the asymmetry of the KL: python examples/blur.py --help

Two modes and one Gaussian, fitted by either KL; then VAEs of a ring, with poorer and richer q(z|x)
and decoders, and how much they put where there are no data.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.estimators import sgvb_a
from vae.evaluation.means import mean_and_error
from vae.flows import InverseAutoregressive, ToTransformed
from vae.likelihoods import ToLearnedGaussian
from vae.networks import ToNormal, dense
from vae.posteriors import ToMultivariateNormal

SMALL = 0.01  # times the greatest density of the data: below is off the data
MODES = vae.Mixture(np.log([0.6, 0.4]), vae.Normal(np.array([-2.0, 2.0]), 0.5, event_ndim=0))
X = np.linspace(-20, 20, 1601)  # nodes of the trapezoidal rule
ENCODER, SMALL_DECODER, LARGE_DECODER = 32, 4, 32  # units of two hidden layers each
POSTERIORS, DECODERS = ("diagonal", "full covariance", "flow"), (SMALL_DECODER, LARGE_DECODER)
PARTS = "joint", "forward", "gap", "off"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Mass where there are no data.", out="out/blur", seed="the first of --seeds",
               quick="a few seconds: hardly trained VAEs")
    p.add_argument("--steps", type=positive, default=1_200, help="of training, for each VAE")
    p.add_argument("--seeds", type=positive, default=5, help="trainings of each VAE, 2 or more")
    args = p.parse_args(arguments)
    if args.seeds < 2:
        p.error("--seeds: one training has no spread, give 2 or more")
    return args


# -- one Gaussian for two modes -------------------------------------------------------------------
class Fit(NamedTuple):
    """A Gaussian, its divergences from and of the data in nats, and its mass off the data."""

    mean: float
    std: float
    forward: float
    reverse: float
    off: float
    left: float


def integral(f: Any) -> Any:
    """∫ f over the last axis, on the nodes X."""
    return f.sum(-1) * (X[1] - X[0])


def forward_kl(mean: Any, std: Any) -> Any:
    """KL(p_data‖N(mean, std²)), which is infinite nowhere: q is positive everywhere."""
    log_p = MODES.log_prob(X)
    return integral(np.exp(log_p) * (log_p - normal(mean, std).log_prob(X)))


def reverse_kl(mean: Any, std: Any) -> Any:
    """KL(N(mean, std²)‖p_data)."""
    log_q = normal(mean, std).log_prob(X)
    return integral(np.exp(log_q) * (log_q - MODES.log_prob(X)))


def normal(mean: Any, std: Any) -> vae.Normal:
    return vae.Normal(mean[..., None], std[..., None], event_ndim=0)


def moments() -> tuple[np.ndarray, np.ndarray]:
    """What minimises the forward KL in closed form: the mean and the spread of the data."""
    return MODES.mean, np.sqrt(MODES.variance)


def reverse_optima(steps: int = 400) -> list[tuple[float, float]]:
    """All minima (mean, std) of the reverse KL that descent from a grid of starts finds."""
    starts = np.stack(np.meshgrid(np.linspace(-4, 4, 9), np.log([0.3, 1.0, 3.0])), -1)
    at = mg.Tensor(starts.reshape(-1, 2))
    optimizer = mg.optim.Adam([at], lr=vae.schedules.linear(0.1, 0.0, steps))
    for _ in range(steps):
        reverse_kl(at[:, 0], np.exp(at[:, 1])).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    found = {(round(float(m), 2) + 0.0, round(float(np.exp(s)), 2)) for m, s in at.data}
    return sorted(found)


def one_dimension() -> dict[str, Fit]:
    """name -> a Gaussian: the forward KL's, and every minimum of the reverse KL, the best first."""
    best, *others = sorted((fit(*at) for at in reverse_optima()), key=lambda one: one.reverse)
    return {"forward KL": fit(*moments()), "reverse KL, best minimum": best,
            **{f"reverse KL, minimum {k}": one for k, one in enumerate(others, start=2)}}


def fit(mean: Any, std: Any) -> Fit:
    mean, std = np.asarray(mean), np.asarray(std)
    p, q = np.exp(MODES.log_prob(X)), np.exp(normal(mean, std).log_prob(X))
    return Fit(*map(float, (mean, std, forward_kl(mean, std), reverse_kl(mean, std),
                            integral(q * (p < SMALL * p.max())), integral(q * (X < 0)))))


# -- VAEs of a ring -------------------------------------------------------------------------------
RADIUS, SPREAD = 1.0, 0.1


def ring(n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Points (n, 2) whose angle is uniform and whose radius is N(RADIUS, SPREAD²)."""
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.normal(RADIUS, SPREAD, n)
    return (radius * np.stack([np.cos(angle), np.sin(angle)])).T.astype(np.float32)


def log_density(x: np.ndarray) -> np.ndarray:
    """log p_data of points (n, 2); a negative radius is ten standard deviations away."""
    radius = np.sqrt(np.square(x, dtype=np.float64).sum(-1))
    return vae.Normal(RADIUS, SPREAD, event_ndim=0).log_prob(radius) - np.log(2 * np.pi * radius)


def share_off(x: np.ndarray) -> float:
    """The share of points that lie where p_data is below SMALL times its greatest value."""
    along = np.stack([np.linspace(0.5, 1.5, 1001) * RADIUS, np.zeros(1001)], axis=-1)
    return float(np.mean(log_density(x) < log_density(along).max() + np.log(SMALL)))


def model_of(posterior: str, decoder: int, *, rng: np.random.Generator) -> vae.VAE:
    flows = [InverseAutoregressive(2, reverse=k > 0, n_context=ENCODER, rng=rng)
             for k in range(2)] if posterior == "flow" else []
    head = {"diagonal": ToNormal, "full covariance": ToMultivariateNormal,
            "flow": partial(ToTransformed, flows=flows)}[posterior]
    return vae.VAE(dense([2, ENCODER, ENCODER, 2], head, rng=rng),
                   dense([2, decoder, decoder, 2], partial(ToLearnedGaussian, std=0.5, floor=0.01),
                         rng=rng), vae.Normal.standard(2))


def ring_vae(posterior: str, decoder: int, *, steps: int, seed: int, points: int = 2_000
             ) -> dict[str, Any]:
    """A VAE that has seen fresh points of the ring at each step; numbers in nats a datum.

    joint: KL(q_D(x) q(z|x)‖p(x, z)) = forward + gap, with forward = KL(q_D‖p(x)), where q_D is the
    ring itself, by so many points.  off: the share of ten times as many samples that lie off it.
    """
    rng = np.random.default_rng(seed)
    model = model_of(posterior, decoder, rng=rng)
    x = ring(100 * steps, rng=rng)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=vae.schedules.linear(1e-2, 0.0, steps))
    warm_up = vae.schedules.linear(0.0, 1.0, steps // 4)  # or some decoders never heed z
    vae.fit(model, x, epochs=1, batch_size=100, rng=rng, optimizer=optimizer,
            objective=partial(vae.beta_elbo, bound=sgvb_a, weight=warm_up))
    model, test = mg.nn.frozen(model), ring(points, rng=np.random.default_rng(1))
    entropy = -log_density(test).mean()
    elbo = vae.evaluate(model, test, objective=sgvb_a, repeats=10)["elbo"]
    log_p = vae.log_likelihood(model, test, samples=200)["log_likelihood"]
    rng = np.random.default_rng(2)
    samples = model.likelihood(model.prior.sample((10 * points,), rng=rng)).sample(rng=rng)
    return {"joint": -entropy - elbo, "forward": -entropy - log_p, "gap": log_p - elbo,
            "off": share_off(samples), "samples": samples}


def table(args: argparse.Namespace, rings: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """A row for each posterior and decoder, values as (mean over seeds, standard error); the
    samples of the first seed go to `rings`."""
    rows = []
    for decoder in DECODERS:
        for posterior in POSTERIORS:
            runs = [ring_vae(posterior, decoder, steps=args.steps, seed=args.seed + k,
                             points=100 if args.quick else 2_000) for k in range(args.seeds)]
            rings[f"{posterior}, {decoder} units"] = runs[0]["samples"][:2_000]
            values = {name: [run[name] for run in runs] for name in PARTS}
            rows.append({"posterior": posterior, "decoder": decoder, **{
                name: tuple(map(float, mean_and_error(np.array(each))))
                for name, each in values.items()}, "off_by_seed": values["off"]})
            tell(rows[-1])
    return rows


def tell(row: dict[str, Any]) -> None:
    print(f"  {row['posterior']:16}{row['decoder']:8}" + "".join(
        f"{100 * row[name][0]:11.1f} ± {100 * row[name][1]:4.1f}" if name == "off"
        else f"{row[name][0]:10.3f} ± {row[name][1]:.3f}" for name in PARTS)
        + "   by seed:" + "".join(f"{100 * off:6.1f}" for off in row["off_by_seed"]), flush=True)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.quick:
        args.steps, args.seeds = min(args.steps, 30), min(args.seeds, 2)
    check_writable(args.out)
    began, fits = time.perf_counter(), one_dimension()
    print("one Gaussian for two modes            mean    std  KL(p‖q)  KL(q‖p)  % off the data  "
          "% in the left half")
    for name, one in fits.items():
        print(f"  {name:32}{one.mean:8.2f}{one.std:7.2f}{one.forward:9.3f}{one.reverse:9.3f}"
              f"{100 * one.off:16.1f}{100 * one.left:20.1f}")
    rings = {"data": ring(2_000, rng=np.random.default_rng(args.seed))}
    own = share_off(ring(100_000, rng=np.random.default_rng(1)))
    print(f"\nVAEs of a ring, {args.steps} steps, nats a datum, mean ± standard error over "
          f"{args.seeds} seeds\n  posterior        decoder         KL of (x, z)         KL of x  "
          f"           gap of q   % off the data (of the data: {100 * own:.1f})")
    rows = table(args, rings)
    (args.out / "blur.json").write_text(json.dumps(
        {"fits": {name: one._asdict() for name, one in fits.items()}, "steps": args.steps,
         "seeds": args.seeds, "rings": rows, "off_of_the_data": own}, indent=1) + "\n")
    if not args.no_plots:
        from vae.figures.blur import rings as draw_rings  # matplotlib takes a second to load
        from vae.figures.blur import two_fits
        two_fits(args.out / "blur-kl.png", X, np.exp(MODES.log_prob(X)), fits)
        draw_rings(args.out / "blur-rings.png", rings, rows)
    print(f"\nresults in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
