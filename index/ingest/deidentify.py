"""De-identified ingest: identifiers become keyed hashes, names leave reports, notes and file names.

Patient, record and case are named by HMAC-SHA256 under a key that is kept apart from the base: the same patient gets
the same name at every ingest with that key, and nobody without it can try names. Birthdays, other identifiers, file
names and extra columns of a table are not stored; a date keeps its year, an age stops at 90. Of a page nothing but its
vector is stored, which comes from the traces alone.

What a machine cannot promise: a name in a free text that no header spells. Reports typed by people need a look.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ecgkin.index.case import Case
from ecgkin.index.sources.items import IngestItem, Loaded
from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.errors import QueryError

GONE = "[...]"
OLDEST_AGE = 90.0  # HIPAA's safe harbour, 45 CFR 164.514(b)(2)(i)(C): all ages above 89 are one
_KEY_BYTES = 32
_SHORTEST = 3  # letters of a name that is looked for by itself
_KEPT_META = ("format", "device", "filters", "codes", "measurements")
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
# Names behind a title, dates, and numbers as long as a patient's: gone wherever they stand.
_TITLED = re.compile(
    r"\b(?:Dr|Prof|Mr|Mrs|Ms|Herr|Frau|Hr|Fr|MUDr|Dott)\b\.?(?:\s*(?:med|Dr|Prof)\b\.?)*\s*[^\W\d_][\w'-]+(?:\s+[A-ZÄÖÜ][\w'-]+)?"
)
_DATE = re.compile(r"\b(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{1,2}-[A-Za-z]{3}-\d{2,4})\b")
_LONG_NUMBER = re.compile(r"\b\d[\d -]{4,}\d\b")


def read_key(path: str | Path) -> bytes:
    """The key in a file, made there (readable by its owner alone) if there is none.

    Raises:
        QueryError: The file cannot be read or written, or holds no key.
    """
    file = Path(path)
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
        text = file.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise QueryError(f"key file {file} cannot be used: {error}", hint="expected 64 hex digits") from error
    if len(key) < _KEY_BYTES:
        raise QueryError(f"the key in {file} has {len(key)} bytes (expected at least {_KEY_BYTES})")
    return key


def pseudonym(key: bytes, kind: str, value: str) -> str:
    """Name of a thing under a key: 20 hex digits, the same for the same key, kind and value.

    >>> pseudonym(b"k" * 32, "patient", "17") == pseudonym(b"k" * 32, "patient", "17")
    True
    >>> pseudonym(b"k" * 32, "patient", "17") == pseudonym(b"j" * 32, "patient", "17")
    False
    """
    return hmac.new(key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:20]


def deidentified(items: Iterable[IngestItem], key: bytes) -> list[IngestItem]:
    """The same items without identity; what they load is cleaned when it is loaded."""
    return [_item(item, key) for item in items]


def scrubbed(text: str, header: SourceHeader | None, *known: str | None) -> str:
    """A text without the names and numbers that a header spells, without dates, titled names and long numbers.

    Args:
        text: A report, a note.
        header: Of the recording; None where there is none.
        known: More that must not stand in it.

    >>> scrubbed("Sinus rhythm. Seen by Dr. Weiss, 12.03.2019, ID 4711-0815", None)
    'Sinus rhythm. Seen by [...], [...], ID [...]'
    """
    whole = [value for value in known if value]
    tokens: set[str] = set()
    if header is not None:
        whole += [header.patient_name, *header.people, *header.identifiers, header.birth_date or ""]
        tokens |= {word for word in _WORD.findall(header.patient_name) if len(word) >= _SHORTEST}
        people = {word for name in header.people for word in _WORD.findall(name) if len(word) >= _SHORTEST}
        # "Heart Station" must not take the heart out of a report; a patient's own name is always taken out.
        tokens |= {word for word in people if word.lower() not in _medical_words()}
    for value in sorted({v.strip() for v in whole if len(v.strip()) >= _SHORTEST}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", GONE, text, flags=re.IGNORECASE)
    for pattern in (_TITLED, _DATE, _LONG_NUMBER):
        text = pattern.sub(GONE, text)
    for word in tokens:
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", GONE, text, flags=re.IGNORECASE)
    return text


@cache
def _medical_words() -> frozenset[str]:
    """Words of the statements' names and synonyms."""
    names = [name for s in STATEMENTS for name in (s.name_en, s.name_de, *s.synonyms_en, *s.synonyms_de)]
    return frozenset(word.lower() for name in names for word in _WORD.findall(name)) | {"heart", "station", "ecg"}


def _item(item: IngestItem, key: bytes) -> IngestItem:
    told = item.case

    def load() -> Loaded:
        loaded = item.load()
        return _record(loaded, key, told) if isinstance(loaded, EcgRecord) else loaded

    content: Callable[[], str] | None = None
    if item.content is not None:
        hashed = item.content
        content = lambda: pseudonym(key, "content", hashed()) + "0" * 12  # noqa: E731 - as long as a content hash
    return IngestItem(_case(told, key), load, content, item.title)


def _case(case: Case, key: bytes) -> Case:
    """What a table or a folder says of a case, without identity."""
    spelled = [str(value) for name, value in case.meta.items() if name not in _KEPT_META and isinstance(value, str)]
    age = case.age_years
    return replace(
        case,
        case_id=f"{case.source or 'case'}/{pseudonym(key, 'case', case.case_id)}",
        patient_id=pseudonym(key, "patient", case.patient_id) if case.patient_id else None,
        age_years=min(age, OLDEST_AGE) if age is not None else None,
        recorded_at=case.recorded_at[:4] if case.recorded_at else None,
        report=scrubbed(case.report, None, case.patient_id, *spelled),
        meta={name: value for name, value in case.meta.items() if name in _KEPT_META},
    )


def _record(record: EcgRecord, key: bytes, told: Case) -> EcgRecord:
    """A record, and what its header will tell the case, without identity."""
    header = record.header

    def clean(text: str) -> str:
        return scrubbed(text, header, record.patient_id, record.record_id, told.patient_id)

    kept: SourceHeader | None = None
    if header is not None:
        fields: dict[str, Any] = {"report": clean(header.report), "device": clean(header.device)}
        if header.recorded_at:
            fields["recorded_at"] = header.recorded_at[:4]
        kept = replace(header, patient_name="", birth_date=None, people=(), identifiers=(), **fields)
    age = record.age_years
    return replace(
        record,
        record_id=pseudonym(key, "record", record.record_id) if record.record_id else "",
        patient_id=pseudonym(key, "patient", record.patient_id) if record.patient_id else None,
        age_years=min(age, OLDEST_AGE) if age is not None else None,
        notes=tuple(clean(note) for note in record.notes),
        header=kept,
    )
