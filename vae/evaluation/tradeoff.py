"""Rate and distortion: what a code costs, and what it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.nn import frozen
from vae.data.checks import check_data
from vae.evaluation.means import mean_and_error
from vae.models import VAE
from vae.objectives import elbo


def rate_distortion(models: Mapping[float, VAE] | Iterable[tuple[float, VAE]], x: ndarray, *,
                    repeats: int = 1, seed: int = 0, batch_size: int = 500
                    ) -> list[dict[str, Any]]:
    """A row for each model: rate R = E KL(q(z|x)‖p(z)), distortion D = -E log p(x|z), ELBO.

    In nats a datum, means over x, by β ascending; -ELBO = D + R.  Of the models that reach one sum
    the β of the objective -D - βR picks the point on the curve, whose slope is dD/dR = -β: Alemi et
    al. (2018), "Fixing a broken ELBO", section 3.

    models: {β: model}, or pairs, which may be trained as they are asked for:
    `((beta, train(beta)) for beta in (0.5, 1, 2))`.  Each is given the same noise, `repeats` draws
    of z a datum.  `rate_se`, `distortion_se`, `elbo_se`: standard errors of the means over x.
    """
    check_data(x)
    if repeats < 1:
        raise ValueError(f"repeats={repeats}: at least one draw of z for each datum")
    pairs = models.items() if isinstance(models, Mapping) else models
    table = []
    for beta, model in pairs:
        bound, reconstruction, rate = _means_over_noise(frozen(model), x, repeats, seed, batch_size)
        row: dict[str, Any] = {"beta": float(beta)}
        for name, each in (("rate", rate), ("distortion", -reconstruction), ("elbo", bound)):
            value, error = mean_and_error(each)
            row |= {name: float(value), f"{name}_se": float(error)}
        table.append({**row, "n": len(x)})
    return sorted(table, key=lambda row: row["beta"])


def _means_over_noise(model: VAE, x: ndarray, repeats: int, seed: int, batch_size: int) -> ndarray:
    """ELBO, reconstruction and KL of each datum: (3, n), float64."""
    rng, total = np.random.default_rng(seed), np.zeros((3, len(x)))
    for _ in range(repeats):
        for i in range(0, len(x), batch_size):
            parts = elbo(model, x[i:i + batch_size], rng=rng)[:3]
            total[:, i:i + batch_size] += np.stack(parts).astype(np.float64)
    return total / repeats
