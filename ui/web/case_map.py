"""The case base as a map: one point a case, coloured by superclass, the query as a star; a click opens the case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.context import show_error
from ecgkin.ui.web.texts import name_of

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import MapOut, SearchOut
    from ecgkin.ui.web.context import Page
    from ecgkin.ui.web.texts import Lang, Words

MAP_PX = 520
POINTS = 2000
# Okabe and Ito's colours, told apart by colour-blind readers; shapes differ as well. (Nature Methods 8, 441, 2011.)
COLOURS = {"NORM": "#009E73", "MI": "#D55E00", "STTC": "#E69F00", "CD": "#56B4E9", "HYP": "#CC79A7", "": "#8a8f98"}
SHAPES = {"NORM": "circle", "MI": "triangle-up", "STTC": "square", "CD": "diamond", "HYP": "cross", "": "circle"}
STAR = "M0,-1L0.24,-0.33L0.95,-0.31L0.38,0.13L0.59,0.81L0,0.4L-0.59,0.81L-0.38,0.13L-0.95,-0.31L-0.24,-0.33Z"
QUERY = "query"


def case_map(page: Page, shown: SearchOut) -> None:
    """Draw the map; a click on a case opens it beside the query."""
    import streamlit as st

    word = page.word
    with st.expander(word("map"), icon=":material/scatter_plot:", key="case-map"):
        if not st.toggle(word("map_show"), key="map-on"):
            return
        try:
            with st.spinner(word("map")):
                found = page.api.map(shown.query_id, POINTS)
        except EcgkinError as error:
            show_error(error, word)
            return
        st.caption(f"{word('map_help')} {word('map_share', share=f'{100 * found.explained:.0f}')}")
        spec = map_spec(found, page.lang, word, dark=page.dark)
        event = st.vega_lite_chart(spec, on_select="rerun", selection_mode="pick", height=MAP_PX, key="map-chart")
        picked = picked_case(event)
        if picked and picked != st.session_state.get("map-seen"):
            st.session_state["map-seen"] = picked
            st.session_state["compare"] = picked
            st.rerun()


def picked_case(event: Any) -> str | None:
    """The case that was clicked; None for none and for the query's star."""
    rows = event.get("selection", {}).get("pick", []) if hasattr(event, "get") else []
    case = rows[0].get("case_id") if rows else None
    return str(case) if case else None


def map_spec(found: MapOut, lang: Lang, word: Words, *, dark: bool) -> dict[str, Any]:
    """The map as a Vega-Lite chart.

    Args:
        found: From the API.
        lang: Of names.
        word: Texts.
        dark: Whether the page is dark.
    """
    names = {code: name_of(code, lang) if code else word("map_other") for code in COLOURS}
    rows = [{"case_id": p.case_id, "x": p.x, "y": p.y, "class": names[p.superclass]} for p in found.points]
    domain = [names[code] for code in COLOURS]
    colours, shapes = list(COLOURS.values()), list(SHAPES.values())
    sizes = [44] * len(domain)
    if found.query is not None:
        # Last, so that it is drawn above all others.
        rows.append({"case_id": "", "x": found.query[0], "y": found.query[1], "class": word("map_query")})
        domain.append(word("map_query"))
        colours.append("#ffffff" if dark else "#111111")
        shapes.append(STAR)
        sizes.append(1500)
    axis = {"axis": None, "type": "quantitative", "scale": {"zero": False, "nice": False, "padding": 14}}
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
                "legend": {"title": None, "orient": "bottom", "columns": 4, "symbolOpacity": 1},
            },
            "shape": {"field": "class", "type": "nominal", "scale": {"domain": domain, "range": shapes}},
            "size": {"field": "class", "type": "nominal", "scale": {"domain": domain, "range": sizes}, "legend": None},
            "opacity": {"condition": {"param": "pick", "value": 0.85, "empty": True}, "value": 0.35},
            "tooltip": [{"field": "case_id", "title": "ID"}, {"field": "class", "title": " "}],
        },
    }  # fmt: skip
