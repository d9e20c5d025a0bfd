"""Slopes of draws, and KL, here and in PyTorch: python tests/benchmarks/sampling_peers.py

Slopes are held against difference quotients of SciPy's quantiles (a draw of StudentT has that of a
gamma variate; for von Mises PyTorch has none), divergences against quadrature.  PyTorch runs in a
process of its own, `--peers PYTHON`: `PYTHON -m pip install torch==2.13.0 scipy`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import scipy.special as sc

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # of the project

import vae
from vae.distributions.implicit import log_gamma_slope, logit_beta_slope
from vae.distributions.kl import CLOSED_FORMS

RANGES = ((1e-3, 0.1), (0.1, 1.0), (1.0, 10.0), (10.0, 1e3), (1e3, 1e6))
POINTS, CASES, OFF = 1000, 40, 1e-8  # an error of OFF, relative to 1 or the value, is one
POWERS = {"Normal": ((-3, 3), (-3, 3)), "Exponential": ((-4, 4),), "Gamma": ((-1, 4), (-3, 3)),
          "Beta": ((-1, 4), (-1, 4)), "Uniform": ((-2, 2), (-2, 2)),
          "ContinuousBernoulli": ((-3, 3),), "Bernoulli": ((-3, 2.5),)}  # of ten, of parameters
NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
LOGIT = np.linspace(-35.75, 35.75, 144)[:, None] + NODES / 4  # panels from -36 to 36


def torch_run(given: str, results: str) -> None:
    import torch
    import torch.distributions as td

    def value(kind: str, xs: list) -> torch.Tensor:
        if kind == "gamma":
            return torch._standard_gamma_grad(*xs)
        if kind == "beta":  # 1 - x times that of one part of a Dirichlet variate
            return (1 - xs[2]) * torch._dirichlet_grad(xs[2], xs[0], xs[0] + xs[1])
        q, p = kind.split("‖")
        own = (q, xs[:len(POWERS[q])]), (p, xs[len(POWERS[q]):])
        return td.kl_divergence(*(  # of logits, not of probabilities
            getattr(td, name)(*[None] * ("Bernoulli" in name), *xs) for name, xs in own))

    found = {}
    for key, xs in np.load(given).items():
        with suppress(NotImplementedError):  # no closed form there
            found[key] = value(key.split(":")[0], list(torch.from_numpy(xs))).numpy()
    np.savez(results, **found)


def of_torch(python: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("given.npz", "found.npz")]
        np.savez(paths[0], **arrays)
        subprocess.run([python, __file__, "--one", *paths], check=True)
        return dict(np.load(paths[1]))


# -- slopes ---------------------------------------------------------------------------------------
def quotient(f: Callable, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f'(a) of five points, and its error, of steps where two in a row differ least."""
    found = np.array([(f(a - 2*h) - 8*f(a - h) + 8*f(a + h) - f(a + 2*h)) / (12 * h)
                      for h in (a * 2.0**-k for k in range(3, 11))])
    gaps = np.abs(np.diff(found, axis=0))
    best = np.take_along_axis(found, gaps.argmin(0)[None] + 1, 0)[0]
    return best, gaps.min(0) / np.abs(best)


def of_gamma(a: np.ndarray, u: np.ndarray) -> tuple:
    """a and z, the slope of z, the quotient, its error, and where z does not underflow."""
    log_z = lambda a: np.log(np.maximum(sc.gammaincinv(a, u), 1e-300))
    (exact, error), z = quotient(log_z, a), np.exp(log_z(a))
    return (a, z), z * log_gamma_slope(a, np.log(z)), z * exact, error, z > 1e-200


def of_beta(a: np.ndarray, u: np.ndarray) -> tuple:
    """The same of x, by a alone; where 1 - x does not round either."""
    b = np.random.default_rng(2).permutation(a)

    def logit(a: np.ndarray) -> np.ndarray:
        x, rest = (np.maximum(t, 1e-300) for t in (sc.betaincinv(a, b, u), sc.betainccinv(b, a, u)))
        return np.where(x < 0.5, sc.logit(np.minimum(x, 0.6)), -sc.logit(np.minimum(rest, 0.6)))

    (exact, error), y = quotient(logit, a), logit(a)
    x, by_y = sc.expit(y), sc.expit(y) * sc.expit(-y)
    return (a, b, x), by_y * logit_beta_slope(a, b, y), by_y * exact, error, (y > -460) & (y < 25)


def slopes(python: str) -> str:
    cases, rng = {}, np.random.default_rng(0)
    for name, case in (("gamma", of_gamma), ("beta", of_beta)):
        for low, high in RANGES:
            a = np.exp(rng.uniform(np.log(low), np.log(high), POINTS))
            points, *found, inside = case(a, rng.uniform(1e-3, 0.999, POINTS))
            inside &= found[-1] < 1e-7  # where the quotient itself is any good
            cases[f"{name}: {low:g} to {high:g}"] = [np.array(points)[:, inside],
                                                     *(x[inside] for x in found)]
    theirs = of_torch(python, {key: case[0] for key, case in cases.items()})
    lines = ["| draw: its shapes | draws | ours off | PyTorch off | the quotient's own error |",
             "|---|---:|---:|---:|---:|"]
    for key, (_, ours, exact, error) in cases.items():
        off, far = (np.max(np.abs(x / exact - 1)) for x in (ours, theirs[key]))
        lines.append(f"| {key} | {len(exact)} | {off:.0e} | {far:.0e} | {error.max():.0e} |")
    return "\n".join(lines)


# -- divergences ----------------------------------------------------------------------------------
def drawn(rng: np.random.Generator, name: str, is_q: bool) -> list[np.ndarray]:
    """One half moderate, the other extreme; a uniform q lies within [0, 1], p around it."""
    half = CASES // 2
    xs = [np.concatenate([np.exp(rng.uniform(-2, 2, half)), 10**rng.uniform(*r, half)])
          for r in POWERS[name]]
    if name == "Normal" or "Bernoulli" in name:
        xs[0] *= rng.choice([-1, 1], CASES)
    if name == "Uniform":
        (u, v), fits = rng.uniform(0.01, 0.5, (2, CASES)), rng.integers(0, 2, (2, CASES))
        return [u, u + v] if is_q else [-xs[0] * fits[0], 1 + xs[1] * fits[1]]
    return xs


def log_density(name: str, x: np.ndarray, rest: np.ndarray, *p: float) -> np.ndarray:
    """`rest` is 1 - x, with its digits."""
    if name == "Beta":
        return (p[0] - 1) * np.log(x) + (p[1] - 1) * np.log(rest) - sc.betaln(*p)
    if name == "ContinuousBernoulli":
        return -abs(p[0]) * (rest if p[0] > 0 else x) - np.log(-np.expm1(-abs(p[0])) / abs(p[0]))
    if name in ("Gamma", "Exponential"):
        a, rate = (1.0, *p)[-2:]
        return a * np.log(rate) + (a - 1) * np.log(x) - rate * x - sc.gammaln(a)
    if name == "Uniform":
        return np.full_like(x, -np.log(p[1] - p[0]))
    return -0.5 * ((x - p[0]) / p[1])**2 - np.log(p[1] * np.sqrt(2 * np.pi))


def quantile(name: str, q: tuple, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x with P(X ≤ x) = u = 1 - v, and 1 - x."""
    if name == "Beta":
        return sc.betaincinv(*q, u), sc.betaincinv(*q[::-1], v)
    if name == "ContinuousBernoulli":
        x = -np.log1p((v if q[0] > 0 else u) * np.expm1(-abs(q[0]))) / abs(q[0])
        return (1 - x, x) if q[0] > 0 else (x, 1 - x)
    if name == "Uniform":
        x = q[0] + u * (q[1] - q[0])
    elif name == "Normal":
        x = q[0] + q[1] * sc.ndtri(u)
    else:
        a, rate = (1.0, *q)[-2:]
        x = sc.gammaincinv(a, u) / rate
    return x, 1 - x


def integrated(q_name: str, p_name: str, q: tuple, p: tuple) -> float:
    """∫ log q(x(u))/p(x(u)) du over logit u, x(u) the quantile of q: all of q is seen."""
    if q_name == "Bernoulli":
        return sum(sc.expit(s * q[0]) * (sc.log_expit(s * q[0]) - sc.log_expit(s * p[0]))
                   for s in (-1, 1))
    u, v = sc.expit(LOGIT), sc.expit(-LOGIT)
    at = quantile(q_name, q, *np.minimum((u, v), 1 - 1e-16))
    return np.sum(WEIGHTS / 4 * u * v * (log_density(q_name, *at, *q)
                                         - log_density(p_name, *at, *p)))


def divergences(python: str) -> str:
    rng, given, ours, exact = np.random.default_rng(0), {}, {}, {}
    for types, entry in CLOSED_FORMS.items():
        names = [t.__name__ for t in types]
        if not entry.infinite and set(names) <= set(POWERS):
            q, p = drawn(rng, names[0], True), drawn(rng, names[1], False)
            key = "‖".join(names)
            given[key] = np.array([*q, *p])
            ours[key] = vae.kl(*(t(*xs, event_ndim=0) for t, xs in zip(types, (q, p))))
            exact[key] = np.array([integrated(*names, a, b) for a, b in zip(zip(*q), zip(*p))])
    rows, same = [], []
    for key, theirs in of_torch(python, given).items():
        xs = exact[key], ours[key], theirs
        far = [np.abs(x - xs[0]) / np.maximum(1, xs[0]) for x in xs[1:]]
        bad, i = [np.sum(~(e < OFF)) for e in far], far[1].argmax()  # NaN is bad as well
        at = ", ".join(f"{x:.4g}" for x in given[key][:, i])
        row = [key, CASES, *bad, at, *(f"{x[i]:.6g}" for x in xs)]
        (rows if any(bad) else same).append(row)
    head = [["KL", "cases", "ours off", "PyTorch off", "PyTorch's worst: parameters", "quadrature",
             "ours", "PyTorch"], ["---", *3 * ["---:"], "---", *3 * ["---:"]]]
    lines = [f"| {' | '.join(map(str, row))} |" for row in head + rows]
    return "\n".join([*lines, "", "Both always right: " + ", ".join(row[0] for row in same) + "."])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", default=sys.executable, help="the Python that has PyTorch")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    if (args := parser.parse_args()).one:
        torch_run(*args.one)
    else:
        print(slopes(args.peers), divergences(args.peers), sep="\n\n")
