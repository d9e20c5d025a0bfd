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

from minigrad.tensor import Tensor

Model = TypeVar("Model")
PREFIX = "model."  # of every name in a file, so that none can be an argument of np.savez


class ParameterError(ValueError):
    """A file of parameters that is not one, or is of another model."""


def named_parameters(model: Any) -> dict[str, Tensor]:
    """Name -> Tensor, such as "encoder.layers.0.weight"; one that is shared has its first name."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in _walk(model, "", frozenset()):
        if id(tensor) not in seen:
            if name in found:
                raise ParameterError(f"two parameters have the same name, {name!r}: a key of a "
                                     "dictionary looks like a path, or like another key")
            found[name] = tensor
            seen.add(id(tensor))
    return found


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
    """Write the parameters as npz, one array a name; the file is replaced whole or not at all."""
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **{PREFIX + name: p.data for name, p in named_parameters(model).items()})
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def load(path: str | os.PathLike, model: Any) -> None:
    """Read what `save` wrote into a model of the same architecture; on an error nothing changes."""
    from zipfile import BadZipFile  # here, since it takes a third of minigrad's time to import

    own = named_parameters(model)
    try:
        with open(path, "rb") as whole, np.load(whole, allow_pickle=False) as file:
            given = {name.removeprefix(PREFIX): np.asarray(file[name]) for name in file.files}
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, AttributeError, EOFError, KeyError, OSError, RuntimeError,
            BadZipFile) as error:
        raise ParameterError(f"{path} is no file of parameters that nn.save wrote, or a damaged "
                             f"one: {error}") from error
    differences = [f"{name}: not in the file" for name in own if name not in given]
    differences += [f"{name}: not in the model" for name in given if name not in own]
    differences += [f"{name}: {given[name].shape} in the file, {p.shape} in the model"
                    for name, p in own.items() if name in given and given[name].shape != p.shape]
    differences += [f"{name}: not numbers" for name in given if given[name].dtype.kind != "f"]
    if differences:
        raise ParameterError(f"{path} holds the parameters of another architecture:\n  "
                             + "\n  ".join(differences))
    for name, p in own.items():
        p.data = given[name].astype(p.dtype)


def _children(node: Any) -> list[tuple[str, Any]]:
    """What a container or a plain object holds, with names; a function's insides are its own."""
    if isinstance(node, dict):
        return [(str(key), child) for key, child in node.items()]
    if isinstance(node, (list, tuple)):
        return [(str(i), child) for i, child in enumerate(node)]
    if isinstance(node, (type, types.FunctionType, types.ModuleType)):
        return []
    return list(getattr(node, "__dict__", {}).items())


def _walk(node: Any, prefix: str, above: frozenset[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield prefix, node
    elif id(node) not in above:
        for name, child in _children(node):
            yield from _walk(child, f"{prefix}.{name}" if prefix else name, above | {id(node)})


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
