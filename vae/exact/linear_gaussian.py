"""The linear Gaussian model: probabilistic PCA and factor analysis."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.tensor import untraced
from vae.distributions import Distribution, Normal
from vae.distributions.base import LOG_2PI, as_floats, require_positive
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal
from vae.exact.base import ExactModel


class LinearGaussian(ExactModel):
    """z ~ N(0, I), x = Wz + b + σε: z (n, k), x (n, d), W (d, k), b (d,).

    std: σ, a number (probabilistic PCA) or one for each dimension (d,) (factor analysis).  With
    D = diag(σ²):  p(x) = N(b, WWᵀ + D),  p(z|x) = N(M⁻¹WᵀD⁻¹(x - b), M⁻¹),  M = I + WᵀD⁻¹W.
    q: `Normal`, or `MultivariateNormal`.  Tipping and Bishop (1999), section 3.
    """

    parameters = ("weight", "bias", "std")
    families = (Normal, MultivariateNormal, LowRankNormal)

    def __init__(self, weight: Any, bias: Any, std: Any):
        self.weight, self.bias, self.std = as_floats(weight, bias, std)
        d, k = self.weight.shape
        if self.bias.shape != (d,) or self.std.shape not in ((), (d,)):
            raise ValueError(f"LinearGaussian: weight {(d, k)}, bias {self.bias.shape}, std "
                             f"{self.std.shape}: they must be (d, k), (d,), and () or (d,)")
        require_positive("LinearGaussian", std=self.std)
        self.given_prior = Normal(np.zeros(k), np.ones(k))
        self.encoder = None

    def likelihood(self, z: Any) -> Normal:
        return Normal(z @ self.weight.T + self.bias, self.std)

    def exact_posterior(self, x: Any) -> MultivariateNormal:
        """p(z|x) with its full covariance, which is the same for every x."""
        low = np.tril(np.linalg.inv(self._root()).T)
        mean = ((x - self.bias) / np.square(self.std)) @ self.weight @ low @ low.T
        return MultivariateNormal(mean, low)

    def _root(self) -> Any:
        """The upper triangle U with UUᵀ = M; U⁻ᵀ is then the Cholesky factor of M⁻¹.

        So M, which is well conditioned only for small W/σ, is never inverted itself.
        """
        scaled = self.weight / np.reshape(self.std, (-1, 1))
        precision = scaled.T @ scaled + np.eye(self.weight.shape[1])
        return np.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]

    def log_marginal(self, x: Any) -> Any:
        """log N(x; b, WWᵀ + D), from a Cholesky factor of that d x d matrix."""
        d = len(self.weight)
        noise = np.square(self.std) * np.eye(d)
        low = np.linalg.cholesky(self.weight @ self.weight.T + noise)
        z = np.linalg.solve(low, (x - self.bias).T)
        half_log_det = np.sum(np.log(np.diagonal(low)))
        return -0.5 * np.sum(np.square(z), axis=0) - half_log_det - 0.5 * d * LOG_2PI

    def _elbo(self, q: Distribution, x: Any) -> Any:
        """E_q log p(x|z) + E_q log p(z) + H(q): the first two at the mean of q, less ½ tr(MS)."""
        k = self.weight.shape[1]
        at_mean = (self.likelihood(q.mean).log_prob(x)
                   - 0.5 * np.sum(np.square(q.mean), axis=-1) - 0.5 * k * LOG_2PI)
        root = self._root()
        return at_mean - 0.5 * _trace(root @ root.T, q) + q.entropy()

    def m_step(self, x: Any, q: Distribution) -> LinearGaussian:
        """The W, b and σ that maximise the sum of `elbo(q, x)` over the data, q held.

        Linear regression of x on (z, 1): Tipping and Bishop (1999), appendix B, and for factor
        analysis Rubin and Thayer (1982).
        """
        q, n = q.constant(), len(x)
        z = np.concatenate([q.mean, np.ones((n, 1))], axis=1)
        moments = z.T @ z
        k = z.shape[1] - 1
        moments[:k, :k] += np.sum(covariance(q), axis=0)
        both = np.linalg.solve(moments, z.T @ x).T  # (d, k + 1): W and b
        residual = x - z @ both.T
        spread = np.einsum("di,nij,dj->d", both[:, :k], covariance(q), both[:, :k])
        var = (np.sum(np.square(residual), axis=0) + spread) / n
        return LinearGaussian(both[:, :k], both[:, k],
                              np.sqrt(var if np.ndim(untraced(self.std)) else np.mean(var)))

    @classmethod
    def most_likely(cls, x: Any, k: int) -> LinearGaussian:
        """Probabilistic PCA at its maximum likelihood, from the eigenvectors of the covariance.

        Tipping and Bishop (1999), section 3.2; W up to a rotation of z.
        """
        bias = x.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))  # ascending
        var = values[:-k].mean()
        return cls(vectors[:, -k:] * np.sqrt(values[-k:] - var), bias, np.sqrt(var))

    def free(self) -> tuple[Any, ...]:
        """Parameters that may be any numbers: W, b, log σ."""
        return self.weight, self.bias, np.log(self.std)

    @classmethod
    def from_free(cls, weight: Any, bias: Any, log_std: Any) -> LinearGaussian:
        return cls(weight, bias, np.exp(log_std))


def covariance(q: Distribution) -> Any:
    """The covariance of a Gaussian q: (n, k, k)."""
    if isinstance(q, Normal):
        return np.expand_dims(q.variance, -1) * np.eye(q.shape[-1])
    return q.covariance


def _trace(matrix: Any, q: Distribution) -> Any:
    """tr(matrix·S) with the covariance S of each of q; one matrix, or one for each."""
    if isinstance(q, Normal):
        return np.sum(np.diagonal(matrix, axis1=-2, axis2=-1) * q.variance, axis=-1)
    return np.sum(matrix * q.covariance, axis=(-2, -1))
