"""Tuples, lists and dictionaries of arrays, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def flatten(tree: Any) -> tuple[list, Callable[[list], Any]]:
    """The leaves of nested tuples, lists and dicts, and how to build the same shape from others."""
    leaves: list = []
    build = _describe(tree, leaves)
    return leaves, lambda others: build(iter(others))


def _describe(node: Any, leaves: list) -> Callable[[Iterator], Any]:
    """Append the leaves below `node`; the result takes as many from an iterator, to build anew."""
    if isinstance(node, dict):
        parts = {key: _describe(child, leaves) for key, child in node.items()}
        return lambda rest: {key: part(rest) for key, part in parts.items()}
    if isinstance(node, (tuple, list)):
        items = [_describe(child, leaves) for child in node]
        make = type(node)._make if hasattr(node, "_make") else type(node)  # named tuples too
        return lambda rest: make([item(rest) for item in items])
    leaves.append(node)
    return next


def tree_map(f: Callable, tree: Any, *others: Any) -> Any:
    """`f` of each leaf of `tree`, and of those at the same place in `others`."""
    leaves, build = flatten(tree)
    return build([f(*matching) for matching in zip(leaves, *(flatten(o)[0] for o in others),
                                                   strict=True)])


def paths(tree: Any) -> list[str]:
    """Where each leaf is: "[0]['w']"; "" for a tree that is a leaf."""
    if isinstance(tree, dict):
        return [f"[{key!r}]{rest}" for key, child in tree.items() for rest in paths(child)]
    if isinstance(tree, (tuple, list)):
        return [f"[{i}]{rest}" for i, child in enumerate(tree) for rest in paths(child)]
    return [""]
