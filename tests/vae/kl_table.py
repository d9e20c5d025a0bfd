"""Writes docs/kl.md: the closed forms of KL, and the largest error that was found in each.

    python -m tests.vae.kl_table
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tests.vae.certificates import FINITE, TOLERANCE, certificate
from vae.distributions.kl import CLOSED_FORMS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "kl.md"
SOURCES = ROOT / "vae" / "distributions" / "kl"
DRAWS = 20
HEADER = "| q‖p | KL | finite | source | value | gradient | second derivative |"

INTRODUCTION = f"""# Divergences

`vae.kl(q, p)` = E_q[log q(x) - log p(x)], in nats, summed over the event; +∞, with a gradient of 0,
where q has mass in a place where p has none. Below, the first two columns are what is computed up
to rearrangement: where it can the program sums terms that are 0 or more each, elsewhere it cuts the
sum off at 0. So no divergence is negative; a value errs by about ε (6e-8 in float32, 1e-16 in
float64) times the largest term, which is more than ε times the divergence where terms cancel, as
between large concentrations that are nearly equal. Of distributions of independent numbers the
formula is that of one number.

The last three columns are the largest errors found in {DRAWS} drawn pairs of parameters, of the
value, of the gradient and of the matrix of second derivatives by all parameters of both, relative
to 1 or the entry, whichever is larger. The exact numbers are the integral ∫ q (log q - log p) by
quadrature (of counts and classes the sum), from densities that the tests write once more, and its
derivatives. The tests demand {TOLERANCE:g}. Written by `python -m tests.vae.kl_table`.
"""

ENDLESS = """
## Infinite whatever the parameters

| q‖p | because |
|---|---|
"""

ELSEWHERE = """
## Others

`vae.kl` raises TypeError for them and names the pairs near by. `vae.kl_upper_bound(q, p)` is above
the divergence where q or p, or both, are mixtures whose components have a closed form.
`vae.kl_estimate(q, p, samples=..., rng=rng)` is a Monte Carlo estimate with its standard error.

## Sources

Banerjee, Merugu, Dhillon and Ghosh (2005), Clustering with Bregman divergences.
Gil, Alajaji and Linder (2013), Rényi divergence measures for commonly used univariate continuous
distributions.
Kingma and Welling (2014), Auto-encoding variational Bayes.
Leone, Nelson and Nottingham (1961), The folded normal distribution.
Mardia and Jupp (2000), Directional statistics.
Penny (2001), Kullback-Leibler divergences of normal, gamma, Dirichlet and Wishart densities.
"""


def name(pair: tuple[type, type]) -> str:
    return f"{pair[0].__name__}‖{pair[1].__name__}"


def fingerprint() -> str:
    """Of the formulas: another one says that the errors were measured of others."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.py")))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def about(pair: tuple[type, type]) -> str:
    """The row of the table up to its errors."""
    entry = CLOSED_FORMS[pair]
    formula = entry.formula.replace("|", "\\|")
    return f"| {name(pair)} | {formula} | {entry.domain} | {entry.source} |"


def largest_errors(pair: tuple[type, type], draws: int = DRAWS) -> list[float]:
    rng, exact = np.random.default_rng(0), certificate(*pair)
    return np.max([exact.errors(exact.at(rng.random(len(exact.ranges)))) for _ in range(draws)],
                  axis=0).tolist()


def rows() -> list[str]:
    return [" ".join([about(pair), *(f"{error:.0e} |" for error in largest_errors(pair))])
            for pair in FINITE]


def infinite_rows() -> list[str]:
    return [f"| {name(pair)} | {entry.source} |" for pair, entry in CLOSED_FORMS.items()
            if entry.infinite]


def page() -> str:
    table = "\n".join([HEADER, "|---|---|---|---|---|---|---|", *rows()])
    return (f"{INTRODUCTION}\n{table}\n{ENDLESS}" + "\n".join(infinite_rows()) + f"\n{ELSEWHERE}"
            f"\nFormulas {fingerprint()}.\n")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
