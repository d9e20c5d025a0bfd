"""Five latent numbers against ten, all else the same: python examples/latent_size.py --help

Both decode the same noise: the first five of the ten numbers are the five.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from options import check_writable, parser, positive, program, rate

import minigrad as mg
import vae
from vae.evaluation.means import mean_and_error

SIZES, PARTS = (5, 10), ("elbo", "reconstruction", "kl")
COLUMNS, ROWS = 8, 8  # of the picture


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Train VAEs with 5 and with 10 latent numbers.", out="out/latent_size", data=True,
               seed="the first of --seeds", quick="a few seconds, on the embedded digits")
    p.add_argument("--epochs", type=positive, default=10)
    p.add_argument("--seeds", type=positive, default=3, help="trainings of each size, 2 or more")
    p.add_argument("--hidden", type=positive, default=200, help="units of the only hidden layer")
    p.add_argument("--lr", type=rate, default=1e-3)
    args = p.parse_args(arguments)
    if args.seeds < 2:
        p.error("--seeds: one training has no spread, give 2 or more")
    return args


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.quick:
        args.seeds, args.hidden = min(args.seeds, 2), min(args.hidden, 64)
    check_writable(args.out)
    data = vae.data.embedded(2_000, 500) if args.quick else vae.data.load(args.data)
    protocol = vae.data.binarization("dynamic", data)
    test = protocol.evaluation(data.test.reshape(len(data.test), -1))
    began, models, found = time.perf_counter(), {}, {n: [] for n in SIZES}
    print(f"{data.name}: {len(data.train)} training and {len(test)} test images, dynamic")
    for seed in range(args.seed, args.seed + args.seeds):
        for n in SIZES:
            model = trained(protocol, n, args, seed)
            found[n].append(vae.evaluate(model, test, seed=seed))
            models.setdefault(n, model)
            print(f"latent {n:2}, seed {seed}: ELBO {found[n][-1]['elbo']:.2f} "
                  f"({time.perf_counter() - began:.0f} s)", flush=True)
    table = compared(found)
    show(table, args)
    (args.out / "latent_size.json").write_text(json.dumps(
        {"data": data.name, "epochs": args.epochs, "hidden": args.hidden, "seeds": args.seeds,
         "unit": "nats per image", "table": table}, indent=1) + "\n")
    if not args.no_plots:
        from vae import figures  # matplotlib takes a second to load
        figures.side_by_side(args.out / "latent_size.png", same_noise(models, args.seed),
                             f"{data.name}, epoch {args.epochs}: E[x|z], the first five of the "
                             "ten numbers are the five", columns=COLUMNS)
    print(f"results in {args.out} ({time.perf_counter() - began:.0f} s)")
    return 0


def trained(protocol: vae.data.Binarization, n: int, args: argparse.Namespace, seed: int
            ) -> vae.VAE:
    x = protocol.data.train.reshape(len(protocol.data.train), -1)
    rng = np.random.default_rng(seed)
    model = vae.dense_vae(x.shape[1], (args.hidden,), n, rng=rng, activation=mg.relu,
                          start=x.mean(axis=0))
    vae.fit(model, x, epochs=args.epochs, batch_size=100, rng=rng, prepare=protocol.batch,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=args.lr))
    return model


def compared(found: dict[int, list[dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Row by row, part -> mean over seeds and its standard error; the last row: by how much the
    larger code is above, seed by seed."""
    def row(values: np.ndarray) -> list[float]:
        return [float(part) for part in mean_and_error(values)]
    each = {n: {part: np.array([f[part] for f in found[n]]) for part in PARTS} for n in SIZES}
    few, many = SIZES
    return {**{f"latent {n}": {part: row(each[n][part]) for part in PARTS} for n in SIZES},
            f"{many} less {few}": {part: row(each[many][part] - each[few][part])
                                   for part in PARTS}}


def same_noise(models: dict[int, vae.VAE], seed: int) -> dict[str, np.ndarray]:
    """E[x|z] of each model for z that agree in the numbers that both have."""
    z = np.random.default_rng(seed).standard_normal((ROWS * COLUMNS, max(SIZES)), np.float32)
    return {f"latent {n}": mg.nn.frozen(model).likelihood(z[:, :n]).mean.reshape(-1, 28, 28)
            for n, model in models.items()}


def show(table: dict, args: argparse.Namespace) -> None:
    print(f"\nepoch {args.epochs}, test images, nats each, mean and standard error over "
          f"{args.seeds} seeds\n{'':12}{'ELBO':>18}{'reconstruction':>18}{'KL':>18}")
    for name, row in table.items():
        print(f"{name:12}" + "".join(f"{mean:11.2f} ± {se:4.2f}" for mean, se in row.values()))


if __name__ == "__main__":
    sys.exit(main())
