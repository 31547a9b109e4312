"""Fetch a part of PTB-XL from PhysioNet, file by file, resumable, each file checked against the published SHA-256 list.

PTB-XL 1.0.3 is open access (CC BY 4.0). Some 1,500 records at 100 Hz are about 3,000 files and 40 MB. A file is written
as `NAME.part` and renamed only when its checksum agrees, so whatever stands under its own name is whole; a second call
goes on where the first one stopped, in mid-file where the server can do ranges.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.ecg.statements import CODES
from ecgkin.retrieval.errors import EcgkinError

if TYPE_CHECKING:
    import httpx

DEFAULT_BASE_URL = "https://physionet.org/files/ptb-xl/1.0.3/"
TABLES = ("ptbxl_database.csv", "scp_statements.csv")
SUMS = "SHA256SUMS.txt"
FOLDS = range(1, 10)  # fold 10 is for measurements
FIRST_CONTACT_S = 5.0
_RECORD = re.compile(r"records100/\d{5}/\d{5}_lr\Z")
_MAX_FILE_BYTES = 200_000_000  # the largest file wanted, the table, has 16 MB; more comes from no PTB-XL server
_FAILURES = 5  # in a row, without a byte gained
_FETCHES = 2  # whole fetches of a file whose checksum disagrees
_BACK_OFF_S = 0.25

Progress = Callable[[int, int, str], None]
"""Called as (files done, files in all, name of the last one)."""


class DownloadError(EcgkinError):
    """A download could not be done: no network, a file that is not there, or one whose checksum stays wrong."""

    http_status = 502


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What a download did.

    Attributes:
        dest: The folder, in PTB-XL's official layout.
        records: Records in it that were asked for, all whole.
        fetched, skipped: Files fetched now, files that were there already.
        n_bytes: Bytes received now.
        statements: How many of the chosen records carry each statement.
        seconds: Wall-clock time.
    """

    dest: Path
    records: int
    fetched: int
    skipped: int
    n_bytes: int
    statements: dict[str, int]
    seconds: float


def download_ptbxl(
    dest: str | os.PathLike[str],
    *,
    base_url: str = DEFAULT_BASE_URL,
    records: int = 1500,
    timeout_s: float = 30.0,
    workers: int = 4,
    progress: Progress | None = None,
) -> DownloadReport:
    """Fetch the tables and about `records` records at 100 Hz of folds 1 to 9 that cover every statement.

    Args:
        dest: Folder to write to; may hold an earlier, unfinished download.
        base_url: Where the official layout is served.
        records: How many; more are taken where that many do not cover every statement of the table.
        timeout_s: Longest silence of the server within a file. The first contact gets `FIRST_CONTACT_S` in all.
        workers: Files in parallel.
        progress: Called after each file, from the caller's thread.

    Raises:
        DownloadError: The server is not reached, lacks a file, keeps failing, or sends what the SHA-256 list
            contradicts; or the folder cannot be written.
    """
    import httpx

    began = time.monotonic()
    root = Path(dest)
    if not base_url.startswith(("http://", "https://")):
        raise DownloadError(f"base address is {base_url!r} (expected http:// or https://)")
    if records < 1 or workers < 1:
        raise DownloadError(f"records is {records}, workers is {workers} (expected at least 1)")
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, FIRST_CONTACT_S))
    try:
        root.mkdir(parents=True, exist_ok=True)
        with httpx.Client(base_url=base_url.rstrip("/") + "/", timeout=timeout, follow_redirects=True) as client:
            _first_contact(client, base_url)
            fetcher = _Fetcher(client, root)
            fetcher.fetch(SUMS, None)
            fetcher.sums = _read_sums(root / SUMS)
            for done, name in enumerate(TABLES, 1):
                fetcher.fetch(name, fetcher.sum_of(name))
                if progress is not None:
                    progress(done, len(TABLES), name)
            chosen, statements = choose_records(root / TABLES[0], records)
            names = [base + suffix for base in chosen for suffix in (".hea", ".dat")]
            _fetch_all(fetcher, names, workers, progress)
    except OSError as error:
        raise DownloadError(
            f"cannot write to {root}: {error}", hint="is the disk full, or the folder protected?"
        ) from error
    return DownloadReport(
        root, len(chosen), fetcher.fetched, fetcher.skipped, fetcher.n_bytes, statements, time.monotonic() - began
    )


def choose_records(table: Path, records: int) -> tuple[list[str], dict[str, int]]:
    """Which records to fetch: in turns, rarest statement first, each statement that lags gets one more record.

    Args:
        table: `ptbxl_database.csv`.
        records: How many; exceeded only as far as covering every statement of folds 1 to 9 asks for.

    Returns:
        Names "records100/00000/00001_lr" in order of the table, and how many of them carry each statement. The same
        table and number always give the same choice.

    Raises:
        DownloadError: The table is not PTB-XL's.
    """
    holders: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    try:
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                name = row["filename_lr"]
                if int(float(row["strat_fold"])) not in FOLDS:
                    continue
                if not _RECORD.match(name):
                    raise ValueError(f"file name {name!r}")
                labels[name] = [code for code in ast.literal_eval(row["scp_codes"]) if code in CODES]
                for code in labels[name]:
                    holders.setdefault(code, []).append(name)
    except (KeyError, ValueError, TypeError, SyntaxError, csv.Error) as error:
        raise DownloadError(f"{table} is not PTB-XL's table: {error}", hint="delete it and try again") from error
    rng = random.Random(0)
    for code in sorted(holders):
        rng.shuffle(holders[code])
    order = sorted(holders, key=lambda code: (len(holders[code]), code))
    chosen: set[str] = set()
    count: Counter[str] = Counter()
    turn = 0
    while len(chosen) < len(labels) and (len(chosen) < records or turn == 0):
        turn += 1
        for code in order:
            if turn > 1 and len(chosen) >= records:
                break
            while holders[code] and holders[code][-1] in chosen:
                holders[code].pop()
            if count[code] < turn and holders[code]:
                name = holders[code].pop()
                chosen.add(name)
                count.update(labels[name])
        if not any(holders.values()):
            break
    return [name for name in labels if name in chosen], {code: count[code] for code in CODES if count[code]}


def _first_contact(client: httpx.Client, base_url: str) -> None:
    """Raise within `FIRST_CONTACT_S` where nothing answers; in a thread, as looking up a name obeys no time limit."""
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
        reason = (str(failure[0]) or type(failure[0]).__name__).splitlines()[0]
        raise DownloadError(
            f"{base_url} cannot be reached: {reason}", hint="without a network the demo runs on simulated cases"
        ) from failure[0]


def _read_sums(path: Path) -> dict[str, str]:
    sums = {}
    for line in path.read_text("utf-8", errors="replace").splitlines():
        digest, _, name = line.strip().partition(" ")
        if re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            sums[name.strip().lstrip("*").removeprefix("./")] = digest.lower()
    if not sums:
        raise DownloadError(f"{path} lists no SHA-256 sums", hint="is the base address PTB-XL's?")
    return sums


def _fetch_all(fetcher: _Fetcher, names: list[str], workers: int, progress: Progress | None) -> None:
    """Fetch files in parallel; the first failure stops the others."""
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


class _Fetcher:
    """Fetches single files below one folder; safe to call from several threads, each file by one of them."""

    def __init__(self, client: httpx.Client, root: Path) -> None:
        self.client = client
        self.root = root
        self.sums: dict[str, str] = {}
        self.stop = threading.Event()
        self.fetched = self.skipped = self.n_bytes = 0
        self._lock = threading.Lock()

    def sum_of(self, name: str) -> str:
        if name not in self.sums:
            raise DownloadError(f"{SUMS} does not list {name}")
        return self.sums[name]

    def fetch(self, name: str, sha256: str | None) -> None:
        """Bring one file under its name; without a sum (the list of sums itself) it is always fetched anew."""
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
                        f"{name}: failed {failures} times in a row ({error or type(error).__name__})",
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
