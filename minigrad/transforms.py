"""Derivatives as functions of functions: vjp, jvp, grad, jacobian, hessian, hvp.

Everything rests on `vjp`, the transposed derivative, which is what the walk backwards computes.
It is linear in its cotangent, so transposing it once more gives the derivative itself, `jvp`: no
rule of forward mode is ever written.

All of them nest, to any order, and take tuples, lists and dictionaries of arrays as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backprop import pull
from minigrad.tensor import Tensor, tick, untraced
from minigrad.tree import flatten, tree_map


def vjp(f: Callable, *args: Any) -> tuple[Any, Callable[[Any], tuple]]:
    """`f(*args)`, and its pullback: cotangent of the result -> tuple of cotangents of `args`.

    The pullback may be called any number of times; the graph lives as long as it does.
    """
    level = tick()  # the newest there is, thus the innermost
    leaves, build = flatten(args)
    inputs = [_leaf(a, level) for a in leaves]
    outs, rebuild = flatten(f(*build(inputs)))
    traced = [type(out) is Tensor and out.level == level for out in outs]
    values = [out.data if ours else out for out, ours in zip(outs, traced)]

    def pullback(cotangent: Any) -> tuple:
        given = flatten(cotangent)[0]
        if [np.shape(g) for g in given] != [np.shape(v) for v in values]:
            raise ValueError("the cotangent must look like the result: shapes "
                             f"{[np.shape(g) for g in given]}, expected "
                             f"{[np.shape(v) for v in values]}")
        pairs = [(out, _like(g, v)) for out, g, v, ours in zip(outs, given, values, traced) if ours]
        found = pull([out for out, _ in pairs], [g for _, g in pairs])
        return build([found[x] if x in found else np.zeros(x.shape, x.dtype) for x in inputs])

    return rebuild(values), pullback


def jvp(f: Callable, args: tuple, tangents: tuple) -> tuple[Any, Any]:
    """`f(*args)` and its directional derivative J·tangents, the vjp of the vjp."""
    _same_shapes("jvp", args, tangents)
    out, pullback = vjp(f, *args)
    somewhere = tree_map(lambda y: np.ones(np.shape(y), np.result_type(_dtype(y), np.float32)), out)
    _, push = vjp(pullback, somewhere)  # linear as it is, it may be transposed anywhere
    return out, push(tangents)[0]


def value_and_grad(f: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """A function giving `f(*args)`, one number, and its gradient by the arguments `argnums`."""
    def value_and_gradient(*args: Any, **options: Any) -> tuple[Any, Any]:
        chosen, of_chosen = _partial(f, argnums, args, options)
        value, pullback = vjp(of_chosen, *chosen)
        if np.shape(value) != ():
            raise ValueError(f"grad needs a function of one number, this one gave shape "
                             f"{np.shape(value)}: reduce it by np.sum or np.mean, or take "
                             "mg.jacobian or mg.vjp")
        gradients = pullback(np.ones((), _dtype(value)))
        return value, gradients[0] if isinstance(argnums, int) else gradients
    return value_and_gradient


def grad(f: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """The gradient of a function that gives one number, by the argument(s) `argnums`."""
    with_value = value_and_grad(f, argnums)
    return lambda *args, **options: with_value(*args, **options)[1]


def jacobian(f: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """J[i…, j…] = ∂f[i…]/∂x[j…], of shape `f(x).shape + x.shape`, one pullback a row."""
    def rows(*args: Any, **options: Any) -> Any:
        chosen, of_chosen = _partial(f, argnums, args, options)
        out, pullback = vjp(of_chosen, *chosen)
        outs, rebuild = flatten(out)
        inputs, build = flatten(chosen if isinstance(argnums, tuple) else chosen[0])
        jacobians = []
        for k, y in enumerate(outs):
            found = []
            for i in range(np.size(y)):
                cotangents = [np.zeros(np.shape(o), _dtype(o)) for o in outs]
                cotangents[k].flat[i] = 1
                found.append(flatten(pullback(rebuild(cotangents)))[0])
            jacobians.append(build([
                np.reshape(np.stack(column), np.shape(y) + np.shape(x)) if column
                else np.zeros(np.shape(y) + np.shape(x), _dtype(x))
                for x, column in zip(inputs, zip(*found) if found else [()] * len(inputs))]))
        return rebuild(jacobians)
    return rows


def hessian(f: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """H[i…, j…] = ∂²f/∂x[i…]∂x[j…] of a function that gives one number."""
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Callable, args: tuple, vectors: tuple) -> tuple:
    """H·vectors for all arguments, without H: the gradient of <gradient, vectors>."""
    _same_shapes("hvp", args, vectors)
    constant = [np.asarray(v) if type(v) is not Tensor else v for v in flatten(vectors)[0]]
    everything = tuple(range(len(args)))

    def along(*args: Any) -> Any:
        gradients = flatten(grad(f, everything)(*args))[0]
        return sum((np.sum(g * v) for g, v in zip(gradients, constant)), start=0.0)
    return grad(along, everything)(*args)


def _leaf(a: Any, level: int) -> Tensor:
    data = a if type(a) is Tensor else np.asarray(a)
    leaf = Tensor(untraced(data))  # refuses what is not floating point
    leaf.data, leaf.level = data, level
    return leaf


def _partial(f: Callable, argnums: int | tuple[int, ...], args: tuple,
             options: dict) -> tuple[tuple, Callable]:
    """The arguments to differentiate by, and `f` as a function of them alone."""
    places = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not all(-len(args) <= i < len(args) for i in places):
        raise IndexError(f"argnums={argnums}, but the function was called with {len(args)} "
                         "positional arguments")

    def of_chosen(*chosen: Any) -> Any:
        full = list(args)
        for i, a in zip(places, chosen):
            full[i] = a
        return f(*full, **options)
    return tuple(args[i] for i in places), of_chosen


def _same_shapes(name: str, args: Any, others: Any) -> None:
    shapes, given = ([np.shape(a) for a in flatten(tree)[0]] for tree in (args, others))
    if shapes != given:
        raise ValueError(f"mg.{name}: the vectors must look like the arguments: shapes {given}, "
                         f"expected {shapes}")


def _dtype(y: Any) -> np.dtype:
    return y.dtype if hasattr(y, "dtype") else np.asarray(y).dtype


def _like(g: Any, value: Any) -> Any:
    g = g if type(g) is Tensor else np.asarray(g)
    return g if g.dtype == value.dtype else g.astype(value.dtype)
