"""Distributions: each density once."""

from vae.distributions.base import Distribution, NoPath, StoppedGradient
from vae.distributions.bernoulli import Bernoulli
from vae.distributions.kl import kl
from vae.distributions.normal import Normal

__all__ = ["Bernoulli", "Distribution", "NoPath", "Normal", "StoppedGradient", "kl"]
