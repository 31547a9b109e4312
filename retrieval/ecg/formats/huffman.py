"""SCP-ECG's sample coding (EN 1064 / ISO 11073-91064, sections 2, 5 and 6): Huffman codes and differences."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import RecordError

DEFAULT_TABLE = 19999
"""Number that stands for the standard's own table, where a file would otherwise say how many tables it brings."""
_MAX_PREFIX = 16  # bits; the standard's table needs 10
_MAX_TABLES, _MAX_CODES = 16, 512


@dataclass(frozen=True, slots=True)
class Code:
    """One line of a table.

    Attributes:
        bits: Prefix, as it is read from the first bit on: "1101".
        more: Bits of a plain signed number that follows instead of `value`; 0: none.
        value: What it stands for, or the number of the table that is switched to.
        switches: Whether it switches tables.
    """

    bits: str
    more: int
    value: int
    switches: bool = False


Table = tuple[Code, ...]


def standard_table() -> Table:
    """The standard's own table: 0 is one bit, +-1 to +-8 take 3 to 10, what is larger follows in 8 or 16 bits.

    >>> [code.bits for code in standard_table()[:5]]
    ['0', '100', '101', '1100', '1101']
    """
    codes = [Code("0", 0, 0)]
    for size in range(1, 9):
        codes += [Code("1" * size + "0" + sign, 0, value) for sign, value in (("0", size), ("1", -size))]
    return (*codes, Code("1111111110", 8, 0), Code("1111111111", 16, 0))


def own_tables(body: bytes, where: str) -> tuple[Table, ...]:
    """Tables of a file's section 2.

    Args:
        body: The section behind its head.
        where: File name for messages.

    Returns:
        The tables in their order.

    Raises:
        RecordError: They are cut off, too many, or no prefix codes.
    """
    try:
        (count,) = struct.unpack_from("<H", body, 0)
        if count == DEFAULT_TABLE:
            return (standard_table(),)
        if not 1 <= count <= _MAX_TABLES:
            raise RecordError(f"{where}: section 2 names {count} Huffman tables (expected 1 to {_MAX_TABLES})")
        at, tables = 2, []
        for _ in range(count):
            (size,) = struct.unpack_from("<H", body, at)
            at += 2
            if not 1 <= size <= _MAX_CODES:
                raise RecordError(f"{where}: a Huffman table has {size} codes (expected 1 to {_MAX_CODES})")
            codes = []
            for _ in range(size):
                prefix, total, mode, value, code = struct.unpack_from("<BBBhI", body, at)
                at += 9
                if not 1 <= prefix <= min(_MAX_PREFIX, total) or total - prefix > 24:
                    raise RecordError(f"{where}: a Huffman code has {prefix} of {total} bits")
                # The file gives the first bit of a code in the lowest place.
                bits = "".join("1" if code >> k & 1 else "0" for k in range(prefix))
                codes.append(Code(bits, total - prefix, value, switches=mode == 0))
            tables.append(tuple(codes))
        return tuple(tables)
    except struct.error:
        raise RecordError(f"{where}: section 2 (Huffman tables) is cut off") from None


def huffman(data: bytes, n_samples: int, tables: tuple[Table, ...], where: str) -> NDArray[np.int64]:
    """Decode one lead.

    Args:
        data: Its bytes, first bit first.
        n_samples: How many numbers to take.
        tables: The first is in force at the beginning.
        where: For messages.

    Returns:
        Shape (n,), n at most `n_samples`; fewer where the bytes end before.

    Raises:
        RecordError: Bits that are no code.
    """
    lookups = [_lookup(table) for table in tables]
    lookup, deepest = lookups[0]
    out: list[int] = []
    window, held, at, size = 0, 0, 0, len(data)
    while len(out) < n_samples:
        while held < deepest + 24 and at < size:
            window = (window << 8) | data[at]
            held += 8
            at += 1
        if held == 0:
            break
        # At the end of the bytes a shorter code may be all that is left: it is found behind zeros.
        peek = window >> (held - deepest) if held >= deepest else window << (deepest - held)
        code = lookup[peek]
        if code is None:
            raise RecordError(f"{where}: bits that no Huffman code begins with after {len(out)} samples")
        held -= len(code.bits) + code.more
        if held < 0:
            break
        extra = (window >> held) & ((1 << code.more) - 1)
        window &= (1 << held) - 1
        if code.switches:
            if not 1 <= code.value <= len(tables):
                raise RecordError(f"{where}: switches to Huffman table {code.value} (there are {len(tables)})")
            lookup, deepest = lookups[code.value - 1]
        elif code.more:
            out.append(extra - (1 << code.more) if extra >> (code.more - 1) else extra)
        else:
            out.append(code.value)
    return np.array(out, dtype=np.int64)


def integrate(values: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Undo differences: the first `order` numbers are plain, each later one is the difference of that order.

    Args:
        values: Whole numbers, (n,).
        order: How often differences were taken, 1 or 2.

    Returns:
        The samples, int64 (n,).

    >>> integrate(np.array([5, 1, 1]), 1).tolist(), integrate(np.array([5, 7, 1]), 2).tolist()
    ([5, 6, 7], [5, 7, 10])
    """
    if order == 0 or values.size <= 1:
        return values
    if order == 1:
        return np.cumsum(values)
    slopes = np.cumsum(np.concatenate([values[1:2] - values[:1], values[2:]]))
    return np.concatenate([values[:1], values[:1] + np.cumsum(slopes)])


def _lookup(table: Table) -> tuple[list[Code | None], int]:
    """Code by the next bits, and how many bits that takes."""
    deepest = max(len(code.bits) for code in table)
    found: list[Code | None] = [None] * (1 << deepest)
    for code in table:
        rest = deepest - len(code.bits)
        first = int(code.bits, 2) << rest
        found[first : first + (1 << rest)] = [code] * (1 << rest)
    return found, deepest
