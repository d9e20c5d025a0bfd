"""Why a gradient is zero or no number: `mg.explain_zero`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.backprop import pull
from minigrad.cotangents import fitted
from minigrad.debugging import applied_at, finite, first_bad, is_array, summary
from minigrad.inspect import Text, graph, items_of
from minigrad.marks import mark_of
from minigrad.tensor import Tensor, untraced
from minigrad.watch import Watch

PROBES = 50  # walks back that one explanation may take
REASONS = {  # operation -> why its slope is 0
    **dict.fromkeys(("sign", "floor", "ceil", "trunc", "rint", "round", "fix", "floor_divide",
                     "heaviside"), "its slope is 0 everywhere,"),
    **dict.fromkeys(("maximum", "fmax"), "the other argument was the larger"),
    **dict.fromkeys(("minimum", "fmin"), "the other argument was the smaller"),
    **dict.fromkeys(("max", "amax", "min", "amin"), "another element was chosen"),
    **dict.fromkeys(("multiply", "affine", "matmul", "einsum"), "multiplied by 0"),
    **dict.fromkeys(("tanh", "sigmoid", "expit"), "saturated"),
    "where": "the condition took the other branch", "clip": "it lies outside of the bounds",
    "getitem": "the index leaves it out", "relu": "its input is not positive",
}


def explain_zero(root: Tensor, leaf: Tensor) -> str:
    """Why the gradient of `root` (of its sum, where it is an array) by `leaf` is zero, or NaN.

    No path, and where one was stopped; or which operations have a slope of 0, and how many of the
    leaf's elements each of them stopped; or where the first NaN or infinity appears.  To be
    printed.  The graph is kept; numbers such as %3 are those of `mg.show(root)`.

    An element is counted for the first operation from the root that stopped it.  What stands
    behind a slope of 0 is found by sending random cotangents on from there.
    """
    if type(root) is not Tensor or type(leaf) is not Tensor:
        raise TypeError("mg.explain_zero(root, leaf) needs two Tensors: an array is a constant, "
                        "its derivative is 0 everywhere")
    with np.errstate(all="ignore"):
        return Text("\n".join(_Explanation(root, leaf).lines()))


@dataclass
class Block:
    """Something that let no cotangent through to the elements `where` of `parent`."""

    text: str
    parent: Tensor
    where: ndarray


class _Trail(Watch):
    """A walk from `start` to `leaf`: what came to each Tensor, and each vjp's part, fitted."""

    def __init__(self, start: Tensor, seed: ndarray, leaf: Tensor, on_path: set[Tensor]):
        self.came: dict[Tensor, Any] = {}
        self.parts: list[tuple[Tensor, int, Any, Any]] = []
        self.on_path = on_path
        with self():
            found = pull([start], [seed], keep=[leaf])
        zero = np.zeros(leaf.shape, leaf.dtype)
        self.gradient = self.came[leaf] = untraced(found.get(leaf, zero))

    def reached(self, node: Tensor, g: Any) -> None:
        self.came[node] = untraced(g)

    def pulled(self, node: Tensor, k: int, g: Any, part: Any) -> None:
        if node.inputs[k] in self.on_path:
            part = fitted(untraced(part), node.values[k], node.rule)
            self.parts.append((node, k, untraced(g), part))


class _Explanation:
    def __init__(self, root: Tensor, leaf: Tensor):
        self.root, self.leaf = root, leaf
        self.rng = np.random.default_rng(0)
        self.items = items_of(root)
        self.numbers = {id(i.value): i.number for i in self.items}
        self.on_path = _depending(root, leaf)

    def lines(self) -> list[str]:
        root, leaf = self.root, self.leaf
        trail = _Trail(root, np.ones(root.shape, root.dtype), leaf, self.on_path)
        subject = f"the gradient of {self.name(root)} by {self.name(leaf)}"
        if root not in self.on_path:
            return [f"{subject} is zero: no path leads from one to the other",
                    *(self.stops() or ["  it is not in the graph"])]
        g = trail.gradient
        if not finite(g):
            return [f"{subject} is not finite: {summary(g)}", *self.first_bad(trail)]
        zeros = np.count_nonzero(g == 0)
        if not zeros:
            return [f"{subject} has no zero: {summary(g)}"]
        return [f"{subject} is zero at {_many(zeros, g.size)} elements",
                *self.blamed(trail), *self.stops()]

    # -- where a zero comes from ------------------------------------------------------------------
    def blamed(self, trail: _Trail) -> list[str]:
        """A line for each operation, and how many of the leaf's zeros are its doing."""
        zero = trail.gradient == 0
        counts: dict[str, int] = {}
        waiting = deque((block, block.text) for block in self.blocks(trail))
        for _ in range(PROBES):
            if not waiting or not zero.any():
                break
            block, text = waiting.popleft()
            behind = self.probe(block)
            ours = zero & (behind.gradient != 0)
            if ours.any():
                counts[text] = counts.get(text, 0) + np.count_nonzero(ours)
                zero &= ~ours
            waiting.extend((b, f"{text}\n    and behind it {b.text}") for b in self.blocks(behind))
        lines = [f"  {_many(n, zero.size)}: {text}"
                 for text, n in sorted(counts.items(), key=lambda item: -item[1])]
        if rest := np.count_nonzero(zero):
            lines.append(f"  {_many(rest, zero.size)}: not traced to an operation")
        return lines

    def probe(self, block: Block) -> _Trail:
        seed = np.where(block.where, self.random(block.parent), 0)
        return _Trail(block.parent, seed, self.leaf, self.on_path)

    def random(self, x: Any) -> ndarray:
        return self.rng.uniform(0.5, 1.5, x.shape).astype(x.dtype)

    def blocks(self, trail: _Trail) -> list[Block]:
        """From the start on: slopes of 0 that met a cotangent, and sums that came out as 0."""
        found, arrived = [], {}
        for node, k, g, part in trail.parts:
            parent = node.inputs[k]
            arrived[parent] = arrived.get(parent, False) | (part != 0)
            if g.size == 0:
                found.append(Block(f"{self.name(node)}: it has no elements", parent, part == 0))
            if not g.any():
                continue
            flat = self.slope(node, k, self.random(node)) == 0
            met = self.slope(node, k, self.random(node) * (g != 0))
            if (lost := (met != 0) & (part == 0)).any():
                found.append(Block(f"{self.name(node)}: the cotangent cancels, or is too small for "
                                   f"{part.dtype}", parent, lost))
            if node.rule.elementwise:
                flat &= fitted((g != 0).astype(part.dtype), part, node.rule) != 0
            if flat.any():
                found.append(Block(f"{self.name(node)}: {_reason(node, k, flat)}", parent, flat))
        for parent, some in arrived.items():
            if (lost := some & (trail.came[parent] == 0)).any():
                found.append(Block(f"{self.name(parent)}: the cotangents of its uses cancel",
                                   parent, lost))
        return found

    def slope(self, node: Tensor, k: int, g: ndarray) -> Any:
        """The k-th vjp of an operation at another cotangent."""
        vjp = next(islice(node.rule.vjps, k, None))
        out, *values = map(untraced, (node.data, *node.values))
        return fitted(np.asarray(vjp(g, out, *values, **node.options)), values[k], node.rule)

    # -- where a path ends ------------------------------------------------------------------------
    def stops(self) -> list[str]:
        """The places where a value of the leaf, or of what depends on it, went in as a constant."""
        lines = []
        for node in graph(self.root):
            for k, x in enumerate(node.inputs or ()):
                if why := self.stop(x, k, node):
                    lines.append(f"  argument {k} of {self.name(node)} {why}")
            if node.rule is None and node is not self.leaf and \
                    np.may_share_memory(untraced(node), untraced(self.leaf)):
                lines.append(f"  {self.name(node)} holds the same array, but is another Tensor")
        return lines

    def stop(self, x: Any, k: int, node: Tensor) -> str:
        if type(x) is Tensor and x.level == node.level:
            if next(islice(node.rule.vjps, k, None)) is None and \
                    x in _depending(x, self.leaf):
                return "depends on it, but has no derivative"
            return ""
        x, mark = untraced(x), mark_of(untraced(x))
        source = mark and mark.of and mark.of()
        if source is not None and source in _depending(source, self.leaf):
            return f"depends on it, but mg.stop_gradient made {self.name(source)} a constant"
        if isinstance(x, ndarray) and np.may_share_memory(x, untraced(self.leaf)):
            return "is the array of that Tensor, a constant"
        if mark and mark.of and source is None:
            return (f"is {mark.name}, a constant by mg.stop_gradient; what that was computed from "
                    "is no longer known")
        return ""

    # -- where a NaN comes from -------------------------------------------------------------------
    def first_bad(self, trail: _Trail) -> list[str]:
        for node, k, g, part in trail.parts:
            if finite(g) and not finite(part):
                index = first_bad(part)
                held = [f"    argument {i}: {summary(v, index, part.shape)}"
                        for i, v in enumerate(node.values) if is_array(v)]
                return [f"  {self.name(node)}: its vjp for argument {k} made {part[index]} at "
                        f"{list(index)} from", f"    cotangent: {summary(g, index, part.shape)}",
                        *held]
        return ["  no vjp made it: a sum of finite cotangents is too large for "
                f"{trail.gradient.dtype}"]

    def name(self, x: Tensor) -> str:
        """Operation or leaf, shape, its number in mg.show, and the line where that is known."""
        place = applied_at(x)
        number = f" (%{self.numbers[id(x)]})" if id(x) in self.numbers else ""
        return f"{x.rule.name if x.rule else 'leaf'} {x.shape}{number}" + \
            (f" at {place}" if place else "")


def _depending(root: Tensor, leaf: Tensor) -> set[Tensor]:
    """The Tensors below `root` from which derivatives reach `leaf`."""
    found: set[Tensor] = set()
    for node in graph(root):
        if node is leaf or any(vjp and type(x) is Tensor and x in found for vjp, x in zip(
                node.rule.vjps if node.rule else (), node.inputs or ())):
            found.add(node)
    return found


def _reason(node: Tensor, k: int, flat: ndarray) -> str:
    """Why the slope of an operation by its k-th argument is 0 where `flat` says."""
    x = untraced(node.values[k])[flat]
    return (f"{REASONS.get(node.rule.name, 'its slope is 0')} at {_many(len(x), flat.size)} "
            f"elements of argument {k}, from {x.min():.6g} to {x.max():.6g}")


def _many(n: int, size: int) -> str:
    return f"all {n}" if n == size else f"{n} of {size}"
