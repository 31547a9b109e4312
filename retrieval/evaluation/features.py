"""Hand-made features: NeuroKit2 finds the beats, the median beat of each lead gives amplitudes; a baseline to beat."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ModelError
from ecgkin.retrieval.evaluation.ranking import Floats, unit_rows

_FS_HZ = 250.0
_BEFORE_S, _AFTER_S = 0.25, 0.45
# Where in the median beat (seconds from the R peak) each amplitude is looked for, and how it is taken.
WINDOWS: tuple[tuple[str, float, float, str], ...] = (
    ("P", -0.24, -0.08, "max"),
    ("Q", -0.06, 0.0, "min"),
    ("R", -0.04, 0.04, "max"),
    ("S", 0.0, 0.08, "min"),
    ("ST", 0.08, 0.12, "mean"),
    ("T up", 0.15, 0.40, "max"),
    ("T down", 0.15, 0.40, "min"),
)
RHYTHM = ("rate", "RR spread", "RR step", "QRS width", "beats")
N_FEATURES = len(RHYTHM) + len(LEADS) * len(WINDOWS)


def hand_made(record: EcgRecord) -> NDArray[np.float64]:
    """Rhythm and amplitudes of one record, shape (89,); NaN where beats or a lead are missing.

    Rate in beats/min, RR spread (standard deviation) and step (root mean square of differences) in s, QRS width in s
    (how long the median beat moves faster than a fifth of its fastest), amplitudes in mV against the PR segment.

    Raises:
        ModelError: NeuroKit2 is not installed.
    """
    try:
        import neurokit2 as nk
    except ImportError as error:
        raise ModelError("hand-made features need neurokit2", hint="pip install 'ecgkin[drafts]'") from error
    out = np.full(N_FEATURES, np.nan)
    signal = np.nan_to_num(record.resampled(_FS_HZ).standard())
    lead = (
        signal[LEADS.index("II")]
        if np.abs(signal[LEADS.index("II")]).max() > 0
        else signal[np.abs(signal).sum(1).argmax()]
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cleaned = nk.ecg_clean(lead, sampling_rate=int(_FS_HZ))
            peaks = np.asarray(nk.ecg_peaks(cleaned, sampling_rate=int(_FS_HZ))[1]["ECG_R_Peaks"], dtype=np.int64)
    except (ValueError, IndexError, ZeroDivisionError, KeyError):
        return out  # a flat or broken lead: no beats, and a row of unknowns says so
    rr = np.diff(peaks) / _FS_HZ
    if len(rr):
        out[0], out[1] = 60 / rr.mean(), rr.std()
        out[2] = np.sqrt((np.diff(rr) ** 2).mean()) if len(rr) > 1 else 0.0
    out[4] = len(peaks)
    before, after = round(_BEFORE_S * _FS_HZ), round(_AFTER_S * _FS_HZ)
    usable = peaks[(peaks >= before) & (peaks + after < signal.shape[1])]
    if not len(usable):
        return out
    beats = np.median(np.stack([signal[:, p - before : p + after] for p in usable]), axis=0)
    base = beats[:, before - round(0.08 * _FS_HZ) : before - round(0.05 * _FS_HZ)].mean(axis=1, keepdims=True)
    beats = beats - base
    speed = np.abs(np.diff(beats, axis=1)).max(axis=0)
    around = speed[before - round(0.1 * _FS_HZ) : before + round(0.12 * _FS_HZ)]
    out[3] = (around > 0.2 * around.max()).sum() / _FS_HZ if around.max() > 0 else np.nan
    at = len(RHYTHM)
    for _, start, end, how in WINDOWS:
        part = beats[:, before + round(start * _FS_HZ) : before + round(end * _FS_HZ) + 1]
        out[at : at + len(LEADS)] = getattr(part, how)(axis=1)
        at += len(LEADS)
    return out


def feature_vectors(gallery: Floats, queries: Floats) -> tuple[Floats, Floats]:
    """Features to unit rows: unknowns become the gallery's median, then each feature is scaled to unit spread there.

    Outliers are cut at three spreads: one absurd amplitude must not decide on its own who is near.

    Args:
        gallery, queries: Shapes (n, n_features), NaN where unknown.
    """
    middle = np.nan_to_num(np.nanmedian(gallery, axis=0))
    spread = np.nan_to_num(np.nanstd(gallery, axis=0), nan=1.0)
    spread = np.where(spread > 1e-9, spread, 1.0)

    def scaled(rows: Floats) -> Floats:
        filled = np.where(np.isnan(rows), middle, rows)
        return unit_rows(np.clip((filled - middle) / spread, -3, 3))

    return scaled(gallery), scaled(queries)


def features_of(records: Iterable[EcgRecord]) -> Floats:
    """Features of many records, shape (n, 89), float32."""
    return np.stack([hand_made(record) for record in records]).astype(np.float32)
