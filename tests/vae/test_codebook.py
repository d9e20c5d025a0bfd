"""Codebooks: the nearest code, what each loss moves, moving averages, usage and dead codes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.tensor import untraced
from vae.models import codebook as codebooks
from vae.models.codebook import Codebook, MovingCodebook, nearest

SEEDS = st.integers(0, 2**32 - 1)


def by_loops(z, vectors):
    """The first of the nearest vectors, all in Python's loops and exact sums."""
    def distance(a, b):
        return math.fsum((float(p) - float(q)) ** 2 for p, q in zip(a, b))
    return [min(range(len(vectors)), key=lambda k: distance(row, vectors[k])) for row in z]


def book(n_codes=6, dimensions=3, *, seed=0, kind=Codebook, dtype=np.float32, **options):
    made = kind(n_codes, dimensions, rng=np.random.default_rng(seed), **options)
    if kind is Codebook:
        made.weight = mg.Tensor(made.weight.data.astype(dtype))
    return made


def at(e):
    """A codebook with these vectors, to be differentiated by them."""
    made = book()
    made.weight = e / made.rate
    return made


def rng():
    return np.random.default_rng(3)


# -- the nearest code -----------------------------------------------------------------------------
@given(SEEDS, st.integers(1, 9), st.integers(1, 4), st.sampled_from([np.float32, np.float64]))
def test_the_nearest_code_is_that_of_loops(seed, n_codes, d, dtype):
    r = np.random.default_rng(seed)
    z, e = r.normal(size=(40, d)).astype(dtype), r.normal(size=(n_codes, d)).astype(dtype)
    assert nearest(z, e).tolist() == by_loops(z, e)


@given(SEEDS, st.sampled_from([np.float32, np.float64]))
def test_of_ties_and_of_duplicates_the_first_is_taken(seed, dtype):
    r = np.random.default_rng(seed)
    e = r.integers(-2, 3, (17, 2)).astype(dtype)  # with duplicates
    z = (r.integers(-4, 5, (60, 2)) / 2).astype(dtype)  # often in the middle of several
    assert nearest(z, e).tolist() == by_loops(z, e)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0), (1e4, 0), (1, 3e3), (1e6, 1e6)])
def test_far_encodings_and_a_common_offset_cost_no_digit(dtype, scale, offset):
    r = np.random.default_rng(5)
    z = (scale * r.normal(size=(80, 16)) + offset).astype(dtype)
    e = (r.normal(size=(30, 16)) + offset).astype(dtype)
    assert nearest(z, e).tolist() == by_loops(z, e)


def test_blocks_change_nothing(monkeypatch):
    r = np.random.default_rng(0)
    z, e = r.integers(-2, 3, (2, 500, 4)).astype(np.float32)
    whole = nearest(z, e[:50])
    monkeypatch.setattr(codebooks, "BLOCK", 130)
    assert np.array_equal(nearest(z, e[:50]), whole)


def test_codes_keep_the_axes_of_the_encodings():
    z = rng().normal(size=(2, 4, 5, 3)).astype(np.float32)
    codes = book().codes(z)
    assert codes.shape == (2, 4, 5)
    assert codes[1, 2].tolist() == by_loops(z[1, 2], book().vectors.data)


# -- quantisation ---------------------------------------------------------------------------------
def test_quantised_encodings_are_the_vectors_themselves_and_float32_stays():
    z = mg.Tensor(rng().normal(size=(4, 5, 3)).astype(np.float32))
    found = book().quantise(z)
    assert np.array_equal(found.z.data, book().vectors.data[found.codes])
    assert {a.dtype for a in (found.z, found.codebook_loss, found.commitment)} == {
        np.dtype(np.float32)}


def test_the_gradient_passes_straight_through():
    z, weight = rng().normal(size=(2, 4, 5, 3))
    b = book(dtype=np.float64)

    def after(z_q):
        return (np.sin(z_q) * weight).sum()
    of_encodings = mg.grad(lambda z: after(b.quantise(z).z))(z)
    of_vectors = mg.grad(after)(b.vectors.data[b.codes(z)])
    assert np.array_equal(of_encodings, of_vectors) and np.abs(of_vectors).max() > 0.1


def test_the_two_losses_are_summed_squares_and_each_moves_its_own():
    z, b = rng().normal(size=(4, 5, 3)), book(dtype=np.float64)
    e, codes = b.vectors.data, b.codes(z)
    away = z - e[codes]
    for loss in (b.quantise(z).codebook_loss.data, b.quantise(z).commitment):
        expected = [sum(float(away[i, j, k]) ** 2 for j in range(5) for k in range(3))
                    for i in range(4)]
        np.testing.assert_allclose(loss, expected, rtol=1e-14)

    def losses(z, e):
        return at(e).quantise(z)[2:]
    by_z, by_e = mg.grad(lambda z, e: losses(z, e)[0].sum(), argnums=(0, 1))(z, e)
    expected = np.zeros_like(e)
    for i, j in np.ndindex(codes.shape):
        expected[codes[i, j]] -= 2 * away[i, j]
    assert not by_z.any()
    np.testing.assert_allclose(by_e, expected, atol=1e-13)
    by_z, by_e = mg.grad(lambda z, e: losses(z, e)[1].sum(), argnums=(0, 1))(z, e)
    assert not by_e.any()
    np.testing.assert_allclose(by_z, 2 * away, rtol=1e-15)


def test_the_differentiable_parts_agree_with_finite_differences():
    z, e = rng().normal(size=(4, 5, 3)), book().vectors.data.astype(np.float64)
    codes = nearest(z.reshape(-1, 3), e).reshape(4, 5)

    def of_vectors(e):
        return at(e).quantise(z).codebook_loss, at(e).lookup(codes)

    def of_encodings(z):
        return at(e).quantise(z).commitment
    mg.check_grads(of_vectors, (e,), order=2)
    mg.check_grads(of_encodings, (z,), order=2)


def test_the_rate_is_how_much_faster_adam_moves_the_vectors():
    z, steps = rng().normal(size=(40, 3)).astype(np.float32), []
    for rate in (1.0, 32.0):
        b = book(rate=rate)
        before = b.vectors.data
        assert np.array_equal(before, book().vectors.data)
        b.quantise(z).codebook_loss.sum().backward()
        mg.optim.Adam([b.weight], lr=1e-3).step()
        steps.append(b.vectors.data - before)
    assert np.abs(steps[0]).max() == pytest.approx(1e-3, rel=1e-3)
    np.testing.assert_allclose(steps[1], 32 * steps[0], rtol=1e-3, atol=1e-5)


# -- moving averages ------------------------------------------------------------------------------
def test_moving_averages_are_those_of_an_explicit_loop():
    b, r = book(kind=MovingCodebook, decay=0.8), rng()
    n, m, e = [1.0] * 6, b.vectors.astype(np.float64).tolist(), b.vectors.copy()
    for _ in range(7):
        z = r.normal(size=(3, 4, 3)).astype(np.float32)
        codes = by_loops(z.reshape(-1, 3), b.vectors)
        b.update(z, b.codes(z))
        for k in range(6):
            mine = [row for row, code in zip(z.reshape(-1, 3), codes) if code == k]
            n[k] = 0.8 * n[k] + 0.2 * len(mine)
            m[k] = [0.8 * m[k][j] + 0.2 * sum(float(row[j]) for row in mine) for j in range(3)]
            e[k] = [m[k][j] / n[k] for j in range(3)]
        np.testing.assert_allclose(b.counts, n, rtol=1e-12)
        np.testing.assert_allclose(b.sums, m, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(b.vectors, e, rtol=2e-7, atol=1e-7)
    assert b.vectors.dtype == np.float32 and b.counts.dtype == b.sums.dtype == np.float64


def test_a_code_that_nothing_takes_stays_where_it_is_for_ever():
    b = book(kind=MovingCodebook, decay=0.5)
    before, z = b.vectors.copy(), np.full((1, 3), 9, np.float32)
    taken = b.codes(z)[0]
    for _ in range(1200):  # 2^-1200 is below all numbers
        b.update(z, b.codes(z))
    others = np.arange(6) != taken
    assert np.array_equal(b.vectors[others], before[others]) and b.counts[others].max() < 1e-300
    np.testing.assert_allclose(b.vectors[taken], 9, rtol=1e-6)


# -- usage and dead codes -------------------------------------------------------------------------
def test_usage_counts_codes_and_their_perplexity():
    found = book().usage(np.array([[0, 0, 3], [3, 5, 5]]))
    assert found.counts.tolist() == [2, 0, 0, 2, 0, 2] and found.used == 3
    assert found.perplexity == pytest.approx(3, rel=1e-12)
    assert book().usage(np.array([4, 4])).perplexity == 1
    p = np.array([1, 5]) / 6
    assert book().usage(np.array([1, 2, 2, 2, 2, 2])).perplexity == pytest.approx(
        float(np.prod(p ** -p)), rel=1e-12)


@pytest.mark.parametrize("kind", [Codebook, MovingCodebook])
def test_dead_codes_revive_at_encodings_and_the_others_stay(kind):
    b, z = book(kind=kind), rng().normal(size=(8, 4, 3)).astype(np.float32)
    (b.vectors if kind is MovingCodebook else b.weight.data)[[1, 4]] = 1e3  # near nothing
    if kind is MovingCodebook:
        b.counts[:] = 7
    before = np.array(untraced(b.vectors))
    assert b.revive(z, rng=rng()).tolist() == [1, 4]
    others, vectors = [0, 2, 3, 5], untraced(b.vectors)
    assert np.array_equal(vectors[others], before[others])
    rows = z.reshape(-1, 3).tolist()
    assert vectors[1].tolist() in rows and vectors[4].tolist() in rows
    assert b.usage(b.codes(z)).counts[[1, 4]].min() >= 1
    if kind is MovingCodebook:
        assert b.counts[1] == 1 and np.array_equal(b.sums[4], vectors[4])
    assert not len(b.revive(z, rng=rng()))


@pytest.mark.parametrize(("least", "dead"), [(1, []), (2, [0]), (3, [0, 1]), (4, [0, 1, 2])])
def test_codes_that_fewer_than_least_take_are_dead(least, dead):
    b = book(3, 1)
    b.weight.data[:] = np.array([[0], [10], [20]]) / b.rate
    z = np.array([[0], [9], [11], [19], [20], [21]], np.float32)  # 1, 2 and 3 of them
    assert b.revive(z, rng=rng(), least=least).tolist() == dead


def test_a_codebook_starts_at_different_encodings():
    b, z = book(), np.arange(6 * 3, dtype=np.float32).reshape(6, 3)
    b.start_at(z, rng=rng())
    assert sorted(b.vectors.data.tolist()) == z.tolist()


# -- what bad input gets --------------------------------------------------------------------------
@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: book().start_at(np.zeros((5, 3)), rng=rng()), ValueError,
     "codebook of 6 codes is larger than the 5 encodings given to start it from: give more data"),
    (lambda: book().revive(np.zeros((5, 3)), rng=rng()), ValueError, "larger than the 5"),
    (lambda: book().quantise(np.zeros((2, 4))), ValueError,
     r"encodings of shape \(2, 4\): the last axis must be that of the 3 dimensions"),
    (lambda: book().codes(np.array([[0, np.nan, 1]])), ValueError, "encodings must be finite"),
    (lambda: book().lookup(np.array([0, 6])), ValueError, "codes from 0 to 6: .*are 0 to 5"),
    (lambda: book().lookup(np.array([-1])), ValueError, "codes from -1 to -1"),
    (lambda: book().usage(np.array([1.0])), TypeError, "codes as float64: an array of whole"),
    (lambda: book().lookup([1]), TypeError, "codes as list: an array"),
    (lambda: Codebook(0, 3, rng=rng()), ValueError, r"Codebook\(0, 3\): at least one code"),
    (lambda: Codebook(2, 3, rng=rng(), rate=0), ValueError, r"rate=0\): a number above 0"),
    (lambda: MovingCodebook(2, 3, rng=rng(), decay=1), ValueError, "decay=1.*below 1"),
    (lambda: book(kind=MovingCodebook).update(np.zeros((4, 3)), np.zeros(3, int)), ValueError,
     r"codes of shape \(3,\) for encodings of shape \(4, 3\)"),
])
def test_errors_say_what_would_fit(call, error, text):
    with pytest.raises(error, match=text):
        call()
