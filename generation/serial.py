"""An ECG beside an earlier one of the same person: from two records, or from a record and the case base.

The case base knows whose its ECGs are. Named by a case or by the person, those that came before are found, and the
newest (or the one that was named) is measured as the new one is; `measures.compare` says what has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ecgkin.generation.measures import measure
from ecgkin.generation.measures.arrays import FS
from ecgkin.generation.measures.compare import (
    NOT_COMPARABLE,
    RULES,
    ChangeCode,
    Comparison,
    Row,
    chance_mv,
    change_text,
    compare,
    rhythm_class,
    rule_text,
)
from ecgkin.generation.measures.flag_texts import flag_title
from ecgkin.generation.measures.flags import CONTIGUOUS, Flag, FlagCode, Severity, judges, red_flags
from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.measure import usual_beat
from ecgkin.generation.measures.values import Measurements
from ecgkin.generation.types.serial import EarlierEcg, FindingState, Serial, SerialChange, SerialFinding, SerialRow
from ecgkin.index.case import content_hash
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import statement
from ecgkin.retrieval.errors import ImageError, QueryError
from ecgkin.retrieval.notes import Language

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.index.case import Case
    from ecgkin.retrieval.ecg.statements.catalogue import Statement

_BEAT_S = (-0.24, 0.52)  # about the onset of QRS
_EVERY = 2  # samples of the median beat: 250 Hz
MOST_EARLIER = 50
# One of these changes must go with a flag for it to count as new or gone; others come and go by themselves.
_ST = frozenset({ChangeCode.ST_UP, ChangeCode.ST_DOWN})
# What rest, excitement or the electrodes alone may do is said behind what is new.
_MINOR = frozenset({str(ChangeCode.RATE), str(ChangeCode.AXIS)})
_BLOCK = frozenset({ChangeCode.NEW_BLOCK, ChangeCode.BLOCK_GONE})
_CHANGES_OF: Mapping[FlagCode, frozenset[ChangeCode]] = {
    **dict.fromkeys(
        (FlagCode.ST_ELEVATION, FlagCode.ST_DEPRESSION, FlagCode.POSTERIOR, FlagCode.AVR_ELEVATION, FlagCode.SGARBOSSA),
        _ST,
    ),
    **dict.fromkeys(
        (FlagCode.T_INVERSION, FlagCode.WELLENS), frozenset({ChangeCode.T_INVERSION, ChangeCode.T_UPRIGHT})
    ),
    **dict.fromkeys(
        (
            FlagCode.LEFT_BUNDLE,
            FlagCode.RIGHT_BUNDLE,
            FlagCode.PREEXCITATION,
        ),
        _BLOCK,
    ),
    **dict.fromkeys((FlagCode.SLOW, FlagCode.FAST), frozenset({ChangeCode.RATE})),
    **dict.fromkeys((FlagCode.FIBRILLATION, FlagCode.FLUTTER, FlagCode.PACED), frozenset({ChangeCode.RHYTHM})),
    FlagCode.FAST_FIBRILLATION: frozenset({ChangeCode.RHYTHM, ChangeCode.RATE}),
    FlagCode.Q_WAVES: frozenset({ChangeCode.NEW_Q, ChangeCode.Q_GONE}),
    FlagCode.LONG_QT: frozenset({ChangeCode.QTC}),
}
# Findings in these states say what the change says.
_MORE: frozenset[FindingState] = frozenset({"new", "increased"})
_LESS: frozenset[FindingState] = frozenset({"gone"})
_BUNDLES: Mapping[FlagCode, str] = {FlagCode.LEFT_BUNDLE: "LBBB", FlagCode.RIGHT_BUNDLE: "RBBB"}  # as changes name them
_SAYS: Mapping[ChangeCode, tuple[frozenset[FindingState], frozenset[FlagCode]]] = {
    ChangeCode.ST_UP: (_MORE, frozenset({FlagCode.ST_ELEVATION})),
    ChangeCode.ST_DOWN: (_MORE, frozenset({FlagCode.ST_DEPRESSION, FlagCode.POSTERIOR})),
    ChangeCode.T_INVERSION: (_MORE, frozenset({FlagCode.T_INVERSION})),
    ChangeCode.T_UPRIGHT: (_LESS, frozenset({FlagCode.T_INVERSION})),
    ChangeCode.NEW_Q: (_MORE, frozenset({FlagCode.Q_WAVES})),
    ChangeCode.Q_GONE: (_LESS, frozenset({FlagCode.Q_WAVES})),
    ChangeCode.QTC: (_MORE, frozenset({FlagCode.LONG_QT})),
    ChangeCode.RATE: (_MORE, frozenset({FlagCode.SLOW, FlagCode.FAST})),
    ChangeCode.NEW_BLOCK: (_MORE, frozenset(_BUNDLES)),
    ChangeCode.BLOCK_GONE: (_LESS, frozenset(_BUNDLES)),
}
_VALUE: Mapping[ChangeCode, Mapping[Language, str]] = {
    **dict.fromkeys(_ST, dict.fromkeys(("en", "de"), "{before:+.2f} -> {after:+.2f} mV")),
    ChangeCode.QTC: {"en": "{before:.0f} ms before", "de": "vorher {before:.0f} ms"},
    ChangeCode.RATE: {"en": "{before:.0f}/min before", "de": "vorher {before:.0f}/min"},
}
_FURTHER: Mapping[ChangeCode, Mapping[Language, str]] = {
    ChangeCode.ST_UP: {"en": "higher also in", "de": "höher auch in"},
    ChangeCode.ST_DOWN: {"en": "lower also in", "de": "tiefer auch in"},
}
# What the criteria of ST and T look at in a lead, mV.
_LEVEL_OF: Mapping[FlagCode, Callable[[LeadMeasures], float]] = {
    FlagCode.ST_ELEVATION: lambda lead: max(lead.st_j_mv, lead.st_60_mv),
    **dict.fromkeys((FlagCode.SGARBOSSA, FlagCode.AVR_ELEVATION, FlagCode.BRUGADA), lambda lead: lead.st_j_mv),
    **dict.fromkeys((FlagCode.ST_DEPRESSION, FlagCode.POSTERIOR), lambda lead: lead.st_60_mv),
    **dict.fromkeys(
        (FlagCode.T_INVERSION, FlagCode.WELLENS, FlagCode.PEAKED_T, FlagCode.RECENT_INFARCTION), lambda lead: lead.t_mv
    ),
}
_OF_LEADS = frozenset({*_LEVEL_OF, FlagCode.Q_WAVES})
_OF_RHYTHM = frozenset({FlagCode.FIBRILLATION, FlagCode.FAST_FIBRILLATION, FlagCode.FLUTTER, FlagCode.PACED})
_OF_ONE_LEAD = frozenset({FlagCode.SGARBOSSA, FlagCode.BRUGADA})
_OF_P = frozenset({FlagCode.HIGH_GRADE_BLOCK, FlagCode.SECOND_DEGREE_BLOCK})
_ROW_OF: Mapping[ChangeCode, str] = {
    ChangeCode.QTC: "qtc_ms",
    ChangeCode.QRS: "qrs_ms",
    ChangeCode.PR: "pr_ms",
    ChangeCode.RATE: "rate_bpm",
    ChangeCode.AXIS: "axis_deg",
}
_WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "head": "Compared with the ECG {name}",
        "of": "of {date}",
        "none": "no change beyond repeatability",
        "new": "new",
        "gone": "no longer",
        "unchanged": "unchanged",
        "increased": "more than before",
        "then": "in the earlier ECG",
        "borderline": "about the limit in both",
        "not_compared": "not compared",
        "why_measured": "one of the two could not be measured",
        "why_leads": "the leads may lie differently",
        "why_conduction": "conduction differs, or ST and T follow it",
        "why_rhythm": "the rhythm of one of the two cannot be told",
        "limits": "limited, because",
        "no_samples": "an earlier ECG is known, but its samples are not kept",
        "no_signal": "the new ECG could not be measured",
        "nobody": "the case base holds no earlier ECG of this person",
    },
    "de": {
        "head": "Verglichen mit dem EKG {name}",
        "of": "vom {date}",
        "none": "keine Änderung über die Wiederholbarkeit hinaus",
        "new": "neu",
        "gone": "nicht mehr",
        "unchanged": "unverändert",
        "increased": "ausgeprägter als vorher",
        "then": "im früheren EKG",
        "borderline": "bei beiden um den Grenzwert",
        "not_compared": "nicht verglichen",
        "why_measured": "eines der beiden war nicht messbar",
        "why_leads": "die Ableitungen können anders liegen",
        "why_conduction": "die Erregung läuft anders, oder ST und T folgen ihr",
        "why_rhythm": "der Rhythmus eines der beiden ist nicht zu bestimmen",
        "limits": "eingeschränkt:",
        "no_samples": "ein früheres EKG ist bekannt, seine Abtastwerte sind aber nicht gespeichert",
        "no_signal": "das neue EKG konnte nicht gemessen werden",
        "nobody": "die Fallbasis enthält kein früheres EKG dieser Person",
    },
}


def record_of(query: object) -> EcgRecord | None:
    """The samples of what is asked: a record as it is, of a picture (or one that was read) those on its page.

    Args:
        query: A record, a picture, or a page that was read and holds its `record`.

    Returns:
        None where no signals can be read off a page.
    """
    if isinstance(query, EcgRecord):
        return query
    if hasattr(query, "record"):
        held = query.record
        return held if isinstance(held, EcgRecord) else None
    from PIL.Image import Image

    if not isinstance(query, Image):
        return None
    from ecgkin.retrieval.ecg.page.printed import read_printed

    try:
        return read_printed(query).record
    except ImageError:
        return None


def compare_records(
    before: EcgRecord, after: EcgRecord, *, name: str = "", recorded_at: str | None = None, language: Language = "en"
) -> Serial:
    """Two records of one person.

    Args:
        before, after: The earlier and the later one.
        name: What to call the earlier one.
        recorded_at: Its date.
        language: Of the words.

    Returns:
        Values side by side, changes, one sentence.
    """
    measured = measure(before), measure(after)
    result = compare(*measured)
    flags = red_flags(measured[0]), red_flags(measured[1])
    changes = tuple(
        SerialChange(str(change.code), change_text(change, language), change.leads, rule_text(change.code, language))
        for change in result.changes
    )
    limits = tuple(NOT_COMPARABLE[code][language] for code in result.not_comparable)
    gone = {flag.code for flag in flags[0]} - {flag.code for flag in flags[1]}
    judged = _judge(measured, flags, result)
    once = _said_once(result, judged, language)
    findings = tuple(
        SerialFinding(
            str(flag.code),
            flag_title(flag, language)
            + (
                f", {_WORDS[language]['then']}" if flag.code in gone and state in ("borderline", "not_compared") else ""
            ),
            state,
            "measurement",
            _WORDS[language][why] if why else "",
            flag.severity is Severity.URGENT,
        )
        for flag, state, why in judged
    )
    beyond = {
        lead
        for flag, state, _ in judged
        if state in ("new", "increased")
        for lead in _moved(flag, measured[1], measured[0])
    }
    return Serial(
        compared_with=name,
        recorded_at=recorded_at,
        rows=tuple(_row(row, result, beyond) for row in result.rows),
        changes=changes,
        findings=findings,
        limits=limits,
        sentence=_sentence(name, recorded_at, changes, findings, limits, language, once),
        beats_mv=_beats(before, after),
        beats_hz=FS / _EVERY,
    )


def compare_with_earlier(
    base: CaseBase,
    query: object,
    previous: str,
    *,
    statements: Collection[str] = (),
    language: Language = "en",
) -> Serial:
    """An ECG beside those that the case base holds of the same person.

    Args:
        base: The case base.
        query: The new ECG: a record, a picture, or a page that was read.
        previous: Case id of an earlier ECG, or the id of the person; then the newest is compared.
        statements: What is stated about the new ECG; held against the statements of the earlier one.
        language: Of the words.

    Returns:
        Values side by side, changes, one sentence.

    Raises:
        QueryError: The base knows neither a case nor a person of that name.
    """
    words = _WORDS[language]
    record = record_of(query)
    cases = earlier_cases(base, previous, record)
    if not cases:
        return Serial(sentence=_capital(words["nobody"]) + ".")
    stored = {case.case_id: base.record(case.case_id) for case in cases}
    earlier = tuple(
        EarlierEcg(
            case.case_id, case.recorded_at, tuple(case.labels), case.report, stored[case.case_id] is not None
        )
        for case in cases
    )  # fmt: skip
    chosen = next((case for case in cases if case.case_id == previous), None)
    if chosen is None or stored[chosen.case_id] is None:
        chosen = next((case for case in cases if stored[case.case_id] is not None), None)
    if record is None or chosen is None:
        why = words["no_signal" if record is None else "no_samples"]
        return Serial(earlier=earlier, limits=(why,), sentence=_capital(why) + ".")
    old = stored[chosen.case_id]
    assert old is not None  # chosen among those with samples
    compared = compare_records(
        old, record, name=chosen.case_id, recorded_at=chosen.recorded_at, language=language
    )  # fmt: skip
    said = tuple(_statements(tuple(chosen.labels), statements, language)) if statements else ()
    findings = (*compared.findings, *said)
    return Serial(
        earlier, chosen.case_id, chosen.recorded_at, compared.rows, compared.changes, findings, compared.limits,
        compared.sentence, compared.beats_mv, compared.beats_hz,
    )  # fmt: skip


def patient_of(base: CaseBase, previous: str) -> str | None:
    """Whose ECG `previous` names: the person of a case, or the id itself; None where the case does not say.

    Args:
        base: The case base.
        previous: Case id, or the id of a person.

    Returns:
        The patient's id, or None.
    """
    return base.get(previous).patient_id if previous in base else previous


def earlier_cases(base: CaseBase, previous: str, record: EcgRecord | None = None) -> list[Case]:
    """ECGs of one person in the base, the newest first, without the one that is asked about.

    Args:
        base: The case base.
        previous: Case id of one of them, or the id of the person.
        record: The new ECG; left out where the base holds the same samples.

    Returns:
        Cases.

    Raises:
        QueryError: The base knows neither a case nor a person of that name.
    """
    named = base.get(previous) if previous in base else None
    patient = previous if named is None else named.patient_id
    if patient is None:
        found = [named] if named is not None else []
    else:
        found = base.cases(_where(patient), 0, MOST_EARLIER)
        if named is not None and named.case_id not in {case.case_id for case in found}:
            found.append(named)
    if not found:
        raise QueryError(
            f"previous is {previous[:80]!r} (expected a case of this base, or a person whose ECGs it holds)",
            hint="give the case id of the earlier ECG, or the patient id under which it was stored",
        )
    own = content_hash(record) if record is not None else ""
    kept = [case for case in found if not own or case.content_hash != own]
    return sorted(kept, key=lambda case: (case.recorded_at or "", case.case_id), reverse=True)


def _where(patient: str) -> str:
    quoted = patient.replace('"', '""')
    return f'patient="{quoted}"'


def _row(row: Row, result: Comparison, moved: Collection[str]) -> SerialRow:
    codes = {change.code: change for change in result.changes}
    beyond = any(name == row.name and code in codes for code, name in _ROW_OF.items())
    if row.name.startswith("st_j_mv "):
        lead = row.name.split()[1]
        far = row.change is not None and abs(row.change) >= RULES[ChangeCode.ST_UP][0]
        beyond = (lead in moved and far) or any(
            code in codes and lead in codes[code].leads for code in (ChangeCode.ST_UP, ChangeCode.ST_DOWN)
        )  # fmt: skip
    return SerialRow(row.name, row.before, row.after, row.change, beyond)


def _judge(
    measured: tuple[Measurements, Measurements], flags: tuple[Collection[Flag], Collection[Flag]], result: Comparison
) -> list[tuple[Flag, FindingState, str]]:
    """How each flag of either ECG stands to the other; of those not compared the word in `_WORDS` that says why."""
    old, new = ({flag.code: flag for flag in side} for side in flags)
    changed = {change.code for change in result.changes}
    out: list[tuple[Flag, FindingState, str]] = []
    for code in FlagCode:
        if code in old and code in new:
            further = _moved(new[code], measured[1], measured[0])
            out.append((new[code], "increased" if further else "unchanged", ""))
        elif code in new:
            out.append((new[code], *_stands(new[code], "new", measured[1], measured[0], changed, result)))
        elif code in old:
            out.append((old[code], *_stands(old[code], "gone", measured[0], measured[1], changed, result)))
    return out


def _stands(
    flag: Flag,
    state: Literal["new", "gone"],
    having: Measurements,
    without: Measurements,
    changed: Collection[ChangeCode],
    result: Comparison,
) -> tuple[FindingState, str]:
    """New or gone, within repeatability, or not compared and why: a flag that only one ECG has.

    Args:
        flag: The flag.
        state: What it is where its values changed enough.
        having, without: The ECG that has the flag and the one that lacks it.
        changed: What exceeds repeatability between them.
        result: Of the comparison.
    """
    code = flag.code
    if code is FlagCode.NO_QRS:
        return state, ""
    if not without.values:
        return "not_compared", "why_measured"
    able = judges(without, code)
    why = ""
    if code in _OF_LEADS:
        why = "why_leads" if "lead_placement" in result.not_comparable else "" if able else "why_conduction"
    if state == "gone" and why:
        return "not_compared", why  # nobody looked for it, or not in the same place
    if code in _OF_P and state == "gone":
        seen = rhythm_class(without) == "with P waves"
        return ("gone", "") if seen or _BLOCK & set(changed) else ("not_compared", "why_rhythm")
    needed = _CHANGES_OF.get(code, frozenset())
    if needed & set(changed) or _moved(flag, having, without):
        return state, ""
    if why:
        return "not_compared", why
    if not needed:
        return state, ""
    if code in _OF_RHYTHM and rhythm_class(without) in ("unknown", "without P waves"):
        return "not_compared", "why_rhythm"
    return "borderline", ""


def _moved(flag: Flag, having: Measurements, other: Measurements) -> tuple[str, ...]:
    """Leads of a flag of ST or T further out by more than repeatability: two neighbours, or the one it needs.

    Values are held against each other here even where conduction differs: that ST may follow it is a limit to be said,
    and no reason to keep an elevation that was not there.

    Args:
        flag: Of `having`.
        having, other: The two ECGs.
    """
    level = _LEVEL_OF.get(flag.code)
    if level is None:
        return ()
    limit = RULES[ChangeCode.ST_UP][0]
    leads = set()
    for lead in flag.leads:
        if lead in having.leads and lead in other.leads:
            here, there = level(having.leads[lead]), level(other.leads[lead])
            if (here - there) * (1 if here >= 0 else -1) >= limit + chance_mv(having, other, lead):
                leads.add(lead)
    if flag.code not in _OF_ONE_LEAD:
        leads = {lead for pair in CONTIGUOUS if leads.issuperset(pair) for lead in pair}
    return tuple(lead for lead in flag.leads if lead in leads)


@dataclass(frozen=True)
class _Once:
    """What a sentence says in one place only.

    Attributes:
        changes, findings: Codes of those that others say.
        beside: Code of a finding -> the change of its value, in brackets.
    """

    changes: frozenset[str] = frozenset()
    findings: frozenset[str] = frozenset()
    beside: Mapping[str, str] = field(default_factory=dict)


def _said_once(result: Comparison, judged: Collection[tuple[Flag, FindingState, str]], language: Language) -> _Once:
    """A change in leads that a finding names as well is said by the finding; of blocks the change says it.

    Args:
        result: Whose changes.
        judged: Findings, and how they stand.
        language: Of what stands in brackets.
    """
    changes, findings, beside = set(), set(), {}
    for change in result.changes:
        states, codes = _SAYS.get(change.code, (frozenset(), frozenset()))
        for flag, state, _ in judged:
            if flag.code not in codes or state not in states:
                continue
            further = [lead for lead in change.leads if lead not in flag.leads]
            if change.code in _BLOCK:
                if _BUNDLES[flag.code] in change.detail:
                    findings.add(str(flag.code))
            elif change.code in _VALUE and len(further) < max(1, len(change.leads)):
                changes.add(str(change.code))
                said = _VALUE[change.code][language].format(before=change.before, after=change.after)
                also = f", {_FURTHER[change.code][language]} {', '.join(further)}" if further else ""
                beside[str(flag.code)] = f"({said}{also})"
            elif not further:
                changes.add(str(change.code))
    return _Once(frozenset(changes), frozenset(findings), beside)


def _statements(before: Collection[str], after: Collection[str], language: Language) -> list[SerialFinding]:
    out = []
    for code in dict.fromkeys((*after, *before)):
        known = _known(code)
        if known is None:
            continue
        state: FindingState = "unchanged" if code in before and code in after else "new" if code in after else "gone"
        out.append(SerialFinding(code, known.name(language), state, "statements"))
    return out


def _known(code: str) -> Statement | None:
    try:
        return statement(code)
    except QueryError:
        return None


def _sentence(
    name: str,
    recorded_at: str | None,
    changes: Collection[SerialChange],
    findings: Collection[SerialFinding],
    limits: Collection[str],
    language: Language,
    once: _Once,
) -> str:
    words = _WORDS[language]
    findings = [
        replace(finding, name=" ".join(filter(None, (finding.name, once.beside.get(finding.code)))))
        for finding in findings
        if finding.code not in once.findings
    ]
    changes = [change for change in changes if change.code not in once.changes]
    date = words["of"].format(date=recorded_at.replace("T", " ")) if recorded_at else ""
    head = words["head"].format(name=" ".join(part for part in (date, f"({name})" if name and date else name) if part))
    # What must not be missed comes first, and none of it is left out.
    first = [finding for finding in findings if finding.urgent and finding.state in ("new", "increased")]
    parts = []
    for state in ("new", "increased"):
        urgent = [finding.name for finding in first if finding.state == state]
        if urgent:
            parts.append(f"{words[state]}: {', '.join(urgent)}")
    moved = first or once.changes
    if not changes and not moved:
        parts.append(words["none"])
    parts += [change.text for change in changes if change.code not in _MINOR]
    for state in ("new", "increased", "not_compared", "borderline", "gone", "unchanged"):
        if state == "not_compared":  # after what is new or more, before what is not
            parts += [change.text for change in changes if change.code in _MINOR]
        some = [finding for finding in findings if finding.state == state and finding not in first]
        if state in ("not_compared", "borderline"):
            some = [finding for finding in some if finding.urgent]
        for why in dict.fromkeys(finding.why for finding in some):
            names = ", ".join(finding.name for finding in some if finding.why == why)
            parts.append(f"{words[state]}{f' ({why})' if why else ''}: {names}")
    parts = [part for part in parts if part]
    if limits:
        parts.append(f"{words['limits']} {', '.join(limits)}")
    return f"{' '.join(head.split())}: {'; '.join(parts)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _beats(before: EcgRecord, after: EcgRecord) -> dict[str, tuple[tuple[float | None, ...], tuple[float | None, ...]]]:
    """Median beats of the leads that both have, over each other at the onset of QRS."""
    beats = usual_beat(before), usual_beat(after)
    out = {}
    for lead in LEADS:
        rows = []
        for beat in beats:
            if beat is None or lead not in beat.names:
                break
            first = beat.onset + round(_BEAT_S[0] * FS)
            places = first + np.arange(0, round((_BEAT_S[1] - _BEAT_S[0]) * FS), _EVERY)
            row = beat.mv[beat.names.index(lead)]
            part = np.where((places >= 0) & (places < len(row)), row[np.clip(places, 0, len(row) - 1)], np.nan)
            if not np.isfinite(part).any():
                break
            rows.append(tuple(round(float(value), 3) if np.isfinite(value) else None for value in part))
        if len(rows) == 2:
            out[lead] = (rows[0], rows[1])
    return out
