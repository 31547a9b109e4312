"""From chosen sentences to a `Draft`: numbered cases, marks in the text, sections with their titles."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ecgkin.generation.consensus.phrases import TITLES, capital
from ecgkin.generation.consensus.sections import SECTIONS
from ecgkin.generation.types.draft import Basis, Draft, DraftedStatement, Evidence, Section, Sentence, Support
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.find import Polarity, find_statements
from ecgkin.retrieval.ecg.statements.infarction import Stage, stage_of_report
from ecgkin.retrieval.ecg.statements.report_text import has_findings

if TYPE_CHECKING:
    from ecgkin.index.case import Case
    from ecgkin.retrieval.search.hits import Hit

# Of so many of the nearest cases the report is searched for statements that its codes lack.
REPORTS_READ = 20
_MARK = re.compile(r"@(\d+)@")
_ORDER = {s.code: i for i, s in enumerate(STATEMENTS)}


@dataclass(frozen=True)
class Neighbour:
    """A retrieved case as far as the consensus reads it.

    Attributes:
        case_id: Its id.
        score: Cosine to the query.
        codes: Its statements.
        named: Statements that its report names as present or possible, beyond its codes: it is not cited for their
            absence. Codes only: no text of a report comes near the draft.
        stage: Of its infarction: "acute", "recent", "old"; "" where nobody says.
        reported: Whether its report says anything: "trace only requested" does not.
    """

    case_id: str
    score: float
    codes: frozenset[str]
    named: frozenset[str] = frozenset()
    stage: Stage = ""
    reported: bool = True


@dataclass(frozen=True)
class Note:
    """A sentence before its citations have numbers.

    `cites` are positions among the neighbours; "@3@" inside the words stands for the mark of position 3; `support` says
    which of similar cases and reading are for it.
    """

    words: str
    section: str
    statements: tuple[tuple[str, Polarity], ...]
    cites: tuple[int, ...]
    probability: float | None
    basis: Basis = "cases"
    support: Support | None = None


def neighbours_of(hits: Sequence[Hit]) -> list[Neighbour]:
    """Hits as the consensus reads them.

    Args:
        hits: Nearest first.
    """
    return [
        Neighbour(
            hit.case.case_id,
            hit.score,
            frozenset(hit.case.labels),
            _named(hit.case.report) if place < REPORTS_READ else frozenset(),
            _stage(hit.case) if place < REPORTS_READ or "infarction_stage" in hit.case.meta else "",
            has_findings(hit.case.report),
        )
        for place, hit in enumerate(hits)
    ]


def _named(report: str) -> frozenset[str]:
    """Statements that a report names as present or possible."""
    return frozenset(found.code for found in find_statements(report) if found.polarity != "absent")


def _stage(case: Case) -> Stage:
    """Of the table where it says one, else of the report's words."""
    given = case.meta.get("infarction_stage")
    return given if given in ("acute", "recent", "old") else stage_of_report(case.report)


def evidence_of(
    neighbours: Sequence[Neighbour], wanted: Collection[int], shown: Sequence[str] = ()
) -> tuple[tuple[Evidence, ...], dict[int, int]]:
    """Numbered cases, and the number of each position.

    Args:
        neighbours: Nearest first.
        wanted: Positions of those that are listed or cited.
        shown: Ids of the cases that stand on the page as cards 1, 2, ...: they are numbered like their cards, others
            go on from there in order of rank. Without any, what is wanted is numbered from 1 on.
    """
    cards = {case_id: n for n, case_id in enumerate(shown, 1)}
    positions = sorted(i for i in set(wanted) if i < len(neighbours))
    numbers = {i: cards[neighbours[i].case_id] for i in positions if neighbours[i].case_id in cards}
    for i in positions:
        if i not in numbers:
            numbers[i] = cards[neighbours[i].case_id] = len(cards) + 1
    cases = tuple(
        Evidence(numbers[i], neighbours[i].case_id, neighbours[i].score, tuple(sorted(neighbours[i].codes, key=_rank)))
        for i in sorted(positions, key=numbers.__getitem__)
    )
    return cases, numbers


def _rank(code: str) -> tuple[int, str]:
    return _ORDER.get(code, len(_ORDER)), code


def assemble(
    empty: Draft,
    notes: Sequence[Note],
    abstained: Mapping[str, str],
    neighbours: Sequence[Neighbour],
    probabilities: Mapping[str, float],
    *,
    k: int,
    shown: Sequence[str] = (),
    answering: bool = False,
) -> Draft:
    """Put the text together.

    Args:
        empty: The draft without text.
        notes: What is said, in any order of sections.
        abstained: Section to the reason why nothing is said there.
        neighbours: Whose positions the notes cite.
        probabilities: Of all statements.
        k: How many of the nearest are listed beside those that are cited.
        shown: See `evidence_of`.
        answering: Questions are answered: only sections that were asked about appear.
    """
    language = empty.language
    evidence, numbers = evidence_of(neighbours, [*range(k), *(i for note in notes for i in note.cites)], shown)
    sentences = []
    for note in notes:
        text = capital(note.words)
        if note.probability is not None and not _MARK.search(text):
            text += f" ({100 * note.probability:.0f} %)"
        marked = _MARK.sub(lambda found: f"[{numbers[int(found[1])]}]", text)
        if marked != text:
            text = marked
        elif note.cites:
            text += f" [{', '.join(str(numbers[i]) for i in note.cites)}]"
        cases = tuple(neighbours[i].case_id for i in note.cites)
        sentences.append(
            Sentence(text + ".", note.section, note.statements, cases, (), note.basis, note.probability, note.support)
        )
    sections, lines = [], []
    for name in SECTIONS:
        own = tuple(s for s in sentences if s.section == name)
        reason = abstained.get(name, "") if not own or answering else ""
        if not own and not reason:
            continue
        title = TITLES[language][name]
        sections.append(Section(name, title, own, reason))
        said = " ".join(s.text for s in own)
        silent = capital(reason) + "." if reason else ""
        lines.append(f"{title}: {' '.join(part for part in (said, silent) if part)}")
    return replace(
        empty,
        text="\n".join(lines),
        sections=tuple(sections),
        sentences=tuple(sentences),
        statements=_statements(sentences, neighbours, probabilities),
        evidence=evidence,
    )


def _statements(
    sentences: Sequence[Sentence], neighbours: Sequence[Neighbour], probabilities: Mapping[str, float]
) -> tuple[DraftedStatement, ...]:
    by_id = {n.case_id: n for n in neighbours}
    out: dict[str, DraftedStatement] = {}
    for sentence in sentences:
        for code, said in sentence.statements:
            if code in out or (sentence.section == "conclusion" and code != "NORM"):
                continue
            fits = tuple(c for c in sentence.citations if (code in by_id[c].codes) == (said != "absent"))
            out[code] = DraftedStatement(code, said, probabilities[code], "agrees", sentence.citations, fits)
    return tuple(out.values())
