"""What the server answers when a draft is asked for: the draft, sentence by sentence, with what carries it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ecgkin.ui.api.answers import SearchOut


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
