"""What clients send, with examples; the same classes serve the server, OpenAPI and `ecgkin.ui.client.client`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationInfo, field_validator

from ecgkin.retrieval.errors import RecordError

if TYPE_CHECKING:
    from ecgkin.index.case import Case
    from ecgkin.retrieval.ecg.page.corrections import Corrections
    from ecgkin.retrieval.ecg.record import EcgRecord

CaseId = Annotated[str, Field(min_length=1, max_length=500, examples=["ptbxl/12345"])]
QueryId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["5b2d0c1a9f5e4a0e8d4f4b6f2c7a1e90"])]
LabelKey = Annotated[str, Field(min_length=1, max_length=100)]
Likelihood = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Units = Literal["mV", "uV", "V"]
EXAMPLE_CASE: dict[str, Any] = {
    "case_id": "simulated/17",
    "patient_id": "simulated/17",
    "source": "simulated",
    "age_years": 71.0,
    "sex": "F",
    "recorded_at": None,
    "labels": {"AFIB": 100.0},
    "report": "Atrial fibrillation.",
    "language": "en",
    "meta": {},
}
EXAMPLE_SIGNAL: dict[str, Any] = {
    "signal_mv": [[0.0, 0.1, 1.1, -0.2], [0.0, 0.2, 1.4, None]],
    "fs_hz": 500.0,
    "leads": ["I", "II"],
}


class Body(BaseModel):
    """What clients send: unknown members are mistakes, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Signal(Body):
    """One ECG as samples in mV, one list a lead; null where a sample is missing."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SIGNAL]})

    signal_mv: list[list[FiniteFloat | None]] = Field(min_length=1, max_length=12, description="millivolts, by lead")
    fs_hz: float = Field(gt=0, le=100_000, description="samples a second")
    leads: list[str] = Field(min_length=1, max_length=12, description="names of the rows: I, II, III, aVR ... V6")

    def record(self) -> EcgRecord:
        """As a record.

        Raises:
            RecordError: Rows, names and rate do not fit together, or no ECG has such amplitudes.
        """
        from ecgkin.retrieval.ecg.laws import law_notes
        from ecgkin.retrieval.ecg.leads import canonical_lead
        from ecgkin.retrieval.ecg.plausible import amplitude_notes
        from ecgkin.retrieval.ecg.record import EcgRecord

        lengths = {len(row) for row in self.signal_mv}
        if len(lengths) != 1:
            raise RecordError(f"leads have {sorted(lengths)[:5]} samples (expected the same number in each)")
        names = tuple(canonical_lead(name) or name[:20] for name in self.leads)
        with np.errstate(over="ignore"):
            signal = np.array(self.signal_mv, dtype=np.float64).astype(np.float32)
        if np.isinf(signal).any():
            raise RecordError("a sample is too large (expected millivolts)")
        record = EcgRecord(signal, self.fs_hz, names)
        if np.isnan(signal).all():
            return record
        notes = [*law_notes(dict(zip(names, record.signal_mv, strict=True)))] if len(set(names)) == len(names) else []
        return record.noted(*notes, *amplitude_notes(record.signal_mv, "signal"))

    @classmethod
    def of(cls, record: EcgRecord) -> Signal:
        """Of a record, to the microvolt; what is not finite becomes null."""
        rows = [[value if np.isfinite(value) else None for value in row] for row in _rounded(record)]
        return cls.model_construct(signal_mv=rows, fs_hz=record.fs_hz, leads=list(record.leads))


def _rounded(record: EcgRecord) -> list[list[float]]:
    rows: list[list[float]] = np.round(record.signal_mv.astype(np.float64), 3).tolist()
    return rows


class PageKnown(Body):
    """What is known of a page better than it was read."""

    layout: str | None = Field(default=None, max_length=10, examples=["3x4+1R"], description="rows x columns, strips")
    leads: dict[str, str] = Field(
        default={}, max_length=12, description="lead that was read to lead that stands there; both ways of a swap",
        examples=[{"V1": "V2", "V2": "V1"}],
    )  # fmt: skip
    speed_mm_s: FiniteFloat | None = Field(default=None, examples=[25.0], description="paper speed")
    gain_mm_mv: FiniteFloat | None = Field(default=None, examples=[10.0], description="height of a millivolt")
    corners: list[tuple[FiniteFloat, FiniteFloat]] | None = Field(
        default=None, min_length=4, max_length=4,
        description="of the part to read, px: top left, top right, bottom right, bottom left",
    )  # fmt: skip

    def corrections(self) -> Corrections:
        """As page reading takes them.

        Raises:
            QueryError: A value is not possible.
        """
        from ecgkin.retrieval.ecg.leads import canonical_lead
        from ecgkin.retrieval.ecg.page.corrections import Corrections

        leads = {canonical_lead(was) or was[:20]: canonical_lead(now) or now[:20] for was, now in self.leads.items()}
        corners = None if self.corners is None else tuple(self.corners)
        return Corrections(self.layout, leads, self.speed_mm_s, self.gain_mm_mv, corners)


class Question(Body):
    """What is common to all searches, whatever the query comes as."""

    k: int = Field(default=10, ge=1, le=1000, description="hits wanted; the server's own limit may be lower")
    where: str | dict[str, Any] | None = Field(
        default=None,
        description="filter that acts inside the search, as text or as object",
        examples=["age>=60 and sex=F and not label:PACE", {"age": {">=": 60}, "sex": "F"}],
    )
    exclude_patient: str | None = Field(default=None, max_length=500, description="leave out the cases of this patient")
    weight: float = Field(default=0.5, ge=0, le=1, description="with an ECG and words: share of the ECG")
    previous: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="an earlier ECG of the person: its case id, or the person's id (then the newest); theirs come under"
        " a heading of their own, compared with this one, and do not vote",
        examples=["ptbxl/12345", "15709"],
    )


class SearchBody(Question):
    """A search. Give a signal, a text, or both; or the query_id of an earlier search.

    With a query_id the query moves towards the cases marked as similar and away from those marked as not (Rocchio):
    marks sent to /v1/feedback for that query, and those named here.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"text": "LBBB", "k": 5, "where": "age>=60"},
                {"signal": EXAMPLE_SIGNAL, "k": 10, "exclude_patient": "15709"},
                {"query_id": "5b2d0c1a9f5e4a0e8d4f4b6f2c7a1e90", "similar": ["ptbxl/12345"]},
            ]
        },
    )

    signal: Signal | None = None
    text: str | None = Field(
        default=None,
        max_length=10_000,
        description="report, statement name, abbreviation, with negation, age, sex; English, German, Swedish",
    )
    understood: list[dict[str, Any]] | None = Field(
        default=None,
        max_length=200,
        description="with text: parts as an earlier answer gave them, changed; they stand in the place of what would be"
        " understood",
        examples=[[{"kind": "statement", "code": "AFIB", "polarity": "absent"}]],
    )
    raw: bool = Field(default=False, description="with text: the words are only embedded, not understood")
    query_id: QueryId | None = Field(default=None, description="of an earlier search")
    similar: list[CaseId] = Field(default=[], max_length=200, description="with query_id: cases to move towards")
    not_similar: list[CaseId] = Field(
        default=[], max_length=200, description="with query_id: cases to move away from, and not to show again"
    )


class DraftOptions(Body):
    """What is common to all requests for a draft."""

    k: int = Field(
        default=10, ge=1, le=1000, description="hits to list beside the draft; the server's limit may be lower"
    )
    model: str | None = Field(
        default=None, max_length=200, description="one of the drafters in /v1/info; without: the first"
    )
    evidence: int = Field(default=3, ge=0, le=20, description="cases a model is shown; 0: a model without retrieval")
    question: str | None = Field(default=None, max_length=2000, description="what to answer; without: write the report")
    language: Literal["en", "de"] = Field(default="en", description="of the draft")
    where: str | dict[str, Any] | None = Field(default=None, description="filter on the cases, as in a search")
    exclude_patient: str | None = Field(default=None, max_length=500, description="leave out the cases of this patient")
    previous: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="an earlier ECG of the person: its case id, or the person's id (then the newest); theirs come under"
        " a heading of their own, compared with this one, and do not vote",
        examples=["ptbxl/12345", "15709"],
    )


class DraftBody(DraftOptions):
    """A draft for an ECG that comes as samples."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"signal": EXAMPLE_SIGNAL, "language": "en"}]}
    )

    signal: Signal


class EmbeddingBody(Body):
    """Texts, or one signal."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": ["LBBB", "Vorhofflimmern"]}]})

    texts: list[Annotated[str, Field(min_length=1, max_length=10_000)]] = Field(default=[], max_length=64)
    signal: Signal | None = None


class ExplanationBody(Body):
    """A case, and the samples whose nearness to it is asked about."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"signal": EXAMPLE_SIGNAL, "case_id": "ptbxl/12345"}]}
    )

    signal: Signal
    case_id: CaseId


_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,3}")  # BCP 47


class CaseFields(Body):
    """A case as it comes in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_CASE]})

    case_id: CaseId
    patient_id: str | None = Field(default=None, max_length=500)
    source: str = Field(default="", max_length=500)
    age_years: float | None = Field(default=None, ge=0, le=150)
    sex: Literal["F", "M"] | None = None
    recorded_at: str | None = Field(default=None, max_length=40, examples=["1984-11-09"])
    labels: dict[LabelKey, Likelihood] = Field(
        default={}, max_length=200, description="statement code to likelihood, percent"
    )
    report: str = Field(default="", max_length=100_000)
    language: str | None = Field(default=None, max_length=20, examples=["en"])
    meta: dict[str, Any] = Field(default={}, max_length=200)

    @field_validator("patient_id", "source", "language", "report")
    @classmethod
    def _printable(cls, text: str | None, info: ValidationInfo) -> str | None:
        """Nothing that moves a cursor, rings a bell or turns the direction of what stands around it."""
        from ecgkin.index.case import unprintable

        broken = "\n\r\t\u2028\u2029\ufeff" if info.field_name == "report" else ""
        if text is not None and (found := unprintable(text, broken)):
            raise ValueError(f"{info.field_name} holds {found} (expected text without control characters)")
        return text

    @field_validator("age_years", mode="before")
    @classmethod
    def _no_truth(cls, value: object) -> object:
        """True is no year."""
        if isinstance(value, bool):
            raise ValueError(f"age_years is {str(value).lower()} (expected years)")
        return value

    @field_validator("language")
    @classmethod
    def _tag(cls, text: str | None) -> str | None:
        if text and not _LANGUAGE.fullmatch(text):
            raise ValueError(f"language is {text!r} (expected a tag such as 'en' or 'pt-BR')")
        return text

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: dict[str, float]) -> dict[str, float]:
        from ecgkin.index.case import unprintable

        for key in labels:
            if unprintable(key) or key != key.strip():
                raise ValueError(f"label {key!r:.60} (expected a code without control characters and blanks around it)")
        if len({key.casefold() for key in labels}) != len(labels):
            raise ValueError("labels name a statement twice, in capitals and in small letters")
        return labels

    @field_validator("recorded_at")
    @classmethod
    def _of_this_time(cls, text: str | None) -> str | None:
        from ecgkin.retrieval.ecg.header import LATEST_YEAR

        if text is not None and text[:4].isdecimal() and int(text[:4]) > LATEST_YEAR:
            raise ValueError(f"recorded_at is {text[:40]!r} (expected a year up to {LATEST_YEAR})")
        return text

    def case(self) -> Case:
        """As a case; RecordError where a field is not what it should be."""
        from ecgkin.index.case import Case

        return Case(**self.model_dump())


class CaseBody(Body):
    """A case with its samples."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"case": EXAMPLE_CASE, "signal": EXAMPLE_SIGNAL}]}
    )

    case: CaseFields
    signal: Signal


class MarkIn(Body):
    """One hit, and whether it is similar to the query."""

    case_id: CaseId
    similar: bool


class FeedbackBody(Body):
    """What a clinician says about the hits of a search."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "query_id": "5b2d0c1a9f5e4a0e8d4f4b6f2c7a1e90",
                    "marks": [{"case_id": "ptbxl/12345", "similar": True}, {"case_id": "ptbxl/8", "similar": False}],
                }
            ]
        },
    )

    query_id: QueryId
    marks: list[MarkIn] = Field(min_length=1, max_length=1000)
