"""Paths between codes, along a dimension, and the places where no code is."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

import minigrad as mg
import vae
from vae.evaluation import paths
from vae.evaluation.paths import (
    Box,
    attribute_vector,
    codes,
    decoded,
    empty_boxes,
    lerp,
    neighbour_distance,
    path_quality,
    relative_distance,
    slerp,
    traversal,
)
from vae.models.autoencoder import dense_autoencoder


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=["VAE", "autoencoder"])
def model(request, rng):
    make = vae.dense_vae if request.param == "VAE" else dense_autoencoder
    return make(12, (8,), 2, rng=rng)


@pytest.fixture
def x(rng):
    return rng.random((30, 12), np.float32)


class Curve:
    """A model of codes (…, 1), whose image is a function of the code."""

    def __init__(self, f):
        self.f = f

    def likelihood(self, z):
        return vae.Normal(self.f(z), np.ones_like(self.f(z)))


# -- between two codes -----------------------------------------------------------------------------
@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 10**6))
def test_both_paths_lead_from_end_to_end_and_slerp_turns_evenly(n_z, steps, seed):
    a, b = np.random.default_rng(seed).standard_normal((2, 5, n_z))
    for path in (lerp, slerp):
        z = path(a, b, steps)
        assert z.shape == (steps, 5, n_z)
        np.testing.assert_allclose(z[[0, -1]], [a, b], atol=1e-12)
    np.testing.assert_allclose(np.diff(lerp(a, b, steps), axis=0) * (steps - 1),
                               np.broadcast_to(b - a, (steps - 1, 5, n_z)), atol=1e-10)
    z = slerp(a, b, steps)
    length = np.linalg.norm(z, axis=-1)
    np.testing.assert_allclose(length, lerp(*np.linalg.norm([a, b], axis=-1), steps), rtol=1e-9)
    cosine = np.sum(z[1:] * z[:-1], axis=-1) / (length[1:] * length[:-1])
    angle = np.arccos(np.clip(cosine, -1, 1))
    np.testing.assert_allclose(angle, np.broadcast_to(angle[0], angle.shape), atol=1e-6)
    whole = np.sum(a * b, axis=-1) / (length[0] * length[-1])
    np.testing.assert_allclose(angle.sum(axis=0), np.arccos(whole), atol=1e-6)


def test_slerp_of_a_quarter_of_a_circle_and_of_equal_directions():
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    np.testing.assert_allclose(slerp(a, b, 3)[1], np.sqrt([0.5, 0.5]), rtol=1e-15)
    np.testing.assert_allclose(slerp(a, 3 * a, 3)[1], 2 * a, rtol=1e-15)
    nearly = np.array([-1.0, 1e-9])  # a turn by all but a billionth of a half circle
    np.testing.assert_allclose(slerp(a, nearly, 3)[1], [0, 1], atol=1e-6)
    assert slerp(*np.ones((2, 4, 3), np.float32), 5).dtype == np.float32


@pytest.mark.parametrize("a, b, steps, words", [
    ([0.0, 0.0], [1.0, 0.0], 3, "at the origin.*take lerp"),
    ([1.0, 0.0], [-2.0, 0.0], 3, "opposite codes"),
    ([1.0, 0.0], [1.0, 0.0, 0.0], 3, r"shape \(2,\) and \(3,\)"),
    ([1.0, 0.0], [0.0, 1.0], 1, "path of 1 codes"),
])
def test_what_slerp_cannot_do_is_told(a, b, steps, words):
    with pytest.raises(ValueError, match=words):
        slerp(np.array(a), np.array(b), steps)


def test_path_quality_is_that_of_a_loop_and_1_for_equal_steps(rng):
    data, ends = rng.standard_normal((40, 3)), rng.standard_normal((2, 6, 1))
    direction = np.array([1.0, 2.0, -1.0])
    even = path_quality(Curve(lambda z: z * direction), *ends, data, steps=5)
    np.testing.assert_allclose(even.largest_step, 1, rtol=1e-12)
    bent = Curve(lambda z: np.concatenate([z, z**3, np.sin(3 * z)], axis=-1))
    even = path_quality(bent, *ends, data, steps=5, k=2)
    squared = path_quality(bent, *ends, data, steps=5, k=2,
                           path=lambda a, b, steps: a + (b - a) * np.linspace(
                               0, 1, steps)[:, None, None]**2)
    for (i, (a, b)), (found, times) in product(
            enumerate(ends.swapaxes(0, 1)),
            ((even, (0, 0.25, 0.5, 0.75, 1)), (squared, (0, 0.0625, 0.25, 0.5625, 1)))):
        images = [bent.f(a + (b - a) * t) for t in times]
        steps = [np.linalg.norm(p - q) for p, q in pairwise(images)]
        far = [np.mean(sorted(np.linalg.norm(p - y) for y in data)[:2]) for p in images]
        assert found.largest_step[i] == pytest.approx(max(steps) / np.mean(steps))
        assert found.distance[i] == pytest.approx(np.mean(far))
        assert found.farthest[i] == pytest.approx(max(far))


def test_a_jump_is_seen_as_one():
    jump = Curve(lambda z: np.repeat(np.tanh(50 * z), 3, axis=-1))
    found = path_quality(jump, -np.ones((1, 1)), np.ones((1, 1)), np.eye(3), steps=11, k=1)
    assert found.largest_step[0] == pytest.approx(5, rel=1e-3)  # two of ten steps are all of it


def test_neighbours_that_are_copies_of_one_datum_are_refused(rng):
    data = np.concatenate([np.zeros((4, 2)), rng.standard_normal((9, 2)) + 5])
    with pytest.raises(ValueError, match=r"row [0-3] of the data has 3 copies"):
        relative_distance(np.full((1, 2), 0.1), data, 3)


def test_codes_of_whole_numbers_and_of_float64_stay_what_they_are():
    a, b = np.zeros(2, int), np.full(2, 4)
    np.testing.assert_array_equal(lerp(a, b, 3), [[0, 0], [2, 2], [4, 4]])
    doubled = Curve(lambda z: z)
    doubled.encode = lambda x: x
    x = np.array([[1.0, 1e-9], [0.0, 0.0]])
    found = attribute_vector(doubled, x, np.array([True, False]))
    assert found.dtype == np.float64 and found.tolist() == [1.0, 1e-9]


def test_paths_that_lead_nowhere_or_have_no_two_steps_are_refused():
    z, model = np.ones((2, 1)), Curve(lambda z: z)
    with pytest.raises(ValueError, match="pair 0 all images are the same"):
        path_quality(model, z, z, np.eye(1), k=1)
    with pytest.raises(ValueError, match=r"steps=2\): at least 3"):
        path_quality(model, z, -z, np.eye(1), steps=2)


# -- distances -------------------------------------------------------------------------------------
def test_distances_are_those_of_loops(rng):
    data, x = rng.standard_normal((25, 4)), rng.standard_normal((7, 4))

    def by_loops(p, others):
        return sorted((np.linalg.norm(p - q), i) for i, q in enumerate(others))[:3]
    for p, distance, relative in zip(x, neighbour_distance(x, data, 3),
                                     relative_distance(x, data, 3)):
        near = by_loops(p, data)
        own = [np.mean([d for d, _ in by_loops(data[i], np.delete(data, i, axis=0))])
               for _, i in near]
        assert distance == pytest.approx(np.mean([d for d, _ in near]))
        assert relative == pytest.approx(distance / np.mean(own))


def test_the_relative_distance_does_not_depend_on_how_dense_the_data_are(rng):
    cluster = rng.standard_normal((300, 3))
    data = np.concatenate([cluster, 100 + 10 * cluster])
    inside, scale = rng.standard_normal((50, 3)), np.repeat([1.0, 10.0], 50)
    x = np.concatenate([inside, 100 + 10 * inside])
    ones = relative_distance(x, data)
    np.testing.assert_allclose(ones[:50], ones[50:], rtol=1e-6)
    plain = neighbour_distance(x, data) / scale
    np.testing.assert_allclose(plain[:50], plain[50:], rtol=1e-6)


# -- codes, along a dimension and an attribute -----------------------------------------------------
def test_codes_and_decodes_are_the_models_whatever_the_batch(model, x):
    z = codes(model, x, batch_size=7)
    assert z.shape == (30, 2)
    np.testing.assert_allclose(decoded(model, z, batch_size=4), mg.nn.frozen(model).reconstruct(x),
                               rtol=1e-4)
    assert decoded(model, z.reshape(5, 6, 2)).shape == (5, 6, 12)


def test_a_traversal_changes_one_dimension_of_the_code(model, x):
    images = traversal(model, x, 1, values=(-1, 0.5))
    z = codes(model, x)
    for image, value in zip(images, (-1, 0.5)):
        moved = np.stack([z[:, 0], np.full(30, value, np.float32)], axis=-1)
        np.testing.assert_allclose(image, decoded(model, moved), rtol=1e-5)
    with pytest.raises(ValueError, match="dimension 2: the code has those from 0 to 1"):
        traversal(model, x, 2)


def test_an_attribute_vector_is_the_difference_of_means(model, x):
    has = np.arange(30) % 3 == 0
    z = codes(model, x)
    np.testing.assert_allclose(attribute_vector(model, x, has),
                               z[::3].mean(axis=0) - z[~has].mean(axis=0), atol=1e-6)
    with pytest.raises(ValueError, match="none of the 30 data"):
        attribute_vector(model, x, np.zeros(30, bool))
    with pytest.raises(ValueError, match="30 booleans are expected"):
        attribute_vector(model, x, has.astype(int))


# -- where no code is ------------------------------------------------------------------------------
@given(st.integers(4, 60), st.integers(0, 10**6))
def test_empty_boxes_are_empty_disjoint_and_within_the_hull(n, seed):
    z = np.random.default_rng(seed).standard_normal((n, 2)) * [1, 30] + [5, 0]
    boxes, hull = empty_boxes(z, 3, side=60), Delaunay(z)
    for i, box in enumerate(boxes):
        assert not box.contains(z).any() and (box.low < box.high).all()
        assert (hull.find_simplex(box.lattice(4)) >= 0).all()
        for other in boxes[:i]:
            assert (box.low >= other.high).any() or (box.high <= other.low).any()
            assert np.prod(box.high - box.low) <= np.prod(other.high - other.low)
    np.testing.assert_allclose((boxes[0].high - boxes[0].low) / z.std(axis=0),
                               (boxes[0].high - boxes[0].low)[0] / z.std(axis=0)[0])


@given(st.integers(4, 60), st.integers(0, 10**6))
def test_empty_boxes_of_the_rectangle_are_empty_within_it_and_no_smaller(n, seed):
    z = np.random.default_rng(seed).standard_normal((n, 2)) * [1, 30] + [5, 0]
    box, = empty_boxes(z, within="rectangle", side=60)
    assert not box.contains(z).any()
    assert (box.low >= z.min(axis=0)).all() and (box.high <= z.max(axis=0)).all()
    assert (box.high - box.low >= (inner := empty_boxes(z, side=60)[0]).high - inner.low).all()
    with pytest.raises(ValueError, match='"hull" or "rectangle"'):
        empty_boxes(z, within="box")


def test_more_boxes_than_there_is_room_for_are_refused(rng):
    with pytest.raises(ValueError, match=r"count=12, side=3\): after \d boxes no centre"):
        empty_boxes(rng.standard_normal((6, 2)), 12, side=3)


def test_the_hole_of_a_ring_is_found(rng):
    angle = 2 * np.pi * rng.random(500)
    ring = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    box, = empty_boxes(ring, side=101)
    half = 3 / np.sqrt(2)  # of the square that a circle of radius 3 holds
    np.testing.assert_allclose([box.low, box.high], [[-half] * 2, [half] * 2], atol=0.1)


def test_codes_that_span_no_plane_are_refused():
    with pytest.raises(ValueError, match="on a line"):
        empty_boxes(np.outer(np.arange(9.0), [1, 2]))
    with pytest.raises(ValueError, match=r"codes \(9, 3\)"):
        empty_boxes(np.ones((9, 3)))


def test_a_lattice_is_laid_out_as_images_are():
    lattice = Box(np.array([0.0, 10.0]), np.array([1.0, 30.0])).lattice(3)
    assert lattice[0].tolist() == [0, 30] and lattice[2].tolist() == [1, 30]
    assert lattice[-1].tolist() == [1, 10]


def test_functions_of_a_path_leave_the_model_alone(model, x):
    before = [p.data.copy() for p in mg.nn.parameters(model)]
    paths.path_quality(model, codes(model, x[:4]), codes(model, x[4:8]), x)
    for p, old in zip(mg.nn.parameters(model), before, strict=True):
        assert p.grad is None and np.array_equal(p.data, old)
