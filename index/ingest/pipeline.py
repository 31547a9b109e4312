"""From files to a case base: what is there already is passed over, what cannot be read is reported, the rest goes on.

Each batch is one transaction, so an ingest that is killed goes on where it stood when it is started again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecgkin.index.case import Case, content_hash
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.folder.base import CaseBase
from ecgkin.index.milvus.address import MilvusAddress, is_milvus
from ecgkin.index.sources.items import IngestItem, IngestReport, Loaded
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import searchable
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import CaseBaseError, EcgkinError, EncoderMismatchError


def filled_from(case: Case, record: EcgRecord) -> Case:
    """The case with patient, age, sex, date, report, labels and facts of the header where it says nothing itself.

    Args:
        case: What is known without opening the file: a table comes before the header.
        record: As `read_ecg` gave it.

    Returns:
        Names, birthdays and other identifiers of the header never become part of a case.
    """
    header = record.header
    sex = record.sex if record.sex in ("F", "M") else None
    facts: dict[str, Any] = {
        "patient_id": case.patient_id if case.patient_id is not None else record.patient_id,
        "age_years": case.age_years if case.age_years is not None else record.age_years,
        "sex": case.sex if case.sex is not None else sex,
    }
    if header is not None:
        said = {
            "format": header.format if header.format != "WFDB" else "",
            "device": header.device,
            "filters": header.filters,
            "codes": list(header.codes),
            "measurements": dict(header.measurements),
        }
        facts["recorded_at"] = case.recorded_at or header.recorded_at
        facts["labels"] = case.labels or dict(header.labels)
        facts["meta"] = {**{name: value for name, value in said.items() if value}, **case.meta}
        if not case.report and header.report:
            facts["report"] = header.report
            facts["language"] = case.language or report_language(header.report) or None
    return replace(case, **facts)


_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pending:
    """An item that has been read and waits for its vector.

    Attributes:
        item, case: Where it comes from; the case with what the recording adds to it.
        loaded: The whole recording, or the picture.
        shown: What is encoded: one page of a record.
        is_new: Whether the base does not hold the case yet.
    """

    item: IngestItem
    case: Case
    loaded: Loaded
    shown: Loaded
    is_new: bool


def filled(case: Case, loaded: Loaded) -> Case:
    """A case with gaps (patient, age, sex) filled from what was read; a picture says nothing."""
    if not isinstance(loaded, EcgRecord):
        return case
    return filled_from(case, loaded)


def notes_of(shown: Loaded) -> tuple[str, ...]:
    """What is to be said of a record or a picture that came in."""
    from ecgkin.retrieval.ecg.formats.pictures import picture_notes

    return shown.notes if isinstance(shown, EcgRecord) else picture_notes(shown)


def encoded(pending: Sequence[Pending], encoder: Encoder, report: IngestReport) -> list[tuple[Pending, Vectors]]:
    """Each with its vector; where a batch fails, one by one, so that only the culprits are left out."""
    out: list[tuple[Pending, Vectors]] = []
    for group in (
        [p for p in pending if isinstance(p.loaded, EcgRecord)],
        [p for p in pending if not isinstance(p.loaded, EcgRecord)],
    ):
        try:
            out += zip(group, _vectors(group, encoder), strict=True)
            continue
        except Exception:  # judged again below, each on its own
            _LOG.debug("a batch of %d failed, trying one by one", len(group), exc_info=True)
        for p in group:
            try:
                out.append((p, _vectors([p], encoder)[0]))
            except Exception as error:  # an encoder that fails on one picture must not end the ingest
                report.failed.append((p.item.title, reason(error)))
    return out


def reason(error: Exception) -> str:
    """Why an item failed, for the report."""
    return str(error) if isinstance(error, EcgkinError) else f"{type(error).__name__}: {error}"


def _vectors(group: Sequence[Pending], encoder: Encoder) -> Vectors:
    records = [p.shown for p in group if isinstance(p.shown, EcgRecord)]
    pictures = [p.shown for p in group if isinstance(p.shown, Image.Image)]
    if not group:
        return np.empty((0, encoder.dim), dtype=np.float32)
    vectors = encoder.encode_records(records) if records else encoder.encode_images(pictures)
    if not np.isfinite(vectors).all():
        raise ValueError("the encoder gave NaN")
    return vectors


_LOG = logging.getLogger(__name__)

# A photograph of 12 megapixels takes 36 MB: one counts as many records, so that a batch stays below 300 MB.
_PICTURE_WEIGHT = 8


def open_or_create(path: str | Path, encoder: Encoder, *, preprocessing: dict[str, Any] | None = None) -> CaseBase:
    """The case base at a path, made if it is not there, for this encoder.

    Raises:
        EncoderMismatchError: It is there and was built with another encoder, or with other drawings.
        CaseBaseError: It cannot be opened or made.
    """
    from ecgkin.retrieval.ecg.drawing.raster import DRAWING_VERSION

    if not base_exists(path):
        return CaseBase.create(
            path,
            encoder.name,
            encoder.fingerprint,
            encoder.dim,
            drawing_version=str(DRAWING_VERSION),
            preprocessing=preprocessing,
        )
    base = CaseBase.open(path, encoder)
    if base.manifest.drawing_version != str(DRAWING_VERSION):
        found = base.manifest.drawing_version
        base.close()
        raise EncoderMismatchError(
            f"case base {path} was built with drawing version {found} (this is version {DRAWING_VERSION})",
            hint="search it as it is, or ingest into a new folder",
        )
    return base


def base_exists(path: str | Path) -> bool:
    """Whether something is there already: a folder that is not empty, a partition of a collection on Milvus."""
    if is_milvus(path):
        from ecgkin.index.milvus.base import MilvusBase

        return MilvusBase.exists(MilvusAddress.parse(path))
    folder = Path(path)
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def ingest_records(
    base: CaseBase,
    items: Iterable[IngestItem],
    encoder: Encoder,
    *,
    batch: int = 64,
    keep_records: bool = True,
    progress: Callable[[IngestReport], None] | None = None,
    workers: int = 1,
) -> IngestReport:
    """Put items into a base.

    Args:
        base: Built with this encoder.
        items: In any order; ids that are there already are passed over if they are as they were.
        encoder: Makes the vectors: `encode_records` for records, `encode_images` for pictures.
        batch: Records that are encoded and committed together.
        keep_records: Store the samples, so that neighbours can be drawn.
        progress: Called with the running report after each item that was passed over and after each batch.
        workers: Processes that read and encode; 1 does all in this one. Several machines: `ray_ingest`.

    Returns:
        The report; whatever it counts as added or updated is on the disk.

    Raises:
        EncoderMismatchError: The base was built with another encoder.
        CaseBaseError: The base cannot be written.
    """
    base.check_encoder(encoder)
    if workers > 1:
        from ecgkin.index.ingest.executors import ingest_in_processes

        return ingest_in_processes(
            base, items, encoder, workers, batch=batch, keep_records=keep_records, progress=progress
        )
    report = IngestReport()
    pending: list[Pending] = []
    for item in items:
        ready = _look_at(base, item, pending, report)
        if ready is not None:
            pending.append(ready)
            if sum(_PICTURE_WEIGHT if isinstance(p.loaded, Image.Image) else 1 for p in pending) >= batch:
                _commit(base, pending, encoder, keep_records, report)
                pending = []
        if progress is not None and (ready is None or not pending):
            progress(report)
    _commit(base, pending, encoder, keep_records, report)
    if progress is not None:
        progress(report)
    return report


def _look_at(base: CaseBase, item: IngestItem, pending: Sequence[Pending], report: IngestReport) -> Pending | None:
    """Decide what to do with an item; None when that is done."""
    try:
        known = base.get(item.case.case_id) if item.case.case_id in base else None
        digest = item.content() if item.content is not None else ""
        if known is not None and digest and known.content_hash == digest:
            take_over(base, known, item.case, report)
            return None
        if any(p.case.case_id == item.case.case_id for p in pending):
            report.failed.append((item.title, f"case id {item.case.case_id!r} comes twice"))
            return None
        if digest and known is None and _is_duplicate(base, item, digest, pending, report):
            return None
        loaded = item.load()
        if not digest:
            digest = content_hash(loaded if isinstance(loaded, EcgRecord) else loaded.convert("RGB").tobytes())
            if known is not None and known.content_hash == digest:
                take_over(base, known, item.case, report)
                return None
            if known is None and _is_duplicate(base, item, digest, pending, report):
                return None
        case = filled(replace(item.case, content_hash=digest), loaded)
        shown = searchable(loaded) if isinstance(loaded, EcgRecord) else loaded
        return Pending(item, case, loaded, shown, known is None)
    except CaseBaseError:
        raise
    except Exception as error:  # one odd file among thousands must not end the ingest; it is named in the report
        _LOG.debug("%s failed", item.title, exc_info=True)
        report.failed.append((item.title, reason(error)))
        return None


def _is_duplicate(
    base: CaseBase, item: IngestItem, digest: str, pending: Sequence[Pending], report: IngestReport
) -> bool:
    twins = base.case_ids_with_content(digest) or [p.case.case_id for p in pending if p.case.content_hash == digest]
    if twins:
        report.duplicates.append((item.title, twins[0]))
    return bool(twins)


def take_over(base: CaseBase, known: Case, case: Case, report: IngestReport) -> None:
    """Same content: only what the source now says otherwise is written; the vector stays.

    Args:
        base: Holds the case.
        known: As it is there.
        case: As the source has it now.
        report: Counts it as updated, or as skipped.
    """
    said = {
        f.name: getattr(case, f.name)
        for f in fields(Case)
        if f.name != "content_hash"
        and getattr(case, f.name) != (f.default_factory() if f.default_factory is not MISSING else f.default)
    }
    if "meta" in said:  # what the header said when the file was read stays
        said["meta"] = {**known.meta, **case.meta}
    merged = replace(known, **said)
    if merged == known:
        report.skipped += 1
    else:
        base.update([merged])
        report.updated += 1


def _commit(
    base: CaseBase, pending: Sequence[Pending], encoder: Encoder, keep_records: bool, report: IngestReport
) -> None:
    if not pending:
        return
    ready = encoded(pending, encoder, report)
    for is_new in (True, False):
        some = [(p, vector) for p, vector in ready if p.is_new == is_new]
        if not some:
            continue
        cases = [p.case for p, _ in some]
        vectors = np.stack([vector for _, vector in some])
        records = [p.loaded if keep_records and isinstance(p.loaded, EcgRecord) else None for p, _ in some]
        (base.add if is_new else base.update)(cases, vectors, records)
        if is_new:
            report.added += len(some)
        else:
            report.updated += len(some)
        noted = [(p.item.title, notes_of(p.shown)) for p, _ in some]
        report.notes += [(title, "; ".join(notes)) for title, notes in noted if notes]
