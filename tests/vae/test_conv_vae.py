"""The convolutional VAE: its sizes, and PyTorch's outputs from the same weights.

`python tests/vae/test_conv_vae.py`, with torch installed, writes the stored case anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import vae
from minigrad.kernels import blocks, convolution
from tests.vae.replay import log_weights

STORED = Path(__file__).with_name("conv_vae_by_torch.npz")
SMALL = {"size": (8, 12), "channels": (3, 4), "hidden": 5, "n_z": 2}


def rng():
    return np.random.default_rng(7)


def by_torch(model, x, z, size, channels, hidden, n_z):
    """What PyTorch's layers make of x and z with this model's weights: (mean, log_var, logits)."""
    import torch
    from torch import nn

    (first, second), (h, w) = channels, (n // 4 for n in size)
    halve = {"kernel_size": 3, "stride": 2, "padding": 1}
    flat = second * h * w
    encoder = nn.Sequential(
        nn.Conv2d(1, first, **halve), nn.ReLU(), nn.Conv2d(first, second, **halve), nn.ReLU(),
        nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 2 * n_z))
    decoder = nn.Sequential(
        nn.Linear(n_z, flat), nn.ReLU(), nn.Unflatten(1, (second, h, w)),
        nn.ConvTranspose2d(second, second, **halve, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(second, first, **halve, output_padding=1), nn.ReLU(),
        nn.Conv2d(first, 1, 3, padding=1), nn.Flatten())
    ours = mg.nn.parameters(model)
    theirs = [p for net in (encoder, decoder) for p in net.parameters()]
    assert sum(p.size for p in ours) == sum(p.numel() for p in theirs)
    order = np.arange(flat).reshape(second, h, w).transpose(1, 2, 0).ravel()  # channels last
    for p, q in zip(ours, theirs, strict=True):
        value = p.data.transpose(3, 2, 0, 1) if p.ndim == 4 else p.data.T
        if p.shape[:1] == (flat,) and p.ndim == 2:
            value = value[:, np.argsort(order)]
        if p.shape[-1:] == (flat,):
            value = value[np.argsort(order)]
        with torch.no_grad():
            q.copy_(torch.from_numpy(np.array(value)))
    with torch.no_grad():
        heads = encoder(torch.from_numpy(x.reshape(len(x), 1, *size))).numpy()
        return heads[:, :n_z], heads[:, n_z:], decoder(torch.from_numpy(z)).numpy()


def by_us(model, x, z):
    q = model.posterior(x)
    return q.mean.data, 2 * q.log_std.data, model.likelihood(z).logits.data


def case(size, n_z, n=3):
    x = rng().random((n, size[0] * size[1]), dtype=np.float32)
    return x, rng().standard_normal((n, n_z), dtype=np.float32)


def random_biases(model):
    """So that a bias in the wrong place shows."""
    for p in mg.nn.parameters(model):
        if p.ndim == 1:
            p.data[...] = rng().normal(0, 0.3, p.shape)
    return model


def test_the_forward_pass_is_that_of_pytorch_with_the_same_weights():
    pytest.importorskip("torch")
    for options in ({"size": (28, 28), "channels": (32, 64), "hidden": 128, "n_z": 64}, SMALL):
        model = random_biases(vae.conv_vae(**options, rng=rng()))
        x, z = case(options["size"], options["n_z"])
        for ours, theirs in zip(by_us(model, x, z), by_torch(model, x, z, **options)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_forward_pass_is_the_stored_one_of_pytorch():
    model = vae.conv_vae(**SMALL, rng=rng())
    with np.load(STORED) as stored:
        for k, p in enumerate(mg.nn.parameters(model)):
            p.data[...] = stored[f"weight{k}"]
        for name, ours in zip(("mean", "log_var", "logits"),
                              by_us(model, stored["x"], stored["z"])):
            np.testing.assert_allclose(ours, stored[name], rtol=1e-5, atol=1e-5)


def test_the_default_is_the_model_of_the_post_with_its_sizes_and_parameter_count():
    model = vae.conv_vae(rng=rng())
    assert sum(p.size for p in mg.nn.parameters(model)) == 696_385
    shapes, x = [], np.zeros((2, 784), np.float32)
    for layer in model.encoder.layers[:-1]:
        x = layer(x)
        shapes.append(x.shape[1:])
    assert shapes == [(28, 28, 1), (14, 14, 32), (7, 7, 64), (3136,), (128,), (128,)]
    decoder, shapes = model.decoder.layers[0].network.layers, []
    x = np.zeros((2, 64), np.float32)
    for layer in decoder:
        x = layer(x)
        shapes.append(x.shape[1:])
    assert shapes == [(3136,), (3136,), (7, 7, 64), (14, 14, 64), (28, 28, 32), (28, 28, 1), (784,)]


@pytest.mark.parametrize("options", [
    {}, {"kernel": 4}, {"kernel": 5}, {"size": (30, 17)}, {"channels": (4, 6, 8)}, {"n_z": 2}])
def test_it_trains_in_float32_and_scores_several_draws_a_datum(options):
    options = {"channels": (4, 6), "hidden": 8, "n_z": 3, **options}
    model = vae.conv_vae(**options, rng=rng())
    size = options.get("size", (28, 28))
    x = (rng().random((5, size[0] * size[1])) < 0.3).astype(np.float32)
    bound = vae.elbo(model, x, rng=rng()).value
    np.mean(bound).backward()
    for p in mg.nn.parameters(model):
        assert p.grad.dtype == np.float32 and np.any(p.grad != 0)
    weights = log_weights(mg.nn.frozen(model), x, rng=rng(), samples=4)
    one = log_weights(mg.nn.frozen(model), x, rng=rng(), samples=1)
    assert weights.shape == (4, 5) and weights.dtype == np.float32
    np.testing.assert_allclose(weights[0], one[0], rtol=1e-5)  # of the same noise
    assert model.sample(4, rng=rng()).shape == (4, x.shape[1])


def test_the_start_is_the_logit_of_the_mean_brightness():
    mean = np.full(784, 0.2)
    model = vae.conv_vae(start=mean, rng=rng())
    bias = mg.nn.parameters(model)[-1].data
    np.testing.assert_allclose(bias, np.log(0.2 / 0.8), rtol=1e-6)


def test_training_gives_the_same_bits_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(blocks, "LONG", 10)  # so that nothing here is too little for threads
    monkeypatch.setattr(convolution, "WORTH", 0)
    x = (rng().random((20, 784)) < 0.3).astype(np.float32)

    def trained(threads):
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", str(threads))
        model, noise = vae.conv_vae(channels=(8, 12), rng=rng()), rng()
        optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=1e-3)
        for _ in range(3):
            (-np.mean(vae.elbo(model, x, rng=noise).value)).backward()
            optimizer.step()
            optimizer.zero_grad()
        return [p.data for p in mg.nn.parameters(model)]

    one, *others = (trained(threads) for threads in (1, 2, 3))
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_gradient_of_the_bound_is_right_through_every_layer():
    model = vae.conv_vae((4, 4), (2, 3), 4, 2, activation=np.tanh, rng=rng())
    x = (rng().random((2, 16)) < 0.4).astype(np.float64)
    weights = [p.data.astype(np.float64) for p in mg.nn.parameters(model)]

    def bound(*weights):
        return np.mean(vae.elbo(mg.nn.with_parameters(model, weights), x, rng=rng()).value)
    mg.check_grads(bound, tuple(weights), order=2)


if __name__ == "__main__":
    small = random_biases(vae.conv_vae(**SMALL, rng=rng()))
    given = case(SMALL["size"], SMALL["n_z"])
    arrays = dict(zip(("mean", "log_var", "logits"), by_torch(small, *given, **SMALL)))
    arrays |= {f"weight{k}": p.data for k, p in enumerate(mg.nn.parameters(small))}
    np.savez(STORED, x=given[0], z=given[1], **arrays)
    print(f"wrote {STORED}")
