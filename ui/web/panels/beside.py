"""Below two ECGs beside each other: values and findings of both in tables, and their median beats overlaid."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ecgkin.ui.serial.beats import beats_svg
from ecgkin.ui.serial.words import row_texts
from ecgkin.ui.web.shared.drawings import svg_address
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecgkin.generation.types.serial import Serial
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import VoteOut
    from ecgkin.ui.web.shared.desk import Work
    from ecgkin.ui.web.shared.texts import Lang, Words

# From this probability on a statement is said of the query.
SAID_FROM = 0.5
# Rows of this table that a reader of two different persons' ECGs does not miss.
_LEFT_OUT = ("qt_ms", "qtc_fridericia_ms", "t_axis_deg")


def measured_beside(work: Work, case_id: str, query: EcgRecord, case: EcgRecord) -> Serial:
    """Both measured in the same way; made once.

    Args:
        work: The question.
        case_id: Of the case.
        query: Samples of the query, or those that were read off its picture.
        case: Samples of the case.

    Returns:
        Values and median beats; the case stands where an earlier ECG would.
    """
    from ecgkin.generation.serial import compare_records

    key = ("beside", work.query.digest, case_id)
    made: Serial | None = work.other.get(key)
    if made is None:
        made = work.other[key] = compare_records(case, query, name=case_id)
    return made


def values_html(serial: Serial, lang: Lang, word: Words) -> str:
    """A table of the values of query and case; everything in it is escaped.

    Args:
        serial: From `measured_beside`.
        lang: Of names.
        word: Texts.

    Returns:
        HTML, escaped.
    """
    rows = ""
    for row in serial.rows:
        if row.name in _LEFT_OUT or row.name.startswith("r_mv") or (row.before is None and row.after is None):
            continue
        name, case, query, change = row_texts(row, lang)
        cells = "".join(f"<td>{escape(text)}</td>" for text in (query, case, change))
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    if not rows:
        return f'<p class="ek ek-soft">{escape(word("not_measured_both"))}</p>'
    heads = "".join(f'<th scope="col">{escape(word(name))}</th>' for name in ("value", "query", "case", "query_less"))
    return (
        f'<table class="ek ek-table ek-beside"><caption>{escape(word("values_both"))}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def findings_html(vote: VoteOut, labels: Mapping[str, float], lang: Lang, word: Words) -> str:
    """A table of the statements of either: those of both first; everything in it is escaped.

    Args:
        vote: Of the query: what is probable.
        labels: Of the case: statement code to likelihood, percent.
        lang: Of names.
        word: Texts.

    Returns:
        HTML, escaped.
    """
    own = {code: share for code, share in vote.statements.items() if share >= SAID_FROM}
    codes = sorted({*own, *labels}, key=lambda code: (code not in own or code not in labels, code not in own, code))
    rows = ""
    for code in codes:
        share = vote.statements.get(code, 0.0)
        query = f"<b>✓</b> {100 * share:.0f} %" if code in own else f"{100 * share:.0f} %"
        case = "<b>✓</b>" if code in labels else "–"
        mark = "" if code in own and code in labels else ' class="differ"'
        rows += f'<tr{mark}><th scope="row">{escape(name_of(code, lang))}</th><td>{query}</td><td>{case}</td></tr>'
    if not rows:
        return f'<p class="ek ek-soft">{escape(word("none_said"))}</p>'
    heads = "".join(f'<th scope="col">{escape(word(name))}</th>' for name in ("statement_said", "query", "case"))
    return (
        f'<table class="ek ek-table ek-beside"><caption>{escape(word("findings_both"))}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def beats_html(serial: Serial, names: tuple[str, str], word: Words) -> str:
    """The median beats of both, lead by lead, laid over each other at the onset of QRS.

    Args:
        serial: From `measured_beside`.
        names: Of the case and of the query.
        word: Texts.

    Returns:
        HTML; "" where there are none.
    """
    drawn = beats_svg(serial, names)
    if not drawn:
        return ""
    return (
        f'<figure class="ek ek-beats-both" tabindex="0"><figcaption>{escape(word("beats_both"))}</figcaption>'
        f'<img src="{svg_address(drawn)}" alt="{escape(", ".join(names), quote=True)}"></figure>'
    )
