"""What `ecgkin evaluate mini` reports: arms side by side, what is made up and missed, paired tests, reports to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.draft_arms import CONSENSUS, NEAREST
from ecgkin.generation.draft_runs import DraftLine
from ecgkin.generation.draft_scores import ArmScores, score_arm
from ecgkin.retrieval.ecg.ptbxl import PtbXlRow
from ecgkin.retrieval.evaluation.bootstrap import Doubles, Interval, holm, interval, paired_p, patient_weights
from ecgkin.retrieval.evaluation.ranking import patient_numbers
from ecgkin.retrieval.evaluation.report_tables import table

PICTURE = "picture"
WITHOUT = "picture, trained without cases"
KS = (1, 3, 5)
WITH_CASES = tuple(f"picture + k={k}" for k in KS)
WITH_VOTE = "picture + k=5 + vote"
RANDOM_CASES = "picture + random k=3"
CASES_ONLY, CASES_VOTE_ONLY = "k=5, no picture", "k=5 + vote, no picture"
COMPARED = ("superclass macro-F1", "statement macro-F1", "made up a report")
# What the comparison is about: does retrieval help the generator, does the picture, and does either beat no model.
_PAIRS = (
    *((arm, PICTURE) for arm in WITH_CASES),
    (WITH_VOTE, PICTURE),
    (RANDOM_CASES, PICTURE),
    (PICTURE, WITHOUT),
    (WITH_VOTE, WITHOUT),
    (WITH_CASES[-1], CASES_ONLY),
    (WITH_VOTE, CASES_VOTE_ONLY),
    (WITH_VOTE, CONSENSUS),
    (PICTURE, CONSENSUS),
    (WITH_CASES[0], NEAREST),
)


@dataclass(frozen=True)
class MiniReport:
    """All arms on the same queries.

    Attributes:
        about: Data, encoder, model, in words.
        arms: Scores by arm.
        made_up, missed: Statements in a draft that the record does not carry, and the other way round, a report.
        tests: "arm - arm: measure" -> (difference, p, Holm-adjusted p).
        samples: Reports side by side: {"ecg_id", "true", "labels", arm: text}.
    """

    about: Mapping[str, Any]
    arms: Mapping[str, ArmScores]
    made_up: Mapping[str, Interval]
    missed: Mapping[str, Interval]
    tests: Mapping[str, tuple[float, float, float]]
    samples: Sequence[Mapping[str, str]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values; the sample reports stay out, they are PTB-XL's."""
        return {
            "about": dict(self.about),
            "arms": {
                name: {
                    "n": arm.n,
                    "measures": {m: vars(v) for m, v in arm.measures.items()},
                    "made up a report": vars(self.made_up[name]),
                    "missed a report": vars(self.missed[name]),
                }
                for name, arm in self.arms.items()
            },
            "tests": {name: {"difference": d, "p": p, "p_holm": h} for name, (d, p, h) in self.tests.items()},
        }

    def as_markdown(self) -> str:
        """Tables for people."""
        names = [m for m in next(iter(self.arms.values())).measures if "probabilities" not in m and "citation" not in m]
        head = ("arm", *names, "made up a report", "missed a report")
        rows = [
            (name, *(str(arm.measures[m]) if m in arm.measures else "-" for m in names), str(self.made_up[name]),
             str(self.missed[name]))
            for name, arm in self.arms.items()
        ]  # fmt: skip
        tests = [(n, f"{d:+.3f}", f"{p:.3f}", f"{h:.3f}") for n, (d, p, h) in self.tests.items()]
        return "\n\n".join(
            [
                "# Retrieval, generation, and both",
                "\n".join(f"- {key}: {value}" for key, value in self.about.items()),
                table(head, rows),
                table(("comparison", "difference", "p", "p (Holm)"), tests),
            ]
        )


def compare_arms(
    lines: Mapping[str, Sequence[DraftLine]], queries: Sequence[PtbXlRow], resamples: int
) -> tuple[Any, ...]:
    """Scores, statements made up, missed, tests, ten reports side by side: the last five parts of `MiniReport`."""
    weights = patient_weights(patient_numbers([row.patient_id for row in queries])[0], resamples).astype(np.float64)
    arms: dict[str, ArmScores] = {}
    made_up: dict[str, Interval] = {}
    missed: dict[str, Interval] = {}
    drawn: dict[tuple[str, str], Doubles] = {}
    values: dict[tuple[str, str], float] = {}
    for arm, written in lines.items():
        arms[arm] = score_arm(arm, written, queries, resamples)
        said = [{c for c, p in line.statements.items() if p != "absent"} for line in written]
        for name, store, counts in (
            ("made up a report", made_up, [len(s - set(r.labels)) for s, r in zip(said, queries, strict=True)]),
            ("missed a report", missed, [len(set(r.labels) - s) for s, r in zip(said, queries, strict=True)]),
        ):
            per = np.array(counts, dtype=np.float64)
            drawn[arm, name] = np.asarray(weights @ per / np.maximum(weights.sum(axis=1), 1e-9))
            store[arm] = interval(float(per.mean()), drawn[arm, name])
            values[arm, name] = float(per.mean())
        for name in COMPARED[:2]:
            drawn[arm, name] = arms[arm].resampled[name]
            values[arm, name] = arms[arm].measures[name].value
    pairs = [(a, b) for a, b in _PAIRS if a in lines and b in lines]
    raw = {f"{a} - {b}: {m}": paired_p(drawn[a, m], drawn[b, m]) for a, b in pairs for m in COMPARED}
    adjusted = holm(raw)
    tests = {
        f"{a} - {b}: {m}": (values[a, m] - values[b, m], raw[f"{a} - {b}: {m}"], adjusted[f"{a} - {b}: {m}"])
        for a, b in pairs
        for m in COMPARED
    }
    chosen = np.random.default_rng(10).choice(len(queries), min(10, len(queries)), replace=False)
    samples = [
        {"ecg_id": str(queries[i].ecg_id), "true": queries[i].report, "labels": " ".join(queries[i].labels),
         **{arm: written[i].text for arm, written in lines.items()}}
        for i in chosen.tolist()
    ]  # fmt: skip
    return arms, made_up, missed, tests, samples


def write_report(report: MiniReport, lines: Mapping[str, Sequence[DraftLine]], out: Path) -> None:
    """report.md, report.json, samples.json and one run file an arm."""
    (out / "runs").mkdir(parents=True, exist_ok=True)
    (out / "report.md").write_text(report.as_markdown() + "\n", encoding="utf-8")
    text = json.dumps(report.as_dict(), indent=1, default=float).replace("NaN", "null")
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    (out / "samples.json").write_text(json.dumps(report.samples, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for arm, written in lines.items():
        name = "".join(c if c.isalnum() else "-" for c in arm)
        body = "".join(json.dumps(vars(line), ensure_ascii=False) + "\n" for line in written)
        (out / "runs" / f"{name}.jsonl").write_text(body, encoding="utf-8")
