"""The two collections of a case base on Milvus: made, read in pages, written in batches; Milvus's complaints as ours.

Reads see what this object has written: the first read after a write asks Milvus for strong consistency (it waits for
the server's next time tick, 0.2 s), later ones take what is there. What other clients have written shows after a tick.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ecgkin.index.milvus.address import MilvusAddress
from ecgkin.index.milvus.rows import SAMPLE_DIM, TEXT_BYTES
from ecgkin.retrieval.errors import CaseBaseError

MOST_HITS = 16_384  # rows that one search or query of Milvus returns
ROWS_A_WRITE = 4_000  # some 16 MB at 448 dimensions; Milvus takes 64 MB a message
KEYS_A_READ = 500
TIMEOUT_S = 60.0
# A server that was killed and started again loads a collection only when the lease of its former self is over.
LOAD_S = 900.0
_KEY_BYTES = 512
_TEXTS = {"tenant": 256, "patient": 256, "source": 256, "language": 256, "sex": 8, "date": 32, "content": 256}
# kind: (index of Milvus, how it is built, how it is searched). M, efConstruction: as for the FAISS engine; nlist:
# Milvus's advice, 4 sqrt(rows of a segment of 512 MB).
INDEXES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "flat": ("FLAT", {}, {}),
    "hnsw": ("HNSW", {"M": 32, "efConstruction": 200}, {"ef": 96}),
    "ivf_sq8": ("IVF_SQ8", {"nlist": 1024}, {"nprobe": 64}),
    "ivf_rabitq": ("IVF_RABITQ", {"nlist": 1024, "refine": True, "refine_type": "SQ8"}, {"nprobe": 64}),
    "diskann": ("DISKANN", {}, {"search_list": 100}),
}
RESCORED = ("ivf_sq8", "ivf_rabitq", "diskann")  # their own scores are approximate
_FLAT_UP_TO, _GRAPH_UP_TO = 100_000, 5_000_000  # docs/scale.md


def choose_milvus_kind(n: int, version: str) -> str:
    """The index for n cases: exact, a graph in memory, then codes; RaBitQ came with Milvus 2.6.

    Args:
        n: Number of cases.
        version: Of the server, "2.3.5" or "v2.6.1".

    Returns:
        One of `INDEXES`.

    >>> choose_milvus_kind(20_000, "2.3.5"), choose_milvus_kind(10**6, "2.3.5"), choose_milvus_kind(10**7, "v2.6.1")
    ('flat', 'hnsw', 'ivf_rabitq')
    """
    if n <= _FLAT_UP_TO:
        return "flat"
    if n <= _GRAPH_UP_TO:
        return "hnsw"
    parts = [int(part) for part in version.lstrip("v").split(".")[:2] if part.isdecimal()]
    return "ivf_rabitq" if parts >= [2, 6] else "diskann"


@contextmanager
def milvus_errors(where: object) -> Iterator[None]:
    """Milvus's exceptions as `CaseBaseError`, naming the case base."""
    from grpc import RpcError
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, RpcError, ConnectionError) as error:
        text = str(getattr(error, "message", "") or error).strip().splitlines()
        raise CaseBaseError(
            f"{where}: {text[0][:300] if text else 'it gives no reason'}", hint="is Milvus up?"
        ) from error


def connect(address: MilvusAddress) -> Any:
    """A client of the server, or of Milvus Lite.

    Raises:
        CaseBaseError: pymilvus is not installed, or nobody answers.
    """
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise CaseBaseError(f"{address} needs pymilvus: {error}", hint="pip install 'ecgkin[milvus]'") from error
    # It logs a traceback for what it raises as well.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    with milvus_errors(address):
        return MilvusClient(address.uri, timeout=TIMEOUT_S)


def target_of(client: Any, address: MilvusAddress) -> str | None:
    """The collection that the address's name or alias means; None where there is none.

    Args:
        client: See `connect`.
        address: Whose name or alias it is.

    Returns:
        Name of the collection itself.
    """
    with milvus_errors(address):
        if not client.has_collection(address.collection):
            return None
        return str(client.describe_collection(address.collection)["collection_name"])


class MilvusTable:
    """The rows of one tenant in the collection of an address, and the samples beside it.

    Args:
        client: See `connect`.
        address: Which case base.
        collection: Name of the collection itself: an alias may come to mean another one.

    Attributes:
        kind: Of its index, one of `INDEXES`.
    """

    def __init__(self, client: Any, address: MilvusAddress, collection: str) -> None:
        self.client = client
        self.address = address
        self.collection = collection
        self.samples = f"{collection}_samples"
        self._written = self._seen = 0
        with self.errors():
            for name in (self.collection, self.samples):
                client.load_collection(name, timeout=LOAD_S)
            self.kind = self._kind()
            self._written += 1  # the first read waits for what others have written just now

    @staticmethod
    def make(client: Any, address: MilvusAddress, collection: str, dim: int, kind: str) -> None:
        """Make both collections, empty.

        Args:
            client: See `connect`.
            address: For messages.
            collection: Name of the collection of cases; that of the samples gets a suffix.
            dim: Length of a vector.
            kind: One of `INDEXES`.
        """
        from pymilvus import DataType

        cases = client.create_schema(auto_id=False, enable_dynamic_field=False)
        cases.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=_KEY_BYTES)
        for name, size in _TEXTS.items():
            cases.add_field(name, DataType.VARCHAR, max_length=size)
        cases.add_field("sequence", DataType.INT64)
        cases.add_field("age", DataType.DOUBLE)
        cases.add_field("labels", DataType.JSON)
        cases.add_field("body", DataType.VARCHAR, max_length=TEXT_BYTES)
        cases.add_field("samples", DataType.VARCHAR, max_length=_KEY_BYTES)
        cases.add_field("n_pieces", DataType.INT64)
        cases.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        pieces = client.create_schema(auto_id=False, enable_dynamic_field=False)
        pieces.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=_KEY_BYTES)
        pieces.add_field("piece", DataType.VARCHAR, max_length=TEXT_BYTES)
        pieces.add_field("vector", DataType.FLOAT_VECTOR, dim=SAMPLE_DIM)
        with milvus_errors(address):
            # One shard: a batch is one message, there as a whole or not at all.
            for name, schema, of_kind in ((collection, cases, kind), (f"{collection}_samples", pieces, "flat")):
                client.create_collection(name, schema=schema, num_shards=1, consistency_level="Bounded")
                _index(client, name, of_kind)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Milvus's exceptions as `CaseBaseError`."""
        with milvus_errors(self.address):
            yield

    def count(self, expression: str = "") -> int:
        """How many rows of the tenant an expression is true of."""
        own = f'tenant == "{self.address.tenant}"'  # Milvus Lite counts past the partition
        text = f"{own} and {expression}" if expression else own
        rows = self._query(self.collection, text, ["count(*)"], partition_names=[self.address.tenant])
        return int(rows[0]["count(*)"])

    def rows(self, expression: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """All rows of the tenant that an expression is true of, in no order.

        Args:
            expression: See `filters.expression`.
            fields: What is read of each row.

        Returns:
            Rows as dictionaries.
        """
        partition = [self.address.tenant]
        if self.count(expression) <= MOST_HITS // 2:
            return self._query(self.collection, expression, fields, partition_names=partition, limit=MOST_HITS)
        with self.errors():
            pages = self.client.query_iterator(
                self.collection, filter=expression, output_fields=list(fields), partition_names=partition,
                batch_size=MOST_HITS // 4, consistency_level="Eventually",
            )  # fmt: skip
            try:
                return [dict(row) for page in iter(pages.next, []) for row in page]
            finally:
                pages.close()

    def by_key(self, keys: Iterable[str], fields: Sequence[str], *, samples: bool = False) -> list[dict[str, Any]]:
        """Rows by primary key, in no order; those that are not there are left out.

        Args:
            keys: Primary keys.
            fields: What is read of each row.
            samples: Whether the rows of samples are meant.

        Returns:
            Rows as dictionaries.
        """
        wanted = list(dict.fromkeys(keys))
        found = []
        for start in range(0, len(wanted), KEYS_A_READ):
            some = ", ".join(f'"{key}"' for key in wanted[start : start + KEYS_A_READ])
            where = self.samples if samples else self.collection
            found += self._query(where, f"pk in [{some}]", fields, limit=KEYS_A_READ)
        return found

    def search(self, vectors: Any, k: int, expression: str, fields: Sequence[str]) -> list[list[dict[str, Any]]]:
        """The k nearest of each vector, best first: rows with their "score".

        Args:
            vectors: Unit rows, shape (n_queries, dim).
            k: How many, 1 to `MOST_HITS`.
            expression: Filter inside the search; "" for none.
            fields: What is read of each row.

        Returns:
            For each vector its rows.
        """
        breadth = {name: max(least, 2 * k) if name in ("ef", "search_list") else least for name, least in
                   INDEXES[self.kind][2].items()}  # fmt: skip
        seen, level = self._written, self._level()
        with self.errors():
            answer = self.client.search(
                self.collection, data=list(vectors), limit=k, filter=expression, output_fields=list(fields),
                search_params={"metric_type": "COSINE", "params": breadth},
                partition_names=[self.address.tenant], consistency_level=level, timeout=TIMEOUT_S,
            )  # fmt: skip
        self._seen = max(self._seen, seen)
        return [[{**hit["entity"], "score": float(hit["distance"])} for hit in hits] for hits in answer]

    def write(self, rows: Sequence[Mapping[str, Any]], *, samples: bool = False) -> None:
        """Insert rows, or replace those with the same keys; acknowledged when this returns.

        Args:
            rows: Values by field.
            samples: Whether they are rows of samples.
        """
        partition = "_default" if samples or (rows and not rows[0]["tenant"]) else self.address.tenant
        with self.errors():
            for start in range(0, len(rows), ROWS_A_WRITE):
                some = [dict(row) for row in rows[start : start + ROWS_A_WRITE]]
                self._written += 1
                self.client.upsert(
                    self.samples if samples else self.collection, some, partition_name=partition, timeout=TIMEOUT_S
                )

    def delete(self, keys: Sequence[str], *, samples: bool = False) -> None:
        """Delete rows by primary key.

        Args:
            keys: Primary keys; those that are not there do not matter.
            samples: Whether rows of samples are meant.
        """
        with self.errors():
            for start in range(0, len(keys), ROWS_A_WRITE):
                some = list(keys[start : start + ROWS_A_WRITE])
                self._written += 1
                self.client.delete(
                    self.samples if samples else self.collection, ids=some, timeout=TIMEOUT_S,
                    partition_name="_default" if samples else self.address.tenant,
                )  # fmt: skip

    def compact(self, kind: str) -> None:
        """Write what is in memory, merge small segments, and change the index where another kind is wanted.

        While the index changes, searches fail: copy into a new base instead where that must not be.
        """
        with self.errors():
            for name in (self.collection, self.samples):
                self.client.flush(name, timeout=10 * TIMEOUT_S)
            if kind != self.kind:
                self.client.release_collection(self.collection)
                self.client.drop_index(self.collection, "vector")
                _index(self.client, self.collection, kind)
                self.client.load_collection(self.collection)
                self.kind = kind
            self.client.compact(self.collection)

    def _query(self, collection: str, expression: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        seen, level = self._written, self._level()
        with self.errors():
            found = self.client.query(
                collection, filter=expression, output_fields=list(fields), consistency_level=level, timeout=TIMEOUT_S,
                **options,
            )  # fmt: skip
        if collection == self.collection:
            self._seen = max(self._seen, seen)
        return [dict(row) for row in found]

    def _level(self) -> str:
        return "Strong" if self._seen < self._written else "Eventually"

    def _kind(self) -> str:
        for name in self.client.list_indexes(self.collection):
            found = self.client.describe_index(self.collection, name)
            for kind, (index_type, _, _) in INDEXES.items():
                if found.get("index_type") == index_type:
                    return kind
        raise CaseBaseError(f"{self.address}: the collection {self.collection} has no index that ecgkin knows")


def _index(client: Any, collection: str, kind: str) -> None:
    index_type, build, _ = INDEXES[kind]
    params = client.prepare_index_params()
    params.add_index("vector", index_type=index_type, metric_type="COSINE", params=build)
    client.create_index(collection, params)
