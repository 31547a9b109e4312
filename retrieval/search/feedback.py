"""What clinicians say about hits: kept in SQLite beside the cases, exported, and used for the next search.

Rocchio's rule moves the query towards the cases that were marked as similar and a little away from the others; the
weights 1, 0.75 and 0.15 are those of Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 9.1.1.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import CaseBaseError, QueryError

if TYPE_CHECKING:
    from ecgkin.retrieval.search.hits import Nearness

FILE = "feedback.sqlite"
QUERY, SIMILAR, DISSIMILAR = 1.0, 0.75, 0.15
_SCHEMA = """
CREATE TABLE IF NOT EXISTS queries (query_id TEXT PRIMARY KEY, kind TEXT NOT NULL, vector BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (query_id TEXT NOT NULL REFERENCES queries, case_id TEXT NOT NULL,
    similar INTEGER NOT NULL, marked_at TEXT NOT NULL, PRIMARY KEY (query_id, case_id)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Mark:
    """One case that was marked for one query.

    Attributes:
        query_id: Of the search.
        kind: What was asked: "image", "record", "text" ...
        case_id: The hit.
        similar: What the clinician said.
        marked_at: ISO time, UTC.
    """

    query_id: str
    kind: str
    case_id: str
    similar: bool
    marked_at: str


def refine(
    query: NDArray[np.float32],
    similar: NDArray[np.float32],
    dissimilar: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The query after feedback, unit length.

    Args:
        query: Unit vector, shape (dim,).
        similar, dissimilar: Vectors of the marked cases, shape (n, dim); n may be 0.

    Returns:
        Unit vector, float32 (dim,).

    Raises:
        QueryError: The marks cancel the query out.

    >>> moved = refine(np.array([1.0, 0.0]), np.array([[0.0, 1.0]]), np.empty((0, 2)))
    >>> [round(float(x), 2) for x in moved]
    [0.8, 0.6]
    """
    moved = QUERY * np.asarray(query, dtype=np.float64)
    if len(similar):
        moved = moved + SIMILAR * np.mean(similar, axis=0)
    if len(dissimilar):
        moved = moved - DISSIMILAR * np.mean(dissimilar, axis=0)
    length = float(np.linalg.norm(moved))
    if length < 1e-6:
        raise QueryError("the marked cases cancel the query out", hint="mark other cases")
    return np.asarray(moved / length, dtype=np.float32)


class RecentQueries:
    """The vectors of the last searches, so that feedback and refinement can name them; oldest out first."""

    def __init__(self, keep: int = 4096) -> None:
        self.keep = keep
        self._turn = threading.Lock()
        self._known: OrderedDict[str, tuple[str, NDArray[np.float32]]] = OrderedDict()
        self._near: dict[str, Nearness] = {}

    def put(self, query_id: str, kind: str, vector: NDArray[np.float32], near: Nearness | None = None) -> None:
        """Keep the vector of a search; the oldest gives way.

        Args:
            query_id: 32 hex digits.
            kind: "image", "record", "text" ...
            vector: Unit vector, shape (dim,).
            near: Whether anything near was found.
        """
        with self._turn:
            self._known[query_id] = (kind, vector)
            if near is not None:
                self._near[query_id] = near
            while len(self._known) > self.keep:
                oldest, _ = self._known.popitem(last=False)
                self._near.pop(oldest, None)

    def near(self, query_id: str) -> Nearness | None:
        """Whether anything near was found then; None when it is forgotten."""
        with self._turn:
            return self._near.get(query_id)

    def get(self, query_id: str) -> tuple[str, NDArray[np.float32]] | None:
        """What was asked, and its vector; None when it is forgotten."""
        with self._turn:
            return self._known.get(query_id)


class FeedbackStore:
    """Marks on the disk; may be used by several threads, which take turns.

    Raises:
        CaseBaseError: From every method, where the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._turn = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def add(self, query_id: str, kind: str, vector: NDArray[np.float32], marks: Mapping[str, bool]) -> None:
        """Keep marks; a second mark of a case replaces the first. They are on the disk on return.

        Args:
            query_id: Of the search.
            kind: What it was made with: "image", "record", "text" ...
            vector: Its unit vector, shape (dim,).
            marks: Case id to whether it is similar.
        """
        now = datetime.now(tz=UTC).isoformat(timespec="seconds")
        with self._open() as db, db:
            db.execute("BEGIN IMMEDIATE")
            blob = np.ascontiguousarray(vector, dtype="<f4").tobytes()
            db.execute("INSERT OR IGNORE INTO queries VALUES (?, ?, ?)", (query_id, kind, blob))
            rows = [(query_id, case_id, int(similar), now) for case_id, similar in marks.items()]
            db.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", rows)

    def query(self, query_id: str) -> tuple[str, NDArray[np.float32]] | None:
        """What was asked, and its vector; None where it was never marked."""
        with self._open() as db:
            row = db.execute("SELECT kind, vector FROM queries WHERE query_id = ?", (query_id,)).fetchone()
        return None if row is None else (row[0], np.frombuffer(row[1], dtype="<f4").astype(np.float32))

    def marks(self, query_id: str | None = None) -> list[Mark]:
        """Marks of one query, or all, oldest first."""
        sql = "SELECT query_id, kind, case_id, similar, marked_at FROM marks JOIN queries USING (query_id)"
        condition, values = ("", ()) if query_id is None else (" WHERE query_id = ?", (query_id,))
        with self._open() as db:
            rows = db.execute(f"{sql}{condition} ORDER BY marked_at, query_id, case_id", values).fetchall()
        return [Mark(q, kind, case_id, bool(similar), at) for q, kind, case_id, similar, at in rows]

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            if self._db is not None:
                self._db.close()
                self._db = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            try:
                if self._db is None:
                    self._db = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
                    self._db.execute("PRAGMA journal_mode=WAL")
                    self._db.execute("PRAGMA synchronous=FULL")
                    self._db.executescript(_SCHEMA)
                yield self._db
            except sqlite3.Error as error:
                raise CaseBaseError(
                    f"feedback cannot be kept: {error}", hint="is the case base's folder writable?"
                ) from error
