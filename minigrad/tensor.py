"""The graph: what a Tensor is, and how applying a primitive to one is recorded.

Three ideas carry the file.

*A Tensor is something being differentiated, an ndarray is a constant.*  A primitive that is given
no Tensor computes, and records nothing.

*NumPy is the language.*  `np.exp(t)`, `t @ w`, `scipy.special.erf(t)` arrive here through NumPy's
own protocols, which look the function up in `RULES`, the table that `minigrad.rules` fills.

*A level is one differentiation.*  Every call of a transform (`grad`, `vjp`, …) makes leaves of a
level of its own, numbered in order of creation.  Where Tensors of several levels meet, the newest
one, which is the innermost differentiation, takes its own Tensors apart and sees all the others as
constants; its `data` are then Tensors of an outer level, and whatever a rule computes from them is
recorded there.  So derivatives of any order come from the same rules, and a variable of an outer
derivative can't be confused with one of an inner.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from itertools import count
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.methods import Arraylike
from minigrad.table import Every, NoRule, lookup, parameters_of
from minigrad.watch import watching

PLAIN = 0  # the level of Tensors that users make: older than every transform's
tick = count(1).__next__  # numbers Tensors, and levels, by age
_new = object.__new__


class Tensor(Arraylike):
    """An array through which derivatives flow.

    `Tensor(array)` is a leaf: floating point, not copied.  Every NumPy function applied to it gives
    another Tensor, which remembers its inputs; nothing points from an input to its results, so
    that a graph that is no longer needed goes with its last reference.

    Attributes:
        data: the value, an ndarray (inside nested differentiation the Tensor one level out).
        grad: after `backward`, an ndarray of the same shape and dtype; None before.
    """

    __slots__ = ("__weakref__", "data", "grad", "inputs", "level", "options", "order", "rule",
                 "values")

    def __init__(self, data: Any):
        if isinstance(data, Tensor):
            raise TypeError("Tensor(Tensor): it is one already; for a new leaf with the same value "
                            "write Tensor(mg.stop_gradient(t))")
        data = np.asarray(data)
        if data.dtype.kind != "f":
            raise TypeError(
                f"Tensor of dtype {data.dtype}: derivatives need floating point; convert with "
                ".astype(np.float32 or np.float64), or leave it an ndarray: ndarrays are constants")
        self.data, self.grad, self.level, self.order = data, None, PLAIN, tick()
        self.rule = self.inputs = self.values = self.options = None

    def backward(self, seed: Any = None, *, keep: Iterable[Tensor] = (),
                 retain: bool = False) -> None:
        """Add the gradient of this Tensor to `.grad` of every leaf; see `backprop.backward`."""
        from minigrad.backprop import backward  # below this file: it walks what is defined here
        backward(self, seed, keep=keep, retain=retain)

    # -- NumPy's protocols ------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise NoRule(f"np.{ufunc.__name__}.{method} has no derivative rule; use the function "
                         "that says the same (np.sum for np.add.reduce, np.cumsum, np.prod, …)")
        if options.pop("out", None) is not None:
            raise TypeError(f"np.{ufunc.__name__}(..., out=): Tensors are immutable; leave out=")
        return lookup(ufunc)(*inputs, **options)

    def __array_function__(self, function: Callable, types: Any, args: Any, options: Any) -> Any:
        return lookup(function)(*args, **options)

    def __array__(self, *args: Any, **options: Any) -> ndarray:
        raise TypeError("a Tensor does not turn into an ndarray by itself, since its gradient "
                        "would be lost: use mg.stop_gradient(t) for its value, or a function of "
                        "NumPy or minigrad (scipy.special.polygamma, logsumexp and softmax are no "
                        "ufuncs: use mg.polygamma, mg.logsumexp, mg.softmax)")

    def __repr__(self) -> str:
        if type(self.data) is Tensor:
            return f"Tensor({self.data!r})"
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        return f"Tensor({text}, dtype={self.dtype})"

    def __reduce__(self) -> tuple:
        if self.rule is not None or self.level != PLAIN:
            raise TypeError("only leaves are copied and pickled; a result of operations is t.data")
        return Tensor, (self.data,)


class Primitive:
    """A function with a derivative rule: one vector-Jacobian product per array argument.

    `vjp(g, out, *args, **options)` gives, for the cotangent `g` of the result `out`, the cotangent
    of its argument.  It need neither undo broadcasting nor mind the dtype: the engine does, once.
    A rule is written in NumPy, and is handed ndarrays unless its result is to be differentiated
    again: then it is handed Tensors, and the same line is recorded.

    Where a vjp is None the derivative is not defined; `vjps` may also be an `Every`.

    elementwise: the result has one element for each of the arguments', broadcast.
    selects: elements of the arguments may be left out of the result, as by `where`: then what was
    computed only for those has a cotangent of 0, and keeps it, though its slope be infinite.
    """

    def __init__(self, forward: Callable, *vjps: Callable | None, name: str | None = None,
                 elementwise: bool = False, selects: bool = False):
        if not vjps:
            raise TypeError("a primitive needs a vjp for each array argument: "
                            "primitive(forward, vjp_of_the_first, vjp_of_the_second, …)")
        update_wrapper(self, forward, updated=())  # its documentation and signature
        self.forward = forward
        self.name = name or forward.__name__
        self.weak = elementwise or isinstance(forward, np.ufunc)  # constants don't widen the dtype
        self.elementwise = elementwise or getattr(forward, "signature", "") is None  # no np.matmul
        self.selects = selects
        if isinstance(vjps[0], Every):
            self.vjps, self.arity, self.parameters = vjps[0], sys.maxsize, None
        else:
            self.vjps, self.arity = vjps, len(vjps)
            self.parameters, self.positional = parameters_of(next(filter(None, vjps), None))

    def __call__(self, *args: Any, **options: Any) -> Any:
        if options:
            args, options = self._bind(args, options)
        level, nested, constants, values = -1, False, False, []
        for a in args:
            if type(a) is Tensor:
                if level != a.level:
                    nested = level >= 0
                    level = a.level
                a = a.data
                if type(a) is Tensor:
                    nested = True
            elif type(a) is not float:  # a Python number leaves the dtype alone
                constants = True
            values.append(a)
            if nested:
                return self._record_nested(args, options)
        if level < 0:
            return self.forward(*args, **options)
        if constants and self.weak:
            values = _weakly_typed(args, values)
        if len(args) > self.arity:
            self._check_rest(args)
        try:
            out = self.forward(*values, **options)
        except ValueError as error:
            raise self._described(error, values) from error
        return _node(self, out, level, args, values, options)

    def _record_nested(self, args: tuple, options: dict) -> Tensor:
        """Tensors of several levels: the newest is differentiated here, the others by recursion."""
        level = max(a.level for a in args if type(a) is Tensor)
        values = [a.data if type(a) is Tensor and a.level == level else
                  np.asarray(a) if self.weak and type(a) in (list, tuple) else a
                  for a in args]
        return _node(self, self(*values, **options), level, args, values, options)

    def _bind(self, args: tuple, options: dict) -> tuple[tuple, dict]:
        """Put Tensors that are given by name in their place; refuse options without a rule."""
        if self.parameters is None:
            return args, options
        if unknown := [k for k in options if k not in self.parameters]:
            if not any(type(a) is Tensor for a in (*args, *options.values())):
                return args, options  # nothing is recorded: all that `forward` takes is welcome
            raise NoRule(f"{self.name}({', '.join(f'{k}=' for k in unknown)}) has no derivative "
                         f"rule; it has one for ({', '.join(self.parameters)})")
        if any(type(v) is Tensor for v in options.values()):
            options = dict(options)
            for name in self.parameters[len(args):]:
                if name not in options:
                    break
                args += (options.pop(name),)
            self._check_rest((*args[:self.arity], *options.values()))
        return args, options

    def _check_rest(self, args: tuple) -> None:
        if any(type(a) is Tensor for a in args[self.arity:]):
            raise NoRule(f"{self.name} has no derivative with respect to this argument: only its "
                         f"first {self.arity} may be Tensors; mg.stop_gradient(t) is a constant")
        if self.parameters and len(args) > self.positional:
            raise NoRule(f"{self.name} with {len(args)} arguments by position has no derivative "
                         f"rule; it has one for ({', '.join(self.parameters[:self.positional])})")

    def _described(self, error: ValueError, values: Sequence) -> ValueError:
        given = ", ".join(f"{v.shape} {v.dtype}" if isinstance(v, ndarray) else repr(v)
                          for v in values)
        return ValueError(f"{self.name}({given}): {error}")

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def untraced(x: Any) -> Any:
    """The ndarray at the bottom of a Tensor; lists and tuples of them too."""
    while type(x) is Tensor:
        x = x.data
    return type(x)(map(untraced, x)) if type(x) in (list, tuple) else x


def _node(rule: Primitive, out: Any, level: int, args: tuple, values: list,
          options: dict) -> Tensor:
    if type(out) is not ndarray and type(out) is not Tensor:
        out = np.asarray(out)  # a ufunc of 0-d arrays gives a scalar
    t = _new(Tensor)  # not Tensor(out): this line is met at every operation
    t.data, t.grad, t.level, t.order = out, None, level, tick()
    t.rule, t.inputs, t.values, t.options = rule, args, values, options
    if watch := watching():
        watch.applied(t)
    return t


def _weakly_typed(args: tuple, values: list) -> list:
    """Constants that are NumPy scalars, 0-d or integer arrays don't widen the Tensors' dtype.

    In NumPy 2 `float32_array * np.float64(2)` is float64, and so is one times an int64 array: one
    such constant would silently double the cost of everything after it.
    """
    dtype = next(a.dtype for a in args if type(a) is Tensor)
    for i, a in enumerate(args):
        if isinstance(a, np.generic) or (type(a) is ndarray and a.ndim == 0):
            values[i] = a.item()
        elif type(a) is ndarray and a.dtype.kind in "iu":
            values[i] = a.astype(dtype)
        elif type(a) in (list, tuple):
            values[i] = np.asarray(a, dtype)
    return values
