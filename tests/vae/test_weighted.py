"""Objectives that weigh the KL, and the schedules of their weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import vae
from vae import noise, schedules

N, PIXELS, N_Z = 12, 9, 4
STEPS = st.integers(0, 10**6)


@pytest.fixture(scope="module")
def model():
    return vae.dense_vae(PIXELS, (7,), N_Z, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).integers(0, 2, (N, PIXELS)).astype(np.float32)


def ask(objective, model, x, **options):
    return objective(mg.nn.frozen(model), x, rng=np.random.default_rng(2), **options)


def gradients(objective, model, x):
    loss = -np.mean(objective(model, x, rng=np.random.default_rng(2)).objective)
    loss.backward()
    found = [p.grad for p in mg.nn.parameters(model)]
    for p in mg.nn.parameters(model):
        p.grad = None
    return found


ALL = [partial(vae.beta_elbo, weight=3.0), partial(vae.beta_elbo, weight=0.0, samples=2),
       partial(vae.capacity_elbo, weight=2.0, capacity=5.0),
       partial(vae.free_bits_elbo, free=0.05), partial(vae.free_bits_elbo, free=0.2, weight=0.5)]


@pytest.mark.parametrize("objective", ALL)
def test_the_bound_and_its_parts_are_those_of_the_elbo(objective, model, x):
    found = ask(objective, model, x)
    samples = objective.keywords.get("samples", 1)
    for part, own in zip(("value", "reconstruction", "kl"),
                         ask(partial(vae.elbo, samples=samples), model, x), strict=True):
        np.testing.assert_allclose(getattr(found, part), own, rtol=1e-6)
    assert found.objective.shape == (N,) and found.objective.dtype == np.float32


def test_beta_weighs_the_kl_of_any_bound_that_is_told_the_step_if_it_asks(model, x):
    def bound(model, x, *, rng, samples, step):
        found = vae.estimators.sgvb_a(model, x, rng=rng, samples=samples)
        return vae.Weighted(found.value * step, *found)
    found = ask(vae.beta_elbo, model, x, weight=schedules.linear(0.0, 1.0, 10), step=4, samples=3,
                bound=bound)
    drawn = ask(partial(vae.estimators.sgvb_a, samples=3), model, x)
    np.testing.assert_array_equal(found.objective, drawn.reconstruction - 0.4 * drawn.kl)
    assert found.kl_weight == 0.4 and all(map(np.array_equal, found[1:4], drawn))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
def test_beta_weighs_the_kl_alone(model, x, weight):
    found = ask(vae.beta_elbo, model, x, weight=weight)
    np.testing.assert_allclose(found.objective, found.reconstruction - weight * found.kl, rtol=1e-6)
    assert found.kl_weight == weight


def test_a_weight_of_one_has_the_gradients_of_the_elbo(model, x):
    for a, b in zip(gradients(vae.beta_elbo, model, x), gradients(vae.elbo, model, x), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("capacity", [0.0, 0.5, 50.0])  # below and above the KL of this model
def test_capacity_takes_the_distance_of_the_mean_kl(model, x, capacity):
    found = ask(vae.capacity_elbo, model, x, weight=7.0, capacity=capacity)
    expected = found.reconstruction.mean() - 7.0 * abs(found.kl.mean() - capacity)
    assert found.objective.mean() == pytest.approx(expected, rel=1e-5)
    assert found.kl_weight is None


@pytest.mark.parametrize("free", [0.0, 0.01, 0.05, 0.3, 10.0])
def test_free_bits_are_paid_in_each_dimension(model, x, free):
    found = ask(vae.free_bits_elbo, model, x, free=free)
    frozen = mg.nn.frozen(model)
    q = frozen.posterior(x)
    expected = 0.0
    for j in range(N_Z):  # one dimension at a time, by the formula of one
        mean, std = q.mean[:, j].astype(float), q.std[:, j].astype(float)
        expected += max(free, np.mean(0.5 * (mean**2 + std**2 - 1) - np.log(std)))
    assert found.objective.mean() == pytest.approx(found.reconstruction.mean() - expected, rel=1e-5)


def test_a_dimension_below_its_free_bits_has_no_gradient_of_the_kl(model, x):
    nothing = partial(vae.beta_elbo, weight=0.0)
    for free, reference in ((10.0, nothing), (0.0, vae.elbo)):
        for a, b in zip(gradients(partial(vae.free_bits_elbo, free=free), model, x),
                        gradients(reference, model, x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("objective", [
    partial(vae.beta_elbo, weight=0.7), partial(vae.capacity_elbo, weight=3.0, capacity=1.0),
    partial(vae.free_bits_elbo, free=0.05)])
def test_the_gradients_are_those_of_the_value(objective, model, x):
    with noise.record() as eps:
        objective(mg.nn.frozen(model), x, rng=np.random.default_rng(0))

    def mean(*parameters):
        with noise.replay(eps):
            return np.mean(objective(mg.nn.with_parameters(model, parameters), x, rng=None)
                           .objective)
    mg.check_grads(mean, tuple(p.data.astype(float) for p in mg.nn.parameters(model)), order=1)


def test_a_schedule_is_asked_for_the_step(model, x):
    weight = schedules.linear(0.0, 1.0, 10)
    for step in (0, 3, 10, 99):
        found = ask(vae.beta_elbo, model, x, weight=weight, step=step)
        assert found.kl_weight == pytest.approx(min(step / 10, 1))


def test_a_code_of_dependent_numbers_has_no_free_bits(x):
    def encoder(x):
        return vae.MultivariateNormal(np.zeros((len(x), 2)), np.eye(2))
    model = vae.VAE(encoder, lambda z: vae.Bernoulli(np.zeros((len(z), PIXELS))),
                    vae.Normal.standard(2))
    with pytest.raises(ValueError, match=r"MultivariateNormal.*no KL of each dimension.*Normal"):
        ask(vae.free_bits_elbo, model, x)
    with pytest.raises(ValueError, match="free=-1"):
        ask(vae.free_bits_elbo, model, x, free=-1)


# -- the loop -------------------------------------------------------------------------------------
def test_history_has_objective_and_bound_apart_and_the_weight(x, model):
    rng = np.random.default_rng(0)
    trained = vae.dense_vae(PIXELS, (7,), N_Z, rng=rng)
    seen = []

    def objective(model, x, *, rng, step):
        seen.append(step)
        return vae.beta_elbo(model, x, rng=rng, step=step, weight=schedules.linear(2.0, 0.0, 8))
    rows = vae.fit(trained, x, epochs=2, batch_size=4, rng=rng, objective=objective,
                   optimizer=mg.optim.SGD(mg.nn.parameters(trained), lr=0.01)).rows
    assert seen == list(range(6)) and [row["kl_weight"] for row in rows] == [1.5, 0.75]
    for row in rows:
        assert row["train_bound"] == pytest.approx(row["train_reconstruction"] - row["train_kl"])
    assert rows[0]["train_objective"] < rows[0]["train_bound"]  # a weight above one
    assert "kl_weight" not in vae.fit(trained, x, epochs=1, batch_size=4, rng=rng, optimizer=mg.
                                      optim.SGD(mg.nn.parameters(trained), lr=0.01)).rows[0]


def test_looking_moves_no_schedule(x):
    def train(look):
        rng = np.random.default_rng(0)
        model = vae.dense_vae(PIXELS, (7,), N_Z, rng=rng)
        objective = partial(vae.beta_elbo, weight=schedules.cyclical(5))
        vae.fit(model, x, epochs=3, batch_size=5, rng=rng, objective=objective,
                optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=0.01),
                on_step=lambda *_: look and objective(mg.nn.frozen(model), x, step=1,
                                                      rng=np.random.default_rng(1)))
        return [p.data for p in mg.nn.parameters(model)]
    assert all(map(np.array_equal, train(False), train(True)))


# -- schedules ------------------------------------------------------------------------------------
@given(st.integers(0, 1000), st.integers(1, 500), st.floats(0.1, 10), STEPS)
def test_sigmoid_rises_through_half_of_its_end_at_its_middle(middle, width, end, step):
    weight = schedules.sigmoid(middle, width, end)
    assert weight(middle) == pytest.approx(end / 2)
    assert weight(middle + step) + weight(middle - step) == pytest.approx(end)
    assert 0 <= weight(step) <= end and weight(step) <= weight(step + 1)
    assert weight(middle + width) == pytest.approx(end / (1 + np.exp(-1)))


@given(st.integers(1, 1000), st.floats(0.01, 1), st.floats(0.1, 10), STEPS)
def test_cycles_repeat_rise_and_stay(period, rising, end, step):
    weight = schedules.cyclical(period, rising, end)
    assert weight(step) == weight(step + period) and weight(period * step) == 0
    assert 0 <= weight(step) <= end
    if step % period >= rising * period:
        assert weight(step) == end


@pytest.mark.parametrize("make, text", [
    (lambda: schedules.sigmoid(0, 0), "width=0"), (lambda: schedules.cyclical(0), "period=0"),
    (lambda: schedules.cyclical(5, 0.0), "rising=0.0"),
    (lambda: schedules.cyclical(5, 1.5), "rising=1.5")])
def test_schedules_that_cannot_be_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
