"""Illnesses of the data, or of a likelihood that doesn't fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from vae.distributions import Bernoulli
from vae.distributions.support import REAL
from vae.doctor.examination import ROWS, Examination, blocks, has_ends_by_row, outside
from vae.doctor.findings import Finding, NotJudged

FAR, PROBES = 100.0, 64  # z this many std of the prior away, in as many directions
LINKS = {"a sigmoid": (0.0, 1.0), "a tanh": (-1.0, 1.0)}


def outside_support(exam: Examination) -> Finding | None:
    """Values to which the likelihood gives no density."""
    p = exam.likelihood
    x = exam.x[:p.shape[0]] if has_ends_by_row(p) else exam.all
    out = sum(int(np.sum(outside(p, part))) for part in blocks(x, ROWS))
    if not out:
        return None
    low, high, family = float(x.min()), float(x.max()), type(p).__name__
    support = "[0, 1]" if isinstance(p, Bernoulli) else str(p.support)
    cure = {"DiscretizedLogistic": f"give whole numbers in {p.support}: pixels of 8 bits as they "
                                   "are, np.round(255 * x) of those in [0, 1]"}
    return Finding("data outside of the decoder's range", "problem",
                   f"{out:,} of {x.size:,} values are outside of the support of {family}, "
                   f"{support}: the data go from {low:.4g} to {high:.4g}; log p of such is "
                   "-inf, or an error",
                   cure.get(family, "scale the data into that range by constants that are those of "
                            "all sets (x / 255, not each set by its own maximum), or take a "
                            "likelihood over the real numbers, such as Normal"),
                   {"outside": out, "values": x.size, "min": low, "max": high})


def beyond_the_mean(exam: Examination) -> Finding | None:
    """A mean that ends in a sigmoid or tanh, and data further out than it can go.

    Seen at z far out in random directions, where such a mean comes near its ends.
    """
    if exam.likelihood.support is not REAL:
        raise NotJudged(f"the support of {type(exam.likelihood).__name__} says it")
    prior = exam.model.prior.constant()
    try:
        z = FAR * prior.sample((PROBES,), rng=exam.rng(5))
        means = np.asarray(exam.decode(z).mean)
    except (AttributeError, NotImplementedError):
        raise NotJudged(f"{type(exam.likelihood).__name__} has no mean") from None
    for link, (low, high) in LINKS.items():
        margin = 1e-3 * (high - low)
        ends = (means.min() < low + margin, means.max() > high - margin)
        if not (means.min() >= low and means.max() <= high and any(ends)):
            continue
        beyond = sum(int(np.sum((x < low - 10 * margin) | (x > high + 10 * margin)))
                     for x in blocks(exam.all, ROWS))
        if beyond:
            return Finding(
                "data outside of the decoder's range", "problem",
                f"{beyond:,} of {exam.all.size:,} values are outside of [{low:g}, {high:g}], where "
                f"the decoder's mean seems to end in {link}: the data go from {exam.all.min():.4g} "
                f"to {exam.all.max():.4g}, the mean even at z far out from {means.min():.4g} to "
                f"{means.max():.4g}",
                "scale the data into that range, or let the mean be linear in the last layer",
                {"outside": beyond, "values": exam.all.size, "min": float(exam.all.min()),
                 "max": float(exam.all.max())})
    return None


def grey_cross_entropy(exam: Examination) -> Finding | None:
    """Grey values under a Bernoulli, whose log-probability is then no likelihood."""
    if not isinstance(exam.likelihood, Bernoulli):
        raise NotJudged("the likelihood is no Bernoulli")
    grey = grey_values(exam.all)
    if not grey:
        return None
    share = grey / exam.all.size
    return Finding("cross-entropy taken for a likelihood", "warning",
                   f"{grey:,} of {exam.all.size:,} values ({share:.2%}) are neither 0 nor 1, under "
                   "a Bernoulli likelihood, which is a distribution over 0 and 1: its log is a "
                   "cross-entropy there, and reconstruction and bound are no log-likelihoods of "
                   "anything",
                   "binarise (vae.data.binarization, 'dynamic' or 'static'), or take a likelihood "
                   "over grey values: ContinuousBernoulli in [0, 1], DiscretizedLogistic for 8 "
                   "bits; else call the number a cross-entropy and compare it with such only",
                   {"grey": grey, "values": exam.all.size, "share": share})


def other_data(exam: Examination) -> Finding | None:
    """Training and validation data that were prepared differently."""
    if exam.all_validation is None:
        raise NotJudged("no validation data")
    train, valid = (kind_of(x) for x in (exam.all, exam.all_validation))
    if train["values"] == valid["values"]:
        (a, b), (c, d) = train["range"], valid["range"]
        if d - c <= 10 * (b - a) and b - a <= 10 * (d - c):
            return None
    told = "; ".join(f"the {name} data are {kind['values']}, from {kind['range'][0]:.4g} to "
                     f"{kind['range'][1]:.4g}"
                     for name, kind in (("training", train), ("validation", valid)))
    return Finding("validation data prepared differently", "problem", told,
                   "prepare both by the same function: vae.data.binarization gives `batch` for "
                   "training and `evaluation` for the rest; numbers of two protocols don't compare",
                   {"train": train, "valid": valid})


def kind_of(x: ndarray) -> dict[str, Any]:
    low, high = float(x.min()), float(x.max())
    in_unit = low >= 0 and high <= 1
    return {"values": "binary" if in_unit and not grey_values(x) else "not binary",
            "range": (low, high)}


def grey_values(x: ndarray) -> int:
    """How many are neither 0 nor 1."""
    return sum(int(np.sum((part != 0) & (part != 1))) for part in blocks(x, ROWS))
