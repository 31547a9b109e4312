"""Which cases a model is shown, and how much of each, within its real token budget.

Published experience (field.md 4): k small, and retrieval accuracy decides; k = 1 to 5 did as well as 10. So the
nearest cases come first, reports that say the same are shown once, and where at least three are shown one of them
disagrees with the others if any near one does: a model that sees only agreement repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ecgkin.generation.prompt.untrusted import QUOTE_CLOSE, QUOTE_OPEN, question_line, quotable
from ecgkin.generation.prompt.wording import fill, prompt_name
from ecgkin.generation.types.draft import Evidence, Language
from ecgkin.retrieval.ecg.statements.catalogue import CODES, statement, superclasses
from ecgkin.retrieval.ecg.statements.report_text import has_findings, normalise_report, report_language
from ecgkin.retrieval.errors import GenerationError
from ecgkin.retrieval.search.hits import Hit
from ecgkin.retrieval.search.vote import Vote

if TYPE_CHECKING:
    from PIL.Image import Image

# Dissent is looked for among this many of the nearest cases; farther ones are dissent by distance, not by finding.
_NEAR = 20
# Report lengths (characters) that are tried until the prompt fits; 0 leaves the statement names alone.
_REPORT_LENGTHS = (600, 240, 120, 0)
_VOTE_LINES = 8
_VOTE_AT_LEAST = 0.1


class Counter(Protocol):
    """The part of a back end that counts tokens."""

    @property
    def context_length(self) -> int:
        """Longest prompt plus answer, in tokens."""

    def count_tokens(self, prompt: str, image: Image | None = None) -> int:
        """Tokens of a prompt, visual tokens included.

        Args:
            prompt: The user's turn.
            image: The picture that goes along, or None.
        """


@dataclass(frozen=True)
class Context:
    """A prompt that fits.

    Attributes:
        prompt: The user's turn.
        prompt_name: Its name and version.
        evidence: The cases that it shows, numbered as in the prompt.
        n_tokens: What it takes in the context, visual tokens included.
        budget: What it was allowed to take.
        dropped: Chosen cases that did not fit.
        report_characters: Most characters of a report that were quoted.
    """

    prompt: str
    prompt_name: str
    evidence: tuple[Evidence, ...]
    n_tokens: int
    budget: int
    dropped: int
    report_characters: int


def choose_cases(hits: Sequence[Hit], k: int) -> list[Hit]:
    """The k cases to show, nearest first.

    Cases that repeat the report (or, without one, the statements) of a nearer one are left out. With k >= 3, when all
    chosen have the superclasses of the nearest one, the last gives way to the nearest case that has others.

    Args:
        hits: Best first.
        k: How many; 0 for none.

    Returns:
        At most k hits.
    """
    distinct: dict[str, Hit] = {}
    for hit in hits:
        case = hit.case
        said = normalise_report(case.report) if has_findings(case.report) else ""
        distinct.setdefault(said or "|".join(sorted(case.labels)), hit)
    pool = list(distinct.values())
    chosen = pool[:k]
    if k >= 3 and len(chosen) == k:
        first = superclasses(chosen[0].case.labels)
        if all(superclasses(hit.case.labels) == first for hit in chosen):
            others = [h for h in pool[k:] if h.rank <= _NEAR and superclasses(h.case.labels) != first]
            chosen = [*chosen[:-1], *(others[:1] or chosen[-1:])]
    return chosen


def numbered(cases: Sequence[Hit], shown: Sequence[str]) -> list[tuple[int, Hit]]:
    """Cases and the numbers by which they are cited: those of their cards, so that "[4]" in a text is card 4.

    Args:
        cases: Nearest first.
        shown: Ids of the cases on cards 1, 2, ...; cases without a card go on from there. Without any: 1, 2, ...
    """
    numbers = {case_id: number for number, case_id in enumerate(shown, 1)}
    return [(numbers.setdefault(hit.case.case_id, len(numbers) + 1), hit) for hit in cases]


def case_line(number: int, hit: Hit, characters: int) -> str:
    """One case as the prompt shows it; age, sex, dates and identifiers stay out.

    Args:
        number: By which it is cited.
        hit: The case.
        characters: Most characters of its report; reports in other languages than English are never quoted, because
            the statement names say the same in English.

    Returns:
        One line of text.
    """
    names = ", ".join(statement(code).name_en for code in CODES if code in hit.case.labels) or "none coded"
    line = f"[{number}] similarity {hit.score:.2f}; findings: {names}"
    if characters and has_findings(hit.case.report) and report_language(hit.case.report[:2000]) == "en":
        quoted = quotable(hit.case.report, characters)
        if quoted:
            line += f"; report: {QUOTE_OPEN}{quoted}{QUOTE_CLOSE}"
    return line


def vote_line(vote: Vote) -> str:
    """The most probable statements in words."""
    top = vote.top(_VOTE_LINES, _VOTE_AT_LEAST)
    return ", ".join(f"{statement(code).name_en} {100 * p:.0f} %" for code, p in top)


def measured_line(values: Mapping[str, float]) -> str:
    """Measurements in words, in a fixed order.

    >>> measured_line({"qrs_ms": 92.0, "rate_bpm": 71.6})
    'rate 72/min, QRS 92 ms'
    """
    words = (
        ("rate_bpm", "rate {:.0f}/min"),
        ("pr_ms", "PR {:.0f} ms"),
        ("qrs_ms", "QRS {:.0f} ms"),
        ("qt_ms", "QT {:.0f} ms"),
        ("qtc_ms", "QTc {:.0f} ms"),
        ("axis_deg", "axis {:.0f} degrees"),
    )
    return ", ".join(text.format(values[name]) for name, text in words if name in values)


def build_context(
    hits: Sequence[Hit],
    vote: Vote | None,
    counter: Counter,
    *,
    k: int = 3,
    question: str | None = None,
    language: Language = "en",
    measured: Mapping[str, float] | None = None,
    image: Image | None = None,
    max_new_tokens: int = 512,
    shown: Sequence[str] = (),
) -> Context:
    """Choose cases and shorten them until prompt, picture and answer fit into the model's context.

    Args:
        hits: Best first, more than k so that there is a choice.
        vote: Of the neighbours; None leaves it out.
        counter: Counts by the model's own rules.
        k: Cases to show; 0 for none, and then no vote either: the model is on its own.
        question: What is asked, None for a report.
        language: Of the answer.
        measured: Values of `Measurements`.
        image: The picture that goes along.
        max_new_tokens: Room for the answer.
        shown: Ids of the cases that the reader sees as cards 1, 2, ...; see `numbered`.

    Returns:
        Prompt, evidence, and what they take.

    Raises:
        GenerationError: Even without cases the prompt does not fit.
    """
    budget = counter.context_length - max_new_tokens
    cases = numbered(choose_cases(hits, k), shown)
    asked = question_line(question) if question else ""
    name = prompt_name(question=bool(asked), cases=bool(cases))
    n_chosen, n_tokens = len(cases), 0
    while True:
        # The nearest case in full is worth more than a far one: shorten reports first, then drop from the far end.
        for characters in _REPORT_LENGTHS if cases else (0,):
            prompt = fill(
                name,
                cases="\n".join(case_line(number, hit, characters) for number, hit in cases),
                vote=vote_line(vote) if vote is not None and cases else "",
                n_voting=vote.n_neighbours if vote is not None else 0,
                measured=measured_line(measured or {}),
                question=asked,
                language=language,
            )
            n_tokens = counter.count_tokens(prompt, image)
            if n_tokens <= budget:
                evidence = tuple(
                    Evidence(number, h.case.case_id, h.score, tuple(c for c in CODES if c in h.case.labels))
                    for number, h in cases
                )
                return Context(prompt, name, evidence, n_tokens, budget, n_chosen - len(cases), characters)
        if not cases:
            raise GenerationError(
                f"the prompt without any case takes {n_tokens} tokens, {budget} are left beside {max_new_tokens} for "
                f"the answer in a context of {counter.context_length}",
                hint="ask for fewer new tokens, or give a page of exactly 2:1",
            )
        cases = cases[:-1]
        name = prompt_name(question=bool(asked), cases=bool(cases))
