"""From items that were read to vectors, in this process or in a worker; what fails is named, the rest goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ecgkin.index.case import Case
from ecgkin.index.header_facts import filled_from
from ecgkin.index.ingest_items import IngestItem, IngestReport, Loaded
from ecgkin.index.protocol import Vectors
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EcgkinError

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
    from ecgkin.retrieval.ecg.pictures import picture_notes

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
