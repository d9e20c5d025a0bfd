"""How long `mg.check_grads` takes for the bound of a dense VAE, to second order."""

from __future__ import annotations

import time

import numpy as np

import minigrad as mg
import vae


def main() -> None:
    rng = np.random.default_rng(0)
    model = vae.dense_vae(784, [256], 20, rng=rng)
    weights = tuple(p.data.astype(np.float64) for p in mg.nn.parameters(model))
    x = (rng.random((20, 784)) < 0.3).astype(np.float64)

    def bound(*weights: np.ndarray) -> np.ndarray:
        return vae.elbo(mg.nn.with_parameters(model, weights), x, rng=rng).value

    began = time.perf_counter()
    with mg.testing.frozen_noise(rng):
        print(mg.check_grads(bound, weights))
    print(f"{sum(w.size for w in weights):,} parameters, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
