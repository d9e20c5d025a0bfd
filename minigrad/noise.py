"""Noise as an input: what is drawn can be recorded, and drawn again.

    with noise.record() as eps:
        z = q.sample(rng=rng)
    with noise.replay(eps):
        again = other.sample(rng=rng)  # the same noise, another q

Within `replay` sampling code is a function of its parameters alone; code of your own draws by
`normal`, `uniform` and `exponential` of this module instead of the generator's methods.  A draw
whose noise has a law with parameters of its own (a gamma variate) is moved along its quantiles to
those asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy import ndarray

from minigrad import archive
from minigrad.marks import mark

if TYPE_CHECKING:
    from numpy.random import Generator

Parameters = tuple[ndarray, ...]


class Draw(NamedTuple):
    """kind: what was asked of the generator.  parameters: of its law, where it has any."""

    kind: str
    value: ndarray
    parameters: Parameters = ()


class Noise:
    """What was drawn, in the order in which it was; `noise[3:]` is what came after three draws."""

    def __init__(self, draws: list[Draw] | None = None):
        self.draws = [] if draws is None else draws

    def __len__(self) -> int:
        return len(self.draws)

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws)

    def __getitem__(self, some: slice | int) -> Noise | Draw:
        found = self.draws[some]
        return Noise(found) if isinstance(found, list) else found

    def __repr__(self) -> str:
        return "Noise(" + ", ".join(f"{d.kind} {d.value.shape}" for d in self.draws) + ")"

    def save(self, file: Any) -> None:
        """Write the draws as an npz: to a path, replaced whole or not, or to an open file."""
        archive.write(file, self._arrays())

    @classmethod
    def load(cls, file: Any) -> Noise:
        """What `save` has written. Raises `ArchiveError`, a ValueError, for anything else."""
        arrays = archive.read(file)
        kinds = {}
        for key in arrays:  # such as 0.normal.0
            i, _, rest = key.partition(".")
            kinds[i] = rest.rpartition(".")[0]
        draws = []
        for i in range(len(kinds)):
            parts, kind = [], kinds.get(str(i), "")
            while kind and (key := f"{i}.{kind}.{len(parts)}") in arrays:
                parts.append(arrays[key])
            if parts:
                draws.append(Draw(kind, parts[0], tuple(parts[1:])))
        found = cls(draws)
        if odd := arrays.keys() ^ found._arrays().keys():
            raise archive.ArchiveError(f"{file}: noise is expected, draws 0.kind.0, 1.kind.0, …; "
                                       f"found: {min(odd)!r:.60} is missing or out of place")
        return found

    def _arrays(self) -> dict[str, ndarray]:
        """Number of the draw, kind, number of the part -> the value and the parameters."""
        return {f"{i}.{d.kind}.{k}": a for i, d in enumerate(self.draws)
                for k, a in enumerate((d.value, *d.parameters))}


class _Recording:
    def __init__(self, noise: Noise, source: Any):
        self.noise, self.source = noise, source

    def take(self, kind: str, shape: tuple[int, ...], dtype: Any, draw: Callable,
             parameters: Parameters, transport: Callable | None) -> ndarray:
        value = (self.source.take(kind, shape, dtype, draw, parameters, transport)
                 if self.source else draw())
        self.noise.draws.append(Draw(kind, np.array(value),
                                     tuple(np.array(p) for p in parameters)))
        return value


class _Replaying:
    def __init__(self, noise: Noise):
        self.noise, self.used = noise, 0

    def take(self, kind: str, shape: tuple[int, ...], dtype: Any, draw: Callable,
             parameters: Parameters, transport: Callable | None) -> ndarray:
        n = self.used
        if n == len(self.noise):
            raise ValueError(f"replay: all {n} draws are used, and {kind} {shape} is asked for; "
                             "record the noise of code that draws as much")
        found = self.noise.draws[n]
        if (found.kind, found.value.shape) != (kind, shape):
            raise ValueError(f"replay: draw {n} was {found.kind} {found.value.shape}, and "
                             f"{kind} {shape} is asked for; noise can be shared by code that draws "
                             "the same shapes in the same order")
        self.used += 1
        value = found.value
        if transport is not None and not all(map(np.array_equal, found.parameters, parameters)):
            value = transport(value, found.parameters, parameters)
        value = np.array(value, dtype)
        if kind == "uniform" and found.value.dtype != dtype:  # 1 - 1e-9 is 1 in float32
            np.minimum(value, 1 - np.finfo(dtype).epsneg, out=value)
        return value


_tape: ContextVar[_Recording | _Replaying | None] = ContextVar("tape", default=None)


@contextmanager
def record() -> Iterator[Noise]:
    """Inside, every draw is noted as well; no value changes.  Gives the `Noise`."""
    noise = Noise()
    token = _tape.set(_Recording(noise, _tape.get()))
    try:
        yield noise
    finally:
        _tape.reset(token)


@contextmanager
def replay(noise: Noise) -> Iterator[None]:
    """Inside, the draws are those of `noise`, from its first on; generators are left alone.

    Raises ValueError where another kind or shape is drawn than was recorded, or more, or, at the
    end, less.
    """
    if not isinstance(noise, Noise):
        raise TypeError(f"replay({noise!r:.40}): give what `with record() as eps` gave")
    tape = _Replaying(noise)
    token = _tape.set(tape)
    try:
        yield
    finally:
        _tape.reset(token)
    if tape.used < len(noise):
        raise ValueError(f"replay: {tape.used} of {len(noise)} draws are used; if that is meant, "
                         f"replay(noise[:{tape.used}])")


def drawn(kind: str, shape: tuple[int, ...], dtype: Any, draw: Callable[[], Any],
          parameters: Parameters = (),
          transport: Callable[[ndarray, Parameters, Parameters], Any] | None = None) -> ndarray:
    """The value of `draw()`, or what is replayed for it; `sample` of every distribution is here.

    parameters: of the law that the value is drawn from, arrays that broadcast to its shape.
    transport(value, old, new): the value at the same quantile of the law with other parameters.
    Without it a value is replayed as it is.
    """
    tape = _tape.get()
    value = draw() if tape is None else tape.take(kind, shape, dtype, draw, parameters, transport)
    return mark(value, "noise")


def normal(rng: Generator, shape: tuple[int, ...], dtype: Any) -> ndarray:
    """Draws of N(0, 1)."""
    return drawn("normal", shape, dtype, lambda: rng.standard_normal(shape, dtype))


def uniform(rng: Generator, shape: tuple[int, ...], dtype: Any) -> ndarray:
    """Draws that are uniform on [0, 1)."""
    return drawn("uniform", shape, dtype, lambda: rng.random(shape, dtype))


def exponential(rng: Generator, shape: tuple[int, ...], dtype: Any) -> ndarray:
    """Draws of the exponential distribution with mean 1."""
    return drawn("exponential", shape, dtype, lambda: rng.standard_exponential(shape, dtype))
