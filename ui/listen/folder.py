"""`WatchedFolder`: files that are put into a folder go into a spool once nobody writes to them any more.

The folder is looked through again and again (no notices of the operating system: network shares, on which carts leave
their files, send none). Files stay where they are unless they are to be removed; what was taken is known by its
content, so a start afterwards reads the folder once more and keeps nothing twice.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ecgkin.retrieval.ecg.formats.wfdb import beside
from ecgkin.retrieval.errors import QueryError, why
from ecgkin.ui.listen.spool import Spool, key_of

_LOG = logging.getLogger(__name__)

UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", "~")
SAMPLES = (".dat", ".mat")
LONELY_S = 60.0
"""How long a WFDB header waits for its samples, and a file of samples for its header, before it is taken alone."""
_DICOM_HEAD = 132

State = tuple[tuple[int, int], ...]


@dataclass
class _Seen:
    """A file, with those that belong to it, as it was at the last look."""

    state: State
    since: float
    taken: State | None = field(default=None)


class WatchedFolder:
    """Looks through a folder.

    Args:
        folder: The folder, with all below it; hidden files and unfinished copies (`UNFINISHED`) are left out.
        spool: Where its files go.
        max_bytes: Larger files are left where they are, and said once.
        settle_s: Seconds for which size and time of a file must not change before it is taken.
        every_s: Seconds between two looks.
        remove: Remove files from the folder once the spool has them on the disk.
        known: Whether a spool need not keep a file: (path, key) -> the base has it.
        clock: For tests.

    Raises:
        QueryError: There is no such folder.
    """

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        *,
        max_bytes: int,
        settle_s: float = 2.0,
        every_s: float = 2.0,
        remove: bool = False,
        known: Callable[[Path], bool] = lambda path: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not folder.is_dir():
            raise QueryError(f"{folder} is no folder to watch", hint="make it first")
        inside, outside = spool.folder.resolve(), folder.resolve()
        if inside.is_relative_to(outside) or outside.is_relative_to(inside):
            raise QueryError(f"the spool {spool.folder} and the watched folder {folder} lie in each other")
        self.folder = folder
        self._spool, self._max_bytes, self._settle_s, self._every_s = spool, max_bytes, settle_s, every_s
        self._remove, self._known, self._clock = remove, known, clock
        self._seen: dict[Path, _Seen] = {}
        self._stop = threading.Event()

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def run(self) -> None:
        """Look again and again, until `stop`."""
        while not self._stop.is_set():
            try:
                self.look()
            except OSError as error:  # a share that is away comes back
                _LOG.warning("the watched folder cannot be read: %s", why(error))
            self._stop.wait(self._every_s)

    def settle(self) -> None:
        """Look until all files that are there now have been taken (`--once`)."""
        while self.look() and not self._stop.is_set():
            self._stop.wait(min(self._every_s, max(0.05, self._settle_s / 2)))

    def look(self) -> int:
        """Take what has come to rest.

        Returns:
            How many files are still being waited for.

        Raises:
            OSError: The folder cannot be read.
        """
        now, waiting = self._clock(), 0
        found = self._files()
        self._seen = {path: seen for path, seen in self._seen.items() if path in found}
        for path in found:
            group, whole = _group(path, found)
            try:
                state = tuple((fact.st_size, fact.st_mtime_ns) for fact in (os.stat(file) for file in group))
            except OSError:  # gone again
                continue
            seen = self._seen.get(path)
            if seen is None or seen.state != state:
                self._seen[path] = seen = _Seen(state, now, seen.taken if seen else None)
            if seen.taken == state:
                continue
            if now - seen.since < (self._settle_s if whole else max(self._settle_s, LONELY_S)):
                waiting += 1
                continue
            if self._take(path, group, state):
                seen.taken = state
            else:
                waiting += 1
        return waiting

    def _take(self, path: Path, group: list[Path], state: State) -> bool:
        """Put a file and its companions into the spool; False where it has to be tried again."""
        if sum(size for size, _ in state) > self._max_bytes:
            _LOG.warning("a file of %d MB is left where it is (at most %d)", sum(s for s, _ in state) // 10**6,
                         self._max_bytes // 10**6)  # fmt: skip
            return True
        try:
            files = {file.name: file.read_bytes() for file in group}
            after = tuple((fact.st_size, fact.st_mtime_ns) for fact in (os.stat(file) for file in group))
            if after != state:
                return False
            instance = sop_instance_of(files[path.name])
            shown = path.relative_to(self.folder).as_posix()
            if self._spool.knows(key_of(files, instance)) or not self._known(path):
                self._spool.put(files, door="folder", shown=shown, sop_instance=instance)
            if self._remove:
                for file in group:
                    file.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("a file of the watched folder is tried again: %s", why(error))
            return False
        return True

    def _files(self) -> dict[Path, None]:
        found: dict[Path, None] = {}

        def fail(error: OSError) -> None:
            if Path(error.filename or "") == self.folder:
                raise error

        for where, folders, names in os.walk(self.folder, onerror=fail):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(where) / name
                if not name.startswith(".") and not name.lower().endswith(UNFINISHED) and path.is_file():
                    found[path] = None
        owned = {file for path in found for file in _group(path, found)[0][1:]}
        return {path: None for path in found if path not in owned}


def _group(path: Path, found: dict[Path, None]) -> tuple[list[Path], bool]:
    """A file with those that it needs, itself first, and whether they are all there."""
    if path.suffix.lower() in SAMPLES:
        return [path], False
    if path.suffix.lower() != ".hea":
        return [path], True
    names = _sample_files(path)
    files = [file for name in names if (file := beside(path.parent, name)) is not None]
    return [path, *dict.fromkeys(files)], len(files) == len(names)


def _sample_files(header: Path) -> list[str]:
    """Names that the signal lines of a WFDB header begin with; those that point elsewhere are left out."""
    try:
        text = header.read_bytes()[:1_000_000].decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    names = dict.fromkeys(line.split()[0] for line in lines[1:])
    return [name for name in names if name not in ("~", ".", "..") and Path(name).name == name]


def sop_instance_of(content: bytes) -> str:
    """The SOP instance of a DICOM file, "" for any other file."""
    if content[128:_DICOM_HEAD] != b"DICM":
        return ""
    import io

    from pydicom.filereader import dcmread
    from pydicom.uid import UID

    try:
        data = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        uid = UID(str(data.get("SOPInstanceUID", "")))
    except Exception:  # whatever a broken file raises: the reader will say so
        return ""
    return str(uid) if uid.is_valid else ""
