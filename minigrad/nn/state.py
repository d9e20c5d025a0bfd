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


class ParameterError(ValueError):
    """A file of parameters that is not one, or is of another model."""


def named_parameters(model: Any) -> dict[str, Tensor]:
    """Name -> Tensor, such as "encoder.layers.0.weight"; one that is shared has its first name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in _walk(model, "", set()):
        found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


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
    return _replaced(model, {id(p): v for p, v in zip(old, values)})


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
            np.savez(file, **{name: p.data for name, p in named_parameters(model).items()})
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def load(path: str | os.PathLike, model: Any) -> None:
    """Read what `save` wrote into a model of the same architecture; on an error nothing changes."""
    from zipfile import BadZipFile  # here, since it takes a third of minigrad's time to import

    own = named_parameters(model)
    try:
        with np.load(path, allow_pickle=False) as file:
            given = {name: file[name] for name in file.files}
    except (ValueError, EOFError, KeyError, AttributeError, BadZipFile) as error:
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


def _children(node: Any) -> dict[str, Any] | None:
    """What a container or a plain object holds, by name; None where there is nothing inside."""
    if isinstance(node, dict):
        return {str(key): child for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return {str(i): child for i, child in enumerate(node)}
    if isinstance(node, (type, types.FunctionType, types.ModuleType)):
        return None
    return getattr(node, "__dict__", None)


def _walk(node: Any, prefix: str, above: set[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield prefix, node
    elif (children := _children(node)) and id(node) not in above:
        for name, child in children.items():
            yield from _walk(child, f"{prefix}.{name}" if prefix else name, above | {id(node)})


def _replaced(node: Any, new: dict[int, Any]) -> Any:
    """`node` itself where nothing in it is new, otherwise a copy of it."""
    if isinstance(node, Tensor):
        return new[id(node)]
    children = _children(node)
    if not children:
        return node
    others = {name: _replaced(child, new) for name, child in children.items()}
    if all(others[name] is child for name, child in children.items()):
        return node
    if isinstance(node, dict):
        return dict(zip(node, others.values()))
    if isinstance(node, (list, tuple)):
        return type(node)(others.values())
    other = copy.copy(node)
    other.__dict__.update(others)
    return other
