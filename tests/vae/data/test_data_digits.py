"""The embedded digits: drawn right, and much like handwriting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from vae.data import DataError, embedded, embedded_digits, load_mnist
from vae.data.digits import GLYPHS, SAMPLES, _compile, _render, _spline, _stroke, _write


@pytest.fixture(scope="module")
def drawn():
    return embedded_digits(4000, rng=np.random.default_rng(0))


def classify(train, labels, test) -> np.ndarray:
    """Labels of the nearest training image by Euclidean distance."""
    train, test = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (train, test))
    distance = np.sum(train**2, axis=1) - 2 * test @ train.T
    return labels[np.argmin(distance, axis=1)]


def test_shapes_types_and_balance(drawn):
    images, labels = drawn
    assert (images.shape, images.dtype) == ((4000, 28, 28), np.uint8)
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [400] * 10
    # Shuffled: as many neighbours of the same class as chance gives (400 +- 19).
    assert 300 < np.sum(labels[1:] == labels[:-1]) < 500
    _, few = embedded_digits(13, rng=np.random.default_rng(0))
    assert sorted(np.bincount(few, minlength=10)) == [1] * 7 + [2] * 3


def test_a_seed_is_a_drawing():
    one, two, other = (embedded(30, 10, seed=seed) for seed in (4, 4, 5))
    assert one.name == "embedded digits"
    assert "seed 4, 30 training and 10 test images" in one.protocol
    assert one.train.shape == (30, 28, 28, 1)
    assert one.test_labels.shape == (10,)
    np.testing.assert_array_equal(one.train, two.train)
    np.testing.assert_array_equal(one.test_labels, two.test_labels)
    assert not np.array_equal(one.train, other.train)


def test_no_two_are_alike(drawn):
    assert len(np.unique(drawn[0].reshape(4000, -1), axis=0)) == 4000


def test_brightness_and_stroke_width_are_those_of_mnist(drawn):
    images, labels = drawn
    assert images.mean() / 255 == pytest.approx(0.1307, abs=0.006)
    assert np.mean(images > 0) == pytest.approx(0.1912, abs=0.015)
    assert np.mean(images > 250) == pytest.approx(0.0723, abs=0.012)
    brightness = [images[labels == c].mean() for c in range(10)]
    assert np.argmin(brightness) == 1


def test_ink_keeps_clear_of_the_border(drawn):
    border = np.ones((28, 28), bool)
    border[1:-1, 1:-1] = False
    assert np.mean(drawn[0][:, border] > 0) < 1e-3


def test_the_ten_classes_can_be_told_apart(drawn):
    images, labels = drawn
    found = classify(images[:3000], labels[:3000], images[3000:])
    for digit in range(10):
        assert np.mean(found[labels[3000:] == digit] == digit) > 0.93


@pytest.mark.parametrize("size", [14, 20, 40])
def test_other_sizes_show_the_same_digits(size):
    small, labels = embedded_digits(60, rng=np.random.default_rng(2), size=size)
    usual, same = embedded_digits(60, rng=np.random.default_rng(2))
    assert small.shape == (60, size, size)
    np.testing.assert_array_equal(labels, same)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), usual.mean(axis=(1, 2)), rtol=0.15)


@pytest.mark.parametrize(("n", "size"), [(0, 28), (5, 7)])
def test_nothing_to_draw(n, size):
    with pytest.raises(DataError, match=f"not n={n}, size={size}"):
        embedded_digits(n, rng=np.random.default_rng(0), size=size)


def test_the_spline_is_catmull_rom():
    p = np.random.default_rng(0).standard_normal((6, 2))
    position = np.linspace(0, 5, 41)
    slopes = np.gradient(p, axis=0)  # central differences inside, one-sided at the ends
    expected = CubicHermiteSpline(np.arange(6), p, slopes)(position)
    np.testing.assert_allclose(_spline(6, position) @ p, expected, atol=1e-12)


@pytest.mark.parametrize("glyph", [g for variants in GLYPHS.values() for g in variants])
def test_strokes_begin_and_end_at_their_control_points(glyph):
    controls, weights = _compile(glyph)
    assert weights.shape == (SAMPLES, len(controls))
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert controls.min() >= -0.03
    assert controls.max() <= 1.03
    for stroke in map(_stroke, glyph.split("/")):
        for end in (stroke[0], stroke[-1]):
            assert np.min(np.linalg.norm(weights @ controls - end, axis=1)) < 1e-9


def test_rendering_by_a_loop_over_pixels_and_segments():
    strokes = _write(np.array([3, 8]), np.random.default_rng(7))
    pen = np.array([1.2, 1.7], np.float32)
    images = _render(strokes, pen, 28)
    for image, points, radius in zip(images, strokes.astype(float), pen, strict=True):
        for y, x in np.ndindex(28, 28):
            distance = min(np.hypot(x - px, y - py) for px, py in points)
            ink = min(1.0, max(0.0, (radius - distance) / 1.1 + 0.5))
            assert abs(image[y, x] - 255 * ink) < 0.6


@pytest.mark.parametrize("glyph", [g for variants in GLYPHS.values() for g in variants])
def test_points_lie_densely_along_the_strokes(glyph):
    """At a digit's height of 18 pixels, the largest, no gap is near to a pen's diameter."""
    controls, weights = _compile(glyph)
    gaps = 18 * np.linalg.norm(np.diff(weights @ controls, axis=0), axis=1)
    lifted = glyph.count("/")  # a gap at most where the pen is lifted
    assert np.sort(gaps)[len(gaps) - 1 - lifted] < 0.8


def test_real_mnist_is_read_by_its_nearest_embedded_digit(real_folder, drawn):
    mnist = load_mnist(real_folder).take(1000, 1000)
    found = classify(*drawn, np.rint(mnist.test[..., 0] * 255))
    assert np.mean(found == mnist.test_labels) > 0.7
