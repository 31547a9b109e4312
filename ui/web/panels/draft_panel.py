"""The draft with what carries each sentence, and the vote under it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.desk import Written
from ecgkin.ui.web.shared.notes import as_said, said
from ecgkin.ui.web.shared.query import EVIDENCE
from ecgkin.ui.web.shared.terms import explained
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ecgkin.ui.api.answers import DraftOut, HitOut, NoteOut, SearchOut, SentenceOut, VoteOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.query import Options, Query
    from ecgkin.ui.web.shared.texts import Lang, Words

BARS = 8
# The drafter without a model: neighbours are all that it has.
CONSENSUS = "consensus"
# Shares below this are one neighbour in fifty.
BAR_FROM = 0.02
_MARKS = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]")


def write_draft(page: Page, query: Query, options: Options, key: tuple[Any, ...]) -> Written:
    """Ask for the draft and show its words as they come.

    Args:
        page: What every panel is given: language, texts, API, colours.
        query: What is asked.
        options: Hits, filter, drafter.
        key: What the draft is for: search, drafter, evidence, language.

    Returns:
        The draft, or why there is none.
    """
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
    hits = {hit.case.case_id: hit for hit in shown.hits}
    note = page.word("draft_of_first") if of_first else ""
    draft = written.answer.draft
    st.html(draft_html(draft, hits, page.word, note, lang=page.lang, known=shown.warnings, flags=False))


def draft_html(
    draft: DraftOut,
    hits: Mapping[str, HitOut],
    word: Words,
    note: str = "",
    *,
    lang: Lang = "en",
    known: Sequence[NoteOut] = (),
    brief: bool = False,
    flags: bool = True,
) -> str:
    """A draft: sections, sentences, citations, what carries each; everything in it is escaped.

    Args:
        draft: From the API.
        hits: The cases that are on the page.
        word: Texts.
        note: A line above it.
        lang: Of its warnings.
        known: Warnings that the page shows elsewhere.
        brief: Whether the line that says what a draft is stands elsewhere.
        flags: Whether red flags are said; else they stand elsewhere.

    Returns:
        HTML, escaped.
    """
    head = (
        f'<p class="ek-soft"><span class="ek-tag prelim">{escape(word("preliminary"))}</span> '
        f"{escape(draft.disclaimer)} <b>{escape(draft.model)}</b></p>"
    )
    if brief:
        head = ""
    if note:
        head += f'<p class="ek-notice">{escape(note)}</p>'
    if draft.refusal:
        head += f'<p class="ek-notice">{escape(draft.refusal)}</p>'
        measured = draft.text.removeprefix(draft.refusal).strip().splitlines()
        # Flags have lines of their own below.
        flagged = {flag.text for flag in draft.flags}
        head += "".join(f"<p>{escape(line)}</p>" for line in measured if line not in flagged)
    for flag in draft.flags if flags else ():
        if flag.severity != "note":
            rest = flag.text.removeprefix(flag.title).lstrip(". ")
            head += f'<p class="ek-notice"><b>{escape(flag.title)}</b> {escape(rest)}</p>'
    numbers = {item.number: item.case_id for item in draft.evidence}
    rows = ""
    for section in draft.sections:
        words = "".join(sentence_html(one, numbers, hits, word, lang=lang) for one in section.sentences)
        if not section.sentences:
            words = f'<p class="none">{escape(section.abstained)}</p>'
        rows += f"<dt>{escape(section.title)}</dt><dd>{words}</dd>"
    body = f'<dl class="ek-sections">{rows}</dl>' if rows else ""
    if not draft.sections:
        body = "".join(sentence_html(one, numbers, hits, word, lang=lang) for one in draft.sentences)
    notes = said(draft.warnings, lang, known)
    warnings = "".join(f'<p class="ek-soft">{escape(text)}</p>' for text in notes)
    return f'<div class="ek ek-draft" lang="{escape(draft.language, quote=True)}">{head}{body}{warnings}</div>'


def sentence_html(
    sentence: SentenceOut,
    numbers: Mapping[int, str],
    hits: Mapping[str, HitOut],
    word: Words,
    *,
    folded: bool = True,
    lang: Lang = "en",
) -> str:
    """One sentence with its evidence folded below; a citation links to its card, or is struck: it means no case.

    Args:
        sentence: Of a draft.
        numbers: Number of a citation to its case id.
        hits: Case id to the hit on the page.
        word: Looks up texts in the language of the page.
        folded: Whether the reports of the cited cases are folded below it.
        lang: Of the explanations of its terms.

    Returns:
        HTML, escaped.
    """
    out, at = "", 0
    for match in _MARKS.finditer(sentence.text):
        out += explained(sentence.text[at : match.start()], lang)
        out += " ".join(_citation(int(number), numbers, hits) for number in match[1].split(","))
        at = match.end()
    out += explained(sentence.text[at:], lang)
    tag = ""
    if sentence.basis in ("measurement", "picture", "nothing"):
        tag = f' <span class="ek-tag {sentence.basis}">{escape(word(f"basis_{sentence.basis}"))}</span>'
    if sentence.support in ("both", "cases", "reading"):
        mark = {"both": "✓✓", "cases": "✓", "reading": "✓"}[sentence.support]
        title = escape(word(f"support_{sentence.support}"), quote=True)
        tag += f' <span class="ek-soft" role="img" aria-label="{title}" title="{title}">{mark}</span>'
    return f"<p>{out}{tag}</p>{_evidence(sentence, hits, word) if folded else ''}"


def _evidence(sentence: SentenceOut, hits: Mapping[str, HitOut], word: Words) -> str:
    """What the reports of the cited cases say, in their own words."""
    rows = ""
    for case_id in sentence.citations:
        hit = hits.get(case_id)
        if hit is not None:
            lang = f' lang="{escape(hit.case.language, quote=True)}"' if hit.case.language else ""
            said = escape(as_said(hit.case.report).strip() or word("no_report"))
            rows += f"<li><b>{hit.rank}</b> {hit.score:.2f} <q{lang}>{said}</q></li>"
    if not rows:
        return ""
    return f'<details class="ek-evidence"><summary>{escape(word("evidence"))}</summary><ul>{rows}</ul></details>'


def _citation(number: int, numbers: Mapping[int, str], hits: Mapping[str, HitOut]) -> str:
    case = numbers.get(number)
    if case is None:
        return f"<s>[{number}]</s>"
    name = escape(case, quote=True)
    hit = hits.get(case)
    if hit is None:
        # Its number would be that of another card.
        said = f"[{number}]" if all(one.rank != number for one in hits.values()) else f"[{name}]"
        return f'<span class="ek-cite" title="{name}">{said}</span>'
    return f'<a class="ek-cite ek-cite-{hit.rank}" href="#case-{hit.rank}" title="{name}">[{hit.rank}]</a>'


def vote_panel(page: Page, vote: VoteOut) -> None:
    """Draw the vote of the neighbours as bars.

    Args:
        page: What every panel is given: language, texts, API, colours.
        vote: From the API.
    """
    import streamlit as st

    word = page.word
    st.header(word("vote", n=vote.n_neighbours), anchor=False)
    bars = "".join(
        bars_html(word(title), shares, page.lang, least)
        for title, shares, least in (("findings", vote.statements, BAR_FROM), ("classes", vote.superclasses, 0.0))
    )
    kind = word("vote_calibrated" if vote.calibrated else "vote_share")
    st.html(f'<p class="ek-soft">{escape(kind)}</p><div class="ek-votes">{bars}</div>')


def drafter_choice(page: Page, options: Options) -> Options:
    """Who writes, and whether it is shown the neighbours; nothing to choose where there is the consensus alone.

    Args:
        page: What every panel is given: language, texts, API, colours.
        options: Hits, filter, drafter.

    Returns:
        The options with what was chosen.
    """
    import streamlit as st

    names, word = page.info.drafters, page.word
    if len(names) < 2:
        return options
    model = st.selectbox(
        word("drafter"), names, key="model", label_visibility="collapsed", width=240, persist_state="session"
    )
    with_cases = st.toggle(
        word("retrieval"), value=True, help=word("retrieval_help"), disabled=model == CONSENSUS, key="retrieval",
        persist_state="session",
    )  # fmt: skip
    return replace(options, model=model, evidence=EVIDENCE if with_cases or model == CONSENSUS else 0)


def bars_html(title: str, shares: Mapping[str, float], lang: Lang, least: float = BAR_FROM) -> str:
    """The largest shares as bars with their numbers.

    Args:
        title: Heading above them.
        shares: Code to share, 0 to 1.
        lang: "en" or "de".
        least: Least share that is shown.

    Returns:
        HTML, escaped.
    """
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
