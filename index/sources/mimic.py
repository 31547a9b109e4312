"""MIMIC-IV-ECG in its layout: record_list.csv, machine_measurements.csv, files/p1000/p10000032/s40689238/40689238.hea.

The database stores aVF before aVL; leads are read by name, so the order of the file does not matter.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from ecgkin.index.case import Case
from ecgkin.index.sources.items import IngestItem, Loaded, file_content
from ecgkin.retrieval.ecg.header import iso_time, number, plain_text, report_lines
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.errors import RecordError, why

RECORDS, MEASUREMENTS = "record_list.csv", "machine_measurements.csv"
_NEEDED = ("subject_id", "study_id", "path")
_REPORTS = tuple(f"report_{k}" for k in range(18))


def is_mimic(root: Path) -> bool:
    """Whether a folder holds MIMIC-IV-ECG's list of records."""
    try:
        with (root / RECORDS).open(encoding="utf-8-sig", newline="") as file:
            return set(_NEEDED) <= set(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def mimic_items(root: str | Path) -> list[IngestItem]:
    """Every record of the list, as cases "mimic-iv-ecg/<study_id>", with subject, time and the machine's report.

    Raises:
        RecordError: The lists cannot be read, or a line names a file outside of the folder.
    """
    base = Path(root)
    machine = (
        {row.get("study_id", ""): row for row in _rows(base / MEASUREMENTS)} if (base / MEASUREMENTS).exists() else {}
    )
    return [_item(base, row, machine.get(row.get("study_id", ""), {})) for row in _rows(base / RECORDS)]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [{str(k): str(v or "") for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} is not a readable table: {why(error)}") from error


def _item(root: Path, row: dict[str, str], machine: dict[str, str]) -> IngestItem:
    path = root / row["path"]
    if not path.resolve().is_relative_to(root.resolve()):
        raise RecordError(f"{RECORDS} names {row['path'][:80]!r}, which is outside of {root}")
    header = path.with_name(path.name + ".hea")
    report = report_lines([machine.get(name, "") for name in _REPORTS])
    facts = {"rr_ms": number(machine.get("rr_interval")), "bandwidth": plain_text(machine.get("bandwidth", ""))}
    case = Case(
        case_id=f"mimic-iv-ecg/{row['study_id']}",
        patient_id=row["subject_id"] or None,
        source="mimic-iv-ecg",
        recorded_at=iso_time(row.get("ecg_time", "")),
        report=report,
        language=report_language(report) or None,
        meta={**{name: value for name, value in facts.items() if value}, "file": row["path"]},
    )

    def load() -> Loaded:
        from ecgkin.retrieval.ecg.formats.read import read_ecg

        return read_ecg(header)

    return IngestItem(case, load, partial(file_content, header), str(header))
