"""The case store: one SQLite file, the only source of truth (vectors included); everything else is derived from it.

Write-ahead log with synchronous=FULL: a transaction that has returned is on the disk; one that has not leaves nothing.
`StoreReader` asks, `Store` writes as well.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Ids, Vectors
from ecgkin.index.filters import Where
from ecgkin.index.waveform import pack_record, unpack_record
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, ManifestError, RecordError

STORE = "cases.sqlite"
BUSY_S = 30.0
COLUMNS = "case_id, patient_id, source, age_years, sex, recorded_at, language, content_hash, report, labels, meta"
_CHUNK = 900  # parameters a statement; SQLite before 3.32 takes 999


class StoreReader:
    """What is asked of the SQLite file of a case base. Not to be used by two threads at a time.

    Raises:
        ManifestError: The file is missing, torn or no case store.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / STORE
        if not self.path.is_file():
            raise ManifestError(f"{self.path} is missing (expected in every case base)", hint="restore it from a copy")
        self._connection: sqlite3.Connection | None = None
        self._writing = False
        with self.errors():
            self._db = self._connect()
            self._db.execute("PRAGMA synchronous=FULL")
            self.dim = self.number("dim")

    def close(self) -> None:
        """Close the file; the last one to do so folds the write-ahead log into it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's complaints as errors of ecgkin, naming the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "no such table" in text or "no such column" in text:
                raise ManifestError(f"{self.path} is not a case store: {text}") from error
            raise CaseBaseError(f"{self.path}: {text}", hint="is the disk full, or the file in use?") from error
        except sqlite3.DatabaseError as error:
            raise ManifestError(f"{self.path} is damaged: {error}", hint="restore it from a copy") from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent state for everything that is read inside."""
        self._check_open()
        with self.errors():
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def renew(self) -> None:
        """Inside `reading`: go on with the newest state. Inside `writing` that is what is there anyway."""
        if not self._writing:
            self._db.execute("ROLLBACK")
            self._db.execute("BEGIN")

    def meta(self) -> dict[str, str]:
        """Everything the store says about itself."""
        return dict(self._db.execute("SELECT key, value FROM meta").fetchall())

    def number(self, key: str) -> int:
        """One number of the meta table: dim, generation, n_cases, next_row, pruned.

        Raises:
            ManifestError: It is not there, or no number that the store can have written.
        """
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise ManifestError(f"{self.path} is not a case store: it does not say its {key}")
        text = found[0]
        if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19):
            raise ManifestError(f"{self.path} is damaged: {key} is {text!r:.60} (expected a whole number)")
        return int(text)

    def count(self) -> int:
        """Cases that are there, counted."""
        return int(self._db.execute("SELECT count(*) FROM cases").fetchone()[0])

    def rows_of(self, case_ids: Sequence[str]) -> dict[str, int]:
        """Row number of each case id that is there."""
        return dict(self._in("SELECT case_id, row FROM cases WHERE case_id IN ({})", case_ids))

    def rows_of_patient(self, patient_id: str) -> list[int]:
        """Row numbers of a patient's cases."""
        found = self._db.execute("SELECT row FROM cases WHERE patient_id = ?", (patient_id,))
        return [row for (row,) in found]

    def rows_where(self, where: Where) -> Ids:
        """Row numbers of the cases that a filter lets through, ascending."""
        condition, values = where.sql()
        found = self._db.execute(f"SELECT row FROM cases WHERE {condition} ORDER BY row", values)
        return np.fromiter((row for (row,) in found), dtype=np.int64)

    def rows_after(self, row: int, limit: int) -> Ids:
        """The next row numbers after one, ascending."""
        found = self._db.execute("SELECT row FROM cases WHERE row > ? ORDER BY row LIMIT ?", (row, limit))
        return np.fromiter((r for (r,) in found), dtype=np.int64)

    def cases(self, rows: Sequence[int]) -> dict[int, Case]:
        """Cases by row number."""
        found = self._in(f"SELECT row, {COLUMNS} FROM cases WHERE row IN ({{}})", rows)
        return {row: _case(values) for row, *values in found}

    def page(self, where: Where, offset: int, limit: int) -> list[Case]:
        """Cases in the order they came in."""
        condition, values = where.sql()
        sql = f"SELECT {COLUMNS} FROM cases WHERE {condition} ORDER BY row LIMIT ? OFFSET ?"
        return [_case(row) for row in self._db.execute(sql, [*values, limit, offset])]

    def ids_by_content(self, content_hashes: Sequence[str]) -> dict[str, list[str]]:
        """Content hash to the ids of the cases with that content, in the order in which they came."""
        found: dict[str, list[str]] = {}
        sql = "SELECT content_hash, case_id FROM cases WHERE content_hash IN ({}) ORDER BY row"
        for content_hash, case_id in self._in(sql, content_hashes):
            found.setdefault(content_hash, []).append(case_id)
        return found

    def vectors(self, rows: Ids) -> Vectors:
        """True vectors, shape (n, dim), in the order of the row numbers."""
        blobs = dict(self._in("SELECT row, vector FROM vectors WHERE row IN ({})", rows.tolist()))
        if len(blobs) != len(rows):
            raise CaseBaseError(f"{self.path}: {len(rows) - len(blobs)} of {len(rows)} vectors are not there any more")
        joined = b"".join(blobs[row] for row in rows.tolist())
        return np.frombuffer(joined, dtype="<f4").reshape(len(rows), self.dim).astype(np.float32)

    def vectors_after(self, row: int) -> Iterator[tuple[Ids, Vectors]]:
        """Row numbers and vectors of everything that came after a row, in blocks."""
        cursor = self._db.execute("SELECT row, vector FROM vectors WHERE row > ? ORDER BY row", (row,))
        while block := cursor.fetchmany(16384):
            rows = np.array([r for r, _ in block], dtype=np.int64)
            yield rows, np.frombuffer(b"".join(v for _, v in block), dtype="<f4").reshape(-1, self.dim)

    def removed_since(self, generation: int, up_to_row: int) -> Ids:
        """Row numbers up to one that were removed after a generation."""
        sql = "SELECT row FROM removed WHERE generation > ? AND row <= ? ORDER BY row"
        return np.array([r for (r,) in self._db.execute(sql, (generation, up_to_row))], dtype=np.int64)

    def record(self, row: int) -> EcgRecord | None:
        """The samples of a case, if they were stored."""
        found = self._db.execute("SELECT head, samples FROM records WHERE row = ?", (row,)).fetchone()
        return None if found is None else unpack_record(*found)

    def facts(self) -> dict[str, Any]:
        """Counts for people."""
        one = self._db.execute(
            "SELECT count(*), count(DISTINCT patient_id), min(recorded_at), max(recorded_at), min(age_years),"
            " max(age_years) FROM cases"
        ).fetchone()
        names = ("n_cases", "n_patients", "first_date", "last_date", "youngest", "oldest")
        grouped = {
            name: dict(
                self._db.execute(f"SELECT {column}, count(*) FROM {table} GROUP BY 1 ORDER BY 2 DESC").fetchall()
            )
            for name, column, table in (
                ("sources", "source", "cases"),
                ("sexes", "coalesce(sex, '?')", "cases"),
                ("labels", "code", "labels"),
            )
        }
        (n_records,) = self._db.execute("SELECT count(*) FROM records").fetchone()
        return {**dict(zip(names, one, strict=True)), "n_records": n_records, **grouped}

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the file, and rows without a partner; slow."""
        found = [text for (text,) in self._db.execute("PRAGMA integrity_check") if text != "ok"]
        for name, sql in (
            ("cases without a vector", "SELECT count(*) FROM cases WHERE row NOT IN (SELECT row FROM vectors)"),
            ("vectors without a case", "SELECT count(*) FROM vectors WHERE row NOT IN (SELECT row FROM cases)"),
            ("labels without a case", "SELECT count(*) FROM labels WHERE row NOT IN (SELECT row FROM cases)"),
            ("samples without a case", "SELECT count(*) FROM records WHERE row NOT IN (SELECT row FROM cases)"),
        ):
            (n,) = self._db.execute(sql).fetchone()
            if n:
                found.append(f"{n} {name}")
        return found

    def _check_open(self) -> None:
        if self._connection is None:
            raise CaseBaseError(f"{self.path.parent} was closed", hint="open it again")

    def _in(self, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            yield from self._db.execute(sql.format(", ".join("?" * len(chunk))), chunk)

    def _connect(self) -> sqlite3.Connection:
        # A folder that cannot be written has no room for the log's side files; without a log the file is enough.
        frozen = not os.access(self.path.parent, os.W_OK) and not self.path.with_name(STORE + "-wal").exists()
        uri = self.path.resolve().as_uri() + ("?mode=ro&immutable=1" if frozen else "?mode=rw")
        self._connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        return self._connection


def _case(values: Sequence[Any]) -> Case:
    case_id, patient_id, source, age_years, sex, recorded_at, language, content_hash, report, labels, meta = values
    return Case(
        case_id=case_id,
        patient_id=patient_id,
        source=source,
        age_years=age_years,
        sex=sex,
        recorded_at=recorded_at,
        labels=json.loads(labels),
        report=report,
        language=language,
        meta=json.loads(meta),
        content_hash=content_hash,
    )


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
