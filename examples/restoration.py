"""Noise, gaps and lost resolution, repaired by a VAE: python examples/restoration.py --help

Each use beside simple ways to the same end, in PSNR of test images, and a picture of each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from options import check_writable, parser, positive, program
from scipy import ndimage

import minigrad as mg
import vae
from vae import uses
from vae.evaluation.means import mean_and_error
from vae.models import fit_pca

SIZE, NOISE, FACTOR, SHOWN = (28, 28), 0.5, 4, 10


class Task(NamedTuple):
    """What was given, and what each way made of it: name -> images (n, pixels)."""

    name: str
    truth: ndarray
    given: ndarray
    restored: dict[str, ndarray]
    where: ndarray | None = None  # the pixels that count

    def quality(self) -> dict[str, tuple[float, float]]:
        """Mean PSNR in dB and its standard error over images."""
        return {name: tuple(float(v) for v in mean_and_error(
            uses.psnr(np.clip(x, 0, 1), self.truth, where=self.where)))
            for name, x in self.restored.items()}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Denoise, fill in and enlarge digits with a VAE.", out="out/restoration", data=True,
               quick="a few seconds: drawn digits")
    p.add_argument("--epochs", type=positive, default=15, help="of training, of each of two VAEs")
    p.add_argument("--images", type=positive, default=500, help="test images that are restored")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = vae.data.embedded(1_000, 20) if args.quick else vae.data.load(args.data)
    epochs, images, batch = (8, 20, 50) if args.quick else (args.epochs, args.images, 200)
    train, test = (x.reshape(len(x), -1) for x in (data.train, data.test[:images]))
    began = time.perf_counter()
    direct = partial(uses.denoising_elbo, noise=NOISE)
    model, denoiser = (trained(train, epochs, batch, args.seed, objective)
                       for objective in (vae.elbo, direct))
    print(f"two VAEs of {data.name} trained ({time.perf_counter() - began:.0f} s)", flush=True)
    linear = vae.exact.LinearGaussian.most_likely(train.astype(np.float64), 100)
    rng = np.random.default_rng(args.seed)
    tasks = [denoising(model, denoiser, linear, train, test, rng),
             *(inpainting(name, model, linear, train, test, missing, rng)
               for name, missing in masks(rng).items()),
             super_resolution(model, linear, test, rng)]
    for task in tasks:
        print(f"\n{task.name}")
        for name, (value, error) in task.quality().items():
            print(f"  {name:28}{value:7.2f} ± {error:.2f} dB")
    (args.out / "restoration.json").write_text(json.dumps(
        {"data": data.protocol, "epochs": epochs, "images": len(test), "seed": args.seed,
         "psnr": {task.name: task.quality() for task in tasks}}, indent=1))
    if not args.no_plots:
        pictures(args.out, tasks, data.name)
    print(f"\nresults in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


def trained(x: ndarray, epochs: int, batch: int, seed: int, objective: Callable) -> vae.VAE:
    """784-300-30; grey pixels are Gaussian, with a σ for each that is learned."""
    rng = np.random.default_rng(seed)
    model = vae.dense_vae(784, (300,), 30, rng=rng, start=x.mean(axis=0), activation=mg.relu,
                          likelihood=vae.likelihoods.FOR_IMAGES["gaussian-pixel"])
    vae.fit(model, x, epochs=epochs, batch_size=batch, rng=rng, objective=objective,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-3))
    return model


def denoising(model: vae.VAE, denoiser: vae.VAE, linear: vae.exact.LinearGaussian, train: ndarray,
              test: ndarray, rng: Generator) -> Task:
    y = test + np.float32(NOISE) * rng.standard_normal(test.shape, np.float32)
    seen = uses.Noisy(y, NOISE)
    images = y.reshape(-1, *SIZE)
    return Task(f"denoising, σ = {NOISE}", test, np.clip(y, 0, 1), {
        "noisy": y, "median 3 x 3": flat(ndimage.median_filter(images, (1, 3, 3))),
        "Gaussian blur, σ = 1 pixel": flat(ndimage.gaussian_filter(images, (0, 1, 1))),
        "PCA, 50 components": fit_pca(train, 50).reconstruct(y),
        "PCA, E[x|y]": by_components(linear, seen, np.eye(784), y, NOISE),
        "VAE, encoded and decoded": mg.nn.frozen(model).reconstruct(np.clip(y, 0, 1)),
        "VAE trained on pairs": mg.nn.frozen(denoiser).reconstruct(y),
        "VAE, E[x|y]": uses.denoise(model, y, noise=NOISE, rng=rng)})


def masks(rng: Generator) -> dict[str, ndarray]:
    """Name -> True where a pixel is missing, (784,)."""
    rows, columns = np.indices(SIZE)
    square = (abs(rows - 13.5) < 5) & (abs(columns - 13.5) < 5)
    return {"lower half": (rows >= 14).ravel(), "random half": rng.random(784) < 0.5,
            "square of 10 x 10": square.ravel()}


def inpainting(name: str, model: vae.VAE, linear: vae.exact.LinearGaussian, train: ndarray,
               test: ndarray, missing: ndarray, rng: Generator) -> Task:
    mean = np.where(missing, train.mean(axis=0), test)
    seen = uses.Seen(test, missing)
    row, column = ndimage.distance_transform_edt(missing.reshape(SIZE), return_distances=False,
                                                 return_indices=True)
    return Task(f"inpainting, {name}", test, np.where(missing, 0.5, test), {
        "mean of the training data": mean,
        "nearest seen pixel": flat(test.reshape(-1, *SIZE)[:, row, column]),
        "PCA, E[x|seen]": by_components(linear, seen, np.eye(784)[~missing], test[:, ~missing], 0),
        "VAE, pseudo-Gibbs": uses.inpaint_by_gibbs(model, mean, missing, rng=rng),
        "VAE, E[x|seen]": uses.inpaint(model, test, missing, rng=rng)}, missing)


def super_resolution(model: vae.VAE, linear: vae.exact.LinearGaussian, test: ndarray,
                     rng: Generator) -> Task:
    small = uses.shrink(test, FACTOR, SIZE)
    images = small.reshape(-1, SIZE[0] // FACTOR, SIZE[1] // FACTOR)
    seen = uses.BlockMeans(small, FACTOR, SIZE, uses.ROUNDING)
    bicubic = ndimage.zoom(images, (1, FACTOR, FACTOR), order=3, mode="grid-constant",
                           grid_mode=True)
    blocks = uses.shrink(np.eye(784), FACTOR, SIZE).T
    return Task(f"super-resolution, x{FACTOR}", test, uses.repeat(small, FACTOR, SIZE), {
        "nearest": uses.repeat(small, FACTOR, SIZE), "bicubic": flat(bicubic),
        "PCA, E[x|y]": by_components(linear, seen, blocks, small, uses.ROUNDING),
        "VAE, E[x|y]": uses.enlarge(model, small, FACTOR, SIZE, rng=rng)})


def by_components(linear: vae.exact.LinearGaussian, seen: uses.Observation, rows: ndarray,
                  y: ndarray, noise: float) -> ndarray:
    """E[x|y] of probabilistic PCA, y = rows·x + N(0, noise²): (n, pixels)."""
    std = np.sqrt(np.square(linear.std) * np.square(rows).sum(axis=1) + noise**2)
    of_y = vae.exact.LinearGaussian(rows @ linear.weight, rows @ linear.bias, std)
    return seen.expected(linear.likelihood(of_y.exact_posterior(y).mean))


def pictures(out: Path, tasks: list[Task], name: str) -> None:
    from vae import figures  # matplotlib takes a second to load

    for task in tasks:
        rows = {"image": task.truth, "given": task.given, **task.restored}
        rows.pop("noisy" if "noisy" in rows else "nearest", None)  # as it is given
        stem = task.name.partition(", σ")[0].partition(", x")[0].replace(", ", "-")
        figures.labelled_rows(out / f"{stem.replace(' ', '-')}.png", {
            key: x[:SHOWN].reshape(-1, *SIZE) for key, x in rows.items()},
            f"{task.name}: test images of {name}")


def flat(images: ndarray) -> ndarray:
    return images.reshape(len(images), -1)


if __name__ == "__main__":
    sys.exit(main())
