"""The case base as a map: one point a case, coloured by superclass, the query as a star; a click opens the case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.desk import beside
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecgkin.ui.api.answers import MapOut, SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.texts import Lang, Words

MAP_PX = 520
POINTS = 2000
# Okabe and Ito's colours, told apart by colour-blind readers; shapes differ as well. (Nature Methods 8, 441, 2011.)
COLOURS = {"NORM": "#009E73", "MI": "#D55E00", "STTC": "#E69F00", "CD": "#56B4E9", "HYP": "#CC79A7", "": "#8a8f98"}
SHAPES = {"NORM": "circle", "MI": "triangle-up", "STTC": "square", "CD": "diamond", "HYP": "cross", "": "circle"}
STAR = "M0,-1L0.24,-0.33L0.95,-0.31L0.38,0.13L0.59,0.81L0,0.4L-0.59,0.81L-0.38,0.13L-0.95,-0.31L-0.24,-0.33Z"
QUERY = "query"


def case_map(page: Page, shown: SearchOut) -> None:
    """Draw the map; a click on a case opens it beside the query.

    Args:
        page: What every panel is given: language, texts, API, colours.
        shown: The search whose cases are on the page.
    """
    import streamlit as st

    word = page.word
    # What is folded is not asked for: projecting a large case base takes the server a while.
    with st.expander(word("map"), icon=":material/scatter_plot:", key="case-map", on_change="rerun") as fold:
        if not fold.open:
            return
        try:
            with st.spinner(word("map")):
                found = page.api.map(shown.query_id, POINTS)
        except EcgkinError as error:
            show_error(error, word)
            return
        st.caption(f"{word('map_help')} {word('map_share', share=f'{100 * found.explained:.0f}')}")
        near = {hit.case.case_id: hit.rank for hit in shown.hits}
        spec = map_spec(found, near, page.lang, word, dark=page.dark)
        event = st.vega_lite_chart(spec, on_select="rerun", selection_mode="pick", height=MAP_PX, key="map-chart")
        picked = picked_case(event)
        if picked and picked != st.session_state.get("map-seen"):
            st.session_state["map-seen"] = picked
            beside(picked)
            st.rerun()


def picked_case(event: Any) -> str | None:
    """The case that was clicked; None for none and for the query's star."""
    rows = event.get("selection", {}).get("pick", []) if hasattr(event, "get") else []
    case = rows[0].get("case_id") if rows else None
    return str(case) if case else None


def map_spec(found: MapOut, near: Mapping[str, int], lang: Lang, word: Words, *, dark: bool) -> dict[str, Any]:
    """The map as a Vega-Lite chart.

    Args:
        found: From the API.
        near: Rank of each neighbour that is on the page; they are ringed.
        lang: Of names.
        word: Texts.
        dark: Whether the page is dark.

    Returns:
        The chart's specification.
    """
    names = {code: name_of(code, lang) if code else word("map_other") for code in COLOURS}
    rows: list[dict[str, Any]] = [
        {"case_id": p.case_id, "x": p.x, "y": p.y, "class": names[p.superclass], "rank": near.get(p.case_id, 0)}
        for p in found.points
    ]
    rows.sort(key=lambda row: row["rank"] > 0)  # neighbours above the others
    domain = [names[code] for code in COLOURS]
    colours, shapes = list(COLOURS.values()), list(SHAPES.values())
    ink = "#ffffff" if dark else "#111111"
    if found.query is not None:
        # Last, so that it is drawn above all others.
        rows.append({"case_id": "", "x": found.query[0], "y": found.query[1], "class": word("map_query"), "rank": 0})
        domain.append(word("map_query"))
        colours.append("#facc15" if dark else "#c026d3")
        shapes.append(STAR)
    axis = {"axis": None, "type": "quantitative", "scale": {"zero": False, "nice": False, "padding": 14}}
    is_query, is_near = "datum.case_id === ''", "datum.rank > 0"
    return {
        "data": {"values": rows},
        "params": [
            {"name": "pick", "select": {"type": "point", "fields": ["case_id"], "on": "click"}},
            {"name": "zoom", "select": "interval", "bind": "scales"},
        ],
        "mark": {"type": "point", "filled": True},
        "encoding": {
            "x": {"field": "x", **axis},
            "y": {"field": "y", **axis},
            "color": {
                "field": "class", "type": "nominal", "scale": {"domain": domain, "range": colours},
                "legend": {"title": None, "orient": "bottom", "columns": 7, "symbolOpacity": 1, "symbolSize": 90},
            },
            "shape": {"field": "class", "type": "nominal", "scale": {"domain": domain, "range": shapes}},
            "size": {"condition": [{"test": is_query, "value": 700}, {"test": is_near, "value": 130}], "value": 44},
            "stroke": {"condition": {"test": f"{is_near} || {is_query}", "value": ink}, "value": None},
            "strokeWidth": {"condition": {"test": f"{is_near} || {is_query}", "value": 1.6}, "value": 0},
            "opacity": {"condition": {"test": f"{is_near} || {is_query}", "value": 1}, "value": 0.6},
            "tooltip": [
                {"field": "case_id", "title": "ID"},
                {"field": "class", "title": " "},
                {"field": "rank", "title": word("map_rank")},
            ],
        },
    }  # fmt: skip
