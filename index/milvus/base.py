"""`MilvusBase`: a case base on Milvus, with the same calls as one in a folder (`CaseBase.open` chooses by address).

The collection is the only truth: cases, reports, vectors and samples (see `milvus_rows`). A batch is written in one
message, samples first; what `add` has acknowledged survives a kill of the server. Not as in a folder: several writers
may write at a time (the last one wins), a batch of more than 4,000 cases is not one transaction, and readers see what
others write after a fraction of a second.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.manifest import Manifest
from ecgkin.index.milvus.address import MilvusAddress
from ecgkin.index.milvus.reader import MilvusReader, piece_keys
from ecgkin.index.milvus.rows import (
    MANIFEST_KEY,
    case_row,
    manifest_of,
    manifest_row,
    sample_rows,
)
from ecgkin.index.milvus.table import INDEXES, MilvusTable, choose_milvus_kind, connect, target_of
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, QueryError


class MilvusBase(MilvusReader):
    """An open case base on Milvus; made and opened by `CaseBase.create` and `CaseBase.open`."""

    @classmethod
    def exists(cls, address: MilvusAddress) -> bool:
        """Whether there is such a collection with a partition of this tenant.

        Raises:
            CaseBaseError: Nobody answers.
        """
        if address.is_lite and not Path(address.uri).exists():
            return False
        client = connect(address)
        try:
            collection = target_of(client, address)
            return collection is not None and bool(client.has_partition(collection, address.tenant))
        finally:
            client.close()

    @classmethod
    def make(cls, address: MilvusAddress, manifest: Manifest, kind: str) -> MilvusBase:
        """Make an empty base (or an empty partition for a new tenant of one with the same encoder) and open it.

        Raises:
            CaseBaseError: It is there already, or nobody answers.
            EncoderMismatchError: There is a collection for vectors of another encoder.
            QueryError: Milvus has no such index.
        """
        first = "flat" if kind == "auto" else kind
        if first not in INDEXES:
            raise QueryError(f"index kind is {kind!r} (expected auto or one of {', '.join(INDEXES)})")
        if address.is_lite:
            Path(address.uri).resolve().parent.mkdir(parents=True, exist_ok=True)
        client = connect(address)
        try:
            collection = target_of(client, address)
            if collection is None:
                collection = f"{address.collection}__{manifest.base_id[:8]}"
                MilvusTable.make(client, address, collection, manifest.dim, first)
                table = MilvusTable(client, address, collection)
                table.write([manifest_row(manifest, kind)])
                with table.errors():
                    client.create_partition(collection, address.tenant)
                    # The name comes last: without it there is no base, only a collection to be deleted.
                    client.create_alias(collection, address.collection)
            elif client.has_partition(collection, address.tenant):
                raise CaseBaseError(f"{address} is there already", hint="open it, or choose another name")
            else:
                table = MilvusTable(client, address, collection)
                there, _ = manifest_of(table.by_key([MANIFEST_KEY], ["pk", "body"])[0], str(address))
                if (there.fingerprint, there.dim) != (manifest.fingerprint, manifest.dim):
                    raise EncoderMismatchError(f"{address} holds vectors of encoder {there.encoder_name}")
                with table.errors():
                    client.create_partition(collection, address.tenant)
        finally:
            client.close()
        return cls(address)

    def add(self, cases: Sequence[Case], vectors: Vectors, records: Sequence[EcgRecord | None] | None = None) -> None:
        """As in `CaseBase`; acknowledged by the server when this returns."""
        ids, matrix = self._checked(cases, vectors, records)
        taken = self._rows_of(ids, ("pk",))
        if taken:
            raise QueryError(f"case {min(taken)!r} is in the base already", hint="use update, or remove it first")
        self._put(cases, matrix, records, {})

    def update(
        self,
        cases: Sequence[Case],
        vectors: Vectors | None = None,
        records: Sequence[EcgRecord | None] | None = None,
    ) -> None:
        """As in `CaseBase`."""
        ids, matrix = self._checked(cases, vectors, records)
        rows = self._known(ids, ("pk", "sequence", "samples", "n_pieces", "vector"))
        if vectors is None:
            matrix = np.array([rows[case_id]["vector"] for case_id in ids], dtype=np.float32)
        replaced = self._put(cases, matrix, records, rows, keep_order=vectors is None)
        self._table().delete(replaced, samples=True)

    def remove(self, case_ids: Collection[str]) -> None:
        """As in `CaseBase`."""
        ids = list(dict.fromkeys([case_ids] if isinstance(case_ids, str) else case_ids))
        rows = self._known(ids, ("pk", "samples", "n_pieces"))
        self._table().delete([row["pk"] for row in rows.values()])
        self._table().delete([key for row in rows.values() for key in piece_keys(row)], samples=True)

    def compact(self) -> None:
        """Write what is in memory to the server's disk; change to the index that suits the size (searches wait)."""
        with self._rows.errors():
            version = str(self._open.get_server_version())
        n = self._table().count()
        self._table().compact(choose_milvus_kind(n, version) if self._wanted == "auto" else self._wanted)

    def _put(
        self,
        cases: Sequence[Case],
        matrix: Vectors,
        records: Sequence[EcgRecord | None] | None,
        old: Mapping[str, Mapping[str, Any]],
        *,
        keep_order: bool = False,
    ) -> list[str]:
        """Write the samples, then the cases; the keys of samples that nobody names any more."""
        now = time.time_ns()
        rows, pieces, replaced = [], [], []
        for i, case in enumerate(cases):
            before = old.get(case.case_id, {"samples": "", "n_pieces": 0})
            record = records[i] if records is not None else None
            prefix, n_pieces = str(before["samples"]), int(before["n_pieces"])
            if record is not None:
                replaced += piece_keys(before)
                prefix = uuid.uuid4().hex
                own = sample_rows(prefix, record)
                n_pieces = len(own)
                pieces += own
            sequence = int(before["sequence"]) if keep_order else now + i
            rows.append(case_row(case, matrix[i], self._address.tenant, sequence, prefix, n_pieces))
        self._table().write(pieces, samples=True)
        self._table().write(rows)
        return replaced
