"""Images of a wanted class, and whether a classifier that knows only real ones agrees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.distributions import Estimate
from vae.evaluation.means import mean_and_error
from vae.evaluation.neighbours import nearest
from vae.models.conditional import ConditionalVAE, label_rows


def across_classes(model: ConditionalVAE, z: ndarray, labels: Any = None) -> ndarray:
    """E[x|z, y] of each code z (n, n_z) with each label: (n, labels, n_x), a row for each style.

    z ~ p(z) is the same for all labels of a row: what it holds of x beside the label, such as
    slant and thickness, is kept.  labels: as of `label_rows`; None: every class once.  Raises
    ValueError for labels outside of the classes and codes of another shape.
    """
    y = label_rows(np.arange(model.n_y) if labels is None else labels, model.n_y)
    z = np.asarray(z)
    n_z = model.prior.shape[-1]
    if z.ndim != 2 or z.shape[1] != n_z:
        raise ValueError(f"across_classes: codes of shape {z.shape}; (n, {n_z}) are expected")
    n, k = len(z), len(y)
    found = frozen(model).likelihood(np.repeat(z, k, axis=0)).given(np.tile(y, (n, 1))).mean
    return found.reshape(n, k, -1)


def neighbours_vote(x: ndarray, train: ndarray, labels: ndarray, *, k: int = 5) -> ndarray:
    """The label (n,) that most of the k nearest real data have, for each of x (n, …).

    train: real data (m, …) and their labels (m,), whole numbers from 0.  Distances are Euclidean,
    over pixels; of labels with equal votes the one with the nearest neighbour wins.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(train),) or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise ValueError(f"neighbours_vote: labels of shape {labels.shape} and dtype "
                         f"{labels.dtype} for {len(train)} data; one whole number, 0 or more, for "
                         "each is expected")
    near = labels[nearest(x, train, k).index]  # (n, k), nearest first
    votes = (near[:, :, None] == near[:, None, :]).sum(axis=2)  # for the label of each neighbour
    return near[np.arange(len(near)), votes.argmax(axis=1)]


def accuracy(found: ndarray, wanted: ndarray) -> Estimate:
    """The share of labels found (n,) that are those wanted (n,), and its standard error."""
    if np.shape(found) != np.shape(wanted) or np.ndim(found) != 1 or len(found) == 0:
        raise ValueError(f"accuracy: labels of shapes {np.shape(found)} and {np.shape(wanted)}; "
                         "one of each for every datum is expected, (n,)")
    return mean_and_error(np.asarray(found) == wanted)


def variety(x: ndarray, labels: ndarray) -> float:
    """Mean squared distance of data (n, …) from the mean of their class, summed over pixels.

    Beside an accuracy, which the mean of each class wins: of that the variety is 0.  A comparison
    with that of real data; classes count by their numbers.
    """
    x, labels = np.asarray(x, np.float64).reshape(len(x), -1), np.asarray(labels)
    if labels.shape != (len(x),) or len(x) == 0:
        raise ValueError(f"variety: {len(x)} data and labels of shape {labels.shape}; one for "
                         "each is expected")
    total = sum(np.square(x[labels == c] - x[labels == c].mean(axis=0)).sum()
                for c in np.unique(labels))
    return float(total / len(x))


def class_means(train: ndarray, labels: ndarray, wanted: ndarray) -> ndarray:
    """The mean of the training data of each wanted class: the baseline, (n, …), in floats.

    Raises ValueError for a class of which there are no data.
    """
    train, labels, wanted = np.asarray(train), np.asarray(labels), np.asarray(wanted)
    classes, row = np.unique(wanted, return_inverse=True)
    missing = sorted(set(classes.tolist()) - set(labels.tolist()))
    if missing:
        raise ValueError(f"class_means: no data of class {missing[0]}; there are "
                         f"{sorted(set(labels.tolist()))}")
    means = [train[labels == c].mean(axis=0, dtype=np.float64) for c in classes]
    return np.stack(means).astype(np.result_type(train, np.float32))[row]
