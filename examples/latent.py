"""What the codes of VAEs trained with several β hold: python examples/latent.py --help"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.evaluation.aggregate import aggregate_decomposition
from vae.evaluation.gap import inference_gap
from vae.evaluation.latent import active_units, kl_per_dimension
from vae.evaluation.quality import memorisation, recognised, sample_quality
from vae.evaluation.tradeoff import rate_distortion

BETAS, FEW = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.5, 1.0, 4.0)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Look into the codes of VAEs of drawn digits.", out="out/latent",
               quick="a few seconds: three β, one epoch")
    p.add_argument("--epochs", type=positive, default=20, help="of training, for each β")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    n_train, n_test, gap_images = (200, 100, 4) if args.quick else (2_000, 1_000, 20)
    data = vae.data.embedded(n_train, 2 * n_test)
    rng = np.random.default_rng(args.seed)
    train, held_out = ((rng.random(x.shape) < x).reshape(len(x), -1).astype(np.float32)
                       for x in (data.train, data.test))
    test, fresh = held_out[:n_test], held_out[n_test:]
    began, models = time.perf_counter(), {}
    for beta in FEW if args.quick else BETAS:
        models[beta] = trained(train, beta, 1 if args.quick else args.epochs, args.seed)
        print(f"β = {beta:g} trained ({time.perf_counter() - began:.0f} s)", flush=True)
    rows = rate_distortion(models, test, seed=args.seed)
    parts = {f"β = {beta:g}": aggregate_decomposition(model, test, seed=args.seed)
             for beta, model in models.items()}
    gaps = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vae.LowEffectiveSampleSize)  # of β far from 1
        for beta, model in models.items():
            gaps[f"β = {beta:g}"] = inference_gap(
                model, test[:gap_images], seed=args.seed, steps=20 if args.quick else 500,
                samples=100 if args.quick else 1_000)
    model = models[1.0]
    kl, units = kl_per_dimension(model, test), active_units(model, test)
    quality = [of_samples(beta, model, train, test, fresh, args.seed)
               for beta, model in models.items()]
    show(rows, parts, gaps, quality, units)
    (args.out / "latent.json").write_text(json.dumps(
        {"seed": args.seed, "epochs": args.epochs, "data": data.protocol + ", binarised once",
         "rate_distortion": rows, "quality": quality, "active": units.count,
         "kl_per_dimension": kl.value.tolist()}, indent=1))
    if not args.no_plots:
        from vae import figures  # matplotlib takes a second to load
        figures.overview(
            args.out / "latent.png", kl=kl, units=units, parts=parts, limit=math.log(n_test),
            rows=rows, found=gaps, name="784-200-20 VAEs of drawn digits, trained with several β; "
            "above on the left β = 1")
    print(f"results in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


def trained(x: np.ndarray, beta: float, epochs: int, seed: int) -> vae.VAE:
    rng = np.random.default_rng(seed)
    model = vae.dense_vae(784, (200,), 20, rng=rng, start=x.mean(axis=0))
    vae.fit(model, x, epochs=epochs, batch_size=50, rng=rng,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=2e-3),
            objective=partial(vae.beta_elbo, weight=beta))
    return model


def of_samples(beta: float, model: vae.VAE, train: np.ndarray, test: np.ndarray,
               fresh: np.ndarray, seed: int) -> dict[str, Any]:
    """Samples are drawn from p(x|z), so that they are binary as the data are."""
    model, rng = mg.nn.frozen(model), np.random.default_rng(seed)
    z = model.prior.sample(len(test), rng=rng)
    samples = model.likelihood(z).sample(rng=rng)
    near = memorisation(train, fresh, samples)
    return {"beta": beta, **sample_quality(test, samples), "nearer": near["nearer"],
            "z": near["z"], "copies": near["copies"],
            "recognised": recognised(test, model.reconstruct(test))}


def show(rows: list[dict], parts: dict, gaps: dict, quality: list[dict], units: Any) -> None:
    print("\n   β     rate  distortion    ELBO |  kl = MI + TC + Σ KL(q_j‖p_j) | approximation + "
          "amortisation")
    for row, part, gap in zip(rows, parts.values(), gaps.values()):
        print(f"{row['beta']:5g} {row['rate']:7.2f} {row['distortion']:10.2f} {row['elbo']:9.2f} |"
              f" {part.kl.value:5.2f} = {part.mutual_information.value:4.2f} + "
              f"{part.total_correlation.value:5.2f} + {part.dimension_kl.value.sum():5.2f}      | "
              f"{gap.approximation.value.mean():6.2f} + {gap.amortisation.value.mean():6.2f}")
    print(f"\nβ = 1 has {units.count} active units\n\n   β  precision  recall  density  coverage  "
          "nearer (z)  copies  recognised")
    for q in quality:
        print(f"{q['beta']:5g} {q['precision']:9.3f} {q['recall']:7.3f} {q['density']:8.3f} "
              f"{q['coverage']:9.3f}  {q['nearer']:.2f} ({q['z']:+.0f}) {q['copies']:7d} "
              f"{q['recognised']:10.3f}")
    print()


if __name__ == "__main__":
    sys.exit(main())
