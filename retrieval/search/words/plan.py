"""What was understood of words -> how a case base is asked: filters, which cases stand first, what is to be said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ecgkin.index.filters import Compare, HasLabel, Join, Node, Not, Where, WhereLike
from ecgkin.retrieval.ecg.statements.catalogue import CODES, statement
from ecgkin.retrieval.ecg.statements.find import find_names
from ecgkin.retrieval.ecg.statements.report_text import fold
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.retrieval.search.words import lexicon
from ecgkin.retrieval.search.words.parts import AgePart, ConceptPart, Finding, MeasurePart, SexPart, Understood
from ecgkin.retrieval.search.words.ranges import is_denied
from ecgkin.retrieval.search.words.understand import has_content

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.index.case import Case

# Reports of a larger base are not read through for a name: only those of the cases that are found.
MOST_REPORTS = 30_000
MOST_MENTIONS = 1_000  # a filter takes 2,000 comparisons
MOST_MEASURED = 5_000
SAMPLE = 1_000  # cases of a larger base that tell what is measured
# Share of words that must be known: on the fit half of `word_queries` nonsense reached 0, sentences fell to .5.
KNOWN, HALF, FEW_WORDS = 0.4, 0.5, 3
ALONE = 2  # words up to which one with a meaning describes nothing
LIKELIHOOD = 0.1  # cosine that a case gains whose source is sure of what was asked for
_UNSAID = 0.6  # stands for the likelihood of a source that gives none
# Statements that a reader may mean as well: behind the cases that carry what was said, and denied with it.
_KIN: Mapping[str, tuple[str, ...]] = {
    "LVH": ("VCLVH",), "SVTAC": ("PSVT",), "PSVT": ("SVTAC",), "IMI": ("ILMI", "IPMI", "IPLMI"),
    "AMI": ("ASMI", "ALMI"), "NDT": ("NT_",), "NT_": ("NDT",),
}  # fmt: skip
_IMPLIED: Mapping[str, tuple[tuple[float, str], tuple[float, str]]] = {
    # From this value on, or up to that one, cases that are called so come first where nothing is measured.
    "rate_bpm": ((95.0, "ANY_TACHY"), (65.0, "ANY_BRADY")),
    "pr_ms": ((180.0, "FIRST_AVB"), (0.0, "")),
    "qrs_ms": ((110.0, "WIDE_QRS"), (0.0, "")),
    "qtc_ms": ((440.0, "LONG_QT"), (0.0, "")),
    "qt_ms": ((480.0, "LONG_QT"), (0.0, "")),
    "axis_deg": ((90.0, "RAD"), (-30.0, "LAD")),
}
MEASURES: Mapping[str, tuple[str, str, str]] = {
    "rate_bpm": ("heart rate", "Herzfrequenz", "/min"),
    "pr_ms": ("PR interval", "PQ-Zeit", "ms"),
    "qrs_ms": ("QRS duration", "QRS-Dauer", "ms"),
    "qt_ms": ("QT interval", "QT-Zeit", "ms"),
    "qtc_ms": ("QTc interval", "QTc-Zeit", "ms"),
    "axis_deg": ("QRS axis", "QRS-Achse", "degrees"),
}

_LEADS = re.compile(
    r"(?<!\w)(?:V[1-6](?:\s?(?:[-–]|to|bis|till)\s?V?[1-6])?|aV[RLF]|"
    r"(?<!block )(?<!grade )(?<!type )(?<!typ )(?<!mobitz )(?<!avb )(?:III|II)|"
    r"(?<=lead )I|(?<=leads )I|(?<=Ableitung )I|(?<=avledning )I|I(?=(?:,\s?|/|\s(?:and|und|och)\s)(?:aVL|II|V[1-6])))"
    r"(?!\w)(?!°)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Plan:
    """How a case base is asked.

    Attributes:
        text: To be embedded.
        where: What every case must pass, the caller's filter included.
        tiers: Cases that pass the first come first, then those that pass the second, then all others.
        wanted: Statement codes that were asked for; their likelihood counts among cases of one tier.
        measures: Limits of values that cases of this base carry.
        similar: Whether cases are called similar.
        reason: Why not.
        carried: How many cases carry all that was asked for; None where nothing was.
        names: What was asked for, in English and German.
        notes: What is to be said.
        soft: Whether the codes that were asked for only raise the score.
    """

    text: str
    where: Where
    tiers: list[Where] = field(default_factory=list)
    wanted: frozenset[str] = frozenset()
    measures: tuple[MeasurePart, ...] = ()
    similar: bool = True
    reason: str = ""
    carried: int | None = None
    names: tuple[str, str] = ("", "")
    notes: list[Note] = field(default_factory=list)
    soft: bool = False


class Lookups:
    """What is looked up once in the cases of a base, until it changes: names in reports, and what was measured.

    A base of more than `MOST_REPORTS` cases is not read through: no report is said to name anything, and what is
    measured is asked of its first cases.
    """

    def __init__(self) -> None:
        self._state: tuple[int, int] | None = None
        self._reports: list[tuple[str, str, str]] = []
        self._measures: frozenset[str] = frozenset()
        self._named: dict[str, tuple[str, ...]] = {}

    def named(self, base: CaseBase, code: str) -> tuple[str, ...]:
        """Ids of the cases whose report names a concept, at most 1,000.

        Args:
            base: Whose cases.
            code: Of the concept.

        Returns:
            Case ids.
        """
        self._read(base)
        named, reports = self._named, self._reports
        if code not in named:
            likely = ((case_id, report) for case_id, folded, report in reports if lexicon.may_name(code, folded))
            named[code] = tuple(islice((case_id for case_id, report in likely if _names(report, code)), MOST_MENTIONS))
        return named[code]

    def measures(self, base: CaseBase) -> frozenset[str]:
        """Names of the values that cases of this base carry."""
        self._read(base)
        return self._measures

    def _read(self, base: CaseBase) -> None:
        state = (len(base), int(getattr(base.manifest, "generation", 0) or 0))
        if state == self._state:
            return
        whole = state[0] <= MOST_REPORTS
        cases = base.cases(limit=None if whole else SAMPLE)
        self._reports = [(c.case_id, fold(c.report), c.report) for c in cases if whole and c.report]
        self._measures = frozenset(name for case in cases for name in MEASURES if value_of(case, name) is not None)
        self._named, self._state = {}, state


def _names(report: str, code: str) -> bool:
    return any(hit.code == f"+{code}" and hit.polarity != "absent" for hit in find_names(report, lexicon.names()))


def plan(base: CaseBase, understood: Understood, where: WhereLike, lookups: Lookups) -> Plan:
    """How a base is asked for what was understood.

    Args:
        base: The base.
        understood: Parts of a query by words.
        where: The caller's own filter.
        lookups: What is known of the cases of this base.

    Returns:
        Filter, order and what is embedded; notes say what could not be asked for.

    Raises:
        QueryError: A part names a statement or a concept that there is none of.
    """
    check(understood)
    asked = Plan(_embedded(understood), _filtered(understood, Where.parse(where)))
    asked.notes += [*_spelling_notes(understood), *_lead_notes(understood)]
    measured = _measured(lookups.measures(base) if understood.measures else frozenset(), understood, asked)
    nodes = _nodes(base, understood, lookups, asked)
    wanted = understood.wanted
    if wanted:
        _rank(base, wanted, understood.denied, nodes, asked)
        if asked.similar and understood.is_sentence:
            # A sentence that says more than names is ranked by all its words; what it names counts among them.
            asked.tiers, asked.carried, asked.soft = [], None, True
    elif (
        measured
        and not _says_more(understood)
        and not _imply(base, understood.measures, lookups, asked)
        and not asked.measures
    ):  # numbers alone, and none of use: the order of the cases says nothing
        asked.similar, asked.reason = False, "not_carried"
    if not wanted and not relevant(understood):
        asked.similar, asked.reason = False, "not_understood"
    return asked


def are_kin(one: str, other: str) -> bool:
    """Whether a reader may mean one statement by the name of another: anterior and anteroseptal infarction.

    >>> are_kin("AMI", "ASMI"), are_kin("ASMI", "AMI"), are_kin("AMI", "IMI")
    (True, True, False)
    """
    return other in _KIN.get(one, ()) or one in _KIN.get(other, ())


def check(understood: Understood) -> None:
    """Refuse parts with codes that there are none of.

    Raises:
        QueryError: One is unknown; near ones are named.
    """
    for part in understood.parts:
        if isinstance(part, ConceptPart) and part.code not in lexicon.concepts():
            raise QueryError(f"no concept {part.code!r}", hint=f"one of {', '.join(sorted(lexicon.concepts()))}")
        if part.kind == "statement" and part.code not in CODES:
            statement(part.code)  # raises, and names near codes


def relevant(understood: Understood) -> bool:
    """Whether words that name no finding speak of ECGs, or only of people, and so are answered.

    The cosine of the best case does not tell: nonsense scores .2 to .3 with the shipped encoder, "normal ECG" .13. The
    share of words of ECG language does; of few words more than half must be known.
    """
    if understood.denied or understood.measures:
        return True
    if understood.n_words == 1 and understood.empty and len(understood.words.split()) <= ALONE:
        return False  # "the heart", "block": a word that says nothing of its own
    if not understood.n_words:
        return any(isinstance(part, SexPart | AgePart) for part in understood.parts)
    return understood.known > HALF if understood.n_words <= FEW_WORDS else understood.known >= KNOWN


def _filtered(understood: Understood, where: Where) -> Where:
    for denied in understood.denied:
        where = where & Where(Not(_any((*_codes(denied), *_KIN.get(denied.code, ())))))
    for part in understood.parts:
        if isinstance(part, SexPart):
            where = where & Where(Compare("sex", "=", part.sex))
        elif isinstance(part, AgePart):
            for op, bound in ((">" if part.over else ">=", part.low), ("<" if part.under else "<=", part.high)):
                if bound is not None:
                    where = where & Where(Compare("age", op, bound))
    return where


def _node(part: Finding) -> Node:
    """Cases that carry a label which counts as it."""
    if not isinstance(part, ConceptPart):
        return HasLabel(part.code)
    return _any(lexicon.concepts()[part.code].codes)


def _any(codes: Iterable[str]) -> Node:
    labels: tuple[Node, ...] = tuple(HasLabel(code) for code in codes)
    return labels[0] if len(labels) == 1 else Join("or", labels)


def name_of(part: Finding) -> tuple[str, str]:
    """Its name in English and German."""
    if isinstance(part, ConceptPart):
        concept = lexicon.concepts()[part.code]
        return concept.name_en, concept.name_de
    return statement(part.code).name_en, statement(part.code).name_de


def _embedded(understood: Understood) -> str:
    """Words and names that are not among them; "ECG" where the words only leave cases out."""
    words = understood.words
    names = [
        name_of(part)[0]
        for group in understood.wanted
        for part in group
        if fold(part.text) not in fold(words) and fold(name_of(part)[0]) not in fold(words)
    ]
    joined = ", ".join(dict.fromkeys([*names, words] if words else names))
    said = (part.text for part in understood.measures if not is_denied(part.text))
    return joined or " ".join(said) or "ECG"


def _nodes(base: CaseBase, understood: Understood, lookups: Lookups, asked: Plan) -> dict[Finding, Node | None]:
    """For each finding that is asked for the cases that carry it; None, and a note, where none does."""
    nodes: dict[Finding, Node | None] = {}
    for part in (part for group in understood.wanted for part in group):
        node: Node | None = _node(part)
        if base.count(Where(_node(part))):
            nodes[part] = node
            continue
        node = None
        near: tuple[str, ...] = (part.code,)
        if isinstance(part, ConceptPart):
            near = lexicon.concepts()[part.code].near
            named = lookups.named(base, part.code)
            if named:
                node = Join("or", tuple(Compare("case", "=", case_id) for case_id in named))
                asked.notes.append(Note(NoteCode.WORDS_IN_REPORTS, what=name_of(part), n=len(named)))
        if node is None:
            asked.notes.append(Note(NoteCode.WORDS_NOT_CARRIED, what=name_of(part), near=_near_names(base, near)))
        nodes[part] = node
    return nodes


def _near_names(base: CaseBase, codes: Sequence[str]) -> tuple[str, str]:
    held = [statement(code) for code in codes if base.count(Where(HasLabel(code)))]
    if not held:
        return ("none of its statements", "keine ihrer Aussagen")
    return ", ".join(s.name_en for s in held), ", ".join(s.name_de for s in held)


def _rank(
    base: CaseBase,
    wanted: tuple[tuple[Finding, ...], ...],
    denied: Sequence[Finding],
    nodes: Mapping[Finding, Node | None],
    asked: Plan,
) -> None:
    """Which cases come first: those that carry all that is asked for, then those with part of it, then what is near."""
    parts = list(dict.fromkeys(part for group in wanted for part in group))
    asked.names = _joined_names(wanted)
    carried = [node for part in parts if (node := nodes[part]) is not None]
    codes = [code for part in parts for code in (_codes(part) if nodes[part] is not None else ())]
    asked.wanted = frozenset(codes)
    if not carried:
        near = [code for part in parts if isinstance(part, ConceptPart) for code in lexicon.concepts()[part.code].near]
        asked.tiers = [Where(_any(dict.fromkeys(near)))] if near else []
        asked.similar, asked.reason, asked.carried = False, "not_carried", 0
        return
    groups = [tuple(nodes[part] for part in group) for group in wanted]
    whole = [Join("and", tuple(n for n in group if n is not None)) for group in groups if None not in group]
    if whole:
        first = whole[0] if len(whole) == 1 else Join("or", tuple(whole))
        asked.tiers.append(Where(first))
        asked.carried = base.count(asked.where & Where(first))
    else:
        asked.carried = 0
    if len(carried) > 1:
        most = [tuple(n for n in group if n is not None) for group in groups]
        asked.tiers += [Where(Join("and", group)) for group in sorted(most, key=len, reverse=True) if len(group) > 1]
        asked.tiers.append(Where(Join("or", tuple(carried))))
    elif not whole:
        asked.tiers.append(Where(carried[0]))
    kin = [code for part in parts if nodes[part] is not None for code in _KIN.get(part.code, ())]
    if kin:
        asked.tiers.append(Where(_any(dict.fromkeys(kin))))
    if asked.carried == 0 and _contradicts(wanted, denied):
        asked.similar, asked.reason = False, "not_carried"
        asked.notes.append(Note(NoteCode.WORDS_CONTRADICT, what=asked.names))
    elif asked.carried == 0 and all(nodes[part] is not None for part in parts):
        anything = carried[0] if len(carried) == 1 else Join("or", tuple(carried))
        if base.count(asked.where & Where(anything)):
            asked.notes.append(Note(NoteCode.WORDS_NONE_CARRIES_ALL, what=asked.names))
        else:
            asked.similar, asked.reason = False, "not_carried"
            asked.notes.append(Note(NoteCode.WORDS_NONE_WITHIN, what=asked.names))


def _contradicts(wanted: tuple[tuple[Finding, ...], ...], denied: Sequence[Finding]) -> bool:
    """Whether everything that is asked for is denied as well."""
    codes = {part.code for part in denied}
    return all(any(part.code in codes for part in group) for group in wanted)


def _joined_names(wanted: tuple[tuple[Finding, ...], ...]) -> tuple[str, str]:
    english = " or ".join(" and ".join(name_of(part)[0] for part in group) for group in wanted[:4])
    german = " oder ".join(" und ".join(name_of(part)[1] for part in group) for group in wanted[:4])
    return english[:400], german[:400]


def _codes(part: Finding) -> tuple[str, ...]:
    return lexicon.concepts()[part.code].codes if isinstance(part, ConceptPart) else (part.code,)


def value_of(case: Case, name: str) -> float | None:
    """What a case says was measured.

    Args:
        case: Any.
        name: Of the value, with its unit: "rate_bpm", "qtc_ms".

    Returns:
        The value in that unit; None where the case does not say.
    """
    measured = case.meta.get("measurements")
    value = measured.get(name) if isinstance(measured, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:  # what a client has stored may be a whole number of any length
        return float(value)
    except OverflowError:
        return None


def within(case: Case, measures: Sequence[MeasurePart]) -> bool:
    """Whether all measured values of a case are within the limits; a value that is not there is not.

    Args:
        case: Any.
        measures: Limits in the units of their values.

    Returns:
        True where there are no limits.
    """
    for part in measures:
        value = value_of(case, part.name)
        if value is None or not part.holds(value):
            return False
    return True


def _measured(held: frozenset[str], understood: Understood, asked: Plan) -> bool:
    """Use the limits of values that this base holds, say of the others that they are not; whether any is of no use."""
    unused = []
    for part in understood.measures:
        if part.name in held:
            asked.measures += (part,)
        else:
            unused.append(part)
    for part in unused:
        english, german, _ = MEASURES[part.name]
        asked.notes.append(Note(NoteCode.WORDS_NOT_MEASURED, what=(english, german), text=part.text or part.name))
    return bool(unused)


def _says_more(understood: Understood) -> bool:
    """Whether the words say more than the limits."""
    words = understood.words
    for part in understood.measures:
        words = words.replace(part.text, " ")
    return has_content(words)


def _imply(base: CaseBase, measures: Sequence[MeasurePart], lookups: Lookups, asked: Plan) -> bool:
    """Cases that are called what a limit amounts to come first, and the note says so; whether there is such a name."""
    for part in measures:
        (high, above), (low, below) = _IMPLIED.get(part.name, ((0.0, ""), (0.0, "")))
        if is_denied(part.text) and part.low is None and above and (part.high or 0.0) >= high:
            concept = lexicon.concepts()[above]
            node = _called(base, above, lookups)
            if node is not None:
                asked.tiers = [Where(Not(node))]
                asked.notes.append(
                    Note(NoteCode.WORDS_IMPLY_NOT, what=(concept.name_en, concept.name_de), text=part.text)
                )
                return True
        code = above if part.low is not None and above and part.low + 10.0 * (part.high is not None) >= high else ""
        if not code and below and part.high is not None and part.high <= low + 5.0:
            code = below
        node = _called(base, code, lookups) if code else None
        if node is not None:
            concept = lexicon.concepts()[code]
            asked.tiers = [Where(node)]
            asked.wanted = frozenset(concept.codes)
            asked.text = concept.name_en
            asked.notes.append(Note(NoteCode.WORDS_IMPLY, what=(concept.name_en, concept.name_de), text=part.text))
            return True
    return False


def _called(base: CaseBase, code: str, lookups: Lookups) -> Node | None:
    """Cases with a label of a concept, or whose report names it where it has none; None where there are none."""
    concept = lexicon.concepts()[code]
    if concept.covers or base.count(Where(_any(concept.codes))):
        return _any(concept.codes)
    named = lookups.named(base, code)
    return Join("or", tuple(Compare("case", "=", case_id) for case_id in named)) if named else None


def _lead_notes(understood: Understood) -> list[Note]:
    """Leads that are named beside findings: no label holds them."""
    leads = list(dict.fromkeys(match.group() for match in _LEADS.finditer(understood.words)))
    return [Note(NoteCode.WORDS_LEADS, leads=", ".join(leads[:12]))] if leads else []


def _spelling_notes(understood: Understood) -> list[Note]:
    slips = [part for part in understood.parts if part.kind == "spelling"]
    unknown = [part.text for part in understood.parts if part.kind == "unknown"]
    unused = [part.text for part in understood.parts if part.kind == "unused"]
    notes = [Note(NoteCode.WORDS_READ_AS, word=part.text, read_as=part.read_as) for part in slips[:10]]
    if unknown:
        notes.append(Note(NoteCode.WORDS_UNKNOWN, words=", ".join(unknown[:10])[:300]))
    notes += [Note(NoteCode.WORDS_UNUSED, text=text[:300]) for text in unused[:10]]
    return notes


def boosted(case: Case, score: float, wanted: frozenset[str]) -> float:
    """A score with what its source is sure of among the statements that were asked for.

    Args:
        case: A hit.
        score: Its cosine.
        wanted: Statement codes that were asked for; empty leaves the score.

    Returns:
        The score, at most 0.1 higher.
    """
    if not wanted:
        return score
    sure = [min(v, 100.0) / 100.0 if v > 0 else _UNSAID for code, v in case.labels.items() if code in wanted]
    return score + LIKELIHOOD * (max(sure) if sure else 0.0)
