"""The closed-form optimal σ: that of a batch in training, and set once after it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats

import minigrad as mg
import vae
from vae.likelihoods import (
    FLOOR,
    NotCalibrated,
    ToCalibratedGaussian,
    ToGaussian,
    batch_calibrated,
    calibrate,
)
from vae.networks import as_it_is

D = 12


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((60, 2)) @ rng.standard_normal((2, D))
            + 0.5 * rng.standard_normal((60, D))).astype(np.float32)


@pytest.fixture
def model():
    return model_of(ToCalibratedGaussian)


def model_of(head, n_x=D, seed=0):
    return vae.dense_vae(n_x, (8,), 2, rng=np.random.default_rng(seed), likelihood=head)


def state(model):
    return [*(p.data.copy() for p in mg.nn.parameters(model)),
            *(b.copy() for b in mg.nn.named_buffers(model).values())]


def same(a, b):
    return all(np.array_equal(p, q, equal_nan=True) for p, q in zip(a, b, strict=True))


def of_batch(mean, floor=FLOOR):
    """The distribution that training sees."""
    seen = []

    def objective(model, x, **options):
        seen.append(model.likelihood(mean))
        return seen
    head = ToCalibratedGaussian(D, D, linear=as_it_is, floor=floor)
    batch_calibrated(objective)(vae.VAE(None, head, None), None)
    return seen[0]


# -- not set -------------------------------------------------------------------------------------
def test_before_sigma_is_set_there_is_a_mean_and_no_likelihood(model, x):
    p = model.likelihood(np.zeros((3, 2), np.float32))
    assert p.mean.shape == (3, D) and model.reconstruct(x).shape == x.shape
    for use in (lambda: p.log_prob(x[:3]), lambda: p.variance, lambda: p.std, p.entropy,
                lambda: p.cdf(x[:3]), lambda: p.icdf(0.5), lambda: p.stopped().log_prob(x[:3]),
                lambda: p.sample(rng=np.random.default_rng(0), stopped=True),
                lambda: vae.evaluate(model, x), lambda: vae.log_likelihood(model, x, samples=2),
                lambda: model.predict_interval(x),
                lambda: vae.fit(model, x, epochs=1, batch_size=10, rng=np.random.default_rng(0),
                                optimizer=mg.optim.Adam(mg.nn.parameters(model)))):
        with pytest.raises(NotCalibrated, match=r"batch_calibrated\(vae.elbo\).*calibrate\(model"):
            use()


def test_training_and_looking_set_nothing(model, x):
    before = mg.nn.frozen(model).decoder.layers[-1].std
    vae.fit(model, x, epochs=2, batch_size=20, rng=np.random.default_rng(0),
            objective=batch_calibrated(vae.elbo),
            optimizer=mg.optim.Adam(mg.nn.parameters(model)))
    assert np.isnan(before) and np.isnan(model.decoder.layers[-1].std)
    with pytest.raises(NotCalibrated):
        vae.evaluate(model, x)
    calibrate(model, x)
    held = state(model)
    for _ in range(2):
        batch_calibrated(vae.elbo)(model, x[:7], rng=np.random.default_rng(1))
        vae.evaluate(model, 3 * x)
        model.predict_interval(x)
    assert same(held, state(model))


# -- of the batch --------------------------------------------------------------------------------
def test_sigma_of_a_batch_is_the_one_that_makes_it_most_likely(x):
    mean = np.random.default_rng(1).standard_normal((60, D))
    found = of_batch(mean).log_prob(x)
    rms = np.sqrt(np.mean((x - mean)**2))
    np.testing.assert_allclose(found, stats.norm(mean, rms).logpdf(x).sum(axis=-1), rtol=1e-10)
    for other in (0.9 * rms, 0.999 * rms, 1.001 * rms, 1.1 * rms):
        assert found.sum() > stats.norm(mean, other).logpdf(x).sum()


def test_its_gradient_is_right_and_for_the_whole_batch_that_of_a_held_sigma(x):
    mean = np.random.default_rng(1).standard_normal((60, D))
    mg.check_grads(lambda mean: of_batch(mean).log_prob(x[:5]), (mean[:5],))
    whole = mg.grad(lambda mean: np.sum(of_batch(mean).log_prob(x)))(mean)
    np.testing.assert_allclose(whole, (x - mean) / np.mean((x - mean)**2), rtol=1e-10)


def test_below_the_floor_the_batch_is_a_gaussian_of_the_floor(x):
    mean = x.astype(np.float64) + 1e-4
    np.testing.assert_allclose(of_batch(mean, floor=0.01).log_prob(x),
                               stats.norm(mean, 0.01).logpdf(x).sum(axis=-1), rtol=1e-10)
    assert np.isfinite(of_batch(x).log_prob(x)).all()  # exactly right


def test_it_exceeds_the_log_density_at_the_true_sigma_by_half_a_nat_a_batch():
    draws = 0.3 * np.random.default_rng(0).standard_normal((1000, 5, D))
    gained = [of_batch(np.zeros((5, D))).log_prob(e).sum()
              - stats.norm(0, 0.3).logpdf(e).sum() for e in draws]
    assert np.mean(gained) == pytest.approx(0.5, abs=5 * np.std(gained) / np.sqrt(1000))


def test_it_wraps_any_objective_and_several_draws(model, x):
    found = batch_calibrated(vae.estimators.iwae)(
        model, x, rng=np.random.default_rng(0), samples=3)
    q = model.posterior(x)
    z = q.sample((3,), rng=np.random.default_rng(0))
    mean = model.likelihood(z).mean
    std = np.sqrt(np.mean((x - mean.data)**2))
    weights = (vae.Normal(mean, std).log_prob(x) + model.prior.log_prob(z) - q.log_prob(z)).data
    log_mean = np.log(np.mean(np.exp(weights), axis=0))
    np.testing.assert_allclose(found.value.data, log_mean, rtol=1e-4)


@pytest.mark.parametrize("use", [
    lambda m, x: batch_calibrated(vae.elbo)(m, x, rng=np.random.default_rng(0)), calibrate])
def test_another_head_is_named(use, x):
    with pytest.raises(TypeError, match=r"ends in ToGaussian.*ToCalibratedGaussian"):
        use(model_of(partial(ToGaussian, std=1.0)), x)


# -- set -----------------------------------------------------------------------------------------
def test_calibrate_is_the_root_mean_squared_error_of_draws(model, x):
    found = calibrate(model, x, seed=3, batch_size=25)
    rng, squares, fixed = np.random.default_rng(3), [], mg.nn.frozen(model)
    for rows in (x[:25], x[25:50], x[50:]):
        z = fixed.posterior(rows).sample(rng=rng)
        for row, mean in zip(rows, fixed.likelihood(z).mean, strict=True):
            squares += [(float(a) - float(b))**2 for a, b in zip(row, mean, strict=True)]
    assert found == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-6)
    assert fixed.likelihood(np.zeros((1, 2), np.float32)).std == np.float32(found)


def test_no_other_sigma_has_a_higher_bound(model, x):
    std = calibrate(model, x, seed=0)
    bounds = []
    for factor in (0.97, 1, 1.03):
        model.decoder.layers[-1].std[...] = factor * std
        bounds.append(vae.evaluate(model, x, seed=0)["elbo"])  # the same draws of z
    assert bounds[1] > max(bounds[0], bounds[2])


def test_a_calibrated_model_is_a_gaussian_whose_bound_does_not_depend_on_the_other_data(model, x):
    calibrate(model, x)
    fixed = mg.nn.frozen(model)
    z = np.zeros((4, 2), np.float32)
    together = fixed.likelihood(z).log_prob(x[:4])
    assert isinstance(fixed.likelihood(z), vae.Normal)
    alone = [fixed.likelihood(z[:1]).log_prob(row).item() for row in x[:4]]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_sigma_is_saved_and_loaded_also_where_it_is_not_set(model, x, tmp_path):
    other = model_of(ToCalibratedGaussian, seed=5)
    calibrate(other, x)
    mg.nn.save(tmp_path / "unset.npz", model)
    std = calibrate(model, x)
    mg.nn.save(tmp_path / "set.npz", model)
    mg.nn.load(tmp_path / "set.npz", other)
    assert float(other.decoder.layers[-1].std) == std
    mg.nn.load(tmp_path / "unset.npz", other)
    with pytest.raises(NotCalibrated):
        vae.evaluate(other, x)


def test_bad_data_set_nothing(model, x):
    for bad, text in ((x[:0], "no data"), (np.where(x > 1, np.nan, x), "are NaN or infinite")):
        with pytest.raises(ValueError, match=text):
            calibrate(model, bad)
    assert np.isnan(model.decoder.layers[-1].std)


def test_where_every_mean_is_exact_sigma_is_the_floor():
    head = ToCalibratedGaussian(D, D, linear=as_it_is)
    perfect = vae.VAE(lambda x: vae.Normal(0 * x, 1e-6), head, vae.Normal.standard(D))
    assert calibrate(perfect, np.zeros((9, D), np.float32)) == pytest.approx(FLOOR)
    assert np.isfinite(perfect.likelihood(np.zeros((1, D))).log_prob(np.zeros(D)))
