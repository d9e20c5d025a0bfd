"""Images as a few bytes, which are counted: python examples/compression.py --help

Codes of VAEs trained with several β are rounded to multiples of a step, written by an entropy coder
and decoded again; PCA's coefficients go the same way, and zlib says what it takes without loss.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from functools import partial
from typing import Any

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.evaluation.paths import codes
from vae.likelihoods import ToGaussian
from vae.models import fit_pca
from vae.uses.compression import (
    Compressed,
    GridCoder,
    compress,
    decompress,
    ideal_rate,
    measure,
)

STD = 0.1  # of a pixel given z: the squared error weighs 1/(2·STD²) against β·KL
STEPS = (2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25)
PCA_STEPS = (8.0, 6.5, 5.0, 4.0, 3.2, 2.6, 2.1, 1.7, 1.4, 1.1, 0.9, 0.7)
Curve = dict[float, Compressed]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Compress images, and count the bytes.", out="out/compression", data=True,
               quick="a few seconds: one β, drawn digits")
    p.add_argument("--epochs", type=positive, default=6, help="of training, for each β")
    p.add_argument("--latent", type=positive, default=32, help="dimensions of z")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = vae.data.embedded(600, 200) if args.quick else vae.data.load(args.data)
    began, n = time.perf_counter(), min(2000, len(data.test))
    x, test = data.train.reshape(len(data.train), -1), data.test[:n].reshape(n, -1)
    pca = fit_pca(x[:20_000], 100)
    pca_codes = codes(pca, x)
    pca_curve, pca_seen = (curve(pca, pca_codes, images, PCA_STEPS) for images in (test, x[:n]))
    rows, curves, models = [], {"PCA, 100 components": pca_curve}, {}
    for beta in (4.0,) if args.quick else (1.0, 4.0, 16.0):
        models[beta] = model = mg.nn.frozen(trained(x, beta, args))
        z = codes(model, x)
        here, seen = (curve(model, z, images, STEPS) for images in (test, x[:n]))
        gain = {step: m.psnr - pca_at(pca_seen, m.bits) for step, m in seen.items()}
        chosen = max(gain, key=gain.get)
        ideal = ideal_rate(model, test, seed=args.seed)
        curves[f"VAE, β = {beta:g}"] = here
        curves[f"KL, β = {beta:g}"] = {0: ideal}
        prior = measure(model, GridCoder.of_prior(model.prior, chosen), test)
        rows.append({"beta": beta, "step": chosen, "vae": here[chosen]._asdict(),
                     "pca_psnr": pca_at(pca_curve, here[chosen].bits), "prior_bits": prior.bits,
                     "kl_bits": ideal.bits, "kl_psnr": ideal.psnr})
        print(f"β = {beta:g} ({time.perf_counter() - began:.0f} s)", flush=True)
    lossless = without_loss(test)
    show(curves, rows, lossless)
    (args.out / "compression.json").write_text(json.dumps(
        {"seed": args.seed, "epochs": args.epochs, "data": data.protocol, "n": n, "rows": rows,
         "zlib_bits": lossless, "curves": {name: {step: m._asdict() for step, m in each.items()}
                                           for name, each in curves.items()}}, indent=1))
    if not args.no_plots:
        from vae.figures import uses as figures  # matplotlib takes a second to load

        figures.compression(
            args.out / "compression.png",
            {name: ([m.bits for m in each.values()], [m.psnr for m in each.values()])
             for name, each in curves.items()},
            {"zlib": lossless}, pictures(pca, pca_codes, pca_curve, models, rows, x, test,
                                         data.test.shape[1:3]), f"{data.name}, {n} test images")
    print(f"results in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


def trained(x: np.ndarray, beta: float, args: argparse.Namespace) -> vae.VAE:
    rng, batch = np.random.default_rng(args.seed), 20 if args.quick else 100
    model = vae.dense_vae(x.shape[1], (400,), args.latent, rng=rng, start=x.mean(axis=0),
                          activation=mg.relu,
                          likelihood=partial(ToGaussian, std=STD, link="logit"))
    steps = args.epochs * -(-len(x) // batch)
    vae.fit(model, x, epochs=args.epochs, batch_size=batch, rng=rng,
            objective=partial(vae.beta_elbo, weight=beta),
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(2e-3, steps)))
    return model


def curve(model: Any, z: np.ndarray, images: np.ndarray, steps: tuple[float, ...]) -> Curve:
    """Bits and error of the images for each step, with tables of the training images' codes."""
    return {step: measure(model, GridCoder.fitted(z, step), images) for step in steps}


def pca_at(found: Curve, bits: float) -> float:
    """PCA's PSNR at this rate, on the line between its steps; outside of them that of the last."""
    return float(np.interp(bits, [m.bits for m in found.values()],
                           [m.psnr for m in found.values()]))


def without_loss(x: np.ndarray) -> float:
    """Bits an image of the grey levels, all in one stream of zlib."""
    return 8 * len(zlib.compress(np.rint(255 * x).astype(np.uint8).tobytes(), 9)) / len(x)


def pictures(pca: Any, pca_codes: np.ndarray, pca_curve: Curve, models: dict[float, vae.VAE],
             rows: list[dict[str, Any]], x: np.ndarray, test: np.ndarray, shape: tuple[int, int]
             ) -> dict[str, np.ndarray]:
    """Ten images, and what comes back from the bytes of each model and of PCA at the rate."""
    few, found = test[:10], {"original": test[:10]}
    for row in rows:
        model, bits = models[row["beta"]], row["vae"]["bits"]
        step = min(PCA_STEPS, key=lambda s: abs(pca_curve[s].bits - bits))
        for name, one, z, at, m in (
                (f"VAE, β = {row['beta']:g}", model, codes(model, x), row["step"],
                 Compressed(**row["vae"])),
                ("PCA", pca, pca_codes, step, pca_curve[step])):
            coder = GridCoder.fitted(z, at)
            found[f"{name}\n{m.bits:.0f} bits, {m.psnr:.1f} dB"] = decompress(
                one, coder, compress(one, coder, few))
    return {name: images.reshape(-1, *shape) for name, images in found.items()}


def show(curves: dict[str, Curve], rows: list[dict[str, Any]], lossless: float) -> None:
    print("\nbits an image, as written (ideal): PSNR in dB, for each step")
    for name, each in curves.items():
        if not name.startswith("KL"):
            print(f"{name}\n   " + "\n   ".join(
                f"Δ = {step:<5g} {m.bits:7.1f} ({m.ideal_bits:7.1f}): {m.psnr:5.2f}"
                for step, m in each.items()))
    print("\n   β     Δ    bits  VAE dB  PCA dB   gain | with the prior's table | KL bits  dB")
    for row in rows:
        m = row["vae"]
        print(f"{row['beta']:4g} {row['step']:5g} {m['bits']:7.1f} {m['psnr']:7.2f} "
              f"{row['pca_psnr']:7.2f} {m['psnr'] - row['pca_psnr']:+6.2f} | "
              f"{row['prior_bits']:15.1f} bits | {row['kl_bits']:6.1f} {row['kl_psnr']:5.2f}")
    print(f"\nwithout loss: zlib {lossless:.0f} bits, bytes as they are 6272\n")


if __name__ == "__main__":
    sys.exit(main())
