"""Principal components: the best linear code, and its probabilistic form."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from vae.data.checks import check_data
from vae.distributions.base import LOG_2PI


@dataclass(frozen=True, eq=False)
class PCA:
    """x (…, d) -> z = V(x - mean) (…, n_z) and back, mean + zV: as `fit_pca` fits it.

    mean: (d,).  components: V, (n_z, d), orthonormal rows, that of the largest variance first.
    explained_variance: the variance of each dimension of z over the data, (n_z,), in float64 and
    divided by n, not n - 1.  noise_variance: the mean variance of the d - n_z directions left
    out, which is the σ² of probabilistic PCA (Tipping and Bishop 1999, equation 8).
    """

    mean: ndarray
    components: ndarray
    explained_variance: ndarray
    noise_variance: float

    def encode(self, x: Any) -> Any:
        """The code z (…, n_z) of x (…, d); raises ValueError for another d."""
        _check_width("encode", x, self.components.shape[1], "dimensions of the data")
        return (x - self.mean) @ self.components.T

    def decode(self, z: Any) -> Any:
        """The point (…, d) of the plane of components with the code z (…, n_z).

        Raises ValueError for another n_z.
        """
        _check_width("decode", z, self.components.shape[0], "components")
        return z @ self.components + self.mean

    def reconstruct(self, x: Any) -> Any:
        """The point of the plane of components that is nearest to x."""
        return self.decode(self.encode(x))

    def log_marginal(self, x: ndarray) -> ndarray:
        """log p(x) (n,) in nats of probabilistic PCA at its maximum likelihood, for x (n, d).

            p(x) = N(mean, C),  C = Vᵀ diag(λ - σ²) V + σ²I
            -2 log p(x) = d log 2π + Σ log λ + (d - n_z) log σ² + Σ z²/λ + ‖x - x̂‖²/σ²

        λ = explained_variance, σ² = noise_variance, x̂ = reconstruct(x): in the basis of the
        components C is diagonal.  In float64.  Raises ValueError where σ² is 0.  Tipping and
        Bishop (1999), section 3.2, equations 7 and 8.
        """
        if not self.noise_variance > 0:
            n_z, d = self.components.shape
            raise ValueError(f"PCA.log_marginal: {n_z} components leave no variance of the {d} "
                             "dimensions over, so that σ² = 0 and the likelihood has no bound; "
                             "fit with a lower n_z")
        x = np.asarray(x, np.float64)
        z = self.encode(x)
        left = np.sum(np.square(x - self.decode(z)), axis=-1) / self.noise_variance
        n_z, d = self.components.shape
        log_det = np.sum(np.log(self.explained_variance)) + (d - n_z) * np.log(self.noise_variance)
        return -0.5 * (d * LOG_2PI + log_det + left
                       + np.sum(np.square(z) / self.explained_variance, axis=-1))


def fit_pca(x: ndarray, n_z: int) -> PCA:
    """The n_z directions in which x (n, d) varies most, by a singular value decomposition.

    Of all linear codes of n_z numbers it has the least squared error (Eckart and Young 1936), on
    these data Σ of the variances left out: (d - n_z)·noise_variance a datum.  mean and components
    are of the dtype of x, found in float64; of the two signs of a component it is the one with
    which its largest entry is positive.  Where two variances are equal the directions in between
    are arbitrary.  Memory: two float64 copies of x.

    Raises ValueError for an n_z that isn't from 1 to min(n, d), for data of another shape, not
    finite, or all the same, and TypeError for data that are no floats.
    """
    check_data(x)
    if x.ndim != 2:
        raise ValueError(f"pca of data of shape {x.shape}: rows (n, d) are expected; images as "
                         "x.reshape(len(x), -1)")
    n, d = x.shape
    n_z = _whole(n_z)
    if not 1 <= n_z <= min(n, d):
        raise ValueError(f"pca with n_z={n_z} of {n} data of {d} dimensions: from 1 to "
                         f"{min(n, d)} components can be found")
    if np.array_equal(x.min(axis=0), x.max(axis=0)):
        raise ValueError(f"pca of data of shape {x.shape} that are all the same: no direction in "
                         "which they vary")
    mean = x.mean(axis=0, dtype=np.float64)
    # R of the QR decomposition has the same singular values and right vectors; the left ones,
    # which are as large as the data, are not needed.
    triangle = np.linalg.qr(x - mean, mode="r")
    _, singular, rows = np.linalg.svd(triangle, full_matrices=False)
    rounding = singular[0] * max(n, d) * np.finfo(np.float64).eps
    variance = np.square(np.where(singular > rounding, singular, 0.0)) / n
    components = rows[:n_z]
    largest = np.argmax(np.abs(components), axis=1)
    components = components * np.sign(components[np.arange(n_z), largest])[:, None]
    noise = float(np.sum(variance[n_z:]) / (d - n_z)) if n_z < d else 0.0
    return PCA(mean.astype(x.dtype), components.astype(x.dtype), variance[:n_z], noise)


def _whole(n_z: Any) -> int:
    try:
        return operator.index(n_z)
    except TypeError:
        raise TypeError(f"pca with n_z={n_z!r}: the number of components is a whole number"
                        ) from None


def _check_width(name: str, given: Any, width: int, of: str) -> None:
    if np.shape(given)[-1:] != (width,):
        raise ValueError(f"PCA.{name} of an array of shape {np.shape(given)}: its last axis must "
                         f"be the {width} {of}")
