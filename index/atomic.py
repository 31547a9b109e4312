"""Files that are either the old ones or the new ones, whenever the power goes; checksums; the lock of a writer."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ecgkin.retrieval.errors import CaseBaseError, why

TEMPORARY = ".tmp"


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the target, force it to the disk, then rename over the target.

    Args:
        path: The target, in a folder that exists.
        write: Writes a whole file to the path it is given.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk: a rename is durable only after this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """BLAKE2b of a file, 128 bits as 32 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def checksum(*parts: str | bytes) -> bytes:
    """BLAKE2b of texts and blobs, 64 bits: 8 bytes. Where one part ends and the next begins counts."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        found.update(len(raw).to_bytes(8, "little") + raw)
    return found.digest()


def checksums(many: Iterable[Sequence[str | bytes]]) -> list[bytes]:
    """`checksum` of each of many sequences of parts."""
    return [checksum(*parts) for parts in many]


class WriterLock:
    """An exclusive lock on a file, held until `release` or the end of the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the lock, or keep it.

        Args:
            wait_s: How long to wait for another holder.

        Raises:
            CaseBaseError: Another process, or another object of this one, holds it; or the folder cannot be written.
        """
        if self._handle is not None:
            return
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CaseBaseError(f"{self.path.parent} cannot be written: {why(error)}") from error
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                os.close(handle)
                raise CaseBaseError(
                    f"somebody else is writing to {self.path.parent} (one writer at a time; readers are not affected)",
                    hint="wait until the other ingest has ended",
                ) from error
        self._handle = handle

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
