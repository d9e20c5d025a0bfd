"""Where a code leads: paths between codes, along one dimension, and into empty places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.evaluation.neighbours import nearest
from vae.models import PCA, VAE, Autoencoder

Path = Callable[[ndarray, ndarray, int], ndarray]
Model = VAE | Autoencoder | PCA


class PathQuality(NamedTuple):
    """Of each path (n,): how even its steps are, and how far from the data its images are."""

    largest_step: ndarray  # largest over mean step between images: 1 where all are equal
    distance: ndarray  # to the nearest data, mean along the path, in the units of x
    farthest: ndarray  # the largest along the path


class Box(NamedTuple):
    """All z with low ≤ z ≤ high."""

    low: ndarray  # (2,)
    high: ndarray

    def contains(self, z: ndarray) -> ndarray:
        """Which of z (…, 2) lie inside: (…)."""
        return np.all((z >= self.low) & (z <= self.high), axis=-1)

    def lattice(self, side: int) -> ndarray:
        """side² codes at equal steps from edge to edge, as an image's rows: (side², 2)."""
        across, up = (np.linspace(low, high, side) for low, high in zip(self.low, self.high))
        return np.stack(np.meshgrid(across, up[::-1]), axis=-1).reshape(-1, 2)


def codes(model: Model, x: ndarray, *, batch_size: int = 1_000) -> ndarray:
    """The centre of q(z|x), or the code of an autoencoder or a PCA, of each datum: (n, n_z)."""
    check_data(x)
    model = frozen(model)
    encode = getattr(model, "encode", None) or (lambda x: model.posterior(x).centre)
    return np.concatenate([encode(x[i:i + batch_size]) for i in range(0, len(x), batch_size)])


def decoded(model: Model, z: ndarray, *, batch_size: int = 1_000) -> ndarray:
    """E[x|z] of codes z (…, n_z): (…, n_x)."""
    model, rows = frozen(model), z.reshape(-1, z.shape[-1])
    decode = getattr(model, "decode", None) or (lambda z: model.likelihood(z).mean)
    x = np.concatenate([decode(rows[i:i + batch_size]) for i in range(0, len(rows), batch_size)])
    return x.reshape(*z.shape[:-1], *x.shape[1:])


# -- along a path ---------------------------------------------------------------------------------
def lerp(a: ndarray, b: ndarray, steps: int) -> ndarray:
    """(1 - t)a + tb at `steps` equal t from 0 to 1; a, b (…, n_z), the path in front."""
    t = _times(a, b, steps)
    return (1 - t) * a + t * b


def slerp(a: ndarray, b: ndarray, steps: int) -> ndarray:
    """A turn about the origin from a to b (…, n_z), at equal angles; the path in front.

        ((1 - t)|a| + t|b|) · (sin((1 - t)Ω) a/|a| + sin(tΩ) b/|b|)/sin Ω

    with Ω the angle between them (Shoemake 1985); the length goes evenly from one to the other.
    Codes of a wide N(0, I) lie near a sphere, and this path does; in two dimensions it leads around
    the middle, where the prior has most of its mass.  Raises ValueError for a code at the origin,
    and for two that are opposite, between which no turn is the shortest.
    """
    t = _times(a, b, steps)
    lengths = [np.linalg.norm(z, axis=-1, keepdims=True) for z in (a, b)]
    if any((length == 0).any() for length in lengths):
        raise ValueError("slerp from or to a code at the origin: it has no direction; take lerp")
    u, v = a / lengths[0], b / lengths[1]
    angle = 2 * np.arctan2(np.linalg.norm(u - v, axis=-1, keepdims=True),
                           np.linalg.norm(u + v, axis=-1, keepdims=True))
    if (np.pi - angle < 4 * np.finfo(angle.dtype).eps).any():
        raise ValueError("slerp between opposite codes: no turn is the shortest; take lerp, or a "
                         "code between")
    some = np.where(angle > 0, angle, 1)
    first, second = (np.where(angle > 0, np.sin(part * some) / np.sin(some), part)
                     for part in (1 - t, t))
    return ((1 - t) * lengths[0] + t * lengths[1]) * (first * u + second * v)


def path_quality(model: Model, a: ndarray, b: ndarray, data: ndarray, *, path: Path = lerp,
                 steps: int = 17, k: int = 5) -> PathQuality:
    """What E[x|z] does between pairs of codes a and b (n, n_z): see `PathQuality`.

    A step is the Euclidean distance of two images that follow each other.  It says nothing of
    whether these are like data: the mean distance to the k nearest of `data` does.
    Raises ValueError for fewer than three codes along a path, and where a path leads nowhere.
    """
    if steps < 3:
        raise ValueError(f"path_quality(steps={steps}): at least 3, two steps to compare")
    images = decoded(model, path(a, b, steps))
    images = images.reshape(steps, len(a), -1)
    lengths = np.sqrt(np.square(np.diff(images, axis=0), dtype=np.float64).sum(-1))
    if not lengths.any(axis=0).all():
        raise ValueError(f"path_quality: between the codes of pair "
                         f"{np.argmin(lengths.any(axis=0))} all images are the same; take pairs of "
                         "different data")
    far = neighbour_distance(images.reshape(steps * len(a), -1), data, k).reshape(steps, -1)
    return PathQuality(lengths.max(axis=0) / lengths.mean(axis=0), far.mean(axis=0),
                       far.max(axis=0))


def neighbour_distance(x: ndarray, data: ndarray, k: int = 5) -> ndarray:
    """Mean Euclidean distance of each x (n, …) to the k nearest of `data`: (n,)."""
    return nearest(x, data, k).distance.mean(axis=1)


def relative_distance(x: ndarray, data: ndarray, k: int = 5) -> ndarray:
    """`neighbour_distance`, over the mean of that of these k neighbours themselves: (n,).

    Around 1 for what lies among the data; nearly the local outlier factor of Breunig et al. (2000).
    The plain distance is small wherever data are dense, as images of a thin digit 1 are, whatever
    an image beside them looks like.  Raises ValueError where a neighbour has k copies in the data.
    """
    distance, index = nearest(x, data, k)
    used, place = np.unique(index, return_inverse=True)
    own = nearest(data[used], data, k + 1).distance[:, 1:].mean(axis=1)  # without itself
    if not own.all():
        raise ValueError(f"relative_distance: row {used[np.argmin(own)]} of the data has {k} "
                         "copies, at a distance of 0; leave them out, or take a larger k")
    return distance.mean(axis=1) / own[place.reshape(index.shape)].mean(axis=1)


# -- along a dimension or an attribute ------------------------------------------------------------
def traversal(model: Model, x: ndarray, dimension: int, *,
              values: ArrayLike = (-3, -2, -1, 0, 1, 2, 3)) -> ndarray:
    """E[x|z] at the code of each datum, with z of one dimension set to each value: (values, n, …).

    values: in units of z; ±3 is nearly all of a prior N(0, I).  Raises ValueError for a dimension
    that the code doesn't have.
    """
    z = codes(model, x)
    if not 0 <= dimension < z.shape[-1]:
        raise ValueError(f"traversal of dimension {dimension}: the code has those from 0 to "
                         f"{z.shape[-1] - 1}")
    values = np.asarray(values, z.dtype)
    z = np.repeat(z[None], len(values), axis=0)
    z[..., dimension] = values[:, None]
    return decoded(model, z)


def attribute_vector(model: Model, x: ndarray, has: ndarray) -> ndarray:
    """Mean code of the data that have an attribute, less that of those that don't: (n_z,).

    Larsen et al. (2016), section 3.2.  has: (n,) booleans.  Added to the code of a datum without,
    it gives one with, as far as the two sets differ in nothing else.  Raises ValueError where one
    of them is empty.
    """
    has = np.asarray(has)
    if has.shape != (len(x),) or has.dtype != bool:
        raise ValueError(f"attribute_vector: has is of dtype {has.dtype} and shape {has.shape}; "
                         f"{len(x)} booleans are expected, one for each datum")
    if has.all() or not has.any():
        raise ValueError(f"attribute_vector: {'all' if has.all() else 'none'} of the {len(x)} data "
                         "have the attribute; some with and some without are needed")
    z = codes(model, x)
    with_it, without = (z[rows].mean(axis=0, dtype=np.float64) for rows in (has, ~has))
    return (with_it - without).astype(z.dtype)


# -- where no code is -----------------------------------------------------------------------------
def empty_boxes(z: ndarray, count: int = 1, *, within: str = "hull", side: int = 200) -> list[Box]:
    """The largest boxes without a code of z (n, 2), disjoint.

    within: the convex "hull" of the codes, or the "rectangle" that just holds them, as a scatter
    plot does: there the largest are where no code is on one side, in the corners.
    Their sides are as the standard deviations of z; each is the largest that the former leave
    whose centre is one of side² in a lattice.  Raises ValueError for codes that aren't two numbers
    each, or lie on a line, and for more boxes than there is room for.
    """
    from scipy.spatial import cKDTree

    if within not in ("hull", "rectangle"):
        raise ValueError(f'empty_boxes(within={within!r}): "hull" or "rectangle"')
    if z.ndim != 2 or z.shape[1] != 2 or len(z) < 3:
        raise ValueError(f"empty_boxes of codes {z.shape}: three or more codes of two dimensions "
                         "are expected, (n, 2)")
    center, unit = z.mean(axis=0, dtype=np.float64), z.std(axis=0, dtype=np.float64)
    if np.linalg.matrix_rank(z - center) < 2:
        raise ValueError("empty_boxes of codes on a line, which has no inside: is the code "
                         "collapsed?")
    scaled = (z - center) / unit
    low, high = scaled.min(axis=0), scaled.max(axis=0)
    candidates = Box(low, high).lattice(side)
    room = (_room_in_hull(scaled, candidates) if within == "hull" else
            np.minimum(candidates - low, high - candidates).min(axis=1))
    room = np.minimum(room, cKDTree(scaled).query(candidates, p=np.inf)[0])
    boxes = []
    for k in range(count):
        if room.max() <= 0:
            raise ValueError(f"empty_boxes(count={count}, side={side}): after {k} boxes no centre "
                             "of the lattice has room for another; ask for fewer, or a larger side")
        best = candidates[np.argmax(room)]
        half = room.max() * (1 - 1e-6)  # no code on its edge
        boxes.append(Box(center + unit * (best - half), center + unit * (best + half)))
        room = np.minimum(room, np.abs(candidates - best).max(axis=1) - half)
    return boxes


def _room_in_hull(z: ndarray, centres: ndarray) -> ndarray:
    """Half the side of the largest square about each centre that lies in the hull of z; < 0: none.

    It lies within an edge a·c + b ≤ 0 of the hull if a·c + b + h ≤ 0, with |a₁| + |a₂| = 1.
    """
    from scipy.spatial import ConvexHull

    edges = ConvexHull(z).equations
    edges /= np.abs(edges[:, :2]).sum(axis=1, keepdims=True)
    return -(centres @ edges[:, :2].T + edges[:, 2]).max(axis=1)


def _times(a: Any, b: Any, steps: int) -> ndarray:
    """`steps` numbers from 0 to 1, (steps, 1, …), of the codes' dtype where they are floats."""
    if a.shape != b.shape:
        raise ValueError(f"a path between codes of shape {a.shape} and {b.shape}: both must be the "
                         "same")
    if steps < 2:
        raise ValueError(f"a path of {steps} codes: at least 2, its ends")
    t = np.linspace(0, 1, steps, dtype=np.result_type(a, b, np.float32))
    return t.reshape(-1, *(1,) * a.ndim)
