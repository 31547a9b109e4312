"""Rows to label matrices: 71 statements, 23 subclasses, 5 superclasses, and identical label sets.

The rule of the PTB-XL benchmark holds (Strodthoff et al. 2021): every key of `scp_codes` counts, whatever its
likelihood, because likelihood 0 means "not given" and a `> 0` filter would erase 19 statements altogether.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import QueryError

BoolMatrix = NDArray[np.bool_]

# The order in which superclasses are printed everywhere.
_ORDER = ("NORM", "MI", "STTC", "CD", "HYP")


class LabelledRow(Protocol):
    """What the evaluation needs to know of a record; `PtbXlRow` has it."""

    @property
    def patient_id(self) -> str | int | None:
        """Who; None or "" where unknown."""

    @property
    def labels(self) -> Mapping[str, float]:
        """Statement codes, with likelihoods that do not matter here."""

    @property
    def report(self) -> str:
        """The cleaned report."""


@dataclass(frozen=True)
class LabelSpace:
    """The statements in a fixed order, with the superclass and subclass of each.

    Attributes:
        codes: Statement codes; they name the columns of `statements`.
        superclass_of, subclass_of: By code; None for pure form and rhythm statements.
    """

    codes: tuple[str, ...]
    superclass_of: Mapping[str, str | None]
    subclass_of: Mapping[str, str | None]

    @property
    def superclasses(self) -> tuple[str, ...]:
        """NORM, MI, STTC, CD, HYP."""
        return _distinct(self.superclass_of[code] for code in self.codes)

    @property
    def subclasses(self) -> tuple[str, ...]:
        """In the order of the statements."""
        return _distinct(self.subclass_of[code] for code in self.codes)

    def statements(self, labels: Sequence[Mapping[str, float]]) -> BoolMatrix:
        """Multi-hot statements, shape (n, len(codes)).

        Raises:
            QueryError: A label is not a known statement.
        """
        column = {code: i for i, code in enumerate(self.codes)}
        out = np.zeros((len(labels), len(self.codes)), dtype=np.bool_)
        for i, given in enumerate(labels):
            for code in given:
                if code not in column:
                    raise QueryError(f"statement {code!r} of row {i} is none of the {len(self.codes)} known ones")
                out[i, column[code]] = True
        return out

    def superclass_matrix(self, statements: BoolMatrix) -> BoolMatrix:
        """Multi-hot superclasses of multi-hot statements, shape (n, 5)."""
        return self._union(statements, self.superclass_of, self.superclasses)

    def subclass_matrix(self, statements: BoolMatrix) -> BoolMatrix:
        """Multi-hot subclasses of multi-hot statements, shape (n, 23)."""
        return self._union(statements, self.subclass_of, self.subclasses)

    def _union(self, statements: BoolMatrix, of: Mapping[str, str | None], names: tuple[str, ...]) -> BoolMatrix:
        member = np.array([[of[code] == name for name in names] for code in self.codes], dtype=np.float32)
        return np.asarray(statements.astype(np.float32) @ member > 0)


def _distinct(names: Iterable[str | None]) -> tuple[str, ...]:
    found = dict.fromkeys(name for name in names if name is not None)
    return tuple(sorted(found, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)))


def default_space() -> LabelSpace:
    """The 71 statements of `ecgkin.retrieval.ecg.statements.catalogue`."""
    from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS

    return LabelSpace(
        codes=tuple(s.code for s in STATEMENTS),
        superclass_of={s.code: s.superclass or None for s in STATEMENTS},
        subclass_of={s.code: s.subclass or None for s in STATEMENTS},
    )


def set_numbers(*matrices: BoolMatrix) -> list[NDArray[np.int64]]:
    """One number for each distinct label set, shared by all the matrices given.

    Returns:
        For each matrix of shape (n, c) an array of shape (n,); rows have equal numbers when, and only when, their
        label sets are equal.

    >>> set_numbers(np.array([[True, False], [False, False]]), np.array([[True, False]]))
    [array([1, 0]), array([1])]
    """
    packed = np.concatenate([np.packbits(m, axis=1) for m in matrices])
    _, numbers = np.unique(packed, axis=0, return_inverse=True)
    ends = np.cumsum([len(m) for m in matrices])[:-1]
    return [np.asarray(part, dtype=np.int64) for part in np.split(numbers.reshape(-1), ends)]
