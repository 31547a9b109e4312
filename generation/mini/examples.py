"""Instruction rows as the decoder is trained on them: prompt tokens, answer tokens, which record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ecgkin.generation.instruct_rows import IMAGE_TOKEN, Row
from ecgkin.generation.mini.settings import MiniSettings
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


def epoch_examples(examples: Sequence[Example], settings: MiniSettings, epoch: int) -> list[Example]:
    """The rows of one epoch in their order: each record's report once, plain or with cases, and some questions."""
    rng = np.random.default_rng([settings.seed, epoch])
    plain = {e.ecg_id: e for e in examples if e.kind == PLAIN}
    retrieved = {e.ecg_id: e for e in examples if e.kind == RETRIEVED}
    share = {"mixed": 0.5, "always": 1.0, "never": 0.0}[settings.cases]
    chosen = [retrieved[i] if i in retrieved and rng.random() < share else one for i, one in plain.items()]
    asked = [e for e in examples if e.kind == ASKED]
    n_asked = min(len(asked), round(settings.question_share * len(chosen)))
    if n_asked:
        chosen += [asked[i] for i in rng.choice(len(asked), n_asked, replace=False)]
    # Batches of similar length waste less on padding; which batch comes when stays random.
    order = sorted(range(len(chosen)), key=lambda i: len(chosen[i].prompt) + len(chosen[i].answer) + 8 * rng.random())
    groups = [order[i : i + settings.batch] for i in range(0, len(order), settings.batch)]
    return [chosen[i] for g in rng.permutation(len(groups)) for i in groups[g]]
