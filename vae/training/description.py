"""What a run is made of, in words: two that differ are not one that was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from minigrad.optim import Optimizer
from minigrad.tensor import Tensor

Description = dict[str, str]


def describe_run(model: Any, x: ndarray, *, optimizer: Optimizer, rng: Generator, batch_size: int,
                 **parts: Any) -> Description:
    """Name -> value of all that decides which numbers a run gives, before it begins."""
    settings = {k: v for k, v in vars(optimizer).items() if k not in ("params", "state", "steps")}
    found = describe({"model": model, "data": x, "batch_size": batch_size, **parts})
    found |= describe(settings, "optimizer." + type(optimizer).__name__)
    state = repr(sorted(_flat(rng.bit_generator.state)))
    return {**found, "generator": f"{type(rng.bit_generator).__name__}, its state at the start "
                                  f"{hashlib.sha256(state.encode()).hexdigest()[:12]}"}


def differences(old: Description, new: Description) -> list[str]:
    """A line for each name whose values are not the same."""
    return [f"{name}: {old.get(name, 'nothing')} in the checkpoint, {new.get(name, 'nothing')} now"
            for name in {**old, **new} if old.get(name) != new.get(name)]


def describe(node: Any, name: str = "", above: frozenset[int] = frozenset()) -> Description:
    """The plain values below a node, by their paths; a function's name and what it closes over.

    A parameter is its shape, since its values change; a constant array is its bytes as well.
    """
    if isinstance(node, Tensor):
        return {name: f"{node.dtype} {node.shape}"}
    if isinstance(node, (ndarray, np.generic)) and np.ndim(node):
        data = hashlib.sha256(np.ascontiguousarray(node)).hexdigest()[:12]
        return {name: f"{node.dtype} {node.shape}, SHA-256 {data}"}
    if node is None or isinstance(node, (bool, int, float, complex, str, bytes, np.generic)):
        return {name: repr(node)}
    if id(node) in above:
        return {}
    found = {name: _called(node)} if name else {}
    for key, child in _parts(node):
        found |= describe(child, f"{name}.{key}" if name else key, above | {id(node)})
    return found


def _parts(node: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(node, dict):
        return [(str(key), child) for key, child in node.items()]
    if isinstance(node, (list, tuple)):
        return [(str(i), child) for i, child in enumerate(node)]
    if isinstance(node, partial):
        return [("of", node.func), *_parts(node.args), *_parts(node.keywords)]
    if isinstance(node, MethodType):
        return [("of", node.__self__)]
    if isinstance(node, FunctionType):
        names, cells = node.__code__.co_freevars, node.__closure__ or ()
        numbers = tuple(c for c in node.__code__.co_consts if isinstance(c, (int, float)))
        return [("numbers", repr(numbers)), *((n, c.cell_contents) for n, c in zip(names, cells))]
    if isinstance(node, (type, BuiltinFunctionType, np.ufunc, Generator)):
        return []
    return vars(node).items() if hasattr(node, "__dict__") else []


def _called(node: Any) -> str:
    """The name of a function or of an object's class."""
    for one in (node, type(node)):
        if name := getattr(one, "__qualname__", None) or getattr(one, "__name__", None):
            return name
    return "?"


def _flat(state: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """The numbers of a bit generator's state."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from _flat(value, f"{name}.{key}")
    else:
        yield name, repr(np.asarray(state).tolist())
