"""What gradients through samples look like, how noisy they are: python examples/sampling.py --help

Estimators side by side in 16 dimensions, and six effects that the literature tells of, each
against a model whose exact gradient is known.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
from options import Refused, check_writable, parser, positive, program

import minigrad as mg
import vae
from vae import estimators, lab

DIMENSIONS = 16


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Compare estimators of gradients through samples.", out="out/sampling",
               seed="of all noise", quick="a few seconds, with wide error bars")
    p.add_argument("--repetitions", type=positive, help="of each estimator, 100 or more; by "
                   "default 10000, with --quick 500")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    n = args.repetitions or (500 if args.quick else 10_000)
    check_writable(args.out)
    if n < 100:
        raise Refused(f"--repetitions {n}: at least 100, the error bars need them")
    rng, began = np.random.default_rng(args.seed), time.perf_counter()
    tables = {"a Normal q": of_normal(rng, n), "a Bernoulli q": of_bernoulli(rng, n)}
    for name, table in tables.items():
        print(f"== {name} of {DIMENSIONS} dimensions, four draws an estimate ==\n{table}\n")
    print(f"({time.perf_counter() - began:.1f} s)\n")
    panels = [effect(rng, n) for effect in (
        fewer_draws, more_dimensions, importance_weights, landing, two_estimators, stopped)]
    for letter, panel in zip("abcdef", panels):
        panel["title"] = f"({letter}) {panel['title']}"
        print(f"{panel['title']}: {panel['finding']}")
    (args.out / "sampling.json").write_text(json.dumps({
        "estimators": {name: [
            {"estimator": r.estimator, "parameter": r.parameter, "bias": r.bias,
             "bias_by_chance": r.bias_noise, "biased": r.biased, "variance": r.variance,
             "variance_error": r.variance_error, "snr": r.snr, "microseconds": 1e6 * r.seconds}
            for r in table.rows] for name, table in tables.items()},
        "effects": panels}, indent=2) + "\n")
    if not args.no_plots:
        from vae import figures  # matplotlib takes a second to load

        figures.estimators(args.out / "estimators.png", tables)
        figures.effects(args.out / "effects.png", panels)
        print(f"pictures: {args.out / 'estimators.png'}, {args.out / 'effects.png'}")
    return 0


# -- estimators side by side ----------------------------------------------------------------------
def quadratic(rng: np.random.Generator, dimensions: int) -> tuple[Any, Any]:
    """f(z) = -½‖x - Wz‖², as of a linear decoder, and E f for independent z, exactly."""
    W = rng.standard_normal((dimensions, dimensions)) / np.sqrt(dimensions)
    x = rng.standard_normal(dimensions)

    def f(z: Any) -> Any:
        return -0.5 * np.sum((x - z @ W.T)**2, axis=-1)

    def expected(q: Any) -> Any:
        return f(q.mean) - 0.5 * np.sum(q.variance * np.sum(W**2, axis=0), axis=-1)
    return f, expected


def of_normal(rng: np.random.Generator, n: int) -> lab.Comparison:
    f, expected = quadratic(rng, DIMENSIONS)
    q = vae.Normal(0.5 * rng.standard_normal(DIMENSIONS), rng.uniform(0.4, 1, DIMENSIONS))
    four = {"samples": 4}
    return lab.compare(f, q, {
        "pathwise": partial(estimators.pathwise, **four),
        "measure-valued": partial(estimators.measure_valued, **four),
        "score": partial(estimators.score, **four),
        "score, moving average": partial(estimators.score, **four,
                                         baseline=estimators.MovingAverage()),
        "score, mean": partial(estimators.score, **four, baseline="mean"),
        "score, leave-one-out": partial(estimators.score, **four, baseline="leave-one-out"),
    }, rng=rng, repetitions=n, exact=expected)


def of_bernoulli(rng: np.random.Generator, n: int) -> lab.Comparison:
    f, expected = quadratic(rng, DIMENSIONS)
    q = vae.Bernoulli(rng.standard_normal(DIMENSIONS))
    return lab.compare(f, q, {
        "rebar": partial(estimators.rebar, samples=4),
        "gumbel-softmax": partial(estimators.gumbel_softmax, samples=4),
        "straight-through": partial(estimators.straight_through, samples=4),
        "score": partial(estimators.score, samples=4),
        "score, leave-one-out": partial(estimators.score, samples=4, baseline="leave-one-out"),
    }, rng=rng, repetitions=n, exact=expected)


# -- effects: each a panel of the picture ---------------------------------------------------------
def panel(title: str, x: str, y: str, series: dict[str, tuple], finding: str, **more: Any) -> dict:
    return {"title": title, "xlabel": x, "ylabel": y, "finding": finding, **more,
            "series": {name: [np.asarray(part, float).tolist() for part in parts]
                       for name, parts in series.items()}}


def slope(x: Any, y: Any) -> float:
    """Of y over x in logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def fewer_draws(rng: np.random.Generator, n: int) -> dict:
    draws = [1, 2, 4, 8, 16, 32]
    f, expected = quadratic(rng, DIMENSIONS)
    q = vae.Normal(np.zeros(DIMENSIONS), np.ones(DIMENSIONS))
    found = lab.compare(f, q, {str(s): partial(estimators.pathwise, samples=s) for s in draws},
                        rng=rng, repetitions=n, exact=expected)
    series = {name: series_of(found, draws, name, "variance") for name in ("mean", "log_std")}
    slopes = ", ".join(f"{slope(s[0], s[1]):.3f} by {name}" for name, s in series.items())
    return panel("Variance falls as 1/L", "draws L", "variance of the gradient", series,
                 f"the slope in logarithms is {slopes}", log="xy")


def series_of(found: lab.Comparison, xs: list, parameter: str, what: str) -> tuple:
    rows = [found[str(x), parameter] for x in xs]
    return (xs, [getattr(r, what) for r in rows], [getattr(r, f"{what}_error") for r in rows])


def more_dimensions(rng: np.random.Generator, n: int) -> dict:
    sizes, series = [1, 2, 4, 8, 16, 32, 64], {}
    for name, run in (("pathwise", estimators.pathwise), ("score function", estimators.score)):
        rows = [lab.compare(lambda z: -0.5 * np.sum(z**2, axis=-1),
                            vae.Normal(np.ones(d), np.ones(d)), {"": run}, rng=rng, repetitions=n,
                            exact=lambda q: -0.5 * np.sum(q.mean**2 + q.variance))["", "mean"]
                for d in sizes]
        series[name] = (sizes, [r.snr for r in rows], [r.snr_error for r in rows])
    ratio = [p / s for p, s in zip(series["pathwise"][1], series["score function"][1])]
    return panel("The score function's noise grows with the dimension", "dimensions",
                 "signal-to-noise ratio", series,
                 f"pathwise / score: {ratio[0]:.1f} in 1 dimension, {ratio[-1]:.0f} in 64",
                 log="xy")


def testbed(rng: np.random.Generator) -> tuple[vae.exact.LinearGaussian, np.ndarray]:
    model = vae.exact.LinearGaussian(rng.standard_normal((8, 4)), np.zeros(8), 0.8)
    return model, model.likelihood(rng.standard_normal(4)).sample(rng=rng)


def near_posterior(model: vae.exact.LinearGaussian, x: np.ndarray, shift: float,
                   spread: float = 1.0) -> vae.exact.LinearGaussian:
    """The model with q at the posterior, its means moved by `shift` spreads, its spreads scaled."""
    p = model.exact_posterior(x[None])
    std = np.sqrt(p.variance)

    def encoder(x: Any) -> vae.MultivariateNormal:
        mean = np.broadcast_to(p.mean + shift * std, (len(x), *std.shape[1:]))
        return vae.MultivariateNormal(mean, spread * p.cholesky)
    return model.with_encoder(encoder)


def importance_weights(rng: np.random.Generator, n: int) -> dict:
    ks = [1, 4, 16, 64, 256]
    model, x = testbed(rng)
    study = near_posterior(model, x, 0.2, 1.1)
    found = [lab.compare_bounds(study, x, {"DReG": partial(estimators.dreg, samples=k),
                                           "IWAE": partial(estimators.iwae, samples=k)},
                                rng=rng, repetitions=max(200, n // 10), block=50) for k in ks]
    series = {}
    for name in ("IWAE", "DReG"):
        rows = [table[name, "mean"] for table in found]
        series[name] = (ks, [r.snr for r in rows], [r.snr_error for r in rows])
    slopes = {name: slope(s[0][1:], s[1][1:]) for name, s in series.items()}
    return panel("IWAE's encoder gradient drowns as K grows", "importance samples K",
                 "signal-to-noise ratio", series,
                 f"the ratio goes as K^{slopes['IWAE']:.2f} with IWAE, as K^{slopes['DReG']:.2f} "
                 "with DReG", log="xy")


def landing(rng: np.random.Generator, n: int) -> dict:
    spreads, series = [0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0], {}
    model, x = testbed(rng)
    bounds = {"A: path and score": estimators.sgvb_a,
              "sticking the landing": estimators.sticking_the_landing}
    found = [lab.compare_bounds(near_posterior(model, x, 0.0, spread), x, bounds, rng=rng,
                                repetitions=n) for spread in spreads]
    for name in bounds:
        rows = [table[name, "mean"] for table in found]
        series[name] = (spreads, [r.variance for r in rows], [r.variance_error for r in rows])
    at = spreads.index(1.0)
    return panel("Sticking the landing: no noise at the posterior", "spread of q / the posterior's",
                 "variance of the gradient", series,
                 f"at the posterior {series['sticking the landing'][1][at]:.1g} against "
                 f"{series['A: path and score'][1][at]:.1f}", log="x")


def two_estimators(rng: np.random.Generator, n: int) -> dict:
    """Variance of the value: of A, a Monte Carlo KL, and of B, the KL in closed form."""
    spreads = [0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0]
    model, x = testbed(rng)
    series: dict[str, tuple] = {}
    for name, bound in (("A: the KL from draws", estimators.sgvb_a), ("B: the KL exact", vae.elbo)):
        values = [bound(near_posterior(model, x, 0.0, s), np.broadcast_to(x, (n, *x.shape)),
                        rng=rng).value for s in spreads]
        series[name] = (spreads, [v.var() for v in values],
                        [v.var() * np.sqrt(2 / n) for v in values])
    a, b = (part[1] for part in series.values())
    return panel("The exact KL is not always the quieter", "spread of q / the posterior's",
                 "variance of the bound (nats²)", series,
                 f"q at the posterior: A {a[5]:.1g}, B {b[5]:.1f}; q 20 times too narrow: "
                 f"A {a[0]:.2f}, B {b[0]:.1g}", log="xy", bottom=1e-5)


def stopped(rng: np.random.Generator, n: int) -> dict:
    """Gradients of encoder and decoder, through the same noise, with the path and without."""
    W, x = rng.standard_normal((8, 4)), rng.standard_normal(8)
    mean, std = np.zeros((n, 4)), np.full((n, 4), 0.5)

    def reconstruction(mean: Any, W: Any, stopped: bool) -> Any:
        z = vae.Normal(mean, std).sample(rng=rng, stopped=stopped)
        return np.sum(vae.Normal(z @ W.T, 0.8).log_prob(x)) / n

    with vae.noise.record() as eps:
        reconstruction(mean, W, False)
    norms = {}
    for way in (False, True):
        with vae.noise.replay(eps), warnings.catch_warnings():
            warnings.simplefilter("ignore", vae.StoppedGradient)
            slopes = mg.grad(partial(reconstruction, stopped=way), (0, 1))(mean, W)
        norms[way] = [float(np.linalg.norm(slopes[0].sum(axis=0))),
                      float(np.linalg.norm(slopes[1]))]
    series = {"with the path": ([0, 1], norms[False], [0, 0]),
              "stopped": ([0, 1], norms[True], [0, 0])}
    return panel("A stopped sample: the encoder's path is lost, the decoder's gradient is not",
                 "", "‖gradient of the reconstruction‖", series,
                 f"encoder {norms[False][0]:.3f} and {norms[True][0]:.3f}, decoder "
                 f"{norms[False][1]:.3f} and {norms[True][1]:.3f}", ticks=["encoder", "decoder"])


if __name__ == "__main__":
    sys.exit(main())
