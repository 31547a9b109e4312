"""The case store: one SQLite file, the only source of truth (vectors included); everything else is derived from it.

Write-ahead log with synchronous=FULL: a transaction that has returned is on the disk; one that has not leaves nothing.
What is asked of the file is `store_reader`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.protocol import Ids, Vectors
from ecgkin.index.store_reader import COLUMNS, STORE, StoreReader
from ecgkin.index.waveform import pack_record
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cases (
    row INTEGER PRIMARY KEY, case_id TEXT NOT NULL UNIQUE, patient_id TEXT, source TEXT NOT NULL, age_years REAL,
    sex TEXT COLLATE NOCASE, recorded_at TEXT, language TEXT COLLATE NOCASE, content_hash TEXT NOT NULL,
    report TEXT NOT NULL, labels TEXT NOT NULL, meta TEXT NOT NULL);
CREATE INDEX cases_patient ON cases (patient_id);
CREATE INDEX cases_content ON cases (content_hash);
CREATE INDEX cases_age ON cases (age_years);
CREATE INDEX cases_date ON cases (recorded_at);
CREATE TABLE labels (statement TEXT NOT NULL COLLATE NOCASE, row INTEGER NOT NULL, code TEXT NOT NULL,
    likelihood REAL NOT NULL, PRIMARY KEY (statement, row, code)) WITHOUT ROWID;
CREATE INDEX labels_row ON labels (row);
CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE records (row INTEGER PRIMARY KEY, head TEXT NOT NULL, samples BLOB NOT NULL);
CREATE TABLE removed (row INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
"""
_TABLES = ("cases", "labels", "vectors", "records")


class Store(StoreReader):
    """The SQLite file of a case base. Not to be used by two threads at a time; `CaseBase` sees to that.

    Raises:
        ManifestError: The file is missing, torn or no case store.
    """

    @classmethod
    def create(cls, folder: Path, meta: Mapping[str, str]) -> None:
        """Write a new, empty store."""
        db = sqlite3.connect(folder / STORE, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript("BEGIN;" + _SCHEMA)
        values = {**meta, "generation": "0", "n_cases": "0", "next_row": "1", "pruned": "0"}
        db.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
        db.execute("COMMIT")
        db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All of what is written inside, or nothing; on the disk when this ends. Raises the generation by one."""
        self._check_open()
        with self.errors():
            self._db.execute("BEGIN IMMEDIATE")
            self._writing = True
            try:
                yield
                self.set_meta("generation", self.number("generation") + 1)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._writing = False

    def set_meta(self, key: str, value: int) -> None:
        """Change one number of the meta table."""
        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), key))

    def insert(self, cases: Sequence[Case], vectors: Vectors) -> Ids:
        """Write cases with their vectors; inside `writing`."""
        first = self.number("next_row")
        rows = range(first, first + len(cases))
        marks = ", ".join("?" * 12)
        self._db.executemany(
            f"INSERT INTO cases (row, {COLUMNS}) VALUES ({marks})",
            ((row, *_values(case)) for row, case in zip(rows, cases, strict=True)),
        )
        self._insert_labels(rows, cases)
        plain = np.ascontiguousarray(vectors, dtype="<f4")
        self._db.executemany(
            "INSERT INTO vectors VALUES (?, ?)", ((row, plain[i].tobytes()) for i, row in enumerate(rows))
        )
        self.set_meta("next_row", first + len(cases))
        self.set_meta("n_cases", self.number("n_cases") + len(cases))
        return np.arange(first, first + len(cases), dtype=np.int64)

    def insert_records(self, records: Iterable[tuple[int, EcgRecord]]) -> None:
        """Write samples, in place of those that are there; inside `writing`."""
        packed = ((row, *pack_record(record)) for row, record in records)
        self._db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", packed)

    def update(self, rows: Sequence[int], cases: Sequence[Case]) -> None:
        """Write cases over those in these rows, vectors and samples left alone; inside `writing`."""
        names = [name.strip() for name in COLUMNS.split(",")]
        sets = ", ".join(f"{name} = ?" for name in names)
        values = ((*_values(case), row) for row, case in zip(rows, cases, strict=True))
        self._db.executemany(f"UPDATE cases SET {sets} WHERE row = ?", values)
        self._db.executemany("DELETE FROM labels WHERE row = ?", ((row,) for row in rows))
        self._insert_labels(rows, cases)

    def replace_vectors(self, rows: Sequence[int], vectors: Vectors) -> Ids:
        """Give cases new vectors, under new row numbers (what indexes tell changes by); inside `writing`."""
        first = self.number("next_row")
        new = range(first, first + len(rows))
        plain = np.ascontiguousarray(vectors, dtype="<f4")
        for table in _TABLES:
            sql = f"UPDATE {table} SET row = ? WHERE row = ?"
            self._db.executemany(sql, zip(new, rows, strict=True))
        self._db.executemany(
            "UPDATE vectors SET vector = ? WHERE row = ?", ((plain[i].tobytes(), row) for i, row in enumerate(new))
        )
        self._bury(rows)
        self.set_meta("next_row", first + len(rows))
        return np.arange(first, first + len(rows), dtype=np.int64)

    def delete(self, rows: Sequence[int]) -> None:
        """Remove cases with all that belongs to them; inside `writing`."""
        for table in _TABLES:
            self._db.executemany(f"DELETE FROM {table} WHERE row = ?", ((row,) for row in rows))
        self._bury(rows)
        self.set_meta("n_cases", self.number("n_cases") - len(rows))

    def prune(self) -> None:
        """Forget what was removed: indexes older than this state start anew; inside `writing`."""
        self._db.execute("DELETE FROM removed")
        self.set_meta("pruned", self.number("generation"))

    def shrink(self) -> None:
        """Give the room of removed cases back to the disk."""
        with self.errors():
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _bury(self, rows: Sequence[int]) -> None:
        generation = self.number("generation") + 1  # the one that `writing` is about to make
        self._db.executemany("INSERT INTO removed VALUES (?, ?)", ((row, generation) for row in rows))

    def _insert_labels(self, rows: Iterable[int], cases: Sequence[Case]) -> None:
        self._db.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?)",
            (
                (code, row, code, likelihood)
                for row, case in zip(rows, cases, strict=True)
                for code, likelihood in case.labels.items()
            ),
        )


def _values(case: Case) -> tuple[Any, ...]:
    head = (case.case_id, case.patient_id, case.source, case.age_years, case.sex, case.recorded_at, case.language)
    try:
        labels, meta = json.dumps(case.labels), json.dumps(case.meta)
    except (TypeError, ValueError) as error:
        raise RecordError(f"meta of {case.case_id} cannot be stored: {error} (expected JSON values)") from error
    return (*head, case.content_hash, case.report, labels, meta)
