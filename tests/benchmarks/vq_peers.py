"""One training step of a VQ-VAE and of its prior, here and in PyTorch, which runs op by op.

    python tests/benchmarks/vq_peers.py [--peers PYTHON] [WORKLOAD …]

28x28 - 14x14x32 - 7x7x64 - 7x7 codes of 16 and back, relu, 128 codes, Bernoulli pixels, β = 0.25,
batch 128, Adam (PyTorch's fused), float32.

    gradient     the codebook moved by its loss
    moving       the codebook a moving average
    masked       the PixelCNN over 7x7 codes, 6 layers of 64 channels

Each measurement is a process of its own; ours and PyTorch's alternate.  Printed are medians over
the rounds, and our time divided by PyTorch's, round by round.
`PYTHON -m pip install torch==2.13.0` gets PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from run import against_torch
from steps import measure, training

BATCH, CODES, DIMENSIONS, CHANNELS, LAYERS, DECAY = 128, 128, 16, 64, 6, 0.99
WORKLOADS = ("gradient", "moving", "masked")


def our_step(workload: str) -> Callable[[], object]:
    from vae import models
    from vae.models.masked import MaskedCodes, code_likelihood

    rng = np.random.default_rng(0)
    x: np.ndarray = rng.random((BATCH, 784), np.float32)
    if workload == "masked":
        model = MaskedCodes((7, 7), CODES, rng=rng, channels=CHANNELS)
        x, objective = rng.integers(0, CODES, (BATCH, 7, 7)), code_likelihood
    elif workload == "moving":
        model, objective = models.conv_vqvae(rng=rng, decay=DECAY), models.moving_objective
    else:
        model, objective = models.conv_vqvae(rng=rng), models.vq_objective

    return training(model, lambda: -np.mean(objective(model, x, rng=rng).objective))


def torch_step(workload: str) -> Callable[[], object]:
    import torch

    torch.manual_seed(0)
    model, loss = (torch_masked if workload == "masked" else torch_vqvae)(workload)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return step


def torch_vqvae(workload: str) -> tuple:
    import torch
    from torch import nn
    from torch.nn import functional as F

    halve = {"kernel_size": 3, "stride": 2, "padding": 1}
    double = {**halve, "output_padding": 1}
    model = nn.ModuleDict({
        "encode": nn.Sequential(nn.Conv2d(1, 32, **halve), nn.ReLU(), nn.Conv2d(32, 64, **halve),
                                nn.ReLU(), nn.Conv2d(64, DIMENSIONS, 1)),
        "decode": nn.Sequential(
            nn.Conv2d(DIMENSIONS, 64, 3, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(64, 64, **double), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, **double), nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1))})
    vectors, moving = torch.rand(CODES, DIMENSIONS), workload == "moving"
    counts, sums = torch.ones(CODES), vectors.clone()
    if not moving:
        model["book"] = nn.Embedding.from_pretrained(vectors, freeze=False)
    x = torch.rand(BATCH, 1, 28, 28)

    def loss() -> torch.Tensor:
        z = model["encode"](x).permute(0, 2, 3, 1)
        rows = z.reshape(-1, DIMENSIONS)
        with torch.no_grad():
            e = vectors if moving else model["book"].weight
            codes = (e.square().sum(1) - 2 * rows @ e.T).argmin(1)
        chosen = e[codes] if moving else model["book"](codes)
        chosen = chosen.view(z.shape)
        commitment = (z - chosen.detach()).square().sum()
        passed = (z + (chosen - z).detach()).permute(0, 3, 1, 2)
        nll = F.binary_cross_entropy_with_logits(model["decode"](passed), x, reduction="sum")
        if moving:
            with torch.no_grad():
                counts.lerp_(torch.bincount(codes, minlength=CODES).float(), 1 - DECAY)
                sums.lerp_(torch.zeros_like(sums).index_add_(0, codes, rows), 1 - DECAY)
                vectors.copy_(sums / counts[:, None])
            return (nll + 0.25 * commitment) / BATCH
        return (nll + 0.25 * commitment + (z.detach() - chosen).square().sum()) / BATCH

    return model, loss


def torch_masked(workload: str) -> tuple:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Masked(nn.Conv2d):
        def __init__(self, size: tuple[int, int], seen: int) -> None:
            super().__init__(CHANNELS, CHANNELS, size, padding=(size[0] // 2, size[1] // 2))
            mask = torch.zeros(size)
            mask[(slice(None), slice(seen)) if size[0] == 1 else slice(seen)] = 1
            self.register_buffer("mask", mask)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)

    model = nn.ModuleDict({
        "embed": nn.Embedding(CODES, CHANNELS),
        **{name: nn.ModuleList(Masked(size, 1 + (k > 0)) for k in range(LAYERS))
           for name, size in {"above": (3, 3), "left": (1, 3)}.items()},
        "across": nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
                                for _ in range(LAYERS)),
        "logits": nn.Conv2d(CHANNELS, CODES, 1, bias=False)})
    model.register_parameter("bias", nn.Parameter(torch.zeros(CODES, 7, 7)))
    codes = torch.randint(0, CODES, (BATCH, 7, 7))

    def loss() -> torch.Tensor:
        above = left = model["embed"](codes).permute(0, 3, 1, 2)
        for k, (up, back, across) in enumerate(zip(model["above"], model["left"],
                                                   model["across"])):
            higher, step = up(F.relu(above) if k else above), back(F.relu(left) if k else left)
            above = above + higher if k else higher
            seen = across(F.relu(above))
            left = left + step + seen if k else step + seen
        logits = model["logits"](F.relu(left)) + model.bias
        return F.cross_entropy(logits, codes, reduction="sum") / BATCH

    return model, loss


def measured(workload: str, peer: str) -> float:
    """The median time of a step in milliseconds."""
    return measure({"minigrad": our_step, "torch": torch_step}[peer](workload))["median"]


if __name__ == "__main__":
    against_torch(__file__, __doc__, WORKLOADS, measured)
