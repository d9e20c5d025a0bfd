"""Layers of images: what they compute, what they keep, and what they say of wrong shapes."""

from __future__ import annotations

import copy
import re
from itertools import product

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.tensor import Tensor


def rng(seed=0):
    return np.random.default_rng(seed)


def images(*shape, dtype=np.float32, seed=1):
    return rng(seed).standard_normal(shape).astype(dtype)


X = images(3, 8, 7, 4)
SEQUENCES = images(3, 9, 4)


def values(model):
    """Parameters and buffers, by name."""
    return {**{k: p.data.copy() for k, p in nn.named_parameters(model).items()},
            **{k: b.copy() for k, b in nn.named_buffers(model).items()}}


def same(a, b):
    return list(a) == list(b) and all(a[k].tobytes() == b[k].tobytes() for k in a)


# -- convolutions ---------------------------------------------------------------------------------
KINDS = {nn.Conv2d: (mg.conv2d, X, 2), nn.ConvTranspose2d: (mg.conv_transpose2d, X, 2),
         nn.Conv1d: (mg.conv1d, SEQUENCES, 1)}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@pytest.mark.parametrize("options", [
    {}, {"stride": 2, "padding": 1}, {"padding": "same", "stride": 2}, {"groups": 2},
    {"dilation": 2, "padding": 2}], ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
def test_convolutions_are_the_functions_with_weight_and_bias(kind, options, with_bias):
    f, x, _ = KINDS[kind]
    layer = kind(4, 6, 3, rng=rng(), bias=nn.normal(1.0) if with_bias else None, **options)
    y = layer(x)
    expected = f(x, layer.weight.data, bias=layer.bias.data if with_bias else None, **options)
    assert type(y) is Tensor and y.dtype == np.float32 and y.shape == expected.shape
    np.testing.assert_array_equal(y.data, expected)
    assert (layer.bias is None) == (not with_bias)
    assert nn.parameters(layer) == [layer.weight] + [layer.bias] * with_bias


@kinds
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_have_a_weight_for_each_tap_and_a_bias_for_each_output(kind, groups):
    _, x, dimensions = KINDS[kind]
    layer = kind(4, 6, 3, groups=groups, rng=rng())
    assert sum(p.size for p in nn.parameters(layer)) == 3**dimensions * 4 * 6 // groups + 6
    assert layer.bias.shape == (6,) and np.all(layer.bias.data == 0)
    alone = kind(4, 6, 3, groups=groups, rng=rng(), bias=None)
    assert sum(p.size for p in nn.parameters(alone)) == 3**dimensions * 4 * 6 // groups
    np.testing.assert_array_equal(alone.weight.data, layer.weight.data)
    wide = kind(4, 6, 3, rng=rng(), dtype=np.float64)
    assert wide.weight.dtype == wide.bias.dtype == wide(x).dtype == np.float64
    assert layer(x).dtype == np.float32


@kinds
def test_weights_are_drawn_with_the_fans_of_an_output(kind):
    seen = []

    def drawn(shape, fan_in, fan_out, *, rng):
        seen.append((fan_in, fan_out))
        return np.ones(shape)

    kind(4, 6, 3, groups=2, rng=rng(), weight=drawn)
    taps = 3 ** KINDS[kind][2]
    assert seen == [(taps * 2, taps * 3)]


def test_images_have_the_documented_shapes():
    up = {"stride": 2, "padding": 1, "rng": rng()}
    for layer, shape in [
            (nn.Conv2d(4, 6, rng=rng()), (3, 6, 5, 6)),
            (nn.Conv2d(4, 6, (3, 2), padding="same", rng=rng()), (3, 8, 7, 6)),
            (nn.Conv2d(4, 6, 4, **up), (3, 4, 3, 6)),
            (nn.ConvTranspose2d(4, 6, 4, **up), (3, 16, 14, 6)),
            (nn.ConvTranspose2d(4, 6, **up | {"padding": "same"}), (3, 16, 14, 6)),
            (nn.ConvTranspose2d(4, 6, output_padding=1, **up), (3, 16, 14, 6)),
            (nn.ConvTranspose2d(4, 6, output_size=(15, 14), **up), (3, 15, 14, 6)),
            (nn.MaxPool2d(2), (3, 4, 3, 4)), (nn.AvgPool2d(3, stride=1, padding=1), (3, 8, 7, 4)),
            (nn.Upsample2d((2, 3)), (3, 16, 21, 4)), (nn.Upsample2d(2, "bilinear"), (3, 16, 14, 4)),
            (nn.Flatten(), (3, 8 * 7 * 4)), (nn.Reshape(14, 16), (3, 14, 16))]:
        y = layer(X)
        assert y.shape == shape and y.dtype == np.float32, layer
    assert nn.Conv1d(4, 6, 4, stride=2, padding=1, rng=rng())(SEQUENCES).shape == (3, 4, 6)


def test_layers_without_parameters_are_the_functions():
    for layer, expected in [
            (nn.MaxPool2d((2, 3), stride=1, padding="same"), mg.max_pool2d(X, (2, 3), 1, "same")),
            (nn.MaxPool2d(3), mg.max_pool2d(X, 3)), (nn.AvgPool2d(3), mg.avg_pool2d(X, 3)),
            (nn.AvgPool2d(3, stride=2, padding=1), mg.avg_pool2d(X, 3, 2, 1)),
            (nn.Upsample2d(3), mg.upsample2d(X, 3)),
            (nn.Upsample2d((1, 2), "bilinear"), mg.upsample2d(X, (1, 2), "bilinear")),
            (nn.Flatten(), X.reshape(3, -1)), (nn.Reshape(7, 2, 16), X.reshape(3, 7, 2, 16))]:
        assert nn.parameters(layer) == []
        y, t = layer(X), layer(Tensor(X))
        assert type(y) is np.ndarray and type(t) is Tensor
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(t.data, expected)
    for shape in [(0, 2, 3), (5, 0), (4,)]:
        assert nn.Flatten()(np.ones(shape)).shape == (shape[0], int(np.prod(shape[1:])))


# -- normalisation --------------------------------------------------------------------------------
def layers_that_normalise(channels=4, dtype=np.float32):
    return [nn.LayerNorm(channels, dtype=dtype), nn.GroupNorm(2, channels, dtype=dtype),
            nn.BatchNorm(channels, dtype=dtype)]


def with_spread(layer):
    """With other gains and offsets than ones and zeros."""
    layer.gain.data[:] = rng(3).uniform(0.5, 2, layer.gain.shape)
    layer.offset.data[:] = rng(4).standard_normal(layer.offset.shape)
    return layer


def call(layer, x):
    return layer(x, rng=rng()) if getattr(layer, "random", False) else layer(x)


@pytest.mark.parametrize("layer", layers_that_normalise(), ids=lambda v: type(v).__name__)
def test_normalisations_have_a_gain_and_an_offset_and_keep_float32(layer):
    assert list(nn.named_parameters(layer)) == ["gain", "offset"]
    assert [p.shape for p in nn.parameters(layer)] == [(4,), (4,)]
    assert all(p.dtype == np.float32 for p in nn.parameters(layer))
    y = call(layer, X)
    assert y.dtype == np.float32 and y.shape == X.shape
    assert layer(X).dtype == np.float32
    mg.nn.frozen(layer)(X)
    np.sum(np.square(y)).backward()
    assert all(p.grad.dtype == np.float32 for p in nn.parameters(layer))


@pytest.mark.parametrize("layer", layers_that_normalise(), ids=lambda v: type(v).__name__)
def test_gradients_of_normalisations(layer):
    weights = [p.data.astype(float) for p in nn.parameters(with_spread(layer))]
    x = images(3, 2, 3, 4, dtype=np.float64)
    mg.check_grads(lambda x, *w: call(nn.with_parameters(layer, w), x), (x, *weights), order=2)
    if isinstance(layer, nn.BatchNorm):
        mg.check_grads(lambda x, *w: nn.with_parameters(layer, w)(x), (x, *weights), order=2)


@pytest.mark.parametrize("groups, shape", [
    *product([1, 2, 6], [(3, 4, 5, 6), (3, 5, 6), (3, 6)])])
def test_group_norm_is_what_loops_say(groups, shape):
    layer = with_spread(nn.GroupNorm(groups, 6, eps=0.1, dtype=np.float64))
    x, expected = 5 + 2 * images(*shape, dtype=np.float64), np.empty(shape)
    for n, k in product(range(3), range(groups)):
        group = slice(6 // groups * k, 6 // groups * (k + 1))
        part = x[n, ..., group]
        expected[n, ..., group] = (part - part.mean()) / np.sqrt(part.var() + 0.1)
    np.testing.assert_allclose(layer(x).data, layer.gain.data * expected + layer.offset.data,
                               rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer(x[:1]).data, layer(x).data[:1], rtol=1e-12, atol=1e-12)


def test_layer_norm_is_over_the_last_axis_of_each_pixel():
    layer = with_spread(nn.LayerNorm(4, eps=0.1))
    x = X.astype(float)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    np.testing.assert_allclose(layer(X).data, layer.gain.data * expected + layer.offset.data,
                               rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (7, 9, 3), (30, 3)])
def test_batch_norm_in_training_gives_the_offset_as_mean_and_the_gain_as_spread(shape):
    layer = with_spread(nn.BatchNorm(3, eps=0.0, dtype=np.float64))
    y = layer(100 + 7 * images(*shape, dtype=np.float64), rng=rng()).data.reshape(-1, 3)
    np.testing.assert_allclose(y.mean(0), layer.offset.data, rtol=1e-9)
    np.testing.assert_allclose(y.std(0), layer.gain.data, rtol=1e-9)
    small = nn.BatchNorm(1, eps=3.0)(np.array([[-1.0], [1.0]]), rng=rng())
    np.testing.assert_allclose(small.data[:, 0], [-0.5, 0.5])


@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0])
def test_running_statistics_move_by_momentum_with_the_unbiased_variance(momentum):
    layer, mean, var = nn.BatchNorm(3, momentum=momentum), np.zeros(3), np.ones(3)
    for seed in range(4):
        x = 2 + images(4, 3, 2, 3, seed=seed)
        flat = x.reshape(-1, 3).astype(float)
        mean = (1 - momentum) * mean + momentum * flat.mean(0)
        var = (1 - momentum) * var + momentum * flat.var(0) * len(flat) / (len(flat) - 1)
        layer(Tensor(x) if seed % 2 else x, rng=rng())
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-5)
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32


def test_batch_norm_without_rng_uses_the_running_statistics_and_leaves_them_alone():
    layer = with_spread(nn.BatchNorm(4, eps=0.1))
    for _ in range(3):
        layer(3 + 2 * X, rng=rng())
    before = values(layer)
    expected = (X - layer.running_mean) / np.sqrt(layer.running_var + 0.1)
    expected = layer.gain.data * expected + layer.offset.data
    np.testing.assert_allclose(layer(X).data, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(X[:1, :1, :1]).data, expected[:1, :1, :1], rtol=1e-5)
    np.testing.assert_allclose(nn.frozen(layer)(X), expected, rtol=1e-5, atol=1e-6)
    assert same(values(layer), before) and layer(X[:0]).shape == (0, 8, 7, 4)


def test_batch_norm_draws_nothing_and_its_result_depends_on_the_batch_alone():
    layer, generator = nn.BatchNorm(4), rng()
    first = layer(X, rng=generator)
    assert generator.bit_generator.state == rng().bit_generator.state
    layer.running_mean += 5
    layer.running_var *= 9
    np.testing.assert_array_equal(layer(X, rng=generator).data, first.data)


def test_sequential_gives_rng_to_batch_norm():
    model = nn.Sequential(nn.Conv2d(4, 2, rng=rng()), nn.Sequential(nn.BatchNorm(2), mg.relu))
    running = model.layers[1].layers[0].running_mean
    model(X)
    assert np.all(running == 0)
    y = model(X, rng=rng())
    assert np.all(running != 0) and not np.allclose(model(X).data, y.data)


# -- buffers --------------------------------------------------------------------------------------
def network(seed=0, channels=3):
    model = nn.Sequential(nn.Conv2d(4, channels, rng=rng(seed)), nn.BatchNorm(channels), mg.relu,
                          {"again": nn.BatchNorm(2)})
    nn.Sequential(*model.layers[:3])(images(3, 8, 7, 4, seed=seed), rng=rng())
    return model


BUFFERS = ["layers.1.running_mean", "layers.1.running_var",
           "layers.3.again.running_mean", "layers.3.again.running_var"]


def test_buffers_are_found_by_name_and_are_no_parameters():
    model = network()
    buffers = nn.named_buffers(model)
    assert list(buffers) == BUFFERS and buffers[BUFFERS[0]] is model.layers[1].running_mean
    assert all(type(b) is np.ndarray for b in buffers.values())
    assert not set(buffers) & set(nn.named_parameters(model))
    assert len(nn.parameters(model)) == 6 and all(type(p) is Tensor for p in nn.parameters(model))
    assert nn.named_buffers([model.layers[1], model.layers[1]]).keys() == {
        "0.running_mean", "0.running_var"}  # a layer that is used twice
    assert nn.named_buffers(nn.Dense(2, 3, rng=rng())) == nn.named_buffers(3) == {}


def test_buffers_go_with_copies_and_are_shared_by_frozen_models():
    model = network()
    other, still = copy.deepcopy(model), nn.frozen(model)
    assert same(values(model), values(other))
    model.layers[1].running_mean += 1
    assert not same(nn.named_buffers(model), nn.named_buffers(other))
    assert same(nn.named_buffers(model), nn.named_buffers(still))


def test_buffers_are_saved_and_loaded_bit_for_bit(tmp_path):
    model, other = network(0), network(7)
    kept = nn.named_buffers(other)
    nn.save(tmp_path / "m", model)
    assert not same(values(model), values(other))
    nn.load(tmp_path / "m", other)
    assert same(values(model), values(other))
    assert all(a is b for a, b in zip(kept.values(), nn.named_buffers(other).values()))
    first = nn.Sequential(*model.layers[:3])(X)
    np.testing.assert_array_equal(nn.Sequential(*other.layers[:3])(X).data, first.data)


@pytest.mark.parametrize("change, text", [
    (lambda a: a.pop("model.layers.1.running_var"), "layers.1.running_var: not in the file"),
    (lambda a: a.update({"model.layers.1.running_var": np.ones(5)}),
     r"layers.1.running_var: \(5,\) in the file, \(3,\) in the model"),
    (lambda a: a.update({"model.layers.2.running_var": np.ones(5)}),
     "layers.2.running_var: not in the model"),
])
def test_a_file_with_other_buffers_is_refused_and_nothing_changes(tmp_path, change, text):
    nn.save(tmp_path / "m", network(0))
    with np.load(tmp_path / "m") as file:
        arrays = dict(file)
    change(arrays)
    with open(tmp_path / "m", "wb") as file:
        np.savez(file, **arrays)
    other = network(7)
    before = values(other)
    with pytest.raises(nn.ParameterError, match=text):
        nn.load(tmp_path / "m", other)
    assert same(values(other), before)


# -- activations in the same pass -----------------------------------------------------------------
@pytest.mark.parametrize("function, w", [(mg.conv2d, (3, 3, 4, 12)), (mg.conv2d, (3, 3, 4, 1)),
                                         (mg.conv_transpose2d, (3, 3, 3, 4))])
@pytest.mark.parametrize("stride", [1, 2])
def test_rectify_is_relu_of_it_in_value_and_gradients_of_any_order(function, w, stride):
    x, w = rng().standard_normal((2, 5, 6, 4)), rng().standard_normal(w)
    b = rng().standard_normal(w.shape[3] if function is mg.conv2d else w.shape[2])
    plain = lambda x, w, b: mg.relu(function(x, w, stride, 1, bias=b))
    fused = lambda x, w, b: function(x, w, stride, 1, bias=b, rectify=True)
    np.testing.assert_array_equal(fused(x, w, b), plain(x, w, b))
    seed = rng().standard_normal(plain(x, w, b).shape)
    loss = lambda f: lambda *args: np.sum(np.sin(f(*args)) * seed)
    for ours, expected in zip(mg.grad(loss(fused), (0, 1, 2))(x, w, b),
                              mg.grad(loss(plain), (0, 1, 2))(x, w, b)):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)
    v = tuple(rng().standard_normal(a.shape) for a in (x, w, b))
    for ours, expected in zip(mg.hvp(loss(fused), (x, w, b), v), mg.hvp(loss(plain), (x, w, b), v)):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", [mg.relu, np.tanh])
def test_a_layer_applies_its_activation(activation):
    for layer in (nn.Conv2d, nn.ConvTranspose2d):
        with_it, without = (layer(4, 5, rng=rng(), activation=a) for a in (activation, None))
        np.testing.assert_allclose(with_it(X).data, activation(without(X)).data, rtol=1e-6)
        assert nn.named_parameters(with_it).keys() == nn.named_parameters(without).keys()


# -- errors ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("wrong, texts", [
    (lambda: nn.Conv2d(4, 6, groups=3, rng=rng()), ["Conv2d(4, 6, groups=3)", "must divide"]),
    (lambda: nn.Conv1d(4, 6, groups=0, rng=rng()), ["Conv1d(4, 6, groups=0)", "must divide"]),
    (lambda: nn.ConvTranspose2d(4, 6, groups=4, rng=rng()), ["ConvTranspose2d(4, 6, groups=4)"]),
    (lambda: nn.Conv2d(4, 6, 0, rng=rng()), ["size=0", "1 or more"]),
    (lambda: nn.Conv2d(3, 6, rng=rng())(X), ["has 4", "for 3", "(3, 8, 7, 4)", "(3, 3, 3, 6)"]),
    (lambda: nn.ConvTranspose2d(3, 6, rng=rng())(X), ["has 4 channels", "for 3", "(3, 8, 7, 4)"]),
    (lambda: nn.Conv2d(8, 6, rng=rng())(X), ["(3, 8, 7, 4)", "channels first"]),
    (lambda: nn.MaxPool2d(9)(X), ["max_pool2d", "(9, 9)", "(3, 8, 7, 4)"]),
    (lambda: nn.Upsample2d(2, "cubic")(X), ["cubic", "bilinear"]),
    (lambda: nn.Reshape(7, 31)(X), ["Reshape(7, 31)", "(3, 8, 7, 4)", "217 elements"]),
    (lambda: nn.LayerNorm(3)(X), ["LayerNorm(3)", "(3, 8, 7, 4)", "3 elements"]),
    (lambda: nn.BatchNorm(3)(X), ["BatchNorm(3)", "(3, 8, 7, 4)", "3 elements"]),
    (lambda: nn.BatchNorm(3)(X, rng=rng()), ["BatchNorm(3)", "(3, 8, 7, 4)", "3 elements"]),
    (lambda: nn.BatchNorm(4)(X[:1, :1, :1], rng=rng()), [
        "BatchNorm in training", "two values of each channel", "(1, 1, 1, 4) has 1"]),
    (lambda: nn.BatchNorm(4)(X[:0], rng=rng()), ["(0, 8, 7, 4) has 0"]),
    (lambda: nn.GroupNorm(3, 4), ["GroupNorm(3, 4)", "divide"]),
    (lambda: nn.GroupNorm(0, 4), ["GroupNorm(0, 4)", "divide"]),
    (lambda: nn.GroupNorm(1, 3)(X), ["GroupNorm(1, 3)", "(3, 8, 7, 4)", "3 elements"]),
    (lambda: nn.Conv1d(4, 6, 0, rng=rng()), ["size=0"]),
    (lambda: nn.Conv1d(4, 6, (3, 3), rng=rng()), ["size=(3, 3)"]),
    (lambda: nn.Reshape(-1, 4), ["Reshape(-1, 4)", "every length"]),
])
def test_shapes_that_do_not_fit_are_named(wrong, texts):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, texts))):
        wrong()


def test_a_single_value_moves_no_running_statistics():
    layer = nn.BatchNorm(4)
    before = values(layer)
    with pytest.raises(ValueError):
        layer(X[:1, :1, :1], rng=rng())
    assert same(values(layer), before)
