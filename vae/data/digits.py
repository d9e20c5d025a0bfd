"""Digits that look handwritten, drawn by the package itself: no file, no network, no licence.

A glyph is a few strokes, each a Catmull-Rom spline through control points. A writer's hand moves
the control points, shears, rotates and stretches the whole, and presses the pen more or less. As
in MNIST, a digit is fitted into a box of 20 x 20 and centred at its centre of mass in 28 x 28.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vae.data.dataset import DataError, Dataset, as_images

Points = list[tuple[float, float]]

SAMPLES = 88  # points along the strokes of one digit, about half a pixel apart
BLOCK = 16  # images rendered at a time, so that their squared distances stay in the cache

# Variants of each digit. A variant is a text of strokes parted by " / ", a stroke is a row of
# control points "x,y" in percent of the digit's box, x to the right and y down, and of ellipse
# arcs "arc:x,y,rx,ry,from,to,points", degrees clockwise from east. Strokes that share a point meet
# in a corner there, and the corner moves as one.
GLYPHS = {
    0: [
        "arc:50,50,36,50,-90,-450,11",
        "arc:50,50,27,50,-70,-430,11",
        "62,4 arc:50,52,36,47,-110,-405,10 50,2",
    ],
    1: [
        "50,0 50,50 50,100",
        "52,0 50,50 48,100",
        "33,20 53,0 / 53,0 53,50 53,100",
        "32,20 52,0 / 52,0 52,50 52,100 / 27,100 52,100 77,100",
    ],
    2: [
        "arc:47,28,33,28,-170,40,7 45,75 12,100 / 12,100 50,97 90,98",
        "arc:48,27,32,27,-165,35,6 50,72 24,95 11,88 22,78 48,90 70,100 95,90",
    ],
    3: [
        "arc:45,25,31,25,-150,80,7 38,49 / 38,49 arc:45,74,36,26,-75,150,7",
        "15,4 45,2 80,2 / 80,2 60,22 42,42 / 42,42 arc:45,70,36,29,-65,150,7",
        "arc:47,25,28,25,-160,60,6 42,50 arc:46,75,34,25,-60,155,6",
    ],
    4: [
        "22,0 15,30 14,55 / 14,55 45,58 78,53 / 76,2 73,50 70,100",
        "62,0 36,34 10,66 / 10,66 50,65 92,64 / 64,0 63,50 62,100",
        "20,3 13,35 28,52 56,46 76,30 / 80,0 76,30 70,65 66,100",
    ],
    5: [
        "84,2 55,2 26,4 / 26,4 22,24 20,45 / 20,45 arc:44,69,37,30,-90,140,7",
        "30,5 24,25 24,42 / 24,42 55,44 76,66 62,92 34,100 12,92 / 30,5 60,6 92,0",
        "86,3 55,2 32,10 24,36 48,46 70,64 62,90 36,100 14,93",
    ],
    6: [
        "70,0 38,25 18,62 arc:48,73,30,26,150,-180,9",
        "52,0 24,35 17,70 arc:46,76,28,23,130,-200,9",
        "82,6 50,5 24,36 18,68 arc:50,74,31,25,145,-175,9",
    ],
    7: [
        "12,4 50,3 86,2 / 86,2 62,50 42,100",
        "10,8 50,3 84,2 / 84,2 66,30 50,62 46,100",
        "12,4 50,3 86,2 / 86,2 62,50 42,100 / 34,52 60,50 85,48",
        "12,22 14,6 / 14,6 50,6 82,3 / 82,3 68,40 60,100",
    ],
    8: [
        "72,12 50,0 25,14 32,37 58,53 77,76 50,100 20,80 38,55 64,38 74,14",
        "arc:50,24,25,24,90,-270,9 / arc:50,74,31,26,-90,270,9",
    ],
    9: [
        "arc:46,27,31,27,10,-350,9 / 78,10 77,35 72,70 68,100",
        "arc:48,27,30,27,-20,-360,9 76,50 66,82 42,100 18,93",
        "74,10 45,2 18,26 36,50 64,38 78,8 / 78,8 68,50 50,100",
    ],
}


def _stroke(text: str) -> Points:
    """The control points of one stroke, in a unit box."""
    points = []
    for token in text.split():
        if not token.startswith("arc:"):
            x, y = map(float, token.split(","))
            points.append((x / 100, y / 100))
            continue
        x, y, rx, ry, first, last, n = map(float, token.removeprefix("arc:").split(","))
        for angle in np.radians(np.linspace(first, last, int(n))):
            points.append(((x + rx * np.cos(angle)) / 100, (y + ry * np.sin(angle)) / 100))
    return points


def _spline(n_points: int, position: NDArray) -> NDArray[np.float64]:
    """Weights (S, n_points) that take control points to points on their Catmull-Rom spline.

    `position`, shape (S,), in [0, n_points - 1]: at k the spline passes control point k.
    E. Catmull, R. Rom, "A class of local interpolating splines", 1974; the ends are reflected:
    p[-1] = 2 p[0] - p[1].
    """
    eye = np.eye(n_points)
    p = np.vstack([2 * eye[0] - eye[1], eye, 2 * eye[-1] - eye[-2]])
    i = np.minimum(position.astype(int), n_points - 2)
    t = (position - i)[:, None]
    before, start, end, after = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )


def _compile(glyph: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Control points (K, 2), each once, and weights (SAMPLES, K) of the points along the strokes.

    The points are evenly spaced, by the lengths of the straight lines from control to control.
    """
    strokes = [_stroke(text) for text in glyph.split("/")]
    controls = list(dict.fromkeys(point for stroke in strokes for point in stroke))
    along = [np.cumsum([0, *np.hypot(*np.diff(stroke, axis=0).T)]) for stroke in strokes]
    ends = np.cumsum([lengths[-1] for lengths in along])
    ends = np.rint(ends / ends[-1] * SAMPLES).astype(int)
    weights = np.zeros((SAMPLES, len(controls)))
    for stroke, lengths, first, last in zip(strokes, along, [0, *ends[:-1]], ends, strict=True):
        even = np.linspace(0, lengths[-1], last - first)
        position = np.interp(even, lengths, np.arange(len(stroke)))
        columns = [controls.index(point) for point in stroke]
        # add.at, because a closed stroke comes to the same control point twice
        np.add.at(weights[first:last].T, columns, _spline(len(stroke), position).T)
    return np.array(controls), weights


def _stack_variants() -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """All variants padded to one number of control points; first variant and count by class."""
    compiled = [_compile(glyph) for variants in GLYPHS.values() for glyph in variants]
    most = max(len(controls) for controls, _ in compiled)
    controls = np.zeros((len(compiled), most, 2), np.float32)
    weights = np.zeros((len(compiled), SAMPLES, most), np.float32)
    for v, (points, matrix) in enumerate(compiled):
        controls[v, : len(points)], weights[v, :, : len(points)] = points, matrix
    counts = np.array([len(variants) for variants in GLYPHS.values()])
    return controls, weights, np.cumsum(counts) - counts, counts


CONTROLS, WEIGHTS, FIRST, COUNT = _stack_variants()


def embedded_digits(
    n: int, *, rng: np.random.Generator, size: int = 28
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`n` drawn digits: images (n, size, size), uint8 with ink 255, and labels (n,), int64.

    The ten classes are equally frequent (to within one) and shuffled.
    """
    if n < 1 or size < 8:
        raise DataError(f"embedded_digits needs n >= 1 and size >= 8, not n={n}, size={size}")
    labels = rng.permutation(np.arange(n) % 10)
    strokes = _write(labels, rng) * np.float32(size / 28)
    pen = rng.normal(1.36, 0.28, n).clip(0.8, 2.1).astype(np.float32) * (size / 28)
    return _render(strokes, pen, size), labels


def embedded(n_train: int = 20000, n_test: int = 4000, *, seed: int = 0) -> Dataset:
    """The embedded digits as a `Dataset`: grey values in [0, 1], the same for the same seed.

    From one machine to another, rounding may move a pixel by one grey level of 255.
    """
    images, labels = embedded_digits(n_train + n_test, rng=np.random.default_rng(seed))
    images = as_images(images, "embedded digits")
    return Dataset(
        "embedded digits",
        images[:n_train],
        images[n_train:],
        labels[:n_train],
        labels[n_train:],
        protocol=f"drawn with seed {seed}, {n_train} training and {n_test} test images, grey "
        "values, not binarised; comparable only with the same drawing",
    )


def _write(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Points (n, SAMPLES, 2) along each digit's strokes, in pixels of a 28 x 28 image."""
    n = len(labels)
    variant = FIRST[labels] + (rng.random(n) * COUNT[labels]).astype(int)
    noise = rng.standard_normal((n, *CONTROLS.shape[1:]), dtype=np.float32)
    sloppiness = rng.uniform(0.01, 0.045, (n, 1, 1)).astype(np.float32)
    controls = (CONTROLS[variant] - 0.5 + sloppiness * noise) @ _hand(n, rng)
    points = np.empty((n, SAMPLES, 2), np.float32)
    for v in np.unique(variant):
        points[variant == v] = WEIGHTS[v] @ controls[variant == v]
    low, high = points.min(axis=1), points.max(axis=1)
    extent = np.max(high - low, axis=1)[:, None, None]
    points *= rng.normal(16.6, 0.6, (n, 1, 1)).clip(14, 18).astype(np.float32) / extent
    points += rng.normal(13.5, 0.4, (n, 1, 2)).astype(np.float32) - points.mean(axis=1)[:, None]
    low, high = points.min(axis=1), points.max(axis=1)
    inside = np.clip((low + high) / 2, 2.5 + (high - low) / 2, 24.5 - (high - low) / 2)
    return points + (inside - (low + high) / 2)[:, None]


def _hand(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Matrices (n, 2, 2), applied from the right: width, then slant, then rotation."""
    width, slant = rng.normal(0.82, 0.12, n).clip(0.55, 1.15), rng.normal(0.15, 0.22, n)
    angle = rng.normal(0, 0.09, n)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros(n), np.ones(n)
    shape = np.array([[width, zero], [-slant, one]])
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.einsum("ijn,jkn->nik", shape, turn).astype(np.float32)


def _render(strokes: NDArray, pen: NDArray, size: int) -> NDArray[np.uint8]:
    """Ink by each pixel's distance to the nearest point of the strokes.

    |p - s|^2 = |p|^2 + (|s|^2 - 2 p.s), and the bracket is one matrix product over all pixels p.
    """
    axis = np.arange(size, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(size * size, np.float32)])
    bracket = np.concatenate([-2 * strokes, np.sum(strokes**2, axis=2, keepdims=True)], axis=2)
    norm = pixels[0] ** 2 + pixels[1] ** 2
    blur = np.float32(1.1 * size / 28)
    images = np.empty((len(strokes), size, size), np.uint8)
    for start in range(0, len(strokes), BLOCK):
        block = slice(start, start + BLOCK)
        nearest = (bracket[block] @ pixels).min(axis=1) + norm
        distance = np.sqrt(np.maximum(nearest, 0))
        ink = np.clip((pen[block, None] - distance) / blur + 0.5, 0, 1)
        images[block] = np.rint(255 * ink).reshape(-1, size, size)
    return images
