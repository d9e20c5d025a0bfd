"""An entropy coder in whole numbers: asymmetric numeral systems.

J. Duda, "Asymmetric numeral systems" (2014), the range variant, with words of 16 bits.  A state x
takes a symbol of frequency f of 2¹⁶, which begins at c among them, in and out by

    x -> 2¹⁶ ⌊x/f⌋ + c + x mod f,        x -> f ⌊x/2¹⁶⌋ + x mod 2¹⁶ - c

and grows by log₂ 2¹⁶/f bits, of which whole words go to the stream.  What went in last comes out
first, so that symbols are written from the last to the first.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np
from numpy import ndarray

WORD = 16
TOTAL = 1 << WORD
MASK = TOTAL - 1
LEAST = 1 << 2 * WORD  # the state is from here to 2¹⁶ times it
STATE = 6  # bytes of such a state


class Damaged(ValueError):
    """Bytes that are no codes, or not all of them, or other ones."""


def pack(symbols: ndarray, frequencies: list[ndarray]) -> bytes:
    """Symbols (n, d), those of column j from 0 to len(frequencies[j]) - 1, as bytes.

    frequencies: for each column whole numbers of 1 or more which add up to 2¹⁶.
    """
    tables = [list(zip(f.tolist(), accumulate(f.tolist(), initial=0))) for f in frequencies]
    state, words = LEAST, []
    for row in reversed(symbols.tolist()):
        for symbol, table in zip(reversed(row), reversed(tables)):
            f, begins = table[symbol]
            if state >= f << 2 * WORD:
                words.append(state & MASK)
                state >>= WORD
            state = (state // f << WORD) + begins + state % f
    return state.to_bytes(STATE, "little") + np.array(words[::-1], "<u2").tobytes()


def unpack(data: bytes, n: int, frequencies: list[ndarray]) -> ndarray:
    """The symbols (n, d), int64, of which `pack` with the same frequencies has made these bytes.

    Raises ValueError for bytes that end early or late, which other frequencies may be the reason
    of, too; that bytes were changed it notices almost surely, and a checksum does better.
    """
    if len(data) < STATE or len(data) % 2:
        raise Damaged(f"{len(data)} bytes: a state of {STATE} and words of 2 are expected")
    begins = [list(accumulate(f.tolist(), initial=0)) for f in frequencies]
    words = iter(np.frombuffer(data, "<u2", offset=STATE).tolist())
    state = int.from_bytes(data[:STATE], "little")
    found = []
    for _ in range(n):
        row = []
        for begin in begins:
            slot = state & MASK
            symbol = bisect_right(begin, slot) - 1
            state = (begin[symbol + 1] - begin[symbol]) * (state >> WORD) + slot - begin[symbol]
            if state < LEAST:
                word = next(words, None)
                if word is None:
                    raise Damaged(f"the codes end within image {len(found) + 1} of {n}: truncated")
                state = state << WORD | word
            row.append(symbol)
        found.append(row)
    if state != LEAST or next(words, None) is not None:
        raise Damaged(f"{n} images do not use up the codes: they are of others, or were changed")
    return np.array(found, np.int64).reshape(n, len(frequencies))
