"""How good samples and reconstructions are, by their nearest neighbours among data."""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

from vae.evaluation.means import mean_and_error
from vae.evaluation.neighbours import BLOCK, nearest, within


def sample_quality(real: ndarray, fake: ndarray, *, k: int = 5, block: int = BLOCK
                   ) -> dict[str, float]:
    """Precision, recall, density and coverage of fake (m, …) against real (n, …) data.

    With B(x) the ball around x that reaches to the k-th nearest of its own set:

        precision = share of fake in some B(real)      recall   = share of real in some B(fake)
        density   = mean over fake of (number of B(real) it is in)/k
        coverage  = share of B(real) that hold some fake

    Kynkäänniemi et al. (2019), section 2; Naeem et al. (2020), section 3.  Balls
    are closed, so that for equal sets precision, recall and coverage are 1 and density is 1 + 1/k.
    Rows are pixels, or features of any kind, of both; distances are Euclidean.  `…_se`: standard
    error of the mean over the points that are counted, for balls as they are.
    """
    _two_sets(real, fake, k)
    reach, fake_reach = (nearest(x, x, k, others=True, block=block).distance[:, -1]
                         for x in (real, fake))
    balls, held = within(fake, real, reach, block=block)
    recalled, _ = within(real, fake, fake_reach, block=block)
    each = {"precision": balls > 0, "recall": recalled > 0, "density": balls / k,
            "coverage": held > 0}
    found: dict[str, float] = {}
    for name, values in each.items():
        value, error = mean_and_error(values)
        found |= {name: float(value), f"{name}_se": float(error)}
    return {**found, "k": k, "n_real": len(real), "n_fake": len(fake)}


def expected_coverage(n_real: int, n_fake: int, k: int) -> float:
    """E[coverage] where real and fake are of one continuous distribution.

    1 - Π_{i=1..k} (n - i)/(m + n - i), the chance that the k nearest of a real datum are all real:
    Naeem et al. (2020), section 3.
    """
    n, m = n_real, n_fake
    return 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))


def memorisation(train: ndarray, held_out: ndarray, samples: ndarray, *, block: int = BLOCK
                 ) -> dict[str, float]:
    """Whether samples are nearer to the training data than new data are.

    nearer: the share of pairs (sample, held-out datum) of which the sample has the nearer training
    neighbour, ties halved: ½ where samples are as new as the held-out data, above it where the
    training data were copied; z: its distance from ½ in standard deviations of that case
    (Mann-Whitney U, as in Meehan et al. (2020), "A non-parametric test to detect data-copying").
    copies: samples at distance 0 of a training datum.  Medians of both distances.
    """
    for name, x in (("train", train), ("held_out", held_out), ("samples", samples)):
        if len(x) == 0:
            raise ValueError(f"memorisation: {name} is empty")
    ours = nearest(samples, train, block=block).distance[:, 0]
    new = nearest(held_out, train, block=block).distance[:, 0]
    order = np.sort(new)
    above = len(new) - np.searchsorted(order, ours, side="right")
    ties = np.searchsorted(order, ours, side="right") - np.searchsorted(order, ours, side="left")
    nearer = float((above + 0.5 * ties).mean() / len(new))
    return {"nearer": nearer, "z": (nearer - 0.5) / _spread_of_share(ours, new),
            "copies": int((ours == 0).sum()), "sample_distance": float(np.median(ours)),
            "held_out_distance": float(np.median(new)), "n_samples": len(ours),
            "n_held_out": len(new)}


def recognised(x: ndarray, reconstruction: ndarray, *, block: int = BLOCK) -> float:
    """The share of reconstructions whose nearest of all x is the datum they were made from.

    Among n data chance is 1/n; it depends on n, so compare at one n only.  Of data that are equal
    the first counts.
    """
    if np.shape(x) != np.shape(reconstruction):
        raise ValueError(f"x has shape {np.shape(x)} and its reconstruction "
                         f"{np.shape(reconstruction)}: one for each datum is expected")
    found = nearest(reconstruction, x, block=block).index[:, 0]
    return float((found == np.arange(len(x))).mean())


def _spread_of_share(a: ndarray, b: ndarray) -> float:
    """Standard deviation of U/(nm) where a and b are of one distribution, ties taken account of."""
    n = len(a) + len(b)
    counts = np.unique(np.concatenate([a, b]), return_counts=True)[1].astype(np.float64)
    tied = (counts**3 - counts).sum() / (n * (n - 1)) if n > 1 else 0.0
    return math.sqrt(max((n + 1 - tied) / (12 * len(a) * len(b)), 1e-300))


def _two_sets(real: ndarray, fake: ndarray, k: int) -> None:
    for name, x in (("real", real), ("fake", fake)):
        if len(x) <= k or k < 1:
            raise ValueError(f"sample_quality of {len(x)} {name} data with k={k}: k is 1 or more, "
                             "and each set needs k + 1 data, for k neighbours of each")
