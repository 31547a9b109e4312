"""The draft as a report of one's own: sentences kept, changed or left out, and taken away as text, PDF or FHIR."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.context import show_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecgkin.ui.api.answers import DraftAnswer, DraftOut
    from ecgkin.ui.web.context import Page
    from ecgkin.ui.web.state import Options, Query
    from ecgkin.ui.web.texts import Words

_MARKS = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")


def report_panel(page: Page, query: Query, options: Options, answer: DraftAnswer) -> None:
    """Draw the editor and the downloads."""
    import streamlit as st

    word, draft = page.word, answer.draft
    with st.expander(word("edit"), icon=":material/edit_note:", key="edit-report"):
        kept = _editor(word, draft)
        own = st.text_area(word("own"), key=f"own-{answer.search.query_id}", max_chars=20_000)
        text = report_text(draft, [sentence for sentence in kept if sentence], own, word)
        st.caption(word("copy"))
        st.code(text, language=None, wrap_lines=True)
        with st.container(horizontal=True):
            st.download_button(
                word("text_file"),
                text,
                "ecg-report.txt",
                "text/plain",
                on_click="ignore",
                icon=":material/description:",
                key="as-text",
            )
            st.download_button(
                word("pdf_file"),
                _pdf(text, word("report_head"), query.name),
                "ecg-report.pdf",
                "application/pdf",
                on_click="ignore",
                icon=":material/picture_as_pdf:",
                key="as-pdf",
            )
            _fhir(page, query, options, draft, kept, own, text)


def _pdf(text: str, title: str, name: str) -> bytes:
    """The PDF, made anew only where something changed. (Streamlit's deferred files are lost when the page runs.)"""
    import streamlit as st

    made: tuple[str, bytes] | None = st.session_state.get("pdf")
    if made is None or made[0] != f"{name}|{text}":
        made = (f"{name}|{text}", report_pdf(text, title, name))
        st.session_state["pdf"] = made
    return made[1]


def _editor(word: Words, draft: DraftOut) -> list[str]:
    """Each sentence with a box to keep it and a field to change it; "" for one that is left out."""
    import streamlit as st

    kept = []
    for number, sentence in enumerate(draft.sentences, 1):
        with st.container(horizontal=True, vertical_alignment="center"):
            keep = st.checkbox(
                word("keep", n=number), value=True, key=f"keep-{number}", label_visibility="collapsed", width="content"
            )
            text = st.text_input(
                word("sentence", n=number),
                value=plain(sentence.text),
                key=f"sentence-{number}-{hash(sentence.text)}",
                label_visibility="collapsed",
                disabled=not keep,
            )
        kept.append(text.strip() if keep else "")
    return kept


def _fhir(
    page: Page, query: Query, options: Options, draft: DraftOut, kept: Sequence[str], own: str, text: str
) -> None:
    import streamlit as st

    word = page.word
    key = f"fhir-{query.digest}-{draft.language}-{draft.model}"
    resource = st.session_state.get(key)
    if resource is None:
        if st.button(word("fhir_file"), icon=":material/data_object:", key="make-fhir"):
            try:
                st.session_state[key] = page.api.draft_fhir(query, options, page.lang)
                st.rerun()
            except EcgkinError as error:
                show_error(error, word)
        return
    st.download_button(
        f"{word('fhir_file')} ⤓",
        json.dumps(edited_fhir(resource, draft, kept, own, text), ensure_ascii=False, indent=2),
        "ecg-report.fhir.json",
        "application/fhir+json",
        on_click="ignore",
        icon=":material/data_object:",
        key="as-fhir",
    )


def plain(sentence: str) -> str:
    """A sentence without its citation marks.

    >>> plain("Sinus rhythm (63 %) [1, 2].")
    'Sinus rhythm (63 %).'
    """
    return _MARKS.sub("", sentence)


def report_text(draft: DraftOut, kept: Sequence[str], own: str, word: Words) -> str:
    """The report as it leaves the page: what was kept, one's own words, the cases, and what it is not.

    Args:
        draft: Where it comes from.
        kept: Sentences as edited.
        own: Further words.
        word: Texts.
    """
    lines = [word("report_head"), "", *kept]
    lines += ["", own.strip()] if own.strip() else []
    cases = [f"[{item.number}] {item.case_id}" for item in draft.evidence]
    lines += ["", f"{word('report_cases')}: {'; '.join(cases)}"] if cases else []
    return "\n".join([*lines, "", draft.disclaimer, ""])


def edited_fhir(resource: dict[str, Any], draft: DraftOut, kept: Sequence[str], own: str, text: str) -> dict[str, Any]:
    """The server's resource with the edited words; codes of sentences that were changed or left out go.

    Args:
        resource: DiagnosticReport of the draft; not changed.
        draft: The draft.
        kept: Its sentences in order, "" for one left out.
        own: Further words.
        text: The whole report.
    """
    from html import escape

    pairs = list(zip(draft.sentences, kept, strict=True))
    if not own.strip() and all(words == plain(sentence.text) for sentence, words in pairs):
        return resource
    out = dict(resource)
    lines = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line)
    out["conclusion"] = text
    out["text"] = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>'}
    said = {code for sentence, words in pairs if words == plain(sentence.text) for code, _ in sentence.statements}
    gone = {code for sentence, words in pairs if words != plain(sentence.text) for code, _ in sentence.statements}
    names = {item.code for item in draft.statements if item.code in gone - said}
    if "conclusionCode" in out:
        codes = [entry for entry in out["conclusionCode"] if not _is_one_of(entry, names, draft.language)]
        out.pop("conclusionCode")
        if codes:
            out["conclusionCode"] = codes
    return out


def _is_one_of(entry: dict[str, Any], codes: set[str], language: str) -> bool:
    """Whether a coded conclusion is one of these statements; what is only possible has words alone."""
    from ecgkin.retrieval.ecg.statements import statement

    if {coding.get("code") for coding in entry.get("coding", [])} & codes:
        return True
    return any(str(entry.get("text", "")).endswith(statement(code).name(language)) for code in codes)


def report_pdf(text: str, title: str, name: str) -> bytes:
    """The report as a PDF of one page or more.

    Args:
        text: The report; its first line is the title.
        title: Of the document.
        name: Of the ECG.
    """
    from fpdf import FPDF
    from fpdf.enums import XPos, YPos

    pdf = FPDF(format="A4")
    pdf.set_title(title)
    pdf.set_creator("ecgkin")
    pdf.set_auto_page_break(auto=True, margin=18)
    pdf.add_page()
    made = datetime.now(tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    for number, line in enumerate(text.splitlines()):
        pdf.set_font("Helvetica", "B" if number == 0 else "", 15 if number == 0 else 11)
        pdf.multi_cell(0, 6.5, latin(line) or " ", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        if number == 0:
            pdf.set_font("Helvetica", "", 9)
            pdf.cell(0, 6, latin(f"{name} - {made}"), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    return bytes(pdf.output())


def latin(text: str) -> str:
    """Text with what PDF's own fonts hold: Windows' Western letters; a question mark for each other one.

    >>> latin("ST-Hebung größer – 0,2 mV ≥ Ω")
    'ST-Hebung größer - 0,2 mV >= ?'
    """
    table = {"–": "-", "—": "-", "−": "-", "„": '"', "“": '"', "”": '"', "’": "'", "…": "...", "≥": ">=", "≤": "<="}
    return "".join(table.get(c, c) for c in text).encode("latin-1", "replace").decode("latin-1")
