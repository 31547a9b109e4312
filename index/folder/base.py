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
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.engines.protocol import Vectors, check_vectors
from ecgkin.index.folder.atomic import TEMPORARY, WriterLock, sync_folder
from ecgkin.index.folder.reader import CaseReader
from ecgkin.index.folder.snapshot import Snapshots
from ecgkin.index.folder.store import STORE, Store
from ecgkin.index.manifest import MANIFEST, Manifest
from ecgkin.index.milvus.address import MilvusAddress, is_milvus
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, ManifestError, QueryError

LOCK = "writer.lock"


def make_folder(folder: Path, manifest: Manifest, kind: str) -> None:
    """Make an empty case base beside its place and rename it: it is there as a whole or not at all.

    Args:
        folder: Not there yet, or empty.
        manifest: Of the new base.
        kind: Kind of index (`faiss_kinds.KINDS`), or "auto" to choose by size.

    Raises:
        CaseBaseError: Something is there already, or the folder cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CaseBaseError(f"{folder} is there already", hint="open it, or choose another folder")
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


def find_folder(path: str | Path) -> Path:
    """The folder of a case base; a link is followed once.

    Raises:
        CaseBaseError: There is no case base.
    """
    folder = Path(path)
    folder = folder.resolve() if folder.is_symlink() else folder
    if not folder.is_dir() or not ((folder / STORE).exists() or (folder / MANIFEST).exists()):
        what = "is not a case base" if folder.exists() else "does not exist"
        raise CaseBaseError(f"{folder} {what}", hint="make one with `ecgkin ingest`")
    return folder


def repair_folder(folder: Path) -> None:
    """Make manifest and index anew from cases.sqlite.

    Raises:
        ManifestError: cases.sqlite itself is missing or damaged.
        CaseBaseError: Somebody is writing to the base.
    """
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


_LOG = logging.getLogger(__name__)


class CaseBase(CaseReader):
    """An open case base; make one with `CaseBase.create` or `CaseBase.open`, and close it (or use `with`)."""

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        super().__init__(path, device=device)
        self._lock = WriterLock(path / LOCK)

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
            path: Its folder: not there yet, or empty; or an address on Milvus (`milvus_address`).
            encoder_name, fingerprint, dim: The encoder whose vectors will come.
            drawing_version, preprocessing: How the pictures are made that the encoder sees.
            kind: Kind of index (`faiss_kinds.KINDS`), or "auto" to choose by size.
            device: Where a flat index is searched: "auto", "cpu", "cuda".

        Raises:
            CaseBaseError: Something is there already, or the folder cannot be written.
            QueryError: dim or kind is out of range.
        """
        from ecgkin.index.engines.faiss import KINDS

        plain = json.loads(json.dumps(dict(preprocessing or {})))
        manifest = Manifest(uuid.uuid4().hex, encoder_name, fingerprint, dim, drawing_version, plain)
        if is_milvus(path) and dim >= 1:
            from ecgkin.index.milvus.base import MilvusBase

            return MilvusBase.make(MilvusAddress.parse(path), manifest, kind)
        if dim < 1 or kind not in ("auto", *KINDS):
            raise QueryError(f"dim is {dim} and kind {kind!r} (expected >= 1, and auto or one of {', '.join(KINDS)})")
        folder = Path(path)
        make_folder(folder, manifest, kind)
        return cls(folder, device=device)

    @classmethod
    def open(cls, path: str | Path, encoder: Encoder | None = None, *, device: str = "auto") -> CaseBase:
        """Open a case base.

        Args:
            path: Its folder, or its address on Milvus (`milvus_address`). A link is followed once, here: the base
                stays the one that it was, wherever the link may point later.
            encoder: If given, it must be the one that the base was built with.
            device: Where a flat index is searched: "auto", "cpu", "cuda".

        Raises:
            CaseBaseError: There is none.
            ManifestError: Its files do not belong together, are cut short or were edited.
            EncoderMismatchError: It was built with another encoder.
        """
        if is_milvus(path):
            from ecgkin.index.milvus.base import MilvusBase

            return _for_encoder(MilvusBase(MilvusAddress.parse(path)), encoder)
        return _for_encoder(cls(find_folder(path), device=device), encoder)

    @classmethod
    def repair(cls, path: str | Path) -> CaseBase:
        """Make manifest and index anew from cases.sqlite, then open the base.

        Raises:
            ManifestError: cases.sqlite itself is missing or damaged.
            CaseBaseError: Somebody is writing to the base.
        """
        folder = Path(path)
        repair_folder(folder)
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
            **manifest.identity(),
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


def _for_encoder(base: CaseBase, encoder: Encoder | None) -> CaseBase:
    if encoder is not None:
        try:
            base.check_encoder(encoder)
        except EncoderMismatchError:
            base.close()
            raise
    return base
