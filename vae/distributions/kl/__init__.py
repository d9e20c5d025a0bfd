"""Kullback-Leibler divergences: `kl` in closed form, and what bounds or estimates the others."""

from vae.distributions.kl import continuous as continuous  # each enters its pairs in the table
from vae.distributions.kl import discrete as discrete
from vae.distributions.kl import infinite as infinite
from vae.distributions.kl import moments as moments
from vae.distributions.kl import univariate as univariate
from vae.distributions.kl.approximations import Estimate, kl_estimate, kl_upper_bound
from vae.distributions.kl.dimensions import kl_by_dimension
from vae.distributions.kl.normals import to_standard
from vae.distributions.kl.registry import CLOSED_FORMS, ClosedForm, closed_form, kl

__all__ = ["CLOSED_FORMS", "ClosedForm", "Estimate", "closed_form", "kl", "kl_by_dimension",
           "kl_estimate", "kl_upper_bound", "to_standard"]
