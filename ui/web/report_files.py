"""A reviewed report as it leaves the page: as text, as a PDF with the ECG, as a FHIR resource."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ecgkin.ui.web.texts import name_of

if TYPE_CHECKING:
    from ecgkin.ui.api.draft_answers import DraftOut
    from ecgkin.ui.web.texts import Lang, Words

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
    """
    lines = [word("report_head"), "", *(text for text in reviewed.kept if text)]
    lines += [_sentence(name_of(code, lang)) for code in reviewed.added]
    lines += ["", reviewed.own.strip()] if reviewed.own.strip() else []
    pairs = zip(draft.sentences, reviewed.kept, strict=True)
    cited = {case for sentence, text in pairs if text for case in sentence.citations}
    cases = [f"[{item.number}] {item.case_id}" for item in draft.evidence if item.case_id in cited]
    lines += ["", f"{word('report_cases')}: {'; '.join(cases)}"] if cases else []
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
    from ecgkin.retrieval.ecg.statements import statement
    from ecgkin.ui.api.fhir import SCP, SNOMED

    one = statement(code)
    codings = [{"system": SNOMED, "code": one.snomed}] if one.snomed else []
    return {
        "coding": [*codings, {"system": SCP, "code": code, "display": one.name_en}],
        "text": one.name("de" if language == "de" else "en"),
    }


def _is_one_of(entry: dict[str, Any], codes: set[str], language: str) -> bool:
    """Whether a coded conclusion is one of these statements; what is only possible has words alone."""
    from ecgkin.retrieval.ecg.statements import statement

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
