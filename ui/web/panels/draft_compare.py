"""Drafters beside each other on the same ECG: each with the neighbours and without, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels.draft_panel import CONSENSUS, draft_html
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.query import EVIDENCE
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ecgkin.ui.api.answers import DraftAnswer, DraftOut, SearchOut, VoteOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found
    from ecgkin.ui.web.shared.query import Options
    from ecgkin.ui.web.shared.texts import Lang, Words

# Narrower columns cannot be read on a laptop.
MOST = 4
SIGNS = {"present": "+", "possible": "?", "absent": "\N{MINUS SIGN}"}


@dataclass(frozen=True)
class Arm:
    """A drafter, and whether it is shown the neighbours."""

    model: str
    retrieval: bool

    def name(self, word: Words) -> str:
        """For people; the consensus always has the neighbours."""
        # "NAME at ADDRESS": where a model runs is of no use in the head of a column.
        model = self.model.partition(" at ")[0]
        if model == CONSENSUS:
            return model
        return f"{model}, {word('with_cases' if self.retrieval else 'without_cases')}"


def arms_of(drafters: Sequence[str]) -> list[Arm]:
    """All there are: a model with the neighbours and without, the consensus with them."""
    return [
        Arm(model, retrieval) for model in drafters for retrieval in ((True,) if model == CONSENSUS else (True, False))
    ]


def compare_drafts(page: Page, found: Found, shown: SearchOut, options: Options) -> None:
    """Draw the comparison; drafts are written when asked for, and kept with the search.

    Args:
        page: What every panel is given: language, texts, API, colours.
        found: The search of this session, before and after its marks.
        shown: The search whose cases are on the page.
        options: Hits, filter, drafter.
    """
    import streamlit as st

    word, arms = page.word, arms_of(page.info.drafters)
    if not arms:
        return
    with st.expander(word("drafters"), icon=":material/view_column:", key="drafters", on_change="rerun") as fold:
        if not fold.open:
            return
        if len(arms) < 2:
            st.html(f'<p class="ek ek-soft">{escape(word("one_drafter"))}</p>')
            return
        picked = st.pills(
            word("drafters"),
            arms,
            selection_mode="multi",
            default=arms[:MOST],
            format_func=lambda arm: arm.name(word),
            label_visibility="collapsed",
            key="arms",
            persist_state="session",
        )
        picked = [arm for arm in arms if arm in picked][:MOST]
        kept: dict[tuple[object, ...], DraftAnswer | EcgkinError] = st.session_state.setdefault("arms-made", {})
        keys = {arm: (found.key, arm, page.lang) for arm in picked}
        missing = [arm for arm in picked if keys[arm] not in kept]
        if missing and st.button(word("write_them"), type="primary", icon=":material/play_arrow:", key="write-arms"):
            for arm in missing:
                with st.spinner(f"{arm.name(word)}: {word('drafting')}"):
                    asked = replace(options, model=arm.model, evidence=EVIDENCE if arm.retrieval else 0)
                    try:
                        kept[keys[arm]] = page.api.draft(found.query, asked, page.lang)
                    except EcgkinError as error:
                        kept[keys[arm]] = error
            st.rerun()
        _columns(page, shown, {arm: kept[keys[arm]] for arm in picked if keys[arm] in kept})


def _columns(page: Page, shown: SearchOut, made: Mapping[Arm, DraftAnswer | EcgkinError]) -> None:
    import streamlit as st

    if not made:
        return
    word = page.word
    drafts = {arm: answer.draft for arm, answer in made.items() if not isinstance(answer, EcgkinError)}
    if len(drafts) > 1:
        st.html(differences_html({arm.name(word): draft for arm, draft in drafts.items()}, shown.vote, page.lang, word))
    hits = {hit.case.case_id: hit for hit in shown.hits}
    for column, (arm, answer) in zip(st.columns(len(made)), made.items(), strict=True):
        with column:
            st.html(f'<h3 class="ek ek-arm">{escape(arm.name(word))}</h3>')
            if isinstance(answer, EcgkinError):
                show_error(answer, word)
            else:
                st.html(draft_html(answer.draft, hits, word, lang=page.lang, known=shown.warnings, brief=True))
                st.html(f'<p class="ek ek-soft">{escape(word("wrote", s=f"{answer.draft.seconds:.1f}"))}</p>')


def differences_html(drafts: Mapping[str, DraftOut], vote: VoteOut, lang: Lang, word: Words) -> str:
    """A table of all statements that a draft speaks of: what each says, beside the vote; disagreement comes first.

    Args:
        drafts: Name of the drafter to its draft.
        vote: Of the neighbours.
        lang: "en" or "de".
        word: Looks up texts in the language of the page.

    Returns:
        HTML, escaped.
    """
    said = {name: {item.code: item.polarity for item in draft.statements} for name, draft in drafts.items()}
    codes = list(dict.fromkeys(code for one in said.values() for code in one))

    def agreed(code: str) -> bool:
        return len({one.get(code) for one in said.values()}) == 1

    codes.sort(key=lambda code: (agreed(code), -vote.statements.get(code, 0.0)))
    head = "".join(
        f'<th scope="col">{escape(name)}</th>' for name in (word("statement_said"), *said, word("vote_short"))
    )
    rows = ""
    for code in codes:
        cells = "".join(_cell(one.get(code), word) for one in said.values())
        mark = "" if agreed(code) else ' class="differ"'
        name = escape(name_of(code, lang))
        rows += (
            f'<tr{mark}><th scope="row">{name}</th>{cells}<td>{100 * vote.statements.get(code, 0.0):.0f} %</td></tr>'
        )
    if not rows:
        return f'<p class="ek ek-soft">{escape(word("none_said"))}</p>'
    table = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="ek ek-wide"><table class="ek-table">{table}</table></div>'


def _cell(polarity: str | None, word: Words) -> str:
    if polarity is None:
        return f'<td class="ek-soft">{escape(word("not_said"))}</td>'
    return f"<td><b>{SIGNS.get(polarity, '')}</b> {escape(word(f'is_{polarity}'))}</td>"
