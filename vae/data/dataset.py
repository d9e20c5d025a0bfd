"""What every data set is here: float32 images in [0, 1], channels last, split in train and test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


class DataError(ValueError):
    """Data that cannot be used as it is; the text says what was found and what was expected."""


def check_unit_interval(x: ArrayLike, what: str = "x") -> None:
    """Raise `DataError` (a `ValueError`) unless every element of `x` lies in [0, 1].

    A Bernoulli likelihood returns numbers for any `x`, and they mean nothing outside [0, 1].
    `what` names the array in the message. NaN and infinities are reported by number and place.
    """
    x = np.asarray(x)
    if x.size == 0:
        return
    low, high = x.min(), x.max()  # NaN propagates through both, so two passes check everything
    if low >= 0 and high <= 1:
        return
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = ~np.isfinite(x)
        first = tuple(int(i) for i in np.unravel_index(np.argmax(bad), x.shape))
        raise DataError(
            f"{what}: {bad.sum()} of {x.size} values are NaN or infinite, "
            f"the first at index {first}"
        )
    raise DataError(
        f"{what} has values from {low:g} to {high:g}; a Bernoulli likelihood needs [0, 1]. "
        "Divide by 255 if these are grey levels 0..255; "
        "for real-valued data use a Gaussian likelihood."
    )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one shape (H, W, C) in two sets, and how numbers on them may be compared.

    `train`, `test`: float32 in [0, 1], shapes (N, H, W, C) and (M, H, W, C); (28, 28, 1) for
    everything that this package loads itself. `train_labels`, `test_labels`: int64, shapes (N,)
    and (M,), or None. `protocol`: one line on the split, on what binarisation is baked in, and on
    the seed. Raises `DataError` for an empty set, for shapes that do not fit, NaN, and values
    outside [0, 1].
    """

    name: str
    train: Images
    test: Images
    train_labels: Labels | None = None
    test_labels: Labels | None = None
    protocol: str = "no protocol stated"

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            self._check(f"{self.name}: {split}", getattr(self, split))
            self._check_labels(split)
        if self.train.shape[1:] != self.test.shape[1:]:
            raise DataError(
                f"{self.name}: train has images of shape {self.train.shape[1:]}, "
                f"test of shape {self.test.shape[1:]}"
            )

    @staticmethod
    def _check(what: str, images: Images) -> None:
        if not isinstance(images, np.ndarray) or images.dtype != np.float32 or images.ndim != 4:
            found = f"{getattr(images, 'dtype', type(images).__name__)} {np.shape(images)}"
            raise DataError(
                f"{what} must be a float32 array (N, H, W, C), not {found}; "
                "from_arrays converts other arrays"
            )
        if images.size == 0:
            raise DataError(f"{what} is empty: shape {images.shape}")
        check_unit_interval(images, what)

    def _check_labels(self, split: str) -> None:
        images, labels = getattr(self, split), getattr(self, f"{split}_labels")
        if labels is None:
            return
        what = f"{self.name}: {split}_labels"
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
            found = f"{getattr(labels, 'dtype', type(labels).__name__)} {np.shape(labels)}"
            raise DataError(f"{what} must be an int64 array (N,), not {found}")
        if len(labels) != len(images):
            raise DataError(f"{what}: {len(labels)} labels for {len(images)} images")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return self.train.shape[1:]

    def take(self, n_train: int | None = None, n_test: int | None = None) -> Dataset:
        """A smaller set, in name and protocol too; None keeps a split whole.

        The rows are drawn by a fixed seed: some public files are sorted by class, and MNIST's rows
        alternate between two groups of writers, so that every tenth comes from one of them.
        """
        n_train = len(self.train) if n_train is None else n_train
        n_test = len(self.test) if n_test is None else n_test
        if (n_train, n_test) == (len(self.train), len(self.test)):
            return self
        train, test = _spread(n_train, len(self.train)), _spread(n_test, len(self.test))
        return replace(
            self,
            name=f"{self.name}, {n_train}+{n_test} images",
            train=self.train[train],
            test=self.test[test],
            train_labels=None if self.train_labels is None else self.train_labels[train],
            test_labels=None if self.test_labels is None else self.test_labels[test],
            protocol=f"{self.protocol}; a subset, {n_train} of {len(self.train)} training and "
            f"{n_test} of {len(self.test)} test images, drawn by a fixed seed",
        )


def _spread(n: int, total: int) -> NDArray[np.intp]:
    """`n` row numbers out of range(total), the same at each call, in order."""
    if not 0 < n <= total:
        raise DataError(f"cannot take {n} of {total} images")
    return np.sort(np.random.default_rng(0).choice(total, n, replace=False))


def as_images(x: ArrayLike, what: str, shape: tuple[int, ...] | None = None) -> Images:
    """`x` as float32 images (N, H, W, C) in [0, 1].

    uint8 is divided by 255; bool and floats are taken as they are. (N, 784) becomes
    (N, 28, 28, 1) and (N, H, W) becomes (N, H, W, 1); `shape`, (H, W) or (H, W, C), says how rows
    of another length are folded. Raises `DataError` for anything else.
    """
    x = np.asarray(x)
    if x.dtype != np.uint8 and x.dtype.kind not in "fb":
        raise DataError(
            f"{what} has dtype {x.dtype}; give uint8 grey levels 0..255 or floats in [0, 1]"
        )
    folded = _fold(x, what, shape)
    if x.dtype == np.uint8:
        return np.divide(folded, 255, dtype=np.float32)
    check_unit_interval(x, what)  # before the cast, which rounds 1 + 1e-9 to 1
    return np.ascontiguousarray(folded, dtype=np.float32)


def _fold(x: NDArray, what: str, shape: tuple[int, ...] | None) -> NDArray:
    """`x` in the shape (N, H, W, C)."""
    if shape is None and x.ndim == 2 and x.shape[1] == 784:
        shape = (28, 28)
    if shape is not None:
        height, width, *channels = shape
        event = (height, width, *(channels or [1]))
        if x.ndim < 2 or len(event) != 3 or np.prod(x.shape[1:]) != np.prod(event):
            raise DataError(f"{what} of shape {x.shape} cannot be folded into images {shape}")
        return x.reshape(len(x), *event)
    if x.ndim == 3:
        return x[..., None]
    if x.ndim != 4:
        raise DataError(
            f"{what} has shape {x.shape}; give (N, 784), (N, H, W) or (N, H, W, C), "
            "or say shape=(H, W) for flat rows of another size"
        )
    if x.shape[1] in (1, 3) and x.shape[2] == x.shape[3] > 4:
        raise DataError(
            f"{what} of shape {x.shape} looks channels-first; images here are (N, H, W, C): "
            "use np.moveaxis(x, 1, -1)"
        )
    return x


def from_arrays(
    train: ArrayLike,
    test: ArrayLike | None = None,
    *,
    name: str,
    train_labels: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    shape: tuple[int, ...] | None = None,
) -> Dataset:
    """A `Dataset` from your own arrays: uint8 (divided by 255) or floats in [0, 1].

    Accepted shapes: (N, 784), (N, H, W), (N, H, W, C), and flat rows of any length with `shape`
    given as (H, W) or (H, W, C). Without `test`, a tenth of `train` (at least one image), drawn
    by a fixed seed, is held out, and the protocol says so. Raises `DataError` for anything else.
    """
    train, labels = as_images(train, f"{name}: train", shape), _as_labels(train_labels, "train")
    if test is not None:
        return Dataset(
            name,
            train,
            as_images(test, f"{name}: test", shape),
            labels,
            _as_labels(test_labels, "test"),
            protocol="the caller's own split, values as given, not binarised",
        )
    if test_labels is not None:
        raise DataError(f"{name}: test_labels were given without test images")
    if len(train) < 2:
        raise DataError(f"{name}: train has shape {train.shape}; no test set can be held out of it")
    if labels is not None and len(labels) != len(train):
        raise DataError(f"{name}: train_labels: {len(labels)} labels for {len(train)} images")
    held = np.zeros(len(train), dtype=bool)
    held[_spread(max(1, len(train) // 10), len(train))] = True
    return Dataset(
        name,
        train[~held],
        train[held],
        None if labels is None else labels[~held],
        None if labels is None else labels[held],
        protocol=f"{held.sum()} of {len(train)} images, drawn by a fixed seed, held out as the "
        "test set; values as given, not binarised",
    )


def _as_labels(labels: ArrayLike | None, split: str) -> Labels | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise DataError(f"{split}_labels must be integers, not {labels.dtype}")
    return labels.astype(np.int64)
