"""What every flow offers, and what several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.functions import softplus

LEAST = 1e-4  # the smallest of what must be positive, so that its logarithm is a number


class Flow(ABC):
    """Abstract: an invertible map of R^n, of the last axis of z (…, n).

    Its parameters are Tensors in its attributes, which `mg.nn.parameters` finds.
    """

    n: int

    @abstractmethod
    def forward(self, z: Any) -> tuple[Any, Any]:
        """z' (…, n), and log |det ∂z'/∂z| (…) in nats."""

    @staticmethod
    def through(flows: Sequence[Flow], z: Any) -> tuple[Any, Any]:
        """`forward` of one after the other, flows of one class: z', and all log-determinants' sum.

        A class whose layers are faster together does them so.
        """
        log_det = 0
        for flow in flows:
            z, more = flow.forward(z)
            log_det = log_det + more
        return z, log_det

    def inverse(self, z: Any) -> Any:
        """The z (…, n) that `forward` maps to this one."""
        raise NotImplementedError(
            f"{type(self).__name__} has no inverse in closed form: log_prob of its own draws, q.log"
            "_prob(q.sample(…)), needs none; for the density of other points take Planar, Radial, "
            "Coupling or InverseAutoregressive")

    def inverse_with_log_det(self, z: Any) -> tuple[Any, Any]:
        """`inverse(z)`, and the log-determinant of the inverse there, in nats."""
        start = self.inverse(z)
        return start, -self.forward(start)[1]

    def _check(self, z: Any) -> None:
        if z.shape[-1:] != (self.n,):
            raise ValueError(f"{type(self).__name__} of {self.n} dimensions was given an array of "
                             f"shape {z.shape}: its last axis must have {self.n} elements")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n})"


class Inverse(Flow):
    """A flow the other way round.

    Of an `InverseAutoregressive` it is a masked autoregressive flow (Papamakarios et al. 2017):
    there the density takes one pass, and a draw n.
    """

    def __init__(self, flow: Flow):
        self.flow, self.n = flow, flow.n

    def forward(self, z: Any) -> tuple[Any, Any]:
        """The flow's inverse, and its log-determinant."""
        return self.flow.inverse_with_log_det(z)

    def inverse(self, z: Any) -> Any:
        """The flow's z'."""
        return self.flow.forward(z)[0]

    def inverse_with_log_det(self, z: Any) -> tuple[Any, Any]:
        """The flow's `forward`."""
        return self.flow.forward(z)


def dimensions(who: str, n: Any, least: int = 1) -> int:
    """n; raises ValueError unless it is a whole number, `least` or more."""
    if not isinstance(n, (int, np.integer)) or n < least:
        raise ValueError(f"{who}({n!r}): the number of dimensions is a whole one, {least} or more")
    return int(n)


def positive(raw: Any) -> Any:
    """softplus(raw), and a little more: never below LEAST."""
    return LEAST + softplus(raw)


def bounded(raw: Any, most: float) -> Any:
    """raw near 0, and never beyond ±most."""
    return most * np.tanh(raw / most)
