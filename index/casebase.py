"""`CaseBase`: a folder of cases that is searched by vector.

    BASE/cases.sqlite           cases, labels, vectors, samples: the truth (see `store`)
    BASE/manifest.json          encoder, drawing, counts, and the name and checksum of the index file
    BASE/index-<n>-<x>.faiss    the index at generation n, made from cases.sqlite and caught up from it when opened
    BASE/writer.lock            held by the one writer

Atomic: every `add`, `update` and `remove` is one SQLite transaction, on the disk when the call returns. Index and
manifest are written beside, forced to the disk and renamed, now and then and on `close`; a crash leaves the older ones,
which lag behind and are caught up. What no crash can do is refused by name: a manifest or index that is missing, cut
short, edited or from another base, a store older than its manifest. `CaseBase.repair` makes them anew from the store.

Readers: each call sees one state of the store, and later calls see what a writer has added meanwhile. One object may be
used by several threads; they take turns.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from ecgkin.index.atomic import TEMPORARY, WriterLock, sync_folder
from ecgkin.index.case import Case
from ecgkin.index.filters import Where, WhereLike
from ecgkin.index.manifest import MANIFEST, Manifest
from ecgkin.index.protocol import Ids, Vectors, check_k, check_vectors
from ecgkin.index.snapshot import Snapshots
from ecgkin.index.store import STORE, Store
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, ManifestError, QueryError

_LOG = logging.getLogger(__name__)

LOCK = "writer.lock"
# Up to so many left-out cases are simply searched past; more become part of the filter.
_SEARCH_PAST = 256
_FILTERS_KEPT = 32


class EncoderLike(Protocol):
    """The part of an encoder that a base checks."""

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...


class CaseBase:
    """An open case base; make one with `CaseBase.create` or `CaseBase.open`, and close it (or use `with`).

    Attributes:
        path: Its folder.
        manifest: What it says about itself, as of the last index file.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        self.path = path
        self._turn = threading.RLock()
        self._lock = WriterLock(path / LOCK)
        self._filters: dict[Where, Ids] = {}
        self._filters_generation = -1
        self._store = Store(path)
        self._snapshots = Snapshots(path, self._store, device=device)
        try:
            with self._store.reading():
                self._snapshots.check()
                self._snapshots.refresh()
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder_name: str,
        fingerprint: str,
        dim: int,
        *,
        drawing_version: str = "",
        preprocessing: Mapping[str, Any] | None = None,
        kind: str = "auto",
        device: str = "auto",
    ) -> CaseBase:
        """Make an empty case base and open it.

        Args:
            path: Its folder: not there yet, or empty.
            encoder_name, fingerprint, dim: The encoder whose vectors will come.
            drawing_version, preprocessing: How the pictures are made that the encoder sees.
            kind: Kind of index (`faiss_index.KINDS`), or "auto" to choose by size.
            device: Where a flat index is searched: "auto", "cpu", "cuda".

        Raises:
            CaseBaseError: Something is there already, or the folder cannot be written.
            QueryError: dim or kind is out of range.
        """
        from ecgkin.index.faiss_index import KINDS

        if dim < 1 or kind not in ("auto", *KINDS):
            raise QueryError(f"dim is {dim} and kind {kind!r} (expected >= 1, and auto or one of {', '.join(KINDS)})")
        folder = Path(path)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise CaseBaseError(f"{folder} is there already", hint="open it, or choose another folder")
        manifest = Manifest(
            base_id=uuid.uuid4().hex,
            encoder_name=encoder_name,
            fingerprint=fingerprint,
            dim=dim,
            drawing_version=drawing_version,
            preprocessing=json.loads(json.dumps(dict(preprocessing or {}))),
        )
        made = folder.resolve().with_name(f".{folder.resolve().name}.{os.getpid()}{TEMPORARY}")
        try:
            made.mkdir(parents=True)
            Store.create(made, {**Snapshots.identity(manifest), "kind": kind})
            manifest.write(made)
            os.rename(made, folder.resolve())
            sync_folder(folder.resolve().parent)
        except OSError as error:
            raise CaseBaseError(f"{folder} cannot be made: {error.strerror or error}") from error
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return cls(folder, device=device)

    @classmethod
    def open(cls, path: str | Path, encoder: EncoderLike | None = None, *, device: str = "auto") -> CaseBase:
        """Open a case base.

        Args:
            path: Its folder.
            encoder: If given, it must be the one that the base was built with.
            device: Where a flat index is searched: "auto", "cpu", "cuda".

        Raises:
            CaseBaseError: There is none.
            ManifestError: Its files do not belong together, are cut short or were edited.
            EncoderMismatchError: It was built with another encoder.
        """
        folder = Path(path)
        if not folder.is_dir() or not ((folder / STORE).exists() or (folder / MANIFEST).exists()):
            what = "is not a case base" if folder.exists() else "does not exist"
            raise CaseBaseError(f"{folder} {what}", hint="make one with `ecgkin ingest`")
        base = cls(folder, device=device)
        if encoder is not None:
            try:
                base.check_encoder(encoder)
            except EncoderMismatchError:
                base.close()
                raise
        return base

    @classmethod
    def repair(cls, path: str | Path) -> CaseBase:
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
            Snapshots(folder, store).rebuild()
        finally:
            store.close()
            lock.release()
        return cls.open(folder)

    def close(self) -> None:
        """Write the index if this object has changed cases, and let go of files and lock."""
        with self._turn:
            try:
                if self._lock.held:
                    self._save_index()
            finally:
                self._lock.release()
                self._store.close()

    def __enter__(self) -> CaseBase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        with self._reading():
            return self._store.number("n_cases")

    @property
    def manifest(self) -> Manifest:
        """What the base says about itself, as of the last index file."""
        return self._snapshots.manifest

    @property
    def encoder_name(self) -> str:
        """Name of the encoder whose vectors these are."""
        return self.manifest.encoder_name

    @property
    def encoder_fingerprint(self) -> str:
        """Its fingerprint."""
        return self.manifest.fingerprint

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.manifest.dim

    def check_encoder(self, encoder: EncoderLike) -> None:
        """Refuse another encoder than the one that the base was built with.

        Raises:
            EncoderMismatchError: Name, fingerprint or dimension differ.
        """
        have = (self.encoder_name, self.encoder_fingerprint, self.dim)
        given = (encoder.name, encoder.fingerprint, encoder.dim)
        if have != given:
            raise EncoderMismatchError(
                f"case base {self.path} was built with encoder {have[0]} {have[1][:12]} ({have[2]} dimensions), "
                f"loaded is {given[0]} {given[1][:12]} ({given[2]} dimensions)",
                hint="load that encoder, or ingest the cases again with this one",
            )

    def add(self, cases: Sequence[Case], vectors: Vectors, records: Sequence[EcgRecord | None] | None = None) -> None:
        """Add cases, all or none; they are on the disk when this returns.

        Args:
            cases: With ids that are new.
            vectors: Unit rows, shape (len(cases), dim).
            records: The samples to keep with them (rounded to 1 uV), or None.

        Raises:
            QueryError: An id is taken or comes twice, or the vectors cannot be used.
            CaseBaseError: Somebody else is writing, or the disk refuses.
        """
        ids, matrix = self._checked(cases, vectors, records)
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
        """Put cases in the place of those with the same ids, all or none.

        Args:
            cases: With ids that are there.
            vectors: New vectors, shape (len(cases), dim); None keeps the old ones.
            records: New samples; None, as a whole or for one case, keeps the old ones.

        Raises:
            QueryError: An id is not there or comes twice, or the vectors cannot be used.
            CaseBaseError: Somebody else is writing, or the disk refuses.
        """
        ids, matrix = self._checked(cases, vectors, records)
        with self._writing():
            known = self._known(ids)
            rows = [known[case_id] for case_id in ids]
            self._store.update(rows, cases)
            if vectors is not None:
                rows = self._store.replace_vectors(rows, matrix).tolist()
            self._keep_records(rows, records)

    def remove(self, case_ids: Collection[str]) -> None:
        """Remove cases, all or none.

        Raises:
            QueryError: One of them is not there.
            CaseBaseError: Somebody else is writing, or the disk refuses.
        """
        ids = list(dict.fromkeys([case_ids] if isinstance(case_ids, str) else case_ids))
        with self._writing():
            known = self._known(ids)
            self._store.delete([known[case_id] for case_id in ids])

    def compact(self) -> None:
        """Build the index anew in the kind that suits the size, forget what was removed, shrink the files."""
        with self._turn:
            with self._writing():
                pass
            self._snapshots.rebuild()
            with self._store.writing():
                self._store.prune()
            self._snapshots.refresh()
            self._store.shrink()

    def search(
        self,
        vector: Vectors,
        k: int = 10,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        exclude_case: str | None = None,
    ) -> list[tuple[Case, float]]:
        """The k most similar cases, best first, with their scores (true cosines).

        Args:
            vector: Unit vector, shape (dim,) or (1, dim).
            k: >= 1; all cases that may be found come back where they are fewer.
            where: Filter that acts inside the search.
            exclude_patient: Leave out the cases of this patient.
            exclude_case: Leave out this case.

        Raises:
            QueryError: The vector, k or the filter cannot be used.
        """
        one = np.asarray(vector, dtype=np.float32)
        matrix = one[None] if one.ndim == 1 else one
        if len(matrix) != 1:
            raise QueryError(f"query has shape {one.shape} (expected one vector)", hint="use search_many")
        return self.search_many(matrix, k, where, [exclude_patient], [exclude_case])[0]

    def search_many(
        self,
        vectors: Vectors,
        k: int = 10,
        where: WhereLike = None,
        exclude_patients: Sequence[str | None] | None = None,
        exclude_cases: Sequence[str | None] | None = None,
    ) -> list[list[tuple[Case, float]]]:
        """`search` for many vectors, shape (n_queries, dim), with one exclusion for each or none at all."""
        matrix, k, where = check_vectors(vectors, self.dim, "queries"), check_k(k), Where.parse(where)
        patients = exclude_patients if exclude_patients is not None else [None] * len(matrix)
        excluded = exclude_cases if exclude_cases is not None else [None] * len(matrix)
        if not len(patients) == len(excluded) == len(matrix):
            raise QueryError(f"{len(patients)} and {len(excluded)} exclusions for {len(matrix)} queries")
        with self._reading():
            allowed = None if where.is_all else self._rows_where(where)
            left_out = [self._left_out(p, c) for p, c in zip(patients, excluded, strict=True)]
            past = max((len(rows) for rows in left_out if len(rows) <= _SEARCH_PAST), default=0)
            scores, rows = self._snapshots.index.search(matrix, min(k + past, max(1, self._n())), allowed)
            found = []
            for i, out in enumerate(left_out):
                top, hits = scores[i], rows[i]
                if len(out) > _SEARCH_PAST:
                    rest = np.setdiff1d(self._rows_where(where), np.fromiter(out, dtype=np.int64))
                    top, hits = (part[0] for part in self._snapshots.index.search(matrix[i : i + 1], k, rest))
                pairs = zip(hits.tolist(), top.tolist(), strict=True)
                found.append([(row, score) for row, score in pairs if row >= 0 and row not in out][:k])
            cases = self._store.cases(sorted({row for hits_of_one in found for row, _ in hits_of_one}))
        return [[(cases[row], score) for row, score in hits_of_one] for hits_of_one in found]

    def get(self, case_id: str) -> Case:
        """One case.

        Raises:
            QueryError: It is not there.
        """
        with self._reading():
            row = self._known([case_id])[case_id]
            return self._store.cases([row])[row]

    def __contains__(self, case_id: object) -> bool:
        with self._reading():
            return isinstance(case_id, str) and bool(self._store.rows_of([case_id]))

    def cases(self, where: WhereLike = None, offset: int = 0, limit: int | None = None) -> list[Case]:
        """Cases that a filter lets through, in the order in which they (or their vectors) came."""
        if offset < 0 or (limit is not None and limit < 0):
            raise QueryError(f"offset is {offset} and limit {limit} (expected >= 0)")
        with self._reading():
            return self._store.page(Where.parse(where), offset, -1 if limit is None else limit)

    def count(self, where: WhereLike = None) -> int:
        """How many cases a filter lets through."""
        with self._reading():
            parsed = Where.parse(where)
            return self._n() if parsed.is_all else len(self._rows_where(parsed))

    def vector(self, case_id: str) -> Vectors:
        """The vector of a case, shape (dim,); QueryError if the case is not there."""
        found: Vectors = self.vectors([case_id])[0]
        return found

    def vectors(self, case_ids: Sequence[str]) -> Vectors:
        """The vectors of cases, shape (n, dim), in the order given; QueryError if one is not there."""
        with self._reading():
            known = self._known(case_ids)
            rows = np.array([known[case_id] for case_id in case_ids], dtype=np.int64)
            different = np.unique(rows)
            return self._store.vectors(different)[np.searchsorted(different, rows)]

    def record(self, case_id: str) -> EcgRecord | None:
        """The samples of a case, None if they were not kept; QueryError if the case is not there."""
        with self._reading():
            return self._store.record(self._known([case_id])[case_id])

    def has_content(self, content_hash: str) -> bool:
        """Whether a case with this content (see `case.content_hash`) is there."""
        return bool(self.case_ids_with_content(content_hash))

    def case_ids_with_content(self, content_hash: str) -> list[str]:
        """The cases with this content."""
        with self._reading():
            return self._store.case_ids_with_content(content_hash) if content_hash else []

    def info(self) -> dict[str, Any]:
        """What there is to know about the base, as JSON values."""
        with self._reading():
            facts = self._store.facts()
            generation = self._store.number("generation")
            index = self._snapshots.index
        manifest = self.manifest
        sizes = {file.name: file.stat().st_size for file in sorted(self.path.iterdir()) if file.is_file()}
        return {
            "path": str(self.path),
            "schema_version": manifest.schema_version,
            "base_id": manifest.base_id,
            "encoder": manifest.encoder_name,
            "fingerprint": manifest.fingerprint,
            "dim": manifest.dim,
            "drawing_version": manifest.drawing_version,
            "preprocessing": manifest.preprocessing,
            "generation": generation,
            "index_kind": index.kind,
            "index_generation": manifest.generation,
            **facts,
            "bytes": sizes,
        }

    def verify(self) -> None:
        """Read everything and compare; slow (seconds for 20,000 cases).

        Raises:
            ManifestError: Something is damaged or does not fit.
        """
        with self._reading():
            problems = self._store.problems() + self._snapshots.problems()
        if problems:
            raise ManifestError(f"{self.path}: {'; '.join(problems[:10])}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, self._store.reading():
            self._snapshots.refresh()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn:
            first = not self._lock.held
            self._lock.acquire()
            if first:
                self._snapshots.sweep()
            with self._store.writing():
                yield
            # From here on the cases are safe, whatever happens to the index.
            with self._store.reading():
                self._snapshots.refresh()
            if self._snapshots.lags_far:
                self._save_index()

    def _save_index(self) -> None:
        start = time.perf_counter()
        try:
            with self._store.reading():
                self._snapshots.refresh()
                self._snapshots.save()
        except (OSError, CaseBaseError) as error:
            # The cases are on the disk; the next one to open the base catches up from them.
            _LOG.warning("index of %s was not written: %s", self.path, error)
            return
        _LOG.info("index written cases=%d ms=%.0f", self.manifest.n_cases, 1e3 * (time.perf_counter() - start))

    def _checked(
        self, cases: Sequence[Case], vectors: Vectors | None, records: Sequence[EcgRecord | None] | None
    ) -> tuple[list[str], Vectors]:
        ids = [case.case_id for case in cases]
        if len(set(ids)) != len(ids):
            twice = next(case_id for case_id in ids if ids.count(case_id) > 1)
            raise QueryError(f"case {twice!r} comes twice in one call")
        if records is not None and len(records) != len(ids):
            raise QueryError(f"{len(records)} records for {len(ids)} cases (expected one each, or None)")
        if vectors is None:
            return ids, np.empty((0, self.dim), dtype=np.float32)
        matrix = check_vectors(vectors, self.dim)
        if len(matrix) != len(ids):
            raise QueryError(f"{len(matrix)} vectors for {len(ids)} cases (expected one each)")
        return ids, matrix

    def _keep_records(self, rows: Sequence[int], records: Sequence[EcgRecord | None] | None) -> None:
        pairs = zip(rows, records or [], strict=False)
        self._store.insert_records((row, record) for row, record in pairs if record is not None)

    def _known(self, case_ids: Sequence[str]) -> dict[str, int]:
        known = self._store.rows_of(case_ids)
        missing = [case_id for case_id in case_ids if case_id not in known]
        if missing:
            raise QueryError(f"case {missing[0]!r} is not in the base ({len(missing)} of {len(case_ids)} are not)")
        return known

    def _n(self) -> int:
        return self._store.number("n_cases")

    def _rows_where(self, where: Where) -> Ids:
        if self._filters_generation != self._snapshots.generation or len(self._filters) >= _FILTERS_KEPT:
            self._filters, self._filters_generation = {}, self._snapshots.generation
        if where not in self._filters:
            self._filters[where] = self._store.rows_where(where)
        return self._filters[where]

    def _left_out(self, patient_id: str | None, case_id: str | None) -> set[int]:
        rows = set() if patient_id is None else set(self._store.rows_of_patient(patient_id))
        return rows if case_id is None else rows | set(self._store.rows_of([case_id]).values())
