"""The conditional VAE: what is known of x given its label, and what a label may be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

import minigrad as mg
import vae
from tests.vae.trained import same, values
from vae import estimators
from vae.models.conditional import ConditionalVAE, conditional_vae, label_rows

PIXELS, CLASSES, N = 8, 3, 150


@pytest.fixture(scope="module")
def labelled():
    """Noisy copies of one binary pattern a class, (150, 8) float32, and the labels (150,)."""
    rng = np.random.default_rng(4)
    patterns, labels = np.eye(CLASSES, PIXELS), rng.integers(0, CLASSES, N)
    patterns[:, CLASSES:] = [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 1, 0, 1]]
    flips = rng.random((N, PIXELS)) < 0.05
    return np.abs(patterns[labels] - flips).astype(np.float32), labels


def model_for(seed=0, n_z=1):
    return conditional_vae(PIXELS, CLASSES, (12,), n_z, rng=np.random.default_rng(seed))


def train(model, rows, *, epochs=4, objective=vae.elbo, seed=1, **options):
    return vae.fit(model, rows, epochs=epochs, batch_size=50, rng=np.random.default_rng(seed),
                   optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2), objective=objective,
                   **options)


@pytest.fixture(scope="module")
def trained(labelled):
    model = model_for()
    train(model, model.rows(*labelled), epochs=80)
    return model


# -- bounds ------------------------------------------------------------------------------------
GRID = np.linspace(-10, 10, 4001)


def test_every_bound_is_below_log_p_of_x_given_y_by_quadrature(labelled, trained):
    model = mg.nn.frozen(trained)
    rows, x, y = model.rows(*labelled)[:20], labelled[0][:20], np.eye(CLASSES)[labelled[1][:20]]
    h = GRID[1] - GRID[0]
    log_joint, log_q = [], []
    for z in GRID:  # by the networks themselves, without the model's splitting
        code = np.full((20, 1), z)
        p = model.decoder(np.concatenate([code, y], axis=1))
        log_joint.append(p.log_prob(x) + model.prior.log_prob(code))
        log_q.append(model.encoder(np.concatenate([x, y], axis=1)).log_prob(code))
    log_joint, log_q = np.stack(log_joint), np.stack(log_q)
    log_p = logsumexp(log_joint, axis=0) + np.log(h)
    elbo = h * (np.exp(log_q) * (log_joint - log_q)).sum(axis=0)
    assert (elbo < log_p + 1e-4).all()
    for objective in (vae.elbo, estimators.sgvb_a):
        draws = np.stack([objective(model, rows, rng=np.random.default_rng(i)).value
                          for i in range(400)]).astype(np.float64).mean(axis=1)
        assert abs(draws.mean() - elbo.mean()) < 4 * draws.std(ddof=1) / 20 + 1e-4
    found = vae.log_likelihood(model, rows, samples=3000)
    noise = 4 * found["log_likelihood_noise_se"] + 1e-3
    assert abs(found["log_likelihood"] - log_p.mean()) < noise
    weighted = estimators.iwae(model, rows, rng=np.random.default_rng(0), samples=2000).value
    assert np.mean(weighted) == pytest.approx(log_p.mean(), abs=0.02)


def test_training_improves_the_bound_and_labels_help(labelled):
    x, labels = labelled
    model, shuffled = model_for(), np.random.default_rng(0).permutation(labels)
    rows = model.rows(x, labels)
    before = vae.evaluate(model, rows, repeats=5)
    train(model, rows, epochs=80)
    after = vae.evaluate(model, rows, repeats=5, each=True)
    wrong = vae.evaluate(model, model.rows(x, shuffled), repeats=5, each=True)
    assert after["elbo"] > before["elbo"] + 2
    lost = after["elbos"] - wrong["elbos"]
    assert lost.mean() > 4 * lost.std(ddof=1) / np.sqrt(N) + 1


@pytest.mark.parametrize("objective", [estimators.sgvb_a, estimators.sticking_the_landing,
                                       estimators.iwae, estimators.dreg, vae.beta_elbo])
def test_every_objective_takes_the_rows(labelled, objective):
    model = model_for()
    bound = objective(model, model.rows(*labelled), rng=np.random.default_rng(0), samples=3)
    (-np.mean(bound.objective)).backward()
    assert bound.value.shape == (N,) and bound.value.dtype == np.float32
    assert all(np.any(p.grad) and p.grad.dtype == np.float32 for p in mg.nn.parameters(model))


def test_drawing_the_pixels_as_coins_leaves_one_hot_labels(labelled):
    model = model_for()
    rows = model.rows(labelled[0] / 2, labelled[1])
    drawn = vae.data.binarize.draw(rows, rng=np.random.default_rng(0))
    assert np.array_equal(drawn[:, PIXELS:], rows[:, PIXELS:])
    assert not np.array_equal(drawn[:, :PIXELS], rows[:, :PIXELS])


# -- parameters --------------------------------------------------------------------------------
def test_parameters_are_found_once_saved_and_frozen(labelled, trained, tmp_path):
    found, other = mg.nn.parameters(trained), model_for(seed=7)
    assert len({id(p) for p in found}) == len(found) == 8
    mg.nn.save(tmp_path / "model.npz", trained)
    mg.nn.load(tmp_path / "model.npz", other)
    rows = trained.rows(*labelled)
    bounds = [vae.elbo(m, rows, rng=np.random.default_rng(0)).value
              for m in (trained, other, mg.nn.frozen(trained))]
    assert np.array_equal(bounds[0].data, bounds[1].data)
    assert np.array_equal(bounds[0].data, bounds[2])


def test_an_interrupted_run_resumes_to_the_same_bits(labelled, tmp_path):
    models = [model_for() for _ in range(3)]
    rows = models[0].rows(*labelled)
    train(models[0], rows, epochs=4)
    train(models[1], rows, epochs=2, checkpoint=tmp_path)
    train(models[2], rows, epochs=4, checkpoint=tmp_path, resume=True)
    assert same(values(models[0]), values(models[2]))


# -- samples -----------------------------------------------------------------------------------
def test_samples_are_of_the_class_that_was_asked_for(labelled, trained):
    x, labels = labelled
    asked = np.repeat(np.arange(CLASSES), 100)
    samples = trained.sample(asked, rng=np.random.default_rng(0))
    means = np.stack([x[labels == k].mean(axis=0) for k in range(CLASSES)])
    nearest = np.argmin(np.square(np.float64(samples.data)[:, None] - means).sum(-1), axis=1)
    assert samples.shape == (300, PIXELS) and samples.dtype == np.float32
    assert np.mean(nearest == asked) > 0.99


def test_a_sample_is_the_decoder_of_a_draw_and_the_label(trained):
    model, y = mg.nn.frozen(trained), np.eye(CLASSES, dtype=np.float32)[[2, 0]]
    z = model.prior.sample((2,), rng=np.random.default_rng(3))
    expected = model.decoder(np.concatenate([z, y], axis=1)).mean
    assert np.array_equal(model.sample([2, 0], rng=np.random.default_rng(3)), expected)
    assert np.array_equal(model.sample(y, rng=np.random.default_rng(3)), expected)


def test_reconstructions_are_near_x_and_follow_another_label(labelled, trained):
    x, labels = labelled
    model = mg.nn.frozen(trained)
    rows = model.rows(x, labels)
    means = np.stack([x[labels == k].mean(axis=0) for k in range(CLASSES)])
    other = (labels + 1) % CLASSES

    def share_of(wanted, pictures):
        away = np.square(pictures[:, None] - means).sum(-1)
        return np.mean(np.argmin(away, axis=1) == wanted)
    assert share_of(labels, model.reconstruct(rows)) > 0.99
    assert share_of(other, model.reconstruct(rows, labels=other)) > 0.99


def test_labels_that_are_numbers_go_in_as_they_are():
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 1, (200, 1))
    x = (angles + 0.1 * rng.standard_normal((200, 2))).astype(np.float32)
    model = conditional_vae(2, 1, (8,), 1, rng=rng, likelihood=vae.likelihoods.ToLearnedGaussian)
    rows = model.rows(x, angles)
    assert rows.shape == (200, 3) and rows.dtype == np.float32
    train(model, rows, epochs=60)
    ends = mg.nn.frozen(model).sample(np.repeat([[0.0], [1.0]], 100, axis=0), rng=rng)
    assert np.mean(ends[100:]) - np.mean(ends[:100]) > 0.7
    low, high = mg.nn.frozen(model).predict_interval(rows)
    assert np.mean((low < x) & (x < high)) > 0.95 and low.shape == x.shape


# -- errors ------------------------------------------------------------------------------------
@pytest.mark.parametrize("labels, message", [
    ([0, 1, 3, -1], r"2 of 4 labels are outside the classes, the first is 3 at \[2\]: whole "
                    r"numbers 0 … 2 are expected, n_y=3"),
    ([0.0, 1.0], r"labels of shape \(2,\) and dtype float64: whole numbers \(n,\) from 0 to 2, or "
                 r"floats \(n, 3\)"),
    (np.eye(4), r"labels of shape \(4, 4\)"),
    (np.eye(3, dtype=int), "dtype int64"),
    ([True, False], "dtype bool"),
    (2, r"labels of shape \(\)"),
    (np.full((2, 3), np.nan), "NaN or infinite"),
])
def test_labels_that_are_none_are_refused_by_name(labels, message):
    with pytest.raises(ValueError, match=message):
        label_rows(labels, 3)
    with pytest.raises(ValueError, match=message):
        model_for().sample(labels, rng=np.random.default_rng(0))


def test_what_does_not_go_together_is_said(labelled):
    model, (x, labels) = model_for(), labelled
    with pytest.raises(ValueError, match="150 data and 149 labels; one label for each"):
        model.rows(x, labels[1:])
    with pytest.raises(ValueError, match=r"x has shape \(150, 8\) and dtype int64; floats"):
        model.rows(x.astype(int), labels)
    with pytest.raises(ValueError, match=r"Dense\(11, 12\) was given an array of shape \(50, 8\)"):
        train(model, x)  # the labels were forgotten
    z = np.zeros((2, 1), np.float32)
    with pytest.raises(AttributeError, match=r"no mean but for a label: likelihood\(z\).given"):
        _ = model.likelihood(z).mean
    with pytest.raises(ValueError, match="the last axis must have 3 numbers"):
        model.likelihood(z).given(np.zeros((2, 4)))
    with pytest.raises(TypeError, match="its label would be missing"):
        model.predict_interval(z=z)
    with pytest.raises(ValueError, match=r"ConditionalVAE\(n_y=0\): a label has at least one"):
        ConditionalVAE(model.encoder, model.decoder, model.prior, 0)
    with pytest.raises(TypeError, match=r"hidden=5\): give the sizes of the layers, \(5,\)"):
        conditional_vae(PIXELS, CLASSES, 5, 1, rng=np.random.default_rng(0))


def test_a_model_with_a_learned_prior_samples_as_its_frozen_copy(labelled):
    model = model_for()
    model.prior = vae.priors.MixturePrior(1, 4, rng=np.random.default_rng(1))
    free, held = (m.sample([0, 1, 2], rng=np.random.default_rng(0))
                  for m in (model, mg.nn.frozen(model)))
    np.testing.assert_allclose(mg.stop_gradient(free), held, rtol=1e-6)


def test_a_model_given_a_label_is_the_conditional_one(labelled, trained):
    model, images = mg.nn.frozen(trained), labelled[0][labelled[1] == 2]
    one, rows = model.given(2), model.rows(images, np.full(len(images), 2))
    z = model.posterior(rows).mean
    assert np.array_equal(one.posterior(images).mean, z)
    assert np.array_equal(one.likelihood(z).log_prob(images), model.likelihood(z).log_prob(rows))
    assert same(values(trained.given(np.eye(CLASSES)[2])), values(trained))  # its own parameters
    with pytest.raises(ValueError, match="outside the classes"):
        model.given(CLASSES)
