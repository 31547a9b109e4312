"""The server is away: what was asked is kept, and asked again as soon as it answers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.ui.web.shared.state import is_away

if TYPE_CHECKING:
    from ecgkin.retrieval.errors import EcgkinError
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Work
    from ecgkin.ui.web.shared.state import Api
    from ecgkin.ui.web.shared.texts import Words

EVERY_S = 3.0


def nobody(api: Api, word: Words) -> None:
    """The page before any answer: say it, and look again every few seconds.

    Args:
        api: The server.
        word: Texts.
    """
    import streamlit as st

    st.error(word("unreachable"), icon=":material/cloud_off:")
    _look_again(api, word)


def waits(page: Page, work: Work, error: EcgkinError) -> bool:
    """Keep a question whose search failed because the server is away, and ask again once it is back.

    Args:
        page: What every panel is given.
        work: The question.
        error: Of its search.

    Returns:
        Whether that is why it failed.
    """
    import streamlit as st

    if not is_away(error):
        return False
    st.warning(page.word("away", file=work.query.name), icon=":material/cloud_off:")
    _look_again(page.api, page.word, work)
    return True


def watch(page: Page, work: Work) -> None:
    """Ask again for drafts that failed because the server was away.

    Args:
        page: What every panel is given.
        work: The question.
    """
    import streamlit as st

    lost = [key for key, one in work.written.items() if one.error is not None and is_away(one.error)]
    if not lost:
        return
    st.warning(page.word("away", file=work.query.name), icon=":material/cloud_off:")
    _look_again(page.api, page.word, work)


def _look_again(api: Api, word: Words, work: Work | None = None) -> None:
    """Every few seconds, and by hand; the page runs again when the server answers."""
    import streamlit as st

    def look() -> None:
        pressed = st.button(word("retry"), icon=":material/refresh:", key="look-again")
        st.html(f'<p class="ek ek-soft" role="status">{escape(word("looking", s=f"{EVERY_S:g}"))}</p>')
        if (st.session_state.pop("looked", False) or pressed) and api.answers():
            if work is not None:
                forget_failures(work)
            st.rerun()
        st.session_state["looked"] = True

    st.fragment(look, run_every=EVERY_S)()


def forget_failures(work: Work) -> None:
    """What failed because the server was away is asked for again; all else stays.

    Args:
        work: The question.
    """
    if work.found is not None and work.found.error is not None and is_away(work.found.error):
        work.found = None
    for key in [key for key, one in work.written.items() if one.error is not None and is_away(one.error)]:
        del work.written[key]
