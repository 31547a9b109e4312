"""`CaseBase`: what search, transfer and the API ask of a case base, wherever it is kept.

Two kinds stand behind it: `ecgkin.index.folder.base.FolderBase` (SQLite and FAISS in a folder) and
`ecgkin.index.milvus.base.MilvusBase` (a collection on a Milvus server or in Milvus Lite). `ecgkin.index.open_base` and
`ecgkin.index.create_base` choose between them by the address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors, check_vectors
from ecgkin.index.filters import WhereLike
from ecgkin.index.manifest import Manifest
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EncoderMismatchError, QueryError

Block: TypeAlias = "tuple[list[Case], Vectors, list[EcgRecord | None]]"


class CaseBase(Protocol):
    """Cases with their unit vectors and, where they were kept, their samples; searched by cosine, filtered inside.

    Objects may be shared by threads. Methods raise `CaseBaseError` when the base was closed or cannot be read or
    written, and `QueryError` for arguments that cannot be used.
    """

    @property
    def path(self) -> Path:
        """Folder on this machine for what belongs to the base but not to its cases (relevance feedback)."""

    @property
    def manifest(self) -> Manifest:
        """Identity of the base: its encoder, dimension and drawing version."""

    @property
    def place(self) -> str:
        """Folder or address, for messages."""

    @property
    def encoder_name(self) -> str:
        """Name of the encoder whose vectors these are."""
        return self.manifest.encoder_name

    @property
    def encoder_fingerprint(self) -> str:
        """Fingerprint of that encoder."""
        return self.manifest.fingerprint

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.manifest.dim

    def __len__(self) -> int:
        """Number of cases."""

    def __contains__(self, case_id: object) -> bool:
        """Whether a case of this id is there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish writing and let go of files, locks and connections."""

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuse another encoder than the one that the base was built with.

        Args:
            encoder: The one that is loaded.

        Raises:
            EncoderMismatchError: Name, fingerprint or dimension differ. Where the weights of a published encoder lie
                ("merl:DIR") may differ: the fingerprint says that they are the same.
        """
        have = (self.encoder_name, self.encoder_fingerprint, self.dim)
        given = (encoder.name, encoder.fingerprint, encoder.dim)
        if have[1:] != given[1:] or have[0].partition(":")[0] != given[0].partition(":")[0]:
            raise EncoderMismatchError(
                f"case base {self.place} was built with encoder {have[0]} {have[1][:12]} ({have[2]} dimensions), "
                f"loaded is {given[0]} {given[1][:12]} ({given[2]} dimensions)",
                hint="load that encoder, or encode the cases again with this one: ecgkin base reencode BASE NEW",
            )

    def search(
        self,
        vector: Vectors,
        k: int = 10,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        exclude_case: str | None = None,
    ) -> list[tuple[Case, float]]:
        """The k most similar cases.

        Args:
            vector: Unit vector, shape (dim,) or (1, dim).
            k: >= 1; all cases that may be found come back where they are fewer.
            where: Filter that acts inside the search.
            exclude_patient: Leave out the cases of this patient.
            exclude_case: Leave out this case.

        Returns:
            Cases and scores (true cosines, -1 to 1), best first.

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
        """`search` for many vectors of shape (n_queries, dim), with one exclusion for each or none at all.

        Args:
            vectors: Unit rows, shape (n_queries, dim).
            k: >= 1.
            where: Filter that acts inside the search, the same for all.
            exclude_patients: For each query the patient whose cases are left out, or None; None for no exclusions.
            exclude_cases: For each query the case that is left out, or None.

        Returns:
            For each query cases and scores (true cosines), best first.
        """

    def get(self, case_id: str) -> Case:
        """One case; QueryError if it is not there."""

    def find(self, case_ids: Sequence[str]) -> dict[str, Case]:
        """Those of the cases that are there, by id."""

    def cases(self, where: WhereLike = None, offset: int = 0, limit: int | None = None) -> list[Case]:
        """Cases that a filter lets through, in the order in which they (or their vectors) came.

        Args:
            where: The filter.
            offset: How many are passed over, >= 0.
            limit: How many at most; None for all.

        Returns:
            At most `limit` cases.
        """

    def count(self, where: WhereLike = None) -> int:
        """How many cases a filter lets through."""

    def vector(self, case_id: str) -> Vectors:
        """The vector of a case, shape (dim,); QueryError if the case is not there."""
        found: Vectors = self.vectors([case_id])[0]
        return found

    def vectors(self, case_ids: Sequence[str]) -> Vectors:
        """The vectors of cases, shape (n, dim), in the order given; QueryError if one is not there."""

    def record(self, case_id: str) -> EcgRecord | None:
        """The samples of a case, None if they were not kept; QueryError if the case is not there."""

    def blocks(self, size: int = 500) -> Iterator[Block]:
        """The whole base, in the order of `cases`.

        Args:
            size: Cases a block.

        Yields:
            Cases, vectors (n, dim) and samples. Each block is of one state of the base; where somebody writes
            meanwhile, blocks may be of different states.
        """

    def some(self, case_ids: Sequence[str]) -> Block:
        """Cases, vectors (n, dim) and samples of those ids that are there, in the order given."""

    def ids_by_content(self, content_hashes: Collection[str]) -> dict[str, list[str]]:
        """Content hash (`case.content_hash`) to the cases with that content, in the order in which they came.

        Hashes that no case has, and "", are left out.
        """

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other writers out until the block ends, where the kind of base can; without it they may come in between.

        Raises:
            CaseBaseError: When entered: somebody else is writing.
        """

    def add(self, cases: Sequence[Case], vectors: Vectors, records: Sequence[EcgRecord | None] | None = None) -> None:
        """Add cases; they are durable when this returns.

        Args:
            cases: With ids that are new.
            vectors: Unit rows, shape (len(cases), dim).
            records: The samples to keep with them (rounded to 1 uV), or None.

        Raises:
            QueryError: An id is taken or comes twice, or the vectors cannot be used.
            CaseBaseError: The base cannot be written.
        """

    def update(
        self,
        cases: Sequence[Case],
        vectors: Vectors | None = None,
        records: Sequence[EcgRecord | None] | None = None,
    ) -> None:
        """Put cases in the place of those with the same ids.

        Args:
            cases: With ids that are there.
            vectors: New vectors, shape (len(cases), dim); None keeps the old ones.
            records: New samples; None, as a whole or for one case, keeps the old ones.

        Raises:
            QueryError: An id is not there or comes twice, or the vectors cannot be used.
            CaseBaseError: The base cannot be written.
        """

    def remove(self, case_ids: Collection[str]) -> None:
        """Remove cases.

        Raises:
            QueryError: One of them is not there.
            CaseBaseError: The base cannot be written.
        """

    def compact(self) -> None:
        """Build the index anew in the kind that suits the size and give freed space back."""

    def info(self) -> dict[str, Any]:
        """Identity, counts and sizes, as JSON values."""

    def verify(self) -> None:
        """Read everything and compare it with its checksums; slow.

        Raises:
            ManifestError: Something is damaged or does not fit.
        """


def checked_batch(
    dim: int, cases: Sequence[Case], vectors: Vectors | None, records: Sequence[EcgRecord | None] | None
) -> tuple[list[str], Vectors]:
    """The ids and vectors of a batch that is to be written.

    Args:
        dim: Length of a vector.
        cases: The cases.
        vectors: Unit rows, shape (len(cases), dim), or None.
        records: As many as cases, or None.

    Returns:
        Ids, and the vectors as float32 of shape (len(cases), dim); (0, dim) where none are given.

    Raises:
        QueryError: An id comes twice, numbers differ, or the vectors cannot be used.
    """
    ids = [case.case_id for case in cases]
    if len(set(ids)) != len(ids):
        twice = next(case_id for case_id in ids if ids.count(case_id) > 1)
        raise QueryError(f"case {twice!r} comes twice in one call")
    if records is not None and len(records) != len(ids):
        raise QueryError(f"{len(records)} records for {len(ids)} cases (expected one each, or None)")
    if vectors is None:
        return ids, np.empty((0, dim), dtype=np.float32)
    matrix = check_vectors(vectors, dim)
    if len(matrix) != len(ids):
        raise QueryError(f"{len(matrix)} vectors for {len(ids)} cases (expected one each)")
    return ids, matrix


def distinct_ids(case_ids: Collection[str]) -> list[str]:
    """The ids without repetition, in their order; one text counts as one id."""
    return list(dict.fromkeys([case_ids] if isinstance(case_ids, str) else case_ids))


def check_all_known(wanted: Sequence[str], known: Mapping[str, object]) -> None:
    """Refuse ids that are not there.

    Args:
        wanted: Ids that were asked for.
        known: What is there, by id.

    Raises:
        QueryError: One is not among the known ones.
    """
    missing = [case_id for case_id in wanted if case_id not in known]
    if missing:
        raise QueryError(
            f"case {missing[0]!r} is not in the base ({len(missing)} of {len(wanted)} are not)",
            hint="`ecgkin cases list` names those that are",
        )
