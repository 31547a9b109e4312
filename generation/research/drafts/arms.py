"""The arms of `evaluate drafts`: each makes of a query and its neighbours a draft, all in the same structure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgkin.generation.backends.base import Request, TextBackend
from ecgkin.generation.consensus.assembly import Neighbour
from ecgkin.generation.consensus.consensus import write_consensus
from ecgkin.generation.consensus.thresholds import DraftThresholds
from ecgkin.generation.draft import Draft, DraftedStatement, Evidence, Language
from ecgkin.generation.measures import Measurements
from ecgkin.generation.prompt.context import build_context
from ecgkin.generation.prompt.grounding import ground
from ecgkin.generation.prompt.pages import draw_page
from ecgkin.generation.prompt.untrusted import readable_answer
from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.hits import Hit
from ecgkin.retrieval.search.vote import Calibration, Vote, VoteRule, vote

# Built-in arms, which need no model.
VOTE, CONSENSUS, SIGNAL, RANDOM, NEAREST = "vote", "consensus", "consensus+signal", "random", "nearest"
BUILT_IN: tuple[str, ...] = (VOTE, CONSENSUS, RANDOM, NEAREST)
MODEL_KS: tuple[int, ...] = (0, 1, 3, 5)
_RANDOM_SEED = 71
_SHOWN = 20  # hits that the context builder may choose from


@dataclass(frozen=True)
class Asked:
    """One query.

    Attributes:
        row: The held-out record's line; its labels and report are for scoring only.
        hits: Its nearest gallery rows with their cosines, best first.
        record: Loads the samples.
        measurements: Measures them, once.
    """

    row: PtbXlRow
    hits: Sequence[tuple[PtbXlRow, float]]
    record: Callable[[], EcgRecord]
    measurements: Callable[[], Measurements]

    @property
    def language(self) -> Language:
        """The language of the report that the draft is compared with; English where that is neither."""
        return "de" if report_language(self.row.report) == "de" else "en"


@dataclass(frozen=True)
class Setting:
    """What all arms share.

    Attributes:
        gallery: Rows that may be retrieved.
        calibration: Of the encoder, or None.
        thresholds: Of the encoder, or the default.
        backend: The model of the model arms.
        max_new_tokens: Its longest answer.
    """

    gallery: Sequence[PtbXlRow]
    calibration: Calibration | None
    thresholds: DraftThresholds
    backend: TextBackend | None = None
    max_new_tokens: int = 256

    @property
    def depth(self) -> int:
        """Neighbours that vote."""
        return self.calibration.depth if self.calibration else VoteRule().k


def model_arms(ks: Sequence[int] = MODEL_KS) -> tuple[str, ...]:
    """Names of the arms of a model: without retrieval, with k cases, with random cases."""
    named = tuple("model" if k == 0 else f"model k={k}" for k in ks)
    largest = max(ks, default=0)
    return (*named, f"model random k={min(3, largest)}") if largest else named


def run_arm(name: str, asked: Asked, setting: Setting) -> Draft:
    """The draft of one arm for one query.

    Raises:
        QueryError: There is no such arm.
        GenerationError: The model failed.
    """
    started = time.perf_counter()
    hits: Sequence[tuple[PtbXlRow, float]] = list(asked.hits[: setting.depth])
    if name == RANDOM or name.startswith("model random"):
        hits = _random_hits(asked, setting)
    votes = vote(
        [score for _, score in hits],
        [row.labels for row, _ in hits],
        calibration=setting.calibration,
        n_cases=len(setting.gallery),
    )
    if name == VOTE:
        draft = _vote_only(votes, hits, setting.thresholds)
    elif name in (CONSENSUS, RANDOM, SIGNAL):
        draft = write_consensus(
            votes,
            [Neighbour(case_id(row), score, frozenset(row.labels)) for row, score in hits],
            language=asked.language,
            thresholds=setting.thresholds,
            measurements=asked.measurements() if name == SIGNAL else None,
        )
        # What counts is what the text says, read as any other text is.
        draft = _as_read(draft, votes, hits, setting)
    elif name == NEAREST:
        draft = _nearest(votes, hits, setting)
    elif name.startswith("model"):
        draft = _model(name, asked, votes, hits, setting)
    else:
        raise QueryError(f"arm is {name!r} (expected {', '.join((*BUILT_IN, SIGNAL, *model_arms()))})")
    return replace(draft, seconds=time.perf_counter() - started)


def case_id(row: PtbXlRow) -> str:
    """The id that an ingest gives the case."""
    return f"ptbxl/{row.ecg_id}"


def _random_hits(asked: Asked, setting: Setting) -> list[tuple[PtbXlRow, float]]:
    rng = np.random.default_rng([_RANDOM_SEED, asked.row.ecg_id])
    chosen = rng.choice(len(setting.gallery), min(setting.depth, len(setting.gallery)), replace=False)
    # Equal scores: every one of them has the same say.
    return [(setting.gallery[int(i)], 0.0) for i in chosen]


def _vote_only(votes: Vote, hits: Sequence[tuple[PtbXlRow, float]], thresholds: DraftThresholds) -> Draft:
    passing = thresholds.passing(votes).statements
    statements = tuple(DraftedStatement(code, "present", p, "agrees") for code, p in passing.items())
    return Draft("", "en", VOTE, statements=statements, probabilities=votes.probabilities, calibrated=votes.calibrated)


def _as_read(draft: Draft, votes: Vote, hits: Sequence[tuple[PtbXlRow, float]], setting: Setting) -> Draft:
    found = ground(draft.text, draft.evidence, vote=votes, neighbours=_labels(hits), thresholds=setting.thresholds)
    return replace(draft, statements=found.statements)


def _nearest(votes: Vote, hits: Sequence[tuple[PtbXlRow, float]], setting: Setting) -> Draft:
    row, score = hits[0]
    evidence = (Evidence(1, case_id(row), score, tuple(row.labels)),)
    text = row.report
    found = ground(text, evidence, vote=votes, neighbours=_labels(hits), thresholds=setting.thresholds)
    cited = tuple(
        replace(s, citations=(case_id(row),), supported_by=(case_id(row),) if s.code in row.labels else ())
        for s in found.statements
    )
    return Draft(text, "en", NEAREST, sentences=found.sentences, statements=cited, evidence=evidence)


def _model(name: str, asked: Asked, votes: Vote, hits: Sequence[tuple[PtbXlRow, float]], setting: Setting) -> Draft:
    if setting.backend is None:
        raise QueryError(f"arm {name!r} needs a model", hint="pass --model pulse:DIR or an address")
    k = int(name.rpartition("=")[2]) if "=" in name else 0
    shown = [
        Hit(rank, score, Case(case_id(row), labels=row.labels, report=row.report))
        for rank, (row, score) in enumerate(hits[:_SHOWN], 1)
    ]
    image = draw_page(asked.record())
    context = build_context(
        shown,
        votes if k else None,
        setting.backend,
        k=k,
        language=asked.language,
        image=image,
        max_new_tokens=setting.max_new_tokens,
    )
    done = setting.backend.generate(Request(context.prompt, image, max_new_tokens=setting.max_new_tokens))
    text = readable_answer(done.text)
    found = ground(
        text, context.evidence, vote=votes, neighbours=_labels(hits), thresholds=setting.thresholds, picture=True
    )
    return Draft(
        text,
        asked.language,
        setting.backend.name,
        sentences=found.sentences,
        statements=found.statements,
        evidence=context.evidence,
        unknown_citations=found.unknown_citations,
        warnings=found.warnings,
        prompt=context.prompt_name,
        tokens_in=done.tokens_in,
        tokens_out=done.tokens_out,
    )


def _labels(hits: Sequence[tuple[PtbXlRow, float]]) -> list[frozenset[str]]:
    return [frozenset(row.labels) for row, _ in hits]
