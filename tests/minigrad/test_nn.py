"""Layers, initialisers, and what becomes of a model's parameters."""

from __future__ import annotations

import copy
import os
import zipfile
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad import archive, nn
from minigrad.tensor import Tensor

X = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def network(seed=0, dtype=np.float32, hidden=4):
    return nn.Sequential(nn.Dense(3, hidden, rng=rng(seed), dtype=dtype), np.tanh,
                         nn.LayerNorm(hidden, dtype=dtype), nn.Dropout(0.5),
                         nn.Dense(hidden, 2, rng=rng(seed + 1), dtype=dtype, bias=nn.normal(0.1)))


def values(model):
    return {name: p.data.copy() for name, p in nn.named_parameters(model).items()}


def same(a, b):
    return list(a) == list(b) and all(a[k].tobytes() == b[k].tobytes() for k in a)


# -- layers ---------------------------------------------------------------------------------------
def test_dense_is_an_affine_map():
    layer = nn.Dense(3, 2, rng=rng(), bias=nn.normal(1.0))
    expected = X @ layer.weight.data + layer.bias.data
    for x in (X, X.reshape(2, 3, 3), X[0]):
        y = layer(x)
        assert type(y) is Tensor and y.dtype == np.float32
        np.testing.assert_allclose(y.data.reshape(-1, 2), expected[:y.size // 2], rtol=1e-6)
    with pytest.raises(ValueError, match=r"Dense\(3, 2\).*\(6, 4\).*3 elements"):
        layer(np.ones((6, 4)))
    assert nn.Dense(3, 2, rng=rng(), dtype=np.float64).weight.dtype == np.float64
    assert np.all(nn.Dense(3, 2, rng=rng()).bias.data == 0)


def test_sequential_calls_its_layers_in_order_and_gives_rng_to_the_random_ones():
    model = nn.Sequential(lambda x: x + 1, nn.Sequential(nn.Dropout(0.5)), lambda x: x * 2)
    np.testing.assert_array_equal(model(X), (X + 1) * 2)
    np.testing.assert_array_equal(model(X, rng=rng()), nn.Dropout(0.5)(X + 1, rng=rng()) * 2)
    assert np.any(model(X, rng=rng()) == 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_keeps_the_mean_and_the_dtype(dtype):
    x = np.ones((200, 500), dtype)
    y = nn.Dropout(0.25)(x, rng=rng())
    assert y.dtype == dtype
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    n = x.size
    assert abs(np.mean(y == 0) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / n)
    assert abs(np.mean(y, dtype=float) - 1) < 4 * np.sqrt(0.25 / 0.75 / n)
    t = Tensor(x)
    z = nn.Dropout(0.25)(t, rng=rng())
    np.sum(z).backward()
    np.testing.assert_array_equal(t.grad, z.data)  # x is 1: the mask, scaled, is both
    assert t.grad.dtype == dtype


def test_dropout_without_rng_or_rate_is_the_identity_and_refuses_other_rates():
    assert nn.Dropout(0.5)(X) is X and nn.Dropout(0.0)(X, rng=rng()) is X
    for rate in (-0.1, 1.0, 1.5, np.nan):
        with pytest.raises(ValueError, match=r"at least 0 and below 1"):
            nn.Dropout(rate)


def test_layer_norm_has_mean_zero_and_variance_one():
    layer = nn.LayerNorm(50, eps=0.0)
    y = layer(100 + 7 * rng().standard_normal((4, 3, 50)).astype(np.float32))
    assert y.dtype == np.float32
    np.testing.assert_allclose(np.mean(y.data, -1), 0, atol=1e-4)
    np.testing.assert_allclose(np.var(y.data, -1), 1, rtol=1e-4)
    layer.gain.data[:], layer.offset.data[:] = 3, -2
    z = layer(rng().standard_normal((5, 50)))
    np.testing.assert_allclose(np.mean(z.data, -1), -2, rtol=1e-5)
    np.testing.assert_allclose(np.std(z.data, -1), 3, rtol=1e-5)
    np.testing.assert_allclose(nn.LayerNorm(2, eps=3.0)(np.array([-1.0, 1.0])).data, [-.5, .5])
    with pytest.raises(ValueError, match=r"LayerNorm\(50\).*\(2, 3\).*50 elements"):
        layer(np.ones((2, 3)))


def test_gradients_by_parameters_and_data():
    model = network(dtype=np.float64)
    weights = [p.data + 0.1 for p in nn.parameters(model)]
    mg.check_grads(lambda x, *w: nn.with_parameters(model, w)(x), (X, *weights))
    mg.check_grads(lambda x, *w: nn.with_parameters(model, w)(x, rng=rng()), (X, *weights), order=1)


# -- initialisers ---------------------------------------------------------------------------------
@pytest.mark.parametrize("init, scale, uniform", [
    (nn.glorot_uniform, np.sqrt(2 / (300 + 500)), True), (nn.he_uniform, np.sqrt(2 / 300), True),
    (nn.fan_in_uniform, np.sqrt(1 / 300 / 3), True), (nn.he_normal, np.sqrt(2 / 300), False),
    (nn.glorot_normal, np.sqrt(2 / 800), False), (nn.normal(0.3), 0.3, False),
], ids=lambda v: getattr(v, "__name__", ""))
def test_moments_and_bounds(init, scale, uniform):
    w = init((300, 500), 300, 500, rng=rng())
    n = w.size
    assert abs(np.mean(w)) < 4 * scale / np.sqrt(n)
    kurtosis = 1.8 if uniform else 3.0
    assert abs(np.var(w) / scale**2 - 1) < 4 * np.sqrt((kurtosis - 1) / n)
    assert abs(np.mean(w**4) / scale**4 - kurtosis) < 0.1
    if uniform:
        bound = scale * np.sqrt(3)
        assert 0.999 * bound < np.max(np.abs(w)) <= bound
    np.testing.assert_array_equal(w, init((300, 500), 300, 500, rng=rng()))


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 3, 4)])
def test_orthogonal_is_orthonormal(shape):
    w = nn.orthogonal(gain=2.0)(shape, 1, 1, rng=rng())
    assert w.shape == shape
    w = w.reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)
    draws = [nn.orthogonal()((2, 2), 1, 1, rng=rng(i)) for i in range(400)]
    assert np.all(np.abs(np.mean(draws, axis=0)) < 4 * np.sqrt(0.5 / 400))  # all Q equally likely


# -- parameters -----------------------------------------------------------------------------------
class Pair:
    def __init__(self):
        self.second = nn.Dense(2, 3, rng=rng())
        self.tied = {"w": self.second.weight, "list": [Tensor(np.ones(2)), (Tensor(np.zeros(1)),)]}
        self.alone, self.number, self.function = Tensor(np.ones(3)), 3.0, mg.relu


def test_parameters_are_found_in_order_and_once():
    model = Pair()
    names = ["second.weight", "second.bias", "tied.list.0", "tied.list.1.0", "alone"]
    assert list(nn.named_parameters(model)) == names
    assert list(map(id, nn.parameters(model))) == list(map(id, nn.named_parameters(model).values()))
    model.again = model  # a cycle
    assert list(nn.named_parameters(model)) == names
    assert list(nn.named_parameters(network())) == [
        f"layers.{i}.{n}" for i, n in [(0, "weight"), (0, "bias"), (2, "gain"), (2, "offset"),
                                       (4, "weight"), (4, "bias")]]
    assert nn.parameters(3) == nn.parameters(np.tanh) == []


def test_with_parameters_replaces_all_and_leaves_the_model_alone():
    model, before = Pair(), values(Pair())
    new = [np.full(p.shape, float(i)) for i, p in enumerate(nn.parameters(model))]
    other = nn.with_parameters(model, new)
    assert other.second.weight is other.tied["w"] is new[0]
    assert other.second.bias is new[1] and type(other.tied["list"][1]) is tuple
    assert other.tied["list"][1][0] is new[3] and other.alone is new[4] and other.number == 3.0
    assert same(values(model), before) and model.tied["w"] is model.second.weight
    with pytest.raises(ValueError, match="has 5 parameters, given were 4"):
        nn.with_parameters(model, new[:4])


def test_frozen_records_no_graph_and_shares_memory():
    model = network()
    still = nn.frozen(model)
    y = still(X)
    assert type(y) is np.ndarray and nn.parameters(still) == []
    np.testing.assert_array_equal(y, model(X).data)
    assert still.layers[0].weight is model.layers[0].weight.data
    model.layers[0].weight.data += 1
    np.testing.assert_array_equal(still(X), model(X).data)


def test_a_copied_model_has_parameters_of_its_own():
    model = network()
    other = copy.deepcopy(model)
    assert same(values(model), values(other))
    other.layers[0].weight.data += 1
    assert not same(values(model), values(other))


# -- saving and loading ---------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_loaded_is_bit_for_bit_what_was_saved(tmp_path, dtype):
    model, other = network(0, dtype), network(7, dtype)
    model.layers[0].bias.data[:] = [np.nan, np.inf, -0.0, 5e-324 if dtype is np.float64 else 1e-45]
    tensors = nn.parameters(other)
    nn.save(tmp_path / "model", model)
    nn.load(tmp_path / "model", other)
    assert same(values(model), values(other)) and os.listdir(tmp_path) == ["model"]
    assert all(a is b for a, b in zip(tensors, nn.parameters(other)))
    assert all(p.dtype == dtype for p in tensors)


def test_loading_another_architecture_lists_all_differences_and_changes_nothing(tmp_path):
    nn.save(tmp_path / "m", network())
    other = nn.Sequential(*network(hidden=5).layers[:3], Tensor(np.ones(1)))
    before = values(other)
    with pytest.raises(nn.ParameterError) as caught:
        nn.load(tmp_path / "m", other)
    for text in ["layers.3: not in the file", "layers.4.weight: not in the model",
                 "layers.4.bias: not in the model", "layers.0.weight: (3, 4) in the file, (3, 5)",
                 "layers.0.bias: (4,)", "layers.2.gain", "layers.2.offset"]:
        assert text in str(caught.value)
    assert same(values(other), before)


class Hostile:
    def __reduce__(self):
        return os.mkdir, (os.environ["MINIGRAD_TEST_TRAP"],)


def test_files_that_are_not_parameters_are_refused_and_nothing_in_them_runs(tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    monkeypatch.setenv("MINIGRAD_TEST_TRAP", str(trap))
    model, path = network(), tmp_path / "file"
    before = values(model)
    good = {name: p.data for name, p in nn.named_parameters(model).items()}
    hostile = good | {"layers.0.bias": np.array([Hostile()], dtype=object)}
    for write in (lambda f: f.write(b""), lambda f: f.write(b"no zip, but longer than a header"),
                  lambda f: np.savez(f, **hostile), lambda f: np.array(Hostile()).dump(f),
                  lambda f: np.savez(f, **good | {"layers.0.bias": np.array(list("abcd"))}),
                  lambda f: np.savez(f, **good | {"layers.0.bias": np.arange(4)}),
                  lambda f: zipfile.ZipFile(f, "w").close()):
        with open(path, "wb") as file:
            write(file)
        with pytest.raises(nn.ParameterError, match="file"):
            nn.load(path, model)
    assert not trap.exists() and same(values(model), before)
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "missing", model)


def test_a_truncated_or_damaged_file_is_refused(tmp_path):
    model, path = network(), tmp_path / "m"
    nn.save(path, model)
    whole, before = path.read_bytes(), values(model)
    for n in range(0, len(whole), 37):
        path.write_bytes(whole[:n])
        with pytest.raises(nn.ParameterError, match=r"no file of parameters .*; .*m: an npz"):
            nn.load(path, model)
    position = whole.index(before["layers.0.weight"].tobytes())
    for i in range(position, position + before["layers.0.weight"].nbytes):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1:])
        with pytest.raises(nn.ParameterError, match="damaged"):
            nn.load(path, model)
    assert same(values(model), before)


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    nn.save(tmp_path / "m", network(0))
    before = (tmp_path / "m").read_bytes()

    def fails(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="no space"):
            nn.save(tmp_path / "m", network(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(OSError, match="no space"):
            nn.save(tmp_path / "m", network(1))
    assert (tmp_path / "m").read_bytes() == before and os.listdir(tmp_path) == ["m"]
    nn.save(str(tmp_path / "m"), network(1))
    assert (tmp_path / "m").read_bytes() != before and os.listdir(tmp_path) == ["m"]


def test_a_number_that_is_too_large_for_the_model_changes_nothing_where_it_is_an_error(tmp_path):
    wide, narrow = network(0, np.float64), network(7, np.float32)
    wide.layers[4].bias.data[0] = 1e300
    nn.save(tmp_path / "m", wide)
    before = values(narrow)
    with pytest.raises(RuntimeWarning, match="overflow"):  # warnings are errors here
        nn.load(tmp_path / "m", narrow)
    assert same(values(narrow), before)


def test_of_many_differences_thirty_are_shown(tmp_path):
    archive.write(tmp_path / "m", {f"model.{i}": np.ones(1) for i in range(100)})
    with pytest.raises(nn.ParameterError, match="and 70 more") as caught:
        nn.load(tmp_path / "m", [])
    assert len(str(caught.value).splitlines()) == 32


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    model = network()
    arrays = {name: p.data for name, p in nn.named_parameters(model).items()}
    archive.write(tmp_path / "m", arrays | {"model.layers.0.bias": np.ones(4, np.float32)})
    with pytest.raises(nn.ParameterError, match="both with and without"):
        nn.load(tmp_path / "m", model)


def test_two_parameters_of_one_name_are_refused():
    a, b = mg.Tensor(np.ones(1)), mg.Tensor(np.ones(2))
    for model in ({"a.b": a, "a": {"b": b}}, {1: a, "1": b}):
        with pytest.raises(nn.ParameterError, match="parameters or buffers are named"):
            nn.parameters(model)


def test_frozen_keeps_named_tuples_and_back_references(tmp_path):
    class Pair(NamedTuple):
        first: object
        file: object

    class Child:
        pass

    pair = Pair(mg.Tensor(np.ones(1)), mg.Tensor(np.zeros(2)))
    assert isinstance(nn.frozen(pair), Pair) and type(nn.frozen(pair).file) is np.ndarray
    parent, child = Child(), Child()
    parent.child, child.parent, child.weight = child, parent, mg.Tensor(np.ones(1))
    assert type(nn.frozen(parent).child.weight) is np.ndarray
    nn.save(tmp_path / "pair.npz", pair)  # a parameter may be called like an argument of savez
    nn.load(tmp_path / "pair.npz", pair)
