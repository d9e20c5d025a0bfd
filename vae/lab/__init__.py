"""The laboratory: what a gradient through a sample looks like, and what another would have been."""

from vae.lab.compare import compare, compare_bounds
from vae.lab.explain import explain
from vae.lab.statistics import Comparison, Row

__all__ = ["Comparison", "Row", "compare", "compare_bounds", "explain"]
