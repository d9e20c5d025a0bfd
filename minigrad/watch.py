"""Who is told of every operation, forwards and backwards, while it happens.

Nobody usually, which costs one look-up an operation.  `mg.debug`, `mg.explain_zero` and
`mg.check_grads` watch: they see what the engine does, and change no result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_watching: ContextVar[Watch | None] = ContextVar("watching", default=None)
watching = _watching.get


class Watch:
    """Does nothing; a subclass overrides what it wants to know.  An error it raises comes through.

    node: a Tensor, with `rule`, `inputs`, `values` and `options` as they were given.
    """

    def applied(self, node: Any) -> None:
        """A primitive was applied, and this is the new node."""

    def reached(self, node: Any, g: Any) -> None:
        """The walk backwards is at this node, whose complete cotangent is `g`."""

    def pulled(self, node: Any, k: int, g: Any, part: Any) -> None:
        """From `g` the k-th vjp of the node's rule made `part`, for input k; not fitted yet."""

    @contextmanager
    def __call__(self) -> Iterator[Watch]:
        """Watch what this thread does inside of the `with` block; a watch around it rests."""
        token = _watching.set(self)
        try:
            yield self
        finally:
            _watching.reset(token)
