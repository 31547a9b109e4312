"""`ecgkin evaluate mini`: picture, neighbours, or both, on the same held-out ECGs, beside drafters without a model.

`evaluate_mini` runs and scores the arms; `MiniReport` shows them side by side: scores, what is made up and what is
missed, paired tests, and reports to read.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.backends.mini.backend import MiniGenerator
from ecgkin.generation.backends.mini.tokens import Tokens
from ecgkin.generation.backends.mini.wording import MiniPrompt, parse_prompt
from ecgkin.generation.consensus.thresholds import shipped_thresholds
from ecgkin.generation.measures import Measurements
from ecgkin.generation.research.drafts.arms import CONSENSUS, NEAREST, Asked, Setting, run_arm
from ecgkin.generation.research.drafts.runs import DraftLine
from ecgkin.generation.research.drafts.scores import ArmScores, score_arm
from ecgkin.generation.research.instruct.build import neighbour_prompt
from ecgkin.generation.research.instruct.rows import language_of
from ecgkin.generation.research.mini.views import PAGE, view_tokens
from ecgkin.generation.research.retrieval.bootstrap import Doubles, Interval, holm, interval, paired_p, patient_weights
from ecgkin.generation.research.retrieval.galleries import PRIMARY, Embedder, Progress
from ecgkin.generation.research.retrieval.ranking import nearest_others, patient_numbers
from ecgkin.generation.research.retrieval.report import table
from ecgkin.generation.research.scope import Scope
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.vote import Calibration, VoteRule

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

_LOG = logging.getLogger(__name__)

MINI_ARMS = (PICTURE, *WITH_CASES, WITH_VOTE, RANDOM_CASES, CASES_ONLY, CASES_VOTE_ONLY)
ARMS = (*MINI_ARMS, WITHOUT, CONSENSUS, NEAREST)
_BATCH = 64
_RANDOM_SEED = 71


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
    """Scores, statements made up, missed, tests, ten reports side by side: the last five parts of `MiniReport`.

    Args:
        lines: Drafts by arm.
        queries: Their records, in the same order.
        resamples: Of the bootstrap.

    Returns:
        The last five fields of `MiniReport`, in their order.
    """
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
    """report.md, report.json, samples.json and one run file an arm.

    Args:
        report: What was found.
        lines: Drafts by arm.
        out: The folder.
    """
    (out / "runs").mkdir(parents=True, exist_ok=True)
    (out / "report.md").write_text(report.as_markdown() + "\n", encoding="utf-8")
    text = json.dumps(report.as_dict(), indent=1, default=float).replace("NaN", "null")
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    (out / "samples.json").write_text(json.dumps(report.samples, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for arm, written in lines.items():
        name = "".join(c if c.isalnum() else "-" for c in arm)
        body = "".join(json.dumps(vars(line), ensure_ascii=False) + "\n" for line in written)
        (out / "runs" / f"{name}.jsonl").write_text(body, encoding="utf-8")


def evaluate_mini(
    ptbxl_root: str | Path,
    encoder: Any,
    generator: MiniGenerator,
    scope: Scope = Scope(),
    *,
    arms: Sequence[str] | None = None,
    without: MiniGenerator | None = None,
    calibration: Calibration | None = None,
    out_dir: str | Path | None = None,
) -> MiniReport:
    """Run the arms on drawn pages that are read as any picture is.

    Args:
        ptbxl_root: Folder with the official layout.
        encoder: Whose neighbours they are, and whose patch tokens the generator reads.
        generator: The mini generator.
        scope: Who asks (never folds of the training), who is searched, and how; queries are drawn with a fixed seed.
        arms: Some of `ARMS`; None takes all that there is a generator for.
        without: A generator that was trained without cases; it is shown the picture alone.
        calibration: Of the encoder, for vote and consensus.
        out_dir: Where report.md, report.json and one run file an arm go.

    Returns:
        Scores, tests and samples.

    Raises:
        QueryError: Folds on both sides, unknown arms, or no records.
    """
    arms = _known_arms(arms, without)
    began = time.perf_counter()
    data = PtbXl(ptbxl_root, fs_hz=None)
    whole, queries, gallery = _selected(data, scope)
    embedder = Embedder(data, encoder, scope.cache, scope.progress)
    setting = Setting(gallery, calibration, shipped_thresholds(encoder))
    depth = max(setting.depth, VoteRule().k)
    found = nearest_others(
        embedder.queries(queries, PRIMARY, whole), embedder.gallery(gallery), depth, queries, gallery
    )
    hits = [
        [(gallery[r], float(s)) for r, s in zip(found.rows[i], found.scores[i], strict=True) if r >= 0]
        for i in range(len(queries))
    ]
    cache = scope.cache or Path(out_dir or ".")
    tokens = view_tokens(data, queries, encoder, PAGE, cache, scope.progress)

    def written(arm: str, by: MiniGenerator) -> list[DraftLine]:
        prompts = [mini_prompt(arm, row, near, gallery, calibration) for row, near in zip(queries, hits, strict=True)]
        return _mini_lines(arm, queries, prompts, tokens, by, scope.progress)

    lines: dict[str, list[DraftLine]] = {}
    for arm in arms:
        if arm in MINI_ARMS:
            lines[arm] = written(arm, generator)
        elif arm == WITHOUT and without is not None:
            lines[arm] = written(PICTURE, without)
        else:
            lines[arm] = [
                DraftLine.of(row.ecg_id, run_arm(arm, Asked(row, h, lambda: data.record(row), _unmeasured), setting))  # noqa: B023
                for row, h in zip(queries, hits, strict=True)
            ]
    parts = compare_arms(lines, queries, scope.resamples)
    about = {
        **({"trained without cases": _told(without)} if without is not None else {}),
        "data": f"PTB-XL, {len(queries)} queries of folds {sorted(set(scope.query_folds))}, {len(gallery)} cases",
        "encoder": f"{encoder.name} {encoder.fingerprint[:12]}",
        "generator": _told(generator),
        "vote": "calibrated" if calibration else "raw shares",
        "text": "words are compared with the record's report, findings with its labels; greedy decoding",
        "seconds": round(time.perf_counter() - began),
    }
    report = MiniReport(about, *parts)
    if out_dir is not None:
        write_report(report, lines, Path(out_dir))
    return report


def _known_arms(arms: Sequence[str] | None, without: MiniGenerator | None) -> Sequence[str]:
    """The arms that can be run; raises QueryError for others."""
    if arms is None:
        return [arm for arm in ARMS if arm != WITHOUT or without is not None]
    unknown = [arm for arm in arms if arm not in ARMS or (arm == WITHOUT and without is None)]
    if unknown:
        raise QueryError(f"arms {unknown} are not known, or lack their generator (expected some of {', '.join(ARMS)})")
    return arms


def _selected(data: PtbXl, scope: Scope) -> tuple[list[PtbXlRow], list[PtbXlRow], list[PtbXlRow]]:
    """Records of the query folds, those of them that ask, and the gallery; raises QueryError where there are none."""
    both = set(scope.query_folds) & set(scope.gallery_folds)
    if both:
        raise QueryError(f"folds {sorted(both)} are both query and gallery")
    whole, gallery = list(data.select(scope.query_folds)), list(data.select(scope.gallery_folds))
    if not whole or not gallery:
        raise QueryError(f"{data.root} holds {len(whole)} query records and {len(gallery)} of the gallery")
    if scope.limit is None or scope.limit >= len(whole):
        return whole, whole, gallery
    drawn = np.random.default_rng(_RANDOM_SEED).choice(len(whole), scope.limit, replace=False)
    return whole, [whole[i] for i in sorted(drawn.tolist())], gallery


def _told(generator: MiniGenerator) -> str:
    of = generator.about
    return f"{of.get('data')}, cases: {of.get('cases')}, {of.get('steps')} of {of.get('of_steps')} steps"


def _unmeasured() -> Measurements:
    raise QueryError("no arm of `evaluate mini` measures the signal")


def mini_prompt(
    arm: str,
    row: PtbXlRow,
    hits: Sequence[tuple[PtbXlRow, float]],
    gallery: Sequence[PtbXlRow],
    calibration: Calibration | None,
) -> MiniPrompt:
    """What the generator is told in an arm; random cases are drawn by the record's number.

    Args:
        arm: One of `ARMS`.
        row: The query.
        hits: Its nearest cases with cosines.
        gallery: All cases, for the arm of random ones.
        calibration: Of the vote; None for raw shares.

    Returns:
        The prompt in the generator's tokens.
    """
    language = language_of(row)
    if arm == PICTURE:
        return MiniPrompt(language=language)
    shown = list(hits)
    if arm == RANDOM_CASES:
        rng = np.random.default_rng([_RANDOM_SEED, row.ecg_id])
        shown = [(gallery[int(i)], 0.0) for i in rng.choice(len(gallery), min(20, len(gallery)), replace=False)]
    k = int(arm.split("k=")[1].split()[0].rstrip(","))
    # Through the words of a drafter's prompt and back, so that every arm goes through the door that users take.
    return parse_prompt(
        neighbour_prompt(
            shown, k, language=language, calibration=calibration, with_vote="vote" in arm, n_cases=len(gallery)
        )
    )


def _mini_lines(
    arm: str,
    queries: Sequence[PtbXlRow],
    prompts: Sequence[MiniPrompt],
    tokens: Tokens,
    generator: MiniGenerator,
    progress: Progress | None,
) -> list[DraftLine]:
    from ecgkin.generation.backends.mini.wording import findings_line
    from ecgkin.generation.prompt.grounding import ground

    out = []
    for begin in range(0, len(queries), _BATCH):
        some = queries[begin : begin + _BATCH]
        started = time.perf_counter()
        asked = prompts[begin : begin + _BATCH]
        written = generator.write(asked, np.asarray(tokens[begin : begin + len(some)]), blank="no picture" in arm)
        seconds = (time.perf_counter() - started) / len(some)
        for row, (codes, words) in zip(some, written, strict=True):
            # As a drafter reads any answer: what its text says counts, words and findings alike.
            read = ground(f"{words}\n{findings_line(codes, 'en')}", ())
            statements = {s.code: s.polarity for s in read.statements}
            out.append(DraftLine(row.ecg_id, words, statements, {}, 0, 0, 0, (), seconds, None, None))
        if progress is not None:
            progress(arm, begin + len(some), len(queries))
    return out
