"""Principal components against the eigenvectors of the covariance, and probabilistic PCA."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

import minigrad as mg
import vae
from vae.models.autoencoder import squared_error
from vae.models.pca import fit_pca

N, D, K = 60, 6, 2


def drawn(n=N, d=D, seed=0, dtype=np.float64):
    """Data with a mean, and a spectrum without ties."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 5).astype(dtype)


@pytest.fixture
def x():
    return drawn()


def eigen(x):
    """Eigenvalues and eigenvectors, as rows, of the covariance, the largest first."""
    values, vectors = linalg.eigh(np.cov(x.T.astype(np.float64), bias=True))
    return values[::-1], vectors.T[::-1]


# -- the components --------------------------------------------------------------------------------
@given(n=st.integers(4, 30), d=st.integers(2, 12), k=st.integers(1, 12), seed=st.integers(0, 99))
def test_components_are_the_leading_eigenvectors_of_the_covariance(n, d, k, seed):
    x, k = drawn(n, d, seed), min(k, n - 1, d)
    found, (values, vectors) = fit_pca(x, k), eigen(x)
    np.testing.assert_allclose(found.explained_variance, values[:k], rtol=1e-9)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(k), atol=1e-12)
    assert np.rad2deg(linalg.subspace_angles(found.components.T, vectors[:k].T)[0]) < 1e-4
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.noise_variance * (d - k), values[k:].sum(),
                               rtol=1e-9, atol=1e-12 * values[0])


def test_a_component_is_an_eigenvector_with_its_largest_entry_positive(x):
    found, (_, vectors) = fit_pca(x, K), eigen(x)
    for row, v in zip(found.components, vectors):
        np.testing.assert_allclose(row, v * np.sign(v[np.argmax(np.abs(v))]), rtol=1e-9)
    other = fit_pca(-x, K)  # the same directions, whatever sign the data have
    np.testing.assert_allclose(other.components, found.components, rtol=1e-9)


def test_codes_are_centred_and_uncorrelated_with_the_explained_variances(x):
    found = fit_pca(x, 4)
    z = found.encode(x)
    assert z.shape == (N, 4)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.diag(found.explained_variance),
                               atol=1e-11)


def test_the_squared_error_of_the_data_is_the_variance_left_out(x):
    values, _ = eigen(x)
    for k in range(1, D + 1):
        each = squared_error(fit_pca(x, k), x)
        assert each.shape == (N,) and each.dtype == np.float64
        np.testing.assert_allclose(each.mean(), values[k:].sum(), rtol=1e-9, atol=1e-20)


def test_a_reconstruction_is_the_nearest_point_of_the_plane(x):
    found = fit_pca(x, K)
    for i in range(3):
        z, *_ = np.linalg.lstsq(found.components.T, x[i] - found.mean, rcond=None)
        np.testing.assert_allclose(found.reconstruct(x[i]), found.mean + found.components.T @ z)
    np.testing.assert_allclose(found.encode(found.decode(np.eye(K))), np.eye(K), atol=1e-12)


def test_no_other_linear_code_has_a_smaller_error(x):
    rng, best = np.random.default_rng(0), squared_error(fit_pca(x, K), x).mean()
    centred = x - x.mean(axis=0)
    for size in (1e-3, 0.1, 10) * 20:
        q, _ = np.linalg.qr(fit_pca(x, K).components.T + size * rng.standard_normal((D, K)))
        assert np.square(centred - centred @ q @ q.T).sum(axis=1).mean() >= best


def test_all_components_give_the_data_back(x):
    np.testing.assert_allclose(fit_pca(x, D).reconstruct(x), x, rtol=1e-12)
    few = x[:3]  # three points lie in a plane
    np.testing.assert_allclose(fit_pca(few, 2).reconstruct(few), few, rtol=1e-12)


def test_float32_stays_and_is_summed_in_float64():
    x = drawn(20_000, 3, dtype=np.float32) + np.float32(1000)
    found = fit_pca(x, 2)
    assert found.mean.dtype == found.components.dtype == np.float32
    assert found.encode(x).dtype == found.reconstruct(x).dtype == np.float32
    assert found.explained_variance.dtype == np.float64
    values, _ = eigen(x)
    np.testing.assert_allclose(found.explained_variance, values[:2], rtol=1e-10)


def test_gradients_pass_through_it(x):
    found = fit_pca(x, K)
    mg.check_grads(found.encode, (x[:3],))
    mg.check_grads(found.decode, (np.ones((3, K)),))
    mg.check_grads(lambda x: np.sum(np.square(x - found.reconstruct(x)), axis=-1), (x[:3],))


def test_what_was_fitted_is_a_value(x):
    found, before = fit_pca(x, K), x.copy()
    found.reconstruct(x)
    assert np.array_equal(x, before)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.mean = x[0]


# -- probabilistic PCA ----------------------------------------------------------------------------
@pytest.mark.parametrize("k", [1, 2, 5])
def test_log_marginal_is_that_of_the_gaussian_with_the_fitted_covariance(x, k):
    values, vectors = eigen(x)
    var = values[k:].mean()
    w = vectors[:k].T * np.sqrt(values[:k] - var)  # Tipping and Bishop, equation 7, R = I
    p = stats.multivariate_normal(x.mean(axis=0), w @ w.T + var * np.eye(D))
    found = fit_pca(x, k)
    np.testing.assert_allclose(found.noise_variance, var, rtol=1e-10)
    for data in (x, drawn(7, seed=3), 10 * x):
        np.testing.assert_allclose(found.log_marginal(data), p.logpdf(data), rtol=1e-9)


def test_it_is_the_linear_gaussian_model_at_its_maximum(x):
    exact = vae.exact.LinearGaussian.most_likely(x, K)
    np.testing.assert_allclose(fit_pca(x, K).log_marginal(x), exact.log_marginal(x), rtol=1e-9)
    best = fit_pca(x, K).log_marginal(x).mean()
    for factor in (0.9, 1.1):
        assert best > vae.exact.LinearGaussian(
            exact.weight, exact.bias, factor * exact.std).log_marginal(x).mean()
        assert best > vae.exact.LinearGaussian(
            factor * exact.weight, exact.bias, exact.std).log_marginal(x).mean()


def test_log_marginal_of_float32_data_is_float64():
    x = drawn(dtype=np.float32)
    single = fit_pca(x, K)
    wide = dataclasses.replace(single, mean=single.mean.astype(np.float64),
                               components=single.components.astype(np.float64))
    found = single.log_marginal(x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wide.log_marginal(x.astype(np.float64)), rtol=1e-12)
    np.testing.assert_allclose(found, fit_pca(x.astype(np.float64), K).log_marginal(x), rtol=1e-4)


def test_where_nothing_is_left_out_there_is_no_likelihood(x):
    flat = x[:, :2] @ np.ones((2, 4))  # of rank 1, but for rounding
    for found, words in ((fit_pca(x, D), f"{D} components leave no variance of the {D}"),
                         (fit_pca(flat, 1), "1 components leave no variance of the 4")):
        with pytest.raises(ValueError, match=f"{words} .*σ² = 0 .*fit with a lower n_z"):
            found.log_marginal(x)


# -- what can't be -----------------------------------------------------------------------------
@pytest.mark.parametrize("n, d, n_z, most", [(60, 6, 7, 6), (4, 6, 5, 4), (60, 6, 0, 6),
                                             (60, 6, -1, 6)])
def test_as_many_components_as_there_can_be(n, d, n_z, most):
    with pytest.raises(ValueError, match=f"n_z={n_z} of {n} data of {d} dimensions: from 1 to "
                                         f"{most} components"):
        fit_pca(drawn(n, d), n_z)


def test_constant_data_have_no_direction(x):
    for data in (np.full((5, 3), 0.1), x[:1], np.full((70, 3), 0.1, np.float32)):
        with pytest.raises(ValueError, match="all the same: no direction in which they vary"):
            fit_pca(data, 1)


def test_data_that_are_no_table_of_finite_floats_are_refused(x):
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 360 values are NaN or infinite, .* \[3, 1\]"):
        fit_pca(bad, K)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\): rows .*x.reshape\(len\(x\), -1\)"):
        fit_pca(np.ones((2, 3, 4)), 1)
    with pytest.raises(TypeError, match="dtype uint8: floating point is expected; divide"):
        fit_pca(x.astype(np.uint8), K)
    with pytest.raises(TypeError, match=r"n_z=2\.0: the number of components is a whole number"):
        fit_pca(x, 2.0)


def test_arrays_of_another_width_are_refused(x):
    found = fit_pca(x, K)
    for name, width in (("encode", "6 dimensions of the data"), ("decode", "2 components")):
        with pytest.raises(ValueError, match=rf"PCA\.{name} of an array of shape \(3, 1\): its "
                                             f"last axis must be the {width}"):
            getattr(found, name)(np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"PCA\.encode"):
        found.log_marginal(x[:, :1])
