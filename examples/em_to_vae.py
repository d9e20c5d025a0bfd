"""From EM to the VAE on models whose posterior is known: python examples/em_to_vae.py --help

One mixture of Gaussians and one probabilistic PCA are fitted by EM, by EM with a q for every datum
that gradients improve, and by an encoder and gradients, as a VAE is: Dempster et al. (1977),
Neal and Hinton (1998), Kingma and Welling (2014).
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from options import Refused, check_writable, parser, positive, program, rate

import minigrad as mg
from vae import exact

EXACT, FREE, ENCODER = "EM, q = p(z|x)", "EM, a free q per datum", "encoder, gradients"
BOTH, NO_Q, NO_MODEL = "θ and φ learn", "φ is held", "θ is held"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Fit two models by EM and as a VAE is fitted.", out="out/em_to_vae", plots=False,
               seed="of models, data and networks", quick="a second, with few steps")
    p.add_argument("--data", type=positive, default=300, help="drawn from each model, 10 or more")
    p.add_argument("--steps", type=positive, default=300, help="updates of the parameters θ")
    p.add_argument("--lr", type=rate, default=0.03, help="of Adam, for encoder and gradients")
    args = p.parse_args(arguments)
    if args.data < 10:
        p.error("--data: the models need 10 or more")
    return args


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.quick:
        args.data, args.steps = min(args.data, 100), min(args.steps, 15)
    check_writable(args.out)
    try:
        mixture, pca = (study(kind, args) for kind in ("mixture", "pca"))
        parts = held(args, *mixture[:2])
    except ValueError as error:  # a matrix or a spread that is none
        raise Refused(f"the parameters have diverged, try a smaller --lr than {args.lr:g} ({error})"
                      ) from error
    panels = [("mixture of 4 Gaussians", mixture[2], "log p(x) of the true θ", mixture[3]),
              ("probabilistic PCA, 2 of 6 dimensions", pca[2], "maximum of log p(x)", pca[3]),
              ("the mixture: what learns, q(z|x) fitted first", parts, "log p(x) of the true θ",
               mixture[3])]
    report(panels)
    from vae import figures  # matplotlib takes a second to load

    figures.em_traces(args.out / "em_to_vae.png", panels)
    print(f"picture: {args.out / 'em_to_vae.png'}")
    return 0


def study(kind: str, args: argparse.Namespace) -> tuple:
    """Where the fits begin, the data, the traces of three fits, and a height to compare with."""
    rng = np.random.default_rng(args.seed)
    make = {"mixture": a_mixture, "pca": a_pca}[kind]
    start, x, reference = make(args.data, rng)
    encoder = exact.encoder_for(start, x.shape[1], [20] if kind == "mixture" else [], rng=rng)
    traces = {EXACT: exact.exact_em(start, x, args.steps).trace,
              FREE: exact.free_em(start, x, args.steps).trace,
              ENCODER: exact.amortized(start, encoder, x, args.steps,
                                        lr=mg.optim.cosine(args.lr, args.steps)).trace}
    return start, x, traces, reference


def a_mixture(n: int, rng: np.random.Generator) -> tuple:
    """Four Gaussians in the plane; fits begin at four of the data, broad and equally likely."""
    true = exact.GaussianMixture(np.log([0.4, 0.3, 0.2, 0.1]), 2 * rng.standard_normal((4, 2)),
                                 rng.uniform(0.5, 1, (4, 2)))
    x = drawn(true, n, rng)
    means = x[rng.choice(n, 4, replace=False)]
    start = exact.GaussianMixture(np.zeros(4), means, np.tile(x.std(axis=0), (4, 1)))
    return start, x, true.log_marginal(x).mean()


def a_pca(n: int, rng: np.random.Generator) -> tuple:
    """Two directions in six dimensions; fits begin at small weights."""
    true = exact.LinearGaussian(rng.standard_normal((6, 2)), rng.standard_normal(6), 0.5)
    x = drawn(true, n, rng)
    start = exact.LinearGaussian(0.3 * rng.standard_normal((6, 2)), x.mean(axis=0), 1.0)
    return start, x, exact.LinearGaussian.most_likely(x, 2).log_marginal(x).mean()


def drawn(model: exact.ExactModel, n: int, rng: np.random.Generator) -> np.ndarray:
    return model.likelihood(model.prior.sample((n,), rng=rng)).sample(rng=rng)


def held(args: argparse.Namespace, start: exact.GaussianMixture, x: np.ndarray) -> dict:
    """An encoder is fitted to the first θ; from there θ, φ or both move.

    Each begins with small steps, since Adam's first ones have the same length at any slope.
    """
    traces, slowly = {}, mg.optim.warmup(mg.optim.cosine(args.lr, args.steps), 30)
    for name, learn in ((BOTH, ("model", "encoder")), (NO_Q, ("model",)),
                        (NO_MODEL, ("encoder",))):
        encoder = exact.encoder_for(start, x.shape[1], [20], rng=np.random.default_rng(args.seed))
        exact.amortized(start, encoder, x, args.steps, lr=args.lr, learn=("encoder",))
        traces[name] = exact.amortized(start, encoder, x, args.steps, lr=slowly,
                                       learn=learn).trace
    return traces


def report(panels: list[tuple]) -> None:
    """A table: how far each fit came, and how tight its bound was on the way."""
    print(f"{'nats per datum':<26} {'log p(x)':>19} {'ELBO':>9} {'gap':>9} {'largest gap':>12}")
    for title, traces, name, reference in panels:
        print(f"{title}\n  {name:<24} {reference:19.4f}")
        for label, trace in traces.items():
            first, last = trace[0], trace[-1]
            print(f"  {label:<24} {first.log_likelihood:8.4f} ->{last.log_likelihood:8.4f} "
                  f"{last.elbo:9.4f} {last.gap:9.1e} {max(point.gap for point in trace):12.1e}")


if __name__ == "__main__":
    sys.exit(main())
