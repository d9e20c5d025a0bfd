"""The same steps in other packages: PyTorch, JAX, autograd, MyGrad."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

Step = Callable[[], object]
N_X, N_H, N_Z = 784, 500, 20


def torch_chain() -> Step:
    import torch

    a = torch.ones(1, requires_grad=True)

    def step() -> None:
        a.grad, t = None, a
        for _ in range(1000):
            t = t * a
        t.backward()
    return step


def torch_step(loss: Callable, model: object, x: object, compiled: bool) -> Step:
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss = torch.compile(loss) if compiled else loss

    def step() -> None:
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
    return step


def torch_dense(batch: int, compiled: bool = False) -> Step:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.ModuleDict({
        "hidden": nn.Linear(N_X, N_H), "mean": nn.Linear(N_H, N_Z), "log_var": nn.Linear(N_H, N_Z),
        "decode": nn.Linear(N_Z, N_H), "logits": nn.Linear(N_H, N_X)})

    def loss(x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(model["hidden"](x))
        mean, log_var = model["mean"](h), model["log_var"](h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        logits = model["logits"](torch.tanh(model["decode"](z)))
        nll = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (nll + torch_kl(mean, log_var)) / batch

    return torch_step(loss, model, torch.rand(batch, N_X), compiled)


def torch_iwae(samples: int, compiled: bool = False) -> Step:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.ModuleDict({
        "encode": nn.Sequential(nn.Linear(N_X, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh()),
        "mean": nn.Linear(200, 50), "log_var": nn.Linear(200, 50),
        "decode": nn.Sequential(nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(),
                                nn.Linear(200, N_X))})

    def loss(x: torch.Tensor) -> torch.Tensor:
        h = model["encode"](x)
        mean, log_std = model["mean"](h), 0.5 * model["log_var"](h)
        noise = torch.randn(samples, len(x), 50)
        z = mean + noise * torch.exp(log_std)
        nll = nn.functional.binary_cross_entropy_with_logits(
            model["decode"](z), x.expand(samples, *x.shape), reduction="none").sum(-1)
        log_weight = -nll - 0.5 * z.square().sum(-1) + (0.5 * noise.square() + log_std).sum(-1)
        return -(torch.logsumexp(log_weight, 0) - np.log(samples)).mean()

    return torch_step(loss, model, (torch.rand(20, N_X) > 0.5).float(), compiled)


def torch_conv(batch: int, kernel: int = 3, compiled: bool = False, last: bool = False) -> Step:
    import torch
    from torch import nn

    torch.manual_seed(0)
    halve = {"kernel_size": kernel, "stride": 2, "padding": 1}
    double = {**halve, "output_padding": kernel % 2}
    model = nn.ModuleDict({
        "encode": nn.Sequential(
            nn.Conv2d(1, 32, **halve), nn.ReLU(), nn.Conv2d(32, 64, **halve), nn.ReLU(),
            nn.Flatten(), nn.Linear(3136, 128), nn.ReLU()),
        "mean": nn.Linear(128, 64), "log_var": nn.Linear(128, 64),
        "decode": nn.Sequential(
            nn.Linear(64, 3136), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 64, **double), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, **double), nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1))})
    x = torch.rand(batch, 1, 28, 28)
    if last:
        model, x = (a.to(memory_format=torch.channels_last) for a in (model, x))

    def loss(x: torch.Tensor) -> torch.Tensor:
        h = model["encode"](x)
        mean, log_var = model["mean"](h), model["log_var"](h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        again = torch.sigmoid(model["decode"](z))
        return ((again - x).square().sum() + torch_kl(mean, log_var)) / batch

    return torch_step(loss, model, x, compiled)


def torch_kl(mean: object, log_var: object) -> object:
    return -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()


def jax_step(loss: Callable, weights: object) -> Step:
    import jax
    import jax.numpy as jnp

    each = jax.tree_util.tree_map

    def update(weights: list, first: list, second: list, t: jax.Array, key: jax.Array) -> tuple:
        key, now = jax.random.split(key)
        g = jax.grad(loss)(weights, now)
        first = each(lambda m, g: 0.9 * m + 0.1 * g, first, g)
        second = each(lambda v, g: 0.999 * v + 0.001 * g * g, second, g)
        weights = each(lambda w, m, v: w - 1e-3 * (m / (1 - 0.9**t))
                       / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), weights, first, second)
        return weights, first, second, t + 1, key

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    zeros = each(jnp.zeros_like, weights)
    state = [weights, zeros, each(jnp.zeros_like, weights), 1.0, jax.random.PRNGKey(0)]

    def step() -> None:
        state[:] = compiled(*state)
        jax.block_until_ready(state[0])
    return step


def jax_weights(sizes: list[tuple[int, ...]]) -> list:
    """Of shape (…, n_in, n_out), each with a bias; a transposed kernel is one of the same shape."""
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    return [(jnp.asarray(rng.normal(0, np.prod(s[:-1]) ** -0.5, s), jnp.float32), jnp.zeros(s[-1]))
            for s in sizes]


def jax_dense(batch: int) -> Step:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(np.random.default_rng(0).random((batch, N_X)), jnp.float32)

    def loss(weights: list, key: jax.Array) -> jax.Array:
        encode, mean, log_var, decode, logits = (
            lambda h, w=w, b=b: h @ w + b for w, b in weights)
        h = jnp.tanh(encode(x))
        mean, log_var = mean(h), log_var(h)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        out = logits(jnp.tanh(decode(z)))
        kl = -0.5 * (1 + log_var - mean**2 - jnp.exp(log_var)).sum()
        return ((jax.nn.softplus(out) - x * out).sum() + kl) / batch

    return jax_step(loss, jax_weights([(N_X, N_H), (N_H, N_Z), (N_H, N_Z), (N_Z, N_H),
                                       (N_H, N_X)]))


def jax_iwae(samples: int) -> Step:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(np.random.default_rng(0).random((20, N_X)) > 0.5, jnp.float32)

    def loss(weights: list, key: jax.Array) -> jax.Array:
        layers = [lambda h, w=w, b=b: h @ w + b for w, b in weights]
        h = jnp.tanh(layers[1](jnp.tanh(layers[0](x))))
        mean, log_std = layers[2](h), 0.5 * layers[3](h)
        noise = jax.random.normal(key, (samples, *mean.shape))
        z = mean + noise * jnp.exp(log_std)
        out = layers[6](jnp.tanh(layers[5](jnp.tanh(layers[4](z)))))
        log_weight = ((x * out - jax.nn.softplus(out)).sum(-1) - 0.5 * (z**2).sum(-1)
                      + (0.5 * noise**2 + log_std).sum(-1))
        return -(jax.nn.logsumexp(log_weight, 0) - np.log(samples)).mean()

    return jax_step(loss, jax_weights([(N_X, 200), (200, 200), (200, 50), (200, 50), (50, 200),
                                       (200, 200), (200, N_X)]))


def jax_conv(batch: int, kernel: int = 3) -> Step:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(np.random.default_rng(0).random((batch, 28, 28, 1)), jnp.float32)
    convolve = partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    low = kernel - 2  # of a convolution of pixels set apart: from 7 to 14 to 28
    weights = jax_weights([
        (kernel, kernel, 1, 32), (kernel, kernel, 32, 64), (3136, 128), (128, 64), (128, 64),
        (64, 3136), (kernel, kernel, 64, 64), (kernel, kernel, 64, 32), (3, 3, 32, 1)])

    def loss(weights: list, key: jax.Array) -> jax.Array:
        dense = [lambda h, w=w, b=b: h @ w + b for w, b in weights]
        halve = [lambda h, w=w, b=b: convolve(h, w, (2, 2), ((1, 1), (1, 1))) + b
                 for w, b in weights]
        double = [lambda h, w=w, b=b: convolve(h, w, (1, 1), ((low, 2), (low, 2)),
                                               lhs_dilation=(2, 2)) + b for w, b in weights]
        relu = jax.nn.relu
        h = relu(halve[1](relu(halve[0](x)))).reshape(batch, -1)
        h = relu(dense[2](h))
        mean, log_var = dense[3](h), dense[4](h)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        h = relu(dense[5](z)).reshape(batch, 7, 7, 64)
        h = relu(double[7](relu(double[6](h))))
        again = jax.nn.sigmoid(convolve(h, weights[8][0], (1, 1), ((1, 1), (1, 1))) + weights[8][1])
        kl = -0.5 * (1 + log_var - mean**2 - jnp.exp(log_var)).sum()
        return (((again - x) ** 2).sum() + kl) / batch

    return jax_step(loss, weights)


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
