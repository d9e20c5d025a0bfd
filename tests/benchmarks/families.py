"""What posteriors of each family take to draw from, and to tell densities of.

    OPENBLAS_NUM_THREADS=1 python tests/benchmarks/families.py

Of 100 posteriors of 50 dimensions, float32, without a graph, one draw each: milliseconds of the
processor, medians.
The density of a draw that the posterior itself gave, as in training, and of the same points given
from outside, as for a prior, an importance weight or another model's code.  The last column is the
step that training takes, a draw, its density, and both gradients.  Where it says "-" the family has
no such density in closed form, or draws without a path.  The rounds of all families take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

import minigrad as mg
import vae
from vae.flows import (
    Inverse,
    InverseAutoregressive,
    Planar,
    Radial,
    Sylvester,
    ToTransformed,
    couplings,
)
from vae.networks import ToNormal
from vae.posteriors import ToLowRankNormal, ToMixture, ToMultivariateNormal

N_H, N_Z, BATCH = 200, 50, 100
COLUMNS = ("draw", "density of the draw", "of given points", "training")


def heads(rng: np.random.Generator) -> dict[str, Callable]:
    """h (100, 200) -> q(z|x)."""
    def iaf() -> list[InverseAutoregressive]:
        return [InverseAutoregressive(N_Z, rng=rng, hidden=(200,), reverse=r)
                for r in (False, True)]
    flows = {"planar, 10": [Planar(N_Z, rng=rng) for _ in range(10)],
             "radial, 10": [Radial(N_Z, rng=rng) for _ in range(10)],
             "coupling, 2": couplings(N_Z, 2, rng=rng, hidden=(200,)),
             "IAF, 2": iaf(),
             "MAF, 2 (its inverse)": [Inverse(flow) for flow in iaf()],
             "Sylvester": [Sylvester(N_Z, rng=rng)]}
    makers = {"Normal": ToNormal, "full covariance": ToMultivariateNormal,
              "low rank, 5": partial(ToLowRankNormal, rank=5),
              "mixture of 5": partial(ToMixture, components=5),
              **{name: partial(ToTransformed, flows=each) for name, each in flows.items()}}
    return {name: make(N_H, N_Z, rng=rng) for name, make in makers.items()}


def timed(f: Callable) -> tuple[float, object]:
    began = time.process_time()
    try:
        found = f()
    except (NotImplementedError, vae.distributions.base.NoPath):
        return float("nan"), None
    return 1e3 * (time.process_time() - began), found


def once(head: Callable, h: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Milliseconds, one a column."""
    q = mg.nn.frozen(head)(h)
    draw, z = timed(lambda: q.sample(rng=rng))
    own, _ = timed(lambda: q.log_prob(z))
    given, _ = timed(lambda: q.log_prob(z + 0))
    fresh = head(h)

    def train() -> None:
        z = fresh.sample(rng=rng)
        (fresh.log_prob(z).sum() + z.sum()).backward()
    return [draw, own, given, timed(train)[0]]


def table(rounds: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Family -> medians, one a column."""
    rng = np.random.default_rng(seed)
    each, h = heads(rng), rng.standard_normal((BATCH, N_H), np.float32)
    found: dict[str, list] = {name: [] for name in each}
    for _ in range(rounds + 1):
        for name, head in each.items():
            found[name].append(once(head, h, rng))
    return {name: np.median(times[1:], axis=0) for name, times in found.items()}  # the first warms


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--rounds", type=int, default=30)
    print("| posterior | " + " | ".join(COLUMNS) + " |\n|---|" + "---:|" * len(COLUMNS))
    for name, times in table(p.parse_args().rounds).items():
        print(f"| {name} | " + " | ".join("-" if np.isnan(t) else f"{t:.2f}" for t in times) + " |")


if __name__ == "__main__":
    main()
