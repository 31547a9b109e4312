"""The query drawn large, and what was understood of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels import reading
from ecgkin.ui.web.shared import drawings
from ecgkin.ui.web.shared.notes import said
from ecgkin.ui.web.shared.viewer import show, viewer_html

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import PageOut, SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.drawings import Sheet
    from ecgkin.ui.web.shared.query import Query
    from ecgkin.ui.web.shared.texts import Words

VIEWER_PX = 380
# Of the window's height that the query takes at most: the draft begins below it.
VIEWER_SHARE = 0.54
# Quality from 0 to 1 in words.
GOOD, FAIR = 0.7, 0.4


def query_panel(page: Page, query: Query, found: SearchOut) -> None:
    """Draw the query large, and what was understood of it.

    Args:
        page: What every panel is given: language, texts, API, colours.
        query: What is asked.
        found: What the server answered.
    """
    import streamlit as st

    st.header(page.word("query"), anchor=False)
    if query.kind == "text":
        st.html(f'<p class="ek" style="font-size:1.25rem">“{escape(query.text)}”</p>')
        record = None
    else:
        try:
            sheet, record = query_sheet(query, found.page, page.dark)
        except EcgkinError as error:
            sheet, record = None, None
            st.text(str(error))
        if sheet is not None:
            place = st.container()
            read = reading.check_panel(page, query, found.page) if found.page is not None and record is None else None
            if read is not None:
                sheet = reading.curves_on(sheet, read)
            html = viewer_html([(sheet, query.name, "")], page.word, dark=page.dark, share=VIEWER_SHARE)
            with place:
                show(html, VIEWER_PX, "viewer-query")
    st.html(understood_html(query, found, record, page.word))
    notes = said(found.warnings, page.lang)
    if notes:
        st.html(f'<div class="ek ek-notice">{"<br>".join(escape(text) for text in notes)}</div>')


def query_sheet(query: Query, page: PageOut | None, dark: bool) -> tuple[Sheet, EcgRecord | None]:
    """The query as a sheet of the viewer, with its samples where it has them; made once.

    Args:
        query: What is asked.
        page: What the server read of the picture; None of a recording.
        dark: Whether the page is dark.

    Returns:
        The sheet, and the record where there is one.

    Raises:
        EcgkinError: It cannot be read.
    """
    import streamlit as st

    from ecgkin.retrieval.ecg.record import EcgRecord

    key = (query.digest, dark)
    kept: tuple[tuple[str, bool], Sheet, EcgRecord | None] | None = st.session_state.get("sheet")
    if kept is None or kept[0] != key:
        asked = drawings.read_query(query)
        record = asked if isinstance(asked, EcgRecord) else None
        sheet = (
            drawings.record_sheet(asked, dark) if isinstance(asked, EcgRecord) else drawings.picture_sheet(asked, page)
        )
        kept = (key, sheet, record)
        st.session_state["sheet"] = kept
    return kept[1], kept[2]


def query_picture(query: Query) -> bytes | None:
    """The query for a PDF, as a JPEG no wider than is sharp there; None where it cannot be drawn. Made once."""
    import streamlit as st

    kept: tuple[str, bytes | None] | None = st.session_state.get("picture")
    if kept is None or kept[0] != query.digest:
        try:
            made: bytes | None = drawings.jpeg(query)
        except EcgkinError:
            made = None
        kept = (query.digest, made)
        st.session_state["picture"] = kept
    return kept[1]


def understood_html(query: Query, found: SearchOut, record: EcgRecord | None, word: Words) -> str:
    """What was understood, as a list of facts.

    Args:
        query: What is asked.
        found: What the server answered.
        record: Samples of the query; None of a picture or words.
        word: Looks up texts in the language of the page.

    Returns:
        HTML, escaped.
    """
    kind = found.query if found.query in ("image", "record", "text", "refined") else query.kind
    facts = [(word("understood"), word(f"kind_{kind}") if kind != "ecg" else query.name)]
    if record is not None:
        seconds = record.signal_mv.shape[1] / record.fs_hz
        facts.append((word("sampled"), word("rate_hz", fs=f"{record.fs_hz:g}", s=f"{seconds:.1f}")))
        facts.append((word("leads"), " ".join(record.leads)))
    if found.page is not None:
        facts += page_facts(found.page, word)
    facts.append((word("took"), word("seconds", s=f"{found.timings_ms.get('total', 0) / 1000:.1f}")))
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="ek ek-facts">{items}</dl>'


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
