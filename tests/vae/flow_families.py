"""A flow of each family, with parameters that are drawn."""

from __future__ import annotations

import numpy as np

from minigrad.nn import parameters
from vae.flows import (
    Coupling,
    Inverse,
    InverseAutoregressive,
    Planar,
    Radial,
    Sylvester,
)

FAMILIES = {
    "planar": Planar,
    "radial": Radial,
    "coupling": lambda n, **o: Coupling(n, hidden=(8,), **o),
    "iaf": lambda n, **o: InverseAutoregressive(n, hidden=(8,), **o),
    "iaf, deep and reversed": lambda n, **o: InverseAutoregressive(n, hidden=(9, 8), reverse=True,
                                                                   **o),
    "maf": lambda n, **o: Inverse(InverseAutoregressive(n, hidden=(8,), **o)),
    "sylvester": Sylvester,
}
INVERTIBLE = [name for name in FAMILIES if name != "sylvester"]


def flow_of(family, n, seed, scale=1.0, dtype=np.float64):
    """One whose parameters are all drawn from N(0, scale²)."""
    rng = np.random.default_rng(seed)
    flow = FAMILIES[family](n, rng=rng, dtype=dtype)
    for p in parameters(flow):
        p.data[...] = rng.normal(0, scale, p.shape)
    return flow
