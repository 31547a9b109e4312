"""`FolderBase`: a case base in a folder, SQLite for the cases and FAISS for their vectors.

    BASE/cases.sqlite           cases, labels, vectors, samples: the truth (see `store`)
    BASE/manifest.json          encoder, drawing, counts, and the name and checksum of the index file
    BASE/index-<n>-<x>.faiss    the index at generation n, made from cases.sqlite and caught up from it
    BASE/writer.lock            held by the one who writes

Atomic: every `add`, `update` and `remove` is one SQLite transaction, on the disk when the call returns. Index and
manifest are written beside, forced to the disk and renamed, now and then and on `close`; a crash leaves the older ones,
which lag behind and are caught up. What no crash can do is refused by name: a manifest or index that is missing, cut
short, edited or from another base, a store older than its manifest. `FolderBase.repair` makes them anew from the store.

Writers: one at a time. A process holds writer.lock for a batch, or for as long as it says (`FolderBase.exclusive`); so
several may take turns, and whoever waits is told after seconds that somebody else is writing.

Readers: each call sees one state of the store, and later calls see what a writer has added meanwhile. One object may be
used by several threads; they take turns.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.atomic import TEMPORARY, WriterLock, sync_folder
from ecgkin.index.base import Block, CaseBase, check_all_known, checked_batch, distinct_ids
from ecgkin.index.case import Case
from ecgkin.index.engines.faiss import KINDS
from ecgkin.index.engines.protocol import Ids, Vectors, check_exclusions, check_k, check_vectors
from ecgkin.index.filters import Where, WhereLike
from ecgkin.index.folder.live_index import LiveIndex
from ecgkin.index.folder.store import STORE, Store
from ecgkin.index.manifest import MANIFEST, REPAIR_HINT, Manifest
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, ManifestError, QueryError, why

_LOG = logging.getLogger(__name__)

LOCK = "writer.lock"
# Up to so many left-out cases are simply searched past; more become part of the filter.
_SEARCH_PAST = 256
_FILTERS_KEPT = 32
LOCK_WAIT_S = 2.0  # for another process that writes a batch
WRITE_WAIT_S = 5.0  # for other threads, and for a program that keeps the SQLite file locked
_PAUSE_S = 0.02


class FolderBase(CaseBase):
    """An open case base in a folder; made by `ecgkin.index.create_base`, opened by `ecgkin.index.open_base`.

    Args:
        path: Its folder.
        device: Where a flat index is searched: "auto", "cpu", "cuda".

    Raises:
        CaseBaseError: The base cannot be read.
        ManifestError: Its files do not belong together, are cut short or were edited.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        self._path = path
        self._turn = threading.RLock()  # of the SQLite connection; held for one call
        self._writers = threading.RLock()  # of those who write; readers do not wait for it
        self._unsaved = False  # cases were changed since the index file was written
        self._filters: dict[Where, Ids] = {}
        self._filters_generation = -1
        self._lock = WriterLock(path / LOCK)
        self._store = Store(path)
        try:
            self._index = LiveIndex(path, self._store, device=device)
            with self._store.reading():
                self._index.check()
                self._index.refresh()
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def make(cls, folder: Path, manifest: Manifest, kind: str) -> FolderBase:
        """Make an empty case base beside its place and rename it, so that it is there as a whole or not at all.

        Args:
            folder: Not there yet, or empty.
            manifest: Of the new base.
            kind: Kind of index (`engines.faiss.KINDS`), or "auto" to choose by size.

        Returns:
            The open base.

        Raises:
            CaseBaseError: Something is there already, or the folder cannot be written.
            QueryError: There is no such kind of index.
        """
        if kind not in ("auto", *KINDS):
            raise QueryError(f"index kind is {kind!r} (expected auto or one of {', '.join(KINDS)})")
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise CaseBaseError(f"{folder} is there already", hint="open it, or choose another folder")
        made = folder.resolve().with_name(f".{folder.resolve().name}.{os.getpid()}{TEMPORARY}")
        try:
            made.mkdir(parents=True)
            Store.create(made, {**LiveIndex.identity(manifest), "kind": kind})
            manifest.write(made)
            os.rename(made, folder.resolve())
            sync_folder(folder.resolve().parent)
        except OSError as error:
            raise CaseBaseError(f"{folder} cannot be made: {why(error)}") from error
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return cls(folder)

    @classmethod
    def at(cls, path: str | Path, *, device: str = "auto") -> FolderBase:
        """Open the case base in a folder.

        Args:
            path: The folder; a link is followed once.
            device: Where a flat index is searched: "auto", "cpu", "cuda".

        Returns:
            The open base.

        Raises:
            CaseBaseError: There is no case base.
            ManifestError: Its files do not belong together, are cut short or were edited.
        """
        folder = Path(path)
        folder = folder.resolve() if folder.is_symlink() else folder
        if not folder.is_dir() or not ((folder / STORE).exists() or (folder / MANIFEST).exists()):
            what = "is not a case base" if folder.exists() else "does not exist"
            raise CaseBaseError(f"{folder} {what}", hint="make one with `ecgkin ingest`")
        return cls(folder, device=device)

    @classmethod
    def repair(cls, path: str | Path) -> FolderBase:
        """Make manifest and index anew from cases.sqlite, then open the base.

        Raises:
            ManifestError: cases.sqlite itself is missing or damaged.
            CaseBaseError: Somebody is writing to the base.
        """
        folder = Path(path)
        lock = WriterLock(folder / LOCK)
        store = Store(folder)
        try:
            lock.acquire()
            with store.reading():
                problems = store.problems()
                if problems:
                    raise ManifestError(f"{folder / STORE} is damaged: {'; '.join(problems[:5])}")
            LiveIndex(folder, store).rebuild()
        finally:
            store.close()
            lock.release()
        return cls.at(folder)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def manifest(self) -> Manifest:
        """See `CaseBase.manifest`; as of the last index file."""
        return self._index.manifest

    @property
    def place(self) -> str:
        """The folder, for messages."""
        return str(self._path)

    def close(self) -> None:
        """Write the index if this object has changed cases, and let go of the files."""
        with self._turn:
            try:
                if self._unsaved:
                    self._lock.acquire()
                    self._save_index()
            except CaseBaseError as error:  # whoever holds the lock writes the index when it is through
                _LOG.info("index of %s is left to another writer: %s", self._path, error)
            finally:
                self._lock.release()
                self._store.close()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See `CaseBase.exclusive`."""
        if not self._writers.acquire(timeout=WRITE_WAIT_S):
            raise CaseBaseError(f"{self._path} is being written to by this process", hint="try again later")
        try:
            outermost = not self._lock.held
            if outermost:
                self._check_place()
                self._lock.acquire(LOCK_WAIT_S)
            try:
                if outermost:
                    self._index.sweep()
                yield
            finally:
                if outermost:
                    self._lock.release()
        finally:
            self._writers.release()

    def __len__(self) -> int:
        with self._reading():
            return self._store.number("n_cases")

    def __contains__(self, case_id: object) -> bool:
        with self._reading():
            return isinstance(case_id, str) and bool(self._store.rows_of([case_id]))

    def search_many(
        self,
        vectors: Vectors,
        k: int = 10,
        where: WhereLike = None,
        exclude_patients: Sequence[str | None] | None = None,
        exclude_cases: Sequence[str | None] | None = None,
    ) -> list[list[tuple[Case, float]]]:
        """See `CaseBase.search_many`."""
        matrix, k, where = check_vectors(vectors, self.dim, "queries"), check_k(k), Where.parse(where)
        patients, excluded = check_exclusions(len(matrix), exclude_patients, exclude_cases)
        with self._reading():
            allowed = None if where.is_all else self._rows_where(where)
            left_out = [self._left_out(p, c) for p, c in zip(patients, excluded, strict=True)]
            past = max((len(rows) for rows in left_out if len(rows) <= _SEARCH_PAST), default=0)
            depth = min(k + past, max(1, self._store.number("n_cases")))
            scores, rows = self._index.index.search(matrix, depth, allowed)
            found = []
            for i, out in enumerate(left_out):
                top, hits = scores[i], rows[i]
                if len(out) > _SEARCH_PAST:
                    rest = np.setdiff1d(self._rows_where(where), np.fromiter(out, dtype=np.int64))
                    top, hits = (part[0] for part in self._index.index.search(matrix[i : i + 1], k, rest))
                pairs = zip(hits.tolist(), top.tolist(), strict=True)
                found.append([(row, score) for row, score in pairs if row >= 0 and row not in out][:k])
            wanted = sorted({row for hits_of_one in found for row, _ in hits_of_one})
            cases = self._store.cases(wanted)
            if len(cases) < len(wanted):
                raise ManifestError(
                    f"the index of {self._path} names {len(wanted) - len(cases)} cases that are not there",
                    hint=REPAIR_HINT,
                )
        return [[(cases[row], score) for row, score in hits_of_one] for hits_of_one in found]

    def get(self, case_id: str) -> Case:
        """See `CaseBase.get`."""
        with self._reading():
            row = self._known([case_id])[case_id]
            return self._store.cases([row])[row]

    def find(self, case_ids: Sequence[str]) -> dict[str, Case]:
        """See `CaseBase.find`."""
        with self._reading():
            found = self._store.cases(list(self._store.rows_of(case_ids).values()))
        return {case.case_id: case for case in found.values()}

    def cases(self, where: WhereLike = None, offset: int = 0, limit: int | None = None) -> list[Case]:
        """See `CaseBase.cases`."""
        if offset < 0 or (limit is not None and limit < 0):
            raise QueryError(f"offset is {offset} and limit {limit} (expected >= 0)")
        with self._reading():
            return self._store.page(Where.parse(where), offset, -1 if limit is None else limit)

    def count(self, where: WhereLike = None) -> int:
        """See `CaseBase.count`."""
        with self._reading():
            parsed = Where.parse(where)
            return self._store.number("n_cases") if parsed.is_all else len(self._rows_where(parsed))

    def vectors(self, case_ids: Sequence[str]) -> Vectors:
        """See `CaseBase.vectors`."""
        with self._reading():
            known = self._known(case_ids)
            rows = np.array([known[case_id] for case_id in case_ids], dtype=np.int64)
            different = np.unique(rows)
            return self._store.vectors(different)[np.searchsorted(different, rows)]

    def record(self, case_id: str) -> EcgRecord | None:
        """See `CaseBase.record`."""
        with self._reading():
            return self._store.record(self._known([case_id])[case_id])

    def blocks(self, size: int = 500) -> Iterator[Block]:
        """See `CaseBase.blocks`."""
        after = 0
        while True:
            with self._reading():
                rows = self._store.rows_after(after, size)
                if not len(rows):
                    return
                cases = self._store.cases(rows.tolist())
                vectors = self._store.vectors(rows)
                records = [self._store.record(row) for row in rows.tolist()]
            yield [cases[row] for row in rows.tolist()], vectors, records
            after = int(rows[-1])

    def some(self, case_ids: Sequence[str]) -> Block:
        """See `CaseBase.some`."""
        with self._reading():
            known = self._store.rows_of(case_ids)
            order = [known[case_id] for case_id in case_ids if case_id in known]
            cases = self._store.cases(order)
            records = [self._store.record(row) for row in order]
            vectors = self._store.vectors(np.array(order, dtype=np.int64))
        return [cases[row] for row in order], vectors, records

    def ids_by_content(self, content_hashes: Collection[str]) -> dict[str, list[str]]:
        """See `CaseBase.ids_by_content`."""
        with self._reading():
            return self._store.ids_by_content(sorted(set(content_hashes) - {""}))

    def add(self, cases: Sequence[Case], vectors: Vectors, records: Sequence[EcgRecord | None] | None = None) -> None:
        """See `CaseBase.add`; one transaction."""
        ids, matrix = checked_batch(self.dim, cases, vectors, records)
        with self._writing():
            taken = self._store.rows_of(ids)
            if taken:
                raise QueryError(f"case {min(taken)!r} is in the base already", hint="use update, or remove it first")
            rows = self._store.insert(cases, matrix)
            self._keep_records(rows.tolist(), records)

    def update(
        self,
        cases: Sequence[Case],
        vectors: Vectors | None = None,
        records: Sequence[EcgRecord | None] | None = None,
    ) -> None:
        """See `CaseBase.update`; one transaction."""
        ids, matrix = checked_batch(self.dim, cases, vectors, records)
        with self._writing():
            known = self._known(ids)
            rows = [known[case_id] for case_id in ids]
            self._store.update(rows, cases)
            if vectors is not None:
                rows = self._store.replace_vectors(rows, matrix).tolist()
            self._keep_records(rows, records)

    def remove(self, case_ids: Collection[str]) -> None:
        """See `CaseBase.remove`; one transaction."""
        ids = distinct_ids(case_ids)
        with self._writing():
            known = self._known(ids)
            self._store.delete([known[case_id] for case_id in ids])

    def compact(self) -> None:
        """Build the index anew in the kind that suits the size, forget what was removed, shrink the files."""
        try:
            with self.exclusive():
                with self._writing():
                    self._store.add_checksums()
                with self._turn:
                    self._index.rebuild()
                with self._writing():
                    self._store.prune()
                with self._turn:
                    self._store.shrink()
        except OSError as error:
            raise CaseBaseError(
                f"{self._path} cannot be compacted: {why(error)}", hint="is the disk full? no case is lost"
            ) from error

    def info(self) -> dict[str, Any]:
        """See `CaseBase.info`."""
        with self._reading():
            facts = self._store.facts()
            generation = self._store.number("generation")
            index = self._index.index
        manifest = self.manifest
        sizes = {file.name: file.stat().st_size for file in sorted(self._path.iterdir()) if file.is_file()}
        return {
            "path": str(self._path),
            **manifest.identity(),
            "generation": generation,
            "index_kind": index.kind,
            "index_generation": manifest.generation,
            **facts,
            "bytes": sizes,
        }

    def verify(self) -> None:
        """See `CaseBase.verify`; seconds for 20,000 cases."""
        with self._reading():
            problems = self._store.problems() or self._index.problems()
        if problems:
            raise ManifestError(f"{self._path}: {'; '.join(problems[:10])}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, self._store.reading():
            self._check_place()
            self._index.refresh()
            yield

    def _rows_where(self, where: Where) -> Ids:
        if self._filters_generation != self._index.generation or len(self._filters) >= _FILTERS_KEPT:
            self._filters, self._filters_generation = {}, self._index.generation
        if where not in self._filters:
            self._filters[where] = self._store.rows_where(where)
        return self._filters[where]

    def _left_out(self, patient_id: str | None, case_id: str | None) -> set[int]:
        rows = set() if patient_id is None else set(self._store.rows_of_patient(patient_id))
        return rows if case_id is None else rows | set(self._store.rows_of([case_id]).values())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; readers wait while it is written, not while it waits for others to finish theirs."""
        with self.exclusive(), self._begun():
            self._check_place()
            with self._store.writing():
                yield
            self._check_place()
            # From here on the cases are safe, whatever happens to the index.
            self._unsaved = True
            with self._store.reading():
                self._index.refresh()
            if self._index.lags_far:
                self._save_index()

    @contextmanager
    def _begun(self) -> Iterator[None]:
        until = time.monotonic() + WRITE_WAIT_S
        while True:
            with self._turn:
                if self._store.begin():
                    yield
                    return
            if time.monotonic() > until:
                raise CaseBaseError(
                    f"another program keeps {self._store.path} locked (waited {WRITE_WAIT_S:g} s)",
                    hint="end it, or try again later",
                )
            time.sleep(_PAUSE_S)

    def _check_place(self) -> None:
        """Refuse to go on with files that were removed or replaced: what is written there nobody will find."""
        try:
            now = os.stat(self._store.path)
        except OSError as error:
            raise CaseBaseError(f"{self._path} was removed while it was open", hint="open it again") from error
        if (now.st_dev, now.st_ino) != self._store.identity:
            raise CaseBaseError(f"{self._path} was replaced while it was open", hint="open it again")

    def _save_index(self) -> None:
        start = time.perf_counter()
        try:
            with self._store.reading():
                self._index.refresh()
                self._index.save()
            self._unsaved = False
        except (OSError, CaseBaseError) as error:
            # The cases are on the disk; the next one to open the base catches up from them.
            _LOG.warning("index of %s was not written: %s", self._path, error)
            return
        _LOG.info("index written cases=%d ms=%.0f", self.manifest.n_cases, 1e3 * (time.perf_counter() - start))

    def _keep_records(self, rows: Sequence[int], records: Sequence[EcgRecord | None] | None) -> None:
        pairs = zip(rows, records or [], strict=False)
        self._store.insert_records([(row, record) for row, record in pairs if record is not None])

    def _known(self, case_ids: Sequence[str]) -> dict[str, int]:
        known = self._store.rows_of(case_ids)
        check_all_known(case_ids, known)
        return known
