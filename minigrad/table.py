"""The rule table: which function stands for which, when Tensors are among the arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count

RULES: dict[Callable, Callable] = {}
"""NumPy (or SciPy) function -> the primitive, or composition of primitives, that stands for it."""


class NoRule(TypeError):
    """A function, or an option of it, whose derivative nobody has written down."""


class Every:
    """The rules of a primitive of any number of arrays: `vjp(k, g, out, *arrays, **options)`."""

    def __init__(self, vjp: Callable):
        self.vjp = vjp

    def __iter__(self) -> Iterator[Callable]:
        for k in count():
            yield lambda *args, k=k, **options: self.vjp(k, *args, **options)


def lookup(function: Callable) -> Callable:
    """The rule of `function`; those of SciPy are loaded when the first of its ufuncs is met."""
    if function not in RULES and "scipy.special" in sys.modules:
        import minigrad.rules.special  # noqa: F401
    if function not in RULES:
        name = f"{getattr(function, '__module__', None) or 'numpy'}.{function.__name__}"
        raise NoRule(f"{name} has no derivative rule; write it with functions that have one, or "
                     f"add it: mg.rule({name}, lambda g, out, *args: …), see docs/engine.md; "
                     "for the value alone pass mg.stop_gradient(t)")
    return RULES[function]


def parameters_of(vjp: Callable | None) -> tuple[tuple[str, ...] | None, int]:
    """What a vjp takes after `g` and `out`, by name and how many by position: what may be given."""
    code = getattr(vjp, "__code__", None)
    if code is None or code.co_flags & 0x0C:  # *args, **options: it takes all
        return None, 0
    names = code.co_varnames[2:code.co_argcount + code.co_kwonlyargcount]
    return names, code.co_argcount - 2
