"""Optimisers, learning-rate schedules as functions of the step, and clipping.

    opt = Adam(nn.parameters(model), lr=1e-3)
    loss.backward(); opt.step(); opt.zero_grad()

An optimiser changes its parameters' `data` in place, from their `grad`; a parameter without one is
left alone.  A learning rate is a number, or a function of the number of steps taken before.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.kernels.blas import axpby
from minigrad.kernels.blocks import sweep
from minigrad.marks import written
from minigrad.tensor import PLAIN, Tensor

Schedule = Callable[[int], float]


class Optimizer(ABC):
    """Abstract: counts steps, keeps the state arrays, and goes through the parameters.

    A subclass names its states and updates one block of one parameter in place.
    """

    states: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float | Schedule):
        self.params = list(params)
        for p in self.params:
            if not (isinstance(p, Tensor) and p.rule is None and p.level == PLAIN):
                raise TypeError(f"an optimiser changes leaf Tensors, such as nn.parameters(model) "
                                f"gives; this is {type(p).__name__}: {p!r:.60}")
        if not self.params:
            raise ValueError("no parameters to optimise: the list is empty")
        if not callable(lr) and not lr >= 0:
            raise ValueError(f"lr={lr}: a learning rate is 0 or more")
        self.lr, self.steps = lr, 0
        self.state = {name: [np.zeros_like(p.data, order="C") for p in self.params]
                      for name in self.states}

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        lr = self.lr(self.steps) if callable(self.lr) else self.lr
        self.steps += 1
        groups = []
        for p, *states in zip(self.params, *self.state.values()):
            if p.grad is not None:
                if not p.data.flags.c_contiguous or not p.data.flags.writeable:
                    p.data = np.array(p.data, order="C")
                groups.append((p.data, np.ascontiguousarray(p.grad), *states))
        written()
        sweep(self.rule(lr, self.steps), groups, cost=2, calls=7)

    def zero_grad(self) -> None:
        """Forget the gradients, which otherwise add up."""
        for p in self.params:
            p.grad = None

    @abstractmethod
    def rule(self, lr: float, t: int) -> Callable[..., None]:
        """`update(parameter, gradient, *states, scratch)` of step t = 1, 2, …, in place."""


class SGD(Optimizer):
    """p ← p - lr·m with m ← momentum·m + g (Polyak 1964)."""

    states = ("velocity",)

    def __init__(self, params: Iterable[Tensor], lr: float | Schedule, *, momentum: float = 0.0):
        self.momentum = momentum
        super().__init__(params, lr)

    def rule(self, lr: float, t: int) -> Callable[..., None]:
        def update(p: ndarray, g: ndarray, m: ndarray, s: ndarray) -> None:
            m *= self.momentum
            m += g
            p -= np.multiply(m, lr, out=s)
        return update


class Adam(Optimizer):
    """p ← p - lr·m̂/(√v̂ + eps), m̂ and v̂ bias-corrected: Kingma and Ba (2015), algorithm 1.

    The states are m/(1 - β₁) and v/(1 - β₂): the same numbers, with two passes over memory less.
    """

    states = ("first", "second")

    def __init__(self, params: Iterable[Tensor], lr: float | Schedule = 1e-3, *,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"betas={betas}: both must be at least 0 and below 1")
        self.betas, self.eps = betas, eps
        super().__init__(params, lr)

    def rule(self, lr: float, t: int) -> Callable[..., None]:
        b1, b2 = self.betas
        root = math.sqrt((1 - b2) / (1 - b2**t))  # √v̂ = root · √second
        rate, eps = lr * (1 - b1) / (1 - b1**t) / root, self.eps / root

        def update(p: ndarray, g: ndarray, m: ndarray, v: ndarray, s: ndarray) -> None:
            axpby(1, g, b1, m)
            axpby(1, np.square(g, out=s), b2, v)
            np.sqrt(v, out=s)
            s += eps
            np.divide(m, s, out=s)
            axpby(-rate, s, 1, p)
        return update


class AdamW(Adam):
    """Adam, with p ← p - lr·decay·p beside it (Loshchilov and Hutter 2019)."""

    def __init__(self, params: Iterable[Tensor], lr: float | Schedule = 1e-3, *,
                 decay: float = 1e-2, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8):
        self.decay = decay
        super().__init__(params, lr, betas=betas, eps=eps)

    def rule(self, lr: float, t: int) -> Callable[..., None]:
        adam, kept = super().rule(lr, t), 1 - lr * self.decay

        def update(p: ndarray, *arrays: ndarray) -> None:
            p *= kept
            adam(p, *arrays)
        return update


class RMSProp(Optimizer):
    """p ← p - lr·g/(√v + eps) with v the running mean of g² (Hinton 2012, lecture 6e)."""

    states = ("second",)

    def __init__(self, params: Iterable[Tensor], lr: float | Schedule = 1e-3, *,
                 decay: float = 0.99, eps: float = 1e-8):
        self.decay, self.eps = decay, eps
        super().__init__(params, lr)

    def rule(self, lr: float, t: int) -> Callable[..., None]:
        def update(p: ndarray, g: ndarray, v: ndarray, s: ndarray) -> None:
            v *= self.decay
            v += np.multiply(np.square(g, out=s), 1 - self.decay, out=s)
            _descend(p, g, v, s, lr, self.eps)
        return update


class Adagrad(Optimizer):
    """p ← p - lr·g/(√Σg² + eps) (Duchi et al. 2011)."""

    states = ("total",)

    def __init__(self, params: Iterable[Tensor], lr: float | Schedule = 1e-2, *,
                 eps: float = 1e-10):
        self.eps = eps
        super().__init__(params, lr)

    def rule(self, lr: float, t: int) -> Callable[..., None]:
        def update(p: ndarray, g: ndarray, v: ndarray, s: ndarray) -> None:
            v += np.square(g, out=s)
            _descend(p, g, v, s, lr, self.eps)
        return update


def _descend(p: ndarray, g: ndarray, v: ndarray, s: ndarray, lr: float, eps: float) -> None:
    np.sqrt(v, out=s)
    s += eps
    np.divide(g, s, out=s)
    s *= lr
    p -= s


def clip_global_norm(params: Iterable[Tensor], largest: float) -> float:
    """Scale all gradients so that their joint 2-norm is at most `largest`; the norm before.

    Pascanu et al. 2013, algorithm 1.
    """
    grads = [p.grad for p in params if p.grad is not None]
    norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads))
    if not math.isfinite(norm):
        raise FloatingPointError(f"clip_global_norm: the gradients' norm is {norm}")
    if norm > largest:
        for g in grads:
            g *= largest / norm
    return norm


# -- schedules: functions of the step, with no memory of their own --------------------------------
def constant(lr: float) -> Schedule:
    """`lr` at every step."""
    return lambda step: lr


def linear(start: float, end: float, steps: int) -> Schedule:
    """From `start` to `end` in `steps`, then `end`; in 0 steps that is at once."""
    return lambda step: start + (end - start) * _share(step, steps)


def cosine(start: float, steps: int, end: float = 0.0) -> Schedule:
    """Half a cosine from `start` to `end` (Loshchilov and Hutter 2017), then `end`, as `linear`."""
    return lambda step: end + (start - end) * 0.5 * (1 + math.cos(math.pi * _share(step, steps)))


def _share(step: int, steps: int) -> float:
    return min(step / steps, 1.0) if steps else 1.0


def exponential(start: float, factor: float, every: int = 1) -> Schedule:
    """`start`, multiplied by `factor` after each `every` steps."""
    return lambda step: start * factor ** (step // every)


def warmup(schedule: float | Schedule, steps: int) -> Schedule:
    """The schedule, its first `steps` values scaled by 1/steps, 2/steps, …, 1."""
    after: Any = schedule if callable(schedule) else constant(schedule)
    return lambda step: after(step) * min((step + 1) / steps, 1.0)
