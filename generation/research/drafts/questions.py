"""Questions about ECGs in the manner of ECG-QA, made from labels, and how answers to them are read.

`verify` asks for one finding by yes or no, `choose` for one of two superclasses, `query` for the rhythm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASS_NAMES, SUPERCLASSES, statement, superclasses
from ecgkin.retrieval.ecg.statements.find import find_statements

SEED = 2409
VERIFY_AT_LEAST = 10
"""A statement is asked about when it has so many positives among the queries."""
QUESTION_TYPES: tuple[str, ...] = ("verify", "choose", "query")
_RHYTHMS = ("AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "SVTAC", "PSVT", "SVARR", "PACE", "SR")


@dataclass(frozen=True)
class Question:
    """One question about one query.

    Attributes:
        place: Number of the query.
        kind: "verify" (yes or no), "choose" (which of two), "query" (open: the rhythm, the superclasses).
        text: In words.
        truth: The answer.
        subject: What it is about: a code, two codes, "rhythm" or "superclasses".
    """

    place: int
    kind: str
    text: str
    truth: str
    subject: tuple[str, ...]


def questions(queries: Sequence[PtbXlRow]) -> list[Question]:
    """Questions in the manner of ECG-QA, from the labels: as many yes as no, as often the first as the second."""
    rng = np.random.default_rng(SEED)
    out: list[Question] = []
    for code in CODES:
        have = [n for n, row in enumerate(queries) if code in row.labels]
        lack = [n for n, row in enumerate(queries) if code not in row.labels]
        if len(have) < VERIFY_AT_LEAST or len(lack) < VERIFY_AT_LEAST:
            continue
        name = statement(code).name_en
        for some, answer in ((have, "yes"), (lack, "no")):
            for place in rng.choice(some, size=VERIFY_AT_LEAST, replace=False):
                out.append(Question(int(place), "verify", f"Does it show {name}? yes or no", answer, (code,)))
    for place, row in enumerate(queries):
        groups = superclasses(row.labels)
        absent = [name for name in SUPERCLASSES if name not in groups]
        if groups and absent:
            pair = [str(rng.choice(groups)), str(rng.choice(absent))]
            order = (pair[0], pair[1]) if rng.random() < 0.5 else (pair[1], pair[0])
            asked = " or ".join(SUPERCLASS_NAMES[name][0] for name in order)
            out.append(Question(place, "choose", f"Which does it show: {asked}?", pair[0], order))
        rhythm = rhythm_of(row.labels)
        if rhythm:
            out.append(Question(place, "query", "What is the rhythm?", rhythm, ("rhythm",)))
    return out


def rhythm_of(labels: Mapping[str, float]) -> str:
    """The first rhythm statement among labels, rarer ones before sinus rhythm; "" where there is none."""
    return next((code for code in _RHYTHMS if code in labels), "")


def voted(question: Question, cases: Sequence[PtbXlRow]) -> str:
    """The answer that most of the cases give."""
    if question.kind == "verify":
        share = sum(question.subject[0] in row.labels for row in cases) / len(cases)
        return "yes" if share >= 0.5 else "no"
    if question.kind == "choose":
        counts = [sum(name in superclasses(row.labels) for row in cases) for name in question.subject]
        return question.subject[0] if counts[0] >= counts[1] else question.subject[1]
    said = Counter(rhythm for row in cases if (rhythm := rhythm_of(row.labels)))
    return said.most_common(1)[0][0] if said else "SR"


def read_answer(question: Question, text: str) -> str:
    """What a model's words answer; "" where nothing of it is understood."""
    lower = text.lower()
    if question.kind == "verify":
        first = lower.split()[:1]
        if first and first[0].strip(".,") in ("yes", "no", "ja", "nein"):
            return "yes" if first[0].strip(".,") in ("yes", "ja") else "no"
        said = {f.code for f in find_statements(text) if f.polarity != "absent"}
        return "yes" if question.subject[0] in said else "no"
    found = {f.code: 1.0 for f in find_statements(text) if f.polarity != "absent"}
    if question.kind == "choose":
        named = [name for name in question.subject if SUPERCLASS_NAMES[name][0].lower() in lower]
        named = named or [name for name in question.subject if name in superclasses(found)]
        return named[0] if len(named) == 1 else ""
    return rhythm_of(found)
