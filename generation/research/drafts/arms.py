"""The arms of `evaluate drafts`: each makes of a query and its neighbours a draft, all in the same structure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ecgkin.generation.backends.base import DraftSettings, TextBackend
from ecgkin.generation.backends.consensus import ConsensusBackend
from ecgkin.generation.backends.language_model import LanguageModelBackend
from ecgkin.generation.consensus.thresholds import DraftThresholds
from ecgkin.generation.drafter import write_draft
from ecgkin.generation.measures import Measurements
from ecgkin.generation.prompt.grounding import ground
from ecgkin.generation.types.draft import Draft, DraftedStatement, Evidence, Language
from ecgkin.generation.types.task import Task
from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXlRow
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.statements.infarction import stage_of_stadium
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.hits import NEIGHBOURS, Hit, SearchResult
from ecgkin.retrieval.search.vote import SUPER, Calibration, Vote, VoteRule, vote

# Built-in arms, which need no model. The first three are tables of statements: what the cases say, what the encoder's
# head reads, and both.
VOTE, HEAD, BOTH = "vote", "head", "vote+head"
CONSENSUS, CASES, SIGNAL, RANDOM, NEAREST = "consensus", "consensus of cases", "consensus+signal", "random", "nearest"
# The same ECG asked as what was recorded: its own vector, head and measurements, as the product drafts a recording.
RECORDING = "recording"
STATEMENT_ARMS: tuple[str, ...] = (VOTE, HEAD, BOTH)
BUILT_IN: tuple[str, ...] = (VOTE, HEAD, BOTH, CASES, CONSENSUS, SIGNAL, RECORDING, RANDOM, NEAREST)
MODEL_KS: tuple[int, ...] = (0, 1, 3, 5)
_RANDOM_SEED = 71
_LISTED = 3  # nearest cases that a consensus lists beside those cited


@dataclass(frozen=True)
class Asked:
    """One query.

    Attributes:
        row: The held-out record's line; its labels and report are for scoring only.
        hits: Its nearest gallery rows with their cosines, best first.
        record: Loads the samples.
        measurements: Measures them, once.
        reading: What the encoder's head says of the query; empty without a head.
        recorded: The same query asked as a recording: its hits and reading; None where that is not measured.
    """

    row: PtbXlRow
    hits: Sequence[tuple[PtbXlRow, float]]
    record: Callable[[], EcgRecord]
    measurements: Callable[[], Measurements]
    reading: Mapping[str, float] = field(default_factory=dict)
    recorded: tuple[Sequence[tuple[PtbXlRow, float]], Mapping[str, float]] | None = None

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

    @property
    def how(self) -> DraftSettings:
        """How drafts are written."""
        return DraftSettings(self.thresholds, self.max_new_tokens)


def model_arms(ks: Sequence[int] = MODEL_KS) -> tuple[str, ...]:
    """Names of the arms of a model: without retrieval, with k cases, with random cases."""
    named = tuple("model" if k == 0 else f"model k={k}" for k in ks)
    largest = max(ks, default=0)
    return (*named, f"model random k={min(3, largest)}") if largest else named


def run_arm(name: str, asked: Asked, setting: Setting) -> Draft:
    """The draft of one arm for one query.

    Args:
        name: One of `BUILT_IN`, or of `model_arms`.
        asked: The query and its neighbours.
        setting: What all arms share.

    Returns:
        The draft.

    Raises:
        QueryError: There is no such arm, or it needs a model and there is none.
        GenerationError: The model failed.
    """
    started = time.perf_counter()
    hits: Sequence[tuple[PtbXlRow, float]] = list(asked.hits[: setting.depth])
    if name == RANDOM or name.startswith("model random"):
        hits = _random_hits(asked, setting)
    reading = {} if name in (VOTE, CASES, RANDOM) else asked.reading
    if name == RECORDING:
        if asked.recorded is None:
            raise QueryError("arm 'recording' needs the vectors of the records")
        hits, reading = list(asked.recorded[0][: setting.depth]), asked.recorded[1]
    found = search_result(hits, setting, reading)
    if name in (VOTE, BOTH):
        draft = _vote_only(found.vote, setting.thresholds)
    elif name == HEAD:
        draft = _head_only(found.vote, setting.thresholds)
    elif name in (CONSENSUS, CASES, RANDOM, SIGNAL, RECORDING):
        measured = asked.measurements() if name in (SIGNAL, RECORDING) else None
        task = Task(None, found, measured, None, _LISTED, asked.language)
        # What counts is what the text says, read as any other text is.
        draft = _as_read(write_draft(task, ConsensusBackend(), setting.how), found, setting)
    elif name == NEAREST:
        draft = _nearest(*hits[0], found, setting)
    elif name.startswith("model"):
        if setting.backend is None:
            raise QueryError(f"arm {name!r} needs a model", hint="pass --model pulse:DIR or an address")
        k = int(name.rpartition("=")[2]) if "=" in name else 0
        task = Task(asked.record(), found, None, None, k, asked.language)
        draft = write_draft(task, LanguageModelBackend(setting.backend), setting.how)
    else:
        raise QueryError(f"arm is {name!r} (expected {', '.join((*BUILT_IN, *model_arms()))})")
    return replace(draft, seconds=time.perf_counter() - started)


def case_id(row: PtbXlRow) -> str:
    """The id that an ingest gives the case."""
    return f"ptbxl/{row.ecg_id}"


def _random_hits(asked: Asked, setting: Setting) -> list[tuple[PtbXlRow, float]]:
    rng = np.random.default_rng([_RANDOM_SEED, asked.row.ecg_id])
    chosen = rng.choice(len(setting.gallery), min(setting.depth, len(setting.gallery)), replace=False)
    # Equal scores: every one of them has the same say.
    return [(setting.gallery[int(i)], 0.0) for i in chosen]


def search_result(
    hits: Sequence[tuple[PtbXlRow, float]], setting: Setting, reading: Mapping[str, float]
) -> SearchResult:
    """The neighbours as a search for a record returns them."""
    neighbours = tuple(
        Hit(rank, score, Case(case_id(row), labels=row.labels, report=row.report, meta=_meta(row)))
        for rank, (row, score) in enumerate(hits[:NEIGHBOURS], 1)
    )
    votes = vote(
        [score for _, score in hits],
        [row.labels for row, _ in hits],
        calibration=setting.calibration,
        n_cases=len(setting.gallery),
        reading=reading,
    )
    return SearchResult(
        hits=neighbours,
        neighbours=neighbours,
        vote=votes,
        nothing_similar=False,
        threshold=None,
        printed=None,
        warnings=(),
        timings_ms={},
        query="record",
        vector=np.empty(0, dtype=np.float32),
    )


def _meta(row: PtbXlRow) -> dict[str, str]:
    stage = stage_of_stadium(row.infarction_stages)
    return {"infarction_stage": stage} if stage else {}


def _head_only(votes: Vote, thresholds: DraftThresholds) -> Draft:
    """What the head reads by thresholds of its own, under the same rule for superclasses as the vote."""
    read = votes.reading
    alone = replace(
        votes,
        statements={code: read.get(code, 0.0) for code in votes.statements},
        superclasses={name: read.get(SUPER + name, 0.0) for name in votes.superclasses},
    )
    return _vote_only(alone, replace(thresholds, joint=thresholds.reading, measured={}))


def _vote_only(votes: Vote, thresholds: DraftThresholds) -> Draft:
    passing = thresholds.passing(votes).statements
    statements = tuple(DraftedStatement(code, "present", p, "agrees") for code, p in passing.items())
    return Draft("", "en", VOTE, statements=statements, probabilities=votes.probabilities, calibrated=votes.calibrated)


def _as_read(draft: Draft, found: SearchResult, setting: Setting) -> Draft:
    read = ground(draft.text, draft.evidence, vote=found.vote, neighbours=_labels(found), thresholds=setting.thresholds)
    return replace(draft, statements=read.statements)


def _nearest(row: PtbXlRow, score: float, found: SearchResult, setting: Setting) -> Draft:
    evidence = (Evidence(1, case_id(row), score, tuple(row.labels)),)
    text = row.report
    read = ground(text, evidence, vote=found.vote, neighbours=_labels(found), thresholds=setting.thresholds)
    cited = tuple(
        replace(s, citations=(case_id(row),), supported_by=(case_id(row),) if s.code in row.labels else ())
        for s in read.statements
    )
    return Draft(text, "en", NEAREST, sentences=read.sentences, statements=cited, evidence=evidence)


def _labels(found: SearchResult) -> list[frozenset[str]]:
    return [frozenset(hit.case.labels) for hit in found.neighbours]
