"""The doctor: what is wrong with a model, its data or its training, how one sees it, and the cure.

Docs: docs/doctor.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from vae.doctor import of_codes, of_data, of_numbers, of_objective, of_training
from vae.doctor.examination import Examination
from vae.doctor.findings import Diagnosis, Finding, NotJudged
from vae.models import VAE

__all__ = ["ILLNESSES", "Diagnosis", "Finding", "diagnose"]

Check = Callable[[Examination], Finding | None]

ILLNESSES: tuple[Check, ...] = (
    of_numbers.not_finite,
    of_data.outside_support,
    of_data.beyond_the_mean,
    of_data.grey_cross_entropy,
    of_data.other_data,
    of_codes.collapse,
    of_codes.unused_dimensions,
    of_codes.narrow_posterior,
    of_codes.aggregate_mismatch,
    of_codes.negative_kl,
    of_codes.decoder_ignores_z,
    of_numbers.narrow_decoder,
    of_numbers.log_std_at_its_bound,
    of_objective.hidden_weight,
    of_objective.grows_with_the_batch,
    of_objective.wrong_sign,
    of_training.different_weights,
    of_training.chosen_in_warm_up,
    of_training.overfitting,
)


def diagnose(model: VAE, x: ndarray, *, validation: ndarray | None = None, history: Any = None,
             objective: Callable | None = None, seed: int = 0) -> Diagnosis:
    """Look for each of `ILLNESSES`: what was found, its evidence in numbers, and its cure.

    x: data (n, …) as the model is trained on them, binarised if it is; at most 2,000 rows, drawn,
    go through the networks.  validation: the same of the validation data.  history: a
    `vae.History`, or its rows.  objective: what was given to `vae.fit`, (model, x, rng=) -> Bound;
    of it the effective KL weight is measured.

    Nothing is changed: the draws are from generators of `seed`, and the model is frozen.  A check
    that doesn't apply, as of a KL weight where no objective is given, is in `not_judged`.  Raises
    as `vae.fit` does for data that are empty, no numbers, or not finite.
    """
    rows = getattr(history, "rows", history)
    exam = Examination(model, x, validation=validation, history=rows, objective=objective,
                       stopped=getattr(history, "stopped", False), seed=seed)
    findings, checked, not_judged = [], [], {}
    with np.errstate(all="ignore"):  # what overflows is a finding, no warning
        for check in ILLNESSES:
            name = check.__name__
            try:
                finding = check(exam)
            except NotJudged as why:
                not_judged[name] = str(why)
                continue
            checked.append(name)
            if finding is not None:
                findings.append(finding)
    return Diagnosis(findings, checked=checked, not_judged=not_judged, rows=len(exam.x))
