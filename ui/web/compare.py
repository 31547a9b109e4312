"""Query and neighbour in one view: side by side at one scale, or overlaid lead by lead, with calipers."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web import drawings, why
from ecgkin.ui.web.context import show_error
from ecgkin.ui.web.neighbour_cards import chips_html, voted
from ecgkin.ui.web.query_panel import query_sheet
from ecgkin.ui.web.texts import person
from ecgkin.ui.web.viewer import viewer_html

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import SearchOut
    from ecgkin.ui.web.context import Page
    from ecgkin.ui.web.drawings import Sheet
    from ecgkin.ui.web.state import Found

LAYOUT = "3x4+1R"
SIDE_PX, OVERLAY_PX = 560, 760
TOP_LEADS = 4


def compare_view(page: Page, found: Found, shown: SearchOut, case_id: str) -> None:
    """Draw the view for one case, with a way back."""
    import streamlit as st

    word = page.word
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(word("back"), icon=":material/arrow_back:", key="back"):
            st.session_state.pop("compare")
            st.rerun()
        place = st.empty()
    try:
        case = page.api.case(case_id)
        svg = page.api.svg(case_id, LAYOUT)
        sheet, record = query_sheet(found.query, shown.page, page.dark) if found.query.kind == "ecg" else (None, None)
        other = page.api.record(case_id) if record is not None else None
    except EcgkinError as error:
        show_error(error, word)
        return
    way = "side"
    if record is not None and other is not None:
        way = place.segmented_control(
            word("compare"),
            ["side", "overlay"],
            default="side",
            required=True,
            format_func=word,
            label_visibility="collapsed",
            key="view",
        )
    score = next((hit.score for hit in shown.hits if hit.case.case_id == case_id), None)
    about = [case.case_id, person(case.age_years, case.sex, page.lang)]
    about += [f"{word('similarity')} {score:.2f}"] if score is not None else []
    caption = " · ".join(part for part in about if part)
    if way == "overlay" and record is not None and other is not None:
        names = (word("v_query"), f"{word('v_case')} {case.case_id}")
        html = viewer_html([], word, dark=page.dark, overlay=drawings.overlay_data(record, other, names))
        _show(html, OVERLAY_PX)
    else:
        if sheet is not None and record is not None and other is not None:
            sheet = _explained(page, found, sheet, record, other, case_id)
        sheets = [(sheet, word("query"), found.query.name)] if sheet is not None else []
        if svg is not None:
            sheets.append((drawings.case_sheet(svg, LAYOUT, page.dark), word("v_case"), caption))
        _show(viewer_html(sheets, word, dark=page.dark), SIDE_PX)
        if found.query.kind == "ecg" and record is None:
            st.caption(word("no_overlay"))
    st.header(word("report"), anchor=False)
    st.html(chips_html(case.labels, voted(shown.vote), page.lang, word))
    st.html(
        f'<p class="ek ek-report">{escape(case.report or word("no_report"))}</p><p class="ek-id">{escape(caption)}</p>'
    )


def _explained(page: Page, found: Found, sheet: Sheet, record: EcgRecord, other: EcgRecord, case_id: str) -> Sheet:
    """The query with the leads marked that bring the case near, where that is asked for."""
    import streamlit as st

    word = page.word
    if not st.toggle(word("why"), help=word("why_help"), key="why"):
        return sheet
    key = f"why-{found.query.digest}-{case_id}"
    drops: dict[str, float] | None = st.session_state.get(key)
    if drops is None:
        try:
            with st.spinner(word("why_running")):
                drops = why.lead_drops(page.api, record, other)
        except EcgkinError as error:
            show_error(error, word)
            return sheet
        st.session_state[key] = drops
    top = sorted(drops.items(), key=lambda item: -item[1])[:TOP_LEADS]
    st.caption(f"{word('why_help')} " + " · ".join(f"{lead} {drop:+.3f}" for lead, drop in top))
    return replace(sheet, marks=why.marks(drops, LAYOUT))


def _show(html: str, height: int) -> None:
    import streamlit.components.v1 as components

    components.html(html, height=height)
