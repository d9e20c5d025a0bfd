"""One model under six objectives, seen by one bound: python examples/objectives.py --help

The ELBO, and what is maximised in its place: a larger weight of the KL, weights that warm up, once
or many times, a capacity that grows, free bits.  The pictures show what each does to the KL and to
the unweighted ELBO.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import Any

import numpy as np
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae import schedules


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Train one model under six objectives.", out="out/objectives", data=True,
               quick="few data, few epochs")
    p.add_argument("--epochs", type=positive, default=20)
    return p.parse_args(arguments)


def objectives(steps: int) -> dict[str, Any]:
    """Name -> objective, for a run of so many steps."""
    half = steps // 2
    return {
        "ELBO": vae.elbo,
        "β = 4": partial(vae.beta_elbo, weight=4.0),
        "warm-up": partial(vae.beta_elbo, weight=schedules.linear(0.0, 1.0, half)),
        "cyclical": partial(vae.beta_elbo, weight=schedules.cyclical(max(1, steps // 4))),
        "capacity": partial(vae.capacity_elbo, weight=10.0,
                            capacity=schedules.linear(0.0, 25.0, half)),
        "free bits": partial(vae.free_bits_elbo, free=0.25),
    }


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = vae.data.load(args.data).take(*((600, 200) if args.quick else (10_000, 2_000)))
    epochs, batch_size = min(args.epochs, 4) if args.quick else args.epochs, 100
    protocol = vae.data.binarization("dynamic", data)
    train = data.train.reshape(len(data.train), -1)
    test = protocol.evaluation(data.test.reshape(len(data.test), -1))
    print(f"{data.name}: 784-300-20, {epochs} epochs each; nats an image")
    found = {}
    for name, objective in objectives(epochs * -(-len(train) // batch_size)).items():
        rng = np.random.default_rng(args.seed)  # the same start, order and noise for each
        model = vae.dense_vae(train.shape[1], (300,), 20, rng=rng, activation=mg.relu,
                              start=train.mean(axis=0))
        rows = vae.fit(model, train, epochs=epochs, batch_size=batch_size, rng=rng,
                       optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-3),
                       objective=objective, prepare=protocol.batch).rows
        bound, used = vae.evaluate(model, test), vae.active_units(model, test).count
        found[name] = {"rows": rows, "test": bound, "active_units": int(used)}
        print(f"{name:10} test ELBO {bound['elbo']:8.2f} ± {bound['elbo_se']:.2f}, reconstruction "
              f"{bound['reconstruction']:8.2f}, KL {bound['kl']:6.2f}, {used} of 20 units active",
              flush=True)
    (args.out / "objectives.json").write_text(json.dumps(found, indent=1) + "\n")
    if not args.no_plots:
        from vae import figures  # matplotlib takes a second to load

        figures.effects(args.out / "objectives.png", panels(found))
        print(f"picture: {args.out / 'objectives.png'}")
    return 0


def panels(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The weight, the KL and the bound of each, by epoch."""
    def series(column: str) -> dict[str, Any]:
        missing = {"ELBO": 1.0}  # its weight; capacity has none, and no line, but keeps its colour
        return {name: ([row["epoch"] for row in run["rows"]],
                       [row.get(column, missing.get(name, np.nan)) for row in run["rows"]], None)
                for name, run in found.items()}
    return [{"title": title, "xlabel": "epoch", "ylabel": label, "series": series(column)}
            for title, label, column in (
                ("the KL's weight at the end of an epoch", "weight", "kl_weight"),
                ("KL(q(z|x)‖p(z)) in training", "nats", "train_kl"),
                ("the unweighted ELBO in training", "nats", "train_bound"))]


if __name__ == "__main__":
    sys.exit(main())
