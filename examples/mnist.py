"""Train a model of the family on MNIST and look at it: python examples/mnist.py --help

Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), with the images of LeCun et al.; the
models are those of `families.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from families import FAMILIES
from looking import Made, Plan
from options import above_zero, check_writable, natural, positive, rate
from reporting import report

import minigrad as mg
import vae
from vae.data import Binarization
from vae.data.binarize import EVALUATION_SEED
from vae.progress import Progress
from vae.training.loop import as_it_is

DEFAULTS: dict[str, Any] = {
    "epochs": 12, "batch_size": 100, "hidden": [500], "latent": 20, "activation": "relu",
    "lr": 1e-3, "draws": 1, "beta": 1.0, "warmup": 0, "free_bits": 0.0, "capacity": None,
    "temperature": None, "init": "own", "no_start": False, "valid": 0, "patience": None,
    "checkpoint": None, "resume": False, "nll_samples": 100, "nll_images": 10_000,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # defaults depend on it
    first.add_argument("--model", choices=FAMILIES, default="dense", metavar="NAME",
                       help="; ".join(f"{name}: {f.about}" for name, f in FAMILIES.items()))
    p = argparse.ArgumentParser(description="Train a model on MNIST and look at it.",
                                parents=[first],
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_of_model(p.add_argument_group("the model and what it maximises"))
    add_of_run(p.add_argument_group("the run"))
    family = FAMILIES[first.parse_known_args(arguments)[0].model]
    defaults = {**DEFAULTS, "binarize": "dynamic", **family.defaults}
    p.set_defaults(**defaults)
    args = p.parse_args(arguments)
    for name, default in defaults.items():
        if name in DEFAULTS and name not in family.options and getattr(args, name) != default:
            p.error(refusal(args.model, name))
    if family.widths and len(args.hidden) != family.widths:
        number = {1: "has one dense layer: give --hidden one number",
                  2: "has two stochastic layers: give --hidden two numbers, the width of the dense "
                     "layers next to x and of those between the codes"}[family.widths]
        p.error(f"--model {args.model} {number}")
    if family.grey and args.binarize != "none":
        p.error(f"--model {args.model} is a density of grey values: give --binarize none")
    if args.resume and not args.checkpoint:
        p.error("--resume: from where? Give --checkpoint DIR")
    if args.patience and not args.valid:
        p.error("--patience counts epochs without a better bound on held-out images: give --valid")
    return args


def add_of_model(p: Any) -> None:
    p.add_argument("--hidden", type=positive, nargs="+", help="dense layers of the encoder, the "
                   "decoder has the same in reverse; conv has one")
    p.add_argument("--latent", type=positive)
    p.add_argument("--activation", choices=["tanh", "relu"])
    p.add_argument("--draws", type=positive, help="of z for each image and step")
    p.add_argument("--beta", type=rate, help="weight of the KL")
    p.add_argument("--warmup", type=natural, metavar="EPOCHS",
                   help="in which the weight of the KL, or its capacity, grows from 0")
    p.add_argument("--free-bits", type=rate, metavar="NATS",
                   help="of each dimension that cost nothing")
    p.add_argument("--capacity", type=rate, metavar="NATS", help="at which the KL is held")
    p.add_argument("--temperature", type=above_zero, help="of relaxed categories, at the end")
    p.add_argument("--init", choices=["own", "pytorch"],
                   help="pytorch: weights and biases uniform within 1/√fan_in")
    p.add_argument("--no-start", action="store_true",
                   help="don't start the decoder's biases at the logit of the training mean")


def add_of_run(p: Any) -> None:
    p.add_argument("--data", help="folder of the IDX files; otherwise $MINIGRAD_DATA, the cache, "
                                  "a download, or without network the embedded digits")
    p.add_argument("--binarize", choices=["dynamic", "static", "none"])
    p.add_argument("--epochs", type=positive)
    p.add_argument("--batch-size", type=positive)
    p.add_argument("--lr", type=rate)
    p.add_argument("--valid", type=natural, metavar="IMAGES",
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
    p.add_argument("--nll-samples", type=positive,
                   help="draws for each image in the importance-weighted log p(x)")
    p.add_argument("--nll-images", type=positive,
                   help="test images, drawn, whose log p(x) is estimated")
    p.add_argument("--out", type=Path, default=Path("out/mnist"))
    p.add_argument("--quick", action="store_true",
                   help="a few seconds: part of the data, at most 2 epochs")
    p.add_argument("--no-plots", action="store_true")


def refusal(model: str, name: str) -> str:
    """What is wrong with an option that has no meaning for this model, and which models have it."""
    fits = [other for other, family in FAMILIES.items() if name in family.options]
    return (f"--{name.replace('_', '-')} does not apply to --model {model} "
            f"({FAMILIES[model].about}); it does to {', '.join(fits)}")


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.quick:
        args.epochs, args.nll_samples = min(args.epochs, 2), min(args.nll_samples, 32)
        args.nll_images = min(args.nll_images, 500)
    try:
        check_writable(args.out)
        made = make(args, load(args))
    except (ValueError, OSError) as error:
        print(f"mnist.py: {error}", file=sys.stderr)
        return 2

    try:
        with mg.reproducible() if args.reproducible else nullcontext():
            return run(args, made)
    except (vae.CheckpointError, vae.NonFinite, OSError) as error:
        print(f"mnist.py: {error}".replace("resume=True", "--resume"), file=sys.stderr)
        return 2


def make(args: argparse.Namespace, protocol: Binarization) -> Made:
    """Raises ValueError where data and model don't fit."""
    data, family = protocol.data, FAMILIES[args.model]
    if args.valid >= (n := len(data.train)):
        raise ValueError(f"--valid {args.valid} of {n} training images leaves none to train on")
    rng = np.random.default_rng(args.seed)
    train, valid = held_out(args, protocol)
    test = family.rows(protocol.evaluation(flat(data.test)), data.test_labels)
    model = build(args, data.train.shape[1:3], family.pixels(train), rng, prepare=protocol.batch)
    return Made(family, model, protocol, train, valid, test, rng)


def held_out(args: argparse.Namespace, protocol: Binarization) -> tuple[np.ndarray, np.ndarray]:
    """Training rows but for n drawn ones, and these as evaluation sees them."""
    n, x, labels = args.valid, flat(protocol.data.train), protocol.data.train_labels
    order = np.random.default_rng(0).permutation(len(x))

    def rows(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return FAMILIES[args.model].rows(images, None if labels is None else labels[chosen])
    kept = np.sort(order[n:])
    return (rows(x[kept] if n else x, kept),
            rows(protocol.evaluation(x[order[:n]]), order[:n]))


def run(args: argparse.Namespace, made: Made) -> int:
    """Train, and tell what came of it."""
    data, protocol, model = made.protocol.data, made.protocol, made.model
    steps = -(-len(made.train) // args.batch_size)
    held = f", {args.valid} held out to choose the epoch" if args.valid else ""
    bound = f"the bound is a {protocol.measure}" if made.family.is_bound else "there is no bound"
    print(f"{data.name}: {len(made.train)} training and {len(made.test)} test images{held}, "
          f"{protocol.name}; {bound}\n{made.n_parameters:,} parameters, seed {args.seed}; "
          f"writing to {args.out}")
    progress = Progress(args.epochs, steps, args.batch_size, len(made.train),
                        unit="nats" if made.family.is_bound else "nats of log p(x|code)")
    best = args.valid and vae.KeepBest(made.valid, patience=args.patience,
                                       warmup=args.warmup * steps, bound=made.family.bound)
    try:
        history = train(args, made, steps, progress, best or None)
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
        print(f"the parameters are those of epoch {best.epoch}, with the best "
              f"{'bound' if made.family.is_bound else 'log p(x|code)'} on held-out "
              f"images, {best.elbo:.2f}" + "; patience ended training" * history.stopped)
    made.family.finish(model, protocol.evaluation(made.train))
    report(args, made, history)
    return 130 if history.interrupted else 0


def train(args: argparse.Namespace, made: Made, steps: int, progress: Progress,
          best: vae.KeepBest | None) -> vae.History:
    """As the options say; nothing where the model is fitted when it is built."""
    family, model = made.family, made.model
    if family.objective is None:
        return vae.History()
    moved = family.on_step(model, made.train, made.protocol.batch, made.rng)

    def on_step(epoch: int, step: int, bound: float) -> None:
        progress.step(epoch, step, bound)
        if moved:
            moved(epoch, step, bound)

    def on_epoch(row: dict) -> None:
        found = vae.evaluate(model, made.test, objective=family.bound)
        row.update({f"test_{part}": found[part] for part in ("elbo", "reconstruction", "kl")})
        progress.epoch(row)

    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=args.lr)
    return vae.fit(model, made.train, epochs=args.epochs, batch_size=args.batch_size,
                   optimizer=optimizer, rng=made.rng, prepare=made.protocol.batch,
                   objective=objective_of(args, steps), best=best, checkpoint=args.checkpoint,
                   resume=args.resume, on_step=on_step, on_epoch=on_epoch)


def load(args: argparse.Namespace) -> Binarization:
    data = vae.data.load(args.data)
    if args.quick:
        data = data.take(min(6000, len(data.train)), min(1000, len(data.test)))
    return protocol_of(args, data)


def protocol_of(args: argparse.Namespace, data: vae.data.Dataset) -> Binarization:
    """What the model sees of the data."""
    if FAMILIES[args.model].grey:
        return Dequantised("none, grey values dequantised", data, "log density")
    return vae.data.binarization(args.binarize, data, folder=args.data, seed=args.seed)


class Dequantised(Binarization):
    """For densities of 8-bit grey values: (255x + u)/256, u uniform on [0, 1), drawn as the coins
    of "dynamic" are (Theis et al. 2016, section 3.1).
    """

    def batch(self, x: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        return (255 * x + rng.random(x.shape, np.float32)) / 256

    def evaluation(self, x: np.ndarray) -> np.ndarray:
        return self.batch(x, rng=np.random.default_rng(EVALUATION_SEED))


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def build(args: argparse.Namespace, size: tuple[int, int], train: np.ndarray,
          rng: np.random.Generator, *, prepare: Callable = as_it_is) -> Any:
    """The model of images of this size; train: grey ones, (n, pixels)."""
    network = {"rng": rng, "activation": {"tanh": np.tanh, "relu": mg.relu}[args.activation],
               "start": None if args.no_start else train.mean(axis=0)}
    if args.init == "pytorch":
        network |= {"weight": mg.nn.fan_in_uniform, "bias": mg.nn.fan_in_uniform}
    return FAMILIES[args.model].build(Plan(size, args.hidden, args.latent, train, rng, network,
                                           prepare))


def objective_of(args: argparse.Namespace, steps: int) -> Callable:
    """What is maximised, with `steps` an epoch."""
    return FAMILIES[args.model].objective(args, steps)


if __name__ == "__main__":
    sys.exit(main())
