"""Layers, initialisers, and the parameters of a model."""

from minigrad.nn.images import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    MaxPool2d,
    Upsample2d,
)
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
from minigrad.nn.layers import Dense, Dropout, Flatten, Reshape, Sequential
from minigrad.nn.normalisation import BatchNorm, GroupNorm, LayerNorm
from minigrad.nn.state import (
    ParameterError,
    frozen,
    load,
    named_buffers,
    named_parameters,
    parameters,
    save,
    with_parameters,
)

__all__ = [
    "AvgPool2d", "BatchNorm", "Conv1d", "Conv2d", "ConvTranspose2d", "Dense", "Dropout", "Flatten",
    "GroupNorm", "LayerNorm", "MaxPool2d", "ParameterError", "Reshape", "Sequential", "Upsample2d",
    "fan_in_uniform", "frozen", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform",
    "load", "named_buffers", "named_parameters", "normal", "orthogonal", "parameters", "save",
    "with_parameters", "zeros",
]  # fmt: skip
