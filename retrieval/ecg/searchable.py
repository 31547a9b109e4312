"""Which part of a record a page shows, and whether there is an ECG in it at all."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.likeness import averaged, beat_likeness, lead_likeness
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError
from ecgkin.retrieval.notes import Note, NoteCode

PAGE_S = 10.0
"""What a standard page shows: 250 mm at 25 mm/s."""
SHORTEST_S = 1.0
"""Less than one beat at 60 a minute is nothing to compare."""
# What is judged for beats: leads, seconds, share of samples that are there.
_LEAST_LEADS, _LEAST_S, _KNOWN = 6, 2.5, 0.9
_PEAKED, _TOGETHER = 2.5, 0.8
_ALIKE, _ONE_LEAD = 0.7, 0.96  # complexes of an ECG are more alike than this, its leads less
NO_ECG = frozenset({NoteCode.NO_BEATS, NoteCode.LEADS_ALIKE})
"""Notes that say that a record shows no ECG, or not the one that its leads are named for."""
# A second more or less is not worth a word: monitors write 10.24 s, some carts 9.8 s.
_SHORT, _LONG = 0.9 * PAGE_S, 1.1 * PAGE_S


def searchable(record: EcgRecord, start_s: float = 0.0) -> EcgRecord:
    """The part of a record that is compared with others: at most one page of it.

    Records of one page's length come back as they are. Of longer ones the page from `start_s` on is taken, shorter ones
    are used whole, and both are said in `notes`.

    Args:
        record: Any ECG; not changed.
        start_s: Where in the record the page begins.

    Returns:
        A record of ten seconds at the most.

    Raises:
        RecordError: `start_s` is outside the record, less than `SHORTEST_S` is left, or no lead moves.

    >>> one_minute = EcgRecord(np.sin(np.arange(6000, dtype=np.float32))[None], 100.0, ("II",))
    >>> part = searchable(one_minute)
    >>> part.duration_s, part.notes
    (10.0, ('the record lasts 60 s, a page shows 10 s: seconds 0 to 10 are used',))
    """
    total = record.duration_s
    if not (math.isfinite(start_s) and 0 <= start_s < total):
        raise RecordError(f"the page begins at {start_s:g} s (the record lasts {total:g} s)", hint="choose less")
    part, left = record, total
    if start_s > 0 or total > _LONG:
        part = record.window(start_s, PAGE_S)
        left = part.duration_s
        end_s = start_s + left
        part = part.noted(Note(NoteCode.RECORD_WINDOWED, total_s=total, page_s=PAGE_S, start_s=start_s, end_s=end_s))
    elif total < _SHORT:
        part = record.noted(Note(NoteCode.RECORD_SHORT, total_s=total, page_s=PAGE_S))
    if left < SHORTEST_S:
        raise RecordError(
            f"the record holds {left:g} s from second {start_s:g} on (expected at least {SHORTEST_S:g} s)",
            hint="a page shows 10 s",
        )
    known = np.isfinite(part.signal_mv)
    if not known.any():
        raise RecordError(
            f"no lead holds a sample from second {start_s:g} to {start_s + left:g}",
            hint="let the page begin elsewhere",
        )
    low = np.where(known, part.signal_mv, np.inf).min(axis=1)
    high = np.where(known, part.signal_mv, -np.inf).max(axis=1)
    if not (high > low).any():
        raise RecordError("every lead is flat: no ECG in this record", hint="were the electrodes connected?")
    return part.noted(*_doubts(part))


def _doubts(record: EcgRecord) -> list[Note]:
    """Why this is no ECG of these leads."""
    rows = _judged(record)
    if rows is None:
        return []
    if not _beat(rows, record.fs_hz):
        return [Note(NoteCode.NO_BEATS)]
    return [Note(NoteCode.LEADS_ALIKE)] if lead_likeness(rows) > _ONE_LEAD else []


def _judged(record: EcgRecord) -> NDArray[np.float64] | None:
    """The leads that move, gaps as zeros; None where they are too few or too short to be judged."""
    rows = np.nan_to_num(record.signal_mv[np.isfinite(record.signal_mv).mean(axis=1) > _KNOWN], nan=0.0).astype(float)
    rows = rows[rows.std(axis=1) > 0] if rows.size else rows
    return None if len(rows) < _LEAST_LEADS or record.duration_s < _LEAST_S else rows


def has_beats(record: EcgRecord) -> bool:
    """Whether a record moves as hearts do: steep stretches, alike, with rest between them or in all leads at once.

    Noise, and an EEG scaled up, have neither: the energy between 5 and 25 Hz is the same all the time (its 95th
    percentile below 2.5 times its median; at least 9 times in 250 records of PTB-XL, 1.4 to 1.9 in noise of four
    colours), and the leads do not follow from three of them (under 80 % of the energy; at least 88 % there, 60 % in
    noise). Ventricular tachycardia has no rest either, but moves in all leads together. Muscle artefacts come in bursts
    and an EEG moves in all leads: what is steep in them is not alike (`beat_likeness`), nor is it in ventricular
    fibrillation, which has no beats.

    Args:
        record: Any ECG; one of fewer than `_LEAST_LEADS` leads that move, or shorter than `_LEAST_S`, is not judged.

    >>> noise = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    >>> from ecgkin.retrieval.ecg.leads import LEADS
    >>> has_beats(EcgRecord(noise, 500.0, LEADS))
    False
    """
    rows = _judged(record)
    return rows is None or _beat(rows, record.fs_hz)


def _beat(rows: NDArray[np.float64], fs_hz: float) -> bool:
    """`has_beats` of leads without gaps, shape (n_leads, n_samples)."""
    alike = beat_likeness(rows, fs_hz)
    if alike is not None and alike < _ALIKE:
        return False
    band = _band(rows, fs_hz)
    scale = band.std(axis=1, keepdims=True)
    if not (scale > 0).all():
        return True
    band /= scale
    energy = averaged(band**2, fs_hz / 10).mean(axis=0)
    if float(np.percentile(energy, 95)) > _PEAKED * float(np.median(energy)):
        return True
    shares = np.linalg.svd(band, compute_uv=False) ** 2
    return float(shares[:3].sum() / shares.sum()) > _TOGETHER


def steep_energy(rows: NDArray[np.float64], fs_hz: float) -> NDArray[np.float64]:
    """Energy between 5 and 25 Hz of each lead over time, scaled to the same, averaged over 0.1 s.

    Args:
        rows: Leads without gaps, shape (n_leads, n_samples).
        fs_hz: Samples a second.

    Returns:
        Shape (n_leads, n_samples less 0.2 s); zeros where a lead does not move.
    """
    band = _band(rows, fs_hz)
    scale = band.std(axis=1, keepdims=True)
    band = np.divide(band, scale, out=np.zeros_like(band), where=scale > 0)
    return np.asarray(averaged(band**2, fs_hz / 10))


def _band(rows: NDArray[np.float64], fs_hz: float) -> NDArray[np.float64]:
    """5 to 25 Hz, without the ends."""
    band = averaged(rows, fs_hz / 50) - averaged(rows, fs_hz / 10)
    return band[:, round(fs_hz / 10) : -round(fs_hz / 10) or None]
