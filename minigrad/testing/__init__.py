"""Hypothesis strategies for tests of derivatives: arrays, indices, geometries, random programs.

    from hypothesis import given
    from minigrad import testing as mt

    @given(mt.arrays((3, 2), away_from=0))
    def test_my_rule(x):
        mg.check_grads(my_rule, (x,))

docs/testing.md is the guide.  Without Hypothesis there is `frozen_noise` alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from minigrad.testing.noise import frozen_noise

if find_spec("hypothesis"):
    from minigrad.testing.arrays import arrays, broadcastable, dtypes, indices, layouts, shapes
    from minigrad.testing.distributions import parameters_of
    from minigrad.testing.geometries import geometries
    from minigrad.testing.graphs import expressions
    from minigrad.testing.matrices import cholesky_factors, simplex, spd

__all__ = [
    "arrays", "broadcastable", "cholesky_factors", "dtypes", "expressions", "frozen_noise",
    "geometries", "indices", "layouts", "parameters_of", "shapes", "simplex", "spd",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        raise ImportError(f"minigrad.testing.{name} is a strategy of Hypothesis, which is not "
                          "installed: pip install 'minigrad-vae[test]'")
    raise AttributeError(f"module 'minigrad.testing' has no attribute {name!r}")
