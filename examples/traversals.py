"""What a code's dimensions, and directions in it, do to an image: python examples/traversals.py

Rows along the dimensions with the largest KL, and along the direction of an attribute: heavy
strokes, within each class.  The paths between two images are in examples/plane.py.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.evaluation.paths import attribute_vector, codes, decoded, traversal

VALUES, ROWS = np.linspace(-3, 3, 9), 5  # of a dimension; dimensions that are drawn
TIMES = np.linspace(-1, 2, 7)  # the attribute is added


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Change one thing about a code, and decode.", out="out/traversals", data=True,
               quick="seconds: a small model of drawn digits")
    p.add_argument("--images", type=positive, default=5_000, help="to train with")
    p.add_argument("--epochs", type=positive, default=20)
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = vae.data.embedded(1_000, 500) if args.quick else vae.data.load(args.data)
    data = data.take(min(len(data.train), args.images), min(len(data.test), 1_000))
    train, test = (x.reshape(len(x), -1) for x in (data.train, data.test))
    rng = np.random.default_rng(args.seed)
    model = vae.dense_vae(784, (100,) if args.quick else (200,), 10, rng=rng,
                          start=train.mean(axis=0))
    vae.fit(model, train, epochs=8 if args.quick else args.epochs, batch_size=100, rng=rng,
            prepare=vae.data.binarization("dynamic", data).batch,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=3e-3))

    kl = vae.kl_per_dimension(model, test).value
    order = np.argsort(-kl)
    along = np.stack([traversal(model, test[:1], j, values=VALUES)[:, 0] for j in order])
    changed = np.sqrt(np.square(along[:, -1] - along[:, 0]).sum(axis=-1))
    ink, labels = test.mean(axis=1), data.test_labels
    for c in np.unique(labels):  # within its class, or 1 would be an attribute of thin strokes
        ink[labels == c] -= np.median(ink[labels == c])
    heavy = attribute_vector(model, test, ink > 0)
    few = codes(model, test[[np.argmin(np.where(labels == c, ink, np.inf)) for c in range(ROWS)]])
    moved = decoded(model, few + TIMES[:, None, None].astype(np.float32) * heavy)
    print(f"{data.name}\n\ndimension   KL, nats   distance of E[x|z] at -3 and 3")
    for j, distance in zip(order, changed):
        print(f"{j:9d} {kl[j]:10.3f} {distance:16.2f}")
    brightness = moved.mean(axis=(1, 2))
    print("\nmean ink with the direction of heavy strokes added\n" + "\n".join(
        f"{times:4.1f} times   {mean:.3f}" for times, mean in zip(TIMES, brightness)))
    (args.out / "traversals.json").write_text(json.dumps(
        {"data": data.name, "kl": kl[order].tolist(), "dimension": order.tolist(),
         "changed": changed.tolist(), "ink": brightness.tolist()}, indent=1) + "\n")
    if not args.no_plots:
        from vae import figures  # matplotlib takes a second to load

        figures.labelled_rows(args.out / "plane-traversals.png", {
            f"z{j}: {kl[j]:.2f} nats": row.reshape(-1, 28, 28)
            for j, row in zip([*order[:ROWS], order[-1]], [*along[:ROWS], along[-1]])},
            "one dimension from -3 to 3: those with the largest KL, and that with the least")
        figures.labelled_rows(args.out / "plane-attribute.png", {
            f"a light {c}": row.reshape(-1, 28, 28) for c, row in enumerate(moved.swapaxes(0, 1))},
            "the direction of heavy strokes, added -1 to 2 times")
    print(f"\nresults in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
