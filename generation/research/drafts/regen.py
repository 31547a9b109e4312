"""ECG-ReGen (arXiv 2409.08788, no official code): reports and answers from the reports of the nearest ECGs.

As described: the query's ECG is encoded, the nearest ECGs of other people are looked up, and the nearest one's report
is copied, or several are given to a language model as context, which writes one; questions are answered over the same
cases. The encoder and the model are whatever is at hand: any encoder of `load_encoder`, any model of
`generation.backends.open`; without a model the nearest report stands for the answer.

Beside it stand what it must beat: the most frequent report (which scores high on PTB-XL), a random case's report, the
same with random neighbours and with their reports blanked, and the nearest report with the same labels (empty where the
labels occur nowhere).

Texts are measured as there, against one reference each, with bootstrap intervals over patients. Words are runs of
letters and digits in lower case. BLEU is a measure of a whole set: its counts are kept per text, so that it can be
computed anew in each resample.

- BLEU: Papineni et al. 2002; corpus level, clipped counts, brevity penalty, no smoothing.
- ROUGE-L: Lin 2004; F measure with equal weights, mean over texts.
- METEOR: Banerjee and Lavie 2005 with exact matches only (reports are German, English and Swedish: no stemmer and no
  synonyms serve all three), F = 10 P R / (R + 9 P), penalty 0.5 (chunks / matches)^3, mean over texts.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.backends.base import Request, TextBackend
from ecgkin.generation.backends.mini.wording import FINDINGS
from ecgkin.generation.prompt.untrusted import QUOTE_CLOSE, QUOTE_OPEN, quotable, readable_answer
from ecgkin.generation.research.drafts.scores import macro_f1, micro_f1
from ecgkin.generation.research.retrieval.bootstrap import Doubles, Interval, interval, mean_interval, patient_weights
from ecgkin.generation.research.retrieval.galleries import Embedder, Progress
from ecgkin.generation.research.retrieval.labels import default_space
from ecgkin.generation.research.retrieval.ranking import Neighbours, nearest_others, patient_numbers, unit_rows
from ecgkin.generation.research.retrieval.report import table
from ecgkin.generation.research.scope import Scope
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.statements.catalogue import CODES, SUPERCLASS_NAMES, SUPERCLASSES, statement, superclasses
from ecgkin.retrieval.ecg.statements.find import find_statements
from ecgkin.retrieval.ecg.statements.report_text import normalise_report, report_language
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EcgkinError, QueryError

_LOG = logging.getLogger(__name__)

KS: tuple[int, ...] = (1, 3, 5, 10)
SEED = 2409
VERIFY_AT_LEAST = 10
"""A statement is asked about when it has so many positives among the queries."""
_RHYTHMS = ("AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "SVTAC", "PSVT", "SVARR", "PACE", "SR")
QUESTION_TYPES: tuple[str, ...] = ("verify", "choose", "query")


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
        examples: True report and what each arm wrote, of a few queries.
    """

    about: Mapping[str, Any]
    arms: Mapping[str, ReGenArm]
    answers: Mapping[str, Mapping[str, Interval]]
    examples: Sequence[Mapping[str, str]] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "about": dict(self.about),
            "arms": {name: asdict(arm) for name, arm in self.arms.items()},
            "answers": {arm: {kind: asdict(v) for kind, v in kinds.items()} for arm, kinds in self.answers.items()},
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
            ["Arm", *QUESTION_TYPES],
            ([name, *(str(kinds.get(kind, "")) for kind in QUESTION_TYPES)] for name, kinds in self.answers.items()),
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
    backend: TextBackend | None


def evaluate_regen(
    ptbxl_root: str | Path,
    encoder: Encoder,
    scope: Scope = Scope(),
    *,
    backend: TextBackend | None = None,
    ks: Sequence[int] = KS,
    examples: int = 5,
) -> ReGenReport:
    """Compare on PTB-XL; folds keep every patient together, so no neighbour is the query's own earlier ECG.

    Args:
        ptbxl_root: PTB-XL folder.
        encoder: Of recordings; no text tower is needed.
        scope: Who asks, who is searched, and how.
        backend: The language model; None leaves the arms that need one out.
        ks: How many reports a model sees, and how many cases answer questions.
        examples: How many queries are shown in full.

    Returns:
        Figures of every arm, answers, and examples.

    Raises:
        QueryError: The folds hold nothing, or a k is below 1.
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
    setting = _Setting(gallery, queries, found, found.scores, random, backend)
    weights = patient_weights(patient_numbers([row.patient_id for row in queries])[0], scope.resamples)
    written = _written(setting, ks, scope.progress)
    arms = {
        name: ReGenArm(len(queries), _measures(texts, queries, weights), sum(not t for t in texts))
        for name, texts in written.items()
    }
    return ReGenReport(
        about={
            "encoder": f"{encoder.name} {encoder.fingerprint[:12]}",
            "model": backend.name if backend is not None else "none (nearest report)",
            "queries": len(queries),
            "cases": len(gallery),
            **({"caution": " ".join(cautions)} if (cautions := getattr(encoder, "cautions", ())) else {}),
        },
        arms=arms,
        answers=_answers(setting, ks, weights),
        examples=[
            {"true": queries[place].report, **{name: " ".join(texts[place].split()) for name, texts in written.items()}}
            for place in _spread(len(queries), examples)
        ],
    )


def _written(setting: _Setting, ks: Sequence[int], progress: Progress | None) -> dict[str, list[str]]:
    """What each arm writes for each query; an empty text where it fails."""
    queries = setting.queries
    written: dict[str, list[str]] = {}
    for name, write in _arms(setting, ks).items():
        texts = []
        for place in range(len(queries)):
            try:
                texts.append(write(place))
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
    if setting.backend is not None:
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
    assert setting.backend is not None  # arms of a model are only made with one
    prompt = report_prompt(_cases(setting, place, k, random), blank=blank)
    return readable_answer(setting.backend.generate(Request(prompt, max_new_tokens=160)).text)


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


# --- questions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One question about one query.

    Attributes:
        place: Number of the query.
        kind: "verify" (yes or no), "choose" (which of two), "query" (open: the rhythm, the superclasses).
        text: In words.
        truth: The answer.
        subject: What it is about: a code, two codes, "rhythm" or "superclasses".
    """

    place: int
    kind: str
    text: str
    truth: str
    subject: tuple[str, ...]


def questions(queries: Sequence[PtbXlRow]) -> list[Question]:
    """Questions in the manner of ECG-QA, from the labels: as many yes as no, as often the first as the second."""
    rng = np.random.default_rng(SEED)
    out: list[Question] = []
    for code in CODES:
        have = [n for n, row in enumerate(queries) if code in row.labels]
        lack = [n for n, row in enumerate(queries) if code not in row.labels]
        if len(have) < VERIFY_AT_LEAST or len(lack) < VERIFY_AT_LEAST:
            continue
        name = statement(code).name_en
        for some, answer in ((have, "yes"), (lack, "no")):
            for place in rng.choice(some, size=VERIFY_AT_LEAST, replace=False):
                out.append(Question(int(place), "verify", f"Does it show {name}? yes or no", answer, (code,)))
    for place, row in enumerate(queries):
        groups = superclasses(row.labels)
        absent = [name for name in SUPERCLASSES if name not in groups]
        if groups and absent:
            pair = [str(rng.choice(groups)), str(rng.choice(absent))]
            order = (pair[0], pair[1]) if rng.random() < 0.5 else (pair[1], pair[0])
            asked = " or ".join(SUPERCLASS_NAMES[name][0] for name in order)
            out.append(Question(place, "choose", f"Which does it show: {asked}?", pair[0], order))
        rhythm = _rhythm(row.labels)
        if rhythm:
            out.append(Question(place, "query", "What is the rhythm?", rhythm, ("rhythm",)))
    return out


def _rhythm(labels: Mapping[str, float]) -> str:
    return next((code for code in _RHYTHMS if code in labels), "")


def _nearest_vote(setting: _Setting, k: int, question: Question) -> str:
    """The answer of the k nearest cases."""
    return _voted(question, [row for row, _ in _cases(setting, question.place, k)])


def _voted(question: Question, cases: Sequence[PtbXlRow]) -> str:
    """The answer that most of the cases give."""
    if question.kind == "verify":
        share = sum(question.subject[0] in row.labels for row in cases) / len(cases)
        return "yes" if share >= 0.5 else "no"
    if question.kind == "choose":
        counts = [sum(name in superclasses(row.labels) for row in cases) for name in question.subject]
        return question.subject[0] if counts[0] >= counts[1] else question.subject[1]
    said = Counter(rhythm for row in cases if (rhythm := _rhythm(row.labels)))
    return said.most_common(1)[0][0] if said else "SR"


def _read(question: Question, text: str) -> str:
    """What a model's words answer; "" where nothing of it is understood."""
    lower = text.lower()
    if question.kind == "verify":
        first = lower.split()[:1]
        if first and first[0].strip(".,") in ("yes", "no", "ja", "nein"):
            return "yes" if first[0].strip(".,") in ("yes", "ja") else "no"
        said = {f.code for f in find_statements(text) if f.polarity != "absent"}
        return "yes" if question.subject[0] in said else "no"
    found = {f.code: 1.0 for f in find_statements(text) if f.polarity != "absent"}
    if question.kind == "choose":
        named = [name for name in question.subject if SUPERCLASS_NAMES[name][0].lower() in lower]
        named = named or [name for name in question.subject if name in superclasses(found)]
        return named[0] if len(named) == 1 else ""
    return _rhythm(found)


def _answers(setting: _Setting, ks: Sequence[int], weights: Any) -> dict[str, dict[str, Interval]]:
    every = questions(setting.queries)
    arms: dict[str, Callable[[Question], str]] = {}
    usual = {kind: Counter(q.truth for q in every if q.kind == kind) for kind in QUESTION_TYPES}
    arms["most frequent answer"] = lambda q: usual[q.kind].most_common(1)[0][0]
    for k in ks:
        arms[f"{k} nearest"] = partial(_nearest_vote, setting, k)
    middle = sorted(ks)[len(ks) // 2]
    arms[f"{middle} random"] = lambda q: _voted(q, [row for row, _ in _cases(setting, q.place, middle, random=True)])
    backend = setting.backend
    if backend is not None:

        def answered(q: Question, random: bool = False) -> str:
            prompt = report_prompt(_cases(setting, q.place, middle, random), question=q.text)
            try:
                return _read(q, backend.generate(Request(prompt, max_new_tokens=60)).text)
            except EcgkinError as error:
                _LOG.warning("no answer for %d: %s", setting.queries[q.place].ecg_id, error)
                return ""

        arms[f"model, k={middle}"] = answered
        arms[f"model, k={middle}, random neighbours"] = lambda q: answered(q, True)
    out: dict[str, dict[str, Interval]] = {}
    for name, answer in arms.items():
        right = {kind: np.full(len(setting.queries), np.nan) for kind in QUESTION_TYPES}
        asked = {kind: np.zeros(len(setting.queries)) for kind in QUESTION_TYPES}
        for q in every:
            right[q.kind][q.place] = np.nan_to_num(right[q.kind][q.place]) + (answer(q) == q.truth)
            asked[q.kind][q.place] += 1
        out[name] = {kind: _share(right[kind], asked[kind], weights) for kind in QUESTION_TYPES if asked[kind].any()}
    return out


def _share(right: Any, asked: Any, weights: Any) -> Interval:
    """Right answers of all, in each resample of patients."""
    if (asked <= 1).all():
        return mean_interval(right, weights)
    known = asked > 0
    drawn_right = weights[:, known].astype(np.float64) @ right[known]
    drawn_asked = weights[:, known].astype(np.float64) @ asked[known]
    return interval(float(right[known].sum() / asked[known].sum()), drawn_right / np.maximum(drawn_asked, 1e-9))


MEASURES: tuple[str, ...] = ("BLEU-1", "BLEU-4", "ROUGE-L", "METEOR")
_ORDERS = 4
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text.

    >>> words("Sinusrhythmus, 72/min; Lagetyp: Linkstyp")
    ['sinusrhythmus', '72', 'min', 'lagetyp', 'linkstyp']
    """
    return _WORD.findall(text.lower())


def overlap(texts: Sequence[str], references: Sequence[str], weights: NDArray[np.float32]) -> dict[str, Interval]:
    """All measures of `MEASURES`.

    Args:
        texts: What was written; an empty text counts as one without a word in common.
        references: One for each; texts whose reference has no word are left out.
        weights: Bootstrap weights, (resamples, n).

    Returns:
        Measure -> its value with its interval.

    Raises:
        QueryError: Texts, references and weights do not pair up.
    """
    if not len(texts) == len(references) == weights.shape[1]:
        raise QueryError(f"{len(texts)} texts, {len(references)} references and weights of {weights.shape[1]}")
    pairs = [(words(text), words(reference)) for text, reference in zip(texts, references, strict=True)]
    known = np.array([bool(reference) for _, reference in pairs], dtype=bool)
    counts = np.array([_bleu_counts(text, reference) for text, reference in pairs], dtype=np.float64)
    plain = np.ones((1, len(texts)), dtype=np.float64)
    out: dict[str, Interval] = {}
    for order in (1, _ORDERS):
        value = _bleu(plain[:, known] @ counts[known], order)
        drawn = _bleu(weights[:, known].astype(np.float64) @ counts[known], order)
        out[f"BLEU-{order}"] = interval(float(value[0]), drawn)
    for name, measure in (("ROUGE-L", rouge_l), ("METEOR", meteor)):
        each = np.array([measure(*pair) if fine else np.nan for pair, fine in zip(pairs, known, strict=True)])
        out[name] = mean_interval(each, weights)
    return out


def _bleu_counts(text: Sequence[str], reference: Sequence[str]) -> list[int]:
    """Length of text and reference, then clipped matches and n-grams of each order."""
    out = [len(text), len(reference)]
    for order in range(1, _ORDERS + 1):
        mine, theirs = _grams(text, order), _grams(reference, order)
        out += [sum(min(count, theirs[gram]) for gram, count in mine.items()), sum(mine.values())]
    return out


def _grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def _bleu(totals: Doubles, orders: int) -> Doubles:
    """BLEU of summed counts, (n, 2 + 2 orders) -> (n,)."""
    length, reference = totals[:, 0], totals[:, 1]
    matches, grams = totals[:, 2 : 2 + 2 * orders : 2], totals[:, 3 : 3 + 2 * orders : 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(grams > 0, matches / grams, 0.0)
        mean = np.exp(np.log(precision).mean(axis=1))
        brevity = np.where(length >= reference, 1.0, np.exp(1.0 - reference / length))
    return np.asarray(np.where((precision > 0).all(axis=1) & (length > 0), mean * brevity, 0.0))


def rouge_l(text: Sequence[str], reference: Sequence[str]) -> float:
    """F of the longest common subsequence.

    Args:
        text: Words.
        reference: Words.

    Returns:
        F, 0 to 1.

    >>> rouge_l(words("sinus rhythm, normal ecg"), words("sinus rhythm, left axis, normal ecg"))
    0.8
    """
    if not text or not reference:
        return 0.0
    last = [0] * (len(reference) + 1)
    for word in text:
        row = [0]
        for place, other in enumerate(reference, 1):
            row.append(last[place - 1] + 1 if word == other else max(last[place], row[-1]))
        last = row
    return 2 * last[-1] / (len(text) + len(reference))


def meteor(text: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of single words, less for every break in their order.

    Args:
        text: Words.
        reference: Words.

    Returns:
        The score, 0 to 1.

    >>> round(meteor(["a", "b", "c"], ["a", "b", "c"]), 3), meteor(["x"], ["a"])
    (0.981, 0.0)
    """
    places: dict[str, list[int]] = {}
    for place, word in enumerate(reference):
        places.setdefault(word, []).append(place)
    matched: list[int | None] = []
    before: int | None = None
    for word in text:
        free = places.get(word)
        if not free:
            matched.append(None)
            before = None
            continue
        # The place right behind the last match keeps a chunk together; else the first free one.
        at = free.index(before + 1) if before is not None and before + 1 in free else 0
        before = free.pop(at)
        matched.append(before)
    n = sum(place is not None for place in matched)
    if n == 0:
        return 0.0
    chunks = 0
    last: int | None = None
    for found in matched:
        if found is not None and (last is None or found != last + 1):
            chunks += 1
        last = found
    precision, recall = n / len(text), n / len(reference)
    return 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 * (chunks / n) ** 3)
