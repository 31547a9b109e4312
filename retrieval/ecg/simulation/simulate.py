"""Simulated 12-lead ECGs with known truth, for tests and for the demo where there is no network.

A heart vector made of Gaussians (see `simulate_model`) beats in a rhythm and is projected onto the leads. Shapes obey
the criteria that a cardiologist would check; they are no substitute for real recordings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.model import FloatArray, to_twelve
from ecgkin.retrieval.ecg.simulation.morphology import (
    BeatShape,
    chest_gains,
    draw_atrial_extrasystole,
    draw_beat,
    draw_extrasystole,
    sokolow_mv,
)
from ecgkin.retrieval.ecg.simulation.rhythm import (
    ATRIAL,
    VENTRICULAR,
    Rhythm,
    draw_mean_rr,
    draw_rhythm,
    fibrillation,
    flutter,
)
from ecgkin.retrieval.ecg.statements.catalogue import CODES, STATEMENTS
from ecgkin.retrieval.errors import QueryError

__all__ = ["SUPPORTED", "SimulatedEcg", "Truth", "simulate", "simulate_corpus"]


SUPPORTED: tuple[str, ...] = (
    "NORM", "SR", "AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "PVC", "BIGU", "PAC", "1AVB", "CLBBB", "CRBBB", "IRBBB",
    "LAFB", "LVH", "IMI", "ASMI", "PACE", "LOWT", "LVOLT", "STD_", "WPW", "LNGQT",
)  # fmt: skip
RHYTHMS: frozenset[str] = frozenset({"SR", "AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "PACE"})
_SINUS = ("SR", "STACH", "SBRAD", "SARRH")
_FINDINGS = tuple(code for code in SUPPORTED if code not in {*RHYTHMS, "NORM"})


def _pairs() -> dict[frozenset[str], str]:
    table: dict[frozenset[str], str] = {}

    def refuse(first: Sequence[str], second: Sequence[str], why: str) -> None:
        for a in first:
            for b in second:
                if a != b:
                    table[frozenset((a, b))] = why

    refuse(["NORM"], [*_FINDINGS, "AFIB", "AFLT", "PACE"], "a normal ECG has no other finding")
    refuse(_SINUS, _SINUS, "there is one sinus rhythm at a time")
    del table[frozenset(("SBRAD", "SARRH"))]
    refuse(_SINUS, ["AFIB", "AFLT"], "the atria either follow the sinus node or they do not")
    refuse(["AFIB"], ["AFLT"], "the atria do one or the other")
    refuse(["PACE"], ["AFLT", "STACH", "SBRAD", "SARRH", "SR"], "the pacemaker sets this rhythm")
    refuse(["CLBBB"], ["CRBBB", "IRBBB"], "one bundle branch at a time")
    refuse(["CRBBB"], ["IRBBB"], "a block is complete or incomplete")
    refuse(["PACE"], _FINDINGS, "the paced QRS hides or excludes it")
    refuse(["WPW"], [c for c in _FINDINGS if c not in {"PAC", "PVC"}], "pre-excitation hides or excludes it")
    refuse(["WPW"], ["AFIB", "AFLT"], "pre-excitation is simulated in sinus rhythm only")
    refuse(["CLBBB"], ["LAFB", "LVH", "IMI", "ASMI", "LOWT", "STD_"], "left bundle branch block hides it")
    refuse(["CRBBB", "IRBBB"], ["LVH", "ASMI"], "the criteria of both overlap in V1")
    refuse(["LAFB"], ["IMI"], "both claim the inferior leads")
    refuse(["LVH"], ["LVOLT", "LOWT", "ASMI"], "the criteria exclude each other")
    refuse(["LVOLT"], ["CLBBB", "LAFB", "CRBBB", "IRBBB", "IMI", "ASMI"], "waves this small do not show it")
    refuse(["LOWT"], ["CRBBB", "IMI", "ASMI", "LNGQT", "AFLT"], "T has a shape of its own there")
    refuse(["STD_"], ["LVH", "CRBBB", "IMI", "ASMI", "AFLT"], "ST has a course of its own there")
    refuse(["LNGQT"], ["STACH", "AFIB", "AFLT"], "the end of T cannot be seen or measured")
    refuse(["1AVB"], ["AFIB", "AFLT", "STACH"], "there is no PR interval to measure")
    refuse(["PAC"], ["AFIB", "AFLT", "SARRH", "STACH", "BIGU", "1AVB"], "a premature P wave cannot be told there")
    refuse(["BIGU"], ["AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "LNGQT", "1AVB"], "not simulated with bigeminy")
    refuse(["PVC"], ["AFLT", "SARRH"], "not simulated with extrasystoles")
    return table


_REFUSED = _pairs()


def complete_codes(codes: Iterable[str]) -> tuple[str, ...]:
    """The statements in the order of `SUPPORTED`, checked, with what they imply (a rhythm, PVC with BIGU).

    Raises:
        QueryError: A code is unknown or not simulated, none is given, or two exclude each other.

    >>> complete_codes(["CLBBB"]), complete_codes(["AFIB", "LVH"])
    (('SR', 'CLBBB'), ('AFIB', 'LVH'))
    """
    wanted = set(codes)
    unknown = sorted(wanted - set(SUPPORTED))
    if unknown or not wanted:
        what = f"{', '.join(unknown)}: {'not simulated' if set(unknown) <= set(CODES) else 'unknown statement'}"
        raise QueryError(what if unknown else "no statement given", hint=f"the simulator knows {', '.join(SUPPORTED)}")
    if "BIGU" in wanted:
        wanted.add("PVC")
    if not wanted & RHYTHMS:
        wanted.add("SR")
    for pair, why in _REFUSED.items():
        if pair <= wanted:
            a, b = sorted(pair)
            raise QueryError(f"{a} and {b} cannot be simulated together: {why}", hint="leave one of them out")
    return tuple(code for code in SUPPORTED if code in wanted)


def compatible(codes: Iterable[str]) -> bool:
    """Whether `complete_codes` accepts them."""
    try:
        complete_codes(codes)
    except QueryError:
        return False
    return True


def likelihoods(codes: Iterable[str]) -> dict[str, float]:
    """Labels in PTB-XL's way: 100 for diagnostic statements, 0 for those of form and rhythm (where it says nothing)."""
    diagnostic = {s.code for s in STATEMENTS if "diagnostic" in s.kinds}
    return {code: 100.0 if code in diagnostic else 0.0 for code in codes}


# How often each comes first in a made-up corpus: normal ECGs often, every other statement often enough to be found.
_MIX: dict[str, float] = {code: 1.0 for code in SUPPORTED if code != "SR"} | {"NORM": 6.0, "AFIB": 2.0, "LVH": 1.5}


def draw_codes(number: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Statements for the `number`-th record of a corpus: the first round goes once through all, then by chance.

    Args:
        number: Which record of the corpus, from 0.
        rng: Decides after the first round.

    Returns:
        Statement codes that can stand side by side.
    """
    if number < len(SUPPORTED):
        first = SUPPORTED[number]
    else:
        names = tuple(_MIX)
        weights = np.array([_MIX[n] for n in names])
        first = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    codes = {first}
    for _ in range(2):
        if first not in {"NORM", "SR"} and rng.random() < 0.35:
            other = SUPPORTED[int(rng.integers(2, len(SUPPORTED)))]
            if compatible({*codes, other}):
                codes.add(other)
    return complete_codes(codes)


_EN: dict[str, tuple[str, ...]] = {
    "SR": ("Sinus rhythm, {rate}/min.", "Sinus rhythm at {rate} per minute.", "Regular sinus rhythm, rate {rate}."),
    "AFIB": ("Atrial fibrillation, ventricular rate {rate}/min.", "Atrial fibrillation, mean rate {rate}/min."),
    "AFLT": ("Atrial flutter, ventricular rate {rate}/min.", "Atrial flutter with a rate of {rate}/min."),
    "STACH": ("Sinus tachycardia, {rate}/min.", "Sinus tachycardia at {rate} per minute."),
    "SBRAD": ("Sinus bradycardia, {rate}/min.", "Sinus bradycardia at {rate} per minute."),
    "SARRH": ("Sinus arrhythmia, {rate}/min.", "Sinus arrhythmia with the breath, mean rate {rate}."),
    "PACE": ("Pacemaker rhythm, {rate}/min.", "Ventricular pacemaker rhythm at {rate} per minute."),
    "PVC": ("Ventricular premature complexes.", "Ventricular extrasystoles."),
    "BIGU": ("Ventricular bigeminy.", "Bigeminal pattern."),
    "PAC": ("Atrial premature complexes.", "Atrial extrasystoles."),
    "1AVB": ("First degree AV block (PR {pr} ms).", "First degree AV block, PR interval {pr} ms."),
    "CLBBB": ("Complete left bundle branch block, QRS {qrs} ms.", "Left bundle branch block (QRS {qrs} ms)."),
    "CRBBB": ("Complete right bundle branch block, QRS {qrs} ms.", "Right bundle branch block (QRS {qrs} ms)."),
    "IRBBB": ("Incomplete right bundle branch block.", "Incomplete right bundle branch block, QRS {qrs} ms."),
    "LAFB": ("Left anterior fascicular block.", "Left axis deviation, left anterior fascicular block."),
    "LVH": ("Left ventricular hypertrophy with strain.", "Left ventricular hypertrophy, Sokolow-Lyon {sokolow} mV."),
    "IMI": ("Inferior myocardial infarction, old.", "Q waves in II, III and aVF: inferior myocardial infarction."),
    "ASMI": ("Anteroseptal myocardial infarction.", "Loss of R in V1 to V3: anteroseptal myocardial infarction."),
    "LOWT": ("Low T waves throughout.", "Low amplitude T waves."),
    "LVOLT": ("Low QRS voltage.", "Low voltage in the limb leads."),
    "STD_": ("ST depression in II and V4 to V6.", "ST segment depression."),
    "WPW": ("Short PR and delta wave: Wolff-Parkinson-White syndrome.", "WPW pattern with delta wave, PR {pr} ms."),
    "LNGQT": ("Long QT interval, QTc {qtc} ms.", "Prolonged QT interval (QTc {qtc} ms)."),
    "NORM": ("Normal ECG.", "Within normal limits, normal ECG."),
}
_DE: dict[str, tuple[str, ...]] = {
    "SR": ("Sinusrhythmus, {rate}/min.", "Sinusrhythmus mit {rate} pro Minute."),
    "AFIB": ("Vorhofflimmern, Kammerfrequenz {rate}/min.", "Vorhofflimmern, mittlere Frequenz {rate}/min."),
    "AFLT": ("Vorhofflattern, Kammerfrequenz {rate}/min.", "Vorhofflattern mit einer Frequenz von {rate}/min."),
    "STACH": ("Sinustachykardie, {rate}/min.", "Sinustachykardie mit {rate} pro Minute."),
    "SBRAD": ("Sinusbradykardie, {rate}/min.", "Sinusbradykardie mit {rate} pro Minute."),
    "SARRH": ("Sinusarrhythmie, {rate}/min.", "Respiratorische Sinusarrhythmie, im Mittel {rate}/min."),
    "PACE": ("Schrittmacherrhythmus, {rate}/min.", "Ventrikulärer Schrittmacherrhythmus mit {rate} pro Minute."),
    "PVC": ("Ventrikuläre Extrasystolen.", "Einzelne ventrikuläre Extrasystolen."),
    "BIGU": ("Ventrikulärer Bigeminus.", "Bigeminus."),
    "PAC": ("Supraventrikuläre Extrasystolen.", "Einzelne supraventrikuläre Extrasystolen."),
    "1AVB": ("AV-Block I. Grades (PQ {pr} ms).", "AV-Block I. Grades, PQ-Zeit {pr} ms."),
    "CLBBB": ("Kompletter Linksschenkelblock, QRS {qrs} ms.", "Linksschenkelblock (QRS {qrs} ms)."),
    "CRBBB": ("Kompletter Rechtsschenkelblock, QRS {qrs} ms.", "Rechtsschenkelblock (QRS {qrs} ms)."),
    "IRBBB": ("Inkompletter Rechtsschenkelblock.", "Inkompletter Rechtsschenkelblock, QRS {qrs} ms."),
    "LAFB": ("Linksanteriorer Hemiblock.", "Überdrehter Linkstyp, linksanteriorer Hemiblock."),
    "LVH": ("Linksventrikuläre Hypertrophie mit Strain.", "Linksventrikuläre Hypertrophie, Sokolow {sokolow} mV."),
    "IMI": ("Inferiorer Myokardinfarkt, alt.", "Q in II, III und aVF: inferiorer Myokardinfarkt."),
    "ASMI": ("Anteroseptaler Myokardinfarkt.", "R-Verlust V1 bis V3: anteroseptaler Myokardinfarkt."),
    "LOWT": ("Niedrige T-Wellen.", "Durchweg niedrige T-Wellen."),
    "LVOLT": ("Niederspannung.", "Niedervoltage, Niederspannung der Extremitätenableitungen."),
    "STD_": ("ST-Senkung in II und V4 bis V6.", "ST-Senkung."),
    "WPW": ("Kurze PQ-Zeit, Deltawelle: Wolff-Parkinson-White-Syndrom.", "WPW mit Deltawelle, PQ {pr} ms."),
    "LNGQT": ("Verlängertes QT-Intervall, QTc {qtc} ms.", "QT-Verlängerung (QTc {qtc} ms)."),
    "NORM": ("Normales EKG.", "Unauffälliger Befund, normales EKG."),
}
_ORDER = (
    "SR", "AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "PACE", "BIGU", "PVC", "PAC", "1AVB", "WPW", "AXIS", "LVOLT",
    "CLBBB", "CRBBB", "IRBBB", "LAFB", "LVH", "ASMI", "IMI", "STD_", "LOWT", "LNGQT", "NORM",
)  # fmt: skip


def axis_words(axis_deg: float) -> tuple[str, str]:
    """What English and German reports call a frontal axis (German: Lagetyp, limits at -30, 30, 60, 90, 120 degrees).

    >>> axis_words(45), axis_words(-60)[1]
    (('Normal axis.', 'Indifferenztyp.'), 'Überdrehter Linkstyp.')
    """
    if axis_deg < -90 or axis_deg > 120:
        return "Right axis deviation.", "Überdrehter Rechtstyp."
    if axis_deg < -30:
        return "Left axis deviation.", "Überdrehter Linkstyp."
    if axis_deg < 30:
        return "Normal axis.", "Linkstyp."
    if axis_deg <= 60:
        return "Normal axis.", "Indifferenztyp."
    if axis_deg <= 90:
        return "Normal axis.", "Steiltyp."
    return "Right axis deviation.", "Rechtstyp."


def write_reports(
    codes: Collection[str], figures: dict[str, str], axis_deg: float, rng: np.random.Generator
) -> tuple[str, str]:
    """Report in English and in German.

    Args:
        codes: The statements, each of them gets a sentence.
        figures: Words for {rate}, {pr}, {qrs}, {qtc} and {sokolow}.
        axis_deg: Frontal axis.
        rng: Picks among the wordings, the same pick for both languages.

    Returns:
        The report in English and the same in German.
    """
    english, german = [], []
    for code in _ORDER:
        pick = int(rng.integers(6))
        if code == "AXIS":
            if not set(codes) & {"LAFB", "PACE"}:
                words = axis_words(axis_deg)
                english.append(words[0])
                german.append(words[1])
        elif code in codes:
            english.append(_EN[code][pick % len(_EN[code])].format(**figures))
            german.append(_DE[code][pick % len(_DE[code])].format(**figures))
    return " ".join(english), " ".join(german)


_SHORTEST_S = 8.0  # room for an extrasystole with normal beats about it, or for a breath and a half
_SPIKE_S = 0.0008  # a pacemaker's pulse is under 2 ms; as a Gaussian, before the recorder's low-pass
_SPIKE_MV = np.array([0.6, -1.5, 0.8])


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is known exactly about a simulated ECG. Arrays have one entry per beat whose R peak is in the record.

    Onsets and ends are where the largest lead of that wave alone, without noise, passes 4 % of its peak.

    Attributes:
        codes: The statements.
        beat_kinds: "N" conducted, "V" ventricular extrasystole, "A" atrial extrasystole, "P" paced.
        r_peaks_s: Where QRS deflects lead II most.
        p_onsets_s, p_ends_s: NaN for beats without a P wave.
        qrs_onsets_s, qrs_ends_s, t_onsets_s, t_ends_s: In seconds from the start of the record.
        rate_bpm: 60 over the mean RR interval; NaN with fewer than two beats.
        pr_ms, qrs_ms, qt_ms: Of the conducted or paced beat; pr_ms is None where there is no P wave.
        qtc_ms: QT corrected by Bazett's formula with the mean RR interval of the rhythm.
        axis_deg: Frontal axis of QRS, -180 to 180, from net areas in I and aVF; in right bundle branch block that of
            the part before the delayed right ventricle.
        sokolow_mv: S in V1 plus the larger R of V5 and V6.
    """

    codes: tuple[str, ...]
    beat_kinds: tuple[str, ...]
    r_peaks_s: FloatArray
    p_onsets_s: FloatArray
    p_ends_s: FloatArray
    qrs_onsets_s: FloatArray
    qrs_ends_s: FloatArray
    t_onsets_s: FloatArray
    t_ends_s: FloatArray
    rate_bpm: float
    pr_ms: float | None
    qrs_ms: float
    qt_ms: float
    qtc_ms: float
    axis_deg: float
    sokolow_mv: float


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedEcg:
    """A simulated record with its truth, two reports, and labels as PTB-XL would write them (code -> likelihood)."""

    record: EcgRecord
    truth: Truth
    report_en: str
    report_de: str
    labels: dict[str, float]


def simulate(
    codes: Sequence[str],
    rng: np.random.Generator,
    *,
    fs_hz: float = 500.0,
    duration_s: float = 10.0,
    age_years: float | None = None,
    sex: str | None = None,
    noise: float = 1.0,
    rate_bpm: float | None = None,
) -> SimulatedEcg:
    """One ECG that shows the statements.

    Args:
        codes: Statements of `SUPPORTED`. Sinus rhythm is added where no rhythm is named.
        rng: The only source of chance.
        fs_hz: Samples a second, 50 or more.
        duration_s: Length in seconds, 2 to 3,600.
        age_years, sex: Drawn where None; they do not change the shape.
        noise: Factor on wandering baseline, muscle noise and mains hum; 0 for none.
        rate_bpm: Mean ventricular rate, 20 to 300; None draws one that suits the statements. At any other rate only
            the intervals follow (QT with the square root of the RR interval), not the statements of rate.

    Returns:
        Twelve leads in mV with what is true of them.

    Raises:
        QueryError: A statement is unknown, not simulated or excluded by another; a number is out of range; an
            extrasystole or sinus arrhythmia is wanted in less than 8 s.
    """
    full = complete_codes(codes)
    if not (fs_hz >= 50 and 2 <= duration_s <= 3600 and noise >= 0):
        raise QueryError(f"fs_hz={fs_hz}, duration_s={duration_s}, noise={noise} (expected >= 50, 2 to 3,600, >= 0)")
    if rate_bpm is not None and not 20 <= rate_bpm <= 300:
        raise QueryError(f"rate_bpm={rate_bpm} (expected 20 to 300)")
    known = frozenset(full)
    if duration_s < _SHORTEST_S and known & {"PVC", "PAC", "BIGU", "SARRH"}:
        raise QueryError(
            f"{duration_s} s are too short to show {', '.join(full)} (expected {_SHORTEST_S:.0f} s or more)"
        )
    if "PACE" in known and ("AFIB" in known or rng.random() < 0.5):
        known |= {"VVI"}  # paced in the ventricle alone; no P wave is drawn
    rr_s = draw_mean_rr(known, rng) if rate_bpm is None else 60.0 / rate_bpm
    dower = chest_gains(rng)
    shapes = {"N": draw_beat(known, rr_s, dower, rng)}
    normal = shapes["N"]
    rhythm = draw_rhythm(known, rr_s, normal.qt_ms / 1000, (normal.pr_ms or 0.0) / 1000, duration_s, rng)
    shapes["P"] = normal
    shapes[VENTRICULAR] = draw_extrasystole(normal, rng)
    shapes[ATRIAL] = draw_atrial_extrasystole(normal, rng)
    signal = _signal(known, shapes, rhythm, dower, round(duration_s * fs_hz), fs_hz, noise, rng)
    truth = _truth(full, shapes, rhythm, dower, duration_s, rr_s)
    age = (
        float(np.clip(rng.normal(60 if known & {"NORM"} else 68, 15), 18, 95).round())
        if age_years is None
        else age_years
    )
    record = EcgRecord(
        signal_mv=signal, fs_hz=fs_hz, leads=LEADS, age_years=age, sex=sex or ("F", "M")[int(rng.integers(2))],
        notes=("simulated",),
    )  # fmt: skip
    figures = {
        "rate": f"{truth.rate_bpm:.0f}",
        "pr": f"{truth.pr_ms or 0:.0f}",
        "qrs": f"{truth.qrs_ms:.0f}",
        "qtc": f"{truth.qtc_ms:.0f}",
        "sokolow": f"{truth.sokolow_mv:.1f}",
    }
    english, german = write_reports(full, figures, truth.axis_deg, rng)
    return SimulatedEcg(record, truth, english, german, likelihoods(full))


def simulate_corpus(n: int, seed: int, fs_hz: float = 100.0) -> Iterator[SimulatedEcg]:
    """`n` ECGs of 10 s with a mix of statements; any 24 or more hold every supported statement.

    The i-th record depends on `seed` and i alone.

    Args:
        n: How many ECGs.
        seed: Of the whole corpus.
        fs_hz: Samples a second.

    Returns:
        ECGs with records, truth, labels and reports, made one by one.
    """
    for number in range(n):
        rng = np.random.default_rng((seed, number))
        yield simulate(draw_codes(number, rng), rng, fs_hz=fs_hz)


def _signal(
    codes: frozenset[str], shapes: dict[str, BeatShape], rhythm: Rhythm, dower: FloatArray, n_samples: int,
    fs_hz: float, noise: float, rng: np.random.Generator,
) -> NDArray[np.float32]:  # fmt: skip
    times = np.arange(n_samples) / fs_hz
    vector = np.zeros((3, n_samples))
    breath = float(rng.uniform(0.18, 0.32))
    breath_phase = float(rng.uniform(0, 2 * np.pi))
    for onset, kind in zip(rhythm.onsets_s, rhythm.kinds, strict=True):
        shape = shapes[kind]
        first = max(0, int((onset - 0.45) * fs_hz))
        last = min(n_samples, int((onset + shape.qt_ms / 1000 + 0.15) * fs_hz) + 1)
        if first >= last:
            continue
        local = times[first:last] - onset
        # The heart moves a little under the electrodes with every breath.
        size = 1 + 0.03 * np.sin(2 * np.pi * breath * onset + breath_phase) + rng.normal(0, 0.008)
        for wave in shape.waves:
            vector[:, first:last] += size * wave.at(local)
        for spike in shape.spikes_s:
            width = float(np.hypot(_SPIKE_S, 0.4 / fs_hz))  # low-pass: wider and lower, the area stays
            pulse = _SPIKE_S / width * np.exp(-0.5 * np.square((local - spike) / width))
            vector[:, first:last] += _SPIKE_MV[:, None] * pulse
    if "AFIB" in codes:
        vector += fibrillation(times, rng)
    if rhythm.flutter_hz is not None:
        vector += flutter(times, rhythm.flutter_hz, float(rhythm.onsets_s[0]), rng)
    eight = dower @ vector
    if noise > 0:
        eight += noise * _noise(times, fs_hz, breath, rng)
    return to_twelve(eight).astype(np.float32)


def _noise(times: FloatArray, fs_hz: float, breath_hz: float, rng: np.random.Generator) -> FloatArray:
    """Baseline, muscle and mains for the eight leads, shape (8, n), mV; I and II share what the right arm does."""
    n = len(times)
    slow = np.zeros((8, n))
    for hz, high in ((breath_hz, 0.05), (float(rng.uniform(0.04, 0.12)), 0.06)):
        swing = np.stack([np.sin(2 * np.pi * hz * times), np.cos(2 * np.pi * hz * times)])
        slow += (rng.normal(0, 0.4, (8, 2)) * rng.uniform(0.1, 1.0) * high) @ swing
    muscle = rng.normal(0, 1.0, (8, n)) * float(rng.choice((0.003, 0.006, 0.012), p=(0.5, 0.35, 0.15)))
    if fs_hz > 150:  # muscle noise ends at the recorder's 150 Hz; a short mean comes near enough
        muscle[:, 1:] = 0.7 * (muscle[:, 1:] + muscle[:, :-1])
    if fs_hz >= 250 and rng.random() < 0.3:
        hum = np.sin(2 * np.pi * float(rng.choice((50.0, 60.0))) * times + rng.uniform(0, 6))
        muscle += rng.uniform(-0.008, 0.008, (8, 1)) * hum
    return np.asarray(slow + muscle, dtype=np.float64)


def _truth(
    codes: tuple[str, ...], shapes: dict[str, BeatShape], rhythm: Rhythm, dower: FloatArray, duration_s: float,
    rr_s: float,
) -> Truth:  # fmt: skip
    fine = np.linspace(-0.02, 0.22, 1201)
    peaks, rows = [], []
    parts = {}
    for kind in set(rhythm.kinds):
        shape = shapes[kind]
        two = dower[1] @ shape.qrs.at(fine)
        p_limits = shape.p.limits() if shape.p is not None else (np.nan, np.nan)
        parts[kind] = float(fine[np.abs(two).argmax()]), (*p_limits, *shape.qrs.limits(), *shape.t.limits())
    kinds = []
    for onset, kind in zip(rhythm.onsets_s, rhythm.kinds, strict=True):
        peak, limits = parts[kind]
        if 0 <= onset + peak < duration_s:
            peaks.append(onset + peak)
            rows.append(onset + np.array(limits))
            kinds.append(kind)
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    normal = shapes["N"]
    rr_mean = float(np.diff(peaks).mean()) if len(peaks) > 1 else float("nan")
    return Truth(
        codes=codes, beat_kinds=tuple(kinds), r_peaks_s=np.array(peaks), p_onsets_s=table[:, 0], p_ends_s=table[:, 1],
        qrs_onsets_s=table[:, 2], qrs_ends_s=table[:, 3], t_onsets_s=table[:, 4], t_ends_s=table[:, 5],
        rate_bpm=60.0 / rr_mean, pr_ms=normal.pr_ms, qrs_ms=normal.qrs_ms, qt_ms=normal.qt_ms,
        qtc_ms=normal.qt_ms / float(np.sqrt(rr_s)), axis_deg=normal.axis_deg,
        sokolow_mv=sokolow_mv(normal.qrs, dower),
    )  # fmt: skip
