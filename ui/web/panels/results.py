"""What came of a question: the answer, the ECG at full width, its neighbours as a strip, draft and report below."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels import answer, draft_panel, neighbour_cards, query_panel, quiz, understood
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.notes import not_carried

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from ecgkin.ui.api.answers import HitOut, SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found, Work, Written
    from ecgkin.ui.web.shared.query import Options
    from ecgkin.ui.web.shared.texts import Words


def results(page: Page, work: Work, found: Found, options: Options) -> None:
    """Draw it: first the neighbours, which are there at once, then the ECG, then what takes longer.

    Args:
        page: What every panel is given.
        work: The question.
        found: Its search.
        options: How it was asked.
    """
    import streamlit as st

    from ecgkin.ui.web.panels import case_map, contrast, draft_compare, serial

    shown = found.shown
    assert shown is not None  # the caller has looked
    word, by_ecg = page.word, work.query.kind != "text"
    _abstained(page, work, shown)
    if quiz.hides(work):
        _quiz(page, work, shown, options)
        return
    # What a quiz reveals comes below the ECG, where it was asked for: nothing above that moves.
    revealed = work.own_finding is not None and quiz.is_on()
    own = None
    strip = _answer_place(word) if by_ecg and not revealed else None
    room = query_panel.query_panel(page, work, shown)
    below = _below_place() if room is not None else None
    if revealed:
        own = st.container(key="own-finding").empty()
        own.html(quiz.compared_html(quiz.own_codes(work), work.own_words, None, page.lang, word))
        strip = _answer_place(word)
    with st.container(key="beside"):
        st.html('<span id="ek-cases" tabindex="-1"></span>')
        if not by_ecg and not shown.abstention.nothing_similar:
            query_panel.notes(shown.warnings, page.lang)
        again, cards = neighbour_cards.neighbour_cards(page, found, shown, options)
    if again:
        _search_again(page, found, shown, options)
    if room is not None and below is not None:
        with below:
            query_panel.query_viewer(page, work, shown, room, options, found)
    if shown.previous is not None:
        serial.serial_panel(page, shown.previous)
    with st.container(key="bench"):
        left, right = st.columns([1, 1], gap="medium")
        with left:
            with st.container(horizontal=True, vertical_alignment="center", key="draft-head"):
                st.header(word("draft"), anchor=False, width="content")
                if by_ecg:
                    options = draft_panel.drafter_choice(page, options)
            draft_place = st.container()
            if not shown.abstention.nothing_similar:  # a vote of cases that are not alike says nothing
                draft_panel.vote_panel(page, shown.vote)
        _draft(page, work, found, options, Places(strip, cards, draft_place, right, own))
    contrast.contrast_panel(page, found, shown, options)
    if by_ecg:
        draft_compare.compare_drafts(page, found, shown, options)
    case_map.case_map(page, shown)


def _answer_place(word: Words) -> DeltaGenerator:
    """Room for the answer, as high as it will be."""
    import streamlit as st

    strip = st.container(key="answer").empty()
    strip.html(answer.waiting_html(word))
    return strip


def _below_place() -> DeltaGenerator:
    """Room for what is said of the ECG."""
    import streamlit as st

    below = st.container(key="below-ecg")
    with below:
        st.html("<span></span>")  # a container without anything takes no room
    return below


def _quiz(page: Page, work: Work, shown: SearchOut, options: Options) -> None:
    """The ECG and nothing that was found of it."""

    room = query_panel.query_panel(page, work, shown)
    below = _below_place()
    quiz.ask_own(page, work)
    if room is not None:
        with below:
            query_panel.query_viewer(page, work, shown, room, options, brief=True)


def _abstained(page: Page, work: Work, shown: SearchOut) -> None:
    import streamlit as st

    word = page.word
    if shown.abstention.nothing_similar and shown.hits:  # else it is said in the place of the cases
        best, threshold = shown.abstention.best_score or 0.0, shown.abstention.threshold or 0.0
        reason = shown.abstention.reason
        why = reason if reason in ("unreadable", "no_ecg", "not_carried", "not_understood") else "nothing_similar"
        carried = not_carried(shown.warnings, page.lang) or word("none_carries")
        st.warning(word(why, best=f"{best:.2f}", threshold=f"{threshold:.2f}", why=carried), icon=":material/block:")
    if shown.understood is not None and work.query.kind == "text":
        understood.understood_panel(page, work, shown)


def _search_again(page: Page, found: Found, shown: SearchOut, options: Options) -> None:
    import streamlit as st

    try:
        with st.spinner(page.word("search")):
            found.refined = page.api.again(shown.query_id, found.marks, options)
        found.sent = dict(found.marks)
        found.concept, found.region = "all", ""  # these were about the cases of the search before
        st.rerun()
    except EcgkinError as error:
        show_error(error, page.word)


@dataclass(frozen=True)
class Places:
    """Where what comes of a draft stands: the answer above the ECG, cards it cites, the draft, the report, a quiz."""

    answer: DeltaGenerator | None
    cards: DeltaGenerator | None
    draft: DeltaGenerator
    report: DeltaGenerator
    quiz: DeltaGenerator | None = None


def _draft(page: Page, work: Work, found: Found, options: Options, places: Places) -> None:
    import streamlit as st

    from ecgkin.ui.web.panels import report

    word, shown = page.word, found.shown
    assert shown is not None
    if places.answer is None:
        with places.draft:
            st.html(f'<p class="ek-soft">{escape(word("draft_needs_ecg"))}</p>')
        return
    key = draft_key(page, found, options)
    written = work.written.get(key)
    if written is None:
        with places.draft, st.spinner(word("drafting")):
            written = draft_panel.write_draft(page, work.query, options, key)
        work.written[key] = written
    cited = _cited(written, shown) if found.is_first else []
    if cited and places.cards is not None:
        neighbour_cards.more_cards(page, found, shown, cited, places.cards)
    cards = shown.model_copy(update={"hits": [*shown.hits, *cited]})
    with places.draft:
        draft_panel.draft_panel(page, written, cards, of_first=not found.is_first)
    if written.answer is None:
        places.answer.empty()
        return
    hits = {hit.case.case_id: hit for hit in cards.hits}
    said = shown.abstention.reason if shown.abstention.nothing_similar else ""
    made = answer.answer_html(written.answer.draft, shown.page, hits, word, said, picture=shown.query == "image")
    places.answer.html(made)
    if places.quiz is not None:
        made = quiz.compared_html(quiz.own_codes(work), work.own_words, written.answer.draft, page.lang, word)
        places.quiz.html(made)
    if written.answer.draft.sentences:
        with places.report:
            report.report_panel(page, work, options, written.answer)


def draft_key(page: Page, found: Found, options: Options) -> tuple[Any, ...]:
    """What a draft is for.

    Args:
        page: Its language counts.
        found: The search under it.
        options: Drafter and number of cases.
    """
    return (found.key, options.model, options.evidence, page.lang)


def _cited(written: Written, shown: SearchOut) -> list[HitOut]:
    """Cases that a draft cites beyond the hits, ranked by the number they are cited by."""
    there = {hit.case.case_id for hit in shown.hits}
    answer = written.answer
    return [] if answer is None else [hit for hit in answer.search.hits if hit.case.case_id not in there]
