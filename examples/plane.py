"""Codes in a plane, of an autoencoder and of VAEs: python examples/plane.py --help

Where classes lie, what is decoded where no code is, how one digit turns into another, and what the
two terms of the ELBO do, each alone and both together.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from options import check_writable, parser, positive, program

import minigrad as mg
import vae
from vae.evaluation.means import mean_and_error
from vae.evaluation.paths import (
    Box,
    codes,
    decoded,
    empty_boxes,
    lerp,
    neighbour_distance,
    path_quality,
    relative_distance,
    slerp,
)
from vae.models.autoencoder import dense_autoencoder, reconstruction_only

BETAS = (0.25, 1.0, 4.0, 100.0)
BOXES, ROW = 10, 11  # empty places, and images along a path
HOLES, CORNERS = "empty boxes in the hull", "empty boxes in the rectangle"


class Data(NamedTuple):
    """Grey images in rows, (n, 784), and their classes; `labels` are of the test images."""

    train: ndarray
    test: ndarray
    train_labels: ndarray
    labels: ndarray
    name: str
    protocol: vae.data.Binarization


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = parser("Look at codes of two dimensions.", out="out/plane", data=True,
               quick="seconds: small models of drawn digits")
    p.add_argument("--images", type=positive, default=5_000, help="to train with")
    p.add_argument("--epochs", type=positive, default=20, help="of training, for each model")
    return p.parse_args(arguments)


@program
def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    check_writable(args.out)
    data = load(args)
    train = partial(trained, data, seed=args.seed, hidden=(100,) if args.quick else (200,),
                    epochs=12 if args.quick else args.epochs, rate=5e-3 if args.quick else 2e-3)
    autoencoder = train("autoencoder", None)
    forces = {"reconstruction only": train("β = 0", partial(vae.beta_elbo, weight=0.0)),
              "KL only": train("KL only", kl_only)}
    models = {beta: train(f"β = {beta:g}", partial(vae.beta_elbo, weight=beta)) for beta in BETAS}
    both = models[1.0]
    z = codes(autoencoder, data.train)
    boxes = {HOLES: empty_boxes(z, BOXES), CORNERS: empty_boxes(z, BOXES, within="rectangle")}
    found = {"data": data.name, "seed": args.seed,
             "decoded": emptiness(autoencoder, both, boxes, data, args.seed),
             "paths": between(autoencoder, both, data, args.seed),
             "forces": [spread(name, model, data.test) for name, model in
                        {**forces, **{f"β = {b:g}": m for b, m in models.items()}}.items()],
             "rate_distortion": vae.rate_distortion(models, data.protocol.evaluation(data.test),
                                                    seed=args.seed)}
    prior = found["decoded"]["prior"]
    found["ratio"] = {name: {kind: found["decoded"][name][kind][0] / prior[kind][0]
                             for kind in ("distance", "relative")} for name in boxes}
    found["farther"] = {name: sum(far > prior["distance"][0] for far in row["by_box"])
                        for name, row in found["decoded"].items() if name in boxes}
    show(found)
    (args.out / "plane.json").write_text(json.dumps(found, indent=1) + "\n")
    if not args.no_plots:
        draw(args.out, autoencoder, both, forces, boxes, found, data)
    print(f"results in {args.out}")
    return 0


def load(args: argparse.Namespace) -> Data:
    data = (vae.data.embedded(1_000, 500) if args.quick else
            vae.data.load(args.data, seed=args.seed))
    data = data.take(min(len(data.train), args.images), min(len(data.test), 2_000))
    return Data(data.train.reshape(len(data.train), -1), data.test.reshape(len(data.test), -1),
                data.train_labels, data.test_labels, data.name,
                vae.data.binarization("dynamic", data))


def kl_only(model: vae.VAE, x: Any, *, rng: np.random.Generator) -> vae.Weighted:
    """Maximises -KL(q(z|x)‖p(z)), whatever becomes of the image."""
    bound = vae.elbo(model, x, rng=rng)
    return vae.Weighted(-bound.kl, *bound, 1.0)


def trained(data: Data, name: str, objective: Any, *, seed: int, hidden: tuple[int, ...],
            epochs: int, rate: float) -> Any:
    """A VAE, or an autoencoder where there is no objective; pixels are drawn anew in each step."""
    began, rng = time.perf_counter(), np.random.default_rng(seed)
    make = vae.dense_vae if objective else dense_autoencoder
    model = make(784, hidden, 2, rng=rng, start=data.train.mean(axis=0))
    vae.fit(model, data.train, epochs=epochs, batch_size=100, rng=rng, prepare=data.protocol.batch,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=rate),
            objective=objective or reconstruction_only)
    print(f"{name} trained ({time.perf_counter() - began:.0f} s)", flush=True)
    return model


# -- numbers --------------------------------------------------------------------------------------
def emptiness(autoencoder: Any, model: vae.VAE, boxes: dict[str, list[Box]], data: Data, seed: int
              ) -> dict[str, dict[str, Any]]:
    """How far decodes are from the training data, by where z is from; see `relative_distance`.

    The standard error of the boxes is that over boxes.
    """
    rng = np.random.default_rng(seed)
    of = {**{name: (autoencoder, np.concatenate([box.lattice(5) for box in some]))
             for name, some in boxes.items()},
          "autoencoder's codes": (autoencoder, codes(autoencoder, data.test)[:1_000]),
          "prior": (model, model.prior.sample((1_000,), rng=rng)),
          "VAE's codes": (model, codes(model, data.test)[:1_000])}
    images = {name: decoded(one, z.astype(np.float32)) for name, (one, z) in of.items()}
    found = {}
    for name, x in {**images, "test images": data.test[:1_000]}.items():
        each = {kind: far(x, data.train).reshape(len(boxes.get(name, x)), -1).mean(axis=1)
                for kind, far in (("distance", neighbour_distance),
                                  ("relative", relative_distance))}
        found[name] = {kind: pair(values) for kind, values in each.items()}
        if name in boxes:
            found[name]["by_box"] = each["distance"].tolist()
    return found


def between(autoencoder: Any, model: vae.VAE, data: Data, seed: int, pairs: int = 200
            ) -> list[dict[str, Any]]:
    """Means over paths between test images of different classes, the same for both models."""
    i, j = different(data.labels, pairs, np.random.default_rng(seed))
    table, each = [], {}
    for path in (lerp, slerp):
        for name, of in (("autoencoder", autoencoder), ("VAE", model)):
            z = codes(of, data.test)
            quality = path_quality(of, z[i], z[j], data.train, path=path)
            each[name] = quality.largest_step
            table.append({"model": name, "path": path.__name__, **{
                key: pair(value) for key, value in quality._asdict().items()}})
        table[-1]["smoother_by"] = pair(each["autoencoder"] - each["VAE"])
    return table


def different(labels: ndarray, pairs: int, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Rows of two different classes."""
    i, j = rng.integers(0, len(labels), (2, 10 * pairs))
    apart = np.nonzero(labels[i] != labels[j])[0][:pairs]
    return i[apart], j[apart]


def spread(name: str, model: vae.VAE, x: ndarray) -> dict[str, Any]:
    """Mean σ over data and dimensions, and the standard deviation of μ over the data."""
    q = mg.nn.frozen(model).posterior(x)
    return {"objective": name, "sigma": float(np.sqrt(q.variance).mean(dtype=np.float64)),
            "mu": float(np.sqrt(q.mean.var(axis=0, dtype=np.float64).mean()))}


def pair(each: ndarray) -> tuple[float, float]:
    """Mean and standard error."""
    value, error = mean_and_error(each)
    return float(value), float(error)


def show(found: dict[str, Any]) -> None:
    print(f"\n{found['data']}\n\nE[x|z], z from:              distance to 5 nearest   relative to "
          "theirs")
    for name, row in found["decoded"].items():
        (value, error), (relative, its) = row["distance"], row["relative"]
        print(f"{name:29} {value:9.3f} ± {error:.3f} {relative:13.3f} ± {its:.3f}")
    for name, ratio in found["ratio"].items():
        print(f"{name + ' / prior':37} {ratio['distance']:.3f} {ratio['relative']:21.3f}   "
              f"({found['farther'][name]} of {BOXES} boxes are farther than the prior)")
    print("\npath, model          largest / mean step   distance   largest distance")
    for row in found["paths"]:
        print(f"{row['path']:5} {row['model']:12}" + "".join(
            f"   {row[key][0]:6.2f} ± {row[key][1]:.2f}"
            for key in ("largest_step", "distance", "farthest")))
    print("\nobjective              mean σ   spread of μ")
    for row in found["forces"]:
        print(f"{row['objective']:20} {row['sigma']:8.4f} {row['mu']:10.3f}")
    print("\n    β     rate  distortion     ELBO")
    for row in found["rate_distortion"]:
        print(f"{row['beta']:5g} {row['rate']:8.2f} {row['distortion']:11.2f} {row['elbo']:8.2f}")
    print()


# -- pictures -------------------------------------------------------------------------------------
def draw(out: Path, autoencoder: Any, both: vae.VAE, forces: dict[str, vae.VAE],
         boxes: dict[str, list[Box]], found: dict[str, Any], data: Data) -> None:
    from vae import figures  # matplotlib takes a second to load
    from vae.figures import plane

    plane.planes(out / "plane-scatter.png", [
        plane.Plane("autoencoder; red: the largest boxes without a code, within the hull\n"
                    "of all codes and, dashed, within the rectangle that holds them",
                    codes(autoencoder, data.train), boxes[HOLES], boxes[CORNERS]),
        plane.Plane("VAE, means of q(z|x)", codes(both, data.train))], data.train_labels)
    across = {name: decoded(autoencoder, np.stack([lerp(box.low, box.high, 10) for box in some]
                                                  ).astype(np.float32))
              for name, some in boxes.items()}
    drawn = mg.nn.frozen(both).sample(100, rng=np.random.default_rng(0))
    figures.side_by_side(out / "plane-box.png", {
        **{f"autoencoder: across {name}": as_images(x) for name, x in across.items()},
        "VAE: z drawn from the prior": as_images(drawn)}, "E[x|z]", columns=10)
    i, j = (rows[:1] for rows in different(data.labels, 1, np.random.default_rng(3)))
    rows = {}
    for name, model in (("autoencoder", autoencoder), ("VAE", both)):
        z = codes(model, data.test)
        rows |= {f"{name}, {path.__name__}": as_images(decoded(model, path(z[i], z[j], ROW))[:, 0])
                 for path in (lerp, slerp)}
    figures.labelled_rows(out / "plane-path.png", rows,
                          "from one test image to another: E[x|z] on the way")
    three = {"reconstruction only": forces["reconstruction only"], "KL only": forces["KL only"],
             "both (β = 1)": both}
    told = {row["objective"]: row for row in found["forces"]}
    titles = {name: told.get(name, told["β = 1"]) for name in three}
    plane.planes(out / "plane-forces.png", [
        plane.Plane(f"{name}: mean σ {titles[name]['sigma']:.3f}, μ spread "
                    f"{titles[name]['mu']:.2f}", codes(model, data.test))
        for name, model in three.items()], data.labels)
    figures.rate_distortion(out / "plane-rates.png", found["rate_distortion"], "two dimensions")


def as_images(x: ndarray) -> ndarray:
    return x.reshape(-1, 28, 28)


if __name__ == "__main__":
    sys.exit(main())
