"""Layers, initialisers, and the parameters of a model."""

from minigrad.nn.initialisers import (
    fan_in_uniform,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    normal,
    orthogonal,
    zeros,
)
from minigrad.nn.layers import Dense, Dropout, LayerNorm, Sequential
from minigrad.nn.state import (
    ParameterError,
    frozen,
    load,
    named_parameters,
    parameters,
    save,
    with_parameters,
)

__all__ = [
    "Dense", "Dropout", "LayerNorm", "ParameterError", "Sequential", "fan_in_uniform", "frozen",
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "load", "named_parameters",
    "normal", "orthogonal", "parameters", "save", "with_parameters", "zeros",
]  # fmt: skip
