"""From an answer's text to structure: sentences, statements, citations, and how they stand to the neighbours."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ecgkin.generation.consensus.thresholds import DraftThresholds
from ecgkin.generation.types.draft import Agreement, Basis, DraftedStatement, Evidence, Sentence
from ecgkin.retrieval.ecg.statements.catalogue import statement
from ecgkin.retrieval.ecg.statements.find import Polarity, find_statements
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.retrieval.search.vote import Vote

# "[1]", "[1, 3]", "[case 2]", "[1][2]", "[ptbxl/123]", "(case 2)": numbers or ids, nothing else in the brackets.
_ITEM = r"(?:(?:case|fall|nr\.?|no\.?)\s*)?(?:#?\d{1,6}|[\w.-]+/[\w./-]+)"
_CITATION = re.compile(rf"\[\s*({_ITEM}(?:\s*[,;]\s*{_ITEM})*)\s*\]|\(((?:case|fall)\s+\d{{1,6}})\)", re.IGNORECASE)
_PERCENT = re.compile(r"\(\s*\d{1,3}\s*%\s*\)")
_NUMBER = re.compile(r"(?:case|fall|nr\.?|no\.?|#|\s)*(\d{1,6})\Z", re.IGNORECASE)
# A sentence ends at a mark followed by a blank and a capital, a digit or a bullet, not after an abbreviation, and at
# every line break.
_END = re.compile(r"(?<=[.!?])(?=\s+[\[(]?[A-ZÄÖÜ0-9*•-])")
_SHORT = re.compile(r"(?:\b(?:[IVX]{1,3}|[A-Za-zÄÖÜäöü]|ca|vs|bzw|evtl|Nr|No|Dr|inf|ant|resp|approx|ggf)|\d)\.$")
# A list of leads ends a sentence like any other word: "ST elevation in II, III. Abnormal ECG".
_LEADS = re.compile(r"(?:\bin\s+|,\s*|\b(?:and|und)\s+)(?:I{1,3}|aV[RLF]|V[1-6])\.$")
_BULLET = re.compile(r"^\s*(?:[-*•]+|\d{1,2}[.)])\s+")
_LEADING_MARKS = re.compile(rf"^\s*((?:(?:{_CITATION.pattern})\s*)+)(?=\S|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Grounded:
    """An answer as structure; see the attributes of `Draft` of the same names."""

    sentences: tuple[Sentence, ...]
    statements: tuple[DraftedStatement, ...]
    unknown_citations: tuple[str, ...]
    warnings: tuple[Note, ...]


def split_sentences(text: str) -> list[str]:
    """Sentences of an answer in English or German; a citation after the full stop stays with its sentence.

    >>> split_sentences("AV-Block I. Grades [1]. V. a. Infarkt. [2] Sonst unauffällig.")
    ['AV-Block I. Grades [1].', 'V. a. Infarkt. [2]', 'Sonst unauffällig.']
    """
    out: list[str] = []
    for line in text.splitlines():
        pending = ""
        for piece in _END.split(_BULLET.sub("", line)):
            moved = _LEADING_MARKS.match(piece) if pending.strip() else None
            if moved and not _SHORT.search(pending.strip()):
                pending, piece = f"{pending} {moved.group(1).strip()}", piece[moved.end() :]
            if pending and _SHORT.search(pending) and not _LEADS.search(pending):
                pending += piece
                continue
            if pending.strip():
                out.append(pending.strip())
            pending = piece
        if pending.strip():
            out.append(pending.strip())
    return [sentence for sentence in out if re.search(r"\w", sentence)]


def citations_in(text: str, evidence: Sequence[Evidence]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cited case ids, and the marks that mean no given case, in the order of the text.

    Args:
        text: A sentence or more.
        evidence: The cases that were given, numbered.

    Returns:
        Case ids, and marks as they stand in the text; each once.

    >>> citations_in("LBBB [1, 7].", [Evidence(1, "x/1", 0.9, ())])
    (('x/1',), ('7',))
    """
    by_number = {str(item.number): item.case_id for item in evidence}
    ids = {item.case_id for item in evidence}
    known: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for mark in _CITATION.finditer(text):
        for item in re.split(r"\s*[,;]\s*", (mark.group(1) or mark.group(2)).strip()):
            number = _NUMBER.match(item)
            name = number.group(1).lstrip("0") or "0" if number else item
            case_id = by_number.get(name) if number else (name if name in ids else None)
            if case_id is not None:
                known.setdefault(case_id)
            else:
                unknown.setdefault(name)
    return tuple(known), tuple(unknown)


def without_marks(text: str) -> str:
    """The text without citations and "(62 %)", as statements are looked for in it."""
    return re.sub(r"(?<!\s)\s+([.,;:])", r"\1", _PERCENT.sub("", _CITATION.sub("", text))).strip()


def ground(
    text: str,
    evidence: Sequence[Evidence],
    *,
    vote: Vote | None = None,
    neighbours: Sequence[Collection[str]] = (),
    thresholds: DraftThresholds | None = None,
    picture: bool = False,
) -> Grounded:
    """Read an answer.

    Args:
        text: The answer.
        evidence: The cases that were given, numbered.
        vote: Of the neighbours.
        neighbours: Statement codes of each neighbour (those of the evidence where left out).
        thresholds: From which probability the vote counts as for a statement.
        picture: Whether the writer saw the ECG: that carries what no case is cited for.

    Returns:
        Sentences with what carries each, and what was struck out.
    """
    labels = [frozenset(codes) for codes in neighbours] or [frozenset(item.statements) for item in evidence]
    limits = thresholds or DraftThresholds()
    carried_by = {item.case_id: frozenset(item.statements) for item in evidence}
    sentences: list[Sentence] = []
    merged: dict[str, tuple[Polarity, dict[str, None]]] = {}
    said: dict[str, set[Polarity]] = {}
    for piece in split_sentences(text):
        cited, unknown = citations_in(piece, evidence)
        found: dict[str, Polarity] = {}
        for hit in find_statements(without_marks(piece)):
            found[hit.code] = _firmer(found.get(hit.code), hit.polarity)
            said.setdefault(hit.code, set()).add(hit.polarity)
        basis: Basis = "cases" if cited else "picture" if picture else "nothing"
        probabilities = (
            [vote.statements[c] if p != "absent" else 1 - vote.statements[c] for c, p in found.items()] if vote else []
        )
        sentences.append(
            Sentence(piece, "", tuple(found.items()), cited, unknown, basis, min(probabilities, default=None))
        )
        of_clause = _clause_citations(piece, evidence)
        for code, polarity in found.items():
            before, cases = merged.setdefault(code, (polarity, {}))
            merged[code] = (_firmer(before, polarity), cases)
            cases.update(dict.fromkeys(of_clause.get(code, cited)))
    statements = tuple(
        DraftedStatement(
            code,
            polarity,
            vote.statements[code] if vote else None,
            "contradicts" if at_odds(said[code]) else _agreement(code, polarity, vote, labels, limits),
            tuple(cases),
            tuple(case for case in cases if (code in carried_by[case]) == (polarity != "absent")),
        )
        for code, (polarity, cases) in merged.items()
    )
    marks = tuple(dict.fromkeys(mark for sentence in sentences for mark in sentence.unknown_citations))
    both = [code for code in merged if at_odds(said[code])]
    return Grounded(tuple(sentences), statements, marks, _warnings(statements, marks, len(labels), both))


def _clause_citations(sentence: str, evidence: Sequence[Evidence]) -> dict[str, tuple[str, ...]]:
    """Statement -> the cases cited for it, where the clauses between semicolons have citations of their own."""
    clauses = sentence.split(";")
    cited = [citations_in(clause, evidence)[0] for clause in clauses]
    if len(clauses) < 2 or not all(cited):
        return {}
    return {
        hit.code: cases
        for clause, cases in zip(clauses, cited, strict=True)
        for hit in find_statements(without_marks(clause))
    }


def at_odds(said: Collection[Polarity]) -> bool:
    """Whether a statement is both denied and stated, plainly or as possible."""
    return "absent" in said and len(set(said)) > 1


def _firmer(one: Polarity | None, other: Polarity) -> Polarity:
    order: tuple[Polarity, ...] = ("absent", "possible", "present")
    return other if one is None or order.index(other) > order.index(one) else one


def _agreement(
    code: str, polarity: Polarity, vote: Vote | None, labels: Sequence[frozenset[str]], limits: DraftThresholds
) -> Agreement:
    if labels:
        carriers = sum(code in codes for codes in labels)
        if carriers == (len(labels) if polarity == "absent" else 0):
            return "contradicts"
    if vote is None:
        return "unknown"
    return "agrees" if limits.supports(vote, code) == (polarity != "absent") else "differs"


def _warnings(
    statements: Sequence[DraftedStatement], unknown: Sequence[str], n: int, both: Collection[str]
) -> tuple[Note, ...]:
    out = []
    for item in statements:
        name = (statement(item.code).name_en, statement(item.code).name_de)
        if item.code in both:
            out.append(Note(NoteCode.DRAFT_STATES_AND_DENIES, name=name))
        elif item.agreement == "contradicts":
            denied = item.polarity == "absent"
            code = NoteCode.DRAFT_DENIES_CARRIED if denied else NoteCode.DRAFT_STATES_UNCARRIED
            out.append(Note(code, name=name, n=n))
        if item.citations and not item.supported_by:
            denied = item.polarity == "absent"
            out.append(Note(NoteCode.CITED_CASES_CARRY if denied else NoteCode.CITED_CASES_LACK, name=name))
    if unknown:
        out.append(Note(NoteCode.CITED_UNKNOWN, marks=", ".join(unknown[:10])))
    return tuple(out)
