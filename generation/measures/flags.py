"""Red flags: what must not be missed, by published criteria on measured values alone.

Neighbours have no say here, and a query that retrieval refuses is flagged all the same. Criteria are those of the
sources named in `flag_texts`; where a criterion asks for a pattern (horizontal, coved, no delta wave), the numbers that
stand for it are given beside the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from ecgkin.generation.measures.excitation import (
    WIDE_MS,
    has_left_bundle,
    has_right_bundle,
    is_preexcited,
    looks_paced,
    repolarisation_secondary,
    unclear_wide,
    ventricular_pacing,
)
from ecgkin.generation.measures.leads import LeadMeasures
from ecgkin.generation.measures.values import Measurements, Reason


class FlagCode(StrEnum):
    """What is flagged, the most dangerous first."""

    NO_QRS = "no_qrs"
    WIDE_TACHYCARDIA = "wide_qrs_tachycardia"
    ST_ELEVATION = "st_elevation"
    SGARBOSSA = "sgarbossa"
    POSTERIOR = "posterior_pattern"
    AVR_ELEVATION = "avr_elevation"
    RECENT_INFARCTION = "recent_infarction"
    HIGH_GRADE_BLOCK = "high_grade_block"
    PAUSE = "pause"
    SLOW = "rate_below_40"
    FAST = "rate_above_150"
    LONG_QT = "qtc_above_500"
    PEAKED_T = "tall_peaked_t"
    BRUGADA = "brugada_type_1"
    SECOND_DEGREE_BLOCK = "second_degree_block"
    WELLENS = "wellens"
    PREEXCITATION = "preexcitation"
    FAST_FIBRILLATION = "fast_atrial_fibrillation"
    ST_DEPRESSION = "st_depression"
    T_INVERSION = "t_inversion"
    FIBRILLATION = "atrial_fibrillation"
    FLUTTER = "atrial_flutter"
    WIDE_RHYTHM = "wide_qrs_rhythm"
    PACED = "paced_rhythm"
    LEFT_BUNDLE = "left_bundle_branch_block"
    RIGHT_BUNDLE = "right_bundle_branch_block"
    Q_WAVES = "pathological_q_waves"
    REVERSAL = "limb_lead_reversal"


FastRhythm = Literal["", "even", "uneven"]
BlockKind = Literal["", "dissociated", "several_to_one", "two_to_one", "dropped"]


class Severity(StrEnum):
    """How soon somebody must look."""

    URGENT = "urgent"
    IMPORTANT = "important"
    NOTE = "note"


SEVERITY: Mapping[FlagCode, Severity] = {
    **dict.fromkeys(FlagCode, Severity.IMPORTANT),
    **dict.fromkeys(
        (FlagCode.NO_QRS, FlagCode.WIDE_TACHYCARDIA, FlagCode.ST_ELEVATION, FlagCode.SGARBOSSA, FlagCode.POSTERIOR,
         FlagCode.AVR_ELEVATION, FlagCode.HIGH_GRADE_BLOCK, FlagCode.PAUSE, FlagCode.LONG_QT, FlagCode.PEAKED_T),
        Severity.URGENT,
    ),
    **dict.fromkeys(
        (FlagCode.PACED, FlagCode.LEFT_BUNDLE, FlagCode.RIGHT_BUNDLE, FlagCode.Q_WAVES, FlagCode.FIBRILLATION,
         FlagCode.FLUTTER),
        Severity.NOTE,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Flag:
    """One red flag.

    Attributes:
        code: What is flagged.
        leads: Where it shows; empty where it is no matter of leads.
        measured: Name of a value -> the value that meets the criterion; by lead "V2" -> mV.
        variant: Which of several criteria was met ("concordant", "excessive", ...); "" where there is one.
    """

    code: FlagCode
    leads: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    variant: str = ""

    @property
    def severity(self) -> Severity:
        """How soon somebody must look."""
        return SEVERITY[self.code]


# Neighbours among the leads: two of them that both show a change count as contiguous (Fourth Universal Definition).
CONTIGUOUS: tuple[tuple[str, str], ...] = (
    ("V1", "V2"), ("V2", "V3"), ("V3", "V4"), ("V4", "V5"), ("V5", "V6"),
    ("aVL", "I"), ("II", "aVF"), ("aVF", "III"), ("II", "III"),
)  # fmt: skip
_LIMB = ("I", "II", "III", "aVL", "aVF")
_CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")

_FAST_BPM = 150.0
_EVEN, _UNEVEN = 0.025, 0.03  # median change from one RR interval to the next, of narrow fast rhythms
_RUN_INTERVALS = 5
# Of the 9 records of PTB-XL folds 1-9 in which beats seem dropped all but one keep the middle half of the cycles with
# one P wave within 0.22 of the P waves' own interval; that one has premature atrial beats, and no report of a block.
_UNLIKE_CYCLES, _FEWEST_CYCLES = 0.25, 4
_NOISY_MV = 0.04  # a lead whose values may be off by this much by chance is not judged
_LASTS = 0.65  # share of a limit that ST keeps 60 ms after J, or at J where 60 ms later is what reaches it


def red_flags(measured: Measurements) -> tuple[Flag, ...]:
    """All flags, the most dangerous first.

    Args:
        measured: Of one record; its age and sex set the limits of ST elevation.
    """
    found = [flag for rule in _RULES for flag in rule(measured)]
    order = list(FlagCode)
    return tuple(sorted(found, key=lambda flag: order.index(flag.code)))


def judges(m: Measurements, code: FlagCode) -> bool:
    """Whether the criteria of a flag can be put to an ECG at all: most of those of ST, T and Q want usual conduction.

    Args:
        m: Of one record.
        code: The flag.

    Returns:
        False where the flag is missing because nothing was judged, not because nothing was found.
    """
    escape = unclear_wide(m) == "without_p"
    if code is FlagCode.SGARBOSSA:
        return m.pacing.ventricular >= 0.5 or looks_paced(m) or has_left_bundle(m) or escape
    if code in (FlagCode.ST_ELEVATION, FlagCode.BRUGADA):
        return not (ventricular_pacing(m) or has_left_bundle(m) or escape)
    if code in (FlagCode.RECENT_INFARCTION, FlagCode.Q_WAVES):
        return not (ventricular_pacing(m) or has_left_bundle(m) or is_preexcited(m) or escape)
    if code in (FlagCode.POSTERIOR, FlagCode.WELLENS, FlagCode.AVR_ELEVATION) and _too_fast(m):
        return False
    if code in (FlagCode.T_INVERSION, FlagCode.POSTERIOR, FlagCode.WELLENS):
        return not (repolarisation_secondary(m) or has_right_bundle(m))
    if code in (FlagCode.ST_DEPRESSION, FlagCode.AVR_ELEVATION, FlagCode.PEAKED_T):
        return not repolarisation_secondary(m)
    return True


def _too_fast(m: Measurements) -> bool:
    """Flutter, or a rate above 150/min: the rate and atrial waves depress ST; these signs are of slower rhythms."""
    return is_fluttering(m) or (m.rate_bpm is not None and m.rate_bpm > _FAST_BPM)


def _judged(m: Measurements) -> dict[str, LeadMeasures]:
    return {name: lead for name, lead in m.leads.items() if lead.noise_mv <= _NOISY_MV}


def _pairs(m: Measurements, meets: Callable[[str, LeadMeasures], bool]) -> tuple[str, ...]:
    """Leads that meet a condition together with a contiguous one."""
    good = {name for name, lead in _judged(m).items() if meets(name, lead)}
    both = {name for pair in CONTIGUOUS if good.issuperset(pair) for name in pair}
    return tuple(name for name in (*_LIMB, *_CHEST) if name in both)


def st_limit_mv(lead: str, age_years: float | None, sex: str | None) -> float:
    """From which level at the J point ST counts as elevated in a lead (Fourth Universal Definition of MI, 2018).

    Args:
        lead: Standard name.
        age_years: None where unknown.
        sex: "F", "M" or None.

    Returns:
        mV; the strictest limit where age or sex is unknown.

    >>> st_limit_mv("V2", 35, "M"), st_limit_mv("V3", 60, "F"), st_limit_mv("II", 60, "F")
    (0.25, 0.15, 0.1)
    """
    if lead not in ("V2", "V3"):
        return 0.1
    if sex == "F":
        return 0.15
    return 0.25 if sex == "M" and age_years is not None and age_years < 40 else 0.2


def _st_elevation(m: Measurements) -> Iterator[Flag]:
    """By the limits; where they are not reached, by what makes less elevation tell."""
    if not judges(m, FlagCode.ST_ELEVATION):
        return
    # Pre-excitation looks like Q waves and a loss of R, and ST is up where it is negative.
    usual = not is_preexcited(m)
    for variant, leads in (
        ("", _pairs(m, lambda name, lead: _elevated(m, name, lead))),
        # Less than the limit is enough where Q waves have come already: an infarction that is hours to days old.
        ("with_q", _pairs(m, lambda name, lead: pathological_q(name, lead) and _st_mean(lead) >= 0.06)),
        ("reciprocal", _with_mirror(m)),
        ("low_r", _pairs(m, lambda name, lead: _raised_without_r(m, name, lead))),
    ):
        if leads and (usual or not variant):
            yield Flag(FlagCode.ST_ELEVATION, leads, {name: _st_level(m.leads[name]) for name in leads}, variant)
            return


def _with_mirror(m: Measurements) -> tuple[str, ...]:
    """Inferior leads with 0.05 mV whose mirror image stands in aVL (Bischof 2016).

    Depression in aVL is there in nearly all inferior infarctions and in no pericarditis; it may come first.
    """
    judged = _judged(m)
    mirror = judged.get("aVL")
    if mirror is None or max(mirror.st_j_mv, mirror.st_60_mv) > -0.05:
        return ()
    inferior = ("II", "aVF", "III")
    return _pairs(m, lambda name, lead: name in inferior and lead.st_j_mv >= 0.05 and lead.st_60_mv >= 0.03)


def _raised_without_r(m: Measurements, name: str, lead: LeadMeasures) -> bool:
    """V1 to V4 with an R of 0.2 mV and less: the limit is enough at J or 60 ms later, two thirds of it after 60 ms."""
    limit = st_limit_mv(name, m.age_years, m.sex)
    return (
        name in ("V1", "V2", "V3", "V4")
        and lead.r_mv <= 0.2
        and _st_level(lead) >= limit
        and lead.st_60_mv >= _LASTS * limit
        and lead.st_j_mv >= 0.0
    )


def _elevated(m: Measurements, name: str, lead: LeadMeasures) -> bool:
    """ST reaches the limit at J or 60 ms later and stays above 0.65 of it at both; in V4 to V6 at J itself.

    The end of QRS is known to some 10 ms, and what is left of an S wave there pulls J down: at J alone 36 % of the
    records of PTB-XL folds 1-8 whose report says acute infarction are found, by this rule 58 % (of normal ones 0.6 and
    1.5 %). In V4 to V6 there is little S, and a level that is reached late is early repolarisation: none of these
    infarctions is lost there, and a tenth of the normal ones that were flagged.
    """
    limit = st_limit_mv(name, m.age_years, m.sex)
    if name in ("V4", "V5", "V6") and lead.st_j_mv < limit:
        return False
    return _st_level(lead) >= limit and min(lead.st_j_mv, lead.st_60_mv) >= _LASTS * limit


def _st_level(lead: LeadMeasures) -> float:
    return max(lead.st_j_mv, lead.st_60_mv)


def _st_mean(lead: LeadMeasures) -> float:
    return (lead.st_j_mv + lead.st_60_mv) / 2


def _sgarbossa(m: Measurements) -> Iterator[Flag]:
    """Sgarbossa 1996 with the proportional third criterion of Smith 2012; one lead suffices.

    QRS is judged where it is mainly positive or mainly negative, twice as high as deep or the reverse: in a complex
    with both, ST has no direction to be concordant with. What is gone 60 ms after J was the end of a wide QRS. No
    record of PTB-XL folds 8 and 9 that loses its flag by this is of an acute infarction, but for one of pre-excitation.
    """
    if not judges(m, FlagCode.SGARBOSSA):
        return
    judged = {name: lead for name, lead in _judged(m).items() if name != "aVR"}
    with_qrs = {n: x for n, x in judged.items() if _mainly(x) > 0 and _lasting(x) >= 0.1}
    if with_qrs:
        yield Flag(FlagCode.SGARBOSSA, tuple(with_qrs), {n: x.st_j_mv for n, x in with_qrs.items()}, "concordant")
    down = {n: x for n, x in judged.items() if n in ("V1", "V2", "V3") and _mainly(x) < 0 and _lasting(x) <= -0.1}
    if down:
        yield Flag(FlagCode.SGARBOSSA, tuple(down), {n: x.st_j_mv for n, x in down.items()}, "depression")
    against = {
        n: x for n, x in judged.items() if _mainly(x) < 0 and _lasting(x) >= max(0.1, 0.25 * max(x.s_mv, x.q_mv))
    }
    if against:
        yield Flag(FlagCode.SGARBOSSA, tuple(against), {n: x.st_j_mv for n, x in against.items()}, "excessive")


def _mainly(lead: LeadMeasures) -> int:
    """1 where QRS is mainly positive, -1 where mainly negative, 0 where it is both or small."""
    up, down = max(lead.r_mv, lead.r2_mv), max(lead.s_mv, lead.q_mv)
    if lead.net_mv > 0.1 and up >= 2 * down:
        return 1
    return -1 if lead.net_mv < 0 and down >= 2 * up else 0


def _lasting(lead: LeadMeasures) -> float:
    """ST at J, or what 60 ms later allows it to be."""
    later = lead.st_60_mv / _LASTS
    if lead.st_j_mv * later <= 0:
        return 0.0
    return lead.st_j_mv if abs(lead.st_j_mv) <= abs(later) else later


def _depressed(lead: LeadMeasures, by_mv: float) -> bool:
    """ST down by so much 60 and 80 ms after J: horizontal or downsloping, not rising from J.

    Of the rules tried on PTB-XL fold 8 this finds most records with a statement of ST depression or ischaemia (53 %, of
    normal ones 0.8 %); at J alone what is left of the S wave counts as depression.
    """
    return max(lead.st_60_mv, lead.st_80_mv) <= -by_mv


def _st_depression(m: Measurements) -> Iterator[Flag]:
    if not judges(m, FlagCode.ST_DEPRESSION):
        return
    leads = _pairs(m, lambda _name, lead: _depressed(lead, 0.05))
    if leads:
        yield Flag(FlagCode.ST_DEPRESSION, leads, {name: m.leads[name].st_60_mv for name in leads})


def _t_inversion(m: Measurements) -> Iterator[Flag]:
    """T down by 0.1 mV in two contiguous leads with a tall R (Fourth Universal Definition, acute ischaemia).

    Tall is larger than Q and S, or 0.5 mV.
    """
    if not judges(m, FlagCode.T_INVERSION):
        return
    leads = _pairs(m, lambda name, lead: name != "V1" and lead.t_mv <= -0.1 and _tall_r(lead))
    if leads:
        yield Flag(FlagCode.T_INVERSION, leads, {name: m.leads[name].t_mv for name in leads})


def _tall_r(lead: LeadMeasures) -> bool:
    return lead.r_mv >= 0.5 or lead.r_mv > max(lead.s_mv, lead.q_mv, 0.2)


def _posterior(m: Measurements) -> Iterator[Flag]:
    """ST depression that is deepest in V2 or V3: the mirror of a posterior infarction (Meyers 2021).

    Subendocardial ischaemia is deepest in V5 and V6.
    """
    if not judges(m, FlagCode.POSTERIOR):
        return
    judged = _judged(m)
    if not judged.keys() >= set(_CHEST):
        return
    deepest = min(_CHEST, key=lambda name: max(judged[name].st_j_mv, judged[name].st_60_mv))
    leads = tuple(n for n in _CHEST[:4] if judged[n].st_j_mv <= -0.05 and judged[n].st_60_mv <= -0.05)
    lateral = min(max(judged[name].st_j_mv, judged[name].st_60_mv) for name in ("V5", "V6"))
    falls_off = lateral >= max(judged[deepest].st_j_mv, judged[deepest].st_60_mv) + 0.03
    if deepest in ("V2", "V3") and len(leads) >= 2 and falls_off:
        yield Flag(FlagCode.POSTERIOR, leads, {name: m.leads[name].st_60_mv for name in leads})


def _recent(m: Measurements) -> Iterator[Flag]:
    """Q waves with T inverted in the same leads: an infarction that is not shown to be old.

    The Universal Definition counts a Q of 20 ms and 0.1 mV where T is inverted in the same leads.
    """
    if not judges(m, FlagCode.RECENT_INFARCTION):
        return
    leads = _pairs(
        m,
        lambda name, lead: (
            name != "V1" and lead.q_ms >= 20 and lead.q_mv >= 0.1 and lead.t_mv <= -0.05 and lead.t_polarity != "flat"
        ),
    )
    if leads:
        yield Flag(FlagCode.RECENT_INFARCTION, leads, {name: m.leads[name].t_mv for name in leads})


def _avr(m: Measurements) -> Iterator[Flag]:
    if not judges(m, FlagCode.AVR_ELEVATION) or "aVR" not in m.leads:
        return
    judged = _judged(m)
    down = tuple(n for n in (*_LIMB, *_CHEST) if n in judged and judged[n].st_j_mv <= -0.1)
    if m.leads["aVR"].st_j_mv >= 0.1 and len(down) >= 6:
        yield Flag(FlagCode.AVR_ELEVATION, ("aVR", *down), {n: m.leads[n].st_j_mv for n in ("aVR", *down)})


def _long_qt(m: Measurements) -> Iterator[Flag]:
    if m.qtc_ms is not None and m.qtc_ms > 500 and m.qt_ms is not None and m.qtc_fridericia_ms is not None:
        yield Flag(
            FlagCode.LONG_QT, (), {"qtc_ms": m.qtc_ms, "qtc_fridericia_ms": m.qtc_fridericia_ms, "qt_ms": m.qt_ms}
        )


def _rates(m: Measurements) -> Iterator[Flag]:
    if m.rate_bpm is None:
        return
    wide = m.qrs_ms is not None and m.qrs_ms >= WIDE_MS
    without_p = m.p_waves != "present"
    paced = m.pacing.paced
    if wide and not paced and m.qrs_ms is not None and (m.rate_bpm > 120 or (m.rate_bpm > 100 and without_p)):
        yield Flag(FlagCode.WIDE_TACHYCARDIA, (), {"rate_bpm": m.rate_bpm, "qrs_ms": m.qrs_ms})
    if m.rate_bpm < 40:
        yield Flag(FlagCode.SLOW, (), {"rate_bpm": m.rate_bpm})
    if m.rate_bpm > _FAST_BPM:
        yield Flag(FlagCode.FAST, (), {"rate_bpm": m.rate_bpm}, fast_rhythm(m))
    elif not is_fibrillating(m) and (run := _fast_run(m)):
        yield Flag(FlagCode.FAST, (), {"beats": len(run) + 1, "run_bpm": 60_000 * len(run) / sum(run)}, "run")
    long = [pause for pause in m.pauses_ms if pause > 3000]
    if long:
        yield Flag(FlagCode.PAUSE, (), {"pause_ms": max(long)})


def fast_rhythm(m: Measurements) -> FastRhythm:
    """What a rate above 150/min with a narrow QRS is likely, by how even it is; "" where another flag says it.

    Of the 15 even ones of PTB-XL folds 1-8 10 are called supraventricular tachycardia or flutter and none fibrillation
    (of the others 3 have no rhythm statement); of the 14 uneven ones 13 are called fibrillation.
    """
    if m.rate_bpm is None or m.rate_bpm <= _FAST_BPM or m.rr_variation is None or m.pacing.paced:
        return ""
    if m.qrs_ms is None or m.qrs_ms >= WIDE_MS or is_fluttering(m) or is_fibrillating(m):
        return ""
    return "even" if m.rr_variation < _EVEN else "uneven" if m.rr_variation >= _UNEVEN else ""


def _fast_run(m: Measurements) -> tuple[float, ...]:
    """The longest row of RR intervals of more than 150/min, where it is of six beats and more; else ()."""
    best: tuple[float, ...] = ()
    now: tuple[float, ...] = ()
    for rr in m.rr_ms:
        now = (*now, rr) if rr < 60_000 / _FAST_BPM else ()
        best = max(best, now, key=len)
    return best if len(best) >= _RUN_INTERVALS else ()


def _atria(m: Measurements) -> Iterator[Flag]:
    if m.rate_bpm is None:
        return
    if is_fluttering(m) and m.atrial is not None:
        yield Flag(FlagCode.FLUTTER, (), {"atrial_bpm": m.atrial.flutter_bpm, "rate_bpm": m.rate_bpm})
    elif is_fibrillating(m) and m.rr_variation is not None and not block_of(m):
        code = FlagCode.FAST_FIBRILLATION if m.rate_bpm > 110 else FlagCode.FIBRILLATION
        yield Flag(code, (), {"rate_bpm": m.rate_bpm, "rr_variation": m.rr_variation})
    kind = block_of(m)
    if kind and m.p_train is not None:
        second = kind in ("two_to_one", "dropped")
        code = FlagCode.SECOND_DEGREE_BLOCK if second else FlagCode.HIGH_GRADE_BLOCK
        yield Flag(code, (), {"atrial_bpm": m.p_train.bpm, "rate_bpm": m.rate_bpm}, kind)


def is_fibrillating(m: Measurements) -> bool:
    """Irregularly irregular RR intervals without a constant P wave.

    Where single beats show nothing in common before QRS 6 % of variation is enough; where the rate leaves no room to
    look for P 10 % are asked for. On PTB-XL folds 8 and 9 84 and 82 % of the AFIB are found, 86 % of those said are
    right.
    """
    if m.rr_variation is None or m.n_beats < 5 or m.pacing.ventricular >= 0.5 or _grouped(m) or is_fluttering(m):
        return False
    if is_chaotic(m):
        return False
    if m.p_waves == "absent":
        return m.rr_variation >= (0.06 if (m.p_constant or 0.0) < 0.45 else 0.08)
    return m.p_waves == "unclear" and m.p_constant is None and m.rr_variation >= 0.1


def _grouped(m: Measurements) -> bool:
    """Whether intervals repeat after two or three beats, as in bigeminy or Wenckebach's periods of one length."""
    rr = m.rr_ms
    for step in (2, 3):
        if len(rr) >= 2 * step + 1:
            changes = sorted(abs(b - a) for a, b in zip(rr, rr[step:], strict=False))
            if changes[len(changes) // 2] < 0.05 * sum(rr) / len(rr):
                return True
    return False


def is_fluttering(m: Measurements) -> bool:
    """A train of waves of 200 to 370/min that keeps time, clearly so where there is a P wave before every QRS.

    P, T and QRS of a sinus tachycardia come in time as well: with P waves it takes a correlation of 0.55 (PTB-XL folds
    8 and 9: half as many are flagged as with 0.33, and none of AFLT is lost).
    """
    atrial = m.atrial
    if atrial is None or m.rate_bpm is None or m.pacing.paced:
        return False
    least = 0.55 if m.p_waves == "present" else 0.4
    return atrial.flutter_strength >= least and 200 <= atrial.flutter_bpm <= 370 and m.rate_bpm < 180


def block_of(m: Measurements) -> BlockKind:
    """AV block of second degree and more, by a train of P waves that QRS does not follow one to one.

    "dissociated": P waves faster than QRS at no constant distance. "several_to_one": three P waves and more to a QRS,
    the last always at one distance. "two_to_one". "dropped": now and then a P wave without QRS, and a cycle that is
    longer for it (Wenckebach or Mobitz). "" where none is shown.
    """
    train = m.p_train
    if train is None or m.rate_bpm is None or m.rr_variation is None or m.pacing.paced or is_fluttering(m):
        return ""
    if looks_paced(m):
        return ""
    if train.present * train.like < 0.6 or train.bpm > 160 or m.rate_bpm >= 80:
        return ""
    # A P wave at one place before every QRS is conducted: waves between are U or T.
    free = m.p_waves != "present" and train.bpm >= 1.12 * m.rate_bpm and train.pr_spread_s >= 0.1
    # Where the ventricles are uneven, fibrillation may have waves that happen to keep time for a while.
    uneven = m.rr_variation < 0.15 and train.pr_spread_s > 0.2 and train.present * train.like >= 0.85
    if free and (m.rr_variation < 0.06 or uneven):
        return "dissociated"
    if train.extra_like < 0.8 or not 0.5 <= train.extra_height <= 2:
        return ""  # what lies between is no P wave
    counts = train.per_cycle
    if m.rr_variation < 0.06 and train.pr_spread_s < 0.1:
        if m.rate_bpm < 60 and sum(n >= 3 for n in counts) >= 0.8 * len(counts):
            return "several_to_one"
        if m.rate_bpm < 50 and sum(n >= 2 for n in counts) >= 0.8 * len(counts):
            return "two_to_one"
    # Waves of fibrillation that keep time for a while are less alike: of 15 records of PTB-XL folds 1-9 in which beats
    # seem dropped the 8 of other rhythms have 0.83 and more, 6 of the 7 of fibrillation 0.78 and less.
    if train.like < 0.8 or len(counts) != len(m.rr_ms) or set(counts) - {1, 2, 3} or train.bpm > 110:
        return ""
    long = [rr for rr, n in zip(m.rr_ms, counts, strict=True) if n >= 2]
    short = sorted(rr for rr, n in zip(m.rr_ms, counts, strict=True) if n == 1)
    if not long or not short or min(long) < 1.2 * short[len(short) // 2]:
        return ""
    # One P wave to a QRS, and cycles as different as in fibrillation: QRS does not follow them.
    spread = short[3 * len(short) // 4] - short[len(short) // 4] if len(short) >= _FEWEST_CYCLES else 0.0
    return "dropped" if spread <= _UNLIKE_CYCLES * 60_000 / train.bpm else ""


def _peaked_t(m: Measurements) -> Iterator[Flag]:
    if not judges(m, FlagCode.PEAKED_T):
        return
    judged = _judged(m)
    chest = [n for n in _CHEST if n in judged and judged[n].t_mv >= 1.0 and judged[n].t_mv > judged[n].r_mv]
    limb = [n for n in _LIMB if n in judged and judged[n].t_mv >= 0.5 and judged[n].t_mv > judged[n].r_mv]
    if len(chest) >= 2 or len(limb) >= 2:
        yield Flag(FlagCode.PEAKED_T, (*limb, *chest), {n: m.leads[n].t_mv for n in (*limb, *chest)})


def _brugada(m: Measurements) -> Iterator[Flag]:
    if not judges(m, FlagCode.BRUGADA):
        return
    judged, right = _judged(m), has_right_bundle(m)
    coved = tuple(
        n
        for n in ("V1", "V2")
        if n in judged
        and max(judged[n].st_j_mv, judged[n].r2_mv) >= 0.2
        and judged[n].st_j_mv >= 0.1
        and judged[n].st_j_mv > judged[n].st_80_mv + 0.03
        and judged[n].t_mv < -0.05
        # The late R wave of right bundle branch block is over 60 ms after J, a coved ST segment is not.
        and not (right and judged[n].st_60_mv <= 0.05)
    )
    if coved:
        raised = {name for flag in _st_elevation(m) for name in flag.leads}
        beyond = raised - {"V1", "V2", "V3"}
        down = [name for flag in _st_depression(m) for name in flag.leads]
        variant = "infarction" if raised and (beyond or down) else "rather" if raised else ""
        yield Flag(FlagCode.BRUGADA, coved, {n: m.leads[n].st_j_mv for n in coved}, variant)


def _wellens(m: Measurements) -> Iterator[Flag]:
    if not judges(m, FlagCode.WELLENS):
        return
    judged = _judged(m)
    leads = tuple(
        n
        for n in ("V2", "V3", "V4")
        if n in judged
        and (judged[n].t_polarity == "positive-negative" or judged[n].t_mv <= -0.3)
        and judged[n].st_j_mv < 0.1
        and judged[n].r_mv >= 0.15
    )
    if len(leads) >= 2 and {"V2", "V3"} & set(leads):
        yield Flag(FlagCode.WELLENS, leads, {n: m.leads[n].t_mv for n in leads})


def _conduction(m: Measurements) -> Iterator[Flag]:
    if m.pacing.paced:
        yield Flag(FlagCode.PACED, (), {"ventricular": m.pacing.ventricular, "atrial": m.pacing.atrial})
    elif looks_paced(m) and m.qrs_ms is not None and m.rate_bpm is not None:
        yield Flag(FlagCode.PACED, (), {"qrs_ms": m.qrs_ms, "rate_bpm": m.rate_bpm}, "shape")
    if ventricular_pacing(m) or m.qrs_ms is None:
        return
    if (kind := unclear_wide(m)) and m.rate_bpm is not None:
        yield Flag(FlagCode.WIDE_RHYTHM, (), {"qrs_ms": m.qrs_ms, "rate_bpm": m.rate_bpm}, kind)
    if is_preexcited(m) and m.pr_ms is not None:
        yield Flag(FlagCode.PREEXCITATION, (), {"pr_ms": m.pr_ms, "qrs_ms": m.qrs_ms})
    elif has_left_bundle(m):
        yield Flag(FlagCode.LEFT_BUNDLE, (), {"qrs_ms": m.qrs_ms})
    elif has_right_bundle(m):
        yield Flag(FlagCode.RIGHT_BUNDLE, (), {"qrs_ms": m.qrs_ms})


def _q_waves(m: Measurements) -> Iterator[Flag]:
    if not judges(m, FlagCode.Q_WAVES):
        return
    leads = _pairs(m, lambda name, lead: pathological_q(name, lead))
    if leads:
        yield Flag(FlagCode.Q_WAVES, leads, {name: m.leads[name].q_ms for name in leads})


def pathological_q(name: str, lead: LeadMeasures) -> bool:
    """Q of 30 ms and 0.1 mV; in V2 and V3 of 20 ms or QS (Fourth Universal Definition of MI, prior infarction).

    Args:
        name: Of the lead.
        lead: What was measured in it.

    Returns:
        Whether there is one.
    """
    if name in ("V2", "V3"):
        return lead.q_ms >= 20 and lead.q_mv >= 0.05
    if name == "V1":
        return lead.qs and lead.q_mv >= 0.1 and lead.q_ms >= 30
    return lead.q_ms >= 30 and lead.q_mv >= 0.1


def _reversal(m: Measurements) -> Iterator[Flag]:
    """Exchanged limb electrodes, by what the chest leads, which they do not touch, show.

    Arms: P and QRS upside down in I, upright in V6 (140 of 150 records of PTB-XL fold 8 whose leads were exchanged, 1
    of 4,356 as they are). Right arm and left leg: P, QRS and T upside down in II, upright in V6 (101 of 150, none of
    4,356). Right arm and right leg: lead II is the voltage between two legs, which is next to none, and III the mirror
    of I.
    """
    if m.rate_bpm is None:
        return
    leads, v6, p_axis = m.leads, m.leads.get("V6"), m.p_axis_deg
    if v6 is not None and v6.net_mv > 0.05 and p_axis is not None:
        one, two = leads.get("I"), leads.get("II")
        if one is not None and abs(p_axis) > 90 and one.net_mv < -0.05:
            yield Flag(FlagCode.REVERSAL, ("I",), {"p_axis_deg": p_axis, "I": one.net_mv}, "arms")
        elif two is not None and -150 < p_axis < -60 and two.net_mv < -0.1 and two.t_mv < -0.05 and v6.t_mv > 0:
            yield Flag(FlagCode.REVERSAL, ("II",), {"p_axis_deg": p_axis, "II": two.net_mv}, "arm_and_leg")
    if not {"I", "III"} <= leads.keys():
        return
    one, three = leads["I"], leads["III"]
    # A lead II that shows nothing at all is not among the leads.
    flat = "II" not in leads or max(leads["II"].r_mv, leads["II"].q_mv, leads["II"].s_mv) < 0.12
    mirrored = abs(one.net_mv + three.net_mv) < 0.08 and abs(one.t_mv + three.t_mv) < 0.06
    if flat and mirrored and min(abs(one.net_mv), abs(three.net_mv)) > 0.3:
        yield Flag(FlagCode.REVERSAL, ("II",), {"I": one.net_mv, "III": three.net_mv}, "leg")


def _no_qrs(m: Measurements) -> Iterator[Flag]:
    if m.reasons.get("rate_bpm") in (Reason.NO_BEATS, Reason.FEW_BEATS):
        yield Flag(FlagCode.NO_QRS)
    elif is_chaotic(m) and m.rate_bpm is not None:
        yield Flag(FlagCode.NO_QRS, (), {"rate_bpm": m.rate_bpm}, "chaotic")


def is_chaotic(m: Measurements) -> bool:
    """Fast, and most complexes unlike each other: fibrillation of the ventricles, torsade, or noise.

    In simulated ventricular fibrillation a tenth of the complexes are alike, in the fast atrial fibrillation of PTB-XL
    folds 8 and 9 70 % and more.
    """
    return m.rate_bpm is not None and m.rate_bpm >= 150 and m.n_beats >= 10 and m.alike is not None and m.alike < 0.5


_RULES: Sequence[Callable[[Measurements], Iterator[Flag]]] = (
    _no_qrs, _rates, _st_elevation, _sgarbossa, _posterior, _recent, _avr, _long_qt, _peaked_t, _brugada, _wellens,
    _atria, _st_depression, _t_inversion, _conduction, _q_waves, _reversal,
)  # fmt: skip
