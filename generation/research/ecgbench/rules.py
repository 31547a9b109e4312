"""ECGBench's published scoring, rule by rule, oddities included (Liu et al. 2024; facts in ecgbench.md section 3).

Written from the description of the rules. What looks like a mistake here is one of theirs, kept so that figures can
stand beside the published ones; `ecgbench_strict` is what we would report.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecgkin.retrieval.errors import QueryError

LABELS: Mapping[str, tuple[str, ...]] = {
    "ptb-test": ("NORM", "MI", "STTC", "CD", "HYP"),
    "cpsc-test": ("NORM", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE"),
    "code15-test": ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"),
}
LETTERS: Mapping[str, str] = {"mmmu-ecg": "ABCD", "csn-test-no-cot": "ABCDEFGH", "g12-test-no-cot": "ABCDEFGH"}
# A letter set whose answer file has another number of lines is skipped.
EXPECTED_LINES: Mapping[str, int] = {"mmmu-ecg": 200, "csn-test-no-cot": 1611, "g12-test-no-cot": 2026}
ECGQA = "ecgqa-test"
ONLY = "Only answer based on the given Options without any explanation."
ORDER = ("mmmu-ecg", "ptb-test", "cpsc-test", "csn-test-no-cot", "g12-test-no-cot", ECGQA, "code15-test")
SEED = 42


@dataclass(frozen=True)
class MultiLabelScore:
    """Published figures of a multi-label set, as shares (they are printed times 100).

    Attributes:
        auc: Mean over columns of the AUC of 0/1 predictions; NaN where a column has one gold class.
        f1: Mean over columns, 0 where undefined.
        hamming: Share of wrong cells.
        columns: Labels seen in gold, sorted.
        n: Rows.
    """

    auc: float
    f1: float
    hamming: float
    columns: tuple[str, ...]
    n: int


def labels_in(text: str, split: str) -> set[str]:
    """Labels whose code is a case-sensitive substring; no word boundaries, no negation.

    Args:
        text: An answer or a reference.
        split: Set whose labels are looked for.

    Returns:
        Labels found.

    >>> sorted(labels_in("ABNORMAL: ISCHEMIA", "ptb-test"))
    ['MI', 'NORM']
    """
    return {label for label in _labels(split) if label in text}


def code15_gold(text: str) -> set[str]:
    """Gold of CODE-15: exactly NORM or ABNORMAL, else the six codes."""
    return {text} if text in ("NORM", "ABNORMAL") else labels_in(text, "code15-test")


def code15_predicted(text: str) -> set[str]:
    """Prediction of CODE-15: after the last "Answer:", NORM or ABNORMAL, and any of the six codes.

    >>> sorted(code15_predicted("NORM... Answer: ABNORMAL, AF"))
    ['ABNORMAL', 'AF']
    """
    rest = text.rsplit("Answer:", 1)[-1]
    codes = labels_in(rest, "code15-test")
    if "NORM" in rest and "ABNORMAL" not in rest:
        return codes | {"NORM"}
    if "ABNORMAL" in rest:
        return codes | {"ABNORMAL"}
    return codes


def score_multilabel(split: str, golds: Sequence[str], answers: Sequence[str]) -> MultiLabelScore:
    """Figures of ptb-test, cpsc-test or code15-test; row i of both belongs together.

    Args:
        split: Name of the set.
        golds: References.
        answers: Answers, in the same order.

    Returns:
        The published figures.

    Raises:
        QueryError: Not such a split, or nothing to score.
    """
    if len(golds) != len(answers) or not golds:
        raise QueryError(f"{len(golds)} gold texts and {len(answers)} answers (expected as many, 1 or more)")
    if split == "code15-test":
        truth, said = [code15_gold(t) for t in golds], [code15_predicted(t) for t in answers]
    else:
        truth, said = ([labels_in(t, split) for t in texts] for texts in (golds, answers))
    return score_sets(truth, said)


def score_sets(truth: Sequence[set[str]], said: Sequence[set[str]]) -> MultiLabelScore:
    """The same for label sets; the columns are those of gold, what was predicted besides is dropped.

    Args:
        truth: Gold label sets.
        said: Predicted label sets, in the same order.

    Returns:
        The published figures.
    """
    from sklearn.metrics import f1_score

    columns = sorted(set().union(*truth))
    y, p = (np.array([[label in row for label in columns] for row in rows], dtype=int) for rows in (truth, said))
    if not columns:
        raise QueryError("no gold text carries a label")
    aucs = []
    for gold, predicted in zip(y.T, p.T, strict=True):
        both = 0 < gold.sum() < len(gold)
        hit = predicted[gold == 1].mean() if both else np.nan
        correct = (1 - predicted[gold == 0]).mean() if both else np.nan
        aucs.append((hit + correct) / 2)
    return MultiLabelScore(
        auc=float(np.mean(aucs)),
        f1=float(f1_score(y, p, average="macro", zero_division=0)),
        hamming=float((y != p).mean()),
        columns=tuple(columns),
        n=len(y),
    )


def letter_in(answer: str) -> str | None:
    """The letter of an answer, None where the rules find none (then one is drawn).

    Raises:
        IndexError: "The correct option is " stands at the very end, as in the published code.

    >>> letter_in("C"), letter_in("normal ECG. Answer: C"), letter_in("Answer: C) AF"), letter_in("(C)")
    ('C', 'G', 'A', None)
    """
    every = "ABCDEFGH"
    if len(answer) == 1 and answer in every:
        return answer
    for letter in every:
        if f"{letter}." in answer:
            return letter
    mark = "The correct option is "
    if mark in answer:
        first = answer.rsplit(mark, 1)[1][0]
        return first if first in every else None
    if "Answer:" in answer:
        rest = answer.rsplit("Answer:", 1)[1]
        return next((letter for letter in every if letter in rest), None)
    return None


def score_letters(split: str, golds: Sequence[str], answers: Sequence[str], draw: random.Random) -> tuple[float, float]:
    """Accuracy, and the share of answers without a letter, for which one is drawn.

    Args:
        split: One of `LETTERS`.
        golds, answers: As in the files.
        draw: `random.Random(SEED)`, shared by all sets of a run in the order of `ORDER`.

    Returns:
        Accuracy, and the share of answers without a letter, each 0 to 1.
    """
    if split not in LETTERS:
        raise QueryError(f"{split!r} has no letters (expected one of {', '.join(LETTERS)})")
    right = unparsed = 0
    for gold, answer in zip(golds, answers, strict=True):
        letter = letter_in(answer)
        if letter is None:
            unparsed += 1
            letter = draw.choice(LETTERS[split])
        right += letter == (gold if split == "mmmu-ecg" else gold[:1])
    return right / max(1, len(golds)), unparsed / max(1, len(golds))


def options_of(prompt: str) -> list[str]:
    """Candidates of an ECG-QA prompt: what follows the last "Options:", cut at commas.

    >>> options_of("Question: x? Options: yes, no\\n\\n" + ONLY)
    ['yes', 'no']
    """
    rest = prompt.rsplit("Options:", 1)[-1].replace(ONLY, "")
    return [part.strip() for part in rest.split(",")]


def qa_right(prompt: str, gold: Sequence[str], answer: str) -> bool:
    """Whether the candidates found in the lower-cased answer are exactly the gold ones; candidates keep their case.

    Args:
        prompt: Holds the candidates.
        gold: Right ones.
        answer: What was answered.

    Returns:
        Whether it counts as right.
    """
    lowered = answer.lower()
    return {option for option in options_of(prompt) if option in lowered} == set(gold)


def score_qa(prompts: Sequence[str], golds: Sequence[Sequence[str]], answers: Sequence[str]) -> float:
    """Share of ECG-QA rows with exactly the right set.

    Args:
        prompts: Of all rows.
        golds: Right candidates of each row.
        answers: In the same order.

    Returns:
        Share, 0 to 1.
    """
    right = [qa_right(p, g, a) for p, g, a in zip(prompts, golds, answers, strict=True)]
    return float(np.mean(right))


def report_score(reply: Mapping[str, Mapping[str, object]]) -> float:
    """Score of one report from a judge's reply {aspect: {"Score", "Explanation"}}: mean of the scores times 10."""
    return 10 * float(np.mean([float(str(part["Score"])) for part in reply.values()]))


def arena_score(replies: Sequence[Mapping[str, Mapping[str, object]]]) -> float:
    """Score of the Arena: mean over the three aspects of all replies, times 10; other keys are an error.

    Raises:
        KeyError: A reply lacks one of the three, as in the published code.
    """
    aspects = ("Accuracy", "Completeness", "Instruction Adherence")
    return 10 * float(np.mean([float(str(reply[aspect]["Score"])) for reply in replies for aspect in aspects]))


def _labels(split: str) -> tuple[str, ...]:
    if split not in LABELS:
        raise QueryError(f"{split!r} is no multi-label set (expected one of {', '.join(LABELS)})")
    return LABELS[split]
