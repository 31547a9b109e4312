"""The reading half of a case base: search, cases, vectors, samples, always of one state of the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Ids, Vectors, check_exclusions, check_k, check_vectors
from ecgkin.index.filters.language import Where, WhereLike
from ecgkin.index.folder.snapshot import Snapshots
from ecgkin.index.folder.store import Store
from ecgkin.index.manifest import Manifest
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EncoderMismatchError, QueryError

Block: TypeAlias = "tuple[list[Case], Vectors, list[EcgRecord | None]]"
# Up to so many left-out cases are simply searched past; more become part of the filter.
_SEARCH_PAST = 256
_FILTERS_KEPT = 32


class CaseReader:
    """What can be asked of an open case base; `CaseBase` adds opening and writing.

    Attributes:
        path: Its folder.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        self.path = path
        self._turn = threading.RLock()
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

    def __len__(self) -> int:
        with self._reading():
            return self._store.number("n_cases")

    @property
    def manifest(self) -> Manifest:
        """What the base says about itself, as of the last index file."""
        return self._snapshots.manifest

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return str(self.path)

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

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuse another encoder than the one that the base was built with.

        Raises:
            EncoderMismatchError: Name, fingerprint or dimension differ.
        """
        have = (self.encoder_name, self.encoder_fingerprint, self.dim)
        given = (encoder.name, encoder.fingerprint, encoder.dim)
        if have != given:
            raise EncoderMismatchError(
                f"case base {self.place} was built with encoder {have[0]} {have[1][:12]} ({have[2]} dimensions), "
                f"loaded is {given[0]} {given[1][:12]} ({given[2]} dimensions)",
                hint="load that encoder, or ingest the cases again with this one",
            )

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
        patients, excluded = check_exclusions(len(matrix), exclude_patients, exclude_cases)
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

    def blocks(self, size: int = 500) -> Iterator[Block]:
        """Cases, vectors (n, dim) and samples of the whole base, in the order of `cases`, `size` at a time.

        Each block is of one state of the store; blocks may be of different ones where somebody writes meanwhile.
        """
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
        """Cases, vectors (n, dim) and samples of those ids that are there, in the order given."""
        with self._reading():
            known = self._store.rows_of(case_ids)
            order = [known[case_id] for case_id in case_ids if case_id in known]
            cases = self._store.cases(order)
            records = [self._store.record(row) for row in order]
            vectors = self._store.vectors(np.array(order, dtype=np.int64))
        return [cases[row] for row in order], vectors, records

    def has_content(self, content_hash: str) -> bool:
        """Whether a case with this content (see `case.content_hash`) is there."""
        return bool(self.case_ids_with_content(content_hash))

    def case_ids_with_content(self, content_hash: str) -> list[str]:
        """The cases with this content."""
        with self._reading():
            return self._store.case_ids_with_content(content_hash) if content_hash else []

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, self._store.reading():
            self._snapshots.refresh()
            yield

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
