"""`ecgkin instruct build`: instruction rows from PTB-XL in ECGInstruct's layout, with pages and with neighbours.

Only folds 1 to 8 are allowed: 9 chooses, 10 tests. A row that carries retrieved neighbours never carries one of the
same patient.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgkin.generation.prompt.context import case_line, choose_cases, vote_line
from ecgkin.generation.prompt.wording import fill, prompt_name
from ecgkin.generation.research.instruct import rows as rows_of
from ecgkin.generation.research.instruct.rows import CARD, FILE, BuildResult, Row, data_card
from ecgkin.generation.research.retrieval.ranking import Floats, Neighbours, nearest, patient_numbers
from ecgkin.generation.types.draft import Language
from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl, PtbXlRow
from ecgkin.retrieval.ecg.statements.report_text import normalise_report
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.hits import Hit
from ecgkin.retrieval.search.vote import Calibration, VoteRule, vote

_LOG = logging.getLogger(__name__)

ALLOWED_FOLDS = tuple(range(1, 9))
NEIGHBOUR_KS = (1, 3, 5)
PAGES = ("none", "standard", "varied")
PAGES_FOLDER = "images"
_SHOWN = 20  # nearest cases that the choice may look at
_REPORT_CHARACTERS = 240
_SEED = 2_410

Progress = Callable[[str, int, int], None]


def build_instructions(
    data: PtbXl,
    folder: Path,
    *,
    folds: Collection[int] = ALLOWED_FOLDS,
    vectors: Callable[[Sequence[PtbXlRow]], Floats] | None = None,
    calibration: Calibration | None = None,
    pages: str = "none",
    measure_every: int = 0,
    limit: int | None = None,
    seed: int = _SEED,
    progress: Progress | None = None,
) -> BuildResult:
    """Write rows, data card and, where wanted, pages.

    Args:
        data: PTB-XL.
        folder: Made where it is missing; files of an earlier build are replaced.
        folds: Some of 1 to 8.
        vectors: Unit vectors of records, (n, dim), for the rows that carry neighbours; None makes none of those.
        calibration: Of the votes; None gives raw shares.
        pages: "none"; "standard" draws every record on the usual page; "varied" draws another layout for every second
            record, as ECGInstruct does about one to one.
        measure_every: Feature rows for every so-many-th record (measuring takes a tenth of a second); 0 for none.
        limit: At most this many records, drawn with the seed.
        seed: Of all choices.
        progress: Called with (what, done, total).

    Returns:
        What was written, with counts.

    Raises:
        QueryError: Folds besides 1 to 8, an unknown way of pages, or nothing to build from.
    """
    forbidden = sorted(set(folds) - set(ALLOWED_FOLDS))
    if forbidden:
        raise QueryError(f"folds {forbidden} are not for training (expected some of 1-8)", hint="9 chooses, 10 tests")
    if pages not in PAGES:
        raise QueryError(f"pages is {pages!r} (expected one of {', '.join(PAGES)})")
    chosen = data.select(folds)
    if not chosen:
        raise QueryError(f"{data.root} holds no record of folds {sorted(folds)}")
    if limit is not None and limit < len(chosen):
        drawn = np.random.default_rng(seed).choice(len(chosen), limit, replace=False)
        chosen = [chosen[i] for i in sorted(drawn.tolist())]
    found = _neighbours(chosen, vectors(chosen)) if vectors is not None and len(chosen) > 1 else None
    dropped: Counter[str] = Counter()
    maker = _Maker(data, chosen, found, calibration, measure_every, dropped)
    counts: Counter[tuple[str, str]] = Counter()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (FILE + ".partial")
    n_rows = 0
    with partial.open("w", encoding="utf-8") as stream:
        stream.write("[")
        for i, row in enumerate(chosen):
            rng = np.random.default_rng([seed, row.ecg_id])
            varied = pages == "varied" and row.ecg_id % 2 == 1
            image = f"ptb-xl/{'varied' if varied else 'standard'}/{row.ecg_id:05d}-0.png"
            made = list(maker.rows(i, image, rng))
            for one in _distinct(made, dropped):
                meta = one["metadata"]
                counts[meta["subtask"], meta["type"] + (" with cases" if meta.get("cases") else "")] += 1
                stream.write(("\n" if n_rows == 0 else ",\n") + json.dumps(one, ensure_ascii=False))
                n_rows += 1
            if pages != "none":
                _draw(data, row, folder / PAGES_FOLDER / image, varied, rng)
            if progress is not None and (i % 100 == 99 or i + 1 == len(chosen)):
                progress("instruction rows", i + 1, len(chosen))
        stream.write("\n]\n")
    partial.replace(folder / FILE)
    result = BuildResult(folder / FILE, n_rows, len(chosen), dict(counts), dict(dropped))
    (folder / CARD).write_text(data_card(result, chosen, pages, vectors is not None, seed), encoding="utf-8")
    _LOG.info("instruct rows=%d records=%d", n_rows, len(chosen))
    return result


def neighbour_prompt(
    hits: Sequence[tuple[PtbXlRow, float]],
    k: int,
    *,
    language: Language,
    calibration: Calibration | None = None,
    with_vote: bool = False,
    n_cases: int | None = None,
) -> str:
    """The prompt that a drafter would send for these neighbours (`generation.prompts`), without picture.

    Args:
        hits: Nearest cases with cosines, best first, none of the query's patient.
        k: Cases shown.
        language: Of the answer.
        calibration: Of the vote.
        with_vote: Whether the vote of all `hits` stands beside the cases.
        n_cases: Size of the base, for the vote.

    Returns:
        The text of the prompt.
    """
    shown = [
        Hit(rank, score, Case(f"ptbxl/{row.ecg_id}", labels=row.labels, report=row.report))
        for rank, (row, score) in enumerate(hits[:_SHOWN], 1)
    ]
    cases = choose_cases(shown, k)
    votes = ""
    if with_vote:
        votes = vote_line(
            vote([s for _, s in hits], [r.labels for r, _ in hits], calibration=calibration, n_cases=n_cases)
        )
    return fill(
        prompt_name(question=False, cases=True),
        cases="\n".join(case_line(number, hit, _REPORT_CHARACTERS) for number, hit in enumerate(cases, 1)),
        vote=votes,
        n_voting=len(hits),
        measured="",
        question="",
        language=language,
    )


def _neighbours(chosen: Sequence[PtbXlRow], emb: Floats) -> Neighbours:
    (patients,) = patient_numbers([row.patient_id for row in chosen])
    # The row itself is of its own patient, so the same-patient rule takes it out too; patients that are unknown have
    # numbers of their own.
    return nearest(emb, emb, VoteRule().k, query_patients=patients, gallery_patients=patients)


@dataclass(frozen=True)
class _Maker:
    """Makes the rows of one record after the other.

    Attributes:
        data, chosen: Records, and which of them.
        found: Neighbours of each among the chosen; None makes no rows that carry neighbours.
        calibration: Of the votes; None gives raw shares.
        measure_every: Feature rows for every so-many-th record; 0 for none.
        dropped: Why rows were not made, counted.
    """

    data: PtbXl
    chosen: Sequence[PtbXlRow]
    found: Neighbours | None
    calibration: Calibration | None
    measure_every: int
    dropped: Counter[str]

    def rows(self, i: int, image: str, rng: np.random.Generator) -> Iterator[Row]:
        """Report, report with neighbours, questions; `i` is the record's place among the chosen."""
        row = self.chosen[i]
        language = rows_of.language_of(row)
        number = 0
        if rows_of.has_report(row):
            request = str(rng.choice(rows_of.REPORT_REQUESTS[language]))
            yield rows_of.make_row(row, image, request, rows_of.report_answer(row), "report", "open-ended", number)
            number += 1
            if self.found is not None:
                hits = [
                    (self.chosen[r], float(s))
                    for r, s in zip(self.found.rows[i], self.found.scores[i], strict=True)
                    if r >= 0 and r != i
                ]
                k = int(rng.choice(NEIGHBOUR_KS))
                with_vote = bool(rng.random() < 0.5)
                if hits:
                    prompt = neighbour_prompt(
                        hits,
                        k,
                        language=language,
                        calibration=self.calibration,
                        with_vote=with_vote,
                        n_cases=len(self.chosen),
                    )
                    answer = rows_of.report_answer(row)
                    yield rows_of.make_row(
                        row, image, prompt, answer, "report", "open-ended", number,
                        cases=k, vote=with_vote, case_ids=[f"ptbxl/{r.ecg_id}" for r, _ in hits[:_SHOWN]],
                    )  # fmt: skip
                    number += 1
        else:
            self.dropped["reports without findings"] += 1
        questions = rows_of.label_questions(row, rng)
        if self.measure_every and i % self.measure_every == 0:
            from ecgkin.generation.measures import measure

            questions += rows_of.feature_questions(row, measure(self.data.record(row)).values, rng)
        for question, answer, subtask, kind in questions:
            yield rows_of.make_row(row, image, question, answer, subtask, kind, number)
            number += 1


def _distinct(made: Sequence[Row], dropped: Counter[str]) -> Iterator[Row]:
    """Rows whose picture and question were not there before."""
    seen: set[str] = set()
    for one in made:
        said = normalise_report(one["conversations"][0]["value"])
        if said in seen:
            dropped["the same question on the same record"] += 1
            continue
        seen.add(said)
        yield one


def _draw(data: PtbXl, row: PtbXlRow, path: Path, varied: bool, rng: np.random.Generator) -> None:
    from ecgkin.generation.prompt.pages import draw_page

    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    record = data.record(row)
    if varied:
        from PIL import Image

        from ecgkin.retrieval.ecg.augment.photograph import photograph
        from ecgkin.retrieval.ecg.drawing.raster import render_array
        from ecgkin.retrieval.ecg.drawing.trace_map import random_style

        page = Image.fromarray(photograph(render_array(record, random_style(rng)), rng, "scan"))
    else:
        page = draw_page(record)
    partial = path.with_suffix(".partial")
    page.save(partial, format="PNG")
    partial.replace(path)
