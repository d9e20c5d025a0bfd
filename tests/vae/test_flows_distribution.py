"""What flows make of a base: its density, its gradients, and its uses as posterior and prior."""

from __future__ import annotations

import gc
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import vae
from minigrad import nn, noise
from minigrad.nn import frozen, parameters, with_parameters
from tests.vae.flow_families import FAMILIES, INVERTIBLE, flow_of
from vae.flows import (
    Coupling,
    InverseAutoregressive,
    Planar,
    Sylvester,
    ToPlanar,
    ToTransformed,
    Transformed,
    couplings,
)
from vae.flows.transformed import _drawn

BASE = vae.Normal(np.array([0.3, -0.2]), np.array([0.8, 1.1]))


def chain(family, n=2, seed=0, depth=2, scale=0.5):
    return [flow_of(family, n, seed + 7 * i, scale) for i in range(depth)]


# -- density --------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", INVERTIBLE)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_density_of_a_draw_is_that_of_the_same_point_by_inversion(family, seed):
    q = frozen(Transformed(BASE, chain(family, seed=seed)))
    z = q.sample((6,), rng=np.random.default_rng(seed))
    np.testing.assert_allclose(q.log_prob(z), q.log_prob(z.copy()), atol=1e-8)


@pytest.fixture(scope="module")
def plane():
    """Points (400, 400, 2) and weights of a quadrature over ±200; none lies on an axis."""
    t, step = np.linspace(-6, 6, 400, retstep=True)
    x, y = np.meshgrid(np.sinh(t), np.sinh(t))  # close where densities are steep
    return np.stack((x, y), -1), np.cosh(t) * np.cosh(t)[:, None] * step**2


@pytest.mark.parametrize("family", INVERTIBLE)
def test_the_density_integrates_to_one_and_tells_the_share_of_draws_in_each_quadrant(family,
                                                                                     plane):
    q = frozen(Transformed(BASE, chain(family, seed=3, scale=0.4)))
    z, weights = plane
    mass = np.exp(q.log_prob(z)) * weights
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    draws = q.sample((40_000,), rng=np.random.default_rng(0))
    for signs in (1, 1), (1, -1), (-1, 1), (-1, -1):
        share = np.all(draws * signs > 0, axis=-1).mean()
        expected = mass[np.all(z * signs > 0, axis=-1)].sum()
        assert abs(share - expected) < 5 * math.sqrt(expected / 40_000) + 1e-3  # of the edges


def test_the_density_of_a_flow_without_inverse_integrates_to_one():
    """∫ q(z) dz over the z_0 of a grid: q(f(z_0)) |det| dz_0."""
    flow = frozen(flow_of("sylvester", 2, 1))
    axis = np.linspace(-8, 8, 401)
    start = np.stack(np.meshgrid(axis, axis), -1)
    there, _ = flow.forward(start)
    # the area of each image of a cell, by its corners
    a, b = (there[1:, 1:] - there[:-1, :-1]), (there[1:, :-1] - there[:-1, 1:])
    area = 0.5 * np.abs(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
    middle = 0.5 * (start[1:, 1:] + start[:-1, :-1])
    log_q = BASE.log_prob(middle) - flow.forward(middle)[1]
    assert (np.exp(log_q) * area).sum() == pytest.approx(1, abs=1e-3)


def test_a_draw_that_was_changed_afterwards_is_not_taken_for_the_one_that_was_drawn():
    q = frozen(Transformed(BASE, chain("planar")))
    z = q.sample((3,), rng=np.random.default_rng(0))
    before = q.log_prob(z)
    z += 1
    assert np.all(q.log_prob(z) != before)
    np.testing.assert_array_equal(q.log_prob(z), q.log_prob(z.copy()))


@pytest.mark.parametrize("frozen_too", [False, True])
@pytest.mark.parametrize("by", ["optimiser", "load"])
def test_a_draw_is_one_of_other_parameters_once_these_were_written_into(tmp_path, by, frozen_too):
    flows = chain("planar")
    q, z = Transformed(BASE, flows), None
    nn.save(tmp_path / "later.npz", chain("planar", seed=5))
    if frozen_too:
        q = frozen(q)
    z = q.sample((3,), rng=np.random.default_rng(0))
    before = mg.stop_gradient(q.log_prob(z))
    if by == "load":
        nn.load(tmp_path / "later.npz", flows)
        q = frozen(Transformed(BASE, flows)) if frozen_too else q  # whose arrays are others now
    else:
        np.sum(Transformed(BASE, flows).log_prob(mg.stop_gradient(z))).backward()
        mg.optim.SGD(parameters(flows), lr=0.3).step()
    after = mg.stop_gradient(q.log_prob(z))
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(after, frozen(Transformed(BASE, flows)).log_prob(
        mg.stop_gradient(z).copy()), atol=1e-9)


def test_what_is_known_of_a_draw_goes_with_it():
    q, rng = Transformed(BASE, chain("planar")), np.random.default_rng(0)
    before = len(_drawn)
    kept = [q.sample((3,), rng=rng) for _ in range(4)]
    assert len(_drawn) == before + 4
    kept.clear()
    gc.collect()
    assert len(_drawn) == before


def test_without_flows_it_is_the_base_and_infinity_has_no_density():
    q, x = Transformed(BASE, []), np.array([[0.1, 0.2], [np.inf, 0]])
    assert np.array_equal(q.log_prob(x), BASE.log_prob(x))
    assert np.array_equal(q.sample((2,), rng=np.random.default_rng(0)),
                          BASE.sample((2,), rng=np.random.default_rng(0)))
    found = frozen(Transformed(BASE, chain("coupling"))).log_prob(x)
    assert np.isfinite(found[0]) and found[1] == -np.inf


@pytest.mark.parametrize("family", INVERTIBLE)
def test_the_density_of_far_points_is_a_number_or_minus_infinity(family):
    q = frozen(Transformed(BASE, chain(family)))
    near, far, farthest, unknown = q.log_prob(np.array([[1, 2], [1e100, 1], [1e200, 1],
                                                        [np.nan, 1]]))
    assert np.isfinite(near) and -1e210 < far < -1e190 and farthest == -np.inf and np.isnan(unknown)


# -- gradients ------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_through_draws_and_their_density(family):
    """To first order; those of each flow are checked to second."""
    flows = chain(family, scale=0.3)
    eps = noise_of((4, 2))

    def f(mean, log_std, *w):
        q = Transformed(vae.Normal.from_log_std(mean, log_std), with_parameters(flows, w))
        with noise.replay(eps):
            z = q.sample((4,))
        return np.square(z).sum(-1) - q.log_prob(z)
    values = [p.data for p in parameters(flows)]
    mg.check_grads(f, (np.array([0.1, 0.4]), np.array([-0.3, 0.2]), *values), order=1)


def noise_of(shape):
    with noise.record() as tape:
        vae.Normal(np.zeros(2), np.ones(2)).sample(shape[:-1], rng=np.random.default_rng(2))
    return tape


@pytest.mark.parametrize("family", INVERTIBLE)
def test_the_gradient_of_the_density_of_a_draw_is_that_by_inversion(family):
    flows = chain(family)

    def slopes(by_inversion):
        q = Transformed(BASE, flows)
        z = q.sample((5,), rng=np.random.default_rng(0))
        for p in parameters(flows):
            p.grad = None
        q.log_prob(z + 0 if by_inversion else z).sum().backward()
        return [p.grad for p in parameters(flows)]
    for mine, expected in zip(slopes(False), slopes(True), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-8 * max(1, np.abs(expected).max()))


def test_stopped_draws_and_stopped_distributions_give_no_gradient_to_the_flows():
    q = Transformed(BASE, chain("planar"))
    rng = np.random.default_rng(0)
    assert type(q.stopped().sample((2,), rng=rng)) is np.ndarray
    z = q.sample((2,), rng=rng, stopped=True)
    with pytest.warns(vae.distributions.base.StoppedGradient, match="draws of Transformed"):
        z.sum().backward()


# -- uses -----------------------------------------------------------------------------------------
def banana(z):
    """An unnormalised log density: a parabola's neighbourhood."""
    return -0.5 * np.square(z[..., 0] / 1.5) - 2 * np.square(z[..., 1] - np.square(z[..., 0]) + 1)


def log_normaliser():
    x, y = np.meshgrid(np.linspace(-12, 12, 481), np.linspace(-6, 150, 1561))
    return math.log(np.exp(banana(np.stack((x, y), -1))).sum() * 0.05 * 0.1)


class Fitted:
    """q(z) with a mean and a spread that are learned, and flows."""

    def __init__(self, flows):
        self.mean, self.log_std = mg.Tensor(np.zeros(2)), mg.Tensor(np.zeros(2))
        self.flows = flows

    def __call__(self):
        return Transformed(vae.Normal.from_log_std(self.mean, self.log_std), self.flows)


def gap_of(flows, steps=400):
    """log Z - E_q[log p̃ - log q] after training, and its standard error."""
    model, rng = Fitted(flows), np.random.default_rng(1)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=2e-2)

    def bound(model, n):
        q = model()
        z = q.sample((n,), rng=rng)
        return banana(z) - q.log_prob(z)
    for step in range(steps):
        optimizer.lr = 2e-2 * (1 - step / steps)
        for p in parameters(model):
            p.grad = None
        (-bound(model, 64).mean()).backward()
        optimizer.step()
    found = bound(frozen(model), 20_000)
    return log_normaliser() - found.mean(), found.std() / math.sqrt(len(found))


def smallest_gap_of_a_diagonal_normal():
    """log Z minus the best ELBO: in closed form, at mean (0, s² - 1) and spreads s and ½.

    E log p̃ = -s²/4.5 - 2 (¼ + 2 s⁴) there; its slope by s with that of log s is 0.
    """
    a = 2 / 4.5
    s2 = (-a + math.sqrt(a * a + 64)) / 32
    entropy = 0.5 * math.log(s2) + math.log(0.5) + 1 + math.log(2 * math.pi)
    return log_normaliser() - (-s2 / 4.5 - 2 * (0.25 + 2 * s2**2) + entropy)


def test_on_a_banana_flows_leave_a_smaller_gap_than_the_best_diagonal_normal():
    assert log_normaliser() == pytest.approx(math.log(2 * math.pi * 1.5 * 0.5), abs=1e-9)
    best = smallest_gap_of_a_diagonal_normal()
    diagonal, error = gap_of([])
    assert abs(diagonal - best) < 5 * error + 0.01
    options = {"rng": np.random.default_rng(0), "dtype": np.float64}
    for flows in ([Planar(2, **options) for _ in range(4)],
                  couplings(2, 3, hidden=(16,), **options)):
        gap, error = gap_of(flows)
        assert -5 * error < gap < best - 0.1 - 5 * error


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    patterns, flips = rng.integers(0, 2, (4, 20)), rng.random((200, 20)) < 0.05
    return (patterns[rng.integers(0, 4, 200)] ^ flips).astype(np.float32)


def posteriors():
    rng = np.random.default_rng(0)
    options = {"rng": rng, "n_context": 8}
    return {
        "planar": [Planar(3, rng=rng) for _ in range(3)],
        "amortised planar": [ToPlanar(3, 8, rng=rng) for _ in range(3)],
        "iaf with context": [InverseAutoregressive(3, reverse=r, **options) for r in (True, False)],
        "sylvester": [Sylvester(3, rng=rng)],
    }


def model_with(flows, prior):
    rng = np.random.default_rng(0)
    encoder = vae.networks.dense([20, 8, 3], partial(ToTransformed, flows=flows), rng=rng)
    return vae.VAE(encoder, vae.networks.dense([3, 8, 20], vae.networks.ToBernoulli, rng=rng),
                   prior)


@pytest.mark.parametrize("posterior", posteriors())
@pytest.mark.parametrize("objective", [vae.estimators.sgvb_a,
                                       partial(vae.estimators.iwae, samples=3)])
def test_as_posterior_and_as_prior_it_is_trained_by_fit(data, posterior, objective):
    model = model_with(posteriors()[posterior],
                       Transformed(vae.Normal.standard(3), couplings(3, 2, hidden=(8,),
                                                                     rng=np.random.default_rng(2))))
    weights = parameters(model)
    before = [p.data.copy() for p in weights]
    history = vae.fit(model, data, epochs=8, batch_size=50, objective=objective,
                      optimizer=mg.optim.Adam(weights, lr=1e-2), rng=np.random.default_rng(1))
    assert history.rows[-1]["train_bound"] > history.rows[0]["train_bound"] + 0.5
    assert all(np.any(p.data != old) for p, old in zip(weights, before, strict=True))
    assert {p.dtype for p in weights} == {np.dtype(np.float32)}
    assert model.sample(5, rng=np.random.default_rng(0)).dtype == np.float32


def test_at_an_exact_posterior_the_landing_sticks():
    """With log q - log p constant, the stopped estimator has no gradient at all."""
    flows = chain("coupling") + chain("planar", seed=5)
    q = Transformed(BASE, flows)
    z = q.sample((5,), rng=np.random.default_rng(0))
    (q.stopped().log_prob(z) - frozen(Transformed(BASE, flows)).log_prob(z + 0)).sum().backward()
    assert max(np.abs(p.grad).max() for p in parameters(flows)) < 1e-9


# -- errors ---------------------------------------------------------------------------------------
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: Transformed(np.zeros(2), []), TypeError, r"Transformed\(ndarray, flows\): the base"),
    (lambda: Transformed(vae.Gamma(np.ones(2), np.ones(2)), []), ValueError,
     "flows map vectors of all real numbers"),
    (lambda: Transformed(vae.Normal(0.0, 1.0), []), ValueError, "events of one axis"),
    (lambda: Transformed(BASE, [Planar(3, rng=RNG)]), ValueError,
     r"flows\[0\] is of 3 dimensions, the base Normal\(shape=\(2,\), event_ndim=1\) of 2"),
    (lambda: Transformed(BASE, [np.tanh]), TypeError, r"flows\[0\] is ufunc, no Flow$"),
    (lambda: Transformed(BASE, [ToPlanar(2, 3, rng=RNG)]), TypeError, r"take flow.given\(h\)"),
    (lambda: Transformed(BASE, [Sylvester(2, rng=RNG)]).log_prob(np.zeros(2)),
     NotImplementedError, "log_prob of its own draws"),
    (lambda: Transformed(BASE, []).mean, NotImplementedError, r"q.sample\(\(n,\), rng=rng\).mean"),
    (lambda: Transformed(BASE, []).variance, NotImplementedError, r"rng=rng\).var\(0\)"),
    (lambda: Transformed(BASE, []).entropy(), NotImplementedError, "no closed form"),
    (lambda: vae.kl(Transformed(BASE, [Coupling(2, rng=RNG)]), BASE), TypeError, "Transformed"),
])
def test_errors_say_what_was_given_and_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call()
