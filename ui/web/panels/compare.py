"""Query and neighbour in one view: side by side at one scale, or overlaid lead by lead, with calipers; and why
the case is near: the stretches of the query that the server found, as patches on the viewer and in words.
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels import beside as beside_tables
from ecgkin.ui.web.panels.neighbour_cards import chips_html, voted
from ecgkin.ui.web.panels.query_panel import query_sheet, samples_read_off
from ecgkin.ui.web.shared import drawings
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.desk import beside
from ecgkin.ui.web.shared.notes import as_said
from ecgkin.ui.web.shared.texts import person
from ecgkin.ui.web.shared.viewer import height_css, show, viewer_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.delta_generator import DeltaGenerator

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import CaseOut, ExplanationOut, SearchOut, StretchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found, Work
    from ecgkin.ui.web.shared.drawings import Mark, Sheet
    from ecgkin.ui.web.shared.texts import Words

LAYOUT = "3x4+1R"
VIEWER = "viewer-compare"
SIDE_PX, OVERLAY_PX = 420, 700
OVERLAY_SHARE = 0.92
TOP_STRETCHES = 4
# The strongest stretch's colour; weaker ones in proportion.
STRONGEST = 0.5
# A page with every lead over its whole length: each stretch of a recording has its place on it.
WHY_LAYOUT = "12x1"

Points: TypeAlias = tuple[tuple[float, float], ...]


def compare_view(page: Page, work: Work, found: Found, shown: SearchOut, case_id: str) -> None:
    """Draw the view for one case, with a way back and to the cases before and after it.

    Args:
        page: What every panel is given: language, texts, API, colours.
        work: The question.
        found: Its search, before and after its marks.
        shown: The search whose cases are on the page.
        case_id: The case beside the query.
    """
    import streamlit as st

    word = page.word
    with st.container(horizontal=True, vertical_alignment="center", key="compare-bar"):
        st.button(word("back"), icon=":material/arrow_back:", key="back", on_click=beside, args=(None,))
        _step(shown, case_id, page)
        place, asked = st.empty(), st.empty()
    # Nothing moves when the pages come.
    room = st.container(key=VIEWER)
    with room:
        if st.session_state.get("view") == "overlay":
            size, phone = drawings.OVERLAY_MM, drawings.OVERLAY_PHONE_MM
            st.html(height_css(f"st-key-{VIEWER}", size, share=OVERLAY_SHARE, phone_mm=phone, phone_bars=2))
        else:
            # Where it is explained, a recording is shown with every lead over its whole length.
            layout = WHY_LAYOUT if st.session_state.get("why") and shown.page is None else LAYOUT
            st.html(height_css(f"st-key-{VIEWER}", drawings.crop(layout)[2:], 1 + (found.query.kind == "ecg")))
    try:
        case = page.api.case(case_id)
        other = page.api.record(case_id)
        sheet, record = query_sheet(work, shown.page, page.dark) if found.query.kind == "ecg" else (None, None)
    except EcgkinError as error:
        show_error(error, word)
        return
    way = "side"
    # Of a picture the samples that were read off it can be laid over the case's, the picture stays what is shown.
    samples = record if record is not None or sheet is None or other is None else samples_read_off(page, found.query)
    if samples is not None and other is not None:
        way = place.segmented_control(
            word("compare"),
            ["side", "overlay"],
            default="side",
            required=True,
            format_func=word,
            label_visibility="collapsed",
            key="view",
        )
    caption = _caption(page, shown, case)
    if way == "overlay" and samples is not None and other is not None:
        names = (word("v_query"), f"{word('v_case')} {case.case_id}")
        overlay = drawings.overlay_data(samples, other, names)
        show(viewer_html([], word, dark=page.dark, overlay=overlay, share=OVERLAY_SHARE), OVERLAY_PX, VIEWER, room)
    else:
        explain = sheet is not None and asked.toggle(word("why"), help=word("why_help"), key="why")
        _side(page, found, case, caption, sheet, record, room, explain=explain)
        if found.query.kind == "ecg" and samples is None and other is not None:
            st.caption(word("no_overlay"))
    left, right = st.columns([1, 1], gap="medium")
    with left:
        _about(page, shown, case, caption)
        st.html(beside_tables.findings_html(shown.vote, case.labels, page.lang, word))
    if samples is not None and other is not None:
        serial = beside_tables.measured_beside(work, case_id, samples, other)
        with left:
            st.html(beside_tables.values_html(serial, page.lang, word))
        with right:
            names = (f"{word('v_case')} {case.case_id}", word("v_query"))
            st.html(beside_tables.beats_html(serial, names, word))


def _step(shown: SearchOut, case_id: str, page: Page) -> None:
    """Buttons to the neighbour before and after this one."""
    import streamlit as st

    ids = [hit.case.case_id for hit in shown.hits]
    if case_id not in ids:
        return
    at = ids.index(case_id)
    st.html(f'<span class="ek ek-rank">{escape(page.word("nth", n=at + 1, of=len(ids)))}</span>', width="content")
    for by, name, icon in ((-1, "before", "chevron_left"), (1, "after", "chevron_right")):
        to = at + by
        there = 0 <= to < len(ids)
        st.button(
            page.word(name),
            icon=f":material/{icon}:",
            disabled=not there,
            key=name,
            shortcut="Left" if by < 0 else "Right",
            on_click=beside,
            args=(ids[to] if there else None,),
        )


def _caption(page: Page, shown: SearchOut, case: CaseOut) -> str:
    score = next((hit.score for hit in shown.hits if hit.case.case_id == case.case_id), None)
    about = [case.case_id, person(case.age_years, case.sex, page.lang)]
    about += [f"{page.word('similarity')} {score:.2f}"] if score is not None else []
    return " · ".join(part for part in about if part)


def _side(
    page: Page,
    found: Found,
    case: CaseOut,
    caption: str,
    sheet: Sheet | None,
    record: EcgRecord | None,
    room: DeltaGenerator,
    *,
    explain: bool,
) -> None:
    """Both pages at one scale: the case is drawn with the query's speed and gain."""

    word, layout = page.word, LAYOUT
    if explain and sheet is not None:
        if record is not None:
            # Every lead over its whole length, so that each stretch has its place.
            layout = WHY_LAYOUT
            sheet = drawings.record_sheet(record, page.dark, layout)
        sheet = _explained(page, found, sheet, record, case.case_id)
    speed, gain = (sheet.speed_mm_s, sheet.gain_mm_mv) if sheet is not None else (25.0, 10.0)
    try:
        svg = page.api.svg(case.case_id, layout, speed, gain)
    except EcgkinError as error:
        show_error(error, word)
        return
    sheets = [(sheet, word("query"), found.query.name)] if sheet is not None else []
    if svg is not None:
        sheets.append((drawings.case_sheet(svg, layout, page.dark, speed, gain), word("case"), caption))
    show(viewer_html(sheets, word, dark=page.dark), SIDE_PX, VIEWER, room)


def _about(page: Page, shown: SearchOut, case: CaseOut, caption: str) -> None:
    import streamlit as st

    word = page.word
    st.header(word("report"), anchor=False)
    st.html(chips_html(case.labels, voted(shown.vote), page.lang, word))
    lang = f' lang="{escape(case.language, quote=True)}"' if case.language else ""
    st.html(
        f'<p class="ek ek-report"{lang}>{escape(as_said(case.report) or word("no_report"))}</p>'
        f'<p class="ek-id">{escape(caption)}</p>'
    )


def _explained(page: Page, found: Found, sheet: Sheet, record: EcgRecord | None, case_id: str) -> Sheet:
    """The query with the stretches marked that bring the case near."""
    import streamlit as st

    word = page.word
    key = f"why-{found.query.digest}-{case_id}"
    answer: ExplanationOut | None = st.session_state.get(key)
    if answer is None:
        try:
            with st.spinner(word("why_running")):
                answer = page.api.why(found.query, case_id)
        except EcgkinError as error:
            show_error(error, word)
            return sheet
        st.session_state[key] = answer
    parts = answer.stretches
    if record is not None:
        places = [on_record(record, part) for part in parts]
    else:
        places = [on_picture(sheet, part) for part in parts]
    top = [part for part in parts[:TOP_STRETCHES] if part.loss > 0]
    said = " · ".join(f"{stretch_name(part, word)} ({part.loss:+.3f})" for part in top)
    st.caption(f"{word('why_help')} {word('why_top', parts=said) if top else word('why_none')}")
    return replace(sheet, marks=stretch_marks(parts, places))


def on_record(record: EcgRecord, part: StretchOut) -> Points:
    """Corners of a stretch of a recording on a page of `WHY_LAYOUT`, mm of its sheet; none where it is not shown.

    Args:
        record: The recording.
        part: From the API.

    Returns:
        x and y, mm.
    """
    area = next((area for area in drawings.areas_of(WHY_LAYOUT) if area.lead == part.lead), None)
    if area is None or part.begin_s is None or part.end_s is None or part.lead not in record.leads:
        return ()
    return area.part(part.begin_s, part.end_s)


def on_picture(sheet: Sheet, part: StretchOut) -> Points:
    """Corners of a stretch of a picture, mm of its sheet.

    Args:
        sheet: The picture as it is shown.
        part: From the API.

    Returns:
        x and y, mm.
    """
    return drawings.points_mm(part.corners, sheet.px_per_mm, sheet.turned_px)


def stretch_name(part: StretchOut, word: Words) -> str:
    """A stretch for people: lead, and which part of it.

    Args:
        part: From the API.
        word: Looks up texts in the language of the page.

    Returns:
        "V5 5.0-7.5 s".
    """
    lead = part.lead or word("why_row", part=str(part.row))
    if part.end - part.begin >= 1:
        return lead
    if part.begin_s is not None and part.end_s is not None:
        return f"{lead} {part.begin_s:.1f}-{part.end_s:.1f} s"
    return f"{lead} {100 * part.begin:.0f}-{100 * part.end:.0f} %"


def stretch_marks(parts: Sequence[StretchOut], places: Sequence[Points]) -> tuple[Mark, ...]:
    """Patches for the viewer: the more similarity goes with a length of a lead, the stronger.

    Args:
        parts: From the API.
        places: Corners of each, mm; empty for one that is not shown.

    Returns:
        One mark a stretch that is shown; none where nothing was lost.
    """
    weights = [part.loss / (part.end - part.begin) for part in parts]
    most = max(weights, default=0.0)
    if most <= 0:
        return ()
    found = zip(weights, places, strict=True)
    return tuple(drawings.Mark(points, STRONGEST * weight / most) for weight, points in found if weight > 0 and points)
