"""Noise that is recorded and replayed, and the path of a gradient through draws."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import vae
from minigrad import noise
from minigrad.nn import Dropout
from minigrad.noise import Draw, Noise
from vae import Bernoulli, NoPath, Normal, StoppedGradient
from vae.distributions.location_scale import Exponential, Laplace, Logistic, LogNormal, Uniform
from vae.distributions.multivariate import LowRankNormal, MultivariateNormal

KINDS = {"normal": noise.normal, "uniform": noise.uniform, "exponential": noise.exponential}
MAKERS = {
    "Normal": lambda a: Normal(a, np.exp(a)),
    "Laplace": lambda a: Laplace(a, np.exp(a)),
    "Logistic": lambda a: Logistic(a, np.exp(a)),
    "LogNormal": lambda a: LogNormal(a, np.exp(a)),
    "Exponential": lambda a: Exponential(np.exp(a)),
    "Uniform": lambda a: Uniform(a, a + np.exp(a)),
    "MultivariateNormal": lambda a: MultivariateNormal(
        a, np.exp(a)[..., None] * np.eye(3, dtype=a.dtype)),
    "LowRankNormal": lambda a: LowRankNormal(a, a[..., None], np.exp(a)),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def generator():
    return lambda: np.random.default_rng(8)


def mixed(rng, dtype=np.float64):
    """Draws of three kinds, the last of no shape."""
    return (noise.normal(rng, (2, 3), dtype), noise.uniform(rng, (4,), dtype),
            noise.exponential(rng, (), dtype))


def same(some, other):
    assert len(some) == len(other)
    for a, b in zip(some, other):
        np.testing.assert_array_equal(a, b, strict=True)


# -- recording ------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_recording_changes_no_value_and_no_generator(generator, dtype):
    plain, recorded = generator(), generator()
    values = mixed(plain, dtype)
    with noise.record() as eps:
        same(mixed(recorded, dtype), values)
    assert plain.bit_generator.state == recorded.bit_generator.state
    same([d.value for d in eps], values)
    assert [d.kind for d in eps] == ["normal", "uniform", "exponential"]
    assert repr(eps) == "Noise(normal (2, 3), uniform (4,), exponential ())"
    mixed(plain)
    assert len(eps) == 3  # nothing is noted afterwards


def test_what_is_recorded_is_a_copy_and_so_is_what_is_replayed(rng):
    with noise.record() as eps:
        drawn = noise.normal(rng, (3,), np.float64)
    first = drawn.copy()
    drawn[:] = 7
    for _ in range(2):
        with noise.replay(eps):
            again = noise.normal(rng, (3,), np.float64)
        np.testing.assert_array_equal(again, first)
        again[:] = 7


def test_each_of_nested_recordings_has_all_that_is_drawn_inside(rng):
    with noise.record() as outer:
        a = noise.normal(rng, (2,), np.float64)
        with noise.record() as inner:
            b = noise.uniform(rng, (2,), np.float64)
        c = noise.normal(rng, (2,), np.float64)
    same([d.value for d in outer], [a, b, c])
    same([d.value for d in inner], [b])


def test_a_recording_ends_with_an_error_inside(rng):
    with pytest.raises(ZeroDivisionError), noise.record() as eps:
        noise.normal(rng, (2,), np.float64)
        1 / 0  # noqa: B018
    noise.normal(rng, (2,), np.float64)
    assert len(eps) == 1


# -- replaying ------------------------------------------------------------------------------------
@every
def test_replay_gives_the_draw_again_and_leaves_the_generator(make, rng):
    q = make(rng.standard_normal((2, 3)))
    with noise.record() as eps:
        z = q.sample((4,), rng=rng)
    state = rng.bit_generator.state
    with noise.replay(eps):
        np.testing.assert_array_equal(q.sample((4,), rng=rng), z)
    assert rng.bit_generator.state == state
    with noise.replay(eps):
        np.testing.assert_array_equal(q.sample((4,), rng=None), z)  # not even asked for one
    assert not np.array_equal(q.sample((4,), rng=rng), z)  # and afterwards all is as before


@every
def test_float32_replays_the_noise_of_float64(make, rng):
    a = rng.standard_normal((2, 3)).astype(np.float32)
    with noise.record() as eps:
        wide = make(a.astype(np.float64)).sample((4,), rng=rng)
    with noise.replay(eps):
        found = make(a).sample((4,), rng=None)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wide, rtol=1e-4, atol=1e-5)


def test_a_uniform_number_stays_below_1_in_float32():
    u = np.array([1 - 1e-12, 0.5, 1e-300, 0.0])
    with noise.replay(Noise([Draw("uniform", u)])):
        found = noise.uniform(None, (4,), np.float32)
    assert found.dtype == np.float32 and np.all(found < 1) and found[1] == 0.5
    with noise.replay(Noise([Draw("uniform", u)])):
        z = Logistic(np.zeros(4, np.float32), np.ones(4, np.float32)).sample(rng=None)
    assert np.all(np.isfinite(z))
    with noise.replay(Noise([Draw("uniform", u)])):  # a coin that always shows 1
        assert Bernoulli(np.full(4, 1e3, np.float32)).sample(rng=None).all()


@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)),
                          st.lists(st.integers(0, 3), max_size=3)), max_size=6),
       st.integers(0, 6))
def test_a_replay_may_be_resumed_after_any_draw(asked, n):
    rng = np.random.default_rng(0)
    n = min(n, len(asked))
    with noise.record() as eps:
        values = [KINDS[kind](rng, tuple(shape), np.float64) for kind, shape in asked]
    assert isinstance(eps[n:], Noise) and len(eps[n:]) == len(asked) - n
    again = []
    for part, some in ((eps[:n], asked[:n]), (eps[n:], asked[n:])):
        with noise.replay(part):
            again += [KINDS[kind](None, tuple(shape), np.float64) for kind, shape in some]
    same(again, values)


def test_one_draw_is_had_by_its_number(rng):
    with noise.record() as eps:
        values = mixed(rng)
    assert isinstance(eps[1], Draw) and eps[1].kind == "uniform"
    np.testing.assert_array_equal(eps[-1].value, values[-1])


def test_recording_within_a_replay_notes_what_is_replayed(rng):
    with noise.record() as eps:
        values = mixed(rng)
    with noise.replay(eps), noise.record() as again:
        same(mixed(None), values)
    same([d.value for d in again], values)
    with noise.replay(again):
        same(mixed(None), values)


def test_a_replay_within_a_replay_has_a_place_of_its_own(rng):
    with noise.record() as outer:
        a, b = (noise.normal(rng, (2,), np.float64) for _ in range(2))
    with noise.record() as inner:
        c = noise.normal(rng, (2,), np.float64)
    with noise.replay(outer):
        found = [noise.normal(None, (2,), np.float64)]
        with noise.replay(inner):
            found.append(noise.normal(None, (2,), np.float64))
        found.append(noise.normal(None, (2,), np.float64))
    same(found, [a, c, b])


@pytest.mark.parametrize("in_memory", [True, False])
def test_noise_is_saved_and_loaded(rng, tmp_path, in_memory):
    with noise.record() as eps:
        values = [*mixed(rng), *(noise.uniform(rng, (2,), np.float32) for _ in range(9))]
        noise.drawn("gamma", (2,), np.float64, lambda: np.array([1.0, 2.0]),
                    (np.array([3.0, 4.0]), np.array(5.0)))
    file = io.BytesIO() if in_memory else tmp_path / "noise.npz"
    eps.save(file)
    if in_memory:
        file.seek(0)
    loaded = Noise.load(file)
    assert repr(loaded) == repr(eps)
    same([d.value for d in loaded], [*values, np.array([1.0, 2.0])])
    same(loaded[-1].parameters, [np.array([3.0, 4.0]), np.array(5.0)])
    Noise().save(tmp_path / "none.npz")
    assert len(Noise.load(tmp_path / "none.npz")) == 0


def test_loading_unpickles_nothing(tmp_path):
    np.savez(tmp_path / "bad.npz", **{"0.normal.0": np.array([print], object)})
    with pytest.raises(ValueError, match=r"bad.npz: .*no array of plain numbers"):
        Noise.load(tmp_path / "bad.npz")


# -- noise whose law has parameters ---------------------------------------------------------------
def test_transport_is_asked_for_only_where_the_parameters_differ():
    asked = []

    def transport(value, old, new):
        asked.append((old, new))
        return value * new[0] / old[0]

    def draw(parameter, dtype=np.float64):
        return noise.drawn("scaled", (2,), dtype, lambda: np.array([1.0, 3.0]), (parameter,),
                           transport)

    with noise.record() as eps:
        draw(np.array(2.0))
    with noise.replay(eps):
        np.testing.assert_array_equal(draw(np.array(2.0)), [1, 3])
    assert not asked
    with noise.replay(eps):
        found = draw(np.array(4.0, np.float32), np.float32)
    np.testing.assert_array_equal(found, np.float32([2, 6]), strict=True)
    assert asked == [((2.0,), (4.0,))]


# -- errors ---------------------------------------------------------------------------------------
def test_noise_that_does_not_fit_is_named(rng):
    with noise.record() as eps:
        mixed(rng)
    with noise.replay(eps[:2]):
        noise.normal(None, (2, 3), np.float64)
        with pytest.raises(ValueError, match=r"replay: draw 1 was uniform \(4,\), and uniform "
                                             r"\(5,\) is asked for; .*same shapes in the same"):
            noise.uniform(None, (5,), np.float64)
        with pytest.raises(ValueError, match=r"draw 1 was uniform \(4,\), and normal \(4,\)"):
            noise.normal(None, (4,), np.float64)
        noise.uniform(None, (4,), np.float64)  # the one that was asked for in vain is still there
    with noise.replay(eps[:0]), pytest.raises(
            ValueError, match=r"all 0 draws are used, and normal \(2,\) is asked for; record"):
        noise.normal(None, (2,), np.float64)
    with pytest.raises(ValueError, match=r"2 of 3 draws are used.*replay\(noise\[:2\]\)"), \
            noise.replay(eps):
        noise.normal(None, (2, 3), np.float64)
        noise.uniform(None, (4,), np.float64)
    with noise.replay(eps), pytest.raises(ValueError, match=r"all 3 draws are used"):
        mixed(None)
        noise.normal(None, (2,), np.float64)


def test_replay_of_something_else_is_refused(rng):
    with pytest.raises(TypeError, match=r"replay\(Generator.*record\(\) as eps"), \
            noise.replay(rng):
        pass


# -- layers and checks ----------------------------------------------------------------------------
def test_dropout_is_replayed(rng):
    layer, x = Dropout(0.4), rng.standard_normal((5, 6))
    with noise.record() as eps:
        y = layer(x, rng=rng)
    with noise.replay(eps):
        np.testing.assert_array_equal(layer(x, rng=rng), y)
    assert 0 < np.sum(y == 0) < 30 and not np.array_equal(layer(x, rng=rng), y)


@every
def test_frozen_noise_makes_a_check_of_sampling_code(make, rng):
    a, layer = rng.standard_normal((2, 3)), Dropout(0.3)

    def f(a):
        return np.square(layer(make(a).sample((2,), rng=rng), rng=rng)).sum(-1)

    with pytest.raises(mg.GradientError, match="two evaluations"):
        mg.check_grads(f, (a,))
    with mg.testing.frozen_noise(rng):
        mg.check_grads(f, (a,), order=2)
    with mg.testing.frozen_noise():
        mg.check_grads(f, (a,), order=1)


def test_an_elbo_with_shared_noise_is_a_smooth_function(rng):
    """Two models that differ little, held against each other: the difference is no noise."""
    a, x = rng.standard_normal((50, 3)), rng.standard_normal((50, 3))

    def bound(a):
        q = Normal(a, 0.5)
        return np.mean(Normal(q.sample(rng=rng), 1.0).log_prob(x) - vae.kl(q, Normal.standard(3)))

    with noise.record() as eps:
        at = bound(a)
    with noise.replay(eps):
        near = bound(a + 1e-6)
    assert 0 < abs(near - at) < 1e-4 < abs(bound(a) - at)


# -- stopped draws --------------------------------------------------------------------------------
@every
def test_a_stopped_draw_says_that_it_drops_a_gradient(make, rng, generator):
    a, w = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    plain = make(a).sample(rng=generator())

    def through(a, w):
        z = make(a).sample(rng=generator(), stopped=True)
        np.testing.assert_array_equal(mg.stop_gradient(z), plain)
        return np.sum(w * z)

    name = type(make(a)).__name__
    with pytest.warns(StoppedGradient, match=rf"draws of {name}, of shape \(2, 3\), that were taken"
                                             r" with stopped=True.*mg.stop_gradient.*estimator"):
        by_a, by_w = mg.grad(through, (0, 1))(a, w)
    np.testing.assert_array_equal(by_a, np.zeros((2, 3)), strict=True)
    np.testing.assert_array_equal(by_w, plain)  # the decoder's


@every
def test_no_gradient_no_warning(make, rng, generator):
    """Warnings are errors here."""
    a = rng.standard_normal((2, 3))
    z = make(a).sample(rng=generator(), stopped=True)
    assert type(z) is np.ndarray  # constants, nothing to drop
    np.testing.assert_array_equal(z, make(a).sample(rng=generator()))
    z = make(mg.Tensor(a)).sample(rng=generator(), stopped=True)
    assert type(z) is mg.Tensor  # though no gradient arrives
    slope = mg.grad(lambda a: np.sum(
        a * mg.stop_gradient(make(a).sample(rng=generator(), stopped=True))))(a)
    np.testing.assert_array_equal(slope, mg.stop_gradient(z))


def test_each_stopped_draw_of_a_loss_warns(rng):
    def loss(a):
        q = Normal(a, 1.0)
        first = q.sample(rng=rng, stopped=True)
        q.sample(rng=rng, stopped=True)  # which nothing depends on
        return np.sum(first) + np.sum(Laplace(a, 1.0).sample(rng=rng))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        slope = mg.grad(loss)(np.zeros(3))
    assert [w.category for w in seen] == [StoppedGradient]
    np.testing.assert_array_equal(slope, 1)  # of the draw that is not stopped


def test_stopped_draws_take_part_in_backward_and_float32(rng):
    mean = mg.Tensor(np.zeros(3, np.float32))
    z = Normal(mean, 1.0).sample(rng=rng, stopped=True)
    with pytest.warns(StoppedGradient):
        np.sum(z * mean).backward()
    assert mean.grad.dtype == np.float32
    np.testing.assert_array_equal(mean.grad, z.data)


# -- no path --------------------------------------------------------------------------------------
def test_where_there_is_no_path_the_error_names_the_ways_around(rng):
    with pytest.raises(NoPath) as error:
        Bernoulli(mg.Tensor(np.zeros(3))).sample(rng=rng)
    text = str(error.value)
    assert text.startswith("Bernoulli.sample: no gradient gets from a draw of Bernoulli")
    for way in ("vae.estimators.score", "vae.RelaxedOneHot or vae.RelaxedBernoulli", "score_elbo",
                "straight_through", "vae.estimators.enumerated", "stopped=True"):
        assert way in text
    with pytest.raises(NoPath):
        mg.grad(lambda a: np.sum(Bernoulli(a).sample(rng=rng)))(np.zeros(3))
    for q in (Bernoulli(np.zeros(3)), Bernoulli(mg.Tensor(np.zeros(3))).stopped()):
        assert type(q.sample(rng=rng)) is np.ndarray


# -- map, stopped, constant -----------------------------------------------------------------------
@every
def test_stopped_and_constant_have_the_values_and_no_gradient(make, rng, generator):
    a, x = rng.standard_normal((2, 3)), np.exp(rng.standard_normal((2, 3)))
    q = make(mg.Tensor(a))
    assert all(type(p) is mg.Tensor for p in q.traced()) and next(q.traced(), None) is not None
    for other in (q.stopped(), q.constant()):
        assert type(other) is type(q) and next(other.traced(), None) is None
        assert (other.shape, other.event_ndim, other.dtype) == (q.shape, q.event_ndim, q.dtype)
        np.testing.assert_array_equal(other.log_prob(x), q.log_prob(x).data)
        np.testing.assert_array_equal(other.sample(rng=generator()),
                                      mg.stop_gradient(q.sample(rng=generator())))
    assert next(q.traced(), None) is not None  # it is as it was
    by = mg.grad(lambda a: a[0, 0] * np.sum(make(a).stopped().entropy()))(a)
    np.testing.assert_array_equal(by != 0, [[True, False, False], [False] * 3])


@every
def test_map_reaches_every_parameter(make, rng):
    q = make(rng.standard_normal((2, 3)))
    narrow = q.map(lambda p: p.astype(np.float32))
    assert (q.dtype, narrow.dtype) == (np.float64, np.float32)
    assert narrow.sample(rng=rng).dtype == narrow.entropy().dtype == np.float32
    for name in q.parameters:
        np.testing.assert_array_equal(getattr(narrow, name), getattr(q, name).astype(np.float32))
