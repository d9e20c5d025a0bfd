"""Illnesses of q(z|x), and of what the decoder makes of z."""

from __future__ import annotations

import math

import numpy as np

from vae.doctor.examination import Examination, enough
from vae.doctor.findings import Finding, NotJudged
from vae.evaluation.means import mean_and_error

NO_KL = 0.1  # nats a datum, of all dimensions together
FEW = 0.1  # share of the dimensions that are used
UNUSED_KL = 0.05  # nats a datum of one dimension
NARROW, NARROW_UNTRIED = 0.1, 0.01  # std of q in those of the prior, with and without a trial
FAR_MEAN, VARIANCES = 0.5, (0.5, 2.0)  # of the aggregate posterior, in units of the prior
AGAINST_COLLAPSE = ("let the KL weight grow from 0 over the first epochs (vae.schedules with "
                    "vae.objectives.beta_elbo), or give each dimension free bits "
                    "(free_bits_elbo); a weaker decoder, or one that doesn't see x itself; a "
                    "smaller learning rate; and see that no KL weight above 1 is hidden in the "
                    "objective")


def collapse(exam: Examination) -> Finding | None:
    """q(z|x) is the prior, for every x: the code says nothing."""
    codes = exam.codes
    total = float(codes.kl.mean())
    try:
        active, n = int(codes.active.sum()), len(codes.active)
    except NotJudged:
        active = n = 0
    if total >= NO_KL and not (n and active <= FEW * n):
        return None
    dimensions = f"; {active} of {n} dimensions are active (Var E[z|x] > 0.01)" if n else ""
    return Finding("posterior collapse", "problem",
                   f"KL(q(z|x)‖p(z)) is {total:.3g} nats a datum{dimensions}: samples may look "
                   "well all the same, but z carries next to nothing of x",
                   AGAINST_COLLAPSE, {"kl": total, "active": active, "dimensions": n})


def unused_dimensions(exam: Examination) -> Finding | None:
    """Dimensions in which q(z|x) is the prior, while others are used."""
    active, each = exam.codes.active, exam.codes.kl_by_dimension
    if each is None or each.shape[1] != len(active):
        raise NotJudged(f"the KL of a {exam.codes.family.__name__} from this prior is no sum over "
                        "dimensions")
    per_dimension = each.mean(axis=0)
    unused = np.flatnonzero(~active & (per_dimension < UNUSED_KL))
    if len(unused) == 0 or active.sum() <= FEW * len(active):  # which is a collapse
        return None
    few = len(unused) <= len(active) / 2
    some = ", ".join(f"{j} ({per_dimension[j]:.2g})" for j in unused[:12])
    return Finding("unused dimensions", "note" if few else "warning",
                   f"{len(unused)} of {len(active)} dimensions are not used, Var E[z|x] ≤ 0.01 of "
                   f"the prior's: dimension (its KL in nats) {some}"
                   + (" …" if len(unused) > 12 else ""),
                   "as such no harm, the bound prunes what does not pay; with fewer dimensions "
                   "the model is the same and quicker. If they were meant to be used: "
                   "KL warm-up or free bits",
                   {"unused": unused.tolist(), "kl_by_dimension": per_dimension.tolist(),
                    "active": int(active.sum())})


def narrow_posterior(exam: Examination) -> Finding | None:
    """The std of q goes to 0: an autoencoder, as with a KL weight of 0.

    For a Normal q by trial: twice the std gives a higher ELBO, which training would have found.
    """
    codes = exam.codes
    active = codes.active
    if not active.any():
        raise NotJudged("no dimension is active")
    ratio = np.sqrt(codes.variance / codes.prior_variance)[:, active]
    median = float(np.median(ratio))
    numbers = {"median_std": median, "least_std": float(ratio.min())}
    gain = None
    if median < NARROW:  # a trial costs a pass through the decoder
        gain = exam.outputs.widened
    if gain is not None:
        mean, error = map(float, mean_and_error(gain))
        ill = mean > max(1.0, 3 * error)
        tried = (f"; twice that std would give an ELBO higher by {mean:.3g} ± {error:.1g} nats, so "
                 "the noise does not cost the decoder what its absence costs in KL")
        numbers["gain"] = mean
    else:
        ill, tried = median < NARROW_UNTRIED, ""
    if not ill:
        return None
    return Finding("σ of the encoder goes to 0", "problem",
                   f"the median std of q(z|x) is {median:.2g} of the prior's in "
                   f"{int(active.sum())} active dimensions (KL {codes.kl.mean():.4g} nats a "
                   f"datum){tried}: an autoencoder, from whose prior one should not sample",
                   "train with the whole KL (weight 1, summed over dimensions); see that the "
                   "objective has no weight near 0, as by a reconstruction that is not averaged "
                   "beside a KL that is; after a warm-up train on at weight 1", numbers)


def aggregate_mismatch(exam: Examination) -> Finding | None:
    """Mean and variance of the codes of all data together, which should be the prior's."""
    codes = exam.codes
    if codes.mean is None or codes.prior_mean is None:
        raise NotJudged(f"{codes.family.__name__} or the prior has no mean and variance")
    enough(codes.mean)
    mean = (codes.mean.mean(axis=0) - codes.prior_mean) / np.sqrt(codes.prior_variance)
    variance = (codes.mean.var(axis=0) + codes.variance.mean(axis=0)) / codes.prior_variance
    far = ((np.abs(mean) > FAR_MEAN) | (variance < VARIANCES[0]) | (variance > VARIANCES[1]))
    if not far.any():
        return None
    worst = sorted(np.flatnonzero(far), key=lambda j: -abs(mean[j]) - abs(math.log(variance[j])))
    some = ", ".join(f"{j}: mean {mean[j]:.2f}, variance {variance[j]:.2f}" for j in worst[:6])
    return Finding("the codes of all data are not spread like the prior", "warning",
                   f"in {int(far.sum())} of {len(far)} dimensions the aggregate posterior has a "
                   f"mean beyond {FAR_MEAN} or a variance outside of [{VARIANCES[0]}, "
                   f"{VARIANCES[1]}], in units of the prior's; dimension {some}"
                   + (" …" if len(worst) > 6 else ""),
                   "samples of the prior decode to what no datum is like: train longer, or with "
                   "the whole KL; a learned prior (vae.networks.LearnedNormal, or a Mixture); "
                   "and see that these data are like those of training",
                   {"dimensions": [int(j) for j in worst], "mean": mean.tolist(),
                    "variance": variance.tolist()})


def negative_kl(exam: Examination) -> Finding | None:
    """A closed form of a divergence below 0, which no divergence is."""
    if not exam.codes.closed:
        raise NotJudged("the KL is estimated from draws, which may be negative")
    kl = exam.codes.kl
    below = int(np.sum(kl < -1e-3 * (1 + np.abs(kl).max(initial=0, where=np.isfinite(kl)))))
    if not below:
        return None
    return Finding("negative KL", "problem",
                   f"{below} of {len(kl)} closed-form KL(q(z|x)‖p(z)) are below 0, the least "
                   f"{kl.min():.4g} nats; the mean is {kl.mean():.4g}",
                   "the formula is wrong, or its order of arguments or sign: take vae.kl(q, p), "
                   "KL(q(z|x)‖p(z)) ≥ 0", {"below": below, "least": float(kl.min())})


def decoder_ignores_z(exam: Examination) -> Finding | None:
    """Reconstructions that are no better by the right code, or than the mean of the data."""
    enough(exam.x)
    out = exam.outputs
    mean, numbers, evidence = float(out.reconstruction.mean()), {}, []
    if out.swapped is not None:
        gain, error = mean_and_error(out.reconstruction[:len(out.swapped)] - out.swapped)
        numbers["gain_of_own_code"] = gain
        if gain < max(0.05, 3 * error):
            evidence.append(f"log p(x|z) is higher by {gain:.3g} ± {error:.1g} nats by the code of "
                            "its own x than by that of another")
    if out.without_z is not None:
        trivial = float(out.without_z.mean())
        numbers |= {"reconstruction": mean, "trivial": trivial}
        varying = int(np.sum(exam.x.reshape(len(exam.x), -1).std(axis=0) > 0))
        if mean < trivial - varying / len(exam.x):  # it has seen these data: Akaike (1974)
            evidence.append(f"the mean reconstruction is {mean:.4g} nats, that of the mean of the "
                            f"data for every x {trivial:.4g}")
    if not evidence:
        return None
    if out.without_z is not None and mean < trivial - 3 * abs(trivial) - 10:
        return Finding("training has diverged", "problem", evidence[-1],
                       "a learning rate that is smaller by ten, or warmed up; clipped gradients; "
                       "data of a moderate scale", numbers)
    return Finding("the decoder ignores z", "problem", "; ".join(evidence),
                   "where the KL is near 0 as well, see posterior collapse; where it is not, the "
                   "decoder is not trained (yet), its learning rate is too large, or q(z|x) is "
                   "drowned in noise", numbers)
