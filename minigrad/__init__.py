"""minigrad: reverse-mode automatic differentiation of NumPy programs, in NumPy.

    import numpy as np, minigrad as mg
    mg.grad(lambda x: np.sum(np.sin(x) ** 2))(np.array([0.1, 0.2]))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minigrad import nn, optim
from minigrad import rules as rules
from minigrad.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from minigrad.define import rule
from minigrad.functions import (
    affine,
    elu,
    gelu,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    logsumexp,
    polygamma,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    stop_gradient,
)
from minigrad.kernels.blas import reproducible
from minigrad.kernels.process import tune
from minigrad.pooling import avg_pool2d, max_pool2d, upsample2d
from minigrad.rules.shaping import index_put
from minigrad.table import NoRule
from minigrad.tensor import Primitive as primitive
from minigrad.tensor import Tensor
from minigrad.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

if TYPE_CHECKING:
    from minigrad import testing
    from minigrad.check import GradientError, Undecided, check_grads
    from minigrad.debugging import NumericalError, OverwrittenError, debug
    from minigrad.explain import explain_zero
    from minigrad.inspect import show

tune()

# Loaded when asked for: importing what checks and debugs would take as long as all the rest.
LATER = {"GradientError": "check", "Undecided": "check", "check_grads": "check",
         "debug": "debugging", "NumericalError": "debugging", "OverwrittenError": "debugging",
         "explain_zero": "explain", "show": "inspect"}


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("minigrad.testing")
    if name not in LATER:
        raise AttributeError(f"module 'minigrad' has no attribute {name!r}")
    return getattr(import_module(f"minigrad.{LATER[name]}"), name)


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "GradientError", "NoRule", "NumericalError", "OverwrittenError", "Tensor", "Undecided",
    "affine", "avg_pool2d", "check_grads", "conv1d", "conv2d", "conv_transpose1d",
    "conv_transpose2d", "debug", "elu", "explain_zero", "gelu", "grad", "hessian", "hvp",
    "index_put", "jacobian", "jvp", "leaky_relu", "log_sigmoid", "log_softmax", "logsumexp",
    "max_pool2d", "nn", "optim", "polygamma", "primitive", "relu", "reproducible", "rule", "show",
    "sigmoid", "silu", "softmax", "softplus", "stop_gradient", "testing", "upsample2d",
    "value_and_grad", "vjp",
]  # fmt: skip
