"""What every distribution promises, whichever it is: shapes, dtypes, noise, and the path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import vae
from minigrad.testing.distributions import PARAMETERS, parameters_of
from vae.distributions.kl import CLOSED_FORMS

NAMES = sorted(PARAMETERS)
PATHS = [name for name in NAMES if getattr(vae, name).path]
SHAPE = (2, 3)
few = settings(max_examples=5)


def is_mean_known(q):
    return not isinstance(q, (vae.Categorical, vae.RelaxedBernoulli, vae.RelaxedOneHot))


def drawn(name, data, dtype=np.float64):
    parameters = data.draw(parameters_of(name, SHAPE))
    return getattr(vae, name), {k: np.asarray(v, dtype) for k, v in parameters.items()}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_shapes_and_dtypes(name, dtype, data):
    make, parameters = drawn(name, data, dtype)
    q, rng = make(**parameters), np.random.default_rng(0)
    batch = q.shape[:len(q.shape) - q.event_ndim]
    z = q.sample((4, 1), rng=rng)
    assert z.shape == (4, 1, *q.shape) and q.shape == SHAPE
    assert z.dtype == (np.int64 if name == "Categorical" else dtype)
    density = q.log_prob(z)
    assert density.shape == (4, 1, *batch) and density.dtype == dtype
    if type(q).entropy is not vae.Distribution.entropy:
        assert (q.entropy().shape, q.entropy().dtype) == (batch, dtype)
    if is_mean_known(q):
        for moment in (q.mean, q.variance):
            assert np.broadcast_to(moment, q.shape).dtype == dtype
    if type(q).cdf is not vae.Distribution.cdf:
        p = q.cdf(z)
        assert p.shape == z.shape and p.dtype == dtype and np.all((p >= 0) & (p <= 1))


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_replayed_noise_gives_the_same_bits_and_leaves_the_generator_alone(name, data):
    make, parameters = drawn(name, data)
    q, rng = make(**parameters), np.random.default_rng(3)
    plain = q.sample((2,), rng=np.random.default_rng(3))
    with vae.noise.record() as eps:
        first = q.sample((2,), rng=rng)
    np.testing.assert_array_equal(first, plain)  # recording changes nothing
    state = rng.bit_generator.state
    with vae.noise.replay(eps):
        again = q.sample((2,), rng=rng)
    np.testing.assert_array_equal(again, first)
    assert rng.bit_generator.state == state


@pytest.mark.parametrize("name", PATHS)
@few
@given(data=st.data())
def test_the_path_is_the_derivative_of_a_draw_with_its_noise_held(name, data):
    make, parameters = drawn(name, data)
    way = "sample_logits" if name.startswith("Relaxed") else "sample"  # before it is saturated

    def sample(*values):
        given = dict(zip(parameters, values))
        if "cholesky" in given:  # of a lower triangle the upper is no parameter
            given["cholesky"] = np.tril(given["cholesky"])
        return getattr(make(**given), way)((2,), rng=np.random.default_rng(0))

    with vae.noise.record() as eps:
        sample(*parameters.values())

    def draw(*values):
        with vae.noise.replay(eps):
            return sample(*values)
    mg.check_grads(draw, tuple(parameters.values()), order=1)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*PATHS}))
@few
@given(data=st.data())
def test_without_a_path_a_traced_draw_raises_and_names_three_ways(name, data):
    make, parameters = drawn(name, data)
    q = make(**{k: mg.Tensor(v) for k, v in parameters.items()})
    with pytest.raises(vae.NoPath, match=rf"(?s){name}.*score.*relaxation.*enumerated.*stopped"):
        q.sample(rng=np.random.default_rng(0))
    assert mg.stop_gradient(q.sample(rng=np.random.default_rng(0), stopped=True)).shape == SHAPE


@pytest.mark.parametrize("name", PATHS)
@few
@given(data=st.data())
def test_a_stopped_draw_says_that_it_drops_the_gradient(name, data):
    make, parameters = drawn(name, data)
    leaves = {k: mg.Tensor(v) for k, v in parameters.items()}
    with vae.noise.record() as eps:
        plain = make(**parameters).sample(rng=np.random.default_rng(0))
    with vae.noise.replay(eps):
        z = make(**leaves).sample(rng=np.random.default_rng(0), stopped=True)
    np.testing.assert_array_equal(z.data, plain)
    with pytest.warns(vae.StoppedGradient, match=rf"draws of {name}.*\(2, 3\)"):
        np.sum(z**2).backward()
    assert all(t.grad is None or not t.grad.any() for t in leaves.values())


@pytest.mark.parametrize("name", NAMES)
@few
@given(data=st.data())
def test_constants_and_stopped_parameters_give_arrays(name, data):
    make, parameters = drawn(name, data)
    q = make(**{k: mg.Tensor(v) for k, v in parameters.items()})
    z = make(**parameters).sample(rng=np.random.default_rng(0))
    for fixed in (q.constant(), q.stopped()):
        assert type(fixed.log_prob(z)) is np.ndarray and not list(fixed.traced())
        np.testing.assert_array_equal(fixed.log_prob(z), mg.stop_gradient(q.log_prob(z)))
    assert list(q.traced())


@pytest.mark.parametrize("name", [n for n in NAMES if (getattr(vae, n),) * 2 in CLOSED_FORMS])
@few
@given(data=st.data())
def test_a_divergence_from_itself_is_nothing_and_none_is_negative(name, data):
    make, parameters = drawn(name, data)
    _, others = drawn(name, data)
    q, p = make(**parameters), make(**others)
    np.testing.assert_allclose(vae.kl(q, q), 0, atol=1e-12)
    assert np.all(vae.kl(q, p) >= 0)


def test_families_with_a_divergence_are_all_but_those_that_have_none():
    without = {n for n in NAMES if (getattr(vae, n),) * 2 not in CLOSED_FORMS}
    assert without == {"DiscretizedLogistic", "Logistic", "RelaxedBernoulli", "RelaxedOneHot",
                       "StudentT"}
