"""To take hits away: as a table, as JSON, and as the address of the question."""

from __future__ import annotations

import csv
import io
import json
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import SearchOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Found
    from ecgkin.ui.web.shared.query import Options

FIELDS = (
    "rank", "score", "first_score", "marked", "case_id", "patient_id", "source", "age_years", "sex", "recorded_at",
    "labels", "report", "language",
)  # fmt: skip


def saved_popover(page: Page, found: Found, shown: SearchOut, options: Options) -> None:
    """Draw the downloads and the address.

    Args:
        page: What every panel is given.
        found: The search, with its marks.
        shown: What is on the page.
        options: How it was asked.
    """
    import streamlit as st

    word = page.word
    with st.popover(word("take_hits"), icon=":material/download:", key="take-hits"):
        st.download_button(
            word("hits_csv"), hits_csv(found, shown), "ecg-hits.csv", "text/csv", on_click="ignore", key="hits-csv",
            icon=":material/table:",
        )  # fmt: skip
        st.download_button(
            word("hits_json"), hits_json(found, shown, options), "ecg-hits.json", "application/json", on_click="ignore",
            key="hits-json", icon=":material/data_object:",
        )  # fmt: skip
        st.html(
            f'<button type="button" class="ek-copy" data-done="{escape(word("copied"), quote=True)}">'
            f"{escape(word('copy_link'))}</button>"
            f'<p class="ek ek-soft">{escape(word("link_note"))}</p>'
        )


def rows_of(found: Found, shown: SearchOut) -> list[dict[str, Any]]:
    """Hits as plain values.

    Args:
        found: The search, with its marks.
        shown: What is on the page.

    Returns:
        A row a hit.
    """
    first = found.first_scores
    out = []
    for hit in shown.hits:
        case = hit.case.model_dump()
        mark = found.marks.get(hit.case.case_id)
        row = {
            "rank": hit.rank,
            "score": round(hit.score, 4),
            "first_score": round(first[hit.case.case_id], 4) if hit.case.case_id in first else None,
            "marked": None if mark is None else "similar" if mark else "not similar",
        }
        out.append(row | {name: case[name] for name in FIELDS if name in case})
    return out


def hits_csv(found: Found, shown: SearchOut) -> bytes:
    """A table for a spreadsheet, UTF-8 with its mark; no cell is a formula.

    Args:
        found: The search, with its marks.
        shown: What is on the page.
    """
    packed = io.StringIO()
    table = csv.DictWriter(packed, FIELDS)
    table.writeheader()
    for row in rows_of(found, shown):
        labels = " ".join(f"{code}:{likelihood:g}" for code, likelihood in row["labels"].items())
        table.writerow({name: _cell(value) for name, value in (row | {"labels": labels}).items()})
    return packed.getvalue().encode("utf-8-sig")


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def hits_json(found: Found, shown: SearchOut, options: Options) -> str:
    """The search as JSON: what was asked, how, and the hits.

    Args:
        found: The search, with its marks.
        shown: What is on the page.
        options: How it was asked.
    """
    asked = {
        "kind": shown.query, "name": found.query.name, "text": found.query.text or None, "where": options.where or None,
        "leave_out": options.leave_out or None, "k": options.k, "near_in": found.concept,
        "understood": shown.understood,
    }  # fmt: skip
    content = {"query": asked, "hits": rows_of(found, shown), "vote": shown.vote.statements}
    return json.dumps(content, ensure_ascii=False, indent=2)
