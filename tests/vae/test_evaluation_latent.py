"""KL per dimension, active units and the aggregate posterior against quadrature and loops."""

from __future__ import annotations

import math
import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

import minigrad as mg
import vae
from vae.evaluation.aggregate import (
    WEIGHTS,
    aggregate_decomposition,
    decompose,
    log_aggregate,
    log_minibatch_aggregate,
    minibatch_weights,
)
from vae.evaluation.latent import active_units, kl_per_dimension
from vae.evaluation.posteriors import rows

N = 8


def encoder_model(posterior, n_z, prior=None):
    """A model of which only q(z|x) and p(z) are looked at."""
    return vae.VAE(posterior, lambda z: vae.Bernoulli(z), prior or vae.Normal.standard(n_z))


def table_model(q):
    """q(z|x) is row x of the table, so that the aggregate posterior is known."""
    return (encoder_model(lambda x: rows(q, x[:, 0].astype(int)), q.shape[1]),
            np.arange(float(len(q.mean)))[:, None])


@pytest.fixture(scope="module")
def plane():
    """Eight components in two dimensions, neither independent nor standard."""
    rng = np.random.default_rng(3)
    mean = rng.standard_normal((N, 1)) * [1.2, -0.8] + 0.4 * rng.standard_normal((N, 2))
    return vae.Normal(mean, rng.uniform(0.2, 0.6, (N, 2)))


@pytest.fixture(scope="module")
def quadrature(plane):
    """The parts for `plane`, from densities on a grid, in nats."""
    z, step = np.linspace(-7, 7, 1401, retstep=True)
    one = norm.pdf(z, plane.mean[..., None], plane.std[..., None])  # (N, 2, grid)
    joint, (first, second) = np.mean(one[:, 0, :, None] * one[:, 1, None], axis=0), one.mean(axis=0)
    p = norm.pdf(z)

    def divergence(a, b):
        return np.sum(np.where(a > 0, a * np.log(np.maximum(a, 1e-300) / b), 0))
    marginal = divergence(joint, np.outer(p, p)) * step**2
    kl = np.mean([sum(divergence(d, p) for d in pair) * step for pair in one])
    return {"kl": kl, "marginal_kl": marginal, "mutual_information": kl - marginal,
            "total_correlation": divergence(joint, np.outer(first, second)) * step**2,
            "dimension_kl": np.array([divergence(first, p), divergence(second, p)]) * step}


@pytest.fixture(scope="module")
def dense():
    x = np.random.default_rng(0).random((70, 12)).astype(np.float32)
    return vae.dense_vae(12, (8,), 3, rng=np.random.default_rng(1)), x


# -- each dimension by itself ----------------------------------------------------------------------
def test_kl_per_dimension_is_the_formula_and_adds_up_to_the_models_kl(dense):
    model, x = dense
    found = kl_per_dimension(model, x, batch_size=32)
    q = mg.nn.frozen(model).posterior(x)
    mean, std = q.mean.astype(float), q.std.astype(float)
    each = 0.5 * (mean**2 + std**2 - 1) - np.log(std)
    np.testing.assert_allclose(found.value, each.mean(axis=0), rtol=1e-5)
    error = each.std(axis=0, ddof=1) / math.sqrt(70)
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-4)
    assert found.value.dtype == np.float64
    assert found.value.sum() == pytest.approx(vae.kl(q, model.prior).mean(), rel=1e-5)


def test_kl_per_dimension_asks_for_a_product_over_the_dimensions():
    full = encoder_model(lambda x: vae.MultivariateNormal(x, np.eye(2)), 2)
    with pytest.raises(ValueError, match="no KL of each dimension"):
        kl_per_dimension(full, np.zeros((4, 2)))


def test_active_units_are_those_whose_mean_moves_with_the_data():
    x = np.random.default_rng(0).standard_normal((500, 1))
    x = ((x - x.mean()) / x.std()).astype(np.float32)
    slopes = np.array([1, 0.11, 0.09, 0, -2], np.float32)
    offset = np.array([0, 0, 0, 5, 300], np.float32)  # a mean elsewhere is not activity
    model = encoder_model(lambda x: vae.Normal(offset + slopes * x, np.float32(0.5)), 5)
    found = active_units(model, x, batch_size=64)
    np.testing.assert_allclose(found.variance, slopes.astype(float)**2, rtol=1e-4, atol=1e-12)
    assert found.active.tolist() == [True, True, False, False, True] and found.count == 3
    assert active_units(model, x, threshold=0.5).count == 2
    with pytest.raises(ValueError, match="two or more"):
        active_units(model, x[:1])


def test_active_units_by_draws_err_around_those_of_the_means_and_not_above_them():
    """Posteriors so wide that the plain variance of means of four draws is 25/4 too large."""
    x = np.random.default_rng(0).standard_normal((4_000, 1)).astype(np.float32)
    model = encoder_model(lambda x: vae.Normal(np.array([3, 0], np.float32) * x, np.float32(5)), 2)
    known = active_units(model, x)
    found = np.array([active_units(model, x, draws=4, rng=np.random.default_rng(seed)).variance
                      for seed in range(30)])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - known.variance) < 4 * error) and np.all(error < 0.1)
    for options in ({"draws": 3, "rng": np.random.default_rng(0)}, {"draws": 4}):
        with pytest.raises(ValueError, match="an even number of draws"):
            active_units(model, x, **options)


# -- the aggregate posterior, exactly --------------------------------------------------------------
def test_all_parts_agree_with_quadrature(plane, quadrature):
    model, x = table_model(plane)
    found = aggregate_decomposition(model, x, samples=40_000)
    for name, exact in quadrature.items():
        value, error = getattr(found, name)
        assert np.all(np.abs(value - exact) < 4 * error), name
        assert np.all(error < 0.015), name
    assert quadrature["total_correlation"] > 0.3  # there is something to find


def test_parts_add_up_with_common_draws(plane):
    found = aggregate_decomposition(*table_model(plane), samples=100)
    value = {name: part.value for name, part in found._asdict().items()}
    assert abs(value["kl"] - value["mutual_information"] - value["marginal_kl"]) < 1e-10
    assert abs(value["marginal_kl"] - value["total_correlation"]
               - value["dimension_kl"].sum()) < 1e-10


def test_the_kl_of_a_model_is_found_in_the_decomposition(dense):
    model, x = dense
    value, error = aggregate_decomposition(model, x, samples=20_000).kl
    q = mg.nn.frozen(model).posterior(x)
    assert abs(value - vae.kl(q, model.prior).mean()) < 4 * error < 0.05


@pytest.mark.parametrize("estimator, draws", [("exact", 50), ("stratified", 400)])
def test_standard_errors_are_those_of_other_seeds(estimator, draws):
    rng = np.random.default_rng(0)
    many = vae.Normal(rng.standard_normal((300, 2)), rng.uniform(0.2, 0.9, (300, 2)))
    model, x = table_model(many)
    found = [aggregate_decomposition(model, x, samples=draws, estimator=estimator, batch_size=20,
                                     seed=seed) for seed in range(100)]
    for name in ("mutual_information", "marginal_kl", "total_correlation"):
        values, errors = np.transpose([getattr(one, name) for one in found])
        assert 0.75 < values.std() / errors.mean() < 1.25, name  # 7 % is one standard deviation


@pytest.mark.parametrize("estimator", ["exact", *WEIGHTS])
def test_a_code_that_says_nothing_has_no_part(estimator):
    same = vae.Normal(np.zeros((N, 2)), np.ones((N, 2)))
    found = aggregate_decomposition(*table_model(same), samples=64, estimator=estimator,
                                    batch_size=4)
    missing = math.log(N) if estimator == "weighted" else 0  # its rows add up to 1/N
    assert found.mutual_information.value == pytest.approx(missing, abs=1e-12)
    assert found.kl.value == pytest.approx(0, abs=1e-12)
    # for the weighted one each factor lacks log N, so the total correlation has (n_z - 1) too much
    assert found.total_correlation.value == pytest.approx(missing, abs=1e-12)


def test_mutual_information_is_log_n_where_no_two_data_share_a_code_and_never_more(plane):
    apart = vae.Normal(100.0 * np.arange(N)[:, None] * np.ones(2), np.ones((N, 2)))
    found = aggregate_decomposition(*table_model(apart), samples=80)
    assert found.mutual_information.value == pytest.approx(math.log(N), abs=1e-12)
    model, x = table_model(plane)
    for seed in range(5):
        few = aggregate_decomposition(model, x, samples=10, seed=seed)
        assert few.mutual_information.value <= math.log(N)


@given(n=st.integers(1, 6), count=st.integers(1, 7), n_z=st.integers(1, 3),
       block=st.integers(1, 40), seed=st.integers(0, 99))
def test_log_aggregate_is_the_mean_of_densities_whatever_the_blocks(n, count, n_z, block, seed):
    rng = np.random.default_rng(seed)
    z, mean = rng.standard_normal((n, n_z)), 3 * rng.standard_normal((count, n_z))
    q = vae.Normal(mean, rng.uniform(0.1, 2, (n_z,)))  # one std for all
    found = log_aggregate(q, z, block=block)
    each = np.array([[[norm.pdf(z[i, j], mean[k, j], q.std[j]) for j in range(n_z)]
                      for k in range(count)] for i in range(n)])
    np.testing.assert_allclose(found.joint, np.log(each.prod(-1).mean(1)), rtol=1e-9)
    np.testing.assert_allclose(found.dimensions, np.log(each.mean(1)), rtol=1e-9)


def test_a_code_far_from_all_components_has_a_finite_log_density():
    q = vae.Normal(np.zeros((3, 2)), np.ones((3, 2)))
    assert log_aggregate(q, np.full((1, 2), 100.0)).joint[0] == pytest.approx(
        -1e4 - math.log(2 * math.pi))


def test_memory_is_bounded_by_the_block():
    rng = np.random.default_rng(0)
    q = vae.Normal(rng.standard_normal((2_000, 10)), rng.uniform(0.1, 1, (2_000, 10)))
    z = rows(q, slice(200)).sample(rng=rng)
    tracemalloc.start()
    try:
        log_aggregate(q, z, block=2**16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * 8 * 2**16  # bytes; all at once are 8 * 4,000,000 for one array


# -- minibatches -----------------------------------------------------------------------------------
def test_weights_are_those_of_the_paper():
    size, m = 10, 3
    last = (size - m) / (size * m)
    expected = [[1 / size, last, 1 / m, 1 / m], [1 / m, 1 / size, last, 1 / m],
                [1 / m, 1 / m, 1 / size, last], [last, 1 / m, 1 / m, 1 / size]]
    np.testing.assert_allclose(minibatch_weights(4, size), expected, rtol=1e-15)
    for kind in ("stratified", "symmetric"):
        np.testing.assert_allclose(minibatch_weights(4, size, kind).sum(1), 1, rtol=1e-14)
    np.testing.assert_array_equal(minibatch_weights(4, size, "weighted"), np.full((4, 4), 1 / 40))


def mean_over_minibatches(q, z, weights, n):
    """E Σ W_ik q(z|x_k) over all ordered minibatches: for each own datum at each place (n, N)."""
    density = np.exp(rows(q, slice(None)).log_prob(z))
    found = np.zeros((n, N))
    for batch in permutations(range(N), n):
        found[np.arange(n), list(batch)] += weights @ density[list(batch)]
    return found / math.perm(N - 1, n - 1)


def test_stratified_and_symmetric_weights_are_unbiased_for_q_of_z(plane):
    z, n = np.array([0.3, -0.2]), 4
    exact = np.exp(log_aggregate(plane, z[None]).joint[0])
    for kind in ("stratified", "symmetric"):
        found = mean_over_minibatches(plane, z, minibatch_weights(n, N, kind), n)
        np.testing.assert_allclose(found, exact, rtol=1e-12)
    # the values in the first two columns, as in the code published with the paper
    columns = np.full((n, n), 1 / (n - 1))
    columns[:, 0], columns[:, 1] = 1 / N, (N - n + 1) / (N * (n - 1))
    columns[n - 2, 0] = columns[0, 1]
    for wrong in (columns, minibatch_weights(n, N, "weighted")):
        assert np.abs(mean_over_minibatches(plane, z, wrong, n) / exact - 1).max() > 0.2


def test_log_of_a_minibatch_is_too_low_on_average_and_the_weighted_one_most(plane):
    model, x = table_model(plane)
    exact = aggregate_decomposition(model, x, samples=20_000).mutual_information.value
    found = {kind: aggregate_decomposition(model, x, samples=6_000, estimator=kind, batch_size=4)
             .mutual_information for kind in WEIGHTS}
    for value, error in found.values():
        assert value > exact + 4 * error
    assert found["weighted"].value > found["stratified"].value + 0.5
    assert found["weighted"].value < exact + math.log(N) + 0.5


def test_symmetric_weights_are_exact_for_all_data_in_one_batch(plane):
    z = plane.sample(rng=np.random.default_rng(0))
    found = log_minibatch_aggregate(plane, z, dataset_size=N, weights="symmetric")
    for a, b in zip(found, log_aggregate(plane, z), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_parts_of_a_minibatch_are_differentiable_by_the_encoder(kind):
    rng = np.random.default_rng(0)
    mean, log_std, eps = rng.standard_normal((3, 4, 2))

    def total_correlation(mean, log_std):
        q = vae.Normal.from_log_std(mean, 0.3 * log_std)
        z = q.mean + q.std * eps
        found = log_minibatch_aggregate(q, z, dataset_size=50, weights=kind)
        parts = decompose(q, vae.Normal.standard(2), z, found)
        return parts.total_correlation.sum() + 2 * parts.mutual_information.sum()
    mg.check_grads(total_correlation, (mean, log_std), order=2)


def test_float32_stays_float32_in_a_penalty():
    q = vae.Normal(mg.Tensor(np.zeros((4, 2), np.float32)), mg.Tensor(np.ones((4, 2), np.float32)))
    z = q.sample(rng=np.random.default_rng(0))
    parts = decompose(q, vae.Normal.standard(2), z, log_minibatch_aggregate(q, z, dataset_size=9))
    assert {part.dtype for part in parts} == {np.dtype(np.float32)}


def test_what_cannot_be_decomposed_is_refused(plane):
    model, x = table_model(plane)
    with pytest.raises(ValueError, match=r"dataset_size=3.*whole data set"):
        minibatch_weights(4, 3)
    with pytest.raises(ValueError, match="minibatch of one"):
        minibatch_weights(1, 3)
    with pytest.raises(ValueError, match=r"'mss'.*weighted, stratified, symmetric"):
        aggregate_decomposition(model, x, estimator="mss")
    with pytest.raises(ValueError, match="samples=1"):
        aggregate_decomposition(model, x, samples=1)
    with pytest.raises(ValueError, match=r"q has shape \(8, 2\) and z \(3, 2\)"):
        log_minibatch_aggregate(plane, np.zeros((3, 2)), dataset_size=9)
    full = encoder_model(lambda x: vae.MultivariateNormal(x, np.eye(2)), 2)
    with pytest.raises(TypeError, match=r"q\(z\|x\) is a MultivariateNormal.*no product"):
        aggregate_decomposition(full, np.zeros((4, 2)))
    two = vae.Mixture(np.zeros(2), vae.Normal(np.zeros((2, 2)), np.ones((2, 2))))
    with pytest.raises(TypeError, match=r"p\(z\) is a Mixture"):
        aggregate_decomposition(encoder_model(model.encoder, 2, two), x)
