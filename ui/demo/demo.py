"""`ecgkin demo`: from nothing at hand to an ECG beside its most similar cases, in one call."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, ManifestError, QueryError
from ecgkin.ui.console import Moved
from ecgkin.ui.demo.cases import HITS, Asked, Say, Source, ask_ptbxl, ask_simulated, find_source

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.index.case import Case
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.encoders.base import Encoder
    from ecgkin.retrieval.search.search import CaseSearch, SearchResult
    from ecgkin.ui.settings import Settings

_LOG = logging.getLogger(__name__)

# Simulated cases differ less than real ones: more of them show nothing more, and take time to draw.
SIMULATED_CASES = 400
PAGE_NAME = "demo.html"
STATEMENT_BARS = 8
# Cases that a kill can cost.
BATCH = 32
FAILURES_SHOWN = 5


@dataclass(frozen=True)
class Shown:
    """What the demo found.

    Attributes:
        page: The HTML file.
        source: Where the cases come from.
        query_id, query_labels: The ECG that was asked about.
        n_cases: How many were searched.
        result: Hits and vote.
        folder: The case base.
        encoder: What it was made with.
        asked: The ECG, and further ones.
    """

    page: Path
    source: Source
    query_id: str
    query_labels: tuple[str, ...]
    n_cases: int
    result: SearchResult
    folder: Path
    encoder: Encoder
    asked: Asked


def run_demo(
    settings: Settings, out: Path, *, n_cases: int | None = None, seed: int = 0, say: Say, moved: Moved
) -> Shown:
    """Find cases, make or reuse a case base of them, ask it about a held-out ECG, write the page.

    Args:
        settings: PTB-XL folder, encoder, user folder, address for the download.
        out: Folder for the page, made where it is missing.
        n_cases: Cases to search; None takes the setting, or 400 for simulated ones.
        seed: Which held-out ECG is asked about.
        say: Told in words what is going on.
        moved: Told how far the longer steps are.

    Returns:
        What was found, and where the page lies.

    Raises:
        EcgkinError: A folder that was named is no PTB-XL folder, the encoder cannot be loaded, the page not written.
    """
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.retrieval.search.search import CaseSearch

    if n_cases is not None and n_cases <= HITS:
        raise QueryError(f"cases is {n_cases} (expected more than {HITS}, so that {HITS} neighbours can be shown)")
    encoder = load_encoder(settings.encoder, device=settings.device)
    source = find_source(settings, say, moved)
    say(f"cases: {source.words}")
    asked = (
        ask_simulated(n_cases or SIMULATED_CASES, seed)
        if source.root is None
        else ask_ptbxl(source.root, n_cases or settings.demo_cases, seed)
    )
    folder = settings.home / "demo" / _key(source, asked.n_gallery, encoder)
    with open_or_fill(folder, encoder, asked, say, moved) as base:
        search = CaseSearch.open(base, encoder)
        result = search.by_image(render(asked.record), HITS, exclude_patient=asked.case.patient_id)
        page = _write_page(out, source, asked, search, result)
        labels = tuple(asked.case.labels)
        return Shown(page, source, asked.case.case_id, labels, len(base), result, folder, encoder, asked)


def _key(source: Source, n_cases: int, encoder: Encoder) -> str:
    """Folder name that changes with everything that the base is made of."""
    root = str(source.root.resolve()) if source.root else ""
    parts = ("2", source.kind, root, str(n_cases), encoder.name, encoder.fingerprint)
    return f"{source.kind}-{n_cases}-{hashlib.blake2b('|'.join(parts).encode(), digest_size=6).hexdigest()}"


def open_or_fill(folder: Path, encoder: Encoder, asked: Asked, say: Say, moved: Moved) -> CaseBase:
    """The demo's case base: the one of the last time where it is whole, else (or in part) filled now.

    Args:
        folder: Of the case base.
        encoder: That it is, or will be, built with.
        asked: The cases that it should hold.
        say: Told in words what was left out.
        moved: Told how many cases are done.

    Returns:
        The open base.

    Raises:
        CaseBaseError: The folder cannot be written, or another process fills it at this moment.
    """
    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create

    try:
        base = open_or_create(folder, encoder)
    except (ManifestError, EncoderMismatchError) as error:
        _LOG.warning("demo base is made anew: %s", error)  # everything in it can be made again
        shutil.rmtree(folder)
        base = open_or_create(folder, encoder)
    if len(base) < asked.n_gallery:
        report = ingest_records(
            base,
            asked.gallery,
            encoder,
            batch=BATCH,
            progress=lambda report: moved(report.n_seen, asked.n_gallery, "draw and encode cases"),
        )
        for name, reason in report.failed[:FAILURES_SHOWN]:
            say(f"left out: {name}: {reason}")
        if len(base) <= HITS:
            raise CaseBaseError(
                f"only {len(base)} of {asked.n_gallery} cases could be read", hint="see the lines above"
            )
    return base


def _write_page(out: Path, source: Source, asked: Asked, search: CaseSearch, result: SearchResult) -> Path:
    from ecgkin.retrieval.ecg.statements.catalogue import superclasses
    from ecgkin.ui.demo import html_page

    query = asked.case

    def card(
        case: Case, record: EcgRecord | None, rank: int | None = None, score: float | None = None
    ) -> html_page.Card:
        return html_page.Card(
            case_id=case.case_id,
            svg=html_page.drawing_svg(record) if record is not None else "",
            report=case.report,
            chips=html_page.chips(case.labels, query.labels),
            person=html_page.person(case.age_years, case.sex),
            rank=rank,
            score=score,
            language=case.language or "",
        )

    vote = result.vote
    title = "Vote of the neighbours: probability" if vote.calibrated else "Vote of the neighbours: their share"
    own_superclasses = superclasses(query.labels)
    warnings: list[str] = [*result.warnings, *([vote.note] if vote.note else [])]
    if source.kind == "simulated":
        warnings.insert(0, "All ECGs on this page are SIMULATED: made by ecgkin, no patient has had them.")
    page = html_page.Page(
        query=card(query, asked.record),
        hits=[card(hit.case, search.base.record(hit.case.case_id), hit.rank, hit.score) for hit in result.hits],
        source=source.words,
        n_cases=len(search.base),
        statements=html_page.bars(vote.statements, query.labels, STATEMENT_BARS),
        superclasses=html_page.bars(vote.superclasses, own_superclasses, STATEMENT_BARS, at_least=0.0),
        vote_title=f"{title} ({vote.n_neighbours} neighbours)",
        warnings=warnings,
        facts=[f"Encoder {search.encoder.name}, {result.timings_ms['total']:.0f} ms from picture to hits."],
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        target = out / PAGE_NAME
        target.write_text(html_page.page_html(page), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise QueryError(f"{out} cannot be written: {reason}", hint="name another folder with --out") from None
    return target
