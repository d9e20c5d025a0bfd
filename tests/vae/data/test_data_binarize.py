"""The three protocols of binarisation."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from scipy.stats import binom, norm

from vae.data import DataError, binarization, binarize, embedded, from_arrays, load_mnist
from vae.data.binarize import draw

N_TRAIN, N_TEST = 12, 5


@pytest.fixture(scope="module")
def digits():
    return embedded(200, 50, seed=1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- drawing


def test_frequencies_are_the_grey_values():
    """Two-sided binomial tests of all 256 grey levels, Bonferroni-corrected to 1e-6."""
    p = (np.arange(256) / 255).astype(np.float32)
    n = 20000
    ones = draw(np.broadcast_to(p, (n, 256)), rng=rng()).sum(axis=0)
    tail = np.minimum(binom.cdf(ones, n, p), binom.sf(ones - 1, n, p))
    assert tail.min() > 1e-6 / 512
    assert (ones[0], ones[255]) == (0, n)


def test_the_smallest_uniform_number_gives_no_ink_where_there_is_none():
    class AlwaysZero:
        def random(self, shape, dtype):
            return np.zeros(shape, dtype)

    x = np.array([0, 1e-6, 1], np.float32)
    assert draw(x, rng=AlwaysZero()).tolist() == [0, 1, 1]


def test_pixels_are_independent():
    x = draw(np.full((20000, 6), 0.3, np.float32), rng=rng())
    correlation = np.corrcoef(x, rowvar=False)[np.triu_indices(6, 1)]
    assert np.abs(correlation * np.sqrt(20000)).max() < norm.isf(1e-7)


@pytest.mark.parametrize("shape", [(3, 784), (3, 28, 28, 1), (7,), (0, 4)])
def test_a_draw_is_float32_of_the_same_shape_and_leaves_x_alone(shape):
    x = rng(1).random(shape, dtype=np.float32)
    before = x.copy()
    drawn = draw(x, rng=rng())
    assert drawn.dtype == np.float32
    assert drawn.shape == shape
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [(255.0, "values from 0 to 255"), (-0.1, "from -0.1 to 0"), (np.nan, "1 of 8 values are NaN")],
)
def test_values_that_are_no_probabilities(digits, bad, message):
    x = np.zeros((2, 4), np.float32)
    x[1, 1] = bad
    with pytest.raises(ValueError, match=message):
        binarization("dynamic", digits).batch(x, rng=rng())


# --- dynamic and none


def test_dynamic_draws_each_batch_anew_and_the_evaluation_once(digits):
    protocol = binarization("dynamic", digits, seed=5)
    assert (protocol.name, protocol.measure) == ("dynamic", "log-likelihood")
    assert protocol.data is digits
    generator = rng()
    one, two = (protocol.batch(digits.train, rng=generator) for _ in range(2))
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, protocol.batch(digits.train, rng=rng()))

    evaluated = protocol.evaluation(digits.test)
    other_seed = binarization("dynamic", digits, seed=6)
    np.testing.assert_array_equal(evaluated, other_seed.evaluation(digits.test))
    np.testing.assert_array_equal(evaluated[:7], protocol.evaluation(digits.test[:7]))
    assert set(np.unique(evaluated)) == {0.0, 1.0}


def test_the_evaluation_draw_is_pinned(digits):
    bits = binarization("dynamic", digits).evaluation(np.full((1, 16), 0.5, np.float32))
    assert "".join(str(int(bit)) for bit in bits[0]) == "0101001010110010"


def test_none_is_a_cross_entropy(digits):
    protocol = binarization("none", digits)
    assert protocol.measure == "cross-entropy"
    assert protocol.name.startswith("none")
    assert protocol.batch(digits.train, rng=rng()) is digits.train
    assert protocol.evaluation(digits.test) is digits.test


def test_none_on_binary_pixels_is_a_likelihood():
    bits = rng().random((9, 784)) < 0.2
    assert binarization("none", from_arrays(bits, name="bits")).measure == "log-likelihood"


def test_an_unknown_protocol(digits):
    with pytest.raises(ValueError, match='"dynamic", "static" or "none", not \'fixed\''):
        binarization("fixed", digits)


# --- static, drawn once


def test_static_is_drawn_once_by_its_seed(digits):
    one, two, other = (binarization("static", digits, seed=s) for s in (3, 3, 4))
    assert one.measure == "log-likelihood"
    for text in (one.name, one.data.name, one.data.protocol):
        assert "drawn once, seed 3" in text
    assert digits.protocol in one.data.protocol
    np.testing.assert_array_equal(one.data.train, two.data.train)
    assert not np.array_equal(one.data.train, other.data.train)
    assert set(np.unique(one.data.test)) == {0.0, 1.0}
    assert one.data.train_labels is digits.train_labels
    # Nothing is drawn again afterwards.
    assert one.batch(one.data.train, rng=rng()) is one.data.train
    assert one.evaluation(one.data.test) is one.data.test
    # It is a draw from the grey values: the mean of 156800 independent bits.
    sigma = np.sqrt(np.mean(digits.train * (1 - digits.train)) / digits.train.size)
    assert abs(one.data.train.mean() - digits.train.mean()) < 5 * sigma


# --- static, Larochelle's


@pytest.fixture
def fixed(monkeypatch):
    """Small stand-ins for Larochelle's rows, whose SHA-1 pass for the genuine ones."""
    sizes = {"train": N_TRAIN, "valid": 4, "test": N_TEST}
    rows = {k: (rng(9).random((n, 784)) < 0.2).astype(np.uint8) for k, n in sizes.items()}
    for split in ("train", "test"):
        digest = hashlib.sha1(rows[split].tobytes()).hexdigest()
        monkeypatch.setitem(binarize.LAROCHELLE, split, (sizes[split], digest))
    return rows


@pytest.fixture
def mnist():
    grey = rng(2).integers(0, 256, (20, 784), dtype=np.uint8)
    return from_arrays(grey, grey[:10], name="MNIST")


def write_npz(folder, rows) -> None:
    packed = {split: np.packbits(bits, axis=1) for split, bits in rows.items()}
    np.savez_compressed(folder / "binarized_mnist_static.npz", **packed)


def write_text(folder, rows) -> None:
    for split, bits in rows.items():
        np.savetxt(folder / f"binarized_mnist_{split}.amat", bits, fmt="%d")


@pytest.mark.parametrize("write", [write_npz, write_text])
def test_the_fixed_file_is_found_and_verified(write, tmp_path, fixed, mnist):
    write(tmp_path, fixed)
    protocol = binarization("static", mnist, folder=tmp_path)
    assert protocol.name == "static, Larochelle's binarisation"
    assert protocol.measure == "log-likelihood"
    data = protocol.data
    assert data.name == "MNIST, Larochelle's static binarisation"
    assert "validation rows left out; no labels" in data.protocol
    assert "SHA-1 verified" in data.protocol
    assert data.train_labels is data.test_labels is None
    np.testing.assert_array_equal(data.train, fixed["train"].reshape(-1, 28, 28, 1))
    np.testing.assert_array_equal(data.test, fixed["test"].reshape(-1, 28, 28, 1))


def test_the_environment_names_the_folder_of_the_fixed_file(tmp_path, fixed, mnist, monkeypatch):
    write_npz(tmp_path, fixed)
    monkeypatch.setenv("MINIGRAD_DATA", str(tmp_path))
    assert "Larochelle" in binarization("static", mnist).name


@pytest.mark.parametrize("write", [write_npz, write_text])
def test_other_bits_are_named_unverified(write, tmp_path, fixed, mnist):
    fixed["test"][0, 0] ^= 1
    write(tmp_path, fixed)
    protocol = binarization("static", mnist, folder=tmp_path)
    assert protocol.name == "static, Larochelle's binarisation, unverified"
    assert "unverified: SHA-1 differs" in protocol.data.protocol


def test_the_fixed_file_is_for_mnist_only(tmp_path, fixed, digits):
    write_npz(tmp_path, fixed)
    assert "drawn once" in binarization("static", digits, folder=tmp_path).name


def test_a_part_of_mnist_gets_a_part_of_the_fixed_file(tmp_path, fixed, mnist):
    write_npz(tmp_path, fixed)
    protocol = binarization("static", mnist.take(6, 3), folder=tmp_path)
    assert (len(protocol.data.train), len(protocol.data.test)) == (6, 3)
    rows = {row.tobytes() for row in fixed["train"].astype(np.float32).reshape(-1, 784)}
    taken = {row.tobytes() for row in protocol.data.train.reshape(6, 784)}
    assert len(taken) == 6 and taken <= rows
    assert "6 of 12 training and 3 of 5 test images" in protocol.data.protocol


def test_without_the_fixed_file_mnist_is_drawn_once(tmp_path, mnist):
    assert binarization("static", mnist, folder=tmp_path, seed=8).name == (
        "static, drawn once, seed 8"
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[: len(raw) // 2], "damaged or not an npz file"),
        (lambda raw: b"no zip at all", "damaged or not an npz file"),
        (lambda raw: raw[:200] + bytes(200) + raw[400:], "damaged or not an npz file"),
    ],
)
def test_a_damaged_npz(tmp_path, fixed, mnist, damage, message):
    write_npz(tmp_path, fixed)
    path = tmp_path / "binarized_mnist_static.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        binarization("static", mnist, folder=tmp_path)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (np.zeros((N_TRAIN, 784), np.uint8), r"train must be .*its header is .*\|u1.*\(12, 784\)"),
        (np.zeros((N_TRAIN, 98), np.int64), r"train must be uint8 \(12, 98\).*its header is .*<i8"),
        (np.array([{}], object), r"train must be uint8 .*its header is .*\|O"),
        (None, "train is not a file in the archive"),
    ],
)
def test_an_npz_with_other_contents(tmp_path, fixed, mnist, train, message):
    arrays = {"test": np.packbits(fixed["test"], axis=1)}
    if train is not None:
        arrays["train"] = train
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (tmp_path / "binarized_mnist_static.npz").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=message):
        binarization("static", mnist, folder=tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-2], "pixels, expected 12 x 784 = 9408"),
        (lambda text: text + "0 1\n", "9410 pixels, expected"),
        (lambda text: text.replace("1", "2", 1), "something else than 0, 1 and blanks"),
        (lambda text: text.replace("1", "x", 1), "something else than 0, 1 and blanks"),
        (lambda text: "", "0 pixels, expected"),
        (lambda text: text * 3, "bytes, more than 12 rows of 784 can need"),
    ],
)
def test_a_damaged_text_file(tmp_path, fixed, mnist, damage, message):
    write_text(tmp_path, fixed)
    path = tmp_path / "binarized_mnist_train.amat"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=message):
        binarization("static", mnist, folder=tmp_path)


def test_half_of_the_text_files(tmp_path, fixed, mnist):
    write_text(tmp_path, fixed)
    (tmp_path / "binarized_mnist_test.amat").unlink()
    with pytest.raises(DataError, match=r"a part of .* missing binarized_mnist_test.amat"):
        binarization("static", mnist, folder=tmp_path)


def test_the_real_fixed_file(real_folder):
    grey = load_mnist(real_folder)
    protocol = binarization("static", grey, folder=real_folder)
    if "drawn once" in protocol.name:
        pytest.skip("MINIGRAD_DATA has no fixed binarisation")
    assert protocol.name == "static, Larochelle's binarisation"
    assert protocol.data.train.shape == (50000, 28, 28, 1)
    assert protocol.data.test.shape == (10000, 28, 28, 1)
    # The same 10000 test images: 7.84 million bits drawn from them have their mean.
    difference = protocol.data.test.mean(dtype=float) - grey.test.mean(dtype=float)
    assert abs(difference) < 5e-4
