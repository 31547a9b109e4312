"""Answers as JSON: searches, drafts, cases, explanations, problems.

The same pydantic models serve the server, its OpenAPI document, `ecgkin.ui.client` and `--json` of the command line.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecgkin.retrieval.notes import Language, Note, NoteCode
from ecgkin.retrieval.search.hits import Nearness
from ecgkin.ui.api.schemas import EXAMPLE_CASE, Signal

if TYPE_CHECKING:
    from ecgkin.generation.types.draft import Draft
    from ecgkin.generation.types.serial import Serial
    from ecgkin.index.case import Case
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.retrieval.ecg.page.reading import PageReading
    from ecgkin.retrieval.search.search import SearchResult


class NoteOut(BaseModel):
    """A note or warning: what it says as a code, in English, and with what its wording is filled."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"code": "grid_not_found", "text": "grid not found: scale unknown", "values": {}}]
        }
    )

    code: str = Field(description="never renamed; `other`: the words of a file reader, which have no code")
    text: str
    values: dict[str, str | int | float | tuple[str, str]] = Field(
        default={}, description="what fills the wording; words that differ by language as a pair, English and German"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_note(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        note = Note.of(given)
        return {"code": note.code.value, "text": str(note), "values": dict(note.values)}

    @classmethod
    def of(cls, note: str) -> NoteOut:
        """Of a note, or of plain text (code "other")."""
        return cls.model_validate(note)

    def in_language(self, language: Language) -> str:
        """The note in a language; as it came where its code is not known here (a newer server)."""
        try:
            return Note(NoteCode(self.code), **self.values).text(language)
        except (ValueError, KeyError):
            return self.text


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
    support: str | None = Field(
        default=None,
        description="which witnesses are for it: both (similar cases and the reading of this ECG), cases, reading, "
        "neither; null: does not apply",
    )


class SectionOut(BaseModel):
    """One section of a structured report."""

    name: str
    title: str
    sentences: list[SentenceOut]
    abstained: str = Field(description="why nothing is said here")


class FlagOut(BaseModel):
    """A red flag by a published criterion on measured values."""

    code: str
    severity: str = Field(description="urgent, important or note")
    title: str
    text: str = Field(description="with criterion, caveat and source")
    leads: list[str]
    measured: dict[str, float]


class EarlierOut(BaseModel):
    """An earlier ECG of the person in the case base."""

    case_id: str
    recorded_at: str | None
    statements: list[str]
    report: str
    samples: bool = Field(description="whether it can be measured")


class SerialRowOut(BaseModel):
    """One value before and after."""

    name: str
    before: float | None
    after: float | None
    change: float | None
    beyond: bool = Field(description="whether the change exceeds repeatability")


class SerialChangeOut(BaseModel):
    """A change that exceeds repeatability."""

    code: str
    text: str
    leads: list[str]
    rule: str = Field(description="limit and source")


class SerialFindingOut(BaseModel):
    """A finding of either ECG."""

    code: str
    name: str
    state: str = Field(description="new, increased, gone, unchanged, borderline or not_compared")
    by: str = Field(description="measurement (of both) or statements (of the draft now and of the report then)")
    why: str = Field("", description="of one that is not compared: why")
    urgent: bool = Field(False, description="whether somebody must look at once")


class SerialOut(BaseModel):
    """The query beside an earlier ECG of the same person."""

    earlier: list[EarlierOut] = Field(description="all that the base holds, the newest first")
    compared_with: str = Field(description="case id of the one that the rest is about; empty: none could be measured")
    recorded_at: str | None
    rows: list[SerialRowOut]
    changes: list[SerialChangeOut]
    findings: list[SerialFindingOut]
    limits: list[str] = Field(description="why the comparison is limited")
    sentence: str
    beats_mv: dict[str, tuple[list[float | None], list[float | None]]] = Field(
        description="lead to median beats before and after, mV"
    )
    beats_hz: float

    @classmethod
    def of(cls, serial: Serial) -> SerialOut:
        """Of a comparison."""
        return cls.model_validate(asdict(serial))


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
    warnings: list[NoteOut]
    refusal: str = Field(description="why there is no draft")
    probabilities: dict[str, float]
    calibrated: bool
    measurements: dict[str, float]
    st_mv: dict[str, float] = Field(default_factory=dict, description="ST at the J point by lead, mV")
    unmeasured: dict[str, str] = Field(
        default_factory=dict, description="name of a number that could not be measured to the reason"
    )
    flags: list[FlagOut] = Field(default_factory=list)
    comparison: SerialOut | None = Field(default=None, description="with an earlier ECG, where one was named")
    prompt: str
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    citations: list[str]

    @classmethod
    def of(cls, draft: Draft) -> DraftOut:
        """Of a draft."""
        return cls.model_validate(draft.as_dict())


class DraftAnswer(BaseModel):
    """A draft, and the search that it stands on."""

    draft: DraftOut
    search: SearchOut


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
    """What is probable: neighbours, the encoder's reading and measurements together, as a draft states it."""

    statements: dict[str, float] = Field(description="most probable first; those at 0 are left out")
    superclasses: dict[str, float]
    cases: dict[str, float] = Field(
        default_factory=dict, description="the same by the neighbours alone; superclasses have the prefix super:"
    )
    reading: dict[str, float] = Field(
        default_factory=dict, description="the same by the encoder's reading alone; empty where it reads none"
    )
    calibrated: bool = Field(description="fitted probabilities; else shares of the neighbours")
    n_neighbours: int
    note: NoteOut | None = Field(description="why not calibrated, or what limits the calibration")


class AbstentionOut(BaseModel):
    """Whether anything near was found at all."""

    nothing_similar: bool
    best_score: float | None
    threshold: float | None = Field(description="best scores below this say nothing similar; null: not calibrated")
    reason: str = Field(
        default="",
        description="why nothing is similar. unlike: the ECG was read, no case is like it; unreadable: the picture "
        "was not read well enough to tell; no_ecg: the samples show no heartbeats, or one curve in all leads; no_case: "
        "none passes the filter; not_carried: no case carries what the words ask for; not_understood: the words say "
        "too little about ECGs; empty: there is something similar",
        examples=["", "unlike", "unreadable", "no_ecg", "no_case", "not_carried", "not_understood"],
    )


class PageOut(BaseModel):
    """What was understood of a picture."""

    layout: str
    n_rows: int
    leads: list[str]
    px_per_mm: float | None
    rotation_deg: float
    speed_mm_s: float | None = Field(
        default=None, description="paper speed as it was read or estimated; null: not known"
    )
    gain_mm_mv: float | None = Field(default=None, description="gain as it was read or estimated; null: not known")
    quality: float = Field(description="0, barely readable, to 1")
    corners: list[tuple[float, float]] = Field(description="of the signal area, px, clockwise from the top left")

    @classmethod
    def of(cls, page: PageReading) -> PageOut:
        """Of a reading; what it does not tell is null."""
        return cls(
            layout=page.layout,
            n_rows=page.n_rows,
            leads=list(page.leads),
            px_per_mm=page.px_per_mm,
            rotation_deg=page.rotation_deg,
            speed_mm_s=page.speed_mm_s,
            gain_mm_mv=page.gain_mm_mv,
            quality=page.quality,
            corners=[(float(x), float(y)) for x, y in page.corners],
        )


class LineOut(BaseModel):
    """Part of a curve on the picture."""

    points: list[tuple[float, float]] = Field(description="x and y, px of the picture")
    doubtful: bool = Field(description="followed where the picture does not show it well")


class PrintedLeadOut(BaseModel):
    """One lead printed in one place."""

    lead: str
    upside_down: bool = Field(description="printed as its negative, -aVR; the samples are turned back")
    row: int = Field(description="of the page, from 1 at the top")
    start_s: float = Field(description="its place in time")
    seconds: float
    strip: bool = Field(description="a rhythm strip, which fills its lead over the whole page")
    doubtful: float = Field(description="share that was not seen, or not seen well, 0 to 1")
    lines: list[LineOut] = Field(default=[], description="its curve on the picture, where `curves` was asked for")


class DigitizedOut(BaseModel):
    """The signals of a picture, and how they were read."""

    page: PageOut
    digitized: bool = Field(description="false: the curves could not be read as numbers; the picture can be searched")
    seconds: float | None = Field(description="time that the page shows")
    einthoven_db: float | None = Field(
        description="how well the limb leads fulfil Einthoven's and Goldberger's laws; null: cannot be tested"
    )
    confidence: dict[str, float] = Field(description="by lead, 0 to 1")
    printed: list[PrintedLeadOut]
    signal: Signal | None = Field(description="twelve leads, 500 Hz, null where the page shows nothing")
    warnings: list[NoteOut]

    @classmethod
    def of(cls, printed: PrintedEcg, *, samples: bool = True, curves: bool = False) -> DigitizedOut:
        """Of a picture that was read.

        Args:
            printed: What was read of it.
            samples: Whether the samples are wanted.
            curves: Whether places on the picture are wanted.
        """
        from ecgkin.retrieval.ecg.page.places import doubtful_share, lines_of

        found = printed.digitized
        leads = []
        for one in found.stretches if found is not None else ():
            assert found is not None
            lines = [
                LineOut(points=[(round(x, 1), round(y, 1)) for x, y in line.points.tolist()], doubtful=line.doubtful)
                for line in (lines_of(found, one) if curves else ())
            ]
            leads.append(
                PrintedLeadOut(
                    lead=one.lead, upside_down=one.sign < 0, row=one.row + 1, start_s=round(one.start_s, 3),
                    seconds=round(one.length_s, 3), strip=one.strip, doubtful=round(doubtful_share(found, one), 3),
                    lines=lines,
                )
            )  # fmt: skip
        return cls(
            page=PageOut.of(printed.page),
            digitized=printed.record is not None,
            seconds=None if found is None else found.record.duration_s,
            einthoven_db=None if found is None or found.einthoven_db is None else round(found.einthoven_db, 2),
            confidence={} if found is None else {lead: round(v, 3) for lead, v in found.confidence.items()},
            printed=leads,
            signal=Signal.of(found.record) if samples and found is not None and printed.record is not None else None,
            warnings=[NoteOut.of(note) for note in printed.page.warnings],
        )


class SearchOut(BaseModel):
    """What a search brings back."""

    query_id: str = Field(description="names this search for feedback and refinement; empty: no server keeps it")
    query: str = Field(description="image, record, text, image+text, record+text, refined")
    hits: list[HitOut]
    vote: VoteOut
    abstention: AbstentionOut
    page: PageOut | None
    previous: SerialOut | None = Field(default=None, description="with an earlier ECG, where one was named")
    understood: list[dict[str, Any]] | None = Field(
        default=None,
        description="what was understood of words, in parts that can be changed and sent back; null: they were only "
        "embedded, or there were none",
        examples=[[{"kind": "statement", "code": "AFIB", "polarity": "absent", "joined": "and", "text": "AF"}]],
    )
    testimony: dict[str, dict[str, float]] = Field(
        default={},
        description="what another classifier says of the ECG (setting witness): its name to statements and "
        "probabilities as it gives them; not fitted to these cases, and no part of vote or draft",
    )
    warnings: list[NoteOut]
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, result: SearchResult, query_id: str = "", first: Nearness | None = None) -> SearchOut:
        """The answer to a search.

        Args:
            result: What was found.
            query_id: Under which a server keeps its vector; "" where nobody does.
            first: Of the search that this one refines: marks move a query towards cases, so that its own cosines say
                nothing of whether anything is similar to the ECG.
        """
        page = result.page
        near = first or Nearness.of(result)
        return cls(
            query_id=query_id,
            query=result.query,
            hits=[HitOut(rank=hit.rank, score=hit.score, case=CaseOut.of(hit.case)) for hit in result.hits],
            vote=VoteOut(
                statements={code: p for code, p in result.vote.statements.items() if p > 0},
                superclasses=dict(result.vote.superclasses),
                cases={code: p for code, p in result.vote.cases.items() if p > 0},
                reading=dict(result.vote.reading),
                calibrated=result.vote.calibrated,
                n_neighbours=result.vote.n_neighbours,
                note=None if result.vote.note is None else NoteOut.of(result.vote.note),
            ),
            abstention=AbstentionOut(
                nothing_similar=near.nothing_similar,
                best_score=near.best_score,
                threshold=near.threshold,
                reason=near.reason,
            ),
            page=None if page is None else PageOut.of(page),
            understood=None if result.understood is None else result.understood.as_list(),
            testimony={name: dict(said) for name, said in result.testimony.items()},
            warnings=[NoteOut.of(note) for note in dict.fromkeys((*near.warnings, *result.warnings))],
            timings_ms={name: round(ms, 3) for name, ms in result.timings_ms.items()},
        )


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


class StretchOut(BaseModel):
    """Part of a query, and what the similarity loses without it."""

    lead: str = Field(description="its name; empty where the layout of a picture is not known")
    row: int = Field(description="of a picture, from 1 at the top; 0 of a recording")
    begin: float = Field(description="share of the lead as it is shown, 0 to 1")
    end: float
    begin_s: float | None = Field(description="seconds of a recording")
    end_s: float | None
    loss: float = Field(description="cosine with all of the query less cosine without this stretch")
    corners: list[tuple[float, float]] = Field(description="on a picture, px, clockwise from the top left")


class ExplanationOut(BaseModel):
    """What makes a case near to a query; the stretches that cost most come first."""

    case_id: str
    score: float = Field(description="cosine of query and case")
    stretches: list[StretchOut]


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


class MapPointOut(BaseModel):
    """One case on the map."""

    case_id: str
    x: float
    y: float
    superclass: str = Field(description="the first of its diagnostic superclasses; empty for none")


class MapOut(BaseModel):
    """The case base as points in a plane."""

    points: list[MapPointOut]
    total: int = Field(description="cases in the base; there may be fewer points")
    query: list[float] | None = Field(description="x and y of the search that was asked for")
    explained: float = Field(description="share of the vectors' variance that the two axes carry, 0 to 1")


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
