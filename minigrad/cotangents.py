"""What a rule gave, made into a cotangent: of its argument's shape and dtype, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.kernels.blocks import all_finite
from minigrad.tensor import Tensor, untraced


def fitted(part: Any, value: Any, rule: Any) -> Any:
    """Undo broadcasting (the adjoint of repeating is summing) and keep the argument's dtype."""
    shape = value.shape
    extra = len(part.shape) - len(shape)
    stretched = tuple(i for i, n in enumerate(part.shape)
                      if i < extra or (n != shape[i - extra] and shape[i - extra] == 1))
    if stretched:
        part = np.sum(part, axis=stretched, keepdims=True)
        part = np.reshape(part, part.shape[extra:])
    if part.shape != shape:
        raise ValueError(f"the vjp of {rule} gave a cotangent of shape {part.shape} for an "
                         f"argument of shape {shape}")
    return part if part.dtype == value.dtype else part.astype(value.dtype)


def of_used(vjp: Callable, g: Any, out: Any, values: Sequence, options: dict, rule: Any) -> Any:
    """The vjp, and 0 where `g` is 0 and the slope has no number: there the result was not used.

    `where(x > 0, log(x), 0)` at x = 0 leaves log x out, whose slope is infinite, and 0·∞ is NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        part = vjp(g, out, *values, **options)
        if part is g or not rule.elementwise or all_finite(untraced(part)):
            return part
        return np.where((untraced(g) == 0) & ~np.isfinite(untraced(part)), 0, part)


def unshared(found: dict[Tensor, Any], seeds: Sequence[Any]) -> dict[Tensor, Any]:
    """Arrays that are each in nobody else's hands: rules may pass `g` on as it is, or a view."""
    taken = set(map(id, seeds))
    for node, g in found.items():
        if type(g) is not Tensor and (type(g) is not ndarray or g.base is not None
                                      or id(g) in taken):
            found[node] = g = np.array(g)
        taken.add(id(g))
    return found
