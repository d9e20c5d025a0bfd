"""Tables of numbers: a CSV file, or arrays, split in train and test and standardised."""

from __future__ import annotations

import csv
import math
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae.data.dataset import DataError

MISSING = frozenset({"", "na", "<na>", "n/a", "#n/a", "nan", "null", "none", "?"})  # any case
LONGEST = 1 << 22  # characters of a row
LARGEST = float(np.finfo(np.float32).max)
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
CURES = {"line": "columns=[…], the names of the others, leaves it out", "row": "leave it out"}


@dataclass(frozen=True, eq=False)
class Table:
    """A table of numbers in two sets, and what was done to them.

    `names`: of the D columns.  `train`, `test`: float32 (N, D) and (M, D), M = 0 where none was
    held out.  `mean`, `std`: float64 (D,), of the training rows in their own units, by which both
    sets were standardised; 0 and 1 where they were not.  `protocol`: one line on rows, split, seed
    and scale.  Raises `DataError` for shapes that do not fit, and values that are not finite.
    """

    name: str
    names: tuple[str, ...]
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    protocol: str = "no protocol stated"

    def __post_init__(self) -> None:
        d = len(self.names)
        if len(set(self.names)) != d:
            raise DataError(f"{self.name}: two columns have the same name")
        for split in ("train", "test"):
            x = getattr(self, split)
            if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.shape[1:] != (d,):
                found = f"{getattr(x, 'dtype', type(x).__name__)} {np.shape(x)}"
                raise DataError(f"{self.name}: {split} must be a float32 array (N, {d}), not "
                                f"{found}; table_from_arrays converts other arrays")
            if not np.isfinite(x).all():
                raise DataError(f"{self.name}: {split} has values that are NaN or infinite")
        if not self.train.size:
            raise DataError(f"{self.name}: train is empty: shape {self.train.shape}")
        if self.mean.shape != (d,) or self.std.shape != (d,) or not (self.std > 0).all():
            raise DataError(f"{self.name}: mean and std must have shape ({d},), and std be "
                            "positive")

    @property
    def log_scale(self) -> float:
        """Σ log std.  log p(row in its own units) = log p(standardised row) - log_scale, in nats.

        A density is per unit of x: dx' = dx/std in each column.
        """
        return float(np.log(self.std).sum())

    def original(self, x: ArrayLike) -> NDArray[np.float64]:
        """Standardised rows (…, D) in their own units: x·std + mean."""
        return np.asarray(x, np.float64) * self.std + self.mean

    def scaled(self, x: ArrayLike) -> NDArray[np.float32]:
        """Rows (…, D) in their own units as `train` has them: (x - mean)/std."""
        return _scaled(np.asarray(x, np.float64), self.mean, self.std)


def read_table(path: str | os.PathLike, *, columns: Sequence[str] | None = None,
               test: float = 0.1, seed: int = 0, standardise: bool = True, missing: str = "error",
               header: bool = True, delimiter: str = ",", decimal: str = ".",
               encoding: str = "utf-8", max_bytes: int = 1 << 30) -> Table:
    """A CSV file of numbers as a `Table`.

    columns: names of those to take, in this order; None: all.  test: the part of the rows that is
    held out, at least one row, drawn by `seed`; 0 for none.  standardise: by mean and standard
    deviation of the training rows.  missing: "error", or "drop" for leaving out rows in which a
    cell is empty or one of nan, na, <na>, n/a, #n/a, null, none, ?.  header: the first line names
    the columns, else they are x1, x2, ….  max_bytes: of the numbers, 8 each; the file is read as a
    stream.  Empty lines are skipped.

    Raises `DataError` for text, infinity and numbers beyond float32, for rows of unequal length,
    names that are repeated or missing, columns that are constant where they are to be
    standardised, and whatever is not CSV; `OSError` where the file cannot be opened.
    """
    _check(test, missing)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter={delimiter!r}: it is one character, such as ',' or ';'")
    if decimal not in (".", ",") or decimal == delimiter:
        raise ValueError(f"decimal={decimal!r} with delimiter={delimiter!r}: it is '.' or ',', "
                         "and not the delimiter")
    with Path(path).open(newline="", encoding=encoding, errors="surrogateescape") as file:
        reader = _Reader(Path(path), file, delimiter, decimal)
        try:
            rows = reader.read(columns, header, max_bytes)
        except UnicodeError as error:
            raise DataError(f"{path}: not {encoding} text ({error})") from error
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.lines.number}: {error}") from error
    return _table(Path(path).name, rows, missing, test, seed, standardise, place="line")


def table_from_arrays(x: ArrayLike, *, names: Sequence[str] | None = None, name: str = "table",
                      test: float = 0.1, seed: int = 0, standardise: bool = True,
                      missing: str = "error") -> Table:
    """A `Table` from numbers (N, D): an array, rows, or a data frame, whose columns name it.

    Options and errors as for `read_table`; rows are counted from 0.
    """
    _check(test, missing)
    given = getattr(x, "columns", None) if names is None else names
    try:
        x = x.astype(float).filled(np.nan) if isinstance(x, np.ma.MaskedArray) else np.asarray(x)
    except ValueError as error:  # rows of unequal length
        raise DataError(f"{name}: {error}") from error
    if x.ndim != 2 or x.size == 0 or x.dtype.kind not in "fiubOU":
        raise DataError(f"{name}: numbers of shape (rows, columns) are expected, not {x.dtype} "
                        f"{x.shape}" + ("; x[:, None] is one column" if x.ndim == 1 else ""))
    names = tuple(f"x{i + 1}" for i in range(x.shape[1])) if given is None else tuple(
        str(n) for n in given)
    if len(names) != x.shape[1] or len(set(names)) != len(names):
        raise DataError(f"{name}: {len(set(names))} different names for {x.shape[1]} columns")
    rows = _Rows(names)
    if x.dtype.kind in "OU":
        for i, row in enumerate(x):
            values = _numbers(cells := [str(v) for v in row], ".")
            if None in values:
                raise DataError(_no_number(name, "row", i, names, values, cells))
            rows.add(i, values)
        return _table(name, rows, missing, test, seed, standardise, place="row")
    wide = x.astype(np.float64)
    if (bad := np.isinf(wide) | (np.abs(wide) > LARGEST)).any():
        i, j = np.argwhere(bad)[0]
        raise DataError(f"{name}: row {i}, column {names[j]!r}: {wide[i, j]:g} is infinite or "
                        "beyond float32")
    rows.add_all(wide)
    return _table(name, rows, missing, test, seed, standardise, place="row")


# -- reading --------------------------------------------------------------------------------------
class _Lines:
    """The lines of a file; memory is bounded though a line, or a quoted row, has no end."""

    def __init__(self, path: Path, file: TextIO):
        self.path, self.file, self.number, self.held = path, file, 0, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.file.readline(LONGEST + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.held += len(line)
        if self.held > LONGEST:
            raise DataError(f"{self.path}: line {self.number}: a row of more than {LONGEST} "
                            "characters; is it a CSV file?")
        if not line.isascii() and (bad := re.search("[\udc80-\udcff]", line)):
            raise DataError(f"{self.path}: line {self.number}: byte 0x{ord(bad[0]) - 0xdc00:02x} "
                            f"at character {bad.start() + 1} is not {self.file.encoding}; save the "
                            "file as UTF-8, or name its encoding, such as encoding='cp1252'")
        return line.removeprefix("\ufeff") if self.number == 1 else line


class _Rows:
    """The rows without missing values, and of the others how many, and where they are missing."""

    def __init__(self, names: Sequence[str]):
        self.names, self.numbers = tuple(names), array("d")
        self.total, self.dropped, self.first = 0, 0, 0
        self.missing = np.zeros(len(self.names), int)

    def add(self, place: int, values: list[float]) -> None:
        """A row; NaN where nothing is."""
        self.total += 1
        if not math.isnan(sum(values)):
            self.numbers.extend(values)
            return
        self.first = self.first if self.dropped else place
        self.dropped += 1
        self.missing += np.isnan(values)

    def add_all(self, x: NDArray[np.float64]) -> None:
        """All rows at once, numbered from 0."""
        nan = np.isnan(x)
        bad = nan.any(axis=1)
        self.numbers, self.missing = x[~bad], nan.sum(axis=0)
        self.total, self.dropped, self.first = len(x), int(bad.sum()), int(bad.argmax())

    def complete(self, missing: str, name: str, place: str) -> NDArray[np.float64]:
        """The rows (N, D); raises DataError where values are missing and that is an error."""
        if self.dropped and (missing == "error" or self.dropped == self.total):
            columns = ", ".join(f"{n!r} ({k})" for n, k in zip(self.names, self.missing) if k)
            other = {"line": "columns=[…] leaves out columns", "row": "leave out columns"}[place]
            cure = (f"no row is complete: {other}" if self.dropped == self.total else
                    f'missing="drop" leaves out {self.dropped} of {self.total} rows; or {other}')
            raise DataError(f"{name}: {self.missing.sum()} missing values (empty or NaN), in "
                            f"columns {columns}, the first in {place} {self.first}; {cure}")
        return np.reshape(np.asarray(self.numbers), (-1, len(self.names)))


class _Reader:
    """A CSV file that is being read."""

    def __init__(self, path: Path, file: TextIO, delimiter: str, decimal: str):
        self.path, self.delimiter, self.decimal = path, delimiter, decimal
        self.lines = _Lines(path, file)
        self.csv = csv.reader(self.lines, delimiter=delimiter, strict=True, skipinitialspace=True)

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """(number of its first line, cells) of each row."""
        line = 1
        for cells in self.csv:
            if cells:
                yield line, cells
            line, self.lines.held = self.lines.number + 1, 0

    def read(self, columns: Sequence[str] | None, header: bool, max_bytes: int) -> _Rows:
        """All rows of the file."""
        lines = self.cells()
        line, first = next(lines, (0, []))
        if not first:
            raise DataError(f"{self.path}: the file is empty")
        if header:
            self.names = [cell.strip() for cell in first]
            if columns is None and None not in _numbers(self.names, self.decimal):
                raise DataError(
                    f"{self.path}: line {line}, which should name the columns, has numbers only "
                    f"({_quoted(self.names)}): header=False if it is data, columns=[…] if these "
                    "are the names")
        else:
            self.names = [f"x{i + 1}" for i in range(len(first))]
            lines = chain([(line, first)], lines)
        chosen = self._choose(columns)
        rows = _Rows([self.names[i] for i in chosen])
        for line, cells in lines:
            if len(cells) != len(self.names):
                raise DataError(f"{self.path}: line {line} has {len(cells)} cells, the first line "
                                f"{len(self.names)}{self._hint(cells)}")
            values = _numbers(picked := [cells[i] for i in chosen], self.decimal)
            if None in values:
                raise DataError(_no_number(self.path, "line", line, rows.names, values, picked)
                                + self._hint(picked))
            rows.add(line, values)
            if 8 * len(rows.numbers) > max_bytes:
                raise DataError(f"{self.path}: the numbers up to line {line} take more than "
                                f"max_bytes={max_bytes}; take fewer columns, or a larger max_bytes")
        if not rows.total:
            raise DataError(f"{self.path}: the file names columns and has no rows")
        return rows

    def _choose(self, columns: Sequence[str] | None) -> list[int]:
        """Where the columns are."""
        names = self.names
        if isinstance(columns, str) or (columns is not None and not len(columns)):
            raise ValueError(f"columns={columns!r}: give a list of names")
        wanted = names if columns is None else list(columns)
        place, there, asked = {n: i for i, n in enumerate(names)}, Counter(names), Counter(wanted)
        if absent := [n for n in wanted if n not in place]:
            raise DataError(f"{self.path}: no column {_quoted(absent)}; there are {_quoted(names)}"
                            + self._hint(names))
        if "" in asked:
            raise DataError(f"{self.path}: column {names.index('') + 1} has no name (row numbers, "
                            f"as by pandas? to_csv(index=False) writes none); "
                            f"{CURES['line']}")
        if twice := [n for n in wanted if there[n] > 1 or asked[n] > 1]:
            raise DataError(f"{self.path}: {twice[0]!r} names two columns; {CURES['line']}")
        return [place[n] for n in wanted]

    def _hint(self, cells: list[str]) -> str:
        """What may be meant by cells that cannot be read."""
        if len(self.names) == 1:
            for other in [c for c in ";\t|," if c != self.delimiter]:
                if other in self.names[0] + cells[0]:
                    return f"; everything is in one column: is it delimiter={other!r}?"
        if self.delimiter == "," and len(cells) == 2 * len(self.names):
            return ("; twice as many: are these decimal commas? Then save it with semicolons, and "
                    "read it by delimiter=';', decimal=','")
        if self.decimal == "." and any(COMMA_NUMBER.fullmatch(c.strip()) for c in cells):
            return "; are these decimal commas? Then decimal=','"
        return ""


def _numbers(cells: Sequence[str], decimal: str) -> list[float | None]:
    """What the cells say: NaN where nothing, None for what is no number of float32."""
    try:
        values = [float(c) for c in cells]
        within = min(values) >= -LARGEST and max(values) <= LARGEST and not math.isnan(sum(values))
        if decimal == "." and within and "_" not in "".join(cells):
            return values
    except ValueError:
        pass
    return [_number(c.strip(), decimal) for c in cells]


def _number(cell: str, decimal: str) -> float | None:
    if cell.lower() in MISSING:
        return math.nan
    if "_" in cell or (decimal == "," and "." in cell):  # 1_000 is Python's, 1.000 a thousand
        return None
    try:
        value = float(cell.replace(decimal, "."))
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def _no_number(name: object, place: str, at: int, names: Sequence[str],
               values: list[float | None], cells: Sequence[str]) -> str:
    j = values.index(None)
    return (f"{name}: {place} {at}, column {names[j]!r}: {cells[j]!r:.60} is no number that "
            f"float32 holds; {CURES[place]}")


def _quoted(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(f"{n!r:.40}" for n in names[:limit]) + more


# -- split and scale ------------------------------------------------------------------------------
def _check(test: float, missing: str) -> None:
    if not 0 <= test < 1:
        raise ValueError(f"test={test}: it is the part of the rows that is held out, from 0 up to "
                         "1, such as 0.1")
    if missing not in ("error", "drop"):
        raise ValueError(f'missing={missing!r}: it is "error" or "drop"')


def _table(name: str, rows: _Rows, missing: str, test: float, seed: int, standardise: bool,
           *, place: str) -> Table:
    x = rows.complete(missing, name, place)
    held = np.zeros(len(x), bool)
    if test > 0:
        n_test = max(1, round(test * len(x)))
        if n_test >= len(x):
            raise DataError(f"{name}: of {len(x)} rows {n_test} cannot be held out; test=0 holds "
                            "out none")
        held[np.random.default_rng(seed).choice(len(x), n_test, replace=False)] = True
    train, said = x[~held], [f"{len(x)} rows of {x.shape[1]} columns"]
    if rows.dropped:
        said.append(f"{rows.dropped} of {rows.total} rows dropped for missing values")
    said.append(f"{held.sum()} of them, drawn by seed {seed}, held out as the test set"
                if test > 0 else "no test set")
    mean, std = np.zeros(x.shape[1]), np.ones(x.shape[1])
    if standardise:
        mean, std = _moments(name, rows.names, train, CURES[place])
        said.append("standardised by mean and standard deviation of the training rows: a log "
                    f"density in their own units is lower by {np.log(std).sum():.6g} nats")
    else:
        said.append("values as given")
    return Table(name, rows.names, _scaled(train, mean, std), _scaled(x[held], mean, std), mean,
                 std, protocol="; ".join(said))


def _moments(name: str, names: Sequence[str], x: NDArray[np.float64], cure: str
             ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the columns, which must not be constant."""
    low, width = x.min(axis=0), np.ptp(x, axis=0)
    y = (x - low) / np.where(width > 0, width, 1)  # in [0, 1]: no square under- or overflows
    mean, std = low + width * y.mean(axis=0), width * y.std(axis=0)
    if not (std > 0).all():
        constant = _quoted([n for n, s in zip(names, std) if not s > 0])
        raise DataError(f"{name}: {constant} has the same value in all {len(x)} training rows: "
                        f"it has no density, and no scale; {cure}, or standardise=False keeps all "
                        "as they are")
    return mean, std


def _scaled(x: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
            ) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        scaled = ((x - mean) / std).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise DataError("a standardised value is NaN, infinite or beyond float32: so far it is "
                        "from the training rows")
    return scaled
