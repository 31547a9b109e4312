"""The neighbours as cards: page, similarity, statements, report, age and sex, thumbs."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from ecgkin.index.case import DIGITISED
from ecgkin.retrieval.ecg.statements.glossary import gloss, needs_gloss
from ecgkin.retrieval.ecg.statements.report_text import has_findings
from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels import region
from ecgkin.ui.web.panels.saved import saved_popover
from ecgkin.ui.web.shared.concepts import AMONG, CONCEPTS
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.desk import beside
from ecgkin.ui.web.shared.notes import as_said
from ecgkin.ui.web.shared.texts import name_of, person

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.delta_generator import DeltaGenerator

    from ecgkin.ui.api.answers import HitOut, SearchOut, VoteOut
    from ecgkin.ui.web.shared.concepts import Concept
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found
    from ecgkin.ui.web.shared.query import Options
    from ecgkin.ui.web.shared.texts import Lang, Words

# A statement that at least half of the vote carries counts as the query's.
VOTED_FROM = 0.5
CARD_LAYOUT = "3x4"
# Cards beside each other on a wide screen.
AT_ONCE = 4
# Longer reports are folded after their beginning.
REPORT_CHARS = 150


def voted(vote: VoteOut) -> frozenset[str]:
    """The statements that the vote gives to the query."""
    return frozenset(code for code, share in vote.statements.items() if share >= VOTED_FROM)


def neighbour_cards(page: Page, found: Found, shown: SearchOut, options: Options) -> tuple[bool, DeltaGenerator | None]:
    """Draw the cards as a strip and the button that searches again.

    Args:
        page: What every panel is given: language, texts, API, colours.
        found: The search of this session, before and after its marks.
        shown: The search whose cases are on the page.
        options: How it was asked.

    Returns:
        Whether "search again like these" was pressed, and the strip; None without cards.
    """
    import streamlit as st

    word = page.word
    with st.container(horizontal=True, vertical_alignment="center", key="again-row"):
        heading = word("neighbours_far" if shown.abstention.nothing_similar and shown.hits else "neighbours")
        st.header(heading, anchor=False, width="content")
        pressed = _again(page, found) if shown.hits else False
        if shown.hits and shown.query_id:
            _concept(page, found, shown, options)
        if shown.hits:
            saved_popover(page, found, shown, options)
    if found.region:
        st.html(f'<p class="ek ek-soft" role="status">{escape(region.said(found, word))}</p>')
    elif found.concept != "all":
        st.html(f'<p class="ek ek-soft" role="status">{escape(word("concept_said", n=AMONG))}</p>')
    if not shown.hits:
        st.html(f'<p class="ek ek-empty">{escape(word("no_hits"))}</p>')
        return False, None
    strip = st.container(horizontal=True, wrap=False, key="cards")
    more_cards(page, found, shown, shown.hits, strip)
    return pressed, strip


def more_cards(page: Page, found: Found, shown: SearchOut, hits: Sequence[HitOut], strip: DeltaGenerator) -> None:
    """Put cards at the end of the strip.

    Args:
        page: What every panel is given: language, texts, API, colours.
        found: The search of this session, before and after its marks.
        shown: The search whose vote marks statements.
        hits: The cases.
        strip: From `neighbour_cards`.
    """
    own = voted(shown.vote)
    # Those that a screen shows are not kept waiting by the others.
    for some in (hits[:AT_ONCE], hits[AT_ONCE:]):
        try:
            pages = page.api.cards([hit.case.case_id for hit in some], CARD_LAYOUT, page.dark)
        except EcgkinError as error:
            pages = {}
            show_error(error, page.word)
        with strip:
            for hit in some:
                _card(page, found, hit, own, pages.get(hit.case.case_id, ""))


def _again(page: Page, found: Found) -> bool:
    import streamlit as st

    word, marks = page.word, found.marks
    fresh = marks != found.sent
    pressed = st.button(
        word("again"), icon=":material/manage_search:", disabled=not fresh, help=word("again_help"), key="again"
    )
    yes = sum(marks.values())
    said = word("marked", yes=yes, no=len(marks) - yes) if marks else word("mark_first")
    st.html(f'<span class="ek ek-soft" role="status">{escape(said)}</span>', width="content")
    if found.refined is not None and st.button(word("back_original"), icon=":material/undo:", key="original"):
        found.refined, found.sent, found.concept, found.region = None, {}, "all", ""
        st.rerun()
    return pressed and bool(marks)


def _concept(page: Page, found: Found, shown: SearchOut, options: Options) -> None:
    """In what respect cases are to be near; the nearest are put in another order by their statements."""
    import streamlit as st

    word = page.word
    st.session_state["concept"] = found.concept
    st.segmented_control(
        word("concept"),
        CONCEPTS,
        required=True,
        format_func=lambda one: word(f"concept_{one}"),
        help=word("concept_help", n=AMONG),
        label_visibility="collapsed",
        key="concept",
        on_change=_chosen_concept,
        args=(page, found, shown.query_id, options),
    )


def _chosen_concept(page: Page, found: Found, query_id: str, options: Options) -> None:
    import streamlit as st

    concept: Concept = st.session_state["concept"]
    try:
        if concept != "all" and query_id not in found.wide:
            found.wide[query_id] = page.api.wider(query_id, options, min(AMONG, int(page.info.limits.get("k", AMONG))))
        found.concept, found.region = concept, ""
    except EcgkinError as error:
        st.toast(str(error), icon=":material/error:")


def _card(page: Page, found: Found, hit: HitOut, own: frozenset[str], address: str) -> None:
    import streamlit as st

    word, case_id = page.word, hit.case.case_id
    first = found.first_scores.get(case_id) if found.refined is not None else None
    if first is not None and abs(first - hit.score) < 0.005:
        first = None
    with st.container(border=True, key=f"card-{hit.rank}"):
        mark = found.marks.get(case_id)
        near = (found.region.split(" ")[0], found.alike.get(case_id)) if found.region else None
        st.html(card_html(hit, own, address, page.lang, word, first=first, mark=mark, near=near))
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"card-bar-{hit.rank}"):
            st.button(
                word("compare"),
                icon=":material/compare:",
                key=f"compare-{hit.rank}-{case_id}",
                on_click=beside,
                args=(case_id,),
            )
            for yes, icon in ((True, "thumb_up"), (False, "thumb_down")):
                st.button(
                    word("like" if yes else "unlike"),
                    icon=f":material/{icon}:",
                    type="primary" if mark is yes else "secondary",
                    key=f"{icon}-{hit.rank}-{case_id}",
                    on_click=_mark,
                    args=(found, case_id, yes),
                )


def _mark(found: Found, case_id: str, yes: bool) -> None:
    """A second press takes a mark away."""
    if found.marks.get(case_id) is yes:
        del found.marks[case_id]
    else:
        found.marks[case_id] = yes


def card_html(
    hit: HitOut,
    own: frozenset[str],
    address: str,
    lang: Lang,
    word: Words,
    *,
    first: float | None = None,
    mark: bool | None = None,
    near: tuple[str, float | None] | None = None,
) -> str:
    """A card without its buttons; all that comes from the case base is escaped.

    Args:
        hit: The case.
        own: Statements that the vote gives to the query; they are marked.
        address: Of its drawing; "" where there is none.
        lang: Of names.
        word: Texts.
        first: Its similarity before the search was refined; None where it was not, or the case was not there.
        mark: Whether it was marked as similar or not; None where it was not marked.
        near: A lead, and how alike the case is in what was framed on it; None where nothing was.

    Returns:
        HTML, escaped.
    """
    case = hit.case
    share = max(0.0, min(1.0, hit.score))
    who = person(case.age_years, case.sex, lang)
    tag = f'<span class="ek-tag picture">{escape(word("digitised_case"))}</span>' if DIGITISED in case.meta else ""
    if mark is not None:
        tag += f' <span class="ek-tag marked">{escape(word("marked_like" if mark else "marked_unlike"))}</span>'
    if near is not None:
        alike = word("unknown") if near[1] is None else f"{near[1]:.2f}"
        tag += f' <span class="ek-tag near">{escape(word("near_in", lead=near[0], alike=alike))}</span>'
    before = "" if first is None else f" <small>{escape(word('first_score', score=f'{first:.2f}'))}</small>"
    head = (
        f'<div class="ek-card-head" id="case-{hit.rank}"><span class="ek-rank">{hit.rank}</span>'
        f'<span class="ek-score" title="{escape(word("similarity"))}">{hit.score:.2f}{before}'
        f'<span class="ek-track" role="img" aria-label="{escape(word("similarity"))} {hit.score:.2f}">'
        f'<i style="width:{100 * share:.0f}%"></i></span></span>'
        f'<span class="ek-person">{escape(who)}</span>{tag}</div>'
    )
    if address:
        alt = escape(f"ECG {case.case_id}, {', '.join(name_of(code, lang) for code in case.labels)}", quote=True)
        picture = f'<img src="{address}" alt="{alt}">'
    else:
        picture = f'<p class="ek-soft">{escape(word("no_samples"))}</p>'
    said = chips_html(case.labels, own, lang, word) + report_html(case.report, case.language, word, lang)
    return (
        f'<div class="ek ek-card">{head}<div class="ek-card-page">{picture}</div>'
        f'<div class="ek-card-words">{said}<div class="ek-id">{escape(case.case_id)}</div></div></div>'
    )


def chips_html(labels: dict[str, float], own: frozenset[str], lang: Lang, word: Words) -> str:
    """Statements, those shared with the query's vote first and marked.

    Args:
        labels: Statement code to likelihood, percent.
        own: Statements of the query's vote.
        lang: "en" or "de".
        word: Looks up texts in the language of the page.

    Returns:
        HTML, escaped.
    """
    items = []
    for code in sorted(labels, key=lambda code: (code not in own, -labels[code], code)):
        shared = code in own
        title = f"{code}, {word('shared')}" if shared else code
        mark = "✓ " if shared else ""
        items.append(
            f'<li class="{"shared" if shared else ""}" title="{escape(title, quote=True)}">'
            f"{mark}{escape(name_of(code, lang))}</li>"
        )
    return f'<ul class="ek-chips">{"".join(items)}</ul>' if items else ""


def report_html(report: str, language: str | None, word: Words, reader: Lang | None = None) -> str:
    """The report as text, with a rendering in the reader's language below it; a long one folds.

    Args:
        report: As stored.
        language: ISO 639-1 code; None where unknown.
        word: Looks up texts in the language of the page.
        reader: Language of the page; None shows the original alone.

    Returns:
        HTML, escaped.
    """
    if not report.strip():
        return f'<p class="ek-soft">{escape(word("no_report"))}</p>'
    if reader is not None:
        if not has_findings(report):
            return report_html(report, language, word) + f'<p class="ek-soft">{escape(word("says_nothing"))}</p>'
        return report_html(report, language, word) + gloss_html(report, reader, word)
    report = as_said(report)
    lang = f' lang="{escape(language, quote=True)}"' if language else ""
    if len(report) <= REPORT_CHARS:
        return f'<p class="ek-report"{lang}>{escape(report)}</p>'
    first = report[:REPORT_CHARS].rpartition(" ")[0] or report[:REPORT_CHARS]
    rest = report[len(first) :]
    more = f'<span class="ek-more"> … {escape(word("more"))}</span>'
    return f'<details class="ek-report"{lang}><summary>{escape(first)}{more}</summary>{escape(rest)}</details>'


def gloss_html(report: str, reader: Lang, word: Words) -> str:
    """The report word for word in the reader's language; unknown words marked as such; "" where none is needed.

    Args:
        report: As stored.
        reader: Language of the page.
        word: Looks up texts.
    """
    if not needs_gloss(report, reader):
        return ""
    found = gloss(as_said(report), reader)
    said = escape(found.text)
    for name in sorted(set(found.unknown), key=len, reverse=True):
        said = re.sub(rf"(?<!\w){re.escape(escape(name))}(?!\w)", lambda hit: f"<i>{hit[0]}</i>", said)
    title = escape(word("gloss_help"), quote=True)
    return f'<p class="ek-soft" lang="{reader}" title="{title}">{escape(word("gloss"))}: {said}</p>'
