"""Zero-shot tables as MERL and D-BETA print them: super, sub, form, rhythm, CPSC2018, Chapman-Shaoxing-Ningbo.

One row an encoder, the macro mean of the AUCs per class of a column, recordings against texts by cosine. An encoder
whose weights are not at hand keeps its row and says so, as does a data set: a site with weights and data fills the
table with the same command. ECGFounder has no text tower; its row is a supervised classifier's, with the classes that
say a statement, and says of how many columns.

What is not the published protocol stands in the notes: 100 Hz data (published: 500 Hz), another fold than 10, prompts
of this project's wording (published: the authors' own, read from the user's copy with `prompts`).
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.research.retrieval.bootstrap import AucTable, Interval, patient_weights
from ecgkin.generation.research.retrieval.case_retrieval import Rules, evaluate_case_retrieval
from ecgkin.generation.research.retrieval.galleries import Embedder, Progress
from ecgkin.generation.research.retrieval.labels import BoolMatrix
from ecgkin.generation.research.retrieval.ranking import Floats, patient_numbers, unit_rows
from ecgkin.generation.research.retrieval.report import table
from ecgkin.generation.research.retrieval.zero_shot import GROUPS, class_texts, group_labels, group_truth
from ecgkin.generation.research.scope import Scope
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.published import SYSTEMS, is_published
from ecgkin.retrieval.errors import EcgkinError, ModelError, QueryError, RecordError, WeightsMissingError
from ecgkin.retrieval.search.vote import DEFAULT_K, DEFAULT_TAU, VoteRule

_LOG = logging.getLogger(__name__)

COLUMNS: tuple[str, ...] = (*GROUPS, "cpsc2018", "csn")
NOT_AT_HAND = "weights not at hand"
NOT_USABLE = "weights cannot be used"
NO_DATA = "data not at hand"
_SHOWN = 5  # classes that a note names
ALL: tuple[str, ...] = ("default", *SYSTEMS)
"""Rows of the whole table: what is shipped, and every published encoder."""

RULE = VoteRule(DEFAULT_K, DEFAULT_TAU)
MEASURES: tuple[str, ...] = ("vote AUC superclasses", "vote AUC statements", "P@10 superclass sets")

# Macro AUC x 100 as their authors publish them (second-hand, field.md 4): fold 10 or the test split, 500 Hz.
PUBLISHED: dict[str, tuple[float, ...]] = {
    "MERL (ResNet)": (74.2, 75.7, 65.9, 78.5, 82.8, 74.4),
    "D-BETA": (76.2, 75.9, 66.1, 88.6, 80.1, 76.3),
}
# Columns of the split files that are no classes.
_NO_CLASS = frozenset(
    ("", "unnamed: 0", "patient_id", "ecg_id", "filename", "filename_lr", "filename_hr", "ecg_path", "path",
     "validation", "validated_by_human", "age", "sex", "scp_codes", "strat_fold", "height", "weight",
     "nurse", "site", "device")
)  # fmt: skip
_PATHS = ("ecg_path", "filename_hr", "filename", "path", "filename_lr")
# Classes of CPSC2018 and Chapman-Shaoxing-Ningbo by the names of their tables, in this project's words; others are
# asked for by their name alone.
CLASS_WORDS: dict[str, str] = {
    "AFIB": "atrial fibrillation",
    "AF": "atrial flutter",
    "VPC": "ventricular premature complexes",
    "VPB": "ventricular premature beat",
    "NORM": "normal ECG",
    "1AVB": "first degree atrioventricular block",
    "2AVB": "second degree atrioventricular block",
    "CRBBB": "complete right bundle branch block",
    "RBBB": "right bundle branch block",
    "CLBBB": "complete left bundle branch block",
    "LBBB": "left bundle branch block",
    "STE": "ST segment elevation",
    "STD": "ST segment depression",
    "PAC": "premature atrial complexes",
    "APB": "atrial premature beat",
    "SB": "sinus bradycardia",
    "SR": "sinus rhythm",
    "ST": "sinus tachycardia",
    "SA": "sinus arrhythmia",
    "SVT": "supraventricular tachycardia",
    "AT": "atrial tachycardia",
    "AVB": "atrioventricular block",
    "LVH": "left ventricular hypertrophy",
    "RVH": "right ventricular hypertrophy",
    "MI": "myocardial infarction",
    "TWC": "T wave change",
    "TWO": "opposed T wave",
    "QTIE": "prolonged QT interval",
    "WPW": "Wolff-Parkinson-White pattern",
    "ALS": "left axis deviation",
    "ARS": "right axis deviation",
    "PRIE": "prolonged PR interval",
    "STTC": "ST-T change",
    "STTU": "ST tilted up",
    "VB": "ventricular bigeminy",
    "VEB": "ventricular escape beat",
    "CCR": "counterclockwise rotation",
    "CR": "clockwise rotation",
    "IDC": "intraventricular conduction delay",
    "LFBBB": "left anterior fascicular block",
    "LBBBB": "left posterior fascicular block",
    "PWC": "P wave change",
}


@dataclass(frozen=True)
class Cell:
    """One figure, or why there is none.

    Attributes:
        auc: Macro AUC with its interval over patients; None where there is none.
        n: ECGs.
        n_classes: Classes with both values.
        of: Classes of the column.
        why: "" or the reason.
    """

    auc: Interval | None
    n: int = 0
    n_classes: int = 0
    of: int = 0
    why: str = ""

    def __str__(self) -> str:
        if self.auc is None:
            return self.why
        share = "" if self.n_classes == self.of else f", {self.n_classes} of {self.of} classes"
        return f"{100 * self.auc.value:.1f} ({100 * self.auc.low:.1f}-{100 * self.auc.high:.1f}{share})"


@dataclass(frozen=True)
class LabelledSet:
    """Recordings with classes.

    Attributes:
        column: One of `COLUMNS`.
        records: Where each recording is.
        classes: Names.
        truth: (n, n_classes).
        patients: Number of each recording's patient.
    """

    column: str
    records: tuple[Path, ...]
    classes: tuple[str, ...]
    truth: BoolMatrix
    patients: tuple[str, ...]


@dataclass(frozen=True)
class ZeroShotTable:
    """The table and what its figures rest on.

    Attributes:
        rows: Row title -> column -> cell.
        retrieval: Row title -> measure -> value, or why there is none; empty without a gallery.
        notes: How this differs from the published protocol, and what was left out.
    """

    rows: Mapping[str, Mapping[str, Cell]]
    notes: tuple[str, ...]
    retrieval: Mapping[str, Mapping[str, Interval] | str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rows": {
                title: {column: asdict(cell) for column, cell in cells.items()} for title, cells in self.rows.items()
            },
            "published": {title: dict(zip(COLUMNS, values, strict=True)) for title, values in PUBLISHED.items()},
            "retrieval": {
                title: found if isinstance(found, str) else {name: asdict(value) for name, value in found.items()}
                for title, found in self.retrieval.items()
            },
            "notes": list(self.notes),
        }

    def as_markdown(self) -> str:
        """The table with the published rows behind it."""
        body = [[title, *(str(cells[column]) for column in COLUMNS)] for title, cells in self.rows.items()]
        body += [
            [f"{title}, as published (fold 10 / test split, 500 Hz)", *(f"{value:.1f}" for value in values)]
            for title, values in PUBLISHED.items()
        ]
        head = ["Encoder", "Super", "Sub", "Form", "Rhythm", "CPSC2018", "CSN"]
        notes = "\n".join(f"- {note}" for note in self.notes)
        text = f"# Zero-shot, macro AUC x 100\n\n{table(head, body)}\n"
        if self.retrieval:
            found = [
                [
                    title,
                    *([values] + [""] * (len(MEASURES) - 1) if isinstance(values, str) else map(str, values.values())),
                ]
                for title, values in self.retrieval.items()
            ]
            text += f"\n# Retrieval, recordings among recordings\n\n{table(['Encoder', *MEASURES], found)}\n"
        return f"{text}\n{notes}\n"


def read_split(column: str, file: Path, root: Path) -> LabelledSet:
    """A split file in the layout of MERL's repository: a path column and one column of 0 and 1 a class.

    Args:
        column: One of `COLUMNS`.
        file: For example `finetune/data_split/icbeb/icbeb_test.csv` of the user's copy.
        root: Folder that the paths start from.

    Returns:
        Recordings, classes and truth.

    Raises:
        QueryError: There is no such file, no path column, or no class.
    """
    if not file.is_file():
        raise QueryError(f"{file} is not there", hint="give the split file of MERL's repository: NAME=FILE@FOLDER")
    with file.open(encoding="utf-8-sig", newline="") as stream:
        lines = list(csv.DictReader(stream))
    names = list(lines[0]) if lines else []
    place = next((name for name in _PATHS if name in names), None)
    classes = tuple(
        name
        for name in names
        if name.strip().lower() not in _NO_CLASS and all(line[name] in ("0", "1", "0.0", "1.0") for line in lines)
    )
    if place is None or not classes:
        raise QueryError(
            f"{file} has columns {', '.join(names[:8]) or 'none'} (expected a path column and classes of 0 and 1)",
            hint=f"a path column is one of {', '.join(_PATHS)}",
        )
    truth = np.array([[line[name].startswith("1") for name in classes] for line in lines], dtype=bool)
    patients = tuple(str(line.get("patient_id") or number) for number, line in enumerate(lines))
    return LabelledSet(column, tuple(_record_path(root, line[place]) for line in lines), classes, truth, patients)


def _record_path(root: Path, said: str) -> Path:
    """A recording below the root: as the table says, or with the usual suffixes."""
    path = root / said.lstrip("/")
    for suffix in ("", ".hea", ".mat"):
        candidate = path.with_name(path.name + suffix)
        if candidate.is_file():
            return candidate
    return path


def read_prompts(file: Path) -> dict[str, str]:
    """Class -> text, from the user's copy of MERL's `CKEPE_prompt.json` or D-BETA's `context_llm.json`.

    Raises:
        QueryError: It is no JSON object of texts.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = "it is not there" if isinstance(error, FileNotFoundError) else str(error)
        raise QueryError(f"{file} cannot be read as JSON: {why}") from error
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise QueryError(f"{file} is no table of texts by class", hint="give CKEPE_prompt.json or context_llm.json")
    return {_key(name): text for name, text in value.items()}


def _key(name: str) -> str:
    """PTB-XL writes NST_ and STD_, the published prompts NST and STD."""
    return name.strip().upper().rstrip("_")


def zero_shot_table(
    ptbxl_root: str | Path,
    encoders: Sequence[str] = ALL,
    scope: Scope = Scope(),
    *,
    splits: Sequence[LabelledSet] = (),
    prompts: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> ZeroShotTable:
    """Fill the table with what is at hand.

    Args:
        ptbxl_root: PTB-XL, at 500 Hz where `records500` is there.
        encoders: Names for `load_encoder`; "merl" and the like without a place are rows whose weights are not at hand.
        scope: Folds that are asked (published figures are of fold 10) and, for the second table, searched (none leaves
            it out); `limit` holds for each set.
        splits: Of `read_split`, for columns beyond PTB-XL.
        prompts: Of `read_prompts`; a class without a text there gets this project's.
        device: Where encoders run.

    Returns:
        A row of cells an encoder, its figures of retrieval, and notes.

    Raises:
        QueryError: The folds hold nothing, or an encoder's name means nothing.
        ModelError: The weights of an encoder that is not a published one do not load, or of none that is named.
    """
    data = PtbXl(Path(ptbxl_root))
    rows = data.select(scope.query_folds)[: scope.limit]
    if not rows:
        raise QueryError(f"folds {sorted(scope.query_folds)} hold no ECG in {ptbxl_root}")
    folds = ", ".join(map(str, sorted(scope.query_folds)))
    notes = [f"PTB-XL folds {folds}, {len(rows)} ECGs; intervals 95 % over patients"]
    fs_hz = data.record(rows[0]).fs_hz
    if fs_hz < 500:
        notes.append(f"PTB-XL at {fs_hz:g} Hz: 500 Hz (records500) are missing, so not the published protocol")
    if tuple(scope.query_folds) != (10,):
        notes.append("published figures are of fold 10")
    if "default" in encoders:
        notes.append("the shipped encoder was trained on PTB-XL's folds 1 to 8, labels included: not zero-shot")
    notes.append("texts: " + (_whose(prompts) if prompts else "names and synonyms of this project's"))
    gallery = data.select(scope.gallery_folds)[: scope.gallery_limit] if scope.gallery_folds else []
    if gallery:
        notes.append(f"retrieval: vote and hits among {len(gallery)} cases, {RULE.k} neighbours, nothing calibrated")
    asked = _Asked(data, scope, rows, gallery, {one.column: one for one in splits}, prompts, notes)
    retrieval: dict[str, Mapping[str, Interval] | str] = {}
    table_rows: dict[str, dict[str, Cell]] = {}
    refusals: list[ModelError] = []
    for name in encoders:
        title = SYSTEMS[name].title if name in SYSTEMS else name
        encoder = _encoder_at_hand(name, device)
        if encoder is None or isinstance(encoder, ModelError):
            why = NOT_AT_HAND if encoder is None or isinstance(encoder, WeightsMissingError) else NOT_USABLE
            table_rows[title] = {column: Cell(None, why=why) for column in COLUMNS}
            if gallery:
                retrieval[title] = why
            if encoder is not None:
                _LOG.warning("%s has no figures: %s", name, encoder)
                notes.append(f"{name}: {encoder}")
                refusals.append(encoder)
            continue
        table_rows[title], figures = asked.row(encoder, name)
        if figures:
            retrieval[title] = figures
    if len(refusals) == len(encoders):  # none of what was named can be used
        raise refusals[0]
    return ZeroShotTable(table_rows, tuple(dict.fromkeys(notes)), retrieval)


def _whose(prompts: Mapping[str, str]) -> str:
    """Whose texts stand for the classes: where the user's copy has none for one, this project's wording does."""
    lacking = [label for group in GROUPS for label in group_labels(group) if _key(label) not in prompts]
    if not lacking:
        return "the user's copy, by class"
    shown = ", ".join(lacking[:_SHOWN]) + (f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else "")
    return f"the user's copy, by class; it lacks {len(lacking)} classes, which have this project's wording: {shown}"


def _encoder_at_hand(name: str, device: str) -> Any:
    """The encoder; None for a published one that is only named, the error where its weights cannot be used."""
    from ecgkin.retrieval.encoders import load_encoder

    try:
        return None if name in SYSTEMS else load_encoder(name, device=device)
    except ModelError as error:
        if not is_published(name):
            raise
        return error


@dataclass(frozen=True)
class _Asked:
    """What every encoder is asked.

    Attributes:
        data: PTB-XL.
        scope: Limits, resamples, cache, progress.
        rows: Queries of PTB-XL.
        gallery: Cases that are searched; none leaves the second table out.
        sets: Column to the labelled set of another database.
        prompts: Texts of classes, or None for this project's.
        notes: What is worth saying is added.
    """

    data: PtbXl
    scope: Scope
    rows: Sequence[PtbXlRow]
    gallery: Sequence[PtbXlRow]
    sets: Mapping[str, LabelledSet]
    prompts: Mapping[str, str] | None
    notes: list[str]

    def row(self, encoder: Any, name: str) -> tuple[dict[str, Cell], dict[str, Interval]]:
        """An encoder's cells in the first table, and its figures in the second."""
        notes, scope, rows = self.notes, self.scope, self.rows
        if hasattr(encoder, "cautions"):
            notes += [f"{name}: {caution}" for caution in encoder.cautions]
        vectors, kept = self.encoded(encoder, rows, name)
        mine = [rows[place] for place in kept]
        if len(kept) < len(rows):
            notes.append(f"{name}: {len(rows) - len(kept)} ECGs of PTB-XL were refused and left out")
        cells: dict[str, Cell] = {}
        weights = patient_weights(patient_numbers([row.patient_id for row in mine])[0], scope.resamples)
        for group in GROUPS:
            cells[group] = _cell(encoder, vectors, group_truth(group, mine), group, weights, self.prompts)
        for column in COLUMNS[len(GROUPS) :]:
            one = self.sets.get(column)
            cells[column] = Cell(None, why=NO_DATA) if one is None else self.set_cell(encoder, name, one)
        if not self.gallery:
            return cells, {}
        others, places = self.encoded(encoder, self.gallery, f"{name} gallery")
        found = evaluate_case_retrieval(
            unit_rows(vectors), unit_rows(others), mine, [self.gallery[place] for place in places],
            rules=Rules(RULE, RULE), weights=weights,
        )  # fmt: skip
        return cells, {
            MEASURES[0]: found.aucs["superclasses"].interval,
            MEASURES[1]: found.aucs["statements"].interval,
            MEASURES[2]: found.measures["P@10 superclass sets"],
        }

    def encoded(self, encoder: Any, rows: Sequence[PtbXlRow], name: str) -> tuple[Floats, list[int]]:
        """As `_encoded`, kept in the cache; an encoder that refuses some of them is asked one by one."""
        try:
            embedder = Embedder(self.data, encoder, self.scope.cache, self.scope.progress)
            if hasattr(encoder, "logits_of"):
                return embedder.cached("raw", rows, encoder.raw_records), list(range(len(rows)))
            return embedder.gallery(rows), list(range(len(rows)))
        except RecordError:
            return _encoded(encoder, [self.data.record(row) for row in rows], name, self.scope.progress)

    def set_cell(self, encoder: Any, name: str, one: LabelledSet) -> Cell:
        """The cell of another database."""
        if hasattr(encoder, "logits_of"):
            return Cell(None, why="supervised classes of PTB-XL's statements only")
        if getattr(encoder, "has_text", True) is False:
            return Cell(None, why="no text tower")
        records, there = [], []
        for place, path in enumerate(one.records[: self.scope.limit]):
            try:
                records.append(read_ecg(path))
                there.append(place)
            except (EcgkinError, OSError):
                continue
        if not records:
            return Cell(None, why=NO_DATA)
        vectors, kept = _encoded(encoder, records, f"{name} {one.column}", self.scope.progress)
        mine = [there[place] for place in kept]
        if len(mine) < len(one.records):
            self.notes.append(f"{name}: {len(mine)} of {len(one.records)} ECGs of {one.column} were read")
        texts = {
            label: ((self.prompts or {}).get(_key(label), CLASS_WORDS.get(_key(label), label.replace("_", " "))),)
            for label in one.classes
        }
        weights = patient_weights(patient_numbers([one.patients[place] for place in mine])[0], self.scope.resamples)
        return _auc(one.truth[mine], vectors @ _vectors(encoder, texts).T, weights, len(one.classes))


def _encoded(
    encoder: Any, records: Sequence[EcgRecord], name: str, progress: Progress | None, batch: int = 32
) -> tuple[Floats, list[int]]:
    """Rows of the records that the encoder takes, and which these are; as computed where classes are read off them."""
    encode = encoder.raw_records if hasattr(encoder, "logits_of") else encoder.encode_records
    parts: list[Floats] = []
    kept: list[int] = []
    for start in range(0, len(records), batch):
        places = list(range(start, min(start + batch, len(records))))
        try:
            parts.append(encode([records[place] for place in places]))
            kept += places
        except RecordError:
            for place in places:
                try:
                    parts.append(encode([records[place]]))
                    kept.append(place)
                except RecordError:
                    continue
        if progress is not None:
            progress(name, places[-1] + 1, len(records))
    return np.concatenate(parts) if parts else np.empty((0, encoder.dim), dtype=np.float32), kept


def _texts(group: str, prompts: Mapping[str, str] | None) -> dict[str, tuple[str, ...]]:
    ours = class_texts(group, "terms")
    return {label: (prompts[_key(label)],) if prompts and _key(label) in prompts else ours[label] for label in ours}


def _vectors(encoder: Encoder, texts: Mapping[str, tuple[str, ...]]) -> Floats:
    """Unit rows, one a class: the mean direction of its texts."""
    flat = [text for some in texts.values() for text in some]
    rows = encoder.encode_texts(flat)
    ends = np.cumsum([len(some) for some in texts.values()])[:-1]
    return unit_rows(np.stack([part.mean(axis=0) for part in np.split(rows, ends)]))


def _cell(
    encoder: Encoder,
    vectors: Floats,
    truth: BoolMatrix,
    group: str,
    weights: Any,
    prompts: Mapping[str, str] | None,
) -> Cell:
    labels = group_labels(group)
    asked = truth.any(axis=1)
    if not asked.any():
        return Cell(None, why=NO_DATA)
    if hasattr(encoder, "logits_of"):
        scores, columns = _class_scores(encoder, vectors, labels, group)
        if not columns.any():
            return Cell(None, why="no class says one of these")
        return _auc(truth[asked][:, columns], scores[asked][:, columns], weights[:, asked], len(labels))
    if getattr(encoder, "has_text", True) is False:
        return Cell(None, why="no text tower")
    scores = vectors[asked] @ _vectors(encoder, _texts(group, prompts)).T
    return _auc(truth[asked], scores, weights[:, asked], len(labels))


def _class_scores(encoder: Any, vectors: Floats, labels: Sequence[str], group: str) -> tuple[Floats, Any]:
    """Probabilities of a supervised encoder's classes by label, and which labels they say."""
    from ecgkin.retrieval.encoders.published.ecgfounder.witness import from_logits

    said = from_logits(encoder.logits_of(vectors))
    out = np.full((len(vectors), len(labels)), np.nan, dtype=np.float32)
    for place, label in enumerate(labels):
        of = {"superclass": "superclass", "subclass": "subclass"}.get(group, "code")
        codes = [s.code for s in STATEMENTS if getattr(s, of) == label]
        mine = [said.codes.index(code) for code in codes if code in said.covered]
        if mine:
            out[:, place] = said.probabilities[:, mine].max(axis=1)
    return out, np.isfinite(out).all(axis=0)


def _auc(truth: BoolMatrix, scores: Floats, weights: Any, of: int) -> Cell:
    every = AucTable.of(truth, scores, weights).macro()
    if every.n_labels == 0:
        return Cell(None, n=len(truth), of=of, why="no class with both values")
    return Cell(every.interval, n=len(truth), n_classes=every.n_labels, of=of)
