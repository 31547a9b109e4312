"""ECGBench's sets scored by rule: the published figures (`ecgbench_rules`) beside corrected ones (`ecgbench_strict`).

Reports need a judge (`ecgbench_judge`) for the published figure; without one their statements and words are compared.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ecgkin.generation.research.ecgbench import rules, strict
from ecgkin.generation.research.ecgbench.bench import REPORT, SPLITS, Answer, BenchRow
from ecgkin.retrieval.errors import QueryError


def score_split(
    split: str, rows: Sequence[BenchRow], answers: Mapping[str, Answer], draw: random.Random | None = None
) -> dict[str, Any]:
    """Published figures, and the corrected ones beside them.

    Args:
        split: One of `SPLITS` but the Arena, which takes a judge.
        rows, answers: Joined by id. As published, rows without an answer are left out, and a letter set whose answer
            file is not of the published length is skipped; the corrected figures count such rows as wrong.
        draw: `random.Random(42)` of the run.

    Returns:
        Figures by name, published and corrected.

    Raises:
        QueryError: No such split, or nothing to score.
    """
    draw = draw or random.Random(rules.SEED)
    scored = [row for row in rows if row.row_id in answers]
    if not scored:
        raise QueryError(f"none of the {len(rows)} rows of {split} has an answer")
    texts = [answers[row.row_id].texts[0] for row in scored]
    golds = [row.golds[0] for row in scored]
    every = [answers[row.row_id].texts[0] if row.row_id in answers else "" for row in rows]
    published: dict[str, Any] = {}
    if split in rules.LABELS:
        found = rules.score_multilabel(split, [str(g) for g in golds], texts)
        published = {"AUC": found.auc, "macro-F1": found.f1, "Hamming loss": found.hamming, "n": found.n}
        better = strict.score_strict_multilabel(split, [str(r.golds[0]) for r in rows], every, _chances(rows, answers))
    elif split in rules.LETTERS:
        if len(answers) == rules.EXPECTED_LINES[split]:
            accuracy, unparsed = rules.score_letters(split, [str(g) for g in golds], texts, draw)
            published = {"accuracy": accuracy, "drawn at random": unparsed, "n": len(scored)}
        else:
            published = {"skipped": f"{len(answers)} answers, the published scorer wants {rules.EXPECTED_LINES[split]}"}
        better = strict.score_strict_letters(split, [str(r.golds[0]) for r in rows], every)
    elif split == rules.ECGQA:
        listed = [g if isinstance(g, list) else [str(g)] for g in golds]
        published = {"accuracy": rules.score_qa([r.prompts[0] for r in scored], listed, texts), "n": len(scored)}
        all_golds = [r.golds[0] if isinstance(r.golds[0], list) else [str(r.golds[0])] for r in rows]
        better = strict.score_strict_qa([r.prompts[0] for r in rows], all_golds, every)
    elif split == REPORT:
        return {"split": split, "published": {"judge": "needs a judge"}, "corrected": _report_measures(golds, texts)}
    else:
        raise QueryError(f"{split!r} cannot be scored by rule (expected one of {', '.join(SPLITS[:-1])})")
    return {"split": split, "published": published, "corrected": asdict(better)}


def _chances(rows: Sequence[BenchRow], answers: Mapping[str, Answer]) -> Any:
    import numpy as np

    given = [answers[row.row_id].probabilities if row.row_id in answers else None for row in rows]
    return np.array(given, dtype=np.float64) if all(p is not None for p in given) else None


def _report_measures(golds: Sequence[Any], texts: Sequence[str]) -> dict[str, Any]:
    """Statement F1 and ROUGE-L of reports: what can be measured without a judge."""
    import numpy as np

    from ecgkin.generation.research.drafts.scores import micro_f1
    from ecgkin.generation.research.retrieval.bootstrap import interval, mean_interval, patient_weights
    from ecgkin.generation.research.retrieval.labels import default_space
    from ecgkin.retrieval.ecg.statements.find import find_statements

    space = default_space()
    truth, said = (
        space.statements([{h.code: 1.0 for h in find_statements(str(t)) if h.polarity != "absent"} for t in side])
        for side in (golds, texts)
    )
    weights = patient_weights(np.arange(len(golds)), strict.RESAMPLES)
    measures = {"statement micro-F1": asdict(interval(*micro_f1(truth, said, weights)))}
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        return {"measures": measures, "n": len(golds)}
    scorer = RougeScorer(["rougeL"])
    rouge = np.array([scorer.score(str(g), t)["rougeL"].fmeasure for g, t in zip(golds, texts, strict=True)])
    return {"measures": {**measures, "ROUGE-L": asdict(mean_interval(rouge, weights))}, "n": len(golds)}
