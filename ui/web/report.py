"""The draft as a report of one's own: sentences accepted, changed or rejected; taken away as text, PDF or FHIR."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.context import show_error
from ecgkin.ui.web.report_files import Reviewed, edited_fhir, plain, report_pdf, report_text
from ecgkin.ui.web.texts import name_of

if TYPE_CHECKING:
    from ecgkin.ui.api.draft_answers import DraftAnswer, DraftOut
    from ecgkin.ui.web.context import Page
    from ecgkin.ui.web.state import Options, Query

# Longer sentences get a field of several lines.
LINE_CHARS = 80


def report_panel(page: Page, query: Query, options: Options, answer: DraftAnswer, picture: bytes | None) -> None:
    """Draw the editor and the downloads; a touch in it does not run the rest of the page.

    Args:
        page: What every panel is given.
        query: What the draft is for.
        options: How it was asked for.
        answer: The draft.
        picture: The ECG for the PDF, JPEG or PNG.
    """
    import streamlit as st

    with st.expander(page.word("edit"), icon=":material/edit_note:", key="edit-report", expanded=True):
        st.fragment(_panel)(page, query, options, answer, picture)


def _panel(page: Page, query: Query, options: Options, answer: DraftAnswer, picture: bytes | None) -> None:
    import streamlit as st

    word, draft = page.word, answer.draft
    reviewed = _editor(page, draft, answer.search.query_id)
    text = report_text(draft, reviewed, page.lang, word)
    if reviewed.empty:
        st.html(f'<p class="ek-soft">{word("accept_first")}</p>')
    else:
        st.code(text, language=None, wrap_lines=True)
    with st.container(horizontal=True, key="take-away"):
        st.download_button(
            word("text_file"),
            text,
            "ecg-report.txt",
            "text/plain",
            on_click="ignore",
            icon=":material/description:",
            disabled=reviewed.empty,
            key="as-text",
        )
        st.download_button(
            word("pdf_file"),
            b"" if reviewed.empty else _pdf(text, word("report_head"), query.name, picture),
            "ecg-report.pdf",
            "application/pdf",
            on_click="ignore",
            icon=":material/picture_as_pdf:",
            disabled=reviewed.empty,
            key="as-pdf",
        )
        _fhir(page, query, options, draft, reviewed, text)


def _pdf(text: str, title: str, name: str, picture: bytes | None) -> bytes:
    """The PDF, made anew only where something changed. (Streamlit's deferred files are lost when the page runs.)"""
    import streamlit as st

    made: tuple[str, bytes] | None = st.session_state.get("pdf")
    if made is None or made[0] != f"{name}|{text}":
        made = (f"{name}|{text}", report_pdf(text, title, name, picture))
        st.session_state["pdf"] = made
    return made[1]


def _editor(page: Page, draft: DraftOut, key: str) -> Reviewed:
    """Each sentence with a field to change it, and to accept or reject it; statements and words of one's own."""
    import streamlit as st

    from ecgkin.retrieval.ecg.statements import CODES

    word, names = page.word, [f"verdict-{key}-{n}" for n in range(len(draft.sentences))]

    def all_accepted() -> None:
        for name in names:
            st.session_state[name] = "accept"

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(word("accept_all"), icon=":material/done_all:", on_click=all_accepted, key="accept-all")
        count = st.empty()
    kept, changed, accepted, rejected = [], 0, 0, 0
    for number, (sentence, name) in enumerate(zip(draft.sentences, names, strict=True), 1):
        plain_text = plain(sentence.text)
        with st.container(horizontal=True, vertical_alignment="center", key=f"row-{number}"):
            field = st.text_input if len(plain_text) <= LINE_CHARS else st.text_area
            text = field(
                word("sentence", n=number),
                value=plain_text,
                key=f"sentence-{key}-{number}",
                label_visibility="collapsed",
                disabled=st.session_state.get(name) == "reject",
                persist_state="session",
            )
            said = st.segmented_control(
                word("verdict", n=number),
                ["accept", "reject"],
                format_func=lambda one: f":material/{'check' if one == 'accept' else 'close'}: {word(one)}",
                label_visibility="collapsed",
                key=name,
                persist_state="session",
            )
        text = (text or "").strip()
        is_changed = text != plain_text
        taken = said == "accept" or (said is None and is_changed)
        kept.append(text if taken else "")
        accepted += taken and not is_changed
        changed += taken and is_changed
        rejected += said == "reject"
    reviewed = word("reviewed", n=accepted + changed + rejected, of=len(names))
    count.html(f'<span class="ek ek-soft" role="status">{reviewed}</span>', width="content")
    there = {item.code for item in draft.statements}
    added = st.multiselect(
        word("add_statement"),
        [code for code in CODES if code not in there],
        format_func=lambda code: f"{name_of(code, page.lang)} ({code})",
        placeholder=word("choose"),
        key=f"added-{key}",
        persist_state="session",
    )
    own = st.text_area(word("own"), key=f"own-{key}", max_chars=20_000, height=80, persist_state="session")
    return Reviewed(tuple(kept), accepted, changed, rejected, tuple(added), own or "")


def _fhir(page: Page, query: Query, options: Options, draft: DraftOut, reviewed: Reviewed, text: str) -> None:
    import streamlit as st

    word = page.word
    key = f"fhir-{query.digest}-{draft.language}-{draft.model}-{options.evidence}"
    resource = st.session_state.get(key)
    if resource is None:
        if st.button(word("fhir_file"), icon=":material/data_object:", disabled=reviewed.empty, key="make-fhir"):
            try:
                st.session_state[key] = page.api.draft_fhir(query, options, page.lang)
                st.rerun(scope="fragment")
            except EcgkinError as error:
                show_error(error, word)
        return
    st.download_button(
        f"{word('fhir_file')} ⤓",
        json.dumps(edited_fhir(resource, draft, reviewed, text), ensure_ascii=False, indent=2),
        "ecg-report.fhir.json",
        "application/fhir+json",
        on_click="ignore",
        icon=":material/data_object:",
        disabled=reviewed.empty,
        type="primary",
        key="as-fhir",
    )
