"""What a tighter bound, a learned prior and a richer posterior are worth on MNIST.

    python tests/benchmarks/evidence.py --data FOLDER --out FOLDER

Four models 784-200-200-50 that differ in one thing each, trained alike: dynamic binarisation, Adam,
batches of 100, so many epochs, a learning rate that falls from 1e-3 to 1e-4.  One JSON a run; what
is there already isn't trained again, so that it can be interrupted, or shared by two processes
(--seeds).  Seconds are of the processor, all threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import minigrad as mg
import vae
from vae import estimators, flows, networks, priors

HIDDEN, N_Z = (200, 200), 50


def diagonal(x: np.ndarray, rng: np.random.Generator) -> vae.VAE:
    return vae.dense_vae(x.shape[1], HIDDEN, N_Z, rng=rng, activation=np.tanh, start=x.mean(axis=0))


def vamp(x: np.ndarray, rng: np.random.Generator) -> vae.VAE:
    model = diagonal(x, rng)
    model.prior = priors.VampPrior(model, x.shape[1], 500, rng=rng, start=x)
    return model


def autoregressive(x: np.ndarray, rng: np.random.Generator) -> vae.VAE:
    """Two inverse autoregressive flows of 200 hidden units, which see the encoder's last layer."""
    model = diagonal(x, rng)
    maps = [flows.InverseAutoregressive(N_Z, hidden=(200,), n_context=HIDDEN[-1], reverse=bool(k),
                                        rng=rng) for k in range(2)]
    model.encoder = networks.dense([x.shape[1], *HIDDEN, N_Z], partial(flows.ToTransformed,
                                   flows=maps), activation=np.tanh, rng=rng)
    return model


MODELS: dict[str, tuple[Callable, Callable]] = {  # how it is made, what is maximised
    "vae": (diagonal, vae.elbo),
    "iwae": (diagonal, partial(estimators.iwae, samples=5)),
    "vampprior": (vamp, estimators.sgvb_a),
    "flow": (autoregressive, estimators.sgvb_a),
}


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0],
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--data", help="folder of MNIST's files")
    p.add_argument("--out", type=Path, default=Path("out/evidence"))
    p.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--epochs", type=int, default=50)
    p.add_argument("--samples", type=int, default=1000, help="K of log p(x)")
    p.add_argument("--images", type=int, default=2000, help="of the test set, drawn")
    p.add_argument("--train", type=int, help="so many training images only")
    args = p.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    data = vae.data.load(args.data)
    if args.train:
        data = data.take(args.train, len(data.test))
    protocol = vae.data.binarization("dynamic", data)
    for seed in args.seeds:
        for name in args.models:
            path = args.out / f"{name}-{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(one(name, seed, protocol, args), indent=1) + "\n")
    table(args.out)
    return 0


def one(name: str, seed: int, protocol: vae.data.Binarization, args: argparse.Namespace) -> dict:
    """Train one, and find its log p(x) and active units."""
    rng = np.random.default_rng(seed)
    x = protocol.data.train.reshape(-1, 784)
    build, objective = MODELS[name]
    model = build(x, rng)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=mg.optim.linear(
        1e-3, 1e-4, args.epochs * -(-len(x) // 100)))
    began, wall = time.process_time(), time.perf_counter()
    history = vae.fit(model, x, epochs=args.epochs, batch_size=100, rng=rng, optimizer=optimizer,
                      prepare=protocol.batch, objective=objective,
                      on_epoch=lambda row: print(f"{name} {seed}: {row['epoch']} "
                                                 f"{row['train_bound']:.2f}", flush=True))
    if history.interrupted:
        sys.exit(130)
    took = {"processor_seconds": time.process_time() - began, "seconds": time.perf_counter() - wall}
    test = protocol.evaluation(protocol.data.test.reshape(-1, 784))
    drawn = np.random.default_rng(0).permutation(len(test))[:args.images]
    model = mg.nn.frozen(model)
    model.prior = model.prior
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vae.LowEffectiveSampleSize)  # its size is kept beside it
        found = vae.log_likelihood(model, test[np.sort(drawn)], samples=args.samples)
    bound = vae.evaluate(model, test, objective=estimators.sgvb_a)
    return {"model": name, "seed": seed, "epochs": args.epochs, "images": args.images, **took,
            "parameters": sum(p.size for p in optimizer.params), "elbo": bound["elbo"],
            "log_likelihood": found["log_likelihood"], "se_over_images": found["log_likelihood_se"],
            "effective_samples": found["ess_mean"], "samples": args.samples,
            "noise": found["log_likelihood_noise_se"], "bias": found["log_likelihood_bias"],
            "active_units": vae.active_units(model, test, draws=50, rng=rng).count}


def table(folder: Path) -> None:
    """log p(x) of each, and what it is above the VAE of the same seed: mean ± standard error."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*-*.json"))]
    base = {run["seed"]: run for run in runs if run["model"] == "vae"}
    print("| model | seeds | parameters | minutes of processor | ELBO | log p(x) | above the VAE | "
          "active units |\n|---|---|---|---|---|---|---|---|")
    for name in MODELS:
        own = [run for run in runs if run["model"] == name]
        if own:
            above = [run["log_likelihood"] - base[run["seed"]]["log_likelihood"]
                     for run in own if run["seed"] in base]
            print(f"| {name} | {len(own)} | {own[0]['parameters']:,} | "
                  f"{np.mean([run['processor_seconds'] for run in own]) / 60:.1f} | "
                  f"{np.mean([run['elbo'] for run in own]):.2f} | "
                  f"{spread([run['log_likelihood'] for run in own])} | {spread(above)} | "
                  f"{', '.join(str(run['active_units']) for run in own)} |")


def spread(values: list[float]) -> str:
    if len(values) < 2:
        return ", ".join(f"{value:.2f}" for value in values)
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    sys.exit(main())
