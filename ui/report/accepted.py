"""`AcceptedReport`: the sentences of a draft that somebody signed for, one by one, and whom and what they are about.

A draft is preliminary whatever made it. Here a sentence is in the report because its number was accepted, or because
it was rewritten; a rewritten one loses its codes, which belong to the words that were drafted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecgkin.retrieval.errors import InputError, QueryError, misfit, why
from ecgkin.ui.api.answers import DraftOut

_MARKS = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")


class Patient(BaseModel):
    """Whom it is about; empty: not known."""

    model_config = ConfigDict(extra="forbid")

    patient_id: str = Field(default="", max_length=64)
    system: str = Field(default="urn:ecgkin:patient", description="who gives these ids, as FHIR names it")
    name: str = Field(default="", max_length=200, description="family^given, as DICOM writes it")
    birth_date: date | None = None
    sex: Literal["F", "M", "O", ""] = ""


class Study(BaseModel):
    """The examination, and the ECG in the archive, as far as they are known."""

    model_config = ConfigDict(extra="forbid")

    study_instance_uid: str = ""
    study_id: str = ""
    accession_number: str = ""
    performed_at: str = Field(default="", description="ISO date, or date and time")
    sop_class_uid: str = Field(default="", description="of the ECG object")
    sop_instance_uid: str = ""
    series_instance_uid: str = ""


class Line(BaseModel):
    """One sentence."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1)
    codes: list[tuple[str, str]] = Field(default=[], description="statement and polarity; none of a rewritten sentence")
    rewritten: bool = False
    section: str = Field(default="", description="heading of the draft under which it stands")


class AcceptedReport(BaseModel):
    """A signed report."""

    model_config = ConfigDict(extra="forbid")

    title: str
    language: Literal["en", "de"]
    lines: list[Line] = Field(min_length=1)
    values: dict[str, float] = Field(default={}, description="measured values, checked by who signed")
    cases: list[str] = Field(default=[], description="cited by the sentences that are in it")
    signed_by: str = Field(min_length=1, max_length=200, description="family^given, or as it is written")
    organization: str = Field(default="", max_length=64)
    signed_at: datetime
    drafted_by: str = Field(description="what wrote the draft")
    rejected: int = Field(description="sentences of the draft that were left out")
    patient: Patient = Patient()
    study: Study = Study()

    @property
    def key(self) -> str:
        """Hash of all of it: the same report has the same identifiers wherever it goes."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=16).hexdigest()

    @property
    def text(self) -> str:
        """The sentences: one line for each section with its heading, one for each sentence that has none."""
        said: list[str] = []
        for n, line in enumerate(self.lines):
            if line.section and n and self.lines[n - 1].section == line.section:
                said[-1] += f" {line.text}"
            else:
                said.append(f"{line.section}: {line.text}" if line.section else line.text)
        return "\n".join(said)

    @property
    def origin(self) -> str:
        """How it came about, for people."""
        rewritten = sum(line.rewritten for line in self.lines)
        taken = len(self.lines) - rewritten
        if self.language == "de":
            return (
                f"Entwurf durch Software (ecgkin, {self.drafted_by}): {taken} Sätze angenommen, {rewritten} geändert "
                f"oder ergänzt, {self.rejected} verworfen."
            )
        return (
            f"Drafted by software (ecgkin, {self.drafted_by}): {taken} sentences accepted, {rewritten} changed or "
            f"added, {self.rejected} left out."
        )


def accept(
    draft: DraftOut,
    *,
    accepted: Sequence[int],
    changes: Mapping[int, str],
    own: Sequence[str] = (),
    values: bool = False,
    signed_by: str,
    organization: str = "",
    patient: Patient | None = None,
    study: Study | None = None,
    now: datetime | None = None,
) -> AcceptedReport:
    """A report of what was accepted of a draft.

    Args:
        draft: The draft.
        accepted: Numbers of its sentences, from 1, that are taken as they stand.
        changes: Number of a sentence -> its new words.
        own: Sentences that the draft did not have.
        values: Whether the measured values were checked and are part of it.
        signed_by, organization: Who signs.
        patient, study: Whom and what it is about.
        now: When it was signed; None: at this moment.

    Returns:
        The report as it was signed.

    Raises:
        QueryError: There is nothing in it, a number means no sentence, or means two things.
    """
    n = len(draft.sentences)
    wrong = sorted(number for number in {*accepted, *changes} if not 1 <= number <= n)
    if wrong:
        raise QueryError(f"sentence {wrong[0]} does not exist (the draft has 1 to {n})")
    both = sorted(set(accepted) & set(changes))
    if both:
        raise QueryError(f"sentence {both[0]} is accepted as it stands and rewritten", hint="say one of the two")
    lines, cases = [], dict[str, None]()
    titles = {section.name: section.title for section in draft.sections}
    for number, sentence in enumerate(draft.sentences, 1):
        if number in accepted:
            text = _MARKS.sub("", sentence.text).strip()
            codes = [(code, polarity) for code, polarity in sentence.statements]
            lines.append(Line(text=text, codes=codes, section=titles.get(sentence.section, "")))
            cases |= dict.fromkeys(sentence.citations)
        elif number in changes and changes[number].strip():
            section = titles.get(sentence.section, "")
            lines.append(Line(text=changes[number].strip(), rewritten=True, section=section))
    lines += [Line(text=words.strip(), rewritten=True) for words in own if words.strip()]
    if not lines:
        raise QueryError("no sentence was accepted", hint="--accept 1-3, --change '4=new words', --add 'own words'")
    moment = now or datetime.now(tz=UTC)
    return AcceptedReport(
        title="EKG-Befund" if draft.language == "de" else "ECG report",
        language="de" if draft.language == "de" else "en",
        lines=lines,
        values=dict(draft.measurements) if values else {},
        cases=list(cases),
        signed_by=signed_by,
        organization=organization,
        signed_at=moment.replace(microsecond=0),
        drafted_by=draft.model,
        rejected=n - len(set(accepted)) - sum(1 for words in changes.values() if words.strip()),
        patient=patient or Patient(),
        study=study or Study(),
    )


def read_draft(path: Path) -> DraftOut:
    """A draft as `ecgkin draft --json` or POST /v1/drafts wrote it.

    Raises:
        InputError: It is none.
    """
    hint = "write one with `ecgkin draft --json`"
    content = _json(path, hint)
    if isinstance(content, dict) and {"lines", "signed_by"} <= content.keys():
        raise InputError(f"{path} is a report that was accepted already (expected a draft)", hint=hint)
    try:
        return DraftOut.model_validate(content.get("draft", content) if isinstance(content, dict) else content)
    except ValidationError as error:
        raise InputError(f"{path} is no draft: {_first(error)}", hint=hint) from None


def read_report(path: Path) -> AcceptedReport:
    """A report as `ecgkin report accept` wrote it.

    Raises:
        InputError: It is none.
    """
    hint = "write one with `ecgkin report accept`"
    content = _json(path, hint)
    try:
        return AcceptedReport.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path} is no accepted report: {_first(error)}", hint=hint) from None


def about_dicom(path: Path) -> tuple[Patient, Study]:
    """Whom and what a DICOM object of the ECG is about.

    Raises:
        InputError: It cannot be read as DICOM.
    """
    import pydicom

    from ecgkin.retrieval.ecg.formats.dicom import text_in
    from ecgkin.retrieval.ecg.header import iso_time

    try:
        data = pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # pydicom raises what it likes on what is no DICOM file
        raise InputError(f"{path} cannot be read as DICOM: {why(error)}"[:300]) from None
    born = iso_time(text_in(data, "PatientBirthDate"))
    sex = text_in(data, "PatientSex").upper()
    when = text_in(data, "AcquisitionDateTime") or f"{text_in(data, 'StudyDate')}{text_in(data, 'StudyTime')}"
    patient = Patient(
        patient_id=text_in(data, "PatientID")[:64],
        name=str(data.get("PatientName", ""))[:200],
        birth_date=date.fromisoformat(born[:10]) if born and len(born) >= len("2000-01-01") else None,
        sex=sex if sex in ("F", "M", "O") else "",  # type: ignore[arg-type]
    )
    study = Study(
        study_instance_uid=text_in(data, "StudyInstanceUID"),
        study_id=text_in(data, "StudyID"),
        accession_number=text_in(data, "AccessionNumber"),
        performed_at=iso_time(when) or "",
        sop_class_uid=text_in(data, "SOPClassUID"),
        sop_instance_uid=text_in(data, "SOPInstanceUID"),
        series_instance_uid=text_in(data, "SeriesInstanceUID"),
    )
    return patient, study


def _json(path: Path, hint: str) -> Any:
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text (expected JSON)", hint=hint) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {why(error)}", hint="check the path and its permissions") from None
    if not content.strip():
        raise InputError(f"{path} is empty (expected JSON)", hint=hint)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON (line {error.lineno}, column {error.colno})", hint=hint) from None
    except (ValueError, RecursionError):  # a number of too many digits, or nested too deeply
        raise InputError(f"{path} is no JSON that can be read", hint=hint) from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {misfit(dict(first))}"
