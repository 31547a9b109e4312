"""Quiz: findings stay hidden until one's own are committed; then both stand beside each other."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.ui.web.shared import desk
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecgkin.ui.api.answers import DraftOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Work
    from ecgkin.ui.web.shared.texts import Lang, Words

QUIZ = "quiz"


def is_on() -> bool:
    """Whether the address says so."""
    import streamlit as st

    return bool(st.query_params.get(QUIZ))


def switch(word: Words) -> None:
    """Draw the switch; it is in the address, so that a quiz can be handed on.

    Args:
        word: Texts.
    """
    import streamlit as st

    st.session_state[QUIZ] = is_on()
    st.toggle(
        word("quiz"),
        key=QUIZ,
        help=word("quiz_help"),
        on_change=lambda: desk.address(quiz="1" if st.session_state[QUIZ] else None),
    )


def hides(work: Work) -> bool:
    """Whether this question is a quiz that nothing was committed to yet.

    Args:
        work: The question.
    """
    return is_on() and work.query.kind == "ecg" and work.own_finding is None


def ask_own(page: Page, work: Work) -> None:
    """Ask for one's own findings; what is committed stays.

    Args:
        page: What every panel is given.
        work: The question.
    """
    import streamlit as st

    from ecgkin.retrieval.ecg.statements.catalogue import CODES

    word = page.word
    with st.form("quiz-form", border=True, enter_to_submit=False):  # what is committed cannot be taken back
        st.html(f'<p class="ek"><b>{escape(word("quiz_ask"))}</b></p>')
        codes = st.multiselect(
            word("findings"),
            CODES,
            format_func=lambda code: f"{name_of(code, page.lang)} ({code})",
            placeholder=word("choose"),
            key="quiz-codes",
        )
        said = st.text_area(word("own"), key="quiz-own", max_chars=5_000, height=80)
        if st.form_submit_button(word("quiz_commit"), type="primary", icon=":material/visibility:"):
            if codes or (said or "").strip():
                work.own_finding = (list(codes), (said or "").strip())
                st.rerun()
            st.warning(word("quiz_empty"))


def own_codes(work: Work) -> list[str]:
    """What was committed, as statements: those chosen, and those that one's own words say.

    Args:
        work: The question.
    """
    from ecgkin.retrieval.ecg.statements.find import find_statements

    codes, said = work.own_finding or ([], "")
    found = [one.code for one in find_statements(said) if one.polarity != "absent"] if said else []
    return list(dict.fromkeys([*codes, *found]))


def compared_html(own: Sequence[str], said: str, draft: DraftOut | None, lang: Lang, word: Words) -> str:
    """One's own findings beside those of the draft; everything in it is escaped.

    Args:
        own: Codes that were committed.
        said: Words that were committed.
        draft: Of this ECG; None as long as it is being written.
        lang: Of names.
        word: Texts.

    Returns:
        HTML, escaped.
    """
    from ecgkin.retrieval.search.words.plan import are_kin

    theirs = [item.code for item in draft.statements if item.polarity != "absent"] if draft is not None else []
    both, near, alone = [code for code in own if code in theirs], [], []
    for code in (code for code in own if code not in theirs):
        kin = [other for other in theirs if other not in own and are_kin(code, other)]
        near += [(code, other) for other in kin]
        alone += [] if kin else [code]
    met = {other for _, other in near}
    rest = [code for code in theirs if code not in own and code not in met]

    def names(codes: Sequence[str]) -> list[str]:
        return [name_of(code, lang) for code in codes]

    pairs = [f"{name_of(one, lang)} ≈ {name_of(other, lang)}" for one, other in near]
    rows = (("quiz_both", names(both) + pairs), ("quiz_own", names(alone)), ("quiz_draft", names(rest)))
    items = "".join(
        f"<dt>{escape(word(name))}</dt><dd>{'…' if draft is None else escape(', '.join(said_so) or '–')}</dd>"
        for name, said_so in rows
    )
    words = f'<p class="ek-report">{escape(said)}</p>' if said else ""
    return (
        f'<section class="ek ek-quiz"><b>{escape(word("quiz_yours"))}</b>{words}<dl class="ek-sections">{items}</dl>'
        f'<p class="ek-soft">{escape(word("quiz_note"))}</p></section>'
    )
