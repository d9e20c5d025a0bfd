"""Planar layers in one pass, the recurrence they are made of, and flows as posterior and prior."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

import minigrad as mg
import vae
from minigrad.nn import frozen, parameters, with_parameters
from vae.flows import (
    InverseAutoregressive,
    Planar,
    Radial,
    Sylvester,
    ToTransformed,
    Transformed,
    couplings,
)
from vae.flows.base import Flow
from vae.flows.recurrence import linear_recurrence, tanh_recurrence

# of g, with the batch that goes with it
SHAPES = {"shared": ((4, 4), (3,)), "of each row": ((4, 4, 2), (2,)),
          "of each row, several draws": ((4, 4, 1, 2), (2, 2))}


def numbers(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


# -- the recurrence -------------------------------------------------------------------------------
@pytest.mark.parametrize("g_shape, batch", SHAPES.values(), ids=SHAPES)
def test_recurrences_are_their_formulas_in_loops(g_shape, batch):
    a, s, g = numbers((4, *batch), (4, *batch), g_shape)
    each = np.broadcast_to(g if g.ndim > 2 else g[..., None], (4, 4, *batch))
    t, d = np.zeros_like(a), np.zeros_like(a)
    for k in range(4):
        t[k] = np.tanh(a[k] + sum(each[k, j] * t[j] for j in range(k)))
        d[k] = s[k] * (a[k] + sum(each[k, j] * d[j] for j in range(k)))
    np.testing.assert_allclose(tanh_recurrence(a, g), t, atol=1e-15)
    np.testing.assert_allclose(linear_recurrence(a, s, g), d, atol=1e-14)


@pytest.mark.parametrize("g_shape, batch", SHAPES.values(), ids=SHAPES)
def test_gradients_of_recurrences_to_second_order(g_shape, batch):
    a, s, g = numbers((4, *batch), (4, *batch), g_shape)
    mg.check_grads(tanh_recurrence, (a, g), order=2)
    mg.check_grads(linear_recurrence, (a, s, g), order=2)


def test_a_graph_that_is_gone_through_twice_gives_the_gradient_of_each_seed():
    a, g = (mg.Tensor(x) for x in numbers((4, 5), (4, 4)))
    t, found = tanh_recurrence(a, g), []
    for seed in (1.0, -2.0):
        a.grad = g.grad = None
        t.backward(np.full(t.shape, seed), retain=True)
        found.append((a.grad, g.grad))
    for one, other in zip(*found):
        np.testing.assert_allclose(other, -2 * one, rtol=1e-13)


# -- planar layers in one pass --------------------------------------------------------------------


# the batch of the parameters, and of z
CHAINS = {"shared": ((), (5,)), "shared, one point": ((), ()),
          "shared, several draws": ((), (2, 3)),
          "amortised": ((3,), (3,)), "amortised, several draws": ((3,), (2, 3))}


@pytest.mark.parametrize("batch, of_z", CHAINS.values(), ids=CHAINS)
def test_a_chain_of_planar_layers_is_one_layer_after_the_other(batch, of_z):
    u, w, b, z = numbers((3, *batch, 2), (3, *batch, 2), (3, *batch), (*of_z, 2))

    def f(through, part):
        return lambda z, u, w, b: through(
            [Planar.of(u[k], w[k], b[k]) for k in range(3)], z)[part]
    for part in 0, 1:
        mine, formula = f(Planar.through, part), f(Flow.through, part)
        np.testing.assert_allclose(mine(z, u, w, b), formula(z, u, w, b), atol=1e-13)
        slopes = [mg.grad(lambda *a, h=h: np.sum(np.sin(h(*a))), (0, 1, 2, 3))(z, u, w, b)
                  for h in (mine, formula)]
        for one, other in zip(*slopes):
            np.testing.assert_allclose(one, other, atol=1e-11)
        if len(of_z) == 2:  # to second order where all kinds of axes meet
            mg.check_grads(mine, (z, u, w, b), order=2)


def test_layers_of_other_kinds_go_one_by_one_and_the_sum_is_the_same():
    rng = np.random.default_rng(0)
    options = {"rng": rng, "scale": 1.0, "dtype": np.float64}

    class Doubled(Planar):
        def forward(self, z):
            there, log_det = super().forward(z)
            return 2 * there, log_det + self.n * math.log(2)

    flows = frozen([Planar(2, **options), Planar(2, **options), Radial(2, **options),
                    Doubled(2, **options), Doubled(2, **options), Planar(2, **options)])
    q = Transformed(vae.Normal.standard(2), flows)
    z = q.sample((5,), rng=np.random.default_rng(1))
    start = q.base.sample((5,), rng=np.random.default_rng(1))
    expected, log_det = Flow.through(flows, start)
    np.testing.assert_allclose(z, expected, atol=1e-13)
    np.testing.assert_allclose(q.log_prob(z), q.base.log_prob(start) - log_det, atol=1e-13)


def test_a_chain_stays_float32_and_finite_at_extreme_parameters():
    for scale in (0, 1e-12, 30, 1e4):
        flows = [Planar(3, rng=np.random.default_rng(i), scale=scale) for i in range(6)]
        z = np.random.default_rng(9).standard_normal((4, 3), np.float32)
        there, log_det = Planar.through(flows, z)
        assert there.dtype == log_det.dtype == np.float32
        (there.sum() + log_det.sum()).backward()
        assert np.isfinite(there.data).all() and np.isfinite(log_det.data).all()
        assert all(np.isfinite(p.grad).all() and p.grad.dtype == np.float32
                   for p in parameters(flows))


def test_an_inverse_of_many_passes_masks_its_weights_once_and_gives_the_same_gradient():
    flow, z = InverseAutoregressive(3, rng=np.random.default_rng(0), hidden=(5, 6),
                                    dtype=np.float64), numbers((4, 3))[0]
    values = [p.data for p in parameters(flow)]
    masked, plain = frozen(flow).network.masked(), frozen(flow).network
    for one, other in zip(masked(z), plain(z), strict=True):
        np.testing.assert_array_equal(one, other)
    mg.check_grads(lambda z, *w: with_parameters(flow, w).inverse(z), (z, *values), order=1)


# -- the centre -----------------------------------------------------------------------------------
def test_the_centre_is_where_the_flows_take_the_bases_mean_in_one_dimension_the_median():
    rng = np.random.default_rng(0)
    flows = [Planar(1, rng=rng, scale=1.5, dtype=np.float64) for _ in range(3)]
    q = frozen(Transformed(vae.Normal(np.array([0.4]), np.array([0.7])), flows))
    draws = q.sample((20_000,), rng=rng)
    assert abs(np.mean(draws < q.centre) - 0.5) < 5 * 0.5 / math.sqrt(20_000)
    assert abs(draws.mean() - q.centre[0]) > 5 * draws.std() / math.sqrt(20_000)  # no mean
    base = vae.Normal(np.ones((4, 2)), np.ones((4, 2)))
    assert np.array_equal(Transformed(base, []).centre, base.mean)


# -- as a prior -----------------------------------------------------------------------------------
def moons(n, seed):
    """Two half circles that reach into each other, with noise of 0.1; (n, 2), float32."""
    rng = np.random.default_rng(seed)
    angle, upper = rng.uniform(0, np.pi, n), rng.integers(0, 2, n)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle)) - 0.5
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
    return (1.5 * np.stack((x, y), -1) + rng.normal(0, 0.1, (n, 2))).astype(np.float32)


class Linear:
    """p(x|z) = N(Wz + b, 0.1²)."""

    def __init__(self, rng):
        self.linear = mg.nn.Dense(2, 2, rng=rng)
        self.linear.weight.data[...] = np.eye(2)

    def __call__(self, z):
        mean = self.linear(z)
        return vae.Normal(mean, np.full(mean.shape, 0.1, np.float32))


def log_marginal(model, x):
    """log ∫ p(z) p(x|z) dz over a grid of z."""
    axis = np.linspace(-5, 5, 161)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2).astype(np.float32)
    model = frozen(model)
    joint = model.prior.log_prob(z) + model.likelihood(z).log_prob(x)
    return mg.logsumexp(joint.astype(np.float64), axis=0) + 2 * np.log(axis[1] - axis[0])


def test_a_learned_flow_as_prior_beats_every_gaussian_on_two_moons_by_quadrature():
    """With a linear decoder and the prior N(0, I) p(x) is Gaussian, so none of these does better
    on the held-out data than the Gaussian with their own mean and covariance."""
    rng = np.random.default_rng(0)
    encoder = vae.networks.dense([2, 32, 2], vae.networks.ToNormal, rng=rng)
    encoder.layers[-1].linear.bias.data[2:] = -3
    prior = Transformed(vae.Normal.standard(2), couplings(2, 4, hidden=(24,), rng=rng))
    model = vae.VAE(encoder, Linear(rng), prior)
    x, test = moons(600, 1), moons(300, 2)
    weights = parameters(model)
    before = [p.data.copy() for p in weights]
    vae.fit(model, x, epochs=30, batch_size=100, objective=vae.estimators.sgvb_a,
            optimizer=mg.optim.Adam(weights, lr=1e-2), rng=rng)
    assert all(np.any(p.data != old) for p, old in zip(weights, before, strict=True))
    axis = np.linspace(-6, 6, 301)
    z = np.stack(np.meshgrid(axis, axis), -1).astype(np.float32)
    mass = np.exp(frozen(model).prior.log_prob(z)).sum(dtype=np.float64) * (axis[1] - axis[0])**2
    assert mass == pytest.approx(1, abs=2e-3)
    exact = log_marginal(model, test)
    bound = vae.estimators.sgvb_a(frozen(model), test, rng=rng, samples=20).value
    best = vae.MultivariateNormal(test.mean(0), np.linalg.cholesky(np.cov(test.T, bias=True)))
    above = exact - best.log_prob(test)
    assert bound.mean() < exact.mean()
    assert above.mean() > 5 * above.std() / math.sqrt(len(test))


def test_a_model_with_flows_samples_and_says_what_stands_for_the_mean_of_its_code():
    rng = np.random.default_rng(0)
    head = partial(ToTransformed, flows=[Sylvester(2, rng=rng)])
    model = vae.VAE(vae.networks.dense([2, 4, 2], head, rng=rng), Linear(rng),
                    Transformed(vae.Normal.standard(2), couplings(2, 2, rng=rng)))
    assert model.sample(7, rng=rng).shape == (7, 2)
    model, x = mg.nn.frozen(model), moons(3, 0)
    q = model.posterior(x)
    np.testing.assert_array_equal(model.reconstruct(x), model.likelihood(q.centre).mean)
    with pytest.raises(NotImplementedError, match=r"q\.centre is where the flows take the base's"):
        _ = q.mean
