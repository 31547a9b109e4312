"""How often a search and an ingest cross from one file of the package to another, of one checkout or of several.

Counted are calls within the package whose caller and callee lie in different files, by a profile hook: one search by a
recorded ECG in a base of 80 simulated cases (after one like it, so that nothing is counted that is loaded once), and
the ingest of those cases, hashing encoder, one process. Each checkout runs in a process of its own.

    python scripts/count_crossings.py [CHECKOUT ...] [--top N]

CHECKOUT is the root of a working tree whose packages are linked below `.types/ecgkin` (scripts/typecheck.sh makes the
links); without one it is this tree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

# Runs in the checkout. Names of modules differ between checkouts, so only what has never moved is imported by name, and
# the functions that an ingest needs are found where they are.
MEASURED = r"""
import importlib, json, sys, tempfile
from collections import Counter
from pathlib import Path

import ecgkin

ROOTS = tuple(str(Path(entry).resolve()) + "/" for entry in sys.argv[1].split(","))


def first(*names):
    for name in names:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"none of {names} is there")


open_or_create = first("ecgkin.index.ingest.pipeline:open_or_create", "ecgkin.index.ingest:open_or_create")
ingest_records = first("ecgkin.index.ingest.pipeline:ingest_records", "ecgkin.index.ingest:ingest_records")
gallery = first("ecgkin.ui.demo.cases:simulated_gallery", "ecgkin.ui.demo_cases:simulated_gallery",
                "ecgkin.ui.cases:simulated_gallery")
query = first("ecgkin.ui.demo.cases:simulated_query", "ecgkin.ui.demo_cases:simulated_query",
              "ecgkin.ui.cases:simulated_query")
HashingEncoder = first("ecgkin.retrieval.encoders.hashing:HashingEncoder")
CaseSearch = first("ecgkin.retrieval:CaseSearch", "ecgkin.retrieval.search.search:CaseSearch")

files = {}


def own(code):
    name = code.co_filename
    if name not in files:
        path = str(Path(name).resolve())
        files[name] = next((path.removeprefix(root) for root in ROOTS if path.startswith(root)), None)
    return files[name]


crossings = Counter()


def hook(frame, event, argument):
    if event == "call" and frame.f_back is not None:
        here, there = own(frame.f_code), own(frame.f_back.f_code)
        if here and there and here != there:
            crossings[there, here, frame.f_code.co_name] += 1


def counted(call):
    crossings.clear()
    sys.setprofile(hook)
    try:
        call()
    finally:
        sys.setprofile(None)
    return {"total": sum(crossings.values()),
            "by_call": [[*key, n] for key, n in crossings.most_common(int(sys.argv[2]))]}


encoder, items = HashingEncoder(), list(gallery(80))
_, record = query(0)
found = {}
with tempfile.TemporaryDirectory() as folder:
    # Once before, so that what is imported on first use is not counted.
    with open_or_create(Path(folder) / "before", encoder) as base:
        ingest_records(base, items[:2], encoder)
    with open_or_create(Path(folder) / "base", encoder) as base:
        found["ingest"] = counted(lambda: ingest_records(base, items, encoder))
        assert len(base) == 80
    with CaseSearch.open(Path(folder) / "base", encoder) as search:
        search.by_ecg(record)
        found["search"] = counted(lambda: search.by_ecg(record))
print(json.dumps(found))
"""


def measured(checkout: Path, top: int) -> dict[str, dict[str, object]]:
    """Crossings of a checkout, in a process of its own."""
    links = checkout / ".types"
    roots = sorted(str(path.resolve()) for path in (links / "ecgkin").iterdir() if path.is_dir())
    environment = {**os.environ, "PYTHONPATH": str(links), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED, ",".join(roots), str(top)]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr[-2000:]}")
    found: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a table of the checkouts, and who calls whom most often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[Path(__file__).resolve().parents[1]])
    parser.add_argument("--top", type=int, default=0, help="print the N calls that cross most often")
    asked = parser.parse_args()
    print("| checkout | one search | ingest of 80 records |\n|---|---:|---:|")
    details = []
    for checkout in asked.checkouts:
        found = measured(checkout.resolve(), asked.top)
        print(f"| {checkout} | {found['search']['total']} | {found['ingest']['total']} |", flush=True)
        details.append((checkout, found))
    for checkout, found in details if asked.top else ():
        for what in ("search", "ingest"):
            print(f"\n{checkout}, {what}")
            for caller, callee, name, n in found[what]["by_call"]:  # type: ignore[attr-defined]
                print(f"{n:7} {caller} -> {callee}: {name}")


if __name__ == "__main__":
    main()
