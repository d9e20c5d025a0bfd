"""Dataset, from_arrays and check_unit_interval: what they take, and what they say otherwise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vae.data import DataError, Dataset, check_unit_interval, from_arrays

GREY = np.random.default_rng(1).integers(0, 256, (30, 28, 28), dtype=np.uint8)


def images(n: int, *shape: int) -> np.ndarray:
    return np.zeros((n, *(shape or (28, 28, 1))), np.float32)


def test_a_dataset_is_frozen():
    dataset = Dataset("d", images(3), images(2))
    assert dataset.image_shape == (28, 28, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (images(0), images(2), r"d: train is empty: shape \(0, 28, 28, 1\)"),
        (images(2), images(3, 0, 28, 1), r"d: test is empty: shape \(3, 0, 28, 1\)"),
        (images(2), images(2, 28, 28), r"d: test must be .*not float32 \(2, 28, 28\); from_arrays"),
        (images(2).astype(float), images(2), r"d: train must be .*not float64 \(2, 28, 28, 1\)"),
        ([[0.0]], images(2), r"d: train must be .*not list \(1, 1\)"),
        (images(2), images(2, 28, 27, 1), r"shape \(28, 28, 1\), test of shape \(28, 27, 1\)"),
        (images(2) + 2, images(2), "d: train has values from 2 to 2; .* Divide by 255"),
    ],
)
def test_unusable_images(train, test, message):
    with pytest.raises(DataError, match=message):
        Dataset("d", train, test)


def test_nan_and_infinity_are_counted_and_located():
    test = images(4)
    test[2, 5, 7, 0] = np.nan
    test[3, 0, 1, 0] = -np.inf
    message = r"d: test: 2 of 3136 values are NaN or infinite, the first at index \(2, 5, 7, 0\)"
    with pytest.raises(DataError, match=message):
        Dataset("d", images(1), test)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4, np.int64), "d: test_labels: 4 labels for 5 images"),
        (np.zeros(5, np.int32), r"d: test_labels must be an int64 array \(N,\), not int32 \(5,\)"),
        (np.zeros((5, 1), np.int64), r"not int64 \(5, 1\)"),
        ([0] * 5, r"not list \(5,\)"),
    ],
)
def test_unusable_labels(labels, message):
    with pytest.raises(DataError, match=message):
        Dataset("d", images(2), images(5), None, labels)


def test_take_draws_distinct_rows_in_order_favours_no_residue_and_says_so():
    ramp = (np.arange(100, dtype=np.float32) / 100).reshape(100, 1, 1, 1)
    labels = np.arange(100)
    whole = Dataset("ramp", ramp, ramp, labels, None, protocol="as made")
    part = whole.take(10, 4)
    assert (np.diff(part.train_labels) > 0).all() and len(part.test) == 4
    np.testing.assert_array_equal(part.train, ramp[part.train_labels])
    np.testing.assert_array_equal(part.train_labels, whole.take(10, 4).train_labels)
    half = whole.take(50).train_labels  # MNIST's even and odd rows have different writers
    assert 15 <= (half % 2).sum() <= 35
    assert part.test_labels is None
    assert part.name == "ramp, 10+4 images"
    assert part.protocol == (
        "as made; a subset, 10 of 100 training and 4 of 100 test images, drawn by a fixed seed"
    )
    assert whole.take() is whole
    assert whole.take(100, 100) is whole
    assert len(whole.take(n_test=7).train) == 100
    assert len(np.unique(whole.take(99).train_labels)) == 99


@pytest.mark.parametrize("n", [0, -1, 4])
def test_take_of_what_is_not_there(n):
    with pytest.raises(DataError, match=f"cannot take {n} of 3 images"):
        Dataset("d", images(3), images(3)).take(n)


@pytest.mark.parametrize(
    "train",
    [
        GREY,
        GREY.reshape(30, 784),
        GREY[..., None],
        GREY / 255,
        (GREY / np.float32(255)).reshape(30, 784),
        (GREY / 255)[..., None].tolist(),
    ],
    ids=["uint8", "flat", "channel", "float64", "float32 flat", "list"],
)
def test_from_arrays_takes_the_usual_forms(train):
    dataset = from_arrays(train, train, name="mine")
    assert dataset.train.dtype == dataset.test.dtype == np.float32
    assert dataset.train.shape == (30, 28, 28, 1)
    np.testing.assert_allclose(dataset.train[..., 0], GREY / 255, rtol=1e-6)
    assert dataset.train.max() <= 1


def test_from_arrays_with_other_shapes():
    assert from_arrays(np.zeros((4, 9, 7)), name="m").train.shape[1:] == (9, 7, 1)
    assert from_arrays(np.zeros((4, 9, 7, 3)), name="m").train.shape[1:] == (9, 7, 3)
    assert from_arrays(np.zeros((4, 63)), name="m", shape=(9, 7)).train.shape[1:] == (9, 7, 1)
    flat = np.arange(4 * 12, dtype=np.uint8).reshape(4, 12)
    coloured = from_arrays(flat, flat, name="m", shape=(2, 2, 3)).train
    np.testing.assert_allclose(coloured * 255, flat.reshape(4, 2, 2, 3), rtol=1e-6)
    np.testing.assert_array_equal(
        from_arrays(np.eye(3, 784, dtype=bool), np.ones((1, 784)), name="m").train.sum((1, 2, 3)), 1
    )


def test_from_arrays_holds_out_a_tenth():
    labels = np.arange(30, dtype=np.int8)
    dataset = from_arrays(GREY, name="mine", train_labels=labels)
    assert (len(dataset.train), len(dataset.test)) == (27, 3)
    assert "3 of 30 images, drawn by a fixed seed, held out" in dataset.protocol
    assert dataset.train_labels.dtype == np.int64
    assert sorted([*dataset.train_labels, *dataset.test_labels]) == list(range(30))
    np.testing.assert_allclose(
        dataset.test[..., 0] * 255, GREY[dataset.test_labels], rtol=1e-6, atol=1e-6
    )
    assert len(from_arrays(GREY[:2], name="two").test) == 1


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (GREY.astype(int), {}, "mine: train has dtype int64; give uint8 grey levels"),
        (np.zeros((3, 784), complex), {}, "dtype complex128"),
        (GREY.astype(float), {}, "mine: train has values from 0 to 255; .*Divide by 255"),
        (np.zeros((3, 100)), {}, r"mine: train has shape \(3, 100\); .* say shape=\(H, W\)"),
        (np.zeros(784), {}, r"shape \(784,\); give \(N, 784\)"),
        (np.zeros((3, 100)), {"shape": (9, 9)}, r"\(3, 100\) cannot be folded into images \(9, 9"),
        (np.zeros((3, 100)), {"shape": (10, 10, 1, 1)}, "cannot be folded"),
        (np.zeros((3, 1, 28, 28)), {}, r"looks channels-first.* np.moveaxis\(x, 1, -1\)"),
        (GREY[:1], {}, "no test set can be held out"),
        (GREY, {"train_labels": np.zeros(29, int)}, "29 labels for 30 images"),
        (GREY, {"train_labels": np.zeros(30)}, "train_labels must be integers, not float64"),
        (GREY, {"test_labels": np.zeros(30, int)}, "test_labels were given without test images"),
        (np.full((2, 28, 28), 1 + 1e-9), {}, "values from 1 to 1"),
    ],
)
def test_from_arrays_rejects_the_rest(train, options, message):
    with pytest.raises(DataError, match=message):
        from_arrays(train, name="mine", **options)


def test_from_arrays_leaves_its_arguments_alone():
    before = GREY.copy()
    from_arrays(GREY, name="mine").train[:] = 0
    np.testing.assert_array_equal(GREY, before)


@pytest.mark.parametrize("x", [0.0, 1.0, np.zeros(0), np.array([[0.0, 1.0]], np.float32)])
def test_the_unit_interval_is_closed(x):
    check_unit_interval(x, "x")


@pytest.mark.parametrize("x", [[-1e-9, 0.5], [0.5, 1.0001]])
def test_outside_the_unit_interval(x):
    message = f"pixels has values from {min(x):g} to {max(x):g}; .*255.*Gaussian likelihood"
    with pytest.raises(ValueError, match=message):
        check_unit_interval(x, "pixels")
