"""Models for the doctor, well or made ill."""

from __future__ import annotations

import json
from functools import cache

import numpy as np

import minigrad as mg
import vae
from vae.doctor import Diagnosis
from vae.networks import ToNormal, dense

N, PIXELS, LATENT = 400, 36, 3


def binary(n=N, seed=4):
    """Noisy copies of eight patterns: three bits, (n, 36), float32."""
    patterns = np.random.default_rng(4).integers(0, 2, (8, PIXELS))
    rng = np.random.default_rng(seed)
    return (patterns[rng.integers(0, 8, n)] ^ (rng.random((n, PIXELS)) < 0.05)).astype(np.float32)


def continuous(n=N, seed=4):
    """Linear in three factors, with noise of 0.1."""
    weight = np.random.default_rng(4).standard_normal((LATENT, PIXELS))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, LATENT)) @ weight + 0.1 * rng.standard_normal((n, PIXELS))
    return x.astype(np.float32)


def bernoulli_vae(x, seed=0):
    return vae.dense_vae(PIXELS, (16,), LATENT, rng=np.random.default_rng(seed),
                         start=x.mean(axis=0) if x.max() <= 1 and x.min() >= 0 else None)


class Decoder:
    """z -> a distribution of x, made by `family` of a network's output."""

    def __init__(self, family, n_out=PIXELS, seed=1, hidden=(16,)):
        network = {"rng": np.random.default_rng(seed)}
        self.network = dense([LATENT, *hidden, n_out], mg.nn.Dense, **network)
        self.family = family

    def __call__(self, z):
        return self.family(self.network(z))


def vae_with(family, n_out=PIXELS, head=ToNormal):
    encoder = dense([PIXELS, 16, LATENT], head, rng=np.random.default_rng(0))
    return vae.VAE(encoder, Decoder(family, n_out), vae.Normal.standard(LATENT))


def train(model, x, objective=vae.elbo, epochs=30):
    vae.fit(model, x, epochs=epochs, batch_size=40, objective=objective,
            optimizer=mg.optim.Adam(mg.nn.parameters(model), lr=1e-2),
            rng=np.random.default_rng(1))
    return model


@cache  # nobody changes it: the ill are copies
def well():
    """A Bernoulli model and its data."""
    x = binary()
    return train(bernoulli_vae(x), x), x


@cache
def well_gaussian():
    """A model with a Gaussian likelihood of fixed std, and its data."""
    x = continuous()
    return train(vae_with(lambda h: vae.Normal(h, np.float32(0.3))), x, epochs=60), x


def changed(model, **arrays):
    """A copy with other values in the parameters whose names end so."""
    named = mg.nn.named_parameters(model)
    values = [next((f(p.data.copy()) for end, f in arrays.items()
                    if name.endswith(end.replace("_", "."))), p.data)
              for name, p in named.items()]
    assert any(v is not p.data for v, p in zip(values, named.values()))
    return mg.nn.with_parameters(model, [mg.Tensor(v) for v in values])


def encoder_changed(model, weight=lambda w: w, bias=lambda b: b):
    last = "encoder_layers_2_linear_"
    return changed(model, **{f"{last}weight": weight, f"{last}bias": bias})


def one(found: Diagnosis, name):
    """The finding of this name, of which there is one, with all that a finding must have."""
    finding, = (f for f in found if f.name == name)
    assert finding.severity in ("problem", "warning", "note")
    assert any(c.isdigit() for c in finding.evidence) and len(finding.cure) > 20
    json.dumps(finding.as_dict(), allow_nan=False)
    text = " ".join(str(found).split())
    assert name in text and " ".join(finding.evidence.split()) in text
    return finding
