"""Derivatives of the elementwise functions, one line an argument.

A rule reads: the function, then for each argument the cotangent `g` of the result times the partial
derivative, in terms of the result `y` (or `z`) and the arguments.  Numbers in the rules are Python
numbers, which leave float32 alone.  At a tie of max or min both sides get half; abs has slope 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.define import composed, constant, rule
from minigrad.kernels.blocks import threaded
from minigrad.tensor import Primitive, untraced

# -- arithmetic -----------------------------------------------------------------------------------
rule(np.add, lambda g, z, x, y: g, lambda g, z, x, y: g)
rule(np.subtract, lambda g, z, x, y: g, lambda g, z, x, y: -g)
rule(np.multiply, lambda g, z, x, y: g * y, lambda g, z, x, y: g * x)
rule(np.divide, lambda g, z, x, y: g / y, lambda g, z, x, y: -g * z / y)
rule(np.remainder, lambda g, z, x, y: g, lambda g, z, x, y: -g * np.floor_divide(x, y))
rule(np.fmod, lambda g, z, x, y: g, lambda g, z, x, y: -g * np.trunc(x / y))
rule(np.negative, lambda g, y, x: -g)
rule(np.positive, lambda g, y, x: g)
rule(np.reciprocal, lambda g, y, x: -g * y * y)
rule(np.square, lambda g, y, x: g * 2 * x)


def _lower(x: Any, y: Any) -> Any:
    """The exponent y - 1 of the derivative of x**y, made harmless for 0**0, where that is 0."""
    if type(y) in (int, float):
        return y - 1 if y != 0 else 1
    return np.where((x == 0) & (y == 0), 1, y - 1)


def _log_base(x: Any) -> Any:
    """log x, but 0 for x = 0, since 0**y stays 0 however y moves.  A Python number stays one."""
    return float(np.log(x or 1)) if type(x) in (int, float) else np.log(np.where(x == 0, 1, x))


rule(np.power,
     lambda g, z, x, y: g * y * x ** _lower(x, y), lambda g, z, x, y: g * z * _log_base(x))
rule(np.hypot, lambda g, z, x, y: g * x / _nonzero(z), lambda g, z, x, y: g * y / _nonzero(z))
rule(np.arctan2,
     lambda g, z, y, x: g * x / (x * x + y * y), lambda g, z, y, x: -g * y / (x * x + y * y))

# -- exponentials, logarithms, roots --------------------------------------------------------------
rule(np.exp, lambda g, y, x: g * y)
rule(np.exp2, lambda g, y, x: g * y * math.log(2))
rule(np.expm1, lambda g, y, x: g * (y + 1))
rule(np.log, lambda g, y, x: g / x)
rule(np.log2, lambda g, y, x: g / (x * math.log(2)))
rule(np.log10, lambda g, y, x: g / (x * math.log(10)))
rule(np.log1p, lambda g, y, x: g / (1 + x))
rule(np.logaddexp, lambda g, z, x, y: g * _share(x, y), lambda g, z, x, y: g * _share(y, x))
rule(np.logaddexp2,
     lambda g, z, x, y: g * _share(x, y, np.exp2), lambda g, z, x, y: g * _share(y, x, np.exp2))
rule(np.sqrt, lambda g, y, x: g * 0.5 / y)
rule(np.cbrt, lambda g, y, x: g / (3 * y * y))

# -- trigonometric and hyperbolic functions and their inverses ------------------------------------
rule(np.sin, lambda g, y, x: g * np.cos(x))
rule(np.cos, lambda g, y, x: -g * np.sin(x))
rule(np.tan, lambda g, y, x: g * (1 + y * y))
rule(np.arcsin, lambda g, y, x: g / np.sqrt((1 - x) * (1 + x)))
rule(np.arccos, lambda g, y, x: -g / np.sqrt((1 - x) * (1 + x)))
rule(np.arctan, lambda g, y, x: g / (1 + x * x))
rule(np.sinh, lambda g, y, x: g * np.cosh(x))
rule(np.cosh, lambda g, y, x: g * np.sinh(x))
tanh_back = threaded(lambda g, y: g * (1 - y * y), cost=1, calls=4)
rule(np.tanh, lambda g, y, x: tanh_back(g, y)).forward = threaded(np.tanh, cost=3)
rule(np.arcsinh, lambda g, y, x: g / np.hypot(x, 1))
rule(np.arccosh, lambda g, y, x: g / np.sqrt((x - 1) * (x + 1)))
rule(np.arctanh, lambda g, y, x: g / ((1 - x) * (1 + x)))
rule(np.sinc, lambda g, y, x: g * _sinc_slope(x), elementwise=True)
for to_radians in (np.deg2rad, np.radians):
    rule(to_radians, lambda g, y, x: g * (math.pi / 180))
for to_degrees in (np.rad2deg, np.degrees):
    rule(to_degrees, lambda g, y, x: g * (180 / math.pi))

# -- functions with kinks -------------------------------------------------------------------------
rule(np.absolute, lambda g, y, x: g * np.sign(x))
rule(np.fabs, lambda g, y, x: g * np.sign(x))
for extreme in (np.maximum, np.fmax, np.minimum, np.fmin):
    rule(extreme,
         lambda g, z, x, y: _if_chosen(g, z, x, y), lambda g, z, x, y: _if_chosen(g, z, y, x),
         selects=True)
rule(np.where,
     None,
     lambda g, z, condition, x, y: np.where(condition, g, 0),
     lambda g, z, condition, x, y: np.where(condition, 0, g),
     elementwise=True, selects=True)
rule(np.nan_to_num, lambda g, y, x: np.where(np.isfinite(x), g, 0), elementwise=True, selects=True)

clip_between = Primitive(  # np.clip(number, low, array) has the dtype float64 of the number
    lambda x, low, high: np.clip(x, low, high).astype(np.result_type(x, low, high), copy=False),
    lambda g, y, x, low, high: np.where((x >= low) & (x <= high), g, 0),
    lambda g, y, x, low, high: np.where(x < low, g, 0),
    lambda g, y, x, low, high: np.where((x > high) & (x >= low), g, 0),
    elementwise=True, selects=True, name="clip")


@composed(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    return clip_between(a, -math.inf if low is None else low, math.inf if high is None else high)


# -- steps: the derivative is zero, and so they are Tensors with no way back ----------------------
for step in (np.sign, np.floor, np.ceil, np.trunc, np.rint):
    rule(step, lambda g, y, x: np.zeros_like(g))
for step in (np.floor_divide, np.heaviside):
    rule(step, lambda g, z, x, y: np.zeros_like(g), lambda g, z, x, y: np.zeros_like(g))
rule(np.round, lambda g, y, a, decimals=0: np.zeros_like(g))
rule(np.fix, lambda g, y, x: np.zeros_like(g))

# -- questions: no derivative, the answers are ndarrays -------------------------------------------
constant(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
         np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.isfinite, np.isinf,
         np.isnan, np.signbit, np.isclose, np.allclose, np.array_equal)


# -- shared by several rules ----------------------------------------------------------------------
def _nonzero(y: Any) -> Any:
    """`y`, or 1 where it is 0: for quotients whose numerator is 0 there, and which we call 0."""
    return np.where(y == 0, 1, y)


def _share(x: Any, y: Any, exp: Any = np.exp) -> Any:
    """eˣ/(eˣ + eʸ), also where both are infinite."""
    top = np.maximum(untraced(x), untraced(y))  # the quotient does not depend on it
    top = np.where(np.isfinite(top), top, 0)
    a, b = exp(x - top), exp(y - top)
    return a / _nonzero(a + b)


def _if_chosen(g: Any, z: Any, x: Any, y: Any) -> Any:
    """`g` where max or min chose x, half of it where x and y tie."""
    return np.where(x == z, np.where(y == z, g * 0.5, g), 0)


def _sinc_slope(x: Any) -> Any:
    """d/dx sin(πx)/(πx); near 0, where the quotient cancels, three terms of its series."""
    near = np.abs(untraced(x)) < 1e-2
    away, square = np.where(near, 1, x), np.square(math.pi * x)
    series = -math.pi**2 / 3 * x * (1 - square / 10 * (1 - square / 28))
    return np.where(near, series, (np.cos(math.pi * away) - np.sinc(away)) / away)
