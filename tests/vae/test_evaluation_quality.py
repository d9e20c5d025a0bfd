"""Nearest neighbours against loops, and the statistics that are made of them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

import minigrad as mg
import vae
from tests.vae.trained import train
from vae.evaluation import neighbours
from vae.evaluation.neighbours import nearest, within
from vae.evaluation.quality import expected_coverage, memorisation, recognised, sample_quality


def clusters(rng):
    """Two, so far apart that float32 products see no distance within either."""
    center = np.where(rng.random((45, 1)) < 0.5, 1e3, -1e3)
    x = (center + 1e-3 * rng.standard_normal((45, 5))).astype(np.float32)
    return x[:25], x[25:]


def one_outlier(rng):
    x = rng.standard_normal((45, 5))
    x[3] = 1e30
    return x[:25], x[25:]


SETS = {
    "plain": lambda rng: (rng.standard_normal((25, 5)).astype(np.float32),
                          rng.standard_normal((20, 5)).astype(np.float32)),
    "binary, with ties and copies": lambda rng: (rng.integers(0, 2, (25, 5)).astype(np.float32),
                                                 rng.integers(0, 2, (20, 5)).astype(np.float32)),
    "tight clusters": clusters,
    "far from the origin": lambda rng: (1e8 + rng.standard_normal((25, 5)),
                                        1e8 + rng.standard_normal((20, 5))),
    "tiny": lambda rng: (1e-30 * rng.standard_normal((25, 5)),
                         1e-30 * rng.standard_normal((20, 5))),
    "of two scales": lambda rng: (1e30 * rng.standard_normal((25, 5)),
                                  rng.standard_normal((20, 5))),
    "with an outlier": one_outlier,
    "all equal": lambda rng: (np.zeros((25, 5)), np.zeros((20, 5))),
    "bytes": lambda rng: (rng.integers(0, 256, (25, 2, 3)).astype(np.uint8),
                          rng.integers(0, 256, (20, 2, 3)).astype(np.uint8)),
    "half and single": lambda rng: (rng.random((25, 1)).astype(np.float16),
                                    rng.random((20, 1)).astype(np.float32)),
}


def loops(a, b):
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    return np.array([[np.sqrt(np.square(p - q).sum()) for q in b] for p in a])


def nearest_by_loops(distance, k):
    index = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance, index, axis=1), index


def quality_by_loops(real, fake, k):
    """As the papers define them, a point and a ball at a time."""
    def reach(x):
        distance = loops(x, x)
        return [sorted(np.delete(row, i))[k - 1] for i, row in enumerate(distance)]
    real_reach, fake_reach, between = reach(real), reach(fake), loops(real, fake)
    inside = [[between[i][j] <= real_reach[i] for j in range(len(fake))] for i in range(len(real))]
    back = [[between[i][j] <= fake_reach[j] for j in range(len(fake))] for i in range(len(real))]
    return {"precision": np.mean([any(row[j] for row in inside) for j in range(len(fake))]),
            "recall": np.mean([any(row) for row in back]),
            "density": sum(map(sum, inside)) / (k * len(fake)),
            "coverage": np.mean([any(row) for row in inside])}


@pytest.fixture(params=SETS)
def sets(request):
    return SETS[request.param](np.random.default_rng(5))


@pytest.fixture(scope="module")
def normal():
    """normal(n, …): sets of as many draws in two dimensions, no two the same."""
    rng = np.random.default_rng(8)
    return lambda *sizes: [rng.standard_normal((n, 2)) for n in sizes]


@pytest.mark.parametrize("block", [7, 150, 2**21])
def test_nearest_and_balls_are_those_of_loops_bit_by_bit(sets, block):
    a, b = sets
    among, across = loops(b, b), loops(a, b)
    np.fill_diagonal(among, np.inf)
    for k in (1, 3, 19):
        for found, distance in ((nearest(a, b, k, block=block), across),
                                (nearest(b, b, k, others=True, block=block), among)):
            values, index = nearest_by_loops(distance, k)
            np.testing.assert_array_equal(found.distance, values)
            np.testing.assert_array_equal(found.index, index)
        balls, members = within(a, b, values[:, -1], block=block)
        np.testing.assert_array_equal(balls, (across <= values[:, -1]).sum(1))
        np.testing.assert_array_equal(members, (across <= values[:, -1]).sum(0))


@given(n=st.integers(5, 15), m=st.integers(5, 15), k=st.integers(1, 4), levels=st.integers(1, 9),
       seed=st.integers(0, 99))
def test_quality_is_that_of_loops(n, m, k, levels, seed):
    rng = np.random.default_rng(seed)
    real, fake = (rng.integers(0, levels, (size, 3)).astype(np.float32) for size in (n, m))
    found = sample_quality(real, fake, k=k, block=20)
    for name, value in quality_by_loops(real, fake, k).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert (found["n_real"], found["n_fake"], found["k"]) == (n, m, k)


def test_products_leave_few_pairs_to_be_looked_at_again(monkeypatch):
    rng, looked_at, exact = np.random.default_rng(0), [], neighbours.squared_distances
    a, b = rng.random((2, 700, 100), np.float32)

    def counting(*args):
        looked_at.append(len(args[2]))
        return exact(*args)
    monkeypatch.setattr(neighbours, "squared_distances", counting)
    sample_quality(a, b)
    assert 700 * 5 * 2 <= sum(looked_at) < 4 * 700**2 / 50


def test_memory_is_bounded_by_the_block():
    a, b = np.random.default_rng(0).random((2, 2_000, 20), np.float32)
    tracemalloc.start()
    try:
        sample_quality(a, b, block=2**18)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8e6  # bytes; all distances in float32 are 16e6


# -- what the numbers mean -------------------------------------------------------------------------
def test_equal_sets_are_perfect_and_far_ones_are_nothing(normal):
    x, = normal(40)
    same = sample_quality(x, x.copy(), k=4)
    assert [same[name] for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert same["density"] == pytest.approx(1 + 1 / 4)  # itself and its 4 neighbours
    far = sample_quality(x, x + 1e3, k=4)
    assert [far[name] for name in ("precision", "recall", "density", "coverage")] == [0, 0, 0, 0]


def test_new_draws_of_the_same_distribution_have_the_expected_density_and_coverage(normal):
    found = [sample_quality(*normal(60, 40), k=3) for _ in range(150)]
    for name, exact in (("density", 1.0), ("coverage", expected_coverage(60, 40, 3))):
        values = np.array([one[name] for one in found])
        assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(150), name


def test_dropped_modes_cost_recall_and_noise_costs_precision(normal):
    real, fake = normal(200, 200)
    half = fake[fake[:, 0] > 0]
    good, dropped, noisy = (sample_quality(real, x) for x in (fake, half, 6 * fake))
    assert dropped["recall"] < 0.75 < good["recall"] and dropped["precision"] > 0.9
    assert dropped["coverage"] < 0.75 * good["coverage"]
    assert noisy["precision"] < 0.5 < good["precision"] and noisy["recall"] > 0.9


def test_copies_of_the_training_data_are_told_from_new_data(normal):
    train, held_out, new = normal(300, 200, 150)
    honest = memorisation(train, held_out, new)
    assert abs(honest["z"]) < 3 and honest["copies"] == 0
    noise, = normal(150)
    copied = memorisation(train, held_out, np.concatenate([train[:10], train[:150] + noise / 100]))
    assert copied["nearer"] > 0.9 and copied["z"] > 10 and copied["copies"] == 10
    assert copied["sample_distance"] < 0.5 * copied["held_out_distance"]


def test_nearer_is_the_mann_whitney_statistic_also_with_ties():
    rng = np.random.default_rng(0)
    train, held_out, samples = (rng.integers(0, 3, (n, 4)).astype(np.float32)
                                for n in (20, 60, 50))
    ours, new = (nearest(x, train).distance[:, 0] for x in (samples, held_out))
    found = memorisation(train, held_out, samples)
    test = mannwhitneyu(new, ours, method="asymptotic", use_continuity=False)
    assert found["nearer"] == pytest.approx(test.statistic / (60 * 50))
    from scipy.stats import norm
    assert 2 * norm.sf(abs(found["z"])) == pytest.approx(test.pvalue, rel=1e-9)


def test_z_has_unit_variance_where_nothing_is_copied(normal):
    z = [memorisation(*normal(40, 30, 30))["z"] for _ in range(200)]
    assert abs(np.mean(z)) < 4 / np.sqrt(200) and 0.8 < np.std(z) < 1.2


def test_reconstructions_are_recognised(normal):
    x, noise = normal(100, 100)
    assert recognised(x, x) == 1 and recognised(x, np.zeros_like(x) + x.mean(0)) == 0.01
    assert recognised(x, x + 0.1 * noise) > recognised(x, x + noise)


@pytest.mark.parametrize("call, error, words", [
    (lambda x: sample_quality(x, x[:3]), ValueError, "3 fake data with k=5.*k . 1"),
    (lambda x: sample_quality(x, x, k=0), ValueError, "k=0: k is 1 or more"),
    (lambda x: sample_quality(x, x[:, :1]), ValueError, "rows of 1 and of 2 numbers"),
    (lambda x: sample_quality(x, np.where(x > 0, np.nan, x)), ValueError, "NaN"),
    (lambda x: sample_quality(x, x.astype(complex)), TypeError, "complex128"),
    (lambda x: nearest(x, x, 21), ValueError, "k=21 nearest neighbours among 20"),
    (lambda x: nearest(x, x, 20, others=True), ValueError, "among 19"),
    (lambda x: nearest(x[0], x), ValueError, r"shape \(2,\).*rows of numbers"),
    (lambda x: memorisation(x, x[:0], x), ValueError, "held_out is empty"),
    (lambda x: recognised(x, x[:4]), ValueError, "one for each datum"),
])
def test_what_has_no_distance_is_refused(normal, call, error, words):
    with pytest.raises(error, match=words):
        call(normal(20)[0])


def test_samples_of_a_trained_model_have_the_mean_image_of_the_data_and_are_no_copies(digits):
    rng = np.random.default_rng(0)
    x, new = ((part.reshape(-1, 784) > 0.5).astype(np.float32)
              for part in (digits.train, digits.test))
    model = vae.dense_vae(784, (64,), 5, rng=rng, start=x.mean(axis=0))
    train(model, x, epochs=15, objective=vae.elbo, lr=3e-3)
    samples = mg.nn.frozen(model).sample(500, rng=rng)
    blank = np.abs(x.mean(axis=0) - x.mean()).mean()  # how far an even grey image is
    assert np.abs(samples.mean(axis=0) - x.mean(axis=0)).mean() < 0.2 * blank
    assert memorisation(x, new, samples)["copies"] == 0
    assert nearest(samples, x).distance.min() > 1  # ‖·‖² of one pixel is 1
