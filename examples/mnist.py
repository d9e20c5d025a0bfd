"""Train a VAE, dense or convolutional, on MNIST and look at it: python examples/mnist.py --help

Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), with the images of LeCun et al.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from options import check_writable, natural, positive, rate

import minigrad as mg
import vae
from vae.progress import Progress

DEFAULTS = {
    "dense": {"epochs": 12, "batch_size": 100, "hidden": [500], "latent": 20, "nll_images": 10_000},
    "conv": {"epochs": 3, "batch_size": 128, "hidden": [128], "latent": 64, "nll_images": 1000},
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    first = argparse.ArgumentParser(add_help=False)  # other defaults depend on it
    first.add_argument("--model", choices=DEFAULTS, default="dense", help="dense layers, or two "
                       "convolutions of stride 2 and a dense layer, and back")
    p = argparse.ArgumentParser(description="Train a VAE on MNIST and look at it.", parents=[first],
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--data", help="folder of the IDX files; otherwise $MINIGRAD_DATA, the cache, "
                                  "a download, or without network the embedded digits")
    p.add_argument("--epochs", type=positive)
    p.add_argument("--batch-size", type=positive)
    p.add_argument("--hidden", type=positive, nargs="+", help="dense layers of the encoder, the "
                   "decoder has the same in reverse; conv has one")
    p.add_argument("--latent", type=positive)
    p.add_argument("--activation", choices=["tanh", "relu"], default="relu")
    p.add_argument("--lr", type=rate, default=1e-3)
    p.add_argument("--draws", type=positive, default=1, help="of z for each image and step")
    p.add_argument("--binarize", choices=["dynamic", "static", "none"], default="dynamic")
    p.add_argument("--init", choices=["own", "pytorch"], default="own",
                   help="pytorch: weights and biases uniform within 1/√fan_in")
    p.add_argument("--no-start", action="store_true",
                   help="don't start the decoder's biases at the logit of the training mean")
    p.add_argument("--seed", type=natural, default=0)
    p.add_argument("--nll-samples", type=positive, default=100,
                   help="draws for each image in the importance-weighted log p(x)")
    p.add_argument("--nll-images", type=positive,
                   help="test images, drawn, whose log p(x) is estimated")
    p.add_argument("--out", type=Path, default=Path("out/mnist"))
    p.add_argument("--quick", action="store_true", help="a few seconds, on part of the data")
    p.add_argument("--no-plots", action="store_true")
    p.set_defaults(**DEFAULTS[first.parse_known_args(arguments)[0].model])
    args = p.parse_args(arguments)
    if args.model == "conv" and len(args.hidden) > 1:
        p.error("--model conv has one dense layer: give --hidden one number")
    return args


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.quick:
        args.epochs, args.nll_samples = min(args.epochs, 2), min(args.nll_samples, 32)
        args.nll_images = min(args.nll_images, 500)
    try:
        check_writable(args.out)
        protocol = load(args)
    except (ValueError, OSError) as error:
        print(f"mnist.py: {error}", file=sys.stderr)
        return 2

    data, rng = protocol.data, np.random.default_rng(args.seed)
    train, test = flat(data.train), protocol.evaluation(flat(data.test))
    model = build(args, data.train.shape[1:3], train, rng)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=args.lr)
    n_parameters = sum(p.size for p in mg.nn.parameters(model))
    print(f"{data.name}: {len(train)} training and {len(test)} test images, {protocol.name}; "
          f"the bound is a {protocol.measure}\n{n_parameters:,} parameters, seed {args.seed}; "
          f"writing to {args.out}")

    progress = Progress(args.epochs, -(-len(train) // args.batch_size), args.batch_size, len(train))

    def on_epoch(row: dict) -> None:
        found = vae.evaluate(model, test)
        row.update({f"test_{part}": found[part] for part in ("elbo", "reconstruction", "kl")})
        progress.epoch(row)

    history = vae.fit(model, train, epochs=args.epochs, batch_size=args.batch_size,
                      optimizer=optimizer, rng=rng, prepare=protocol.batch,
                      objective=partial(vae.elbo, samples=args.draws),
                      on_step=progress.step, on_epoch=on_epoch)
    progress.close()
    if history.interrupted:
        print(f"interrupted in epoch {len(history.rows) + 1}: saving what there is")
    report(args, model, protocol, history, test, n_parameters)
    return 130 if history.interrupted else 0


def load(args: argparse.Namespace) -> vae.data.Binarization:
    data = vae.data.load(args.data)
    if args.quick:
        data = data.take(min(6000, len(data.train)), min(1000, len(data.test)))
    return vae.data.binarization(args.binarize, data, folder=args.data, seed=args.seed)


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def build(args: argparse.Namespace, size: tuple[int, int], train: np.ndarray,
          rng: np.random.Generator) -> vae.VAE:
    options = {"rng": rng, "activation": {"tanh": np.tanh, "relu": mg.relu}[args.activation],
               "start": None if args.no_start else train.mean(axis=0)}
    if args.init == "pytorch":
        options |= {"weight": mg.nn.fan_in_uniform, "bias": mg.nn.fan_in_uniform}
    if args.model == "conv":
        return vae.conv_vae(size, hidden=args.hidden[0], n_z=args.latent, **options)
    return vae.dense_vae(train.shape[1], args.hidden, args.latent, **options)


def report(args: argparse.Namespace, model: vae.VAE, protocol: vae.data.Binarization,
           history: vae.History, test: np.ndarray, n_parameters: int) -> None:
    """Parameters first, since they cost the most; then numbers, then pictures."""
    mg.nn.save(args.out / "parameters.npz", model)
    rows, data, began = history.rows, protocol.data, time.perf_counter()
    if rows:
        with open(args.out / "history.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    found = vae.evaluate(model, test)
    drawn = np.random.default_rng(0).permutation(len(test))[:args.nll_images]
    nll = vae.log_likelihood(model, test[np.sort(drawn)], samples=args.nll_samples)
    seconds = float(np.mean([row["seconds"] for row in rows])) if rows else None
    metrics = {
        "dataset": data.name, "protocol": data.protocol, "binarize": args.binarize,
        "binarization": protocol.name, "measure": protocol.measure, "unit": "nats per image",
        "model": args.model, "n_train": len(data.train), "n_test": len(data.test),
        "epochs": len(rows), "interrupted": history.interrupted, "seed": args.seed,
        "parameters": n_parameters,
        "train_elbo": rows[-1]["train_elbo"] if rows else None,
        "test_elbo": found["elbo"], "test_elbo_se": found["elbo_se"],
        "test_reconstruction": found["reconstruction"], "test_kl": found["kl"],
        "test_nll": -nll["log_likelihood"], "test_nll_se": nll["log_likelihood_se"],
        "test_nll_samples": nll["samples"], "test_nll_images": nll["n"],
        "seconds_per_epoch": seconds,
        "images_per_second": len(data.train) / seconds if rows else None,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
    }
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"test {protocol.measure}: bound {found['elbo']:.2f} ± {found['elbo_se']:.2f} nats "
          f"(reconstruction {found['reconstruction']:.2f}, KL {found['kl']:.2f}), importance-"
          f"weighted with K = {nll['samples']} on {nll['n']} images: {nll['log_likelihood']:.2f} "
          f"({time.perf_counter() - began:.0f} s)")
    if not args.no_plots:
        plot(args, model, protocol, rows, test)


def plot(args: argparse.Namespace, model: vae.VAE, protocol: vae.data.Binarization,
         rows: list[dict], test: np.ndarray) -> None:
    from vae import figures  # matplotlib takes a second to load

    data, shape, out = protocol.data, protocol.data.test.shape[1:3], args.out
    figures.reconstructions(out / "reconstructions.png", model, test[:50], shape, data.name)
    figures.samples(out / "samples.png", model, shape, data.name, seed=args.seed)
    written = ["reconstructions.png", "samples.png"]
    if rows:
        figures.curves(out / "curves.png", rows, f"{data.name}, {protocol.name}", protocol.measure)
        written.append("curves.png")
    if args.latent == 2:
        figures.manifold(out / "manifold.png", model, shape, data.name)
        written.append("manifold.png")
        if data.test_labels is not None:
            figures.scatter(out / "scatter.png", model, test, data.test_labels, data.name)
            written.append("scatter.png")
    print("pictures: " + ", ".join(str(out / name) for name in written))


if __name__ == "__main__":
    sys.exit(main())
