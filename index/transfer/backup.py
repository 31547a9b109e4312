"""Snapshots of a case base: consistent while others write, checked by checksums, restored to a folder or to Milvus.

A snapshot is itself a case base in a folder, with `snapshot.json` beside its files: their checksums and a checksum over
the cases. Of a folder it is the state of one moment (SQLite's online backup). Of a base on Milvus, which has no such
moment to offer, it is the state that two readings in a row agreed on.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ecgkin.index import is_milvus, open_base
from ecgkin.index.atomic import TEMPORARY, file_digest, sync_folder, write_atomic
from ecgkin.index.folder.base import LOCK, FolderBase
from ecgkin.index.folder.store import STORE
from ecgkin.index.transfer.copy import base_digest, copy_base
from ecgkin.retrieval.errors import CaseBaseError, ManifestError

_LOG = logging.getLogger(__name__)

FILE = "snapshot.json"
_FORMAT = "ecgkin-snapshot-1"


@dataclass(frozen=True)
class Snapshot:
    """What `snapshot.json` says.

    Attributes:
        source: Folder or address that the snapshot was taken of.
        taken_at: ISO time, UTC.
        n_cases: Cases in it.
        digest: `transfer.base_digest` of it.
        files: Checksum of each file.
    """

    source: str
    taken_at: str
    n_cases: int
    digest: str
    files: dict[str, str]
    format: str = _FORMAT


def take_snapshot(source: str | Path, folder: str | Path) -> Snapshot:
    """Write a snapshot of a base that may be searched and written to meanwhile.

    Args:
        source: Folder or address of the base.
        folder: Where the snapshot goes: not there yet.

    Raises:
        CaseBaseError: There is no such base, the folder is there already, or the disk refuses.
    """
    target = Path(folder).resolve()
    if target.exists():
        raise CaseBaseError(f"{folder} is there already", hint="choose another folder for the snapshot")
    made = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY}")
    shutil.rmtree(made, ignore_errors=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        taken_at = datetime.now(UTC).isoformat(timespec="seconds")
        with open_base(source) as base:
            if is_milvus(source):
                copy_base(base, made)
            else:
                made.mkdir()
                for name in sorted(path.name for path in base.path.glob("*.sqlite")):
                    _back_up(base.path / name, made / name)
        with FolderBase.repair(made) as copy:  # the index is made from what was saved, not taken from beside it
            copy.verify()
            n_cases, digest = len(copy), base_digest(copy)
        (made / LOCK).unlink(missing_ok=True)
        files = {path.name: file_digest(path) for path in sorted(made.iterdir()) if path.is_file()}
        found = Snapshot(str(source), taken_at, n_cases, digest, files)
        write_atomic(made / FILE, lambda path: _write(path, asdict(found)))
        os.rename(made, target)
        sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise CaseBaseError(f"snapshot {folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    _LOG.info("snapshot cases=%d digest=%s", found.n_cases, found.digest)
    return found


def read_snapshot(folder: str | Path) -> Snapshot:
    """What a snapshot says about itself, after its files were compared with their checksums.

    Raises:
        CaseBaseError: It is none.
        ManifestError: A file is missing or has another content.
    """
    path = Path(folder) / FILE
    try:
        found = Snapshot(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CaseBaseError(f"{folder} is no snapshot: {error}", hint="make one with `ecgkin base snapshot`") from error
    for name, digest in found.files.items():
        file = Path(folder) / name
        if not file.is_file() or file_digest(file) != digest:
            what = "has another content than snapshot.json says" if file.is_file() else "is missing"
            raise ManifestError(f"{file} {what}", hint="take another snapshot")
    return found


def restore_snapshot(folder: str | Path, target: str | Path) -> Snapshot:
    """Make a base from a snapshot.

    Args:
        folder: The snapshot.
        target: Folder or address on Milvus where nothing is yet.

    Raises:
        CaseBaseError, ManifestError: As `read_snapshot`; or something is at the target, or what is read back from it
            differs from the snapshot.
    """
    found = read_snapshot(folder)
    if is_milvus(target):
        with open_base(folder) as base:
            copy_base(base, target)
    else:
        place = Path(target).resolve()
        if place.exists():
            raise CaseBaseError(f"{target} is there already", hint="choose another folder")
        made = place.with_name(f".{place.name}.{os.getpid()}{TEMPORARY}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            made.mkdir()
            for name in found.files:
                shutil.copy2(Path(folder) / name, made / name)
            os.rename(made, place)
            sync_folder(place.parent)
        except OSError as error:
            raise CaseBaseError(f"{target} cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(made, ignore_errors=True)
    with open_base(target) as base:
        if len(base) != found.n_cases or base_digest(base) != found.digest:
            raise ManifestError(f"{target} differs from the snapshot {folder}", hint="remove it and restore again")
    return found


def _back_up(source: Path, target: Path) -> None:
    """SQLite's online backup: the state of one moment, also while somebody writes."""
    uri = f"{source.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
        if source.name == STORE:
            new.execute("PRAGMA journal_mode=WAL")


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
