"""The draft as a report of one's own: sentences accepted, changed or rejected; taken away as text, PDF or FHIR."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.panels.query_panel import query_picture
from ecgkin.ui.web.shared.context import show_error
from ecgkin.ui.web.shared.desk import Review, sentence_names
from ecgkin.ui.web.shared.texts import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ecgkin.ui.api.answers import DraftAnswer, DraftOut
    from ecgkin.ui.web.shared.context import Page
    from ecgkin.ui.web.shared.desk import Work
    from ecgkin.ui.web.shared.query import Options
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
    lines = [word("report_head"), "", *sectioned(draft, reviewed.kept)]
    if reviewed.added:
        added = " ".join(_sentence(name_of(code, lang)) for code in reviewed.added)
        lines.append(f"{word('report_added')}: {added}" if draft.sections else added)
    lines += ["", reviewed.own.strip()] if reviewed.own.strip() else []
    pairs = zip(draft.sentences, reviewed.kept, strict=True)
    cited = {case for sentence, text in pairs if text for case in sentence.citations}
    cases = [f"[{item.number}] {item.case_id}" for item in draft.evidence if item.case_id in cited]
    lines += ["", f"{word('report_cases')}: {'; '.join(cases)}"] if cases else []
    measured = [_sentence(flag.title.rstrip(".")) for flag in draft.flags]
    measured += [draft.comparison.sentence] if draft.comparison is not None else []
    lines += ["", f"{word('report_flags')}:", *measured] if measured else []
    left = len(reviewed.kept) - reviewed.accepted - reviewed.changed - reviewed.rejected
    done = word("signed_off", n=reviewed.accepted, changed=reviewed.changed, rejected=reviewed.rejected, left=left)
    return "\n".join([*lines, "", done, draft.disclaimer, ""])


def sectioned(draft: DraftOut, kept: Sequence[str]) -> list[str]:
    """The sentences under the headings of their sections, a line each; as they are where a draft has no sections.

    Args:
        draft: Where they come from.
        kept: One a sentence of the draft; "" for one that is not in the report.

    Returns:
        Lines; a section of which nothing was kept has none.
    """
    if not draft.sections:
        return [text for text in kept if text]
    titles = {section.name: section.title for section in draft.sections}
    said: dict[str, list[str]] = {}
    for sentence, text in zip(draft.sentences, kept, strict=True):
        if text:
            said.setdefault(sentence.section, []).append(text)
    order = [*titles, *(name for name in said if name not in titles)]
    return [f"{titles.get(name, name)}: {' '.join(said[name])}" for name in order if name in said]


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
LINE_CHARS = 56


def report_panel(page: Page, work: Work, options: Options, answer: DraftAnswer) -> None:
    """Draw the editor and the downloads; a touch in it does not run the rest of the page.

    Args:
        page: What every panel is given.
        work: What the draft is for; what is decided is kept with it.
        options: How it was asked for.
        answer: The draft.
    """
    import streamlit as st

    with st.container(border=True, key="edit-report"):
        st.header(page.word("edit"), anchor=False)
        st.fragment(_panel)(page, work, options, answer)


def _panel(page: Page, work: Work, options: Options, answer: DraftAnswer) -> None:
    import streamlit as st

    word, draft = page.word, answer.draft
    review = work.reviews.setdefault((options.model, options.evidence), Review())
    reviewed = _editor(page, work, draft, review)
    text = report_text(draft, reviewed, page.lang, word)
    if reviewed.empty:
        st.html(f'<p class="ek-soft">{escape(word("accept_first"))}</p>')
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
            b"" if reviewed.empty else _pdf(text, word("report_head"), work),
            "ecg-report.pdf",
            "application/pdf",
            on_click="ignore",
            icon=":material/picture_as_pdf:",
            disabled=reviewed.empty,
            key="as-pdf",
        )
        _fhir(page, work, options, draft, reviewed, text)


def _pdf(text: str, title: str, work: Work) -> bytes:
    """The PDF, made anew only where something changed. (Streamlit's deferred files are lost when the page runs.)"""
    made: tuple[str, bytes] | None = work.other.get("pdf")
    if made is None or made[0] != text:
        made = (text, report_pdf(text, title, work.query.name, query_picture(work)))
        work.other["pdf"] = made
    return made[1]


def _editor(page: Page, work: Work, draft: DraftOut, review: Review) -> Reviewed:
    """Each sentence with a field to change it, and its own sign-off; statements and words of one's own.

    Every touch is kept with the question, under names that the sentences have in each language.
    """
    import streamlit as st

    from ecgkin.retrieval.ecg.statements.catalogue import CODES

    word, lang = page.word, page.lang
    names = sentence_names(draft.sentences)
    titles = {section.name: section.title for section in draft.sections}
    count = st.empty()
    kept, changed, accepted, rejected, section = [], 0, 0, 0, ""
    for number, (sentence, name) in enumerate(zip(draft.sentences, names, strict=True), 1):
        if sentence.section != section and sentence.section in titles:
            section = sentence.section
            st.html(f'<p class="ek ek-section">{escape(titles[section])}</p>')
        off = review.of(name)
        plain_text = plain(sentence.text)
        key = f"{work.work_id[:8]}-{lang}-{draft.model}-{name}"
        with st.container(horizontal=True, vertical_alignment="center", key=f"row-{number}"):
            field: Any = st.text_input if len(plain_text) <= LINE_CHARS else st.text_area
            text = field(
                word("sentence", n=number),
                value=off.texts.get(lang, next(iter(off.texts.values()), plain_text)),
                key=f"sentence-{key}",
                label_visibility="collapsed",
                disabled=off.said == "reject",
                persist_state="session",
                **({"height": "content"} if field is st.text_area else {}),
            )
            said = st.segmented_control(
                word("verdict", n=number),
                ["accept", "reject"],
                default=off.said,
                format_func=lambda one: f":material/{'check' if one == 'accept' else 'close'}: {word(one)}",
                label_visibility="collapsed",
                key=f"verdict-{key}",
                persist_state="session",
            )
        text = (text or "").strip()
        is_changed = text != plain_text
        off.said = said
        if is_changed:
            off.texts[lang] = text
        else:
            off.texts.clear()
        taken = said == "accept" or (said is None and is_changed)
        kept.append(text if taken else "")
        accepted += taken and not is_changed
        changed += taken and is_changed
        rejected += said == "reject"
    reviewed = word("reviewed", n=accepted + changed + rejected, of=len(names))
    count.html(f'<p class="ek ek-soft" role="status">{escape(word("sign_each"))} {escape(reviewed)}</p>')
    there = {item.code for item in draft.statements}
    codes = [code for code in CODES if code not in there]
    added = st.multiselect(
        word("add_statement"),
        codes,
        default=[code for code in review.added if code in codes],
        format_func=lambda code: f"{name_of(code, lang)} ({code})",
        placeholder=word("choose"),
        key=f"added-{work.work_id[:8]}-{draft.model}",
        persist_state="session",
    )
    own = st.text_area(
        word("own"),
        value=review.own,
        key=f"own-{work.work_id[:8]}-{draft.model}",
        max_chars=20_000,
        height=80,
        persist_state="session",
    )
    review.added, review.own = list(added), own or ""
    return Reviewed(tuple(kept), accepted, changed, rejected, tuple(added), own or "")


def _fhir(page: Page, work: Work, options: Options, draft: DraftOut, reviewed: Reviewed, text: str) -> None:
    import streamlit as st

    word = page.word
    key = ("fhir", work.query.digest, draft.language, draft.model, options)
    resource = work.other.get(key)
    if resource is None:
        if st.button(word("fhir_file"), icon=":material/data_object:", disabled=reviewed.empty, key="make-fhir"):
            try:
                work.other[key] = page.api.draft_fhir(work.query, options, page.lang)
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
