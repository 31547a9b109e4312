"""What the mini generator makes of a drafter's prompt, and what its answers look like in words.

The prompts of `generation.prompts` are written for models that know the world; a decoder of five million weights would
spend them all on the boilerplate. So the back end keeps what a prompt says (cases, vote, question, language) and drops
how it says it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ecgkin.generation.prompt.untrusted import QUOTE_CLOSE, QUOTE_OPEN
from ecgkin.generation.types.draft import Language
from ecgkin.retrieval.ecg.statements.catalogue import CODES, STATEMENTS, statement

Task = Literal["report", "question"]

FINDINGS = {"en": "Findings: ", "de": "Befunde: "}
NOTHING = {"en": "none coded", "de": "keine kodiert"}
_CODE_OF = {name: s.code for s in STATEMENTS for name in (s.name_en, s.name_de)}
_CASE = re.compile(
    r"^\[\d+\] similarity [-\d.]+; findings: (?P<names>[^;\n]*)(?:; report: (?P<report>.*))?$", re.MULTILINE
)
_VOTE = re.compile(r"^\d+ similar ECGs together suggest: (?P<vote>.*)\.$", re.MULTILINE)
_VOTED = re.compile(r"(?P<name>[^,]+?) (?P<percent>\d{1,3}) %")
_QUESTION = re.compile(r"Answer this question about this ECG[^:]*: (?P<question>.*)", re.DOTALL)
_IN_GERMAN = re.compile(r"\s*Answer in German\.?\s*$")
_REPORT = re.compile(
    r"\b(?:write|draft|compose|generate|give|provide)\b[^.?\n]*\breport\b|\bbefund\w*\b[^.?\n]*\b(?:schreib|verfass|erstell)|"
    r"\b(?:schreib|verfass|erstell)\w*\b[^.?\n]*\b(?:befund|bericht)",
    re.IGNORECASE,
)  # fmt: skip
_GERMAN = re.compile(
    r"\b(?:dieses|diesem|zeigt|zeige|welche[rs]?|liegt|befund\w*|schreib\w*|nenne|ist|im|das|bitte)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class ShownCase:
    """A retrieved case as the decoder sees it.

    Attributes:
        codes: Its statements.
        report: Its report where it was quoted, else "".
    """

    codes: tuple[str, ...]
    report: str = ""


@dataclass(frozen=True)
class MiniPrompt:
    """What a prompt says.

    Attributes:
        task: The whole report, or one question.
        question: What is asked; "" for a report.
        language: Of the answer.
        cases: Nearest first.
        vote: Statement and probability (0 to 1), most probable first.
    """

    task: Task = "report"
    question: str = ""
    language: Language = "en"
    cases: tuple[ShownCase, ...] = ()
    vote: tuple[tuple[str, float], ...] = ()


def codes_of_names(names: str) -> tuple[str, ...]:
    """Statements of a list of their names (English or German, commas or semicolons); words that are none are skipped.

    >>> codes_of_names("sinus rhythm, normal ECG")
    ('SR', 'NORM')
    """
    parts = (part.strip(" .") for part in re.split(r"[,;]", names))
    return tuple(dict.fromkeys(_CODE_OF[part] for part in parts if part in _CODE_OF))


def findings_line(codes: Collection[str], language: Language) -> str:
    """The statements in words, in the fixed order of the 71.

    Args:
        codes: SCP codes.
        language: Of the names.

    Returns:
        One line, with "none coded" where there is no code.

    >>> findings_line({"SR", "NORM"}, "de")
    'Befunde: normales EKG; Sinusrhythmus.'
    """
    names = [statement(code).name(language) for code in CODES if code in codes]
    return FINDINGS[language] + ("; ".join(names) or NOTHING[language]) + "."


def split_answer(text: str) -> tuple[tuple[str, ...] | None, str]:
    """Statements of the findings line (None where there is no such line), and the text without it."""
    kept: list[str] = []
    codes: tuple[str, ...] | None = None
    for line in text.splitlines():
        head = next((head for head in FINDINGS.values() if line.startswith(head)), None)
        if head is None:
            kept.append(line)
        else:
            codes = codes_of_names(line.removeprefix(head))
    return codes, "\n".join(kept).strip()


def parse_prompt(prompt: str) -> MiniPrompt:
    """What any prompt says: those of `generation.prompts`, rows of `ecgkin instruct build`, or free text."""
    cases = tuple(
        ShownCase(codes_of_names(m["names"]), (m["report"] or "").removeprefix(QUOTE_OPEN).removesuffix(QUOTE_CLOSE))
        for m in _CASE.finditer(prompt)
    )
    voted = _VOTE.search(prompt)
    vote = tuple(
        (_CODE_OF[m["name"].strip()], int(m["percent"]) / 100)
        for m in _VOTED.finditer(voted["vote"] if voted else "")
        if m["name"].strip() in _CODE_OF
    )
    rest = prompt
    if cases or voted:
        # The task stands after the last line of the evidence.
        rest = prompt[max([m.end() for m in _CASE.finditer(prompt)] + ([voted.end()] if voted else [])) :]
    german = _IN_GERMAN.search(rest) is not None
    rest = _IN_GERMAN.sub("", rest).strip()
    asked = _QUESTION.search(rest)
    text = asked["question"].strip() if asked else rest
    if not asked and (not text or _REPORT.search(text)):
        return MiniPrompt("report", "", "de" if german or _GERMAN.search(text) else "en", cases, vote)
    return MiniPrompt("question", text, "de" if german or _GERMAN.search(text) else "en", cases, vote)
