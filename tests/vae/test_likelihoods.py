"""Heads: their densities against scipy's, their gradients, floors, ranges, and that they train."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import expit, xlogy

import minigrad as mg
import vae
from vae import likelihoods
from vae.likelihoods import (
    FLOOR,
    FOR_IMAGES,
    GreyLogistic,
    ToBernoulli,
    ToCalibratedGaussian,
    ToContinuousBernoulli,
    ToDiscretizedLogistic,
    ToGaussian,
    ToLearnedGaussian,
    batch_calibrated,
    from_mse_weight,
    mse_weights,
)
from vae.networks import as_it_is

N = 5  # dimensions of the heads here
PER = ("model", "pixel", "datum")
SPREADS = {**{f"gaussian-{per}": partial(ToLearnedGaussian, one_per=per, floor=0.2)
              for per in PER},
           **{f"logistic-{per}": partial(ToDiscretizedLogistic, one_per=per) for per in PER}}
HEADS = {"bernoulli": ToBernoulli, "continuous": ToContinuousBernoulli,
         "gaussian": partial(ToGaussian, std=0.3),
         "gaussian-each": partial(ToGaussian, std=np.linspace(0.1, 2, N)),
         "gaussian-logit": partial(ToGaussian, std=0.3, link="logit"),
         "datum-logit": partial(ToLearnedGaussian, one_per="datum", link="logit"),
         "squared": from_mse_weight(3.0), **SPREADS}


def built(name, rng, n=N):
    """A head of raw numbers in float64, its learned spread moved; raw numbers of 4 data, and x."""
    head = HEADS[name](n, n, linear=as_it_is, dtype=np.float64)
    for p in mg.nn.parameters(head):
        p.data[...] = rng.normal(size=p.shape)
    raw, x = rng.normal(size=(4, head.parts * n)), rng.random((4, n))
    if name.startswith("logistic"):
        x = np.rint(255 * x) / 255
        x[0], x[1] = 0, 1
    return head, raw, np.rint(x) if name == "bernoulli" else x


def by_scipy(name, head, raw, x):
    """log p of each element, and nothing of ours but the numbers that the head holds."""
    if name == "bernoulli":
        return stats.bernoulli(expit(raw)).logpmf(x)
    if name == "continuous":  # exp(-y) cut off at |logit|, mirrored for positive logits
        size = np.abs(raw)
        return stats.truncexpon.logpdf(np.where(raw > 0, 1 - x, x), size, scale=1 / size)
    mean = raw[:, :N]
    mean = expit(mean) if "logit" in name else mean
    if name in SPREADS or name == "datum-logit":
        more = raw[:, N:] if head.parts == 2 else head.raw_spread.data
        spread = np.sqrt(head.floor**2 + np.exp(head.begins) * np.exp(more))
    else:
        spread = {"gaussian-each": np.linspace(0.1, 2, N), "squared": 6**-0.5}.get(name, 0.3)
    if not name.startswith("logistic"):
        return stats.norm(mean, spread).logpdf(x)
    law, low, high = stats.logistic(mean, spread), x - 0.5 / 255, x + 0.5 / 255
    inner = np.where(x > mean, law.sf(low) - law.sf(high), law.cdf(high) - law.cdf(low))
    return np.log(np.where(x == 0, law.cdf(high), np.where(x == 1, law.sf(low), inner)))


@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("name", HEADS)
def test_log_prob_is_that_of_scipy(name, seed):
    head, raw, x = built(name, np.random.default_rng(seed))
    found = mg.nn.frozen(head)(raw).log_prob(x)
    assert found.shape == (4,)
    expected = by_scipy(name, head, raw, x).sum(axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_right_to_second_order(name):
    head, raw, x = built(name, np.random.default_rng(3))

    def log_prob(raw, *spread):
        return mg.nn.with_parameters(head, spread)(raw).log_prob(x)
    mg.check_grads(log_prob, (raw, *(p.data for p in mg.nn.parameters(head))))


@pytest.mark.parametrize("name", sorted({*HEADS} - {"gaussian-each"}))
def test_it_sums_or_integrates_to_one(name):
    rng = np.random.default_rng(5)
    head, raw, _ = built(name, rng, n=1)
    p = mg.nn.frozen(head)(raw[:1])
    if name == "bernoulli" or "logistic" in name:
        values = np.arange(2.0) if name == "bernoulli" else np.arange(256) / 255
        total = np.exp(p.log_prob(values[:, None])).sum()
    else:
        far = 0 if name == "continuous" else 12 * np.sqrt(p.variance).item()
        low, high = (p.mean.item() - far, p.mean.item() + far) if far else (0, 1)
        values = np.linspace(low, high, 4001)
        total = integrate.simpson(np.exp(p.log_prob(values[:, None])), x=values)
    assert total == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("name", sorted({*HEADS} - {"gaussian-each"}))
def test_mean_variance_and_draws_agree_with_the_density(name):
    head, raw, _ = built(name, np.random.default_rng(6), n=1)
    p = mg.nn.frozen(head)(raw[:1])
    x = p.sample(40_000, rng=np.random.default_rng(0))
    assert x.mean() == pytest.approx(p.mean.item(), abs=5 * x.std() / 200)
    assert x.var() == pytest.approx(p.variance.item(), rel=0.05)


# -- ranges ------------------------------------------------------------------------------------
def test_data_outside_the_range_are_an_error_or_impossible():
    raw, inside = np.zeros((1, 2)), np.array([[0.0, 1.0]])
    far = np.array([[0.5, 1.5]])
    for name, outcome in (("bernoulli", "divide pixels by 255"), ("continuous", -np.inf),
                          ("logistic-model", "neither dequantise nor standardise")):
        p = mg.nn.frozen(HEADS[name](2, 2, linear=as_it_is))(raw)
        assert np.isfinite(p.log_prob(inside))
        if isinstance(outcome, str):
            with pytest.raises(ValueError, match=outcome):
                p.log_prob(far)
        else:
            assert p.log_prob(far) == outcome
    gaussian = HEADS["gaussian"](2, 2, linear=as_it_is)(raw)
    assert np.isfinite(gaussian.log_prob(100 * far)) and gaussian.log_prob(np.inf * far) == -np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_8_bit_value_is_on_the_grid_and_nothing_else_is(dtype):
    p = GreyLogistic(np.full(256, 0.4, dtype), np.full(256, 0.1, dtype), event_ndim=0)
    grey = (np.arange(256) / 255).astype(dtype)
    levels = vae.DiscretizedLogistic(np.full(256, 0.4 * 255), 25.5, event_ndim=0)
    np.testing.assert_allclose(p.log_prob(grey), levels.log_prob(np.arange(256.0)), rtol=1e-4)
    np.testing.assert_allclose(p.cdf(grey), levels.cdf(np.arange(256.0)), atol=1e-6)
    np.testing.assert_array_equal(p.icdf(p.cdf(grey) - 1e-4)[:200], grey[:200])
    assert p.log_prob(grey).dtype == p.mean.dtype == p.variance.dtype == dtype
    drawn = p.sample((50,), rng=np.random.default_rng(0))
    assert drawn.dtype == dtype and np.isin(drawn, grey).all()
    for wrong, text in ((0.1, r"0\.1 at \[7\], which is 25\.5/255"), (-1 / 255, "-1/255"),
                        (256 / 255, "256/255"), (np.nan, "1 of 256 .* nan"), (77.0, "19635/255")):
        x = grey.copy()
        x[7] = wrong
        with pytest.raises(ValueError, match=text):
            p.log_prob(x)


def test_moments_of_grey_values_are_the_sums_over_all_of_them():
    rng = np.random.default_rng(2)
    location, scale = rng.normal(0.5, 1, (70, 60)), np.exp(rng.normal(-3, 2, (70, 60)))
    p = GreyLogistic(location, scale)  # more elements than a block has
    grey = (np.arange(256) / 255)[:, None, None]
    mass = np.exp(p.levels.map(np.asarray)._log_density(np.rint(255 * grey)))
    mean = (mass * grey).sum(axis=0)
    np.testing.assert_allclose(p.mean, mean, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(p.variance, (mass * (grey - mean)**2).sum(axis=0), rtol=1e-7,
                               atol=1e-16)
    np.testing.assert_allclose(p.entropy(), -np.sum(xlogy(mass, mass), axis=(0, 2)), rtol=1e-9)
    mg.check_grads(lambda a, b: [f(GreyLogistic(a, b)) for f in (
        lambda p: p.mean, lambda p: p.variance)], (location[0, :3], scale[0, :3] + 0.05), order=1)


# -- what they are made with ---------------------------------------------------------------------
BAD = [(lambda: ToGaussian(3, 2, std=0.0), "std must be positive"),
       (lambda: ToGaussian(3, 2, std=np.ones(3)), r"shape \(3,\), one number or \(2,\)"),
       (lambda: ToGaussian(3, 2, std=1, link="probit"), "link='probit'"),
       (lambda: ToLearnedGaussian(3, 2, one_per="image"), "one_per='image'"),
       (lambda: ToLearnedGaussian(3, 2, std=1e-3), "0 < floor < spread"),
       (lambda: ToDiscretizedLogistic(3, 2, floor=0), "0 < floor < spread"),
       (lambda: ToCalibratedGaussian(3, 2, floor=-1), "floor=-1"),
       (lambda: from_mse_weight(0), "from_mse_weight\\(0\\)")]


@pytest.mark.parametrize("make, text", BAD)
def test_bad_options_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_a_model_starts_at_the_mean_it_is_given(name):
    mean = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    for make, rtol in ((vae.dense_vae, 1e-5), (vae.conv_vae, 1e-5)):
        size = {"n_x": 5, "hidden": (4,)} if make is vae.dense_vae else {"size": (4, 4)}
        start = mean if make is vae.dense_vae else np.full(16, 0.3)
        model = make(**size, n_z=2, rng=np.random.default_rng(0), start=start,
                     likelihood=FOR_IMAGES[name])
        # z at which only the biases speak
        found = mg.nn.frozen(model).likelihood(np.zeros((1, 2), np.float32)).mean
        bound = 1 / 255 if name == "continuous-bernoulli" else 1e-3
        expected = start if name == "discretized-logistic" else np.clip(start, bound, 1 - bound)
        np.testing.assert_allclose(found[0], expected, rtol=rtol,
                                   atol=0.07 if name == "discretized-logistic" else 1e-6)


def test_the_spread_begins_where_it_is_told():
    for per in PER:
        head = ToLearnedGaussian(2, 3, one_per=per, std=0.07, rng=np.random.default_rng(0))
        np.testing.assert_allclose(head(np.zeros((1, 2), np.float32)).std.data.ravel(), 0.07,
                                   rtol=1e-5)


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_it_stays_float32_in_dense_and_convolutional_models(name):
    x = (np.rint(255 * np.random.default_rng(0).random((3, 16))) / 255).astype(np.float32)
    objective = batch_calibrated(vae.elbo) if name == "gaussian-optimal" else vae.elbo
    for make, size in ((vae.dense_vae, {"n_x": 16, "hidden": (4,)}),
                       (vae.conv_vae, {"size": (4, 4), "channels": (3,), "hidden": 4})):
        rng = np.random.default_rng(0)
        model = make(**size, n_z=2, rng=rng, likelihood=FOR_IMAGES[name])
        bound = objective(model, x, rng=rng, samples=2)
        np.mean(bound.value).backward()
        if name == "gaussian-optimal":
            likelihoods.calibrate(model, x)
        fixed, p = mg.nn.frozen(model), mg.nn.parameters(model)
        made = [*bound[:3], *(w.grad for w in p), *fixed.predict_interval(x),
                fixed.reconstruct(x), fixed.likelihood(np.zeros((1, 2), np.float32)).log_prob(x)]
        assert {a.dtype for a in made} == {np.dtype(np.float32)}
        assert all(np.any(w.grad) for w in p), name


def test_channels_of_a_convolutional_decoder_are_mean_and_spread_of_its_pixels():
    model = vae.conv_vae((4, 6), (3,), 4, 2, rng=np.random.default_rng(0),
                         likelihood=partial(ToLearnedGaussian, one_per="datum", std=0.5))
    last = model.decoder.layers[0].network.layers[-2]
    last.weight.data[..., 1] = 0  # of the second channel the bias alone is left
    last.bias.data[...] = 0, 1
    p = mg.nn.frozen(model).likelihood(np.ones((2, 2), np.float32))
    assert p.shape == (2, 24) and p.mean.std() > 0
    np.testing.assert_allclose(p.variance, FLOOR**2 + np.e * (0.25 - FLOOR**2), rtol=1e-5)


# -- training ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def grey(digits):
    """Every second pixel of the middle, (300, 100)."""
    return digits.train[:300, 4:24:2, 4:24:2].reshape(300, 100)


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_training_on_grey_digits_improves_the_bound(grey, name):
    rng = np.random.default_rng(0)
    model = vae.dense_vae(100, (32,), 4, rng=rng, start=grey.mean(axis=0),
                          likelihood=FOR_IMAGES[name])
    objective = batch_calibrated(vae.elbo) if name == "gaussian-optimal" else vae.elbo
    found = []
    for epochs in (0, 15):
        vae.fit(model, grey, epochs=epochs, batch_size=30, rng=rng, objective=objective,
                optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=3e-3))
        if name == "gaussian-optimal":
            likelihoods.calibrate(model, grey)
        found.append(vae.elbo(mg.nn.frozen(model), grey, rng=np.random.default_rng(1)).value)
    gained = found[1] - found[0]
    assert gained.mean() > 5 * gained.std() / np.sqrt(len(grey))


def train_on_constant_pixels(head, steps=300):
    """x of 12 pixels, 8 of them always 0, learned at a rate that drives σ as far as it goes."""
    x = np.random.default_rng(0).random((40, 12), np.float32)
    x[:, 4:] = 0
    x = (np.rint(255 * x) / 255).astype(np.float32)
    rng = np.random.default_rng(0)
    model = vae.dense_vae(12, (8,), 2, rng=rng, start=x.mean(axis=0), likelihood=head)
    objective = batch_calibrated(vae.elbo) if head is ToCalibratedGaussian else vae.elbo
    history = vae.fit(model, x, epochs=steps, batch_size=40, rng=rng, objective=objective,
                      optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=0.05))
    return model, x, [row["train_bound"] for row in history.rows]


LEARNED = [partial(ToLearnedGaussian, one_per=per, std=0.3) for per in PER] + [
    ToCalibratedGaussian, *(partial(ToDiscretizedLogistic, one_per=per) for per in PER)]


@pytest.mark.parametrize("head", LEARNED)
def test_constant_pixels_do_not_let_the_likelihood_grow_without_bound(head):
    model, x, bounds = train_on_constant_pixels(head)
    assert np.isfinite(bounds).all() and bounds[-1] > bounds[0]
    assert all(np.isfinite(p.data).all() for p in mg.nn.parameters(model))
    grey = isinstance(model.decoder.layers[-1], ToDiscretizedLogistic)
    most = 0 if grey else 12 * np.log(255 / np.sqrt(2 * np.pi))  # all at the floor, exactly
    assert max(bounds) < most
    if head is ToCalibratedGaussian:
        likelihoods.calibrate(model, x)
    low, high = mg.nn.frozen(model).predict_interval(x, 1)
    assert np.isfinite(high).all()
    if not grey:
        assert ((high - low) / 2).min() >= 0.9999 * FLOOR


def test_of_a_pixel_predicted_exactly_the_floor_alone_holds_the_likelihood():
    found = {}
    for floor in (FLOOR, 1e-6):
        head = ToLearnedGaussian(1, 1, linear=as_it_is, floor=floor)
        optimizer = mg.optim.Adam(mg.nn.parameters(head), lr=0.1)
        zero = np.zeros((1, 1), np.float32)
        for _ in range(400):
            (-np.sum(head(zero).log_prob(zero))).backward()
            optimizer.step()
            optimizer.zero_grad()
        found[floor] = mg.nn.frozen(head)(zero).log_prob(zero).item()
    best = np.log(255 / np.sqrt(2 * np.pi))
    assert best - 0.05 < found[FLOOR] < best + 1e-5
    assert found[1e-6] > best + 5


def test_a_spread_far_below_its_floor_has_a_slope_yet():
    head = ToLearnedGaussian(2, 2, linear=as_it_is)
    head.raw_spread.data[...] = -60.0
    p = head(np.zeros((1, 2), np.float32))
    assert p.std.item() == pytest.approx(FLOOR)
    np.sum(p.log_prob(np.ones((1, 2), np.float32))).backward()
    assert head.raw_spread.grad.item() > 0  # of an error of 255 floors: up, it says


# -- squared error -------------------------------------------------------------------------------
@given(c=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_a_weighted_squared_error_is_a_gaussian_to_1e_12(c, seed):
    rng = np.random.default_rng(seed)
    x, mean = rng.normal(size=(2, 6, N))
    head = from_mse_weight(c)(N, N, linear=as_it_is)
    error = c * np.sum((x - mean)**2, axis=-1)
    constant = N / 2 * np.log(np.pi / c)
    np.testing.assert_allclose(-head(mean).log_prob(x), error + constant, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("c, std0", [(1.0, 0.1), (0.5, 1.0), (20.0, 0.3)])
def test_its_gradients_are_parallel_to_those_of_a_fixed_spread_and_a_weight_of_kl(c, std0):
    """c·‖x - f‖² + KL = 2cσ₀² (‖x - f‖²/(2σ₀²) + β·KL) with β = 1/(2cσ₀²)."""
    x = np.random.default_rng(1).random((7, N))

    def slopes(head, beta):
        model = vae.dense_vae(N, (4,), 2, rng=np.random.default_rng(0), likelihood=head)

        def loss(*weights):
            bound = vae.elbo(mg.nn.with_parameters(model, weights), x,
                             rng=np.random.default_rng(2))
            return np.sum(beta * bound.kl - bound.reconstruction)
        weights = [p.data.astype(np.float64) for p in mg.nn.parameters(model)]
        return np.concatenate([g.ravel() for g in
                               mg.grad(loss, tuple(range(len(weights))))(*weights)])
    ours = slopes(from_mse_weight(c), 1)
    theirs = slopes(partial(ToGaussian, std=std0), 1 / (2 * c * std0**2))
    np.testing.assert_allclose(ours, 2 * c * std0**2 * theirs, rtol=1e-9,
                               atol=1e-12 * np.abs(ours).max())
    cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert cosine == pytest.approx(1, abs=1e-12)


def test_a_squared_error_averaged_over_the_pixels_leaves_the_code_empty(grey):
    found = []
    for c in (1, 1 / grey.shape[1]):
        rng = np.random.default_rng(0)
        model = vae.dense_vae(100, (32,), 4, rng=rng, start=grey.mean(axis=0),
                              likelihood=from_mse_weight(c, link="logit"))
        vae.fit(model, grey, epochs=30, batch_size=30, rng=rng,
                optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=3e-3))
        found.append(vae.evaluate(model, grey)["kl"])
    assert found[0] > 1 and found[1] < 0.05


def test_the_table_of_the_documentation_is_the_one_that_code_makes():
    page = Path(__file__).parents[2] / "docs" / "likelihoods.md"
    assert mse_weights(784) in page.read_text()
    row = mse_weights(weights=[("a", 8.0)]).splitlines()[-1]
    assert row == "| a | 8 | 0.0625 | 0.25 | 6.25 |"
