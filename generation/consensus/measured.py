"""What measuring alone says for the draft: flags, findings that it adds or rules out, negatives that it forbids.

The vote knows which statements ECGs like this one carry; it does not look at this one. Where the two differ on what a
ruler can settle, the ruler speaks first: flags open the conclusion, and no section is called free of findings whose
criteria do not hold (ST-T and infarction under pacing, left bundle branch block or pre-excitation) or are met.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ecgkin.generation.consensus.assembly import Note
from ecgkin.generation.consensus.phrases import ACUTE, MAY_BE_ACUTE, SHOWN_BY, UNUSUAL, WALLS
from ecgkin.generation.consensus.sections import NORMAL_RANGE, SECTION_OF
from ecgkin.generation.measures import Measurements
from ecgkin.generation.measures.excitation import has_right_bundle, repolarisation_secondary, unclear_wide
from ecgkin.generation.measures.flag_texts import flag_text, flag_title
from ecgkin.generation.measures.flags import (
    Flag,
    FlagCode,
    Severity,
    block_of,
    fast_rhythm,
    is_fibrillating,
    is_fluttering,
    red_flags,
)
from ecgkin.generation.types.draft import Basis, DraftFlag, Language

# Statement that a flag measures, and how often the flag is right about it: precision on the 2,173 records of PTB-XL
# fold 8, whose shares of findings are those of the archive (scripts/measure_measures.py flags); pre-excitation, rare
# there, on folds 1 to 9 (35 of 44).
STATEMENT_OF: Mapping[FlagCode, tuple[str, float]] = {
    FlagCode.PACED: ("PACE", 0.65),
    FlagCode.LEFT_BUNDLE: ("CLBBB", 0.65),
    FlagCode.RIGHT_BUNDLE: ("CRBBB", 0.77),
    FlagCode.FIBRILLATION: ("AFIB", 0.84),
    FlagCode.FAST_FIBRILLATION: ("AFIB", 0.9),
    FlagCode.FLUTTER: ("AFLT", 0.15),
    FlagCode.PREEXCITATION: ("WPW", 0.8),
}
# Sections in which a flag speaks against "nothing found".
_AGAINST: Mapping[FlagCode, frozenset[str]] = {
    FlagCode.ST_ELEVATION: frozenset({"st_t", "infarction"}),
    FlagCode.SGARBOSSA: frozenset({"st_t", "infarction"}),
    FlagCode.POSTERIOR: frozenset({"st_t", "infarction"}),
    FlagCode.RECENT_INFARCTION: frozenset({"st_t", "infarction"}),
    FlagCode.AVR_ELEVATION: frozenset({"st_t", "infarction"}),
    FlagCode.ST_DEPRESSION: frozenset({"st_t", "infarction"}),
    FlagCode.T_INVERSION: frozenset({"st_t"}),
    FlagCode.WELLENS: frozenset({"st_t", "infarction"}),
    FlagCode.BRUGADA: frozenset({"st_t", "infarction", "conduction"}),
    FlagCode.PEAKED_T: frozenset({"st_t", "infarction"}),
    FlagCode.LONG_QT: frozenset({"st_t"}),
    FlagCode.Q_WAVES: frozenset({"infarction"}),
    FlagCode.HIGH_GRADE_BLOCK: frozenset({"conduction"}),
    FlagCode.SECOND_DEGREE_BLOCK: frozenset({"conduction"}),
    FlagCode.PAUSE: frozenset({"conduction"}),
    FlagCode.SLOW: frozenset({"conduction"}),
    FlagCode.WIDE_TACHYCARDIA: frozenset({"conduction", "st_t", "infarction", "hypertrophy"}),
    FlagCode.NO_QRS: frozenset({"conduction", "st_t", "infarction", "hypertrophy"}),
    FlagCode.LEFT_BUNDLE: frozenset({"conduction", "st_t", "infarction"}),
    FlagCode.RIGHT_BUNDLE: frozenset({"conduction"}),
    FlagCode.PREEXCITATION: frozenset({"conduction", "st_t", "infarction"}),
    FlagCode.PACED: frozenset({"conduction", "st_t", "infarction", "hypertrophy"}),
    FlagCode.WIDE_RHYTHM: frozenset({"conduction", "st_t", "infarction", "hypertrophy"}),
}
# Sections whose negative these statements forbid where the vote makes them possible.
_VEILS: Mapping[str, frozenset[str]] = {
    "PACE": frozenset({"conduction", "st_t", "infarction", "hypertrophy"}),
    "CLBBB": frozenset({"st_t", "infarction"}),
    "WPW": frozenset({"st_t", "infarction"}),
}
# Statements that reports carry far more rarely than ECGs show them: cases without them say nothing, measuring decides.
_BY_MEASURE = frozenset(
    {
        "STE_",
        "STD_",
        "INVT",
        "NST_",
        "NT_",
        "NDT",
        "TAB_",
        "LOWT",
        "LNGQT",
        "QWAVE",
        "1AVB",
        "2AVB",
        "3AVB",
        "WPW",
        "LPR",
    }
)
_RHYTHMS_BY_MEASURE = frozenset({"AFIB", "AFLT", "PACE"})
_NO_WPW_FROM_MS, _NARROW_MS, _NOT_LONG_QTC_MS, _NOT_LONG_PR_MS = 120.0, 110.0, 450.0, 200.0
# Where a flag is told beside the conclusion; rate and QT stand among the intervals.
_SECTION_OF_NOTE: Mapping[FlagCode, str] = {
    **dict.fromkeys(
        (FlagCode.NO_QRS, FlagCode.WIDE_TACHYCARDIA, FlagCode.PAUSE, FlagCode.PACED, FlagCode.FIBRILLATION,
         FlagCode.FAST_FIBRILLATION, FlagCode.FLUTTER),
        "rhythm",
    ),
    **dict.fromkeys(
        (FlagCode.HIGH_GRADE_BLOCK, FlagCode.SECOND_DEGREE_BLOCK, FlagCode.WIDE_RHYTHM, FlagCode.PREEXCITATION,
         FlagCode.LEFT_BUNDLE, FlagCode.RIGHT_BUNDLE),
        "conduction",
    ),
    **dict.fromkeys(
        (FlagCode.ST_ELEVATION, FlagCode.SGARBOSSA, FlagCode.POSTERIOR, FlagCode.AVR_ELEVATION, FlagCode.PEAKED_T,
         FlagCode.BRUGADA, FlagCode.WELLENS, FlagCode.ST_DEPRESSION, FlagCode.T_INVERSION),
        "st_t",
    ),
    **dict.fromkeys((FlagCode.RECENT_INFARCTION, FlagCode.Q_WAVES), "infarction"),
}  # fmt: skip
# Statement that says the same as a flag: where it is made the flag gives it its leads, and no line of its own stands.
_SAME_AS: Mapping[FlagCode, str] = {
    FlagCode.ST_ELEVATION: "STE_",
    FlagCode.ST_DEPRESSION: "STD_",
    FlagCode.T_INVERSION: "INVT",
    FlagCode.Q_WAVES: "QWAVE",
}
_BLOCKS = frozenset({FlagCode.HIGH_GRADE_BLOCK, FlagCode.SECOND_DEGREE_BLOCK})
_OTHERWISE = frozenset({FlagCode.PACED, FlagCode.LEFT_BUNDLE, FlagCode.PREEXCITATION, FlagCode.WIDE_RHYTHM})
_DEPRESSED = frozenset({FlagCode.POSTERIOR, FlagCode.AVR_ELEVATION})
_ST_UP = frozenset({FlagCode.ST_ELEVATION, FlagCode.SGARBOSSA, FlagCode.POSTERIOR, FlagCode.AVR_ELEVATION})
_SHORT_PR_MS, _NOT_NARROW_MS, _NOT_DELAYED_MS = 120.0, 100.0, 110.0
_T_NEGATIVE_MV = -0.1
_FAST_BPM, _NO_CLOCK = 100.0, 0.03
_MAY_FLUTTER_BPM = 140.0
_SINUS = ("SR", "STACH", "SBRAD", "SARRH")
_OF_ST_T = frozenset(code for code, home in SECTION_OF.items() if home in ("st_t", "infarction"))
_WALLS: Mapping[str, frozenset[str]] = {
    "inferior": frozenset({"II", "III", "aVF"}),
    "anterior": frozenset({"V1", "V2", "V3", "V4"}),
    "lateral": frozenset({"I", "aVL", "V5", "V6"}),
}
_OF_BEATS = frozenset(code for code, home in SECTION_OF.items() if home not in ("rhythm", "conclusion"))
# Leads over the wall that an infarction statement names.
TERRITORY: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("IMI", "IPMI"), frozenset({"II", "III", "aVF"})),
    **dict.fromkeys(("ILMI", "IPLMI"), frozenset({"II", "III", "aVF", "I", "aVL", "V5", "V6"})),
    **dict.fromkeys(("ASMI", "AMI"), frozenset({"V1", "V2", "V3", "V4"})),
    "ALMI": frozenset({"V2", "V3", "V4", "V5", "V6", "I", "aVL"}),
    "LMI": frozenset({"I", "aVL", "V5", "V6"}),
    "PMI": frozenset({"V1", "V2", "V3", "V4"}),
}


@dataclass(frozen=True)
class MeasuredFindings:
    """What measuring says.

    Attributes:
        flags: The most dangerous first.
        added: Statement -> probability that measuring alone gives it.
        ruled_out: Statements that the measured rhythm excludes.
        forbidden: Sections that may not be called free of findings.
        not_normal: Whether the ECG cannot be called normal.
        excited_otherwise: Whether pacing, left bundle branch block, pre-excitation or a rhythm of the ventricles is
            flagged.
        st_up: Whether ST is elevated as in acute infarction: no infarction is old then.
        secondary: Whether ST and T follow another way of excitation and say nothing of ischaemia.
        untold: Statements that are not made: how the ventricles are excited is not known, or a measured one says more.
        denied: Statements that were looked for by measuring, and of which nothing was found.
        looked: Whether anything was measured.
        unusual: Section -> what was measured that no flag names and that keeps it from being called free of findings:
            name of the value, and the value in words.
    """

    flags: tuple[Flag, ...] = ()
    added: Mapping[str, float] = field(default_factory=dict)
    ruled_out: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    not_normal: bool = False
    excited_otherwise: bool = False
    st_up: bool = False
    secondary: bool = False
    untold: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    looked: bool = False
    unusual: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def denied_by(self, code: str) -> Basis:
        """What may say that an ECG which was asked about does not show a statement.

        Args:
            code: Of the statement.

        Returns:
            "measurement": it was looked for and is not there. "cases": those without it. "nothing": measuring speaks
            for it, or did not look for what reports leave out (ST, T, QT, Q, AV block, pre-excitation).
        """
        if code in _BY_MEASURE:
            return "measurement" if code in self.denied else "nothing"
        if self.looked and code in _RHYTHMS_BY_MEASURE:
            return "cases" if code in self.denied else "nothing"
        return "cases" if SECTION_OF[code] not in self.forbidden else "nothing"

    def raised_over(self, code: str) -> Flag | None:
        """The flag of ST elevation (of the posterior wall its mirror image) over the wall of an infarction, if any.

        Two leads over the wall are asked for; the flag is given with these alone.
        """
        for flag in self.flags:
            over = tuple(name for name in flag.leads if name in TERRITORY[code])
            if _shows_acute(flag) and (flag.code is FlagCode.POSTERIOR) == (code == "PMI") and len(over) >= 2:
                return replace(flag, leads=over)
        return None

    def acute(self, language: Language) -> Note | None:
        """The pattern of an acute or recent infarction, for the section on infarction where none is stated."""
        for flag in filter(_shows_acute, self.flags):
            words = ACUTE[language].format(wall=_wall(flag, language), shown=shown_by(flag, language))
            return Note(words, "infarction", (), (), None, "measurement")
        return None

    def sentences(self, language: Language, *, unnamed: bool = False) -> list[Note]:
        """Urgent and important flags for the conclusion, in order.

        Args:
            language: Of the words.
            unnamed: Whether no infarction is stated over the wall where ST is raised: the first flag that shows one
                says then what it may mean.
        """
        notes = []
        for flag in self._told():
            if flag.severity is Severity.NOTE:
                continue
            words = flag_title(flag, language)
            if unnamed and _shows_acute(flag):
                unnamed = False
                if flag.code is not FlagCode.POSTERIOR:  # its title says so
                    words += ": " + MAY_BE_ACUTE[language].format(wall=_wall(flag, language))
            notes.append(Note(words, "conclusion", (), (), None, "measurement"))
        return notes

    def notes(self, section: str, said: Collection[str], language: Language) -> list[Note]:
        """Flags in the section where they belong, unless their statement is said anyway.

        Args:
            section: Its name.
            said: Statements that are made.
            language: Of the words.
        """
        here = [flag for flag in self._told() if _SECTION_OF_NOTE.get(flag.code) == section]
        fresh = {lead for flag in here if flag.code is FlagCode.RECENT_INFARCTION for lead in flag.leads}
        return [
            Note(flag_title(flag, language), section, (), (), None, "measurement")
            for flag in here
            if _statement_of(flag) not in said and not (flag.code is FlagCode.Q_WAVES and fresh.issuperset(flag.leads))
        ]

    def _told(self) -> list[Flag]:
        """The flags without depression of ST that another flag tells with the same leads."""
        by_other = {lead for flag in self.flags if flag.code in _DEPRESSED for lead in flag.leads}
        return [f for f in self.flags if f.code is not FlagCode.ST_DEPRESSION or not by_other.issuperset(f.leads)]

    def leads_of(self, code: str) -> tuple[str, ...]:
        """Where a statement was measured that a flag shows as well; empty where none does."""
        return next((flag.leads for flag in self.flags if _SAME_AS.get(flag.code) == code), ())

    def against(self, section: str, language: Language) -> list[str]:
        """What was measured that keeps a section from being called free of findings, in words."""
        flags = [flag_title(flag, language) for flag in self.flags if section in _AGAINST.get(flag.code, ())]
        return flags + [UNUSUAL[language][name].format(value=value) for name, value in self.unusual.get(section, ())]

    def drafted(self, language: Language) -> tuple[DraftFlag, ...]:
        """The flags as a draft carries them."""
        return tuple(
            DraftFlag(
                code=str(flag.code),
                severity=flag.severity.value,
                title=flag_title(flag, language),
                text=flag_text(flag, language),
                leads=flag.leads,
                measured={name: round(float(value), 3) for name, value in flag.measured.items()},
            )
            for flag in self.flags
        )


def measured_findings(measured: Measurements | None) -> MeasuredFindings:
    """What the measurements of a query say; nothing for a picture that was not measured."""
    if measured is None:
        return MeasuredFindings()
    flags = red_flags(measured)
    forbidden: set[str] = set()
    for flag in flags:
        forbidden |= _AGAINST.get(flag.code, frozenset())
    unusual = _unusual(measured)
    forbidden |= unusual.keys()
    if repolarisation_secondary(measured):
        forbidden.add("conduction")
    added = {code: p for flag in flags if flag.code in STATEMENT_OF for code, p in (STATEMENT_OF[flag.code],)}
    if measured.pacing.paced:
        added.pop("AFIB", None)  # a paced rhythm is irregular by its other beats, too
    ruled_out: set[str] = set()
    if any(f.code in _BLOCKS for f in flags):
        ruled_out.add("SBRAD")  # P comes faster than QRS: the sinus node is not slow
        # And there are P waves. Of the 36 records of PTB-XL folds 1-9 in which a block is found 2 are called atrial
        # fibrillation; one of these is dissociated and uneven, which is left open.
        if not (is_fibrillating(measured) and block_of(measured) == "dissociated"):
            ruled_out.update({"AFIB", "AFLT"})
    wide = unclear_wide(measured)
    untold = _OF_ST_T if wide else frozenset()
    if any(f.code in _BLOCKS for f in flags):
        untold |= {"1AVB", "LPR"}  # a block of higher degree says more
    if any(f.code is FlagCode.NO_QRS for f in flags):
        untold |= _OF_BEATS  # without beats nothing is known of conduction, hypertrophy, ST and T
    if wide == "without_p" or is_fibrillating(measured) or _no_sinus_tachycardia(measured):
        ruled_out.update(_SINUS)
    elif measured.p_waves == "present" and measured.regular and not is_fluttering(measured):
        # Of a fast even rhythm every other wave of flutter may be seen before QRS.
        ruled_out.update({"AFIB"} if (measured.rate_bpm or 0.0) >= _MAY_FLUTTER_BPM else {"AFIB", "AFLT"})
    if fast_rhythm(measured) == "even":
        ruled_out.add("AFIB")
    if measured.pacing.paced and measured.pacing.ventricular >= 0.5:
        ruled_out.update({"CLBBB", "CRBBB", "IVCD", "LAFB", "LPFB", "IRBBB", "ILBBB"})
    return MeasuredFindings(
        flags,
        added,
        frozenset(ruled_out),
        frozenset(forbidden),
        any(f.code is not FlagCode.REVERSAL for f in flags),
        any(f.code in _OTHERWISE for f in flags),
        any(f.code in _ST_UP for f in flags),
        repolarisation_secondary(measured),
        untold,
        _denied(measured, flags, forbidden),
        bool(measured.values),
        unusual,
    )


def _unusual(measured: Measurements) -> dict[str, tuple[tuple[str, str], ...]]:
    """What no flag names, and yet is not as in a normal ECG, by section."""
    qrs, pr = measured.qrs_ms or 0.0, measured.pr_ms
    wide, at = ("qrs", f"{qrs:.0f}"), ("pr", f"{pr or 0.0:.0f}")
    out: dict[str, tuple[tuple[str, str], ...]] = {}
    # From 110 ms on a QRS is incompletely blocked or delayed; PR is normal from 120 to 200 ms.
    conduction: tuple[tuple[str, str], ...] = (wide,) if qrs >= _NOT_DELAYED_MS or has_right_bundle(measured) else ()
    conduction += (at,) if pr is not None and not 115 <= pr <= 205 else ()
    if conduction:
        out["conduction"] = conduction
    # A short PR before a QRS that is not narrow may be pre-excitation: no ST-T change or Q wave can be ruled out then.
    short = (at, wide) if pr is not None and pr < _SHORT_PR_MS and qrs >= _NOT_NARROW_MS else ()
    # Right bundle branch block and other wide QRS change ST and T as well.
    late = (wide,) if repolarisation_secondary(measured) and not short else ()
    if short or late:
        out["infarction"] = (*short, *late)
    down = _t_down(measured)
    inverted = (("t", ", ".join(down)),) if len(down) >= 2 else ()
    # A long QT interval stands in the section on ST and T; a QRS that is wide makes it long by itself.
    qtc = measured.qtc_ms or 0.0
    long = (("qtc", f"{qtc:.0f}"),) if qtc > NORMAL_RANGE["qtc_ms"][1] and not late else ()
    if short or inverted or late or long:
        out["st_t"] = (*inverted, *long, *short, *late)
    return out


def _statement_of(flag: Flag) -> str:
    """The statement that a flag measures, or that says the same; "" for none."""
    return STATEMENT_OF[flag.code][0] if flag.code in STATEMENT_OF else _SAME_AS.get(flag.code, "")


def _wall(flag: Flag, language: Language) -> str:
    """The wall that leads with raised ST look at; "" where they do not tell. Two leads of a wall are asked for."""
    leads = set(flag.leads)
    walls = [wall for wall, over in _WALLS.items() if len(leads & over) >= 2]
    return WALLS[language].get("+".join(walls), "") if flag.code is not FlagCode.POSTERIOR else ""


def _denied(measured: Measurements, flags: tuple[Flag, ...], forbidden: set[str]) -> frozenset[str]:
    """What of ST, T, QT, Q, PR and AV conduction is measured to be as in a normal ECG."""
    flagged = {flag.code for flag in flags}
    out: set[str] = set()
    if measured.leads and not repolarisation_secondary(measured):
        if not flagged & _ST_UP:
            out.add("STE_")
        if not flagged & {FlagCode.ST_DEPRESSION, FlagCode.POSTERIOR}:
            out.add("STD_")
        if "st_t" not in forbidden:
            out |= {"INVT", "NST_", "NT_", "NDT", "TAB_", "LOWT"}
        if FlagCode.Q_WAVES not in flagged:
            out.add("QWAVE")
    if measured.qtc_ms is not None and measured.qtc_ms <= _NOT_LONG_QTC_MS:
        out.add("LNGQT")
    pr, qrs = measured.pr_ms, measured.qrs_ms
    if pr is not None and measured.p_waves == "present" and not flagged & {*_BLOCKS, FlagCode.PAUSE, FlagCode.SLOW}:
        if pr <= _NOT_LONG_PR_MS:
            out |= {"1AVB", "LPR"}
        if measured.regular:
            out |= {"2AVB", "3AVB"}
        if pr >= _NO_WPW_FROM_MS and qrs is not None and qrs < _NARROW_MS and FlagCode.PREEXCITATION not in flagged:
            out.add("WPW")
    # Beats without a P wave may be fibrillation; a wide QRS may be paced.
    fibrillation = {FlagCode.FIBRILLATION, FlagCode.FAST_FIBRILLATION, FlagCode.FLUTTER}
    if measured.p_waves == "present" and not flagged & fibrillation:
        out |= {"AFIB", "AFLT"}
    if qrs is not None and qrs < _NARROW_MS and FlagCode.PACED not in flagged:
        out.add("PACE")
    return frozenset(out)


def _shows_acute(flag: Flag) -> bool:
    """Whether a flag shows ST elevation as in acute infarction, or its mirror image."""
    if flag.code is FlagCode.SGARBOSSA:
        return flag.variant != "depression"
    return flag.code in (FlagCode.ST_ELEVATION, FlagCode.POSTERIOR)


def shown_by(flag: Flag, language: Language) -> str:
    """What shows an acute infarction, in words: which change, how much at most, and where.

    Args:
        flag: Of ST elevation, of its mirror image, or of Sgarbossa's criteria.
        language: Of the words.
    """
    kind = "mirror" if flag.code is FlagCode.POSTERIOR else "raised"
    levels = [abs(flag.measured[name]) for name in flag.leads if name in flag.measured]
    most = f"{max(levels, default=0.0):.2f}"
    if language == "de":
        most = most.replace(".", ",")
    return SHOWN_BY[language][kind].format(most=most, leads=", ".join(flag.leads))


def veils(section: str) -> frozenset[str]:
    """Statements in which the usual criteria of a section do not hold: pacing, left bundle branch block, WPW.

    Args:
        section: Name.

    Returns:
        Codes.
    """
    return frozenset(code for code, sections in _VEILS.items() if section in sections)


def _no_sinus_tachycardia(measured: Measurements) -> bool:
    """A fast rate without a P wave that is not as regular as a sinus tachycardia.

    Of ten such records of PTB-XL folds 8 and 9 eight are called atrial fibrillation or flutter, one sinus rhythm.
    """
    return (
        measured.rate_bpm is not None
        and measured.rate_bpm > _FAST_BPM
        and measured.p_waves != "present"
        and measured.rr_variation is not None
        and measured.rr_variation >= _NO_CLOCK
    )


def _t_down(measured: Measurements) -> list[str]:
    """Leads in which T points up in a normal ECG and is inverted here."""
    return [
        name
        for name in ("I", "II", "V3", "V4", "V5", "V6")
        if name in measured.leads and measured.leads[name].t_mv <= _T_NEGATIVE_MV
    ]
