"""Is a derivative right?  Reverse and forward mode, against each other and finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad import blame, conduct
from minigrad.differences import EPS, STEPS, Slope, at_least_usual, by_complex_step, nearby, slope
from minigrad.sketch import Sketch, arrays
from minigrad.transforms import jvp, vjp
from minigrad.tree import flatten, paths, tree_map

OUTSIDE = (ValueError, ArithmeticError, RuntimeError, AssertionError, np.linalg.LinAlgError)
CLEAR = 1e-4  # relative error above which a finite difference can't tell right from wrong


class GradientError(AssertionError):
    """A derivative that disagrees with its finite difference; the text says where, by how much."""


class Undecided(GradientError):
    """Neither right nor wrong: the finite difference is too inaccurate to tell."""


@dataclass
class Report:
    """What `check_grads` compared, and what it came across; as text a line for each."""

    name: str
    order: int
    entries: int = 0  # of directional derivatives that were compared
    accuracy: float = 0.0  # a relative error larger than this would have been found in any of them
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def __str__(self) -> str:
        compared = (f"{self.entries} derivatives up to order {self.order} are right to a relative "
                    f"{self.accuracy:.1e}") if self.entries else "there was nothing to compare"
        return "\n".join([f"{self.name}: {compared}", *self.notes])


@dataclass
class Options:
    """Those of `check_grads`."""

    order: int
    full: bool
    rtol: float
    directions: int
    method: str
    rng: np.random.Generator


def check_grads(f: Callable, args: tuple, order: int = 2, *, full: bool = False,
                rtol: float = 1e-6, directions: int = 2, method: str = "auto",
                keeps_dtype: bool = True, rng: np.random.Generator | None = None) -> Report:
    """Raise `GradientError` unless the derivatives of `f` at `args` are right, up to `order`.

    For each argument, along random directions v, forward mode jvp(v) must agree with the finite
    difference D of f along v, entry by entry, and reverse mode ⟨vjp(w), v⟩ with ⟨w, D⟩ for a random
    cotangent w.  Order 2 asks the same of the function vjp(w).  Also: f must answer the same twice,
    and so must its pullback; neither may change what it is given; how an array lies in memory must
    not matter; and no operation may turn float32 into float64, unless `keeps_dtype` is False.

    f: arrays, or containers of them, to arrays.  args: a tuple.  Derivatives are in float64.
    full: along every coordinate, for every entry of the result: the whole Jacobian.
    rtol: allowed relative error of each entry, beside that of the finite difference, which is
    estimated.  Nothing is absolute: a derivative of 1e-8 counts as one of 1 does.
    method: "difference" (central, Richardson), "complex" (the complex step, for analytic functions
    that take complex arrays), or "auto": the first, and the second where that is inaccurate.

    At a kink the derivative must lie between those from the left and from the right, or among
    those near by, and the report says so.  Where f jumps there is none to compare with.
    Raises Undecided where no finite difference is good to 1e-4.
    """
    if method not in ("auto", "difference", "complex"):
        raise ValueError(f'check_grads(method={method!r}): "auto", "difference" or "complex"')
    if method == "complex" and order > 1:
        raise ValueError('check_grads(method="complex") is for order=1: gradients are computed of '
                         "real arrays, and can't be evaluated at complex ones")
    if order < 1 or directions < 1 or not 0 <= rtol < 1:
        raise ValueError(f"check_grads(order={order}, directions={directions}, rtol={rtol}): at "
                         "least order 1, one direction, and an rtol from 0 to 1")
    if not isinstance(args, tuple):
        raise TypeError(f"check_grads(f, args): args is a tuple of arguments, such as (x,), and "
                        f"not {type(args).__name__}")
    names = blame.arguments(f, args)
    for name, a in zip(names, flatten(args)[0]):
        if np.asarray(a).dtype.kind != "f":
            raise TypeError(f"check_grads: {name} is {np.asarray(a).dtype}, and no floating-point "
                            f"number or array: bind it, as in lambda x: f(x, {name})")
    rng = np.random.default_rng(0) if rng is None else rng
    report = Report(blame.name_of(f), order)
    if any(np.asarray(a).dtype == np.float32 for a in flatten(args)[0]):
        report.note("the arguments were float32, and were checked as float64")
    exact = tree_map(lambda a: np.array(a, np.float64), args)
    f = conduct.frozen(f)
    with np.errstate(all="ignore"):  # what matters is in the verdict
        if fault := conduct.fault_of(f, exact, rng):
            raise GradientError(f"{report.name}: {fault}")
        options = Options(order, full, rtol, directions, method, rng)
        Derivative(f, exact, 1, report, options, names).check()
        _check_beside(f, exact, report, options, names)
        fault = conduct.widening(f, exact) if keeps_dtype else None
    if fault:
        raise GradientError(f"{report.name}: {fault}; convert constants to the dtype of the "
                            "arguments, or pass keeps_dtype=False")
    return report


def _check_beside(f: Callable, args: tuple, report: Report, options: Options,
                  names: list[str]) -> None:
    """First derivatives a little off: no kink hides them, and nothing kept from before helps."""
    beside = tree_map(lambda a: a + 1e-3 * _size(a) * options.rng.standard_normal(a.shape), args)
    once = replace(options, order=1, directions=1, full=False)
    other = Report(f"{report.name}, at arguments 0.1 % beside those given", 1)
    try:
        Derivative(f, beside, 1, other, once, names).check()
    except OUTSIDE as error:
        if isinstance(error, GradientError) and not isinstance(error, Undecided):
            raise
        report.note("nothing could be compared at arguments 0.1 % beside those given")
    report.entries += other.entries


class Derivative:
    """One order of derivative: `f` is the function itself, or a gradient of it."""

    def __init__(self, f: Callable, args: tuple, level: int, report: Report, options: Options,
                 names: list[str], results: list[str] | None = None, magnitude: float = 0.0):
        self.f, self.args, self.level, self.report, self.options = f, args, level, report, options
        self.names = names  # of the arguments
        self.leaves, self.build = flatten(args)
        self.out, self.pullback = vjp(f, *args)
        outs = arrays(self.out)
        self.numbers = Sketch(outs, results or [f"result{path}" for path in paths(self.out)],
                              options.rng, exact=options.full)
        self.start = self.numbers.of(outs)
        self.magnitude = magnitude  # the largest result of the function itself
        self.seen: dict[tuple[int, str], ndarray] = {}
        self.refusal = ""  # what the function said at arguments near by
        if not np.all(np.isfinite(self.start)):
            what = f"derivative {level - 1}" if level > 1 else "the result"
            raise Undecided(f"{report.name}: {what} at these arguments is infinite or no number, "
                            "so that its derivative can't be compared: move the arguments")

    def check(self) -> None:
        """All arguments in all directions, then the next order."""
        if self.options.full:
            self.jacobian = self._jacobian()
        kinks = [self._argument(k, leaf) for k, leaf in enumerate(self.leaves) if leaf.size]
        if any(kinks) and len(kinks) > 1 and self.level == 1:
            self._together()
        self._write_notes()
        if self.level < self.options.order:
            w = self.cotangent(self.options.rng.standard_normal(self.start.size))
            Derivative(lambda *xs: vjp(self.f, *xs)[1](w), self.args, self.level + 1, self.report,
                       self.options, self.names, [f"∂/∂{name}" for name in self.names],
                       self.magnitude).check()

    def _together(self) -> None:
        """All arguments moved alike: each alone leaves a tie between two of them."""
        size = max(map(_size, self.leaves))

        def moved(by: Any) -> Any:
            return self.f(*self.build([leaf + size * by for leaf in self.leaves]))
        Derivative(moved, (np.zeros(()),), self.level, self.report,
                   replace(self.options, order=self.level),
                   ["all arguments together"], self.numbers.names).check()

    def _argument(self, k: int, leaf: ndarray) -> bool:
        """All directions in one argument; whether there was a kink."""
        directions, kinks = list(self._directions(leaf)), False
        for v in directions:
            try:
                met = self._along(k, v)
            except GradientError as error:  # a step for the large elements is none for the small
                own = np.where(leaf == 0, _size(leaf), abs(leaf))
                if not isinstance(error, Undecided) and np.max(own) < 1e4 * np.min(own):
                    raise
                decade = np.floor(np.log10(own) / 2)
                alone = [self._random(leaf, own * (decade == d)) for d in np.unique(decade)]
                met = max([self._along(k, u) for u in alone])
            if met and not kinks:
                kinks = True  # a bracket is wide: more directions, two with all signs alike
                directions += [np.abs(v), np.full(leaf.shape, _size(leaf)),
                               *(self._random(leaf, _size(leaf)) for _ in range(4))]
        return kinks

    def _directions(self, leaf: ndarray) -> Iterator[ndarray]:
        if not self.options.full:
            for _ in range(self.options.directions):
                yield self._random(leaf, _size(leaf))
            return
        for i in range(leaf.size):
            v = np.zeros(leaf.shape)
            v.flat[i] = _size(leaf)
            yield v

    def _random(self, leaf: ndarray, size: Any) -> ndarray:
        return np.asarray(self.options.rng.standard_normal(leaf.shape) * size)

    # -- one direction ----------------------------------------------------------------------------
    def _along(self, k: int, v: ndarray) -> bool:
        """Compare the derivatives by argument `k` along `v`; whether there was a kink."""
        d = self.slope(k, v)
        if (forward := self._forward(k, v)) is not None:
            d = self._compare("forward mode", k, v, forward, d)
        if self.options.full:
            d = self._compare("reverse mode", k, v, self.jacobian[k] @ v.ravel(), d)
        w = np.where(d.kink | d.jump, 0, self.options.rng.standard_normal(d.value.shape))
        self._compare_reverse(k, v, w, d)
        return bool(np.any(d.kink))

    def slope(self, k: int, v: ndarray) -> Slope:
        """The finite difference of all results, flat, along `v` in argument `k`."""
        f, size = self.line(k, v), _size(self.leaves[k])
        if self.options.method == "complex":
            return by_complex_step(f)
        steps = STEPS if size >= 1 else (*STEPS, STEPS[0] / size)
        d = slope(f, self.options.rtol, steps, self.numbers.parts)
        vague = ~d.kink & ~d.jump & (8 * d.error > CLEAR * np.abs(d.value))
        if self.options.method == "auto" and np.any(vague):
            d = _sharpened(d, vague, f)
        return d

    def line(self, k: int, v: ndarray) -> Callable[[Any], ndarray]:
        def at(t: Any) -> ndarray:
            moved = list(self.leaves)
            moved[k] = moved[k] + t * v
            try:
                results = arrays(self.f(*self.build(moved)))
            except OUTSIDE as error:
                if np.all(t == 0):
                    raise
                self.refusal = str(error)
                return np.full(self.start.shape, np.nan)  # outside of its domain
            y = self.numbers.of(results)
            if self.level == 1 and np.isfinite(top := np.max(np.abs(y), initial=0.0)):
                self.magnitude = max(self.magnitude, top)
            return y
        return at

    def _forward(self, k: int, v: ndarray) -> ndarray | None:
        tangents = [np.zeros(a.shape) for a in self.leaves]
        tangents[k] = v
        try:
            pushed = jvp(self.f, self.args, self.build(tangents))[1]
        except TypeError as error:  # a rule that takes no Tensors
            if self.level < self.options.order:
                raise TypeError(
                    f"a vjp of {self.report.name} can't be differentiated, as order "
                    f"{self.options.order} asks: write it with functions that have rules, "
                    "np.where or mg.index_put instead of item assignment, or check with order=1 "
                    f"({error})") from error
            self.report.note("only reverse mode was checked: the vjp can't be differentiated")
            self.report.entries += 1
            return None
        return self.numbers.of(arrays(pushed))

    def _jacobian(self) -> list[ndarray]:
        """Of each argument, (entries of the result, entries of the argument), in reverse mode."""
        rows = [self.pulled(row) for row in np.eye(self.start.size)]
        return [np.reshape([row[k].ravel() for row in rows], (len(rows), leaf.size))
                for k, leaf in enumerate(self.leaves)]

    def pulled(self, flat: ndarray) -> list[ndarray]:
        """The gradient by each argument, for a cotangent of the numbers of the result."""
        return arrays(self.pullback(self.cotangent(flat)))

    def cotangent(self, flat: ndarray) -> Any:
        """The same cotangent, in the shape of the result."""
        return flatten(self.out)[1](self.numbers.cotangents(flat))

    # -- verdicts ---------------------------------------------------------------------------------
    def _compare(self, mode: str, k: int, v: ndarray, found: ndarray, d: Slope) -> Slope:
        """Entry by entry of the result; what is known of D now, kinks around among it."""
        rtol = self.options.rtol
        scale, error = np.maximum(abs(d.value), abs(found)), 8 * d.error
        allowed = rtol * scale + error
        least = self._rounding()
        noise = np.minimum(error, 1e-8 * self.magnitude) + least
        nothing = (abs(found) <= noise) & (abs(d.value) <= noise)
        d = d._replace(jump=d.jump & ~nothing)
        off = abs(found - d.value)
        excess = off / allowed
        nothing |= (off > allowed) & (off <= allowed + 32 * least)  # neither right nor wrong
        right = (off <= allowed) | nothing
        slack = rtol * scale + 8 * d.spread
        inside = ((found >= np.minimum(d.left, d.right) - slack)
                  & (found <= np.maximum(d.left, d.right) + slack))
        if np.any((d.kink & ~inside) | ~(right | d.kink | d.jump)):
            low, high = nearby(self._shifted(k, v, 1e-5), 1e-7)
            wide = np.subtract(*nearby(self._shifted(k, v, 1e-3), 1e-5)[::-1])
            inside |= (found >= low - CLEAR * scale) & (found <= high + CLEAR * scale)
            # A kink may be smooth along v alone; slopes near by differ then, however near.
            around = (high - low > 100 * CLEAR * scale) & (high - low > 0.3 * wide)
            d = d._replace(kink=d.kink | (~right & inside & around))
        judged = ~d.kink & ~d.jump
        clear = nothing | (allowed <= CLEAR * at_least_usual(scale, self.numbers.parts))
        if self.level > 1:  # of a saturated function: right as far as can be seen
            clear |= right & (scale <= 1e-8 * self.magnitude)
        wrong = (judged & ~right & clear) | (d.kink & ~inside)
        wrong |= ~np.isfinite(found) & np.isfinite(d.error)
        if np.any(wrong):
            worst = _largest(excess, wrong)
            raise GradientError(blame.wrong(self, mode, k, v, worst, found, allowed, d))
        if np.any(vague := judged & ~clear):
            worst = _largest(allowed / np.where(scale > 0, scale, 1), vague)
            raise Undecided(blame.vague(self, mode, k, worst, found, d))
        self._see(k, d, nothing & judged & (scale > 0))
        self.report.entries += int(np.sum(judged))
        if np.any(sharp := judged & ~nothing):
            self.report.accuracy = max(self.report.accuracy, np.max(allowed[sharp] / scale[sharp]))
        return d

    def _rounding(self) -> Any:
        """What the rounding of values does to derivatives, such as tanh's where it is nearly 1."""
        if self.level > 1:
            return 64 * EPS * self.magnitude
        largest = np.abs(self.start)
        for part in self.numbers.parts:
            largest[part] = np.maximum(4 * largest[part], np.max(largest[part], initial=0.0))
        return EPS * largest

    def _compare_reverse(self, k: int, v: ndarray, w: ndarray, d: Slope) -> None:
        """One number, for a random cotangent that passes over the entries at kinks and jumps."""
        on = w != 0
        terms = w[on] * d.value[on]
        found = float(np.sum(self.pulled(w)[k] * v))
        expected, error = float(np.sum(terms)), 8 * float(np.linalg.norm(w[on] * d.error[on]))
        error += 32 * float(np.linalg.norm((w * self._rounding())[on]))
        allowed = self.options.rtol * max(float(np.linalg.norm(terms)), abs(found)) + error
        if not abs(found - expected) <= allowed:
            raise GradientError(blame.wrong_sum(self, k, v, w, found, expected, allowed, d))

    def _see(self, k: int, d: Slope, nothing: ndarray) -> None:
        for which, what in ((d.kink, "at a kink, or closer to one than the step: between the "
                                     "derivatives from the left and the right, or near by"),
                            (d.jump, "at a jump, where there is nothing to compare with"),
                            (nothing, "too small to be judged beside the rounding of f")):
            if np.any(which):
                self.seen[k, what] = self.seen.get((k, what), False) | which

    def _write_notes(self) -> None:
        for (k, what), which in self.seen.items():
            first = self.numbers.name(int(np.argmax(which)))
            self.report.note(f"derivative {self.level} by {self.names[k]}: {int(np.sum(which))} of "
                             f"{which.size} entries, the first {first}, {what}")

    def _shifted(self, k: int, v: ndarray,
                 by: float) -> Callable[[], Callable[[float], ndarray]]:
        """The line along `v` through other points, a little off."""
        leaf = self.leaves[k]

        def draw() -> Callable[[float], ndarray]:
            at = self.line(k, np.ones(leaf.shape))
            shift = by * self._random(leaf, _size(leaf))
            return lambda t: at(shift + t * v)
        return draw


def _sharpened(d: Slope, vague: ndarray, f: Callable) -> Slope:
    """The complex step in place of inaccurate differences, where the two agree."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            c = by_complex_step(f)
    except Exception:  # whatever a function does that is not made for complex numbers
        return d
    usable = (8 * d.error < 0.5 * np.abs(d.value)) | (c.value == 0)  # else all would agree
    better = vague & usable & (abs(c.value - d.value) <= 8 * d.error) & (c.error < d.error)
    return Slope(*(np.where(better, new, old) for old, new in zip(d, c)))


def _size(leaf: ndarray) -> float:
    """The typical magnitude of the elements; 1 where all are 0."""
    return (float(np.sqrt(np.mean(np.square(leaf)))) if leaf.size else 0.0) or 1.0


def _largest(x: ndarray, among: ndarray) -> int:
    return int(np.argmax(np.where(among, np.nan_to_num(x, nan=np.inf), -1)))
