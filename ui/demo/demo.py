"""`ecgkin demo`: from nothing at hand to an ECG beside its most similar cases, in one call."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import CaseBaseError, EncoderMismatchError, ManifestError, QueryError
from ecgkin.ui.console import Moved
from ecgkin.ui.demo.cases import EARLY, HITS, Asked, Say, Source, ask_ptbxl, ask_simulated, find_source

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.index.case import Case
    from ecgkin.index.sources.items import IngestItem
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
        rest: Cases that are not in yet, see `complete`; None where all are.
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
    rest: Iterator[IngestItem] | None = None


def run_demo(
    settings: Settings, out: Path, *, n_cases: int | None = None, seed: int = 0, say: Say, moved: Moved
) -> Shown:
    """Find cases, make or reuse a case base of them, ask it about a held-out ECG, write the page.

    Of many cases the page shows what is found among the first `EARLY`; `complete` takes in the others.

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
    from ecgkin.retrieval.encoders import load_encoder

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
    items: Iterator[IngestItem] = iter(asked.gallery)
    with _opened(folder, encoder) as base:
        if len(base) < min(EARLY, asked.n_gallery):
            _fill(base, islice(items, EARLY), min(EARLY, asked.n_gallery), encoder, say, moved)
            if len(base) <= HITS:
                raise CaseBaseError(
                    f"only {len(base)} of {asked.n_gallery} cases could be read", hint="see the lines above"
                )
        return _show(out, source, asked, base, encoder, items if len(base) < asked.n_gallery else None)


def complete(shown: Shown, *, say: Say, moved: Moved) -> Shown:
    """Take in the cases that the first page did without, and write it anew.

    Args:
        shown: Of `run_demo`.
        say: Told in words what was left out.
        moved: Told how far it is; what it raises ends the filling, what is in by then stays.

    Returns:
        What is found among all cases.

    Raises:
        CaseBaseError: The folder cannot be written, or another process fills it at this moment.
    """
    if shown.rest is None:
        return shown
    with _opened(shown.folder, shown.encoder) as base:
        _fill(base, shown.rest, shown.asked.n_gallery, shown.encoder, say, moved)
        return _show(shown.page.parent, shown.source, shown.asked, base, shown.encoder, None)


def _show(
    out: Path, source: Source, asked: Asked, base: CaseBase, encoder: Encoder, rest: Iterator[IngestItem] | None
) -> Shown:
    """Ask the base and write the page."""
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.search.search import CaseSearch

    search = CaseSearch.open(base, encoder)
    # Left out where the base holds that patient; the ECG that is asked about is chosen so that it does not.
    patient = asked.case.patient_id
    held = patient is not None and base.count({"patient": patient}) > 0
    result = search.by_image(render(asked.record), HITS, exclude_patient=patient if held else None)
    page = _write_page(out, source, asked, search, result)
    labels = tuple(asked.case.labels)
    return Shown(page, source, asked.case.case_id, labels, len(base), result, base.path, encoder, asked, rest)


def _key(source: Source, n_cases: int, encoder: Encoder) -> str:
    """Folder name that changes with everything that the base is made of."""
    root = str(source.root.resolve()) if source.root else ""
    parts = ("2", source.kind, root, str(n_cases), encoder.name, encoder.fingerprint)
    return f"{source.kind}-{n_cases}-{hashlib.blake2b('|'.join(parts).encode(), digest_size=6).hexdigest()}"


def _opened(folder: Path, encoder: Encoder) -> CaseBase:
    """The demo's case base: the one of the last time, whole or in part, else a new one."""
    from ecgkin.index.ingest.pipeline import open_or_create

    try:
        return open_or_create(folder, encoder)
    except (ManifestError, EncoderMismatchError) as error:
        _LOG.warning("demo base is made anew: %s", error)  # everything in it can be made again
        shutil.rmtree(folder)
        return open_or_create(folder, encoder)


def _fill(base: CaseBase, items: Iterable[IngestItem], n: int, encoder: Encoder, say: Say, moved: Moved) -> None:
    """Take cases in; what is there already is passed over.

    Args:
        base: Where they go.
        items: The cases.
        n: How many the base will hold.
        encoder: Of the base.
        say: Told in words what was left out.
        moved: Told how many cases are done.
    """
    from ecgkin.index.ingest.pipeline import ingest_records

    there = len(base)
    report = ingest_records(
        base,
        items,
        encoder,
        batch=BATCH,
        progress=lambda now: moved(min(n, there + now.n_seen - now.skipped), n, "draw and encode cases"),
    )
    for name, reason in report.failed[:FAILURES_SHOWN]:
        say(f"left out: {name}: {reason}")


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
