"""The table of derivatives. `special` (SciPy) is loaded when the first of its functions is met."""

from minigrad.rules import elementwise, linalg, reductions, shaping  # noqa: F401
