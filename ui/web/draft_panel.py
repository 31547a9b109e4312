"""The draft with what carries each sentence, and the vote under it."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.context import show_error
from ecgkin.ui.web.state import Written
from ecgkin.ui.web.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecgkin.ui.api.answers import DraftOut, SearchOut, SentenceOut, VoteOut
    from ecgkin.ui.web.context import Page
    from ecgkin.ui.web.state import Options, Query
    from ecgkin.ui.web.texts import Lang, Words

BARS = 8
# Shares below this are one neighbour in fifty.
BAR_FROM = 0.02
_MARKS = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]")


def write_draft(page: Page, query: Query, options: Options, key: tuple[Any, ...]) -> Written:
    """Ask for the draft and show its words as they come."""
    import streamlit as st

    place = st.empty()
    text = ""
    try:
        for event in page.api.draft_events(query, options, page.lang):
            if event.answer is not None:
                place.empty()
                return Written(key, event.answer)
            text += event.text
            place.html(f'<p class="ek" aria-busy="true">{escape(text)}</p>')
    except EcgkinError as error:
        place.empty()
        return Written(key, error=error)
    place.empty()
    return Written(key, error=EcgkinError("the server ended the draft early", hint="try again"))


def draft_panel(page: Page, written: Written, shown: SearchOut, *, of_first: bool) -> None:
    """Draw a draft.

    Args:
        page: What every panel is given.
        written: The draft, or why there is none.
        shown: The search whose cards are on the page; citations point to them.
        of_first: Whether that search was refined after the draft.
    """
    import streamlit as st

    if written.answer is None:
        if written.error is not None:
            show_error(written.error, page.word)
        return
    draft = written.answer.draft
    places = {hit.case.case_id: hit.rank for hit in shown.hits}
    note = page.word("draft_of_first") if of_first else ""
    st.html(draft_html(draft, places, page.word, note))


def draft_html(draft: DraftOut, places: Mapping[str, int], word: Words, note: str = "") -> str:
    """A draft: sections, sentences, citations, what carries each; everything in it is escaped.

    Args:
        draft: From the API.
        places: Rank of each case on the page.
        word: Texts.
        note: A line above it.
    """
    head = (
        f'<p class="ek-soft"><span class="ek-tag prelim">{escape(word("preliminary"))}</span> {escape(draft.model)}</p>'
        f'<p class="ek-notice">{escape(draft.disclaimer)}</p>'
    )
    if note:
        head += f'<p class="ek-soft">{escape(note)}</p>'
    if draft.refusal:
        head += f"<p>{escape(word('no_draft', why=draft.refusal))}</p>"
    numbers = {item.number: item.case_id for item in draft.evidence}
    body = ""
    for section in draft.sections:
        body += f"<h3>{escape(section.title)}</h3>"
        body += "".join(sentence_html(sentence, numbers, places, word) for sentence in section.sentences)
        if not section.sentences:
            body += f'<p class="none">{escape(section.abstained)}</p>'
    if not draft.sections:
        body = "".join(sentence_html(sentence, numbers, places, word) for sentence in draft.sentences)
    warnings = "".join(f'<p class="ek-soft">{escape(text)}</p>' for text in dict.fromkeys(draft.warnings))
    return f'<div class="ek ek-draft" lang="{escape(draft.language, quote=True)}">{head}{body}{warnings}</div>'


def sentence_html(sentence: SentenceOut, numbers: Mapping[int, str], places: Mapping[str, int], word: Words) -> str:
    """One sentence; each citation is a link to its card, or struck where it means no case."""
    out, at = "", 0
    for match in _MARKS.finditer(sentence.text):
        out += escape(sentence.text[at : match.start()])
        out += " ".join(_citation(int(number), numbers, places) for number in match[1].split(","))
        at = match.end()
    out += escape(sentence.text[at:])
    tag = ""
    if sentence.basis in ("measurement", "picture", "nothing"):
        tag = f' <span class="ek-tag {sentence.basis}">{escape(word(f"basis_{sentence.basis}"))}</span>'
    return f"<p>{out}{tag}</p>"


def _citation(number: int, numbers: Mapping[int, str], places: Mapping[str, int]) -> str:
    case = numbers.get(number)
    if case is None:
        return f"<s>[{number}]</s>"
    name = escape(case, quote=True)
    rank = places.get(case)
    if rank is None:
        return f'<span class="ek-cite" title="{name}">[{number}]</span>'
    return f'<a class="ek-cite ek-cite-{rank}" href="#case-{rank}" title="{name}">[{number}]</a>'


def vote_panel(page: Page, vote: VoteOut) -> None:
    """Draw the vote."""
    import streamlit as st

    word = page.word
    st.header(word("vote", n=vote.n_neighbours), anchor=False)
    st.html(f'<p class="ek-soft">{escape(word("vote_calibrated" if vote.calibrated else "vote_share"))}</p>')
    for title, shares, least in (("classes", vote.superclasses, 0.0), ("findings", vote.statements, BAR_FROM)):
        st.html(bars_html(word(title), shares, page.lang, least))


def bars_html(title: str, shares: Mapping[str, float], lang: Lang, least: float = BAR_FROM) -> str:
    """The largest shares as bars with their numbers."""
    top = [(code, share) for code, share in sorted(shares.items(), key=lambda item: -item[1])[:BARS] if share >= least]
    rows = ""
    for code, share in top:
        name = escape(name_of(code, lang))
        rows += (
            f'<dt title="{escape(code, quote=True)}: {name}">{name}</dt>'
            f'<dd style="text-align:left"><div class="track"><i style="width:{100 * share:.1f}%"></i></div></dd>'
            f"<dd>{100 * share:.0f} %</dd>"
        )
    return f'<div class="ek"><strong>{escape(title)}</strong><dl class="ek-bars">{rows}</dl></div>'
