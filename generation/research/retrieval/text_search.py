"""Text search: 30 statements, each asked for in four ways; a hit is right when its labels contain the statement.

The table is the evaluation's own. The sentences were written for it and are kept out of training, whose texts come
from reports and from `statements.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecgkin.generation.research.retrieval.labels import LabelledRow
from ecgkin.generation.research.retrieval.ranking import Floats, nearest
from ecgkin.retrieval.errors import QueryError

FORMS: tuple[str, ...] = ("English name", "abbreviation", "German term", "sentence")
# Issue 7: none of these may fall under 0.8.
COMMON: tuple[str, ...] = (
    "NORM", "AFIB", "CLBBB", "CRBBB", "IMI", "ASMI", "LVH", "1AVB", "PACE", "STACH", "SBRAD", "PVC",
)  # fmt: skip

# code: English name, abbreviation, German term, free sentence.
QUERIES: dict[str, tuple[str, str, str, str]] = {
    "NORM": ("normal ECG", "WNL", "unauffälliges EKG", "Show me tracings where nothing at all is wrong."),
    "AFIB": (
        "atrial fibrillation", "AFib", "Vorhofflimmern",
        "There are no P waves and the ventricles answer in a completely irregular way.",
    ),
    "AFLT": (
        "atrial flutter", "AFL", "Vorhofflattern", "Sawtooth waves at 300 a minute with four to one conduction.",
    ),
    "STACH": ("sinus tachycardia", "ST >100/min", "Sinustachykardie", "Fast but otherwise regular sinus beats at 130."),
    "SBRAD": ("sinus bradycardia", "SB <60/min", "Sinusbradykardie", "A slow heart led by the sinus node, 45 bpm."),
    "SARRH": ("sinus arrhythmia", "SA", "Sinusarrhythmie", "Sinus beats that come faster and slower with breathing."),
    "SVTAC": (
        "supraventricular tachycardia", "SVT", "supraventrikuläre Tachykardie",
        "A narrow complex tachycardia of 180 that starts above the ventricles.",
    ),
    "PACE": ("pacemaker rhythm", "PM", "Schrittmacherrhythmus", "Ventricles that are paced by an implanted device."),
    "BIGU": ("bigeminy", "bigem.", "Bigeminus", "Every second beat is an extra one."),
    "PVC": (
        "premature ventricular contraction", "PVC", "ventrikuläre Extrasystole",
        "Single broad beats from the ventricle interrupt the basic rhythm.",
    ),
    "PAC": (
        "premature atrial contraction", "PAC", "Vorhofextrasystole",
        "Now and then an early narrow beat with an odd P wave.",
    ),
    "1AVB": (
        "first degree AV block", "1° AVB", "AV-Block ersten Grades",
        "Conduction from the atria to the ventricles is delayed, PR is 260 ms.",
    ),
    "CLBBB": (
        "complete left bundle branch block", "LBBB", "kompletter Linksschenkelblock",
        "The left bundle does not conduct and QRS is broad and notched in V6.",
    ),
    "CRBBB": (
        "complete right bundle branch block", "RBBB", "kompletter Rechtsschenkelblock",
        "The right bundle does not conduct, with rsR' in V1 and a wide S in lead I.",
    ),
    "IRBBB": (
        "incomplete right bundle branch block", "iRBBB", "inkompletter Rechtsschenkelblock",
        "A small second R in V1 while QRS stays below 120 ms.",
    ),
    "LAFB": (
        "left anterior fascicular block", "LAFB", "linksanteriorer Hemiblock",
        "Marked left axis because the front branch of the left bundle is blocked.",
    ),
    "IVCD": (
        "intraventricular conduction delay", "IVCD", "intraventrikuläre Leitungsstörung",
        "QRS is too wide, yet neither bundle branch pattern is met.",
    ),
    "WPW": (
        "Wolff-Parkinson-White syndrome", "WPW", "Präexzitation",
        "A delta wave and a short PR give away an accessory pathway.",
    ),
    "IMI": (
        "inferior myocardial infarction", "IMI", "Hinterwandinfarkt",
        "Old scar of the lower wall with deep Q in II, III and aVF.",
    ),
    "ASMI": (
        "anteroseptal myocardial infarction", "ASMI", "anteroseptaler Infarkt",
        "R waves have vanished from V1 to V3 after an infarct of the septum.",
    ),
    "LVH": (
        "left ventricular hypertrophy", "LVH", "Linkshypertrophie",
        "The left chamber is thickened, with tall R in V5 and strain.",
    ),
    "LAO/LAE": (
        "left atrial enlargement", "LAE", "P-sinistroatriale", "A wide notched P wave points to a big left atrium.",
    ),
    "RVH": (
        "right ventricular hypertrophy", "RVH", "Rechtsherzhypertrophie",
        "The right chamber is overloaded, dominant R in V1 and right axis.",
    ),
    "NDT": (
        "non-diagnostic T wave abnormalities", "NDT", "unspezifische T-Veränderungen",
        "The T waves are a little unusual but prove nothing.",
    ),
    "ISC_": (
        "myocardial ischaemia", "ISC", "Myokardischämie", "The repolarisation suggests that the muscle lacks blood.",
    ),
    "STD_": ("ST segment depression", "STD", "ST-Senkung", "The ST segments run below the baseline."),
    "INVT": ("T wave inversion", "TWI", "negative T-Wellen", "The T waves are upside down."),
    "LVOLT": ("low QRS voltage", "LVOLT", "Niederspannung", "All complexes are remarkably small."),
    "QWAVE": ("pathological Q waves", "Q waves", "Q-Zacken", "Abnormal Q deflections are present."),
    "LNGQT": ("prolonged QT interval", "LQT", "QT-Verlängerung", "QTc is far too long, 520 ms."),
}  # fmt: skip


@dataclass(frozen=True)
class TextQueryResult:
    """One query.

    Attributes:
        code: The statement asked for.
        form: One of `FORMS`.
        text: The words.
        precision: Share of the first ten hits that carry the statement.
        n_gallery: Cases that carry it.
        best_score: Cosine of the first hit.
    """

    code: str
    form: str
    text: str
    precision: float
    n_gallery: int
    best_score: float


def text_queries() -> list[tuple[str, str, str]]:
    """All (code, form, text), statement by statement."""
    return [(code, form, text) for code, texts in QUERIES.items() for form, text in zip(FORMS, texts, strict=True)]


def evaluate_text_search(
    text_emb: Floats, gallery_emb: Floats, gallery_rows: Sequence[LabelledRow], k: int = 10
) -> list[TextQueryResult]:
    """P@k of every query.

    Args:
        text_emb: Vectors of `text_queries()`, in that order, unit rows, shape (120, dim).
        gallery_emb: Case vectors, unit rows, shape (n_gallery, dim).
        gallery_rows: Their labels.
        k: Depth.

    Returns:
        One result a query, in the order of `text_queries()`.

    Raises:
        QueryError: Numbers do not fit.
    """
    queries = text_queries()
    if len(text_emb) != len(queries) or len(gallery_emb) != len(gallery_rows):
        raise QueryError(f"{len(text_emb)} text vectors for {len(queries)} queries, {len(gallery_emb)} gallery vectors")
    found = nearest(text_emb, gallery_emb, k)
    carries = {code: np.array([code in row.labels for row in gallery_rows]) for code in QUERIES}
    return [
        TextQueryResult(
            code=code,
            form=form,
            text=text,
            precision=float(carries[code][rows].sum() / k),
            n_gallery=int(carries[code].sum()),
            best_score=float(scores[0]),
        )
        for (code, form, text), rows, scores in zip(queries, found.rows, found.scores, strict=True)
    ]
