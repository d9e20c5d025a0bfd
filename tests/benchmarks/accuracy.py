"""The error of finite differences against their step: `accuracy.py --out docs`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from minigrad.differences import EPS, RATIO, by_complex_step, slope

X = 0.7
STEPS = 2.0 ** -np.arange(2, 50)


def f(t: np.ndarray) -> np.ndarray:
    return np.atleast_1d(np.exp(np.sin(3 * (X + t))))


TRUE = float(3 * np.cos(3 * X) * np.exp(np.sin(3 * X)))


def central(h: float) -> float:
    return float((f(h) - f(-h))[0] / (2 * h))


def extrapolated(h: float) -> float:
    a, b, c = (central(h * RATIO**k) for k in range(3))
    once = [(fine - RATIO**2 * coarse) / (1 - RATIO**2) for coarse, fine in ((a, b), (b, c))]
    return (once[1] - RATIO**4 * once[0]) / (1 - RATIO**4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    out = parser.parse_args().out
    methods = {
        "one-sided, (f(h) - f(0))/h": lambda h: float((f(h) - f(0))[0] / h),
        "central, (f(h) - f(-h))/2h": central,
        "central, extrapolated twice": extrapolated,
        "complex step, Im f(ih)/h": lambda h: float(by_complex_step(f, h).value[0]),
    }
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    for name, method in methods.items():
        errors = [max(abs(method(h) / TRUE - 1), EPS / 4) for h in STEPS]  # 0 has no logarithm
        axes.loglog(STEPS, errors, "--" if "complex" in name else "-", label=name)
    chosen = slope(f, 1e-6)
    error, estimate = abs(float(chosen.value[0]) / TRUE - 1), float(chosen.error[0]) / abs(TRUE)
    axes.errorbar(chosen.step, error, yerr=[[0], [8 * estimate - error]], fmt="ko", capsize=3,
                  label="what check_grads takes,\nup to the error it allows for")
    axes.set(xlabel="step h", ylabel="relative error", ylim=(EPS / 8, 3),
             title="The derivative of exp(sin 3x) at x = 0.7")
    axes.legend(fontsize=8, loc="lower left")
    figure.savefig(out / "differences.png", dpi=110)
    print(f"check_grads: step {chosen.step[0]:.1e}, error {error:.1e}, "
          f"estimated {estimate:.1e}; wrote {out / 'differences.png'}")


if __name__ == "__main__":
    main()
