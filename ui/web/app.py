"""What Streamlit runs: `ecgkin web` starts it with the address of the API in the environment."""

from __future__ import annotations

import os
import time
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.serving import API_VARIABLE, EXAMPLES_VARIABLE, TOKEN_VARIABLE
from ecgkin.ui.web.shared import desk, texts
from ecgkin.ui.web.shared.context import Page, is_rate, show_error
from ecgkin.ui.web.shared.desk import Found, Work
from ecgkin.ui.web.shared.query import Options

if TYPE_CHECKING:
    from ecgkin.ui.web.shared.state import Api

USUAL_API = "http://127.0.0.1:8000"
# A browser's time to make the style sheet out of its first message.
STYLE_SECONDS = 0.3


def main() -> None:
    """Draw the page once; Streamlit calls this again after every touch."""
    import streamlit as st

    from ecgkin.ui.web.panels import away
    from ecgkin.ui.web.shared import style

    # The style sheet makes it wide, without the jump of layout="wide".
    st.set_page_config(page_title="ecgkin", page_icon=str(files("ecgkin.ui.web") / "assets" / "icon.svg"))
    lang = texts.lang_of(st.query_params.get("lang") or st.context.locale)
    word = texts.words(lang)
    dark = st.context.theme.type == "dark"
    with st.container(key="sheet"):
        st.html(style.css(dark, lang))
        st.html(style.script(lang), unsafe_allow_javascript=True)
    if st.session_state.setdefault("styled", False) is False:
        # What is drawn before its style would jump when that comes.
        time.sleep(STYLE_SECONDS)
        st.session_state["styled"] = True
    api = _api()
    _head(lang)
    try:
        info = api.info()
    except EcgkinError as error:
        away.nobody(api, word)
        show_error(error, word)
        return
    page = Page(api, info, lang, word, dark)
    _body(page)
    _about(page)


def _head(lang: texts.Lang) -> None:
    import streamlit as st

    from ecgkin.ui.web.panels import quiz

    word = texts.words(lang)
    st.html(f'<a class="ek-skip" href="#ek-cases">{escape(word("skip"))}</a>')
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="head"):
        st.title(word("title"), anchor=False, width="content")
        st.html(f'<p class="ek ek-notice"><b>{escape(word("notice"))}</b></p>')
        quiz.switch(word)
        # The address says the language, so that Back and a link keep it.
        st.session_state["lang"] = lang
        st.segmented_control(
            "Language / Sprache",
            texts.LANGS,
            required=True,
            format_func=str.upper,
            label_visibility="collapsed",
            width="content",
            key="lang",
            on_change=lambda: desk.address(lang=st.session_state["lang"]),
        )


def _about(page: Page) -> None:
    """What is searched, at the end of the page; that cases are made up is said at its head, too."""
    import streamlit as st

    facts = page.info.case_base
    line = page.word("base", n=facts.get("n_cases", 0), encoder=page.info.encoder.get("name", ""))
    st.html(f'<p class="ek ek-soft ek-about">{escape(line)} · ecgkin {escape(page.info.version)}</p>')


def _body(page: Page) -> None:
    import streamlit as st

    from ecgkin.ui.web.panels import away, compare, inputs, quiz, results, several

    folder = os.environ.get(EXAMPLES_VARIABLE)
    examples = Path(folder) if folder else None
    if set(page.info.case_base.get("sources", {})) == {"simulated"}:
        st.html(f'<p class="ek ek-made"><span class="ek-tag prelim">{escape(page.word("simulated"))}</span></p>')
    with st.container(key="ask"):
        work, options = inputs.ask(page, examples)
    if work is None:
        inputs.start(page, examples)
        return
    if desk.case_beside() is None and not quiz.hides(work):
        several.several_panel(page, options)
    found = _searched(page, work, options)
    shown = found.shown
    if shown is None:
        if found.error is not None:
            _problem(page, work, found.error)
        return
    case_id = desk.case_beside()
    if case_id is not None and not quiz.hides(work):
        # The head keeps what was asked; beside two pages there is no room for it.
        st.html("<style>.st-key-ask { display: none !important; }</style>")
        compare.compare_view(page, work, found, shown, case_id)
        return
    results.results(page, work, found, options)
    away.watch(page, work)


def _problem(page: Page, work: Work, error: EcgkinError) -> None:
    """Why there is no answer, and what can be done about it."""
    import streamlit as st

    from ecgkin.ui.web.panels import away, inputs, reading

    if is_rate(error):
        inputs.ask_rate(page, work)
        return
    if away.waits(page, work, error):
        return
    show_error(error, page.word, [name for name, _ in work.query.files])
    if work.query.known is not None and st.button(page.word("as_read"), icon=":material/undo:", key="as-read"):
        reading.forget(work)
        st.rerun()
    if st.button(page.word("retry"), icon=":material/refresh:", key="retry"):
        work.found = None
        st.rerun()


def _searched(page: Page, work: Work, options: Options) -> Found:
    """The search for this question, made once."""
    import streamlit as st

    from ecgkin.ui.web.panels.query_panel import read_ahead

    query = work.query
    key = desk.search_key(query, options)
    if work.found is not None and work.found.key == key:
        return work.found
    read_ahead(work)
    made = Found(key, query)
    try:
        with st.container(key="busy"), st.spinner(page.word("search")):
            made.first = page.api.search(query, options)
    except EcgkinError as error:
        made.error = error
    work.found = made
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
