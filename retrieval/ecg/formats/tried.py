"""Documents that come unattended (ingest, a listener, agents) are tried first in a process with limits.

PDFium opens what others wrote, and a document of 3 kB can keep it busy for ever and take all memory. What cannot be
opened within the limits is refused and its process ended; what can, costs this process no more than it has cost there,
and is opened here. The server of the API decodes everything apart anyway (`ui.api.decoding`).
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError, ImageError

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.record import EcgRecord

SECONDS, MEMORY_BYTES = 15.0, 1_500_000_000
"""For one page: processor time, and memory beyond what the process starts with, where the system knows `setrlimit`."""
_PATIENCE = 4.0  # as many times the processor time may pass on the clock of a busy machine
_START_S = 60.0
_HINT = "open it elsewhere and export it again, or as a picture"


class _Trial:
    """The process. For threads; a forked copy of this process starts one of its own."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._of_others: list[subprocess.Popen[bytes]] = []  # of the process that this one was forked from

    def ended(self, path: Path, page: int | None, seconds: float) -> bool:
        """Whether opening a page comes to an end, with whatever result; page 0 only counts pages."""
        with self._turn:
            if self._process is not None and self._owner != os.getpid():
                self._of_others.append(self._process)
                self._process = None
            if self._process is not None and self._process.poll() is not None:
                self._end()
            if self._process is None:
                self._process, self._owner = self._started(), os.getpid()
            line = json.dumps([str(path.resolve()), page, seconds])
            if self._asked(self._process, line, _PATIENCE * seconds):
                return True
            self._end()
            return False

    def close(self) -> None:
        """End the process, if it is this one's."""
        with self._turn:
            if self._owner == os.getpid():
                self._end()

    def _end(self) -> None:
        if self._process is not None:
            _ended(self._process)
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        if not self._asked(process, "", _START_S):
            _ended(process)
            raise ImageError("the process that tries documents cannot be started")
        return process

    @staticmethod
    def _asked(process: subprocess.Popen[bytes], line: str, seconds: float) -> bool:
        """Whether an answer comes in time; killing the process ends the waiting."""
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            if line:
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()
            return process.stdout.readline() == b"ended\n"
        except OSError:
            return False
        finally:
            timer.cancel()


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


_TRIAL = _Trial()
atexit.register(lambda: _TRIAL.close())


def check_document(path: Path, page: int | None = 1, seconds: float = SECONDS) -> None:
    """Refuse a document one of whose pages cannot be opened within the limits.

    Args:
        path: A PDF document, or a DICOM file that wraps one.
        page: From 1; 0 to count its pages, None for the one that `open_ecg` chooses.
        seconds: Of processor time, given to it.

    Raises:
        ImageError: It takes longer, or too much memory, or the process down.
    """
    if not _TRIAL.ended(path, page, seconds):
        raise ImageError(f"{path.name} cannot be decoded within {seconds:g} s and the memory given to it", hint=_HINT)


def open_unattended(path: str | os.PathLike[str], page: int | None = None) -> EcgRecord | Image.Image:
    """`open_ecg` of a file that nobody watches: a document is first opened in a process with limits.

    Args:
        path, page: As in `open_ecg`.

    Returns:
        A record, or an RGB picture.

    Raises:
        RecordError, ImageError: As `open_ecg`; a document takes too long or too much.
    """
    from ecgkin.retrieval.ecg.formats.pictures import open_ecg

    check_file(path, page)
    return open_ecg(path, page)


def check_file(path: str | os.PathLike[str], page: int | None = None) -> None:
    """`check_document` of a file that is a document or wraps one; nothing of any other.

    PDFium cannot be interrupted: at the command line, too, nothing but killing the process would end it.

    Args:
        path, page: As in `open_ecg`; page 0 to count pages.

    Raises:
        ImageError: A document takes too long or too much.
    """
    from ecgkin.retrieval.ecg.formats.pictures import document_in

    # A WFDB record is named without a suffix, too; of what is not there the reader has the better words.
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
    except ValueError:
        pass  # a name that no disk takes
    if document_in(path) is not None:
        check_document(Path(path), page)


def _limit(memory_bytes: int) -> None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
        most = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: float) -> None:
    """One whose parent was killed ends by itself, too."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def main() -> None:
    """Open what is named, line by line, until stdin ends."""
    from ecgkin.retrieval.ecg.formats import pictures

    out = os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    _limit(MEMORY_BYTES)
    out.write(b"ended\n")
    out.flush()
    for line in sys.stdin:
        path, page, seconds = json.loads(line)
        _limit_time(seconds)
        with suppress(EcgkinError, OSError, ValueError):  # the caller meets it again
            if page == 0:
                pictures.page_count_of(path)
            else:
                pictures.open_ecg(path, page)
        out.write(b"ended\n")
        out.flush()


if __name__ == "__main__":
    main()
