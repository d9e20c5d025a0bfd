"""Sampling code as a function of its arguments alone."""

from minigrad.conduct import frozen_noise

__all__ = ["frozen_noise"]
