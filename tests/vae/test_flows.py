"""Normalizing flows: their maps, and the log-determinants of these."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.nn import frozen, parameters, with_parameters
from tests.vae.flow_families import FAMILIES, INVERTIBLE, flow_of
from vae.flows import (
    Coupling,
    InverseAutoregressive,
    Made,
    Planar,
    Radial,
    Sylvester,
    ToPlanar,
    couplings,
)

seeds = st.integers(0, 2**32 - 1)


def points(n, seed, count=5, scale=2.0):
    return np.random.default_rng(seed + 1).normal(0, scale, (count, n))


# -- the map --------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", INVERTIBLE)
@given(seed=seeds, n=st.integers(2, 6))
def test_inverse_of_forward_is_where_it_began(family, seed, n):
    flow, z = frozen(flow_of(family, n, seed)), points(n, seed)
    there, log_det = flow.forward(z)
    back, log_det_back = flow.inverse_with_log_det(there)
    assert np.abs(flow.inverse(there) - z).max() <= 1e-10
    assert np.abs(back - z).max() <= 1e-10
    assert np.abs(log_det + log_det_back).max() <= 1e-10
    assert np.abs(flow.forward(flow.inverse(z))[0] - z).max() <= 1e-10


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=seeds, n=st.integers(2, 6))
def test_log_det_is_that_of_the_jacobian(family, seed, n):
    flow = frozen(flow_of(family, n, seed))
    for z in points(n, seed, count=2):
        sign, expected = np.linalg.slogdet(mg.jacobian(lambda z: flow.forward(z)[0])(z))
        assert sign == 1 and abs(flow.forward(z)[1] - expected) <= 1e-10


@pytest.mark.parametrize("family", ["planar", "radial", "iaf", "maf", "sylvester"])
def test_one_dimension_will_do(family):
    flow = frozen(flow_of(family, 1, 3))
    z = np.array([0.7])
    slope = mg.jacobian(lambda z: flow.forward(z)[0])(z)
    assert flow.forward(z)[1] == pytest.approx(np.log(slope[0, 0]), abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_by_z_and_by_parameters_to_second_order(family):
    flow = flow_of(family, 3, 5, scale=0.3 if family == "maf" else 0.7)  # it divides by its gates
    values = [p.data for p in parameters(flow)]
    for part in 0, 1:
        mg.check_grads(lambda z, *w, part=part: with_parameters(flow, w).forward(z)[part],
                       (points(3, 5, count=2), *values), order=2)


@pytest.mark.parametrize("family", INVERTIBLE)
def test_gradients_of_the_inverse_to_second_order(family):
    flow = flow_of(family, 2, 6, scale=0.7)
    values = [p.data for p in parameters(flow)]
    mg.check_grads(lambda z, *w: with_parameters(flow, w).inverse(z),
                   (points(2, 6, count=2), *values), order=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_stays_float32(family):
    flow = FAMILIES[family](4, rng=np.random.default_rng(0))
    z = np.random.default_rng(1).standard_normal((3, 4), np.float32)
    for each in flow, frozen(flow):
        found = [*each.forward(z)]
        if family in INVERTIBLE:
            found.append(each.inverse(z))
        assert {a.dtype for a in found} == {np.dtype(np.float32)}
    (found[0].sum() + sum(a.sum() for a in flow.forward(z))).backward()
    assert all(p.grad.dtype == np.float32 for p in parameters(flow))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0, 1e-12, 30, 1e4])
@pytest.mark.parametrize("family", FAMILIES)  # "maf" too: its gates are never closed
def test_extreme_parameters_give_finite_numbers_and_gradients(family, scale, dtype):
    for seed in range(5):
        if family == "sylvester" and scale == 0:
            continue  # a Householder vector of 0 is no direction
        flow = flow_of(family, 3, seed, scale, dtype)
        z = np.concatenate([points(3, seed), np.zeros((1, 3))]).astype(dtype)
        there, log_det = flow.forward(z)
        (there.sum() + log_det.sum()).backward()
        for array in there.data, log_det.data, *(p.grad for p in parameters(flow)):
            assert np.isfinite(array).all()


# -- what each family promises --------------------------------------------------------------------
def test_a_planar_flow_stays_invertible_where_wᵀu_is_far_below_minus_one():
    flow = Planar.of(np.array([-30.0, 4.0]), np.array([2.0, -1.0]), np.array(0.3))
    z = np.linspace(-3, 3, 501)[:, None] * flow.w  # along w, where it would fold
    there = flow.forward(z)[0]
    assert np.all(np.diff(there @ flow.w) > 0)
    # the same without the constraint folds
    plain = z + flow.u * np.tanh(z @ flow.w + flow.b)[:, None]
    assert np.any(np.diff(plain @ flow.w) < 0)


def test_a_planar_flow_with_u_of_zero_is_the_identity():
    flow = Planar.of(np.zeros(3), np.array([1.0, 2.0, 3.0]), np.array(0.1))
    z = points(3, 0)
    there, log_det = flow.forward(z)
    assert np.abs(there - z).max() < 1e-12 and np.abs(log_det).max() < 1e-12


def test_a_planar_flow_matches_the_loop_over_the_rows_of_amortised_parameters():
    rng = np.random.default_rng(0)
    to = ToPlanar(3, 4, rng=rng, dtype=np.float64)
    to.linear.weight.data[...] = rng.standard_normal(to.linear.weight.shape)
    h, z = rng.standard_normal((6, 4)), rng.standard_normal((2, 6, 3))
    flow = frozen(to).given(h)
    there, log_det = flow.forward(z)
    assert np.abs(flow.inverse(there) - z).max() < 1e-10
    for i in range(6):
        one = Planar.of(flow.u[i], flow.w[i], flow.b[i])
        for mine, single in zip((there[:, i], log_det[:, i]), one.forward(z[:, i])):
            np.testing.assert_allclose(mine, single, atol=1e-13)


def test_a_radial_flow_moves_along_rays_and_leaves_its_centre():
    flow = frozen(flow_of("radial", 4, 2))
    z = points(4, 2)
    there = flow.forward(z)[0] - flow.centre
    ratio = there / (z - flow.centre)
    assert np.ptp(ratio, axis=-1).max() < 1e-12 and ratio.min() > 0
    np.testing.assert_array_equal(flow.forward(flow.centre)[0], flow.centre)
    np.testing.assert_allclose(flow.inverse(flow.centre), flow.centre, atol=1e-15)
    slopes = mg.grad(lambda z: flow.inverse(z).sum())(flow.centre + 0)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("mask", [None, [False, True, True, False]])
def test_a_coupling_keeps_what_its_mask_says_and_begins_as_the_identity(mask):
    flow, z = Coupling(4, rng=np.random.default_rng(0), mask=mask), points(4, 0)
    there, log_det = frozen(flow).forward(z)
    assert np.array_equal(there, z) and not log_det.any()
    for p in parameters(flow):
        p.data[...] = np.random.default_rng(1).standard_normal(p.shape)
    kept = flow.kept == 1
    there = frozen(flow).forward(z)[0]
    assert np.array_equal(there[:, kept], z[:, kept]) and np.all(there[:, ~kept] != z[:, ~kept])


def test_couplings_take_turns():
    first, second, third = couplings(5, 3, rng=np.random.default_rng(0))
    assert np.array_equal(first.kept, second.moved) and np.array_equal(first.kept, third.kept)


@pytest.mark.parametrize("order", [None, [3, 2, 1, 0], [2, 0, 3, 1]])
@pytest.mark.parametrize("hidden", [(7,), (7, 9)])
def test_outputs_of_a_made_depend_on_all_inputs_before_theirs_and_on_no_other(order, hidden):
    rng = np.random.default_rng(0)
    net = frozen(Made(4, hidden, 2, rng=rng, order=order, dtype=np.float64))
    place = np.arange(4) if order is None else np.array(order)
    for part in 0, 1:
        slopes = mg.jacobian(lambda x, part=part: net(x)[part])(rng.standard_normal(4))
        np.testing.assert_array_equal(slopes != 0, place[None, :] < place[:, None])


def test_iaf_is_algorithm_1_of_the_paper_in_loops():
    flow = frozen(flow_of("iaf", 4, 8, scale=0.6))
    z = points(4, 8, count=1)[0]
    expected, log_det = np.empty(4), 0.0
    for i in range(4):
        seen = np.where(np.arange(4) < i, z, 99.0)  # what comes later must not matter
        m, s = (a[i] for a in flow.network(seen))
        gate = 1 / (1 + np.exp(-8 * np.tanh(s / 8)))
        expected[i] = gate * z[i] + (1 - gate) * m
        log_det += np.log(gate)
    there, found = flow.forward(z)
    np.testing.assert_allclose(there, expected, atol=1e-13)
    assert found == pytest.approx(log_det, abs=1e-13)


def test_the_context_of_an_iaf_reaches_each_row():
    rng = np.random.default_rng(0)
    flow = frozen(InverseAutoregressive(3, rng=rng, n_context=2, dtype=np.float64))
    h, z = rng.standard_normal((5, 2)), rng.standard_normal((4, 5, 3))
    there, log_det = flow.given(h).forward(z)
    for i in range(5):
        one, its = flow.given(h[i]).forward(z[:, i])
        np.testing.assert_allclose(there[:, i], one, atol=1e-14)
        np.testing.assert_allclose(log_det[:, i], its, atol=1e-14)
    assert np.abs(there[:, 0] - flow.given(h[1]).forward(z[:, 0])[0]).max() > 1e-3
    assert np.abs(flow.given(h).inverse(there) - z).max() < 1e-10


def test_sylvesters_directions_are_orthonormal():
    q = frozen(flow_of("sylvester", 5, 1))._orthogonal()
    np.testing.assert_allclose(q @ q.T, np.eye(5), atol=1e-14)


# -- errors ---------------------------------------------------------------------------------------
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: Planar(0, rng=RNG), ValueError, r"Planar\(0\): the number of dimensions is a whole"),
    (lambda: Coupling(1, rng=RNG), ValueError, r"Coupling\(1\): .* 2 or more"),
    (lambda: Coupling(3, rng=RNG, mask=[True, True, True]), ValueError, "neither all nor none"),
    (lambda: Coupling(3, rng=RNG, mask=[0, 1, 0]), ValueError, "3 booleans, True where z is kept"),
    (lambda: couplings(3, 0, rng=RNG), ValueError, "depth=0.: at least one"),
    (lambda: Made(3, (4,), 2, rng=RNG, order=[0, 0, 1]), ValueError, "places 0 to 2 once"),
    (lambda: Made(3, (), 2, rng=RNG), ValueError, "one hidden layer or more"),
    (lambda: Planar.of(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)), ValueError,
     r"u \(2, 3\), w \(2, 3\) and b \(3,\) must be"),
    (lambda: Radial(3, rng=RNG).forward(np.ones((5, 2))), ValueError,
     r"Radial of 3 dimensions was given an array of shape \(5, 2\): its last axis must have 3"),
    (lambda: Sylvester(2, rng=RNG).inverse(np.ones(2)), NotImplementedError,
     "Sylvester has no inverse in closed form: log_prob of its own draws"),
    (lambda: InverseAutoregressive(2, rng=RNG, n_context=3).forward(np.ones(2)), ValueError,
     r"n_context=3 has no context: take flow.given\(h\)"),
])
def test_errors_say_what_was_given_and_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call()
