"""The parameters of a model: finding, replacing, saving and loading them.

A model is any object; its parameters are the Tensors among its attributes, and among those of the
objects, lists, tuples and dictionaries that it holds, in the order in which they were set.
"""

from __future__ import annotations

import copy
import os
import types
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from minigrad import archive
from minigrad.marks import written
from minigrad.tensor import Tensor

Model = TypeVar("Model")
PREFIX = "model."  # of every name in a file
Array = TypeVar("Array", Tensor, np.ndarray)


class ParameterError(ValueError):
    """A file of parameters that is not one, or is of another model."""


def named_parameters(model: Any) -> dict[str, Tensor]:
    """Name -> Tensor, such as "encoder.layers.0.weight"; one that is shared has its first name."""
    return _named(_walk(model, "", frozenset()))


def named_buffers(model: Any) -> dict[str, np.ndarray]:
    """Name -> array that a layer keeps beside its parameters and names in its `buffers`.

    Such as running statistics: saved and loaded with the parameters, changed by no optimiser.
    """
    return _named(_walk(model, "", frozenset(), buffers=True))


def _named(found: Iterator[tuple[str, Array]]) -> dict[str, Array]:
    names: dict[str, Array] = {}
    seen: set[int] = set()
    for name, array in found:
        if id(array) not in seen:
            if name in names:
                raise ParameterError(f"two parameters or buffers are named {name!r}: a key of a "
                                     "dictionary looks like a path, or like another key")
            names[name] = array
            seen.add(id(array))
    return names


def parameters(model: Any) -> list[Tensor]:
    """All Tensors of a model, each once, in the order of definition."""
    return list(named_parameters(model).values())


def with_parameters(model: Model, values: Sequence[Any]) -> Model:
    """A copy of the model, with `values` in the places of `parameters(model)`.

    With Tensors of a transform it makes the model a function of its parameters:
    `mg.hvp(lambda *w: loss(with_parameters(model, w)), weights, vectors)`.
    """
    old = parameters(model)
    if len(old) != len(values):
        raise ValueError(f"the model has {len(old)} parameters, given were {len(values)}")
    return _replaced(model, {id(p): v for p, v in zip(old, values)}, frozenset())


def frozen(model: Model) -> Model:
    """The model with its parameters as ndarrays, which are constants: it records no graph.

    The arrays are the model's own, not copies: it follows when the model is trained further.
    """
    return with_parameters(model, [p.data for p in parameters(model)])


def save(path: str | os.PathLike, model: Any) -> None:
    """Write parameters and buffers as npz, an array a name; the file is replaced whole or not."""
    archive.write(path, {PREFIX + name: array for name, array in _arrays(model).items()})


def load(path: str | os.PathLike, model: Any) -> None:
    """Read what `save` wrote into a model of the same architecture; on an error nothing changes.

    Values that are no numbers or infinite are read as they were written. Raises `ParameterError`
    for a damaged file or one of another architecture, OSError for one that cannot be opened.
    """
    own = _arrays(model)
    try:
        arrays = archive.read(path)
    except archive.ArchiveError as error:
        raise ParameterError(f"no file of parameters that nn.save wrote, or a damaged one; {error}"
                             ) from error
    given = {name.removeprefix(PREFIX): array for name, array in arrays.items()}
    differences = [f"{name}: not in the file" for name in own if name not in given]
    differences += [f"{name}: not in the model" for name in given if name not in own]
    differences += [f"{name}: {given[name].shape} in the file, {p.shape} in the model"
                    for name, p in own.items() if name in given and given[name].shape != p.shape]
    differences += [f"{name}: not numbers, but {array.dtype}" for name, array in given.items()
                    if array.dtype.kind != "f"]
    differences += ["a name both with and without " + PREFIX] * (len(given) < len(arrays))
    if differences:
        more = [f"and {len(differences) - 30} more"] * (len(differences) > 30)
        raise ParameterError(f"{path} holds the parameters of another architecture:\n  "
                             + "\n  ".join(differences[:30] + more))
    cast = {name: given[name].astype(array.dtype) for name, array in own.items()}  # may warn
    written()
    for name, p in named_parameters(model).items():
        p.data = cast[name]
    for name, buffer in named_buffers(model).items():
        buffer[...] = cast[name]


def _arrays(model: Any) -> dict[str, np.ndarray]:
    return {**{name: p.data for name, p in named_parameters(model).items()},
            **named_buffers(model)}


def _children(node: Any) -> list[tuple[str, Any]]:
    """What a container or a plain object holds, with names; a function's insides are its own."""
    if isinstance(node, dict):
        return [(str(key), child) for key, child in node.items()]
    if isinstance(node, (list, tuple)):
        return [(str(i), child) for i, child in enumerate(node)]
    if isinstance(node, (type, types.FunctionType, types.ModuleType)):
        return []
    return list(getattr(node, "__dict__", {}).items())


def _walk(node: Any, prefix: str, above: frozenset[int],
          buffers: bool = False) -> Iterator[tuple[str, Any]]:
    """All Tensors below `node`, with their paths, or else all buffers."""
    if isinstance(node, Tensor):
        if not buffers:
            yield prefix, node
    elif id(node) not in above:
        for name, child in _children(node):
            path = f"{prefix}.{name}" if prefix else name
            if buffers and name in getattr(node, "buffers", ()):
                yield path, child
            yield from _walk(child, path, above | {id(node)}, buffers)


def _replaced(node: Any, new: dict[int, Any], above: frozenset[int]) -> Any:
    """`node` itself where nothing in it is new, otherwise a copy of it."""
    if isinstance(node, Tensor):
        return new[id(node)]
    if id(node) in above:
        return node
    old = [child for _, child in _children(node)]
    others = [_replaced(child, new, above | {id(node)}) for child in old]
    if all(other is child for other, child in zip(others, old)):
        return node
    if isinstance(node, dict):
        return dict(zip(node, others))
    if isinstance(node, (list, tuple)):
        return getattr(type(node), "_make", type(node))(others)
    other = copy.copy(node)
    other.__dict__.update(zip(node.__dict__, others))
    return other
