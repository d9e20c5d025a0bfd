"""The conditional variational autoencoder of Sohn, Lee and Yan (2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.nn.initialisers import Initialiser, glorot_uniform, zeros
from minigrad.tensor import untraced
from vae.distributions import Distribution, Normal
from vae.models.fitting import require_fit
from vae.models.gaussian import VAE, interval
from vae.networks import Beside, Head, ToBernoulli, ToNormal, dense


class ConditionalVAE(VAE):
    """p(x, z|y) = p(z) p(x|z, y) and q(z|x, y): codes z of what the label y doesn't say about x.

    Sohn et al. (2015), with the prior p(z) for every y, as in Kingma et al. (2014), equation 2.

    x and y go together, as rows [x, y] of `rows(x, labels)`: those are what `vae.fit`,
    `vae.evaluate`, `vae.log_likelihood` and every bound take for x, and what they tell is about
    log p(x|y).  Drawing pixels as coins (`data.binarize.draw`) leaves one-hot labels as they are.

    encoder: rows [x, y] (…, n_x + n_y) -> q(z|x, y).  decoder: [z, y] (…, n_z + n_y) -> p(x|z, y).
    n_y: how many of the last numbers of a row are the label.
    """

    def __init__(self, encoder: Callable[[Any], Distribution],
                 decoder: Callable[[Any], Distribution],
                 prior: Distribution | Callable[[], Distribution], n_y: int):
        if n_y < 1:
            raise ValueError(f"ConditionalVAE(n_y={n_y}): a label has at least one number")
        self.n_y = n_y
        super().__init__(encoder, decoder, prior)

    def _require_fit(self) -> None:
        y = np.zeros((1, self.n_y), np.float32)
        require_fit(lambda x: self.posterior(np.concatenate([x, y], axis=-1)),
                    lambda z: self.likelihood(z).given(y), self.prior)

    def rows(self, x: Any, labels: Any) -> Any:
        """Rows [x, y] (n, n_x + n_y), with the dtype of x; labels as of `label_rows`."""
        if np.ndim(x) != 2 or x.dtype.kind != "f":
            raise ValueError(f"ConditionalVAE.rows: x has shape {np.shape(x)} and dtype "
                             f"{getattr(x, 'dtype', type(x).__name__)}; floats (n, n_x) are "
                             "expected")
        y = label_rows(labels, self.n_y, dtype=x.dtype)
        if len(y) != len(x):
            raise ValueError(f"ConditionalVAE.rows: {len(x)} data and {len(y)} labels; one label "
                             "for each is expected")
        return np.concatenate([x, y], axis=1)

    def given(self, label: int | ndarray) -> VAE:
        """p(x, z|y) of one label y, (n_y,) or a class: a VAE of x alone, with the same parameters.

        So whatever is asked of a VAE can be asked of the images of one class.
        """
        y, = label_rows(np.asarray(label)[None], self.n_y, dtype=self.prior.dtype)
        return VAE(Beside(self.encoder, y), Beside(self.decoder, y), self.given_prior)

    def likelihood(self, z: Any) -> LabelledLikelihood:  # type: ignore[override]
        """p(x|z, y), with the label left open; its `log_prob` takes rows [x, y]."""
        return LabelledLikelihood(self.decoder, z, self.n_y)

    def sample(self, labels: Any, *, rng: Generator) -> Any:  # type: ignore[override]
        """Means E[x|z, y] for the labels y, each with a draw z of the prior of its own."""
        prior = self.prior.constant()
        y = label_rows(labels, self.n_y, dtype=prior.dtype)
        return self.likelihood(prior.sample((len(y),), rng=rng)).given(y).mean

    def reconstruct(self, x: Any, labels: Any = None) -> Any:
        """E[x|z, y] at the centre of q(z|x, y), of rows [x, y].

        labels: others for the decoder than those of the rows: the same code as another label.
        """
        y = (x[..., -self.n_y:] if labels is None
             else label_rows(labels, self.n_y, dtype=untraced(x).dtype))
        return self.likelihood(self.posterior(x).centre).given(y).mean

    def predict_interval(self, x: Any = None, k: float = 3, *, z: Any = None) -> tuple[Any, Any]:
        """As of `VAE`, of rows [x, y]; for a code take `likelihood(z).given(y)`."""
        if z is not None or x is None:
            raise TypeError("ConditionalVAE.predict_interval: give rows [x, y]; of a code z its "
                            "label would be missing: take model.likelihood(z).given(y)")
        return interval(self.likelihood(self.posterior(x).centre).given(x[..., -self.n_y:]), k)


class LabelledLikelihood:
    """p(x|z, y) of codes z for whichever label y: (…, n_z) with labels (n, n_y)."""

    def __init__(self, decoder: Callable[[Any], Distribution], z: Any, n_y: int):
        self.decoder, self.z, self.n_y = decoder, z, n_y

    def given(self, y: Any) -> Distribution:
        """p(x|z, y) for labels y (…, n_y), the same for all draws of z before their axes."""
        if y.shape[-1:] != (self.n_y,):
            raise ValueError(f"labels of shape {y.shape}: the last axis must have {self.n_y} "
                             "numbers")
        return Beside(self.decoder, y)(self.z)

    def log_prob(self, x: Any) -> Any:
        """log p(x|z, y) of rows [x, y], per datum, in nats."""
        return self.given(x[..., -self.n_y:]).log_prob(x[..., :-self.n_y])

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"p(x|z, y) of a ConditionalVAE has no {name} but for a label: "
                             f"likelihood(z).given(y).{name}; for samples of a class "
                             "model.sample(labels, rng=rng)")


def label_rows(labels: Any, n_y: int, *, dtype: Any = np.float32) -> ndarray:
    """Labels as rows (n, n_y): whole numbers (n,) as one-hot, floats (n, n_y) as they are.

    Raises ValueError for labels outside of the classes 0 … n_y - 1, and for other shapes.
    """
    labels = np.asarray(labels)
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        outside = (labels < 0) | (labels >= n_y)
        if outside.any():
            i = int(np.argmax(outside))
            raise ValueError(f"{int(outside.sum())} of {len(labels)} labels are outside the "
                             f"classes, the first is {labels[i]} at [{i}]: whole numbers 0 … "
                             f"{n_y - 1} are expected, n_y={n_y}")
        return np.eye(n_y, dtype=dtype)[labels]
    if labels.ndim == 2 and labels.shape[1] == n_y and labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError("labels with values that are NaN or infinite")
        return labels.astype(dtype)
    raise ValueError(f"labels of shape {labels.shape} and dtype {labels.dtype}: whole numbers (n,) "
                     f"from 0 to {n_y - 1}, or floats (n, {n_y}), are expected")


def conditional_vae(n_x: int, n_y: int, hidden: Sequence[int], n_z: int, *, rng: Generator,
                    activation: Callable = np.tanh, weight: Initialiser = glorot_uniform,
                    bias: Initialiser = zeros, start: ndarray | None = None,
                    likelihood: Callable[..., Head] = ToBernoulli) -> ConditionalVAE:
    """`vae.dense_vae` with a label of n_y numbers beside x and beside z; the same arguments."""
    if isinstance(hidden, int):
        raise TypeError(f"conditional_vae(hidden={hidden}): give the sizes of the layers, "
                        f"({hidden},)")
    network = {"activation": activation, "rng": rng, "weight": weight, "bias": bias}
    encoder = dense([n_x + n_y, *hidden, n_z], ToNormal, **network)
    decoder = dense([n_z + n_y, *reversed(hidden), n_x], likelihood, **network)
    if start is not None:
        decoder.layers[-1].start_at(start)
    return ConditionalVAE(encoder, decoder, Normal.standard(n_z), n_y)
