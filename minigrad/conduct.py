"""What a function and its pullback must do beside being right: repeat, and change nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial, wraps
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad import noise
from minigrad.differences import EPS
from minigrad.sketch import arrays
from minigrad.tensor import untraced
from minigrad.transforms import vjp
from minigrad.tree import tree_map
from minigrad.watch import Watch

SAME = 1e-9  # relative: another order of summation is no other answer
_frozen: ContextVar[tuple | None] = ContextVar("frozen", default=None)


# -- noise ----------------------------------------------------------------------------------------
@contextmanager
def frozen_noise(*generators: np.random.Generator) -> Iterator[None]:
    """Inside, `mg.check_grads` lets the function draw the same noise whenever it evaluates it.

        with mg.testing.frozen_noise(rng):
            mg.check_grads(lambda mean: vae.Normal(mean, 1.0).sample(rng=rng), (mean,))

    So a function that draws noise is one function of its arguments.  What the library draws
    (`sample` of a distribution, Dropout) is recorded once and replayed, as by `vae.noise`; for what
    the function draws itself these generators begin anew.  With no generators given, those that
    the function itself refers to (its closure, defaults and globals).
    """
    for g in generators:
        if not isinstance(g, np.random.Generator):
            raise TypeError(f"frozen_noise({g!r:.40}): give the generators that the function draws "
                            "from, as np.random.default_rng makes them, or none")
    token = _frozen.set(generators)
    try:
        yield
    finally:
        _frozen.reset(token)


def frozen(f: Callable) -> Callable:
    """`f`, inside of `frozen_noise` with the same noise in each call."""
    generators = _frozen.get()
    if generators is None:
        return f
    generators = generators or _generators(f)
    states = [g.bit_generator.state for g in generators]

    recorded: noise.Noise | None = None

    def begin_anew() -> None:
        for g, state in zip(generators, states):
            g.bit_generator.state = state

    @wraps(f)
    def same(*args: Any) -> Any:
        nonlocal recorded
        begin_anew()
        if recorded is None:
            with noise.record() as recorded:
                f(*tree_map(untraced, args))
            begin_anew()
        with noise.replay(recorded):
            return f(*args)
    return same


def _generators(f: Callable) -> list[np.random.Generator]:
    try:
        seen = inspect.getclosurevars(f)
    except TypeError:
        return []
    defaults = (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values())
    found = [*seen.nonlocals.values(), *seen.globals.values(), *defaults]
    return [g for g in found if isinstance(g, np.random.Generator)]


# -- faults ---------------------------------------------------------------------------------------
def fault_of(f: Callable, args: tuple, rng: np.random.Generator) -> str | None:
    """What is wrong with the behaviour of `f` and its pullback at `args`, in words; or None."""
    before = tree_map(np.array, args)
    out, pullback = vjp(f, *args)
    if _difference(args, before):
        return "the function modifies an argument in place"
    if fault := _difference(out, f(*args)):
        return (f"two evaluations at the same arguments differ ({fault}); if it draws noise, check "
                "it inside of mg.testing.frozen_noise(rng), with every generator that it draws "
                "from, or pass the noise as an argument")
    w = tree_map(lambda y: rng.standard_normal(np.shape(y)), out)
    given = tree_map(np.array, w)
    first = [np.array(g) for g in arrays(pullback(w))]
    with suppress(ValueError, ArithmeticError):
        f(*tree_map(lambda a: a * 1.001 + 0.001, args))  # what it keeps between calls shows now
    second = arrays(pullback(w))
    if _difference(args, before):
        return "the vjp modifies an argument in place"
    if _difference(w, given):
        return "the vjp modifies the cotangent that it is given"
    if fault := _difference(first, second):
        return ("calling the vjp twice with the same cotangent gives two answers "
                f"({fault}): it draws noise, or changes what it keeps, or another call does")
    for factor in (2.0**-20, 2.0**20):
        scaled = arrays(pullback(tree_map(partial(np.multiply, factor), w)))
        if fault := _difference(first, [g / factor for g in scaled]):
            return f"the vjp is not linear: for a {factor:g} times larger cotangent ({fault})"
    near, pull = vjp(f, *tree_map(lambda a: a * (1 + EPS * rng.integers(-8, 9, a.shape)), args))
    rounding = [_spread(out, near), _spread(first, pull(w))]
    for layout, moved in LAYOUTS.items():
        others, theirs = tree_map(moved, args), tree_map(moved, w)
        again, pull = vjp(f, *others)
        if fault := (_difference(out, again, rounding[0])
                     or _difference(first, pull(theirs), rounding[1])):
            return f"{layout} arrays of the same values give another answer ({fault})"
    return None


def _spread(a: Any, b: Any) -> list[float]:
    """Of each array, how far rounding of the arguments moves its elements; generously."""
    return [64 * float(np.max(np.abs(x - y), initial=0.0)) for x, y in zip(arrays(a), arrays(b))]


LAYOUTS: dict[str, Callable[[ndarray], ndarray]] = {
    "reversed (negative strides)": lambda a: np.flip(np.flip(a).copy()),
    "Fortran-ordered": lambda a: np.asfortranarray(a) if np.ndim(a) else np.array(a),
}


def _difference(a: Any, b: Any, rounding: Iterable[float] = ()) -> str | None:
    """The first place where two containers of arrays differ by more than rounding."""
    for x, y, least in zip_longest(arrays(a), arrays(b), rounding, fillvalue=0.0):
        if x.shape != y.shape:
            return f"shapes {x.shape} and {y.shape}"
        scale = np.max(np.abs(x), initial=0.0, where=np.isfinite(x))
        different = ~np.isclose(x, y, rtol=0, atol=SAME * scale + least, equal_nan=True)
        if np.any(different):
            i = tuple(np.argwhere(different)[0].tolist())
            return f"{x[i]:.12g} and {y[i]:.12g} at {list(i)}"
    return None


class _Widths(Watch):
    """The first operation that makes float64 of nothing but float32."""

    fault: str | None = None

    def applied(self, node: Any) -> None:
        self._see(node, untraced(node.data), node.values, f"{node.rule.name}")

    def pulled(self, node: Any, k: int, g: Any, part: Any) -> None:
        self._see(node, untraced(part), (*node.values, g),
                  f"the vjp of {node.rule.name} by argument {k}")

    def _see(self, node: Any, made: Any, given: tuple, who: str) -> None:
        dtype = np.asarray(made).dtype
        floats = [a.dtype for a in map(untraced, given)
                  if isinstance(a, ndarray) and a.dtype.kind == "f"]
        widest = max(floats, key=lambda d: d.itemsize, default=dtype)
        if self.fault is None and dtype.itemsize > widest.itemsize and node.rule.name != "astype":
            self.fault = f"{who} gives {dtype} where all that it is given is {widest}"


def widening(f: Callable, args: tuple) -> str | None:
    """The operation that turns float32 into float64, in words; or None."""
    with _Widths()() as widths:
        try:
            out, pullback = vjp(f, *tree_map(lambda a: np.asarray(a, np.float32), args))
            pullback(tree_map(lambda y: np.ones(np.shape(y), np.asarray(untraced(y)).dtype), out))
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return None  # what float32 can't hold is for the function to say
    return widths.fault
