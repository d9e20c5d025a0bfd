"""The ELBO as one divergence of joint distributions, q_D(x) q(z|x) from p(x, z)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from vae.distributions.categorical import Categorical
from vae.distributions.multivariate import MultivariateNormal
from vae.exact.derivations import Identity
from vae.exact.finite import DiscreteLatent
from vae.exact.linear_gaussian import LinearGaussian
from vae.exact.quadrature import hermite

JOINT = "KL(q_D(x) q(z|x)‖p(x,z))"


def joint_identities(model: DiscreteLatent, data: ndarray, q: Categorical) -> list[Identity]:
    """KL of the joints = -E ELBO - H(q_D) = KL(q_D‖p) + E KL(q(z|x)‖p(z|x)), over finite x and z.

    model: x in 0 … m-1 by a Categorical.  data: q_D, probabilities (m,), all positive.
    q: q(z|x) of every x, (m, k).  The left side is summed over the table of all (x, z).
    """
    x = np.arange(len(data))
    log_q = np.log(data)[:, None] + q.log_probabilities
    divergence = _kl_of_tables(log_q, model.log_joints(x))
    entropy = -np.sum(data * np.log(data))
    marginal = np.exp(model.log_joints(x)).sum(axis=1)
    forward = np.sum(data * np.log(data / marginal))
    return [
        Identity(f"{JOINT} = -E ELBO - H(q_D)", divergence,
                 -np.sum(data * model.elbo(q, x)) - entropy),
        Identity(f"{JOINT} = KL(q_D‖p(x)) + E KL(q(z|x)‖p(z|x))", divergence,
                 forward + np.sum(data * model.gap(q, x))),
        Identity("KL(q_D‖p(x)) = -E log p(x) - H(q_D)", forward,
                 -np.sum(data * model.log_marginal(x)) - entropy),
    ]


def auxiliary_identities(model: DiscreteLatent, data: ndarray, q_u: ndarray, q_z: ndarray,
                         p_u: ndarray) -> list[Identity]:
    """What a further latent u does to the bound, q(z|x) = Σ_u q(u|x) q(z|u,x).

    q_u: q(u|x) (m, r).  q_z: q(z|u,x) (m, r, k).  p_u: p(u|x,z) (m, k, r); all positive.  The bound
    with u is the ELBO of q(z|x) less E KL(q(u|x,z)‖p(u|x,z)), so it is looser for that q(z|x);
    what helps is that the sum over u makes q(z|x) richer.  Maaløe et al. (2016).
    """
    x = np.arange(len(data))
    both = np.swapaxes(q_u[..., None] * q_z, 1, 2)  # q(z, u|x): (m, k, r)
    q_zx = both.sum(axis=2)
    q_uzx = both / q_zx[..., None]
    further = np.sum(both * np.log(q_uzx / p_u), axis=(1, 2))  # of each x
    log_joint = model.log_joints(x)
    with_u = np.sum(both * (log_joint[..., None] + np.log(p_u) - np.log(both)), axis=(1, 2))
    elbo = model.elbo(Categorical(np.log(q_zx)), x)
    all_three = _kl_of_tables(np.log(data[:, None, None] * both),
                              log_joint[..., None] + np.log(p_u))
    of_two = _kl_of_tables(np.log(data[:, None] * q_zx), log_joint)
    return [
        Identity("bound with u = ELBO of q(z|x) - E KL(q(u|x,z)‖p(u|x,z))", with_u, elbo - further),
        Identity("KL of (x,z,u) = KL of (x,z) + E KL(q(u|x,z)‖p(u|x,z))", all_three,
                 of_two + np.sum(data * further)),
    ]


def gaussian_joint_identities(model: LinearGaussian, data: tuple[ndarray, ndarray],
                              encoder: tuple[ndarray, ndarray, ndarray]) -> list[Identity]:
    """`joint_identities` where all is Gaussian.

    data: mean (d,) and covariance (d, d) of q_D.  encoder: A (k, d), a (k,) and a covariance S
    (k, k) of q(z|x) = N(Ax + a, S).  The left side is the divergence of two Gaussians over (x, z);
    expectations over q_D are by Gauss and Hermite's rule, exact for what is quadratic in x.
    """
    (mean, cov), (weight, bias, spread) = data, encoder
    w, d, k = model.weight, *model.weight.shape
    noise = np.square(model.std) * np.eye(d)
    q = (np.concatenate([mean, weight @ mean + bias]),
         np.block([[cov, cov @ weight.T], [weight @ cov, weight @ cov @ weight.T + spread]]))
    p = (np.concatenate([model.bias, np.zeros(k)]),
         np.block([[w @ w.T + noise, w], [w.T, np.eye(k)]]))
    at, weights = hermite(3, d)
    x = mean + at @ np.linalg.cholesky(cov).T
    q_z = MultivariateNormal.from_covariance(x @ weight.T + bias, spread)
    divergence = _kl_of_gaussians(*q, *p)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * cov)[1]
    forward = _kl_of_gaussians(mean, cov, p[0][:d], p[1][:d, :d])
    return [
        Identity(f"Gaussian {JOINT} = -E ELBO - H(q_D)", divergence,
                 -weights @ model.elbo(q_z, x) - entropy),
        Identity(f"Gaussian {JOINT} = KL(q_D‖p(x)) + E KL(q(z|x)‖p(z|x))", divergence,
                 forward + weights @ model.gap(q_z, x)),
    ]


def _kl_of_tables(log_q: Any, log_p: Any) -> Any:
    return np.sum(np.exp(log_q) * (log_q - log_p))


def _kl_of_gaussians(m_q: Any, s_q: Any, m_p: Any, s_p: Any) -> Any:
    """½ (tr(S_p⁻¹S_q) + (m_p - m_q)ᵀS_p⁻¹(m_p - m_q) - n + log|S_p|/|S_q|)."""
    d = m_p - m_q
    return 0.5 * (np.trace(np.linalg.solve(s_p, s_q)) + d @ np.linalg.solve(s_p, d) - len(d)
                  + np.linalg.slogdet(s_p)[1] - np.linalg.slogdet(s_q)[1])
