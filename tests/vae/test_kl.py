"""KL divergences: against quadrature, the textbook, and what every KL must satisfy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.integrate import quad

import minigrad as mg
from vae import Bernoulli, Normal, kl

means, log_stds = st.floats(-3, 3), st.floats(-1.5, 1.5)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def number(mean, log_std):
    return Normal.from_log_std(np.array(mean), np.array(log_std), event_ndim=0)


def by_quadrature(q, p):
    """∫ q (log q - log p), in units of q's standard deviation."""
    q, p = (stats.norm(float(d.mean), float(d.std)) for d in (q, p))
    mean, std = q.mean(), q.std()

    def integrand(t):
        x = mean + std * t
        return std * q.pdf(x) * (q.logpdf(x) - p.logpdf(x))
    return sum(quad(integrand, *part, epsabs=1e-13, epsrel=1e-12)[0]
               for part in ((-13, -3), (-3, 3), (3, 13)))


@settings(deadline=None, max_examples=25)
@given(means, log_stds)
def test_kl_to_the_standard_normal_is_the_integral(mean, log_std):
    q, p = number(mean, log_std), Normal.standard()
    assert float(kl(q, p)) == pytest.approx(by_quadrature(q, p), rel=1e-10, abs=1e-10)


@settings(deadline=None, max_examples=25)
@given(means, log_stds, means, log_stds)
def test_kl_between_normals_is_the_integral(mean_q, log_std_q, mean_p, log_std_p):
    q, p = number(mean_q, log_std_q), number(mean_p, log_std_p)
    assert float(kl(q, p)) == pytest.approx(by_quadrature(q, p), rel=1e-10, abs=1e-10)


def test_kl_is_the_textbooks_sum_over_latent_dimensions_for_each_datum(rng):
    mean, log_var = rng.standard_normal((2, 100, 20))
    textbook = -0.5 * np.sum(1 + log_var - mean**2 - np.exp(log_var), axis=-1)
    found = kl(Normal.from_log_var(mean, log_var), Normal.standard(20))
    np.testing.assert_allclose(found, textbook, rtol=1e-12, strict=True)
    assert found.shape == (100,)


def test_kl_and_its_gradient_are_those_of_pytorch(rng):
    torch = pytest.importorskip("torch")
    values = [rng.standard_normal((7, 5)) for _ in range(4)]  # mean and log variance, of q and p

    def theirs(q_mean, q_log_var, p_mean, p_log_var):
        q, p = (torch.distributions.Normal(m, torch.exp(0.5 * v))
                for m, v in ((q_mean, q_log_var), (p_mean, p_log_var)))
        return torch.distributions.kl_divergence(q, p).sum(-1)

    def ours(q_mean, q_log_var, p_mean, p_log_var):
        return kl(Normal.from_log_var(q_mean, q_log_var), Normal.from_log_var(p_mean, p_log_var))
    for parameters, by in ((values, (0, 1, 2, 3)), ([*values[:2], *np.zeros((2, 7, 5))], (0, 1))):
        tensors = [torch.tensor(a, requires_grad=True) for a in parameters]
        expected = theirs(*tensors)
        expected.sum().backward()
        np.testing.assert_allclose(ours(*parameters), expected.detach().numpy(), rtol=1e-12)
        found = mg.grad(lambda *a: ours(*a).sum(), by)(*parameters)
        for k, g in zip(by, found, strict=True):
            np.testing.assert_allclose(g, tensors[k].grad.numpy(), rtol=1e-12, atol=1e-13)


def test_event_axes_are_summed_and_batch_axes_kept(rng):
    mean, log_std = rng.standard_normal((2, 4, 3, 2))
    single = kl(Normal.from_log_std(mean, log_std, event_ndim=0), Normal.standard())
    assert single.shape == (4, 3, 2)
    for n, shape in ((1, (2,)), (2, (3, 2))):
        found = kl(Normal.from_log_std(mean, log_std, event_ndim=n), Normal.standard(*shape))
        np.testing.assert_allclose(found, single.sum(axis=tuple(range(3 - n, 3))), rtol=1e-12)


def test_parameters_broadcast_before_the_sum(rng):
    mean = rng.standard_normal((5, 3))
    full = Normal.from_log_std(mean, np.full((5, 3), 0.4))
    shared = Normal.from_log_std(mean, np.array(0.4))
    for p in (Normal.standard(3), Normal(np.zeros(3), np.full(3, 2.0))):
        np.testing.assert_allclose(kl(shared, p), kl(full, p), rtol=1e-12, strict=True)


def test_literal_values_and_asymmetry():
    narrow, wide = number(0.0, 0.0), number(0.0, math.log(2))
    assert kl(narrow, wide) == pytest.approx(math.log(2) + 1 / 8 - 1 / 2, rel=1e-14)
    assert kl(wide, narrow) == pytest.approx(2 - 1 / 2 - math.log(2), rel=1e-14)
    assert kl(number(3.0, 0.0), Normal.standard()) == pytest.approx(4.5, rel=1e-14)


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_kl_is_never_negative_and_always_finite(data, dtype, against_standard):
    wide, width = st.floats(-1e3, 1e3, width=32), np.finfo(dtype).bits
    near = st.floats(-2**-10, 2**-10, width=width, allow_subnormal=False)
    def draw(elements):
        return data.draw(arrays(dtype, 6, elements=elements))
    q = Normal.from_log_std(draw(wide), draw(wide | near), event_ndim=0)
    p = Normal.standard() if against_standard else \
        Normal.from_log_std(draw(wide), draw(wide | near), event_ndim=0)
    found = kl(q, p)
    assert np.all(np.isfinite(found)) and np.all(found >= 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kl_near_equality_is_the_square_that_it_should_be_and_not_negative(rng, dtype):
    r = (10 ** rng.uniform(-12, -4, 100_000) * rng.choice([-1, 1], 100_000)).astype(dtype)
    found = kl(Normal.from_log_std(r * 0, r, event_ndim=0), Normal.standard())
    assert np.all(found >= 0)
    exact = np.float64(r) ** 2 * (1 + 2 * np.float64(r) / 3 + np.float64(r) ** 2 / 3)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-4 * np.finfo(dtype).eps)


def test_kl_of_a_distribution_to_itself_is_zero(rng):
    for log_std in (rng.standard_normal((4, 3)), np.full((4, 3), -1e3), np.full((4, 3), 1e3)):
        mean = rng.standard_normal((4, 3))
        q, same = (Normal.from_log_std(mean, log_std.copy()) for _ in range(2))
        np.testing.assert_array_equal(kl(q, same), np.zeros(4))
    standard = Normal.standard(3)
    assert kl(standard, standard) == 0


def test_the_standard_normal_given_explicitly_has_the_same_value_and_gradient(rng):
    mean, log_std, w = rng.standard_normal((3, 5, 3))
    explicit = Normal(np.zeros(3), np.ones(3))
    assert not explicit.is_standard and Normal.standard(3).is_standard

    def weighted(p):
        return mg.value_and_grad(lambda m, s: np.sum(
            w[:, 0] * kl(Normal.from_log_std(m, s), p)), (0, 1))(mean, log_std)
    (value, slopes), (same, same_slopes) = weighted(explicit), weighted(Normal.standard(3))
    np.testing.assert_allclose(value, same, rtol=1e-12)
    np.testing.assert_allclose(slopes[0], same_slopes[0], rtol=1e-12)
    np.testing.assert_allclose(slopes[1], same_slopes[1], rtol=1e-12, atol=1e-14)


def test_derivatives(rng):
    mean_q, log_std_q, mean_p, log_std_p = 0.7 * rng.standard_normal((4, 2, 3))
    make = Normal.from_log_std
    mg.check_grads(lambda *a: kl(make(*a), Normal.standard(3)), (mean_q, log_std_q), order=2)
    mg.check_grads(lambda *a: kl(make(*a[:2]), make(*a[2:])),
                   (mean_q, log_std_q, mean_p, log_std_p), order=2)
    mg.check_grads(lambda m, s: kl(Normal.from_log_var(m, s), make(mean_p[0], log_std_p)),
                   (mean_q, log_std_q[0]), order=2)
    mg.check_grads(lambda s, t: kl(Normal(mean_q, s), Normal(mean_p, t)),
                   (np.exp(log_std_q), np.exp(log_std_p)), order=2)


@pytest.mark.parametrize("log_std", [-1e3, -1.0, 1e3])
def test_float32_stays_float32_and_finite(rng, log_std):
    mean, raw = np.full((2, 3), 2, np.float32), np.full((2, 3), log_std, np.float32)
    for p in (Normal.standard(3), Normal.from_log_std(mean - 1, -raw)):
        value, slopes = mg.value_and_grad(lambda m, s, p=p: np.sum(
            kl(Normal.from_log_std(m, s), p)), (0, 1))(mean, raw)
        for a in (value, *slopes):
            assert a.dtype == np.float32 and np.all(np.isfinite(a))


def test_a_pair_without_closed_form_names_those_that_have_one():
    coins, normal = Bernoulli(np.zeros(3)), Normal.standard(3)
    with pytest.raises(TypeError, match=r"\(Bernoulli‖Normal\).*Bernoulli‖Bernoulli.*kl_estimate"):
        kl(coins, normal)
    with pytest.raises(TypeError, match=r"KL\(Normal‖Bernoulli\)"):
        kl(normal, coins)


def test_different_events_are_refused():
    q = Normal(np.zeros((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="event_ndim is 1 for q and 2 for p"):
        kl(q, Normal(np.zeros((2, 3)), np.ones((2, 3)), event_ndim=2))
    for n in (4, 1):  # nor is one variable broadcast to be three
        with pytest.raises(ValueError, match=rf"\(2, 3\).*\({n},\)"):
            kl(q, Normal.standard(n))


def test_a_standard_normal_whose_parameters_are_mapped_is_standard_no_more():
    q = Normal(np.zeros(3), np.ones(3))
    moved = Normal.standard(3).map(lambda a: a + 1)  # mean and log_std are 1, and std is 2
    moved = Normal.from_log_std(moved.mean, moved.log_std)
    mapped = Normal.standard(3).map(lambda a: a + 1)
    mapped.std = np.exp(mapped.log_std)
    np.testing.assert_allclose(kl(q, mapped), kl(q, moved), rtol=1e-6)
    assert kl(q, mapped) > 0.5
