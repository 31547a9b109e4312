"""Several ECGs at once: a list of what was dropped, each with its flags and its first case, each its own question."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels.results import draft_key
from ecgkin.ui.web.shared import desk
from ecgkin.ui.web.shared.desk import Found, Written
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Work
    from ecgkin.ui.web.shared.query import Options

# One ECG is looked at in each turn, so that the page stays usable meanwhile.
EVERY_S = 1.0


def several_panel(page: Page, options: Options) -> None:
    """Draw the list of what was dropped together; nothing where that was one ECG or none.

    Args:
        page: What every panel is given.
        options: How they are asked.
    """
    import streamlit as st

    works = desk.together()
    if len(works) < 2:
        return
    with st.expander(page.word("several", n=len(works)), icon=":material/list:", expanded=True, key="several"):
        # The whole page is drawn first; the list goes on in turns of its own.
        st.session_state["several-begun"] = False
        waits = any(not done(page, work, options) for work in works)
        st.fragment(_list, run_every=EVERY_S if waits else None)(page, works, options)


def _list(page: Page, works: Sequence[Work], options: Options) -> None:
    import streamlit as st

    waiting = [work for work in works if not done(page, work, options)]
    if waiting and st.session_state.get("several-begun"):
        look_at(page, waiting[0], options)
    st.session_state["several-begun"] = True
    n_done = sum(done(page, work, options) for work in works)
    said = page.word("several_done", n=n_done, of=len(works))
    st.html(f'<p class="ek ek-soft" role="status">{escape(said)}</p>')
    now = desk.current()
    with st.container(key="several-list"):
        for number, work in enumerate(works):
            with st.container(horizontal=True, vertical_alignment="center", key=f"one-{number}"):
                pressed = st.button(
                    work.query.name,
                    type="primary" if work is now else "secondary",
                    key=f"open-{number}-{work.work_id[:8]}",
                )
                st.html(row_html(page, work, options))
                if pressed:
                    desk.opened(work)
                    st.rerun()  # of the whole page, not of this list alone
    if waiting and n_done == len(works):
        st.rerun()  # all are there: the list need not look again


def look_at(page: Page, work: Work, options: Options) -> None:
    """Search for one ECG and have it drafted, as its own page would; both stay with the question.

    Args:
        page: What every panel is given.
        work: The question.
        options: How it is asked.
    """
    key = desk.search_key(work.query, options)
    if work.found is None or work.found.key != key:
        found = Found(key, work.query)
        try:
            found.first = page.api.search(work.query, options)
        except EcgkinError as error:
            found.error = error
        work.found = found
    if work.found.error is not None:
        return
    name = draft_key(page, work.found, options)
    written = Written(name)
    try:
        for event in page.api.draft_events(work.query, options, page.lang):
            written.answer = event.answer or written.answer
    except EcgkinError as error:
        written.error = error
    work.written[name] = written


def done(page: Page, work: Work, options: Options) -> bool:
    """Whether there is an answer, or a reason why there is none.

    Args:
        page: Its language counts.
        work: The question.
        options: How it is asked.
    """
    found = work.found
    if found is None or found.key != desk.search_key(work.query, options):
        return False
    return found.error is not None or draft_key(page, found, options) in work.written


def row_html(page: Page, work: Work, options: Options) -> str:
    """Flags and first case of one ECG; everything in it is escaped.

    Args:
        page: Texts.
        work: The question.
        options: How it is asked.

    Returns:
        HTML, escaped.
    """
    word, found = page.word, work.found
    if not done(page, work, options) or found is None:
        return f'<p class="ek ek-several ek-soft">{escape(word("several_waits"))}</p>'
    if found.error is not None or found.first is None:
        return f'<p class="ek ek-several ek-soft">{escape(word("problem"))} {escape(str(found.error or ""))}</p>'
    written = work.written[draft_key(page, found, options)]
    flags = [] if written.answer is None else [f for f in written.answer.draft.flags if f.severity != "note"]
    said = (
        [f'<span class="ek-flagged">{escape("; ".join(flag.title.rstrip(".") for flag in flags))}</span>']
        if flags
        else []
    )
    shown = found.first
    if shown.abstention.nothing_similar or not shown.hits:
        said.append(escape(word("several_none")))
    else:
        hit = shown.hits[0]
        names = ", ".join(name_of(code, page.lang) for code in hit.case.labels)
        said.append(f"<b>{hit.score:.2f}</b> {escape(names or hit.case.case_id)}")
    return f'<p class="ek ek-several">{" · ".join(said)}</p>'
