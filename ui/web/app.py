"""What Streamlit runs: `ecgkin web` starts it with the address of the API in the environment."""

from __future__ import annotations

import os
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.serving import API_VARIABLE, EXAMPLES_VARIABLE, TOKEN_VARIABLE
from ecgkin.ui.web.shared import texts
from ecgkin.ui.web.shared.context import Page, show_error
from ecgkin.ui.web.shared.query import Options, Query
from ecgkin.ui.web.shared.state import Found, Written

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import HitOut, SearchOut
    from ecgkin.ui.web.shared.state import Api

USUAL_API = "http://127.0.0.1:8000"


def main() -> None:
    """Draw the page once; Streamlit calls this again after every touch."""
    import streamlit as st

    from ecgkin.ui.web.shared import style

    st.set_page_config(
        page_title="ecgkin", page_icon=str(files("ecgkin.ui.web") / "assets" / "icon.svg"), layout="wide"
    )
    lang = texts.lang_of(st.query_params.get("lang") or st.context.locale)
    word = texts.words(lang)
    dark = st.context.theme.type == "dark"
    with st.container(key="sheet"):
        st.html(style.css(dark, lang))
        st.html(style.script(), unsafe_allow_javascript=True)
    api = _api()
    lang = _head(lang)
    word = texts.words(lang)
    try:
        info = api.info()
    except EcgkinError as error:
        st.error(word("unreachable"), icon=":material/cloud_off:")
        show_error(error, word)
        return
    page = Page(api, info, lang, word, dark)
    _body(page)
    _about(page)


def _head(lang: texts.Lang) -> texts.Lang:
    import streamlit as st

    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="head"):
        word = texts.words(lang)
        st.title(word("title"), anchor=False, width="content")
        st.html(f'<p class="ek ek-notice"><b>{escape(word("notice"))}</b></p>')
        chosen = st.segmented_control(
            "Language / Sprache",
            texts.LANGS,
            default=lang,
            required=True,
            format_func=str.upper,
            label_visibility="collapsed",
            width="content",
            key="lang",
        )
    now = texts.lang_of(chosen)
    if now != lang:
        st.query_params["lang"] = now
        st.rerun()
    return now


def _about(page: Page) -> None:
    """What is searched, at the end of the page; that cases are made up is said at its head, too."""
    import streamlit as st

    facts = page.info.case_base
    line = page.word("base", n=facts.get("n_cases", 0), encoder=page.info.encoder.get("name", ""))
    st.html(f'<p class="ek ek-soft">{escape(line)} · ecgkin {escape(page.info.version)}</p>')


def _body(page: Page) -> None:
    import streamlit as st

    from ecgkin.ui.web.panels import compare, inputs, reading

    folder = os.environ.get(EXAMPLES_VARIABLE)
    examples = Path(folder) if folder else None
    if set(page.info.case_base.get("sources", {})) == {"simulated"}:
        st.html(f'<p class="ek ek-made"><span class="ek-tag prelim">{escape(page.word("simulated"))}</span></p>')
    with st.container(key="ask"):
        query, options = inputs.ask(page, examples)
    if query is None:
        st.session_state.pop("found", None)
        inputs.start(page, examples)
        return
    query = reading.with_known(query)
    found = _searched(page, query, options)
    shown = found.shown
    if shown is None:
        if found.error is not None:
            show_error(found.error, page.word, [name for name, _ in query.files])
            if query.known is not None and st.button(page.word("as_read"), icon=":material/undo:", key="as-read"):
                reading.forget(query)
                st.rerun()
            if st.button(page.word("retry"), icon=":material/refresh:", key="retry"):
                st.session_state.pop("found")
                st.rerun()
        return
    if st.session_state.get("compare"):
        # The head keeps what was asked; beside two pages there is no room for it.
        st.html("<style>.st-key-ask { display: none !important; }</style>")
        compare.compare_view(page, found, shown, st.session_state["compare"])
        return
    _bench(page, found, options)


def _bench(page: Page, found: Found, options: Options) -> None:
    """Query and draft on the left, neighbours on the right."""
    import streamlit as st

    from ecgkin.ui.web.panels import case_map, draft_compare

    word, shown = page.word, found.shown
    assert shown is not None  # the caller has looked
    if shown.abstention.nothing_similar:
        best, threshold = shown.abstention.best_score or 0.0, shown.abstention.threshold or 0.0
        reason = shown.abstention.reason
        why = reason if reason in ("unreadable", "no_ecg", "not_carried", "not_understood") else "nothing_similar"
        st.warning(word(why, best=f"{best:.2f}", threshold=f"{threshold:.2f}"), icon=":material/block:")
    if shown.understood is not None:
        from ecgkin.retrieval.search.words.shown import shown as in_words

        st.caption(word("words_understood", said=in_words(shown.understood, page.lang)))
    options = _working(page, found, shown, options)
    if found.query.kind != "text":
        draft_compare.compare_drafts(page, found, shown, options)
    case_map.case_map(page, shown)


def _working(page: Page, found: Found, shown: SearchOut, options: Options) -> Options:
    """Draw it.

    Returns:
        The options with the drafter that was chosen.
    """
    import streamlit as st

    from ecgkin.ui.web.panels import draft_panel, neighbour_cards, query_panel, serial

    word = page.word
    with st.container(key="bench"):
        left, right = st.columns([7, 6], gap="medium")
        with left:
            query_panel.query_panel(page, found.query, shown)
            if shown.previous is not None:
                serial.serial_panel(page, shown.previous)
            with st.container(horizontal=True, vertical_alignment="center", key="draft-head"):
                st.header(word("draft"), anchor=False, width="content")
                if found.query.kind != "text":
                    options = draft_panel.drafter_choice(page, options)
            draft_place = st.container()
            if not shown.abstention.nothing_similar:  # a vote of cases that are not alike says nothing
                draft_panel.vote_panel(page, shown.vote)
        with right, st.container(key="beside"):
            again = neighbour_cards.neighbour_cards(page, found, _with_cited(page, found, shown, options))
        if again:
            try:
                with st.spinner(word("search")):
                    found.refined = page.api.again(shown.query_id, found.marks, options)
                found.marks = {}
                st.rerun()
            except EcgkinError as error:
                show_error(error, word)
        # Last, so that the neighbours are there while the words come.
        with draft_place:
            _draft(page, found, shown, options)
    return options


def _draft(page: Page, found: Found, shown: SearchOut, options: Options) -> None:
    import streamlit as st

    from ecgkin.ui.web.panels import draft_panel, query_panel, report

    word = page.word
    if found.query.kind == "text":
        st.html(f'<p class="ek-soft">{word("draft_needs_ecg")}</p>')
        return
    key = _draft_key(page, found, options)
    written: Written | None = st.session_state.get("written")
    if written is None or written.key != key:
        with st.spinner(word("drafting")):
            written = draft_panel.write_draft(page, found.query, options, key)
        st.session_state["written"] = written
        if _cited(written, shown):
            st.rerun()  # what it cites beyond the hits gets cards
    draft_panel.draft_panel(page, written, _with_cited(page, found, shown, options), of_first=found.refined is not None)
    if written.answer is not None and written.answer.draft.sentences:
        report.report_panel(page, found.query, options, written.answer, query_panel.query_picture(found.query))


def _with_cited(page: Page, found: Found, shown: SearchOut, options: Options) -> SearchOut:
    """The search with a card for every case that the draft of this query cites."""
    import streamlit as st

    written: Written | None = st.session_state.get("written")
    if written is None or found.refined is not None or written.key != _draft_key(page, found, options):
        return shown
    return shown.model_copy(update={"hits": [*shown.hits, *_cited(written, shown)]})


def _cited(written: Written, shown: SearchOut) -> list[HitOut]:
    """Cases that a draft cites beyond the hits, ranked by the number they are cited by."""
    there = {hit.case.case_id for hit in shown.hits}
    answer = written.answer
    return [] if answer is None else [hit for hit in answer.search.hits if hit.case.case_id not in there]


def _draft_key(page: Page, found: Found, options: Options) -> tuple[Any, ...]:
    return (found.key, options.model, options.evidence, page.lang)


def _searched(page: Page, query: Query, options: Options) -> Found:
    """The search for this query, made once."""
    import streamlit as st

    key = (query.digest, options.k, options.where, options.previous)
    found: Found | None = st.session_state.get("found")
    if found is not None and found.key == key:
        return found
    made = Found(key, query)
    try:
        with st.spinner(page.word("search")):
            made.first = page.api.search(query, options)
    except EcgkinError as error:
        made.error = error
    st.session_state["found"] = made
    st.session_state.pop("compare", None)
    return made


def _api() -> Api:
    import streamlit as st

    from ecgkin.ui.client.client import Client
    from ecgkin.ui.web.shared.state import Api

    if "api" not in st.session_state:
        address = os.environ.get(API_VARIABLE, USUAL_API)
        st.session_state["api"] = Api(Client(address, os.environ.get(TOKEN_VARIABLE)))
    api: Api = st.session_state["api"]
    return api


if __name__ == "__main__":
    main()
