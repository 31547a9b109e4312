"""Foreign databases as queries on a PTB-XL gallery, compared on the classes that both know (SNOMED CT codes).

The records are those of the PhysioNet/CinC Challenge 2021 (Chapman/Ningbo, CPSC 2018, CPSC-Extra, G12EC): WFDB headers
with a `#Dx:` line. Their annotators named what they named; a class that a database never gives has no AUC there.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.bootstrap import AucTable, Interval, patient_weights
from ecgkin.generation.research.retrieval.galleries import PRIMARY, Progress, draw_query, encode_pictures
from ecgkin.generation.research.retrieval.labels import BoolMatrix, LabelledRow
from ecgkin.generation.research.retrieval.metrics import vote_scores
from ecgkin.generation.research.retrieval.ranking import Floats, nearest, nearest_others
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EcgkinError, QueryError
from ecgkin.retrieval.search.vote import VoteRule

_LOG = logging.getLogger(__name__)

SCORED, UNSCORED = "dx_mapping_scored.csv", "dx_mapping_unscored.csv"
# Codes that the Challenge scored as one class, and PTB-XL's own code for premature beats (field.md section 7).
SAME: Mapping[str, str] = {
    "59118001": "713427006",  # right bundle branch block
    "733534002": "164909002",  # complete left bundle branch block
    "63593006": "284470004",  # supraventricular premature beats
    "427172004": "164884008",  # premature ventricular contractions
    "17338001": "164884008",  # ventricular premature beats
    "164947007": "270492004",  # prolonged PR interval beside first degree AV block: the same measurement
}
_SINUS, _NORMAL = "426783006", "NORM"


@dataclass(frozen=True)
class ForeignRecord:
    """One record of a foreign database.

    Attributes:
        database: Its folder, without "_100hz".
        record_id: File name.
        codes: SNOMED CT codes, those of `SAME` put together.
        path: Header.
    """

    database: str
    record_id: str
    codes: frozenset[str]
    path: Path


@dataclass(frozen=True)
class ForeignResult:
    """Vote on one database, or on all together ("all").

    Attributes:
        n, refused: Records asked; those that could not be read (they count, with a zero vector).
        macro: Mean AUC over the classes with enough positives.
        per_class: SNOMED code to (name, AUC, positives here, cases in the gallery), all classes with a positive.
        best_score: Median cosine of the nearest case; low where a database looks strange.
        k, tau: Of the vote.
    """

    n: int
    refused: int
    macro: Interval
    n_classes: int
    per_class: Mapping[str, tuple[str, float, int, int]]
    best_score: float
    k: int
    tau: float
    queries: Floats = field(repr=False, default_factory=lambda: np.empty((0, 0), dtype=np.float32))


def class_names(root: Path) -> dict[str, str]:
    """SNOMED code to name, from the mapping tables beside the databases.

    Raises:
        QueryError: A table is missing.
    """
    out: dict[str, str] = {}
    for name in (SCORED, UNSCORED):
        if not (root / name).is_file():
            raise QueryError(f"{root / name} is missing", hint="it ships with the Challenge's evaluation code")
        with (root / name).open(encoding="utf-8-sig", newline="") as stream:
            for cells in csv.DictReader(stream):
                code = next((v for k, v in cells.items() if "SNOMED" in (k or "")), "") or ""
                out.setdefault(code.strip(), (cells.get("Dx") or "").strip())
    return out


def foreign_records(
    root: Path, databases: Sequence[str] | None = None, limit: int | None = None
) -> list[ForeignRecord]:
    """Records of the databases below a folder; a database with and without "_100hz" is one.

    Args:
        root: Holds one folder a database, with .hea files.
        databases: Names; None takes all folders with headers.
        limit: At most this many a database, in the order of their names.

    Returns:
        Records with their SNOMED codes.

    Raises:
        QueryError: There are none.
    """
    out: list[ForeignRecord] = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        name = folder.name.removesuffix("_100hz")
        if databases is not None and name not in databases:
            continue
        for path in sorted(folder.glob("*.hea")):
            codes = _codes(path)
            if codes:
                out.append(ForeignRecord(name, path.stem, codes, path))
    known: set[tuple[str, str]] = set()
    kept: list[ForeignRecord] = []
    counts: dict[str, int] = {}
    for record in out:
        key = (record.database, record.record_id.removesuffix("_100hz"))
        if key in known or (limit is not None and counts.get(record.database, 0) >= limit):
            continue
        known.add(key)
        counts[record.database] = counts.get(record.database, 0) + 1
        kept.append(record)
    if not kept:
        raise QueryError(f"{root} holds no records with a #Dx line (expected folders of WFDB headers)")
    return kept


def _codes(header: Path) -> frozenset[str]:
    for line in header.read_text(encoding="latin-1").splitlines():
        if line.lstrip("# ").lower().startswith("dx"):
            given = line.split(":", 1)[-1]
            return frozenset(
                SAME.get(code.strip(), code.strip()) for code in given.split(",") if code.strip().isdigit()
            )
    return frozenset()


def statement_classes() -> dict[str, tuple[str, ...]]:
    """SNOMED class to the PTB-XL statements that mean it; a normal ECG counts as sinus rhythm, as in the Challenge."""
    out: dict[str, tuple[str, ...]] = {}
    for s in STATEMENTS:
        if s.snomed:
            code = SAME.get(s.snomed, s.snomed)
            out[code] = (*out.get(code, ()), s.code)
    out[_SINUS] = tuple(dict.fromkeys((*out.get(_SINUS, ()), _NORMAL)))
    return out


def gallery_truth(rows: Sequence[LabelledRow], classes: Sequence[str]) -> BoolMatrix:
    """Which gallery rows carry which SNOMED class, shape (n, n_classes).

    Args:
        rows: Labels of the gallery.
        classes: SNOMED codes.

    Returns:
        (n, n_classes).
    """
    members = statement_classes()
    return np.array([[any(c in row.labels for c in members[code]) for code in classes] for row in rows], dtype=np.bool_)


def embed_foreign(
    encoder: Encoder, records: Sequence[ForeignRecord], progress: Progress | None = None, *, pages: bool = False
) -> tuple[Floats, list[str]]:
    """Vectors of foreign records, and why some have none.

    Args:
        encoder: Of the gallery.
        records: Queries.
        progress: Called with (what, done, total).
        pages: Draw each record as a full page and read it as any picture; otherwise as an ingest sees it.

    Returns:
        Shape (n, dim), zeros where a record was refused; and for each record "" or the refusal.
    """
    vectors = np.zeros((len(records), encoder.dim), dtype=np.float32)
    refusals = []
    for i, item in enumerate(records):
        why = ""
        try:
            record = read_ecg(item.path)
            if pages:
                vectors[i] = encode_pictures(encoder, [draw_query(record, PRIMARY)])[0]
                why = "" if np.abs(vectors[i]).sum() > 0 else "page not read"
            else:
                vectors[i] = encoder.encode_records([record])[0]
        except EcgkinError as error:
            why = f"{type(error).__name__}: {error}"
            _LOG.warning("a record of %s could not be asked: %s", item.database, type(error).__name__)
        refusals.append(why)
        if progress is not None:
            progress("foreign records", i + 1, len(records))
    return vectors, refusals


def evaluate_out_of_domain(
    records: Sequence[ForeignRecord],
    query_emb: Floats,
    gallery_emb: Floats,
    gallery_rows: Sequence[LabelledRow],
    *,
    names: Mapping[str, str] | None = None,
    rule: VoteRule | None = None,
    least: int = 5,
    resamples: int = 1_000,
    weights: NDArray[np.float32] | None = None,
) -> dict[str, ForeignResult]:
    """Vote AUC by database and over all.

    Args:
        records: Queries.
        query_emb, gallery_emb: Unit rows; a query of zeros was refused and counts.
        gallery_rows: Labels of the gallery.
        names: SNOMED code to name.
        rule: Of the vote; None takes the default.
        least: Classes with fewer positives or negatives are listed and not averaged.
        resamples: Of the bootstrap over records (each is of another patient, as far as is known).
        weights: Bootstrap weights for all records, (resamples, n).

    Returns:
        Result by database, and "all".
    """
    if len(records) != len(query_emb) or len(gallery_rows) != len(gallery_emb):
        raise QueryError(
            f"{len(query_emb)} and {len(gallery_emb)} vectors for {len(records)} and {len(gallery_rows)} rows"
        )
    rule = rule or VoteRule()
    classes = [c for c in statement_classes() if any(c in r.codes for r in records)]
    truth = np.array([[c in r.codes for c in classes] for r in records], dtype=np.bool_)
    known = gallery_truth(gallery_rows, classes)
    found = nearest(query_emb, gallery_emb, rule.k)
    votes = vote_scores(found, known, min(rule.k, found.rows.shape[1]), rule.tau)
    refused = np.abs(query_emb).sum(axis=1) == 0
    out: dict[str, ForeignResult] = {}
    groups = {name: np.array([r.database == name for r in records]) for name in sorted({r.database for r in records})}
    for name, mask in {**groups, "all": np.ones(len(records), dtype=np.bool_)}.items():
        w = patient_weights(np.arange(int(mask.sum())), resamples) if weights is None else weights[:, mask]
        table = AucTable.of(truth[mask], votes[mask], w)
        positives = truth[mask].sum(axis=0)
        enough = (positives >= least) & (mask.sum() - positives >= least) & known.any(axis=0)
        macro = table.macro(enough)
        out[name] = ForeignResult(
            n=int(mask.sum()),
            refused=int(refused[mask].sum()),
            macro=macro.interval,
            n_classes=macro.n_labels,
            per_class={
                c: ((names or {}).get(c, c), float(table.plain[i]), int(positives[i]), int(known[:, i].sum()))
                for i, c in enumerate(classes)
                if positives[i]
            },
            best_score=float(np.median(found.scores[mask, 0])),
            k=rule.k,
            tau=rule.tau,
            queries=query_emb[mask],
        )
    return out


def home_aucs(
    query_emb: Floats,
    query_rows: Sequence[LabelledRow],
    gallery_emb: Floats,
    gallery_rows: Sequence[LabelledRow],
    codes: Sequence[str],
    rule: VoteRule | None = None,
) -> dict[str, float]:
    """AUC of the same vote for the same classes on the gallery's own database: what a class costs without travelling.

    Args:
        query_emb, gallery_emb: Unit rows.
        query_rows, gallery_rows: Their labels and patients; a patient's own cases never vote.
        codes: SNOMED classes of `statement_classes`.
        rule: Of the vote.

    Returns:
        Class to AUC; NaN where all or none of the queries have it.
    """
    rule = rule or VoteRule()
    truth, known = gallery_truth(query_rows, codes), gallery_truth(gallery_rows, codes)
    found = nearest_others(query_emb, gallery_emb, rule.k, query_rows, gallery_rows)
    votes = vote_scores(found, known, min(rule.k, found.rows.shape[1]), rule.tau)
    plain = AucTable.of(truth, votes, np.empty((0, len(truth)), dtype=np.float32)).plain
    return {code: float(auc) for code, auc in zip(codes, plain, strict=True)}
