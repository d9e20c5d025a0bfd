"""examples/families.py: each name of --model is built, takes a step, and is looked at."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import vae
from vae.models import PCA, VQVAE

SCRIPT = Path(__file__).parents[1] / "examples" / "mnist.py"
SIZE, CLASSES = (8, 8), 10


@pytest.fixture(scope="module")
def families(example):
    return example.FAMILIES


NAMES = [
    "dense", "conv", "beta", "capacity", "learned-variance", "iwae", "iwae2", "conditional",
    "categorical", "categorical-st", "categorical-score", "full-covariance",
    "mixture-posterior", "planar", "radial", "coupling", "iaf", "sylvester", "auxiliary",
    "mixture-prior", "flow-prior", "vampprior", "vqvae", "vqvae-moving", "wake-sleep",
    "autoencoder", "linear-autoencoder", "pca",
]  # fmt: skip


@pytest.fixture(scope="module")
def small(digits):
    """Embedded digits of 8x8 pixels."""
    def halved(images):
        return images[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3, 1).mean(axis=(2, 4))
    return vae.data.Dataset("small digits", halved(digits.train[:60]), halved(digits.test[:40]),
                            digits.train_labels[:60], digits.test_labels[:40],
                            protocol="means of 3x3 pixels")


def options(example, name, *more):
    family = example.FAMILIES[name]
    given = ["--model", name, *more]
    if "hidden" in family.options:
        given += ["--hidden", *["12"] * (family.widths or 1)]
    if "latent" in family.options:
        given += ["--latent", "4"]
    if "epochs" in family.options:
        given += ["--epochs", "1", "--batch-size", "30"]
    if "nll_samples" in family.options:
        given += ["--nll-samples", "10", "--nll-images", "10"]
    return example.parse(given)


@pytest.fixture
def made(example, small):
    """name -> what `mnist.py` builds of it, and its options."""
    def make(name, *more):
        args = options(example, name, *more)
        return args, example.make(args, example.protocol_of(args, small))
    return make


def step_of(example, args, made):
    """Two steps, since a layer behind one of zeros moves in the second: bound, and moves."""
    parameters = mg.nn.parameters(made.model)
    before = [p.data.copy() for p in parameters]
    history = vae.fit(made.model, made.train, epochs=2, batch_size=len(made.train), rng=made.rng,
                      optimizer=mg.optim.Adam(parameters, lr=1e-3), prepare=made.protocol.batch,
                      objective=example.objective_of(args, 1))
    moved = [np.abs(p.data - b).max() for p, b in zip(parameters, before)]
    return history.rows[0], moved


def test_the_catalogue_has_the_names(families):
    assert sorted(families) == sorted(NAMES)
    assert all(f.about for f in families.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_is_built_takes_a_step_and_is_looked_at(example, made, name):
    args, it = made(name)
    family, model, test = it.family, it.model, it.test
    if family.objective:
        row, moved = step_of(example, args, it)
        assert np.isfinite(row["train_bound"]) and max(moved) > 0
        # Adam moves what has a gradient by about lr a step; a few relus may be dead
        assert np.mean(np.array(moved) > 1e-4) > 0.8
    family.finish(model, it.protocol.evaluation(it.train))
    assert it.n_parameters > 0

    again = family.reconstruct(model, test)
    assert again.shape == family.pixels(test).shape == (40, 64) and np.isfinite(again).all()
    error = np.mean((family.pixels(test).astype(float) - again) ** 2)
    assert family.error(model, test) == pytest.approx(error, rel=1e-5)
    images = family.sample(model, 12, rng=np.random.default_rng(0))
    assert images is None or (images.shape == (12, 64) and np.isfinite(images).all())
    assert (images is None) is (name in ("autoencoder", "linear-autoencoder"))
    if family.bound:
        found = vae.evaluate(model, test, objective=family.bound)
        assert np.isfinite(found["elbo"])
        if family.is_bound:
            assert found["elbo"] == pytest.approx(found["reconstruction"] - found["kl"], abs=1e-3)
    if "nll_samples" in family.options:  # a mean of bounds is below their importance weighting
        nll = vae.log_likelihood(model, test, samples=10)
        assert nll["log_likelihood"] > vae.evaluate(model, test, objective=family.bound,
                                                    repeats=3)["elbo"] - 0.5
    active = family.active(model, test)
    assert (active is None) is isinstance(family, (type(example.FAMILIES["vqvae"]),
                                                   type(example.FAMILIES["autoencoder"])))


@pytest.mark.parametrize("name", ["conditional", "iwae2", "categorical-score", "coupling",
                                  "auxiliary", "vampprior", "wake-sleep"])
def test_the_doctor_judges_what_has_a_posterior(example, made, name):
    args, it = made(name)
    found = it.family.diagnose(it.model, it.protocol.evaluation(it.train), validation=it.test,
                               history=None, objective=example.objective_of(args, 1))
    assert {"not_finite", "collapse"} <= set(found.checked)
    assert not set(found.checked) & set(found.not_judged)


@pytest.mark.parametrize("name", ["vqvae", "autoencoder", "pca"])
def test_where_there_is_no_posterior_it_is_said(families, name):
    assert families[name].why_no_doctor


# -- what is computed another way -----------------------------------------------------------------
def test_active_units_by_draws_are_those_of_the_means(example, made):
    """Means that are known: three dimensions move, one by too little."""
    it = made("dense")[1]
    looking = inspect.getmodule(type(it.family))

    class Known:
        prior = vae.Normal.standard(4)

        def posterior(self, x):
            mean = x[:, :4] * np.array([1, 0.5, 0.2, 0.02], np.float32)
            return vae.Normal(mean, np.full_like(mean, 0.7))
    x = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
    assert looking.active_by_prior(Known(), x).tolist() == [True, True, True, False]
    assert vae.active_units(Known(), x).count == 3


def test_reconstructions_by_draws_are_means_over_the_posterior(made):
    it = made("planar")[1]
    for p in mg.nn.parameters(it.model.decoder):
        p.data *= 4  # so that codes make a difference, which untrained weights hardly do
    model = mg.nn.frozen(it.model)
    z = model.posterior(it.test).sample((4000,), rng=np.random.default_rng(1))
    images = np.concatenate([model.likelihood(part).mean for part in np.split(z, 40)])
    error = images.std(axis=0) / np.sqrt(inspect.getmodule(type(it.family)).DRAWS)

    def standard_errors(found):
        return np.sqrt(np.mean(np.square((found - images.mean(axis=0)) / error)[error > 1e-3]))
    assert 0.7 < standard_errors(it.family.reconstruct(it.model, it.test)) < 1.4
    assert standard_errors(images[0]) > 3  # one draw
    assert standard_errors(model.likelihood(np.zeros(z.shape[-1], z.dtype)).mean) > 3


def test_samples_of_pca_vary_as_the_data_do(made):
    it = made("pca")[1]
    z = it.model.encode(it.family.sample(it.model, 4000, rng=np.random.default_rng(0)))
    wanted = it.model.explained_variance - it.model.noise_variance
    assert np.var(z, axis=0) == pytest.approx(wanted, rel=0.1)


def test_the_bound_of_a_vqvae_is_that_of_equal_codes(made):
    it = made("vqvae")[1]
    it.family.finish(it.model, it.train)
    found = vae.evaluate(it.model, it.test, objective=it.family.bound)
    assert found["kl"] == pytest.approx(4 * np.log(128))
    more = it.family.more(it.model, it.test)
    assert 1 <= more["codes_used"] <= 128 == more["codes"]
    assert it.model.prior.counts.sum() == 4 * len(it.train)
    counted = found["reconstruction"] + it.model.prior.log_prob(it.model.encode(it.test)).mean()
    assert more["test_elbo_counted_prior"] == pytest.approx(counted, rel=1e-5)


@pytest.mark.parametrize("name", ["beta", "planar", "categorical-st"])
def test_beta_weighs_the_kl_of_any_sum(example, made, name):
    args, it = made(name, "--beta", "3")
    found = example.objective_of(args, 1)(it.model, it.test, rng=np.random.default_rng(0))
    assert found.kl_weight == 3
    assert np.allclose(mg.stop_gradient(found.objective),
                       mg.stop_gradient(found.reconstruction - 3 * found.kl), rtol=1e-5)
    assert np.allclose(mg.stop_gradient(found.value),
                       mg.stop_gradient(found.reconstruction - found.kl), rtol=1e-4, atol=1e-3)


# -- options --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name, option, fits", [
    ("vqvae", ["--beta", "2"], "planar"), ("iwae", ["--free-bits", "0.1"], "dense"),
    ("pca", ["--epochs", "3"], "autoencoder"), ("pca", ["--checkpoint", "x"], "dense"),
    ("autoencoder", ["--nll-samples", "5"], "iwae"), ("categorical", ["--init", "pytorch"], "conv"),
    ("dense", ["--capacity", "3"], "capacity"), ("full-covariance", ["--free-bits", "1"], "beta"),
    ("categorical-score", ["--temperature", "1"], "categorical-st"),
    ("linear-autoencoder", ["--hidden", "3"], "dense")])
def test_an_option_that_has_no_meaning_is_refused(example, capsys, name, option, fits):
    with pytest.raises(SystemExit):
        example.parse(["--model", name, *option])
    error = capsys.readouterr().err
    assert f"{option[0]} does not apply to --model {name}" in error
    assert fits in error[error.index("it does to"):].replace("\n", " ").replace(",", "").split()


def test_other_refusals_say_what_would_fit(example, capsys, made, small):
    for arguments, text in ((["--model", "iwae2", "--hidden", "5"], "give --hidden two numbers"),
                            (["--model", "learned-variance", "--binarize", "static"],
                             "give --binarize none"),
                            (["--temperature", "0"], "above 0 is expected")):
        with pytest.raises(SystemExit):
            example.parse(arguments)
        assert text in capsys.readouterr().err
    args = options(example, "conditional")
    without = vae.data.Dataset("no labels", small.train, small.test, protocol="none")
    with pytest.raises(ValueError, match="needs labels, which these data don't have"):
        example.make(args, example.protocol_of(args, without))


# -- through the program --------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["conditional", "vqvae-moving", "autoencoder", "pca"])
def test_the_program_writes_what_there_is(example, small, monkeypatch, tmp_path, capsys, name):
    monkeypatch.setattr(vae.data, "load", lambda *args: small)
    args = vars(options(example, name))
    given = ["--model", name, "--no-plots", "--out", str(tmp_path)]
    for option in ("epochs", "batch_size", "nll_samples"):
        if option in example.FAMILIES[name].options:
            given += ["--" + option.replace("_", "-"), str(args[option])]
    given += ["--latent", "4"] if "latent" in example.FAMILIES[name].options else []
    assert example.main(given) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (tmp_path / "parameters.npz").exists() and (tmp_path / "report.html").exists()
    assert metrics["test_error"] > 0 and metrics["model"] == name
    text = capsys.readouterr().out
    if name in ("autoencoder", "pca"):
        assert metrics["test_elbo"] is None and "no bound on log p(x)" in text
    else:
        assert metrics["test_elbo"] < 0
    assert ("not_diagnosed" in metrics) is (name != "conditional")
    for told in (text, (tmp_path / "report.html").read_text()):
        assert ("The doctor was not asked" in told) is (name != "conditional")


def test_a_run_that_moves_dead_codes_goes_on_to_the_same_bits(example, small, monkeypatch,
                                                              tmp_path):
    monkeypatch.setattr(vae.data, "load", lambda *args: small)
    ended = []  # parameters and buffers, in place of a report
    monkeypatch.setattr(example, "report", lambda args, made, history: ended.append(
        {**{k: p.data for k, p in mg.nn.named_parameters(made.model).items()},
         **mg.nn.named_buffers(made.model)}))

    def run(*more):
        assert example.main(["--model", "vqvae-moving", "--batch-size", "30", "--out",
                             str(tmp_path / "out"), *more]) == 0
    kept = ["--checkpoint", str(tmp_path / "run")]
    run("--epochs", "3")
    run("--epochs", "1", *kept)
    run("--epochs", "3", *kept, "--resume")
    whole, _, rest = ended
    assert whole.keys() == rest.keys() and "codebook.vectors" in whole
    assert all(np.array_equal(whole[k], rest[k]) for k in whole)


def test_pca_and_vqvae_are_what_their_names_say(made):
    assert isinstance(made("pca")[1].model, PCA) and isinstance(made("vqvae")[1].model, VQVAE)
