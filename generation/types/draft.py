"""`Draft`: what every drafter returns, with what carries each sentence.

A draft is preliminary whatever made it. Cases are cited in the text by their number in the evidence, "[2]", and by
their case id in the structure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ecgkin.generation.types.serial import Serial
from ecgkin.retrieval.ecg.statements.find import Polarity
from ecgkin.retrieval.notes import Note

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "de")
# What carries a sentence: cited cases, the samples, the picture that a model looked at, or nothing that was given.
Basis = Literal["cases", "measurement", "picture", "nothing"]
# Which witnesses are for a finding: the similar cases and the encoder's reading of this ECG, one of them, or neither by
# itself.
Support = Literal["both", "cases", "reading", "neither"]
# How a statement of the draft stands to the neighbours.
Agreement = Literal["agrees", "differs", "contradicts", "unknown"]

PRELIMINARY = "preliminary"
DISCLAIMER: Mapping[Language, str] = {
    "en": "Preliminary draft made by software from similar cases. It supports and does not replace a clinician.",
    "de": "Vorläufiger Software-Entwurf aus ähnlichen Fällen. Er unterstützt und ersetzt keine ärztliche Befundung.",
}


@dataclass(frozen=True)
class Evidence:
    """One case that the drafter was given.

    Attributes:
        number: From 1; "[1]" in the text means this case.
        case_id: Its id in the case base.
        score: Cosine to the query, -1 to 1.
        statements: The statement codes that it carries.
    """

    number: int
    case_id: str
    score: float
    statements: tuple[str, ...]


@dataclass(frozen=True)
class DraftedStatement:
    """One of the 71 statements as the draft speaks of it.

    Attributes:
        code: SCP code.
        polarity: "present", "possible" or "absent".
        probability: What the vote gives it, 0 to 1; None without a vote.
        agreement: "agrees" or "differs" by the vote; "contradicts" where the draft is against every neighbour, or
            says of one statement both that it is there and that it is not.
        citations: Cited case ids.
        supported_by: Those of them that carry the statement (for an absent one: that do not).
    """

    code: str
    polarity: Polarity
    probability: float | None
    agreement: Agreement
    citations: tuple[str, ...] = ()
    supported_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """One sentence.

    Attributes:
        text: As written, with its citation marks.
        section: Name of its section ("rhythm" ...), "" in a free answer.
        statements: Code and polarity of what it says.
        citations: Case ids, in the order cited.
        unknown_citations: Marks that mean no case that was given.
        basis: What carries it.
        probability: Of what it says, 0 to 1; None where that has no number.
        support: Which of similar cases and reading are for what it says; None where that does not apply, or where the
            encoder reads no statements.
    """

    text: str
    section: str = ""
    statements: tuple[tuple[str, Polarity], ...] = ()
    citations: tuple[str, ...] = ()
    unknown_citations: tuple[str, ...] = ()
    basis: Basis = "nothing"
    probability: float | None = None
    support: Support | None = None


@dataclass(frozen=True)
class Section:
    """One section of a structured report.

    Attributes:
        name: "rhythm", "axis_intervals", "conduction", "hypertrophy", "st_t", "infarction", "conclusion".
        title: In the draft's language.
        sentences: Empty where the drafter abstains.
        abstained: Why nothing is said here, for people; "" where something is.
    """

    name: str
    title: str
    sentences: tuple[Sentence, ...] = ()
    abstained: str = ""


@dataclass(frozen=True)
class DraftFlag:
    """A red flag by a published criterion on measured values, whatever the neighbours say.

    Attributes:
        code: Of `measures.flags.FlagCode`.
        severity: "urgent", "important" or "note".
        title: What is flagged, with leads and values, in the draft's language.
        text: The same with the criterion, how often it is wrong, and its source.
        leads: Where it shows.
        measured: The values that meet the criterion, by name or lead.
    """

    code: str
    severity: str
    title: str
    text: str
    leads: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """A preliminary interpretation; supports and does not replace a clinician.

    Attributes:
        text: The whole draft as it may be shown.
        language: "en" or "de".
        model: What wrote it: "consensus", or the name of a model.
        question: What was asked; None for a report.
        sections: Of a structured report; empty for a free answer.
        sentences: All of them, in order.
        statements: What the text says about the 71 statements, one entry each.
        evidence: The cases that were given to the drafter.
        unknown_citations: Marks in the text that mean no given case.
        warnings: What limits the draft, as notes with codes.
        refusal: Why there is no draft; "" where there is one.
        probabilities: The vote on all statements and superclasses; empty without one.
        calibrated: Whether these are fitted probabilities; else they are shares of the neighbours.
        measurements: Numbers taken from the samples, by name; empty where nothing could be measured.
        st_mv: Level of ST at the J point by lead, mV; empty as `measurements` is.
        unmeasured: Name of a number that could not be measured to the reason, in the draft's language.
        flags: Red flags of the measurements, the most dangerous first; also where the draft is a refusal.
        comparison: With an earlier ECG of the person, where one was named.
        prompt: Name and version of the prompt that a model was given; "" without a model.
        tokens_in, tokens_out: Of a model, None where it does not say.
        seconds: From the query to the draft.
        status: Always "preliminary".
        disclaimer: To be shown with the draft.
    """

    text: str
    language: Language
    model: str
    question: str | None = None
    sections: tuple[Section, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    statements: tuple[DraftedStatement, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    unknown_citations: tuple[str, ...] = ()
    warnings: tuple[Note, ...] = ()
    refusal: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    calibrated: bool = False
    measurements: Mapping[str, float] = field(default_factory=dict)
    st_mv: Mapping[str, float] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[DraftFlag, ...] = ()
    comparison: Serial | None = None
    prompt: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float = 0.0
    status: str = field(default=PRELIMINARY, init=False)

    @property
    def disclaimer(self) -> str:
        """To be shown with the draft."""
        return DISCLAIMER[self.language]

    @property
    def citations(self) -> tuple[str, ...]:
        """All cited case ids, in the order first cited."""
        return tuple(dict.fromkeys(case for sentence in self.sentences for case in sentence.citations))

    def codes(self, *polarities: Polarity) -> tuple[str, ...]:
        """Statements with one of these polarities ("present" and "possible" when none is given)."""
        wanted = polarities or ("present", "possible")
        return tuple(item.code for item in self.statements if item.polarity in wanted)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, `status` and `disclaimer` first."""
        plain = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "status"}
        return {"status": self.status, "disclaimer": self.disclaimer, **plain, "citations": list(self.citations)}


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
