"""Near in a part of one lead: a frame that was drawn on the ECG, or typed, puts the nearest cases in another order."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError, QueryError
from ecgkin.ui.web.shared.concepts import AMONG
from ecgkin.ui.web.shared.drawings import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found
    from ecgkin.ui.web.shared.drawings import Sheet
    from ecgkin.ui.web.shared.query import Options
    from ecgkin.ui.web.shared.texts import Words

KEY = "region"
# How strongly the frame is drawn over the ECG, 0 to 1.
_STRENGTH = 0.35
_WRITTEN = re.compile(
    r"\s*-?(?P<lead>[a-z]+\d?)[\s:,]+(?P<a>\d+(?:[.,]\d+)?)\s*(?:-|–|to|bis|\s)\s*(?P<b>\d+(?:[.,]\d+)?)"
)


def parsed(text: str) -> tuple[str, float, float] | None:
    """Lead and seconds of what was written; None where it is something else.

    Args:
        text: As the viewer writes it, or as people do.

    Returns:
        The lead's standard name, begin and end.

    >>> parsed("v2 1,2-1.6 s"), parsed("aVR: 3 to 2"), parsed("V9 1-2")
    (('V2', 1.2, 1.6), ('aVR', 2.0, 3.0), None)
    """
    from ecgkin.retrieval.ecg.leads import LEADS

    found = _WRITTEN.match(text.lower())
    names = {lead.lower(): lead for lead in LEADS}
    if found is None or found["lead"] not in names:
        return None
    a, b = (float(found[name].replace(",", ".")) for name in ("a", "b"))
    return names[found["lead"]], min(a, b), max(a, b)


def field(
    page: Page, asked: Found, shown: SearchOut, options: Options, samples: Callable[[], EcgRecord | None]
) -> None:
    """The field that a frame is written into, by the viewer or by hand.

    Args:
        page: What every panel is given.
        asked: The search.
        shown: Its answer.
        options: How it was asked.
        samples: The samples of the query; None where there are none.
    """
    import streamlit as st

    if not shown.hits or not shown.query_id:
        return
    word = page.word
    st.session_state[KEY] = asked.region
    st.text_input(
        word("region"),
        placeholder=word("region_example"),
        help=word("region_help", n=AMONG),
        label_visibility="collapsed",
        width=240,
        max_chars=40,
        key=KEY,
        on_change=_chosen,
        args=(page, asked, shown.query_id, options, samples),
    )


def _chosen(page: Page, asked: Found, query_id: str, options: Options, samples: Callable[[], EcgRecord | None]) -> None:
    import streamlit as st

    text = str(st.session_state[KEY]).strip()
    asked.region, asked.alike = "", {}
    if not text:
        return
    place = parsed(text)
    if place is None:
        st.toast(page.word("region_wrong"), icon=":material/error:")
        return
    try:
        compared(page, asked, query_id, options, samples(), place)
    except QueryError:
        st.toast(page.word("region_no_beat"), icon=":material/error:")
    except EcgkinError as error:
        st.toast(str(error), icon=":material/error:")


def compared(
    page: Page,
    asked: Found,
    query_id: str,
    options: Options,
    record: EcgRecord | None,
    place: tuple[str, float, float],
) -> None:
    """Compare the nearest cases with the query in what was framed; the search remembers it.

    Args:
        page: What every panel is given.
        asked: The search.
        query_id: Of its latest answer.
        options: How it was asked.
        record: The samples of the query.
        place: Lead, begin and end in seconds.

    Raises:
        QueryError: There is no usual beat there.
        EcgkinError: The server does not answer.
    """
    from ecgkin.generation.region import likeness, stretch_of

    if record is None:
        raise QueryError("this ECG has no samples")
    stretch = stretch_of(record, *place)
    if query_id not in asked.wide:
        asked.wide[query_id] = page.api.wider(query_id, options, min(AMONG, int(page.info.limits.get("k", AMONG))))
    ids = [hit.case.case_id for hit in asked.wide[query_id].hits]
    records = page.api.records(ids)
    asked.alike = {case_id: likeness(stretch, one) for case_id, one in records.items()}
    asked.concept, asked.region = "all", f"{place[0]} {place[1]:.2f}-{place[2]:.2f}"
    asked.region_ms = (stretch.begin_ms, stretch.end_ms)


def said(asked: Found, word: Words) -> str:
    """What the order of the cases is now.

    Args:
        asked: The search, with a frame.
        word: Texts.
    """
    begin, end = asked.region_ms
    return word("region_said", n=AMONG, lead=asked.region.split(" ")[0], begin=f"{begin:.0f}", end=f"{end:.0f}")


def framed_on(sheet: Sheet, text: str) -> Sheet:
    """The sheet with the frame over it, wherever that lead is shown at that time.

    Args:
        sheet: Of the query.
        text: What was framed; "" for nothing.

    Returns:
        The sheet with its marks.
    """
    place = parsed(text)
    if place is None:
        return sheet
    lead, begin_s, end_s = place
    corners = [area.part(begin_s, end_s) for area in sheet.areas if area.lead == lead]
    return replace(sheet, marks=tuple(Mark(points, _STRENGTH) for points in corners if points))
