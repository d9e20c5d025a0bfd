"""What the rows of `planted.py` are made of: arguments, and rules that take more than a line."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad.rules.shaping import scatter
from minigrad.tensor import untraced

# -- arguments: some negative, some beyond 1; away from 0 and from each other, unless a row says so
RNG = np.random.default_rng(11)
X = np.array([-1.3, -0.6, 0.4, 0.9, 1.7])
Y = np.array([0.7, 1.6, -0.8, 1.2, -0.4])
UP = np.array([0.5, 0.8, 1.1, 1.4, 1.9])
SHUFFLED = np.array([0.4, -1.3, 1.7, -0.6, 0.9])
S, T = RNG.standard_normal((2, 4, 4))
M, V = RNG.standard_normal((4, 5)), np.array([0.5, -1.2, 0.8, 1.6])
CUBE, IMAGE = RNG.standard_normal((3, 3, 3)), RNG.standard_normal((1, 5, 5, 2))
SQUARE = RNG.standard_normal((4, 4)) + 3 * np.eye(4)
DEFINITE = S @ S.T + 4 * np.eye(4)
KERNEL = RNG.standard_normal((3, 3, 2, 2))
MATRIX = RNG.standard_normal((5, 5))
KINKED = np.array([-1.0, 0.0, 0.7, 0.0, 2.0])
TWICE = np.array([0, 2, 2, 1])  # an index that names an element again


# -- what several rows share ----------------------------------------------------------------------
def sin_back(g, y, x):
    return g * np.cos(x)


def exp_back(g, y, x):
    return g * y


def add_back(g, y, x, b):
    return g


def relu_back(g, y, x):
    return g * (x > 0)


def zero(g, y, x):
    return 0 * g


def unsorted(g, y, x):
    return g[np.argsort(np.argsort(untraced(x)))]


def assigned(g, y, x):
    return mg.index_put(np.zeros(x.shape, x.dtype), TWICE, g)


multiply_back = [lambda g, z, x, y: g * y, lambda g, z, x, y: g * x]
matmul_back = [lambda g, z, x, y: g @ y.T, lambda g, z, x, y: x.T @ g]
bias_back = [add_back, lambda g, y, x, b: np.sum(g, 0)]
arctan2_back = [lambda g, z, y, x: g * x / (x * x + y * y),
                lambda g, z, y, x: -g * y / (x * x + y * y)]
gather_back = [lambda g, y, x: scatter(g, TWICE, x.shape)]
wrong_cos = mg.primitive(np.cos, lambda g, y, x: g * np.sin(x), name="wrong_cos")
nearly_cos = mg.primitive(np.cos, lambda g, y, x: -1.001 * g * np.sin(x), name="nearly_cos")
stored = mg.primitive(  # the identity, if the array is contiguous
    lambda x: np.ravel(x, order="K").reshape(x.shape), lambda g, y, x: g, name="stored")
based = mg.primitive(
    lambda x: x.base.reshape(x.shape) if getattr(x.base, "size", None) == x.size else x,
    lambda g, y, x: g, name="based")
upwards = mg.primitive(  # reads from the lowest address on
    lambda x: np.flip(x, [i for i in range(x.ndim) if x.strides[i] < 0]),
    lambda g, y, x: g, name="upwards")


def but(x, index, factor):
    """Ones like `x`, with `factor` at `index`."""
    ones = np.ones(x.shape, x.dtype)
    ones[index] = factor
    return ones


def in_place(a, b):
    """`a *= b`; Tensors, which are immutable, are multiplied as usual."""
    if type(a) is type(b) is np.ndarray:
        a *= b
        return a
    return a * b


def counted(back, factor):
    """`sin` with a vjp that knows how often it was called: times `factor(1)`, `factor(2)`, …"""
    calls = iter(range(1, 10**9))
    return np.sin, lambda g, y, x: back(g, y, x) * factor(next(calls))


def drawn(draw):
    """`sin` with a vjp that multiplies by something random."""
    rng = np.random.default_rng(3)
    return np.sin, lambda g, y, x: g * np.cos(x) * draw(rng, x).astype(x.dtype)


def first_slope():
    cache = {}
    return np.sin, lambda g, y, x: g * cache.setdefault("slope", np.cos(untraced(x)))


def first_output():
    cache = {}
    return np.exp, lambda g, y, x: g * cache.setdefault("out", untraced(y))


def last_input():
    """What a layer does that keeps its input as an attribute."""
    layer = {}

    def forward(x):
        layer["x"] = np.array(x)
        return np.sin(x)
    return forward, lambda g, y, x: g * np.cos(layer["x"])


def one_buffer():
    """The result is written where the earlier one still lies."""
    buffer = {}
    return (lambda x: np.exp(x, out=buffer.setdefault((x.shape, x.dtype), np.empty_like(x))),
            exp_back)


def accumulating():
    total = {"g": 0}

    def back(g, y, x):
        found = g + total["g"]
        total["g"] = untraced(found)
        return found * np.cos(x)
    return np.sin, back


def fickle_forward():
    rng = np.random.default_rng(4)
    return lambda x: np.sin(x) * (1 + 1e-6 * rng.random()), sin_back


def dropout():
    """The mask of the way forward is fixed, that of the way back is drawn."""
    rng = np.random.default_rng(5)
    return lambda x: x * mask(x), lambda g, y, x: g * (rng.random(x.shape) < 0.5).astype(x.dtype)


def mask(x):
    return (np.arange(x.size) % 2).astype(x.dtype)


def shifted_softmax(x):
    x -= np.max(x)
    return np.exp(x) / np.sum(np.exp(x))


def softmax(x):
    return np.exp(x) / np.sum(np.exp(x))


def softmax_back(g, y, x):
    return y * (g - np.sum(g * y))


def blur(x):
    return x + np.roll(x, 1, 1) + np.roll(x, 1, 2)


def without_wrap(g):
    return g + np.pad(g, [(0, 0), (0, 1), (0, 0), (0, 0)])[:, 1:] + np.roll(g, -1, 2)


def circular(x, w):
    """A convolution of period len(x): Σₖ wₖ x[i - k]."""
    return w[0] * x + w[1] * np.roll(x, 1) + w[2] * np.roll(x, 2)


def circular_back(g, y, x, w):
    return w[0] * g + w[1] * np.roll(g, -1) + w[2] * np.roll(g, -2)


def circular_taps(g, y, x, w):
    return np.stack([np.sum(g * np.roll(x, k)) for k in range(3)])


def conv(x):
    return mg.conv2d(x, KERNEL.astype(x.dtype))


def conv_back(g, y, x, kernel=KERNEL):
    return mg.conv_transpose2d(g, kernel.astype(g.dtype))


def half(x):
    return np.tril(x) - 0.5 * x * np.eye(len(x), dtype=x.dtype)


def cholesky(a):
    return np.linalg.cholesky((a + a.T) / 2)


def cholesky_back(g, low, phi):
    """L⁻ᵀ φ(Lᵀg) L⁻¹, not yet symmetric."""
    inverse = np.linalg.inv(low)
    return inverse.T @ phi(low.T @ g) @ inverse


def symmetric(x):
    return (x + x.T) / 2


def centred(x):
    return x - np.mean(x)


def density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi).item()


def tanh_gelu_slope(x):
    """The slope of the usual approximation of gelu by a tanh."""
    c, k = np.sqrt(2 / np.pi).item(), 0.044715
    t = np.tanh(c * (x + k * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * k * x * x)


def sinc_slope(x):
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.cos(np.pi * x) - np.sinc(x)) / x
