"""What repeated estimates of a gradient say, with error bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.special import ndtri

GROUPS = 20  # of repetitions: error bars are from the spread between them
CHANCE = 1e-3  # that an unbiased estimator is flagged, for one parameter


@dataclass(frozen=True)
class Row:
    """One estimator and one parameter, summed over the parameter's elements.

    bias: ‖E g - exact‖; bias_noise: what it would be by chance alone; bias_z: the largest of the
    elements' biases in standard errors.  variance: Σ Var g.  snr: ‖E g‖/√variance, where E g is
    the exact gradient, or, of an estimator that is biased, the mean.  seconds: for one estimate.
    mean, standard_error, exact: by element.
    """

    estimator: str
    parameter: str
    mean: ndarray
    standard_error: ndarray
    exact: ndarray
    bias: float
    bias_noise: float
    bias_z: float
    biased: bool
    known_as_biased: bool
    variance: float
    variance_error: float
    snr: float
    snr_error: float
    seconds: float

    @property
    def cost(self) -> float:
        """Variance times seconds: what a gradient of a given precision takes."""
        return self.variance * self.seconds


@dataclass(frozen=True)
class Comparison:
    """The rows of a comparison; `print` it, or `vae.figures.estimators(path, comparison)`."""

    rows: list[Row]
    repetitions: int
    reference: str  # where the exact gradient is from

    def __getitem__(self, key: tuple[str, str]) -> Row:
        """The row of (estimator, parameter)."""
        for row in self.rows:
            if (row.estimator, row.parameter) == key:
                return row
        raise KeyError(f"{key}; there are {[(r.estimator, r.parameter) for r in self.rows]}")

    def __str__(self) -> str:
        width = max(len("estimator"), *(len(row.estimator) for row in self.rows))
        lines = []
        for parameter in dict.fromkeys(row.parameter for row in self.rows):
            lines += [f"gradient by {parameter}, {self.repetitions} repetitions",
                      f"{'estimator':{width}}  {'bias':>9} {'by chance':>9}    "
                      f"{'variance':>9} {'±':>8}  {'snr':>8} {'±':>7}  {'µs':>7}  var·µs"]
            for r in self.rows:
                if r.parameter == parameter:
                    flag = "*" if r.biased else " "
                    lines.append(
                        f"{r.estimator:{width}}  {r.bias:9.2e} {r.bias_noise:9.2e} {flag}  "
                        f"{r.variance:9.3e} {r.variance_error:8.1e}  {r.snr:8.3g} "
                        f"{r.snr_error:7.1g}  {1e6 * r.seconds:7.2f}  {1e6 * r.cost:.2e}")
            lines.append("")
        lines.append(f"exact gradient: {self.reference}. bias: ‖mean - exact‖, and what chance "
                     f"alone would give; * biased (by chance once in {1 / CHANCE:.0f}).\n"
                     "variance: summed over the elements. snr: ‖exact‖/√variance (of biased ones "
                     "‖mean‖/√variance).")
        return "\n".join(lines)


def rows_of(name: str, gradients: dict[str, ndarray], seconds: float, exact: dict[str, ndarray],
            noise_of_exact: dict[str, ndarray] | None, *, known_as_biased: bool) -> list[Row]:
    """A row for each parameter; gradients: (repetitions, …) of each."""
    return [_row(name, parameter, g.astype(np.float64), seconds, np.asarray(exact[parameter]),
                 0.0 if noise_of_exact is None else noise_of_exact[parameter], known_as_biased)
            for parameter, g in gradients.items()]


def _row(name: str, parameter: str, g: ndarray, seconds: float, exact: ndarray,
         noise_of_exact: Any, known_as_biased: bool) -> Row:
    mean = exact + (g - exact).mean(axis=0)  # of many equal numbers the sum alone would be rounded
    spread = g.std(axis=0)
    error = np.sqrt(spread**2 / len(g) + noise_of_exact**2)
    rounding = 1e-12 * np.maximum(np.abs(exact), np.abs(mean).max(initial=0))
    z = np.abs(mean - exact) / np.maximum(error, rounding + np.finfo(float).tiny)
    worst = float(z.max(initial=0))
    biased = bool(worst > -ndtri(CHANCE / (2 * max(z.size, 1))))
    signal = None if biased or known_as_biased else exact
    groups = [_variance_and_snr(part, signal) for part in np.array_split(g, GROUPS)]
    variance, snr = _variance_and_snr(g, signal)
    variance_error, snr_error = (np.std(part, ddof=1) / np.sqrt(GROUPS) if np.isfinite(part).all()
                                 else 0.0 for part in np.transpose(groups))
    return Row(name, parameter, mean, error, exact,
               bias=float(np.sqrt(np.sum((mean - exact)**2))),
               bias_noise=float(np.sqrt(np.sum(error**2))), bias_z=worst,
               biased=biased, known_as_biased=known_as_biased,
               variance=variance, variance_error=float(variance_error), snr=snr,
               snr_error=float(snr_error), seconds=seconds)


def _variance_and_snr(g: ndarray, signal: ndarray | None) -> tuple[float, float]:
    variance = float(np.sum(g.var(axis=0)))
    signal = float(np.sqrt(np.sum((g.mean(axis=0) if signal is None else signal)**2)))
    if variance == 0:
        return 0.0, np.inf if signal else 0.0
    return variance, signal / np.sqrt(variance)
