"""`Case`: one stored ECG with what its source says about it; and the hash that says whether content is new."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError

LONGEST_ID = 500
DIGITISED = "digitised"
"""Key of `Case.meta` for a case whose samples were read off a picture, not recorded (see `PrintedEcg.mark`)."""
# Controls (C0, DEL, C1), line and paragraph separators, marks that turn the direction of text, and half characters.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?)?)?")


@dataclass(frozen=True, slots=True)
class Case:
    """One ECG of a case base, without its samples (see `CaseBase.record`).

    Attributes:
        case_id: Unique in the case base, "source/number": "ptbxl/12345" (see `check_case_id`).
        patient_id: Who; None where the source does not say. Unique within a source only if the source says so.
        source: Where it comes from: "ptbxl", "simulated", the name of a folder.
        age_years, sex: As the source gives them; sex is "F" or "M"; None where it does not say.
        recorded_at: ISO date or date and time, "1984-11-09T09:17:34"; also only year or year and month.
        labels: Statement code to likelihood in percent (0: the source gives none); every key counts as present.
        report: The report as it may be shown.
        language: ISO 639-1 code of the report's language; None where unknown.
        meta: Whatever else the source says, JSON values only.
        content_hash: See `content_hash`; "" where there was no content to hash.

    Raises:
        RecordError: A field is not what is said above.
    """

    case_id: str
    patient_id: str | None = None
    source: str = ""
    age_years: float | None = None
    sex: str | None = None
    recorded_at: str | None = None
    labels: dict[str, float] = field(default_factory=dict)
    report: str = ""
    language: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    content_hash: str = ""

    def __post_init__(self) -> None:
        check_case_id(self.case_id)
        if self.age_years is not None and not (math.isfinite(self.age_years) and self.age_years >= 0):
            raise RecordError(f"age of {self.case_id} is {self.age_years} (expected years >= 0, or None)")
        if self.sex not in (None, "F", "M"):
            raise RecordError(f"sex of {self.case_id} is {self.sex!r} (expected 'F', 'M' or None)")
        if self.recorded_at is not None:
            object.__setattr__(self, "recorded_at", iso_date(self.recorded_at, f"date of {self.case_id}"))
        labels = {str(code): float(likelihood) for code, likelihood in self.labels.items()}
        for code, likelihood in labels.items():
            if not code or not math.isfinite(likelihood):
                raise RecordError(f"label {code!r} of {self.case_id} has likelihood {likelihood} (expected a number)")
        for name in ("case_id", "patient_id", "source", "report", "language"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and _storable(text)):
                raise RecordError(f"{name} of {self.case_id!r} is {text!r:.60} (expected a text in valid Unicode)")
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "meta", dict(self.meta))

    @property
    def is_digitised(self) -> bool:
        """Whether its samples were read off a picture."""
        return DIGITISED in self.meta

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values.

        >>> Case("x/1", labels={"AFIB": 100}).as_dict()["labels"]
        {'AFIB': 100.0}
        """
        return asdict(self)


def digitised_words(case: Case) -> str:
    """What an export says of a case whose samples were read off a picture; "" for a recording.

    >>> digitised_words(Case("x/1", meta={"digitised": {"layout": "6x2", "speed_mm_s": 25.0, "gain_mm_mv": None}}))
    'read off a picture, not recorded (layout 6x2, 25 mm/s, gain assumed)'
    """
    if not case.is_digitised:
        return ""
    mark = case.meta[DIGITISED] if isinstance(case.meta[DIGITISED], dict) else {}
    parts = [f"layout {mark.get('layout') or 'not known'}"]
    for name, value, unit in (
        ("speed", mark.get("speed_mm_s"), "mm/s"), ("gain", mark.get("gain_mm_mv"), "mm/mV")
    ):  # fmt: skip
        parts.append(f"{value:g} {unit}" if isinstance(value, int | float) else f"{name} assumed")
    return f"read off a picture, not recorded ({', '.join(parts)})"


def check_case_id(case_id: object) -> None:
    """The one rule for case ids: what can stand in a URL path, in a line of a table and in a file name.

    1 to 500 characters of valid Unicode, no control characters or line separators, no blank at either end, and none of
    the parts between slashes is "." or "..", which clients of the API would resolve away.

    Raises:
        RecordError: It is none.

    >>> check_case_id("ward 3/2024/a b.scp#2")
    """
    if not isinstance(case_id, str) or not 0 < len(case_id) <= LONGEST_ID or not _storable(case_id):
        raise RecordError(f"case id is {case_id!r:.60} (expected a text of 1 to {LONGEST_ID} characters)")
    if _UNPRINTABLE.search(case_id) or case_id != case_id.strip() or not {".", ".."}.isdisjoint(case_id.split("/")):
        raise RecordError(
            f"case id is {case_id!r:.60} (expected no control characters, no blank at an end, no part '.' or '..')"
        )


def unprintable(text: str, allowed: str = "") -> str:
    """The first character of a text that no line of a table or a page can show, by number; "" where there is none.

    Args:
        text: A name, a code, a report.
        allowed: Characters that may stand in it all the same, such as the ends of lines of a report.

    >>> unprintable("Meier"), unprintable("a\\x1b[31m"), unprintable("a\\nb", "\\n")
    ('', 'U+001B', '')
    """
    found = next((c for c in _UNPRINTABLE.findall(text) if c not in allowed), None)
    return "" if found is None else f"U+{ord(found):04X}"


def safe_case_id(text: str) -> str:
    """A case id that is allowed, as like a text as can be: for what must be named but was named badly.

    >>> safe_case_id("ward/\\n/../x ")
    'ward/_/_/x'
    """
    plain = _UNPRINTABLE.sub("_", text.encode("utf-8", "replace").decode()).strip()[:LONGEST_ID].strip()
    return "/".join("_" if part in (".", "..") else part for part in plain.split("/")) or "_"


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def iso_date(text: str, what: str = "date") -> str:
    """The same date in the one spelling that is stored ("T" between date and time), after a check of the calendar.

    Args:
        text: "1984", "1984-11", "1984-11-09", "1984-11-09 09:17", "1984-11-09T09:17:34".
        what: What to call it in the message.

    Returns:
        The date with "T" between day and time.

    Raises:
        RecordError: It is none of these, or no such day exists.

    >>> iso_date("1984-11-09 09:17:34")
    '1984-11-09T09:17:34'
    """
    spelled = text.strip().replace(" ", "T")
    try:
        if not _DATE.fullmatch(spelled):
            raise ValueError
        datetime.fromisoformat((spelled + "-01-01"[len(spelled) - 4 :]) if len(spelled) < 10 else spelled)
    except ValueError:
        raise RecordError(f"{what} is {text!r:.60} (expected an ISO date such as 1984-11-09)") from None
    return spelled


def content_hash(content: EcgRecord | bytes) -> str:
    """What tells whether two records, or two files, hold the same: 32 hex digits (BLAKE2b, 128 bits).

    A record is hashed by its samples, rate and lead names; not by who it belongs to or what it is called. NaN counts
    as one value, whatever its bits.

    >>> content_hash(b"abc") == content_hash(b"abc"), len(content_hash(b""))
    (True, 32)
    """
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    signal = content.signal_mv
    canonical = np.where(np.isnan(signal), np.float32(np.nan), signal + np.float32(0.0))  # +0.0 turns -0 into 0
    head = f"{content.fs_hz!r}|{','.join(content.leads)}|{signal.shape}|".encode()
    return hashlib.blake2b(head + canonical.astype("<f4").tobytes(), digest_size=16).hexdigest()
