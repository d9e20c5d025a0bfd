"""The doctor finds each illness of model and data that is planted, and none where all is well."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
import vae
from tests.vae.patients import (
    LATENT,
    PIXELS,
    Decoder,
    N,
    bernoulli_vae,
    binary,
    changed,
    continuous,
    encoder_changed,
    one,
    train,
    vae_with,
    well,
    well_gaussian,
)
from vae.doctor import ILLNESSES, diagnose, examination
from vae.networks import ToNormal, dense


@pytest.fixture(scope="module")
def data():
    return binary()


@pytest.fixture(scope="module")
def healthy():
    return well()[0]


@pytest.fixture(scope="module")
def gaussian():
    return well_gaussian()


# -- the healthy ------------------------------------------------------------------------------
def test_in_a_model_that_is_well_nothing_is_found(healthy, data):
    history = [{"epoch": k, "train_bound": b, "train_reconstruction": b + 3, "train_kl": 3,
                "valid_elbo": b - 0.3, "valid_reconstruction": b + 2.8, "valid_kl": 3.1,
                "kl_weight": 1.0} for k, b in enumerate([-20.0, -15, -12, -11, -10.5, -10.4], 1)]
    found = diagnose(healthy, data, validation=binary(200, seed=5), history=history,
                     objective=vae.elbo)
    assert not found and len(found) == 0 and list(found) == []
    assert set(found.not_judged) == {"beyond_the_mean", "narrow_decoder"}  # a Bernoulli has neither
    assert len(found.checked) + len(found.not_judged) == len(ILLNESSES)
    assert "nothing found" in str(found) and "not judged: beyond the mean" in str(found)


def test_in_a_gaussian_model_that_is_well_nothing_is_found(gaussian):
    model, x = gaussian
    found = diagnose(model, x, validation=continuous(200, seed=5), objective=vae.elbo)
    assert not found, str(found)
    assert set(found.not_judged) == {"grey_cross_entropy", "different_weights",
                                     "chosen_in_warm_up", "overfitting"}


def test_looking_changes_no_parameter_and_no_training(data):
    def run(look):
        model, rng = bernoulli_vae(data), np.random.default_rng(1)
        optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=1e-2)
        vae.fit(model, data, epochs=2, batch_size=40, rng=rng, optimizer=optimizer,
                on_epoch=lambda row: look and diagnose(model, data, objective=vae.elbo))
        return [p.data for p in mg.nn.parameters(model)], rng.random()
    (a, next_a), (b, next_b) = run(False), run(True)
    assert all(map(np.array_equal, a, b)) and next_a == next_b


def test_looking_leaves_no_gradient_and_repeats_itself(healthy, data):
    assert str(diagnose(healthy, data)) == str(diagnose(healthy, data))
    bad = encoder_changed(healthy, bias=lambda b: b + 1)
    first, again = (diagnose(bad, data, objective=vae.elbo) for _ in range(2))
    assert [f.as_dict() for f in first] == [f.as_dict() for f in again] and first
    assert all(p.grad is None for p in mg.nn.parameters(bad))


def test_no_more_rows_than_needed_go_through_the_networks(healthy):
    seen = []
    model = vae.VAE(lambda x: seen.append(len(x)) or healthy.encoder(x).constant(),
                    healthy.decoder, healthy.prior)
    seen.clear()  # of the trial as it was made
    assert diagnose(model, binary(5000)).rows == 2000
    assert max(seen) == examination.BLOCK and sum(seen) == 2000


# -- q(z|x) -----------------------------------------------------------------------------------
def test_collapse_by_a_large_kl_weight_is_found(data):
    def too_heavy(model, x, *, rng):
        bound = vae.elbo(model, x, rng=rng)
        return bound._replace(value=bound.reconstruction - 50 * bound.kl)
    found = diagnose(train(bernoulli_vae(data), data, too_heavy), data, objective=too_heavy)
    finding = one(found, "posterior collapse")
    assert finding.severity == "problem" and finding.numbers["kl"] < 0.05
    assert finding.numbers["active"] == 0 and "free bits" in finding.cure
    one(found, "the decoder ignores z")
    assert one(found, "KL weight hidden in a mean").numbers["beta"] == pytest.approx(50, rel=1e-3)
    assert found[0].severity == "problem" and "posterior collapse" in found


def test_a_learning_rate_far_too_large_is_called_divergence(data):
    model = bernoulli_vae(data)
    vae.fit(model, data, epochs=3, batch_size=40, rng=np.random.default_rng(1),
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e3))
    finding = one(diagnose(model, data), "training has diverged")
    assert finding.severity == "problem" and "learning rate" in finding.cure
    assert finding.numbers["reconstruction"] < 4 * finding.numbers["trivial"] - 10


def test_one_dimension_left_of_many_is_a_collapse(data):
    keep = np.zeros(40, np.float32)
    keep[0] = 1
    model = vae.dense_vae(PIXELS, (16,), 20, rng=np.random.default_rng(0), start=data.mean(axis=0))
    model = encoder_changed(model, weight=lambda w: 3 * w * keep)
    finding = one(diagnose(model, data), "posterior collapse")
    assert finding.numbers["active"] == 1 and finding.numbers["kl"] > 0.1


def test_unused_dimensions_are_listed(healthy, data):
    used = np.array([1, 0, 1, 1, 0, 1], np.float32)
    model = encoder_changed(healthy, lambda w: w * used, lambda b: b * used)
    finding = one(diagnose(model, data), "unused dimensions")
    assert finding.numbers["unused"] == [1] and finding.severity == "note"
    assert finding.numbers["kl_by_dimension"][1] == pytest.approx(0, abs=1e-6)
    q = mg.nn.frozen(healthy).posterior(data)
    expected = np.mean(0.5 * (q.mean[:, 0]**2 + q.std[:, 0]**2 - 1) - np.log(q.std[:, 0]))
    assert finding.numbers["kl_by_dimension"][0] == pytest.approx(expected, rel=1e-5)


def test_an_autoencoder_is_found(gaussian):
    def no_kl(model, x, *, rng):
        bound = vae.elbo(model, x, rng=rng)
        return bound._replace(value=bound.reconstruction)
    x = binary()
    found = diagnose(train(bernoulli_vae(x), x, no_kl, epochs=120), x)
    finding = one(found, "σ of the encoder goes to 0")
    assert finding.numbers["median_std"] < 0.1 and finding.numbers["gain"] > 1
    one(found, "the codes of all data are not spread like the prior")


def test_a_narrow_posterior_that_the_elbo_wants_is_no_illness():
    """x = z + noise of 0.01: the exact posterior has a std of 0.01."""
    model = vae.exact.LinearGaussian(np.eye(2), np.zeros(2), 0.01)
    x = np.random.default_rng(0).standard_normal((300, 2))
    precise, narrow = (vae.VAE(lambda x, s=s: vae.Normal(x / 1.0001, np.full(2, s)),
                               model.likelihood, model.prior) for s in (0.01, 1e-4))
    found = diagnose(precise, x)
    assert "σ of the encoder goes to 0" not in found, str(found)
    assert "σ of the encoder goes to 0" in diagnose(narrow, x)


def test_codes_away_from_the_prior_are_found(healthy, data):
    shift = np.array([0, 3, 0, 0, 0, 0], np.float32)
    finding = one(diagnose(encoder_changed(healthy, bias=lambda b: b + shift), data),
                  "the codes of all data are not spread like the prior")
    q = mg.nn.frozen(healthy).posterior(data)
    assert finding.numbers["dimensions"][0] == 1
    assert finding.numbers["mean"][1] == pytest.approx(3 + q.mean[:, 1].mean(), rel=1e-4)
    assert finding.numbers["variance"][0] == pytest.approx(
        q.mean[:, 0].var() + np.square(q.std[:, 0]).mean(), rel=1e-4)


def test_a_negative_kl_is_found(healthy, data, monkeypatch):
    monkeypatch.setattr(examination, "kl", lambda q, p: -vae.kl(q, p))
    assert one(diagnose(healthy, data), "negative KL").numbers["below"] == N


def test_a_decoder_that_is_not_trained_is_found(healthy, data):
    other = bernoulli_vae(1 - data, 9).decoder  # which begins at another mean
    found = diagnose(vae.VAE(healthy.encoder, other, healthy.prior), data)
    numbers = one(found, "the decoder ignores z").numbers
    p = np.clip(data.mean(axis=0, dtype=np.float64), 1e-12, 1 - 1e-12)
    trivial = np.mean(np.sum(data * np.log(p) + (1 - data) * np.log1p(-p), axis=1))
    assert numbers["trivial"] == pytest.approx(trivial, rel=1e-6)


# -- numbers ----------------------------------------------------------------------------------
def test_parameters_that_are_no_numbers_are_named(healthy, data):
    def spoil(b):
        b[2:4] = np.nan
        return b
    found = diagnose(encoder_changed(healthy, bias=spoil), data, objective=vae.elbo)
    finding = one(found, "not finite")
    assert finding.numbers["parameters"] == {"encoder.layers.2.linear.bias": 2}
    assert len(found) == 1 and "parameters are not finite" in str(found)


def test_outputs_that_are_no_numbers_are_found(healthy, data):
    found = diagnose(encoder_changed(healthy, weight=lambda w: w * np.float32(1e38)), data)
    assert "finite" in next(f for f in found if f.name == "not finite").evidence


@pytest.mark.parametrize("log_var, share", [(40, 0.5), (-40, 0.5), (29, 0)])
def test_a_log_variance_at_its_bound_is_found(healthy, data, log_var, share):
    some = np.array([0, 0, 0, 1, 1, 0], np.float32)  # two of three log variances
    model = encoder_changed(healthy, bias=lambda b: np.where(some, np.float32(log_var), b),
                            weight=lambda w: np.where(some, 0, w))
    found = diagnose(model, data)
    if not share:
        assert "log variance at its bound" not in found
        return
    assert one(found, "log variance at its bound").numbers == {"encoder": pytest.approx(2 / 3)}


def learned_std(floor):
    return lambda h: vae.Normal(h[..., :PIXELS], np.maximum(np.exp(h[..., PIXELS:]),
                                                            np.float32(floor)))


def with_constant_pixels():
    x = continuous()
    x[:, [3, 7, 20]] = 0
    return x


def test_a_std_that_shrinks_on_constant_pixels_is_found():
    x = with_constant_pixels()
    decoder = Decoder(lambda h: vae.Normal(h[..., :PIXELS], np.exp(h[..., PIXELS:])), 2 * PIXELS)
    encoder = dense([PIXELS, 16, LATENT], ToNormal, rng=np.random.default_rng(0))
    model = train(vae.VAE(encoder, decoder, vae.Normal.standard(LATENT)), x, epochs=60)
    keep, bias = np.ones(2 * PIXELS, np.float32), np.zeros(2 * PIXELS, np.float32)
    at = np.array([3, 7, 20])
    keep[[at, PIXELS + at]], bias[PIXELS + at] = 0, -8  # where longer training would lead
    model = changed(model, decoder_network_layers_2_weight=lambda w: w * keep,
                    decoder_network_layers_2_bias=lambda b: b * keep + bias)
    finding = one(diagnose(model, x), "σ of the decoder goes to 0")
    assert finding.numbers["which"] == [3, 7, 20] and finding.numbers["constant"] == 3
    assert finding.numbers["nats"] > 5 and "constant" in finding.evidence


def test_a_std_at_its_floor_is_found_and_counted():
    x = with_constant_pixels()
    model = train(vae_with(learned_std(0.05), 2 * PIXELS), x, epochs=60)
    finding = one(diagnose(model, x), "σ of the decoder at its floor")
    assert finding.severity == "warning" and finding.numbers["constant"] == 3
    assert finding.numbers["at_floor"] == finding.numbers["pixels"] < PIXELS
    assert finding.numbers["least_std"] == pytest.approx(0.05)


# -- data -------------------------------------------------------------------------------------
def test_grey_data_under_a_bernoulli_are_found(healthy, data):
    grey = 0.8 * data
    finding = one(diagnose(healthy, grey), "cross-entropy taken for a likelihood")
    assert finding.numbers == {"grey": int(data.sum()), "values": data.size,
                               "share": pytest.approx(data.mean())}
    assert "ContinuousBernoulli" in finding.cure and "binar" in finding.cure
    model = vae.VAE(healthy.encoder, Decoder(vae.ContinuousBernoulli), healthy.prior)
    assert "cross-entropy taken for a likelihood" not in diagnose(model, grey)


@pytest.mark.parametrize("family, spoil, count, ends", [
    (vae.Bernoulli, lambda x: 255 * x, lambda x: x.sum(), (0, 255)),
    (vae.Bernoulli, lambda x: 2 * x - 1, lambda x: (1 - x).sum(), (-1, 1)),
    (vae.ContinuousBernoulli, lambda x: 1.5 * x, lambda x: x.sum(), (0, 1.5)),
    (lambda h: vae.DiscretizedLogistic(h, np.float32(3)), lambda x: 0.5 * x, lambda x: x.sum(),
     (0, 0.5)),
    (lambda h: vae.Normal(mg.sigmoid(9 * h), np.float32(0.3)), lambda x: 3 * x, lambda x: x.sum(),
     (0, 3)),
    (lambda h: vae.Normal(np.tanh(9 * h), np.float32(0.3)), lambda x: 3 * x, lambda x: x.sum(),
     (0, 3)),
])
def test_data_outside_of_the_decoders_range_are_found(data, family, spoil, count, ends):
    model, name = vae_with(family), "data outside of the decoder's range"
    found = diagnose(model, spoil(data), objective=vae.elbo)
    finding = one(found, name)
    assert finding.numbers["outside"] == count(data) and finding.severity == "problem"
    assert (finding.numbers["min"], finding.numbers["max"]) == ends
    good = 255 * data if family is not vae.Bernoulli and "256" in str(ends) else data
    assert name not in diagnose(model, good)


def test_validation_data_that_were_prepared_differently_are_found(healthy, data):
    for other in (0.5 * binary(100), 255 * binary(100)):
        one(diagnose(healthy, data, validation=other), "validation data prepared differently")
    model, x = vae_with(lambda h: vae.Normal(h, np.float32(1))), continuous()
    name = "validation data prepared differently"
    assert name not in diagnose(model, x, validation=continuous(100, 5))
    assert name in diagnose(model, x, validation=255 * continuous(100, 5))


@pytest.mark.parametrize("bad, error", [(np.zeros((0, PIXELS)), ValueError),
                                        (np.full((3, PIXELS), np.nan), ValueError),
                                        (np.zeros((3, PIXELS), int), TypeError)])
def test_data_that_are_none_raise(healthy, bad, error):
    with pytest.raises(error, match=r"no data|NaN|dtype"):
        diagnose(healthy, bad)
    with pytest.raises(error, match=r"no data|NaN|dtype"):
        diagnose(healthy, binary(10), validation=bad)
