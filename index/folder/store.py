"""The case store: one SQLite file, the only source of truth (vectors included); everything else is derived from it.

Each case has checksums over its text, its vector and its samples (table `checksums`; bases made before that have none
until they are compacted). They are compared whenever something is read, and all of them by `StoreReader.problems`.
The file may come from a stranger: tables must be exactly those below, and there must be no views or triggers, which
SQLite would run.

Write-ahead log with synchronous=FULL: a transaction that has returned is on the disk; one that has not leaves nothing.
`StoreReader` asks, `Store` writes as well.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.atomic import checksum, checksums
from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Ids, Vectors, check_vectors
from ecgkin.index.filters import Where
from ecgkin.index.waveform import pack_record, unpack_record
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, ManifestError, QueryError, RecordError

STORE = "cases.sqlite"
BUSY_S = 2.0  # how long a read waits for a program that has locked the whole file
_TRY_MS = 50  # how long one attempt to begin writing waits; see `Store.begin`
COLUMNS = "case_id, patient_id, source, age_years, sex, recorded_at, language, content_hash, report, labels, meta"
_CHUNK = 900  # parameters a statement; SQLite before 3.32 takes 999


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open a SQLite file that is there, also in a folder that cannot be written.

    Args:
        path: The file.
        write: Whether it may be changed; where its folder cannot be written it is opened for reading all the same.

    Returns:
        A connection in autocommit mode, for any thread.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    # A folder that cannot be written has no room for the log's side files; without a log the file is enough.
    frozen = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    uri = path.resolve().as_uri() + ("?mode=ro&immutable=1" if frozen else f"?mode={'rw' if write else 'ro'}")
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


class StoreReader:
    """What is asked of the SQLite file of a case base. Not to be used by two threads at a time.

    Args:
        folder: Of the base.

    Attributes:
        path: The file.
        identity: Its device and inode: another file may come to stand under its name.
        dim: Length of a vector.

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
            status = self.path.stat()
            self.identity = (status.st_dev, status.st_ino)
            self._db = self._connection = connect(self.path, write=True)
            try:
                self._db.execute("PRAGMA trusted_schema=OFF")
                self._db.execute("PRAGMA synchronous=FULL")
                # Not every build of SQLite overwrites what is deleted, and what is deleted here are reports.
                self._db.execute("PRAGMA secure_delete=ON")
                self.has_checksums = self._check_schema()
                self.dim = self.number("dim")
                self._is_checked = False
            except BaseException:
                self.close()
                raise

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
            hint = "is another program writing to it?" if _is_busy(error) else "is the disk full, or the file in use?"
            raise CaseBaseError(f"{self.path}: {text}", hint=hint) from error
        except (sqlite3.DatabaseError, OverflowError, UnicodeDecodeError) as error:
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
        return dict(self._db.execute("SELECT key, value FROM meta").fetchmany(100))

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

    def check_filtered(self) -> None:
        """Refuse tables that filters ask and that are not what the cases say; once an opening, 8 us a case.

        A damaged case is noticed when it is read. A filter reads none: what is damaged would be left out in silence.

        Raises:
            ManifestError: A case does not fit its checksum, the labels' table is not that of the cases, or SQLite finds
                a table or its index damaged.
        """
        if self._is_checked:
            return
        for table in ("cases", "labels"):
            found = [str(text) for (text,) in self._db.execute(f"PRAGMA integrity_check({table})").fetchmany(3)]
            if found != ["ok"]:
                raise ManifestError(f"{self.path} is damaged: {'; '.join(found)[:300]}", hint=_DAMAGED)
        if self.has_checksums:
            sql = f"SELECT row, {self._text_sum()}, {COLUMNS} FROM cases"
            cursor = self._db.execute(sql)
            while block := cursor.fetchmany(16384):
                self._check_texts(block)
        if not self._labels_agree():
            fault = next(self._each_text_fault(), None)
            if fault is not None:
                raise ManifestError(f"{self.path} is damaged: {fault[0]}, row {fault[1]}", hint=_DAMAGED)
        self._is_checked = True

    def _check_texts(self, block: Sequence[Sequence[Any]]) -> None:
        """Refuse rows (row, checksum, columns ...) of which one does not fit its checksum."""
        try:
            sums = checksums([(json.dumps(values),) for _, _, *values in block])
        except (TypeError, ValueError):  # one of them is damaged: said below
            sums = [b""] * len(block)
        for (row, given, *values), own in zip(block, sums, strict=True):
            if given != own:
                self._case(row, given, values)

    def _labels_agree(self) -> bool:
        """Whether the labels' table holds what the cases say, asked of SQLite; False also where it cannot tell."""
        sql = (
            "SELECT count(*), count(l.row) FROM cases AS c, json_each(c.labels) AS j LEFT JOIN labels AS l ON"
            " l.row = c.row AND l.statement = j.key AND l.code = j.key COLLATE BINARY"
            " AND abs(l.likelihood - j.value) <= 1e-9 * (1 + abs(j.value))"
        )
        try:
            ((said, kept),) = self._db.execute(sql)
            ((there, named),) = self._db.execute("SELECT count(*), sum(statement = code COLLATE BINARY) FROM labels")
        except sqlite3.OperationalError:  # built without JSON, or text that is none
            return False
        return bool(said == kept == there == (named or 0))

    def rows_of_patient(self, patient_id: str) -> list[int]:
        """Row numbers of a patient's cases."""
        self.check_filtered()
        found = self._db.execute("SELECT row FROM cases WHERE patient_id = ?", (patient_id,))
        return [row for (row,) in found]

    def rows_where(self, where: Where) -> Ids:
        """Row numbers of the cases that a filter lets through, ascending."""
        self.check_filtered()
        condition, values = where.sql()
        found = self._db.execute(f"SELECT row FROM cases WHERE {condition} ORDER BY row", values)
        return np.fromiter((row for (row,) in found), dtype=np.int64)

    def rows_after(self, row: int, limit: int) -> Ids:
        """The next row numbers after one, ascending.

        Args:
            row: Row number; 0 for the beginning.
            limit: How many at most.

        Returns:
            Shape (n,).
        """
        found = self._db.execute("SELECT row FROM cases WHERE row > ? ORDER BY row LIMIT ?", (row, limit))
        return np.fromiter((r for (r,) in found), dtype=np.int64)

    def cases(self, rows: Sequence[int]) -> dict[int, Case]:
        """Cases by row number."""
        found = self._in(f"SELECT row, {self._text_sum()}, {COLUMNS} FROM cases WHERE row IN ({{}})", rows)
        return dict(self._cases(list(found)))

    def page(self, where: Where, offset: int, limit: int) -> list[Case]:
        """Cases in the order they came in.

        Args:
            where: Filter.
            offset: How many are passed over.
            limit: How many at most; -1 for all.

        Returns:
            The cases.
        """
        if not where.is_all:
            self.check_filtered()
        condition, values = where.sql()
        sql = f"SELECT row, {self._text_sum()}, {COLUMNS} FROM cases WHERE {condition} ORDER BY row LIMIT ? OFFSET ?"
        found = self._db.execute(sql, [*values, limit, offset])
        return [case for _, case in self._cases(found.fetchall())]

    def ids_by_content(self, content_hashes: Sequence[str]) -> dict[str, list[str]]:
        """Content hash to the ids of the cases with that content, in the order in which they came."""
        found: dict[str, list[str]] = {}
        sql = "SELECT content_hash, case_id FROM cases WHERE content_hash IN ({}) ORDER BY row"
        for content_hash, case_id in self._in(sql, content_hashes):
            found.setdefault(content_hash, []).append(case_id)
        return found

    def vectors(self, rows: Ids) -> Vectors:
        """True vectors, shape (n, dim), in the order of the row numbers."""
        found = self._in(f"SELECT row, vector, {self._sum_of('vector', 'vectors')} FROM vectors WHERE row IN ({{}})",
                         rows.tolist())  # fmt: skip
        blobs = {row: self._whole(row, "vector", given, vector) for row, vector, given in found}
        if len(blobs) != len(rows):
            raise CaseBaseError(f"{self.path}: {len(rows) - len(blobs)} of {len(rows)} vectors are not there any more")
        return self._matrix([blobs[row] for row in rows.tolist()])

    def vectors_after(self, row: int) -> Iterator[tuple[Ids, Vectors]]:
        """Row numbers and vectors of everything that came after a row, in blocks."""
        sql = f"SELECT row, vector, {self._sum_of('vector', 'vectors')} FROM vectors WHERE row > ? ORDER BY row"
        cursor = self._db.execute(sql, (row,))
        while block := cursor.fetchmany(16384):
            rows = np.array([r for r, _, _ in block], dtype=np.int64)
            try:
                whole = checksums([(vector,) for _, vector, _ in block]) == [given for _, _, given in block]
            except (TypeError, AttributeError):
                whole = False
            if not whole:  # no checksums, or a damaged one
                for r, vector, given in block:
                    self._whole(r, "vector", given, vector)
            yield rows, self._matrix([vector for _, vector, _ in block])

    def removed_since(self, generation: int, up_to_row: int) -> Ids:
        """Row numbers up to one that were removed after a generation.

        Args:
            generation: State of the store.
            up_to_row: Largest row number that counts.

        Returns:
            Row numbers, ascending, shape (n,).
        """
        sql = "SELECT row FROM removed WHERE generation > ? AND row <= ? ORDER BY row"
        return np.array([r for (r,) in self._db.execute(sql, (generation, up_to_row))], dtype=np.int64)

    def record(self, row: int) -> EcgRecord | None:
        """The samples of a case, if they were stored."""
        sql = f"SELECT head, samples, {self._sum_of('record', 'records')} FROM records WHERE row = ?"
        found = self._db.execute(sql, (row,)).fetchone()
        if found is None:
            if (
                self.has_checksums
                and self._db.execute(
                    f"SELECT 1 FROM {CHECKSUMS} WHERE row = ? AND record IS NOT NULL", (row,)
                ).fetchone()
            ):
                raise ManifestError(f"{self.path} is damaged: the samples in row {row} are gone", hint=_DAMAGED)
            return None
        head, samples, given = found
        self._whole(row, "samples", given, head, samples)
        return unpack_record(head, samples)

    def facts(self) -> dict[str, Any]:
        """Counts over all cases: patients, sources, labels, range of dates and ages, cases with samples."""
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
        """What SQLite finds wrong with the file, rows without a partner, and what does not fit its checksum; slow."""
        found = [str(text) for (text,) in self._db.execute("PRAGMA integrity_check") if text != "ok"]
        pairs = [("cases", "vectors"), ("vectors", "cases"), ("labels", "cases"), ("records", "cases")]
        if self.has_checksums:
            pairs += [("cases", "checksums"), ("checksums", "cases")]
        for table, other in pairs:
            (n,) = self._db.execute(
                f"SELECT count(*) FROM {table} WHERE row NOT IN (SELECT row FROM {other})"
            ).fetchone()
            if n:
                found.append(f"{n} rows of {table} without one of {other}")
        if self.has_checksums:
            (n,) = self._db.execute(
                f"SELECT count(*) FROM {CHECKSUMS} WHERE record IS NOT NULL AND row NOT IN (SELECT row FROM records)"
            ).fetchone()
            if n:
                found.append(f"samples of {n} cases are gone")
        if found:
            return found
        bad: dict[str, list[int]] = {}
        for what, row, error in self._each_fault():
            bad.setdefault(f"{what}: {error}" if error else what, []).append(row)
        return [f"{what} of {len(rows)} cases, the first in row {rows[0]}" for what, rows in bad.items()]

    def _each_text_fault(self) -> Iterator[tuple[str, int, str]]:
        """(what, row, why) for each case whose text or labels are not what was written."""
        labelled: dict[int, set[tuple[str, str, float]]] = {}
        for row, statement, code, likelihood in self._db.execute("SELECT row, statement, code, likelihood FROM labels"):
            labelled.setdefault(row, set()).add((statement, code, likelihood))
        sql = f"SELECT row, {self._text_sum()}, {COLUMNS} FROM cases"
        for row, given, *values in self._db.execute(sql):
            try:
                labels = self._case(row, given, values).labels
            except (ManifestError, RecordError):
                yield "damaged text", row, ""
                continue
            if labelled.get(row, set()) != {(code, code, likelihood) for code, likelihood in labels.items()}:
                yield "labels in the filters' table unlike those", row, ""

    def _each_fault(self) -> Iterator[tuple[str, int, str]]:
        """(what, row, why) for each part of a case that is not what was written."""
        yield from self._each_text_fault()
        sql = f"SELECT row, vector, {self._sum_of('vector', 'vectors')} FROM vectors"
        for row, vector, given in self._db.execute(sql):
            try:
                check_vectors(self._matrix([self._whole(row, "vector", given, vector)]), self.dim)
            except (ManifestError, QueryError):
                yield "damaged vector", row, ""
        sql = f"SELECT row, head, samples, {self._sum_of('record', 'records')} FROM records"
        for row, head, samples, given in self._db.execute(sql):
            try:
                self._whole(row, "samples", given, head, samples)
                unpack_record(head, samples)
            except (CaseBaseError, RecordError):
                yield "damaged samples", row, ""

    def _check_schema(self) -> bool:
        """Refuse a file with other tables than ours; whether it has checksums."""
        ours = _objects()
        found = self._db.execute("SELECT type, name, sql FROM sqlite_master").fetchmany(100)
        names = set()
        for kind, name, sql in found:
            if sql is None and kind == "index" and str(name).startswith("sqlite_autoindex_"):
                continue
            if not isinstance(sql, str) or ours.get((kind, name)) != " ".join(sql.split()):
                raise ManifestError(
                    f"{self.path} is not a case store: it holds a {str(kind)[:10]} {str(name)!r:.60} not made by ecgkin"
                )
            names.add(name)
        missing = {name for _, name in ours} - names - {CHECKSUMS}
        if missing:
            raise ManifestError(f"{self.path} is not a case store: no such table: {min(missing)}")
        return CHECKSUMS in names

    def _text_sum(self) -> str:
        return self._sum_of("text", "cases")

    def _sum_of(self, column: str, table: str) -> str:
        """An SQL expression for the checksum of a row; "" where the base has none."""
        return f"(SELECT {column} FROM {CHECKSUMS} AS c WHERE c.row = {table}.row)" if self.has_checksums else "''"

    def _whole(self, row: int, what: str, given: object, *parts: str | bytes) -> bytes:
        """The last part, if the parts fit the checksum."""
        try:
            fits = given == "" or given == checksum(*parts)
        except (TypeError, AttributeError):  # a part of another type than was written
            fits = False
        if not fits or not isinstance(parts[-1], bytes):
            raise ManifestError(
                f"{self.path} is damaged: the {what} in row {row} do not fit their checksum", hint=_DAMAGED
            )
        return parts[-1]

    def _matrix(self, blobs: Sequence[bytes]) -> Vectors:
        joined = b"".join(blobs)
        if len(joined) != 4 * self.dim * len(blobs):
            raise ManifestError(f"{self.path} is damaged: a vector has another length than {self.dim}", hint=_DAMAGED)
        return np.frombuffer(joined, dtype="<f4").reshape(len(blobs), self.dim).astype(np.float32)

    def _cases(self, found: Sequence[Sequence[Any]]) -> list[tuple[int, Case]]:
        """Cases with their row numbers, from (row, checksum, values of the columns ...)."""
        return [(row, self._case(row, given, values)) for row, given, *values in found]

    def _case(self, row: int, given: object, values: Sequence[Any]) -> Case:
        try:
            if given != "" and given != _text_sum(*values):
                raise ValueError("it does not fit its checksum")
            return _copied(_case(tuple(values)))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ManifestError(f"{self.path} is damaged: the text in row {row}: {error}", hint=_DAMAGED) from error

    def _check_open(self) -> None:
        if self._connection is None:
            raise CaseBaseError(f"{self.path.parent} was closed", hint="open it again")

    def _in(self, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            yield from self._db.execute(sql.format(", ".join("?" * len(chunk))), chunk)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@lru_cache(maxsize=4096, typed=True)
def _text_sum(*values: Any) -> bytes:
    """Checksum of the columns of a case; kept as `_case` is, and by type: 60 and 60.0 are not written alike."""
    return checksum(json.dumps(values))


@cache
def _objects() -> dict[tuple[str, str], str]:
    """(type, name) of each table and index of a case store, and the SQL that makes it."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA + _CHECKSUMS)
        rows = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(kind, name): " ".join(sql.split()) for kind, name, sql in rows}


_FIELDS = tuple(field.name for field in fields(Case))


def _copied(case: Case) -> Case:
    """A case of one's own: what its reader changes in it changes no other reading of the same row."""
    own = object.__new__(Case)  # its fields were checked when the first was made
    for name in _FIELDS:
        object.__setattr__(own, name, getattr(case, name))
    object.__setattr__(own, "labels", dict(case.labels))
    meta = {name: deepcopy(value) if isinstance(value, dict | list) else value for name, value in case.meta.items()}
    object.__setattr__(own, "meta", meta)
    return own


# Most of the time of reading rows is checking and parsing them, and the same cases are near to one query after another.
@lru_cache(maxsize=4096)
def _case(values: tuple[Any, ...]) -> Case:
    """The case that columns say; kept by what they say, so that a row that has changed is another one."""
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
CHECKSUMS = "checksums"
_CHECKSUMS = """
CREATE TABLE checksums (row INTEGER PRIMARY KEY, text BLOB NOT NULL, vector BLOB NOT NULL, record BLOB);
"""
_TABLES = ("cases", "labels", "vectors", "records")
_DAMAGED = "restore it from a snapshot; `ecgkin info --verify` names all that is damaged"


class Store(StoreReader):
    """The SQLite file of a case base. Not to be used by two threads at a time; `FolderBase` sees to that.

    Raises:
        ManifestError: The file is missing, torn or no case store.
    """

    @classmethod
    def create(cls, folder: Path, meta: Mapping[str, str]) -> None:
        """Write a new, empty store.

        Args:
            folder: Where `cases.sqlite` goes.
            meta: What the table `meta` says besides the counters.
        """
        with closing(sqlite3.connect(folder / STORE, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript("BEGIN;" + _SCHEMA + _CHECKSUMS)
            values = {**meta, "generation": "0", "n_cases": "0", "next_row": "1", "pruned": "0"}
            db.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
            db.execute("COMMIT")

    def begin(self) -> bool:
        """Begin a transaction that writes, which `writing` ends; False where another program holds the file."""
        self._check_open()
        with self.errors():
            # Not waited for here: whoever holds this object's turn would keep its readers waiting as well.
            self._db.execute(f"PRAGMA busy_timeout={_TRY_MS}")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                # Another process may have added them since this file was opened.
                self.has_checksums = self._check_schema()
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                return False
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._db.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_S)}")
        return True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All of what is written inside, or nothing; on the disk when this ends. Raises the generation by one.

        After `begin`.
        """
        with self.errors():
            self._writing = True
            try:
                yield
                self.set_meta("generation", self.number("generation") + 1)
                self._db.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._writing = False

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def add_checksums(self) -> None:
        """Give a base that was made before there were checksums a checksum for each case; inside `writing`."""
        if self.has_checksums:
            return
        self._db.execute(_CHECKSUMS)
        for row, *values in self._db.execute(f"SELECT row, {COLUMNS} FROM cases").fetchall():
            (vector,) = self._db.execute("SELECT vector FROM vectors WHERE row = ?", (row,)).fetchone()
            record = self._db.execute("SELECT head, samples FROM records WHERE row = ?", (row,)).fetchone()
            own = (row, _text_sum(*values), checksum(vector), None if record is None else checksum(*record))
            self._db.execute(f"INSERT INTO {CHECKSUMS} VALUES (?, ?, ?, ?)", own)
        self.has_checksums = True

    def set_meta(self, key: str, value: int) -> None:
        """Change one number of the meta table.

        Args:
            key: Its name.
            value: >= 0.
        """
        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), key))

    def insert(self, cases: Sequence[Case], vectors: Vectors) -> Ids:
        """Write cases with their vectors; inside `writing`.

        Args:
            cases: With ids that are new.
            vectors: Unit rows, shape (len(cases), dim).

        Returns:
            Row numbers, shape (len(cases),).
        """
        first = self.number("next_row")
        rows = range(first, first + len(cases))
        values = [_values(case) for case in cases]
        blobs = [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f4")]
        marks = ", ".join("?" * 12)
        self._db.executemany(
            f"INSERT INTO cases (row, {COLUMNS}) VALUES ({marks})",
            [(row, *own) for row, own in zip(rows, values, strict=True)],
        )
        self._insert_labels(rows, cases)
        self._db.executemany("INSERT INTO vectors VALUES (?, ?)", zip(rows, blobs, strict=True))
        if self.has_checksums:
            texts, vectors_own = (
                checksums([(json.dumps(own),) for own in values]),
                checksums([(blob,) for blob in blobs]),
            )
            sums = list(zip(rows, texts, vectors_own, strict=True))
            self._db.executemany(f"INSERT INTO {CHECKSUMS} (row, text, vector) VALUES (?, ?, ?)", sums)
        self.set_meta("next_row", first + len(cases))
        self.set_meta("n_cases", self.number("n_cases") + len(cases))
        return np.arange(first, first + len(cases), dtype=np.int64)

    def insert_records(self, records: Iterable[tuple[int, EcgRecord]]) -> None:
        """Write samples, in place of those that are there; inside `writing`."""
        packed = [(row, *pack_record(record)) for row, record in records]
        self._db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", packed)
        if self.has_checksums:
            sums = list(
                zip(
                    checksums([(head, samples) for _, head, samples in packed]),
                    [row for row, *_ in packed],
                    strict=True,
                )
            )
            self._db.executemany(f"UPDATE {CHECKSUMS} SET record = ? WHERE row = ?", sums)

    def update(self, rows: Sequence[int], cases: Sequence[Case]) -> None:
        """Write cases over those in these rows, vectors and samples left alone; inside `writing`.

        Args:
            rows: Row numbers.
            cases: As many.
        """
        names = [name.strip() for name in COLUMNS.split(",")]
        sets = ", ".join(f"{name} = ?" for name in names)
        values = [(*_values(case), row) for row, case in zip(rows, cases, strict=True)]
        self._db.executemany(f"UPDATE cases SET {sets} WHERE row = ?", values)
        if self.has_checksums:
            sums = [(_text_sum(*own), row) for *own, row in values]
            self._db.executemany(f"UPDATE {CHECKSUMS} SET text = ? WHERE row = ?", sums)
        self._db.executemany("DELETE FROM labels WHERE row = ?", ((row,) for row in rows))
        self._insert_labels(rows, cases)

    def replace_vectors(self, rows: Sequence[int], vectors: Vectors) -> Ids:
        """Give cases new vectors, under new row numbers (what indexes tell changes by); inside `writing`.

        Args:
            rows: Row numbers.
            vectors: Unit rows, shape (len(rows), dim).

        Returns:
            The new row numbers, shape (len(rows),).
        """
        first = self.number("next_row")
        new = range(first, first + len(rows))
        blobs = [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f4")]
        for table in self._tables():
            sql = f"UPDATE {table} SET row = ? WHERE row = ?"
            self._db.executemany(sql, zip(new, rows, strict=True))
        self._db.executemany("UPDATE vectors SET vector = ? WHERE row = ?", zip(blobs, new, strict=True))
        if self.has_checksums:
            sums = [(checksum(blob), row) for blob, row in zip(blobs, new, strict=True)]
            self._db.executemany(f"UPDATE {CHECKSUMS} SET vector = ? WHERE row = ?", sums)
        self._bury(rows)
        self.set_meta("next_row", first + len(rows))
        return np.arange(first, first + len(rows), dtype=np.int64)

    def delete(self, rows: Sequence[int]) -> None:
        """Remove cases with all that belongs to them; inside `writing`."""
        for table in self._tables():
            self._db.executemany(f"DELETE FROM {table} WHERE row = ?", ((row,) for row in rows))
        self._bury(rows)
        self.set_meta("n_cases", self.number("n_cases") - len(rows))

    def prune(self) -> None:
        """Forget what was removed: indexes older than this state start anew; inside `writing`."""
        self._db.execute("DELETE FROM removed")
        self.set_meta("pruned", self.number("generation"))

    def shrink(self) -> None:
        """Give the pages of removed cases back to the file system (VACUUM)."""
        with self.errors():
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _tables(self) -> tuple[str, ...]:
        return (*_TABLES, CHECKSUMS) if self.has_checksums else _TABLES

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
    age = None if case.age_years is None else float(case.age_years)  # as SQLite gives it back
    head = (case.case_id, case.patient_id, case.source, age, case.sex, case.recorded_at, case.language)
    try:
        labels, meta = json.dumps(case.labels), json.dumps(case.meta)
    except (TypeError, ValueError) as error:
        raise RecordError(f"meta of {case.case_id} cannot be stored: {error} (expected JSON values)") from error
    return (*head, case.content_hash, case.report, labels, meta)
