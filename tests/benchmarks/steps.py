"""One training step of a workload, in minigrad or in a peer: `python steps.py WORKLOAD PEER`.

Prints the median and the smallest time of a step in milliseconds, as JSON.  All in float32.

    chain     forward and backward of 1000 products of a one-element array
    dense-B   VAE 784-500-20, tanh, Bernoulli pixels, Adam, batch B (Kingma and Welling 2014)
    iwae-K    784-200-200-50, tanh, batch 20, K importance samples (Burda et al. 2016)
    conv-B    28x28-14x14x32-7x7x64-128-64 and back, relu, kernels 3x3 of stride 2, squared error
    conv4-B   the same with kernels 4x4

Every peer does the whole step: noise, forward, backward, Adam; the data is one fixed batch.
`floor` is the dense workload's matrix products alone, into kept buffers: what no program that uses
NumPy's BLAS gets below.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

Step = Callable[[], object]
N_X, N_H, N_Z = 784, 500, 20


def measure(step: Step, seconds: float = 3.0, warm: float = 1.5) -> dict[str, float]:
    until = time.perf_counter() + warm
    while time.perf_counter() < until:
        step()
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 10:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {"median": 1e3 * float(np.median(times)), "min": 1e3 * min(times)}


def minigrad_chain() -> Step:
    import minigrad as mg

    a = mg.Tensor(np.ones(1, np.float32))

    def step() -> None:
        a.grad, t = None, a
        for _ in range(1000):
            t = t * a
        t.backward()
    return step


def minigrad_dense(batch: int) -> Step:
    import minigrad as mg
    import vae

    rng = np.random.default_rng(0)
    model = vae.dense_vae(N_X, [N_H], N_Z, rng=rng)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=1e-3)
    x = rng.random((batch, N_X), dtype=np.float32)

    def step() -> None:
        loss = -np.mean(vae.elbo(model, x, rng=rng).value)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def minigrad_iwae(samples: int) -> Step:
    import minigrad as mg
    import vae

    rng = np.random.default_rng(0)
    model = vae.dense_vae(N_X, [200, 200], 50, rng=rng)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=1e-3)
    x = (rng.random((20, N_X)) > 0.5).astype(np.float32)
    bound = vae.importance_weighted(samples)

    def step() -> None:
        loss = -np.mean(bound(model, x, rng=rng).value)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def minigrad_conv(batch: int, kernel: int = 3) -> Step:
    import minigrad as mg
    import vae

    rng = np.random.default_rng(0)
    model = vae.conv_vae(kernel=kernel, rng=rng)
    optimizer = mg.optim.Adam(mg.nn.parameters(model), lr=1e-3)
    x = rng.random((batch, N_X), dtype=np.float32)

    def step() -> None:
        q = model.posterior(x)
        mean = model.likelihood(q.sample(rng=rng)).mean
        loss = (np.sum(np.square(mean - x)) + np.sum(vae.kl(q, model.prior))) / batch
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def floor_dense(batch: int) -> Step:
    rng = np.random.default_rng(0)
    products = []
    for n_in, n_out in [(N_X, N_H), (N_H, 2 * N_Z), (N_Z, N_H), (N_H, N_X)]:
        x, w, g = (rng.random(s, dtype=np.float32)
                   for s in [(batch, n_in), (n_in, n_out), (batch, n_out)])
        factors = [(x, w), (x.T, g)] + ([] if not products else [(g, w.T)])
        products += [(a, b, np.empty((a.shape[0], b.shape[1]), np.float32)) for a, b in factors]

    def step() -> None:
        for a, b, out in products:
            np.matmul(a, b, out=out)
    return step


def torch_chain() -> Step:
    import torch

    a = torch.ones(1, requires_grad=True)

    def step() -> None:
        a.grad, t = None, a
        for _ in range(1000):
            t = t * a
        t.backward()
    return step


def torch_dense(batch: int, compiled: bool = False) -> Step:
    import torch
    from torch import nn

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.mean, self.log_var = (
                nn.Linear(N_X, N_H), nn.Linear(N_H, N_Z), nn.Linear(N_H, N_Z))
            self.decode, self.logits = nn.Linear(N_Z, N_H), nn.Linear(N_H, N_X)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.tanh(self.encode(x))
            mean, log_var = self.mean(h), self.log_var(h)
            z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            logits = self.logits(torch.tanh(self.decode(z)))
            nll = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()
            return (nll + kl) / len(x)

    torch.manual_seed(0)
    model, x = VAE(), torch.rand(batch, N_X)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
    return step


def jax_dense(batch: int) -> Step:
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    sizes = [(N_X, N_H), (N_H, N_Z), (N_H, N_Z), (N_Z, N_H), (N_H, N_X)]
    weights = [(jnp.asarray(rng.normal(0, i ** -0.5, (i, o)), jnp.float32), jnp.zeros(o))
               for i, o in sizes]
    x = jnp.asarray(rng.random((batch, N_X)), jnp.float32)

    def loss(weights: list, key: jax.Array) -> jax.Array:
        encode, mean, log_var, decode, logits = (
            lambda h, w=w, b=b: h @ w + b for w, b in weights)
        h = jnp.tanh(encode(x))
        mean, log_var = mean(h), log_var(h)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        out = logits(jnp.tanh(decode(z)))
        kl = -0.5 * (1 + log_var - mean**2 - jnp.exp(log_var)).sum()
        return ((jax.nn.softplus(out) - x * out).sum() + kl) / batch

    def update(weights: list, first: list, second: list, t: jax.Array, key: jax.Array) -> tuple:
        key, now = jax.random.split(key)
        each = jax.tree_util.tree_map
        g = jax.grad(loss)(weights, now)
        first = each(lambda m, g: 0.9 * m + 0.1 * g, first, g)
        second = each(lambda v, g: 0.999 * v + 0.001 * g * g, second, g)
        weights = each(lambda w, m, v: w - 1e-3 * (m / (1 - 0.9**t))
                       / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), weights, first, second)
        return weights, first, second, t + 1, key

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    zeros = jax.tree_util.tree_map(jnp.zeros_like, weights)
    state = [weights, zeros, jax.tree_util.tree_map(jnp.zeros_like, weights), 1.0,
             jax.random.PRNGKey(0)]

    def step() -> None:
        state[:] = compiled(*state)
        jax.block_until_ready(state[0])
    return step


def autograd_chain() -> Step:
    import autograd

    def product(a: np.ndarray) -> np.ndarray:
        t = a
        for _ in range(1000):
            t = t * a
        return t[0]
    gradient, one = autograd.grad(product), np.ones(1, np.float32)
    return lambda: gradient(one)


def mygrad_chain() -> Step:
    import mygrad

    a = mygrad.tensor(np.ones(1, np.float32))

    def step() -> None:
        t = a
        for _ in range(1000):
            t = t * a
        t.sum().backward()
    return step


def build(workload: str, peer: str) -> Step:
    kind, _, size = workload.partition("-")
    compiled = {"compiled": True} if peer == "compile" else {}
    maker = globals()[f"{'torch' if compiled else peer}_{kind}"]
    return maker(*[int(size)] if size else [], **compiled)


if __name__ == "__main__":
    print(json.dumps(measure(build(*sys.argv[1:3]))))
