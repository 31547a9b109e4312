"""From a picture, a record, words or a vector to the `Query` that a case base is searched with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import searchable
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import QueryError

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.page import PageReading

MAX_TEXT = 10_000


@dataclass(slots=True)
class Query:
    """A query on its way: its vector and what was learnt while it was made.

    Attributes:
        vector: Of length 1, shape (dim,).
        kind: "image", "record", "text", two of them joined by "+", or what the caller of `vector_query` says.
        page: What was read from a picture, where the encoder looks at pages.
        warnings: For people.
        timings_ms: What took how long: "read" (of an ECG) and "encode".
    """

    vector: NDArray[np.float32]
    kind: str
    page: PageReading | None = None
    warnings: list[str] = field(default_factory=list)
    timings_ms: dict[str, float] = field(default_factory=dict)


def image_query(encoder: Encoder, image: Image.Image | str | Path) -> Query:
    """A query by a picture of an ECG page, or by the path of one.

    Raises:
        ImageError: No picture, or no ECG in it.
        QueryError: The encoder has no vector for it.
    """
    from ecgkin.retrieval.ecg.pictures import picture_notes

    encode_pages = getattr(encoder, "encode_pages", None)
    start = time.perf_counter()
    picture = _open_picture(image) if isinstance(image, str | Path) else image
    notes = list(picture_notes(picture))
    if encode_pages is not None:
        from ecgkin.retrieval.ecg.page import read_page

        page = read_page(picture)
        read = time.perf_counter()
        vector = encode_pages([page])[0]
        timings = {"read": elapsed_ms(start, read), "encode": elapsed_ms(read)}
        return Query(_unit(encoder, vector), "image", page, [*notes, *page.warnings], timings)
    read = time.perf_counter()
    vector = encoder.encode_images([picture])[0]
    timings = {"read": elapsed_ms(start, read), "encode": elapsed_ms(read)}
    return Query(_unit(encoder, vector), "image", warnings=notes, timings_ms=timings)


def record_query(encoder: Encoder, record: EcgRecord | str | Path) -> Query:
    """A query by a recorded ECG, or by the file of one; of a long one the first page counts (`searchable`).

    Raises:
        RecordError: The file cannot be read, or there is no ECG in it.
        QueryError: The encoder has no vector for it.
    """
    start = time.perf_counter()
    ecg = record if isinstance(record, EcgRecord) else _open_record(record)
    read = time.perf_counter()
    ecg = searchable(ecg)
    warnings = list(ecg.notes)
    if ecg.missing_leads and not any(note.startswith("missing: ") for note in ecg.notes):
        warnings.append(f"missing leads: {', '.join(ecg.missing_leads)}")
    vector = encoder.encode_records([ecg])[0]
    timings = {"read": elapsed_ms(start, read), "encode": elapsed_ms(read)}
    return Query(_unit(encoder, vector), "record", warnings=warnings, timings_ms=timings)


def text_query(encoder: Encoder, text: str) -> Query:
    """A query by words.

    Raises:
        QueryError: They are none, or more than `MAX_TEXT` characters; or the encoder has no vector for them.
    """
    if not isinstance(text, str) or not text.strip():
        raise QueryError(f"query text is {text!r} (expected words)")
    if len(text) > MAX_TEXT:
        raise QueryError(f"query text has {len(text)} characters (expected at most {MAX_TEXT})")
    start = time.perf_counter()
    vector = encoder.encode_texts([text])[0]
    return Query(_unit(encoder, vector), "text", timings_ms={"encode": elapsed_ms(start)})


def vector_query(encoder: Encoder, vector: NDArray[np.float32], kind: str) -> Query:
    """A query by a vector of this encoder, shape (dim,), of any length.

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

    Raises:
        QueryError: The two cancel out.
    """
    mixed = weight * ecg.vector + (1.0 - weight) * words.vector
    length = float(np.linalg.norm(mixed))
    if length < 1e-6:
        raise QueryError("the ECG and the words point in opposite directions and cancel out", hint="change weight")
    timings = dict(ecg.timings_ms)
    timings["encode"] += words.timings_ms["encode"]
    return Query((mixed / length).astype(np.float32), f"{ecg.kind}+text", ecg.page, ecg.warnings, timings)


def elapsed_ms(start: float, end: float | None = None) -> float:
    """Milliseconds between two readings of `time.perf_counter`; without the second one, until now."""
    return 1000.0 * ((time.perf_counter() if end is None else end) - start)


def _unit(encoder: Encoder, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise QueryError(f"encoder {encoder.name} gave a vector of length {length} for this query")
    return np.asarray(vector / length, dtype=np.float32)


def _open_picture(path: str | Path) -> Image.Image:
    from ecgkin.retrieval.ecg.pictures import open_picture

    return open_picture(path)


def _open_record(path: str | Path) -> EcgRecord:
    from ecgkin.retrieval.ecg.read import read_ecg

    return read_ecg(path)
