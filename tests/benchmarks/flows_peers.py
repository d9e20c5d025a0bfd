"""One training step with a flow as posterior, here and in PyTorch, which runs op by op.

    python tests/benchmarks/flows_peers.py [--peers PYTHON] [WORKLOAD …]

VAE 784-200-200-50, tanh, Bernoulli pixels, batch 100, Adam (PyTorch's fused), float32, one draw,
the KL from that draw; a posterior of a diagonal Normal and

    none         no flow: what the rest of the step takes
    planar       10 planar layers
    amortised    10 planar layers whose parameters are linear in the encoder's last layer
    iaf          2 inverse autoregressive layers, each a masked network 50-200-100

Each measurement is a process of its own, on one thread; ours and PyTorch's alternate.  Printed are
milliseconds of the processor, which other programs on the machine disturb less than those of the
clock: medians over the rounds, and ours divided by PyTorch's, round by round.
`PYTHON -m pip install torch==2.13.0`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
from run import against_torch
from steps import training

N_X, N_H, N_Z, BATCH, DEPTH = 784, 200, 50, 100, 10
WORKLOADS = ("none", "planar", "amortised", "iaf")


def our_step(workload: str) -> Callable[[], object]:
    import vae
    from vae.flows import InverseAutoregressive, Planar, ToPlanar, ToTransformed

    rng = np.random.default_rng(0)
    flows = {"none": lambda: [],
             "planar": lambda: [Planar(N_Z, rng=rng) for _ in range(DEPTH)],
             "amortised": lambda: [ToPlanar(N_Z, N_H, rng=rng) for _ in range(DEPTH)],
             "iaf": lambda: [InverseAutoregressive(N_Z, rng=rng, hidden=(N_H,), reverse=bool(i))
                             for i in range(2)]}[workload]()
    encoder = vae.networks.dense([N_X, N_H, N_H, N_Z], partial(ToTransformed, flows=flows), rng=rng)
    decoder = vae.networks.dense([N_Z, N_H, N_H, N_X], vae.networks.ToBernoulli, rng=rng)
    model = vae.VAE(encoder, decoder, vae.Normal.standard(N_Z))
    x = (rng.random((BATCH, N_X)) > 0.5).astype(np.float32)

    return training(model, lambda: -np.mean(vae.estimators.sgvb_a(model, x, rng=rng).value))


def torch_step(workload: str) -> Callable[[], object]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    shift = float(np.log(np.expm1(1)))

    def planar(z: torch.Tensor, u: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> tuple:
        product = (w * u).sum(-1)
        slope = F.softplus(product + shift)
        u = u + ((slope - 1 - product) / w.square().sum(-1))[..., None] * w
        t = torch.tanh((z @ w if w.ndim == 1 else (z * w).sum(-1)) + b)
        return z + u * t[..., None], torch.log1p((slope - 1) * (1 - t.square()))

    class Planar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.w = (nn.Parameter(0.1 * torch.randn(N_Z)) for _ in range(2))
            self.b = nn.Parameter(torch.zeros(()))

        def forward(self, z: torch.Tensor, h: torch.Tensor) -> tuple:
            return planar(z, self.u, self.w, self.b)

    class Amortised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(N_H, 2 * N_Z + 1)

        def forward(self, z: torch.Tensor, h: torch.Tensor) -> tuple:
            raw = self.linear(h)
            return planar(z, raw[..., :N_Z], raw[..., N_Z:2 * N_Z], raw[..., 2 * N_Z])

    class Masked(nn.Linear):
        def __init__(self, mask: np.ndarray) -> None:
            super().__init__(*mask.shape)
            self.register_buffer("mask", torch.from_numpy(mask.T.astype(np.float32)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, self.mask * self.weight, self.bias)

    class Iaf(nn.Module):
        def __init__(self, reverse: bool) -> None:
            super().__init__()
            order, degrees = np.arange(N_Z)[::-1 if reverse else 1], np.arange(N_H) % (N_Z - 1)
            self.network = nn.Sequential(Masked(order[:, None] <= degrees), nn.Tanh(),
                                         Masked(degrees[:, None] < np.tile(order, 2)))

        def forward(self, z: torch.Tensor, h: torch.Tensor) -> tuple:
            m, s = self.network(z).chunk(2, -1)
            s = 8 * torch.tanh((s + 2) / 8)
            gate = torch.sigmoid(s)
            return gate * z + (1 - gate) * m, F.logsigmoid(s).sum(-1)

    model = nn.ModuleDict({
        "encode": nn.Sequential(nn.Linear(N_X, N_H), nn.Tanh(), nn.Linear(N_H, N_H), nn.Tanh()),
        "mean": nn.Linear(N_H, N_Z), "log_var": nn.Linear(N_H, N_Z),
        "flows": nn.ModuleList({"none": [], "planar": [Planar() for _ in range(DEPTH)],
                                "amortised": [Amortised() for _ in range(DEPTH)],
                                "iaf": [Iaf(False), Iaf(True)]}[workload]),
        "decode": nn.Sequential(nn.Linear(N_Z, N_H), nn.Tanh(), nn.Linear(N_H, N_H), nn.Tanh(),
                                nn.Linear(N_H, N_X))})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = (torch.rand(BATCH, N_X) > 0.5).float()

    def step() -> None:
        optimizer.zero_grad()
        h = model["encode"](x)
        mean, log_std = model["mean"](h), 0.5 * model["log_var"](h)
        noise = torch.randn_like(mean)
        z = mean + noise * torch.exp(log_std)
        log_q = -(0.5 * noise.square() + log_std).sum(-1)
        for flow in model["flows"]:
            z, log_det = flow(z, h)
            log_q = log_q - log_det
        nll = F.binary_cross_entropy_with_logits(model["decode"](z), x, reduction="none").sum(-1)
        (nll + 0.5 * z.square().sum(-1) + log_q).mean().backward()
        optimizer.step()
    return step


def measure(workload: str, peer: str, warm: int = 30, steps: int = 200) -> float:
    """The median time of a step in milliseconds."""
    step, times = {"minigrad": our_step, "torch": torch_step}[peer](workload), []
    for _ in range(warm + steps):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return 1e3 * median(times[warm:])


if __name__ == "__main__":
    against_torch(__file__, __doc__, WORKLOADS, measure, threads=1)
