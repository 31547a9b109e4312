"""What all readers share: named channels become an `EcgRecord`, and everything odd about them becomes a note."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.laws import law_notes
from ecgkin.retrieval.ecg.leads import (
    LEADS,
    canonical_lead,
    derive_limb_leads,
    foreign_letters,
    plainly_named,
    signed_lead,
)
from ecgkin.retrieval.ecg.plausible import amplitude_notes
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError
from ecgkin.retrieval.notes import Note, NoteCode

MAX_SAMPLES = 100_000_000
"""Most samples (leads x length) in a file: four leads at 250 Hz for 24 h, or twelve at 500 Hz for 4.6 h."""
MAX_FS_HZ = 100_000.0
_MV_PER = {
    "v": 1e3,
    "mv": 1.0,
    "uv": 1e-3,
    "nv": 1e-6,
    "": 1.0,
    **dict.fromkeys(("microvolt", "microvolts", "uvolt"), 1e-3),
    **dict.fromkeys(("millivolt", "millivolts", "mvolt"), 1.0),
    **dict.fromkeys(("volt", "volts"), 1e3),
}
_LONGEST_NAME = 60
_SLOWEST_HZ = 20.0  # a QRS complex is over before the next sample
Number = TypeVar("Number", bound=np.generic)


def millivolts_per(unit: str) -> float | None:
    """Factor from a unit to mV ("uV" -> 0.001; an empty unit counts as mV), None when it is no voltage.

    >>> millivolts_per("µV"), millivolts_per("mmHg")
    (0.001, None)
    """
    # U+00B5 and U+03BC, and the first one in UTF-8 read as Latin-1.
    key = unit.strip().lower().replace("â\u00b5", "u").replace("\u00b5", "u").replace("\u03bc", "u")
    return _MV_PER.get(key)


def named(leads: Sequence[str]) -> str:
    """Leads in a sentence.

    >>> named(["V1"]), named(["I", "aVR"])
    ('lead V1', 'leads I, aVR')
    """
    return f"lead{'s' * (len(leads) > 1)} {', '.join(leads)}"


def checked_rate(fs_hz: float, where: str) -> float:
    """The rate when it can be one.

    Args:
        fs_hz: Samples a second, as the file says.
        where: File name for messages.

    Returns:
        The same as a float.

    Raises:
        RecordError: It is not finite, not positive, or above `MAX_FS_HZ`.
    """
    if not math.isfinite(fs_hz) or not 0 < fs_hz <= MAX_FS_HZ:
        raise RecordError(f"{where}: sampling rate is {fs_hz} Hz (expected above 0, up to {MAX_FS_HZ:.0f})")
    return float(fs_hz)


def levelled(channels: Sequence[tuple[str, NDArray[np.float32]]]) -> list[tuple[str, NDArray[np.float32]]]:
    """The same channels, all as long as the longest: what is not there is NaN.

    >>> levelled([("I", np.float32([1, 2])), ("II", np.float32([3]))])[1][1].tolist()
    [3.0, nan]
    """
    longest = max((samples.size for _, samples in channels), default=0)
    return [(name, np.pad(row, (0, longest - row.size), constant_values=np.nan)) for name, row in channels]


def without_pulse(
    rows: Sequence[NDArray[Number]], millivolt: float, step: float, fs_hz: float, notes: list[str]
) -> list[NDArray[Number]]:
    """The leads without the calibration pulse that some machines and converters put behind the ECG.

    The pulse is 0, 1 mV, 0 at the same samples of every lead, limb leads that follow from others included.

    Args:
        rows: One array a lead, in whatever unit.
        millivolt: How much 1 mV is in it.
        step: By which the pulse may miss 0 and 1 mV.
        fs_hz: Samples a second.
        notes: What was cut off is added.

    Returns:
        The rows, all shorter by the pulse, or as they were.
    """
    if len(rows) < 2 or len({row.size for row in rows}) != 1:
        return list(rows)
    values = np.stack([np.asarray(row, dtype=np.float64) for row in rows])
    alike = np.all(np.abs(values - millivolt) <= step, axis=0) | np.all(np.abs(values) <= step, axis=0)
    n = values.shape[1]
    last = n if alike.all() else n - int(np.argmin(alike[::-1]))
    pulse = np.median(values[:, last:], axis=0)
    high = pulse > millivolt / 2
    if last == 0 or not high.any() or high.all():
        return list(rows)
    seconds, height = pulse.size / fs_hz, float(np.median(pulse[high])) / millivolt
    notes.append(f"the last {seconds:g} s are the machine's calibration pulse of {height:.3g} mV: left out")
    return [row[:last] for row in rows]


def assemble(
    channels: Sequence[tuple[str, NDArray[np.float32]]],
    fs_hz: float,
    *,
    where: str,
    record_id: str = "",
    patient_id: str | None = None,
    age_years: float | None = None,
    sex: str | None = None,
    notes: Sequence[str] = (),
    header: SourceHeader | None = None,
) -> EcgRecord:
    """A record in standard lead order from channels as a file names them.

    Channels that are none of the twelve leads are left out, and so are leads without a single sample. Limb leads that
    are not in the file are computed where two of I, II, III are there. Each of these is noted, as are flat leads,
    missing samples, limb leads that contradict each other and amplitudes that no ECG has.

    Args:
        channels: (name, samples in mV), all of one length.
        fs_hz: Samples a second.
        where: File name for messages.
        record_id, patient_id, age_years, sex, header: As in `EcgRecord`.
        notes: What the reader has found already.

    Returns:
        The record; what was computed, left out or odd stands in its notes.

    Raises:
        RecordError: No channel is a lead, a lead comes twice, all leads are empty, or no ECG has such amplitudes.
    """
    said = list(notes)
    if fs_hz < _SLOWEST_HZ:
        said.append(f"a sampling rate of {fs_hz:g} Hz shows no beats: is it stated in kHz?")
    leads = _by_lead(channels, where, said)
    for lead in [name for name, row in leads.items() if row.size and np.isnan(row).all()]:
        said.append(Note(NoteCode.LEAD_EMPTY, lead=lead))
        del leads[lead]
    if not leads or not next(iter(leads.values())).size:
        raise RecordError(f"{where}: the leads hold no samples")
    said += law_notes(leads)
    derived = derive_limb_leads(leads)
    if derived:
        base = " and ".join([name for name in ("I", "II", "III") if name in leads][:2])
        said.append(Note(NoteCode.LEADS_COMPUTED, leads=", ".join(derived), base=base))
        leads.update(derived)
    order = tuple(name for name in LEADS if name in leads)
    missing = [name for name in LEADS if name not in leads]
    if missing:
        said.append(Note(NoteCode.LEADS_MISSING, leads=", ".join(missing)))
    gaps: dict[int, list[str]] = {}
    flat = []
    for name in order:
        row = leads[name]
        gaps.setdefault(int(np.isnan(row).sum()), []).append(name)
        if row.size > 1 and float(np.nanmax(row)) == float(np.nanmin(row)):
            flat.append(name)
    said += [
        Note(NoteCode.SAMPLES_MISSING, leads=", ".join(some), n=n, total=leads[some[0]].size)
        for n, some in gaps.items()
        if n
    ]
    if flat:
        said.append(Note(NoteCode.LEADS_FLAT, leads=", ".join(flat)))
    signal = np.stack([leads[name] for name in order])
    said += amplitude_notes(signal, where)
    return EcgRecord(signal, fs_hz, order, record_id, patient_id, age_years, sex, tuple(said), header)


def _by_lead(
    channels: Sequence[tuple[str, NDArray[np.float32]]], where: str, said: list[str]
) -> dict[str, NDArray[np.float32]]:
    """Samples by standard lead, upright, NaN where one is not finite; what was left out or turned goes to `said`."""
    notes = tuple(said)
    leads: dict[str, NDArray[np.float32]] = {}
    upright = {lead for name, _ in channels if (lead := canonical_lead(name)) is not None}
    plain = {lead for name, _ in channels if (lead := plainly_named(name)) is not None}
    foreign = ""
    for name, samples in channels:
        lead, sign = signed_lead(name)
        if lead is None:
            said.append(Note(NoteCode.CHANNEL_LEFT_OUT, name=repr(name[:_LONGEST_NAME])))
            if letters := foreign_letters(name):
                foreign = f"{name[:_LONGEST_NAME]!r} is spelled with letters that are not Latin ({letters})"
                said.append(foreign)
        elif sign > 0 and lead in plain and plainly_named(name) is None:
            said.append(f"channel {name[:_LONGEST_NAME]!r} is left out: lead {lead} is there under its plain name")
        elif sign < 0 and lead in upright:
            said.append(
                f"channel {name[:_LONGEST_NAME]!r} is lead {lead} upside down, which is there as it is: left out"
            )
        elif lead in leads:
            raise RecordError(f"{where}: lead {lead} comes twice", hint="one of the two is named wrongly")
        else:
            if sign < 0:
                said.append(f"lead {lead} is recorded upside down ({name[:_LONGEST_NAME]}): turned back")
            leads[lead] = (sign * np.where(np.isfinite(samples), samples, np.nan)).astype(np.float32)
    if not leads:
        names = ", ".join(repr(name[:_LONGEST_NAME]) for name, _ in channels[:15]) or "none"
        reasons = "".join(f"; {note}" for note in notes[:4])
        raise RecordError(
            f"{where}: no channel is a standard lead (found {names}){reasons or (foreign and f'; {foreign}')}",
            hint=f"expected {', '.join(LEADS)}",
        )
    return leads
