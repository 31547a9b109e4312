"""The draft as a report of one's own: sentences accepted, changed or rejected; taken away as text, PDF or FHIR."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from ecgkin.ui.api.answers import DraftAnswer, DraftOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.query import Options, Query
    from ecgkin.ui.web.shared.texts import Lang, Words


_MARKS = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")
# Width of the ECG in a PDF, mm: A4 less margins.
_PICTURE_MM = 190.0


@dataclass(frozen=True)
class Reviewed:
    """What a clinician made of a draft. Nothing is in the report that was not accepted or written by hand.

    Attributes:
        kept: One a sentence of the draft; "" for one that was rejected, or not looked at yet.
        accepted, changed, rejected: How many sentences.
        added: Codes of statements that the draft does not have.
        own: Own words.
    """

    kept: tuple[str, ...]
    accepted: int = 0
    changed: int = 0
    rejected: int = 0
    added: tuple[str, ...] = ()
    own: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take away yet."""
        return not (any(self.kept) or self.added or self.own.strip())


def plain(sentence: str) -> str:
    """A sentence without its citation marks.

    >>> plain("Sinus rhythm (63 %) [1, 2].")
    'Sinus rhythm (63 %).'
    """
    return _MARKS.sub("", sentence)


def report_text(draft: DraftOut, reviewed: Reviewed, lang: Lang, word: Words) -> str:
    """The report as it leaves the page: what was accepted, one's own words, the cases, and what it is not.

    Args:
        draft: Where it comes from.
        reviewed: What became of it.
        lang: Of names.
        word: Texts.

    Returns:
        Plain text.
    """
    lines = [word("report_head"), "", *(text for text in reviewed.kept if text)]
    lines += [_sentence(name_of(code, lang)) for code in reviewed.added]
    lines += ["", reviewed.own.strip()] if reviewed.own.strip() else []
    pairs = zip(draft.sentences, reviewed.kept, strict=True)
    cited = {case for sentence, text in pairs if text for case in sentence.citations}
    cases = [f"[{item.number}] {item.case_id}" for item in draft.evidence if item.case_id in cited]
    lines += ["", f"{word('report_cases')}: {'; '.join(cases)}"] if cases else []
    measured = [f"{flag.title} [{flag.code}]" for flag in draft.flags]
    measured += [draft.comparison.sentence] if draft.comparison is not None else []
    lines += ["", f"{word('report_flags')}:", *measured] if measured else []
    done = word("reviewed_by", n=reviewed.accepted, changed=reviewed.changed, rejected=reviewed.rejected)
    return "\n".join([*lines, "", done, draft.disclaimer, ""])


def _sentence(name: str) -> str:
    return f"{name[:1].upper()}{name[1:]}."


def edited_fhir(resource: dict[str, Any], draft: DraftOut, reviewed: Reviewed, text: str) -> dict[str, Any]:
    """The server's resource with the reviewed words; codes of sentences that were changed or left out go.

    Args:
        resource: DiagnosticReport of the draft; not changed.
        draft: The draft.
        reviewed: What became of it.
        text: The whole report.

    Returns:
        A changed copy.
    """
    from html import escape

    pairs = list(zip(draft.sentences, reviewed.kept, strict=True))
    whole = all(words == plain(sentence.text) for sentence, words in pairs)
    if whole and not reviewed.own.strip() and not reviewed.added:
        return resource
    out = dict(resource)
    lines = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line)
    out["conclusion"] = text
    out["text"] = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>'}
    said = {code for sentence, words in pairs if words == plain(sentence.text) for code, _ in sentence.statements}
    gone = {code for sentence, words in pairs if words != plain(sentence.text) for code, _ in sentence.statements}
    names = {item.code for item in draft.statements if item.code in gone - said}
    codes = [entry for entry in out.pop("conclusionCode", []) if not _is_one_of(entry, names, draft.language)]
    codes += [_coded(code, draft.language) for code in reviewed.added]
    if codes:
        out["conclusionCode"] = codes
    return out


def _coded(code: str, language: str) -> dict[str, Any]:
    """A statement as the server codes one."""
    from ecgkin.retrieval.ecg.statements.catalogue import statement
    from ecgkin.ui.fhir.draft import SCP, SNOMED

    one = statement(code)
    codings = [{"system": SNOMED, "code": one.snomed}] if one.snomed else []
    return {
        "coding": [*codings, {"system": SCP, "code": code, "display": one.name_en}],
        "text": one.name("de" if language == "de" else "en"),
    }


def _is_one_of(entry: dict[str, Any], codes: set[str], language: str) -> bool:
    """Whether a coded conclusion is one of these statements; what is only possible has words alone."""
    from ecgkin.retrieval.ecg.statements.catalogue import statement

    if {coding.get("code") for coding in entry.get("coding", [])} & codes:
        return True
    return any(str(entry.get("text", "")).endswith(statement(code).name(language)) for code in codes)


def report_pdf(text: str, title: str, name: str, picture: bytes | None = None) -> bytes:
    """The report as a PDF of one page or more, the ECG on top.

    Args:
        text: The report; its first line is the title.
        title: Of the document.
        name: Of the ECG.
        picture: The ECG as JPEG or PNG; drawn as wide as the page, hence not to scale.

    Returns:
        The file.
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
            if picture is not None:
                pdf.image(io.BytesIO(picture), w=_PICTURE_MM)
                pdf.ln(3)
    return bytes(pdf.output())


def latin(text: str) -> str:
    """Text with what PDF's own fonts hold: Windows' Western letters; a question mark for each other one.

    >>> latin("ST-Hebung größer – 0,2 mV ≥ Ω")
    'ST-Hebung größer - 0,2 mV >= ?'
    """
    table = {"–": "-", "—": "-", "−": "-", "„": '"', "“": '"', "”": '"', "’": "'", "…": "...", "≥": ">=", "≤": "<="}
    return "".join(table.get(c, c) for c in text).encode("latin-1", "replace").decode("latin-1")


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

    from ecgkin.retrieval.ecg.statements.catalogue import CODES

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
