"""Damaged files: each mutation of each sample ends in an `EcgkinError` or in a sound record, within 1 GB of memory.

    python scripts/fuzz_formats.py FOLDER [--mutations 1000] [--seed 0] [--only SUBSTRING] [--json FILE]

A mutation cuts the file off, flips bits, blanks, removes or doubles a stretch, or puts odd numbers in place of numbers;
half of them aim at the first 2,000 bytes, where the headers are.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from ecgkin.retrieval.ecg.formats.pictures import open_ecg
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError

MEMORY = 1 << 30
HEAD = 2000
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_ODD = [*b"0 -1 1 65535 99999999 -2147483648 4294967295 1e308 nan 0.000001 x".split(), b""]
_TEXTS = (".xml", ".csv", ".txt", ".json", ".hea", ".pdf")  # a PDF written without compression is text, too


def mutated(data: bytes, rng: random.Random, *, text: bool) -> bytes:
    """One damaged copy."""
    out = bytearray(data)
    n = len(out)
    reach = min(n, HEAD) if rng.random() < 0.5 else n
    at = rng.randrange(reach)
    shares = {"cut": 15, "bits": 35, "blank": 12, "remove": 10, "double": 8, "number": 60 if text else 20}
    kind = rng.choices([*shares], [*shares.values()])[0]
    if kind == "cut":
        del out[at:]
    elif kind == "bits":
        for _ in range(rng.choice((1, 1, 1, 2, 4, 16, 64))):
            out[rng.randrange(reach)] = rng.randrange(256)
    elif kind == "blank":
        size = min(rng.choice((2, 4, 8, 64, 1000)), n - at)
        out[at : at + size] = bytes([rng.choice((0, 255, 32))]) * size
    elif kind == "remove":
        del out[at : at + rng.choice((1, 2, 4, 10, 100, 5000))]
    elif kind == "double":
        out[at:at] = out[at : at + rng.choice((1, 2, 4, 10, 100, 5000))]
    elif text:
        found = _NUMBER.search(data, at)
        if found is not None:
            out[found.start() : found.end()] = rng.choice(_ODD)
    else:
        size = rng.choice((1, 2, 4))
        out[at : at + size] = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * size
    return bytes(out)


def verdict(path: Path, fs_hz: float | None = None) -> str:
    """ "record", "picture" or "error" for what reading a file ends in.

    Raises:
        AssertionError: The record is not sound, or the message of the error says nothing.
    """
    try:
        record = _read_table(path, fs_hz) if path.suffix in (".csv", ".txt") else open_ecg(path)
    except EcgkinError as error:
        text = str(error)
        assert 10 < len(text) < 1500, text[:2000]
        return "error"
    if isinstance(record, EcgRecord):
        assert sound(record), record
        return "record"
    assert record.size > (0, 0)
    return "picture"


def _read_table(path: Path, fs_hz: float | None) -> EcgRecord:
    """A table by the rate that it states, or else by the given one."""
    try:
        return read_ecg(path)
    except EcgkinError as error:
        if fs_hz is None or "sampling rate" not in str(error):
            raise
        return read_ecg(path, fs_hz=fs_hz)


def sound(record: EcgRecord) -> bool:
    """Shapes, rate and samples are what an `EcgRecord` promises, and each sample is a number or missing."""
    signal = record.signal_mv
    age = record.age_years
    return (
        signal.dtype == np.float32
        and signal.shape == (len(record.leads), record.n_samples)
        and not np.isinf(signal).any()
        and 0 < record.fs_hz <= 1e5
        and (age is None or 0 <= age <= 150)
        and record.sex in (None, "F", "M")
    )


def fuzz(path: Path, n: int, seed: int, folder: Path, fs_hz: float | None = None) -> tuple[Counter[str], list[str]]:
    """Verdicts of `n` mutations, and tracebacks (seed of the mutation first) of what must not be."""
    data = path.read_bytes()
    target = folder / path.name
    for other in path.parent.glob(f"{path.stem}.*"):  # a header and its samples
        if other != path and other.is_file():
            shutil.copy(other, folder)
    found: Counter[str] = Counter()
    wrong: list[str] = []
    for k in range(n):
        rng = random.Random(f"{path.name} {seed} {k}")
        target.write_bytes(mutated(data, rng, text=path.suffix in _TEXTS))
        try:
            found[verdict(target, fs_hz)] += 1
        except Exception:
            found["fault"] += 1
            wrong.append(f"{path.name} {seed} {k}\n{traceback.format_exc()}")
    return found, wrong


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = [f for f in sorted(arguments.folder.iterdir()) if f.name != "manifest.csv" and arguments.only in f.name]
    for file in files:  # libraries load before the limit is set, which counts address space
        verdict(file, 800.0)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    rows, faults = [], []
    print("| file | mutations | records | errors | pictures | faults | peak of the process (MB) | s |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            start = time.perf_counter()
            found, wrong = fuzz(file, arguments.mutations, arguments.seed, Path(folder), 800.0)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            seconds = time.perf_counter() - start
            faults += wrong
            rows.append({"file": file.name, "mutations": arguments.mutations, **found, "peak_mb": round(peak)})
            counts = " | ".join(str(found[k]) for k in ("record", "error", "picture", "fault"))
            print(f"| {file.name} | {arguments.mutations} | {counts} | {peak:.0f} | {seconds:.0f} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
