"""A VAE as an estimator of scikit-learn: `VAEModel`.  scikit-learn itself is not imported here."""

from __future__ import annotations

import inspect
import operator
import sys
import warnings
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad import nn
from minigrad.optim import Adam
from vae import noise
from vae.estimators import iwae
from vae.likelihoods import ToBernoulli, ToContinuousBernoulli, ToLearnedGaussian
from vae.models import VAE, dense_vae
from vae.progress import Progress
from vae.training import fit

LIKELIHOODS = {
    "bernoulli": ToBernoulli,
    "continuous-bernoulli": ToContinuousBernoulli,
    "gaussian": partial(ToLearnedGaussian, one_per="pixel"),
    "gaussian-datum": partial(ToLearnedGaussian, one_per="datum"),
}
ROWS = 5_000  # that are decoded at a time
LARGEST = float(np.finfo(np.float32).max)


class NotFittedError(ValueError, AttributeError):
    """A method was called that needs `fit` first; where scikit-learn is loaded, its error too."""


def not_fitted(message: str) -> NotFittedError:
    """The error, of scikit-learn's class as well if somebody has imported that."""
    theirs = sys.modules.get("sklearn.exceptions")
    if theirs is None:
        return NotFittedError(message)
    both = type("NotFittedError", (NotFittedError, theirs.NotFittedError),
                {"__reduce__": lambda self: (not_fitted, self.args)})
    return both(message)


class VAEModel:
    """A variational autoencoder with dense layers, as an estimator of scikit-learn.

    `transform` gives the means of q(z|x), `inverse_transform` E[x|z], `score_samples` an estimate
    of log p(x) in nats a row, `sample` draws of p(x).  X is (n, features), any real numbers without
    NaN; results are float32 where X is, else float64.

    Parameters
    ----------
    hidden: units of the encoder's layers; the decoder has them in reverse.
    n_components: dimensions of z.
    likelihood: p(x|z).  "gaussian": features are standardised inside, and each has one learned σ,
        at least 1/255 of its standard deviation, so that one that is constant has a density with a
        bound; "gaussian-datum": σ is a function of z.  "continuous-bernoulli": X in [0, 1].
        "bernoulli": X of 0 and 1.  "auto": "bernoulli" if all of X is 0 or 1, else "gaussian".
    epochs, batch_size, learning_rate: of Adam on the ELBO.
    draws: K of the importance-weighted estimate of log p(x).
    random_state: an int, a Generator or a RandomState, which are copied and not advanced, so that
        each fit is the same; None: each fit is another.
    verbose: whether a line is printed each epoch.

    Attributes
    ----------
    model_: the `vae.VAE`, on (X - mean_)/scale_.  history_: of `vae.fit`, a row an epoch.
    likelihood_: its name.  mean_, scale_: (features,), of X; 0 and 1 but for a Gaussian.
    seed_: what all noise is drawn from.  n_features_in_; feature_names_in_, where X had names.
    """

    def __init__(self, hidden: Sequence[int] = (128,), n_components: int = 2, *,
                 likelihood: str = "auto", epochs: int = 100, batch_size: int = 100,
                 learning_rate: float = 1e-3, draws: int = 100, random_state: Any = None,
                 verbose: bool = False):
        self.hidden = hidden
        self.n_components = n_components
        self.likelihood = likelihood
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.draws = draws
        self.random_state = random_state
        self.verbose = verbose

    # -- parameters -------------------------------------------------------------------------------
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> VAEModel:
        """Change arguments of the constructor; raises ValueError for unknown ones."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid "
                                 f"parameters are: {list(known)}.")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = [f"{name}={value!r}" for name, value in self.get_params().items()
                   if repr(value) != repr(defaults[name].default)]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn (1.6 and later) asks; nobody else does."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags
        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False),
                    transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
                    input_tags=InputTags())

    # -- fitting ----------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any = None) -> VAEModel:
        """Train on the rows of X; y is not used.  Ctrl-C keeps what is trained, and is raised."""
        self._check_params()
        x, names = as_numbers(X, "X", at_least=2), names_of(X)
        likelihood = self.likelihood
        if likelihood == "auto":
            likelihood = "bernoulli" if np.isin(x, (0, 1)).all() else "gaussian"
        check_range(x, likelihood)
        mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
        if likelihood.startswith("gaussian"):
            mean, std = x.mean(axis=0), x.std(axis=0)
            scale = np.where((np.ptp(x, axis=0) > 0) & (std > 0), std, 1.0)
        x = scaled(x, mean, scale)
        seed = seed_of(self.random_state)
        rng = np.random.default_rng(seed)
        model = dense_vae(x.shape[1], tuple(self.hidden), self.n_components, rng=rng,
                          start=x.mean(axis=0), likelihood=LIKELIHOODS[likelihood])
        batch = min(self.batch_size, len(x))
        progress = self.verbose and Progress(self.epochs, -(-len(x) // batch), batch, len(x))
        history = fit(model, x, epochs=self.epochs, batch_size=batch, rng=rng,
                      optimizer=Adam(nn.parameters(model), lr=self.learning_rate),
                      on_step=progress.step if progress else None,
                      on_epoch=progress.epoch if progress else None)
        if progress:
            progress.close()
        self.model_, self.history_, self.likelihood_ = model, history, likelihood
        self.mean_, self.scale_, self.seed_ = mean, scale, seed
        self.n_features_in_ = x.shape[1]
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of a fit before
        if history.interrupted:
            raise KeyboardInterrupt
        return self

    def fit_transform(self, X: Any, y: Any = None) -> ndarray:
        """`fit(X).transform(X)`."""
        return self.fit(X).transform(X)

    def _check_params(self) -> None:
        sizes = {"n_components": self.n_components, "batch_size": self.batch_size,
                 "draws": self.draws, "epochs": self.epochs}
        if isinstance(self.hidden, str) or not np.iterable(self.hidden):
            raise ValueError(f"hidden={self.hidden!r}: give the sizes of the layers, such as "
                             "(128,)")
        sizes |= {f"hidden[{i}]": n for i, n in enumerate(self.hidden)}
        for name, value in sizes.items():
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name}={value!r}: a whole number from 1 is expected")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"learning_rate={self.learning_rate!r}: a positive number is expected")
        if self.likelihood not in ("auto", *LIKELIHOODS):
            raise ValueError(f"likelihood={self.likelihood!r}: one of "
                             f"{', '.join(['auto', *LIKELIHOODS])} is expected")

    # -- what a fitted model gives ----------------------------------------------------------------
    def transform(self, X: Any) -> ndarray:
        """Means of q(z|x): (n, n_components)."""
        x, model = self._standardised(X), self._fitted()
        found = [model.posterior(x[i:i + ROWS]).mean for i in range(0, len(x), ROWS)]
        return np.concatenate(found).astype(kept_dtype(X))

    def inverse_transform(self, Z: Any) -> ndarray:
        """E[x|z]: (n, features), in the units of X."""
        model = self._fitted()
        z = as_numbers(Z, "Z")
        self._check_width(z, "Z", self._n_z)
        found = [model.likelihood(z[i:i + ROWS]).mean for i in range(0, len(z), ROWS)]
        return (np.concatenate(found) * self.scale_ + self.mean_).astype(kept_dtype(Z))

    def score_samples(self, X: Any) -> ndarray:
        """Estimates of log p(x) in nats, (n,), in the units of X.

            log 1/K Σ p(x, z)/q(z|x) - Σ log scale_,  K = draws of q(z|x)

        Burda et al. (2016), equation 8: a lower bound in expectation.  The noise is that of seed_
        and of the row itself: a row has the same score whichever rows are beside it.
        """
        x, model, values = self._standardised(X), self._fitted(), []
        check_range(x, self.likelihood_)
        step = max(1, ROWS // self.draws)
        for i in range(0, len(x), step):
            rows = x[i:i + step]
            eps = np.stack([own_noise(row, self.seed_, (self.draws, self._n_z))
                            for row in rows], axis=1)
            with noise.replay(noise.Noise([noise.Draw("normal", eps)])):
                values.append(iwae(model, rows, rng=None, samples=self.draws).value)
        return np.concatenate(values) - np.log(self.scale_).sum()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: nats a row, higher is better."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> ndarray:
        """Draws x of p(x), (n_samples, features), the noise of the likelihood included.

        random_state: None draws the same ones at each call, by seed_.
        """
        model = self._fitted()
        if not isinstance(n_samples, (int, np.integer)) or n_samples < 1:
            raise ValueError(f"n_samples={n_samples!r}: a whole number from 1 is expected")
        rng = np.random.default_rng([self.seed_, 1] if random_state is None
                                    else seed_of(random_state))
        z = model.prior.sample((n_samples,), rng=rng)
        return model.likelihood(z).sample(rng=rng) * self.scale_ + self.mean_

    def get_feature_names_out(self, input_features: Any = None) -> ndarray:
        """Names of the columns that `transform` gives: vaemodel0, vaemodel1, …."""
        self._fitted()
        if input_features is not None and len(input_features) != self.n_features_in_:
            raise ValueError("input_features should have length equal to number of features "
                             f"({self.n_features_in_}), got {len(input_features)}")
        names = getattr(self, "feature_names_in_", input_features)
        if input_features is not None and not np.array_equal(names, input_features):
            raise ValueError("input_features is not equal to feature_names_in_")
        name = type(self).__name__.lower()
        return np.array([f"{name}{i}" for i in range(self._n_z)], object)

    @property
    def _n_z(self) -> int:
        return self.model_.prior.shape[-1]

    def _fitted(self) -> VAE:
        """The model in float64, without a graph: a row's result is not its neighbours' rounding."""
        if not hasattr(self, "model_"):
            raise not_fitted(f"This {type(self).__name__} instance is not fitted yet. Call 'fit' "
                             "with appropriate arguments before using this estimator.")
        weights = [p.data.astype(np.float64) for p in nn.parameters(self.model_)]
        return nn.with_parameters(self.model_, weights)

    def _standardised(self, X: Any) -> ndarray:
        """X as the model has it, float64 that float32 holds; raises where it is not like fit's."""
        self._fitted()
        check_names(self, X)
        x = as_numbers(X, "X")
        self._check_width(x, "X", self.n_features_in_)
        return scaled(x, self.mean_, self.scale_).astype(np.float64)

    def _check_width(self, x: ndarray, name: str, width: int) -> None:
        if x.shape[1] != width:
            raise ValueError(f"{name} has {x.shape[1]} features, but {type(self).__name__} is "
                             f"expecting {width} features as input.")


# -- what is given ----------------------------------------------------------------------------
def as_numbers(X: Any, name: str, at_least: int = 1) -> ndarray:
    """X as float64 (n, features); raises TypeError and ValueError in scikit-learn's words."""
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError(f"Sparse data was passed for {name}, but dense data is required. Use "
                        "'.toarray()' to convert to a dense numpy array.")
    x = X.astype(float).filled(np.nan) if isinstance(X, np.ma.MaskedArray) else np.asarray(X)
    if x.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {x.dtype}")
    if x.dtype.kind not in "biufO":
        raise ValueError(f"{name} has dtype {x.dtype}: numbers are expected")
    x = x.astype(np.float64)
    if x.ndim != 2:
        raise ValueError(f"Expected 2D array, got {x.ndim}D array instead: {name} has shape "
                         f"{x.shape}. Reshape your data either using array.reshape(-1, 1) if your "
                         "data has a single feature or array.reshape(1, -1) if it contains a "
                         "single sample.")
    for what, size, needed in (("sample", len(x), at_least), ("feature", x.shape[1], 1)):
        if size < needed:
            raise ValueError(f"Found array with {size} {what}(s) (shape={x.shape}) while a "
                             f"minimum of {needed} is required by VAEModel.")
    if np.isnan(x).any():
        raise ValueError(f"Input {name} contains NaN. VAEModel does not accept missing values: "
                         "leave out such rows, or fill them in (sklearn.impute)")
    if np.abs(x).max() > LARGEST:
        raise ValueError(f"Input {name} contains infinity or a value too large for "
                         "dtype('float32').")
    return x


def scaled(x: ndarray, mean: ndarray, scale: ndarray) -> ndarray:
    """(x - mean)/scale as float32; -0 is 0.  Raises ValueError where that holds it not."""
    with np.errstate(over="ignore"):
        x = ((x - mean) / scale).astype(np.float32) + np.float32(0)
    if not np.isfinite(x).all():
        raise ValueError("X is farther from the data of fit than float32 can tell")
    return x


def check_range(x: ndarray, likelihood: str) -> None:
    """Raise ValueError for values that the likelihood gives no probability."""
    if likelihood == "bernoulli" and not np.isin(x, (0, 1)).all():
        raise ValueError("likelihood='bernoulli' is over 0 and 1, and X has other values: for grey "
                         "ones in [0, 1] take 'continuous-bernoulli', or make X binary; for others "
                         "'gaussian'")
    if likelihood == "continuous-bernoulli" and (x.min() < 0 or x.max() > 1):
        raise ValueError(f"likelihood='continuous-bernoulli' is over [0, 1], and X is from "
                         f"{x.min():g} to {x.max():g}: divide grey levels by 255, else take "
                         "'gaussian'")


def kept_dtype(X: Any) -> type:
    """float32 for float32, else float64."""
    return np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64


def names_of(X: Any) -> ndarray | None:
    """The names of a data frame's columns, if they are strings; raises TypeError for a mixture."""
    names = getattr(X, "columns", None)
    types = sorted({type(n).__name__ for n in names}) if names is not None else []
    if "str" in types and len(types) > 1:
        raise TypeError("Feature names are only supported if all input features have string "
                        f"names, but your input has {types} as feature name / column name types.")
    return np.array(list(names), object) if types == ["str"] else None


def check_names(model: VAEModel, X: Any) -> None:
    """The columns must have the names that they had in fit: raises ValueError, or warns."""
    fitted, names = getattr(model, "feature_names_in_", None), names_of(X)
    who = type(model).__name__
    if names is None or fitted is None:
        if names is not None:
            warnings.warn(f"X has feature names, but {who} was fitted without feature names",
                          stacklevel=4)
        if fitted is not None:
            warnings.warn(f"X does not have valid feature names, but {who} was fitted with "
                          "feature names", stacklevel=4)
        return
    if np.array_equal(names, fitted):
        return
    message = "The feature names should match those that were passed during fit.\n"
    for what, some in (("Feature names unseen at fit time", set(names) - set(fitted)),
                       ("Feature names seen at fit time, yet now missing",
                        set(fitted) - set(names))):
        if some:
            message += f"{what}:\n" + "".join(f"- {n}\n" for n in sorted(some)[:5])
            message += "- ...\n" if len(some) > 5 else ""
    if set(names) == set(fitted):
        message += "Feature names must be in the same order as they were in fit.\n"
    raise ValueError(message)


# -- noise ------------------------------------------------------------------------------------
def seed_of(random_state: Any) -> int:
    """A whole number from an int, a Generator or a RandomState, which stay as they are; or None."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**62))
    if isinstance(random_state, Generator):
        return int(deepcopy(random_state).integers(2**62))
    if hasattr(random_state, "randint"):  # a RandomState
        return int(deepcopy(random_state).randint(2**31 - 1))
    try:
        seed = operator.index(random_state)
    except TypeError:
        seed = -1
    if seed < 0:
        raise ValueError(f"random_state={random_state!r}: an int from 0, a Generator, a "
                         "RandomState or None is expected")
    return seed


def own_noise(row: ndarray, seed: int, shape: tuple[int, ...]) -> ndarray:
    """Standard normal numbers that are a function of the row and the seed alone."""
    key = blake2b(row.astype(np.float32).tobytes(), digest_size=16).digest()
    rng = np.random.default_rng([seed, int.from_bytes(key, "little")])
    return rng.standard_normal(shape)
