"""Train all models of the family alike and compare them: python examples/zoo.py --help

Each has the same images, network and time, where these apply, and its results are written as soon
as they are there: what was interrupted goes on with the models that are missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import mnist
import numpy as np
from families import FAMILIES
from looking import Made
from options import above_zero, check_writable, natural, positive
from reporting import bounds, diagnose

import minigrad as mg
import vae
from minigrad import archive

SAMPLES, FOREVER = 16, 1_000_000  # epochs: the time ends training
COLUMNS = {"parameters": "parameters", "seconds": "seconds", "epochs": "epochs",
           "elbo": "test ELBO, nats", "log_p": "log p(x), nats", "active": "active units",
           "error": "squared error"}
DIGITS = {"parameters": 0, "seconds": 0, "epochs": 1, "elbo": 2, "log_p": 2, "active": 1,
          "error": 4}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description="Train all models alike and compare them.",
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--only", choices=FAMILIES, nargs="+", metavar="NAME",
                   help="these models: " + ", ".join(FAMILIES))
    p.add_argument("--minutes", type=above_zero, default=3.0, help="of training, for each model")
    p.add_argument("--seeds", type=positive, default=1, help="runs of each model; errors are over "
                   "these, or over the test images of a single one")
    p.add_argument("--hidden", type=positive, nargs="+", default=[200, 200])
    p.add_argument("--latent", type=positive, default=50)
    p.add_argument("--nll-samples", type=positive, default=100)
    p.add_argument("--test-images", type=positive, default=2000,
                   help="on which all numbers are")
    p.add_argument("--data", help="folder of the IDX files; as of mnist.py")
    p.add_argument("--seed", type=natural, default=0, help="the first one")
    p.add_argument("--out", type=Path, default=Path("out/zoo"))
    p.add_argument("--quick", action="store_true",
                   help="seconds: embedded digits, an epoch of small networks")
    p.add_argument("--no-plots", action="store_true")
    return p.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.quick:
        args.hidden, args.latent, args.nll_samples, args.test_images = [24, 24], 5, 20, 100
    try:
        check_writable(args.out)
        data = vae.data.embedded(300, 100) if args.quick else vae.data.load(args.data)
        data = data.take(len(data.train), min(args.test_images, len(data.test)))
        done = {path: read(path, setting(args, data)) for path in places(args).values()
                if path.exists()}
    except (ValueError, OSError) as error:
        print(f"zoo.py: {error}", file=sys.stderr)
        return 2
    failed = False
    for (name, seed), path in places(args).items():
        if path in done:
            continue
        try:
            done[path] = result = trained(name, seed, args, data)
        except (vae.NonFinite, ValueError) as error:
            print(f"zoo.py: {name}, seed {seed}: {error}", file=sys.stderr)
            failed = True
            continue
        except KeyboardInterrupt:
            print(f"interrupted: {len(done)} of {len(places(args))} are in {args.out}; the same "
                  "command goes on with the others", file=sys.stderr)
            return 130
        archive.write_bytes(path, (json.dumps(result) + "\n").encode())
        print(f"{name}, seed {seed}: {result['seconds']:.0f} s of training", flush=True)
    tell(args, data, [done[path] for path in places(args).values() if path in done])
    return int(failed)


def places(args: argparse.Namespace) -> dict[tuple[str, int], Path]:
    """(model, seed) -> the file of its results."""
    return {(name, seed): args.out / f"{name}-{seed}.json" for name in args.only or FAMILIES
            for seed in range(args.seed, args.seed + args.seeds)}


def setting(args: argparse.Namespace, data: vae.data.Dataset) -> dict[str, Any]:
    """What must be the same of all models that are compared."""
    return {"data": data.name, "train": len(data.train), "test": len(data.test),
            **{k: getattr(args, k) for k in ("minutes", "hidden", "latent", "nll_samples")}}


def read(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """A model's results; raises ValueError where they are of another comparison, or damaged."""
    try:
        found = json.loads(path.read_text())
        given = found["setting"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and its model is trained "
                         "anew") from error
    other = [f"{k} {given.get(k)} there, {v} now" for k, v in wanted.items() if given.get(k) != v]
    if other:
        raise ValueError(f"{path} is of another comparison: {'; '.join(other)}. Give another --out")
    return found


# -- one model ------------------------------------------------------------------------------------
class Deadline:
    """Ends training when its time is over, as Ctrl-C would: after a step."""

    def __init__(self, seconds: float):
        self.end, self.passed, self.steps = time.perf_counter() + seconds, False, 0

    def step(self) -> None:
        """After each step of training."""
        self.steps += 1
        if time.perf_counter() > self.end:
            self.passed = True
            raise KeyboardInterrupt


def options(name: str, seed: int, args: argparse.Namespace) -> argparse.Namespace:
    """Those of `mnist.py`: the network where it applies, the model's own otherwise."""
    family, given = FAMILIES[name], ["--model", name, "--seed", str(seed)]
    if "hidden" in family.options and not family.widths:
        given += ["--hidden", *map(str, args.hidden)]
        if "activation" in family.options:  # with relu so deep a network may take epochs to begin
            given += ["--activation", "tanh"]
    if "latent" in family.options and not name.startswith("categorical"):  # 20 of ten each
        given += ["--latent", str(args.latent)]
    found = mnist.parse(given)
    found.epochs = 0 if family.objective is None else 1 if args.quick else FOREVER
    return found


def trained(name: str, seed: int, args: argparse.Namespace, data: vae.data.Dataset
            ) -> dict[str, Any]:
    """Train one model for its time, and what it is worth.  Raises KeyboardInterrupt for Ctrl-C."""
    own = options(name, seed, args)
    began = time.perf_counter()
    made = mnist.make(own, mnist.protocol_of(own, data))
    steps, deadline = -(-len(made.train) // own.batch_size), Deadline(60 * args.minutes)
    moved = made.family.on_step(made.model, made.train, made.protocol.batch, made.rng)

    def on_step(epoch: int, step: int, bound: float) -> None:
        if moved:
            moved(epoch, step, bound)
        deadline.step()
    history = vae.History()
    if made.family.objective is not None:
        history = vae.fit(made.model, made.train, epochs=own.epochs, batch_size=own.batch_size,
                          optimizer=mg.optim.Adam(mg.nn.parameters(made.model), lr=own.lr),
                          rng=made.rng, prepare=made.protocol.batch, on_step=on_step,
                          objective=mnist.objective_of(own, steps))
    seconds = time.perf_counter() - began
    if history.interrupted and not deadline.passed:
        raise KeyboardInterrupt
    made.family.finish(made.model, made.protocol.evaluation(made.train))
    some = made.test[:SAMPLES]
    images = {"test images": made.family.pixels(some),
              "E[x|z]": made.family.reconstruct(made.model, some),
              "drawn": made.family.sample(made.model, SAMPLES, rng=np.random.default_rng(0))}
    return {"model": name, "seed": seed, "setting": setting(args, data),
            "note": made.family.told(), "parameters": made.n_parameters, "seconds": seconds,
            "epochs": deadline.steps / steps, **worth(args, made),
            "findings": [f.as_dict() for f in diagnose(own, made, history) or ()],
            "images": {k: None if v is None else np.round(v, 3).tolist()
                       for k, v in images.items()}}


def worth(args: argparse.Namespace, made: Made) -> dict[str, Any]:
    """The numbers of the table, None where a model has none."""
    found = bounds(made)
    result = {"elbo": found["test_elbo"], "elbo_se": found["test_elbo_se"],
              "log_p": None, "log_p_se": None,
              "active": made.family.active(made.model, made.test),
              "error": made.family.error(made.model, made.test),
              **made.family.more(made.model, made.test)}
    if "nll_samples" in made.family.options:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vae.LowEffectiveSampleSize)  # ESS is in the results
            nll = vae.log_likelihood(made.model, made.test, samples=args.nll_samples)
        result |= {"log_p": nll["log_likelihood"], "log_p_se": nll["log_likelihood_se"],
                   "ess": nll["ess_mean"]}
    return result


# -- all of them ----------------------------------------------------------------------------------
def tell(args: argparse.Namespace, data: vae.data.Dataset, results: list[dict]) -> None:
    """The table, printed and as CSV and markdown; samples; and a page of both."""
    rows = [row(name, [r for r in results if r["model"] == name])
            for name in dict.fromkeys(r["model"] for r in results)]
    over = f"{args.seeds} seeds" if args.seeds > 1 else "the test images"
    long = "one epoch" if args.quick else f"{args.minutes:g} minutes"
    under = (f"{data.name}, dynamic binarisation, {long} each; numbers are of "
             f"{len(data.test)} test images, ± is the standard error over {over}. log p(x): "
             f"importance-weighted, K = {args.nll_samples}. Squared error: of a pixel's E[x|z].")
    lines = table(rows)
    print("\n" + "\n".join(lines) + f"\n\n{under}")
    text = "\n".join(["| " + " | ".join(cells) + " |" for cells in
                      [escaped(HEAD), ["---", *["---:"] * len(COLUMNS), "---"],
                       *(escaped(cells_of(found)) for found in rows)]])
    archive.write_bytes(args.out / "zoo.md", f"{text}\n\n{under}\n".encode())
    with open(args.out / "zoo.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["model"])
        writer.writeheader()
        writer.writerows(rows)
    if not args.no_plots:
        page(args, data, rows, results, under)
    print(f"written to {args.out}")


def row(name: str, runs: list[dict]) -> dict[str, Any]:
    """Means over the seeds, and errors over them, or over the data where there is one."""
    found: dict[str, Any] = {"model": name, "seeds": len(runs)}
    for column in COLUMNS:
        values = [run[column] for run in runs if run[column] is not None]
        found[column] = float(np.mean(values)) if values else None
        found[f"{column}_se"] = (float(np.std(values, ddof=1) / math.sqrt(len(values)))
                                 if len(values) > 1 else runs[0].get(f"{column}_se"))
    return {**found, "note": runs[0]["note"]}


HEAD = ["model", *COLUMNS.values(), "note"]


def cells_of(found: dict[str, Any]) -> list[str]:
    def cell(name: str) -> str:
        value, error = found[name], found[f"{name}_se"]
        if value is None:
            return "none"
        digits = DIGITS[name] if name != "active" or value % 1 else 0
        shown = error is not None and name in ("elbo", "log_p", "active", "error")
        return f"{value:,.{digits}f}" + (f" ± {error:.{digits}f}" if shown else "")
    return [found["model"], *map(cell, COLUMNS), found["note"]]


def escaped(cells: list[str]) -> list[str]:
    """For a table in Markdown."""
    return [cell.replace("|", r"\|") for cell in cells]


def table(rows: list[dict]) -> list[str]:
    """Lines of equal columns, numbers to the right."""
    cells = [HEAD, *map(cells_of, rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(text.rjust(w) if 0 < i < len(HEAD) - 1 else text.ljust(w)
                      for i, (text, w) in enumerate(zip(line, widths))).rstrip()
            for line in cells]


def page(args: argparse.Namespace, data: vae.data.Dataset, rows: list[dict], results: list[dict],
         under: str) -> None:
    """samples.png, and zoo.html."""
    from vae import figures  # matplotlib takes a second to load

    drawn = {}
    for r in results:
        images = {name: some and np.array(some, np.float32).reshape(-1, *data.test.shape[1:3])
                  for name, some in r["images"].items()}
        drawn.setdefault(r["model"], images["drawn"])
        figures.labelled_rows(args.out / f"{r['model']}-{r['seed']}.png", images,
                              f"{data.name}: {FAMILIES[r['model']].about}")
    picture = args.out / "samples.png"
    figures.labelled_rows(picture, drawn, f"{data.name}: E[x|z] for z drawn from the prior")
    units = {"seconds": "s", "elbo": "nats per image", "log_p": "nats per image"}
    metrics = {found["model"]: {COLUMNS[k]: (found[k], found[f"{k}_se"], units.get(k))
                                for k in COLUMNS if found[k] is not None} for found in rows}
    findings = [vae.Finding(f"{r['model']}, seed {r['seed']}: {f['name']}", f["severity"],
                            f["evidence"], f["cure"]) for r in results for f in r["findings"]]
    vae.report.write(args.out / "zoo.html", title=f"Models side by side on {data.name}",
                     configuration={k: str(v) for k, v in vars(args).items()}, protocol=under,
                     history=[], metrics=metrics, pictures={"Samples of each model": picture},
                     findings=findings or "Nothing found in any model.")


if __name__ == "__main__":
    sys.exit(main())
