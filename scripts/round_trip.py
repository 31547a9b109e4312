"""What comes back of a case that is exported and ingested again: a table of formats and fields.

    python scripts/round_trip.py

Three simulated cases (report of two lines with quotes and umlauts, labels with likelihoods, dates with and without a
time, one with next to nothing) are written by `ecgkin export` in each format, and ingested: the folder with its table
`cases.csv`, and then the files alone, as another program would get them. FHIR is written and not read back here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ecgkin.index.case import Case
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.folder import folder_items
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder

FORMATS = ("wfdb", "dicom", "edf", "csv")
FIELDS = ("patient_id", "age_years", "sex", "recorded_at", "report", "labels", "source")
CASES = (
    Case("clinic/1", "P-1", "clinic", 54.0, "F", "2020-01-02T03:04:05", {"AFIB": 100.0, "LVH": 50.0},
         'Vorhofflimmern, "neu"\nlinksventrikuläre Hypertrophie; s. Vorbefund'),
    Case("clinic/2", None, "ward 3", None, None, None, {}, ""),
    Case("clinic/3", "P-2", "clinic", 89.5, "M", "1999-12-31", {"NORM": 80.0}, "Sinus rhythm, age > 80"),
)  # fmt: skip


def back(folder: Path, encoder: HashingEncoder) -> dict[str, tuple[Case, EcgRecord]]:
    """The cases of a folder, by the name of their file."""
    with open_or_create(folder.with_name(f"{folder.name}-again"), encoder) as base:
        ingest_records(base, folder_items(folder), encoder)
        found = {}
        for case in base.cases():
            record = base.record(case.case_id)
            assert record is not None
            found[next(i for i in "123" if i in Path(case.case_id).name)] = (case, record)
        return found


def kept(field: str, found: dict[str, tuple[Case, EcgRecord]]) -> str:
    """How much of a field came back: "all", "n of m" of the cases that have it, or what it became."""
    pairs = [(getattr(case, field), getattr(found[case.case_id[-1]][0], field)) for case in CASES]
    wanted = [(was, now) for was, now in pairs if was not in (None, "", {})]
    same = sum(was == now for was, now in wanted)
    return "all" if same == len(wanted) else f"{same} of {len(wanted)}"


def main() -> None:
    """Write, read, compare, print."""
    encoder = HashingEncoder()
    records = [simulate(["AFIB"], np.random.default_rng(k), fs_hz=500.0).record for k in range(len(CASES))]
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with open_or_create(root / "base", encoder) as base:
            base.add(CASES, encoder.encode_records(records), records)
        for form in FORMATS:
            out = root / form
            words = ["export", str(root / "base"), "--out", str(out), "--format", form]
            subprocess.run([sys.executable, "-m", "ecgkin", *words], check=True, capture_output=True)
            for what in ("with cases.csv", "the files alone"):
                if what == "the files alone":
                    (out / "cases.csv").unlink()
                    out = out.rename(root / f"{form}-alone")
                found = back(out, encoder)
                errors = [
                    float(np.abs(found[case.case_id[-1]][1].signal_mv - record.signal_mv).max())
                    for case, record in zip(CASES, records, strict=True)
                ]
                rows.append((f"{form}, {what}", *(kept(field, found) for field in FIELDS), f"{1000 * max(errors):.1f}"))
    print(f"| | {' | '.join(FIELDS)} | samples, at most uV |")
    print(f"|:---|{'---|' * len(FIELDS)}---:|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
