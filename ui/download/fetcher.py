"""Files from one address into one folder: in parallel, resumable, each checked against the published SHA-256 list.

A file is written as `NAME.part` and renamed only when its checksum agrees, so whatever stands under its own name is
whole; a second call goes on where the first one stopped, in mid-file where the server can do ranges.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError, why_unreachable

if TYPE_CHECKING:
    import httpx

SUMS = "SHA256SUMS.txt"
FIRST_CONTACT_S = 5.0
_MAX_FILE_BYTES = 200_000_000  # the largest file wanted, the table, has 16 MB; more comes from no PTB-XL server
_FAILURES = 5  # in a row, without a byte gained
_FETCHES = 2  # whole fetches of a file whose checksum disagrees
_BACK_OFF_S = 0.25

Progress = Callable[[int, int, str], None]
"""Called as (files done, files in all, name of the last one)."""


class DownloadError(EcgkinError):
    """A download could not be done: no network, a file that is not there, or one whose checksum stays wrong."""

    http_status = 502


class Fetcher:
    """Fetches single files below one folder; safe to call from several threads, each file by one of them.

    Attributes:
        sums: SHA-256 by name, as `read_sums` reads them.
        stop: Set when another file has failed.
        fetched, skipped: Files fetched, files that were there already.
        n_bytes: Bytes received.
    """

    def __init__(self, client: httpx.Client, root: Path) -> None:
        self.client = client
        self.root = root
        self.sums: dict[str, str] = {}
        self.stop = threading.Event()
        self.fetched = self.skipped = self.n_bytes = 0
        self._lock = threading.Lock()

    def sum_of(self, name: str) -> str:
        """SHA-256 of a file in the published list, in small hexadecimal digits.

        Raises:
            DownloadError: It is not listed.
        """
        if name not in self.sums:
            raise DownloadError(f"{SUMS} does not list {name}")
        return self.sums[name]

    def fetch(self, name: str, sha256: str | None) -> None:
        """Bring one file under its name; without a sum (the list of sums itself) it is always fetched anew.

        Args:
            name: Path below the address and below the folder.
            sha256: Its published sum in hex; None for the list of sums itself.

        Raises:
            DownloadError: The server lacks it, keeps failing, or sends what the sum contradicts twice.
        """
        target = self.root / name
        if sha256 is not None and target.is_file() and _sha256(target) == sha256:
            with self._lock:
                self.skipped += 1
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        if sha256 is None:
            part.unlink(missing_ok=True)
        for _ in range(_FETCHES):
            self._fill(name, part)
            found = _sha256(part)
            if sha256 is None or found == sha256:
                os.replace(part, target)
                with self._lock:
                    self.fetched += 1
                return
            part.unlink()
        raise DownloadError(
            f"{name}: SHA-256 is {found[:12]}..., the list says {str(sha256)[:12]}... (fetched {_FETCHES} times)",
            hint="the server or something between changes files",
        )

    def _fill(self, name: str, part: Path) -> None:
        """Receive until the file is complete, going on after every break."""
        import httpx

        failures = 0
        while True:
            if self.stop.is_set():
                raise DownloadError("stopped, another file failed")
            have = part.stat().st_size if part.exists() else 0
            try:
                self._receive(name, part, have)
                return
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
                if status == 416:  # our part is longer than the file: it is not a part of it
                    part.unlink(missing_ok=True)
                elif status and status < 500 and status not in (408, 429):
                    raise DownloadError(f"{self.client.base_url}{name}: the server answers {status}") from error
                gained = (part.stat().st_size if part.exists() else 0) > have
                failures = 0 if gained else failures + 1
                if failures >= _FAILURES:
                    raise DownloadError(
                        f"{name}: failed {failures} times in a row "
                        f"({f'the server answers {status}' if status else why_unreachable(error)})",
                        hint="run it again later: it goes on where it stopped",
                    ) from error
                self.stop.wait(_BACK_OFF_S * 2**failures)

    def _receive(self, name: str, part: Path, have: int) -> None:
        # Without "identity" a server may compress, and byte ranges would count compressed bytes.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with self.client.stream("GET", name, headers=headers) as response:
            response.raise_for_status()
            goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            )
            size = have if goes_on else 0
            with part.open("ab" if goes_on else "wb") as file:
                for block in response.iter_bytes():
                    size += len(block)
                    if size > _MAX_FILE_BYTES:
                        raise DownloadError(f"{name} has more than {_MAX_FILE_BYTES} bytes: no file of PTB-XL")
                    if self.stop.is_set():
                        raise DownloadError("stopped, another file failed")
                    file.write(block)
                    with self._lock:
                        self.n_bytes += len(block)


def fetch_all(fetcher: Fetcher, names: list[str], workers: int, progress: Progress | None) -> None:
    """Fetch files in parallel, `workers` at a time; the first failure stops the others.

    Args:
        fetcher: Fetches one.
        names: Paths below its address.
        workers: Files at the same time.
        progress: Told how many of how many are done, and the name of the last.

    Raises:
        DownloadError: See `Fetcher.fetch`.
    """
    with ThreadPoolExecutor(workers) as pool:
        jobs = {pool.submit(fetcher.fetch, name, fetcher.sum_of(name)): name for name in names}
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                job.result()
                if progress is not None:
                    progress(done, len(names), jobs[job])
        except BaseException:
            fetcher.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def first_contact(client: httpx.Client, base_url: str) -> None:
    """Ask for the list of sums, in a thread, as looking up a name obeys no time limit.

    Args:
        client: With which it is asked.
        base_url: Address of the folder.

    Raises:
        DownloadError: Nothing answers within `FIRST_CONTACT_S`, or an error does.
    """
    failure: list[BaseException] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            with client.stream("GET", SUMS, timeout=FIRST_CONTACT_S) as response:
                response.raise_for_status()
        except Exception as error:  # handed to the caller's thread
            failure.append(error)
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    if not answered.wait(FIRST_CONTACT_S):
        failure.append(TimeoutError(f"no answer in {FIRST_CONTACT_S:.0f} s"))
    if failure:
        status = getattr(getattr(failure[0], "response", None), "status_code", None)
        reason = f"it answers {status}" if status else why_unreachable(failure[0])
        raise DownloadError(
            f"{base_url} cannot be reached: {reason}", hint="without a network the demo runs on simulated cases"
        ) from failure[0]


def read_sums(path: Path) -> dict[str, str]:
    """SHA-256 by file name, in small hexadecimal digits.

    Raises:
        DownloadError: The file lists none.
    """
    sums = {}
    for line in path.read_text("utf-8", errors="replace").splitlines():
        digest, _, name = line.strip().partition(" ")
        if re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            sums[name.strip().lstrip("*").removeprefix("./")] = digest.lower()
    if not sums:
        raise DownloadError(f"{path} lists no SHA-256 sums", hint="is the base address PTB-XL's?")
    return sums


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
