"""One table of deliberately wrong derivatives, each beside the right one.

`test_planted.py` asks `mg.check_grads` to find every wrong one and to pass every right one;
`tests/benchmarks/checkers.py` asks the same of the checkers of other packages.
"""

# ruff: noqa: I001 (the long import below, a name a line, would hide the table)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special as sc

import minigrad as mg
from minigrad.rules.shaping import scatter
from minigrad.tensor import untraced
from tests.minigrad.planted_parts import (
    CUBE, DEFINITE, IMAGE, KERNEL, KINKED, M, MATRIX, S, SHUFFLED, SQUARE, T, TWICE, UP, V, X,
    Y, accumulating, add_back, arctan2_back, assigned, based, bias_back, blur, but, centred,
    cholesky, cholesky_back, circular, circular_back, circular_taps, conv, conv_back, counted,
    density, drawn, dropout, exp_back, fickle_forward, first_output, first_slope, gather_back,
    half, in_place, last_input, mask, matmul_back, multiply_back, nearly_cos, one_buffer,
    relu_back, shifted_softmax, sin_back, sinc_slope, softmax, softmax_back, stored, symmetric,
    tanh_gelu_slope, unsorted, upwards, without_wrap, wrong_cos, zero,
)


class Planted(NamedTuple):
    """A function, its right vjps, and wrong ones; vjps are called with `(g, out, *args)`.

    wrong: the vjps; or a function that gives `(forward, *vjps)`, where the forward is wrong too, or
    where they remember something, which each check must begin without.
    order: the lowest derivative that is wrong.
    absent: packages in which this error can't be made.
    """

    name: str
    category: str
    forward: Callable
    right: Sequence[Callable]
    wrong: Sequence[Callable] | Callable[[], tuple[Callable, ...]]
    args: tuple[np.ndarray, ...]
    order: int = 1
    absent: tuple[str, ...] = ()

    def primitive(self, wrong: bool) -> mg.primitive:
        if wrong and callable(self.wrong):
            forward, *vjps = self.wrong()
        else:
            forward, vjps = self.forward, self.wrong if wrong else self.right
        return mg.primitive(forward, *vjps, name=self.name)

    def arguments(self) -> tuple[np.ndarray, ...]:
        """Copies, in the same layout: a wrong rule may write into them."""
        return tuple(np.array(a) for a in self.args)


STOP = mg.stop_gradient
JAX = ("jax",)  # its arrays are immutable and of one layout, its callbacks declare their dtypes

PLANTED = [
    # -- signs, factors, per mille
    Planted("sin", "sign", np.sin, [sin_back], [lambda g, y, x: -g * np.cos(x)], (X,)),
    Planted("cos without minus", "sign", np.cos, [lambda g, y, x: -g * np.sin(x)],
            [lambda g, y, x: g * np.sin(x)], (X,)),
    Planted("subtract, second argument", "sign", np.subtract, [add_back, lambda g, z, x, y: -g],
            [add_back, add_back], (X, Y)),
    Planted("reciprocal", "sign", np.reciprocal, [lambda g, y, x: -g * y * y],
            [lambda g, y, x: g * y * y], (X,)),
    Planted("square, half", "factor", np.square, [lambda g, y, x: 2 * g * x],
            [lambda g, y, x: g * x], (X,)),
    Planted("sum of squares, twice", "factor", lambda x: np.sum(x * x),
            [lambda g, y, x: 2 * g * x], [lambda g, y, x: 4 * g * x], (M,)),
    Planted("mean without 1/n", "factor", np.mean,
            [lambda g, y, x: np.broadcast_to(g / x.size, x.shape)],
            [lambda g, y, x: np.broadcast_to(g, x.shape)], (M,)),
    Planted("log2 without log 2", "factor", np.log2, [lambda g, y, x: g / (x * np.log(2).item())],
            [lambda g, y, x: g / x], (UP,)),
    Planted("sin", "per mille", np.sin, [sin_back], [lambda g, y, x: 1.001 * g * np.cos(x)], (X,)),
    Planted("deg2rad by 3.14", "per mille", np.deg2rad, [lambda g, y, x: g * (np.pi / 180)],
            [lambda g, y, x: g * (3.14 / 180)], (X,)),
    Planted("gelu by the slope of tanh's", "per mille", lambda x: x * sc.ndtr(x),
            [lambda g, y, x: g * (sc.ndtr(x) + x * density(x))],
            [lambda g, y, x: g * tanh_gelu_slope(x)], (X,)),
    Planted("matmul, one factor", "per mille", np.matmul, matmul_back,
            [lambda g, z, x, y: g @ y.T, lambda g, z, x, y: 0.999 * (x.T @ g)], (S, T)),
    Planted("one element of 300", "per mille", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) * but(x, 123, 1.001)], (np.linspace(-2, 2, 300),)),

    # -- transposed
    Planted("matmul, first factor", "transposed", np.matmul, matmul_back,
            [lambda g, z, x, y: g @ y, lambda g, z, x, y: x.T @ g], (S, T)),
    Planted("matmul, second factor", "transposed", np.matmul, matmul_back,
            [lambda g, z, x, y: g @ y.T, lambda g, z, x, y: x @ g], (S, T)),
    Planted("constant matrix", "transposed", lambda x: MATRIX.astype(x.dtype) @ x,
            [lambda g, y, x: MATRIX.T.astype(x.dtype) @ g],
            [lambda g, y, x: MATRIX.astype(x.dtype) @ g], (X,)),
    Planted("axes turned on", "transposed", lambda x: np.transpose(x, (2, 0, 1)),
            [lambda g, y, x: np.transpose(g, (1, 2, 0))],
            [lambda g, y, x: np.transpose(g, (2, 0, 1))], (CUBE,)),
    Planted("outer product", "transposed", lambda x, y: x[:, None] * y,
            [lambda g, z, x, y: g @ y, lambda g, z, x, y: x @ g],
            [lambda g, z, x, y: y @ g, lambda g, z, x, y: x @ g], (X, Y)),

    # -- broadcasting that is undone wrongly
    Planted("bias, summed over the other axis", "un-broadcast", np.add, bias_back,
            [add_back, lambda g, y, x, b: np.sum(g, 1)], (S, V)),
    Planted("bias, averaged", "un-broadcast", np.add, bias_back,
            [add_back, lambda g, y, x, b: np.mean(g, 0)], (S, V)),
    Planted("bias, first row", "un-broadcast", np.add, bias_back,
            [add_back, lambda g, y, x, b: g[0]], (S, V)),
    Planted("scalar, one element", "un-broadcast", np.multiply,
            [lambda g, z, x, s: g * s, lambda g, z, x, s: np.sum(g * x)],
            [lambda g, z, x, s: g * s, lambda g, z, x, s: (g * x)[0, 0]], (M, np.array(0.7))),
    Planted("column, summed as a row", "un-broadcast", np.multiply,
            [lambda g, z, x, c: g * c, lambda g, z, x, c: np.sum(g * x, 1, keepdims=True)],
            [lambda g, z, x, c: g * c, lambda g, z, x, c: np.sum(g * x, 0, keepdims=True).T],
            (S, V[:, None])),

    # -- what a vjp remembers, or overwrites
    Planted("slope of the first call", "stale buffer", np.sin, [sin_back], first_slope, (X,)),
    Planted("result of the first call", "stale buffer", np.exp, [exp_back], first_output, (X,)),
    Planted("input of the last call", "stale buffer", np.sin, [sin_back], last_input, (X,)),
    Planted("results in one buffer", "stale buffer", np.exp, [exp_back], one_buffer, (X,),
            absent=JAX),
    Planted("cotangents add up", "stale buffer", np.sin, [sin_back], accumulating, (X,)),
    Planted("cotangent", "overwritten", np.sin, [sin_back],
            [lambda g, y, x: in_place(g, np.cos(x))], (X,), absent=JAX),
    Planted("result", "overwritten", np.exp, [exp_back], [lambda g, y, x: in_place(y, g)], (X,),
            absent=JAX),
    Planted("argument", "overwritten", np.square, [lambda g, y, x: 2 * g * x],
            [lambda g, y, x: in_place(x, 2 * g)], (X,), absent=JAX),
    Planted("argument, by the forward", "overwritten", softmax, [softmax_back],
            lambda: (shifted_softmax, softmax_back), (X,), absent=JAX),
    Planted("argument, by relu", "overwritten", mg.relu, [relu_back],
            lambda: (lambda x: np.maximum(x, 0, out=x), relu_back), (X,),
            absent=JAX),
    Planted("every second call", "random", np.sin, [sin_back],
            lambda: counted(sin_back, lambda n: 1 + n % 2), (X,)),
    Planted("right once", "random", np.sin, [sin_back],
            lambda: counted(sin_back, lambda n: 1 if n == 1 else 1.01), (X,)),
    Planted("noise of 1e-3", "random", np.sin, [sin_back],
            lambda: drawn(lambda rng, x: 1 + 1e-3 * rng.standard_normal(x.shape)), (X,)),
    Planted("dropout, mask drawn anew", "random", lambda x: x * mask(x),
            [lambda g, y, x: g * mask(x)], dropout, (np.linspace(-2, 2, 20),)),
    Planted("noise of 1e-6 in the forward", "random", np.sin, [sin_back], fickle_forward, (X,)),

    # -- somewhere only
    Planted("corner of an image", "one element", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) * but(x, (0, 0, 0, 0), 1.05)], (IMAGE,)),
    Planted("border of an image", "one element", blur,
            [lambda g, y, x: g + np.roll(g, -1, 1) + np.roll(g, -1, 2)],
            [lambda g, y, x: without_wrap(g)], (IMAGE,)),
    Planted("last element", "one element", np.exp, [exp_back],
            [lambda g, y, x: g * y * but(x, -1, 0)], (X,)),
    Planted("diagonal", "one element", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) * but(x, np.eye(4, dtype=bool), 1.01)], (S,)),
    Planted("negative numbers", "some arguments", lambda x: x**3, [lambda g, y, x: 3 * g * x * x],
            [lambda g, y, x: 3 * g * x * np.abs(x)], (X,)),
    Planted("beyond 1", "some arguments", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(np.clip(x, -1, 1))], (X,)),
    Planted("beyond blocks of 64", "some arguments", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) * but(x, slice(len(x) // 64 * 64, None), 0)],
            (np.linspace(-2, 2, 70),)),
    Planted("odd length", "some arguments", lambda x: x * x[::-1],
            [lambda g, y, x: (g + g[::-1]) * x[::-1]],
            [lambda g, y, x: (g + g[::-1] * but(x, len(x) // 2, 0)) * x[::-1]], (X,)),

    # -- the second derivative alone
    Planted("constant slope", "second order", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(STOP(x))], (X,), 2),
    Planted("sign inside", "second order", np.sin, [sin_back],
            [lambda g, y, x: g * wrong_cos(x)], (X,), 2),
    Planted("per mille inside", "second order", np.sin, [sin_back],
            [lambda g, y, x: g * nearly_cos(x)], (X,), 2),
    Planted("product without its cross term", "second order", np.multiply, multiply_back,
            [lambda g, z, x, y: g * STOP(y), lambda g, z, x, y: g * STOP(x)], (X, Y), 2),
    Planted("half of the cross term", "second order", np.multiply, multiply_back,
            [lambda g, z, x, y: g * y, lambda g, z, x, y: g * STOP(x)], (X, Y), 2),
    Planted("exp by a constant result", "second order", np.exp, [exp_back],
            [lambda g, y, x: g * STOP(y)], (X,), 2),
    Planted("tanh, one of two factors", "second order", np.tanh, [lambda g, y, x: g * (1 - y * y)],
            [lambda g, y, x: g * (1 - y * STOP(y))], (X,), 2),
    Planted("constant cotangent", "second order", np.sin, [sin_back],
            [lambda g, y, x: STOP(g) * np.cos(x)], (X,), 2),
    Planted("softmax, constant weights", "second order", softmax, [softmax_back],
            [lambda g, y, x: y * (g - np.sum(g * STOP(y)))], (X,), 2),
    Planted("power, constant exponent", "second order", lambda x, p: x**p,
            [lambda g, z, x, p: g * p * x ** (p - 1), lambda g, z, x, p: g * z * np.log(x)],
            [lambda g, z, x, p: g * p * x ** (STOP(p) - 1), lambda g, z, x, p: g * z * np.log(x)],
            (UP, Y), 2),

    # -- scale
    Planted("1e-8, zero", "scale", lambda x: 1e-8 * np.sin(x),
            [lambda g, y, x: 1e-8 * g * np.cos(x)], [zero], (X,)),
    Planted("1e-12, zero", "scale", lambda x: 1e-12 * np.sin(x),
            [lambda g, y, x: 1e-12 * g * np.cos(x)], [zero], (X,)),
    Planted("1e-12, per mille", "scale", lambda x: 1e-12 * np.sin(x),
            [lambda g, y, x: 1e-12 * g * np.cos(x)], [lambda g, y, x: 1.001e-12 * g * np.cos(x)],
            (X,)),
    Planted("1e12, per mille", "scale", lambda x: 1e12 * np.sin(x),
            [lambda g, y, x: 1e12 * g * np.cos(x)], [lambda g, y, x: 1.001e12 * g * np.cos(x)],
            (X,)),
    Planted("arguments of 1e-6", "scale", lambda x: np.sin(1e6 * x),
            [lambda g, y, x: 1e6 * g * np.cos(1e6 * x)],
            [lambda g, y, x: 1.01e6 * g * np.cos(1e6 * x)], (1e-6 * X,)),
    Planted("arguments of 1e6", "scale", np.log, [lambda g, y, x: g / x], [zero],
            (1e6 * UP,)),
    Planted("1e-9 of a sum", "scale", lambda x, y: x + 1e-9 * y,
            [add_back, lambda g, z, x, y: 1e-9 * g], [add_back, lambda g, z, x, y: 0 * g], (X, Y)),

    # -- float32 that becomes float64; the numbers are right
    Planted("forward, NumPy scalar", "dtype", np.sin, [sin_back],
            lambda: (lambda x: np.sin(x) * np.float64(1), sin_back), (X,), absent=JAX),
    Planted("forward, integer array", "dtype", lambda x: x * np.arange(5, dtype=x.dtype),
            [lambda g, y, x: g * np.arange(5, dtype=x.dtype)],
            lambda: (lambda x: x * np.arange(5), lambda g, y, x: g * np.arange(5, dtype=x.dtype)),
            (X,), absent=JAX),
    Planted("vjp, NumPy scalar", "dtype", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) * np.float64(1)], (X,), absent=JAX),
    Planted("vjp, new array", "dtype", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) * np.ones(x.shape)], (X,), absent=JAX),

    # -- kinks: beyond the slopes on both sides
    Planted("relu, 2 at 0", "kink", mg.relu, [relu_back],
            [lambda g, y, x: g * (x > 0) + 2 * g * (x == 0)], (KINKED,)),
    Planted("relu, -1 at 0", "kink", mg.relu, [relu_back],
            [lambda g, y, x: g * (x > 0) - g * (x == 0)], (KINKED,)),
    Planted("abs, 2 at 0", "kink", np.abs, [lambda g, y, x: g * np.sign(x)],
            [lambda g, y, x: g * np.sign(x) + 2 * g * (x == 0)], (KINKED,)),
    Planted("max, ties counted twice", "kink", np.max,
            [lambda g, y, x: g * (x == y) / np.sum(x == y, dtype=x.dtype)],
            [lambda g, y, x: g * (x == y)], (np.array([0.5, 2.0, -1.0, 2.0]),)),
    Planted("maximum, ties counted twice", "kink", np.maximum,
            [lambda g, z, x, y: g * ((x > y) + 0.5 * (x == y)).astype(g.dtype),
             lambda g, z, x, y: g * ((y > x) + 0.5 * (x == y)).astype(g.dtype)],
            [lambda g, z, x, y: g * (x >= y), lambda g, z, x, y: g * (y >= x)],
            (KINKED, np.array([0.5, 0.0, 0.7, 1.0, 1.0]))),
    Planted("clip, 2 at the upper edge", "kink", lambda x: np.clip(x, -1, 0.7),
            [lambda g, y, x: g * ((x >= -1) & (x <= 0.7))],
            [lambda g, y, x: g * ((x >= -1) & (x <= 0.7)) + g * (x == 0.7)], (KINKED,)),

    # -- an index that names an element twice
    Planted("gather, assigned", "repeated index", lambda x: x[TWICE], gather_back,
            [assigned], (X,)),
    Planted("rows of a table, assigned", "repeated index", lambda x: x[TWICE], gather_back,
            [assigned], (S,)),
    Planted("gather, averaged", "repeated index", lambda x: x[TWICE], gather_back,
            [lambda g, y, x: scatter(g, TWICE, x.shape) * but(x, 2, 0.5)], (X,)),
    Planted("repeat, first copies", "repeated index", lambda x: np.repeat(x, 2),
            [lambda g, y, x: np.sum(np.reshape(g, (-1, 2)), 1)], [lambda g, y, x: g[::2]], (X,)),

    # -- arrays that do not lie in memory as usual
    Planted("ravel in memory order", "layout", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(stored(x))], (M,), absent=JAX),
    Planted("ravel of the cotangent", "layout", np.sin, [sin_back],
            [lambda g, y, x: stored(g) * np.cos(x)], (M,), absent=JAX),
    Planted(".base", "layout", np.sin, [sin_back], [lambda g, y, x: g * np.cos(based(x))], (M,),
            absent=JAX),
    Planted("negative strides", "layout", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(upwards(x))], (M,), absent=("jax", "torch")),
    Planted("Fortran argument", "layout", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(stored(x))], (np.asfortranarray(M),), absent=JAX),

    # -- arguments and terms
    Planted("third of three", "argument", lambda x, y, z: x * y + z,
            [lambda g, u, x, y, z: g * y, lambda g, u, x, y, z: g * x, lambda g, u, x, y, z: g],
            [lambda g, u, x, y, z: g * y, lambda g, u, x, y, z: g * x, lambda g, u, x, y, z: 0 * g],
            (X, Y, UP)),
    Planted("bias forgotten", "argument", lambda x, w, b: x @ w + b,
            [lambda g, y, x, w, b: g @ w.T, lambda g, y, x, w, b: x.T @ g,
             lambda g, y, x, w, b: np.sum(g, 0)],
            [lambda g, y, x, w, b: g @ w.T, lambda g, y, x, w, b: x.T @ g,
             lambda g, y, x, w, b: 0 * b], (S, T, V)),
    Planted("multiply, swapped", "argument", np.multiply, multiply_back,
            [lambda g, z, x, y: g * x, lambda g, z, x, y: g * y], (X, Y)),
    Planted("arctan2, swapped", "argument", np.arctan2, arctan2_back, arctan2_back[::-1],
            (X, Y)),
    Planted("concatenate, swapped", "argument", lambda x, y: np.concatenate([x, y]),
            [lambda g, z, x, y: g[:5], lambda g, z, x, y: g[5:]],
            [lambda g, z, x, y: g[5:], lambda g, z, x, y: g[:5]], (X, Y)),
    Planted("x sin x", "missing term", lambda x: x * np.sin(x),
            [lambda g, y, x: g * (np.sin(x) + x * np.cos(x))],
            [lambda g, y, x: g * np.sin(x)], (X,)),
    Planted("silu", "missing term", mg.silu,
            [lambda g, y, x: g * (mg.sigmoid(x) + y * (1 - mg.sigmoid(x)))],
            [lambda g, y, x: g * mg.sigmoid(x)], (X,)),
    Planted("quotient", "missing term", lambda x: np.sin(x) / x,
            [lambda g, y, x: g * (np.cos(x) - y) / x], [lambda g, y, x: g * np.cos(x) / x], (X,)),
    Planted("exponent without log", "missing term", np.power,
            [lambda g, z, x, p: g * p * x ** (p - 1), lambda g, z, x, p: g * z * np.log(x)],
            [lambda g, z, x, p: g * p * x ** (p - 1), lambda g, z, x, p: g * z], (UP, Y)),

    # -- order and shape
    Planted("sort, unmoved", "permuted", np.sort, [unsorted], [lambda g, y, x: g], (SHUFFLED,)),
    Planted("sort, moved on", "permuted", np.sort, [unsorted],
            [lambda g, y, x: g[np.argsort(untraced(x))]], (SHUFFLED,)),
    Planted("reshape, Fortran order", "permuted", lambda x: np.reshape(x, (5, 4)),
            [lambda g, y, x: np.reshape(g, (4, 5))],
            [lambda g, y, x: np.reshape(g.T, (5, 4)).T], (M,)),
    Planted("roll, the same way", "permuted", lambda x: np.roll(x, 1),
            [lambda g, y, x: np.roll(g, -1)], [lambda g, y, x: np.roll(g, 1)], (X,)),
    Planted("flip, not at all", "permuted", np.flip, [lambda g, y, x: np.flip(g)],
            [lambda g, y, x: g], (X,)),

    # -- reductions
    Planted("sum, other axis", "reduction", lambda x: np.sum(x, 1),
            [lambda g, y, x: np.broadcast_to(g[:, None], x.shape)],
            [lambda g, y, x: np.broadcast_to(g[None], x.shape)], (S,)),
    Planted("mean, other length", "reduction", lambda x: np.mean(x, 1),
            [lambda g, y, x: np.broadcast_to(g[:, None] / 5, x.shape)],
            [lambda g, y, x: np.broadcast_to(g[:, None] / 4, x.shape)], (M,)),
    Planted("max, keepdims transposed", "reduction", lambda x: np.max(x, 1, keepdims=True),
            [lambda g, y, x: g * (x == y)], [lambda g, y, x: g.T * (x == y)], (S,)),
    Planted("var, other ddof", "reduction", lambda x: np.var(x, ddof=1),
            [lambda g, y, x: g * centred(x) / 2], [lambda g, y, x: 2 * g * centred(x) / 5], (X,)),
    Planted("var, not centred", "reduction", np.var, [lambda g, y, x: 2 * g * centred(x) / 5],
            [lambda g, y, x: 2 * g * x / 5], (X,)),
    Planted("cumsum, forwards", "reduction", np.cumsum,
            [lambda g, y, x: np.flip(np.cumsum(np.flip(g)))], [lambda g, y, x: np.cumsum(g)], (X,)),
    Planted("prod, not divided", "reduction", np.prod, [lambda g, y, x: g * y / x],
            [lambda g, y, x: np.broadcast_to(g * y, x.shape)], (X,)),

    # -- convolutions
    Planted("kernel not flipped, image", "convolution", circular,
            [circular_back, circular_taps],
            [lambda g, y, x, w: circular(g, w), circular_taps], (X, V[:3])),
    Planted("kernel flipped, taps", "convolution", circular,
            [circular_back, circular_taps],
            [circular_back, lambda *a: circular_taps(*a)[::-1]], (X, V[:3])),
    Planted("conv2d, kernel flipped", "convolution", conv, [conv_back],
            [lambda g, y, x: conv_back(g, y, x, KERNEL[::-1, ::-1])], (IMAGE,)),
    Planted("conv2d, channels swapped", "convolution", conv, [conv_back],
            [lambda g, y, x: conv_back(g, y, x, KERNEL.swapaxes(2, 3))], (IMAGE,)),

    # -- softmax and its kin
    Planted("softmax, twice", "softmax", softmax, [softmax_back],
            [lambda g, y, x: 2 * softmax_back(g, y, x)], (X,)),
    Planted("softmax, diagonal only", "softmax", softmax, [softmax_back],
            [lambda g, y, x: g * y * (1 - y)], (X,)),
    Planted("log_softmax, uniform share", "softmax", mg.log_softmax,
            [lambda g, y, x: g - np.exp(y) * np.sum(g)], [lambda g, y, x: g - np.mean(g)], (X,)),
    Planted("logsumexp, unweighted", "softmax", lambda x: np.log(np.sum(np.exp(x))),
            [lambda g, y, x: g * np.exp(x - y)], [lambda g, y, x: g * np.exp(x)], (X,)),

    # -- linear algebra
    Planted("inv, not transposed", "linear algebra", np.linalg.inv,
            [lambda g, y, a: -y.T @ g @ y.T], [lambda g, y, a: -y @ g @ y], (DEFINITE + S,)),
    Planted("det, not transposed", "linear algebra", np.linalg.det,
            [lambda g, y, a: g * y * np.linalg.inv(a).T],
            [lambda g, y, a: g * y * np.linalg.inv(a)], (DEFINITE + S,)),
    Planted("solve, not transposed", "linear algebra",
            lambda b: np.linalg.solve(SQUARE.astype(b.dtype), b),
            [lambda g, y, b: np.linalg.solve(SQUARE.T.astype(b.dtype), g)],
            [lambda g, y, b: np.linalg.solve(SQUARE.astype(b.dtype), g)], (S,)),
    Planted("cholesky, diagonal not halved", "linear algebra", cholesky,
            [lambda g, y, a: symmetric(cholesky_back(g, y, half))],
            [lambda g, y, a: symmetric(cholesky_back(g, y, np.tril))], (DEFINITE,)),
    Planted("cholesky, not symmetric", "linear algebra", cholesky,
            [lambda g, y, a: symmetric(cholesky_back(g, y, half))],
            [lambda g, y, a: cholesky_back(g, y, half)], (DEFINITE,)),

    # -- not linear in the cotangent
    Planted("absolute value of g", "not linear", np.sin, [sin_back],
            [lambda g, y, x: np.abs(g) * np.cos(x)], (M,)),
    Planted("square of g", "not linear", np.sin, [sin_back],
            [lambda g, y, x: g * g * np.cos(x)], (M,)),
    Planted("g clipped to 1", "not linear", np.sin, [sin_back],
            [lambda g, y, x: np.clip(g, -1, 1) * np.cos(x)], (M,)),
    Planted("something added", "not linear", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) + 1e-3], (M,)),

    # -- steps, and numbers that are none
    Planted("floor, small", "step", np.floor, [zero], [lambda g, y, x: 1e-3 * g],
            (X,)),
    Planted("rint, straight through", "step", np.rint, [zero],
            [lambda g, y, x: g], (X,)),
    Planted("sign, straight through", "step", np.sign, [zero],
            [lambda g, y, x: g * (np.abs(x) <= 1)], (X,)),
    Planted("all", "NaN", np.sin, [sin_back], [lambda g, y, x: g * np.nan], (X,)),
    Planted("one element", "NaN", np.sin, [sin_back],
            [lambda g, y, x: g * np.cos(x) * but(x, 2, np.nan)], (X,)),
    Planted("sinc at 0", "NaN", np.sinc, [lambda g, y, x: mg.vjp(np.sinc, x)[1](g)[0]],
            [lambda g, y, x: g * sinc_slope(x)], (np.array([-0.6, 0.0, 0.9]),)),
]
