"""De-identified ingest: identifiers become keyed hashes, names leave reports, notes and file names.

Patient, record, source and case are named by HMAC-SHA256 under a key that is kept apart from the base: the same
patient gets the same name at every ingest with that key, and nobody without it can try names. Birthdays, other
identifiers, file and folder names and columns of a table that are not its own are not stored; labels keep the known
codes, a device the words of known makers, filters their numbers; a date keeps its year, an age stops at 90. Names
that any header field, file name or table cell of a record spells leave everything of it; patterns (`identity`) take
dates, numbers, addresses, mail and people behind a title or a word like "signed by". Of a page nothing but its vector
is stored.

What a machine cannot promise: a name in a free text that nothing else spells and nothing announces ("Meier was here").
Reports typed by people need a look.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecgkin.index.case import Case
from ecgkin.index.ingest import identity
from ecgkin.index.sources.items import IngestItem, Loaded
from ecgkin.retrieval.ecg.header import SourceHeader
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.report_text import fold
from ecgkin.retrieval.errors import QueryError, why

OLDEST_AGE = 90.0  # HIPAA's safe harbour, 45 CFR 164.514(b)(2)(i)(C): all ages above 89 are one
_KEY_BYTES = 32
_PUBLIC = frozenset({"ptbxl", "mimic-iv-ecg"})
"""Sources that are published databases: their names and their own columns say nothing of a patient."""
_PUBLIC_META = ("device", "fold", "rr_ms", "bandwidth")
_CODES = frozenset(statement.code for statement in STATEMENTS)
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
# Makers, and the words that their carts are called by. A device keeps these and the model number behind one of them.
_MAKERS = frozenset(
    "ge healthcare marquette medical systems mac muse cardiosoft case philips pagewriter touch trim "
    "intellispace heartstart hewlett packard schiller at cs cardiovit sema mortara eli burdick welch allyn "
    "hillrom nihon kohden cardiofax fukuda denshi cardimax suzuken cardico kenz bionet cardio7 cardiocare "
    "mindray beneheart edan se contec ecg90a biocare comen zoncare siemens draeger dr\u00e4ger custo cardio100 "
    "custo-med amedtec ecgpro getemed spacelabs norav cardioline cardiette alivecor kardiamobile apple watch "
    "withings samsung fitbit eridana instrument inc ltd co gmbh corp".split()
)
_MODEL = re.compile(r"(?=[A-Za-z0-9.-]{1,10}\Z)(?=.{0,9}\d)[A-Za-z]{0,6}[-.]?\d{1,4}(?:[-.]?[A-Za-z0-9]{1,3}){0,2}\Z")
_FILTER_WORD = re.compile(
    r"(?:\d{1,4}(?:[.,]\d{1,4})?|hz|to|up|from|and|notch|high|low|pass|setting|hp:?|lp:?|n:?|ac|mains|filter|on|off|drift|"
    r"baseline|muscle|smoothing|[hln]p?:?\d{1,4}(?:\.\d{1,4})?(?:hz)?)[,;]?\Z",
    re.IGNORECASE,
)
_LONGEST_VALUE = 100  # characters of a table's cell that is looked for as a whole
_QUOTED = re.compile(r"'[^'\n]{1,200}'")


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
        raise QueryError(f"key file {file} cannot be used: {why(error)}", hint="expected 64 hex digits") from error
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
    """A text without the names and numbers that a header spells, and without what a pattern finds (`identity`).

    Args:
        text: A report, a note.
        header: Of the recording; None where there is none.
        known: More that must not stand in it.

    >>> scrubbed("Sinus rhythm. Seen by Dr. Weiss, 12.03.2019, ID 4711-0815", None)
    'Sinus rhythm. Seen by [...], [...], ID [...]'
    """
    whole, words = _known(header)
    return identity.without(text, [*whole, *(value for value in known if value)], words)


def _known(header: SourceHeader | None) -> tuple[list[str], set[str]]:
    """Values and single words that a header spells of people."""
    if header is None:
        return [], set()
    whole = [header.patient_name, *header.people, *header.identifiers, header.birth_date or ""]
    own = {word for word in _WORD.findall(header.patient_name) if len(word) >= identity.SHORTEST}
    people = {word for name in header.people for word in _WORD.findall(name) if len(word) >= identity.SHORTEST}
    # "Heart Station" must not take the heart out of a report; a patient's own name is always taken out.
    return whole, own | {word for word in people if fold(word) not in identity.medical_words()}


def _item(item: IngestItem, key: bytes) -> IngestItem:
    told = item.case
    cells = [str(value) for value in told.meta.values() if isinstance(value, str)]
    spelled = [told.patient_id or "", *(cell for cell in cells if len(cell) <= _LONGEST_VALUE)]
    words = identity.name_words([*cells, told.case_id, told.source, Path(item.name).stem if item.name else ""])
    seen: dict[str, SourceHeader | None] = {}  # the header of what `load` gave last, for `finish`

    def clean(text: str, header: SourceHeader | None, *known: str | None) -> str:
        whole, people = _known(header)
        return identity.without(text, [*whole, *spelled, *(k for k in known if k)], people | words)

    def load() -> Loaded:
        loaded = item.load()
        seen["header"] = loaded.header if isinstance(loaded, EcgRecord) else None
        return _record(loaded, key, clean) if isinstance(loaded, EcgRecord) else loaded

    def finish(case: Case, loaded: Loaded) -> Case:
        if told.report:
            case = replace(case, report=clean(told.report, seen.get("header")))
        return replace(case, meta={**_public(told), **case.meta})

    content: Callable[[], str] | None = None
    if item.content is not None:
        hashed = item.content
        # Of a case whose table holds a report the text counts as content: it is cleaned with what the file says.
        content = lambda: pseudonym(key, "content", hashed() + told.report) + "0" * 12  # noqa: E731 - as long as a hash
    return IngestItem(_case(told, key), load, content, item.title, finish)


def _public(case: Case) -> dict[str, Any]:
    if case.source not in _PUBLIC:
        return {}
    return {name: value for name, value in case.meta.items() if name in _PUBLIC_META}


def _case(case: Case, key: bytes) -> Case:
    """What a table or a folder says of a case, without identity; its report comes when the file has been read."""
    age = case.age_years
    source = case.source
    if source and source not in _PUBLIC:
        source = f"source-{pseudonym(key, 'source', source)[:8]}"
    return replace(
        case,
        case_id=f"{source or 'case'}/{pseudonym(key, 'case', case.case_id)}",
        source=source,
        patient_id=pseudonym(key, "patient", case.patient_id) if case.patient_id else None,
        age_years=min(age, OLDEST_AGE) if age is not None else None,
        recorded_at=case.recorded_at[:4] if case.recorded_at else None,
        labels={code: value for code, value in case.labels.items() if code in _CODES},
        report="",
        meta=_public(case),
    )


def _device(text: str) -> str:
    """The words of known makers, and the model behind one of them.

    >>> _device("Philips PageWriter TC70 of Anna Meier, serial 4711"), _device("Anna's recorder")
    ('Philips PageWriter TC70', '')
    """
    kept: list[str] = []
    follows = False
    for word in text.replace(",", " ").replace("(", " ").replace(")", " ").split():
        is_maker = word.strip(".:").casefold() in _MAKERS
        if is_maker or (follows and _MODEL.match(word)):
            kept.append(word)
        follows = is_maker
    return " ".join(kept)


def _filters(text: str) -> str:
    """The numbers and fixed words of filters."""
    return " ".join(word for word in text.split() if _FILTER_WORD.match(word))


def _note(note: str, clean: Callable[[str], str]) -> str:
    """A note without what it quotes of the file."""
    said = clean(_QUOTED.sub(identity.GONE, note))
    return note if said == str(note) else said


def _record(record: EcgRecord, key: bytes, clean: Callable[..., str]) -> EcgRecord:
    """A record, and what its header will tell the case, without identity."""
    header = record.header

    def cleaned(text: str) -> str:
        return clean(text, header, record.patient_id, record.record_id)

    kept: SourceHeader | None = None
    if header is not None:
        kept = replace(
            header,
            patient_name="",
            birth_date=None,
            people=(),
            identifiers=(),
            report=cleaned(header.report),
            device=_device(cleaned(header.device)),
            filters=_filters(header.filters),
            codes=tuple(code for code in header.codes if re.fullmatch(r"[A-Z]{2,10}:\d{5,18}", code)),
            labels={code: value for code, value in header.labels.items() if code in _CODES},
            recorded_at=header.recorded_at[:4] if header.recorded_at else None,
        )
    age = record.age_years
    return replace(
        record,
        record_id=pseudonym(key, "record", record.record_id) if record.record_id else "",
        patient_id=pseudonym(key, "patient", record.patient_id) if record.patient_id else None,
        age_years=min(age, OLDEST_AGE) if age is not None else None,
        notes=tuple(_note(note, cleaned) for note in record.notes),
        header=kept,
    )
