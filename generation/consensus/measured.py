"""What measuring alone says for the draft: flags, findings that it adds or rules out, negatives that it forbids.

The vote knows which statements ECGs like this one carry; it does not look at this one. Where the two differ on what a
ruler can settle, the ruler speaks first: flags open the conclusion, and no section is called free of findings whose
criteria do not hold (ST-T and infarction under pacing, left bundle branch block or pre-excitation) or are met.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ecgkin.generation.consensus.assembly import Note
from ecgkin.generation.consensus.phrases import ACUTE, SHOWN_BY
from ecgkin.generation.consensus.sections import SECTION_OF
from ecgkin.generation.measures import Measurements
from ecgkin.generation.measures.excitation import has_right_bundle, repolarisation_secondary, unclear_wide
from ecgkin.generation.measures.flag_texts import flag_text, flag_title
from ecgkin.generation.measures.flags import Flag, FlagCode, Severity, is_fibrillating, is_fluttering, red_flags
from ecgkin.generation.types.draft import Basis, DraftFlag, Language

# Statement that a flag measures, and how often the flag is right about it: precision on the 2,173 records of PTB-XL
# fold 8, whose shares of findings are those of the archive (scripts/measure_measures.py flags).
STATEMENT_OF: Mapping[FlagCode, tuple[str, float]] = {
    FlagCode.PACED: ("PACE", 0.65),
    FlagCode.LEFT_BUNDLE: ("CLBBB", 0.65),
    FlagCode.RIGHT_BUNDLE: ("CRBBB", 0.77),
    FlagCode.FIBRILLATION: ("AFIB", 0.84),
    FlagCode.FAST_FIBRILLATION: ("AFIB", 0.9),
    FlagCode.FLUTTER: ("AFLT", 0.15),
    FlagCode.PREEXCITATION: ("WPW", 0.6),
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
_SECTION_OF_NOTE: Mapping[FlagCode, str] = {
    FlagCode.HIGH_GRADE_BLOCK: "conduction",
    FlagCode.SECOND_DEGREE_BLOCK: "conduction",
    FlagCode.PACED: "rhythm",
    FlagCode.FIBRILLATION: "rhythm",
    FlagCode.FLUTTER: "rhythm",
    FlagCode.LEFT_BUNDLE: "conduction",
    FlagCode.RIGHT_BUNDLE: "conduction",
    FlagCode.Q_WAVES: "infarction",
}
_BLOCKS = frozenset({FlagCode.HIGH_GRADE_BLOCK, FlagCode.SECOND_DEGREE_BLOCK})
_ST_UP = frozenset({FlagCode.ST_ELEVATION, FlagCode.SGARBOSSA, FlagCode.POSTERIOR, FlagCode.AVR_ELEVATION})
_SHORT_PR_MS, _NOT_NARROW_MS = 120.0, 100.0
_T_NEGATIVE_MV = -0.1
_FAST_BPM, _NO_CLOCK = 100.0, 0.03
_SINUS = ("SR", "STACH", "SBRAD", "SARRH")
_OF_ST_T = frozenset(code for code, home in SECTION_OF.items() if home in ("st_t", "infarction"))
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
        st_up: Whether ST is elevated as in acute infarction: no infarction is old then.
        secondary: Whether ST and T follow another way of excitation and say nothing of ischaemia.
        untold: Statements that cannot be made because how the ventricles are excited is not known.
        denied: Statements that were looked for by measuring, and of which nothing was found.
        looked: Whether anything was measured.
    """

    flags: tuple[Flag, ...] = ()
    added: Mapping[str, float] = field(default_factory=dict)
    ruled_out: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    not_normal: bool = False
    st_up: bool = False
    secondary: bool = False
    untold: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    looked: bool = False

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
            words = ACUTE[language].format(shown=shown_by(flag, language))
            return Note(words, "infarction", (), (), None, "measurement")
        return None

    def sentences(self, language: Language) -> list[Note]:
        """Urgent and important flags for the conclusion, in order."""
        return [
            Note(flag_title(flag, language), "conclusion", (), (), None, "measurement")
            for flag in self.flags
            if flag.severity is not Severity.NOTE
        ]

    def notes(self, section: str, said: Mapping[str, float], language: Language) -> list[Note]:
        """Flags that are no alarm, in the section where they belong, unless their statement is said anyway."""
        return [
            Note(flag_title(flag, language), section, (), (), None, "measurement")
            for flag in self.flags
            if _SECTION_OF_NOTE.get(flag.code) == section
            and (flag.code not in STATEMENT_OF or STATEMENT_OF[flag.code][0] not in said)
        ]

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
    if repolarisation_secondary(measured):
        forbidden |= {"st_t", "infarction", "conduction"}
    qrs, pr = measured.qrs_ms or 0.0, measured.pr_ms
    # From 110 ms on a QRS is incompletely blocked or delayed; PR is normal from 120 to 200 ms.
    if qrs >= 110 or has_right_bundle(measured) or (pr is not None and not 115 <= pr <= 205):
        forbidden.add("conduction")
    # A short PR before a QRS that is not narrow may be pre-excitation: no ST-T change or Q wave can be ruled out then.
    if pr is not None and pr < _SHORT_PR_MS and qrs >= _NOT_NARROW_MS:
        forbidden |= {"st_t", "infarction"}
    if _t_abnormal(measured):
        forbidden.add("st_t")
    added = {code: p for flag in flags if flag.code in STATEMENT_OF for code, p in (STATEMENT_OF[flag.code],)}
    if measured.pacing.paced:
        added.pop("AFIB", None)  # a paced rhythm is irregular by its other beats, too
    ruled_out: set[str] = set()
    if any(f.code in _BLOCKS for f in flags):
        ruled_out.add("SBRAD")  # P comes faster than QRS: the sinus node is not slow
    wide = unclear_wide(measured)
    if wide == "without_p" or is_fibrillating(measured) or _no_sinus_tachycardia(measured):
        ruled_out.update(_SINUS)
    elif measured.p_waves == "present" and measured.regular and not is_fluttering(measured):
        ruled_out.update({"AFIB", "AFLT"})
    if measured.pacing.paced and measured.pacing.ventricular >= 0.5:
        ruled_out.update({"CLBBB", "CRBBB", "IVCD", "LAFB", "LPFB", "IRBBB", "ILBBB"})
    return MeasuredFindings(
        flags,
        added,
        frozenset(ruled_out),
        frozenset(forbidden),
        any(f.code is not FlagCode.REVERSAL for f in flags),
        any(f.code in _ST_UP for f in flags),
        repolarisation_secondary(measured),
        _OF_ST_T if wide else frozenset(),
        _denied(measured, flags, forbidden),
        bool(measured.values),
    )


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
    """Statements in which the usual criteria of a section do not hold: pacing, left bundle branch block, pre-excitation.

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


def _t_abnormal(measured: Measurements) -> bool:
    """T inverted in two leads in which it points up in a normal ECG."""
    down = [
        name
        for name in ("I", "II", "V3", "V4", "V5", "V6")
        if name in measured.leads and measured.leads[name].t_mv <= _T_NEGATIVE_MV
    ]
    return len(down) >= 2
