"""The derivations of the ELBO line by line, each with the numbers of its two sides."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from scipy.special import ndtr

import minigrad as mg
from vae.distributions import Distribution, Normal, kl
from vae.distributions.categorical import Categorical
from vae.distributions.gamma import Gamma
from vae.distributions.multivariate import MultivariateNormal
from vae.exact.base import ExactModel
from vae.exact.quadrature import expectation, integral, is_exact

QUADRATURE = " (quadrature)"


class Identity(NamedTuple):
    """A line of a derivation; its sides are arrays, such as one number a datum, in nats."""

    name: str
    left: Any
    right: Any

    @property
    def difference(self) -> float:
        """The largest |left - right|, relative to |left| where that is above 1."""
        return float(np.max(np.abs(self.left - self.right) / np.maximum(np.abs(self.left), 1)))

    def __str__(self) -> str:
        left, right = (float(np.mean(side)) for side in (self.left, self.right))
        return f"{self.name:<66} {left:17.12f} {right:17.12f}  {self.difference:.0e}"


def identities(model: ExactModel, x: Any = None, q: Distribution | None = None, *,
               show: bool = True) -> list[Identity]:
    """Every line from log p(x) to the loss of a VAE, evaluated on a model where all is known.

    x: data (n, …), by default four that the model draws.  q: by default one that is not the
    posterior.  show: print name, means of the left and right side, and `difference`.  Expectations
    over a Gaussian or a finite z are exact up to rounding; lines that a numerical integral enters
    end in "(quadrature)".  Kingma and Welling (2014), equations 1 to 3, 6, 7 and appendix B.
    """
    if not isinstance(model, ExactModel):
        raise TypeError(f"identities of a {type(model).__name__}: its log p(x) is not known; give "
                        "a model of vae.exact")
    rng = np.random.default_rng(0)
    x = drawn(model, 4, rng) if x is None else x
    q = displaced(model.exact_posterior(x).constant()) if q is None else q
    lines = [*_bound(model, x, q, rng), *_gradients(model, x), *_normals()]
    if show:
        print(f"{'mean of':<66} {'left side':>17} {'right side':>17}  difference")
        print(*lines, sep="\n")
    return lines


def drawn(model: ExactModel, n: int, rng: np.random.Generator) -> Any:
    """n draws of p(x)."""
    return model.likelihood(model.prior.sample((n,), rng=rng)).sample(rng=rng)


def displaced(p: Distribution) -> Distribution:
    """Another distribution of the same kind: a diagonal Normal for a Gaussian."""
    if isinstance(p, Categorical):
        return Categorical(0.4 * p.log_probabilities)
    if isinstance(p, Gamma):
        return Gamma(1.3 * p.concentration, 1.1 * p.rate, event_ndim=p.event_ndim)
    if isinstance(p, (Normal, MultivariateNormal)):
        return Normal(p.mean + 0.3, 0.8 * np.sqrt(p.variance))
    raise TypeError(f"identities of a model whose posterior is a {type(p).__name__}: give q=")


def _bound(model: ExactModel, x: Any, q: Distribution, rng: np.random.Generator) -> list[Identity]:
    """log p(x), the ELBO, and the divergence between them."""
    mark = "" if is_exact(q) else QUADRATURE
    posterior, log_p, bound = model.exact_posterior(x), model.log_marginal(x), model.elbo(q, x)
    gap, rate = model.gap(q, x), kl(q, model.prior)
    z = q.sample((3,), rng=rng)
    log_likelihood = expectation(q, lambda z: model.likelihood(z).log_prob(x))
    joint = expectation(q, lambda z: model.log_joint(x, z))
    free_energy = expectation(q, lambda z: model.log_joint(x, z) - q.log_prob(z))
    to_posterior = expectation(q, lambda z: q.log_prob(z) - posterior.log_prob(z))
    return [
        Identity("log p(x) = log p(x,z) - log p(z|x) for any z",
                 np.broadcast_to(log_p, (3, len(log_p))),
                 model.log_joint(x, z) - posterior.log_prob(z)),
        Identity("KL(q‖p(z|x)) = E_q[log q(z) - log p(z|x)]" + mark, gap, to_posterior),
        Identity("KL(q‖p(z|x)) = KL(q‖p(z)) - E_q log p(x|z) + log p(x)" + mark, gap,
                 rate - log_likelihood + log_p),
        Identity("log p(x) = E_q[log p(x,z) - log q(z)] + KL(q‖p(z|x))" + mark, log_p,
                 free_energy + gap),
        Identity("log p(x) = ELBO + KL(q‖p(z|x))", log_p, bound + gap),
        Identity("ELBO = E_q log p(x|z) - KL(q‖p(z))" + mark, bound, log_likelihood - rate),
        Identity("ELBO = E_q log p(x,z) + H(q)" + mark, bound, joint + q.entropy()),
        Identity("E_q of estimator A = E_q of estimator B" + mark, free_energy,
                 expectation(q, lambda z: model.likelihood(z).log_prob(x) - rate)),
        Identity("ELBO = log p(x) where q = p(z|x)", model.elbo(posterior, x), log_p),
    ]


def _gradients(model: ExactModel, x: Any) -> list[Identity]:
    """At q = p(z|x) the ELBO touches log p(x): the reason why EM climbs the likelihood."""
    posterior = model.exact_posterior(x).constant()
    mark = "" if is_exact(posterior) else QUADRATURE

    def slope(f: Any) -> ndarray:
        """The gradient of Σ f(model, x) by all parameters of the model, in one vector."""
        values = [getattr(model, name) for name in model.parameters]
        by = mg.grad(lambda *new: np.sum(f(model.at(*new))), tuple(range(len(values))))
        return np.concatenate([np.ravel(g) for g in by(*values)])

    of_log_p = slope(lambda m: m.log_marginal(x))
    return [
        Identity("∇θ log p(x) = ∇θ ELBO, at q = p(z|x) held", of_log_p,
                 slope(lambda m: m.elbo(posterior, x))),
        Identity("∇θ log p(x) = E_{p(z|x)} ∇θ log p(x,z)" + mark, of_log_p,
                 slope(lambda m: expectation(posterior, lambda z: m.log_joint(x, z)))),
    ]


def _normals() -> list[Identity]:
    """What a Gaussian encoder and a Gaussian decoder add: identities of the normal distribution."""
    mean, std = np.array([0.7, -1.1, 0.0]), np.array([0.4, 1.0, 1.8])
    q, p = (Normal(m, s, event_ndim=0) for m, s in ((mean, std), (0 * mean, 0 * std + 1)))
    low, high = mean - 14 * std, mean + 14 * std
    f, slope = mg.softplus, mg.sigmoid
    table = kl(Normal(mean, std), Normal.standard(3))
    closed = -0.5 * np.sum(1 + np.log(std**2) - mean**2 - std**2)
    by_z = integral(lambda z: np.exp(q.log_prob(z)) * f(z), low, high)
    by_eps = integral(lambda e: np.exp(p.log_prob(e)) * f(mean + std * e), -14.0 + 0 * mean, 14.0)
    score = integral(lambda z: np.exp(q.log_prob(z)) * f(z) * (z - mean) / std**2, low, high)
    path = integral(lambda e: np.exp(p.log_prob(e)) * slope(mean + std * e), -14.0 + 0 * mean, 14.0)
    x, c, fitted = np.array([0.2, -1.0, 0.5, 3.0]), 1.7, np.array([0.1, 0.3, 0.6, 1.0])
    gaussian = Normal(fitted, np.full(4, np.sqrt(1 / (2 * c))))
    divergence = integral(lambda z: np.exp(q.log_prob(z)) * (q.log_prob(z) - p.log_prob(z)), low,
                          high)
    return [
        Identity("KL(N(μ,σ²)‖N(0,1)) = -½ Σ 1 + log σ² - μ² - σ²", table, closed),
        Identity("-½ Σ 1 + log σ² - μ² - σ² = ∫ q (log q - log p) dz" + QUADRATURE, closed,
                 np.sum(divergence)),
        Identity("∫ q(z) dz over (-∞, t) = ∫ p(ε) dε over (-∞, (t - μ)/σ)", q.cdf(0.3),
                 ndtr((0.3 - mean) / std)),
        Identity("∫ f(z) q(z) dz = ∫ f(μ + σε) p(ε) dε" + QUADRATURE, by_z, by_eps),
        Identity("∫ f ∇μ log q q dz = ∫ f'(μ + σε) p(ε) dε" + QUADRATURE, score, path),
        Identity("c‖x - f‖² = -log N(x; f, 1/(2c)) - (d/2) log(π/c)", c * np.sum((x - fitted)**2),
                 -gaussian.log_prob(x) - 2 * np.log(np.pi / c)),
    ]
