"""What was understood of words, part by part: each can be taken away, a finding can be turned round."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecgkin.ui.api.answers import SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Work
    from ecgkin.ui.web.shared.texts import Lang

FINDINGS = ("statement", "concept")
CHANGED = (*FINDINGS, "sex", "age", "measure", "words")


def understood_panel(page: Page, work: Work, shown: SearchOut) -> None:
    """Draw the parts as buttons; what is pressed is asked again.

    Args:
        page: What every panel is given.
        work: A question by words.
        shown: What the server understood of it.
    """
    import streamlit as st

    word, parts = page.word, shown.understood or []
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="understood-parts"):
        st.html(f'<span class="ek ek-soft">{escape(word("words_understood"))}</span>', width="content")
        for number, part in enumerate(parts):
            if part["kind"] not in CHANGED:
                continue
            name = part_name(part, page.lang)
            with st.container(horizontal=True, gap=None, width="content", key=f"part-{number}"):
                if part["kind"] in FINDINGS:
                    st.button(
                        name,
                        icon=":material/block:" if part["polarity"] == "absent" else ":material/check:",
                        help=word("turn_round"),
                        key=f"turn-{number}",
                        on_click=_ask,
                        args=(work, turned(parts, number)),
                    )
                st.button(
                    word("take_away", part=name) if part["kind"] in FINDINGS else name,
                    icon=":material/close:",
                    help=word("take_away", part=name),
                    key=f"away-{number}",
                    on_click=_ask,
                    args=(work, without(parts, number)),
                )
        if work.query.understood is not None:
            st.button(word("as_typed"), icon=":material/undo:", key="as-typed", on_click=_ask, args=(work, None))
    said = [text for part in parts if (text := beside_part(part, page.lang))]
    if said:
        st.html(f'<p class="ek ek-soft">{escape("; ".join(said))}</p>')


def part_name(part: dict[str, Any], lang: Lang) -> str:
    """A part for people.

    >>> part_name({"kind": "statement", "code": "AFIB", "polarity": "absent"}, "de")
    'nicht Vorhofflimmern (AFIB)'
    >>> part_name({"kind": "words", "text": "atrial"}, "en")
    '“atrial”'
    """
    from ecgkin.retrieval.search.words.shown import shown

    return f"“{part['text']}”" if part["kind"] == "words" else shown([part], lang)


def beside_part(part: dict[str, Any], lang: Lang) -> str:
    """What is said of a part that is not asked for; "" for one that is.

    >>> beside_part({"kind": "spelling", "text": "fibrilation", "read_as": "fibrillation"}, "en")
    'fibrilation: read as fibrillation'
    """
    from ecgkin.ui.web.shared.texts import words

    word = words(lang)
    if part["kind"] == "spelling":
        return word("part_spelling", text=part["text"], read=part["read_as"])
    if part["kind"] in ("unknown", "unused"):
        return word(f"part_{part['kind']}", text=part["text"])
    return ""


def without(parts: Sequence[dict[str, Any]], number: int) -> tuple[dict[str, Any], ...]:
    """All parts but one. What a finding was called is embedded no more, either.

    >>> [part["kind"] for part in without([{"kind": "sex", "sex": "F"}, {"kind": "words", "text": "a"}], 0)]
    ['words']
    """
    gone = parts[number]
    kept = [part for n, part in enumerate(parts) if n != number]
    if gone["kind"] in FINDINGS and not any(part["kind"] in FINDINGS for part in kept):
        kept = [part for part in kept if part["kind"] != "words"] if len(kept) > 1 else kept
    return tuple(kept)


def turned(parts: Sequence[dict[str, Any]], number: int) -> tuple[dict[str, Any], ...]:
    """All parts, one finding asked for in place of denied, or the other way round.

    >>> turned([{"kind": "statement", "code": "AFIB", "polarity": "absent"}], 0)[0]["polarity"]
    'present'
    """
    one = parts[number]
    polarity = "present" if one["polarity"] == "absent" else "absent"
    return tuple({**part, "polarity": polarity} if n == number else part for n, part in enumerate(parts))


def _ask(work: Work, parts: tuple[dict[str, Any], ...] | None) -> None:
    """Ask with these parts; None or none: with the words as they were typed."""
    work.query, work.found = replace(work.query, understood=parts or None), None
