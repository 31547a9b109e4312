"""The query drawn large, and what was understood of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web import drawings
from ecgkin.ui.web.viewer import viewer_html

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import PageOut, SearchOut
    from ecgkin.ui.web.context import Page
    from ecgkin.ui.web.drawings import Sheet
    from ecgkin.ui.web.state import Query
    from ecgkin.ui.web.texts import Words

VIEWER_PX = 520
# Quality from 0 to 1 in words.
GOOD, FAIR = 0.7, 0.4


def query_panel(page: Page, query: Query, found: SearchOut) -> None:
    """Draw the query."""
    import streamlit as st
    import streamlit.components.v1 as components

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
            html = viewer_html([(sheet, query.name, "")], page.word, dark=page.dark)
            components.html(html, height=VIEWER_PX)
    st.html(understood_html(query, found, record, page.word))
    for warning in dict.fromkeys(found.warnings):
        st.html(f'<p class="ek ek-notice">{escape(warning)}</p>')


def query_sheet(query: Query, page: PageOut | None, dark: bool) -> tuple[Sheet, EcgRecord | None]:
    """The query as a sheet of the viewer, with its samples where it has them.

    Raises:
        EcgkinError: It cannot be read.
    """
    record = drawings.read_record(query)
    if record is not None:
        return drawings.record_sheet(record, dark), record
    return drawings.picture_sheet(query.files[0][1], page), None


def understood_html(query: Query, found: SearchOut, record: EcgRecord | None, word: Words) -> str:
    """What was understood, as a list of facts."""
    kind = found.query if found.query in ("image", "record", "text", "refined") else query.kind
    facts = [(word("understood"), word(f"kind_{kind}") if kind != "ecg" else query.name)]
    if record is not None:
        seconds = record.signal_mv.shape[1] / record.fs_hz
        facts.append((word("scale"), word("rate_hz", fs=f"{record.fs_hz:g}", s=f"{seconds:.1f}")))
        facts.append((word("leads"), " ".join(record.leads)))
    if found.page is not None:
        facts += page_facts(found.page, word)
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    took = word("took", ms=f"{found.timings_ms.get('total', 0):.0f}")
    return f'<dl class="ek ek-facts">{items}</dl><p class="ek-soft">{escape(took)}</p>'


def page_facts(page: PageOut, word: Words) -> list[tuple[str, str]]:
    """What was read off a picture, for people."""
    scale = f"{page.px_per_mm:.1f} px/mm" if page.px_per_mm else word("scale_unknown")
    if abs(page.rotation_deg) >= 1:
        scale += ", " + word("turned", n=f"{page.rotation_deg:.0f}")
    level = "good" if page.quality >= GOOD else "fair" if page.quality >= FAIR else "poor"
    return [
        (word("layout"), f"{page.layout}, {word('rows', n=page.n_rows)}"),
        (word("leads"), " ".join(page.leads) or word("leads_unknown")),
        (word("scale"), scale),
        (word("quality"), f"{word(f'quality_{level}')} ({page.quality:.2f})"),
    ]
