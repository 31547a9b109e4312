"""What goes over the wire, with examples; the same classes serve the server, OpenAPI and `ecgkin.ui.client`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from ecgkin.retrieval.errors import RecordError

if TYPE_CHECKING:
    from ecgkin.index.case import Case
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.search import SearchResult

CaseId = Annotated[str, Field(min_length=1, max_length=500, examples=["ptbxl/12345"])]
QueryId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["5b2d0c1a9f5e4a0e8d4f4b6f2c7a1e90"])]
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
            RecordError: Rows, names and rate do not fit together, or a value is too large to be an ECG's.
        """
        from ecgkin.retrieval.ecg.leads import canonical_lead
        from ecgkin.retrieval.ecg.record import EcgRecord

        lengths = {len(row) for row in self.signal_mv}
        if len(lengths) != 1:
            raise RecordError(f"leads have {sorted(lengths)[:5]} samples (expected the same number in each)")
        names = tuple(canonical_lead(name) or name[:20] for name in self.leads)
        with np.errstate(over="ignore"):
            signal = np.array(self.signal_mv, dtype=np.float64).astype(np.float32)
        if np.isinf(signal).any():
            raise RecordError("a sample is too large (expected millivolts)")
        return EcgRecord(signal, self.fs_hz, names)

    @classmethod
    def of(cls, record: EcgRecord) -> Signal:
        """Of a record, to the microvolt; what is not finite becomes null."""
        rows = [[value if np.isfinite(value) else None for value in row] for row in _rounded(record)]
        return cls.model_construct(signal_mv=rows, fs_hz=record.fs_hz, leads=list(record.leads))


def _rounded(record: EcgRecord) -> list[list[float]]:
    rows: list[list[float]] = np.round(record.signal_mv.astype(np.float64), 3).tolist()
    return rows


class Question(Body):
    """What is common to all searches, whatever the query comes as."""

    k: int = Field(10, ge=1, le=1000, description="hits wanted; the server's own limit may be lower")
    where: str | dict[str, Any] | None = Field(
        None,
        description="filter that acts inside the search, as text or as object",
        examples=["age>=60 and sex=F and not label:PACE", {"age": {">=": 60}, "sex": "F"}],
    )
    exclude_patient: str | None = Field(None, max_length=500, description="leave out the cases of this patient")
    weight: float = Field(0.5, ge=0, le=1, description="with an ECG and words: share of the ECG")


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
        None, max_length=10_000, description="report, statement name, abbreviation; English, German"
    )
    query_id: QueryId | None = Field(None, description="of an earlier search")
    similar: list[CaseId] = Field([], max_length=200, description="with query_id: cases to move towards")
    not_similar: list[CaseId] = Field([], max_length=200, description="with query_id: cases to move away from")


class DraftOptions(Body):
    """What is common to all requests for a draft."""

    k: int = Field(10, ge=1, le=1000, description="cases shown with the draft and linked in FHIR")
    question: str | None = Field(None, max_length=2000, description="what to answer; without: write the report")
    language: Literal["en", "de"] = Field("en", description="of the draft")
    exclude_patient: str | None = Field(None, max_length=500, description="leave out the cases of this patient")


class DraftBody(DraftOptions):
    """A draft for an ECG that comes as samples."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"signal": EXAMPLE_SIGNAL, "language": "en"}]}
    )

    signal: Signal


class EmbeddingBody(Body):
    """Texts, or one signal."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": ["LBBB", "Vorhofflimmern"]}]})

    texts: list[Annotated[str, Field(min_length=1, max_length=10_000)]] = Field([], max_length=64)
    signal: Signal | None = None


class CaseFields(Body):
    """A case as it comes in."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_CASE]})

    case_id: CaseId
    patient_id: str | None = Field(None, max_length=500)
    source: str = Field("", max_length=500)
    age_years: float | None = Field(None, ge=0, le=150)
    sex: Literal["F", "M"] | None = None
    recorded_at: str | None = Field(None, max_length=40, examples=["1984-11-09"])
    labels: dict[str, FiniteFloat] = Field({}, max_length=200, description="statement code to likelihood, percent")
    report: str = Field("", max_length=100_000)
    language: str | None = Field(None, max_length=20, examples=["en"])
    meta: dict[str, Any] = Field({}, max_length=200)

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


class CaseOut(BaseModel):
    """One stored case."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_CASE]})

    case_id: str
    patient_id: str | None
    source: str
    age_years: float | None
    sex: str | None
    recorded_at: str | None
    labels: dict[str, float] = Field(description="statement code to likelihood, percent; 0: the source gives none")
    report: str
    language: str | None
    meta: dict[str, Any]

    @classmethod
    def of(cls, case: Case) -> CaseOut:
        """Of a stored case."""
        return cls(**{name: getattr(case, name) for name in cls.model_fields})


class HitOut(BaseModel):
    """One case that was found."""

    rank: int = Field(description="from 1")
    score: float = Field(description="cosine of query and case, -1 to 1")
    case: CaseOut


class VoteOut(BaseModel):
    """What the neighbours say."""

    statements: dict[str, float] = Field(description="most probable first; those at 0 are left out")
    superclasses: dict[str, float]
    calibrated: bool = Field(description="fitted probabilities; else shares of the neighbours")
    n_neighbours: int
    note: str


class AbstentionOut(BaseModel):
    """Whether anything near was found at all."""

    nothing_similar: bool
    best_score: float | None
    threshold: float | None = Field(description="best scores below this say nothing similar; null: not calibrated")


class PageOut(BaseModel):
    """What was understood of a picture."""

    layout: str
    n_rows: int
    leads: list[str]
    px_per_mm: float | None
    rotation_deg: float
    quality: float = Field(description="0, barely readable, to 1")
    corners: list[tuple[float, float]] = Field(description="of the signal area, px, clockwise from the top left")


class SearchOut(BaseModel):
    """What a search brings back."""

    query_id: str = Field(description="names this search for feedback and refinement")
    query: str = Field(description="image, record, text, image+text, record+text, refined")
    hits: list[HitOut]
    vote: VoteOut
    abstention: AbstentionOut
    page: PageOut | None
    warnings: list[str]
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, result: SearchResult, query_id: str) -> SearchOut:
        """Of a search."""
        page = result.page
        return cls(
            query_id=query_id,
            query=result.query,
            hits=[HitOut(rank=hit.rank, score=hit.score, case=CaseOut.of(hit.case)) for hit in result.hits],
            vote=VoteOut(
                statements={code: p for code, p in result.vote.statements.items() if p > 0},
                superclasses=dict(result.vote.superclasses),
                calibrated=result.vote.calibrated,
                n_neighbours=result.vote.n_neighbours,
                note=result.vote.note,
            ),
            abstention=AbstentionOut(
                nothing_similar=result.nothing_similar,
                best_score=result.hits[0].score if result.hits else None,
                threshold=result.threshold,
            ),
            page=None
            if page is None
            else PageOut(
                layout=page.layout,
                n_rows=page.n_rows,
                leads=list(page.leads),
                px_per_mm=page.px_per_mm,
                rotation_deg=page.rotation_deg,
                quality=page.quality,
                corners=[(float(x), float(y)) for x, y in page.corners],
            ),
            warnings=list(result.warnings),
            timings_ms={name: round(ms, 3) for name, ms in result.timings_ms.items()},
        )


class EvidenceOut(BaseModel):
    """One case that the drafter was given; "[1]" in the text means number 1."""

    number: int
    case_id: str
    score: float
    statements: list[str]


class DraftedOut(BaseModel):
    """One of the 71 statements as the draft speaks of it."""

    code: str
    polarity: str = Field(description="present, possible or absent")
    probability: float | None
    agreement: str = Field(description="with the vote: agrees, differs, contradicts, unknown")
    citations: list[str]
    supported_by: list[str]


class SentenceOut(BaseModel):
    """One sentence with what carries it."""

    text: str
    section: str
    statements: list[tuple[str, str]] = Field(description="code and polarity")
    citations: list[str] = Field(description="case ids")
    unknown_citations: list[str]
    basis: str = Field(description="cases, measurement, picture or nothing")
    probability: float | None


class SectionOut(BaseModel):
    """One section of a structured report."""

    name: str
    title: str
    sentences: list[SentenceOut]
    abstained: str = Field(description="why nothing is said here")


class DraftOut(BaseModel):
    """A preliminary draft. It supports and does not replace a clinician."""

    status: str = Field(examples=["preliminary"])
    disclaimer: str
    text: str
    language: str
    model: str
    question: str | None
    sections: list[SectionOut]
    sentences: list[SentenceOut]
    statements: list[DraftedOut]
    evidence: list[EvidenceOut]
    unknown_citations: list[str]
    warnings: list[str]
    refusal: str = Field(description="why there is no draft")
    probabilities: dict[str, float]
    calibrated: bool
    measurements: dict[str, float]
    prompt: str
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    citations: list[str]


class DraftAnswer(BaseModel):
    """A draft, and the search that it stands on."""

    draft: DraftOut
    search: SearchOut


class CasesOut(BaseModel):
    """One page of the cases that a filter lets through."""

    total: int
    offset: int
    cases: list[CaseOut]


class EmbeddingOut(BaseModel):
    """Unit vectors."""

    encoder: str
    fingerprint: str
    dim: int
    embeddings: list[list[float]]


class MarkOut(BaseModel):
    """One mark as it was stored."""

    query_id: str
    kind: str
    case_id: str
    similar: bool
    marked_at: str


class FeedbackOut(BaseModel):
    """All marks of a query."""

    query_id: str
    marks: list[MarkOut]


class InfoOut(BaseModel):
    """What runs here."""

    version: str
    notice: str
    encoder: dict[str, Any]
    case_base: dict[str, Any]
    drafters: list[str]
    limits: dict[str, float]
    tokens: bool = Field(description="whether a token is needed")


class ProblemOut(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/v1/problems#image",
                    "title": "The picture cannot be used",
                    "status": 422,
                    "detail": "page.png is empty (0 bytes)",
                    "hint": "copy or export the picture again",
                    "request_id": "0f8fad5bd9cb469fa16570867728950e",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None
