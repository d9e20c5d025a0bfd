"""Likelihoods on grey digits, and intervals of curves: python examples/likelihoods.py --help

Each likelihood trains the same network on the embedded digits, 8-bit grey values.  Those that are
densities see them dequantised, (255x + u)/256 with u uniform on [0, 1) (Theis et al. 2016), so that
their bounds can be turned into bits for each of the 8-bit values.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import Any

import numpy as np
from options import check_writable, parser, program

import minigrad as mg
import vae
from vae.likelihoods import (
    FOR_IMAGES,
    ToLearnedGaussian,
    batch_calibrated,
    calibrate,
    mse_weights,
)

PIXELS = 784


@program
def main(arguments: list[str] | None = None) -> int:
    args = parser("Likelihoods of images and of curves, side by side.", out="out/likelihoods",
                  quick="seconds, of models hardly trained").parse_args(arguments)
    check_writable(args.out)
    print(f"{mse_weights(PIXELS)}\n")
    models, rows, test = images(args)
    model, curves = of_curves(args)
    found = {"images": rows, "covered": curves["covered"]}
    (args.out / "likelihoods.json").write_text(json.dumps(found, indent=2) + "\n")
    if not args.no_plots:
        from vae import figures  # matplotlib takes a second to load

        figures.densities(args.out / "likelihoods.png")
        figures.std_map(args.out / "likelihood-std.png", models["gaussian-datum"], test[:8],
                        (28, 28), "one σ for each pixel and datum")
        figures.band(args.out / "likelihood-intervals.png", model, curves["x"][:2], curves["t"],
                     curves["std"], "predict_interval(x, k): one σ for each point of the curve")
        print(f"pictures in {args.out}")
    return 0


# -- images --------------------------------------------------------------------------------------
def dequantised(x: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    return (255 * x + rng.random(x.shape, np.float32)) / 256


def images(args: argparse.Namespace) -> tuple[dict[str, vae.VAE], list[dict], np.ndarray]:
    """A model, and what it reaches on test images, for each likelihood."""
    sizes = (300, 100) if args.quick else (2000, 500)
    digits = vae.data.embedded(*sizes)
    x, test = (part.reshape(len(part), PIXELS) for part in (digits.train, digits.test))
    models, rows = {}, []
    print(f"{'likelihood':24s} {'bound, nats':>12s} {'± s.e.':>8s} {'bits a pixel':>13s}")
    for name, head in FOR_IMAGES.items():
        rng = np.random.default_rng(args.seed)
        model = vae.dense_vae(PIXELS, (50,) if args.quick else (100,), 16, rng=rng,
                              start=x.mean(axis=0), activation=mg.relu, likelihood=head)
        exact = name in ("bernoulli", "discretized-logistic")
        options: dict[str, Any] = {} if exact else {"prepare": dequantised}
        optimal = name == "gaussian-optimal"
        vae.fit(model, x, epochs=3 if args.quick else 20, batch_size=50, rng=rng,
                optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-3),
                objective=batch_calibrated(vae.elbo) if optimal else vae.elbo, **options)
        if optimal:
            calibrate(model, dequantised(x, rng=rng))
        scored = test if exact else dequantised(test, rng=np.random.default_rng(1))
        row = {"likelihood": name, **scores(model, scored, density=not exact)}
        if name == "bernoulli":  # of grey values a cross-entropy
            row["bits"] = None
        bits = "no likelihood" if row["bits"] is None else f"{row['bits']:.3f}"
        print(f"{name:24s} {row['bound']:12.1f} {row['error']:8.1f} {bits:>13s}")
        models[name] = model
        rows.append(row)
    return models, rows, test


def scores(model: vae.VAE, x: np.ndarray, *, density: bool) -> dict[str, float]:
    """The mean bound, its standard error, and -log₂ P of a pixel, of which it is a bound above.

    P(x) of an 8-bit image is the density's integral over its cell of volume 256⁻ᵈ, whose logarithm
    is by Jensen's inequality at least the mean log density there, less d·log 256.
    """
    bound = vae.elbo(mg.nn.frozen(model), x, rng=np.random.default_rng(0)).value
    mean = float(bound.mean(dtype=np.float64))
    log_p = mean - PIXELS * np.log(256) if density else mean
    return {"bound": mean, "error": float(bound.std() / np.sqrt(len(x))),
            "bits": float(-log_p / PIXELS / np.log(2))}


# -- curves --------------------------------------------------------------------------------------
def of_curves(args: argparse.Namespace) -> tuple[vae.VAE, dict[str, Any]]:
    """Curves a·sin(2πt + b) of 80 points, with noise that grows along t; a VAE with σ(t)."""
    rng, t = np.random.default_rng(args.seed), np.linspace(0, 1, 80, dtype=np.float32)
    std = 0.05 + 0.4 * t**2

    def curves(n: int) -> np.ndarray:
        a, b = rng.uniform(0.5, 1.5, (n, 1)), rng.uniform(-1, 1, (n, 1))
        clean = a * np.sin(2 * np.pi * t + b)
        return (clean + std * rng.standard_normal((n, 80))).astype(np.float32)
    x, test, epochs = curves(2000), curves(2000), 25 if args.quick else 50
    model = vae.dense_vae(80, (64,), 2, rng=rng, start=x.mean(axis=0),
                          likelihood=partial(ToLearnedGaussian, one_per="pixel", std=0.3))
    steps = epochs * 40
    vae.fit(model, x, epochs=epochs, batch_size=50, rng=rng, optimizer=mg.optim.Adam(
        mg.nn.parameters(model), lr=lambda k: 1e-2 * (1 - k / (steps + 1))))
    covered = {}
    for k, nominal in ((1, 68.3), (2, 95.4), (3, 99.7)):
        low, high = mg.nn.frozen(model).predict_interval(test, k)
        covered[k] = float(100 * np.mean((low <= test) & (test <= high)))
        print(f"mean ± {k}σ covers {covered[k]:.2f} % of test curves (Gaussian: {nominal})")
    return model, {"x": test, "t": t, "std": std, "covered": covered}


if __name__ == "__main__":
    sys.exit(main())
