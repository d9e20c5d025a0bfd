"""Train a small convolutional classifier on MNIST: python examples/cnn.py --help

The layers are in `build`, the training loop in `train`.  It classifies more than 99 % of the test
images right, after about a minute on two cores of a CPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from options import check_writable, parser, positive, program, rate

import minigrad as mg
import vae


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Train a small convolutional classifier on MNIST.", data=True, plots=False,
               quick="a few seconds, on part of the data")
    p.add_argument("--epochs", type=positive, default=6)
    p.add_argument("--batch-size", type=positive, default=100)
    p.add_argument("--lr", type=rate, default=2e-3, help="at the start; it falls to 0 as a cosine")
    p.add_argument("--out", type=Path, help="file for the parameters, such as cnn.npz")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    data = vae.data.load(args.data)
    if args.out:
        check_writable(args.out.parent)
        if args.out.is_dir():
            raise IsADirectoryError(f"--out {args.out} is a folder: name a file in it")
    if args.quick:
        args.epochs = min(args.epochs, 3)
        data = data.take(min(10000, len(data.train)), min(2000, len(data.test)))

    rng = np.random.default_rng(args.seed)
    model = build(classes=1 + int(max(data.train_labels.max(), data.test_labels.max())), rng=rng)
    print(f"{data.name}: {len(data.train)} training and {len(data.test)} test images\n"
          f"{sum(p.size for p in mg.nn.parameters(model)):,} parameters, seed {args.seed}")
    interrupted = False
    try:
        for epoch, loss, seconds in train(model, data, args, rng):
            print(f"epoch {epoch}/{args.epochs}  loss {loss:.4f}  "
                  f"test accuracy {accuracy(model, data):.2%}  {seconds:.1f} s", flush=True)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted: this is what there is")
    if args.out:
        mg.nn.save(args.out, model)
    right = accuracy(model, data)
    error = np.sqrt(right * (1 - right) / len(data.test))  # of a mean of independent zeros and ones
    print(f"test accuracy {right:.2%} ± {error:.2%} (standard error)")
    return 130 if interrupted else 0


def build(classes: int, rng: np.random.Generator) -> mg.nn.Sequential:
    """(n, 28, 28, 1) -> (n, classes): a score for each class, whose softmax is its probability."""
    nn = mg.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, rng=rng), mg.relu,               # (n, 12, 12, 16)
        nn.Conv2d(16, 32, 3, rng=rng), nn.MaxPool2d(2), mg.relu,       # (n, 5, 5, 32)
        nn.Flatten(), nn.Dropout(0.3),                                 # (n, 800)
        nn.Dense(800, 128, rng=rng), mg.relu, nn.Dropout(0.3),         # (n, 128)
        nn.Dense(128, classes, rng=rng))


def train(model: mg.nn.Sequential, data: vae.data.Dataset, args: argparse.Namespace,
          rng: np.random.Generator) -> Iterator[tuple[int, float, float]]:
    """After each epoch its number, its mean loss and its seconds."""
    n = len(data.train)
    steps = args.epochs * -(-n // args.batch_size)
    opt = mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(args.lr, steps))
    for epoch in range(1, args.epochs + 1):
        began, total, order = time.perf_counter(), 0.0, rng.permutation(n)
        for start in range(0, n, args.batch_size):
            rows = order[start:start + args.batch_size]
            shift = rng.integers(-2, 3, size=2)  # pixels; a moved digit is still the same digit
            images, labels = np.roll(data.train[rows], shift, axis=(1, 2)), data.train_labels[rows]
            scores = model(images, rng=rng)  # with a generator, Dropout drops
            loss = -np.mean(mg.log_softmax(scores)[np.arange(len(rows)), labels])
            loss.backward()
            opt.step()
            opt.zero_grad()
            total += len(rows) * loss.item()
        yield epoch, total / n, time.perf_counter() - began


def accuracy(model: mg.nn.Sequential, data: vae.data.Dataset, at_once: int = 500) -> float:
    """The share of the test images whose label has the highest score."""
    classify = mg.nn.frozen(model)  # records no graph; without a generator, nothing is dropped
    right = 0
    for start in range(0, len(data.test), at_once):
        scores = classify(data.test[start:start + at_once])
        right += np.sum(np.argmax(scores, axis=1) == data.test_labels[start:start + at_once])
    return float(right / len(data.test))


if __name__ == "__main__":
    sys.exit(main())
