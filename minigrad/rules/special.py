"""Derivatives of SciPy's special functions; loaded when the first of them meets a Tensor.

Formulas: NIST Digital Library of Mathematical Functions, chapters 5 (gamma) and 7 (error function).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sc

from minigrad.define import rule
from minigrad.tensor import Primitive

ROOT_PI = math.sqrt(math.pi)


def _typed(f: Callable) -> Callable:
    """f in NumPy's dtype: of float32 and a Python number some of SciPy's functions give float64."""
    return lambda x, y: f(x, y, dtype=np.result_type(x, y))


# -- the logistic function ------------------------------------------------------------------------
rule(sc.expit, lambda g, y, x: g * y * sc.expit(-x))
rule(sc.log_expit, lambda g, y, x: g * sc.expit(-x))
rule(sc.logit, lambda g, y, x: g / (x * (1 - x)))

# -- the error function and the normal distribution -----------------------------------------------
rule(sc.erf, lambda g, y, x: g * (2 / ROOT_PI) * np.exp(-x * x))
rule(sc.erfc, lambda g, y, x: -g * (2 / ROOT_PI) * np.exp(-x * x))
rule(sc.erfcx, lambda g, y, x: g * (2 * x * y - 2 / ROOT_PI))
rule(sc.erfinv, lambda g, y, x: g * (ROOT_PI / 2) * np.exp(y * y))
rule(sc.erfcinv, lambda g, y, x: -g * (ROOT_PI / 2) * np.exp(y * y))
rule(sc.ndtr, lambda g, y, x: g * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))
rule(sc.ndtri, lambda g, y, x: g * np.exp(0.5 * y * y) * math.sqrt(2 * math.pi))
rule(sc.log_ndtr, lambda g, y, x: g * inverse_mills(x))

inverse_mills = Primitive(  # φ(x)/Φ(x), the slope of log Φ, with no quotient of two tiny numbers
    lambda x: math.sqrt(2 / math.pi) / sc.erfcx(x * -math.sqrt(0.5)),
    lambda g, y, x: -g * y * (x + y), name="inverse_mills")

# -- the gamma function ---------------------------------------------------------------------------
rule(sc.gamma, lambda g, y, x: g * y * sc.psi(x))
rule(sc.gammaln, lambda g, y, x: g * sc.psi(x))
rule(sc.psi, lambda g, y, x: g * hurwitz(2, x))  # digamma; its derivative is polygamma(1, x)
hurwitz = Primitive(  # ζ(s, q) = Σ (k + q)⁻ˢ, by q; sc.zeta itself is no ufunc
    sc.zeta, None, lambda g, y, s, q: -g * s * hurwitz(s + 1, q), elementwise=True)
rule(sc.beta,
     lambda g, z, a, b: g * z * (sc.psi(a) - sc.psi(a + b)),
     lambda g, z, a, b: g * z * (sc.psi(b) - sc.psi(a + b))).forward = _typed(sc.beta)
rule(sc.betaln,
     lambda g, z, a, b: g * (sc.psi(a) - sc.psi(a + b)),
     lambda g, z, a, b: g * (sc.psi(b) - sc.psi(a + b))).forward = _typed(sc.betaln)

# -- x log y with 0 log 0 = 0 ---------------------------------------------------------------------
rule(sc.xlogy, lambda g, z, x, y: g * _number(np.log, y),
     lambda g, z, x, y: g * _over(x, y)).forward = _typed(sc.xlogy)
rule(sc.xlog1py, lambda g, z, x, y: g * _number(np.log1p, y),
     lambda g, z, x, y: g * _over(x, 1 + y)).forward = _typed(sc.xlog1py)


def _over(x: Any, y: Any) -> Any:
    return x / np.where((x == 0) & (y == 0), 1, y)


def _number(f: Callable, x: Any) -> Any:
    """f(x); of a Python number a Python number, which leaves float32 alone."""
    return float(f(x)) if type(x) in (int, float) else f(x)

