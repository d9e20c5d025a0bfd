"""A graph to look at: `mg.show(t)`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy import ndarray

from minigrad.debugging import applied_at
from minigrad.marks import mark_of
from minigrad.nn.state import named_parameters
from minigrad.tensor import Tensor


class Text(str):
    """A string that an interactive session shows as it prints it."""

    def __repr__(self) -> str:
        return str(self)


@dataclass
class Item:
    """A node of the drawing: an operation, a leaf, or an array among the constants.

    kind: "operation", "leaf", "noise", "stopped", "constant" or "outer" (see `_kind`).
    inputs: the items it is computed from; call: the operation with its arguments.
    """

    number: int
    kind: str
    value: Any
    name: str = ""
    inputs: list[Item] = field(default_factory=list)
    call: str = ""

    @property
    def about(self) -> str:
        return f"{self.value.shape} {self.value.dtype}"


def show(t: Tensor, *, format: str = "text", names: Any = None, limit: int = 200) -> str:
    """The graph below `t`, to be printed: a line for each operation, leaf and constant array.

        %1 leaf x (3,) float64
        %2 exp(%1) (3,) float64

    An operation names its arguments by their numbers, those further back first.  Constants drawn
    from a Generator and values of `mg.stop_gradient` are told apart where they are known, and the
    line of the program is, where `mg.debug` saw the operation.

    format: "text", or "dot" (Graphviz) or "mermaid", for a picture.
    names: name -> Tensor, or a model, whose parameters have names.
    limit: the most lines; the youngest remain, and one more says how many are left out.
    """
    if type(t) is not Tensor:
        raise TypeError(f"mg.show(t) needs a Tensor, this is {type(t).__name__}: an array that no "
                        "derivative flows through has no graph")
    if format not in FORMATS:
        raise ValueError(f"mg.show(format={format!r}): there are {', '.join(FORMATS)}")
    items = items_of(t, names)
    left_out = max(0, len(items) - limit)
    return Text("\n".join(FORMATS[format](items[left_out:], left_out)))


def graph(t: Tensor) -> list[Tensor]:
    """All Tensors below `t` that are of its level, and itself, the oldest first."""
    found, waiting = {t}, [t]
    while waiting:
        for x in waiting.pop().inputs or ():
            if type(x) is Tensor and x.level == t.level and x not in found:
                found.add(x)
                waiting.append(x)
    return sorted(found, key=lambda node: node.order)


def items_of(t: Tensor, names: Any = None) -> list[Item]:
    """The drawing, each constant before the first operation that uses it."""
    named = {id(p): name for name, p in named_parameters(names or {}).items()}
    items: list[Item] = []
    known: dict[int, Item] = {}

    def item(x: Any, kind: str, name: str = "") -> Item:
        if id(x) not in known:
            known[id(x)] = Item(len(items) + 1, kind, x, name)
            items.append(known[id(x)])
        return known[id(x)]

    for node in graph(t):
        if node.rule is None:
            item(node, "leaf", named.get(id(node), ""))
            continue
        texts, inputs = [], []
        for k, x in enumerate(node.inputs or ()):
            if k < node.rule.arity and isinstance(x, (Tensor, ndarray)):
                inputs.append(item(x, _kind(x, t.level)))
                texts.append(f"%{inputs[-1].number}")
            else:
                texts.append(_short(x))
        texts += [f"{name}={_short(v)}" for name, v in (node.options or {}).items()]
        new = item(node, "operation", named.get(id(node), ""))
        new.inputs = inputs
        new.call = f"{node.rule.name}({', '.join(texts)})" if node.inputs else \
            f"{node.rule.name}(used up by backward)"
    for stopped in [i for i in items if i.kind == "stopped"]:
        mark = mark_of(stopped.value)
        source = known.get(id(mark.of())) if mark.of() is not None else None
        stopped.name = f"at %{source.number}" if source else mark.name
        stopped.inputs = [source] if source else []
    return items


def _kind(x: Any, level: int) -> str:
    """What an argument is: "outer" is a Tensor of a derivative around this one, constant here."""
    if type(x) is Tensor:
        return "outer" if x.level != level else "operation" if x.rule else "leaf"
    return getattr(mark_of(x), "what", "constant")


def _short(x: Any) -> str:
    if isinstance(x, (ndarray, Tensor)):
        return f"<{x.shape} {x.dtype}>"
    if type(x) is tuple:
        return f"({', '.join(map(_short, x))}{',' * (len(x) == 1)})"
    if type(x) is slice:
        return ":".join("" if i is None else str(i) for i in (x.start, x.stop, x.step)[
            :2 if x.step is None else 3])
    text = "..." if x is Ellipsis else str(x) if type(x) is not str else repr(x)
    return text if len(text) <= 30 else f"{type(x).__name__}"


def _text(items: list[Item], left_out: int) -> list[str]:
    lines = [f"… {left_out} more before these"] if left_out else []
    for i in items:
        words = [f"%{i.number}", i.call or i.kind, i.name, i.about]
        place = applied_at(i.value).partition(": ")[0]
        lines.append(" ".join(filter(None, words)) + (f"  # {place}" if place else ""))
    return lines


def _dot(items: list[Item], left_out: int) -> list[str]:
    shapes = {"operation": "box, style=rounded", "leaf": "box", "noise": "diamond, style=dashed",
              "stopped": "octagon, style=dashed", "constant": "plaintext", "outer": "plaintext"}
    lines = ["digraph {"] + [f'  more [label="{left_out} more", shape=none]'] * (left_out > 0)
    for i in items:
        label = "\\n".join(_label(i)).replace('"', '\\"')
        lines.append(f'  n{i.number} [label="{label}", shape={shapes[i.kind]}]')
    return [*lines, *(f"  {a} -> {b}{' [style=dashed]' * stopped}"
                      for a, b, stopped in _edges(items)), "}"]


def _mermaid(items: list[Item], left_out: int) -> list[str]:
    brackets = {"operation": "()", "leaf": "[]", "noise": ("{{", "}}"), "stopped": (">", "]"),
                "constant": ("[/", "/]"), "outer": ("[/", "/]")}
    lines = ["flowchart TD"] + [f'  more["{left_out} more"]'] * (left_out > 0)
    for i in items:
        label = "<br/>".join(_label(i)).replace('"', "#quot;")
        opened, closed = brackets[i.kind]
        lines.append(f'  n{i.number}{opened}"{label}"{closed}')
    return lines + [f"  {a} {'-.->' if stopped else '-->'} {b}"
                    for a, b, stopped in _edges(items)]


FORMATS = {"text": _text, "dot": _dot, "mermaid": _mermaid}


def _label(item: Item) -> list[str]:
    return [item.call or f"{item.kind} {item.name}".strip(), item.about]


def _edges(items: list[Item]) -> list[tuple[str, str, bool]]:
    """From argument to operation; the last says that no derivative passes."""
    shown = {i.number for i in items}
    return [(f"n{x.number}" if x.number in shown else "more", f"n{i.number}", i.kind == "stopped")
            for i in items for x in i.inputs]
