"""Looks alike, other diagnosis: near cases that carry something else, to be told apart."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels.neighbour_cards import CARD_LAYOUT, card_html, voted
from ecgkin.ui.web.shared.concepts import AMONG, contrasts
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.desk import beside

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found
    from ecgkin.ui.web.shared.query import Options


def contrast_panel(page: Page, found: Found, shown: SearchOut, options: Options) -> None:
    """Draw up to three cases; they are looked for when this is opened.

    Args:
        page: What every panel is given.
        found: The search.
        shown: What is on the page.
        options: How it was asked.
    """
    import streamlit as st

    word = page.word
    with st.expander(word("contrast"), icon=":material/compare_arrows:", key="contrast", on_change="rerun") as fold:
        if not fold.open or not shown.query_id:
            return
        try:
            if shown.query_id not in found.wide:
                k = min(AMONG, int(page.info.limits.get("k", AMONG)))
                found.wide[shown.query_id] = page.api.wider(shown.query_id, options, k)
            hits = contrasts(found.wide[shown.query_id].hits, shown.vote.statements)
            pages = page.api.cards([hit.case.case_id for hit in hits], CARD_LAYOUT, page.dark)
        except EcgkinError as error:
            show_error(error, word)
            return
        if not hits:
            st.html(f'<p class="ek ek-soft">{escape(word("contrast_none", n=AMONG))}</p>')
            return
        st.caption(word("contrast_help", n=AMONG))
        own = voted(shown.vote)
        for number, (column, hit) in enumerate(zip(st.columns(3), hits, strict=False), 1):
            with column, st.container(border=True, key=f"contrast-{number}"):
                html = card_html(hit, own, pages.get(hit.case.case_id, ""), page.lang, word)
                # A citation must not lead here.
                st.html(html.replace(f'id="case-{hit.rank}"', ""))
                st.button(
                    word("compare"), icon=":material/compare:", key=f"contrast-open-{number}", on_click=beside,
                    args=(hit.case.case_id,),
                )  # fmt: skip
