"""The doctor on objectives, on histories, and on distributions other than the usual."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
import vae
from tests.vae.patients import (
    LATENT,
    PIXELS,
    Decoder,
    bernoulli_vae,
    binary,
    one,
    well,
    well_gaussian,
)
from vae.doctor import diagnose, of_training
from vae.networks import dense


@pytest.fixture(scope="module")
def data():
    return binary()


@pytest.fixture(scope="module")
def healthy():
    return well()[0]


@pytest.fixture(scope="module")
def gaussian():
    return well_gaussian()


# -- the objective ----------------------------------------------------------------------------
def weighted(model, x, *, rng, a=1.0, b=1.0, reduce=lambda v: v):
    r, k = vae.elbo(model, x, rng=rng)[1:3]
    a = a(x) if callable(a) else a
    b = b(x) if callable(b) else b
    return vae.Bound(reduce(a * r - b * k), r, k)


def squared_error(model, x, *, rng):
    """Means over pixels and dimensions, as -loss: a Gaussian of std 0.3 for all but constants."""
    q = model.posterior(x)
    mean = model.likelihood(q.sample(rng=rng)).mean
    k = vae.kl(q, model.prior)
    return vae.Bound(-np.mean(np.square(x - mean), axis=-1) - k, None, k)


HIDDEN = {"averaged over pixels": (partial(weighted, a=1 / PIXELS), PIXELS, f"{PIXELS} pixels"),
          "averaged over dimensions": (partial(weighted, b=1 / LATENT), 1 / LATENT, "3 dimensions"),
          "both": (partial(weighted, a=1 / PIXELS, b=1 / LATENT), PIXELS / LATENT, "and the KL"),
          "a scalar": (partial(weighted, a=1 / PIXELS, reduce=np.mean), PIXELS, "36 pixels"),
          "the KL summed over data": (partial(weighted, b=len), 64, "the KL is summed"),
          "by hand": (partial(weighted, b=0.00025), 0.00025, "0.00025")}


@pytest.mark.parametrize("objective, beta, text", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_kl_weight_is_measured(healthy, data, objective, beta, text):
    for model in (healthy, bernoulli_vae(data)):
        finding = one(diagnose(model, data, objective=objective), "KL weight hidden in a mean")
        assert finding.numbers["beta"] == pytest.approx(beta, rel=1e-4)
        assert text in finding.evidence


def test_a_squared_error_is_measured_in_a_gaussian_model(gaussian):
    """mean (x - f)²  = (2·0.3²/d) · ½ Σ (x - f)²/0.3²."""
    model, x = gaussian
    finding = one(diagnose(model, x, objective=squared_error), "KL weight hidden in a mean")
    assert finding.numbers["beta"] == pytest.approx(PIXELS / (2 * 0.3**2), rel=1e-3)


@pytest.mark.parametrize("objective", [vae.elbo, partial(vae.elbo, samples=5), weighted,
                                       partial(weighted, reduce=np.mean),
                                       partial(weighted, a=3.0, b=3.0)])
def test_an_objective_without_a_hidden_weight_is_well(healthy, data, objective):
    found = diagnose(healthy, data, objective=objective)
    assert not found and {"hidden_weight", "grows_with_the_batch", "wrong_sign"} <= {*found.checked}


@pytest.mark.parametrize("objective", [
    vae.estimators.sgvb_a, partial(vae.estimators.iwae, samples=4),
    lambda model, x, *, rng: vae.Bound(-np.square(model.posterior(x).mean).sum(-1), 0, 0)])
def test_what_is_no_weighted_sum_is_not_judged(healthy, data, objective):
    found = diagnose(healthy, data, objective=objective)
    assert not found and "hidden_weight" in found.not_judged, str(found)


@pytest.mark.parametrize("objective", [
    partial(vae.objectives.beta_elbo, weight=4.0), partial(vae.objectives.free_bits_elbo, free=1.0),
    partial(vae.objectives.capacity_elbo, capacity=2.0)])
def test_objectives_that_give_the_bound_beside_them_hide_nothing(healthy, data, objective):
    assert not diagnose(healthy, data, objective=objective)


def test_where_the_kl_has_no_closed_form_it_is_said_without_the_list_of_others(healthy, data):
    model = vae.VAE(healthy.encoder, healthy.decoder, vae.Mixture(
        np.zeros(2, np.float32), vae.Normal(np.zeros((2, LATENT), np.float32), np.float32(1))))
    found = diagnose(model, data[:50], objective=vae.estimators.sgvb_a)
    assert found.not_judged["hidden_weight"] == (
        "there is no ELBO to compare with (no closed form of KL(Normal‖Mixture))")


def test_a_weight_that_is_declared_is_not_hidden(healthy, data):
    def open_about_it(model, x, *, rng):
        bound = vae.elbo(model, x, rng=rng)
        return SimpleNamespace(value=bound.value, reconstruction=bound.reconstruction, kl=bound.kl,
                               objective=bound.reconstruction - 4 * bound.kl)
    found = diagnose(healthy, data, objective=open_about_it)
    assert not found and "apart from the bound" in found.not_judged["hidden_weight"]


GROWS = "the objective grows with the batch"


@pytest.mark.parametrize("objective, growth", [(partial(weighted, reduce=np.sum), 1),
                                               (partial(weighted, a=len, b=1), 1),
                                               (partial(weighted, reduce=lambda v: v / v.size),
                                                -1)])
def test_a_sum_over_the_batch_is_found(healthy, data, objective, growth):
    finding = one(diagnose(healthy, data, objective=objective), GROWS)
    assert finding.numbers["growth"] == pytest.approx(growth, abs=1e-4)


@pytest.mark.parametrize("a, b", [(-1, -1), (1, -1)])
def test_a_wrong_sign_is_found(healthy, data, a, b):
    found = diagnose(healthy, data, objective=partial(weighted, a=a, b=b))
    numbers = one(found, "sign of the objective").numbers
    assert (numbers["reconstruction"], numbers["kl"]) == pytest.approx((a, b), rel=1e-4)


def test_an_objective_with_a_memory_keeps_it(healthy, data):
    class Counting:
        calls = 0

        def __call__(self, model, x, *, rng):
            self.calls += 1
            return vae.elbo(model, x, rng=rng)
    objective = Counting()
    assert not diagnose(healthy, data, objective=objective)
    assert objective.calls == 0


# -- the history ------------------------------------------------------------------------------
def rows_of(valid, *, train=None, weight=None, seen=1.0, valid_seen=1.0, scale=1.0):
    """Epochs with the bounds given; `seen` is the weight of the KL in what is called the bound."""
    rows = []
    for k, v in enumerate(valid):
        t = v + 1 if train is None else train[k]
        s = seen[k] if np.ndim(seen) else seen
        u = valid_seen[k] if np.ndim(valid_seen) else valid_seen
        rows.append({"epoch": k + 1, "train_bound": t, "train_reconstruction": t + s * 20,
                     "train_kl": 20.0, "valid_elbo": v * scale,
                     "valid_reconstruction": (v + u * 21) * scale, "valid_kl": 21.0 * scale})
        if weight is not None:
            rows[-1]["kl_weight"] = weight[k]
    return rows


RISING = [-130.0, -115, -110, -107, -105, -104]
DIFFERENT = "training and validation on different weights"


@pytest.mark.parametrize("options, what", [
    ({"valid_seen": 0.00025}, "valid_elbo weighs the KL by 0.00025"),
    ({"seen": 0.5}, "train_bound weighs the KL by 0.5"),
    ({"weight": [0, .2, .4, .6, .8, 1], "seen": [0, .2, .4, .6, .8, 1]}, "by 0 to 1"),
    ({"weight": [0, .2, .4, .6, .8, 1], "valid_seen": [0, .2, .4, .6, .8, 1]}, "valid_elbo weighs"),
    ({"scale": 1 / PIXELS}, "times valid_reconstruction"),
])
def test_curves_on_different_weights_are_found(healthy, data, options, what):
    found = diagnose(healthy, data, history=rows_of(RISING, **options))
    assert what in one(found, DIFFERENT).evidence


def test_a_tighter_bound_in_training_is_no_different_weight(healthy, data):
    rows = rows_of(RISING, seen=[0.9, 0.91, 0.915, 0.92, 0.924, 0.926])  # importance-weighted
    assert not diagnose(healthy, data, history=SimpleNamespace(rows=rows))


def test_a_best_model_of_the_warm_up_is_found(healthy, data):
    weight = [0.2, 0.4, 0.6, 0.8, 1, 1]
    name = "best model while the KL weight was below 1"
    found = diagnose(healthy, data, history=rows_of([-120, -100, -110, -109, -108, -107],
                                                    weight=weight))
    assert one(found, name).numbers == {"epoch": 2, "kl_weight": 0.4}
    assert not diagnose(healthy, data, history=rows_of(RISING, weight=weight))
    assert not diagnose(healthy, data, history=rows_of(RISING, weight=6 * [0.5]))  # meant so
    ended = vae.History(rows=rows_of(RISING[:3], weight=weight[:3]))
    assert "training ended in epoch 3" in one(diagnose(healthy, data, history=ended),
                                              "ended in warm-up").evidence
    without = [{k: v for k, v in row.items() if "valid" not in k} for row in ended.rows]
    assert "ended in warm-up" in diagnose(healthy, data, history=without)
    ended.stopped = True
    assert one(diagnose(healthy, data, history=ended), "ended in warm-up").numbers == {
        "kl_weight": 0.6}


def test_overfitting_is_found(healthy, data):
    train = [-120, -110, -100, -90, -80, -70]
    found = diagnose(healthy, data, history=rows_of([-121, -112, -108, -109, -111, -114],
                                                    train=train))
    finding = one(found, "overfitting")
    assert finding.numbers == {"best_epoch": 3, "gap": 44,
                               "fall": pytest.approx((109 + 111 + 114) / 3 - 108)}
    tested = [{key.replace("valid", "test"): value for key, value in row.items()}
              for row in rows_of([-121, -112, -108, -109, -111, -114], train=train)]
    assert "test_elbo has fallen" in one(diagnose(healthy, data, history=tested),
                                         "overfitting").evidence
    for valid in ([-121, -112, -108, -106, -105, -104.5], [-121, -112, -108, -107.8, -107.9, -108]):
        assert not diagnose(healthy, data, history=rows_of(valid, train=train))
    falling = [-121, -112, -108, -109, -111, -114]  # both fall: no overfitting
    assert "overfitting" not in diagnose(healthy, data, history=rows_of(falling))


@pytest.mark.parametrize("history", [
    [], [{}], [{"valid_elbo": np.nan, "train_bound": np.inf}] * 6, [{"epoch": 1}],
    [{"valid_elbo": None}], [{"train_elbo": -3.0, "train_kl": 0.0, "train_reconstruction": -3.0}],
    rows_of([-3.0])])
def test_a_history_that_says_nothing_is_no_error(healthy, data, history):
    assert not diagnose(healthy, data, history=history)


def test_a_real_history_of_fit_is_understood(data):
    model = bernoulli_vae(data)
    history = vae.fit(model, data, epochs=3, batch_size=100, rng=np.random.default_rng(0),
                      optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2))
    weights = of_training.weights_of(SimpleNamespace(history=history.rows), "train_bound",
                                     "train_reconstruction", "train_kl")
    np.testing.assert_allclose(weights, 1, atol=1e-4)


# -- other distributions ----------------------------------------------------------------------
def encoder_of(family, n_out):
    network = dense([PIXELS, 16, n_out], mg.nn.Dense, rng=np.random.default_rng(0))
    return lambda x: family(network(x))


Q = {"Laplace": (lambda h: vae.Laplace(h[..., :3], np.exp(h[..., 3:])), 6,
                 vae.Laplace(np.zeros(3), np.ones(3))),
     "full covariance": (lambda h: vae.MultivariateNormal(
         h[..., :3], np.eye(3) + 0.1 * np.tril(np.expand_dims(h[..., 3:], -1) * np.eye(3))), 6,
         vae.MultivariateNormal(np.zeros(3), np.eye(3))),
     "Gamma": (lambda h: vae.Gamma(np.exp(h[..., :3]), np.exp(h[..., 3:])), 6,
               vae.Gamma(np.ones(3), np.ones(3))),
     "Bernoulli": (vae.Bernoulli, 3, vae.Bernoulli(np.zeros(3))),
     "one of three": (vae.OneHotCategorical, 3, vae.OneHotCategorical(np.zeros(3))),
     "no closed form": (lambda h: vae.StudentT(5.0, h[..., :3], np.exp(h[..., 3:])), 6,
                        vae.Normal.standard(3))}
P = {"Bernoulli": vae.Bernoulli, "ContinuousBernoulli": vae.ContinuousBernoulli,
     "DiscretizedLogistic": lambda h: vae.DiscretizedLogistic(h, np.float32(0.3), low=0, high=1),
     "Normal": lambda h: vae.Normal(h, np.float32(0.5)),
     "Laplace": lambda h: vae.Laplace(h, np.float32(0.5))}


@pytest.mark.parametrize("p", P.values(), ids=P)
@pytest.mark.parametrize("family, n, prior", Q.values(), ids=Q)
def test_other_distributions_are_examined_as_far_as_that_makes_sense(data, family, n, prior, p):
    model = vae.VAE(encoder_of(family, n), Decoder(p), prior)
    found = diagnose(model, data, validation=data, objective=vae.elbo)
    assert len(found.checked) >= 8 and str(found)
    assert "not finite" not in found and "negative KL" not in found


def test_exact_models_and_single_data_are_no_error():
    model = vae.exact.LinearGaussian(np.ones((4, 2)), np.zeros(4), 0.5)
    model = vae.VAE(model.exact_posterior, model.likelihood,
                    vae.MultivariateNormal(np.zeros(2), np.eye(2)))
    x = np.random.default_rng(0).standard_normal((1, 4))
    for few in (x, np.repeat(x, 3, axis=0)):
        found = diagnose(model, few, objective=vae.elbo)
        assert not found and "fewer than 30" in found.not_judged["decoder_ignores_z"], str(found)


def test_a_few_data_of_a_model_that_is_well_show_no_illness(healthy, data):
    for n in (1, 2, 5, 29, 30, 40):
        found = diagnose(healthy, data[:n], objective=vae.elbo)
        assert not found, f"{n}: {found}"


def test_images_of_several_axes_are_examined(data):
    x = data.reshape(-1, 6, 6)
    inner = bernoulli_vae(data)
    model = vae.VAE(lambda x: inner.posterior(np.reshape(x, (-1, PIXELS))),
                    lambda z: vae.Bernoulli(np.reshape(inner.likelihood(z).logits, (-1, 6, 6)),
                                            event_ndim=2), inner.prior)
    found = diagnose(model, x, objective=partial(weighted, a=1 / PIXELS))
    assert one(found, "the decoder ignores z").numbers["trivial"] < 0
    assert "hidden_weight" in found.not_judged  # parameters in a lambda
