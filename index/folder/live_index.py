"""`LiveIndex`: the vector index of a case base in memory and on disk; loaded, caught up with the store, written."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import numpy as np

from ecgkin.index.atomic import TEMPORARY, file_digest, write_atomic
from ecgkin.index.engines.faiss import KINDS, QUANTISED, FaissIndex, choose_kind, training_rows
from ecgkin.index.folder.store import STORE, Store
from ecgkin.index.manifest import FORMAT, REPAIR_HINT, SCHEMA_VERSION, Manifest
from ecgkin.retrieval.errors import CaseBaseError, ManifestError

_IDENTITY = ("base_id", "encoder_name", "fingerprint", "dim", "drawing_version", "preprocessing")
# Catching up reads some 100,000 vectors a second; a tenth of a second of that is not worth a new file.
LAG = 50_000
_TRIES = 20  # a reader that meets a writer in mid-exchange of the index file reads the manifest again


class LiveIndex:
    """The index that follows a store. Called inside `Store.reading`, except `rebuild` and `sweep`.

    Attributes:
        index: In memory, at `generation`.
        generation: State of the store that `index` shows; -1 where it shows none.
        manifest: As last read or written.
    """

    def __init__(self, folder: Path, store: Store, *, device: str = "auto") -> None:
        self.folder = folder
        self.store = store
        self.device = device
        self.generation = -1
        self.max_row = 0
        self.index = self._empty("flat")
        self.manifest = Manifest(base_id="", encoder_name="", fingerprint="", dim=store.dim, drawing_version="")

    @staticmethod
    def identity(manifest: Manifest) -> dict[str, str]:
        """What store and manifest must agree on, as the store keeps it."""
        values = manifest.model_dump()
        return {name: json.dumps(values[name], sort_keys=True) for name in _IDENTITY}

    @property
    def lags_far(self) -> bool:
        """So much has been added since the last index file that a new one should be written."""
        return self.max_row - self.manifest.max_row > max(LAG, self.manifest.n_cases // 2)

    def check(self) -> None:
        """Read the manifest and see that manifest and store belong together.

        Raises:
            ManifestError: They do not.
        """
        self.manifest = Manifest.read(self.folder)
        path = self.folder / STORE
        meta = self.store.meta()
        for name, value in self.identity(self.manifest).items():
            if meta.get(name) != value:
                raise ManifestError(
                    f"manifest.json and {path} do not belong together: {name} is {value} and {meta.get(name)}",
                    hint=REPAIR_HINT,
                )
        counted = self.store.count()
        if counted != self.store.number("n_cases"):
            raise ManifestError(f"{path} was edited: it holds {counted} cases (expected {meta['n_cases']})")

    def refresh(self) -> None:
        """Bring the index to the state of the store that is being read."""
        now = self.store.number("generation")
        if now == self.generation:
            return
        try:
            if self.generation < max(0, self.store.number("pruned")) or now < self.generation:
                self._load()
            self._catch_up()
        except BaseException:
            self.generation = -1  # half-changed: the next one to ask starts from the file
            raise

    def save(self) -> None:
        """Write index and manifest, if the index is ahead of its file; changes its kind when the size asks for it."""
        if self.generation == self.manifest.generation and self.manifest.index_file:
            return
        kind = self._wanted_kind()
        if kind != self.index.kind:
            self.index = self._built(kind)
        elif self.index.outgrown:
            self.index.rebuild()
        # Never a name that an older manifest means: that one must stay true until the new one is there.
        name = f"index-{self.generation}-{uuid.uuid4().hex[:8]}.faiss"
        path = self.folder / name
        write_atomic(path, self.index.save)
        self.manifest = self.manifest.model_copy(
            update={
                "generation": self.generation,
                "n_cases": len(self.index),
                "max_row": self.max_row,
                "index_file": name,
                "index_kind": self.index.kind,
                "index_bytes": path.stat().st_size,
                "index_digest": file_digest(path),
            }
        )
        self.manifest.write(self.folder)
        self.sweep()

    def rebuild(self) -> None:
        """Make index and manifest from the store alone."""
        with self.store.reading():
            meta = self.store.meta()
            try:
                values = {name: json.loads(meta[name]) for name in _IDENTITY}
            except (KeyError, ValueError, RecursionError) as error:
                raise ManifestError(f"{self.store.path} does not say whose vectors it holds: {error!r:.200}") from error
            head = {"format": FORMAT, "schema_version": SCHEMA_VERSION}
            self.manifest = Manifest.of({**values, **head}, str(self.store.path))
            self.generation = self.store.number("generation")
            self.max_row = self.store.number("next_row") - 1
            self.index = self._built(self._wanted_kind())
            self.save()

    def sweep(self) -> None:
        """Delete index files that the manifest does not mean and what a crash left half-written."""
        current = Manifest.read(self.folder).index_file
        for path in self.folder.iterdir():
            stale = path.name.startswith("index-") and path.suffix == ".faiss" and path.name != current
            if stale or path.name.endswith(TEMPORARY):
                path.unlink(missing_ok=True)

    def problems(self) -> list[str]:
        """Differences between the vectors of the index and those of the store; reads all of them."""
        found = []
        n = 0
        for rows, vectors in self.store.vectors_after(0):
            n += len(rows)
            missing = np.setdiff1d(rows, self.index.ids)
            if missing.size:
                found.append(f"{missing.size} vectors of the store are not in the index")
                break
            if np.abs(self.index.vectors(rows) - vectors).max() > 0:
                found.append("vectors of index and store differ")
                break
        else:
            if n != len(self.index):
                found.append(f"the index holds {len(self.index)} vectors, the store {n}")
        return found

    def _load(self) -> None:
        self.index = self._from_file()
        self.generation, self.max_row = self.manifest.generation, self.manifest.max_row
        if self.store.number("generation") < self.generation:
            self.store.renew()  # a writer may have come between the state that is being read and the manifest
        if self.store.number("generation") < self.generation:
            raise ManifestError(
                f"{self.folder / STORE} is older than manifest.json: generation "
                f"{self.store.number('generation')} (expected at least {self.generation})",
                hint=f"was it restored from a copy without its -wal file? {REPAIR_HINT}",
            )
        if self.generation < self.store.number("pruned"):
            # What was removed in between is forgotten: only all of the store tells.
            self.index, self.generation, self.max_row = self._empty("flat"), self.store.number("pruned"), 0

    def _from_file(self) -> FaissIndex:
        for attempt in range(_TRIES):
            self.manifest = Manifest.read(self.folder)
            if not self.manifest.index_file:
                return self._empty("flat")
            try:
                path = self.manifest.check_index(self.folder)
                index = FaissIndex.load(path, fetch=self.store.vectors, device=self.device)
            except (FileNotFoundError, ManifestError) as error:
                # Not ours to judge if a writer has just replaced file and manifest.
                if Manifest.read(self.folder) != self.manifest and attempt < _TRIES - 1:
                    time.sleep(0.01)
                    continue
                if isinstance(error, ManifestError):
                    raise
                raise ManifestError(
                    f"{self.folder / self.manifest.index_file} is missing (manifest.json names it)", hint=REPAIR_HINT
                ) from None
            except CaseBaseError as error:
                raise ManifestError(str(error), hint=REPAIR_HINT) from error
            if (len(index), index.dim) != (self.manifest.n_cases, self.manifest.dim):
                raise ManifestError(f"{path} holds {len(index)} vectors (expected {self.manifest.n_cases})")
            return index
        raise AssertionError  # the last attempt returns or raises

    def _catch_up(self) -> None:
        removed = self.store.removed_since(self.generation, self.max_row)
        self.index.remove(removed)
        for rows, vectors in self.store.vectors_after(self.max_row):
            self.index.add(rows, vectors)
        self.max_row = self.store.number("next_row") - 1
        expected = self.store.number("n_cases")
        if len(self.index) != expected:
            raise ManifestError(
                f"index and {self.folder / STORE} do not belong together: "
                f"{len(self.index)} vectors for {expected} cases",
                hint=REPAIR_HINT,
            )
        self.generation = self.store.number("generation")

    def _wanted_kind(self) -> str:
        kind = self.store.meta().get("kind")
        if kind not in ("auto", *KINDS):
            raise ManifestError(f"{self.store.path} is damaged: kind of index is {kind!r:.60}")
        n = self.store.number("n_cases")
        if kind == "auto":
            return choose_kind(n, self.manifest.dim)
        # Product quantisers need 256 vectors to train.
        return kind if n >= 256 or not kind.startswith("ivf") else "flat"

    def _built(self, kind: str) -> FaissIndex:
        """From the store, block by block: a million vectors never lie in memory besides the index itself."""
        index = self._empty(kind)
        n = self.store.number("n_cases")
        if kind in QUANTISED and n:
            # Every m-th row: those that came first may all be of one clinic.
            step = max(1, n // training_rows(n))
            sample, seen = [], 0
            for rows, vectors in self.store.vectors_after(0):
                sample.append(vectors[(-seen) % step :: step].copy())
                seen += len(rows)
            index.train(np.concatenate(sample), n)
        for rows, vectors in self.store.vectors_after(0):
            index.add(rows, vectors)
        return index

    def _empty(self, kind: str) -> FaissIndex:
        return FaissIndex(self.store.dim, kind, fetch=self.store.vectors, device=self.device)
