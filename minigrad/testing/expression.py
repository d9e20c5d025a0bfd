"""What `minigrad.testing.expressions` draws: a function, as the list of its calls."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

import minigrad as mg


@dataclass(frozen=True)
class Ref:
    """The value with this number, counted through leaves and then nodes."""

    index: int


class Node(NamedTuple):
    """One call.  `args` may hold Refs, also in lists; all else in it is constant."""

    function: Callable
    args: tuple
    options: dict

    def __call__(self, values: Sequence) -> Any:
        return self.function(*replaced(self.args, values), **self.options)


class Expression:
    """A function of arrays, `f(*f.args)`, on ndarrays as on Tensors.

    Its repr is a program that defines it and checks its gradients: a failure is copied into a file.

    Attributes:
        args: the leaves at which it was drawn, float64 arrays.
        nodes: the calls, in order; the last one is the result (without any, the last leaf).
    """

    __name__ = "f"

    def __init__(self, args: Sequence[ndarray], nodes: Sequence[Node]):
        self.args, self.nodes = tuple(args), tuple(nodes)
        self.__signature__ = Signature([Parameter(f"x{i}", Parameter.POSITIONAL_ONLY)
                                        for i in range(len(self.args))])

    def __call__(self, *args: Any) -> Any:
        values = list(args)
        for node in self.nodes:
            values.append(node(values))
        return values[-1]

    def __repr__(self) -> str:
        names = [*self.__signature__.parameters]
        names += [f"y{i}" for i in range(len(self.nodes))]
        called = [_name(node.function) for node in self.nodes]
        lines = [f"    {names[len(self.args) + i]} = {_call(name, node, names)}"
                 for i, ((name, _), node) in enumerate(zip(called, self.nodes))]
        arguments = ", ".join(_literal(a, names) for a in self.args)
        return "\n".join([
            *dict.fromkeys(["import numpy as np", "import minigrad as mg",
                            *(line for _, line in called if line)]),
            "", f"def f({', '.join(names[:len(self.args)])}):", *lines,
            f"    return {names[-1]}", "",
            f"args = ({arguments}{',' * (len(self.args) == 1)})", "mg.check_grads(f, args)"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For Hypothesis, which would indent the lines: the program on lines of its own."""
        printer.text("\n\n" + repr(self) + "\n\n")


def replaced(arg: Any, values: Sequence) -> Any:
    if isinstance(arg, Ref):
        return values[arg.index]
    return type(arg)(replaced(a, values) for a in arg) if type(arg) in (list, tuple) else arg


def references(arg: Any) -> Iterator[int]:
    if isinstance(arg, Ref):
        yield arg.index
    elif type(arg) in (list, tuple):
        for a in arg:
            yield from references(a)


# -- the program that is printed ------------------------------------------------------------------
def _name(function: Callable) -> tuple[str, str | None]:
    """What a program calls `function`, and the line, if any, that makes the name known."""
    name = getattr(function, "name", None) or function.__name__
    for short, module in (("np", np), ("np.linalg", np.linalg), ("mg", mg)):
        if getattr(module, name, None) is function:
            return f"{short}.{name}", None
    if getattr(sys.modules.get("scipy.special"), name, None) is function:
        return f"sc.{name}", "import scipy.special as sc"
    module = getattr(function, "__module__", None)
    if getattr(sys.modules.get(module), name, None) is function:
        return name, f"from {module} import {name}"
    return name, f"# {name}: to be defined here"


def _call(name: str, node: Node, names: Sequence[str]) -> str:
    if node.function is operator.getitem:
        x, index = node.args
        parts = [_literal(i, names) for i in (index if isinstance(index, tuple) else (index,))]
        return f"{_literal(x, names)}[{', '.join(parts) or '()'}]"
    parts = [_literal(a, names) for a in node.args]
    parts += [f"{key}={_literal(value, names)}" for key, value in node.options.items()]
    return f"{name}({', '.join(parts)})"


def _literal(a: Any, names: Sequence[str]) -> str:
    if isinstance(a, Ref):
        return names[a.index]
    if isinstance(a, ndarray):
        return f"np.array({a.tolist()})"
    if isinstance(a, list):
        return f"[{', '.join(_literal(x, names) for x in a)}]"
    if isinstance(a, slice):
        bounds = ["" if b is None else str(b) for b in (a.start, a.stop, a.step)]
        return ":".join(bounds if a.step is not None else bounds[:2])
    return "..." if a is Ellipsis else repr(a)
