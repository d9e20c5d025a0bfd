"""Models with a finite latent variable: everything is a sum over its values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.functions import log_softmax, logsumexp
from minigrad.tensor import untraced
from vae.distributions import Distribution, Normal
from vae.distributions.base import as_floats, require_positive
from vae.distributions.categorical import Categorical
from vae.distributions.multivariate import MultivariateNormal
from vae.exact.base import ExactModel


class FiniteLatent(ExactModel):
    """Abstract: z in 0 … k-1 with p(z) = softmax(logits), (k,).  q: any `Categorical`, (n, k)."""

    families = (Categorical,)

    def __init__(self, logits: Any):
        self.logits, = as_floats(logits)
        self.encoder = None

    @property
    def prior(self) -> Categorical:
        return Categorical(self.logits)

    @abstractmethod
    def likelihood(self, z: Any) -> Distribution:
        """p(x|z) for integers z."""

    def log_joints(self, x: Any) -> Any:
        """log p(x, z) for every z: (n, k)."""
        values = np.arange(self.logits.shape[-1])
        conditional = self.likelihood(values).log_prob(np.expand_dims(x, 1))
        return log_softmax(self.logits) + conditional

    def exact_posterior(self, x: Any) -> Categorical:
        return Categorical(self.log_joints(x))

    def log_marginal(self, x: Any) -> Any:
        return logsumexp(self.log_joints(x), axis=-1)

    def _elbo(self, q: Categorical, x: Any) -> Any:
        """Σ_z q(z) (log p(x, z) - log q(z)), in which 0 log 0 = 0."""
        log_q = q.log_probabilities
        possible = untraced(log_q) > -np.inf
        ratio = np.where(possible, self.log_joints(x), 0) - np.where(possible, log_q, 0)
        return np.sum(np.exp(log_q) * ratio, axis=-1)


class DiscreteLatent(FiniteLatent):
    """p(x|z) = family(table[z]), such as a `Categorical` of table (k, values), x (n,) integers.

    With `Bernoulli` for a family the table is (k, d), and x (n, d).
    """

    parameters = ("logits", "table")

    def __init__(self, logits: Any, table: Any, *,
                 family: Callable[[Any], Distribution] = Categorical):
        super().__init__(logits)
        self.table, = as_floats(table)
        if len(self.table) != len(self.logits):
            raise ValueError(f"DiscreteLatent: {len(self.logits)} logits and a table of "
                             f"{len(self.table)} rows: one for each value of z")
        self.family = family

    def likelihood(self, z: Any) -> Distribution:
        return self.family(self.table[z])


class GaussianMixture(FiniteLatent):
    """p(x|z) = N(means[z], diag(stds[z]²)): logits (k,), means (k, d), stds (k, d); x (n, d).

    `from_covariances`: with full covariances.
    """

    parameters = ("logits", "means", "stds")

    def __init__(self, logits: Any, means: Any, stds: Any):
        super().__init__(logits)
        self.means, self.stds = as_floats(means, stds)
        require_positive("GaussianMixture", stds=self.stds)
        self.cholesky = None

    @classmethod
    def from_covariances(cls, logits: Any, means: Any, covariances: Any) -> GaussianMixture:
        """covariances: (k, d, d), positive definite."""
        cholesky = np.linalg.cholesky(covariances)
        mixture = cls(logits, means, np.diagonal(cholesky, axis1=-2, axis2=-1))
        mixture.stds, mixture.cholesky = None, cholesky
        mixture.parameters = ("logits", "means", "cholesky")
        return mixture

    def likelihood(self, z: Any) -> Distribution:
        if self.cholesky is not None:
            return MultivariateNormal(self.means[z], self.cholesky[z])
        return Normal(self.means[z], self.stds[z])

    def m_step(self, x: Any, q: Categorical) -> GaussianMixture:
        """The parameters that maximise the sum of `elbo(q, x)` over the data, q held.

        Weighted means and covariances: Dempster, Laird and Rubin (1977), section 4.3.
        """
        weights = np.exp(untraced(q.log_probabilities))  # (n, k)
        total = weights.sum(axis=0)
        means = weights.T @ x / total[:, None]
        centred = x[:, None] - means
        logits = np.log(total / len(x))
        if self.cholesky is None:
            var = np.einsum("nk,nkd->kd", weights, np.square(centred)) / total[:, None]
            return GaussianMixture(logits, means, np.sqrt(var))
        covariances = np.einsum("nk,nkd,nke->kde", weights, centred, centred)
        return self.from_covariances(logits, means, covariances / total[:, None, None])

    def free(self) -> tuple[Any, ...]:
        """Parameters that may be any numbers: logits, means, log stds."""
        if self.stds is None:
            raise ValueError("GaussianMixture.free: of full covariances there is no such form here")
        return self.logits, self.means, np.log(self.stds)

    @classmethod
    def from_free(cls, logits: Any, means: Any, log_stds: Any) -> GaussianMixture:
        return cls(logits, means, np.exp(log_stds))
