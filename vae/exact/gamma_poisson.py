"""The Gamma-Poisson model: counts whose rate is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln, psi

from vae.distributions.base import as_floats, require_positive
from vae.distributions.gamma import Gamma
from vae.distributions.poisson import Poisson
from vae.exact.base import ExactModel


class GammaPoisson(ExactModel):
    """z ~ Gamma(a, b), and `counts` numbers x ~ Poisson(z) a datum: z (n,), x (n, counts).

    p(x) is negative multinomial, for counts = 1 negative binomial; with s = Σx
    p(z|x) = Gamma(a + s, b + counts).  q: any `Gamma`.
    Gelman et al., Bayesian Data Analysis (2013), section 2.6.
    """

    parameters = ("concentration", "rate")
    families = (Gamma,)

    def __init__(self, concentration: Any, rate: Any, counts: int = 1):
        self.concentration, self.rate = as_floats(concentration, rate)
        require_positive("GammaPoisson", concentration=self.concentration, rate=self.rate)
        self.counts, self.encoder = counts, None

    @property
    def prior(self) -> Gamma:
        return Gamma(self.concentration, self.rate, event_ndim=0)

    def likelihood(self, z: Any) -> Poisson:
        rates = np.broadcast_to(np.expand_dims(z, -1), (*np.shape(z), self.counts))
        return Poisson(rates, event_ndim=1)

    def exact_posterior(self, x: Any) -> Gamma:
        rate = np.broadcast_to(self.rate + self.counts, (len(x),))
        return Gamma(self.concentration + np.sum(x, axis=-1), rate, event_ndim=0)

    def log_marginal(self, x: Any) -> Any:
        """log Γ(a + s)/Γ(a) + a log b - (a + s) log(b + counts) - Σ log x!"""
        a, b, s = self.concentration, self.rate, np.sum(x, axis=-1)
        return (gammaln(a + s) - gammaln(a) + a * np.log(b) - (a + s) * np.log(b + self.counts)
                - np.sum(gammaln(x + 1.0), axis=-1))

    def _elbo(self, q: Gamma, x: Any) -> Any:
        """E_q log p(x|z) + E_q log p(z) + H(q), with E z = α/β and E log z = ψ(α) - log β."""
        a, b, s = self.concentration, self.rate, np.sum(x, axis=-1)
        z, log_z = q.concentration / q.rate, psi(q.concentration) - np.log(q.rate)
        log_likelihood = s * log_z - self.counts * z - np.sum(gammaln(x + 1.0), axis=-1)
        log_prior = a * np.log(b) - gammaln(a) + (a - 1) * log_z - b * z
        return log_likelihood + log_prior + q.entropy()
