"""Queries: an ECG, a picture, words, or two of them become a unit vector, with what was learnt on the way.

`image_query`, `record_query`, `text_query`, `mixed_query` and `vector_query` make a `Query`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import searchable
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.pictures import encode_printed, reads_pages
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.notes import Note, NoteCode

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.retrieval.ecg.page.reading import PageReading
    from ecgkin.retrieval.search.words.parts import Understood
    from ecgkin.retrieval.search.words.plan import Plan

MAX_TEXT = 10_000


@dataclass(slots=True)
class Query:
    """A query on its way: its vector and what was learnt while it was made.

    Attributes:
        vector: Of length 1, shape (dim,).
        kind: "image", "record", "text", two of them joined by "+", or what the caller of `vector_query` says.
        printed: What was read of a picture, where the encoder looks at pages or at signals.
        warnings: What was odd about the query, as notes with codes.
        timings_ms: What took how long: "read" (of an ECG) and "encode".
        understood: Of words, where they were not only embedded.
        plan: How the base is asked for them.
        record: The samples of a recorded ECG, or those that were read off a picture; None for words.
    """

    vector: NDArray[np.float32]
    kind: str
    printed: PrintedEcg | None = None
    warnings: list[Note] = field(default_factory=list)
    timings_ms: dict[str, float] = field(default_factory=dict)
    understood: Understood | None = None
    plan: Plan | None = None
    record: EcgRecord | None = None

    @property
    def page(self) -> PageReading | None:
        """What was understood of a picture, where it was read."""
        return None if self.printed is None else self.printed.page


def image_query(encoder: Encoder, image: Image.Image | PrintedEcg | str | Path) -> Query:
    """A query by a picture of an ECG page, or by the path of one.

    The picture is read once (`read_printed`). An encoder of pages is given the page, one of signals (a published
    system) the signals that were read off it, any other the picture itself.

    Args:
        encoder: Of the case base.
        image: The picture, what was read of it before, or its path.

    Returns:
        With what was read, where the encoder looks at pages or at signals.

    Raises:
        ImageError: No picture, or no ECG in it.
        QueryError: The encoder has no vector for it.
    """
    from ecgkin.retrieval.ecg.formats.pictures import picture_notes
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed

    start = time.perf_counter()
    picture = _open_picture(image) if isinstance(image, str | Path) else image
    printed = picture if isinstance(picture, PrintedEcg) else None
    shown = picture.picture if isinstance(picture, PrintedEcg) else picture
    notes = list(picture_notes(shown))
    if printed is None and reads_pages(encoder):
        printed = read_printed(shown)
    read = time.perf_counter()
    vector = encoder.encode_images([shown])[0] if printed is None else encode_printed(encoder, [printed])[0]
    if printed is not None:
        notes += printed.page.warnings
        notes += _read_off(encoder, printed)
    timings = {"read": elapsed_ms(start, read), "encode": elapsed_ms(read)}
    record = None if printed is None else printed.record
    return Query(_unit(encoder, vector), "image", printed, notes_of(notes), timings, record=record)


def _read_off(encoder: Encoder, printed: PrintedEcg) -> list[str]:
    """What is said where a page is searched by its signals alone, with what the encoder makes of them."""
    if not getattr(encoder, "reads_signals", False) or printed.record is None:
        return []
    of_record = getattr(encoder, "record_notes", None)
    return [Note(NoteCode.SIGNALS_OF_PAGE, name=encoder.name), *(of_record(printed.record) if of_record else ())]


def record_query(encoder: Encoder, record: EcgRecord | str | Path) -> Query:
    """A query by a recorded ECG, or by the file of one; of a long one the first page counts (`searchable`).

    Args:
        encoder: Of the case base.
        record: The record, or its path.

    Returns:
        The query, with what the reader and the encoder said of the record.

    Raises:
        RecordError: The file cannot be read, or there is no ECG in it.
        QueryError: The encoder has no vector for it.
    """
    start = time.perf_counter()
    ecg = record if isinstance(record, EcgRecord) else _open_record(record)
    read = time.perf_counter()
    ecg = searchable(ecg)
    warnings = list(ecg.notes)
    if ecg.missing_leads:
        warnings.append(Note(NoteCode.LEADS_MISSING, leads=", ".join(ecg.missing_leads)))
    # Encoders with signal rules of their own (`encoders.published`) say what they did to the record.
    own_notes = getattr(encoder, "record_notes", None)
    if own_notes is not None:
        warnings += own_notes(ecg)
    vector = encoder.encode_records([ecg])[0]
    timings = {"read": elapsed_ms(start, read), "encode": elapsed_ms(read)}
    return Query(_unit(encoder, vector), "record", warnings=notes_of(warnings), timings_ms=timings, record=ecg)


def text_query(encoder: Encoder, text: str) -> Query:
    """A query by words.

    Args:
        encoder: Of the case base.
        text: A report, a question, a statement's name.

    Returns:
        The query.

    Raises:
        QueryError: They are none, or more than `MAX_TEXT` characters; or the encoder has no vector for them.
    """
    checked_text(text)
    start = time.perf_counter()
    vector = encoder.encode_texts([text])[0]
    return Query(_unit(encoder, vector), "text", timings_ms={"encode": elapsed_ms(start)})


def checked_text(text: str) -> str:
    """Words that can be searched by, as they are.

    Raises:
        QueryError: They are none, or more than `MAX_TEXT` characters.
    """
    if not isinstance(text, str) or not text.strip():
        raise QueryError(f"query text is {text!r} (expected words)")
    if len(text) > MAX_TEXT:
        raise QueryError(f"query text has {len(text)} characters (expected at most {MAX_TEXT})")
    return text


def vector_query(encoder: Encoder, vector: NDArray[np.float32], kind: str) -> Query:
    """A query by a vector of this encoder, shape (dim,), of any length.

    Args:
        encoder: Whose vector it is.
        vector: Shape (dim,).
        kind: What the result calls the query.

    Returns:
        The query, its vector at length 1.

    Raises:
        QueryError: The vector is not finite or has no length.
    """
    return Query(_unit(encoder, vector), kind, timings_ms={"encode": 0.0})


def mixed_query(ecg: Query, words: Query, weight: float) -> Query:
    """The weighted mean of a query by an ECG and one by words, scaled to length 1 again.

    Args:
        ecg: By a picture or a record.
        words: By text.
        weight: Share of the ECG, 0 to 1.

    Returns:
        The query, with the warnings of the ECG and the time of both.

    Raises:
        QueryError: The two cancel out.
    """
    mixed = weight * ecg.vector + (1.0 - weight) * words.vector
    length = float(np.linalg.norm(mixed))
    if length < 1e-6:
        raise QueryError("the ECG and the words point in opposite directions and cancel out", hint="change weight")
    timings = dict(ecg.timings_ms)
    timings["encode"] += words.timings_ms["encode"]
    return Query(
        (mixed / length).astype(np.float32), f"{ecg.kind}+text", ecg.printed, ecg.warnings, timings, record=ecg.record
    )


def elapsed_ms(start: float, end: float | None = None) -> float:
    """Milliseconds between two readings of `time.perf_counter`; without the second one, until now.

    Args:
        start: The earlier reading, seconds.
        end: The later one; None for now.
    """
    return 1000.0 * ((time.perf_counter() if end is None else end) - start)


def notes_of(said: Sequence[str]) -> list[Note]:
    """Everything said, each once; what carries no code (old records) as it is."""
    return [Note.of(text) for text in dict.fromkeys(said)]


def _unit(encoder: Encoder, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise QueryError(f"encoder {encoder.name} gave a vector of length {length} for this query")
    return np.asarray(vector / length, dtype=np.float32)


def _open_picture(path: str | Path) -> Image.Image:
    from ecgkin.retrieval.ecg.formats.pictures import open_picture

    return open_picture(path)


def _open_record(path: str | Path) -> EcgRecord:
    from ecgkin.retrieval.ecg.formats.read import read_ecg

    return read_ecg(path)
