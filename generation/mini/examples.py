"""Instruction rows as the decoder is trained on them: prompt tokens, answer tokens, which record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ecgkin.generation.instruct_rows import IMAGE_TOKEN, Row
from ecgkin.generation.mini.vocabulary import Vocabulary
from ecgkin.generation.mini.wording import parse_prompt, split_answer

PLAIN, RETRIEVED, ASKED = "plain", "retrieved", "question"


@dataclass(frozen=True, slots=True)
class Example:
    """One row.

    Attributes:
        ecg_id: The record.
        kind: A report without cases, a report with cases, or a question.
        prompt, answer: Tokens; the answer ends with its end mark.
    """

    ecg_id: int
    kind: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def turns(row: Row) -> tuple[str, str]:
    """Question (without the image token) and answer of a row."""
    human, reply = (turn["value"] for turn in row["conversations"][:2])
    return human.replace(IMAGE_TOKEN, "", 1), reply


def ecg_id_of(row: Row) -> int:
    """ "ptb-xl-00017-3" -> 17."""
    return int(row["id"].split("-")[2])


def texts_of(rows: Iterable[Row]) -> Iterable[str]:
    """What the vocabulary is learnt from: plain questions and all answers, without the names of statements."""
    for row in rows:
        question, answer = turns(row)
        if not row["metadata"].get("cases"):
            yield question
            yield split_answer(answer)[1]


def examples_of(rows: Sequence[Row], vocabulary: Vocabulary) -> list[Example]:
    """All rows in token numbers."""
    out = []
    for row in rows:
        question, answer = turns(row)
        prompt = parse_prompt(question)
        codes, words = split_answer(answer)
        kind = ASKED if row["metadata"]["subtask"] != "report" else RETRIEVED if prompt.cases else PLAIN
        out.append(
            Example(
                ecg_id_of(row),
                kind,
                tuple(vocabulary.prompt_ids(prompt)),
                tuple(vocabulary.answer_ids(codes, words)),
            )
        )
    return out
