"""What is asked of any model that `mnist.py --model` and `zoo.py` train: bound, pictures, doctor.

Where a family of models has no such thing, the answer is None, or says why.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

import vae
from minigrad import archive
from minigrad.nn import frozen, parameters, save
from vae.data import Binarization
from vae.models import (
    PCA,
    VQVAE,
    Autoencoder,
    ConditionalVAE,
    CountedCodes,
    reconstruction_only,
    vq_objective,
)
from vae.models.auxiliary import AuxiliaryVAE

CLASSES, BATCH, DRAWS = 10, 500, 16
NETWORK = frozenset({"hidden", "latent", "activation", "init", "no_start"})
TRAINING = frozenset({"epochs", "batch_size", "lr", "valid", "patience", "checkpoint", "resume"})
EVALUATION = frozenset({"nll_samples", "nll_images"})
WEIGHTS = frozenset({"beta", "warmup"})


@dataclass(frozen=True)
class Plan:
    """What a model is built from.

    size: of an image.  train: grey images (n, pixels).  network: rng, activation, start, and the
    initialisers where others are asked for, as `vae.dense_vae` takes them.  prepare: of a batch.
    """

    size: tuple[int, int]
    hidden: list[int]
    latent: int
    train: ndarray
    rng: Generator
    network: dict[str, Any]
    prepare: Callable[..., ndarray]

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def init(self) -> dict[str, Any]:
        """What a single layer is made with."""
        return {k: v for k, v in self.network.items() if k in ("rng", "weight", "bias")}


@dataclass(frozen=True)
class Family:
    """A name of `--model`: how it is built, what it maximises, and how it is looked at.

    objective: (options, steps an epoch) -> what `vae.fit` maximises; None: `build` fits it.
    bound: what it is evaluated with.  options: those of the program that apply.  defaults: where
    they are others than those of the dense VAE.  grey: the likelihood is one of grey values.
    draws: E[x|x'] is a mean over draws of q(z|x'), where the mean of q is unknown or no code.
    plane: the code is a point of a plane with p(z) = N(0, I), where there are two dimensions.
    widths: how many numbers --hidden takes; None: any.
    """

    about: str
    build: Callable[[Plan], Any]
    objective: Callable[[Namespace, int], Callable] | None
    bound: Callable | None = vae.elbo
    options: frozenset[str] = NETWORK | TRAINING | EVALUATION | WEIGHTS | {"draws"}
    defaults: Mapping[str, Any] = field(default_factory=dict)
    grey: bool = False
    draws: bool = False
    plane: bool = False
    widths: int | None = None

    is_bound = True  # or log p(x|code)
    note = ""  # what keeps its numbers from being compared
    why_no_doctor = ""

    def rows(self, x: ndarray, labels: ndarray | None) -> ndarray:
        """What the model takes for x, of images (n, pixels)."""
        return x

    def pixels(self, x: ndarray) -> ndarray:
        """The images of these rows."""
        return x

    def told(self) -> str:
        """The note, and that of a likelihood of grey values."""
        return "a density of grey values" if self.grey else self.note

    # -- training ---------------------------------------------------------------------------------
    def on_step(self, model: Any, train: ndarray, prepare: Callable, rng: Generator
                ) -> Callable[[int, int, float], None] | None:
        """What is done beside the gradient's steps."""
        return None

    def finish(self, model: Any, train: ndarray) -> None:
        """What is done when training has ended, with the training set."""

    def save(self, path: Path, model: Any) -> None:
        save(path, model)

    def size(self, model: Any) -> int:
        """How many numbers are learned by gradients."""
        return sum(p.size for p in parameters(model))

    # -- numbers ----------------------------------------------------------------------------------
    def reconstruct(self, model: Any, x: ndarray) -> ndarray:
        """E[x|z] (n, pixels) at the mean of q(z|x), or its mean over draws of q(z|x)."""
        again = _drawn_again if self.draws else lambda one, batch: one.reconstruct(batch)
        fixed = frozen(model)
        return np.concatenate([again(fixed, batch) for batch in _batches(x)])

    def error(self, model: Any, x: ndarray) -> float:
        """The squared error of a pixel, mean over the images."""
        return float(np.mean(np.square(self.pixels(x) - self.reconstruct(model, x),
                                       dtype=np.float64)))

    def active(self, model: Any, x: ndarray) -> int | None:
        """How many dimensions of the code, or categorical variables, move with the data."""
        if self.draws or not isinstance(model.prior, vae.Normal):
            return int(active_by_prior(model, x).sum())
        return vae.active_units(model, x).count

    def more(self, model: Any, x: ndarray) -> dict[str, Any]:
        """Other numbers that a family has."""
        return {}

    # -- pictures and the doctor ------------------------------------------------------------------
    def sample(self, model: Any, n: int, *, rng: Generator) -> ndarray | None:
        """Means E[x|z], z from the prior: (n, pixels)."""
        return frozen(model).sample(n, rng=rng)

    def diagnose(self, model: Any, x: ndarray, **options: Any) -> vae.Diagnosis | None:
        """As `vae.diagnose`; None: see `why_no_doctor`."""
        return vae.diagnose(model, x, **options)


@dataclass(frozen=True)
class Made:
    """A model and its data, as rows that it takes for x."""

    family: Family
    model: Any
    protocol: Binarization
    train: ndarray
    valid: ndarray
    test: ndarray
    rng: Generator

    @property
    def n_parameters(self) -> int:
        return self.family.size(self.model)


def _batches(x: ndarray) -> Iterator[ndarray]:
    return (x[i:i + BATCH] for i in range(0, len(x), BATCH))


def _drawn_again(model: Any, x: ndarray) -> ndarray:
    z = model.posterior(x).sample((DRAWS,), rng=np.random.default_rng(0))
    return model.likelihood(z).mean.mean(0)


def active_by_prior(model: Any, x: ndarray) -> ndarray:
    """Of each number or variable of the code, whether Var_x(E[z_j|x]) > 0.01·Var_p(z_j), by draws.

    So it is `vae.active_units` for a prior of any variance and a q without a known mean.  The last
    of more than one axis of a code, that of categories, is summed over: variables are judged.
    """
    rng = np.random.default_rng(0)
    variance = vae.active_units(model, x, draws=64, rng=rng).variance
    if variance.ndim > 1:  # frequencies have variances below 1 as they are
        return variance.sum(-1) > 0.01
    return variance > 0.01 * frozen(model).prior.sample((2000,), rng=rng).var(0, dtype=np.float64)


# -- families that are asked in another way -------------------------------------------------------
@dataclass(frozen=True)
class Conditional(Family):
    """Rows are pixels and a one-hot label: all numbers are of log p(x|y)."""

    note = "given the class: log p(x|y)"

    def rows(self, x: ndarray, labels: ndarray | None) -> ndarray:
        if labels is None:
            raise ValueError("--model conditional needs labels, which these data don't have: take "
                             "--binarize dynamic")
        return np.concatenate([x, np.eye(CLASSES, dtype=x.dtype)[labels]], axis=1)

    def pixels(self, x: ndarray) -> ndarray:
        return x[:, :-CLASSES]

    def sample(self, model: ConditionalVAE, n: int, *, rng: Generator) -> ndarray:
        """Of the classes by turns."""
        return frozen(model).sample(np.arange(n) % CLASSES, rng=rng)

    def diagnose(self, model: ConditionalVAE, x: ndarray, *, validation: ndarray,
                 **options: Any) -> vae.Diagnosis:
        """For one class after the other, whose model is an ordinary VAE of its images."""
        found: dict[str, vae.Finding] = {}
        checked: dict[str, None] = {}
        missing: dict[str, str] = {}
        rows = 0
        for label in range(CLASSES):
            own, other = (part[part[:, label - CLASSES] == 1, :-CLASSES]
                          for part in (x, validation))
            if not len(own):
                continue
            one = vae.diagnose(model.given(label), own,
                               validation=other if len(other) else None, **options)
            for finding in one:
                evidence = f"class {label}: {finding.evidence}"
                found.setdefault(finding.name, vae.Finding(
                    finding.name, finding.severity, evidence, finding.cure, finding.numbers))
            checked |= dict.fromkeys(one.checked)
            missing |= one.not_judged
            rows += one.rows
        return vae.Diagnosis(list(found.values()), checked=list(checked), rows=rows,
                             not_judged={k: v for k, v in missing.items() if k not in checked})


@dataclass(frozen=True)
class Auxiliary(Family):
    """A code is [z, u], of which u is a helper and no part of the model of x."""

    def active(self, model: AuxiliaryVAE, x: ndarray) -> int:
        return int(active_by_prior(model, x)[:model.n_z].sum())


def uniform_bound(model: VQVAE, x: Any, *, rng: Generator) -> vae.Weighted:
    """log p(x|z_q) - positions·log n_codes, whatever prior the model has been given since."""
    return vq_objective(VQVAE(model.encoder, model.codebook, model.decoder), x, rng=rng)


@dataclass(frozen=True)
class Quantised(Family):
    """The code is of whole numbers; log p(x|z_q) + log p(codes) is a bound on log p(x)."""

    bound: Callable | None = uniform_bound
    options: frozenset[str] = TRAINING | {"activation", "init", "no_start"}
    defaults: Mapping[str, Any] = field(default_factory=lambda: {"hidden": None, "latent": None})

    note = "one code for certain; all codes equally probable"
    why_no_doctor = "a VQ-VAE's q(z|x) is certain of one code, and the doctor judges distributions"

    def on_step(self, model: VQVAE, train: ndarray, prepare: Callable, rng: Generator
                ) -> Callable[[int, int, float], None]:
        """After an epoch's first step vectors that no code of 500 images takes are moved: so the
        last epoch's are trained for an epoch, and a run that is resumed comes to the same bits.
        """
        def revive(epoch: int, step: int, bound: float) -> None:
            if epoch > 1 and step == 0:
                some = train[rng.choice(len(train), min(BATCH, len(train)), replace=False)]
                model.revive(prepare(some, rng=rng), rng=rng)
        return revive

    def finish(self, model: VQVAE, train: ndarray) -> None:
        """The prior is that of the training codes' frequencies, place by place."""
        model.prior = CountedCodes.of(model.encode(train), model.codebook.n_codes)

    def active(self, model: VQVAE, x: ndarray) -> None:
        return None

    def more(self, model: VQVAE, x: ndarray) -> dict[str, Any]:
        usage = model.usage(x)
        counted = vae.evaluate(model, x, objective=vq_objective)["elbo"]
        return {"codes": model.codebook.n_codes, "codes_used": usage.used,
                "codes_perplexity": usage.perplexity, "test_elbo_counted_prior": counted}

    def diagnose(self, model: VQVAE, x: ndarray, **options: Any) -> None:
        return None


@dataclass(frozen=True)
class Pointwise(Family):
    """An autoencoder: the code is a point, there is no p(z), and no bound on log p(x)."""

    bound: Callable | None = reconstruction_only
    options: frozenset[str] = NETWORK | TRAINING

    is_bound = False
    note = "no bound on log p(x)"
    why_no_doctor = "an autoencoder has no q(z|x) and no p(z), and the doctor judges distributions"

    def active(self, model: Autoencoder, x: ndarray) -> None:
        return None

    def sample(self, model: Autoencoder, n: int, *, rng: Generator) -> None:
        return None

    def diagnose(self, model: Autoencoder, x: ndarray, **options: Any) -> None:
        return None


@dataclass(frozen=True)
class Principal(Pointwise):
    """PCA, which is fitted at once; samples are of its probabilistic form."""

    bound: Callable | None = None
    options: frozenset[str] = frozenset({"latent"})
    defaults: Mapping[str, Any] = field(default_factory=lambda: {"hidden": None, "epochs": 0})

    note = "no likelihood of binary pixels"
    why_no_doctor = "PCA has no q(z|x) that was trained, and the doctor judges training"

    def save(self, path: Path, model: PCA) -> None:
        archive.write(path, {name: np.asarray(value) for name, value in vars(model).items()})

    def size(self, model: PCA) -> int:
        """The mean and the components, which no gradient found."""
        return model.mean.size + model.components.size

    def sample(self, model: PCA, n: int, *, rng: Generator) -> ndarray:
        """E[x|z] with z ~ N(0, I): of variance λ - σ² along the components (Tipping and Bishop
        1999, equation 7).
        """
        std = np.sqrt(np.maximum(model.explained_variance - model.noise_variance, 0))
        z = rng.standard_normal((n, len(std))) * std
        return model.decode(z.astype(model.mean.dtype))
