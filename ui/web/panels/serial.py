"""This person's earlier ECGs under a heading of their own: what has changed, value by value, and both beats."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.ui.serial.beats import beats_svg
from ecgkin.ui.serial.words import row_texts, state_name
from ecgkin.ui.web.shared.drawings import svg_address
from ecgkin.ui.web.shared.notes import as_said

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import EarlierOut, SerialOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.texts import Lang, Words

_STATES = ("new", "increased", "not_compared", "gone", "borderline", "unchanged")


def serial_panel(page: Page, serial: SerialOut) -> None:
    """Draw the comparison and the earlier ECGs.

    Args:
        page: What every panel is given: language, texts, API, colours.
        serial: From the API.
    """
    import streamlit as st

    st.header(page.word("own_earlier"), anchor=False)
    st.html(serial_html(serial, page.lang, page.word))


def serial_html(serial: SerialOut, lang: Lang, word: Words) -> str:
    """The comparison; everything in it is escaped.

    Args:
        serial: From the API.
        lang: Of names.
        word: Looks up texts in the language of the page.

    Returns:
        HTML, escaped.
    """
    head = "" if serial.changes else f"<p>{escape(serial.sentence)}</p>"
    for finding in serial.findings if serial.changes else ():
        if finding.urgent and finding.state in ("new", "increased"):
            head += f'<p class="ek-notice"><b>{escape(state_name(finding.state, lang))}: {escape(finding.name)}</b></p>'
    for change in serial.changes:
        head += f'<p class="ek-notice"><b>{escape(change.text)}</b> {escape(change.rule)}</p>'
    for limit in serial.limits if serial.changes else ():
        head += f'<p class="ek-soft">{escape(limit)}</p>'
    found = ""
    for state in _STATES:
        some = [finding for finding in serial.findings if finding.state == state]
        for why in dict.fromkeys(finding.why for finding in some):
            names = "; ".join(finding.name for finding in some if finding.why == why)
            found += f"<dt>{escape(state_name(state, lang, why))}</dt><dd>{escape(names)}</dd>"
    body = f'<dl class="ek-sections">{found}</dl>' if found else ""
    if serial.beats_mv:
        names_of = (serial.recorded_at or serial.compared_with or word("before_then"), word("now"))
        # As a picture: drawings inside the page are taken out of it by Streamlit.
        alt = escape(", ".join(names_of), quote=True)
        body += f'<div class="ek-beats"><img src="{svg_address(beats_svg(serial, names_of))}" alt="{alt}"></div>'
    body += _table(serial, lang, word)
    earlier = "".join(_earlier(case, word) for case in serial.earlier)
    more = f"<ul>{earlier}</ul>" if earlier else ""
    return f'<div class="ek ek-serial">{head}{body}{more}</div>'


def _table(serial: SerialOut, lang: Lang, word: Words) -> str:
    rows = ""
    for row in serial.rows:
        if row.before is None and row.after is None:
            continue
        cells = "".join(f"<td>{escape(text)}</td>" for text in row_texts(row, lang))
        rows += f'<tr class="{"beyond" if row.beyond else ""}">{cells}</tr>'
    if not rows:
        return ""
    heads = "".join(f"<th>{escape(word(name))}</th>" for name in ("value", "before_then", "now", "difference"))
    return (
        f"<details><summary>{escape(word('values_of_both'))}</summary>"
        f'<table class="ek-values"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _earlier(case: EarlierOut, word: Words) -> str:
    said = escape(as_said(case.report).strip() or word("no_report"))
    kept = "" if case.samples else f" ({escape(word('no_samples'))})"
    date = escape((case.recorded_at or "").replace("T", " "))
    return f'<li><b>{date}</b> <span class="ek-id">{escape(case.case_id)}</span>{kept} <q>{said}</q></li>'
