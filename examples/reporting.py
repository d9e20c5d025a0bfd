"""What `mnist.py` tells of a run: numbers, what is amiss, pictures and a page."""

from __future__ import annotations

import json
import time
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from looking import Made

import vae

CAPTIONS = {"reconstructions": "Test images, below each its reconstruction E[x|z]",
            "samples": "E[x|z] for z drawn from the prior", "curves": "Bounds by epoch",
            "manifold": "E[x|z] on a grid of the two latent dimensions",
            "scatter": "Means of q(z|x) of test images, by class"}


def report(args: Namespace, made: Made, history: vae.History) -> None:
    """Parameters first, since they cost the most; then numbers, what is amiss, and pictures."""
    made.family.save(args.out / "parameters.npz", made.model)
    rows, protocol, began = history.rows, made.protocol, time.perf_counter()
    data = protocol.data
    if rows:
        history.write_csv(args.out / "history.csv")
        history.write_json(args.out / "history.json")
    results = measure(args, made)
    results["train_bound"] = rows[-1]["train_bound"] if rows else None
    diagnosis = diagnose(args, made, history)
    told = (f"The doctor was not asked: {made.family.why_no_doctor}" if diagnosis is None
            else diagnosis)
    print(f"({time.perf_counter() - began:.0f} s)\n{told}")
    configuration = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    seconds = float(np.mean([row["seconds"] for row in rows])) if rows else None
    metrics = {
        "dataset": data.name, "protocol": data.protocol, "binarize": args.binarize,
        "binarization": protocol.name, "measure": protocol.measure, "unit": "nats per image",
        "model": args.model, "n_train": len(made.train), "n_test": len(data.test),
        "epochs": len(rows), "interrupted": history.interrupted, "stopped": history.stopped,
        "seed": args.seed, "parameters": made.n_parameters, **results,
        "seconds_per_epoch": seconds, "images_per_second": seconds and len(made.train) / seconds,
        "options": configuration, "findings": [finding.as_dict() for finding in diagnosis or ()],
        "environment": vae.report.environment(),
    }
    if diagnosis is None:
        metrics["not_diagnosed"] = made.family.why_no_doctor
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    how_far = f"{len(rows)} of {args.epochs}" + ", interrupted" * history.interrupted
    pictures = {} if args.no_plots else plot(args, made, rows)
    page = args.out / "report.html"
    vae.report.write(page, title=title(args, data.name), configuration=configuration,
                     protocol=f"{data.name}: {data.protocol}. Binarisation: {protocol.name}. "
                              + what_bound(made) + ", in nats per image.",
                     history=rows, findings=told,
                     metrics={"epochs": how_far, **with_units(results)},
                     pictures={k: v for k, v in pictures.items() if k != CAPTIONS["curves"]})
    print("written: " + ", ".join(map(str, (*pictures.values(), page))))


def title(args: Namespace, name: str) -> str:
    return f"A VAE on {name}" if args.model in ("dense", "conv") else f"{args.model} on {name}"


def what_bound(made: Made) -> str:
    if made.family.is_bound:
        return f"The bound is a {made.protocol.measure}"
    return "There is no bound on log p(x); what the curves call one is log p(x|code)"


def diagnose(args: Namespace, made: Made, history: vae.History) -> vae.Diagnosis | None:
    """Of at most 2000 training images; None where the doctor has nothing to judge."""
    if made.family.why_no_doctor:
        return None
    chosen = np.random.default_rng(0).permutation(len(made.train))[:2000]
    objective = made.family.objective(args, -(-len(made.train) // args.batch_size))
    return made.family.diagnose(made.model, made.protocol.evaluation(made.train[chosen]),
                                validation=made.test, history=history, objective=objective)


def with_units(found: dict[str, Any]) -> dict[str, Any]:
    """For the report: words, standard errors and units; what a model doesn't have is left out."""
    nats = "nats per image"
    words = {"bound, test": ("test_elbo", "test_elbo_se", nats),
             "reconstruction, test": ("test_reconstruction", None, nats),
             "KL, test": ("test_kl", None, nats),
             "bound, training, last epoch": ("train_bound", None, nats),
             f"-log p(x), K = {found['test_nll_samples']}": ("test_nll", "test_nll_se", nats),
             "its images": ("test_nll_images", None, None),
             "its effective sample size, mean": ("test_nll_effective_samples", None, None),
             "squared error of a pixel, test": ("test_error", None, None),
             "active units": ("active_units", None, None),
             "codes used, test": ("codes_used", None, None),
             "codes' perplexity, test": ("codes_perplexity", None, None),
             "bound, test, prior of counts": ("test_elbo_counted_prior", None, nats)}
    return {word: (found[name], found.get(error), unit)
            for word, (name, error, unit) in words.items() if found.get(name) is not None}


def measure(args: Namespace, made: Made) -> dict[str, Any]:
    """Bound and log p(x) of the test set, in nats an image, where there are any, and errors."""
    results = bounds(made)
    print(f"test {made.protocol.measure}: " if made.family.is_bound else "test: ", end="")
    if results["test_elbo"] is not None:
        print(f"bound {results['test_elbo']:.2f} ± {results['test_elbo_se']:.2f} nats "
              f"(reconstruction {results['test_reconstruction']:.2f}, KL "
              f"{results['test_kl']:.2f})", end="")
    else:
        print("no bound on log p(x)", end="")
        if results["test_reconstruction"] is not None:
            print(f", log p(x|code) {results['test_reconstruction']:.2f} nats", end="")
    notes: list[str] = []
    results |= weighted(args, made, notes) if "nll_samples" in made.family.options else (
        dict.fromkeys(f"test_nll{part}" for part in ("", "_se", "_samples", "_images",
                                                     "_effective_samples")))
    results |= {"test_error": made.family.error(made.model, made.test),
                "active_units": made.family.active(made.model, made.test),
                **made.family.more(made.model, made.test)}
    print(f"; squared error {results['test_error']:.4f} a pixel", end="")
    if results["active_units"] is not None:
        print(f", {results['active_units']} active units", end="")
    if "codes_used" in results:
        print(f", {results['codes_used']} of {results['codes']} codes used, their perplexity "
              f"{results['codes_perplexity']:.1f}, bound by their counts "
              f"{results['test_elbo_counted_prior']:.2f}", end="")
    print("".join(f"\nnote: {note}" for note in notes), end=" ")
    return results


def bounds(made: Made) -> dict[str, Any]:
    """The bound and its parts; of an autoencoder log p(x|code) alone; of PCA nothing."""
    names = ("elbo", "elbo_se", "reconstruction", "kl")
    if made.family.bound is None:
        return {f"test_{name}": None for name in names}
    found = vae.evaluate(made.model, made.test, objective=made.family.bound)
    return {f"test_{name}": found[name] if made.family.is_bound or name == "reconstruction"
            else None for name in names}


def weighted(args: Namespace, made: Made, notes: list[str]) -> dict[str, Any]:
    """log p(x) by importance weights; what is to be noted about it is added to the notes."""
    drawn = np.random.default_rng(0).permutation(len(made.test))[:args.nll_images]
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", vae.LowEffectiveSampleSize)
        nll = vae.log_likelihood(made.model, made.test[np.sort(drawn)], samples=args.nll_samples)
    print(f", importance-weighted with K = {nll['samples']} on {nll['n']} images: "
          f"{nll['log_likelihood']:.2f}", end="")
    notes += [str(doubt.message) for doubt in doubts]
    return {"test_nll": -nll["log_likelihood"], "test_nll_se": nll["log_likelihood_se"],
            "test_nll_samples": nll["samples"], "test_nll_images": nll["n"],
            "test_nll_effective_samples": nll["ess_mean"]}


def plot(args: Namespace, made: Made, rows: list[dict]) -> dict[str, Path]:
    """Caption -> picture."""
    from vae import figures  # matplotlib takes a second to load

    protocol, family, model = made.protocol, made.family, made.model
    data, shape = protocol.data, protocol.data.test.shape[1:3]
    paths = {name: args.out / f"{name}.png" for name in CAPTIONS}
    drawn, some = ["reconstructions"], made.test[:50]
    figures.pairs(paths["reconstructions"], family.pixels(some), family.reconstruct(model, some),
                  shape, f"{data.name}: test images, below each its reconstruction E[x|z]")
    images = family.sample(model, 100, rng=np.random.default_rng(args.seed))
    if images is not None:
        figures.sheet(paths["samples"], images.reshape(-1, *shape), 10,
                      f"{data.name}: E[x|z] for z drawn from the prior")
        drawn.append("samples")
    if rows:
        figures.curves(paths["curves"], rows, f"{data.name}, {protocol.name}",
                       protocol.measure if family.is_bound else "log p(x|code), no bound")
        drawn.append("curves")
    if family.plane and args.latent == 2:
        figures.manifold(paths["manifold"], model, shape, data.name)
        drawn.append("manifold")
        if data.test_labels is not None:
            figures.scatter(paths["scatter"], model, made.test, data.test_labels, data.name)
            drawn.append("scatter")
    return {CAPTIONS[name]: paths[name] for name in drawn}
