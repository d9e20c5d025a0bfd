"""Anomalies: how unlike the training data each datum is, and how well such scores tell."""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.distributions import Estimate
from vae.evaluation.importance import log_likelihood
from vae.models import VAE, squared_error
from vae.objectives import elbo


def anomaly_scores(model: VAE, x: ndarray, *, samples: int = 50, repeats: int = 1, seed: int = 0,
                   batch_size: int = 500) -> dict[str, ndarray]:
    """Scores (n,) of x (n, …), in float64, of which each is higher where x fits the model worse.

        "-log p"         -log 1/K Σ p(x, z_k)/q(z_k|x), K = samples (Burda et al. 2016): nats
        "-elbo"          -E_q[log p(x|z)] + KL(q(z|x)‖p(z)): nats
        "reconstruction" -E_q[log p(x|z)], the first part of it: nats
        "kl"             KL(q(z|x)‖p(z)), the second: nats
        "squared error"  ‖x - E[x|z]‖² at the mean of q: that of PCA is what it compares with

    repeats: draws of z a datum for the ELBO and its parts.  The same seed gives the same scores.
    From 100 `samples` on `vae.log_likelihood` warns where few of them have all of the weight, as is
    usual of data that the encoder has never seen: -log p is then too high rather than too low.

    None of these is a probability of being an anomaly: a simple image, such as one without ink, may
    be more likely than any of the data (Nalisnick et al. 2019).  Raises as `vae.evaluate` does.
    """
    check_data(x)
    if repeats < 1 or batch_size < 1:
        raise ValueError(f"repeats={repeats}, batch_size={batch_size}: both are at least 1")
    found = log_likelihood(model, x, samples=samples, seed=seed, each=True)
    model, rng = frozen(model), np.random.default_rng(seed)
    parts = np.zeros((3, len(x)))
    for i in range(0, len(x), batch_size):
        rows = slice(i, i + batch_size)
        for _ in range(repeats):
            parts[:, rows] += np.stack(elbo(model, x[rows], rng=rng)[:3]).astype(np.float64)
    bound, reconstruction, kl = parts / repeats
    return {"-log p": -found["log_likelihoods"], "-elbo": -bound,
            "reconstruction": -reconstruction, "kl": kl, "squared error": squared_error(model, x)}


def auroc(anomalies: ndarray, normal: ndarray) -> Estimate:
    """P(score of an anomaly > score of a normal datum), ties counted half, and its standard error.

    It is the area under the curve of detections against false alarms: 1 where the scores part the
    two, ½ where they tell nothing, below ½ where they have it the wrong way round.  anomalies: (m,)
    and normal: (n,) scores; infinite ones are as any other.

    Error: that of both samples (DeLong, DeLong and Clarke-Pearson 1988, equation 4),
    √(s²(V)/m + s²(W)/n), where V is the share of normal data below each anomaly, W the share of
    anomalies above each normal datum; infinite where there is only one of a kind, and 0, which is
    too low, where the scores part the two.  Raises ValueError for no scores, NaN and other shapes.
    """
    return _estimate(*_shares(anomalies, normal))


def auroc_difference(anomalies: tuple[ndarray, ndarray], normal: tuple[ndarray, ndarray]
                     ) -> Estimate:
    """AUROC of the first of two scores of the same data, less that of the second, and its error.

    anomalies: two scores of the same anomalies, (m,) each; normal: of the same normal data, (n,).
    What the data have in common cancels, so that the error is smaller than of two AUROCs on data of
    their own (DeLong et al. 1988, section 3).  Raises ValueError as `auroc` does.
    """
    for name, (a, b) in (("anomalies", anomalies), ("normal data", normal)):
        if np.shape(a) != np.shape(b):
            raise ValueError(f"auroc_difference: scores of {np.shape(a)} and {np.shape(b)} "
                             f"{name}; two scores of the same data are expected")
    first, second = (_shares(a, b) for a, b in zip(anomalies, normal))
    return _estimate(first[0] - second[0], first[1] - second[1])


def share_above(scores: ndarray, score: float) -> float:
    """The share of scores (n,) above this one, ties counted half.

    Of scores of normal data: the false alarms that it costs to detect something with this score.
    Raises ValueError as `auroc` does.
    """
    score = _checked("what is to be detected", np.atleast_1d(score))
    return float(_below(-score, -_checked("normal data", scores))[0])


def _shares(anomalies: ndarray, normal: ndarray) -> tuple[ndarray, ndarray]:
    """The share of normal data below each anomaly, (m,), of anomalies above each normal, (n,)."""
    a, b = _checked("anomalies", anomalies), _checked("normal data", normal)
    return _below(a, b), 1 - _below(b, a)


def _below(a: ndarray, b: ndarray) -> ndarray:
    """The share of b below each of a, ties counted half."""
    order = np.sort(b)
    return (np.searchsorted(order, a) + np.searchsorted(order, a, side="right")) / (2 * len(b))


def _estimate(over_anomalies: ndarray, over_normal: ndarray) -> Estimate:
    variance = sum(each.var(ddof=1) / len(each) if len(each) > 1 else math.inf
                   for each in (over_anomalies, over_normal))
    return Estimate(float(over_anomalies.mean()), math.sqrt(variance))


def _checked(name: str, scores: ndarray) -> ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or len(scores) == 0:
        raise ValueError(f"scores of {name} of shape {scores.shape}: one number for each of one "
                         "datum or more is expected, (n,)")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores of {name} are "
                         "NaN, which is neither above nor below another")
    return scores
