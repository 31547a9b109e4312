"""`MilvusBase`: a case base on Milvus, the sibling of `ecgkin.index.folder.base.FolderBase`.

The collection is the only truth: cases, reports, vectors and samples (see `rows`). A batch is written in one
message, samples first; what `add` has acknowledged survives a kill of the server. Not as in a folder: several writers
may write at a time (the last one wins), a batch of more than 4,000 cases is not one transaction, and readers see what
others write after a fraction of a second.

Which collection is meant by a name is settled when the base is opened: an alias may be switched to a new collection
(`ecgkin.index.transfer.switching`) while bases that are open go on with the old one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.base import Block, CaseBase, check_all_known, checked_batch, distinct_ids
from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors, check_exclusions, check_k, check_vectors
from ecgkin.index.filters import Where, WhereLike
from ecgkin.index.manifest import Manifest
from ecgkin.index.milvus.address import MilvusAddress
from ecgkin.index.milvus.filters import expression, primary_key, spelled
from ecgkin.index.milvus.rows import (
    BODY_FIELDS,
    MANIFEST_KEY,
    case_of,
    case_row,
    facts_of,
    manifest_of,
    manifest_row,
    record_of,
    sample_rows,
    samples_sum_of,
)
from ecgkin.index.milvus.table import (
    INDEXES,
    KEYS_A_READ,
    MOST_HITS,
    RESCORED,
    MilvusTable,
    choose_milvus_kind,
    connect,
    target_of,
)
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, ManifestError, QueryError

FACTS_OF_AT_MOST = 50_000  # cases that `info` looks at one by one


class MilvusBase(CaseBase):
    """An open case base on Milvus; made by `ecgkin.index.create_base`, opened by `ecgkin.index.open_base`.

    Args:
        address: Where it is.

    Raises:
        CaseBaseError: There is none, or nobody answers.
        ManifestError: The collection is no case base.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self._open: Any = connect(address)
        self._address = address
        try:
            collection = target_of(self._open, address)
            if collection is None:
                raise CaseBaseError(f"{address} does not exist", hint="make one with `ecgkin ingest`")
            self._rows = MilvusTable(self._open, address, collection)
            found = self._rows.by_key([MANIFEST_KEY], ["pk", "body"])
            if not found:
                raise ManifestError(f"{address} has no manifest: it is no case base, or was never made to its end")
            self._manifest, self._wanted = manifest_of(found[0], str(address))
            with self._rows.errors():
                if not self._open.has_partition(collection, address.tenant):
                    raise CaseBaseError(f"{address} does not exist: no such tenant in {collection}")
        except BaseException:
            self._open.close()
            raise

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

        Args:
            address: Where it goes.
            manifest: Of the new base.
            kind: One of `table.INDEXES`, or "auto" to choose by size when the base is compacted.

        Returns:
            The open base.

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

    @property
    def path(self) -> Path:
        """A folder on this machine for what belongs to the base but not to its cases (marks of clinicians)."""
        if self._address.is_lite:
            folder = Path(f"{Path(self._address.uri).resolve()}.ecgkin")
        else:
            name = "".join(c if c.isalnum() else "-" for c in str(self._address).partition("://")[2])
            folder = Path.home() / ".local" / "share" / "ecgkin" / "milvus" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def place(self) -> str:
        """See `CaseBase`."""
        return str(self._address)

    @property
    def collection(self) -> str:
        """Name of the collection that was meant when the base was opened."""
        return self._rows.collection

    @property
    def manifest(self) -> Manifest:
        """See `CaseBase.manifest`."""
        return self._manifest

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def __len__(self) -> int:
        return self._table().count()

    def __contains__(self, case_id: object) -> bool:
        return isinstance(case_id, str) and bool(self._table().by_key([self._key(case_id)], ["pk"]))

    def search_many(
        self,
        vectors: Vectors,
        k: int = 10,
        where: WhereLike = None,
        exclude_patients: Sequence[str | None] | None = None,
        exclude_cases: Sequence[str | None] | None = None,
    ) -> list[list[tuple[Case, float]]]:
        """As `CaseBase` says; at most 16,384 hits."""
        matrix, k, parsed = check_vectors(vectors, self.dim, "queries"), check_k(k), Where.parse(where)
        patients, excluded = check_exclusions(len(matrix), exclude_patients, exclude_cases)
        table = self._table()
        wanted = min(k, table.count())
        if wanted > MOST_HITS:
            raise QueryError(f"k is {k} (Milvus returns at most {MOST_HITS} hits)")
        out: list[list[tuple[Case, float]]] = [[] for _ in matrix]
        if not wanted:
            return out
        groups: dict[str, list[int]] = {}
        for i, (patient, case_id) in enumerate(zip(patients, excluded, strict=True)):
            parts = [] if parsed.is_all else [expression(parsed, self._address.tenant)]
            parts += [] if patient is None else [f'patient != "{spelled(patient)}"']
            parts += [] if case_id is None else [f'pk != "{self._key(case_id)}"']
            groups.setdefault(" and ".join(parts), []).append(i)
        rescored = table.kind in RESCORED
        fields = ["pk", "body", "vector"] if rescored else ["pk", "body"]
        depth = min(MOST_HITS, max(10 * wanted, 200)) if rescored else wanted
        for condition, members in groups.items():
            for i, hits in zip(members, table.search(matrix[members], depth, condition, fields), strict=True):
                for hit in hits if rescored else ():
                    hit["score"] = float(np.asarray(hit["vector"], dtype=np.float32) @ matrix[i])
                hits.sort(key=lambda hit: (-hit["score"], hit["pk"]))
                out[i] = [(case_of(hit), min(1.0, max(-1.0, hit["score"]))) for hit in hits[:wanted]]
        return out

    def get(self, case_id: str) -> Case:
        """See `CaseBase`."""
        return case_of(self._known([case_id], BODY_FIELDS)[case_id])

    def find(self, case_ids: Sequence[str]) -> dict[str, Case]:
        """See `CaseBase`."""
        return {case_id: case_of(row) for case_id, row in self._rows_of(case_ids, BODY_FIELDS).items()}

    def cases(self, where: WhereLike = None, offset: int = 0, limit: int | None = None) -> list[Case]:
        """As `CaseBase` says; reads the keys of all that the filter lets through."""
        if offset < 0 or (limit is not None and limit < 0):
            raise QueryError(f"offset is {offset} and limit {limit} (expected >= 0)")
        keys = self._in_order(where)[offset : None if limit is None else offset + limit]
        rows = {row["pk"]: row for row in self._table().by_key(keys, BODY_FIELDS)}
        return [case_of(rows[key]) for key in keys if key in rows]

    def count(self, where: WhereLike = None) -> int:
        """See `CaseBase`."""
        parsed = Where.parse(where)
        return self._table().count("" if parsed.is_all else expression(parsed, self._address.tenant))

    def vectors(self, case_ids: Sequence[str]) -> Vectors:
        """See `CaseBase`."""
        rows = self._known(case_ids, (*BODY_FIELDS, "vector"))
        for row in rows.values():
            case_of(row)  # compares the checksums
        out = np.empty((len(case_ids), self.dim), dtype=np.float32)
        for i, case_id in enumerate(case_ids):
            out[i] = rows[case_id]["vector"]
        return out

    def record(self, case_id: str) -> EcgRecord | None:
        """See `CaseBase`."""
        row = self._known([case_id], BODY_FIELDS)[case_id]
        return self._records([row])[0]

    def ids_by_content(self, content_hashes: Collection[str]) -> dict[str, list[str]]:
        """See `CaseBase`."""
        found: dict[str, list[str]] = {}
        wanted = sorted(set(content_hashes) - {""})
        for start in range(0, len(wanted), KEYS_A_READ):
            values = ", ".join(f'"{spelled(digest)}"' for digest in wanted[start : start + KEYS_A_READ])
            rows = self._table().rows(f"content in [{values}]", BODY_FIELDS)
            for row in sorted(rows, key=lambda row: (row["sequence"], row["pk"])):
                case = case_of(row)
                found.setdefault(case.content_hash, []).append(case.case_id)
        return found

    def blocks(self, size: int = 500) -> Iterator[Block]:
        """As `CaseBase` says; what is removed meanwhile is left out, what is added meanwhile may be."""
        keys = self._in_order(None)
        for start in range(0, len(keys), size):
            block = self._block(keys[start : start + size])
            if block[0]:
                yield block

    def some(self, case_ids: Sequence[str]) -> Block:
        """See `CaseBase`."""
        return self._block([self._key(case_id) for case_id in case_ids])

    def info(self) -> dict[str, Any]:
        """As `CaseBase` says; counts of labels, sources and so on are those of the first 50,000 cases."""
        rows = self._table().by_key(self._in_order(None)[:FACTS_OF_AT_MOST], BODY_FIELDS)
        return {
            "path": str(self._address),
            "collection": self.collection,
            **self._manifest.identity(),
            "index_kind": self._rows.kind,
            "index_generation": 0,
            "n_cases": len(self),
            **facts_of(rows),
            "bytes": {},
        }

    def verify(self) -> None:
        """Read everything; slow.

        Raises:
            ManifestError: Something is damaged or does not fit.
        """
        n = 0
        for cases, vectors, _ in self.blocks():
            n += len(cases)
            try:
                check_vectors(vectors, self.dim)
            except QueryError as error:
                raise ManifestError(f"{self._address}: {error}") from error
        if n != len(self):
            raise ManifestError(f"{self._address}: {n} cases can be read, {len(self)} are counted")

    def exclusive(self) -> AbstractContextManager[None]:
        """Nothing is kept out: Milvus takes many writers."""
        return nullcontext()

    def add(self, cases: Sequence[Case], vectors: Vectors, records: Sequence[EcgRecord | None] | None = None) -> None:
        """As `CaseBase` says; acknowledged by the server when this returns."""
        ids, matrix = checked_batch(self.dim, cases, vectors, records)
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
        """See `CaseBase`."""
        ids, matrix = checked_batch(self.dim, cases, vectors, records)
        rows = self._known(ids, (*BODY_FIELDS, "vector"))
        if vectors is None:
            matrix = np.array([rows[case_id]["vector"] for case_id in ids], dtype=np.float32)
        replaced = self._put(cases, matrix, records, rows, keep_order=vectors is None)
        self._table().delete(replaced, samples=True)

    def remove(self, case_ids: Collection[str]) -> None:
        """See `CaseBase`."""
        ids = distinct_ids(case_ids)
        rows = self._known(ids, ("pk", "samples", "n_pieces"))
        self._table().delete([row["pk"] for row in rows.values()])
        self._table().delete([key for row in rows.values() for key in piece_keys(row)], samples=True)

    def compact(self) -> None:
        """Write what is in memory to the server's disk; change to the index that suits the size (searches wait)."""
        with self._rows.errors():
            version = str(self._open.get_server_version())
        n = self._table().count()
        self._table().compact(choose_milvus_kind(n, version) if self._wanted == "auto" else self._wanted)

    def _table(self) -> MilvusTable:
        if self._open is None:
            raise CaseBaseError(f"{self._address} was closed", hint="open it again")
        return self._rows

    def _key(self, case_id: str) -> str:
        return primary_key(self._address.tenant, case_id)

    def _rows_of(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        keys = {self._key(case_id): case_id for case_id in ids}
        return {keys[row["pk"]]: row for row in self._table().by_key(keys, fields)}

    def _known(self, case_ids: Sequence[str], fields: Sequence[str] = ("pk",)) -> dict[str, Any]:
        rows = self._rows_of(case_ids, fields)
        check_all_known(case_ids, rows)
        return rows

    def _in_order(self, where: WhereLike) -> list[str]:
        rows = self._table().rows(expression(Where.parse(where), self._address.tenant), ["pk", "sequence"])
        return [row["pk"] for row in sorted(rows, key=lambda row: (row["sequence"], row["pk"]))]

    def _block(self, keys: Sequence[str]) -> Block:
        rows = {row["pk"]: row for row in self._table().by_key(keys, (*BODY_FIELDS, "vector"))}
        there = [rows[key] for key in keys if key in rows]
        matrix = np.array([row["vector"] for row in there], dtype=np.float32).reshape(len(there), self.dim)
        return [case_of(row) for row in there], matrix, self._records(there)

    def _records(self, rows: Sequence[Mapping[str, Any]]) -> list[EcgRecord | None]:
        keys = [key for row in rows for key in piece_keys(row)]
        pieces = {row["pk"]: row["piece"] for row in self._table().by_key(keys, ["pk", "piece"], samples=True)}
        return [record_of(row, pieces) if row["samples"] else None for row in rows]

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
            samples_sum = samples_sum_of(before) if prefix else ""
            if record is not None:
                replaced += piece_keys(before)
                prefix = uuid.uuid4().hex
                own, samples_sum = sample_rows(prefix, record)
                n_pieces = len(own)
                pieces += own
            sequence = int(before["sequence"]) if keep_order else now + i
            rows.append(case_row(case, matrix[i], self._address.tenant, sequence, prefix, n_pieces, samples_sum))
        self._table().write(pieces, samples=True)
        self._table().write(rows)
        return replaced


def piece_keys(row: Mapping[str, Any]) -> list[str]:
    """Keys of the pieces of a case's samples."""
    return [f"{row['samples']}.{i}" for i in range(int(row["n_pieces"]))]
