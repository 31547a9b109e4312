"""Figures of one arm of `evaluate drafts` from its lines: F1, AUC, citations, text measures, abstention, cost.

BERTScore is that of Zhang et al. 2020 ("BERTScore: Evaluating text generation with BERT", Equations 1 to 3) with a
model that is at hand: every word piece is matched with its most similar piece of the other text, precision and recall
are mean cosines; no weights by document frequency, no rescaling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.backends.pulse.build import import_transformers
from ecgkin.generation.research.drafts.runs import DraftLine
from ecgkin.generation.research.retrieval.bootstrap import (
    AucTable,
    Doubles,
    Interval,
    interval,
    mean_interval,
    patient_weights,
)
from ecgkin.generation.research.retrieval.labels import BoolMatrix, LabelSpace, default_space
from ecgkin.generation.research.retrieval.metrics import clean_columns
from ecgkin.generation.research.retrieval.ranking import patient_numbers
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.errors import ModelError, why

_LONGEST = 256  # word pieces of a draft or report that count
_BATCH = 16

COVERAGES: tuple[float, ...] = (1.0, 0.9, 0.75, 0.5)
_WORD = re.compile(r"\w+")


def bert_scores(drafts: Sequence[str], references: Sequence[str], folder: str | Path) -> NDArray[np.float64]:
    """F of each pair, at most 1, shape (n,); NaN where one of the two is empty.

    Args:
        drafts: What was written.
        references: What it is compared with, as many.
        folder: A model of the BERT kind with its tokenizer, as transformers writes it.

    Returns:
        F of each pair, (n,).

    Raises:
        ModelError: The folder holds no such model, or the numbers of texts differ.
    """
    if len(drafts) != len(references):
        raise ModelError(f"{len(drafts)} drafts and {len(references)} references do not pair up")
    model, tokenizer = _load(Path(folder))
    out = np.full(len(drafts), np.nan)
    for start in range(0, len(drafts), _BATCH):
        part = [
            i for i in range(start, min(start + _BATCH, len(drafts))) if drafts[i].strip() and references[i].strip()
        ]
        ours = _vectors(model, tokenizer, [drafts[i] for i in part])
        theirs = _vectors(model, tokenizer, [references[i] for i in part])
        for i, one, other in zip(part, ours, theirs, strict=True):
            if len(one) and len(other):
                alike = one @ other.T
                precision, recall = float(alike.max(axis=1).mean()), float(alike.max(axis=0).mean())
                out[i] = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return out


def _load(folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json", hint="give the folder of a BERT model with its tokenizer")
    transformers = import_transformers()
    try:
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} holds no model that transformers reads: {why(error)}") from error
    return model, tokenizer


def _vectors(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[NDArray[np.float64]]:
    """Unit vectors of the word pieces of each text, without the marks at its ends, shapes (n_pieces, dim)."""
    import torch

    if not texts:
        return []
    coded = tokenizer(
        list(texts),
        padding=True,
        truncation=True,
        max_length=_LONGEST,
        return_tensors="pt",
        return_special_tokens_mask=True,
    )
    marks = coded.pop("special_tokens_mask").bool()
    with torch.inference_mode():
        states = model(**coded).last_hidden_state.double()
    states = torch.nn.functional.normalize(states, dim=-1)
    words = coded["attention_mask"].bool() & ~marks
    return [np.asarray(row[kept].numpy()) for row, kept in zip(states, words, strict=True)]


@dataclass(frozen=True)
class ArmScores:
    """Figures of one arm; intervals are 95 % over patients.

    Attributes:
        arm: Name.
        n: Queries.
        measures: By name, in the order of the table.
        abstention: Coverage -> superclass macro-F1 on the queries that the arm is surest of; empty where it gives no
            probabilities.
        abstained: Section -> share of the drafts that say nothing there.
        per_statement: Code -> (F1, positives).
        cost: "seconds p50", "seconds p95", "tokens in", "tokens out" (means), "failed".
        resampled: Of the measures that are compared between arms.
    """

    arm: str
    n: int
    measures: Mapping[str, Interval]
    abstention: Mapping[float, float]
    abstained: Mapping[str, float]
    per_statement: Mapping[str, tuple[float, int]]
    cost: Mapping[str, float]
    resampled: Mapping[str, Doubles] = field(repr=False)


def score_arm(
    arm: str,
    lines: Sequence[DraftLine],
    rows: Sequence[PtbXlRow],
    resamples: int = 1_000,
    texts: bool = True,
    bert: str | Path | None = None,
) -> ArmScores:
    """Score drafts against the labels and reports of their records.

    Args:
        arm: Name.
        lines: Drafts.
        rows: Their records, in the same order.
        resamples: Of the bootstrap over patients.
        texts: Whether ROUGE-L and BLEU are measured (they need the extra `drafts`).
        bert: Folder of a BERT model for BERTScore; None leaves it out.

    Returns:
        All figures of the arm.
    """
    space = default_space()
    truth = space.statements([row.labels for row in rows])
    drafted = _drafted(lines, space)
    supers, drafted_supers = space.superclass_matrix(truth), space.superclass_matrix(drafted)
    weights = patient_weights(patient_numbers([row.patient_id for row in rows])[0], resamples)
    known = np.asarray(supers.any(axis=1))
    probabilities = _probabilities(lines, space)
    measures, resampled = _label_measures(truth, drafted, probabilities, space, weights)
    measures["citation precision"] = _ratio([x.carried for x in lines], [x.cited for x in lines], weights)
    measures["unknown citations a draft"] = mean_interval(
        np.array([x.unknown for x in lines], dtype=np.float64), weights
    )
    if texts:
        measures |= _text_measures(lines, rows, weights)
        if bert is not None:
            reports = [row.report for row in rows]
            measures["BERTScore F"] = mean_interval(bert_scores([x.text for x in lines], reports, bert), weights)
    f1 = 2 * (truth & drafted).sum(axis=0) / np.maximum(truth.sum(axis=0) + drafted.sum(axis=0), 1)
    return ArmScores(
        arm=arm,
        n=len(lines),
        measures=measures,
        abstention=_curve(probabilities, supers, drafted_supers, known, space),
        abstained=_abstained(lines),
        per_statement={c: (float(f), int(n)) for c, f, n in zip(space.codes, f1, truth.sum(axis=0), strict=True)},
        cost=_cost(lines),
        resampled=resampled,
    )


def _label_measures(
    truth: BoolMatrix,
    drafted: BoolMatrix,
    probabilities: NDArray[np.float32] | None,
    space: LabelSpace,
    weights: NDArray[np.float32],
) -> tuple[dict[str, Interval], dict[str, Doubles]]:
    """F1, Hamming loss and AUC of what was said against the labels; of those that are compared also the resamples.

    Args:
        truth, drafted: Statements, shape (n, 71).
        probabilities: Of statements and superclasses; None where the arm gives none.
        space: Of the columns.
        weights: How often each row is drawn, shape (n_resamples, n).
    """
    measures: dict[str, Interval] = {}
    resampled: dict[str, Doubles] = {}
    supers, drafted_supers = space.superclass_matrix(truth), space.superclass_matrix(drafted)
    known = np.asarray(supers.any(axis=1))

    def add(name: str, value: float, drawn: Doubles) -> None:
        measures[name], resampled[name] = interval(value, drawn), drawn

    for name, y, d, w in (
        ("superclass macro-F1", supers[known], drafted_supers[known], weights[:, known]),
        ("statement macro-F1", truth, drafted, weights),
    ):
        add(name, *macro_f1(y, d, w))
        add(name.replace("macro", "micro"), *micro_f1(y, d, w))
    clean = clean_columns(truth)
    if clean.any():
        add("statement macro-F1 (>= 10 positives)", *macro_f1(truth[:, clean], drafted[:, clean], weights))
    hamming = (supers[known] != drafted_supers[known]).mean(axis=1).astype(np.float64)
    measures["superclass Hamming loss"] = mean_interval(hamming, weights[:, known])
    if known.any():
        table = AucTable.of(supers[known], drafted_supers[known].astype(np.float32), weights[:, known]).macro()
        add("superclass AUC of the text (0/1)", table.interval.value, table.resampled)
    if probabilities is not None and known.any():
        by_super = probabilities[known, len(space.codes) :]
        table = AucTable.of(supers[known], by_super, weights[:, known]).macro()
        add("superclass AUC of the probabilities", table.interval.value, table.resampled)
        none = np.empty((0, len(truth)), dtype=np.float32)
        plain = AucTable.of(truth, probabilities[:, : len(space.codes)], none).macro().interval
        measures["statement AUC of the probabilities"] = plain
    return measures, resampled


def macro_f1(truth: BoolMatrix, drafted: BoolMatrix, weights: NDArray[np.float32]) -> tuple[float, Doubles]:
    """Mean F1 over the columns with a positive, and the same in each resample (over those that have one there).

    Args:
        truth: Multi-hot, shape (n, n_labels).
        drafted: What was said, of the same shape.
        weights: How often each row is drawn, shape (n_resamples, n).

    Returns:
        The value, and those of the resamples, shape (n_resamples,).
    """
    value, drawn = (_f1(*_counts(truth, drafted, w)) for w in (np.ones((1, len(truth)), np.float32), weights))
    return float(np.nanmean(value)) if np.isfinite(value).any() else float("nan"), _row_means(drawn)


def micro_f1(truth: BoolMatrix, drafted: BoolMatrix, weights: NDArray[np.float32]) -> tuple[float, Doubles]:
    """F1 of all pairs of query and label together, and in each resample.

    Args:
        truth: Multi-hot, shape (n, n_labels).
        drafted: What was said, of the same shape.
        weights: How often each row is drawn, shape (n_resamples, n).

    Returns:
        The value, and those of the resamples, shape (n_resamples,).
    """
    out = []
    for w in (np.ones((1, len(truth)), np.float32), weights):
        hit, said, true = (part.sum(axis=1, keepdims=True) for part in _counts(truth, drafted, w))
        out.append(_f1(hit, said, true)[:, 0])
    return float(out[0][0]), out[1]


def _counts(truth: BoolMatrix, drafted: BoolMatrix, weights: NDArray[np.float32]) -> tuple[Doubles, Doubles, Doubles]:
    """Hits, drafted and true of each column in each resample, shape (resamples, n_labels)."""
    parts = (truth & drafted, drafted, truth)
    hit, said, true = (np.asarray(weights @ part.astype(np.float32), dtype=np.float64) for part in parts)
    return hit, said, true


def _f1(hit: Doubles, said: Doubles, true: Doubles) -> Doubles:
    """NaN where nothing is true."""
    return np.asarray(np.where(true > 0, 2 * hit / np.maximum(said + true, 1e-9), np.nan))


def _row_means(matrix: Doubles) -> Doubles:
    known = np.isfinite(matrix)
    return np.asarray(np.where(known, matrix, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def _drafted(lines: Sequence[DraftLine], space: LabelSpace) -> BoolMatrix:
    """What the drafts state, plainly or as possible, shape (n, 71).

    PTB-XL's labels count whatever their likelihood, hedged findings among them, and so do hedged sentences.
    """
    return space.statements([{c: 1.0 for c, said in x.statements.items() if said != "absent"} for x in lines])


def _probabilities(lines: Sequence[DraftLine], space: LabelSpace) -> NDArray[np.float32] | None:
    """Statements, then superclasses (NORM twice: both are the statement), None where a draft has none."""
    if not lines or any(not x.probabilities for x in lines):
        return None
    names = (*space.codes, *space.superclasses)
    return np.array([[x.probabilities.get(name, 0.0) for name in names] for x in lines], dtype=np.float32)


def _ratio(part: Sequence[int], whole: Sequence[int], weights: NDArray[np.float32]) -> Interval:
    a, b = np.array(part, dtype=np.float64), np.array(whole, dtype=np.float64)
    if b.sum() == 0:
        return Interval(float("nan"))
    drawn = (weights @ a) / np.maximum(weights @ b, 1e-9)
    return interval(float(a.sum() / b.sum()), np.asarray(drawn, dtype=np.float64))


def _curve(
    probabilities: NDArray[np.float32] | None,
    supers: BoolMatrix,
    drafted: BoolMatrix,
    known: NDArray[np.bool_],
    space: LabelSpace,
) -> dict[float, float]:
    """Superclass macro-F1 on the share of queries whose least certain superclass is most certain."""
    if probabilities is None:
        return {}
    p = probabilities[:, len(space.codes) :]
    sure = np.maximum(p, 1 - p).min(axis=1)
    order = np.argsort(-sure[known], kind="stable")
    out = {}
    for coverage in COVERAGES:
        kept = order[: max(1, round(coverage * len(order)))]
        no_resamples = np.empty((0, len(kept)), dtype=np.float32)
        out[coverage] = macro_f1(supers[known][kept], drafted[known][kept], no_resamples)[0]
    return out


def _abstained(lines: Sequence[DraftLine]) -> dict[str, float]:
    names = sorted({name for line in lines for name in line.abstained})
    return {name: sum(name in line.abstained for line in lines) / len(lines) for name in names}


def _cost(lines: Sequence[DraftLine]) -> dict[str, float]:
    seconds = np.array([x.seconds for x in lines])
    out = {"seconds p50": float(np.median(seconds)), "seconds p95": float(np.percentile(seconds, 95))}
    for name in ("tokens_in", "tokens_out"):
        known = [value for x in lines if (value := getattr(x, name)) is not None]
        if known:
            out[name.replace("_", " ")] = float(np.mean(known))
    out["failed"] = float(sum(bool(x.error) for x in lines))
    return out


class _Words:
    """Tokens for ROUGE: whole words with their umlauts, which its own tokenizer cuts apart."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def _text_measures(
    lines: Sequence[DraftLine], rows: Sequence[PtbXlRow], weights: NDArray[np.float32]
) -> dict[str, Interval]:
    """ROUGE-L (F) a draft and BLEU over all, against the record's own report; reports without words are left out."""
    try:
        import sacrebleu
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        return {}
    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    values = np.full(len(lines), np.nan)
    drafts, references = [], []
    for i, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if not line.text or not row.report:
            continue
        values[i] = scorer.score(row.report, line.text)["rougeL"].fmeasure
        drafts.append(line.text.lower())
        references.append(row.report.lower())
    out = {"ROUGE-L": mean_interval(values, weights)}
    if drafts:
        out["BLEU"] = Interval(float(sacrebleu.corpus_bleu(drafts, [references]).score))
    return out
