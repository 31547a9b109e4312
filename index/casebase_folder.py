"""The folder of a case base from outside: made as a whole, found by its path, made whole again from its store."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ecgkin.index.atomic import TEMPORARY, WriterLock, sync_folder
from ecgkin.index.manifest import MANIFEST, Manifest
from ecgkin.index.snapshot import Snapshots
from ecgkin.index.store import Store
from ecgkin.index.store_reader import STORE
from ecgkin.retrieval.errors import CaseBaseError, ManifestError

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
