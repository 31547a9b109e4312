"""ECGBench scored as we would report it: whole words, first letter in order, unparsed counted wrong, intervals.

What is different from `ecgbench_rules`: a label counts where it stands as a word, or by its name in words (negated ones
do not count); letters are looked for in the order of the text and never drawn; options are compared without regard to
case, longest first; columns are all labels of the task; AUC is taken from probabilities where an answer model gives
some; every figure has a bootstrap interval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.drafts.scores import macro_f1
from ecgkin.generation.research.ecgbench.rules import LABELS, LETTERS, options_of
from ecgkin.generation.research.retrieval.bootstrap import AucTable, Interval, interval, mean_interval, patient_weights
from ecgkin.retrieval.ecg.statements.catalogue import statement
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.errors import QueryError

RESAMPLES = 1_000
# Which statements of the 71 mean a label of a task, for answers in words instead of codes.
STATEMENTS_OF: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "cpsc-test": {
        "NORM": ("NORM",), "AF": ("AFIB",), "I-AVB": ("1AVB",), "LBBB": ("CLBBB",), "RBBB": ("CRBBB",), "PAC": ("PAC",),
        "PVC": ("PVC",), "STD": ("STD_",), "STE": ("STE_",),
    },
    "code15-test": {
        "1dAVb": ("1AVB",), "RBBB": ("CRBBB",), "LBBB": ("CLBBB",), "SB": ("SBRAD",), "ST": ("STACH",), "AF": ("AFIB",),
    },
}  # fmt: skip
_LETTER = re.compile(
    r"(?:answer|option|choice)(?:\s+is)?\s*:?\s*\(?\s*([A-H])\b|^\s*\(?([A-H])\s*(?:[.):]|$)", re.IGNORECASE
)
_NEGATED = re.compile(
    r"\b(?:no|not|without|kein\w*|unlikely|absence of|rule[sd]? out)\W+(?:\w+\W+){0,2}$", re.IGNORECASE
)


@dataclass(frozen=True)
class StrictScore:
    """Corrected figures; intervals are 95 % over rows (ECGBench gives no patients).

    Attributes:
        measures: By name: "macro-F1", "Hamming loss", "AUC of the answers", "AUC of the probabilities", "accuracy".
        unparsed: Share of the answers from which nothing could be read; they count as wrong or empty.
        n: Rows.
    """

    measures: Mapping[str, Interval]
    unparsed: float
    n: int


def strict_labels(text: str, split: str) -> set[str]:
    """Labels that an answer gives, as codes or in words, negated ones left out.

    Args:
        text: An answer.
        split: Set whose labels are looked for.

    Returns:
        Labels that the answer affirms.

    >>> sorted(strict_labels("ABNORMAL: no LBBB, atrial fibrillation", "cpsc-test"))
    ['AF']
    """
    if split not in LABELS:
        raise QueryError(f"{split!r} is no multi-label set (expected one of {', '.join(LABELS)})")
    found = set()
    labels = (*LABELS[split], *(("NORM", "ABNORMAL") if split == "code15-test" else ()))
    for label in labels:
        for hit in re.finditer(rf"(?<![\w-]){re.escape(label)}(?![\w-])", text):
            if not _NEGATED.search(text[: hit.start()]):
                found.add(label)
                break
    denied = re.sub(r"\bunlikely\b", "no", text, flags=re.IGNORECASE)
    stated = {hit.code for hit in find_statements(denied) if hit.polarity != "absent"}
    if split == "ptb-test":
        found |= {s for code in stated if (s := statement(code).superclass)}
    else:
        found |= {label for label, codes in STATEMENTS_OF[split].items() if stated & set(codes)}
    return found


def strict_letter(text: str, split: str) -> str | None:
    """The letter that an answer ends on: after "answer" or "option", or at the beginning of a line; None without one.

    Args:
        text: An answer.
        split: Says which letters there are.

    Returns:
        An upper-case letter, or None.

    >>> strict_letter("normal ECG. Answer: C) AF", "csn-test-no-cot"), strict_letter("(c)", "mmmu-ecg")
    ('C', 'C')
    """
    found = None
    for line in text.strip().splitlines():
        for hit in _LETTER.finditer(line):
            letter = (hit.group(1) or hit.group(2)).upper()
            found = letter if letter in LETTERS[split] else found
    return found


def strict_options(prompt: str, answer: str) -> set[str]:
    """Options of an ECG-QA prompt that an answer names, as whole words, longest first, case put aside.

    Args:
        prompt: Holds the candidates.
        answer: What was answered.

    Returns:
        Candidates that the answer names.
    """
    rest, found = answer.lower(), set()
    for option in sorted(options_of(prompt), key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(option.lower())}(?!\w)"
        if option and re.search(pattern, rest):
            found.add(option)
            rest = re.sub(pattern, " ", rest)
    return found


def score_strict_multilabel(
    split: str,
    golds: Sequence[str],
    answers: Sequence[str],
    probabilities: NDArray[np.floating] | None = None,
    weights: NDArray[np.float32] | None = None,
) -> StrictScore:
    """Corrected figures of a multi-label set.

    Args:
        split: One of `LABELS`; binary rows of CODE-15 should be scored apart by the caller.
        golds, answers: Texts.
        probabilities: Of the labels in the order of `LABELS[split]`, (n, n_labels), where the model gives some.
        weights: Bootstrap weights (resamples, n); over rows when None.

    Returns:
        Corrected figures with intervals.
    """
    labels = LABELS[split]
    truth = np.array([[label in _gold_set(text, split) for label in labels] for text in golds])
    sets = [strict_labels(text, split) for text in answers]
    said = np.array([[label in one for label in labels] for one in sets])
    if weights is None:
        weights = patient_weights(np.arange(len(golds)), RESAMPLES)
    value, drawn = macro_f1(truth, said, weights)
    measures = {
        "macro-F1": interval(value, drawn),
        "Hamming loss": mean_interval((truth != said).mean(axis=1).astype(np.float64), weights),
        "AUC of the answers": AucTable.of(truth, said.astype(np.float32), weights).macro().interval,
    }
    if probabilities is not None:
        measures["AUC of the probabilities"] = AucTable.of(truth, probabilities, weights).macro().interval
    return StrictScore(measures, float(np.mean([not one for one in sets])), len(golds))


def score_strict_letters(split: str, golds: Sequence[str], answers: Sequence[str]) -> StrictScore:
    """Corrected accuracy of a letter set.

    Args:
        split: Name of the set.
        golds: References.
        answers: In the same order.

    Returns:
        Accuracy with its interval; an answer without a letter is wrong.
    """
    letters = [strict_letter(text, split) for text in answers]
    right = np.array(
        [letter == gold.strip()[:1] for letter, gold in zip(letters, golds, strict=True)], dtype=np.float64
    )
    weights = patient_weights(np.arange(len(golds)), RESAMPLES)
    return StrictScore(
        {"accuracy": mean_interval(right, weights)}, float(np.mean([x is None for x in letters])), len(golds)
    )


def score_strict_qa(prompts: Sequence[str], golds: Sequence[Sequence[str]], answers: Sequence[str]) -> StrictScore:
    """Corrected accuracy of ECG-QA: the named options are exactly the gold ones.

    Args:
        prompts: Of all rows.
        golds: Right candidates of each row.
        answers: In the same order.

    Returns:
        Accuracy with its interval.
    """
    sets = [strict_options(p, a) for p, a in zip(prompts, answers, strict=True)]
    right = np.array(
        [{x.lower() for x in s} == {x.lower() for x in g} for s, g in zip(sets, golds, strict=True)], dtype=np.float64
    )
    weights = patient_weights(np.arange(len(golds)), RESAMPLES)
    return StrictScore({"accuracy": mean_interval(right, weights)}, float(np.mean([not s for s in sets])), len(golds))


def _gold_set(text: str, split: str) -> set[str]:
    """Gold texts are lists of codes: whole words, nothing negated."""
    return {label for label in LABELS[split] if re.search(rf"(?<![\w-]){re.escape(label)}(?![\w-])", text)}
