"""Illnesses of numbers: what is not finite, what stands at its bound, what shrinks to nothing."""

from __future__ import annotations

import numpy as np

from vae.distributions import Normal
from vae.distributions.normal import EXACT, FARTHEST
from vae.doctor.examination import Examination, flat, share_far
from vae.doctor.findings import Finding, NotJudged

TINY = 1e-3  # std of the decoder, in those of the data
LOW = 0.1  # where a floor is worth a word
NEAR = 1e-3  # of the floor, which may be a soft one


def not_finite(exam: Examination) -> Finding | None:
    """NaN or infinity in parameters, or in what the networks make of the data."""
    cure = ("go back to the last good checkpoint; a smaller learning rate, clipped gradients, and "
            "minigrad's debug mode to see which operation made it")
    if exam.bad_parameters:
        names = ", ".join(f"{name} ({n})" for name, n in list(exam.bad_parameters.items())[:8])
        return Finding("not finite", "problem", f"parameters with values that are NaN or infinite: "
                       f"{names}", cure, {"parameters": exam.bad_parameters})
    try:
        values = {"KL": exam.codes.kl}
        try:
            values["reconstruction"] = exam.outputs.reconstruction
        except NotJudged:  # of data outside, which is another finding
            exam.likelihood  # noqa: B018  its outputs may still be bad
    except NotJudged as error:
        return Finding("not finite", "problem", str(error), cure, {})
    bad = {name: int(np.sum(~np.isfinite(x))) for name, x in values.items()}
    if not any(bad.values()):
        return None
    return Finding("not finite", "problem", "; ".join(
        f"the {name} of {n} of {len(exam.x)} data is NaN or infinite" for name, n in bad.items()
        if n), cure, bad)


def log_std_at_its_bound(exam: Examination) -> Finding | None:
    """log std so large that `Normal` bends it."""
    prior = exam.model.prior.constant()
    shares = {"encoder": exam.codes.far, "prior": share_far(prior)}
    if isinstance(exam.likelihood, Normal):
        shares["decoder"] = exam.spreads.far
    if all(share is None for share in shares.values()):
        raise NotJudged("neither q(z|x) nor p(x|z) is a Normal")
    shares = {name: share for name, share in shares.items() if share}
    if not shares:
        return None
    return Finding("log variance at its bound", "problem", "; ".join(
        f"of the {name} {share:.2%} of |log std| are beyond {EXACT:g} (|log variance| beyond "
        f"{2 * EXACT:g})" for name, share in shares.items())
        + f", where they are bent to stay below {FARTHEST:g}: the gradient is all but gone there",
        "smaller learning rate and clipped gradients; data standardised, or scaled into [0, 1]; "
        "a smaller start of the layer that gives the log variance; for a decoder a floor of its σ",
        shares)


def narrow_decoder(exam: Examination) -> Finding | None:
    """The std of the decoder goes to 0, or stands at a floor: the density grows without bound."""
    spreads = exam.spreads
    data = flat(exam.x).std(axis=0)
    if len(data) != len(spreads.least):
        raise NotJudged("p(x|z) has another shape than x")
    typical = float(np.sqrt(np.mean(np.square(data)))) or 1.0
    tiny = spreads.least < TINY * typical
    floor = spreads.least.min()
    at_floor = spreads.least <= floor * (1 + NEAR)
    learned = not at_floor.all()
    standing = learned and at_floor.sum() > 1 and floor < LOW * typical
    ill = tiny | at_floor if standing else tiny
    if not ill.any():
        return None
    constant = int(np.sum(ill & (data == 0)))
    numbers = {"pixels": int(ill.sum()), "constant": constant, "least_std": float(floor),
               "at_floor": int(at_floor.sum()) if standing else 0,
               "which": np.flatnonzero(ill).tolist()}
    gained = ""
    if spreads.log_density is not None:
        numbers["nats"] = float(spreads.log_density[ill].sum())
        gained = f"; they give {numbers['nats']:+.4g} nats a datum to log p(x|z)"
    stands = f", {numbers['at_floor']} of them at one floor" if standing else ""
    return Finding("σ of the decoder goes to 0" if tiny.any() else "σ of the decoder at its floor",
                   "problem" if tiny.any() else "warning",
                   f"in {int(ill.sum())} of {len(ill)} pixels σ comes down to {floor:.2g}, where "
                   f"the data's std is {typical:.2g}{stands}; {constant} of these are constant in "
                   f"the data{gained}, a number that means nothing, since σ → 0 has no end",
                   "one σ for all pixels, or its closed form; a floor no smaller than the data's "
                   "resolution (1/256 for 8 bits in [0, 1]); noise that dequantises; leave out "
                   "constant pixels", numbers)
