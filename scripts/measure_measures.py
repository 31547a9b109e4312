"""Measures the measuring: against the simulator's truth, PTB-XL's statements and reports, and other data bases.

    python scripts/measure_measures.py simulator
    python scripts/measure_measures.py rates
    python scripts/measure_measures.py statements --ptbxl DIR --fold 9
    python scripts/measure_measures.py beats --ptbxl DIR --fold 9
    python scripts/measure_measures.py flags --ptbxl DIR --fold 9
    python scripts/measure_measures.py exchanged --ptbxl DIR --fold 9
    python scripts/measure_measures.py records --shared DIR
    python scripts/measure_measures.py pages --shared DIR
    python scripts/measure_measures.py pairs --ptbxl DIR
    python scripts/measure_measures.py time

Prints Markdown tables. Records of PTB-XL are measured once and kept in --cache (a pickle a fold, remade when the code
that measures changes).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import math
import pickle
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np

from ecgkin.generation import measures
from ecgkin.generation.measures import Measurements, measure
from ecgkin.generation.measures.compare import ChangeCode, compare, rhythm_class
from ecgkin.generation.measures.flags import FlagCode, red_flags
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.leads import LEADS, derive_limb_leads
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate

F = FlagCode
INFARCTS = frozenset("IMI ASMI ILMI AMI ALMI LMI IPLMI IPMI PMI INJAS INJAL INJIN INJLA INJIL".split())
INJURIES = frozenset("INJAS INJAL INJIN INJLA INJIL".split())
# Statements that a flag should agree with; ST elevation and its relatives are held against reports of acute infarction.
STATEMENTS_OF: dict[FlagCode, frozenset[str]] = {
    F.HIGH_GRADE_BLOCK: frozenset({"2AVB", "3AVB"}),
    F.SECOND_DEGREE_BLOCK: frozenset({"2AVB", "3AVB"}),
    F.RECENT_INFARCTION: INFARCTS,
    F.T_INVERSION: frozenset("INVT NDT NT_ TAB_ ISC_ ISCAL ISCAS ISCIN ISCIL ISCLA ISCAN LVH".split()) | INJURIES,
    F.WELLENS: frozenset("ISC_ ISCAL ISCAS ISCAN".split()) | INFARCTS,
    F.LONG_QT: frozenset({"LNGQT"}),
    F.PREEXCITATION: frozenset({"WPW"}),
    F.FAST_FIBRILLATION: frozenset({"AFIB"}),
    F.FIBRILLATION: frozenset({"AFIB"}),
    F.FLUTTER: frozenset({"AFLT"}),
    F.PACED: frozenset({"PACE"}),
    F.WIDE_RHYTHM: frozenset({"PACE", "IVCD", "3AVB"}),
    F.LEFT_BUNDLE: frozenset({"CLBBB"}),
    F.RIGHT_BUNDLE: frozenset({"CRBBB"}),
    F.Q_WAVES: (INFARCTS - INJURIES) | {"QWAVE"},
    F.ST_DEPRESSION: frozenset("STD_ NST_ ISC_ ISCAL ISCAS ISCIN ISCIL ISCLA ISCAN".split()) | INJURIES,
    F.POSTERIOR: frozenset({"PMI", "IPMI", "IPLMI"}),
    F.PEAKED_T: frozenset({"EL"}),
}  # fmt: skip
OF_ACUTE = frozenset({F.ST_ELEVATION, F.SGARBOSSA, F.AVR_ELEVATION})
OF_FIBRILLATION = frozenset({F.FIBRILLATION, F.FAST_FIBRILLATION})
OF_BLOCK = frozenset({F.HIGH_GRADE_BLOCK, F.SECOND_DEGREE_BLOCK})
OF_INFARCTION = OF_ACUTE | {F.POSTERIOR, F.RECENT_INFARCTION}
OF_ISCHAEMIA = OF_INFARCTION | {F.ST_DEPRESSION, F.T_INVERSION, F.WELLENS, F.BRUGADA, F.PEAKED_T}
_ACUTE_WORDS = re.compile(r"akut|frisch|f[äa]rsk|acute|recent(?! chest pain)", re.IGNORECASE)
_NO_ACUTE = re.compile(r"unlikely|no definite|no ecg evidence of recent|ingen|keine hinweise", re.IGNORECASE)


def wilson(hits: int, n: int) -> str:
    """A share with its 95 % interval (Wilson 1927), in percent."""
    if n == 0:
        return "-"
    z, p = 1.96, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return f"{100 * p:.1f} [{100 * max(0, middle - half):.1f}, {100 * min(1, middle + half):.1f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def spread(errors: Sequence[float]) -> str:
    """Median and 95th percentile of the size of errors."""
    known = [e for e in errors if math.isfinite(e)]
    if not known:
        return "-"
    return f"{statistics.median(known):+.1f} / {np.percentile(np.abs(known), 95):.1f}"


# --- simulator -------------------------------------------------------------------------------------------------------


def simulator(repeats: int) -> None:
    """Errors against the exact truth, by statement and noise."""
    rows = []
    codes = "NORM 1AVB CLBBB CRBBB IRBBB LAFB LVH IMI ASMI STD_ LOWT LVOLT LNGQT WPW STACH SBRAD SARRH".split()
    codes += "PVC BIGU PAC AFIB AFLT PACE".split()
    for code in codes:
        for noise in (1.0, 4.0):
            errors: dict[str, list[float]] = {name: [] for name in ("rate", "pr", "qrs", "qt", "axis")}
            missing = dict.fromkeys(errors, 0)
            for seed in range(repeats):
                made = simulate([code], np.random.default_rng(seed), fs_hz=(100.0, 500.0)[seed % 2], noise=noise)
                found, truth = measure(made.record), made.truth
                for name, got, true in (
                    ("rate", found.rate_bpm, truth.rate_bpm),
                    ("pr", found.pr_ms, truth.pr_ms),
                    ("qrs", found.qrs_ms, truth.qrs_ms),
                    ("qt", found.qt_ms, truth.qt_ms),
                    ("axis", found.axis_deg, truth.axis_deg),
                ):
                    if true is None:
                        continue
                    if got is None:
                        missing[name] += 1
                        errors[name].append(math.nan)
                    else:
                        off = got - true
                        errors[name].append((off + 180) % 360 - 180 if name == "axis" else off)
            cells = [f"{spread(errors[n])} ({missing[n]}/{len(errors[n])})" if errors[n] else "-" for n in errors]
            rows.append((code, f"{noise:g}", *cells))
    print(f"Error against the simulator, {repeats} records a row (half at 100, half at 500 Hz):")
    print("median / 95th percentile of the size (missing)")
    table(("statement", "noise", "rate /min", "PR ms", "QRS ms", "QT ms", "axis °"), rows)


def rates(repeats: int) -> None:
    """Share of records whose rate is within 5 % of the truth, by rate."""
    wanted = (20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 180, 210, 240, 270, 300)
    rows = []
    for code in ("SR", "AFIB", "CLBBB", "CRBBB", "LVH", "STD_", "LVOLT", "PACE"):
        for noise in (1.0, 4.0):
            cells = []
            for rate in wanted:
                if code in ("PACE",) and rate > 150:
                    cells.append("-")
                    continue
                right = 0
                for seed in range(repeats):
                    rng = np.random.default_rng(seed)
                    made = simulate([code], rng, fs_hz=(100.0, 500.0)[seed % 2], rate_bpm=rate, noise=noise)
                    got = measure(made.record).rate_bpm
                    right += got is not None and abs(got / made.truth.rate_bpm - 1) <= 0.05
                cells.append(f"{right}/{repeats}")
            rows.append((code, f"{noise:g}", *cells))
    print(f"Rate within 5 % of the truth, of {repeats}:")
    table(("statement", "noise", *map(str, wanted)), rows)


# --- PTB-XL ----------------------------------------------------------------------------------------------------------


@dataclass
class Measured:
    """A row of PTB-XL with its measurements."""

    row: PtbXlRow
    found: Measurements
    acute: bool


def fold_of(root: Path, fold: int, cache: Path) -> list[Measured]:
    """All records of a fold, measured once."""
    return measured_once(root, PtbXl(root).select([fold]), f"measured-{fold}", cache)


def measured_once(root: Path, rows: Sequence[PtbXlRow], name: str, cache: Path) -> list[Measured]:
    """Rows with their measurements, from the cache where the code that measures is the same."""
    data = PtbXl(root)
    stages = acute_records(root)
    key = blake2b(digest_size=8)
    for source in sorted(Path(measures.__path__[0]).glob("*.py")):
        if source.stem not in ("flags", "flag_texts", "excitation", "compare", "evidence", "pages"):
            key.update(source.read_bytes())
    path = cache / f"{name}-{data.fs_hz}-{key.hexdigest()}.pkl"
    if path.is_file():
        found = pickle.loads(path.read_bytes())
    else:
        found = [measure(data.record(row)) for row in rows]
        cache.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(found))
    return [Measured(row, m, row.ecg_id in stages) for row, m in zip(rows, found, strict=True)]


def acute_records(root: Path) -> frozenset[int]:
    """Records of infarction stage I, or whose report calls an infarction acute, fresh or recent."""
    out = set()
    with (root / "ptbxl_database.csv").open(encoding="utf-8", newline="") as file:
        for cells in csv.DictReader(file):
            stages = {cells.get("infarction_stadium1", ""), cells.get("infarction_stadium2", "")}
            report = cells["report"]
            infarct = any(f"'{code}'" in cells["scp_codes"] for code in INFARCTS)
            said = bool(_ACUTE_WORDS.search(report)) and infarct and not _NO_ACUTE.search(report)
            if stages & {"Stadium I", "Stadium I-II"} or said:
                out.add(int(float(cells["ecg_id"])))
    return frozenset(out)


def auc(truth: np.ndarray, values: np.ndarray, inside: np.ndarray) -> str:
    """AUC among known values, with positives and the share missing."""
    from sklearn.metrics import roc_auc_score

    known = inside & np.isfinite(values)
    if not truth[known].any():
        return "-"
    return (
        f"{roc_auc_score(truth[known], values[known]):.3f} ({truth[known].sum()} of {truth[inside].sum()} positives,"
        f" {100 * (1 - known.sum() / inside.sum()):.1f} % missing)"
    )


def statements(records: Sequence[Measured], fold: int) -> None:
    """AUC of statements by the value that defines them."""
    labels = [r.row.labels for r in records]

    def carries(*codes: str) -> np.ndarray:
        return np.array([any(c in of for c in codes) for of in labels])

    def values(name: str) -> np.ndarray:
        return np.array([getattr(r.found, name) or math.nan for r in records], dtype=np.float64)

    every = np.ones(len(records), dtype=bool)
    with_p = ~carries("AFIB", "AFLT", "PACE", "2AVB", "3AVB", "SVTAC", "PSVT")
    print(f"PTB-XL fold {fold}, {len(records)} records")
    table(
        ("statement", "by", "among", "AUC"),
        [
            ("1AVB", "PR", "all", auc(carries("1AVB"), values("pr_ms"), every)),
            ("1AVB", "PR", "no AF, flutter, SVT, pacing, higher block", auc(carries("1AVB"), values("pr_ms"), with_p)),
            ("1AVB or LPR", "PR", "the same", auc(carries("1AVB", "LPR"), values("pr_ms"), with_p)),
            ("CLBBB or CRBBB", "QRS", "all", auc(carries("CLBBB", "CRBBB"), values("qrs_ms"), every)),
            ("CLBBB or CRBBB", "QRS", "not paced", auc(carries("CLBBB", "CRBBB"), values("qrs_ms"), ~carries("PACE"))),
            ("LNGQT", "QTc (Bazett)", "all", auc(carries("LNGQT"), values("qtc_ms"), every)),
            ("LNGQT", "QTc (Fridericia)", "all", auc(carries("LNGQT"), values("qtc_fridericia_ms"), every)),
            ("STACH", "rate", "all", auc(carries("STACH"), values("rate_bpm"), every)),
            ("SBRAD", "-rate", "all", auc(carries("SBRAD"), -values("rate_bpm"), every)),
            ("LAFB", "-axis", "all", auc(carries("LAFB"), -values("axis_deg"), every)),
            ("AFIB", "RR variation", "all", auc(carries("AFIB"), values("rr_variation"), every)),
            ("AFIB", "P waves unlike", "not paced", auc(carries("AFIB"), -values("p_constant"), ~carries("PACE"))),
        ],
    )  # fmt: skip


def beats(records: Sequence[Measured], root: Path, fold: int) -> None:
    """Rate against NeuroKit2 and wfdb's XQRS, which see one lead each."""
    import neurokit2 as nk
    from scipy.signal import resample_poly
    from wfdb.processing import XQRS

    data = PtbXl(root, fs_hz=100)
    by_id = {row.ecg_id: row for row in data.select([fold])}
    within = {0.05: 0, 0.1: 0}
    judged, worst = 0, []
    for item in records:
        record = data.record(by_id[item.row.ecg_id])
        counted = []
        for lead in ("II", "V2", "V5"):
            signal = record.lead(lead)
            if signal is None:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    clean = nk.ecg_clean(resample_poly(signal.astype(np.float64), 5, 1), sampling_rate=500)
                    peaks = np.asarray(nk.ecg_peaks(clean, sampling_rate=500)[1]["ECG_R_Peaks"]) / 500
                except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError):
                    continue
            if len(peaks) > 2:
                counted.append(60 * (len(peaks) - 1) / (peaks[-1] - peaks[0]))
        try:
            finder = XQRS(sig=np.asarray(record.lead("II"), dtype=np.float64), fs=100)
            finder.detect(verbose=False)
            peaks = finder.qrs_inds / 100
            if len(peaks) > 2:
                counted.append(60 * (len(peaks) - 1) / (peaks[-1] - peaks[0]))
        except (ValueError, IndexError, TypeError):
            pass
        if len(counted) < 3:
            continue
        middle = float(np.median(counted))
        if sum(abs(c - middle) <= 0.05 * middle for c in counted) < 3:
            continue  # the counters do not agree among themselves
        judged += 1
        got = item.found.rate_bpm or 0.0
        for limit in within:
            within[limit] += abs(got - middle) <= limit * middle
        if abs(got - middle) > 0.05 * middle:
            worst.append(f"{item.row.ecg_id}: {got:.0f} for {middle:.0f}")
    print(f"Rate on fold {fold}: {judged} of {len(records)} records where three of four counts agree within 5 %")
    table(("within", "share"), [(f"{100 * limit:.0f} %", wilson(n, judged)) for limit, n in within.items()])
    print("beyond 5 %:", "; ".join(worst))


def flags(records: Sequence[Measured], fold: int) -> None:
    """Counts of every flag with sensitivity, specificity and predictive value."""
    found = [{flag.code for flag in red_flags(r.found)} for r in records]
    acute = np.array([r.acute for r in records])
    normal = np.array(["NORM" in r.row.labels for r in records])
    print(f"PTB-XL fold {fold}: {len(records)} records, {acute.sum()} acute by stage or report, {normal.sum()} NORM")
    rows = []
    for code in FlagCode:
        flagged = np.array([code in of for of in found])
        if code in OF_ACUTE:
            truth, name = acute, "acute infarction"
        elif code in STATEMENTS_OF:
            truth = np.array([bool(STATEMENTS_OF[code] & r.row.labels.keys()) for r in records])
            name = " ".join(sorted(STATEMENTS_OF[code])[:3])
        else:
            rows.append(
                (code, "-", flagged.sum(), "-", "-", "-", wilson(int((flagged & normal).sum()), int(normal.sum())))
            )
            continue
        rows.append((
            code, f"{name} ({truth.sum()})", flagged.sum(), wilson(int((flagged & truth).sum()), int(truth.sum())),
            wilson(int((~flagged & ~truth).sum()), int((~truth).sum())),
            wilson(int((flagged & truth).sum()), int(flagged.sum())),
            wilson(int((flagged & normal).sum()), int(normal.sum())),
        ))  # fmt: skip
    table(("flag", "against (n)", "flagged", "sensitivity %", "specificity %", "PPV %", "of NORM %"), rows)
    for name, codes in (
        ("ST elevation or Sgarbossa", OF_ACUTE - {F.AVR_ELEVATION}),
        ("the same, posterior pattern, or Q with inverted T", OF_INFARCTION),
        ("any of ischaemia", OF_ISCHAEMIA),
        ("any of ischaemia, or LBBB, pacing, pre-excitation (ST not to be judged)",
         OF_ISCHAEMIA | {F.LEFT_BUNDLE, F.PACED, F.PREEXCITATION}),
    ):  # fmt: skip
        some = np.array([bool(of & codes) for of in found])
        print(
            f"{name}: {wilson(int((some & acute).sum()), int(acute.sum()))} of acute,"
            f" {wilson(int((some & normal).sum()), int(normal.sum()))} of NORM"
        )
    for name, codes, statements_of in (
        ("atrial fibrillation at any rate", OF_FIBRILLATION, {"AFIB"}),
        ("AV block of second degree and more", OF_BLOCK, {"2AVB", "3AVB"}),
    ):
        some = np.array([bool(of & codes) for of in found])
        truth = np.array([bool(statements_of & r.row.labels.keys()) for r in records])
        print(f"{name}: sensitivity {wilson(int((some & truth).sum()), int(truth.sum()))} ({truth.sum()}),"
              f" PPV {wilson(int((some & truth).sum()), int(some.sum()))} ({some.sum()} flagged)")  # fmt: skip
    variants: dict[str, int] = {}
    for record in records:
        for flag in red_flags(record.found):
            if flag.variant:
                variants[f"{flag.code} {flag.variant}"] = variants.get(f"{flag.code} {flag.variant}", 0) + 1
    print("variants:", ", ".join(f"{name} {n}" for name, n in sorted(variants.items())))


def exchanged(root: Path, fold: int, n: int) -> None:
    """Limb-lead reversal: recordings whose leads are exchanged as electrodes would exchange them."""
    data = PtbXl(root)
    rows = [row for row in data.select([fold]) if not {"AFIB", "AFLT", "PACE"} & row.labels.keys()]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:n]]
    ways: dict[str, Callable[[dict[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]] = {
        "as recorded": lambda s: (s["I"], s["II"]),
        "arms": lambda s: (-s["I"], s["III"]),
        "right arm and left leg": lambda s: (-s["III"], -s["II"]),
        "left arm and left leg": lambda s: (s["II"], s["I"]),
        "right arm and right leg": lambda s: (-s["III"], 0.03 * s["II"]),
    }
    flagged = dict.fromkeys(ways, 0)
    for row in rows:
        record = data.record(row)
        old = {name: np.asarray(record.lead(name)) for name in record.leads}
        for way, limbs in ways.items():
            one, two = limbs(old)
            new = old | derive_limb_leads({"I": one, "II": two}) | {"I": one, "II": two}
            made = replace(record, signal_mv=np.stack([new[name] for name in record.leads]))
            flagged[way] += any(flag.code is F.REVERSAL for flag in red_flags(measure(made)))
    print(f"{len(rows)} records of PTB-XL fold {fold} with exchanged limb electrodes:")
    table(("exchanged", "flagged %"), [(way, wilson(hits, len(rows))) for way, hits in flagged.items()])


# --- other data bases ------------------------------------------------------------------------------------------------


def records_of(path: Path) -> list[tuple[str, Measurements]]:
    """Label and measurements of every record of a packed data base."""
    packed = np.load(path)
    out = []
    for i in range(len(packed["record"])):
        signal = packed["signal_uv"][i, :, : int(packed["n_valid"][i])].astype(np.float32) / 1000.0
        age, sex = str(packed["age"][i]), str(packed["sex"][i]).upper()[:1]
        record = EcgRecord(
            signal, 100.0, LEADS, age_years=float(age) if age.isdigit() else None,
            sex=sex if sex in ("F", "M") else None,
        )  # fmt: skip
        out.append((str(packed["label"][i]), measure(record)))
    return out


def records(shared: Path) -> None:
    """Flags on LUDB, CPSC, PTB, Brugada and the other packed records, against words of their labels."""
    wanted: list[tuple[str, str, Callable[[str], bool], frozenset[FlagCode]]] = [
        ("ludb", "STEMI", lambda t: "stemi" in t and "nstemi" not in t, OF_ACUTE | {F.Q_WAVES}),
        ("ludb", "STEMI, ST elevation alone", lambda t: "stemi" in t and "nstemi" not in t, OF_ACUTE),
        ("ludb", "third-degree block", lambda t: "iii degree" in t or "complete av" in t, OF_BLOCK),
        ("ludb", "paced", lambda t: "pacing" in t, frozenset({F.PACED})),
        ("ludb", "third-degree block, that or paced", lambda t: "iii degree" in t or "complete av" in t,
         OF_BLOCK | {F.PACED}),
        ("ludb", "atrial fibrillation", lambda t: "fibrillation" in t, OF_FIBRILLATION),
        ("ludb", "atrial flutter", lambda t: "flutter" in t, frozenset({F.FLUTTER})),
        ("ludb", "complete LBBB", lambda t: re.search(r"(?<!in)complete left bundle", t) is not None,
         frozenset({F.LEFT_BUNDLE})),
        ("ludb", "complete RBBB", lambda t: re.search(r"(?<!in)complete right bundle", t) is not None,
         frozenset({F.RIGHT_BUNDLE})),
        ("cpsc2018", "LBBB", lambda t: "lbbb" in t, frozenset({F.LEFT_BUNDLE})),
        ("cpsc2018", "RBBB", lambda t: "rbbb" in t, frozenset({F.RIGHT_BUNDLE})),
        ("cpsc2018", "AF", lambda t: t in ("af", "afib"), OF_FIBRILLATION),
        ("cpsc2018", "STE", lambda t: t == "ste", OF_ACUTE),
        ("cpsc2018", "STD", lambda t: t == "std", frozenset({F.ST_DEPRESSION, F.AVR_ELEVATION, F.POSTERIOR})),
        ("ptb_diagnostic", "acute infarction", lambda t: "acute infarction" in t or not t, OF_ACUTE | {F.Q_WAVES}),
        ("brugada_huca", "Brugada with basal pattern", lambda t: '"basal_pattern": "1"' in t, frozenset({F.BRUGADA})),
    ]  # fmt: skip
    cache: dict[str, list[tuple[str, Measurements]]] = {}
    rows = []
    for base, name, test, codes in wanted:
        if base not in cache:
            cache[base] = records_of(shared / "records" / f"{base}.npz")
        truth = np.array([test(label.lower()) for label, _ in cache[base]])
        flagged = np.array([bool({f.code for f in red_flags(m)} & codes) for _, m in cache[base]])
        rows.append((
            base, name, int(truth.sum()), wilson(int((flagged & truth).sum()), int(truth.sum())),
            wilson(int((~flagged & ~truth).sum()), int((~truth).sum())),
            wilson(int((flagged & truth).sum()), int(flagged.sum())),
        ))  # fmt: skip
    table(("data base", "label", "n", "sensitivity %", "specificity %", "PPV %"), rows)
    long = [m.pr_ms for label, m in cache["ludb"] if "i degree" in label.lower() and "ii degree" not in label.lower()]
    print("LUDB first-degree block, PR:", [None if v is None else round(v) for v in long])


def pages(shared: Path) -> None:
    """Flags on real pages whose file name or folder says what they show; the signals are read off the page."""
    from PIL import Image

    from ecgkin.generation.measures.flags import SEVERITY, Severity
    from ecgkin.generation.serial import record_of

    groups: list[tuple[str, str, frozenset[FlagCode]]] = [
        ("acute infarction", r"acute myocardial", OF_INFARCTION | {F.SGARBOSSA}),
        ("STEMI or infarction, by name", r"STEMI|infarction  ", OF_INFARCTION | {F.SGARBOSSA}),
        ("hyperkalaemia", r"yperk", frozenset()),
        ("block of second or third degree", r"mobitz|complete degree|Complete Heart", OF_BLOCK),
        ("VT or VF", r"VT|VF|ventricular fib", frozenset({F.WIDE_TACHYCARDIA, F.NO_QRS, F.FAST})),
        ("atrial fibrillation", r"^AF |afib|trial.fibrillation", OF_FIBRILLATION),
        ("RBBB", r"RBBB|right bundle|trifas", frozenset({F.RIGHT_BUNDLE})),
        ("LBBB", r"LBBB|left bundle", frozenset({F.LEFT_BUNDLE})),
        ("normal", r"^normal|normal ECG", frozenset()),
    ]
    with (shared / "pages_real" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        labelled = [(row["file"], row["label"]) for row in csv.DictReader(file)]
    cells: dict[str, list[int]] = {name: [0, 0, 0, 0] for name, _, _ in groups}
    for path, label in labelled:
        mine = [(name, codes) for name, pattern, codes in groups if re.search(pattern, label)]
        if not mine:
            continue
        with Image.open(shared / "pages_real" / path) as picture:
            record = record_of(picture.convert("RGB"))
        found = None if record is None else {flag.code for flag in red_flags(measure(record))}
        for name, codes in mine:
            cells[name][0] += 1
            cells[name][1] += found is None
            cells[name][2] += bool(found and found & codes)
            cells[name][3] += any(SEVERITY[code] is not Severity.NOTE for code in found or ())
    table(("pages called", "n", "not read", "flagged so", "any flag that is urgent or important"),
          [(name, *counts) for name, counts in cells.items()])  # fmt: skip


# --- pairs of one person ---------------------------------------------------------------------------------------------


def pairs(root: Path, cache: Path) -> None:
    """Changes between consecutive ECGs of one person: noise floor on one day, agreement with statements on all."""
    rows_of = PtbXl(root).select(range(1, 10))
    times: dict[str, int] = {}
    for ecg in rows_of:
        times[ecg.patient_id] = times.get(ecg.patient_id, 0) + 1
    several = [ecg for ecg in rows_of if times[ecg.patient_id] > 1]
    measured = measured_once(root, several, "measured-pairs", cache)
    by_patient: dict[str, list[Measured]] = {}
    for item in measured:
        by_patient.setdefault(item.row.patient_id, []).append(item)
    couples = []
    for own in by_patient.values():
        own.sort(key=lambda item: item.row.recording_date)
        couples += [(a, b) for a, b in pairwise(own)]

    def gap(a: Measured, b: Measured) -> float:
        first, last = (datetime.datetime.fromisoformat(x.row.recording_date) for x in (a, b))
        return (last - first).total_seconds() / 86_400

    same_day = [(a, b) for a, b in couples if gap(a, b) < 1.0]
    stable = [(a, b) for a, b in same_day if a.row.labels.keys() == b.row.labels.keys()]
    print(f"{len(couples)} consecutive pairs of {sum(len(v) > 1 for v in by_patient.values())} patients,"
          f" {len(same_day)} within a day, {len(stable)} of these with the same statements")  # fmt: skip
    names = ("rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg", "st_j_mv II", "st_j_mv V2", "st_j_mv V5")
    rows = []
    for name in names:
        cells = []
        for group in (same_day, stable):
            changes = [
                abs(row.change)
                for a, b in group
                for row in compare(a.found, b.found).rows
                if row.name == name and row.change is not None
            ]
            cells.append(f"{np.median(changes):.3g} / {np.percentile(changes, 95):.3g} ({len(changes)})")
        rows.append((name, *cells))
    table(("value", "same day: median / 95 % of the change (n)", "same day, same statements"), rows)
    week = [(a, b) for a, b in couples if gap(a, b) < 7 and {"NORM"} <= a.row.labels.keys() & b.row.labels.keys()]
    fired_rows: list[list[object]] = []
    for code in ChangeCode:
        row: list[object] = [code]
        for group in (stable, week, couples):
            fired = sum(any(c.code is code for c in compare(a.found, b.found).changes) for a, b in group)
            row.append(wilson(fired, len(group)))
        fired_rows.append(row)
    table(("change", f"same day, same statements ({len(stable)})", f"NORM twice in a week ({len(week)})",
           f"all pairs ({len(couples)})"), fired_rows)  # fmt: skip
    print("Changes that are said of", sum(bool(compare(a.found, b.found).changes) for a, b in couples), "pairs,",
          sum(bool(compare(a.found, b.found).changes) for a, b in stable), "of the stable ones")  # fmt: skip

    def said_of(pair: tuple[Measured, Measured], code: ChangeCode, detail: str = "") -> bool:
        changes = compare(pair[0].found, pair[1].found).changes
        return any(c.code is code and (not detail or c.detail == detail) for c in changes)

    def turned_to(pair: tuple[Measured, Measured], *classes: str) -> bool:
        before, after = (rhythm_class(x.found) for x in pair)
        return after in classes and before not in classes and before != "unknown"

    agreement: list[list[object]] = []
    tests: list[tuple[str, frozenset[str] | set[str], Callable[[tuple[Measured, Measured]], bool]]] = [
        ("AF or flutter", {"AFIB", "AFLT"}, lambda p: turned_to(p, "fibrillation", "flutter")),
        ("paced", {"PACE"}, lambda p: turned_to(p, "paced")),
        ("LBBB", {"CLBBB"}, lambda p: said_of(p, ChangeCode.NEW_BLOCK, "LBBB")),
        ("RBBB", {"CRBBB"}, lambda p: said_of(p, ChangeCode.NEW_BLOCK, "RBBB")),
        ("first degree AV block", {"1AVB"}, lambda p: said_of(p, ChangeCode.NEW_BLOCK, "first degree AV block")),
        ("infarct, by new Q", INFARCTS - INJURIES, lambda p: said_of(p, ChangeCode.NEW_Q)),
        ("ST depression or ischaemia, by ST or T", STATEMENTS_OF[F.ST_DEPRESSION],
         lambda p: said_of(p, ChangeCode.ST_DOWN) or said_of(p, ChangeCode.T_INVERSION)),
        ("LNGQT", {"LNGQT"}, lambda p: said_of(p, ChangeCode.QTC) and (p[1].found.qtc_ms or 0) > 450),
    ]  # fmt: skip
    for name, codes, test in tests:
        counted: list[str] = []
        for way in (couples, [(b, a) for a, b in couples]):  # what is gone is new the other way round
            truth = np.array([bool(codes & b.row.labels.keys()) and not codes & a.row.labels.keys() for a, b in way])
            said = np.array([bool(test(pair)) for pair in way])
            both = int((truth & said).sum())
            asked, told = int(truth.sum()), int(said.sum())
            counted += [str(asked), str(told), wilson(both, asked), wilson(both, told)]
        floor = sum(bool(test(pair)) for pair in stable)
        agreement.append([name, *counted, wilson(floor, len(stable))])
    table(("finding", "new by statements", "new by measuring", "found %", "right %", "gone by statements",
           "gone by measuring", "found %", "right %", "said of stable same-day pairs %"), agreement)  # fmt: skip


def timing() -> None:
    """CPU time of measuring 10 s of twelve leads at 500 Hz."""
    made = [simulate([c], np.random.default_rng(s)).record for c in ("NORM", "AFIB", "PACE", "STACH") for s in range(5)]
    measure(made[0])
    spent = []
    for record in made * 3:
        started = time.process_time()
        measure(record)
        spent.append(1000 * (time.process_time() - started))
    print(f"CPU ms a record: median {np.median(spent):.1f}, 95th percentile {np.percentile(spent, 95):.1f}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    what = ("simulator", "rates", "statements", "beats", "flags", "exchanged", "records", "pages", "pairs", "time")
    parser.add_argument("what", choices=what)
    parser.add_argument("--ptbxl", type=Path)
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--fold", type=int, default=9)
    parser.add_argument("--cache", type=Path, default=Path("runs/measures"))
    parser.add_argument("--repeats", type=int, default=12)
    asked = parser.parse_args()
    if asked.what in ("statements", "beats", "flags", "exchanged", "pairs") and asked.ptbxl is None:
        parser.error(f"{asked.what} needs --ptbxl, an official PTB-XL folder")
    if asked.what in ("records", "pages") and asked.shared is None:
        parser.error(f"{asked.what} needs --shared, the folder that holds records/*.npz and pages_real")
    if asked.what == "simulator":
        simulator(asked.repeats)
    elif asked.what == "rates":
        rates(asked.repeats)
    elif asked.what == "statements":
        statements(fold_of(asked.ptbxl, asked.fold, asked.cache), asked.fold)
    elif asked.what == "beats":
        beats(fold_of(asked.ptbxl, asked.fold, asked.cache), asked.ptbxl, asked.fold)
    elif asked.what == "flags":
        flags(fold_of(asked.ptbxl, asked.fold, asked.cache), asked.fold)
    elif asked.what == "exchanged":
        exchanged(asked.ptbxl, asked.fold, 150)
    elif asked.what == "records":
        records(asked.shared)
    elif asked.what == "pages":
        pages(asked.shared)
    elif asked.what == "pairs":
        pairs(asked.ptbxl, asked.cache)
    else:
        timing()


if __name__ == "__main__":
    main()
