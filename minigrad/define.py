"""How rules are entered into the table: primitives, compositions, and functions without slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.table import RULES
from minigrad.tensor import Primitive, untraced


def rule(function: Callable, *vjps: Any, **about: Any) -> Primitive:
    """Enter into the table how `function`, of NumPy or SciPy, is differentiated."""
    RULES[function] = primitive = Primitive(function, *vjps, **about)
    return primitive


def with_vjp(*vjps: Callable | None, **about: Any) -> Callable[[Callable], Primitive]:
    """Decorator: the function below is a primitive with these vjps."""
    return lambda forward: Primitive(forward, *vjps, **about)


def composed(*functions: Callable) -> Callable[[Callable], Callable]:
    """Decorator: these NumPy functions are computed, for Tensors, by other functions with rules."""
    def enter(composition: Callable) -> Callable:
        for function in functions:
            RULES[function] = composition
        return composition
    return enter


def constant(*functions: Callable) -> None:
    """These functions have no derivative anywhere: their results are ndarrays."""
    for function in functions:
        RULES[function] = lambda *args, _function=function, **options: _function(
            *map(untraced, args), **{k: untraced(v) for k, v in options.items()})
