"""A VQ-VAE, its codes, and three priors over them: python examples/vqvae.py --help"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae import models
from vae.data import mnist
from vae.models.masked import MaskedCodes, code_likelihood


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Train a VQ-VAE and priors over its codes.", out="out/vqvae", data=True, plots=False,
               seed="of parameters, batches and draws", quick="a few seconds: few drawn digits")
    p.add_argument("--epochs", type=positive, default=3, help="of training, also of the prior")
    p.add_argument("--codebook", choices=("gradient", "moving"), default="gradient",
                   help="what moves the vectors: their loss, or moving averages")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = vae.data.embedded(600, 200) if args.quick else mnist.load(args.data)
    began = time.perf_counter()
    x, test = (a.reshape(len(a), -1).astype(np.float32) for a in (data.train, data.test))
    model = trained(x, args)
    print(f"trained ({time.perf_counter() - began:.0f} s)", flush=True)
    priors = priors_of(model, x, args)
    print(f"priors over codes trained ({time.perf_counter() - began:.0f} s)", flush=True)
    found = numbers(model, priors, x, test, args.seed)
    show(found, data.name)
    (args.out / "vqvae.json").write_text(json.dumps(
        {"seed": args.seed, "epochs": args.epochs, "codebook": args.codebook, "data": data.name,
         **found}, indent=1))
    draw(args.out / "vqvae.png", model, priors, test, args.seed, data.name)
    print(f"results in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


def falling(rate: float, steps: int) -> Any:
    """A learning rate that falls to 0 along half a cosine."""
    return lambda step: 0.5 * rate * (1 + math.cos(math.pi * min(step / steps, 1)))


def trained(x: np.ndarray, args: argparse.Namespace) -> models.VQVAE:
    """128 codes of 16; those that are dead after an epoch are revived, but for the last two: where
    the learning rate is small they would not find their places."""
    rng, moving = np.random.default_rng(args.seed), args.codebook == "moving"
    channels, batch = ((8, 16), 20) if args.quick else ((32, 64), 128)
    model = models.conv_vqvae(channels=channels, rng=rng, start=x.mean(axis=0),
                              decay=0.99 if moving else None)
    model.start_codebook(x[:200], rng=rng)
    steps = args.epochs * -(-len(x) // batch)

    def on_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] < args.epochs - 1:
            model.revive(x[:2_000], rng=rng)

    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=falling(2e-3, steps))
    vae.fit(model, x, epochs=args.epochs, batch_size=batch, rng=rng, optimizer=optimizer,
            on_epoch=on_epoch,
            objective=models.moving_objective if moving else models.vq_objective)
    return model


def priors_of(model: models.VQVAE, x: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    """The uniform prior, counts of the training data's codes, and a PixelCNN of them."""
    rng, codes, n_codes = np.random.default_rng(args.seed), model.encode(x), model.codebook.n_codes
    masked = MaskedCodes.of(codes, n_codes, rng=rng, channels=8 if args.quick else 32)
    batch = 20 if args.quick else 128
    steps = args.epochs * -(-len(x) // batch)
    vae.fit(masked, codes.astype(np.float32), epochs=args.epochs, batch_size=batch, rng=rng,
            optimizer=mg.optim.Adam(mg.nn.parameters(masked), lr=falling(3e-3, steps)),
            objective=code_likelihood)
    return {"uniform": models.UniformCodes(codes.shape[1:], n_codes),
            "counted": models.CountedCodes.of(codes, n_codes), "masked": masked}


def numbers(model: models.VQVAE, priors: dict[str, Any], x: np.ndarray, test: np.ndarray,
            seed: int) -> dict[str, Any]:
    """Of the test images, in nats, bits and squared error a pixel."""
    model, rng = mg.nn.frozen(model), np.random.default_rng(seed)
    batches = [test[i:i + 500] for i in range(0, len(test), 500)]
    parts: dict[str, list] = {"reconstruction": [], "kl": [], "commitment": [], "error": []}
    for batch in batches:
        found = models.vq_objective(model, batch, rng=rng)
        parts["reconstruction"].append(found.reconstruction)
        parts["kl"].append(found.kl)
        parts["commitment"].append(model.quantise(batch)[1].commitment)
        parts["error"].append(np.square(model.reconstruct(batch) - batch).mean(axis=1))
    usage, codes = model.usage(test), model.encode(test)
    pca = models.fit_pca(x, 64)
    return {**{name: float(np.concatenate(rows).mean(dtype=np.float64))
               for name, rows in parts.items()},
            "pca_error": float(np.square(pca.reconstruct(test) - test).mean(dtype=np.float64)),
            "positions": int(codes[0].size), "n_codes": model.codebook.n_codes,
            "dimensions": model.codebook.dimensions,
            "used": usage.used, "perplexity": usage.perplexity,
            "bits": {name: bits(prior, codes) for name, prior in priors.items()}}


def bits(prior: Any, codes: np.ndarray) -> float:
    """-log₂ p(codes), the mean over images."""
    prior = mg.nn.frozen(prior)
    log_p = [prior.log_prob(codes[i:i + 500]) for i in range(0, len(codes), 500)]
    return float(-np.concatenate(log_p).mean(dtype=np.float64) / math.log(2))


def show(found: dict[str, Any], data: str) -> None:
    print(f"\n{data}, test images:\n"
          f"  cross-entropy of pixels       {-found['reconstruction']:9.2f} nats an image\n"
          f"  codebook loss = commitment    {found['commitment']:9.2f} summed over "
          f"{found['dimensions']} dimensions and {found['positions']} positions\n"
          f"  KL = {found['positions']} x log {found['n_codes']}             {found['kl']:9.2f} "
          "nats an image, by the uniform prior\n"
          f"  codes used                    {found['used']:9d} of {found['n_codes']}, perplexity "
          f"{found['perplexity']:.1f}\n"
          f"  squared error a pixel         {found['error']:9.5f} (PCA with 64 dimensions "
          f"{found['pca_error']:.5f})")
    for name, value in found["bits"].items():
        print(f"  codes by the {name:<8} prior   {value:9.2f} bits an image")
    print()


def draw(path: Path, model: models.VQVAE, priors: dict[str, Any], test: np.ndarray, seed: int,
         data: str) -> None:
    from vae.figures import codes as figures
    samples = {name: mg.nn.frozen(model).decode(prior.sample(36, rng=np.random.default_rng(seed)))
               for name, prior in priors.items()}
    figures.codes(path, model, test[:12], (28, 28), model.usage(test), samples,
                  f"VQ-VAE, {model.codebook.n_codes} codes of {model.codebook.dimensions}: {data}")


if __name__ == "__main__":
    sys.exit(main())
