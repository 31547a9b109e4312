"""The query drawn large, and what was understood of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels import reading, region
from ecgkin.ui.web.shared import drawings
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.notes import said
from ecgkin.ui.web.shared.viewer import height_css, viewer_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.delta_generator import DeltaGenerator

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import NoteOut, PageOut, SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found, Work
    from ecgkin.ui.web.shared.drawings import Sheet
    from ecgkin.ui.web.shared.query import Options, Query
    from ecgkin.ui.web.shared.texts import Lang, Words

VIEWER_PX = 380
# Quality from 0 to 1 in words.
GOOD, FAIR = 0.7, 0.4
# Height over width of what is shown where nothing says more.
USUAL_SHAPE = (262.0, 179.0)
KEY = "viewer-query"
# Reads the files of a query while the server searches.
_readers = ThreadPoolExecutor(2, thread_name_prefix="query")


def read_ahead(work: Work) -> None:
    """Begin to read the files of a query, where nothing has yet.

    Args:
        work: The question.
    """
    if work.query.kind == "ecg" and "read" not in work.other:
        work.other["read"] = _readers.submit(drawings.read_query, work.query)


def query_panel(page: Page, work: Work, found: SearchOut) -> DeltaGenerator | None:
    """Draw the query by words, or make room for the ECG, which `query_viewer` fills once the rest is on the page.

    Args:
        page: What every panel is given: language, texts, API, colours.
        work: The question.
        found: What the server answered.

    Returns:
        The room; None where there is no ECG.
    """
    import streamlit as st

    query = work.query
    if query.kind == "text":
        if found.understood is None:  # else its parts say it
            st.html(f'<p class="ek ek-asked">“{escape(query.text)}”</p>')
        return None
    with st.container(key="query-room"):
        st.html(height_css("st-key-query-room", shape(found.page), phone_bars=bars(found.page)))
        return st.container(key=KEY)


def shape(page: PageOut | None) -> tuple[float, float]:
    """Width and height of what the viewer will show, mm, before the ECG is there.

    Args:
        page: What was read of a picture; None of a recording.
    """
    if page is None:
        return drawings.crop("3x4+1R")[2:]
    per_mm = page.px_per_mm or 1.0
    width, height = drawings.framed([(x / per_mm, y / per_mm) for x, y in page.corners], USUAL_SHAPE)[2:]
    lies = abs(page.rotation_deg - 90) < 45
    return (height, width) if lies else (width, height)


def bars(page: PageOut | None) -> int:
    """Lines that the viewer's buttons take on a phone: two where speed and gain are to be chosen.

    Args:
        page: What was read of a picture; None of a recording.
    """
    return 1 + (page is not None and drawings.paper_scale(page)[2])


def query_viewer(
    page: Page,
    work: Work,
    found: SearchOut,
    room: DeltaGenerator,
    options: Options,
    asked: Found | None = None,
    *,
    brief: bool = False,
) -> None:
    """Fill the room with the ECG, large, and say what was understood of it.

    Args:
        page: What every panel is given: language, texts, API, colours.
        work: The question.
        found: What the server answered.
        room: From `query_panel`.
        options: How it was asked.
        asked: The search, for a frame on a lead; None shows no field for that.
        brief: Whether the ECG alone is shown.
    """
    import streamlit as st

    query = work.query
    try:
        sheet, record = query_sheet(work, found.page, page.dark)
    except EcgkinError as error:
        sheet, record = None, None
        with room:
            show_error(error, page.word, [name for name, _ in query.files])
    with st.container(horizontal=True, vertical_alignment="center", key="understood"):
        read = None
        if sheet is not None and found.page is not None and record is None:
            read = reading.check_panel(page, work, found.page)
        if not brief:
            if sheet is not None and asked is not None:
                region.field(page, asked, found, options, lambda: record or samples_read_off(page, query))
            refined = asked is not None and asked.refined is not None
            st.html(understood_html(query, found, record, page.word, refined=refined), width="content")
        if read is not None:
            st.html(f'<p class="ek ek-soft">{escape(reading.summary(read, page.word))}</p>', width="content")
    if sheet is not None:
        sheet = reading.curves_on(sheet, read) if read is not None else sheet
        sheet = region.framed_on(sheet, asked.region) if asked is not None else sheet
        with room:
            st.iframe(viewer_html([(sheet, query.name, "")], page.word, dark=page.dark, sized=False), height=VIEWER_PX)
    notes(found.warnings, page.lang)


def notes(warnings: Sequence[NoteOut], lang: Lang) -> None:
    """What a search says beside its answer.

    Args:
        warnings: Of the answer.
        lang: Of the page.
    """
    import streamlit as st

    told = said(warnings, lang)
    if told:
        st.html(f'<div class="ek ek-notice">{"<br>".join(escape(text) for text in told)}</div>')


def query_sheet(work: Work, page: PageOut | None, dark: bool) -> tuple[Sheet, EcgRecord | None]:
    """The query as a sheet of the viewer, with its samples where it has them; made once.

    Args:
        work: The question.
        page: What the server read of the picture; None of a recording.
        dark: Whether the page is dark.

    Returns:
        The sheet, and the record where there is one.

    Raises:
        EcgkinError: It cannot be read.
    """
    from ecgkin.retrieval.ecg.record import EcgRecord

    key = ("sheet", work.query.digest, dark)
    kept: tuple[Sheet, EcgRecord | None] | None = work.other.get(key)
    if kept is None:
        read_ahead(work)
        try:
            asked = work.other["read"].result()
        except EcgkinError:
            del work.other["read"]
            raise
        record = asked if isinstance(asked, EcgRecord) else None
        sheet = (
            drawings.record_sheet(asked, dark) if isinstance(asked, EcgRecord) else drawings.picture_sheet(asked, page)
        )
        kept = work.other[key] = (sheet, record)
    return kept


def samples_read_off(page: Page, query: Query) -> EcgRecord | None:
    """The samples that were read off a picture; None where its curves could not be read.

    Args:
        page: What every panel is given.
        query: The picture.
    """
    try:
        signal = page.api.digitized(query).signal
        return None if signal is None else signal.record()
    except EcgkinError:
        return None


def query_picture(work: Work) -> bytes | None:
    """The query for a PDF, as a JPEG no wider than is sharp there; None where it cannot be drawn. Made once.

    Args:
        work: The question.
    """
    if "picture" not in work.other:
        try:
            work.other["picture"] = drawings.jpeg(work.query)
        except EcgkinError:
            work.other["picture"] = None
    made: bytes | None = work.other["picture"]
    return made


def understood_html(
    query: Query, found: SearchOut, record: EcgRecord | None, word: Words, *, refined: bool = False
) -> str:
    """What was understood: one line, and all facts folded below it.

    Args:
        query: What is asked.
        found: What the server answered.
        record: Samples of the query; None of a picture or words.
        word: Looks up texts in the language of the page.
        refined: Whether the cases are those of a search that followed marks.

    Returns:
        HTML, escaped.
    """
    kind = found.query if found.query in ("image", "record", "text", "refined") else query.kind
    facts = [(word("understood"), word(f"kind_{kind}") if kind != "ecg" else query.name)]
    brief = [word("kind_refined")] if refined or kind == "refined" else []
    brief.append(query.name)
    if record is not None:
        seconds = record.signal_mv.shape[1] / record.fs_hz
        sampled = word("rate_hz", fs=f"{record.fs_hz:g}", s=f"{seconds:.1f}")
        brief.append(sampled)
        facts += [(word("sampled"), sampled), (word("leads"), " ".join(record.leads))]
    if found.page is not None:
        read = page_facts(found.page, word)
        if found.abstention.reason == "unreadable":  # a clear picture of something else is no page of good quality
            read = read[:-1]
        facts += read
        brief += [read[0][1], *(f"{name}: {value}" for name, value in read[-1:] if name == word("quality"))]
    facts.append((word("took"), word("seconds", s=f"{found.timings_ms.get('total', 0) / 1000:.1f}")))
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return (
        f'<details class="ek ek-understood"><summary>{escape(" · ".join(brief))}</summary>'
        f'<dl class="ek ek-facts">{items}</dl></details>'
    )


def page_facts(page: PageOut, word: Words) -> list[tuple[str, str]]:
    """What was read off a picture, as names and values for people.

    Args:
        page: From the API.
        word: Looks up texts in the language of the page.

    Returns:
        Pairs of name and value.
    """
    scale = word("scale_unknown")
    if page.px_per_mm:
        speed, gain, assumed = drawings.paper_scale(page)
        scale = word("paper_assumed" if assumed else "paper", speed=f"{speed:.3g}", gain=f"{gain:.3g}")
    if abs(page.rotation_deg) >= 1:
        scale += ", " + word("turned", n=f"{page.rotation_deg:.0f}")
    rows = word("rows", n=page.n_rows)
    level = "good" if page.quality >= GOOD else "fair" if page.quality >= FAIR else "poor"
    return [
        (word("layout"), f"{word('layout_other') if page.layout == 'other' else page.layout}, {rows}"),
        (word("leads"), " ".join(page.leads) or word("leads_unknown")),
        (word("scale"), scale),
        (word("quality"), f"{word(f'quality_{level}')} ({page.quality:.2f})"),
    ]
