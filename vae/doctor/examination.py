"""What the checks judge by, computed once, block by block, without a graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn import frozen, named_parameters
from vae.data.checks import check_data
from vae.distributions import Bernoulli, Distribution, Normal, kl, kl_by_dimension
from vae.distributions.location_scale import LocationScale
from vae.distributions.normal import EXACT
from vae.doctor.findings import NotJudged
from vae.models import VAE

ROWS, BLOCK = 2000, 500  # data looked at, and how many at a time
FEWEST = 30  # data, to speak of how something varies between them


class Codes(NamedTuple):
    """q(z|x) of every datum; None where the distribution has no such thing.  In float64.

    mean, variance: (n, k), and those of the prior (k,).  kl: (n,), from draws unless `closed`.
    kl_by_dimension: (n, k).  far: share of log std that are beyond `normal.EXACT`.
    """

    family: type
    mean: ndarray | None
    variance: ndarray | None
    prior_mean: ndarray | None
    prior_variance: ndarray | None
    kl: ndarray
    closed: bool
    kl_by_dimension: ndarray | None
    far: float | None

    @property
    def active(self) -> ndarray:
        """Which dimensions' means vary by more than 0.01 of the prior's variance.

        The criterion of Burda et al. (2016), section 4, where the prior's variance is 1.
        """
        if self.mean is None or self.prior_variance is None:
            raise NotJudged(f"{self.family.__name__} or the prior has no mean and variance")
        enough(self.mean)
        return self.mean.var(axis=0) > 0.01 * self.prior_variance


class Outputs(NamedTuple):
    """p(x|z) at one draw z of each q(z|x).  In float64, nats.

    reconstruction: log p(x|z), (n,).  On the first `BLOCK` data only: `swapped`, by the code of
    another datum; `widened`, the ELBO with twice the std of a Normal q less that with its own.
    without_z: log p(x) where the pixels' means stand for the decoder's, (n,).
    """

    reconstruction: ndarray
    swapped: ndarray | None
    widened: ndarray | None
    without_z: ndarray | None


class Spreads(NamedTuple):
    """The decoder's std or scale: the least of each pixel over the data, (d,).

    log_density: of each pixel, mean over the data (d,), in nats.  far: as in `Codes`.
    """

    least: ndarray
    log_density: ndarray | None
    far: float | None


class Examination:
    """A model, at most `ROWS` data drawn from x, and what else is known; draws by its own seed."""

    def __init__(self, model: VAE, x: ndarray, *, validation: ndarray | None = None,
                 history: list[dict[str, Any]] | None = None, stopped: bool = False,
                 objective: Callable | None = None, seed: int = 0):
        check_data(x)
        if validation is not None:
            check_data(validation)
        self.trained, self.model, self.seed = model, frozen(model), seed
        self.all, self.x = x, some_rows(x, np.random.default_rng([seed, 0]))
        self.all_validation = validation
        self.history, self.stopped, self.objective = history, stopped, objective
        self.weights: dict[int, Any] = {}  # of the objective, by the number of data

    def rng(self, use: int) -> Generator:
        """A generator of its own for each use, so that no check depends on another."""
        return np.random.default_rng([self.seed, use])

    @cached_property
    def bad_parameters(self) -> dict[str, int]:
        """Names of parameters with values that are no finite numbers, and how many."""
        counts = {name: int(np.sum(~np.isfinite(p.data)))
                  for name, p in named_parameters(self.trained).items()}
        return {name: n for name, n in counts.items() if n}

    @cached_property
    def posteriors(self) -> list[Distribution]:
        """q(z|x) of each block of data."""
        return [self._finite(self.model.posterior, x) for x in blocks(self.x)]

    @cached_property
    def likelihood(self) -> Distribution:
        """p(x|z) of the first block, for its type and its support."""
        return self.decode(self.posteriors[0].sample(rng=self.rng(1)))

    def decode(self, z: Any) -> Distribution:
        """p(x|z); NotJudged where a network's output is not finite."""
        return self._finite(self.model.likelihood, z)

    def _finite(self, network: Callable, given: Any) -> Distribution:
        if self.bad_parameters:
            raise NotJudged("parameters are not finite")
        try:
            return network(given).constant()
        except ValueError as error:  # of a constructor, which is told what is no number
            if "finite" in str(error):
                raise NotJudged(f"outputs are not finite: {error}") from error
            raise

    @cached_property
    def codes(self) -> Codes:
        """q(z|x) of all data."""
        prior, rng = self.model.prior.constant(), self.rng(2)
        parts = [code_of(q, prior, rng) for q in self.posteriors]
        mean, variance, divergence, each, far = (joined(part) for part in zip(*(
            (p.mean, p.variance, p.kl, p.kl_by_dimension, p.far) for p in parts)))
        return parts[0]._replace(mean=mean, variance=variance, kl=divergence,
                                 kl_by_dimension=each, far=None if far is None else far.mean())

    @cached_property
    def outputs(self) -> Outputs:
        """p(x|z) of all data; NotJudged where some lie outside of its support."""
        if outside(self.likelihood, self.x).any():
            raise NotJudged("data lie outside of the decoder's range")
        rng, parts = self.rng(3), []
        for k, (x, q) in enumerate(zip(blocks(self.x), self.posteriors)):
            z = q.sample(rng=rng)
            p = self.decode(z)
            own = log_prob(p, x)
            parts.append((own, without_z(p, x, self.x)))
            if k == 0:
                swapped = (log_prob(self.decode(np.roll(z, 1, axis=0)), x) if len(x) > 1 else None)
                widened = self._widened(q, z, x, own)
        return Outputs(joined([own for own, _ in parts]), swapped, widened,
                       joined([trivial for _, trivial in parts]))

    def _widened(self, q: Distribution, z: Any, x: ndarray, own: ndarray) -> ndarray | None:
        """The gain in ELBO if a Normal q had twice its std, by the same noise."""
        if type(q) is not Normal:
            return None
        wide, prior = Normal(q.mean, 2 * q.std, event_ndim=q.event_ndim), self.model.prior
        try:
            cost = np.float64(kl(wide, prior.constant())) - kl(q, prior.constant())
        except TypeError:
            return None
        return log_prob(self.decode(2 * z - q.mean), x) - own - cost

    @cached_property
    def spreads(self) -> Spreads:
        """Of the decoder, which must be a density with a std or a scale."""
        p = self.likelihood
        if not isinstance(p, (Normal, LocationScale)):
            raise NotJudged(f"{type(p).__name__} is no density with a std or a scale")
        name = "std" if isinstance(p, Normal) else "scale"
        rng, least, density, far = self.rng(4), [], [], []
        inside = not outside(p, self.x).any()
        for x, q in zip(blocks(self.x), self.posteriors):
            p = self.decode(q.sample(rng=rng))
            least.append(flat(np.broadcast_to(getattr(p, name), p.shape)).min(axis=0))
            far.append(share_far(p))
            if inside:
                single = copy.copy(p)
                single.event_ndim = 0
                density.append(flat(single.log_prob(x)).mean(axis=0) * len(x) / len(self.x))
        return Spreads(np.min(least, axis=0), np.sum(density, axis=0) if density else None,
                       joined(far) if far[0] is None else float(np.mean(far)))


def some_rows(x: ndarray, rng: Generator) -> ndarray:
    """x, or `ROWS` rows of it, drawn, in their order."""
    return x if len(x) <= ROWS else x[np.sort(rng.choice(len(x), ROWS, replace=False))]


def enough(x: ndarray) -> None:
    """NotJudged for fewer than `FEWEST` data."""
    if len(x) < FEWEST:
        raise NotJudged(f"{len(x)} data, fewer than {FEWEST}")


def blocks(x: ndarray, size: int = BLOCK) -> list[ndarray]:
    return [x[i:i + size] for i in range(0, len(x), size)]


def joined(parts: Any) -> Any:
    """One array of the blocks' arrays or numbers; None where they have none."""
    return None if parts[0] is None else np.concatenate([np.atleast_1d(part) for part in parts])


def flat(x: Any) -> ndarray:
    """(n, …) -> (n, k), float64."""
    return np.asarray(x, np.float64).reshape(len(x), -1)


def log_prob(p: Distribution, x: Any) -> ndarray:
    """In float64; NotJudged where p says that it has none yet, as one with σ to be calibrated."""
    try:
        return np.asarray(p.log_prob(x), np.float64)
    except RuntimeError as error:
        raise NotJudged(str(error)) from error


def moments(q: Distribution) -> tuple[ndarray | None, ndarray | None]:
    """Mean and variance in float64 and of the whole shape, or None where there are none."""
    try:
        return tuple(np.asarray(np.broadcast_to(part, q.shape), np.float64)
                     for part in (q.mean, q.variance))
    except (AttributeError, NotImplementedError):
        return None, None


def code_of(q: Distribution, prior: Distribution, rng: Generator) -> Codes:
    """`Codes` of one block."""
    (mean, variance), (prior_mean, prior_variance) = moments(q), moments(prior)
    if mean is not None:
        mean, variance = flat(mean), flat(variance)
    if prior_mean is not None:
        prior_mean, prior_variance = (part.reshape(-1) for part in (prior_mean, prior_variance))
    try:
        divergence, closed = kl(q, prior), True
    except TypeError:  # no closed form
        z = q.sample(rng=rng)
        divergence, closed = log_prob(q, z) - prior.log_prob(z), False
    try:
        each = flat(kl_by_dimension(q, prior))
    except (TypeError, ValueError):  # dimensions that depend on each other
        each = None
    return Codes(type(q), mean, variance, prior_mean, prior_variance,
                 np.asarray(divergence, np.float64), closed, each, share_far(q))


def share_far(p: Distribution) -> float | None:
    """Share of the log std that `Normal` bends, |log std| > EXACT."""
    return float(np.mean(np.abs(p.log_std) > EXACT)) if isinstance(p, Normal) else None


def outside(p: Distribution, x: ndarray) -> ndarray:
    """Which elements p gives no density; of a Bernoulli, what is not within [0, 1]."""
    if isinstance(p, Bernoulli):
        return (x < 0) | (x > 1)
    return p.support.excludes(x[:p.shape[0]] if has_ends_by_row(p) else x)


def has_ends_by_row(p: Distribution) -> bool:
    """Whether the support depends on the parameters, as that of `Uniform` does."""
    return any(np.ndim(end) for end in vars(p.support).values())


def without_z(p: Distribution, x: ndarray, data: ndarray) -> ndarray | None:
    """log p of x where the mean of the data, pixel by pixel, is the mean of p."""
    mean = data.mean(axis=0, dtype=np.float64)
    if isinstance(p, Normal):
        return log_prob(Normal(mean, p.std.astype(np.float64), event_ndim=p.event_ndim), x)
    if isinstance(p, Bernoulli):
        mean = mean.reshape(-1)
        some = (mean > 0) & (mean < 1)  # the others show what they always do: log p = 0
        logits = np.where(some, np.log(mean / (1 - mean)), 0)
        return flat(x) @ logits + np.sum(np.log1p(-mean), where=some)
    return None
