"""PTB-XL from its official folder: the table, the labels, and the samples one by one or in bulk.

Layout: `ptbxl_database.csv`, `scp_statements.csv` and `records100/` or `records500/` with WFDB records of 10 s
(https://physionet.org/content/ptb-xl/1.0.3/). Every key of `scp_codes` counts as given whatever its likelihood: 0 says
"no likelihood stated", and a filter on it would erase SR, AFIB and most form statements (field.md 5.3).
"""

from __future__ import annotations

import ast
import csv
import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.header import age_of
from ecgkin.retrieval.ecg.leads import LEADS, canonical_lead
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.report_text import clean_report
from ecgkin.retrieval.errors import RecordError, why

SECONDS = 10
_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "device", "recording_date", "report", "scp_codes", "strat_fold")
_FILE_COLUMN = {100: "filename_lr", 500: "filename_hr"}
_STAGES = ("infarction_stadium1", "infarction_stadium2")
_SEX = {"0": "M", "1": "F"}  # PTB-XL's own coding
_INT16_MISSING = -32768  # WFDB's code for "no sample" in format 16
_HINT = "pass the folder that holds ptbxl_database.csv and records100/ or records500/"


# What int, float and ast.literal_eval raise on a broken cell.
_BAD_CELL = (ValueError, TypeError, SyntaxError, AttributeError, KeyError, MemoryError, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class PtbXlRow:
    """One line of the table.

    Attributes:
        ecg_id, patient_id, fold: As in the table; `patient_id` without the ".0" of the file.
        age_years: None where missing; 90 for patients above 89, whose age version 1.0.3 hides behind a 300.
        sex: "F" or "M", None where missing.
        device, recording_date: "" where missing; the date as written, "YYYY-MM-DD hh:mm:ss".
        report, raw_report: After and before `clean_report`. The raw one leaks labels: for nobody's eyes but a test's.
        labels: Statement code -> likelihood 0 to 100, every key of `scp_codes`.
        path: The record without suffix.
        infarction_stages: Of the two columns, as written ("Stadium II", "unknown"); without empty ones.
    """

    ecg_id: int
    patient_id: str
    age_years: float | None
    sex: str | None
    fold: int
    device: str
    recording_date: str
    report: str
    raw_report: str
    labels: dict[str, float]
    path: Path
    infarction_stages: tuple[str, ...] = ()


class PtbXl:
    """An official PTB-XL folder, complete or in part.

    Args:
        root: Folder with `ptbxl_database.csv` and `records100/` or `records500/`.
        fs_hz: 100 or 500 to insist on one of the two; None takes 500 Hz where that folder exists, else 100 Hz.

    Attributes:
        rows: The lines whose header file is there, in the order of the table.
        n_listed: Lines in the table, so `n_listed - len(rows)` records are not on this disk.
        fs_hz: Rate of `record`.

    Raises:
        RecordError: No such folder, no table, a table with missing columns or unreadable cells, no record.
    """

    def __init__(self, root: str | os.PathLike[str], *, fs_hz: Literal[100, 500] | None = None) -> None:
        self.root = Path(root)
        table = self.root / "ptbxl_database.csv"
        if not table.is_file():
            raise RecordError(f"no PTB-XL in {self.root}: ptbxl_database.csv is missing", hint=_HINT)
        if fs_hz is not None and fs_hz not in _FILE_COLUMN:
            raise RecordError(f"fs_hz is {fs_hz} (PTB-XL comes at 100 and at 500 Hz)")
        self._rates = tuple(f for f in (100, 500) if (self.root / f"records{f}").is_dir() and fs_hz in (None, f))
        if not self._rates:
            wanted = "records100 or records500" if fs_hz is None else f"records{fs_hz}"
            raise RecordError(f"{self.root} has the table but no folder {wanted}", hint=_HINT)
        self.fs_hz: int = max(self._rates)
        self._low: dict[int, Path] = {}
        self.rows, self.n_listed = self._read_table(table)
        if not self.rows:
            raise RecordError(f"none of the {self.n_listed} records of {table} is in records{self.fs_hz}", hint=_HINT)

    def _read_table(self, table: Path) -> tuple[list[PtbXlRow], int]:
        present = {rate: _headers(self.root / f"records{rate}") for rate in self._rates}
        rows: list[PtbXlRow] = []
        listed = 0
        try:
            with table.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                needed = [*_COLUMNS, *(_FILE_COLUMN[rate] for rate in self._rates)]
                missing = [name for name in needed if name not in (reader.fieldnames or ())]
                if missing:
                    raise RecordError(f"{table} has no column {', '.join(missing)}", hint=_HINT)
                for cells in reader:
                    listed += 1
                    row = self._row(cells, f"{table} line {reader.line_num}")
                    if str(row.path.relative_to(self.root)) in present[self.fs_hz]:
                        rows.append(row)
                        if self.fs_hz == 500 and cells.get("filename_lr") in present.get(100, ()):
                            self._low[row.ecg_id] = self.root / cells["filename_lr"]
        except (UnicodeDecodeError, csv.Error) as error:
            raise RecordError(f"{table} is not a readable table: {why(error)}", hint=_HINT) from error
        return rows, listed

    def _row(self, cells: dict[str, str], where: str) -> PtbXlRow:
        try:
            codes = ast.literal_eval(cells["scp_codes"])
            labels = {str(code): float(value) for code, value in codes.items()}
            age = age_of(cells["age"]) if cells["age"] and math.isfinite(float(cells["age"])) else None
            name = cells[_FILE_COLUMN[self.fs_hz]]
            path = self.root / name
            if not name or Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"file name {name!r}")
            patient = cells["patient_id"]
            return PtbXlRow(
                ecg_id=int(float(cells["ecg_id"])),
                patient_id=str(int(float(patient))) if patient else "",
                age_years=age,
                sex=_SEX.get(cells["sex"].removesuffix(".0")),
                fold=int(float(cells["strat_fold"])),
                device=" ".join(cells["device"].split()),
                recording_date=cells["recording_date"],
                report=clean_report(cells["report"]),
                raw_report=cells["report"],
                labels=labels,
                path=path,
                infarction_stages=tuple(said for name in _STAGES if (said := (cells.get(name) or "").strip())),
            )
        except _BAD_CELL as error:
            raise RecordError(
                f"{where} cannot be read: {why(error)}", hint="is the table cut off or edited?"
            ) from error

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, folds: Collection[int]) -> list[PtbXlRow]:
        """The rows of these folds (1 to 10), in table order."""
        wanted = set(folds)
        return [row for row in self.rows if row.fold in wanted]

    def record(self, row: PtbXlRow) -> EcgRecord:
        """The ECG of a row at `fs_hz`, leads in standard order, float32 mV.

        Raises:
            RecordError: Its files are missing, cut off or not WFDB.
        """
        signal, fs = _read(row.path)
        patient = row.patient_id or None
        return EcgRecord(signal, fs, LEADS, str(row.ecg_id), patient, row.age_years, row.sex)

    def signals(self, rows: Sequence[PtbXlRow], fs_hz: float = 100) -> NDArray[np.float32]:
        """Samples of many rows at once, from the 100 Hz files where they are there and suffice.

        Args:
            rows: Rows of this folder.
            fs_hz: Rate of the result; other rates than the files' are made with scipy's polyphase filter.

        Returns:
            Shape (len(rows), 12, 10 * fs_hz), float32 mV, leads in standard order, NaN where a sample is missing.

        Raises:
            RecordError: A file is missing or broken, or a record does not last 10 s.
        """
        length = round(SECONDS * fs_hz)
        out = np.empty((len(rows), len(LEADS), length), dtype=np.float32)
        for i, row in enumerate(rows):
            path = self._low.get(row.ecg_id, row.path) if fs_hz <= 100 else row.path
            signal, fs = _read(path)
            if signal.shape[1] != round(SECONDS * fs):
                raise RecordError(f"{path} lasts {signal.shape[1] / fs:.2f} s (expected {SECONDS} s)")
            if fs != fs_hz:
                signal = EcgRecord(signal, fs, LEADS).resampled(fs_hz).signal_mv[:, :length]
            out[i] = signal
        return out


def _headers(folder: Path) -> frozenset[str]:
    """Names "records100/00000/00001_lr" of all records below a folder; two directory levels, so no walk is needed."""
    names: set[str] = set()
    for part in os.scandir(folder):
        if part.is_dir():
            base = f"{folder.name}/{part.name}/"
            names.update(base + f.name.removesuffix(".hea") for f in os.scandir(part.path) if f.name.endswith(".hea"))
    return frozenset(names)


def _read(path: Path) -> tuple[NDArray[np.float32], float]:
    """Samples (12, n) in mV and rate; the plain case by hand, for speed, everything else by the wfdb reader."""
    plain = _read_plain(path)
    if plain is not None:
        return plain
    from ecgkin.retrieval.ecg.formats.wfdb import read_wfdb

    record = read_wfdb(path)
    return record.standard(), record.fs_hz


def _read_plain(path: Path) -> tuple[NDArray[np.float32], float] | None:
    """A record as PTB-XL ships it (12 signals, one .dat, format 16, mV), or None when it is anything else."""
    try:
        lines = path.with_name(path.name + ".hea").read_text("ascii").splitlines()
        head = lines[0].split()
        fields = [line.split() for line in lines[1:13]]
        file_names = {f[0] for f in fields}
        order = [LEADS.index(canonical_lead(f[8]) or "") for f in fields]
        scale = [_gain_and_baseline(f[2], f[4]) for f in fields]
        if head[1] != "12" or len(file_names) != 1 or sorted(order) != list(range(12)):
            return None
        if any(f[1] != "16" for f in fields):
            return None
        fs, n = float(head[2]), int(head[3])
        name = file_names.pop()
        if name != path.name + ".dat" or not np.isfinite(fs) or fs <= 0 or n <= 0:
            return None
        digital = np.fromfile(path.with_name(name), dtype="<i2")
    except (OSError, ValueError, IndexError):
        return None
    if digital.size != 12 * n:
        raise RecordError(
            f"{path}.dat holds {digital.size} samples, its header says {12 * n}",
            hint="the file is cut off: fetch it again",
        )
    rows = digital.reshape(n, 12).T
    gain = np.array([g for g, _ in scale], dtype=np.float32)[:, None]
    base = np.array([b for _, b in scale], dtype=np.float32)[:, None]
    signal = np.empty((12, n), dtype=np.float32)
    signal[order] = np.where(rows == _INT16_MISSING, np.float32(np.nan), (rows - base) / gain)
    return signal, fs


def _gain_and_baseline(gain: str, adc_zero: str) -> tuple[float, float]:
    """("250.0(0)/mV", "0") -> (250.0, 0.0); ValueError for anything but a positive gain in mV."""
    number, _, unit = gain.partition("/")
    value, _, rest = number.partition("(")
    if unit not in ("", "mV") or float(value) <= 0:
        raise ValueError(gain)
    return float(value), float(rest.rstrip(")")) if rest else float(adc_zero)
