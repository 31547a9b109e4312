"""ECG-ReGen (arXiv 2409.08788, no official code): reports and answers from the reports of the nearest ECGs.

As described: the query's ECG is encoded, the nearest ECGs of other people are looked up, and the nearest one's report
is copied, or several are given to a language model as context, which writes one; questions are answered over the same
cases. The encoder and the model are whatever is at hand: any encoder of `load_encoder`, any model of
`generation.backends.open`; without a model the nearest report stands for the answer.

Beside it stand what it must beat: the most frequent report (which scores high on PTB-XL), a random case's report, the
same with random neighbours and with their reports blanked, and the nearest report with the same labels (empty where the
labels occur nowhere).

Texts are measured by `overlap`, with bootstrap intervals over patients; questions are in `questions`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.generation.backends.base import Request, TextBackend
from ecgkin.generation.backends.mini.wording import FINDINGS
from ecgkin.generation.prompt.untrusted import QUOTE_CLOSE, QUOTE_OPEN, quotable, readable_answer
from ecgkin.generation.research.drafts.overlap import MEASURES, overlap
from ecgkin.generation.research.drafts.questions import (
    QUESTION_TYPES,
    SEED,
    Question,
    questions,
    read_answer,
    voted,
)
from ecgkin.generation.research.drafts.runs import KeptAnswers
from ecgkin.generation.research.drafts.scores import macro_f1, micro_f1
from ecgkin.generation.research.retrieval.bootstrap import Interval, interval, mean_interval, patient_weights
from ecgkin.generation.research.retrieval.galleries import Embedder, Progress
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.ranking import Neighbours, nearest_others, patient_numbers, unit_rows
from ecgkin.generation.research.retrieval.report import table
from ecgkin.generation.research.scope import Scope
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.statements.catalogue import CODES, statement
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.ecg.statements.report_text import normalise_report, report_language
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import BackendUnreachableError, EcgkinError, QueryError

_LOG = logging.getLogger(__name__)

KS: tuple[int, ...] = (1, 3, 5, 10)


@dataclass(frozen=True)
class ReGenArm:
    """Figures of one way to write reports; intervals are 95 % over patients.

    Attributes:
        n: Queries.
        measures: BLEU-1, BLEU-4, ROUGE-L, METEOR, statement and superclass F1 read back from the texts.
        failed: Queries for which the model gave nothing; an empty text stands for them.
    """

    n: int
    measures: Mapping[str, Interval]
    failed: int = 0


@dataclass(frozen=True)
class ReGenReport:
    """The whole comparison.

    Attributes:
        about: What was compared with what.
        arms: By name, in the order of the table.
        answers: Arm -> question type -> share answered right.
        unread: Arm -> questions to which it gave no answer that could be read; they count as wrong.
        examples: True report and what each arm wrote, of a few queries.
    """

    about: Mapping[str, Any]
    arms: Mapping[str, ReGenArm]
    answers: Mapping[str, Mapping[str, Interval]]
    examples: Sequence[Mapping[str, str]] = field(default=())
    unread: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "about": dict(self.about),
            "arms": {name: asdict(arm) for name, arm in self.arms.items()},
            "answers": {arm: {kind: asdict(v) for kind, v in kinds.items()} for arm, kinds in self.answers.items()},
            "unread": dict(self.unread),
            "examples": [dict(example) for example in self.examples],
        }

    def as_markdown(self) -> str:
        """Two tables and the examples."""
        names = list(next(iter(self.arms.values())).measures)
        reports = table(
            ["Arm", *names, "failed"],
            ([name, *(str(arm.measures[m]) for m in names), str(arm.failed)] for name, arm in self.arms.items()),
        )
        answers = table(
            ["Arm", *QUESTION_TYPES, "no answer read"],
            (
                [name, *(str(kinds.get(kind, "")) for kind in QUESTION_TYPES), str(self.unread.get(name, 0))]
                for name, kinds in self.answers.items()
            ),
        )
        about = "; ".join(f"{name}: {value}" for name, value in self.about.items())
        text = f"# ECG-ReGen\n\n{about}\n\n## Reports\n\n{reports}\n\n## Questions, share answered right\n\n{answers}\n"
        for number, example in enumerate(self.examples, 1):
            lines = "\n".join(f"- {name}: {said}" for name, said in example.items())
            text += f"\n## Example {number}\n\n{lines}\n"
        return text


@dataclass(frozen=True)
class _Setting:
    gallery: Sequence[PtbXlRow]
    queries: Sequence[PtbXlRow]
    found: Neighbours
    scores: Any
    random: Any
    answer: Callable[[Request], str] | None
    """The text that the model answers; None without one."""


def evaluate_regen(
    ptbxl_root: str | Path,
    encoder: Encoder,
    scope: Scope = Scope(),
    *,
    backend: TextBackend | None = None,
    ks: Sequence[int] = KS,
    examples: int = 5,
    answers: Path | None = None,
) -> ReGenReport:
    """Compare on PTB-XL; folds keep every patient together, so no neighbour is the query's own earlier ECG.

    Args:
        ptbxl_root: PTB-XL folder.
        encoder: Of recordings; no text tower is needed.
        scope: Who asks, who is searched, and how.
        backend: The language model; None leaves the arms that need one out.
        ks: How many reports a model sees, and how many cases answer questions.
        examples: How many queries are shown in full.
        answers: File in which the model's answers are kept, so that a stopped run goes on where it was.

    Returns:
        Figures of every arm, answers, and examples.

    Raises:
        QueryError: The folds hold nothing, a k is below 1, or the file holds another model's answers.
        BackendUnreachableError: The model's server does not answer, or does no more.
    """
    if not ks or min(ks) < 1:
        raise QueryError(f"ks are {list(ks)} (expected whole numbers from 1)")
    data = PtbXl(Path(ptbxl_root))
    queries = data.select(scope.query_folds)[: scope.limit]
    gallery = [row for row in data.select(scope.gallery_folds) if row.report][: scope.gallery_limit]
    if not queries or len(gallery) < max(ks):
        raise QueryError(f"{len(queries)} queries and {len(gallery)} cases with a report (expected at least {max(ks)})")
    embedder = Embedder(data, encoder, scope.cache, scope.progress)
    asked, cases = unit_rows(embedder.gallery(queries)), unit_rows(embedder.gallery(gallery))
    found = nearest_others(asked, cases, max(ks), queries, gallery)
    rng = np.random.default_rng(SEED)
    random = np.stack([rng.choice(len(gallery), size=max(ks), replace=False) for _ in queries])
    answer = _answering(backend, answers)
    setting = _Setting(gallery, queries, found, found.scores, random, answer)
    weights = patient_weights(patient_numbers([row.patient_id for row in queries])[0], scope.resamples)
    written = _written(setting, ks, scope.progress)
    arms = {
        name: ReGenArm(len(queries), _measures(texts, queries, weights), sum(not t for t in texts))
        for name, texts in written.items()
    }
    answered, unread = _answers(setting, ks, weights, scope.progress)
    return ReGenReport(
        about={
            "encoder": f"{encoder.name} {encoder.fingerprint[:12]}",
            "model": backend.name if backend is not None else "none (nearest report)",
            "queries": len(queries),
            "cases": len(gallery),
            **({"caution": " ".join(cautions)} if (cautions := getattr(encoder, "cautions", ())) else {}),
        },
        arms=arms,
        answers=answered,
        unread=unread,
        examples=[
            {"true": queries[place].report, **{name: " ".join(texts[place].split()) for name, texts in written.items()}}
            for place in _spread(len(queries), examples)
        ],
    )


def _answering(backend: TextBackend | None, kept: Path | None) -> Callable[[Request], str] | None:
    if backend is None:
        return None
    return KeptAnswers(backend, kept).answer if kept is not None else lambda request: backend.generate(request).text


def _written(setting: _Setting, ks: Sequence[int], progress: Progress | None) -> dict[str, list[str]]:
    """What each arm writes for each query; an empty text where it fails."""
    queries = setting.queries
    written: dict[str, list[str]] = {}
    for name, write in _arms(setting, ks).items():
        texts = []
        for place in range(len(queries)):
            try:
                texts.append(write(place))
            except BackendUnreachableError:
                raise
            except EcgkinError as error:
                _LOG.warning("%s wrote nothing for %d: %s", name, queries[place].ecg_id, error)
                texts.append("")
            if progress is not None and (place + 1) % 50 == 0:
                progress(name, place + 1, len(queries))
        written[name] = texts
    return written


def _spread(n: int, wanted: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(0, n - 1, min(n, wanted))}) if wanted else []


def _arms(setting: _Setting, ks: Sequence[int]) -> dict[str, Callable[[int], str]]:
    """Arm -> function from the number of a query to its text."""
    gallery, queries = setting.gallery, setting.queries
    common = Counter(normalise_report(row.report) for row in gallery).most_common(1)[0][0]
    frequent = next(row.report for row in gallery if normalise_report(row.report) == common)
    by_labels: dict[frozenset[str], list[int]] = {}
    for place, row in enumerate(gallery):
        by_labels.setdefault(frozenset(row.labels), []).append(place)
    same = np.random.default_rng(SEED)

    def of_same_labels(place: int) -> str:
        own = by_labels.get(frozenset(queries[place].labels), [])
        nearest = [int(row) for row in setting.found.rows[place] if int(row) in set(own)]
        if nearest:
            return gallery[nearest[0]].report
        return gallery[int(same.choice(own))].report if own else ""

    out: dict[str, Callable[[int], str]] = {
        "most frequent report": lambda place: frequent,
        "random case": lambda place: gallery[int(setting.random[place, 0])].report,
        "nearest report copied": lambda place: gallery[int(setting.found.rows[place, 0])].report,
        "report of the same labels": of_same_labels,
    }
    if setting.answer is not None:
        for k in ks:
            out[f"model, k={k}"] = partial(_write, setting, k=k)
        middle = sorted(ks)[len(ks) // 2]
        out[f"model, k={middle}, random neighbours"] = lambda place: _write(setting, place, middle, random=True)
        out[f"model, k={middle}, reports blanked"] = lambda place: _write(setting, place, middle, blank=True)
        out["model, k=0"] = lambda place: _write(setting, place, 0)
    return out


def report_prompt(cases: Sequence[tuple[PtbXlRow, float]], *, blank: bool = False, question: str = "") -> str:
    """What a model is asked: the cases, then to write the report, or to answer a question.

    Args:
        cases: Neighbours with their scores, nearest first.
        blank: Whether what the cases say is left out.
        question: Empty for the report.

    Returns:
        The prompt.
    """
    lines = []
    for number, (row, score) in enumerate(cases, 1):
        names = ", ".join(statement(code).name_en for code in CODES if code in row.labels) or "none coded"
        said = "none coded" if blank else f"{names}; report: {QUOTE_OPEN}{quotable(row.report)}{QUOTE_CLOSE}"
        lines.append(f"[{number}] similarity {score:.2f}; findings: {said}")
    shown = "\n".join(lines)
    head = f"Reports of the {len(cases)} most similar ECGs in the archive, nearest first:\n{shown}\n\n" if cases else ""
    if question:
        return f"{head}Answer this question about this ECG with the words it offers, nothing else: {question}"
    spoken = Counter(report_language(row.report) for row, _ in cases).most_common(1)
    german = " Answer in German." if not spoken or spoken[0][0] == "de" else ""
    return f"{head}Write the report of this ECG in the style of these reports, without numbers in brackets.{german}"


def _cases(setting: _Setting, place: int, k: int, random: bool = False) -> list[tuple[PtbXlRow, float]]:
    if random:
        return [(setting.gallery[int(row)], 0.0) for row in setting.random[place, :k]]
    rows, scores = setting.found.rows[place, :k], setting.scores[place, :k]
    return [(setting.gallery[int(row)], float(score)) for row, score in zip(rows, scores, strict=True)]


def _write(setting: _Setting, place: int, k: int, *, random: bool = False, blank: bool = False) -> str:
    assert setting.answer is not None  # arms of a model are only made with one
    prompt = report_prompt(_cases(setting, place, k, random), blank=blank)
    return readable_answer(setting.answer(Request(prompt, max_new_tokens=160)))


def _prose(text: str) -> str:
    """A text without the line of findings that the mini generator puts behind its report; other texts as they are."""
    lines = text.splitlines()
    return "\n".join(line for line in lines if not line.startswith(tuple(FINDINGS.values())))


def _measures(texts: Sequence[str], queries: Sequence[PtbXlRow], weights: Any) -> dict[str, Interval]:
    space = default_space()
    truth = space.statements([row.labels for row in queries])
    said = space.statements(
        [{found.code: 1.0 for found in find_statements(text) if found.polarity != "absent"} for text in texts]
    )
    out = overlap([_prose(text) for text in texts], [row.report for row in queries], weights)
    out = {name: out[name] for name in MEASURES}
    value, drawn = micro_f1(truth, said, weights)
    out["statement micro-F1"] = interval(value, drawn)
    value, drawn = macro_f1(truth, said, weights)
    out["statement macro-F1"] = interval(value, drawn)
    value, drawn = macro_f1(space.superclass_matrix(truth), space.superclass_matrix(said), weights)
    out["superclass macro-F1"] = interval(value, drawn)
    return out


def _nearest_vote(setting: _Setting, k: int, question: Question) -> str:
    """The answer of the k nearest cases."""
    return voted(question, [row for row, _ in _cases(setting, question.place, k)])


def _answers(
    setting: _Setting, ks: Sequence[int], weights: Any, progress: Progress | None
) -> tuple[dict[str, dict[str, Interval]], dict[str, int]]:
    """Shares answered right by arm and type of question, and how many answers of an arm could not be read."""
    every = questions(setting.queries)
    arms: dict[str, Callable[[Question], str]] = {}
    usual = {kind: Counter(q.truth for q in every if q.kind == kind) for kind in QUESTION_TYPES}
    arms["most frequent answer"] = lambda q: usual[q.kind].most_common(1)[0][0]
    for k in ks:
        arms[f"{k} nearest"] = partial(_nearest_vote, setting, k)
    middle = sorted(ks)[len(ks) // 2]
    arms[f"{middle} random"] = lambda q: voted(q, [row for row, _ in _cases(setting, q.place, middle, random=True)])
    ask = setting.answer
    if ask is not None:

        def answered(q: Question, random: bool = False) -> str:
            prompt = report_prompt(_cases(setting, q.place, middle, random), question=q.text)
            try:
                return read_answer(q, ask(Request(prompt, max_new_tokens=60)))
            except BackendUnreachableError:
                raise
            except EcgkinError as error:
                _LOG.warning("no answer for %d: %s", setting.queries[q.place].ecg_id, error)
                return ""

        arms[f"model, k={middle}"] = answered
        arms[f"model, k={middle}, random neighbours"] = lambda q: answered(q, True)
    out: dict[str, dict[str, Interval]] = {}
    unread: dict[str, int] = {}
    for name, answer in arms.items():
        right = {kind: np.full(len(setting.queries), np.nan) for kind in QUESTION_TYPES}
        asked = {kind: np.zeros(len(setting.queries)) for kind in QUESTION_TYPES}
        unread[name] = 0
        for number, q in enumerate(every, 1):
            said = answer(q)
            unread[name] += not said
            right[q.kind][q.place] = np.nan_to_num(right[q.kind][q.place]) + (said == q.truth)
            asked[q.kind][q.place] += 1
            if progress is not None and number % 50 == 0:
                progress(f"questions, {name}", number, len(every))
        out[name] = {kind: _share(right[kind], asked[kind], weights) for kind in QUESTION_TYPES if asked[kind].any()}
    return out, unread


def _share(right: Any, asked: Any, weights: Any) -> Interval:
    """Right answers of all, in each resample of patients."""
    if (asked <= 1).all():
        return mean_interval(right, weights)
    known = asked > 0
    drawn_right = weights[:, known].astype(np.float64) @ right[known]
    drawn_asked = weights[:, known].astype(np.float64) @ asked[known]
    return interval(float(right[known].sum() / asked[known].sum()), drawn_right / np.maximum(drawn_asked, 1e-9))
