"""Digits of a wanted class from a conditional VAE: python examples/conditional.py --help

A row of the picture is one code z shown as every class.  Whether samples are of the class that was
asked for is judged by the nearest real training images, which know nothing of the model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.evaluation.quality import sample_quality
from vae.models.conditional import ConditionalVAE, conditional_vae
from vae.uses.generation import accuracy, across_classes, class_means, neighbours_vote, variety


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Draw digits of a wanted class.", out="out/conditional", data=True,
               quick="a few seconds, drawn digits")
    p.add_argument("--epochs", type=positive, default=6)
    p.add_argument("--latent", type=positive, default=10, help="dimensions of z")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = vae.data.embedded(800, 300) if args.quick else vae.data.load(args.data)
    if data.train_labels is None:
        raise vae.data.DataError(f"{data.name}: labels are needed")
    began, rng = time.perf_counter(), np.random.default_rng(args.seed)
    x, test = (images.reshape(len(images), -1) for images in (data.train, data.test))
    labels = data.train_labels
    protocol, n_y = vae.data.binarization("dynamic", data), 1 + int(labels.max())
    model = conditional_vae(x.shape[1], n_y, (400,), args.latent, rng=rng, start=x.mean(axis=0),
                            activation=mg.relu)
    plain = vae.dense_vae(x.shape[1], (400,), args.latent, rng=rng, start=x.mean(axis=0),
                          activation=mg.relu)
    for one, rows in ((model, model.rows(x, labels)), (plain, x)):
        train(one, rows, protocol, args, rng)
        print(f"{type(one).__name__} trained ({time.perf_counter() - began:.0f} s)", flush=True)
    model, plain = mg.nn.frozen(model), mg.nn.frozen(plain)
    table = judged(model, plain, x, labels, test, data.test_labels, args.seed)
    show(table)
    (args.out / "conditional.json").write_text(json.dumps(
        {"seed": args.seed, "epochs": args.epochs, "data": data.protocol, "rows": table}, indent=1))
    if not args.no_plots:
        from vae.figures import uses as figures  # matplotlib takes a second to load

        z = model.prior.sample((10,), rng=np.random.default_rng(args.seed))
        images = across_classes(model, z).reshape(10, n_y, *data.test.shape[1:3])
        figures.classes(args.out / "conditional.png", images, [str(c) for c in range(n_y)],
                     f"{data.name}: E[x|z, y], the same z for every y")
    print(f"results in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


def train(model: vae.VAE, x: np.ndarray, protocol: vae.data.Binarization,
          args: argparse.Namespace, rng: np.random.Generator) -> None:
    batch = 20 if args.quick else 100
    steps = args.epochs * -(-len(x) // batch)
    vae.fit(model, x, epochs=args.epochs, batch_size=batch, rng=rng, prepare=protocol.batch,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(2e-3, steps)))


def judged(model: ConditionalVAE, plain: vae.VAE, x: np.ndarray, labels: np.ndarray,
           test: np.ndarray, test_labels: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """What the classifier says of real images, samples and baselines, and how they vary."""
    rng = np.random.default_rng(seed)
    n = min(2000, len(test) // 2)  # the other half is what quality compares with
    real, wanted = test[:n], test_labels[:n]
    some = rng.permutation(len(x))[:10_000]  # the classifier's real images
    table = []
    for name, images in (
            ("real test images", real),
            ("conditional VAE, class given", model.sample(wanted, rng=rng)),
            ("VAE, class not given", plain.sample(n, rng=rng)),
            ("mean of the class", class_means(x, labels, wanted))):
        right = accuracy(neighbours_vote(images, x[some], labels[some]), wanted)
        quality = sample_quality(test[-n:], images)
        table.append({"images": name, "accuracy": float(right.value),
                      "accuracy_se": float(right.standard_error),
                      "variety": variety(images, wanted), "precision": quality["precision"],
                      "recall": quality["recall"], "n": n})
    return table


def show(table: list[dict[str, Any]]) -> None:
    print(f"\n{'of ' + str(table[0]['n']) + ' each':32}  accuracy          variety  precision  "
          "recall")
    for row in table:
        print(f"{row['images']:32}  {row['accuracy']:.3f} ± {row['accuracy_se']:.3f}  "
              f"{row['variety']:9.1f}  {row['precision']:9.3f}  {row['recall']:6.3f}")
    print()


if __name__ == "__main__":
    sys.exit(main())
