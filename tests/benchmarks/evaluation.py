"""How long log p(x) of a dense VAE takes, and how much memory.

    python tests/benchmarks/evaluation.py [--images 1000] [--samples 5000]

prints the time of `vae.log_likelihood` for a model 784-200-200-50 with Bernoulli pixels, the time
of all processors together (which other programs on the machine disturb less), GFLOP/s of the
decoder's products, the peak memory of the process (`ru_maxrss`), and that before the call.
Weights are random: none of the figures depends on them.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings
from itertools import pairwise

import numpy as np

import vae

SIZES = 50, 200, 200, 784


def peak() -> float:
    """The largest resident size so far, in MB; Linux gives it in KB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--block", type=int, default=500)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    model = vae.dense_vae(784, (200, 200), 50, rng=rng)
    x = (rng.random((args.images, 784)) < 0.2).astype(np.float32)
    before, began, busy = peak(), time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vae.evaluation.LowEffectiveSampleSize)  # it is untrained
        vae.log_likelihood(model, x, samples=args.samples, block=args.block)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    products = 2 * args.images * args.samples * sum(a * b for a, b in pairwise(SIZES))
    print(f"log p(x) of {args.images} images, K = {args.samples}, block {args.block}: "
          f"{seconds:.1f} s ({busy:.0f} s of processors), {products / seconds / 1e9:.0f} GFLOP/s; "
          f"peak memory {peak():.0f} MB, {before:.0f} MB before")


if __name__ == "__main__":
    main()
