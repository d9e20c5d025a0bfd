"""Distributions: each density once."""

from vae.distributions.base import Distribution
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.kl import kl
from vae.distributions.normal import Normal

__all__ = ["Bernoulli", "Distribution", "Normal", "kl"]
