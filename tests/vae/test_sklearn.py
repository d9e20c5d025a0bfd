"""VAEModel: against quadrature, in other units, without scikit-learn, and in it if it is there."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import vae.sklearn
from minigrad import nn
from vae.sklearn import NotFittedError, VAEModel

ROOT = Path(__file__).parents[2]
SMALL = {"hidden": (16,), "epochs": 30, "batch_size": 32, "learning_rate": 1e-2, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    """200 rows of 4 correlated features with scales of their own."""
    rng = np.random.default_rng(6)
    z = rng.standard_normal((200, 1))
    x = z * [1, -1, 0.5, 0] + 0.3 * rng.standard_normal((200, 4))
    return x * [1, 10, 0.1, 5] + [0, 50, 0, -3]


@pytest.fixture(scope="module")
def fitted(data):
    return VAEModel(n_components=1, **SMALL).fit(data)


def everything(model, x):
    return [model.transform(x), model.score_samples(x), model.sample(20),
            model.inverse_transform(model.transform(x))]


def grid_log_p(model, x):
    """log ∫ N(z) p(x|z) dz - Σ log scale for one latent dimension, by the trapezoidal rule."""
    z = np.linspace(-8, 8, 4001)
    frozen = nn.frozen(model.model_)
    p = frozen.likelihood(z[:, None, None].astype(np.float32))
    x = ((x - model.mean_) / model.scale_).astype(np.float32)
    joint = p.log_prob(x) - 0.5 * z[:, None] ** 2 - 0.5 * np.log(2 * np.pi)
    return np.logaddexp.reduce(joint, axis=0) + np.log(z[1] - z[0]) - np.log(model.scale_).sum()


# -- what the numbers are -------------------------------------------------------------------------
@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian-datum", "continuous-bernoulli",
                                        "bernoulli"])
def test_scores_are_log_densities_in_the_units_of_x(data, likelihood):
    x = data
    if "bernoulli" in likelihood:
        x = (x - x.min(axis=0)) / np.ptp(x, axis=0)
        x = x.round() if likelihood == "bernoulli" else x
    options = {**SMALL, "epochs": 10, "likelihood": likelihood, "n_components": 1}
    model = VAEModel(draws=5000, **options).fit(x)
    np.testing.assert_allclose(model.score_samples(x[:20]), grid_log_p(model, x[:20]), atol=0.03)
    assert model.score(x[:20]) == pytest.approx(model.score_samples(x[:20]).mean())


def test_the_density_of_one_feature_integrates_to_one(data):
    x = data[:, 1:2]
    model = VAEModel(**{**SMALL, "n_components": 1, "draws": 500}).fit(x)
    grid = np.linspace(-50, 150, 801)[:, None]
    assert np.exp(model.score_samples(grid)).sum() * 0.25 == pytest.approx(1, abs=0.01)


def test_it_learns_what_features_have_in_common(data):
    """Better than features that are independent, and no better than the truth."""
    from scipy.stats import multivariate_normal, norm
    model = VAEModel(n_components=1, **{**SMALL, "epochs": 150}).fit(data[:150])
    test = data[150:]
    independent = norm.logpdf(test, data[:150].mean(axis=0), data[:150].std(axis=0)).sum(axis=1)
    load, scale = np.array([1, -1, 0.5, 0]), np.array([1, 10, 0.1, 5])
    cov = (np.outer(load, load) + 0.09 * np.eye(4)) * np.outer(scale, scale)
    truth = multivariate_normal([0, 50, 0, -3], cov).logpdf(test)
    found = model.score_samples(test)
    noise = (found - truth).std() / 50**0.5
    assert found.mean() > independent.mean() + 0.8 * (truth - independent).mean()
    assert found.mean() < truth.mean() + 3 * noise
    assert abs(np.corrcoef(model.transform(test)[:, 0], test[:, 0])[0, 1]) > 0.9
    back = model.inverse_transform(model.transform(test))
    assert (np.abs(back - test)[:, :3].mean(axis=0) < 0.5 * data.std(axis=0)[:3]).all()


def test_draws_have_the_moments_of_the_model(fitted, data):
    x, scale = fitted.sample(20_000), fitted.scale_
    z = np.random.default_rng(2).standard_normal((20_000, 1))
    mean = fitted.inverse_transform(z)
    np.testing.assert_allclose((x.mean(axis=0) - mean.mean(axis=0)) / scale, 0, atol=0.05)
    noise = nn.frozen(fitted.model_).likelihood(z.astype(np.float32)).variance  # one a feature
    np.testing.assert_allclose(x.var(axis=0), mean.var(axis=0) + noise * scale**2, rtol=0.08)


def test_other_units_change_nothing_but_the_units(fitted, data):
    """By powers of two, so that no bit is rounded otherwise."""
    unit = np.array([2.0**10, 2.0**-7, 1, 2])
    other = VAEModel(n_components=1, **SMALL).fit(data * unit)
    z, score, draws, back = everything(other, data * unit)
    expected = everything(fitted, data)
    np.testing.assert_array_equal(z, expected[0])
    np.testing.assert_allclose(score, expected[1] - np.log(unit).sum(), rtol=1e-12)
    np.testing.assert_allclose(draws, expected[2] * unit, rtol=1e-12)
    np.testing.assert_allclose(back, expected[3] * unit, rtol=1e-12)


def test_a_row_has_one_result_whatever_is_beside_it(fitted, data, monkeypatch):
    whole = everything(fitted, data)
    monkeypatch.setattr(vae.sklearn, "ROWS", 230)
    order = np.random.default_rng(0).permutation(200)
    z, score, _, back = everything(fitted, data[order])
    for found, expected in ((z, whole[0]), (score, whole[1]), (back, whole[3])):
        np.testing.assert_allclose(found, expected[order], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(fitted.score_samples(data[7:8]), whole[1][7:8], rtol=1e-9)
    single = data.astype(np.float32)
    np.testing.assert_array_equal(fitted.score_samples(single),
                                  fitted.score_samples(single.astype(np.float64)))


def test_float32_comes_back_as_float32(fitted, data):
    z = fitted.transform(data.astype(np.float32))
    assert z.dtype == fitted.inverse_transform(z).dtype == np.float32
    assert fitted.transform(data).dtype == fitted.transform(data.tolist()).dtype == np.float64
    assert {p.dtype for p in nn.parameters(fitted.model_)} == {np.dtype(np.float32)}


# -- randomness -----------------------------------------------------------------------------------
def test_the_same_random_state_gives_the_same_bits_and_is_not_moved(data):
    states = [3, np.random.default_rng(3), np.random.RandomState(3)]
    for state in states:
        before = pickle.dumps(state)
        runs = [everything(VAEModel(**{**SMALL, "epochs": 2, "random_state": state}).fit(data),
                           data) for _ in range(2)]
        for one, two in zip(*runs):
            np.testing.assert_array_equal(one, two)
        assert pickle.dumps(state) == before
    free = [VAEModel(epochs=1).fit(data).seed_ for _ in range(2)]
    assert free[0] != free[1]


def test_evaluation_is_repeatable_and_changes_nothing(fitted, data):
    before = pickle.dumps(fitted)
    for one, two in zip(everything(fitted, data), everything(fitted, data)):
        np.testing.assert_array_equal(one, two)
    assert pickle.dumps(fitted) == before
    assert not np.array_equal(fitted.sample(3), fitted.sample(3, random_state=1))


def test_a_pickled_model_gives_the_same(fitted, data):
    again = pickle.loads(pickle.dumps(fitted))
    for one, two in zip(everything(fitted, data), everything(again, data)):
        np.testing.assert_array_equal(one, two)


# -- parameters and attributes --------------------------------------------------------------------
def test_parameters_are_kept_untouched_and_can_be_set():
    hidden = [5, 4]
    model = VAEModel(hidden, random_state=7)
    assert model.get_params()["hidden"] is hidden and model.hidden is hidden
    assert repr(model) == "VAEModel(hidden=[5, 4], random_state=7)"
    assert model.set_params(epochs=3, draws=2) is model and (model.epochs, model.draws) == (3, 2)
    with pytest.raises(ValueError, match=r"Invalid parameter 'depth' for estimator VAE.*'draws'"):
        model.set_params(epochs=9, depth=2)
    assert model.epochs == 3


def test_what_fit_leaves(data):
    model = VAEModel([6, 5], 3, epochs=2, random_state=0)
    before = dict(vars(model))
    assert model.fit(data) is model
    assert {k: vars(model)[k] for k in before} == before
    new = set(vars(model)) - set(before)
    assert new == {"model_", "history_", "likelihood_", "mean_", "scale_", "seed_",
                   "n_features_in_"}
    assert model.likelihood_ == "gaussian" and model.n_features_in_ == 4
    assert [row["epoch"] for row in model.history_.rows] == [1, 2]
    np.testing.assert_allclose(model.mean_, data.mean(axis=0))
    np.testing.assert_allclose(model.scale_, data.std(axis=0))
    assert list(model.get_feature_names_out()) == ["vaemodel0", "vaemodel1", "vaemodel2"]
    with pytest.raises(ValueError, match=r"input_features .* number of features \(4\), got 3"):
        model.get_feature_names_out(list("abc"))
    assert VAEModel(epochs=1).fit(data > 0).likelihood_ == "bernoulli"


def test_a_constant_feature_and_few_rows_are_no_trouble(data):
    x = data[:3].copy()
    x[:, 2] = 7
    model = VAEModel(epochs=3, random_state=0).fit(x)
    assert model.scale_[2] == 1 and np.isfinite(model.score_samples(x)).all()


def test_verbose_prints_a_line_an_epoch(data, capsys):
    VAEModel(epochs=2, verbose=True).fit(data)
    assert capsys.readouterr().out.count("epoch") == 2
    VAEModel(epochs=2).fit(data)
    assert capsys.readouterr().out == ""


def test_ctrl_c_keeps_what_is_trained_and_is_raised(data, monkeypatch):
    def interrupted(*args, **options):
        history = real(*args, **{**options, "epochs": 1})
        history.interrupted = True
        return history
    real = vae.sklearn.fit
    monkeypatch.setattr(vae.sklearn, "fit", interrupted)
    model = VAEModel(epochs=5)
    with pytest.raises(KeyboardInterrupt):  # a search over parameters must not go on
        model.fit(data)
    assert model.transform(data).shape == (200, 2)


# -- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize("params, message", [
    ({"hidden": 5}, r"hidden=5: give the sizes"), ({"hidden": (5, 0)}, r"hidden\[1\]=0: a whole"),
    ({"n_components": 0}, "n_components=0"), ({"epochs": 2.5}, "epochs=2.5: a whole number"),
    ({"draws": 0}, "draws=0"), ({"learning_rate": -1}, "learning_rate=-1: a positive"),
    ({"likelihood": "normal"}, "likelihood='normal': one of auto, bernoulli, cont"),
    ({"random_state": "x"}, "random_state='x': an int from 0"),
    ({"likelihood": "bernoulli"}, "is over 0 and 1, and X has other values"),
    ({"likelihood": "continuous-bernoulli"}, r"over \[0, 1\], and X is from -\d.*gaussian"),
])  # fmt: skip
def test_parameters_that_cannot_be(data, params, message):
    model = VAEModel(**params)  # says nothing yet
    with pytest.raises(ValueError, match=message):
        model.fit(data)


Sparse = type("Sparse", (), {"nnz": 3, "toarray": None})


@pytest.mark.parametrize("x, error, message", [
    (np.full((3, 4), np.nan), ValueError, "Input X contains NaN.*leave out such rows"),
    (np.ma.masked_equal(np.eye(4), 1), ValueError, "Input X contains NaN"),
    (np.full((3, 4), 1e39), ValueError, "infinity or a value too large for dtype.'float32'"),
    (np.zeros(4), ValueError, r"Expected 2D array, got 1D.*Reshape your data"),
    (np.zeros((3, 5)), ValueError, "X has 5 features, but VAEModel is expecting 4 features"),
    (np.zeros((0, 4)), ValueError, r"0 sample\(s\) \(shape=\(0, 4\)\)"),
    (np.zeros((3, 4), complex), ValueError, "Complex data not supported"),
    (np.full((3, 4), "1"), ValueError, "dtype <U1: numbers"),
    (Sparse(), TypeError, "Sparse data was passed for X.*toarray"),
    (np.full((3, 4), 3e38), ValueError, "farther from the data of fit than float32"),
])  # fmt: skip
def test_data_that_cannot_be(fitted, x, error, message):
    for method in (fitted.transform, fitted.score_samples, fitted.score):
        with pytest.raises(error, match=message):
            method(x)


def test_one_row_has_no_scale_and_z_has_its_width(fitted, data):
    with pytest.raises(ValueError, match=r"1 sample\(s\) .* a minimum of 2"):
        VAEModel().fit(data[:1])
    with pytest.raises(ValueError, match="Z has 4 features, but VAEModel is expecting 1 features"):
        fitted.inverse_transform(data)
    with pytest.raises(ValueError, match="n_samples=0"):
        fitted.sample(0)


def test_an_unfitted_model_says_so(data):
    for use in (lambda m: m.transform(data), lambda m: m.score(data), lambda m: m.sample(),
                lambda m: m.inverse_transform(data), lambda m: m.get_feature_names_out()):
        with pytest.raises(NotFittedError, match=r"not fitted yet\. Call 'fit'") as caught:
            use(VAEModel())
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), NotFittedError)


# -- with and without scikit-learn ----------------------------------------------------------------
def test_scikit_learn_is_never_imported():
    code = """
import sys
sys.modules.update(sklearn=None, pandas=None)
import numpy as np
from vae.sklearn import VAEModel, NotFittedError
x = np.random.default_rng(0).standard_normal((30, 3))
model = VAEModel(epochs=1)
try:
    model.transform(x)
except NotFittedError:
    pass
model.set_params(**model.get_params()).fit_transform(x)
model.score(x), model.sample(2), model.inverse_transform(x[:, :2]), repr(model)
assert not any(m.startswith("sklearn.") for m in sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60, cwd=ROOT)


def test_scikit_learns_own_checks_pass():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    model = VAEModel(epochs=5, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimator VAEModel does not inherit")
        warnings.filterwarnings("ignore", category=checks.SkipTestWarning)
        checks.check_estimator(model)
    for name in ("check_transformer_general", "check_methods_subset_invariance",
                 "check_dataframe_column_names_consistency"):
        getattr(checks, name)("VAEModel", model)  # one that it leaves out, and two that it might


def test_its_errors_are_scikit_learns_once_that_is_imported(data):
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError) as caught:
        VAEModel().transform(data)
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, exceptions.NotFittedError) and isinstance(again, NotFittedError)


def test_pipeline_search_clone_and_joblib(data):
    sklearn = pytest.importorskip("sklearn")
    joblib = pytest.importorskip("joblib")
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    pipe = make_pipeline(StandardScaler(), VAEModel(**{**SMALL, "epochs": 3}))
    search = GridSearchCV(pipe, {"vaemodel__n_components": [1, 2]}, cv=2, n_jobs=2).fit(data)
    alone = GridSearchCV(pipe, {"vaemodel__n_components": [1, 2]}, cv=2).fit(data)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"],
                               alone.cv_results_["mean_test_score"], rtol=1e-6)
    best = search.best_estimator_
    assert best.inverse_transform(best.transform(data)).shape == data.shape
    copy = sklearn.clone(best[-1])
    assert copy.get_params() == best[-1].get_params() and not hasattr(copy, "model_")
    fits = joblib.Parallel(n_jobs=2)(joblib.delayed(sklearn.clone(copy).fit)(data)
                                     for _ in range(2))
    for one, two in zip(everything(fits[0], data), everything(fits[1], data)):
        np.testing.assert_array_equal(one, two)


def test_the_columns_of_a_frame_are_remembered(data):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data, columns=list("abcd"))
    model = VAEModel(epochs=1).fit(frame)
    assert list(model.feature_names_in_) == list("abcd")
    assert list(model.get_feature_names_out(list("abcd"))) == ["vaemodel0", "vaemodel1"]
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        model.get_feature_names_out(list("abce"))
    with pytest.raises(ValueError, match="must be in the same order"):
        model.transform(frame[list("badc")])
    with pytest.raises(ValueError, match="unseen at fit time:\n- e\n"):
        model.transform(frame.rename(columns={"a": "e"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but VAEModel"):
        model.transform(data)
    assert not hasattr(model.fit(data), "feature_names_in_")
    with pytest.warns(UserWarning, match="X has feature names, but VAEModel was fitted without"):
        model.transform(frame)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # between scikit-learn and SciPy
def test_the_blocks_of_the_page_that_need_scikit_learn_run(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```py(?:thon)?\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict = {}
    assert sum("sklearn" in block for block in blocks) >= 2
    for block in blocks:
        exec(block, names)
