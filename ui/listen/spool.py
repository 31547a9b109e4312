"""`Spool`: what has arrived and is not yet in the case base, on the disk before anybody is told that it is here.

    SPOOL/waiting/<key>/     entry.json, and the files as they came in ecg/
    SPOOL/set_aside/<key>/   the same, with reason.txt: what could not be read
    SPOOL/arriving/          being written or being removed; swept at the start

An entry is written and forced to the disk in `arriving`, then renamed into `waiting`: it is there whole or not at all,
whenever the process or the power goes. Its key is a hash of its content, so what comes twice waits once. Folders are
for their owner alone: files, their names and their headers tell who a patient is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ecgkin.index.atomic import WriterLock, sync_folder
from ecgkin.retrieval.errors import CaseBaseError, why

ABOUT, REASON, ATTEMPTS, FILES = "entry.json", "reason.txt", "attempts", "ecg"
LEAST_FREE = 256_000_000
"""Bytes of disk that stay free: the case base on it must go on, and the entries have to be taken out again."""


@dataclass(frozen=True)
class Entry:
    """One ECG that waits.

    Attributes:
        key: Hash of its content, 32 hex digits.
        door: "dicom" or "folder".
        name: The file to open, below the entry's folder.
        shown: What it was called where it came from: a path below the watched folder, or the SOP instance.
        sop_instance: DICOM's own identity of it; "" for what has none.
        sender: Application entity that sent it; "" for a folder.
        received_ns: When, nanoseconds since 1970.
    """

    key: str
    door: str
    name: str
    shown: str
    sop_instance: str
    sender: str
    received_ns: int


class Spool:
    """The folder; one process at a time.

    Args:
        folder: Made where it is missing.

    Raises:
        CaseBaseError: It cannot be written, or another process has it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting_folder, self.aside_folder = folder / "waiting", folder / "set_aside"
        self._arriving = folder / "arriving"
        self._turn = threading.Lock()
        self.arrived = threading.Event()
        """Set whenever an entry has come; whoever empties the spool clears it."""
        try:
            for made in (folder, self.waiting_folder, self.aside_folder, self._arriving):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CaseBaseError(f"spool {folder} cannot be made: {why(error)}", hint="name another --spool") from error
        self._lock = WriterLock(folder / "lock")
        self._lock.acquire()
        for rest in self._arriving.iterdir():
            shutil.rmtree(rest)
        for holder in (folder.parent, folder):
            sync_folder(holder)

    def close(self) -> None:
        """Let another process have it."""
        self._lock.release()

    def put(
        self,
        files: Mapping[str, bytes],
        *,
        door: str,
        shown: str,
        sop_instance: str = "",
        sender: str = "",
    ) -> tuple[str, bool]:
        """Keep an ECG; when this returns, it is on the disk.

        Args:
            files: Content by name; the first one is what is opened.
            door, shown, sop_instance, sender: See `Entry`.

        Returns:
            Its key, and whether it is new: what waits already, or was set aside, is not kept a second time.

        Raises:
            OSError: It cannot be written, or the disk is nearly full. Nothing is kept then.
        """
        key = key_of(files, sop_instance)
        with self._turn:  # whoever has put it there has forced it to the disk before he let go
            if self.knows(key):
                return key, False
        size = sum(map(len, files.values()))
        free = shutil.disk_usage(self.folder).free
        if free < size + LEAST_FREE:
            raise OSError(28, "No space left on device", str(self.folder))
        made = self._arriving / uuid.uuid4().hex
        made.mkdir(mode=0o700)
        (made / FILES).mkdir(mode=0o700)
        name = next(iter(files))
        entry = Entry(key, door, name, shown, sop_instance, sender, time.time_ns())
        try:
            about = json.dumps(asdict(entry), ensure_ascii=False).encode("utf-8", "surrogateescape")
            _write(made / ABOUT, about)
            for file, content in files.items():
                _write(made / FILES / file, content)
            for folder in (made / FILES, made):
                sync_folder(folder)
            with self._turn:
                if self.knows(key):
                    return key, False
                made.rename(self.waiting_folder / key)
                sync_folder(self.waiting_folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self.arrived.set()
        return key, True

    def knows(self, key: str) -> bool:
        """Whether it waits or was set aside."""
        return (self.waiting_folder / key).exists() or (self.aside_folder / key).exists()

    def was_set_aside(self, key: str) -> bool:
        """Whether it came before and could not be used."""
        return (self.aside_folder / key).exists()

    def waiting(self) -> list[Entry]:
        """What waits, in the order in which it came. An entry whose description cannot be read is set aside."""
        found = []
        for folder in list(self.waiting_folder.iterdir()):
            try:
                found.append(Entry(**json.loads((folder / ABOUT).read_bytes().decode("utf-8", "surrogateescape"))))
            except (OSError, ValueError, TypeError) as error:
                self._aside(folder.name, f"{ABOUT} cannot be read: {why(error)}")
        return sorted(found, key=lambda entry: (entry.received_ns, entry.key))

    def path(self, entry: Entry) -> Path:
        """The file of a waiting entry that is to be opened."""
        return self.waiting_folder / entry.key / FILES / entry.name

    def begin(self, entries: Sequence[Entry]) -> None:
        """Write down that entries are being read: what ends the process is known by it at the next start."""
        for entry in entries:
            (self.waiting_folder / entry.key / ATTEMPTS).write_text(str(self.attempts(entry) + 1))

    def forget_attempts(self, entries: Sequence[Entry]) -> None:
        """The process has survived them, whatever hindered it."""
        for entry in entries:
            (self.waiting_folder / entry.key / ATTEMPTS).unlink(missing_ok=True)

    def attempts(self, entry: Entry) -> int:
        """How many times the reading of an entry was begun and not ended."""
        try:
            return int((self.waiting_folder / entry.key / ATTEMPTS).read_text() or 0)
        except (OSError, ValueError):
            return 0

    def done(self, entry: Entry) -> None:
        """It is in the case base, and on the disk there. Out of sight in one step: no half of it is ever met."""
        gone = self._arriving / uuid.uuid4().hex
        (self.waiting_folder / entry.key).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def set_aside(self, entry: Entry, reason: str) -> Path:
        """Keep what cannot be used, and say why beside it.

        Returns:
            Where it is now.
        """
        return self._aside(entry.key, reason)

    def _aside(self, key: str, reason: str) -> Path:
        target = self.aside_folder / key
        if target.exists():
            shutil.rmtree(target)
        (self.waiting_folder / key).rename(target)
        (target / ATTEMPTS).unlink(missing_ok=True)
        _write(target / REASON, f"{reason}\n".encode("utf-8", "replace"))
        for folder in (target, self.aside_folder, self.waiting_folder):
            sync_folder(folder)
        return target


def key_of(files: Mapping[str, bytes], sop_instance: str = "") -> str:
    """Hash of the names' endings, the content and the SOP instance: what a file is called does not count.

    >>> key_of({"a.xml": b"1"}) == key_of({"b.XML": b"1"}), key_of({"a.xml": b"1"}) == key_of({"a.xml": b"2"})
    (True, False)
    """
    found = hashlib.blake2b(digest_size=16)
    for part in (sop_instance.encode(), *_parts(files)):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()


def _parts(files: Mapping[str, bytes]) -> list[bytes]:
    return [part for name, content in files.items() for part in (Path(name).suffix.lower().encode(), content)]


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
