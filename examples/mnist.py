"""Train a VAE, dense or convolutional, on MNIST and look at it: python examples/mnist.py --help

Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), with the images of LeCun et al.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from options import check_writable, natural, positive, rate

import minigrad as mg
import vae
from vae.data import Binarization
from vae.progress import Progress

CAPTIONS = {"reconstructions": "Test images, below each its reconstruction E[x|z]",
            "samples": "E[x|z] for z drawn from the prior", "curves": "Bounds by epoch",
            "manifold": "E[x|z] on a grid of the two latent dimensions",
            "scatter": "Means of q(z|x) of test images, by class"}
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
    p.add_argument("--beta", type=rate, default=1.0, help="weight of the KL")
    p.add_argument("--warmup", type=natural, default=0, metavar="EPOCHS",
                   help="in which the weight of the KL grows from 0")
    p.add_argument("--free-bits", type=rate, default=0.0, metavar="NATS",
                   help="of each dimension that cost nothing")
    p.add_argument("--binarize", choices=["dynamic", "static", "none"], default="dynamic")
    p.add_argument("--init", choices=["own", "pytorch"], default="own",
                   help="pytorch: weights and biases uniform within 1/√fan_in")
    p.add_argument("--no-start", action="store_true",
                   help="don't start the decoder's biases at the logit of the training mean")
    p.add_argument("--valid", type=natural, default=0, metavar="IMAGES",
                   help="held out of the training set; the parameters of the epoch with the best "
                        "bound on them are kept")
    p.add_argument("--patience", type=positive, metavar="EPOCHS",
                   help="end after as many without a better bound on --valid")
    p.add_argument("--checkpoint", type=Path, metavar="DIR", help="keep the run there")
    p.add_argument("--resume", action="store_true", help="go on with the run in --checkpoint, to "
                   "the same bits; begin where there is none")
    p.add_argument("--reproducible", action="store_true",
                   help="to the last bit, whatever the number of threads: slower")
    p.add_argument("--seed", type=natural, default=0)
    p.add_argument("--nll-samples", type=positive, default=100,
                   help="draws for each image in the importance-weighted log p(x)")
    p.add_argument("--nll-images", type=positive,
                   help="test images, drawn, whose log p(x) is estimated")
    p.add_argument("--out", type=Path, default=Path("out/mnist"))
    p.add_argument("--quick", action="store_true",
                   help="a few seconds: part of the data, at most 2 epochs")
    p.add_argument("--no-plots", action="store_true")
    p.set_defaults(**DEFAULTS[first.parse_known_args(arguments)[0].model])
    args = p.parse_args(arguments)
    if args.model == "conv" and len(args.hidden) > 1:
        p.error("--model conv has one dense layer: give --hidden one number")
    if args.resume and not args.checkpoint:
        p.error("--resume: from where? Give --checkpoint DIR")
    if args.patience and not args.valid:
        p.error("--patience counts epochs without a better bound on held-out images: give --valid")
    return args


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.quick:
        args.epochs, args.nll_samples = min(args.epochs, 2), min(args.nll_samples, 32)
        args.nll_images = min(args.nll_images, 500)
    try:
        check_writable(args.out)
        protocol = load(args)
        if args.valid >= (n := len(protocol.data.train)):
            raise ValueError(f"--valid {args.valid} of {n} training images leaves none to train on")
    except (ValueError, OSError) as error:
        print(f"mnist.py: {error}", file=sys.stderr)
        return 2

    try:
        with mg.reproducible() if args.reproducible else nullcontext():
            return run(args, protocol)
    except (vae.CheckpointError, vae.NonFinite, OSError) as error:
        print(f"mnist.py: {error}".replace("resume=True", "--resume"), file=sys.stderr)
        return 2


def run(args: argparse.Namespace, protocol: Binarization) -> int:
    """Train, and tell what came of it."""
    data, rng = protocol.data, np.random.default_rng(args.seed)
    train, valid = held_out(flat(data.train), protocol, args.valid)
    test = protocol.evaluation(flat(data.test))
    model = build(args, data.train.shape[1:3], train, rng)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=args.lr)
    n_parameters = sum(p.size for p in mg.nn.parameters(model))
    steps = -(-len(train) // args.batch_size)
    held = f", {args.valid} held out to choose the epoch" if args.valid else ""
    print(f"{data.name}: {len(train)} training and {len(test)} test images{held}, {protocol.name}; "
          f"the bound is a {protocol.measure}\n{n_parameters:,} parameters, seed {args.seed}; "
          f"writing to {args.out}")

    progress = Progress(args.epochs, steps, args.batch_size, len(train))

    def on_epoch(row: dict) -> None:
        found = vae.evaluate(model, test)
        row.update({f"test_{part}": found[part] for part in ("elbo", "reconstruction", "kl")})
        progress.epoch(row)

    objective = objective_of(args, steps)
    best = args.valid and vae.KeepBest(valid, patience=args.patience, warmup=args.warmup * steps)
    try:
        history = vae.fit(model, train, epochs=args.epochs, batch_size=args.batch_size,
                          optimizer=optimizer, rng=rng, prepare=protocol.batch,
                          objective=objective, best=best or None, checkpoint=args.checkpoint,
                          resume=args.resume, on_step=progress.step, on_epoch=on_epoch)
    finally:
        progress.close()
    if history.interrupted:
        print(f"interrupted in epoch {len(history.rows) + 1}: saving and evaluating what there is, "
              "which Ctrl-C ends" + (f"; --checkpoint {args.checkpoint} --resume goes on"
                                     if args.checkpoint else ""))
    elif args.resume and progress.before is None:
        print(f"nothing was left to train: the run in {args.checkpoint} has "
              f"{len(history.rows)} epochs")
    if best and best.kept:
        print(f"the parameters are those of epoch {best.epoch}, with the best bound on held-out "
              f"images, {best.elbo:.2f}" + "; patience ended training" * history.stopped)
    report(args, model, protocol, history, train, test, objective)
    return 130 if history.interrupted else 0


def load(args: argparse.Namespace) -> Binarization:
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


def held_out(train: np.ndarray, protocol: Binarization, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The rest, and n drawn images as evaluation sees them."""
    order = np.random.default_rng(0).permutation(len(train))
    return (train[np.sort(order[n:])] if n else train), protocol.evaluation(train[order[:n]])


def objective_of(args: argparse.Namespace, steps: int) -> Callable:
    """The ELBO, or what the options say to maximise in its place; of `steps` an epoch."""
    warmup = vae.schedules.linear(0.0, args.beta, args.warmup * steps) if args.warmup else args.beta
    if args.free_bits:
        return partial(vae.free_bits_elbo, free=args.free_bits, weight=warmup, samples=args.draws)
    if args.warmup or args.beta != 1:
        return partial(vae.beta_elbo, weight=warmup, samples=args.draws)
    return partial(vae.elbo, samples=args.draws)


def report(args: argparse.Namespace, model: vae.VAE, protocol: Binarization, history: vae.History,
           train: np.ndarray, test: np.ndarray, objective: Callable) -> None:
    """Parameters first, since they cost the most; then numbers, what is amiss, and pictures."""
    mg.nn.save(args.out / "parameters.npz", model)
    rows, data, began = history.rows, protocol.data, time.perf_counter()
    if rows:
        history.write_csv(args.out / "history.csv")
        history.write_json(args.out / "history.json")
    results = measure(args, model, protocol, test)
    results["train_bound"] = rows[-1]["train_bound"] if rows else None
    some = protocol.evaluation(train[np.random.default_rng(0).permutation(len(train))[:2000]])
    diagnosis = vae.diagnose(model, some, validation=test, history=history, objective=objective)
    print(f"({time.perf_counter() - began:.0f} s)\n{diagnosis}")
    configuration = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    seconds = float(np.mean([row["seconds"] for row in rows])) if rows else None
    metrics = {
        "dataset": data.name, "protocol": data.protocol, "binarize": args.binarize,
        "binarization": protocol.name, "measure": protocol.measure, "unit": "nats per image",
        "model": args.model, "n_train": len(train), "n_test": len(data.test),
        "epochs": len(rows), "interrupted": history.interrupted, "stopped": history.stopped,
        "seed": args.seed, "parameters": sum(p.size for p in mg.nn.parameters(model)), **results,
        "seconds_per_epoch": seconds, "images_per_second": seconds and len(train) / seconds,
        "options": configuration, "findings": [finding.as_dict() for finding in diagnosis],
        "environment": vae.report.environment(),
    }
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    how_far = f"{len(rows)} of {args.epochs}" + ", interrupted" * history.interrupted
    pictures = {} if args.no_plots else plot(args, model, protocol, rows, test)
    page = args.out / "report.html"
    vae.report.write(page, title=f"A VAE on {data.name}", configuration=configuration,
                     protocol=f"{data.name}: {data.protocol}. Binarisation: {protocol.name}. The "
                              f"bound is a {protocol.measure}, in nats per image.",
                     history=rows, findings=diagnosis,
                     metrics={"epochs": how_far, **with_units(results)},
                     pictures={k: v for k, v in pictures.items() if k != CAPTIONS["curves"]})
    print("written: " + ", ".join(map(str, (*pictures.values(), page))))


def with_units(found: dict[str, Any]) -> dict[str, Any]:
    """For the report: words, standard errors and units."""
    nats = "nats per image"
    return {"bound, test": (found["test_elbo"], found["test_elbo_se"], nats),
            "reconstruction, test": (found["test_reconstruction"], None, nats),
            "KL, test": (found["test_kl"], None, nats),
            "bound, training, last epoch": (found["train_bound"], None, nats),
            f"-log p(x), K = {found['test_nll_samples']}":
                (found["test_nll"], found["test_nll_se"], nats),
            "its images": found["test_nll_images"],
            "its effective sample size, mean": found["test_nll_effective_samples"]}


def measure(args: argparse.Namespace, model: vae.VAE, protocol: Binarization,
            test: np.ndarray) -> dict[str, Any]:
    """Bound and log p(x) of the test set, in nats an image."""
    found = vae.evaluate(model, test)
    drawn = np.random.default_rng(0).permutation(len(test))[:args.nll_images]
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", vae.LowEffectiveSampleSize)
        nll = vae.log_likelihood(model, test[np.sort(drawn)], samples=args.nll_samples)
    print(f"test {protocol.measure}: bound {found['elbo']:.2f} ± {found['elbo_se']:.2f} nats "
          f"(reconstruction {found['reconstruction']:.2f}, KL {found['kl']:.2f}), importance-"
          f"weighted with K = {nll['samples']} on {nll['n']} images: {nll['log_likelihood']:.2f}",
          end=" ")
    for doubt in doubts:
        print(f"\nnote: {doubt.message}", end=" ")
    return {"test_elbo": found["elbo"], "test_elbo_se": found["elbo_se"],
            "test_reconstruction": found["reconstruction"], "test_kl": found["kl"],
            "test_nll": -nll["log_likelihood"], "test_nll_se": nll["log_likelihood_se"],
            "test_nll_samples": nll["samples"], "test_nll_images": nll["n"],
            "test_nll_effective_samples": nll["ess_mean"]}


def plot(args: argparse.Namespace, model: vae.VAE, protocol: Binarization,
         rows: list[dict], test: np.ndarray) -> dict[str, Path]:
    """Caption -> picture."""
    from vae import figures  # matplotlib takes a second to load

    data, shape = protocol.data, protocol.data.test.shape[1:3]
    names = ["reconstructions", "samples"] + ["curves"] * bool(rows)
    names += (["manifold"] + ["scatter"] * (data.test_labels is not None)) * (args.latent == 2)
    paths = {name: args.out / f"{name}.png" for name in names}
    figures.reconstructions(paths["reconstructions"], model, test[:50], shape, data.name)
    figures.samples(paths["samples"], model, shape, data.name, seed=args.seed)
    if "curves" in paths:
        figures.curves(paths["curves"], rows, f"{data.name}, {protocol.name}", protocol.measure)
    if "manifold" in paths:
        figures.manifold(paths["manifold"], model, shape, data.name)
    if "scatter" in paths:
        figures.scatter(paths["scatter"], model, test, data.test_labels, data.name)
    return {CAPTIONS[name]: path for name, path in paths.items()}


if __name__ == "__main__":
    sys.exit(main())
