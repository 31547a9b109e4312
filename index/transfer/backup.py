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
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecgkin.index import is_milvus, open_base
from ecgkin.index.atomic import TEMPORARY, file_digest, sync_folder, write_atomic
from ecgkin.index.base import CaseBase
from ecgkin.index.folder.base import LOCK, FolderBase
from ecgkin.index.folder.store import STORE, connect
from ecgkin.index.manifest import LARGEST, MANIFEST, first_fault
from ecgkin.index.transfer.copy import base_digest, copy_base
from ecgkin.retrieval.errors import CaseBaseError, ManifestError, why

_LOG = logging.getLogger(__name__)

FILE = "snapshot.json"
_HINT = "make one with `ecgkin base snapshot`"
_LARGEST_HEAD = 1 << 20
_DIGEST = r"\A[0-9a-f]{32}\z"
_FILE_NAME = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,199}\z"


class Snapshot(BaseModel):
    """What `snapshot.json` says.

    Attributes:
        source: Folder or address that the snapshot was taken of.
        taken_at: ISO time, UTC.
        n_cases: Cases in it.
        digest: `copy.base_digest` of it.
        files: Checksum of each file by its name: plain names, so that a snapshot from elsewhere cannot point outside.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    source: str
    taken_at: str
    n_cases: int = Field(ge=0, le=LARGEST)
    digest: str = Field(pattern=_DIGEST)
    files: dict[Annotated[str, Field(pattern=_FILE_NAME)], Annotated[str, Field(pattern=_DIGEST)]]
    format: Literal["ecgkin-snapshot-1"] = "ecgkin-snapshot-1"


def take_snapshot(source: str | Path, folder: str | Path) -> Snapshot:
    """Write a snapshot of a base that may be searched and written to meanwhile.

    Args:
        source: Folder or address of the base.
        folder: Where the snapshot goes: not there yet.

    Returns:
        What `snapshot.json` says.

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
        found = Snapshot(source=str(source), taken_at=taken_at, n_cases=n_cases, digest=digest, files=files)
        text = json.dumps(found.model_dump(), indent=1, sort_keys=True) + "\n"
        write_atomic(made / FILE, lambda path: path.write_text(text, encoding="utf-8"))
        os.rename(made, target)
        sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise CaseBaseError(f"snapshot {folder} cannot be written: {why(error)}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    _LOG.info("snapshot cases=%d digest=%s", found.n_cases, found.digest)
    return found


def read_snapshot(folder: str | Path) -> Snapshot:
    """What a snapshot says about itself, after its files were compared with their checksums.

    Args:
        folder: The snapshot; it may come from a stranger.

    Raises:
        CaseBaseError: It is none.
        ManifestError: A file is missing, is a link, or has another content.
    """
    path = Path(folder) / FILE
    try:
        found = Snapshot.model_validate_json(_plain_bytes(path))
    except ValidationError as error:
        raise CaseBaseError(f"{folder} is no snapshot: {first_fault(error)}", hint=_HINT) from error
    except OSError as error:
        raise CaseBaseError(f"{folder} is no snapshot: {why(error)}", hint=_HINT) from error
    if not {STORE, MANIFEST} <= set(found.files):
        raise CaseBaseError(f"{folder} is no snapshot: it names no {STORE} or no {MANIFEST}", hint=_HINT)
    for name, digest in found.files.items():
        file = Path(folder) / name
        if file.is_symlink() or not file.is_file() or file_digest(file) != digest:
            what = "is missing"
            if file.exists():
                what = "is a link" if file.is_symlink() else "has another content than snapshot.json says"
            raise ManifestError(f"{file} {what}", hint="take another snapshot")
    return found


def restore_snapshot(folder: str | Path, target: str | Path) -> Snapshot:
    """Make a base from a snapshot.

    Args:
        folder: The snapshot.
        target: Folder or address on Milvus where nothing is yet.

    Returns:
        What the snapshot says about itself.

    Raises:
        CaseBaseError, ManifestError: As `read_snapshot`; or something is at the target, or what is read back from it
            differs from the snapshot.
    """
    found = read_snapshot(folder)
    milvus = is_milvus(target)
    place = Path(target).resolve()
    if not milvus and place.exists():
        raise CaseBaseError(f"{target} is there already", hint="choose another folder")
    beside = Path(tempfile.gettempdir()) / "restored" if milvus else place
    made = beside.with_name(f".{beside.name}.{os.getpid()}{TEMPORARY}")
    try:
        made.mkdir(parents=True)
        for name in (name for name in found.files if name.endswith(Path(STORE).suffix)):
            shutil.copyfile(Path(folder) / name, made / name, follow_symlinks=False)
            # Again: what was compared before may have been exchanged since.
            if (made / name).is_symlink() or file_digest(made / name) != found.files[name]:
                raise ManifestError(f"{Path(folder) / name} was changed while it was copied", hint="restore again")
        # The index is made anew: FAISS must not read a file that a stranger made.
        with FolderBase.repair(made) as base:
            _check_equal(base, found, folder)
            if milvus:
                copy_base(base, target)
        (made / LOCK).unlink(missing_ok=True)
        if not milvus:
            os.rename(made, place)
            sync_folder(place.parent)
    except OSError as error:
        raise CaseBaseError(f"{target} cannot be written: {why(error)}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if milvus:
        with open_base(target) as copied:
            _check_equal(copied, found, folder)
    return found


def _check_equal(base: CaseBase, found: Snapshot, folder: str | Path) -> None:
    if len(base) != found.n_cases or base_digest(base) != found.digest:
        raise ManifestError(f"{base.place} differs from the snapshot {folder}", hint="take another snapshot")


def _back_up(source: Path, target: Path) -> None:
    """SQLite's online backup: the state of one moment, also while somebody writes."""
    with closing(connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
        if source.name == STORE:
            new.execute("PRAGMA journal_mode=WAL")


def _plain_bytes(path: Path) -> bytes:
    if path.is_symlink():
        raise OSError(f"{path.name} is a link")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise OSError(f"{path.name} is no file")
    if path.stat().st_size > _LARGEST_HEAD:
        raise OSError(f"{path.name} has {path.stat().st_size} bytes")
    return path.read_bytes()
