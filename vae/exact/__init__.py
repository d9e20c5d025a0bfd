"""Models of which everything is known, and the identities that they make visible."""

from vae.exact.base import ExactModel
from vae.exact.derivations import Identity, identities
from vae.exact.em import Fit, Point, amortized, encoder_for, exact_em, free_em
from vae.exact.finite import DiscreteLatent, GaussianMixture
from vae.exact.gamma_poisson import GammaPoisson
from vae.exact.joint import auxiliary_identities, gaussian_joint_identities, joint_identities
from vae.exact.linear_gaussian import LinearGaussian
from vae.exact.quadrature import expectation

__all__ = [
    "DiscreteLatent", "ExactModel", "Fit", "GammaPoisson", "GaussianMixture", "Identity",
    "LinearGaussian", "Point", "amortized", "auxiliary_identities", "encoder_for", "exact_em",
    "expectation", "free_em", "gaussian_joint_identities", "identities", "joint_identities",
]  # fmt: skip
