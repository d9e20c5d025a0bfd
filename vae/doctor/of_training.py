"""Illnesses that the history of training shows."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from vae.doctor.examination import Examination
from vae.doctor.findings import Finding, NotJudged

OFF = 0.02  # by how much a weight may differ from 1
ENOUGH = 5  # epochs, to speak of a trend


def different_weights(exam: Examination) -> Finding | None:
    """(reconstruction - bound)/KL of each column: the weight of the KL in what is called a bound.

    And the parts themselves, which differ by a factor where one is a mean and the other a sum.
    """
    valid = weights_of(exam, "valid_elbo", "valid_reconstruction", "valid_kl")
    train = weights_of(exam, "train_bound", "train_reconstruction", "train_kl")
    scheduled = column(exam, "kl_weight", len(train))
    evidence, numbers = [], {}
    if len(valid) and np.nanmax(np.abs(valid - 1), initial=0) > OFF:
        evidence.append(f"valid_elbo weighs the KL by {span(valid)}")
        numbers["valid_weights"] = valid.tolist()
    # a bound of another kind, as the importance-weighted one, is no weighted sum; a schedule's is
    of_one_kind = len(train) > 2 and np.ptp(train) < 1e-3
    of_schedule = len(scheduled) > 0 and bool(np.all(np.abs(train - scheduled) < OFF))
    if len(train) and np.abs(train - 1).max() > OFF and (of_one_kind or of_schedule):
        evidence.append(f"train_bound weighs the KL by {span(train)}")
        numbers["train_weights"] = train.tolist()
    for part in ("reconstruction", "kl"):
        factor = factor_between(exam, f"train_{part}", f"valid_{part}")
        if factor is not None:
            evidence.append(f"train_{part} is {factor:.3g} times valid_{part} throughout")
            numbers[f"{part}_factor"] = factor
    if not evidence:
        return None
    return Finding("training and validation on different weights", "problem", "; ".join(evidence)
                   + ": the two curves are not of one quantity, nor comparable with a bound",
                   "log the unweighted bound and its parts apart from the weighted objective, "
                   "summed over pixels and dimensions and averaged over data, for both; select by "
                   "the bound of vae.evaluate", numbers)


def chosen_in_warm_up(exam: Examination) -> Finding | None:
    """The end, or the best epoch, at a KL weight that was still rising, or below its largest."""
    weights, valid = column(exam, "kl_weight"), column(exam, "valid_elbo")
    if not len(weights):
        raise NotJudged("no KL weight in the history")
    rows = [row for row in exam.history if "kl_weight" in row]
    if weights[-1] < 1 - 1e-6 and weights[-1] > weights[0]:
        by = "was stopped by its validation bound" if exam.stopped else "ended"
        return Finding("ended in warm-up", "warning",
                       f"training {by} in epoch {rows[-1].get('epoch', len(rows))}, at a KL weight "
                       f"of {weights[-1]:.3g}, still rising",
                       "train on, or warm up in fewer steps; count patience after the warm-up: "
                       "vae.KeepBest(…, warmup=steps)", {"kl_weight": float(weights[-1])})
    if len(valid) != len(weights):
        raise NotJudged("no validation bound beside each KL weight")
    best = int(np.argmax(valid))
    if weights[best] >= 1 - 1e-6 or weights.max() <= weights[best] + 1e-6:
        return None
    return Finding("best model while the KL weight was below 1", "warning",
                   f"the highest valid_elbo, {valid[best]:.4g}, was in epoch "
                   f"{rows[best].get('epoch', best + 1)} at a KL weight of {weights[best]:.3g}; "
                   f"later the weight was up to {weights.max():.3g}, and valid_elbo at the end "
                   f"{valid[-1]:.4g}",
                   "see that valid_elbo is the unweighted bound; count patience after the warm-up, "
                   "and train on at weight 1 until the bound is above what it was in the warm-up",
                   {"epoch": rows[best].get("epoch", best + 1), "kl_weight": float(weights[best])})


def overfitting(exam: Examination) -> Finding | None:
    """The bound on other data falls from its best while the training bound still rises."""
    name = next((n for n in ("valid_elbo", "test_elbo") if len(column(exam, n))), "valid_elbo")
    valid = column(exam, name)
    train = column(exam, "train_bound", len(valid))
    if len(valid) < ENOUGH or len(train) != len(valid):
        raise NotJudged(f"no history of {ENOUGH} epochs with training and validation bounds")
    best, last = int(np.argmax(valid)), valid[-3:].mean()
    fall = float(valid[best] - last)
    gaps = train - valid
    grown = float(gaps[-1] - gaps[best])
    if fall < max(0.5, 0.005 * abs(valid[best])) or train[-1] <= train[best] or grown <= 0:
        return None
    return Finding("overfitting", "warning",
                   f"{name} has fallen by {fall:.3g} nats since its best, {valid[best]:.4g} in "
                   f"epoch {exam.history[best].get('epoch', best + 1)}; train_bound has risen by "
                   f"{train[-1] - train[best]:.3g}, and the gap between them by {grown:.3g} to "
                   f"{gaps[-1]:.3g} nats",
                   "keep the best model (vae.training.KeepBest); more data, or binarise anew in "
                   "each epoch; a smaller network, mostly the encoder; fewer epochs",
                   {"best_epoch": exam.history[best].get("epoch", best + 1), "fall": fall,
                    "gap": float(gaps[-1])})


def column(exam: Examination, name: str, length: int | None = None) -> ndarray:
    """Its numbers in the epochs that have it; empty where these are not `length`."""
    if exam.history is None:
        raise NotJudged("no history")
    found = np.array([value for value in (row.get(name) for row in exam.history)
                      if isinstance(value, (int, float, np.number)) and np.isfinite(value)], float)
    return found if length in (None, len(found)) else found[:0]


def weights_of(exam: Examination, bound: str, reconstruction: str, kl: str) -> ndarray:
    """The weight of the KL in each epoch; empty where a column is missing or the KL is 0."""
    total, first, second = (column(exam, name) for name in (bound, reconstruction, kl))
    if not len(total) == len(first) == len(second):
        return total[:0]
    told = np.abs(second) > 1e-3 * np.maximum(np.abs(first), 1)  # else the weight is rounding
    return ((first - total) / np.where(told, second, 1))[told]


def factor_between(exam: Examination, train: str, valid: str) -> float | None:
    """The median ratio, where it is beyond 5 or 1/5 in all epochs."""
    a, b = column(exam, train), column(exam, valid)
    if len(a) != len(b) or len(a) < 3 or np.any(np.abs(b) < 1e-6) or np.any(np.abs(a) < 1e-6):
        return None
    ratio = np.abs(a / b)
    return float(np.median(ratio)) if np.all(ratio > 5) or np.all(ratio < 0.2) else None


def span(weights: ndarray) -> str:
    low, high = weights.min(), weights.max()
    return f"{low:.3g}" if high - low < 1e-3 * abs(high) else f"{low:.3g} to {high:.3g}"
