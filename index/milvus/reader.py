"""`MilvusReader`: what is asked of a case base on Milvus; `milvus_base` adds what changes it.

Which collection is meant by a name is settled when the base is opened: an alias may be switched to a new collection
(`ecgkin.index.transfer.switching`) while bases that are open go on with the old one. Readers see what others write
after a fraction of a second, their own writes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors, check_exclusions, check_k, check_vectors
from ecgkin.index.filters.language import Where, WhereLike
from ecgkin.index.folder.base import CaseBase
from ecgkin.index.folder.reader import Block
from ecgkin.index.manifest import Manifest
from ecgkin.index.milvus.address import MilvusAddress
from ecgkin.index.milvus.filters import expression, primary_key, spelled
from ecgkin.index.milvus.rows import (
    BODY_FIELDS,
    MANIFEST_KEY,
    case_of,
    facts_of,
    manifest_of,
    record_of,
)
from ecgkin.index.milvus.table import MOST_HITS, RESCORED, MilvusTable, connect, target_of
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import CaseBaseError, ManifestError, QueryError

FACTS_OF_AT_MOST = 50_000  # cases that `info` looks at one by one


class MilvusReader(CaseBase):
    """The reading half of an open case base on Milvus."""

    def __init__(self, address: MilvusAddress) -> None:
        self._open: Any = connect(address)
        self._address = address
        self._turn = threading.RLock()
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

    @property
    def path(self) -> Path:  # type: ignore[override]
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
        """As in `CaseBase`."""
        return str(self._address)

    @property
    def collection(self) -> str:
        """Name of the collection that was meant when the base was opened."""
        return self._rows.collection

    @property
    def manifest(self) -> Manifest:
        """What the base says about itself."""
        return self._manifest

    def close(self) -> None:
        """Let go of the connection."""
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
        """As in `CaseBase`; at most 16,384 hits."""
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
        """As in `CaseBase`."""
        return case_of(self._known([case_id], BODY_FIELDS)[case_id])

    def cases(self, where: WhereLike = None, offset: int = 0, limit: int | None = None) -> list[Case]:
        """As in `CaseBase`; reads the keys of all that the filter lets through."""
        if offset < 0 or (limit is not None and limit < 0):
            raise QueryError(f"offset is {offset} and limit {limit} (expected >= 0)")
        keys = self._in_order(where)[offset : None if limit is None else offset + limit]
        rows = {row["pk"]: row for row in self._table().by_key(keys, BODY_FIELDS)}
        return [case_of(rows[key]) for key in keys if key in rows]

    def count(self, where: WhereLike = None) -> int:
        """As in `CaseBase`."""
        parsed = Where.parse(where)
        return self._table().count("" if parsed.is_all else expression(parsed, self._address.tenant))

    def vectors(self, case_ids: Sequence[str]) -> Vectors:
        """As in `CaseBase`."""
        rows = self._known(case_ids, ("pk", "vector"))
        out = np.empty((len(case_ids), self.dim), dtype=np.float32)
        for i, case_id in enumerate(case_ids):
            out[i] = rows[case_id]["vector"]
        return out

    def record(self, case_id: str) -> EcgRecord | None:
        """As in `CaseBase`."""
        row = self._known([case_id], ("pk", "samples", "n_pieces"))[case_id]
        return self._records([row])[0]

    def case_ids_with_content(self, content_hash: str) -> list[str]:
        """As in `CaseBase`."""
        if not content_hash:
            return []
        rows = self._table().rows(f'content == "{spelled(content_hash)}"', BODY_FIELDS)
        return [case_of(row).case_id for row in sorted(rows, key=lambda row: (row["sequence"], row["pk"]))]

    def blocks(self, size: int = 500) -> Iterator[Block]:
        """As in `CaseBase`; what is removed meanwhile is left out, what is added meanwhile may be."""
        keys = self._in_order(None)
        for start in range(0, len(keys), size):
            block = self._block(keys[start : start + size])
            if block[0]:
                yield block

    def some(self, case_ids: Sequence[str]) -> Block:
        """As in `CaseBase`."""
        return self._block([self._key(case_id) for case_id in case_ids])

    def info(self) -> dict[str, Any]:
        """As in `CaseBase`; counts of labels, sources and so on are those of the first 50,000 cases."""
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
        missing = [case_id for case_id in case_ids if case_id not in rows]
        if missing:
            raise QueryError(f"case {missing[0]!r} is not in the base ({len(missing)} of {len(case_ids)} are not)")
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
        pieces: dict[str, list[Mapping[str, Any]]] = {}
        for piece in self._table().by_key(keys, ["pk", "piece"], samples=True):
            pieces.setdefault(piece["pk"].partition(".")[0], []).append(piece)
        return [
            record_of(row["samples"], int(row["n_pieces"]), pieces.get(row["samples"], [])) if row["samples"] else None
            for row in rows
        ]


def piece_keys(row: Mapping[str, Any]) -> list[str]:
    """Keys of the pieces of a case's samples."""
    return [f"{row['samples']}.{i}" for i in range(int(row["n_pieces"]))]
