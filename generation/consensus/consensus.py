"""The drafter without a model: a short structured report from the vote, the neighbours' statements and measurements.

Only statement codes of the neighbours are read, never their text, so that nothing a report says can steer the draft.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ecgkin.generation.consensus.assembly import REPORTS_READ, Neighbour, Note, assemble, evidence_of
from ecgkin.generation.consensus.findings import weigh
from ecgkin.generation.consensus.measured import MeasuredFindings, measured_findings, shown_by, veils
from ecgkin.generation.consensus.phrases import (
    ABSENT,
    PLAIN_FROM,
    POSSIBLE_FROM,
    PROBABLE_FROM,
    UNUSUAL,
    WORDS,
    alternative,
    finding,
    polarity,
)
from ecgkin.generation.consensus.sections import (
    NO_P_WAVE,
    NORMAL_RANGE,
    RHYTHMS,
    SECTION_OF,
    SECTIONS,
    SINUS,
    SUPERCLASS_OF_SECTION,
    leaves_out_pr,
    not_normal,
    settle,
    without_p_values,
)
from ecgkin.generation.consensus.thresholds import DraftThresholds
from ecgkin.generation.measures import Measurements, reason_text
from ecgkin.generation.types.draft import Basis, Draft, Language, Support
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, superclasses
from ecgkin.retrieval.ecg.statements.find import Polarity, find_statements
from ecgkin.retrieval.ecg.statements.infarction import Stage
from ecgkin.retrieval.search.vote import Vote


def axis_phrase(axis_deg: float, language: Language) -> str:
    """The frontal axis in words and degrees; German by Lagetyp (limits at -30, 30, 60, 90 and 120 degrees).

    Args:
        axis_deg: Degrees, -180 to 180.
        language: "en" or "de".

    Returns:
        The phrase.

    >>> axis_phrase(45.2, "en"), axis_phrase(-50, "de")
    ('normal axis (45°)', 'überdrehter Linkstyp (-50°)')
    """
    if language == "de":
        if axis_deg < -90 or axis_deg > 120:
            words = "überdrehter Rechtstyp"
        elif axis_deg < -30:
            words = "überdrehter Linkstyp"
        elif axis_deg < 30:
            words = "Linkstyp"
        elif axis_deg <= 60:
            words = "Indifferenztyp"
        else:
            words = "Steiltyp" if axis_deg <= 90 else "Rechtstyp"
    elif axis_deg < -90:
        words = "extreme axis deviation"
    elif axis_deg < -30:
        words = "left axis deviation"
    else:
        words = "normal axis" if axis_deg <= 90 else "right axis deviation"
    return f"{words} ({round(axis_deg)}°)"


MODEL = "consensus"
# With fewer neighbours a share moves by over 20 points for each of them, and nothing is said at all.
MIN_NEIGHBOURS = 5
CITED = 3  # cases that a sentence names at most
# A finding is called absent when at most one record in seven like this one has it; above that the section abstains.
ABSENT_BELOW = 0.15
# Beside a plainly normal ECG a section is called normal up to here: leaving it open would contradict the conclusion.
_ABSENT_BESIDE_NORMAL = 0.3
# Nor is it where one witness gives one in twenty to pacing, left bundle branch block or pre-excitation, in which the
# criteria of the section do not hold. Of 2,183 records of PTB-XL fold 9 two lose a negative by this: one is paced.
_VEILED_FROM = 0.05
_IN_CONCLUSION, _IN_SECTION = 4, 3
_DANGEROUS_BESIDE = ("3AVB", "2AVB", "WPW")
_RHYTHM_FROM = 0.35
# From which probability of not being normal an ECG is called abnormal, and probably abnormal; below it is borderline.
_ABNORMAL_FROM, _MAYBE_ABNORMAL_FROM = 0.8, 0.6
# From where a measured interval is called long or wide: the limits of the AHA/ACC/HRS statements (PR 200, QRS 120, QTc
# 450 to 460 ms) plus the 20 ms by which this project's measurement may be off.
LONG_PR_MS, WIDE_QRS_MS, LONG_QTC_MS = 220.0, 130.0, 480.0
_NORMAL_QTC_MS = NORMAL_RANGE["qtc_ms"][1]
_ORDER = {s.code: i for i, s in enumerate(STATEMENTS)}
_INFARCTIONS = frozenset({"IMI", "ASMI", "ILMI", "AMI", "ALMI", "LMI", "IPLMI", "IPMI", "PMI"})
# An infarction is called old, or recent, by this share of the nearest cases with it whose stage is known, this many at
# least.
_STAGE_SHARE, _STAGED, _STAGE_CASES = 0.6, 3, 20
_FRESH_CITED = 2  # of the cases that are cited
# Cases whose cosine differs by less are equally similar to a reader, who sees two decimals.
_AS_SIMILAR = 0.01


def write_consensus(
    vote: Vote,
    neighbours: Sequence[Neighbour],
    *,
    language: Language = "en",
    thresholds: DraftThresholds | None = None,
    measurements: Measurements | None = None,
    question: str | None = None,
    k: int = 3,
    shown: Sequence[str] = (),
    nothing_similar: bool = False,
) -> Draft:
    """Write the draft.

    Args:
        vote: Of these neighbours.
        neighbours: Those that voted, nearest first; the nearest that carry a finding are cited.
        language: Of the draft.
        thresholds: From which probability a finding is stated; None for the default.
        measurements: Of the query's samples, None for a picture.
        question: On one line. Statements that it names are answered one by one; any other question gets the whole
            report.
        k: How many of the nearest cases are listed as evidence beside those that are cited.
        shown: See `assembly.evidence_of`.
        nothing_similar: Whether retrieval found nothing near; then the draft is a refusal.

    Returns:
        The draft, with what carries each sentence.
    """
    words = WORDS[language]
    empty = Draft(
        text="",
        language=language,
        model=MODEL,
        question=question,
        probabilities=vote.probabilities,
        calibrated=vote.calibrated,
        measurements=measurements.values if measurements else {},
    )
    found = measured_findings(measurements)
    empty = replace(empty, flags=found.drafted(language))
    if measurements is not None and measurements.p_waves != "present" and (nothing_similar or not neighbours):
        empty = replace(empty, measurements=without_p_values(measurements.values))
    if nothing_similar or not neighbours:
        refusal = words["nothing_similar"]
        text = "\n".join([refusal, *_measured_only(found, measurements, language)])
        # A vote of cases that are not alike is no probability of anything.
        return replace(
            empty,
            text=text,
            refusal=refusal,
            evidence=evidence_of(neighbours, range(k), shown)[0],
            probabilities={},
            calibrated=False,
        )
    writer = _Writer(vote, neighbours, language, thresholds or DraftThresholds(), measurements, found)
    asked = tuple(dict.fromkeys(f.code for f in find_statements(question))) if question else ()
    notes, abstained = writer.answers(asked) if asked else writer.report()
    if writer.without_p:
        empty = replace(empty, measurements=without_p_values(empty.measurements))
    done = assemble(empty, notes, abstained, neighbours, writer.probabilities, k=k, shown=shown, answering=bool(asked))
    return replace(done, warnings=(vote.note,) if vote.note else (), probabilities=writer.probabilities)


def _measured_only(found: MeasuredFindings, measurements: Measurements | None, language: Language) -> list[str]:
    """Flags and numbers in lines, for a query without similar cases."""
    if measurements is None or not measurements.values:
        return [f"{flag.title}." for flag in found.drafted(language)]
    lines = [f"{flag.text}" for flag in found.drafted(language)]
    rate = WORDS[language]["rate"].format(rate=f"{measurements.values.get('rate_bpm', 0.0):.0f}")
    parts = [rate] if "rate_bpm" in measurements.values else []
    parts += interval_phrases(measurements.values, language, without_p=measurements.p_waves != "present")
    return [*lines, f"{WORDS[language]['measured_only']}: {', '.join(parts)}."]


def interval_phrases(values: Mapping[str, float], language: Language, *, without_p: bool) -> list[str]:
    """Axis, PR, QRS and QT in words, each called long or wide where it is.

    Args:
        values: Of `Measurements`.
        language: Of the words.
        without_p: Whether PR is left out.

    Returns:
        Phrases without full stops.
    """
    words = WORDS[language]
    parts = []
    if "axis_deg" in values:
        parts.append(axis_phrase(values["axis_deg"], language))
    if "pr_ms" in values and not without_p:
        long = f" ({words['long']})" if values["pr_ms"] > LONG_PR_MS else ""
        parts.append(f"{words['interval_pr']} {values['pr_ms']:.0f} ms{long}")
    if "qrs_ms" in values:
        wide = f" ({words['wide']})" if values["qrs_ms"] > WIDE_QRS_MS else ""
        parts.append(f"QRS {values['qrs_ms']:.0f} ms{wide}")
    if "qt_ms" in values and "qtc_ms" in values:
        qtc = values["qtc_ms"]
        long = (
            f" ({words['long']})" if qtc > LONG_QTC_MS else f" ({words['rather_long']})" if qtc > _NORMAL_QTC_MS else ""
        )
        parts.append(f"QT/QTc {values['qt_ms']:.0f}/{values['qtc_ms']:.0f} ms{long}")
    return parts


class _Writer:
    """Chooses what is said; one object for one draft."""

    def __init__(
        self,
        vote: Vote,
        neighbours: Sequence[Neighbour],
        language: Language,
        thresholds: DraftThresholds,
        measurements: Measurements | None,
        found: MeasuredFindings,
    ) -> None:
        self.found = found
        self.vote, self.neighbours, self.language = vote, neighbours, language
        self.measurements = measurements
        self.values = measurements.values if measurements else {}
        self.words = WORDS[language]
        self.few = len(neighbours) < MIN_NEIGHBOURS
        self._told: set[Support] = set()  # which disagreements of the witnesses were told at length
        # What no neighbour carries has no case to cite, whatever a calibration curve makes of a share of zero.
        carried = frozenset().union(*(n.codes for n in neighbours))
        weighed = weigh(vote, carried, thresholds=thresholds, measurements=measurements, found=found)
        self.support = weighed.support
        self.probabilities = dict(weighed.probabilities)
        candidates = dict(weighed.candidates)
        # Every ECG has a rhythm: the likeliest one is named even where it stays below its threshold.
        rhythm = max(sorted(RHYTHMS & carried), key=lambda c: self.probabilities[c], default="")
        if rhythm and self.probabilities[rhythm] >= _RHYTHM_FROM:
            candidates.setdefault(rhythm, self.probabilities[rhythm])
        self.settled = settle(candidates, self.values, weighed.margins, weighed.superclass_margins)
        self.kept = {} if self.few else dict(self.settled.kept)
        self.alternatives = {} if self.few else dict(self.settled.alternatives)
        said: dict[str, Polarity] = dict.fromkeys(self.alternatives, "possible")
        said |= {code: self._polarity(code) for code in self.kept}
        self.without_p = leaves_out_pr(said, found.added)

    def report(self) -> tuple[list[Note], dict[str, str]]:
        """Sentences of all sections, and why the others are empty."""
        notes: list[Note] = []
        abstained: dict[str, str] = {}
        for section in SECTIONS:
            if section == "conclusion":
                found = self._conclusion()
            else:
                codes = self._said_in(section)
                found = [self._finding(code, section) for code in codes]
                beside = [c for c in self.alternatives if SECTION_OF[c] == section]
                found += [self._alternative(c, section) for c in beside[: _IN_SECTION - len(found) + 1]]
                if section == "axis_intervals":
                    found = self._measured() + found
                found += self.found.notes(section, self.kept, self.language)
                if section == "infarction" and not any(self.found.raised_over(c) for c in codes if c in _INFARCTIONS):
                    acute = self.found.acute(self.language)
                    found += [] if acute is None else [acute]
                if not found:
                    found = self._absent(section)
            notes += found
            if not found:
                abstained[section] = self._why_empty(section)
        return notes, abstained

    def _said_in(self, section: str) -> list[str]:
        """What is kept of a section, the rhythm first, then the most probable."""
        here = (c for c in self.kept if SECTION_OF[c] == section)
        return sorted(here, key=lambda c: (c not in RHYTHMS, -self.kept[c], _ORDER[c]))[:_IN_SECTION]

    def answers(self, asked: Collection[str]) -> tuple[list[Note], dict[str, str]]:
        """One sentence for each statement that was asked about, or why there is none."""
        notes: list[Note] = []
        abstained: dict[str, str] = {}
        for code in asked:
            p, section, by = self.probabilities[code], SECTION_OF[code], self.found.denied_by(code)
            no = self.words["no"].format(finding=finding(code, self.language))
            if code in self.kept:
                notes.append(self._finding(code, section))
            elif code in self.alternatives:
                notes.append(self._alternative(code, section))
            elif by == "measurement":
                notes.append(Note(no, section, ((code, "absent"),), (), None, by))
            elif self._veiled_by(section):
                abstained[section] = self._veil_words(section)
            elif by == "nothing":
                # That no similar case is said to have it is no evidence where measuring speaks for it, or did not look.
                abstained[section] = self.words["not_denied"]
            elif not self.few and (p < ABSENT_BELOW or code in self.settled.dropped):
                notes.append(Note(no, section, ((code, "absent"),), self._cases(code, carrying=False), 1 - p))
            else:
                abstained[section] = self._open(p)
        # Whoever asks about one thing is told what must not be missed all the same.
        asked_in = dict.fromkeys(SECTION_OF[code] for code in asked)
        beside = [note for section in asked_in for note in self.found.notes(section, {}, self.language)]
        said = {note.words for note in notes}
        alarms = [note for note in (*beside, *self.found.sentences(self.language)) if note.words not in said]
        return [*notes, *{note.words: note for note in alarms}.values()], abstained

    def _finding(self, code: str, section: str) -> Note:
        p = self.kept[code]
        words = self._worded(code, why=True)
        rate = self.values.get("rate_bpm")
        if code in RHYTHMS and rate is not None:
            kind = "ventricular_rate" if code in NO_P_WAVE else "rate"
            words += ", " + self.words[kind].format(rate=f"{rate:.0f}")
        cites = self._cases(code)
        if not cites and code == "STACH":  # sinus rhythm by the cases, tachycardia by the measured rate
            cites = self._cases("SR")
        support = self._support(code)
        if leads := self.found.leads_of(code):
            words += " " + self.words["in_leads"].format(leads=", ".join(leads))
        if support in ("cases", "reading"):
            words += f", {self.words[('again_' if support in self._told else 'only_') + support]}"
            self._told.add(support)
        # A measured value may speak for what no neighbour carries: a PR interval of 260 ms needs no case.
        basis: Basis = "cases" if cites else "picture" if support == "reading" else "measurement"
        return Note(words, section, ((code, self._polarity(code)),), cites, p, basis, support)

    def _support(self, code: str) -> Support | None:
        """Which witness is for a finding; None where a measurement settles it, or nothing but cases was heard."""
        return None if code in self.found.added else self.support.get(code)

    def _sure(self, code: str) -> float:
        """The probability by which a finding is worded: where the witnesses disagree it is at most probable."""
        alone = self._support(code) in ("cases", "reading")
        return min(self.kept[code], PLAIN_FROM - 0.01) if alone else self.kept[code]

    def _worded(self, code: str, *, why: bool = False) -> str:
        """A finding in words; with `why` an infarction that ST shows to be fresh says by how much and where."""
        words = finding(code, self.language, self._sure(code), self._stage(code))
        flag = self.found.raised_over(code) if why and code in _INFARCTIONS else None
        return words if flag is None else f"{words} ({shown_by(flag, self.language)})"

    def _polarity(self, code: str) -> Polarity:
        return polarity(self._sure(code))

    def _stage(self, code: str) -> Stage:
        """Fresh where ST is raised over its wall; else what the nearest cases with it call it, where they agree.

        Old is said only where ST and T were measured, could be judged, and speak against nothing fresher, and where
        most of the cases that are cited for it say so too: an age that is called undetermined is not old.
        """
        if code not in _INFARCTIONS:
            return ""
        if self.found.raised_over(code) is not None:
            return "recent"
        # Where ST and T were measured and are as they should be, nothing that the cases carry makes it fresh.
        quiet = self._quiet_st()
        cited = [self.neighbours[i].stage for i in self._cases(code)]
        if sum(stage in ("acute", "recent") for stage in cited) >= _FRESH_CITED:
            return "" if quiet else "recent"
        stages = [n.stage for n in self.neighbours if code in n.codes and n.stage][:_STAGE_CASES]
        if len(stages) < _STAGED:
            return ""
        fresh = sum(stage != "old" for stage in stages) / len(stages)
        if fresh >= _STAGE_SHARE:
            return "" if quiet else "recent"
        judged = quiet and not self._veiled_by("infarction")
        judged = judged and 2 * cited.count("old") > len(cited) and not {"acute", "recent"} & set(cited)
        return "old" if judged and 1 - fresh >= _STAGE_SHARE else ""

    def _quiet_st(self) -> bool:
        """Whether ST and T were measured, can be judged, and nothing is wrong with them."""
        measured = self.measurements is not None and bool(self.measurements.leads)
        found = self.found
        return measured and not found.secondary and not found.st_up and "st_t" not in found.forbidden

    def _alternative(self, code: str, section: str) -> Note:
        p = self.alternatives[code]
        # Tachycardia, bradycardia and arrhythmia of sinus rhythm are no other rhythm than sinus rhythm.
        of_sinus = code in SINUS and bool(SINUS & self.kept.keys())
        words = alternative(code, self.language, p, differential=not of_sinus)
        return Note(words, section, ((code, "possible"),), self._cases(code), p)

    def _measured(self) -> list[Note]:
        v = self.values
        parts = interval_phrases(v, self.language, without_p=self.without_p)
        if "rate_bpm" in v and not RHYTHMS & self.kept.keys():
            parts.insert(0, self.words["rate"].format(rate=f"{v['rate_bpm']:.0f}"))
        return [Note(", ".join(parts), "axis_intervals", (), (), None, "measurement")] if parts else []

    def _absent(self, section: str) -> list[Note]:
        """The sentence that nothing is wrong here, where the vote is sure of it."""
        if section not in SUPERCLASS_OF_SECTION or self.few:
            return []
        if section in self.found.forbidden or self._veiled_by(section):
            return []  # its criteria do not hold here, or are met
        p = self._doubt(section)
        normal = self.kept.get("NORM", 0.0) >= PLAIN_FROM
        if p > (_ABSENT_BESIDE_NORMAL if normal else ABSENT_BELOW):
            return []
        codes = {code for code, home in SECTION_OF.items() if home == section}
        cites = self._without(codes)
        words = ABSENT[self.language][section].removesuffix(".")
        return [Note(words, section, (), cites, 1 - p)] if cites else []

    def _veiled_by(self, section: str) -> str:
        """The likeliest of what keeps a section from judgement, if only possible; "" where nothing does."""
        if "NORM" in self.kept:
            return ""
        open_still = sorted(code for code in veils(section) if code not in self.settled.dropped)
        code = max(open_still, key=self._heard, default="")
        least = _VEILED_FROM if self.vote.joint else POSSIBLE_FROM  # shares of some neighbours go in coarse steps
        return code if code and self._heard(code) >= least else ""

    def _heard(self, code: str) -> float:
        """The most that similar cases and reading together, the reading alone, or measurements give a statement."""
        vote = self.vote
        return max(self.probabilities[code], vote.statements[code], vote.reading.get(code, 0.0) if vote.joint else 0.0)

    def _doubt(self, section: str) -> float:
        """How probable a finding of a section is at least: that of its superclass, or of its likeliest statement."""
        single = max((self.probabilities[c] for c, home in SECTION_OF.items() if home == section), default=0.0)
        superclass = SUPERCLASS_OF_SECTION.get(section)
        return max(single, self.probabilities.get(superclass, 0.0)) if superclass else single

    def _conclusion(self) -> list[Note]:
        named = any(self.found.raised_over(code) for code in _INFARCTIONS & self.kept.keys())
        return [*self.found.sentences(self.language, unnamed=not named), *self._voted_conclusion()]

    def _voted_conclusion(self) -> list[Note]:
        if self.few or not self.kept:
            return []
        others = [c for name in SECTIONS if name != "conclusion" for c in self._said_in(name) if c != "SR"]
        if "NORM" in self.kept:
            p = self.kept["NORM"]
            words = self.words["otherwise"].removesuffix(".") if others else self._worded("NORM")
            # The hedge of "otherwise normal" lies in its probability.
            said: Polarity = "present" if others else self._polarity("NORM")
            agreed = self._agreed(["NORM"])
            if not others or p >= PROBABLE_FROM:  # else what was found is named
                return [
                    Note(words + agreed, "conclusion", (("NORM", said),), self._cases("NORM"), p, "cases",
                         self._support("NORM"))
                ]  # fmt: skip
        main = [c for c in others if superclasses([c]) or (SECTION_OF[c] == "rhythm" and c != "SR")] or others
        if not main:
            return []
        # What merely cannot be excluded stays in its section, unless there is nothing else.
        main = [c for c in main if self.kept[c] >= POSSIBLE_FROM] or main
        # What is dangerous is not left to its section where something likelier excludes it.
        beside = [c for c in _DANGEROUS_BESIDE if self.alternatives.get(c, 0.0) >= POSSIBLE_FROM]
        # An infarction that is fresh comes first, however probable the others are.
        main = sorted(main, key=lambda c: (self._stage(c) != "recent", -self.kept[c], _ORDER[c]))[:_IN_CONCLUSION]
        # Each finding with a case of its own: rarely does one case carry them all.
        marks = {code: "".join(f" @{i}@" for i in self._cases(code)[:1]) for code in main}
        listed = [self._worded(code) + marks[code] for code in main]
        listed += [alternative(c, self.language, self.alternatives[c], differential=False) for c in beside]
        phrases = "; ".join(listed)
        cites = tuple(dict.fromkeys(i for code in main for i in self._cases(code)[:1]))
        said_of = tuple((code, self._polarity(code)) for code in main)
        p = 1 - self.probabilities["NORM"]
        how = (p < _ABNORMAL_FROM) + (p < _MAYBE_ABNORMAL_FROM)
        words = self.words[("abnormal", "maybe_abnormal", "borderline")[how]].format(
            findings=phrases, percent=f"{100 * p:.0f}"
        )
        return [Note(words + self._agreed(main), "conclusion", said_of, cites, p, "cases", self._support(main[0]))]

    def _agreed(self, codes: Collection[str]) -> str:
        """That both witnesses are for every finding of a conclusion."""
        agreed = all(self._support(code) == "both" for code in codes)
        # In the clause of the last finding: a clause of its own would need a citation of its own.
        return f", {self.words['agree']}" if agreed else ""

    def _without(self, codes: Collection[str]) -> tuple[int, ...]:
        """The nearest cases that carry none of these statements and whose report, which was read, names none."""
        near = self.neighbours[:REPORTS_READ]
        places = [i for i, n in enumerate(near) if not (n.codes | n.named) & set(codes)]
        return self._reported_first(places)[:CITED]

    def _cases(self, code: str, *, carrying: bool = True) -> tuple[int, ...]:
        """The nearest cases that carry a statement, or do not; of equally similar ones those with a report first."""
        places = [i for i, n in enumerate(self.neighbours) if (code in n.codes) == carrying]
        return self._reported_first(places)[:CITED]

    def _reported_first(self, places: Sequence[int]) -> tuple[int, ...]:
        def key(i: int) -> tuple[float, bool, int]:
            return -round(self.neighbours[i].score / _AS_SIMILAR), not self.neighbours[i].reported, i

        return tuple(sorted(places, key=key))

    def _why_empty(self, section: str) -> str:
        if section == "axis_intervals":
            if self.measurements is None:
                return self.words["no_samples"]
            reason = next(iter(self.measurements.reasons.values()), None)
            text = reason_text(reason, self.language) if reason is not None else ""
            return self.words["not_measured"].format(reason=text)
        if self.few:
            return self.words["few"].format(n=len(self.neighbours))
        if self._veiled_by(section):
            return self._veil_words(section)
        if section in self.found.forbidden:
            shown = self.found.against(section, self.language)
            return self.words["flagged"].format(shown="; ".join(shown)) if shown else self.words["flagged_alone"]
        if section == "conclusion" and (values := self._not_normal()):
            return self.words["flagged"].format(shown="; ".join(values))
        doubt = 1 - self.probabilities["NORM"] if section == "conclusion" else self._doubt(section)
        return self._open(doubt)

    def _not_normal(self) -> list[str]:
        """Intervals that alone keep the ECG from being called normal, in words."""
        values = self.measurements.values if self.measurements is not None else {}
        if self.without_p:
            values = without_p_values(values)
        words = UNUSUAL[self.language]
        names = [(name, name.removesuffix("_ms")) for name in not_normal(values)]
        return [words[short].format(value=f"{values[name]:.0f}") for name, short in names if short in words]

    def _veil_words(self, section: str) -> str:
        """That a section is not to be judged, or is left open where what keeps it from judgement is not likely."""
        likely = self.found.excited_otherwise or self._heard(self._veiled_by(section)) >= PROBABLE_FROM
        return self.words["veiled" if likely else "maybe_veiled"]

    def _open(self, probability: float) -> str:
        if self.few:
            return self.words["few"].format(n=len(self.neighbours))
        return self.words["open"].format(percent=f"{100 * probability:.0f}")
