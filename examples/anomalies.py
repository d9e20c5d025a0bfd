"""Digits that a VAE has never seen: python examples/anomalies.py --help

One of the ten is left out of the training data and is the anomaly; scores of it and of test images
of the other nine are compared by AUROC, with the squared error of PCA as the baseline.  Images that
are simple score as normal, whatever they are: the last lines say how much so.
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
from vae.models import fit_pca, squared_error
from vae.uses.anomaly import anomaly_scores, auroc, auroc_difference, share_above

PCA, GREY = "PCA, squared error", "PCA of grey images, squared error"
COMPARED = "-log p", "-elbo", "reconstruction", "kl", "squared error", PCA, GREY


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Detect digits that were left out of training.", out="out/anomalies", data=True,
               quick="a few seconds: two digits left out, drawn ones")
    p.add_argument("--epochs", type=positive, default=3, help="of training, for each digit")
    p.add_argument("--samples", type=positive, default=20, help="importance weights of an image")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = vae.data.embedded(1000, 300) if args.quick else vae.data.load(args.data)
    if data.train_labels is None or len(np.unique(data.train_labels)) < 2:
        raise vae.data.DataError(f"{data.name}: labels of two classes or more are needed")
    digits = [int(c) for c in np.unique(data.train_labels)][:2 if args.quick else None]
    began, found = time.perf_counter(), []
    for digit in digits:
        found.append(left_out(data, digit, args))
        print(f"without {digit}: " + ", ".join(
            f"{name} {found[-1]['auroc'][name][0]:.3f}" for name in COMPARED)
            + f" ({time.perf_counter() - began:.0f} s)", flush=True)
    show(found)
    table = [{key: row[key] for key in ("digit", "auroc", "difference", "simple")}
             for row in found]
    (args.out / "anomalies.json").write_text(json.dumps(
        {"seed": args.seed, "epochs": args.epochs, "data": data.protocol + ", binarised as drawn",
         "rows": table}, indent=1))
    if not args.no_plots:
        from vae.figures import uses as figures  # matplotlib takes a second to load

        row = found[min(1, len(found) - 1)]
        figures.anomalies(
            args.out / "anomalies.png",
            {name: [row["auroc"][name] for row in found] for name in COMPARED[:-1]},
            {"test images of the other nine digits": row["normal"],
             f"of the digit {row['digit']}, left out": row["strange"]},
            ("an image without ink", row["black"]),
            f"{data.name}: AUROC ± standard error of each score")
    print(f"results in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


def left_out(data: vae.data.Dataset, digit: int, args: argparse.Namespace) -> dict[str, Any]:
    """AUROCs where this digit is the anomaly, and the scores of an image without ink."""
    protocol = vae.data.binarization("dynamic", data)
    flat = data.train[data.train_labels != digit].reshape(-1, data.train[0].size)
    model = trained(flat, protocol, args)
    is_normal = data.test_labels != digit
    grey = data.test.reshape(len(data.test), -1)
    x, rng = protocol.evaluation(grey), np.random.default_rng(args.seed)
    chosen = rng.choice(np.flatnonzero(is_normal), min(2000, is_normal.sum()), replace=False)
    black = np.zeros((1, x.shape[1]), np.float32)
    rows = np.concatenate([x[chosen], x[~is_normal], black])
    scores = anomaly_scores(model, rows, samples=args.samples, seed=args.seed)
    grey = np.concatenate([grey[chosen], grey[~is_normal], black])
    some = flat[rng.choice(len(flat), min(10_000, len(flat)), replace=False)]
    n_z = model.prior.shape[-1]
    for name, train, test in ((PCA, protocol.batch(some, rng=rng), rows), (GREY, some, grey)):
        scores[name] = squared_error(fit_pca(train, n_z), test)
    n = len(chosen)
    parts = {name: (each[n:-1], each[:n]) for name, each in scores.items()}
    ours, baseline = parts["-log p"], parts[PCA]
    normal = parts["-log p"][1]
    return {
        "digit": digit, "auroc": {name: auroc(*both) for name, both in parts.items()},
        "difference": auroc_difference((ours[0], baseline[0]), (ours[1], baseline[1])),
        "simple": {"false alarms": {name: share_above(parts[name][1], scores[name][-1])
                                    for name in scores},
                   "-log p": float(scores["-log p"][-1]), "mean -log p": float(normal.mean()),
                   "two-sided": share_above(np.abs(normal - np.median(normal)),
                                            abs(scores["-log p"][-1] - np.median(normal)))},
        "normal": normal, "strange": parts["-log p"][0], "black": float(scores["-log p"][-1])}


def trained(x: np.ndarray, protocol: vae.data.Binarization, args: argparse.Namespace) -> vae.VAE:
    rng, batch = np.random.default_rng(args.seed), 20 if args.quick else 200
    model = vae.dense_vae(x.shape[1], (200,), 20, rng=rng, start=x.mean(axis=0),
                          activation=mg.relu)
    steps = args.epochs * -(-len(x) // batch)
    vae.fit(model, x, epochs=args.epochs, batch_size=batch, rng=rng, prepare=protocol.batch,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.cosine(3e-3, steps)))
    return model


def show(found: list[dict[str, Any]]) -> None:
    print("\nanomaly  " + "  ".join(f"{name:>15.15}" for name in COMPARED))
    for row in found:
        print(f"{row['digit']:7d}  " + "  ".join(
            f"{row['auroc'][name][0]:6.3f} ± {row['auroc'][name][1]:.3f} " for name in COMPARED))
    print("   mean  " + "  ".join(
        f"{np.mean([row['auroc'][name][0] for row in found]):6.3f}{'':9}" for name in COMPARED))
    better, error = np.transpose([row["difference"] for row in found])
    print(f"-log p less PCA of the same images: {better.mean():+.3f} on average, between "
          f"{better.min():+.3f} and {better.max():+.3f}, each ± {error.max():.3f} or less")
    simple = [row["simple"] for row in found]
    print("\nan image without ink: -log p = "
          f"{np.mean([s['-log p'] for s in simple]):.1f} nats, of test images on average "
          f"{np.mean([s['mean -log p'] for s in simple]):.1f}; test images that score higher: "
          + ", ".join(f"{name} {np.mean([s['false alarms'][name] for s in simple]):.1%}"
                      for name in COMPARED)
          + f"; |-log p - its median|: {np.mean([s['two-sided'] for s in simple]):.1%}")


if __name__ == "__main__":
    sys.exit(main())
