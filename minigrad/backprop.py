"""Walking the graph backwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.cotangents import fitted, of_used, unshared
from minigrad.tensor import PLAIN, Tensor, untraced
from minigrad.watch import watching


def pull(roots: Sequence[Tensor], seeds: Sequence[Any], *, keep: Iterable[Tensor] = (),
         retain: bool = True) -> dict[Tensor, Any]:
    """Cotangents of all leaves below `roots`, and of `keep`, for the cotangents `seeds` of `roots`.

    A Tensor is younger than its inputs.  So whoever takes the youngest Tensor that still waits has
    seen all who use it, and its cotangent is complete: no recursion, no marking, one pass.

    All Tensors are of one level.  The cotangents are ndarrays where that level's data are, and
    Tensors of an outer level otherwise.  Without `retain` each node is dropped once it has been
    used, and memory shrinks on the way.
    """
    keep, found = frozenset(keep), {}
    waiting: dict[Tensor, Any] = {}
    summed = set()  # Tensors whose cotangent is a sum made here: it may be added to in place
    idle: set[Tensor] = set()  # Tensors of which something may have been left out, above them
    youngest: list[tuple[int, Tensor]] = []
    watch = watching()
    for root, seed in zip(roots, seeds):
        if root in waiting:
            waiting[root] = waiting[root] + seed
        else:
            waiting[root] = seed
            heappush(youngest, (-root.order, root))
    while youngest:
        node = heappop(youngest)[1]
        g, rule, values = waiting.pop(node), node.rule, node.values
        if watch:
            watch.reached(node, g)
        if rule is None or node in keep:
            found[node] = g
            if rule is None:
                continue
        if values is None:
            raise RuntimeError(f"this graph was used up by an earlier backward() (at {rule}): call "
                               "backward(retain=True) the first time, or compute it anew")
        level, out, options = node.level, node.data, node.options
        left_out = rule.selects or node in idle
        for k, (vjp, parent, value) in enumerate(zip(rule.vjps, node.inputs, values)):
            if type(parent) is not Tensor or parent.level != level or vjp is None:
                continue
            if left_out:
                idle.add(parent)
                part = of_used(vjp, g, out, values, options, rule)
            else:
                part = vjp(g, out, *values, **options) if options else vjp(g, out, *values)
            if not hasattr(part, "shape"):
                part = np.asarray(part)
            if watch:
                watch.pulled(node, k, g, part)
            if part.shape != value.shape or part.dtype is not value.dtype:
                part = fitted(part, value, rule)
            seen = waiting.get(parent)
            if seen is None:
                waiting[parent] = part
                heappush(youngest, (-parent.order, parent))
            elif parent in summed:
                seen += part
            else:
                waiting[parent] = seen = seen + part
                if type(seen) is ndarray and seen.size > 4096:  # in place, small ones take longer
                    summed.add(parent)
        if not retain:
            node.inputs = node.values = node.options = None
    return unshared(found, seeds)


def backward(root: Tensor, seed: Any = None, *, keep: Iterable[Tensor] = (),
             retain: bool = False) -> None:
    """Add to `.grad` of every leaf below `root` the gradient of `root`.

    seed: the cotangent of `root`, of its shape; may be left out where `root` has one element.
    keep: Tensors in between whose `.grad` is wanted as well.
    retain: keep the graph, to go through it again; otherwise it is dropped on the way.
    """
    if isinstance(keep, Tensor):
        raise TypeError("backward(keep=): give a list of Tensors, keep=[t]")
    if root.level != PLAIN:
        raise RuntimeError("backward() inside of a function that mg.grad or another transform is "
                           "differentiating: nest mg.grad instead")
    if seed is None and root.size != 1:
        raise ValueError(f"backward() of a Tensor of shape {root.shape} needs a seed, a cotangent "
                         "of that shape; or reduce it to one number first, by np.sum or np.mean")
    seed = np.ones(root.shape, root.dtype) if seed is None else np.asarray(untraced(seed))
    if seed.shape != root.shape:
        raise ValueError(f"backward(seed): the seed has shape {seed.shape}, the Tensor "
                         f"{root.shape}")
    seed = seed.astype(root.dtype, copy=False)
    for leaf, g in pull([root], [seed], keep=keep, retain=retain).items():
        leaf.grad = g if leaf.grad is None else np.asarray(leaf.grad + g)
