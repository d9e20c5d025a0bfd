"""`with mg.debug():` the first operation that makes a NaN or an infinity raises, and says where."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy import ndarray

from minigrad.backprop import pull
from minigrad.kernels.blocks import all_finite
from minigrad.marks import ById
from minigrad.tensor import Tensor, untraced
from minigrad.watch import Watch


class NumericalError(FloatingPointError):
    """An operation, or the vjp of one, made a NaN or an infinity; the text says which and where."""


class OverwrittenError(RuntimeError):
    """An array that the graph holds was changed in place before the walk back came to it."""


class Record(NamedTuple):
    """Of an operation: where it was applied, as (file, line), and checksums of its arrays.

    lines: the innermost frame outside of minigrad and NumPy; if that is in vae, the one outside
    of it too.  within: the operation in whose vjp it was applied, in nested differentiation.
    """

    lines: tuple[tuple[str, int], ...]
    sums: tuple[int, ...]
    within: str = ""


records = ById()  # Tensor -> Record, of the operations that a debug() saw


def debug(*, forward: bool = True) -> AbstractContextManager:
    """Raise at the first operation inside of the `with` block that makes a NaN or an infinity.

    Forwards and backwards, with the elements it was made of and the line of your program where the
    operation was applied.  What is left out backwards, as by `where`, is no failure.  Forwards
    nobody knows yet what will be left out: where infinities are meant, such as a mask of -inf,
    `forward=False` looks at the way back only.

    Arrays that the graph holds must be the same on the way back: `OverwrittenError`.

    It watches this thread, and changes no result.  NumPy's warnings appear as usual.
    """
    return _Debug(forward)()


class _Debug(Watch):
    """Records each operation, and looks at each result, cotangent and part."""

    def __init__(self, forward: bool):
        self.forward = forward

    def applied(self, node: Tensor) -> None:
        lines, within = _lines(sys._getframe(1))
        records[node] = Record(lines, tuple(map(_checksum, _arrays(node))), within)
        if self.forward and not within and not finite(node.data):  # a part is judged as a whole
            raise NumericalError(_forward_text(node))

    def reached(self, node: Tensor, g: Any) -> None:
        record = records.get(node)
        for i, (array, old) in enumerate(zip(_arrays(node), record.sums if record else ())):
            if _checksum(array) != old and _matters(node, i, g):
                raise OverwrittenError(_overwritten_text(node, i))
        if not finite(g):
            what = node.rule.name if node.rule else "a leaf"
            raise NumericalError(
                f"the cotangent that came to {what} {node.shape} is not finite, while "
                "all that were computed on the way are: it was given so, or a sum overflowed\n"
                f"{_place(node)}\n  cotangent: {summary(g)}")

    def pulled(self, node: Tensor, k: int, g: Any, part: Any) -> None:
        if not finite(part):
            raise NumericalError(_backward_text(node, k, g, part))


def finite(a: Any) -> bool:
    """Whether all numbers of an array or Tensor are."""
    return all_finite(untraced(a))


# -- the texts ------------------------------------------------------------------------------------
def _forward_text(node: Tensor) -> str:
    name, index = node.rule.name, first_bad(node.data)
    value = untraced(node.data)[index]
    head = f"{name} made {value}, forwards"
    for k, v in enumerate(node.values):
        if (is_array(v) or type(v) is float) and not finite(v):
            v = np.asarray(untraced(v))
            own = _matching(v, index, node.shape) if node.rule.elementwise else None
            if own is None or not np.isfinite(v[own]):
                bad = v[first_bad(v) if own is None else own]
                head = f"argument {k} of {name}, {_origin(node, k)}, already holds {bad}"
                break
    return "\n".join([head, _place(node), f"  result: {summary(node.data)}",
                      *_arguments(node, index, node.shape)])


def _backward_text(node: Tensor, k: int, g: Any, part: Any) -> str:
    index, shape = first_bad(part), part.shape
    held = next((f", from argument {i}, {_origin(node, i)}, that already holds one"
                 for i, v in enumerate(node.values) if is_array(v) and not finite(v)), "")
    made = untraced(part)[index]
    return "\n".join([
        f"the vjp of {node.rule.name} for argument {k} made {made}, backwards{held}",
        _place(node), f"  its result: {summary(part)}",
        f"  cotangent: {summary(g, index, shape)}", *_arguments(node, index, shape),
        f"  {node.rule.name}: {summary(node.data, index, shape)}"])


def _overwritten_text(node: Tensor, i: int) -> str:
    which = f"the result of {node.rule.name}"
    if i > 0:
        k = _places(node)[i - 1]
        which = f"argument {k} of {node.rule.name}, {_origin(node, k)},"
    return (f"{which} was overwritten before backward(), which would take the derivative at the "
            "new values: the graph holds the array itself; change a copy, or change it after\n"
            f"{_place(node)}\n  now: {summary(list(_arrays(node))[i])}")


def _place(node: Tensor) -> str:
    return f"  applied at {applied_at(node) or 'a line that was not recorded'}"


def _origin(node: Tensor, k: int) -> str:
    """What the k-th argument of an operation is."""
    x = node.inputs[k]
    if type(x) is not Tensor or x.level != node.level:
        return "a constant" if type(x) is not Tensor else "a Tensor of an outer derivative"
    return f"the result of {x.rule.name}" if x.rule else "a leaf"


def _arguments(node: Tensor, index: tuple, shape: tuple) -> Iterator[str]:
    for k, v in enumerate(node.values):
        if is_array(v):
            yield f"  argument {k}, {_origin(node, k)}: {summary(v, index, shape)}"
        elif type(v) in (float, int):
            yield f"  argument {k}: {v}"


def summary(a: Any, index: tuple | None = None, shape: tuple = ()) -> str:
    """Shape and dtype, then what is not finite, or the element for `index` of `shape`, or range."""
    a = untraced(a)
    about = f"{a.shape} {a.dtype}, "
    if not finite(a):
        bad = first_bad(a)
        return about + (f"{np.count_nonzero(~np.isfinite(a))} of {a.size} not finite, "
                        f"first {list(bad)}: {a[bad]}")
    own = None if index is None else _matching(a, index, shape)
    if own is not None:
        return about + f"{float(a[own]):.6g} at {list(own)}"
    return about + (f"from {float(a.min()):.6g} to {float(a.max()):.6g}" if a.size else "empty")


def _matching(a: ndarray, index: tuple, shape: tuple) -> tuple | None:
    """The element of `a` that broadcasting puts at `index` of an array of `shape`, if it does."""
    if a.ndim > len(shape) or any(n not in (1, m) for n, m in zip(a.shape[::-1], shape[::-1])):
        return None
    return tuple(0 if n == 1 else i for n, i in zip(a.shape, index[len(shape) - a.ndim:]))


def first_bad(a: Any) -> tuple[int, ...]:
    """The index of the first number that is not finite."""
    return tuple(np.argwhere(~np.isfinite(untraced(a)))[0].tolist())


def applied_at(node: Any) -> str:
    """The lines of the user's program where an operation was applied, or "" if nobody saw it."""
    import linecache  # only when something is reported

    record = records.get(node)
    if record is None:
        return ""
    places = []
    for file, number in record.lines:
        text = linecache.getline(file, number).strip()
        places.append(f"{file}:{number}" + (f": {text}" if text else ""))
    within = f", in the derivative of {record.within}" if record.within else ""
    return ", called at ".join(places) + within


# -- what is recorded -----------------------------------------------------------------------------
def is_array(v: Any) -> bool:
    return isinstance(v, (Tensor, ndarray, np.generic)) and v.dtype.kind in "fiub"


def _places(node: Tensor) -> list[int]:
    """Which of the values are arrays, or hold some, as an index does: once for each array."""
    return [k for k, v in enumerate(node.values)
            for part in (v if type(v) is tuple else (v,)) if isinstance(part, (Tensor, ndarray))]


def _arrays(node: Tensor) -> Iterator[ndarray]:
    """The result of an operation, and the arrays that the graph holds of its arguments."""
    yield untraced(node.data)
    for v in node.values:
        for part in v if type(v) is tuple else (v,):
            if isinstance(part, (Tensor, ndarray)):
                yield untraced(part)


def _checksum(a: ndarray) -> int:
    return crc32(np.ascontiguousarray(a))


def _matters(node: Tensor, i: int, g: Any) -> bool:
    """Whether a vjp of the operation looks at its i-th array: that of a sum needs a shape only."""
    old = list(_arrays(node))[i]
    fills = {"f": (np.nan, 0, 1e3, -1e3), "b": (True, False)}.get(old.dtype.kind)
    if (i > 0 and _places(node)[i - 1] >= node.rule.arity) or fills is None or not all(
            type(a) is ndarray for a in (g, node.data)):
        return True  # of indices, and in nested differentiation, it is not found out

    def parts(fill: Any) -> list[ndarray]:
        other = np.full_like(old, fill)
        out, *values = (other if v is old else v for v in (node.data, *node.values))
        return [np.asarray(vjp(np.array(g), out, *values, **node.options))
                for vjp, x in zip(node.rule.vjps, node.inputs)
                if type(x) is Tensor and x.level == node.level and vjp]

    try:
        with np.errstate(all="ignore"):
            first, *others = map(parts, fills)
    except ValueError:  # of linear algebra, for such values
        return True
    return not all(np.array_equal(a, b, equal_nan=True)
                   for other in others for a, b in zip(first, other))


def _lines(frame: FrameType | None) -> tuple[tuple[tuple[str, int], ...], str]:
    """Where the operation of this frame was applied, and in which operation's vjp, if in one.

    An operation in a vjp belongs to the line of the one that is being differentiated.
    """
    lines: list[tuple[str, int]] = []
    while frame:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("minigrad", "numpy"):
            lines.append((frame.f_code.co_filename, frame.f_lineno))
            if package != "vae":
                break
            while frame.f_back and frame.f_back.f_globals.get("__name__", "").startswith("vae"):
                frame = frame.f_back
        elif frame.f_code is pull.__code__:
            node = frame.f_locals["node"]
            record = records.get(node)
            return (record.lines if record else ()), node.rule.name
        frame = frame.f_back
    return tuple(lines), ""
