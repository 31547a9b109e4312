"""Fetch a part of PTB-XL from PhysioNet: which records to take; `fetcher` brings the files, resumable and checked.

PTB-XL 1.0.3 is open access (CC BY 4.0). Some 1,500 records at 100 Hz are about 3,000 files and 40 MB.
"""

from __future__ import annotations

import ast
import csv
import os
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.errors import why
from ecgkin.ui.download.fetcher import (
    FIRST_CONTACT_S,
    SUMS,
    DownloadError,
    Fetcher,
    Progress,
    fetch_all,
    first_contact,
    read_sums,
)

DEFAULT_BASE_URL = "https://physionet.org/files/ptb-xl/1.0.3/"
TABLES = ("ptbxl_database.csv", "scp_statements.csv")
FOLDS = range(1, 10)  # fold 10 is for measurements
_RECORD = re.compile(r"records100/\d{5}/\d{5}_lr\Z")


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

    Returns:
        What is in the folder now, and what was fetched.

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
            first_contact(client, base_url)
            fetcher = Fetcher(client, root)
            fetcher.fetch(SUMS, None)
            fetcher.sums = read_sums(root / SUMS)
            for done, name in enumerate(TABLES, 1):
                fetcher.fetch(name, fetcher.sum_of(name))
                if progress is not None:
                    progress(done, len(TABLES), name)
            chosen, statements = choose_records(root / TABLES[0], records)
            names = [base + suffix for base in chosen for suffix in (".hea", ".dat")]
            fetch_all(fetcher, names, workers, progress)
    except OSError as error:
        raise DownloadError(
            f"cannot write to {root}: {why(error)}", hint="is the disk full, or the folder protected?"
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
